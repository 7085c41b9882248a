/* SPDX-License-Identifier: BSD-2-Clause */
/* drive: requests on their way, and waiting for them without ever waiting for ever. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "drive_parts.h"

#define SECOND UINT64_C(1000000000)
#define SPINS_PER_LOOK 1024u /* polling: rounds between two looks at the clock and the socket */
#define SPINS_ASKED 32u      /* the same where the back-end has questions: it can't go on before they are answered */
#define NAP_MS 250

struct via_drive_io *via_drive_io_new(struct via_drive *d, uint32_t len)
{
    struct via_drive_io *io = calloc(1, sizeof(*io) + d->span_max * sizeof(struct via_span));
    if (!io) {
        (void)via_err_set(&d->err, -VIA_ENOMEM, "no memory for requests: lower --depth");
        return NULL;
    }
    io->span = (struct via_span *)(void *)(io + 1);
    io->buf = via_arena_take(&d->mem.priv, len);
    io->len = len;
    io->next = d->ios;
    d->ios = io;
    return io;
}

struct via_drive_io **via_drive_ios_new(struct via_drive *d, unsigned n, uint32_t len)
{
    struct via_drive_io **io = d->io_array = calloc(n, sizeof(void *));
    if (!io) {
        (void)via_err_set(&d->err, -VIA_ENOMEM, "no memory for %u requests: lower --depth", n);
        return NULL;
    }
    for (unsigned i = 0; i < n; i++)
        if (!(io[i] = via_drive_io_new(d, len)))
            return NULL;
    return io;
}

int via_drive_io_failed(struct via_drive *d, const struct via_drive_io *io)
{
    const char *what = io->type == VIA_BLK_T_IN ? "read" : io->type == VIA_BLK_T_OUT ? "write" : "flush";
    const struct via_fault *f = &d->queue[io->queue].driver.fault;
    unsigned long long at = io->offset;
    if (io->result == -VIA_EPROTO)
        return via_err_set(&d->err, io->result, "the back-end answered a %s of %u bytes at byte %llu with nonsense: %s", what, io->len, at,
                           f->what);
    return via_err_set(&d->err, io->result, "the back-end failed a %s of %u bytes at byte %llu%s", what, io->len, at,
                       io->result == -VIA_ENOTSUP ? ": it does not know such requests" : "");
}

static unsigned cut(const struct via_drive *d, struct via_drive_io *io)
{
    unsigned n = 0;
    for (uint32_t at = 0; at < io->len; at += d->seg_bytes) {
        io->span[n++] = (struct via_span){io->buf + at, (size_t)via_min64(io->len - at, d->seg_bytes)};
        if (io->len - at <= d->seg_bytes)
            break;
    }
    return n;
}

/* What was used so far; the number of requests that ended, or negative. */
static int reap(struct via_drive *d, unsigned index)
{
    struct via_drive_queue *q = &d->queue[index];
    struct via_blk_done done;
    unsigned n = 0;
    int r;
    while (n < d->opts.depth && (r = via_blk_driver_reap(&q->driver, &done)) != 0) {
        if (r < 0) {
            const struct via_fault *f = q->vq.fault.what ? &q->vq.fault : &q->driver.fault;
            return via_err_fault(&d->err, r, "the back-end broke the rules of its queue", f);
        }
        if (!n++)
            d->now = via_drive_clock();
        struct via_drive_io *io = done.token;
        io->busy = false;
        io->result = done.result;
        io->written = done.written;
        d->inflight--;
        d->move.answers++;
        d->last_end = d->now;
        d->moved += io->len;
        io->ended(d, io);
    }
    return (int)n;
}

static int reap_all(struct via_drive *d)
{
    int n = 0;
    for (unsigned i = 0; i < d->opts.queues; i++) {
        int r = reap(d, i);
        if (r < 0)
            return r;
        n += r;
    }
    return n;
}

enum socket { SILENT, SPEAKS, GONE };

