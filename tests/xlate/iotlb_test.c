/* SPDX-License-Identifier: BSD-2-Clause */
/* The IOTLB against a plain model: which host byte, with which rights, stands behind each unit of a small domain. */
#include <stdlib.h>
#include <string.h>

#include <tap.h>
#include <viaduct/xlate.h>

#define SMALL 4u /* units in the exhaustive domain */
#define LARGE 4096u

static struct via_iotlb tlb;
static void *storage;
static uint32_t seed = 1;

static struct { /* the model */
    uint64_t base, unit;
    unsigned units;
    uint64_t evictions; /* that it has followed */
    struct unit {
        uintptr_t at; /* 0: nothing there */
        unsigned perm;
    } u[LARGE];
} model;

struct op {
    unsigned first, last; /* units */
    unsigned place;       /* in host memory, there are two and none that touch; 0: remove */
    unsigned perm;
};

static uint32_t rnd(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)seed * n) >> 32);
}

static bool start(uint32_t capacity, uint64_t base, uint64_t unit, unsigned units)
{
    free(storage);
    storage = malloc(via_iotlb_bytes(capacity));
    CHECK_OR_FALSE(storage && via_iotlb_init(&tlb, capacity, storage) == 0);
    memset(&model, 0, sizeof(model));
    model.base = base;
    model.unit = unit;
    model.units = units;
    return true;
}

static int ask(uint64_t addr, uint64_t len, unsigned perm, struct via_span *span)
{
    return via_xlate_resolve(&tlb.xlate, (via_iova){addr}, len, perm, span);
}
static int insert(uint64_t first, uint64_t last, uintptr_t at, unsigned perm)
{
    return via_iotlb_insert(&tlb, (via_iova){first}, (via_iova){last}, (void *)at, perm);
}
static void cut_out(uint64_t first, uint64_t last) { via_iotlb_remove(&tlb, (via_iova){first}, (via_iova){last}); }
static int ask1(uint64_t addr)
{
    struct via_span span;
    return ask(addr, 1, VIA_PERM_R, &span);
}

static unsigned run_of(unsigned i) /* units from i on that continue each other */
{
    unsigned n = 1;
    while (i + n < model.units && model.u[i].at && model.u[i + n].at == model.u[i].at + n * model.unit &&
           model.u[i + n].perm == model.u[i].perm)
        n++;
    return n;
}

/* What resolve says of one address in unit i. */
static bool agrees(unsigned i, uint64_t off, uint64_t len)
{
    const struct unit *u = &model.u[i];
    uint64_t addr = model.base + i * model.unit + off, left = u->at ? run_of(i) * model.unit - off : 0;
    bool wraps = len == 0 || len - 1 > UINT64_MAX - addr;
    for (unsigned perm = 0; perm < 4; perm++) {
        struct via_span span = {0};
        int want = wraps ? -VIA_EFAULT : !u->at ? -VIA_EAGAIN : (u->perm & perm) != perm ? -VIA_EFAULT : 0;
        CHECK_OR_FALSE(ask(addr, len, perm, &span) == want);
        if (want == 0)
            CHECK_OR_FALSE((uintptr_t)span.ptr == u->at + off && span.len == (len < left ? len : left));
    }
    return true;
}

static bool sweep(void)
{
    for (unsigned i = 0; i < model.units; i++) {
        if (!agrees(i, 0, 1) || !agrees(i, model.unit - 1, 1) || !agrees(i, rnd((uint32_t)model.unit), model.units * model.unit) ||
            !agrees(i, 0, rnd(3) * model.unit))
            return false;
    }
    return true;
}

/* An eviction takes one run, all of it: the model forgets as many as the IOTLB says that it evicted, and each other one must be there. */
static bool follow_evictions(void)
{
    uint64_t lost = 0, runs = 0;
    for (unsigned i = 0, n; i < model.units; i += n) {
        n = run_of(i);
        if (!model.u[i].at)
            continue;
        if (ask1(model.base + i * model.unit) == -VIA_EAGAIN) {
            memset(&model.u[i], 0, n * sizeof(model.u[0]));
            lost++;
        } else {
            runs++;
        }
    }
    CHECK_OR_FALSE(lost == tlb.evictions - model.evictions);
    CHECK_OR_FALSE(runs == tlb.n && runs <= tlb.capacity);
    model.evictions = tlb.evictions;
    return true;
}

