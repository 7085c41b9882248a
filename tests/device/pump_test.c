/* SPDX-License-Identifier: BSD-2-Clause */
/* The pump: what it hands on, parks, refuses and survives. */
#include <string.h>

#include <tap.h>

#include "rig.h"

static const struct rig_request get_id = {.type = VIA_BLK_T_GET_ID, .in = VIA_BLK_ID_BYTES};
static const struct rig_request read_one = {.type = VIA_BLK_T_IN, .sector = 3, .in = 512};

static bool broke(struct rig *r, const char *word, uint64_t got)
{
    return rig_run(r) == -VIA_EPROTO && r->pump.fault.what && strstr(r->pump.fault.what, word) && r->pump.fault.got == got &&
           via_pump_inflight(&r->pump) == 0 && via_pump_run(&r->pump, 64) == -VIA_EPROTO && !r->pump.parked;
}

/* Two segments, one of them wherever the test says. */
static void add_at(struct rig *r, struct via_seg out, struct via_seg in)
{
    struct via_seg seg[2] = {out, in};
    rig_put_hdr(r, RIG_DATA, VIA_BLK_T_GET_ID, 0);
    rig_add_segs(r, seg, 1, 1);
}

static void addresses_outside_break_the_queue(void)
{
    struct via_seg hdr = rig_seg(RIG_DATA, 16), in = rig_seg(RIG_DATA + 64, 21);
    uint64_t bad[] = {0, RIG_GPA - 1, RIG_GPA + RIG_MEM, RIG_GPA + RIG_MEM - 8, UINT64_MAX - 4, UINT64_MAX};
    for (unsigned i = 0; i < via_array_len(bad); i++) {
        struct rig *r = rig_new(&rig_limits);
        add_at(r, (struct via_seg){{bad[i]}, 16}, in);
        CHECK(broke(r, "readable", bad[i]));
        CHECK(rig_restart(r));
        add_at(r, hdr, (struct via_seg){{bad[i]}, 21});
        CHECK(broke(r, "writable", bad[i]));
        CHECK(rig_restart(r));
        CHECK_EQ(rig_ask(r, &get_id), VIA_BLK_S_OK);
    }
}

static void memory_that_is_only_readable_is_not_written(void)
{
    struct rig *r = rig_new(&rig_limits);
    add_at(r, (struct via_seg){{RIG_ROM_GPA}, 16}, (struct via_seg){{RIG_ROM_GPA + 64}, 21});
    CHECK(broke(r, "writable", RIG_ROM_GPA + 64));
    for (unsigned i = 0; i < sizeof(r->rom); i++)
        CHECK_EQ(r->rom[i], 0);
}

static void indirect_tables_are_fetched_and_judged(void)
{
    struct rig *r = rig_new(&rig_limits);
    struct via_desc *head = (void *)r->mem;
    CHECK_EQ(rig_ask(r, &get_id), VIA_BLK_S_OK);
    CHECK(via_le16_value(head->flags) == VIA_DESC_F_INDIRECT);
    /* A table outside of memory: what the driver's ring wrote is changed behind its back. */
    rig_add(r, &get_id, RIG_DATA);
    head->addr = via_le64_make(RIG_GPA + RIG_MEM - 16);
    CHECK(broke(r, "table", RIG_GPA + RIG_MEM - 16));
    /* Nested. */
    CHECK(rig_restart(r));
    rig_add(r, &get_id, RIG_DATA);
    ((struct via_desc *)(void *)(r->mem + 0x4000))->flags = via_le16_make(VIA_DESC_F_INDIRECT);
    CHECK(rig_run(r) == -VIA_EPROTO && r->pump.fault.what && via_pump_inflight(&r->pump) == 0);
    CHECK(rig_restart(r));
    CHECK_EQ(rig_ask(r, &get_id), VIA_BLK_S_OK);
}

