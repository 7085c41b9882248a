/* SPDX-License-Identifier: BSD-2-Clause */
/* iommu: what the device reaches and when it stops to, through a model of an IOMMU; each call of which may fail. */
#include "iommu_rig.h"

enum { LIVE = 10, BUFS = 4, CAP = 40, STALE = 6 };

static struct via_iommu_dma dma;
static struct via_check check;
static struct via_check_entry check_entry[2 * LIVE];
static struct via_seg phys[MEM_PAGES];
static struct via_iommu_stale stale[STALE];

static struct live {
    bool mapped;
    struct via_mapping m;
    struct via_seg seg[CAP];
    struct via_span buf[BUFS];
    unsigned out, in, pages;
} live[LIVE];

static bool up(enum via_iommu_mode mode, unsigned pages, unsigned stale_cap)
{
    struct via_iommu_cfg cfg = {.mode = mode,
                                .window_ns = 1000,
                                .space = &model.space,
                                .phys = phys,
                                .phys_cap = via_array_len(phys),
                                .stale = stale,
                                .stale_cap = stale_cap};
    memset(live, 0, sizeof(live));
    CHECK_OR_FALSE(model_up(pages));
    CHECK_OR_FALSE(via_iommu_dma_init(&dma, &model.direct.dma, &model.domain, &cfg) == 0);
    CHECK_OR_FALSE(via_check_init(&check, &dma.dma, check_entry, via_array_len(check_entry), NULL) == 0);
    return true;
}

static int map(struct live *l, unsigned out, unsigned in, unsigned cap)
{
    l->m = (struct via_mapping){.seg = l->seg, .cap = (uint16_t)cap};
    l->out = out;
    l->in = in;
    return via_dma_map(&check.dma, l->buf, out, in, &l->m);
}

static void lists_become_one_range(void)
{
    CHECK(up(VIA_IOMMU_STRICT, 64, STALE));
    struct live *l = &live[0];
    l->buf[0] = (struct via_span){mem + 100, PAGE - 100};
    l->buf[1] = (struct via_span){mem + 9 * PAGE, 2 * PAGE};
    l->buf[2] = (struct via_span){mem + 4 * PAGE, PAGE};
    l->buf[3] = (struct via_span){mem + 20 * PAGE, 50};
    CHECK_EQ(map(l, 2, 2, CAP), 0);
    CHECK(l->m.n_out == 1 && l->m.n_in == 1 && l->seg[0].len == 3 * PAGE - 100 && l->seg[1].len == PAGE + 50);
    CHECK(l->seg[0].addr.v % PAGE == 100 && l->seg[1].addr.v == l->seg[0].addr.v + l->seg[0].len);
    size_t one = 1;
    CHECK(reach(l->seg[0].addr.v, VIA_IOMMU_READ, &one) == mem + 100 && !reach(l->seg[0].addr.v, VIA_IOMMU_WRITE, &one));
    CHECK(reach(l->seg[1].addr.v, VIA_IOMMU_WRITE, &one) == mem + 4 * PAGE && !reach(l->seg[1].addr.v, VIA_IOMMU_READ, &one));
    CHECK_EQ(reachable(), 5);
    via_dma_unmap(&check.dma, &l->m, 0);
    CHECK(reachable() == 0 && model.unmaps == 1 && model.flushes == 1);

    l->buf[1].len--; /* ends inside a page: the rest takes another range */
    CHECK_EQ(map(l, 2, 2, CAP), 0);
    CHECK(l->m.n_out == 1 && l->m.n_in == 1 && l->seg[1].addr.v % PAGE == 0 && l->seg[1].addr.v != l->seg[0].addr.v + l->seg[0].len);
    via_dma_unmap(&check.dma, &l->m, 0);
    CHECK(reachable() == 0 && model.unmaps == 3 && model.flushes == 2);

    l->buf[0] = (struct via_span){mem, MEM_PAGES / 2 * PAGE}; /* frames that are neighbours are mapped at once */
    unsigned was = model.maps;
    CHECK_EQ(map(l, 1, 0, CAP), 0);
    CHECK(model.maps - was < MEM_PAGES / 2 && model.maps - was > MEM_PAGES / 4 && l->m.n_out == 1);
    via_dma_unmap(&check.dma, &l->m, 0);
    CHECK(model.wrong == 0 && model.space.used == 0 && via_check_finish(&check) == 0);
}

