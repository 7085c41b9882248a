/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hybrid: whole pages go one way, what shares a page with others goes another. Where a buffer is cut follows from its address alone, so
 * it is cut again at each step instead of writing down the pieces.
 */
#include <viaduct/iommu.h>
#include "segs.h"

struct piece {
    unsigned side;
    size_t len;
};

/* A buffer's pieces in order, each at the end of the one before. Returns their number: 1 to 3. */
static unsigned cut(const struct via_hybrid *h, const struct via_span *buf, struct piece *piece)
{
    uint64_t head = -(uint64_t)(uintptr_t)buf->ptr & (h->page - 1);
    if (buf->len < h->threshold || buf->len < head || buf->len - head < h->page) {
        piece[0] = (struct piece){VIA_HYBRID_SMALL, buf->len};
        return 1;
    }
    uint64_t tail = (buf->len - head) & (h->page - 1);
    unsigned n = 0;
    if (head)
        piece[n++] = (struct piece){VIA_HYBRID_SMALL, head};
    piece[n++] = (struct piece){VIA_HYBRID_LARGE, buf->len - head - tail};
    if (tail)
        piece[n++] = (struct piece){VIA_HYBRID_SMALL, tail};
    return n;
}

/* Each side's pieces into its list, and their numbers: of the readable ones, and of the writable ones. */
static int deal(const struct via_hybrid *h, const struct via_hybrid_entry *e, const struct via_span *buf, unsigned out, unsigned n,
                unsigned count[2][2])
{
    for (unsigned i = 0; i < n; i++) {
        struct piece piece[3];
        char *at = buf[i].ptr;
        if (!buf[i].len)
            return -VIA_EINVAL;
        for (unsigned k = 0, pieces = cut(h, &buf[i], piece); k < pieces; at += piece[k++].len) {
            unsigned *c = count[piece[k].side];
            if (c[0] + c[1] == h->pieces)
                return -VIA_E2BIG;
            e->part[piece[k].side].span[c[0] + c[1]] = (struct via_span){at, piece[k].len};
            c[i >= out]++;
        }
    }
    return 0;
}

struct cursor { /* how far a side's segments are used up */
    const struct via_seg *seg;
    uint32_t off;
};

/* A piece's addresses: what follows on c. Neighbours become one segment, but not the first ones of a direction with what is before. */
static bool join(struct via_segs *s, unsigned first, struct cursor *c, size_t len)
{
    while (len) {
        uint64_t addr = c->seg->addr.v + c->off;
        uint32_t take = (uint32_t)via_min64(len, c->seg->len - c->off);
        struct via_seg *prev = s->n > first ? &s->seg[s->n - 1] : NULL;
        if (prev && prev->addr.v + prev->len == addr && prev->len <= VIA_SEG_MAX - take)
            prev->len += take;
        else if (!via_segs_add(s, addr, take))
            return false;
        len -= take;
        c->off += take;
        if (c->off == c->seg->len)
            *c = (struct cursor){c->seg + 1, 0};
    }
    return true;
}

static bool join_all(const struct via_hybrid *h, const struct via_hybrid_entry *e, const struct via_span *buf, unsigned out, unsigned n,
                     struct via_segs *s, unsigned *n_out)
{
    struct cursor c[2] = {{e->part[0].seg, 0}, {e->part[1].seg, 0}};
    unsigned first = 0;
    for (unsigned i = 0; i < n; i++) {
        struct piece piece[3];
        if (i == out)
            first = s->n;
        for (unsigned k = 0, pieces = cut(h, &buf[i], piece); k < pieces; k++)
            if (!join(s, first, &c[piece[k].side], piece[k].len))
                return false;
    }
    *n_out = out < n ? first : s->n;
    return true;
}

static bool is_mapped(const struct via_mapping *m) { return m->buf_out || m->buf_in; }

/* The device's direct access ends before copies are made. */
static void unmap_sides(struct via_hybrid *h, struct via_hybrid_entry *e, const uint32_t written[2])
{
    for (unsigned side = 2; side--;)
        if (is_mapped(&e->part[side].m))
            via_dma_unmap(h->side[side], &e->part[side].m, written[side]);
    e->next_free = h->free;
    h->free = (uint16_t)(e - h->entry);
}

/* What was written, by side: whole pieces up to the one where it ends, so it is the beginning of either side's pieces, too. */
static void share_written(const struct via_hybrid *h, const struct via_mapping *m, uint32_t written, uint32_t by[2])
{
    by[0] = by[1] = 0;
    for (unsigned i = m->buf_out; i < (unsigned)m->buf_out + m->buf_in && written; i++) {
        struct piece piece[3];
        for (unsigned k = 0, pieces = cut(h, &m->buf[i], piece); k < pieces; k++) {
            uint32_t take = (uint32_t)via_min64(piece[k].len, written);
            by[piece[k].side] += take;
            written -= take;
        }
    }
}

