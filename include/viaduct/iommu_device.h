/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * iommu_device: the IOMMU device (virtio v1.4 5.13), in the room device. Two devices for two pumps, the request queue's and the event
 * queue's, and for each endpoint an xlate: what the device at that endpoint may touch, by the driver's mappings.
 *
 * One owner: the pumps, the endpoints' xlates and all calls here are one thread's. The queues' own pumps translate by the memory map; they
 * are not behind the IOMMU.
 *
 * What a driver can take up is bounded by the quotas in the configuration. Each is answered with NOMEM, or makes the queue wait.
 */
#ifndef VIADUCT_IOMMU_DEVICE_H
#define VIADUCT_IOMMU_DEVICE_H

#include <viaduct/device.h>

struct via_iommu_device;
struct via_iommu_endpoint;
struct via_iommu_domain;
struct via_iommu_mapping;

struct via_iommu_wait { /* a request that is not answered before accesses have ended */
    struct via_iommu_device *device;
    struct via_req *req; /* NULL: nobody waits for the answer any more */
    unsigned count;      /* of endpoints whose accesses go on */
    uint8_t status;
    struct via_iommu_wait *next;
};

struct via_iommu_device_ops {
    /*
     * The endpoint has lost its translations of [start, last], or they lead elsewhere; its xlate says so already, and has a new generation.
     * 0: nothing reaches anything by the old ones any more. -VIA_EAGAIN: accesses are under way, or are not known to have ended;
     * via_iommu_device_revoked is to be called once, later, with this wait. The driver's request is answered after that. Any other failure:
     * they can't be ended; the request is answered with DEVERR.
     */
    int (*revoke)(struct via_iommu_device *, struct via_iommu_endpoint *, uint64_t start, uint64_t last, struct via_iommu_wait *);
};

struct via_iommu_window { /* addresses that can't be mapped (5.13.6.8.1), inclusive */
    uint64_t start, last;
    bool msi; /* a doorbell of message-signalled interrupts; one an endpoint at most */
};

struct via_iommu_endpoint { /* the caller's, and stays where it is; it fills in the upper part */
    uint32_t id;
    const struct via_iommu_window *window; /* the caller's */
    unsigned n_windows;
    struct via_xlate *next; /* guest-physical memory; whoever takes some of it away adds 1 to this xlate's generation, too */
    struct via_xlate xlate; /* for the device at this endpoint */
    /* private */
    struct via_iommu_device *device;
    struct via_iommu_domain *domain; /* NULL: not attached */
    struct via_iommu_endpoint *peer; /* the next one in the domain */
    struct via_iommu_fault told;     /* the last fault that was reported ... */
    uint64_t told_generation;        /* ... and when */
};

struct via_iommu_device_cfg {
    uint64_t page_size_mask;                /* not 0 */
    uint64_t input_start, input_last;       /* addresses that can be mapped; 0 and UINT64_MAX: all */
    uint32_t domain_start, domain_last;     /* 0 and UINT32_MAX: all */
    uint32_t probe_size;                    /* bytes for properties, 24 a window; 0: PROBE is not offered */
    bool bypass;                            /* what the field `bypass` is after a system reset */
    bool mmio;                              /* offer MMIO: mappings of device registers, which `next` resolves or refuses */
    uint32_t endpoints;                     /* at most */
    uint32_t domains, mappings;             /* quotas: of all there are at a time */
    uint32_t waits;                         /* requests that wait for accesses to end; when they are used up the request queue waits */
    uint32_t faults;                        /* reports kept while the driver has no buffer for them; others are dropped */
    uint32_t buffers;                       /* of the event queue, taken at a time */
    const struct via_iommu_device_ops *ops; /* NULL: endpoints touch memory only while they resolve; nothing is ever waited for */
};

