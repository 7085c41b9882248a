/* SPDX-License-Identifier: BSD-2-Clause */
/* Misses: what is asked for, how often and in which order, and what answers, refusals and a lack of room make of it. */
#include <stdlib.h>
#include <string.h>

#include <tap.h>
#include <viaduct/xlate.h>

#define R VIA_PERM_R
#define W VIA_PERM_W
#define RW (VIA_PERM_R | VIA_PERM_W)
#define PAGE UINT64_C(4096)
#define ENTRIES 64u

static struct via_iotlb tlb;
static struct via_misses misses;
static void *tlb_storage, *miss_storage;
static uint8_t host[16 * 4096];
static via_iova at;

/* Counters say what the slots say. */
static bool sound(void)
{
    unsigned fresh = 0;
    for (uint32_t k = misses.first, before = UINT32_MAX; k != UINT32_MAX; before = k, k = misses.slot[k].after, fresh++)
        CHECK_OR_FALSE(misses.slot[k].before == before && fresh <= misses.capacity);
    CHECK_OR_FALSE(fresh == misses.fresh && misses.fresh + misses.refused <= misses.n && misses.n <= misses.capacity);
    unsigned found = 0;
    for (unsigned b = 0; b < misses.capacity; b++)
        for (uint32_t k = misses.bucket[b]; k != UINT32_MAX; k = misses.slot[k].next)
            CHECK_OR_FALSE(++found <= misses.capacity);
    CHECK_OR_FALSE(found == misses.n);
    unsigned free_slots = 0;
    for (uint32_t k = misses.free; k != UINT32_MAX; k = misses.slot[k].next)
        CHECK_OR_FALSE(++free_slots <= misses.capacity);
    return free_slots + found == misses.capacity;
}

static bool start_with(unsigned capacity, uint32_t entries)
{
    free(tlb_storage);
    free(miss_storage);
    tlb_storage = malloc(via_iotlb_bytes(entries));
    miss_storage = malloc(via_misses_bytes(capacity));
    CHECK_OR_FALSE(tlb_storage && miss_storage);
    CHECK_OR_FALSE(via_iotlb_init(&tlb, entries, tlb_storage) == 0);
    CHECK_OR_FALSE(via_misses_init(&misses, capacity, miss_storage) == 0);
    return sound();
}
static bool start(unsigned capacity) { return start_with(capacity, ENTRIES); }

/* By who came when so many questions had been asked. */
static int want_since(uint64_t addr, uint32_t len, unsigned perm, uint64_t since)
{
    struct via_seg seg = {{addr}, len};
    return via_misses_collect(&misses, &tlb.xlate, &seg, 1, perm, since, &at);
}
static int want(uint64_t addr, uint32_t len, unsigned perm) { return want_since(addr, len, perm, 0); }
static bool pending_since(uint64_t addr, uint64_t since) { return via_misses_pending(&misses, (via_iova){addr}, since); }
static bool pending(uint64_t addr) { return pending_since(addr, 0); }

/* An entry of the IOTLB without an answer. */
static bool put(uint64_t first, uint64_t last, unsigned perm)
{
    return via_iotlb_insert(&tlb, (via_iova){first}, (via_iova){last}, host, perm) == 0;
}
static void update(uint64_t first, uint64_t last, unsigned perm) { via_misses_update(&misses, (via_iova){first}, (via_iova){last}, perm); }
static bool answer(uint64_t page, unsigned perm)
{
    bool ok = put(page, page + (PAGE - 1), perm);
    update(page, page + (PAGE - 1), perm);
    return ok;
}
/* The next page to ask for is this one, with these rights. */
static bool asks(uint64_t page, unsigned perm, uint64_t now)
{
    const struct via_miss *m = via_misses_next(&misses, now);
    return m && m->page == page && m->perm == perm && m->asked_ns == now;
}
static bool asks_nothing(void) { return !via_misses_next(&misses, 0) && misses.fresh == 0; }

