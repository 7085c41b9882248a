/* SPDX-License-Identifier: BSD-2-Clause */
/* Segments into spans, and reading through them: across regions, without room, into holes. */
#include <string.h>

#include <tap.h>
#include <viaduct/xlate.h>

static uint8_t low[32], mid[32], high[32];
static struct via_memmap map;

/* [0x100, 0x120) and [0x120, 0x140) touch; [0x150, 0x170) stands alone and is read-only. */
static bool set_up(void)
{
    const struct via_region r[] = {{.gpa = 0x120, .len = 32, .uva = 0x3000, .ptr = mid},
                                   {.gpa = 0x100, .len = 32, .uva = 0x1000, .ptr = low},
                                   {.gpa = 0x150, .len = 32, .uva = 0x2000, .ptr = high, .readonly = true}};
    via_memmap_init(&map);
    for (unsigned i = 0; i < via_array_len(r); i++)
        CHECK_OR_FALSE(via_memmap_add(&map, &r[i]) == 0);
    for (unsigned i = 0; i < 32; i++) {
        low[i] = (uint8_t)i;
        mid[i] = (uint8_t)(32 + i);
        high[i] = (uint8_t)(64 + i);
    }
    return true;
}

static struct via_seg seg(uint64_t addr, uint32_t len) { return (struct via_seg){{addr}, len}; }

static void crossing_regions_takes_several_spans(void)
{
    struct via_span span[4];
    CHECK(set_up());
    struct via_seg s[] = {seg(0x11c, 8), seg(0x100, 1), seg(0x101, 1)};
    CHECK_EQ(via_xlate_map(&map.xlate, s, 3, VIA_PERM_R | VIA_PERM_W, span, 4), 4);
    CHECK(span[0].ptr == low + 28 && span[0].len == 4);
    CHECK(span[1].ptr == mid && span[1].len == 4);
    CHECK(span[2].ptr == low && span[2].len == 1);
    CHECK(span[3].ptr == low + 1 && span[3].len == 1); /* neighbours stay two: they are two segments */
    CHECK_EQ(via_xlate_map(&map.xlate, s, 3, VIA_PERM_R, span, 3), -VIA_E2BIG);
    CHECK_EQ(via_xlate_map(&map.xlate, s, 1, VIA_PERM_R, span, 1), -VIA_E2BIG);
    CHECK_EQ(via_xlate_map(&map.xlate, s, 0, VIA_PERM_R, span, 0), 0);
}

static void holes_and_rights(void)
{
    struct via_span span[4];
    CHECK(set_up());
    struct {
        struct via_seg seg;
        unsigned perm;
        int want;
    } t[] = {
        {seg(0x100, 64), VIA_PERM_W, 2},          {seg(0x100, 65), VIA_PERM_R, -VIA_EFAULT},
        {seg(0xff, 2), VIA_PERM_R, -VIA_EFAULT},  {seg(0x150, 32), VIA_PERM_R, 1},
        {seg(0x150, 1), VIA_PERM_W, -VIA_EFAULT}, {seg(0x150, 1), 3, -VIA_EFAULT},
        {seg(0x100, 0), VIA_PERM_R, -VIA_EFAULT}, {seg(0, 0), VIA_PERM_R, -VIA_EFAULT},
        {seg(0x170, 1), VIA_PERM_R, -VIA_EFAULT}, {seg(UINT64_MAX, 2), VIA_PERM_R, -VIA_EFAULT},
    };
    for (unsigned i = 0; i < via_array_len(t); i++)
        CHECK_EQ(via_xlate_map(&map.xlate, &t[i].seg, 1, t[i].perm, span, 4), t[i].want);
}

static void reads_across_regions(void)
{
    uint8_t got[66];
    CHECK(set_up());
    for (unsigned off = 0; off <= 64; off++)
        for (unsigned len = 0; off + len <= 65; len++) {
            memset(got, 0xee, sizeof(got));
            int want = off + len > 64 && len ? -VIA_EFAULT : 0;
            CHECK_EQ(via_xlate_read(&map.xlate, (via_iova){0x100 + off}, got, len), want);
            for (unsigned i = 0; i < len && !want; i++)
                CHECK_EQ(got[i], off + i);
            CHECK_EQ(got[len], 0xee);
        }
    CHECK_EQ(via_xlate_read(&map.xlate, (via_iova){UINT64_MAX}, got, 2), -VIA_EFAULT);
}

TAP_MAIN(TEST(crossing_regions_takes_several_spans), TEST(holes_and_rights), TEST(reads_across_regions))
