/* SPDX-License-Identifier: BSD-2-Clause */
/* Driver and device on one ring, honest both, random in everything else: what goes in comes out, once. */
#include "ring_mem.h"

#define SEGS 12u
#define CHAINS 70000u /* more than an index can count */

struct request {
    struct via_seg seg[SEGS];
    unsigned out, in;
    uint32_t in_len, written;
    uint16_t head;
    enum { FREE, ADDED, HELD, PUSHED } state;
};

struct loop {
    struct ring ring;
    struct request *req; /* one a descriptor */
    uint64_t seed;
    unsigned added, reaped, unpublished;
};

static void request_make(struct loop *l, struct request *q)
{
    unsigned most = l->ring.num < SEGS ? l->ring.num : SEGS, n = 1 + rnd(&l->seed) % most;
    q->out = rnd(&l->seed) % (n + 1);
    q->in = n - q->out;
    q->in_len = 0;
    for (unsigned i = 0; i < n; i++) {
        uint64_t at = (uint64_t)(q - l->req) << 32 | i << 16;
        q->seg[i] = (struct via_seg){{at | rnd(&l->seed) % 65536}, 1 + rnd(&l->seed) % 100000};
        q->in_len += i < q->out ? 0 : q->seg[i].len;
    }
}

static bool add_some(struct loop *l)
{
    struct via_vq *vq = &l->ring.vq;
    for (unsigned k = rnd(&l->seed) % (l->ring.num + 1); k && l->added < CHAINS; k--) {
        struct request *q = &l->req[rnd(&l->seed) % l->ring.num];
        if (q->state != FREE)
            continue;
        request_make(l, q);
        unsigned n = q->out + q->in, before = vq->free_count;
        unsigned takes = n > 1 && n <= l->ring.indirect_len ? 1 : n;
        int rc = via_vq_add(vq, q->seg, q->out, q->in, q);
        CHECK_OR_FALSE(rc == (takes <= before ? 0 : -VIA_EAGAIN));
        CHECK_OR_FALSE(vq->free_count == before - (rc ? 0 : takes));
        if (rc)
            break;
        q->state = ADDED;
        l->added++;
        l->unpublished++;
    }
    if (rnd(&l->seed) % 4) {
        (void)!via_vq_publish(vq);
        l->unpublished = 0;
    }
    return true;
}

static bool pop_some(struct loop *l)
{
    for (unsigned k = rnd(&l->seed) % (l->ring.num + 1); k; k--) {
        struct via_chain c = ring_chain(&l->ring);
        int rc = ring_pop(&l->ring, &c);
        CHECK_OR_FALSE(rc >= 0);
        if (rc == VIA_POP_EMPTY)
            break;
        struct request *q = &l->req[c.seg[0].addr.v >> 32];
        CHECK_OR_FALSE(q->state == ADDED && c.n_out == q->out && c.n_in == q->in && c.in_len == q->in_len && c.table.len == 0);
        for (unsigned i = 0; i < q->out + q->in; i++)
            CHECK_OR_FALSE(c.seg[i].addr.v == q->seg[i].addr.v && c.seg[i].len == q->seg[i].len);
        q->state = HELD;
        q->head = c.head;
    }
    return true;
}

static bool push_some(struct loop *l)
{
    for (unsigned k = rnd(&l->seed) % (l->ring.num + 1); k; k--) {
        struct request *q = &l->req[rnd(&l->seed) % l->ring.num];
        if (q->state != HELD)
            continue;
        q->written = rnd(&l->seed) % 3 ? q->in_len : (uint32_t)(rnd(&l->seed) % ((uint64_t)q->in_len + 1));
        via_dq_push(&l->ring.dq, q->head, q->written);
        q->state = PUSHED;
    }
    if (rnd(&l->seed) % 4)
        (void)!via_dq_publish(&l->ring.dq);
    return true;
}

