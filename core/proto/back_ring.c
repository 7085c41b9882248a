/* SPDX-License-Identifier: BSD-2-Clause */
/* The back-end session's rings: what they are given, in whatever order, and when that is enough to start. */
#include <string.h>

#include "back_parts.h"

static struct via_back_ring *ring_of(struct via_back *b, uint64_t index)
{
    if (index >= b->cfg.queues) {
        (void)via_back_break(b, "the message names a ring that this device does not have", index, b->cfg.queues - 1u);
        return NULL;
    }
    b->act.index = (unsigned)index;
    return &b->ring[index];
}

static struct via_vu_state state_of(const struct via_back *b)
{
    struct via_vu_state s;
    memcpy(&s, b->msg.payload, sizeof(s));
    return s;
}

bool via_back_running(const struct via_back *b)
{
    for (unsigned i = 0; i < b->cfg.queues; i++)
        if (b->ring[i].started)
            return true;
    return false;
}

bool via_back_big(const struct via_back *b)
{
    bool big = false;
    for (unsigned i = 0; i < b->cfg.queues; i++)
        big |= b->ring[i].big;
    return big;
}

/* A ring starts with its kick, or, where that came early, with the last of the others. */
static int start_if_complete(struct via_back *b, struct via_back_ring *r, bool by_kick)
{
    if (r->started || !r->num || !r->has_addr || !r->has_kick || !(r->has_base || by_kick))
        return 0;
    if (!b->features_set)
        return via_back_break(b, "a ring is to start before SET_FEATURES said by which rules: out of order", b->act.index, 0);
    if (r->big && b->features & VIA_BIT(VIA_F_VERSION_1))
        return via_back_break(b, "SET_VRING_ENDIAN said big-endian, but the driver accepted VERSION_1, whose rings are little-endian",
                              b->act.index, 0);
    for (unsigned i = 0; i < b->cfg.queues; i++)
        if (b->ring[i].started && b->ring[i].big != r->big)
            return via_back_break(b, "a ring is to start in another byte order than one that runs: a device has one driver", b->act.index,
                                  i);
    if (!r->has_base)
        r->base = 0;
    b->act.what = VIA_BACK_RING_START;
    b->act.value = by_kick;
    return 0;
}

int via_back_ring_num(struct via_back *b)
{
    struct via_vu_state s = state_of(b);
    struct via_back_ring *r = ring_of(b, s.index);
    if (!r)
        return -VIA_EPROTO;
    if (!via_is_pow2(s.num) || s.num > b->cfg.num_max)
        return via_back_break(b, "SET_VRING_NUM: a queue size has to be a power of two within the limit", s.num, b->cfg.num_max);
    if (r->started && r->num != s.num)
        return via_back_break(b, "SET_VRING_NUM: the ring is running, stop it by GET_VRING_BASE first", s.num, r->num);
    r->num = (uint16_t)s.num;
    return start_if_complete(b, r, false);
}

/* Front-ends repeat a running ring's addresses to have its used ring logged, or no more. */
static void log_change(struct via_back *b, struct via_back_ring *r, const struct via_vu_addr *a)
{
    bool log = a->flags & VIA_VU_ADDR_F_LOG;
    if (r->started && (r->log != log || (log && r->log_addr != a->log)))
        b->act.what = VIA_BACK_RING_LOG;
    r->log = log;
    r->log_addr = log ? a->log : 0;
}

int via_back_ring_addr(struct via_back *b)
{
    struct via_vu_addr a;
    memcpy(&a, b->msg.payload, sizeof(a));
    struct via_back_ring *r = ring_of(b, a.index);
    if (!r)
        return -VIA_EPROTO;
    if (a.flags & ~VIA_VU_ADDR_F_LOG)
        return via_back_break(b, "SET_VRING_ADDR: flags that do not exist", a.flags, VIA_VU_ADDR_F_LOG);
    if (a.desc % 16 || a.avail % 2 || a.used % 4)
        return via_back_break(b, "SET_VRING_ADDR: an area is misaligned (16 bytes for descriptors, 2 for available, 4 for used)",
                              a.desc % 16   ? a.desc
                              : a.avail % 2 ? a.avail
                                            : a.used,
                              a.desc % 16   ? 16
                              : a.avail % 2 ? 2
                                            : 4);
    if (r->started && (r->desc != a.desc || r->avail != a.avail || r->used != a.used))
        return via_back_break(b, "SET_VRING_ADDR: the ring is running, stop it by GET_VRING_BASE first", a.desc, r->desc);
    r->desc = a.desc;
    r->avail = a.avail;
    r->used = a.used;
    r->has_addr = true;
    log_change(b, r, &a);
    return start_if_complete(b, r, false);
}

