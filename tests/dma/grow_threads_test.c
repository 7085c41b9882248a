/* SPDX-License-Identifier: BSD-2-Clause */
/* A growing pool in random use, with conversions that fail: by one thread against what must come of it, and by several with a ticker. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <time.h>
#include <unistd.h>

#include "grow_rig.h"

enum { QUEUES = 2, LIVE = 6, MOST = 60, OPS = 20000, MAPS = 3000 };

struct live {
    struct via_mapping m;
    struct via_seg seg[GROW_SLOTS];
    struct via_span buf;
    uint8_t stamp;
};

struct worker {
    struct via_bounce bounce;
    struct live live[LIVE];
    unsigned n, done;
    uint8_t *mem; /* a buffer for each of live */
    sem_t woken;
    uint64_t seed;
    const char *failed;
};

static struct grow_rig rig;
static struct worker worker[QUEUES];
static _Atomic bool stop;
static uint64_t fail_seed; /* whoever converts has it */

static uint32_t below(uint64_t *seed, uint32_t n)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*seed >> 33) % n);
}

/* As the rig's, but now and then told to fail. */
static int convert(struct via_protect *p, size_t page, size_t n, size_t *done, bool share)
{
    if (below(&fail_seed, 4) == 0)
        grow_fail(&rig, share, 1 + below(&fail_seed, (uint32_t)n), 1);
    return grow_convert(p, page, n, done, share);
}

static int share(struct via_protect *p, size_t page, size_t n, size_t *done) { return convert(p, page, n, done, true); }
static int unshare(struct via_protect *p, size_t page, size_t n, size_t *done) { return convert(p, page, n, done, false); }
static const struct via_protect_ops failing = {"failing", share, unshare};

static void wake(struct via_pool *p, uint64_t queues)
{
    (void)p;
    for (unsigned i = 0; i < QUEUES; i++)
        if (queues >> i & 1)
            sem_post(&worker[i].woken);
}

static bool up(uint32_t cache)
{
    CHECK_OR_FALSE(grow_up(&rig, NULL));
    rig.protect.ops = &failing;
    rig.grow.pool.wake = wake;
    rig.grow.idle = 20;
    fail_seed = 1;
    for (unsigned i = 0; i < QUEUES; i++) {
        worker[i] = (struct worker){.seed = i + 1, .mem = malloc(LIVE * (MOST + 1) * SLOT)};
        sem_init(&worker[i].woken, 0, 0);
        CHECK_OR_FALSE(worker[i].mem && via_bounce_init(&worker[i].bounce, &rig.grow.pool, i, cache) == 0);
    }
    return true;
}

static bool down(void)
{
    uint64_t maps = 0;
    for (unsigned i = 0; i < QUEUES; i++) {
        via_bounce_drain(&worker[i].bounce);
        CHECK_OR_FALSE(worker[i].bounce.held == 0);
        maps += worker[i].bounce.stats.maps;
        sem_destroy(&worker[i].woken);
        free(worker[i].mem);
    }
    CHECK_OR_FALSE(grow_is_sound(&rig));
    CHECK_OR_FALSE(maps > 0 && rig.grow.stats.failed > 0 && rig.grow.stats.given > 0); /* else this was too easy */
    rig.protect.ops = &grow_protect;
    grow_fail(&rig, false, 0, 0);
    CHECK_OR_FALSE(via_grow_finish(&rig.grow) == 0);
    CHECK_OR_FALSE(grow_count(&rig, IS_PRIVATE) == GROW_SLOTS && !rig.stale);
    grow_down(&rig);
    return true;
}

static uint8_t *device_at(const struct via_seg *seg) { return rig.mem + (seg->addr.v - GROW_PHYS); }

static uint32_t slots_of(const struct live *l) { return (uint32_t)((l->buf.len + (uintptr_t)l->buf.ptr % SLOT + SLOT - 1) / SLOT); }

static int map(struct worker *w)
{
    struct live *l = &w->live[w->n];
    l->stamp = (uint8_t)(1 + below(&w->seed, 200));
    l->buf = (struct via_span){w->mem + (size_t)w->n * (MOST + 1) * SLOT, 1 + below(&w->seed, below(&w->seed, 3) ? SLOT : MOST * SLOT)};
    memset(l->buf.ptr, l->stamp, l->buf.len);
    l->m = (struct via_mapping){.seg = l->seg, .cap = GROW_SLOTS};
    int r = via_dma_map(&w->bounce.dma, &l->buf, 1, 0, &l->m);
    w->n += r == 0;
    return r;
}

