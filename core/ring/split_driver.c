/* SPDX-License-Identifier: BSD-2-Clause */
/* The split ring, driver side. */
#include "order.h"
#include "split.h"

static struct via_avail *avail_of(const struct via_vq *vq) { return vq->cfg.avail; }
static const struct via_used *used_of(const struct via_vq *vq) { return vq->cfg.used; }
static via_le16 *used_event(const struct via_vq *vq) { return &avail_of(vq)->ring[vq->cfg.num]; }
static const via_le16 *avail_event(const struct via_vq *vq) { return (const void *)&used_of(vq)->ring[vq->cfg.num]; }

static int broken(struct via_vq *vq, const char *what, uint64_t got, uint64_t limit)
{
    vq->broken = true;
    return via_fault_set(&vq->fault, -VIA_EPROTO, what, got, limit);
}

int via_vq_init(struct via_vq *vq, const struct via_vq_cfg *cfg)
{
    if (!cfg->slot || !via_split_valid(cfg->num, cfg->desc, cfg->avail, cfg->used))
        return -VIA_EINVAL;
    if (cfg->indirect && ((uintptr_t)cfg->indirect % alignof(struct via_desc) || !cfg->indirect_len || cfg->indirect_len > cfg->num))
        return -VIA_EINVAL;
    *vq = (struct via_vq){.cfg = *cfg, .free_count = cfg->num};
    for (unsigned i = 0; i < cfg->num; i++)
        cfg->slot[i] = (struct via_vq_slot){.next = (uint16_t)(i + 1)};
    return 0;
}

/* Bytes in all and, of them, the writable ones. 2.7.5.2 bounds the sum; a length of 0 is for no device to find. */
static int measure(const struct via_seg *seg, unsigned out, unsigned n, uint32_t *writable)
{
    uint64_t sum = 0, readable = 0;
    for (unsigned i = 0; i < n; i++) {
        if (!seg[i].len)
            return -VIA_EINVAL;
        sum += seg[i].len;
        if (i < out)
            readable = sum;
    }
    if (sum > UINT32_MAX)
        return -VIA_E2BIG;
    *writable = (uint32_t)(sum - readable);
    return 0;
}

static void put_desc(struct via_desc *d, uint64_t addr, uint32_t len, unsigned flags, unsigned next)
{
    via_shm_put64(&d->addr, addr);
    via_shm_put32(&d->len, len);
    via_shm_put16(&d->flags, (uint16_t)flags);
    via_shm_put16(&d->next, (uint16_t)next);
}

static unsigned flags_at(unsigned i, unsigned out, unsigned n)
{
    return (i >= out ? VIA_DESC_F_WRITE : 0u) | (i + 1 < n ? VIA_DESC_F_NEXT : 0u);
}

/* The chain goes into the table that belongs to descriptor `head`, which refers to it. */
static void put_indirect(struct via_vq *vq, unsigned head, const struct via_seg *seg, unsigned out, unsigned n)
{
    size_t at = (size_t)head * vq->cfg.indirect_len;
    struct via_desc *table = (struct via_desc *)vq->cfg.indirect + at;
    for (unsigned i = 0; i < n; i++)
        put_desc(&table[i], seg[i].addr.v, seg[i].len, flags_at(i, out, n), i + 1 < n ? i + 1 : 0);
    put_desc((struct via_desc *)vq->cfg.desc + head, vq->cfg.indirect_addr.v + at * sizeof(*table), n * (unsigned)sizeof(*table),
             VIA_DESC_F_INDIRECT, 0);
}

/* The chain goes into n free descriptors, which their private shadow links. Returns the first one that stays free. */
static uint16_t put_direct(struct via_vq *vq, unsigned head, const struct via_seg *seg, unsigned out, unsigned n)
{
    unsigned at = head;
    for (unsigned i = 0; i < n; i++) {
        unsigned next = vq->cfg.slot[at].next;
        put_desc((struct via_desc *)vq->cfg.desc + at, seg[i].addr.v, seg[i].len, flags_at(i, out, n), i + 1 < n ? next : 0);
        at = next;
    }
    return (uint16_t)at;
}

