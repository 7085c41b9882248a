/* SPDX-License-Identifier: BSD-2-Clause */
/* The block device (virtio v1.4 5.2): requests judged, turned into store operations one after the other, and answered. */
#include "blk.h"

struct via_blk_req {
    struct via_blk_io io;
    struct via_blk_device *device;
    struct via_req *req;
    struct via_blk_req *next; /* free, or waiting for room in the store */
    uint8_t ranges, at;       /* discard, write zeroes: how many, and the next one */
    bool fills;               /* when it succeeds, all writable bytes before the status are filled */
    bool flush_after;         /* a write that must be stable when it completes */
    bool started;             /* the store took an operation: no way back to the pump */
    bool issuing, ended;      /* the store is being called; it called done */
    int result;
    uint64_t *count; /* what it counts as when it succeeds */
    struct via_blk_range range[VIA_BLK_RANGES];
    struct via_span *span;
};

static void spans_zero(const struct via_span *span, size_t len)
{
    for (; len; span++) {
        size_t take = via_min64(span->len, len);
        via_shm_zero(span->ptr, take);
        len -= take;
    }
}

static void blk_status(struct via_req *q, uint8_t status)
{
    const struct via_span *last = &q->span[q->n_out + q->n_in - 1];
    via_shm_write((char *)last->ptr + last->len - 1, &status, 1);
    via_req_complete(q, (uint32_t)q->chain.in_len);
}

/*
 * The used length counts from the start of the writable part, and the status is its last byte (5.2.6): only a used length that covers the
 * status brings it to a driver that copies as much as we report, and it vouches for all bytes before. So what was not filled is
 * zeroed, however much it is: a read of as much would have taken longer.
 */
static void blk_answer(struct via_req *q, uint8_t status, bool filled)
{
    if (!filled)
        spans_zero(q->span + q->n_out, q->chain.in_len - 1);
    blk_status(q, status);
}

static void blk_release(struct via_blk_req *r)
{
    r->next = r->device->free;
    r->device->free = r;
}

static void blk_finish(struct via_blk_req *r, int result)
{
    struct via_req *q = r->req;
    uint8_t status = result >= 0 ? VIA_BLK_S_OK : result == -VIA_ENOTSUP ? VIA_BLK_S_UNSUPP : VIA_BLK_S_IOERR;
    ++*(status == VIA_BLK_S_OK ? r->count : &r->device->errors);
    blk_release(r);
    blk_answer(q, status, status == VIA_BLK_S_OK && r->fills);
}

/* ------------------------------------------------------------------ what a request asks for */

static bool blk_covers(const struct via_blk_device *d, uint64_t sector, uint64_t sectors)
{
    uint64_t capacity = d->limits.capacity / VIA_BLK_SECTOR;
    return capacity && via_range_inside(sector, sectors, 0, capacity - 1);
}

static int plan_data(struct via_blk_req *r, enum via_blk_op op, uint64_t sector, const struct via_span *span, unsigned n, size_t off,
                     uint64_t len)
{
    if (len % VIA_BLK_SECTOR || !blk_covers(r->device, sector, len / VIA_BLK_SECTOR))
        return -VIA_EIO;
    int k = via_spans_cut(span, n, off, len, r->span, r->device->spans);
    if (k < 0)
        return -VIA_EIO;
    r->io.op = op;
    r->io.offset = sector * VIA_BLK_SECTOR;
    r->io.len = len;
    r->io.span = r->span;
    r->io.n = (unsigned)k;
    return 0;
}

/* The next store operation into r->io; false: there is none. */
static bool plan_next(struct via_blk_req *r)
{
    struct via_blk_io *io = &r->io;
    if (r->at < r->ranges) {
        const struct via_blk_range *g = &r->range[r->at++];
        io->offset = via_le64_value(g->sector) * VIA_BLK_SECTOR;
        io->len = (uint64_t)via_le32_value(g->num_sectors) * VIA_BLK_SECTOR;
        io->may_unmap = (via_le32_value(g->flags) & VIA_BLK_WRITE_ZEROES_F_UNMAP) && r->device->config.write_zeroes_may_unmap;
        return true;
    }
    if (!r->flush_after)
        return false;
    r->flush_after = false;
    io->op = VIA_BLK_FLUSH;
    io->offset = io->len = 0;
    io->span = NULL;
    io->n = 0;
    return true;
}

