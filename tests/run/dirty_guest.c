/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dirty_guest.h"

#define CELL 256u
#define RING_PAGES 8u /* descriptors and available ring, used ring in two, tables in four, one free */
#define DATA_PAGE (GUEST_QUEUES * RING_PAGES)
#define TABLE_LEN 8u
#define USED_AT (2 * GUEST_PAGE - 100) /* from a queue's first page on */
#define TABLES_AT (3 * GUEST_PAGE)
#define WIRE_AT (7 * GUEST_PAGE) /* request headers */
#define IOVA UINT64_C(0xfff000000000)
#define UVA UINT64_C(0x7f0000000000)

/* Pages of memory: the first two regions are neighbours in the guest, but not in the file, and so are the last two. */
static const struct {
    unsigned file, n;
    uint64_t gpa;
} regions[] = {{0, 100, 0}, {300, 100, 100}, {100, 200, 0x40000}, {400, 112, 0x40000 + 200}};

static unsigned rnd(struct guest *g, unsigned n) { return (unsigned)rand_r(&g->seed) % n; }

uint64_t guest_physical(unsigned page)
{
    for (unsigned i = 0; i < via_array_len(regions); i++)
        if (page - regions[i].file < regions[i].n)
            return regions[i].gpa + page - regions[i].file;
    abort();
}

bool guest_owns(const struct guest *g, unsigned page)
{
    for (unsigned i = 0; i < DATA_PAGE; i++)
        if (g->at[i] == page)
            return i % RING_PAGES == 0 || i % RING_PAGES > 2;
    return false;
}

static bool note(const struct via_err *err, int result)
{
    if (result < 0)
        tap_note(err->text);
    return result >= 0;
}

/* ------------------------------------------------------------------ memory */

static int on_miss(struct via_client *c, const struct via_vu_iotlb *m)
{
    struct guest *g = via_container_of(c, struct guest, client);
    struct via_err err;
    uint64_t page = (m->iova - IOVA) / GUEST_PAGE;
    if (page >= GUEST_PAGES)
        return -VIA_EFAULT;
    const struct via_vu_iotlb update = {.iova = IOVA + page * GUEST_PAGE,
                                        .size = GUEST_PAGE,
                                        .uva = UVA + (uint64_t)g->at[page] * GUEST_PAGE,
                                        .perm = VIA_PERM_R | VIA_PERM_W,
                                        .type = VIA_VU_IOTLB_UPDATE};
    return via_client_iotlb(c, &update, false, &err);
}

