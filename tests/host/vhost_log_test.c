/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dirty log of a connection: when a page is marked and when it is not, where used rings are, and front-ends whose log is too small,
 * not there yet, replaced, or taken away again. What is marked is compared with all that may be, bit by bit.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "paged.h"

#if defined(__has_feature)
#define UNDER_TSAN __has_feature(thread_sanitizer)
#elif defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#else
#define UNDER_TSAN 0
#endif

#define PAGE VIA_DIRTY_PAGE
#define FIRST_PAGE (UINT64_C(0x40000000) / PAGE) /* of front's memory */
#define LOG_BYTES (FIRST_PAGE / 8 + FRONT_BYTES / PAGE / 8)
#define LOG_OFFSET 4099u /* nothing says that a log is aligned */
#define BATCH 8u
#define DATA_PAGE (FRONT_DATA / PAGE)

static struct rig rig;
static struct front front;
static struct paged paged;
static struct via_memory log_memory;
static struct via_err err;

static uint8_t *log_bytes(void) { return log_memory.ptr + LOG_OFFSET; }
static bool marked(uint64_t page) { return log_bytes()[page / 8] >> page % 8 & 1; }
static void forget(void) { memset(log_memory.ptr, 0, log_memory.len); }

/* Marks in all of the file: beyond the log there are none to be. */
static unsigned marks(void)
{
    unsigned n = 0;
    for (size_t i = 0; i < log_memory.len; i++)
        n += (unsigned)__builtin_popcount(log_memory.ptr[i]);
    return n;
}

static bool told(int result)
{
    if (result < 0)
        tap_note(err.text);
    return result == 0;
}

static bool begin(void)
{
    CHECK_OR_FALSE(rig_open(&rig) && front_open(&front, &rig, RIG_PROTOCOL | VIA_BIT(VIA_VU_PF_LOG_SHMFD)) && front_share(&front));
    return via_memory_create(&log_memory, "log", LOG_OFFSET + LOG_BYTES + 64, &err) == 0;
}

static void end(void)
{
    front_close(&front);
    via_memory_destroy(&log_memory);
    rig_close(&rig);
}

static bool give_log(void) { return told(via_client_log(&front.client, log_memory.fd, LOG_OFFSET, LOG_BYTES, &err)); }

static bool log_used(bool on, uint64_t at)
{
    const struct via_vq_cfg *cfg = &front.vq.cfg;
    return told(via_client_ring_log(&front.client, 0, (uintptr_t)cfg->desc, (uintptr_t)cfg->avail, (uintptr_t)cfg->used, on, at, &err));
}

static bool begin_logging(void)
{
    return begin() && front_start(&front, 0, front.kick) && give_log() && told(via_client_log_all(&front.client, true, &err));
}

/* The server has done what it was at: it is one thread, and answers. */
static bool settled(void)
{
    uint8_t byte;
    return told(via_client_config_get(&front.client, 0, &byte, 1, &err));
}

/* ------------------------------------------------------------------ when */

static void a_page_is_marked_when_it_was_written(void)
{
    CHECK(begin_logging());
    rig.hold = true;
    CHECK(front_submit(&front, 0) && front_submit(&front, 40));
    CHECK(rig_until(&rig.n_held, 2) && settled());
    CHECK_EQ(marks(), 0);
    rig.hold = false;
    rig_wake(&rig);
    CHECK(front_done(&front, 2));
    CHECK(marked(FIRST_PAGE + DATA_PAGE) && marked(FIRST_PAGE + DATA_PAGE + 1));
    CHECK_EQ(marks(), 2);
    end();
}

/* The mark is there when the driver sees the answer: nothing that it does then can come before. */
static void a_mark_comes_before_the_answer(void)
{
    CHECK(begin_logging());
    for (unsigned i = 0; i < 2000; i++) {
        forget();
        CHECK(front_submit(&front, i % 32) && front_done(&front, 1));
        CHECK(marked(FIRST_PAGE + DATA_PAGE));
    }
    end();
}

