/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the block device share. */
#ifndef VIA_DEVICE_BLK_H
#define VIA_DEVICE_BLK_H

#include <viaduct/device.h>

#define VIA_BLK_RANGES 16u               /* in a discard or write-zeroes request */
#define VIA_BLK_RANGE_SECTORS (1u << 21) /* in one of these ranges: 1 GiB */

/* -VIA_EINVAL: limits that contradict one another or the specification. */
VIA_MUST_USE int via_blk_config_make(const struct via_blk_limits *, struct via_blk_config *);

#endif
