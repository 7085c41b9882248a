/* SPDX-License-Identifier: BSD-2-Clause */
/* A device that does not see the caches, and writes that are posted: what is done is enough, and each part of it is needed. */
#include <stdio.h>
#include <string.h>

#include <tap.h>

#include "turns.h"

static const char *const way_name[TURNS_WAYS] = {"cache", "bounce", "hybrid"};

static bool goes_well(struct turns_cfg cfg)
{
    unsigned done;
    const char *why = turns_run(&cfg, &done);
    char text[200];
    if (!why)
        return true;
    (void)snprintf(text, sizeof(text), "%s, lines of %zu, %s%s%s: after %u requests: %s", way_name[cfg.way], cfg.line,
                   cfg.posted ? "posted" : "not posted", cfg.event_idx ? ", events" : "", cfg.under_reports ? ", reports too little" : "",
                   done, why);
    tap_note(text);
    return false;
}

static void all_goes_well(enum turns_way way)
{
    static const size_t line[] = {64, 128, 16};
    for (unsigned k = 0; k < 12; k++) {
        struct turns_cfg cfg = {.way = way, .line = line[k % 3], .requests = 150, .seed = 77 + k};
        cfg.posted = k & 1;
        cfg.event_idx = k & 2;
        cfg.under_reports = way != TURNS_HYBRID && k & 4;
        CHECK(goes_well(cfg));
    }
}

static void buffers_where_they_are(void) { all_goes_well(TURNS_CACHE); }
static void buffers_through_a_pool(void) { all_goes_well(TURNS_BOUNCE); }
static void pages_where_they_are_and_ends_through_a_pool(void) { all_goes_well(TURNS_HYBRID); }

/* ------------------------------------------------------------------ what is refused, and what is never shown */

static struct incoherent world;

static void world_clean(struct via_port *p, const void *ptr, size_t len)
{
    (void)p;
    incoherent_clean(&world, ptr, len);
}

static void world_invalidate(struct via_port *p, void *ptr, size_t len)
{
    (void)p;
    incoherent_invalidate(&world, ptr, len);
}

static const struct via_port_ops world_ops = {.clean = world_clean, .invalidate = world_invalidate};

static void a_writable_buffer_fills_its_lines(void)
{
    struct via_port port = {&world_ops, 64};
    struct via_direct direct;
    struct via_cache cache;
    struct via_seg seg[4];
    struct via_mapping m = {.seg = seg, .cap = 4};
    CHECK(incoherent_open(&world, 8192, 64, false, 1));
    const struct via_phys_range range = {world.cpu, world.bytes, INCOHERENT_PHYS};
    CHECK_EQ(via_direct_init(&direct, &range, 1), 0);
    CHECK_EQ(via_cache_init(&cache, NULL, &port), -VIA_EINVAL);
    CHECK_EQ(via_cache_init(&cache, &direct.dma, NULL), -VIA_EINVAL);
    port.line = 0;
    CHECK_EQ(via_cache_init(&cache, &direct.dma, &port), -VIA_EINVAL);
    port.line = 96;
    CHECK_EQ(via_cache_init(&cache, &direct.dma, &port), -VIA_EINVAL);
    port.line = 64;
    CHECK_EQ(via_cache_init(&cache, &direct.dma, &port), 0);
    for (unsigned i = 0; i < 4; i++) { /* neither start nor end, one, the other, both */
        size_t off = i & 1 ? 0 : 8, end = i & 2 ? 192 : 184;
        const struct via_span buf[2] = {{world.cpu + 3, 70}, {world.cpu + 256 + off, end - off}};
        CHECK_EQ(via_dma_map(&cache.dma, buf, 1, 1, &m), i == 3 ? 0 : -VIA_EINVAL);
        CHECK_EQ(via_dma_map(&cache.dma, buf, 2, 0, &m), 0);
    }
    const struct via_span far = {world.cpu + world.bytes, 64};
    CHECK_EQ(via_dma_map(&cache.dma, &far, 0, 1, &m), -VIA_ERANGE);
    incoherent_close(&world);
}

