/* SPDX-License-Identifier: BSD-2-Clause */
/* A pool that grows and gives back: what is shared follows the need, a failure at any page costs patience and nothing else. */
#include "grow_rig.h"

enum { CHUNK = GROW_CHUNK, ALL = GROW_SLOTS };

static struct grow_rig rig;
static struct via_bounce a, b;
static uint8_t *own; /* driver memory: a pool's worth, and a page */

struct hold { /* one mapping */
    struct via_mapping m;
    struct via_seg seg[ALL];
    struct via_span buf;
};

static bool up(struct via_budget *budget)
{
    own = aligned_alloc(SLOT, (ALL + 1) * SLOT);
    CHECK_OR_FALSE(own && grow_up(&rig, budget));
    memset(own, 0x11, (ALL + 1) * SLOT);
    CHECK_OR_FALSE(via_bounce_init(&a, &rig.grow.pool, 0, 0) == 0 && via_bounce_init(&b, &rig.grow.pool, 1, 0) == 0);
    return true;
}

static void down(void)
{
    grow_down(&rig);
    free(own);
}

static int hold(struct via_bounce *by, struct hold *h, uint32_t slots)
{
    h->buf = (struct via_span){own, slots * SLOT};
    h->m = (struct via_mapping){.seg = h->seg, .cap = ALL};
    return via_dma_map(&by->dma, &h->buf, 1, 0, &h->m);
}

static void drop(struct via_bounce *by, struct hold *h) { via_dma_unmap(&by->dma, &h->m, 0); }

static uint32_t shared(void) { return grow_count(&rig, IS_SHARED); }

static struct hold h[ALL];

static void who_finds_no_room_gets_it_in_the_same_call(void)
{
    CHECK(up(NULL));
    CHECK(shared() == CHUNK && rig.calls[1] == 1 && grow_is_sound(&rig));
    CHECK_EQ(hold(&a, &h[0], CHUNK), 0);
    CHECK_EQ(rig.calls[1], 1);
    CHECK_EQ(hold(&a, &h[1], 1), 0);
    CHECK(shared() == 2 * CHUNK && rig.calls[1] == 2 && rig.grow.pool.hungry == 0);
    CHECK_EQ(hold(&b, &h[2], 5 * CHUNK), 0); /* several at once */
    CHECK(shared() == 7 * CHUNK && rig.calls[1] == 3 && grow_is_sound(&rig));
    CHECK(h[2].m.n_out == 1 && h[2].seg[0].addr.v >= GROW_PHYS);
    CHECK_EQ(rig.grow.pool.high_water, 6 * CHUNK + 1);
    CHECK_EQ(rig.grow.stats.high_water, 7 * CHUNK);
    uint8_t *p = via_bounce_alloc(&b, 2 * CHUNK * SLOT);
    CHECK(p && shared() == 9 * CHUNK && grow_is_sound(&rig));
    CHECK_EQ(hold(&a, &h[3], 9 * CHUNK), -VIA_EAGAIN); /* no pool has that many */
    CHECK(shared() == ALL && rig.grow.pool.hungry == 1 && a.stats.full == 1 && grow_is_sound(&rig));
    drop(&b, &h[2]);
    CHECK_EQ(rig.woken, 1);
    CHECK_EQ(hold(&a, &h[3], 9 * CHUNK), 0);
    down();
}

static void what_is_new_shows_no_old_bytes(void)
{
    CHECK(up(NULL)); /* the rig's conversions leave noise */
    CHECK_EQ(hold(&a, &h[0], CHUNK), 0);
    own[0] = 0x22;
    CHECK_EQ(hold(&a, &h[1], 1), 0);
    CHECK_EQ(rig.mem[CHUNK * SLOT], 0x22);
    for (unsigned i = (CHUNK + 1) * SLOT; i < 2 * CHUNK * SLOT; i++)
        CHECK_EQ(rig.mem[i], 0);
    down();
}

