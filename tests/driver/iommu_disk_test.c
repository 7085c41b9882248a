/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * IOMMU driver and IOMMU device together, two block devices behind them: each queue of the loop is an endpoint with a domain of its own,
 * its requests mapped one by one, all data verified.
 */
#include <stdlib.h>
#include <string.h>

#include <tap.h>
#include <viaduct/iommu_device.h>
#include <viaduct/iommu_driver.h>

#include "../device/store.h"
#include "traffic.h"

#define NUM 32u
#define DEPTH 8u
#define FAULTS 4u
#define PAGES 512u
#define STALE 16u
#define SPANS 64u
#define IOMMU_GPA UINT64_C(0x300000000)
#define PROBE 64u
#define IDLE 1000u /* turns in which nothing happens, before the device is dead */

static struct { /* the IOMMU's own queues and what lies on them */
    _Alignas(4096) uint8_t ring[2][0x2000];
    struct via_iommu_wire wire[DEPTH];
    struct via_iommu_fault fault[FAULTS];
    _Alignas(8) uint8_t probe[sizeof(struct via_iommu_probe) + PROBE + sizeof(struct via_iommu_tail)];
} shared;

struct side { /* one endpoint and what is behind it */
    struct via_iommu_endpoint ep;
    struct via_iommu_driver_domain domain;
    struct via_iova_range window[2];
    struct via_iommu_windows windows;
    struct via_iova_space space;
    struct via_iova_node node[PAGES];
    struct via_iommu_dma dma;
    struct via_seg phys[SPANS];
    struct via_iommu_stale stale[STALE];
    struct via_misses misses;
    _Alignas(16) uint8_t misses_storage[16384];
    void *pump_storage;
    /* a revocation that waits for requests to end */
    struct via_iommu_wait *wait;
    uint64_t start, last;
};

static struct {
    struct loop *l;
    struct side side[LOOP_QUEUES];
    struct store store;
    struct via_blk_device blk;
    void *blk_storage;
    struct via_memmap map;
    struct via_phys_range range;
    struct via_direct direct;
    struct via_iommu_device dev;
    void *dev_storage;
    struct via_vq vq[2];
    struct via_vq_slot slot[2][NUM];
    struct via_pump pump[2];
    void *pump_storage[2];
    struct via_iommu_driver driver;
    void *driver_storage;
    unsigned idle, waits;
    unsigned interrupts; /* asked for */
} rig;

static uint8_t disk[TRAFFIC_DISK];
static struct traffic traffic[LOOP_QUEUES];

/* ------------------------------------------------------------------ hooks */

static bool reached(const struct side *s)
{
    return via_pump_revoke(&rig.l->queue[s - rig.side].pump, (via_iova){s->start}, (via_iova){s->last});
}

static int revoke(struct via_iommu_device *d, struct via_iommu_endpoint *ep, uint64_t start, uint64_t last, struct via_iommu_wait *w)
{
    struct side *s = via_container_of(ep, struct side, ep);
    s->start = start;
    s->last = last;
    if (d != &rig.dev || s->wait || !reached(s))
        return s->wait ? -VIA_EIO : 0; /* one at a time is all that this test asks for */
    s->wait = w;
    rig.waits++;
    return -VIA_EAGAIN;
}

static const struct via_iommu_device_ops device_ops = {revoke};

