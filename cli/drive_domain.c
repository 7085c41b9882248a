/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * drive: the back-end behind an IOMMU of ours. Physical memory is at its own addresses for good (identity), or rings and pool are at some
 * for good and each request's pages at others for as long as it lasts.
 */
#include <stdlib.h>
#include <string.h>

#include "drive_parts.h"

#define PAGE_SHIFT 12u
#define PAGE (UINT64_C(1) << PAGE_SHIFT)
#define IOVA_PAGES (UINT64_C(1) << 40) /* addresses that change begin here, where the device can name them */
#define PAGES_MAX (UINT64_C(1) << 24)  /* of addresses, for all that is in flight or waits for a flush */
#define STALE 128u                     /* ranges of a queue that wait for a flush; strict: of a request */
#define WINDOW_NS UINT64_C(10000000)   /* lazy: how long they wait */

static bool is_lazy(const struct via_drive *d) { return d->opts.dma == VIA_DRIVE_IOMMU_LAZY || d->opts.dma == VIA_DRIVE_HYBRID_LAZY; }

static unsigned table_len(const struct via_drive *d) { return d->seg_max + 2; }

/* Twice what all requests could need at a time, each range of theirs rounded up to a power of two. Who needs more waits. */
static uint64_t count_pages(const struct via_drive *d)
{
    uint64_t request = 2 * (d->opts.block_size / PAGE + 2 * (uint64_t)d->span_max) + 4;
    return via_min64(PAGES_MAX, d->opts.queues * (UINT64_C(2) * d->opts.depth * request + 1024));
}

static uint64_t pages_start(const struct via_drive *d)
{
    const struct via_phys_range *stay = &d->mem.stay;
    return d->opts.wish.mask > 2 * IOVA_PAGES ? IOVA_PAGES : stay->phys + ((stay->len + PAGE - 1) & ~(PAGE - 1));
}

static int open_tables(struct via_drive *d, uint64_t pages)
{
    struct via_drive_domain *m = &d->domain;
    uint64_t start = pages_start(d);
    int r = via_drive_policy_check(d, start + (pages * PAGE - 1));
    if (r)
        return r;
    m->page = calloc(pages, sizeof(*m->page));
    m->node = calloc(pages, sizeof(*m->node));
    if (!m->page || !m->node)
        return via_err_set(&d->err, -VIA_ENOMEM, "no memory for tables of %llu pages: lower --depth", (unsigned long long)pages);
    struct via_iova_cfg cfg = {
        .shift = PAGE_SHIFT, .range = {start, start + (pages * PAGE - 1)}, .mask = d->opts.wish.mask, .reserved = NULL};
    if (via_iova_init(&m->space, &cfg, m->node, pages))
        return via_err_set(&d->err, -VIA_EINVAL, "there are no %llu pages of addresses", (unsigned long long)pages);
    return 0;
}

static int map_for_good(struct via_drive *d)
{
    struct via_drive_domain *m = &d->domain;
    const struct via_drive_memory *mem = &d->mem;
    struct via_span span = {mem->stay.ptr, mem->stay.len};
    struct via_seg seg;
    struct via_mapping map = {.seg = &seg, .cap = 1};
    if (d->opts.dma == VIA_DRIVE_IDENTITY) {
        m->memory = (struct via_iova_range){mem->region[0].gpa, mem->region[0].gpa + (mem->region[0].size - 1)};
        const struct via_iommu_cfg cfg = {.mode = VIA_IOMMU_IDENTITY, .memory = &m->memory, .n_memory = 1};
        return via_iommu_dma_init(&m->identity, mem->base, &m->front.domain, &cfg);
    }
    int r = via_dma_map(mem->base, &span, 1, 0, &map);
    if (r)
        return r;
    uint64_t phys = seg.addr.v;
    via_dma_unmap(mem->base, &map, 0);
    return m->front.domain.ops->map(&m->front.domain, mem->stay.phys, mem->stay.phys + (mem->stay.len - 1), phys,
                                    VIA_IOMMU_READ | VIA_IOMMU_WRITE);
}

