/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest whose pages are shared and made private by a platform of the test's own, and a device that sees of each page: its bytes while it
 * is shared, what it held last once it is not. The platform fails when it is told to; the page is converted then, or it is not, and what it
 * held is lost.
 */
#ifndef TESTS_DMA_TURN_RIG_H
#define TESTS_DMA_TURN_RIG_H

#include <stdlib.h>
#include <string.h>

#include <tap.h>
#include <viaduct/turn.h>

#define PAGE ((size_t)VIA_PROTECT_PAGE)
#define PHYS 0x40000000ull

enum { PAGES = 150, RINGS = 2, POOL_PAGES = 24, KEPT = RINGS + POOL_PAGES, SCRATCH = 4, SEGS = 64 };

struct guest {
    struct via_protect protect;
    _Alignas(4096) uint8_t mem[PAGES * PAGE]; /* rings, the pool, and the guest's own */
    uint8_t stale[PAGES * PAGE];              /* what the device keeps of private pages */
    _Atomic uint64_t map[VIA_PROTECT_WORDS(PAGES)];
    bool is_private[PAGES];
    unsigned fail_after; /* pages converted until one fails; 0: none does */
    unsigned fails;      /* so many conversions in a row, then */
    bool fails_converted;
    unsigned calls, most; /* pages in one call */
    uint8_t noise;

    uint32_t lease[PAGES];
    uint8_t scratch[SCRATCH * PAGE];
    struct via_turn turn;
    struct via_phys_range range;
    struct via_direct direct;
    struct via_pool pool;
    _Atomic uint64_t slots[1];
    struct via_bounce bounce;
    struct via_turn_dma dma;
};

static struct guest g;
static uint8_t *const own = g.mem + KEPT * PAGE;
enum { OWN_PAGES = PAGES - KEPT };

static inline void platform_page(size_t page, bool to_private)
{
    uint8_t *at = g.mem + page * PAGE;
    if (to_private)
        memcpy(g.stale + page * PAGE, at, PAGE);
    g.is_private[page] = to_private;
    memset(at, ++g.noise | 1, PAGE);
}

static inline int platform(size_t page, size_t n, size_t *done, bool to_private)
{
    g.calls++;
    g.most = n > g.most ? (unsigned)n : g.most;
    for (*done = 0; *done < n; ++*done) {
        if (g.fail_after && --g.fail_after == 0) {
            if (g.fails_converted && g.is_private[page + *done] != to_private)
                platform_page(page + *done, to_private);
            else
                memset(g.mem + (page + *done) * PAGE, ++g.noise | 1, PAGE);
            g.fail_after = g.fails > 1;
            g.fails -= g.fails > 0;
            return -VIA_EBUSY;
        }
        platform_page(page + *done, to_private);
    }
    return 0;
}

static int platform_share(struct via_protect *p, size_t page, size_t n, size_t *done) { return (void)p, platform(page, n, done, false); }

static int platform_unshare(struct via_protect *p, size_t page, size_t n, size_t *done) { return (void)p, platform(page, n, done, true); }

static const struct via_protect_ops platform_ops = {"test", platform_share, platform_unshare};

/* All shared, the guest's own memory full of `fill`. */
static inline bool guest_up(uint8_t fill)
{
    memset(&g, 0, sizeof(g));
    memset(own, fill, OWN_PAGES * PAGE);
    g.range = (struct via_phys_range){g.mem, sizeof(g.mem), PHYS};
    CHECK_OR_FALSE(via_protect_init(&g.protect, &platform_ops, g.mem, PAGES, true, g.map, via_array_len(g.map)) == 0);
    CHECK_OR_FALSE(via_turn_init(&g.turn, &g.protect, g.lease, PAGES, g.scratch, sizeof(g.scratch)) == 0);
    CHECK_OR_FALSE(via_turn_keep(&g.turn, g.mem, KEPT * PAGE) == 0);
    CHECK_OR_FALSE(via_direct_init(&g.direct, &g.range, 1) == 0);
    CHECK_OR_FALSE(via_pool_init(&g.pool, &g.direct.dma, g.mem + RINGS * PAGE, POOL_PAGES * PAGE, g.slots, 1) == 0);
    CHECK_OR_FALSE(via_bounce_init(&g.bounce, &g.pool, 0, 2) == 0);
    via_turn_dma_init(&g.dma, &g.turn, &g.direct.dma, &g.bounce.dma);
    return true;
}

/* What the device has at one of its addresses; NULL: a private page, which it must not be told of. */
static inline uint8_t *device_at(uint64_t addr, size_t len)
{
    if (!via_range_inside(addr, len, PHYS, PHYS + sizeof(g.mem) - 1))
        return NULL;
    size_t off = addr - PHYS;
    for (size_t page = off / PAGE; page <= (off + len - 1) / PAGE; page++)
        if (g.is_private[page])
            return NULL;
    return g.mem + off;
}

static inline bool device_reads(const struct via_seg *seg, unsigned n, uint8_t *to, size_t len)
{
    for (unsigned i = 0; i < n && len; i++) {
        size_t take = via_min64(seg[i].len, len);
        const uint8_t *from = device_at(seg[i].addr.v, seg[i].len);
        CHECK_OR_FALSE(from != NULL);
        memcpy(to, from, take);
        to += take;
        len -= take;
    }
    CHECK_OR_FALSE(len == 0);
    return true;
}

static inline bool device_writes(const struct via_seg *seg, unsigned n, const uint8_t *from, size_t len)
{
    for (unsigned i = 0; i < n && len; i++) {
        size_t take = via_min64(seg[i].len, len);
        uint8_t *to = device_at(seg[i].addr.v, seg[i].len);
        CHECK_OR_FALSE(to != NULL);
        memcpy(to, from, take);
        from += take;
        len -= take;
    }
    CHECK_OR_FALSE(len == 0);
    return true;
}

/* Pages of the guest's own of which the device sees a byte other than 0. */
static inline unsigned seen(void)
{
    unsigned n = 0;
    for (size_t page = KEPT; page < PAGES; page++) {
        const uint8_t *what = (g.is_private[page] ? g.stale : g.mem) + page * PAGE;
        n += what[0] || memcmp(what, what + 1, PAGE - 1) != 0;
    }
    return n;
}

/* What protect claims is so. */
static inline bool truthful(void)
{
    for (size_t page = 0; page < PAGES; page++)
        CHECK_OR_FALSE(!(g.is_private[page] ? via_protect_is_shared : via_protect_is_private)(&g.protect, g.mem + page * PAGE, PAGE));
    return true;
}

#endif
