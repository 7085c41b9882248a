/* SPDX-License-Identifier: BSD-2-Clause */
/* The pump: from a chain on the ring to a request with spans, and from a completed request back to the ring. */
#include <viaduct/device.h>

size_t via_pump_bytes(unsigned num, unsigned span_extra)
{
    size_t spans = (size_t)num * ((size_t)num + span_extra);
    return num * (sizeof(struct via_req) + sizeof(struct via_seg) + sizeof(struct via_desc)) + spans * sizeof(struct via_span);
}

int via_pump_init(struct via_pump *p, const struct via_dq_cfg *cfg, struct via_xlate *xlate, struct via_device *device, unsigned span_extra,
                  void *storage)
{
    *p = (struct via_pump){.xlate = xlate, .device = device, .span_cap = cfg->num + span_extra};
    int rc = via_dq_init(&p->dq, cfg);
    if (rc < 0)
        return rc;
    if (span_extra + cfg->num > UINT16_MAX)
        return -VIA_EINVAL;
    struct via_req *req = storage;
    struct via_span *span = (struct via_span *)(void *)(req + cfg->num);
    struct via_seg *seg = (struct via_seg *)(void *)(span + (size_t)cfg->num * p->span_cap);
    p->table = (struct via_desc *)(void *)(seg + cfg->num);
    for (unsigned i = cfg->num; i-- > 0;) {
        /* Segments are needed from pop to translation only, so that all requests share one list of them. */
        req[i] = (struct via_req){.pump = p, .next_free = p->free, .span = span + (size_t)i * p->span_cap};
        req[i].chain.seg = seg;
        req[i].chain.cap = cfg->num;
        p->free = &req[i];
    }
    return 0;
}

static void req_release(struct via_req *r)
{
    r->busy = false;
    r->next_free = r->pump->free;
    r->pump->free = r;
}

/* The queue broke while it was popping. */
static int pump_broken(struct via_pump *p)
{
    const struct via_fault *f = &p->dq.fault;
    return via_fault_set(&p->fault, -VIA_EPROTO, f->what, f->got, f->limit);
}

/* Break the queue over a request: it is in flight no longer, and the driver never sees it used. */
static int pump_refuse(struct via_req *r, const char *what, uint64_t got, uint64_t limit)
{
    struct via_pump *p = r->pump;
    via_dq_refuse(&p->dq, what, got, limit);
    req_release(r);
    return via_fault_set(&p->fault, -VIA_EPROTO, what, got, limit);
}

static int pump_fetch_table(struct via_pump *p, struct via_req *r)
{
    const struct via_seg *t = &r->chain.table;
    VIA_ASSERT(t->len <= p->dq.cfg.num * sizeof(struct via_desc));
    if (via_xlate_read(p->xlate, t->addr, p->table, t->len) < 0)
        return pump_refuse(r, "an indirect table lies at an address outside of the driver's memory", t->addr.v, t->len);
    if (via_dq_table(&p->dq, &r->chain, p->table) == 0)
        return 0;
    req_release(r);
    return pump_broken(p);
}

/* Which address was it? */
static int pump_translate_failed(struct via_req *r, const struct via_seg *seg, unsigned n, unsigned perm)
{
    struct via_pump *p = r->pump;
    for (unsigned i = 0; i < n; i++) {
        if (via_xlate_map(p->xlate, &seg[i], 1, perm, r->span, p->span_cap) == -VIA_EFAULT)
            return pump_refuse(r,
                               perm == VIA_PERM_R ? "a readable buffer lies at an address outside of the driver's memory"
                                                  : "a writable buffer lies at an address outside of the driver's writable memory",
                               seg[i].addr.v, seg[i].len);
    }
    return pump_refuse(r, "a request's buffers lie in more pieces of memory than a request may have", n, p->span_cap);
}

static int pump_translate(struct via_pump *p, struct via_req *r)
{
    const struct via_chain *c = &r->chain;
    int out = via_xlate_map(p->xlate, c->seg, c->n_out, VIA_PERM_R, r->span, p->span_cap);
    if (out < 0)
        return pump_translate_failed(r, c->seg, c->n_out, VIA_PERM_R);
    int in = via_xlate_map(p->xlate, c->seg + c->n_out, c->n_in, VIA_PERM_W, r->span + out, p->span_cap - (unsigned)out);
    if (in < 0)
        return pump_translate_failed(r, c->seg + c->n_out, c->n_in, VIA_PERM_W);
    r->n_out = (uint16_t)out;
    r->n_in = (uint16_t)in;
    return 0;
}

/* 1: the device has it. 0: parked. */
static int pump_submit(struct via_pump *p, struct via_req *r)
{
    int rc = p->device->ops->submit(p->device, r);
    if (rc >= 0) {
        p->requests++;
        return 1;
    }
    if (rc == -VIA_EAGAIN) {
        p->parked = r;
        return 0;
    }
    return pump_refuse(r, "the device can't make sense of a request", r->chain.out_len, r->chain.in_len);
}

/* 1: a request was popped and submitted. 0: there is none, or it is parked. */
static int pump_next(struct via_pump *p)
{
    struct via_req *r = p->free;
    if (!r) /* as many are in flight as the queue has descriptors: an honest driver has no more to offer */
        return 0;
    int rc = via_dq_pop(&p->dq, &r->chain);
    if (rc < 0)
        return pump_broken(p);
    if (rc == VIA_POP_EMPTY)
        return 0;
    p->free = r->next_free;
    r->busy = true;
    rc = rc == VIA_POP_TABLE ? pump_fetch_table(p, r) : 0;
    if (rc == 0)
        rc = pump_translate(p, r);
    return rc < 0 ? rc : pump_submit(p, r);
}

int via_pump_run(struct via_pump *p, unsigned budget)
{
    unsigned n = 0;
    int rc = 1;
    if (p->parked) {
        struct via_req *r = p->parked;
        p->parked = NULL;
        rc = pump_submit(p, r);
        n += rc > 0;
    }
    if (p->dq.broken)
        return -VIA_EPROTO;
    while (rc > 0 && n < budget) {
        rc = pump_next(p);
        n += rc > 0;
    }
    return rc < 0 ? rc : (int)n;
}

bool via_pump_flush(struct via_pump *p) { return via_dq_publish(&p->dq); }

void via_req_complete(struct via_req *r, uint32_t written)
{
    VIA_ASSERT(r->busy && written <= r->chain.in_len);
    via_dq_push(&r->pump->dq, r->chain.head, written);
    req_release(r);
}

void via_req_abandon(struct via_req *r)
{
    VIA_ASSERT(r->busy);
    (void)pump_refuse(r, "the device gave up a request, whatever it was to ask is gone", 0, 0);
}
