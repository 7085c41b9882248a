/* SPDX-License-Identifier: BSD-2-Clause */
/* drive: what the parts of `viaduct drive` share. One thread does everything: it owns all queues. */
#ifndef VIADUCT_CLI_DRIVE_PARTS_H
#define VIADUCT_CLI_DRIVE_PARTS_H

#include <stdio.h>
#include <time.h>
#include <viaduct/domain.h>
#include <viaduct/driver.h>
#include <viaduct/policy.h>
#include <viaduct/private.h>
#include <viaduct/turn.h>
#include <viaduct/grow.h>

#include "latency.h"
#include "search.h"

#define VIA_DRIVE_CANARY 32u /* bytes */
#define VIA_DRIVE_QUEUES 16u
#define VIA_DRIVE_PHYS UINT64_C(0x40000000) /* where the driver's memory lies in its own, made up, physical address space */
#define VIA_DRIVE_PLACES 16u

/* Nanoseconds, monotonic. */
static inline uint64_t via_drive_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

struct via_drive;
struct via_drive_memory;
struct via_neighbour;

enum via_drive_dma {
    VIA_DRIVE_DIRECT,
    VIA_DRIVE_WINDOW,
    VIA_DRIVE_BOUNCE,
    VIA_DRIVE_DEVICE,       /* bounce, through memory of the back-end's */
    VIA_DRIVE_TURN,         /* direct or bounce: the command secure turns from one to the other */
    VIA_DRIVE_BOUNCE_IOMMU, /* translated from here on; the pool is all that is mapped, for good */
    VIA_DRIVE_IDENTITY,
    VIA_DRIVE_IOMMU_STRICT,
    VIA_DRIVE_IOMMU_LAZY,
    VIA_DRIVE_HYBRID_STRICT,
    VIA_DRIVE_HYBRID_LAZY,
    VIA_DRIVE_DMAS,
};
static inline bool via_drive_translated(enum via_drive_dma how) { return how >= VIA_DRIVE_BOUNCE_IOMMU; }
static inline bool via_drive_hybrid(enum via_drive_dma how) { return how == VIA_DRIVE_HYBRID_STRICT || how == VIA_DRIVE_HYBRID_LAZY; }
/* Nothing of the driver's memory but perhaps a pool is the back-end's. */
static inline bool via_drive_bounced(enum via_drive_dma how)
{
    return how == VIA_DRIVE_BOUNCE || how == VIA_DRIVE_BOUNCE_IOMMU || how == VIA_DRIVE_DEVICE;
}
static inline bool via_drive_pooled(enum via_drive_dma how)
{
    return via_drive_bounced(how) || how == VIA_DRIVE_TURN || via_drive_hybrid(how);
}
static inline bool via_drive_lent(enum via_drive_dma how) { return how == VIA_DRIVE_DEVICE; }
/* Its addresses change from request to request. */
static inline bool via_drive_mapped(enum via_drive_dma how) { return how > VIA_DRIVE_IDENTITY; }
const char *via_drive_dma_name(enum via_drive_dma); /* drive_way.c: as --dma has it */

struct via_drive_mix {
    bool given, random;
    unsigned read_percent;
};

struct via_drive_wish {    /* what --dma=auto goes by */
    bool automatic, named; /* named: one of the others was given */
    bool translated, isolate;
    enum via_protector protector;
    enum via_override override;
    uint64_t mask; /* the last address that the device can name */
};

struct via_drive_place { /* a host that the guest moves to */
    char *socket;
    bool all;        /* its back-end is given all of the driver's memory, a pool or not */
    bool translated; /* it is behind an IOMMU that leaves addresses as they are */
};

struct via_drive_opts {
    const char *socket, *command, *file;
    enum via_drive_dma dma; /* with wish.automatic: known when features are negotiated */
    struct via_drive_wish wish;
    bool global_pool; /* the neighbour's device shares the pool */
    bool check, poll, progress, verify;
    bool legacy; /* a driver that knows no VERSION_1 */
    bool push;   /* translations are sent when they are made, not when the back-end asks */
    uint64_t pool_size;
    uint64_t memory_size; /* of a guest that turns secure; bytes */
    uint32_t threshold;   /* hybrid: bytes of a buffer from which on it is mapped */
    uint32_t block_size;  /* 0: the command's own choice */
    bool pool_grow;
    unsigned device_bit; /* the feature bit for memory of the back-end's */
    unsigned queues, queue_size, depth;
    unsigned probe; /* small reads between guard bytes, after the command */
    struct via_drive_mix mix;
    uint64_t ops;
    double seconds;
    unsigned timeout; /* seconds without any answer */
    pid_t backend_pid;
    struct via_drive_place place[VIA_DRIVE_PLACES]; /* the first is where it begins */
    unsigned places;
    uint64_t move_every; /* requests that end; 0: never */
    const char *canary_out, *json;
};

