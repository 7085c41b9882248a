/* SPDX-License-Identifier: BSD-2-Clause */
/* One guarded queue: requests out through the pool, answers back. */
#include <stdlib.h>
#include <unistd.h>

#include "queue.h"

#define REAP_BATCH 256

struct via_guard_request { /* a request of the guest on its way through the back-end; one for each that its pump has */
    struct via_req *req;
    struct via_mapping mapping;
    uint32_t written; /* by the back-end */
    bool kept;        /* it has answered, and the answer stays in the pool until the guest's pages are found again */
};

static struct via_guard_request *request_of(struct via_guard_queue *q, const struct via_req *req)
{
    return &q->request[req - req->pump->req];
}

/* A full pool and a full ring pass. A request that could never fit breaks its queue. */
static int refused(struct via_guard_queue *q, int result, const struct via_req *req)
{
    if (result == -VIA_EAGAIN)
        return result;
    return via_fault_set(&q->fault, result, "a request does not fit into the pool: give the guard a larger one (--pool-size)",
                         req->chain.out_len + req->chain.in_len, (uint64_t)q->bounce.pool->slots * VIA_POOL_SLOT);
}

static int submit(struct via_device *device, struct via_req *req)
{
    struct via_guard_queue *q = via_container_of(device, struct via_guard_queue, device);
    if (!q->running) { /* the back-end is gone; what is asked for now is what was parked */
        via_req_abandon(req);
        return 0;
    }
    struct via_guard_request *g = request_of(q, req);
    int r = via_dma_map(&q->bounce.dma, req->span, req->n_out, req->n_in, &g->mapping);
    if (r < 0)
        return refused(q, r, req);
    r = via_vq_add(&q->vq, g->mapping.seg, g->mapping.n_out, g->mapping.n_in, g);
    if (r < 0) {
        via_bounce_unmap_to(&q->bounce, &g->mapping, NULL, 0, 0);
        return refused(q, r, req);
    }
    g->req = req;
    return 0;
}

/* ------------------------------------------------------------------ answers */

static void answered(struct via_guard_queue *q, const struct via_guard_request *g)
{
    q->requests++;
    q->bytes_moved += g->req->chain.out_len + g->written;
    via_req_complete(g->req, g->written);
}

static void forget(struct via_guard_queue *q, struct via_guard_request *g)
{
    g->kept = false;
    via_bounce_unmap_to(&q->bounce, &g->mapping, NULL, 0, 0);
    via_req_abandon(g->req);
}

/*
 * The guest took translations back while the back-end had the request. Its pages were not touched meanwhile, so nothing had to wait for the
 * back-end; but where the answer goes has to be found anew. Until then it stays in the pool, so that a guest which plays this game runs
 * out of room by itself.
 */
static void refreshed(struct via_device *device, struct via_req *req, int result)
{
    struct via_guard_queue *q = via_container_of(device, struct via_guard_queue, device);
    struct via_guard_request *g = request_of(q, req);
    if (result < 0) {
        const struct via_fault *why = &req->pump->refusal;
        (void)via_fault_set(&req->pump->fault, result, "a buffer was taken away for good while the back-end had its request", why->got,
                            why->limit);
        forget(q, g);
        return;
    }
    g->kept = false;
    via_bounce_unmap_to(&q->bounce, &g->mapping, req->span + req->n_out, req->n_in, g->written);
    answered(q, g);
}

static const struct via_device_ops device_ops = {.submit = submit, .refreshed = refreshed};

static void answer(struct via_guard_queue *q, struct via_guard_request *g, uint32_t written)
{
    g->written = written;
    if (!g->req->stale) {
        via_dma_unmap(&q->bounce.dma, &g->mapping, written);
        answered(q, g);
        return;
    }
    int r = via_req_refresh(g->req);
    g->kept = r == -VIA_EAGAIN;
    if (!g->kept)
        refreshed(&q->device, g->req, r);
}

int via_guard_queue_open(struct via_guard_queue *q, struct via_guard_shared *s, const struct via_guard_queue_cfg *cfg, struct via_err *err)
{
    struct via_vq_cfg vq = {.event_idx = cfg->event_idx, .order_platform = cfg->order_platform};
    *q = (struct via_guard_queue){.device.ops = &device_ops, .kick = -1, .call = -1};
    int r = via_guard_shared_ring(s, cfg->index, cfg->num, &vq);
    if (r < 0)
        return via_err_set(err, r, "queue %u: a guarded queue has at most %u descriptors, a power of two, not %u", cfg->index,
                           VIA_GUARD_NUM_MAX, cfg->num);
    if (!cfg->indirect)
        vq.indirect = NULL;

    unsigned n = cfg->num;
    size_t slots = sizeof(struct via_vq_slot) * n, requests = sizeof(struct via_guard_request) * n;
    q->storage = calloc(1, slots + requests + sizeof(struct via_seg) * n * n);
    q->kick = via_event_create();
    q->call = via_event_create();
    if (!q->storage || q->kick < 0 || q->call < 0) {
        via_guard_queue_close(q);
        return via_err_set(err, -VIA_ENOMEM, "queue %u: no memory or no descriptors left for a shadow ring", cfg->index);
    }
    vq.slot = q->storage;
    q->request = (void *)((char *)q->storage + slots);
    struct via_seg *seg = (void *)((char *)q->request + requests);
    for (unsigned i = 0; i < n; i++) {
        q->request[i].mapping.seg = seg + (size_t)n * i;
        q->request[i].mapping.cap = (uint16_t)n;
    }
    r = via_vq_init(&q->vq, &vq);
    if (r == 0)
        r = via_bounce_init(&q->bounce, &s->pool, cfg->index, (uint32_t)via_min64(VIA_BOUNCE_CACHE, s->pool.slots / (4 * s->queues)));
    if (r < 0) {
        via_guard_queue_close(q);
        return via_err_set(err, r, "queue %u: the shadow ring can't be set up", cfg->index);
    }
    q->bounce.under_reports = cfg->under_reports;
    q->running = true;
    return 0;
}

void via_guard_queue_close(struct via_guard_queue *q)
{
    if (q->running) {
        struct via_guard_request *g;
        while ((g = via_vq_detach(&q->vq)))
            forget(q, g);
        for (unsigned i = 0; i < q->vq.cfg.num; i++)
            if (q->request[i].kept)
                forget(q, &q->request[i]);
        via_bounce_drain(&q->bounce);
    }
    q->running = false;
    if (q->kick >= 0)
        close(q->kick);
    if (q->call >= 0)
        close(q->call);
    q->kick = q->call = -1;
    free(q->storage);
    q->storage = NULL;
}

void via_guard_queue_flush(struct via_guard_queue *q)
{
    if (q->running && via_vq_publish(&q->vq))
        via_event_signal(q->kick);
}

int via_guard_queue_reap(struct via_guard_queue *q)
{
    struct via_used_chain used;
    int n = 0, r = 0;
    while (n < REAP_BATCH && (r = via_vq_reap(&q->vq, &used)) > 0) {
        n++;
        answer(q, used.token, used.written);
    }
    if (r < 0)
        return via_fault_set(&q->fault, r, q->vq.fault.what, q->vq.fault.got, q->vq.fault.limit);
    return n;
}
