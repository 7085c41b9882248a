/* SPDX-License-Identifier: BSD-2-Clause */
/* The memory map against a plain model: which host byte, if any, stands behind each address. */
#include <string.h>

#include <tap.h>
#include <viaduct/xlate.h>

#define SMALL 7u /* addresses in the exhaustive domain */
#define LARGE 8192u

static struct via_memmap map;
static uint8_t host[4 * LARGE];
static struct {
    uint8_t *ptr;
    bool readonly;
} byte_at[LARGE]; /* the model */
static uint32_t seed = 1;

static uint32_t rnd(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)seed * n) >> 32);
}

static void model_put(const struct via_region *r, uint64_t base, bool there)
{
    for (uint64_t i = 0; i < r->len; i++) {
        byte_at[r->gpa - base + i].ptr = there ? r->ptr + i : NULL;
        byte_at[r->gpa - base + i].readonly = r->readonly;
    }
}

/* What the model says of one resolve, given that no region is contiguous in host memory with its neighbour. */
static bool agrees(uint64_t base, unsigned domain, uint64_t off, uint64_t len, unsigned perm)
{
    struct via_span span = {0};
    int got = via_xlate_resolve(&map.xlate, (via_iova){base + off}, len, perm, &span);
    bool wraps = len != 0 && len - 1 > UINT64_MAX - (base + off);
    bool good = len != 0 && !wraps && off < domain && byte_at[off].ptr && !((perm & VIA_PERM_W) && byte_at[off].readonly);
    if (!good) {
        CHECK_OR_FALSE(got == -VIA_EFAULT);
        return true;
    }
    uint64_t run = 1;
    while (run < len && off + run < domain && byte_at[off + run].ptr == byte_at[off].ptr + run)
        run++;
    CHECK_OR_FALSE(got == 0);
    CHECK_OR_FALSE(span.ptr == byte_at[off].ptr);
    CHECK_OR_FALSE(span.len == run);
    return true;
}

static bool sweep(uint64_t base)
{
    for (uint64_t off = 0; off <= SMALL; off++)
        for (uint64_t len = 0; len <= SMALL + 2; len++)
            for (unsigned perm = 0; perm < 4; perm++) {
                if (base + off < base)
                    continue;
                if (!agrees(base, SMALL, off, len, perm))
                    return false;
            }
    return true;
}

/* Each pair of regions in 7 addresses, at the bottom and at the very top of the address space, in both orders, one of them read-only. */
static bool pair(uint64_t base, struct via_region a, struct via_region b)
{
    struct via_region out;
    memset(byte_at, 0, sizeof(byte_at));
    via_memmap_init(&map);
    CHECK_OR_FALSE(sweep(base));
    CHECK_OR_FALSE(via_memmap_add(&map, &a) == 0);
    model_put(&a, base, true);
    bool meet = a.gpa <= b.gpa + (b.len - 1) && b.gpa <= a.gpa + (a.len - 1);
    CHECK_OR_FALSE(via_memmap_add(&map, &b) == (meet ? -VIA_EEXIST : 0));
    if (!meet)
        model_put(&b, base, true);
    CHECK_OR_FALSE(sweep(base));
    CHECK_OR_FALSE(via_memmap_remove(&map, a.gpa, a.len, a.uva, &out) == 0 && out.ptr == a.ptr);
    model_put(&a, base, false);
    return sweep(base);
}

static void exhaustive_pairs(void)
{
    const uint64_t bases[] = {0, 0x1000, UINT64_MAX - (SMALL - 1)};
    for (unsigned k = 0; k < via_array_len(bases); k++)
        for (uint64_t s = 0; s < SMALL; s++)
            for (uint64_t n = 1; s + n <= SMALL; n++)
                for (uint64_t t = 0; t < SMALL; t++)
                    for (uint64_t m = 1; t + m <= SMALL; m++) {
                        struct via_region a = {.gpa = bases[k] + s, .len = n, .uva = 0x100, .ptr = host};
                        struct via_region b = {.gpa = bases[k] + t, .len = m, .uva = 0x200, .ptr = host + 100, .readonly = true};
                        CHECK(pair(bases[k], a, b));
                    }
}

