/* SPDX-License-Identifier: BSD-2-Clause */
/* driver: device drivers over a queue and a dma strategy; what carries them (vhost-user, mmio ...) kicks and is kicked. */
#ifndef VIADUCT_DRIVER_H
#define VIADUCT_DRIVER_H

#include <viaduct/dma.h>
#include <viaduct/ring.h>
#include <viaduct/spec.h>

/* ------------------------------------------------------------------ block driver (5.2): one queue of it */

struct via_blk_wire { /* what a request needs beside its data, in memory that dma can map */
    struct via_blk_hdr hdr;
    struct via_blk_range range; /* DISCARD, WRITE_ZEROES */
    uint8_t status;
    uint8_t pad[31];
};

struct via_blk_slot; /* private state of a request */

struct via_blk_done {
    void *token;
    int result; /* 0; -VIA_EIO: the device says so; -VIA_ENOTSUP: it does not know the request; -VIA_EPROTO: it answered nonsense (too few
                   bytes, an unknown status) */
    uint32_t written; /* data bytes that arrived (READ, GET_ID): all of them, or 0 when result is not 0 */
};

struct via_blk_driver {
    struct via_vq *vq;
    struct via_dma *dma;
    struct via_blk_wire *wire;
    struct via_blk_slot *free;
    struct via_blk_slot *slot;
    unsigned depth, data_max;
    uint64_t features;
    bool read_only;
    struct via_fault fault;
};

struct via_blk_cmd {
    enum via_blk_type type;
    uint64_t sector;             /* IN, OUT, DISCARD, WRITE_ZEROES: in 512-byte sectors */
    uint32_t num_sectors;        /* DISCARD, WRITE_ZEROES */
    bool unmap;                  /* WRITE_ZEROES: may deallocate */
    const struct via_span *data; /* IN, OUT: whole sectors in all; GET_ID: 20 bytes. The caller's until done. */
    unsigned n;
    void *token;
};

/* Bytes of private storage for `depth` requests of at most data_max data spans, each mapped to at most seg_max segments in all. */
size_t via_blk_driver_bytes(unsigned depth, unsigned data_max, unsigned seg_max);
/*
 * Without VERSION_1 the device is a legacy one: used lengths mean nothing (5.2.6.3), all of the data counts as written when the status says
 * that it succeeded; so dma has to see to it that what the device left alone holds no one else's bytes (via_bounce's under_reports).
 */
/* wire: `depth` of them, zeroed, in memory that dma can map. features: accepted ones (with SIZE_MAX the caller sees to it that no segment
 * is longer). */
VIA_MUST_USE int via_blk_driver_init(struct via_blk_driver *, struct via_vq *, struct via_dma *, uint64_t features, unsigned depth,
                                     unsigned data_max, unsigned seg_max, struct via_blk_wire *wire, void *storage);

/* Map and put on the ring; via_vq_publish shows it. -VIA_EAGAIN: no slot, descriptor or dma resource now. -VIA_EINVAL: not a request that
 * this device offers (no whole sectors, a feature that was not accepted, a write to a read-only one: -VIA_EROFS). */
VIA_MUST_USE int via_blk_driver_submit(struct via_blk_driver *, const struct via_blk_cmd *);
/* 1: *out is one that ended. 0: none. -VIA_EPROTO: the device broke the ring's rules. */
VIA_MUST_USE int via_blk_driver_reap(struct via_blk_driver *, struct via_blk_done *out);
/* After the device was stopped: end what will never come back, result -VIA_ENODEV. 1 or 0. */
VIA_MUST_USE int via_blk_driver_abandon(struct via_blk_driver *, struct via_blk_done *out);

#endif
