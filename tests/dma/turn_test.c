/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest turns secure while requests are in flight, and back: nothing is lost, and nothing is claimed that is not so. */
#include <viaduct/driver.h>

#include "turn_rig.h"

#define FILL 0x5a
#define QUEUE 8u

static struct via_seg seg[4][SEGS];
static struct via_mapping m[4];

static bool up(void)
{
    for (unsigned i = 0; i < via_array_len(m); i++)
        m[i] = (struct via_mapping){.seg = seg[i], .cap = SEGS, .way = UINT16_MAX}; /* whatever was there */
    return guest_up(FILL);
}

static bool is_own_content(void)
{
    for (size_t i = 0; i < OWN_PAGES * PAGE; i++)
        CHECK_OR_FALSE(own[i] == FILL);
    return true;
}

static bool turn(bool secure)
{
    via_turn_begin(&g.turn, secure);
    for (unsigned i = 0; i < PAGES && via_turn_step(&g.turn, 7); i++)
        ;
    CHECK_OR_FALSE(via_turn_is_done(&g.turn) && truthful());
    return true;
}

static void there_and_back(void)
{
    CHECK(up());
    CHECK(via_turn_is_done(&g.turn) && g.turn.open);
    CHECK_EQ(seen(), OWN_PAGES);
    CHECK_EQ(via_turn_init(&g.turn, &g.protect, g.lease, PAGES, g.scratch, sizeof(g.scratch)), 0);
    CHECK(via_turn_is_done(&g.turn) && g.turn.open);
    CHECK(turn(true));
    CHECK_EQ(seen(), 0);
    CHECK(is_own_content());
    CHECK(via_protect_is_private(&g.protect, own, OWN_PAGES * PAGE));
    CHECK(via_protect_is_shared(&g.protect, g.mem, KEPT * PAGE));
    memset(own, FILL ^ 1, OWN_PAGES * PAGE); /* what it writes later */
    CHECK_EQ(seen(), 0);
    memset(own, FILL, OWN_PAGES * PAGE);
    CHECK(turn(false));
    CHECK(g.turn.open && is_own_content());
    CHECK_EQ(seen(), OWN_PAGES);
    CHECK_EQ(g.turn.stats.begun, 2);
    CHECK_EQ(g.turn.stats.secured, OWN_PAGES);
    CHECK_EQ(g.turn.stats.opened, OWN_PAGES);
    CHECK_EQ(g.turn.stats.failed, 0);
}

/* In steps of seven pages, two calls of the platform each: the scratch holds four. */
static void steps_are_bounded(void)
{
    CHECK(up());
    via_turn_begin(&g.turn, true);
    for (size_t left = OWN_PAGES; left;) {
        size_t now = via_turn_step(&g.turn, 7);
        CHECK_EQ(left - now, left < 7 ? left : 7);
        left = now;
    }
    CHECK_EQ(g.most, SCRATCH);
    CHECK_EQ(g.calls, OWN_PAGES / 7 * 2 + 2);
    CHECK_EQ(via_turn_step(&g.turn, 7), 0);
    CHECK_EQ(g.calls, OWN_PAGES / 7 * 2 + 2);
}

/* Two requests on one page, one of which ends on a second page, one that lies in the pool. */
static void requests_hold_their_pages(void)
{
    CHECK(up());
    struct via_span a[] = {{own + 100, 200}, {own + 3 * PAGE - 1, 2}}, b = {own + 300, 8}, c = {g.mem + RINGS * PAGE, PAGE};
    uint8_t bytes[8] = "abcdefg", got[202];
    CHECK_EQ(via_dma_map(&g.dma.dma, a, 2, 0, &m[0]), 0);
    CHECK_EQ(via_dma_map(&g.dma.dma, &b, 0, 1, &m[1]), 0);
    CHECK_EQ(via_dma_map(&g.dma.dma, &c, 0, 1, &m[2]), 0);
    via_turn_begin(&g.turn, true);
    CHECK_EQ(g.turn.stats.leased, 3);
    while (via_turn_step(&g.turn, 50) > 3)
        ;
    CHECK_EQ(via_turn_step(&g.turn, 50), 3);
    CHECK_EQ(seen(), 3);
    CHECK(!via_turn_is_done(&g.turn));
    CHECK(device_reads(m[0].seg, m[0].n_out, got, sizeof(got)));
    CHECK(device_writes(m[1].seg, 1, bytes, 8));
    via_dma_unmap(&g.dma.dma, &m[0], 0);
    CHECK_EQ(via_turn_step(&g.turn, 50), 1); /* the second request is on the first page still */
    via_turn_begin(&g.turn, true);
    CHECK_EQ(g.turn.stats.leased, 1);
    CHECK_EQ(seen(), 1);
    via_dma_unmap(&g.dma.dma, &m[1], 8);
    via_dma_unmap(&g.dma.dma, &m[2], 8);
    CHECK_EQ(via_turn_step(&g.turn, 50), 0);
    CHECK_EQ(seen(), 0);
    CHECK(memcmp(own + 300, bytes, 8) == 0);
    memset(own + 300, FILL, 8);
    CHECK(is_own_content());
    CHECK_EQ(g.turn.maps[0] + g.turn.maps[1], 0);
}

