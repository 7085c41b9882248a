/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * iova: I/O virtual addresses, by a buddy allocator. Free blocks of each power of two are in a list through the nodes of their first pages,
 * so that blocks of a size are found and merged without a search. Common sizes are not merged at once: a stack for each keeps what came
 * back last, until a request finds nothing elsewhere.
 */
#include <viaduct/iommu.h>

#define TOP (VIA_IOVA_ORDERS - 1)
#define NONE UINT32_MAX

/* A node's state: what begins with its page, and of which order. A page inside of a block, or never to be given out, is none of these. */
enum { FREE = 0x40, HELD = 0x80, CACHED = 0xc0 };

static uint32_t size_of(unsigned order) { return 1u << order; }

static void push(struct via_iova_space *s, uint32_t i, unsigned order)
{
    uint32_t head = s->free[order];
    s->node[i] = (struct via_iova_node){head, NONE, (uint8_t)(FREE | order)};
    if (head != NONE)
        s->node[head].prev = i;
    s->free[order] = i;
}

static void take_out(struct via_iova_space *s, uint32_t i, unsigned order)
{
    struct via_iova_node *n = &s->node[i];
    VIA_ASSERT(n->state == (FREE | order));
    if (n->prev == NONE)
        s->free[order] = n->next;
    else
        s->node[n->prev].next = n->next;
    if (n->next != NONE)
        s->node[n->next].prev = n->prev;
    n->state = 0;
}

/* The other half of the block of twice the size. Halves are by address, not by place in the space; NONE: it is outside. */
static uint32_t buddy_of(const struct via_iova_space *s, uint32_t i, unsigned order)
{
    uint64_t page = (s->first + i) ^ size_of(order);
    return page >= s->first && page - s->first < s->pages ? (uint32_t)(page - s->first) : NONE;
}

static void merge(struct via_iova_space *s, uint32_t i, unsigned order)
{
    for (s->node[i].state = 0; order < TOP; order++) {
        uint32_t buddy = buddy_of(s, i, order);
        if (buddy == NONE || s->node[buddy].state != (FREE | order))
            break;
        take_out(s, buddy, order);
        if (buddy < i)
            i = buddy;
    }
    push(s, i, order);
}

static uint32_t split(struct via_iova_space *s, unsigned order)
{
    unsigned k = order;
    while (k < TOP && s->free[k] == NONE)
        k++;
    uint32_t i = s->free[k];
    if (i == NONE)
        return NONE;
    take_out(s, i, k);
    while (k-- > order)
        push(s, i + size_of(k), k);
    return i;
}

static void drain(struct via_iova_space *s)
{
    for (unsigned k = 0; k < VIA_IOVA_CACHED_ORDERS; k++)
        while (s->cached[k])
            merge(s, s->cache[k][--s->cached[k]], k);
}

static uint32_t take_block(struct via_iova_space *s, unsigned order)
{
    uint32_t i;
    if (order < VIA_IOVA_CACHED_ORDERS && s->cached[order])
        i = s->cache[order][--s->cached[order]];
    else
        i = split(s, order);
    if (i == NONE) {
        drain(s);
        i = split(s, order);
    }
    if (i != NONE)
        s->node[i].state = (uint8_t)(HELD | order);
    return i;
}

/* The first of `want` blocks of the largest order that follow one another; NONE, and the longest row there is in *longest. */
static uint32_t find_row(const struct via_iova_space *s, uint64_t want, uint64_t *longest)
{
    uint64_t row = 0, at = -s->first & (size_of(TOP) - 1);
    *longest = 0;
    for (; at < s->pages; at += size_of(TOP)) {
        row = s->node[at].state == (FREE | TOP) ? row + 1 : 0;
        if (row == want)
            return (uint32_t)(at - (row - 1) * size_of(TOP));
        if (*longest < row)
            *longest = row;
    }
    return NONE;
}

static uint32_t take_row(struct via_iova_space *s, uint64_t blocks)
{
    uint64_t longest;
    drain(s);
    uint32_t i = find_row(s, blocks, &longest);
    for (uint64_t k = 0; i != NONE && k < blocks; k++) {
        take_out(s, i + (uint32_t)k * size_of(TOP), TOP);
        s->node[i + k * size_of(TOP)].state = HELD | TOP;
    }
    return i;
}

