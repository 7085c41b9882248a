/* SPDX-License-Identifier: BSD-2-Clause */
/* Translations at the front-end's end: which answer is whose, what a back-end may ask for, and what it may not. */
#include <string.h>

#include <tap.h>

#include "talk.h"

static struct via_front f;
static struct via_vu_msg m;

static const struct via_vu_iotlb update = {0x1000, 0x3000, 0x7f0000001000, 3, VIA_VU_IOTLB_UPDATE},
                                 wide = {0xfef00000, 0xffffffff01100000, 0, 0, VIA_VU_IOTLB_INVALIDATE};

static void negotiate(uint64_t features, uint64_t protocol)
{
    via_front_init(&f);
    via_front_set_u64(&f, &m, VIA_VU_SET_FEATURES, features);
    via_front_set_u64(&f, &m, VIA_VU_SET_PROTOCOL_FEATURES, protocol);
}

static struct via_vu_msg answer(struct via_vu_msg a)
{
    a.flags |= VIA_VU_FLAG_REPLY;
    return a;
}

static int takes(struct via_vu_msg a) { return via_front_feed(&f, &a); }

static void composes(void)
{
    const uint64_t protocol[] = {0, ALL_PROTOCOL};
    for (unsigned i = 0; i < via_array_len(protocol); i++) {
        const uint64_t up[4] = {0x1000, 0x3000, 0x7f0000001000, 0x0203}, inv[4] = {0xfef00000, 0xffffffff01100000, 0, 0x0300};
        negotiate(VERSION_1 | PLATFORM, protocol[i]);
        via_front_iotlb(&f, &m, &update);
        CHECK(m.request == 22 && m.flags == 9 && m.size == 32 && m.nfd == 0 && memcmp(m.payload, up, 32) == 0);
        CHECK(f.iotlb_due == 1 && !via_front_awaits(&f));
        via_front_iotlb(&f, &m, &wide);
        CHECK(m.flags == 9 && m.size == 32 && memcmp(m.payload, inv, 32) == 0 && f.iotlb_due == 2);
    }
}

/* Three translations are out and a ring's stop; the answer to the stop comes after any number of theirs. */
static void answers_are_told_apart(void)
{
    for (unsigned at = 0; at <= 3; at++)
        for (unsigned asked = 0; asked <= 3; asked++) {
            negotiate(VERSION_1 | PLATFORM, ALL_PROTOCOL);
            for (unsigned i = 0; i < 3; i++) {
                if (i == asked)
                    via_front_ring_state(&f, &m, VIA_VU_GET_VRING_BASE, 1, 0);
                via_front_iotlb(&f, &m, i == 1 ? &wide : &update);
            }
            if (asked == 3)
                via_front_ring_state(&f, &m, VIA_VU_GET_VRING_BASE, 1, 0);
            for (unsigned i = 0, due = 3; i < 4; i++) {
                uint64_t value = f.value;
                CHECK_EQ(takes(answer(i == at ? msg_state(VIA_VU_GET_VRING_BASE, 1, 77) : msg_u64(VIA_VU_IOTLB_MSG, 0))), 0);
                due -= i != at;
                CHECK(f.iotlb_due == due && via_front_awaits(&f) == (i < at) && f.value == (i == at ? 77 : value));
            }
            CHECK_EQ(takes(answer(msg_u64(VIA_VU_IOTLB_MSG, 0))), -VIA_EPROTO);
            CHECK(f.broken && talk_fault_has(&f.fault, "nothing was asked"));
        }
}

static void a_failure_is_that_of_its_message(void)
{
    negotiate(VERSION_1 | PLATFORM, ALL_PROTOCOL);
    via_front_iotlb(&f, &m, &update);
    via_front_iotlb(&f, &m, &wide);
    via_front_get(&f, &m, VIA_VU_GET_STATUS);
    CHECK_EQ(takes(answer(msg_u64(VIA_VU_IOTLB_MSG, 22))), -VIA_EIO);
    CHECK(!f.broken && f.iotlb_due == 1 && via_front_awaits(&f) && f.fault.got == 22 && talk_fault_has(&f.fault, "IOTLB_MSG failed"));
    CHECK_EQ(takes(answer(msg_u64(VIA_VU_GET_STATUS, 15))), 0);
    CHECK(f.value == 15 && !f.fault.what);
    CHECK_EQ(takes(answer(msg_u64(VIA_VU_IOTLB_MSG, UINT64_MAX))), -VIA_EIO);
    CHECK(f.value == 15 && f.fault.got == UINT64_MAX && f.iotlb_due == 0);
}

