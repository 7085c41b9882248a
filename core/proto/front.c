/* SPDX-License-Identifier: BSD-2-Clause */
/* The front-end session: requests composed, answers matched with them. */
#include <string.h>

#include "message.h"

void via_front_init(struct via_front *f) { memset(f, 0, sizeof(*f)); }

/* ------------------------------------------------------------------ requests */

static void begin(struct via_front *f, struct via_vu_msg *m, enum via_vu_request what, const void *payload, size_t size)
{
    VIA_ASSERT(!f->await && via_vu_kind_of(what) && size <= VIA_VU_PAYLOAD_MAX);
    const struct via_vu_kind *kind = via_vu_kind_of(what);
    memset(m, 0, sizeof(*m));
    m->request = what;
    m->flags = VIA_VU_VERSION;
    m->size = (uint32_t)size;
    if (size)
        memcpy(m->payload, payload, size);
    f->await_ack = !kind->answered && (f->protocol & VIA_BIT(VIA_VU_PF_REPLY_ACK));
    if (f->await_ack)
        m->flags |= VIA_VU_FLAG_NEED_REPLY;
    f->await = kind->answered || f->await_ack ? what : 0;
    f->fault = (struct via_fault){0};
}

static void attach(struct via_vu_msg *m, int fd)
{
    VIA_ASSERT(m->nfd < VIA_VU_FDS_MAX && fd >= 0);
    m->fd[m->nfd++] = fd;
}

void via_front_get(struct via_front *f, struct via_vu_msg *m, enum via_vu_request what) { begin(f, m, what, NULL, 0); }

void via_front_set_u64(struct via_front *f, struct via_vu_msg *m, enum via_vu_request what, uint64_t value)
{
    begin(f, m, what, &value, sizeof(value));
    if (what == VIA_VU_SET_FEATURES)
        f->features = value;
    else if (what == VIA_VU_SET_PROTOCOL_FEATURES)
        f->protocol = value; /* from the next message on: back-ends differ in whether this one could be acknowledged already */
}

void via_front_plain(struct via_front *f, struct via_vu_msg *m, enum via_vu_request what) { begin(f, m, what, NULL, 0); }

void via_front_mem_table(struct via_front *f, struct via_vu_msg *m, const struct via_vu_region *region, const int *fd, unsigned n)
{
    VIA_ASSERT(n <= VIA_VU_TABLE_REGIONS);
    struct via_vu_table t = {.n = n};
    memcpy(t.region, region, n * sizeof(*region));
    begin(f, m, VIA_VU_SET_MEM_TABLE, &t, VIA_VU_TABLE_HDR + n * VIA_VU_REGION_BYTES);
    for (unsigned i = 0; i < n; i++)
        attach(m, fd[i]);
}

void via_front_mem_reg(struct via_front *f, struct via_vu_msg *m, bool add, const struct via_vu_region *region, int fd)
{
    const struct via_vu_single s = {.region = *region};
    begin(f, m, add ? VIA_VU_ADD_MEM_REG : VIA_VU_REM_MEM_REG, &s, sizeof(s));
    if (add)
        attach(m, fd);
}

void via_front_ring_state(struct via_front *f, struct via_vu_msg *m, enum via_vu_request what, unsigned index, uint32_t num)
{
    const struct via_vu_state s = {index, num};
    begin(f, m, what, &s, sizeof(s));
    f->await_index = index;
}

void via_front_ring_addr(struct via_front *f, struct via_vu_msg *m, unsigned index, uint64_t desc, uint64_t avail, uint64_t used)
{
    const struct via_vu_addr a = {.index = index, .desc = desc, .avail = avail, .used = used};
    begin(f, m, VIA_VU_SET_VRING_ADDR, &a, sizeof(a));
}

void via_front_ring_log(struct via_front *f, struct via_vu_msg *m, unsigned index, uint64_t desc, uint64_t avail, uint64_t used,
                        uint64_t log)
{
    const struct via_vu_addr a = {.index = index, .flags = VIA_VU_ADDR_F_LOG, .desc = desc, .avail = avail, .used = used, .log = log};
    begin(f, m, VIA_VU_SET_VRING_ADDR, &a, sizeof(a));
}

