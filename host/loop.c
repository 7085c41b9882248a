/* SPDX-License-Identifier: BSD-2-Clause */
/* loop: one thread's epoll, with polling before it sleeps for as long as polling has paid off lately. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <viaduct/host.h>

#include "clock.h"

#define POLL_START_NS 4000u
#define BUSY_ROUNDS 16u /* rounds full of polled work, or empty passes, after which descriptors get a look */

int via_loop_init(struct via_loop *l, uint32_t poll_max_ns, struct via_err *err)
{
    memset(l, 0, sizeof(*l));
    l->poll_max_ns = poll_max_ns;
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    return l->epoll >= 0 ? 0 : via_err_set(err, -errno, "can't make an event loop (epoll): %s", strerror(errno));
}

void via_loop_close(struct via_loop *l)
{
    if (l->epoll >= 0)
        close(l->epoll);
    l->epoll = -1;
}

int via_loop_add(struct via_loop *l, struct via_watch *w, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = w};
    return epoll_ctl(l->epoll, EPOLL_CTL_ADD, w->fd, &e) == 0 ? 0 : -errno;
}

void via_loop_remove(struct via_loop *l, struct via_watch *w)
{
    epoll_ctl(l->epoll, EPOLL_CTL_DEL, w->fd, NULL);
    for (unsigned i = 0; i < VIA_LOOP_DUE; i++)
        if (l->due[i] == w)
            l->due[i] = NULL;
}

void via_loop_add_poller(struct via_loop *l, struct via_poller *p)
{
    p->next = l->pollers;
    l->pollers = p;
}

void via_loop_remove_poller(struct via_loop *l, struct via_poller *p)
{
    struct via_poller **at = &l->pollers;
    while (*at && *at != p)
        at = &(*at)->next;
    if (*at)
        *at = p->next;
    if (l->cursor == p)
        l->cursor = p->next;
}

/* Ask each poller; the cursor stands on the next one, so that any of them may go meanwhile. */
static bool poll_all(struct via_loop *l)
{
    bool found = false;
    l->polls++;
    for (l->cursor = l->pollers; l->cursor;) {
        struct via_poller *p = l->cursor;
        l->cursor = p->next;
        found |= p->poll(p);
    }
    l->poll_hits += found;
    return found;
}

static bool arm_all(struct via_loop *l)
{
    bool work = false;
    for (l->cursor = l->pollers; l->cursor;) {
        struct via_poller *p = l->cursor;
        l->cursor = p->next;
        work |= p->arm(p);
    }
    return work;
}

static int wait_fds(struct via_loop *l, int timeout_ms, struct epoll_event *ready)
{
    int n = epoll_wait(l->epoll, ready, VIA_LOOP_DUE, timeout_ms);
    return n >= 0 ? n : errno == EINTR ? 0 : -errno;
}

static void call_ready(struct via_loop *l, const struct epoll_event *ready, int n)
{
    for (int i = 0; i < n; i++)
        l->due[i] = ready[i].data.ptr;
    for (int i = 0; i < n; i++) {
        struct via_watch *w = l->due[i];
        l->due[i] = NULL;
        if (w)
            w->ready(w, ready[i].events);
    }
}

/* Ask pollers and descriptors for poll_ns. Pollers' work or ready descriptors: true, *n of the latter. */
static bool spin(struct via_loop *l, struct epoll_event *ready, int *n)
{
    int64_t end = via_clock_ns() + l->poll_ns;
    for (unsigned pass = 1; via_clock_ns() < end; pass++) {
        if (poll_all(l))
            return true;
        if (pass % BUSY_ROUNDS == 0 && (*n = wait_fds(l, 0, ready)) != 0)
            return true;
    }
    return false;
}

/* Sleep. Had polling a bit longer saved it? Then poll longer next time; was it far from that, then shorter. */
static int sleep_on_fds(struct via_loop *l, int timeout_ms, struct epoll_event *ready)
{
    l->sleeps++;
    if (!l->poll_max_ns || !l->pollers)
        return wait_fds(l, timeout_ms, ready);
    int64_t start = via_clock_ns();
    int n = wait_fds(l, timeout_ms, ready);
    if (via_clock_ns() - start < l->poll_max_ns && n > 0)
        l->poll_ns = (uint32_t)via_min64(l->poll_max_ns, l->poll_ns ? 2 * (uint64_t)l->poll_ns : POLL_START_NS);
    else
        l->poll_ns = l->poll_ns > POLL_START_NS ? l->poll_ns / 2 : 0;
    return n;
}

/* Nothing is there at a first look: poll, then ask to be notified, then sleep. */
static int wait_for_work(struct via_loop *l, int timeout_ms, struct epoll_event *ready)
{
    int n = 0;
    if (timeout_ms != 0 && l->pollers && l->poll_ns && spin(l, ready, &n))
        return n;
    if (timeout_ms != 0 && arm_all(l))
        timeout_ms = 0; /* the next round's polling finds it */
    if (l->stirred)
        timeout_ms = 0;
    l->stirred = false;
    return timeout_ms ? sleep_on_fds(l, timeout_ms, ready) : wait_fds(l, 0, ready);
}

int via_loop_once(struct via_loop *l, int timeout_ms)
{
    struct epoll_event ready[VIA_LOOP_DUE];
    bool found = poll_all(l);
    int n = 0;
    if (!found)
        n = wait_for_work(l, timeout_ms, ready);
    else if (++l->busy % BUSY_ROUNDS == 0) /* a peer that keeps a poller busy must not starve the rest */
        n = wait_fds(l, 0, ready);
    if (n < 0)
        return n;
    call_ready(l, ready, n);
    return n + found;
}

int via_loop_run(struct via_loop *l)
{
    while (!l->stop) {
        int n = via_loop_once(l, -1);
        if (n < 0)
            return n;
    }
    return 0;
}
