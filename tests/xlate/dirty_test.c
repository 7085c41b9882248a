/* SPDX-License-Identifier: BSD-2-Clause */
/* The dirty log: each bit where it belongs, none beside it, none outside, and none lost to somebody who clears meanwhile. */
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include <tap.h>
#include <viaduct/xlate.h>

#define PAGES 64u
#define PAGE VIA_DIRTY_PAGE
#define LOG_BYTES (PAGES / 8)

static uint8_t memory[2][PAGES / 2 * PAGE];
static uint8_t log_bytes[LOG_BYTES + 2]; /* one on either side that nobody may touch */
static struct via_memmap map;
static struct via_dirty dirty;

static bool marked(unsigned page) { return log_bytes[1 + page / 8] >> page % 8 & 1; }

/* The halves of guest-physical memory lie the other way round in this process, and apart from each other. */
static bool begin(void)
{
    memset(log_bytes, 0, sizeof(log_bytes));
    via_memmap_init(&map);
    for (unsigned i = 0; i < 2; i++) {
        const struct via_region r = {
            .gpa = i * sizeof(memory[0]), .len = sizeof(memory[0]), .uva = 0x7000000000 - i * 0x1000000, .ptr = memory[1 - i]};
        CHECK_OR_FALSE(via_memmap_add(&map, &r) == 0);
    }
    via_dirty_init(&dirty, &map, log_bytes + 1, LOG_BYTES);
    return true;
}

/* Just these. */
static bool are_marked(unsigned first, unsigned last)
{
    for (unsigned i = 0; i < PAGES; i++)
        CHECK_OR_FALSE(marked(i) == (i >= first && i <= last));
    CHECK_OR_FALSE(log_bytes[0] == 0 && log_bytes[LOG_BYTES + 1] == 0);
    return true;
}

static void every_range_of_pages(void)
{
    for (unsigned first = 0; first < PAGES; first++)
        for (unsigned last = first; last < PAGES; last++)
            for (unsigned way = 0; way < 4; way++) {
                uint64_t start = (uint64_t)first * PAGE + (way & 1 ? PAGE - 1 : 0), end = (uint64_t)last * PAGE + (way & 2 ? 0 : PAGE - 1);
                if (end < start)
                    continue;
                CHECK(begin());
                via_dirty_mark(&dirty, (via_gpa){start}, end - start + 1);
                CHECK(are_marked(first, last));
            }
}

static void nothing_outside(void)
{
    CHECK(begin());
    via_dirty_mark(&dirty, (via_gpa){5 * PAGE}, 0);
    via_dirty_mark(&dirty, (via_gpa){PAGES * PAGE}, 1);
    via_dirty_mark(&dirty, (via_gpa){UINT64_MAX}, 1);
    via_dirty_mark(&dirty, (via_gpa){UINT64_MAX - 5}, 100); /* would wrap to page 0 */
    CHECK(are_marked(PAGES, PAGES));
    via_dirty_mark(&dirty, (via_gpa){(PAGES - 1) * PAGE}, UINT64_C(1) << 40);
    CHECK(are_marked(PAGES - 1, PAGES - 1));
}

static void spans_are_found_by_where_they_are(void)
{
    CHECK(begin());
    struct via_span span[3] = {{memory[1] + 3 * PAGE + 100, 2 * PAGE}, {memory[0], 1}, {memory[0] + sizeof(memory[0]) - 1, 1}};
    via_dirty_spans(&dirty, span, 3);
    for (unsigned i = 0; i < PAGES; i++)
        CHECK_EQ(marked(i), (i >= 3 && i <= 5) || i == PAGES / 2 || i == PAGES - 1);
    CHECK(begin());
    span[0] = (struct via_span){log_bytes, sizeof(log_bytes)}; /* in no region */
    span[1] = (struct via_span){memory[0] + PAGE, 0};
    via_dirty_spans(&dirty, span, 2);
    CHECK(are_marked(PAGES, PAGES));
    via_memmap_init(&map);
    span[0] = (struct via_span){memory[0], PAGE};
    via_dirty_spans(&dirty, span, 1);
    CHECK(are_marked(PAGES, PAGES));
}

