/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * I/O of a protected guest on every platform: rings and a pool on shared pages, buffers on private ones, a device that has the descriptor.
 * Data arrives, every address on the ring says what it has to, and once it runs nothing is converted any more.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <viaduct/ring.h>

#include "protect_rig.h"

#define NUM 16u
#define TABLE 4u    /* descriptors of an indirect table */
#define TABLES PAGE /* where they are: the page behind the ring's */
#define POOL_AT 2u  /* pages */
#define POOL 24u
#define BUFFERS 40u /* the first private page that data is in */
#define AT_ONCE 6u
#define REQUESTS 10000u

struct io {
    struct place p;
    struct via_pool pool;
    struct via_bounce bounce;
    _Atomic uint64_t slots[1];
    struct via_vq vq;
    struct via_vq_slot slot[NUM];
    struct via_dq dq;
    struct via_split_layout at;
    struct request {
        struct via_seg seg[TABLE];
        struct via_span buf[2];
        struct via_mapping m;
        bool busy;
        uint8_t value;
    } req[AT_ONCE];
    unsigned seed, made, done;
};

/* Where the driver and the device find the ring; its address is the driver's, mapped once as any other. */
static bool open_ring(struct io *io, struct via_span *driver, struct via_span *device, via_iova *tables)
{
    struct via_seg seg = {{0}, 0};
    struct via_mapping m = {.seg = &seg, .cap = 1};
    *driver = (struct via_span){page_of(&io->p, 0), 2 * PAGE};
    CHECK_OR_FALSE(via_split_layout(&io->at, NUM, 4) == 0 && io->at.total <= TABLES);
    CHECK_OR_FALSE(via_dma_map(&io->p.dma.dma, driver, 0, 1, &m) == 0);
    CHECK_OR_FALSE(via_xlate_map(&io->p.view.xlate, &seg, 1, VIA_PERM_R | VIA_PERM_W, device, 1) == 1 && device->len == 2 * PAGE);
    tables->v = seg.addr.v + TABLES;
    return true;
}

static bool io_open(struct io *io, const struct platform *platform, bool shared)
{
    struct via_span driver, device;
    via_iova tables;
    memset(io, 0, sizeof(*io));
    CHECK_OR_FALSE(place_open(&io->p, platform, shared));
    CHECK_OR_FALSE(convert(&io->p, 0, PAGES, false) == 0);
    becomes(&io->p, 0, PAGES, false);
    CHECK_OR_FALSE(convert(&io->p, 0, POOL_AT + POOL, true) == 0);
    for (size_t i = 0; i < POOL_AT + POOL; i++)
        io->p.state[i] = SHARED;
    CHECK_OR_FALSE(open_ring(io, &driver, &device, &tables));
    uint8_t *mem = driver.ptr, *seen = device.ptr;
    const struct via_vq_cfg vq = {.num = NUM,
                                  .desc = mem + io->at.desc,
                                  .avail = mem + io->at.avail,
                                  .used = mem + io->at.used,
                                  .slot = io->slot,
                                  .indirect = mem + TABLES,
                                  .indirect_addr = tables,
                                  .indirect_len = TABLE};
    const struct via_dq_cfg dq = {
        .num = NUM, .desc = seen + io->at.desc, .avail = seen + io->at.avail, .used = seen + io->at.used, .indirect = true};
    CHECK_OR_FALSE(via_vq_init(&io->vq, &vq) == 0 && via_dq_init(&io->dq, &dq) == 0);
    CHECK_OR_FALSE(via_pool_init(&io->pool, &io->p.dma.dma, page_of(&io->p, POOL_AT), POOL * PAGE, io->slots, 1) == 0);
    CHECK_OR_FALSE(via_bounce_init(&io->bounce, &io->pool, 0, 4) == 0);
    return true;
}

static unsigned below(struct io *io, unsigned n) { return (unsigned)rand_r(&io->seed) % n; }

/* One buffer to be read and one to be written, of which either may be left out. */
static bool submit(struct io *io, struct request *q)
{
    uint8_t *mem = page_of(&io->p, BUFFERS + 4 * (size_t)(q - io->req));
    unsigned which = 1 + below(io, 3), out = which & 1, in = which >> 1;
    q->value = (uint8_t)io->made;
    q->buf[0] = (struct via_span){mem + below(io, 4096), 1 + below(io, 4096)};
    memset(q->buf[0].ptr, q->value, q->buf[0].len);
    q->buf[out] = in ? (struct via_span){mem + 2 * PAGE + below(io, 4096), 1 + below(io, 4096)} : q->buf[out];
    q->m = (struct via_mapping){.seg = q->seg, .cap = TABLE};
    CHECK_OR_FALSE(via_dma_map(&io->p.dma.dma, q->buf, out, in, &q->m) == -VIA_EPERM); /* without the pool there is no way */
    CHECK_OR_FALSE(via_dma_map(&io->bounce.dma, q->buf, out, in, &q->m) == 0);
    CHECK_OR_FALSE(via_vq_add(&io->vq, q->seg, q->m.n_out, q->m.n_in, q) == 0);
    (void)!via_vq_publish(&io->vq);
    q->busy = true;
    io->made++;
    return true;
}

