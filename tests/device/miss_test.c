/* SPDX-License-Identifier: BSD-2-Clause */
/* The pump and the block device where translations are missing: what is asked for, what goes on meanwhile, and what is refused. */
#include <stdlib.h>
#include <string.h>

#include <tap.h>

#include "rig.h"

#define RW (VIA_PERM_R | VIA_PERM_W)
#define PAGE 0x1000u
#define HDR 0x10000u /* a request over four pages: header, two of data, status */
#define DATA 0x20000u
#define STATUS 0x30000u
#define TABLES 0x4000u

static const struct rig_request get_id = {.type = VIA_BLK_T_GET_ID, .in = VIA_BLK_ID_BYTES};
static unsigned number;
static uint32_t written;

/* Read two pages of the disk, into pages that lie elsewhere for each i. */
static void add_read(struct rig *r, uint32_t i)
{
    struct via_seg seg[3] = {rig_seg(HDR + i * PAGE, 16), rig_seg(DATA + i * 2 * PAGE, 2 * PAGE), rig_seg(STATUS + i * PAGE, 1)};
    rig_put_hdr(r, HDR + i * PAGE, VIA_BLK_T_IN, 8 + i);
    rig_add_segs(r, seg, 1, 2);
}
static bool read_done(struct rig *r, uint32_t i)
{
    return rig_used(r, &number, &written) && number == i && written == 2 * PAGE + 1 && r->mem[STATUS + i * PAGE] == VIA_BLK_S_OK &&
           memcmp(r->mem + DATA + i * 2 * PAGE, r->disk + (8 + i) * 512, 2 * PAGE) == 0;
}
static bool answer(struct rig *r, uint32_t page, unsigned perm)
{
    const uint32_t first = r->misses.first;
    return first != UINT32_MAX && r->misses.slot[first].page == RIG_GPA + page && rig_answer(r, perm);
}
static struct rig *start(uint32_t entries, unsigned pages, bool direct)
{
    struct rig *r = rig_new(&rig_limits);
    return rig_translate(r, entries, pages, direct) ? r : NULL;
}

static void all_that_is_missing_is_asked_for_at_once(void)
{
    struct rig *r = start(64, 64, true);
    add_read(r, 0);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(rig_run(r), 0);
    CHECK(r->misses.fresh == 4 && r->pump.waits == 1 && via_pump_inflight(&r->pump) == 1 && r->store.total == 0);
    CHECK(answer(r, HDR, RW) && answer(r, DATA, RW) && answer(r, DATA + PAGE, RW));
    CHECK_EQ(rig_run(r), 0);
    CHECK(answer(r, STATUS, RW));
    CHECK_EQ(rig_run(r), 1);
    CHECK(read_done(r, 0) && via_pump_inflight(&r->pump) == 0 && r->pump.waits == 1 && r->pump.refusals == 0);
    add_read(r, 0); /* warm */
    CHECK(rig_run(r) == 1 && r->misses.total == 4);
}

static void a_table_comes_first(void)
{
    struct rig *r = start(64, 64, false);
    add_read(r, 0);
    CHECK_EQ(rig_run(r), 0);
    CHECK(r->misses.fresh == 1 && answer(r, TABLES, VIA_PERM_R));
    CHECK_EQ(rig_run(r), 0);
    CHECK(r->misses.fresh == 4 && rig_settle(r) == 4 && read_done(r, 0));
    CHECK_EQ(r->pump.waits, 1);
    /* A table over two pages, of which one is known. */
    r = start(64, 64, false);
    struct via_desc *head = (void *)r->mem;
    rig_add(r, &get_id, RIG_DATA);
    uint64_t at = RIG_GPA + TABLES + PAGE - 16;
    memmove(r->mem + TABLES + PAGE - 16, r->mem + TABLES, 32);
    head->addr = via_le64_make(at);
    CHECK_EQ(rig_run(r), 0);
    CHECK(r->misses.fresh == 2 && rig_settle(r) == 3 && rig_used(r, &number, &written) && written == 21);
}

