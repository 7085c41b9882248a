/* SPDX-License-Identifier: BSD-2-Clause */
/* Another thread scribbles over all that a peer can write while one side works: whatever that side takes is whole and within bounds. */
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "ring_mem.h"

#define NUM 16u
#define TAKEN 3000u
#define SECONDS 10 /* a busy core that both threads must share, or valgrind, ends it before that many were taken */

struct scribbler {
    struct ring ring;
    bool device; /* play the device: the used ring too; else the driver */
    atomic_bool stop;
    pthread_t thread;
};

static void scribble_desc(struct via_desc *d, uint64_t *seed)
{
    uint32_t r = rnd(seed);
    via_shm_put64(&d->addr, r % 5 ? TABLES_AT + r % NUM * 16 : UINT64_MAX - r);
    via_shm_put32(&d->len, r % 7 ? 16 * (1 + r % 8) : r);
    via_shm_put16(&d->flags, (uint16_t)(rnd(seed) % 3 ? rnd(seed) % 8 : 0));
    via_shm_put16(&d->next, (uint16_t)(rnd(seed) % (NUM + (r % 64 == 0))));
}

/* Mostly a step that is plausible. */
static void move(via_le16 *idx, unsigned step, uint64_t *seed)
{
    uint32_t to = via_shm_get16(idx) + step;
    via_shm_put16(idx, (uint16_t)(rnd(seed) % 64 ? to : rnd(seed)));
}

static void *scribble(void *arg)
{
    struct scribbler *s = arg;
    struct ring *r = &s->ring;
    uint64_t seed = 5;
    while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
        uint32_t at = rnd(&seed) % NUM;
        if (at == 0)
            (void)sched_yield(); /* where both threads share a processor, a whole turn of one leaves the other nothing plausible */
        scribble_desc(&r->desc[at], &seed);
        scribble_desc(&r->table[at], &seed);
        via_shm_put16(&r->avail->ring[at], (uint16_t)(rnd(&seed) % (NUM + (at == 0))));
        via_shm_put16(&r->avail->ring[NUM], (uint16_t)rnd(&seed));
        if (!s->device) {
            move(&r->avail->idx, 1, &seed);
            continue;
        }
        via_shm_put32(&r->used->ring[at].id, rnd(&seed) % (NUM + (at == 0)));
        via_shm_put32(&r->used->ring[at].len, rnd(&seed) % 64 ? rnd(&seed) % 33 : rnd(&seed));
        via_shm_put16((via_le16 *)(void *)&r->used->ring[NUM], (uint16_t)rnd(&seed));
        bool more = via_shm_get16(&r->used->idx) != via_shm_get16(&r->avail->idx);
        move(&r->used->idx, more, &seed);
    }
    return NULL;
}

static bool start(struct scribbler *s, bool device)
{
    *s = (struct scribbler){.device = device};
    CHECK_OR_FALSE(ring_open(&s->ring, NUM, 4, true, 0));
    CHECK_OR_FALSE(pthread_create(&s->thread, NULL, scribble, s) == 0);
    return true;
}

static void stop(struct scribbler *s)
{
    atomic_store(&s->stop, true);
    (void)pthread_join(s->thread, NULL);
    ring_close(&s->ring);
}

/* The driver's table, copied as an owner would, into exactly as much memory as it says it needs. */
static int fetch_table(struct ring *r, struct via_chain *c)
{
    unsigned n = c->table.len / 16;
    struct via_desc *copy = malloc(c->table.len);
    if (!copy)
        return -VIA_ENOMEM;
    for (unsigned i = 0; i < n; i++) {
        const struct via_desc *d = &r->table[i % NUM];
        copy[i] = desc_of(via_shm_get64(&d->addr), via_shm_get32(&d->len), via_shm_get16(&d->flags), via_shm_get16(&d->next));
    }
    int rc = via_dq_table(&r->dq, c, copy);
    free(copy);
    return rc;
}

