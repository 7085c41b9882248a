/* SPDX-License-Identifier: BSD-2-Clause */
/* drive: the queues over a connection to a back-end, and the memory that they are in. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "drive_parts.h"

#define CHECK_ENTRIES 4096u
#define IOVA_STAY (UINT64_C(1) << 32) /* where addresses change: those of rings and pool, which don't */
#define IOVA_LOW (UINT64_C(1) << 20)  /* the same for a device that can't name these */

/* Where the used ring begins (2.7.2). */
static size_t used_align(const struct via_drive *d) { return d->opts.legacy ? 4096 : 4; }

/* How many descriptors an indirect table of ours has. */
static unsigned table_len(const struct via_drive *d) { return d->seg_max + 2; }

/* A request's data in pieces of at most seg_bytes; bounced, in as many slots as it could need at worst. Hybrid: both ends may be bounced.
 */
static int judge_block(struct via_drive *d)
{
    uint32_t block = d->opts.block_size;
    uint64_t most = (uint64_t)d->seg_max * d->seg_bytes, slot = via_min64(VIA_POOL_SLOT, d->seg_bytes);
    unsigned spare = via_drive_hybrid(d->mem.how) ? 3 : 1;
    if (via_drive_pooled(d->mem.how))
        most = d->seg_max > spare ? (d->seg_max - spare) * slot : slot;
    else if (d->mem.how == VIA_DRIVE_WINDOW && d->seg_max > 1)
        most -= d->seg_bytes; /* one more where it crosses from bank to bank */
    if (most > (1u << 30))
        most = 1u << 30;
    if (!block)
        block = (uint32_t)via_min64(256u << 10, most) & ~(d->blk_size - 1);
    if (block % d->blk_size || block < d->blk_size)
        return via_err_set(&d->err, -VIA_EINVAL, "--block-size=%u: the disk's blocks have %u bytes", d->opts.block_size, d->blk_size);
    if (block > most)
        return via_err_set(&d->err, -VIA_EINVAL, "--block-size=%u: the back-end takes at most %llu bytes in %u segments here; choose less",
                           block, (unsigned long long)most, d->seg_max);
    d->opts.block_size = block;
    d->span_max = (unsigned)((block - 1) / d->seg_bytes + 1);
    return 0;
}

static int open_memory(struct via_drive *d)
{
    struct via_split_layout lay;
    const struct via_drive_opts *o = &d->opts;
    d->mem.how = o->dma;
    int r = judge_block(d);
    if (r)
        return r;
    if (via_split_layout(&lay, o->queue_size, used_align(d)))
        return via_err_set(&d->err, -VIA_EINVAL, "--queue-size=%u: not a power of two up to %u", o->queue_size, VIA_RING_NUM_MAX);
    size_t tables = (size_t)o->queue_size * table_len(d) * sizeof(struct via_desc);
    size_t wires = via_arena_room(o->depth * sizeof(struct via_blk_wire));
    struct via_drive_need need = {
        .priv = o->queues * (wires + (size_t)o->depth * via_arena_room(o->block_size)) + via_neighbour_priv() +
                o->probe * via_arena_room(3 * (size_t)d->blk_size),
        .rings = o->queues * (via_arena_room(lay.total) + via_arena_room(tables)) + VIA_POOL_SLOT,
        .slots = o->pool_size,
        .stay = o->wish.mask > IOVA_STAY * 2 ? IOVA_STAY : IOVA_LOW,
        .guest = o->memory_size,
        .grow = o->pool_grow,
        .region = o->dma == VIA_DRIVE_DEVICE ? &d->region : NULL,
    };
    return o->dma == VIA_DRIVE_TURN ? via_drive_guest_open(&d->mem, &need, &d->err)
                                    : via_drive_memory_open(&d->mem, o->dma, &need, &d->err);
}

static void tell_misuse(struct via_check *c, enum via_misuse what, const struct via_mapping *m)
{
    (void)c;
    (void)m;
    fprintf(stderr, "viaduct drive: dma misuse: %s\n", via_misuse_name(what));
}

/* Where memory turns, the pool is not there for good. */
static bool wires_in_pool(const struct via_drive *d) { return via_drive_pooled(d->opts.dma) && d->opts.dma != VIA_DRIVE_TURN; }

