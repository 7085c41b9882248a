/* SPDX-License-Identifier: BSD-2-Clause */
/* Driver and device in one process: random verified requests through every dma strategy, one thread and two. */
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include <tap.h>

#include "../device/store.h"
#include "traffic.h"

static uint8_t disk[TRAFFIC_DISK];
static struct traffic traffic[LOOP_QUEUES];
static _Alignas(16) uint8_t device_storage[LOOP_QUEUES][1u << 18];

static bool device_new(struct via_blk_device *d, struct store *s, unsigned i, const struct via_blk_limits *l)
{
    if (via_blk_device_bytes(32, LOOP_NUM + 4) > sizeof(device_storage[i]) ||
        via_blk_device_init(d, l, &s->store, 32, LOOP_NUM + 4, device_storage[i]) < 0)
        return false;
    d->features = via_blk_device_features(d);
    return true;
}

static void disk_new(void)
{
    for (size_t i = 0; i < sizeof(disk); i++)
        disk[i] = (uint8_t)(i / 512 * 31 + i);
}

static bool disk_is_as_modelled(void)
{
    for (unsigned q = 0; q < LOOP_QUEUES; q++)
        for (unsigned i = 0; i < LOOP_DEPTH; i++)
            if (memcmp(disk + ((uint64_t)q * LOOP_DEPTH + i) * TRAFFIC_SECTORS * 512, traffic[q].place[i].model, TRAFFIC_SECTORS * 512) !=
                0)
                return false;
    return true;
}

/* ------------------------------------------------------------------ one thread */

/* The device's turn: pumps run, some operations end, in any order. */
static bool device_turn(struct loop *l, struct store *s, uint32_t *seed)
{
    bool calls = false;
    for (unsigned q = 0; q < LOOP_QUEUES; q++)
        if (via_pump_run(&l->queue[q].pump, 1 + traffic_random(seed) % 8) < 0)
            return false;
    for (unsigned n = traffic_random(seed) % 8; n && s->held; n--)
        store_end(s, traffic_random(seed) % s->held);
    for (unsigned q = 0; q < LOOP_QUEUES; q++)
        calls |= via_pump_flush(&l->queue[q].pump);
    s->later = traffic_random(seed) % 4 != 0;
    (void)calls;
    return true;
}

static void mixed(enum loop_dma dma)
{
    struct store s;
    struct via_blk_device d;
    uint32_t seed = 7 + dma;
    unsigned total = 1500, turns = 0;
    bool kick = false;
    disk_new();
    store_init(&s, disk, sizeof(disk));
    s.room = 10;
    CHECK(device_new(&d, &s, 0, &traffic_limits));
    struct loop *l = loop_new(dma, d.features);
    for (unsigned q = 0; q < LOOP_QUEUES; q++) {
        CHECK(loop_serve(l, &l->queue[q], &d.device));
        traffic_init(&traffic[q], l, q, seed + q, disk);
    }
    while (traffic[0].ended < total || traffic[1].ended < total) {
        CHECK(turns++ < 100000);
        for (unsigned q = 0; q < LOOP_QUEUES; q++) {
            traffic_submit(&traffic[q], total);
            kick |= via_vq_publish(&l->queue[q].vq);
        }
        CHECK(device_turn(l, &s, &seed));
        for (unsigned q = 0; q < LOOP_QUEUES; q++)
            CHECK(traffic_reap(&traffic[q]));
    }
    CHECK(kick);
    CHECK_EQ(loop_in_use(l), 0);
    CHECK(disk_is_as_modelled());
    CHECK(dma == LOOP_DIRECT || l->queue[0].bounce.stats.bytes_in > 0);
    CHECK_EQ(d.errors, 0);
}

static void mixed_direct(void) { mixed(LOOP_DIRECT); }
static void mixed_bounce(void) { mixed(LOOP_BOUNCE); }
static void mixed_bounce_with_the_wire_part_in_the_pool(void) { mixed(LOOP_BOUNCE_WIRE); }

/* ------------------------------------------------------------------ two threads */

struct device_thread {
    struct loop *loop;
    struct store store;
    struct via_blk_device device;
    _Atomic bool stop;
    bool ok;
};

static void *device_main(void *arg)
{
    struct device_thread *t = arg;
    uint32_t seed = 99;
    while (!atomic_load(&t->stop) && t->ok) {
        t->ok = device_turn(t->loop, &t->store, &seed);
        sched_yield();
    }
    return NULL;
}

