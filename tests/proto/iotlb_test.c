/* SPDX-License-Identifier: BSD-2-Clause */
/* Translations at the back-end's end: what it takes in, in which forms, while what else is going on, and what it asks for. */
#include <string.h>

#include <tap.h>

#include "talk.h"

static struct talk t;
static struct via_vu_iotlb got;

static struct via_vu_msg update(uint64_t iova, uint64_t size, uint64_t uva, unsigned perm)
{
    return msg_iotlb(VIA_VU_IOTLB_MSG, VIA_VU_IOTLB_UPDATE, iova, size, uva, perm);
}

static struct via_vu_msg invalidate(uint64_t iova, uint64_t size)
{
    return msg_iotlb(VIA_VU_IOTLB_MSG, VIA_VU_IOTLB_INVALIDATE, iova, size, 0, 0);
}

static bool reads(unsigned type, uint64_t iova, uint64_t size, uint64_t uva, unsigned perm)
{
    CHECK_OR_FALSE(talk_reply_u64(&t) == 0 && t.reply.request == VIA_VU_IOTLB_MSG);
    return got.type == type && got.iova == iova && got.size == size && got.uva == uva && got.perm == perm;
}

static void what_is_said_arrives(void)
{
    CHECK(talk_translated(&t, 0));
    for (unsigned perm = 1; perm <= 3; perm++) {
        CHECK_EQ(talk_iotlb(&t, update(0x1000, 0x3000, 0x7f0000001000, perm), &got), 0);
        CHECK(reads(VIA_VU_IOTLB_UPDATE, 0x1000, 0x3000, 0x7f0000001000, perm));
    }
    CHECK_EQ(talk_iotlb(&t, invalidate(0x1001, 1), &got), 0);
    CHECK(reads(VIA_VU_IOTLB_INVALIDATE, 0x1001, 1, 0, 0));
    const struct via_vu_msg edge[] = {update(UINT64_MAX, 1, UINT64_MAX, 1), update(0, UINT64_MAX, 1, 3), update(1, UINT64_MAX, 0, 3),
                                      update(UINT64_MAX - 0xfff, 0x1000, 0, 2)};
    for (unsigned i = 0; i < via_array_len(edge); i++)
        CHECK_EQ(talk_iotlb(&t, edge[i], &got), 0);
}

/* Both end with the last byte of something, one of them with the last of all: QEMU's VT-d leaves the interrupt range out of a flush. */
static void the_two_ranges_of_a_whole_domain(void)
{
    CHECK(talk_translated(&t, 0));
    CHECK_EQ(talk_iotlb(&t, invalidate(0, 0xfee00000), &got), 0);
    CHECK(reads(VIA_VU_IOTLB_INVALIDATE, 0, 0xfee00000, 0, 0));
    CHECK_EQ(talk_iotlb(&t, invalidate(0xfef00000, 0xffffffff01100000), &got), 0);
    CHECK(reads(VIA_VU_IOTLB_INVALIDATE, 0xfef00000, 0xffffffff01100000, 0, 0));
    CHECK_EQ(got.iova + (got.size - 1), UINT64_MAX);
    CHECK_EQ(talk_iotlb(&t, invalidate(0xfef00000, 0xffffffff01100001), &got), -VIA_EINVAL);
}

static void an_invalidation_is_nothing_but_a_range(void)
{
    CHECK(talk_translated(&t, 0));
    CHECK_EQ(talk_iotlb(&t, msg_iotlb(VIA_VU_IOTLB_MSG, VIA_VU_IOTLB_INVALIDATE, 0x1000, 0x1000, UINT64_MAX, 0xee), &got), 0);
    CHECK(reads(VIA_VU_IOTLB_INVALIDATE, 0x1000, 0x1000, 0, 0));
}

