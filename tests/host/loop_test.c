/* SPDX-License-Identifier: BSD-2-Clause */
/* The loop: no stale calls, polling that pays off or ends, and events that no peer's descriptor can turn against us. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <tap.h>
#include <viaduct/host.h>

#include "scratch.h"

static struct via_loop loop;
static struct via_err err;

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

/* ------------------------------------------------------------------ watches */

struct owner { /* freed by whoever gets called first */
    struct via_watch watch;
    struct owner *other;
    unsigned calls;
};

static bool owner_make(struct owner **o)
{
    *o = calloc(1, sizeof(**o));
    (*o)->watch.fd = via_event_create();
    return (*o)->watch.fd >= 0;
}

static void owner_free(struct owner *o)
{
    via_loop_remove(&loop, &o->watch);
    close(o->watch.fd);
    memset(o, 0xdd, sizeof(*o));
    free(o);
}

static unsigned total_calls;

static void free_both(struct via_watch *w, uint32_t events)
{
    struct owner *o = via_container_of(w, struct owner, watch);
    (void)events;
    total_calls++;
    owner_free(o->other);
    owner_free(o);
}

static void owners_may_be_freed_in_callbacks(void)
{
    int before = scratch_open_fds();
    CHECK_EQ(via_loop_init(&loop, 0, &err), 0);
    for (int round = 0; round < 100; round++) {
        struct owner *o[2];
        CHECK(owner_make(&o[0]) && owner_make(&o[1]));
        for (int i = 0; i < 2; i++) {
            o[i]->other = o[!i];
            o[i]->watch.ready = free_both;
            CHECK_EQ(via_loop_add(&loop, &o[i]->watch, EPOLLIN), 0);
            via_event_signal(o[i]->watch.fd);
        }
        total_calls = 0;
        CHECK_EQ(via_loop_once(&loop, 1000), 2); /* both were due */
        CHECK_EQ(total_calls, 1);
        CHECK_EQ(via_loop_once(&loop, 0), 0);
    }
    via_loop_close(&loop);
    CHECK_EQ(scratch_open_fds(), before);
}

static atomic_uint counted;

static void count(struct via_watch *w, uint32_t events)
{
    struct owner *o = via_container_of(w, struct owner, watch);
    o->calls += (events & EPOLLIN) != 0;
    via_event_clear(w->fd);
    if (o->calls == 3)
        loop.stop = true;
    atomic_store(&counted, o->calls);
}

static void *signal_three_times(void *fd)
{
    for (unsigned i = 0; i < 3; i++) {
        while (atomic_load(&counted) != i) /* signals that meet count as one */
            usleep(100);
        usleep(3000);
        via_event_signal(*(int *)fd);
    }
    return NULL;
}

static void it_sleeps_until_another_thread_signals(void)
{
    struct owner *o;
    pthread_t t;
    CHECK_EQ(via_loop_init(&loop, 0, &err), 0);
    CHECK(owner_make(&o));
    o->watch.ready = count;
    CHECK_EQ(via_loop_add(&loop, &o->watch, EPOLLIN), 0);
    int64_t start = now_us();
    CHECK_EQ(via_loop_once(&loop, 20), 0); /* a timeout */
    CHECK(now_us() - start >= 19000);
    int fd = o->watch.fd;
    atomic_store(&counted, 0);
    CHECK(pthread_create(&t, NULL, signal_three_times, &fd) == 0);
    CHECK_EQ(via_loop_run(&loop), 0);
    pthread_join(t, NULL);
    CHECK_EQ(o->calls, 3);
    CHECK(loop.sleeps <= 6);
    owner_free(o);
    via_loop_close(&loop);
}

static void descriptors_that_cannot_be_watched_are_refused(void)
{
    struct via_watch w = {.fd = open("/proc/self/exe", O_RDONLY)};
    CHECK_EQ(via_loop_init(&loop, 0, &err), 0);
    CHECK_EQ(via_loop_add(&loop, &w, EPOLLIN), -EPERM);
    close(w.fd);
    w.fd = -1;
    CHECK_EQ(via_loop_add(&loop, &w, EPOLLIN), -EBADF);
    via_loop_close(&loop);
}

/* ------------------------------------------------------------------ pollers */

struct feed {
    struct via_poller poller;
    atomic_uint ready; /* written by another thread */
    unsigned taken, armed, on_arm, polls;
    struct feed *remove;
};

static bool feed_poll(struct via_poller *p)
{
    struct feed *f = via_container_of(p, struct feed, poller);
    f->polls++;
    if (f->remove)
        via_loop_remove_poller(&loop, &f->remove->poller);
    if (atomic_load(&f->ready) == f->taken)
        return false;
    f->taken++;
    return true;
}

static bool feed_arm(struct via_poller *p)
{
    struct feed *f = via_container_of(p, struct feed, poller);
    f->armed++;
    if (f->on_arm) {
        f->on_arm--;
        atomic_fetch_add(&f->ready, 1);
        return true;
    }
    return atomic_load(&f->ready) != f->taken;
}