static void lies(void)
{
    const struct via_vu_msg ok = answer(msg_u64(VIA_VU_IOTLB_MSG, 0));
    const struct {
        struct via_vu_msg m;
        const char *alone, *beside; /* a GET_STATUS that is out */
    } lie[] = {
        {msg_u64(VIA_VU_IOTLB_MSG, 0), "not marked", "not marked"},
        {talk_sized(ok, 0), "wrong size", "wrong size"},
        {talk_sized(ok, 32), "wrong size", "wrong size"},
        {talk_sized(ok, UINT32_MAX), "wrong size", "wrong size"},
        {talk_with_fd(ok), "file descriptors", "file descriptors"},
        {answer(msg_u64(VIA_VU_GET_FEATURES, 0)), "another request", "another request"},
        {answer(msg_u64(0, 0)), "another request", "another request"},
    };
    for (unsigned i = 0; i < via_array_len(lie); i++)
        for (unsigned beside = 0; beside < 2; beside++) {
            negotiate(VERSION_1 | PLATFORM, ALL_PROTOCOL);
            via_front_iotlb(&f, &m, &update);
            if (beside)
                via_front_get(&f, &m, VIA_VU_GET_STATUS);
            CHECK_EQ(takes(lie[i].m), -VIA_EPROTO);
            CHECK(f.broken && talk_fault_has(&f.fault, beside ? lie[i].beside : lie[i].alone));
            CHECK_EQ(takes(ok), -VIA_EPROTO);
        }
    negotiate(VERSION_1 | PLATFORM, ALL_PROTOCOL); /* none is out, something else is */
    via_front_get(&f, &m, VIA_VU_GET_STATUS);
    CHECK_EQ(takes(ok), -VIA_EPROTO);
    CHECK(talk_fault_has(&f.fault, "another request"));
}

/* Each type with each right: two types and three rights are all there is. */
static void misses_of_all_kinds(void)
{
    struct via_vu_iotlb got;
    struct via_vu_msg reply;
    negotiate(VERSION_1 | PLATFORM, ALL_PROTOCOL);
    for (unsigned type = 0; type < 256; type++)
        for (unsigned perm = 0; perm < 256; perm++) {
            bool right = perm >= 1 && perm <= 3;
            int want = right && type == 1 ? VIA_FRONT_MISS : right && type == 4 ? VIA_FRONT_ACCESS_FAIL : VIA_FRONT_UNKNOWN;
            m = msg_ask(msg_iotlb(VIA_VU_BACK_IOTLB_MSG, type, 0xabc000, 5, 6, perm));
            CHECK_EQ(via_front_feed_back_req(&f, &m, &got), want);
            CHECK(!want || (got.iova == 0xabc000 && got.size == 0 && got.uva == 0 && got.perm == perm && got.type == type));
            CHECK(via_front_back_done(&f, &m, 0, &reply));
            CHECK(reply.request == 1 && reply.flags == 5 && reply.size == 8 && reply.payload[0] == (want ? 0 : VIA_ENOTSUP));
        }
    CHECK(!f.broken);
}

static void verdicts_on_misses(void)
{
    struct via_vu_iotlb got;
    struct via_vu_msg reply;
    for (unsigned way = 0; way < 8; way++) {
        bool ask = way & 1, negotiated = way & 2, translated = way & 4;
        negotiate(VERSION_1 | (translated ? PLATFORM : 0), negotiated ? ALL_PROTOCOL : 0);
        m = msg_iotlb(VIA_VU_BACK_IOTLB_MSG, VIA_VU_IOTLB_MISS, 0x1000, 0, 0, 1);
        m = ask ? msg_ask(m) : m;
        CHECK_EQ(via_front_feed_back_req(&f, &m, &got), translated ? VIA_FRONT_MISS : VIA_FRONT_UNKNOWN);
        CHECK_EQ(via_front_back_done(&f, &m, -VIA_ENOENT, &reply), ask && negotiated);
        CHECK(!(ask && negotiated) || reply.payload[0] == (translated ? VIA_ENOENT : VIA_ENOTSUP));
        CHECK_EQ(via_front_back_done(&f, &m, 0, &reply), ask && negotiated);
        CHECK(!(ask && negotiated) || reply.payload[0] == (translated ? 0 : VIA_ENOTSUP));
    }
}

static void breaches_on_the_back_ends_channel(void)
{
    const struct via_vu_msg miss = msg_iotlb(VIA_VU_BACK_IOTLB_MSG, VIA_VU_IOTLB_MISS, 0x1000, 0, 0, 1);
    struct via_vu_iotlb got;
    for (uint32_t size = 0; size <= VIA_VU_PAYLOAD_MAX; size++) {
        negotiate(VERSION_1 | PLATFORM, ALL_PROTOCOL);
        m = talk_sized(miss, size);
        bool good = size >= 26 && size <= 32;
        CHECK_EQ(via_front_feed_back_req(&f, &m, &got), good ? (int)VIA_FRONT_MISS : -VIA_EPROTO);
        CHECK(f.broken == !good && (good || talk_fault_has(&f.fault, "BACKEND_IOTLB_MSG: the payload")));
    }
    const struct via_vu_msg bad[] = {answer(miss), talk_with_fd(miss)};
    const char *words[] = {"where nothing was asked", "BACKEND_IOTLB_MSG: file descriptors"};
    for (unsigned i = 0; i < via_array_len(bad); i++) {
        negotiate(VERSION_1 | PLATFORM, ALL_PROTOCOL);
        CHECK_EQ(via_front_feed_back_req(&f, &bad[i], &got), -VIA_EPROTO);
        CHECK(f.broken && talk_fault_has(&f.fault, words[i]));
        CHECK_EQ(via_front_feed_back_req(&f, &miss, &got), -VIA_EPROTO);
    }
}

TAP_MAIN(TEST(composes), TEST(answers_are_told_apart), TEST(a_failure_is_that_of_its_message), TEST(lies), TEST(misses_of_all_kinds),
         TEST(verdicts_on_misses), TEST(breaches_on_the_back_ends_channel))
