/* SPDX-License-Identifier: BSD-2-Clause */
/* Each misuse is found, named, and told once; right use never is. */
#include "rig.h"

static uint8_t mem[4096], *const b1 = mem, *const b2 = mem + 1000, *const b3 = mem + 2000;
static struct via_phys_range range = {mem, sizeof(mem), 0x1000};
static struct via_direct direct;
static struct via_check check;
static struct via_check_entry entry[5];
static struct via_seg seg[8][4];
static struct via_mapping m[8];
static unsigned told[VIA_MISUSE_UNTRACKED + 1];
static const struct via_mapping *whose;

static void report(struct via_check *c, enum via_misuse what, const struct via_mapping *of)
{
    (void)c;
    told[what]++;
    whose = of;
}

static bool up(void)
{
    memset(told, 0, sizeof(told));
    for (unsigned i = 0; i < via_array_len(m); i++)
        m[i] = (struct via_mapping){.seg = seg[i], .cap = 4};
    CHECK_OR_FALSE(via_direct_init(&direct, &range, 1) == 0);
    CHECK_OR_FALSE(via_check_init(&check, &direct.dma, entry, via_array_len(entry), report) == 0);
    return true;
}

static bool only(enum via_misuse what, const struct via_mapping *of)
{
    CHECK_OR_FALSE(check.found == 1);
    CHECK_OR_FALSE(told[what] == 1);
    CHECK_OR_FALSE(whose == of);
    CHECK_OR_FALSE(via_misuse_name(what)[0]);
    return true;
}

static void right_use_is_silent(void)
{
    CHECK(up());
    struct via_span buf[8][2];
    uint32_t seed = 5, mapped = 0;
    for (int i = 0; i < 5000; i++) { /* the table is full at times, and entries go in any order */
        unsigned k = (seed = seed * 1664525 + 1013904223) >> 16 & 7;
        if (mapped >> k & 1) {
            if (seed >> 20 & 1) {
                CHECK_EQ(via_dma_sync(&check.dma, &m[k], VIA_OWNER_CPU, 16), 0);
                mem[k * 64]++;
                CHECK_EQ(via_dma_sync(&check.dma, &m[k], VIA_OWNER_DEVICE, 0), 0);
            }
            mem[k * 64 + 32]++; /* the device writes */
            via_dma_unmap(&check.dma, &m[k], seed >> 24 & 31);
            mapped &= ~(1u << k);
        } else if (__builtin_popcount(mapped) < 5) {
            buf[k][0] = (struct via_span){mem + k * 64, 32};
            buf[k][1] = (struct via_span){mem + k * 64 + 32, 32};
            CHECK_EQ(via_dma_map(&check.dma, buf[k], 1, 1, &m[k]), 0);
            mapped |= 1u << k;
        }
    }
    CHECK_EQ(check.found, 0);
    for (unsigned k = 0; k < 8; k++)
        if (mapped >> k & 1)
            via_dma_unmap(&check.dma, &m[k], 0);
    /* Two readers of one buffer are no misuse. */
    struct via_span same = {b1, 10};
    CHECK_EQ(via_dma_map(&check.dma, &same, 1, 0, &m[0]), 0);
    CHECK_EQ(via_dma_map(&check.dma, &same, 1, 0, &m[1]), 0);
    via_dma_unmap(&check.dma, &m[0], 0);
    via_dma_unmap(&check.dma, &m[1], 0);
    CHECK_EQ(via_check_finish(&check), 0);
}

static void leak(void)
{
    CHECK(up());
    struct via_span buf = {b1, 10};
    CHECK_EQ(via_dma_map(&check.dma, &buf, 1, 0, &m[0]), 0);
    CHECK_EQ(via_check_finish(&check), 1);
    CHECK(only(VIA_MISUSE_LEAK, &m[0]));
    CHECK_EQ(via_check_finish(&check), 1);
    CHECK(up()); /* storage used again before the unmap is a leak as well */
    CHECK_EQ(via_dma_map(&check.dma, &buf, 1, 0, &m[0]), 0);
    CHECK_EQ(via_dma_map(&check.dma, &buf, 1, 0, &m[0]), 0);
    via_dma_unmap(&check.dma, &m[0], 0);
    CHECK_EQ(via_check_finish(&check), 1);
    CHECK(only(VIA_MISUSE_LEAK, &m[0]));
}

