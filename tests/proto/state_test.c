/* SPDX-License-Identifier: BSD-2-Clause */
/* Saved states: the very bytes, damage wherever it may be, and states that no device can be in, each with its sentence. */
#include <string.h>

#include <tap.h>
#include <viaduct/state.h>

#include "talk.h"

#define SUM_AT 16u
#define QUEUE_AT 56u
#define CONFIG_AT (QUEUE_AT + 2 * 32u)

/* By a writer of its own: version 1 of a block device that was given one of its two queues. */
static const uint8_t golden[125] = {
    0x76, 0x69, 0x61, 0x64, 0x75, 0x63, 0x74, 0x1a, 0x01, 0x00, 0x00, 0x00, 0x7d, 0x00, 0x00, 0x00, 0xd8, 0xac, 0xdf, 0x83, 0x02,
    0x00, 0x00, 0x00, 0x40, 0x02, 0x00, 0x30, 0x03, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x02, 0x00,
    0x05, 0x00, 0x0f, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, 0x00, 0x01, 0x00, 0xfe, 0xff, 0xfe,
    0xff, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x08, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x01, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09, 0x08, 0x07, 0x06, 0x05,
};

static struct via_state example(void)
{
    return (struct via_state){
        .device = 2,
        .offered = 0x330000240,
        .features = 0x300000200,
        .status = 15,
        .config_len = 5,
        .config = {9, 8, 7, 6, 5},
        .queues = 2,
        .queue = {{128, true, 0xfffe, 0xfffe, 0x10000, 0x10800, 0x11000}},
    };
}

/* What a hostile writer can do: the sum is right. */
static void seal(uint8_t *bytes, size_t len)
{
    uint32_t sum = UINT32_MAX;
    memset(bytes + SUM_AT, 0, 4);
    for (size_t i = 0; i < len; i++) {
        sum ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            sum = (sum >> 1) ^ ((sum & 1) * 0x82f63b78u);
    }
    for (int i = 0; i < 4; i++)
        bytes[SUM_AT + i] = (uint8_t)(~sum >> 8 * i);
}

/* Refused so, for this reason, with nothing changed; and what is refused as a state isn't saved as one either. */
static bool refused(const void *bytes, size_t len, int result, const char *words)
{
    static struct via_state s;
    struct via_fault why = {0};
    memset(&s, 0x5a, sizeof(s));
    CHECK_OR_FALSE(via_state_decode(&s, bytes, len, &why) == result);
    for (size_t i = 0; i < sizeof(s); i++)
        CHECK_OR_FALSE(((const uint8_t *)&s)[i] == 0x5a);
    if (talk_fault_has(&why, words))
        return true;
    tap_note(why.what);
    return false;
}

/* What was read is written as the same bytes again. */
static bool there_and_back(const uint8_t *bytes, size_t len)
{
    static struct via_state s;
    uint8_t again[VIA_STATE_BYTES_MAX];
    struct via_fault why = {0};
    CHECK_OR_FALSE(via_state_decode(&s, bytes, len, &why) == 0);
    CHECK_OR_FALSE(via_state_encode(&s, again, sizeof(again), &why) == (int)len);
    return memcmp(bytes, again, len) == 0;
}

static void the_very_bytes(void)
{
    uint8_t bytes[VIA_STATE_BYTES_MAX];
    struct via_state s = example(), got;
    struct via_fault why = {0};
    CHECK_EQ(via_state_encode(&s, bytes, sizeof(golden), &why), sizeof(golden));
    CHECK(memcmp(bytes, golden, sizeof(golden)) == 0);
    CHECK(there_and_back(golden, sizeof(golden)));
    CHECK_EQ(via_state_decode(&got, golden, sizeof(golden), &why), 0);
    CHECK(got.queue[0].enabled && got.queue[0].used == 0x11000 && got.config[4] == 5 && got.status == 15);
    CHECK_EQ(via_state_encode(&s, bytes, sizeof(golden) - 1, &why), -VIA_ENOSPC);
    CHECK(talk_fault_has(&why, "more room"));
}

