/* SPDX-License-Identifier: BSD-2-Clause */
/* The back-end session with older front-ends, newer ones, and those that read the protocol differently. */
#include <string.h>

#include <tap.h>

#include "talk.h"

static struct talk t;

static const struct via_vu_region one = {0x1000, 0x2000, 0x7f0000000000, 0x123400005678};

/* From before protocol features: no negotiation, no acknowledgements, no enabling. */
static void a_front_end_without_protocol_features(void)
{
    CHECK(talk_init(&t));
    CHECK_EQ(talk(&t, msg_plain(VIA_VU_SET_OWNER)), VIA_BACK_NOTHING);
    CHECK_EQ(talk(&t, msg_plain(VIA_VU_GET_FEATURES)), VIA_BACK_NOTHING);
    CHECK_EQ(talk(&t, msg_u64(VIA_VU_SET_FEATURES, VERSION_1)), VIA_BACK_FEATURES);
    CHECK(t.b.ring[0].enabled && t.b.ring[1].enabled);
    CHECK_EQ(talk(&t, msg_table(1, 1, &one)), VIA_BACK_MEM_TABLE);
    CHECK(talk_start_ring(&t, 0, 0));
    CHECK(t.b.ring[0].enabled);
    CHECK_EQ(talk(&t, msg_state(VIA_VU_SET_VRING_ENABLE, 0, 1)), BROKEN);
    CHECK(talk_fault_has(&t.b.fault, "without PROTOCOL_FEATURES"));
}

static void rings_start_disabled_with_protocol_features(void)
{
    CHECK(talk_ready(&t, 0));
    CHECK(!t.b.ring[0].enabled);
    CHECK(talk_start_ring(&t, 0, 0));
    CHECK(!t.b.ring[0].enabled);
    CHECK_EQ(talk(&t, msg_state(VIA_VU_SET_VRING_ENABLE, 0, 0)), VIA_BACK_NOTHING); /* it is */
    CHECK_EQ(talk(&t, msg_state(VIA_VU_SET_VRING_ENABLE, 0, 1)), VIA_BACK_RING_ENABLE);
    CHECK(t.b.ring[0].enabled && t.act->value == 1);
    CHECK_EQ(talk(&t, msg_state(VIA_VU_SET_VRING_ENABLE, 0, 0)), VIA_BACK_RING_ENABLE);
    CHECK(!t.b.ring[0].enabled && t.act->value == 0);
    /* Kept for a ring that does not run yet, even before features are set. */
    CHECK_EQ(talk(&t, msg_state(VIA_VU_SET_VRING_ENABLE, 1, 1)), VIA_BACK_NOTHING);
    CHECK(talk_start_ring(&t, 1, 0));
    CHECK(t.b.ring[1].enabled);
    CHECK_EQ(talk(&t, msg_plain(VIA_VU_RESET_DEVICE)), VIA_BACK_RESET);
    CHECK_EQ(talk(&t, msg_state(VIA_VU_SET_VRING_ENABLE, 1, 1)), VIA_BACK_NOTHING);
    CHECK_EQ(talk(&t, msg_u64(VIA_VU_SET_FEATURES, BIT30)), VIA_BACK_FEATURES);
    CHECK(t.b.ring[1].enabled && !t.b.ring[0].enabled);
}

/* Firmware drives the disk first, then the kernel negotiates anew. */
static void features_are_negotiated_twice(void)
{
    CHECK(talk_ready(&t, 0));
    CHECK(talk_start_ring(&t, 0, 0));
    t.value = 3;
    CHECK_EQ(talk(&t, msg_state(VIA_VU_GET_VRING_BASE, 0, 0)), VIA_BACK_RING_STOP);
    CHECK_EQ(talk(&t, msg_u64(VIA_VU_SET_FEATURES, VERSION_1 | EVENT_IDX | BIT30)), VIA_BACK_FEATURES);
    CHECK_EQ(t.act->value, VERSION_1 | EVENT_IDX);
    CHECK(talk_start_ring(&t, 0, 0));
}

static void owners(void)
{
    CHECK(talk_ready(&t, 0));
    CHECK_EQ(talk(&t, msg_plain(VIA_VU_SET_OWNER)), VIA_BACK_NOTHING);
    CHECK(talk_start_ring(&t, 0, 0));
    CHECK_EQ(talk(&t, msg_plain(VIA_VU_RESET_OWNER)), VIA_BACK_NOTHING); /* and goes on, without SET_OWNER */
    CHECK(t.b.ring[0].started);
    CHECK_EQ(talk(&t, msg_state(VIA_VU_SET_VRING_ENABLE, 0, 1)), VIA_BACK_RING_ENABLE);
}

