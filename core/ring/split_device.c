/* SPDX-License-Identifier: BSD-2-Clause */
/* The split ring, device side. */
#include "chain.h"
#include "order.h"
#include "split.h"

/* Each area has one writer: the used ring is ours, the others are the driver's (2.7). */
static const struct via_avail *avail_of(const struct via_dq *dq) { return dq->cfg.avail; }
static struct via_used *used_of(const struct via_dq *dq) { return dq->cfg.used; }
static const via_le16 *used_event(const struct via_dq *dq) { return &avail_of(dq)->ring[dq->cfg.num]; }
static via_le16 *avail_event(const struct via_dq *dq) { return (void *)&used_of(dq)->ring[dq->cfg.num]; }

/* The driver's words and ours, in its byte order. */
static uint16_t get16(const struct via_dq *dq, const via_le16 *p) { return via_big16(via_shm_get16(p), dq->cfg.big); }
static void put16(const struct via_dq *dq, via_le16 *p, uint16_t v) { via_shm_put16(p, via_big16(v, dq->cfg.big)); }

static int broken(struct via_dq *dq)
{
    dq->broken = true;
    return -VIA_EPROTO;
}

/* The areas are there for the first time. */
static void areas_take_up(struct via_dq *dq)
{
    dq->used_idx = dq->published = get16(dq, &used_of(dq)->idx);
    put16(dq, &used_of(dq)->flags, 0);
    if (dq->cfg.event_idx)
        put16(dq, avail_event(dq), dq->avail_idx);
}

int via_dq_init(struct via_dq *dq, const struct via_dq_cfg *cfg)
{
    bool absent = !cfg->desc && !cfg->avail && !cfg->used;
    if (absent ? !via_split_num_valid(cfg->num) : !via_split_valid(cfg->num, cfg->desc, cfg->avail, cfg->used))
        return -VIA_EINVAL;
    *dq = (struct via_dq){.cfg = *cfg, .avail_idx = cfg->base, .avail_seen = cfg->base};
    if (!absent)
        areas_take_up(dq);
    return 0;
}

int via_dq_move(struct via_dq *dq, const void *desc, const void *avail, void *used)
{
    if (!via_split_valid(dq->cfg.num, desc, avail, used))
        return -VIA_EINVAL;
    bool absent = !dq->cfg.desc;
    dq->cfg.desc = desc;
    dq->cfg.avail = avail;
    dq->cfg.used = used;
    if (absent)
        areas_take_up(dq);
    return 0;
}

/*
 * Look for chains that were made available since. The driver can't have more of them than the queue has descriptors, those counted that
 * it was not shown as used yet; the check also holds what we push within the used ring.
 */
static int look(struct via_dq *dq)
{
    uint16_t seen = via_big16(via_order_get16(&avail_of(dq)->idx, dq->cfg.order_platform), dq->cfg.big);
    uint16_t fresh = (uint16_t)(seen - dq->avail_idx);
    unsigned held = dq->inflight + (uint16_t)(dq->used_idx - dq->published);
    if (fresh + held > dq->cfg.num) {
        via_fault_set(&dq->fault, 0, "the driver moved its available index by more than it has descriptors for", fresh, dq->cfg.num - held);
        return broken(dq);
    }
    dq->avail_seen = seen;
    return fresh != 0;
}

int via_dq_pop(struct via_dq *dq, struct via_chain *c)
{
    VIA_ASSERT(c->cap >= dq->cfg.num);
    if (dq->broken)
        return -VIA_EPROTO;
    if (dq->avail_idx == dq->avail_seen) {
        int rc = look(dq);
        if (rc <= 0)
            return rc;
    }
    struct via_chain_rules rules = {dq->cfg.num, dq->cfg.big,
                                    dq->cfg.indirect ? NULL : "a descriptor has INDIRECT, which was not negotiated"};
    c->head = get16(dq, &avail_of(dq)->ring[dq->avail_idx & (dq->cfg.num - 1)]);
    c->n_out = c->n_in = 0;
    c->out_len = c->in_len = 0;
    c->table = (struct via_seg){{0}, 0};
    if (via_chain_walk(c, &rules, dq->cfg.desc, dq->cfg.num, c->head, &dq->fault) < 0)
        return broken(dq);
    dq->avail_idx++;
    dq->inflight++;
    return c->table.len ? VIA_POP_TABLE : VIA_POP_READY;
}

int via_dq_refuse(struct via_dq *dq, const char *what, uint64_t got, uint64_t limit)
{
    VIA_ASSERT(dq->inflight);
    dq->inflight--;
    via_fault_set(&dq->fault, 0, what, got, limit);
    return broken(dq);
}

int via_dq_table(struct via_dq *dq, struct via_chain *c, const struct via_desc *table)
{
    static const char nested[] = "a descriptor in an indirect table has INDIRECT";
    struct via_chain_rules rules = {dq->cfg.num, dq->cfg.big, nested};
    struct via_fault fault = {0};
    VIA_ASSERT(c->table.len);
    if (via_chain_walk(c, &rules, table, c->table.len / (unsigned)sizeof(*table), 0, &fault) < 0)
        return via_dq_refuse(dq, fault.what, fault.got, fault.limit);
    c->table.len = 0;
    return 0;
}

void via_dq_unpop(struct via_dq *dq, unsigned n)
{
    VIA_ASSERT(n <= dq->inflight);
    dq->avail_idx -= (uint16_t)n;
    dq->inflight -= (uint16_t)n;
}

void via_dq_push(struct via_dq *dq, uint16_t head, uint32_t written)
{
    VIA_ASSERT(dq->inflight && head < dq->cfg.num);
    struct via_used_elem *e = &used_of(dq)->ring[dq->used_idx & (dq->cfg.num - 1)];
    via_shm_put32(&e->id, via_big32(head, dq->cfg.big));
    via_shm_put32(&e->len, via_big32(written, dq->cfg.big));
    dq->used_idx++;
    dq->inflight--;
}

bool via_dq_publish(struct via_dq *dq)
{
    uint16_t was = dq->published, now = dq->used_idx;
    if (now == was)
        return false;
    via_order_put16(&used_of(dq)->idx, via_big16(now, dq->cfg.big), dq->cfg.order_platform);
    dq->published = now;
    via_order_turn(dq->cfg.order_platform, NULL); /* pairs with the one in the driver's arming */
    if (dq->cfg.event_idx)
        return via_ring_passed(get16(dq, used_event(dq)), now, was);
    return !(get16(dq, &avail_of(dq)->flags) & VIA_AVAIL_F_NO_INTERRUPT);
}

bool via_dq_arm(struct via_dq *dq)
{
    if (dq->broken)
        return false;
    if (dq->cfg.event_idx)
        put16(dq, avail_event(dq), dq->avail_idx);
    else
        put16(dq, &used_of(dq)->flags, 0);
    via_order_turn(dq->cfg.order_platform, NULL); /* pairs with the one in the driver's publish */
    return get16(dq, &avail_of(dq)->idx) != dq->avail_idx;
}

void via_dq_disarm(struct via_dq *dq)
{
    /* An event just behind us is the one that takes longest to be passed. */
    if (dq->cfg.event_idx)
        put16(dq, avail_event(dq), (uint16_t)(dq->avail_idx - 1));
    else
        put16(dq, &used_of(dq)->flags, VIA_USED_F_NO_NOTIFY);
}
