/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest, a guard and a back-end in one process. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <tap.h>

#include "rig.h"

#define RIG_BATCH 8u

static unsigned count; /* a test that failed leaves its sockets behind, in nobody's way */

/* ------------------------------------------------------------------ back-end */

uint8_t rig_answer(const uint8_t *out, size_t out_len, size_t i) { return (uint8_t)((out_len ? out[i % out_len] : 7) ^ (i >> 8) ^ 0x5a); }

static void raw_used(struct via_req *req, uint32_t id, uint32_t len, uint16_t ahead)
{
    struct via_dq *dq = &req->pump->dq;
    struct via_used *used = dq->cfg.used;
    uint16_t idx = via_shm_get16(&used->idx);
    via_shm_put32(&used->ring[idx % dq->cfg.num].id, id);
    via_shm_put32(&used->ring[idx % dq->cfg.num].len, len);
    via_shm_put16_release(&used->idx, (uint16_t)(idx + ahead));
}

static uint32_t answer(struct via_req *req)
{
    static uint8_t out[1 << 20];
    size_t n = via_spans_read(req->span, req->n_out, 0, out, sizeof(out)), at = 0;
    for (unsigned i = 0; i < req->n_in; i++) {
        struct via_span in = req->span[req->n_out + i];
        for (size_t k = 0; k < in.len; k++)
            ((uint8_t *)in.ptr)[k] = rig_answer(out, n, at++);
    }
    return (uint32_t)at;
}

static void lie(struct rig_back *b, struct via_req *req)
{
    uint32_t head = req->chain.head, all = (uint32_t)req->chain.in_len;
    switch (atomic_load(&b->lie)) {
    case RIG_WRONG_ID:
        raw_used(req, head + RIG_NUM / 2, all, 1);
        break;
    case RIG_ID_TWICE:
        if (b->n_held > 1) /* the others are outstanding, and stay so */
            break;
        raw_used(req, head, all, 1);
        raw_used(req, head, all, 1);
        break;
    case RIG_TOO_LONG:
        raw_used(req, head, all + 1, 1);
        break;
    case RIG_INDEX_JUMPS:
        raw_used(req, head, all, RIG_NUM + 1);
        break;
    case RIG_UNDER_WRITES:
        answer(req);
        raw_used(req, head, 3, 1);
        break;
    case RIG_DIES:
        b->loop.stop = true;
        break;
    default:
        break;
    }
}

static void answer_held(struct rig_back *b)
{
    while (b->n_held) {
        struct via_req *req = b->held[--b->n_held];
        via_req_complete(req, answer(req));
    }
}

static int back_submit(struct via_device *device, struct via_req *req)
{
    struct rig_back *b = via_container_of(device, struct rig_back, device);
    b->seen++;
    if (b->lie == RIG_HONEST) {
        via_req_complete(req, answer(req));
        return 0;
    }
    b->held[b->n_held++] = req;
    if (b->lie == RIG_LATE) {
        if (b->n_held == RIG_BATCH)
            answer_held(b);
        return 0;
    }
    lie(b, req);
    via_event_signal(b->server.ring[0].call);
    return 0;
}

static bool back_let_go(struct via_poller *p)
{
    struct rig_back *b = via_container_of(p, struct rig_back, poller);
    bool any = b->server.ending && b->n_held;
    while (any && b->n_held)
        via_req_abandon(b->held[--b->n_held]);
    return any;
}

static const struct via_device_ops back_device = {.submit = back_submit};

static int back_config(struct via_server *s, uint32_t offset, uint8_t *out, uint32_t len)
{
    (void)s;
    for (uint32_t i = 0; i < len; i++)
        out[i] = (uint8_t)(offset + i + 1);
    return 0;
}

static int back_ring_start(struct via_server *s, unsigned index, unsigned num, struct via_device **device, struct via_err *err)
{
    struct rig_back *b = via_container_of(s, struct rig_back, server);
    (void)index, (void)num, (void)err;
    b->regions = s->map.n;
    b->region_bytes = s->map.region[0].len;
    *device = &b->device;
    return 0;
}

static void back_closed(struct via_server *s, const struct via_err *why)
{
    (void)why;
    via_container_of(s, struct rig_back, server)->connected = false;
}

static const struct via_server_ops back_ops = {.config_get = back_config, .ring_start = back_ring_start, .closed = back_closed};

