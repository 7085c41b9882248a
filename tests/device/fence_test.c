/* SPDX-License-Identifier: BSD-2-Clause */
/* The pump when translations and rings go away: what is in flight then, in every state that a request can have. */
#include <string.h>

#include <tap.h>

#include "rig.h"

#define RW (VIA_PERM_R | VIA_PERM_W)
#define PAGE 0x1000u
#define AT(i) (0x10000u + (i)*PAGE) /* where request i has its one byte to read and, behind it, its byte to write */
#define ALL ((via_iova){0}), ((via_iova){UINT64_MAX})

/* A device that keeps what it is given until the test says otherwise. */
static struct keeper {
    struct via_device device;
    bool full; /* takes nothing */
    struct via_req *kept[RIG_NUM];
    unsigned n, refused, told;
    int result;            /* what `refreshed` was told last */
    struct via_req *along; /* when it is told, it completes this one */
} keeper;
static struct rig *r;
static unsigned number;
static uint32_t written;

static int keep(struct via_device *d, struct via_req *q)
{
    struct keeper *k = via_container_of(d, struct keeper, device);
    if (k->full)
        return -VIA_EAGAIN;
    k->kept[k->n++] = q;
    return 0;
}
static int refuse(struct via_device *d, struct via_req *q)
{
    struct keeper *k = via_container_of(d, struct keeper, device);
    k->refused++;
    if (q->n_in == 0)
        return -VIA_EFAULT;
    via_req_complete(q, 0);
    return 0;
}
static void refreshed(struct via_device *d, struct via_req *q, int result)
{
    struct keeper *k = via_container_of(d, struct keeper, device);
    k->told++;
    k->result = result;
    (void)q;
    if (k->along)
        via_req_complete(k->along, 1);
    k->along = NULL;
}
static const struct via_device_ops plain_ops = {.submit = keep, .refuse = refuse};
static const struct via_device_ops fresh_ops = {.submit = keep, .refuse = refuse, .refreshed = refreshed};

static struct via_req *kept(unsigned i) { return keeper.kept[i]; }
static void complete(unsigned i)
{
    struct via_req *q = keeper.kept[i];
    memmove(&keeper.kept[i], &keeper.kept[i + 1], (--keeper.n - i) * sizeof(q));
    via_req_complete(q, 1);
}

static bool begin(const struct via_device_ops *ops)
{
    keeper = (struct keeper){.device.ops = ops};
    r = rig_new(&rig_limits);
    CHECK_OR_FALSE(rig_translate(r, 64, 64, true));
    CHECK_OR_FALSE(via_pump_init(&r->pump, &r->dq, &r->tlb.xlate, &r->misses, &keeper.device, 4, r->pump_storage) == 0);
    return true;
}
static void add(unsigned i)
{
    struct via_seg seg[2] = {rig_seg(AT(i), 1), rig_seg(AT(i) + 1, 1)};
    rig_add_segs(r, seg, 1, 1);
}
static bool know_at(unsigned i, uint8_t *where)
{
    via_iova start = {RIG_GPA + AT(i)}, last = {start.v + (PAGE - 1)};
    CHECK_OR_FALSE(via_iotlb_insert(&r->tlb, start, last, where, RW) == 0);
    via_misses_update(&r->misses, start, last, RW);
    return true;
}
static bool know(unsigned i) { return know_at(i, r->mem + AT(i)); }
/* An invalidation of the page of request i; true: the device may still reach it. */
static bool revoke(unsigned i)
{
    rig_invalidate(r, AT(i));
    return via_pump_revoke(&r->pump, (via_iova){RIG_GPA + AT(i)}, (via_iova){RIG_GPA + AT(i) + (PAGE - 1)});
}
static void ask_all(void)
{
    while (via_misses_next(&r->misses, 1))
        ;
}
/* Refuse the page of request i as often as it is asked for (with both rights, then with one), and run. */
static int deny(unsigned i)
{
    int rc;
    do {
        ask_all();
        via_misses_refuse(&r->misses, (via_iova){RIG_GPA + AT(i)}, UINT64_MAX);
        rc = rig_run(r);
    } while (rc == 0 && r->misses.fresh);
    return rc;
}
static bool used(unsigned i) { return rig_used(r, &number, &written) && number == i; }

