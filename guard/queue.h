/* SPDX-License-Identifier: BSD-2-Clause */
/* queue: one guarded queue. A device to the guest's ring, a driver of the shadow ring: what is popped there is bounced and added here. */
#ifndef VIADUCT_GUARD_QUEUE_H
#define VIADUCT_GUARD_QUEUE_H

#include <viaduct/device.h>
#include <viaduct/dma.h>
#include <viaduct/host.h>

#include "shared.h"

struct via_guard_request;

struct via_guard_queue {
    struct via_device device; /* what the guest's ring is pumped into */
    bool running;
    struct via_vq vq; /* the shadow ring */
    struct via_bounce bounce;
    int kick, call;                    /* eventfds towards and from the back-end */
    struct via_guard_request *request; /* by the number that the guest's request has in its pump */
    void *storage;
    struct via_fault fault;
    uint64_t requests, bytes_moved;
};

struct via_guard_queue_cfg {
    unsigned index, num;
    bool event_idx, indirect, order_platform; /* negotiated with the back-end */
    bool under_reports;
};

VIA_MUST_USE int via_guard_queue_open(struct via_guard_queue *, struct via_guard_shared *, const struct via_guard_queue_cfg *,
                                      struct via_err *err);
/* The back-end has stopped, or is gone: requests that it never answered are abandoned, not answered. */
void via_guard_queue_close(struct via_guard_queue *);
/* Show the back-end what was submitted since, and kick it if it wants to be. */
void via_guard_queue_flush(struct via_guard_queue *);
/* Bring back what the back-end has used. Returns the number of requests, -VIA_EPROTO: it broke the rules, fault tells how. */
VIA_MUST_USE int via_guard_queue_reap(struct via_guard_queue *);

#endif
