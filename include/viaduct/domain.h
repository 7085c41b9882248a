/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * domain: the front-end's IOMMU for vhost-user back-ends (ACCESS_PLATFORM). A domain is one address space; the back-ends in it are its
 * endpoints, each with a cache of the translations that it asked for. Whoever maps and unmaps (via_iommu_dma) sees a via_domain.
 *
 * What it protects against: a back-end reaches memory by the descriptors that came with via_client_share, not by translations. So a domain
 * bounds what a back-end does that keeps to the protocol: mistakes of its own, and addresses that a driver got wrong. One that means harm
 * is bounded by what it was given descriptors of, and by nothing here.
 */
#ifndef VIADUCT_DOMAIN_H
#define VIADUCT_DOMAIN_H

#include <viaduct/iommu.h>
#include <viaduct/vhost.h>

#define VIA_FRONT_ENDPOINTS 8u /* in a domain */
#define VIA_FRONT_WIDE 16u     /* wide mappings of a domain */

struct via_front_domain;

struct via_endpoint {                /* a back-end that may be in a domain */
    struct via_client client;        /* the owner's to connect, negotiate and close */
    struct via_front_domain *domain; /* NULL: in none */
    unsigned bit;                    /* private: among the holders of a translation */
    uint64_t round, first, end;      /* private: the pages that were last sent to answer a miss, and the round that it was of */
    uint64_t updates, invalidates;   /* messages sent */
    uint64_t refused; /* misses of what is not mapped, or not with these rights. A back-end's question may be late: no more than a hint of a
                         fault */
};

struct via_front_page { /* private */
    uint64_t word;      /* the user address of a page; its rights, and who holds it, in the low bits */
};

struct via_front_wide { /* private; one without rights and holders is free */
    uint64_t iova, last, uva;
    uint8_t perm, held;
};

struct via_front_domain_cfg {
    const struct via_vu_region *memory; /* what the endpoints are given by via_client_share: of whole pages; the caller's */
    unsigned n_memory;
    unsigned shift;              /* a page has 1 << shift bytes; 12 to 30 */
    struct via_iova_range range; /* of whole pages: what is mapped page by page. start above last: nothing is. */
    bool push;                   /* a translation is sent when it is mapped, not when it is asked for */
};

struct via_front_domain {
    struct via_domain domain;
    struct via_front_domain_cfg cfg;
    struct via_front_page *page;
    uint64_t pages;
    uint64_t stale_first, stale_end; /* pages unmapped since the last flush are among these */
    struct via_front_wide wide[VIA_FRONT_WIDE];
    struct via_endpoint *endpoint[VIA_FRONT_ENDPOINTS];
};

/*
 * page: one for each page of cfg->range; the caller's. One owner: a domain and its endpoints are one thread's.
 *
 * Mappings within cfg->range are the changing ones: the table has a word a page for them. They are sent when an endpoint misses them, as
 * much of their neighbourhood along as continues them with the same rights (up to 512 pages), or when they are mapped, with cfg->push.
 * Mappings outside of it are few and wide (memory as a whole, rings, a pool): they are sent at once, to an endpoint that comes later when
 * it comes, so that they are never missed.
 *
 * map: -VIA_ERANGE: not in cfg->memory. -VIA_EEXIST: mapped already. -VIA_EBUSY: unmapped, but not flushed. -VIA_ENOSPC:
 * too many wide mappings. -VIA_EINVAL: no whole pages, no known rights, or half within cfg->range.
 * unmap: takes mappings out of the table, so that misses are refused from then on. It sends nothing; wide mappings go as a whole.
 * flush: sends invalidations of what was unmapped since, to those endpoints that may hold some of it, and waits for their answers. Ranges
 * that only unmapped pages lie between become one. It fails when an endpoint does, and is done with the others; what the failed one may
 * hold is not mapped again, and each flush fails, until via_endpoint_detach.
 *
 * -VIA_EINVAL: cfg is not as said there.
 */
VIA_MUST_USE int via_front_domain_init(struct via_front_domain *, const struct via_front_domain_cfg *, struct via_front_page *page,
                                       size_t pages);

/*
 * Put a back-end into the domain, after via_client_share and before its rings are started; its client.miss is set. It holds all
 * wide mappings when this returns. -VIA_ENOTSUP: ACCESS_PLATFORM was not accepted, or there is no channel for its misses. -VIA_ENOSPC:
 * VIA_FRONT_ENDPOINTS are there. Other failures are the client's; the endpoint is in no domain then.
 */
VIA_MUST_USE int via_endpoint_attach(struct via_endpoint *, struct via_front_domain *, struct via_err *err);
/*
 * Take it out. It is told nothing: its rings were stopped, or it is gone; whatever it holds is forgotten. Idempotent.
 */
void via_endpoint_detach(struct via_endpoint *);

#endif