static void double_unmap_is_not_passed_on(void)
{
    struct rig rig;
    struct via_bounce b;
    CHECK(up() && rig_up(&rig, 32));
    CHECK_EQ(via_bounce_init(&b, &rig.pool, 0, 0), 0);
    CHECK_EQ(via_check_init(&check, &b.dma, entry, via_array_len(entry), report), 0);
    struct via_span buf = {b1, 10};
    CHECK_EQ(via_dma_map(&check.dma, &buf, 1, 0, &m[0]), 0);
    via_dma_unmap(&check.dma, &m[0], 0);
    CHECK_EQ(check.found, 0);
    via_dma_unmap(&check.dma, &m[0], 0); /* would be an assertion in the pool */
    CHECK(only(VIA_MISUSE_DOUBLE_UNMAP, &m[0]));
    CHECK_EQ(b.stats.unmaps, 1);
    CHECK_EQ(via_dma_sync(&check.dma, &m[0], VIA_OWNER_CPU, 0), -VIA_EINVAL);
    CHECK_EQ(told[VIA_MISUSE_DOUBLE_UNMAP], 2);
    rig_down(&rig);
}

static void changed(void)
{
    struct via_span buf[] = {{b1, 10}, {b2, 10}}, other[] = {{b1, 10}, {b2, 10}};
    for (int way = 0; way < 5; way++) {
        CHECK(up());
        buf[0].len = 10;
        CHECK_EQ(via_dma_map(&check.dma, buf, 1, 1, &m[0]), 0);
        switch (way) {
        case 0:
            seg[0][1].addr.v++;
            break;
        case 1:
            seg[0][0].len--;
            break;
        case 2:
            m[0].buf = other;
            break;
        case 3:
            buf[0].len = 9;
            break;
        case 4:
            m[0].n_out = 2, m[0].n_in = 0;
            break;
        }
        CHECK_EQ(via_dma_sync(&check.dma, &m[0], VIA_OWNER_CPU, 0), -VIA_EINVAL);
        CHECK(only(VIA_MISUSE_CHANGED, &m[0]));
        via_dma_unmap(&check.dma, &m[0], 0);
        CHECK_EQ(told[VIA_MISUSE_CHANGED], 2);
        CHECK_EQ(via_check_finish(&check), 2);
    }
}

static void overlap(void)
{
    static const struct {
        unsigned off, len, out;
        bool bad;
    } second[] = {{500, 10, 0, true}, {509, 1, 1, true},   {510, 1, 1, false}, {490, 10, 0, false},
                  {490, 11, 1, true}, {480, 100, 0, true}, {105, 1, 1, false}, {105, 1, 0, true}};
    for (unsigned i = 0; i < via_array_len(second); i++) {
        CHECK(up());
        struct via_span first[] = {{mem + 100, 10}, {mem + 500, 10}}, buf = {mem + second[i].off, second[i].len};
        CHECK_EQ(via_dma_map(&check.dma, first, 1, 1, &m[0]), 0);
        CHECK_EQ(via_dma_map(&check.dma, &buf, second[i].out, !second[i].out, &m[1]), 0);
        CHECK_EQ(told[VIA_MISUSE_OVERLAP], second[i].bad);
        CHECK(!second[i].bad || only(VIA_MISUSE_OVERLAP, &m[1]));
    }
    CHECK(up()); /* within one mapping, too */
    struct via_span twice[] = {{b1, 10}, {b2, 10}, {b2 + 9, 1}}, in_out[] = {{b1, 10}, {b1, 1}}, both_out[] = {{b1, 10}, {b1, 1}};
    CHECK_EQ(via_dma_map(&check.dma, twice, 1, 2, &m[0]), 0);
    CHECK(only(VIA_MISUSE_OVERLAP, &m[0]));
    CHECK(up());
    CHECK_EQ(via_dma_map(&check.dma, in_out, 1, 1, &m[0]), 0);
    CHECK(only(VIA_MISUSE_OVERLAP, &m[0]));
    CHECK(up());
    CHECK_EQ(via_dma_map(&check.dma, both_out, 2, 0, &m[0]), 0);
    CHECK_EQ(check.found, 0);
}

static void written(void)
{
    CHECK(up());
    struct via_span buf[] = {{b1, 10}, {b2, 10}, {b3, 10}};
    for (uint32_t n = 20; n <= 21; n++) {
        CHECK_EQ(via_dma_map(&check.dma, buf, 1, 2, &m[0]), 0);
        via_dma_unmap(&check.dma, &m[0], n);
        CHECK_EQ(check.found, n - 20);
    }
    CHECK(only(VIA_MISUSE_WRITTEN, &m[0]));
    CHECK_EQ(via_dma_map(&check.dma, buf, 1, 2, &m[0]), 0);
    CHECK_EQ(via_dma_sync(&check.dma, &m[0], VIA_OWNER_CPU, 21), 0);
    CHECK_EQ(told[VIA_MISUSE_WRITTEN], 2);
}

