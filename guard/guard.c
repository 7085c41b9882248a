/* SPDX-License-Identifier: BSD-2-Clause */
/* A guard: the life of one pair of connections, front-end and back-end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "guard.h"
#include "queue.h"

#define CONNECT_WAIT_MS 5000
#define DRAIN_LIMIT_S 30
#define TICK_MS 1000

#define RING_FEATURES (VIA_BIT(VIA_F_INDIRECT_DESC) | VIA_BIT(VIA_F_EVENT_IDX))
#define SHADOW_FEATURES (RING_FEATURES | VIA_BIT(VIA_F_ORDER_PLATFORM)) /* accepted from the back-end, whatever the guest does */
/* Bits that mean something to the device type alone (virtio v1.4 6), VERSION_1, which both sides must share, and what changes nothing
 * but the barriers: a guest sees the same with a guard and without. */
#define PASSED_FEATURES                                                                                                                    \
    ((VIA_BIT(24) - 1) | (~(VIA_BIT(50) - 1)) | VIA_BIT(VIA_F_VERSION_1) | VIA_BIT(VIA_F_ANY_LAYOUT) | VIA_BIT(VIA_F_ORDER_PLATFORM))

struct via_guard_ring {
    struct via_guard *guard;
    struct via_guard_queue queue;
    struct via_watch watch;   /* the back-end's call */
    struct via_poller poller; /* and its used index */
};

struct via_guard {
    struct via_guard_cfg cfg;
    struct via_loop loop;
    struct via_watch listener, stopper, back_watch, req_watch;
    bool connected;  /* a front-end is here, and its back-end */
    bool shared;     /* the back-end has been given the region */
    uint64_t hungry; /* queues (bits) that can try again */
    struct via_poller pool_poller;
    time_t drain_since; /* seconds, monotonic; 0: not draining */
    struct via_err why; /* the pair can't go on: torn down at the end of the loop's round */
    struct via_server server;
    struct via_client client;
    struct via_guard_shared region;
    struct via_guard_ring ring[VIA_BACK_QUEUES_MAX];
    struct via_guard_stats stats;
};

/* ------------------------------------------------------------------ the back-end's side */

static void unhook(struct via_guard *g, struct via_watch *w)
{
    if (w->fd >= 0)
        via_loop_remove(&g->loop, w);
    w->fd = -1;
}

static void ring_close(struct via_guard_ring *ring)
{
    struct via_guard *g = ring->guard;
    struct via_guard_queue *q = &ring->queue;
    if (!q->running)
        return;
    via_loop_remove_poller(&g->loop, &ring->poller);
    unhook(g, &ring->watch);
    via_guard_queue_close(q);
    g->stats.requests += q->requests;
    g->stats.bytes_moved += q->bytes_moved;
    g->stats.bytes_copied += q->bounce.stats.bytes_in + q->bounce.stats.bytes_out;
    g->stats.full += q->bounce.stats.full;
}

/* The pair can't go on. Torn down later, in via_guard_run: this may be called from deep inside a callback. */
static void fail(struct via_guard *g, const char *why)
{
    if (g->connected && !g->why.text[0])
        via_err_set(&g->why, 0, "%s: %s; closing the front-end's connection", g->cfg.back, why);
}

static void back_ready(struct via_watch *w, uint32_t events)
{
    struct via_guard *g = via_container_of(w, struct via_guard, back_watch);
    fail(g, events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP) ? "the back-end went away" : "the back-end spoke out of turn");
}

static void req_ready(struct via_watch *w, uint32_t events)
{
    struct via_guard *g = via_container_of(w, struct via_guard, req_watch);
    struct via_err err = {""};
    (void)events;
    int r = via_client_back_req(&g->client, &err);
    if (r > 0)
        via_server_config_changed(&g->server);
    else if (r < 0)
        fail(g, err.text);
}

static bool ring_poll(struct via_poller *p)
{
    struct via_guard_ring *ring = via_container_of(p, struct via_guard_ring, poller);
    struct via_guard *g = ring->guard;
    int n = via_guard_queue_reap(&ring->queue);
    if (n < 0) {
        struct via_err err;
        via_err_fault(&err, n, "the back-end broke the rules of the ring", &ring->queue.fault);
        fail(g, err.text);
        return true;
    }
    if (n == 0)
        return false;
    via_server_completed(&g->server, (unsigned)(ring - g->ring));
    return true;
}

static bool ring_arm(struct via_poller *p) { return via_vq_arm(&via_container_of(p, struct via_guard_ring, poller)->queue.vq); }

