/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests and translations: those that wait for some, those that are refused some, and those whose translations are gone. */
#include "pump_parts.h"

#define ROUNDS 8u /* times that a request may lose a translation again, and get no further by it */

/* ------------------------------------------------------------------ the list */

static void link(struct via_req *r, enum via_req_state state)
{
    struct via_pump *p = r->pump;
    struct via_req **at = &p->waiting;
    if (p->waiting && via_container_of(p->waiting_end, struct via_req, next)->position < r->position)
        at = p->waiting_end;
    while (*at && (*at)->position < r->position)
        at = &(*at)->next;
    r->state = (uint8_t)state;
    r->next = *at;
    *at = r;
    if (!r->next)
        p->waiting_end = &r->next;
}

void via_req_unlink(struct via_req *r)
{
    struct via_pump *p = r->pump;
    struct via_req **at = &p->waiting;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    if (!r->next)
        p->waiting_end = at;
    if (p->cursor == &r->next)
        p->cursor = at;
}

/* ------------------------------------------------------------------ asking */

/* How many bytes of the segments resolve, counted from their start, and where they do not any more. */
static uint64_t resolves(const struct via_req *r, const struct via_seg *seg, unsigned out, unsigned in, via_iova *end)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < out + in; i++) {
        struct via_span span;
        for (uint64_t off = 0; off < seg[i].len; off += span.len) {
            *end = (via_iova){seg[i].addr.v + off};
            if (via_xlate_resolve(r->pump->xlate, *end, seg[i].len - off, i < out ? VIA_PERM_R : VIA_PERM_W, &span) < 0)
                return sum + off;
        }
        sum += seg[i].len;
    }
    return sum;
}

static const char *refused_what(const struct via_req *r, bool readable)
{
    if (r->chain.table.len)
        return "the translation of an indirect table was refused";
    return readable ? "the translation of a readable buffer was refused" : "the translation of a writable buffer was refused";
}

/* Ask for what is missing. -VIA_EAGAIN: r->wait is what to wait for. -VIA_EFAULT: *why tells. */
static int ask(struct via_req *r, const struct via_seg *seg, unsigned out, unsigned in, struct via_fault *why)
{
    struct via_pump *p = r->pump;
    via_iova end = {0}, at_out = {0}, at_in = {0};
    uint64_t reached = resolves(r, seg, out, in, &end) + 1;
    bool asked = via_misses_pending(p->misses, end, r->since);
    int rc_out = via_misses_collect(p->misses, p->xlate, seg, out, VIA_PERM_R, r->since, &at_out);
    int rc_in = via_misses_collect(p->misses, p->xlate, seg + out, in, VIA_PERM_W, r->since, &at_in);
    VIA_ASSERT(rc_out || rc_in);
    if (rc_out == -VIA_EFAULT || rc_in == -VIA_EFAULT) {
        bool readable = rc_out == -VIA_EFAULT;
        *why = (struct via_fault){refused_what(r, readable), (readable ? at_out : at_in).v, readable ? VIA_PERM_R : VIA_PERM_W};
        return -VIA_EFAULT;
    }
    r->wait = rc_in == -VIA_EAGAIN ? at_in : at_out;
    if (asked || !via_misses_pending(p->misses, end, r->since))
        return -VIA_EAGAIN;
    if (reached > r->reached) {
        r->reached = reached;
        r->rounds = 0;
    } else if (++r->rounds > ROUNDS) {
        bool readable = in == 0 || reached <= r->chain.out_len;
        *why =
            (struct via_fault){"a translation is gone again each time before the others have come: the IOTLB is too small for the request",
                               end.v, readable ? VIA_PERM_R : VIA_PERM_W};
        return -VIA_EFAULT;
    }
    return -VIA_EAGAIN;
}

static int wait(struct via_req *r)
{
    r->pump->waits += r->state != VIA_REQ_WAITING;
    link(r, VIA_REQ_WAITING);
    return VIA_FATE_WAITS;
}

int via_req_lacks(struct via_req *r, const struct via_seg *seg, unsigned out, unsigned in)
{
    struct via_fault why;
    if (ask(r, seg, out, in, &why) == -VIA_EFAULT)
        return via_req_refuse(r, why.what, why.got, why.limit);
    return wait(r);
}

/* ------------------------------------------------------------------ refused */

/*
 * Make the spans the end of the last writable segment, as much of it as can be reached up to its last byte. No more than the spans may hold
 * page by page is looked at.
 */
static void reach_end(struct via_req *r)
{
    struct via_pump *p = r->pump;
    const struct via_chain *c = &r->chain;
    r->n_out = r->n_in = 0;
    if (c->n_in == 0)
        return;
    const struct via_seg *last = &c->seg[c->n_out + c->n_in - 1];
    uint64_t len = via_min64(last->len, (uint64_t)p->span_cap * VIA_MISS_PAGE), at = last->addr.v + (last->len - len), step;
    if (last->len - 1 > UINT64_MAX - last->addr.v)
        return;
    for (; len; at += step, len -= step) {
        if (r->n_in == p->span_cap)
            r->n_in = 0;
        struct via_span *span = &r->span[r->n_in];
        if (via_xlate_resolve(p->xlate, (via_iova){at}, len, VIA_PERM_W, span) == 0) {
            step = span->len;
            r->n_in++;
        } else {
            step = via_min64(len, VIA_MISS_PAGE - at % VIA_MISS_PAGE);
            r->n_in = 0;
        }
    }
}

static void note_refusal(struct via_req *r, const char *what, uint64_t got, uint64_t limit)
{
    struct via_pump *p = r->pump;
    p->refusals++;
    p->refusal = (struct via_fault){what, got, limit};
}

/*
 * Its last writable byte is where devices answer: that is waited for, be the rest out of reach. Then the device has it, or can't answer it.
 */
