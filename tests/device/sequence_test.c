/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests that are several store operations: ranges, and writes that must be stable when they complete. */
#include <string.h>

#include <tap.h>

#include "rig.h"

struct range {
    uint64_t sector;
    uint32_t sectors, flags;
};

/* A discard or write-zeroes request with these ranges; returns where its status is. */
static uint32_t add_ranges(struct rig *r, uint32_t type, const struct range *g, unsigned n, uint32_t at)
{
    for (unsigned i = 0; i < n; i++) {
        struct via_blk_range w = {via_le64_make(g[i].sector), via_le32_make(g[i].sectors), via_le32_make(g[i].flags)};
        memcpy(r->mem + at + 16 + i * 16, &w, sizeof(w));
    }
    return rig_add(r, &(struct rig_request){.type = type, .out = n * 16}, at);
}

static int ask_ranges(struct rig *r, uint32_t type, const struct range *g, unsigned n)
{
    unsigned number;
    uint32_t written, status = add_ranges(r, type, g, n, RIG_DATA);
    if (rig_run(r) != 1 || !rig_used(r, &number, &written) || written != 1)
        return RIG_STATUS_NONE;
    return r->mem[status];
}

/* The answer to the one request that is out, or RIG_STATUS_NONE. */
static int answer(struct rig *r, uint32_t status)
{
    unsigned number;
    uint32_t written;
    rig_flush(r);
    return rig_used(r, &number, &written) && written == 1 ? r->mem[status] : RIG_STATUS_NONE;
}

static bool filled(const struct rig *r, uint64_t sector, uint32_t sectors, uint8_t with)
{
    for (size_t i = sector * 512; i < (sector + sectors) * 512; i++)
        if (r->disk[i] != with)
            return false;
    return true;
}

static void ranges_are_zeroed_and_discarded(void)
{
    struct rig *r = rig_new(&rig_limits);
    const struct range zero[] = {{1, 2, 0}, {10, 1, 1}, {RIG_SECTORS - 1, 1, 0}}, discard[] = {{20, 4, 0}, {30, 1, 0}};
    struct range most[16];
    for (unsigned i = 0; i < 16; i++)
        most[i] = (struct range){40 + i * 2, 1, 0};
    memset(r->disk, 0x77, sizeof(r->disk));
    CHECK_EQ(ask_ranges(r, VIA_BLK_T_WRITE_ZEROES, zero, 3), VIA_BLK_S_OK);
    CHECK(filled(r, 0, 1, 0x77) && filled(r, 1, 2, 0) && filled(r, 3, 7, 0x77) && filled(r, 10, 1, 0) && filled(r, RIG_SECTORS - 1, 1, 0));
    CHECK_EQ(r->store.taken[VIA_BLK_ZERO], 3);
    CHECK_EQ(r->store.unmaps, 1); /* only where the driver allows it */
    CHECK_EQ(ask_ranges(r, VIA_BLK_T_DISCARD, discard, 2), VIA_BLK_S_OK);
    CHECK(filled(r, 20, 4, 0xdd) && filled(r, 24, 6, 0x77) && filled(r, 30, 1, 0xdd));
    CHECK_EQ(ask_ranges(r, VIA_BLK_T_WRITE_ZEROES, most, 16), VIA_BLK_S_OK);
    CHECK_EQ(r->store.taken[VIA_BLK_ZERO], 19);
    CHECK_EQ(r->store.taken[VIA_BLK_FLUSH], 0);
}

static void zeroing_never_unmaps_where_discarding_is_not_possible(void)
{
    struct via_blk_limits l = rig_limits;
    l.discard = false;
    struct rig *r = rig_new(&l);
    const struct range unmap = {1, 2, VIA_BLK_WRITE_ZEROES_F_UNMAP};
    CHECK_EQ(ask_ranges(r, VIA_BLK_T_WRITE_ZEROES, &unmap, 1), VIA_BLK_S_OK);
    CHECK_EQ(r->store.taken[VIA_BLK_ZERO], 1);
    CHECK_EQ(r->store.unmaps, 0);
}

