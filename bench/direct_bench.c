/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the dma interface costs where nothing is needed of it, as one JSON object.
 *
 * direct_over_raw: requests a second of 4 KiB with `direct`, over those of a driver that writes physical addresses on its ring by itself.
 * All of a request's way is in it: header and buffers laid out, mapped, added, published; popped, resolved, served from a disk in memory by
 * the block device, pushed; reaped, unmapped, the status looked at. Both use the same ring, device, buffers and sectors, in turns of some
 * batches; a round's figure is the median of its pairs of turns. Reads and writes take turns, at sectors in random order. Time is this
 * thread's CPU time.
 *
 * direct_map_ns: map and unmap of the three buffers of a request by themselves.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <viaduct/device.h>
#include <viaduct/dma.h>

#include "figure.h"

#define BLOCK 4096u
#define NUM 128u
#define DEPTH 32u   /* requests between two looks at the ring */
#define BATCHES 16u /* in a turn */
#define TURNS 250u  /* of each in a round */
#define DISK (64ull << 20)
#define PHYS UINT64_C(0x100000000)
#define RING 65536u

struct wire {
    struct via_blk_hdr hdr;
    uint8_t status;
};

struct place { /* a request */
    struct wire *wire;
    uint8_t *data;
    struct via_span buf[3];
    struct via_seg seg[3];
    struct via_mapping map;
};

static uint8_t *memory, *disk;
static size_t memory_len, used;
static struct place place[DEPTH];
static struct via_vq vq;
static struct via_vq_slot slot[NUM];
static struct via_pump pump;
static struct via_memmap map;
static struct via_blk_device device;
static struct via_phys_range range;
static struct via_direct direct;
static unsigned failures;
static volatile unsigned notified; /* one thread does both sides: nobody has to be woken */
static uint64_t state = 88172645463325252u;

static void must(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "direct_bench: %s\n", what);
    exit(1);
}

static uint8_t *anonymous(size_t len)
{
    uint8_t *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    must(p != MAP_FAILED, "no memory");
    return p;
}

static void *take(size_t len)
{
    uint8_t *p = memory + used;
    used += (len + BLOCK - 1) / BLOCK * BLOCK;
    must(used <= memory_len, "the driver's memory is too small");
    return p;
}

static uint64_t random_block(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % (DISK / BLOCK);
}

/* ------------------------------------------------------------------ the device */

static int serve(struct via_blk_store *store, struct via_blk_io *io)
{
    (void)store;
    if (io->op == VIA_BLK_READ)
        via_spans_write(io->span, io->n, 0, disk + io->offset, io->len);
    else if (io->op == VIA_BLK_WRITE)
        via_spans_read(io->span, io->n, 0, disk + io->offset, io->len);
    io->done(io, 0);
    return 0;
}

static void open_device(const struct via_vq_cfg *driver)
{
    static const struct via_blk_store_ops ops = {.submit = serve};
    static struct via_blk_store store = {&ops};
    const struct via_blk_limits limits = {.capacity = DISK, .blk_size = 512, .physical_size = 4096, .seg_max = NUM - 2, .queues = 1};
    const struct via_dq_cfg cfg = {.num = NUM, .desc = driver->desc, .avail = driver->avail, .used = driver->used, .event_idx = true};
    struct via_region region = {.gpa = PHYS, .len = memory_len, .ptr = memory};
    via_memmap_init(&map);
    must(!via_memmap_add(&map, &region) &&
             !via_blk_device_init(&device, &limits, &store, NUM, NUM + 4, malloc(via_blk_device_bytes(NUM, NUM + 4))) &&
             !via_pump_init(&pump, &cfg, &map.xlate, NULL, &device.device, 4, malloc(via_pump_bytes(NUM, 4, false))),
         "the device can't be set up");
    device.features = VIA_BIT(VIA_F_VERSION_1) | VIA_BIT(VIA_BLK_F_FLUSH);
}

/* ------------------------------------------------------------------ the driver */