static void the_largest_and_the_smallest(void)
{
    static struct via_state s;
    uint8_t bytes[VIA_STATE_BYTES_MAX];
    struct via_fault why = {0};
    s = (struct via_state){.queues = VIA_STATE_QUEUES_MAX, .config_len = VIA_STATE_CONFIG_MAX, .status = 3};
    for (unsigned i = 0; i < VIA_STATE_QUEUES_MAX; i++)
        s.queue[i] = (struct via_state_queue){VIA_RING_NUM_MAX, i % 2, (uint16_t)i, (uint16_t)i, UINT64_MAX - (16u << 15) + 1, 2, 4 * i};
    memset(s.config, 0xa5, sizeof(s.config));
    CHECK_EQ(via_state_encode(&s, bytes, sizeof(bytes), &why), VIA_STATE_BYTES_MAX);
    CHECK(there_and_back(bytes, sizeof(bytes)));
    s = (struct via_state){0};
    CHECK_EQ(via_state_encode(&s, bytes, sizeof(bytes), &why), QUEUE_AT);
    CHECK(there_and_back(bytes, QUEUE_AT));
}

static void damage_is_found(void)
{
    uint8_t bytes[sizeof(golden) + 1] = {0};
    struct via_state s;
    for (size_t len = 0; len < sizeof(golden); len++)
        CHECK(refused(golden, len, -VIA_EINVAL, len < QUEUE_AT ? "not even its head" : "truncated"));
    memcpy(bytes, golden, sizeof(golden));
    CHECK(refused(bytes, sizeof(bytes), -VIA_EINVAL, "followed by more bytes"));
    for (size_t bit = 0; bit < 8 * sizeof(golden); bit++) {
        struct via_fault why = {0};
        memcpy(bytes, golden, sizeof(golden));
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK(via_state_decode(&s, bytes, sizeof(golden), &why) < 0 && why.what);
    }
    memcpy(bytes, golden, sizeof(golden));
    bytes[CONFIG_AT] ^= 1;
    CHECK(refused(bytes, sizeof(golden), -VIA_EINVAL, "damaged"));
}

/* One word of `size` bytes at `at` is another, and the sum is right. */
static bool lie(size_t at, unsigned size, uint64_t value, int result, const char *words)
{
    uint8_t bytes[sizeof(golden)];
    memcpy(bytes, golden, sizeof(golden));
    for (unsigned i = 0; i < size; i++)
        bytes[at + i] = (uint8_t)(value >> 8 * i);
    seal(bytes, sizeof(bytes));
    return refused(bytes, sizeof(bytes), result, words);
}

static void the_form_is_kept(void)
{
    CHECK(lie(0, 1, 'V', -VIA_EINVAL, "no saved state"));
    CHECK(lie(8, 4, 2, -VIA_ENOTSUP, "another version"));
    CHECK(lie(8, 4, 0, -VIA_ENOTSUP, "another version"));
    CHECK(lie(12, 4, sizeof(golden) + 1, -VIA_EINVAL, "truncated"));
    CHECK(lie(12, 4, UINT32_MAX, -VIA_EINVAL, "truncated"));
    CHECK(lie(12, 4, sizeof(golden) - 1, -VIA_EINVAL, "followed"));
    CHECK(lie(40, 2, 1, -VIA_EINVAL, "does not fit"));
    CHECK(lie(40, 2, 0xffff, -VIA_EINVAL, "does not fit"));
    CHECK(lie(42, 2, 6, -VIA_EINVAL, "does not fit"));
    CHECK(lie(45, 1, 1, -VIA_EINVAL, "this version has nothing"));
    CHECK(lie(55, 1, 128, -VIA_EINVAL, "this version has nothing"));
    CHECK(lie(QUEUE_AT + 2, 2, 3, -VIA_EINVAL, "flags that do not exist"));
}

