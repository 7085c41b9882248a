/* SPDX-License-Identifier: BSD-2-Clause */
/* The guard between a guest and a back-end that may be hostile. */
#include <stdlib.h>
#include <string.h>

#include <tap.h>

#include "rig.h"
#include "scratch.h"

#define POOL (4u << 20)

static struct rig rig;

/* One request of out_len readable and in_len writable bytes at odd places, with a canary behind; checked byte for byte. */
static bool exchange(struct rig_guest *g, unsigned queue, size_t out_len, size_t in_len)
{
    uint8_t *out = g->data + 5, *in = g->data + (2 << 20) + 3;
    struct via_used_chain used;
    for (size_t i = 0; i < out_len; i++)
        out[i] = (uint8_t)(rand() >> 4);
    memset(in, 0xc5, in_len + 64);
    CHECK_OR_FALSE(rig_submit(g, queue, (struct via_span){out, out_len}, (struct via_span){in, in_len}, out));
    CHECK_OR_FALSE(rig_wait(g, queue, &used, 5000) == 1);
    CHECK_OR_FALSE(used.token == out && used.written == in_len);
    for (size_t i = 0; i < in_len; i++)
        CHECK_OR_FALSE(in[i] == rig_answer(out, out_len, i));
    for (size_t i = 0; i < 64; i++)
        CHECK_OR_FALSE(in[in_len + i] == 0xc5);
    return true;
}

static void requests_cross_unchanged(void)
{
    static const size_t len[] = {1, 15, 16, 512, 4095, 4096, 4097, 65536, 300001};
    CHECK(rig_open(&rig, RIG_HONEST, POOL));
    CHECK(rig_guest_open(&rig));
    for (unsigned i = 0; i < via_array_len(len); i++)
        for (unsigned k = 0; k < via_array_len(len); k++)
            CHECK(exchange(&rig.guest, (i + k) % RIG_QUEUES, len[i], len[k]));
    CHECK(exchange(&rig.guest, 0, 0, 512));
    CHECK(exchange(&rig.guest, 0, 512, 0));
    rig_guest_close(&rig);
    rig_close(&rig);
}

static void the_back_end_gets_one_region_and_it_is_the_pool(void)
{
    CHECK(rig_open(&rig, RIG_HONEST, POOL));
    CHECK(rig_guest_open(&rig));
    CHECK(exchange(&rig.guest, 0, 100, 100));
    CHECK_EQ(rig.back.regions, 1);
    CHECK(rig.back.region_bytes < RIG_GUEST_BYTES + POOL && rig.back.region_bytes > POOL);
    rig_guest_close(&rig);
    rig_close(&rig);
}

static void config_space_and_features_pass_through(void)
{
    uint8_t config[32];
    CHECK(rig_open(&rig, RIG_HONEST, POOL));
    CHECK(rig_guest_open(&rig));
    CHECK_EQ(via_client_config_get(&rig.guest.client, 4, config, sizeof(config), NULL), 0);
    for (unsigned i = 0; i < sizeof(config); i++)
        CHECK_EQ(config[i], i + 5);
    CHECK(rig.guest.client.front.features & VIA_BIT(5));
    CHECK(!(rig.guest.client.front.offered & VIA_BIT(6)));
    rig_guest_close(&rig);
    rig_close(&rig);
}

/* The back-end is asked for the order that it offers, and so is the guard, though this guest wants none of it. */
static void the_back_end_orders_as_it_offers(void)
{
    CHECK(rig_open(&rig, RIG_HONEST, POOL));
    CHECK(rig_guest_open(&rig));
    CHECK(exchange(&rig.guest, 0, 700, 900));
    CHECK(rig.back.server.back.features & VIA_BIT(VIA_F_ORDER_PLATFORM));
    CHECK(rig.guest.client.front.offered & VIA_BIT(VIA_F_ORDER_PLATFORM));
    CHECK(!(rig.guest.client.front.features & VIA_BIT(VIA_F_ORDER_PLATFORM)));
    rig_guest_close(&rig);
    rig_close(&rig);
}

