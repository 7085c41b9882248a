/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * 200 000 messages, most of them sensible, some not, in any order, with an owner that fails now and then: what the session promises its
 * owner holds after each.
 */
#include <string.h>

#include <tap.h>

#include "talk.h"

#define MESSAGES 200000u

static struct talk t;
static uint32_t seed = 4711;

/* What the owner knows from actions alone. */
static struct {
    bool running[2], kick[2];
    unsigned regions;
} owner;
static unsigned seen[VIA_BACK_RING_LOG + 1], broke, acked, translated, refused;

static uint32_t rnd(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)seed * n) >> 32);
}

static uint64_t odd_u64(uint64_t usual)
{
    const uint64_t odd[] = {0, 1, 2, 0x100, 0x101, UINT32_MAX, UINT64_MAX, VIA_BIT(rnd(64))};
    return rnd(100) ? usual : odd[rnd(via_array_len(odd))];
}

static struct via_vu_region any_region(void)
{
    uint64_t at = rnd(64);
    return (struct via_vu_region){odd_u64(at << 12), odd_u64((1 + rnd(2)) << 12), odd_u64((at + rnd(2)) << 20), odd_u64(0)};
}

static struct via_vu_msg any_memory(void)
{
    struct via_vu_region r[8];
    uint32_t n = rnd(3);
    for (unsigned i = 0; i < 8; i++)
        r[i] = any_region();
    switch (rnd(3)) {
    case 0:
        return msg_table(n, n, r);
    case 1:
        return msg_region(VIA_VU_ADD_MEM_REG, r[0], 1);
    default:
        return msg_region(VIA_VU_REM_MEM_REG, r[0], rnd(2));
    }
}

static struct via_vu_msg any_ring(void)
{
    uint32_t i = rnd(50) ? rnd(2) : rnd(300);
    uint64_t at = 0x1000 * (1 + rnd(20) / 19);
    bool nofd = rnd(4) == 0;
    switch (rnd(9)) {
    case 0:
        return msg_state(VIA_VU_SET_VRING_NUM, i, (uint32_t)odd_u64(rnd(20) ? 64 : 128));
    case 1:
        return msg_addr(i, rnd(50) ? rnd(2) : 2, odd_u64(at), at, at);
    case 2:
        return msg_state(VIA_VU_SET_VRING_BASE, i, (uint32_t)odd_u64(t.b.ring[i & 1].base));
    case 3:
    case 4:
        return msg_fd(VIA_VU_SET_VRING_KICK, odd_u64(i | (nofd ? VIA_VU_NOFD : 0)), !nofd);
    case 5:
        return msg_fd(rnd(2) ? VIA_VU_SET_VRING_CALL : VIA_VU_SET_VRING_ERR, i | (nofd ? VIA_VU_NOFD : 0), !nofd);
    case 6:
    case 7:
        return msg_state(VIA_VU_SET_VRING_ENABLE, i, (uint32_t)odd_u64(rnd(2)));
    default:
        return msg_state(VIA_VU_GET_VRING_BASE, i, rnd(9));
    }
}

static struct via_vu_msg any_other(void)
{
    const uint32_t plain[] = {VIA_VU_GET_FEATURES,  VIA_VU_SET_OWNER,         VIA_VU_RESET_OWNER, VIA_VU_GET_PROTOCOL_FEATURES,
                              VIA_VU_GET_QUEUE_NUM, VIA_VU_GET_MAX_MEM_SLOTS, VIA_VU_GET_STATUS,  VIA_VU_RESET_DEVICE};
    uint32_t len = 1 + rnd(80);
    const uint64_t log[] = {odd_u64(0x1000), odd_u64(0)};
    switch (rnd(10)) {
    case 6:
        return msg_raw(VIA_VU_SET_LOG_BASE, log, sizeof(log), 1);
    case 7:
        return msg_raw(VIA_VU_SET_LOG_FD, NULL, 0, 1);
    case 0:
        return msg_u64(VIA_VU_SET_FEATURES, odd_u64(VERSION_1 | (rnd(2) ? LOG_ALL : 0) | (rnd(3) ? PLATFORM : 0) | (rnd(9) ? BIT30 : 0)));
    case 1:
        return msg_u64(VIA_VU_SET_PROTOCOL_FEATURES, odd_u64(ALL_PROTOCOL));
    case 2:
        return msg_u64(VIA_VU_SET_STATUS, odd_u64(rnd(8)));
    case 3:
        return msg_config(rnd(2) ? VIA_VU_GET_CONFIG : VIA_VU_SET_CONFIG, (uint32_t)odd_u64(rnd(200)), len, rnd(2), len);
    case 4:
        return msg_raw(VIA_VU_SET_BACKEND_REQ_FD, NULL, 0, 1);
    case 5:
        return msg_raw(rnd(60), NULL, rnd(20) ? 0 : rnd(280), rnd(20) ? 0 : rnd(9));
    default:
        return msg_plain(plain[rnd(via_array_len(plain))]);
    }
}

