/* SPDX-License-Identifier: BSD-2-Clause */
/* The one region that a back-end gets, and who lies where in it. */
#include <stdlib.h>
#include <string.h>

#include "shared.h"

static size_t page_up(size_t n) { return (n + VIA_POOL_SLOT - 1) & ~(size_t)(VIA_POOL_SLOT - 1); }

static size_t table_offset(unsigned num)
{
    struct via_split_layout lay;
    return via_split_layout(&lay, num, 4) < 0 ? 0 : page_up(lay.total);
}

int via_guard_shared_open(struct via_guard_shared *s, unsigned queues, size_t pool_bytes, struct via_err *err)
{
    *s = (struct via_guard_shared){.queues = queues, .memory.fd = -1};
    s->ring_bytes = table_offset(VIA_GUARD_NUM_MAX) + page_up(sizeof(struct via_desc) * VIA_GUARD_TABLE * VIA_GUARD_NUM_MAX);
    size_t rings = s->ring_bytes * queues, words = (pool_bytes / VIA_POOL_SLOT + 63) / 64;
    int r = via_memory_create(&s->memory, "viaduct-guard-pool", rings + pool_bytes, err);
    if (r < 0)
        return r;
    s->free = calloc(words, sizeof(*s->free));
    if (!s->free) {
        via_guard_shared_close(s);
        return via_err_set(err, -VIA_ENOMEM, "no memory for the pool's free map");
    }
    s->range = (struct via_phys_range){s->memory.ptr, s->memory.len, 0};
    r = via_direct_init(&s->direct, &s->range, 1);
    if (r == 0)
        r = via_pool_init(&s->pool, &s->direct.dma, s->memory.ptr + rings, pool_bytes, s->free, words);
    if (r < 0) {
        via_guard_shared_close(s);
        return via_err_set(err, r, "a pool of %zu bytes can't be laid out: take a multiple of %u", pool_bytes, VIA_POOL_SLOT);
    }
    return 0;
}

void via_guard_shared_close(struct via_guard_shared *s)
{
    via_memory_destroy(&s->memory);
    free(s->free);
    s->free = NULL;
}

struct via_vu_region via_guard_shared_region(const struct via_guard_shared *s)
{
    return (struct via_vu_region){.gpa = 0, .size = s->memory.len, .uva = (uintptr_t)s->memory.ptr, .mmap_offset = 0};
}

int via_guard_shared_ring(struct via_guard_shared *s, unsigned index, unsigned num, struct via_vq_cfg *cfg)
{
    struct via_split_layout lay;
    int r = via_split_layout(&lay, num, 4);
    if (r < 0 || num > VIA_GUARD_NUM_MAX || index >= s->queues)
        return -VIA_EINVAL;
    uint8_t *area = s->memory.ptr + s->ring_bytes * index;
    size_t tables = table_offset(num);
    memset(area, 0, lay.total);
    cfg->num = (uint16_t)num;
    cfg->desc = area + lay.desc;
    cfg->avail = area + lay.avail;
    cfg->used = area + lay.used;
    cfg->indirect = area + tables;
    cfg->indirect_addr = (via_iova){s->ring_bytes * index + tables};
    cfg->indirect_len = (uint16_t)via_min64(num, VIA_GUARD_TABLE);
    return 0;
}