static bool apply(struct op op)
{
    uint64_t first = model.base + op.first * model.unit, last = model.base + op.last * model.unit + (model.unit - 1);
    uint64_t generation = tlb.xlate.generation;
    bool there = false, changed = false;
    for (unsigned i = op.first; i <= op.last; i++) {
        uintptr_t at = op.place ? ((uintptr_t)op.place << 40) + i * model.unit : 0;
        there |= model.u[i].at != 0;
        changed |= model.u[i].at && (model.u[i].at != at || model.u[i].perm != op.perm);
        model.u[i] = (struct unit){at, op.perm};
    }
    if (op.place)
        CHECK_OR_FALSE(insert(first, last, model.u[op.first].at, op.perm) == 0);
    else
        cut_out(first, last);
    changed |= tlb.evictions != model.evictions;
    CHECK_OR_FALSE(!changed || tlb.xlate.generation > generation);
    CHECK_OR_FALSE(changed || there || tlb.xlate.generation == generation);
    if (op.place) /* whatever went for it, what was asked for is there */
        CHECK_OR_FALSE(agrees(op.first, 0, 1) && agrees(op.last, model.unit - 1, 1));
    return true;
}

/* ------------------------------------------------------------------ exhaustive */

static unsigned all_ops(struct op *op)
{
    const struct op kind[] = {{.place = 0}, {.place = 1, .perm = 3}, {.place = 1, .perm = VIA_PERM_R}, {.place = 2, .perm = 3}};
    unsigned n = 0;
    for (unsigned k = 0; k < via_array_len(kind); k++)
        for (unsigned i = 0; i < SMALL; i++)
            for (unsigned j = i; j < SMALL; j++) {
                op[n] = kind[k];
                op[n].first = i;
                op[n++].last = j;
            }
    return n;
}

/* Each sequence of three operations on four addresses. */
static bool all_sequences(uint32_t capacity, uint64_t base)
{
    struct op op[4 * SMALL * (SMALL + 1) / 2];
    unsigned n = all_ops(op);
    for (unsigned i = 0; i < n * n * n; i++) {
        const struct op *three[] = {&op[i / n / n], &op[i / n % n], &op[i % n]};
        memset(model.u, 0, SMALL * sizeof(model.u[0]));
        model.evictions = 0;
        CHECK_OR_FALSE(via_iotlb_init(&tlb, capacity, storage) == 0);
        for (unsigned k = 0; k < 3; k++)
            if (!apply(*three[k]) || !follow_evictions())
                return false;
        for (unsigned k = 0; k < SMALL; k++)
            if (!agrees(k, 0, 1) || !agrees(k, 0, 3))
                return false;
        CHECK_OR_FALSE(base == 0 || ask1(base - 1) == -VIA_EAGAIN);
        CHECK_OR_FALSE(base + SMALL == 0 || ask1(base + SMALL) == -VIA_EAGAIN);
    }
    return true;
}

static void exhaustive_at_the_bottom(void) { CHECK(start(8, 0, 1, SMALL) && all_sequences(8, 0)); }
static void exhaustive_in_the_middle(void) { CHECK(start(8, 0xffe, 1, SMALL) && all_sequences(8, 0xffe)); }
static void exhaustive_at_the_top(void)
{
    uint64_t base = UINT64_MAX - (SMALL - 1);
    CHECK(start(8, base, 1, SMALL) && all_sequences(8, base));
}
static void exhaustive_with_evictions(void)
{
    for (uint32_t capacity = 1; capacity <= 3; capacity++)
        CHECK(start(capacity, 0x7fff, 1, SMALL) && all_sequences(capacity, 0x7fff));
}

/* ------------------------------------------------------------------ long lives */