static void those_behind_go_on(void)
{
    struct rig *r = start(64, 64, true);
    add_read(r, 0);
    CHECK(rig_settle(r) == 4 && read_done(r, 0));
    add_read(r, 1);
    add_read(r, 0);
    CHECK_EQ(rig_run(r), 1);
    CHECK(rig_used(r, &number, &written) && number == 1);
    CHECK(rig_settle(r) == 4 && rig_used(r, &number, &written) && number == 0);
}

static void who_shares_pages_asks_once(void)
{
    struct rig *r = start(64, 64, true);
    for (unsigned i = 0; i < 5; i++)
        rig_add(r, &get_id, RIG_DATA + i * 64);
    CHECK_EQ(rig_run(r), 0);
    CHECK(r->misses.total == 1 && r->pump.waits == 5 && answer(r, RIG_DATA, RW));
    CHECK_EQ(rig_run(r), 5);
    for (unsigned i = 0; i < 5; i++)
        CHECK(rig_used(r, &number, &written) && number == i); /* in the order in which they came */
}

static void answers_in_any_order_serve(void)
{
    static const unsigned order[][4] = {{3, 2, 1, 0}, {1, 3, 0, 2}, {2, 0, 3, 1}};
    static const uint32_t page[] = {HDR, DATA, DATA + PAGE, STATUS};
    for (unsigned i = 0; i < via_array_len(order); i++) {
        struct rig *r = start(64, 64, true);
        add_read(r, 0);
        CHECK_EQ(rig_run(r), 0);
        while (via_misses_next(&r->misses, 1))
            ;
        for (unsigned k = 0; k < 4; k++) {
            uint64_t at = RIG_GPA + page[order[i][k]];
            CHECK_EQ(via_iotlb_insert(&r->tlb, (via_iova){at}, (via_iova){at + 4095}, r->mem + page[order[i][k]], RW), 0);
            via_misses_update(&r->misses, (via_iova){at}, (via_iova){at + 4095}, RW);
            CHECK_EQ(rig_run(r), k == 3);
        }
        CHECK(read_done(r, 0) && r->misses.total == 4);
    }
}

/* One question at a time is enough, and so is an IOTLB with room for what one request needs. */
static void little_room_is_enough(void)
{
    for (unsigned pages = 1; pages <= 4; pages *= 2)
        for (unsigned entries = 3; entries <= 6; entries++) /* the two pages of data make one */
            for (unsigned direct = 0; direct < 2; direct++) {
                struct rig *r = start(entries, pages, direct);
                for (unsigned i = 0; i < (direct ? 5 : 12); i++)
                    add_read(r, i % 6);
                CHECK(rig_settle(r) >= 0);
                CHECK_EQ(r->pump.refusals, 0);
                CHECK_EQ(r->dev.reads, direct ? 5 : 12);
                CHECK(!r->pump.waiting && via_pump_inflight(&r->pump) == 0);
            }
    struct rig *r = start(1, 1, false);
    for (unsigned i = 0; i < 12; i++)
        rig_add(r, &get_id, RIG_DATA + i * PAGE);
    CHECK(rig_settle(r) >= 0);
    CHECK(r->pump.refusals == 0 && r->dev.others == 12);
}

/* However many small ones follow, one after the other, the one that needs all the room gets it. */
static void those_that_follow_do_not_starve_one(void)
{
    for (uint32_t entries = 3; entries <= 6; entries++) {
        struct rig *r = start(entries, 8, false);
        add_read(r, 0);
        for (unsigned i = 1; i < RIG_NUM; i++)
            rig_add(r, &get_id, 0x40000 + i * PAGE);
        rig_publish(r);
        for (unsigned i = 0; i < 300 && !r->dev.reads; i++) {
            CHECK(via_pump_run(&r->pump, 1) >= 0);
            while (rig_answer(r, RW))
                ;
        }
        CHECK(r->dev.reads == 1 && r->pump.refusals == 0);
    }
}