static void back_accept(struct via_watch *w, uint32_t events)
{
    struct rig_back *b = via_container_of(w, struct rig_back, listener);
    struct via_server_cfg cfg = {.features = VIA_BIT(VIA_F_VERSION_1) | VIA_BIT(VIA_F_INDIRECT_DESC) | VIA_BIT(VIA_F_EVENT_IDX) |
                                             VIA_BIT(VIA_F_ORDER_PLATFORM) | VIA_BIT(5),
                                 .queues = RIG_QUEUES,
                                 .num_max = 1024,
                                 .config = true};
    (void)events;
    int fd = b->connected ? -1 : via_sock_accept(w->fd, NULL);
    if (fd >= 0)
        b->connected = via_server_open(&b->server, &back_ops, &cfg, &b->loop, fd, NULL) == 0;
}

static void back_stop(struct via_watch *w, uint32_t events)
{
    (void)events;
    via_container_of(w, struct rig_back, stopper)->loop.stop = true;
}

static void back_order(struct via_watch *w, uint32_t events)
{
    struct rig_back *b = via_container_of(w, struct rig_back, order);
    (void)events;
    via_event_clear(w->fd);
    if (atomic_exchange(&b->drop, false))
        via_server_end(&b->server);
    if (!atomic_exchange(&b->release, false))
        return;
    b->lie = RIG_HONEST;
    answer_held(b);
    for (unsigned i = 0; b->connected && i < RIG_QUEUES; i++)
        via_server_completed(&b->server, i);
}

static void *back_run(void *arg)
{
    struct rig_back *b = arg;
    int r = via_loop_run(&b->loop);
    while (b->n_held)
        via_req_abandon(b->held[--b->n_held]);
    if (b->connected)
        via_server_close(&b->server);
    b->connected = false;
    return (void *)(intptr_t)r;
}

static bool back_open(struct rig_back *b, enum rig_lie how)
{
    b->lie = how;
    b->device.ops = &back_device;
    snprintf(b->path, sizeof(b->path), "/tmp/viaduct-rig-%d-%u-back", (int)getpid(), count);
    CHECK_OR_FALSE(via_loop_init(&b->loop, 0, NULL) == 0);
    b->poller = (struct via_poller){.poll = back_let_go, .arm = back_let_go};
    via_loop_add_poller(&b->loop, &b->poller);
    b->listener = (struct via_watch){via_sock_listen(b->path, NULL), back_accept};
    b->stopper = (struct via_watch){via_event_create(), back_stop};
    b->order = (struct via_watch){via_event_create(), back_order};
    CHECK_OR_FALSE(b->listener.fd >= 0 && b->stopper.fd >= 0 && b->order.fd >= 0);
    CHECK_OR_FALSE(via_loop_add(&b->loop, &b->order, EPOLLIN) == 0);
    CHECK_OR_FALSE(via_loop_add(&b->loop, &b->listener, EPOLLIN) == 0 && via_loop_add(&b->loop, &b->stopper, EPOLLIN) == 0);
    CHECK_OR_FALSE(pthread_create(&b->thread, NULL, back_run, b) == 0);
    return true;
}

static void back_close(struct rig_back *b)
{
    via_event_signal(b->stopper.fd);
    pthread_join(b->thread, NULL);
    via_loop_close(&b->loop);
    close(b->listener.fd);
    close(b->stopper.fd);
    close(b->order.fd);
    unlink(b->path);
}

/* ------------------------------------------------------------------ guest */

bool rig_ring_start(struct rig_guest *g, unsigned index, uint16_t base)
{
    struct via_split_layout lay;
    CHECK_OR_FALSE(via_split_layout(&lay, RIG_NUM, 4) == 0);
    uint8_t *at = g->memory.ptr + index * 65536;
    memset(at, 0, lay.total);
    struct via_vq_cfg cfg = {.num = RIG_NUM,
                             .desc = at + lay.desc,
                             .avail = at + lay.avail,
                             .used = at + lay.used,
                             .slot = g->ring[index].slot,
                             .event_idx = true};
    CHECK_OR_FALSE(via_vq_init(&g->ring[index].vq, &cfg) == 0);
    CHECK_OR_FALSE(via_client_ring_start(&g->client, index, RIG_NUM, (uintptr_t)cfg.desc, (uintptr_t)cfg.avail, (uintptr_t)cfg.used, base,
                                         g->ring[index].kick, g->ring[index].call, NULL) == 0);
    return true;
}

