/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One machine, three ways at once: endpoints on one bus, over one memory, each with its own choice of how its device reaches it. A device
 * in this process without an IOMMU, a viaduct-blk behind one that leaves addresses as they are, and a viaduct-blk that has each request's
 * pages and no others. What the latter is told is read along (linked with --wrap).
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tap.h>
#include <viaduct/domain.h>
#include <viaduct/driver.h>

#include "scratch.h"

enum way { IN_PROCESS, IDENTITY, STRICT };
enum { SLOTS = 3, NUM = 64, DEPTH = 8, ROUNDS = 150, BLOCKS = 64, SEGS = 4, IOVAS = 256 };
enum { RING, WIRES, GAP, BUFFERS, EACH = 3, SLICE = BUFFERS + DEPTH * EACH }; /* pages of a slot's slice; a buffer's last one is a canary */
#define PAGE ((size_t)4096)
#define BLOCK (2 * PAGE)
#define PHYS UINT64_C(0x40000000)
#define IOVA_RING UINT64_C(0x10000)
#define IOVA (UINT64_C(1) << 36)

struct slot { /* of the bus */
    enum way way;
    uint8_t *at; /* its slice of the memory */
    uint8_t mark;
    struct via_vq vq;
    struct via_vq_slot vq_slot[NUM];
    struct via_blk_driver driver;
    void *driver_storage;
    struct via_dma *dma;
    struct via_span span[DEPTH];
    bool busy[DEPTH];
    int result[DEPTH];
    const char *failed; /* what went wrong in its thread */
    pthread_t thread;
    /* out of this process */
    struct via_endpoint end;
    pid_t pid;
    int kick, call;
    char socket[128], image[128];
    struct via_front_domain domain;
    struct via_front_page page[IOVAS];
    struct via_iova_space space;
    struct via_iova_node node[IOVAS];
    struct via_seg phys[SEGS];
    struct via_iommu_stale stale[4];
    struct via_iommu_dma iommu;
    unsigned ring_updates, data_updates, strays; /* UPDATEs that were sent; pages of them that no request of now has */
    /* in this process */
    struct via_memmap map;
    struct via_blk_store store;
    struct via_blk_device device;
    struct via_pump pump;
    void *device_storage, *pump_storage;
    uint8_t *disk;
};

static struct {
    struct via_memory memory;
    struct via_vu_region region;
    struct via_phys_range range;
    struct via_iova_range all;
    struct via_direct direct;
    struct slot slot[SLOTS];
    pthread_barrier_t start;
    char dir[64];
} bus;

static uint8_t *page_at(struct slot *s, unsigned page) { return s->at + page * PAGE; }
static uint8_t *buffer(struct slot *s, unsigned i) { return page_at(s, BUFFERS + i * EACH); }

/* ------------------------------------------------------------------ what a back-end is told */

int __real_via_client_iotlb(struct via_client *, const struct via_vu_iotlb *, bool wait, struct via_err *);
int __wrap_via_client_iotlb(struct via_client *, const struct via_vu_iotlb *, bool wait, struct via_err *);

static bool is_of_a_request(struct slot *s, uint64_t uva)
{
    uint64_t page = (uva - (uintptr_t)s->at) / PAGE;
    if (page == WIRES)
        return true;
    return page >= BUFFERS && page < SLICE && (page - BUFFERS) % EACH < BLOCK / PAGE && s->busy[(page - BUFFERS) / EACH];
}

int __wrap_via_client_iotlb(struct via_client *c, const struct via_vu_iotlb *m, bool wait, struct via_err *err)
{
    struct via_endpoint *e = via_container_of(c, struct via_endpoint, client);
    struct slot *s = via_container_of(e, struct slot, end);
    bool ring = m->uva == (uintptr_t)s->at && m->size == PAGE && m->iova == IOVA_RING;
    if (m->type == VIA_VU_IOTLB_UPDATE) {
        s->ring_updates += ring;
        s->data_updates += !ring;
        for (uint64_t off = 0; off < m->size && !ring; off += PAGE)
            s->strays += !is_of_a_request(s, m->uva + off);
    }
    return __real_via_client_iotlb(c, m, wait, err);
}

