/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * guard: a vhost-user proxy that keeps a guest's memory to itself. To the front-end it is a back-end, to the back-end a front-end whose
 * whole memory is one region: the shadow rings and a pool. Requests cross by copying; the back-end has no descriptor and no mapping of
 * anything else. It knows rings, not device types: features that concern the device and config space pass through.
 *
 * One guard is one pair of sockets, one device at a time and one thread (via_guard_run's). Guards share nothing.
 */
#ifndef VIADUCT_GUARD_H
#define VIADUCT_GUARD_H

#include <viaduct/dma.h>
#include <viaduct/vhost.h>

struct via_guard_cfg {
    const char *front;  /* path to listen at */
    const char *back;   /* path of the back-end's socket, connected to for each front-end that comes */
    size_t pool_bytes;  /* a multiple of VIA_POOL_SLOT */
    uint16_t queues;    /* at most this many, VIA_BACK_QUEUES_MAX or fewer */
    uint32_t poll_ns;   /* poll for so long before sleeping; 0: never */
    bool under_reports; /* the back-end's used lengths may be too small (legacy devices): copy everything back */
};

struct via_guard_stats { /* since open; to be read when run has returned */
    uint64_t connections, requests;
    uint64_t bytes_moved;  /* what the requests carried: bytes the device was given and bytes it wrote */
    uint64_t bytes_copied; /* by the guard, for them */
    uint64_t full;         /* times that the pool was */
    uint32_t slots, high_water;
};

struct via_guard;

VIA_MUST_USE int via_guard_open(struct via_guard **, const struct via_guard_cfg *, struct via_err *err);
/* Serve one front-end after the other until via_guard_stop. */
VIA_MUST_USE int via_guard_run(struct via_guard *);
void via_guard_stop(struct via_guard *); /* from any thread, or a signal handler */
void via_guard_stats(const struct via_guard *, struct via_guard_stats *);
void via_guard_close(struct via_guard *);

#endif