/* The stack of strategies of one queue: direct or window, or a bounce over the pool, or mappings, or both of these; check on top. */
static int stack_dma(struct via_drive *d, struct via_drive_queue *q, unsigned index)
{
    size_t wires = d->opts.depth * sizeof(struct via_blk_wire);
    q->dma = d->mem.base;
    if (via_drive_pooled(d->opts.dma)) {
        if (via_bounce_init(&q->bounce, &d->mem.slots.pool, index, VIA_BOUNCE_CACHE / 2))
            return via_err_set(&d->err, -VIA_EINVAL, "queue %u can't use the pool", index);
        q->bounce.clear_tails = via_drive_lent(d->opts.dma);
        q->dma = &q->bounce.dma;
        q->bounce.under_reports = d->opts.legacy;
    }
    if (d->opts.dma == VIA_DRIVE_TURN) {
        via_turn_dma_init(&q->turn, &d->mem.guest.turn, d->mem.base, &q->bounce.dma);
        q->dma = &q->turn.dma;
    }
    if (wires_in_pool(d)) {
        /* Headers and status bytes are born in the pool: they are never copied. */
        q->wire = via_bounce_alloc(&q->bounce, wires);
        if (!q->wire)
            return via_err_set(&d->err, -VIA_ENOMEM, "the pool of %llu bytes is too small for %u queues of depth %u: raise --pool-size",
                               (unsigned long long)d->opts.pool_size, d->opts.queues, d->opts.depth);
    } else {
        q->wire = via_arena_take(&d->mem.priv, wires);
    }
    if (via_drive_translated(d->opts.dma) && !via_drive_bounced(d->opts.dma))
        q->dma = via_drive_domain_stack(d, q, via_drive_hybrid(d->opts.dma) ? &q->bounce.dma : NULL);
    if (!q->dma)
        return -VIA_ENOMEM;
    if (!d->opts.check)
        return 0;
    q->entry = calloc(CHECK_ENTRIES, sizeof(*q->entry));
    if (!q->entry || via_check_init(&q->check, q->dma, q->entry, CHECK_ENTRIES, tell_misuse))
        return via_err_set(&d->err, -VIA_ENOMEM, "no memory for --check");
    q->check.on = true;
    q->dma = &q->check.dma;
    return 0;
}

static int open_ring(struct via_drive *d, struct via_drive_queue *q)
{
    unsigned num = d->opts.queue_size;
    struct via_vq_cfg cfg = {.num = (uint16_t)num,
                             .event_idx = via_drive_has(d, VIA_F_EVENT_IDX),
                             .any_written = d->opts.legacy,
                             .order_platform = via_drive_has(d, VIA_F_ORDER_PLATFORM)};
    if (via_split_layout(&q->lay, num, used_align(d)))
        return via_err_set(&d->err, -VIA_EINVAL, "--queue-size=%u: not a power of two", num);
    q->ring = via_arena_take(&d->mem.rings, q->lay.total);
    q->slot = calloc(num, sizeof(*q->slot));
    if (!q->slot)
        return via_err_set(&d->err, -VIA_ENOMEM, "no memory for a queue of %u", num);
    cfg.slot = q->slot;
    cfg.desc = q->ring + q->lay.desc;
    cfg.avail = q->ring + q->lay.avail;
    cfg.used = q->ring + q->lay.used;
    if (via_drive_has(d, VIA_F_INDIRECT_DESC)) {
        size_t bytes = (size_t)num * table_len(d) * sizeof(struct via_desc);
        cfg.indirect = q->indirect = via_arena_take(&d->mem.rings, bytes);
        cfg.indirect_len = (uint16_t)table_len(d);
        if (via_drive_address(&d->mem, q->indirect, bytes, &cfg.indirect_addr))
            return via_err_set(&d->err, -VIA_ERANGE, "the device has no address for the indirect tables: lower --queue-size");
    }
    if (via_vq_init(&q->vq, &cfg))
        return via_err_set(&d->err, -VIA_EINVAL, "a queue of %u can't be made", num);
    return 0;
}

static int open_queue(struct via_drive *d, unsigned index)
{
    struct via_drive_queue *q = &d->queue[index];
    int r = open_ring(d, q);
    if (!r)
        r = stack_dma(d, q, index);
    if (r)
        return r;
    unsigned segs = table_len(d);
    q->driver_storage = aligned_alloc(64, (via_blk_driver_bytes(d->opts.depth, d->span_max, segs) + 63) & ~(size_t)63);
    q->kick = via_event_create();
    q->call = via_event_create();
    if (!q->driver_storage || q->kick < 0 || q->call < 0)
        return via_err_set(&d->err, -VIA_ENOMEM, "no memory or descriptors for queue %u", index);
    r = via_blk_driver_init(&q->driver, &q->vq, q->dma, d->end.client.front.features, d->opts.depth, d->span_max, segs, q->wire,
                            q->driver_storage);
    if (r)
        return via_err_set(&d->err, r, "the block driver refuses a depth of %u with %u segments", d->opts.depth, segs);
    via_iova at = {(uintptr_t)q->ring}; /* by user address where nothing is translated */
    if ((via_drive_translated(d->opts.dma) || via_drive_lent(d->opts.dma)) && via_drive_address(&d->mem, q->ring, q->lay.total, &at))
        return via_err_set(&d->err, -VIA_ERANGE, "the device has no address for queue %u", index);
    r = via_client_ring_start(&d->end.client, index, d->opts.queue_size, at.v + q->lay.desc, at.v + q->lay.avail, at.v + q->lay.used, 0,
                              q->kick, q->call, &d->err);
    q->running = !r;
    return r;
}