static bool feed_make(struct feed *f)
{
    memset(f, 0, sizeof(*f));
    f->poller = (struct via_poller){.poll = feed_poll, .arm = feed_arm};
    via_loop_add_poller(&loop, &f->poller);
    return true;
}

static void work_found_while_arming_forbids_sleep(void)
{
    struct feed f;
    CHECK_EQ(via_loop_init(&loop, 0, &err), 0);
    CHECK(feed_make(&f));
    f.on_arm = 5;
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(via_loop_once(&loop, -1), 0); /* would never come back from a sleep */
        CHECK_EQ(via_loop_once(&loop, -1), 1);
    }
    CHECK_EQ(f.taken, 5);
    CHECK_EQ(loop.sleeps, 0);
    CHECK_EQ(via_loop_once(&loop, 1), 0);
    CHECK_EQ(loop.sleeps, 1);
    via_loop_close(&loop);
}

static bool stir(struct via_poller *p)
{
    struct feed *f = via_container_of(p, struct feed, poller);
    loop.stirred = f->armed++ == 0;
    return false;
}

static void what_came_up_is_looked_at_before_it_sleeps(void)
{
    struct feed f;
    CHECK_EQ(via_loop_init(&loop, 0, &err), 0);
    CHECK(feed_make(&f));
    f.poller.arm = stir;
    CHECK_EQ(via_loop_once(&loop, -1), 0); /* would never come back from a sleep */
    CHECK_EQ(loop.sleeps, 0);
    CHECK_EQ(via_loop_once(&loop, 1), 0); /* once */
    CHECK_EQ(loop.sleeps, 1);
    via_loop_close(&loop);
}

static void pollers_may_go_within_a_callback(void)
{
    struct feed f[3];
    for (int victim = 0; victim < 3; victim++)
        for (int killer = 0; killer < 3; killer++) {
            CHECK_EQ(via_loop_init(&loop, 0, &err), 0);
            for (int i = 0; i < 3; i++)
                feed_make(&f[i]);
            f[killer].remove = &f[victim];
            CHECK_EQ(via_loop_once(&loop, 0), 0);
            unsigned seen = f[victim].polls;
            CHECK_EQ(seen, victim >= killer); /* the last added is asked first */
            CHECK_EQ(via_loop_once(&loop, 0), 0);
            CHECK_EQ(f[victim].polls, seen);
            for (int i = 0; i < 3; i++)
                CHECK(i == victim || f[i].polls == 2);
            via_loop_close(&loop);
        }
}

static void without_a_limit_it_never_spins(void)
{
    struct feed f;
    CHECK_EQ(via_loop_init(&loop, 0, &err), 0);
    feed_make(&f);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(via_loop_once(&loop, 1), 0);
    CHECK_EQ(f.polls, 10);
    CHECK_EQ(loop.sleeps, 10);
    via_loop_close(&loop);
}

static void wake_soon(struct via_watch *w, uint32_t events)
{
    (void)events;
    via_event_clear(w->fd);
}

/* Sleeps that end at once make polling longer; sleeps that last make it end. */
static void polling_grows_while_it_pays_and_ends_when_idle(void)
{
    struct feed f;
    struct via_watch w = {.fd = via_event_create(), .ready = wake_soon};
    CHECK_EQ(via_loop_init(&loop, 200000, &err), 0);
    CHECK_EQ(via_loop_add(&loop, &w, EPOLLIN), 0);
    feed_make(&f);
    CHECK_EQ(loop.poll_ns, 0);
    for (int i = 0; i < 20; i++) {
        via_event_signal(w.fd);
        CHECK(via_loop_once(&loop, 1000) >= 0);
        CHECK(loop.poll_ns <= loop.poll_max_ns);
    }
    CHECK(loop.poll_ns > 0);
    int rounds = 0;
    for (; loop.poll_ns && rounds < 100; rounds++)
        CHECK_EQ(via_loop_once(&loop, 1), 0);
    CHECK(rounds >= 1 && rounds < 20);
    loop.poll_ns = 128000;
    for (rounds = 0; loop.poll_ns && rounds < 100; rounds++)
        CHECK_EQ(via_loop_once(&loop, 1), 0);
    CHECK_EQ(rounds, 6);
    unsigned polls = f.polls;
    CHECK_EQ(via_loop_once(&loop, 1), 0);
    CHECK_EQ(f.polls, polls + 1);
    close(w.fd);
    via_loop_close(&loop);
}