static void pages_are_asked_for_once_and_in_order(void)
{
    CHECK(start(16));
    struct via_seg seg[] = {{{5 * PAGE + 100}, 8192}, {{2 * PAGE + 4095}, 2}, {{6 * PAGE}, 1}, {{UINT64_MAX - 4095}, 4096}, {{0}, 1}};
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(via_misses_collect(&misses, &tlb.xlate, seg, via_array_len(seg), R, 0, &at), -VIA_EAGAIN);
        CHECK(at.v == 0 && misses.n == 7 && misses.total == 7 && misses.fresh == 7 && misses.full == 0 && sound());
    }
    static const uint64_t want_page[] = {5, 6, 7, 2, 3, UINT64_MAX / PAGE, 0};
    for (unsigned i = 0; i < 7; i++)
        CHECK(asks(want_page[i] * PAGE, R, 10 + i) && pending(want_page[i] * PAGE + 17));
    CHECK(asks_nothing() && sound());
    CHECK_EQ(via_misses_collect(&misses, &tlb.xlate, seg, via_array_len(seg), R, 0, &at), -VIA_EAGAIN);
    CHECK(misses.fresh == 0 && !pending(4 * PAGE));
    for (unsigned i = 0; i < 7; i++) {
        CHECK(answer(want_page[6 - i] * PAGE, R) && sound() && !pending(want_page[6 - i] * PAGE) && misses.n == 6 - i);
    }
    CHECK_EQ(via_misses_collect(&misses, &tlb.xlate, seg, via_array_len(seg), R, 0, &at), 0);
    CHECK_EQ(misses.total, 7);
}

static void what_is_known_is_skipped(void)
{
    CHECK(start(16));
    CHECK(put(PAGE, 3 * PAGE + 99, RW));
    CHECK_EQ(want(0, 5 * PAGE, W), -VIA_EAGAIN);
    /* The rest of page 3 is missing as well. */
    CHECK(asks(0, W, 1) && asks(3 * PAGE, W, 1) && asks(4 * PAGE, W, 1) && asks_nothing());
}

static void nothing_wraps(void)
{
    CHECK(start(16));
    CHECK_EQ(want(UINT64_MAX - 4094, 4096, R), -VIA_EFAULT);
    CHECK(at.v == UINT64_MAX - 4094 && misses.total == 0);
    CHECK_EQ(want(UINT64_MAX, 1, R), -VIA_EAGAIN);
    update(UINT64_MAX, UINT64_MAX, R);
    CHECK(!pending(UINT64_MAX) && misses.n == 0);
    CHECK_EQ(want(UINT64_MAX, 0, R), 0);
}

static void rights_are_joined_before_they_are_asked_for(void)
{
    CHECK(start(4));
    CHECK_EQ(want(0, 1, R), -VIA_EAGAIN);
    CHECK_EQ(want(9, 1, W), -VIA_EAGAIN);
    CHECK(asks(0, RW, 1) && asks_nothing());
    CHECK(answer(0, RW));
    CHECK_EQ(want(9, 1, W), 0);
}

/* One question a page at a time, so that an answer is never taken for that of another one. */
static void rights_that_come_up_later_are_asked_for_after_the_answer(void)
{
    CHECK(start(4));
    CHECK_EQ(want(0, 1, R), -VIA_EAGAIN);
    CHECK(asks(0, R, 1));
    CHECK_EQ(want(0, 1, W), -VIA_EAGAIN);
    CHECK(misses.fresh == 0);
    CHECK(answer(0, R));
    CHECK(pending(0) && asks(0, RW, 2) && sound());
    CHECK(answer(0, RW) && misses.n == 0);
    /* The answer brought them already. */
    CHECK(start(4));
    CHECK_EQ(want(0, 1, R), -VIA_EAGAIN);
    CHECK(asks(0, R, 1));
    CHECK_EQ(want(0, 1, W), -VIA_EAGAIN);
    CHECK(answer(0, RW) && misses.n == 0 && asks_nothing());
}

