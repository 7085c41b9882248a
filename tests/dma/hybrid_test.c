/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hybrid, stacked under check, over a bounce whose pool is mapped in the IOMMU for good, and an iommu. The device has what the IOMMU
 * lets it reach: of the driver's memory these must be the buffers' bytes and no others, whatever their offsets and lengths.
 */
#include "iommu_rig.h"

enum { POOL_PAGES = 12, USER_PAGES = MEM_PAGES - POOL_PAGES, CAP = 64, BUFS = 6, CANARY = 0xc5 };

static uint8_t *const pool_mem = mem + (size_t)USER_PAGES * PAGE;
static struct via_iommu_dma pool_dma, dma;
static struct via_pool pool;
static _Atomic uint64_t pool_map[1];
static struct via_bounce bounce;
static struct via_hybrid hybrid;
static struct via_check check;
static struct via_check_entry check_entry[4];
static struct via_seg phys[MEM_PAGES], seg[CAP];
static struct via_iommu_stale stale[4];
static void *storage;
static unsigned pool_pages; /* reachable with no request mapped */

static bool up(enum via_iommu_mode mode, uint32_t threshold)
{
    struct via_iommu_cfg cfg = {.mode = VIA_IOMMU_STRICT,
                                .write_reads = true,
                                .window_ns = 1000,
                                .space = &model.space,
                                .phys = phys,
                                .phys_cap = via_array_len(phys),
                                .stale = stale,
                                .stale_cap = via_array_len(stale)};
    struct via_hybrid_cfg hcfg = {&bounce.dma, &dma.dma, threshold, PAGE, 3, 2 * BUFS, CAP};
    CHECK_OR_FALSE(model_up(MODEL_PAGES));
    memset(mem, 0, sizeof(mem));
    CHECK_OR_FALSE(via_iommu_dma_init(&pool_dma, &model.direct.dma, &model.domain, &cfg) == 0);
    CHECK_OR_FALSE(via_pool_init(&pool, &pool_dma.dma, pool_mem, (size_t)POOL_PAGES * PAGE, pool_map, 1) == 0);
    CHECK_OR_FALSE(via_bounce_init(&bounce, &pool, 0, 2) == 0);
    cfg.mode = mode;
    cfg.whole_pages = true;
    cfg.write_reads = false;
    CHECK_OR_FALSE(via_iommu_dma_init(&dma, &model.direct.dma, &model.domain, &cfg) == 0);
    free(storage);
    storage = malloc(via_hybrid_bytes(&hcfg));
    CHECK_OR_FALSE(storage && via_hybrid_init(&hybrid, &hcfg, storage) == 0);
    CHECK_OR_FALSE(via_check_init(&check, &hybrid.dma, check_entry, via_array_len(check_entry), NULL) == 0);
    pool_pages = reachable();
    CHECK_OR_FALSE(pool_pages == POOL_PAGES);
    return true;
}

static bool settled(void)
{
    CHECK_OR_FALSE(dma.cfg.mode == VIA_IOMMU_LAZY || dma.waiting == 0);
    CHECK_OR_FALSE(via_iommu_dma_flush(&dma) == 0);
    CHECK_OR_FALSE(reachable() == pool_pages && model.wrong == 0 && bounce.stats.in_use == 0);
    CHECK_OR_FALSE(model.space.used == 16); /* the pool's pages, rounded up */
    return true;
}

static bool in_buffers(const struct via_span *buf, unsigned n, const uint8_t *at)
{
    for (unsigned i = 0; i < n; i++)
        if ((uintptr_t)at - (uintptr_t)buf[i].ptr < buf[i].len)
            return true;
    return false;
}

