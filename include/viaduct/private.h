/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * private: memory of which others reach only what is shared, in the room host. The operating system enforces it: a guest's memory where it
 * runs as a process of Linux.
 *
 * There is one shared backing, a memfd as long as the memory, whose descriptor is what others get, and there is the owner's view of the
 * memory, in which each page shows either the backing or a page of this process alone. Where a page is private, the backing has a hole:
 * whoever has the descriptor finds zeroes, and what he writes there the owner never sees. The other side is told nothing.
 *
 * A forked child has the shared pages, and faults where the others are; a core dump tells nothing of them.
 */
#ifndef VIADUCT_PRIVATE_H
#define VIADUCT_PRIVATE_H

#include <viaduct/host.h>
#include <viaduct/protect.h>

struct via_private_cfg {
    const char *name; /* the memfd's */
    size_t len;       /* bytes, whole pages */
    bool shared;      /* all pages are shared at first; else private */
    size_t pieces;    /* at most so many pieces, in turn shared and private; 0: half of what the kernel lets this process map */
};

struct via_private {
    struct via_protect protect; /* what converts: via_protect_share(&m.protect, ...) and so on */
    struct via_memory memory;   /* fd: the shared backing, for others; ptr, len: the view */
    uint8_t *own;               /* private: pages of our own, one for each of the view */
    uint64_t *shows;            /* private: a bit a page, set: the view shows the backing */
    size_t pieces, pieces_max;  /* of the view: a mapping each, which the kernel allows a process so many of */
    struct via_err why;         /* of the last conversion that failed */
};

/*
 * Results of conversions beyond via_protect's: -VIA_ENOSPC: the view would be in too many pieces; what the kernel says otherwise. `why`
 * has the sentence. -VIA_EINVAL here: a length that is not whole pages. The object must not move.
 */
VIA_MUST_USE int via_private_create(struct via_private *, const struct via_private_cfg *, struct via_err *);
void via_private_destroy(struct via_private *);

#endif
