/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * turn: a guest turns secure while it runs, and back, in the room dma. Its memory is shared with the device at first, and buffers go the
 * open way (direct, say). From via_turn_begin on new requests go the closed way (bounce), and page after page becomes private, its content
 * kept, in steps between which I/O goes on. Pages that the device was told of, by requests in flight, are leased: they stay shared until
 * the last of these ends, and follow then. The device is told nothing: it never had a reason to look at what it loses.
 *
 * One thread owns a via_turn, all via_turn_dma over it, and the memory: nobody else touches a page while via_turn_step carries it.
 */
#ifndef VIADUCT_TURN_H
#define VIADUCT_TURN_H

#include <viaduct/protect.h>

struct via_turn_stats {
    uint64_t begun;           /* times */
    uint64_t secured, opened; /* pages carried: to private, to shared */
    uint64_t failed;          /* conversions that failed: what they were for was, or will be, tried again */
    size_t leased;            /* pages that requests in flight held when it last began */
    int error;                /* what the platform answered to the last one that failed; 0: none did */
};

struct via_turn {
    struct via_protect *protect;
    uint32_t *lease; /* a page: uses by mappings of the open way, and whether it is to last */
    struct via_span scratch;
    bool secure;        /* the goal */
    bool open;          /* new mappings go the open way */
    size_t left;        /* pages that are not as the goal has them */
    size_t next, again; /* the page to look at next, and after the last one; again == protect->pages: none */
    size_t maps[2];     /* requests mapped, by the open and the closed way */
    struct via_turn_stats stats;
};

/*
 * lease: a word for each page of protect's memory, zeroed. scratch: whole pages, elsewhere, that no device ever reaches: what is carried
 * lies there meanwhile, and so many pages are converted in one call at most. All of them are the caller's. Where all pages are shared now,
 * the goal is that; else, secure. -VIA_EINVAL: too few words, no whole page of scratch, or scratch in protect's memory.
 */
VIA_MUST_USE int via_turn_init(struct via_turn *, struct via_protect *, uint32_t *lease, size_t words, void *scratch, size_t scratch_len);
/*
 * These whole pages (rings, a pool) are the device's for good, whatever the goal; or they are pages like others again, and private after
 * later steps if the goal is secure. keep: -VIA_EINVAL unless they are whole pages of protect's memory, shared, none of which a failure
 * left in doubt. release: -VIA_EINVAL unless all of them were kept; first see to it that the device does not use them any more (maps[1] is
 * 0).
 */
VIA_MUST_USE int via_turn_keep(struct via_turn *, void *ptr, size_t len);
VIA_MUST_USE int via_turn_release(struct via_turn *, void *ptr, size_t len);
/*
 * Secure: from now on nothing is mapped the open way. Not secure: what is private becomes shared, and when all is, new mappings go the open
 * way. At any time, in the middle of turning to the other side, too.
 */
void via_turn_begin(struct via_turn *, bool secure);
/*
 * Try to carry n pages at most (or a few more, where one had failed before). Returns how many are left: 0 means done. Those that requests
 * hold are passed over; one that the platform failed to convert keeps its content, counts as shared, and is tried again in a later step.
 */
size_t via_turn_step(struct via_turn *, size_t n);
/* The goal is reached; secure: the device reaches the lasting pages, and not one byte of others. */
static inline bool via_turn_is_done(const struct via_turn *t) { return !t->left; }

enum { VIA_TURN_OPEN, VIA_TURN_CLOSED };

struct via_turn_dma { /* a queue's */
    struct via_dma dma;
    struct via_turn *turn;
    struct via_dma *way[2];
};

/*
 * open: gives addresses of the buffers themselves. closed: gives none but of lasting pages. Each mapping goes back the way it came.
 * map: as the way's own; open, -VIA_ERANGE as well: a page that is private, though it was not turned here. -VIA_ENOTSUP: a way whose
 * mappings use the upper half of via_mapping.way.
 */
void via_turn_dma_init(struct via_turn_dma *, struct via_turn *, struct via_dma *open, struct via_dma *closed);

#endif
