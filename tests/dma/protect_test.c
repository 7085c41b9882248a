/* SPDX-License-Identifier: BSD-2-Clause */
/* protect, over a platform that fails at the page it is told to, and that keeps a book of its own. */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include <tap.h>
#include <viaduct/protect.h>

#define PAGE ((size_t)VIA_PROTECT_PAGE)
#define PAGES 200u
#define NEVER SIZE_MAX
#define ROUNDS 100u

enum state { OWN, SHARED, DOUBT };

struct fake {
    struct via_protect protect;
    enum state state[PAGES];
    size_t fail_after; /* so many pages more are converted */
    unsigned wrong;    /* calls that broke the contract */
};

static _Alignas(4096) uint8_t mem[PAGES * PAGE];
static _Atomic uint64_t map[VIA_PROTECT_WORDS(PAGES)];

static int fake_convert(struct via_protect *p, size_t page, size_t n, size_t *done, enum state to)
{
    struct fake *f = via_container_of(p, struct fake, protect);
    f->wrong += !n || n > p->pages || page > p->pages - n;
    *done = 0;
    for (size_t i = page; i < page + n; i++) {
        f->wrong += f->state[i] == to;
        f->wrong += via_protect_is_shared(p, p->mem + i * PAGE, 1) || via_protect_is_private(p, p->mem + i * PAGE, 1);
        memset(p->mem + i * PAGE, 0, PAGE);
        if (!f->fail_after) {
            f->state[i] = DOUBT;
            return -VIA_EIO;
        }
        f->fail_after -= f->fail_after != NEVER;
        f->state[i] = to;
        ++*done;
    }
    return 0;
}

static int fake_share(struct via_protect *p, size_t page, size_t n, size_t *done) { return fake_convert(p, page, n, done, SHARED); }

static int fake_unshare(struct via_protect *p, size_t page, size_t n, size_t *done) { return fake_convert(p, page, n, done, OWN); }

static const struct via_protect_ops fake_ops = {"fake", fake_share, fake_unshare};

static bool fake_init(struct fake *f, size_t pages, bool shared)
{
    memset(f, 0, sizeof(*f));
    f->fail_after = NEVER;
    for (size_t i = 0; i < pages; i++)
        f->state[i] = shared ? SHARED : OWN;
    return via_protect_init(&f->protect, &fake_ops, mem, pages, shared, map, via_array_len(map)) == 0;
}

static int convert(struct fake *f, size_t page, size_t n, bool share)
{
    return share ? via_protect_share(&f->protect, mem + page * PAGE, n * PAGE)
                 : via_protect_unshare(&f->protect, mem + page * PAGE, n * PAGE);
}

/* Of every run of pages it is known whether all are shared, and whether all are private. */
static bool agrees(const struct fake *f)
{
    size_t pages = f->protect.pages;
    CHECK_OR_FALSE(!f->wrong);
    for (size_t first = 0; first < pages; first++) {
        bool shared = true, own = true;
        for (size_t n = 1; n <= pages - first; n++) {
            shared &= f->state[first + n - 1] == SHARED;
            own &= f->state[first + n - 1] == OWN;
            CHECK_OR_FALSE(via_protect_is_shared(&f->protect, mem + first * PAGE, n * PAGE) == shared);
            CHECK_OR_FALSE(via_protect_is_private(&f->protect, mem + first * PAGE, n * PAGE) == own);
        }
    }
    return true;
}

/* ------------------------------------------------------------------ all there is, on five pages */

#define FEW 5u

static bool set(struct fake *f, const enum state *state)
{
    CHECK_OR_FALSE(fake_init(f, FEW, false));
    for (size_t i = 0; i < FEW; i++) {
        f->fail_after = state[i] == DOUBT ? 0 : NEVER;
        CHECK_OR_FALSE(state[i] == OWN || convert(f, i, 1, true) == (state[i] == DOUBT ? -VIA_EIO : 0));
    }
    CHECK_OR_FALSE(!memcmp(f->state, state, FEW * sizeof(*state)) && agrees(f));
    f->protect.stats = (struct via_protect_stats){0};
    return true;
}

static bool one_case(const enum state *was, size_t page, size_t n, bool share, size_t fail_after)
{
    struct fake f;
    enum state want[FEW], to = share ? SHARED : OWN;
    size_t left = fail_after, converted = 0, calls = 0;
    int result = 0;
    memcpy(want, was, sizeof(want));
    for (size_t i = page; i < page + n && !result; i++) {
        if (was[i] == to)
            continue;
        calls += i == page || was[i - 1] != was[i]; /* pages that are alike go in one call */
        result = left ? 0 : -VIA_EIO;
        want[i] = left ? to : DOUBT;
        converted += left != 0;
        left -= left && left != NEVER;
    }
    CHECK_OR_FALSE(set(&f, was));
    f.fail_after = fail_after;
    CHECK_OR_FALSE(convert(&f, page, n, share) == result);
    CHECK_OR_FALSE(!memcmp(f.state, want, sizeof(want)) && agrees(&f));
    const struct via_protect_stats *s = &f.protect.stats;
    CHECK_OR_FALSE(s->conversions == calls && s->failed == (result < 0));
    CHECK_OR_FALSE(s->shared == (share ? converted : 0) && s->unshared == (share ? 0 : converted));
    return true;
}

