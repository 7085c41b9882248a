/* SPDX-License-Identifier: BSD-2-Clause */
/* A block device over a pump and a ring, with an honest ring driver at the other end, in one memory. */
#ifndef VIA_TESTS_RIG_H
#define VIA_TESTS_RIG_H

#include "store.h"

#define RIG_NUM 16u
#define RIG_GPA UINT64_C(0x40000000)     /* the driver's memory */
#define RIG_MEM (1u << 20)               /* bytes of it */
#define RIG_DATA 0x10000u                /* offset from which on requests lie */
#define RIG_ROM_GPA UINT64_C(0x80000000) /* a region that the device may only read */
#define RIG_SECTORS 128u

struct rig {
    uint8_t mem[RIG_MEM], rom[4096];
    uint8_t disk[RIG_SECTORS * VIA_BLK_SECTOR];
    struct via_vq_slot slot[RIG_NUM];
    struct via_vq vq;
    struct via_memmap map;
    struct via_pump pump;
    struct via_blk_device dev;
    struct via_blk_limits limits;
    struct store store;
    struct via_dq_cfg dq;
    unsigned kicks, calls;   /* notifications asked for */
    bool translated, direct; /* the device's addresses go through tlb; no indirect tables */
    struct via_iotlb tlb;
    struct via_misses misses;
    void *pump_storage, *dev_storage, *tlb_storage, *miss_storage;
};

/* The one rig, as new: memory 0xa5, disk bytes made from their sector. All features that the limits allow are accepted. */
struct rig *rig_new(const struct via_blk_limits *limits);
extern const struct via_blk_limits rig_limits;
bool rig_restart(struct rig *); /* ring, pump and device again, over the same storage */

/*
 * From here on the device's addresses are translated, into an IOTLB of so many entries, by so many questions at a time. What is asked for
 * waits for rig_answer. Ring and pump start anew; direct: without indirect tables.
 */
bool rig_translate(struct rig *, uint32_t entries, unsigned pages, bool direct);
#define RIG_PAGES 256u
/* Answer the next question, with these rights (0: a refusal) to the memory at this address. False: there is none. */
bool rig_answer(struct rig *, unsigned perm);
/* Answer all with all rights, and run, until nothing is asked for any more. Returns the number of questions, or a failure. */
int rig_settle(struct rig *);
/* The invalidation of a page, as far as the IOTLB goes. */
void rig_invalidate(struct rig *, uint32_t at);

/* A request: header bytes at RIG_DATA, then data_out bytes, then (on) data_in bytes and the status. */
struct rig_request {
    uint32_t type;
    uint64_t sector;
    uint32_t out, in; /* bytes of data */
};
#define RIG_STATUS_NONE 0xa5
/* Add it whole, in two segments; `at`: offset in mem. Returns where the writable part starts. */
uint32_t rig_add(struct rig *, const struct rig_request *, uint32_t at);
void rig_put_hdr(struct rig *, uint32_t at, uint32_t type, uint64_t sector);
void rig_add_segs(struct rig *, const struct via_seg *, unsigned out, unsigned in);
struct via_seg rig_seg(uint32_t at, uint32_t len);
void rig_publish(struct rig *);
void rig_flush(struct rig *);
/* Run the pump once and show what was completed. */
int rig_run(struct rig *);
/* One used chain: its token's number (from 0, in the order of adding) and its length. */
bool rig_used(struct rig *, unsigned *number, uint32_t *written);
/* Add, run, reap: the status byte; RIG_STATUS_NONE: not answered. */
int rig_ask(struct rig *, const struct rig_request *);

#endif
