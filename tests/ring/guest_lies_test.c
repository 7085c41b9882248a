/* SPDX-License-Identifier: BSD-2-Clause */
/* What a driver must not put on a ring, each offence by itself: the device says -VIA_EPROTO, tells why, and stays broken. */
#include "ring_mem.h"

#define NUM 8u
#define NEXT VIA_DESC_F_NEXT
#define WRITE VIA_DESC_F_WRITE
#define INDIRECT VIA_DESC_F_INDIRECT

/* A ring whose driver side is this test's: `table` stands for one indirect table at any address. */
static bool start(struct ring *r)
{
    CHECK_OR_FALSE(ring_open(r, NUM, NUM, false, 65533));
    for (unsigned i = 0; i < NUM; i++)
        r->desc[i] = desc_of(0x1000 * (i + 1), 0x100, 0, 0);
    return true;
}

static void offer(struct ring *r, uint16_t head)
{
    uint16_t idx = via_shm_get16(&r->avail->idx);
    via_shm_put16(&r->avail->ring[idx % NUM], head);
    via_shm_put16_release(&r->avail->idx, (uint16_t)(idx + 1));
}

static int take(struct ring *r, struct via_chain *c)
{
    *c = ring_chain(r);
    int rc = via_dq_pop(&r->dq, c);
    if (rc != VIA_POP_TABLE)
        return rc;
    rc = via_dq_table(&r->dq, c, r->table);
    return rc < 0 ? rc : VIA_POP_READY;
}

/* The offer breaks the queue, for this reason, with these figures, and for good; then the ring is closed. */
static bool broken_by(struct ring *r, const char *what, uint64_t got, uint64_t limit)
{
    struct via_chain c;
    CHECK_OR_FALSE(take(r, &c) == -VIA_EPROTO);
    CHECK_OR_FALSE(r->dq.fault.what);
    if (strcmp(r->dq.fault.what, what) != 0)
        tap_note(r->dq.fault.what);
    CHECK_OR_FALSE(strcmp(r->dq.fault.what, what) == 0);
    CHECK_OR_FALSE(r->dq.fault.got == got && r->dq.fault.limit == limit);
    CHECK_OR_FALSE(r->dq.broken && r->dq.inflight == 0);
    for (unsigned i = 0; i < NUM; i++)
        r->desc[i] = desc_of(0x1000, 1, 0, 0);
    offer(r, 0);
    CHECK_OR_FALSE(take(r, &c) == -VIA_EPROTO && !via_dq_arm(&r->dq));
    ring_close(r);
    return true;
}

static bool takes(struct ring *r, unsigned n_out, unsigned n_in)
{
    struct via_chain c;
    CHECK_OR_FALSE(take(r, &c) == VIA_POP_READY && r->dq.inflight == 1 && !r->dq.broken);
    CHECK_OR_FALSE(c.n_out == n_out && c.n_in == n_in && c.table.len == 0);
    ring_close(r);
    return true;
}

static void v2_7_5_a_chain_as_long_as_the_queue(void)
{
    struct ring r;
    CHECK(start(&r));
    for (uint16_t i = 0; i < NUM; i++)
        r.desc[i] = desc_of(i, 1, (i < NUM - 1 ? NEXT : 0) | (i > 2 ? WRITE : 0), i + 1);
    offer(&r, 0);
    CHECK(takes(&r, 3, NUM - 3));
}

static void v2_7_5_2_a_loop(void)
{
    struct ring r;
    CHECK(start(&r));
    r.desc[3] = desc_of(0x1000, 1, NEXT, 5);
    r.desc[5] = desc_of(0x1000, 1, NEXT, 3);
    offer(&r, 3);
    CHECK(broken_by(&r, "a descriptor chain loops or is longer than the queue", NUM + 1, NUM));
}

static void v2_7_5_2_a_loop_of_one(void)
{
    struct ring r;
    CHECK(start(&r));
    r.desc[0] = desc_of(0x1000, 1, NEXT | WRITE, 0);
    offer(&r, 0);
    CHECK(broken_by(&r, "a descriptor chain loops or is longer than the queue", NUM + 1, NUM));
}

