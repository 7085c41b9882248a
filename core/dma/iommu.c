/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * iommu: each request's pages at addresses of their own. A run is a list of segments that fit together at page boundaries; it takes one
 * range of addresses. Bytes keep their place in the page, so where runs begin and end can be told from a mapping's own segments, and
 * nothing else is written down about it. A segment is never cut, so it is in one run.
 */
#include <viaduct/iommu.h>
#include "segs.h"

static uint64_t page_of(const struct via_iommu_dma *d) { return 1ull << d->cfg.space->shift; }

static uint64_t in_page(const struct via_iommu_dma *d, uint64_t addr) { return addr & (page_of(d) - 1); }

static uint64_t end_of(const struct via_seg *seg) { return seg->addr.v + seg->len; } /* 0 is 2^64: in_page does not mind */

struct run {
    unsigned n; /* segments */
    uint64_t pages;
};

static struct run run_at(const struct via_iommu_dma *d, const struct via_seg *seg, unsigned n)
{
    struct run run = {1, 0};
    uint64_t bytes = in_page(d, seg[0].addr.v) + seg[0].len;
    for (; run.n < n && !in_page(d, end_of(&seg[run.n - 1])) && !in_page(d, seg[run.n].addr.v); run.n++)
        bytes += seg[run.n].len;
    run.pages = (bytes - 1) / page_of(d) + 1;
    return run;
}

static void quarantine(struct via_iommu_dma *d, via_iova start, uint64_t pages)
{
    via_iova_quarantine(d->cfg.space, start, pages);
    d->stats.quarantined += pages;
}

static int flush(struct via_iommu_dma *d)
{
    if (!d->waiting)
        return 0;
    int r = d->domain->ops->flush(d->domain);
    d->stats.flushes++;
    if (r < 0)
        d->stats.failed++;
    for (unsigned i = 0; i < d->waiting; i++) {
        if (r < 0)
            quarantine(d, d->cfg.stale[i].start, d->cfg.stale[i].pages);
        else
            via_iova_free(d->cfg.space, d->cfg.stale[i].start, d->cfg.stale[i].pages);
    }
    d->waiting = 0;
    return r < 0 ? r : 0;
}

int via_iommu_dma_flush(struct via_iommu_dma *d) { return flush(d); }

/* Take `pages` of a range of addresses out of the tables, the first `mapped` of which may be in there; it waits for a flush from now on. */
static void end_range(struct via_iommu_dma *d, via_iova start, uint64_t pages, uint64_t mapped)
{
    if (!mapped) {
        via_iova_free(d->cfg.space, start, pages);
        return;
    }
    if (d->domain->ops->unmap(d->domain, start.v, start.v + (mapped * page_of(d) - 1)) < 0) {
        d->stats.failed++;
        quarantine(d, start, pages);
        return;
    }
    if (!d->waiting)
        d->due_ns = d->cfg.window_ns > UINT64_MAX - 1 - d->now_ns ? UINT64_MAX - 1 : d->now_ns + d->cfg.window_ns;
    d->cfg.stale[d->waiting++] = (struct via_iommu_stale){start, pages};
    if (d->waiting == d->cfg.stale_cap)
        flush(d);
}

static void end_runs(struct via_iommu_dma *d, const struct via_seg *seg, unsigned n)
{
    while (n) {
        struct run run = run_at(d, seg, n);
        end_range(d, (via_iova){seg->addr.v - in_page(d, seg->addr.v)}, run.pages, run.pages);
        seg += run.n;
        n -= run.n;
    }
    if (d->cfg.mode == VIA_IOMMU_STRICT)
        flush(d);
}

static int take_range(struct via_iommu_dma *d, uint64_t pages, via_iova *start)
{
    int r = via_iova_alloc(d->cfg.space, pages, start);
    if (r == -VIA_EAGAIN && d->waiting) {
        flush(d);
        r = via_iova_alloc(d->cfg.space, pages, start);
    }
    if (r == -VIA_EAGAIN)
        d->stats.full++;
    return r;
}

/* One run's segments, of which the first `out` are readable, go to m's list at `start`. *n_out: how many of the list are readable. */
static bool add_run(struct via_segs *s, const struct via_seg *seg, unsigned n, unsigned out, uint64_t start, unsigned *n_out)
{
    unsigned first = s->n;
    for (unsigned i = 0; i < n; start += seg[i].len, i++) {
        struct via_seg *prev = s->n > first && i != out ? &s->seg[s->n - 1] : NULL;
        if (prev && (uint64_t)prev->len + seg[i].len <= VIA_SEG_MAX)
            prev->len += seg[i].len;
        else if (s->n == s->cap)
            return false;
        else
            s->seg[s->n++] = (struct via_seg){{start}, seg[i].len};
        if (i < out)
            *n_out = s->n;
    }
    return true;
}

/* Physically adjacent segments with the same rights are mapped at once. *done: pages that the IOMMU was asked for. */
static int map_run(struct via_iommu_dma *d, const struct via_seg *seg, unsigned n, unsigned out, uint64_t iova, uint64_t *done)
{
    unsigned in_perm = VIA_IOMMU_WRITE | (d->cfg.write_reads ? VIA_IOMMU_READ : 0);
    for (unsigned i = 0, k; i < n; i = k) {
        uint64_t off = in_page(d, seg[i].addr.v), bytes = off + seg[i].len;
        for (k = i + 1; k < n && k != out && seg[k].addr.v == end_of(&seg[k - 1]); k++)
            bytes += seg[k].len;
        uint64_t pages = (bytes - 1) / page_of(d) + 1, at = iova + *done * page_of(d);
        *done += pages;
        int r = d->domain->ops->map(d->domain, at, at + (pages * page_of(d) - 1), seg[i].addr.v - off, i < out ? VIA_IOMMU_READ : in_perm);
        if (r < 0)
            return r;
    }
    return 0;
}