/* Buffers on pages 6 * i to 6 * i + 5 of memory: mappings don't share pages, so reachable pages can be counted. */
static void choose(struct live *l)
{
    uint8_t *at = mem + (size_t)(l - live) * 6 * PAGE, *end = at + 6 * (size_t)PAGE;
    unsigned n = 0;
    while (n < BUFS && at < end && (!n || below(4))) {
        at += below(3) ? 0 : below(PAGE);
        size_t room = (size_t)(end - at), len = below(3) ? (1 + below(2)) * PAGE - (uintptr_t)at % PAGE : 1 + below(2 * PAGE);
        l->buf[n++] = (struct via_span){at, via_min64(len, room)};
        at += l->buf[n - 1].len;
        at += -(uintptr_t)at % PAGE;
    }
    l->out = below(n + 1);
    l->in = n - l->out;
    l->pages = 0;
    for (unsigned i = 0; i < n; i++)
        l->pages += (unsigned)(((uintptr_t)l->buf[i].ptr % PAGE + l->buf[i].len + PAGE - 1) / PAGE);
}

static bool device_works(struct live *l)
{
    static uint8_t own[16 * PAGE];
    size_t pos = 0, out = via_spans_len(l->buf, l->out), in = via_spans_len(l->buf + l->out, l->in);
    CHECK_OR_FALSE(device_moves(l->seg, l->m.n_out, own, out, VIA_IOMMU_READ));
    for (unsigned i = 0; i < l->out; pos += l->buf[i++].len)
        CHECK_OR_FALSE(memcmp(own + pos, l->buf[i].ptr, l->buf[i].len) == 0);
    for (pos = 0; pos < in; pos++)
        own[pos] = (uint8_t)below(256);
    CHECK_OR_FALSE(device_moves(l->seg + l->m.n_out, l->m.n_in, own, in, VIA_IOMMU_WRITE));
    pos = 0;
    for (unsigned i = l->out; i < l->out + l->in; pos += l->buf[i++].len)
        CHECK_OR_FALSE(memcmp(own + pos, l->buf[i].ptr, l->buf[i].len) == 0);
    return true;
}

static unsigned live_pages(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < LIVE; i++)
        n += live[i].mapped ? live[i].pages : 0;
    return n;
}

/* *now: NULL, or the time, which goes on. What is reached beyond what is mapped must have been unmapped less than the window and a tick
 * ago. */
static bool random_requests(unsigned steps, uint64_t *now)
{
    uint64_t gone[4] = {0}; /* unmapped pages: since the last tick, and before it ... */
    for (unsigned i = 0; i < steps; i++) {
        struct live *l = &live[below(LIVE)];
        if (l->mapped) {
            via_dma_unmap(&check.dma, &l->m, 0);
            l->mapped = false;
            gone[0] += l->pages;
        } else {
            choose(l);
            int r = map(l, l->out, l->in, CAP);
            CHECK_OR_FALSE(r == 0 || r == -VIA_EAGAIN);
            l->mapped = !r;
            if (!r && !device_works(l))
                return false;
        }
        if (now && below(5) == 0) {
            *now += 400;
            uint64_t due = via_iommu_dma_tick(&dma, *now);
            CHECK_OR_FALSE(due > *now && (due == UINT64_MAX) == (reachable() == live_pages()));
            gone[3] = gone[2], gone[2] = gone[1], gone[1] = gone[0], gone[0] = 0;
        }
        unsigned late = reachable() - live_pages();
        CHECK_OR_FALSE(model.wrong == 0 && reachable() >= live_pages());
        CHECK_OR_FALSE(late <= (now ? gone[0] + gone[1] + gone[2] + gone[3] : 0) && dma.waiting < STALE);
    }
    for (unsigned i = 0; i < LIVE; i++)
        if (live[i].mapped)
            via_dma_unmap(&check.dma, &live[i].m, 0);
    memset(live, 0, sizeof(live));
    return true;
}

