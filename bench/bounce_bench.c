/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What bounce costs beside its copy, as one JSON object.
 *
 * bounce_over_memcpy_*: throughput of map + copy + unmap over that of memcpy alone. Both walk through the driver's memory, a working set
 * far larger than the caches, in the same shuffled order, so each buffer is cold when its turn comes and no processor guesses it beforehand
 * from the one before, as is so for a driver whose buffers are anybody's pages. Buffers take turns: one goes to the device (out: copied by
 * map), the next comes from it (in: copied by unmap). memcpy copies the same kind of buffers in the same directions, and the other side of
 * its copies is the slots that bounce takes for them, which one mapping at a time keeps using: pool places are as warm for one as for the
 * other. In a round the working set is walked once in parts, bounce and memcpy in turn; in the next round they change parts.
 * Time is this thread's CPU time, so that who else wants the core counts for neither.
 *
 * bounce_fixed_ns: a map + unmap of one writable page, of which nothing was written: all but the copy. bounce_fixed_three_ns: the three
 * buffers of a block request (header, page, status), their copies of 16 bytes and one included.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <viaduct/dma.h>

#include "figure.h"

#define WORK (768ull << 20)
#define PART (8ull << 20)
#define POOL (16ull << 20)

static struct via_bounce bounce;
static struct via_pool pool;
static struct via_direct direct;
static struct via_phys_range range;
static _Atomic uint64_t free_map[POOL / VIA_POOL_SLOT / 64];
static uint8_t *work, *slots;
static uint32_t order[WORK / 4096]; /* numbers of buffers, shuffled */
static struct via_seg seg[8];
static volatile unsigned failures; /* volatile: also keeps the loops */

static uint8_t *memory(size_t len)
{
    uint8_t *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (p == MAP_FAILED) {
        perror("bounce_bench: no memory for the working set");
        exit(1);
    }
    memset(p, 1, len);
    return p;
}

static void shuffle(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    for (uint32_t i = n - 1; i > 0; i--) {
        uint32_t k = (uint32_t)rand() % (i + 1), was = order[i];
        order[i] = order[k];
        order[k] = was;
    }
}

static double walk_bounce(const uint32_t *part, size_t len)
{
    double start = now();
    for (size_t i = 0; i < PART / len; i++) {
        struct via_span buf = {work + part[i] * len, len};
        struct via_mapping m = {.seg = seg, .cap = via_array_len(seg)};
        failures += via_dma_map(&bounce.dma, &buf, i % 2 == 0, i % 2, &m) != 0;
        via_dma_unmap(&bounce.dma, &m, i % 2 ? (uint32_t)len : 0);
    }
    return now() - start;
}

static double walk_memcpy(const uint32_t *part, size_t len)
{
    struct via_span buf = {work, len};
    struct via_mapping m = {.seg = seg, .cap = via_array_len(seg)};
    failures += via_dma_map(&bounce.dma, &buf, 0, 1, &m) != 0 || m.n_in != 1;
    uint8_t *place = slots + (seg[0].addr.v - pool.base);
    via_dma_unmap(&bounce.dma, &m, 0);
    double start = now();
    for (size_t i = 0; i < PART / len; i++)
        if (i % 2)
            via_shm_read(work + part[i] * len, place, len);
        else
            via_shm_write(place, work + part[i] * len, len);
    return now() - start;
}

static void over_memcpy(const char *name, size_t len)
{
    double value[ROUNDS];
    shuffle((uint32_t)(WORK / len));
    for (int i = -1; i < ROUNDS; i++) { /* the first one warms up */
        double copy = 0, both = 0;
        for (size_t part = 0; part < WORK / PART; part++)
            if ((part + (size_t)(i + 1)) % 2)
                both += walk_bounce(order + part * (PART / len), len);
            else
                copy += walk_memcpy(order + part * (PART / len), len);
        if (i >= 0)
            value[i] = copy / both;
    }
    report(name, value, "ratio", ",");
}

static void fixed(const char *name, unsigned out, unsigned in, const char *end)
{
    enum { TIMES = 1000000 };
    double value[ROUNDS];
    struct via_span three[] = {{work + 64, 16}, {work + 4096, 4096}, {work + 100, 1}}, *buf = out ? three : &three[1];
    for (int i = -1; i < ROUNDS; i++) {
        double start = now();
        for (int k = 0; k < TIMES; k++) {
            struct via_mapping m = {.seg = seg, .cap = via_array_len(seg)};
            failures += via_dma_map(&bounce.dma, buf, out, in, &m) != 0;
            via_dma_unmap(&bounce.dma, &m, 0);
        }
        if (i >= 0)
            value[i] = (now() - start) / TIMES;
    }
    report(name, value, "ns", end);
}

int main(void)
{
    work = memory(WORK);
    slots = memory(POOL);
    range = (struct via_phys_range){slots, POOL, 0x100000000};
    if (via_direct_init(&direct, &range, 1) || via_pool_init(&pool, &direct.dma, slots, POOL, free_map, via_array_len(free_map)) ||
        via_bounce_init(&bounce, &pool, 0, VIA_BOUNCE_CACHE)) {
        fputs("bounce_bench: the pool can't be set up\n", stderr);
        return 1;
    }
    puts("{");
    over_memcpy("bounce_over_memcpy_4k", 4096);
    over_memcpy("bounce_over_memcpy_64k", 65536);
    over_memcpy("bounce_over_memcpy_1m", 1 << 20);
    fixed("bounce_fixed_ns", 0, 1, ",");
    fixed("bounce_fixed_three_ns", 1, 2, "");
    puts("}");
    if (failures)
        fputs("bounce_bench: a mapping failed, the figures mean nothing\n", stderr);
    return failures != 0;
}