static void v2_7_6_a_head_outside_the_table(void)
{
    struct ring r;
    CHECK(start(&r));
    offer(&r, NUM);
    CHECK(broken_by(&r, "a descriptor index is outside its table", NUM, NUM - 1));
    CHECK(start(&r));
    offer(&r, 65535);
    CHECK(broken_by(&r, "a descriptor index is outside its table", 65535, NUM - 1));
}

static void v2_7_5_a_next_outside_the_table(void)
{
    struct ring r;
    CHECK(start(&r));
    r.desc[0] = desc_of(0x1000, 1, NEXT, NUM);
    offer(&r, 0);
    CHECK(broken_by(&r, "a descriptor index is outside its table", NUM, NUM - 1));
}

static void v2_7_5_a_next_without_its_flag_is_not_followed(void)
{
    struct ring r;
    CHECK(start(&r));
    r.desc[0] = desc_of(0x1000, 1, 0, 65535);
    offer(&r, 0);
    CHECK(takes(&r, 1, 0));
}

static void v2_7_5_a_length_of_0(void)
{
    struct ring r;
    CHECK(start(&r));
    r.desc[0] = desc_of(0x1000, 16, NEXT, 1);
    r.desc[1] = desc_of(0x1000, 0, WRITE, 0);
    offer(&r, 0);
    CHECK(broken_by(&r, "a descriptor's length is 0", 0, 0));
}

static void v2_7_4_2_readable_after_writable(void)
{
    struct ring r;
    CHECK(start(&r));
    r.desc[0] = desc_of(0x1000, 16, NEXT | WRITE, 1);
    r.desc[1] = desc_of(0x1000, 16, 0, 0);
    offer(&r, 0);
    CHECK(broken_by(&r, "a device-readable descriptor follows a device-writable one", 1, 0));
}

static void v2_7_5_2_4_gib(void)
{
    struct ring r;
    CHECK(start(&r));
    r.desc[0] = desc_of(0x1000, UINT32_MAX, NEXT, 1);
    r.desc[1] = desc_of(0x1000, 1, WRITE, 0);
    offer(&r, 0);
    CHECK(broken_by(&r, "a descriptor chain totals 4 GiB or more", UINT64_C(1) << 32, UINT32_MAX));
    CHECK(start(&r));
    r.desc[0] = desc_of(0x1000, UINT32_MAX, WRITE, 1);
    offer(&r, 0);
    CHECK(takes(&r, 0, 1));
}

static void v2_7_6_1_the_index_runs_ahead_or_back(void)
{
    static const int step[] = {NUM + 1, 32767, 32768, -1};
    for (size_t i = 0; i < via_array_len(step); i++) {
        struct ring r;
        CHECK(start(&r));
        via_shm_put16(&r.avail->idx, (uint16_t)(65533 + step[i]));
        CHECK(broken_by(&r, "the driver moved its available index by more than it has descriptors for", (uint16_t)step[i], NUM));
    }
}

/* What was popped, and what was pushed but not published, still holds the driver's descriptors. */
static void v2_7_6_more_chains_than_descriptors(void)
{
    struct ring r;
    struct via_chain c;
    CHECK(start(&r));
    for (uint16_t i = 0; i < NUM; i++)
        offer(&r, i);
    for (unsigned i = 0; i < NUM; i++)
        CHECK_EQ(take(&r, &c), VIA_POP_READY);
    for (uint16_t i = 0; i < 3; i++)
        via_dq_push(&r.dq, i, 0);
    CHECK_EQ(take(&r, &c), VIA_POP_EMPTY);
    offer(&r, 0);
    CHECK_EQ(take(&r, &c), -VIA_EPROTO);
    CHECK_EQ(r.dq.fault.got, 1);
    CHECK_EQ(r.dq.fault.limit, 0);
    /* What is in flight comes back all the same. */
    CHECK_EQ(r.dq.inflight, NUM - 3);
    for (uint16_t i = 3; i < NUM; i++)
        via_dq_push(&r.dq, i, 0);
    CHECK(via_dq_publish(&r.dq));
    CHECK_EQ(via_shm_get16(&r.used->idx), (uint16_t)(65533 + NUM));
    CHECK_EQ(r.dq.inflight, 0);
    ring_close(&r);
}

