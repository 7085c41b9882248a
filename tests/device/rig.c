/* SPDX-License-Identifier: BSD-2-Clause */
/* A block device over a pump and a ring, with an honest ring driver at the other end, in one memory. */
#include <stdlib.h>
#include <string.h>

#include "rig.h"

const struct via_blk_limits rig_limits = {
    .capacity = RIG_SECTORS * VIA_BLK_SECTOR,
    .blk_size = 512,
    .physical_size = 4096,
    .seg_max = 8,
    .queues = 1,
    .discard = true,
    .write_zeroes = true,
    .id = "a disk of twenty byt",
};

static _Alignas(4096) struct rig the_rig;
static char token[4096]; /* tokens are addresses in here */
static unsigned tokens;

bool rig_restart(struct rig *r)
{
    struct via_split_layout at;
    if (via_split_layout(&at, RIG_NUM, 4) < 0)
        return false;
    memset(r->mem, 0, at.total);
    struct via_vq_cfg vq = {.num = RIG_NUM,
                            .desc = r->mem + at.desc,
                            .avail = r->mem + at.avail,
                            .used = r->mem + at.used,
                            .slot = r->slot,
                            .indirect = r->mem + 0x4000,
                            .indirect_addr = {RIG_GPA + 0x4000},
                            .indirect_len = RIG_NUM};
    if (r->direct)
        vq.indirect = NULL;
    r->dq = (struct via_dq_cfg){.num = RIG_NUM, .desc = vq.desc, .avail = vq.avail, .used = vq.used, .indirect = true};
    tokens = 0;
    struct via_misses *misses = r->translated ? &r->misses : NULL;
    struct via_xlate *xlate = r->translated ? &r->tlb.xlate : &r->map.xlate;
    return via_vq_init(&r->vq, &vq) == 0 && via_pump_init(&r->pump, &r->dq, xlate, misses, &r->dev.device, 4, r->pump_storage) == 0;
}

struct rig *rig_new(const struct via_blk_limits *limits)
{
    struct rig *r = &the_rig;
    free(r->pump_storage);
    free(r->dev_storage);
    free(r->tlb_storage);
    free(r->miss_storage);
    memset(r, 0, sizeof(*r));
    memset(r->mem, RIG_STATUS_NONE, sizeof(r->mem));
    for (size_t i = 0; i < sizeof(r->disk); i++)
        r->disk[i] = (uint8_t)(i / VIA_BLK_SECTOR + i * 7);
    store_init(&r->store, r->disk, sizeof(r->disk));
    via_memmap_init(&r->map);
    struct via_region ram = {.gpa = RIG_GPA, .len = RIG_MEM, .uva = 0x1000, .ptr = r->mem};
    struct via_region rom = {.gpa = RIG_ROM_GPA, .len = sizeof(r->rom), .uva = 0x10000000, .ptr = r->rom, .readonly = true};
    r->limits = *limits;
    r->pump_storage = malloc(via_pump_bytes(RIG_NUM, 4, true));
    r->dev_storage = malloc(via_blk_device_bytes(RIG_NUM, RIG_NUM + 4));
    if (via_memmap_add(&r->map, &ram) < 0 || via_memmap_add(&r->map, &rom) < 0 || !r->pump_storage || !r->dev_storage ||
        via_blk_device_init(&r->dev, limits, &r->store.store, RIG_NUM, RIG_NUM + 4, r->dev_storage) < 0 || !rig_restart(r))
        abort();
    r->dev.features = via_blk_device_features(&r->dev);
    return r;
}

bool rig_translate(struct rig *r, uint32_t entries, unsigned pages, bool direct)
{
    free(r->tlb_storage);
    free(r->miss_storage);
    r->tlb_storage = malloc(via_iotlb_bytes(entries));
    r->miss_storage = malloc(via_misses_bytes(pages));
    if (!r->tlb_storage || !r->miss_storage || via_iotlb_init(&r->tlb, entries, r->tlb_storage) < 0 ||
        via_misses_init(&r->misses, pages, r->miss_storage) < 0)
        abort();
    r->translated = true;
    r->direct = direct;
    return rig_restart(r);
}

