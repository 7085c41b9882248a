/* SPDX-License-Identifier: BSD-2-Clause */
/* The pump: from a chain on the ring to a request with spans, and from a completed request back to the ring. */
#include "pump_parts.h"

#define CROWDED 4u /* from so many on, others leave the room to the eldest */

size_t via_pump_bytes(unsigned num, unsigned span_extra, bool misses)
{
    size_t spans = (size_t)num * ((size_t)num + span_extra), segs = misses ? (size_t)num * num : num;
    return num * (sizeof(struct via_req) + sizeof(struct via_desc)) + segs * sizeof(struct via_seg) + spans * sizeof(struct via_span);
}

int via_pump_init(struct via_pump *p, const struct via_dq_cfg *cfg, struct via_xlate *xlate, struct via_misses *misses,
                  struct via_device *device, unsigned span_extra, void *storage)
{
    *p = (struct via_pump){.xlate = xlate, .misses = misses, .device = device, .span_cap = cfg->num + span_extra};
    int rc = via_dq_init(&p->dq, cfg);
    if (rc < 0)
        return rc;
    if (span_extra + cfg->num > UINT16_MAX)
        return -VIA_EINVAL;
    p->away = !cfg->desc;
    p->waiting_end = &p->waiting;
    p->done_end = &p->done;
    p->req = storage;
    struct via_span *span = (struct via_span *)(void *)(p->req + cfg->num);
    struct via_seg *seg = (struct via_seg *)(void *)(span + (size_t)cfg->num * p->span_cap);
    p->table = (struct via_desc *)(void *)(seg + (misses ? (size_t)cfg->num * cfg->num : cfg->num));
    for (unsigned i = cfg->num; i-- > 0;) {
        struct via_req *r = &p->req[i];
        *r = (struct via_req){.pump = p, .next = p->free, .span = span + (size_t)i * p->span_cap};
        /* Where nothing waits, segments are needed from pop to translation only, so that all requests share one list of them. */
        r->chain.seg = misses ? seg + (size_t)i * cfg->num : seg;
        r->chain.cap = cfg->num;
        p->free = r;
    }
    return 0;
}

/* The queue broke while it was popping. */
static int pump_broken(struct via_pump *p)
{
    const struct via_fault *f = &p->dq.fault;
    return via_fault_set(&p->fault, -VIA_EPROTO, f->what, f->got, f->limit);
}

/* ------------------------------------------------------------------ from the ring to the device */

static int fetch_table(struct via_req *r)
{
    struct via_pump *p = r->pump;
    const struct via_seg *t = &r->chain.table;
    VIA_ASSERT(t->len <= p->dq.cfg.num * sizeof(struct via_desc));
    if (via_xlate_read(p->xlate, t->addr, p->table, t->len) < 0)
        return p->misses ? via_req_lacks(r, t, 1, 0)
                         : via_req_break(r, "an indirect table lies at an address outside of the driver's memory", t->addr.v, t->len);
    if (via_dq_table(&p->dq, &r->chain, p->table) == 0)
        return 0;
    via_req_release(r);
    return pump_broken(p);
}

/* Which address was it? */
static int translate_failed(struct via_req *r, const struct via_seg *seg, unsigned n, unsigned perm)
{
    struct via_pump *p = r->pump;
    for (unsigned i = 0; i < n; i++) {
        if (via_xlate_map(p->xlate, &seg[i], 1, perm, r->span, p->span_cap) == -VIA_EFAULT)
            return via_req_break(r,
                                 perm == VIA_PERM_R ? "a readable buffer lies at an address outside of the driver's memory"
                                                    : "a writable buffer lies at an address outside of the driver's writable memory",
                                 seg[i].addr.v, seg[i].len);
    }
    return via_req_break(r, "a request's buffers lie in more pieces of memory than a request may have", n, p->span_cap);
}

static int untranslated(struct via_req *r, int why)
{
    struct via_pump *p = r->pump;
    const struct via_chain *c = &r->chain;
    if (p->misses && why == -VIA_E2BIG) /* into how many pieces it falls is not the driver's doing here */
        return via_req_refuse(r, "a request's buffers lie in more pieces of memory than a request may have", c->seg[0].addr.v, 0);
    if (p->misses)
        return via_req_lacks(r, c->seg, c->n_out, c->n_in);
    if (via_xlate_map(p->xlate, c->seg, c->n_out, VIA_PERM_R, r->span, p->span_cap) < 0)
        return translate_failed(r, c->seg, c->n_out, VIA_PERM_R);
    return translate_failed(r, c->seg + c->n_out, c->n_in, VIA_PERM_W);
}

