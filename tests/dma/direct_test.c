/* SPDX-License-Identifier: BSD-2-Clause */
/* direct and window, alone and stacked, with a bounce on top of both. */
#include "rig.h"

static _Alignas(4096) uint8_t mem[64 * SLOT];
static struct via_seg seg[16];

static struct via_mapping mapping(unsigned cap) { return (struct via_mapping){.seg = seg, .cap = (uint16_t)cap}; }

static bool seg_is(unsigned i, uint64_t addr, uint64_t len) { return seg[i].addr.v == addr && seg[i].len == len; }

static void direct_gives_physical_addresses(void)
{
    struct via_phys_range range[] = {{mem, 1000, 0x10000}, {mem + 1000, 1000, 0x5000}, {mem + 3000, 1000, 0x20000}};
    struct via_direct d;
    CHECK_EQ(via_direct_init(&d, range, 3), 0);
    struct via_mapping m = mapping(16);
    struct via_span buf[] = {{mem, 1}, {mem + 999, 2}, {mem + 3999, 1}, {mem + 1000, 1000}};
    CHECK_EQ(via_dma_map(&d.dma, buf, 2, 2, &m), 0);
    CHECK(m.n_out == 3 && m.n_in == 2 && m.buf == buf && m.buf_out == 2 && m.buf_in == 2);
    CHECK(seg_is(0, 0x10000, 1) && seg_is(1, 0x10000 + 999, 1) && seg_is(2, 0x5000, 1) && seg_is(3, 0x20000 + 999, 1) &&
          seg_is(4, 0x5000, 1000));
    CHECK_EQ(via_dma_sync(&d.dma, &m, VIA_OWNER_CPU, 1), 0);
    via_dma_unmap(&d.dma, &m, 1);
}

static void direct_finds_each_buffers_range(void)
{
    struct via_phys_range range[] = {{mem + 100, 900, 0x10000}, {mem + 2000, 1000, 0x5000}, {mem + 3000, 1000, 0x20000}};
    struct via_direct d;
    CHECK_EQ(via_direct_init(&d, range, 3), 0);
    struct via_mapping m = mapping(5);
    struct via_span buf[] = {{mem + 3000, 1000}, {mem + 100, 900}, {mem + 2999, 1}, {mem + 2000, 1}, {mem + 3999, 1}};
    CHECK_EQ(via_dma_map(&d.dma, buf, 2, 3, &m), 0);
    CHECK(m.n_out == 2 && m.n_in == 3 && m.buf == buf && m.buf_out == 2 && m.buf_in == 3);
    CHECK(seg_is(0, 0x20000, 1000) && seg_is(1, 0x10000, 900) && seg_is(2, 0x5000 + 999, 1) && seg_is(3, 0x5000, 1) &&
          seg_is(4, 0x20000 + 999, 1));
    struct via_span near[] = {{mem + 100, 1}, {mem + 200, 1}};
    m = mapping(1); /* one too few, even where nothing is cut */
    CHECK_EQ(via_dma_map(&d.dma, near, 1, 1, &m), -VIA_E2BIG);
    CHECK_EQ(via_dma_map(&d.dma, near, 0, 1, &m), 0);
    m = mapping(4);
    CHECK_EQ(via_dma_map(&d.dma, buf, 2, 3, &m), -VIA_E2BIG);
    struct via_span bad[] = {{mem + 100, 1}, {mem + 1000, 1}, {mem + 100, 1}, {mem + 99, 1}, {mem + 100, 1}, {mem + 100, 0}};
    const int result[] = {-VIA_ERANGE, -VIA_ERANGE, -VIA_EINVAL};
    for (unsigned i = 0; i < 3; i++) {
        m = mapping(5);
        CHECK_EQ(via_dma_map(&d.dma, &bad[2 * i], 1, 1, &m), result[i]);
        CHECK(m.n_out == 0 && m.n_in == 0 && !m.buf);
    }
}

/* No byte of these is looked at: only where they would lie counts. */
static void direct_cuts_what_no_segment_holds(void)
{
    const uint64_t most = 0xfffff000;
    uint8_t *far = (uint8_t *)(uintptr_t)0x100000000;
    struct via_phys_range range = {far, 4 * most, 0};
    struct via_direct d;
    CHECK_EQ(via_direct_init(&d, &range, 1), 0);
    struct via_mapping m = mapping(16);
    struct via_span buf[] = {{far + 1, most}, {far + 2, most + 1}};
    CHECK_EQ(via_dma_map(&d.dma, buf, 1, 1, &m), 0);
    CHECK(m.n_out == 1 && m.n_in == 2 && seg_is(0, 1, most) && seg_is(1, 2, most) && seg_is(2, 2 + most, 1));
}

