/* SPDX-License-Identifier: BSD-2-Clause */
/* client: what the files of the front-end end tell each other; no part of the interface. */
#ifndef VIADUCT_HOST_VHOST_CLIENT_PARTS_H
#define VIADUCT_HOST_VHOST_CLIENT_PARTS_H

#include <viaduct/vhost.h>

/* Send a composed request and wait for its answer where one is due. */
VIA_MUST_USE int via_client_ask(struct via_client *, const struct via_vu_msg *, struct via_err *err);
/* A SHMEM_MAP came: 0, or why the back-end's memory is not mapped. The message's descriptor stays the caller's. */
VIA_MUST_USE int via_client_region_map(struct via_client *, const struct via_vu_msg *);

#endif