/* Mapped since it began: bounced, and they go back that way after memory is open again. */
static void later_requests_bounce(void)
{
    CHECK(up());
    struct via_span buf[] = {{own, 16}, {own + 2 * PAGE - 8, 16}};
    uint8_t got[16], bytes[16] = "fifteen letters";
    via_turn_begin(&g.turn, true);
    CHECK_EQ(via_dma_map(&g.dma.dma, buf, 1, 1, &m[0]), 0);
    CHECK_EQ(via_turn_step(&g.turn, PAGES), 0);
    CHECK_EQ(seen(), 0);
    CHECK(device_reads(seg[0], m[0].n_out, got, 16));
    CHECK(got[0] == FILL && got[15] == FILL);
    own[0] = FILL ^ 1;
    CHECK_EQ(via_dma_sync(&g.dma.dma, &m[0], VIA_OWNER_DEVICE, 0), 0);
    CHECK(device_reads(seg[0], m[0].n_out, got, 16));
    CHECK(got[0] == (FILL ^ 1));
    via_turn_begin(&g.turn, false);
    CHECK(!g.turn.open);
    CHECK_EQ(via_dma_map(&g.dma.dma, buf, 1, 0, &m[1]), 0);
    CHECK_EQ(g.turn.maps[VIA_TURN_CLOSED], 2);
    CHECK_EQ(via_turn_step(&g.turn, PAGES), 0);
    CHECK_EQ(via_dma_map(&g.dma.dma, buf, 0, 1, &m[2]), 0);
    CHECK_EQ(g.turn.maps[VIA_TURN_OPEN], 1);
    CHECK(device_writes(seg[0] + m[0].n_out, m[0].n_in, bytes, 16));
    for (unsigned i = 0; i < 3; i++)
        via_dma_unmap(&g.dma.dma, &m[i], i ? 0 : 16);
    CHECK(memcmp(own + 2 * PAGE - 8, bytes, 16) == 0);
    via_bounce_drain(&g.bounce);
    CHECK_EQ(g.pool.claimed, 0);
    CHECK_EQ(via_turn_release(&g.turn, g.mem + RINGS * PAGE, POOL_PAGES * PAGE), 0); /* the pool is memory like other memory now */
    CHECK(turn(true));
    CHECK(via_protect_is_private(&g.protect, g.mem + RINGS * PAGE, POOL_PAGES * PAGE));
}

/* At each page in turn, there and back, whichever state the platform leaves it in. */
static void failures_lose_nothing(void)
{
    for (unsigned at = 1; at <= 2 * OWN_PAGES; at++)
        for (unsigned k = 0; k < 4; k++) {
            CHECK(up());
            g.fail_after = at;
            g.fails_converted = k & 1;
            g.fails = k & 2 ? 3 : 1;
            for (unsigned way = 0; way < 2; way++) {
                uint64_t failed = g.turn.stats.failed;
                via_turn_begin(&g.turn, way == 0);
                CHECK_EQ(via_turn_step(&g.turn, PAGES) != 0, g.turn.stats.failed > failed);
                CHECK(truthful() && is_own_content());
                CHECK(!g.turn.open || g.turn.stats.failed == failed);
                if (at <= OWN_PAGES && way == 0)
                    CHECK(g.turn.stats.error == -VIA_EBUSY && g.turn.left >= 1);
                for (unsigned i = 0; i < 4; i++)
                    (void)via_turn_step(&g.turn, PAGES);
                CHECK(via_turn_is_done(&g.turn) && truthful() && is_own_content());
                CHECK_EQ(seen(), way ? OWN_PAGES : 0);
            }
            CHECK_EQ(g.turn.stats.failed, k & 2 ? 3 : 1);
            for (size_t page = 0; page < PAGES; page++)
                CHECK(!g.is_private[page]);
        }
}