/* ------------------------------------------------------------------ revocations */

static void what_the_device_holds_is_waited_for(void)
{
    CHECK(begin(&plain_ops));
    for (unsigned i = 0; i < 3; i++) {
        CHECK(know(i));
        add(i);
    }
    CHECK_EQ(rig_run(r), 3);
    CHECK(!revoke(5) && revoke(1) && revoke(1));
    CHECK(kept(1)->stale && !kept(0)->stale && !kept(2)->stale);
    complete(0);
    CHECK(revoke(1));
    complete(0);
    CHECK(!revoke(1) && revoke(2));
    complete(0);
    CHECK(!via_pump_revoke(&r->pump, ALL));
}

static void ranges_are_inclusive(void)
{
    CHECK(begin(&plain_ops) && know(0));
    add(0);
    CHECK_EQ(rig_run(r), 1);
    uint64_t out = RIG_GPA + AT(0), in = out + 1;
    CHECK(via_pump_revoke(&r->pump, (via_iova){in}, (via_iova){in}));
    CHECK(via_pump_revoke(&r->pump, (via_iova){out}, (via_iova){out}));
    CHECK(via_pump_revoke(&r->pump, (via_iova){in}, (via_iova){UINT64_MAX}));
    CHECK(via_pump_revoke(&r->pump, (via_iova){0}, (via_iova){out}));
    CHECK(!via_pump_revoke(&r->pump, (via_iova){in + 1}, (via_iova){UINT64_MAX}));
    CHECK(!via_pump_revoke(&r->pump, (via_iova){0}, (via_iova){out - 1}));
}

static void what_is_parked_is_translated_anew(void)
{
    static uint8_t elsewhere[PAGE];
    CHECK(begin(&plain_ops) && know(0));
    keeper.full = true;
    add(0);
    CHECK(rig_run(r) == 0 && r->pump.parked && !revoke(0));
    CHECK(know_at(0, elsewhere));
    keeper.full = false;
    CHECK(rig_run(r) == 1 && kept(0)->span[0].ptr == elsewhere && kept(0)->span[1].ptr == elsewhere + 1 && !kept(0)->stale);
    complete(0);
    /* And waits when the new translation is not known yet, in its turn: before what was popped later. */
    CHECK(begin(&plain_ops) && know(0));
    keeper.full = true;
    add(0);
    CHECK(rig_run(r) == 0 && r->pump.parked && !revoke(0));
    keeper.full = false;
    add(1);
    CHECK(rig_run(r) == 0 && !r->pump.parked && r->pump.waiting && r->misses.fresh == 2);
    ask_all();
    CHECK(know(1) && know(0));
    CHECK(rig_run(r) == 2 && kept(0)->position == 0 && kept(1)->position == 1 && r->pump.waits == 2);
}

static void a_parked_one_may_be_given_up(void)
{
    CHECK(begin(&plain_ops) && know(0));
    keeper.full = true;
    add(0);
    CHECK(rig_run(r) == 0 && r->pump.parked);
    via_req_abandon(r->pump.parked);
    keeper.full = false;
    CHECK(!r->pump.parked && via_pump_inflight(&r->pump) == 0 && rig_run(r) == -VIA_EPROTO && keeper.n == 0);
}

static void a_refused_one_may_be_parked_no_more(void)
{
    CHECK(begin(&plain_ops) && know(0));
    keeper.full = true;
    add(0);
    CHECK(rig_run(r) == 0 && r->pump.parked && !revoke(0));
    CHECK_EQ(rig_run(r), 0);
    CHECK_EQ(deny(0), -VIA_EPROTO); /* where it would answer was refused, too */
    CHECK(keeper.refused == 1 && r->pump.refusals == 1);
    CHECK(via_pump_inflight(&r->pump) == 0 && !r->pump.parked && !r->pump.waiting);
}

