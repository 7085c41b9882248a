/* SPDX-License-Identifier: BSD-2-Clause */
/* The back-end session with front-ends that keep to the rules. */
#include <string.h>

#include <tap.h>

#include "talk.h"

static struct talk t;

static const struct via_vu_region two[2] = {{0, 0x100000, 0x7f0000000000, 0}, {0x100000, 0x200000, 0x7f0000100000, 0x100000}};

static void configuration_is_judged(void)
{
    const struct via_back_cfg good = {.protocol = ALL_PROTOCOL, .queues = 1, .num_max = 256, .slots = 1};
    struct via_back_cfg c = good;
    CHECK_EQ(via_back_init(&t.b, &c), 0);
    c.queues = 0;
    CHECK_EQ(via_back_init(&t.b, &c), -VIA_EINVAL);
    c.queues = VIA_BACK_QUEUES_MAX + 1;
    CHECK_EQ(via_back_init(&t.b, &c), -VIA_EINVAL);
    c = good;
    c.num_max = 255;
    CHECK_EQ(via_back_init(&t.b, &c), -VIA_EINVAL);
    c = good;
    c.slots = VIA_VU_SLOTS_MAX + 1;
    CHECK_EQ(via_back_init(&t.b, &c), -VIA_EINVAL);
    c.slots = 0;
    CHECK_EQ(via_back_init(&t.b, &c), -VIA_EINVAL);
    c = good;
    c.protocol = PF(MQ) | VIA_BIT(2); /* RARP */
    CHECK_EQ(via_back_init(&t.b, &c), -VIA_EINVAL);
}

struct step {
    struct via_vu_msg m;
    int want;       /* action */
    uint64_t reply; /* NONE: no reply */
    uint64_t value; /* of the action */
};
#define NONE (UINT64_MAX - 1)

static bool converse(const struct step *s, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        int did = talk(&t, s[i].m);
        if (did != s[i].want || t.replied != (s[i].reply != NONE) || (t.replied && talk_reply_u64(&t) != s[i].reply) ||
            t.act->value != s[i].value) {
            tap_note(via_vu_name(s[i].m.request));
            tap_note(t.b.fault.what ? t.b.fault.what : "no fault");
            tap_fail_eq(__FILE__, __LINE__, "step", i, did);
            return false;
        }
    }
    CHECK_OR_FALSE(!t.lost_fd);
    return true;
}

/* What QEMU 8 says to a disk, from connection to shutdown; NEED_REPLY where it sets it. */
static void a_front_end_of_today(void)
{
    const uint64_t features = OFFERED, all = features | BIT30;
    const struct step life[] = {
        {msg_plain(VIA_VU_GET_FEATURES), VIA_BACK_NOTHING, all, all},
        {msg_plain(VIA_VU_GET_PROTOCOL_FEATURES), VIA_BACK_NOTHING, ALL_PROTOCOL, ALL_PROTOCOL},
        {msg_u64(VIA_VU_SET_PROTOCOL_FEATURES, ALL_PROTOCOL), VIA_BACK_NOTHING, NONE, 0},
        {msg_plain(VIA_VU_GET_MAX_MEM_SLOTS), VIA_BACK_NOTHING, 32, 32},
        {msg_plain(VIA_VU_GET_QUEUE_NUM), VIA_BACK_NOTHING, 2, 2},
        {msg_ask(msg_raw(VIA_VU_SET_BACKEND_REQ_FD, NULL, 0, 1)), VIA_BACK_REQ_FD, 0, 0},
        {msg_plain(VIA_VU_SET_OWNER), VIA_BACK_NOTHING, NONE, 0},
        {msg_plain(VIA_VU_GET_FEATURES), VIA_BACK_NOTHING, all, all},
        {msg_fd(VIA_VU_SET_VRING_CALL, 0, 1), VIA_BACK_RING_CALL, NONE, 0},
        {msg_fd(VIA_VU_SET_VRING_ERR, 0, 1), VIA_BACK_RING_ERR, NONE, 0},
        {msg_u64(VIA_VU_SET_FEATURES, all), VIA_BACK_FEATURES, NONE, features},
        {msg_ask(msg_region(VIA_VU_ADD_MEM_REG, two[0], 1)), VIA_BACK_MEM_ADD, 0, 0},
        {msg_ask(msg_region(VIA_VU_ADD_MEM_REG, two[1], 1)), VIA_BACK_MEM_ADD, 0, 0},
        {msg_state(VIA_VU_SET_VRING_NUM, 0, 128), VIA_BACK_NOTHING, NONE, 0},
        {msg_state(VIA_VU_SET_VRING_BASE, 0, 0), VIA_BACK_NOTHING, NONE, 0},
        {msg_addr(0, 0, 0x1000, 0x2000, 0x3000), VIA_BACK_NOTHING, NONE, 0},
        {msg_fd(VIA_VU_SET_VRING_KICK, 0, 1), VIA_BACK_RING_START, NONE, 1},
        {msg_ask(msg_state(VIA_VU_SET_VRING_ENABLE, 0, 1)), VIA_BACK_RING_ENABLE, 0, 1},
        {msg_plain(VIA_VU_GET_STATUS), VIA_BACK_NOTHING, 0, 0},
        {msg_u64(VIA_VU_SET_STATUS, 7), VIA_BACK_STATUS, NONE, 7},
        {msg_plain(VIA_VU_GET_STATUS), VIA_BACK_NOTHING, 7, 7},
        {msg_fd(VIA_VU_SET_VRING_CALL, 0, 1), VIA_BACK_RING_CALL, NONE, 0},
        {msg_fd(VIA_VU_SET_VRING_CALL, 0 | VIA_VU_NOFD, 0), VIA_BACK_RING_CALL, NONE, 0},
        {msg_ask(msg_region(VIA_VU_REM_MEM_REG, two[1], 0)), VIA_BACK_MEM_REMOVE, 0, 0},
        {msg_ask(msg_state(VIA_VU_SET_VRING_ENABLE, 0, 0)), VIA_BACK_RING_ENABLE, 0, 0},
        {msg_plain(VIA_VU_RESET_DEVICE), VIA_BACK_RESET, NONE, 0},
    };
    CHECK(talk_init(&t));
    CHECK(converse(life, via_array_len(life)));
    CHECK_EQ(t.b.slots_used, 1);
    CHECK(!t.b.ring[0].started && !t.b.ring[0].enabled && !t.b.features_set && t.b.owned && t.b.status == 0);
}