/* Wherever a share fails, nothing of the chunks is used; a tick later it is tried anew. */
static void a_share_that_fails_is_patience(void)
{
    for (unsigned at = 1; at <= 3 * CHUNK; at++)
        for (unsigned undo = 0; undo <= 3 * CHUNK; undo += undo < 2 ? 1 : 5) { /* and the way back, too */
            CHECK(up(NULL));
            grow_fail(&rig, true, at, 1);
            grow_fail(&rig, false, undo, undo != 0);
            bool doubt = undo && undo <= at; /* the way back is no longer than the way there */
            CHECK_EQ(hold(&a, &h[0], 4 * CHUNK), -VIA_EAGAIN);
            CHECK(grow_is_sound(&rig));
            CHECK(rig.grow.pool.hungry == 1 && rig.grow.stats.failed == (doubt ? 2u : 1u) && rig.grow.stats.grown == 1);
            CHECK(doubt == (rig.grow.stats.reserved > CHUNK));
            unsigned calls = rig.calls[1];
            CHECK_EQ(hold(&a, &h[0], 4 * CHUNK), -VIA_EAGAIN); /* not at once */
            CHECK_EQ(rig.calls[1], calls);
            CHECK_EQ(hold(&b, &h[1], CHUNK), 0); /* what there is serves */
            drop(&b, &h[1]);
            grow_fail(&rig, false, 0, 0);
            CHECK_EQ(via_grow_tick(&rig.grow, 1), 0);
            CHECK_EQ(hold(&a, &h[0], 4 * CHUNK), 0);
            CHECK(grow_is_sound(&rig));
            drop(&a, &h[0]);
            for (uint64_t t = 2; t < 5; t++) /* a chunk in doubt a tick */
                via_grow_tick(&rig.grow, t);
            CHECK(grow_count(&rig, IS_UNKNOWN) == 0 && grow_is_sound(&rig));
            CHECK_EQ(via_grow_finish(&rig.grow), 0);
            CHECK_EQ(grow_count(&rig, IS_PRIVATE), ALL);
            down();
        }
}

static void a_tick_wakes_who_waits_for_a_conversion(void)
{
    CHECK(up(NULL));
    CHECK_EQ(hold(&a, &h[0], CHUNK), 0);
    grow_fail(&rig, true, 1, 1);
    CHECK_EQ(hold(&b, &h[1], 1), -VIA_EAGAIN);
    CHECK_EQ(rig.woken, 0);
    via_grow_tick(&rig.grow, 1);
    CHECK_EQ(rig.woken, 2);
    CHECK_EQ(hold(&b, &h[1], 1), 0);
    down();
}

/* A chunk that always fails is not what everything waits for. */
static void the_next_try_is_elsewhere(void)
{
    CHECK(up(NULL));
    CHECK_EQ(hold(&a, &h[0], CHUNK), 0);
    grow_fail(&rig, true, 1, 1);
    CHECK_EQ(hold(&a, &h[1], 1), -VIA_EAGAIN);
    via_grow_tick(&rig.grow, 1);
    CHECK_EQ(hold(&a, &h[1], 1), 0);
    CHECK(rig.state[1] == VIA_CHUNK_PRIVATE && rig.state[2] == VIA_CHUNK_SHARED && grow_is_sound(&rig));
    down();
}

/* Nor is one in doubt that stays so: the others get their turn, and there is growth meanwhile. */
static void every_doubt_gets_its_turn(void)
{
    CHECK(up(NULL));
    CHECK_EQ(hold(&a, &h[0], CHUNK), 0);
    for (unsigned c = 1; c <= 2; c++) {
        rig.bad = c * CHUNK + 1;
        CHECK_EQ(hold(&a, &h[1], 1), -VIA_EAGAIN);
        CHECK_EQ(rig.state[c], VIA_CHUNK_DOUBT);
        rig.grow.paused = false;
    }
    rig.bad = CHUNK + 1;
    via_grow_tick(&rig.grow, 1);
    CHECK(rig.state[1] == VIA_CHUNK_DOUBT && rig.state[2] == VIA_CHUNK_DOUBT);
    CHECK_EQ(hold(&a, &h[1], 1), 0);
    via_grow_tick(&rig.grow, 2);
    CHECK(rig.state[1] == VIA_CHUNK_DOUBT && rig.state[2] == VIA_CHUNK_PRIVATE && grow_is_sound(&rig));
    down();
}

