/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * iommu_driver: the driver of an IOMMU device (virtio v1.4 5.13), in the room driver. It gives domains for via_iommu_dma (iommu.h).
 *
 * Calls wait for the device, by a hook of the owner's. An IOMMU is trusted with what others may reach, but not with our own steps: whatever
 * it answers, a call ends when the hook says so, and nothing is touched but what it was given.
 *
 * One owner: all calls on one object, its domains included, come from one thread at a time.
 */
#ifndef VIADUCT_IOMMU_DRIVER_H
#define VIADUCT_IOMMU_DRIVER_H

#include <viaduct/iommu.h>
#include <viaduct/ring.h>
#include <viaduct/spec.h>

struct via_iommu_driver;
struct via_iommu_slot;

struct via_iommu_driver_ops {
    void (*kick)(struct via_iommu_driver *, enum via_iommu_queue); /* the device wants to be told that buffers are available */
    /* Nothing was answered since: wait for an interrupt (arm the queue first), or a moment. Negative: give the device up for dead. Neither
     * of the two calls anything here. */
    int (*relax)(struct via_iommu_driver *);
};

struct via_iommu_wire { /* a request, in memory that dma can map */
    union {
        struct via_iommu_head head;
        struct via_iommu_attach attach;
        struct via_iommu_detach detach;
        struct via_iommu_map map;
        struct via_iommu_unmap unmap;
        uint8_t room[64];
    } u;
};

struct via_iommu_driver_cfg {
    const struct via_iommu_driver_ops *ops;
    struct via_vq *requests, *events; /* events NULL: faults are not listened for */
    struct via_dma *dma;              /* for what lies on these queues; the device is not behind itself */
    uint64_t features;                /* accepted: via_iommu_driver_features of those offered */
    struct via_iommu_config config;   /* as read once; what the device changes later is not looked at */
    uint16_t depth;                   /* requests at a time */
    struct via_iommu_wire *wire;      /* depth of them */
    void *probe;                      /* for PROBE: via_iommu_driver_probe_bytes, where dma can map; the caller's, as wire and fault are */
    size_t probe_bytes;               /* what is there */
    uint16_t faults;                  /* buffers on the event queue */
    struct via_iommu_fault *fault;    /* so many, where dma can map */
};

struct via_iommu_driver {
    struct via_iommu_driver_cfg cfg;
    int dead;               /* 0, or what each call says from now on */
    struct via_fault fault; /* what was wrong with the device first */
    uint64_t page;          /* bytes: the smallest that can be mapped */
    uint64_t input_start, input_last;
    uint32_t domain_start, domain_last;
    uint32_t probe_size;
    uint64_t requests; /* answered */
    uint64_t ignored;  /* reports of faults that mean nothing */
    struct via_iommu_slot *slot, *free;
    struct via_iommu_slot *idle; /* event buffers that are not on the queue */
};

/* Of the features that the device offers, those to accept: all that this driver can use. Not BYPASS, which lets endpoints do as they like.
 */
uint64_t via_iommu_driver_features(uint64_t offered);
/* How much memory PROBE takes: the request, the device's probe_size, and the answer. */
size_t via_iommu_driver_probe_bytes(const struct via_iommu_config *);
/* Private storage, max-aligned, the caller's. */
size_t via_iommu_driver_bytes(unsigned depth, unsigned faults);
/*
 * The device is running. cfg is copied. -VIA_ENOTSUP: the device has no MAP_UNMAP. -VIA_EPROTO: its configuration makes no sense (fault
 * tells). -VIA_EINVAL: something is missing, a depth of 0 included. -VIA_ENOSPC: PROBE was accepted and probe_bytes are too few.
 */
VIA_MUST_USE int via_iommu_driver_init(struct via_iommu_driver *, const struct via_iommu_driver_cfg *, void *storage);
/*
 * The device was reset, or is gone for good: give back what its requests hold. Before that, the storage of a request that was never
 * answered is not touched again. Afterwards each call fails until the object is initialised anew, and its domains after it.
 */
void via_iommu_driver_end(struct via_iommu_driver *);