/* ------------------------------------------------------------------ a device in this process */

static int ram_submit(struct via_blk_store *store, struct via_blk_io *io)
{
    struct slot *s = via_container_of(store, struct slot, store);
    if (io->op == VIA_BLK_READ)
        via_spans_write(io->span, io->n, 0, s->disk + io->offset, io->len);
    else if (io->op == VIA_BLK_WRITE)
        via_spans_read(io->span, io->n, 0, s->disk + io->offset, io->len);
    io->done(io, 0);
    return 0;
}

static const struct via_blk_store_ops ram_ops = {.submit = ram_submit};

static bool open_inside(struct slot *s, const struct via_split_layout *lay)
{
    const struct via_blk_limits limits = {
        .capacity = BLOCKS * BLOCK, .blk_size = 512, .physical_size = 512, .seg_max = SEGS - 2, .queues = 1};
    const struct via_dq_cfg cfg = {.num = NUM, .desc = s->at + lay->desc, .avail = s->at + lay->avail, .used = s->at + lay->used};
    const struct via_region region = {PHYS, bus.memory.len, (uintptr_t)bus.memory.ptr, bus.memory.ptr, false};
    s->store.ops = &ram_ops;
    s->disk = calloc(BLOCKS, BLOCK);
    s->device_storage = aligned_alloc(64, (via_blk_device_bytes(DEPTH, NUM) + 63) & ~(size_t)63);
    s->pump_storage = aligned_alloc(64, (via_pump_bytes(NUM, NUM, false) + 63) & ~(size_t)63);
    CHECK_OR_FALSE(s->disk && s->device_storage && s->pump_storage);
    via_memmap_init(&s->map);
    CHECK_OR_FALSE(via_memmap_add(&s->map, &region) == 0);
    CHECK_OR_FALSE(via_blk_device_init(&s->device, &limits, &s->store, DEPTH, NUM, s->device_storage) == 0);
    s->device.features = via_blk_device_features(&s->device) | VIA_BIT(VIA_F_VERSION_1);
    CHECK_OR_FALSE(via_pump_init(&s->pump, &cfg, &s->map.xlate, NULL, &s->device.device, NUM, s->pump_storage) == 0);
    s->dma = &bus.direct.dma;
    return true;
}

/* ------------------------------------------------------------------ devices out of it */

static bool spawn(struct slot *s, unsigned number)
{
    char listen[160], file[160];
    snprintf(s->socket, sizeof(s->socket), "%s/%u.sock", bus.dir, number);
    snprintf(s->image, sizeof(s->image), "%s/%u.img", bus.dir, number);
    snprintf(listen, sizeof(listen), "--socket-path=%s", s->socket);
    snprintf(file, sizeof(file), "--blk-file=%s", s->image);
    FILE *f = fopen(s->image, "w");
    CHECK_OR_FALSE(f && ftruncate(fileno(f), BLOCKS * BLOCK) == 0);
    fclose(f);
    s->pid = fork();
    if (s->pid == 0) {
        execl(getenv("VIADUCT_BLK"), "viaduct-blk", listen, file, (char *)NULL);
        _exit(127);
    }
    return s->pid > 0;
}

