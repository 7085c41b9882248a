/* SPDX-License-Identifier: BSD-2-Clause */
/* The IOMMU driver, and a device that answers what a test tells it to. */
#ifndef VIA_TESTS_DRIVER_IOMMU_RIG_H
#define VIA_TESTS_DRIVER_IOMMU_RIG_H

#include <viaduct/iommu_driver.h>
#include <viaduct/xlate.h>

#include <tap.h>

#define RIG_NUM 16u
#define RIG_DEPTH 4u
#define RIG_FAULTS 4u
#define RIG_GPA UINT64_C(0x100000000) /* of shared */
#define RIG_PROBE 200u                /* probe_size */
#define RIG_LOG 64u

struct rig_shared { /* what the device reaches */
    _Alignas(4096) uint8_t pool[16 * VIA_POOL_SLOT];
    _Alignas(4096) uint8_t ring[2][0x2000];
    struct via_iommu_wire wire[RIG_DEPTH];
    struct via_iommu_fault fault[RIG_FAULTS];
    _Alignas(8) uint8_t probe[sizeof(struct via_iommu_probe) + RIG_PROBE + sizeof(struct via_iommu_tail)];
};

struct rig_asked { /* a request as the device saw it */
    uint8_t bytes[80];
    uint32_t out, in;
};

struct iommu_rig {
    struct rig_shared shared;
    struct via_phys_range range;
    struct via_direct direct;
    struct via_pool pool;
    struct via_bounce bounce;
    _Atomic uint64_t free[1];
    struct via_vq_slot slot[2][RIG_NUM];
    struct via_vq vq[2];
    struct via_dq dq[2];
    struct via_memmap map;
    struct via_iommu_driver driver;
    struct via_iommu_driver_cfg cfg;
    void *storage;
    uint16_t num; /* of the rings */
    unsigned kicks[2], relaxes;
    /* How the device answers. */
    bool silent;     /* not at all */
    int status;      /* -1: it writes none */
    int64_t written; /* reported; -1: all of it */
    uint8_t properties[RIG_PROBE];
    void (*lie)(struct iommu_rig *); /* instead of an answer */
    struct rig_asked asked[RIG_LOG];
    unsigned n_asked; /* ever */
};

/* The one rig, as new, its device honest. Requests and buffers lie in shared memory, or are bounced into it. */
struct iommu_rig *rig_new(bool bounce);
bool rig_restart(struct iommu_rig *);    /* rings, device and driver again, with rig->cfg */
bool rig_init_rings(struct iommu_rig *); /* and their pointers in rig->cfg */
/* Slots of the pool in use. */
static inline uint32_t rig_in_use(const struct iommu_rig *r) { return r->bounce.stats.in_use; }
/* The device writes a report into the next event buffer, and says that it wrote so many bytes. False: there is none. */
bool rig_report(struct iommu_rig *, const void *report, uint32_t len, uint32_t written);
/* The last request that the device saw, as one of these. */
const void *rig_last(const struct iommu_rig *);

#endif
