/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server_ask: the channel for the back-end's own requests: misses go out, many at a time, and their answers come in.
 *
 * A miss is answered by an UPDATE on the main channel, or by nothing where there is no translation. To learn of a no without asking for an
 * answer to each, the last one of a round asks for one: when it comes, the front-end is through with all before. What has no UPDATE by
 * then is asked for once more, and surely.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "../clock.h"
#include "server_parts.h"

#define ROUND 64u /* misses in one system call */
#define TICK_NS 250000000
#define MESSAGE_BYTES (VIA_VU_HDR + (size_t)32)
_Static_assert(ROUND *MESSAGE_BYTES <= sizeof(((struct via_server_asks *)0)->out), "a round fits");

bool via_server_ask_able(const struct via_server *s) { return s->asks.fd >= 0 && (s->back.protocol & VIA_BIT(VIA_VU_PF_BACKEND_REQ)); }

static uint64_t now_ns(void) { return (uint64_t)via_clock_ns(); }

static struct via_server_ask *due_at(struct via_server_asks *a, unsigned i) { return &a->due[(a->first + i) % VIA_SERVER_MISSES]; }

static void unwatch(struct via_server *s, struct via_watch *w)
{
    if (w->fd >= 0)
        via_loop_remove(s->loop, w);
    w->fd = -1;
}

/* ------------------------------------------------------------------ asking */

/* True: nothing is left in hand. */
static bool out_send(struct via_server *s)
{
    struct via_server_asks *a = &s->asks;
    while (a->out_at < a->out_len) {
        ssize_t n = send(a->fd, a->out + a->out_at, a->out_len - a->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            a->out_at += (unsigned)n;
        } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
            via_server_ask_close(s);
            return true;
        } else {
            return false;
        }
    }
    a->out_at = a->out_len = 0;
    return true;
}

static void put(struct via_server_asks *a, const struct via_vu_msg *m)
{
    via_vu_encode_header(m, a->out + a->out_len);
    memcpy(a->out + a->out_len + VIA_VU_HDR, m->payload, m->size);
    a->out_len += VIA_VU_HDR + m->size;
}

static void round_compose(struct via_server *s)
{
    struct via_server_asks *a = &s->asks;
    struct via_misses *misses = &s->iotlb.misses;
    bool answers = s->back.protocol & VIA_BIT(VIA_VU_PF_REPLY_ACK);
    uint64_t now = now_ns();
    a->last_ns = now = now > a->last_ns ? now : a->last_ns + 1;
    const struct via_miss *miss;
    for (unsigned i = 0; i < ROUND && (miss = via_misses_next(misses, now)); i++) {
        struct via_vu_msg m;
        bool answer = answers && (miss->sure || i + 1 == ROUND || misses->fresh == 0);
        via_back_iotlb_event(&s->back, &m, VIA_VU_IOTLB_MISS, (via_iova){miss->page}, miss->perm, answer);
        put(a, &m);
        if (answer)
            *due_at(a, a->n++) = (struct via_server_ask){miss->page, now};
        s->iotlb.asked++;
    }
}

static void timer_set(struct via_server_asks *a, int64_t ns)
{
    const struct itimerspec when = {.it_value = {0, ns}};
    if (a->timer.fd >= 0)
        timerfd_settime(a->timer.fd, 0, &when, NULL);
}

void via_server_ask(struct via_server *s)
{
    struct via_server_asks *a = &s->asks;
    struct via_misses *misses = &s->iotlb.misses;
    if (!s->iotlb.on || s->ending || !(misses->fresh || a->out_len))
        return;
    if (!via_server_ask_able(s)) {
        struct via_err err;
        (void)via_err_set(&err, 0, "the front-end translates addresses, but there is no channel to ask it by (BACKEND_REQ): requests fail");
        if (!a->told)
            via_server_warn(s, &err);
        a->told = true;
        return;
    }
    timer_set(a, TICK_NS);
    while (out_send(s) && a->fd >= 0 && misses->fresh && a->n + ROUND <= VIA_SERVER_MISSES)
        round_compose(s);
}

void via_server_ask_tell(struct via_server *s, const struct via_vu_msg *m)
{
    struct via_server_asks *a = &s->asks;
    struct via_err err;
    if (!out_send(s) && a->out_len + VIA_VU_HDR + m->size > sizeof(a->out)) {
        (void)via_err_set(&err, 0, "the front-end does not read what the back-end tells it by its channel");
        via_server_warn(s, &err);
        return;
    }
    if (a->fd < 0)
        return;
    put(a, m);
    if (!out_send(s))
        timer_set(a, TICK_NS);
}

