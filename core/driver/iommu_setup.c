/* SPDX-License-Identifier: BSD-2-Clause */
/* The IOMMU driver set up from what the device says of itself, and ended. */
#include "iommu_parts.h"

uint64_t via_iommu_driver_features(uint64_t offered)
{
    return offered & (VIA_BIT(VIA_IOMMU_F_INPUT_RANGE) | VIA_BIT(VIA_IOMMU_F_DOMAIN_RANGE) | VIA_BIT(VIA_IOMMU_F_MAP_UNMAP) |
                      VIA_BIT(VIA_IOMMU_F_PROBE) | VIA_BIT(VIA_IOMMU_F_MMIO) | VIA_BIT(VIA_IOMMU_F_BYPASS_CONFIG));
}

size_t via_iommu_driver_probe_bytes(const struct via_iommu_config *c)
{
    return sizeof(struct via_iommu_probe) + (size_t)via_le32_value(c->probe_size) + sizeof(struct via_iommu_tail);
}

size_t via_iommu_driver_bytes(unsigned depth, unsigned faults) { return ((size_t)depth + 1 + faults) * sizeof(struct via_iommu_slot); }

/* Config space is the device's word: a copy of it is judged. Fields of features that were not accepted mean nothing. */
static int judge_config(struct via_iommu_driver *d)
{
    const struct via_iommu_config *c = &d->cfg.config;
    uint64_t sizes = via_le64_value(c->page_size_mask), features = d->cfg.features;
    d->input_last = UINT64_MAX;
    d->domain_last = UINT32_MAX;
    if (!sizes)
        return via_fault_set(&d->fault, -VIA_EPROTO, "the IOMMU has no page size", 0, 0);
    d->page = sizes & -sizes;
    if (features & VIA_BIT(VIA_IOMMU_F_INPUT_RANGE)) {
        d->input_start = via_le64_value(c->input_start);
        d->input_last = via_le64_value(c->input_end);
    }
    if (features & VIA_BIT(VIA_IOMMU_F_DOMAIN_RANGE)) {
        d->domain_start = via_le32_value(c->domain_start);
        d->domain_last = via_le32_value(c->domain_end);
    }
    if (features & VIA_BIT(VIA_IOMMU_F_PROBE))
        d->probe_size = via_le32_value(c->probe_size);
    if (d->input_start > d->input_last)
        return via_fault_set(&d->fault, -VIA_EPROTO, "the IOMMU's input range ends before it starts", d->input_start, d->input_last);
    if (d->domain_start > d->domain_last)
        return via_fault_set(&d->fault, -VIA_EPROTO, "the IOMMU's range of domains ends before it starts", d->domain_start, d->domain_last);
    return 0;
}

int via_iommu_driver_init(struct via_iommu_driver *d, const struct via_iommu_driver_cfg *cfg, void *storage)
{
    *d = (struct via_iommu_driver){.cfg = *cfg, .slot = storage};
    bool probes = cfg->features & VIA_BIT(VIA_IOMMU_F_PROBE);
    if (!cfg->ops || !cfg->requests || !cfg->dma || !cfg->depth || !cfg->wire || (cfg->events && (!cfg->faults || !cfg->fault)))
        return -VIA_EINVAL;
    if (!(cfg->features & VIA_BIT(VIA_IOMMU_F_MAP_UNMAP)))
        return -VIA_ENOTSUP;
    int rc = judge_config(d);
    if (rc < 0)
        return rc;
    if (probes && (!cfg->probe || cfg->probe_bytes < via_iommu_driver_probe_bytes(&cfg->config)))
        return -VIA_ENOSPC;
    for (unsigned i = cfg->depth; i-- > 0;) {
        d->slot[i] = (struct via_iommu_slot){.next = d->free, .wire = &cfg->wire[i]};
        d->free = &d->slot[i];
    }
    d->slot[cfg->depth] = (struct via_iommu_slot){.wire = cfg->probe};
    for (unsigned i = 0; cfg->events && i < cfg->faults; i++) {
        struct via_iommu_slot *s = &d->slot[cfg->depth + 1 + i];
        *s = (struct via_iommu_slot){.next = d->idle, .wire = &cfg->fault[i], .buf[1] = {&cfg->fault[i], sizeof(cfg->fault[i])}};
        d->idle = s;
    }
    if (cfg->events)
        via_iommu_events_post(d);
    return 0;
}

static void end_queue(struct via_iommu_driver *d, struct via_vq *vq)
{
    for (struct via_iommu_slot *s; (s = via_vq_detach(vq));)
        via_dma_unmap(d->cfg.dma, &s->map, 0);
}

void via_iommu_driver_end(struct via_iommu_driver *d)
{
    d->dead = -VIA_ENODEV;
    end_queue(d, d->cfg.requests);
    if (d->cfg.events)
        end_queue(d, d->cfg.events);
}

int via_iommu_driver_iova(const struct via_iommu_driver_domain *dom, uint64_t mask, struct via_iova_cfg *out)
{
    const struct via_iommu_driver *d = dom->driver;
    unsigned shift = (unsigned)__builtin_ctzll(d->page);
    if (shift > 30)
        return -VIA_ENOTSUP;
    *out = (struct via_iova_cfg){.shift = shift < 12 ? 12 : shift, .range = {d->input_start, d->input_last}, .mask = mask};
    if (dom->windows) {
        out->reserved = dom->windows->range;
        out->n_reserved = dom->windows->n;
    }
    return 0;
}
