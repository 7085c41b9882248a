/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * grow: a pool that follows the need, in the room dma. Addresses are reserved for the most that it may have; memory is shared chunk by
 * chunk when a mapping finds no room, and made private again when it was too much for a time. Where no more is to be had, that is
 * back-pressure, like any full pool.
 */
#ifndef VIADUCT_GROW_H
#define VIADUCT_GROW_H

#include <viaduct/protect.h>

/*
 * What several pools may share in all. Each is promised its cfg.least, which the others' floods never touch; beyond that, who comes first
 * is served first. Any thread.
 */
struct via_budget {
    uint64_t limit;        /* bytes */
    _Atomic uint64_t left; /* of them neither taken nor promised */
};
void via_budget_init(struct via_budget *, uint64_t limit);

enum via_chunk {
    VIA_CHUNK_PRIVATE,
    VIA_CHUNK_SHARED, /* the pool's */
    VIA_CHUNK_DOUBT,  /* a conversion failed half way: neither shared nor private before it was made private again */
    VIA_CHUNK_LOST,   /* next has no address for it that continues the pool's: never to be used */
};

struct via_grow_cfg {
    /* Asked for a chunk's address when it becomes shared, by one thread at a time. Nothing is unmapped: it is to hold nothing for a
     * mapping. */
    struct via_dma *next;
    struct via_protect *protect; /* of memory that includes mem; converted by nobody else meanwhile */
    void *mem;                   /* the most that the pool may have: aligned to VIA_POOL_SLOT, private */
    size_t len;                  /* bytes, whole chunks */
    size_t chunk;                /* bytes converted at once, whole slots */
    size_t least;                /* bytes that are always shared: 1 to len, rounded up to chunks */
    /*
     * Given back: what is free beyond `low` bytes, in whole chunks, once more than `high` bytes have been free at each tick for `idle` ns.
     * low is at most high.
     */
    size_t low, high;
    uint64_t idle;
    struct via_budget *budget; /* NULL: none but len */
    _Atomic uint64_t *free;    /* as for via_pool_init, for all of len; the caller's */
    size_t words;
    uint8_t *state; /* a byte (enum via_chunk) for each chunk; the caller's */
    size_t chunks;
};

struct via_grow_stats {            /* read from any thread */
    _Atomic uint64_t grown, given; /* chunks shared since init, and made private again */
    _Atomic uint64_t failed;       /* conversions that failed */
    _Atomic uint64_t refused;      /* times that the budget had nothing left */
    _Atomic uint32_t reserved;     /* slots that are shared, or perhaps; via_pool_needed says how many of them are used */
    _Atomic uint32_t high_water;   /* most of them at any time */
};

struct via_grow {
    struct via_pool pool; /* for via_bounce_init; set its wake before use */
    struct via_protect *protect;
    struct via_budget *budget;
    uint8_t *state;
    uint32_t chunks, chunk, least, low, high; /* chunk to high: slots */
    uint64_t idle;
    _Atomic bool busy;    /* somebody converts */
    _Atomic bool paused;  /* a conversion failed: none before the next tick */
    uint32_t from, doubt; /* chunks to begin the next search at: for a private one, for one in doubt */
    bool over;            /* more than high was free at the last tick */
    uint64_t since;       /* when this began */
    struct via_grow_stats stats;
};

/*
 * Shares `least` bytes. -VIA_EINVAL: sizes that contradict one another or storage that is too small. -VIA_ENOSPC: the budget can't promise
 * `least`. -VIA_ERANGE: next has no contiguous, slot-aligned address. Else: what the conversion said. After a failure nothing is promised
 * and what could be made private again is private.
 */
VIA_MUST_USE int via_grow_init(struct via_grow *, const struct via_grow_cfg *);
/*
 * To be called now and then, from any thread, now: ns of any clock that does not go back. Gives back what was too much for long enough,
 * lets conversions that failed be tried again and wakes who waits for it. 1: more was to be given back, but too few chunks are free as a
 * whole: let idle queues via_bounce_drain. Else 0.
 */
int via_grow_tick(struct via_grow *, uint64_t now);
/*
 * Make all of it private. Nobody uses the pool any more. -VIA_EBUSY: slots are mapped or cached still, nothing was done. Else what an
 * unshare said: then some pages count as shared still (via_protect_is_private says which don't); it may be called again.
 */
VIA_MUST_USE int via_grow_finish(struct via_grow *);

#endif
