/* SPDX-License-Identifier: BSD-2-Clause */
/* An IOMMU device over two pumps and two rings, with an honest ring driver at the other end, in one memory. */
#include <stdlib.h>
#include <string.h>

#include "iommu_rig.h"

#define RING_AT(i) ((i)*0x4000u)
#define REQ_AT 0x10000u
#define IN_AT 0x18000u

const struct via_iommu_device_cfg rig_cfg = {
    .page_size_mask = RIG_PAGE | 0x200000,
    .input_start = 0x1000,
    .input_last = 0xffffffffffff,
    .domain_start = 1,
    .domain_last = 100,
    .probe_size = 100,
    .mmio = true,
    .endpoints = RIG_ENDPOINTS,
    .domains = 3,
    .mappings = 40,
    .waits = 2,
    .faults = 3,
    .buffers = 4,
};

static struct iommu_rig the_rig;
static const struct via_iommu_window window8[] = {{0xfee00000, 0xfeefffff, true}, {0x100000, 0x1fffff, false}};
static const struct via_iommu_window window9[] = {{0x300000, 0x300fff, false}};

static int revoke(struct via_iommu_device *d, struct via_iommu_endpoint *ep, uint64_t start, uint64_t last, struct via_iommu_wait *w)
{
    struct iommu_rig *r = via_container_of(d, struct iommu_rig, dev);
    if (r->revokes < RIG_WAITS)
        r->revoke[r->revokes] = (struct rig_revoke){ep->id, start, last, ep->xlate.generation, w};
    r->revokes++;
    return r->revoke_answer;
}

const struct via_iommu_device_ops rig_ops = {revoke};

bool rig_restart(struct iommu_rig *r)
{
    struct via_device *device[2] = {&r->dev.requests, &r->dev.events};
    struct via_split_layout at;
    bool ok = via_split_layout(&at, RIG_NUM, 4) == 0;
    for (unsigned i = 0; i < 2 && ok; i++) {
        struct rig_queue *q = &r->queue[i];
        uint8_t *ring = r->mem + RING_AT(i);
        memset(ring, 0, at.total);
        struct via_vq_cfg vq = {.num = RIG_NUM, .desc = ring + at.desc, .avail = ring + at.avail, .used = ring + at.used, .slot = q->slot};
        struct via_dq_cfg dq = {.num = RIG_NUM, .desc = vq.desc, .avail = vq.avail, .used = vq.used};
        ok = via_vq_init(&q->vq, &vq) == 0 && via_pump_init(&q->pump, &dq, &r->map.xlate, NULL, device[i], 4, q->storage) == 0;
    }
    return ok;
}

struct iommu_rig *rig_new(const struct via_iommu_device_cfg *cfg)
{
    struct iommu_rig *r = &the_rig;
    free(r->storage);
    free(r->queue[0].storage);
    free(r->queue[1].storage);
    memset(r, 0, sizeof(*r));
    memset(r->mem, RIG_UNTOUCHED, sizeof(r->mem));
    r->cfg = cfg ? *cfg : rig_cfg;
    via_memmap_init(&r->map);
    struct via_region ram = {.gpa = RIG_GPA, .len = RIG_MEM, .uva = 0x1000, .ptr = r->mem};
    r->queue[0].storage = malloc(via_pump_bytes(RIG_NUM, 4, false));
    r->queue[1].storage = malloc(via_pump_bytes(RIG_NUM, 4, false));
    r->storage = malloc(via_iommu_device_bytes(&r->cfg));
    r->ep[0] = (struct via_iommu_endpoint){.id = 8, .window = window8, .n_windows = 2, .next = &r->map.xlate};
    r->ep[1] = (struct via_iommu_endpoint){.id = 9, .window = window9, .n_windows = 1, .next = &r->map.xlate};
    r->ep[2] = (struct via_iommu_endpoint){.id = 70000, .next = &r->map.xlate};
    bool ok = r->storage && r->queue[0].storage && r->queue[1].storage && via_memmap_add(&r->map, &ram) == 0 &&
              via_iommu_device_init(&r->dev, &r->cfg, r->storage) == 0 && rig_restart(r);
    for (unsigned i = RIG_ENDPOINTS; i-- > 0 && ok;)
        ok = via_iommu_device_add(&r->dev, &r->ep[i]) == 0;
    if (!ok)
        abort();
    r->dev.features = via_iommu_device_features(&r->dev);
    return r;
}

/* ------------------------------------------------------------------ requests */