int via_vq_add(struct via_vq *vq, const struct via_seg *seg, unsigned out, unsigned in, void *token)
{
    VIA_ASSERT(token);
    uint16_t num = vq->cfg.num, head = vq->free_head;
    unsigned n = out + in;
    uint32_t writable;
    if (vq->broken)
        return -VIA_EPROTO;
    if (n == 0 || out > num || in > num || n > num)
        return -VIA_E2BIG;
    int rc = measure(seg, out, n, &writable);
    if (rc < 0)
        return rc;
    bool indirect = vq->cfg.indirect && n > 1 && n <= vq->cfg.indirect_len;
    uint16_t count = indirect ? 1 : (uint16_t)n;
    if (count > vq->free_count)
        return -VIA_EAGAIN;

    struct via_vq_slot *slot = &vq->cfg.slot[head];
    if (indirect) {
        put_indirect(vq, head, seg, out, n);
        vq->free_head = slot->next;
    } else {
        vq->free_head = put_direct(vq, head, seg, out, n);
    }
    vq->free_count -= count;
    slot->token = token;
    slot->serial = vq->added++;
    slot->writable = writable;
    slot->count = count;
    via_shm_put16(&avail_of(vq)->ring[vq->avail_idx & (num - 1)], head);
    vq->avail_idx++;
    vq->inflight++;
    return 0;
}

bool via_vq_publish(struct via_vq *vq)
{
    uint16_t was = vq->published, now = vq->avail_idx;
    if (now == was || vq->broken)
        return false;
    via_order_put16(&avail_of(vq)->idx, now, vq->cfg.order_platform);
    vq->published = now;
    via_order_turn(vq->cfg.order_platform, vq->cfg.port); /* pairs with the one in the device's arming */
    if (vq->cfg.event_idx)
        return via_ring_passed(via_shm_get16(avail_event(vq)), now, was);
    return !(via_shm_get16(&used_of(vq)->flags) & VIA_USED_F_NO_NOTIFY);
}

/* Give the descriptors of the chain at `head` back; what was its token? */
static void *release(struct via_vq *vq, unsigned head)
{
    struct via_vq_slot *slot = vq->cfg.slot;
    uint16_t count = slot[head].count, tail = (uint16_t)head;
    void *token = slot[head].token;
    for (unsigned i = 1; i < count; i++)
        tail = slot[tail].next;
    slot[tail].next = vq->free_head;
    slot[head].count = 0;
    slot[head].token = NULL;
    vq->free_head = (uint16_t)head;
    vq->free_count += count;
    vq->inflight--;
    return token;
}

int via_vq_reap(struct via_vq *vq, struct via_used_chain *out)
{
    uint16_t unshown = (uint16_t)(vq->avail_idx - vq->published);
    if (vq->broken)
        return -VIA_EPROTO;
    if (vq->used_idx == vq->used_seen) {
        uint16_t seen = via_order_get16(&used_of(vq)->idx, vq->cfg.order_platform);
        uint16_t fresh = (uint16_t)(seen - vq->used_idx), limit = vq->inflight - unshown;
        if (fresh > limit)
            return broken(vq, "the device moved its used index by more than is outstanding", fresh, limit);
        if (fresh == 0)
            return 0;
        vq->used_seen = seen;
    }
    const struct via_used_elem *e = &used_of(vq)->ring[vq->used_idx & (vq->cfg.num - 1)];
    uint32_t id = via_shm_get32(&e->id), written = via_shm_get32(&e->len);
    if (id >= vq->cfg.num)
        return broken(vq, "the device used an id that the queue does not have", id, vq->cfg.num - 1u);
    const struct via_vq_slot *slot = &vq->cfg.slot[id];
    if (!slot->count || slot->serial >= vq->added - unshown)
        return broken(vq, "the device used an id that is not outstanding", id, 0);
    if (written > slot->writable && !vq->cfg.any_written)
        return broken(vq, "the device claims to have written more than it may", written, slot->writable);
    written = (uint32_t)via_min64(written, slot->writable);
    vq->used_idx++;
    *out = (struct via_used_chain){release(vq, id), written};
    return 1;
}

bool via_vq_arm(struct via_vq *vq)
{
    if (vq->broken)
        return false;
    if (vq->cfg.event_idx)
        via_shm_put16(used_event(vq), vq->used_idx);
    else
        via_shm_put16(&avail_of(vq)->flags, 0);
    via_order_turn(vq->cfg.order_platform, vq->cfg.port); /* pairs with the one in the device's publish */
    return via_shm_get16(&used_of(vq)->idx) != vq->used_idx;
}

void via_vq_disarm(struct via_vq *vq)
{
    /* An event just behind us is the one that takes longest to be passed. */
    if (vq->cfg.event_idx)
        via_shm_put16(used_event(vq), (uint16_t)(vq->used_idx - 1));
    else
        via_shm_put16(&avail_of(vq)->flags, VIA_AVAIL_F_NO_INTERRUPT);
}

void *via_vq_detach(struct via_vq *vq)
{
    vq->broken = true; /* what the device was shown is no longer true: only via_vq_init makes a queue of it again */
    for (; vq->detach_at < vq->cfg.num; vq->detach_at++)
        if (vq->cfg.slot[vq->detach_at].count)
            return release(vq, vq->detach_at);
    return NULL;
}