/* The device finds the bytes, in pages that it may see. */
static bool unmap(struct worker *w)
{
    struct live *l = &w->live[--w->n];
    bool good = true;
    for (unsigned i = 0; i < l->m.n_out; i++) {
        const uint8_t *at = device_at(&l->seg[i]);
        good = good && at[0] == l->stamp && at[l->seg[i].len - 1] == l->stamp;
        for (size_t s = (size_t)(at - rig.mem) / SLOT; s <= (size_t)(at - rig.mem + l->seg[i].len - 1) / SLOT; s++)
            good = good && rig.truth[s] == IS_SHARED;
    }
    via_dma_unmap(&w->bounce.dma, &l->m, 0);
    w->done++;
    return good;
}

static uint32_t unusable(void)
{
    uint32_t n = 0;
    for (unsigned c = 0; c < GROW_CHUNKS; c++)
        n += rig.state[c] == VIA_CHUNK_DOUBT ? GROW_CHUNK : 0;
    return n;
}

/* Whatever can be had is: -VIA_EAGAIN only where a conversion failed since the last tick, or no pool has so much. */
static bool judge(struct worker *w, struct worker *other)
{
    bool paused = rig.grow.paused;
    uint64_t before = rig.grow.stats.failed;
    uint32_t used = 0, left = GROW_SLOTS - unusable();
    for (unsigned i = 0; i < QUEUES; i++)
        for (unsigned k = 0; k < worker[i].n; k++)
            used += slots_of(&worker[i].live[k]);
    used += other->bounce.cached;
    unsigned n = w->n;
    int r = map(w);
    bool fits = slots_of(&w->live[n]) + used <= left;
    CHECK_OR_FALSE(r == 0 || r == -VIA_EAGAIN);
    CHECK_OR_FALSE(r == 0 ? fits : !fits || paused || rig.grow.stats.failed > before);
    return true;
}

static void random_use(void)
{
    uint64_t seed = 7, now = 0;
    CHECK(up(8));
    for (unsigned i = 0; i < OPS; i++) {
        unsigned k = below(&seed, QUEUES);
        struct worker *w = &worker[k];
        bool busy = i / 500 % 2; /* in turns: more and more, less and less */
        if (below(&seed, 10) == 0)
            via_grow_tick(&rig.grow, now++);
        else if (below(&seed, 40) == 0)
            via_bounce_drain(&w->bounce);
        else if (w->n < LIVE && below(&seed, 10) < (busy ? 8 : 2))
            CHECK(judge(w, &worker[!k]));
        else if (w->n)
            CHECK(unmap(w));
        CHECK(grow_is_sound(&rig));
    }
    for (unsigned k = 0; k < QUEUES; k++)
        while (worker[k].n)
            CHECK(unmap(&worker[k]));
    CHECK(down());
}

/* Until woken. Twenty seconds are for ever. */
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
    while (w->done < MAPS) {
        int r = w->n < LIVE && below(&w->seed, 2) ? map(w) : 1;
        if (r < 0 && r != -VIA_EAGAIN)
            return w->failed = "map failed", NULL;
        if (r == -VIA_EAGAIN && !w->n && !sleep_on(w))
            return w->failed = "nobody woke it", NULL;
        if (r != 0 && w->n && !unmap(w))
            return w->failed = "wrong bytes, or private ones", NULL;
        if (below(&w->seed, 50) == 0)
            via_bounce_drain(&w->bounce);
    }
    while (w->n)
        if (!unmap(w))
            return w->failed = "wrong bytes, or private ones", NULL;
    via_bounce_drain(&w->bounce);
    return NULL;
}

static void *tick(void *arg)
{
    for (uint64_t now = 0; !atomic_load(&stop); now++) {
        via_grow_tick(&rig.grow, now);
        usleep(20);
    }
    return arg;
}

static void threads_at_once(void)
{
    pthread_t thread[QUEUES], ticker;
    CHECK(up(8));
    stop = false;
    CHECK_EQ(pthread_create(&ticker, NULL, tick, NULL), 0);
    for (unsigned i = 0; i < QUEUES; i++)
        CHECK_EQ(pthread_create(&thread[i], NULL, work, &worker[i]), 0);
    for (unsigned i = 0; i < QUEUES; i++)
        pthread_join(thread[i], NULL);
    for (uint64_t was = rig.grow.stats.given, tries = 0; rig.grow.stats.given == was && !was && tries < 20000; tries++)
        usleep(1000); /* all is free by now: the ticker gives back, however slow this machine is */
    atomic_store(&stop, true);
    pthread_join(ticker, NULL);
    for (unsigned i = 0; i < QUEUES; i++)
        if (worker[i].failed)
            tap_fail(__FILE__, __LINE__, worker[i].failed);
    CHECK(down());
}

TAP_MAIN(TEST(random_use), TEST(threads_at_once))
