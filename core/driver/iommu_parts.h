/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the IOMMU driver share: a buffer on a queue, and the way to an answer. */
#ifndef VIA_DRIVER_IOMMU_PARTS_H
#define VIA_DRIVER_IOMMU_PARTS_H

#include <viaduct/iommu_driver.h>

#define VIA_IOMMU_SLOT_SEGS 16u

struct via_iommu_slot {
    struct via_iommu_slot *next; /* free, or idle */
    void *wire;                  /* a request's, or an event buffer */
    struct via_span buf[2];      /* readable, writable; an event buffer has but the latter */
    struct via_seg seg[VIA_IOMMU_SLOT_SEGS];
    struct via_mapping map;
    struct via_iommu_driver_domain *domain; /* UNMAP: whom its result concerns */
    bool done;
    int result;
};

/* What the status byte holds before the device writes it: no status of 5.13.6. */
#define VIA_IOMMU_S_UNWRITTEN 0xff

/*
 * Ask, and wait for the answer: s->buf is set, the last writable bytes are a tail. The result as of the header.
 */
VIA_MUST_USE int via_iommu_ask(struct via_iommu_driver *, struct via_iommu_slot *s);
/* Map and add to a queue; via_vq_publish shows it. */
VIA_MUST_USE int via_iommu_slot_add(struct via_iommu_driver *, struct via_vq *, struct via_iommu_slot *, unsigned out);
/* Post all idle event buffers. */
void via_iommu_events_post(struct via_iommu_driver *);

#endif
