/* SPDX-License-Identifier: BSD-2-Clause */
/* The list of segments that a map fills. */
#ifndef VIADUCT_DMA_SEGS_H
#define VIADUCT_DMA_SEGS_H

#include <viaduct/dma.h>

#define VIA_SEG_MAX 0xfffff000u /* bytes a segment: what 32 bits hold, in whole slots */

struct via_segs {
    struct via_seg *seg;
    unsigned cap, n;
};

/* false: no room. Lengths beyond VIA_SEG_MAX take several segments. */
static inline VIA_MUST_USE bool via_segs_add(struct via_segs *s, uint64_t addr, uint64_t len)
{
    while (len) {
        uint32_t take = (uint32_t)via_min64(len, VIA_SEG_MAX);
        if (s->n == s->cap)
            return false;
        s->seg[s->n++] = (struct via_seg){{addr}, take};
        addr += take;
        len -= take;
    }
    return true;
}

/* What holds for every strategy: something to map, and room for a segment each. */
static inline VIA_MUST_USE int via_segs_open(struct via_segs *s, const struct via_mapping *m, unsigned out, unsigned in)
{
    *s = (struct via_segs){m->seg, m->cap, 0};
    if (!out && !in)
        return -VIA_EINVAL;
    return (uint64_t)out + in > m->cap ? -VIA_E2BIG : 0;
}

static inline void via_segs_close(const struct via_segs *s, unsigned n_out, const struct via_span *buf, unsigned out, unsigned in,
                                  struct via_mapping *m)
{
    m->n_out = (uint16_t)n_out;
    m->n_in = (uint16_t)(s->n - n_out);
    m->buf = buf;
    m->buf_out = (uint16_t)out;
    m->buf_in = (uint16_t)in;
}

#endif