/* A next whose device reads as soon as it may, and writes as long as it may. */
static struct via_direct under;
static uint8_t device_saw;

static int next_map(struct via_dma *d, const struct via_span *buf, unsigned out, unsigned in, struct via_mapping *m)
{
    (void)d;
    return via_dma_map(&under.dma, buf, out, in, m);
}

static void next_unmap(struct via_dma *d, struct via_mapping *m, uint32_t written)
{
    *incoherent_at(&world, m->seg[0].addr.v, 1) = (uint8_t)written;
    (void)d;
}

static int next_sync(struct via_dma *d, struct via_mapping *m, enum via_owner to, uint32_t written)
{
    uint8_t *byte = incoherent_at(&world, m->seg[0].addr.v, 1);
    if (to == VIA_OWNER_DEVICE)
        device_saw = *byte;
    else
        *byte = (uint8_t)written;
    return d ? 0 : -VIA_EINVAL;
}

static void the_device_acts_until_next_has_ended_it(void)
{
    static const struct via_dma_ops ops = {"next", next_map, next_unmap, next_sync};
    struct via_port port = {&world_ops, 64};
    struct via_dma next = {&ops, NULL};
    struct via_cache cache;
    struct via_seg seg[1];
    struct via_mapping m = {.seg = seg, .cap = 1};
    CHECK(incoherent_open(&world, 8192, 64, false, 1));
    const struct via_phys_range range = {world.cpu, world.bytes, INCOHERENT_PHYS};
    const struct via_span buf = {world.cpu + 128, 64};
    CHECK_EQ(via_direct_init(&under, &range, 1), 0);
    CHECK_EQ(via_cache_init(&cache, &next, &port), 0);
    for (unsigned i = 0; i < 400; i++) {
        uint8_t byte = (uint8_t)i;
        CHECK_EQ(via_dma_map(&cache.dma, &buf, 0, 1, &m), 0);
        CHECK_EQ(via_dma_sync(&cache.dma, &m, VIA_OWNER_CPU, 1 + i * 7 % 60), 0);
        incoherent_read(&world, buf.ptr, &byte, 1);
        CHECK_EQ(byte, 1 + i * 7 % 60);
        byte = (uint8_t)(100 + i % 100);
        incoherent_write(&world, buf.ptr, &byte, 1);
        CHECK_EQ(via_dma_sync(&cache.dma, &m, VIA_OWNER_DEVICE, 0), 0);
        CHECK_EQ(device_saw, 100 + i % 100);
        via_dma_unmap(&cache.dma, &m, 2 + i % 60);
        incoherent_read(&world, buf.ptr, &byte, 1);
        CHECK_EQ(byte, 2 + i % 60);
    }
    incoherent_close(&world);
}

/* Zeroes that stay in the cache leave memory as it was before the pool, for the device to read. */
static void a_pool_shows_nothing_of_before(void)
{
    struct via_port port = {&world_ops, 96};
    struct via_direct direct;
    struct via_pool pool;
    _Atomic uint64_t free[1];
    CHECK(incoherent_open(&world, 8 * VIA_POOL_SLOT, 64, false, 1));
    const struct via_phys_range range = {world.cpu, world.bytes, INCOHERENT_PHYS};
    via_shm_zero(world.cpu, world.bytes);
    CHECK_EQ(via_direct_init(&direct, &range, 1), 0);
    CHECK_EQ(via_pool_init(&pool, &direct.dma, world.cpu, world.bytes, free, 1), 0);
    CHECK_EQ(via_pool_set_port(&pool, &port), -VIA_EINVAL);
    port.line = 2 * VIA_POOL_SLOT;
    CHECK_EQ(via_pool_set_port(&pool, &port), -VIA_EINVAL);
    port.line = 64;
    CHECK_EQ(via_pool_set_port(&pool, &port), 0);
    for (size_t i = 0; i < world.bytes; i++)
        CHECK_EQ(world.memory[i], 0);
    incoherent_close(&world);
}