/* The loop polls the ring after every wake-up; the event itself has only to be taken off. */
static void call_ready(struct via_watch *w, uint32_t events)
{
    (void)events;
    via_event_clear(w->fd);
}

static void pool_wake(struct via_pool *pool, uint64_t queues) { via_container_of(pool, struct via_guard, region.pool)->hungry |= queues; }

static bool pool_poll(struct via_poller *p)
{
    struct via_guard *g = via_container_of(p, struct via_guard, pool_poller);
    uint64_t queues = g->hungry;
    g->hungry = 0;
    for (unsigned i = 0; i < VIA_BACK_QUEUES_MAX; i++)
        if (queues & VIA_BIT(i))
            via_server_completed(&g->server, i);
    return queues != 0;
}

/* Before sleep: slots that idle queues keep at hand may be what another one waits for. */
static bool pool_arm(struct via_poller *p)
{
    struct via_guard *g = via_container_of(p, struct via_guard, pool_poller);
    for (unsigned i = 0; atomic_load(&g->region.pool.hungry) && i < VIA_BACK_QUEUES_MAX; i++)
        if (g->ring[i].queue.running)
            via_bounce_drain(&g->ring[i].queue.bounce);
    return g->hungry != 0;
}

/* ------------------------------------------------------------------ the front-end's side */

static struct via_guard *of(struct via_server *s) { return via_container_of(s, struct via_guard, server); }

static void on_features(struct via_server *s, uint64_t accepted)
{
    struct via_guard *g = of(s);
    struct via_err err = {""};
    uint64_t features = (accepted & PASSED_FEATURES) | (g->client.front.offered & SHADOW_FEATURES);
    if (via_client_accept(&g->client, features, &err) < 0)
        fail(g, err.text);
}

static int on_config_get(struct via_server *s, uint32_t offset, uint8_t *out, uint32_t len)
{
    struct via_err err = {""};
    int r = via_client_config_get(&of(s)->client, offset, out, len, &err);
    if (r < 0)
        fprintf(stderr, "viaduct guard: %s: %s\n", of(s)->cfg.back, err.text);
    return r;
}

static int on_config_set(struct via_server *s, uint32_t offset, const uint8_t *bytes, uint32_t len)
{
    struct via_err err = {""};
    int r = via_client_config_set(&of(s)->client, offset, bytes, len, &err);
    if (r < 0)
        fprintf(stderr, "viaduct guard: %s: %s\n", of(s)->cfg.back, err.text);
    return r;
}

static int share(struct via_guard *g, struct via_err *err)
{
    if (g->shared)
        return 0;
    struct via_vu_region region = via_guard_shared_region(&g->region);
    int r = via_client_share(&g->client, &region, &g->region.memory.fd, 1, err);
    g->shared = r == 0;
    return r;
}

static int on_ring_start(struct via_server *s, unsigned index, unsigned num, struct via_device **device, struct via_err *err)
{
    struct via_guard *g = of(s);
    struct via_guard_ring *ring = &g->ring[index];
    uint64_t features = g->client.front.features;
    struct via_guard_queue_cfg cfg = {.index = index,
                                      .num = num,
                                      .event_idx = features & VIA_BIT(VIA_F_EVENT_IDX),
                                      .indirect = features & VIA_BIT(VIA_F_INDIRECT_DESC),
                                      .order_platform = features & VIA_BIT(VIA_F_ORDER_PLATFORM),
                                      .under_reports = g->cfg.under_reports};
    int r = share(g, err);
    if (r == 0)
        r = via_guard_queue_open(&ring->queue, &g->region, &cfg, err);
    if (r < 0)
        return r;
    const struct via_vq_cfg *vq = &ring->queue.vq.cfg;
    ring->watch = (struct via_watch){.fd = ring->queue.call, .ready = call_ready};
    r = via_loop_add(&g->loop, &ring->watch, EPOLLIN);
    if (r < 0) {
        via_guard_queue_close(&ring->queue);
        return via_err_set(err, r, "queue %u: the event loop takes no more descriptors", index);
    }
    ring->poller = (struct via_poller){.poll = ring_poll, .arm = ring_arm};
    via_loop_add_poller(&g->loop, &ring->poller);
    r = via_client_ring_start(&g->client, index, num, (uintptr_t)vq->desc, (uintptr_t)vq->avail, (uintptr_t)vq->used, 0, ring->queue.kick,
                              ring->queue.call, err);
    if (r < 0) {
        ring_close(ring);
        return r;
    }
    *device = &ring->queue.device;
    return 0;
}