/* All orders of size, addresses, base and kick; a ring starts once, complete, and with the base that was sent. */
static void rings_take_their_parts_in_any_order(void)
{
    for (unsigned order = 0; order < 256; order++) {
        unsigned o[4] = {order & 3, order >> 2 & 3, order >> 4 & 3, order >> 6}, starts = 0, seen = 0;
        for (unsigned i = 0; i < 4; i++)
            seen |= 1u << o[i];
        bool base_after_start = o[3] == 2; /* the kick starts a ring that has size and addresses: then its base has to be the default */
        if (seen != 15)
            continue;
        const struct via_vu_msg part[4] = {msg_state(VIA_VU_SET_VRING_NUM, 1, 64), msg_addr(1, 0, 0x10, 0x22, 0x34),
                                           msg_state(VIA_VU_SET_VRING_BASE, 1, base_after_start && o[2] == 3 ? 0 : 77),
                                           msg_fd(VIA_VU_SET_VRING_KICK, 1, 1)};
        CHECK(talk_ready(&t, 0));
        for (unsigned i = 0; i < 4; i++) {
            int did = talk(&t, part[o[i]]);
            CHECK(did != BROKEN);
            if (did == VIA_BACK_RING_START) {
                starts++;
                CHECK_EQ(t.act->index, 1);
                CHECK_EQ(t.act->value, o[i] == 3);
                CHECK_EQ(t.act->fd[0], o[i] == 3 ? FIRST_FD : -1);
            } else {
                CHECK_EQ(did, o[i] == 3 ? VIA_BACK_RING_KICK : VIA_BACK_NOTHING);
                CHECK_EQ(t.act->fd[0], o[i] == 3 ? FIRST_FD : -1);
            }
        }
        CHECK_EQ(starts, 1);
        const struct via_back_ring *r = &t.b.ring[1];
        CHECK(r->started && r->num == 64 && r->desc == 0x10 && r->avail == 0x22 && r->used == 0x34);
        CHECK_EQ(r->base, base_after_start && o[2] == 3 ? 0 : 77);
    }
}

static void a_base_need_not_be_sent(void)
{
    CHECK(talk_ready(&t, 0));
    CHECK_EQ(talk(&t, msg_state(VIA_VU_SET_VRING_NUM, 0, 64)), VIA_BACK_NOTHING);
    CHECK_EQ(talk(&t, msg_addr(0, 0, 0x10, 0x22, 0x34)), VIA_BACK_NOTHING);
    CHECK_EQ(talk(&t, msg_fd(VIA_VU_SET_VRING_KICK, 0, 1)), VIA_BACK_RING_START);
    CHECK_EQ(t.b.ring[0].base, 0);
    t.value = 9;
    CHECK_EQ(talk(&t, msg_state(VIA_VU_GET_VRING_BASE, 0, 0)), VIA_BACK_RING_STOP);
    CHECK_EQ(talk(&t, msg_fd(VIA_VU_SET_VRING_KICK, 0, 1)), VIA_BACK_RING_START);
    CHECK_EQ(t.b.ring[0].base, 9);
}

