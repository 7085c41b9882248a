/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost: both ends of a vhost-user connection on Linux. The server is what a back-end program is made of: socket, session, memory map and
 * one pump a ring, on one thread's event loop. The client is what a front-end is made of: each call sends and, where an
 * answer is due, waits for it with a time limit.
 */
#ifndef VIADUCT_VHOST_H
#define VIADUCT_VHOST_H

#include <viaduct/host.h>

/* ------------------------------------------------------------------ server: the back-end end */

struct via_server;

struct via_server_ops {
    void (*features)(struct via_server *, uint64_t accepted); /* optional */
    int (*config_get)(struct via_server *, uint32_t offset, uint8_t *out, uint32_t len);
    int (*config_set)(struct via_server *, uint32_t offset, const uint8_t *bytes, uint32_t len); /* optional: refused without it */
    /*
     * Ring `index`, of `num` descriptors, is about to run: the device that serves it into *device. A failure with err set
     * breaks the connection. Called on each start, ring_stop on each stop (when nothing is in flight any more).
     */
    int (*ring_start)(struct via_server *, unsigned index, unsigned num, struct via_device **device, struct via_err *err);
    void (*ring_stop)(struct via_server *, unsigned index); /* optional */
    void (*batch_end)(struct via_server *, unsigned index); /* requests were submitted since: hand them on (io_uring, a kick). Optional. */
    void (*closed)(
        struct via_server *,
        const struct via_err *why); /* the connection ended, all rings are stopped, memory is unmapped; why->text empty: in order */
    void (*warn)(struct via_server *,
                 const struct via_err *what); /* something went wrong that the connection survives. Optional: stderr. */
};

/* Where one of a ring's three areas lies. A translated one may lie in several pieces of memory, which are joined into one mapping then. */
struct via_server_area {
    struct via_span *piece; /* of the join: as the IOTLB had them */
    unsigned n;
    struct via_mapped join;
};

struct via_server_ring {
    struct via_server *server;
    unsigned index;
    bool running;        /* has a pump */
    bool broken;         /* takes nothing any more until it is stopped and started again */
    bool lost;           /* its areas can't be reached: it waits for a memory region, or translations, that lead to them */
    bool armed;          /* the driver was asked for a kick */
    uint64_t generation; /* of the translations that its areas were found by */
    uint64_t since;      /* questions that had been asked when it was started */
    uint64_t refusals;   /* told of so far */
    struct via_server_area area[3];
    int kick, call, err;    /* -1: none; running without a kick: polled */
    struct via_watch watch; /* kick */
    struct via_poller poller;
    struct via_pump pump;
    void *storage;
};

#define VIA_SERVER_IOTLB 65536u /* entries: 256 MiB of scattered pages */
#define VIA_SERVER_MISSES 1024u /* pages asked for at once */
#define VIA_SERVER_MISS_LIMIT_MS 5000u

/*
 * Device-owned memory: addresses on the rings, and the rings' own, are offsets in shared memory region 0 (virtio v1.4 2.10.1), which
 * belongs to the device; it gets no descriptor of the driver's memory. No specification has a feature bit for it. This is the last of the
 * bits that vhost-user carries, one of those for the specific device type (virtio v1.4 2.2), and none that a block device has: offered only
 * by who was told to.
 */
#define VIA_OWN_BIT 63u

struct via_server_cfg {
    uint64_t features; /* virtio feature bits offered; with ACCESS_PLATFORM the server keeps a device IOTLB where that is accepted. LOG_ALL,
                          the server's own, is added */
    uint16_t queues, num_max;
    uint64_t needs;    /* of these features, what no driver may do without; the rest is transitional */
    bool config;       /* offers config space */
    bool cross_endian; /* the device can serve a big-endian legacy driver: who starts a ring or reads config space asks via_server_big */
    uint32_t iotlb_entries; /* translations kept at most; 0: VIA_SERVER_IOTLB */
    uint64_t own_size;      /* bytes of memory of the back-end's own that it offers (via_server_own); 0: none, and no word of it */
    unsigned own_bit;       /* the virtio feature bit that says so: VIA_OWN_BIT, or what both ends agree on */
    uint32_t miss_limit_ms; /* the front-end answers a miss within that time, or the rings that wait for it are broken; 0: the above */
};

struct via_server_iotlb { /* translations, and the questions about them */
    bool on;              /* ACCESS_PLATFORM was accepted, and there is BACKEND_REQ: rings and buffers are at I/O virtual addresses */
    bool fencing;         /* an invalidation is not answered yet: requests in flight may still reach what it took away */
    uint64_t start, last; /* of that one */
    struct via_iotlb tlb;
    struct via_misses misses;
    void *storage;
    uint64_t asked, updates, invalidations, refused; /* so far: pages asked for, messages, messages that were not sane */
    uint64_t fenced;                                 /* invalidations that had to wait */
};

