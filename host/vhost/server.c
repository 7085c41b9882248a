/* SPDX-License-Identifier: BSD-2-Clause */
/* server: the back-end end of a vhost-user connection: the socket, what its session asks for, and the end of it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "server_parts.h"

#define MESSAGES_A_ROUND 16u /* a flood of messages keeps no ring from its turn */
#define STOP_LIMIT_MS 1000u  /* for translations, while a ring is to stop */
#define POLLS_A_LOOK 8u      /* polling passes, with translations but none asked for, after which the socket gets a look */

unsigned via_server_inflight(const struct via_server *s)
{
    unsigned n = 0;
    for (unsigned i = 0; i < s->cfg.queues; i++)
        if (s->ring[i].running)
            n += via_pump_inflight(&s->ring[i].pump);
    return n;
}

/* ------------------------------------------------------------------ actions */

/* A refusal that leaves everything as it was, and that the front-end is told, need not end the connection. */
static bool survivable(enum via_back_do what)
{
    return what == VIA_BACK_MEM_ADD || what == VIA_BACK_MEM_REMOVE || what == VIA_BACK_CONFIG_GET || what == VIA_BACK_CONFIG_SET;
}

static void action_do(struct via_server *s, const struct via_back_action *act)
{
    struct via_err err = {.text = ""}, why;
    struct via_vu_msg reply;
    enum via_back_do what = act->what;
    uint64_t value = 0;
    int result = via_server_perform(s, act, &value, &err);
    bool told = via_back_done(&s->back, result, value, &reply);
    if (result == 0 && s->back.fault.what) /* the session's own refusal */
        (void)via_err_fault(&err, 0, "the front-end", &s->back.fault);
    /* Answers are small and a front-end waits for each: one that leaves no room for them does not read. */
    if (told && via_sock_send(s->fd, &reply, 0, &why) < 0) {
        (void)via_err_set(&why, 0, "the front-end does not take the answer to its %s", via_vu_name(reply.request));
        via_server_fail(s, err.text[0] ? &err : &why);
    } else if (s->back.broken || (result < 0 && !survivable(what))) {
        via_server_fail(s, &err);
    } else if (err.text[0]) {
        via_server_warn(s, &err);
    }
}

/* ------------------------------------------------------------------ socket */

static void socket_lost(struct via_server *s, int result, const struct via_err *err)
{
    if (result == -VIA_ENODEV)
        via_server_end(s);
    else
        via_server_fail(s, err);
}

/* A request of the session's: done, or waiting for requests in flight to end. */
static bool session_message(struct via_server *s)
{
    struct via_err err = {.text = ""};
    const struct via_back_action *act;
    uint32_t request = s->rx.msg.request;
    int result = via_back_feed(&s->back, &s->rx.msg, &act);
    via_vu_close_fds(&s->rx.msg);
    if (result < 0) {
        char who[64];
        snprintf(who, sizeof(who), "the front-end's %s", via_vu_name(request));
        (void)via_err_fault(&err, result, who, &s->back.fault);
        via_server_fail(s, &err);
        return false;
    }
    if (!via_server_must_wait(s, act)) {
        action_do(s, act);
        return !s->ending;
    }
    s->waiting = act;
    return s->iotlb.on; /* translations may still come, and some may wait for them */
}

/* One message; false: no more for now. */
static bool socket_message(struct via_server *s)
{
    struct via_err err = {.text = ""};
    if (s->iotlb.fencing || s->ending)
        return false;
    int got = s->held ? 1 : via_sock_recv(s->fd, &s->rx, &err);
    if (got <= 0) {
        if (got < 0)
            socket_lost(s, got, &err);
        else
            s->drained = true;
        return false;
    }
    if (s->rx.msg.request == VIA_VU_IOTLB_MSG) {
        bool more = via_server_fence_message(s, &s->rx.msg);
        via_vu_close_fds(&s->rx.msg);
        return more;
    }
    s->held = s->waiting;
    return !s->held && session_message(s);
}

/* Nothing can be read now: don't be told of it either. */
static bool socket_blocked(const struct via_server *s) { return s->ending || s->iotlb.fencing || s->held || (s->waiting && !s->iotlb.on); }

static void socket_round(struct via_server *s)
{
    s->drained = false;
    for (unsigned i = 0; i < MESSAGES_A_ROUND && socket_message(s); i++)
        ;
    if (socket_blocked(s))
        via_server_pause(s);
}