static void direct_refuses_what_has_no_address(void)
{
    struct via_phys_range range[] = {{mem + 8, 992, 0x10000}, {mem + 1000, 1000, 0x5000}, {mem + 3000, 1000, 0x20000}};
    struct via_direct d;
    CHECK_EQ(via_direct_init(&d, range, 3), 0);
    struct {
        struct via_span buf;
        int result;
    } bad[] = {
        {{mem + 1999, 2}, -VIA_ERANGE}, {{mem + 2500, 1}, -VIA_ERANGE}, {{mem + 3999, 2}, -VIA_ERANGE},
        {{mem + 7, 2}, -VIA_ERANGE},    {{mem + 8, 0}, -VIA_EINVAL},    {{mem + 8, SIZE_MAX}, -VIA_ERANGE},
    };
    for (unsigned i = 0; i < via_array_len(bad); i++) {
        struct via_mapping m = mapping(16);
        CHECK_EQ(via_dma_map(&d.dma, &bad[i].buf, 1, 0, &m), bad[i].result);
        CHECK_EQ(m.n_out, 0);
    }
    struct via_mapping m = mapping(1);
    struct via_span two = {mem + 999, 2};
    CHECK_EQ(via_dma_map(&d.dma, &two, 1, 0, &m), -VIA_E2BIG);
    CHECK_EQ(via_dma_map(&d.dma, &two, 0, 0, &m), -VIA_EINVAL);
}

static void direct_checks_its_ranges(void)
{
    struct via_direct d;
    struct via_phys_range empty = {mem, 0, 0}, wraps = {mem, 16, UINT64_MAX - 14}, last = {mem, 16, UINT64_MAX - 15},
                          order[] = {{mem + 16, 8, 0}, {mem, 8, 64}}, over[] = {{mem, 9, 0}, {mem + 8, 8, 64}},
                          phys[] = {{mem, 8, 64}, {mem + 8, 8, 71}}, touch[] = {{mem, 8, 64}, {mem + 8, 8, 72}};
    CHECK_EQ(via_direct_init(&d, &empty, 1), -VIA_EINVAL);
    CHECK_EQ(via_direct_init(&d, &wraps, 1), -VIA_EINVAL);
    CHECK_EQ(via_direct_init(&d, &last, 1), 0);
    CHECK_EQ(via_direct_init(&d, order, 2), -VIA_EINVAL);
    CHECK_EQ(via_direct_init(&d, over, 2), -VIA_EINVAL);
    CHECK_EQ(via_direct_init(&d, phys, 2), -VIA_EINVAL);
    CHECK_EQ(via_direct_init(&d, touch, 2), 0);
    CHECK_EQ(via_direct_init(&d, touch, 0), -VIA_EINVAL);
}

static void window_splits_at_banks_and_finds_back(void)
{
    struct via_phys_range range = {mem, sizeof(mem), 0};
    struct via_bank bank[] = {{0, 99, 5000}, {100, 199, 100}, {300, 399, 0}};
    struct via_direct d;
    struct via_window w;
    CHECK_EQ(via_direct_init(&d, &range, 1), 0);
    CHECK_EQ(via_window_init(&w, &d.dma, bank, 3), 0);
    struct via_mapping m = mapping(16);
    struct via_span buf[] = {{mem + 50, 100}, {mem + 399, 1}, {mem + 99, 101}};
    CHECK_EQ(via_dma_map(&w.dma, buf, 1, 2, &m), 0);
    CHECK(m.n_out == 2 && m.n_in == 3);
    CHECK(seg_is(0, 5050, 50) && seg_is(1, 100, 50) && seg_is(2, 99, 1) && seg_is(3, 5099, 1) && seg_is(4, 100, 100));
    CHECK_EQ(via_dma_sync(&w.dma, &m, VIA_OWNER_CPU, 5), 0);
    CHECK(m.n_out == 2 && m.n_in == 3 && seg_is(0, 5050, 50) && seg_is(3, 5099, 1) && seg_is(4, 100, 100));
    via_dma_unmap(&w.dma, &m, 5);
    CHECK(seg_is(0, 50, 50) && seg_is(1, 100, 50) && seg_is(2, 399, 1) && seg_is(3, 99, 1)); /* next's addresses again */

    struct via_span gap = {mem + 150, 100}, none = {mem + 200, 1};
    m = mapping(16);
    CHECK_EQ(via_dma_map(&w.dma, &gap, 1, 0, &m), -VIA_ERANGE);
    CHECK_EQ(via_dma_map(&w.dma, &none, 1, 0, &m), -VIA_ERANGE);
    m = mapping(4);
    CHECK_EQ(via_dma_map(&w.dma, buf, 1, 2, &m), -VIA_E2BIG);
}

