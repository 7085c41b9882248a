/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * domain: which translations there are, and which endpoint may hold which. The table of pages is all the state: a page without
 * rights that still has holders is what a flush has to send invalidations for.
 */
#include <viaduct/domain.h>

#define RUN_PAGES 256u /* that an answer reaches to either side of what was asked for */
#define RIGHTS (VIA_PERM_R | VIA_PERM_W)
#define HOLDERS_AT 2u
#define HOLDERS (((UINT64_C(1) << VIA_FRONT_ENDPOINTS) - 1) << HOLDERS_AT)
#define LOW_BITS (RIGHTS | HOLDERS)

_Static_assert(LOW_BITS < 1u << 12, "rights and holders fit beside the address of the smallest page");
_Static_assert((int)VIA_IOMMU_READ == (int)VIA_PERM_R && (int)VIA_IOMMU_WRITE == (int)VIA_PERM_W,
               "both ends of a ring mean the same rights");

static struct via_front_domain *domain_of(struct via_domain *d) { return via_container_of(d, struct via_front_domain, domain); }

static uint64_t page_bytes(const struct via_front_domain *d) { return UINT64_C(1) << d->cfg.shift; }

static unsigned perm_of(const struct via_front_domain *d, uint64_t i) { return d->page[i].word & RIGHTS; }

static uint64_t uva_of(const struct via_front_domain *d, uint64_t i) { return d->page[i].word & ~(page_bytes(d) - 1); }

static uint64_t holder(const struct via_endpoint *e) { return UINT64_C(1) << HOLDERS_AT << e->bit; }

/* ------------------------------------------------------------------ messages */

static int send_update(struct via_endpoint *e, uint64_t iova, uint64_t size, uint64_t uva, unsigned perm)
{
    const struct via_vu_iotlb m = {.iova = iova, .size = size, .uva = uva, .perm = (uint8_t)perm, .type = VIA_VU_IOTLB_UPDATE};
    e->updates++;
    return via_client_iotlb(&e->client, &m, false, NULL);
}

static int send_invalidate(struct via_endpoint *e, uint64_t iova, uint64_t size)
{
    const struct via_vu_iotlb m = {.iova = iova, .size = size, .type = VIA_VU_IOTLB_INVALIDATE};
    e->invalidates++;
    return via_client_iotlb(&e->client, &m, false, NULL);
}

/* From now on e counts as a holder of pages [first, end), which continue one another; it is one even if this fails. */
static int send_pages(struct via_front_domain *d, struct via_endpoint *e, uint64_t first, uint64_t end)
{
    for (uint64_t i = first; i < end; i++)
        d->page[i].word |= holder(e);
    return send_update(e, d->cfg.range.start + (first << d->cfg.shift), (end - first) << d->cfg.shift, uva_of(d, first), perm_of(d, first));
}

static int send_wide(struct via_endpoint *e, struct via_front_wide *w)
{
    w->held |= (uint8_t)(1u << e->bit);
    return send_update(e, w->iova, w->last - w->iova + 1, w->uva, w->perm);
}

/* ------------------------------------------------------------------ map */

/* The user address of phys, and how many of `bytes` from there on are in one region; 0: none. */
static uint64_t find_memory(const struct via_front_domain *d, uint64_t phys, uint64_t bytes, uint64_t *uva)
{
    for (unsigned i = 0; i < d->cfg.n_memory; i++) {
        const struct via_vu_region *m = &d->cfg.memory[i];
        if (phys < m->gpa || phys - m->gpa >= m->size)
            continue;
        *uva = m->uva + (phys - m->gpa);
        return via_min64(bytes, m->size - (phys - m->gpa));
    }
    return 0;
}

static int map_pages(struct via_front_domain *d, uint64_t iova, uint64_t bytes, uint64_t uva, unsigned perm)
{
    uint64_t first = (iova - d->cfg.range.start) >> d->cfg.shift, end = first + (bytes >> d->cfg.shift);
    for (uint64_t i = first; i < end; i++, uva += page_bytes(d)) {
        if (d->page[i].word)
            return perm_of(d, i) ? -VIA_EEXIST : -VIA_EBUSY;
        d->page[i].word = uva | perm;
    }
    int r = 0;
    for (unsigned k = 0; k < VIA_FRONT_ENDPOINTS && d->cfg.push && !r; k++)
        r = d->endpoint[k] ? send_pages(d, d->endpoint[k], first, end) : 0;
    return r;
}