int via_back_ring_base(struct via_back *b)
{
    struct via_vu_state s = state_of(b);
    struct via_back_ring *r = ring_of(b, s.index);
    if (!r)
        return -VIA_EPROTO;
    if (s.num > UINT16_MAX)
        return via_back_break(b, "SET_VRING_BASE: a split ring's index has 16 bits", s.num, UINT16_MAX);
    if (r->started && r->base != s.num)
        return via_back_break(b, "SET_VRING_BASE: the ring is running, stop it by GET_VRING_BASE first", s.num, r->base);
    r->base = (uint16_t)s.num;
    r->has_base = true;
    return start_if_complete(b, r, false);
}

int via_back_ring_endian(struct via_back *b)
{
    struct via_vu_state s = state_of(b);
    struct via_back_ring *r = ring_of(b, s.index);
    if (!r)
        return -VIA_EPROTO;
    if (s.num > 1)
        return via_back_break(b, "SET_VRING_ENDIAN: neither 0 (little) nor 1 (big)", s.num, 1);
    if (r->started && r->big != s.num)
        return via_back_break(b, "SET_VRING_ENDIAN: the ring is running, stop it by GET_VRING_BASE first", s.num, r->big);
    r->big = s.num;
    return 0;
}

int via_back_ring_stop(struct via_back *b)
{
    struct via_back_ring *r = ring_of(b, state_of(b).index); /* num is reserved: front-ends leave anything there */
    if (!r)
        return -VIA_EPROTO;
    if (r->started)
        b->act.what = VIA_BACK_RING_STOP;
    else
        r->has_kick = false;
    return 0;
}

/* Index and descriptor of KICK, CALL, ERR agree with each other. The ring, or NULL: broken. */
static struct via_back_ring *ring_fd(struct via_back *b)
{
    uint64_t v = via_back_u64(b);
    if (v & ~(uint64_t)(VIA_VU_NOFD | 0xff)) {
        (void)via_back_break(b, "a ring's descriptor message has bits set that do not exist", v, VIA_VU_NOFD | 0xff);
        return NULL;
    }
    if (v & VIA_VU_NOFD ? b->msg.nfd != 0 : b->msg.nfd != 1) {
        (void)via_back_break(b, "a ring's descriptor message needs one file descriptor, or the flag that says there is none", b->msg.nfd,
                             v & VIA_VU_NOFD ? 0 : 1);
        return NULL;
    }
    return ring_of(b, v & 0xff);
}

int via_back_ring_kick(struct via_back *b, struct via_vu_msg *m)
{
    struct via_back_ring *r = ring_fd(b);
    if (!r)
        return -VIA_EPROTO;
    b->act.what = VIA_BACK_RING_KICK;
    r->has_kick = true;
    int err = start_if_complete(b, r, true);
    if (!err)
        via_back_take_fds(b, m, b->msg.nfd);
    return err;
}

int via_back_ring_event(struct via_back *b, struct via_vu_msg *m, enum via_back_do what)
{
    if (!ring_fd(b))
        return -VIA_EPROTO;
    b->act.what = what;
    via_back_take_fds(b, m, b->msg.nfd);
    return 0;
}

int via_back_ring_enable(struct via_back *b)
{
    struct via_vu_state s = state_of(b);
    struct via_back_ring *r = ring_of(b, s.index);
    if (!r)
        return -VIA_EPROTO;
    if (s.num > 1)
        return via_back_break(b, "SET_VRING_ENABLE: neither 0 nor 1", s.num, 1);
    /* QEMU restores a net device's rings before it sets features anew: early is fine. */
    if (b->features_set && !(b->features & VIA_BIT(VIA_F_PROTOCOL_FEATURES)))
        return via_back_break(b, "SET_VRING_ENABLE: features were accepted without PROTOCOL_FEATURES, so all rings are enabled for good",
                              b->features, VIA_BIT(VIA_F_PROTOCOL_FEATURES));
    if (r->started && r->enabled != s.num) {
        b->act.what = VIA_BACK_RING_ENABLE;
        b->act.value = s.num;
    } else {
        r->enabled = s.num;
    }
    return 0;
}
