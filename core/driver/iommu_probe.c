/* SPDX-License-Identifier: BSD-2-Clause */
/* PROBE (5.13.6.7): an endpoint's properties, a list that the device wrote and that ends where its buffer does, whatever it says. */
#include <string.h>

#include "iommu_parts.h"

static int take_window(struct via_iommu_driver *d, const uint8_t *at, size_t length, struct via_iommu_windows *w)
{
    struct via_iommu_resv_mem p;
    if (length < sizeof(p) - sizeof(p.head))
        return via_fault_set(&d->fault, -VIA_EPROTO, "a window of the IOMMU's is shorter than a window", length,
                             sizeof(p) - sizeof(p.head));
    via_shm_read(&p, at, sizeof(p));
    struct via_iova_range r = {via_le64_value(p.start), via_le64_value(p.end)};
    if (r.start > r.last)
        return via_fault_set(&d->fault, -VIA_EPROTO, "a window of the IOMMU's ends before it starts", r.start, r.last);
    if (w->n == w->cap)
        return -VIA_E2BIG;
    if (p.subtype == VIA_IOMMU_RESV_MEM_T_MSI) /* any other subtype is as good as RESERVED */
        w->doorbell = (int)w->n;
    w->range[w->n++] = r;
    return 0;
}

/* Each header is read once. A step is 4 bytes at least, so that the walk ends. */
static int parse(struct via_iommu_driver *d, const uint8_t *list, size_t len, struct via_iommu_windows *w)
{
    struct via_iommu_property p;
    int rc = 0;
    for (size_t at = 0, length; rc == 0 && len - at >= sizeof(p); at += sizeof(p) + length) {
        via_shm_read(&p, list + at, sizeof(p));
        uint16_t type = via_le16_value(p.type);
        length = via_le16_value(p.length);
        if (type == VIA_IOMMU_PROBE_T_NONE)
            return 0;
        if (length > len - at - sizeof(p))
            return via_fault_set(&d->fault, -VIA_EPROTO, "a property of the IOMMU's is longer than what is left of its list", length,
                                 len - at - sizeof(p));
        if (type == VIA_IOMMU_PROBE_T_RESV_MEM) /* with a reserved bit set it is another number, and passed over as an unknown type is */
            rc = take_window(d, list + at, length, w);
    }
    return rc;
}

int via_iommu_driver_probe(struct via_iommu_driver *d, uint32_t endpoint, struct via_iommu_windows *w)
{
    struct via_iommu_slot *s = &d->slot[d->cfg.depth];
    struct via_iommu_probe *r = s->wire;
    w->doorbell = -1;
    if (d->dead || !(d->cfg.features & VIA_BIT(VIA_IOMMU_F_PROBE)))
        return d->dead;
    memset(r, 0, sizeof(*r));
    r->head.type = VIA_IOMMU_T_PROBE;
    r->endpoint = via_le32_make(endpoint);
    s->buf[0] = (struct via_span){r, sizeof(*r)};
    s->buf[1] = (struct via_span){r + 1, (size_t)d->probe_size + sizeof(struct via_iommu_tail)};
    int rc = via_iommu_ask(d, s);
    return rc < 0 ? rc : parse(d, (const uint8_t *)(r + 1), d->probe_size, w);
}
