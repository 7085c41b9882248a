/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The end of accesses. Tables change at once, but a request that takes translations away is answered only when nothing reaches
 * anything by them any more (5.13.6.4, 5.13.6.6): a wait counts the endpoints for which that is still to be heard.
 */
#include "iommu_parts.h"

void via_iommu_answer(struct via_iommu_device *d, struct via_req *q, size_t before, uint8_t status)
{
    struct via_iommu_tail tail = {.status = status};
    via_spans_write(q->span + q->n_out, q->n_in, before, &tail, sizeof(tail));
    d->answers[status]++;
    via_req_complete(q, (uint32_t)(before + sizeof(tail)));
}

void via_iommu_wait_start(struct via_iommu_wait *w, struct via_req *req)
{
    w->req = req;
    w->status = VIA_IOMMU_S_OK;
    w->count++;
}

void via_iommu_wait_end(struct via_iommu_wait *w)
{
    struct via_iommu_device *d = w->device;
    VIA_ASSERT(w->count);
    if (--w->count)
        return;
    if (w == &d->own)
        return;
    w->next = d->free_wait;
    d->free_wait = w;
    if (w->req)
        via_iommu_answer(d, w->req, 0, w->status);
    else /* a reset took its request, and waits instead */
        via_iommu_device_revoked(&d->own, w->status == VIA_IOMMU_S_OK ? 0 : -VIA_EIO);
}

void via_iommu_device_revoked(struct via_iommu_wait *w, int result)
{
    if (result < 0)
        w->status = VIA_IOMMU_S_DEVERR;
    via_iommu_wait_end(w);
}

void via_iommu_revoke(struct via_iommu_endpoint *ep, uint64_t start, uint64_t last, struct via_iommu_wait *w)
{
    const struct via_iommu_device_ops *ops = ep->device->cfg.ops;
    ep->xlate.generation++;
    if (!ops)
        return;
    w->count++;
    int rc = ops->revoke(ep->device, ep, start, last, w);
    if (rc != -VIA_EAGAIN)
        via_iommu_device_revoked(w, rc);
}

/* ------------------------------------------------------------------ what no request asks for */

static int own_result(const struct via_iommu_device *d)
{
    if (d->own.status != VIA_IOMMU_S_OK)
        return -VIA_EIO;
    return d->own.count ? -VIA_EAGAIN : 0;
}

bool via_iommu_device_settled(const struct via_iommu_device *d) { return own_result(d) == 0; }

static void set_bypass(struct via_iommu_device *d, bool bypass)
{
    bool lost = d->bypass && !bypass;
    d->bypass = bypass;
    for (uint32_t i = 0; lost && i < d->n_endpoints; i++)
        if (!d->endpoint[i]->domain)
            via_iommu_revoke(d->endpoint[i], 0, UINT64_MAX, &d->own);
}

int via_iommu_device_config_write(struct via_iommu_device *d, uint32_t offset, const void *data, uint32_t len)
{
    const uint8_t *value = data;
    if (!(d->features & VIA_BIT(VIA_IOMMU_F_BYPASS_CONFIG)) || offset != offsetof(struct via_iommu_config, bypass) || len != 1 ||
        *value > 1)
        return -VIA_EINVAL;
    via_iommu_wait_start(&d->own, NULL);
    set_bypass(d, *value);
    via_iommu_wait_end(&d->own);
    return own_result(d);
}

int via_iommu_device_reset(struct via_iommu_device *d, bool system)
{
    via_iommu_wait_start(&d->own, NULL);
    for (uint32_t i = 0; i < d->cfg.waits; i++) {
        struct via_iommu_wait *w = &d->wait[i];
        d->own.count += w->count && w->req;
        w->req = NULL;
    }
    d->features = 0;
    d->n_buffers = d->n_faults = 0;
    for (uint32_t i = 0; i < d->n_endpoints; i++) {
        struct via_iommu_endpoint *ep = d->endpoint[i];
        ep->told = (struct via_iommu_fault){0};
        if (!ep->domain)
            continue;
        via_iommu_domain_leave(ep);
        via_iommu_revoke(ep, 0, UINT64_MAX, &d->own);
    }
    if (system)
        set_bypass(d, d->cfg.bypass);
    via_iommu_wait_end(&d->own);
    return own_result(d);
}