/* All that ever stood in a descriptor, as who has the backing reads it. */
static bool all_say_shared(const struct io *io)
{
    const struct via_desc *ring = (const void *)(io->p.other + io->at.desc), *tables = (const void *)(io->p.other + TABLES);
    for (unsigned i = 0; i < NUM + NUM * TABLE; i++) {
        const struct via_desc *d = i < NUM ? &ring[i] : &tables[i - NUM];
        uint64_t addr = via_shm_get64(&d->addr), len = via_shm_get32(&d->len);
        CHECK_OR_FALSE(!len || via_address_says(&io->p.platform->bit, addr, len, true));
        CHECK_OR_FALSE(!len || via_range_inside(addr, len, on_ring(&io->p, 0), on_ring(&io->p, (POOL_AT + POOL) * PAGE - 1)));
    }
    return true;
}

/* The device: what it reads is one request's, what it writes is the bytes' complement, or so much of it. */
static bool serve(struct io *io)
{
    struct via_seg seg[NUM];
    struct via_span span[NUM];
    struct via_desc table[NUM];
    struct via_chain c = {.seg = seg, .cap = NUM};
    int r = via_dq_pop(&io->dq, &c);
    if (r == VIA_POP_TABLE) {
        CHECK_OR_FALSE(via_xlate_read(&io->p.view.xlate, c.table.addr, table, c.table.len) == 0);
        CHECK_OR_FALSE(via_dq_table(&io->dq, &c, table) == 0);
    }
    CHECK_OR_FALSE(r > 0);
    int n = via_xlate_map(&io->p.view.xlate, seg, (unsigned)c.n_out + c.n_in, VIA_PERM_R | VIA_PERM_W, span, NUM);
    CHECK_OR_FALSE(n == c.n_out + c.n_in);
    uint8_t value = io->req[below(io, AT_ONCE)].value;
    for (unsigned i = 0; i < c.n_out; i++)
        for (size_t k = 0; k < span[i].len; k++) {
            uint8_t byte = ((uint8_t *)span[i].ptr)[k];
            value = i || k ? value : byte;
            CHECK_OR_FALSE(byte == value);
        }
    for (int i = c.n_out; i < n; i++)
        memset(span[i].ptr, (uint8_t)~c.head, span[i].len);
    via_dq_push(&io->dq, c.head, (uint32_t)(c.in_len ? c.in_len - below(io, 2) * (c.in_len / 2) : 0));
    (void)!via_dq_publish(&io->dq);
    return true;
}

static bool reap(struct io *io)
{
    struct via_used_chain used;
    while (via_vq_reap(&io->vq, &used) == 1) {
        struct request *q = used.token;
        via_dma_unmap(&io->bounce.dma, &q->m, used.written);
        const struct via_span *in = &q->buf[q->m.buf_out];
        const uint8_t *got = in->ptr;
        for (size_t k = 0; k < used.written; k++)
            CHECK_OR_FALSE(got[k] == got[0] && got[k] >= 0xff - NUM);
        q->busy = false;
        io->done++;
    }
    return true;
}

static bool runs(const struct platform *platform, bool shared)
{
    static struct io io;
    CHECK_OR_FALSE(io_open(&io, platform, shared));
    const struct via_protect_stats before = io.p.m.protect.stats;
    uint64_t refused = io.p.view.refused, asked = io.p.dma.refused;
    while (io.done < REQUESTS) {
        struct request *q = &io.req[below(&io, AT_ONCE)];
        if (!q->busy && io.made < REQUESTS)
            CHECK_OR_FALSE(submit(&io, q) && all_say_shared(&io));
        else if (io.made > io.done)
            CHECK_OR_FALSE(serve(&io) && reap(&io));
    }
    CHECK_OR_FALSE(!memcmp(&before, &io.p.m.protect.stats, sizeof(before))); /* no conversion */
    CHECK_OR_FALSE(io.bounce.stats.maps == REQUESTS && io.bounce.stats.in_use == 0 && io.bounce.stats.full == 0);
    CHECK_OR_FALSE(io.p.view.refused == refused && io.p.dma.refused == asked + REQUESTS);
    for (size_t i = POOL_AT + POOL; i < PAGES; i++)
        CHECK_OR_FALSE(holds(io.p.other + i * PAGE, 0));
    place_close(&io.p);
    return true;
}

static void a_device_serves_what_it_cannot_reach(void) { on_each(runs); }

/* ------------------------------------------------------------------ what a device reaches from an address on */

