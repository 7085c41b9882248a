/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server_iotlb: the device IOTLB of a connection: translations come and go, and the fence. An invalidation takes its translations away at
 * once, so that nothing new starts by them, and is answered when the last request that may still use them has ended.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "server.h"

#define ALL ((via_iova){UINT64_MAX})

int via_server_iotlb_open(struct via_server *s, struct via_err *err)
{
    struct via_server_iotlb *t = &s->iotlb;
    uint32_t entries = s->cfg.iotlb_entries ? s->cfg.iotlb_entries : VIA_SERVER_IOTLB;
    size_t tlb = via_iotlb_bytes(entries), misses = via_misses_bytes(VIA_SERVER_MISSES);
    if (!t->storage)
        t->storage = malloc(misses + tlb);
    if (!t->storage)
        return via_err_set(err, -VIA_ENOMEM, "no memory for a device IOTLB of %u translations", entries);
    int result = via_misses_init(&t->misses, VIA_SERVER_MISSES, t->storage);
    if (result == 0)
        result = via_iotlb_init(&t->tlb, entries, (char *)t->storage + misses);
    if (result < 0)
        return via_err_set(err, result, "a device IOTLB can't have %u translations", entries);
    t->on = true;
    return 0;
}

void via_server_iotlb_close(struct via_server *s)
{
    s->iotlb.on = s->iotlb.fencing = false;
    free(s->iotlb.storage);
    s->iotlb.storage = NULL;
}

void via_server_iotlb_empty(struct via_server *s)
{
    if (!s->iotlb.on)
        return;
    via_iotlb_remove(&s->iotlb.tlb, (via_iova){0}, ALL);
    via_misses_clear(&s->iotlb.misses);
}

/* ------------------------------------------------------------------ what waits */

/* Rings whose areas may have moved look for them again. */
static void areas_follow(struct via_server *s)
{
    for (unsigned i = 0; i < s->cfg.queues; i++) {
        struct via_server_ring *r = &s->ring[i];
        if (r->running && (r->lost || r->generation != s->iotlb.tlb.xlate.generation))
            via_server_ring_moved(r);
    }
}

void via_server_iotlb_settle(struct via_server *s)
{
    if (!s->iotlb.on)
        return;
    if (!via_server_ask_able(s)) /* nobody can be asked */
        via_misses_update(&s->iotlb.misses, (via_iova){0}, ALL, 0);
    areas_follow(s);
    for (unsigned i = 0; i < s->cfg.queues; i++)
        if (s->ring[i].running)
            via_server_completed(s, i);
    via_misses_forget(&s->iotlb.misses);
    via_server_ask(s);
}

void via_server_iotlb_give_up(struct via_server *s)
{
    if (!s->iotlb.on || !s->iotlb.misses.n)
        return;
    via_misses_update(&s->iotlb.misses, (via_iova){0}, ALL, 0); /* no rights for anything */
    for (unsigned i = 0; i < s->cfg.queues; i++)
        if (s->ring[i].running)
            via_server_ring_finish(&s->ring[i]);
    via_misses_forget(&s->iotlb.misses);
}

void via_server_iotlb_abandon(struct via_server *s)
{
    if (!s->iotlb.on)
        return;
    via_server_iotlb_give_up(s);
    for (unsigned i = 0; i < s->cfg.queues; i++)
        if (s->ring[i].running)
            (void)via_pump_withdraw(&s->ring[i].pump, true);
}

/* ------------------------------------------------------------------ messages */

/* What lies at a user address, for as much of the rest of an update as is in one piece. */
static int piece(struct via_server *s, const struct via_vu_iotlb *m, uint64_t at, struct via_span *span)
{
    return via_memmap_at(&s->map, (via_uva){m->uva + at}, m->size - at, span);
}

/* All of it is found in memory before any of it is believed. */
static int update(struct via_server *s, const struct via_vu_iotlb *m, struct via_err *err)
{
    struct via_server_iotlb *t = &s->iotlb;
    struct via_span span;
    for (uint64_t at = 0; at < m->size; at += span.len)
        if (piece(s, m, at, &span) < 0)
            return via_err_set(err, -VIA_EFAULT,
                               "the front-end translates 0x%" PRIx64 " to user address 0x%" PRIx64 ", which is in no memory region",
                               m->iova + at, m->uva + at);
    for (uint64_t at = 0; at < m->size; at += span.len) {
        int result = piece(s, m, at, &span);
        if (result == 0)
            result = via_iotlb_insert(&t->tlb, (via_iova){m->iova + at}, (via_iova){m->iova + at + (span.len - 1)}, span.ptr, m->perm);
        if (result < 0)
            return via_err_set(err, result, "the front-end's translation of 0x%" PRIx64 " can't be", m->iova + at);
    }
    via_misses_update(&t->misses, (via_iova){m->iova}, (via_iova){m->iova + (m->size - 1)}, m->perm);
    t->updates++;
    return 0;
}

static bool still_reached(struct via_server *s)
{
    bool reached = false;
    for (unsigned i = 0; i < s->cfg.queues; i++)
        if (s->ring[i].running)
            reached |= via_pump_revoke(&s->ring[i].pump, (via_iova){s->iotlb.start}, (via_iova){s->iotlb.last});
    return reached;
}

static void invalidate(struct via_server *s, const struct via_vu_iotlb *m)
{
    struct via_server_iotlb *t = &s->iotlb;
    t->start = m->iova;
    t->last = m->iova + (m->size - 1);
    via_iotlb_remove(&t->tlb, (via_iova){t->start}, (via_iova){t->last});
    areas_follow(s); /* now: what ends from here on must not be shown in a ring that has lost its pages */
    t->invalidations++;
    t->fencing = still_reached(s);
    t->fenced += t->fencing;
}

static void answer(struct via_server *s, int result)
{
    struct via_vu_msg reply;
    struct via_err err;
    via_back_iotlb_reply(&s->back, result, &reply);
    int sent = via_sock_send(s->fd, &reply, 0, &err);
    if (sent == -VIA_ENODEV) { /* it left without waiting for it */
        via_server_end(s);
    } else if (sent < 0) {
        (void)via_err_set(&err, 0, "the front-end does not take the answer to its IOTLB_MSG");
        via_server_fail(s, &err);
    }
}

bool via_server_iotlb_message(struct via_server *s, const struct via_vu_msg *m)
{
    struct via_vu_iotlb iotlb;
    struct via_err err = {.text = ""};
    int result = via_back_iotlb(&s->back, m, &iotlb);
    if (result < 0)
        (void)via_err_fault(&err, result, "the front-end's IOTLB_MSG", &s->back.fault);
    if (result == -VIA_EPROTO) {
        via_server_fail(s, &err);
        return false;
    }
    if (result == 0 && !s->iotlb.on)
        result = via_err_set(&err, -VIA_ENOTSUP, "the front-end's IOTLB_MSG comes before features are settled");
    else if (result == 0 && iotlb.type == VIA_VU_IOTLB_UPDATE)
        result = update(s, &iotlb, &err);
    else if (result == 0)
        invalidate(s, &iotlb);
    if (result < 0) {
        s->iotlb.refused++;
        via_server_warn(s, &err);
    }
    if (s->iotlb.fencing) /* the answer comes when nothing is left; what follows waits its turn */
        return false;
    answer(s, result);
    return !s->ending;
}

bool via_server_iotlb_fenced(struct via_server *s) { return s->iotlb.fencing && !still_reached(s); }

void via_server_iotlb_release(struct via_server *s)
{
    s->iotlb.fencing = false;
    answer(s, 0);
}
