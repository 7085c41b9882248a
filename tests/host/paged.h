/* SPDX-License-Identifier: BSD-2-Clause */
/* paged: a front-end whose device sees its memory through a page table: scattered, changing, answered for when asked. */
#ifndef VIADUCT_TESTS_PAGED_H
#define VIADUCT_TESTS_PAGED_H

#include "vhost_rig.h"

#define PAGED_NUM 1024u /* descriptors: areas of several pages */
#define PAGED_PAGE 4096u
#define PAGED_PAGES 256u
#define PAGED_IOVA UINT64_C(0xffff00000000) /* of the first page */
#define PAGED_RING 16u                      /* pages of the ring; data behind */

struct paged {
    struct via_client client;
    struct via_memory memory;
    uint8_t *view;                                  /* the pages in the order of their I/O virtual addresses, as the driver sees them */
    unsigned at[PAGED_PAGES];                       /* where in memory a page is */
    uint8_t perm[PAGED_PAGES];                      /* 0: not mapped */
    bool deaf;                                      /* misses stay in the channel, unless a wait for something else looks there */
    unsigned asked[PAGED_PAGES];                    /* misses that came for it */
    void (*between)(struct paged *, unsigned page); /* after a miss was judged, before the answer goes out; or NULL */
    struct via_vq vq;
    struct via_vq_slot slot[PAGED_NUM];
    int kick, call;
    unsigned answers, empty; /* used chains taken; of them with nothing in them */
};

/* A connection with ACCESS_PLATFORM, memory shared, every page mapped to another place. */
bool paged_open(struct paged *, struct rig *, uint64_t protocol);
void paged_close(struct paged *);
bool paged_tell(struct paged *, unsigned page);  /* send its translation unasked */
bool paged_remap(struct paged *, unsigned page); /* at[page] changed: for the driver, too */
bool paged_start(struct paged *, uint16_t base);
static inline uint64_t paged_iova(unsigned page) { return PAGED_IOVA + (uint64_t)page * PAGED_PAGE; }
/* A request of n pages to read and one to write, from page `first` on. */
bool paged_submit(struct paged *, unsigned first, unsigned n);
/* Serve misses, take answers; until n more of these came, 5 s at most. */
bool paged_done(struct paged *, unsigned n);
/* Serve misses and take answers for so long. */
void paged_serve(struct paged *, int ms);
bool paged_invalidate(struct paged *, uint64_t start, uint64_t size, bool wait);

#endif
