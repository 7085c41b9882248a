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
    CHECK_OR_FALSE(f.offered == (OFFERED | BIT30));
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

/* Rings run, and the guest is about to move: what is written is logged from here on, and then no more. */
static bool keep_a_log(uint64_t protocol)
{
    if (!(protocol & PF(LOG_SHMFD)))
        return true;
    uint64_t features = VERSION_1 | BIT30;
    const struct via_back_ring *r = &t.b.ring[1];
    OVER(via_front_log_base(&f, &m, 0x1000, 0x2345, FIRST_FD), VIA_BACK_LOG_BASE);
    CHECK_OR_FALSE(t.act->region[0].mmap_offset == 0x1000 && t.act->region[0].size == 0x2345 && t.act->fd[0] == FIRST_FD);
    OVER(via_front_log_fd(&f, &m, FIRST_FD), VIA_BACK_LOG_FD);
    CHECK_OR_FALSE(t.act->fd[0] == FIRST_FD);
    OVER(via_front_set_u64(&f, &m, VIA_VU_SET_FEATURES, features | LOG_ALL), VIA_BACK_LOG_ALL);
    CHECK_OR_FALSE(t.act->value == 1 && t.b.features == (features | LOG_ALL));
    OVER(via_front_ring_log(&f, &m, 1, 0x1000, 0x2002, 0x3004, 0x77004), VIA_BACK_RING_LOG);
    CHECK_OR_FALSE(t.act->index == 1 && r->log && r->log_addr == 0x77004 && r->used == 0x3004 && !t.b.ring[0].log);
    OVER(via_front_ring_log(&f, &m, 1, 0x1000, 0x2002, 0x3004, 0x77004), VIA_BACK_NOTHING);
    OVER(via_front_ring_log(&f, &m, 1, 0x1000, 0x2002, 0x3004, 0x88004), VIA_BACK_RING_LOG);
    CHECK_OR_FALSE(r->log_addr == 0x88004);
    OVER(via_front_ring_addr(&f, &m, 1, 0x1000, 0x2002, 0x3004), VIA_BACK_RING_LOG);
    CHECK_OR_FALSE(!r->log && r->log_addr == 0);
    OVER(via_front_set_u64(&f, &m, VIA_VU_SET_FEATURES, features), VIA_BACK_LOG_ALL);
    CHECK_OR_FALSE(t.act->value == 0 && t.b.features == features);
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
    if (!keep_a_log(protocol))
        return false;
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
        struct via_vu_iotlb iotlb;
        via_back_config_changed(&t.b, &change);
        CHECK_OR_FALSE(carry(&change, &there) && via_front_feed_back_req(&f, &there, &iotlb) == VIA_FRONT_CONFIG_CHANGE);
        CHECK_OR_FALSE(!via_front_back_done(&f, &there, 0, &reply));
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

/* A miss there; its update back, taken in whatever else is going on; its answer. */
static bool miss_and_update(uint64_t iova, struct via_vu_msg *answer)
{
    struct via_vu_msg m, there;
    struct via_vu_iotlb got;
    uint64_t value;
    bool ack = t.b.protocol & PF(REPLY_ACK);
    via_back_iotlb_event(&t.b, &m, VIA_VU_IOTLB_MISS, (via_iova){iova}, 2, ack);
    CHECK_OR_FALSE(carry(&m, &there) && via_front_feed_back_req(&f, &there, &got) == VIA_FRONT_MISS && got.iova == iova && got.perm == 2);
    const struct via_vu_iotlb update = {iova, 0x1000, 0x200000, 3, VIA_VU_IOTLB_UPDATE};
    via_front_iotlb(&f, &m, &update);
    CHECK_OR_FALSE(carry(&m, &there) && talk_iotlb(&t, there, &got) == 0);
    CHECK_OR_FALSE(got.iova == iova && got.size == 0x1000 && got.uva == 0x200000 && got.perm == 3 && got.type == VIA_VU_IOTLB_UPDATE);
    *answer = t.reply;
    struct via_vu_msg miss = msg_ask(msg_iotlb(VIA_VU_BACK_IOTLB_MSG, VIA_VU_IOTLB_MISS, iova, 0, 0, 2));
    CHECK_OR_FALSE(via_front_back_done(&f, &miss, 0, &m) == ack);
    return !ack || (carry(&m, &there) && via_back_feed_answer(&t.b, &there, &value) == 0 && value == 0);
}

/* The back-end has this in hand and can't end it before a translation comes. */
static bool misses_during(const struct via_vu_msg *m, int want, uint64_t value)
{
    struct via_vu_msg there, back;
    CHECK_OR_FALSE(carry(m, &there) && via_back_feed(&t.b, &there, &t.act) == 0 && (int)t.act->what == want);
    for (unsigned i = 0; i < 3; i++)
        CHECK_OR_FALSE(miss_and_update(0x1000 * i, &back) && carry(&back, &there) && via_front_feed(&f, &there) == 0 && !f.iotlb_due);
    CHECK_OR_FALSE(t.b.busy);
    bool replied = via_back_done(&t.b, 0, value, &back);
    CHECK_OR_FALSE(replied == via_front_awaits(&f));
    return !replied || (carry(&back, &there) && via_front_feed(&f, &there) == 0 && !via_front_awaits(&f));
}

static void misses_in_the_middle_of_anything(void)
{
    const uint64_t protocol[] = {ALL_PROTOCOL, ALL_PROTOCOL & ~PF(REPLY_ACK)};
    const struct via_vu_region r = {0, 0x1000, 0x100000, 0};
    const int fd = FIRST_FD;
    struct via_vu_msg m;
    for (unsigned i = 0; i < via_array_len(protocol); i++) {
        CHECK(negotiate(protocol[i]));
        via_front_set_u64(&f, &m, VIA_VU_SET_FEATURES, VERSION_1 | PLATFORM | BIT30);
        CHECK_EQ(over(&m, VIA_BACK_FEATURES), 0);
        CHECK(share_memory(protocol[i]));
        via_front_mem_table(&f, &m, &r, &fd, 1);
        CHECK(misses_during(&m, VIA_BACK_MEM_TABLE, 0));
        via_front_ring_state(&f, &m, VIA_VU_SET_VRING_NUM, 0, 8);
        CHECK_EQ(over(&m, VIA_BACK_NOTHING), 0);
        via_front_ring_addr(&f, &m, 0, 0x1000, 0x2000, 0x3000);
        CHECK_EQ(over(&m, VIA_BACK_NOTHING), 0);
        via_front_ring_fd(&f, &m, VIA_VU_SET_VRING_KICK, 0, FIRST_FD);
        CHECK(misses_during(&m, VIA_BACK_RING_START, 0));
        via_front_ring_state(&f, &m, VIA_VU_GET_VRING_BASE, 0, 0);
        CHECK(misses_during(&m, VIA_BACK_RING_STOP, 41));
        CHECK_EQ(f.value, 41);
    }
}

/* An invalidation is answered late, and what was said after it in its turn. */
static void misses_before_an_invalidation_is_answered(void)
{
    const struct via_vu_iotlb wide = {0xfef00000, 0xffffffff01100000, 0, 0, VIA_VU_IOTLB_INVALIDATE};
    struct via_vu_msg m, there, answer[3];
    struct via_vu_iotlb got;
    CHECK(negotiate(ALL_PROTOCOL));
    via_front_set_u64(&f, &m, VIA_VU_SET_FEATURES, VERSION_1 | PLATFORM | BIT30);
    CHECK_EQ(over(&m, VIA_BACK_FEATURES), 0);
    via_front_iotlb(&f, &m, &wide);
    CHECK(carry(&m, &there));
    CHECK_EQ(talk_iotlb(&t, there, &got), 0);
    CHECK(got.iova == wide.iova && got.size == wide.size && got.type == VIA_VU_IOTLB_INVALIDATE);
    answer[0] = t.reply;
    CHECK(miss_and_update(0x1000, &answer[1]) && miss_and_update(0x2000, &answer[2]));
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(f.iotlb_due, 3 - i);
        CHECK(carry(&answer[i], &there));
        CHECK_EQ(via_front_feed(&f, &there), 0);
    }
    CHECK_EQ(f.iotlb_due, 0);
}

TAP_MAIN(TEST(whole_lives), TEST(failures_arrive), TEST(misses_in_the_middle_of_anything), TEST(misses_before_an_invalidation_is_answered))