/* Private copies in a big-endian driver's order become little-endian ones. */
static void hdr_turn(struct via_blk_hdr *h)
{
    h->type.raw = __builtin_bswap32(h->type.raw);
    h->sector.raw = __builtin_bswap64(h->sector.raw);
}

static void ranges_turn(struct via_blk_range *g, unsigned n)
{
    for (; n; n--, g++) {
        g->sector.raw = __builtin_bswap64(g->sector.raw);
        g->num_sectors.raw = __builtin_bswap32(g->num_sectors.raw);
        g->flags.raw = __builtin_bswap32(g->flags.raw);
    }
}

static int plan_ranges(struct via_blk_req *r, enum via_blk_op op, uint32_t flags)
{
    const struct via_req *q = r->req;
    uint64_t len = q->chain.out_len - sizeof(struct via_blk_hdr);
    if (len == 0 || len % sizeof(r->range[0]) || len > sizeof(r->range))
        return -VIA_EIO;
    via_spans_read(q->span, q->n_out, sizeof(struct via_blk_hdr), r->range, len);
    unsigned n = (unsigned)(len / sizeof(r->range[0]));
    if (r->device->big)
        ranges_turn(r->range, n);
    for (unsigned i = 0; i < n; i++)
        if (via_le32_value(r->range[i].flags) & ~flags)
            return -VIA_ENOTSUP;
    for (unsigned i = 0; i < n; i++) {
        uint32_t sectors = via_le32_value(r->range[i].num_sectors);
        if (sectors > VIA_BLK_RANGE_SECTORS || !blk_covers(r->device, via_le64_value(r->range[i].sector), sectors))
            return -VIA_EIO;
    }
    r->ranges = (uint8_t)n;
    r->io.op = op;
    r->io.span = NULL;
    r->io.n = 0;
    plan_next(r);
    return 0;
}

static int plan_id(struct via_blk_req *r)
{
    const struct via_req *q = r->req;
    if (q->chain.in_len != VIA_BLK_ID_BYTES + 1)
        return -VIA_EIO;
    via_spans_write(q->span + q->n_out, q->n_in, 0, r->device->limits.id, VIA_BLK_ID_BYTES);
    r->fills = true;
    return 1;
}

/* 0: r->io is the first store operation. 1: done without the store. -VIA_EIO, -VIA_ENOTSUP: so must it be answered. */
static int plan(struct via_blk_req *r, const struct via_blk_hdr *hdr)
{
    const struct via_req *q = r->req;
    struct via_blk_device *d = r->device;
    uint64_t sector = via_le64_value(hdr->sector), data_in = q->chain.in_len - 1;
    bool stable = !(d->features & VIA_BIT(VIA_BLK_F_FLUSH)); /* we offer FLUSH: who does not take it gets stable writes (5.2.6.2) */
    switch (via_le32_value(hdr->type)) {
    case VIA_BLK_T_IN:
        r->count = &d->reads;
        r->fills = true;
        return plan_data(r, VIA_BLK_READ, sector, q->span + q->n_out, q->n_in, 0, data_in);
    case VIA_BLK_T_OUT:
        r->count = &d->writes;
        r->flush_after = stable;
        return d->limits.read_only ? -VIA_EIO
                                   : plan_data(r, VIA_BLK_WRITE, sector, q->span, q->n_out, sizeof(*hdr), q->chain.out_len - sizeof(*hdr));
    case VIA_BLK_T_FLUSH:
        r->flush_after = true;
        return stable ? -VIA_ENOTSUP : !plan_next(r);
    case VIA_BLK_T_GET_ID:
        return plan_id(r);
    case VIA_BLK_T_DISCARD:
        return d->features & VIA_BIT(VIA_BLK_F_DISCARD) ? plan_ranges(r, VIA_BLK_DISCARD, 0) : -VIA_ENOTSUP;
    case VIA_BLK_T_WRITE_ZEROES:
        r->flush_after = stable;
        return d->features & VIA_BIT(VIA_BLK_F_WRITE_ZEROES) ? plan_ranges(r, VIA_BLK_ZERO, VIA_BLK_WRITE_ZEROES_F_UNMAP) : -VIA_ENOTSUP;
    default:
        return -VIA_ENOTSUP;
    }
}

/* ------------------------------------------------------------------ the store's operations, one after the other */

/* An operation ended. True: r->io is the next one. False: so did the request. */
static bool blk_step(struct via_blk_req *r)
{
    if (r->result >= 0 && plan_next(r))
        return true;
    blk_finish(r, r->result);
    return false;
}