/* A page that never becomes private is never said to be, and one that a failure left in doubt is given to no device as it is. */
static void a_platform_that_refuses(void)
{
    CHECK(up());
    g.fail_after = 10;
    g.fails = 1000;
    via_turn_begin(&g.turn, true);
    for (unsigned i = 0; i < 5; i++)
        CHECK(via_turn_step(&g.turn, PAGES) > 0);
    CHECK(!via_turn_is_done(&g.turn) && g.turn.stats.failed >= 5);
    CHECK(is_own_content());
    via_turn_begin(&g.turn, false);
    CHECK(via_turn_step(&g.turn, PAGES) > 0 && !g.turn.open);
    CHECK_EQ(via_turn_keep(&g.turn, own, OWN_PAGES * PAGE), -VIA_EINVAL);
    g.fail_after = 0;
    for (unsigned i = 0; i < 3; i++)
        (void)via_turn_step(&g.turn, PAGES);
    CHECK(via_turn_is_done(&g.turn) && g.turn.open && is_own_content());
    for (size_t page = 0; page < PAGES; page++)
        CHECK(!g.is_private[page]);
}

/* While the goal is secure: it follows without another word. */
static void memory_that_is_given_back(void)
{
    CHECK(up());
    CHECK(turn(true));
    uint8_t *pool = g.mem + RINGS * PAGE;
    memset(pool, FILL, POOL_PAGES * PAGE);
    CHECK_EQ(via_turn_release(&g.turn, pool, POOL_PAGES * PAGE), 0);
    CHECK(!via_turn_is_done(&g.turn));
    CHECK_EQ(g.turn.left, POOL_PAGES);
    CHECK_EQ(via_turn_step(&g.turn, PAGES), 0);
    CHECK(via_protect_is_private(&g.protect, pool, POOL_PAGES * PAGE));
    CHECK(via_protect_is_shared(&g.protect, g.mem, RINGS * PAGE));
    CHECK(pool[0] == FILL && pool[POOL_PAGES * PAGE - 1] == FILL);
}

/* Half way to secure it turns back, and again: every page is where the last word had it. */
static void a_change_of_mind(void)
{
    CHECK(up());
    via_turn_begin(&g.turn, true);
    CHECK_EQ(via_turn_step(&g.turn, 40), OWN_PAGES - 40);
    via_turn_begin(&g.turn, false);
    CHECK_EQ(g.turn.left, 40);
    CHECK_EQ(via_turn_step(&g.turn, 10), 30);
    via_turn_begin(&g.turn, true);
    CHECK_EQ(g.turn.left, OWN_PAGES - 30);
    CHECK_EQ(via_turn_step(&g.turn, PAGES), 0);
    CHECK_EQ(seen(), 0);
    CHECK(is_own_content());
}

/* ------------------------------------------------------------------ a device that never answers */

static struct via_blk_wire *wire;
static struct via_vq vq;
static struct via_vq_slot slot[QUEUE];
static struct via_blk_driver driver;
static _Alignas(max_align_t) uint8_t storage[16384];

static bool driver_up(void)
{
    struct via_split_layout lay;
    struct via_vq_cfg cfg = {.num = QUEUE, .slot = slot};
    CHECK_OR_FALSE(via_split_layout(&lay, QUEUE, 4) == 0 && lay.total <= RINGS * PAGE);
    cfg.desc = g.mem + lay.desc;
    cfg.avail = g.mem + lay.avail;
    cfg.used = g.mem + lay.used;
    wire = (struct via_blk_wire *)(void *)(own + (OWN_PAGES - 1) * PAGE);
    CHECK_OR_FALSE(via_vq_init(&vq, &cfg) == 0);
    CHECK_OR_FALSE(via_blk_driver_bytes(2, 1, 8) <= sizeof(storage));
    return via_blk_driver_init(&driver, &vq, &g.dma.dma, VIA_BIT(VIA_F_VERSION_1), 2, 1, 8, wire, storage) == 0;
}