static bool memory_open(struct guest *g)
{
    struct via_err err;
    unsigned n = 0;
    CHECK_OR_FALSE(via_memory_create(&g->memory, "guest", GUEST_BYTES, &err) == 0);
    CHECK_OR_FALSE(via_memory_create(&g->log, "log", GUEST_LOG, &err) == 0);
    for (unsigned i = 0; i < via_array_len(regions); i++)
        for (unsigned k = 0; k < regions[i].n; k++, n++) {
            g->at[n] = g->way->translated ? (n * 85 + 7) % GUEST_PAGES : regions[i].file + k;
            g->addr[n] = g->way->translated ? IOVA + n * GUEST_PAGE : (regions[i].gpa + k) * GUEST_PAGE;
        }
    g->view = mmap(NULL, GUEST_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK_OR_FALSE(g->view != MAP_FAILED);
    for (unsigned i = 0; i < GUEST_PAGES; i++)
        CHECK_OR_FALSE(mmap(g->view + (size_t)i * GUEST_PAGE, GUEST_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, g->memory.fd,
                            (off_t)g->at[i] * GUEST_PAGE) != MAP_FAILED);
    for (size_t i = 0; i < GUEST_BYTES; i++)
        g->memory.ptr[i] = (uint8_t)rnd(g, 256);
    return true;
}

static bool memory_share(struct guest *g)
{
    struct via_err err = {.text = ""};
    struct via_vu_region r[via_array_len(regions)];
    int fd[via_array_len(regions)];
    for (unsigned i = 0; i < via_array_len(regions); i++) {
        uint64_t at = (uint64_t)regions[i].file * GUEST_PAGE;
        r[i] = (struct via_vu_region){regions[i].gpa * GUEST_PAGE, (uint64_t)regions[i].n * GUEST_PAGE, UVA + at, at};
        fd[i] = g->memory.fd;
    }
    return note(&err, via_client_share(&g->client, r, fd, via_array_len(regions), &err));
}

/* ------------------------------------------------------------------ programs */

static pid_t spawn(const char *variable, const char *a, const char *b, const char *c, const char *d)
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl(getenv(variable), variable, a, b, c, d, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static bool programs_open(struct guest *g)
{
    char a[128], b[128];
    snprintf(g->dir, sizeof(g->dir), "%s/via-dirty-XXXXXX", g->way->on_disk ? "." : "/dev/shm");
    CHECK_OR_FALSE(mkdtemp(g->dir) != NULL);
    snprintf(g->image, sizeof(g->image), "%s/disk.img", g->dir);
    snprintf(g->back, sizeof(g->back), "%s/back", g->dir);
    snprintf(g->front, sizeof(g->front), "%s/front", g->dir);
    g->disk = malloc(GUEST_DISK);
    CHECK_OR_FALSE(g->disk != NULL);
    for (size_t i = 0; i < GUEST_DISK; i++)
        g->disk[i] = (uint8_t)rnd(g, 256);
    FILE *f = fopen(g->image, "wb");
    CHECK_OR_FALSE(f && fwrite(g->disk, GUEST_DISK, 1, f) == 1 && fclose(f) == 0);
    snprintf(a, sizeof(a), "--socket-path=%s", g->back);
    snprintf(b, sizeof(b), "--blk-file=%s", g->image);
    g->blk = spawn("VIADUCT_BLK", a, b, "--num-queues=2", g->way->on_disk ? "--direct" : NULL);
    if (g->way->guarded) {
        snprintf(a, sizeof(a), "--front=%s", g->front);
        snprintf(b, sizeof(b), "--back=%s", g->back);
        g->guard = spawn("VIADUCT", "guard", a, b, NULL);
    }
    return g->blk > 0 && g->guard >= 0;
}

static void program_close(pid_t pid)
{
    if (pid <= 0)
        return;
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
}

static bool connection_open(struct guest *g)
{
    struct via_err err = {.text = ""};
    uint64_t need = VIA_BIT(VIA_F_VERSION_1) | VIA_BIT(VIA_F_LOG_ALL) | (g->way->translated ? VIA_BIT(VIA_F_ACCESS_PLATFORM) : 0);
    uint64_t want = need | VIA_BIT(VIA_F_EVENT_IDX) | VIA_BIT(VIA_F_INDIRECT_DESC);
    uint64_t protocol = VIA_BIT(VIA_VU_PF_LOG_SHMFD) | VIA_BIT(VIA_VU_PF_REPLY_ACK) | VIA_BIT(VIA_VU_PF_BACKEND_REQ) |
                        VIA_BIT(VIA_VU_PF_MQ) | VIA_BIT(VIA_VU_PF_CONFIG);
    g->client.miss = on_miss;
    int r = via_client_connect(&g->client, g->way->guarded ? g->front : g->back, 10000, &err);
    if (r == 0)
        r = via_client_offer(&g->client, protocol, &err);
    CHECK_OR_FALSE(note(&err, r) && (g->client.front.offered & need) == need);
    CHECK_OR_FALSE(note(&err, via_client_accept(&g->client, want & g->client.front.offered & ~VIA_BIT(VIA_F_LOG_ALL), &err)));
    return memory_share(g);
}

bool guest_open(struct guest *g, const struct guest_way *way)
{
    memset(g, 0, sizeof(*g));
    g->way = way;
    g->seed = 42;
    g->client.fd = g->client.req_fd = -1;
    for (unsigned i = 0; i < GUEST_QUEUES; i++) {
        g->queue[i].page = i * RING_PAGES;
        g->queue[i].kick = via_event_create();
        g->queue[i].call = via_event_create();
    }
    if (memory_open(g) && programs_open(g) && connection_open(g))
        return true;
    guest_close(g);
    return false;
}

void guest_close(struct guest *g)
{
    char path[128];
    via_client_close(&g->client);
    program_close(g->guard);
    program_close(g->blk);
    for (unsigned i = 0; i < GUEST_QUEUES; i++) {
        close(g->queue[i].kick);
        close(g->queue[i].call);
    }
    munmap(g->view, GUEST_BYTES);
    via_memory_destroy(&g->memory);
    via_memory_destroy(&g->log);
    snprintf(path, sizeof(path), "%s", g->image);
    unlink(path);
    rmdir(g->dir);
    free(g->disk);
}

/* ------------------------------------------------------------------ rings */

static uint8_t *part(struct guest *g, const struct guest_queue *q, size_t at) { return g->view + (size_t)q->page * GUEST_PAGE + at; }

/* Rings go by user address where nothing is translated. */
static uint64_t ring_addr(const struct guest *g, const struct guest_queue *q, size_t at)
{
    unsigned page = q->page + (unsigned)(at / GUEST_PAGE);
    return (g->way->translated ? g->addr[page] : UVA + (uint64_t)g->at[page] * GUEST_PAGE) + at % GUEST_PAGE;
}

static bool queue_start(struct guest *g, unsigned index, bool log)
{
    struct guest_queue *q = &g->queue[index];
    struct via_err err = {.text = ""};
    const size_t avail = GUEST_PAGE / 2;
    if (q->base == 0 && !q->vq.cfg.num) {
        memset(part(g, q, 0), 0, RING_PAGES * GUEST_PAGE);
        const struct via_vq_cfg cfg = {.num = GUEST_NUM,
                                       .desc = part(g, q, 0),
                                       .avail = part(g, q, avail),
                                       .used = part(g, q, USED_AT),
                                       .slot = q->slot,
                                       .indirect = g->way->indirect ? part(g, q, TABLES_AT) : NULL,
                                       .indirect_addr = {g->addr[q->page] + TABLES_AT},
                                       .indirect_len = TABLE_LEN,
                                       .event_idx = g->client.front.features & VIA_BIT(VIA_F_EVENT_IDX)};
        CHECK_OR_FALSE(via_vq_init(&q->vq, &cfg) == 0);
    }
    uint64_t at[3] = {ring_addr(g, q, 0), ring_addr(g, q, avail), ring_addr(g, q, USED_AT)};
    int r = via_client_ring_start(&g->client, index, GUEST_NUM, at[0], at[1], at[2], q->base, q->kick, q->call, &err);
    if (r == 0 && log)
        r = via_client_ring_log(&g->client, index, at[0], at[1], at[2], true, g->addr[q->page] + USED_AT, &err);
    return note(&err, r);
}

bool guest_start(struct guest *g, bool log)
{
    for (unsigned i = 0; i < GUEST_QUEUES; i++)
        if (!queue_start(g, i, log))
            return false;
    return true;
}

bool guest_stop(struct guest *g)
{
    struct via_err err = {.text = ""};
    for (unsigned i = 0; i < GUEST_QUEUES; i++)
        CHECK_OR_FALSE(note(&err, via_client_ring_stop(&g->client, i, &g->queue[i].base, &err)));
    return true;
}

/* ------------------------------------------------------------------ requests */

static void touch(struct guest *g, const uint8_t *ptr, size_t len, bool *pages)
{
    size_t first = (size_t)(ptr - g->view) / GUEST_PAGE, last = (size_t)(ptr - g->view + len - 1) / GUEST_PAGE;
    for (size_t i = first; i <= last; i++)
        pages[g->at[i]] = true;
}

/* Where regions that are no neighbours meet, a buffer can't lie across. */
static bool crosses_gap(const struct guest *g, size_t start, size_t last)
{
    for (size_t i = start / GUEST_PAGE; i < last / GUEST_PAGE; i++)
        if (g->addr[i + 1] != g->addr[i] + GUEST_PAGE)
            return true;
    return false;
}

static bool claim(struct guest *g, size_t len, struct via_span *out)
{
    for (unsigned tries = 0; tries < 100; tries++) {
        size_t start = DATA_PAGE * GUEST_PAGE + rnd(g, (GUEST_PAGES - DATA_PAGE) * GUEST_PAGE - (unsigned)len), last = start + len - 1;
        bool taken = crosses_gap(g, start, last);
        for (size_t i = start / CELL; i <= last / CELL; i++)
            taken |= g->busy[i];
        if (taken)
            continue;
        memset(&g->busy[start / CELL], 1, last / CELL - start / CELL + 1);
        *out = (struct via_span){g->view + start, len};
        return true;
    }
    return false;
}

static void release(struct guest *g, const struct via_span *span)
{
    size_t start = (size_t)((uint8_t *)span->ptr - g->view), last = start + span->len - 1;
    memset(&g->busy[start / CELL], 0, last / CELL - start / CELL + 1);
}

static void release_all(struct guest *g, struct guest_request *r)
{
    for (unsigned i = 0; i <= r->n_data; i++)
        release(g, &r->span[i]);
    r->busy = false;
}

/* Data in up to GUEST_SEGS pieces, and the status, anywhere. */
static bool scatter(struct guest *g, struct guest_request *r)
{
    uint32_t left = r->len;
    for (r->n_data = 0; left; r->n_data++) {
        uint32_t len = r->n_data + 1 == GUEST_SEGS ? left : 1 + rnd(g, left);
        if (!claim(g, len, &r->span[r->n_data]))
            break;
        left -= len;
    }
    if (!left && claim(g, 1, &r->span[r->n_data]))
        return true;
    for (unsigned i = 0; i < r->n_data; i++)
        release(g, &r->span[i]);
    return false;
}

/* The first half is read, the second one written; a few reads lie beyond the end, a few are no requests at all. */
static void choose(struct guest *g, struct guest_request *r)
{
    unsigned kind = rnd(g, 20);
    r->type = kind < 12 ? VIA_BLK_T_IN : kind < 18 ? VIA_BLK_T_OUT : kind == 18 ? VIA_BLK_T_GET_ID : 77;
    r->len = r->type == VIA_BLK_T_GET_ID ? VIA_BLK_ID_BYTES : VIA_BLK_SECTOR * (1 + rnd(g, 24));
    r->at = VIA_BLK_SECTOR * rnd(g, GUEST_DISK / 2 / VIA_BLK_SECTOR - 24);
    if (kind == 0)
        r->at += GUEST_DISK;
    if (r->type == VIA_BLK_T_OUT)
        r->at += GUEST_DISK / 2;
}

static bool fails(const struct guest_request *r) { return r->type == 77 || (r->type == VIA_BLK_T_IN && r->at >= GUEST_DISK); }

/* Each byte that the device will write is another one before. */
static void prefill(struct guest *g, const struct guest_request *r)
{
    size_t k = 0;
    for (unsigned i = 0; i < r->n_data; i++) {
        uint8_t *p = r->span[i].ptr;
        for (size_t b = 0; b < r->span[i].len; b++, k++)
            p[b] = fails(r) ? 0xaa : (uint8_t)~g->disk[(r->at + k) % GUEST_DISK];
        touch(g, p, r->span[i].len, g->wrote);
        if (r->type != VIA_BLK_T_OUT)
            touch(g, p, r->span[i].len, g->may);
    }
    *(uint8_t *)r->span[r->n_data].ptr = 0xff;
    touch(g, r->span[r->n_data].ptr, 1, g->wrote);
    touch(g, r->span[r->n_data].ptr, 1, g->may);
}

static via_iova address(const struct guest *g, const void *ptr)
{
    size_t at = (size_t)((const uint8_t *)ptr - g->view);
    return (via_iova){g->addr[at / GUEST_PAGE] + at % GUEST_PAGE};
}

static bool add(struct guest *g, struct guest_queue *q, unsigned k)
{
    struct guest_request *r = &q->request[k];
    struct via_seg seg[GUEST_SEGS + 2];
    struct via_blk_hdr *hdr = (struct via_blk_hdr *)(void *)part(g, q, WIRE_AT) + k;
    *hdr = (struct via_blk_hdr){.type = via_le32_make(r->type), .sector = via_le64_make(r->at / VIA_BLK_SECTOR)};
    seg[0] = (struct via_seg){address(g, hdr), sizeof(*hdr)};
    for (unsigned i = 0; i <= r->n_data; i++)
        seg[1 + i] = (struct via_seg){address(g, r->span[i].ptr), (uint32_t)r->span[i].len};
    unsigned out = r->type == VIA_BLK_T_OUT ? 1 + r->n_data : 1;
    return via_vq_add(&q->vq, seg, out, r->n_data + 2 - out, r) == 0;
}

bool guest_fill(struct guest *g)
{
    for (unsigned i = 0; i < GUEST_QUEUES; i++)
        for (unsigned k = 0; k < GUEST_DEPTH; k++) {
            struct guest_queue *q = &g->queue[i];
            struct guest_request *r = &q->request[k];
            if (r->busy)
                continue;
            choose(g, r);
            if (!scatter(g, r))
                continue;
            prefill(g, r);
            r->busy = add(g, q, k);
            if (!r->busy)
                release_all(g, r);
        }
    return true;
}

static void wrote_rings(struct guest *g)
{
    for (unsigned i = 0; i < GUEST_PAGES; i++)
        g->wrote[i] |= guest_owns(g, i);
}

void guest_publish(struct guest *g)
{
    for (unsigned i = 0; i < GUEST_QUEUES; i++)
        if (via_vq_publish(&g->queue[i].vq))
            via_event_signal(g->queue[i].kick);
    wrote_rings(g);
}

static bool judge(struct guest *g, const struct guest_request *r)
{
    uint8_t status = *(uint8_t *)r->span[r->n_data].ptr;
    size_t k = 0;
    if (fails(r)) {
        g->failures++;
        return status == (r->type == 77 ? VIA_BLK_S_UNSUPP : VIA_BLK_S_IOERR);
    }
    CHECK_OR_FALSE(status == VIA_BLK_S_OK);
    g->reads += r->type == VIA_BLK_T_IN;
    g->writes += r->type == VIA_BLK_T_OUT;
    for (unsigned i = 0; i < r->n_data && r->type == VIA_BLK_T_IN; i++) {
        CHECK_OR_FALSE(memcmp(r->span[i].ptr, g->disk + r->at + k, r->span[i].len) == 0);
        k += r->span[i].len;
    }
    return true;
}

bool guest_reap(struct guest *g)
{
    struct via_err err = {.text = ""};
    struct via_used_chain used;
    for (unsigned i = 0; i < GUEST_QUEUES; i++) {
        int n;
        while ((n = via_vq_reap(&g->queue[i].vq, &used)) > 0) {
            CHECK_OR_FALSE(judge(g, used.token));
            release_all(g, used.token);
        }
        CHECK_OR_FALSE(n == 0);
    }
    return note(&err, via_client_back_req(&g->client, &err));
}

static unsigned inflight(const struct guest *g) { return via_vq_inflight(&g->queue[0].vq) + via_vq_inflight(&g->queue[1].vq); }

bool guest_drain(struct guest *g)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    for (time_t end = now.tv_sec + 20; inflight(g) && now.tv_sec < end; clock_gettime(CLOCK_MONOTONIC, &now)) {
        struct pollfd p = {.fd = g->client.req_fd, .events = POLLIN};
        CHECK_OR_FALSE(guest_reap(g));
        (void)poll(&p, 1, 1); /* used rings are looked at, misses wake */
    }
    CHECK_OR_FALSE(inflight(g) == 0);
    return true;
}