static void a_translation_without_a_right_is_asked_for_with_all(void)
{
    CHECK(start(4));
    CHECK(put(0, 4095, R));
    CHECK_EQ(want(0, 1, W), -VIA_EAGAIN);
    CHECK(asks(0, RW, 1));
    CHECK(answer(0, RW));
    CHECK_EQ(want(0, 1, W), 0);
}

static void an_answer_without_a_right_is_a_refusal(void)
{
    CHECK(start(4));
    CHECK_EQ(want(0, 1, W), -VIA_EAGAIN);
    CHECK(asks(0, W, 1));
    CHECK(answer(0, R));
    CHECK(!pending(0) && misses.refused == 1 && misses.n == 1 && sound());
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(want(4000, 1, W), -VIA_EFAULT);
        CHECK_EQ(at.v, 0);
        CHECK_EQ(want(4000, 1, R), 0);
    }
    CHECK(asks_nothing());
    /* What comes later all the same counts. */
    CHECK(answer(0, RW) && misses.n == 0 && misses.refused == 0);
    CHECK_EQ(want(0, 1, W), 0);
}

/* What was refused to one does not have to be refused to another, and what neither may have alone is not asked for together. */
static void a_refusal_is_of_the_rights_that_were_asked_for(void)
{
    CHECK(start(4));
    CHECK_EQ(want(0, 1, R), -VIA_EAGAIN);
    CHECK_EQ(want(0, 1, W), -VIA_EAGAIN);
    CHECK(asks(0, RW, 1));
    via_misses_refuse(&misses, (via_iova){0}, 1);
    CHECK(!pending(0) && misses.refused == 1);
    CHECK_EQ(want(0, 1, RW), -VIA_EFAULT);
    CHECK_EQ(want(0, 1, W), -VIA_EAGAIN);
    CHECK(misses.refused == 0 && sound());
    CHECK_EQ(want(0, 1, R), -VIA_EAGAIN);
    CHECK(asks(0, W, 2));
    via_misses_refuse(&misses, (via_iova){77}, 2);
    CHECK_EQ(want(0, 1, W), -VIA_EFAULT);
    CHECK_EQ(want(0, 1, R), -VIA_EAGAIN);
    CHECK(asks(0, R, 3));
    CHECK_EQ(want(0, 1, R), -VIA_EAGAIN);
    CHECK(answer(0, R) && asks_nothing());
    CHECK_EQ(want(0, 1, R), 0);
}

static void a_refusal_is_told_before_anything_else(void)
{
    CHECK(start(4));
    CHECK_EQ(want(0, 3 * PAGE, R), -VIA_EAGAIN);
    CHECK(asks(0, R, 1) && asks(PAGE, R, 1) && asks(2 * PAGE, R, 1));
    via_misses_refuse(&misses, (via_iova){PAGE}, 1);
    CHECK_EQ(want(0, 4 * PAGE, R), -VIA_EFAULT);
    CHECK(at.v == PAGE && misses.n == 3 && pending(0) && pending(2 * PAGE));
    via_misses_forget(&misses);
    CHECK(misses.n == 2 && misses.refused == 0 && sound());
    CHECK_EQ(want(0, 3 * PAGE, R), -VIA_EAGAIN);
    CHECK(asks(PAGE, R, 2) && asks_nothing());
}

static void a_refusal_is_for_what_was_asked_then(void)
{
    CHECK(start(4));
    CHECK_EQ(want(0, 1, R), -VIA_EAGAIN);
    via_misses_refuse(&misses, (via_iova){0}, UINT64_MAX); /* not asked for yet */
    via_misses_refuse(&misses, (via_iova){PAGE}, UINT64_MAX);
    CHECK(pending(0) && misses.n == 1 && asks(0, R, 5));
    via_misses_refuse(&misses, (via_iova){0}, 4); /* of an earlier question */
    CHECK(pending(0));
    via_misses_refuse(&misses, (via_iova){0}, 5);
    CHECK(!pending(0) && misses.refused == 1 && sound());
}

