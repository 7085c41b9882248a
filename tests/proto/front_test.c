/* SPDX-License-Identifier: BSD-2-Clause */
/* The front-end session: what it composes, and what it makes of answers, true ones and others. */
#include <string.h>

#include <tap.h>

#include "talk.h"

static struct via_front f;
static struct via_vu_msg m;

static struct via_vu_msg answer(struct via_vu_msg a)
{
    a.flags |= VIA_VU_FLAG_REPLY;
    return a;
}

static void negotiate(uint64_t protocol)
{
    via_front_init(&f);
    via_front_set_u64(&f, &m, VIA_VU_SET_PROTOCOL_FEATURES, protocol);
}

static void composes(void)
{
    const struct via_vu_region r[2] = {{1, 2, 3, 4}, {5, 6, 7, 8}};
    const int fd[2] = {30, 31};
    negotiate(0);
    CHECK(m.flags == VIA_VU_VERSION && m.size == 8 && !via_front_awaits(&f));
    via_front_plain(&f, &m, VIA_VU_SET_OWNER);
    CHECK(m.request == VIA_VU_SET_OWNER && m.size == 0 && m.nfd == 0 && m.flags == VIA_VU_VERSION && !via_front_awaits(&f));
    via_front_mem_table(&f, &m, r, fd, 2);
    const uint64_t table[9] = {2, 1, 2, 3, 4, 5, 6, 7, 8};
    CHECK(m.size == 72 && m.nfd == 2 && m.fd[0] == 30 && m.fd[1] == 31 && memcmp(m.payload, table, 72) == 0);
    via_front_mem_reg(&f, &m, true, &r[1], 31);
    const uint64_t single[5] = {0, 5, 6, 7, 8};
    CHECK(m.request == VIA_VU_ADD_MEM_REG && m.size == 40 && m.nfd == 1 && m.fd[0] == 31 && memcmp(m.payload, single, 40) == 0);
    via_front_mem_reg(&f, &m, false, &r[1], -1);
    CHECK(m.request == VIA_VU_REM_MEM_REG && m.size == 40 && m.nfd == 0);
    via_front_ring_state(&f, &m, VIA_VU_SET_VRING_NUM, 3, 256);
    const uint32_t state[2] = {3, 256};
    CHECK(m.size == 8 && memcmp(m.payload, state, 8) == 0);
    via_front_ring_addr(&f, &m, 1, 0x10, 0x20, 0x30);
    const uint64_t addr[5] = {1, 0x10, 0x30, 0x20, 0}; /* used comes before available on the wire */
    CHECK(m.size == 40 && memcmp(m.payload, addr, 40) == 0);
    via_front_ring_log(&f, &m, 1, 0x10, 0x20, 0x30, 0x40);
    const uint64_t logged[5] = {1 | (uint64_t)1 << 32, 0x10, 0x30, 0x20, 0x40};
    CHECK(m.request == VIA_VU_SET_VRING_ADDR && m.size == 40 && memcmp(m.payload, logged, 40) == 0);
    via_front_log_fd(&f, &m, 13);
    CHECK(m.request == VIA_VU_SET_LOG_FD && m.size == 0 && m.nfd == 1 && m.fd[0] == 13);
    via_front_ring_fd(&f, &m, VIA_VU_SET_VRING_KICK, 2, 9);
    uint64_t v = 2;
    CHECK(m.size == 8 && m.nfd == 1 && m.fd[0] == 9 && memcmp(m.payload, &v, 8) == 0);
    via_front_ring_fd(&f, &m, VIA_VU_SET_VRING_CALL, 2, -1);
    v = 2 | VIA_VU_NOFD;
    CHECK(m.size == 8 && m.nfd == 0 && memcmp(m.payload, &v, 8) == 0);
    via_front_back_req_fd(&f, &m, 12);
    CHECK(m.request == VIA_VU_SET_BACKEND_REQ_FD && m.size == 0 && m.nfd == 1 && m.fd[0] == 12);
    via_front_config_set(&f, &m, 32, (const uint8_t *)"\1", 1);
    const uint32_t head[3] = {32, 1, 0};
    CHECK(m.size == 13 && memcmp(m.payload, head, 12) == 0 && m.payload[12] == 1 && !via_front_awaits(&f));
}