static void stopping_takes_an_early_kick_back(void)
{
    CHECK(talk_ready(&t, 0));
    CHECK_EQ(talk(&t, msg_fd(VIA_VU_SET_VRING_KICK, 0, 1)), VIA_BACK_RING_KICK);
    CHECK_EQ(talk(&t, msg_state(VIA_VU_GET_VRING_BASE, 0, 0)), VIA_BACK_NOTHING);
    CHECK(talk_start_ring(&t, 0, 3)); /* by its own kick, not before */
}

static void stopping_tells_where_the_ring_stands(void)
{
    CHECK(talk_ready(&t, 0));
    CHECK(talk_start_ring(&t, 1, 5));
    t.value = 4711;
    CHECK_EQ(talk(&t, msg_state(VIA_VU_GET_VRING_BASE, 1, 0xdead)), VIA_BACK_RING_STOP);
    CHECK_EQ(t.act->index, 1);
    CHECK_EQ(talk_reply_u64(&t), UINT64_C(4711) << 32 | 1);
    CHECK(!t.b.ring[1].started);
    t.value = 99; /* nobody asks the owner about a ring that is not running */
    CHECK_EQ(talk(&t, msg_state(VIA_VU_GET_VRING_BASE, 1, 0)), VIA_BACK_NOTHING);
    CHECK_EQ(talk_reply_u64(&t), UINT64_C(4711) << 32 | 1);
    CHECK_EQ(talk(&t, msg_state(VIA_VU_GET_VRING_BASE, 0, 0)), VIA_BACK_NOTHING);
    CHECK_EQ(talk_reply_u64(&t), 0);
    /* A kick alone starts it again, from there. */
    CHECK_EQ(talk(&t, msg_fd(VIA_VU_SET_VRING_KICK, 1, 1)), VIA_BACK_RING_START);
    CHECK_EQ(t.b.ring[1].base, 4711);
}

static void descriptors_are_replaced_while_a_ring_runs(void)
{
    CHECK(talk_ready(&t, 0));
    CHECK(talk_start_ring(&t, 0, 0));
    const struct {
        uint32_t request;
        int want;
    } part[] = {{VIA_VU_SET_VRING_CALL, VIA_BACK_RING_CALL},
                {VIA_VU_SET_VRING_ERR, VIA_BACK_RING_ERR},
                {VIA_VU_SET_VRING_KICK, VIA_BACK_RING_KICK}};
    for (unsigned i = 0; i < via_array_len(part); i++) {
        CHECK_EQ(talk(&t, msg_fd(part[i].request, 0, 1)), part[i].want);
        CHECK_EQ(t.act->fd[0], FIRST_FD);
        CHECK_EQ(talk(&t, msg_fd(part[i].request, VIA_VU_NOFD, 0)), part[i].want);
        CHECK_EQ(t.act->fd[0], -1);
        CHECK(t.b.ring[0].started && !t.lost_fd);
    }
    /* What it already has may be repeated: QEMU does so when it begins to log. */
    CHECK_EQ(talk(&t, msg_addr(0, 1, 0x10000, 0x20000, 0x30000)), VIA_BACK_RING_LOG);
    CHECK_EQ(talk(&t, msg_u64(VIA_VU_SET_FEATURES, VERSION_1 | BIT30)), VIA_BACK_NOTHING);
    CHECK_EQ(talk(&t, msg_state(VIA_VU_SET_VRING_NUM, 0, 128)), VIA_BACK_NOTHING);
}

