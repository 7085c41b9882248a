/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What it costs to take a page back, as one JSON object: unmap_strict_us, unmap_lazy_us.
 *
 * A front-end's domain with a back-end of its own on another thread, at the two ends of a socket. A page is mapped, which the back-end is
 * told (so that it holds what is to be taken back), and unmapped; the time is that of via_dma_unmap, as long as whoever calls it waits.
 * Lazy: the flushes that batches of 64 end with are counted in. The back-end polls before it sleeps, as viaduct-blk does.
 * unmap_strict_asleep_us: a back-end that never polls has to be woken for each.
 */
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <viaduct/domain.h>
#include <viaduct/vhost.h>

#include "figure.h"

#define PAGE 4096u
#define SHIFT 12
#define PAGES 1024u
#define TIMES 2000u
#define STALE 64u
#define IOVA UINT64_C(0x100000000)
#define POLL_NS 50000u
#define FEATURES (VIA_BIT(VIA_F_VERSION_1) | VIA_BIT(VIA_F_ACCESS_PLATFORM))

static struct via_loop loop;
static struct via_server server;
static struct via_endpoint endpoint;
static struct via_front_domain domain;
static struct via_front_page table[PAGES];
static struct via_iova_node node[PAGES];
static struct via_iova_space space;
static struct via_iommu_stale stale[STALE];
static struct via_seg phys[4];
static struct via_memory memory;
static struct via_phys_range range;
static struct via_direct direct;
static bool over;

static void must(int result, const char *what)
{
    if (result >= 0)
        return;
    fprintf(stderr, "unmap_bench: %s: %s\n", what, strerror(-result));
    exit(1);
}

static double wall(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* ------------------------------------------------------------------ the back-end */

static int no_config(struct via_server *s, uint32_t offset, uint8_t *out, uint32_t len)
{
    (void)s, (void)offset, (void)out, (void)len;
    return -VIA_ENOTSUP;
}

static int no_rings(struct via_server *s, unsigned index, unsigned num, struct via_device **device, struct via_err *err)
{
    (void)s, (void)num, (void)device;
    return via_err_set(err, -VIA_ENOTSUP, "ring %u: there is no device here", index);
}

static void closed(struct via_server *s, const struct via_err *why)
{
    (void)s, (void)why;
    over = loop.stop = true;
}

static const struct via_server_ops ops = {.config_get = no_config, .ring_start = no_rings, .closed = closed};

static void *serve(void *arg)
{
    must(via_loop_run(&loop), "the back-end's loop");
    return arg;
}

/* ------------------------------------------------------------------ one life */

static void begin(uint32_t poll_ns, pthread_t *thread)
{
    const struct via_server_cfg cfg = {.features = FEATURES, .queues = 1, .num_max = 64};
    struct via_err err = {.text = ""};
    int pair[2];
    over = false;
    must(via_loop_init(&loop, poll_ns, &err), err.text);
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "a socket pair");
    must(via_server_open(&server, &ops, &cfg, &loop, pair[1], &err), err.text);
    must(pthread_create(thread, NULL, serve, NULL) ? -VIA_ENOMEM : 0, "a thread");
    memset(&endpoint, 0, sizeof(endpoint));
    must(via_client_adopt(&endpoint.client, pair[0]), "the connection");
    must(via_client_negotiate(&endpoint.client, FEATURES, FEATURES, VIA_BIT(VIA_VU_PF_REPLY_ACK) | VIA_BIT(VIA_VU_PF_BACKEND_REQ), &err),
         err.text);
    static struct via_vu_region region;
    region = (struct via_vu_region){.gpa = 0, .size = memory.len, .uva = (uintptr_t)memory.ptr};
    must(via_client_share(&endpoint.client, &region, &memory.fd, 1, &err), err.text);
    const struct via_front_domain_cfg domain_cfg = {
        .memory = &region, .n_memory = 1, .shift = SHIFT, .range = {IOVA, IOVA + (uint64_t)PAGES * PAGE - 1}, .push = true};
    must(via_front_domain_init(&domain, &domain_cfg, table, PAGES), "the domain");
    must(via_endpoint_attach(&endpoint, &domain, &err), err.text);
    const struct via_iova_cfg iova = {.shift = SHIFT, .range = domain_cfg.range, .mask = UINT64_MAX};
    must(via_iova_init(&space, &iova, node, PAGES), "addresses");
}

static void end(pthread_t thread)
{
    via_endpoint_detach(&endpoint);
    via_client_close(&endpoint.client);
    pthread_join(thread, NULL);
    via_loop_close(&loop);
}

/* us for each unmap */
static double measure(enum via_iommu_mode mode, uint32_t poll_ns)
{
    pthread_t thread;
    struct via_iommu_dma dma;
    struct via_err err = {.text = ""};
    double sum = 0;
    begin(poll_ns, &thread);
    const struct via_iommu_cfg cfg = {
        .mode = mode, .window_ns = 10000000, .space = &space, .phys = phys, .phys_cap = 4, .stale = stale, .stale_cap = STALE};
    must(via_iommu_dma_init(&dma, &direct.dma, &domain.domain, &cfg), "the strategy");
    for (unsigned i = 0; i < TIMES; i++) {
        struct via_seg seg[4];
        struct via_mapping m = {.seg = seg, .cap = 4};
        const struct via_span span = {memory.ptr + (size_t)(i % 16) * PAGE, PAGE};
        must(via_dma_map(&dma.dma, &span, 0, 1, &m), "map");
        must(via_client_iotlb_settle(&endpoint.client, &err), err.text);
        double before = wall();
        via_dma_unmap(&dma.dma, &m, PAGE);
        sum += wall() - before;
    }
    must(via_iommu_dma_flush(&dma), "the last flush");
    end(thread);
    return sum / TIMES / 1000;
}

int main(void)
{
    static double strict[ROUNDS], lazy[ROUNDS], asleep[ROUNDS];
    struct via_err err = {.text = ""};
    must(via_memory_create(&memory, "unmap_bench", (size_t)PAGES * PAGE, &err), err.text);
    range = (struct via_phys_range){memory.ptr, memory.len, 0};
    must(via_direct_init(&direct, &range, 1), "memory");
    for (unsigned i = 0; i < ROUNDS; i++) {
        strict[i] = measure(VIA_IOMMU_STRICT, POLL_NS);
        lazy[i] = measure(VIA_IOMMU_LAZY, POLL_NS);
        asleep[i] = measure(VIA_IOMMU_STRICT, 0);
        fprintf(stderr, "  %u: strict %.2f us, lazy %.2f us, strict with a back-end that sleeps %.2f us\n", i + 1, strict[i], lazy[i],
                asleep[i]);
    }
    puts("{");
    report("unmap_strict_us", strict, "us", ",");
    report("unmap_strict_asleep_us", asleep, "us", ",");
    report("unmap_lazy_us", lazy, "us", "");
    puts("}");
    return over ? 0 : 1;
}
