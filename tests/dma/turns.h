/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests whose memory changes hands: a driver and a device over a ring, the data in incoherent memory, the ring itself in memory that is
 * not cached. Writes to the ring are posted where data's are. One thread, and whose turn it is, what arrives, and what the caches do
 * is drawn; the same seed gives the same run.
 */
#ifndef TESTS_DMA_TURNS_H
#define TESTS_DMA_TURNS_H

#include "incoherent.h"

enum turns_way {
    TURNS_CACHE,  /* buffers that fill their lines, where they are */
    TURNS_BOUNCE, /* any buffers, some of them the pool's own, through a pool that the device sees without the caches */
    TURNS_HYBRID, /* bounced ends and small ones, whole pages where they are */
    TURNS_WAYS
};

enum turns_phase { TURNS_MAP = 1, TURNS_UNMAP, TURNS_TO_CPU, TURNS_TO_DEVICE, TURNS_PUBLISH, TURNS_ARM };

/* What is made wrong with what a strategy, or the ring, asks of its port. */
enum turns_fault {
    TURNS_RIGHT,
    TURNS_SKIP,     /* it is not done */
    TURNS_HEAD,     /* the first line is left out */
    TURNS_TAIL,     /* the last one */
    TURNS_OTHER,    /* cleaned instead of invalidated, invalidated instead of cleaned */
    TURNS_FINE,     /* the strategy takes lines for shorter than they are: it lets buffers share them */
    TURNS_TRUSTING, /* it believes the lengths of a device that reports too little */
    TURNS_LATE,     /* posted writes are flushed when the driver is about to notify, and not before it decides to */
};

struct turns_mutant {
    const char *name;
    enum turns_fault fault;
    enum turns_phase phase;
    enum { TURNS_BOTH, TURNS_READABLE, TURNS_WRITABLE } of; /* of a mapping's buffers */
};

struct turns_cfg {
    enum turns_way way;
    size_t line;
    bool posted, event_idx, under_reports;
    unsigned requests;
    uint64_t seed;
    struct turns_mutant mutant;
};

/* NULL: all went as it should. Otherwise what did not, after *done requests. */
const char *turns_run(const struct turns_cfg *, unsigned *done);

#endif