static struct via_vu_msg any_iotlb(void)
{
    uint64_t at = odd_u64((uint64_t)rnd(64) << 12);
    struct via_vu_msg m =
        msg_iotlb(VIA_VU_IOTLB_MSG, rnd(20) ? 2 + rnd(2) : rnd(6), at, odd_u64(0x1000), odd_u64(at), rnd(20) ? 3 : rnd(5));
    if (rnd(300) == 0)
        m = msg_raw(m.request, m.payload, rnd(40), rnd(3));
    if (rnd(300) == 0)
        m.flags |= VIA_VU_FLAG_REPLY;
    return rnd(2) ? msg_ask(m) : m;
}

/* Served at any time, whatever is in hand: it leaves no trace there. */
static bool one_iotlb(void)
{
    static struct via_vu_msg hand;
    static struct via_back_action act;
    const struct via_vu_msg m = any_iotlb();
    struct via_vu_iotlb got;
    bool busy = t.b.busy, on = t.b.features & PLATFORM;
    hand = t.b.msg;
    act = t.b.act;
    int result = talk_iotlb(&t, m, &got);
    CHECK_OR_FALSE(t.b.busy == busy && talk_untouched(&hand, &t.b.msg, sizeof(hand)) && talk_untouched(&act, &t.b.act, sizeof(act)));
    if (t.b.broken)
        return result == -VIA_EPROTO;
    CHECK_OR_FALSE(talk_reply_u64(&t) == (uint64_t)-result && t.reply.request == VIA_VU_IOTLB_MSG);
    translated += result == 0;
    refused += result == -VIA_EINVAL;
    if (result)
        return on ? result == -VIA_EINVAL : result == -VIA_ENOTSUP;
    bool update = got.type == VIA_VU_IOTLB_UPDATE;
    CHECK_OR_FALSE(on && (update || got.type == VIA_VU_IOTLB_INVALIDATE));
    CHECK_OR_FALSE(got.size && got.iova + (got.size - 1) >= got.iova && got.uva + (got.size - 1) >= got.uva);
    return update ? got.perm >= 1 && got.perm <= 3 : got.perm == 0 && got.uva == 0;
}

static struct via_vu_msg any_message(void)
{
    unsigned kind = rnd(10);
    struct via_vu_msg m = kind < 2 ? any_memory() : kind < 8 ? any_ring() : any_other();
    if (rnd(200) == 0)
        m.size = rnd(280);
    if (rnd(300) == 0)
        m = msg_raw(m.request, m.payload, m.size, rnd(9));
    if (rnd(300) == 0)
        m.flags |= VIA_VU_FLAG_REPLY;
    return rnd(2) ? msg_ask(m) : m;
}

/* Is this action one that the owner, knowing what it knows, can be told to do? */
static bool sensible(const struct via_back_action *a)
{
    const struct via_back_ring *r = &t.b.ring[a->index];
    CHECK_OR_FALSE(a->what <= VIA_BACK_RING_LOG && a->index < t.b.cfg.queues && a->n <= VIA_VU_TABLE_REGIONS);
    switch (a->what) {
    case VIA_BACK_RING_START:
        CHECK_OR_FALSE(!owner.running[a->index] && t.b.features_set && (a->value || owner.kick[a->index]));
        CHECK_OR_FALSE(via_is_pow2(r->num) && r->num <= t.b.cfg.num_max && r->desc % 16 == 0 && r->avail % 2 == 0 && r->used % 4 == 0);
        break;
    case VIA_BACK_RING_STOP:
    case VIA_BACK_RING_ENABLE:
        CHECK_OR_FALSE(owner.running[a->index]);
        break;
    case VIA_BACK_MEM_ADD:
        CHECK_OR_FALSE(owner.regions < t.b.cfg.slots && a->n == 1 && a->region[0].size && a->fd[0] >= 0);
        break;
    case VIA_BACK_MEM_REMOVE:
        CHECK_OR_FALSE(owner.regions > 0 && a->n == 1);
        break;
    case VIA_BACK_CONFIG_GET:
    case VIA_BACK_CONFIG_SET:
        CHECK_OR_FALSE(a->len >= 1 && a->len <= VIA_VU_CONFIG_MAX && a->offset <= VIA_VU_CONFIG_MAX - a->len);
        memset(a->config, 7, a->len);
        break;
    case VIA_BACK_FEATURES:
        CHECK_OR_FALSE((a->value & ~t.b.cfg.features) == 0 && !owner.running[0] && !owner.running[1]);
        break;
    case VIA_BACK_LOG_ALL:
        CHECK_OR_FALSE(a->value <= 1 && t.b.features_set && (a->value != 0) == !(t.b.features & LOG_ALL));
        break;
    case VIA_BACK_LOG_BASE:
        CHECK_OR_FALSE(a->region[0].size && a->region[0].mmap_offset <= UINT64_MAX - (a->region[0].size - 1) && a->fd[0] >= 0);
        break;
    case VIA_BACK_RING_LOG:
        CHECK_OR_FALSE(owner.running[a->index] && (r->log || r->log_addr == 0));
        break;
    case VIA_BACK_STATUS:
        CHECK_OR_FALSE(a->value <= UINT8_MAX);
        break;
    default:
        break;
    }
    return true;
}

