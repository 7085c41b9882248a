/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a ring's barriers stand, whatever machine this runs on: when one takes effect, what has to come before it is looked at, and what
 * has to come after it is changed, as the other side could, and must be seen.
 */
#include <string.h>

#include "ring_mem.h"

static struct ring ring;
static char seen[32]; /* barriers, in order */
static unsigned seen_n;
static void (*other_side)(enum barrier);

void barrier(enum barrier b)
{
    if (seen_n + 1 < sizeof(seen))
        seen[seen_n++] = (char)b;
    if (other_side)
        other_side(b);
}

static bool open_with(bool event_idx, bool platform)
{
    other_side = NULL;
    CHECK_OR_FALSE(ring_open(&ring, 8, 0, event_idx, 0));
    ring.vq.cfg.order_platform = ring.dq.cfg.order_platform = platform;
    return true;
}

static void listen(void (*side)(enum barrier))
{
    memset(seen, 0, sizeof(seen));
    seen_n = 0;
    other_side = side;
}

static bool heard(bool platform, const char *own, const char *platforms)
{
    other_side = NULL;
    return strcmp(seen, platform ? platforms : own) == 0;
}

static char token;

static bool add(uint64_t addr)
{
    struct via_seg seg = {{addr}, 16};
    return via_vq_add(&ring.vq, &seg, 0, 1, &token) == 0;
}

static void for_all(void (*run)(bool event_idx, bool platform))
{
    for (unsigned k = 0; k < 4; k++) {
        CHECK(open_with(k & 1, k & 2));
        run(k & 1, k & 2);
        ring_close(&ring);
    }
}

static via_le16 *avail_event(void) { return (void *)&ring.used->ring[8]; }
static via_le16 *used_event(void) { return &ring.avail->ring[8]; }

static bool full(enum barrier b) { return b == BARRIER_FENCE || b == BARRIER_MB; }

/* ------------------------------------------------------------------ an index leads to what was written before it */

static bool early; /* something was visible too early, or not yet */

static void device_looks_at_publish(enum barrier b)
{
    if (b == BARRIER_RELEASE || b == BARRIER_WMB)
        early |= via_shm_get16(&ring.avail->idx) != 0 || via_shm_get64(&ring.desc[0].addr) != 0x1000;
}

static void driver_publishes(bool event_idx, bool platform)
{
    (void)event_idx;
    early = false;
    CHECK(add(0x1000));
    listen(device_looks_at_publish);
    CHECK(via_vq_publish(&ring.vq) && !early);
    CHECK(heard(platform, "lf", "wlm"));
    CHECK_EQ(via_shm_get16(&ring.avail->idx), 1);
}

static void driver_looks_at_publish(enum barrier b)
{
    if (b == BARRIER_RELEASE || b == BARRIER_WMB)
        early |= via_shm_get16(&ring.used->idx) != 0 || via_shm_get32(&ring.used->ring[0].len) != 5;
}

static void device_publishes(bool event_idx, bool platform)
{
    struct via_chain c = ring_chain(&ring);
    (void)event_idx;
    early = false;
    CHECK(add(0x1000) && via_vq_publish(&ring.vq) && via_dq_pop(&ring.dq, &c) == VIA_POP_READY);
    via_dq_push(&ring.dq, c.head, 5);
    listen(driver_looks_at_publish);
    CHECK(via_dq_publish(&ring.dq) && !early);
    CHECK(heard(platform, "lf", "wlm"));
    CHECK_EQ(via_shm_get16(&ring.used->idx), 1);
}

static void v2_7_13_3_1_an_index_comes_after_its_entries(void)
{
    for_all(driver_publishes);
    for_all(device_publishes);
}

/* ------------------------------------------------------------------ and what it leads to is read after it */

/* The entries come with the barrier: who has read them before has other ones. */
static void driver_is_late(enum barrier b)
{
    if (b == BARRIER_ACQUIRE && !ring.vq.cfg.order_platform)
        via_shm_put64(&ring.desc[0].addr, 0x2000);
    if (b == BARRIER_RMB)
        via_shm_put64(&ring.desc[0].addr, 0x2000);
}

static void device_pops(bool event_idx, bool platform)
{
    struct via_chain c = ring_chain(&ring);
    (void)event_idx;
    CHECK(add(0x1000) && via_vq_publish(&ring.vq));
    listen(driver_is_late);
    CHECK(via_dq_pop(&ring.dq, &c) == VIA_POP_READY && c.seg[0].addr.v == 0x2000);
    CHECK(heard(platform, "a", "ar"));
}

static void device_is_late(enum barrier b)
{
    if (b == (ring.vq.cfg.order_platform ? BARRIER_RMB : BARRIER_ACQUIRE))
        via_shm_put32(&ring.used->ring[0].len, 7);
}