static void acknowledgements(void)
{
    CHECK(talk_ready(&t, PF(REPLY_ACK)));
    CHECK_EQ(talk(&t, msg_ask(msg_state(VIA_VU_SET_VRING_NUM, 0, 8))), VIA_BACK_NOTHING);
    CHECK(!t.replied); /* not negotiated: not heard */
    CHECK_EQ(talk(&t, msg_ask(msg_u64(VIA_VU_SET_PROTOCOL_FEATURES, ALL_PROTOCOL))), VIA_BACK_NOTHING);
    CHECK(!t.replied); /* was not negotiated when it was asked */
    CHECK_EQ(talk(&t, msg_ask(msg_state(VIA_VU_SET_VRING_NUM, 0, 8))), VIA_BACK_NOTHING);
    CHECK(talk_reply_u64(&t) == 0 && t.reply.request == VIA_VU_SET_VRING_NUM);
    CHECK_EQ(talk(&t, msg_state(VIA_VU_SET_VRING_NUM, 0, 8)), VIA_BACK_NOTHING);
    CHECK(!t.replied); /* not asked for */
    CHECK_EQ(talk(&t, msg_ask(msg_plain(VIA_VU_GET_QUEUE_NUM))), VIA_BACK_NOTHING);
    CHECK_EQ(talk_reply_u64(&t), 2); /* its own answer, and one only */
    CHECK_EQ(talk(&t, msg_ask(msg_state(VIA_VU_GET_VRING_BASE, 1, 0))), VIA_BACK_NOTHING);
    CHECK_EQ(talk_reply_u64(&t), 1);
    CHECK_EQ(talk(&t, msg_ask(msg_config(VIA_VU_GET_CONFIG, 0, 8, 0, 8))), VIA_BACK_CONFIG_GET);
    CHECK(t.replied && t.reply.size == 20);
}

static void unknown_requests_are_survived(void)
{
    const uint32_t unknown[] = {0, 10000, 19, 31, 41, 46, 1u << 20, UINT32_MAX};
    for (unsigned i = 0; i < via_array_len(unknown); i++)
        for (unsigned way = 0; way < 4; way++) {
            bool asked = way & 1, negotiated = way & 2;
            CHECK(talk_ready(&t, negotiated ? 0 : PF(REPLY_ACK)));
            struct via_vu_msg m = msg_raw(unknown[i], NULL, 200, 3);
            if (asked)
                m = msg_ask(m);
            CHECK_EQ(talk_feed(&t, &m), VIA_BACK_NOTHING);
            CHECK(m.fd[0] == FIRST_FD && m.fd[2] == FIRST_FD + 2); /* the caller's to close */
            CHECK_EQ(t.replied, asked && negotiated);
            CHECK(!t.replied || (talk_reply_u64(&t) == VIA_ENOTSUP && t.reply.request == unknown[i]));
            CHECK(!t.b.broken);
        }
}

/* 36 bytes: QEMU before 5.2. 40: the protocol. More: whole unions. REM_MEM_REG with a descriptor: QEMU. */
static void single_regions_come_in_sizes(void)
{
    for (unsigned size = 34; size <= VIA_VU_PAYLOAD_MAX; size += 2) {
        CHECK(talk_ready(&t, 0));
        struct via_vu_msg m = msg_region(VIA_VU_ADD_MEM_REG, one, 1);
        memset(m.payload + 40, 0xff, sizeof(m.payload) - 40);
        m.size = size;
        CHECK_EQ(talk_feed(&t, &m), size < 36 ? BROKEN : VIA_BACK_MEM_ADD);
        if (size < 36)
            continue;
        CHECK(t.act->n == 1 && t.act->region[0].gpa == one.gpa && t.act->region[0].size == one.size && t.act->region[0].uva == one.uva);
        if (size >= 40 || size == 36)
            CHECK_EQ(t.act->region[0].mmap_offset, size == 36 ? 0x5678 : one.mmap_offset);
        struct via_vu_msg r = msg_region(VIA_VU_REM_MEM_REG, one, size % 4 == 0);
        r.size = size;
        CHECK_EQ(talk_feed(&t, &r), VIA_BACK_MEM_REMOVE);
        CHECK(!r.nfd || r.fd[0] == FIRST_FD);
        CHECK(!t.lost_fd);
    }
}

