/* SPDX-License-Identifier: BSD-2-Clause */
/* shared: the one region that a back-end gets: [shadow rings, queue by queue | pool]. */
#ifndef VIADUCT_GUARD_SHARED_H
#define VIADUCT_GUARD_SHARED_H

#include <viaduct/dma.h>
#include <viaduct/host.h>
#include <viaduct/ring.h>

#define VIA_GUARD_NUM_MAX 1024u /* largest queue size */
#define VIA_GUARD_TABLE 130u    /* descriptors in an indirect table: longer chains take direct descriptors */

struct via_guard_shared {
    struct via_memory memory;
    size_t ring_bytes; /* of one queue's area */
    unsigned queues;
    struct via_phys_range range; /* the region as the back-end addresses it: from 0 on */
    struct via_direct direct;
    struct via_pool pool;
    _Atomic uint64_t *free;
};

VIA_MUST_USE int via_guard_shared_open(struct via_guard_shared *, unsigned queues, size_t pool_bytes, struct via_err *err);
void via_guard_shared_close(struct via_guard_shared *);

/* What the back-end is told of it: device addresses count from its start, user addresses are this process's own. */
struct via_vu_region via_guard_shared_region(const struct via_guard_shared *);
/* Zero queue `index`'s area and lay a ring of `num` out in it; *slot stays the caller's. */
VIA_MUST_USE int via_guard_shared_ring(struct via_guard_shared *, unsigned index, unsigned num, struct via_vq_cfg *cfg);
#endif
