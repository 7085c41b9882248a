/* SPDX-License-Identifier: BSD-2-Clause */
/* Queues of several threads on one pool that is too small for them: all of them finish, nobody sleeps for good, nothing gets lost. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <time.h>

#include "rig.h"

#ifdef __has_feature
#define UNDER_TSAN __has_feature(thread_sanitizer)
#elif defined(__SANITIZE_THREAD__)
#define UNDER_TSAN true
#else
#define UNDER_TSAN false
#endif

enum { THREADS = 2, QUEUES = 2, SLOTS = 64, LIVE = 3, BUFS = 3 };

struct live {
    struct via_mapping m;
    struct via_seg seg[SLOTS];
    struct via_span buf[BUFS];
    unsigned out, in;
};

struct queue {
    struct via_bounce bounce;
    struct live live[LIVE];
    unsigned n, done;
    _Atomic bool waits;
    uint8_t *mem; /* for LIVE mappings */
};

struct worker {
    struct queue queue[QUEUES];
    sem_t woken;
    uint64_t seed;
    uint32_t least, most; /* slots of a mapping's large buffer; 0: none */
    unsigned maps, live_max;
    const char *failed;
};

static struct rig rig;
static struct worker worker[THREADS];
static _Atomic uint64_t wakes;

static void wake(struct via_pool *p, uint64_t queues)
{
    (void)p;
    for (unsigned i = 0; i < THREADS * QUEUES; i++)
        if (queues >> i & 1) {
            atomic_fetch_add(&wakes, 1);
            atomic_store(&worker[i / QUEUES].queue[i % QUEUES].waits, false);
            sem_post(&worker[i / QUEUES].woken);
        }
}

static uint32_t below(struct worker *w, uint32_t n)
{
    w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((w->seed >> 33) % n);
}

static int try_map(struct worker *w, struct queue *q)
{
    struct live *l = &q->live[q->n];
    uint8_t *mem = q->mem + (size_t)q->n * (SLOTS + 4) * SLOT;
    unsigned n = 0;
    l->buf[n++] = (struct via_span){mem, 16};
    if (w->most) {
        uint32_t slots = w->least + below(w, w->most - w->least + 1);
        l->buf[n++] = (struct via_span){mem + SLOT, slots * SLOT - below(w, SLOT / 2)};
    }
    l->buf[n++] = (struct via_span){mem + SLOT * (SLOTS + 2) + 100, 1};
    l->out = below(w, 2) ? 1 : n - 1;
    l->in = n - l->out;
    for (unsigned i = 0; i < n; i++) /* first and last byte tell */
        ((uint8_t *)l->buf[i].ptr)[0] = ((uint8_t *)l->buf[i].ptr)[l->buf[i].len - 1] = (uint8_t)(w->seed >> 40);
    l->m = (struct via_mapping){.seg = l->seg, .cap = SLOTS};
    q->waits = true; /* before map: a wake-up may come while it runs */
    int r = via_dma_map(&q->bounce.dma, l->buf, l->out, l->in, &l->m);
    if (r == 0)
        q->waits = false;
    q->n += r == 0;
    return r;
}

static bool end_map(struct worker *w, struct queue *q)
{
    struct live *l = &q->live[--q->n];
    const uint8_t *first = l->buf[0].ptr;
    uint8_t stamp = (uint8_t)(below(w, 256)), *in0 = l->buf[l->out].ptr;
    const struct via_span *last = &l->buf[l->out + l->in - 1];
    bool good = *rig_at(&rig, &l->seg[0]) == *first;
    for (unsigned i = l->m.n_out; i < (unsigned)l->m.n_out + l->m.n_in; i++)
        rig_at(&rig, &l->seg[i])[0] = rig_at(&rig, &l->seg[i])[l->seg[i].len - 1] = stamp;
    via_dma_unmap(&q->bounce.dma, &l->m, (uint32_t)via_spans_len(l->buf + l->out, l->in));
    q->done++;
    return good && in0[0] == stamp && ((uint8_t *)last->ptr)[last->len - 1] == stamp;
}

/* Sleep until a queue is woken. Twenty seconds are for ever. */
static bool sleep_on(struct worker *w)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    while (sem_timedwait(&w->woken, &until) < 0)
        if (errno != EINTR)
            return false;
    return true;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    for (;;) {
        unsigned finished = 0, moved = 0, busy = 0;
        for (unsigned i = 0; i < QUEUES; i++) {
            struct queue *q = &w->queue[i];
            finished += q->done + q->n == w->maps && !q->n;
            if (q->done + q->n < w->maps && q->n < w->live_max && !q->waits) {
                int r = try_map(w, q);
                if (r != 0 && r != -VIA_EAGAIN)
                    return w->failed = "map failed", NULL;
                moved += r == 0;
            } else if (q->n && below(w, 2)) {
                if (!end_map(w, q))
                    return w->failed = "wrong bytes", NULL;
                moved++;
            }
            busy += q->n > 0;
        }
        if (finished == QUEUES)
            return NULL;
        bool all_wait = true;
        for (unsigned i = 0; i < QUEUES; i++)
            all_wait &= w->queue[i].waits || w->queue[i].done == w->maps;
        if (!moved && !busy && all_wait && !sleep_on(w))
            return w->failed = "nobody woke it", NULL;
    }
}