/* One bad range, in any place, and none of them is touched. */
static void one_bad_range_spoils_all(void)
{
    static const struct {
        uint32_t type;
        struct range g;
        int status;
    } bad[] = {
        {VIA_BLK_T_WRITE_ZEROES, {1, 1, 2}, VIA_BLK_S_UNSUPP},
        {VIA_BLK_T_WRITE_ZEROES, {1, 1, 0x80000001}, VIA_BLK_S_UNSUPP},
        {VIA_BLK_T_DISCARD, {1, 1, VIA_BLK_WRITE_ZEROES_F_UNMAP}, VIA_BLK_S_UNSUPP},
        {VIA_BLK_T_DISCARD, {1, 1, 4}, VIA_BLK_S_UNSUPP},
        {VIA_BLK_T_DISCARD, {RIG_SECTORS, 1, 0}, VIA_BLK_S_IOERR},
        {VIA_BLK_T_DISCARD, {RIG_SECTORS - 1, 2, 0}, VIA_BLK_S_IOERR},
        {VIA_BLK_T_WRITE_ZEROES, {0, UINT32_MAX, 0}, VIA_BLK_S_IOERR},
        {VIA_BLK_T_WRITE_ZEROES, {UINT64_MAX, 2, 0}, VIA_BLK_S_IOERR},
        {VIA_BLK_T_WRITE_ZEROES, {UINT64_C(1) << 55, 1, 0}, VIA_BLK_S_IOERR},
        {VIA_BLK_T_WRITE_ZEROES, {5, 0, 0}, VIA_BLK_S_IOERR},
        {VIA_BLK_T_DISCARD, {5, 0, 0}, VIA_BLK_S_IOERR},
    };
    struct rig *r = rig_new(&rig_limits);
    for (unsigned i = 0; i < via_array_len(bad); i++)
        for (unsigned at = 0; at < 3; at++) {
            struct range g[3] = {{1, 1, 0}, {2, 1, 0}, {3, 1, 0}};
            g[at] = bad[i].g;
            CHECK_EQ(ask_ranges(r, bad[i].type, g, 3), bad[i].status);
        }
    CHECK_EQ(r->store.total, 0);
}

static void ranges_go_one_after_the_other(void)
{
    struct rig *r = rig_new(&rig_limits);
    const struct range g[3] = {{1, 1, 0}, {2, 1, 0}, {3, 1, 0}};
    r->store.later = true;
    uint32_t status = add_ranges(r, VIA_BLK_T_WRITE_ZEROES, g, 3, RIG_DATA);
    CHECK_EQ(rig_run(r), 1);
    for (unsigned i = 0; i < 3; i++) {
        CHECK(r->store.held == 1 && r->store.io[0]->offset == (i + 1) * 512);
        CHECK_EQ(answer(r, status), RIG_STATUS_NONE);
        store_end(&r->store, 0);
    }
    CHECK_EQ(r->store.held, 0);
    CHECK_EQ(answer(r, status), VIA_BLK_S_OK);
}

static void a_failure_ends_the_sequence(void)
{
    struct rig *r = rig_new(&rig_limits);
    const struct range g[3] = {{1, 1, 0}, {2, 1, 0}, {3, 1, 0}};
    r->store.fail = -VIA_ENOSPC;
    r->store.fail_at = 2;
    CHECK_EQ(ask_ranges(r, VIA_BLK_T_WRITE_ZEROES, g, 3), VIA_BLK_S_IOERR);
    CHECK_EQ(r->store.total, 2);
    CHECK(!filled(r, 3, 1, 0));
}