/* The IOMMU's turn; while it waits for requests to end, some do. */
static int relax(struct via_iommu_driver *d)
{
    for (unsigned i = 0; i < LOOP_QUEUES; i++) {
        struct side *s = &rig.side[i];
        if (s->wait && rig.store.held)
            store_end(&rig.store, 0);
        if (!s->wait || reached(s))
            continue;
        struct via_iommu_wait *w = s->wait;
        s->wait = NULL;
        via_iommu_device_revoked(w, 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        int n = via_pump_run(&rig.pump[i], NUM);
        if (n < 0)
            return n;
        rig.interrupts += via_pump_flush(&rig.pump[i]);
        rig.idle = n ? 0 : rig.idle + 1;
    }
    return d == &rig.driver && rig.idle < IDLE ? 0 : -VIA_ENODEV;
}

static void kick(struct via_iommu_driver *d, enum via_iommu_queue queue)
{
    (void)d;
    (void)queue;
}

static const struct via_iommu_driver_ops driver_ops = {kick, relax};

/* ------------------------------------------------------------------ set up */

static void *room(void **storage, size_t bytes)
{
    free(*storage);
    return *storage = malloc(bytes);
}

static bool iommu_device_up(const struct via_iommu_device_cfg *cfg)
{
    static const struct via_iommu_window window[] = {{0xfee00000, 0xfeefffff, true}, {0x12000, 0x1ffff, false}};
    CHECK_OR_FALSE(room(&rig.dev_storage, via_iommu_device_bytes(cfg)) && via_iommu_device_init(&rig.dev, cfg, rig.dev_storage) == 0);
    for (unsigned i = 0; i < LOOP_QUEUES; i++) {
        rig.side[i].ep = (struct via_iommu_endpoint){.id = 8 + i, .window = window, .n_windows = 2 - i, .next = &rig.l->map.xlate};
        CHECK_OR_FALSE(via_iommu_device_add(&rig.dev, &rig.side[i].ep) == 0);
    }
    rig.dev.features = via_iommu_driver_features(via_iommu_device_features(&rig.dev));
    return true;
}

static bool rings_up(void)
{
    struct via_device *device[2] = {&rig.dev.requests, &rig.dev.events};
    struct via_region ram = {.gpa = IOMMU_GPA, .len = sizeof(shared), .uva = 0x1000, .ptr = (uint8_t *)&shared};
    struct via_split_layout at;
    via_memmap_init(&rig.map);
    CHECK_OR_FALSE(via_memmap_add(&rig.map, &ram) == 0 && via_split_layout(&at, NUM, 4) == 0);
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *ring = shared.ring[i];
        struct via_vq_cfg vq = {.num = NUM, .desc = ring + at.desc, .avail = ring + at.avail, .used = ring + at.used, .slot = rig.slot[i]};
        struct via_dq_cfg dq = {.num = NUM, .desc = vq.desc, .avail = vq.avail, .used = vq.used};
        CHECK_OR_FALSE(room(&rig.pump_storage[i], via_pump_bytes(NUM, 4, false)) && via_vq_init(&rig.vq[i], &vq) == 0);
        CHECK_OR_FALSE(via_pump_init(&rig.pump[i], &dq, &rig.map.xlate, NULL, device[i], 4, rig.pump_storage[i]) == 0);
    }
    return true;
}

static bool iommu_driver_up(void)
{
    rig.range = (struct via_phys_range){&shared, sizeof(shared), IOMMU_GPA};
    struct via_iommu_driver_cfg cfg = {.ops = &driver_ops,
                                       .requests = &rig.vq[0],
                                       .events = &rig.vq[1],
                                       .dma = &rig.direct.dma,
                                       .features = rig.dev.features,
                                       .depth = DEPTH,
                                       .wire = shared.wire,
                                       .probe = shared.probe,
                                       .probe_bytes = sizeof(shared.probe),
                                       .faults = FAULTS,
                                       .fault = shared.fault};
    via_iommu_device_config(&rig.dev, 0, &cfg.config, sizeof(cfg.config));
    CHECK_OR_FALSE(via_direct_init(&rig.direct, &rig.range, 1) == 0);
    return room(&rig.driver_storage, via_iommu_driver_bytes(DEPTH, FAULTS)) &&
           via_iommu_driver_init(&rig.driver, &cfg, rig.driver_storage) == 0;
}

