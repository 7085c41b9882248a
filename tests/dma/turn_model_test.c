/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * turn against a model, in any order: requests that begin and end, goals that change, steps of any size, a platform that fails at any page,
 * memory that is kept and given back. The guest's memory is at any time what a plain copy of it says; the device reads and writes what
 * requests say, reaches no private page, and never sees a byte of what was written to a page while that was private.
 */
#include "turn_rig.h"

enum { REQUESTS = 12, BUFS = 3, ROUNDS = 20000, SEEDS = 6 };

struct request {
    bool mapped;
    unsigned out, in;
    struct via_span buf[BUFS];
    struct via_seg seg[SEGS];
    struct via_mapping m;
};

static struct request req[REQUESTS];
static uint8_t want[OWN_PAGES * PAGE], bytes[BUFS * 3 * PAGE], got[BUFS * 3 * PAGE];
static uint64_t state;

static uint32_t roll(uint32_t below)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(state >> 33) % below;
}

/* No request of its own is in flight there: whoever wrote there now would cheat itself. */
static bool is_idle(const uint8_t *ptr, size_t len)
{
    for (unsigned i = 0; i < REQUESTS; i++)
        for (unsigned k = 0; req[i].mapped && k < req[i].out + req[i].in; k++)
            if ((uintptr_t)req[i].buf[k].ptr < (uintptr_t)ptr + len && (uintptr_t)ptr < (uintptr_t)req[i].buf[k].ptr + req[i].buf[k].len)
                return false;
    return true;
}

static bool begin(struct request *r)
{
    *r = (struct request){.out = roll(2), .m = {.cap = SEGS}};
    r->in = 1 + roll(2);
    r->m.seg = r->seg;
    for (unsigned i = 0; i < r->out + r->in; i++) {
        size_t len = 1 + roll(roll(2) ? 200 : 2 * PAGE), off = roll((uint32_t)(OWN_PAGES * PAGE - len));
        bool met = !is_idle(own + off, len);
        for (unsigned k = 0; k < i; k++)
            met |= (uintptr_t)r->buf[k].ptr < (uintptr_t)own + off + len && (uintptr_t)own + off < (uintptr_t)r->buf[k].ptr + r->buf[k].len;
        if (met)
            return true;
        r->buf[i] = (struct via_span){own + off, len};
    }
    bool open = g.turn.open;
    int rc = via_dma_map(&g.dma.dma, r->buf, r->out, r->in, &r->m);
    CHECK_OR_FALSE(rc == 0 || (rc == -VIA_EAGAIN && !open));
    r->mapped = !rc;
    return true;
}

static bool end(struct request *r)
{
    size_t out = via_spans_len(r->buf, r->out), in = via_spans_len(r->buf + r->out, r->in), pos = 0;
    CHECK_OR_FALSE(device_reads(r->seg, r->m.n_out, got, out));
    for (unsigned i = 0; i < r->out; pos += r->buf[i++].len)
        CHECK_OR_FALSE(memcmp(got + pos, r->buf[i].ptr, r->buf[i].len) == 0);
    uint32_t written = roll(4) ? (uint32_t)in : roll((uint32_t)in);
    for (size_t i = 0; i < written; i++)
        bytes[i] = (uint8_t)(roll(255) + 1);
    CHECK_OR_FALSE(device_writes(r->seg + r->m.n_out, r->m.n_in, bytes, written));
    via_dma_unmap(&g.dma.dma, &r->m, written);
    r->mapped = false;
    pos = 0;
    for (unsigned i = r->out; i < r->out + r->in && pos < written; i++) {
        size_t take = via_min64(r->buf[i].len, written - pos);
        memcpy(want + ((uint8_t *)r->buf[i].ptr - own), bytes + pos, take);
        pos += take;
    }
    return true;
}

