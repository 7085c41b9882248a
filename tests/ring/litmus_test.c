/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Litmus tests of the ring's own functions on real threads.
 *
 * SB, a store on either side and then a load of what the other one stores: publishing meets arming, and one must see the other. Every
 * processor that has a store buffer shows it when the barriers are gone, so this file is built a second time without them (weak.h), and
 * then it must be seen.
 * MP, data and then an index: what an index leads to is there. LB, a load and then an index: what was read before its entry was given back
 * is not what its owner wrote later. No x86 processor shows either, barriers or none; order_test.c and proofs/ring.pml have them, and
 * TSan, which knows of this order by the same words.
 * IRIW takes two writers, and two readers that disagree on them; a ring's words have one writer and one reader each.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>

#include "ring_mem.h"

#ifdef TESTS_RING_WEAK_H
enum { WEAK = 1 };
#else
enum { WEAK = 0 };
#endif
#define SECOND 1000000000LL
#define LOOK (SECOND * 3 / 10)  /* each for so long */
#define PATIENCE (120 * SECOND) /* for what must be seen */

static int64_t now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static void note(const char *what, bool event_idx, bool platform, uint64_t rounds, uint64_t found)
{
    char text[160];
    (void)snprintf(text, sizeof(text), "%s, %s, %s: %llu of %llu rounds", what, event_idx ? "events" : "flags",
                   platform ? "the platform's barriers" : "the processor's", (unsigned long long)found, (unsigned long long)rounds);
    tap_note(text);
}

/* ------------------------------------------------------------------ SB */

struct duel {
    struct ring ring;
    bool kick;    /* the driver publishes and the device arms; else the other way round */
    bool said[2]; /* what either side was told: notify; there is something already */
    atomic_bool over;
    alignas(128) atomic_uint at[2][32]; /* how far either side is, each in a line of its own */
};

static void meet(struct duel *d, unsigned me, unsigned step)
{
    atomic_store(&d->at[me][0], step);
    for (unsigned turn = 1; atomic_load(&d->at[!me][0]) < step; turn++)
        if (turn % 4096 == 0)
            sched_yield();
}

/* Let the lines come that will be read: a load that hits overtakes a store that waits for its line. */
static void dawdle(const struct duel *d, uint64_t *seed)
{
    (void)via_shm_get16(&d->ring.avail->idx);
    (void)via_shm_get16(&d->ring.used->idx);
    for (volatile unsigned i = rnd(seed) % (1u << rnd(seed) % 7); i; i--)
        ;
}

static void *one_arms(void *arg)
{
    struct duel *d = arg;
    uint64_t seed = 3;
    for (unsigned step = 1;; step += 2) {
        meet(d, 1, step);
        if (atomic_load(&d->over))
            return NULL;
        dawdle(d, &seed);
        d->said[1] = d->kick ? via_dq_arm(&d->ring.dq) : via_vq_arm(&d->ring.vq);
        meet(d, 1, step + 1);
    }
}

static bool begin(struct duel *d, struct via_chain *c)
{
    static char token;
    struct via_seg seg = {{0x1000}, 16};
    CHECK_OR_FALSE(via_vq_add(&d->ring.vq, &seg, 1, 0, &token) == 0);
    if (d->kick) {
        via_dq_disarm(&d->ring.dq);
        return true;
    }
    (void)!via_vq_publish(&d->ring.vq);
    CHECK_OR_FALSE(ring_pop(&d->ring, c) == VIA_POP_READY);
    via_dq_push(&d->ring.dq, c->head, 0);
    via_vq_disarm(&d->ring.vq);
    return true;
}

static bool finish(struct duel *d, struct via_chain *c)
{
    struct via_used_chain u;
    if (d->kick) {
        CHECK_OR_FALSE(ring_pop(&d->ring, c) == VIA_POP_READY);
        via_dq_push(&d->ring.dq, c->head, 0);
        (void)!via_dq_publish(&d->ring.dq);
    }
    CHECK_OR_FALSE(via_vq_reap(&d->ring.vq, &u) == 1);
    return true;
}

/* The publishing side goes through the rounds: how many of them left both sides asleep? */
static bool rounds(struct duel *d, uint64_t *all, uint64_t *lost)
{
    struct via_chain c = ring_chain(&d->ring);
    int64_t end = now() + (WEAK ? PATIENCE : LOOK);
    uint64_t seed = 5;
    for (unsigned step = 1;; step += 2) {
        bool over = (*all % 64 == 0 && now() > end) || (WEAK && *lost) || step > UINT_MAX - 8;
        CHECK_OR_FALSE(over || begin(d, &c));
        atomic_store(&d->over, over);
        meet(d, 0, step);
        if (over)
            return true;
        dawdle(d, &seed);
        d->said[0] = d->kick ? via_vq_publish(&d->ring.vq) : via_dq_publish(&d->ring.dq);
        meet(d, 0, step + 1);
        CHECK_OR_FALSE(finish(d, &c));
        *lost += !d->said[0] && !d->said[1];
        ++*all;
    }
}

