/* SPDX-License-Identifier: BSD-2-Clause */
/* Faults told to the driver (5.13.6.9): kept until it has a buffer for them, or dropped. */
#include "iommu_parts.h"

static struct via_req *buffer_take(struct via_iommu_device *d)
{
    struct via_req *q = d->buffer[d->buffer_first];
    d->buffer_first = (d->buffer_first + 1) % d->cfg.buffers;
    d->n_buffers--;
    return q;
}

/* One fault, one buffer: what is too small for its fault goes back empty, and the fault is gone, so that no driver keeps us busy. */
static void deliver(struct via_iommu_device *d)
{
    while (d->n_faults && d->n_buffers) {
        const struct via_iommu_fault *f = &d->fault[d->fault_first];
        struct via_req *q = buffer_take(d);
        bool fits = q->chain.in_len >= sizeof(*f);
        if (fits)
            via_spans_write(q->span + q->n_out, q->n_in, 0, f, sizeof(*f));
        d->fault_first = (d->fault_first + 1) % d->cfg.faults;
        d->n_faults--;
        ++*(fits ? &d->reported : &d->dropped);
        via_req_complete(q, fits ? sizeof(*f) : 0);
    }
}

static int event_submit(struct via_device *device, struct via_req *q)
{
    struct via_iommu_device *d = via_container_of(device, struct via_iommu_device, events);
    if (d->n_buffers == d->cfg.buffers)
        return -VIA_EAGAIN;
    d->buffer[(d->buffer_first + d->n_buffers++) % d->cfg.buffers] = q;
    deliver(d);
    return 0;
}

const struct via_device_ops via_iommu_event_ops = {.submit = event_submit};

static bool same(const struct via_iommu_fault *a, const struct via_iommu_fault *b)
{
    return a->reason == b->reason && a->flags.raw == b->flags.raw && a->address.raw == b->address.raw;
}

void via_iommu_fault_raise(struct via_iommu_endpoint *ep, unsigned reason, unsigned perm, uint64_t addr)
{
    struct via_iommu_device *d = ep->device;
    uint32_t flags = (perm & VIA_PERM_R ? VIA_IOMMU_FAULT_F_READ : 0u) | (perm & VIA_PERM_W ? VIA_IOMMU_FAULT_F_WRITE : 0u);
    struct via_iommu_fault f = {.reason = (uint8_t)reason,
                                .flags = via_le32_make(flags | VIA_IOMMU_FAULT_F_ADDRESS),
                                .endpoint = via_le32_make(ep->id),
                                .address = via_le64_make(addr)};
    if (ep->told_generation == ep->xlate.generation && same(&ep->told, &f))
        return;
    ep->told = f;
    ep->told_generation = ep->xlate.generation;
    if (d->n_faults == d->cfg.faults) {
        d->dropped++;
        return;
    }
    d->fault[(d->fault_first + d->n_faults++) % d->cfg.faults] = f;
    deliver(d);
}
