/* SPDX-License-Identifier: BSD-2-Clause */
/* A front-end session against a back-end session, through the codec: what one says the other understands. */
#include <string.h>

#include <tap.h>

#include "talk.h"

static struct talk t;
static struct via_front f;

/* Over the wire: header and payload as bytes, so that nothing else can have been understood. */
static bool carry(const struct via_vu_msg *from, struct via_vu_msg *to)
{
    uint8_t bytes[VIA_VU_HDR];
    struct via_fault fault = {0};
    via_vu_encode_header(from, bytes);
    memset(to, 0xaa, sizeof(*to));
    if (via_vu_decode_header(to, bytes, &fault))
        return false;
    memcpy(to->payload, from->payload, from->size);
    to->nfd = from->nfd;
    for (unsigned i = 0; i < VIA_VU_FDS_MAX; i++)
        to->fd[i] = i < from->nfd ? from->fd[i] : -1;
    return true;
}

/* The message there, the answer back; the front-end's result. Both agree on whether there is one. */
static int over(const struct via_vu_msg *m, int want)
{
    struct via_vu_msg there, back;
    if (!carry(m, &there) || talk_feed(&t, &there) != want || t.replied != via_front_awaits(&f)) {
        tap_note(via_vu_name(m->request));
        tap_note(t.b.fault.what ? t.b.fault.what : "no fault");
        return -1000;
    }
    if (!t.replied)
        return 0;
    return carry(&t.reply, &back) ? via_front_feed(&f, &back) : -1000;
}

#define OVER(compose, action)                                                                                                              \
    do {                                                                                                                                   \
        struct via_vu_msg m;                                                                                                               \
        compose;                                                                                                                           \
        CHECK_OR_FALSE(over(&m, action) == 0);                                                                                             \
    } while (0)

static bool negotiate(uint64_t protocol)
{
    CHECK_OR_FALSE(talk_init(&t));
    via_front_init(&f);
    OVER(via_front_plain(&f, &m, VIA_VU_SET_OWNER), VIA_BACK_NOTHING);
    OVER(via_front_get(&f, &m, VIA_VU_GET_FEATURES), VIA_BACK_NOTHING);
    CHECK_OR_FALSE(f.offered == (VERSION_1 | EVENT_IDX | BIT30));
    if (protocol) {
        OVER(via_front_get(&f, &m, VIA_VU_GET_PROTOCOL_FEATURES), VIA_BACK_NOTHING);
        CHECK_OR_FALSE(f.protocol_offered == ALL_PROTOCOL);
        OVER(via_front_set_u64(&f, &m, VIA_VU_SET_PROTOCOL_FEATURES, protocol), VIA_BACK_NOTHING);
        OVER(via_front_get(&f, &m, VIA_VU_GET_QUEUE_NUM), VIA_BACK_NOTHING);
        CHECK_OR_FALSE(f.queues_max == 2);
        OVER(via_front_back_req_fd(&f, &m, FIRST_FD), VIA_BACK_REQ_FD);
    }
    OVER(via_front_set_u64(&f, &m, VIA_VU_SET_FEATURES, VERSION_1 | (protocol ? BIT30 : 0)), VIA_BACK_FEATURES);
    CHECK_OR_FALSE(t.act->value == VERSION_1);
    return true;
}

static bool share_memory(uint64_t protocol)
{
    const struct via_vu_region r[3] = {{0, 0x1000, 0x100000, 0}, {0x1000, 0x1000, 0x200000, 0x1000}, {0x8000, 0x1000, 0x300000, 0}};
    const int fd[3] = {FIRST_FD, FIRST_FD + 1, FIRST_FD + 2};
    OVER(via_front_mem_table(&f, &m, r, fd, 2), VIA_BACK_MEM_TABLE);
    CHECK_OR_FALSE(t.act->n == 2 && memcmp(t.act->region, r, 2 * sizeof(r[0])) == 0 && t.act->fd[1] == FIRST_FD + 1);
    if (!(protocol & PF(CONFIGURE_MEM_SLOTS)))
        return true;
    OVER(via_front_get(&f, &m, VIA_VU_GET_MAX_MEM_SLOTS), VIA_BACK_NOTHING);
    CHECK_OR_FALSE(f.value == 32);
    OVER(via_front_mem_reg(&f, &m, true, &r[2], FIRST_FD), VIA_BACK_MEM_ADD);
    CHECK_OR_FALSE(memcmp(t.act->region, &r[2], sizeof(r[2])) == 0);
    OVER(via_front_mem_reg(&f, &m, false, &r[0], -1), VIA_BACK_MEM_REMOVE);
    CHECK_OR_FALSE(memcmp(t.act->region, &r[0], sizeof(r[0])) == 0 && t.b.slots_used == 2);
    return true;
}

