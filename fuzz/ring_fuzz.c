/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ring_fuzz: bytes as a hostile peer of a split ring. The first byte says which side is under test; the rest is a program of small
 * operations, some of the peer's on its memory, some of ours on the queue. Each area is an allocation of exactly its size.
 */
#include <stdlib.h>
#include <string.h>

#include <viaduct/ring.h>

#include "input.h"

#define STEPS 4096u

static uint16_t word(struct input *in)
{
    unsigned low = byte(in);
    return (uint16_t)(low | byte(in) << 8);
}

struct areas {
    unsigned num;
    void *area[3]; /* desc, avail, used */
    size_t len[3];
};

static void areas_make(struct areas *a, unsigned num)
{
    *a = (struct areas){.num = num, .len = {via_split_desc_bytes(num), via_split_avail_bytes(num), via_split_used_bytes(num)}};
    for (unsigned i = 0; i < 3; i++)
        REQUIRE((a->area[i] = calloc(1, a->len[i])));
}

static void areas_free(struct areas *a)
{
    for (unsigned i = 0; i < 3; i++)
        free(a->area[i]);
}

/* The peer writes some bytes somewhere. */
static void peer_writes(struct areas *a, struct input *in)
{
    unsigned which = byte(in) % 3, n = 1 + byte(in) % 16;
    size_t at = word(in) % a->len[which];
    for (; n && at < a->len[which]; n--, at++)
        ((uint8_t *)a->area[which])[at] = (uint8_t)byte(in);
}

/* The peer counts an index up: avail->idx or used->idx, both at offset 2. */
static void peer_counts(void *area, struct input *in)
{
    struct via_avail *ring = area;
    via_shm_put16(&ring->idx, (uint16_t)(via_shm_get16(&ring->idx) + byte(in) % 4));
}

/* ------------------------------------------------------------------ a device under a hostile driver */

static void chain_is_whole(const struct via_chain *c, unsigned num)
{
    uint64_t out = 0, in = 0;
    unsigned n = c->n_out + c->n_in;
    REQUIRE(n >= 1 && n <= num && c->head < num && !c->table.len);
    for (unsigned i = 0; i < n; i++) {
        REQUIRE(c->seg[i].len);
        *(i < c->n_out ? &out : &in) += c->seg[i].len;
    }
    REQUIRE(out == c->out_len && in == c->in_len && out + in <= UINT32_MAX);
}

static int table_from(struct via_dq *dq, struct via_chain *c, struct input *in)
{
    REQUIRE(c->table.len && c->table.len <= 16u * dq->cfg.num);
    uint8_t *table = malloc(c->table.len);
    REQUIRE(table);
    for (unsigned i = 0; i < c->table.len; i++)
        table[i] = (uint8_t)byte(in);
    int rc = via_dq_table(dq, c, (void *)table);
    free(table);
    return rc;
}

static void pop(struct via_dq *dq, struct via_seg *seg, uint16_t *held, struct input *in)
{
    struct via_chain c = {.seg = seg, .cap = dq->cfg.num};
    unsigned inflight = dq->inflight;
    bool was_broken = dq->broken;
    int rc = via_dq_pop(dq, &c);
    if (rc == VIA_POP_TABLE)
        rc = table_from(dq, &c, in) < 0 ? -VIA_EPROTO : VIA_POP_READY;
    REQUIRE(rc == VIA_POP_EMPTY || rc == VIA_POP_READY || rc == -VIA_EPROTO);
    REQUIRE((rc < 0) == dq->broken && (!was_broken || rc < 0) && (rc >= 0 || dq->fault.what));
    REQUIRE(dq->inflight == inflight + (rc == VIA_POP_READY));
    if (rc != VIA_POP_READY)
        return;
    chain_is_whole(&c, dq->cfg.num);
    REQUIRE(dq->inflight <= dq->cfg.num);
    held[inflight] = c.head;
}