/* 20 000 steps of adding, removing and resolving; most of the time some hundred regions are there. */
static void random_life(void)
{
    static struct via_region in[VIA_MEMMAP_REGIONS];
    unsigned n = 0;
    memset(byte_at, 0, sizeof(byte_at));
    via_memmap_init(&map);
    for (unsigned step = 0; step < 20000; step++) {
        struct via_region r = {.gpa = rnd(LARGE - 32), .len = 1 + rnd(31), .readonly = rnd(2), .ptr = host + rnd(4 * LARGE - 64)};
        r.uva = r.gpa + 0x7f0000000000;
        bool meet = false;
        for (uint64_t i = 0; i < r.len; i++)
            meet |= byte_at[r.gpa + i].ptr != NULL;
        int got = via_memmap_add(&map, &r);
        CHECK_EQ(got, meet ? -VIA_EEXIST : n == VIA_MEMMAP_REGIONS ? -VIA_ENOSPC : 0);
        if (got == 0) {
            model_put(&r, 0, true);
            in[n++] = r;
        }
        if (n && rnd(100) < (n > 300 ? 20 : 2)) {
            unsigned k = rnd(n);
            struct via_region out;
            CHECK_EQ(via_memmap_remove(&map, in[k].gpa, in[k].len + 1, in[k].uva, &out), -VIA_ENOENT);
            CHECK_EQ(via_memmap_remove(&map, in[k].gpa, in[k].len, in[k].uva + 1, &out), -VIA_ENOENT);
            CHECK_EQ(via_memmap_remove(&map, in[k].gpa, in[k].len, in[k].uva, &out), 0);
            CHECK_EQ(via_memmap_remove(&map, in[k].gpa, in[k].len, in[k].uva, &out), -VIA_ENOENT);
            model_put(&in[k], 0, false);
            in[k] = in[--n];
        }
        CHECK_EQ(map.n, n);
        uint64_t at = rnd(LARGE);
        CHECK(agrees(0, LARGE, at, 1 + rnd(64), 1 + rnd(3)));
        CHECK(agrees(0, LARGE, at + rnd(2), 1, VIA_PERM_R)); /* again, near: the last hit serves, or must not */
    }
}

static void refuses_what_is_no_region(void)
{
    via_memmap_init(&map);
    CHECK_EQ(via_memmap_add(&map, &(struct via_region){.gpa = 5, .len = 0, .uva = 5, .ptr = host}), -VIA_EINVAL);
    CHECK_EQ(via_memmap_add(&map, &(struct via_region){.gpa = UINT64_MAX, .len = 2, .uva = 5, .ptr = host}), -VIA_EINVAL);
    CHECK_EQ(via_memmap_add(&map, &(struct via_region){.gpa = 5, .len = 2, .uva = UINT64_MAX, .ptr = host}), -VIA_EINVAL);
    CHECK_EQ(via_memmap_add(&map, &(struct via_region){.gpa = UINT64_MAX, .len = 1, .uva = UINT64_MAX, .ptr = host}), 0);
    CHECK_EQ(via_memmap_add(&map, &(struct via_region){.gpa = 0, .len = UINT64_MAX, .uva = 0, .ptr = host}), 0);
    CHECK_EQ(via_memmap_add(&map, &(struct via_region){.gpa = 7, .len = 1, .uva = 7, .ptr = host}), -VIA_EEXIST);
}

static void user_addresses_must_not_overlap_either(void)
{
    via_memmap_init(&map);
    CHECK_EQ(via_memmap_add(&map, &(struct via_region){.gpa = 0, .len = 16, .uva = 0x1000, .ptr = host}), 0);
    CHECK_EQ(via_memmap_add(&map, &(struct via_region){.gpa = 0x100, .len = 16, .uva = 0x100f, .ptr = host}), -VIA_EEXIST);
    CHECK_EQ(via_memmap_add(&map, &(struct via_region){.gpa = 0x100, .len = 16, .uva = 0xff1, .ptr = host}), -VIA_EEXIST);
    CHECK_EQ(via_memmap_add(&map, &(struct via_region){.gpa = 0x100, .len = 16, .uva = 0x1010, .ptr = host + 64}), 0);
}

static void finds_user_addresses(void)
{
    via_memmap_init(&map);
    CHECK(!via_memmap_uva(&map, (via_uva){0}, 1));
    CHECK_EQ(via_memmap_add(&map, &(struct via_region){.gpa = 0, .len = 16, .uva = 0x1000, .ptr = host}), 0);
    CHECK_EQ(via_memmap_add(&map, &(struct via_region){.gpa = 16, .len = 16, .uva = 0x1010, .ptr = host + 64}), 0);
    CHECK_EQ(via_memmap_add(&map, &(struct via_region){.gpa = 32, .len = 2, .uva = UINT64_MAX - 1, .ptr = host + 128}), 0);
    CHECK(via_memmap_uva(&map, (via_uva){0x1000}, 16) == host);
    CHECK(via_memmap_uva(&map, (via_uva){0x100f}, 1) == host + 15);
    CHECK(via_memmap_uva(&map, (via_uva){0x1010}, 16) == host + 64);
    CHECK(via_memmap_uva(&map, (via_uva){UINT64_MAX}, 1) == host + 129);
    CHECK(!via_memmap_uva(&map, (via_uva){0x100f}, 2)); /* in no single region */
    CHECK(!via_memmap_uva(&map, (via_uva){0xfff}, 1));
    CHECK(!via_memmap_uva(&map, (via_uva){0x1000}, 0));
    CHECK(!via_memmap_uva(&map, (via_uva){UINT64_MAX}, 2));
    CHECK(!via_memmap_uva(&map, (via_uva){0x1000}, UINT64_MAX));
}