/* Answered at any rate; by what differs from back-end to back-end, and says nothing. */
static void a_log_is_answered(void)
{
    const uint64_t log[2] = {0x200, 0x1000}, left = 0x200;
    for (unsigned way = 0; way < 3; way++) {
        negotiate(way ? PF(REPLY_ACK) : 0);
        via_front_log_base(&f, &m, 0x1000, 0x200, 9);
        CHECK(m.request == VIA_VU_SET_LOG_BASE && m.size == 16 && memcmp(m.payload, log, 16) == 0 && m.nfd == 1 && m.fd[0] == 9);
        CHECK(via_front_awaits(&f) && !(m.flags & VIA_VU_FLAG_NEED_REPLY));
        struct via_vu_msg a = answer(msg_raw(VIA_VU_SET_LOG_BASE, &left, way == 1 ? 0 : sizeof(left), 0));
        CHECK(via_front_feed(&f, &a) == 0 && !via_front_awaits(&f));
    }
}

static void asks_for_acknowledgements(void)
{
    negotiate(PF(REPLY_ACK));
    CHECK(!via_front_awaits(&f)); /* not for the message that negotiates them */
    via_front_ring_state(&f, &m, VIA_VU_SET_VRING_ENABLE, 0, 1);
    CHECK(via_front_awaits(&f) && m.flags == (VIA_VU_VERSION | VIA_VU_FLAG_NEED_REPLY));
    m = answer(msg_u64(VIA_VU_SET_VRING_ENABLE, 0));
    CHECK_EQ(via_front_feed(&f, &m), 0);
    CHECK(!via_front_awaits(&f));
    via_front_get(&f, &m, VIA_VU_GET_FEATURES);
    CHECK(via_front_awaits(&f) && m.flags == VIA_VU_VERSION);
    m = answer(msg_u64(VIA_VU_GET_FEATURES, 77));
    CHECK_EQ(via_front_feed(&f, &m), 0);
    CHECK(f.offered == 77 && f.value == 77);
    via_front_set_u64(&f, &m, VIA_VU_SET_FEATURES, 5);
    m = answer(msg_u64(VIA_VU_SET_FEATURES, 22));
    CHECK_EQ(via_front_feed(&f, &m), -VIA_EIO);
    CHECK(f.fault.got == 22 && !f.broken && f.features == 5 && talk_fault_has(&f.fault, "request failed"));
    via_front_get(&f, &m, VIA_VU_GET_STATUS); /* life goes on, with a clean fault */
    CHECK(!f.fault.what);
}

static void takes_values(void)
{
    const struct {
        uint32_t request;
        uint64_t v;
        int want;
    } t[] = {
        {VIA_VU_GET_FEATURES, UINT64_MAX, 0},
        {VIA_VU_GET_PROTOCOL_FEATURES, 0x1234, 0},
        {VIA_VU_GET_QUEUE_NUM, 65535, 0},
        {VIA_VU_GET_QUEUE_NUM, 65536, -VIA_EPROTO},
        {VIA_VU_GET_QUEUE_NUM, UINT64_MAX, -VIA_EPROTO},
        {VIA_VU_GET_MAX_MEM_SLOTS, 509, 0},
        {VIA_VU_GET_STATUS, 255, 0},
        {VIA_VU_GET_STATUS, 256, -VIA_EPROTO},
    };
    for (unsigned i = 0; i < via_array_len(t); i++) {
        via_front_init(&f);
        via_front_get(&f, &m, t[i].request);
        m = answer(msg_u64(t[i].request, t[i].v));
        CHECK_EQ(via_front_feed(&f, &m), t[i].want);
        CHECK(t[i].want || f.value == t[i].v);
        CHECK_EQ(f.broken, t[i].want != 0);
    }
    via_front_init(&f);
    via_front_get(&f, &m, VIA_VU_GET_QUEUE_NUM);
    m = answer(msg_u64(VIA_VU_GET_QUEUE_NUM, 9));
    CHECK_EQ(via_front_feed(&f, &m), 0);
    CHECK_EQ(f.queues_max, 9);
    via_front_ring_state(&f, &m, VIA_VU_GET_VRING_BASE, 2, 0);
    m = answer(msg_state(VIA_VU_GET_VRING_BASE, 2, 65535));
    CHECK_EQ(via_front_feed(&f, &m), 0);
    CHECK_EQ(f.value, 65535);
}

