/* SPDX-License-Identifier: BSD-2-Clause */
/* Protected memory that can't be converted: calls that fail at any point, hosts that can't be told, limits, and what can't be made. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "protect_rig.h"

#ifdef __has_feature
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define SANITIZED false
#endif

/* ------------------------------------------------------------------ failures */

/* Every third page has the other state already: so there is a run of two, then one that is left alone, and so on. */
static bool stripe(struct place *p, bool share)
{
    for (size_t i = 0; i < PAGES; i += 3) {
        CHECK_OR_FALSE(convert(p, i, 1, share) == 0);
        p->state[i] = share ? SHARED : OWN;
    }
    fill_all(p);
    return true;
}

/* The page in doubt; PAGES: there is none. */
static size_t find_doubt(const struct place *p)
{
    size_t i = 0;
    while (i < PAGES && (via_protect_is_shared(&p->m.protect, page_of(p, i), 1) || via_protect_is_private(&p->m.protect, page_of(p, i), 1)))
        i++;
    return i;
}

/*
 * All pages are converted, and it fails on the way: at a call of the system, or when the host is told of the so-many-th page. What came
 * before is converted, one page is in doubt, and what comes behind is as it was, what it holds included. *failed: so far it came.
 */
static bool fail_once(const struct platform *platform, bool share, unsigned call, size_t told, bool *failed)
{
    struct place p;
    CHECK_OR_FALSE(place_open(&p, platform, !share) && stripe(&p, share));
    uint64_t calls = p.m.protect.stats.conversions;
    protect_fail_in = call;
    p.tell_fails_after = told;
    int r = convert(&p, 0, PAGES, share);
    protect_fail_in = 0;
    p.tell_fails_after = SIZE_MAX;
    *failed = r < 0;
    size_t doubt = find_doubt(&p);
    CHECK_OR_FALSE(r == 0 ? doubt == PAGES : doubt < PAGES && p.m.why.text[0] && (!call || doubt % 3 == 1));
    CHECK_OR_FALSE(told == SIZE_MAX || doubt == told / 2 * 3 + told % 2 + 1); /* exactly there */
    CHECK_OR_FALSE(p.m.protect.stats.conversions - calls == (r < 0 ? doubt / 3 + 1 : PAGES / 3));
    becomes(&p, 0, doubt, share);
    if (r < 0)
        p.state[doubt] = DOUBT;
    if (call && !share && doubt + 1 < PAGES && p.state[doubt + 1] == SHARED) /* of this run the content is lost, the state is not */
        fill(&p, doubt + 1, OPEN);
    CHECK_OR_FALSE(agrees(&p) && kept(&p));
    CHECK_OR_FALSE(p.m.protect.stats.failed == *failed);
    for (unsigned way = 0; way < 2 && r < 0; way++) { /* tried again, whichever way: without a doubt then */
        CHECK_OR_FALSE(convert(&p, doubt, 1, way == share) == 0);
        becomes(&p, doubt, 1, way == share);
        CHECK_OR_FALSE(agrees(&p) && kept(&p));
    }
    place_close(&p);
    return true;
}

static bool fails_anywhere(const struct platform *platform, bool share)
{
    bool failed = true;
    unsigned call = 0;
    while (failed)
        CHECK_OR_FALSE(fail_once(platform, share, ++call, SIZE_MAX, &failed));
    CHECK_OR_FALSE(call == (share ? 1 : 2) * (PAGES / 3) + 1); /* an mmap a run, or an fallocate and an mremap */
    return true;
}

static void a_failure_at_any_call_leaves_no_page_wrong(void) { on_each(fails_anywhere); }

static bool is_not_told(const struct platform *platform, bool share)
{
    bool failed = true;
    for (size_t told = 0; told < PAGES * 2 / 3 && platform->knows; told++)
        CHECK_OR_FALSE(fail_once(platform, share, 0, told, &failed) && failed);
    return true;
}

static void a_host_that_cannot_be_told_at_any_page(void) { on_each(is_not_told); }

