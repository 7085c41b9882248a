/* SPDX-License-Identifier: BSD-2-Clause */
/* The back-end session: a message in, an action out; its result in, perhaps a reply out. */
#include <string.h>

#include "back_parts.h"

#define PROTOCOL_KNOWN                                                                                                                     \
    (VIA_BIT(VIA_VU_PF_MQ) | VIA_BIT(VIA_VU_PF_LOG_SHMFD) | VIA_BIT(VIA_VU_PF_REPLY_ACK) | VIA_BIT(VIA_VU_PF_BACKEND_REQ) |                \
     VIA_BIT(VIA_VU_PF_CONFIG) | VIA_BIT(VIA_VU_PF_CROSS_ENDIAN) | VIA_BIT(VIA_VU_PF_RESET_DEVICE) |                                       \
     VIA_BIT(VIA_VU_PF_CONFIGURE_MEM_SLOTS) | VIA_BIT(VIA_VU_PF_STATUS) | VIA_BIT(VIA_VU_PF_SHMEM))

int via_back_init(struct via_back *b, const struct via_back_cfg *cfg)
{
    if (cfg->queues == 0 || cfg->queues > VIA_BACK_QUEUES_MAX || !via_is_pow2(cfg->num_max) || cfg->num_max > VIA_RING_NUM_MAX ||
        cfg->slots > VIA_VU_SLOTS_MAX || (cfg->protocol & ~PROTOCOL_KNOWN))
        return -VIA_EINVAL;
    if (cfg->slots == 0 && (cfg->protocol & VIA_BIT(VIA_VU_PF_CONFIGURE_MEM_SLOTS)))
        return -VIA_EINVAL;
    if (!cfg->shmem != !(cfg->protocol & VIA_BIT(VIA_VU_PF_SHMEM)))
        return -VIA_EINVAL;
    memset(b, 0, sizeof(*b));
    b->cfg = *cfg;
    return 0;
}

/* A private copy to judge; what the message does not bring is 0. */
static void keep(struct via_back *b, const struct via_vu_msg *m)
{
    memset(&b->msg, 0, sizeof(b->msg));
    b->msg.request = m->request;
    b->msg.flags = m->flags;
    b->msg.size = m->size;
    b->msg.nfd = m->nfd;
    memcpy(b->msg.payload, m->payload, m->size);
}

static int judge(struct via_back *b, const struct via_vu_kind *kind)
{
    const struct via_vu_msg *m = &b->msg;
    if (m->size < kind->min || m->size > kind->max)
        return via_back_break(b, kind->bad_size, m->size, m->size < kind->min ? kind->min : kind->max);
    if (m->nfd < kind->fd_min || m->nfd > kind->fd_max)
        return via_back_break(b, kind->bad_fds, m->nfd, m->nfd < kind->fd_min ? kind->fd_min : kind->fd_max);
    if (kind->feature != VIA_VU_PF_NONE && !(b->protocol & VIA_BIT(kind->feature)))
        return via_back_break(b, kind->no_feature, b->protocol, VIA_BIT(kind->feature));
    if (kind->needs_owner && !b->owned)
        return via_back_break(b, kind->no_owner, 0, 0);
    if ((m->request == VIA_VU_GET_PROTOCOL_FEATURES || m->request == VIA_VU_SET_PROTOCOL_FEATURES) && !b->offered)
        return via_back_break(b, "protocol features before GET_FEATURES told that there are any: out of order", 0, 0);
    return 0;
}

static int tell(struct via_back *b, uint64_t value)
{
    b->act.value = value;
    return 0;
}