static bool reap_some(struct loop *l)
{
    for (unsigned k = rnd(&l->seed) % (l->ring.num + 1); k; k--) {
        struct via_used_chain u;
        int rc = via_vq_reap(&l->ring.vq, &u);
        CHECK_OR_FALSE(rc >= 0);
        if (rc == 0)
            break;
        struct request *q = u.token;
        CHECK_OR_FALSE(q->state == PUSHED && u.written == q->written);
        q->state = FREE;
        l->reaped++;
    }
    CHECK_OR_FALSE(via_vq_inflight(&l->ring.vq) == l->added - l->reaped);
    return true;
}

static bool run(unsigned num, unsigned indirect_len, bool event_idx, bool platform)
{
    struct loop l = {.seed = num * 77 + indirect_len * 2 + event_idx + 1};
    CHECK_OR_FALSE(ring_open(&l.ring, num, indirect_len, event_idx, 65530));
    l.ring.vq.cfg.order_platform = l.ring.dq.cfg.order_platform = platform;
    l.req = calloc(num, sizeof(*l.req));
    CHECK_OR_FALSE(l.req);
    bool good = true;
    while (good && l.reaped < CHAINS)
        good = add_some(&l) && pop_some(&l) && push_some(&l) && reap_some(&l);
    CHECK_OR_FALSE(good && l.ring.vq.free_count == num && l.ring.dq.inflight == 0);
    CHECK_OR_FALSE(via_dq_base(&l.ring.dq) == (uint16_t)(65530 + CHAINS));
    free(l.req);
    ring_close(&l.ring);
    return true;
}

static void all_sizes(bool indirect, bool event_idx)
{
    static const unsigned nums[] = {1, 2, 4, 8, 16, 256};
    for (size_t i = 0; i < via_array_len(nums); i++)
        for (unsigned platform = 0; platform < 2; platform++)
            CHECK(run(nums[i], indirect ? (nums[i] < 8 ? nums[i] : 8) : 0, event_idx, platform));
}

static void v2_7_13_direct(void) { all_sizes(false, false); }
static void v2_7_13_direct_event_idx(void) { all_sizes(false, true); }
static void v2_7_13_indirect(void) { all_sizes(true, false); }
static void v2_7_13_indirect_event_idx(void) { all_sizes(true, true); }

/* The largest queue filled to the brim, indirect and direct: 16-bit indices still tell full from empty (2.7.13). */
static void v2_7_13_the_largest_queue_holds_its_size(void)
{
    for (unsigned n = 1; n <= 2; n++) {
        struct ring r;
        struct via_seg seg[2] = {{{0x1000}, 16}, {{0x2000}, 32}};
        int token;
        CHECK(ring_open(&r, VIA_RING_NUM_MAX, n == 2 ? 2 : 0, true, 40000));
        for (unsigned i = 0; i < VIA_RING_NUM_MAX; i++)
            CHECK_EQ(via_vq_add(&r.vq, seg, 1, n - 1, &token), 0);
        CHECK_EQ(via_vq_add(&r.vq, seg, 1, n - 1, &token), -VIA_EAGAIN);
        CHECK(via_vq_publish(&r.vq));
        struct via_chain c = ring_chain(&r);
        for (unsigned i = 0; i < VIA_RING_NUM_MAX; i++) {
            CHECK_EQ(ring_pop(&r, &c), VIA_POP_READY);
            via_dq_push(&r.dq, c.head, 0);
        }
        CHECK_EQ(ring_pop(&r, &c), VIA_POP_EMPTY);
        CHECK(via_dq_publish(&r.dq));
        struct via_used_chain u;
        for (unsigned i = 0; i < VIA_RING_NUM_MAX; i++)
            CHECK_EQ(via_vq_reap(&r.vq, &u), 1);
        CHECK_EQ(via_vq_reap(&r.vq, &u), 0);
        CHECK_EQ(r.vq.free_count, VIA_RING_NUM_MAX);
        ring_close(&r);
    }
}

TAP_MAIN(TEST(v2_7_13_direct), TEST(v2_7_13_direct_event_idx), TEST(v2_7_13_indirect), TEST(v2_7_13_indirect_event_idx),
         TEST(v2_7_13_the_largest_queue_holds_its_size))
