/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include <tap.h>
#include <viaduct/base.h>

static void ranges_never_wrap(void)
{
    CHECK(via_range_inside(0, 1, 0, 0));
    CHECK(via_range_inside(UINT64_MAX, 1, 0, UINT64_MAX));
    CHECK(!via_range_inside(UINT64_MAX, 2, 0, UINT64_MAX));
    CHECK(!via_range_inside(5, 0, 0, 10));
    for (uint64_t lo = 0; lo < 6; lo++)
        for (uint64_t last = lo; last < 6; last++)
            for (uint64_t start = 0; start < 8; start++)
                for (uint64_t len = 0; len < 8; len++) {
                    bool want = len > 0 && start >= lo && start + len - 1 <= last;
                    CHECK_EQ(via_range_inside(start, len, lo, last), want);
                }
}

/* Every way to cut 12 bytes in three spans, every offset, every length: the same as on one run of bytes. */
static void lists_behave_as_one_run(void)
{
    char mem[12], ref[12], got[16];
    for (int i = 0; i < 12; i++)
        ref[i] = (char)('a' + i);
    for (size_t a = 0; a <= 12; a++)
        for (size_t b = 0; a + b <= 12; b++)
            for (size_t off = 0; off <= 13; off++)
                for (size_t len = 0; len <= 13; len++) {
                    struct via_span s[3] = {{mem, a}, {mem + a, b}, {mem + a + b, 12 - a - b}}, out[3];
                    size_t want = off > 12 ? 0 : via_min64(len, 12 - off);
                    memcpy(mem, ref, 12);
                    memset(got, 0, sizeof(got));
                    CHECK_EQ(via_spans_read(s, 3, off, got, len), want);
                    CHECK(off > 12 || memcmp(got, ref + off, want) == 0);
                    memset(mem, 0, 12);
                    CHECK_EQ(via_spans_write(s, 3, off, ref, len), want);
                    CHECK(off > 12 || memcmp(mem + off, ref, want) == 0);
                    int n = via_spans_cut(s, 3, off, len, out, 3);
                    CHECK_EQ(n<0, len> 0 && want < len);
                    CHECK(n < 0 || via_spans_len(out, (unsigned)n) == len);
                }
}

static void cutting_needs_room(void)
{
    char m[4];
    struct via_span s[2] = {{m, 2}, {m + 2, 2}}, out[1];
    CHECK_EQ(via_spans_cut(s, 2, 1, 2, out, 1), -VIA_E2BIG);
    CHECK_EQ(via_spans_cut(s, 2, 2, 2, out, 1), 1);
    CHECK(out[0].ptr == m + 2);
}

static void first_fault_is_kept(void)
{
    struct via_fault f = {0};
    CHECK_EQ(via_fault_set(&f, -VIA_EPROTO, "first", 1, 2), -VIA_EPROTO);
    CHECK_EQ(via_fault_set(&f, -VIA_EINVAL, "second", 3, 4), -VIA_EINVAL);
    CHECK(strcmp(f.what, "first") == 0);
}

TAP_MAIN(TEST(ranges_never_wrap), TEST(lists_behave_as_one_run), TEST(cutting_needs_room), TEST(first_fault_is_kept))