static void threads(enum loop_dma dma)
{
    static struct device_thread t;
    pthread_t id;
    unsigned total = 600;
    bool kick = false;
    disk_new();
    memset(&t, 0, sizeof(t));
    t.ok = true;
    store_init(&t.store, disk, sizeof(disk));
    CHECK(device_new(&t.device, &t.store, 0, &traffic_limits));
    t.loop = loop_new(dma, t.device.features);
    for (unsigned q = 0; q < LOOP_QUEUES; q++) {
        CHECK(loop_serve(t.loop, &t.loop->queue[q], &t.device.device));
        traffic_init(&traffic[q], t.loop, q, 5 + q, disk);
    }
    CHECK_EQ(pthread_create(&id, NULL, device_main, &t), 0);
    bool ok = true;
    while (ok && (traffic[0].ended < total || traffic[1].ended < total))
        for (unsigned q = 0; q < LOOP_QUEUES; q++) {
            traffic_submit(&traffic[q], total);
            kick |= via_vq_publish(&t.loop->queue[q].vq);
            ok = ok && traffic_reap(&traffic[q]);
            sched_yield();
        }
    atomic_store(&t.stop, true);
    pthread_join(id, NULL);
    CHECK(ok && t.ok && kick);
    CHECK_EQ(loop_in_use(t.loop), 0);
    CHECK(disk_is_as_modelled());
}

static void two_threads_direct(void) { threads(LOOP_DIRECT); }
static void two_threads_bounce(void) { threads(LOOP_BOUNCE); }

/* ------------------------------------------------------------------ what a driver does not ask for */

static void requests_that_the_device_does_not_offer(void)
{
    static const struct {
        struct via_blk_cmd cmd;
        size_t len; /* of its one data span, 0: none */
        uint64_t features;
        int want;
    } t[] = {
        {{.type = VIA_BLK_T_IN}, 0, 0, -VIA_EINVAL},
        {{.type = VIA_BLK_T_IN}, 511, 0, -VIA_EINVAL},
        {{.type = VIA_BLK_T_OUT}, 513, 0, -VIA_EINVAL},
        {{.type = VIA_BLK_T_OUT}, 512, VIA_BIT(VIA_BLK_F_RO), -VIA_EROFS},
        {{.type = VIA_BLK_T_IN}, 512, VIA_BIT(VIA_BLK_F_RO), 0},
        {{.type = VIA_BLK_T_IN}, (size_t)UINT32_MAX + 1, 0, -VIA_EINVAL},
        {{.type = VIA_BLK_T_GET_ID}, 19, 0, -VIA_EINVAL},
        {{.type = VIA_BLK_T_GET_ID}, 20, 0, 0},
        {{.type = VIA_BLK_T_FLUSH}, 0, 0, -VIA_EINVAL},
        {{.type = VIA_BLK_T_FLUSH}, 0, VIA_BIT(VIA_BLK_F_FLUSH), 0},
        {{.type = VIA_BLK_T_FLUSH}, 512, VIA_BIT(VIA_BLK_F_FLUSH), -VIA_EINVAL},
        {{.type = VIA_BLK_T_DISCARD, .num_sectors = 1}, 0, VIA_BIT(VIA_BLK_F_WRITE_ZEROES), -VIA_EINVAL},
        {{.type = VIA_BLK_T_DISCARD, .num_sectors = 1}, 0, VIA_BIT(VIA_BLK_F_DISCARD), 0},
        {{.type = VIA_BLK_T_DISCARD}, 0, VIA_BIT(VIA_BLK_F_DISCARD), -VIA_EINVAL},
        {{.type = VIA_BLK_T_DISCARD, .num_sectors = 1}, 0, VIA_BIT(VIA_BLK_F_DISCARD) | VIA_BIT(VIA_BLK_F_RO), -VIA_EROFS},
        {{.type = VIA_BLK_T_WRITE_ZEROES, .num_sectors = 1}, 0, VIA_BIT(VIA_BLK_F_DISCARD), -VIA_EINVAL},
        {{.type = VIA_BLK_T_WRITE_ZEROES, .num_sectors = 1}, 0, VIA_BIT(VIA_BLK_F_WRITE_ZEROES), 0},
        {{.type = VIA_BLK_T_SECURE_ERASE, .num_sectors = 1}, 0, UINT64_MAX & ~VIA_BIT(VIA_BLK_F_RO), -VIA_EINVAL},
    };
    for (unsigned i = 0; i < via_array_len(t); i++) {
        struct loop *l = loop_new(LOOP_DIRECT, t[i].features);
        struct via_blk_cmd c = t[i].cmd;
        struct via_span data = {l->private.buf[0][0], t[i].len};
        c.data = &data;
        c.n = t[i].len != 0;
        CHECK_EQ(via_blk_driver_submit(&l->queue[0].driver, &c), t[i].want);
        CHECK_EQ(via_vq_inflight(&l->queue[0].vq), t[i].want == 0);
    }
}

