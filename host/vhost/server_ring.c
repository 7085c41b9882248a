/* SPDX-License-Identifier: BSD-2-Clause */
/* server_ring: one ring of the front-end, from start to stop: its areas, its pump, its three descriptors. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "server_parts.h"

#define RING_BATCH 16u /* requests that a ring may take before their answers are shown and others have their turn */
/* Spans beyond a request's descriptors: for what crosses regions, and, translated, for 4 MiB of pages that lie anywhere. */
#define SPAN_EXTRA 64u
#define SPAN_EXTRA_PAGES 1024u

static bool accepted(const struct via_server *s, enum via_feature bit) { return s->back.features & VIA_BIT(bit); }

/* May it take requests? */
static bool ring_serves(const struct via_server_ring *r)
{
    const struct via_server *s = r->server;
    return r->running && !r->broken && !r->lost && s->back.ring[r->index].enabled && !s->waiting && !s->ending;
}

/* ------------------------------------------------------------------ taking requests */

/* Requests failed because their translations were refused: say so, once for several. */
static void ring_refusals(struct via_server_ring *r)
{
    const struct via_fault *f = &r->pump.refusal;
    struct via_err err;
    if (r->pump.refusals == r->refusals)
        return;
    r->refusals = r->pump.refusals;
    if (r->broken) /* told already, with the reason */
        return;
    (void)via_err_set(&err, 0, "ring %u: a request failed, its buffer at I/O virtual address 0x%" PRIx64 " may not be %s", r->index, f->got,
                      f->limit & VIA_PERM_W ? "written" : "read");
    via_server_warn(r->server, &err);
    via_server_ask_fail(r->server, (via_iova){f->got}, (unsigned)f->limit);
}

static void kick_unwatch(struct via_server_ring *r)
{
    if (r->watch.fd >= 0)
        via_loop_remove(r->server->loop, &r->watch);
    r->watch.fd = -1;
}

void via_server_ring_broken(struct via_server *s, unsigned index, const char *why)
{
    struct via_server_ring *r = &s->ring[index];
    struct via_err err;
    if (r->broken)
        return;
    r->broken = true;
    kick_unwatch(r);
    if (r->err >= 0)
        via_event_signal(r->err);
    (void)via_err_set(&err, 0, "ring %u is broken: %s", index, why);
    via_server_warn(s, &err);
}

static void ring_offence(struct via_server_ring *r)
{
    struct via_err err;
    (void)via_err_fault(&err, 0, "the driver", &r->pump.fault);
    via_server_ring_broken(r->server, r->index, err.text);
}

static void memory_watch(struct via_server *s)
{
    struct via_err err;
    if (s->ending)
        return;
    if (via_server_memory_dead(s)) {
        (void)via_err_set(&err, 0, "the front-end shrank a file that its memory is in");
        via_server_fail(s, &err);
    } else if (via_server_log_dead(s)) {
        (void)via_err_set(&err, 0, "the front-end shrank the file that its dirty log is in");
        via_server_fail(s, &err);
    }
}

void via_server_ring_flush(struct via_server_ring *r)
{
    if (!r->running || r->lost)
        return;
    uint16_t shown = r->pump.dq.published;
    bool call = via_pump_flush(&r->pump);
    via_server_log_used(r, shown);
    if (call && r->call >= 0)
        via_event_signal(r->call);
}

/* Take what may be taken; true: something was. */
static bool ring_run(struct via_server_ring *r)
{
    struct via_server *s = r->server;
    /* One that waits for an end takes nothing new, but what is parked must go through for the end to come. */
    unsigned budget = ring_serves(r) ? RING_BATCH : 0;
    if (budget == 0 && !r->pump.parked && !r->pump.waiting)
        return false;
    s->in_batch = true;
    int n = via_pump_run(&r->pump, budget);
    if (n > 0 && r->armed) {
        via_dq_disarm(&r->pump.dq);
        r->armed = false;
    }
    if (n != 0 && s->ops->batch_end)
        s->ops->batch_end(s, r->index);
    s->in_batch = false;
    if (n < 0 && !r->broken)
        ring_offence(r);
    if (n != 0)
        memory_watch(s);
    ring_refusals(r);
    via_server_ask(s);
    return n > 0;
}

void via_server_ring_finish(struct via_server_ring *r)
{
    if (r->pump.waiting)
        (void)ring_run(r);
    via_server_ring_flush(r);
}

static bool ring_poll(struct via_poller *p)
{
    struct via_server_ring *r = via_container_of(p, struct via_server_ring, poller);
    bool did = ring_run(r);
    via_server_ring_flush(r);
    return did;
}

static bool ring_arm(struct via_poller *p)
{
    struct via_server_ring *r = via_container_of(p, struct via_server_ring, poller);
    if (ring_poll(p))
        return true;
    memory_watch(r->server);
    if (!ring_serves(r) || r->pump.parked)
        return false;
    if (r->kick < 0)
        return true; /* without a kick to wait for, it is polled */
    r->armed = true;
    bool due = via_dq_arm(&r->pump.dq);
    via_server_log_armed(r);
    return due;
}