/* Cut after the last region, or all eight places whatever the number. */
static void tables_come_in_sizes(void)
{
    for (unsigned size = 38; size <= 266; size += 2) {
        CHECK(talk_ready(&t, 0));
        struct via_vu_msg m = msg_table(1, 1, &one);
        m.size = size;
        CHECK_EQ(talk_feed(&t, &m), size < 40 || size > 264 ? BROKEN : VIA_BACK_MEM_TABLE);
        CHECK(!t.lost_fd);
    }
}

/* Longer than the bytes asked for, as SPDK's; offsets from 0x100 on, as cloud-hypervisor's. The reply has the request's size and offset. */
static void config_requests_come_in_sizes(void)
{
    const uint32_t room[] = {60, 72, 256}, offset[] = {0, 4, 0x100, 0x104};
    for (unsigned i = 0; i < via_array_len(room); i++)
        for (unsigned k = 0; k < via_array_len(offset); k++) {
            CHECK(talk_ready(&t, 0));
            CHECK_EQ(talk(&t, msg_config(VIA_VU_GET_CONFIG, offset[k], 60, 0, room[i])), VIA_BACK_CONFIG_GET);
            CHECK(t.act->len == 60 && t.act->offset == (offset[k] & 0xff));
            uint32_t echo;
            memcpy(&echo, t.reply.payload, 4);
            CHECK(t.replied && t.reply.size == 12 + room[i] && echo == offset[k]);
        }
}

/* QEMU 7.2 resets by status, then asks for bases; the bases have to be those at which the rings stopped. */
static void reset_before_the_base_is_asked_for(void)
{
    CHECK(talk_ready(&t, 0));
    CHECK(talk_start_ring(&t, 0, 10));
    CHECK_EQ(talk(&t, msg_u64(VIA_VU_SET_STATUS, 15)), VIA_BACK_STATUS);
    struct via_vu_msg m = msg_u64(VIA_VU_SET_STATUS, 0);
    CHECK_EQ(via_back_feed(&t.b, &m, &t.act), 0);
    CHECK(t.act->what == VIA_BACK_STATUS && t.act->value == 0 && t.b.ring[0].started);
    t.b.ring[0].base = 35; /* the owner, having drained it */
    CHECK(!via_back_done(&t.b, 0, 0, &t.reply));
    CHECK(!t.b.ring[0].started && !t.b.features_set && !t.b.ring[0].num);
    CHECK_EQ(talk(&t, msg_state(VIA_VU_SET_VRING_ENABLE, 0, 0)), VIA_BACK_NOTHING);
    CHECK_EQ(talk(&t, msg_state(VIA_VU_GET_VRING_BASE, 0, 0)), VIA_BACK_NOTHING);
    CHECK_EQ(talk_reply_u64(&t), UINT64_C(35) << 32);
    CHECK_EQ(talk(&t, msg_u64(VIA_VU_SET_FEATURES, VERSION_1 | BIT30)), VIA_BACK_FEATURES);
    CHECK(talk_start_ring(&t, 0, 35));
}

/* But a device that was reset and gets no base starts at 0. */
static void reset_forgets_the_base(void)
{
    CHECK(talk_ready(&t, 0));
    CHECK(talk_start_ring(&t, 0, 10));
    CHECK_EQ(talk(&t, msg_plain(VIA_VU_RESET_DEVICE)), VIA_BACK_RESET);
    CHECK_EQ(talk(&t, msg_u64(VIA_VU_SET_FEATURES, VERSION_1 | BIT30)), VIA_BACK_FEATURES);
    CHECK_EQ(talk(&t, msg_state(VIA_VU_SET_VRING_NUM, 0, 64)), VIA_BACK_NOTHING);
    CHECK_EQ(talk(&t, msg_addr(0, 0, 0x10, 0x22, 0x34)), VIA_BACK_NOTHING);
    CHECK_EQ(talk(&t, msg_fd(VIA_VU_SET_VRING_KICK, 0, 1)), VIA_BACK_RING_START);
    CHECK_EQ(t.b.ring[0].base, 0);
}

TAP_MAIN(TEST(a_front_end_without_protocol_features), TEST(rings_start_disabled_with_protocol_features),
         TEST(features_are_negotiated_twice), TEST(owners), TEST(acknowledgements), TEST(unknown_requests_are_survived),
         TEST(single_regions_come_in_sizes), TEST(tables_come_in_sizes), TEST(config_requests_come_in_sizes),
         TEST(reset_before_the_base_is_asked_for), TEST(reset_forgets_the_base))
