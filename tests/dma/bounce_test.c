/* SPDX-License-Identifier: BSD-2-Clause */
/* What bounce promises, one property a test. */
#include <sys/mman.h>

#include "rig.h"

static struct rig rig;
static struct via_bounce a, b;
static struct via_seg seg[64];
static uint8_t *page; /* 64 slots of the driver's private memory, page aligned */

static struct via_mapping mapping(void) { return (struct via_mapping){.seg = seg, .cap = via_array_len(seg)}; }

static bool up(uint32_t slots, uint32_t cache)
{
    page = aligned_alloc(SLOT, 64 * SLOT);
    CHECK_OR_FALSE(page && rig_up(&rig, slots));
    memset(page, 0x11, 64 * SLOT);
    CHECK_OR_FALSE(via_bounce_init(&a, &rig.pool, 0, cache) == 0);
    CHECK_OR_FALSE(via_bounce_init(&b, &rig.pool, 1, cache) == 0);
    return true;
}

static void down(void)
{
    rig_down(&rig);
    free(page);
}

/* Take every slot but those in keep, by mappings of a slot each that stay. */
static struct via_seg hold_seg[1024];
static struct via_mapping hold[1024];
static struct via_span hold_buf;

static bool hold_all(struct via_bounce *by)
{
    hold_buf = (struct via_span){page, 1};
    for (uint32_t i = 0; i < rig.pool.slots; i++) {
        hold[i] = (struct via_mapping){.seg = &hold_seg[i], .cap = 1};
        CHECK_OR_FALSE(via_dma_map(&by->dma, &hold_buf, 1, 0, &hold[i]) == 0);
    }
    return true;
}

/* hold[] is in no order of slots. */
static void let_go(struct via_bounce *by, uint32_t slot)
{
    for (uint32_t i = 0; i < rig.pool.slots; i++)
        if (hold[i].n_out && (hold_seg[i].addr.v - RIG_PHYS) / SLOT == slot) {
            via_dma_unmap(&by->dma, &hold[i], 0);
            hold[i].n_out = 0;
        }
}

static void offsets_are_kept(void)
{
    CHECK(up(64, 4));
    for (unsigned off = 0; off < SLOT; off += 511) {
        struct via_mapping m = mapping();
        struct via_span buf[] = {{page + off, 5000}, {page + 4 * SLOT + off, SLOT - off}};
        CHECK_EQ(via_dma_map(&a.dma, buf, 1, 1, &m), 0);
        CHECK(m.n_out == 1 && m.n_in == 1);
        CHECK_EQ(seg[0].addr.v % SLOT, off);
        CHECK_EQ(seg[1].addr.v % SLOT, off);
        CHECK_EQ(a.stats.in_use, (off + 5000 + SLOT - 1) / SLOT + 1);
        via_dma_unmap(&a.dma, &m, 0);
        CHECK_EQ(a.stats.in_use, 0);
    }
    down();
}

/* Whatever a slot held before: the device finds what it may read, and zeroes. */
static void tails_are_cleared(void)
{
    CHECK(up(64, 4));
    a.clear_tails = true;
    for (unsigned off = 0; off < SLOT; off += 511)
        for (size_t len = 1; len < 3 * SLOT; len += 1023)
            for (unsigned in = 0; in < 2; in++) {
                struct via_mapping m = mapping();
                struct via_span buf = {page + off, len};
                memset(rig.mem, 0xa5, 64 * SLOT);
                CHECK_EQ(via_dma_map(&a.dma, &buf, !in, in, &m), 0);
                uint64_t first = seg[0].addr.v - RIG_PHYS, end = (off + len + SLOT - 1) / SLOT * SLOT;
                CHECK(m.n_out + m.n_in == 1 && first % SLOT == off);
                const uint8_t *slot = rig.mem + first - off;
                for (unsigned i = 0; i < end; i++)
                    CHECK_EQ(slot[i], !in && i >= off && i < off + len ? 0x11 : 0);
                via_dma_unmap(&a.dma, &m, 0);
            }
    uint8_t *p = via_bounce_alloc(&a, SLOT); /* a buffer in the pool: what lies around it is somebody's */
    struct via_mapping m = mapping();
    struct via_span ours = {p + 100, 50};
    CHECK(p);
    memset(p, 0x77, SLOT);
    CHECK_EQ(via_dma_map(&a.dma, &ours, 0, 1, &m), 0);
    for (unsigned i = 0; i < SLOT; i++)
        CHECK_EQ(p[i], 0x77);
    down();
}