static void a_busy_poller_does_not_starve_descriptors(void)
{
    struct feed f;
    struct owner *o;
    CHECK_EQ(via_loop_init(&loop, 100000, &err), 0);
    feed_make(&f);
    atomic_store(&f.ready, 1000000);
    CHECK(owner_make(&o));
    o->watch.ready = count;
    CHECK_EQ(via_loop_add(&loop, &o->watch, EPOLLIN), 0);
    via_event_signal(o->watch.fd);
    for (int i = 0; i < 40; i++)
        CHECK(via_loop_once(&loop, -1) >= 1);
    CHECK_EQ(o->calls, 1);
    owner_free(o);
    via_loop_close(&loop);
}

struct producer {
    struct feed *feed;
    int fd;
    unsigned n;
};

static void *produce(void *arg)
{
    struct producer *p = arg;
    for (unsigned i = 0; i < p->n; i++) {
        atomic_fetch_add(&p->feed->ready, 1);
        via_event_signal(p->fd);
        if (i % 64 == 0)
            usleep(i % 256 ? 20 : 500); /* now and then long enough for a sleep */
    }
    return NULL;
}

static void a_producer_in_another_thread_loses_nothing(void)
{
    struct feed f;
    struct via_watch w = {.fd = via_event_create(), .ready = wake_soon};
    struct producer p = {&f, w.fd, 20000};
    pthread_t t;
    CHECK_EQ(via_loop_init(&loop, 50000, &err), 0);
    CHECK_EQ(via_loop_add(&loop, &w, EPOLLIN), 0);
    feed_make(&f);
    CHECK(pthread_create(&t, NULL, produce, &p) == 0);
    int64_t start = now_us();
    while (f.taken < p.n && now_us() - start < 20000000)
        CHECK(via_loop_once(&loop, 5000) >= 0);
    pthread_join(t, NULL);
    CHECK_EQ(f.taken, p.n);
    CHECK(loop.poll_hits >= p.n);
    close(w.fd);
    via_loop_close(&loop);
}

/* ------------------------------------------------------------------ events */

static void *signal_it(void *fd)
{
    via_event_signal(*(int *)fd);
    return NULL;
}

static void every_thread_and_child_can_signal(void)
{
    int fd = via_event_create();
    uint64_t v = 0;
    for (int i = 0; i < 4; i++) {
        pthread_t t;
        CHECK(pthread_create(&t, NULL, signal_it, &fd) == 0);
        pthread_join(t, NULL);
    }
    for (int i = 0; i < 1000; i++)
        via_event_signal(fd);
    CHECK(read(fd, &v, sizeof(v)) == sizeof(v) && v == 1004);
    pid_t pid = fork();
    if (pid == 0) {
        via_event_signal(fd);
        via_event_signal(fd);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    CHECK(read(fd, &v, sizeof(v)) == sizeof(v) && v == 2);
    close(fd);
}

static void events_count_as_one(void)
{
    int fd = via_event_create();
    uint64_t v = 0;
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK(read(fd, &v, sizeof(v)) < 0 && errno == EAGAIN);
    via_event_signal(fd);
    via_event_signal(fd);
    CHECK(read(fd, &v, sizeof(v)) == sizeof(v) && v == 2);
    via_event_signal(fd);
    via_event_clear(fd);
    CHECK(read(fd, &v, sizeof(v)) < 0 && errno == EAGAIN);
    close(fd);
}

/* A peer that makes its eventfd block and fills or empties it, or that hands us something else, does not stop us. */
static void hostile_descriptors_do_not_stop_us(void)
{
    int before = scratch_open_fds();
    uint64_t full = UINT64_MAX - 1;
    int event = eventfd(0, 0), sock[2], pipes[2];
    alarm(5);
    via_event_clear(event);
    CHECK(write(event, &full, sizeof(full)) == sizeof(full));
    via_event_signal(event);
    close(event);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sock) == 0);
    CHECK(pipe(pipes) == 0);
    via_event_clear(sock[0]);
    via_event_clear(pipes[0]);
    for (int i = 0; i < 100000; i++)
        via_event_signal(pipes[1]);
    close(sock[1]);
    close(pipes[0]);
    via_event_signal(sock[0]);
    via_event_signal(pipes[1]); /* no SIGPIPE */
    close(sock[0]);
    close(pipes[1]);
    via_event_signal(-1);
    via_event_clear(-1);
    alarm(0);
    CHECK_EQ(scratch_open_fds(), before);
}

TAP_MAIN(TEST(what_came_up_is_looked_at_before_it_sleeps), TEST(owners_may_be_freed_in_callbacks),
         TEST(it_sleeps_until_another_thread_signals), TEST(descriptors_that_cannot_be_watched_are_refused),
         TEST(work_found_while_arming_forbids_sleep), TEST(pollers_may_go_within_a_callback), TEST(without_a_limit_it_never_spins),
         TEST(polling_grows_while_it_pays_and_ends_when_idle), TEST(a_busy_poller_does_not_starve_descriptors),
         TEST(a_producer_in_another_thread_loses_nothing), TEST(events_count_as_one), TEST(every_thread_and_child_can_signal),
         TEST(hostile_descriptors_do_not_stop_us))
