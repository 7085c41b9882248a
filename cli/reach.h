/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reach: how much of our memory another process can get at, seen from what it really has mapped and open. A shared mapping
 * counts as the whole file: remap_file_pages(2) turns one page of it into any other without a descriptor.
 */
#ifndef VIADUCT_CLI_REACH_H
#define VIADUCT_CLI_REACH_H

#include <sys/types.h>

#include <viaduct/host.h>

/* Bytes of the memory behind fd that process `pid` can reach: all of it or 0. */
VIA_MUST_USE int via_reach_inspect(pid_t pid, int fd, uint64_t *bytes, struct via_err *err);
/* Bytes of all memfds that `pid` has open or mapped, `except` (n descriptors of ours) left out. */
VIA_MUST_USE int via_reach_others(pid_t pid, const int *except, unsigned n, uint64_t *bytes, struct via_err *err);

#endif
