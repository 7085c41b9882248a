/* SPDX-License-Identifier: BSD-2-Clause */
/* Reports of faults (5.13.6.9): buffers kept on the event queue, and what comes back in them. */
#include "iommu_parts.h"

void via_iommu_events_post(struct via_iommu_driver *d)
{
    while (d->idle && via_iommu_slot_add(d, d->cfg.events, d->idle, 0) == 0)
        d->idle = d->idle->next;
    if (via_vq_publish(d->cfg.events))
        d->cfg.ops->kick(d, VIA_IOMMU_EVENTQ);
}

/* False: it means nothing. */
static bool judge(const struct via_iommu_slot *s, uint32_t written, struct via_iommu_report *out)
{
    struct via_iommu_fault f;
    if (written < sizeof(f))
        return false;
    via_shm_read(&f, s->wire, sizeof(f));
    if (f.reserved[0] | f.reserved[1] | f.reserved[2])
        return false;
    uint32_t flags = via_le32_value(f.flags);
    bool known = f.reason == VIA_IOMMU_FAULT_R_DOMAIN || f.reason == VIA_IOMMU_FAULT_R_MAPPING;
    *out = (struct via_iommu_report){.reason = known ? f.reason : VIA_IOMMU_FAULT_R_UNKNOWN,
                                     .perm = (flags & VIA_IOMMU_FAULT_F_READ ? VIA_IOMMU_READ : 0u) |
                                             (flags & VIA_IOMMU_FAULT_F_WRITE ? VIA_IOMMU_WRITE : 0u),
                                     .endpoint = via_le32_value(f.endpoint),
                                     .has_address = flags & VIA_IOMMU_FAULT_F_ADDRESS};
    if (out->has_address)
        out->address = via_le64_value(f.address);
    return true;
}

/* What was taken is shown again only at the end, so that a device that sends nothing but nonsense is not listened to for ever. */
int via_iommu_driver_fault(struct via_iommu_driver *d, struct via_iommu_report *out)
{
    struct via_used_chain used;
    bool found = false;
    int rc = 0;
    if (d->dead || !d->cfg.events)
        return d->dead;
    while (!found && (rc = via_vq_reap(d->cfg.events, &used)) > 0) {
        struct via_iommu_slot *s = used.token;
        via_dma_unmap(d->cfg.dma, &s->map, used.written);
        found = judge(s, used.written, out);
        d->ignored += !found;
        s->next = d->idle;
        d->idle = s;
    }
    if (rc < 0)
        return via_fault_set(&d->fault, rc, d->cfg.events->fault.what, d->cfg.events->fault.got, d->cfg.events->fault.limit);
    via_iommu_events_post(d);
    return found;
}