static bool open_domain(struct slot *s)
{
    struct via_front_domain_cfg cfg = {.memory = &bus.region, .n_memory = 1, .shift = 12, .range = {1, 0}};
    const struct via_iova_cfg space = {.shift = 12, .range = {IOVA, IOVA + IOVAS * PAGE - 1}, .mask = UINT64_MAX};
    struct via_iommu_cfg identity = {.mode = VIA_IOMMU_IDENTITY, .memory = &bus.all, .n_memory = 1};
    struct via_iommu_cfg strict = {
        .mode = VIA_IOMMU_STRICT, .space = &s->space, .phys = s->phys, .phys_cap = SEGS, .stale = s->stale, .stale_cap = 4};
    struct via_domain *d = &s->domain.domain;
    if (s->way == STRICT)
        cfg.range = space.range;
    CHECK_OR_FALSE(via_front_domain_init(&s->domain, &cfg, s->page, IOVAS) == 0);
    CHECK_OR_FALSE(via_iova_init(&s->space, &space, s->node, IOVAS) == 0);
    CHECK_OR_FALSE(via_iommu_dma_init(&s->iommu, &bus.direct.dma, d, s->way == STRICT ? &strict : &identity) == 0);
    s->dma = &s->iommu.dma;
    uint64_t ring = PHYS + (uint64_t)(s->at - bus.memory.ptr);
    if (s->way == STRICT)
        CHECK_OR_FALSE(d->ops->map(d, IOVA_RING, IOVA_RING + PAGE - 1, ring, VIA_IOMMU_READ | VIA_IOMMU_WRITE) == 0);
    return true;
}

static bool open_outside(struct slot *s, const struct via_split_layout *lay)
{
    const uint64_t want = VIA_BIT(VIA_F_VERSION_1) | VIA_BIT(VIA_F_ACCESS_PLATFORM);
    const uint64_t protocol = VIA_BIT(VIA_VU_PF_REPLY_ACK) | VIA_BIT(VIA_VU_PF_BACKEND_REQ) | VIA_BIT(VIA_VU_PF_CONFIG);
    uint64_t at = s->way == STRICT ? IOVA_RING : PHYS + (uint64_t)(s->at - bus.memory.ptr);
    struct via_client *c = &s->end.client;
    struct via_err err = {.text = ""};
    CHECK_OR_FALSE(spawn(s, (unsigned)(s - bus.slot)) && open_domain(s));
    s->kick = via_event_create();
    s->call = via_event_create();
    int r = via_client_connect(c, s->socket, 10000, &err);
    if (!r)
        r = via_client_negotiate(c, want, want, protocol, &err);
    if (!r)
        r = via_client_share(c, &bus.region, &bus.memory.fd, 1, &err);
    if (!r)
        r = via_endpoint_attach(&s->end, &s->domain, &err);
    if (!r)
        r = via_client_ring_start(c, 0, NUM, at + lay->desc, at + lay->avail, at + lay->used, 0, s->kick, s->call, &err);
    if (r)
        tap_note(err.text);
    CHECK_OR_FALSE(r == 0);
    return true;
}

/* ------------------------------------------------------------------ the bus */

static bool open_slot(struct slot *s, enum way way, unsigned number)
{
    struct via_split_layout lay;
    CHECK_OR_FALSE(via_split_layout(&lay, NUM, 4) == 0 && lay.total <= PAGE);
    memset(s, 0, sizeof(*s));
    s->way = way;
    s->at = bus.memory.ptr + number * SLICE * PAGE;
    s->mark = (uint8_t)(0xc1 + number);
    for (unsigned i = GAP; i < SLICE; i += EACH)
        memset(page_at(s, i), s->mark, PAGE);
    const struct via_vq_cfg cfg = {
        .num = NUM, .desc = s->at + lay.desc, .avail = s->at + lay.avail, .used = s->at + lay.used, .slot = s->vq_slot};
    CHECK_OR_FALSE(via_vq_init(&s->vq, &cfg) == 0);
    CHECK_OR_FALSE(way == IN_PROCESS ? open_inside(s, &lay) : open_outside(s, &lay));
    uint64_t features = VIA_BIT(VIA_F_VERSION_1) | (way == IN_PROCESS ? 0 : VIA_BIT(VIA_F_ACCESS_PLATFORM));
    s->driver_storage = aligned_alloc(64, (via_blk_driver_bytes(DEPTH, 1, SEGS) + 63) & ~(size_t)63);
    void *wires = page_at(s, WIRES);
    CHECK_OR_FALSE(s->driver_storage &&
                   via_blk_driver_init(&s->driver, &s->vq, s->dma, features, DEPTH, 1, SEGS, wires, s->driver_storage) == 0);
    return true;
}

