/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dma: the driver's view. Which addresses may I give the device for these buffers?
 *
 * A mapping covers one request: n_out buffers that the device reads, then n_in that it writes, in ring order. It is the request and not
 * the buffer because the device's answer, the used length, counts over all writable buffers of a request; so unmap can take
 * it as it is, and a strategy is called once a request. Strategies stack, each holds the `next` one.
 *
 * A via_dma object has one owner: calls on it come from one thread at a time. What several queues share (a bounce pool) says so.
 */
#ifndef VIADUCT_DMA_H
#define VIADUCT_DMA_H

#include <viaduct/base.h>
#include <viaduct/port.h>

struct via_dma;

struct via_mapping {
    struct via_seg *seg; /* the caller's storage, filled by map: n_out readable segments, then n_in writable ones */
    uint16_t cap;        /* segments that seg has room for */
    uint16_t n_out, n_in;
    const struct via_span *buf; /* the mapped buffers: the list too stays the caller's, unchanged until unmap */
    uint16_t buf_out, buf_in;
    uint16_t way; /* the strategy's own, from map to unmap */
};

enum via_owner { VIA_OWNER_CPU, VIA_OWNER_DEVICE };

enum via_isolation {
    VIA_ADVISORY, /* the device is asked not to reach more than was mapped for it */
    VIA_ENFORCED, /* it has no means to */
};

struct via_dma_ops {
    const char *name;
    int (*map)(struct via_dma *, const struct via_span *buf, unsigned out, unsigned in, struct via_mapping *);
    void (*unmap)(struct via_dma *, struct via_mapping *, uint32_t written); /* NULL: nothing has to be done */
    int (*sync)(struct via_dma *, struct via_mapping *, enum via_owner, uint32_t written);
};

struct via_dma {
    const struct via_dma_ops *ops;
    struct via_dma *next; /* NULL: this one turns CPU addresses into addresses by itself */
};

/*
 * End every doubt about who owns these bytes: from here on they are the device's, until unmap. m->seg and m->cap are
 * the caller's to set. All or nothing: on failure nothing is mapped.
 * -VIA_EAGAIN: a resource is used up for now (a full pool); the object's waiter tells when to try again.
 * -VIA_E2BIG: m->cap is too small. -VIA_ERANGE: memory that this device has no address for. -VIA_EINVAL: an empty buffer, or 0 of them.
 * -VIA_EPERM: memory that this device is not to have an address of.
 */
static inline VIA_MUST_USE int via_dma_map(struct via_dma *d, const struct via_span *buf, unsigned out, unsigned in, struct via_mapping *m)
{
    return d->ops->map(d, buf, out, in, m);
}

/*
 * The device is done: `written` bytes of the writable buffers, counted from the first one's start, are the driver's to
 * read; what lies behind is as it was before map.
 */
static inline void via_dma_unmap(struct via_dma *d, struct via_mapping *m, uint32_t written)
{
    if (d->ops->unmap)
        d->ops->unmap(d, m, written);
}

/*
 * Hand a mapping to and fro without ending it. To the CPU: `written` bytes of the writable buffers arrive. To the
 * device: the readable buffers' bytes of now are what it reads (written is 0).
 */
static inline VIA_MUST_USE int via_dma_sync(struct via_dma *d, struct via_mapping *m, enum via_owner to, uint32_t written)
{
    return d->ops->sync(d, m, to, written);
}

/* ------------------------------------------------------------------ direct: the address is the physical address */

struct via_phys_range { /* memory of ours and where it lies for the device (or for the next layer) */
    void *ptr;
    uint64_t len;
    uint64_t phys;
};

struct via_direct {
    struct via_dma dma;
    const struct via_phys_range *range; /* sorted by ptr, not overlapping; the caller's */
    unsigned n;
};
/* -VIA_EINVAL: ranges empty, wrapping, unsorted or overlapping (in ptr or in phys). A buffer that spans adjacent ranges takes several
 * segments. */
VIA_MUST_USE int via_direct_init(struct via_direct *, const struct via_phys_range *range, unsigned n);

/* ------------------------------------------------------------------ window: a bus sees memory at offsets, in banks */

struct via_bank {
    uint64_t start, last; /* of next's addresses, inclusive */
    uint64_t bus;         /* what the device calls `start` */
};

struct via_window {
    struct via_dma dma;
    const struct via_bank *bank; /* sorted by start, not overlapping; the caller's */
    unsigned n;
};
/* Addresses that no bank covers are refused with -VIA_ERANGE; what crosses from one bank into the next takes several segments. */
VIA_MUST_USE int via_window_init(struct via_window *, struct via_dma *next, const struct via_bank *bank, unsigned n);