/* Probe, attach, map the ring's memory for indirect tables, and put the requests' strategy on top. */
static bool side_up(unsigned i, enum via_iommu_mode mode)
{
    struct side *s = &rig.side[i];
    struct loop_queue *q = &rig.l->queue[i];
    bool bypass = mode == VIA_IOMMU_IDENTITY;
    struct via_iommu_cfg cfg = {.mode = mode,
                                .window_ns = 1000,
                                .space = &s->space,
                                .phys = s->phys,
                                .phys_cap = SPANS,
                                .stale = s->stale,
                                .stale_cap = mode == VIA_IOMMU_LAZY ? STALE : 1};
    struct via_iova_cfg iova;
    s->windows = (struct via_iommu_windows){s->window, 2, 0, -1};
    CHECK_OR_FALSE(via_iommu_driver_probe(&rig.driver, s->ep.id, &s->windows) == 0);
    CHECK_OR_FALSE(s->windows.n == 2 - i && s->windows.doorbell == 0 && s->window[0].last == 0xfeefffff);
    CHECK_OR_FALSE(via_iommu_driver_domain(&s->domain, &rig.driver, 1 + i, bypass, &s->windows) == 0);
    CHECK_OR_FALSE(via_iommu_driver_attach(&s->domain, s->ep.id) == 0);
    CHECK_OR_FALSE(via_iommu_driver_iova(&s->domain, 0xffffffff, &iova) == 0);
    CHECK_OR_FALSE(via_iova_init(&s->space, &iova, s->node, PAGES) == 0);
    CHECK_OR_FALSE(via_iommu_dma_init(&s->dma, &q->direct.dma, &s->domain.domain, &cfg) == 0);
    if (!bypass)
        CHECK_OR_FALSE(s->domain.domain.ops->map(&s->domain.domain, LOOP_SHARED_GPA, LOOP_SHARED_GPA + sizeof(rig.l->shared) - 1,
                                                 LOOP_SHARED_GPA, VIA_IOMMU_READ) == 0);
    q->driver.dma = &s->dma.dma;
    CHECK_OR_FALSE(via_misses_bytes(16) <= sizeof(s->misses_storage) && via_misses_init(&s->misses, 16, s->misses_storage) == 0);
    return room(&s->pump_storage, via_pump_bytes(LOOP_NUM, SPANS, true)) &&
           via_pump_init(&q->pump, &q->dq_cfg, &s->ep.xlate, &s->misses, &rig.blk.device, SPANS, s->pump_storage) == 0;
}

static bool up(enum via_iommu_mode mode, uint32_t mappings)
{
    struct via_iommu_device_cfg cfg = {.page_size_mask = 4096,
                                       .input_start = 0x10000,
                                       .input_last = 0xffffffffff,
                                       .domain_start = 1,
                                       .domain_last = LOOP_QUEUES,
                                       .probe_size = PROBE,
                                       .endpoints = LOOP_QUEUES,
                                       .domains = LOOP_QUEUES,
                                       .mappings = mappings,
                                       .waits = DEPTH,
                                       .faults = FAULTS,
                                       .buffers = FAULTS,
                                       .ops = &device_ops};
    for (unsigned i = 0; i < LOOP_QUEUES; i++)
        free(rig.side[i].pump_storage);
    memset(rig.side, 0, sizeof(rig.side));
    memset(&shared, 0, sizeof(shared));
    rig.idle = rig.waits = 0;
    for (size_t i = 0; i < sizeof(disk); i++)
        disk[i] = (uint8_t)(i / 512 * 31 + i);
    store_init(&rig.store, disk, sizeof(disk));
    rig.store.room = 10;
    CHECK_OR_FALSE(room(&rig.blk_storage, via_blk_device_bytes(32, LOOP_NUM + SPANS)) != NULL);
    CHECK_OR_FALSE(via_blk_device_init(&rig.blk, &traffic_limits, &rig.store.store, 32, LOOP_NUM + SPANS, rig.blk_storage) == 0);
    rig.blk.features = via_blk_device_features(&rig.blk);
    rig.l = loop_new(LOOP_DIRECT, rig.blk.features);
    CHECK_OR_FALSE(iommu_device_up(&cfg) && rings_up() && iommu_driver_up());
    for (unsigned i = 0; i < LOOP_QUEUES; i++) {
        CHECK_OR_FALSE(side_up(i, mode));
        traffic_init(&traffic[i], rig.l, i, 5 + i, disk);
    }
    return true;
}

/* ------------------------------------------------------------------ traffic */