static void too_much_of_it(void)
{
    static uint8_t bytes[QUEUE_AT + 32 * 65 + 257];
    memcpy(bytes, golden, QUEUE_AT);
    for (int space = 0; space < 2; space++) {
        size_t len = space ? QUEUE_AT + 257 : QUEUE_AT + 32 * 65;
        const uint8_t word[2][8] = {{(uint8_t)len, (uint8_t)(len >> 8)}, {space ? 0 : 65, 0, space ? 1 : 0, space ? 1 : 0}};
        memcpy(bytes + 12, word[0], 4);
        memcpy(bytes + 40, word[1], 4);
        seal(bytes, len);
        CHECK(refused(bytes, len, -VIA_EINVAL, space ? "too much configuration" : "too many queues"));
    }
}

/* Said by a hostile file, and by us about to write one. */
static bool nonsense(const struct via_state *s, size_t at, unsigned size, uint64_t value, const char *words)
{
    uint8_t bytes[VIA_STATE_BYTES_MAX];
    struct via_fault why = {0};
    CHECK_OR_FALSE(via_state_encode(s, bytes, sizeof(bytes), &why) == -VIA_EINVAL);
    CHECK_OR_FALSE(talk_fault_has(&why, words));
    return lie(at, size, value, -VIA_EINVAL, words);
}

static void devices_that_can_not_be(void)
{
    struct via_state s;
#define NONSENSE(field, at, size, value, words)                                                                                            \
    s = example();                                                                                                                         \
    s.field = (value);                                                                                                                     \
    CHECK(nonsense(&s, at, size, value, words))
    NONSENSE(offered, 24, 8, 0x330000240 | 1u << 30, "belong to the transport");
    NONSENSE(offered, 24, 8, 0x330000240 | 1u << 26, "belong to the transport");
    NONSENSE(features, 32, 8, 0x300000201, "were not offered");
    NONSENSE(features, 32, 8, 0x200000200, "without VERSION_1");
    NONSENSE(status, 44, 1, 31, "bits that do not exist");
    NONSENSE(status, 44, 1, 14, "without those that come before");
    NONSENSE(status, 44, 1, 13, "without those that come before");
    NONSENSE(status, 44, 1, 9, "without those that come before");
    NONSENSE(status, 44, 1, 7, "without those that come before");
    NONSENSE(status, 44, 1, 1, "features accepted before there was a driver");
    NONSENSE(queue[0].num, QUEUE_AT, 2, 0, "never set up");
    NONSENSE(queue[0].num, QUEUE_AT, 2, 100, "no power of two");
    NONSENSE(queue[0].avail_idx, QUEUE_AT + 4, 2, 0, "in flight");
    NONSENSE(queue[0].used_idx, QUEUE_AT + 6, 2, 0xfffd, "in flight");
    NONSENSE(queue[0].desc, QUEUE_AT + 8, 8, 0x10008, "misaligned");
    NONSENSE(queue[0].avail, QUEUE_AT + 16, 8, 0x10801, "misaligned");
    NONSENSE(queue[0].used, QUEUE_AT + 24, 8, 0x11002, "misaligned");
    NONSENSE(queue[0].desc, QUEUE_AT + 8, 8, UINT64_MAX - 15, "beyond all addresses");
    NONSENSE(queue[0].avail, QUEUE_AT + 16, 8, UINT64_MAX - 259, "beyond all addresses");
    NONSENSE(queue[0].used, QUEUE_AT + 24, 8, UINT64_MAX - 1027, "beyond all addresses");
    NONSENSE(queue[1].enabled, QUEUE_AT + 34, 2, 1, "never set up");
    NONSENSE(queue[1].used_idx, QUEUE_AT + 38, 2, 1, "never set up");
    NONSENSE(queue[1].desc, QUEUE_AT + 40, 8, 16, "never set up");
    NONSENSE(queue[1].avail, QUEUE_AT + 48, 8, 16, "never set up");
    NONSENSE(queue[1].used, QUEUE_AT + 56, 8, 16, "never set up");
#undef NONSENSE
    s = example();
    s.offered |= VIA_BIT(VIA_F_RING_PACKED);
    s.features |= VIA_BIT(VIA_F_RING_PACKED);
    struct via_fault why = {0};
    uint8_t bytes[VIA_STATE_BYTES_MAX];
    CHECK_EQ(via_state_encode(&s, bytes, sizeof(bytes), &why), -VIA_EINVAL);
    CHECK(talk_fault_has(&why, "packed rings"));
    s = example();
    s.features = 0, s.status = 1, why.what = NULL;
    CHECK_EQ(via_state_encode(&s, bytes, sizeof(bytes), &why), -VIA_EINVAL);
    CHECK(talk_fault_has(&why, "queues set up before"));
    s.queues = VIA_STATE_QUEUES_MAX + 1;
    CHECK_EQ(via_state_encode(&s, bytes, sizeof(bytes), &why), -VIA_EINVAL);
    s.queues = 0, s.config_len = VIA_STATE_CONFIG_MAX + 1;
    CHECK_EQ(via_state_encode(&s, bytes, sizeof(bytes), &why), -VIA_EINVAL);
}