/* ------------------------------------------------------------------ cache: a device that does not see the processors' caches */

struct via_cache {
    struct via_dma dma;
    struct via_port *port;
    bool under_reports; /* quirk: the device's used lengths may be too small: forget the lines of all that it could write. Off at init */
};
/*
 * next: gives the buffers' own addresses (direct, window, iommu ...). Not bounce: its pool is what the device sees, so there the pool gets
 * the port (via_pool_set_port). Map refuses a writable buffer that shares a line with anything else (it does not start and end where a line
 * does) with -VIA_EINVAL: bounce such buffers, as hybrid does. -VIA_EINVAL: a part missing, or the port's line is no power of two.
 */
VIA_MUST_USE int via_cache_init(struct via_cache *, struct via_dma *next, struct via_port *port);

/* ------------------------------------------------------------------ bounce: through slots of a pool */

/*
 * A pool: memory that the device may see, cut into slots. One a device or one for several; each queue has a via_bounce
 * of its own over it, with a cache of slots, and only refills of that cache and mappings of more than a slot meet other queues: on atomic
 * words of the free map, never on a lock.
 */
#define VIA_POOL_SLOT 4096u

struct via_pool {
    uint8_t *mem;           /* aligned to VIA_POOL_SLOT, shared with the device */
    uint32_t slots;         /* of VIA_POOL_SLOT bytes */
    uint64_t base;          /* the device's address of mem, contiguous for the whole pool, aligned to VIA_POOL_SLOT */
    struct via_dma *next;   /* what gave base */
    struct via_port *port;  /* NULL: the device sees the caches */
    _Atomic uint64_t *free; /* a bit a slot, set: free; (slots + 63) / 64 words, the caller's */
    /*
     * Called by the thread that gave slots back while others waited; queues: their numbers as bits. NULL at init, set it before use;
     * NULL: waiters poll. It runs inside map, unmap or free, perhaps before the waiter's own map has returned -VIA_EAGAIN:
     * it notes or signals and calls nothing here.
     */
    void (*wake)(struct via_pool *, uint64_t queues);
    /* No room for `want` slots of a queue (a bit). true: there is more now, try again. NULL at init: the pool stays as it is (see grow.h).
     */
    bool (*more)(struct via_pool *, uint32_t want, uint64_t queue);
    _Atomic uint64_t hungry; /* queues (bit: their number) that were told -VIA_EAGAIN */
    uint8_t apart[64];       /* what every unmap reads above, what only refills and large mappings write below: not in one cache line */
    /* Low half: slots that are not free here: mapped, in a queue's cache, or kept back. High half: those kept back, because not shared. */
    _Atomic uint64_t claimed;
    _Atomic uint32_t high_water; /* most slots mapped or in caches at any time */
};

/* Slots that are mapped or in caches, and those that are kept back. From any thread. */
static inline uint32_t via_pool_kept(const struct via_pool *p) { return (uint32_t)(atomic_load(&p->claimed) >> 32); }
static inline uint32_t via_pool_needed(const struct via_pool *p)
{
    uint64_t claimed = atomic_load(&p->claimed);
    return (uint32_t)claimed - (uint32_t)(claimed >> 32);
}

/*
 * mem: len bytes, shared with the device, zeroed. next: gives their address (mapped once, here, and never again).
 * -VIA_ERANGE: next has no contiguous, slot-aligned address for them. -VIA_EPERM: next gives none, for they are not shared. -VIA_EINVAL:
 * misaligned, no whole slot, or too few words.
 */
VIA_MUST_USE int via_pool_init(struct via_pool *, struct via_dma *next, void *mem, size_t len, _Atomic uint64_t *free, size_t words);

/*
 * The device does not see the processors' caches: slots are cleaned before its turn and invalidated after it. To be said once, before the
 * pool is used. A buffer that a driver took from the pool itself is copied all the same when the device writes it and it does not fill its
 * lines: what shares them is the driver's. -VIA_EINVAL: the port's line is no power of two, or longer than a slot.
 */
VIA_MUST_USE int via_pool_set_port(struct via_pool *, struct via_port *);

#define VIA_BOUNCE_CACHE 64u

struct via_bounce_stats {
    uint64_t maps, unmaps;
    uint64_t bytes_in, bytes_out; /* copied: pool to driver, driver to pool */
    uint64_t full;                /* -VIA_EAGAIN answers */
    uint64_t over_quota;          /* of these: the pool might have had room */
    uint32_t in_use, high_water;  /* slots mapped through this object */
};