/* Every page of the driver's memory that the device reaches now is a buffer's from end to end, with no more rights than the buffer's. */
static bool no_canary_in_reach(const struct via_span *buf, unsigned out, unsigned in)
{
    for (unsigned i = 0; i < MODEL_PAGES; i++) {
        const uint8_t *at = model.frame[model.tlb[i].frame];
        if (!model.tlb[i].perm || at >= pool_mem)
            continue;
        for (unsigned k = 0; k < PAGE; k += PAGE - 1) {
            CHECK_OR_FALSE(!(model.tlb[i].perm & VIA_IOMMU_READ) || in_buffers(buf, out, at + k));
            CHECK_OR_FALSE(!(model.tlb[i].perm & VIA_IOMMU_WRITE) || in_buffers(buf + out, in, at + k));
        }
    }
    for (unsigned i = 0; i < POOL_PAGES * PAGE; i++) /* nor was one copied to where it is in reach */
        CHECK_OR_FALSE(pool_mem[i] != CANARY);
    return true;
}

/*
 * One request: the device reads all readable bytes, sees what the driver wrote, and writes `written` of the writable ones (and no more:
 * what it writes to whole pages is there at once). Memory afterwards is what it was but for these.
 */
static bool request(const struct via_span *buf, unsigned out, unsigned in, uint32_t written)
{
    static uint8_t own[USER_PAGES * PAGE], want[USER_PAGES * PAGE];
    struct via_mapping m = {.seg = seg, .cap = CAP};
    size_t pos = 0;
    for (unsigned i = 0; i < out + in; i++)
        for (size_t k = 0; k < buf[i].len; k++)
            ((uint8_t *)buf[i].ptr)[k] = (uint8_t)(i < out ? k % 97 + i : 0xdd);
    memcpy(want, mem, sizeof(want));
    CHECK_OR_FALSE(via_dma_map(&check.dma, buf, out, in, &m) == 0);
    CHECK_OR_FALSE(no_canary_in_reach(buf, out, in));
    CHECK_OR_FALSE(via_spans_len(buf, out) <= sizeof(own));
    CHECK_OR_FALSE(device_moves(seg, m.n_out, own, via_spans_len(buf, out), VIA_IOMMU_READ));
    for (unsigned i = 0; i < out; pos += buf[i++].len)
        CHECK_OR_FALSE(memcmp(own + pos, buf[i].ptr, buf[i].len) == 0);
    for (size_t i = 0; i < written; i++)
        own[i] = (uint8_t)(i % 89);
    CHECK_OR_FALSE(device_moves(seg + m.n_out, m.n_in, own, written, VIA_IOMMU_WRITE));
    size_t moved = 0;
    for (unsigned i = out; i < out + in && moved < written; i++) {
        size_t take = via_min64(buf[i].len, written - moved);
        memcpy(want + ((uint8_t *)buf[i].ptr - mem), own + moved, take);
        moved += take;
    }
    via_dma_unmap(&check.dma, &m, written);
    CHECK_OR_FALSE(memcmp(mem, want, sizeof(want)) == 0);
    return true;
}

static void canaries(void) { memset(mem, CANARY, (size_t)USER_PAGES * PAGE); }

/* A side that writes down what it is told. */
struct side {
    struct via_dma dma;
    uint64_t base;
    uint32_t written;
};

static int side_map(struct via_dma *d, const struct via_span *buf, unsigned out, unsigned in, struct via_mapping *m)
{
    const struct side *s = via_container_of(d, struct side, dma);
    for (unsigned i = 0; i < out + in; i++)
        m->seg[i] = (struct via_seg){{s->base + (uint64_t)((uint8_t *)buf[i].ptr - mem)}, (uint32_t)buf[i].len};
    m->n_out = m->buf_out = (uint16_t)out;
    m->n_in = m->buf_in = (uint16_t)in;
    return 0;
}

static void side_unmap(struct via_dma *d, struct via_mapping *m, uint32_t written)
{
    (void)m;
    via_container_of(d, struct side, dma)->written = written;
}

static const struct via_dma_ops side_ops = {"side", side_map, side_unmap, NULL};