/* The owner did it: from here on it knows. */
static void remember(const struct via_back_action *a, bool ok)
{
    unsigned i = a->index;
    bool reset = a->what == VIA_BACK_RESET || (a->what == VIA_BACK_STATUS && a->value == 0);
    if (a->what == VIA_BACK_RING_KICK)
        owner.kick[i] = true;
    else if (a->what == VIA_BACK_RING_START)
        owner.running[i] = ok;
    else if (ok && a->what == VIA_BACK_RING_STOP)
        owner.running[i] = owner.kick[i] = false;
    else if (ok && a->what == VIA_BACK_MEM_TABLE)
        owner.regions = a->n;
    else if (ok && a->what == VIA_BACK_MEM_ADD)
        owner.regions++;
    else if (ok && a->what == VIA_BACK_MEM_REMOVE)
        owner.regions--;
    else if (ok && reset)
        owner.running[0] = owner.running[1] = owner.kick[0] = owner.kick[1] = false;
}

static bool reply_is_due(const struct via_vu_msg *m, int result)
{
    switch (m->request) {
    case VIA_VU_GET_CONFIG:
        return true;
    case VIA_VU_GET_VRING_BASE:
    case VIA_VU_SET_LOG_BASE:
        return result == 0;
    case VIA_VU_GET_FEATURES:
    case VIA_VU_GET_PROTOCOL_FEATURES:
    case VIA_VU_GET_QUEUE_NUM:
    case VIA_VU_GET_MAX_MEM_SLOTS:
    case VIA_VU_GET_STATUS:
        return true;
    default:
        return t.b.ack;
    }
}

static bool one_message(void)
{
    struct via_vu_msg m = any_message();
    if (m.request == VIA_VU_IOTLB_MSG)
        return one_iotlb();
    const struct via_vu_msg was = m;
    int err = via_back_feed(&t.b, &m, &t.act);
    for (unsigned i = 0; i < m.nfd; i++) {
        unsigned found = m.fd[i] == was.fd[i];
        CHECK_OR_FALSE(found || m.fd[i] == -1);
        for (unsigned k = 0; !err && k < VIA_VU_FDS_MAX; k++)
            found += t.act->fd[k] == was.fd[i];
        CHECK_OR_FALSE(found == 1);
    }
    if (err) {
        CHECK_OR_FALSE(err == -VIA_EPROTO && t.b.broken && t.b.fault.what);
        return true;
    }
    CHECK_OR_FALSE(!t.b.broken && t.b.busy && sensible(t.act));
    bool asked = t.act->what != VIA_BACK_NOTHING;
    int result = asked && rnd(30) == 0 ? -VIA_EIO : 0;
    seen[t.act->what]++;
    if (rnd(2)) {
        CHECK_OR_FALSE(one_iotlb());
        if (t.b.broken) {
            struct via_vu_msg none;
            return !via_back_done(&t.b, result, 0, &none) && t.b.broken && !t.b.busy;
        }
    }
    bool replied = via_back_done(&t.b, result, rnd(65536), &t.reply);
    remember(t.act, result == 0);
    acked += replied;
    CHECK_OR_FALSE(replied == reply_is_due(&was, result));
    CHECK_OR_FALSE(!replied ||
                   (t.reply.request == was.request && t.reply.flags == 5 && t.reply.size <= VIA_VU_PAYLOAD_MAX && !t.reply.nfd));
    CHECK_OR_FALSE(!t.b.broken || t.b.fault.what);
    for (unsigned i = 0; i < 2; i++)
        CHECK_OR_FALSE(t.b.broken || t.b.ring[i].started == owner.running[i]);
    CHECK_OR_FALSE(t.b.broken || t.b.slots_used == owner.regions);
    return true;
}

static void promises_hold(void)
{
    CHECK(talk_ready(&t, 0));
    for (unsigned i = 0; i < MESSAGES; i++) {
        if (t.b.broken) {
            broke++;
            CHECK(rnd(8) ? talk_translated(&t, rnd(2) ? 0 : PF(REPLY_ACK)) : talk_init(&t));
            memset(&owner, 0, sizeof(owner));
        }
        CHECK(one_message());
        CHECK(t.b.broken || rnd(8) || one_iotlb());
    }
}

/* The randomness reached every action, and both ways to end. */
static void nothing_was_left_out(void)
{
    for (unsigned i = 0; i < via_array_len(seen); i++)
        CHECK(seen[i] > 20);
    CHECK(broke > 1000 && broke < MESSAGES / 4 && acked > 1000);
    CHECK(translated > 1000 && refused > 1000);
}

TAP_MAIN(TEST(promises_hold), TEST(nothing_was_left_out))