/* A request that needs more than the IOTLB can hold has an end. */
static void too_little_room_is_an_error(void)
{
    struct rig *r = start(2, 8, true);
    add_read(r, 0);
    int rc = rig_settle(r);
    CHECK(rc == -VIA_EPROTO || rc >= 0);
    CHECK(r->pump.refusals == 1 && strstr(r->pump.refusal.what, "too small") && r->misses.total < 64);
    CHECK(via_pump_inflight(&r->pump) == 0);
    if (rc >= 0)
        CHECK(rig_used(r, &number, &written) && r->mem[STATUS] == VIA_BLK_S_IOERR);
}

static void an_answer_of_no_use_is_an_end_too(void)
{
    struct rig *r = start(8, 8, true);
    add_read(r, 0);
    unsigned asked = 0;
    int rc;
    while ((rc = rig_run(r)) == 0 && asked < 1000 && via_pump_inflight(&r->pump))
        for (const struct via_miss *m; (m = via_misses_next(&r->misses, 1)); asked++)
            via_misses_update(&r->misses, (via_iova){m->page}, (via_iova){m->page}, RW);
    CHECK(asked < 100 && rc == -VIA_EPROTO && r->pump.refusals == 1 && strstr(r->pump.fault.what, "can't be answered"));
}

/* ------------------------------------------------------------------ refusals */

/* Let one page of a request be refused; how: 0, or the rights that come instead. */
static int refuse_one(struct rig *r, uint32_t page, unsigned how)
{
    int rc;
    while ((rc = rig_run(r)) == 0 && r->misses.fresh) {
        const uint32_t first = r->misses.first;
        if (!rig_answer(r, r->misses.slot[first].page == RIG_GPA + page ? how : RW))
            return -1;
    }
    return rc;
}

static void what_is_refused_is_an_error_of_that_request(void)
{
    static const struct {
        uint32_t page;
        unsigned how, right;
    } t[] = {{HDR, 0, VIA_PERM_R},
             {HDR, VIA_PERM_W, VIA_PERM_R},
             {DATA, 0, VIA_PERM_W},
             {DATA, VIA_PERM_R, VIA_PERM_W},
             {DATA + PAGE, 0, VIA_PERM_W}};
    for (unsigned i = 0; i < via_array_len(t); i++)
        for (unsigned direct = 0; direct < 2; direct++) {
            struct rig *r = start(64, 64, direct);
            memset(r->mem + DATA, 0x5a, 2 * PAGE);
            add_read(r, 0);
            CHECK_EQ(refuse_one(r, t[i].page, t[i].how), 1);
            CHECK(rig_used(r, &number, &written) && written == 2 * PAGE + 1 && r->mem[STATUS] == VIA_BLK_S_IOERR);
            for (unsigned k = 0; k < 2 * PAGE; k++)
                CHECK_EQ(r->mem[DATA + k], 0x5a);
            CHECK(r->pump.refusals == 1 && r->pump.refusal.got == RIG_GPA + t[i].page && r->pump.refusal.limit == t[i].right);
            CHECK(r->dev.errors == 1 && r->store.total == 0 && via_pump_inflight(&r->pump) == 0 && !r->pump.fault.what);
            via_misses_forget(&r->misses);
            add_read(r, 0);
            CHECK(rig_settle(r) >= 1 && read_done(r, 1) == false && r->mem[STATUS] == VIA_BLK_S_OK);
        }
}