static bool life(uint32_t capacity, uint64_t base, uint64_t unit, unsigned steps)
{
    if (!start(capacity, base, unit, LARGE))
        return false;
    for (unsigned step = 0; step < steps; step++) {
        unsigned most = rnd(100) < 3 ? LARGE / 4 : 1 + rnd(4); /* mostly small ones, so that there are many */
        struct op op = {.first = rnd(LARGE), .place = rnd(100) < 25 ? 0 : 1 + rnd(3), .perm = 1 + rnd(3)};
        if (!op.place)
            op.perm = 0;
        else if (most > 4 && rnd(8))
            op.place = op.perm = 0;
        op.last = op.first + rnd(most);
        if (op.last >= LARGE)
            op.last = LARGE - 1;
        if (!apply(op) || (tlb.evictions != model.evictions && !follow_evictions()))
            return false;
        for (unsigned k = 0; k < 8; k++)
            if (!agrees(rnd(LARGE), rnd((uint32_t)unit), 1 + rnd(100000)))
                return false;
        if (step % 256 == 255 && !(follow_evictions() && sweep()))
            return false;
    }
    return true;
}

static void long_life_of_pages(void)
{
    CHECK(life(LARGE, 0x40000000, 4096, 20000));
    CHECK_EQ(tlb.evictions, 0);
}
static void long_life_of_bytes(void)
{
    CHECK(life(LARGE, UINT64_MAX - (LARGE - 1), 1, 20000));
    CHECK_EQ(tlb.evictions, 0);
}
static void long_life_with_evictions(void)
{
    CHECK(life(100, 0, 4096, 20000));
    CHECK(tlb.evictions > 1000);
    CHECK(life(7, UINT64_MAX - (LARGE * 4096ull - 1), 4096, 4000));
}

/* Fills, empties and fills again a tree of some levels, in three orders. */
static void many_entries_in_and_out(void)
{
    enum { N = 30000 };
    static uint32_t order[N];
    CHECK(start(N, 0, 1, 0));
    for (unsigned way = 0; way < 3; way++) {
        for (uint32_t i = 0; i < N; i++)
            order[i] = way == 1 ? N - 1 - i : i;
        for (uint32_t i = N - 1; way == 2 && i > 0; i--) {
            uint32_t k = rnd(i + 1), was = order[i];
            order[i] = order[k];
            order[k] = was;
        }
        for (uint32_t i = 0; i < N; i++)
            CHECK_EQ(insert(order[i] * 8192ull, order[i] * 8192ull + 4095, 0x100000 + order[i] * 4096ull, 3), 0);
        CHECK_EQ(tlb.n, N);
        for (uint32_t i = 0; i < N; i++) {
            struct via_span span;
            CHECK_EQ(ask(i * 8192ull + 5, 8192, 3, &span), 0);
            CHECK((uintptr_t)span.ptr == 0x100005 + i * 4096ull && span.len == 4091);
            CHECK_EQ(ask1(i * 8192ull + 4096), -VIA_EAGAIN);
        }
        for (uint32_t i = 0; i < N; i++) {
            cut_out(order[i] * 8192ull, order[i] * 8192ull + 4095);
            CHECK_EQ(ask1(order[i] * 8192ull), -VIA_EAGAIN);
            CHECK(i + 1 == N || ask1(order[i + 1] * 8192ull) == 0);
        }
        CHECK_EQ(tlb.n, 0);
    }
    CHECK_EQ(tlb.evictions, 0);
}

/* Some of many go, and what stays grows up to its next neighbour, over the places where the tree was divided. */
static bool grow_over(unsigned gone)
{
    enum { N = 400 };
    bool stays[N];
    memset(stays, 1, sizeof(stays));
    CHECK_OR_FALSE(via_iotlb_init(&tlb, N, storage) == 0);
    for (uint64_t i = 0; i < N; i++)
        CHECK_OR_FALSE(insert(i * 8192, i * 8192 + 4095, 0x100000 + i * 4096, 3) == 0);
    for (unsigned k = 0; k < gone; k++) {
        uint64_t i = 1 + rnd(N - 1);
        stays[i] = false;
        cut_out(i * 8192, i * 8192 + 4095);
    }
    uint32_t left = tlb.n;
    for (uint64_t i = 0, next; i < N; i = next) {
        struct via_span span;
        for (next = i + 1; next < N && !stays[next];)
            next++;
        CHECK_OR_FALSE(insert(i * 8192 + 4096, next * 8192 - 1, 0x101000 + i * 4096, 3) == 0);
        CHECK_OR_FALSE(ask(next * 8192 - 1, 1, 3, &span) == 0);
        CHECK_OR_FALSE((uintptr_t)span.ptr == 0x100000 + i * 4096 + (next - i) * 8192 - 1);
        CHECK_OR_FALSE(tlb.n == left);
    }
    return true;
}

