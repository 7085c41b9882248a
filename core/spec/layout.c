/* SPDX-License-Identifier: BSD-2-Clause */
/* Sizes and offsets that virtio v1.4 fixes, held at compile time. */
#include <viaduct/spec.h>

_Static_assert(sizeof(struct via_desc) == 16, "2.7.5");
_Static_assert(offsetof(struct via_desc, len) == 8 && offsetof(struct via_desc, flags) == 12 && offsetof(struct via_desc, next) == 14,
               "2.7.5");
_Static_assert(offsetof(struct via_avail, ring) == 4, "2.7.6");
_Static_assert(offsetof(struct via_used, ring) == 4 && sizeof(struct via_used_elem) == 8, "2.7.8");
_Static_assert(sizeof(struct via_blk_hdr) == 16 && offsetof(struct via_blk_hdr, sector) == 8, "5.2.6");
_Static_assert(sizeof(struct via_blk_range) == 16, "5.2.6");
_Static_assert(offsetof(struct via_blk_config, blk_size) == 20 && offsetof(struct via_blk_config, num_queues) == 34 &&
                   offsetof(struct via_blk_config, max_write_zeroes_sectors) == 48 && sizeof(struct via_blk_config) == 72,
               "5.2.4");