static bool open_bus(const enum way way[SLOTS])
{
    struct via_err err;
    CHECK_OR_FALSE(scratch_make("/tmp", bus.dir) && via_memory_create(&bus.memory, "bus", SLOTS * SLICE * PAGE, &err) == 0);
    bus.range = (struct via_phys_range){bus.memory.ptr, bus.memory.len, PHYS};
    bus.region = (struct via_vu_region){PHYS, bus.memory.len, (uintptr_t)bus.memory.ptr, 0};
    bus.all = (struct via_iova_range){PHYS, PHYS + bus.memory.len - 1};
    CHECK_OR_FALSE(via_direct_init(&bus.direct, &bus.range, 1) == 0);
    for (unsigned i = 0; i < SLOTS; i++)
        CHECK_OR_FALSE(open_slot(&bus.slot[i], way[i], i));
    return true;
}

static bool close_slot(struct slot *s)
{
    struct via_err err;
    uint16_t base = 0;
    int status = 0;
    if (s->way != IN_PROCESS) {
        CHECK_OR_FALSE(via_client_ring_stop(&s->end.client, 0, &base, &err) == 0 && base == (uint16_t)(2 * ROUNDS * DEPTH));
        via_endpoint_detach(&s->end);
        via_client_close(&s->end.client);
        close(s->kick);
        close(s->call);
        CHECK_OR_FALSE(kill(s->pid, SIGTERM) == 0 && waitpid(s->pid, &status, 0) == s->pid && status == 0);
    }
    free(s->driver_storage);
    free(s->device_storage);
    free(s->pump_storage);
    free(s->disk);
    return true;
}

/* ------------------------------------------------------------------ traffic */

static uint8_t byte_of(const struct slot *s, unsigned block, size_t i) { return (uint8_t)((s->mark ^ 0x80) + block * 7 + i % 61) & 0x7f; }

static int submit(struct slot *s, enum via_blk_type type, unsigned i, unsigned block)
{
    struct via_blk_cmd cmd = {
        .type = type, .sector = block * (BLOCK / VIA_BLK_SECTOR), .data = &s->span[i], .n = 1, .token = &s->result[i]};
    for (size_t k = 0; k < BLOCK; k++)
        buffer(s, i)[k] = type == VIA_BLK_T_OUT ? byte_of(s, block, k) : 0xff;
    s->span[i] = (struct via_span){buffer(s, i), BLOCK};
    s->busy[i] = true;
    return via_blk_driver_submit(&s->driver, &cmd);
}

static int serve(struct slot *s)
{
    struct pollfd p[3] = {
        {.fd = s->call, .events = POLLIN}, {.fd = s->end.client.fd, .events = POLLIN}, {.fd = s->end.client.req_fd, .events = POLLIN}};
    if (s->way == IN_PROCESS) {
        int r = via_pump_run(&s->pump, NUM);
        bool call = via_pump_flush(&s->pump);
        (void)call;
        return r < 0 ? r : 0;
    }
    if (via_vq_arm(&s->vq))
        return 0;
    if (poll(p, 3, 10000) <= 0)
        return -VIA_ETIMEDOUT;
    via_event_clear(s->call);
    return via_client_back_req(&s->end.client, NULL);
}

static int finish(struct slot *s)
{
    struct via_blk_done done;
    if (via_vq_publish(&s->vq) && s->way != IN_PROCESS)
        via_event_signal(s->kick);
    while (via_vq_inflight(&s->vq)) {
        int r = via_blk_driver_reap(&s->driver, &done);
        if (r == 0)
            r = serve(s);
        else if (r == 1) {
            s->busy[(int *)done.token - s->result] = false;
            r = s->iommu.waiting ? -VIA_EBUSY : done.result; /* strict: when a request has ended, nothing of it is left to be taken back */
        }
        if (r < 0)
            return r;
    }
    return 0;
}