static void only_what_was_written_comes_back(void)
{
    CHECK(up(64, 4));
    size_t len[] = {100, 5000, 1, 9000}, total = 14101;
    for (size_t written = 0; written <= total + 500; written += 111) {
        memset(rig.mem, 0xa5, 64 * SLOT); /* the pool's old content */
        memset(page, 0x11, 64 * SLOT);
        struct via_span buf[4];
        uint8_t *at[4] = {page + 30, page + 3 * SLOT + 4000, page + 8 * SLOT + 4095, page + 10 * SLOT};
        for (int i = 0; i < 4; i++)
            buf[i] = (struct via_span){at[i], len[i]};
        struct via_mapping m = mapping();
        uint8_t out = 9;
        struct via_span all[] = {{&out, 1}, buf[0], buf[1], buf[2], buf[3]};
        CHECK_EQ(via_dma_map(&a.dma, all, 1, 4, &m), 0);
        static uint8_t data[20000];
        memset(data, 0x77, sizeof(data));
        CHECK(rig_put(&rig, seg + m.n_out, m.n_in, data, via_min64(written, total)));
        via_dma_unmap(&a.dma, &m, (uint32_t)written);
        size_t left = via_min64(written, total), changed = 0;
        for (int i = 0; i < 4; i++)
            for (size_t k = 0; k<len[i]; k++, left -= left> 0)
                CHECK_EQ(at[i][k], left ? 0x77 : 0x11);
        for (size_t k = 0; k < 16 * SLOT; k++)
            changed += page[k] != 0x11;
        CHECK_EQ(changed, via_min64(written, total)); /* nothing outside of the buffers either */
    }
    down();
}

static void under_reporting_devices_get_all_copied_and_no_secret(void)
{
    CHECK(up(64, 4));
    memset(rig.mem, 0xa5, 64 * SLOT);
    a.under_reports = true;
    struct via_mapping m = mapping();
    struct via_span buf = {page + 8, 6000};
    CHECK_EQ(via_dma_map(&a.dma, &buf, 0, 1, &m), 0);
    uint8_t data[10];
    memset(data, 0x77, sizeof(data));
    CHECK(rig_put(&rig, seg, m.n_in, data, 10));
    via_dma_unmap(&a.dma, &m, 0);
    for (int i = 0; i < 6000; i++)
        CHECK_EQ(page[8 + i], i < 10 ? 0x77 : 0);
    CHECK(page[7] == 0x11 && page[6008] == 0x11);
    down();
}

/* Buffers that were lost: what was written arrives in others, cut as these are, and all slots come back, whatever m->buf is by now. */
static void an_answer_arrives_where_the_buffers_are_now(void)
{
    enum { LOST = 9000 + 1 + 5000 };
    CHECK(up(64, 4));
    for (unsigned written = 0; written <= LOST; written += 1003) {
        struct via_span buf[] = {{page + 9, 3 * SLOT}, {page + 3 * SLOT + 4000, 9000}, {page + 8 * SLOT, 1}, {page + 10 * SLOT + 7, 5000}};
        struct via_span now[] = {
            {page + 20 * SLOT, 1}, {page + 21 * SLOT + 3, 9000}, {page + 30 * SLOT, 3}, {page + 40 * SLOT, LOST - 9004}};
        struct via_mapping m = mapping();
        static uint8_t data[LOST];
        memset(page, 0x11, 64 * SLOT);
        for (unsigned i = 0; i < LOST; i++)
            data[i] = (uint8_t)(i % 251 + (i % 251 == 0x11));
        CHECK_EQ(via_dma_map(&a.dma, buf, 1, 3, &m), 0);
        CHECK(rig_put(&rig, seg + m.n_out, m.n_in, data, LOST));
        memset(buf, 0, sizeof(buf));
        via_bounce_unmap_to(&a, &m, now, 4, written);
        unsigned at = 0, changed = 0;
        for (unsigned i = 0; i < 4; i++)
            for (size_t k = 0; k < now[i].len; k++, at++)
                CHECK_EQ(((uint8_t *)now[i].ptr)[k], at < written ? data[at] : 0x11);
        for (size_t k = 0; k < 64 * SLOT; k++)
            changed += page[k] != 0x11;
        CHECK_EQ(changed, written);
        CHECK_EQ(a.stats.in_use, 0);
        via_bounce_drain(&a);
        CHECK_EQ(rig_free_slots(&rig), 64);
    }
    down();
}