static void driver_reaps(bool event_idx, bool platform)
{
    struct via_chain c = ring_chain(&ring);
    struct via_used_chain u;
    (void)event_idx;
    CHECK(add(0x1000) && via_vq_publish(&ring.vq) && via_dq_pop(&ring.dq, &c) == VIA_POP_READY);
    via_dq_push(&ring.dq, c.head, 5);
    CHECK(via_dq_publish(&ring.dq));
    listen(device_is_late);
    CHECK(via_vq_reap(&ring.vq, &u) == 1 && u.written == 7);
    CHECK(heard(platform, "a", "ar"));
}

static void v2_7_13_entries_are_read_after_their_index(void)
{
    for_all(device_pops);
    for_all(driver_reaps);
}

/* ------------------------------------------------------------------ and of two that turn to one another, one sees the other */

static void device_arms_meanwhile(enum barrier b)
{
    if (!full(b))
        return;
    early |= via_shm_get16(&ring.avail->idx) != 1;
    via_shm_put16(avail_event(), 0);
    via_shm_put16(&ring.used->flags, 0);
}

static void publish_meets_arm(bool event_idx, bool platform)
{
    (void)event_idx, (void)platform;
    early = false;
    via_dq_disarm(&ring.dq);
    CHECK(add(0x1000));
    listen(device_arms_meanwhile);
    CHECK(via_vq_publish(&ring.vq) && !early);
}

static void driver_publishes_meanwhile(enum barrier b)
{
    if (!full(b))
        return;
    early |= ring.dq.cfg.event_idx ? via_shm_get16(avail_event()) != 0 : via_shm_get16(&ring.used->flags) != 0;
    via_shm_put16(&ring.avail->idx, 1);
}

static void arm_meets_publish(bool event_idx, bool platform)
{
    (void)event_idx;
    early = false;
    via_dq_disarm(&ring.dq);
    listen(driver_publishes_meanwhile);
    CHECK(via_dq_arm(&ring.dq) && !early);
    CHECK(heard(platform, "f", "m"));
}

static void driver_arms_meanwhile(enum barrier b)
{
    if (!full(b))
        return;
    early |= via_shm_get16(&ring.used->idx) != 1;
    via_shm_put16(used_event(), 0);
    via_shm_put16(&ring.avail->flags, 0);
}

static void device_publish_meets_arm(bool event_idx, bool platform)
{
    struct via_chain c = ring_chain(&ring);
    (void)event_idx, (void)platform;
    early = false;
    via_vq_disarm(&ring.vq);
    CHECK(add(0x1000) && via_vq_publish(&ring.vq) && via_dq_pop(&ring.dq, &c) == VIA_POP_READY);
    via_dq_push(&ring.dq, c.head, 5);
    listen(driver_arms_meanwhile);
    CHECK(via_dq_publish(&ring.dq) && !early);
}

static void device_publishes_meanwhile(enum barrier b)
{
    if (!full(b))
        return;
    early |= ring.vq.cfg.event_idx ? via_shm_get16(used_event()) != 0 : via_shm_get16(&ring.avail->flags) != 0;
    via_shm_put16(&ring.used->idx, 1);
}

static void driver_arm_meets_publish(bool event_idx, bool platform)
{
    (void)event_idx;
    early = false;
    via_vq_disarm(&ring.vq);
    listen(device_publishes_meanwhile);
    CHECK(via_vq_arm(&ring.vq) && !early);
    CHECK(heard(platform, "f", "m"));
}

static void v2_7_13_4_1_one_sees_the_other(void)
{
    for_all(publish_meets_arm);
    for_all(arm_meets_publish);
    for_all(device_publish_meets_arm);
    for_all(driver_arm_meets_publish);
}

/* ------------------------------------------------------------------ posted writes: the same, by the flush */

static void flush_publish(struct via_port *p) { (void)p, device_arms_meanwhile(BARRIER_MB); }
static void flush_arm(struct via_port *p) { (void)p, device_publishes_meanwhile(BARRIER_MB); }

static void with_posted_writes(bool event_idx, bool platform)
{
    static const struct via_port_ops publish_ops = {.flush = flush_publish}, arm_ops = {.flush = flush_arm};
    struct via_port publish = {&publish_ops, 64}, arm = {&arm_ops, 64};
    (void)event_idx, (void)platform;
    early = false;
    via_dq_disarm(&ring.dq);
    CHECK(add(0x1000));
    ring.vq.cfg.port = &publish;
    CHECK(via_vq_publish(&ring.vq) && !early);
    via_vq_disarm(&ring.vq);
    ring.vq.cfg.port = &arm;
    CHECK(via_vq_arm(&ring.vq) && !early);
}

static void a_flush_comes_before_the_decision(void) { for_all(with_posted_writes); }

TAP_MAIN(TEST(v2_7_13_3_1_an_index_comes_after_its_entries), TEST(v2_7_13_entries_are_read_after_their_index),
         TEST(v2_7_13_4_1_one_sees_the_other), TEST(a_flush_comes_before_the_decision))
