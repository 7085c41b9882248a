/* SPDX-License-Identifier: BSD-2-Clause */
/* The IOMMU device set up, and what it says of itself: features and config space. */
#include "iommu_parts.h"

struct layout { /* offsets into the storage; what needs most alignment first */
    size_t node, mapping, domain, wait, fault, buffer, endpoint, total;
};

static struct layout layout_of(const struct via_iommu_device_cfg *c)
{
    struct layout l = {0};
    /* One tree for all domains' mappings would take so many nodes; each has one node of its own beside. */
    size_t nodes = via_tree_nodes(c->mappings) + c->domains + via_tree_nodes(c->domains) + via_tree_nodes(c->endpoints);
    l.mapping = l.node + nodes * sizeof(struct via_tree_node);
    l.domain = l.mapping + c->mappings * sizeof(struct via_iommu_mapping);
    l.wait = l.domain + c->domains * sizeof(struct via_iommu_domain);
    l.fault = l.wait + c->waits * sizeof(struct via_iommu_wait);
    l.buffer = l.fault + c->faults * sizeof(struct via_iommu_fault);
    l.endpoint = l.buffer + c->buffers * sizeof(struct via_req *);
    l.total = l.endpoint + c->endpoints * sizeof(struct via_iommu_endpoint *);
    return l;
}

size_t via_iommu_device_bytes(const struct via_iommu_device_cfg *c) { return layout_of(c).total; }

static bool cfg_sound(const struct via_iommu_device_cfg *c)
{
    uint64_t rest = (c->page_size_mask & -c->page_size_mask) - 1; /* of an address in a page */
    if (!c->page_size_mask || c->input_start > c->input_last || c->domain_start > c->domain_last)
        return false;
    if (c->input_start & rest || (c->input_last & rest) != rest)
        return false;
    return c->endpoints && c->domains && c->mappings && c->waits && c->faults && c->buffers && c->mappings < VIA_TREE_NONE;
}

int via_iommu_device_init(struct via_iommu_device *d, const struct via_iommu_device_cfg *cfg, void *storage)
{
    if (!cfg_sound(cfg))
        return -VIA_EINVAL;
    struct layout l = layout_of(cfg);
    char *at = storage;
    *d = (struct via_iommu_device){.requests.ops = &via_iommu_request_ops,
                                   .events.ops = &via_iommu_event_ops,
                                   .cfg = *cfg,
                                   .bypass = cfg->bypass,
                                   .mapping = (void *)(at + l.mapping),
                                   .free_mapping = VIA_TREE_NONE,
                                   .domain = (void *)(at + l.domain),
                                   .wait = (void *)(at + l.wait),
                                   .fault = (void *)(at + l.fault),
                                   .buffer = (void *)(at + l.buffer),
                                   .endpoint = (void *)(at + l.endpoint)};
    via_tree_pool_init(&d->nodes, (void *)(at + l.node));
    via_tree_init(&d->by_id, &d->nodes);
    via_tree_init(&d->by_domain, &d->nodes);
    for (uint32_t i = cfg->domains; i-- > 0;) {
        d->domain[i].next = d->free_domain;
        d->free_domain = &d->domain[i];
    }
    d->own.device = d;
    for (uint32_t i = cfg->waits; i-- > 0;) {
        d->wait[i] = (struct via_iommu_wait){.device = d, .next = d->free_wait};
        d->free_wait = &d->wait[i];
    }
    return 0;
}

uint64_t via_iommu_device_features(const struct via_iommu_device *d)
{
    const struct via_iommu_device_cfg *c = &d->cfg;
    uint64_t f = VIA_BIT(VIA_IOMMU_F_MAP_UNMAP) | VIA_BIT(VIA_IOMMU_F_BYPASS_CONFIG);
    if (c->input_start || c->input_last != UINT64_MAX)
        f |= VIA_BIT(VIA_IOMMU_F_INPUT_RANGE);
    if (c->domain_start || c->domain_last != UINT32_MAX)
        f |= VIA_BIT(VIA_IOMMU_F_DOMAIN_RANGE);
    if (c->probe_size)
        f |= VIA_BIT(VIA_IOMMU_F_PROBE);
    if (c->mmio)
        f |= VIA_BIT(VIA_IOMMU_F_MMIO);
    return f;
}

void via_iommu_device_config(const struct via_iommu_device *d, uint32_t offset, void *out, uint32_t len)
{
    struct via_iommu_config c = {.page_size_mask = via_le64_make(d->cfg.page_size_mask),
                                 .input_start = via_le64_make(d->cfg.input_start),
                                 .input_end = via_le64_make(d->cfg.input_last),
                                 .domain_start = via_le32_make(d->cfg.domain_start),
                                 .domain_end = via_le32_make(d->cfg.domain_last),
                                 .probe_size = via_le32_make(d->cfg.probe_size),
                                 .bypass = d->bypass};
    struct via_span whole = {&c, sizeof(c)};
    size_t n = via_spans_read(&whole, 1, offset, out, len);
    memset((char *)out + n, 0, len - n);
}