static void an_answer_that_nobody_wants_arrives_nowhere(void)
{
    CHECK(up(64, 4));
    for (unsigned quirk = 0; quirk < 2; quirk++) {
        struct via_span buf[] = {{page, 100}, {page + SLOT, 5000}};
        struct via_mapping m = mapping();
        memset(page, 0x11, 64 * SLOT);
        a.under_reports = quirk;
        CHECK_EQ(via_dma_map(&a.dma, buf, 1, 1, &m), 0);
        CHECK(rig_put(&rig, seg + m.n_out, m.n_in, (const uint8_t *)"answer", 6));
        via_bounce_unmap_to(&a, &m, NULL, 0, 6);
        for (size_t k = 0; k < 64 * SLOT; k++)
            CHECK_EQ(page[k], 0x11);
        via_bounce_drain(&a);
        CHECK_EQ(rig_free_slots(&rig), 64);
    }
    struct via_span buf = {page, 5000}, now = {page + 10 * SLOT, 5000}; /* the quirk: all of it, cleared beforehand */
    struct via_mapping m = mapping();
    CHECK_EQ(via_dma_map(&a.dma, &buf, 0, 1, &m), 0);
    CHECK(rig_put(&rig, seg, m.n_in, (const uint8_t *)"answer", 6));
    via_bounce_unmap_to(&a, &m, &now, 1, 0);
    for (unsigned i = 0; i < 5000; i++)
        CHECK_EQ(page[10 * SLOT + i], i < 6 ? "answer"[i] : 0);
    down();
}

static void pool_buffers_are_not_copied(void)
{
    CHECK(up(64, 4));
    uint8_t *p = via_bounce_alloc(&a, 3 * SLOT);
    CHECK(p && p >= rig.mem && p + 3 * SLOT <= rig.mem + 64 * SLOT);
    CHECK_EQ(rig.pool.claimed, 3);
    for (int round = 0; round < 2; round++) {
        struct via_mapping m = mapping();
        struct via_span buf[] = {{p + 100, 500}, {p + SLOT, 2 * SLOT}, {page, 10}}; /* parts of it; and a plain one behind it */
        CHECK_EQ(via_dma_map(&b.dma, buf, 1, 2, &m), 0);
        CHECK(rig_at(&rig, &seg[0]) == p + 100 && rig_at(&rig, &seg[1]) == p + SLOT);
        CHECK_EQ(b.stats.bytes_out, 0);
        uint8_t data[2 * SLOT + 10];
        memset(data, 0x77, sizeof(data));
        CHECK(rig_put(&rig, seg + 1, 2, data, sizeof(data)));
        CHECK_EQ(b.stats.in_use, 1);
        via_dma_unmap(&b.dma, &m, sizeof(data) - 2);
        CHECK_EQ(b.stats.bytes_in, 8 * (round + 1));
        CHECK(page[7] == 0x77 && page[8] == 0x11 && p[SLOT] == 0x77);
        memset(page, 0x11, 16);
    }
    struct via_mapping m = mapping();
    struct via_span end = {rig.mem + 64 * SLOT - 10, 11}; /* runs out of the pool */
    CHECK_EQ(via_dma_map(&a.dma, &end, 1, 0, &m), -VIA_ERANGE);
    memset(p, 0xa5, 3 * SLOT);
    via_bounce_free(&a, p, 3 * SLOT);
    via_bounce_drain(&b);
    CHECK_EQ(rig_free_slots(&rig), 64);
    p = via_bounce_alloc(&a, 3 * SLOT);
    for (unsigned i = 0; i < 3 * SLOT; i++)
        CHECK(p[i] == 0);
    CHECK(via_bounce_alloc(&a, 0) == NULL && via_bounce_alloc(&a, 64 * SLOT + 1) == NULL);
    CHECK_EQ(a.stats.full, 0);
    CHECK(via_bounce_alloc(&a, 62 * SLOT) == NULL);
    CHECK_EQ(a.stats.full, 1);
    CHECK_EQ(rig.pool.hungry, 1);
    down();
}

