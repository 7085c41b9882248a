/* SPDX-License-Identifier: BSD-2-Clause */
/* A block driver and what it needs around it. */
#include <stdlib.h>
#include <string.h>

#include "loop.h"

static struct loop the_loop;

bool loop_restart(struct loop *l, struct loop_queue *q, uint64_t features)
{
    struct via_split_layout at;
    uint8_t *ring = l->shared.ring[q - l->queue];
    struct via_dma *dma = l->bounce ? &q->bounce.dma : &q->direct.dma;
    bool legacy = features & LOOP_LEGACY;
    if (via_split_layout(&at, LOOP_NUM, legacy ? 4096 : 4) < 0)
        return false;
    features = legacy ? features & ~LOOP_LEGACY : features | VIA_BIT(VIA_F_VERSION_1);
    q->bounce.under_reports = legacy;
    memset(ring, 0, LOOP_RING_BYTES);
    q->vq_cfg = (struct via_vq_cfg){.num = LOOP_NUM,
                                    .desc = ring + at.desc,
                                    .avail = ring + at.avail,
                                    .used = ring + at.used,
                                    .slot = q->slot,
                                    .indirect = ring + 0x4000,
                                    .indirect_addr = {LOOP_SHARED_GPA + (uint64_t)(ring - (uint8_t *)&l->shared) + 0x4000},
                                    .indirect_len = LOOP_SEG_MAX,
                                    .event_idx = true,
                                    .any_written = legacy};
    q->dq_cfg = (struct via_dq_cfg){
        .num = LOOP_NUM, .desc = q->vq_cfg.desc, .avail = q->vq_cfg.avail, .used = q->vq_cfg.used, .indirect = true, .event_idx = true};
    return via_vq_init(&q->vq, &q->vq_cfg) == 0 &&
           via_blk_driver_init(&q->driver, &q->vq, dma, features, LOOP_DEPTH, LOOP_DATA_MAX, LOOP_SEG_MAX, q->wire, q->storage) == 0;
}

static bool queue_new(struct loop *l, unsigned i, enum loop_dma dma, uint64_t features)
{
    struct loop_queue *q = &l->queue[i];
    q->storage = malloc(via_blk_driver_bytes(LOOP_DEPTH, LOOP_DATA_MAX, LOOP_SEG_MAX));
    q->pump_storage = malloc(via_pump_bytes(LOOP_NUM, 4, false));
    if (!q->storage || !q->pump_storage || via_direct_init(&q->direct, l->range, via_array_len(l->range)) < 0 ||
        via_bounce_init(&q->bounce, &l->pool, i, 8) < 0)
        return false;
    q->wire = l->private.wire[i];
    if (dma == LOOP_BOUNCE_WIRE)
        q->wire = via_bounce_alloc(&q->bounce, LOOP_DEPTH * sizeof(*q->wire));
    return q->wire && loop_restart(l, q, features);
}

struct loop *loop_new(enum loop_dma dma, uint64_t features)
{
    struct loop *l = &the_loop;
    for (unsigned i = 0; i < LOOP_QUEUES; i++) {
        free(l->queue[i].storage);
        free(l->queue[i].pump_storage);
    }
    memset(l, 0, sizeof(*l));
    struct via_phys_range shared = {&l->shared, sizeof(l->shared), LOOP_SHARED_GPA},
                          private = {&l->private, sizeof(l->private), LOOP_PRIVATE_GPA};
    bool low = (uintptr_t)&l->shared < (uintptr_t)&l->private;
    l->range[!low] = shared;
    l->range[low] = private;
    l->bounce = dma != LOOP_DIRECT;
    struct via_region region[2] = {{shared.phys, shared.len, 0x1000, shared.ptr, false},
                                   {private.phys, private.len, UINT64_C(0x100000000), private.ptr, false}};
    via_memmap_init(&l->map);
    bool ok = via_memmap_add(&l->map, &region[0]) == 0 && (l->bounce || via_memmap_add(&l->map, &region[1]) == 0) &&
              via_direct_init(&l->direct, l->range, via_array_len(l->range)) == 0 &&
              via_pool_init(&l->pool, &l->direct.dma, l->shared.pool, sizeof(l->shared.pool), l->free, via_array_len(l->free)) == 0;
    for (unsigned i = 0; ok && i < LOOP_QUEUES; i++)
        ok = queue_new(l, i, dma, features);
    if (!ok)
        abort();
    return l;
}

bool loop_serve(struct loop *l, struct loop_queue *q, struct via_device *device)
{
    return via_pump_init(&q->pump, &q->dq_cfg, &l->map.xlate, NULL, device, 4, q->pump_storage) == 0;
}

uint32_t loop_in_use(const struct loop *l)
{
    uint32_t n = 0;
    for (unsigned i = 0; i < LOOP_QUEUES; i++)
        n += l->queue[i].bounce.stats.in_use;
    return n;
}