/* Who comes when a question is out may have mapped the page after it was answered: a no to that is not for him. The next one is. */
static void an_old_no_is_not_for_who_came_later(void)
{
    CHECK(start(4));
    CHECK_EQ(want(0, 1, R), -VIA_EAGAIN);
    CHECK(asks(0, R, 1) && misses.questions == 1);
    CHECK_EQ(want_since(0, 1, R, 1), -VIA_EAGAIN);
    CHECK(misses.fresh == 0); /* he waits for the answer that is on its way: it may be a yes */
    via_misses_refuse(&misses, (via_iova){0}, 1);
    CHECK(!pending(0) && !pending_since(0, 1));
    CHECK_EQ(want_since(0, 1, R, 1), -VIA_EAGAIN);
    CHECK(misses.fresh == 1 && misses.refused == 0 && sound());
    CHECK(!pending(0) && pending_since(0, 1)); /* whom it is for need not wait for the next one */
    CHECK_EQ(want(0, 1, R), -VIA_EFAULT);
    CHECK_EQ(want_since(0, 1, R, 1), -VIA_EAGAIN); /* as often as he likes */
    via_misses_forget(&misses);
    CHECK(pending(0) && misses.n == 1 && sound());
    CHECK(asks(0, R, 2));
    CHECK_EQ(want_since(0, 1, R, 2), -VIA_EAGAIN);
    via_misses_refuse(&misses, (via_iova){0}, 2);
    CHECK_EQ(want_since(0, 1, R, 1), -VIA_EFAULT);
    CHECK_EQ(want_since(0, 1, R, 2), -VIA_EAGAIN);
    CHECK(asks(0, R, 3) && answer(0, R) && misses.n == 0 && asks_nothing());
    CHECK_EQ(want_since(0, 1, R, 2), 0);
}

/* The same where the no was an answer with fewer rights, where it is there already, and where there was none at all. */
static void whatever_the_old_no_was(void)
{
    CHECK(start(4));
    CHECK_EQ(want(0, 1, W), -VIA_EAGAIN);
    CHECK(asks(0, W, 1) && answer(0, R));
    CHECK_EQ(want_since(0, 1, W, 1), -VIA_EAGAIN);
    CHECK(asks(0, RW, 2));
    CHECK_EQ(want(0, 1, W), -VIA_EFAULT);
    CHECK(answer(0, RW));
    CHECK_EQ(want_since(0, 1, W, 1), 0);
    /* Another right, after the answer, of a page which is still refused to somebody. */
    CHECK(start(4));
    CHECK_EQ(want(0, 1, R), -VIA_EAGAIN);
    CHECK(asks(0, R, 1));
    via_misses_refuse(&misses, (via_iova){0}, 1);
    CHECK_EQ(want_since(0, 1, W, 1), -VIA_EAGAIN);
    CHECK_EQ(want_since(0, 1, R, 1), -VIA_EAGAIN);
    CHECK(asks(0, W, 2));
    via_misses_refuse(&misses, (via_iova){0}, 2);
    CHECK_EQ(want_since(0, 1, W, 1), -VIA_EFAULT);
    CHECK_EQ(want_since(0, 1, R, 1), -VIA_EAGAIN);
    CHECK(asks(0, R, 3) && answer(0, R) && sound());
    /* Asked for once more, as there was no answer: that question is younger than the one before. */
    CHECK(start(4));
    CHECK_EQ(want(0, 1, R), -VIA_EAGAIN);
    CHECK(asks(0, R, 1));
    CHECK_EQ(want_since(0, 1, R, 1), -VIA_EAGAIN);
    CHECK(via_misses_again(&misses, 1) == 1 && asks(0, R, 2));
    via_misses_refuse(&misses, (via_iova){0}, 2);
    CHECK_EQ(want_since(0, 1, R, 1), -VIA_EFAULT);
    /* When nobody can be asked any more, that is for all. */
    CHECK(start(4));
    CHECK_EQ(want(0, 1, R), -VIA_EAGAIN);
    CHECK(asks(0, R, 1));
    CHECK_EQ(want_since(0, 1, RW, 1), -VIA_EAGAIN);
    CHECK_EQ(want_since(PAGE, 1, RW, 1), -VIA_EAGAIN);
    update(0, UINT64_MAX, 0);
    CHECK_EQ(want_since(0, 1, W, 1), -VIA_EFAULT);
    CHECK_EQ(want_since(0, 1, R, 1), -VIA_EFAULT);
    CHECK_EQ(want_since(PAGE, 1, R, 1), -VIA_EFAULT);
}

