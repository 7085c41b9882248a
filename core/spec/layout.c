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
_Static_assert(sizeof(struct via_iommu_config) == 40 && offsetof(struct via_iommu_config, bypass) == 36, "5.13.4");
_Static_assert(sizeof(struct via_iommu_head) == 4 && sizeof(struct via_iommu_tail) == 4, "5.13.6");
_Static_assert(offsetof(struct via_iommu_attach, tail) == 20 && sizeof(struct via_iommu_attach) == 24, "5.13.6.3");
_Static_assert(offsetof(struct via_iommu_detach, tail) == 20 && sizeof(struct via_iommu_detach) == 24, "5.13.6.4");
_Static_assert(offsetof(struct via_iommu_map, tail) == 36 && sizeof(struct via_iommu_map) == 40, "5.13.6.5");
_Static_assert(offsetof(struct via_iommu_unmap, tail) == 28 && sizeof(struct via_iommu_unmap) == 32, "5.13.6.6");
_Static_assert(sizeof(struct via_iommu_probe) == 72 && sizeof(struct via_iommu_resv_mem) == 24, "5.13.6.7");
_Static_assert(sizeof(struct via_iommu_fault) == 24 && offsetof(struct via_iommu_fault, address) == 16, "5.13.6.9");