struct lie {
    struct via_vu_msg m;
    int want;
    const char *words;
};

static bool believes_nothing(uint32_t asked, const struct lie *lie, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        negotiate(PF(REPLY_ACK) | PF(CONFIG));
        if (asked == VIA_VU_GET_CONFIG)
            via_front_config_get(&f, &m, 4, 60);
        else if (asked == VIA_VU_GET_VRING_BASE)
            via_front_ring_state(&f, &m, asked, 1, 0);
        else if (asked == VIA_VU_GET_FEATURES)
            via_front_get(&f, &m, asked);
        else if (asked)
            via_front_plain(&f, &m, asked);
        int got = via_front_feed(&f, &lie[i].m);
        if (got != lie[i].want || f.broken != (got == -VIA_EPROTO) || !talk_fault_has(&f.fault, lie[i].words)) {
            tap_fail_eq(__FILE__, __LINE__, "lie", i, got);
            return false;
        }
        CHECK_OR_FALSE(!f.broken || via_front_feed(&f, &lie[i].m) == -VIA_EPROTO);
    }
    return true;
}

static void lies(void)
{
    const struct lie plain[] = {
        {msg_u64(VIA_VU_GET_FEATURES, 0), -VIA_EPROTO, "not marked as one"},
        {answer(msg_u64(VIA_VU_GET_STATUS, 0)), -VIA_EPROTO, "another request"},
        {talk_sized(answer(msg_u64(VIA_VU_GET_FEATURES, 0)), 0), -VIA_EPROTO, "wrong size"},
        {talk_sized(answer(msg_u64(VIA_VU_GET_FEATURES, 0)), 4), -VIA_EPROTO, "wrong size"},
        {talk_sized(answer(msg_u64(VIA_VU_GET_FEATURES, 0)), UINT32_MAX), -VIA_EPROTO, "wrong size"},
        {talk_with_fd(answer(msg_u64(VIA_VU_GET_FEATURES, 0))), -VIA_EPROTO, "file descriptors"},
    };
    CHECK(believes_nothing(VIA_VU_GET_FEATURES, plain, via_array_len(plain)));
    const struct lie unasked[] = {{answer(msg_u64(VIA_VU_GET_FEATURES, 0)), -VIA_EPROTO, "nothing was asked"},
                                  {answer(msg_u64(0, 0)), -VIA_EPROTO, "nothing was asked"}};
    CHECK(believes_nothing(0, unasked, via_array_len(unasked)));
    const struct lie acks[] = {
        {answer(msg_u64(VIA_VU_SET_OWNER, 1)), -VIA_EIO, "request failed"},
        {answer(msg_u64(VIA_VU_SET_OWNER, UINT64_MAX)), -VIA_EIO, "request failed"},
        {talk_sized(answer(msg_u64(VIA_VU_SET_OWNER, 0)), 7), -VIA_EPROTO, "wrong size"},
        {answer(msg_u64(VIA_VU_RESET_OWNER, 0)), -VIA_EPROTO, "another request"},
    };
    CHECK(believes_nothing(VIA_VU_SET_OWNER, acks, via_array_len(acks)));
    const struct lie base[] = {
        {answer(msg_state(VIA_VU_GET_VRING_BASE, 0, 5)), -VIA_EPROTO, "another ring"},
        {answer(msg_state(VIA_VU_GET_VRING_BASE, 1, 65536)), -VIA_EPROTO, "split ring"},
        {talk_sized(answer(msg_state(VIA_VU_GET_VRING_BASE, 1, 5)), 4), -VIA_EPROTO, "wrong size"},
    };
    CHECK(believes_nothing(VIA_VU_GET_VRING_BASE, base, via_array_len(base)));
    const struct lie config[] = {
        {answer(msg_plain(VIA_VU_GET_CONFIG)), -VIA_EIO, "could not read"},
        {answer(msg_config(VIA_VU_GET_CONFIG, 4, 0, 0, 0)), -VIA_EIO, "could not read"},
        {answer(msg_config(VIA_VU_GET_CONFIG, 4, 60, 0, 59)), -VIA_EPROTO, "another size"},
        {answer(msg_config(VIA_VU_GET_CONFIG, 4, 60, 0, 61)), -VIA_EPROTO, "another size"},
        {answer(msg_config(VIA_VU_GET_CONFIG, 4, 256, 0, 256)), -VIA_EPROTO, "another size"},
        {answer(msg_config(VIA_VU_GET_CONFIG, 4, 61, 0, 60)), -VIA_EPROTO, "other bytes"},
        {answer(msg_config(VIA_VU_GET_CONFIG, 5, 60, 0, 60)), -VIA_EPROTO, "other bytes"},
        {talk_sized(answer(msg_config(VIA_VU_GET_CONFIG, 4, 60, 0, 60)), 3), -VIA_EPROTO, "another size"},
        {talk_sized(answer(msg_config(VIA_VU_GET_CONFIG, 4, 60, 0, 60)), UINT32_MAX), -VIA_EPROTO, "another size"},
    };
    CHECK(believes_nothing(VIA_VU_GET_CONFIG, config, via_array_len(config)));
}