/* With the padding or without, asked for an answer or not, acknowledgements negotiated or not: it is answered. */
static void it_is_answered_in_each_form(void)
{
    for (uint32_t size = 0; size <= VIA_VU_PAYLOAD_MAX; size++)
        for (unsigned way = 0; way < 4; way++) {
            struct via_vu_msg m = update(0x5000, 0x1000, 0x9000, 1);
            m.size = size;
            CHECK(talk_translated(&t, way & 1 ? PF(REPLY_ACK) : 0));
            CHECK_EQ(talk_iotlb(&t, way & 2 ? msg_ask(m) : m, &got), size < 26 || size > 32 ? -VIA_EPROTO : 0);
            CHECK(t.b.broken ? talk_fault_has(&t.b.fault, "IOTLB_MSG: the payload")
                             : reads(VIA_VU_IOTLB_UPDATE, 0x5000, 0x1000, 0x9000, 1));
        }
}

struct lie {
    struct via_vu_msg m;
    const char *words;
};

static void what_makes_no_sense_is_refused(void)
{
    const struct lie lies[] = {
        {update(0x1000, 0, 0x1000, 3), "the range is empty"},
        {invalidate(0, 0), "the range is empty"},
        {update(UINT64_MAX, 2, 0, 3), "end of I/O virtual addresses"},
        {update(2, UINT64_MAX, 0, 3), "end of I/O virtual addresses"},
        {invalidate(UINT64_MAX, UINT64_MAX), "end of I/O virtual addresses"},
        {update(0, 2, UINT64_MAX, 3), "end of user addresses"},
        {update(0, 0x1000, 0x1000, 0), "no rights"},
        {update(0, 0x1000, 0x1000, 4), "unknown ones"},
        {update(0, 0x1000, 0x1000, 255), "unknown ones"},
        {msg_iotlb(VIA_VU_IOTLB_MSG, 0, 0, 1, 0, 1), "neither an update"},
        {msg_iotlb(VIA_VU_IOTLB_MSG, VIA_VU_IOTLB_MISS, 0, 1, 0, 1), "neither an update"},
        {msg_iotlb(VIA_VU_IOTLB_MSG, VIA_VU_IOTLB_ACCESS_FAIL, 0, 1, 0, 1), "neither an update"},
        {msg_iotlb(VIA_VU_IOTLB_MSG, 5, 0, 1, 0, 1), "neither an update"},
        {msg_iotlb(VIA_VU_IOTLB_MSG, 255, 0, 1, 0, 1), "neither an update"},
    };
    CHECK(talk_translated(&t, 0));
    for (unsigned i = 0; i < via_array_len(lies); i++) {
        CHECK_EQ(talk_iotlb(&t, lies[i].m, &got), -VIA_EINVAL);
        CHECK(talk_reply_u64(&t) == VIA_EINVAL && talk_fault_has(&t.b.fault, lies[i].words));
        CHECK_EQ(talk_iotlb(&t, invalidate(0x1000, 1), &got), 0); /* and life goes on */
        CHECK(reads(VIA_VU_IOTLB_INVALIDATE, 0x1000, 1, 0, 0));
    }
}

static void without_the_flag_there_is_nothing_to_translate(void)
{
    CHECK(talk_init(&t));
    CHECK_EQ(talk_iotlb(&t, invalidate(0, 1), &got), -VIA_ENOTSUP);
    CHECK(talk_ready(&t, 0));
    CHECK_EQ(talk_iotlb(&t, update(0, 1, 0, 1), &got), -VIA_ENOTSUP);
    CHECK(talk_reply_u64(&t) == VIA_ENOTSUP && talk_fault_has(&t.b.fault, "without ACCESS_PLATFORM"));
    CHECK(talk_translated(&t, 0));
    CHECK_EQ(talk(&t, msg_plain(VIA_VU_RESET_DEVICE)), VIA_BACK_RESET);
    CHECK_EQ(talk_iotlb(&t, update(0, 1, 0, 1), &got), -VIA_ENOTSUP);
}

