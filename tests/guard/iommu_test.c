/* SPDX-License-Identifier: BSD-2-Clause */
/* The guard behind an IOMMU: it looks translations up for a back-end that knows of none, and lets them go whatever that one does. */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <tap.h>

#include "paged.h"
#include "scratch.h"

#define POOL (4u << 20)
#define DEPTH (RIG_NUM / 2)
#define MISS_BYTES 44   /* header and payload */
#define AT_ONCE_MS 1000 /* far below any limit on waiting */

static struct rig rig;
static struct paged guest;
static struct paged_request request[DEPTH];

/* Each has a page to read, and three pages that its writable part begins and ends in the middle of. */
static void requests_make(void)
{
    for (unsigned i = 0; i < DEPTH; i++)
        request[i] = (struct paged_request){.out = (size_t)(PAGED_DATA + i) * PAGE + i,
                                            .out_len = 1000 + i,
                                            .in = (size_t)(40 + 3 * i) * PAGE + 100 + i,
                                            .in_len = 2 * PAGE + 50};
}
static unsigned in_page(unsigned i, unsigned k) { return 40 + 3 * i + k; }

static bool begin(enum rig_lie lie, size_t pool)
{
    requests_make();
    return rig_open(&rig, lie, pool) && paged_open(&guest, &rig);
}

static void end(void)
{
    paged_close(&guest);
    rig_close(&rig);
}

static bool submit(unsigned queue, unsigned n, unsigned seed)
{
    for (unsigned i = 0; i < n; i++)
        CHECK_OR_FALSE(paged_submit(&guest, queue, &request[i], seed + i));
    return true;
}

/* The back-end has so many requests, and sits on them. */
static bool held(unsigned n)
{
    for (unsigned i = 0; i < 1000 && rig.back.seen < n; i++)
        CHECK_OR_FALSE(paged_wait(&guest, 0, 5) == 0);
    CHECK_OR_FALSE(rig.back.seen == n);
    return true;
}

static bool hold(unsigned n) { return submit(0, n, 1) && held(n); }

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The guest is asked for something. */
static bool asked(void)
{
    struct pollfd p = {.fd = guest.client.req_fd, .events = POLLIN};
    return poll(&p, 1, 5000) == 1;
}

/* ------------------------------------------------------------------ misses */

static void scattered_pages_cross_unchanged(void)
{
    static const size_t len[] = {1, 512, 4095, 4096, 4097, 20000, 100001};
    struct paged_request q = {.out = PAGED_DATA * PAGE + 5, .in = 40 * PAGE + 77};
    CHECK(begin(RIG_HONEST, POOL));
    for (unsigned i = 0; i < via_array_len(len); i++)
        for (unsigned k = 0; k < via_array_len(len); k++) {
            q.out_len = len[i];
            q.in_len = len[k];
            CHECK(paged_submit(&guest, (i + k) % RIG_QUEUES, &q, i * k) && paged_done(&guest, (i + k) % RIG_QUEUES, 1));
        }
    for (unsigned i = 0; i < PAGED_PAGES; i++)
        CHECK(guest.asked[i] <= 1);
    CHECK(!(rig.back.server.back.features & VIA_BIT(VIA_F_ACCESS_PLATFORM))); /* the back-end knows nothing of it */
    end();
}