static void hostile_driver(struct input *in)
{
    struct areas a;
    struct via_dq dq;
    areas_make(&a, 1u << byte(in) % 6);
    unsigned flags = byte(in);
    struct via_dq_cfg cfg = {.num = (uint16_t)a.num, .desc = a.area[0], .avail = a.area[1], .used = a.area[2], .base = word(in)};
    cfg.event_idx = flags & 1;
    cfg.indirect = flags & 2;
    via_shm_put16(&((struct via_avail *)cfg.used)->idx, word(in));
    via_shm_put16(&((struct via_avail *)a.area[1])->idx, cfg.base);
    struct via_seg *seg = calloc(a.num, sizeof(*seg));
    uint16_t *held = calloc(a.num, sizeof(*held));
    REQUIRE(seg && held && via_dq_init(&dq, &cfg) == 0);
    for (unsigned i = 0; i < STEPS && in->left; i++)
        switch (byte(in) % 8) {
        case 0:
        case 1:
            peer_writes(&a, in);
            break;
        case 2:
            peer_counts(a.area[1], in);
            break;
        case 3:
        case 4:
            pop(&dq, seg, held, in);
            break;
        case 5:
            if (dq.inflight)
                via_dq_push(&dq, held[dq.inflight - 1], byte(in));
            break;
        case 6:
            (void)!via_dq_publish(&dq);
            break;
        case 7:
            (byte(in) & 1) ? via_dq_disarm(&dq) : (void)!via_dq_arm(&dq);
            break;
        }
    free(held);
    free(seg);
    areas_free(&a);
}

/* ------------------------------------------------------------------ a driver under a hostile device */

struct token {
    bool out;
    uint32_t writable;
};

static void add(struct via_vq *vq, struct token *token, struct input *in)
{
    struct via_seg seg[8];
    unsigned shape = byte(in), n_out = shape % 4, n_in = shape / 4 % 4;
    uint32_t writable = 0;
    for (unsigned i = 0; i < n_out + n_in; i++) {
        seg[i] = (struct via_seg){{word(in)}, 1u + byte(in)};
        writable += i < n_out ? 0 : seg[i].len;
    }
    for (unsigned i = 0; i < vq->cfg.num; i++)
        if (!token[i].out) {
            int rc = via_vq_add(vq, seg, n_out, n_in, &token[i]);
            REQUIRE(rc == 0 || rc == -VIA_EAGAIN || rc == -VIA_E2BIG || (rc == -VIA_EPROTO && vq->broken));
            token[i] = (struct token){rc == 0, writable};
            return;
        }
}

static void reap(struct via_vq *vq)
{
    struct via_used_chain u;
    bool was_broken = vq->broken;
    int rc = via_vq_reap(vq, &u);
    REQUIRE(rc == 0 || rc == 1 || rc == -VIA_EPROTO);
    REQUIRE((rc < 0) == vq->broken && (!was_broken || rc < 0) && (rc >= 0 || vq->fault.what));
    if (rc != 1)
        return;
    struct token *t = u.token;
    REQUIRE(t->out && u.written <= t->writable);
    t->out = false;
}

static void driver_ends(struct via_vq *vq, const struct token *token)
{
    unsigned out = 0;
    for (unsigned i = 0; i < vq->cfg.num; i++)
        out += token[i].out;
    REQUIRE(out == via_vq_inflight(vq));
    for (struct token *t; (t = via_vq_detach(vq)); t->out = false, out--)
        REQUIRE(t->out);
    REQUIRE(out == 0 && vq->free_count == vq->cfg.num);
}

static void hostile_device(struct input *in)
{
    struct areas a;
    struct via_vq vq;
    areas_make(&a, 1u << byte(in) % 6);
    unsigned flags = byte(in);
    struct via_vq_cfg cfg = {.num = (uint16_t)a.num, .desc = a.area[0], .avail = a.area[1], .used = a.area[2]};
    cfg.event_idx = flags & 1;
    cfg.indirect_len = (uint16_t)(a.num < 4 ? a.num : 4);
    cfg.indirect = flags & 2 ? calloc((size_t)a.num * cfg.indirect_len, sizeof(struct via_desc)) : NULL;
    cfg.slot = calloc(a.num, sizeof(*cfg.slot));
    struct token *token = calloc(a.num, sizeof(*token));
    REQUIRE(token && via_vq_init(&vq, &cfg) == 0);
    for (unsigned i = 0; i < STEPS && in->left; i++)
        switch (byte(in) % 8) {
        case 0:
            peer_writes(&a, in);
            break;
        case 1:
            peer_counts(a.area[2], in);
            break;
        case 2:
        case 3:
            add(&vq, token, in);
            break;
        case 4:
            (void)!via_vq_publish(&vq);
            break;
        case 5:
        case 6:
            reap(&vq);
            break;
        case 7:
            (byte(in) & 1) ? via_vq_disarm(&vq) : (void)!via_vq_arm(&vq);
            break;
        }
    driver_ends(&vq, token);
    free(token);
    free(cfg.slot);
    free(cfg.indirect);
    areas_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    if (byte(&in) & 1)
        hostile_driver(&in);
    else
        hostile_device(&in);
    return 0;
}
