/* SPDX-License-Identifier: BSD-2-Clause */
/* iova against a plain map of who has which page: each sequence of a small space, and long random ones of a larger one. */
#include <stdlib.h>
#include <string.h>

#include <tap.h>
#include <viaduct/iommu.h>

enum { PAGE_SHIFT = 12, MAX = 8192, LIVE = 400 };

static struct via_iova_space space;
static struct via_iova_node node[MAX];
static uint8_t owner[MAX]; /* by page from space.first on: 0 free, 1 given out, 2 reserved */
static uint64_t seed = 1;

static uint32_t below(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % n);
}

static uint64_t rounded(uint64_t pages)
{
    uint64_t k = 1;
    while (k < pages && k < 1024)
        k *= 2;
    return (pages + k - 1) / k * k;
}

static uint64_t alignment(uint64_t pages) { return rounded(pages) < 1024 ? rounded(pages) : 1024; }

/* A place for so many pages that nobody with a mark above `most` has; what alloc must find. */
static bool has_room(uint64_t pages, uint8_t most)
{
    uint64_t size = rounded(pages), step = alignment(pages);
    for (uint64_t at = -space.first & (step - 1); at + size <= space.pages; at += step) {
        uint64_t k = 0;
        while (k < size && owner[at + k] <= most)
            k++;
        if (k == size)
            return true;
    }
    return false;
}

static bool up(uint64_t start, uint64_t last, uint64_t mask, const struct via_iova_range *reserved, unsigned n, size_t nodes)
{
    struct via_iova_cfg cfg = {PAGE_SHIFT, {start, last}, mask, reserved, n};
    int r = via_iova_init(&space, &cfg, node, nodes);
    if (r < 0)
        return false;
    memset(owner, 0, sizeof(owner));
    for (unsigned i = 0; i < n; i++)
        for (uint64_t p = 0; p < space.pages; p++)
            if ((space.first + p) << PAGE_SHIFT <= reserved[i].last && reserved[i].start <= (((space.first + p) << PAGE_SHIFT) | 4095))
                owner[p] = 2;
    return true;
}

static bool do_alloc(uint64_t pages, via_iova *at)
{
    int r = via_iova_alloc(&space, pages, at);
    CHECK_OR_FALSE(r == (!has_room(pages, 1) ? -VIA_E2BIG : !has_room(pages, 0) ? -VIA_EAGAIN : 0));
    if (r < 0) {
        at->v = UINT64_MAX;
        return true;
    }
    uint64_t page = at->v >> PAGE_SHIFT, size = rounded(pages);
    CHECK_OR_FALSE(at->v % 4096 == 0 && page % alignment(pages) == 0);
    CHECK_OR_FALSE(page >= space.first && size <= space.pages && page - space.first <= space.pages - size);
    for (uint64_t k = 0; k < size; k++)
        CHECK_OR_FALSE(owner[page - space.first + k] == 0);
    memset(owner + (page - space.first), 1, size);
    return true;
}

static void do_free(via_iova at, uint64_t pages)
{
    via_iova_free(&space, at, pages);
    memset(owner + ((at.v >> PAGE_SHIFT) - space.first), 0, rounded(pages));
}

/* Every sequence of 6 steps on spaces of 1 to 9 pages at each alignment, each page of which may be the reserved one. */
static bool walk(unsigned depth, unsigned live, via_iova *at, const uint64_t *size_now)
{
    uint64_t size[8];
    struct via_iova_space was = space;
    struct via_iova_node nodes_were[9];
    uint8_t owner_was[9];
    memcpy(nodes_were, node, sizeof(nodes_were));
    memcpy(owner_was, owner, sizeof(owner_was));
    memcpy(size, size_now, sizeof(size));
    for (unsigned choice = 0; depth && choice < 4 + live; choice++) {
        via_iova now[8];
        memcpy(now, at, sizeof(now));
        if (choice < 4) {
            static const uint64_t sizes[] = {1, 2, 3, 5};
            size[live] = sizes[choice];
            if (!do_alloc(size[live], &now[live]) || (now[live].v != UINT64_MAX && !walk(depth - 1, live + 1, now, size)))
                return false;
        } else {
            do_free(now[choice - 4], size[choice - 4]);
            now[choice - 4] = now[live - 1];
            size[choice - 4] = size[live - 1];
            if (!walk(depth - 1, live - 1, now, size))
                return false;
        }
        space = was;
        memcpy(node, nodes_were, sizeof(nodes_were));
        memcpy(owner, owner_was, sizeof(owner_was));
        memcpy(size, size_now, sizeof(size));
    }
    return true;
}

static void every_sequence_of_small_spaces(void)
{
    for (uint64_t first = 8; first < 16; first++)
        for (uint64_t pages = 1; pages <= 9; pages += pages < 4 ? 1 : 2)
            for (uint64_t hole = 0; hole <= pages; hole += 2) { /* the last one: none */
                struct via_iova_range reserved = {((first + hole) << PAGE_SHIFT) + 100, ((first + hole) << PAGE_SHIFT) + 100};
                via_iova at[8] = {{0}};
                uint64_t size[8] = {0};
                if (up(first << PAGE_SHIFT, ((first + pages) << PAGE_SHIFT) - 1, UINT64_MAX, &reserved, hole < pages, MAX))
                    CHECK(walk(6, 0, at, size));
                else
                    CHECK(pages == 1 && hole == 0);
            }
}