static void breaches(void)
{
    struct via_vu_msg answer = invalidate(0, 1), fds = msg_raw(VIA_VU_IOTLB_MSG, answer.payload, 32, 1), huge = answer;
    answer.flags |= VIA_VU_FLAG_REPLY;
    huge.size = UINT32_MAX;
    const struct lie lies[] = {{answer, "only requests are due"}, {fds, "IOTLB_MSG: the wrong number"}, {huge, "IOTLB_MSG: the payload"}};
    for (unsigned i = 0; i < via_array_len(lies); i++)
        for (unsigned translated = 0; translated < 2; translated++) {
            CHECK(translated ? talk_translated(&t, 0) : talk_ready(&t, 0));
            CHECK_EQ(talk_iotlb(&t, lies[i].m, &got), -VIA_EPROTO);
            CHECK(talk_fault_has(&t.b.fault, lies[i].words));
            CHECK_EQ(talk_iotlb(&t, invalidate(0, 1), &got), -VIA_EPROTO);
            CHECK_EQ(talk(&t, msg_plain(VIA_VU_GET_FEATURES)), BROKEN);
        }
}

static const struct via_vu_region fine = {0x1000, 0x2000, 0x7f0000000000, 0};

/* Whatever is in hand: a translation comes and is answered, an absurd one, too, and what is in hand ends as if nothing had been. */
static void in_the_middle_of_anything(void)
{
    const struct via_vu_msg hand[] = {
        msg_state(VIA_VU_GET_VRING_BASE, 0, 0),          msg_ask(msg_table(1, 1, &fine)),           msg_u64(VIA_VU_SET_STATUS, 7),
        msg_ask(msg_plain(VIA_VU_RESET_DEVICE)),         msg_config(VIA_VU_GET_CONFIG, 0, 8, 0, 8), msg_ask(msg_raw(60, NULL, 5, 0)),
        msg_ask(msg_region(VIA_VU_REM_MEM_REG, fine, 0))};
    for (unsigned i = 0; i < via_array_len(hand); i++)
        for (unsigned way = 0; way < 4; way++) {
            struct via_vu_msg alone, m = hand[i];
            bool replied[2];
            struct via_fault fault[2];
            for (unsigned meanwhile = 0; meanwhile < 2; meanwhile++) {
                CHECK(talk_translated(&t, 0) && talk_start_ring(&t, 0, 7));
                CHECK_EQ(via_back_feed(&t.b, &m, &t.act), 0);
                const struct via_back_action act = *t.act;
                if (meanwhile) {
                    CHECK_EQ(talk_iotlb(&t, update(0x1000, 0x1000, 0x1000, 3), &got), 0);
                    CHECK(reads(VIA_VU_IOTLB_UPDATE, 0x1000, 0x1000, 0x1000, 3));
                    if (way & 1)
                        CHECK_EQ(talk_iotlb(&t, update(0, 0, 0, 0), &got), -VIA_EINVAL);
                }
                CHECK(t.b.busy && talk_untouched(&act, t.act, sizeof(act)));
                replied[meanwhile] = via_back_done(&t.b, way & 2 ? -VIA_EIO : 0, 99, &t.reply);
                fault[meanwhile] = t.b.fault;
                if (!meanwhile)
                    alone = t.reply;
            }
            CHECK(replied[0] == replied[1] && fault[0].what == fault[1].what && fault[0].got == fault[1].got);
            CHECK(!replied[0] || talk_untouched(&alone, &t.reply, sizeof(alone)));
        }
}

static void a_breach_in_the_middle_of_something(void)
{
    struct via_vu_msg stop = msg_state(VIA_VU_GET_VRING_BASE, 0, 0), bad = invalidate(0, 1);
    bad.size = 8;
    CHECK(talk_translated(&t, 0) && talk_start_ring(&t, 0, 7));
    CHECK_EQ(via_back_feed(&t.b, &stop, &t.act), 0);
    CHECK_EQ(talk_iotlb(&t, bad, &got), -VIA_EPROTO);
    CHECK(!via_back_done(&t.b, 0, 9, &t.reply)); /* nobody is told, and the ring has stopped all the same */
    CHECK(t.b.broken && !t.b.busy && !t.b.ring[0].started && talk_fault_has(&t.b.fault, "IOTLB_MSG: the payload"));
    CHECK_EQ(talk(&t, msg_plain(VIA_VU_GET_FEATURES)), BROKEN);
}