/* What a driver took from the pool is used where it is, but for what the device would write beside the driver's own bytes. */
static void what_is_in_the_pool_stays_where_it_can(void)
{
    struct via_port port = {&world_ops, 64};
    struct via_pool pool;
    struct via_bounce bounce;
    struct via_seg seg[3];
    struct via_mapping m = {.seg = seg, .cap = 3};
    _Atomic uint64_t free[1];
    CHECK(incoherent_open(&world, 8 * VIA_POOL_SLOT, 64, false, 1));
    const struct via_phys_range range = {world.cpu, world.bytes, INCOHERENT_PHYS};
    CHECK_EQ(via_direct_init(&under, &range, 1), 0);
    CHECK_EQ(via_pool_init(&pool, &under.dma, world.cpu, world.bytes, free, 1), 0);
    CHECK_EQ(via_pool_set_port(&pool, &port), 0);
    CHECK_EQ(via_bounce_init(&bounce, &pool, 0, 0), 0);
    uint8_t *own = via_bounce_alloc(&bounce, VIA_POOL_SLOT);
    CHECK(own);
    const struct via_span buf[3] = {{own + 3, 10}, {own + 64, 128}, {own + 200, 8}};
    CHECK_EQ(via_dma_map(&bounce.dma, buf, 1, 2, &m), 0);
    uint64_t at = INCOHERENT_PHYS + (uint64_t)(own - world.cpu);
    CHECK(seg[0].addr.v == at + 3 && seg[1].addr.v == at + 64);
    CHECK(seg[2].addr.v - at >= VIA_POOL_SLOT && seg[2].addr.v % VIA_POOL_SLOT == 200);
    CHECK_EQ(bounce.stats.bytes_out, 0);
    via_dma_unmap(&bounce.dma, &m, 0);
    via_bounce_free(&bounce, own, VIA_POOL_SLOT);
    incoherent_close(&world);
}

/* ------------------------------------------------------------------ what is needed */

/* Each part of the maintenance left out, done to too little, or the other way: there are requests that show it. */
static const struct turns_mutant maintenance[] = {
    {"map does not clean", TURNS_SKIP, TURNS_MAP, TURNS_BOTH},
    {"map does not clean what the device reads", TURNS_SKIP, TURNS_MAP, TURNS_READABLE},
    {"map does not clean what the device writes", TURNS_SKIP, TURNS_MAP, TURNS_WRITABLE},
    {"map leaves the first line out", TURNS_HEAD, TURNS_MAP, TURNS_BOTH},
    {"map leaves the last line out", TURNS_TAIL, TURNS_MAP, TURNS_BOTH},
    {"map invalidates what the device reads", TURNS_OTHER, TURNS_MAP, TURNS_READABLE},
    {"unmap does not invalidate", TURNS_SKIP, TURNS_UNMAP, TURNS_BOTH},
    {"unmap leaves the first line out", TURNS_HEAD, TURNS_UNMAP, TURNS_BOTH},
    {"unmap leaves the last line out", TURNS_TAIL, TURNS_UNMAP, TURNS_BOTH},
    {"unmap cleans", TURNS_OTHER, TURNS_UNMAP, TURNS_BOTH},
    {"sync to the processor does nothing", TURNS_SKIP, TURNS_TO_CPU, TURNS_BOTH},
    {"sync to the processor leaves the first line out", TURNS_HEAD, TURNS_TO_CPU, TURNS_BOTH},
    {"sync to the processor leaves the last line out", TURNS_TAIL, TURNS_TO_CPU, TURNS_BOTH},
    {"sync to the processor cleans", TURNS_OTHER, TURNS_TO_CPU, TURNS_BOTH},
    {"sync to the device does nothing", TURNS_SKIP, TURNS_TO_DEVICE, TURNS_BOTH},
    {"sync to the device leaves what it reads", TURNS_SKIP, TURNS_TO_DEVICE, TURNS_READABLE},
    {"sync to the device leaves the first line out", TURNS_HEAD, TURNS_TO_DEVICE, TURNS_BOTH},
    {"sync to the device leaves the last line out", TURNS_TAIL, TURNS_TO_DEVICE, TURNS_BOTH},
    {"sync to the device invalidates", TURNS_OTHER, TURNS_TO_DEVICE, TURNS_BOTH},
};