static void what_waits_is_no_obstacle(void)
{
    CHECK(begin(&plain_ops));
    add(0);
    CHECK(rig_run(r) == 0 && !revoke(0) && !via_pump_revoke(&r->pump, ALL));
    ask_all();
    CHECK(know(0) && !revoke(0)); /* the answer is gone before it was looked at: asked for again, as often as that */
    for (unsigned i = 0; i < 50; i++) {
        CHECK_EQ(rig_run(r), 0);
        ask_all();
        CHECK(know(0) && !revoke(0));
    }
    CHECK_EQ(rig_run(r), 0);
    CHECK(know(0) && rig_run(r) == 1 && r->pump.refusals == 0);
}

static void one_that_can_refresh_is_not_waited_for(void)
{
    static uint8_t elsewhere[PAGE];
    CHECK(begin(&fresh_ops) && know(0));
    add(0);
    CHECK(rig_run(r) == 1 && via_req_refresh(kept(0)) == 0 && !revoke(0) && kept(0)->stale);
    /* Known at once. */
    CHECK(know_at(0, elsewhere) && via_req_refresh(kept(0)) == 0 && kept(0)->span[0].ptr == elsewhere && !kept(0)->stale);
    /* Known later. */
    CHECK(!revoke(0));
    CHECK_EQ(via_req_refresh(kept(0)), -VIA_EAGAIN);
    CHECK_EQ(via_req_refresh(kept(0)), -VIA_EAGAIN);
    CHECK(rig_run(r) == 0 && keeper.told == 0 && r->misses.fresh == 1 && r->pump.waits == 1);
    ask_all();
    CHECK(!revoke(0) && know(0));
    CHECK(rig_run(r) == 0 && keeper.told == 1 && keeper.result == 0 && kept(0)->span[0].ptr == r->mem + AT(0));
    CHECK_EQ(via_req_refresh(kept(0)), 0);
    /* Never. */
    CHECK(!revoke(0));
    CHECK_EQ(via_req_refresh(kept(0)), -VIA_EAGAIN);
    CHECK(deny(0) == 0 && keeper.told == 2 && keeper.result == -VIA_EFAULT && r->pump.refusals == 1 && kept(0)->n_in == 0);
    CHECK_EQ(via_req_refresh(kept(0)), -VIA_EFAULT);
    complete(0);
    rig_flush(r);
    CHECK(used(0) && via_pump_inflight(&r->pump) == 0);
}

/* Receive buffers lie on the ring for long: many invalidations of one are no reason to refuse it. */
static void it_may_be_refreshed_often(void)
{
    CHECK(begin(&fresh_ops) && know(0));
    add(0);
    CHECK_EQ(rig_run(r), 1);
    for (unsigned i = 0; i < 50; i++) {
        CHECK(!revoke(0));
        CHECK_EQ(via_req_refresh(kept(0)), -VIA_EAGAIN);
        ask_all();
        CHECK(know(0) && rig_run(r) == 0 && keeper.told == i + 1 && keeper.result == 0);
    }
}

static void a_stalled_one_may_end(void)
{
    for (unsigned how = 0; how < 2; how++) {
        CHECK(begin(&fresh_ops));
        for (unsigned i = 0; i < 3; i++) {
            CHECK(know(i));
            add(i);
        }
        CHECK_EQ(rig_run(r), 3);
        for (unsigned i = 0; i < 3; i++)
            CHECK(!revoke(2 - i) && via_req_refresh(kept(2 - i)) == -VIA_EAGAIN);
        add(3);
        CHECK_EQ(rig_run(r), 0);
        struct via_req *middle = kept(1);
        if (how == 0)
            complete(1);
        else
            via_req_abandon(middle);
        ask_all();
        CHECK(know(0) && know(1) && know(2) && know(3));
        CHECK_EQ(rig_run(r), how == 0 ? 1 : -VIA_EPROTO);
        CHECK(keeper.told == 2 && via_pump_inflight(&r->pump) == 3 && !r->pump.waiting);
    }
}

