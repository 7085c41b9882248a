/* SPDX-License-Identifier: BSD-2-Clause */
/* A device that lies: every request still ends once, with a clear result, and nothing that it did not report is seen. */
#include <string.h>

#include <tap.h>

#include "loop.h"

#define CANARY 0x5a
#define SECRET 0xee /* what the device wrote and did not report */
#define READ 1024u

static struct via_blk_done done;

struct liar { /* the device's end, by hand */
    struct via_dq dq;
    struct via_seg seg[LOOP_NUM];
    struct via_desc table[LOOP_NUM];
    struct via_chain chain;
    struct via_span span[LOOP_NUM + 4];
    unsigned calls;
    bool idle; /* it writes its status alone */
};

static struct liar liar;

static struct loop *loop_with(enum loop_dma dma, uint64_t features)
{
    struct loop *l = loop_new(dma, features);
    liar.chain.seg = liar.seg;
    liar.chain.cap = LOOP_NUM;
    return via_dq_init(&liar.dq, &l->queue[0].dq_cfg) == 0 ? l : NULL;
}

static struct loop *loop_with_liar(enum loop_dma dma) { return loop_with(dma, 0); }

static bool read_submit(struct loop *l, unsigned place)
{
    static struct via_span data[LOOP_DEPTH];
    struct via_blk_cmd c = {.type = VIA_BLK_T_IN, .data = &data[place], .n = 1, .token = &data[place]};
    data[place] = (struct via_span){l->private.buf[0][place], READ};
    memset(data[place].ptr, CANARY, LOOP_BUF);
    return via_blk_driver_submit(&l->queue[0].driver, &c) == 0;
}

static void publish(struct loop *l) { CHECK(via_vq_publish(&l->queue[0].vq)); }

/* Take the next chain and fill all of its writable part with SECRET, the status byte with `status`. */
static bool take(struct loop *l, int status)
{
    struct via_chain *c = &liar.chain;
    int rc = via_dq_pop(&liar.dq, c);
    if (rc == VIA_POP_TABLE &&
        (via_xlate_read(&l->map.xlate, c->table.addr, liar.table, c->table.len) < 0 || via_dq_table(&liar.dq, c, liar.table) < 0))
        return false;
    int n = via_xlate_map(&l->map.xlate, c->seg + c->n_out, c->n_in, VIA_PERM_W, liar.span, LOOP_NUM + 4);
    if (rc <= 0 || n <= 0 || c->in_len != READ + 1)
        return false;
    for (int i = 0; i < n; i++)
        for (size_t k = 0; k < liar.span[i].len; k++)
            if (!liar.idle && (i + 1 < n || k + 1 < liar.span[i].len || status >= 0))
                ((uint8_t *)liar.span[i].ptr)[k] = SECRET;
    if (status >= 0)
        ((uint8_t *)liar.span[n - 1].ptr)[liar.span[n - 1].len - 1] = (uint8_t)status;
    return true;
}

static bool answer(uint32_t written)
{
    via_dq_push(&liar.dq, liar.chain.head, written);
    liar.calls += via_dq_publish(&liar.dq);
    return true;
}

/* ------------------------------------------------------------------ one request answered with nonsense, others not harmed */

#define ALL 7u /* bits: enum loop_dma */
#define COPIED VIA_BIT(LOOP_BOUNCE)

static const struct {
    const char *what;
    int status; /* -1: not written */
    uint32_t written;
    int result;
    const char *fault; /* word of it; NULL: any */
    unsigned dma;      /* where it is so */
} lie[] = {
    /* In a slot of the pool there lies something where the status should be, and who says that he wrote it might as well have. */
    {"no status at all", -1, READ + 1, -VIA_EPROTO, "status", ALL & ~COPIED},
    {"no status and no length", -1, 0, -VIA_EPROTO, "status", ALL},
    {"a status that does not exist", 3, READ + 1, -VIA_EPROTO, "status", ALL},
    {"a status of 254", 254, READ + 1, -VIA_EPROTO, "status", ALL},
    {"success with no bytes", VIA_BLK_S_OK, 0, -VIA_EPROTO, NULL, ALL},
    {"success with one byte", VIA_BLK_S_OK, 1, -VIA_EPROTO, NULL, ALL},
    {"success without the status's byte", VIA_BLK_S_OK, READ, -VIA_EPROTO, NULL, ALL},
    {"success, short of a sector", VIA_BLK_S_OK, 512, -VIA_EPROTO, NULL, ALL},
    {"an I/O error", VIA_BLK_S_IOERR, READ + 1, -VIA_EIO, NULL, ALL},
    {"an I/O error without a length", VIA_BLK_S_IOERR, 0, -VIA_EPROTO, "status", COPIED},
    {"an I/O error without a length", VIA_BLK_S_IOERR, 0, -VIA_EIO, NULL, ALL & ~COPIED},
    {"not supported", VIA_BLK_S_UNSUPP, READ + 1, -VIA_ENOTSUP, NULL, ALL},
    {"the truth", VIA_BLK_S_OK, READ + 1, 0, NULL, ALL},
};

