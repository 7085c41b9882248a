/* SPDX-License-Identifier: BSD-2-Clause */
/* What a device must not answer, each lie by itself; what a driver must not ask; and what remains when a device has died. */
#include "ring_mem.h"

#define NUM 8u

/* Two chains are outstanding: token 0 has 1 readable and 2 writable segments (96 bytes), token 1 just 1 readable one. */
static char token[NUM + 1];

static bool start(struct ring *r, unsigned indirect_len)
{
    static const struct via_seg seg[3] = {{{0x1000}, 16}, {{0x2000}, 32}, {{0x3000}, 64}};
    CHECK_OR_FALSE(ring_open(r, NUM, indirect_len, false, 65533));
    CHECK_OR_FALSE(via_vq_add(&r->vq, seg, 1, 2, &token[0]) == 0);
    CHECK_OR_FALSE(via_vq_add(&r->vq, seg, 1, 0, &token[1]) == 0);
    CHECK_OR_FALSE(via_vq_publish(&r->vq));
    return true;
}

static uint16_t head_of(const struct ring *r, unsigned i) { return via_shm_get16(&r->avail->ring[(65533 + i) % NUM]); }

static void answer(struct ring *r, uint32_t id, uint32_t len)
{
    uint16_t idx = via_shm_get16(&r->used->idx);
    via_shm_put32(&r->used->ring[idx % NUM].id, id);
    via_shm_put32(&r->used->ring[idx % NUM].len, len);
    via_shm_put16_release(&r->used->idx, (uint16_t)(idx + 1));
}

static bool broken_by(struct ring *r, const char *what, uint64_t got, uint64_t limit)
{
    struct via_used_chain u;
    struct via_seg seg = {{0x1000}, 1};
    unsigned inflight = r->vq.inflight, back = 0;
    CHECK_OR_FALSE(via_vq_reap(&r->vq, &u) == -VIA_EPROTO);
    CHECK_OR_FALSE(r->vq.fault.what && strcmp(r->vq.fault.what, what) == 0);
    CHECK_OR_FALSE(r->vq.fault.got == got && r->vq.fault.limit == limit);
    CHECK_OR_FALSE(via_vq_reap(&r->vq, &u) == -VIA_EPROTO && via_vq_add(&r->vq, &seg, 1, 0, token) == -VIA_EPROTO);
    CHECK_OR_FALSE(!via_vq_publish(&r->vq) && !via_vq_arm(&r->vq));
    while (via_vq_detach(&r->vq))
        back++;
    CHECK_OR_FALSE(back == inflight && r->vq.free_count == NUM);
    ring_close(r);
    return true;
}

static void v2_7_8_2_lengths_up_to_the_writable_bytes(void)
{
    for (uint32_t len = 0; len <= 96; len++) {
        struct ring r;
        struct via_used_chain u;
        CHECK(start(&r, len % 2 ? 3 : 0));
        answer(&r, head_of(&r, 1), 0);
        answer(&r, head_of(&r, 0), len);
        CHECK_EQ(via_vq_reap(&r.vq, &u), 1);
        CHECK(u.token == &token[1] && u.written == 0);
        CHECK_EQ(via_vq_reap(&r.vq, &u), 1);
        CHECK(u.token == &token[0] && u.written == len);
        CHECK_EQ(via_vq_reap(&r.vq, &u), 0);
        ring_close(&r);
    }
}

static void v2_7_8_3_any_length_of_a_legacy_device(void)
{
    static const uint32_t lengths[] = {0, 96, 97, UINT32_MAX};
    for (unsigned i = 0; i < via_array_len(lengths); i++) {
        struct ring r;
        struct via_used_chain u;
        CHECK(start(&r, 0));
        r.vq.cfg.any_written = true;
        answer(&r, head_of(&r, 0), lengths[i]);
        CHECK_EQ(via_vq_reap(&r.vq, &u), 1);
        CHECK(u.token == &token[0] && u.written == (i ? 96 : 0));
        ring_close(&r);
    }
}

static void v2_7_8_2_a_length_beyond_the_writable_bytes(void)
{
    struct ring r;
    CHECK(start(&r, 0));
    answer(&r, head_of(&r, 0), 97);
    CHECK(broken_by(&r, "the device claims to have written more than it may", 97, 96));
    CHECK(start(&r, 3));
    answer(&r, head_of(&r, 0), UINT32_MAX);
    CHECK(broken_by(&r, "the device claims to have written more than it may", UINT32_MAX, 96));
    CHECK(start(&r, 0));
    answer(&r, head_of(&r, 1), 1);
    CHECK(broken_by(&r, "the device claims to have written more than it may", 1, 0));
}

