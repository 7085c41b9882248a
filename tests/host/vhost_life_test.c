/* SPDX-License-Identifier: BSD-2-Clause */
/* A vhost-user connection's life, client against server: what is negotiated, served, stopped, waited for. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vhost_rig.h"

static struct rig rig;
static struct front front;

static bool begin(uint64_t protocol) { return rig_open(&rig) && front_open(&front, &rig, protocol) && front_share(&front); }

static void end(void)
{
    front_close(&front);
    (void)rig_ended(&rig, "");
    rig_close(&rig);
}

static bool silent(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 50) == 0;
}

/* All that was sent has been done. */
static bool settled(void)
{
    struct via_err err;
    return raw_send(front.client.fd, VIA_VU_GET_FEATURES, NULL, 0, NULL, 0) &&
           via_sock_recv_wait(front.client.fd, &front.client.rx, 5000, &err) == 1;
}

static bool round_trips(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        CHECK_OR_FALSE(front_submit(&front, i % 64) && front_done(&front, 1));
    return true;
}

static void a_ring_stops_where_it_stood_and_goes_on(void)
{
    struct via_err err;
    uint16_t base;
    CHECK(begin(RIG_PROTOCOL));
    CHECK_EQ(front.client.front.queues_max, RIG_QUEUES);
    for (unsigned life = 0; life < 3; life++) {
        CHECK(front_start(&front, life % RIG_QUEUES, front.kick));
        CHECK(round_trips(100));
        CHECK_EQ(via_client_ring_stop(&front.client, life % RIG_QUEUES, &base, &err), 0);
        CHECK_EQ(base, 100);
        CHECK_EQ(rig.stopped, life + 1);
    }
    end();
    CHECK_EQ(rig.warned, 0);
}

static void the_older_form_without_acknowledgements(void)
{
    struct via_err err;
    uint16_t base;
    CHECK(begin(0));
    CHECK(front_start(&front, 0, front.kick));
    CHECK(round_trips(10));
    CHECK_EQ(via_client_ring_stop(&front.client, 0, &base, &err), 0);
    CHECK_EQ(base, 10);
    end();
}

static void config_space_and_its_changes(void)
{
    struct via_err err;
    uint8_t got[8];
    CHECK(begin(RIG_PROTOCOL));
    CHECK_EQ(via_client_config_get(&front.client, 5, got, sizeof(got), &err), 0);
    CHECK_EQ(got[0], 5);
    CHECK_EQ(got[7], 12);
    CHECK_EQ(via_client_config_get(&front.client, RIG_CONFIG, got, 1, &err), -VIA_EIO);
    CHECK_EQ(via_client_config_set(&front.client, 0, got, 1, &err), -VIA_EIO);
    CHECK(rig_warned(&rig, "can't be"));
    CHECK_EQ(via_client_back_req(&front.client, &err), 0);
    rig.tell = true;
    rig_wake(&rig);
    CHECK(!silent(front.client.req_fd));
    CHECK_EQ(via_client_back_req(&front.client, &err), 1);
    rig.tell = false;
    CHECK_EQ(via_client_status(&front.client, VIA_STATUS_ACKNOWLEDGE | VIA_STATUS_DRIVER, &err), 0);
    end();
}

/* GET_VRING_BASE's answer may not come before the last request in flight has ended. */
static void a_stop_waits_for_requests_in_flight(void)
{
    const uint32_t state[2] = {0, 0};
    struct via_err err;
    CHECK(begin(RIG_PROTOCOL) && front_start(&front, 0, front.kick));
    rig.hold = true;
    for (unsigned i = 0; i < 3; i++)
        CHECK(front_submit(&front, i));
    CHECK(rig_until(&rig.n_held, 3));
    CHECK(raw_send(front.client.fd, VIA_VU_GET_VRING_BASE, state, sizeof(state), NULL, 0));
    CHECK(silent(front.client.fd));
    rig.hold = false;
    rig_wake(&rig);
    CHECK_EQ(via_sock_recv_wait(front.client.fd, &front.client.rx, 5000, &err), 1);
    CHECK_EQ(front.client.rx.msg.request, VIA_VU_GET_VRING_BASE);
    CHECK_EQ(front.client.rx.msg.payload[4], 3);
    CHECK(front_done(&front, 3));
    end();
}

