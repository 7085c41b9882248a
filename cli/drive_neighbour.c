/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * drive: the neighbour, a second virtio disk whose device is this process itself. Its data is nobody else's business: every sector is full
 * of a canary. It shares the pool where the pool is global, and it keeps requests in flight all the time.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "drive_parts.h"

#define NUM 16u /* queue size */
#define REQUESTS 4u
#define BLOCK ((size_t)4096)
#define DISK (64u * BLOCK)
#define POOL ((size_t)1 << 20)
#define POOL_PHYS UINT64_C(0x1000000)
#define PACE_NS UINT64_C(500000) /* between two steps that do something */
#define NUMBER 63u               /* among the pool's users */

struct via_neighbour {
    uint8_t *disk, *ring;
    void *driver_storage, *pump_storage, *device_storage;
    struct via_split_layout lay;
    struct via_vq_slot slot[NUM];
    struct via_vq vq;
    struct via_blk_driver driver;
    struct via_dma *dma;
    struct via_bounce bounce;
    struct via_phys_range range; /* of a pool of its own */
    struct via_direct direct;
    struct via_pool pool;
    _Atomic uint64_t pool_map[POOL / VIA_POOL_SLOT / 64];
    struct via_memmap map;
    struct via_blk_store store;
    struct via_blk_device device;
    struct via_pump pump;
    struct via_span buf[REQUESTS];
    bool busy[REQUESTS];
    uint64_t last, started;
};

size_t via_neighbour_priv(void) { return via_arena_room(REQUESTS * BLOCK) + via_arena_room(REQUESTS * sizeof(struct via_blk_wire)); }

/* ------------------------------------------------------------------ the device's end */

static int store_submit(struct via_blk_store *s, struct via_blk_io *io)
{
    struct via_neighbour *n = via_container_of(s, struct via_neighbour, store);
    if (io->op == VIA_BLK_READ)
        via_spans_write(io->span, io->n, 0, n->disk + io->offset, io->len);
    else if (io->op == VIA_BLK_WRITE)
        via_spans_read(io->span, io->n, 0, n->disk + io->offset, io->len);
    io->done(io, 0);
    return 0;
}

static const struct via_blk_store_ops store_ops = {.submit = store_submit};

static int open_device(struct via_neighbour *n)
{
    struct via_blk_limits limits = {.capacity = DISK, .blk_size = 512, .physical_size = 512, .seg_max = NUM - 2, .queues = 1};
    struct via_dq_cfg cfg = {.num = NUM, .desc = n->ring + n->lay.desc, .avail = n->ring + n->lay.avail, .used = n->ring + n->lay.used};
    n->store.ops = &store_ops;
    n->device_storage = aligned_alloc(64, (via_blk_device_bytes(REQUESTS, NUM) + 63) & ~(size_t)63);
    n->pump_storage = aligned_alloc(64, (via_pump_bytes(NUM, NUM, false) + 63) & ~(size_t)63);
    if (!n->device_storage || !n->pump_storage)
        return -VIA_ENOMEM;
    int r = via_blk_device_init(&n->device, &limits, &n->store, REQUESTS, NUM, n->device_storage);
    n->device.features = via_blk_device_features(&n->device) | VIA_BIT(VIA_F_VERSION_1);
    return r ? r : via_pump_init(&n->pump, &cfg, &n->map.xlate, NULL, &n->device.device, NUM, n->pump_storage);
}

/* ------------------------------------------------------------------ the driver's end */

static int reach_own_pool(struct via_neighbour *n, struct via_drive_memory *m, struct via_err *err)
{
    int r = via_memory_create(&m->other, "viaduct-neighbour", POOL, err);
    if (r)
        return r;
    struct via_region region = {.gpa = POOL_PHYS, .len = POOL, .uva = (uintptr_t)m->other.ptr, .ptr = m->other.ptr};
    n->range = (struct via_phys_range){m->other.ptr, POOL, POOL_PHYS};
    r = via_direct_init(&n->direct, &n->range, 1);
    if (!r)
        r = via_pool_init(&n->pool, &n->direct.dma, m->other.ptr, POOL, n->pool_map, via_array_len(n->pool_map));
    return r ? r : via_memmap_add(&n->map, &region);
}

/* The same memory that the back-end is given: the driver's, or the global pool. */
static int reach_shared(struct via_neighbour *n, const struct via_drive_memory *m)
{
    for (unsigned i = 0; i < m->regions; i++) {
        const struct via_vu_region *v = &m->region[i];
        struct via_region region = {.gpa = v->gpa, .len = v->size, .uva = v->uva, .ptr = (uint8_t *)(uintptr_t)v->uva};
        int r = via_memmap_add(&n->map, &region);
        if (r)
            return r;
    }
    return 0;
}