static void too_much_for_long_goes_back(void)
{
    CHECK(up(NULL));
    CHECK_EQ(hold(&a, &h[0], 8 * CHUNK), 0);
    CHECK_EQ(hold(&a, &h[1], 1), 0);
    drop(&a, &h[0]);
    CHECK_EQ(via_grow_tick(&rig.grow, 5000), 0); /* from now on it is too much */
    CHECK_EQ(via_grow_tick(&rig.grow, 5999), 0);
    CHECK_EQ(shared(), 9 * CHUNK);
    CHECK_EQ(hold(&a, &h[0], 6 * CHUNK), 0); /* as much as high is left: it begins anew */
    via_grow_tick(&rig.grow, 6000);
    drop(&a, &h[0]);
    via_grow_tick(&rig.grow, 6001);
    via_grow_tick(&rig.grow, 7000);
    CHECK_EQ(shared(), 9 * CHUNK);
    unsigned calls = rig.calls[0];
    CHECK_EQ(via_grow_tick(&rig.grow, 7001), 0);
    CHECK(rig.calls[0] <= calls + 2);                    /* in bulk, but for the one that is in use */
    CHECK(shared() == 2 * CHUNK && grow_is_sound(&rig)); /* the one in use, one free */
    CHECK_EQ(rig.grow.stats.given, 7);
    via_grow_tick(&rig.grow, 99999);
    CHECK_EQ(shared(), 2 * CHUNK);
    drop(&a, &h[1]);
    via_grow_tick(&rig.grow, 100000);
    via_grow_tick(&rig.grow, 200000);
    CHECK_EQ(shared(), 2 * CHUNK);           /* not above high */
    CHECK_EQ(hold(&a, &h[0], 3 * CHUNK), 0); /* and it grows again */
    CHECK(shared() == 3 * CHUNK && grow_is_sound(&rig));
    down();
}

static void what_is_used_stays_whatever_is_free(void)
{
    CHECK(up(NULL));
    for (unsigned i = 0; i < ALL; i++)
        CHECK_EQ(hold(&a, &h[i], 1), 0);
    for (unsigned i = 0; i < ALL; i++) /* one slot of each chunk stays */
        if (i % CHUNK != 3)
            drop(&a, &h[i]);
    via_grow_tick(&rig.grow, 0);
    CHECK_EQ(via_grow_tick(&rig.grow, 1000), 1);
    CHECK(shared() == ALL && grow_is_sound(&rig));
    for (unsigned i = 3; i < ALL; i += 2 * CHUNK)
        drop(&a, &h[i]);
    via_grow_tick(&rig.grow, 1001);
    CHECK(shared() == ALL / 2 && grow_is_sound(&rig));
    down();
}

/* Enough is free, but in pieces: a run of its own comes at once. */
static void a_run_comes_whole(void)
{
    CHECK(up(NULL));
    for (unsigned i = 0; i < 4 * CHUNK; i++)
        CHECK_EQ(hold(&a, &h[i], 1), 0);
    for (unsigned i = 0; i < 4 * CHUNK; i += 2)
        drop(&a, &h[i]);
    unsigned calls = rig.calls[1];
    CHECK(via_bounce_alloc(&b, 2 * CHUNK * SLOT));
    CHECK(rig.calls[1] == calls + 1 && shared() == 6 * CHUNK && grow_is_sound(&rig));
    down();
}