static void fragments_serve(void)
{
    CHECK(up(128, 0));
    CHECK(hold_all(&a));
    /* Free: 3..4 and 62..65 (over a word's border), 80, 82. */
    uint32_t go[] = {3, 4, 62, 63, 64, 65, 80, 82};
    for (unsigned i = 0; i < via_array_len(go); i++)
        let_go(&a, go[i]);
    struct via_span buf = {page + 100, 8 * SLOT - 100};
    struct via_mapping m = mapping();
    for (unsigned i = 0; i < 8 * SLOT; i++)
        page[i] = (uint8_t)(i * 7 + i / 256);
    m.cap = 3;
    CHECK_EQ(via_dma_map(&b.dma, &buf, 1, 0, &m), -VIA_EAGAIN); /* too little room for so many pieces, this time */
    CHECK_EQ(rig_free_slots(&rig), 8);
    CHECK_EQ(rig.pool.claimed, 120);
    m.cap = 64;
    CHECK_EQ(via_dma_map(&b.dma, &buf, 1, 0, &m), 0);
    CHECK_EQ(m.n_out, 4);
    CHECK_EQ(seg[0].addr.v, RIG_PHYS + 62 * SLOT + 100); /* four in one run, over the border */
    CHECK_EQ(seg[0].len, 4 * SLOT - 100);
    uint8_t got[8 * SLOT];
    CHECK(rig_get(&rig, seg, m.n_out, got, buf.len));
    CHECK(memcmp(got, buf.ptr, buf.len) == 0);
    via_dma_unmap(&b.dma, &m, 0);
    CHECK_EQ(rig_free_slots(&rig), 8);
    down();
}

/* Runs that are found one after the other and lie side by side are one segment: 7 slots free, found as 4 + 2 + 1 or so. */
static void adjacent_runs_merge(void)
{
    CHECK(up(128, 0));
    CHECK(hold_all(&a));
    for (uint32_t slot = 10; slot < 17; slot++)
        let_go(&a, slot);
    let_go(&a, 100);
    struct via_span buf = {page, 8 * SLOT};
    struct via_mapping m = mapping();
    CHECK_EQ(via_dma_map(&b.dma, &buf, 0, 1, &m), 0);
    CHECK_EQ(m.n_in, 2);
    CHECK_EQ(seg[0].len, 7 * SLOT);
    via_dma_unmap(&b.dma, &m, 0);
    down();
}

static void large_runs_are_whole(void)
{
    static const uint32_t size[] = {1, 2, 63, 64, 65, 100, 128, 129, 250, 299, 300};
    CHECK(up(300, 0));
    uint8_t *big = aligned_alloc(SLOT, 300 * SLOT);
    CHECK(big);
    for (unsigned i = 0; i < via_array_len(size); i++)
        for (uint32_t hint = 0; hint < 5; hint++) {
            struct via_mapping m = mapping();
            struct via_span buf = {big, size[i] * SLOT};
            m.cap = 1;
            a.hint = hint;
            CHECK_EQ(via_dma_map(&a.dma, &buf, 0, 1, &m), 0);
            CHECK_EQ(rig_free_slots(&rig), 300 - size[i]);
            CHECK_EQ(a.stats.high_water, size[i]);
            via_dma_unmap(&a.dma, &m, 0);
            CHECK_EQ(rig_free_slots(&rig), 300);
            CHECK_EQ(rig.pool.claimed, 0);
        }
    CHECK_EQ(rig.pool.high_water, 300);
    free(big);
    down();
}

