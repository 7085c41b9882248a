/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dirty log against an oracle: all of memory before and after. What changed is marked, and nothing is that the device had no business
 * in. And against its purpose: memory copied while requests run, pass by pass, is the same byte for byte in the end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dirty_guest.h"

#define ROUNDS 12u
#define PASSES 16u
#define PAGES_A_TURN 3u

static struct guest g;
static uint8_t before[GUEST_BYTES];

static const struct guest_way ways[] = {
    {.name = "plain, in memory"},
    {.name = "plain, a disk", .on_disk = true, .indirect = true},
    {.name = "translated, in memory", .translated = true, .indirect = true},
    {.name = "translated, a disk", .translated = true, .on_disk = true},
    {.name = "guarded", .guarded = true, .indirect = true},
    {.name = "guarded, translated, a disk", .guarded = true, .translated = true, .on_disk = true},
};

static bool told(struct via_err *err, int result)
{
    if (result < 0)
        tap_note(err->text);
    return result == 0;
}

static bool begin(const struct guest_way *way)
{
    struct via_err err = {.text = ""};
    CHECK_OR_FALSE(guest_open(&g, way));
    CHECK_OR_FALSE(told(&err, via_client_log(&g.client, g.log.fd, 0, GUEST_LOG, &err)));
    return told(&err, via_client_log_all(&g.client, true, &err));
}

static bool take_mark(unsigned page)
{
    uint64_t at = guest_physical(page);
    uint8_t bit = (uint8_t)(1u << at % 8);
    return __atomic_fetch_and(&g.log.ptr[at / 8], (uint8_t)~bit, __ATOMIC_ACQUIRE) & bit;
}

/* ------------------------------------------------------------------ the oracle */

static bool strange(const char *what, unsigned page)
{
    char text[128];
    snprintf(text, sizeof(text), "%s: page %u of memory, %s", g.way->name, page, what);
    tap_note(text);
    return false;
}

/* marked: how many were. */
static bool compare(unsigned *marked)
{
    for (unsigned page = 0; page < GUEST_PAGES; page++) {
        bool mark = take_mark(page), own = guest_owns(&g, page);
        bool changed = memcmp(before + (size_t)page * GUEST_PAGE, g.memory.ptr + (size_t)page * GUEST_PAGE, GUEST_PAGE) != 0;
        *marked += mark;
        if (changed && !mark && !own)
            return strange("has changed and is not marked", page);
        if (mark && (own || !g.may[page]))
            return strange("is marked, but the device had no business there", page);
    }
    for (unsigned i = 0; i < GUEST_LOG; i++)
        CHECK_OR_FALSE(g.log.ptr[i] == 0); /* nothing outside of memory */
    return true;
}

static void may_use_rings(void)
{
    memset(g.may, 0, sizeof(g.may));
    for (unsigned i = 0; i < GUEST_QUEUES; i++)
        g.may[g.at[g.queue[i].page + 1]] = g.may[g.at[g.queue[i].page + 2]] = true;
}

static bool rounds(const struct guest_way *way)
{
    unsigned marked = 0;
    CHECK_OR_FALSE(begin(way));
    for (unsigned round = 0; round < ROUNDS; round++) {
        CHECK_OR_FALSE(guest_start(&g, true)); /* from here on, what is written is logged */
        may_use_rings();
        CHECK_OR_FALSE(guest_fill(&g));
        memset(g.log.ptr, 0, GUEST_LOG);
        memcpy(before, g.memory.ptr, GUEST_BYTES);
        guest_publish(&g);
        CHECK_OR_FALSE(guest_drain(&g) && guest_stop(&g) && compare(&marked));
    }
    CHECK_OR_FALSE(g.reads > 50 && g.writes > 25 && g.failures > 5 && marked > 300);
    guest_close(&g);
    return true;
}

static void what_is_written_is_marked_and_no_more(void)
{
    for (unsigned i = 0; i < via_array_len(ways); i++)
        CHECK(rounds(&ways[i]));
}

/* ------------------------------------------------------------------ the purpose */

static uint8_t destination[GUEST_BYTES];

static bool turn(bool more)
{
    CHECK_OR_FALSE(guest_reap(&g));
    if (more) {
        CHECK_OR_FALSE(guest_fill(&g));
        guest_publish(&g);
    }
    return true;
}

/* The mark is taken first, then the page is copied. How many were. */
static unsigned pass(bool first, bool turns)
{
    unsigned n = 0;
    for (unsigned page = 0; page < GUEST_PAGES; page++) {
        bool wrote = g.wrote[page];
        g.wrote[page] = false;
        if (!take_mark(page) && !wrote && !first)
            continue;
        memcpy(destination + (size_t)page * GUEST_PAGE, g.memory.ptr + (size_t)page * GUEST_PAGE, GUEST_PAGE);
        if (++n % PAGES_A_TURN == 0 && turns && !turn(true))
            return UINT32_MAX;
    }
    return n;
}

static bool migration(const struct guest_way *way)
{
    memset(destination, 0, sizeof(destination));
    CHECK_OR_FALSE(begin(way) && guest_start(&g, true));
    unsigned copied = pass(true, true), n = 0;
    CHECK_OR_FALSE(copied == GUEST_PAGES);
    for (unsigned i = 0; i < PASSES; i++) {
        CHECK_OR_FALSE(turn(true) && (n = pass(false, true)) != UINT32_MAX);
        copied += n;
    }
    /* And some that stop with requests out: what is copied now is changed afterwards. */
    for (unsigned i = 0; i < PASSES; i++) {
        CHECK_OR_FALSE(turn(true));
        for (unsigned k = 0; k < 4; k++)
            copied += pass(false, false);
        CHECK_OR_FALSE(guest_drain(&g));
    }
    CHECK_OR_FALSE(turn(true));
    (void)pass(false, false);
    CHECK_OR_FALSE(guest_drain(&g) && guest_stop(&g));
    n = pass(false, false);
    CHECK_OR_FALSE(n < GUEST_PAGES / 2);
    for (unsigned page = 0; page < GUEST_PAGES; page++)
        if (memcmp(destination + (size_t)page * GUEST_PAGE, g.memory.ptr + (size_t)page * GUEST_PAGE, GUEST_PAGE) != 0)
            return strange("is not the same at the destination", page);
    char text[160];
    snprintf(text, sizeof(text), "%s: %u reads, %u writes, %u failures; %u pages copied, the last %u with the guest stopped", way->name,
             g.reads, g.writes, g.failures, copied + n, n);
    tap_note(text);
    guest_close(&g);
    return true;
}

static void memory_that_moves_arrives_whole(void)
{
    for (unsigned i = 0; i < via_array_len(ways); i++)
        CHECK(migration(&ways[i]));
}

/* ------------------------------------------------------------------ off */

static void nothing_is_marked_that_nobody_asked_for(void)
{
    struct via_err err = {.text = ""};
    CHECK(begin(&ways[0]) && told(&err, via_client_log_all(&g.client, false, &err)) && guest_start(&g, false));
    CHECK(guest_fill(&g));
    guest_publish(&g);
    CHECK(guest_drain(&g) && guest_stop(&g));
    for (unsigned i = 0; i < GUEST_LOG; i++)
        CHECK_EQ(g.log.ptr[i], 0);
    guest_close(&g);
}

TAP_MAIN(TEST(what_is_written_is_marked_and_no_more), TEST(memory_that_moves_arrives_whole), TEST(nothing_is_marked_that_nobody_asked_for))
