/* SPDX-License-Identifier: BSD-2-Clause */
/* Random requests through one driver queue, each verified against a model of the disk. */
#include <string.h>

#include <tap.h>

#include "traffic.h"

#define CANARY 0xc5

static const enum via_blk_type types[] = {VIA_BLK_T_IN,    VIA_BLK_T_IN,     VIA_BLK_T_IN,           VIA_BLK_T_OUT,    VIA_BLK_T_OUT,
                                          VIA_BLK_T_FLUSH, VIA_BLK_T_GET_ID, VIA_BLK_T_WRITE_ZEROES, VIA_BLK_T_DISCARD};

const struct via_blk_limits traffic_limits = {
    .capacity = TRAFFIC_DISK,
    .blk_size = 512,
    .physical_size = 512,
    .seg_max = LOOP_SEG_MAX - 2,
    .queues = LOOP_QUEUES,
    .discard = true,
    .write_zeroes = true,
    .id = "the loop's own disk",
};

uint32_t traffic_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static uint64_t first_sector(const struct traffic *t, unsigned place)
{
    return ((uint64_t)t->index * LOOP_DEPTH + place) * TRAFFIC_SECTORS;
}

static uint8_t *buffer(struct traffic *t, unsigned place) { return t->loop->private.buf[t->index][place]; }

void traffic_init(struct traffic *t, struct loop *l, unsigned queue, uint32_t seed, const uint8_t *disk)
{
    memset(t, 0, sizeof(*t));
    t->loop = l;
    t->queue = &l->queue[queue];
    t->index = queue;
    t->seed = seed;
    for (unsigned i = 0; i < LOOP_DEPTH; i++)
        memcpy(t->place[i].model, disk + first_sector(t, i) * VIA_BLK_SECTOR, sizeof(t->place[i].model));
}

/* `len` bytes of the place's buffer in up to LOOP_DATA_MAX spans with canaries between them. */
static unsigned scatter(struct traffic *t, unsigned place, size_t len)
{
    struct traffic_place *p = &t->place[place];
    uint8_t *at = buffer(t, place);
    unsigned n = 1 + traffic_random(&t->seed) % LOOP_DATA_MAX, k = 0;
    memset(at, CANARY, LOOP_BUF);
    while (len) {
        size_t take = k + 1 == n ? len : 1 + traffic_random(&t->seed) % len;
        at += 1 + traffic_random(&t->seed) % 600;
        p->data[k++] = (struct via_span){at, take};
        at += take;
        len -= take;
    }
    return k;
}

static bool start(struct traffic *t, unsigned i)
{
    struct traffic_place *p = &t->place[i];
    enum via_blk_type type = types[traffic_random(&t->seed) % via_array_len(types)];
    uint32_t first = traffic_random(&t->seed) % TRAFFIC_SECTORS, sectors = 1 + traffic_random(&t->seed) % (TRAFFIC_SECTORS - first);
    bool moves = type == VIA_BLK_T_IN || type == VIA_BLK_T_OUT;
    p->cmd = (struct via_blk_cmd){.type = type, .sector = first_sector(t, i) + first, .num_sectors = sectors, .data = p->data, .token = p};
    p->cmd.n = scatter(t, i, moves ? sectors * VIA_BLK_SECTOR : type == VIA_BLK_T_GET_ID ? VIA_BLK_ID_BYTES : 0);
    p->cmd.unmap = traffic_random(&t->seed) % 2;
    if (type == VIA_BLK_T_OUT)
        for (unsigned k = 0; k < p->cmd.n; k++)
            for (size_t b = 0; b < p->data[k].len; b++)
                ((uint8_t *)p->data[k].ptr)[b] = (uint8_t)traffic_random(&t->seed);
    int rc = via_blk_driver_submit(&t->queue->driver, &p->cmd);
    if (rc == -VIA_EAGAIN) {
        t->again++;
        return false;
    }
    if (rc < 0) {
        tap_note("a request was not taken");
        t->bad = true;
        return false;
    }
    p->busy = true;
    t->busy++;
    t->started++;
    uint8_t *model = p->model + first * VIA_BLK_SECTOR;
    if (type == VIA_BLK_T_OUT)
        via_spans_read(p->data, p->cmd.n, 0, model, sectors * VIA_BLK_SECTOR);
    if (type == VIA_BLK_T_WRITE_ZEROES)
        memset(model, 0, sectors * VIA_BLK_SECTOR);
    if (type == VIA_BLK_T_DISCARD)
        memset(model, 0xdd, sectors * VIA_BLK_SECTOR);
    return true;
}

void traffic_submit(struct traffic *t, unsigned total)
{
    for (unsigned i = 0; i < LOOP_DEPTH && t->started < total && !t->bad; i++)
        if (!t->place[i].busy && !start(t, i))
            break;
}

/* What should be in the data spans, and canaries everywhere else. */
static bool verify(struct traffic *t, const struct traffic_place *p, const struct via_blk_done *done)
{
    static const char id[VIA_BLK_ID_BYTES] = "the loop's own disk";
    const uint8_t *at = buffer(t, (unsigned)(p - t->place)), *end = at + LOOP_BUF;
    const uint8_t *want = (const uint8_t *)id;
    uint64_t total = via_spans_len(p->data, p->cmd.n);
    bool moves_in = p->cmd.type == VIA_BLK_T_IN || p->cmd.type == VIA_BLK_T_GET_ID;
    if (done->result != 0 || done->written != (moves_in ? total : 0))
        return false;
    if (p->cmd.type == VIA_BLK_T_IN || p->cmd.type == VIA_BLK_T_OUT)
        want = p->model + (p->cmd.sector - first_sector(t, (unsigned)(p - t->place))) * VIA_BLK_SECTOR;
    for (unsigned k = 0; k < p->cmd.n; k++) {
        for (; at < (uint8_t *)p->data[k].ptr; at++)
            if (*at != CANARY)
                return false;
        if (memcmp(at, want, p->data[k].len) != 0)
            return false;
        at += p->data[k].len;
        want += p->data[k].len;
    }
    for (; at < end; at++)
        if (*at != CANARY)
            return false;
    return true;
}

bool traffic_reap(struct traffic *t)
{
    struct via_blk_done done;
    int rc = 0;
    while (!t->bad && (rc = via_blk_driver_reap(&t->queue->driver, &done)) == 1) {
        struct traffic_place *p = done.token;
        if (!p->busy || !verify(t, p, &done)) {
            tap_note("a request ended otherwise than the model says");
            t->bad = true;
        }
        p->busy = false;
        t->busy--;
        t->ended++;
    }
    if (rc < 0) {
        tap_note(t->queue->driver.fault.what);
        t->bad = true;
    }
    return !t->bad;
}