static void on_ring_stop(struct via_server *s, unsigned index)
{
    struct via_guard *g = of(s);
    struct via_err err = {""};
    uint16_t base;
    if (!g->ring[index].queue.running)
        return;
    int r = via_client_ring_stop(&g->client, index, &base, &err);
    ring_close(&g->ring[index]);
    if (r < 0)
        fail(g, err.text);
}

static void on_batch_end(struct via_server *s, unsigned index)
{
    struct via_guard *g = of(s);
    struct via_guard_queue *q = &g->ring[index].queue;
    via_guard_queue_flush(q);
    if (q->fault.what)
        fprintf(stderr, "viaduct guard: %s: queue %u: %s\n", g->cfg.front, index, q->fault.what);
}

static void on_closed(struct via_server *s, const struct via_err *why)
{
    struct via_guard *g = of(s);
    if (why->text[0])
        fprintf(stderr, "viaduct guard: %s: %s\n", g->cfg.front, why->text);
    g->connected = false;
}

static const struct via_server_ops server_ops = {
    .features = on_features,
    .config_get = on_config_get,
    .config_set = on_config_set,
    .ring_start = on_ring_start,
    .ring_stop = on_ring_stop,
    .batch_end = on_batch_end,
    .closed = on_closed,
};

/* ------------------------------------------------------------------ pairs of connections */

static void pair_close(struct via_guard *g)
{
    unhook(g, &g->back_watch);
    unhook(g, &g->req_watch);
    via_client_close(&g->client);
    if (g->region.memory.ptr) {
        uint32_t high = g->region.pool.high_water;
        if (high > g->stats.high_water)
            g->stats.high_water = high;
        via_guard_shared_close(&g->region);
    }
    via_loop_remove_poller(&g->loop, &g->pool_poller);
    g->shared = false;
    g->hungry = 0;
}

static int pair_open(struct via_guard *g, int front, struct via_err *err)
{
    const uint64_t protocol =
        VIA_BIT(VIA_VU_PF_MQ) | VIA_BIT(VIA_VU_PF_REPLY_ACK) | VIA_BIT(VIA_VU_PF_CONFIG) | VIA_BIT(VIA_VU_PF_BACKEND_REQ);
    int r = via_client_connect(&g->client, g->cfg.back, CONNECT_WAIT_MS, err);
    if (r < 0) {
        close(front);
        return r;
    }
    r = via_client_offer(&g->client, protocol, err);
    unsigned queues = g->client.front.queues_max ? g->client.front.queues_max : 2; /* without MQ: net's pair is the most there is */
    queues = (unsigned)via_min64(queues, g->cfg.queues);
    if (r == 0)
        r = via_guard_shared_open(&g->region, queues, g->cfg.pool_bytes, err);
    if (r < 0) {
        close(front);
        pair_close(g);
        return r;
    }
    g->region.pool.wake = pool_wake;
    g->pool_poller = (struct via_poller){.poll = pool_poll, .arm = pool_arm};
    via_loop_add_poller(&g->loop, &g->pool_poller);
    g->stats.slots = g->region.pool.slots;

    struct via_server_cfg cfg = {.features = (g->client.front.offered & PASSED_FEATURES) | RING_FEATURES | VIA_BIT(VIA_F_ACCESS_PLATFORM),
                                 .queues = (uint16_t)queues,
                                 .num_max = VIA_GUARD_NUM_MAX,
                                 .config = g->client.front.protocol & VIA_BIT(VIA_VU_PF_CONFIG)};
    g->back_watch = (struct via_watch){.fd = g->client.fd, .ready = back_ready};
    r = via_loop_add(&g->loop, &g->back_watch, EPOLLIN | EPOLLRDHUP);
    if (r == 0 && g->client.req_fd >= 0) {
        g->req_watch = (struct via_watch){.fd = g->client.req_fd, .ready = req_ready};
        r = via_loop_add(&g->loop, &g->req_watch, EPOLLIN);
    }
    if (r == 0)
        r = via_server_open(&g->server, &server_ops, &cfg, &g->loop, front, err);
    if (r < 0) {
        pair_close(g);
        return r;
    }
    g->connected = true;
    g->stats.connections++;
    return 0;
}

static void front_ready(struct via_watch *w, uint32_t events)
{
    struct via_guard *g = via_container_of(w, struct via_guard, listener);
    struct via_err err = {""};
    (void)events;
    if (g->connected)
        return;
    int fd = via_sock_accept(w->fd, &err);
    if (fd >= 0 && pair_open(g, fd, &err) < 0)
        fprintf(stderr, "viaduct guard: %s\n", err.text);
}

static void stop_ready(struct via_watch *w, uint32_t events)
{
    struct via_guard *g = via_container_of(w, struct via_guard, stopper);
    (void)events;
    g->loop.stop = true;
}