/* A ring that is stopped and started again goes on where it was; both queues at once, many times. */
static void rings_stop_and_start_again(void)
{
    CHECK(rig_open(&rig, RIG_HONEST, POOL));
    CHECK(rig_guest_open(&rig));
    for (unsigned round = 0; round < 10; round++) {
        uint16_t base;
        CHECK(exchange(&rig.guest, 0, 700, 9000));
        CHECK_EQ(via_client_ring_stop(&rig.guest.client, 0, &base, NULL), 0);
        CHECK_EQ(base, 1);
        CHECK(exchange(&rig.guest, 1, 700, 9000));
        CHECK(rig_ring_start(&rig.guest, 0, 0));
    }
    rig_guest_close(&rig);
    rig_close(&rig);
}

/* A pool far smaller than what is asked for at once: everything waits its turn, on both queues, and nothing fails. */
static void a_full_pool_is_waited_for(void)
{
    enum { EACH = 30, BYTES = 40000 };
    CHECK(rig_open(&rig, RIG_HONEST, 64 << 10));
    CHECK(rig_guest_open(&rig));
    uint8_t *data = rig.guest.data;
    for (unsigned i = 0; i < EACH; i++)
        for (unsigned q = 0; q < RIG_QUEUES; q++)
            CHECK(
                rig_submit(&rig.guest, q, (struct via_span){data, 10}, (struct via_span){data + (1 + i * 2 + q) * BYTES, BYTES}, data + i));
    for (unsigned i = 0; i < EACH; i++)
        for (unsigned q = 0; q < RIG_QUEUES; q++) {
            struct via_used_chain used;
            CHECK_EQ(rig_wait(&rig.guest, q, &used, 5000), 1);
            CHECK_EQ(used.written, BYTES);
        }
    for (unsigned i = 0; i < EACH * 2; i++)
        for (size_t k = 0; k < BYTES; k += 997)
            CHECK_EQ(data[(1 + i) * BYTES + k], rig_answer(data, 10, k));
    rig_guest_close(&rig);
    rig_close(&rig);
}

/* What one queue keeps at hand is not kept from another that needs all of the pool. */
static void an_idle_queue_gives_its_slots_up(void)
{
    CHECK(rig_open(&rig, RIG_HONEST, 64 << 10));
    CHECK(rig_guest_open(&rig));
    CHECK(exchange(&rig.guest, 1, 100, 100));
    CHECK(exchange(&rig.guest, 0, 1, 60000));
    CHECK(exchange(&rig.guest, 1, 1, 60000));
    rig_guest_close(&rig);
    rig_close(&rig);
}

static void a_request_larger_than_the_pool_breaks_its_queue_alone(void)
{
    struct via_used_chain used;
    CHECK(rig_open(&rig, RIG_HONEST, 64 << 10));
    CHECK(rig_guest_open(&rig));
    CHECK(rig_submit(&rig.guest, 0, (struct via_span){rig.guest.data, 1}, (struct via_span){rig.guest.data, 70000}, &rig));
    CHECK_EQ(rig_wait(&rig.guest, 0, &used, 200), 0);
    CHECK(exchange(&rig.guest, 1, 100, 5000));
    rig_guest_close(&rig);
    rig_close(&rig);
}

/* After each lie: the guest sees no answer but the end of the connection, and the next connection is served. */
static void survive(enum rig_lie lie)
{
    struct via_used_chain used;
    CHECK(rig_open(&rig, lie, POOL));
    CHECK(rig_guest_open(&rig));
    uint8_t *in = rig.guest.data + 4096;
    memset(in, 0xc5, 4096);
    for (unsigned i = 0; i < 4; i++)
        CHECK(rig_submit(&rig.guest, 0, (struct via_span){rig.guest.data, 64}, (struct via_span){in + i * 1024, 1000}, in + i));
    int r;
    unsigned answers = 0;
    while ((r = rig_wait(&rig.guest, 0, &used, 5000)) == 1)
        answers++;
    CHECK(r < 0);
    unsigned answered = lie == RIG_ID_TWICE; /* the first time that id was an answer */
    CHECK(answers <= answered);
    for (unsigned i = answered * 1024; i < 4096; i++)
        CHECK_EQ(in[i], 0xc5);
    rig_guest_close(&rig);

    if (lie != RIG_DIES) {
        rig.back.lie = RIG_HONEST;
        CHECK(rig_guest_open(&rig));
        CHECK(exchange(&rig.guest, 0, 64, 1000));
        rig_guest_close(&rig);
    }
    rig_close(&rig);
}

static void a_used_id_that_is_not_outstanding(void) { survive(RIG_WRONG_ID); }
static void a_used_id_twice(void) { survive(RIG_ID_TWICE); }
static void a_used_length_beyond_the_buffer(void) { survive(RIG_TOO_LONG); }
static void a_used_index_that_jumps(void) { survive(RIG_INDEX_JUMPS); }
static void a_back_end_that_dies(void) { survive(RIG_DIES); }