/*
 * What the calls below answer, beside their own: 0. -VIA_ENODEV: the device was given up. -VIA_EPROTO: it answered nonsense; when the queue
 * itself is broken, each later call says so again. -VIA_ENOTSUP, -VIA_EINVAL, -VIA_ERANGE, -VIA_ENOENT, -VIA_EFAULT: its statuses; so is
 * -VIA_EIO (IOERR, DEVERR), and -VIA_EAGAIN (NOMEM, or no room for the request in dma). ENOTSUP stands for no answer at all, too, which is
 * how a device says that it does not know the request. What failed may have happened or not.
 */

struct via_iommu_windows {        /* addresses that an endpoint can't have mapped (5.13.6.8.1) */
    struct via_iova_range *range; /* the caller's */
    unsigned cap, n;
    int doorbell; /* which one takes message-signalled interrupts; -1: none, so that a mapping with VIA_IOMMU_MMIO has to */
};
/*
 * Ask for an endpoint's windows; they are appended to w (range, cap and n set by the caller, doorbell by us): endpoints that share a domain
 * share a list. To be done before it is attached (5.13.5.1); without the feature there are none. -VIA_E2BIG: more than fit.
 * -VIA_EPROTO: properties that don't fit into one another, or a window that ends before it starts: what can't be mapped is not known then.
 */
VIA_MUST_USE int via_iommu_driver_probe(struct via_iommu_driver *, uint32_t endpoint, struct via_iommu_windows *w);

struct via_iommu_driver_domain {
    struct via_domain domain; /* for via_iommu_dma */
    struct via_iommu_driver *driver;
    uint32_t id;
    bool bypass; /* addresses are physical ones; nothing can be mapped */
    const struct via_iommu_windows *windows;
    unsigned pending; /* private: unmaps that are not answered */
    int failed;       /* private: the first failure among them since the last flush */
};
/*
 * A domain, which comes to be at the device when an endpoint is attached, and ceases when the last one is detached. windows: those of
 * all its endpoints; the caller's, as the object is, which stays where it is until its last unmap was flushed. -VIA_ERANGE: not a number
 * that the device takes. -VIA_ENOTSUP: it can't bypass.
 *
 * Its map waits for the device's answer. Its unmap puts a request on the queue; flush shows them all to the device at once, and waits.
 * -VIA_EINVAL, without asking the device: an empty range, or a bypass domain. -VIA_ERANGE: addresses that are not whole pages, outside of
 * the device's range or in a window. -VIA_ENOTSUP: VIA_IOMMU_MMIO, which the device does not know.
 */
VIA_MUST_USE int via_iommu_driver_domain(struct via_iommu_driver_domain *, struct via_iommu_driver *, uint32_t id, bool bypass,
                                         const struct via_iommu_windows *windows);
/* Endpoints that can't be isolated from one another belong into one domain (5.13.6.3.1): the caller knows which. */
VIA_MUST_USE int via_iommu_driver_attach(struct via_iommu_driver_domain *, uint32_t endpoint);
VIA_MUST_USE int via_iommu_driver_detach(struct via_iommu_driver_domain *, uint32_t endpoint);
/*
 * What via_iova_init needs: pages, range and windows of a domain; mask is the last address that the endpoints can name. -VIA_ENOTSUP:
 * pages of more than 1 GiB.
 */
VIA_MUST_USE int via_iommu_driver_iova(const struct via_iommu_driver_domain *, uint64_t mask, struct via_iova_cfg *out);

struct via_iommu_report {
    enum via_iommu_fault_reason reason;
    unsigned perm; /* VIA_IOMMU_READ, VIA_IOMMU_WRITE: what the endpoint wanted; 0: not known */
    uint32_t endpoint;
    bool has_address;
    uint64_t address;
};
/* The next fault. 1: *out holds it. 0: none. -VIA_EPROTO: the event queue is broken. Reports that mean nothing are counted and passed over.
 */
VIA_MUST_USE int via_iommu_driver_fault(struct via_iommu_driver *, struct via_iommu_report *out);

#endif
