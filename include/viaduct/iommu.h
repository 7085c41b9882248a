/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * iommu: the driver's side of an IOMMU, in the room dma. An allocator of I/O virtual addresses, a strategy that maps each request's
 * pages at such addresses, and one that maps whole pages and bounces the rest.
 *
 * An IOMMU knows pages, not bytes. While a buffer is mapped, the device reaches every byte of every page that the buffer touches;
 * whoever has other data on these pages puts via_hybrid in front.
 */
#ifndef VIADUCT_IOMMU_H
#define VIADUCT_IOMMU_H

#include <viaduct/dma.h>

/* ------------------------------------------------------------------ I/O virtual addresses */

struct via_iova_range { /* of addresses, both inclusive */
    uint64_t start, last;
};

#define VIA_IOVA_ORDERS 11u       /* ranges are aligned to their size in pages, rounded up to a power of two: up to 1024 pages */
#define VIA_IOVA_CACHED_ORDERS 6u /* sizes up to 32 pages come from a stack of ranges that were given back */
#define VIA_IOVA_CACHE 32u

struct via_iova_node { /* private: a page's */
    uint32_t next, prev;
    uint8_t state;
};

struct via_iova_space {
    unsigned shift;                 /* a page has 1 << shift bytes: the IOMMU's smallest */
    uint64_t first;                 /* number of the first page: its address >> shift */
    uint32_t pages;                 /* from there on */
    uint32_t usable;                /* of them outside of reserved windows */
    uint32_t largest;               /* most pages that one range can have, with all given back */
    uint32_t used, high_water;      /* pages given out; a range takes its size rounded up to a power of two, or to 1024s */
    uint32_t lost;                  /* pages in quarantine */
    struct via_iova_node *node;     /* the caller's */
    uint32_t free[VIA_IOVA_ORDERS]; /* lists of blocks by size */
    uint32_t cached[VIA_IOVA_CACHED_ORDERS];
    uint32_t cache[VIA_IOVA_CACHED_ORDERS][VIA_IOVA_CACHE];
};

struct via_iova_cfg {
    unsigned shift;                        /* 12 to 30 */
    struct via_iova_range range;           /* what to give out from; only whole pages of it are */
    uint64_t mask;                         /* the last address that the device can name */
    const struct via_iova_range *reserved; /* windows that are not to be given out (MSI doorbells, firmware's); any order */
    unsigned n_reserved;
};

/*
 * One owner: calls come from one thread at a time. node: the caller's, one for each page; the space is cut to the first `nodes` pages.
 * A common size (up to 32 pages) costs a handful of steps whatever the space holds; up to 1024 pages, as many as there are orders;
 * larger ranges are looked for one by one. -VIA_EINVAL: not a single page to give out, or a range that ends before it starts.
 */
VIA_MUST_USE int via_iova_init(struct via_iova_space *, const struct via_iova_cfg *, struct via_iova_node *node, size_t nodes);
/*
 * A range of so many pages. -VIA_EAGAIN: none is free now. -VIA_E2BIG: there never is, not even when everything is given back.
 * -VIA_EINVAL: 0 pages.
 */
VIA_MUST_USE int via_iova_alloc(struct via_iova_space *, uint64_t pages, via_iova *out);
/* Give a range back: exactly what an alloc gave, with the same number of pages. */
void via_iova_free(struct via_iova_space *, via_iova start, uint64_t pages);
/* The same range is never to be given out again: a device may still have it. */
void via_iova_quarantine(struct via_iova_space *, via_iova start, uint64_t pages);

/* ------------------------------------------------------------------ whoever programs the IOMMU */

/* What the device may do, and what kind of memory it is; virtio-iommu's own numbers (5.13.6.5). */
enum { VIA_IOMMU_READ = 1, VIA_IOMMU_WRITE = 2, VIA_IOMMU_MMIO = 4 };

struct via_domain;
struct via_iommu_ops { /* addresses are of whole pages, `last` is inclusive; 0 or a negative VIA_E* */
    /* When it returns 0, the device reaches [iova, last] at phys. When it fails, it doesn't matter what came to be: unmap follows. */
    int (*map)(struct via_domain *, uint64_t iova, uint64_t last, uint64_t phys, unsigned perm);
    /* Take out what is in [iova, last]: whole mappings, several or none. May be put off until flush, which then tells the failure. */
    int (*unmap)(struct via_domain *, uint64_t iova, uint64_t last);
    /* When it returns 0, nothing that was unmapped before is reached any more, accesses in flight included. */
    int (*flush)(struct via_domain *);
};
struct via_domain { /* one address space of an IOMMU, with one or more devices in it */
    const struct via_iommu_ops *ops;
};

/* ------------------------------------------------------------------ iommu: pages mapped for each request */

/*
 * STRICT: when unmap returns, the device reaches the request's pages no more. Costs an unmap and a flush a request.
 *
 * LAZY: unmap takes the pages out of the IOMMU's tables, but the flush waits: until stale_cap ranges wait for one, or until window_ns have
 * passed, or until addresses run out. Up to then a device with a stale translation still reads and writes the pages of requests that
 * have ended, whatever these pages hold by now: data just read may still change, and what the driver puts there next can be seen and
 * overwritten. So LAZY bounds what a device does by mistake, and keeps it from all memory that was not mapped lately; it does
 * not protect recent buffers against a device that means harm. An address is given out again only after the flush, so that a stale
 * translation never leads into another request's buffer by its new address.
 * How long: time is what via_iommu_dma_tick was told. A range counts as unmapped at the last tick before its unmap, and is flushed by the
 * first tick window_ns or more after that. With ticks at most T apart, the device has lost it at most window_ns + T after its unmap.
 *
 * IDENTITY: memory is mapped once, at its physical addresses, for reading and writing. Requests cost nothing, and nothing is kept
 * from the device but what lies outside.
 */
