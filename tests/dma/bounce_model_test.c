/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bounce against a model: for each live mapping an arena of the driver's memory and a shadow of what it must hold; for the
 * pool, who owns each slot. Every arena is compared in whole, so what lies round a buffer is a canary.
 */
#include "rig.h"

enum { SLOTS = 150, ARENA = 160 * SLOT, LIVE = 12, BUFS = 6, OPS = 2500 };

struct live {
    bool mapped;
    struct via_bounce *by;
    struct via_mapping m;
    struct via_seg seg[SLOTS + BUFS];
    struct via_span buf[BUFS];
    unsigned out, in;
    uint32_t slots;
    uint8_t *arena, *shadow;
};

static struct rig rig;
static struct via_bounce queue[2];
static struct live live[LIVE];
static uint8_t owner[SLOTS]; /* 0: nobody, 1 + index of a mapping, 200: taken by alloc */
static uint64_t seed;
static uint8_t scratch[ARENA];

static uint32_t below(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % n);
}

static void fill(uint8_t *p, size_t len)
{
    uint64_t v = below(1u << 30);
    for (; len >= 8; p += 8, len -= 8) {
        v = v * 6364136223846793005u + 1442695040888963407u;
        memcpy(p, &v, 8);
    }
    memset(p, (int)(v >> 60), len);
}

static bool up(void)
{
    CHECK_OR_FALSE(rig_up(&rig, SLOTS));
    for (unsigned i = 0; i < LIVE; i++) {
        live[i].arena = aligned_alloc(SLOT, ARENA);
        live[i].shadow = malloc(ARENA);
        CHECK_OR_FALSE(live[i].arena && live[i].shadow);
        memset(live[i].arena, 0x5c, ARENA);
        memset(live[i].shadow, 0x5c, ARENA);
    }
    return via_bounce_init(&queue[0], &rig.pool, 0, 9) == 0 && via_bounce_init(&queue[1], &rig.pool, 7, 0) == 0;
}

/* Up to BUFS buffers at any offset: of a byte, of some slots, or of more than half the pool. */
static void choose(struct live *l)
{
    unsigned n = 1 + below(BUFS);
    size_t at = 0;
    l->slots = 0;
    for (unsigned i = 0; i < n; i++) {
        uint32_t kind = below(20);
        size_t off = at + below(2) * below(SLOT), len = kind == 0   ? 1 + below(80 * SLOT)
                                                        : kind < 6  ? 1 + below(9 * SLOT)
                                                        : kind < 12 ? 1 + below(SLOT)
                                                                    : 1 + below(64);
        if (off + len + SLOT > ARENA) {
            n = i ? i : 1;
            if (i)
                break;
            off = 0;
        }
        l->buf[i] = (struct via_span){l->arena + off, len};
        l->slots += (uint32_t)((off % SLOT + len + SLOT - 1) / SLOT);
        at = (off + len + below(3) * SLOT);
    }
    l->out = below(n + 1);
    l->in = n - l->out;
}

/* Every segment is in slots that nobody has, keeps the offset in the page, and shows the device the readable bytes. */
static bool judge_map(struct live *l, uint8_t id)
{
    unsigned k = 0;
    uint32_t slots = 0;
    for (unsigned i = 0; i < l->out + l->in; i++) {
        size_t pos = 0, len = l->buf[i].len;
        for (; pos < len; k++) {
            CHECK_OR_FALSE(k < (unsigned)l->m.n_out + l->m.n_in);
            CHECK_OR_FALSE((k < l->m.n_out) == (i < l->out));
            const uint8_t *at = rig_at(&rig, &l->seg[k]);
            CHECK_OR_FALSE(at && l->seg[k].len <= len - pos);
            CHECK_OR_FALSE((l->seg[k].addr.v - ((uintptr_t)l->buf[i].ptr + pos)) % SLOT == 0);
            CHECK_OR_FALSE(i >= l->out || memcmp(at, (uint8_t *)l->buf[i].ptr + pos, l->seg[k].len) == 0);
            for (size_t s = (size_t)(at - rig.mem) / SLOT; s <= (size_t)(at - rig.mem + l->seg[k].len - 1) / SLOT; s++) {
                CHECK_OR_FALSE(owner[s] == 0);
                owner[s] = id;
                slots++;
            }
            pos += l->seg[k].len;
        }
    }
    CHECK_OR_FALSE(slots == l->slots);
    CHECK_OR_FALSE(k == (unsigned)l->m.n_out + l->m.n_in);
    return true;
}

static uint32_t in_use(void)
{
    uint32_t n = 0;
    for (unsigned i = 0; i < SLOTS; i++)
        n += owner[i] != 0;
    return n;
}

static bool do_map(struct live *l, uint8_t id)
{
    l->by = &queue[below(2)];
    choose(l);
    if (below(10) == 0) {
        fill(l->arena, ARENA);
        memcpy(l->shadow, l->arena, ARENA);
    }
    l->m = (struct via_mapping){.seg = l->seg, .cap = via_array_len(l->seg)};
    uint32_t left = SLOTS - in_use() - queue[l->by == &queue[0]].cached; /* all but what the other one has at hand */
    int r = via_dma_map(&l->by->dma, l->buf, l->out, l->in, &l->m);
    CHECK_OR_FALSE(r == (l->slots > SLOTS ? -VIA_E2BIG : l->slots > left ? -VIA_EAGAIN : 0));
    l->mapped = r == 0;
    return r < 0 || judge_map(l, id);
}