bool rig_guest_open(struct rig *r)
{
    struct rig_guest *g = &r->guest;
    const uint64_t need = VIA_BIT(VIA_F_VERSION_1) | VIA_BIT(VIA_F_EVENT_IDX);
    const uint64_t protocol = VIA_BIT(VIA_VU_PF_MQ) | VIA_BIT(VIA_VU_PF_REPLY_ACK) | VIA_BIT(VIA_VU_PF_CONFIG);
    *g = (struct rig_guest){.client.fd = -1};
    struct via_err err = {""};
    CHECK_OR_FALSE(via_memory_create(&g->memory, "rig-guest", RIG_GUEST_BYTES, &err) == 0);
    CHECK_OR_FALSE(via_client_connect(&g->client, r->front, 2000, &err) == 0);
    int rc = via_client_negotiate(&g->client, need | VIA_BIT(VIA_F_INDIRECT_DESC) | VIA_BIT(5), need, protocol, &err);
    if (rc < 0)
        tap_note(err.text);
    CHECK_OR_FALSE(rc == 0);
    struct via_vu_region region = {.gpa = 0x100000, .size = g->memory.len, .uva = (uintptr_t)g->memory.ptr};
    CHECK_OR_FALSE(via_client_share(&g->client, &region, &g->memory.fd, 1, &err) == 0);
    g->range = (struct via_phys_range){g->memory.ptr, g->memory.len, region.gpa};
    CHECK_OR_FALSE(via_direct_init(&g->direct, &g->range, 1) == 0);
    for (unsigned i = 0; i < RIG_QUEUES; i++) {
        g->ring[i].kick = via_event_create();
        g->ring[i].call = via_event_create();
        CHECK_OR_FALSE(rig_ring_start(g, i, 0));
    }
    g->data = g->memory.ptr + RIG_QUEUES * 65536;
    return true;
}

void rig_guest_close(struct rig *r)
{
    struct rig_guest *g = &r->guest;
    via_client_close(&g->client);
    for (unsigned i = 0; i < RIG_QUEUES; i++) {
        close(g->ring[i].kick);
        close(g->ring[i].call);
    }
    via_memory_destroy(&g->memory);
}

bool rig_submit(struct rig_guest *g, unsigned index, struct via_span out, struct via_span in, void *token)
{
    struct via_seg seg[2];
    struct via_span list[2];
    unsigned n_out = out.len > 0, n_in = in.len > 0;
    list[0] = out;
    list[n_out] = in;
    struct via_mapping m = {.seg = seg, .cap = 2};
    CHECK_OR_FALSE(via_dma_map(&g->direct.dma, list, n_out, n_in, &m) == 0);
    CHECK_OR_FALSE(via_vq_add(&g->ring[index].vq, m.seg, m.n_out, m.n_in, token) == 0);
    if (via_vq_publish(&g->ring[index].vq))
        via_event_signal(g->ring[index].kick);
    return true;
}

int rig_wait(struct rig_guest *g, unsigned index, struct via_used_chain *used, int timeout_ms)
{
    for (;;) {
        int r = via_vq_reap(&g->ring[index].vq, used);
        if (r != 0)
            return r;
        if (via_vq_arm(&g->ring[index].vq))
            continue;
        struct pollfd p[2] = {{g->ring[index].call, POLLIN, 0}, {g->client.fd, POLLIN, 0}};
        if (poll(p, 2, timeout_ms) == 0)
            return 0;
        if (p[1].revents)
            return -VIA_ENODEV;
        via_event_clear(g->ring[index].call);
    }
}

/* ------------------------------------------------------------------ all */

static void *guard_run(void *guard) { return (void *)(intptr_t)via_guard_run(guard); }

uint32_t rig_poll_ns;

bool rig_open(struct rig *r, enum rig_lie how, size_t pool_bytes)
{
    memset(r, 0, sizeof(*r));
    snprintf(r->front, sizeof(r->front), "/tmp/viaduct-rig-%d-%u-front", (int)getpid(), ++count);
    CHECK_OR_FALSE(back_open(&r->back, how));
    struct via_guard_cfg cfg = {
        .front = r->front, .back = r->back.path, .pool_bytes = pool_bytes, .queues = RIG_QUEUES, .poll_ns = rig_poll_ns};
    CHECK_OR_FALSE(via_guard_open(&r->guard, &cfg, NULL) == 0);
    CHECK_OR_FALSE(pthread_create(&r->guard_thread, NULL, guard_run, r->guard) == 0);
    return true;
}

void rig_close(struct rig *r)
{
    void *result;
    via_guard_stop(r->guard);
    pthread_join(r->guard_thread, &result);
    if ((intptr_t)result < 0)
        tap_fail_eq(__FILE__, __LINE__, "via_guard_run", (intptr_t)result, 0);
    via_guard_close(r->guard);
    back_close(&r->back);
}

void rig_release(struct rig *r)
{
    r->back.release = true;
    via_event_signal(r->back.order.fd);
}

void rig_drop(struct rig *r)
{
    r->back.drop = true;
    via_event_signal(r->back.order.fd);
}