/* The disk's turn. What the IOMMU does not let through is refused at once. */
static bool disk_turn(uint32_t *seed)
{
    for (unsigned i = 0; i < LOOP_QUEUES; i++) {
        CHECK_OR_FALSE(via_pump_run(&rig.l->queue[i].pump, 1 + traffic_random(seed) % 8) >= 0);
        for (const struct via_miss *m; (m = via_misses_next(&rig.side[i].misses, 0));)
            via_misses_refuse(&rig.side[i].misses, (via_iova){m->page}, 0);
    }
    for (unsigned n = traffic_random(seed) % 8; n && rig.store.held; n--)
        store_end(&rig.store, traffic_random(seed) % rig.store.held);
    for (unsigned i = 0; i < LOOP_QUEUES; i++)
        rig.interrupts += via_pump_flush(&rig.l->queue[i].pump);
    rig.store.later = traffic_random(seed) % 4 != 0;
    return true;
}

static bool disk_is_as_modelled(void)
{
    for (unsigned q = 0; q < LOOP_QUEUES; q++)
        for (unsigned i = 0; i < LOOP_DEPTH; i++)
            if (memcmp(disk + ((uint64_t)q * LOOP_DEPTH + i) * TRAFFIC_SECTORS * 512, traffic[q].place[i].model, TRAFFIC_SECTORS * 512) !=
                0)
                return false;
    return true;
}

static bool run(unsigned total)
{
    uint32_t seed = 77;
    struct via_iommu_report report;
    for (unsigned turn = 0; traffic[0].ended < total || traffic[1].ended < total; turn++) {
        CHECK_OR_FALSE(turn < 100000);
        for (unsigned q = 0; q < LOOP_QUEUES; q++) {
            traffic_submit(&traffic[q], total);
            rig.interrupts += via_vq_publish(&rig.l->queue[q].vq);
        }
        CHECK_OR_FALSE(disk_turn(&seed));
        for (unsigned q = 0; q < LOOP_QUEUES; q++) {
            CHECK_OR_FALSE(traffic_reap(&traffic[q]));
            (void)via_iommu_dma_tick(&rig.side[q].dma, turn * 100ull);
        }
    }
    for (unsigned q = 0; q < LOOP_QUEUES; q++)
        CHECK_OR_FALSE(via_iommu_dma_flush(&rig.side[q].dma) == 0 && rig.side[q].dma.stats.failed == 0);
    CHECK_OR_FALSE(disk_is_as_modelled() && rig.blk.errors == 0);
    CHECK_OR_FALSE(rig.dev.reported == 0 && via_iommu_driver_fault(&rig.driver, &report) == 0 && !rig.driver.fault.what);
    return true;
}

static void strict(void)
{
    CHECK(up(VIA_IOMMU_STRICT, 1000) && run(1000));
    CHECK_EQ(rig.dev.n_mappings, LOOP_QUEUES); /* the rings' own */
    CHECK(rig.side[0].space.used == 0 && rig.side[0].dma.stats.flushes >= 1000);
    CHECK_EQ(rig.dev.answers[VIA_IOMMU_S_OK], rig.driver.requests);
}

static void lazy(void)
{
    CHECK(up(VIA_IOMMU_LAZY, 1000) && run(1000));
    CHECK_EQ(rig.dev.n_mappings, LOOP_QUEUES);
    CHECK(rig.side[0].space.used == 0 && rig.side[0].dma.stats.flushes < 700);
    CHECK_EQ(rig.dev.answers[VIA_IOMMU_S_OK], rig.driver.requests);
}

static void identity_through_a_bypass_domain(void)
{
    CHECK(up(VIA_IOMMU_IDENTITY, 1000) && run(500));
    CHECK(rig.dev.n_mappings == 0 && rig.driver.requests == 2 * LOOP_QUEUES);
}

/* A device that has room for few mappings makes requests wait, and none fail. */
static void a_small_quota_of_mappings(void)
{
    CHECK(up(VIA_IOMMU_STRICT, 24) && run(300));
    CHECK(rig.dev.answers[VIA_IOMMU_S_NOMEM] > 0 && traffic[0].again > 0);
    CHECK_EQ(rig.dev.n_mappings, LOOP_QUEUES);
}