int via_drive_domain_open(struct via_drive *d)
{
    struct via_drive_domain *m = &d->domain;
    uint64_t pages = via_drive_mapped(d->opts.dma) ? count_pages(d) : 0;
    struct via_front_domain_cfg cfg = {
        .memory = d->mem.region, .n_memory = d->mem.regions, .shift = PAGE_SHIFT, .range = {1, 0}, .push = d->opts.push};
    int r = pages ? open_tables(d, pages) : 0;
    if (r)
        return r;
    if (pages)
        cfg.range = (struct via_iova_range){pages_start(d), pages_start(d) + (pages * PAGE - 1)};
    r = via_front_domain_init(&m->front, &cfg, m->page, pages);
    if (!r)
        r = map_for_good(d);
    return r ? via_err_set(&d->err, r, "memory can't be mapped for the device: %s", strerror(-r)) : 0;
}

static int open_hybrid(struct via_drive *d, struct via_drive_queue *q, struct via_dma *small)
{
    struct via_drive_iommu *m = &q->iommu;
    uint16_t pieces = (uint16_t)(2 * (d->span_max + 2));
    const struct via_hybrid_cfg cfg = {
        .small = small,
        .large = &m->dma.dma,
        .threshold = d->opts.threshold,
        .page = (uint32_t)PAGE,
        .depth = (uint16_t)d->opts.depth,
        .pieces = pieces,
        .segs = (uint16_t)(table_len(d) + pieces),
    };
    m->hybrid_storage = aligned_alloc(64, (via_hybrid_bytes(&cfg) + 63) & ~(size_t)63);
    return m->hybrid_storage ? via_hybrid_init(&m->hybrid, &cfg, m->hybrid_storage) : -VIA_ENOMEM;
}

struct via_dma *via_drive_domain_stack(struct via_drive *d, struct via_drive_queue *q, struct via_dma *small)
{
    struct via_drive_iommu *m = &q->iommu;
    if (d->opts.dma == VIA_DRIVE_IDENTITY)
        return &d->domain.identity.dma;
    m->phys = calloc(table_len(d), sizeof(*m->phys));
    m->stale = calloc(STALE, sizeof(*m->stale));
    const struct via_iommu_cfg cfg = {
        .mode = is_lazy(d) ? VIA_IOMMU_LAZY : VIA_IOMMU_STRICT,
        .whole_pages = small != NULL,
        .window_ns = WINDOW_NS,
        .space = &d->domain.space,
        .phys = m->phys,
        .phys_cap = table_len(d),
        .stale = m->stale,
        .stale_cap = STALE,
    };
    int r = m->phys && m->stale ? via_iommu_dma_init(&m->dma, d->mem.base, &d->domain.front.domain, &cfg) : -VIA_ENOMEM;
    if (!r && small)
        r = open_hybrid(d, q, small);
    if (!r)
        return small ? &m->hybrid.dma : &m->dma.dma;
    (void)via_err_set(&d->err, r, "a queue's mappings can't be set up: %s", strerror(-r));
    return NULL;
}

int via_drive_domain_serve(struct via_drive *d)
{
    struct via_client *c = &d->end.client;
    if (c->front.broken) /* found out while a request was unmapped, where it can't be told */
        return via_err_set(&d->err, -VIA_EPROTO,
                           "the back-end did not answer what it was told of mappings: nobody knows what it still reaches");
    int r = via_client_back_req(c, &d->err);
    return r < 0 ? r : 0;
}

int via_drive_domain_tick(struct via_drive *d, int most)
{
    uint64_t due = UINT64_MAX;
    if (!is_lazy(d))
        return most;
    for (unsigned i = 0; i < d->opts.queues; i++)
        due = via_min64(due, via_iommu_dma_tick(&d->queue[i].iommu.dma, d->now));
    if (due == UINT64_MAX)
        return most;
    return (int)via_min64((uint64_t)most, due <= d->now ? 0 : (due - d->now) / 1000000 + 1);
}

uint64_t via_drive_domain_failed(const struct via_drive *d, uint64_t *flushes)
{
    uint64_t failed = 0;
    *flushes = 0;
    for (unsigned i = 0; i < d->opts.queues; i++) {
        failed += d->queue[i].iommu.dma.stats.failed;
        *flushes += d->queue[i].iommu.dma.stats.flushes;
    }
    return failed;
}

void via_drive_domain_close_queue(struct via_drive_queue *q)
{
    free(q->iommu.phys);
    free(q->iommu.stale);
    free(q->iommu.hybrid_storage);
    q->iommu.phys = NULL;
    q->iommu.stale = NULL;
    q->iommu.hybrid_storage = NULL;
}

void via_drive_domain_close(struct via_drive *d)
{
    free(d->domain.page);
    free(d->domain.node);
    d->domain.page = NULL;
    d->domain.node = NULL;
}
