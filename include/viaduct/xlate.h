/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xlate: the device's view. What may I touch for this device address?
 */
#ifndef VIADUCT_XLATE_H
#define VIADUCT_XLATE_H

#include <viaduct/base.h>

enum via_perm { VIA_PERM_R = 1, VIA_PERM_W = 2 };

struct via_xlate;
struct via_xlate_ops {
    int (*resolve)(struct via_xlate *, via_iova, uint64_t len, unsigned perm, struct via_span *);
};
struct via_xlate {
    const struct via_xlate_ops *ops;
    /*
     * Changes whenever something that resolved before may resolve no more, or elsewhere. Who keeps a resolved pointer (a ring's areas)
     * keeps the generation beside it, and resolves again when it is another. It never comes back to a value.
     */
    uint64_t generation;
};

/*
 * Turn the start of [addr, addr + len) into host memory: span->len is between 1 and len, whatever is contiguous.
 * perm: all of these rights are needed. -VIA_EFAULT: nothing there, or not with these rights; len 0 or wrapping too.
 * -VIA_EAGAIN: not known (an IOTLB's miss): ask for it, and try again when the answer is in.
 */
static inline VIA_MUST_USE int via_xlate_resolve(struct via_xlate *x, via_iova addr, uint64_t len, unsigned perm, struct via_span *span)
{
    return x->ops->resolve(x, addr, len, perm, span);
}

/* All of n segments, each with the same rights, as spans in order (adjacent ones are not merged across segments). Returns the number of
 * spans, -VIA_E2BIG: more than cap. -VIA_EFAULT and -VIA_EAGAIN as above. */
VIA_MUST_USE int via_xlate_map(struct via_xlate *, const struct via_seg *seg, unsigned n, unsigned perm, struct via_span *span,
                               unsigned cap);

/* Copy len bytes at a device address into private memory (an indirect table). 0, -VIA_EFAULT or -VIA_EAGAIN. */
VIA_MUST_USE int via_xlate_read(struct via_xlate *, via_iova addr, void *dst, size_t len);

/* ------------------------------------------------------------------ memory map: a front-end's regions */

/* One owner: resolve remembers where it looked last, so that all calls on one map come from one thread at a time. */

#define VIA_MEMMAP_REGIONS 509u

struct via_region {
    uint64_t gpa;  /* guest-physical start */
    uint64_t len;  /* bytes, not 0 */
    uint64_t uva;  /* the front-end's user address of the same bytes */
    uint8_t *ptr;  /* where this process reaches them */
    bool readonly; /* no VIA_PERM_W */
};

struct via_memmap {
    struct via_xlate xlate;
    unsigned n, last;                             /* last: the region that served last */
    struct via_region region[VIA_MEMMAP_REGIONS]; /* sorted by gpa */
};

void via_memmap_init(struct via_memmap *);
/* -VIA_EINVAL: empty or wrapping. -VIA_EEXIST: overlaps a region in gpa or uva. -VIA_ENOSPC: 509 are there. */
VIA_MUST_USE int via_memmap_add(struct via_memmap *, const struct via_region *);
/* Take the region with exactly this gpa, len and uva out; *out holds it (its ptr is the caller's to unmap). -VIA_ENOENT. */
VIA_MUST_USE int via_memmap_remove(struct via_memmap *, uint64_t gpa, uint64_t len, uint64_t uva, struct via_region *out);
/* Where len contiguous bytes at a user address are (ring areas): NULL when no single region holds them all. */
void *via_memmap_uva(const struct via_memmap *, via_uva addr, uint64_t len);
/* What is contiguous from a user address on, at most len bytes. -VIA_EFAULT: no region holds it. */
VIA_MUST_USE int via_memmap_at(const struct via_memmap *, via_uva addr, uint64_t len, struct via_span *);

/* ------------------------------------------------------------------ dirty log: what was written, page by page */

/*
 * A front-end that moves its guest to another machine wants to know which guest-physical pages were written meanwhile: a bit each, in
 * memory that it shares and clears as it copies (vhost-user, "Migration"). A page is marked after it was written: whoever clears the mark
 * and copies the page afterwards has the bytes, or finds the mark again.
 */

#define VIA_DIRTY_PAGE 4096u