static void all_misses_of_all_requests_are_asked_for_at_once(void)
{
    static uint8_t bytes[1 << 16];
    bool seen[PAGED_PAGES] = {false};
    unsigned pages = 0;
    CHECK(begin(RIG_HONEST, POOL));
    CHECK(submit(0, 1, 1) && paged_done(&guest, 0, 1)); /* the ring is known now */
    guest.deaf = true;
    CHECK(submit(0, DEPTH, 1));
    CHECK_EQ(paged_wait(&guest, 0, 100), 1); /* the first one lacks nothing */
    CHECK_EQ(paged_wait(&guest, 0, 100), 0);
    ssize_t len = recv(guest.client.req_fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
    CHECK_EQ(len, (DEPTH - 1) * 4 * MISS_BYTES);
    for (ssize_t at = 0; at < len; at += MISS_BYTES) {
        uint64_t iova;
        memcpy(&iova, bytes + at + VIA_VU_HDR, sizeof(iova));
        CHECK((iova - PAGED_IOVA) / PAGE < PAGED_PAGES);
        bool *page = &seen[(iova - PAGED_IOVA) / PAGE];
        pages += !*page;
        *page = true;
    }
    CHECK_EQ(pages, (DEPTH - 1) * 4);
    guest.deaf = false;
    CHECK(paged_done(&guest, 0, DEPTH - 1));
    end();
}

/* ------------------------------------------------------------------ the fence */

static void a_hung_back_end_does_not_hold_invalidations_up(void)
{
    CHECK(begin(RIG_SILENT, POOL));
    CHECK(hold(DEPTH));
    int64_t start = now_ms();
    for (unsigned i = 0; i < DEPTH; i++)
        for (unsigned k = 0; k < 3; k++)
            CHECK(paged_move(&guest, in_page(i, k), false));
    CHECK(paged_flush(&guest));
    CHECK(now_ms() - start < AT_ONCE_MS);
    CHECK(paged_owners(&guest));
    end();
}

static void a_hung_back_end_does_not_hold_a_memory_table_up(void)
{
    CHECK(begin(RIG_SILENT, POOL));
    CHECK(hold(4));
    struct via_vu_region region = {.gpa = 0, .size = guest.memory.len, .uva = (uintptr_t)guest.memory.ptr};
    int64_t start = now_ms();
    CHECK_EQ(via_client_share(&guest.client, &region, &guest.memory.fd, 1, NULL), 0);
    CHECK(now_ms() - start < AT_ONCE_MS);
    rig_release(&rig);
    CHECK(paged_done(&guest, 0, 4));
    end();
}

/* The frames that the answers were to go to have other owners when the back-end answers at last. */
static void answers_arrive_where_the_pages_are_now(void)
{
    CHECK(begin(RIG_SILENT, POOL));
    for (unsigned round = 0; round < 10; round++) {
        rig.back.lie = RIG_SILENT;
        rig.back.seen = 0;
        CHECK(hold(DEPTH));
        for (unsigned i = 0; i < PAGED_SPARE; i++)
            CHECK(paged_move(&guest, in_page((i * 5 + round) % DEPTH, i % 3), i % 2));
        for (unsigned i = PAGED_SPARE; round % 2 && i-- > 0;) /* once more, into one another's frames */
            CHECK(paged_move(&guest, in_page((i * 5 + round) % DEPTH, i % 3), i % 2));
        rig_release(&rig);
        CHECK(paged_done(&guest, 0, DEPTH));
        CHECK(paged_owners(&guest));
    }
    end();
}

/* The page is found, and lost again before the answer has got there; again and again. */
static void an_answer_waits_through_many_invalidations(void)
{
    const uint64_t lost = paged_iova((size_t)in_page(0, 1) * PAGE);
    CHECK(begin(RIG_SILENT, POOL));
    CHECK(hold(4));
    CHECK(paged_message(&guest, VIA_VU_IOTLB_INVALIDATE, lost, PAGE, true));
    guest.deaf = true;
    rig_release(&rig);
    CHECK_EQ(paged_wait(&guest, 0, 5000), 1); /* the others have lost nothing */
    CHECK_EQ(paged_wait(&guest, 0, 5000), 1);
    CHECK_EQ(paged_wait(&guest, 0, 5000), 1);
    CHECK(asked());
    for (unsigned i = 0; i < 20; i++) {
        CHECK(paged_message(&guest, VIA_VU_IOTLB_INVALIDATE, lost, PAGE, false));
        CHECK(paged_message(&guest, VIA_VU_IOTLB_INVALIDATE, paged_iova((size_t)in_page(0, 0) * PAGE), PAGE, false));
        CHECK(paged_message(&guest, VIA_VU_IOTLB_UPDATE, lost, PAGE, false)); /* one is there, the other not any more */
        usleep(2000);
    }
    CHECK_EQ(paged_wait(&guest, 0, 20), 0);
    CHECK(paged_move(&guest, in_page(0, 1), true));
    guest.deaf = false;
    CHECK(paged_done(&guest, 0, 1));
    CHECK(paged_owners(&guest));
    end();
}

/* Answers that wait for translations stay in the pool: it is what they are bounded by, and they leave it again. */
static void answers_that_wait_take_no_room_but_the_pools(void)
{
    CHECK(begin(RIG_SILENT, 16 * PAGE)); /* four requests of four pages each */
    CHECK(hold(4));
    for (unsigned i = 0; i < 4; i++)
        CHECK(paged_message(&guest, VIA_VU_IOTLB_INVALIDATE, paged_iova((size_t)in_page(i, 0) * PAGE), PAGE, true));
    CHECK(paged_submit(&guest, 1, &request[10], 10) && paged_wait(&guest, 1, 50) == 0);
    guest.deaf = true;
    rig_release(&rig);
    CHECK(asked());
    CHECK_EQ(paged_wait(&guest, 1, 50), 0); /* there is no slot for it */
    CHECK_EQ(paged_wait(&guest, 0, 1), 0);
    guest.deaf = false;
    CHECK(paged_done(&guest, 0, 4));
    CHECK(paged_done(&guest, 1, 1));
    CHECK(submit(0, DEPTH, 7) && paged_done(&guest, 0, DEPTH)); /* all of the pool is there again */
    end();
}

static void flushes_in_the_middle_of_everything(void)
{
    enum { ROUNDS = 3000 };
    unsigned seed = 1;
    CHECK(begin(RIG_LATE, POOL));
    CHECK(submit(0, DEPTH, 0));
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned pick = (unsigned)rand_r(&seed);
        CHECK(paged_move(&guest, in_page(pick % DEPTH, pick / DEPTH % 3), pick / 128 % 4 == 0));
        for (unsigned i = 0; i < pick / 512 % 4; i++) {
            CHECK_EQ(paged_wait(&guest, 0, 5000), 1);
            CHECK(paged_submit(&guest, 0, guest.last, round));
        }
    }
    rig_release(&rig);
    CHECK(paged_done(&guest, 0, DEPTH));
    CHECK(paged_owners(&guest));
    end();
}

