/* SPDX-License-Identifier: BSD-2-Clause */
/* A pool with a device's view of it, for the tests of bounce: the device has the pool and nothing else. */
#ifndef TESTS_DMA_RIG_H
#define TESTS_DMA_RIG_H

#include <stdlib.h>
#include <string.h>

#include <tap.h>
#include <viaduct/dma.h>

#define SLOT 4096u
#define RIG_PHYS 0x40000000ull /* what the device calls the pool: not what the CPU does */

struct rig {
    uint8_t *mem;
    struct via_phys_range range;
    struct via_direct direct;
    struct via_pool pool;
    _Atomic uint64_t *free;
};

static inline bool rig_up(struct rig *r, uint32_t slots)
{
    size_t words = (slots + 63) / 64;
    r->mem = aligned_alloc(SLOT, (size_t)slots * SLOT);
    r->free = calloc(words, sizeof(*r->free));
    CHECK_OR_FALSE(r->mem && r->free);
    memset(r->mem, 0, (size_t)slots * SLOT);
    r->range = (struct via_phys_range){r->mem, (uint64_t)slots * SLOT, RIG_PHYS};
    CHECK_OR_FALSE(via_direct_init(&r->direct, &r->range, 1) == 0);
    CHECK_OR_FALSE(via_pool_init(&r->pool, &r->direct.dma, r->mem, (size_t)slots * SLOT, r->free, words) == 0);
    return true;
}

static inline void rig_down(struct rig *r)
{
    free(r->mem);
    free(r->free);
}

/* The device's pointer to a segment; NULL: it lies outside of the pool. */
static inline uint8_t *rig_at(const struct rig *r, const struct via_seg *seg)
{
    uint64_t bytes = (uint64_t)r->pool.slots * SLOT;
    return via_range_inside(seg->addr.v, seg->len, RIG_PHYS, RIG_PHYS + bytes - 1) ? r->mem + (seg->addr.v - RIG_PHYS) : NULL;
}

/* The device reads (writes) len bytes from the start of n segments. */
static inline bool rig_get(const struct rig *r, const struct via_seg *seg, unsigned n, uint8_t *to, size_t len)
{
    for (unsigned i = 0; i < n && len; i++) {
        size_t take = via_min64(seg[i].len, len);
        CHECK_OR_FALSE(rig_at(r, &seg[i]) != NULL);
        memcpy(to, rig_at(r, &seg[i]), take);
        to += take;
        len -= take;
    }
    CHECK_OR_FALSE(len == 0);
    return true;
}

static inline bool rig_put(const struct rig *r, const struct via_seg *seg, unsigned n, const uint8_t *from, size_t len)
{
    for (unsigned i = 0; i < n && len; i++) {
        size_t take = via_min64(seg[i].len, len);
        CHECK_OR_FALSE(rig_at(r, &seg[i]) != NULL);
        memcpy(rig_at(r, &seg[i]), from, take);
        from += take;
        len -= take;
    }
    CHECK_OR_FALSE(len == 0);
    return true;
}

static inline uint32_t rig_free_slots(const struct rig *r)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < (r->pool.slots + 63) / 64; i++)
        n += (uint32_t)__builtin_popcountll(atomic_load(&r->free[i]));
    return n;
}

#endif
