/* SPDX-License-Identifier: BSD-2-Clause */
/* Two threads that make one pool grow, or shrink, under every schedule: who could be helped by sharing more is, or is woken. */
#define GROW_SLOTS 6u
#define GROW_CHUNK 1u
#include "grow_rig.h"

#include "schedule.h"

#include "../../core/dma/grow.c"
#include "../../core/dma/pool.c"

enum { STEPS = 32, CHUNK = GROW_CHUNK };

static struct grow_rig rig;
static uint32_t want[2];
static uint64_t got[2]; /* a bit a slot */

static void wake(struct via_pool *p, uint64_t queues)
{
    (void)p;
    for (unsigned i = 0; i < 2; i++)
        woken[i] |= queues >> i & 1;
}

/* As a queue does it, which keeps what it gets. */
static void get(unsigned me)
{
    struct via_pool *p = &rig.grow.pool;
    uint32_t hint = 0, slot;
    while (!via_pool_reserve(p, want[me])) {
        woken[me] = false;
        via_pool_wait(p, 1u << me);
        bool have;
        while (!(have = via_pool_reserve(p, want[me])) && p->more(p, want[me], 1u << me))
            ;
        if (have) {
            via_pool_wait_over(p, 1u << me);
            break;
        }
        if (!sleep_here(me))
            return;
    }
    for (uint32_t left = want[me], n = left; left;) { /* in one piece, or in any */
        while (!via_pool_claim(p, n, &hint, &slot))
            n = n > 1 ? n / 2 : 1;
        got[me] |= mask_of(slot, n);
        left -= n;
        n = n < left ? n : left;
    }
}

static bool begin(void)
{
    uint32_t hint = 0, slot;
    free(rig.mem);
    CHECK_OR_FALSE(grow_up(&rig, NULL));
    rig.grow.pool.wake = wake;
    got[0] = got[1] = 0;
    CHECK_OR_FALSE(via_pool_reserve(&rig.grow.pool, CHUNK) && via_pool_claim(&rig.grow.pool, CHUNK, &hint, &slot));
    return true;
}

static bool each_has_its_own(void)
{
    for (unsigned i = 0; i < 2; i++)
        CHECK_OR_FALSE((uint32_t)__builtin_popcountll(got[i]) == want[i]);
    CHECK_OR_FALSE(!(got[0] & got[1]));
    for (unsigned i = 0; i < GROW_SLOTS; i++)
        CHECK_OR_FALSE(!((got[0] | got[1]) >> i & 1) || rig.truth[i] == IS_SHARED);
    return grow_is_sound(&rig);
}

/* Nothing is given back, so only growing can wake. */
static void both_starve(void)
{
    want[0] = want[1] = CHUNK;
    every_schedule(STEPS, get, begin, each_has_its_own);
    want[0] = 3 * CHUNK; /* more than half of what there is */
    want[1] = 2;
    every_schedule(STEPS, get, begin, each_has_its_own);
    free(rig.mem);
    rig.mem = NULL;
}

/* Five chunks, of which the first and the third are in use: the others are too much for long. */
static bool begin_free(void)
{
    CHECK_OR_FALSE(begin());
    uint32_t hint = 0, slot;
    rig.grow.low = rig.grow.high = 0;
    rig.grow.idle = 0;
    CHECK_OR_FALSE(rig.grow.pool.more(&rig.grow.pool, 4 * CHUNK, 0));
    CHECK_OR_FALSE(via_pool_reserve(&rig.grow.pool, 2 * CHUNK) && via_pool_claim(&rig.grow.pool, 2 * CHUNK, &hint, &slot));
    via_pool_give(&rig.grow.pool, CHUNK, CHUNK);
    via_pool_settle(&rig.grow.pool, CHUNK, 0);
    return true;
}

static void tick_or_get(unsigned me)
{
    if (me)
        get(me);
    else
        via_grow_tick(&rig.grow, 1);
}

static bool the_other_got_it(void) { return each_has_its_own(); }

static void a_tick_takes_nothing_from_who_starves(void)
{
    want[0] = 0;
    for (want[1] = CHUNK; want[1] <= 4 * CHUNK; want[1]++)
        every_schedule(STEPS, tick_or_get, begin_free, the_other_got_it);
    free(rig.mem);
    rig.mem = NULL;
}

TAP_MAIN(TEST(both_starve), TEST(a_tick_takes_nothing_from_who_starves))
