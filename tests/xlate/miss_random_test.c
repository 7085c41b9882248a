/* SPDX-License-Identifier: BSD-2-Clause */
/* Misses at random: waiters, a front-end and a driver in any order, and everybody ends as the front-end says. */
#include "miss_rig.h"

#define PAGES 12u
#define WAITERS 6u

static uint64_t seed;
static uint32_t rnd(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)((seed >> 24) % n);
}

struct waiter {
    struct via_seg seg[2];
    unsigned perm;
    uint64_t since;
    via_iova wait;
    bool waits, good; /* good: all of it was mapped when it came, and stays so until it ends */
};

static unsigned rights[PAGES]; /* what the front-end would give */
static unsigned asked[PAGES];  /* with these rights, no answer yet; 0: not asked */
static bool no[PAGES];         /* the answer is one, and on its way */
static bool moving;            /* pages are mapped and unmapped */
static unsigned questions;

/* What will become of a waiter. */
static int verdict(const struct waiter *w)
{
    for (unsigned i = 0; i < 2; i++)
        for (uint64_t a = w->seg[i].addr.v; a < w->seg[i].addr.v + w->seg[i].len; a++)
            if (w->perm & ~rights[a / PAGE])
                return -VIA_EFAULT;
    return 0;
}

static bool look(struct waiter *w)
{
    int rc = via_misses_collect(&misses, &tlb.xlate, w->seg, 2, w->perm, w->since, &w->wait);
    CHECK_OR_FALSE(rc == -VIA_EAGAIN || rc == verdict(w) || (moving && !w->good));
    if (rc == -VIA_EFAULT && !moving)
        CHECK_OR_FALSE(w->perm & ~rights[w->wait.v / PAGE]);
    w->waits = rc == -VIA_EAGAIN;
    return true;
}

/* The front-end answers a page that it was asked for, with what is beside it, too, if that is the same. */
static bool front_answers(unsigned page, bool plain)
{
    unsigned need = asked[page], first = page, last = page;
    if (no[page] || ((need & ~rights[page]) && (plain || !rights[page]))) {
        no[page] = moving && !no[page];
        if (no[page])
            return true;
        asked[page] = 0;
        via_misses_refuse(&misses, (via_iova){page * PAGE + rnd(PAGE)}, 1);
        return true;
    }
    while (!plain && first && rights[first - 1] == rights[page])
        first--;
    while (!plain && last + 1 < PAGES && rights[last + 1] == rights[page])
        last++;
    CHECK_OR_FALSE(via_iotlb_insert(&tlb, (via_iova){first * PAGE}, (via_iova){(last + 1) * PAGE - 1}, host + first * PAGE, rights[page]) ==
                   0);
    update(first * PAGE, (last + 1) * PAGE - 1, rights[page]);
    for (unsigned i = first; i <= last; i++) {
        asked[i] = 0; /* what it was asked for meanwhile it has answered */
        no[i] = false;
    }
    return true;
}

/* The driver maps a page, or unmaps one that nobody needs whose pages were all mapped. */
static void driver_moves(const struct waiter *w)
{
    unsigned page = rnd(PAGES);
    for (unsigned i = 0; i < WAITERS; i++)
        for (unsigned k = 0; k < 2; k++)
            if (w[i].waits && w[i].good && w[i].seg[k].addr.v / PAGE <= page && (w[i].seg[k].addr.v + w[i].seg[k].len - 1) / PAGE >= page)
                return;
    rights[page] = rights[page] == RW ? 0 : RW;
    via_iotlb_remove(&tlb, (via_iova){page * PAGE}, (via_iova){page * PAGE + (PAGE - 1)});
}

static bool front_asked(void)
{
    const struct via_miss *m = via_misses_next(&misses, 1);
    if (!m)
        return true;
    unsigned page = (unsigned)(m->page / PAGE);
    CHECK_OR_FALSE(page < PAGES && m->perm && !asked[page]);
    asked[page] = m->perm;
    return ++questions < 20000; /* many more than 300 waiters can take */
}

static bool life(unsigned capacity, uint32_t entries, bool plain)
{
    struct waiter w[WAITERS] = {0};
    unsigned ended = 0;
    CHECK_OR_FALSE(start_with(capacity, entries));
    memset(asked, 0, sizeof(asked));
    memset(no, 0, sizeof(no));
    questions = 0;
    for (unsigned i = 0; i < PAGES; i++)
        rights[i] = rnd(8) ? rnd(8) ? RW : 1 + rnd(2) : 0;
    while (ended < 300) {
        unsigned i = rnd(WAITERS);
        if (!w[i].waits) {
            for (unsigned k = 0; k < 2; k++)
                w[i].seg[k] = (struct via_seg){{rnd(PAGES * 4096 - 8192)}, 1 + rnd(entries < PAGES ? 1 : 8192)};
            if (entries < PAGES) /* both in one page */
                w[i].seg[1] = w[i].seg[0];
            w[i].perm = 1 + rnd(3);
            w[i].since = moving ? misses.questions : 0;
            w[i].good = verdict(&w[i]) == 0;
        }
        if (!w[i].waits || !via_misses_pending(&misses, w[i].wait, w[i].since)) {
            CHECK_OR_FALSE(look(&w[i]));
            ended += !w[i].waits;
        }
        if (rnd(2))
            CHECK_OR_FALSE(front_asked());
        unsigned page = rnd(PAGES);
        if (asked[page])
            CHECK_OR_FALSE(front_answers(page, plain));
        if (rnd(20) == 0) {
            page = rnd(PAGES);
            via_iotlb_remove(&tlb, (via_iova){page * PAGE}, (via_iova){page * PAGE + 4095});
        }
        if (rnd(20) == 0)
            via_misses_forget(&misses);
        if (moving && rnd(4) == 0)
            driver_moves(w);
        CHECK_OR_FALSE(sound());
    }
    return true;
}

static void everybody_ends_as_the_front_end_says(void)
{
    for (seed = 1; seed < 2000000; seed += 50021)
        for (unsigned capacity = 1; capacity <= 16; capacity *= 2) {
            uint64_t keep = seed;
            CHECK(life(capacity, ENTRIES, rnd(2)));
            CHECK(life(capacity, 1 + rnd(3), true));
            seed = keep;
        }
}

/* Nobody is refused whose pages were all mapped when he came, whatever was asked before that, and whatever the answer to it was. */
static void who_came_with_all_mapped_is_never_refused(void)
{
    moving = true;
    for (seed = 1; seed < 2000000; seed += 50021)
        for (unsigned capacity = 1; capacity <= 16; capacity *= 2) {
            uint64_t keep = seed;
            CHECK(life(capacity, ENTRIES, rnd(2)));
            CHECK(life(capacity, 1 + rnd(3), true));
            seed = keep;
        }
}

TAP_MAIN(TEST(everybody_ends_as_the_front_end_says), TEST(who_came_with_all_mapped_is_never_refused))