/* A page of 8 bytes, so that it is every offset, length and place to stop: each byte goes the way that it must. */
static void each_byte_by_its_own_way(void)
{
    struct side side[2] = {{{&side_ops, NULL}, 0x10000, 0}, {{&side_ops, NULL}, 0x20000, 0}};
    struct via_hybrid_cfg cfg = {&side[0].dma, &side[1].dma, 0, 8, 1, 4, 4};
    CHECK((storage = malloc(via_hybrid_bytes(&cfg))));
    for (cfg.threshold = 0; cfg.threshold < 30; cfg.threshold += 7)
        for (uint32_t off = 0; off < 8; off++)
            for (uint32_t len = 1; len < 34; len++)
                for (uint32_t written = 0; written <= len + 9; written++) {
                    struct via_span buf[] = {{mem + off, len}, {mem + 88, 9}};
                    struct via_mapping m = {.seg = seg, .cap = CAP};
                    uint32_t want[2] = {0}, at = 0, k = 0;
                    CHECK(via_hybrid_init(&hybrid, &cfg, storage) == 0 && via_dma_map(&hybrid.dma, buf, 0, 2, &m) == 0);
                    side[0].written = side[1].written = 0;
                    for (uint32_t i = 0; i < len + 9; i++) {
                        uint32_t start = i < len ? off : 88, n = i < len ? len : 9, p = i < len ? off + i : 88 + i - len;
                        bool large = n >= cfg.threshold && p / 8 * 8 >= start && p / 8 * 8 + 8 <= start + n;
                        CHECK(k < m.n_in && seg[k].addr.v + at == side[large].base + p);
                        at = at + 1 == seg[k].len ? (k++, 0) : at + 1;
                        want[large] += i < written;
                    }
                    CHECK_EQ(k, m.n_in);
                    via_dma_unmap(&hybrid.dma, &m, written);
                    CHECK(side[0].written == want[0] && side[1].written == want[1]);
                }
}

/* Offsets and lengths round each page boundary, up to three pages; both directions, and each place where writing may stop. */
static void each_offset_and_length(void)
{
    static const unsigned off[] = {0, 1, 2048, PAGE - 1}, edge[8] = {1, 2, 2047, 2048, 2049, PAGE - 1, PAGE, PAGE + 1};
    for (enum via_iommu_mode mode = VIA_IOMMU_STRICT; mode <= VIA_IOMMU_LAZY; mode++)
        for (uint32_t threshold = 0; threshold <= 2 * PAGE; threshold += PAGE) {
            CHECK(up(mode, threshold));
            for (unsigned o = 0; o < via_array_len(off); o++)
                for (unsigned e = 0; e < 3 * 8; e++) {
                    uint32_t len = edge[e % 8] + e / 8 * PAGE, stop[] = {0, 1, len / 2, len - 1, len};
                    struct via_span buf = {mem + 3 * PAGE + off[o], len};
                    for (unsigned w = 0; w < via_array_len(stop); w++) {
                        canaries();
                        CHECK(request(&buf, 0, 1, stop[w]));
                        CHECK(settled());
                    }
                    canaries();
                    CHECK(request(&buf, 1, 0, 0) && settled());
                }
            CHECK_EQ(via_check_finish(&check), 0);
        }
}

static void lists_keep_the_order_of_bytes(void)
{
    CHECK(up(VIA_IOMMU_STRICT, 1000));
    for (unsigned round = 0; round < 3000; round++) {
        struct via_span buf[BUFS] = {{0}};
        unsigned n = 0, pages = 0;
        size_t at = 0;
        canaries();
        while (n < BUFS && (!n || below(5))) {
            uint32_t start = below(2) ? below(PAGE) : 0, len = below(2) ? 1 + below(3 * PAGE) : (1 + below(3)) * PAGE - start * below(2);
            pages += 2; /* slots of the pool, at most */
            if (at + start + len > USER_PAGES * PAGE || pages > POOL_PAGES)
                break;
            buf[n++] = (struct via_span){mem + at + start, len};
            at += start + len;
            at += below(2) ? -at % PAGE : 0;
        }
        unsigned out = below(n + 1);
        uint32_t room = (uint32_t)via_spans_len(buf + out, n - out);
        CHECK(request(buf, out, n - out, room ? below(room + 1) : 0) && settled());
    }
    CHECK(via_check_finish(&check) == 0 && hybrid.bytes[0] > 100000 && hybrid.bytes[1] > 100000 && hybrid.full == 0);
}