struct via_server_ask { /* a question that asked for an answer */
    uint64_t page, asked_ns;
};
struct via_server_asks {    /* the channel for the back-end's own requests */
    int fd;                 /* -1: none */
    struct via_watch watch; /* answers */
    struct via_sock_rx rx;
    uint8_t out[4096]; /* what the socket had no room for */
    unsigned out_at, out_len;
    struct via_server_ask due[VIA_SERVER_MISSES]; /* a ring of answers that are due, oldest first */
    unsigned first, n;
    bool told;              /* that it is missing */
    bool stashed;           /* the oldest one's is here, but what was sent before it may not have been read */
    uint64_t last_ns;       /* when was last asked; each round has a time of its own */
    struct via_watch timer; /* goes while answers are due */
};

struct via_server_log { /* of what is written into the guest's memory */
    bool all;           /* LOG_ALL was accepted */
    struct via_mapped mapped;
    struct via_dirty dirty; /* log NULL: there is none */
    int event;              /* -1: none */
};

struct via_server {
    const struct via_server_ops *ops;
    struct via_server_cfg cfg;
    struct via_loop *loop;
    int fd; /* the connection; the server's */
    struct via_watch watch;
    struct via_sock_rx rx;
    struct via_back back;
    struct via_memory own; /* offered to the front-end; its own pages on each connection, so that none sees another's */
    bool own_used;         /* accepted: the map is this memory and nothing else */
    struct via_memmap map;
    struct via_mapped *mapped; /* one a region, found by its ptr; NULL ptr: free */
    struct via_server_iotlb iotlb;
    struct via_server_asks asks;
    struct via_server_log log;
    const struct via_back_action *waiting; /* an action that needs requests in flight to end first; the socket is not read meanwhile */
    bool held;                             /* a message was received that has to wait for that */
    bool drained;                          /* the last look at the socket found its end */
    unsigned polls;
    bool open;
    bool ending;              /* takes nothing any more; `closed` follows when nothing is in flight */
    bool in_batch;            /* inside a ring's run */
    unsigned warnings;        /* so far */
    struct via_err why;       /* why it ends */
    struct via_poller poller; /* sees to it that what waits goes on */
    struct via_server_ring ring[VIA_BACK_QUEUES_MAX];
};

/* Serve one connection (fd becomes the server's) on the loop's thread. */
VIA_MUST_USE int via_server_open(struct via_server *, const struct via_server_ops *, const struct via_server_cfg *, struct via_loop *,
                                 int fd, struct via_err *err);
/*
 * End the connection in order: rings take nothing more, and when nothing is in flight any more, out of the loop, `closed` is called. The
 * same happens by itself when the peer goes or breaks the rules. `closed` may free or open the server again.
 */
void via_server_end(struct via_server *);
/* Close at once, without `closed`. Only with nothing in flight (via_server_inflight). Idempotent. */
void via_server_close(struct via_server *);
unsigned via_server_inflight(const struct via_server *);

/* A device completed requests of ring `index` outside of submit: show them to the driver, go on with what was parked, finish a stop that
 * waited. */
void via_server_completed(struct via_server *, unsigned index);
/* Break a ring: no more requests are taken from it, the front-end is told by the error eventfd, `why` is printed once. */
void via_server_ring_broken(struct via_server *, unsigned index, const char *why);
/* The driver is a legacy one and big-endian, as far as is known by now: so are its requests' fields, and config space. */
static inline bool via_server_big(const struct via_server *s) { return via_back_big(&s->back); }
/* Tell the front-end that config space changed, if it asked to be told. */
void via_server_config_changed(struct via_server *);

/* ------------------------------------------------------------------ client: the front-end end */

struct via_client_region {    /* shared memory region 0 of the back-end's, mapped here: addresses on rings are offsets in it */
    struct via_mapped mapped; /* ptr NULL: not yet */
    uint64_t got;             /* SHMEM_MAP messages so far */
    struct via_err refused;   /* why the last of them was refused; empty: none was */
};

struct via_client {
    int fd;
    int timeout_ms; /* for each answer; 0: 5000 */
    struct via_sock_rx rx;
    struct via_front front;
    int req_fd; /* our end of the back-end's request channel, -1 */
    struct via_sock_rx req_rx;
    /*
     * The back-end lacks a translation (ACCESS_PLATFORM): send the UPDATE that answers it by via_client_iotlb and return 0; anything
     * negative refuses it. Called from within any call on the client that waits for an answer, and from via_client_back_req. It must not
     * call others than via_client_iotlb, which never waits for its answer here. NULL: all are refused. Kept when the client is connected.
     */
    int (*miss)(struct via_client *, const struct via_vu_iotlb *);
    struct via_client_region *region; /* where the back-end's memory goes; NULL: it is refused. Kept when the client is connected */
    uint64_t misses, access_fails;    /* that came */
    /*
     * For `miss`: misses of one round were all sent before the first of them was answered. So what answered one of them and covers another
     * answers that as well; it need not be sent again.
     */
    uint64_t round;
    uint32_t round_left;       /* private: bytes of it that are to be read */
    bool config_changed;       /* came while something else was waited for; via_client_back_req tells it */
    bool serving;              /* inside `miss` */
    bool req_gone;             /* the back-end closed its request channel */
    int64_t end;               /* of the time that the call at hand has */
    uint64_t answered, waited; /* IOTLB_MSGs that were answered; the one, so counted, whose answer is waited for; 0: none */
    struct via_fault refusal;  /* how the back-end refused what the call at hand asked */
};

