/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A host that knows, over vhost-user: the back-end's translations follow what is shared, and a page becomes private when the back-end is
 * done with it. It has the descriptor all the same; what it finds there is the other tests' matter.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <viaduct/domain.h>

#include "protect_rig.h"
#include "vhost_rig.h"

#define BYTES 64u /* of a request: the toy device turns them over */
#define MASK 0x5a
#define DATA 4u /* pages from here on; the ring before */

struct guest {
    struct rig rig;
    struct via_private m;
    struct via_vu_region region;
    struct via_front_domain domain;
    struct via_front_page table[PAGES];
    struct via_endpoint end;
    struct via_private_domain host;
    struct via_vq vq;
    struct via_vq_slot slot[RIG_NUM];
    int kick, call;
};

static struct guest g;

static uint8_t *at(size_t page) { return g.m.memory.ptr + page * PAGE; }

static int share(size_t page, size_t n) { return via_protect_share(&g.m.protect, at(page), n * PAGE); }

static int unshare(size_t page, size_t n) { return via_protect_unshare(&g.m.protect, at(page), n * PAGE); }

static bool connect_back_end(void)
{
    const uint64_t need = VIA_BIT(VIA_F_VERSION_1) | VIA_BIT(VIA_F_ACCESS_PLATFORM);
    const uint64_t protocol = VIA_BIT(VIA_VU_PF_REPLY_ACK) | VIA_BIT(VIA_VU_PF_BACKEND_REQ);
    struct via_err err = {.text = ""};
    g.rig.features = VIA_BIT(VIA_F_ACCESS_PLATFORM);
    int fd = rig_connect(&g.rig);
    CHECK_OR_FALSE(fd >= 0 && via_client_adopt(&g.end.client, fd) == 0);
    int r = via_client_negotiate(&g.end.client, need, need, protocol, &err);
    if (!r)
        r = via_client_share(&g.end.client, &g.region, &g.m.memory.fd, 1, &err);
    if (!r)
        r = via_endpoint_attach(&g.end, &g.domain, &err);
    if (r)
        tap_note(err.text);
    CHECK_OR_FALSE(r == 0);
    return true;
}

static bool start_ring(void)
{
    struct via_split_layout lay;
    struct via_err err = {.text = ""};
    CHECK_OR_FALSE(via_split_layout(&lay, RIG_NUM, 4) == 0 && lay.total <= DATA * PAGE && share(0, DATA) == 0);
    const struct via_vq_cfg cfg = {
        .num = RIG_NUM, .desc = at(0) + lay.desc, .avail = at(0) + lay.avail, .used = at(0) + lay.used, .slot = g.slot};
    CHECK_OR_FALSE(via_vq_init(&g.vq, &cfg) == 0);
    int r = via_client_ring_start(&g.end.client, 0, RIG_NUM, PHYS + lay.desc, PHYS + lay.avail, PHYS + lay.used, 0, g.kick, g.call, &err);
    if (r)
        tap_note(err.text);
    CHECK_OR_FALSE(r == 0);
    return true;
}

static bool guest_open(void)
{
    const struct via_private_cfg cfg = {.name = "guest", .len = PAGES * PAGE};
    struct via_err err = {.text = ""};
    memset(&g, 0, sizeof(g));
    CHECK_OR_FALSE(rig_open(&g.rig) && via_private_create(&g.m, &cfg, &err) == 0);
    g.region = (struct via_vu_region){.gpa = PHYS, .size = cfg.len, .uva = (uintptr_t)g.m.memory.ptr};
    const struct via_front_domain_cfg domain = {.memory = &g.region, .n_memory = 1, .shift = 12, .range = {PHYS, PHYS + cfg.len - 1}};
    CHECK_OR_FALSE(via_front_domain_init(&g.domain, &domain, g.table, PAGES) == 0);
    via_private_domain_init(&g.host, &g.domain.domain, PHYS, PHYS);
    g.m.host = &g.host.host;
    g.kick = via_event_create();
    g.call = via_event_create();
    return connect_back_end() && start_ring();
}

static void guest_close(void)
{
    via_endpoint_detach(&g.end);
    via_client_close(&g.end.client);
    rig_close(&g.rig);
    via_private_destroy(&g.m);
    close(g.kick);
    close(g.call);
}

/* A request in one page, whatever that is: this driver asks nobody. */
static bool submit(size_t page)
{
    const struct via_seg seg[2] = {{{PHYS + page * PAGE}, BYTES}, {{PHYS + page * PAGE + PAGE / 2}, BYTES}};
    memset(at(page), (int)page, PAGE);
    CHECK_OR_FALSE(via_vq_add(&g.vq, seg, 1, 1, at(page)) == 0);
    if (via_vq_publish(&g.vq))
        via_event_signal(g.kick);
    return true;
}

/* What the device says that it wrote, within 5 s; -1: nothing. Its misses are answered meanwhile. */
static int answer(void)
{
    struct via_used_chain used;
    struct pollfd p[2] = {{.fd = g.call, .events = POLLIN}, {.fd = g.end.client.req_fd, .events = POLLIN}};
    while (via_vq_reap(&g.vq, &used) == 0) {
        if (!via_vq_arm(&g.vq) && poll(p, 2, 5000) <= 0)
            return -1;
        via_event_clear(g.call);
        if (via_client_back_req(&g.end.client, NULL) < 0)
            return -1;
    }
    const uint8_t *page = used.token;
    for (unsigned i = 0; i < BYTES; i++)
        if (page[PAGE / 2 + i] != (page[i] ^ (used.written ? MASK : 0)))
            return -1;
    return (int)used.written;
}

