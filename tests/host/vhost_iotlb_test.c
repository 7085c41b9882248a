/* SPDX-License-Identifier: BSD-2-Clause */
/* A connection whose addresses are translated: misses, invalidations, and what a front-end may do wrong with them. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "paged.h"

#define MISS_BYTES 44 /* header and payload */

static struct rig rig;
static struct paged front;
static struct via_err err;

static bool begin_with(uint32_t entries, uint32_t limit_ms, uint64_t protocol)
{
    CHECK_OR_FALSE(rig_open(&rig));
    rig.features = VIA_BIT(VIA_F_ACCESS_PLATFORM);
    rig.iotlb_entries = entries;
    rig.miss_limit_ms = limit_ms;
    return paged_open(&front, &rig, protocol);
}
static bool begin(void) { return begin_with(0, 0, RIG_PROTOCOL) && paged_start(&front, 0); }

static void end(void)
{
    paged_close(&front);
    (void)rig_ended(&rig, "");
    rig_close(&rig);
}

static unsigned asked(unsigned from, unsigned to)
{
    unsigned n = 0;
    for (unsigned i = from; i < to; i++)
        n += front.asked[i];
    return n;
}

/* A warning with this text comes within 5 s; misses are served meanwhile. */
static bool warned(const char *text)
{
    for (unsigned i = 0; i < 500; i++) {
        pthread_mutex_lock(&rig.lock);
        bool found = strstr(rig.warning.text, text) != NULL;
        pthread_mutex_unlock(&rig.lock);
        if (found)
            return true;
        paged_serve(&front, 10);
    }
    return rig_warned(&rig, text);
}

/* An answer to an IOTLB_MSG is there, or comes within that time. */
static bool answered(int ms)
{
    struct pollfd p = {.fd = front.client.fd, .events = POLLIN};
    return poll(&p, 1, ms) == 1;
}

static bool release(void)
{
    rig.hold = false;
    rig_wake(&rig);
    return true;
}

static bool held(unsigned n)
{
    for (unsigned i = 0; i < 500 && rig.n_held < n; i++)
        paged_serve(&front, 10);
    return rig.n_held == n;
}

/* ------------------------------------------------------------------ misses */

static void a_scattered_ring_and_scattered_buffers(void)
{
    CHECK(begin());
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 8; i++)
            CHECK(paged_submit(&front, PAGED_RING + i * 10, 1 + i));
        CHECK(paged_done(&front, 8));
    }
    CHECK_EQ(front.empty, 0);
    CHECK_EQ(rig.warned, 0);
    /* Each page once, and never again: nothing was invalidated. */
    for (unsigned i = 0; i < PAGED_PAGES; i++)
        CHECK(front.asked[i] <= 1);
    end();
}