static int place_run(struct via_iommu_dma *d, const struct via_seg *seg, struct run run, unsigned out, struct via_segs *s, unsigned *n_out)
{
    unsigned first = s->n;
    uint64_t done = 0, off = in_page(d, seg[0].addr.v);
    via_iova start;
    if (d->cfg.whole_pages && (off || in_page(d, end_of(&seg[run.n - 1]))))
        return -VIA_ERANGE;
    int r = take_range(d, run.pages, &start);
    if (r < 0)
        return r;
    r = add_run(s, seg, run.n, out, start.v + off, n_out) ? map_run(d, seg, run.n, out, start.v, &done) : -VIA_E2BIG;
    if (r < 0) {
        s->n = first;
        end_range(d, start, run.pages, done);
    }
    return r < 0 ? r : 0;
}

/* phys's segments at addresses, into s; all or nothing. */
static int place(struct via_iommu_dma *d, const struct via_mapping *phys, struct via_segs *s, unsigned *n_out)
{
    unsigned n = (unsigned)phys->n_out + phys->n_in;
    int r = 0;
    for (unsigned i = 0; i < n;) {
        struct run run = run_at(d, phys->seg + i, n - i);
        r = place_run(d, phys->seg + i, run, i < phys->n_out ? phys->n_out - i : 0, s, n_out);
        if (r < 0)
            break;
        i += run.n;
    }
    if (r < 0)
        end_runs(d, s->seg, s->n);
    return r;
}

static int map_pages(struct via_iommu_dma *d, const struct via_span *buf, unsigned out, unsigned in, struct via_mapping *m)
{
    struct via_segs s;
    struct via_mapping phys = {.seg = d->cfg.phys, .cap = (uint16_t)via_min64(d->cfg.phys_cap, UINT16_MAX)};
    unsigned n_out = 0;
    int r = via_segs_open(&s, m, out, in);
    if (!r)
        r = via_dma_map(d->dma.next, buf, out, in, &phys);
    if (r < 0)
        return r;
    uint64_t full = d->stats.full;
    r = place(d, &phys, &s, &n_out);
    via_dma_unmap(d->dma.next, &phys, 0);
    if (d->stats.full != full) {
        flush(d);
        if (!d->cfg.space->used) /* nothing is left that could come back */
            return -VIA_E2BIG;
    }
    if (!r)
        via_segs_close(&s, n_out, buf, out, in, m);
    return r;
}

static int iommu_map(struct via_dma *dma, const struct via_span *buf, unsigned out, unsigned in, struct via_mapping *m)
{
    struct via_iommu_dma *d = via_container_of(dma, struct via_iommu_dma, dma);
    int r = d->cfg.mode == VIA_IOMMU_IDENTITY ? via_dma_map(dma->next, buf, out, in, m) : map_pages(d, buf, out, in, m);
    if (!r)
        d->stats.maps++;
    return r;
}

static void iommu_unmap(struct via_dma *dma, struct via_mapping *m, uint32_t written)
{
    struct via_iommu_dma *d = via_container_of(dma, struct via_iommu_dma, dma);
    d->stats.unmaps++;
    if (d->cfg.mode == VIA_IOMMU_IDENTITY)
        via_dma_unmap(dma->next, m, written);
    else
        end_runs(d, m->seg, (unsigned)m->n_out + m->n_in);
}

static int iommu_sync(struct via_dma *dma, struct via_mapping *m, enum via_owner to, uint32_t written)
{
    const struct via_iommu_dma *d = via_container_of(dma, struct via_iommu_dma, dma);
    return d->cfg.mode == VIA_IOMMU_IDENTITY ? via_dma_sync(dma->next, m, to, written) : 0;
}

uint64_t via_iommu_dma_tick(struct via_iommu_dma *d, uint64_t now_ns)
{
    if (d->now_ns < now_ns)
        d->now_ns = now_ns;
    if (d->waiting && d->now_ns >= d->due_ns)
        flush(d);
    return d->waiting ? d->due_ns : UINT64_MAX;
}

static int map_identity(struct via_iommu_dma *d)
{
    const struct via_iova_range *mem = d->cfg.memory;
    for (unsigned i = 0; i < d->cfg.n_memory; i++) {
        int r = d->domain->ops->map(d->domain, mem[i].start, mem[i].last, mem[i].start, VIA_IOMMU_READ | VIA_IOMMU_WRITE);
        if (r < 0) {
            for (unsigned k = 0; k <= i; k++)
                (void)d->domain->ops->unmap(d->domain, mem[k].start, mem[k].last); /* no address of ours is at stake */
            (void)d->domain->ops->flush(d->domain);
            return r;
        }
    }
    return 0;
}

static const struct via_dma_ops iommu_ops = {"iommu", iommu_map, iommu_unmap, iommu_sync};

int via_iommu_dma_init(struct via_iommu_dma *d, struct via_dma *next, struct via_domain *domain, const struct via_iommu_cfg *cfg)
{
    bool identity = cfg->mode == VIA_IOMMU_IDENTITY;
    if (!next || !domain || (!identity && (!cfg->space || !cfg->phys || !cfg->phys_cap || !cfg->stale || !cfg->stale_cap)))
        return -VIA_EINVAL;
    for (unsigned i = 0; identity && i < cfg->n_memory; i++)
        if (cfg->memory[i].start > cfg->memory[i].last)
            return -VIA_EINVAL;
    *d = (struct via_iommu_dma){.dma = {&iommu_ops, next}, .domain = domain, .cfg = *cfg};
    return identity ? map_identity(d) : 0;
}