void via_front_log_base(struct via_front *f, struct via_vu_msg *m, uint64_t offset, uint64_t len, int fd)
{
    const struct via_vu_log l = {.size = len, .offset = offset};
    begin(f, m, VIA_VU_SET_LOG_BASE, &l, sizeof(l));
    attach(m, fd);
}

void via_front_log_fd(struct via_front *f, struct via_vu_msg *m, int fd)
{
    begin(f, m, VIA_VU_SET_LOG_FD, NULL, 0);
    attach(m, fd);
}

void via_front_ring_fd(struct via_front *f, struct via_vu_msg *m, enum via_vu_request what, unsigned index, int fd)
{
    VIA_ASSERT(index <= 0xff);
    const uint64_t v = index | (fd < 0 ? VIA_VU_NOFD : 0);
    begin(f, m, what, &v, sizeof(v));
    if (fd >= 0)
        attach(m, fd);
}

/* Both directions carry room for the bytes: an answer has to have the size of its request. */
static void config(struct via_front *f, struct via_vu_msg *m, enum via_vu_request what, uint32_t offset, const uint8_t *bytes, uint32_t len)
{
    VIA_ASSERT(len > 0 && len <= VIA_VU_CONFIG_MAX);
    struct via_vu_config c = {.offset = offset, .size = len};
    if (bytes)
        memcpy(c.bytes, bytes, len);
    begin(f, m, what, &c, VIA_VU_CONFIG_HDR + len);
    f->config_offset = offset;
    f->config_len = len;
}

void via_front_config_get(struct via_front *f, struct via_vu_msg *m, uint32_t offset, uint32_t len)
{
    config(f, m, VIA_VU_GET_CONFIG, offset, NULL, len);
}

void via_front_config_set(struct via_front *f, struct via_vu_msg *m, uint32_t offset, const uint8_t *bytes, uint32_t len)
{
    config(f, m, VIA_VU_SET_CONFIG, offset, bytes, len);
}

void via_front_iotlb(struct via_front *f, struct via_vu_msg *m, const struct via_vu_iotlb *iotlb)
{
    bool update = iotlb->type == VIA_VU_IOTLB_UPDATE;
    VIA_ASSERT(!f->broken && (f->features & VIA_BIT(VIA_F_ACCESS_PLATFORM)));
    VIA_ASSERT(update || iotlb->type == VIA_VU_IOTLB_INVALIDATE);
    VIA_ASSERT(via_range_inside(iotlb->iova, iotlb->size, 0, UINT64_MAX));
    VIA_ASSERT(!update || (via_range_inside(iotlb->uva, iotlb->size, 0, UINT64_MAX) && via_vu_perm_known(iotlb->perm)));
    (void)update;
    memset(m, 0, sizeof(*m));
    m->request = VIA_VU_IOTLB_MSG;
    m->flags = VIA_VU_VERSION | VIA_VU_FLAG_NEED_REPLY;
    via_vu_iotlb_put(m, iotlb);
    f->iotlb_due++;
}

void via_front_back_req_fd(struct via_front *f, struct via_vu_msg *m, int fd)
{
    begin(f, m, VIA_VU_SET_BACKEND_REQ_FD, NULL, 0);
    attach(m, fd);
}

/* ------------------------------------------------------------------ answers */

static int broken(struct via_front *f, const char *what, uint64_t got, uint64_t limit)
{
    f->broken = true;
    return via_fault_set(&f->fault, -VIA_EPROTO, what, got, limit);
}

static int take_config(struct via_front *f, const struct via_vu_msg *m)
{
    struct via_vu_config c = {0};
    if (m->size >= VIA_VU_CONFIG_HDR)
        memcpy(&c, m->payload, VIA_VU_CONFIG_HDR);
    if (m->size == 0 || (m->size == VIA_VU_CONFIG_HDR && c.size == 0)) /* two ways to say so */
        return via_fault_set(&f->fault, -VIA_EIO, "the back-end could not read its config space (offset, length)", f->config_offset,
                             f->config_len);
    if (m->size != VIA_VU_CONFIG_HDR + f->config_len)
        return broken(f, "the back-end's config answer has another size than the request", m->size, VIA_VU_CONFIG_HDR + f->config_len);
    if (c.size != f->config_len || c.offset != f->config_offset)
        return broken(f, "the back-end's config answer is about other bytes than the request", c.size, f->config_len);
    memcpy(f->config, m->payload + VIA_VU_CONFIG_HDR, f->config_len);
    f->value = f->config_len;
    return 0;
}

