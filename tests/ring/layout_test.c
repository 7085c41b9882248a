/* SPDX-License-Identifier: BSD-2-Clause */
/* Where the areas lie (2.7), and the notification arithmetic (2.7.7.2, 2.7.10.1). */
#include "ring_mem.h"

static void v2_7_areas_are_whole_aligned_and_apart(void)
{
    for (unsigned num = 1; num <= VIA_RING_NUM_MAX; num *= 2)
        for (size_t align = 4; align <= 65536; align *= 2) {
            struct via_split_layout l;
            CHECK_EQ(via_split_layout(&l, num, align), 0);
            CHECK_EQ(l.desc, 0);
            CHECK_EQ(l.avail, 16 * num);
            CHECK(l.used >= l.avail + 6 + 2 * num && l.used < l.avail + 6 + 2 * num + align);
            CHECK_EQ(l.used % align, 0);
            CHECK_EQ(l.total, l.used + 6 + 8 * num);
        }
}

static void v2_7_a_size_is_a_power_of_two(void)
{
    struct via_split_layout l;
    for (unsigned num = 0; num < 70000; num++) {
        bool good = num == 1 || num == 2 || num == 4 || num == 8 || num == 16 || num == 32 || num == 64 || num == 128 || num == 256;
        good = good || num == 512 || num == 1024 || num == 2048 || num == 4096 || num == 8192 || num == 16384 || num == 32768;
        CHECK_EQ(via_split_layout(&l, num, 4), good ? 0 : -VIA_EINVAL);
    }
    CHECK_EQ(via_split_layout(&l, UINT_MAX, 4), -VIA_EINVAL);
    CHECK_EQ(via_split_layout(&l, 8, 0), -VIA_EINVAL);
    CHECK_EQ(via_split_layout(&l, 8, 2), -VIA_EINVAL);
    CHECK_EQ(via_split_layout(&l, 8, 12), -VIA_EINVAL);
    CHECK_EQ(via_split_layout(&l, 8, SIZE_MAX / 2 + 1), 0);
    CHECK_EQ(l.used, SIZE_MAX / 2 + 1);
}

/* Every event, from bases around the wrap and elsewhere, 600 steps on: as if each entry on the way had been compared with the event. */
static void v2_7_7_2_passing_an_event_is_writing_its_entry(void)
{
    static const uint16_t base[] = {0, 1, 32767, 65300, 65535};
    for (size_t b = 0; b < via_array_len(base); b++)
        for (unsigned event = 0; event < 65536; event += b ? 7 : 1) {
            bool passed = false;
            for (unsigned step = 0; step < 600; step++) {
                uint16_t now = (uint16_t)(base[b] + step);
                if (via_ring_passed((uint16_t)event, now, base[b]) != passed)
                    CHECK_EQ(via_ring_passed((uint16_t)event, now, base[b]), passed);
                passed = passed || now == event;
            }
        }
}

/* The longest way that a ring can go at once. */
static void v2_7_7_2_the_whole_of_the_largest_ring_is_passed(void)
{
    for (unsigned event = 0; event < 65536; event++)
        CHECK_EQ(via_ring_passed((uint16_t)event, (uint16_t)(40000 + 32768), 40000), event >= 40000 || event < 7232);
}

static void v2_7_1_areas_are_checked(void)
{
    struct ring r;
    CHECK(ring_open(&r, 8, 4, true, 0));
    struct via_dq dq;
    struct via_vq vq;
    struct via_dq_cfg d = r.dq.cfg;
    struct via_vq_cfg v = r.vq.cfg;
#define REFUSED(cfg, init, q, change)                                                                                                      \
    do {                                                                                                                                   \
        __typeof__(cfg) x = cfg;                                                                                                           \
        change;                                                                                                                            \
        CHECK_EQ(init(&q, &x), -VIA_EINVAL);                                                                                               \
    } while (0)
#define BOTH(change)                                                                                                                       \
    REFUSED(d, via_dq_init, dq, change);                                                                                                   \
    REFUSED(v, via_vq_init, vq, change)
    BOTH(x.num = 0);
    BOTH(x.num = 3);
    BOTH(x.num = 65535);
    BOTH(x.desc = (char *)r.desc + 8);
    BOTH(x.avail = (char *)r.avail + 1);
    BOTH(x.used = (char *)r.used + 2);
    BOTH(x.desc = NULL);
    BOTH(x.avail = NULL);
    BOTH(x.used = NULL);
    REFUSED(v, via_vq_init, vq, x.slot = NULL);
    REFUSED(v, via_vq_init, vq, x.indirect_len = 0);
    REFUSED(v, via_vq_init, vq, x.indirect_len = 9);
    REFUSED(v, via_vq_init, vq, x.indirect = (char *)r.table + 4);
    CHECK_EQ(via_dq_init(&dq, &d), 0);
    CHECK_EQ(via_vq_init(&vq, &v), 0);
    ring_close(&r);
}

TAP_MAIN(TEST(v2_7_areas_are_whole_aligned_and_apart), TEST(v2_7_a_size_is_a_power_of_two),
         TEST(v2_7_7_2_passing_an_event_is_writing_its_entry), TEST(v2_7_7_2_the_whole_of_the_largest_ring_is_passed),
         TEST(v2_7_1_areas_are_checked))