static const char *work(struct slot *s)
{
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned phase = 0; phase < 2; phase++) {
            for (unsigned i = 0; i < DEPTH; i++)
                if (submit(s, phase ? VIA_BLK_T_IN : VIA_BLK_T_OUT, i, (round * DEPTH + i) % BLOCKS))
                    return "a request could not be sent";
            if (finish(s))
                return "a request was not answered, or failed";
            for (unsigned i = 0; i < DEPTH; i++)
                for (size_t k = 0; k < BLOCK; k++)
                    if (buffer(s, i)[k] != byte_of(s, (round * DEPTH + i) % BLOCKS, k))
                        return "what was written did not come back";
        }
    return NULL;
}

static void *run(void *arg)
{
    struct slot *s = arg;
    pthread_barrier_wait(&bus.start);
    s->failed = work(s);
    return NULL;
}

static bool all_at_once(void)
{
    pthread_barrier_init(&bus.start, NULL, SLOTS);
    for (unsigned i = 0; i < SLOTS; i++)
        CHECK_OR_FALSE(pthread_create(&bus.slot[i].thread, NULL, run, &bus.slot[i]) == 0);
    for (unsigned i = 0; i < SLOTS; i++)
        pthread_join(bus.slot[i].thread, NULL);
    pthread_barrier_destroy(&bus.start);
    for (unsigned i = 0; i < SLOTS; i++) {
        if (bus.slot[i].failed)
            tap_note(bus.slot[i].failed);
        CHECK_OR_FALSE(!bus.slot[i].failed);
    }
    return true;
}

/* ------------------------------------------------------------------ what has to hold afterwards */

static bool canaries_live(struct slot *s)
{
    for (unsigned i = GAP; i < SLICE; i += EACH)
        for (size_t k = 0; k < PAGE; k++)
            CHECK_OR_FALSE(page_at(s, i)[k] == s->mark);
    return true;
}

/* Bytes of blocks are below 0x80, canaries above: nothing but data ever went to the image. */
static bool image_is_clean(struct slot *s)
{
    static uint8_t image[BLOCKS * BLOCK];
    FILE *f = fopen(s->image, "r");
    CHECK_OR_FALSE(f && fread(image, 1, sizeof(image), f) == sizeof(image));
    fclose(f);
    for (size_t i = 0; i < sizeof(image); i++)
        CHECK_OR_FALSE(image[i] == byte_of(s, (unsigned)(i / BLOCK), i % BLOCK));
    return true;
}

static bool kept_its_way(struct slot *s)
{
    const struct via_endpoint *e = &s->end;
    CHECK_OR_FALSE(canaries_live(s));
    if (s->way == IN_PROCESS)
        return true;
    CHECK_OR_FALSE(image_is_clean(s) && e->client.access_fails == 0 && s->iommu.stats.failed == 0);
    if (s->way == IDENTITY) {
        CHECK_OR_FALSE(e->updates == 1 && e->client.misses == 0 && e->refused == 0 && e->invalidates == 0);
        return true;
    }
    CHECK_OR_FALSE(s->strays == 0 && s->ring_updates == 1 && s->data_updates > ROUNDS && e->client.misses > ROUNDS);
    CHECK_OR_FALSE(e->invalidates > ROUNDS && s->space.used == 0);
    for (unsigned i = 0; i < IOVAS; i++)
        CHECK_OR_FALSE(s->page[i].word == 0); /* nothing is mapped, and nobody holds anything */
    return true;
}

static bool machine(const enum way way[SLOTS])
{
    bool good = open_bus(way) && all_at_once();
    for (unsigned i = 0; i < SLOTS; i++)
        good = good && kept_its_way(&bus.slot[i]);
    for (unsigned i = 0; i < SLOTS; i++) {
        if (!good && bus.slot[i].pid > 0)
            kill(bus.slot[i].pid, SIGKILL);
        good = good && close_slot(&bus.slot[i]);
    }
    via_memory_destroy(&bus.memory);
    scratch_remove(bus.dir);
    return good;
}

static void three_ways_at_once(void) { CHECK(machine((const enum way[]){IN_PROCESS, IDENTITY, STRICT})); }
static void the_choice_is_each_ones_own(void) { CHECK(machine((const enum way[]){STRICT, IN_PROCESS, STRICT})); }

TAP_MAIN(TEST(three_ways_at_once), TEST(the_choice_is_each_ones_own))