/* Give r->io to the store, and what follows it for as long as operations end at once. -VIA_EAGAIN: the store never took any. */
static int blk_drive(struct via_blk_req *r)
{
    struct via_blk_device *d = r->device;
    do {
        r->issuing = true;
        r->ended = false;
        int rc = d->store->ops->submit(d->store, &r->io);
        r->issuing = false;
        if (rc == -VIA_EAGAIN && !r->started)
            return rc;
        if (rc == -VIA_EAGAIN) {
            r->next = d->waiting;
            d->waiting = r;
            return 0;
        }
        r->started = true;
        if (rc < 0) {
            r->ended = true;
            r->result = rc;
        }
    } while (r->ended && blk_step(r));
    return 0;
}

/* Offer what waits in the middle of a sequence to the store again. False: it is still full. */
static bool blk_drive_waiting(struct via_blk_device *d)
{
    while (d->waiting) {
        struct via_blk_req *r = d->waiting;
        d->waiting = r->next;
        (void)blk_drive(r);
        if (d->waiting == r)
            return false;
    }
    return true;
}

static void blk_done(struct via_blk_io *io, int result)
{
    struct via_blk_req *r = via_container_of(io, struct via_blk_req, io);
    struct via_blk_device *d = r->device;
    r->ended = true;
    r->result = result;
    if (r->issuing)
        return;
    if (blk_step(r))
        (void)blk_drive(r);
    (void)blk_drive_waiting(d);
}

/* Field by field: the ranges need no clearing. */
static void blk_reset(struct via_blk_req *r, struct via_req *q)
{
    r->io = (struct via_blk_io){.done = blk_done};
    r->req = q;
    r->ranges = r->at = 0;
    r->fills = r->flush_after = r->started = false;
    r->result = 0;
    r->count = &r->device->others;
}

static int blk_submit(struct via_device *device, struct via_req *q)
{
    struct via_blk_device *d = via_container_of(device, struct via_blk_device, device);
    struct via_blk_hdr hdr;
    if (via_spans_read(q->span, q->n_out, 0, &hdr, sizeof(hdr)) < sizeof(hdr))
        return via_fault_set(&q->pump->fault, -VIA_EPROTO, "a block request is shorter than its header", q->chain.out_len, sizeof(hdr));
    if (q->n_in == 0)
        return via_fault_set(&q->pump->fault, -VIA_EPROTO, "a block request has no writable byte for its status", 0, 1);
    if (!blk_drive_waiting(d) || !d->free)
        return -VIA_EAGAIN;
    if (d->big)
        hdr_turn(&hdr);
    struct via_blk_req *r = d->free;
    d->free = r->next;
    blk_reset(r, q);
    int rc = plan(r, &hdr);
    if (rc != 0) {
        blk_finish(r, rc);
        return 0;
    }
    rc = blk_drive(r);
    if (rc < 0)
        blk_release(r);
    return rc;
}

/* The status is the last byte that the spans hold: the data before it may be out of reach, or lie in other spans than these. */
static int blk_refuse(struct via_device *device, struct via_req *q)
{
    struct via_blk_device *d = via_container_of(device, struct via_blk_device, device);
    if (q->n_in == 0)
        return -VIA_EFAULT;
    d->errors++;
    spans_zero(q->span, via_spans_len(q->span, q->n_in) - 1);
    blk_status(q, VIA_BLK_S_IOERR);
    return 0;
}

/* ------------------------------------------------------------------ */

static const struct via_device_ops blk_ops = {.submit = blk_submit, .refuse = blk_refuse};

size_t via_blk_device_bytes(unsigned depth, unsigned spans)
{
    return depth * (sizeof(struct via_blk_req) + spans * sizeof(struct via_span));
}

int via_blk_device_init(struct via_blk_device *d, const struct via_blk_limits *limits, struct via_blk_store *store, unsigned depth,
                        unsigned spans, void *storage)
{
    *d = (struct via_blk_device){.device.ops = &blk_ops, .store = store, .limits = *limits, .spans = spans};
    int rc = depth && spans ? via_blk_config_make(limits, &d->config) : -VIA_EINVAL;
    if (rc < 0)
        return rc;
    struct via_blk_req *req = storage;
    struct via_span *span = (struct via_span *)(void *)(req + depth);
    for (unsigned i = depth; i-- > 0;) {
        req[i] = (struct via_blk_req){.device = d, .span = span + (size_t)i * spans};
        blk_release(&req[i]);
    }
    return 0;
}