static void entries_grow_over_those_that_went(void)
{
    CHECK(start(400, 0, 1, 0));
    for (unsigned gone = 1; gone < 1000; gone++)
        CHECK(grow_over(gone));
}

/* ------------------------------------------------------------------ rules one by one */

static void rights(void)
{
    struct via_span span;
    CHECK(start(8, 0, 1, 0));
    CHECK_EQ(insert(0x1000, 0x1fff, 0x10000, VIA_PERM_R), 0);
    CHECK_EQ(insert(0x2000, 0x2fff, 0x11000, VIA_PERM_W), 0); /* continues but for its rights */
    CHECK_EQ(insert(0x3000, 0x3fff, 0x12000, VIA_PERM_R | VIA_PERM_W), 0);
    CHECK_EQ(tlb.n, 3);
    CHECK_EQ(ask(0x1000, 0x3000, VIA_PERM_R, &span), 0);
    CHECK_EQ(span.len, 0x1000);
    CHECK_EQ(ask(0x1000, 1, VIA_PERM_W, &span), -VIA_EFAULT);
    CHECK_EQ(ask(0x2000, 1, VIA_PERM_R, &span), -VIA_EFAULT);
    CHECK_EQ(ask(0x2000, 1, VIA_PERM_W, &span), 0);
    CHECK_EQ(ask(0x3fff, 2, VIA_PERM_R | VIA_PERM_W, &span), 0);
    CHECK_EQ(span.len, 1);
    CHECK_EQ(ask(0x4000, 1, VIA_PERM_R, &span), -VIA_EAGAIN);
    CHECK_EQ(ask(0x3000, 0, VIA_PERM_R, &span), -VIA_EFAULT);
    CHECK_EQ(ask(UINT64_MAX, 2, VIA_PERM_R, &span), -VIA_EFAULT); /* wraps: no answer could help */
    CHECK_EQ(insert(0x1000, 0x2fff, 0x10000, VIA_PERM_R | VIA_PERM_W), 0);
    CHECK_EQ(tlb.n, 1);
    CHECK_EQ(ask(0x1000, 0x5000, VIA_PERM_W, &span), 0);
    CHECK_EQ(span.len, 0x3000);
}

static void refuses_what_is_no_update(void)
{
    CHECK(start(8, 0, 1, 0));
    CHECK_EQ(via_iotlb_init(&tlb, 0, storage), -VIA_EINVAL);
    CHECK_EQ(via_iotlb_init(&tlb, VIA_IOTLB_ENTRIES_MAX + 1, storage), -VIA_EINVAL);
    CHECK_EQ(insert(0x10, 0x1f, 0x1000, 3), 0);
    uint64_t generation = tlb.xlate.generation;
    CHECK_EQ(insert(0x18, 0x17, 0x2000, 3), -VIA_EINVAL);
    CHECK_EQ(insert(0x18, 0x18, 0x2000, 0), -VIA_EINVAL);
    CHECK_EQ(insert(0x18, 0x18, 0x2000, 4), -VIA_EINVAL);
    CHECK_EQ(insert(0x18, 0x18, 0, 3), -VIA_EINVAL);
    CHECK_EQ(insert(0x18, 0x19, UINTPTR_MAX, 3), -VIA_EINVAL);
    CHECK_EQ(insert(0, UINT64_MAX, 0x2000, 3), -VIA_EINVAL);
    cut_out(0x1f, 0x10);
    CHECK_EQ(tlb.xlate.generation, generation);
    CHECK_EQ(ask1(0x1f), 0);
    CHECK_EQ(insert(0x18, 0x18, UINTPTR_MAX, 3), 0); /* the very last host byte; what follows continues nothing */
    CHECK_EQ(tlb.n, 3);
    CHECK_EQ(insert(1, UINT64_MAX, 1, 3), 0);
    CHECK_EQ(tlb.n, 1);
    CHECK_EQ(ask1(0), -VIA_EAGAIN);
    CHECK_EQ(ask1(UINT64_MAX), 0);
}

