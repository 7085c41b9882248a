/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory of the back-end's own: what both sessions say of it, and what they make of a peer that says it wrong. */
#include <string.h>

#include <tap.h>

#include "talk.h"

static struct talk t;
static struct via_front f;
static struct via_vu_msg m;

static bool back_up(uint64_t size, uint64_t accept)
{
    const struct via_back_cfg cfg = {
        .features = OFFERED, .protocol = ALL_PROTOCOL | (size ? PF(SHMEM) : 0), .queues = 2, .num_max = 256, .slots = 32, .shmem = size};
    CHECK_OR_FALSE(talk_init(&t) && via_back_init(&t.b, &cfg) == 0);
    CHECK_OR_FALSE(talk(&t, msg_plain(VIA_VU_GET_FEATURES)) == VIA_BACK_NOTHING);
    CHECK_OR_FALSE(talk(&t, msg_u64(VIA_VU_SET_PROTOCOL_FEATURES, accept)) == VIA_BACK_NOTHING);
    return true;
}

static void a_back_end_tells_of_it_when_asked(void)
{
    const uint64_t want[2] = {1, 0x123000};
    CHECK(back_up(0x123000, PF(SHMEM) | PF(BACKEND_REQ)));
    CHECK_EQ(talk(&t, msg_plain(VIA_VU_GET_SHMEM_CONFIG)), VIA_BACK_NOTHING);
    CHECK(t.replied && t.reply.size == 16 && memcmp(t.reply.payload, want, 16) == 0 &&
          t.reply.flags == (VIA_VU_VERSION | VIA_VU_FLAG_REPLY));
    via_back_shmem_map(&t.b, &m, 77);
    const uint64_t map[5] = {0, 0, 0, 0x123000, VIA_VU_SHMEM_RW};
    CHECK(m.request == VIA_VU_BACK_SHMEM_MAP && m.size == 40 && m.nfd == 1 && m.fd[0] == 77 && memcmp(m.payload, map, 40) == 0);
    CHECK(m.flags == VIA_VU_VERSION);
    CHECK_EQ(talk(&t, talk_sized(msg_u64(VIA_VU_GET_SHMEM_CONFIG, 0), 8)), BROKEN);
}

static void nothing_is_said_unless_asked(void)
{
    const struct via_back_cfg odd[2] = {{.protocol = PF(SHMEM), .queues = 1, .num_max = 256}, {.shmem = 4096, .queues = 1, .num_max = 256}};
    CHECK(via_back_init(&t.b, &odd[0]) == -VIA_EINVAL && via_back_init(&t.b, &odd[1]) == -VIA_EINVAL);
    CHECK(back_up(0, ALL_PROTOCOL));
    CHECK_EQ(talk(&t, msg_plain(VIA_VU_GET_PROTOCOL_FEATURES)), VIA_BACK_NOTHING);
    CHECK(!(talk_reply_u64(&t) & PF(SHMEM)));
    CHECK(back_up(4096, ALL_PROTOCOL)); /* offered, and not accepted */
    CHECK_EQ(talk(&t, msg_plain(VIA_VU_GET_SHMEM_CONFIG)), BROKEN);
    CHECK(talk_fault_has(&t.b.fault, "GET_SHMEM_CONFIG: needs a protocol feature"));
}

/* ------------------------------------------------------------------ the front-end's side */

static void front_up(uint64_t protocol)
{
    via_front_init(&f);
    via_front_set_u64(&f, &m, VIA_VU_SET_PROTOCOL_FEATURES, protocol);
    f.await = 0;
}

static struct via_vu_msg config(uint32_t n, uint32_t size)
{
    static uint8_t bytes[VIA_VU_PAYLOAD_MAX];
    memcpy(bytes, &n, sizeof(n));
    for (uint64_t i = 0, len; i < VIA_VU_SHMEM_REGIONS; i++) {
        len = (i + 1) << 12;
        memcpy(bytes + 8 + i * 8, &len, 8);
    }
    struct via_vu_msg r = msg_raw(VIA_VU_GET_SHMEM_CONFIG, bytes, size, 0);
    r.flags |= VIA_VU_FLAG_REPLY;
    return r;
}