/* ------------------------------------------------------------------ taken for good */

static FILE *heard;
static int mouth;

static void listen_to_errors(void)
{
    fflush(stderr);
    heard = tmpfile();
    mouth = dup(2);
    dup2(fileno(heard), 2);
}

/* Within 5 s this is there; misses are served meanwhile. */
static bool said(const char *text)
{
    static char all[8192];
    bool found = false;
    for (unsigned i = 0; i < 500 && !found; i++) {
        ssize_t n = pread(fileno(heard), all, sizeof(all) - 1, 0);
        all[n > 0 ? n : 0] = 0;
        found = strstr(all, text);
        if (!found && paged_wait(&guest, 0, 10) != 0)
            break;
    }
    dup2(mouth, 2);
    close(mouth);
    fclose(heard);
    if (!found)
        tap_note(all);
    return found;
}

static void a_page_taken_for_good_breaks_its_queue_alone(void)
{
    uint8_t *frame;
    CHECK(begin(RIG_SILENT, POOL));
    CHECK(hold(2));
    guest.perm[in_page(0, 1)] = 0;
    CHECK(paged_message(&guest, VIA_VU_IOTLB_INVALIDATE, paged_iova((size_t)in_page(0, 1) * PAGE), PAGE, true));
    frame = paged_frame(&guest, guest.at[in_page(0, 1)]);
    memset(frame, PAGED_OWNED, PAGE);
    listen_to_errors();
    rig_release(&rig);
    int other = paged_wait(&guest, 0, 5000); /* its answer had nothing to wait for */
    bool loud = said("ring 0 is broken: the driver: a buffer was taken away for good while the back-end had its request");
    CHECK(loud && other == 1 && guest.last == &request[1]);
    CHECK(paged_submit(&guest, 0, &request[1], 5) && paged_wait(&guest, 0, 50) == 0);
    CHECK(paged_submit(&guest, 1, &request[2], 6) && paged_done(&guest, 1, 1)); /* alone */
    for (unsigned i = 0; i < PAGE; i++)
        CHECK_EQ(frame[i], PAGED_OWNED);
    uint16_t base;
    guest.perm[in_page(0, 1)] = VIA_PERM_R | VIA_PERM_W; /* and what was broken can start anew */
    CHECK_EQ(via_client_ring_stop(&guest.client, 0, &base, NULL), 0);
    CHECK(paged_ring_start(&guest, 0, true));
    CHECK(submit(0, DEPTH, 9) && paged_done(&guest, 0, DEPTH));
    end();
}

