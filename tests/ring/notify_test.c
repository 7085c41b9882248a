/* SPDX-License-Identifier: BSD-2-Clause */
/* Notifications: suppressed when they should be, and never lost. */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "ring_mem.h"

static char token;

static bool send_one(struct ring *r)
{
    struct via_seg seg = {{0x1000}, 16};
    return via_vq_add(&r->vq, &seg, 1, 0, &token) == 0 && via_vq_publish(&r->vq);
}

static bool serve_one(struct ring *r)
{
    struct via_chain c = ring_chain(r);
    if (ring_pop(r, &c) != VIA_POP_READY)
        return false;
    via_dq_push(&r->dq, c.head, 0);
    return via_dq_publish(&r->dq);
}

static bool reap_one(struct ring *r)
{
    struct via_used_chain u;
    return via_vq_reap(&r->vq, &u) == 1;
}

static void v2_7_10_flags_suppress_kicks(void)
{
    struct ring r;
    CHECK(ring_open(&r, 8, 0, false, 65533));
    CHECK(send_one(&r) && send_one(&r)); /* asked for from the start, and for each */
    via_dq_disarm(&r.dq);
    CHECK(!send_one(&r));
    CHECK(via_dq_arm(&r.dq)); /* there are some already */
    CHECK(send_one(&r));
    for (int i = 0; i < 4; i++)
        CHECK(serve_one(&r));
    CHECK(!via_dq_arm(&r.dq));
    CHECK(!via_dq_publish(&r.dq)); /* nothing new */
    CHECK(!via_vq_publish(&r.vq));
    ring_close(&r);
}

/* What a device before us left in the used ring does not keep the driver from notifying us. */
static void v2_7_10_2_a_new_device_asks_for_kicks(void)
{
    for (unsigned event_idx = 0; event_idx < 2; event_idx++) {
        struct ring r;
        CHECK(ring_open(&r, 8, 0, event_idx, 65533));
        struct via_dq_cfg cfg = r.dq.cfg;
        via_shm_put16(&r.used->flags, VIA_USED_F_NO_NOTIFY);
        via_shm_put16((via_le16 *)(void *)&r.used->ring[8], 7);
        CHECK_EQ(via_dq_init(&r.dq, &cfg), 0);
        CHECK_EQ(via_shm_get16(&r.used->flags), 0);
        CHECK(send_one(&r));
        ring_close(&r);
    }
}

static void v2_7_7_flags_suppress_calls(void)
{
    struct ring r;
    CHECK(ring_open(&r, 8, 0, false, 65533));
    for (int i = 0; i < 4; i++)
        CHECK(send_one(&r));
    CHECK(serve_one(&r) && serve_one(&r));
    via_vq_disarm(&r.vq);
    CHECK(!serve_one(&r));
    CHECK(via_vq_arm(&r.vq));
    for (int i = 0; i < 3; i++)
        CHECK(reap_one(&r));
    CHECK(!via_vq_arm(&r.vq));
    CHECK(serve_one(&r));
    ring_close(&r);
}

/* Once armed, one notification; disarmed, none, for nearly as long as an index takes to come round. */
static void v2_7_10_an_event_suppresses_kicks_and_calls(void)
{
    struct ring r;
    CHECK(ring_open(&r, 8, 0, true, 65533));
    for (int round = 0; round < 3; round++) {
        CHECK(!via_dq_arm(&r.dq) && !via_vq_arm(&r.vq));
        CHECK(send_one(&r) && !send_one(&r) && !send_one(&r));
        CHECK(serve_one(&r) && !serve_one(&r) && !serve_one(&r));
        CHECK(reap_one(&r) && reap_one(&r));
        CHECK(via_vq_arm(&r.vq));
        CHECK(reap_one(&r));
        via_dq_disarm(&r.dq);
        via_vq_disarm(&r.vq);
        for (unsigned i = 0; i < 65535; i++)
            CHECK(!send_one(&r) && !serve_one(&r) && reap_one(&r));
    }
    CHECK_EQ(via_shm_get16(&r.used->flags), 0);  /* 2.7.10.2 */
    CHECK_EQ(via_shm_get16(&r.avail->flags), 0); /* 2.7.7.1 */
    ring_close(&r);
}

