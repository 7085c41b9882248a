/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * window: a bus that sees memory at offsets, in banks. Segments are translated in place: next's addresses to the bus's
 * after its map, and back before its unmap or sync, so that next finds what it gave (in more pieces where a bank ended).
 */
#include <viaduct/dma.h>

static const struct via_bank *bank_of(const struct via_window *w, uint64_t addr)
{
    unsigned lo = 0, hi = w->n;
    while (lo < hi) { /* the first bank that starts behind addr */
        unsigned mid = lo + (hi - lo) / 2;
        if (w->bank[mid].start <= addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo && addr <= w->bank[lo - 1].last ? &w->bank[lo - 1] : NULL;
}

/* The pieces that banks cut a segment into; 0: some byte of it is in no bank. */
static unsigned pieces_of(const struct via_window *w, const struct via_seg *seg)
{
    uint64_t addr = seg->addr.v, len = seg->len;
    unsigned n = 0;
    while (len) {
        const struct via_bank *b = bank_of(w, addr);
        if (!b)
            return 0;
        uint64_t take = len - 1 <= b->last - addr ? len : b->last - addr + 1;
        addr += take;
        len -= take;
        n++;
    }
    return n;
}

static int to_bus(const struct via_window *w, struct via_mapping *m)
{
    unsigned n = (unsigned)m->n_out + m->n_in, total = 0, n_out = 0;
    for (unsigned i = 0; i < n; i++) {
        unsigned k = pieces_of(w, &m->seg[i]);
        if (!k)
            return -VIA_ERANGE;
        total += k;
        if (total > m->cap)
            return -VIA_E2BIG;
        if (i < m->n_out)
            n_out = total;
    }
    unsigned at = total; /* from the back: a list that grows in place overtakes nothing */
    while (n--) {
        struct via_seg s = m->seg[n];
        while (s.len) {
            const struct via_bank *b = bank_of(w, s.addr.v + s.len - 1);
            uint64_t start = s.addr.v > b->start ? s.addr.v : b->start;
            uint32_t take = (uint32_t)(s.addr.v + s.len - start);
            m->seg[--at] = (struct via_seg){{b->bus + (start - b->start)}, take};
            s.len -= take;
        }
    }
    m->n_out = (uint16_t)n_out;
    m->n_in = (uint16_t)(total - n_out);
    return 0;
}

static void from_bus(const struct via_window *w, struct via_mapping *m)
{
    for (unsigned i = 0; i < (unsigned)m->n_out + m->n_in; i++) {
        uint64_t *addr = &m->seg[i].addr.v;
        unsigned k = 0;
        while (k<w->n && * addr - w->bank[k].bus> w->bank[k].last - w->bank[k].start)
            k++;
        VIA_ASSERT(k < w->n);
        if (k < w->n)
            *addr = w->bank[k].start + (*addr - w->bank[k].bus);
    }
}

static int window_map(struct via_dma *dma, const struct via_span *buf, unsigned out, unsigned in, struct via_mapping *m)
{
    const struct via_window *w = via_container_of(dma, struct via_window, dma);
    int r = via_dma_map(dma->next, buf, out, in, m);
    if (r < 0)
        return r;
    r = to_bus(w, m);
    if (r < 0)
        via_dma_unmap(dma->next, m, 0);
    return r;
}

static void window_unmap(struct via_dma *dma, struct via_mapping *m, uint32_t written)
{
    from_bus(via_container_of(dma, struct via_window, dma), m);
    via_dma_unmap(dma->next, m, written);
}

static int window_sync(struct via_dma *dma, struct via_mapping *m, enum via_owner to, uint32_t written)
{
    const struct via_window *w = via_container_of(dma, struct via_window, dma);
    from_bus(w, m);
    int r = via_dma_sync(dma->next, m, to, written);
    int back = to_bus(w, m);
    return r < 0 ? r : back;
}

static const struct via_dma_ops window_ops = {"window", window_map, window_unmap, window_sync};

int via_window_init(struct via_window *w, struct via_dma *next, const struct via_bank *bank, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (bank[i].start > bank[i].last || bank[i].last - bank[i].start > UINT64_MAX - bank[i].bus)
            return -VIA_EINVAL;
        if (i && bank[i].start <= bank[i - 1].last)
            return -VIA_EINVAL;
        for (unsigned k = 0; k < i; k++) /* two banks at one bus address could not be told apart on the way back */
            if (bank[i].bus - bank[k].bus <= bank[k].last - bank[k].start || bank[k].bus - bank[i].bus <= bank[i].last - bank[i].start)
                return -VIA_EINVAL;
    }
    *w = (struct via_window){.dma = {&window_ops, next}, .bank = bank, .n = n};
    return n && next ? 0 : -VIA_EINVAL;
}