/* Data and status in one segment over three pages: what can be reached up to the status is cleared. */
static void a_status_behind_refused_data_is_reached(void)
{
    for (unsigned page = 0; page < 3; page++) {
        struct rig *r = start(64, 64, true);
        struct via_seg seg[2] = {rig_seg(HDR, 16), rig_seg(DATA + 0xe00, 0x200 + PAGE + 0x400 + 1)};
        memset(r->mem + DATA, 0x5a, 3 * PAGE);
        rig_put_hdr(r, HDR, VIA_BLK_T_IN, 8);
        rig_add_segs(r, seg, 1, 1);
        int rc = refuse_one(r, DATA + page * PAGE, 0);
        uint32_t clear = page == 2 ? 3 * PAGE : (page + 1) * PAGE;
        for (unsigned k = 0; k < 2 * PAGE + 0x400; k++)
            CHECK_EQ(r->mem[DATA + k], k < clear ? 0x5a : 0);
        CHECK(r->pump.refusals == 1 && via_pump_inflight(&r->pump) == 0);
        if (page == 2) { /* and the status itself */
            CHECK(rc == -VIA_EPROTO && strstr(r->pump.fault.what, "can't be answered"));
            CHECK_EQ(r->pump.fault.got, RIG_GPA + DATA + 2 * PAGE + 0x400);
            continue;
        }
        CHECK_EQ(rc, 1);
        CHECK(rig_used(r, &number, &written) && written == seg[1].len && r->mem[DATA + 2 * PAGE + 0x400] == VIA_BLK_S_IOERR);
    }
}

static void what_cant_be_answered_breaks_the_queue(void)
{
    struct rig *r = start(64, 64, true);
    add_read(r, 0);
    CHECK_EQ(refuse_one(r, STATUS, 0), -VIA_EPROTO);
    CHECK(strstr(r->pump.fault.what, "can't be answered") && r->pump.fault.got == RIG_GPA + STATUS && via_pump_inflight(&r->pump) == 0);
    CHECK(strstr(r->pump.refusal.what, "writable") && r->pump.refusals == 1);
    r = start(64, 64, false);
    add_read(r, 0);
    CHECK_EQ(refuse_one(r, TABLES, 0), -VIA_EPROTO);
    CHECK(strstr(r->pump.fault.what, "table") && via_pump_inflight(&r->pump) == 0 && r->pump.refusals == 1);
    /* Nothing writable at all. */
    r = start(64, 64, true);
    struct via_seg seg = rig_seg(HDR, 16);
    rig_add_segs(r, &seg, 1, 0);
    CHECK_EQ(refuse_one(r, HDR, 0), -VIA_EPROTO);
    CHECK(r->pump.refusals == 1 && via_pump_inflight(&r->pump) == 0);
    /* A device that can't tell. */
    static const struct via_device_ops deaf = {0};
    r = start(64, 64, true);
    r->dev.device.ops = &deaf;
    add_read(r, 0);
    CHECK_EQ(refuse_one(r, HDR, 0), -VIA_EPROTO);
    CHECK(strstr(r->pump.fault.what, "readable") && via_pump_inflight(&r->pump) == 0);
}

static void what_wraps_is_refused_unasked(void)
{
    struct rig *r = start(64, 64, true);
    struct via_seg seg[3] = {rig_seg(HDR, 16), {{UINT64_MAX - 100}, 512}, rig_seg(STATUS, 1)};
    rig_put_hdr(r, HDR, VIA_BLK_T_IN, 0);
    rig_add_segs(r, seg, 1, 2);
    CHECK_EQ(rig_settle(r), 2);
    CHECK(rig_used(r, &number, &written) && written == 513 && r->mem[STATUS] == VIA_BLK_S_IOERR);
    CHECK_EQ(r->pump.refusal.got, UINT64_MAX - 100);
    seg[1] = rig_seg(STATUS, 512), seg[2] = (struct via_seg){{UINT64_MAX - 100}, 512};
    rig_add_segs(r, seg, 1, 2);
    CHECK_EQ(rig_run(r), -VIA_EPROTO);
    CHECK(via_pump_inflight(&r->pump) == 0);
}

