/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ring: the split virtqueue (virtio v1.4 2.7), one side each.
 *
 * A ring carries device addresses and knows nothing of how they came about or where they lead: it includes neither
 * dma nor xlate. What is in shared memory is the peer's to change at any moment, so every shared word is read once,
 * into a copy, the copy is judged, and nothing that the peer can write is ever read back as our own state.
 *
 * A queue has one owner: all calls on one via_vq (or via_dq) come from one thread at a time.
 *
 * A peer that breaks the rules gets -VIA_EPROTO; the queue is then broken (each later call says so again) until it is
 * initialised anew, and `fault` tells what was wrong. Nothing is ever read or written outside the areas of the queue.
 */
#ifndef VIADUCT_RING_H
#define VIADUCT_RING_H

#include <viaduct/port.h>
#include <viaduct/spec.h>

/* ------------------------------------------------------------------ where the three areas lie (2.7, 2.7.2) */

struct via_split_layout {
    size_t desc, avail, used; /* byte offsets from a 16-byte aligned start */
    size_t total;             /* bytes in all */
};

/* num: a power of two up to VIA_RING_NUM_MAX. used_align: alignment of the used area, 4 or more (legacy: 4096); else -VIA_EINVAL. */
VIA_MUST_USE int via_split_layout(struct via_split_layout *out, unsigned num, size_t used_align);

static inline size_t via_split_desc_bytes(unsigned num) { return 16u * (size_t)num; }
static inline size_t via_split_avail_bytes(unsigned num) { return 6 + 2u * (size_t)num; }
static inline size_t via_split_used_bytes(unsigned num) { return 6 + 8u * (size_t)num; }

/* Notification arithmetic (2.7.7.2, 2.7.10.1): does going from `was` to `now` pass the index that the peer waits for? */
static inline bool via_ring_passed(uint16_t event, uint16_t now, uint16_t was)
{
    return (uint16_t)(now - event - 1) < (uint16_t)(now - was);
}

/* ------------------------------------------------------------------ driver side */

struct via_vq_slot { /* one a descriptor, private to the driver */
    void *token;
    uint64_t serial;   /* how many chains were added before this one */
    uint32_t writable; /* bytes that the device may write */
    uint16_t count;    /* descriptors in the chain that starts here; 0: none does */
    uint16_t next;     /* private shadow of the descriptor's next; the free list runs through it too */
};

struct via_vq_cfg {
    uint16_t num;              /* queue size: a power of two, at most 32768 */
    void *desc, *avail, *used; /* where we reach the three areas: zeroed, aligned to 16, 2 and 4 bytes */
    struct via_vq_slot *slot;  /* num of them; the caller's, for as long as the queue lives */
    void *indirect;            /* where we reach num tables of indirect_len descriptors each; NULL: no indirect */
    via_iova indirect_addr;    /* the device's address of the same */
    uint16_t indirect_len;     /* descriptors in a table, at most num */
    bool event_idx;            /* VIRTIO_F_EVENT_IDX was negotiated */
    bool any_written;          /* a legacy device's used lengths mean nothing (2.7.8.3): what is too much is cut, and breaks nothing */
    bool order_platform;       /* VIRTIO_F_ORDER_PLATFORM was: the platform's barriers (base.h), for a device that is no processor */
    struct via_port *port;     /* flushes posted writes before each look at what the device wants or has done; NULL: none are posted */
};

struct via_vq {
    struct via_vq_cfg cfg;
    struct via_fault fault;
    bool broken;
    uint16_t free_head, free_count;
    uint16_t avail_idx; /* next to fill */
    uint16_t published; /* what the device has been shown */
    uint16_t used_idx;  /* next to reap */
    uint16_t used_seen; /* the device's index as last read and judged */
    uint16_t inflight;  /* chains, those that were not published yet included */
    uint16_t detach_at; /* where via_vq_detach goes on */
    uint64_t added;     /* chains, ever */
};

struct via_used_chain {
    void *token;
    uint32_t written; /* bytes, never more than the chain's writable ones */
};

/* Used buffer notifications are asked for at first. -VIA_EINVAL: a size or an alignment that 2.7 does not allow, or a part missing. */
VIA_MUST_USE int via_vq_init(struct via_vq *, const struct via_vq_cfg *);

/*
 * Put a chain on the ring: `out` device-readable segments, then `in` device-writable ones. The device does not see it
 * before via_vq_publish. Takes one descriptor where an indirect table serves, else one a segment. token: not NULL.
 * -VIA_EAGAIN: not enough descriptors free now. -VIA_E2BIG: more segments than the queue's size (2.7.5.3.1), 0 of them, or 2^32
 * bytes or more in all (2.7.5.2 forbids more than 2^32, and a used length could not tell of 2^32 itself). -VIA_EINVAL: a segment
 * of 0 bytes. -VIA_EPROTO: broken.
 */
VIA_MUST_USE int via_vq_add(struct via_vq *, const struct via_seg *seg, unsigned out, unsigned in, void *token);

/* Show the device all that was added since. True: the device wants an available buffer notification (2.7.10.1, 2.7.13.4.1). */
VIA_MUST_USE bool via_vq_publish(struct via_vq *);

/*
 * Take one used chain back. 1: *out holds it. 0: none. -VIA_EPROTO: the device used an id that is not outstanding, or
 * claims more bytes than the chain's writable ones, or moved its index by more than is outstanding. Only what was published is
 * outstanding.
 */