/* Misses that stand in the channel unread; *pages: how many different pages from `first` on. */
static unsigned standing(unsigned first, unsigned n, unsigned *pages)
{
    static uint8_t bytes[1 << 16];
    ssize_t len = recv(front.client.req_fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
    bool seen[PAGED_PAGES] = {false};
    for (ssize_t at = 0; at + MISS_BYTES <= len; at += MISS_BYTES) {
        uint64_t iova;
        memcpy(&iova, bytes + at + VIA_VU_HDR, sizeof(iova));
        if (iova - PAGED_IOVA < (uint64_t)PAGED_PAGES * PAGED_PAGE)
            seen[(iova - PAGED_IOVA) / PAGED_PAGE] = true;
    }
    *pages = 0;
    for (unsigned i = first; i < first + n; i++)
        *pages += seen[i];
    return len < 0 ? 0 : (unsigned)(len / MISS_BYTES);
}

static void all_misses_of_all_requests_are_asked_for_at_once(void)
{
    unsigned pages = 0;
    CHECK(begin());
    CHECK(paged_submit(&front, PAGED_RING, 1) && paged_done(&front, 1)); /* the ring is known now */
    front.deaf = true;
    for (unsigned i = 0; i < 4; i++)
        CHECK(paged_submit(&front, PAGED_RING + 10 + i * 16, 15));
    CHECK(paged_submit(&front, PAGED_RING + 10, 15)); /* the same pages once more */
    paged_serve(&front, 100);
    CHECK_EQ(standing(PAGED_RING + 10, 64, &pages), 64);
    CHECK_EQ(pages, 64);
    front.deaf = false;
    CHECK(paged_done(&front, 5));
    CHECK_EQ(asked(PAGED_RING + 10, PAGED_RING + 74), 64);
    CHECK_EQ(front.empty, 0);
    end();
}

static void a_request_that_waits_stops_no_other(void)
{
    CHECK(begin());
    CHECK(paged_submit(&front, PAGED_RING + 100, 1) && paged_done(&front, 1));
    front.deaf = true;
    CHECK(paged_submit(&front, PAGED_RING + 10, 4));
    for (unsigned i = 0; i < 10; i++)
        CHECK(paged_submit(&front, PAGED_RING + 100, 1) && paged_done(&front, 1));
    end();
}

static void a_small_iotlb_still_serves(void)
{
    CHECK(begin_with(12, 0, RIG_PROTOCOL) && paged_start(&front, 0)); /* the ring's areas alone take 8 */
    for (unsigned i = 0; i < 50; i++)
        CHECK(paged_submit(&front, PAGED_RING + 4 * (i % 50), 1) && paged_done(&front, 1));
    CHECK_EQ(front.empty, 0);
    end();
}

static void what_the_front_end_refuses_fails_alone(void)
{
    CHECK(begin());
    front.perm[PAGED_RING + 12] = 0;
    CHECK(paged_submit(&front, PAGED_RING + 10, 6) && paged_submit(&front, PAGED_RING + 30, 6));
    CHECK(paged_done(&front, 2));
    CHECK_EQ(front.empty, 1);
    CHECK(warned("may not be read"));
    front.perm[PAGED_RING + 12] = VIA_PERM_R | VIA_PERM_W; /* a no is not kept */
    CHECK(paged_submit(&front, PAGED_RING + 10, 6) && paged_done(&front, 1));
    CHECK_EQ(front.empty, 1);
    end();
}

/* A page was judged that is not mapped. Its request has ended by another one; the driver maps both, and tries again. */
static void mapped_at_last(struct paged *p, unsigned page)
{
    if (page != PAGED_RING + 11 || p->asked[page] != 2) /* the first time it is not asked for an answer */
        return;
    p->deaf = true;
    if (paged_done(p, 1)) {
        p->perm[page] = p->perm[page + 1] = VIA_PERM_R | VIA_PERM_W;
        if (paged_tell(p, page + 1))
            (void)paged_submit(p, page, 1);
    }
    p->deaf = false;
}

static void a_no_is_for_requests_that_were_there_before_the_question(void)
{
    CHECK(begin());
    CHECK(paged_submit(&front, PAGED_RING, 1) && paged_done(&front, 1)); /* the ring is known now */
    front.perm[PAGED_RING + 11] = front.perm[PAGED_RING + 12] = 0;
    front.between = mapped_at_last;
    CHECK(paged_submit(&front, PAGED_RING + 10, 2) && paged_done(&front, 2));
    CHECK_EQ(front.empty, 1);
    CHECK(front.asked[PAGED_RING + 11] >= 3);
    end();
}

static void a_page_that_may_only_be_read_is_not_written(void)
{
    CHECK(begin());
    front.perm[PAGED_RING + 11] = VIA_PERM_R;
    CHECK(paged_submit(&front, PAGED_RING + 10, 1) && paged_done(&front, 1));
    CHECK_EQ(front.empty, 1);
    CHECK(warned("may not be written"));
    CHECK(paged_submit(&front, PAGED_RING + 11, 1) && paged_done(&front, 1)); /* reading it is fine */
    CHECK_EQ(front.empty, 1);
    paged_serve(&front, 20);
    CHECK_EQ(front.client.access_fails, 1);
    end();
}

static void a_front_end_that_never_answers_breaks_its_queue_alone(void)
{
    CHECK(begin_with(0, 300, VIA_BIT(VIA_VU_PF_MQ) | VIA_BIT(VIA_VU_PF_BACKEND_REQ)) && paged_start(&front, 0));
    CHECK(paged_submit(&front, PAGED_RING, 1) && paged_done(&front, 1));
    front.deaf = true;
    CHECK(paged_submit(&front, PAGED_RING + 10, 4));
    CHECK(paged_done(&front, 1)); /* it fails */
    CHECK_EQ(front.empty, 1);
    CHECK(warned("has not answered for 300 ms"));
    uint16_t base;
    front.deaf = false;
    CHECK_EQ(via_client_ring_stop(&front.client, 0, &base, &err), 0);
    CHECK_EQ(base, 2);
    memset(front.asked, 0, sizeof(front.asked));
    CHECK(paged_start(&front, 0)); /* a new start is a new life */
    CHECK(paged_submit(&front, PAGED_RING + 10, 4) && paged_done(&front, 1));
    CHECK_EQ(front.empty, 1);
    end();
}

static void without_a_channel_to_ask_requests_fail_clearly(void)
{
    CHECK(begin());
    CHECK(paged_submit(&front, PAGED_RING, 1) && paged_done(&front, 1));
    CHECK_EQ(shutdown(front.client.req_fd, SHUT_RDWR), 0);
    front.deaf = true;
    CHECK(paged_submit(&front, PAGED_RING + 10, 1));
    CHECK(paged_done(&front, 1));
    CHECK_EQ(front.empty, 1);
    CHECK(paged_submit(&front, PAGED_RING, 1) && paged_done(&front, 1)); /* what is known stays known */
    CHECK_EQ(front.empty, 1);
    end();
}

/* The flag alone, from a front-end that knows of no translation: nothing is missed, and nothing else is different. */
static void a_front_end_that_can_not_be_asked_translates_nothing(void)
{
    static struct front plain;
    const uint64_t platform = VIA_BIT(VIA_F_ACCESS_PLATFORM);
    CHECK(rig_open(&rig));
    rig.features = platform;
    CHECK(front_open(&plain, &rig, RIG_PROTOCOL & ~VIA_BIT(VIA_VU_PF_BACKEND_REQ)) && (plain.client.front.features & platform));
    CHECK(front_share(&plain) && front_start(&plain, 0, plain.kick));
    for (unsigned i = 0; i < 4; i++)
        CHECK(front_submit(&plain, i));
    CHECK(front_done(&plain, 4));
    front_close(&plain);
    CHECK(rig_ended(&rig, ""));
    rig_close(&rig);
    CHECK_EQ(rig.server.iotlb.asked, 0);
}

/* ------------------------------------------------------------------ invalidations */

static void an_invalidation_waits_for_requests_under_it(void)
{
    CHECK(begin());
    rig.hold = true;
    CHECK(paged_submit(&front, PAGED_RING + 10, 2) && held(1));
    CHECK(paged_invalidate(&front, paged_iova(PAGED_RING + 40), PAGED_PAGE, true)); /* another page: at once */
    CHECK(paged_invalidate(&front, paged_iova(PAGED_RING + 12), PAGED_PAGE, false));
    CHECK(!answered(100));
    CHECK(release() && answered(5000));
    CHECK_EQ(via_client_iotlb_settle(&front.client, &err), 0);
    CHECK(paged_done(&front, 1));
    end();
    CHECK_EQ(rig.server.iotlb.fenced, 1);
}

static void nothing_new_starts_under_an_invalidation_that_waits(void)
{
    CHECK(begin());
    rig.hold = true;
    CHECK(paged_submit(&front, PAGED_RING + 10, 2) && held(1));
    CHECK(paged_invalidate(&front, paged_iova(PAGED_RING + 10), PAGED_PAGE, false));
    front.deaf = true;
    CHECK(paged_submit(&front, PAGED_RING + 10, 2)); /* misses now */
    paged_serve(&front, 50);
    CHECK_EQ(rig.n_held, 1);
    CHECK(release() && paged_done(&front, 1));
    CHECK_EQ(via_client_iotlb_settle(&front.client, &err), 0);
    end();
}

/* The last address of a domain's flush as QEMU sends it is 2^64 - 1: start and size add up to 2^64. */
static void a_wide_flush_forgets_everything(void)
{
    CHECK(begin());
    CHECK(paged_submit(&front, PAGED_RING + 10, 4) && paged_done(&front, 1));
    unsigned before = asked(0, PAGED_PAGES);
    CHECK(paged_invalidate(&front, 0, 0xfee00000, true));
    CHECK(paged_submit(&front, PAGED_RING + 10, 4) && paged_done(&front, 1));
    CHECK_EQ(asked(0, PAGED_PAGES), before); /* below these pages */
    CHECK(paged_invalidate(&front, 0xfef00000, 0xffffffff01100000, true));
    CHECK(paged_submit(&front, PAGED_RING + 10, 4) && paged_done(&front, 1));
    CHECK_EQ(asked(0, PAGED_PAGES), 2 * before);
    CHECK_EQ(front.empty, 0);
    end();
}

static void a_page_that_moved_is_read_where_it_is_now(void)
{
    CHECK(begin());
    CHECK(paged_submit(&front, PAGED_RING + 10, 1) && paged_done(&front, 1));
    for (unsigned i = 0; i < 20; i++) { /* two pages trade places, under the driver too */
        unsigned a = PAGED_RING + 10, b = PAGED_RING + 20 + i, t = front.at[a];
        CHECK(paged_invalidate(&front, paged_iova(a), PAGED_PAGE, true));
        front.at[a] = front.at[b];
        front.at[b] = t;
        CHECK(paged_remap(&front, a) && paged_remap(&front, b));
        CHECK(paged_submit(&front, PAGED_RING + 10, 1) && paged_done(&front, 1));
    }
    end();
}

static void the_rings_own_pages_go_while_it_runs(void)
{
    CHECK(begin());
    for (unsigned round = 0; round < 20; round++) {
        rig.hold = true;
        CHECK(paged_submit(&front, PAGED_RING + 10, 2) && paged_submit(&front, PAGED_RING + 20, 2) && held(2));
        CHECK(paged_invalidate(&front, PAGED_IOVA, PAGED_RING * PAGED_PAGE, true)); /* no request is in them */
        front.deaf = true;
        CHECK(release());
        paged_serve(&front, 30);
        CHECK_EQ(front.answers, round * 2); /* completed, but there is no ring to show it in */
        front.deaf = false;
        CHECK(paged_done(&front, 2));
    }
    CHECK_EQ(rig.warned, 0);
    end();
}

/* ------------------------------------------------------------------ stops */

static void a_ring_that_waits_for_a_translation_stops_at_once(void)
{
    uint16_t base = 0;
    CHECK(begin());
    CHECK(paged_submit(&front, PAGED_RING, 1) && paged_done(&front, 1));
    front.deaf = true;
    CHECK(paged_submit(&front, PAGED_RING + 10, 4) && paged_submit(&front, PAGED_RING + 20, 4));
    paged_serve(&front, 50);
    CHECK_EQ(via_client_ring_stop(&front.client, 0, &base, &err), 0);
    CHECK_EQ(base, 1); /* both are put back */
    front.deaf = false;
    CHECK(paged_start(&front, base));
    CHECK(paged_done(&front, 2));
    CHECK_EQ(front.empty, 0);
    end();
}

static void a_stop_lets_a_translation_come(void)
{
    uint16_t base = 0;
    CHECK(begin());
    CHECK(paged_submit(&front, PAGED_RING, 1) && paged_done(&front, 1));
    front.deaf = true;
    CHECK(paged_submit(&front, PAGED_RING + 10, 4)); /* waits, and what was popped behind it is held: it can't be put back */
    paged_serve(&front, 50);
    rig.hold = true;
    CHECK(paged_submit(&front, PAGED_RING, 1) && held(1));
    front.deaf = false;
    CHECK(release());
    CHECK_EQ(via_client_ring_stop(&front.client, 0, &base, &err), 0);
    CHECK_EQ(base, 3);
    CHECK(paged_done(&front, 2));
    CHECK_EQ(front.empty, 0);
    end();
}

/* Its requests are done, but its own pages are gone, and nobody says where they are: that must not keep it from ending. */
static bool away_with_answers(void)
{
    CHECK_OR_FALSE(begin());
    rig.hold = true;
    CHECK_OR_FALSE(paged_submit(&front, PAGED_RING + 10, 2) && held(1));
    CHECK_OR_FALSE(paged_invalidate(&front, PAGED_IOVA, PAGED_RING * PAGED_PAGE, true));
    memset(front.perm, 0, sizeof(front.perm));
    front.deaf = true;
    return release();
}

static void a_ring_that_is_away_can_be_stopped(void)
{
    uint16_t base = 0;
    CHECK(away_with_answers());
    CHECK_EQ(via_client_ring_stop(&front.client, 0, &base, &err), 0);
    end();
}

/* A front-end that waits for the stop may not be able to answer anything else meanwhile. */
static void a_ring_that_is_nowhere_stops_in_time(void)
{
    const uint64_t ring_0 = 0;
    CHECK(away_with_answers());
    paged_serve(&front, 30);
    CHECK(raw_send(front.client.fd, VIA_VU_GET_VRING_BASE, &ring_0, sizeof(ring_0), NULL, 0));
    CHECK(answered(3000));
    end();
}

static void a_ring_that_is_away_can_be_reset(void)
{
    CHECK(away_with_answers());
    CHECK_EQ(via_client_status(&front.client, 0, &err), 0);
    end();
}

static void a_ring_that_is_away_is_left(void)
{
    CHECK(away_with_answers());
    paged_close(&front);
    CHECK(rig_ended(&rig, ""));
    rig_close(&rig);
}

static void memory_changes_under_a_translated_ring(void)
{
    struct via_vu_region region = {.gpa = 0, .size = 0, .uva = 0};
    CHECK(begin());
    region.size = front.memory.len;
    region.uva = (uintptr_t)front.memory.ptr;
    for (unsigned i = 0; i < 5; i++) {
        CHECK(paged_submit(&front, PAGED_RING + 10, 4));
        CHECK_EQ(via_client_share(&front.client, &region, &front.memory.fd, 1, &err), 0);
        CHECK(paged_done(&front, 1));
    }
    CHECK_EQ(front.empty, 0);
    end();
}

/* ------------------------------------------------------------------ bad messages */

/* By hand: our own front-end would not send such a thing. */
static bool refused(uint64_t iova, uint64_t size, uint64_t uva, uint8_t perm, uint8_t type)
{
    const struct via_vu_iotlb m = {.iova = iova, .size = size, .uva = uva, .perm = perm, .type = type};
    uint64_t value = 0;
    CHECK_OR_FALSE(raw_send(front.client.fd, VIA_VU_IOTLB_MSG, &m, sizeof(m), NULL, 0));
    CHECK_OR_FALSE(via_sock_recv_wait(front.client.fd, &front.client.rx, 5000, &err) == 1);
    CHECK_OR_FALSE(front.client.rx.msg.request == VIA_VU_IOTLB_MSG && front.client.rx.msg.size == sizeof(value));
    memcpy(&value, front.client.rx.msg.payload, sizeof(value));
    return value != 0;
}

static void bad_messages_are_refused_and_change_nothing(void)
{
    uint64_t uva, len;
    CHECK(begin());
    CHECK(paged_submit(&front, PAGED_RING + 10, 4) && paged_done(&front, 1));
    uva = (uintptr_t)front.memory.ptr;
    len = front.memory.len;
    CHECK(refused(0x1000, 0, uva, 3, VIA_VU_IOTLB_UPDATE));
    CHECK(refused(UINT64_MAX - 10, 0x1000, uva, 3, VIA_VU_IOTLB_UPDATE));
    CHECK(refused(0x1000, 0x1000, uva, 0, VIA_VU_IOTLB_UPDATE));
    CHECK(refused(0x1000, 0x1000, uva, 4, VIA_VU_IOTLB_UPDATE));
    CHECK(refused(0x1000, 0x1000, uva - 0x1000, 3, VIA_VU_IOTLB_UPDATE));
    CHECK(refused(0x1000, len + 1, uva, 3, VIA_VU_IOTLB_UPDATE));
    CHECK(refused(0x1000, UINT64_MAX - 0x1000, uva, 3, VIA_VU_IOTLB_UPDATE));
    CHECK(refused(0x1000, 0, 0, 0, VIA_VU_IOTLB_INVALIDATE));
    CHECK(refused(UINT64_MAX, 2, 0, 0, VIA_VU_IOTLB_INVALIDATE));
    CHECK(refused(0x1000, 0x1000, uva, 3, VIA_VU_IOTLB_MISS));
    CHECK(refused(0x1000, 0x1000, uva, 3, 77));
    unsigned before = asked(0, PAGED_PAGES);
    CHECK(paged_submit(&front, PAGED_RING + 10, 4) && paged_done(&front, 1));
    CHECK_EQ(asked(0, PAGED_PAGES), before);
    end();
    CHECK_EQ(rig.server.iotlb.refused, 11);
}

static void translations_before_features_are_refused(void)
{
    CHECK(rig_open(&rig));
    rig.features = VIA_BIT(VIA_F_ACCESS_PLATFORM);
    CHECK(paged_open(&front, &rig, RIG_PROTOCOL));
    CHECK_EQ(via_client_accept(&front.client, VIA_BIT(VIA_F_VERSION_1), &err), 0); /* without the flag, now */
    CHECK(refused(0x1000, 0x1000, (uintptr_t)front.memory.ptr, 3, VIA_VU_IOTLB_UPDATE));
    end();
}

static void a_flood_of_updates_and_invalidations(void)
{
    uint64_t seed = 1;
    CHECK(begin_with(64, 0, RIG_PROTOCOL) && paged_start(&front, 0));
    for (unsigned i = 0; i < 20000; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        const struct via_vu_iotlb m = {.iova = (seed >> 20) & 0xffffff,
                                       .size = 1 + ((seed >> 8) & 0xfff),
                                       .uva = (uintptr_t)front.memory.ptr + ((seed >> 44) & 0xffff),
                                       .perm = (uint8_t)(1 + (seed >> 60) % 3),
                                       .type = (seed >> 58) & 1 ? VIA_VU_IOTLB_UPDATE : VIA_VU_IOTLB_INVALIDATE};
        CHECK_EQ(via_client_iotlb(&front.client, &m, i % 64 == 63, &err), 0);
    }
    CHECK_EQ(via_client_iotlb_settle(&front.client, &err), 0);
    for (unsigned i = 0; i < 20; i++)
        CHECK(paged_submit(&front, PAGED_RING + 10, 1) && paged_done(&front, 1));
    CHECK_EQ(front.empty, 0);
    end();
    CHECK(rig.server.iotlb.tlb.n <= 64);
}

/* A ring word never lies in two entries: areas are joined from whole pages, or refused. */
static void an_area_in_pieces_that_are_not_pages_is_refused(void)
{
    CHECK(begin_with(0, 0, RIG_PROTOCOL));
    for (unsigned i = 0; i < 64; i++) { /* the ring's first page, in pieces of 64 bytes that lie backwards */
        const struct via_vu_iotlb m = {.iova = PAGED_IOVA + i * 64,
                                       .size = 64,
                                       .uva = (uintptr_t)front.memory.ptr + (63 - i) * 64,
                                       .perm = 3,
                                       .type = VIA_VU_IOTLB_UPDATE};
        CHECK_EQ(via_client_iotlb(&front.client, &m, true, &err), 0);
    }
    CHECK(paged_start(&front, 0) && warned("can't be joined"));
    end();
}

static void a_front_end_that_goes_leaves_nothing_behind(void)
{
    unsigned maps = scratch_maps();
    for (unsigned i = 0; i < 10; i++) {
        CHECK(begin());
        front.deaf = true;
        CHECK(paged_submit(&front, PAGED_RING + 10, 4));
        paged_serve(&front, 10 * i);
        paged_close(&front);
        CHECK(rig_ended(&rig, ""));
        rig_close(&rig);
    }
    CHECK_EQ(scratch_maps(), maps);
}

TAP_MAIN(TEST(a_scattered_ring_and_scattered_buffers), TEST(all_misses_of_all_requests_are_asked_for_at_once),
         TEST(a_request_that_waits_stops_no_other), TEST(a_small_iotlb_still_serves), TEST(what_the_front_end_refuses_fails_alone),
         TEST(a_no_is_for_requests_that_were_there_before_the_question), TEST(a_page_that_may_only_be_read_is_not_written),
         TEST(a_front_end_that_never_answers_breaks_its_queue_alone), TEST(without_a_channel_to_ask_requests_fail_clearly),
         TEST(a_front_end_that_can_not_be_asked_translates_nothing), TEST(an_invalidation_waits_for_requests_under_it),
         TEST(nothing_new_starts_under_an_invalidation_that_waits), TEST(a_wide_flush_forgets_everything),
         TEST(a_page_that_moved_is_read_where_it_is_now), TEST(the_rings_own_pages_go_while_it_runs),
         TEST(a_ring_that_waits_for_a_translation_stops_at_once), TEST(a_stop_lets_a_translation_come),
         TEST(a_ring_that_is_away_can_be_stopped), TEST(a_ring_that_is_nowhere_stops_in_time), TEST(a_ring_that_is_away_can_be_reset),
         TEST(a_ring_that_is_away_is_left), TEST(memory_changes_under_a_translated_ring), TEST(bad_messages_are_refused_and_change_nothing),
         TEST(translations_before_features_are_refused), TEST(a_flood_of_updates_and_invalidations),
         TEST(an_area_in_pieces_that_are_not_pages_is_refused), TEST(a_front_end_that_goes_leaves_nothing_behind))