/* ------------------------------------------------------------------ ends */

/* Requests are under way in one of these ways ... */
static bool waiting_for_translations(void)
{
    guest.deaf = true;
    return submit(0, DEPTH, 1) && asked();
}

static bool held_and_stale(void) { return hold(4) && paged_flush(&guest); }

static bool answered_and_kept(void)
{
    CHECK_OR_FALSE(hold(4));
    for (unsigned i = 0; i < 4; i++)
        CHECK_OR_FALSE(paged_message(&guest, VIA_VU_IOTLB_INVALIDATE, paged_iova((size_t)in_page(i, 0) * PAGE), PAGE, true));
    guest.deaf = true;
    rig_release(&rig);
    return asked();
}

static bool answered_but_the_ring_is_away(void)
{
    CHECK_OR_FALSE(hold(4));
    CHECK_OR_FALSE(paged_message(&guest, VIA_VU_IOTLB_INVALIDATE, PAGED_IOVA, PAGE, true));
    guest.deaf = true;
    rig_release(&rig);
    return paged_wait(&guest, 0, 30) == 0;
}

/* ... when one of these happens. */
static bool the_guest_leaves(void) { return true; }

static bool the_back_end_leaves(void)
{
    rig_drop(&rig);
    CHECK_OR_FALSE(paged_wait(&guest, 0, 5000) == -VIA_ENODEV);
    return true;
}

/* Sends this, and waits for the answer, without an ear for misses. */
static bool ends_deaf(uint32_t request_no, const void *payload, uint32_t size, uint32_t flags)
{
    struct via_vu_msg m = {.request = request_no, .flags = VIA_VU_VERSION | flags, .size = size};
    struct via_sock_rx rx;
    memcpy(m.payload, payload, size);
    rig_release(&rig); /* for a back-end that never ends there is a limit of 30 s */
    via_sock_rx_init(&rx);
    CHECK_OR_FALSE(via_sock_send(guest.client.fd, &m, 2000, NULL) == 0);
    int r;
    do /* what comes before is about translations */
        r = via_sock_recv_wait(guest.client.fd, &rx, 5000, NULL);
    while (r == 1 && rx.msg.request != request_no);
    via_sock_rx_close(&rx);
    CHECK_OR_FALSE(r == 1);
    return true;
}

static bool the_ring_stops(void) { return ends_deaf(VIA_VU_GET_VRING_BASE, &(uint64_t){0}, 8, 0); }
static bool the_device_is_reset(void) { return ends_deaf(VIA_VU_SET_STATUS, &(uint64_t){0}, 8, VIA_VU_FLAG_NEED_REPLY); }