struct via_dirty {
    uint8_t *log;                 /* the front-end's too; bit 0 of the first byte is for page 0. NULL: there is none */
    uint64_t len;                 /* bytes */
    const struct via_memmap *map; /* where what this process reaches is guest-physical */
    unsigned last;                /* the region that served last */
};

/* Both stay the caller's. */
void via_dirty_init(struct via_dirty *, const struct via_memmap *, uint8_t *log, uint64_t len);
/* Bytes of log that a guest-physical address needs, if it is the last one. */
static inline uint64_t via_dirty_bytes(uint64_t last) { return last / VIA_DIRTY_PAGE / 8 + 1; }
/* Likewise all of the map; 0: it is empty. */
uint64_t via_dirty_need(const struct via_memmap *);
/* len bytes from a guest-physical address on were written. The log was looked at before to be large enough (via_dirty_bytes): pages that
 * it does not cover are not marked. */
void via_dirty_mark(struct via_dirty *, via_gpa addr, uint64_t len);
/* n spans were, which were resolved in the map, or in an IOTLB over it. What is in no region of it any more is passed over. */
void via_dirty_spans(struct via_dirty *, const struct via_span *, unsigned n);
/* Whatever is in the map may have been. */
void via_dirty_all(struct via_dirty *);

/* ------------------------------------------------------------------ IOTLB: translations that a front-end gave us */

/*
 * A cache of ranges [start, last] of I/O virtual addresses (virtio's ACCESS_PLATFORM, vhost-user's IOTLB messages). Its capacity is a
 * quota: when it is full, an entry that wasn't used lately goes and is missed again. Neither adding nor removing can fail for want of room.
 * One owner: resolve remembers what it found, so that all calls on one IOTLB come from one thread at a time.
 */

#define VIA_IOTLB_ENTRIES_MAX (1u << 24)

struct via_iotlb_entry { /* one that is not in use holds no address: start is above last */
    uint64_t start, last;
    uint64_t delta; /* from an address to where this process reaches its byte, modulo 2^64 */
    uint32_t next;  /* not in use: the next such one */
    uint8_t marks;  /* rights that it lacks, and whether it was used lately */
};

struct via_tree_node;
struct via_tree_pool { /* nodes for one or several trees; core/xlate/tree.h */
    struct via_tree_node *node;
    uint32_t free, fresh;
};
struct via_tree {               /* entries by their start; core/xlate/tree.h */
    struct via_tree_node *node; /* the pool's */
    uint32_t root, height;
    struct via_tree_pool *pool;
};

struct via_iotlb {
    struct via_xlate xlate; /* resolve: -VIA_EAGAIN is a miss, -VIA_EFAULT an entry without the right that is asked for */
    uint32_t n, capacity;   /* entries */
    uint64_t evictions;     /* so far */
    struct via_iotlb_entry *entry;
    uint32_t free, fresh;  /* entries given back; the first one never used */
    uint32_t hand;         /* whose turn it is to be evicted */
    uint32_t recent;       /* found by the last search */
    uint64_t factor, mask; /* of a page's hash */
    uint32_t (*hint)[2];   /* by a page's hash: entries that may hold it, 24 bits, and 8 more of the hash */
    struct via_tree tree;
    struct via_tree_pool nodes; /* the IOTLB stays where it is: the tree knows where this is */
};

/*
 * The bytes of storage that `capacity` entries need (1 to VIA_IOTLB_ENTRIES_MAX): about 80 for each. The storage stays the caller's; it
 * has to outlive the IOTLB, at any alignment.
 */
size_t via_iotlb_bytes(uint32_t capacity);
/* An empty one. -VIA_EINVAL: no such capacity. */
VIA_MUST_USE int via_iotlb_init(struct via_iotlb *, uint32_t capacity, void *storage);
/*
 * UPDATE: the bytes from start to last, both included, are at ptr, with these rights. It replaces what it overlaps, and joins neighbours
 * that it continues in address, in place and in rights. Room is found by evicting. -VIA_EINVAL: last is below start, ptr is NULL, no rights
 * or unknown ones, or the bytes would wrap around this process's address space; nothing changed then.
 */
VIA_MUST_USE int via_iotlb_insert(struct via_iotlb *, via_iova start, via_iova last, void *ptr, unsigned perm);
/* INVALIDATE: nothing from start to last, both included, is known any more. Entries are cut where they reach beyond; last below start:
 * nothing. {0, UINT64_MAX} empties it. */
