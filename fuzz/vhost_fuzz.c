/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_fuzz: bytes as a hostile peer of a vhost-user session. The first byte says which end is under test: messages for the back-end's
 * session (and results that its owner comes to), or answers and own requests for the front-end's.
 */
#include <string.h>

#include <viaduct/proto.h>

#include "input.h"

#define QUEUES 3u
#define FIRST_FD 100

/* A message: request, flags, descriptors, size, payload. Now and then the header is twelve raw bytes instead, through the codec. */
static bool message(struct input *in, struct via_vu_msg *m)
{
    struct via_fault fault = {0};
    memset(m, 0, sizeof(*m));
    m->request = byte(in) % 64;
    m->flags = VIA_VU_VERSION | (byte(in) & (VIA_VU_FLAG_NEED_REPLY | VIA_VU_FLAG_REPLY));
    m->nfd = byte(in) % (VIA_VU_FDS_MAX + 2);
    m->size = byte(in) * 2;
    if (m->request == 63) {
        uint8_t header[VIA_VU_HDR];
        for (unsigned i = 0; i < VIA_VU_HDR; i++)
            header[i] = (uint8_t)byte(in);
        int err = via_vu_decode_header(m, header, &fault);
        REQUIRE((err == 0) == !fault.what && m->size <= VIA_VU_PAYLOAD_MAX);
        if (err)
            return false;
    }
    for (unsigned i = 0; i < m->size && i < VIA_VU_PAYLOAD_MAX; i++)
        m->payload[i] = (uint8_t)byte(in);
    for (unsigned i = 0; i < VIA_VU_FDS_MAX; i++)
        m->fd[i] = i < m->nfd ? FIRST_FD + (int)i : -1;
    return true;
}

static void count_fds(const struct via_vu_msg *m, const struct via_back_action *act)
{
    for (unsigned i = 0; i < m->nfd && i < VIA_VU_FDS_MAX; i++) {
        unsigned found = m->fd[i] == FIRST_FD + (int)i;
        for (unsigned k = 0; act && k < VIA_VU_FDS_MAX; k++)
            found += act->fd[k] == FIRST_FD + (int)i;
        REQUIRE(found == 1);
    }
}

static void act_is_sound(const struct via_back *b, const struct via_back_action *act)
{
    const struct via_back_ring *r = &b->ring[act->index];
    REQUIRE(act->what <= VIA_BACK_RING_LOG && act->index < QUEUES && act->n <= VIA_VU_TABLE_REGIONS);
    if (act->what == VIA_BACK_RING_START)
        REQUIRE(!r->started && r->num && b->features_set);
    if (act->what == VIA_BACK_RING_STOP || act->what == VIA_BACK_RING_ENABLE)
        REQUIRE(r->started);
    if (act->what == VIA_BACK_RING_LOG)
        REQUIRE(r->started);
    if (act->what == VIA_BACK_LOG_BASE)
        REQUIRE(act->region[0].size && act->region[0].size - 1 <= UINT64_MAX - act->region[0].mmap_offset && act->fd[0] >= 0);
    if (act->what == VIA_BACK_CONFIG_GET || act->what == VIA_BACK_CONFIG_SET) {
        REQUIRE(act->len >= 1 && act->len <= VIA_VU_CONFIG_MAX && act->offset <= VIA_VU_CONFIG_MAX - act->len);
        REQUIRE(act->config >= b->msg.payload && act->config + act->len <= b->msg.payload + VIA_VU_PAYLOAD_MAX);
        memset(act->config, 1, act->len);
    }
    for (unsigned i = 0; i < act->n && act->what != VIA_BACK_MEM_REMOVE && act->what != VIA_BACK_NOTHING; i++)
        REQUIRE(act->region[i].size && act->region[i].size - 1 <= UINT64_MAX - act->region[i].gpa && act->fd[i] >= 0);
}