static int take_shmem(struct via_front *f, const struct via_vu_msg *m)
{
    struct via_vu_shmem_config c = {0};
    if (m->size >= VIA_VU_SHMEM_HDR)
        memcpy(&c, m->payload, m->size);
    if (m->size < VIA_VU_SHMEM_HDR || m->size - VIA_VU_SHMEM_HDR < (uint64_t)c.n * sizeof(c.size[0]))
        return broken(f, "the back-end's answer ends before the last of its shared memory regions", c.n, m->size);
    memset(f->shmem, 0, sizeof(f->shmem));
    memcpy(f->shmem, c.size, c.n * sizeof(c.size[0]));
    f->value = c.n;
    return 0;
}

static int take_base(struct via_front *f, const struct via_vu_msg *m)
{
    struct via_vu_state s;
    if (m->size != sizeof(s))
        return broken(f, "the back-end's answer has the wrong size", m->size, sizeof(s));
    memcpy(&s, m->payload, sizeof(s));
    if (s.index != f->await_index)
        return broken(f, "the back-end's answer is about another ring", s.index, f->await_index);
    if (s.num > UINT16_MAX)
        return broken(f, "the back-end's ring base is no index of a split ring", s.num, UINT16_MAX);
    f->value = s.num;
    return 0;
}

static int take_value(struct via_front *f, uint32_t request, uint64_t v)
{
    if (request == VIA_VU_GET_QUEUE_NUM && v > UINT16_MAX)
        return broken(f, "the back-end claims more queues than any device has", v, UINT16_MAX);
    if (request == VIA_VU_GET_STATUS && v > UINT8_MAX)
        return broken(f, "the back-end's device status has more than 8 bits", v, UINT8_MAX);
    f->value = v;
    if (request == VIA_VU_GET_FEATURES)
        f->offered = v;
    else if (request == VIA_VU_GET_PROTOCOL_FEATURES)
        f->protocol_offered = v;
    else if (request == VIA_VU_GET_QUEUE_NUM)
        f->queues_max = (uint16_t)v;
    return 0;
}

/* An IOTLB_MSG's answer: whose turn it is needs no look, they come in order. */
static int take_iotlb(struct via_front *f, const struct via_vu_msg *m)
{
    uint64_t v;
    if (m->size != sizeof(v))
        return broken(f, "the back-end's answer has the wrong size", m->size, sizeof(v));
    memcpy(&v, m->payload, sizeof(v));
    f->iotlb_due--;
    if (v)
        return via_fault_set(&f->fault, -VIA_EIO, "the back-end says that an IOTLB_MSG failed (got: its code)", v, 0);
    return 0;
}

static int take_answer(struct via_front *f, const struct via_vu_msg *m)
{
    uint32_t due = f->await;
    uint64_t v;
    f->await = 0;
    if (due == VIA_VU_GET_CONFIG)
        return take_config(f, m);
    if (due == VIA_VU_GET_VRING_BASE)
        return take_base(f, m);
    if (due == VIA_VU_SET_LOG_BASE && m->size <= sizeof(v)) /* some answer with nothing, some with whatever is left of the request */
        return 0;
    if (due == VIA_VU_GET_SHMEM_CONFIG)
        return take_shmem(f, m);
    if (m->size != sizeof(v))
        return broken(f, "the back-end's answer has the wrong size", m->size, sizeof(v));
    memcpy(&v, m->payload, sizeof(v));
    if (!f->await_ack)
        return take_value(f, due, v);
    f->value = v;
    if (v)
        return via_fault_set(&f->fault, -VIA_EIO, "the back-end says that the request failed (got: its code, limit: the request)", v, due);
    return 0;
}