static void a_device_that_never_answers(void)
{
    CHECK(up() && driver_up());
    struct via_span data = {own + PAGE, PAGE};
    struct via_blk_cmd cmd = {.type = VIA_BLK_T_OUT, .sector = 8, .data = &data, .n = 1, .token = &data};
    struct via_blk_done done;
    CHECK_EQ(via_blk_driver_submit(&driver, &cmd), 0);
    CHECK(via_vq_publish(&vq));
    via_turn_begin(&g.turn, true);
    CHECK_EQ(g.turn.stats.leased, 2); /* the data, and what the request says */
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(via_turn_step(&g.turn, PAGES), 2);
    CHECK_EQ(via_blk_driver_reap(&driver, &done), 0);
    CHECK_EQ(seen(), 2);
    /* The queue is reset: from here on the device has no business there. */
    CHECK_EQ(via_blk_driver_abandon(&driver, &done), 1);
    CHECK(done.token == &data && done.result == -VIA_ENODEV);
    CHECK_EQ(via_turn_step(&g.turn, PAGES), 0);
    CHECK_EQ(seen(), 0);
    CHECK(own[PAGE] == FILL && own[2 * PAGE - 1] == FILL);
    memset(g.mem, 0, RINGS * PAGE);
    CHECK(driver_up());
    CHECK_EQ(via_blk_driver_submit(&driver, &cmd), 0); /* the next one is bounced */
    CHECK_EQ(g.turn.maps[VIA_TURN_CLOSED], 1);
    CHECK_EQ(via_blk_driver_abandon(&driver, &done), 1);
    CHECK_EQ(seen(), 0);
}

/* ------------------------------------------------------------------ what is refused */

/* A way that says which way it went, and notes what comes back. */
static uint16_t way_said, way_back[2];

static int noting_map(struct via_dma *d, const struct via_span *buf, unsigned out, unsigned in, struct via_mapping *map)
{
    (void)d;
    *map = (struct via_mapping){.seg = map->seg, .cap = map->cap, .buf = buf, .buf_out = (uint16_t)out, .buf_in = (uint16_t)in};
    map->way = way_said;
    return 0;
}

static void noting_unmap(struct via_dma *d, struct via_mapping *map, uint32_t written)
{
    (void)d, (void)written;
    way_back[0] = map->way;
}

static int noting_sync(struct via_dma *d, struct via_mapping *map, enum via_owner to, uint32_t written)
{
    (void)d, (void)to, (void)written;
    way_back[1] = map->way;
    return 0;
}

static const struct via_dma_ops noting_ops = {"noting", noting_map, noting_unmap, noting_sync};
static struct via_dma noting = {&noting_ops, NULL};

static void ways_find_what_they_said(void)
{
    CHECK(up());
    struct via_span buf = {own, 8};
    via_turn_dma_init(&g.dma, &g.turn, &noting, &noting);
    for (unsigned secure = 0; secure < 2; secure++) {
        CHECK(turn(secure));
        way_said = 0x7fff;
        CHECK_EQ(via_dma_map(&g.dma.dma, &buf, 0, 1, &m[0]), 0);
        for (unsigned i = 0; i < 2; i++) {
            way_back[1] = 0;
            CHECK_EQ(via_dma_sync(&g.dma.dma, &m[0], VIA_OWNER_CPU, 1), 0);
            CHECK_EQ(way_back[1], 0x7fff);
        }
        CHECK_EQ(g.turn.maps[secure ? VIA_TURN_CLOSED : VIA_TURN_OPEN], 1);
        via_dma_unmap(&g.dma.dma, &m[0], 0);
        CHECK_EQ(way_back[0], 0x7fff);
        CHECK_EQ(g.turn.maps[0] + g.turn.maps[1], 0);
        way_said = 0x8001; /* no room for what has to be remembered */
        CHECK_EQ(via_dma_map(&g.dma.dma, &buf, 1, 0, &m[0]), -VIA_ENOTSUP);
        CHECK_EQ(way_back[0], 0x8001);
        CHECK_EQ(g.turn.maps[0] + g.turn.maps[1] + g.lease[KEPT], 0);
    }
}