static void only_while_it_is_wanted(void)
{
    CHECK(begin() && front_start(&front, 0, front.kick) && give_log());
    CHECK(front_submit(&front, 0) && front_done(&front, 1) && settled());
    CHECK_EQ(marks(), 0);
    CHECK(told(via_client_log_all(&front.client, true, &err)));
    CHECK(front_submit(&front, 1) && front_done(&front, 1) && settled());
    CHECK_EQ(marks(), 1);
    forget();
    CHECK(told(via_client_log_all(&front.client, false, &err)));
    CHECK(front_submit(&front, 2) && front_done(&front, 1) && settled());
    CHECK_EQ(marks(), 0);
    /* A request that began without, and ended with it. */
    rig.hold = true;
    CHECK(front_submit(&front, 3) && rig_until(&rig.n_held, 1) && told(via_client_log_all(&front.client, true, &err)));
    rig.hold = false;
    rig_wake(&rig);
    CHECK(front_done(&front, 1));
    CHECK_EQ(marks(), 1);
    end();
}

static void a_reset_ends_it(void)
{
    uint16_t base;
    struct via_memory more;
    CHECK(begin_logging() && via_memory_create(&more, "more", PAGE, &err) == 0);
    CHECK(told(via_client_ring_stop(&front.client, 0, &base, &err)) && told(via_client_status(&front.client, 0, &err)));
    const struct via_vu_region all[2] = {front_region(&front), {front.gpa + FRONT_BYTES, PAGE, (uintptr_t)more.ptr, 0}};
    const int fd[2] = {front.memory.fd, more.fd};
    CHECK(told(via_client_share(&front.client, all, fd, 2, &err))); /* beyond the log, which is of no use now */
    via_memory_destroy(&more);
    CHECK(told(via_client_accept(&front.client, front.client.front.features & ~VIA_BIT(VIA_F_LOG_ALL), &err)));
    CHECK(front_start(&front, 0, front.kick) && front_submit(&front, 0) && front_done(&front, 1) && settled());
    CHECK_EQ(marks(), 0);
    end();
}

/* ------------------------------------------------------------------ used rings */

/* Where SET_VRING_ADDR says, which may be in no memory at all; and by its own flag alone. */
static void a_used_ring_is_logged_where_it_is_said_to_be(void)
{
    CHECK(begin() && front_start(&front, 0, front.kick) && give_log());
    CHECK(log_used(true, 77 * PAGE + PAGE - 4)); /* flags and index, and then in the next page the elements */
    forget();
    CHECK(front_submit(&front, 0) && front_done(&front, 1) && settled());
    CHECK(marked(77) && marked(78));
    CHECK_EQ(marks(), 2);
    CHECK(log_used(true, 5 * PAGE));
    forget();
    CHECK(front_submit(&front, 1) && front_done(&front, 1) && settled());
    CHECK(marked(5) && marks() == 1);
    CHECK(log_used(false, 0));
    forget();
    CHECK(front_submit(&front, 2) && front_done(&front, 1) && settled());
    CHECK_EQ(marks(), 0);
    end();
}

/* Each element in its page: the log address is such that one element lies in one page and the next ones in another. */
static void each_element_is_marked_in_its_page(void)
{
    CHECK(begin() && front_start(&front, 0, -1) && give_log()); /* without a kick nothing is armed: elements and index alone */
    for (unsigned i = 0; i < 3 * RIG_NUM; i += 2) {
        unsigned at = i % RIG_NUM, next = (at + 1) % RIG_NUM;
        CHECK(log_used(true, 99 * PAGE - 4 - 8 * (at + 1)) && settled());
        forget();
        CHECK(front_submit(&front, i % 32) && front_done(&front, 1) && settled());
        CHECK(marked(98));
        CHECK_EQ(marks(), 1);
        CHECK(log_used(true, 99 * PAGE - 4 - 8 * next));
        forget();
        CHECK(front_submit(&front, i % 32) && front_done(&front, 1) && settled());
        CHECK(marked(98) && marked(99) && marks() == 2);
    }
    end();
}