static void one_may_end_while_another_goes_on(void)
{
    for (unsigned which = 0; which < 3; which += 2) {
        CHECK(begin(&fresh_ops));
        for (unsigned i = 0; i < 3; i++) {
            CHECK(know(i));
            add(i);
        }
        CHECK_EQ(rig_run(r), 3);
        for (unsigned i = 0; i < 3; i++)
            CHECK(!revoke(i) && via_req_refresh(kept(i)) == -VIA_EAGAIN);
        add(3);
        CHECK_EQ(rig_run(r), 0);
        ask_all();
        keeper.along = kept(which); /* it waits still, before or behind the one that goes on */
        CHECK(know(1) && know(3));
        CHECK(rig_run(r) == 1 && keeper.told == 1 && via_pump_inflight(&r->pump) == 3);
        CHECK(know(2 - which) && rig_run(r) == 0 && keeper.told == 2 && !r->pump.waiting);
    }
}

/* ------------------------------------------------------------------ the ring away */

static void what_ends_while_the_ring_is_away_is_shown_later(void)
{
    static _Alignas(16) uint8_t moved[8192];
    CHECK(begin(&plain_ops));
    for (unsigned i = 0; i < 5; i++)
        CHECK(know(i));
    for (unsigned i = 0; i < 3; i++)
        add(i);
    CHECK_EQ(rig_run(r), 3);
    add(3);
    rig_publish(r);
    via_pump_away(&r->pump);
    uint8_t before[4096];
    memcpy(before, r->mem, sizeof(before));
    CHECK_EQ(via_pump_run(&r->pump, 64), 0);
    complete(2);
    complete(0);
    CHECK(!via_pump_flush(&r->pump) && via_pump_inflight(&r->pump) == 3);
    CHECK(memcmp(before, r->mem, sizeof(before)) == 0);
    /* The same areas somewhere else. */
    memcpy(moved, r->mem, sizeof(moved));
    ptrdiff_t by = moved - r->mem;
    CHECK_EQ(via_pump_here(&r->pump, NULL, NULL, NULL), -VIA_EINVAL);
    CHECK_EQ(via_pump_here(&r->pump, moved + 1, (const uint8_t *)r->vq.cfg.avail + by, (uint8_t *)r->vq.cfg.used + by), -VIA_EINVAL);
    CHECK(!via_pump_flush(&r->pump));
    CHECK_EQ(via_pump_here(&r->pump, (const uint8_t *)r->vq.cfg.desc + by, (const uint8_t *)r->vq.cfg.avail + by,
                           (uint8_t *)r->vq.cfg.used + by),
             0);
    CHECK(via_pump_flush(&r->pump) && memcmp(before, r->mem, sizeof(before)) == 0 && via_pump_inflight(&r->pump) == 1);
    CHECK_EQ(via_pump_run(&r->pump, 64), 1);
    memcpy(r->mem, moved, sizeof(before));
    CHECK(used(2) && written == 1 && used(0) && via_pump_inflight(&r->pump) == 2);
}

static void parked_and_waiting_ones_go_on_while_it_is_away(void)
{
    CHECK(begin(&plain_ops) && know(0));
    keeper.full = true;
    add(0);
    CHECK_EQ(rig_run(r), 0);
    keeper.full = false;
    via_pump_away(&r->pump);
    CHECK_EQ(via_pump_run(&r->pump, 64), 1);
    CHECK(via_pump_here(&r->pump, r->dq.desc, r->dq.avail, r->dq.used) == 0);
    add(1);
    CHECK_EQ(rig_run(r), 0);
    via_pump_away(&r->pump);
    CHECK(know(1) && via_pump_run(&r->pump, 0) == 1);
    complete(0);
    complete(0);
    CHECK(via_pump_here(&r->pump, r->dq.desc, r->dq.avail, r->dq.used) == 0 && via_pump_flush(&r->pump) && used(0) && used(1));
}