/* Nor a new memory table's, and afterwards the ring goes on in the new mapping. */
static void new_memory_waits_for_requests_in_flight(void)
{
    struct via_vu_region region;
    struct {
        uint32_t n, pad;
        struct via_vu_region region;
    } table = {.n = 1};
    struct via_err err;
    CHECK(begin(RIG_PROTOCOL) && front_start(&front, 0, front.kick));
    rig.hold = true;
    CHECK(front_submit(&front, 0));
    CHECK(rig_until(&rig.n_held, 1));
    table.region = region = front_region(&front);
    CHECK(raw_send(front.client.fd, VIA_VU_SET_MEM_TABLE, &table, sizeof(table), &front.memory.fd, 1));
    CHECK(raw_send(front.client.fd, VIA_VU_GET_FEATURES, NULL, 0, NULL, 0));
    CHECK(silent(front.client.fd));
    rig.hold = false;
    rig_wake(&rig);
    CHECK_EQ(via_sock_recv_wait(front.client.fd, &front.client.rx, 5000, &err), 1);
    CHECK(front_done(&front, 1));
    CHECK(round_trips(20));
    for (unsigned i = 0; i < 5; i++) {
        CHECK_EQ(via_client_share(&front.client, &region, &front.memory.fd, 1, &err), 0);
        CHECK(round_trips(5));
    }
    CHECK_EQ(rig.warned, 0);
    end();
}

static bool slot(bool add, const struct via_vu_region *region)
{
    struct {
        uint64_t pad;
        struct via_vu_region region;
    } one = {.region = *region};
    return raw_send(front.client.fd, add ? VIA_VU_ADD_MEM_REG : VIA_VU_REM_MEM_REG, &one, sizeof(one), &front.memory.fd, add) && settled();
}

/* A front-end that remaps takes a region away and gives it back a moment later. */
static void a_ring_without_memory_waits_for_it(void)
{
    CHECK(begin(RIG_PROTOCOL) && front_start(&front, 0, front.kick) && round_trips(3));
    struct via_vu_region region = front_region(&front);
    CHECK(slot(false, &region));
    CHECK(rig_warned(&rig, "is in no memory region"));
    CHECK(front_submit(&front, 0));
    CHECK(front_nothing(&front));
    CHECK(slot(true, &region));
    CHECK(front_done(&front, 1));
    CHECK(round_trips(20));
    end();
}

static void many_regions_go_slot_by_slot(void)
{
    struct via_vu_region region[12];
    int fd[12];
    struct via_err err;
    unsigned before = scratch_maps();
    CHECK(begin(RIG_PROTOCOL));
    for (unsigned i = 0; i < 12; i++) {
        size_t piece = i == 11 ? FRONT_BYTES - 11 * 65536 : 65536;
        region[i] = (struct via_vu_region){front.gpa + i * 65536, piece, (uintptr_t)front.memory.ptr + i * 65536, i * 65536};
        fd[i] = front.memory.fd;
    }
    for (unsigned i = 0; i < 2; i++)
        CHECK_EQ(via_client_share(&front.client, region, fd, 12, &err), 0);
    CHECK(front_start(&front, 0, front.kick) && round_trips(10));
    CHECK(scratch_maps() >= before + 2);
    end();
    CHECK_EQ(scratch_maps(), before);
}

static void a_ring_without_a_kick_is_polled(void)
{
    CHECK(begin(RIG_PROTOCOL) && front_start(&front, 0, -1) && round_trips(20));
    end();
}

/* The platform's barriers are for who asked for them. */
static void order_platform_reaches_the_ring(void)
{
    for (unsigned offered = 0; offered < 2; offered++) {
        CHECK(rig_open(&rig));
        rig.features = offered ? VIA_BIT(VIA_F_ORDER_PLATFORM) : 0;
        CHECK(front_open(&front, &rig, RIG_PROTOCOL) && front_share(&front) && front_start(&front, 0, front.kick) && round_trips(3) &&
              settled());
        CHECK_EQ(rig.server.ring[0].pump.dq.cfg.order_platform, offered);
        end();
    }
}