/* Shared pages: the end of one buffer and the start of the next one, in different mappings of different directions. */
static void neighbours_are_mapped_apart(void)
{
    CHECK(up(VIA_IOMMU_STRICT, 0));
    struct via_span a = {mem + 10, 2 * PAGE}, b = {mem + 2 * PAGE + 10, 2 * PAGE}, both[] = {a, b};
    struct via_seg other[CAP];
    struct via_mapping ma = {.seg = seg, .cap = CAP}, mb = {.seg = other, .cap = CAP};
    canaries();
    memset(a.ptr, 1, a.len);
    memset(b.ptr, 2, b.len);
    CHECK(via_dma_map(&check.dma, &a, 1, 0, &ma) == 0 && via_dma_map(&check.dma, &b, 0, 1, &mb) == 0);
    CHECK(no_canary_in_reach(both, 1, 1));
    uint8_t own[2 * PAGE] = {0};
    CHECK(device_moves(seg, ma.n_out, own, a.len, VIA_IOMMU_READ) && own[a.len - 1] == 1);
    memset(own, 3, sizeof(own));
    CHECK(device_moves(other, mb.n_in, own, b.len, VIA_IOMMU_WRITE));
    CHECK_EQ(via_dma_sync(&check.dma, &mb, VIA_OWNER_CPU, PAGE), 0);
    CHECK(mem[2 * PAGE + 10] == 3 && mem[3 * PAGE] == 3 && mem[4 * PAGE] == 2);
    CHECK_EQ(via_dma_sync(&check.dma, &ma, VIA_OWNER_CPU, 0), 0);
    mem[10] = mem[2 * PAGE] = mem[2 * PAGE - 1] = 9;
    CHECK_EQ(via_dma_sync(&check.dma, &ma, VIA_OWNER_DEVICE, 0), 0);
    CHECK(device_moves(seg, ma.n_out, own, a.len, VIA_IOMMU_READ) && own[0] == 9 && own[2 * PAGE - 10] == 9 && own[2 * PAGE - 11] == 9);
    via_dma_unmap(&check.dma, &mb, 2 * PAGE);
    via_dma_unmap(&check.dma, &ma, 0);
    CHECK(mem[4 * PAGE] == 3 && mem[4 * PAGE + 9] == 3 && mem[4 * PAGE + 10] == CANARY && mem[2 * PAGE + 9] == 1);
    CHECK(settled() && via_check_finish(&check) == 0);
}