static bool duel(bool kick, bool event_idx, bool platform)
{
    static struct duel d;
    pthread_t other;
    uint64_t all = 0, lost = 0;
    d = (struct duel){.kick = kick};
    CHECK_OR_FALSE(ring_open(&d.ring, 16, 0, event_idx, 65533));
    d.ring.vq.cfg.order_platform = d.ring.dq.cfg.order_platform = platform;
    CHECK_OR_FALSE(pthread_create(&other, NULL, one_arms, &d) == 0);
    bool good = rounds(&d, &all, &lost);
    if (!good) { /* the other one waits at the meeting */
        atomic_store(&d.over, true);
        atomic_store(&d.at[0][0], UINT_MAX);
    }
    CHECK_OR_FALSE(pthread_join(other, NULL) == 0);
    ring_close(&d.ring);
    note(kick ? "SB, a kick is lost" : "SB, a call is lost", event_idx, platform, all, lost);
    return good && all && (WEAK ? lost != 0 : lost == 0);
}

static bool alone(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) < 2;
}

static void duels(bool kick)
{
    if (WEAK && alone()) {
        tap_skip("one processor sees its own stores in order");
        return;
    }
    for (unsigned k = 0; k < 4; k++)
        CHECK(duel(kick, k & 1, k & 2));
}

static void sb_no_kick_is_lost(void) { duels(true); }
static void sb_no_call_is_lost(void) { duels(false); }

/* ------------------------------------------------------------------ MP and LB */

enum { LETTERS = 16, ANSWER = 1u << 30 };

struct stream {
    struct ring ring;
    unsigned letter[LETTERS]; /* plain memory, which the ring alone hands to and fro */
    atomic_bool over;
    _Atomic(const char *) wrong;
};

/* Requests come in the order in which they were sent, each with its own letter. */
static void *stream_device(void *arg)
{
    struct stream *s = arg;
    struct via_chain c = ring_chain(&s->ring);
    for (unsigned next = 0; !atomic_load_explicit(&s->over, memory_order_relaxed);) {
        unsigned n = 0;
        for (; n < 4 && ring_pop(&s->ring, &c) == VIA_POP_READY; n++, next++) {
            unsigned *letter = &s->letter[next % LETTERS];
            if (c.seg[0].addr.v != next)
                atomic_store(&s->wrong, "MP: an index came before its descriptor");
            if (*letter != next)
                atomic_store(&s->wrong, "MP or LB: a letter is another request's");
            *letter = next ^ ANSWER;
            via_dq_push(&s->ring.dq, c.head, 1 + next % 16);
        }
        (void)!via_dq_publish(&s->ring.dq);
        if (s->ring.dq.broken)
            atomic_store(&s->wrong, "the driver broke the ring's rules");
        if (!n)
            sched_yield();
    }
    return NULL;
}

static bool stream_driver(struct stream *s, uint64_t *all)
{
    static char token;
    int64_t end = now() + LOOK;
    unsigned sent = 0, back = 0;
    struct via_used_chain u;
    for (bool more = true; more || back != sent;) {
        more = more && now() < end;
        for (; more && sent - back < LETTERS; sent++) {
            struct via_seg seg = {{sent}, 16};
            s->letter[sent % LETTERS] = sent;
            CHECK_OR_FALSE(via_vq_add(&s->ring.vq, &seg, 0, 1, &token) == 0);
        }
        (void)!via_vq_publish(&s->ring.vq);
        unsigned n = 0;
        for (; via_vq_reap(&s->ring.vq, &u) == 1; n++, back++, ++*all)
            CHECK_OR_FALSE(u.written == 1 + back % 16 && s->letter[back % LETTERS] == (back ^ ANSWER));
        CHECK_OR_FALSE(!s->ring.vq.broken && !atomic_load(&s->wrong) && now() < end + PATIENCE);
        if (!n)
            sched_yield();
    }
    return true;
}

static bool stream(bool platform)
{
    static struct stream s;
    pthread_t device;
    uint64_t all = 0;
    s = (struct stream){.over = false};
    CHECK_OR_FALSE(ring_open(&s.ring, LETTERS, 0, false, 65533));
    s.ring.vq.cfg.order_platform = s.ring.dq.cfg.order_platform = platform;
    CHECK_OR_FALSE(pthread_create(&device, NULL, stream_device, &s) == 0);
    bool good = stream_driver(&s, &all);
    atomic_store(&s.over, true);
    CHECK_OR_FALSE(pthread_join(device, NULL) == 0);
    ring_close(&s.ring);
    const char *why = atomic_load(&s.wrong);
    if (why)
        tap_note(why);
    note("MP and LB, a letter is wrong", false, platform, all, why != NULL);
    return good && !why && all;
}

static void mp_what_an_index_leads_to_is_there(void)
{
    if (WEAK) {
        tap_skip("no x86 processor shows it, and others need not");
        return;
    }
    CHECK(stream(false) && stream(true));
}

TAP_MAIN(TEST(sb_no_kick_is_lost), TEST(sb_no_call_is_lost), TEST(mp_what_an_index_leads_to_is_there))