static void v2_7_5_3_1_indirect_not_negotiated(void)
{
    struct ring r;
    CHECK(start(&r));
    r.dq.cfg.indirect = false;
    r.desc[0] = desc_of(0x1000, 16, INDIRECT, 0);
    offer(&r, 0);
    CHECK(broken_by(&r, "a descriptor has INDIRECT, which was not negotiated", INDIRECT, 0));
}

static void v2_7_5_3_1_indirect_with_next(void)
{
    struct ring r;
    CHECK(start(&r));
    r.desc[0] = desc_of(0x1000, 16, INDIRECT | NEXT, 1);
    offer(&r, 0);
    CHECK(broken_by(&r, "a descriptor has both INDIRECT and NEXT", INDIRECT | NEXT, 0));
}

static void v2_7_5_3_1_a_table_in_a_table(void)
{
    struct ring r;
    CHECK(start(&r));
    r.desc[0] = desc_of(0x1000, 32, INDIRECT, 0);
    r.table[0] = desc_of(0x1000, 16, NEXT, 1);
    r.table[1] = desc_of(0x1000, 16, INDIRECT, 0);
    offer(&r, 0);
    CHECK(broken_by(&r, "a descriptor in an indirect table has INDIRECT", INDIRECT, 0));
}

static void v2_7_5_3_a_table_of_odd_length(void)
{
    static const uint32_t len[] = {0, 1, 15, 17, 16 * NUM - 1};
    for (size_t i = 0; i < via_array_len(len); i++) {
        struct ring r;
        CHECK(start(&r));
        r.desc[0] = desc_of(0x1000, len[i], INDIRECT, 0);
        offer(&r, 0);
        CHECK(broken_by(&r, "an indirect table's length is not a multiple of 16, or 0", len[i], 0));
    }
}

static void v2_7_5_3_1_a_table_longer_than_the_queue(void)
{
    static const uint32_t len[] = {16 * (NUM + 1), UINT32_MAX - 15};
    for (size_t i = 0; i < via_array_len(len); i++) {
        struct ring r;
        CHECK(start(&r));
        r.desc[0] = desc_of(0x1000, len[i], INDIRECT, 0);
        offer(&r, 0);
        CHECK(broken_by(&r, "an indirect table is longer than the queue", len[i] / 16, NUM));
    }
}

static void v2_7_5_3_a_next_outside_the_indirect_table(void)
{
    struct ring r;
    CHECK(start(&r));
    r.desc[0] = desc_of(0x1000, 32, INDIRECT, 0);
    r.table[0] = desc_of(0x1000, 16, NEXT, 2);
    r.table[2] = desc_of(0x1000, 16, 0, 0);
    offer(&r, 0);
    CHECK(broken_by(&r, "a descriptor index is outside its table", 2, 1));
}

static void v2_7_5_2_a_loop_in_a_table(void)
{
    struct ring r;
    CHECK(start(&r));
    r.desc[0] = desc_of(0x1000, 32, INDIRECT, 0);
    r.table[0] = desc_of(0x1000, 16, NEXT, 1);
    r.table[1] = desc_of(0x1000, 16, NEXT, 0);
    offer(&r, 0);
    CHECK(broken_by(&r, "a descriptor chain loops or is longer than the queue", NUM + 1, NUM));
}

/* Direct descriptors count, too: 2 and NUM - 1 in the table are one too many, 2 and NUM - 2 are a chain. */
static void v2_7_5_3_2_direct_descriptors_then_a_table(void)
{
    for (unsigned more = 0; more < 2; more++) {
        struct ring r;
        CHECK(start(&r));
        unsigned n = NUM - 2 + more;
        r.desc[6] = desc_of(0x1000, 16, NEXT, 2);
        r.desc[2] = desc_of(0x2000, 16, NEXT, 4);
        r.desc[4] = desc_of(0x3000, 16 * n, INDIRECT, 0);
        for (uint16_t i = 0; i < n; i++)
            r.table[i] = desc_of(0x4000 + i, 16, (i < n - 1 ? NEXT : 0) | (i ? WRITE : 0), i + 1);
        offer(&r, 6);
        if (more)
            CHECK(broken_by(&r, "a descriptor chain loops or is longer than the queue", NUM + 1, NUM));
        else
            CHECK(takes(&r, 3, NUM - 3));
    }
}