static int submit(struct via_req *r)
{
    struct via_pump *p = r->pump;
    r->state = VIA_REQ_TAKEN;
    int rc = p->device->ops->submit(p->device, r);
    if (rc >= 0) {
        p->requests++;
        return VIA_FATE_TAKEN;
    }
    if (rc == -VIA_EAGAIN) {
        r->state = VIA_REQ_PARKED;
        p->parked = r;
        return VIA_FATE_STOP;
    }
    return via_req_break(r, "the device can't make sense of a request", r->chain.out_len, r->chain.in_len);
}

static int advance(struct via_req *r)
{
    int rc = r->chain.table.len ? fetch_table(r) : 0;
    if (rc != 0)
        return rc;
    rc = via_req_translate(r);
    return rc < 0 ? untranslated(r, rc) : submit(r);
}

/* Does the eldest lose its translations to the others' again and again? */
static bool crowded(const struct via_pump *p) { return p->waiting && p->waiting->rounds >= CROWDED; }

static int go_on(struct via_pump *p, unsigned *n)
{
    uint64_t changes = p->misses->changes;
    int fate = VIA_FATE_TAKEN;
    if (p->looked == changes)
        return fate;
    for (p->cursor = &p->waiting; fate > 0 && *p->cursor;) {
        struct via_req *r = *p->cursor;
        if (p->cursor != &p->waiting && crowded(p))
            return VIA_FATE_STOP;
        if (!via_misses_pending(p->misses, r->wait, r->since)) {
            via_req_unlink(r);
            if (r->state == VIA_REQ_STALLED) {
                via_req_resume(r);
            } else {
                fate = r->doomed ? via_req_farewell(r) : advance(r);
                *n += fate == VIA_FATE_TAKEN;
            }
            if (*p->cursor != r) /* it does not wait any more */
                continue;
        }
        p->cursor = &r->next;
    }
    if (fate > 0)
        p->looked = changes;
    return fate;
}

/* The fate of the next chain on the ring; VIA_FATE_STOP: there is none. */
static int pump_next(struct via_pump *p)
{
    struct via_req *r = p->free;
    if (!r) /* as many are in flight as the queue has descriptors: an honest driver has no more to offer */
        return VIA_FATE_STOP;
    int rc = via_dq_pop(&p->dq, &r->chain);
    if (rc < 0)
        return pump_broken(p);
    if (rc == VIA_POP_EMPTY)
        return VIA_FATE_STOP;
    p->free = r->next;
    r->state = VIA_REQ_NEW;
    r->doomed = false;
    r->rounds = 0;
    r->reached = 0;
    r->position = p->popped++;
    r->since = p->misses ? p->misses->questions : 0;
    return advance(r);
}

static int offer_parked(struct via_pump *p)
{
    struct via_req *r = p->parked;
    p->parked = NULL;
    return r->stale ? advance(r) : submit(r);
}

int via_pump_run(struct via_pump *p, unsigned budget)
{
    unsigned n = 0;
    int fate = VIA_FATE_TAKEN;
    if (p->parked) {
        fate = offer_parked(p);
        n += fate == VIA_FATE_TAKEN;
    }
    if (fate > 0 && p->waiting)
        fate = go_on(p, &n);
    if (p->dq.broken)
        return -VIA_EPROTO;
    if (p->away)
        budget = 0;
    for (unsigned k = n; fate > 0 && k < budget; k++) {
        fate = pump_next(p);
        n += fate == VIA_FATE_TAKEN;
    }
    return fate < 0 ? fate : (int)n;
}

/* ------------------------------------------------------------------ and back */

bool via_pump_flush(struct via_pump *p)
{
    if (p->away)
        return false;
    while (p->done) {
        struct via_req *r = p->done;
        p->done = r->next;
        via_dq_push(&p->dq, r->chain.head, r->written);
        via_req_release(r);
    }
    p->done_end = &p->done;
    return via_dq_publish(&p->dq);
}

void via_pump_away(struct via_pump *p) { p->away = true; }

int via_pump_here(struct via_pump *p, const void *desc, const void *avail, void *used)
{
    int rc = via_dq_move(&p->dq, desc, avail, used);
    if (rc == 0)
        p->away = false;
    return rc;
}

void via_req_complete(struct via_req *r, uint32_t written)
{
    struct via_pump *p = r->pump;
    VIA_ASSERT((r->state == VIA_REQ_TAKEN || r->state == VIA_REQ_STALLED) && written <= r->chain.in_len);
    if (r->state == VIA_REQ_STALLED)
        via_req_unlink(r);
    if (p->dirty) /* before the driver sees it used, and all of what may have been written, not what the device says */
        via_dirty_spans(p->dirty, r->span + r->n_out, r->n_in);
    if (p->away) {
        r->state = VIA_REQ_DONE;
        r->written = written;
        r->next = NULL;
        *p->done_end = r;
        p->done_end = &r->next;
        return;
    }
    via_dq_push(&p->dq, r->chain.head, written);
    via_req_release(r);
}
