/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * private: memory of which others reach only what is shared, in the room host. The operating system enforces it: a guest's memory where it
 * runs as a process of Linux.
 *
 * There is one shared backing, a memfd as long as the memory, whose descriptor is what others get, and there is the owner's view of the
 * memory, in which each page shows either the backing or a page of this process alone. Where a page is private, the backing has a hole:
 * whoever has the descriptor finds zeroes, and what he writes there the owner never sees. That holds whether the host knows of it or not;
 * one that does is told of each conversion, so that an access to a private page is a fault with a reason and not a page of zeroes.
 *
 * A forked child has the shared pages, and faults where the others are; a core dump tells nothing of them.
 */
#ifndef VIADUCT_PRIVATE_H
#define VIADUCT_PRIVATE_H

#include <viaduct/host.h>
#include <viaduct/iommu.h>
#include <viaduct/protect.h>
#include <viaduct/xlate.h>

/* A host that knows which pages are shared. */
struct via_private_host {
    /*
     * n pages from number `page` on are about to become shared, or private. Called before the memory changes, either way round; of pages
     * that become private, whoever this speaks for touches nothing any more when it returns 0. A failure: *done of them are as told, the
     * next one is in doubt, the others are as they were. Pages may be told of again that are so already.
     */
    int (*tell)(struct via_private_host *, size_t page, size_t n, bool shared, size_t *done);
};

struct via_private_cfg {
    const char *name; /* the memfd's */
    size_t len;       /* bytes, whole pages */
    bool shared;      /* all pages are shared at first; else private */
    size_t pieces;    /* at most so many pieces, in turn shared and private; 0: half of what the kernel lets this process map */
};

struct via_private {
    struct via_protect protect; /* what converts: via_protect_share(&m.protect, ...) and so on */
    /*
     * NULL: the guest alone knows. The owner's to set, before a conversion that it is to be told of. When memory can't follow what it was
     * told, it is told that it was for nothing; if that fails, too, it may take private pages for shared ones and find zeroes there, or be
     * strict where it need not.
     */
    struct via_private_host *host;
    struct via_memory memory;  /* fd: the shared backing, for others; ptr, len: the view */
    uint8_t *own;              /* private: pages of our own, one for each of the view */
    uint64_t *shows;           /* private: a bit a page, set: the view shows the backing */
    size_t pieces, pieces_max; /* of the view: a mapping each, which the kernel allows a process so many of */
    struct via_err why;        /* of the last conversion that failed */
};

/*
 * Results of conversions beyond via_protect's: -VIA_ENOSPC: the view would be in too many pieces; what the kernel says otherwise. `why`
 * has the sentence. -VIA_EINVAL here: a length that is not whole pages. The object must not move.
 */
VIA_MUST_USE int via_private_create(struct via_private *, const struct via_private_cfg *, struct via_err *);
void via_private_destroy(struct via_private *);

/* ------------------------------------------------------------------ the device's side, in a process that has the descriptor */

struct via_private_view_cfg {
    int fd;        /* the shared backing; the caller's, and no longer needed when it is open */
    size_t len;    /* bytes */
    uint64_t base; /* the device's address of the first one, but for the bit */
    struct via_address_bit bit;
    bool knows;  /* it is told what is shared: its `host` is set as some memory's */
    bool shared; /* which at first is all; else nothing */
};

/*
 * xlate: an address has to say that it is shared, where a bit tells; it is masked here, and nowhere else on this side. -VIA_EFAULT for
 * others and, with `knows`, for private pages: `fault` has the first reason, until it is cleared. One thread's: `host` is told on it, too.
 */
struct via_private_view {
    struct via_xlate xlate;
    struct via_private_host host;
    struct via_mapped mapped;
    struct via_private_view_cfg cfg;
    uint64_t *shared; /* private: a bit a page; NULL: it does not know */
    struct via_fault fault;
    uint64_t refused; /* accesses */
};
/* -VIA_EINVAL: not whole pages, or addresses that wrap or reach the bit; else via_mapped_open's. The object must not move. */
VIA_MUST_USE int via_private_view_open(struct via_private_view *, const struct via_private_view_cfg *, struct via_err *);
void via_private_view_close(struct via_private_view *);

/*
 * ------------------------------------------------------------------ devices elsewhere, by their IOMMU
 *
 * A host that knows, for devices in other processes: shared pages are mapped in their domain (via_front_domain: IOTLB messages) and private
 * ones are not, so that an access to one is a fault of the IOMMU. A page is private when the domain was flushed: requests in flight had
 * their time until then.
 *
 * A failure is of the whole run. When a flush fails, pages of it that count as shared still are out of the domain: a device that can't be
 * told what it may not touch any more finds nothing there.
 */
struct via_private_domain {
    struct via_private_host host;
    struct via_domain *domain;
    uint64_t iova, phys; /* of the memory's first page */
};
/* All pages are private now: none is mapped. Addresses are whole pages and don't wrap within the memory. */
void via_private_domain_init(struct via_private_domain *, struct via_domain *, uint64_t iova, uint64_t phys);

#endif