static void all_or_nothing(void)
{
    struct via_span buf[] = {{mem + 10, 3 * PAGE}, {mem + 8 * PAGE + 5, 3 * PAGE}, {mem + 16 * PAGE, PAGE}, {mem + 20 * PAGE, 8}};
    struct via_mapping m = {.seg = seg, .cap = CAP};
    CHECK(up(VIA_IOMMU_STRICT, 0));
    unsigned before = model.calls;
    CHECK_EQ(via_dma_map(&check.dma, buf, 2, 2, &m), 0);
    unsigned full = (unsigned)m.n_out + m.n_in, calls = model.calls - before;
    via_dma_unmap(&check.dma, &m, 0);
    CHECK(settled() && full == 8);
    for (unsigned cap = 4; cap < full; cap++) {
        m.cap = (uint16_t)cap;
        CHECK_EQ(via_dma_map(&check.dma, buf, 2, 2, &m), -VIA_E2BIG);
        CHECK(settled());
    }
    m.cap = CAP;
    for (unsigned i = 1; i <= calls; i++) { /* each of the IOMMU's maps may fail */
        model.fail_at = model.calls + i;
        model.fails = 1;
        CHECK_EQ(via_dma_map(&check.dma, buf, 2, 2, &m), -VIA_ENOMEM);
        CHECK(settled());
    }
    struct via_mapping more[4];
    struct via_seg segs[4][CAP];
    for (unsigned i = 0; i < 4; i++) {
        more[i] = (struct via_mapping){.seg = segs[i], .cap = CAP};
        CHECK_EQ(via_dma_map(&check.dma, &buf[3], 1, 0, &more[i]), i < 3 ? 0 : -VIA_EAGAIN);
    }
    CHECK_EQ(hybrid.full, 1);
    for (unsigned i = 0; i < 3; i++)
        via_dma_unmap(&check.dma, &more[i], 0);
    for (unsigned i = 0; i < 3; i++) /* entries come back in any order, and each serves one mapping */
        CHECK_EQ(via_dma_map(&check.dma, &buf[3], 1, 0, &more[i]), 0);
    CHECK(more[0].way != more[1].way && more[1].way != more[2].way && more[2].way != more[0].way);
    for (unsigned i = 0; i < 3; i++)
        via_dma_unmap(&check.dma, &more[i], 0);
    struct via_span many = {mem + 1, (POOL_PAGES + 1) * PAGE}, empty = {mem, 0};
    hybrid.threshold = UINT32_MAX;
    CHECK_EQ(via_dma_map(&check.dma, &many, 1, 0, &m), -VIA_E2BIG);
    hybrid.threshold = 0;
    CHECK_EQ(via_dma_map(&check.dma, &empty, 1, 0, &m), -VIA_EINVAL);
    hybrid.pieces = 1;
    CHECK_EQ(via_dma_map(&check.dma, buf, 1, 0, &m), -VIA_E2BIG);
    CHECK(settled());
}

/* Physical pages that lie otherwise than the pointers: what is a whole page here, is none for the IOMMU. */
static void pages_that_lie_otherwise_are_refused(void)
{
    CHECK(up(VIA_IOMMU_STRICT, 0));
    struct via_phys_range shifted = {mem + 100, 8 * PAGE, (PHYS_BASE + 1ull) * PAGE};
    struct via_span buf = {mem + PAGE, PAGE};
    struct via_mapping m = {.seg = seg, .cap = CAP};
    unsigned maps = model.maps;
    CHECK_EQ(via_direct_init(&model.direct, &shifted, 1), 0);
    CHECK_EQ(via_dma_map(&check.dma, &buf, 1, 0, &m), -VIA_ERANGE);
    CHECK_EQ(model.maps, maps);
    dma.cfg.whole_pages = false;
    CHECK_EQ(via_dma_map(&check.dma, &buf, 1, 0, &m), -VIA_ERANGE);
    CHECK(settled());
    struct via_hybrid_cfg bad = {&bounce.dma, NULL, 0, PAGE, 1, 1, 1};
    CHECK_EQ(via_hybrid_init(&hybrid, &bad, storage), -VIA_EINVAL);
    bad = (struct via_hybrid_cfg){&bounce.dma, &dma.dma, 0, PAGE + 1, 1, 1, 1};
    CHECK_EQ(via_hybrid_init(&hybrid, &bad, storage), -VIA_EINVAL);
    free(storage);
    storage = NULL;
}

TAP_MAIN(TEST(each_byte_by_its_own_way), TEST(each_offset_and_length), TEST(lists_keep_the_order_of_bytes),
         TEST(neighbours_are_mapped_apart), TEST(all_or_nothing), TEST(pages_that_lie_otherwise_are_refused))