static void bytes_beyond_the_used_length_stay_outside(void)
{
    struct via_used_chain used;
    CHECK(rig_open(&rig, RIG_UNDER_WRITES, POOL));
    CHECK(rig_guest_open(&rig));
    uint8_t *in = rig.guest.data + 4096;
    memset(in, 0xc5, 4096);
    CHECK(rig_submit(&rig.guest, 0, (struct via_span){rig.guest.data, 64}, (struct via_span){in, 4096}, in));
    CHECK_EQ(rig_wait(&rig.guest, 0, &used, 5000), 1);
    CHECK_EQ(used.written, 3);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(in[i], rig_answer(rig.guest.data, 64, i));
    for (unsigned i = 3; i < 4096; i++)
        CHECK_EQ(in[i], 0xc5);
    rig_guest_close(&rig);
    rig_close(&rig);
}

/* The back-end sits on its requests; a guest that goes away is not held up, and neither is the next one. */
static void a_silent_back_end_holds_nobody(void)
{
    CHECK(rig_open(&rig, RIG_SILENT, POOL));
    CHECK(rig_guest_open(&rig));
    for (unsigned i = 0; i < 8; i++)
        CHECK(rig_submit(&rig.guest, 0, (struct via_span){rig.guest.data, 64}, (struct via_span){rig.guest.data + 4096, 64}, &rig));
    while (rig.back.seen < 8)
        ;
    rig_guest_close(&rig);
    rig.back.lie = RIG_HONEST;
    CHECK(rig_guest_open(&rig));
    CHECK(exchange(&rig.guest, 0, 64, 1000));
    rig_guest_close(&rig);
    rig_close(&rig);
}

static void nothing_leaks(void)
{
    int before = scratch_open_fds();
    CHECK(rig_open(&rig, RIG_HONEST, POOL));
    CHECK(rig_guest_open(&rig));
    CHECK(exchange(&rig.guest, 0, 64, 1000));
    int one = scratch_open_fds();
    for (unsigned i = 0; i < 20; i++) {
        rig_guest_close(&rig);
        CHECK(rig_guest_open(&rig));
        CHECK(exchange(&rig.guest, 0, 64, 1000));
    }
    CHECK_EQ(scratch_open_fds(), one);
    rig_guest_close(&rig);
    rig_close(&rig);
    CHECK_EQ(scratch_open_fds(), before);
}

static void bad_configurations_are_refused(void)
{
    static const struct via_guard_cfg bad[] = {
        {.front = "/tmp/viaduct-none", .back = "/tmp/x", .pool_bytes = 4096, .queues = 1},
        {.front = "/tmp/viaduct-none", .back = "/tmp/x", .pool_bytes = 100001, .queues = 1},
        {.front = "/tmp/viaduct-none", .back = "/tmp/x", .pool_bytes = 1 << 20, .queues = 0},
        {.front = "/tmp/viaduct-none", .back = "/tmp/x", .pool_bytes = 1 << 20, .queues = 65},
        {.front = "/nonexistent/directory/x", .back = "/tmp/x", .pool_bytes = 1 << 20, .queues = 1},
    };
    for (unsigned i = 0; i < via_array_len(bad); i++) {
        struct via_guard *g = NULL;
        struct via_err err = {""};
        CHECK(via_guard_open(&g, &bad[i], &err) < 0);
        CHECK(err.text[0]);
    }
}

TAP_MAIN(TEST(requests_cross_unchanged), TEST(the_back_end_gets_one_region_and_it_is_the_pool),
         TEST(config_space_and_features_pass_through), TEST(the_back_end_orders_as_it_offers), TEST(rings_stop_and_start_again),
         TEST(a_full_pool_is_waited_for), TEST(an_idle_queue_gives_its_slots_up),
         TEST(a_request_larger_than_the_pool_breaks_its_queue_alone), TEST(a_used_id_that_is_not_outstanding), TEST(a_used_id_twice),
         TEST(a_used_length_beyond_the_buffer), TEST(a_used_index_that_jumps), TEST(a_back_end_that_dies),
         TEST(bytes_beyond_the_used_length_stay_outside), TEST(a_silent_back_end_holds_nobody), TEST(nothing_leaks),
         TEST(bad_configurations_are_refused))
