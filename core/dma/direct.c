/* SPDX-License-Identifier: BSD-2-Clause */
/* direct: the device's address of a byte is its physical address. */
#include "segs.h"

static const struct via_phys_range *range_of(const struct via_direct *d, uint64_t p)
{
    unsigned lo = 0, hi = d->n;
    while (lo < hi) { /* the first range that starts behind p */
        unsigned mid = lo + (hi - lo) / 2;
        if ((uintptr_t)d->range[mid].ptr <= p)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (!lo || p - (uintptr_t)d->range[lo - 1].ptr >= d->range[lo - 1].len)
        return NULL;
    return &d->range[lo - 1];
}

static int add_buffer(const struct via_direct *d, const struct via_span *buf, struct via_segs *s)
{
    uint64_t p = (uintptr_t)buf->ptr, len = buf->len;
    if (!len)
        return -VIA_EINVAL;
    if (len - 1 > UINTPTR_MAX - p)
        return -VIA_ERANGE;
    while (len) {
        const struct via_phys_range *r = range_of(d, p);
        if (!r)
            return -VIA_ERANGE;
        uint64_t off = p - (uintptr_t)r->ptr, take = via_min64(len, r->len - off);
        if (!via_segs_add(s, r->phys + off, take))
            return -VIA_E2BIG;
        p += take;
        len -= take;
    }
    return 0;
}

/* Out of the way of the common case, which so needs but few registers. */
static __attribute__((noinline)) int map_pieces(const struct via_direct *d, const struct via_span *buf, unsigned out, unsigned in,
                                                struct via_mapping *m)
{
    struct via_segs s;
    unsigned n_out = 0;
    int r = via_segs_open(&s, m, out, in);
    for (unsigned i = 0; !r && i < out + in; i++) {
        r = add_buffer(d, &buf[i], &s);
        if (i < out)
            n_out = s.n;
    }
    if (!r)
        via_segs_close(&s, n_out, buf, out, in, m);
    return r;
}

/* Each buffer is one segment of the first range, as almost all are where it is the only one. False: map_pieces has to judge. */
static inline bool map_whole(const struct via_phys_range *range, const struct via_span *buf, unsigned n, struct via_seg *seg)
{
    const struct via_phys_range r = *range;
    for (unsigned i = 0; i < n; i++) {
        uint64_t off = (uintptr_t)buf[i].ptr - (uintptr_t)r.ptr, behind = (uint64_t)buf[i].len - 1; /* without a byte: too many */
        if (off >= r.len || behind >= r.len - off || behind >= VIA_SEG_MAX)
            return false;
        seg[i] = (struct via_seg){{r.phys + off}, (uint32_t)(behind + 1)};
    }
    return n;
}

static int direct_map(struct via_dma *dma, const struct via_span *buf, unsigned out, unsigned in, struct via_mapping *m)
{
    const struct via_direct *d = via_container_of(dma, struct via_direct, dma);
    if ((uint64_t)out + in > m->cap || !map_whole(d->range, buf, out + in, m->seg))
        return map_pieces(d, buf, out, in, m);
    via_segs_close(&(struct via_segs){.n = out + in}, out, buf, out, in, m);
    return 0;
}

static int direct_sync(struct via_dma *dma, struct via_mapping *m, enum via_owner to, uint32_t written)
{
    (void)dma, (void)m, (void)to, (void)written;
    return 0;
}

static const struct via_dma_ops direct_ops = {"direct", direct_map, NULL, direct_sync};

static bool meet(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len) { return a <= b ? b - a < a_len : a - b < b_len; }

int via_direct_init(struct via_direct *d, const struct via_phys_range *range, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t p = (uintptr_t)range[i].ptr, len = range[i].len;
        if (!len || len - 1 > UINTPTR_MAX - p || len - 1 > UINT64_MAX - range[i].phys)
            return -VIA_EINVAL;
        for (unsigned k = 0; k < i; k++)
            if ((uintptr_t)range[k].ptr > p || meet((uintptr_t)range[k].ptr, range[k].len, p, len) ||
                meet(range[k].phys, range[k].len, range[i].phys, len))
                return -VIA_EINVAL;
    }
    *d = (struct via_direct){.dma = {&direct_ops, NULL}, .range = range, .n = n};
    return n ? 0 : -VIA_EINVAL;
}