static bool run_rings(uint64_t protocol)
{
    for (unsigned i = 0; i < 2; i++) {
        OVER(via_front_ring_state(&f, &m, VIA_VU_SET_VRING_NUM, i, 256), VIA_BACK_NOTHING);
        OVER(via_front_ring_state(&f, &m, VIA_VU_SET_VRING_BASE, i, 65530 + i), VIA_BACK_NOTHING);
        OVER(via_front_ring_addr(&f, &m, i, 0x1000, 0x2002, 0x3004), VIA_BACK_NOTHING);
        OVER(via_front_ring_fd(&f, &m, VIA_VU_SET_VRING_CALL, i, FIRST_FD), VIA_BACK_RING_CALL);
        OVER(via_front_ring_fd(&f, &m, VIA_VU_SET_VRING_ERR, i, -1), VIA_BACK_RING_ERR);
        OVER(via_front_ring_fd(&f, &m, VIA_VU_SET_VRING_KICK, i, FIRST_FD), VIA_BACK_RING_START);
        const struct via_back_ring *r = &t.b.ring[i];
        CHECK_OR_FALSE(r->num == 256 && r->base == 65530 + i && r->desc == 0x1000 && r->avail == 0x2002 && r->used == 0x3004);
        if (protocol)
            OVER(via_front_ring_state(&f, &m, VIA_VU_SET_VRING_ENABLE, i, 1), VIA_BACK_RING_ENABLE);
        CHECK_OR_FALSE(r->enabled);
    }
    for (unsigned i = 0; i < 2; i++) {
        t.value = 10 + i;
        OVER(via_front_ring_state(&f, &m, VIA_VU_GET_VRING_BASE, i, 0), VIA_BACK_RING_STOP);
        CHECK_OR_FALSE(f.value == 10 + i);
    }
    return true;
}

static bool use_device(uint64_t protocol)
{
    if (protocol & PF(CONFIG)) {
        OVER(via_front_config_get(&f, &m, 0, 60), VIA_BACK_CONFIG_GET);
        CHECK_OR_FALSE(f.value == 60 && f.config[59] == 0);
        OVER(via_front_config_set(&f, &m, 32, (const uint8_t *)"\1", 1), VIA_BACK_CONFIG_SET);
        CHECK_OR_FALSE(t.act->offset == 32 && t.act->len == 1 && t.act->config[0] == 1);
        struct via_vu_msg change, there, reply;
        bool send;
        via_back_config_changed(&t.b, &change);
        CHECK_OR_FALSE(carry(&change, &there) && via_front_feed_back_req(&f, &there, &reply, &send) == 1 && !send);
    }
    if (protocol & PF(STATUS)) {
        OVER(via_front_set_u64(&f, &m, VIA_VU_SET_STATUS, 15), VIA_BACK_STATUS);
        OVER(via_front_get(&f, &m, VIA_VU_GET_STATUS), VIA_BACK_NOTHING);
        CHECK_OR_FALSE(f.value == 15);
    }
    if (protocol & PF(RESET_DEVICE))
        OVER(via_front_plain(&f, &m, VIA_VU_RESET_DEVICE), VIA_BACK_RESET);
    OVER(via_front_plain(&f, &m, VIA_VU_RESET_OWNER), VIA_BACK_NOTHING);
    return true;
}

static void whole_lives(void)
{
    const uint64_t protocol[] = {0, ALL_PROTOCOL, ALL_PROTOCOL & ~PF(REPLY_ACK), PF(MQ) | PF(BACKEND_REQ) | PF(REPLY_ACK)};
    for (unsigned i = 0; i < via_array_len(protocol); i++) {
        CHECK(negotiate(protocol[i]));
        CHECK(share_memory(protocol[i]));
        CHECK(run_rings(protocol[i]));
        CHECK(use_device(protocol[i]));
        CHECK(!t.b.broken && !f.broken && !t.lost_fd);
    }
}

static void failures_arrive(void)
{
    const struct via_vu_region r = {0, 0x1000, 0x100000, 0};
    struct via_vu_msg m;
    CHECK(negotiate(ALL_PROTOCOL));
    t.result = -VIA_EINVAL;
    via_front_mem_reg(&f, &m, true, &r, FIRST_FD);
    CHECK_EQ(over(&m, VIA_BACK_MEM_ADD), -VIA_EIO);
    CHECK_EQ(f.fault.got, VIA_EINVAL);
    via_front_config_get(&f, &m, 0, 60);
    CHECK_EQ(over(&m, VIA_BACK_CONFIG_GET), -VIA_EIO);
    t.result = 0;
    via_front_mem_reg(&f, &m, false, &r, -1);
    CHECK_EQ(over(&m, VIA_BACK_NOTHING), -VIA_EIO);
    via_front_mem_reg(&f, &m, true, &r, FIRST_FD);
    CHECK_EQ(over(&m, VIA_BACK_MEM_ADD), 0);
    CHECK(!t.b.broken && !f.broken);
}

TAP_MAIN(TEST(whole_lives), TEST(failures_arrive))