void via_server_ask_fail(struct via_server *s, via_iova addr, unsigned perm)
{
    struct via_vu_msg m;
    if (!via_server_ask_able(s))
        return;
    via_back_iotlb_event(&s->back, &m, VIA_VU_IOTLB_ACCESS_FAIL, addr, perm, false);
    via_server_ask_tell(s, &m);
}

/* ------------------------------------------------------------------ answers */

static void channel_bad(struct via_server *s, const struct via_err *why)
{
    struct via_err err;
    (void)via_err_set(&err, 0, "the channel for the back-end's own requests: %.230s", why->text);
    via_server_fail(s, &err);
}

bool via_server_ask_take(struct via_server *s)
{
    struct via_server_asks *a = &s->asks;
    struct via_err err = {.text = ""};
    uint64_t value;
    if (a->stashed || a->fd < 0)
        return a->stashed;
    int got = via_sock_recv(a->fd, &a->rx, &err);
    if (got == -VIA_ENODEV) {
        via_server_ask_close(s);
    } else if (got < 0) {
        channel_bad(s, &err);
    } else if (got > 0) {
        int result = via_back_feed_answer(&s->back, &a->rx.msg, &value);
        via_vu_close_fds(&a->rx.msg);
        if (result < 0)
            (void)via_err_fault(&err, result, "the front-end", &s->back.fault);
        else if (a->n == 0)
            result = via_err_set(&err, -VIA_EPROTO, "an answer came to a question that was not asked");
        if (result < 0)
            channel_bad(s, &err);
        else
            a->stashed = true;
    }
    return a->stashed;
}

void via_server_ask_judge(struct via_server *s)
{
    struct via_server_asks *a = &s->asks;
    struct via_server_ask ask = *due_at(a, 0);
    a->stashed = false;
    if (a->n == 0)
        return;
    a->first = (a->first + 1) % VIA_SERVER_MISSES;
    a->n--;
    if (!s->iotlb.on)
        return;
    via_misses_refuse(&s->iotlb.misses, (via_iova){ask.page}, ask.asked_ns); /* without an UPDATE, a yes is no better than a no */
    (void)via_misses_again(&s->iotlb.misses, ask.asked_ns);
}

/* ------------------------------------------------------------------ time */

bool via_server_ask_tick(struct via_server *s, uint64_t limit_ms)
{
    struct via_server_asks *a = &s->asks;
    uint64_t times, oldest = s->iotlb.on ? via_misses_oldest(&s->iotlb.misses) : UINT64_MAX, now = now_ns();
    (void)!read(a->timer.fd, &times, sizeof(times));
    via_server_ask(s); /* what the channel had no room for */
    if (a->fd >= 0 && (!out_send(s) || (s->iotlb.on && s->iotlb.misses.n)))
        timer_set(a, TICK_NS);
    return oldest != UINT64_MAX && now > oldest && now - oldest > limit_ms * 1000000;
}

/* ------------------------------------------------------------------ the channel */

void via_server_ask_init(struct via_server *s, void (*answer)(struct via_watch *, uint32_t), void (*tick)(struct via_watch *, uint32_t))
{
    struct via_server_asks *a = &s->asks;
    a->fd = a->watch.fd = a->timer.fd = -1;
    a->watch.ready = answer;
    a->timer.ready = tick;
    via_sock_rx_init(&a->rx);
}

int via_server_ask_open(struct via_server *s, int fd, struct via_err *err)
{
    struct via_server_asks *a = &s->asks;
    via_server_ask_close(s);
    a->fd = fd;
    a->told = false;
    int type;
    socklen_t len = sizeof(type);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return via_err_set(err, -VIA_EPROTO, "the front-end's descriptor for the back-end's own requests is not a stream socket");
    a->timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (a->timer.fd < 0 || via_loop_add(s->loop, &a->timer, EPOLLIN) < 0)
        return via_err_set(err, -VIA_ENOMEM, "no timer is to be had");
    a->watch.fd = fd;
    if (via_loop_add(s->loop, &a->watch, EPOLLIN) < 0) {
        a->watch.fd = -1;
        return via_err_set(err, -VIA_ENOMEM, "the front-end's request channel can't be waited on");
    }
    return 0;
}

void via_server_ask_close(struct via_server *s)
{
    struct via_server_asks *a = &s->asks;
    int timer = a->timer.fd;
    unwatch(s, &a->watch);
    unwatch(s, &a->timer);
    if (timer >= 0)
        close(timer);
    via_sock_rx_close(&a->rx);
    via_server_fd_put(&a->fd, -1);
    a->n = a->out_at = a->out_len = 0;
    a->stashed = false;
    via_server_iotlb_refuse(s); /* nobody answers any more what was asked */
}