static void limits_of_spans_and_segments(void)
{
    struct loop *l = loop_new(LOOP_BOUNCE, 0);
    struct loop_queue *q = &l->queue[0];
    struct via_span data[LOOP_DATA_MAX + 1];
    struct via_blk_cmd c = {.type = VIA_BLK_T_IN, .data = data, .n = LOOP_DATA_MAX + 1};
    for (unsigned i = 0; i <= LOOP_DATA_MAX; i++)
        data[i] = (struct via_span){l->private.buf[0][i], 512};
    CHECK_EQ(via_blk_driver_submit(&q->driver, &c), -VIA_E2BIG);
    /* Memory that the device has no address for; what was taken for the rest is given back. */
    char elsewhere[512];
    c.n = 2;
    CHECK_EQ(loop_restart(l, q, 0), true);
    q->driver.dma = &q->direct.dma;
    data[1].ptr = elsewhere;
    CHECK_EQ(via_blk_driver_submit(&q->driver, &c), -VIA_ERANGE);
    CHECK_EQ(loop_in_use(l), 0);
    c.n = 1;
    for (unsigned i = 0; i < LOOP_DEPTH; i++)
        CHECK_EQ(via_blk_driver_submit(&q->driver, &c), 0);
    CHECK_EQ(via_blk_driver_submit(&q->driver, &c), -VIA_EAGAIN);
    CHECK_EQ(via_blk_driver_init(&q->driver, &q->vq, &q->direct.dma, 0, 0, 1, 4, q->wire, q->storage), -VIA_EINVAL);
    CHECK_EQ(via_blk_driver_init(&q->driver, &q->vq, &q->direct.dma, 0, 1, UINT16_MAX, 4, q->wire, q->storage), -VIA_EINVAL);
    CHECK_EQ(via_blk_driver_init(&q->driver, &q->vq, &q->direct.dma, 0, 1, 1, 0, q->wire, q->storage), -VIA_EINVAL);
}

/* The device says no to what a driver could not know: read-only although not said so, sectors that there are not. */
static void errors_of_the_device_arrive(void)
{
    struct store s;
    struct via_blk_device d;
    struct via_blk_done done;
    struct via_blk_limits l_ro = traffic_limits;
    l_ro.read_only = true;
    disk_new();
    store_init(&s, disk, sizeof(disk));
    CHECK(device_new(&d, &s, 0, &l_ro));
    struct loop *l = loop_new(LOOP_BOUNCE, VIA_BIT(VIA_BLK_F_DISCARD));
    struct loop_queue *q = &l->queue[0];
    CHECK(loop_serve(l, q, &d.device));
    struct via_span data = {l->private.buf[0][0], 512};
    struct via_blk_cmd c[3] = {{.type = VIA_BLK_T_OUT, .data = &data, .n = 1, .token = &c[0]},
                               {.type = VIA_BLK_T_IN, .sector = 1u << 30, .data = &data, .n = 1, .token = &c[1]},
                               {.type = VIA_BLK_T_DISCARD, .num_sectors = 1, .token = &c[2]}};
    static const int want[3] = {-VIA_EIO, -VIA_EIO, -VIA_ENOTSUP};
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(via_blk_driver_submit(&q->driver, &c[i]), 0);
        CHECK(via_vq_publish(&q->vq));
        CHECK_EQ(via_pump_run(&q->pump, 4), 1);
        CHECK_EQ(via_blk_driver_reap(&q->driver, &done), 0);
        CHECK(via_pump_flush(&q->pump));
        CHECK_EQ(via_blk_driver_reap(&q->driver, &done), 1);
        CHECK(done.token == &c[i] && done.written == 0);
        CHECK_EQ(done.result, want[i]);
        CHECK(!via_vq_arm(&q->vq) && !via_dq_arm(&q->pump.dq));
    }
    CHECK(!q->driver.fault.what);
}

TAP_MAIN(TEST(mixed_direct), TEST(mixed_bounce), TEST(mixed_bounce_with_the_wire_part_in_the_pool), TEST(two_threads_direct),
         TEST(two_threads_bounce), TEST(requests_that_the_device_does_not_offer), TEST(limits_of_spans_and_segments),
         TEST(errors_of_the_device_arrive))
