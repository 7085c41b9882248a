/* SPDX-License-Identifier: BSD-2-Clause */
/* The dirty log: pages that were written, marked in memory that a front-end reads and clears at the same time. */
#include <viaduct/xlate.h>

void via_dirty_init(struct via_dirty *d, const struct via_memmap *map, uint8_t *log, uint64_t len)
{
    *d = (struct via_dirty){.log = log, .len = len, .map = map};
}

uint64_t via_dirty_need(const struct via_memmap *map)
{
    if (map->n == 0)
        return 0;
    const struct via_region *r = &map->region[map->n - 1];
    return via_dirty_bytes(r->gpa + (r->len - 1));
}

void via_dirty_mark(struct via_dirty *d, via_gpa addr, uint64_t len)
{
    uint64_t last_addr;
    if (len == 0 || !via_add64(addr.v, len - 1, &last_addr))
        return;
    uint64_t first = addr.v / VIA_DIRTY_PAGE, last = last_addr / VIA_DIRTY_PAGE;
    for (uint64_t at = first / 8; at <= last / 8 && at < d->len; at++) {
        unsigned low = at == first / 8 ? first % 8 : 0, high = at == last / 8 ? last % 8 : 7;
        via_shm_or8(&d->log[at], (uint8_t)(0xffu << low & 0xffu >> (7 - high)));
    }
}

/* As much of a span as one region holds is marked; how much that was. 0: none holds its start. */
static size_t mark_start(struct via_dirty *d, const uint8_t *ptr, size_t len)
{
    for (unsigned i = 0, k = d->last; i < d->map->n; i++, k++) {
        const struct via_region *r = &d->map->region[k < d->map->n ? k : (k = 0)];
        uint64_t off = (uintptr_t)ptr - (uintptr_t)r->ptr; /* below the region: wraps to more than any length */
        if (off >= r->len)
            continue;
        size_t here = via_min64(len, r->len - off);
        via_dirty_mark(d, (via_gpa){r->gpa + off}, here);
        d->last = k;
        return here;
    }
    return 0;
}

void via_dirty_spans(struct via_dirty *d, const struct via_span *span, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const uint8_t *ptr = span[i].ptr;
        for (size_t left = span[i].len, here; left && (here = mark_start(d, ptr, left)); left -= here)
            ptr += here;
    }
}

void via_dirty_all(struct via_dirty *d)
{
    for (unsigned i = 0; i < d->map->n; i++)
        via_dirty_mark(d, (via_gpa){d->map->region[i].gpa}, d->map->region[i].len);
}
