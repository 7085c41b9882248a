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

#endif
