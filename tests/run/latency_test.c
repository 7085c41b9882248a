/* SPDX-License-Identifier: BSD-2-Clause */
/* latency and pattern: small parts of `viaduct drive` that must be right for its figures and verdicts to mean anything. */
#include <stdlib.h>
#include <string.h>

#include <tap.h>

#include <latency.h>
#include <pattern.h>

static uint64_t roll(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    return *x ^= *x << 17;
}

static int order(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Against the sorted list, over eight orders of magnitude. */
static void quantiles_are_close(void)
{
    static uint64_t v[20000];
    static struct via_latency h;
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < 20000; i++)
        via_latency_add(&h, v[i] = roll(&x) >> (24 + roll(&x) % 36));
    qsort(v, 20000, sizeof(v[0]), order);
    for (int p = 1; p < 100; p++) {
        uint64_t want = v[20000 * p / 100 - 1], got = via_latency_quantile(&h, p / 100.0);
        CHECK(got >= want);
        CHECK(got <= want + want / 16 + 1);
    }
    CHECK_EQ(via_latency_quantile(&h, 1), v[19999]);
    CHECK_EQ(h.max, v[19999]);
}

static void small_and_huge_times_have_a_place(void)
{
    static struct via_latency h;
    CHECK_EQ(via_latency_quantile(&h, 0.5), 0);
    for (uint64_t ns = 0; ns < 100; ns++)
        via_latency_add(&h, ns);
    CHECK_EQ(via_latency_quantile(&h, 0.11), 10);
    via_latency_add(&h, UINT64_MAX);
    CHECK_EQ(h.count, 101);
    CHECK(via_latency_quantile(&h, 1) == UINT64_MAX);
}

static void a_pattern_tells_of_any_byte(void)
{
    uint64_t block[64], offset, generation;
    via_pattern_fill(block, sizeof(block), 4096, 7);
    CHECK(via_pattern_check(block, sizeof(block), 4096, 7, &offset, &generation));
    for (size_t i = 0; i < sizeof(block); i++) {
        ((uint8_t *)block)[i] ^= 0x10;
        CHECK(!via_pattern_check(block, sizeof(block), 4096, 7, &offset, &generation));
        ((uint8_t *)block)[i] ^= 0x10;
    }
    CHECK(!via_pattern_check(block, sizeof(block), 8192, 7, &offset, &generation));
    CHECK_EQ(offset, 4096);
    CHECK(!via_pattern_check(block, sizeof(block), 4096, 8, &offset, &generation));
    CHECK_EQ(generation, 7);
}

/* A block of another write's halves is neither. */
static void torn_blocks_are_found(void)
{
    uint64_t a[64], b[64], offset, generation;
    via_pattern_fill(a, sizeof(a), 0, 1);
    via_pattern_fill(b, sizeof(b), 0, 2);
    memcpy(a + 32, b + 32, sizeof(a) / 2);
    CHECK(!via_pattern_check(a, sizeof(a), 0, 1, &offset, &generation));
    CHECK(!via_pattern_check(a, sizeof(a), 0, 2, &offset, &generation));
}

TAP_MAIN(TEST(quantiles_are_close), TEST(small_and_huge_times_have_a_place), TEST(a_pattern_tells_of_any_byte), TEST(torn_blocks_are_found))