int via_req_farewell(struct via_req *r)
{
    struct via_pump *p = r->pump;
    const struct via_chain *c = &r->chain;
    struct via_seg end = {{0}, 1};
    if (c->n_in) {
        const struct via_seg *last = &c->seg[c->n_out + c->n_in - 1];
        end.addr.v = last->addr.v + (last->len - 1);
        if (end.addr.v >= last->addr.v && r->rounds <= ROUNDS &&
            via_misses_collect(p->misses, p->xlate, &end, 1, VIA_PERM_W, r->since, &r->wait) == -VIA_EAGAIN) {
            r->rounds += via_misses_pending(p->misses, r->wait, r->since);
            return wait(r);
        }
    }
    reach_end(r);
    r->state = VIA_REQ_TAKEN;
    if (p->device->ops->refuse(p->device, r) >= 0)
        return VIA_FATE_TAKEN;
    return via_req_break(r, "a request that was refused a translation can't be answered: the end of its writable part is out of reach",
                         end.addr.v, VIA_PERM_W);
}

int via_req_refuse(struct via_req *r, const char *what, uint64_t got, uint64_t limit)
{
    note_refusal(r, what, got, limit);
    if (r->chain.table.len || !r->pump->device->ops->refuse)
        return via_req_break(r, what, got, limit);
    r->doomed = true;
    r->rounds = 0;
    return via_req_farewell(r);
}

/* ------------------------------------------------------------------ going on */

/* A request that the device holds is translated anew. 0, -VIA_EFAULT, or -VIA_EAGAIN: it waits. */
static int refresh(struct via_req *r)
{
    const struct via_chain *c = &r->chain;
    struct via_fault why = {"a request's buffers lie in more pieces of memory than a request may have", c->seg[0].addr.v, 0};
    int rc = via_req_translate(r);
    if (rc == 0)
        return 0;
    if (rc != -VIA_E2BIG && ask(r, c->seg, c->n_out, c->n_in, &why) == -VIA_EAGAIN) {
        link(r, VIA_REQ_STALLED);
        return -VIA_EAGAIN;
    }
    note_refusal(r, why.what, why.got, why.limit);
    reach_end(r);
    return -VIA_EFAULT;
}

int via_req_refresh(struct via_req *r)
{
    VIA_ASSERT(r->pump->device->ops->refreshed && (r->state == VIA_REQ_TAKEN || r->state == VIA_REQ_STALLED));
    if (r->state == VIA_REQ_STALLED)
        return -VIA_EAGAIN;
    if (!r->stale)
        return 0;
    int rc = refresh(r);
    r->pump->waits += rc == -VIA_EAGAIN;
    return rc;
}

void via_req_resume(struct via_req *r)
{
    struct via_device *d = r->pump->device;
    r->state = VIA_REQ_TAKEN;
    int rc = refresh(r);
    if (rc != -VIA_EAGAIN)
        d->ops->refreshed(d, r, rc);
}

/* ------------------------------------------------------------------ translations go */

static bool touches(const struct via_chain *c, uint64_t start, uint64_t last)
{
    for (unsigned i = 0; i < (unsigned)c->n_out + c->n_in; i++)
        if (c->seg[i].addr.v <= last && c->seg[i].addr.v + (c->seg[i].len - 1) >= start)
            return true;
    return false;
}

bool via_pump_revoke(struct via_pump *p, via_iova start, via_iova last)
{
    unsigned left = p->dq.inflight;
    bool held = false;
    VIA_ASSERT(p->misses);
    for (unsigned i = 0; left; i++) {
        struct via_req *r = &p->req[i];
        left -= r->state != VIA_REQ_FREE;
        bool translated = r->state == VIA_REQ_TAKEN || r->state == VIA_REQ_PARKED;
        if (translated && !touches(&r->chain, start.v, last.v))
            continue;
        r->stale |= translated;
        held |= r->state == VIA_REQ_TAKEN && !p->device->ops->refreshed;
        /* What it loses by this it does not lose for want of room. */
        r->rounds = 0;
        r->reached = 0;
    }
    return held;
}

void via_req_abandon(struct via_req *r)
{
    struct via_pump *p = r->pump;
    VIA_ASSERT(r->state != VIA_REQ_FREE);
    if (r->state == VIA_REQ_WAITING || r->state == VIA_REQ_STALLED)
        via_req_unlink(r);
    if (p->parked == r)
        p->parked = NULL;
    (void)via_req_break(r, "the device gave up a request, whatever it was to ask is gone", 0, 0);
}

/* ------------------------------------------------------------------ a queue that is being stopped */

unsigned via_pump_withdraw(struct via_pump *p, bool abandon)
{
    unsigned run = 0, left = 0; /* run: those that were popped one right after the other, up to the last one */
    uint64_t next = 0;
    for (const struct via_req *r = p->waiting; r; r = r->next) {
        if (r->state != VIA_REQ_WAITING)
            continue;
        run = run && r->position == next ? run + 1 : 1;
        next = r->position + 1;
        left++;
    }
    if (next != p->popped)
        run = 0;
    via_dq_unpop(&p->dq, run);
    p->popped -= run;
    left -= run;
    for (struct via_req *r = p->waiting, *after; r; r = after) {
        after = r->next;
        if (r->state != VIA_REQ_WAITING)
            continue;
        if (r->position >= p->popped) {
            via_req_unlink(r);
            via_req_release(r);
        } else if (abandon) {
            via_req_abandon(r);
        }
    }
    for (struct via_req *r = p->done, *after; r; r = after) {
        after = r->next;
        left++;
        if (abandon)
            via_req_abandon(r);
    }
    if (abandon) {
        p->done = NULL;
        p->done_end = &p->done;
    }
    return left;
}