/* No VERSION_1, no FEATURES_OK: the queues of old. */
static void a_legacy_device(void)
{
    uint8_t bytes[VIA_STATE_BYTES_MAX];
    struct via_state s = example();
    struct via_fault why = {0};
    s.features = 0x200;
    s.status = VIA_STATUS_ACKNOWLEDGE | VIA_STATUS_DRIVER | VIA_STATUS_DRIVER_OK;
    int len = via_state_encode(&s, bytes, sizeof(bytes), &why);
    CHECK(len > 0);
    CHECK(there_and_back(bytes, (size_t)len));
}

/* ------------------------------------------------------------------ may it go on here? */

static void each_difference_has_its_name(void)
{
    const struct via_state s = example();
    const uint8_t other[] = {9, 8, 0, 6, 1};
    const struct via_state_host same = {2, s.offered, s.config, 5, 2, 128};
    struct via_state_host h;
    struct via_state_difference d[8];
    CHECK_EQ(via_state_compare(&s, &same, d, 8), 0);
#define ONE(field, value, k, where, was, is)                                                                                               \
    h = same;                                                                                                                              \
    h.field = (value);                                                                                                                     \
    CHECK_EQ(via_state_compare(&s, &h, d, 8), 1);                                                                                          \
    CHECK(d[0].kind == (k) && d[0].at == (where) && d[0].there == (was) && d[0].here == (is))
    ONE(device, 1, VIA_STATE_DEVICE, 0, 2, 1);
    ONE(offered, s.offered & ~UINT64_C(0x200), VIA_STATE_LACKS, 0, 0x200, s.offered & ~UINT64_C(0x200));
    ONE(offered, s.offered | 1, VIA_STATE_ADDS, 0, s.offered, 1);
    ONE(queues, 3, VIA_STATE_QUEUES, 0, 2, 3);
    ONE(config_len, 4, VIA_STATE_SPACE, 0, 5, 4);
    ONE(num_max, 64, VIA_STATE_NUM, 0, 128, 64);
#undef ONE
    h = same;
    h.config = other;
    CHECK_EQ(via_state_compare(&s, &h, d, 8), 2);
    CHECK(d[0].kind == VIA_STATE_CONFIG && d[0].at == 2 && d[0].there == 7 && d[0].here == 0);
    CHECK(d[1].kind == VIA_STATE_CONFIG && d[1].at == 4 && d[1].there == 5 && d[1].here == 1);
    /* More of them than there is room: all are counted, the first are kept. */
    h = (struct via_state_host){1, 1, other, 5, 1, 64};
    memset(d, 0, sizeof(d));
    CHECK_EQ(via_state_compare(&s, &h, d, 3), 7);
    CHECK(d[2].kind == VIA_STATE_ADDS && d[3].there == 0 && d[3].here == 0);
    for (unsigned k = VIA_STATE_DEVICE; k <= VIA_STATE_NUM; k++)
        CHECK(strlen(via_state_kind_text(k)) > 10);
}

TAP_MAIN(TEST(the_very_bytes), TEST(the_largest_and_the_smallest), TEST(damage_is_found), TEST(the_form_is_kept), TEST(too_much_of_it),
         TEST(devices_that_can_not_be), TEST(a_legacy_device), TEST(each_difference_has_its_name))