/* A translation, at any time: what is taken in makes sense, and what is in hand stays as it is. */
static void iotlb(struct via_back *b, const struct via_vu_msg *m)
{
    struct via_vu_iotlb got;
    struct via_vu_msg reply;
    bool busy = b->busy;
    int err = via_back_iotlb(b, m, &got);
    REQUIRE(b->busy == busy && b->broken == (err == -VIA_EPROTO) && (err == 0) == !b->fault.what);
    REQUIRE(err == 0 || err == -VIA_EPROTO || err == -VIA_EINVAL || err == -VIA_ENOTSUP);
    via_back_iotlb_reply(b, err, &reply);
    REQUIRE(reply.size == 8 && reply.nfd == 0 && reply.request == VIA_VU_IOTLB_MSG);
    if (err)
        return;
    REQUIRE(via_back_translated(b) && got.size && got.iova + (got.size - 1) >= got.iova && got.uva + (got.size - 1) >= got.uva);
    REQUIRE(got.type == VIA_VU_IOTLB_UPDATE ? got.perm >= 1 && got.perm <= 3 : got.type == VIA_VU_IOTLB_INVALIDATE && !got.perm);
}

/* False: the session is broken. */
static bool between(struct via_back *b, struct input *in)
{
    struct via_vu_msg m;
    uint64_t value;
    if (!message(in, &m))
        return true;
    if (m.flags & VIA_VU_FLAG_REPLY) {
        int err = via_back_feed_answer(b, &m, &value);
        REQUIRE(b->broken == (err == -VIA_EPROTO) && (err == 0) == !b->fault.what);
    } else {
        m.request = VIA_VU_IOTLB_MSG;
        iotlb(b, &m);
    }
    return !b->broken;
}

static void back(struct input *in)
{
    static struct via_back b;
    const struct via_back_cfg cfg = {.features = VIA_BIT(VIA_F_VERSION_1) | VIA_BIT(VIA_F_ACCESS_PLATFORM) | VIA_BIT(VIA_F_LOG_ALL) | 0xff,
                                     .protocol = VIA_BIT(VIA_VU_PF_MQ) | VIA_BIT(VIA_VU_PF_LOG_SHMFD) | VIA_BIT(VIA_VU_PF_REPLY_ACK) |
                                                 VIA_BIT(VIA_VU_PF_BACKEND_REQ) | VIA_BIT(VIA_VU_PF_CONFIG) |
                                                 VIA_BIT(VIA_VU_PF_RESET_DEVICE) | VIA_BIT(VIA_VU_PF_CONFIGURE_MEM_SLOTS) |
                                                 VIA_BIT(VIA_VU_PF_STATUS),
                                     .queues = QUEUES,
                                     .num_max = 256,
                                     .slots = 5};
    REQUIRE(via_back_init(&b, &cfg) == 0);
    while (in->left) {
        struct via_vu_msg m, reply;
        const struct via_back_action *act;
        if (!message(in, &m))
            return;
        if (m.request == VIA_VU_IOTLB_MSG) {
            iotlb(&b, &m);
            if (b.broken)
                return;
            continue;
        }
        int err = via_back_feed(&b, &m, &act);
        count_fds(&m, err ? NULL : act);
        REQUIRE(err == 0 || (err == -VIA_EPROTO && b.broken && b.fault.what));
        if (err)
            return;
        act_is_sound(&b, act);
        unsigned verdict = byte(in);
        if (verdict % 4 == 0 && !between(&b, in)) {
            REQUIRE(!via_back_done(&b, 0, 0, &reply) && b.broken && b.fault.what);
            return;
        }
        if (via_back_done(&b, verdict > 250 ? -VIA_EIO : 0, verdict, &reply))
            REQUIRE(reply.size <= VIA_VU_PAYLOAD_MAX && reply.nfd == 0 && reply.request == m.request);
        REQUIRE(!b.broken || b.fault.what);
        REQUIRE(b.slots_used <= VIA_VU_TABLE_REGIONS);
    }
}