static int handle(struct via_back *b, struct via_vu_msg *m)
{
    switch (m->request) {
    case VIA_VU_GET_FEATURES:
        b->offered = true;
        return tell(b, b->cfg.features | VIA_BIT(VIA_F_PROTOCOL_FEATURES));
    case VIA_VU_SET_FEATURES:
        return via_back_features(b);
    case VIA_VU_SET_OWNER:
        b->owned = true;
        return 0;
    case VIA_VU_RESET_OWNER:
        return 0; /* deprecated: QEMU sends it where RESET_DEVICE is missing, and goes on as the owner */
    case VIA_VU_SET_MEM_TABLE:
        return via_back_mem_table(b, m);
    case VIA_VU_SET_LOG_BASE:
        return via_back_log_base(b, m);
    case VIA_VU_SET_LOG_FD:
        b->act.what = VIA_BACK_LOG_FD;
        via_back_take_fds(b, m, 1);
        return 0;
    case VIA_VU_SET_VRING_NUM:
        return via_back_ring_num(b);
    case VIA_VU_SET_VRING_ADDR:
        return via_back_ring_addr(b);
    case VIA_VU_SET_VRING_BASE:
        return via_back_ring_base(b);
    case VIA_VU_GET_VRING_BASE:
        return via_back_ring_stop(b);
    case VIA_VU_SET_VRING_KICK:
        return via_back_ring_kick(b, m);
    case VIA_VU_SET_VRING_CALL:
        return via_back_ring_event(b, m, VIA_BACK_RING_CALL);
    case VIA_VU_SET_VRING_ERR:
        return via_back_ring_event(b, m, VIA_BACK_RING_ERR);
    case VIA_VU_GET_PROTOCOL_FEATURES:
        return tell(b, b->cfg.protocol);
    case VIA_VU_SET_PROTOCOL_FEATURES:
        return via_back_protocol(b);
    case VIA_VU_GET_QUEUE_NUM:
        return tell(b, b->cfg.queues);
    case VIA_VU_SET_VRING_ENABLE:
        return via_back_ring_enable(b);
    case VIA_VU_SET_VRING_ENDIAN:
        return via_back_ring_endian(b);
    case VIA_VU_GET_CONFIG:
        return via_back_config(b, VIA_BACK_CONFIG_GET);
    case VIA_VU_SET_CONFIG:
        return via_back_config(b, VIA_BACK_CONFIG_SET);
    case VIA_VU_RESET_DEVICE:
        b->act.what = VIA_BACK_RESET;
        return 0;
    case VIA_VU_GET_MAX_MEM_SLOTS:
        return tell(b, b->cfg.slots);
    case VIA_VU_ADD_MEM_REG:
        return via_back_mem_add(b, m);
    case VIA_VU_REM_MEM_REG:
        return via_back_mem_remove(b);
    case VIA_VU_SET_STATUS:
        return via_back_status(b);
    case VIA_VU_GET_STATUS:
        return tell(b, b->status);
    case VIA_VU_GET_SHMEM_CONFIG:
        return 0; /* the answer is always the same */
    case VIA_VU_SET_BACKEND_REQ_FD:
        b->act.what = VIA_BACK_REQ_FD;
        via_back_take_fds(b, m, 1);
        return 0;
    default:
        return via_back_refuse(b, -VIA_ENOTSUP, "a request that is not known here", m->request, 0);
    }
}

int via_back_feed(struct via_back *b, struct via_vu_msg *m, const struct via_back_action **act)
{
    VIA_ASSERT(!b->busy && m->request != VIA_VU_IOTLB_MSG);
    if (b->broken)
        return -VIA_EPROTO;
    b->fault = (struct via_fault){0};
    if (m->size > VIA_VU_PAYLOAD_MAX || m->nfd > VIA_VU_FDS_MAX)
        return via_back_break(b, "the message is larger than any message is", m->size, VIA_VU_PAYLOAD_MAX);
    if (m->flags & VIA_VU_FLAG_REPLY)
        return via_back_break(b, "an answer came where only requests are due", m->request, 0);

    keep(b, m);
    b->act = (struct via_back_action){.what = VIA_BACK_NOTHING};
    for (unsigned i = 0; i < VIA_VU_FDS_MAX; i++)
        b->act.fd[i] = -1;
    b->preset = 0;
    b->preset_fault = (struct via_fault){0};
    const struct via_vu_kind *kind = via_vu_kind_of(m->request);
    b->ack = (m->flags & VIA_VU_FLAG_NEED_REPLY) && (b->protocol & VIA_BIT(VIA_VU_PF_REPLY_ACK));
    int err = kind ? judge(b, kind) : 0;
    if (!err)
        err = handle(b, m);
    if (err)
        return err;
    b->busy = true;
    *act = &b->act;
    return 0;
}

/* The action took effect: so does what the message said. */
static void commit(struct via_back *b, uint64_t value)
{
    struct via_back_ring *r = &b->ring[b->act.index];
    switch (b->act.what) {
    case VIA_BACK_FEATURES:
    case VIA_BACK_LOG_ALL:
        b->features = via_back_u64(b);
        b->features_set = true;
        break;
    case VIA_BACK_MEM_TABLE:
        b->slots_used = b->act.n;
        break;
    case VIA_BACK_MEM_ADD:
        b->slots_used++;
        break;
    case VIA_BACK_MEM_REMOVE:
        b->slots_used--;
        break;
    case VIA_BACK_RING_START:
        r->started = true;
        break;
    case VIA_BACK_RING_ENABLE:
        r->enabled = b->act.value;
        break;
    case VIA_BACK_RING_STOP:
        r->base = (uint16_t)value;
        r->has_base = true;
        r->started = r->has_kick = false;
        break;
    case VIA_BACK_STATUS:
        b->status = (uint8_t)b->act.value;
        if (!b->features_set && b->cfg.needs) /* they were refused, or never accepted: a driver that looks finds it out (3.1.1) */
            b->status &= (uint8_t)~VIA_STATUS_FEATURES_OK;
        if (b->status == 0)
            via_back_reset(b);
        break;
    case VIA_BACK_RESET:
        via_back_reset(b);
        break;
    default:
        break;
    }
}