/* One notification for a batch, if the event is anywhere in it. */
static void v2_7_10_1_a_batch_is_one_notification(void)
{
    struct via_seg seg = {{0x1000}, 16};
    for (unsigned at = 0; at < 8; at++) {
        struct ring r;
        CHECK(ring_open(&r, 8, 0, true, 65533));
        for (unsigned i = 0; i < 5; i++)
            CHECK_EQ(via_vq_add(&r.vq, &seg, 1, 0, &token), 0);
        via_shm_put16((via_le16 *)(void *)&r.used->ring[8], (uint16_t)(65533 + at));
        CHECK_EQ(via_shm_get16(&r.avail->idx), 65533);
        CHECK_EQ(via_vq_publish(&r.vq), at < 5);
        struct via_chain c = ring_chain(&r);
        while (ring_pop(&r, &c) == VIA_POP_READY)
            via_dq_push(&r.dq, c.head, 0);
        via_shm_put16(&r.avail->ring[8], (uint16_t)(65533 + at));
        CHECK_EQ(via_shm_get16(&r.used->idx), 65533);
        CHECK_EQ(via_dq_publish(&r.dq), at < 5);
        ring_close(&r);
    }
}

static void v2_7_10_1_each_scheme_ignores_the_other(void)
{
    struct ring r;
    CHECK(ring_open(&r, 8, 0, true, 0));
    via_shm_put16(&r.used->flags, VIA_USED_F_NO_NOTIFY);
    via_shm_put16(&r.avail->flags, VIA_AVAIL_F_NO_INTERRUPT);
    CHECK(send_one(&r) && serve_one(&r));
    ring_close(&r);
    CHECK(ring_open(&r, 8, 0, false, 0));
    via_shm_put16(&r.avail->ring[8], 7);
    via_shm_put16((via_le16 *)(void *)&r.used->ring[8], 7);
    CHECK(send_one(&r) && serve_one(&r));
    ring_close(&r);
}

/* ------------------------------------------------------------------ two threads that sleep whenever they may */

/*
 * A sleeper waits on an eventfd, as a real one does, or turns round on a counter: it is awake again so much sooner that arming and
 * publishing meet within the few nanoseconds in which a missing barrier would show.
 */
struct bell {
    int fd; /* -1: the counter */
    atomic_uint rung;
    unsigned heard;
    unsigned sent;
};

struct pair {
    struct ring ring;
    struct bell kick, call;
    unsigned total, depth; /* requests; at a time */
    time_t until;          /* no more of them after this: the machine is busy */
    unsigned letter[16];   /* what requests carry: plain memory, which the ring alone hands from one side to the other */
    unsigned *free[16];
    unsigned sent, back; /* positions in free, too: it is a ring itself */
    atomic_bool end;
};

#define ANSWERED 1000000u
#define PATIENCE 10 /* seconds: who sleeps longer has missed a notification */

static void ring_bell(struct bell *b)
{
    uint64_t one = 1;
    b->sent++;
    if (b->fd < 0)
        atomic_fetch_add(&b->rung, 1);
    else if (write(b->fd, &one, sizeof(one)) != sizeof(one))
        b->sent = UINT_MAX / 2;
}

static bool sleep_on(struct bell *b)
{
    struct pollfd p = {.fd = b->fd, .events = POLLIN};
    uint64_t n;
    if (b->fd >= 0)
        return poll(&p, 1, PATIENCE * 1000) == 1 && read(b->fd, &n, sizeof(n)) == sizeof(n);
    time_t end = time(NULL) + PATIENCE;
    for (unsigned turn = 1; atomic_load(&b->rung) == b->heard; turn++)
        if (turn % 4096 == 0) {
            if (time(NULL) > end)
                return false;
            sched_yield();
        }
    b->heard = atomic_load(&b->rung);
    return true;
}

/* Now and then come a little later, so that arming meets the other side's publishing at every point. */
static void dawdle(uint64_t *seed)
{
    for (volatile unsigned i = rnd(seed) % (1u << rnd(seed) % 10); i; i--)
        ;
}

static void *device_side(void *arg)
{
    struct pair *p = arg;
    struct via_chain c = ring_chain(&p->ring);
    uint64_t seed = 7;
    while (!atomic_load_explicit(&p->end, memory_order_relaxed)) {
        unsigned n = 0;
        for (; n < 1 + rnd(&seed) % p->depth && ring_pop(&p->ring, &c) == VIA_POP_READY; n++) {
            p->letter[c.seg[0].addr.v] += ANSWERED;
            via_dq_push(&p->ring.dq, c.head, 0);
        }
        dawdle(&seed);
        if (via_dq_publish(&p->ring.dq))
            ring_bell(&p->call);
        if (n || via_dq_arm(&p->ring.dq))
            continue;
        if (p->ring.dq.broken || !sleep_on(&p->kick))
            return p;
        via_dq_disarm(&p->ring.dq);
    }
    return NULL;
}