static void ring_kicked(struct via_watch *w, uint32_t events)
{
    struct via_server_ring *r = via_container_of(w, struct via_server_ring, watch);
    if (events & (EPOLLHUP | EPOLLERR)) {
        via_server_ring_broken(r->server, r->index, "the front-end hung its kick descriptor up");
        return;
    }
    via_event_clear(r->kick);
    (void)ring_poll(&r->poller);
}

void via_server_completed(struct via_server *s, unsigned index)
{
    struct via_server_ring *r = &s->ring[index];
    if (!s->in_batch && r->running) /* in a batch: what runs it flushes and goes on by itself */
        (void)ring_poll(&r->poller);
}

/* ------------------------------------------------------------------ areas */

void via_server_ring_moved(struct via_server_ring *r)
{
    struct via_server *s = r->server;
    struct via_dq_cfg cfg;
    struct via_err err;
    if (!r->running)
        return;
    bool was_lost = r->lost;
    int result = via_server_area_find(r, &cfg, &err);
    if (result == 0)
        result = via_pump_here(&r->pump, cfg.desc, cfg.avail, cfg.used);
    r->lost = result < 0;
    if (!r->lost) {
        via_server_log_armed(r);
        return;
    }
    via_pump_away(&r->pump);
    if (result == -VIA_EAGAIN)
        return;
    if (s->iotlb.on) /* the answer was no: it will not become another by waiting */
        via_server_ring_broken(s, r->index, err.text);
    else if (!was_lost)
        via_server_warn(s, &err);
}

/* ------------------------------------------------------------------ start and stop */

void via_server_ring_kick_put(struct via_server_ring *r, int fd)
{
    kick_unwatch(r);
    via_server_fd_put(&r->kick, fd);
}

int via_server_ring_watch(struct via_server_ring *r, struct via_err *err)
{
    if (r->kick < 0 || r->broken)
        return 0;
    int result = via_server_fd_check(r->kick, "kick", r->index, err);
    if (result < 0)
        return result;
    r->watch = (struct via_watch){.fd = r->kick, .ready = ring_kicked};
    result = via_loop_add(r->server->loop, &r->watch, EPOLLIN);
    if (result < 0) {
        r->watch.fd = -1;
        return via_err_set(err, result, "ring %u: the front-end's kick descriptor can't be waited on", r->index);
    }
    return 0;
}

int via_server_ring_start(struct via_server_ring *r, struct via_err *err)
{
    struct via_server *s = r->server;
    const struct via_back_ring *b = &s->back.ring[r->index];
    struct via_misses *misses = s->iotlb.on ? &s->iotlb.misses : NULL;
    struct via_dq_cfg cfg = {.num = b->num,
                             .base = b->base,
                             .event_idx = accepted(s, VIA_F_EVENT_IDX),
                             .indirect = accepted(s, VIA_F_INDIRECT_DESC),
                             .big = b->big,
                             .order_platform = accepted(s, VIA_F_ORDER_PLATFORM)};
    struct via_device *device = NULL;
    unsigned extra = misses ? SPAN_EXTRA_PAGES : SPAN_EXTRA;
    r->since = misses ? misses->questions : 0;
    int result = via_server_area_find(r, &cfg, err);
    if (result == 0 || result == -VIA_EAGAIN)
        result = s->ops->ring_start(s, r->index, b->num, &device, err);
    if (result < 0)
        return result;

    r->running = true;
    r->broken = r->armed = false;
    r->lost = !cfg.used;
    r->refusals = 0;
    r->pump = (struct via_pump){.device = device};
    r->storage = malloc(via_pump_bytes(b->num, extra, misses));
    if (!r->storage)
        return via_err_set(err, -VIA_ENOMEM, "ring %u: no memory for %u descriptors", r->index, b->num);
    result = via_pump_init(&r->pump, &cfg, misses ? &s->iotlb.tlb.xlate : &s->map.xlate, misses, device, extra, r->storage);
    if (result < 0)
        return via_err_set(err, result, "ring %u: can't be run with %u descriptors", r->index, b->num);
    result = via_server_log_start(r, err);
    if (result < 0)
        return result;
    r->poller = (struct via_poller){.poll = ring_poll, .arm = ring_arm};
    via_loop_add_poller(s->loop, &r->poller);
    via_server_ask(s);
    return via_server_ring_watch(r, err);
}

void via_server_ring_stop(struct via_server_ring *r)
{
    struct via_server *s = r->server;
    VIA_ASSERT(via_pump_inflight(&r->pump) == 0);
    via_server_ring_kick_put(r, -1);
    if (!r->running)
        return;
    r->running = false;
    if (r->poller.poll)
        via_loop_remove_poller(s->loop, &r->poller);
    r->poller.poll = NULL;
    if (s->ops->ring_stop)
        s->ops->ring_stop(s, r->index);
    via_server_area_drop(r);
    free(r->storage);
    r->storage = NULL;
}
