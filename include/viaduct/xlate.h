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
};

/*
 * Turn the start of [addr, addr + len) into host memory: span->len is between 1 and len, whatever is contiguous.
 * perm: all of these rights are needed. -VIA_EFAULT: nothing there, or not with these rights; len 0 or wrapping too.
 */
static inline VIA_MUST_USE int via_xlate_resolve(struct via_xlate *x, via_iova addr, uint64_t len, unsigned perm, struct via_span *span)
{
    return x->ops->resolve(x, addr, len, perm, span);
}

/* All of n segments, each with the same rights, as spans in order (adjacent ones are not merged across segments). Returns the number of
 * spans, -VIA_E2BIG: more than cap. -VIA_EFAULT as above. */
VIA_MUST_USE int via_xlate_map(struct via_xlate *, const struct via_seg *seg, unsigned n, unsigned perm, struct via_span *span,
                               unsigned cap);

/* Copy len bytes at a device address into private memory (an indirect table). 0 or -VIA_EFAULT. */
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

#endif