static void cpu_wrote(void)
{
    CHECK(up());
    struct via_span buf[] = {{b1, 100}, {b2, 13}};
    CHECK_EQ(via_dma_map(&check.dma, buf, 2, 0, &m[0]), 0);
    b2[12]++;
    via_dma_unmap(&check.dma, &m[0], 0);
    CHECK(only(VIA_MISUSE_CPU_WROTE, &m[0]));
    CHECK(up());
    CHECK_EQ(via_dma_map(&check.dma, buf, 1, 1, &m[0]), 0);
    CHECK_EQ(via_dma_sync(&check.dma, &m[0], VIA_OWNER_CPU, 0), 0);
    b1[50]++; /* allowed now */
    CHECK_EQ(via_dma_sync(&check.dma, &m[0], VIA_OWNER_DEVICE, 0), 0);
    CHECK_EQ(check.found, 0);
    b1[51]++;
    CHECK_EQ(via_dma_sync(&check.dma, &m[0], VIA_OWNER_CPU, 0), 0);
    CHECK(only(VIA_MISUSE_CPU_WROTE, &m[0]));
    b1[52]++;
    via_dma_unmap(&check.dma, &m[0], 0);
    CHECK_EQ(check.found, 1);
}

static void direction(void)
{
    struct via_span buf[] = {{b1, 100}, {b2, 13}};
    for (int way = 0; way < 3; way++) {
        CHECK(up());
        CHECK_EQ(via_dma_map(&check.dma, buf, 1, 1, &m[0]), 0);
        if (way)
            CHECK_EQ(via_dma_sync(&check.dma, &m[0], VIA_OWNER_CPU, 0), 0);
        CHECK_EQ(check.found, 0);
        CHECK_EQ(via_dma_sync(&check.dma, &m[0], way == 1 ? VIA_OWNER_CPU : VIA_OWNER_DEVICE, way == 2), 0);
        CHECK(only(VIA_MISUSE_DIRECTION, &m[0]));
    }
}

static void untracked(void)
{
    CHECK(up());
    struct via_span buf[8];
    for (unsigned i = 0; i < 6; i++) {
        buf[i] = (struct via_span){mem + i, 1};
        CHECK_EQ(via_dma_map(&check.dma, &buf[i], 0, 1, &m[i]), 0);
    }
    CHECK(only(VIA_MISUSE_UNTRACKED, &m[5]));
    for (unsigned i = 6; i--;)
        via_dma_unmap(&check.dma, &m[i], 0);
    CHECK_EQ(check.found, 1);
    via_dma_unmap(&check.dma, &m[5], 0); /* is judged again */
    CHECK_EQ(told[VIA_MISUSE_DOUBLE_UNMAP], 1);
}

static void switched_off_and_on(void)
{
    CHECK(up());
    struct via_span buf[] = {{b1, 10}, {b2, 10}, {b3, 10}};
    CHECK_EQ(via_dma_map(&check.dma, &buf[0], 1, 0, &m[0]), 0);
    CHECK_EQ(via_dma_map(&check.dma, &buf[2], 1, 0, &m[2]), 0);
    check.on = false;
    CHECK_EQ(via_dma_map(&check.dma, &buf[1], 1, 0, &m[1]), 0);
    b1[0]++;
    b3[0]++;
    via_dma_unmap(&check.dma, &m[0], 99);
    CHECK_EQ(via_dma_sync(&check.dma, &m[2], VIA_OWNER_CPU, 0), 0);
    check.on = true;
    via_dma_unmap(&check.dma, &m[1], 99);
    via_dma_unmap(&check.dma, &m[2], 99);
    CHECK_EQ(via_check_finish(&check), 0);
    via_dma_unmap(&check.dma, &m[1], 0);
    CHECK(only(VIA_MISUSE_DOUBLE_UNMAP, &m[1]));
    CHECK_EQ(via_check_init(&check, &direct.dma, entry, 0, report), -VIA_EINVAL);
    CHECK_EQ(via_check_init(&check, NULL, entry, 1, report), -VIA_EINVAL);
}

TAP_MAIN(TEST(right_use_is_silent), TEST(leak), TEST(double_unmap_is_not_passed_on), TEST(changed), TEST(overlap), TEST(written),
         TEST(cpu_wrote), TEST(direction), TEST(untracked), TEST(switched_off_and_on))
