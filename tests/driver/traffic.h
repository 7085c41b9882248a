/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random requests through one driver queue, each verified against a model of the disk. Every place of the queue has its own sectors, so
 * that the model is exact whatever the order in which requests end.
 */
#ifndef VIA_TESTS_TRAFFIC_H
#define VIA_TESTS_TRAFFIC_H

#include "loop.h"

#define TRAFFIC_SECTORS 24u /* a place has */
#define TRAFFIC_DISK ((uint64_t)LOOP_QUEUES * LOOP_DEPTH * TRAFFIC_SECTORS * VIA_BLK_SECTOR)

struct traffic_place {
    bool busy;
    struct via_blk_cmd cmd;
    struct via_span data[LOOP_DATA_MAX];
    uint8_t model[TRAFFIC_SECTORS * VIA_BLK_SECTOR];
};

struct traffic {
    struct loop *loop;
    struct loop_queue *queue;
    unsigned index;
    uint32_t seed;
    unsigned started, ended, busy; /* requests */
    unsigned again;                /* -VIA_EAGAIN met */
    bool bad;
    struct traffic_place place[LOOP_DEPTH];
};

extern const struct via_blk_limits traffic_limits; /* of the disk that this is for */
/* Places start from what the disk holds now. */
void traffic_init(struct traffic *, struct loop *, unsigned queue, uint32_t seed, const uint8_t *disk);
/* Start requests where places are free, until `total` were started; then publish. */
void traffic_submit(struct traffic *, unsigned total);
/* Verify what ended. False: something was wrong (it is told by a note), once and for all. */
bool traffic_reap(struct traffic *);
uint32_t traffic_random(uint32_t *seed);

#endif