static void misses_are_asked_for(void)
{
    const enum via_vu_iotlb_type what[] = {VIA_VU_IOTLB_MISS, VIA_VU_IOTLB_ACCESS_FAIL};
    CHECK(talk_translated(&t, 0));
    for (unsigned i = 0; i < via_array_len(what); i++)
        for (unsigned perm = 1; perm <= 3; perm++)
            for (unsigned ask = 0; ask < 2; ask++) {
                struct via_vu_msg m;
                const uint64_t bytes[4] = {0x123456789abcdef0, 0, 0, (uint64_t)what[i] << 8 | perm};
                via_back_iotlb_event(&t.b, &m, what[i], (via_iova){bytes[0]}, perm, ask);
                CHECK(m.request == VIA_VU_BACK_IOTLB_MSG && m.flags == (ask ? 9 : 1) && m.size == 32 && m.nfd == 0);
                CHECK(memcmp(m.payload, bytes, 32) == 0);
            }
}

static struct via_vu_msg answered(uint32_t request, uint64_t v)
{
    struct via_vu_msg m = msg_u64(request, v);
    m.flags |= VIA_VU_FLAG_REPLY;
    return m;
}

static void answers_to_misses(void)
{
    uint64_t value;
    struct via_vu_msg m;
    CHECK(talk_translated(&t, 0) && talk_start_ring(&t, 0, 7));
    m = msg_state(VIA_VU_GET_VRING_BASE, 0, 0);
    CHECK_EQ(via_back_feed(&t.b, &m, &t.act), 0); /* and while an action is out */
    for (uint64_t v = 0; v < 3; v++) {
        m = answered(VIA_VU_BACK_IOTLB_MSG, v);
        CHECK_EQ(via_back_feed_answer(&t.b, &m, &value), 0);
        CHECK_EQ(value, v);
    }
    CHECK(via_back_done(&t.b, 0, 9, &t.reply));

    struct via_vu_msg bad[8] = {msg_u64(VIA_VU_BACK_IOTLB_MSG, 0), answered(VIA_VU_BACK_CONFIG_CHANGE, 0), answered(VIA_VU_IOTLB_MSG, 0)};
    const char *words[8] = {"not marked", "asks for none", "asks for none"};
    for (unsigned i = 3; i < 7; i++) {
        bad[i] = answered(VIA_VU_BACK_IOTLB_MSG, 0);
        bad[i].size = (const uint32_t[]){0, 7, 32, UINT32_MAX}[i - 3];
        words[i] = "wrong size";
    }
    bad[7] = answered(VIA_VU_BACK_IOTLB_MSG, 0);
    bad[7].nfd = 1;
    words[7] = "file descriptors";
    for (unsigned i = 0; i < via_array_len(bad); i++) {
        CHECK(talk_translated(&t, 0));
        CHECK_EQ(via_back_feed_answer(&t.b, &bad[i], &value), -VIA_EPROTO);
        CHECK(t.b.broken && talk_fault_has(&t.b.fault, words[i]));
        m = answered(VIA_VU_BACK_IOTLB_MSG, 0);
        CHECK_EQ(via_back_feed_answer(&t.b, &m, &value), -VIA_EPROTO);
    }
}

TAP_MAIN(TEST(what_is_said_arrives), TEST(the_two_ranges_of_a_whole_domain), TEST(an_invalidation_is_nothing_but_a_range),
         TEST(it_is_answered_in_each_form), TEST(what_makes_no_sense_is_refused), TEST(without_the_flag_there_is_nothing_to_translate),
         TEST(breaches), TEST(in_the_middle_of_anything), TEST(a_breach_in_the_middle_of_something), TEST(misses_are_asked_for),
         TEST(answers_to_misses))