static void nonsense(enum loop_dma dma)
{
    for (unsigned i = 0; i < via_array_len(lie); i++) {
        if (!(lie[i].dma & VIA_BIT(dma)))
            continue;
        struct loop *l = loop_with_liar(dma);
        struct via_blk_driver *d = &l->queue[0].driver;
        CHECK(read_submit(l, 0) && read_submit(l, 1));
        publish(l);
        CHECK(take(l, lie[i].status) && answer(lie[i].written));
        CHECK(take(l, VIA_BLK_S_OK) && answer(READ + 1));
        tap_note(lie[i].what);
        CHECK_EQ(via_blk_driver_reap(d, &done), 1);
        CHECK_EQ(done.result, lie[i].result);
        CHECK_EQ(done.written, lie[i].result == 0 ? READ : 0);
        CHECK(lie[i].result != -VIA_EPROTO || d->fault.what);
        CHECK(!lie[i].fault || strstr(d->fault.what, lie[i].fault));
        for (unsigned k = 0; dma != LOOP_DIRECT && k < LOOP_BUF; k++)
            CHECK_EQ(l->private.buf[0][0][k], k < lie[i].written && k < READ ? SECRET : CANARY);
        CHECK_EQ(via_blk_driver_reap(d, &done), 1);
        CHECK(done.result == 0 && done.written == READ);
        CHECK_EQ(via_blk_driver_reap(d, &done), 0);
        CHECK_EQ(loop_in_use(l), 0);
    }
}

static void nonsense_direct(void) { nonsense(LOOP_DIRECT); }
static void nonsense_bounce(void) { nonsense(LOOP_BOUNCE); }
static void nonsense_with_the_wire_part_in_the_pool(void) { nonsense(LOOP_BOUNCE_WIRE); }

/* ------------------------------------------------------------------ a legacy device, whose lengths mean nothing */

static void any_length(enum loop_dma dma)
{
    static const uint32_t lengths[] = {0, 1, 512, READ, READ + 1, READ + 2, READ + 17, UINT32_MAX};
    struct loop *l = loop_with(dma, LOOP_LEGACY);
    struct via_blk_driver *d = &l->queue[0].driver;
    for (unsigned i = 0; i < 2 * via_array_len(lengths); i++) {
        liar.idle = i % 2;
        CHECK(!via_dq_arm(&liar.dq));
        CHECK(read_submit(l, 0));
        publish(l);
        CHECK(take(l, VIA_BLK_S_OK) && answer(lengths[i / 2]));
        CHECK_EQ(via_blk_driver_reap(d, &done), 1);
        CHECK(done.result == 0 && done.written == READ);
        /* What it left alone is as it was, or nothing: never what the pool held before. */
        uint8_t left = dma == LOOP_DIRECT ? CANARY : 0;
        for (unsigned k = 0; k < READ; k++)
            CHECK_EQ(l->private.buf[0][0][k], liar.idle ? left : SECRET);
        CHECK_EQ(l->private.buf[0][0][READ], CANARY);
        CHECK_EQ(loop_in_use(l), 0);
    }
    liar.idle = false;
    CHECK(!via_dq_arm(&liar.dq));
    CHECK(read_submit(l, 0));
    publish(l);
    CHECK(take(l, VIA_BLK_S_IOERR) && answer(0));
    CHECK(via_blk_driver_reap(d, &done) == 1 && done.result == -VIA_EIO);
}

static void any_length_direct(void) { any_length(LOOP_DIRECT); }
static void any_length_bounce(void) { any_length(LOOP_BOUNCE); }
static void any_length_with_the_wire_part_in_the_pool(void) { any_length(LOOP_BOUNCE_WIRE); }

/* ------------------------------------------------------------------ the ring itself broken */

static struct via_used *used_ring(struct loop *l) { return l->queue[0].dq_cfg.used; }

static void use(struct loop *l, uint16_t at, uint32_t id, uint32_t len)
{
    used_ring(l)->ring[at] = (struct via_used_elem){via_le32_make(id), via_le32_make(len)};
    via_shm_put16_release(&used_ring(l)->idx, (uint16_t)(at + 1));
}