static void begin_reply(const struct via_back *b, struct via_vu_msg *reply)
{
    memset(reply, 0, sizeof(*reply));
    reply->request = b->msg.request;
    reply->flags = VIA_VU_VERSION | VIA_VU_FLAG_REPLY;
}

/* The answer of a request that has one; config space is the only one that can tell of a failure: by no payload. */
static bool answer(const struct via_back *b, int err, struct via_vu_msg *reply)
{
    if (b->msg.request == VIA_VU_GET_CONFIG) {
        begin_reply(b, reply);
        if (!err) {
            reply->size = b->msg.size;
            memcpy(reply->payload, b->msg.payload, b->msg.size);
        }
        return true;
    }
    if (err)
        return false;
    if (b->msg.request == VIA_VU_GET_VRING_BASE) {
        const struct via_vu_state s = {b->act.index, b->ring[b->act.index].base};
        begin_reply(b, reply);
        reply->size = sizeof(s);
        memcpy(reply->payload, &s, sizeof(s));
    } else if (b->msg.request == VIA_VU_GET_SHMEM_CONFIG) {
        const struct via_vu_shmem_config c = {.n = 1, .size = {b->cfg.shmem}};
        begin_reply(b, reply);
        reply->size = VIA_VU_SHMEM_HDR + sizeof(c.size[0]);
        memcpy(reply->payload, &c, reply->size);
    } else {
        via_vu_reply_u64(reply, b->msg.request, b->act.value);
    }
    return true;
}

bool via_back_done(struct via_back *b, int result, uint64_t value, struct via_vu_msg *reply)
{
    VIA_ASSERT(b->busy);
    b->busy = false;
    if (!b->broken)
        b->fault = b->preset_fault; /* not that of an IOTLB_MSG which came meanwhile */
    const struct via_vu_kind *kind = via_vu_kind_of(b->msg.request);
    int err = b->preset ? b->preset : result;
    if (!err)
        commit(b, value);
    else if (b->act.what == VIA_BACK_RING_START)
        b->ring[b->act.index].has_kick = false; /* the owner has no use for it: the next try brings a new one */
    else if (b->act.what == VIA_BACK_MEM_REMOVE && err == -VIA_ENOENT)
        (void)via_fault_set(&b->fault, err, "REM_MEM_REG: no region has this guest address, user address and size", b->act.region[0].gpa,
                            b->act.region[0].size);
    if (err && kind)
        (void)via_fault_set(&b->fault, err, kind->failed, (uint64_t)-err, 0);
    if (b->broken) /* by an IOTLB_MSG while the action was out */
        return false;
    if (kind && kind->answered) {
        bool sent = answer(b, err, reply);
        b->broken = !sent;
        return sent;
    }
    if (b->ack)
        via_vu_reply_u64(reply, b->msg.request, err ? (uint64_t)-err : 0);
    else if (err && kind)
        b->broken = true;
    return b->ack;
}

void via_back_config_changed(const struct via_back *b, struct via_vu_msg *m)
{
    VIA_ASSERT(b->protocol & VIA_BIT(VIA_VU_PF_BACKEND_REQ));
    memset(m, 0, sizeof(*m));
    m->request = VIA_VU_BACK_CONFIG_CHANGE;
    m->flags = VIA_VU_VERSION;
}

void via_back_shmem_map(const struct via_back *b, struct via_vu_msg *m, int fd)
{
    const struct via_vu_shmem s = {.len = b->cfg.shmem, .flags = VIA_VU_SHMEM_RW};
    VIA_ASSERT((b->protocol & VIA_BIT(VIA_VU_PF_SHMEM)) && (b->protocol & VIA_BIT(VIA_VU_PF_BACKEND_REQ)));
    memset(m, 0, sizeof(*m));
    m->request = VIA_VU_BACK_SHMEM_MAP;
    m->flags = VIA_VU_VERSION;
    m->size = sizeof(s);
    memcpy(m->payload, &s, sizeof(s));
    m->fd[m->nfd++] = fd;
}