void via_iotlb_remove(struct via_iotlb *, via_iova start, via_iova last);

/* ------------------------------------------------------------------ misses: translations to ask for */

/*
 * The pages that requests wait for. Whoever misses puts its pages in (once, whoever else waits for them, too); who speaks to the front-end
 * takes them out to ask, and says what came of it. One for all queues of a connection, one owner. Bounded: what finds no room comes when
 * there is some.
 */

#define VIA_MISS_PAGE 4096u /* asked for at a time: what front-ends answer with (an IOMMU's smallest page) */

struct via_miss {
    uint64_t page;          /* its first address */
    uint64_t asked_ns;      /* when; by the clock of who asks */
    uint64_t question;      /* private: which of all questions that was, from 1 */
    uint64_t no[4];         /* private, by rights: the last question to which these were refused; 0: none was */
    uint32_t next;          /* private: of the same hash, or free */
    uint32_t after, before; /* private: its neighbours in the queue of pages to ask for */
    uint8_t perm;           /* rights to ask for: all that somebody needs */
    uint8_t more, state;    /* private: rights to ask for next */
    bool sure;              /* ask in a way that brings an answer even if it is no */
};

struct via_misses {
    unsigned n, capacity; /* pages; refused ones count too */
    unsigned fresh;       /* of them to be asked for */
    unsigned refused;
    bool denied;          /* private: some rights were refused since the last forget */
    uint64_t total, full; /* pages ever put in; times that there was no room */
    uint64_t questions;   /* ever asked. Who comes notes it: a no to one of them may be older than what makes his pages good */
    uint64_t changes;     /* an answer came, or room: while it is the same, who waits need not look again */
    struct via_miss *slot;
    uint32_t *bucket;
    uint32_t free, first, last; /* private: free slots; the queue of pages to ask for */
};

#define VIA_MISSES_MAX (1u << 24)

size_t via_misses_bytes(unsigned capacity); /* of storage, max-aligned */
/* -VIA_EINVAL: capacity is no power of two, or above VIA_MISSES_MAX. */
VIA_MUST_USE int via_misses_init(struct via_misses *, unsigned capacity, void *storage);

/*
 * Look all of n segments over, which need the same rights: each page that does not resolve, or lacks a right, goes in. since: `questions`
 * when who looks had come: only a no to one that was asked after that counts for him; a page with an older one is asked for once more.
 * 0: all resolve. -VIA_EAGAIN: some do not; *addr: the last page that was put in, or was there, so that looking again is worth while when
 * it is not pending any more (via_misses_pending; it is false at once when there was no room). -VIA_EFAULT: *addr was refused, or its
 * segment wraps; what comes after it was not looked at.
 */
VIA_MUST_USE int via_misses_collect(struct via_misses *, struct via_xlate *, const struct via_seg *seg, unsigned n, unsigned perm,
                                    uint64_t since, via_iova *addr);
/* Not answered, nor any right of it refused to who came then. */
bool via_misses_pending(const struct via_misses *, via_iova addr, uint64_t since);

/* The next page to ask for, in the order in which they came, or NULL; it counts as asked at now_ns. Valid until the next call. */
const struct via_miss *via_misses_next(struct via_misses *, uint64_t now_ns);
/*
 * Rights for [start, last] came. That answers each page of which it has a byte: who still misses asks again. But a page that lacks a right
 * that it was asked with is refused: asking again would not help. perm 0: no rights came, nor will any; what is still to be asked for is
 * refused, too.
 */
void via_misses_update(struct via_misses *, via_iova start, via_iova last, unsigned perm);
/* The front-end said no: to a page that was asked for at asked_ns or before, and still is pending. */
void via_misses_refuse(struct via_misses *, via_iova page, uint64_t asked_ns);
/* Of the pages asked for at asked_ns or before without being `sure`: those without an answer are to be asked for again, surely. The number.
 */
unsigned via_misses_again(struct via_misses *, uint64_t asked_ns);
/* Everybody who waited has looked: forget what was refused. */
void via_misses_forget(struct via_misses *);
/* Nobody waits any more: forget everything. */
void via_misses_clear(struct via_misses *);
/* When the page that has been waiting longest was asked for; UINT64_MAX: none is. */
uint64_t via_misses_oldest(const struct via_misses *);

#endif
