/* SPDX-License-Identifier: BSD-2-Clause */
/* A conversation with a back-end session. */
#include <string.h>

#include <tap.h>

#include "talk.h"

bool talk_init(struct talk *t)
{
    const struct via_back_cfg cfg = {.features = OFFERED, .protocol = ALL_PROTOCOL, .queues = 2, .num_max = 256, .slots = 32};
    memset(t, 0, sizeof(*t));
    return via_back_init(&t->b, &cfg) == 0;
}

bool talk_ready(struct talk *t, uint64_t without)
{
    CHECK_OR_FALSE(talk_init(t));
    CHECK_OR_FALSE(talk(t, msg_plain(VIA_VU_GET_FEATURES)) == VIA_BACK_NOTHING);
    CHECK_OR_FALSE(talk(t, msg_u64(VIA_VU_SET_PROTOCOL_FEATURES, ALL_PROTOCOL & ~without)) == VIA_BACK_NOTHING);
    CHECK_OR_FALSE(talk(t, msg_plain(VIA_VU_SET_OWNER)) == VIA_BACK_NOTHING);
    CHECK_OR_FALSE(talk(t, msg_u64(VIA_VU_SET_FEATURES, VERSION_1 | BIT30)) == VIA_BACK_FEATURES);
    return true;
}

bool talk_translated(struct talk *t, uint64_t without)
{
    CHECK_OR_FALSE(talk_ready(t, without));
    CHECK_OR_FALSE(talk(t, msg_u64(VIA_VU_SET_FEATURES, VERSION_1 | PLATFORM | BIT30)) == VIA_BACK_FEATURES);
    return true;
}

bool talk_start_ring(struct talk *t, unsigned i, unsigned base)
{
    CHECK_OR_FALSE(talk(t, msg_state(VIA_VU_SET_VRING_NUM, i, 128)) == VIA_BACK_NOTHING);
    CHECK_OR_FALSE(talk(t, msg_addr(i, 0, 0x10000, 0x20000, 0x30000)) == VIA_BACK_NOTHING);
    CHECK_OR_FALSE(talk(t, msg_state(VIA_VU_SET_VRING_BASE, i, base)) == VIA_BACK_NOTHING);
    CHECK_OR_FALSE(talk(t, msg_fd(VIA_VU_SET_VRING_KICK, i, 1)) == VIA_BACK_RING_START);
    CHECK_OR_FALSE(t->act->index == i && t->act->value == 1 && t->act->fd[0] == FIRST_FD);
    CHECK_OR_FALSE(t->b.ring[i].started && t->b.ring[i].base == base);
    return true;
}

/* Each descriptor that came is in exactly one place: the action or the message. */
static bool all_fds_there(const struct talk *t, const struct via_vu_msg *m, bool ok)
{
    for (unsigned i = 0; i < m->nfd; i++) {
        unsigned found = m->fd[i] == FIRST_FD + (int)i;
        for (unsigned k = 0; ok && k < VIA_VU_FDS_MAX; k++)
            found += t->act->fd[k] == FIRST_FD + (int)i;
        if (found != 1)
            return false;
    }
    return true;
}

int talk_feed(struct talk *t, struct via_vu_msg *m)
{
    t->replied = false;
    t->did = BROKEN;
    int err = via_back_feed(&t->b, m, &t->act);
    t->lost_fd |= !all_fds_there(t, m, err == 0);
    if (err) {
        if (err != -VIA_EPROTO || !t->b.broken || !t->b.fault.what)
            tap_fail(__FILE__, __LINE__, "a refused message leaves the session broken, with a fault");
        return BROKEN;
    }
    t->did = (int)t->act->what;
    t->replied = via_back_done(&t->b, t->result, t->value, &t->reply);
    return t->did;
}