/* How a range of so many pages is made: of `blocks` blocks of *order. */
static uint64_t blocks_of(uint64_t pages, unsigned *order)
{
    *order = 0;
    while (*order < TOP && size_of(*order) < pages)
        ++*order;
    return (pages - 1) / size_of(*order) + 1;
}

int via_iova_alloc(struct via_iova_space *s, uint64_t pages, via_iova *out)
{
    unsigned order;
    if (!pages)
        return -VIA_EINVAL;
    if (pages > s->largest)
        return -VIA_E2BIG;
    uint64_t blocks = blocks_of(pages, &order);
    uint32_t i = blocks == 1 ? take_block(s, order) : take_row(s, blocks);
    if (i == NONE)
        return -VIA_EAGAIN;
    s->used += (uint32_t)blocks * size_of(order);
    if (s->high_water < s->used)
        s->high_water = s->used;
    out->v = (s->first + i) << s->shift;
    return 0;
}

void via_iova_free(struct via_iova_space *s, via_iova start, uint64_t pages)
{
    unsigned order;
    uint64_t blocks = blocks_of(pages, &order), at = (start.v >> s->shift) - s->first;
    VIA_ASSERT(pages && at < s->pages && blocks * size_of(order) <= s->pages - at);
    s->used -= (uint32_t)blocks * size_of(order);
    for (; blocks--; at += size_of(order)) {
        uint32_t i = (uint32_t)at;
        VIA_ASSERT(s->node[i].state == (HELD | order));
        if (order < VIA_IOVA_CACHED_ORDERS && s->cached[order] < VIA_IOVA_CACHE) {
            s->node[i].state = (uint8_t)(CACHED | order);
            s->cache[order][s->cached[order]++] = i;
        } else {
            merge(s, i, order);
        }
    }
}

void via_iova_quarantine(struct via_iova_space *s, via_iova start, uint64_t pages)
{
    unsigned order;
    uint64_t n = blocks_of(pages, &order) * size_of(order);
    VIA_ASSERT((start.v >> s->shift) - s->first < s->pages && n <= s->used);
    (void)start;
    s->used -= (uint32_t)n;
    s->lost += (uint32_t)n;
}

static bool is_reserved(const struct via_iova_cfg *cfg, uint64_t page)
{
    uint64_t start = page << cfg->shift, last = start + ((1ull << cfg->shift) - 1);
    for (unsigned i = 0; i < cfg->n_reserved; i++)
        if (start <= cfg->reserved[i].last && cfg->reserved[i].start <= last)
            return true;
    return false;
}

static uint32_t largest_of(const struct via_iova_space *s)
{
    uint64_t longest;
    (void)find_row(s, UINT64_MAX, &longest);
    if (longest)
        return (uint32_t)longest * size_of(TOP);
    unsigned k = TOP;
    while (k && s->free[k] == NONE)
        k--;
    return size_of(k);
}

int via_iova_init(struct via_iova_space *s, const struct via_iova_cfg *cfg, struct via_iova_node *node, size_t nodes)
{
    uint64_t start = cfg->range.start, last = via_min64(cfg->range.last, cfg->mask);
    if (cfg->shift < 12 || cfg->shift > 30 || cfg->range.start > cfg->range.last || start > last)
        return -VIA_EINVAL;
    for (unsigned i = 0; i < cfg->n_reserved; i++)
        if (cfg->reserved[i].start > cfg->reserved[i].last)
            return -VIA_EINVAL;
    uint64_t within = (1ull << cfg->shift) - 1;
    uint64_t first = (start >> cfg->shift) + ((start & within) != 0), end = (last >> cfg->shift) + ((last & within) == within);
    if (first >= end || !nodes)
        return -VIA_EINVAL;
    uint32_t pages = (uint32_t)via_min64(via_min64(end - first, nodes), NONE - 1);
    *s = (struct via_iova_space){.shift = cfg->shift, .first = first, .pages = pages, .node = node};
    for (unsigned k = 0; k < VIA_IOVA_ORDERS; k++)
        s->free[k] = NONE;
    for (uint32_t i = 0; i < pages; i++)
        node[i] = (struct via_iova_node){NONE, NONE, 0};
    for (uint32_t i = pages; i--;) /* from the end, so that the first ones are given out first */
        if (!is_reserved(cfg, first + i)) {
            merge(s, i, 0);
            s->usable++;
        }
    if (!s->usable)
        return -VIA_EINVAL;
    s->largest = largest_of(s);
    return 0;
}