static void bad_buffers_are_refused(void)
{
    CHECK(up(16, 4));
    struct via_mapping m = mapping();
    struct via_span buf[] = {{page, 10}, {page + 10, 0}, {page, 16 * SLOT + 1}, {page + 1, 16 * SLOT}, {page, SIZE_MAX}};
    CHECK_EQ(via_dma_map(&a.dma, buf, 0, 0, &m), -VIA_EINVAL);
    CHECK_EQ(via_dma_map(&a.dma, buf, 1, 1, &m), -VIA_EINVAL);
    CHECK_EQ(via_dma_map(&a.dma, &buf[2], 1, 0, &m), -VIA_E2BIG);
    CHECK_EQ(via_dma_map(&a.dma, &buf[3], 1, 0, &m), -VIA_E2BIG);
    CHECK_EQ(via_dma_map(&a.dma, &buf[4], 1, 0, &m), -VIA_E2BIG);
    m.cap = 1;
    buf[1].len = 1;
    CHECK_EQ(via_dma_map(&a.dma, buf, 1, 1, &m), -VIA_E2BIG);
    CHECK_EQ(via_dma_map(&a.dma, buf, UINT32_MAX, 2, &m), -VIA_E2BIG);
    CHECK(rig.pool.claimed == 0 && a.stats.maps == 0 && a.stats.full == 0);
    CHECK_EQ(via_bounce_init(&b, &rig.pool, 64, 0), -VIA_EINVAL);
    CHECK_EQ(via_bounce_init(&b, &rig.pool, 0, VIA_BOUNCE_CACHE + 1), -VIA_EINVAL);
    down();
}

static uint64_t woken;
static void wake(struct via_pool *p, uint64_t queues)
{
    (void)p;
    woken |= queues;
}

static void full_pool_is_back_pressure(void)
{
    CHECK(up(64, 4));
    rig.pool.wake = wake;
    struct via_span buf = {page, 40 * SLOT}, small[] = {{page, 8}, {page + 50 * SLOT, 8}};
    struct via_mapping m = mapping(), m2 = mapping(), m3 = mapping();
    struct via_seg seg2[8], seg3[8];
    m2.seg = seg2, m2.cap = 8, m3.seg = seg3, m3.cap = 8;
    woken = 0;
    CHECK_EQ(via_dma_map(&a.dma, &buf, 1, 0, &m), 0);
    CHECK_EQ(via_dma_map(&a.dma, small, 1, 1, &m2), 0); /* fills a's cache, too */
    CHECK_EQ(via_dma_map(&b.dma, &buf, 1, 0, &m3), -VIA_EAGAIN);
    CHECK_EQ(rig.pool.hungry, 1u << 1);
    CHECK_EQ(b.stats.full, 1);
    CHECK_EQ(woken, 0);
    via_dma_unmap(&a.dma, &m2, 0);
    CHECK_EQ(woken, 1u << 1);
    CHECK_EQ(rig.pool.hungry, 0);
    CHECK_EQ(a.cached, 0); /* what a kept at hand went to the pool, for b */
    CHECK_EQ(rig_free_slots(&rig), 24);
    CHECK_EQ(via_dma_map(&b.dma, &buf, 1, 0, &m3), -VIA_EAGAIN);
    woken = 0;
    via_dma_unmap(&a.dma, &m, 0);
    CHECK_EQ(woken, 1u << 1);
    CHECK_EQ(via_dma_map(&b.dma, &buf, 1, 0, &m3), 0);
    via_dma_unmap(&b.dma, &m3, 0);
    CHECK_EQ(rig_free_slots(&rig), 64);
    down();
}

/* Slots that come back after b's first try, and before it has said that it waits, wake nobody: b has to look again. */
static struct via_mapping *gives_back;
static void wake_and_give_back(struct via_pool *p, uint64_t queues)
{
    wake(p, queues);
    if (gives_back)
        via_dma_unmap(&a.dma, gives_back, 0);
    gives_back = NULL;
}