int talk_iotlb(struct talk *t, struct via_vu_msg m, struct via_vu_iotlb *iotlb)
{
    int result = via_back_iotlb(&t->b, &m, iotlb);
    if ((result == -VIA_EPROTO) != t->b.broken || (result < 0) != (t->b.fault.what != NULL))
        tap_fail(__FILE__, __LINE__, "what is wrong has a fault, and only a breach breaks the session");
    t->replied = !t->b.broken;
    if (t->replied)
        via_back_iotlb_reply(&t->b, result, &t->reply);
    return result;
}

uint64_t talk_reply_u64(const struct talk *t)
{
    uint64_t v;
    if (!t->replied || t->reply.size != 8 || t->reply.flags != (VIA_VU_VERSION | VIA_VU_FLAG_REPLY) || t->reply.nfd)
        return UINT64_MAX;
    memcpy(&v, t->reply.payload, sizeof(v));
    return v;
}

bool talk_fault_has(const struct via_fault *f, const char *words)
{
    if (f->what && strstr(f->what, words))
        return true;
    tap_note(f->what ? f->what : "(no fault)");
    return false;
}

struct via_vu_msg msg_raw(uint32_t request, const void *payload, uint32_t size, unsigned nfd)
{
    struct via_vu_msg m = {.request = request, .flags = VIA_VU_VERSION, .size = size, .nfd = nfd};
    if (payload)
        memcpy(m.payload, payload, size < sizeof(m.payload) ? size : sizeof(m.payload));
    for (unsigned i = 0; i < VIA_VU_FDS_MAX; i++)
        m.fd[i] = i < nfd ? FIRST_FD + (int)i : -1;
    return m;
}

struct via_vu_msg msg_plain(uint32_t request) { return msg_raw(request, NULL, 0, 0); }

struct via_vu_msg msg_u64(uint32_t request, uint64_t v) { return msg_raw(request, &v, sizeof(v), 0); }

struct via_vu_msg msg_state(uint32_t request, uint32_t index, uint32_t num)
{
    const uint32_t p[2] = {index, num};
    return msg_raw(request, p, sizeof(p), 0);
}

struct via_vu_msg msg_addr(uint32_t index, uint32_t flags, uint64_t desc, uint64_t avail, uint64_t used)
{
    const uint64_t p[5] = {(uint64_t)flags << 32 | index, desc, used, avail, 0};
    return msg_raw(VIA_VU_SET_VRING_ADDR, p, sizeof(p), 0);
}

struct via_vu_msg msg_fd(uint32_t request, uint64_t v, unsigned nfd) { return msg_raw(request, &v, sizeof(v), nfd); }

struct via_vu_msg msg_table(uint32_t n, unsigned nfd, const struct via_vu_region *r)
{
    uint64_t p[33] = {n};
    uint32_t there = n < 8 ? n : 8;
    if (there)
        memcpy(&p[1], r, there * sizeof(*r));
    return msg_raw(VIA_VU_SET_MEM_TABLE, p, 8 + 32 * there, nfd);
}

struct via_vu_msg msg_region(uint32_t request, struct via_vu_region r, unsigned nfd)
{
    const uint64_t p[5] = {0, r.gpa, r.size, r.uva, r.mmap_offset};
    return msg_raw(request, p, sizeof(p), nfd);
}

struct via_vu_msg msg_config(uint32_t request, uint32_t offset, uint32_t len, uint32_t flags, uint32_t room)
{
    uint32_t p[3 + 64] = {offset, len, flags};
    memset(&p[3], 0x5a, sizeof(p) - 12);
    return msg_raw(request, p, 12 + room, 0);
}

struct via_vu_msg msg_iotlb(uint32_t request, unsigned type, uint64_t iova, uint64_t size, uint64_t uva, unsigned perm)
{
    const uint64_t p[4] = {iova, size, uva, UINT64_C(0xa5a5a5a5a5a50000) | type << 8 | perm}; /* the padding is anything */
    return msg_raw(request, p, sizeof(p), 0);
}

struct via_vu_msg msg_ask(struct via_vu_msg m)
{
    m.flags |= VIA_VU_FLAG_NEED_REPLY;
    return m;
}