/* memory[0] and memory[1] are neighbours here: a span may run from one region into the next. */
static void a_span_crosses_regions(void)
{
    CHECK(begin());
    const struct via_span span = {memory[0] + sizeof(memory[0]) - 1, 2};
    CHECK(memory[1] == memory[0] + sizeof(memory[0]));
    via_dirty_spans(&dirty, &span, 1);
    for (unsigned i = 0; i < PAGES; i++)
        CHECK_EQ(marked(i), i == PAGES - 1 || i == 0);
}

static void all_of_it(void)
{
    CHECK(begin());
    CHECK_EQ(via_dirty_need(&map), LOG_BYTES);
    via_dirty_all(&dirty);
    CHECK(are_marked(0, PAGES - 1));
    const struct via_region more = {.gpa = 80 * PAGE, .len = 8 * PAGE, .uva = 0x1000, .ptr = memory[0]};
    CHECK(via_memmap_add(&map, &more) == 0);
    CHECK_EQ(via_dirty_need(&map), 11);
    via_memmap_init(&map);
    CHECK_EQ(via_dirty_need(&map), 0);
    CHECK(via_dirty_bytes(0) == 1 && via_dirty_bytes(8 * PAGE - 1) == 1 && via_dirty_bytes(8 * PAGE) == 2);
    CHECK_EQ(via_dirty_bytes(UINT64_MAX), UINT64_C(1) << 49);
}

/* ------------------------------------------------------------------ three at once: two devices share a log, and somebody clears it */

#define ROUNDS 100000u /* at least, and so many passes */
#define PASSES 100u

static _Atomic uint32_t written[PAGES]; /* stands for a page */
static uint32_t copied[PAGES];
static _Atomic unsigned passes;
static _Atomic unsigned over;

static void *mark_on(void *arg)
{
    unsigned odd = arg != NULL; /* pages of one, and of the other, in each byte */
    for (uint32_t i = 1; i <= ROUNDS || passes < PASSES; i++) {
        unsigned page = i * 37 % (PAGES / 2) * 2 + odd;
        atomic_store_explicit(&written[page], i, memory_order_relaxed);
        via_dirty_mark(&dirty, (via_gpa){(uint64_t)page * PAGE}, 1);
    }
    over++;
    return NULL;
}

static unsigned pass(void)
{
    unsigned n = 0;
    for (unsigned at = 0; at < LOG_BYTES; at++) {
        uint8_t bits = __atomic_exchange_n(&log_bytes[1 + at], 0, __ATOMIC_ACQUIRE);
        for (unsigned k = 0; k < 8; k++)
            if (bits >> k & 1) {
                copied[at * 8 + k] = atomic_load_explicit(&written[at * 8 + k], memory_order_relaxed);
                n++;
            }
    }
    return n;
}

static void no_mark_is_lost(void)
{
    pthread_t thread[2];
    CHECK(begin());
    for (unsigned i = 0; i < 2; i++)
        CHECK(pthread_create(&thread[i], NULL, mark_on, i ? &over : NULL) == 0);
    while (over < 2) {
        (void)pass();
        passes++;
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    (void)pass();
    for (unsigned i = 0; i < PAGES; i++)
        CHECK_EQ(copied[i], written[i]);
    CHECK_EQ(pass(), 0);
}

#define BIG (32u << 10)

static uint8_t big[BIG];
static struct via_dirty shared;
static _Atomic unsigned at_byte[2];

static void *mark_half(void *arg)
{
    unsigned me = arg != NULL;
    for (unsigned i = 0; i < BIG; i++) {
        for (at_byte[me] = i; at_byte[1 - me] < i;)
            sched_yield();
        for (uint64_t page = me; page < 8; page += 2)
            via_dirty_mark(&shared, (via_gpa){(i * UINT64_C(8) + page) * PAGE}, 1);
    }
    at_byte[me] = BIG;
    return NULL;
}

/* Byte by byte, two devices are at the same one, and each bit is set once. */
static void no_mark_is_lost_to_another(void)
{
    pthread_t thread[2];
    via_dirty_init(&shared, &map, big, BIG);
    for (unsigned i = 0; i < 2; i++)
        CHECK(pthread_create(&thread[i], NULL, mark_half, i ? big : NULL) == 0);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    for (unsigned i = 0; i < BIG; i++)
        CHECK_EQ(big[i], 0xff);
}

TAP_MAIN(TEST(every_range_of_pages), TEST(nothing_outside), TEST(spans_are_found_by_where_they_are), TEST(a_span_crosses_regions),
         TEST(all_of_it), TEST(no_mark_is_lost), TEST(no_mark_is_lost_to_another))