/* ------------------------------------------------------------------ drive_memory.c: two memories, and the way to addresses in them */

struct via_arena { /* a piece of memory that is handed out once */
    uint8_t *ptr;
    size_t len, used;
};

/* A guest's memory: rings, the slots of a pool in reserve, and its own, which turns. */
struct via_drive_guest {
    struct via_private mem;
    uint32_t *lease;
    uint8_t *scratch;
    struct via_turn turn;
    struct via_span kept[VIA_SEARCH_MEANT]; /* rings, slots */
    struct via_span secret, written;        /* memory that no request uses: since the beginning; what is written while it is secure */
};

struct via_drive_memory {
    enum via_drive_dma how;
    struct via_drive_guest guest; /* where it turns; own is its memory */
    struct via_memory own;        /* the driver's memory: buffers, secrets. Shared in all modes but bounce */
    struct via_memory pool;       /* rings, indirect tables and the slots; where there is a pool */
    struct via_memory other;      /* the neighbour's own pool; bounce mode without a global pool */
    struct via_arena priv, rings;
    struct via_phys_range range[2];
    struct via_direct direct;
    struct via_bank bank[2];
    struct via_window window;
    struct via_dma *base;       /* direct or window: physical addresses */
    struct via_phys_range stay; /* where addresses change: what is mapped for good, and the device's addresses of it */
    struct via_direct stay_direct;
    struct via_dma *lasting; /* addresses of what the device may see at any time */
    struct via_vu_region region[2];
    int region_fd[2];
    unsigned regions;
    struct via_grow slots; /* slots.pool: the slots, whether it grows or not */
    _Atomic uint64_t *slot_map;
    struct via_drive_grow *grow;         /* NULL: it does not */
    bool lent;                           /* pool is the back-end's memory */
    uint8_t *secret;                     /* private memory full of the first one */
    uint8_t canary[2][VIA_DRIVE_CANARY]; /* the driver's secret, and the neighbour's */
};

struct via_drive_need { /* bytes */
    size_t priv, rings, slots;
    uint64_t stay;                          /* where addresses change: the first of those that don't */
    size_t guest;                           /* of a guest's memory at least */
    bool grow;                              /* slots: at most */
    const struct via_client_region *region; /* of the back-end; NULL: none */
};

/* Nothing yet but two canaries. */
VIA_MUST_USE int via_drive_memory_begin(struct via_drive_memory *, enum via_drive_dma, struct via_err *err);
VIA_MUST_USE int via_drive_memory_open(struct via_drive_memory *, enum via_drive_dma, const struct via_drive_need *, struct via_err *err);
/* The driver's memory as one region that the back-end is given. */
VIA_MUST_USE int via_drive_memory_direct(struct via_drive_memory *, struct via_err *err);
/* A pool in len bytes of the driver's memory from ptr on. */
VIA_MUST_USE int via_drive_memory_slots(struct via_drive_memory *, uint8_t *ptr, size_t len, struct via_err *err);
void via_drive_memory_close(struct via_drive_memory *);
uint64_t via_drive_secret_changed(const struct via_drive_memory *); /* bytes */
/* Zeroed, aligned to 64 bytes or, from a page on, to a page. The needs were summed up before: running out is our mistake. */
void *via_arena_take(struct via_arena *, size_t len);
size_t via_arena_room(size_t len); /* what taking len bytes uses up at most */
/* The device's address of ring memory: of anything that it may see at any time. */
VIA_MUST_USE int via_drive_address(struct via_drive_memory *, void *ptr, size_t len, via_iova *out);
/* Write both canaries, each byte inverted and in hex, for who is to look for them without holding them. */
VIA_MUST_USE int via_drive_canary_out(const struct via_drive_memory *, const char *path, struct via_err *err);

/* ------------------------------------------------------------------ drive_policy.c: which way, where that is left to the facts */