static bool is_free(const struct via_front_wide *w) { return !w->perm && !w->held; }

static int map_wide(struct via_front_domain *d, uint64_t iova, uint64_t bytes, uint64_t uva, unsigned perm)
{
    struct via_front_wide *to = NULL;
    for (unsigned i = 0; i < VIA_FRONT_WIDE; i++) {
        struct via_front_wide *w = &d->wide[i];
        if (is_free(w))
            to = w;
        else if (iova <= w->last && w->iova <= iova + (bytes - 1))
            return w->perm ? -VIA_EEXIST : -VIA_EBUSY;
    }
    if (!to)
        return -VIA_ENOSPC;
    *to = (struct via_front_wide){iova, iova + (bytes - 1), uva, (uint8_t)perm, 0};
    int r = 0;
    for (unsigned k = 0; k < VIA_FRONT_ENDPOINTS && !r; k++)
        if (d->endpoint[k]) {
            r = send_wide(d->endpoint[k], to);
            if (!r)
                r = via_client_iotlb_settle(&d->endpoint[k]->client, NULL);
        }
    return r;
}

enum place { APART, WITHIN, ASTRIDE };

/* Where [iova, last] is, seen from the range that is mapped page by page. */
static enum place place_of(const struct via_front_domain *d, uint64_t iova, uint64_t last)
{
    const struct via_iova_range *r = &d->cfg.range;
    if (!d->pages || last < r->start || iova > r->last)
        return APART;
    return iova >= r->start && last <= r->last ? WITHIN : ASTRIDE;
}

static bool is_whole(const struct via_front_domain *d, uint64_t iova, uint64_t last)
{
    return iova < last && !(iova & (page_bytes(d) - 1)) && !(~last & (page_bytes(d) - 1));
}

static int front_map(struct via_domain *domain, uint64_t iova, uint64_t last, uint64_t phys, unsigned perm)
{
    struct via_front_domain *d = domain_of(domain);
    enum place place = place_of(d, iova, last);
    if (!is_whole(d, iova, last) || phys & (page_bytes(d) - 1) || !perm || perm & ~RIGHTS || place == ASTRIDE)
        return -VIA_EINVAL;
    uint64_t left = last - iova + 1, uva, n;
    int r;
    do { /* left is 0 for all addresses there are: no memory is as large */
        n = find_memory(d, phys, left, &uva);
        if (!n)
            return -VIA_ERANGE;
        r = place == WITHIN ? map_pages(d, iova, n, uva, perm) : map_wide(d, iova, n, uva, perm);
        iova += n;
        phys += n;
        left -= n;
    } while (left && !r);
    return r;
}

/* ------------------------------------------------------------------ unmap and flush */

static int front_unmap(struct via_domain *domain, uint64_t iova, uint64_t last)
{
    struct via_front_domain *d = domain_of(domain);
    const struct via_iova_range *range = &d->cfg.range;
    if (!is_whole(d, iova, last))
        return -VIA_EINVAL;
    for (unsigned i = 0; i < VIA_FRONT_WIDE; i++)
        if (d->wide[i].iova <= last && iova <= d->wide[i].last)
            d->wide[i].perm = 0;
    if (place_of(d, iova, last) == APART)
        return 0;
    uint64_t first = iova <= range->start ? 0 : (iova - range->start) >> d->cfg.shift;
    uint64_t end = ((via_min64(last, range->last) - range->start) >> d->cfg.shift) + 1;
    for (uint64_t i = first; i < end; i++)
        d->page[i].word &= HOLDERS;
    if (d->stale_first > first)
        d->stale_first = first;
    if (d->stale_end < end)
        d->stale_end = end;
    return 0;
}

