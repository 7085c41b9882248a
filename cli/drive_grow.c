/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * drive: a pool that has as much memory as it needs. The back-end has the address range of all of it; to share a chunk is to give it
 * memory, to make it private is to take the memory out: what is reserved is what the system counts as used.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drive_parts.h"

#define TICK_NS UINT64_C(1000000)
#define IDLE_NS UINT64_C(20000000)

struct via_drive_grow {
    struct via_protect protect;
    int fd;
    size_t at; /* where in it the slots begin */
    _Atomic uint64_t *shared;
    uint8_t *state;
    uint64_t last, samples;
    double reserved, needed; /* sums over the samples */
};

static int convert(struct via_protect *p, size_t page, size_t n, size_t *done, int mode)
{
    const struct via_drive_grow *g = via_container_of(p, struct via_drive_grow, protect);
    *done = 0;
    while (fallocate(g->fd, mode, (off_t)(g->at + page * VIA_PROTECT_PAGE), (off_t)(n * VIA_PROTECT_PAGE)) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

static int share(struct via_protect *p, size_t page, size_t n, size_t *done) { return convert(p, page, n, done, 0); }

static int unshare(struct via_protect *p, size_t page, size_t n, size_t *done)
{
    return convert(p, page, n, done, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
}

static const struct via_protect_ops ops = {"memory", share, unshare};

int via_drive_grow_open(struct via_drive_memory *m, size_t at, size_t len, struct via_err *err)
{
    size_t words = (len / VIA_POOL_SLOT + 63) / 64, chunks = len / VIA_DRIVE_CHUNK;
    struct via_drive_grow *g = m->grow = calloc(1, sizeof(*g));
    m->slot_map = calloc(words, sizeof(*m->slot_map));
    if (!g || !m->slot_map || !(g->shared = calloc(VIA_PROTECT_WORDS(len / VIA_PROTECT_PAGE), sizeof(*g->shared))) ||
        !(g->state = calloc(chunks, 1)))
        return via_err_set(err, -VIA_ENOMEM, "no memory for a pool of %zu slots", len / VIA_POOL_SLOT);
    g->fd = m->pool.fd;
    g->at = at;
    struct via_grow_cfg cfg = {
        .next = m->lasting,
        .protect = &g->protect,
        .mem = m->pool.ptr + at,
        .len = len,
        .chunk = VIA_DRIVE_CHUNK,
        .least = VIA_DRIVE_CHUNK,
        .low = VIA_DRIVE_CHUNK,
        .high = 3 * VIA_DRIVE_CHUNK,
        .idle = IDLE_NS,
        .free = m->slot_map,
        .words = words,
        .state = g->state,
        .chunks = chunks,
    };
    int r =
        via_protect_init(&g->protect, &ops, cfg.mem, len / VIA_PROTECT_PAGE, false, g->shared, VIA_PROTECT_WORDS(len / VIA_PROTECT_PAGE));
    if (!r)
        r = via_grow_init(&m->slots, &cfg);
    return r ? via_err_set(err, r, "a pool of %zu bytes that grows can't be made: %s", len, strerror(-r)) : 0;
}

void via_drive_grow_tick(struct via_drive *d)
{
    struct via_drive_grow *g = d->mem.grow;
    uint64_t now = g ? via_drive_clock() : 0;
    if (!g || now - g->last < TICK_NS)
        return;
    g->last = now;
    g->samples++;
    g->reserved += atomic_load(&d->mem.slots.stats.reserved);
    g->needed += via_pool_needed(&d->mem.slots.pool);
    if (via_grow_tick(&d->mem.slots, now))
        for (unsigned i = 0; i < d->opts.queues; i++)
            if (d->queue[i].bounce.pool)
                via_bounce_drain(&d->queue[i].bounce);
}

void via_drive_grow_look(const struct via_drive_memory *m, struct via_drive_grown *out)
{
    const struct via_drive_grow *g = m->grow;
    if (!g)
        return;
    double samples = g->samples ? (double)g->samples : 1;
    *out = (struct via_drive_grown){
        .reserved = atomic_load(&m->slots.stats.reserved),
        .reserved_most = atomic_load(&m->slots.stats.high_water),
        .needed_most = atomic_load(&m->slots.pool.high_water),
        .reserved_mean = g->reserved / samples,
        .needed_mean = g->needed / samples,
        .conversions = g->protect.stats.conversions,
        .failed = atomic_load(&m->slots.stats.failed),
    };
}

void via_drive_grow_close(struct via_drive_memory *m)
{
    struct via_drive_grow *g = m->grow;
    if (!g)
        return;
    int r = m->slots.pool.slots ? via_grow_finish(&m->slots) : 0;
    if (r < 0)
        fprintf(stderr, "viaduct drive: the pool's memory can't be given back: %s\n", strerror(-r));
    free((void *)(uintptr_t)g->shared);
    free(g->state);
    free(g);
    m->grow = NULL;
}