/* The store is full in the middle of sequences: these wait, nothing new overtakes them, and each ends. */
static void a_full_store_in_the_middle_is_waited_for(void)
{
    struct rig *r = rig_new(&rig_limits);
    const struct range g[3] = {{1, 1, 0}, {2, 1, 0}, {3, 1, 0}};
    static const struct rig_request read = {VIA_BLK_T_IN, 0, 0, 512};
    unsigned number, order[4], n = 0;
    uint32_t written;
    r->store.later = true;
    for (unsigned i = 0; i < 3; i++)
        add_ranges(r, VIA_BLK_T_WRITE_ZEROES, g, 3, RIG_DATA + i * 0x100);
    CHECK_EQ(rig_run(r), 3);
    r->store.room = 1;
    store_end(&r->store, 0);
    store_end(&r->store, 0);
    CHECK_EQ(r->store.held, 1);
    rig_add(r, &read, RIG_DATA + 0x1000);
    CHECK_EQ(rig_run(r), 0);
    CHECK(r->pump.parked);
    r->store.room = 2; /* unasked: whoever comes next finds room, and what waits longest gets it */
    CHECK_EQ(rig_run(r), 0);
    CHECK(r->pump.parked && r->store.held == 2 && r->store.io[1]->op == VIA_BLK_ZERO);
    for (unsigned i = 0; i < 7; i++) {
        CHECK(r->store.held > 0);
        store_end(&r->store, 0);
    }
    CHECK_EQ(r->store.held, 0);
    CHECK_EQ(rig_run(r), 1);
    store_end(&r->store, 0);
    rig_flush(r);
    while (rig_used(r, &number, &written))
        order[n++] = number;
    CHECK(n == 4 && order[3] == 3);
    CHECK(via_pump_inflight(&r->pump) == 0 && !r->dev.waiting);
    CHECK_EQ(r->store.taken[VIA_BLK_ZERO], 9);
}

/* A driver that did not take FLUSH has no means to make its writes stable, so they are before it hears of them (5.2.6). */
static void without_flush_writes_are_stable(void)
{
    static const struct rig_request write = {VIA_BLK_T_OUT, 7, 512, 0};
    const struct range g[2] = {{1, 1, 0}, {2, 1, 0}};
    struct rig *r = rig_new(&rig_limits);
    r->dev.features &= ~VIA_BIT(VIA_BLK_F_FLUSH);
    r->store.later = true;
    uint32_t status = rig_add(r, &write, RIG_DATA);
    CHECK_EQ(rig_run(r), 1);
    CHECK(r->store.held == 1 && r->store.io[0]->op == VIA_BLK_WRITE);
    store_end(&r->store, 0);
    CHECK(r->store.held == 1 && r->store.io[0]->op == VIA_BLK_FLUSH);
    CHECK_EQ(answer(r, status), RIG_STATUS_NONE);
    store_end(&r->store, 0);
    CHECK_EQ(answer(r, status), VIA_BLK_S_OK);
    r->store.later = false;
    CHECK_EQ(ask_ranges(r, VIA_BLK_T_WRITE_ZEROES, g, 2), VIA_BLK_S_OK);
    CHECK(r->store.taken[VIA_BLK_ZERO] == 2 && r->store.taken[VIA_BLK_FLUSH] == 2);
    r->store.fail = -VIA_EIO;
    r->store.fail_at = r->store.total + 2;
    CHECK_EQ(rig_ask(r, &write), VIA_BLK_S_IOERR);
    CHECK_EQ(r->store.taken[VIA_BLK_FLUSH], 3);
}

/* More requests than the device has room for: the pump parks, nothing is lost. */
static void few_places_serve_many_requests(void)
{
    struct rig *r = rig_new(&rig_limits);
    static const struct rig_request read = {VIA_BLK_T_IN, 1, 0, 512};
    unsigned number, n = 0;
    uint32_t written;
    CHECK_EQ(via_blk_device_init(&r->dev, &rig_limits, &r->store.store, 2, 4, r->dev_storage), 0);
    r->store.later = true;
    for (unsigned i = 0; i < 7; i++)
        rig_add(r, &read, RIG_DATA + i * 0x400);
    for (unsigned guard = 0; guard < 32; guard++) {
        CHECK(rig_run(r) >= 0);
        CHECK(r->store.held <= 2);
        while (r->store.held)
            store_end(&r->store, r->store.held - 1);
    }
    while (rig_used(r, &number, &written))
        n += written == 513;
    CHECK_EQ(n, 7);
}

TAP_MAIN(TEST(ranges_are_zeroed_and_discarded), TEST(zeroing_never_unmaps_where_discarding_is_not_possible), TEST(one_bad_range_spoils_all),
         TEST(ranges_go_one_after_the_other), TEST(a_failure_ends_the_sequence), TEST(a_full_store_in_the_middle_is_waited_for),
         TEST(without_flush_writes_are_stable), TEST(few_places_serve_many_requests))