static void open_driver(void)
{
    struct via_split_layout at;
    must(!via_split_layout(&at, NUM, 4), "there is no such ring");
    uint8_t *ring = take(RING);
    const struct via_vq_cfg cfg = {
        .num = NUM, .desc = ring + at.desc, .avail = ring + at.avail, .used = ring + at.used, .slot = slot, .event_idx = true};
    range = (struct via_phys_range){memory, memory_len, PHYS};
    must(!via_vq_init(&vq, &cfg) && !via_direct_init(&direct, &range, 1), "the driver can't be set up");
    for (unsigned i = 0; i < DEPTH; i++) {
        struct place *p = &place[i];
        *p = (struct place){.wire = take(sizeof(*p->wire)), .data = take(BLOCK), .map = {.seg = p->seg, .cap = 3}};
    }
    open_device(&cfg);
}

static struct via_seg at(const void *ptr, uint32_t len)
{
    return (struct via_seg){{PHYS + (uint64_t)((const uint8_t *)ptr - memory)}, len};
}

static inline void submit(struct place *p, bool read, bool mapped)
{
    unsigned out = read ? 1 : 2;
    p->wire->hdr = (struct via_blk_hdr){.type = via_le32_make(read ? VIA_BLK_T_IN : VIA_BLK_T_OUT),
                                        .sector = via_le64_make(random_block() * (BLOCK / VIA_BLK_SECTOR))};
    p->wire->status = 0xff;
    if (mapped) {
        p->buf[0] = (struct via_span){&p->wire->hdr, sizeof(p->wire->hdr)};
        p->buf[1] = (struct via_span){p->data, BLOCK};
        p->buf[2] = (struct via_span){&p->wire->status, 1};
        failures += via_dma_map(&direct.dma, p->buf, out, 3 - out, &p->map) != 0;
        failures += via_vq_add(&vq, p->seg, p->map.n_out, p->map.n_in, p) != 0;
        return;
    }
    p->seg[0] = at(&p->wire->hdr, sizeof(p->wire->hdr));
    p->seg[1] = at(p->data, BLOCK);
    p->seg[2] = at(&p->wire->status, 1);
    failures += via_vq_add(&vq, p->seg, out, 3 - out, p) != 0;
}

static inline void batch(bool mapped)
{
    struct via_used_chain used_one;
    unsigned ended = 0;
    for (unsigned i = 0; i < DEPTH; i++)
        submit(&place[i], i % 2, mapped);
    notified += via_vq_publish(&vq);
    failures += via_pump_run(&pump, DEPTH) != (int)DEPTH;
    notified += via_pump_flush(&pump);
    while (via_vq_reap(&vq, &used_one) > 0) {
        struct place *p = used_one.token;
        if (mapped)
            via_dma_unmap(&direct.dma, &p->map, used_one.written);
        failures += p->wire->status != VIA_BLK_S_OK;
        ended++;
    }
    failures += ended != DEPTH;
}

static double turn(bool mapped)
{
    double start = now();
    for (unsigned i = 0; i < BATCHES; i++)
        if (mapped)
            batch(true);
        else
            batch(false);
    return now() - start;
}

static void over_raw(void)
{
    double value[ROUNDS], pair[TURNS];
    for (int i = -1; i < ROUNDS; i++) { /* the first one warms up */
        for (unsigned k = 0; k < TURNS; k++) {
            bool first = k % 2; /* who goes first takes turns, too */
            double one = turn(first), other = turn(!first);
            pair[k] = first ? other / one : one / other;
        }
        qsort(pair, TURNS, sizeof(*pair), by_value);
        if (i >= 0)
            value[i] = pair[TURNS / 2];
    }
    report("direct_over_raw", value, "ratio", ",");
}

static void map_alone(void)
{
    enum { TIMES = 1000000 };
    double value[ROUNDS];
    for (int i = -1; i < ROUNDS; i++) {
        double start = now();
        for (unsigned k = 0; k < TIMES; k++) {
            struct place *p = &place[k % DEPTH];
            failures += via_dma_map(&direct.dma, p->buf, 1, 2, &p->map) != 0;
            via_dma_unmap(&direct.dma, &p->map, 0);
        }
        if (i >= 0)
            value[i] = (now() - start) / TIMES;
    }
    report("direct_map_ns", value, "ns", "");
}

int main(void)
{
    memory_len = RING + 2 * DEPTH * BLOCK;
    memory = anonymous(memory_len);
    disk = anonymous(DISK);
    open_driver();
    puts("{");
    over_raw();
    map_alone();
    puts("}");
    if (failures)
        fputs("direct_bench: a request failed, the figures mean nothing\n", stderr);
    return failures != 0;
}