/* Answers that are shown at once, the last and the first elements of a ring that is larger than a page. */
static void elements_that_wrap_are_marked(void)
{
    enum { NUM = 1024, LAST = NUM - 2 };
    static struct via_vq_slot slot[NUM];
    struct via_split_layout lay;
    CHECK(begin() && give_log() && via_split_layout(&lay, NUM, 4) == 0 && lay.total < FRONT_DATA);
    uint8_t *at = front.memory.ptr;
    const struct via_vq_cfg cfg = {
        .num = NUM, .desc = at + lay.desc, .avail = at + lay.avail, .used = at + lay.used, .slot = slot, .event_idx = true};
    CHECK(via_vq_init(&front.vq, &cfg) == 0);
    CHECK(told(via_client_ring_start(&front.client, 0, NUM, (uintptr_t)cfg.desc, (uintptr_t)cfg.avail, (uintptr_t)cfg.used, 0, -1,
                                     front.call, &err)));
    CHECK(log_used(true, 30 * PAGE - 4));
    for (unsigned i = 0; i < LAST; i++)
        CHECK(front_submit(&front, i % 32) && front_done(&front, 1));
    rig.hold = true;
    for (unsigned i = 0; i < 4; i++)
        CHECK(front_submit(&front, i));
    CHECK(rig_until(&rig.n_held, 4) && settled());
    forget();
    rig.hold = false;
    rig_wake(&rig);
    CHECK(front_done(&front, 4) && settled());
    CHECK(marked(29) && marked(30) && marked(31));
    CHECK_EQ(marks(), 3);
    end();
}

static void the_event_is_marked(void)
{
    CHECK(begin() && front_start(&front, 0, front.kick) && give_log());
    CHECK(log_used(true, 50 * PAGE - 4 - 8 * RIG_NUM)); /* the event index alone is in page 50 */
    forget();
    CHECK(front_submit(&front, 0) && front_done(&front, 1));
    for (unsigned i = 0; i < 5000 && !marked(50); i++) /* it is written before the server sleeps */
        usleep(1000);
    CHECK(marked(50) && marked(49) && marks() == 2);
    end();
}

static bool written_to(unsigned page, unsigned data)
{
    for (unsigned k = 0; k < BATCH; k++)
        if (paged.at[data + 2 * k + 1] == page)
            return true;
    return false;
}

/* Pages of the ring, scattered so far, in one piece from here on. The ring rests, but is not stopped. */
static bool straighten(unsigned first, unsigned n)
{
    static uint8_t keep[PAGE];
    for (unsigned k = 0; k < n; k++)
        for (unsigned other = 0; other < PAGED_PAGES; other++) {
            unsigned page = first + k, was = paged.at[page];
            if (paged.at[other] != 100 + k || other == page)
                continue;
            memcpy(keep, paged.view + (size_t)other * PAGE, PAGE);
            memcpy(paged.memory.ptr + (100 + k) * (size_t)PAGE, paged.memory.ptr + was * (size_t)PAGE, PAGE);
            memcpy(paged.memory.ptr + was * (size_t)PAGE, keep, PAGE);
            paged.at[page] = 100 + k;
            paged.at[other] = was;
            CHECK_OR_FALSE(paged_remap(&paged, page) && paged_remap(&paged, other));
            break;
        }
    return true;
}

/* Translated, it lies where its translations lead to, page by page; what SET_VRING_ADDR says is of no use. */
static void a_translated_used_ring_is_logged_where_it_lies(void)
{
    uint16_t base;
    struct via_split_layout lay;
    CHECK(via_split_layout(&lay, PAGED_NUM, 4) == 0 && rig_open(&rig));
    rig.features = VIA_BIT(VIA_F_ACCESS_PLATFORM);
    CHECK(paged_open(&paged, &rig, RIG_PROTOCOL | VIA_BIT(VIA_VU_PF_LOG_SHMFD)));
    CHECK(via_memory_create(&log_memory, "log", LOG_OFFSET + PAGED_PAGES / 8, &err) == 0);
    CHECK(told(via_client_log(&paged.client, log_memory.fd, LOG_OFFSET, PAGED_PAGES / 8, &err)));
    CHECK(paged_start(&paged, 0) && told(via_client_log_all(&paged.client, true, &err)));
    CHECK(told(via_client_ring_log(&paged.client, 0, PAGED_IOVA + lay.desc, PAGED_IOVA + lay.avail, PAGED_IOVA + lay.used, true,
                                   UINT64_MAX - 3, &err)));
    const unsigned first = (unsigned)(lay.used / PAGE),
                   pages = (unsigned)((lay.used + via_split_used_bytes(PAGED_NUM) - 1) / PAGE) - first + 1;
    for (unsigned i = 0; i < PAGED_NUM + BATCH; i += BATCH) {
        bool may[PAGED_PAGES] = {false};
        for (unsigned k = 0; k < pages; k++)
            may[paged.at[first + k]] = true;
        unsigned data = PAGED_RING + i % 100;
        forget();
        for (unsigned k = 0; k < BATCH; k++)
            CHECK(paged_submit(&paged, data + 2 * k, 1));
        via_event_signal(paged.kick); /* where the server asked for a kick may have been copied before it did */
        CHECK(paged_done(&paged, BATCH));
        for (unsigned k = 0; k < BATCH; k++)
            CHECK(marked(paged.at[data + 2 * k + 1]) && !marked(paged.at[data + 2 * k]));
        CHECK(told(via_client_ring_stop(&paged.client, 0, &base, &err)) && base == i + BATCH); /* all that is done is marked now */
        for (uint64_t k = i; k < i + BATCH; k++)
            CHECK(marked(paged.at[(lay.used + 4 + k % PAGED_NUM * 8) / PAGE]) &&
                  marked(paged.at[(lay.used + 4 + k % PAGED_NUM * 8 + 7) / PAGE]));
        CHECK(marked(paged.at[lay.used / PAGE]));
        for (unsigned k = 0; k < PAGED_PAGES; k++)
            CHECK(!marked(k) || may[k] || written_to(k, data));
        CHECK(paged_start(&paged, base));
        CHECK(told(
            via_client_ring_log(&paged.client, 0, PAGED_IOVA + lay.desc, PAGED_IOVA + lay.avail, PAGED_IOVA + lay.used, true, 0, &err)));
        if (i == PAGED_NUM / 2)
            CHECK(straighten(first, pages) && paged_invalidate(&paged, paged_iova(first), pages * (uint64_t)PAGE, true));
    }
    paged_close(&paged);
    via_memory_destroy(&log_memory);
    rig_close(&rig);
}