static void strict_ends_access_at_once(void)
{
    static const unsigned caps[] = {1, 2, STALE};
    for (unsigned i = 0; i < via_array_len(caps); i++) {
        CHECK(up(VIA_IOMMU_STRICT, i == 1 ? 40 : 128, caps[i]));
        CHECK(random_requests(4000, NULL));
        CHECK(reachable() == 0 && model.space.used == 0 && via_check_finish(&check) == 0);
        CHECK(dma.stats.maps == dma.stats.unmaps && dma.stats.quarantined == 0 && (i != 1) == (dma.stats.full == 0));
        CHECK(via_iommu_dma_tick(&dma, 5) == UINT64_MAX);
    }
}

static void lazy_ends_access_by_number_and_by_time(void)
{
    for (unsigned pages = 40; pages <= 120; pages += 80) {
        uint64_t now = 0;
        CHECK(up(VIA_IOMMU_LAZY, pages, STALE));
        CHECK(random_requests(8000, &now));
        CHECK(model.flushes < model.unmaps);
        CHECK_EQ(via_iommu_dma_flush(&dma), 0);
        CHECK(reachable() == 0 && model.space.used == 0 && via_check_finish(&check) == 0 && (pages == 40) == (dma.stats.full > 0));
    }
    CHECK(up(VIA_IOMMU_LAZY, 64, STALE));
    struct live *l = &live[0];
    l->buf[0] = (struct via_span){mem, 10};
    CHECK_EQ(via_iommu_dma_tick(&dma, 500), UINT64_MAX);
    CHECK_EQ(map(l, 1, 0, CAP), 0);
    via_dma_unmap(&check.dma, &l->m, 0);
    CHECK_EQ(via_iommu_dma_tick(&dma, 1499), 1500);
    CHECK_EQ(map(l, 1, 0, CAP), 0); /* a later one does not put off what is due */
    via_dma_unmap(&check.dma, &l->m, 0);
    CHECK_EQ(via_iommu_dma_tick(&dma, 7), 1500); /* nor does a clock that went back */
    CHECK_EQ(reachable(), 2);
    CHECK_EQ(via_iommu_dma_tick(&dma, 1500), UINT64_MAX);
    CHECK_EQ(reachable(), 0);
    dma.cfg.window_ns = UINT64_MAX;
    for (unsigned i = 0; i < STALE; i++) { /* as many as are to be kept are flushed, whatever the time */
        CHECK_EQ(reachable(), i);
        CHECK_EQ(map(l, 1, 0, CAP), 0);
        via_dma_unmap(&check.dma, &l->m, 0);
    }
    CHECK_EQ(reachable(), 0);
}