static void every_state_range_and_failure_of_five_pages(void)
{
    for (unsigned k = 0; k < 243; k++) {
        enum state was[FEW];
        for (unsigned i = 0, left = k; i < FEW; i++, left /= 3)
            was[i] = left % 3;
        for (size_t page = 0; page < FEW; page++)
            for (size_t n = 1; n <= FEW - page; n++)
                for (unsigned way = 0; way < 2 * (FEW + 1); way++)
                    CHECK(one_case(was, page, n, way % 2, way / 2 < FEW ? way / 2 : NEVER));
    }
}

/* ------------------------------------------------------------------ the rest */

static void runs_cross_words_of_the_map(void)
{
    struct fake f;
    for (size_t first = 60; first < 70; first++)
        for (size_t last = first; last < PAGES; last += last < 70 || last > 120 ? 1 : 50) {
            CHECK(fake_init(&f, PAGES, last % 2));
            CHECK_EQ(convert(&f, first, last - first + 1, last % 2 == 0), 0);
            CHECK_EQ(f.protect.stats.conversions, 1);
            for (size_t i = 0; i < PAGES; i++) {
                bool shared = (last % 2 == 0) == (i >= first && i <= last);
                CHECK(via_protect_is_shared(&f.protect, mem + i * PAGE, PAGE) == shared);
                CHECK(via_protect_is_private(&f.protect, mem + i * PAGE, PAGE) == !shared);
            }
        }
    CHECK(fake_init(&f, PAGES, false));
    f.fail_after = 66;
    CHECK_EQ(convert(&f, 1, PAGES - 1, true), -VIA_EIO);
    CHECK(agrees(&f) && f.state[66] == SHARED && f.state[67] == DOUBT && f.state[68] == OWN);
    CHECK_EQ(f.protect.stats.shared, 66);
}

static void bytes_are_judged_by_the_pages_that_hold_them(void)
{
    struct fake f;
    CHECK(fake_init(&f, 4, false));
    CHECK_EQ(convert(&f, 1, 2, true), 0);
    const struct via_protect *p = &f.protect;
    uint8_t *shared = mem + PAGE;
    CHECK(via_protect_is_shared(p, shared, 2 * PAGE) && via_protect_is_shared(p, shared + 2 * PAGE - 1, 1));
    CHECK(!via_protect_is_shared(p, shared - 1, 1) && !via_protect_is_shared(p, shared - 1, 2));
    CHECK(!via_protect_is_shared(p, shared + 1, 2 * PAGE) && !via_protect_is_shared(p, shared + 2 * PAGE, 1));
    CHECK(via_protect_is_private(p, mem, PAGE) && via_protect_is_private(p, mem + 4 * PAGE - 1, 1));
    CHECK(!via_protect_is_private(p, mem, PAGE + 1) && !via_protect_is_private(p, shared, 1));
    /* what is not mem's is neither */
    CHECK(!via_protect_is_private(p, mem + 4 * PAGE - 1, 2) && !via_protect_is_private(p, mem + 4 * PAGE, 1));
    CHECK(!via_protect_is_private(p, (uint8_t *)((uintptr_t)mem - 1), 2) && !via_protect_is_shared(p, &f, 1));
    CHECK(!via_protect_is_shared(p, shared, 0) && !via_protect_is_private(p, mem, 0));
    CHECK(!via_protect_is_shared(p, shared, SIZE_MAX) && !via_protect_is_private(p, mem, SIZE_MAX));
}

static void what_is_not_whole_pages_of_mem_is_refused(void)
{
    struct fake f;
    CHECK(fake_init(&f, 4, false));
    struct {
        uint8_t *ptr;
        size_t len;
    } bad[] = {{mem + 1, PAGE}, {mem, PAGE - 1}, {mem, 0}, {mem, 5 * PAGE}, {mem + 4 * PAGE, PAGE}, {mem, SIZE_MAX - PAGE + 1}};
    for (unsigned i = 0; i < via_array_len(bad); i++) {
        CHECK_EQ(via_protect_share(&f.protect, bad[i].ptr, bad[i].len), -VIA_EINVAL);
        CHECK_EQ(via_protect_unshare(&f.protect, bad[i].ptr, bad[i].len), -VIA_EINVAL);
        CHECK_EQ(via_protect_share_keep(&f.protect, bad[i].ptr, bad[i].len, (struct via_span){mem + 8 * PAGE, PAGE}), -VIA_EINVAL);
    }
    CHECK_EQ(f.protect.stats.conversions, 0);
    CHECK_EQ(via_protect_init(&f.protect, &fake_ops, mem + 1, 4, false, map, via_array_len(map)), -VIA_EINVAL);
    CHECK_EQ(via_protect_init(&f.protect, &fake_ops, mem, 0, false, map, via_array_len(map)), -VIA_EINVAL);
    CHECK_EQ(via_protect_init(&f.protect, &fake_ops, mem, SIZE_MAX / PAGE + 1, false, map, SIZE_MAX), -VIA_EINVAL);
    CHECK_EQ(via_protect_init(&f.protect, &fake_ops, mem, 65, false, map, 3), -VIA_EINVAL);
    CHECK_EQ(via_protect_init(&f.protect, &fake_ops, mem, 65, false, map, 4), 0);
    CHECK_EQ(via_protect_init(&f.protect, &fake_ops, mem, 64, false, map, 1), -VIA_EINVAL);
    CHECK_EQ(via_protect_init(&f.protect, &fake_ops, mem, 64, false, map, 2), 0);
}