/* An option that --dma=auto goes by. NULL, or what the option must be. */
const char *via_drive_wish_take(struct via_drive_wish *, const char *option, const char *arg);
/* The features are negotiated: decide, and set opts.dma. -VIA_ENODEV ...: there is no way, d->err tells why. */
VIA_MUST_USE int via_drive_policy_choose(struct via_drive *);
/* Memory is open: no address that the device may be given lies above its mask; `last` is one. */
VIA_MUST_USE int via_drive_policy_check(struct via_drive *, uint64_t last);
struct json_object *via_drive_policy_json(const struct via_drive *);
void via_drive_policy_show(const struct via_drive *, FILE *to);

/* ------------------------------------------------------------------ drive_guest.c: memory of a guest that turns secure */

VIA_MUST_USE int via_drive_guest_open(struct via_drive_memory *, const struct via_drive_need *, struct via_err *err);
void via_drive_guest_close(struct via_drive_memory *);
/* What is left of the arena, full of the first canary. */
void via_drive_guest_fill(struct via_drive_memory *);
/* The last of it gets the second canary instead. */
void via_drive_guest_write(struct via_drive_memory *);
/* Bytes of these that are not as they were written. */
uint64_t via_drive_guest_damaged(const struct via_drive_memory *);
/* ------------------------------------------------------------------ drive_grow.c: a pool that has as much memory as it needs */

#define VIA_DRIVE_CHUNK ((size_t)256 << 10) /* bytes that the pool grows by */

struct via_drive_grown { /* slots */
    uint32_t reserved, reserved_most, needed_most;
    double reserved_mean, needed_mean; /* over time */
    uint64_t conversions, failed;
};
/* m->slots over `len` bytes (whole chunks) of the pool's memory from `at` on. */
VIA_MUST_USE int via_drive_grow_open(struct via_drive_memory *, size_t at, size_t len, struct via_err *err);
void via_drive_grow_tick(struct via_drive *); /* often */
void via_drive_grow_look(const struct via_drive_memory *, struct via_drive_grown *);
void via_drive_grow_close(struct via_drive_memory *); /* no slot is in use any more */

/* ------------------------------------------------------------------ drive_domain.c: an IOMMU of ours before the back-end */

struct via_drive_domain {
    struct via_front_domain front;
    struct via_front_page *page;
    struct via_iova_space space;
    struct via_iova_node *node;
    struct via_iova_range memory; /* identity */
    struct via_iommu_dma identity;
};

struct via_drive_iommu { /* a queue's way to addresses that change */
    struct via_iommu_dma dma;
    struct via_seg *phys;
    struct via_iommu_stale *stale;
    struct via_hybrid hybrid;
    void *hybrid_storage;
};

struct via_drive_queue;
/* Page tables for memory that is open; what stays mapped is mapped. */
VIA_MUST_USE int via_drive_domain_open(struct via_drive *);
/* A queue's stack down from where requests are mapped; `small`: hybrid's other side. NULL: d->err tells. */
struct via_dma *via_drive_domain_stack(struct via_drive *, struct via_drive_queue *, struct via_dma *small);
/* Serve misses, take in what has come in answer. */
VIA_MUST_USE int via_drive_domain_serve(struct via_drive *);
/* Flush what is due; how many ms from now on nothing will be, at most `most`. */
int via_drive_domain_tick(struct via_drive *, int most);
uint64_t via_drive_domain_failed(const struct via_drive *, uint64_t *flushes); /* unmaps and flushes */
void via_drive_domain_close_queue(struct via_drive_queue *);
void via_drive_domain_close(struct via_drive *); /* no ring runs any more */

/* ------------------------------------------------------------------ what the connection, its queues and the commands share */

struct via_drive_io { /* one request, from submit to its end */
    enum via_blk_type type;
    uint64_t offset; /* bytes */
    uint8_t *buf;
    uint32_t len;          /* bytes; 0: no data */
    struct via_span *span; /* disk.span_max of them */
    unsigned queue;
    bool busy;
    int result;
    uint32_t written;
    uint64_t start;
    void (*ended)(struct via_drive *, struct via_drive_io *);
    uint64_t tag; /* the command's own */
    void *owner;  /* likewise */
    struct via_drive_io *next;
};

struct via_drive_queue {
    struct via_vq vq;
    struct via_vq_slot *slot;
    void *indirect;
    struct via_split_layout lay;
    uint8_t *ring;
    struct via_blk_driver driver;
    void *driver_storage;
    struct via_blk_wire *wire;
    struct via_bounce bounce;
    struct via_turn_dma turn;
    struct via_drive_iommu iommu;
    struct via_check check;
    struct via_check_entry *entry;
    struct via_dma *dma; /* the top of the stack */
    int kick, call;
    bool running;
};

/* ------------------------------------------------------------------ drive_search.c: an attack, by a process that has a descriptor */