static bool all_comes_back(void)
{
    CHECK_OR_FALSE(space.used == 0);
    uint64_t pages = space.largest;
    via_iova at;
    CHECK_OR_FALSE(do_alloc(pages, &at) && at.v != UINT64_MAX);
    do_free(at, pages);
    uint32_t n = 0;
    while (do_alloc(1, &at) && at.v != UINT64_MAX)
        n++;
    CHECK_OR_FALSE(n == space.usable);
    return true;
}

static void random_sequences(void)
{
    static const struct via_iova_range reserved[] = {{0x1fff000, 0x1fff000}, {0xfee000, 0xfeffff}, {0x400000, 0x403fff}};
    static const uint64_t from[] = {0x3ff000, 0x400000, UINT64_MAX - 0x1801fff};
    for (unsigned round = 0; round < 3 * via_array_len(from); round++) {
        struct {
            via_iova at;
            uint64_t pages;
        } live[LIVE];
        unsigned n = 0;
        uint64_t start = from[round / 3];
        CHECK(up(start, start + 0x1801fff, UINT64_MAX, reserved, 3, MAX));
        for (unsigned i = 0; i < 6000; i++) {
            bool grow = n < LIVE && below(100) < (i / 1000 % 2 ? 35u : 70u);
            if (grow) {
                uint32_t kind = below(20);
                live[n].pages = kind < 12 ? 1 + below(4) : kind < 18 ? 1 + below(32) : kind < 19 ? 1 + below(300) : 1 + below(3000);
                CHECK(do_alloc(live[n].pages, &live[n].at));
                n += live[n].at.v != UINT64_MAX;
            } else if (n) {
                unsigned k = below(n);
                do_free(live[k].at, live[k].pages);
                live[k] = live[--n];
            }
        }
        while (n--)
            do_free(live[n].at, live[n].pages);
        CHECK(all_comes_back());
        CHECK(space.high_water > 400);
    }
}

static void masks_windows_and_ends(void)
{
    static const struct via_iova_range reserved[] = {{0x5fff, 0x6000}, {0xfffffffffffff000, UINT64_MAX}, {0, 0}};
    via_iova at;
    CHECK(up(1, 0x8ffe, 0x7fff, reserved, 3, MAX)); /* whole pages below the mask: 1 to 7, without 5 and 6 */
    CHECK(space.first == 1 && space.pages == 7 && space.usable == 5 && space.largest == 2);
    CHECK_EQ(via_iova_alloc(&space, 3, &at), -VIA_E2BIG);
    CHECK_EQ(via_iova_alloc(&space, UINT64_MAX, &at), -VIA_E2BIG);
    CHECK_EQ(via_iova_alloc(&space, 0, &at), -VIA_EINVAL);
    CHECK(all_comes_back());
    CHECK(up(0, UINT64_MAX, UINT64_MAX, NULL, 0, MAX)); /* cut to the nodes there are */
    CHECK(space.pages == MAX && space.largest == MAX && all_comes_back());
    CHECK(up(0xffffffffffff0000, UINT64_MAX, UINT64_MAX, reserved, 3, MAX));
    CHECK(space.pages == 16 && space.usable == 15 && space.largest == 8 && all_comes_back());
    CHECK(up(0xffffffffffff0000, UINT64_MAX, UINT64_MAX, NULL, 0, MAX));
    CHECK(space.usable == 16 && space.largest == 16 && all_comes_back());
    CHECK(!up(0x1001, 0x2ffe, UINT64_MAX, NULL, 0, MAX));
    CHECK(!up(0x2000, 0x1fff, UINT64_MAX, NULL, 0, MAX));
    CHECK(!up(0x2000, 0x2fff, 0x1fff, NULL, 0, MAX));
    CHECK(!up(0x2000, 0x2fff, UINT64_MAX, NULL, 0, 0));
    CHECK(!up(0xfffffffffffff000, UINT64_MAX, UINT64_MAX, reserved, 3, MAX));
    struct via_iova_range back = {2, 1};
    CHECK(!up(0, 0xffff, UINT64_MAX, &back, 1, MAX));
    struct via_iova_cfg cfg = {.shift = 11, .range = {0, 0xffff}, .mask = UINT64_MAX};
    CHECK_EQ(via_iova_init(&space, &cfg, node, MAX), -VIA_EINVAL);
    cfg = (struct via_iova_cfg){.shift = 16, .range = {0x8000, 0x3ffff}, .mask = UINT64_MAX};
    CHECK_EQ(via_iova_init(&space, &cfg, node, MAX), 0);
    CHECK(space.usable == 3 && via_iova_alloc(&space, 1, &at) == 0 && at.v % 0x10000 == 0 && at.v >= 0x10000);
}

TAP_MAIN(TEST(every_sequence_of_small_spaces), TEST(random_sequences), TEST(masks_windows_and_ends))