static void v2_7_8_an_id_outside_the_queue(void)
{
    static const uint32_t id[] = {NUM, 65535, 65536, UINT32_MAX};
    for (size_t i = 0; i < via_array_len(id); i++) {
        struct ring r;
        CHECK(start(&r, 0));
        answer(&r, id[i], 0);
        CHECK(broken_by(&r, "the device used an id that the queue does not have", id[i], NUM - 1));
    }
}

static void v2_7_8_an_id_twice(void)
{
    struct ring r;
    struct via_used_chain u;
    CHECK(start(&r, 0));
    uint16_t id = head_of(&r, 0);
    answer(&r, id, 96);
    answer(&r, id, 96);
    CHECK_EQ(via_vq_reap(&r.vq, &u), 1);
    CHECK(broken_by(&r, "the device used an id that is not outstanding", id, 0));
}

static void v2_7_8_an_id_within_a_chain(void)
{
    struct ring r;
    CHECK(start(&r, 0));
    uint16_t id = via_shm_get16(&r.desc[head_of(&r, 0)].next);
    answer(&r, id, 0);
    CHECK(broken_by(&r, "the device used an id that is not outstanding", id, 0));
}

static void v2_7_8_an_id_that_is_free(void)
{
    struct ring r;
    CHECK(start(&r, 0));
    answer(&r, NUM - 1, 0);
    CHECK(broken_by(&r, "the device used an id that is not outstanding", NUM - 1, 0));
}

/* A device that looks at the table can guess a chain that it was not shown. Its buffers must not be given back before it is. */
static void v2_7_13_an_id_that_was_not_published(void)
{
    struct ring r;
    struct via_seg seg = {{0x4000}, 8};
    CHECK(start(&r, 0));
    CHECK_EQ(via_vq_add(&r.vq, &seg, 1, 0, &token[2]), 0);
    uint16_t id = head_of(&r, 2);
    answer(&r, id, 0);
    CHECK(broken_by(&r, "the device used an id that is not outstanding", id, 0));
}

static void v2_7_8_the_index_runs_ahead_or_back(void)
{
    static const int step[] = {3, 32767, 32768, -1};
    for (size_t i = 0; i < via_array_len(step); i++) {
        struct ring r;
        struct via_seg seg = {{0x4000}, 8};
        CHECK(start(&r, 0));
        CHECK_EQ(via_vq_add(&r.vq, &seg, 1, 0, &token[2]), 0); /* not published, so it does not count */
        via_shm_put16(&r.used->idx, (uint16_t)(65533 + step[i]));
        CHECK(broken_by(&r, "the device moved its used index by more than is outstanding", (uint16_t)step[i], 2));
    }
}

/* What the device scribbles over the descriptors that it was shown does not reach the driver's own state. */
static void v2_7_5_1_a_device_that_writes_descriptors(void)
{
    struct ring r;
    struct via_used_chain u;
    struct via_seg seg[NUM];
    CHECK(start(&r, 0));
    uint16_t id = head_of(&r, 0), other = head_of(&r, 1);
    memset(r.desc, 0xff, NUM * sizeof(*r.desc));
    memset(r.avail, 0xff, via_split_avail_bytes(NUM));
    answer(&r, id, 96);
    answer(&r, other, 0);
    CHECK_EQ(via_vq_reap(&r.vq, &u), 1);
    CHECK_EQ(via_vq_reap(&r.vq, &u), 1);
    for (unsigned i = 0; i < NUM; i++)
        seg[i] = (struct via_seg){{0x5000 + i}, 1};
    CHECK_EQ(via_vq_add(&r.vq, seg, NUM, 0, token), 0);
    (void)!via_vq_publish(&r.vq);
    CHECK_EQ(via_shm_get16(&r.avail->idx), (uint16_t)(65533 + 3));
    struct via_chain c = ring_chain(&r);
    r.dq.avail_idx = r.dq.avail_seen = (uint16_t)(65533 + 2);
    CHECK_EQ(via_dq_pop(&r.dq, &c), VIA_POP_READY);
    CHECK_EQ(c.n_out, NUM);
    CHECK(c.seg[NUM - 1].addr.v == 0x5000 + NUM - 1);
    ring_close(&r);
}

static void what_add_refuses(void)
{
    struct ring r;
    struct via_seg seg[NUM + 1];
    for (unsigned i = 0; i <= NUM; i++)
        seg[i] = (struct via_seg){{0x1000}, 0x20000000};
    CHECK(ring_open(&r, NUM, 4, false, 0));
    CHECK_EQ(via_vq_add(&r.vq, seg, 0, 0, token), -VIA_E2BIG);
    CHECK_EQ(via_vq_add(&r.vq, seg, NUM, 1, token), -VIA_E2BIG);
    CHECK_EQ(via_vq_add(&r.vq, seg, UINT_MAX, 2, token), -VIA_E2BIG);
    CHECK_EQ(via_vq_add(&r.vq, seg, 3, UINT_MAX - 1, token), -VIA_E2BIG);
    CHECK_EQ(via_vq_add(&r.vq, seg, 4, 4, token), -VIA_E2BIG); /* 2^32 bytes */
    seg[7].len--;
    CHECK_EQ(via_vq_add(&r.vq, seg, 4, 4, token), 0);
    CHECK_EQ(via_vq_add(&r.vq, seg, 1, 0, token), -VIA_EAGAIN);
    seg[1].len = 0;
    CHECK_EQ(via_vq_add(&r.vq, seg, 1, 1, token), -VIA_EINVAL);
    CHECK_EQ(r.vq.inflight, 1);
    CHECK_EQ(via_shm_get16(&r.avail->idx), 0);
    ring_close(&r);
}