/* ------------------------------------------------------------------ logs that come, go and lie */

static void a_log_that_comes_late_has_all_pages(void)
{
    CHECK(begin() && front_start(&front, 0, front.kick) && told(via_client_log_all(&front.client, true, &err)));
    CHECK(front_submit(&front, 0) && front_done(&front, 1) && log_used(true, 8 * PAGE) && give_log());
    for (unsigned i = 0; i < FRONT_BYTES / PAGE; i++)
        CHECK(marked(FIRST_PAGE + i));
    CHECK(marked(8) && marks() == FRONT_BYTES / PAGE + 1);
    end();
}

static void another_log_takes_over(void)
{
    struct via_memory other;
    CHECK(begin_logging() && via_memory_create(&other, "other", LOG_BYTES, &err) == 0);
    CHECK(front_submit(&front, 0) && front_done(&front, 1));
    CHECK_EQ(marks(), 1);
    CHECK(told(via_client_log(&front.client, other.fd, 0, LOG_BYTES, &err)));
    forget();
    CHECK(front_submit(&front, 1) && front_done(&front, 1));
    CHECK_EQ(marks(), 0);
    CHECK(other.ptr[(FIRST_PAGE + DATA_PAGE) / 8] == 1 << (FIRST_PAGE + DATA_PAGE) % 8);
    via_memory_destroy(&other);
    end();
}

static void marks_are_told_of(void)
{
    uint64_t n = 0;
    int event = via_event_create();
    CHECK(begin_logging() && told(via_client_log_event(&front.client, event, &err)));
    CHECK(front_submit(&front, 0) && front_done(&front, 1) && settled());
    CHECK(read(event, &n, sizeof(n)) == sizeof(n) && n >= 1);
    close(event);
    int pair[2];
    CHECK(pipe(pair) == 0);
    int file = memfd_create("event", MFD_CLOEXEC);
    CHECK(via_client_log_event(&front.client, file, &err) < 0 && rig_ended(&rig, "log descriptor is neither an eventfd nor a pipe"));
    close(file);
    close(pair[0]);
    close(pair[1]);
    end();
}

static bool refused(int fd, uint64_t offset, uint64_t len, const char *why)
{
    CHECK_OR_FALSE(begin());
    CHECK_OR_FALSE(via_client_log(&front.client, fd, offset, len, &err) < 0 && rig_ended(&rig, why));
    end();
    return true;
}