static void exhaustion_is_told_apart(void)
{
    for (enum via_iommu_mode mode = VIA_IOMMU_STRICT; mode <= VIA_IOMMU_LAZY; mode++) {
        CHECK(up(mode, 8, STALE));
        for (unsigned i = 0; i < 4; i++)
            live[i].buf[0] = (struct via_span){mem + (size_t)i * 8 * PAGE, 4 * PAGE};
        CHECK(map(&live[0], 1, 0, CAP) == 0 && map(&live[1], 0, 1, CAP) == 0);
        CHECK_EQ(map(&live[2], 1, 0, CAP), -VIA_EAGAIN);
        via_dma_unmap(&check.dma, &live[0].m, 0);
        CHECK_EQ(map(&live[2], 1, 0, CAP), 0); /* lazy: what waits is flushed early */
        live[0].buf[0].len = 9 * PAGE;
        CHECK_EQ(map(&live[0], 1, 0, CAP), -VIA_E2BIG);
        via_dma_unmap(&check.dma, &live[1].m, 0);
        live[3].buf[1] = (struct via_span){mem + 3, 8 * PAGE - 3}; /* fits alone, and never with the other one */
        CHECK_EQ(map(&live[3], 1, 1, CAP), -VIA_EAGAIN);
        CHECK_EQ(reachable(), 4);
        via_dma_unmap(&check.dma, &live[2].m, 0);
        CHECK_EQ(map(&live[3], 1, 1, CAP), -VIA_E2BIG);
        CHECK(reachable() == 0 && model.space.used == 0 && dma.stats.full == 3 && model.wrong == 0);
        live[0].buf[0] = (struct via_span){mem + 1, 1};
        live[0].buf[1] = (struct via_span){mem + PAGE + 1, 1};
        CHECK_EQ(map(&live[0], 1, 1, 1), -VIA_E2BIG);
        dma.cfg.phys_cap = 1;
        CHECK_EQ(map(&live[0], 1, 1, 2), -VIA_E2BIG);
        CHECK_EQ(model.space.used, 0);
    }
}

/* Two requests, of which one has three ranges, with each single call failing, and with all from one on. */
static void failures_at_every_point(void)
{
    for (unsigned round = 0; round < 2 * 30; round++) {
        CHECK(up(round & 1 ? VIA_IOMMU_LAZY : VIA_IOMMU_STRICT, 128, 3));
        for (unsigned i = 0; i < 3; i++)
            live[0].buf[i] = (struct via_span){mem + (size_t)i * 8 * PAGE + 5, 5 * PAGE};
        live[1].buf[0] = (struct via_span){mem + 40 * PAGE, 2 * PAGE};
        model.fail_at = 1 + round / 2;
        model.fails = round % 4 < 2 ? 1 : 4;
        for (unsigned step = 0; step < 4; step++) {
            struct live *l = &live[step & 1];
            int r = map(l, step & 1 ? 1 : 2, step & 1 ? 0 : 1, CAP);
            CHECK(r == 0 || r == -VIA_ENOMEM);
            if (!r)
                CHECK(device_works(l));
            else if (dma.stats.failed == 0 && dma.cfg.mode == VIA_IOMMU_STRICT)
                CHECK_EQ(reachable(), 0);
            if (!r)
                via_dma_unmap(&check.dma, &l->m, 0);
        }
        model.fails = 0;
        CHECK_EQ(via_iommu_dma_flush(&dma), 0);
        CHECK(model.space.used == 0 && model.space.lost >= dma.stats.quarantined && (dma.stats.failed > 0) == (model.space.lost > 0));
        CHECK(reachable() <= dma.stats.quarantined);
        unsigned lost = reachable();
        CHECK(lost == 0 || dma.stats.failed > 0);
        for (unsigned i = 0; i < 100; i++) { /* what may still be reached is never given out again: the model would see it */
            struct via_seg seg[CAP];
            struct via_mapping m = {.seg = seg, .cap = CAP};
            struct via_span buf = {mem + 20 * PAGE, (1 + i % 20) * PAGE};
            int r = via_dma_map(&dma.dma, &buf, 0, 1, &m);
            CHECK(r == 0 || r == -VIA_E2BIG);
            if (!r)
                via_dma_unmap(&dma.dma, &m, 0);
        }
        CHECK(model.wrong == 0 && via_iommu_dma_flush(&dma) == 0 && model.space.used == 0);
    }
}