/* One run of all pages: the host fails at one of them, then memory does; and the host perhaps again, told that it was for nothing. */
static bool fail_twice(const struct platform *platform, bool share, size_t told, bool once)
{
    struct place p;
    CHECK_OR_FALSE(place_open(&p, platform, !share));
    fill_all(&p);
    protect_fail_in = 1;
    p.tell_fails_after = told;
    p.tell_fails_once = once;
    CHECK_OR_FALSE(convert(&p, 0, PAGES, share) < 0);
    protect_fail_in = 0;
    p.tell_fails_after = SIZE_MAX;
    CHECK_OR_FALSE(p.m.protect.stats.failed == 1 && find_doubt(&p) == 0);
    p.state[0] = DOUBT;
    CHECK_OR_FALSE(agrees(&p)); /* nothing of what is private is out, whatever the host takes it for */
    for (size_t i = 1; i < PAGES; i++)
        CHECK_OR_FALSE(holds(page_of(&p, i), (share ? SECRET : OPEN) + i));
    CHECK_OR_FALSE(!told || !once || kept(&p)); /* the host knows what is */
    CHECK_OR_FALSE(convert(&p, 0, PAGES, share) == 0);
    becomes(&p, 0, PAGES, share);
    CHECK_OR_FALSE(agrees(&p) && kept(&p));
    place_close(&p);
    return true;
}

static bool fails_twice(const struct platform *platform, bool share)
{
    for (size_t told = 0; told <= PAGES && platform->knows; told += 7)
        CHECK_OR_FALSE(fail_twice(platform, share, told, true) && fail_twice(platform, share, told, false));
    return true;
}

static void a_host_that_cannot_be_told_back(void) { on_each(fails_twice); }

/* ------------------------------------------------------------------ what can't be made */

static void what_cannot_be_made_is_refused(void)
{
    struct via_private m;
    struct via_err err;
    CHECK_EQ(via_private_create(&m, &(struct via_private_cfg){.name = "none", .len = 0}, &err), -VIA_EINVAL);
    CHECK(strstr(err.text, "0 bytes is not whole pages of 4096"));
    CHECK_EQ(via_private_create(&m, &(struct via_private_cfg){.name = "odd", .len = PAGE + 1}, &err), -VIA_EINVAL);
    CHECK(strstr(err.text, "4097 bytes"));
    for (protect_fail_in = 1; protect_fail_in < 4;) {
        unsigned call = protect_fail_in;
        int r = via_private_create(&m, &(struct via_private_cfg){.name = "failing", .len = PAGE}, &err);
        CHECK_EQ(r, -VIA_ENOMEM);
        CHECK(err.text[0] && !m.memory.ptr && m.memory.fd == -1);
        protect_fail_in = call + 1;
    }
    protect_fail_in = 0;
}

static void views_that_cannot_be_made(void)
{
    const uint64_t len = 2 * PAGE, bit = UINT64_C(1) << 40;
    const struct via_private_cfg cfg = {.name = "viewed", .len = len};
    const struct via_private_view_cfg good = {.len = len, .base = PHYS, .bit = {bit, true}};
    struct {
        struct via_private_view_cfg cfg;
        const char *what;
    } bad[] = {
        {good, "not of whole pages"}, {good, "not of whole pages"}, {good, "wrap"},        {good, "not one bit"},
        {good, "not one bit"},        {good, "not one bit"},        {good, "not one bit"}, {good, "not inside its file"},
    };
    bad[0].cfg.len = 0;
    bad[1].cfg.len = len - 1;
    bad[2].cfg.base = UINT64_MAX - PAGE + 1;
    bad[3].cfg.bit.bit = 3 * bit;
    bad[4].cfg.base = bit | PHYS;
    bad[5].cfg.base = bit - PAGE;
    bad[6].cfg.bit.bit = PAGE / 2;
    bad[7].cfg.len = len + PAGE;
    struct via_private m;
    struct via_private_view v;
    struct via_err err;
    struct via_span span;
    CHECK_EQ(via_private_create(&m, &cfg, &err), 0);
    CHECK_EQ(via_private_view_open(&v, &(struct via_private_view_cfg){.fd = m.memory.fd, .len = len}, &err), 0);
    CHECK_EQ(via_xlate_resolve(&v.xlate, (via_iova){0}, 0, VIA_PERM_R, &span), -VIA_EFAULT);
    CHECK_EQ(via_xlate_resolve(&v.xlate, (via_iova){0}, 1, VIA_PERM_R, &span), 0);
    via_private_view_close(&v);
    for (unsigned i = 0; i < via_array_len(bad); i++)
        for (unsigned knows = 0; knows < 2; knows++) {
            bad[i].cfg.fd = m.memory.fd;
            bad[i].cfg.knows = knows;
            CHECK_EQ(via_private_view_open(&v, &bad[i].cfg, &err), -VIA_EINVAL);
            CHECK(strstr(err.text, bad[i].what));
            CHECK(!v.mapped.ptr && !v.shared);
        }
    via_private_destroy(&m);
}