static void what_the_ring_refuses_is_told(void)
{
    struct rig *r = rig_new(&rig_limits);
    rig_add(r, &get_id, RIG_DATA);
    ((struct via_desc *)(void *)r->mem)->flags = via_le16_make(VIA_DESC_F_INDIRECT | VIA_DESC_F_NEXT);
    CHECK(rig_run(r) == -VIA_EPROTO);
    CHECK(r->pump.fault.what && r->pump.fault.what == r->pump.dq.fault.what);
}

static void a_full_store_parks_one_and_keeps_the_order(void)
{
    struct rig *r = rig_new(&rig_limits);
    unsigned number;
    uint32_t written;
    r->store.later = true;
    r->store.room = 1;
    for (unsigned i = 0; i < 5; i++)
        rig_add(r, &read_one, RIG_DATA + i * 1024);
    CHECK_EQ(rig_run(r), 1);
    CHECK(r->pump.parked && via_pump_inflight(&r->pump) == 2);
    for (unsigned i = 0; i < 3 * RIG_NUM; i++)
        CHECK_EQ(rig_run(r), 0);
    for (unsigned i = 0; i < 5; i++) {
        CHECK_EQ(r->store.held, 1);
        store_end(&r->store, 0);
        CHECK_EQ(rig_run(r), i < 4);
        CHECK(rig_used(r, &number, &written));
        CHECK_EQ(number, i);
    }
    CHECK(!r->pump.parked && via_pump_inflight(&r->pump) == 0);
    CHECK_EQ(r->pump.requests, 5);
}

static void a_queue_being_stopped_submits_what_is_parked_only(void)
{
    struct rig *r = rig_new(&rig_limits);
    r->store.later = true;
    r->store.room = 1;
    for (unsigned i = 0; i < 3; i++)
        rig_add(r, &read_one, RIG_DATA + i * 1024);
    CHECK_EQ(rig_run(r), 1);
    store_end(&r->store, 0);
    CHECK_EQ(via_pump_run(&r->pump, 0), 1);
    CHECK_EQ(via_pump_inflight(&r->pump), 1);
    store_end(&r->store, 0);
    CHECK_EQ(via_pump_run(&r->pump, 0), 0);
    CHECK_EQ(via_pump_inflight(&r->pump), 0);
    CHECK_EQ(via_dq_base(&r->pump.dq), 2);
}

static void completion_order_is_used_order(void)
{
    static const unsigned pick[] = {3, 0, 2, 1, 0}; /* of what is left */
    static const unsigned want[] = {3, 0, 4, 2, 1};
    struct rig *r = rig_new(&rig_limits);
    unsigned number;
    uint32_t written;
    r->store.later = true;
    for (unsigned i = 0; i < 5; i++)
        rig_add(r, &read_one, RIG_DATA + i * 1024);
    CHECK_EQ(rig_run(r), 5);
    for (unsigned i = 0; i < 5; i++)
        store_end(&r->store, pick[i]);
    CHECK(!rig_used(r, &number, &written)); /* not before the flush */
    rig_flush(r);
    for (unsigned i = 0; i < 5; i++) {
        CHECK(rig_used(r, &number, &written));
        CHECK_EQ(number, want[i]);
    }
}

static void the_budget_is_kept(void)
{
    struct rig *r = rig_new(&rig_limits);
    for (unsigned i = 0; i < 5; i++)
        rig_add(r, &get_id, RIG_DATA + i * 1024);
    rig_publish(r);
    CHECK_EQ(via_pump_run(&r->pump, 2), 2);
    CHECK_EQ(via_pump_run(&r->pump, 2), 2);
    CHECK_EQ(via_pump_run(&r->pump, 2), 1);
    CHECK_EQ(via_pump_run(&r->pump, 2), 0);
}