struct via_bounce {
    struct via_dma dma;
    struct via_pool *pool;
    unsigned queue;     /* 0 to 63, this object's number among the pool's users */
    bool under_reports; /* quirk: the device's used lengths may be too small (legacy 2.7.8.3...): clear before, copy all back */
    /* What a request does not fill of its slots is cleared before the device's turn: it shows nothing of requests before. Off at init. */
    bool clear_tails;
    /*
     * Slots that this object may hold at once, its cache and what was taken by via_bounce_alloc included: the rest of the pool is left to
     * others whatever its device does. UINT32_MAX at init; set it before use. Whoever is at it is woken by its own unmap or free.
     */
    uint32_t quota;
    uint32_t held;
    bool at_quota;      /* and was told so */
    uint32_t cache_max; /* slots kept at hand */
    uint32_t cached;
    uint32_t hint; /* word of the free map to look at first */
    uint32_t cache[VIA_BOUNCE_CACHE];
    struct via_bounce_stats stats;
};

/*
 * cache_max: at most VIA_BOUNCE_CACHE; it is cut to a sixteenth of the pool. A mapping of no more slots than the pool has without the
 * caches of all its other users never waits in vain (core/dma/pool.c says why); one that wants more, or one run where the pool is in pieces
 * and m->cap small, may wait for an idle user's via_bounce_drain. More than the whole pool or the quota is -VIA_E2BIG.
 */
VIA_MUST_USE int via_bounce_init(struct via_bounce *, struct via_pool *, unsigned queue, uint32_t cache_max);
/*
 * Unmap what has lost its buffers: m->buf is not looked at, so none of them may have been the pool's own. `in`: n spans of as many bytes,
 * in other pieces perhaps, where the writable ones are now; written as for unmap. n 0: the answer is dropped.
 */
void via_bounce_unmap_to(struct via_bounce *, struct via_mapping *, const struct via_span *in, unsigned n, uint32_t written);
/* Give the cached slots back to the pool. */
void via_bounce_drain(struct via_bounce *);

/*
 * Take a buffer from the pool itself: what is filled in there needs no copy, map finds it by its address. Contiguous, len bytes up to 64
 * slots, zeroed. NULL: none free now (this queue is then hungry, as with -VIA_EAGAIN). Owned by the caller until via_bounce_free of the
 * object that it was taken from.
 */
void *via_bounce_alloc(struct via_bounce *, size_t len);
void via_bounce_free(struct via_bounce *, void *ptr, size_t len);

/*
 * ------------------------------------------------------------------ check: misuse found and named
 *
 * Goes on top of a stack, where the driver calls. What can't be passed on without harm is not: an unmap of something that is not
 * mapped, or of a mapping whose segments or buffers were changed. Everything else goes on as it would without the check.
 */

enum via_misuse {
    VIA_MISUSE_LEAK,         /* still mapped at via_check_finish */
    VIA_MISUSE_DOUBLE_UNMAP, /* or never mapped */
    VIA_MISUSE_CHANGED,      /* unmapped with other segments or buffers than it was mapped with */
    VIA_MISUSE_OVERLAP,      /* a buffer that the device writes was mapped a second time */
    VIA_MISUSE_WRITTEN,      /* more bytes reported written than the device was given */
    VIA_MISUSE_CPU_WROTE,    /* a readable buffer changed while it was the device's: a sync is missing */
    VIA_MISUSE_DIRECTION,    /* a sync that the mapping's owner or direction does not allow */
    VIA_MISUSE_UNTRACKED,    /* more mappings at once than the table holds */
};
const char *via_misuse_name(enum via_misuse); /* a sentence, without full stop */

struct via_check_entry { /* private */
    const struct via_mapping *m;
    const struct via_span *buf;
    uint16_t out, in;
    enum via_owner owner;
    uint64_t sum, segs;
};

struct via_check {
    struct via_dma dma;
    bool on; /* switchable at any time; mappings made while it was off are not judged */
    struct via_check_entry *entry;
    unsigned n;
    uint64_t found;
    unsigned live;     /* entries in use */
    uint64_t unjudged; /* mappings that are in no entry: made while off, or with the table full */
    void (*report)(struct via_check *, enum via_misuse, const struct via_mapping *);
};
VIA_MUST_USE int via_check_init(struct via_check *, struct via_dma *next, struct via_check_entry *entry, unsigned n,
                                void (*report)(struct via_check *, enum via_misuse, const struct via_mapping *));
/* Report what is still mapped, and forget it; returns the number of misuses found so far. */
uint64_t via_check_finish(struct via_check *);

#endif