/* A front-end that always says no ends everybody, be there new ones all the time. */
static void who_keeps_coming_keeps_nobody_waiting(void)
{
    uint64_t since[4] = {0};
    unsigned ended = 0;
    CHECK(start(2));
    for (unsigned i = 0; i < 4; i++)
        CHECK_EQ(want_since(0, 1, R, since[i]), -VIA_EAGAIN);
    for (uint64_t now = 1; now <= 50; now++) {
        CHECK(asks(0, R, now));
        unsigned k = (unsigned)now % 4; /* ends, and comes again while the question is out */
        for (unsigned i = 0; i < 4; i++)
            since[i] = i == k ? misses.questions : since[i];
        CHECK_EQ(want_since(0, 1, R, since[k]), -VIA_EAGAIN);
        via_misses_refuse(&misses, (via_iova){0}, now);
        CHECK_EQ(want_since(0, 1, R, since[k]), -VIA_EAGAIN); /* looks first */
        for (unsigned i = 0; i < 4; i++) {
            if (i == k)
                continue;
            CHECK(!pending_since(0, since[i]));
            CHECK_EQ(want_since(0, 1, R, since[i]), -VIA_EFAULT);
            ended++;
            since[i] = misses.questions;
        }
        via_misses_forget(&misses);
        CHECK(misses.n == 1 && sound());
    }
    CHECK_EQ(ended, 150);
}

static void part_of_a_page_answers_it(void)
{
    CHECK(start(8));
    CHECK_EQ(want(0, 4 * PAGE, R), -VIA_EAGAIN);
    for (unsigned i = 0; i < 4; i++)
        CHECK(asks(i * PAGE, R, 1));
    CHECK(put(PAGE + 4095, 2 * PAGE, R));
    update(PAGE + 4095, 2 * PAGE, R);
    CHECK(pending(0) && !pending(PAGE) && !pending(2 * PAGE) && pending(3 * PAGE) && sound());
    /* The rest of them is asked for again. */
    CHECK_EQ(want(0, 4 * PAGE, R), -VIA_EAGAIN);
    CHECK(asks(PAGE, R, 2) && asks(2 * PAGE, R, 2) && asks_nothing());
    update(5, 4, R);
    update(2 * PAGE, PAGE, R);
    CHECK_EQ(misses.n, 4);
}

static void an_answer_may_be_as_wide_as_all(void)
{
    static const uint64_t page[] = {0, 7 * PAGE, 1u << 30, UINT64_MAX - 4095};
    static const struct {
        uint64_t first, last;
        unsigned hits; /* which pages */
    } wide[] = {{0, UINT64_MAX, 15},       {1, UINT64_MAX - 1, 15},    {PAGE, UINT64_MAX, 14},
                {0, UINT64_MAX - 4096, 7}, {8 * PAGE, UINT64_MAX, 12}, {6 * PAGE, 8 * PAGE - 1, 2},
                {0, 7 * PAGE - 1, 1},      {0, 7 * PAGE, 3},           {8 * PAGE, 9 * PAGE, 0}};
    for (unsigned i = 0; i < via_array_len(wide); i++) {
        CHECK(start(4));
        for (unsigned k = 0; k < 4; k++)
            CHECK_EQ(want(page[k], 1, R), -VIA_EAGAIN);
        for (unsigned k = 0; k < 4; k++)
            CHECK(asks(page[k], R, 1));
        update(wide[i].first, wide[i].last, R);
        for (unsigned k = 0; k < 4; k++)
            CHECK_EQ(pending(page[k]), !(wide[i].hits >> k & 1));
        CHECK(sound());
    }
}