struct via_iommu_device {
    struct via_device requests, events; /* for the pumps of queues 0 and 1 */
    struct via_iommu_device_cfg cfg;
    /* Accepted by the driver: the owner sets it when negotiation is done, and clears it on reset. */
    uint64_t features;
    bool bypass; /* the field of config space */
    uint32_t n_endpoints, n_domains, n_mappings;
    uint64_t answers[VIA_IOMMU_S_NOMEM + 1]; /* requests answered, by status */
    uint64_t unparsed;                       /* returned without a byte */
    uint64_t reported, dropped;              /* faults */
    /* private */
    struct via_tree_pool nodes;
    struct via_tree by_id, by_domain; /* endpoints, domains */
    struct via_iommu_endpoint **endpoint;
    struct via_iommu_domain *domain, *free_domain;
    struct via_iommu_mapping *mapping;
    uint32_t free_mapping, fresh_mapping;
    struct via_iommu_wait *wait, *free_wait;
    struct via_iommu_wait own; /* for what no request asked for */
    struct via_iommu_fault *fault;
    uint32_t fault_first, n_faults;
    struct via_req **buffer;
    uint32_t buffer_first, n_buffers;
};

/*
 * storage: via_iommu_device_bytes, max-aligned, the caller's. -VIA_EINVAL: an empty page_size_mask, a range that ends before it starts or
 * holds no whole page, or a quota of 0. cfg is copied.
 */
size_t via_iommu_device_bytes(const struct via_iommu_device_cfg *);
VIA_MUST_USE int via_iommu_device_init(struct via_iommu_device *, const struct via_iommu_device_cfg *, void *storage);
/*
 * An endpoint more. -VIA_EEXIST: its id is there. -VIA_ENOSPC: cfg.endpoints are there. -VIA_EINVAL: windows that overlap, end before they
 * start, are two doorbells, or are more than probe_size has room for (where PROBE is offered).
 */
VIA_MUST_USE int via_iommu_device_add(struct via_iommu_device *, struct via_iommu_endpoint *);

uint64_t via_iommu_device_features(const struct via_iommu_device *); /* offered, the device type's own bits */
/* Read config space; bytes beyond its end are 0. */
void via_iommu_device_config(const struct via_iommu_device *, uint32_t offset, void *out, uint32_t len);
/*
 * The driver writes config space. 0: done. -VIA_EAGAIN: done, and accesses of endpoints that were in bypass mode are still to end
 * (via_iommu_device_settled). -VIA_EIO: as of reset. -VIA_EINVAL: not a field that can be written, a value other than 0 and 1, or
 * BYPASS_CONFIG was not accepted: nothing changed.
 */
VIA_MUST_USE int via_iommu_device_config_write(struct via_iommu_device *, uint32_t offset, const void *data, uint32_t len);
/*
 * The device is reset: no endpoint is attached, no domain is there, requests and event buffers are forgotten. Call it before the pumps are
 * set up anew. system: the field `bypass` gets its first value again, too. 0, or -VIA_EAGAIN: accesses are still to end; the driver should
 * not see the reset done before via_iommu_device_settled. -VIA_EIO: a revoke failed, there are accesses that can't be ended.
 */
VIA_MUST_USE int via_iommu_device_reset(struct via_iommu_device *, bool system);
/* All accesses have ended which a reset or a write of config space took the ground from. */
bool via_iommu_device_settled(const struct via_iommu_device *);
/* What a revoke answered -VIA_EAGAIN for has ended; result: 0, or a failure as of revoke. Then run and flush the request queue's pump. */
void via_iommu_device_revoked(struct via_iommu_wait *, int result);

struct via_iommu_place { /* device addresses that lie together in guest-physical memory, and what may be done there */
    uint64_t start, last;
    via_gpa gpa;   /* of start */
    unsigned perm; /* VIA_PERM_* */
};
/*
 * Where an address leads; for a front-end that answers a back-end's misses. The endpoint's xlate is this, and `next`. -VIA_EFAULT: nowhere,
 * or not with all of these rights; the driver is told on the event queue (flush its pump), the same fault once until something changes.
 */
VIA_MUST_USE int via_iommu_endpoint_find(struct via_iommu_endpoint *, via_iova addr, unsigned perm, struct via_iommu_place *out);

#endif