int via_front_feed(struct via_front *f, const struct via_vu_msg *m)
{
    if (f->broken)
        return -VIA_EPROTO;
    bool iotlb = m->request == VIA_VU_IOTLB_MSG && f->iotlb_due;
    f->fault = (struct via_fault){0};
    if (!f->await && !f->iotlb_due)
        return broken(f, "the back-end answered though nothing was asked", m->request, 0);
    if (!iotlb && (!f->await || m->request != f->await))
        return broken(f, "the back-end answered another request than the one that was asked", m->request,
                      f->await ? f->await : VIA_VU_IOTLB_MSG);
    if (!(m->flags & VIA_VU_FLAG_REPLY))
        return broken(f, "the back-end's answer is not marked as one", m->flags, VIA_VU_FLAG_REPLY);
    if (m->nfd)
        return broken(f, "file descriptors came along with an answer that has none", m->nfd, 0);
    return iotlb ? take_iotlb(f, m) : take_answer(f, m);
}

/* ------------------------------------------------------------------ the back-end's own requests */

/* What a message asks for. Looks at nothing that feeding it in changes, so it can be asked twice. */
static enum via_front_event event_of(const struct via_front *f, const struct via_vu_msg *m, struct via_vu_iotlb *iotlb)
{
    if (m->request == VIA_VU_BACK_CONFIG_CHANGE)
        return VIA_FRONT_CONFIG_CHANGE;
    if (m->request == VIA_VU_BACK_SHMEM_MAP && (f->protocol & VIA_BIT(VIA_VU_PF_SHMEM)))
        return VIA_FRONT_SHMEM_MAP;
    if (m->request != VIA_VU_BACK_IOTLB_MSG || !(f->features & VIA_BIT(VIA_F_ACCESS_PLATFORM)))
        return VIA_FRONT_UNKNOWN;
    via_vu_iotlb_get(m, iotlb);
    iotlb->size = iotlb->uva = 0;
    if (!via_vu_perm_known(iotlb->perm))
        return VIA_FRONT_UNKNOWN;
    if (iotlb->type == VIA_VU_IOTLB_MISS)
        return VIA_FRONT_MISS;
    return iotlb->type == VIA_VU_IOTLB_ACCESS_FAIL ? VIA_FRONT_ACCESS_FAIL : VIA_FRONT_UNKNOWN;
}

int via_front_feed_back_req(struct via_front *f, const struct via_vu_msg *m, struct via_vu_iotlb *iotlb)
{
    if (f->broken)
        return -VIA_EPROTO;
    f->fault = (struct via_fault){0};
    if (m->flags & VIA_VU_FLAG_REPLY)
        return broken(f, "an answer came on the back-end's request channel, where nothing was asked", m->request, 0);
    if (m->request == VIA_VU_BACK_CONFIG_CHANGE && (m->size || m->nfd))
        return broken(f, "CONFIG_CHANGE brings a payload or file descriptors, but has none", m->size, 0);
    if (m->request == VIA_VU_BACK_IOTLB_MSG && (m->size < VIA_VU_IOTLB_USED || m->size > VIA_VU_IOTLB_BYTES))
        return broken(f, "BACKEND_IOTLB_MSG: the payload has the wrong size", m->size, VIA_VU_IOTLB_BYTES);
    if (m->request == VIA_VU_BACK_IOTLB_MSG && m->nfd)
        return broken(f, "BACKEND_IOTLB_MSG: file descriptors came along, but it has none", m->nfd, 0);
    if (m->request == VIA_VU_BACK_SHMEM_MAP && (m->size != sizeof(struct via_vu_shmem) || m->nfd != 1))
        return broken(f, "BACKEND_SHMEM_MAP: the payload has the wrong size, or not one file descriptor came along", m->size,
                      sizeof(struct via_vu_shmem));
    return (int)event_of(f, m, iotlb);
}

void via_vu_shmem_get(const struct via_vu_msg *m, struct via_vu_shmem *out) { memcpy(out, m->payload, sizeof(*out)); }

bool via_front_back_done(const struct via_front *f, const struct via_vu_msg *m, int result, struct via_vu_msg *reply)
{
    struct via_vu_iotlb iotlb;
    VIA_ASSERT(result <= 0);
    if (!(m->flags & VIA_VU_FLAG_NEED_REPLY) || !(f->protocol & VIA_BIT(VIA_VU_PF_REPLY_ACK)))
        return false;
    if (event_of(f, m, &iotlb) == VIA_FRONT_UNKNOWN)
        result = -VIA_ENOTSUP;
    via_vu_reply_u64(reply, m->request, (uint64_t) - (int64_t)result);
    return true;
}
