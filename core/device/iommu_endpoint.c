/* SPDX-License-Identifier: BSD-2-Clause */
/* What the device at an endpoint may touch: its domain's mappings, or all but its windows, or nothing; and then guest-physical memory. */
#include "iommu_parts.h"

/* All addresses around `addr` that are in no window. False: it is in one. */
static bool between_windows(const struct via_iommu_endpoint *ep, uint64_t addr, struct via_iommu_place *out)
{
    uint64_t start = 0, last = UINT64_MAX;
    for (unsigned i = 0; i < ep->n_windows; i++) {
        const struct via_iommu_window *w = &ep->window[i];
        if (w->start <= addr && w->last >= addr)
            return false;
        if (w->last < addr && w->last >= start)
            start = w->last + 1;
        if (w->start > addr && w->start <= last)
            last = w->start - 1;
    }
    *out = (struct via_iommu_place){start, last, {start}, VIA_PERM_R | VIA_PERM_W};
    return true;
}

int via_iommu_endpoint_find(struct via_iommu_endpoint *ep, via_iova addr, unsigned perm, struct via_iommu_place *out)
{
    const struct via_iommu_device *d = ep->device;
    const struct via_iommu_domain *dom = ep->domain;
    if (dom ? dom->bypass : d->bypass) {
        if (between_windows(ep, addr.v, out))
            return 0;
    } else if (dom) {
        const struct via_iommu_mapping *m = via_iommu_mapping_at(d, dom, addr.v);
        if (m && !(perm & ~(unsigned)m->flags)) {
            *out = (struct via_iommu_place){m->start, m->last, {m->phys}, m->flags & (VIA_PERM_R | VIA_PERM_W)};
            return 0;
        }
    }
    via_iommu_fault_raise(ep, dom ? VIA_IOMMU_FAULT_R_MAPPING : VIA_IOMMU_FAULT_R_DOMAIN, perm, addr.v);
    return -VIA_EFAULT;
}

static int resolve(struct via_xlate *x, via_iova addr, uint64_t len, unsigned perm, struct via_span *span)
{
    struct via_iommu_endpoint *ep = via_container_of(x, struct via_iommu_endpoint, xlate);
    struct via_iommu_place p;
    if (len == 0 || len - 1 > UINT64_MAX - addr.v)
        return -VIA_EFAULT;
    int rc = via_iommu_endpoint_find(ep, addr, perm, &p);
    if (rc < 0)
        return rc;
    via_iova at = {p.gpa.v + (addr.v - p.start)};
    uint64_t room = via_min64(len - 1, p.last - addr.v) + 1; /* of `len` at most, so it never is 2^64 */
    rc = via_xlate_resolve(ep->next, at, room, perm, span);
    if (rc == -VIA_EFAULT) /* translated to where there is no memory */
        via_iommu_fault_raise(ep, VIA_IOMMU_FAULT_R_UNKNOWN, perm, addr.v);
    return rc;
}

static const struct via_xlate_ops endpoint_ops = {.resolve = resolve};

/* Each two apart, one doorbell at most. */
static bool windows_sound(const struct via_iommu_endpoint *ep)
{
    unsigned doorbells = 0;
    for (unsigned i = 0; i < ep->n_windows; i++) {
        const struct via_iommu_window *w = &ep->window[i];
        doorbells += w->msi;
        if (w->start > w->last || doorbells > 1)
            return false;
        for (unsigned k = 0; k < i; k++)
            if (w->start <= ep->window[k].last && w->last >= ep->window[k].start)
                return false;
    }
    return true;
}

int via_iommu_device_add(struct via_iommu_device *d, struct via_iommu_endpoint *ep)
{
    if (!windows_sound(ep) || (d->cfg.probe_size && d->cfg.probe_size / sizeof(struct via_iommu_resv_mem) < ep->n_windows))
        return -VIA_EINVAL;
    if (via_iommu_endpoint_get(d, ep->id))
        return -VIA_EEXIST;
    if (d->n_endpoints == d->cfg.endpoints)
        return -VIA_ENOSPC;
    ep->xlate = (struct via_xlate){.ops = &endpoint_ops};
    ep->device = d;
    ep->domain = NULL;
    ep->peer = NULL;
    ep->told = (struct via_iommu_fault){0};
    via_tree_insert(&d->by_id, ep->id, d->n_endpoints);
    d->endpoint[d->n_endpoints++] = ep;
    return 0;
}