static void what_was_asked_for_at_least_stays(void)
{
    own = aligned_alloc(SLOT, (ALL + 1) * SLOT);
    CHECK(own && grow_base(&rig));
    struct via_grow_cfg cfg = grow_cfg(&rig);
    cfg.least = 4 * CHUNK * SLOT - 1; /* rounded up */
    CHECK_EQ(via_grow_init(&rig.grow, &cfg), 0);
    CHECK_EQ(via_bounce_init(&a, &rig.grow.pool, 0, 0), 0);
    via_grow_tick(&rig.grow, 0); /* above high, and not too much */
    via_grow_tick(&rig.grow, 9000);
    CHECK_EQ(shared(), 4 * CHUNK);
    CHECK_EQ(hold(&a, &h[0], 6 * CHUNK), 0);
    drop(&a, &h[0]);
    via_grow_tick(&rig.grow, 9001);
    CHECK_EQ(shared(), 6 * CHUNK); /* from now on it is */
    via_grow_tick(&rig.grow, 10001);
    CHECK(shared() == 4 * CHUNK && grow_is_sound(&rig));
    down();
}

/* Slots at hand of a queue that does nothing hold chunks; the tick says so. */
static void caches_are_asked_for(void)
{
    CHECK(up(NULL));
    CHECK_EQ(via_bounce_init(&a, &rig.grow.pool, 0, 16), 0);
    for (unsigned i = 0; i < ALL; i++)
        CHECK_EQ(hold(&a, &h[i], 1), 0);
    for (unsigned i = 0; i < ALL; i++)
        drop(&a, &h[i * 97 % ALL]);
    CHECK_EQ(a.cached, 16);
    via_grow_tick(&rig.grow, 0);
    CHECK_EQ(via_grow_tick(&rig.grow, 1000), 1);
    CHECK(shared() > CHUNK);
    via_bounce_drain(&a);
    CHECK_EQ(via_grow_tick(&rig.grow, 1001), 0);
    CHECK(shared() == CHUNK && grow_is_sound(&rig));
    down();
}

/* Wherever an unshare fails: its chunk stays the pool's, as those behind it do, and is tried again when it was too much for as long again.
 */
static void an_unshare_that_fails_leaves_it_shared(void)
{
    for (unsigned at = 1; at <= 7 * CHUNK; at++) {
        CHECK(up(NULL));
        CHECK_EQ(hold(&a, &h[0], 8 * CHUNK), 0);
        drop(&a, &h[0]);
        grow_fail(&rig, false, at, 1);
        via_grow_tick(&rig.grow, 0);
        via_grow_tick(&rig.grow, 1000);
        uint32_t stay = (8 - (at - 1) / CHUNK) * CHUNK;
        CHECK(grow_is_sound(&rig) && shared() == stay && rig.grow.stats.failed == 1 && rig.grow.stats.given == (at - 1) / CHUNK);
        unsigned calls = rig.calls[1];
        for (unsigned i = CHUNK * SLOT; i < GROW_SLOTS * SLOT; i++)
            CHECK(!grow_is_free(&rig, i / SLOT) || rig.mem[i] == 0);
        CHECK_EQ(hold(&b, &h[1], stay), 0);
        CHECK_EQ(rig.calls[1], calls);
        drop(&b, &h[1]);
        via_grow_tick(&rig.grow, 1001);
        CHECK_EQ(shared(), stay);
        via_grow_tick(&rig.grow, 2001);
        CHECK(shared() == (stay > 3 * CHUNK ? CHUNK : stay) && grow_is_sound(&rig));
        down();
    }
}

