/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A block driver and what it needs around it, over one or several queues, with rings in shared memory. The device reaches the shared memory
 * alone: with `bounce` the driver's own memory is not even mapped for it.
 */
#ifndef VIA_TESTS_LOOP_H
#define VIA_TESTS_LOOP_H

#include <viaduct/device.h>
#include <viaduct/driver.h>

#define LOOP_NUM 64u
#define LOOP_QUEUES 2u
#define LOOP_DEPTH 24u
#define LOOP_DATA_MAX 4u
#define LOOP_SEG_MAX 24u
#define LOOP_POOL_SLOTS 128u
#define LOOP_SHARED_GPA UINT64_C(0x100000000)
#define LOOP_PRIVATE_GPA UINT64_C(0x200000000)
#define LOOP_RING_BYTES 65536u
#define LOOP_BUF 16384u /* data bytes of a request's place */

struct loop_queue {
    struct via_vq_slot slot[LOOP_NUM];
    struct via_vq_cfg vq_cfg;
    struct via_dq_cfg dq_cfg;
    struct via_vq vq;
    struct via_bounce bounce;
    struct via_direct direct;
    struct via_blk_driver driver;
    struct via_blk_wire *wire;
    void *storage, *pump_storage;
    struct via_pump pump;
};

/* Each queue's rings, then (whole pages) the pool. */
struct loop_shared {
    _Alignas(4096) uint8_t ring[LOOP_QUEUES][LOOP_RING_BYTES];
    _Alignas(4096) uint8_t pool[LOOP_POOL_SLOTS * VIA_POOL_SLOT];
};

struct loop_private {
    struct via_blk_wire wire[LOOP_QUEUES][LOOP_DEPTH];
    _Alignas(4096) uint8_t buf[LOOP_QUEUES][LOOP_DEPTH][LOOP_BUF];
};

struct loop {
    struct loop_shared shared;
    struct loop_private private;
    struct via_phys_range range[2];
    struct via_direct direct;
    struct via_pool pool;
    _Atomic uint64_t free[(LOOP_POOL_SLOTS + 63) / 64];
    struct via_memmap map;
    bool bounce;
    struct loop_queue queue[LOOP_QUEUES];
};

enum loop_dma { LOOP_DIRECT, LOOP_BOUNCE, LOOP_BOUNCE_WIRE /* the wire part lies in the pool */ };

#define LOOP_LEGACY VIA_BIT(63) /* in `features`: no VERSION_1, which is there otherwise */
/* The one loop, as new; drivers have accepted `features`. */
struct loop *loop_new(enum loop_dma, uint64_t features);
bool loop_restart(struct loop *, struct loop_queue *, uint64_t features); /* ring and driver again */
/* The device side of a queue. */
bool loop_serve(struct loop *, struct loop_queue *, struct via_device *);
/* Slots of the pool that requests hold. */
uint32_t loop_in_use(const struct loop *);

#endif