static int open_dma(struct via_neighbour *n, struct via_drive *d)
{
    bool bounce = via_drive_bounced(d->opts.dma), own = bounce && !d->opts.global_pool;
    via_memmap_init(&n->map);
    int r = own ? reach_own_pool(n, &d->mem, &d->err) : reach_shared(n, &d->mem);
    n->dma = d->mem.base;
    if (r || !bounce)
        return r;
    n->dma = &n->bounce.dma;
    return via_bounce_init(&n->bounce, own ? &n->pool : &d->mem.slots.pool, NUMBER, 4);
}

static int open_driver(struct via_neighbour *n, struct via_drive *d)
{
    struct via_vq_cfg cfg = {.num = NUM, .slot = n->slot};
    int r = via_split_layout(&n->lay, NUM, 4);
    if (r)
        return r;
    n->ring = aligned_alloc(64, (n->lay.total + 63) & ~(size_t)63);
    n->driver_storage = aligned_alloc(64, (via_blk_driver_bytes(REQUESTS, 1, NUM) + 63) & ~(size_t)63);
    if (!n->ring || !n->driver_storage)
        return -VIA_ENOMEM;
    memset(n->ring, 0, n->lay.total);
    cfg.desc = n->ring + n->lay.desc;
    cfg.avail = n->ring + n->lay.avail;
    cfg.used = n->ring + n->lay.used;
    r = via_vq_init(&n->vq, &cfg);
    if (!r)
        r = open_dma(n, d);
    struct via_blk_wire *wire = via_arena_take(&d->mem.priv, REQUESTS * sizeof(*wire));
    return r ? r : via_blk_driver_init(&n->driver, &n->vq, n->dma, VIA_BIT(VIA_F_VERSION_1), REQUESTS, 1, NUM, wire, n->driver_storage);
}

static void fill(uint8_t *to, size_t len, const uint8_t *canary)
{
    for (size_t i = 0; i < len; i += VIA_DRIVE_CANARY)
        memcpy(to + i, canary, VIA_DRIVE_CANARY);
}

int via_neighbour_open(struct via_neighbour **out, struct via_drive *d)
{
    struct via_neighbour *n = *out = calloc(1, sizeof(*n));
    if (!n || !(n->disk = malloc(DISK)))
        return via_err_set(&d->err, -VIA_ENOMEM, "no memory for a second disk");
    fill(n->disk, DISK, d->mem.canary[1]);
    uint8_t *buf = via_arena_take(&d->mem.priv, REQUESTS * BLOCK);
    fill(buf, REQUESTS * BLOCK, d->mem.canary[1]);
    for (unsigned i = 0; i < REQUESTS; i++)
        n->buf[i] = (struct via_span){buf + i * BLOCK, BLOCK};
    int r = open_driver(n, d);
    if (!r)
        r = open_device(n);
    return r ? via_err_set(&d->err, r, "a second disk beside the first can't be set up: %s", strerror(-r)) : 0;
}

/* ------------------------------------------------------------------ traffic */

static int start(struct via_neighbour *n, unsigned i)
{
    struct via_blk_cmd cmd = {
        .type = i % 2 ? VIA_BLK_T_IN : VIA_BLK_T_OUT,
        .sector = n->started % (DISK / BLOCK) * (BLOCK / VIA_BLK_SECTOR),
        .data = &n->buf[i],
        .n = 1,
        .token = &n->busy[i],
    };
    int r = via_blk_driver_submit(&n->driver, &cmd);
    n->busy[i] = !r;
    n->started += !r;
    return r == -VIA_EAGAIN ? 0 : r;
}

static int finish(struct via_neighbour *n)
{
    struct via_blk_done done;
    int r = via_pump_run(&n->pump, NUM);
    if (r < 0)
        return r;
    bool call = via_pump_flush(&n->pump);
    (void)call; /* nobody sleeps on it */
    while ((r = via_blk_driver_reap(&n->driver, &done)) == 1) {
        *(bool *)done.token = false;
        if (done.result)
            return done.result;
    }
    return r;
}

int via_neighbour_step(struct via_neighbour *n, struct via_err *err)
{
    uint64_t now = via_drive_clock();
    if (now - n->last < PACE_NS)
        return 0;
    n->last = now;
    int r = finish(n);
    for (unsigned i = 0; !r && i < REQUESTS; i++)
        if (!n->busy[i])
            r = start(n, i);
    bool kick = via_vq_publish(&n->vq);
    (void)kick; /* its device looks by itself, at the next step */
    return r ? via_err_set(err, r, "the second disk failed: %s", strerror(-r)) : 0;
}

uint64_t via_neighbour_requests(const struct via_neighbour *n) { return n->started; }

void via_neighbour_close(struct via_neighbour *n)
{
    struct via_blk_done done;
    if (!n)
        return;
    while (n->driver.vq && via_blk_driver_abandon(&n->driver, &done) == 1)
        ;
    if (n->bounce.pool)
        via_bounce_drain(&n->bounce);
    free(n->disk);
    free(n->ring);
    free(n->driver_storage);
    free(n->device_storage);
    free(n->pump_storage);
    free(n);
}