static void a_disabled_ring_rests(void)
{
    uint32_t state[2] = {0, 0};
    CHECK(begin(0) && front_start(&front, 0, front.kick) && round_trips(2));
    CHECK(raw_send(front.client.fd, VIA_VU_SET_VRING_ENABLE, state, sizeof(state), NULL, 0) && settled());
    CHECK(front_submit(&front, 0));
    CHECK(front_nothing(&front));
    state[1] = 1;
    CHECK(raw_send(front.client.fd, VIA_VU_SET_VRING_ENABLE, state, sizeof(state), NULL, 0));
    CHECK(front_done(&front, 1));
    end();
}

static void what_the_device_has_no_room_for_comes_later(void)
{
    CHECK(begin(RIG_PROTOCOL) && front_start(&front, 0, front.kick));
    rig.refuse = true;
    for (unsigned i = 0; i < 5; i++)
        CHECK(front_submit(&front, i));
    CHECK(front_nothing(&front));
    rig.refuse = false;
    rig_wake(&rig);
    CHECK(front_done(&front, 5));
    end();
}

static void a_reset_stops_all_and_leaves_memory(void)
{
    struct via_err err;
    struct via_vu_msg m;
    uint16_t base;
    CHECK(begin(RIG_PROTOCOL) && front_start(&front, 0, front.kick) && round_trips(3));
    via_front_plain(&front.client.front, &m, VIA_VU_RESET_DEVICE);
    CHECK(via_sock_send(front.client.fd, &m, 1000, &err) == 0);
    CHECK_EQ(via_sock_recv_wait(front.client.fd, &front.client.rx, 5000, &err), 1);
    CHECK_EQ(via_front_feed(&front.client.front, &front.client.rx.msg), 0);
    CHECK_EQ(rig.stopped, 1);
    CHECK_EQ(via_client_ring_stop(&front.client, 0, &base, &err), 0);
    CHECK_EQ(base, 3);
    CHECK_EQ(via_client_accept(&front.client, RIG_FEATURES, &err), 0);
    CHECK(front_start(&front, 0, front.kick) && round_trips(3));
    end();
}

static void the_owner_ends_it_in_order(void)
{
    struct via_err err;
    CHECK(begin(RIG_PROTOCOL) && front_start(&front, 0, front.kick) && round_trips(1));
    rig.hold = true;
    CHECK(front_submit(&front, 0) && rig_until(&rig.n_held, 1));
    rig.leave = true;
    rig_wake(&rig);
    CHECK(silent(front.client.fd));
    CHECK_EQ(rig.closed, 0);
    rig.hold = false;
    rig_wake(&rig);
    CHECK(rig_ended(&rig, "") && front_done(&front, 1));
    CHECK_EQ(via_sock_recv_wait(front.client.fd, &front.client.rx, 5000, &err), -VIA_ENODEV);
    end();
    CHECK_EQ(rig.stopped, 1);
}

static void lives_leave_nothing_behind(void)
{
    unsigned fds = scratch_open_fds(), maps = scratch_maps();
    for (unsigned i = 0; i < 20; i++) {
        CHECK(rig_open(&rig) && front_live(&rig));
        rig_close(&rig);
    }
    CHECK_EQ(scratch_open_fds(), fds);
    CHECK_EQ(scratch_maps(), maps);
}

TAP_MAIN(TEST(a_ring_stops_where_it_stood_and_goes_on), TEST(the_older_form_without_acknowledgements), TEST(config_space_and_its_changes),
         TEST(a_stop_waits_for_requests_in_flight), TEST(new_memory_waits_for_requests_in_flight), TEST(a_ring_without_memory_waits_for_it),
         TEST(many_regions_go_slot_by_slot), TEST(a_ring_without_a_kick_is_polled), TEST(order_platform_reaches_the_ring),
         TEST(a_disabled_ring_rests), TEST(what_the_device_has_no_room_for_comes_later), TEST(a_reset_stops_all_and_leaves_memory),
         TEST(the_owner_ends_it_in_order), TEST(lives_leave_nothing_behind))