static void only_shared_pages_are_translated(void)
{
    CHECK(guest_open());
    CHECK_EQ(share(DATA, 8), 0);
    CHECK(submit(DATA + 7));
    CHECK_EQ(answer(), BYTES);
    uint64_t refused = g.end.refused;
    CHECK(submit(DATA + 8));
    CHECK_EQ(answer(), 0);
    CHECK(g.end.refused > refused);
    for (size_t i = 0; i < PAGE; i++)
        CHECK_EQ(at(DATA + 8)[i], DATA + 8);
    guest_close();
}

/* Each round has three pages of its own: a back-end that was refused one may still be asking about it when its request has ended. */
static void what_becomes_private_is_taken_away(void)
{
    CHECK(guest_open());
    for (size_t page = DATA; page + 3 <= PAGES; page += 3) {
        CHECK_EQ(share(page, 3), 0);
        CHECK(submit(page + 1)); /* now the back-end has its translation, and its neighbours' */
        CHECK_EQ(answer(), BYTES);
        uint64_t invalidates = g.end.invalidates;
        CHECK_EQ(unshare(page, 2), 0);
        CHECK_EQ(g.end.invalidates, invalidates + 1); /* in bulk */
        CHECK(submit(page + 1));
        CHECK_EQ(answer(), 0);
        CHECK(submit(page + 2));
        CHECK_EQ(answer(), BYTES);
        CHECK_EQ(share(page, 1), 0);
        CHECK(submit(page));
        CHECK_EQ(answer(), BYTES);
    }
    guest_close();
}

static _Atomic bool is_private;
static int result;

static void *make_private(void *arg)
{
    size_t page = *(const size_t *)arg;
    result = unshare(page, 1);
    is_private = true;
    return NULL;
}

static void a_page_is_private_when_the_device_is_done_with_it(void)
{
    const size_t page = DATA;
    pthread_t thread;
    CHECK(guest_open());
    CHECK_EQ(share(page, 1), 0);
    CHECK(submit(page));
    CHECK_EQ(answer(), BYTES);
    g.rig.hold = true;
    CHECK(submit(page));
    CHECK(rig_until(&g.rig.n_held, 1));
    is_private = false;
    CHECK_EQ(pthread_create(&thread, NULL, make_private, &(size_t){page}), 0);
    usleep(50000);
    CHECK(!is_private);
    g.rig.hold = false; /* its answer is written, into what is still shared */
    rig_wake(&g.rig);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(result, 0);
    for (size_t i = 0; i < PAGE; i++)
        CHECK_EQ(at(page)[i], 0);
    guest_close();
}

static void a_back_end_that_is_gone_leaves_pages_in_doubt(void)
{
    CHECK(guest_open());
    CHECK_EQ(share(DATA, 4), 0);
    CHECK(submit(DATA + 1));
    CHECK_EQ(answer(), BYTES);
    g.rig.leave = true;
    rig_wake(&g.rig);
    CHECK(rig_until(&g.rig.closed, 1));
    CHECK(unshare(DATA, 4) < 0);
    CHECK(strstr(g.m.why.text, "the host can't be told that page 4 becomes private"));
    CHECK(!via_protect_is_private(&g.m.protect, at(DATA), 1) && !via_protect_is_shared(&g.m.protect, at(DATA), 1));
    CHECK(via_protect_is_shared(&g.m.protect, at(DATA + 1), 3 * PAGE));
    via_endpoint_detach(&g.end); /* it holds nothing any more */
    CHECK_EQ(unshare(DATA, 4), 0);
    CHECK(via_protect_is_private(&g.m.protect, at(DATA), 4 * PAGE));
    guest_close();
}

/* The back-end was told, and memory did not follow: it is told back, and pages in doubt can go either way. */
static void memory_that_does_not_follow(void)
{
    for (unsigned way = 0; way < 4; way++) {
        bool was_shared = way & 1, retry = way & 2;
        CHECK(guest_open());
        CHECK_EQ(was_shared ? share(DATA, 4) : 0, 0);
        protect_fail_in = 1;
        CHECK((was_shared ? unshare(DATA, 4) : share(DATA, 4)) < 0);
        protect_fail_in = 0;
        CHECK(submit(DATA + 1));
        CHECK_EQ(answer(), was_shared ? BYTES : 0);
        CHECK_EQ(retry ? share(DATA, 4) : unshare(DATA, 4), 0);
        for (size_t i = 0; i < 4; i++) {
            if (i == 1 && !was_shared) /* refused just now: it may still be asked about */
                continue;
            CHECK(submit(DATA + i));
            CHECK_EQ(answer(), retry ? BYTES : 0);
        }
        guest_close();
    }
}

TAP_MAIN(TEST(only_shared_pages_are_translated), TEST(what_becomes_private_is_taken_away),
         TEST(a_page_is_private_when_the_device_is_done_with_it), TEST(a_back_end_that_is_gone_leaves_pages_in_doubt),
         TEST(memory_that_does_not_follow))
