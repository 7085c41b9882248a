/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * device: device models over a pump.
 *
 * The pump is what all devices share: it pops validated chains from a queue, turns their addresses into spans through
 * xlate, hands the request to the device, and pushes what the device completes. A device is a `submit`.
 * One pump a queue, one owner a pump: completions come back on the same thread.
 */
#ifndef VIADUCT_DEVICE_H
#define VIADUCT_DEVICE_H

#include <viaduct/ring.h>
#include <viaduct/spec.h>
#include <viaduct/xlate.h>

struct via_pump;
struct via_device;

struct via_req { /* one request, from pop to push; the pump's, lent to the device between submit and complete */
    struct via_pump *pump;
    struct via_req *next;   /* private: in the list that its state says */
    struct via_chain chain; /* its segments are the pump's: look at the spans */
    struct via_span *span;  /* n_out readable spans, then n_in writable ones */
    uint16_t n_out, n_in;
    uint8_t state;     /* private, like all that follows but stale */
    uint8_t rounds;    /* times that it lost a translation again without getting any further */
    bool stale;        /* a translation that its spans come from is no more */
    bool doomed;       /* it was refused; what it waits for is where the answer goes */
    uint32_t written;  /* completed while the ring was away */
    uint64_t position; /* how many were popped before it */
    uint64_t since;    /* misses->questions when it was popped */
    via_iova wait;     /* the page that it waits for */
    uint64_t reached;  /* 1 more than the bytes of it that resolved, at most, when it had to ask */
};

struct via_device_ops {
    /*
     * Take a request over; complete it, now or later, by via_req_complete. -VIA_EAGAIN: not now, nothing was taken: the pump parks it and
     * offers it again at the next run. Any other failure: the request is malformed for this device type; the queue is broken (the device
     * may say why in the pump's fault first).
     */
    int (*submit)(struct via_device *, struct via_req *);
    /*
     * A buffer of this request may not be touched: the front-end refused its translation. span holds what can be reached of its last
     * writable segment (n_out is 0; n_in is 0 when nothing can). Answer it with the device type's error and complete it, 0; any failure:
     * there is no way to tell the driver, the queue is broken. Optional: without it the queue is broken.
     */
    int (*refuse)(struct via_device *, struct via_req *);
    /*
     * Optional. A device that has it touches a request's spans only within submit, or right after via_req_refresh said that they are good;
     * so it never lets an invalidation wait. Called when a refresh that had to wait has ended: 0, or -VIA_EFAULT as there.
     */
    void (*refreshed)(struct via_device *, struct via_req *, int result);
};
struct via_device {
    const struct via_device_ops *ops;
};

struct via_pump {
    struct via_dq dq;
    struct via_xlate *xlate;
    struct via_misses *misses; /* NULL: addresses are known or not there at all */
    struct via_device *device;
    struct via_req *req; /* all of them, dq.cfg.num */
    struct via_req *free, *parked;
    struct via_req *waiting, **waiting_end; /* for translations, in the order in which they were popped */
    struct via_req **cursor;                /* the link to the one of them that is looked at */
    struct via_req *done, **done_end;       /* completed while the ring is away */
    struct via_fault fault;                 /* why the queue broke, dq's own faults included */
    struct via_fault refusal;               /* what the last refused request was refused for: `got` the address, `limit` the rights */
    uint64_t requests, popped;
    uint64_t waits, refusals; /* requests that had to wait for translations, and that were refused them */
    uint64_t looked;          /* misses->changes when the waiting ones were looked at */
    unsigned span_cap;
    bool away;               /* the ring's areas can't be touched now */
    struct via_dirty *dirty; /* writable buffers are marked there when a request completes; NULL: none. The owner's, at any time */
    struct via_desc *table;  /* room for one indirect table */
};

/*
 * Storage for a queue of size num: the number of bytes that via_pump_init needs (max-aligned). A request takes at most
 * num descriptors and span_extra more spans (what crosses regions). misses: there will be some.
 */
size_t via_pump_bytes(unsigned num, unsigned span_extra, bool misses);
/*
 * misses NULL: no address ever misses. The areas in cfg may all be NULL: the ring is away from the start on, and how far its used ring has
 * got is read when via_pump_here brings them.
 */
VIA_MUST_USE int via_pump_init(struct via_pump *, const struct via_dq_cfg *, struct via_xlate *, struct via_misses *, struct via_device *,
                               unsigned span_extra, void *storage);

/*
 * Offer what is parked again, go on with what waited for translations that have come, then pop and submit requests, up to `budget` (0:
 * nothing but the former, for a queue that is being stopped). A request whose addresses miss puts all the pages that it lacks into misses
 * and waits; those behind it go on. Returns the number of requests that the device took (0: nothing to do, or all wait), -VIA_EPROTO: the
 * queue is broken, fault tells why. What is in flight, a parked or waiting one included, can still be completed.
 */
VIA_MUST_USE int via_pump_run(struct via_pump *, unsigned budget);
/* Show the driver what was completed since; true: notify it. */
VIA_MUST_USE bool via_pump_flush(struct via_pump *);
static inline unsigned via_pump_inflight(const struct via_pump *p) { return p->dq.inflight; }