static void config_space(void)
{
    CHECK(talk_ready(&t, 0));
    struct via_vu_msg m = msg_config(VIA_VU_GET_CONFIG, 8, 60, 0, 60);
    CHECK_EQ(via_back_feed(&t.b, &m, &t.act), 0);
    CHECK(t.act->what == VIA_BACK_CONFIG_GET && t.act->offset == 8 && t.act->len == 60);
    for (unsigned i = 0; i < 60; i++) {
        CHECK_EQ(t.act->config[i], 0); /* the front-end's own bytes never come back */
        t.act->config[i] = (uint8_t)i;
    }
    CHECK(via_back_done(&t.b, 0, 0, &t.reply));
    CHECK(t.reply.size == 72 && t.reply.request == VIA_VU_GET_CONFIG && t.reply.flags == 5);
    CHECK(memcmp(t.reply.payload, m.payload, 12) == 0);
    for (unsigned i = 0; i < 60; i++)
        CHECK_EQ(t.reply.payload[12 + i], i);
    t.result = -VIA_EINVAL;
    CHECK_EQ(talk(&t, msg_config(VIA_VU_GET_CONFIG, 0, 60, 0, 60)), VIA_BACK_CONFIG_GET);
    CHECK(t.replied && t.reply.size == 0 && !t.b.broken); /* this one can tell by itself */
    t.result = 0;
    for (uint32_t flags = 0; flags < 2; flags++) {
        CHECK_EQ(talk(&t, msg_config(VIA_VU_SET_CONFIG, 32, 1, flags, 1)), VIA_BACK_CONFIG_SET);
        CHECK(t.act->offset == 32 && t.act->len == 1 && t.act->config[0] == 0x5a && t.act->value == flags);
    }
    struct via_vu_msg change;
    via_back_config_changed(&t.b, &change);
    CHECK(change.request == VIA_VU_BACK_CONFIG_CHANGE && change.flags == VIA_VU_VERSION && change.size == 0 && change.nfd == 0);
}

/* What the owner could not do is told where that was asked for, else it ends the session. */
static void failures(void)
{
    const struct {
        struct via_vu_msg m;
        int want;
        const char *words;
    } part[] = {
        {msg_table(2, 2, two), VIA_BACK_MEM_TABLE, "SET_MEM_TABLE"},
        {msg_region(VIA_VU_ADD_MEM_REG, two[1], 1), VIA_BACK_MEM_ADD, "ADD_MEM_REG"},
        {msg_u64(VIA_VU_SET_FEATURES, BIT30), VIA_BACK_FEATURES, "SET_FEATURES"},
        {msg_u64(VIA_VU_SET_STATUS, 0), VIA_BACK_STATUS, "SET_STATUS"},
        {msg_plain(VIA_VU_RESET_DEVICE), VIA_BACK_RESET, "RESET_DEVICE"},
        {msg_fd(VIA_VU_SET_VRING_CALL, 0, 1), VIA_BACK_RING_CALL, "SET_VRING_CALL"},
        {msg_config(VIA_VU_SET_CONFIG, 0, 8, 0, 8), VIA_BACK_CONFIG_SET, "SET_CONFIG"},
        {msg_region(VIA_VU_REM_MEM_REG, two[0], 0), VIA_BACK_MEM_REMOVE, "no region has"},
    };
    for (unsigned i = 0; i < via_array_len(part); i++)
        for (unsigned way = 0; way < 4; way++) {
            bool asked = way & 1, negotiated = way & 2;
            CHECK(talk_ready(&t, negotiated ? 0 : PF(REPLY_ACK)));
            CHECK_EQ(talk(&t, msg_table(1, 1, two)), VIA_BACK_MEM_TABLE);
            const struct via_back before = t.b;
            t.result = -VIA_ENOENT;
            CHECK_EQ(talk(&t, asked ? msg_ask(part[i].m) : part[i].m), part[i].want);
            CHECK(talk_fault_has(&t.b.fault, part[i].words));
            CHECK_EQ(t.replied, asked && negotiated);
            CHECK_EQ(t.b.broken, !(asked && negotiated));
            CHECK(!t.replied || talk_reply_u64(&t) == VIA_ENOENT);
            CHECK(before.features == t.b.features && before.status == t.b.status && before.slots_used == t.b.slots_used);
            CHECK(before.features_set == t.b.features_set);
        }
}

static void a_ring_that_could_not_start_may_try_again(void)
{
    CHECK(talk_ready(&t, 0));
    CHECK_EQ(talk(&t, msg_state(VIA_VU_SET_VRING_NUM, 0, 64)), VIA_BACK_NOTHING);
    CHECK_EQ(talk(&t, msg_addr(0, 0, 0x10, 0x22, 0x34)), VIA_BACK_NOTHING);
    t.result = -VIA_EFAULT;
    CHECK_EQ(talk(&t, msg_ask(msg_fd(VIA_VU_SET_VRING_KICK, 0, 1))), VIA_BACK_RING_START);
    CHECK(talk_reply_u64(&t) == VIA_EFAULT && !t.b.ring[0].started && !t.b.broken);
    t.result = 0;
    CHECK_EQ(talk(&t, msg_addr(0, 0, 0x40, 0x52, 0x64)), VIA_BACK_NOTHING);
    CHECK(!t.b.fault.what); /* the old one is not this message's */
    CHECK_EQ(talk(&t, msg_fd(VIA_VU_SET_VRING_KICK, 0, 1)), VIA_BACK_RING_START);
    CHECK(t.b.ring[0].started);
}