static void what_comes_back_between_two_tries_is_seen(void)
{
    CHECK(up(64, 4));
    struct via_bounce c;
    struct via_span half = {page, 40 * SLOT}, one = {page, 8};
    struct via_seg seg2[8], seg3[8];
    struct via_mapping m = mapping(), m2 = {.seg = seg2, .cap = 8}, m3 = {.seg = seg3, .cap = 8};
    CHECK_EQ(via_bounce_init(&c, &rig.pool, 2, 4), 0);
    CHECK_EQ(via_dma_map(&a.dma, &half, 1, 0, &m), 0);
    CHECK_EQ(via_dma_map(&b.dma, &one, 1, 0, &m2), 0);
    via_dma_unmap(&b.dma, &m2, 0);
    CHECK(b.cached > 0);
    CHECK_EQ(via_dma_map(&c.dma, &half, 1, 0, &m3), -VIA_EAGAIN);
    rig.pool.wake = wake_and_give_back; /* called when b, after its first try, gives its cache back, as c waits */
    gives_back = &m;
    woken = 0;
    CHECK_EQ(via_dma_map(&b.dma, &half, 1, 0, &m2), 0);
    CHECK(!gives_back && woken == 1u << 2);
    CHECK_EQ(rig.pool.hungry, 0);
    via_dma_unmap(&b.dma, &m2, 0);
    CHECK_EQ(rig_free_slots(&rig), 64);
    down();
}

/* A queue's own cache never stands in its own way. */
static void own_cache_is_used_up_first(void)
{
    CHECK(up(64, 4));
    struct via_span one = {page, 1}, all = {page, 64 * SLOT};
    struct via_mapping m = mapping();
    CHECK_EQ(via_dma_map(&a.dma, &one, 1, 0, &m), 0);
    via_dma_unmap(&a.dma, &m, 0);
    CHECK(a.cached > 0);
    m.cap = 1;
    CHECK_EQ(via_dma_map(&a.dma, &all, 1, 0, &m), 0);
    CHECK_EQ(rig.pool.hungry, 0);
    via_dma_unmap(&a.dma, &m, 0);
    CHECK_EQ(rig_free_slots(&rig), 64);
    down();
}

static void cache_keeps_to_itself(void)
{
    CHECK(up(128, 8));
    struct via_span one[] = {{page, 16}, {page + SLOT, SLOT}};
    struct via_mapping m = mapping();
    CHECK_EQ(via_dma_map(&a.dma, one, 1, 1, &m), 0);
    uint64_t claimed = rig.pool.claimed;
    uint64_t first = seg[0].addr.v, map[2] = {rig.free[0], rig.free[1]};
    CHECK(claimed <= 8);
    for (int i = 0; i < 100; i++) {
        via_dma_unmap(&a.dma, &m, 1);
        m = mapping();
        CHECK_EQ(via_dma_map(&a.dma, one, 1, 1, &m), 0);
        CHECK(m.n_out == 1 && m.n_in == 1);
        CHECK(rig.pool.claimed == claimed && rig.free[0] == map[0] && rig.free[1] == map[1]);
        CHECK(i % 2 == 0 || seg[0].addr.v == first); /* last in, first out: the pair swaps */
    }
    via_dma_unmap(&a.dma, &m, 1);
    CHECK_EQ(a.cached, claimed);
    via_bounce_drain(&a);
    CHECK_EQ(rig.pool.claimed, 0);
    CHECK_EQ(via_bounce_init(&b, &rig.pool, 1, 64), 0);
    CHECK_EQ(b.cache_max, 8);          /* a sixteenth */
    CHECK(b.hint == 1 && a.hint == 0); /* another word */
    down();
}

static void sync_hands_to_and_fro(void)
{
    CHECK(up(64, 4));
    struct via_mapping m = mapping();
    struct via_span buf[] = {{page, 5000}, {page + 2 * SLOT + 9, 5000}};
    uint8_t data[5000];
    CHECK_EQ(via_dma_map(&a.dma, buf, 1, 1, &m), 0);
    memset(data, 0x77, sizeof(data));
    CHECK(rig_put(&rig, seg + 1, 1, data, 5000));
    CHECK_EQ(via_dma_sync(&a.dma, &m, VIA_OWNER_CPU, 4999), 0);
    uint8_t *in = buf[1].ptr;
    CHECK(in[4998] == 0x77 && in[4999] == 0x11);
    page[4999] = 0x22;
    CHECK_EQ(via_dma_sync(&a.dma, &m, VIA_OWNER_DEVICE, 0), 0);
    CHECK(rig_get(&rig, seg, 1, data, 5000));
    CHECK(data[4999] == 0x22 && data[0] == 0x11);
    via_dma_unmap(&a.dma, &m, 0);
    CHECK_EQ(in[4999], 0x11);
    down();
}