/* Send invalidations of all that e may hold and that is unmapped. The number of messages, or a failure. */
static int revoke(struct via_front_domain *d, struct via_endpoint *e)
{
    int sent = 0, r = 0;
    for (uint64_t i = d->stale_first; i < d->stale_end && !r; i++) {
        if (perm_of(d, i) || !(d->page[i].word & holder(e)))
            continue;
        uint64_t end = i + 1;
        for (uint64_t k = end; k < d->stale_end && !perm_of(d, k); k++)
            if (d->page[k].word & holder(e))
                end = k + 1;
        r = send_invalidate(e, d->cfg.range.start + (i << d->cfg.shift), (end - i) << d->cfg.shift);
        i = end;
        sent++;
    }
    for (unsigned i = 0; i < VIA_FRONT_WIDE && !r; i++) {
        const struct via_front_wide *w = &d->wide[i];
        if (w->perm || !(w->held & 1u << e->bit))
            continue;
        r = send_invalidate(e, w->iova, w->last - w->iova + 1);
        sent++;
    }
    return r < 0 ? r : sent;
}

/* e holds nothing any more of what is unmapped in pages [first, end), and of wide mappings. */
static void release(struct via_front_domain *d, const struct via_endpoint *e, uint64_t first, uint64_t end)
{
    for (uint64_t i = first; i < end; i++)
        if (!perm_of(d, i))
            d->page[i].word &= ~holder(e);
    for (unsigned i = 0; i < VIA_FRONT_WIDE; i++)
        if (!d->wide[i].perm)
            d->wide[i].held &= (uint8_t) ~(1u << e->bit);
}

/* All endpoints are asked before the first answer is waited for. Misses may be answered meanwhile: of pages that are mapped, no others. */
static int front_flush(struct via_domain *domain)
{
    struct via_front_domain *d = domain_of(domain);
    int sent[VIA_FRONT_ENDPOINTS] = {0}, result = 0;
    for (unsigned k = 0; k < VIA_FRONT_ENDPOINTS; k++)
        if (d->endpoint[k])
            sent[k] = revoke(d, d->endpoint[k]);
    for (unsigned k = 0; k < VIA_FRONT_ENDPOINTS; k++) {
        int r = sent[k] > 0 ? via_client_iotlb_settle(&d->endpoint[k]->client, NULL) : sent[k];
        if (r < 0)
            result = r;
        else if (sent[k])
            release(d, d->endpoint[k], d->stale_first, d->stale_end);
    }
    if (!result) {
        d->stale_first = d->pages;
        d->stale_end = 0;
    }
    return result;
}

/* ------------------------------------------------------------------ misses */

/* Whether page k continues page i, to whose right it is `by` pages. */
static bool continues(const struct via_front_domain *d, uint64_t i, uint64_t k)
{
    return perm_of(d, k) == perm_of(d, i) && uva_of(d, k) - uva_of(d, i) == (k - i) << d->cfg.shift;
}

/* A back-end asks for a buffer's pages one by one, without waiting: the answer to the first one was mostly the answer to them all. */
static bool was_sent(const struct via_front_domain *d, const struct via_endpoint *e, uint64_t i)
{
    return e->round == e->client.round && i >= e->first && i < e->end && d->page[i].word & holder(e);
}

static int miss_of_page(struct via_front_domain *d, struct via_endpoint *e, uint64_t i, unsigned perm)
{
    if (perm & ~perm_of(d, i))
        return -VIA_EFAULT;
    if (was_sent(d, e, i))
        return 0;
    uint64_t first = i, end = i + 1;
    while (first && i - first < RUN_PAGES && continues(d, i, first - 1))
        first--;
    while (end < d->pages && end - i < RUN_PAGES && continues(d, i, end))
        end++;
    e->round = e->client.round;
    e->first = first;
    e->end = end;
    return send_pages(d, e, first, end);
}