/*
 * The ring's areas can't be touched from here on: nothing is popped, and what is completed is kept until via_pump_here says where they are
 * now (NULLs are not allowed there).
 */
void via_pump_away(struct via_pump *);
VIA_MUST_USE int via_pump_here(struct via_pump *, const void *desc, const void *avail, void *used);

/*
 * The fence, for a pump with misses. Translations of [start, last] are gone from xlate. False: nothing reaches these addresses by them any
 * more. True: a request that the device holds still may; ask again when requests have been completed. Requests that the device does not
 * hold are translated anew.
 */
bool via_pump_revoke(struct via_pump *, via_iova start, via_iova last);

/*
 * Give back requests that wait for translations, for a queue that is being stopped. Those that are the last ones popped are put back: the
 * available index goes back, and they will be popped again after the next start. Returns how many are left, which were popped before one
 * that the device has taken, those that were completed while the ring is away included; with `abandon` these are given up as by
 * via_req_abandon. Requests that are to be refreshed are not touched.
 */
unsigned via_pump_withdraw(struct via_pump *, bool abandon);

/* The device is done with a request: it wrote `written` bytes from the start of the writable part on. */
void via_req_complete(struct via_req *, uint32_t written);
/* The device will never answer this request: the driver does not see it used. For when the ring is about to be stopped for good. A request
 * that waits may be given up, too. */
void via_req_abandon(struct via_req *);
/*
 * For a device with `refreshed`, before it touches the spans of a request that it took earlier. 0: they are good (n_out and n_in may be
 * others now). -VIA_EAGAIN: the request waits for translations, `refreshed` will tell; it may be completed all the same, untouched.
 * -VIA_EFAULT: refused, the spans are as for `refuse`.
 */
VIA_MUST_USE int via_req_refresh(struct via_req *);

/* ------------------------------------------------------------------ block device (5.2) */

struct via_blk_io;
struct via_blk_store;

enum via_blk_op { VIA_BLK_READ, VIA_BLK_WRITE, VIA_BLK_FLUSH, VIA_BLK_DISCARD, VIA_BLK_ZERO };

struct via_blk_io { /* embedded in a request; the store's between submit and done */
    enum via_blk_op op;
    bool may_unmap;              /* ZERO: deallocating is fine */
    uint64_t offset;             /* bytes */
    uint64_t len;                /* bytes */
    const struct via_span *span; /* READ: to fill; WRITE: to take; len bytes in all */
    unsigned n;
    void (*done)(struct via_blk_io *, int result); /* 0: all of it is done; a negative errno value otherwise */
};

struct via_blk_store_ops {
    /*
     * 0: taken, done will be called (perhaps before this returns). -VIA_EAGAIN: full now. What an operation took up is free again when
     * its done is called: done may submit the next one and find room for it. Any other failure: the operation ended with it, done is not
     * called.
     */
    int (*submit)(struct via_blk_store *, struct via_blk_io *);
};
struct via_blk_store { /* where the sectors are */
    const struct via_blk_store_ops *ops;
};

struct via_blk_limits {
    uint64_t capacity;      /* bytes, a multiple of 512 */
    uint32_t blk_size;      /* logical block, bytes: 512 or a larger power of two */
    uint32_t physical_size; /* physical block, bytes: blk_size times a power of two */
    uint32_t size_max;      /* bytes in a segment, 0: not offered */
    uint32_t seg_max;       /* data segments in a request */
    uint32_t opt_io;        /* bytes, 0: none */
    uint16_t queues;
    bool read_only;
    bool discard, write_zeroes; /* what the store can do */
    char id[VIA_BLK_ID_BYTES];
};

struct via_blk_req;
struct via_blk_device {
    struct via_device device;
    struct via_blk_store *store;
    struct via_blk_limits limits;
    struct via_blk_config config;
    /* Accepted by the driver: what it may ask for. The owner sets it when negotiation is done, and clears it on reset. Without FLUSH
     * each write is made stable before it completes. */
    uint64_t features;
    bool big; /* a legacy driver on a big-endian processor: so are headers and config space (5.2.4.1, 5.2.6.3). Likewise the owner's. */
    struct via_blk_req *free;
    struct via_blk_req *waiting; /* in the middle of a sequence of operations, the store was full */
    unsigned spans;
    uint64_t reads, writes, others, errors; /* requests answered */
};

/* Bytes of storage for `depth` requests in flight (all queues that share this object; these share a thread). */
size_t via_blk_device_bytes(unsigned depth, unsigned spans);
VIA_MUST_USE int via_blk_device_init(struct via_blk_device *, const struct via_blk_limits *, struct via_blk_store *, unsigned depth,
                                     unsigned spans, void *storage);
uint64_t via_blk_device_features(const struct via_blk_device *); /* offered, the device type's own bits */
/* Read config space, in the driver's byte order; bytes beyond its end are 0. */
void via_blk_device_config(const struct via_blk_device *, uint32_t offset, void *out, uint32_t len);

#endif