/* Pages that don't lie side by side make more pieces than a request may have: an error of that request. */
static void too_many_pieces_are_an_error(void)
{
    struct rig *r = start(64, 64, true);
    struct via_seg seg[3] = {rig_seg(HDR, 16), rig_seg(DATA, 40 * PAGE), rig_seg(STATUS + 0x20000, 1)};
    rig_put_hdr(r, HDR, VIA_BLK_T_IN, 0);
    rig_add_segs(r, seg, 1, 2);
    CHECK_EQ(rig_run(r), 0);
    for (const struct via_miss *m; (m = via_misses_next(&r->misses, 1));) {
        /* Backwards in memory, but for header and status. */
        uint64_t at = m->page - RIG_GPA, to = at >= DATA && at < DATA + 40 * PAGE ? DATA + 39 * PAGE - (at - DATA) : at;
        CHECK_EQ(via_iotlb_insert(&r->tlb, (via_iova){m->page}, (via_iova){m->page + 4095}, r->mem + to, RW), 0);
        via_misses_update(&r->misses, (via_iova){m->page}, (via_iova){m->page + 4095}, RW);
    }
    CHECK_EQ(rig_run(r), 1);
    CHECK(rig_used(r, &number, &written) && r->mem[STATUS + 0x20000] == VIA_BLK_S_IOERR && strstr(r->pump.refusal.what, "pieces"));
}

/* ------------------------------------------------------------------ questions that are older than a request */

static void refused(struct rig *r, uint32_t page) { via_misses_refuse(&r->misses, (via_iova){RIG_GPA + page}, 1); }
static void granted(struct rig *r, uint32_t page)
{
    uint64_t at = RIG_GPA + page;
    if (via_iotlb_insert(&r->tlb, (via_iova){at}, (via_iova){at + (PAGE - 1)}, r->mem + page, RW) < 0)
        abort();
    via_misses_update(&r->misses, (via_iova){at}, (via_iova){at + (PAGE - 1)}, RW);
}
/* All are asked for, and no answer comes yet. */
static unsigned ask_all(struct rig *r)
{
    unsigned n = 0;
    while (via_misses_next(&r->misses, 1))
        n++;
    return n;
}

/* A request over two pages that are not mapped has ended by the no to the first one; that to the second one is on its way. */
static bool question_left(struct rig *r)
{
    add_read(r, 0);
    CHECK_OR_FALSE(rig_run(r) == 0 && ask_all(r) == 4);
    granted(r, HDR);
    granted(r, STATUS);
    refused(r, DATA);
    CHECK_OR_FALSE(rig_run(r) == 1 && rig_used(r, &number, &written) && r->mem[STATUS] == VIA_BLK_S_IOERR);
    via_misses_forget(&r->misses);
    return r->misses.n == 1;
}

/* The driver maps both pages and sends another request: the old no is not to that. */
static void an_old_no_is_not_for_a_new_request(void)
{
    for (unsigned joined = 0; joined < 2; joined++) {
        struct rig *r = start(64, 64, true);
        CHECK(question_left(r));
        add_read(r, 0);
        if (joined) /* or popped only when the no is there, and not yet forgotten */
            CHECK_EQ(rig_run(r), 0);
        refused(r, DATA + PAGE);
        CHECK_EQ(rig_run(r), 0);
        via_misses_forget(&r->misses);
        CHECK_EQ(ask_all(r), 2);
        granted(r, DATA);
        granted(r, DATA + PAGE);
        CHECK(rig_run(r) == 1 && rig_used(r, &number, &written) && r->mem[STATUS] == VIA_BLK_S_OK);
        CHECK(r->pump.refusals == 1 && r->misses.n == 0);
    }
}

TAP_MAIN(TEST(all_that_is_missing_is_asked_for_at_once), TEST(a_table_comes_first), TEST(those_behind_go_on),
         TEST(who_shares_pages_asks_once), TEST(answers_in_any_order_serve), TEST(little_room_is_enough),
         TEST(those_that_follow_do_not_starve_one), TEST(too_little_room_is_an_error), TEST(an_answer_of_no_use_is_an_end_too),
         TEST(what_is_refused_is_an_error_of_that_request), TEST(a_status_behind_refused_data_is_reached),
         TEST(what_cant_be_answered_breaks_the_queue), TEST(what_wraps_is_refused_unasked), TEST(too_many_pieces_are_an_error),
         TEST(an_old_no_is_not_for_a_new_request))