/* A bank that ends inside a slot cuts a bounce's segment; below the window the slots still count once. */
static void window_over_bounce_frees_each_slot_once(void)
{
    CHECK(up(64, 0));
    struct via_bank bank[] = {{RIG_PHYS, RIG_PHYS + SLOT + 99, 0x1000}, {RIG_PHYS + SLOT + 100, RIG_PHYS + 64 * SLOT, 0x900000}};
    struct via_window w;
    CHECK_EQ(via_window_init(&w, &a.dma, bank, 2), 0);
    for (int i = 0; i < 3; i++) {
        struct via_mapping m = mapping();
        struct via_span buf[] = {{page + 5, 4 * SLOT}, {page + 8 * SLOT, 10}};
        memset(page, 0x11, 64 * SLOT);
        CHECK_EQ(via_dma_map(&w.dma, buf, 0, 2, &m), 0);
        CHECK_EQ(m.n_in, 3);
        CHECK_EQ(seg[1].addr.v, 0x900000);
        CHECK_EQ(a.stats.in_use, 6);
        memset(rig.mem, 0x77, 64 * SLOT);
        via_dma_unmap(&w.dma, &m, 4 * SLOT + 1);
        CHECK(page[5] == 0x77 && page[4 * SLOT + 4] == 0x77 && page[4 * SLOT + 5] == 0x11);
        CHECK(page[8 * SLOT] == 0x77 && page[8 * SLOT + 1] == 0x11);
        CHECK_EQ(rig_free_slots(&rig), 64);
        CHECK_EQ(rig.pool.claimed, 0);
    }
    down();
}

static void segments_beyond_four_gigabytes(void)
{
    size_t pool_len = 6ull << 30, len = (5ull << 30) + 1, words = pool_len / SLOT / 64;
    uint8_t *mem = mmap(NULL, pool_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uint8_t *buf_mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    _Atomic uint64_t *map = calloc(words, sizeof(*map));
    if (mem == MAP_FAILED || buf_mem == MAP_FAILED || !map) {
        tap_skip("no 11 GiB of address space here");
        return;
    }
    struct via_phys_range range = {mem, pool_len, 0};
    struct via_direct direct;
    struct via_pool pool;
    CHECK_EQ(via_direct_init(&direct, &range, 1), 0);
    CHECK_EQ(via_pool_init(&pool, &direct.dma, mem, pool_len, map, words), 0);
    CHECK_EQ(via_bounce_init(&a, &pool, 0, 0), 0);
    struct via_mapping m = mapping();
    struct via_span buf = {buf_mem, len}, own = {mem, pool_len};
    CHECK_EQ(via_dma_map(&a.dma, &buf, 0, 1, &m), 0);
    CHECK_EQ(m.n_in, 2);
    CHECK_EQ((uint64_t)seg[0].len + seg[1].len, len);
    CHECK_EQ(pool.claimed, (len + SLOT - 1) / SLOT);
    via_dma_unmap(&a.dma, &m, 0);
    CHECK_EQ(pool.claimed, 0);
    m = mapping();
    CHECK_EQ(via_dma_map(&a.dma, &own, 0, 1, &m), 0);
    CHECK_EQ(m.n_in, 2);
    via_dma_unmap(&a.dma, &m, 0);
    m.cap = 1;
    CHECK_EQ(via_dma_map(&a.dma, &own, 0, 1, &m), -VIA_E2BIG);
    munmap(mem, pool_len);
    munmap(buf_mem, len);
    free(map);
}

TAP_MAIN(TEST(offsets_are_kept), TEST(tails_are_cleared), TEST(only_what_was_written_comes_back),
         TEST(under_reporting_devices_get_all_copied_and_no_secret), TEST(an_answer_arrives_where_the_buffers_are_now),
         TEST(an_answer_that_nobody_wants_arrives_nowhere), TEST(pool_buffers_are_not_copied), TEST(fragments_serve),
         TEST(adjacent_runs_merge), TEST(large_runs_are_whole), TEST(bad_buffers_are_refused), TEST(full_pool_is_back_pressure),
         TEST(what_comes_back_between_two_tries_is_seen), TEST(own_cache_is_used_up_first), TEST(cache_keeps_to_itself),
         TEST(sync_hands_to_and_fro), TEST(window_over_bounce_frees_each_slot_once), TEST(segments_beyond_four_gigabytes))
