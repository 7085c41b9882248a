/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server_fence: translations come and go, and what that does to rings and requests. An invalidation takes its translations away at once, so
 * that nothing new starts by them, and is answered when the last request that may still use them has ended.
 */
#include <inttypes.h>
#include <stdio.h>

#include "server_parts.h"

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

void via_server_fence_settle(struct via_server *s)
{
    if (!s->iotlb.on)
        return;
    if (!via_server_ask_able(s)) /* nobody can be asked */
        via_server_iotlb_refuse(s);
    areas_follow(s);
    for (unsigned i = 0; i < s->cfg.queues; i++)
        if (s->ring[i].running)
            via_server_completed(s, i);
    via_misses_forget(&s->iotlb.misses);
    via_server_ask(s);
}

void via_server_fence_give_up(struct via_server *s)
{
    if (!s->iotlb.on || !s->iotlb.misses.n)
        return;
    via_server_iotlb_refuse(s);
    for (unsigned i = 0; i < s->cfg.queues; i++)
        if (s->ring[i].running)
            via_server_ring_finish(&s->ring[i]);
    via_misses_forget(&s->iotlb.misses);
}

void via_server_fence_overdue(struct via_server *s, uint64_t limit_ms)
{
    char why[160];
    snprintf(why, sizeof(why), "the front-end has not answered for %" PRIu64 " ms where its addresses lead to: is it still there?",
             limit_ms);
    for (unsigned i = 0; i < s->cfg.queues; i++)
        if (s->ring[i].running && (s->ring[i].pump.waiting || s->ring[i].lost))
            via_server_ring_broken(s, i, why);
    via_server_fence_give_up(s);
}

void via_server_fence_abandon(struct via_server *s)
{
    if (!s->iotlb.on)
        return;
    via_server_fence_give_up(s);
    for (unsigned i = 0; i < s->cfg.queues; i++)
        if (s->ring[i].running)
            (void)via_pump_withdraw(&s->ring[i].pump, true);
}

/* ------------------------------------------------------------------ messages */

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

bool via_server_fence_message(struct via_server *s, const struct via_vu_msg *m)
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
        result = via_err_set(&err, -VIA_ENOTSUP,
                             "the front-end's IOTLB_MSG: nothing is translated here, for it gave no channel to ask it by (BACKEND_REQ)");
    else if (result == 0 && iotlb.type == VIA_VU_IOTLB_UPDATE)
        result = via_server_iotlb_update(s, &iotlb, &err);
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

bool via_server_fence_clear(struct via_server *s) { return !still_reached(s); }

void via_server_fence_release(struct via_server *s)
{
    s->iotlb.fencing = false;
    answer(s, 0);
}