static void a_stop_that_fails_ends_the_session(void)
{
    CHECK(talk_ready(&t, 0));
    CHECK(talk_start_ring(&t, 0, 0));
    t.result = -VIA_EIO;
    CHECK_EQ(talk(&t, msg_ask(msg_state(VIA_VU_GET_VRING_BASE, 0, 0))), VIA_BACK_RING_STOP);
    CHECK(!t.replied && t.b.broken);
    CHECK_EQ(talk(&t, msg_plain(VIA_VU_GET_FEATURES)), BROKEN); /* and broken it stays */
}

static void memory_slots_run_out_and_come_back(void)
{
    struct via_vu_region r = {0, 0x1000, 0x7f0000000000, 0};
    CHECK(talk_ready(&t, 0));
    for (unsigned i = 0; i < 32; i++, r.gpa += 0x1000, r.uva += 0x1000)
        CHECK_EQ(talk(&t, msg_ask(msg_region(VIA_VU_ADD_MEM_REG, r, 1))), VIA_BACK_MEM_ADD);
    struct via_vu_msg m = msg_ask(msg_region(VIA_VU_ADD_MEM_REG, r, 1));
    CHECK_EQ(talk_feed(&t, &m), VIA_BACK_NOTHING);
    CHECK(talk_reply_u64(&t) == VIA_ENOSPC && m.fd[0] == FIRST_FD && talk_fault_has(&t.b.fault, "slots are taken"));
    r.gpa = 0;
    CHECK_EQ(talk(&t, msg_ask(msg_region(VIA_VU_REM_MEM_REG, r, 0))), VIA_BACK_MEM_REMOVE);
    CHECK_EQ(talk(&t, msg_ask(msg_region(VIA_VU_ADD_MEM_REG, r, 1))), VIA_BACK_MEM_ADD);
    CHECK(talk_reply_u64(&t) == 0 && t.b.slots_used == 32);
    CHECK_EQ(talk(&t, msg_table(0, 0, NULL)), VIA_BACK_MEM_TABLE); /* a table replaces all of them */
    CHECK_EQ(t.b.slots_used, 0);
    CHECK_EQ(talk(&t, msg_ask(msg_region(VIA_VU_REM_MEM_REG, r, 0))), VIA_BACK_NOTHING);
    CHECK(talk_reply_u64(&t) == VIA_ENOENT && talk_fault_has(&t.b.fault, "no memory regions") && !t.b.broken);
}

static void tables_of_memory(void)
{
    struct via_vu_region r[8];
    for (unsigned i = 0; i < 8; i++)
        r[i] = (struct via_vu_region){0x10000u * i, 0x10000 - i, 0x7f0000000000 - 0x10000u * i, i};
    for (unsigned n = 0; n <= 8; n++) {
        CHECK(talk_ready(&t, 0));
        CHECK_EQ(talk(&t, msg_table(n, n, r)), VIA_BACK_MEM_TABLE);
        CHECK_EQ(t.act->n, n);
        for (unsigned i = 0; i < 8; i++)
            CHECK_EQ(t.act->fd[i], i < n ? FIRST_FD + (int)i : -1);
        CHECK(memcmp(t.act->region, r, n * sizeof(r[0])) == 0);
    }
    /* The very end of each address space. */
    const struct via_vu_region top = {UINT64_MAX - 0xfff, 0x1000, UINT64_MAX - 0xfff, UINT64_MAX - 0xfff};
    CHECK_EQ(talk(&t, msg_table(1, 1, &top)), VIA_BACK_MEM_TABLE);
}

TAP_MAIN(TEST(configuration_is_judged), TEST(a_front_end_of_today), TEST(rings_take_their_parts_in_any_order),
         TEST(a_base_need_not_be_sent), TEST(stopping_takes_an_early_kick_back), TEST(stopping_tells_where_the_ring_stands),
         TEST(descriptors_are_replaced_while_a_ring_runs), TEST(config_space), TEST(failures),
         TEST(a_ring_that_could_not_start_may_try_again), TEST(a_stop_that_fails_ends_the_session),
         TEST(memory_slots_run_out_and_come_back), TEST(tables_of_memory))