static int answer_miss(struct via_front_domain *d, struct via_endpoint *e, uint64_t iova, unsigned perm)
{
    if (place_of(d, iova, iova) == WITHIN)
        return miss_of_page(d, e, (iova - d->cfg.range.start) >> d->cfg.shift, perm);
    for (unsigned i = 0; i < VIA_FRONT_WIDE; i++) {
        struct via_front_wide *w = &d->wide[i];
        if (w->perm && iova >= w->iova && iova <= w->last)
            return perm & ~(unsigned)w->perm ? -VIA_EFAULT : send_wide(e, w);
    }
    return -VIA_EFAULT;
}

static int front_miss(struct via_client *c, const struct via_vu_iotlb *m)
{
    struct via_endpoint *e = via_container_of(c, struct via_endpoint, client);
    int r = m->perm && !(m->perm & ~RIGHTS) ? answer_miss(e->domain, e, m->iova, m->perm) : -VIA_EFAULT;
    e->refused += r == -VIA_EFAULT;
    return r;
}

/* ------------------------------------------------------------------ domain and endpoints */

static const struct via_iommu_ops front_ops = {front_map, front_unmap, front_flush};

int via_front_domain_init(struct via_front_domain *d, const struct via_front_domain_cfg *cfg, struct via_front_page *page, size_t pages)
{
    *d = (struct via_front_domain){.domain = {&front_ops}, .cfg = *cfg, .page = page};
    if (cfg->shift < 12 || cfg->shift > 30)
        return -VIA_EINVAL;
    for (unsigned i = 0; i < cfg->n_memory; i++) {
        const struct via_vu_region *m = &cfg->memory[i];
        if (!m->size || (m->gpa | m->size | m->uva) & (page_bytes(d) - 1) || m->size - 1 > UINT64_MAX - m->gpa ||
            m->size - 1 > UINT64_MAX - m->uva)
            return -VIA_EINVAL;
    }
    if (cfg->range.start <= cfg->range.last) {
        d->pages = ((cfg->range.last - cfg->range.start) >> cfg->shift) + 1;
        if (!is_whole(d, cfg->range.start, cfg->range.last) || d->pages > pages)
            return -VIA_EINVAL;
    }
    for (uint64_t i = 0; i < d->pages; i++)
        page[i].word = 0;
    d->stale_first = d->pages;
    return 0;
}

static int greet(struct via_endpoint *e, struct via_front_domain *d)
{
    int r = 0;
    for (unsigned i = 0; i < VIA_FRONT_WIDE && !r; i++)
        r = d->wide[i].perm ? send_wide(e, &d->wide[i]) : 0;
    return r;
}

int via_endpoint_attach(struct via_endpoint *e, struct via_front_domain *d, struct via_err *err)
{
    unsigned k = 0;
    if (!(e->client.front.features & VIA_BIT(VIA_F_ACCESS_PLATFORM)))
        return via_err_set(err, -VIA_ENOTSUP, "the back-end does not translate addresses (it lacks ACCESS_PLATFORM)");
    if (e->client.req_fd < 0)
        return via_err_set(err, -VIA_ENOTSUP, "the back-end can't ask for translations (it lacks the protocol feature BACKEND_REQ)");
    while (k < VIA_FRONT_ENDPOINTS && d->endpoint[k])
        k++;
    if (k == VIA_FRONT_ENDPOINTS)
        return via_err_set(err, -VIA_ENOSPC, "a domain has room for %u back-ends", VIA_FRONT_ENDPOINTS);
    d->endpoint[k] = e;
    e->domain = d;
    e->bit = k;
    e->first = e->end = e->updates = e->invalidates = e->refused = 0;
    e->client.miss = front_miss;
    int r = greet(e, d);
    if (!r)
        r = via_client_iotlb_settle(&e->client, err);
    if (r < 0)
        via_endpoint_detach(e);
    return r;
}

void via_endpoint_detach(struct via_endpoint *e)
{
    struct via_front_domain *d = e->domain;
    if (!d)
        return;
    for (uint64_t i = 0; i < d->pages; i++)
        d->page[i].word &= ~holder(e);
    for (unsigned i = 0; i < VIA_FRONT_WIDE; i++)
        d->wide[i].held &= (uint8_t) ~(1u << e->bit);
    d->endpoint[e->bit] = NULL;
    e->domain = NULL;
    e->client.miss = NULL;
}
