/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a translation costs in the device IOTLB, as one JSON object. Entries are single pages, side by side as Linux hands IOVAs out, of
 * which none continues another in host memory; _sparse: each at a random place in 64 KiB of its own.
 *
 * xlate_hit_ns_*: a hit through via_xlate_resolve, addresses in random order. Up to 2048 entries all of them are asked for; with 1m entries
 * (a million) a random 1024 of them, again and again: the caches hold what a device works with, the table holds the rest besides.
 * xlate_cold_ns_1m: all of a million in random order, so that each look-up misses the processor's caches.
 * xlate_cold_over_search: that, over the time that a binary search in a plain sorted array of the same million takes for the same addresses
 * (search_cold_ns_1m), in turns in the same run: at most 1 is what we want.
 * xlate_insert_ns_2048, xlate_remove_ns_2048: one entry of 2048; 64 random ones are removed, then inserted again.
 * Both tables lie in huge pages where the system has them. Time is this thread's CPU time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include <viaduct/xlate.h>

#include "figure.h"

#define MANY 1000000u
#define HOT 1024u
#define ASKED (1u << 20)
#define BATCH 64u
#define HUGE (2u << 20)

struct range { /* what the plain array holds */
    uint64_t start, last;
    uint8_t *ptr;
    unsigned perm;
};

static struct via_iotlb tlb;
static alignas(HUGE) struct range range[MANY]; /* ascending */
static uint64_t asked[ASKED];                  /* the addresses that are asked for */
static volatile uint64_t sink;                 /* keeps the loops */
static unsigned failures;
static uint64_t state = 88172645463325252u;

static uint32_t rnd(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(((state >> 32) * n) >> 32);
}

static int insert(const struct range *r) { return via_iotlb_insert(&tlb, (via_iova){r->start}, (via_iova){r->last}, r->ptr, r->perm); }

static void *set_up(uint32_t n, uint32_t space)
{
    size_t bytes = (via_iotlb_bytes(n) + HUGE - 1) / HUGE * HUGE;
    void *storage = aligned_alloc(HUGE, bytes);
    if (storage)
        (void)madvise(storage, bytes, MADV_HUGEPAGE);
    if (!storage || via_iotlb_init(&tlb, n, storage)) {
        fputs("xlate_bench: the IOTLB can't be set up\n", stderr);
        exit(1);
    }
    for (uint32_t i = 0; i < n; i++) {
        uint64_t page = (uint64_t)i * space + rnd(space);
        range[i] = (struct range){page << 12, (page << 12) + 4095, (uint8_t *)0x10000000 + i * 8192ull, VIA_PERM_R | VIA_PERM_W};
        failures += insert(&range[i]) != 0;
    }
    return storage;
}

static double walk_iotlb(void)
{
    uint64_t sum = 0;
    int wrong = 0;
    double start = now();
    for (uint32_t i = 0; i < ASKED; i++) {
        struct via_span span = {0};
        wrong |= via_xlate_resolve(&tlb.xlate, (via_iova){asked[i]}, 512, VIA_PERM_R, &span);
        sum += (uintptr_t)span.ptr;
    }
    double end = now();
    sink += sum;
    failures += wrong != 0;
    return (end - start) / ASKED;
}

/* The same work on the plain array: bounds and rights too. The halving has no branches to guess wrong. */
static double walk_search(void)
{
    uint64_t sum = 0;
    int wrong = 0;
    double start = now();
    for (uint32_t i = 0; i < ASKED; i++) {
        uint64_t addr = asked[i];
        const struct range *r = range;
        for (uint32_t n = MANY; n > 1;) {
            uint32_t half = n / 2;
            r += half * (size_t)(r[half].start <= addr);
            n -= half;
        }
        wrong |= addr < r->start || addr > r->last || !(r->perm & VIA_PERM_R);
        sum += (uintptr_t)r->ptr + (addr - r->start);
    }
    double end = now();
    sink += sum;
    failures += wrong != 0;
    return (end - start) / ASKED;
}

static void hits(const char *name, uint32_t entries, uint32_t space)
{
    static uint32_t hot[HOT];
    double value[ROUNDS];
    void *storage = set_up(entries, space);
    for (uint32_t i = 0; i < HOT; i++)
        hot[i] = rnd(entries);
    for (uint32_t i = 0; i < ASKED; i++)
        asked[i] = range[entries > 2048 ? hot[rnd(HOT)] : rnd(entries)].start + 64;
    for (int i = -1; i < ROUNDS; i++) { /* the first one warms up */
        double t = walk_iotlb();
        if (i >= 0)
            value[i] = t;
    }
    report(name, value, "ns", ",");
    free(storage);
}

static void cold(void)
{
    double value[ROUNDS], plain[ROUNDS], ratio[ROUNDS];
    void *storage = set_up(MANY, 1);
    for (int i = -1; i < ROUNDS; i++) {
        for (uint32_t k = 0; k < ASKED; k++)
            asked[k] = range[rnd(MANY)].start + 64;
        double s = walk_search(), t = walk_iotlb();
        if (i < 0)
            continue;
        plain[i] = s;
        value[i] = t;
        ratio[i] = t / s;
    }
    report("xlate_cold_ns_1m", value, "ns", ",");
    report("search_cold_ns_1m", plain, "ns", ",");
    report("xlate_cold_over_search", ratio, "ratio", ",");
    free(storage);
}

static void changes(void)
{
    enum { TIMES = 2000, ENTRIES = 2048 };
    double in[ROUNDS], out[ROUNDS];
    void *storage = set_up(ENTRIES, 1);
    for (int i = -1; i < ROUNDS; i++) {
        double inserting = 0, removing = 0;
        for (unsigned k = 0; k < TIMES; k++) {
            uint32_t first = rnd(ENTRIES), step = rnd(ENTRIES / 2) * 2 + 1; /* odd: 64 different ones */
            double a = now();
            for (uint32_t n = 0; n < BATCH; n++) {
                const struct range *r = &range[(first + n * step) % ENTRIES];
                via_iotlb_remove(&tlb, (via_iova){r->start}, (via_iova){r->last});
            }
            double b = now();
            for (uint32_t n = 0; n < BATCH; n++)
                failures += insert(&range[(first + n * step) % ENTRIES]) != 0;
            removing += b - a;
            inserting += now() - b;
            failures += tlb.n != ENTRIES;
        }
        if (i >= 0) {
            in[i] = inserting / (TIMES * BATCH);
            out[i] = removing / (TIMES * BATCH);
        }
    }
    report("xlate_insert_ns_2048", in, "ns", ",");
    report("xlate_remove_ns_2048", out, "ns", "");
    free(storage);
}

int main(void)
{
    (void)madvise(range, sizeof(range), MADV_HUGEPAGE);
    puts("{");
    hits("xlate_hit_ns_1", 1, 1);
    hits("xlate_hit_ns_64", 64, 1);
    hits("xlate_hit_ns_2048", 2048, 1);
    hits("xlate_hit_ns_1m", MANY, 1);
    hits("xlate_hit_ns_2048_sparse", 2048, 16);
    cold();
    changes();
    puts("}");
    if (failures)
        fputs("xlate_bench: a look-up failed, the figures mean nothing\n", stderr);
    return failures != 0;
}