static void config_bytes_arrive(void)
{
    for (uint32_t len = 1; len <= VIA_VU_CONFIG_MAX; len++) {
        via_front_init(&f);
        via_front_config_get(&f, &m, 0, len);
        CHECK_EQ(m.size, 12 + len);
        m = answer(msg_config(VIA_VU_GET_CONFIG, 0, len, 0, len));
        CHECK_EQ(via_front_feed(&f, &m), 0);
        CHECK(f.config[0] == 0x5a && f.config[len - 1] == 0x5a && (len == VIA_VU_CONFIG_MAX || f.config[len] == 0));
    }
}

static void the_back_ends_own_requests(void)
{
    struct via_vu_msg reply;
    struct via_vu_iotlb iotlb;
    for (unsigned way = 0; way < 4; way++) {
        bool asked = way & 1, negotiated = way & 2;
        negotiate(negotiated ? ALL_PROTOCOL : 0);
        m = msg_plain(VIA_VU_BACK_CONFIG_CHANGE);
        m = asked ? msg_ask(m) : m;
        CHECK_EQ(via_front_feed_back_req(&f, &m, &iotlb), VIA_FRONT_CONFIG_CHANGE);
        bool send = via_front_back_done(&f, &m, 0, &reply);
        CHECK_EQ(send, asked && negotiated);
        CHECK(!send || (reply.flags == 5 && reply.size == 8 && reply.request == VIA_VU_BACK_CONFIG_CHANGE && reply.payload[0] == 0));
        m = msg_raw(7, NULL, 40, 2); /* not for us */
        m = asked ? msg_ask(m) : m;
        CHECK_EQ(via_front_feed_back_req(&f, &m, &iotlb), VIA_FRONT_UNKNOWN);
        send = via_front_back_done(&f, &m, 0, &reply);
        CHECK_EQ(send, asked && negotiated);
        CHECK(!send || (reply.request == 7 && reply.payload[0] == VIA_ENOTSUP));
    }
    const struct {
        struct via_vu_msg m;
        const char *words;
    } bad[] = {
        {answer(msg_u64(VIA_VU_BACK_CONFIG_CHANGE, 0)), "where nothing was asked"},
        {msg_u64(VIA_VU_BACK_CONFIG_CHANGE, 0), "CONFIG_CHANGE"},
        {msg_raw(VIA_VU_BACK_CONFIG_CHANGE, NULL, 0, 1), "CONFIG_CHANGE"},
    };
    for (unsigned i = 0; i < via_array_len(bad); i++) {
        negotiate(ALL_PROTOCOL);
        CHECK_EQ(via_front_feed_back_req(&f, &bad[i].m, &iotlb), -VIA_EPROTO);
        CHECK(f.broken && talk_fault_has(&f.fault, bad[i].words));
    }
}

TAP_MAIN(TEST(composes), TEST(a_log_is_answered), TEST(asks_for_acknowledgements), TEST(takes_values), TEST(lies),
         TEST(config_bytes_arrive), TEST(the_back_ends_own_requests))