static void v2_7_4_2_readable_in_a_table_after_writable_before_it(void)
{
    struct ring r;
    CHECK(start(&r));
    r.desc[0] = desc_of(0x1000, 16, NEXT | WRITE, 1);
    r.desc[1] = desc_of(0x2000, 16, INDIRECT, 0);
    r.table[0] = desc_of(0x3000, 16, 0, 0);
    offer(&r, 0);
    CHECK(broken_by(&r, "a device-readable descriptor follows a device-writable one", 1, 0));
}

static void v2_7_5_3_2_write_beside_indirect_is_ignored(void)
{
    struct ring r;
    CHECK(start(&r));
    r.desc[0] = desc_of(0x1000, 16, INDIRECT | WRITE, 0);
    r.table[0] = desc_of(0x2000, 16, 0, 0);
    offer(&r, 0);
    CHECK(takes(&r, 1, 0));
}

/* The owner finds a chain's table outside the device's memory. */
static void an_owner_can_refuse_a_chain(void)
{
    struct ring r;
    struct via_chain c;
    CHECK(start(&r));
    r.desc[0] = desc_of(UINT64_MAX, 16, INDIRECT, 0);
    offer(&r, 0);
    c = ring_chain(&r);
    CHECK_EQ(via_dq_pop(&r.dq, &c), VIA_POP_TABLE);
    CHECK(c.table.addr.v == UINT64_MAX && c.table.len == 16);
    CHECK_EQ(via_dq_refuse(&r.dq, "nothing there", c.table.addr.v, 0), -VIA_EPROTO);
    CHECK(strcmp(r.dq.fault.what, "nothing there") == 0);
    CHECK_EQ(r.dq.inflight, 0);
    CHECK_EQ(via_dq_pop(&r.dq, &c), -VIA_EPROTO);
    ring_close(&r);
}

/* Only initialising it anew makes a broken queue work again. */
static void a_new_start_heals(void)
{
    struct ring r;
    struct via_chain c;
    CHECK(start(&r));
    offer(&r, 77);
    CHECK_EQ(take(&r, &c), -VIA_EPROTO);
    CHECK(ring_start(&r, 5));
    r.desc[0] = desc_of(0x1000, 16, 0, 0);
    offer(&r, 0);
    CHECK(takes(&r, 1, 0));
}

/* The chain that was popped is a copy: what the driver does to its descriptors then changes nothing. */
static void a_popped_chain_does_not_change(void)
{
    struct ring r;
    struct via_chain c;
    CHECK(start(&r));
    r.desc[0] = desc_of(0x1000, 16, 0, 0);
    offer(&r, 0);
    CHECK_EQ(take(&r, &c), VIA_POP_READY);
    r.desc[0] = desc_of(0x6666, 0x6666, WRITE, 0);
    CHECK(c.seg[0].addr.v == 0x1000 && c.seg[0].len == 16 && c.n_in == 0 && c.out_len == 16);
    ring_close(&r);
}

TAP_MAIN(TEST(v2_7_5_a_chain_as_long_as_the_queue), TEST(v2_7_5_2_a_loop), TEST(v2_7_5_2_a_loop_of_one),
         TEST(v2_7_6_a_head_outside_the_table), TEST(v2_7_5_a_next_outside_the_table), TEST(v2_7_5_a_next_without_its_flag_is_not_followed),
         TEST(v2_7_5_a_length_of_0), TEST(v2_7_4_2_readable_after_writable), TEST(v2_7_5_2_4_gib),
         TEST(v2_7_6_1_the_index_runs_ahead_or_back), TEST(v2_7_6_more_chains_than_descriptors), TEST(v2_7_5_3_1_indirect_not_negotiated),
         TEST(v2_7_5_3_1_indirect_with_next), TEST(v2_7_5_3_1_a_table_in_a_table), TEST(v2_7_5_3_a_table_of_odd_length),
         TEST(v2_7_5_3_1_a_table_longer_than_the_queue), TEST(v2_7_5_3_a_next_outside_the_indirect_table), TEST(v2_7_5_2_a_loop_in_a_table),
         TEST(v2_7_5_3_2_direct_descriptors_then_a_table), TEST(v2_7_4_2_readable_in_a_table_after_writable_before_it),
         TEST(v2_7_5_3_2_write_beside_indirect_is_ignored), TEST(an_owner_can_refuse_a_chain), TEST(a_new_start_heals),
         TEST(a_popped_chain_does_not_change))