/* Each page holds its number; what is not to be converted is not even read. */
static bool carry(size_t scratch_pages, bool share, size_t fail_after)
{
    enum { N = 12 };
    static uint8_t scratch[N * PAGE];
    struct fake f;
    CHECK_OR_FALSE(fake_init(&f, N, !share) && convert(&f, 4, 2, share) == 0);
    for (size_t i = 0; i < N; i++)
        memset(mem + i * PAGE, (int)i + 1, PAGE);
    memset(scratch, 0xff, sizeof(scratch));
    f.fail_after = fail_after;
    f.protect.stats.conversions = 0;
    const struct via_span span = {scratch, scratch_pages * PAGE + 5};
    int r = share ? via_protect_share_keep(&f.protect, mem + PAGE, 10 * PAGE, span)
                  : via_protect_unshare_keep(&f.protect, mem + PAGE, 10 * PAGE, span);
    CHECK_OR_FALSE(r == (fail_after < 8 ? -VIA_EIO : 0) && agrees(&f));
    if (r == 0)
        CHECK_OR_FALSE(f.protect.stats.conversions == (3 + scratch_pages - 1) / scratch_pages + (5 + scratch_pages - 1) / scratch_pages);
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < PAGE; k++)
            CHECK_OR_FALSE(mem[i * PAGE + k] == i + 1);
    for (size_t k = 0; k < scratch_pages * PAGE && scratch_pages < 3; k++)
        CHECK_OR_FALSE(scratch[k] == 0);
    for (size_t k = 5 * PAGE; k < sizeof(scratch); k++)
        CHECK_OR_FALSE(scratch[k] == 0xff);
    return true;
}

static void content_is_carried_over_whatever_fails(void)
{
    for (size_t scratch = 1; scratch <= 7; scratch++)
        for (size_t fail = 0; fail <= 8; fail++)
            CHECK(carry(scratch, true, fail) && carry(scratch, false, fail));
}

/* ------------------------------------------------------------------ lookers on another thread */

static struct fake watched;
static unsigned told[PAGES];                 /* plain: what the platform did to a page is known to whoever finds the page converted */
static atomic_uint begun, converted, looked; /* the round that has */

static int telling(struct via_protect *p, size_t page, size_t n, size_t *done)
{
    (void)p, (void)done;
    for (size_t i = page; i < page + n; i++)
        told[i]++;
    return 0;
}

static const struct via_protect_ops telling_ops = {"telling", telling, telling};

/* In odd rounds pages are only shared, in even ones only made private: what is found in a round holds till its end. */
static bool found(unsigned round, size_t page)
{
    const uint8_t *ptr = mem + page * PAGE;
    return round % 2 ? via_protect_is_shared(&watched.protect, ptr, PAGE) : via_protect_is_private(&watched.protect, ptr, PAGE);
}

static void await(const atomic_uint *what, unsigned round)
{
    while (atomic_load(what) < round)
        sched_yield();
}

static void *look(void *arg)
{
    unsigned *wrong = arg;
    for (unsigned round = 1; round <= ROUNDS; round++) {
        await(&begun, round);
        for (size_t i = 0; i < PAGES; i++) {
            bool over = false, is = false;
            while (!is && !over) {
                over = atomic_load(&converted) == round;
                is = found(round, i);
            }
            *wrong += !is || told[i] != round;
        }
        atomic_store(&looked, round);
    }
    return NULL;
}

static void who_finds_a_page_converted_finds_all_of_it(void)
{
    pthread_t thread;
    unsigned wrong = 0;
    CHECK_EQ(via_protect_init(&watched.protect, &telling_ops, mem, PAGES, false, map, via_array_len(map)), 0);
    CHECK_EQ(pthread_create(&thread, NULL, look, &wrong), 0);
    for (unsigned round = 1; round <= ROUNDS; round++) {
        atomic_store(&begun, round);
        for (size_t i = 0; i < PAGES; i += 5) {
            CHECK_EQ(convert(&watched, i, 5, round % 2), 0);
            if (i % 50 == 0)
                sched_yield();
        }
        atomic_store(&converted, round);
        await(&looked, round);
    }
    pthread_join(thread, NULL);
    CHECK_EQ(wrong, 0);
}

TAP_MAIN(TEST(every_state_range_and_failure_of_five_pages), TEST(runs_cross_words_of_the_map),
         TEST(bytes_are_judged_by_the_pages_that_hold_them), TEST(what_is_not_whole_pages_of_mem_is_refused),
         TEST(content_is_carried_over_whatever_fails), TEST(who_finds_a_page_converted_finds_all_of_it))
