/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A ring of a legacy driver on a big-endian processor, beside its twin whose words are turned: whatever the driver writes, sense or
 * nonsense, the device finds the same in both, and writes the same.
 */
#include <string.h>

#include <tap.h>
#include <viaduct/ring.h>

#define NUM 16u
#define ROUNDS 40000u

struct mem {
    struct via_desc desc[NUM];
    struct {
        via_le16 flags, idx, ring[NUM], used_event;
    } avail;
    struct {
        via_le16 flags, idx;
        struct via_used_elem ring[NUM];
        via_le16 avail_event;
    } used;
    struct via_desc table[NUM];
};

struct side {
    alignas(16) struct mem mem;
    struct via_dq dq;
    struct via_chain chain;
    struct via_seg seg[NUM];
    bool big;
};

static struct side side[2];
static uint32_t state = 1;

static uint32_t draw(uint32_t n)
{
    state = state * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)state * n >> 32);
}

static void turn16(via_le16 *w, unsigned n)
{
    for (; n--; w++)
        w->raw = __builtin_bswap16(w->raw);
}

static void turn_desc(struct via_desc *d, unsigned n)
{
    for (; n--; d++) {
        d->addr.raw = __builtin_bswap64(d->addr.raw);
        d->len.raw = __builtin_bswap32(d->len.raw);
        turn16(&d->flags, 1);
        turn16(&d->next, 1);
    }
}

static void turn_used(struct mem *m)
{
    turn16(&m->used.flags, 1);
    turn16(&m->used.idx, 1);
    turn16(&m->used.avail_event, 1);
    for (unsigned i = 0; i < NUM; i++) {
        m->used.ring[i].id.raw = __builtin_bswap32(m->used.ring[i].id.raw);
        m->used.ring[i].len.raw = __builtin_bswap32(m->used.ring[i].len.raw);
    }
}

/* What the little one's driver wrote, the big one's writes in its own way. */
static void copy_over(void)
{
    struct mem *m = &side[1].mem;
    memcpy(m->desc, side[0].mem.desc, sizeof(m->desc));
    memcpy(&m->avail, &side[0].mem.avail, sizeof(m->avail));
    memcpy(m->table, side[0].mem.table, sizeof(m->table));
    turn_desc(m->desc, NUM);
    turn_desc(m->table, NUM);
    turn16(&m->avail.flags, sizeof(m->avail) / sizeof(via_le16));
}

static void draw_descs(struct via_desc *d, bool tables)
{
    for (unsigned i = 0; i < NUM; i++) {
        unsigned kind = draw(8), flags = kind < 5 ? VIA_DESC_F_NEXT : kind < 7 ? 0 : VIA_DESC_F_INDIRECT;
        if (!tables && flags == VIA_DESC_F_INDIRECT && draw(8))
            flags = 0;
        d[i].addr = via_le64_make((uint64_t)draw(UINT32_MAX) << 20 | draw(1 << 20));
        d[i].len = via_le32_make(flags == VIA_DESC_F_INDIRECT ? 16 * draw(NUM + 2) : draw(20) ? draw(1 << 20) + 1 : 0);
        d[i].flags = via_le16_make((uint16_t)(flags | (draw(4) ? 0 : VIA_DESC_F_WRITE)));
        d[i].next = via_le16_make((uint16_t)(draw(10) ? (i + 1) % NUM : draw(NUM + 1)));
    }
}

static bool begin(bool event_idx, uint16_t base)
{
    memset(side, 0, sizeof(side));
    side[0].mem.avail.idx = via_le16_make(base);
    for (unsigned i = 0; i < 2; i++) {
        struct side *s = &side[i];
        s->big = i;
        s->chain = (struct via_chain){.seg = s->seg, .cap = NUM};
        s->mem.used.idx = via_le16_make(base);
        if (i)
            turn_used(&s->mem);
        struct via_dq_cfg cfg = {.num = NUM,
                                 .desc = s->mem.desc,
                                 .avail = &s->mem.avail,
                                 .used = &s->mem.used,
                                 .base = base,
                                 .event_idx = event_idx,
                                 .indirect = true,
                                 .big = i};
        CHECK_OR_FALSE(via_dq_init(&s->dq, &cfg) == 0);
    }
    copy_over();
    return true;
}

static int pop(struct side *s)
{
    struct via_desc table[NUM];
    int rc = via_dq_pop(&s->dq, &s->chain);
    if (rc != VIA_POP_TABLE)
        return rc;
    memcpy(table, s->mem.table, sizeof(table));
    return via_dq_table(&s->dq, &s->chain, table) < 0 ? -VIA_EPROTO : VIA_POP_READY;
}

static bool same(void)
{
    struct via_chain *a = &side[0].chain, *b = &side[1].chain;
    struct via_fault *f = &side[0].dq.fault, *g = &side[1].dq.fault;
    CHECK_OR_FALSE(a->head == b->head && a->n_out == b->n_out && a->n_in == b->n_in);
    CHECK_OR_FALSE(a->out_len == b->out_len && a->in_len == b->in_len);
    for (unsigned i = 0; i < (unsigned)a->n_out + a->n_in; i++)
        CHECK_OR_FALSE(a->seg[i].addr.v == b->seg[i].addr.v && a->seg[i].len == b->seg[i].len);
    return f->what == g->what && f->got == g->got && f->limit == g->limit;
}

/* One chain, offered to both; false: they differ. *done: it was served. */
static bool offer(bool *done)
{
    int rc[2];
    bool wants[2], more[2];
    for (unsigned i = 0; i < 2; i++)
        rc[i] = pop(&side[i]);
    CHECK_OR_FALSE(rc[0] == rc[1] && same());
    *done = rc[0] == VIA_POP_READY;
    if (!*done)
        return true;
    uint32_t written = draw(UINT32_MAX);
    bool disarm = draw(2);
    for (unsigned i = 0; i < 2; i++) {
        struct via_dq *dq = &side[i].dq;
        via_dq_push(dq, side[i].chain.head, written);
        wants[i] = via_dq_publish(dq);
        more[i] = via_dq_arm(dq);
        if (disarm)
            via_dq_disarm(dq);
    }
    CHECK_OR_FALSE(wants[0] == wants[1] && more[0] == more[1]);
    struct mem turned = side[1].mem;
    turn_used(&turned);
    const void *a = &turned.used, *b = &side[0].mem.used;
    return memcmp(a, b, sizeof(turned.used)) == 0;
}

static void twins(bool event_idx)
{
    unsigned served = 0, asked = 0;
    bool done = false;
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (!done) /* broken, or the first */
            CHECK(begin(event_idx, (uint16_t)draw(UINT16_MAX)));
        struct mem *m = &side[0].mem;
        uint16_t idx = via_le16_value(m->avail.idx);
        draw_descs(m->desc, true);
        draw_descs(m->table, false);
        m->avail.ring[idx % NUM] = via_le16_make((uint16_t)draw(draw(40) ? NUM : NUM + 1));
        m->avail.idx = via_le16_make((uint16_t)(idx + (draw(100) ? 1 : NUM + 1)));
        m->avail.flags = via_le16_make((uint16_t)draw(2));
        m->avail.used_event = via_le16_make((uint16_t)(idx + draw(3) - 1));
        copy_over();
        CHECK(offer(&done));
        served += done;
        asked += !done && side[0].dq.fault.what;
    }
    CHECK(served > ROUNDS / 8 && asked > ROUNDS / 8);
}

static void flags(void) { twins(false); }
static void events(void) { twins(true); }

TAP_MAIN(TEST(flags), TEST(events))