/* And if it can't be shared again either, it is neither used nor taken for private until it can be told what it is. */
static void what_is_in_doubt_is_nobodys(void)
{
    for (unsigned at = 1; at <= 7 * CHUNK; at++) {
        CHECK(up(NULL));
        CHECK_EQ(hold(&a, &h[0], 8 * CHUNK), 0);
        drop(&a, &h[0]);
        grow_fail(&rig, false, at, 2);
        grow_fail(&rig, true, 1, 1);
        via_grow_tick(&rig.grow, 0);
        via_grow_tick(&rig.grow, 1000);
        CHECK(grow_is_sound(&rig));
        CHECK(grow_count(&rig, IS_UNKNOWN) >= 1 && rig.grow.stats.failed == 2);
        CHECK_EQ(rig.grow.stats.reserved, (8 - (at - 1) / CHUNK) * CHUNK);
        CHECK_EQ(rig.grow.stats.given, (at - 1) / CHUNK);
        CHECK_EQ(hold(&b, &h[1], (7 - (at - 1) / CHUNK) * CHUNK), 0); /* but one chunk all of it */
        CHECK_EQ(rig.calls[1], 3);
        drop(&b, &h[1]);
        via_grow_tick(&rig.grow, 1001); /* fails again */
        CHECK(grow_count(&rig, IS_UNKNOWN) >= 1 && grow_is_sound(&rig));
        via_grow_tick(&rig.grow, 1002);
        CHECK(grow_count(&rig, IS_UNKNOWN) == 0 && grow_is_sound(&rig));
        CHECK_EQ(hold(&a, &h[0], ALL), 0);
        down();
    }
}

static void an_end_that_fails_can_be_tried_again(void)
{
    CHECK(up(NULL));
    CHECK_EQ(hold(&a, &h[0], 3 * CHUNK), 0);
    CHECK_EQ(via_grow_finish(&rig.grow), -VIA_EBUSY);
    CHECK(shared() == 3 * CHUNK && grow_is_sound(&rig));
    drop(&a, &h[0]);
    grow_fail(&rig, false, CHUNK + 4, 1);
    CHECK_EQ(via_grow_finish(&rig.grow), -VIA_EIO);
    CHECK(grow_count(&rig, IS_UNKNOWN) == 1 && via_protect_is_private(&rig.protect, rig.mem, CHUNK * SLOT));
    CHECK(!via_protect_is_private(&rig.protect, rig.mem + CHUNK * SLOT, 4 * SLOT));
    CHECK_EQ(via_grow_finish(&rig.grow), 0);
    CHECK(grow_count(&rig, IS_PRIVATE) == ALL && !rig.stale);
    down();
}

/* Two devices under one budget: a flood takes what nobody was promised, and not more. */
static void a_flooded_neighbour_leaves_what_was_promised(void)
{
    static struct grow_rig other;
    struct via_budget budget;
    struct via_bounce c;
    via_budget_init(&budget, 10 * CHUNK * SLOT);
    CHECK(up(&budget) && grow_base(&other));
    struct via_grow_cfg cfg = grow_cfg(&other);
    cfg.budget = &budget;
    cfg.least = 10 * CHUNK * SLOT;
    CHECK_EQ(via_grow_init(&other.grow, &cfg), -VIA_ENOSPC);
    cfg.least = 3 * CHUNK * SLOT;
    grow_fail(&other, true, 5, 1);
    CHECK_EQ(via_grow_init(&other.grow, &cfg), -VIA_EIO); /* which promises nothing */
    CHECK(budget.left == 9 * CHUNK * SLOT && grow_count(&other, IS_PRIVATE) == ALL);
    CHECK_EQ(via_grow_init(&other.grow, &cfg), 0);
    CHECK_EQ(via_bounce_init(&c, &other.grow.pool, 0, 0), 0);
    CHECK_EQ(budget.left, 6 * CHUNK * SLOT);
    unsigned n = 0;
    CHECK_EQ(hold(&a, &h[0], 8 * CHUNK), -VIA_EAGAIN);
    CHECK(budget.left == 0 && shared() == 7 * CHUNK); /* what there is: it will be needed */
    while (hold(&a, &h[n], 1) == 0)
        n++;
    CHECK(n == 7 * CHUNK && budget.left == 0 && rig.grow.stats.refused == 2 && rig.grow.pool.hungry == 1);
    CHECK_EQ(hold(&b, &h[n], 1), -VIA_EAGAIN);
    CHECK_EQ(rig.woken, 0);                  /* two that starve don't keep each other awake */
    CHECK_EQ(hold(&c, &h[n], 3 * CHUNK), 0); /* its promise holds */
    CHECK_EQ(hold(&c, &h[n + 1], 1), -VIA_EAGAIN);
    for (unsigned i = 0; i < n; i++)
        drop(&a, &h[i]);
    via_grow_tick(&rig.grow, 0);
    via_grow_tick(&rig.grow, 1000);
    CHECK(budget.left == 6 * CHUNK * SLOT && shared() == CHUNK && grow_is_sound(&rig));
    CHECK_EQ(hold(&c, &h[n + 1], 6 * CHUNK), 0);
    CHECK(budget.left == 0 && grow_is_sound(&other));
    CHECK_EQ(hold(&a, &h[0], CHUNK), 0);
    drop(&c, &h[n]);
    drop(&c, &h[n + 1]);
    CHECK_EQ(via_grow_finish(&other.grow), 0);
    CHECK_EQ(budget.left, 9 * CHUNK * SLOT);
    grow_down(&other);
    down();
}