/* ------------------------------------------------------------------ life */

int via_guard_open(struct via_guard **out, const struct via_guard_cfg *cfg, struct via_err *err)
{
    if (cfg->pool_bytes / VIA_POOL_SLOT < 16 || cfg->pool_bytes % VIA_POOL_SLOT || cfg->pool_bytes > UINT32_MAX)
        return via_err_set(err, -VIA_EINVAL, "a pool of %zu bytes: take a multiple of %u from %u to 4 GiB", cfg->pool_bytes, VIA_POOL_SLOT,
                           16 * VIA_POOL_SLOT);
    if (cfg->queues == 0 || cfg->queues > VIA_BACK_QUEUES_MAX)
        return via_err_set(err, -VIA_EINVAL, "%u queues: take 1 to %u", cfg->queues, VIA_BACK_QUEUES_MAX);
    struct via_guard *g = calloc(1, sizeof(*g));
    if (!g)
        return via_err_set(err, -VIA_ENOMEM, "no memory for a guard");
    g->cfg = *cfg;
    g->client.fd = g->client.req_fd = -1;
    g->listener.fd = g->stopper.fd = g->back_watch.fd = g->req_watch.fd = g->loop.epoll = -1;
    g->region.memory.fd = -1;
    for (unsigned i = 0; i < VIA_BACK_QUEUES_MAX; i++) {
        g->ring[i].guard = g;
        g->ring[i].watch.fd = -1;
    }
    int r = via_loop_init(&g->loop, cfg->poll_ns, err);
    if (r == 0)
        r = g->stopper.fd = via_event_create();
    if (r >= 0)
        r = g->listener.fd = via_sock_listen(cfg->front, err);
    g->stopper.ready = stop_ready;
    g->listener.ready = front_ready;
    if (r >= 0)
        r = via_loop_add(&g->loop, &g->stopper, EPOLLIN);
    if (r < 0) {
        via_guard_close(g);
        return r;
    }
    *out = g;
    return 0;
}

/* What is in flight is never answered then, so that no half-made answer reaches the guest. */
static void pair_abandon(struct via_guard *g)
{
    for (unsigned i = 0; i < VIA_BACK_QUEUES_MAX; i++)
        ring_close(&g->ring[i]);
    via_server_end(&g->server);
}

/*
 * A front-end that is gone needs no answers, and the back-end has no way to the memory that goes with it: nothing is waited for. One
 * that asked its queue to stop wants its last requests finished.
 */
static void watch_drain(struct via_guard *g)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (g->server.ending)
        pair_abandon(g);
    if (!g->server.waiting)
        g->drain_since = 0;
    else if (!g->drain_since)
        g->drain_since = now.tv_sec;
    else if (now.tv_sec - g->drain_since > DRAIN_LIMIT_S)
        fail(g, "the back-end has not finished its requests within 30 s of being asked to stop");
}

static int listen_when_alone(struct via_guard *g, bool *listening)
{
    int r = 0;
    if (!g->connected && !*listening) {
        pair_close(g);
        r = via_loop_add(&g->loop, &g->listener, EPOLLIN);
    } else if (g->connected && *listening) {
        via_loop_remove(&g->loop, &g->listener);
    }
    *listening = !g->connected;
    return r;
}

int via_guard_run(struct via_guard *g)
{
    bool listening = false;
    int r = listen_when_alone(g, &listening);
    while (!g->loop.stop && r >= 0) {
        r = via_loop_once(&g->loop, g->connected && g->server.waiting ? TICK_MS : -1);
        if (g->connected)
            watch_drain(g);
        if (g->why.text[0]) {
            fprintf(stderr, "viaduct guard: %s\n", g->why.text);
            pair_abandon(g);
            g->why.text[0] = 0;
        }
        if (r >= 0)
            r = listen_when_alone(g, &listening);
    }
    if (g->connected)
        pair_abandon(g);
    while (g->connected && r >= 0)
        r = via_loop_once(&g->loop, 0);
    pair_close(g);
    return r < 0 ? r : 0;
}

void via_guard_stop(struct via_guard *g) { via_event_signal(g->stopper.fd); }

void via_guard_stats(const struct via_guard *g, struct via_guard_stats *out) { *out = g->stats; }

void via_guard_close(struct via_guard *g)
{
    if (g->listener.fd >= 0) {
        close(g->listener.fd);
        unlink(g->cfg.front);
    }
    if (g->stopper.fd >= 0)
        close(g->stopper.fd);
    if (g->loop.epoll >= 0)
        via_loop_close(&g->loop);
    free(g);
}