enum via_iommu_mode { VIA_IOMMU_STRICT, VIA_IOMMU_LAZY, VIA_IOMMU_IDENTITY };

struct via_iommu_stale { /* private: unmapped, not flushed yet */
    via_iova start;
    uint64_t pages;
};

struct via_iommu_cfg {
    enum via_iommu_mode mode;
    bool whole_pages;                    /* refuse (-VIA_ERANGE) what is not whole pages, instead of showing the device what is beside it */
    bool write_reads;                    /* writable buffers are readable too: for a pool, and for an IOMMU that can't do without */
    uint64_t window_ns;                  /* LAZY */
    const struct via_iova_range *memory; /* IDENTITY: physical ranges of whole pages to map; none: the domain lets everything through */
    unsigned n_memory;
    /* The following for STRICT and LAZY. */
    struct via_iova_space *space;
    struct via_seg *phys; /* scratch for a request's physical segments, before they become contiguous */
    unsigned phys_cap;
    struct via_iommu_stale *stale; /* ranges that wait for a flush; STRICT: 1 does, a request's ranges are flushed by so many at once */
    unsigned stale_cap;
};

struct via_iommu_stats {
    uint64_t maps, unmaps;
    uint64_t flushes;
    uint64_t full;        /* -VIA_EAGAIN answers for want of addresses */
    uint64_t failed;      /* unmaps and flushes that the IOMMU failed */
    uint64_t quarantined; /* pages of addresses that are never given out again because of that */
};

struct via_iommu_dma {
    struct via_dma dma;
    struct via_domain *domain;
    struct via_iommu_cfg cfg;
    unsigned waiting;        /* entries of stale */
    uint64_t now_ns, due_ns; /* the last tick; when the oldest entry is due */
    struct via_iommu_stats stats;
};

/*
 * next: gives physical segments. It keeps nothing for a mapping (direct, or window on it): but for IDENTITY it is asked, and let go, within
 * map. cfg is copied, what it points to stays the caller's. Several objects of one owner may share a space and a domain.
 *
 * Mapping: segments of which one ends and the next one begins with a page follow one another in one range of addresses, whatever their
 * physical ones; others take a range each. A buffer keeps its place in the page. -VIA_EAGAIN: no addresses; the owner's own unmaps
 * bring them back. Failures of the domain's map are handed on, all of the request is undone.
 * When the IOMMU fails an unmap or a flush, the device may still reach those pages: the addresses are not given out again, stats counts
 * it, and it is up to the owner to reset the device.
 * Beyond init of IDENTITY, which maps and hands on the domain's failure: -VIA_EINVAL.
 */
VIA_MUST_USE int via_iommu_dma_init(struct via_iommu_dma *, struct via_dma *next, struct via_domain *, const struct via_iommu_cfg *);
/*
 * Tell the time, in ns of any clock that does not go back; flush what is due. Returns when to call again at the latest: UINT64_MAX:
 * nothing waits. For LAZY; harmless for others.
 */
uint64_t via_iommu_dma_tick(struct via_iommu_dma *, uint64_t now_ns);
/* Flush now. 0: nothing that was unmapped is reached any more. A failure of the domain's is handed on. */
VIA_MUST_USE int via_iommu_dma_flush(struct via_iommu_dma *);

/* ------------------------------------------------------------------ hybrid: whole pages mapped, the rest bounced */

enum { VIA_HYBRID_SMALL, VIA_HYBRID_LARGE };

struct via_hybrid_part { /* private: one side's half of a mapping */
    struct via_mapping m;
    struct via_span *span;
    struct via_seg *seg;
};
struct via_hybrid_entry { /* private */
    struct via_hybrid_part part[2];
    uint16_t next_free;
};

struct via_hybrid {
    struct via_dma dma; /* next: large */
    struct via_dma *side[2];
    struct via_hybrid_entry *entry;
    uint16_t depth, free; /* free == depth: none */
    unsigned pieces, segs;
    uint32_t threshold; /* bytes */
    uint32_t page;      /* bytes */
    uint64_t full;      /* -VIA_EAGAIN answers for want of an entry */
    uint64_t bytes[2];  /* mapped by either side */
};

struct via_hybrid_cfg {
    struct via_dma *small; /* bounce */
    struct via_dma *large; /* iommu, with whole_pages */
    uint32_t threshold;    /* buffers of fewer bytes go through small as they are */
    uint32_t page;         /* bytes, a power of two: what large maps at once */
    uint16_t depth;        /* mappings at a time */
    uint16_t pieces;       /* a mapping, on either side: at most two a buffer */
    uint16_t segs;         /* that either side may need for its pieces */
};

/*
 * storage: via_hybrid_bytes, max-aligned, the caller's. A buffer of threshold bytes or more is cut at page boundaries: what is before the
 * first and behind the last goes through small, whole pages through large. The segments are in the order of the bytes, and `written`
 * counts over all of them. The device reaches no byte of a page that a buffer does not fill, as far as large keeps to whole pages.
 * map: -VIA_EAGAIN: a side's, or depth mappings are there. -VIA_E2BIG: a side's, or more pieces or segments than there is room for.
 * -VIA_ERANGE: a side's, or large answered with segments that are not whole pages (memory whose physical pages lie otherwise).
 */
size_t via_hybrid_bytes(const struct via_hybrid_cfg *);
VIA_MUST_USE int via_hybrid_init(struct via_hybrid *, const struct via_hybrid_cfg *, void *storage);

#endif