static void what_is_refused(void)
{
    struct via_turn t;
    static uint8_t scratch[PAGE];
    CHECK(up());
    CHECK_EQ(via_turn_init(&t, &g.protect, g.lease, PAGES - 1, scratch, PAGE), -VIA_EINVAL);
    CHECK_EQ(via_turn_init(&t, &g.protect, g.lease, PAGES, scratch, PAGE - 1), -VIA_EINVAL);
    CHECK_EQ(via_turn_init(&t, &g.protect, g.lease, PAGES, own, PAGE), -VIA_EINVAL);
    CHECK_EQ(via_turn_init(&t, &g.protect, g.lease, PAGES, g.mem + sizeof(g.mem) - 1, PAGE), -VIA_EINVAL);
    CHECK_EQ(via_turn_init(&t, &g.protect, g.lease, PAGES, (void *)((uintptr_t)g.mem - PAGE + 1), PAGE), -VIA_EINVAL);
    CHECK_EQ(via_turn_keep(&g.turn, own + 1, PAGE), -VIA_EINVAL);
    CHECK_EQ(via_turn_keep(&g.turn, own, PAGE - 1), -VIA_EINVAL);
    CHECK_EQ(via_turn_keep(&g.turn, own, 0), -VIA_EINVAL);
    CHECK_EQ(via_turn_keep(&g.turn, own, sizeof(g.mem)), -VIA_EINVAL);
    CHECK_EQ(via_turn_release(&g.turn, own, PAGE), -VIA_EINVAL);
    CHECK_EQ(via_turn_release(&g.turn, g.mem + 1, PAGE), -VIA_EINVAL);
    CHECK_EQ(via_turn_keep(&g.turn, g.mem, KEPT * PAGE), 0); /* once more is as good as once */
    CHECK_EQ(g.turn.left, 0);
    /* A page made private behind its back. */
    struct via_span buf[] = {{own, 8}, {own + PAGE - 1, 2}};
    CHECK_EQ(via_protect_unshare(&g.protect, own + PAGE, PAGE), 0);
    CHECK_EQ(via_turn_keep(&g.turn, own, 2 * PAGE), -VIA_EINVAL);
    CHECK_EQ(g.lease[KEPT], 0);
    CHECK_EQ(via_dma_map(&g.dma.dma, buf, 1, 0, &m[0]), 0);
    via_dma_unmap(&g.dma.dma, &m[0], 0);
    CHECK_EQ(via_dma_map(&g.dma.dma, buf, 1, 1, &m[0]), -VIA_ERANGE);
    CHECK_EQ(via_turn_init(&t, &g.protect, g.lease, PAGES, scratch, PAGE), 0);
    CHECK(t.secure && !t.open);
    /* The ways' own refusals leave no lease. */
    m[0].cap = 0;
    CHECK_EQ(via_dma_map(&g.dma.dma, buf, 1, 0, &m[0]), -VIA_E2BIG);
    CHECK_EQ(g.turn.maps[VIA_TURN_OPEN] + g.lease[KEPT], 0);
}

/* Memory that is not protect's is nobody's to lease; buffers may lie right before or behind, or begin or end there. */
static void memory_beside(void)
{
    CHECK(up());
    uintptr_t mem = (uintptr_t)g.mem, end = mem + sizeof(g.mem);
    g.range = (struct via_phys_range){&g, sizeof(g), PHYS};
    CHECK_EQ(via_direct_init(&g.direct, &g.range, 1), 0);
    struct via_span buf[] = {{(void *)(mem - 64), 64}, {(void *)(mem - 8), 9}, {(void *)(end - 1), 9}, {(void *)(end + PAGE), PAGE}};
    CHECK_EQ(via_dma_map(&g.dma.dma, buf, 1, 3, &m[0]), 0);
    for (size_t page = 0; page < PAGES; page++)
        CHECK_EQ(g.lease[page] & 0xffff, page == 0 || page == PAGES - 1);
    for (unsigned i = 0; i < 16; i++) /* which follows the leases */
        CHECK_EQ(g.scratch[i], 0);
    via_turn_begin(&g.turn, true);
    CHECK_EQ(g.turn.stats.leased, 1); /* the first page is there to last */
    CHECK_EQ(via_turn_step(&g.turn, PAGES), 1);
    via_dma_unmap(&g.dma.dma, &m[0], 1);
    CHECK_EQ(via_turn_step(&g.turn, PAGES), 0);
}

TAP_MAIN(TEST(there_and_back), TEST(steps_are_bounded), TEST(requests_hold_their_pages), TEST(later_requests_bounce),
         TEST(failures_lose_nothing), TEST(a_platform_that_refuses), TEST(memory_that_is_given_back), TEST(a_change_of_mind),
         TEST(a_device_that_never_answers), TEST(ways_find_what_they_said), TEST(what_is_refused), TEST(memory_beside))