static void ask(struct via_front *f, struct input *in, struct via_vu_msg *m)
{
    const enum via_vu_request get[] = {VIA_VU_GET_FEATURES, VIA_VU_GET_PROTOCOL_FEATURES, VIA_VU_GET_QUEUE_NUM, VIA_VU_GET_MAX_MEM_SLOTS,
                                       VIA_VU_GET_STATUS};
    const uint8_t bytes[VIA_VU_CONFIG_MAX] = {0};
    const struct via_vu_region region = {.size = 4096};
    switch (byte(in) % 9) {
    case 0:
        via_front_set_u64(f, m, VIA_VU_SET_PROTOCOL_FEATURES, byte(in));
        break;
    case 1:
        via_front_ring_state(f, m, VIA_VU_GET_VRING_BASE, byte(in) % QUEUES, 0);
        break;
    case 2:
        via_front_config_get(f, m, byte(in), 1 + byte(in));
        break;
    case 3:
        via_front_config_set(f, m, byte(in), bytes, 1 + byte(in));
        break;
    case 4:
        via_front_mem_reg(f, m, true, &region, FIRST_FD);
        break;
    case 5:
        via_front_set_u64(f, m, VIA_VU_SET_FEATURES, VIA_BIT(VIA_F_ACCESS_PLATFORM));
        break;
    default:
        via_front_get(f, m, get[byte(in) % via_array_len(get)]);
        break;
    }
}

static void translate(struct via_front *f, struct input *in, struct via_vu_msg *m)
{
    const struct via_vu_iotlb wide = {.iova = 0xfef00000, .size = 0xffffffff01100000, .type = VIA_VU_IOTLB_INVALIDATE};
    unsigned due = f->iotlb_due;
    if ((f->features & VIA_BIT(VIA_F_ACCESS_PLATFORM)) && byte(in) % 4 == 0) {
        via_front_iotlb(f, m, &wide);
        REQUIRE(f->iotlb_due == due + 1);
    }
}

/* The back-end's own request, and the verdict on it. */
static int own_request(struct via_front *f, const struct via_vu_msg *m)
{
    struct via_vu_iotlb miss;
    struct via_vu_msg reply;
    int event = via_front_feed_back_req(f, m, &miss);
    if (event < 0)
        return event;
    if (event == VIA_FRONT_MISS || event == VIA_FRONT_ACCESS_FAIL)
        REQUIRE(miss.perm >= 1 && miss.perm <= 3 && !miss.size && !miss.uva && (f->features & VIA_BIT(VIA_F_ACCESS_PLATFORM)));
    if (via_front_back_done(f, m, 0, &reply))
        REQUIRE(reply.size == 8 && reply.nfd == 0 && (reply.payload[0] == 0) == (event != VIA_FRONT_UNKNOWN));
    return event;
}

static void front(struct input *in)
{
    static struct via_front f;
    via_front_init(&f);
    while (in->left && !f.broken) {
        struct via_vu_msg m;
        if (!via_front_awaits(&f))
            ask(&f, in, &m);
        translate(&f, in, &m);
        uint32_t due = f.iotlb_due && byte(in) % 2 ? VIA_VU_IOTLB_MSG : f.await;
        unsigned iotlbs = f.iotlb_due;
        bool own = byte(in) % 8 == 0;
        if (!message(in, &m))
            return;
        if (!own && byte(in) % 8) { /* mostly near the truth */
            m.request = due;
            m.size = due == VIA_VU_IOTLB_MSG ? 8 : m.size;
            m.flags |= VIA_VU_FLAG_REPLY;
            m.nfd = 0;
        }
        int got = own ? own_request(&f, &m) : via_front_feed(&f, &m);
        REQUIRE(got >= 0 || got == -VIA_EPROTO || got == -VIA_EIO);
        REQUIRE(got >= 0 || f.fault.what);
        REQUIRE(f.broken == (got == -VIA_EPROTO));
        REQUIRE(own || f.broken || !via_front_awaits(&f) || f.iotlb_due == iotlbs - 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    if (byte(&in) & 1)
        front(&in);
    else
        back(&in);
    return 0;
}