static void window_checks_its_banks(void)
{
    struct via_phys_range range = {mem, sizeof(mem), 0};
    struct via_direct d;
    struct via_window w;
    struct via_bank back = {10, 9, 0}, wraps = {0, 10, UINT64_MAX - 9}, all = {0, UINT64_MAX, 0}, over[] = {{0, 10, 0}, {10, 20, 100}},
                    bus[] = {{0, 10, 0}, {11, 20, 10}}, order[] = {{50, 60, 0}, {0, 10, 100}};
    CHECK_EQ(via_direct_init(&d, &range, 1), 0);
    CHECK_EQ(via_window_init(&w, &d.dma, &back, 1), -VIA_EINVAL);
    CHECK_EQ(via_window_init(&w, &d.dma, &wraps, 1), -VIA_EINVAL);
    CHECK_EQ(via_window_init(&w, &d.dma, over, 2), -VIA_EINVAL);
    CHECK_EQ(via_window_init(&w, &d.dma, bus, 2), -VIA_EINVAL);
    CHECK_EQ(via_window_init(&w, &d.dma, order, 2), -VIA_EINVAL);
    CHECK_EQ(via_window_init(&w, &d.dma, &all, 0), -VIA_EINVAL);
    CHECK_EQ(via_window_init(&w, NULL, &all, 1), -VIA_EINVAL);
    CHECK_EQ(via_window_init(&w, &d.dma, &all, 1), 0);
}

/* Private memory is in no bank of the bus; the pool is, and bounce takes everything there. */
static void bounce_over_window_over_direct(void)
{
    static _Alignas(4096) uint8_t private_mem[4 * SLOT];
    static _Atomic uint64_t map[1];
    struct via_phys_range range = {mem, sizeof(mem), 0x100000};
    struct via_bank bank = {0x100000, 0x100000 + sizeof(mem) - 1, 0x80000000}, low = {0x100000, 0x100000 + SLOT, 0};
    struct via_direct d;
    struct via_window w;
    struct via_pool p;
    struct via_bounce b;
    CHECK_EQ(via_direct_init(&d, &range, 1), 0);
    CHECK_EQ(via_window_init(&w, &d.dma, &low, 1), 0);
    CHECK_EQ(via_pool_init(&p, &w.dma, mem, sizeof(mem), map, 1), -VIA_ERANGE);
    CHECK_EQ(via_window_init(&w, &d.dma, &bank, 1), 0);
    CHECK_EQ(via_pool_init(&p, &w.dma, mem, sizeof(mem), map, 1), 0);
    CHECK_EQ(p.base, 0x80000000);
    CHECK_EQ(via_bounce_init(&b, &p, 0, 4), 0);
    CHECK(b.dma.next == &w.dma);
    struct via_mapping m = mapping(4);
    struct via_span buf[] = {{private_mem + 7, 5000}, {private_mem + 3 * SLOT, 1}};
    memset(private_mem, 0x33, sizeof(private_mem));
    CHECK_EQ(via_dma_map(&w.dma, buf, 1, 1, &m), -VIA_ERANGE);
    CHECK_EQ(via_dma_map(&b.dma, buf, 1, 1, &m), 0);
    CHECK(seg[0].addr.v % SLOT == 7 && via_range_inside(seg[0].addr.v, seg[0].len, 0x80000000, 0x80000000 + sizeof(mem) - 1));
    CHECK(mem[seg[0].addr.v - 0x80000000 + 4999] == 0x33);
    mem[seg[1].addr.v - 0x80000000] = 0x44;
    via_dma_unmap(&b.dma, &m, 1);
    CHECK(private_mem[3 * SLOT] == 0x44);
}

TAP_MAIN(TEST(direct_gives_physical_addresses), TEST(direct_finds_each_buffers_range), TEST(direct_cuts_what_no_segment_holds),
         TEST(direct_refuses_what_has_no_address), TEST(direct_checks_its_ranges), TEST(window_splits_at_banks_and_finds_back),
         TEST(window_checks_its_banks), TEST(bounce_over_window_over_direct))