static void a_ring_may_come_late(void)
{
    CHECK(begin(&plain_ops) && know(0));
    struct via_dq_cfg none = {.num = RIG_NUM, .base = 0};
    CHECK_EQ(via_pump_init(&r->pump, &none, &r->tlb.xlate, &r->misses, &keeper.device, 4, r->pump_storage), 0);
    add(0);
    rig_publish(r);
    CHECK(via_pump_run(&r->pump, 64) == 0 && !via_pump_flush(&r->pump));
    /* Someone was here before: the used ring goes on from where it is. */
    struct via_used *ring = r->dq.used;
    via_shm_put16(&ring->idx, 7);
    CHECK_EQ(via_pump_here(&r->pump, r->dq.desc, r->dq.avail, r->dq.used), 0);
    CHECK(r->pump.dq.used_idx == 7 && via_pump_run(&r->pump, 64) == 1);
    complete(0);
    CHECK(via_pump_flush(&r->pump) && via_shm_get16(&ring->idx) == 8);
    /* Away and here again: it goes on by itself. */
    via_shm_put16(&ring->idx, 3);
    via_pump_away(&r->pump);
    CHECK(via_pump_here(&r->pump, r->dq.desc, r->dq.avail, r->dq.used) == 0 && r->pump.dq.used_idx == 8);
    none.num = 3;
    CHECK_EQ(via_pump_init(&r->pump, &none, &r->tlb.xlate, &r->misses, &keeper.device, 4, r->pump_storage), -VIA_EINVAL);
    none.num = RIG_NUM, none.used = r->dq.used;
    CHECK_EQ(via_pump_init(&r->pump, &none, &r->tlb.xlate, &r->misses, &keeper.device, 4, r->pump_storage), -VIA_EINVAL);
}

/* ------------------------------------------------------------------ withdrawal */

enum end { WAITS, HELD, DONE, ENDS };

/* Five requests, each waiting, held or completed: those that wait after the last other one go back, and come again. */
static bool withdraw(const enum end *end, bool abandon)
{
    unsigned behind = 0, left = 0, again = 0;
    CHECK_OR_FALSE(begin(&plain_ops));
    for (unsigned i = 0; i < 5; i++) {
        CHECK_OR_FALSE(end[i] == WAITS || know(i));
        add(i);
        behind = end[i] == WAITS ? behind + 1 : 0;
        left += end[i] == WAITS;
    }
    left -= behind;
    CHECK_OR_FALSE(rig_run(r) >= 0);
    for (unsigned i = 0, k = 0; i < 5; i++)
        if (end[i] == DONE)
            complete(k);
        else
            k += end[i] == HELD;
    CHECK_OR_FALSE(via_pump_withdraw(&r->pump, abandon) == left);
    CHECK_OR_FALSE(via_dq_base(&r->pump.dq) == 5 - behind);
    CHECK_OR_FALSE(r->pump.dq.broken == (abandon && left));
    CHECK_OR_FALSE(via_pump_inflight(&r->pump) == keeper.n + (abandon ? 0 : left));
    CHECK_OR_FALSE(via_pump_withdraw(&r->pump, false) == (abandon ? 0 : left));
    if (r->pump.dq.broken)
        return true;
    via_misses_clear(&r->misses); /* without an answer */
    for (unsigned i = 0; i < 5; i++)
        CHECK_OR_FALSE(know(i));
    again = keeper.n;
    CHECK_OR_FALSE(rig_run(r) == (int)(left + behind) && keeper.n == again + left + behind);
    for (unsigned i = again + left; i < keeper.n; i++)
        CHECK_OR_FALSE(kept(i)->position == 5 - behind + (i - again - left));
    while (keeper.n)
        complete(0);
    rig_flush(r);
    bool seen[5] = {false};
    for (unsigned i = 0; i < 5; i++) {
        CHECK_OR_FALSE(rig_used(r, &number, &written) && !seen[number]);
        seen[number] = true;
    }
    return via_pump_inflight(&r->pump) == 0;
}