static void tells_what_is_contiguous_at_a_user_address(void)
{
    struct via_span span;
    via_memmap_init(&map);
    CHECK_EQ(via_memmap_at(&map, (via_uva){0}, 1, &span), -VIA_EFAULT);
    CHECK_EQ(via_memmap_add(&map, &(struct via_region){.gpa = 0, .len = 16, .uva = 0x1000, .ptr = host}), 0);
    CHECK_EQ(via_memmap_add(&map, &(struct via_region){.gpa = 32, .len = 2, .uva = UINT64_MAX - 1, .ptr = host + 128}), 0);
    CHECK(via_memmap_at(&map, (via_uva){0x1000}, 4, &span) == 0 && span.ptr == host && span.len == 4);
    CHECK(via_memmap_at(&map, (via_uva){0x100e}, 4, &span) == 0 && span.ptr == host + 14 && span.len == 2);
    CHECK(via_memmap_at(&map, (via_uva){UINT64_MAX}, UINT64_MAX, &span) == 0 && span.ptr == host + 129 && span.len == 1);
    CHECK_EQ(via_memmap_at(&map, (via_uva){0x1000}, 0, &span), -VIA_EFAULT);
    CHECK_EQ(via_memmap_at(&map, (via_uva){0xfff}, 2, &span), -VIA_EFAULT);
    CHECK_EQ(via_memmap_at(&map, (via_uva){0x1010}, 1, &span), -VIA_EFAULT);
}

static void who_keeps_pointers_learns_of_a_removal(void)
{
    struct via_region out;
    via_memmap_init(&map);
    CHECK_EQ(via_memmap_add(&map, &(struct via_region){.gpa = 0, .len = 16, .uva = 0x1000, .ptr = host}), 0);
    uint64_t generation = map.xlate.generation;
    CHECK_EQ(via_memmap_remove(&map, 0, 15, 0x1000, &out), -VIA_ENOENT);
    CHECK(map.xlate.generation == generation);
    CHECK_EQ(via_memmap_remove(&map, 0, 16, 0x1000, &out), 0);
    CHECK(map.xlate.generation > generation);
}

static void takes_509_regions(void)
{
    struct via_region out;
    struct via_span span;
    via_memmap_init(&map);
    for (unsigned i = 0; i < VIA_MEMMAP_REGIONS; i++) /* descending: each is inserted before all others */
        CHECK_EQ(via_memmap_add(&map, &(struct via_region){.gpa = 16ull * (600 - i), .len = 8, .uva = 16ull * i, .ptr = host + i}), 0);
    CHECK_EQ(via_memmap_add(&map, &(struct via_region){.gpa = 0, .len = 8, .uva = 1 << 20, .ptr = host}), -VIA_ENOSPC);
    for (unsigned i = 0; i < VIA_MEMMAP_REGIONS; i++) {
        CHECK_EQ(via_xlate_resolve(&map.xlate, (via_iova){16ull * (600 - i) + 7}, 1, VIA_PERM_W, &span), 0);
        CHECK(span.ptr == host + i + 7);
    }
    for (unsigned i = 0; i < VIA_MEMMAP_REGIONS; i++) {
        CHECK_EQ(via_memmap_remove(&map, 16ull * (600 - i), 8, 16ull * i, &out), 0);
        CHECK_EQ(via_xlate_resolve(&map.xlate, (via_iova){16ull * (600 - i)}, 1, VIA_PERM_R, &span), -VIA_EFAULT);
    }
    CHECK_EQ(map.n, 0);
}

TAP_MAIN(TEST(exhaustive_pairs), TEST(random_life), TEST(refuses_what_is_no_region), TEST(user_addresses_must_not_overlap_either),
         TEST(finds_user_addresses), TEST(tells_what_is_contiguous_at_a_user_address), TEST(who_keeps_pointers_learns_of_a_removal),
         TEST(takes_509_regions))