/* path: wait up to wait_ms for a listener. */
VIA_MUST_USE int via_client_connect(struct via_client *, const char *path, int wait_ms, struct via_err *err);
VIA_MUST_USE int via_client_adopt(struct via_client *, int fd); /* fd becomes the client's */
void via_client_close(struct via_client *);
/*
 * Owner, features, protocol features, queue count, request channel. `want` of virtio's and of the protocol's bits are accepted where
 * offered; `need` ones must be, else -VIA_ENOTSUP names the missing. c->front holds the result.
 */
VIA_MUST_USE int via_client_negotiate(struct via_client *, uint64_t want, uint64_t need, uint64_t want_protocol, struct via_err *err);
/* In two steps, for who must see the offer before it decides (the guard): the offer into c->front.offered and .protocol..., then the
 * choice. */
VIA_MUST_USE int via_client_offer(struct via_client *, uint64_t want_protocol, struct via_err *err);
VIA_MUST_USE int via_client_accept(struct via_client *, uint64_t features, struct via_err *err);
/*
 * Memory that belongs to the back-end (SHMEM and BACKEND_REQ were accepted, c->region was set before): wait for it, at most as long as for
 * an answer. Refused, -VIA_EPROTO with the reason: not all of region 0 in one piece, of the size that the back-end told, writable, in a
 * file that can't shrink. Afterwards c->region->mapped is memory that a hostile back-end can change at any time, and not take away.
 */
VIA_MUST_USE int via_client_region_wait(struct via_client *, struct via_err *err);
/* Give the back-end these regions, all of its memory: one table, or slot by slot beyond 8. Returns when it took effect. */
VIA_MUST_USE int via_client_share(struct via_client *, const struct via_vu_region *, const int *fd, unsigned n, struct via_err *err);
VIA_MUST_USE int via_client_ring_start(struct via_client *, unsigned index, unsigned num, uint64_t desc, uint64_t avail, uint64_t used,
                                       uint16_t base, int kick, int call, struct via_err *err);
VIA_MUST_USE int via_client_ring_stop(struct via_client *, unsigned index, uint16_t *base, struct via_err *err);
/*
 * Give the back-end a dirty log (vhost-user, "Migration"): len bytes of fd from offset on, a bit for each guest-physical page of 4096 bytes
 * from 0 on. fd stays the caller's. -VIA_ENOTSUP: it keeps none. A log that is too small for the memory ends the connection. LOG_ALL marks
 * what requests write, rings running or not; ring_log what is written into a used ring, as if it began at guest-physical address `log` (the
 * addresses are those that the ring was started with). log_event: an eventfd that is signalled after marks.
 */
VIA_MUST_USE int via_client_log(struct via_client *, int fd, uint64_t offset, uint64_t len, struct via_err *err);
VIA_MUST_USE int via_client_log_event(struct via_client *, int fd, struct via_err *err);
VIA_MUST_USE int via_client_log_all(struct via_client *, bool on, struct via_err *err);
VIA_MUST_USE int via_client_ring_log(struct via_client *, unsigned index, uint64_t desc, uint64_t avail, uint64_t used, bool on,
                                     uint64_t log, struct via_err *err);
VIA_MUST_USE int via_client_status(struct via_client *, uint8_t status,
                                   struct via_err *err); /* does nothing where STATUS was not negotiated */
VIA_MUST_USE int via_client_config_get(struct via_client *, uint32_t offset, void *out, uint32_t len, struct via_err *err);
VIA_MUST_USE int via_client_config_set(struct via_client *, uint32_t offset, const void *bytes, uint32_t len, struct via_err *err);
/*
 * UPDATE or INVALIDATE (ACCESS_PLATFORM was accepted). `wait`: return when the back-end has answered: for an INVALIDATE, that is when it
 * does not touch these addresses any more. Without it the answer is taken in by a later call (several may be out at a time; with 64 out the
 * oldest are waited for), whose failure is the connection's end if it says that the message failed. -VIA_EIO: it failed.
 */
VIA_MUST_USE int via_client_iotlb(struct via_client *, const struct via_vu_iotlb *, bool wait, struct via_err *err);
/* Wait for all answers that are still out. */
VIA_MUST_USE int via_client_iotlb_settle(struct via_client *, struct via_err *err);
/* Serve the back-end's request channel (misses) without waiting, and take answers in that have come. 1: config space changed since. 0:
 * nothing. */
VIA_MUST_USE int via_client_back_req(struct via_client *, struct via_err *err);

#endif
