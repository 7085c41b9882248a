/* SPDX-License-Identifier: BSD-2-Clause */
/* Misses: what is asked for, how often and in which order, and what answers, refusals and a lack of room make of it. */
#include "miss_rig.h"

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

TAP_MAIN(TEST(pages_are_asked_for_once_and_in_order), TEST(what_is_known_is_skipped), TEST(nothing_wraps),
         TEST(rights_are_joined_before_they_are_asked_for), TEST(rights_that_come_up_later_are_asked_for_after_the_answer),
         TEST(a_translation_without_a_right_is_asked_for_with_all), TEST(an_answer_without_a_right_is_a_refusal),
         TEST(a_refusal_is_of_the_rights_that_were_asked_for), TEST(a_refusal_is_told_before_anything_else),
         TEST(a_refusal_is_for_what_was_asked_then), TEST(an_old_no_is_not_for_who_came_later), TEST(whatever_the_old_no_was),
         TEST(who_keeps_coming_keeps_nobody_waiting), TEST(part_of_a_page_answers_it), TEST(an_answer_may_be_as_wide_as_all),
         TEST(an_answer_that_nobody_asked_for_is_one), TEST(no_rights_refuse_what_was_not_asked_for_too),
         TEST(what_finds_no_room_comes_later), TEST(a_refused_page_keeps_its_room_until_it_is_forgotten),
         TEST(silence_is_asked_again_surely_and_once), TEST(nobody_waits_any_more), TEST(storage_sizes_are_judged))
