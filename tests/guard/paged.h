/* SPDX-License-Identifier: BSD-2-Clause */
/* paged: a guest whose device sees its memory through a page table: scattered frames, which move while requests are out. */
#ifndef VIADUCT_TESTS_GUARD_PAGED_H
#define VIADUCT_TESTS_GUARD_PAGED_H

#include "rig.h"

#define PAGE 4096u
#define PAGED_PAGES 160u
#define PAGED_SPARE 8u
#define PAGED_FRAMES (PAGED_PAGES + PAGED_SPARE)
#define PAGED_IOVA UINT64_C(0xffff00000000) /* of the first page */
#define PAGED_DATA RIG_QUEUES               /* pages from here on are for data, a ring's page each before */
#define PAGED_FRESH 0xc5                    /* in a buffer that waits for an answer */
#define PAGED_OWNED 0xee                    /* in a frame that has another owner now */

struct paged_request {
    size_t out, out_len, in, in_len; /* bytes into the view */
};

struct paged {
    struct via_client client;
    struct via_memory memory;
    uint8_t *view; /* the pages in the order of their I/O virtual addresses, as the driver sees them */
    unsigned at[PAGED_PAGES];
    uint8_t perm[PAGED_PAGES];
    unsigned spare[PAGED_SPARE]; /* frames of another owner */
    unsigned next_spare;
    bool deaf; /* misses stay in the channel, unless a wait for something else looks there */
    unsigned asked[PAGED_PAGES];
    const struct paged_request *last; /* that was answered */
    struct {
        struct via_vq vq;
        struct via_vq_slot slot[RIG_NUM];
        int kick, call;
    } ring[RIG_QUEUES];
};

bool paged_open(struct paged *, struct rig *);
void paged_close(struct paged *);
bool paged_ring_start(struct paged *, unsigned queue, bool anew);
static inline uint64_t paged_iova(size_t byte) { return PAGED_IOVA + byte; }
uint8_t *paged_frame(const struct paged *, unsigned frame);

/* The readable part is filled with what depends on `seed`, the writable one, and the rest of its pages, with PAGED_FRESH. */
bool paged_submit(struct paged *, unsigned queue, const struct paged_request *, unsigned seed);
/* Serve misses; 1: an answer came, and is right. 0: none within that time. Negative: wrong, or the connection was closed. */
int paged_wait(struct paged *, unsigned queue, int timeout_ms);
/* The same, for n answers, 5 s each. */
bool paged_done(struct paged *, unsigned queue, unsigned n);
bool paged_right(const struct paged *, const struct paged_request *);

bool paged_message(struct paged *, uint8_t type, uint64_t start, uint64_t size, bool wait);
/* A domain's flush as QEMU sends it: all but one window, up to 2^64 - 1. */
bool paged_flush(struct paged *);
/*
 * Page `page`, of a writable part, gets another frame: under the device (a flush of everything, or an invalidation), then under the driver.
 * Its old frame gets another owner.
 */
bool paged_move(struct paged *, unsigned page, bool wide);
/* No frame of another owner has a byte that is not his. */
bool paged_owners(const struct paged *);

#endif