/* What QEMU sends to flush a domain: all but the interrupt window, in two. DPDK's list computes a length of 0 for the second. */
static void flush_in_two(void)
{
    CHECK(start(64, 0, 1, 0));
    for (unsigned wide = 0; wide < 2; wide++) {
        const uint64_t at[] = {0, 0x1000, 0xfedff000, 0xfef00000, 0xfffff000, 0x100000000, 0x7ffffffff000, UINT64_MAX - 0xfff};
        for (unsigned i = 0; i < via_array_len(at); i++)
            CHECK_EQ(insert(at[i], at[i] + 0xfff, 0x10000000 + i * 0x10000, 3), 0);
        if (wide) /* one that reaches over both ends of the window */
            CHECK_EQ(insert(0xfed00000, 0xfeffffff, 0x20000000, 3), 0);
        uint64_t generation = tlb.xlate.generation;
        cut_out(0, 0xfedfffff);
        CHECK(tlb.xlate.generation > generation);
        generation = tlb.xlate.generation;
        for (unsigned i = 0; i < via_array_len(at); i++)
            CHECK_EQ(ask1(at[i]), at[i] > 0xfedfffff ? 0 : -VIA_EAGAIN);
        cut_out(0xfef00000, UINT64_MAX);
        CHECK(tlb.xlate.generation > generation);
        for (unsigned i = 0; i < via_array_len(at); i++)
            CHECK_EQ(ask1(at[i]), -VIA_EAGAIN);
        CHECK_EQ(tlb.n, wide);
        struct via_span span;
        CHECK(ask1(0xfedfffff) == -VIA_EAGAIN && ask1(0xfef00000) == -VIA_EAGAIN);
        if (wide) {
            CHECK_EQ(ask(0xfee00000, 1 << 30, 3, &span), 0);
            CHECK((uintptr_t)span.ptr == 0x20100000 && span.len == 0x100000);
        }
    }
    cut_out(0, UINT64_MAX);
    CHECK_EQ(tlb.n, 0);
    CHECK(ask1(0xfee00000) == -VIA_EAGAIN);
}

/* Whoever is asked for all the time stays, however many others come by; once, when all have been used alike, its turn may come. */
static void eviction_is_fair(void)
{
    unsigned lost = 0;
    CHECK(start(16, 0, 1, 0));
    for (uint64_t i = 1; i < 1000; i++) {
        if (ask1(0x5000) == -VIA_EAGAIN) {
            lost += i > 1;
            CHECK_EQ(insert(0x5000, 0x5fff, 0x100000, 3), 0);
        }
        CHECK_EQ(insert(i * 0x10000, i * 0x10000 + 0xfff, 0x200000 + i * 0x10000, 3), 0);
        for (uint64_t k = i; k + 7 > i && k > 0; k--) /* nor do those go that have just come */
            CHECK_EQ(ask1(k * 0x10000), 0);
    }
    CHECK(lost <= 1);
    CHECK_EQ(tlb.n, 16);
    CHECK_EQ(tlb.evictions, 1000 + lost - 16);
}

TAP_MAIN(TEST(exhaustive_at_the_bottom), TEST(exhaustive_in_the_middle), TEST(exhaustive_at_the_top), TEST(exhaustive_with_evictions),
         TEST(long_life_of_pages), TEST(long_life_of_bytes), TEST(long_life_with_evictions), TEST(many_entries_in_and_out),
         TEST(entries_grow_over_those_that_went), TEST(rights), TEST(refuses_what_is_no_update), TEST(flush_in_two), TEST(eviction_is_fair))
