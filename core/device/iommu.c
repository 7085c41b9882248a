/* SPDX-License-Identifier: BSD-2-Clause */
/* The IOMMU device (virtio v1.4 5.13): its requests judged, carried out and answered. */
#include "iommu_parts.h"

static bool accepted(const struct via_iommu_device *d, enum via_feature bit) { return d->features & VIA_BIT(bit); }

/* ------------------------------------------------------------------ attach, detach */

static bool zero(const uint8_t *bytes, size_t n)
{
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++)
        any |= bytes[i];
    return !any;
}

/* None of the domain's mappings is in one of the endpoint's windows. */
static bool compatible(const struct via_iommu_device *d, const struct via_iommu_domain *dom, const struct via_iommu_endpoint *ep)
{
    for (unsigned i = 0; i < ep->n_windows; i++)
        if (via_iommu_mapping_first(d, dom, ep->window[i].start, ep->window[i].last))
            return false;
    return true;
}

static bool alone(const struct via_iommu_endpoint *ep) { return ep->domain && ep->domain->endpoint == ep && !ep->peer; }

static uint8_t attach(struct via_iommu_device *d, const struct via_iommu_attach *r, struct via_iommu_wait *w)
{
    uint32_t id = via_le32_value(r->domain), flags = via_le32_value(r->flags);
    if (!zero(r->reserved, sizeof(r->reserved)) || (flags & ~(accepted(d, VIA_IOMMU_F_BYPASS_CONFIG) ? VIA_IOMMU_ATTACH_F_BYPASS : 0)))
        return VIA_IOMMU_S_INVAL;
    struct via_iommu_endpoint *ep = via_iommu_endpoint_get(d, via_le32_value(r->endpoint));
    if (!ep)
        return VIA_IOMMU_S_NOENT;
    if (id < d->cfg.domain_start || id > d->cfg.domain_last)
        return VIA_IOMMU_S_RANGE;
    struct via_iommu_domain *dom = via_iommu_domain_get(d, id);
    if (dom && dom->bypass != (bool)flags)
        return VIA_IOMMU_S_INVAL;
    if (dom && dom == ep->domain)
        return VIA_IOMMU_S_OK;
    if (dom && !compatible(d, dom, ep))
        return VIA_IOMMU_S_UNSUPP;
    if (!dom && !d->free_domain && !alone(ep))
        return VIA_IOMMU_S_NOMEM;
    bool lost = ep->domain || d->bypass;
    if (ep->domain)
        via_iommu_domain_leave(ep);
    if (!dom)
        dom = via_iommu_domain_new(d, id, flags);
    via_iommu_domain_enter(dom, ep);
    if (lost)
        via_iommu_revoke(ep, 0, UINT64_MAX, w);
    return VIA_IOMMU_S_OK;
}

static uint8_t detach(struct via_iommu_device *d, const struct via_iommu_detach *r, struct via_iommu_wait *w)
{
    struct via_iommu_endpoint *ep = via_iommu_endpoint_get(d, via_le32_value(r->endpoint));
    if (!ep)
        return VIA_IOMMU_S_NOENT;
    if (!ep->domain || ep->domain->id != via_le32_value(r->domain))
        return VIA_IOMMU_S_INVAL;
    via_iommu_domain_leave(ep);
    via_iommu_revoke(ep, 0, UINT64_MAX, w);
    return VIA_IOMMU_S_OK;
}

/* ------------------------------------------------------------------ map, unmap */

static bool in_window(const struct via_iommu_domain *dom, const struct via_iommu_mapping *m)
{
    for (const struct via_iommu_endpoint *ep = dom->endpoint; ep; ep = ep->peer)
        for (unsigned i = 0; i < ep->n_windows; i++)
            if (m->start <= ep->window[i].last && m->last >= ep->window[i].start)
                return true;
    return false;
}

static uint8_t map(struct via_iommu_device *d, const struct via_iommu_map *r)
{
    struct via_iommu_domain *dom = via_iommu_domain_get(d, via_le32_value(r->domain));
    uint32_t flags = via_le32_value(r->flags), known = VIA_IOMMU_MAP_F_READ | VIA_IOMMU_MAP_F_WRITE;
    uint64_t rest = (d->cfg.page_size_mask & -d->cfg.page_size_mask) - 1; /* of an address in a page */
    struct via_iommu_mapping m = {.start = via_le64_value(r->virt_start),
                                  .last = via_le64_value(r->virt_end),
                                  .phys = via_le64_value(r->phys_start),
                                  .flags = (uint8_t)flags};
    if (accepted(d, VIA_IOMMU_F_MMIO))
        known |= VIA_IOMMU_MAP_F_MMIO;
    if (flags & ~known)
        return VIA_IOMMU_S_INVAL;
    if (!dom)
        return VIA_IOMMU_S_NOENT;
    if (dom->bypass || m.start > m.last)
        return VIA_IOMMU_S_INVAL;
    if (m.start & rest || m.phys & rest || (m.last + 1) & rest)
        return VIA_IOMMU_S_RANGE;
    if (m.start < d->cfg.input_start || m.last > d->cfg.input_last || m.last - m.start > UINT64_MAX - m.phys)
        return VIA_IOMMU_S_RANGE;
    if (via_iommu_mapping_first(d, dom, m.start, m.last) || in_window(dom, &m))
        return VIA_IOMMU_S_INVAL;
    return via_iommu_mapping_add(d, dom, &m) ? VIA_IOMMU_S_OK : VIA_IOMMU_S_NOMEM;
}