/* ------------------------------------------------------------------ what is not reached any more */

static struct via_span data;
static int submit(unsigned queue, enum via_blk_type type)
{
    struct via_blk_cmd c = {.type = type, .data = &data, .n = 1, .token = &data};
    data = (struct via_span){rig.l->private.buf[queue][0], 8192};
    int rc = via_blk_driver_submit(&rig.l->queue[queue].driver, &c);
    rig.interrupts += via_vq_publish(&rig.l->queue[queue].vq);
    return rc;
}

/* The address that the first request's data got: the segments are in its indirect table. */
static uint64_t first_address(unsigned queue)
{
    const struct via_desc *table = (const void *)(rig.l->shared.ring[queue] + 0x4000);
    return via_le64_value(table[0].addr);
}

static void nothing_is_reached_after_its_request(void)
{
    CHECK(up(VIA_IOMMU_STRICT, 1000));
    struct loop_queue *q = &rig.l->queue[0];
    struct via_blk_done done;
    struct via_span span;
    struct via_iommu_report report;
    CHECK_EQ(submit(0, VIA_BLK_T_IN), 0);
    via_iova addr = {first_address(0)};
    CHECK_EQ(via_xlate_resolve(&rig.side[0].ep.xlate, addr, 1, VIA_PERM_R, &span), 0);
    CHECK_EQ(via_xlate_resolve(&rig.side[1].ep.xlate, addr, 1, VIA_PERM_R, &span), -VIA_EFAULT); /* another domain's */
    CHECK_EQ(via_pump_run(&q->pump, 8), 1);
    CHECK(via_pump_flush(&q->pump));
    CHECK(via_blk_driver_reap(&q->driver, &done) == 1 && done.result == 0);
    CHECK_EQ(via_xlate_resolve(&rig.side[0].ep.xlate, addr, 1, VIA_PERM_R, &span), -VIA_EFAULT);
    for (unsigned i = 0; i < 2; i++) {
        rig.interrupts += via_pump_flush(&rig.pump[1]);
        CHECK(via_pump_run(&rig.pump[1], 8) >= 0);
        CHECK_EQ(via_iommu_driver_fault(&rig.driver, &report), 1);
        CHECK(report.reason == VIA_IOMMU_FAULT_R_MAPPING && report.endpoint == 9 - i && report.perm == VIA_IOMMU_READ);
        CHECK(report.has_address && report.address == addr.v);
    }
    CHECK_EQ(via_iommu_driver_fault(&rig.driver, &report), 0);
}

/* Detaching waits for what the device has in flight; what it tries afterwards fails, with an error that the driver sees. */
static void a_detach_ends_all_accesses(void)
{
    CHECK(up(VIA_IOMMU_STRICT, 1000));
    struct loop_queue *q = &rig.l->queue[0];
    struct via_blk_done done;
    rig.store.later = true;
    CHECK_EQ(submit(0, VIA_BLK_T_IN), 0);
    CHECK_EQ(via_pump_run(&q->pump, 8), 1);
    CHECK(rig.store.held == 1 && rig.waits == 0);
    CHECK_EQ(via_iommu_driver_detach(&rig.side[0].domain, rig.side[0].ep.id), 0);
    CHECK(rig.waits == 1 && rig.store.held == 0);
    CHECK(memcmp(data.ptr, disk, 8192) == 0); /* it was written before the answer */
    CHECK(via_pump_flush(&q->pump));
    /* The driver's unmap meets no domain any more: the addresses are set aside. */
    CHECK(via_blk_driver_reap(&q->driver, &done) == 1 && done.result == 0);
    CHECK(rig.side[0].dma.stats.failed > 0 && rig.side[0].dma.stats.quarantined >= 4);
    CHECK_EQ(submit(0, VIA_BLK_T_IN), -VIA_ENOENT);
}

TAP_MAIN(TEST(strict), TEST(lazy), TEST(identity_through_a_bypass_domain), TEST(a_small_quota_of_mappings),
         TEST(nothing_is_reached_after_its_request), TEST(a_detach_ends_all_accesses))