static void lie_no_such_id(struct loop *l) { use(l, 0, LOOP_NUM, 1); }
static void lie_huge_id(struct loop *l) { use(l, 0, UINT32_MAX, 1); }
static void lie_idle_id(struct loop *l) { use(l, 0, LOOP_NUM - 1, 1); }
static void lie_length(struct loop *l) { use(l, 0, 0, READ + 2); }
static void lie_huge_length(struct loop *l) { use(l, 0, 0, UINT32_MAX); }
static void lie_index(struct loop *l) { via_shm_put16_release(&used_ring(l)->idx, 5); }
static void lie_index_back(struct loop *l) { via_shm_put16_release(&used_ring(l)->idx, UINT16_MAX); }
static void lie_twice(struct loop *l)
{
    use(l, 0, 0, READ + 1);
    use(l, 1, 0, READ + 1);
}

/* The queue breaks, requests end once each, all resources come back, and a queue set up anew works. */
static void broken_ring(enum loop_dma dma, void (*tell)(struct loop *), unsigned honest)
{
    struct loop *l = loop_with_liar(dma);
    struct loop_queue *q = &l->queue[0];
    unsigned ended = 0, seen = 0;
    for (unsigned i = 0; i < 4; i++)
        CHECK(read_submit(l, i));
    publish(l);
    tell(l);
    int rc;
    while ((rc = via_blk_driver_reap(&q->driver, &done)) == 1)
        ended++;
    CHECK_EQ(rc, -VIA_EPROTO);
    CHECK_EQ(ended, honest);
    CHECK(q->driver.fault.what);
    CHECK_EQ(via_blk_driver_reap(&q->driver, &done), -VIA_EPROTO);
    CHECK(!read_submit(l, 5));
    while (via_blk_driver_abandon(&q->driver, &done) == 1) {
        const struct via_span *s = done.token;
        unsigned place = (unsigned)(((uint8_t *)s->ptr - l->private.buf[0][0]) / LOOP_BUF);
        CHECK(done.result == -VIA_ENODEV && done.written == 0);
        CHECK(place < 4 && !(seen & 1u << place));
        seen |= 1u << place;
        ended++;
        for (unsigned k = 0; dma != LOOP_DIRECT && k < LOOP_BUF; k++)
            CHECK_EQ(l->private.buf[0][place][k], CANARY);
    }
    CHECK_EQ(ended, 4);
    CHECK_EQ(loop_in_use(l), 0);
    CHECK(loop_restart(l, q, 0) && via_dq_init(&liar.dq, &q->dq_cfg) == 0);
    CHECK(read_submit(l, 0));
    publish(l);
    CHECK(take(l, VIA_BLK_S_OK) && answer(READ + 1));
    CHECK_EQ(via_blk_driver_reap(&q->driver, &done), 1);
    CHECK_EQ(done.result, 0);
}

static void broken_rings(enum loop_dma dma)
{
    static void (*const tell[])(struct loop *) = {lie_no_such_id,  lie_huge_id, lie_idle_id,   lie_length,
                                                  lie_huge_length, lie_index,   lie_index_back};
    for (unsigned i = 0; i < via_array_len(tell) && !tap_failed(); i++)
        broken_ring(dma, tell[i], 0);
    if (!tap_failed())
        broken_ring(dma, lie_twice, 1);
}

static void broken_rings_direct(void) { broken_rings(LOOP_DIRECT); }
static void broken_rings_bounce(void) { broken_rings(LOOP_BOUNCE); }

/* A device that goes away with requests of all kinds: abandoned, none twice, none forgotten. */
static void a_device_that_goes_away(void)
{
    struct loop *l = loop_with_liar(LOOP_BOUNCE);
    struct via_blk_driver *d = &l->queue[0].driver;
    unsigned n = 0;
    for (unsigned i = 0; i < LOOP_DEPTH; i++)
        CHECK(read_submit(l, i));
    CHECK(!read_submit(l, 0));
    publish(l);
    CHECK(take(l, VIA_BLK_S_OK) && answer(READ + 1));
    CHECK(take(l, VIA_BLK_S_OK)); /* under way when it went */
    CHECK_EQ(via_blk_driver_reap(d, &done), 1);
    while (via_blk_driver_abandon(d, &done) == 1)
        n += done.result == -VIA_ENODEV;
    CHECK_EQ(n, LOOP_DEPTH - 1);
    CHECK_EQ(loop_in_use(l), 0);
}

TAP_MAIN(TEST(any_length_direct), TEST(any_length_bounce), TEST(any_length_with_the_wire_part_in_the_pool), TEST(nonsense_direct),
         TEST(nonsense_bounce), TEST(nonsense_with_the_wire_part_in_the_pool), TEST(broken_rings_direct), TEST(broken_rings_bounce),
         TEST(a_device_that_goes_away))
