/* SPDX-License-Identifier: BSD-2-Clause */
/* A ring's areas for tests, each an allocation of exactly its size, so that a step outside of one is found. */
#ifndef VIADUCT_TESTS_RING_MEM_H
#define VIADUCT_TESTS_RING_MEM_H

#include <stdlib.h>
#include <string.h>

#include <tap.h>
#include <viaduct/ring.h>

#define TABLES_AT UINT64_C(0x7000000000)

struct ring {
    unsigned num, indirect_len;
    bool event_idx;
    struct via_desc *desc, *table;
    struct via_avail *avail;
    struct via_used *used;
    struct via_vq_slot *slot;
    struct via_seg *seg; /* room for one chain */
    struct via_vq vq;
    struct via_dq dq;
};

static inline void ring_close(struct ring *r)
{
    free(r->desc);
    free(r->table);
    free(r->avail);
    free(r->used);
    free(r->slot);
    free(r->seg);
}

/* Both sides start at index `base`: 0 as after a reset, anything else as when a queue moves from one device to another. */
static inline bool ring_start(struct ring *r, uint16_t base)
{
    struct via_vq_cfg v = {.num = (uint16_t)r->num, .desc = r->desc, .avail = r->avail, .used = r->used, .slot = r->slot};
    v.indirect = r->table;
    v.indirect_addr.v = TABLES_AT;
    v.indirect_len = (uint16_t)r->indirect_len;
    v.event_idx = r->event_idx;
    struct via_dq_cfg d = {.num = (uint16_t)r->num, .desc = r->desc, .avail = r->avail, .used = r->used, .base = base};
    d.event_idx = r->event_idx;
    d.indirect = r->indirect_len != 0;
    memset(r->avail, 0, via_split_avail_bytes(r->num));
    memset(r->used, 0, via_split_used_bytes(r->num));
    CHECK_OR_FALSE(via_vq_init(&r->vq, &v) == 0);
    r->vq.avail_idx = r->vq.published = r->vq.used_idx = r->vq.used_seen = base;
    via_shm_put16(&r->avail->idx, base);
    via_shm_put16(&r->used->idx, base);
    if (r->event_idx)
        via_shm_put16(&r->avail->ring[r->num], base);
    CHECK_OR_FALSE(via_dq_init(&r->dq, &d) == 0);
    return true;
}

static inline bool ring_open(struct ring *r, unsigned num, unsigned indirect_len, bool event_idx, uint16_t base)
{
    *r = (struct ring){.num = num, .indirect_len = indirect_len, .event_idx = event_idx};
    r->desc = calloc(num, sizeof(*r->desc));
    r->table = indirect_len ? calloc((size_t)num * indirect_len, sizeof(*r->table)) : NULL;
    r->avail = calloc(1, via_split_avail_bytes(num));
    r->used = calloc(1, via_split_used_bytes(num));
    r->slot = calloc(num, sizeof(*r->slot));
    r->seg = calloc(num, sizeof(*r->seg));
    CHECK_OR_FALSE(r->desc && r->avail && r->used && r->slot && r->seg && (r->table || !indirect_len));
    return ring_start(r, base);
}

static inline struct via_chain ring_chain(const struct ring *r) { return (struct via_chain){.seg = r->seg, .cap = (uint16_t)r->num}; }

/* Pop, and fetch the table of the driver where there is one. */
static inline int ring_pop(struct ring *r, struct via_chain *c)
{
    int rc = via_dq_pop(&r->dq, c);
    if (rc != VIA_POP_TABLE)
        return rc;
    rc = via_dq_table(&r->dq, c, r->table + (c->table.addr.v - TABLES_AT) / sizeof(struct via_desc));
    return rc < 0 ? rc : VIA_POP_READY;
}

static inline struct via_desc desc_of(uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
    return (struct via_desc){via_le64_make(addr), via_le32_make(len), via_le16_make(flags), via_le16_make(next)};
}

static inline uint32_t rnd(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 24);
}

#endif