static void what_is_in_flight_ends_on_a_broken_queue_too(void)
{
    struct rig *r = rig_new(&rig_limits);
    struct via_seg outside[2] = {{{0}, 16}, {{0}, 1}};
    r->store.later = true;
    r->store.room = 2;
    for (unsigned i = 0; i < 3; i++)
        rig_add(r, &read_one, RIG_DATA + i * 1024);
    CHECK_EQ(rig_run(r), 2);
    CHECK(r->pump.parked);
    /* The parked one goes ahead, then the queue breaks. */
    r->store.room = 3;
    rig_add_segs(r, outside, 1, 1);
    CHECK_EQ(rig_run(r), -VIA_EPROTO);
    CHECK_EQ(via_pump_inflight(&r->pump), 3);
    while (r->store.held)
        store_end(&r->store, 0);
    CHECK_EQ(via_pump_inflight(&r->pump), 0);
    CHECK(memcmp(r->mem + RIG_DATA + 16, r->disk + 3 * 512, 512) == 0);
    r->store.later = false;
    CHECK(rig_restart(r));
    CHECK_EQ(rig_ask(r, &get_id), VIA_BLK_S_OK);
}

static void a_request_may_be_abandoned(void)
{
    struct via_req *kept = NULL;
    struct rig *r = rig_new(&rig_limits);
    unsigned number;
    uint32_t written;
    r->store.room = 0;
    rig_add(r, &read_one, RIG_DATA);
    CHECK_EQ(rig_run(r), 0);
    kept = r->pump.parked; /* a device that keeps one for ever looks the same */
    CHECK(kept);
    r->pump.parked = NULL;
    via_req_abandon(kept);
    CHECK_EQ(via_pump_inflight(&r->pump), 0);
    CHECK_EQ(rig_run(r), -VIA_EPROTO);
    CHECK(!rig_used(r, &number, &written));
    CHECK(rig_restart(r));
    CHECK_EQ(rig_ask(r, &get_id), VIA_BLK_S_OK);
}

/* A buffer that lies in two regions is two spans. */
static void a_buffer_may_cross_regions(void)
{
    struct rig *r = rig_new(&rig_limits);
    static uint8_t behind[4096];
    struct via_region more = {.gpa = RIG_GPA + RIG_MEM, .len = sizeof(behind), .uva = 0x20000000, .ptr = behind};
    unsigned number;
    uint32_t written;
    CHECK_EQ(via_memmap_add(&r->map, &more), 0);
    struct via_seg seg[2] = {rig_seg(RIG_DATA, 16), {{RIG_GPA + RIG_MEM - 100}, 513}};
    rig_put_hdr(r, RIG_DATA, VIA_BLK_T_IN, 5);
    rig_add_segs(r, seg, 1, 1);
    CHECK_EQ(rig_run(r), 1);
    CHECK(rig_used(r, &number, &written) && written == 513);
    CHECK(memcmp(r->mem + RIG_MEM - 100, r->disk + 5 * 512, 100) == 0);
    CHECK(memcmp(behind, r->disk + 5 * 512 + 100, 412) == 0);
    CHECK(behind[412] == VIA_BLK_S_OK && behind[413] == 0);
}

static void storage_sizes_are_judged(void)
{
    struct rig *r = rig_new(&rig_limits);
    CHECK_EQ(via_pump_init(&r->pump, &r->dq, &r->map.xlate, NULL, &r->dev.device, UINT16_MAX, r->pump_storage), -VIA_EINVAL);
    r->dq.num = 3;
    CHECK_EQ(via_pump_init(&r->pump, &r->dq, &r->map.xlate, NULL, &r->dev.device, 4, r->pump_storage), -VIA_EINVAL);
}

TAP_MAIN(TEST(addresses_outside_break_the_queue), TEST(memory_that_is_only_readable_is_not_written),
         TEST(indirect_tables_are_fetched_and_judged), TEST(what_the_ring_refuses_is_told),
         TEST(a_full_store_parks_one_and_keeps_the_order), TEST(a_queue_being_stopped_submits_what_is_parked_only),
         TEST(completion_order_is_used_order), TEST(the_budget_is_kept), TEST(what_is_in_flight_ends_on_a_broken_queue_too),
         TEST(a_request_may_be_abandoned), TEST(a_buffer_may_cross_regions), TEST(storage_sizes_are_judged))