static uint8_t unmap(struct via_iommu_device *d, const struct via_iommu_unmap *r, struct via_iommu_wait *w)
{
    struct via_iommu_domain *dom = via_iommu_domain_get(d, via_le32_value(r->domain));
    uint64_t start = via_le64_value(r->virt_start), last = via_le64_value(r->virt_end);
    if (!zero(r->reserved, sizeof(r->reserved)))
        return VIA_IOMMU_S_INVAL;
    if (!dom)
        return VIA_IOMMU_S_NOENT;
    if (dom->bypass || start > last)
        return VIA_IOMMU_S_INVAL;
    struct via_iommu_mapping *m = via_iommu_mapping_at(d, dom, start), *end = via_iommu_mapping_at(d, dom, last);
    if ((m && m->start < start) || (end && end->last > last))
        return VIA_IOMMU_S_RANGE;
    bool lost = false;
    for (; (m = via_iommu_mapping_first(d, dom, start, last)); lost = true)
        via_iommu_mapping_remove(d, dom, m);
    for (struct via_iommu_endpoint *ep = dom->endpoint; lost && ep; ep = ep->peer)
        via_iommu_revoke(ep, start, last, w);
    return VIA_IOMMU_S_OK;
}

/* ------------------------------------------------------------------ probe */

/* Answered here: the properties, one a window, and zeros up to `room`, however the request ends, so that all of it was written. */
static void probe(struct via_iommu_device *d, struct via_req *q, const struct via_iommu_probe *r, bool whole)
{
    const struct via_iommu_endpoint *ep = whole ? via_iommu_endpoint_get(d, via_le32_value(r->endpoint)) : NULL;
    size_t room = via_min64(d->cfg.probe_size, q->chain.in_len - sizeof(struct via_iommu_tail)), at = 0;
    bool fits = whole && room == d->cfg.probe_size;
    unsigned n = ep && fits ? ep->n_windows : 0;
    for (unsigned i = 0; at < room; i++, at += sizeof(struct via_iommu_resv_mem)) {
        struct via_iommu_resv_mem p = {0};
        if (i < n) {
            p.head.type = via_le16_make(VIA_IOMMU_PROBE_T_RESV_MEM);
            p.head.length = via_le16_make(sizeof(p) - sizeof(p.head));
            p.subtype = ep->window[i].msi ? VIA_IOMMU_RESV_MEM_T_MSI : VIA_IOMMU_RESV_MEM_T_RESERVED;
            p.start = via_le64_make(ep->window[i].start);
            p.end = via_le64_make(ep->window[i].last);
        }
        via_spans_write(q->span + q->n_out, q->n_in, at, &p, via_min64(sizeof(p), room - at));
    }
    via_iommu_answer(d, q, room, !fits ? VIA_IOMMU_S_INVAL : ep ? VIA_IOMMU_S_OK : VIA_IOMMU_S_NOENT);
}

/* ------------------------------------------------------------------ */

/* Bytes that the device reads; 0: no such request, or the driver did not accept what it belongs to. */
static size_t request_bytes(const struct via_iommu_device *d, uint8_t type)
{
    bool maps = accepted(d, VIA_IOMMU_F_MAP_UNMAP);
    switch (type) {
    case VIA_IOMMU_T_ATTACH:
        return offsetof(struct via_iommu_attach, tail);
    case VIA_IOMMU_T_DETACH:
        return offsetof(struct via_iommu_detach, tail);
    case VIA_IOMMU_T_MAP:
        return maps ? offsetof(struct via_iommu_map, tail) : 0;
    case VIA_IOMMU_T_UNMAP:
        return maps ? offsetof(struct via_iommu_unmap, tail) : 0;
    case VIA_IOMMU_T_PROBE:
        return accepted(d, VIA_IOMMU_F_PROBE) ? sizeof(struct via_iommu_probe) : 0;
    default:
        return 0;
    }
}

/* Requests of one tail alone. Those that take something away put into w what is to end first. */
static uint8_t carry_out(struct via_iommu_device *d, const union via_iommu_req *r, struct via_iommu_wait *w)
{
    switch (r->head.type) {
    case VIA_IOMMU_T_ATTACH:
        return attach(d, &r->attach, w);
    case VIA_IOMMU_T_DETACH:
        return detach(d, &r->detach, w);
    case VIA_IOMMU_T_MAP:
        return map(d, &r->map);
    default:
        return unmap(d, &r->unmap, w);
    }
}

static int request_submit(struct via_device *device, struct via_req *q)
{
    struct via_iommu_device *d = via_container_of(device, struct via_iommu_device, requests);
    union via_iommu_req r = {0};
    size_t got = via_spans_read(q->span, q->n_out, 0, &r, sizeof(r)), need = request_bytes(d, r.head.type);
    if (!need || q->chain.in_len < sizeof(struct via_iommu_tail)) { /* 5.13.6: no type, no tail, no answer */
        d->unparsed++;
        via_req_complete(q, 0);
        return 0;
    }
    if (r.head.type == VIA_IOMMU_T_PROBE) {
        probe(d, q, &r.probe, got >= need);
        return 0;
    }
    if (got < need) {
        via_iommu_answer(d, q, 0, VIA_IOMMU_S_INVAL);
        return 0;
    }
    struct via_iommu_wait *w = d->free_wait;
    if (!w)
        return -VIA_EAGAIN;
    d->free_wait = w->next;
    via_iommu_wait_start(w, q);
    uint8_t status = carry_out(d, &r, w);
    if (status != VIA_IOMMU_S_OK) /* nothing was taken away then */
        w->status = status;
    via_iommu_wait_end(w);
    return 0;
}

const struct via_device_ops via_iommu_request_ops = {.submit = request_submit};