static void what_waits_goes_back_where_it_came_from(void)
{
    for (unsigned code = 0; code < 243 * 2; code++) {
        enum end end[5];
        for (unsigned i = 0, c = code / 2; i < 5; i++, c /= ENDS)
            end[i] = (enum end)(c % ENDS);
        CHECK(withdraw(end, code & 1));
    }
}

static void what_is_to_be_refreshed_stays(void)
{
    CHECK(begin(&fresh_ops) && know(0));
    add(0);
    CHECK_EQ(rig_run(r), 1);
    CHECK(!revoke(0) && via_req_refresh(kept(0)) == -VIA_EAGAIN);
    add(1);
    CHECK_EQ(rig_run(r), 0);
    CHECK(via_pump_withdraw(&r->pump, true) == 0 && via_pump_inflight(&r->pump) == 1 && via_dq_base(&r->pump.dq) == 1);
    CHECK(know(0) && know(1) && rig_run(r) == 1 && keeper.told == 1);
}

/* What was completed for a ring that never comes back is given up, too. */
static void a_ring_that_stays_away_can_be_stopped(void)
{
    CHECK(begin(&plain_ops) && know(0));
    add(0);
    add(1);
    CHECK_EQ(rig_run(r), 1);
    via_pump_away(&r->pump);
    complete(0);
    CHECK(via_pump_withdraw(&r->pump, false) == 1 && via_pump_inflight(&r->pump) == 1 && !r->pump.dq.broken);
    CHECK(via_pump_withdraw(&r->pump, true) == 1 && via_pump_inflight(&r->pump) == 0);
    CHECK(via_pump_withdraw(&r->pump, true) == 0);
}

/* A request that waits while 65536 others come and go is not taken for the last one. */
static void positions_do_not_come_round(void)
{
    CHECK(begin(&plain_ops) && know(1));
    add(0);
    CHECK_EQ(rig_run(r), 0);
    for (unsigned i = 0; i < 65536; i++) {
        struct via_seg seg[2] = {rig_seg(AT(1), 1), rig_seg(AT(1) + 1, 1)};
        struct via_used_chain u;
        CHECK_EQ(via_vq_add(&r->vq, seg, 1, 1, &seg), 0);
        CHECK_EQ(rig_run(r), 1);
        complete(0);
        rig_flush(r);
        CHECK_EQ(via_vq_reap(&r->vq, &u), 1);
    }
    CHECK(via_pump_withdraw(&r->pump, false) == 1 && via_pump_inflight(&r->pump) == 1);
}

TAP_MAIN(TEST(what_the_device_holds_is_waited_for), TEST(ranges_are_inclusive), TEST(what_is_parked_is_translated_anew),
         TEST(a_parked_one_may_be_given_up), TEST(a_refused_one_may_be_parked_no_more), TEST(what_waits_is_no_obstacle),
         TEST(one_that_can_refresh_is_not_waited_for), TEST(it_may_be_refreshed_often), TEST(a_stalled_one_may_end),
         TEST(one_may_end_while_another_goes_on), TEST(what_ends_while_the_ring_is_away_is_shown_later),
         TEST(parked_and_waiting_ones_go_on_while_it_is_away), TEST(a_ring_may_come_late), TEST(what_waits_goes_back_where_it_came_from),
         TEST(what_is_to_be_refreshed_stays), TEST(a_ring_that_stays_away_can_be_stopped), TEST(positions_do_not_come_round))