struct via_drive_search {
    pid_t pid;     /* 0: none runs */
    int out;       /* its answer comes from there */
    unsigned have; /* bytes of it */
    struct via_search_result answer;
};
/* Look through the guest's shared memory for canaries and for bytes of its own; `scribble`: then write there. */
VIA_MUST_USE int via_drive_search_begin(struct via_drive_search *, struct via_drive_memory *, bool scribble, struct via_err *err);
/* 1: *out is its answer. 0: it is not done yet. Never waits. */
VIA_MUST_USE int via_drive_search_poll(struct via_drive_search *, struct via_search_result *out, struct via_err *err);
void via_drive_search_end(struct via_drive_search *); /* whatever it is doing */

/* ------------------------------------------------------------------ drive_secure.c: the command secure */

enum via_drive_phase { VIA_PHASE_OPEN, VIA_PHASE_SECURE, VIA_PHASE_AGAIN, VIA_PHASES };

struct via_drive_secure {
    enum via_drive_phase phase;
    bool turning; /* to this phase: not all pages are there yet */
    bool searching;
    bool over, pool_returned;
    uint64_t begun_ns, begun_ops; /* this phase's */
    uint64_t moved_ns;            /* when a page was last carried */
    uint64_t carried_ns;          /* when that was last tried */
    size_t left;                  /* pages, as of then */
    struct via_drive_search search;
    struct {
        uint64_t ops, turning_ops;
        uint64_t switch_ns;   /* from begin to done */
        uint64_t carrying_ns; /* of it, processor time that pages took and not I/O */
        size_t leased;
        struct via_search_result result;
    } was[VIA_PHASES];
    uint64_t pages, kept, conversions; /* for the report, when memory is gone */
    uint64_t damaged;                  /* bytes of the guest's that changed under it */
    struct via_turn_stats turned;
};
VIA_MUST_USE int via_drive_secure_begin(struct via_drive *);
/* Between two looks at the queues: carry some pages, see to the attack, go on to the next phase. */
VIA_MUST_USE int via_drive_secure_step(struct via_drive *);
/* After the command's I/O, which ended so; memory is still there. */
VIA_MUST_USE int via_drive_secure_judge(struct via_drive *, int so_far);
struct json_object *via_drive_secure_json(const struct via_drive *); /* drive_secure_report.c */
void via_drive_secure_text(const struct via_drive *);

struct via_drive_move {
    bool away;                                 /* between two hosts: no device serves the queues */
    unsigned at;                               /* place */
    uint64_t answers, due;                     /* requests that ended so far, and how many are to until it moves on */
    uint64_t moves, left_over, bytes, longest; /* so far; requests that the next device found; of the last state; ns without a device */
    uint64_t left;                             /* when */
    uint64_t features;                         /* accepted by the guest, whatever of it this place's back-end is told */
    uint8_t *state;
    size_t len;
    struct via_drive_domain domain; /* of a translated place */
};

struct via_drive {
    struct via_drive_opts opts;
    struct via_err err;
    struct via_endpoint end;
    struct via_client_region region; /* of the back-end's; mapped only with --dma=device */
    bool connected;
    struct via_blk_config config;
    uint64_t capacity;  /* bytes */
    uint32_t blk_size;  /* bytes */
    uint32_t seg_max;   /* data segments in a request */
    uint32_t seg_bytes; /* bytes in one of them at most */
    bool read_only;
    unsigned span_max;
    struct via_plan plan; /* opts.wish.automatic */
    struct via_drive_memory mem;
    struct via_drive_domain domain;
    struct via_drive_secure secure;
    struct via_drive_queue queue[VIA_DRIVE_QUEUES];
    struct via_neighbour *neighbour; /* NULL: none */
    struct via_drive_io *ios;
    void *io_array;
    struct via_drive_move move;
    unsigned inflight;
    uint64_t now;          /* ns, as of the last look at the clock */
    uint64_t last_end;     /* when something last ended */
    uint64_t begun, ended; /* of the command's I/O */
    uint64_t ops, bytes;   /* of the command's I/O */
    uint64_t moved;        /* bytes of data that came or went, whatever for */
    uint64_t verified;     /* blocks that were read and are as they were written */
    uint64_t lost;         /* requests that never ended */
    uint64_t eagain, misuses, sleeps;
    uint64_t shown; /* when progress was last shown */
    struct via_latency latency;
    uint64_t starved; /* since when not even one request found room; 0: not now */
    struct {
        uint64_t copied; /* bytes */
        uint32_t slots, high_water;
        uint64_t neighbour; /* requests of the other device */
        struct via_drive_grown grown;
    } pool;
    struct { /* of translations, while they were needed */
        uint64_t misses, refused, updates, invalidates, flushes, access_fails, failed;
    } asked;
    struct {
        bool known;
        pid_t pid;
        uint64_t total, priv, pool, others; /* bytes; total: of driver memory */
    } reach;
    struct {
        unsigned requests, refused;
        uint64_t guard_damaged, unwritten_changed, secret_changed;
    } probed;
};

