/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two threads under every schedule of up to three changes between them, at any of the atomic operations of what is compiled in behind this
 * header, with a stop before each one: what chance needs a million runs for happens in each of these.
 */
#ifndef TESTS_DMA_SCHEDULE_H
#define TESTS_DMA_SCHEDULE_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include <tap.h>

static void stop_here(void);
#undef atomic_load
#undef atomic_store
#undef atomic_exchange
#undef atomic_compare_exchange_weak
#undef atomic_fetch_add
#undef atomic_fetch_or
#undef atomic_fetch_and
#undef atomic_fetch_sub
#define SC memory_order_seq_cst
#define atomic_load(p) (stop_here(), atomic_load_explicit(p, SC))
#define atomic_store(p, v) (stop_here(), atomic_store_explicit(p, v, SC))
#define atomic_exchange(p, v) (stop_here(), atomic_exchange_explicit(p, v, SC))
#define atomic_compare_exchange_weak(p, was, is) (stop_here(), atomic_compare_exchange_strong_explicit(p, was, is, SC, SC))
#define atomic_fetch_add(p, v) (stop_here(), atomic_fetch_add_explicit(p, v, SC))
#define atomic_fetch_or(p, v) (stop_here(), atomic_fetch_or_explicit(p, v, SC))
#define atomic_fetch_and(p, v) (stop_here(), atomic_fetch_and_explicit(p, v, SC))
#define atomic_fetch_sub(p, v) (stop_here(), atomic_fetch_sub_explicit(p, v, SC))

enum { CHANGES = 3 };

/* Only the thread whose turn it is runs, so all of this is plain data. */
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

/* Until the other one wakes us; false: it never will. */
static bool sleep_here(unsigned me)
{
    while (!woken[me]) {
        slept_for_good |= ended[!me];
        if (slept_for_good)
            return false;
        change_over();
    }
    return true;
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

/* good: what has to hold when both have ended. */
static bool one_schedule(bool (*good)(void))
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
    return good();
}

/* begin (NULL: nothing): before each schedule. steps: more than a run has before its last change matters. */
static void every_schedule(unsigned steps, void (*with)(unsigned), bool (*begin)(void), bool (*good)(void))
{
    unsigned at[CHANGES];
    task = with;
    for (at[0] = 1; at[0] <= steps; at[0]++)
        for (at[1] = at[0] + 1; at[1] <= steps + 1; at[1]++)
            for (at[2] = at[1] + 1; at[2] <= steps + 2; at[2]++) {
                change[0] = change[1] = change[2] = 0;
                CHECK(!begin || begin());
                for (unsigned i = 0; i < CHANGES; i++)
                    change[i] = at[i];
                CHECK(one_schedule(good));
            }
}

#endif