static void a_front_end_takes_what_is_whole(void)
{
    for (uint32_t n = 0; n <= VIA_VU_SHMEM_REGIONS; n++)
        for (uint32_t size = 8 + 8 * n; size <= VIA_VU_PAYLOAD_MAX; size += 8) {
            front_up(PF(SHMEM));
            via_front_get(&f, &m, VIA_VU_GET_SHMEM_CONFIG);
            struct via_vu_msg a = config(n, size);
            CHECK(via_front_awaits(&f) && via_front_feed(&f, &a) == 0 && f.value == n);
            for (unsigned i = 0; i < VIA_VU_SHMEM_REGIONS; i++)
                CHECK_EQ(f.shmem[i], i < n ? (i + 1) << 12 : 0);
        }
}

static void a_front_end_refuses_what_is_not(void)
{
    const uint32_t lie[][2] = {{0, 0}, {0, 7}, {1, 8}, {1, 15}, {33, 271}, {34, 272}, {UINT32_MAX, 272}, {0x20000000, 8}};
    for (unsigned i = 0; i < via_array_len(lie); i++) {
        front_up(PF(SHMEM));
        via_front_get(&f, &m, VIA_VU_GET_SHMEM_CONFIG);
        struct via_vu_msg a = config(lie[i][0], lie[i][1]);
        CHECK(via_front_feed(&f, &a) == -VIA_EPROTO && f.broken && talk_fault_has(&f.fault, "shared memory regions"));
    }
}

static struct via_vu_msg map(uint32_t size, unsigned nfd)
{
    static const uint64_t bytes[6] = {5, 0x1000, 0x2000, 0x3000, 1, 0};
    return msg_raw(VIA_VU_BACK_SHMEM_MAP, bytes, size, nfd);
}

static void memory_that_comes_is_an_event(void)
{
    struct via_vu_iotlb iotlb;
    struct via_vu_shmem s;
    front_up(PF(SHMEM) | PF(REPLY_ACK));
    struct via_vu_msg a = map(40, 1), reply;
    CHECK_EQ(via_front_feed_back_req(&f, &a, &iotlb), VIA_FRONT_SHMEM_MAP);
    via_vu_shmem_get(&a, &s);
    CHECK(s.id == 5 && s.fd_offset == 0x1000 && s.offset == 0x2000 && s.len == 0x3000 && s.flags == VIA_VU_SHMEM_RW);
    CHECK(!via_front_back_done(&f, &a, 0, &reply));
    a.flags |= VIA_VU_FLAG_NEED_REPLY;
    CHECK(via_front_back_done(&f, &a, -VIA_EEXIST, &reply) && reply.request == VIA_VU_BACK_SHMEM_MAP && reply.payload[0] == VIA_EEXIST);
    const unsigned lie[][2] = {{39, 1}, {41, 1}, {0, 1}, {40, 0}, {40, 2}};
    for (unsigned i = 0; i < via_array_len(lie); i++) {
        front_up(PF(SHMEM));
        a = map(lie[i][0], lie[i][1]);
        CHECK(via_front_feed_back_req(&f, &a, &iotlb) == -VIA_EPROTO && talk_fault_has(&f.fault, "BACKEND_SHMEM_MAP"));
    }
    front_up(PF(REPLY_ACK)); /* not accepted */
    a = msg_ask(map(40, 1));
    CHECK_EQ(via_front_feed_back_req(&f, &a, &iotlb), VIA_FRONT_UNKNOWN);
    CHECK(via_front_back_done(&f, &a, 0, &reply) && reply.payload[0] == VIA_ENOTSUP);
}

TAP_MAIN(TEST(a_back_end_tells_of_it_when_asked), TEST(nothing_is_said_unless_asked), TEST(a_front_end_takes_what_is_whole),
         TEST(a_front_end_refuses_what_is_not), TEST(memory_that_comes_is_an_event))