static enum socket socket_of(const struct via_drive *d)
{
    uint8_t byte;
    ssize_t n = recv(d->end.client.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return SILENT;
    return n > 0 ? SPEAKS : GONE;
}

/* Even if not all is read of what it said before. */
static bool has_hung_up(const struct via_drive *d)
{
    struct pollfd p = {.fd = d->end.client.fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) > 0;
}

/*
 * The socket has nothing to say to us while rings run but answers to what we said of mappings: anything else there is an end. What it
 * did until then still counts.
 */
static int look_at_socket(struct via_drive *d)
{
    enum socket is = socket_of(d);
    if (d->end.domain && is != GONE) {
        int r = via_drive_domain_serve(d);
        if (r >= 0 || (r != -VIA_ENODEV && !has_hung_up(d)))
            return r;
        is = GONE;
    }
    if (is == SILENT)
        return 0;
    int r = reap_all(d);
    if (r < 0)
        return r;
    if (is == SPEAKS)
        return via_err_set(&d->err, -VIA_EPROTO, "the back-end spoke without being asked");
    return via_err_set(&d->err, -VIA_ENODEV, "the back-end went away with %u requests in flight", d->inflight);
}

/* With nothing in flight nobody will give room back but the neighbour, and it does so at once. */
static int no_room(struct via_drive *d)
{
    d->eagain++;
    if (d->inflight)
        return -VIA_EAGAIN;
    d->now = via_drive_clock();
    if (!d->starved)
        d->starved = d->now;
    if (d->now - d->starved < 2 * SECOND)
        return -VIA_EAGAIN;
    return via_err_set(&d->err, -VIA_ENOMEM,
                       "the pool has no room for a single request of %u bytes: raise --pool-size or lower --block-size",
                       d->opts.block_size);
}

/* Nothing can be mapped any more. */
static int lost(struct via_drive *d)
{
    int r = look_at_socket(d);
    return r ? r : via_err_set(&d->err, -VIA_EPROTO, "the connection to the back-end is broken");
}

int via_drive_submit(struct via_drive *d, struct via_drive_io *io)
{
    struct via_drive_queue *q = &d->queue[io->queue];
    struct via_blk_cmd cmd = {
        .type = io->type,
        .sector = io->offset / VIA_BLK_SECTOR,
        .data = io->span,
        .n = io->type == VIA_BLK_T_FLUSH ? 0 : cut(d, io),
        .token = io,
    };
    int r = via_blk_driver_submit(&q->driver, &cmd);
    if (r == -VIA_EAGAIN)
        return no_room(d);
    if (r && d->end.client.front.broken)
        return lost(d);
    if (r)
        return q->driver.fault.what
                   ? via_err_fault(&d->err, r, "queue", &q->driver.fault)
                   : via_err_set(&d->err, r, "a request at byte %llu can't be sent: %s", (unsigned long long)io->offset, strerror(-r));
    io->busy = true;
    io->start = d->now;
    if (!d->inflight++)
        d->last_end = d->now;
    d->starved = 0;
    return 0;
}

static int out_of_patience(struct via_drive *d)
{
    if (!d->inflight || d->now - d->last_end < d->opts.timeout * SECOND)
        return 0;
    return via_err_set(&d->err, -VIA_ETIMEDOUT, "the back-end left %u requests without an answer for %u seconds", d->inflight,
                       d->opts.timeout);
}

static int spin(struct via_drive *d)
{
    unsigned spins = via_drive_mapped(d->opts.dma) ? SPINS_ASKED : SPINS_PER_LOOK;
    for (unsigned i = 0; i < spins; i++) {
        int n = reap_all(d);
        if (n)
            return n;
    }
    return 0;
}

static int nap(struct via_drive *d)
{
    struct pollfd p[VIA_DRIVE_QUEUES + 2];
    unsigned n = d->opts.queues;
    bool there = false;
    for (unsigned i = 0; i < n; i++) {
        there |= via_vq_arm(&d->queue[i].vq);
        p[i] = (struct pollfd){.fd = d->queue[i].call, .events = POLLIN};
    }
    p[n] = (struct pollfd){.fd = d->end.client.fd, .events = POLLIN};
    p[n + 1] = (struct pollfd){.fd = d->end.client.req_fd, .events = POLLIN}; /* -1: none, which poll passes over */
    if (!there) {
        d->sleeps++;
        if (poll(p, n + 2, via_drive_domain_tick(d, NAP_MS)) > 0)
            for (unsigned i = 0; i < n; i++)
                if (p[i].revents)
                    via_event_clear(p[i].fd);
    }
    for (unsigned i = 0; i < n; i++)
        via_vq_disarm(&d->queue[i].vq);
    return reap_all(d);
}

int via_drive_turn(struct via_drive *d)
{
    for (unsigned i = 0; i < d->opts.queues; i++)
        if (via_vq_publish(&d->queue[i].vq))
            via_event_signal(d->queue[i].kick);
    int r = d->opts.places ? via_drive_move(d) : 0;
    if (r > 0) { /* there is no device now, but what the last one answered */
        r = reap_all(d);
        return r > 0 ? 0 : r;
    }
    if (r)
        return r;
    r = d->neighbour ? via_neighbour_step(d->neighbour, &d->err) : 0;
    if (!r && d->opts.dma == VIA_DRIVE_TURN) /* while requests are in flight */
        r = via_drive_secure_step(d);
    if (r)
        return r;
    (void)via_drive_domain_tick(d, 0);
    via_drive_grow_tick(d);
    if (!d->inflight)
        return 0;
    int n = reap_all(d);
    if (!n)
        n = d->opts.poll ? spin(d) : nap(d);
    if (n < 0)
        return n;
    if (n > 0)
        return via_drive_mapped(d->opts.dma) ? look_at_socket(d) : 0;
    d->now = via_drive_clock();
    r = look_at_socket(d);
    return r ? r : out_of_patience(d);
}
