/* SPDX-License-Identifier: BSD-2-Clause */
/* One guarded queue: requests out through the pool, answers back. */
#include <stdlib.h>
#include <unistd.h>

#include "queue.h"

#define REAP_BATCH 256

struct via_guard_request { /* a request of the guest on its way through the back-end */
    struct via_req *req;
    struct via_mapping mapping;
    struct via_guard_request *next;
    uint8_t *answer; /* what the back-end wrote, while the guest's pages have to be found again */
    uint32_t written;
};

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
    struct via_guard_request *g = q->free;
    if (!g)
        return -VIA_EAGAIN;
    int r = via_dma_map(&q->bounce.dma, req->span, req->n_out, req->n_in, &g->mapping);
    if (r < 0)
        return refused(q, r, req);
    r = via_vq_add(&q->vq, g->mapping.seg, g->mapping.n_out, g->mapping.n_in, g);
    if (r < 0) {
        via_dma_unmap(&q->bounce.dma, &g->mapping, 0);
        return refused(q, r, req);
    }
    q->free = g->next;
    g->req = req;
    return 0;
}

/* ------------------------------------------------------------------ answers */

static void request_end(struct via_guard_queue *q, struct via_guard_request *g)
{
    free(g->answer);
    g->answer = NULL;
    g->req = NULL;
    g->next = q->free;
    q->free = g;
}

static void answered(struct via_guard_queue *q, struct via_guard_request *g, uint32_t written)
{
    q->requests++;
    q->bytes_moved += g->req->chain.out_len + written;
    via_req_complete(g->req, written);
    request_end(q, g);
}

/*
 * The guest took translations back while the back-end had the request. Its pages were not touched meanwhile, so nothing had to wait for the
 * back-end; but where the answer goes has to be found anew.
 */
static void refreshed(struct via_device *device, struct via_req *req, int result)
{
    struct via_guard_queue *q = via_container_of(device, struct via_guard_queue, device);
    struct via_guard_request *g = q->of[req - req->pump->req];
    if (result == 0) {
        via_spans_write(req->span + req->n_out, req->n_in, 0, g->answer, g->written);
        answered(q, g, g->written);
    } else { /* the guest took its buffer away for good: there is nothing that it could be told */
        via_req_abandon(req);
        request_end(q, g);
    }
}

static const struct via_device_ops device_ops = {.submit = submit, .refreshed = refreshed};

/* Take the answer out of the pool, into memory of our own; then ask where it goes. */
static void answer_keep(struct via_guard_queue *q, struct via_guard_request *g, uint32_t written)
{
    struct via_mapping *m = &g->mapping;
    size_t at = 0;
    struct via_span *to = calloc(m->buf_out + m->buf_in + 1u, sizeof(*to));
    g->answer = malloc(g->req->chain.in_len + 1);
    if (!to || !g->answer) {
        via_dma_unmap(&q->bounce.dma, m, 0);
        via_req_abandon(g->req);
        request_end(q, g);
        free(to);
        return;
    }
    for (unsigned i = 0; i < (unsigned)m->buf_out + m->buf_in; i++) {
        to[i] = m->buf[i];
        if (i >= m->buf_out) {
            to[i].ptr = g->answer + at;
            at += to[i].len;
        }
    }
    m->buf = to;
    via_dma_unmap(&q->bounce.dma, m, written);
    free(to);
    g->written = written;
    q->of[g->req - g->req->pump->req] = g;
    int r = via_req_refresh(g->req);
    if (r != -VIA_EAGAIN)
        refreshed(&q->device, g->req, r);
}

int via_guard_queue_open(struct via_guard_queue *q, struct via_guard_shared *s, const struct via_guard_queue_cfg *cfg, struct via_err *err)
{
    struct via_vq_cfg vq = {.event_idx = cfg->event_idx};
    *q = (struct via_guard_queue){.device.ops = &device_ops, .kick = -1, .call = -1};
    int r = via_guard_shared_ring(s, cfg->index, cfg->num, &vq);
    if (r < 0)
        return via_err_set(err, r, "queue %u: a guarded queue has at most %u descriptors, a power of two, not %u", cfg->index,
                           VIA_GUARD_NUM_MAX, cfg->num);
    if (!cfg->indirect)
        vq.indirect = NULL;

    unsigned n = cfg->num;
    size_t slots = sizeof(struct via_vq_slot) * n, requests = sizeof(struct via_guard_request) * n, of = sizeof(*q->of) * n;
    q->storage = calloc(1, slots + requests + of + sizeof(struct via_seg) * n * n);
    q->kick = via_event_create();
    q->call = via_event_create();
    if (!q->storage || q->kick < 0 || q->call < 0) {
        via_guard_queue_close(q);
        return via_err_set(err, -VIA_ENOMEM, "queue %u: no memory or no descriptors left for a shadow ring", cfg->index);
    }
    vq.slot = q->storage;
    struct via_guard_request *g = (void *)((char *)q->storage + slots);
    q->of = (void *)((char *)g + requests);
    q->request = g;
    q->num = n;
    struct via_seg *seg = (void *)((char *)q->of + of);
    for (unsigned i = 0; i < n; i++) {
        g[i].mapping.seg = seg + (size_t)n * i;
        g[i].mapping.cap = (uint16_t)n;
        g[i].next = q->free;
        q->free = &g[i];
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
        while ((g = via_vq_detach(&q->vq))) {
            via_dma_unmap(&q->bounce.dma, &g->mapping, 0);
            via_req_abandon(g->req);
        }
        for (unsigned i = 0; i < q->num; i++)
            if (q->request[i].answer) {
                via_req_abandon(q->request[i].req);
                request_end(q, &q->request[i]);
            }
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
        struct via_guard_request *g = used.token;
        n++;
        if (g->req->stale) {
            answer_keep(q, g, used.written);
        } else {
            via_dma_unmap(&q->bounce.dma, &g->mapping, used.written);
            answered(q, g, used.written);
        }
    }
    if (r < 0)
        return via_fault_set(&q->fault, r, q->vq.fault.what, q->vq.fault.got, q->vq.fault.limit);
    return n;
}