/* Whatever was under way, the next guest is served, and nothing is left behind. */
static void every(bool (*finish)(void))
{
    static bool (*const state[])(void) = {waiting_for_translations, held_and_stale, answered_and_kept, answered_but_the_ring_is_away};
    int fds = scratch_open_fds();
    unsigned before = scratch_maps();
    char note[32];
    for (unsigned i = 0; i < via_array_len(state); i++) {
        CHECK(begin(RIG_SILENT, POOL));
        CHECK(state[i]());
        bool well = finish();
        paged_close(&guest);
        rig.back.lie = RIG_HONEST;
        well = well && paged_open(&guest, &rig) && submit(0, 4, 1) && paged_done(&guest, 0, 4);
        if (!well) {
            snprintf(note, sizeof(note), "in state %u", i);
            tap_note(note);
        }
        CHECK(well);
        end();
    }
    CHECK_EQ(scratch_open_fds(), fds);
    CHECK_EQ(scratch_maps(), before);
}

static void a_guest_that_leaves_leaves_nothing_behind(void) { every(the_guest_leaves); }
/* That it left is then seen while looking for work, and not by being woken. */
static void a_guest_that_leaves_while_the_guard_polls(void)
{
    rig_poll_ns = 1000000;
    for (unsigned i = 0; i < 3 && !tap_failed(); i++)
        every(the_guest_leaves);
    rig_poll_ns = 0;
}
static void a_back_end_that_leaves_leaves_nothing_behind(void) { every(the_back_end_leaves); }
static void a_ring_that_stops_leaves_nothing_behind(void) { every(the_ring_stops); }
static void a_reset_leaves_nothing_behind(void) { every(the_device_is_reset); }

/* Nobody is left to be asked: each request that waits breaks the ring, and none of them may be forgotten over that. */
static void a_guest_that_shuts_the_channel_for_misses_first(void)
{
    for (unsigned stop = 0; stop < 2; stop++) {
        CHECK(begin(RIG_HONEST, POOL));
        CHECK(submit(0, 1, 1) && paged_done(&guest, 0, 1));
        guest.deaf = true;
        CHECK(submit(0, DEPTH, 1));
        CHECK_EQ(paged_wait(&guest, 0, 1000), 1);
        CHECK(asked());
        CHECK_EQ(shutdown(guest.client.req_fd, SHUT_RDWR), 0);
        usleep(20000);
        CHECK(!stop || the_ring_stops());
        paged_close(&guest);
        CHECK(paged_open(&guest, &rig));
        CHECK(submit(0, 4, 1) && paged_done(&guest, 0, 4));
        end();
    }
}

static void a_guard_that_ends_leaves_nothing_behind(void)
{
    int fds = scratch_open_fds();
    CHECK(begin(RIG_SILENT, POOL));
    CHECK(answered_and_kept());
    rig_close(&rig);
    paged_close(&guest);
    CHECK_EQ(scratch_open_fds(), fds);
}

TAP_MAIN(TEST(scattered_pages_cross_unchanged), TEST(all_misses_of_all_requests_are_asked_for_at_once),
         TEST(a_hung_back_end_does_not_hold_invalidations_up), TEST(a_hung_back_end_does_not_hold_a_memory_table_up),
         TEST(answers_arrive_where_the_pages_are_now), TEST(an_answer_waits_through_many_invalidations),
         TEST(answers_that_wait_take_no_room_but_the_pools), TEST(flushes_in_the_middle_of_everything),
         TEST(a_page_taken_for_good_breaks_its_queue_alone), TEST(a_guest_that_leaves_leaves_nothing_behind),
         TEST(a_guest_that_leaves_while_the_guard_polls), TEST(a_back_end_that_leaves_leaves_nothing_behind),
         TEST(a_ring_that_stops_leaves_nothing_behind), TEST(a_reset_leaves_nothing_behind),
         TEST(a_guest_that_shuts_the_channel_for_misses_first), TEST(a_guard_that_ends_leaves_nothing_behind))