/* The guest's own work, on a page that no request uses. */
static void work(void)
{
    size_t len = 1 + roll(64), off = roll((uint32_t)(OWN_PAGES * PAGE - len));
    if (!is_idle(own + off, len))
        return;
    memset(own + off, (int)(roll(255) + 1), len);
    memcpy(want + off, own + off, len);
}

static bool reserve(void)
{
    static const size_t first = OWN_PAGES - 20, n = 10;
    uint8_t *at = own + first * PAGE;
    if (g.lease[KEPT + first] >> 31)
        CHECK_OR_FALSE(via_turn_release(&g.turn, at, n * PAGE) == 0);
    else
        (void)!via_turn_keep(&g.turn, at, n * PAGE); /* where all of it is shared */
    return true;
}

static size_t left_by_count(void)
{
    size_t left = 0;
    for (size_t page = 0; page < PAGES; page++) {
        const uint8_t *at = g.mem + page * PAGE;
        bool lasting = g.lease[page] >> 31;
        left += g.turn.secure ? !lasting && !via_protect_is_private(&g.protect, at, PAGE) : !via_protect_is_shared(&g.protect, at, PAGE);
    }
    return left;
}

static bool agrees(void)
{
    CHECK_OR_FALSE(truthful());
    CHECK_OR_FALSE(memcmp(own, want, sizeof(want)) == 0);
    CHECK_OR_FALSE(g.turn.left == left_by_count());
    CHECK_OR_FALSE(!g.turn.open || (!g.turn.left && !g.turn.secure));
    for (size_t page = KEPT; page < PAGES; page++) /* and what was there last was wiped */
        CHECK_OR_FALSE(!g.is_private[page] ||
                       (!g.stale[page * PAGE] && memcmp(g.stale + page * PAGE, g.stale + page * PAGE + 1, PAGE - 1) == 0));
    return true;
}

static bool act(void)
{
    struct request *r = &req[roll(REQUESTS)];
    unsigned what = roll(400);
    if (what < 300)
        return r->mapped ? end(r) : begin(r);
    if (what < 340)
        work();
    else if (what < 390)
        (void)via_turn_step(&g.turn, roll(40));
    else if (what < 393)
        via_turn_begin(&g.turn, roll(2));
    else if (what < 395)
        return reserve();
    else if (!g.fail_after) {
        g.fail_after = 1 + roll(100);
        g.fails = 1 + roll(3);
        g.fails_converted = roll(2);
    }
    return true;
}

static bool settle(bool secure)
{
    for (unsigned i = 0; i < REQUESTS; i++)
        if (req[i].mapped)
            CHECK_OR_FALSE(end(&req[i]));
    g.fail_after = 0;
    via_turn_begin(&g.turn, secure);
    for (unsigned i = 0; i < PAGES && via_turn_step(&g.turn, 30); i++)
        ;
    CHECK_OR_FALSE(via_turn_is_done(&g.turn) && g.turn.open == !secure && agrees());
    CHECK_OR_FALSE(g.turn.maps[0] == 0 && g.turn.maps[1] == 0 && g.bounce.stats.in_use == 0);
    return true;
}

static void any_order(void)
{
    uint64_t both[2] = {0, 0}, failed = 0, waited = 0;
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        state = seed;
        memset(req, 0, sizeof(req));
        CHECK(guest_up(0x77));
        memcpy(want, own, sizeof(want));
        for (unsigned i = 0; i < ROUNDS; i++) {
            CHECK(act());
            both[g.turn.open]++;
            waited += g.turn.secure && g.turn.left && g.turn.maps[VIA_TURN_OPEN];
            if (i % 16 == 0)
                CHECK(agrees());
        }
        CHECK(settle(true));
        if (g.lease[PAGES - 20] >> 31)
            CHECK(reserve() && settle(true));
        CHECK_EQ(seen(), 0);
        failed += g.turn.stats.failed;
        CHECK(settle(false));
    }
    CHECK(both[0] > 1000 && both[1] > 1000 && failed > 100 && waited > 100); /* all of it took place */
}

TAP_MAIN(TEST(any_order))