static bool whole(const struct via_chain *c)
{
    uint64_t out = 0, in = 0;
    unsigned n = c->n_out + c->n_in;
    CHECK_OR_FALSE(n >= 1 && n <= NUM && c->head < NUM && c->table.len == 0);
    for (unsigned i = 0; i < n; i++) {
        CHECK_OR_FALSE(c->seg[i].len != 0);
        *(i < c->n_out ? &out : &in) += c->seg[i].len;
    }
    CHECK_OR_FALSE(out == c->out_len && in == c->in_len && out + in <= UINT32_MAX);
    return true;
}

static void a_device_under_a_scribbling_driver(void)
{
    struct scribbler s;
    unsigned taken = 0, broken = 0;
    CHECK(start(&s, false));
    struct via_dq *dq = &s.ring.dq;
    for (time_t end = time(NULL) + SECONDS; !tap_failed() && taken < TAKEN && time(NULL) < end;) {
        struct via_chain c = ring_chain(&s.ring);
        int rc = via_dq_pop(dq, &c);
        if (rc == VIA_POP_TABLE)
            rc = fetch_table(&s.ring, &c) < 0 ? -VIA_EPROTO : VIA_POP_READY;
        if (rc == VIA_POP_READY && whole(&c)) {
            taken++;
            via_dq_push(dq, c.head, 0);
            (void)!via_dq_publish(dq);
            (void)!via_dq_arm(dq);
        } else if (rc < 0) {
            broken++;
            CHECK(dq->fault.what && dq->inflight == 0);
            struct via_dq_cfg cfg = dq->cfg;
            cfg.base = (uint16_t)(via_shm_get16(&s.ring.avail->idx) - 2);
            CHECK_EQ(via_dq_init(dq, &cfg), 0);
        }
    }
    stop(&s);
    CHECK(taken > 0 && broken > 0);
}

/* Put a chain on the ring for each token that is not there. */
static void fill(struct via_vq *vq, bool *out)
{
    struct via_seg seg[3] = {{{0x1000}, 16}, {{0x2000}, 16}, {{0x3000}, 16}};
    for (unsigned i = 0; i < NUM; i++)
        if (!out[i])
            out[i] = via_vq_add(vq, seg, 1, i % 3, &out[i]) == 0;
    (void)!via_vq_publish(vq);
}

static bool start_again(struct ring *r, bool *out)
{
    struct via_vq_cfg cfg = r->vq.cfg;
    CHECK_OR_FALSE(r->vq.fault.what);
    for (bool *t; (t = via_vq_detach(&r->vq)); *t = false)
        CHECK_OR_FALSE(*t);
    for (unsigned i = 0; i < NUM; i++)
        CHECK_OR_FALSE(!out[i]);
    via_shm_put16(&r->avail->idx, 0);
    via_shm_put16(&r->used->idx, 0);
    CHECK_OR_FALSE(via_vq_init(&r->vq, &cfg) == 0);
    return true;
}

static void a_driver_under_a_scribbling_device(void)
{
    bool out[NUM] = {false};
    struct scribbler s;
    unsigned taken = 0, broken = 0;
    CHECK(start(&s, true));
    struct via_vq *vq = &s.ring.vq;
    for (time_t end = time(NULL) + SECONDS; !tap_failed() && taken < TAKEN && time(NULL) < end;) {
        struct via_used_chain u;
        int rc;
        fill(vq, out);
        while ((rc = via_vq_reap(vq, &u)) == 1) {
            taken++;
            CHECK(*(bool *)u.token && u.written <= 32);
            *(bool *)u.token = false;
        }
        (void)!via_vq_arm(vq);
        if (rc == 0)
            (void)sched_yield();
        if (rc < 0 && start_again(&s.ring, out))
            broken++;
    }
    stop(&s);
    CHECK(taken > 0 && broken > 0);
}

TAP_MAIN(TEST(a_device_under_a_scribbling_driver), TEST(a_driver_under_a_scribbling_device))