/* ------------------------------------------------------------------ limits */

static void pieces_are_limited(void)
{
    struct via_private m;
    struct via_err err;
    const struct via_private_cfg cfg = {.name = "pieces", .len = PAGES * PAGE, .pieces = 5};
    CHECK_EQ(via_private_create(&m, &cfg, &err), 0);
    uint8_t *mem = m.memory.ptr;
    CHECK_EQ(via_protect_share(&m.protect, mem + 10 * PAGE, PAGE), 0);
    CHECK_EQ(via_protect_share(&m.protect, mem + 20 * PAGE, PAGE), 0);
    CHECK_EQ(m.pieces, 5);
    CHECK_EQ(via_protect_share(&m.protect, mem + 30 * PAGE, PAGE), -VIA_ENOSPC);
    CHECK(strstr(m.why.text, "7 pieces") && strstr(m.why.text, "vm.max_map_count"));
    CHECK_EQ(via_protect_share(&m.protect, mem + 11 * PAGE, 9 * PAGE), 0);
    CHECK_EQ(m.pieces, 3);
    CHECK_EQ(via_protect_unshare(&m.protect, mem + 30 * PAGE, PAGE), 0);
    CHECK(via_protect_is_private(&m.protect, mem + 30 * PAGE, PAGE));
    CHECK_EQ(via_protect_share(&m.protect, mem + 30 * PAGE, PAGE), 0);
    CHECK_EQ(m.pieces, 5);
    via_private_destroy(&m);
}

/* Not by us, but by the kernel, and before our own limit. What was converted stays so, and it goes on when others gave mappings back. */
static void the_kernel_may_be_the_first_to_refuse(void)
{
    struct via_private m;
    struct via_err err;
    char text[32] = "";
    FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
    size_t limit = f && fgets(text, sizeof(text), f) ? strtoul(text, NULL, 10) : 0;
    if (f)
        (void)fclose(f);
    if (!limit || limit > 200000 || SANITIZED) {
        tap_skip(SANITIZED ? "a sanitizer needs mappings of its own" : "vm.max_map_count is too large to be reached in a test");
        return;
    }
    struct via_private_cfg cfg = {.name = "mappings", .len = 2 * limit * PAGE};
    CHECK_EQ(via_private_create(&m, &cfg, &err), 0);
    CHECK_EQ(m.pieces_max, limit / 2); /* unless told otherwise, it never comes so far */
    via_private_destroy(&m);
    cfg.pieces = SIZE_MAX;
    CHECK_EQ(via_private_create(&m, &cfg, &err), 0);
    uint8_t *mem = m.memory.ptr, *others = mmap(NULL, 16 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t k = 0; k < 16; k += 2)
        CHECK_EQ(mprotect(others + k * PAGE, PAGE, PROT_NONE), 0);
    size_t i = 0;
    int r = 0;
    while (i < limit && (r = via_protect_share(&m.protect, mem + 2 * i * PAGE, PAGE)) == 0)
        memset(mem + 2 * i++ * PAGE, 1, 1);
    CHECK_EQ(r, -VIA_ENOMEM);
    CHECK(strstr(m.why.text, "vm.max_map_count"));
    CHECK(i > limit / 4 && m.pieces > limit / 2);
    for (size_t k = 0; k < i; k++)
        CHECK(via_protect_is_shared(&m.protect, mem + 2 * k * PAGE, PAGE) && mem[2 * k * PAGE] == 1);
    CHECK_EQ(mem[2 * i * PAGE] + mem[(2 * i + 1) * PAGE], 0); /* in doubt, and private: both are still there */
    CHECK_EQ(munmap(others, 16 * PAGE), 0);
    CHECK_EQ(via_protect_share(&m.protect, mem + 2 * i * PAGE, PAGE), 0);
    CHECK_EQ(via_protect_unshare(&m.protect, mem, 64 * PAGE), 0);
    via_private_destroy(&m);
}

TAP_MAIN(TEST(a_failure_at_any_call_leaves_no_page_wrong), TEST(a_host_that_cannot_be_told_at_any_page),
         TEST(a_host_that_cannot_be_told_back), TEST(what_cannot_be_made_is_refused), TEST(views_that_cannot_be_made),
         TEST(pieces_are_limited), TEST(the_kernel_may_be_the_first_to_refuse))
