/* SPDX-License-Identifier: BSD-2-Clause */
/* The IOMMU driver, and a device that answers what a test tells it to. */
#include <stdlib.h>
#include <string.h>

#include "iommu_rig.h"

static struct iommu_rig the_rig;

/* ------------------------------------------------------------------ the device */

static struct via_seg chain_seg[RIG_NUM];

static uint8_t *at(struct iommu_rig *r, const struct via_seg *seg)
{
    struct via_span span;
    if (via_xlate_resolve(&r->map.xlate, seg->addr, seg->len, VIA_PERM_W, &span) < 0 || span.len != seg->len)
        abort();
    return span.ptr;
}

/* Copy to a chain's writable segments. */
static void fill(struct iommu_rig *r, const struct via_chain *c, const uint8_t *from, size_t len)
{
    for (unsigned i = c->n_out; i < (unsigned)c->n_out + c->n_in && len; i++) {
        size_t take = via_min64(c->seg[i].len, len);
        memcpy(at(r, &c->seg[i]), from, take);
        from += take;
        len -= take;
    }
}

static void answer(struct iommu_rig *r, const struct via_chain *c)
{
    static uint8_t in[4096];
    struct rig_asked *a = &r->asked[r->n_asked % RIG_LOG];
    *a = (struct rig_asked){.in = (uint32_t)c->in_len};
    for (unsigned i = 0; i < c->n_out; a->out += c->seg[i++].len) {
        if (a->out + c->seg[i].len > sizeof(a->bytes))
            abort();
        memcpy(a->bytes + a->out, at(r, &c->seg[i]), c->seg[i].len);
    }
    r->n_asked++;
    if (c->in_len < 4 || c->in_len > sizeof(in))
        abort();
    size_t before = (size_t)c->in_len - 4;
    memset(in, 0x55, sizeof(in)); /* the tail's reserved bytes, too */
    memcpy(in, r->properties, via_min64(before, RIG_PROBE));
    in[before] = (uint8_t)r->status;
    if (r->status >= 0)
        fill(r, c, in, (size_t)c->in_len);
    else
        fill(r, c, in, before);
    via_dq_push(&r->dq[0], c->head, r->written < 0 ? (uint32_t)c->in_len : (uint32_t)r->written);
    (void)!via_dq_publish(&r->dq[0]);
}

/* Answer one request. */
static int relax(struct via_iommu_driver *d)
{
    struct iommu_rig *r = via_container_of(d, struct iommu_rig, driver);
    struct via_chain c = {.seg = chain_seg, .cap = RIG_NUM};
    r->relaxes++;
    if (r->lie) {
        r->lie(r);
        return 0;
    }
    if (r->silent || via_dq_pop(&r->dq[0], &c) != VIA_POP_READY)
        return -1;
    answer(r, &c);
    return 0;
}

static void kick(struct via_iommu_driver *d, enum via_iommu_queue queue)
{
    struct iommu_rig *r = via_container_of(d, struct iommu_rig, driver);
    r->kicks[queue]++;
}

static const struct via_iommu_driver_ops ops = {kick, relax};

bool rig_report(struct iommu_rig *r, const void *report, uint32_t len, uint32_t written)
{
    struct via_chain c = {.seg = chain_seg, .cap = RIG_NUM};
    if (via_dq_pop(&r->dq[1], &c) != VIA_POP_READY)
        return false;
    CHECK_OR_FALSE(c.n_out == 0 && c.in_len == sizeof(struct via_iommu_fault));
    fill(r, &c, report, len);
    via_dq_push(&r->dq[1], c.head, written);
    (void)!via_dq_publish(&r->dq[1]);
    return true;
}

const void *rig_last(const struct iommu_rig *r) { return r->asked[(r->n_asked - 1) % RIG_LOG].bytes; }

/* ------------------------------------------------------------------ */

bool rig_init_rings(struct iommu_rig *r)
{
    struct via_split_layout l;
    bool ok = via_split_layout(&l, r->num, 4) == 0;
    for (unsigned i = 0; i < 2 && ok; i++) {
        uint8_t *ring = r->shared.ring[i];
        memset(ring, 0, sizeof(r->shared.ring[i]));
        struct via_vq_cfg vq = {.num = r->num, .desc = ring + l.desc, .avail = ring + l.avail, .used = ring + l.used, .slot = r->slot[i]};
        struct via_dq_cfg dq = {.num = r->num, .desc = vq.desc, .avail = vq.avail, .used = vq.used};
        ok = via_vq_init(&r->vq[i], &vq) == 0 && via_dq_init(&r->dq[i], &dq) == 0;
    }
    return ok;
}

bool rig_restart(struct iommu_rig *r) { return rig_init_rings(r) && via_iommu_driver_init(&r->driver, &r->cfg, r->storage) == 0; }

struct iommu_rig *rig_new(bool bounce)
{
    struct iommu_rig *r = &the_rig;
    free(r->storage);
    memset(r, 0, sizeof(*r));
    r->written = -1;
    r->num = RIG_NUM;
    r->range = (struct via_phys_range){&r->shared, sizeof(r->shared), RIG_GPA};
    struct via_region ram = {.gpa = RIG_GPA, .len = sizeof(r->shared), .uva = 0x1000, .ptr = (uint8_t *)&r->shared};
    via_memmap_init(&r->map);
    r->cfg = (struct via_iommu_driver_cfg){
        .ops = &ops,
        .requests = &r->vq[0],
        .events = &r->vq[1],
        .dma = bounce ? &r->bounce.dma : &r->direct.dma,
        .features = via_iommu_driver_features(UINT64_MAX),
        .config = {.page_size_mask = via_le64_make(0x201000),
                   .input_start = via_le64_make(0x1000),
                   .input_end = via_le64_make(0xffffffffffff),
                   .domain_start = via_le32_make(1),
                   .domain_end = via_le32_make(100),
                   .probe_size = via_le32_make(RIG_PROBE)},
        .depth = RIG_DEPTH,
        .wire = r->shared.wire,
        .probe = r->shared.probe,
        .probe_bytes = sizeof(r->shared.probe),
        .faults = RIG_FAULTS,
        .fault = r->shared.fault,
    };
    r->storage = malloc(via_iommu_driver_bytes(RIG_DEPTH, RIG_FAULTS));
    if (!r->storage || via_memmap_add(&r->map, &ram) < 0 || via_direct_init(&r->direct, &r->range, 1) < 0 ||
        via_pool_init(&r->pool, &r->direct.dma, r->shared.pool, sizeof(r->shared.pool), r->free, 1) < 0 ||
        via_bounce_init(&r->bounce, &r->pool, 0, 0) < 0 || !rig_restart(r))
        abort();
    return r;
}