/* The device writes all it can, and reports `written`. */
static bool device_writes(struct live *l, size_t written)
{
    size_t total = via_spans_len(l->buf + l->out, l->in), left = via_min64(written, total), pos = 0;
    memset(scratch, 0xa5, total);
    fill(scratch, left);
    CHECK_OR_FALSE(rig_put(&rig, l->seg + l->m.n_out, l->m.n_in, scratch, total));
    for (unsigned i = l->out; i < l->out + l->in; i++) {
        size_t take = via_min64(left - pos, l->buf[i].len);
        memcpy(l->shadow + ((uint8_t *)l->buf[i].ptr - l->arena), scratch + pos, take);
        pos += take;
    }
    return true;
}

static bool do_unmap(struct live *l, uint8_t id)
{
    size_t total = via_spans_len(l->buf + l->out, l->in), written = below(3) ? total : below((uint32_t)total + 100);
    CHECK_OR_FALSE(device_writes(l, written));
    if (below(4) == 0) {
        CHECK_OR_FALSE(via_dma_sync(&l->by->dma, &l->m, VIA_OWNER_CPU, (uint32_t)written) == 0);
        CHECK_OR_FALSE(memcmp(l->arena, l->shadow, ARENA) == 0);
    }
    via_dma_unmap(&l->by->dma, &l->m, (uint32_t)written);
    CHECK_OR_FALSE(memcmp(l->arena, l->shadow, ARENA) == 0);
    for (unsigned i = 0; i < SLOTS; i++)
        if (owner[i] == id)
            owner[i] = 0;
    l->mapped = false;
    return true;
}

static bool counts_agree(void)
{
    uint32_t used = in_use(), mapped = 0;
    for (unsigned i = 0; i < LIVE; i++)
        mapped += live[i].mapped ? live[i].slots : 0;
    CHECK_OR_FALSE(queue[0].stats.in_use + queue[1].stats.in_use == mapped);
    CHECK_OR_FALSE(rig.pool.claimed == used + queue[0].cached + queue[1].cached);
    CHECK_OR_FALSE(rig_free_slots(&rig) == SLOTS - rig.pool.claimed);
    CHECK_OR_FALSE(rig.pool.high_water >= rig.pool.claimed);
    return true;
}

static bool steps(void)
{
    static void *taken[16];
    static uint32_t taken_slots[16];
    for (int i = 0; i < OPS; i++) {
        uint32_t k = below(LIVE), what = below(10);
        if (what < 8) {
            CHECK_OR_FALSE(live[k].mapped ? do_unmap(&live[k], (uint8_t)(k + 1)) : do_map(&live[k], (uint8_t)(k + 1)));
        } else if (what == 8) {
            via_bounce_drain(&queue[k % 2]);
        } else if (taken[k]) {
            via_bounce_free(&queue[k % 2], taken[k], taken_slots[k] * SLOT);
            memset(owner + ((uint8_t *)taken[k] - rig.mem) / SLOT, 0, taken_slots[k]);
            taken[k] = NULL;
        } else {
            taken_slots[k] = 1 + below(3);
            taken[k] = via_bounce_alloc(&queue[k % 2], taken_slots[k] * SLOT - below(SLOT));
            for (uint32_t s = 0; taken[k] && s < taken_slots[k]; s++) {
                CHECK_OR_FALSE(owner[((uint8_t *)taken[k] - rig.mem) / SLOT + s] == 0);
                owner[((uint8_t *)taken[k] - rig.mem) / SLOT + s] = 200;
            }
        }
        CHECK_OR_FALSE(counts_agree());
    }
    for (unsigned k = 0; k < LIVE; k++) {
        CHECK_OR_FALSE(!live[k].mapped || do_unmap(&live[k], (uint8_t)(k + 1)));
        if (taken[k])
            via_bounce_free(&queue[k % 2], taken[k], taken_slots[k] * SLOT);
        taken[k] = NULL;
    }
    return true;
}

static void run(uint64_t with)
{
    seed = with;
    memset(owner, 0, sizeof(owner));
    CHECK(up());
    CHECK(steps());
    CHECK(queue[0].stats.full > 0 && queue[1].stats.full > 0); /* else this was too easy */
    CHECK_EQ(queue[0].stats.maps, queue[0].stats.unmaps);
    via_bounce_drain(&queue[0]);
    via_bounce_drain(&queue[1]);
    CHECK_EQ(rig.pool.claimed, 0);
    CHECK_EQ(rig_free_slots(&rig), SLOTS);
    for (unsigned i = 0; i < LIVE; i++) {
        free(live[i].arena);
        free(live[i].shadow);
    }
    rig_down(&rig);
}

static void as_the_model_with_seed_1(void) { run(1); }
static void as_the_model_with_seed_2(void) { run(2); }

TAP_MAIN(TEST(as_the_model_with_seed_1), TEST(as_the_model_with_seed_2))
