/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "paged.h"

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int update(struct paged *p, unsigned page)
{
    struct via_err err;
    const struct via_vu_iotlb m = {.iova = paged_iova(page),
                                   .size = PAGED_PAGE,
                                   .uva = (uintptr_t)p->memory.ptr + (uint64_t)p->at[page] * PAGED_PAGE,
                                   .perm = p->perm[page],
                                   .type = VIA_VU_IOTLB_UPDATE};
    return via_client_iotlb(&p->client, &m, false, &err);
}

bool paged_tell(struct paged *p, unsigned page) { return update(p, page) == 0; }

static int on_miss(struct via_client *c, const struct via_vu_iotlb *m)
{
    struct paged *p = via_container_of(c, struct paged, client);
    uint64_t page = (m->iova - PAGED_IOVA) / PAGED_PAGE;
    if (page >= PAGED_PAGES)
        return -VIA_EFAULT;
    p->asked[page]++;
    bool refused = m->perm & ~p->perm[page];
    if (p->between)
        p->between(p, (unsigned)page);
    return refused ? -VIA_EFAULT : update(p, (unsigned)page);
}

bool paged_remap(struct paged *p, unsigned page)
{
    void *at = p->view + (size_t)page * PAGED_PAGE;
    CHECK_OR_FALSE(mmap(at, PAGED_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, p->memory.fd, (off_t)p->at[page] * PAGED_PAGE) ==
                   at);
    return true;
}

/* The driver's view has the pages in the order of their I/O virtual addresses, the memory that is shared in another. */
static bool scatter(struct paged *p)
{
    size_t len = (size_t)PAGED_PAGES * PAGED_PAGE;
    p->view = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK_OR_FALSE(p->view != MAP_FAILED);
    for (unsigned i = 0; i < PAGED_PAGES; i++) {
        p->at[i] = (i * 85 + 7) % PAGED_PAGES; /* 85 and 256 have no common factor */
        p->perm[i] = VIA_PERM_R | VIA_PERM_W;
        CHECK_OR_FALSE(paged_remap(p, i));
    }
    return true;
}

bool paged_open(struct paged *p, struct rig *r, uint64_t protocol)
{
    struct via_err err = {.text = ""};
    memset(p, 0, sizeof(*p));
    p->kick = via_event_create();
    p->call = via_event_create();
    CHECK_OR_FALSE(via_memory_create(&p->memory, "paged", (size_t)PAGED_PAGES * PAGED_PAGE, &err) == 0);
    CHECK_OR_FALSE(scatter(p));
    int fd = rig_connect(r);
    CHECK_OR_FALSE(fd >= 0 && via_client_adopt(&p->client, fd) == 0);
    p->client.miss = on_miss;
    uint64_t need = VIA_BIT(VIA_F_VERSION_1) | VIA_BIT(VIA_F_ACCESS_PLATFORM);
    int result = via_client_negotiate(&p->client, RIG_FEATURES, need, protocol, &err);
    struct via_vu_region region = {.gpa = 0, .size = p->memory.len, .uva = (uintptr_t)p->memory.ptr};
    if (result == 0)
        result = via_client_share(&p->client, &region, &p->memory.fd, 1, &err);
    if (result < 0)
        tap_note(err.text);
    CHECK_OR_FALSE(result == 0);
    return true;
}

void paged_close(struct paged *p)
{
    via_client_close(&p->client);
    munmap(p->view, (size_t)PAGED_PAGES * PAGED_PAGE);
    via_memory_destroy(&p->memory);
    close(p->kick);
    close(p->call);
}

bool paged_start(struct paged *p, uint16_t base)
{
    struct via_split_layout lay;
    struct via_err err = {.text = ""};
    CHECK_OR_FALSE(via_split_layout(&lay, PAGED_NUM, 4) == 0 && lay.total <= PAGED_RING * PAGED_PAGE);
    if (base == 0) {
        memset(p->view, 0, lay.total);
        struct via_vq_cfg cfg = {
            .num = PAGED_NUM, .desc = p->view + lay.desc, .avail = p->view + lay.avail, .used = p->view + lay.used, .slot = p->slot};
        CHECK_OR_FALSE(via_vq_init(&p->vq, &cfg) == 0);
    }
    int result = via_client_ring_start(&p->client, 0, PAGED_NUM, PAGED_IOVA + lay.desc, PAGED_IOVA + lay.avail, PAGED_IOVA + lay.used, base,
                                       p->kick, p->call, &err);
    if (result < 0)
        tap_note(err.text);
    CHECK_OR_FALSE(result == 0);
    via_event_signal(p->kick);
    return true;
}

bool paged_submit(struct paged *p, unsigned first, unsigned n)
{
    struct via_seg seg[PAGED_PAGES];
    uint8_t *at = p->view + (size_t)first * PAGED_PAGE;
    memset(at, (int)first, (size_t)n * PAGED_PAGE);
    memset(at + (size_t)n * PAGED_PAGE, 0, PAGED_PAGE);
    for (unsigned i = 0; i <= n; i++)
        seg[i] = (struct via_seg){{paged_iova(first + i)}, PAGED_PAGE};
    CHECK_OR_FALSE(via_vq_add(&p->vq, seg, n, 1, at + (size_t)n * PAGED_PAGE) == 0);
    if (via_vq_publish(&p->vq))
        via_event_signal(p->kick);
    return true;
}

/* The toy device turns the first 64 bytes over. */
static bool take(struct paged *p)
{
    struct via_used_chain used;
    int n = via_vq_reap(&p->vq, &used);
    CHECK_OR_FALSE(n >= 0);
    if (n == 0)
        return false;
    const uint8_t *at = used.token;
    p->answers++;
    p->empty += used.written == 0;
    for (unsigned i = 0; i < used.written; i++)
        CHECK_OR_FALSE(at[i] == (at[(int)i - (int)PAGED_PAGE] ^ 0x5a));
    return true;
}

static void serve_until(struct paged *p, unsigned answers, int64_t end)
{
    struct via_err err = {.text = ""};
    while (p->answers < answers && now_ms() < end) {
        struct pollfd fds[2] = {{.fd = p->client.req_fd, .events = POLLIN}, {.fd = p->call, .events = POLLIN}};
        while (take(p))
            ;
        if (p->answers < answers && !via_vq_arm(&p->vq))
            (void)poll(fds + p->deaf, 2 - p->deaf, 5);
        via_event_clear(p->call);
        if (!p->deaf && via_client_back_req(&p->client, &err) < 0)
            return;
    }
}

bool paged_done(struct paged *p, unsigned n)
{
    unsigned answers = p->answers + n;
    serve_until(p, answers, now_ms() + 5000);
    return p->answers == answers;
}

void paged_serve(struct paged *p, int ms) { serve_until(p, UINT32_MAX, now_ms() + ms); }

bool paged_invalidate(struct paged *p, uint64_t start, uint64_t size, bool wait)
{
    struct via_err err = {.text = ""};
    const struct via_vu_iotlb m = {.iova = start, .size = size, .type = VIA_VU_IOTLB_INVALIDATE};
    int result = via_client_iotlb(&p->client, &m, wait, &err);
    if (result < 0)
        tap_note(err.text);
    return result == 0;
}