static void socket_ready(struct via_watch *w, uint32_t events)
{
    struct via_server *s = via_container_of(w, struct via_server, watch);
    (void)events; /* a hang-up shows when all that came before it has been read */
    socket_round(s);
    via_server_fence_settle(s);
}

/* Answers to what was asked. An UPDATE may be on its way before one: it is judged when the socket has been read to its end. */
static void answers(struct via_server *s)
{
    bool any = false;
    for (unsigned i = 0; i < MESSAGES_A_ROUND && via_server_ask_take(s); i++) {
        socket_round(s);
        if (!s->drained)
            break;
        via_server_ask_judge(s);
        any = true;
    }
    if (any)
        via_server_fence_settle(s);
}

static void answers_ready(struct via_watch *w, uint32_t events)
{
    (void)events;
    answers(via_container_of(w, struct via_server, asks.watch));
}

static void timer_ready(struct via_watch *w, uint32_t events)
{
    struct via_server *s = via_container_of(w, struct via_server, asks.timer);
    /* A front-end that waits for a ring to stop may not be able to answer meanwhile. */
    uint64_t limit = s->waiting ? STOP_LIMIT_MS : s->cfg.miss_limit_ms ? s->cfg.miss_limit_ms : VIA_SERVER_MISS_LIMIT_MS;
    (void)events;
    if (via_server_ask_tick(s, limit))
        via_server_fence_overdue(s, limit);
}

static int socket_resume(struct via_server *s, struct via_err *err)
{
    if (s->watch.fd >= 0)
        return 0;
    s->watch.fd = s->fd;
    s->watch.ready = socket_ready;
    int result = via_loop_add(s->loop, &s->watch, EPOLLIN);
    if (result < 0) {
        s->watch.fd = -1;
        return via_err_set(err, result, "the front-end's socket can't be waited on");
    }
    return 0;
}

/* ------------------------------------------------------------------ going on, and the end */

static bool server_due(struct via_server *s)
{
    if (s->ending) {
        via_server_fence_abandon(s);
        return via_server_inflight(s) == 0;
    }
    if (s->iotlb.fencing)
        return via_server_fence_clear(s);
    return s->waiting && !via_server_must_wait(s, s->waiting);
}

/* What was waited for is there (server_due): go on, and read on. A fence comes first, and an action may wait behind it. */
static void server_go_on(struct via_server *s)
{
    struct via_err err;
    if (s->iotlb.fencing) {
        via_server_fence_release(s);
    } else {
        const struct via_back_action *act = s->waiting;
        s->waiting = NULL;
        action_do(s, act);
    }
    if (s->held && !s->waiting && !s->ending) {
        s->held = false;
        (void)session_message(s);
    }
    if (!socket_blocked(s) && socket_resume(s, &err) < 0)
        via_server_fail(s, &err);
}

/* Questions that nobody can be asked have their answer. */
static bool unasked(const struct via_server *s) { return s->iotlb.on && s->iotlb.misses.n && !via_server_ask_able(s); }

/* Who has asked looks for the answers: sleeping until they come costs more than they do. */
static bool server_listen(struct via_server *s)
{
    uint64_t before = s->iotlb.updates + s->iotlb.invalidations;
    if (!s->iotlb.on || socket_blocked(s) || (!s->iotlb.misses.n && ++s->polls % POLLS_A_LOOK))
        return false;
    socket_round(s);
    if (s->asks.n)
        answers(s);
    bool any = s->iotlb.updates + s->iotlb.invalidations != before;
    if (any || unasked(s))
        via_server_fence_settle(s);
    return any;
}

static bool server_poll(struct via_poller *p)
{
    struct via_server *s = via_container_of(p, struct via_server, poller);
    if (!server_due(s))
        return server_listen(s);
    if (s->ending) {
        struct via_err why = s->why;
        const struct via_server_ops *ops = s->ops;
        via_server_close(s);
        ops->closed(s, &why); /* s may be gone from here on */
        return true;
    }
    server_go_on(s);
    return true;
}

static bool server_arm(struct via_poller *p)
{
    struct via_server *s = via_container_of(p, struct via_server, poller);
    return server_due(s) || unasked(s);
}

static void waiting_drop(struct via_server *s)
{
    const struct via_back_action *act = s->waiting;
    s->waiting = NULL;
    for (unsigned i = 0; act && i < act->n; i++)
        if (act->fd[i] >= 0)
            close(act->fd[i]);
}