/* Two queues on one pool: who is flooded holds no more than its quota, and is woken by its own. */
static void a_quota_leaves_the_rest_to_others(void)
{
    CHECK(up(NULL));
    a.quota = ALL - 2 * CHUNK;
    CHECK_EQ(hold(&a, &h[0], ALL - CHUNK), -VIA_E2BIG);
    uint8_t *p = via_bounce_alloc(&a, 3 * SLOT);
    unsigned n = 0;
    while (hold(&a, &h[n], 1) == 0)
        n++;
    CHECK(p && n == a.quota - 3 && a.held == a.quota);
    CHECK(a.stats.full == 1 && a.stats.over_quota == 1 && rig.grow.pool.hungry == 0); /* nobody else is bothered */
    CHECK(via_bounce_alloc(&a, SLOT) == NULL);
    CHECK_EQ(hold(&b, &h[ALL - 1], 2 * CHUNK), 0);
    CHECK_EQ(hold(&b, &h[ALL - 2], 1), -VIA_EAGAIN);
    CHECK(b.stats.over_quota == 0 && rig.grow.pool.hungry == 2);
    rig.woken = 0;
    drop(&a, &h[--n]);
    CHECK_EQ(rig.woken, 3);
    rig.woken = 0;
    drop(&a, &h[--n]);
    CHECK_EQ(rig.woken, 0); /* nobody waits any more */
    CHECK_EQ(hold(&a, &h[n++], 1), 0);
    CHECK_EQ(hold(&a, &h[n++], 1), 0);
    CHECK_EQ(hold(&a, &h[n], 1), -VIA_EAGAIN);
    via_bounce_free(&a, p, 3 * SLOT);
    CHECK_EQ(rig.woken, 1);
    a.quota = 1; /* lowered below what it holds */
    CHECK_EQ(hold(&a, &h[n], 1), -VIA_EAGAIN);
    CHECK_EQ(a.stats.full, 4);
    CHECK(via_bounce_alloc(&a, 2 * SLOT) == NULL && a.stats.full == 4); /* never, whoever gives back */
    while (n)
        drop(&a, &h[--n]);
    CHECK(a.held == 0 && hold(&a, &h[0], 1) == 0 && grow_is_sound(&rig));
    down();
}

static void a_cache_counts_for_the_quota(void)
{
    CHECK(up(NULL));
    CHECK_EQ(via_bounce_init(&a, &rig.grow.pool, 0, 16), 0);
    a.quota = 20;
    unsigned n = 0;
    for (int round = 0; round < 3; round++) {
        while (hold(&a, &h[n], 1) == 0)
            n++;
        CHECK(n == 20 && a.held == 20);
        while (n)
            drop(&a, &h[--n]);
        CHECK(a.held == a.cached && a.cached > 0);
        CHECK_EQ(hold(&a, &h[0], 20), 0); /* the cache makes room */
        drop(&a, &h[0]);
    }
    down();
}

