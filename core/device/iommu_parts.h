/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the IOMMU device share: its domains and mappings. */
#ifndef VIA_DEVICE_IOMMU_PARTS_H
#define VIA_DEVICE_IOMMU_PARTS_H

#include <viaduct/iommu_device.h>

#include <string.h>

#include "../xlate/tree.h"

struct via_iommu_mapping {
    uint64_t start, last, phys;
    uint32_t next; /* free ones */
    uint8_t flags; /* VIA_IOMMU_MAP_F_* */
};

struct via_iommu_domain { /* one that exists has an endpoint at least */
    uint32_t id;
    bool bypass;
    struct via_iommu_endpoint *endpoint; /* list */
    struct via_tree tree;                /* mappings, by their start */
    struct via_iommu_domain *next;       /* free ones */
};

_Static_assert((int)VIA_PERM_R == (int)VIA_IOMMU_MAP_F_READ && (int)VIA_PERM_W == (int)VIA_IOMMU_MAP_F_WRITE, "the same numbers");

/* ------------------------------------------------------------------ tables: domains and mappings (iommu_tables.c) */

/* NULL: there is none. */
struct via_iommu_endpoint *via_iommu_endpoint_get(const struct via_iommu_device *, uint32_t id);
struct via_iommu_domain *via_iommu_domain_get(const struct via_iommu_device *, uint32_t id);
/* NULL: the quota is used up. */
struct via_iommu_domain *via_iommu_domain_new(struct via_iommu_device *, uint32_t id, bool bypass);
void via_iommu_domain_enter(struct via_iommu_domain *, struct via_iommu_endpoint *);
/* The domain that the endpoint is in ceases to exist when it was the last one there. */
void via_iommu_domain_leave(struct via_iommu_endpoint *);
/* The first mapping with an address in [start, last]; NULL: there is none. */
struct via_iommu_mapping *via_iommu_mapping_first(const struct via_iommu_device *, const struct via_iommu_domain *, uint64_t start,
                                                  uint64_t last);
/* The mapping that holds this address, NULL: none. */
struct via_iommu_mapping *via_iommu_mapping_at(const struct via_iommu_device *, const struct via_iommu_domain *, uint64_t addr);
/* False: the quota is used up. It must overlap none. */
VIA_MUST_USE bool via_iommu_mapping_add(struct via_iommu_device *, struct via_iommu_domain *, const struct via_iommu_mapping *);
void via_iommu_mapping_remove(struct via_iommu_device *, struct via_iommu_domain *, struct via_iommu_mapping *);

/* ------------------------------------------------------------------ answers, and the end of accesses (iommu_revoke.c) */

/* Answer a request whose tail stands behind `before` writable bytes, which were filled. */
void via_iommu_answer(struct via_iommu_device *, struct via_req *, size_t before, uint8_t status);
/* Between start and end of a wait, revocations are added to it. It ends, and answers req (NULL: nobody), when the last of them has. */
void via_iommu_wait_start(struct via_iommu_wait *, struct via_req *req);
void via_iommu_wait_end(struct via_iommu_wait *);
/* Translations of [start, last] are gone for an endpoint. */
void via_iommu_revoke(struct via_iommu_endpoint *, uint64_t start, uint64_t last, struct via_iommu_wait *w);

/* ------------------------------------------------------------------ requests (iommu.c) */

extern const struct via_device_ops via_iommu_request_ops;

/* ------------------------------------------------------------------ faults (iommu_fault.c) */

extern const struct via_device_ops via_iommu_event_ops;
void via_iommu_fault_raise(struct via_iommu_endpoint *, unsigned reason, unsigned perm, uint64_t addr);

#endif