bool rig_add(struct iommu_rig *r, const void *req, uint32_t out, uint32_t in)
{
    struct via_seg seg[4] = {{{RIG_GPA + REQ_AT}, out / 2}, {{RIG_GPA + REQ_AT + out / 2}, out - out / 2}, {{RIG_GPA + IN_AT}, in}};
    unsigned n = out > 1 ? 2 : out;
    if (out < 2)
        seg[0] = seg[1], seg[n] = seg[2];
    if (in > 2) { /* the tail in pieces, too */
        seg[n].len = in - 2;
        seg[n + 1] = (struct via_seg){{RIG_GPA + IN_AT + in - 2}, 2};
    }
    memcpy(r->mem + REQ_AT, req, out);
    memset(r->mem + IN_AT, RIG_UNTOUCHED, in + 8);
    r->in = r->mem + IN_AT;
    CHECK_OR_FALSE(via_vq_add(&r->queue[0].vq, seg, n, in > 2 ? 2 : in != 0, r) == 0);
    return true;
}

bool rig_run(struct iommu_rig *r)
{
    for (unsigned i = 0; i < 2; i++) {
        r->kicks += via_vq_publish(&r->queue[i].vq);
        CHECK_OR_FALSE(via_pump_run(&r->queue[i].pump, 64) >= 0);
    }
    for (unsigned i = 0; i < 2; i++)
        r->calls += via_pump_flush(&r->queue[i].pump);
    return true;
}

bool rig_used(struct iommu_rig *r, enum via_iommu_queue queue, uint32_t *written)
{
    struct via_used_chain used;
    if (via_vq_reap(&r->queue[queue].vq, &used) != 1)
        return false;
    *written = used.written;
    return true;
}

int rig_ask(struct iommu_rig *r, const void *req, uint32_t out, uint32_t in, uint32_t before)
{
    if (!rig_add(r, req, out, in) || !rig_run(r) || !rig_used(r, VIA_IOMMU_REQUESTQ, &r->written))
        return -1;
    const uint8_t *tail = r->in + before;
    for (uint32_t i = r->written; i < in + 8; i++) /* what is not reported is not written */
        if (r->in[i] != RIG_UNTOUCHED)
            return -1;
    if (r->written < before + sizeof(struct via_iommu_tail))
        return -2;
    return r->written == before + sizeof(struct via_iommu_tail) && !(tail[1] | tail[2] | tail[3]) ? tail[0] : -1;
}

int rig_attach(struct iommu_rig *r, uint32_t domain, uint32_t endpoint, uint32_t flags)
{
    struct via_iommu_attach q = {.head.type = VIA_IOMMU_T_ATTACH,
                                 .domain = via_le32_make(domain),
                                 .endpoint = via_le32_make(endpoint),
                                 .flags = via_le32_make(flags)};
    return rig_ask(r, &q, 20, 4, 0);
}

int rig_detach(struct iommu_rig *r, uint32_t domain, uint32_t endpoint)
{
    struct via_iommu_detach q = {
        .head.type = VIA_IOMMU_T_DETACH, .domain = via_le32_make(domain), .endpoint = via_le32_make(endpoint), .reserved = {1, 2, 3}};
    return rig_ask(r, &q, 20, 4, 0);
}

int rig_map(struct iommu_rig *r, uint32_t domain, uint64_t start, uint64_t last, uint64_t phys, uint32_t flags)
{
    struct via_iommu_map q = {.head = {.type = VIA_IOMMU_T_MAP, .reserved = {9, 9, 9}},
                              .domain = via_le32_make(domain),
                              .virt_start = via_le64_make(start),
                              .virt_end = via_le64_make(last),
                              .phys_start = via_le64_make(phys),
                              .flags = via_le32_make(flags)};
    return rig_ask(r, &q, 36, 4, 0);
}

int rig_unmap(struct iommu_rig *r, uint32_t domain, uint64_t start, uint64_t last)
{
    struct via_iommu_unmap q = {.head.type = VIA_IOMMU_T_UNMAP,
                                .domain = via_le32_make(domain),
                                .virt_start = via_le64_make(start),
                                .virt_end = via_le64_make(last)};
    return rig_ask(r, &q, 28, 4, 0);
}

/* ------------------------------------------------------------------ accesses and reports */

int64_t rig_reach(struct iommu_rig *r, unsigned i, uint64_t addr, unsigned perm)
{
    struct via_span span;
    if (via_xlate_resolve(&r->ep[i].xlate, (via_iova){addr}, 1, perm, &span) < 0)
        return -1;
    return (uint8_t *)span.ptr - r->mem;
}

bool rig_post(struct iommu_rig *r, uint32_t at, uint32_t len)
{
    struct via_seg seg = {{RIG_GPA + at}, len};
    memset(r->mem + at, RIG_UNTOUCHED, len);
    CHECK_OR_FALSE(via_vq_add(&r->queue[1].vq, &seg, 0, 1, r->mem + at) == 0);
    return rig_run(r);
}

int rig_report(struct iommu_rig *r, struct via_iommu_fault *f)
{
    struct via_used_chain used;
    r->calls += via_pump_flush(&r->queue[1].pump);
    if (via_vq_reap(&r->queue[1].vq, &used) != 1)
        return -1;
    memcpy(f, used.token, sizeof(*f));
    return (int)used.written;
}