static void an_answer_that_nobody_asked_for_is_one(void)
{
    CHECK(start(4));
    CHECK_EQ(want(0, 2 * PAGE, W), -VIA_EAGAIN);
    CHECK(answer(0, RW) && answer(PAGE, R)); /* the second one without the right: that is still to be asked for */
    CHECK(misses.n == 1 && pending(PAGE) && asks(PAGE, W, 1) && asks_nothing());
}

static void no_rights_refuse_what_was_not_asked_for_too(void)
{
    CHECK(start(4));
    CHECK_EQ(want(0, 3 * PAGE, R), -VIA_EAGAIN);
    CHECK(asks(0, R, 1));
    CHECK_EQ(want(0, 1, W), -VIA_EAGAIN);
    update(0, 2 * PAGE - 1, 0);
    CHECK(!pending(0) && !pending(PAGE) && pending(2 * PAGE) && misses.refused == 2 && misses.fresh == 1 && sound());
    CHECK_EQ(want(0, 1, W), -VIA_EFAULT);
    CHECK_EQ(want(PAGE, 1, R), -VIA_EFAULT);
    update(0, UINT64_MAX, 0);
    CHECK(misses.refused == 3 && misses.fresh == 0 && asks_nothing());
    update(0, UINT64_MAX, 0);
    CHECK(misses.refused == 3 && sound());
}

static void what_finds_no_room_comes_later(void)
{
    for (unsigned capacity = 1; capacity <= 8; capacity *= 2) {
        CHECK(start(capacity));
        unsigned done = 0, looks = 0;
        while (want(0, 8 * PAGE, R) == -VIA_EAGAIN) {
            CHECK(misses.n <= capacity && pending(at.v) && at.v == (done + capacity - 1) * PAGE);
            for (unsigned i = 0; i < capacity; i++, done++)
                CHECK(asks(done * PAGE, R, 1));
            for (unsigned i = 0; i < capacity; i++)
                CHECK(answer((done - capacity + i) * PAGE, R) && sound());
            looks++;
        }
        CHECK(looks == 8 / capacity && misses.total == 8 && misses.full == looks - 1);
    }
    /* None at all: not pending, so to be looked at again at once. */
    CHECK(start(1));
    CHECK_EQ(want(0, 1, R), -VIA_EAGAIN);
    uint64_t changes = misses.changes;
    CHECK_EQ(want(PAGE, 1, R), -VIA_EAGAIN);
    CHECK(at.v == PAGE && !pending(PAGE) && misses.full == 1 && misses.changes == changes);
    CHECK(asks(0, R, 1) && answer(0, R));
    CHECK(misses.changes > changes);
    CHECK_EQ(want(PAGE, 1, R), -VIA_EAGAIN);
    CHECK(pending(PAGE));
}

static void a_refused_page_keeps_its_room_until_it_is_forgotten(void)
{
    CHECK(start(1));
    CHECK_EQ(want(0, 1, R), -VIA_EAGAIN);
    CHECK(asks(0, R, 1));
    via_misses_refuse(&misses, (via_iova){0}, 1);
    CHECK_EQ(want(PAGE, 1, R), -VIA_EAGAIN);
    CHECK(!pending(PAGE) && misses.n == 1);
    uint64_t changes = misses.changes;
    via_misses_forget(&misses);
    CHECK(misses.n == 0 && misses.changes > changes);
    CHECK_EQ(want(PAGE, 1, R), -VIA_EAGAIN);
    CHECK(pending(PAGE));
}