/* Of what the device may see for as long as it runs. */
static uint64_t last_address(const struct via_drive *d)
{
    const struct via_phys_range *stay = &d->mem.stay;
    if (!d->mem.regions)
        return d->mem.pool.len - 1; /* offsets in memory of the back-end's */
    const struct via_vu_region *region = &d->mem.region[d->mem.regions - 1];
    return stay->len ? stay->phys + (stay->len - 1) : region->gpa + (region->size - 1);
}

int via_drive_start(struct via_drive *d)
{
    for (unsigned i = 0; i < VIA_DRIVE_QUEUES; i++)
        d->queue[i].kick = d->queue[i].call = -1;
    bool translated = via_drive_translated(d->opts.dma);
    int r = open_memory(d);
    if (!r)
        r = via_drive_policy_check(d, last_address(d));
    if (!r && translated)
        r = via_drive_domain_open(d);
    if (!r && d->opts.canary_out)
        r = via_drive_canary_out(&d->mem, d->opts.canary_out, &d->err);
    if (!r && d->mem.regions)
        r = via_client_share(&d->end.client, d->mem.region, d->mem.region_fd, d->mem.regions, &d->err);
    if (!r && translated)
        r = via_endpoint_attach(&d->end, &d->domain.front, &d->err);
    for (unsigned i = 0; !r && i < d->opts.queues; i++)
        r = open_queue(d, i);
    if (!r)
        r = via_client_status(&d->end.client, via_drive_status(d) | VIA_STATUS_DRIVER_OK, &d->err);
    if (!r && (d->opts.global_pool || d->opts.canary_out))
        r = via_neighbour_open(&d->neighbour, d);
    d->now = d->last_end = via_drive_clock();
    return r;
}

static void close_queue(struct via_drive *d, struct via_drive_queue *q)
{
    struct via_blk_done done;
    while (q->driver_storage && via_blk_driver_abandon(&q->driver, &done) == 1) {
        struct via_drive_io *io = done.token;
        io->busy = false;
        d->inflight--;
    }
    if (q->entry)
        d->misuses += via_check_finish(&q->check);
    if (q->wire && wires_in_pool(d))
        via_bounce_free(&q->bounce, q->wire, d->opts.depth * sizeof(struct via_blk_wire));
    if (q->bounce.pool)
        via_bounce_drain(&q->bounce);
    if (q->kick >= 0)
        close(q->kick);
    if (q->call >= 0)
        close(q->call);
    via_drive_domain_close_queue(q);
    free(q->entry);
    free(q->driver_storage);
    free(q->slot);
    q->kick = q->call = -1;
    q->driver_storage = q->slot = NULL;
    q->entry = NULL;
}

void via_drive_stop(struct via_drive *d)
{
    struct via_err late;
    uint16_t base;
    bool dead = !d->connected;
    via_drive_search_end(&d->secure.search);
    for (unsigned i = 0; i < d->opts.queues && !dead; i++)
        dead = d->queue[i].running && via_client_ring_stop(&d->end.client, i, &base, &late) != 0;
    via_endpoint_detach(&d->end); /* stopped, or gone: no answer of its is worth waiting for */
    if (d->connected)
        via_client_close(&d->end.client);
    d->connected = false;
    via_drive_move_close(d);
    for (unsigned i = 0; d->mem.own.ptr && i < d->opts.queues; i++)
        close_queue(d, &d->queue[i]);
    via_neighbour_close(d->neighbour);
    d->neighbour = NULL;
    via_drive_domain_close(d);
    via_drive_guest_close(&d->mem);
    via_drive_memory_close(&d->mem);
    if (d->region.mapped.ptr)
        via_mapped_close(&d->region.mapped);
    d->region.mapped.ptr = NULL;
    for (struct via_drive_io *io = d->ios, *next; io; io = next) {
        next = io->next;
        free(io);
    }
    d->ios = NULL;
    free(d->io_array);
    d->io_array = NULL;
}