/* Chunks whose addresses don't continue the pool's are left out, the others serve. */
static void addresses_that_break_off(void)
{
    own = aligned_alloc(SLOT, (ALL + 1) * SLOT);
    CHECK(own && grow_base(&rig));
    uint64_t part = 5 * CHUNK * SLOT;
    rig.range[0].len = part;
    rig.range[1] = (struct via_phys_range){rig.mem + part, ALL * SLOT - part, GROW_PHYS + part + SLOT};
    CHECK_EQ(via_direct_init(&rig.direct, rig.range, 2), 0);
    struct via_grow_cfg cfg = grow_cfg(&rig);
    CHECK_EQ(via_grow_init(&rig.grow, &cfg), 0);
    CHECK_EQ(via_bounce_init(&a, &rig.grow.pool, 0, 0), 0);
    CHECK_EQ(rig.grow.pool.base, GROW_PHYS);
    CHECK_EQ(hold(&a, &h[0], 8 * CHUNK), -VIA_EAGAIN);
    for (unsigned c = 0; c < GROW_CHUNKS; c++)
        CHECK_EQ(rig.state[c], c == 0 ? VIA_CHUNK_SHARED : c >= 5 && c < 8 ? VIA_CHUNK_LOST : VIA_CHUNK_PRIVATE);
    CHECK(grow_is_sound(&rig) && grow_count(&rig, IS_PRIVATE) == ALL - CHUNK);
    CHECK_EQ(hold(&a, &h[0], 5 * CHUNK), 0);
    CHECK(grow_is_sound(&rig));
    down();
}

static void contradictions_are_refused(void)
{
    own = NULL;
    CHECK(grow_base(&rig));
    struct via_grow_cfg good = grow_cfg(&rig), c = good;
#define REFUSED(set, want)                                                                                                                 \
    c = good;                                                                                                                              \
    set;                                                                                                                                   \
    CHECK_EQ(via_grow_init(&rig.grow, &c), want)
    REFUSED(c.chunk = 0, -VIA_EINVAL);
    REFUSED(c.chunk = SLOT + 1, -VIA_EINVAL);
    REFUSED(c.chunk = 3 * SLOT, -VIA_EINVAL);
    REFUSED(c.len = 0, -VIA_EINVAL);
    REFUSED(c.least = 0, -VIA_EINVAL);
    REFUSED(c.least = c.len + 1, -VIA_EINVAL);
    REFUSED(c.low = c.high + 1, -VIA_EINVAL);
    REFUSED(c.chunks = GROW_CHUNKS - 1, -VIA_EINVAL);
    REFUSED(c.words = GROW_WORDS - 1, -VIA_EINVAL);
    REFUSED(c.mem = rig.mem + 8, -VIA_EINVAL);
    REFUSED(c.mem = rig.mem + ALL * SLOT, -VIA_EINVAL); /* not what can be shared */
    rig.range[0].phys += 8;
    REFUSED(, -VIA_ERANGE);
    CHECK_EQ(grow_count(&rig, IS_PRIVATE), ALL);
    rig.range[0].phys -= 8;
    REFUSED(, 0);
    down();
}

TAP_MAIN(TEST(who_finds_no_room_gets_it_in_the_same_call), TEST(what_is_new_shows_no_old_bytes), TEST(a_share_that_fails_is_patience),
         TEST(a_tick_wakes_who_waits_for_a_conversion), TEST(the_next_try_is_elsewhere), TEST(every_doubt_gets_its_turn),
         TEST(a_run_comes_whole), TEST(what_was_asked_for_at_least_stays), TEST(too_much_for_long_goes_back),
         TEST(what_is_used_stays_whatever_is_free), TEST(caches_are_asked_for), TEST(an_unshare_that_fails_leaves_it_shared),
         TEST(what_is_in_doubt_is_nobodys), TEST(an_end_that_fails_can_be_tried_again), TEST(a_flooded_neighbour_leaves_what_was_promised),
         TEST(a_quota_leaves_the_rest_to_others), TEST(a_cache_counts_for_the_quota), TEST(addresses_that_break_off),
         TEST(contradictions_are_refused))