static void silence_is_asked_again_surely_and_once(void)
{
    CHECK(start(8));
    CHECK(via_misses_oldest(&misses) == UINT64_MAX);
    CHECK_EQ(want(0, 4 * PAGE, R), -VIA_EAGAIN);
    CHECK(via_misses_oldest(&misses) == UINT64_MAX);
    for (unsigned i = 0; i < 3; i++) {
        const struct via_miss *m = via_misses_next(&misses, 100 + i);
        CHECK(m && !m->sure);
    }
    CHECK(via_misses_oldest(&misses) == 100);
    CHECK_EQ(want(PAGE, 1, W), -VIA_EAGAIN);
    CHECK_EQ(via_misses_again(&misses, 99), 0);
    CHECK_EQ(via_misses_again(&misses, 101), 2);
    CHECK(misses.fresh == 3 && sound() && pending(0));
    CHECK_EQ(via_misses_again(&misses, 101), 0);
    CHECK(asks(3 * PAGE, R, 200));
    for (unsigned i = 0; i < 2; i++) {
        const struct via_miss *m = via_misses_next(&misses, 300);
        CHECK(m && m->sure && m->page == i * PAGE && m->perm == R);
    }
    CHECK(via_misses_oldest(&misses) == 102);
    CHECK_EQ(via_misses_again(&misses, 300), 2); /* not those that were asked for surely */
    /* The first question's answer serves; what came up meanwhile is still to be asked for. */
    CHECK(answer(0, R) && answer(PAGE, R) && pending(PAGE) && !pending(0));
}

static void nobody_waits_any_more(void)
{
    CHECK(start(4));
    CHECK_EQ(want(0, 6 * PAGE, R), -VIA_EAGAIN);
    CHECK(asks(0, R, 1) && asks(PAGE, R, 1));
    via_misses_refuse(&misses, (via_iova){0}, 1);
    uint64_t changes = misses.changes;
    via_misses_clear(&misses);
    CHECK(misses.n == 0 && misses.fresh == 0 && misses.refused == 0 && asks_nothing() && sound() && misses.changes > changes);
    CHECK_EQ(want(0, PAGE, R), -VIA_EAGAIN);
    CHECK(asks(0, R, 2));
}

static void storage_sizes_are_judged(void)
{
    CHECK_EQ(via_misses_init(&misses, 0, NULL), -VIA_EINVAL);
    CHECK_EQ(via_misses_init(&misses, 3, NULL), -VIA_EINVAL);
    CHECK_EQ(via_misses_init(&misses, VIA_MISSES_MAX * 2, NULL), -VIA_EINVAL);
    CHECK(start(1) && via_misses_bytes(8) == 8 * via_misses_bytes(1));
}

/* ------------------------------------------------------------------ at random */

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

TAP_MAIN(TEST(pages_are_asked_for_once_and_in_order), TEST(what_is_known_is_skipped), TEST(nothing_wraps),
         TEST(rights_are_joined_before_they_are_asked_for), TEST(rights_that_come_up_later_are_asked_for_after_the_answer),
         TEST(a_translation_without_a_right_is_asked_for_with_all), TEST(an_answer_without_a_right_is_a_refusal),
         TEST(a_refusal_is_of_the_rights_that_were_asked_for), TEST(a_refusal_is_told_before_anything_else),
         TEST(a_refusal_is_for_what_was_asked_then), TEST(an_old_no_is_not_for_who_came_later), TEST(whatever_the_old_no_was),
         TEST(who_keeps_coming_keeps_nobody_waiting), TEST(part_of_a_page_answers_it), TEST(an_answer_may_be_as_wide_as_all),
         TEST(an_answer_that_nobody_asked_for_is_one), TEST(no_rights_refuse_what_was_not_asked_for_too),
         TEST(what_finds_no_room_comes_later), TEST(a_refused_page_keeps_its_room_until_it_is_forgotten),
         TEST(silence_is_asked_again_surely_and_once), TEST(nobody_waits_any_more), TEST(storage_sizes_are_judged),
         TEST(everybody_ends_as_the_front_end_says), TEST(who_came_with_all_mapped_is_never_refused))