static void identity_maps_once(void)
{
    struct via_iova_range ranges[] = {{(PHYS_BASE + 0ull) * PAGE, (PHYS_BASE + 8ull) * PAGE - 1}, {0, 0}};
    struct via_iommu_cfg cfg = {.mode = VIA_IOMMU_IDENTITY, .memory = ranges, .n_memory = 0};
    CHECK(model_up(64));
    CHECK_EQ(via_iommu_dma_init(&dma, &model.direct.dma, &model.domain, &cfg), 0);
    CHECK_EQ(model.calls, 0);
    struct live *l = &live[0];
    l->buf[0] = (struct via_span){mem + 7, 9};
    l->m = (struct via_mapping){.seg = l->seg, .cap = 1};
    CHECK_EQ(via_dma_map(&dma.dma, l->buf, 0, 1, &l->m), 0);
    CHECK(l->seg[0].addr.v == model.range[0].phys + 7 && l->seg[0].len == 9 && via_dma_sync(&dma.dma, &l->m, VIA_OWNER_CPU, 1) == 0);
    via_dma_unmap(&dma.dma, &l->m, 0);
    CHECK_EQ(model.calls, 0);
    cfg.n_memory = 1;
    model.fail_at = model.fails = 1;
    CHECK_EQ(via_iommu_dma_init(&dma, &model.direct.dma, &model.domain, &cfg), -VIA_ENOMEM);
    CHECK(model.maps == 1 && model.unmaps == 1 && model.flushes == 1);
    CHECK_EQ(via_iommu_dma_init(&dma, &model.direct.dma, &model.domain, &cfg), 0);
    CHECK(model.maps == 2 && model.unmaps == 1);
    ranges[0].last = ranges[0].start - 1;
    CHECK_EQ(via_iommu_dma_init(&dma, &model.direct.dma, &model.domain, &cfg), -VIA_EINVAL);
}

static void options_and_misuse(void)
{
    CHECK(up(VIA_IOMMU_STRICT, 64, STALE));
    struct live *l = &live[0];
    dma.cfg.whole_pages = true;
    dma.cfg.write_reads = true;
    static const struct {
        size_t off, len;
        int result;
    } way[] = {{0, PAGE, 0}, {0, 2 * PAGE, 0}, {1, PAGE - 1, -VIA_ERANGE}, {0, PAGE - 1, -VIA_ERANGE}, {1, PAGE, -VIA_ERANGE}};
    for (unsigned i = 0; i < via_array_len(way); i++) {
        size_t one = 1;
        l->buf[0] = (struct via_span){mem + 20 * PAGE, PAGE};
        l->buf[1] = (struct via_span){mem + way[i].off, way[i].len};
        CHECK_EQ(map(l, 1, 1, CAP), way[i].result);
        if (way[i].result)
            continue;
        CHECK(reach(l->seg[1].addr.v, VIA_IOMMU_READ, &one) && reach(l->seg[1].addr.v, VIA_IOMMU_WRITE, &one));
        CHECK(!reach(l->seg[0].addr.v, VIA_IOMMU_WRITE, &one));
        CHECK_EQ(via_dma_sync(&check.dma, &l->m, VIA_OWNER_CPU, 1), 0);
        via_dma_unmap(&check.dma, &l->m, 0);
    }
    CHECK(model.space.used == 0 && reachable() == 0);
    struct via_iommu_cfg bad = dma.cfg;
    CHECK_EQ(via_iommu_dma_init(&dma, NULL, &model.domain, &bad), -VIA_EINVAL);
    CHECK_EQ(via_iommu_dma_init(&dma, &model.direct.dma, NULL, &bad), -VIA_EINVAL);
    bad.stale_cap = 0;
    CHECK_EQ(via_iommu_dma_init(&dma, &model.direct.dma, &model.domain, &bad), -VIA_EINVAL);
    bad.stale_cap = 1;
    bad.space = NULL;
    CHECK_EQ(via_iommu_dma_init(&dma, &model.direct.dma, &model.domain, &bad), -VIA_EINVAL);
}

TAP_MAIN(TEST(lists_become_one_range), TEST(strict_ends_access_at_once), TEST(lazy_ends_access_by_number_and_by_time),
         TEST(exhaustion_is_told_apart), TEST(failures_at_every_point), TEST(identity_maps_once), TEST(options_and_misuse))
