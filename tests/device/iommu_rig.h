/* SPDX-License-Identifier: BSD-2-Clause */
/* An IOMMU device over two pumps and two rings, with an honest ring driver at the other end, in one memory. */
#ifndef VIA_TESTS_IOMMU_RIG_H
#define VIA_TESTS_IOMMU_RIG_H

#include <viaduct/iommu_device.h>

#include <tap.h>

#define RIG_NUM 16u
#define RIG_GPA UINT64_C(0x40000000) /* of mem */
#define RIG_MEM (1u << 20)
#define RIG_ENDPOINTS 3u
#define RIG_WAITS 8u
#define RIG_UNTOUCHED 0xa5
#define RIG_PAGE 4096u

/* What a revoke was told, and what it answers. */
struct rig_revoke {
    uint32_t endpoint;
    uint64_t start, last;
    uint64_t generation;
    struct via_iommu_wait *wait;
};

struct rig_queue {
    struct via_vq_slot slot[RIG_NUM];
    struct via_vq vq;
    struct via_pump pump;
    void *storage;
};

struct iommu_rig {
    _Alignas(4096) uint8_t mem[RIG_MEM];
    struct rig_queue queue[2]; /* enum via_iommu_queue */
    struct via_memmap map;
    struct via_iommu_device_cfg cfg;
    struct via_iommu_device dev;
    struct via_iommu_endpoint ep[RIG_ENDPOINTS];
    void *storage;
    unsigned kicks, calls; /* notifications asked for */
    int revoke_answer;     /* of each revoke */
    unsigned revokes;
    struct rig_revoke revoke[RIG_WAITS]; /* the first ones */
    uint32_t written;                    /* by the last request */
    const uint8_t *in;                   /* its writable part */
};

/*
 * The one rig, as new. cfg NULL: rig_cfg. All features that are offered are accepted. Endpoints 8, 9 and 70000: the first has a doorbell
 * and one more window, the second a window, the third none.
 */
struct iommu_rig *rig_new(const struct via_iommu_device_cfg *cfg);
extern const struct via_iommu_device_cfg rig_cfg;
extern const struct via_iommu_device_ops rig_ops; /* records revokes */
bool rig_restart(struct iommu_rig *);             /* rings and pumps again */

/* A request of any bytes, with `in` writable ones. The status, from the tail that follows `before` bytes; -1: not answered; -2: no tail. */
int rig_ask(struct iommu_rig *, const void *req, uint32_t out, uint32_t in, uint32_t before);
bool rig_add(struct iommu_rig *, const void *req, uint32_t out, uint32_t in); /* put on the ring alone */
bool rig_run(struct iommu_rig *);                                             /* both pumps once, and their answers shown */
bool rig_used(struct iommu_rig *, enum via_iommu_queue, uint32_t *written);
/* Each is asked with sound fields but for the given ones; the status as above. */
int rig_attach(struct iommu_rig *, uint32_t domain, uint32_t endpoint, uint32_t flags);
int rig_detach(struct iommu_rig *, uint32_t domain, uint32_t endpoint);
int rig_map(struct iommu_rig *, uint32_t domain, uint64_t start, uint64_t last, uint64_t phys, uint32_t flags);
int rig_unmap(struct iommu_rig *, uint32_t domain, uint64_t start, uint64_t last);
#define RIG_RW (VIA_IOMMU_MAP_F_READ | VIA_IOMMU_MAP_F_WRITE)

/* Where endpoint number i's address leads in mem; -1: nowhere. */
int64_t rig_reach(struct iommu_rig *, unsigned i, uint64_t addr, unsigned perm);
/* An event buffer of so many bytes at a place of its own. */
bool rig_post(struct iommu_rig *, uint32_t at, uint32_t len);
/* The next report: its used length, in *f what it says; -1: none. */
int rig_report(struct iommu_rig *, struct via_iommu_fault *f);

#endif