static void logs_that_can_not_be(void)
{
    int pair[2], file = memfd_create("log", MFD_CLOEXEC);
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    CHECK(pipe(pair) == 0 && file >= 0 && ftruncate(file, LOG_BYTES) == 0);
    int readable = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(readable >= 0);
    CHECK(refused(file, 0, FIRST_PAGE / 8 + 1, "dirty log of 32769 bytes is too small"));
    CHECK(refused(file, 0, LOG_BYTES - 1, "is too small"));
    CHECK(refused(file, 0, LOG_BYTES + 1, "is not inside its file"));
    CHECK(refused(file, 1, LOG_BYTES, "is not inside its file"));
    CHECK(refused(file, UINT64_MAX, 1, "is not inside its file"));
    CHECK(refused(file, 0, 0, "the log is empty"));
    CHECK(refused(readable, 0, LOG_BYTES, "not open for reading and writing"));
    CHECK(refused(pair[0], 0, LOG_BYTES, "neither memory nor a file"));
    close(readable);
    close(file);
    close(pair[0]);
    close(pair[1]);
}

static void a_log_that_shrinks_ends_the_connection(void)
{
    if (UNDER_TSAN) {
        tap_skip("the sanitizer holds a lock while it sets a bit, and the fault's handler would wait for it");
        return;
    }
    int file = memfd_create("log", MFD_CLOEXEC);
    CHECK(file >= 0 && ftruncate(file, LOG_BYTES) == 0);
    CHECK(begin() && front_start(&front, 0, front.kick) && told(via_client_log(&front.client, file, 0, LOG_BYTES, &err)));
    CHECK(told(via_client_log_all(&front.client, true, &err)) && ftruncate(file, 0) == 0);
    CHECK(front_submit(&front, 0));
    CHECK(rig_ended(&rig, "shrank the file that its dirty log is in"));
    close(file);
    end();
}

/* Memory that grows beyond the log, or a used ring that is said to be there. */
static void nothing_is_logged_beyond_the_end(void)
{
    struct via_memory more;
    CHECK(begin_logging() && via_memory_create(&more, "more", PAGE, &err) == 0);
    struct via_vu_region all[2] = {front_region(&front), {front.gpa + FRONT_BYTES, PAGE, (uintptr_t)more.ptr, 0}};
    const int fd[2] = {front.memory.fd, more.fd};
    CHECK(via_client_share(&front.client, all, fd, 2, &err) < 0 &&
          rig_ended(&rig, "bytes is too small: guest-physical address 0x40100fff"));
    front_close(&front);
    CHECK(front_open(&front, &rig, RIG_PROTOCOL | VIA_BIT(VIA_VU_PF_LOG_SHMFD)) && front_share(&front));
    CHECK(front_start(&front, 0, front.kick) && give_log());
    uint64_t last = LOG_BYTES * 8 * PAGE - via_split_used_bytes(RIG_NUM);
    CHECK(log_used(true, last));
    CHECK(!log_used(true, last + 1) && rig_ended(&rig, "ring 0, used ring: the front-end's dirty log"));
    front_close(&front);
    CHECK(front_open(&front, &rig, RIG_PROTOCOL | VIA_BIT(VIA_VU_PF_LOG_SHMFD)) && front_share(&front));
    CHECK(front_start(&front, 0, front.kick) && give_log() && !log_used(true, UINT64_MAX) && rig_ended(&rig, "wraps around"));
    via_memory_destroy(&more);
    end();
}

static void without_the_feature_there_is_no_log(void)
{
    CHECK(rig_open(&rig) && front_open(&front, &rig, RIG_PROTOCOL) && front_share(&front));
    CHECK(via_memory_create(&log_memory, "log", LOG_OFFSET + LOG_BYTES, &err) == 0);
    CHECK(via_client_log(&front.client, log_memory.fd, 0, LOG_BYTES, &err) == -VIA_ENOTSUP && strstr(err.text, "LOG_SHMFD"));
    end();
}

TAP_MAIN(TEST(a_page_is_marked_when_it_was_written), TEST(a_mark_comes_before_the_answer), TEST(only_while_it_is_wanted),
         TEST(a_reset_ends_it), TEST(a_used_ring_is_logged_where_it_is_said_to_be), TEST(each_element_is_marked_in_its_page),
         TEST(elements_that_wrap_are_marked), TEST(the_event_is_marked), TEST(a_translated_used_ring_is_logged_where_it_lies),
         TEST(a_log_that_comes_late_has_all_pages), TEST(another_log_takes_over), TEST(marks_are_told_of), TEST(logs_that_can_not_be),
         TEST(a_log_that_shrinks_ends_the_connection), TEST(nothing_is_logged_beyond_the_end), TEST(without_the_feature_there_is_no_log))