static bool is_whole_pages(const struct via_hybrid *h, const struct via_mapping *m)
{
    for (unsigned i = 0; i < (unsigned)m->n_out + m->n_in; i++)
        if ((m->seg[i].addr.v | m->seg[i].len) & (h->page - 1))
            return false;
    return true;
}

static int map_sides(struct via_hybrid *h, struct via_hybrid_entry *e, unsigned count[2][2])
{
    for (unsigned side = 0; side < 2; side++)
        e->part[side].m = (struct via_mapping){.seg = e->part[side].seg, .cap = (uint16_t)h->segs};
    for (unsigned side = 0; side < 2; side++) {
        struct via_hybrid_part *p = &e->part[side];
        if (!count[side][0] && !count[side][1])
            continue;
        int r = via_dma_map(h->side[side], p->span, count[side][0], count[side][1], &p->m);
        if (r < 0) {
            p->m.buf_out = p->m.buf_in = 0;
            return r;
        }
    }
    return is_whole_pages(h, &e->part[VIA_HYBRID_LARGE].m) ? 0 : -VIA_ERANGE;
}

static int hybrid_map(struct via_dma *dma, const struct via_span *buf, unsigned out, unsigned in, struct via_mapping *m)
{
    struct via_hybrid *h = via_container_of(dma, struct via_hybrid, dma);
    struct via_segs s;
    unsigned n_out = 0, count[2][2] = {{0}};
    int r = via_segs_open(&s, m, out, in);
    if (r < 0)
        return r;
    if (h->free == h->depth) {
        h->full++;
        return -VIA_EAGAIN;
    }
    struct via_hybrid_entry *e = &h->entry[h->free];
    r = deal(h, e, buf, out, out + in, count);
    if (r < 0)
        return r;
    h->free = e->next_free;
    r = map_sides(h, e, count);
    if (!r && !join_all(h, e, buf, out, out + in, &s, &n_out))
        r = -VIA_E2BIG;
    if (r < 0) {
        unmap_sides(h, e, (uint32_t[2]){0, 0});
        return r;
    }
    via_segs_close(&s, n_out, buf, out, in, m);
    m->way = (uint16_t)(e - h->entry);
    for (unsigned side = 0; side < 2; side++)
        h->bytes[side] += via_spans_len(e->part[side].span, count[side][0] + count[side][1]);
    return 0;
}

static void hybrid_unmap(struct via_dma *dma, struct via_mapping *m, uint32_t written)
{
    struct via_hybrid *h = via_container_of(dma, struct via_hybrid, dma);
    uint32_t by[2];
    VIA_ASSERT(m->way < h->depth);
    share_written(h, m, written, by);
    unmap_sides(h, &h->entry[m->way], by);
}

static int hybrid_sync(struct via_dma *dma, struct via_mapping *m, enum via_owner to, uint32_t written)
{
    struct via_hybrid *h = via_container_of(dma, struct via_hybrid, dma);
    struct via_hybrid_entry *e = &h->entry[m->way];
    uint32_t by[2];
    int r = 0;
    share_written(h, m, written, by);
    for (unsigned side = 0; side < 2 && !r; side++)
        if (is_mapped(&e->part[side].m))
            r = via_dma_sync(h->side[side], &e->part[side].m, to, by[side]);
    return r;
}

static const struct via_dma_ops hybrid_ops = {"hybrid", hybrid_map, hybrid_unmap, hybrid_sync};

size_t via_hybrid_bytes(const struct via_hybrid_cfg *cfg)
{
    size_t part = cfg->pieces * sizeof(struct via_span) + cfg->segs * sizeof(struct via_seg);
    return cfg->depth * (sizeof(struct via_hybrid_entry) + 2 * part);
}

int via_hybrid_init(struct via_hybrid *h, const struct via_hybrid_cfg *cfg, void *storage)
{
    if (!cfg->small || !cfg->large || !via_is_pow2(cfg->page) || !cfg->depth || !cfg->pieces || cfg->segs < cfg->pieces)
        return -VIA_EINVAL;
    *h = (struct via_hybrid){.dma = {&hybrid_ops, cfg->large},
                             .side = {cfg->small, cfg->large},
                             .entry = storage,
                             .depth = cfg->depth,
                             .pieces = cfg->pieces,
                             .segs = cfg->segs,
                             .threshold = cfg->threshold,
                             .page = cfg->page};
    struct via_span *span = (struct via_span *)(h->entry + cfg->depth);
    struct via_seg *seg = (struct via_seg *)(span + 2 * (size_t)cfg->depth * cfg->pieces);
    for (unsigned i = 0; i < cfg->depth; i++) {
        h->entry[i] = (struct via_hybrid_entry){.next_free = (uint16_t)(i + 1)};
        for (unsigned side = 0; side < 2; side++, span += cfg->pieces, seg += cfg->segs)
            h->entry[i].part[side] = (struct via_hybrid_part){.span = span, .seg = seg};
    }
    return 0;
}
