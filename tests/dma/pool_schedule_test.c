/* SPDX-License-Identifier: BSD-2-Clause */
/* Two queues on one pool under every schedule: nobody sleeps for good, no slot is lost. */
#include "rig.h"

#include "schedule.h"

#include "../../core/dma/pool.c"

enum { STEPS = 26 };

static struct rig rig;
static uint32_t slots;

static void wake(struct via_pool *p, uint64_t queues)
{
    (void)p;
    for (unsigned i = 0; i < 2; i++)
        woken[i] |= queues >> i & 1;
}

static void reserve_or_sleep(unsigned me, uint32_t n)
{
    while (!via_pool_reserve(&rig.pool, n)) {
        woken[me] = false;
        via_pool_wait(&rig.pool, 1u << me);
        if (via_pool_reserve(&rig.pool, n)) {
            via_pool_wait_over(&rig.pool, 1u << me);
            return;
        }
        if (!sleep_here(me))
            return;
    }
}

/* Two slots of three, claimed one by one. */
static void two_of_three(unsigned me)
{
    for (int i = 0; i < 2 && !slept_for_good; i++) {
        uint32_t slot[2], hint = 0;
        reserve_or_sleep(me, 2);
        if (slept_for_good)
            return;
        for (int k = 0; k < 2; k++)
            while (!via_pool_claim(&rig.pool, 1, &hint, &slot[k]))
                ;
        for (int k = 0; k < 2; k++)
            via_pool_give(&rig.pool, slot[k], 1);
        via_pool_settle(&rig.pool, 2, 0);
    }
}

/* A hundred over both words of the map, and two in the second word: one in the way of the other. */
static void runs_that_cross(unsigned me)
{
    uint32_t n = me ? 2 : 100, hint = me, slot;
    for (int i = 0; i < 2; i++) {
        if (!via_pool_reserve(&rig.pool, n))
            continue;
        if (via_pool_claim(&rig.pool, n, &hint, &slot))
            via_pool_give(&rig.pool, slot, n);
        via_pool_settle(&rig.pool, n, 0);
    }
}

static bool nothing_is_lost(void)
{
    CHECK_OR_FALSE(atomic_load_explicit(&rig.pool.claimed, SC) == 0);
    for (uint32_t i = 0, left = slots; i < (slots + 63) / 64; i++, left -= 64)
        CHECK_OR_FALSE(atomic_load_explicit(&rig.free[i], SC) == (left < 64 ? (1ull << left) - 1 : ~0ull));
    return true;
}

static void with_slots(uint32_t n, void (*with)(unsigned))
{
    slots = n;
    CHECK(rig_up(&rig, slots));
    rig.pool.wake = wake;
    every_schedule(STEPS, with, NULL, nothing_is_lost);
    rig_down(&rig);
}

static void no_wake_up_is_lost(void) { with_slots(3, two_of_three); }
static void a_lost_race_for_a_run_returns_it(void) { with_slots(128, runs_that_cross); }

TAP_MAIN(TEST(no_wake_up_is_lost), TEST(a_lost_race_for_a_run_returns_it))