static bool reaches(const struct platform *platform, bool shared)
{
    struct place p;
    unsigned seed = 3;
    CHECK_OR_FALSE(place_open(&p, platform, shared));
    for (unsigned round = 0; round < 300; round++) {
        size_t page = (size_t)rand_r(&seed) % PAGES, n = 1 + (size_t)rand_r(&seed) % (PAGES - page);
        CHECK_OR_FALSE(convert(&p, page, n, round % 2) == 0);
        for (size_t i = page; i < page + n; i++)
            p.state[i] = round % 2 ? SHARED : OWN;
        uint64_t off = (uint64_t)rand_r(&seed) % (PAGES * PAGE), len = 1 + (uint64_t)rand_r(&seed) % (PAGES * PAGE), want = 0;
        while (want < len && off + want < PAGES * PAGE && (!platform->knows || p.state[(off + want) / PAGE] == SHARED))
            want += via_min64(PAGE - (off + want) % PAGE, len - want);
        struct via_span span = {NULL, 0};
        int r = via_xlate_resolve(&p.view.xlate, (via_iova){on_ring(&p, off)}, len, VIA_PERM_W, &span);
        CHECK_OR_FALSE(r == (want ? 0 : -VIA_EFAULT));
        CHECK_OR_FALSE(!want || (span.ptr == p.view.mapped.ptr + off && span.len == want));
    }
    const struct {
        uint64_t addr, len;
    } bad[] = {{on_ring(&p, 0), 0}, {on_ring(&p, 0), UINT64_MAX}, {on_ring(&p, 0) - 1, 2}, {on_ring(&p, PAGES * PAGE), 1}, {UINT64_MAX, 2}};
    CHECK_OR_FALSE(convert(&p, 0, PAGES, true) == 0);
    for (unsigned i = 0; i < via_array_len(bad); i++) {
        struct via_span span;
        p.view.fault = (struct via_fault){0};
        CHECK_OR_FALSE(via_xlate_resolve(&p.view.xlate, (via_iova){bad[i].addr}, bad[i].len, VIA_PERM_R, &span) == -VIA_EFAULT);
        CHECK_OR_FALSE(p.view.fault.what && p.view.fault.got == bad[i].addr);
    }
    place_close(&p);
    return true;
}

static void a_device_reaches_what_is_shared_in_a_row(void) { on_each(reaches); }

/* A pointer that was resolved is looked up again when its page may have gone. */
static bool says_when_it_goes(const struct platform *platform, bool shared)
{
    struct place p;
    CHECK_OR_FALSE(place_open(&p, platform, shared) && convert(&p, 0, PAGES, true) == 0);
    uint64_t generation = p.view.xlate.generation;
    CHECK_OR_FALSE(convert(&p, 3, 1, true) == 0 && p.view.xlate.generation == generation);
    CHECK_OR_FALSE(convert(&p, 3, 1, false) == 0 && (p.view.xlate.generation != generation) == platform->knows);
    generation = p.view.xlate.generation;
    CHECK_OR_FALSE(convert(&p, 3, 1, true) == 0 && p.view.xlate.generation == generation); /* what resolved does so still */
    place_close(&p);
    return true;
}

static void a_device_that_knows_looks_again(void) { on_each(says_when_it_goes); }

/* ------------------------------------------------------------------ drivers on another thread */

struct driver {
    struct place p;
    atomic_bool over;
    unsigned wrong;
    uint64_t maps, seen[2]; /* another page found not shared, and shared */
};

/* Buffers on pages that stay as they are, while others next to them change. */
static void *drive(void *arg)
{
    struct driver *d = arg;
    struct via_encrypt dma = d->p.dma;
    while (!atomic_load(&d->over) || d->maps < 1000) {
        struct via_seg seg;
        struct via_mapping m = {.seg = &seg, .cap = 1};
        struct via_span shared = {page_of(&d->p, 2), 3 * PAGE}, own = {page_of(&d->p, 7), 1};
        d->wrong += via_dma_map(&dma.dma, &shared, 1, 0, &m) != 0 || seg.addr.v != on_ring(&d->p, 2 * PAGE);
        via_dma_unmap(&dma.dma, &m, 0);
        d->wrong += via_dma_map(&dma.dma, &own, 1, 0, &m) != -VIA_EPERM;
        d->wrong += !via_protect_is_private(&d->p.m.protect, own.ptr, PAGE);
        d->seen[via_protect_is_shared(&d->p.m.protect, page_of(&d->p, 9), PAGE)]++;
        d->maps++;
    }
    return NULL;
}

static void drivers_go_on_while_other_pages_change(void)
{
    static struct driver d;
    pthread_t thread;
    CHECK(place_open(&d.p, &platforms[2], false));
    CHECK_EQ(convert(&d.p, 2, 3, true), 0);
    CHECK_EQ(pthread_create(&thread, NULL, drive, &d), 0);
    for (unsigned i = 0; i < 2000; i++) {
        CHECK_EQ(convert(&d.p, 0, 2, i % 2 == 0), 0);
        CHECK_EQ(convert(&d.p, 5, 2, i % 2 == 0), 0);
        CHECK_EQ(convert(&d.p, 8, PAGES - 8, i % 2 == 0), 0);
    }
    atomic_store(&d.over, true);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(d.wrong, 0);
    CHECK_EQ(d.seen[0] + d.seen[1], d.maps);
    place_close(&d.p);
}

TAP_MAIN(TEST(a_device_serves_what_it_cannot_reach), TEST(a_device_reaches_what_is_shared_in_a_row), TEST(a_device_that_knows_looks_again),
         TEST(drivers_go_on_while_other_pages_change))
