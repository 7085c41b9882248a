/* SPDX-License-Identifier: BSD-2-Clause */
/* What the IOMMU device keeps: endpoints and domains by their numbers, and each domain's mappings in order. */
#include "iommu_parts.h"

struct via_iommu_endpoint *via_iommu_endpoint_get(const struct via_iommu_device *d, uint32_t id)
{
    uint32_t k = via_tree_floor(&d->by_id, id);
    return k != VIA_TREE_NONE && d->endpoint[k]->id == id ? d->endpoint[k] : NULL;
}

/* ------------------------------------------------------------------ domains */

struct via_iommu_domain *via_iommu_domain_get(const struct via_iommu_device *d, uint32_t id)
{
    uint32_t k = via_tree_floor(&d->by_domain, id);
    return k != VIA_TREE_NONE && d->domain[k].id == id ? &d->domain[k] : NULL;
}

struct via_iommu_domain *via_iommu_domain_new(struct via_iommu_device *d, uint32_t id, bool bypass)
{
    struct via_iommu_domain *dom = d->free_domain;
    if (!dom)
        return NULL;
    d->free_domain = dom->next;
    *dom = (struct via_iommu_domain){.id = id, .bypass = bypass};
    via_tree_init(&dom->tree, &d->nodes);
    via_tree_insert(&d->by_domain, id, (uint32_t)(dom - d->domain));
    d->n_domains++;
    return dom;
}

static void domain_end(struct via_iommu_device *d, struct via_iommu_domain *dom)
{
    for (struct via_iommu_mapping *m; (m = via_iommu_mapping_first(d, dom, 0, UINT64_MAX));)
        via_iommu_mapping_remove(d, dom, m);
    via_tree_end(&dom->tree);
    via_tree_remove(&d->by_domain, dom->id);
    dom->next = d->free_domain;
    d->free_domain = dom;
    d->n_domains--;
}

void via_iommu_domain_enter(struct via_iommu_domain *dom, struct via_iommu_endpoint *ep)
{
    ep->domain = dom;
    ep->peer = dom->endpoint;
    dom->endpoint = ep;
}

void via_iommu_domain_leave(struct via_iommu_endpoint *ep)
{
    struct via_iommu_domain *dom = ep->domain;
    struct via_iommu_endpoint **at = &dom->endpoint;
    while (*at != ep)
        at = &(*at)->peer;
    *at = ep->peer;
    ep->domain = NULL;
    ep->peer = NULL;
    if (!dom->endpoint)
        domain_end(ep->device, dom);
}

/* ------------------------------------------------------------------ mappings */

struct via_iommu_mapping *via_iommu_mapping_at(const struct via_iommu_device *d, const struct via_iommu_domain *dom, uint64_t addr)
{
    uint32_t k = via_tree_floor(&dom->tree, addr);
    return k != VIA_TREE_NONE && d->mapping[k].last >= addr ? &d->mapping[k] : NULL;
}

struct via_iommu_mapping *via_iommu_mapping_first(const struct via_iommu_device *d, const struct via_iommu_domain *dom, uint64_t start,
                                                  uint64_t last)
{
    struct via_iommu_mapping *m = via_iommu_mapping_at(d, dom, start);
    if (m)
        return m;
    uint32_t k = via_tree_above(&dom->tree, start);
    return k != VIA_TREE_NONE && d->mapping[k].start <= last ? &d->mapping[k] : NULL;
}

bool via_iommu_mapping_add(struct via_iommu_device *d, struct via_iommu_domain *dom, const struct via_iommu_mapping *m)
{
    uint32_t k = d->free_mapping;
    if (k != VIA_TREE_NONE)
        d->free_mapping = d->mapping[k].next;
    else if (d->fresh_mapping < d->cfg.mappings)
        k = d->fresh_mapping++;
    else
        return false;
    d->mapping[k] = *m;
    via_tree_insert(&dom->tree, m->start, k);
    d->n_mappings++;
    return true;
}

void via_iommu_mapping_remove(struct via_iommu_device *d, struct via_iommu_domain *dom, struct via_iommu_mapping *m)
{
    via_tree_remove(&dom->tree, m->start);
    m->next = d->free_mapping;
    d->free_mapping = (uint32_t)(m - d->mapping);
    d->n_mappings--;
}