/* Send what may be sent now. */
static bool send_some(struct pair *p, unsigned most)
{
    for (; most && p->sent < p->total && p->sent - p->back < p->depth; most--, p->sent++) {
        unsigned *letter = p->free[p->sent % 16];
        struct via_seg seg[2] = {{{(uint64_t)(letter - p->letter)}, 16}, {{0x2000}, 16}};
        *letter = p->sent;
        CHECK_OR_FALSE(via_vq_add(&p->ring.vq, seg, 1, 1, letter) == 0);
    }
    return true;
}

static bool driver_side(struct pair *p)
{
    struct via_used_chain u;
    uint64_t seed = 9;
    while (p->back < p->total) {
        unsigned n = 0;
        if (p->back % 64 == 0 && time(NULL) > p->until)
            p->total = p->sent;
        for (; via_vq_reap(&p->ring.vq, &u) == 1; n++) {
            unsigned *letter = u.token;
            CHECK_OR_FALSE(*letter >= ANSWERED);
            p->free[p->back++ % 16] = letter;
        }
        CHECK_OR_FALSE(send_some(p, 1 + rnd(&seed) % p->depth));
        dawdle(&seed);
        if (via_vq_publish(&p->ring.vq))
            ring_bell(&p->kick);
        dawdle(&seed);
        if (n || via_vq_arm(&p->ring.vq))
            continue;
        CHECK_OR_FALSE(!p->ring.vq.broken && sleep_on(&p->call));
        via_vq_disarm(&p->ring.vq);
    }
    CHECK_OR_FALSE(p->kick.sent <= p->total);
    return true;
}

static bool converse(bool spin, unsigned depth, unsigned total, bool event_idx, bool platform)
{
    struct pair p = {.kick.fd = spin ? -1 : eventfd(0, 0),
                     .call.fd = spin ? -1 : eventfd(0, 0),
                     .total = total,
                     .depth = depth,
                     .until = time(NULL) + 2};
    pthread_t device;
    void *lost;
    for (unsigned i = 0; i < 16; i++)
        p.free[i] = &p.letter[i];
    CHECK_OR_FALSE(spin || (p.kick.fd >= 0 && p.call.fd >= 0));
    CHECK_OR_FALSE(ring_open(&p.ring, 16, 2, event_idx, 65533));
    p.ring.vq.cfg.order_platform = p.ring.dq.cfg.order_platform = platform;
    CHECK_OR_FALSE(pthread_create(&device, NULL, device_side, &p) == 0);
    bool good = driver_side(&p);
    atomic_store(&p.end, true);
    ring_bell(&p.kick);
    CHECK_OR_FALSE(pthread_join(device, &lost) == 0);
    CHECK_OR_FALSE(good && !lost && p.call.sent <= p.total);
    ring_close(&p.ring);
    if (!spin)
        CHECK_OR_FALSE(close(p.kick.fd) == 0 && close(p.call.fd) == 0);
    return true;
}

static void no_wake_up_is_lost(bool event_idx)
{
    CHECK(converse(false, 1, 5000, event_idx, false));
    CHECK(converse(false, 16, 100000, event_idx, false));
    for (unsigned platform = 0; platform < 2; platform++) {
        CHECK(converse(true, 1, 100000, event_idx, platform));
        CHECK(converse(true, 16, 100000, event_idx, platform));
    }
}

static void v2_7_13_4_1_no_wake_up_is_lost_with_flags(void) { no_wake_up_is_lost(false); }
static void v2_7_13_4_1_no_wake_up_is_lost_with_events(void) { no_wake_up_is_lost(true); }

TAP_MAIN(TEST(v2_7_10_flags_suppress_kicks), TEST(v2_7_7_flags_suppress_calls), TEST(v2_7_10_2_a_new_device_asks_for_kicks),
         TEST(v2_7_10_an_event_suppresses_kicks_and_calls), TEST(v2_7_10_1_a_batch_is_one_notification),
         TEST(v2_7_10_1_each_scheme_ignores_the_other), TEST(v2_7_13_4_1_no_wake_up_is_lost_with_flags),
         TEST(v2_7_13_4_1_no_wake_up_is_lost_with_events))