static inline bool via_drive_has(const struct via_drive *d, enum via_feature bit) { return d->end.client.front.features & VIA_BIT(bit); }

/* ------------------------------------------------------------------ drive_connect.c: the connection */

VIA_MUST_USE int via_drive_connect(struct via_drive *); /* up to the features and config space */
void via_drive_find_peer(struct via_drive *);           /* whose process is at the other end */
uint8_t via_drive_status(const struct via_drive *);     /* of a device whose features were agreed on */
/* Features and protocol features that are accepted where they are offered. */
extern const uint64_t via_drive_want, via_drive_want_protocol;
/* Up to what 5.2.4 has for write zeroes: older back-ends refuse to be asked for more than they know. */
#define VIA_DRIVE_CONFIG_BYTES ((uint32_t)offsetof(struct via_blk_config, max_secure_erase_sectors))

/* ------------------------------------------------------------------ drive_disk.c, drive_io.c: queues and requests */

VIA_MUST_USE int via_drive_start(struct via_drive *); /* memory, queues, running */
void via_drive_stop(struct via_drive *);              /* what is left is ended with -VIA_ENODEV */
/* Put a request on its queue. -VIA_EAGAIN: not now. */
VIA_MUST_USE int via_drive_submit(struct via_drive *, struct via_drive_io *);
/* Show and kick what was submitted, end what came back; sleep (or poll) when nothing did. 0, or negative: d->err tells. */
VIA_MUST_USE int via_drive_turn(struct via_drive *);
/* A request with a buffer of len bytes out of driver memory; it lives until via_drive_stop. NULL: no memory, d->err tells. */
struct via_drive_io *via_drive_io_new(struct via_drive *, uint32_t len);
/* n of them; the array too lives until via_drive_stop. */
struct via_drive_io **via_drive_ios_new(struct via_drive *, unsigned n, uint32_t len);
/* Why a request that ended failed, into d->err. */
int via_drive_io_failed(struct via_drive *, const struct via_drive_io *);

/* ------------------------------------------------------------------ drive_move.c: the guest moves from host to host */

/*
 * Leave, or arrive, when that is due. In between the guest goes on for a turn, and what it makes available then waits for the next device.
 * 1: it has just left, there is nobody to wait for. 0: a device is there. Negative: d->err tells.
 */
VIA_MUST_USE int via_drive_move(struct via_drive *);
void via_drive_move_close(struct via_drive *);

/* ------------------------------------------------------------------ the commands */

VIA_MUST_USE int via_drive_copy(struct via_drive *);  /* drive_copy.c: out, in, verify */
VIA_MUST_USE int via_drive_load(struct via_drive *);  /* drive_load.c */
VIA_MUST_USE int via_drive_probe(struct via_drive *); /* drive_probe.c */
void via_drive_look(
    struct via_drive *); /* drive_report.c: what the back-end reaches, what the pool did and the IOMMU, while they are there */
VIA_MUST_USE int via_drive_report(struct via_drive *, bool ok);
struct json_object;
VIA_MUST_USE int via_drive_json(struct via_drive *, struct json_object *); /* to where --json says; the object is used up */
void via_drive_look_at_domain(struct via_drive *);                         /* what the connection that is about to close saw is added up */
void via_drive_progress(struct via_drive *, uint64_t done, uint64_t all);
VIA_MUST_USE int via_drive_info(struct via_drive *); /* drive_info.c */

/* ------------------------------------------------------------------ drive_neighbour.c: another device, in this process */

size_t via_neighbour_priv(void);
VIA_MUST_USE int via_neighbour_open(struct via_neighbour **, struct via_drive *);
/* Finish what is in flight, start more: at any time between two steps its data lies where its device reaches it. */
VIA_MUST_USE int via_neighbour_step(struct via_neighbour *, struct via_err *err);
uint64_t via_neighbour_requests(const struct via_neighbour *);
void via_neighbour_close(struct via_neighbour *);

#endif