/* 2.7.5.3.1, 2.7.13.1: what the device finds, word by word. */
static void v2_7_13_1_descriptors_as_written(void)
{
    struct ring r;
    struct via_seg seg[3] = {{{0x1111}, 16}, {{0x2222}, 32}, {{0x3333}, 64}};
    for (unsigned indirect = 0; indirect < 2; indirect++) {
        CHECK(ring_open(&r, NUM, indirect ? 3 : 0, false, 0));
        CHECK_EQ(via_vq_add(&r.vq, seg, 1, 0, token), 0);                            /* so that the next one is not the first */
        CHECK_EQ(via_shm_get16(&r.desc[via_shm_get16(&r.avail->ring[0])].flags), 0); /* one segment needs no table */
        CHECK_EQ(via_vq_add(&r.vq, seg, 1, 2, token), 0);
        uint16_t head = via_shm_get16(&r.avail->ring[1]), at = head;
        const struct via_desc *d = r.desc;
        if (indirect) {
            CHECK_EQ(via_shm_get16(&d[head].flags), VIA_DESC_F_INDIRECT);
            CHECK_EQ(via_shm_get32(&d[head].len), 48);
            CHECK_EQ(via_shm_get64(&d[head].addr), TABLES_AT + head * 48);
            d = r.table + head * 3;
            at = 0;
        }
        for (unsigned i = 0; i < 3; i++) {
            CHECK_EQ(via_shm_get64(&d[at].addr), seg[i].addr.v);
            CHECK_EQ(via_shm_get32(&d[at].len), seg[i].len);
            CHECK_EQ(via_shm_get16(&d[at].flags), (i ? VIA_DESC_F_WRITE : 0) | (i < 2 ? VIA_DESC_F_NEXT : 0));
            at = via_shm_get16(&d[at].next);
            CHECK(at < NUM && (!indirect || i == 2 || at == i + 1));
        }
        ring_close(&r);
    }
}

static void detach_hands_each_token_out_once(void)
{
    for (unsigned indirect = 0; indirect < 2; indirect++) {
        struct ring r;
        struct via_used_chain u;
        struct via_seg seg[2] = {{{0x1000}, 1}, {{0x2000}, 1}};
        unsigned seen[NUM] = {0}, n = indirect ? NUM : NUM / 2;
        CHECK(ring_open(&r, NUM, indirect ? 2 : 0, true, 65533));
        for (unsigned i = 0; i < n; i++) {
            CHECK_EQ(via_vq_add(&r.vq, seg, 1, 1, &token[i]), 0);
            if (i != n - 1) /* the last one never reached the device */
                (void)!via_vq_publish(&r.vq);
        }
        answer(&r, head_of(&r, 1), 1);
        CHECK_EQ(via_vq_reap(&r.vq, &u), 1);
        CHECK(u.token == &token[1]);
        for (char *t; (t = via_vq_detach(&r.vq));)
            seen[t - token]++;
        for (unsigned i = 0; i < n; i++)
            CHECK_EQ(seen[i], i != 1);
        CHECK(!via_vq_detach(&r.vq));
        CHECK_EQ(via_vq_inflight(&r.vq), 0);
        CHECK_EQ(via_vq_add(&r.vq, seg, 1, 1, token), -VIA_EPROTO);
        ring_close(&r);
    }
}

TAP_MAIN(TEST(v2_7_8_2_lengths_up_to_the_writable_bytes), TEST(v2_7_8_3_any_length_of_a_legacy_device),
         TEST(v2_7_8_2_a_length_beyond_the_writable_bytes), TEST(v2_7_8_an_id_outside_the_queue), TEST(v2_7_8_an_id_twice),
         TEST(v2_7_8_an_id_within_a_chain), TEST(v2_7_8_an_id_that_is_free), TEST(v2_7_13_an_id_that_was_not_published),
         TEST(v2_7_8_the_index_runs_ahead_or_back), TEST(v2_7_5_1_a_device_that_writes_descriptors), TEST(what_add_refuses),
         TEST(v2_7_13_1_descriptors_as_written), TEST(detach_hands_each_token_out_once))