bool rig_answer(struct rig *r, unsigned perm)
{
    const struct via_miss *m = via_misses_next(&r->misses, 1);
    if (!m)
        return false;
    struct via_span span;
    uint64_t page = m->page, last = page + (VIA_MISS_PAGE - 1);
    if (!perm || via_xlate_resolve(&r->map.xlate, (via_iova){page}, VIA_MISS_PAGE, VIA_PERM_R, &span) < 0) {
        via_misses_refuse(&r->misses, (via_iova){page}, 1);
        return true;
    }
    if (span.len != VIA_MISS_PAGE || via_iotlb_insert(&r->tlb, (via_iova){page}, (via_iova){last}, span.ptr, perm) < 0)
        abort();
    via_misses_update(&r->misses, (via_iova){page}, (via_iova){last}, perm);
    return true;
}

int rig_settle(struct rig *r)
{
    int rc, n = 0;
    while ((rc = rig_run(r)) >= 0 && n < 100000) {
        int before = n;
        while (rig_answer(r, VIA_PERM_R | VIA_PERM_W))
            n++;
        if (n == before)
            return n;
    }
    return rc < 0 ? rc : -VIA_ETIMEDOUT;
}

void rig_invalidate(struct rig *r, uint32_t at)
{
    uint64_t page = RIG_GPA + at / VIA_MISS_PAGE * VIA_MISS_PAGE;
    via_iotlb_remove(&r->tlb, (via_iova){page}, (via_iova){page + (VIA_MISS_PAGE - 1)});
}

struct via_seg rig_seg(uint32_t at, uint32_t len) { return (struct via_seg){{RIG_GPA + at}, len}; }

void rig_put_hdr(struct rig *r, uint32_t at, uint32_t type, uint64_t sector)
{
    struct via_blk_hdr h = {.type = via_le32_make(type), .sector = via_le64_make(sector)};
    memcpy(r->mem + at, &h, sizeof(h));
}

void rig_add_segs(struct rig *r, const struct via_seg *seg, unsigned out, unsigned in)
{
    if (via_vq_add(&r->vq, seg, out, in, &token[tokens++]) < 0)
        abort();
}

uint32_t rig_add(struct rig *r, const struct rig_request *q, uint32_t at)
{
    uint32_t in = at + (uint32_t)sizeof(struct via_blk_hdr) + q->out;
    rig_put_hdr(r, at, q->type, q->sector);
    struct via_seg seg[2] = {rig_seg(at, in - at), rig_seg(in, q->in + 1)};
    memset(r->mem + in, RIG_STATUS_NONE, q->in + 1);
    rig_add_segs(r, seg, 1, 1);
    return in;
}

void rig_publish(struct rig *r) { r->kicks += via_vq_publish(&r->vq); }

void rig_flush(struct rig *r) { r->calls += via_pump_flush(&r->pump); }

int rig_run(struct rig *r)
{
    rig_publish(r);
    int rc = via_pump_run(&r->pump, 64);
    rig_flush(r);
    return rc;
}

bool rig_used(struct rig *r, unsigned *number, uint32_t *written)
{
    struct via_used_chain used;
    if (via_vq_reap(&r->vq, &used) != 1)
        return false;
    *number = (unsigned)((char *)used.token - token);
    *written = used.written;
    tokens = via_vq_inflight(&r->vq) ? tokens : 0;
    return true;
}

int rig_ask(struct rig *r, const struct rig_request *q)
{
    unsigned number;
    uint32_t written, in = rig_add(r, q, RIG_DATA);
    if (rig_run(r) != 1 || !rig_used(r, &number, &written) || written != q->in + 1)
        return RIG_STATUS_NONE;
    return r->mem[in + q->in];
}
