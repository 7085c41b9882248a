/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two queues on one pool under every schedule of up to three changes between them, at any of their atomic operations: the pool is compiled
 * in here with a stop before each one. What chance needs a million runs for happens in each of these. Nobody sleeps for good, no slot is
 * lost.
 */
#include <pthread.h>
#include <semaphore.h>

#include "rig.h"

static void stop_here(void);
#undef atomic_load
#undef atomic_compare_exchange_weak
#undef atomic_fetch_or
#undef atomic_fetch_and
#undef atomic_fetch_sub
#define SC memory_order_seq_cst
#define atomic_load(p) (stop_here(), atomic_load_explicit(p, SC))
#define atomic_compare_exchange_weak(p, was, is) (stop_here(), atomic_compare_exchange_strong_explicit(p, was, is, SC, SC))
#define atomic_fetch_or(p, v) (stop_here(), atomic_fetch_or_explicit(p, v, SC))
#define atomic_fetch_and(p, v) (stop_here(), atomic_fetch_and_explicit(p, v, SC))
#define atomic_fetch_sub(p, v) (stop_here(), atomic_fetch_sub_explicit(p, v, SC))
#include "../../core/dma/pool.c"

enum { STEPS = 26, CHANGES = 3 };

/* Only the thread whose turn it is runs, so all of this is plain data. */
static struct rig rig;
static sem_t turn[2];
static bool ended[2], woken[2], slept_for_good;
static unsigned running, step, change[CHANGES];
static void (*task)(unsigned);

static void change_over(void)
{
    unsigned me = running;
    if (ended[!me])
        return;
    running = !me;
    sem_post(&turn[!me]);
    sem_wait(&turn[me]);
}

static void stop_here(void)
{
    step++;
    for (unsigned i = 0; i < CHANGES; i++)
        if (change[i] == step) {
            change_over();
            return; /* the step is another by now */
        }
}

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
        while (!woken[me]) {
            slept_for_good |= ended[!me];
            if (slept_for_good)
                return;
            change_over();
        }
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

static void *run(void *arg)
{
    unsigned me = arg != NULL;
    sem_wait(&turn[me]);
    task(me);
    ended[me] = true;
    if (!ended[!me]) {
        running = !me;
        sem_post(&turn[!me]);
    }
    return NULL;
}

static bool one_schedule(uint32_t slots)
{
    pthread_t thread[2];
    ended[0] = ended[1] = woken[0] = woken[1] = slept_for_good = false;
    running = step = 0;
    sem_init(&turn[0], 0, 1);
    sem_init(&turn[1], 0, 0);
    for (unsigned i = 0; i < 2; i++)
        CHECK_OR_FALSE(pthread_create(&thread[i], NULL, run, i ? &thread[i] : NULL) == 0);
    pthread_join(thread[0], NULL);
    pthread_join(thread[1], NULL);
    CHECK_OR_FALSE(!slept_for_good);
    CHECK_OR_FALSE(atomic_load_explicit(&rig.pool.claimed, SC) == 0);
    for (uint32_t i = 0, left = slots; i < (slots + 63) / 64; i++, left -= 64)
        CHECK_OR_FALSE(atomic_load_explicit(&rig.free[i], SC) == (left < 64 ? (1ull << left) - 1 : ~0ull));
    return true;
}

static void every_schedule(uint32_t slots, void (*with)(unsigned))
{
    CHECK(rig_up(&rig, slots));
    rig.pool.wake = wake;
    task = with;
    for (change[0] = 1; change[0] <= STEPS; change[0]++)
        for (change[1] = change[0] + 1; change[1] <= STEPS + 1; change[1]++)
            for (change[2] = change[1] + 1; change[2] <= STEPS + 2; change[2]++)
                CHECK(one_schedule(slots));
    rig_down(&rig);
}

static void no_wake_up_is_lost(void) { every_schedule(3, two_of_three); }
static void a_lost_race_for_a_run_returns_it(void) { every_schedule(128, runs_that_cross); }

TAP_MAIN(TEST(no_wake_up_is_lost), TEST(a_lost_race_for_a_run_returns_it))