void via_server_close(struct via_server *s)
{
    if (!s->open)
        return;
    VIA_ASSERT(via_server_inflight(s) == 0);
    s->open = false;
    via_server_pause(s);
    via_loop_remove_poller(s->loop, &s->poller);
    via_server_rings_stop(s);
    for (unsigned i = 0; i < s->cfg.queues; i++) {
        via_server_fd_put(&s->ring[i].call, -1);
        via_server_fd_put(&s->ring[i].err, -1);
    }
    waiting_drop(s);
    via_server_memory_clear(s);
    via_server_ask_close(s);
    via_server_iotlb_close(s);
    via_server_log_close(s);
    via_memory_destroy(&s->own);
    free(s->mapped);
    s->mapped = NULL;
    via_sock_rx_close(&s->rx);
    if (s->held)
        via_vu_close_fds(&s->rx.msg);
    via_server_fd_put(&s->fd, -1);
}

static int session_open(struct via_server *s, struct via_err *err)
{
    struct via_back_cfg back = {
        .features = s->cfg.features | VIA_BIT(VIA_F_LOG_ALL) | (s->cfg.own_size ? VIA_BIT(s->cfg.own_bit) : 0),
        .needs = s->cfg.needs,
        .protocol = VIA_BIT(VIA_VU_PF_MQ) | VIA_BIT(VIA_VU_PF_LOG_SHMFD) | VIA_BIT(VIA_VU_PF_REPLY_ACK) | VIA_BIT(VIA_VU_PF_BACKEND_REQ) |
                    VIA_BIT(VIA_VU_PF_RESET_DEVICE) | VIA_BIT(VIA_VU_PF_CONFIGURE_MEM_SLOTS) | VIA_BIT(VIA_VU_PF_STATUS) |
                    (s->cfg.config ? VIA_BIT(VIA_VU_PF_CONFIG) : 0) | (s->cfg.cross_endian ? VIA_BIT(VIA_VU_PF_CROSS_ENDIAN) : 0) |
                    (s->cfg.own_size ? VIA_BIT(VIA_VU_PF_SHMEM) : 0),
        .queues = s->cfg.queues,
        .num_max = s->cfg.num_max,
        .slots = VIA_VU_SLOTS_MAX,
        .shmem = s->cfg.own_size,
    };
    int result = via_back_init(&s->back, &back);
    if (result < 0)
        return via_err_set(err, result, "a back-end can't have %u queues of %u descriptors", s->cfg.queues, s->cfg.num_max);
    s->mapped = calloc(back.slots, sizeof(*s->mapped));
    if (!s->mapped)
        return via_err_set(err, -VIA_ENOMEM, "no memory for a connection");
    return 0;
}

int via_server_open(struct via_server *s, const struct via_server_ops *ops, const struct via_server_cfg *cfg, struct via_loop *loop, int fd,
                    struct via_err *err)
{
    *s = (struct via_server){.ops = ops, .cfg = *cfg, .loop = loop, .fd = fd, .watch.fd = -1, .log.event = -1};
    for (unsigned i = 0; i < VIA_BACK_QUEUES_MAX; i++)
        s->ring[i] = (struct via_server_ring){.server = s, .index = i, .kick = -1, .call = -1, .err = -1, .watch.fd = -1};
    via_sock_rx_init(&s->rx);
    via_server_ask_init(s, answers_ready, timer_ready);
    via_memmap_init(&s->map);
    s->poller = (struct via_poller){.poll = server_poll, .arm = server_arm};
    via_loop_add_poller(loop, &s->poller);
    s->open = true;
    int result = via_server_own_open(s, err);
    if (result == 0)
        result = session_open(s, err);
    if (result == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        result = via_err_set(err, -VIA_EBADF, "descriptor %d is not a socket to a front-end", fd);
    if (result == 0)
        result = socket_resume(s, err);
    if (result < 0)
        via_server_close(s);
    return result;
}

void via_server_config_changed(struct via_server *s)
{
    struct via_vu_msg m;
    if (!via_server_ask_able(s) || !(s->back.protocol & VIA_BIT(VIA_VU_PF_CONFIG)))
        return;
    via_back_config_changed(&s->back, &m);
    via_server_ask_tell(s, &m);
}