/* What only buffers that the device writes where they are show: what a slot held before a copy is no matter. */
static const struct turns_mutant in_place[] = {
    {"map invalidates what the device writes", TURNS_OTHER, TURNS_MAP, TURNS_WRITABLE},
    {"sync to the device leaves what it writes", TURNS_SKIP, TURNS_TO_DEVICE, TURNS_WRITABLE},
};

static const struct turns_mutant posted[] = {
    {"publish does not flush", TURNS_SKIP, TURNS_PUBLISH, TURNS_BOTH},
    {"arm does not flush", TURNS_SKIP, TURNS_ARM, TURNS_BOTH},
    {"a flush comes after the decision to notify", TURNS_LATE, 0, TURNS_BOTH},
};

static bool is_found(struct turns_cfg cfg, const struct turns_mutant *m)
{
    unsigned done;
    char text[200];
    cfg.mutant = *m;
    cfg.requests = 20000;
    cfg.seed = 5;
    cfg.line = 64;
    const char *why = turns_run(&cfg, &done);
    (void)snprintf(text, sizeof(text), "%s: %s: %s, after %u requests", way_name[cfg.way], m->name, why ? why : "nothing is found", done);
    tap_note(text);
    return why;
}

static void all_are_found(enum turns_way way, struct turns_cfg cfg, const struct turns_mutant *m, size_t n)
{
    cfg.way = way;
    for (size_t i = 0; i < n; i++)
        CHECK(is_found(cfg, &m[i]));
}

static void each_step_is_needed(void)
{
    for (enum turns_way way = 0; way < TURNS_WAYS; way++)
        all_are_found(way, (struct turns_cfg){0}, maintenance, via_array_len(maintenance));
    all_are_found(TURNS_CACHE, (struct turns_cfg){0}, in_place, via_array_len(in_place));
    all_are_found(TURNS_BOUNCE, (struct turns_cfg){0}, in_place, via_array_len(in_place));
}

static void buffers_that_share_lines_lose_bytes(void)
{
    static const struct turns_mutant fine = {"buffers share lines", TURNS_FINE, 0, TURNS_BOTH};
    all_are_found(TURNS_CACHE, (struct turns_cfg){0}, &fine, 1);
    all_are_found(TURNS_BOUNCE, (struct turns_cfg){0}, &fine, 1);
}

static void short_reports_are_not_to_be_trusted(void)
{
    static const struct turns_mutant trusting = {"it believes what is reported", TURNS_TRUSTING, 0, TURNS_BOTH};
    const struct turns_cfg cfg = {.under_reports = true};
    all_are_found(TURNS_CACHE, cfg, &trusting, 1);
    all_are_found(TURNS_BOUNCE, cfg, &trusting, 1);
}

static void each_flush_is_needed(void)
{
    for (unsigned event_idx = 0; event_idx < 2; event_idx++)
        all_are_found(TURNS_CACHE, (struct turns_cfg){.posted = true, .event_idx = event_idx}, posted, via_array_len(posted));
}

TAP_MAIN(TEST(buffers_where_they_are), TEST(buffers_through_a_pool), TEST(pages_where_they_are_and_ends_through_a_pool),
         TEST(a_writable_buffer_fills_its_lines), TEST(the_device_acts_until_next_has_ended_it), TEST(a_pool_shows_nothing_of_before),
         TEST(what_is_in_the_pool_stays_where_it_can), TEST(each_step_is_needed), TEST(buffers_that_share_lines_lose_bytes),
         TEST(short_reports_are_not_to_be_trusted), TEST(each_flush_is_needed))