static void contend(unsigned maps, uint32_t least, uint32_t most, unsigned live_max)
{
    pthread_t thread[THREADS];
    CHECK(rig_up(&rig, SLOTS));
    rig.pool.wake = wake;
    wakes = 0;
    for (unsigned t = 0; t < THREADS; t++) {
        struct worker *w = &worker[t];
        *w = (struct worker){.seed = t + 1, .least = least, .most = most, .maps = maps, .live_max = live_max};
        sem_init(&w->woken, 0, 0);
        for (unsigned i = 0; i < QUEUES; i++) {
            w->queue[i].mem = aligned_alloc(SLOT, (size_t)LIVE * (SLOTS + 4) * SLOT);
            CHECK(w->queue[i].mem);
            CHECK_EQ(via_bounce_init(&w->queue[i].bounce, &rig.pool, t * QUEUES + i, 4), 0);
        }
    }
    for (unsigned t = 0; t < THREADS; t++)
        CHECK_EQ(pthread_create(&thread[t], NULL, work, &worker[t]), 0);
    for (unsigned t = 0; t < THREADS; t++)
        pthread_join(thread[t], NULL);
    uint64_t full = 0;
    for (unsigned t = 0; t < THREADS; t++) {
        if (worker[t].failed)
            tap_fail(__FILE__, __LINE__, worker[t].failed);
        for (unsigned i = 0; i < QUEUES; i++) {
            struct queue *q = &worker[t].queue[i];
            CHECK(q->bounce.stats.maps == maps && q->bounce.stats.unmaps == maps && q->bounce.stats.in_use == 0);
            CHECK(q->bounce.stats.high_water <= SLOTS);
            full += q->bounce.stats.full;
            via_bounce_drain(&q->bounce);
            free(q->mem);
        }
        sem_destroy(&worker[t].woken);
    }
    CHECK(full > 0 && wakes > 0); /* else nobody starved and this showed nothing */
    CHECK_EQ(rig.pool.claimed, 0);
    CHECK_EQ(rig_free_slots(&rig), SLOTS);
    CHECK(rig.pool.high_water <= SLOTS);
    rig_down(&rig);
}

/* Only one fits at a time, and it wants all that the others' caches can leave. */
static void one_at_a_time(void) { contend(2000, 31, SLOTS - 3 * 4 - 2, 1); }
static void a_few_at_a_time(void) { contend(2000, 2, 20, LIVE); }

/* The device scribbles over the whole pool while unmap copies: what comes back is its own business, where it goes is not. */
static _Atomic bool stop;
static void *scribble(void *arg)
{
    for (uint8_t v = 0; !atomic_load(&stop); v++)
        for (size_t i = 0; i < SLOTS * SLOT; i += 64)
            __atomic_store_n((uint64_t *)(void *)(rig.mem + i), v * 0x0101010101010101ull, __ATOMIC_RELAXED);
    return arg;
}

static void device_scribbles_meanwhile(void)
{
    if (UNDER_TSAN) {
        tap_skip("a data race by design, and this is built to find those");
        return;
    }
    static _Alignas(4096) uint8_t mem[16 * SLOT];
    struct via_bounce b;
    struct via_seg seg[16];
    pthread_t thread;
    CHECK(rig_up(&rig, SLOTS));
    CHECK_EQ(via_bounce_init(&b, &rig.pool, 0, 4), 0);
    CHECK_EQ(pthread_create(&thread, NULL, scribble, NULL), 0);
    for (unsigned i = 0; i < 3000; i++) {
        size_t off = i * 37 % SLOT, len = 1 + i * 101 % (10 * SLOT), written = i % (len + 1);
        memset(mem, 0xee, sizeof(mem));
        struct via_span buf[] = {{mem + 12 * SLOT, 100}, {mem + SLOT + off, len}};
        struct via_mapping m = {.seg = seg, .cap = 16};
        CHECK_EQ(via_dma_map(&b.dma, buf, 1, 1, &m), 0);
        via_dma_unmap(&b.dma, &m, (uint32_t)written);
        for (size_t k = 0; k < SLOT + off; k++)
            CHECK_EQ(mem[k], 0xee);
        for (size_t k = SLOT + off + written; k < sizeof(mem); k++)
            CHECK_EQ(mem[k], 0xee);
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    via_bounce_drain(&b);
    CHECK_EQ(rig_free_slots(&rig), SLOTS);
    rig_down(&rig);
}

TAP_MAIN(TEST(one_at_a_time), TEST(a_few_at_a_time), TEST(device_scribbles_meanwhile))