VIA_MUST_USE int via_vq_reap(struct via_vq *, struct via_used_chain *out);

/* Ask for used buffer notifications (2.7.7.1); true: something is there already, so reap before sleeping. */
VIA_MUST_USE bool via_vq_arm(struct via_vq *);
void via_vq_disarm(struct via_vq *);

/* After the device has been stopped: hand the tokens of chains that will never come back out, one a call, then NULL. The queue is
 * broken from the first call on. */
void *via_vq_detach(struct via_vq *);

static inline unsigned via_vq_inflight(const struct via_vq *vq) { return vq->inflight; }

/* ------------------------------------------------------------------ device side */

/*
 * A private, validated copy of one descriptor chain: n_out readable segments, then n_in writable ones. The owner
 * lends the storage. If `table.len` is not 0 the chain ends in an indirect table which is still to be fetched.
 */
struct via_chain {
    struct via_seg *seg;
    uint16_t cap; /* segments that seg has room for: at least the queue size, then no valid chain is too long */
    uint16_t head;
    uint16_t n_out, n_in;
    uint64_t out_len, in_len; /* bytes */
    struct via_seg table;
};

enum via_pop { VIA_POP_EMPTY = 0, VIA_POP_READY = 1, VIA_POP_TABLE = 2 };

struct via_dq_cfg {
    uint16_t num;
    const void *desc, *avail; /* where we reach the areas; the driver's to write */
    void *used;
    uint16_t base;       /* available index to start from (SET_VRING_BASE) */
    bool event_idx;      /* VIRTIO_F_EVENT_IDX */
    bool indirect;       /* VIRTIO_F_INDIRECT_DESC */
    bool big;            /* a legacy driver on a big-endian processor: so are all words of the ring and of its tables (2.6.3) */
    bool order_platform; /* VIRTIO_F_ORDER_PLATFORM; the driver's flush of posted writes, where there are any, serves us, too */
};

struct via_dq {
    struct via_dq_cfg cfg;
    struct via_fault fault;
    bool broken;
    uint16_t avail_idx;  /* next to pop */
    uint16_t avail_seen; /* the driver's index as last read and judged */
    uint16_t used_idx;   /* next to push */
    uint16_t published;  /* what the driver has been shown */
    uint16_t inflight;   /* popped, not pushed */
};

/*
 * The used index goes on from where used->idx stands, read once. Available buffer notifications are asked for at first. The areas may all
 * be NULL: then via_dq_move has to come before anything else but via_dq_unpop and via_dq_refuse. -VIA_EINVAL: size or alignment.
 */
VIA_MUST_USE int via_dq_init(struct via_dq *, const struct via_dq_cfg *);
/* From here on the areas are reached there. -VIA_EINVAL: alignment, nothing changed. */
VIA_MUST_USE int via_dq_move(struct via_dq *, const void *desc, const void *avail, void *used);

/*
 * Take the next available chain. VIA_POP_READY: *chain is whole. VIA_POP_TABLE: fetch chain->table.len bytes (at most 16 a
 * descriptor of the queue) from device address chain->table.addr and give them to via_dq_table. -VIA_EPROTO:
 * - the chain loops, is longer than the queue (the table's descriptors counted), or leaves the descriptor table;
 * - a descriptor has length 0, or is readable and follows a writable one (2.7.4.2), or the sum is 2^32 bytes or more;
 * - INDIRECT was not negotiated, or stands together with NEXT, or in a table (2.7.5.3.1); INDIRECT after direct descriptors is fine, and
 *   WRITE beside it is ignored (2.7.5.3.2);
 * - a table's length is 0, not a multiple of 16, or more than 16 bytes a descriptor of the queue;
 * - more chains were made available than there are descriptors.
 * Reads of a driver's words happen once each, and a chain that came back whole can't change any more.
 */
VIA_MUST_USE int via_dq_pop(struct via_dq *, struct via_chain *chain);

/* Complete a VIA_POP_TABLE chain from a private copy of its table (table.len bytes). 0: chain->table.len is 0 now, the chain is whole.
 * -VIA_EPROTO: the chain is refused. */
VIA_MUST_USE int via_dq_table(struct via_dq *, struct via_chain *chain, const struct via_desc *table);

/*
 * The owner can't serve a chain that it popped, for a reason that lies in the chain (its table is outside the device's memory ...): break
 * the queue with this fault; the chain does not count as in flight any more. Returns -VIA_EPROTO.
 */
int via_dq_refuse(struct via_dq *, const char *what, uint64_t got, uint64_t limit);

/* Put the last n chains that were popped back: they will be popped again, and are judged anew then. None of them was pushed. */
void via_dq_unpop(struct via_dq *, unsigned n);

/* Give a chain back, in any order; on a broken queue too. The driver does not see it before via_dq_publish. written: bytes written from the
 * start of the writable part on (2.7.8.2). */
void via_dq_push(struct via_dq *, uint16_t head, uint32_t written);

/* Show the driver all that was pushed since. True: it wants a used buffer notification (2.7.7.2). */
VIA_MUST_USE bool via_dq_publish(struct via_dq *);

/* Ask for available buffer notifications (2.7.10.2); true: something is there already, so pop before sleeping. */
VIA_MUST_USE bool via_dq_arm(struct via_dq *);
void via_dq_disarm(struct via_dq *);

/* The available index at which another device would go on: GET_VRING_BASE, when nothing is in flight. */
static inline uint16_t via_dq_base(const struct via_dq *dq) { return dq->avail_idx; }

#endif
