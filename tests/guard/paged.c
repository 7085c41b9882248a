/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <tap.h>

#include "paged.h"

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

uint8_t *paged_frame(const struct paged *p, unsigned frame) { return p->memory.ptr + (size_t)frame * PAGE; }

/* ------------------------------------------------------------------ the page table */

static bool send_update(struct paged *p, unsigned page, bool wait)
{
    const struct via_vu_iotlb m = {.iova = paged_iova((size_t)page * PAGE),
                                   .size = PAGE,
                                   .uva = (uintptr_t)paged_frame(p, p->at[page]),
                                   .perm = p->perm[page],
                                   .type = VIA_VU_IOTLB_UPDATE};
    return via_client_iotlb(&p->client, &m, wait, NULL) == 0;
}

static int on_miss(struct via_client *c, const struct via_vu_iotlb *m)
{
    struct paged *p = via_container_of(c, struct paged, client);
    uint64_t page = (m->iova - PAGED_IOVA) / PAGE;
    if (page >= PAGED_PAGES)
        return -VIA_EFAULT;
    p->asked[page]++;
    if (m->perm & ~p->perm[page])
        return -VIA_EFAULT;
    return send_update(p, (unsigned)page, false) ? 0 : -VIA_EIO;
}

bool paged_message(struct paged *p, uint8_t type, uint64_t start, uint64_t size, bool wait)
{
    if (type == VIA_VU_IOTLB_UPDATE)
        return send_update(p, (unsigned)((start - PAGED_IOVA) / PAGE), wait);
    const struct via_vu_iotlb m = {.iova = start, .size = size, .type = type};
    return via_client_iotlb(&p->client, &m, wait, NULL) == 0;
}

bool paged_flush(struct paged *p)
{
    CHECK_OR_FALSE(paged_message(p, VIA_VU_IOTLB_INVALIDATE, 0, 0xfee00000, true));
    CHECK_OR_FALSE(paged_message(p, VIA_VU_IOTLB_INVALIDATE, 0xfef00000, 0xffffffff01100000, true));
    return true;
}

static bool remap(struct paged *p, unsigned page)
{
    void *at = p->view + (size_t)page * PAGE;
    CHECK_OR_FALSE(mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, p->memory.fd, (off_t)p->at[page] * PAGE) == at);
    return true;
}

static bool all_are(const uint8_t *at, uint8_t byte)
{
    for (unsigned i = 0; i < PAGE; i++)
        if (at[i] != byte)
            return false;
    return true;
}

bool paged_owners(const struct paged *p)
{
    for (unsigned i = 0; i < PAGED_SPARE; i++)
        CHECK_OR_FALSE(all_are(paged_frame(p, p->spare[i]), PAGED_OWNED));
    return true;
}

bool paged_move(struct paged *p, unsigned page, bool wide)
{
    unsigned *spare = &p->spare[p->next_spare++ % PAGED_SPARE], old = p->at[page];
    uint8_t *from = paged_frame(p, old), *to = paged_frame(p, *spare);
    CHECK_OR_FALSE(all_are(to, PAGED_OWNED));
    memset(to, PAGED_FRESH, PAGE);
    p->at[page] = *spare;
    if (wide)
        CHECK_OR_FALSE(paged_flush(p));
    else
        CHECK_OR_FALSE(paged_message(p, VIA_VU_IOTLB_INVALIDATE, paged_iova((size_t)page * PAGE), PAGE, true));
    if (!all_are(from, PAGED_FRESH)) /* an answer had come already */
        memcpy(to, from, PAGE);
    memset(from, PAGED_OWNED, PAGE);
    *spare = old;
    return remap(p, page);
}

/* ------------------------------------------------------------------ life */

bool paged_ring_start(struct paged *p, unsigned queue, bool anew)
{
    struct via_split_layout lay;
    uint64_t at = paged_iova((size_t)queue * PAGE);
    uint16_t base = anew ? 0 : p->ring[queue].vq.used_idx;
    CHECK_OR_FALSE(via_split_layout(&lay, RIG_NUM, 4) == 0 && lay.total <= PAGE);
    if (anew) {
        uint8_t *view = p->view + (size_t)queue * PAGE;
        memset(view, 0, PAGE);
        struct via_vq_cfg cfg = {
            .num = RIG_NUM, .desc = view + lay.desc, .avail = view + lay.avail, .used = view + lay.used, .slot = p->ring[queue].slot};
        CHECK_OR_FALSE(via_vq_init(&p->ring[queue].vq, &cfg) == 0);
    }
    CHECK_OR_FALSE(via_client_ring_start(&p->client, queue, RIG_NUM, at + lay.desc, at + lay.avail, at + lay.used, base,
                                         p->ring[queue].kick, p->ring[queue].call, NULL) == 0);
    via_event_signal(p->ring[queue].kick);
    return true;
}

bool paged_open(struct paged *p, struct rig *r)
{
    const uint64_t need = VIA_BIT(VIA_F_VERSION_1) | VIA_BIT(VIA_F_ACCESS_PLATFORM);
    const uint64_t protocol =
        VIA_BIT(VIA_VU_PF_MQ) | VIA_BIT(VIA_VU_PF_REPLY_ACK) | VIA_BIT(VIA_VU_PF_BACKEND_REQ) | VIA_BIT(VIA_VU_PF_STATUS);
    *p = (struct paged){.client.fd = -1};
    CHECK_OR_FALSE(via_memory_create(&p->memory, "paged-guest", (size_t)PAGED_FRAMES * PAGE, NULL) == 0);
    p->view = mmap(NULL, (size_t)PAGED_PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK_OR_FALSE(p->view != MAP_FAILED);
    for (unsigned i = 0; i < PAGED_FRAMES; i++) { /* 85 and 168 have no common factor: no two pages that follow each other stay together */
        unsigned frame = (i * 85 + 7) % PAGED_FRAMES;
        if (i >= PAGED_PAGES) {
            p->spare[i - PAGED_PAGES] = frame;
            memset(paged_frame(p, frame), PAGED_OWNED, PAGE);
            continue;
        }
        p->at[i] = frame;
        p->perm[i] = VIA_PERM_R | VIA_PERM_W;
        CHECK_OR_FALSE(remap(p, i));
    }
    CHECK_OR_FALSE(via_client_connect(&p->client, r->front, 2000, NULL) == 0);
    p->client.miss = on_miss;
    struct via_err err = {.text = ""};
    if (via_client_negotiate(&p->client, need | VIA_BIT(VIA_F_INDIRECT_DESC), need, protocol, &err) < 0)
        tap_note(err.text);
    CHECK_OR_FALSE(!err.text[0]);
    struct via_vu_region region = {.gpa = 0, .size = p->memory.len, .uva = (uintptr_t)p->memory.ptr};
    CHECK_OR_FALSE(via_client_share(&p->client, &region, &p->memory.fd, 1, NULL) == 0);
    for (unsigned i = 0; i < RIG_QUEUES; i++) {
        p->ring[i].kick = via_event_create();
        p->ring[i].call = via_event_create();
        CHECK_OR_FALSE(paged_ring_start(p, i, true));
    }
    return true;
}

void paged_close(struct paged *p)
{
    via_client_close(&p->client);
    munmap(p->view, (size_t)PAGED_PAGES * PAGE);
    via_memory_destroy(&p->memory);
    for (unsigned i = 0; i < RIG_QUEUES; i++) {
        close(p->ring[i].kick);
        close(p->ring[i].call);
    }
}

/* ------------------------------------------------------------------ requests */

bool paged_submit(struct paged *p, unsigned queue, const struct paged_request *q, unsigned seed)
{
    const struct via_seg seg[2] = {{{paged_iova(q->out)}, (uint32_t)q->out_len}, {{paged_iova(q->in)}, (uint32_t)q->in_len}};
    size_t first = q->in / PAGE, end = (q->in + q->in_len + PAGE - 1) / PAGE;
    for (size_t i = 0; i < q->out_len; i++)
        p->view[q->out + i] = (uint8_t)(seed * 31 + i * 7 + i / 251);
    memset(p->view + first * PAGE, PAGED_FRESH, (end - first) * PAGE);
    CHECK_OR_FALSE(via_vq_add(&p->ring[queue].vq, seg, 1, 1, (void *)(uintptr_t)q) == 0);
    if (via_vq_publish(&p->ring[queue].vq))
        via_event_signal(p->ring[queue].kick);
    return true;
}

/* All of the answer, and nothing but it. */
bool paged_right(const struct paged *p, const struct paged_request *q)
{
    size_t first = q->in / PAGE * PAGE, end = (q->in + q->in_len + PAGE - 1) / PAGE * PAGE;
    for (size_t i = first; i < end; i++) {
        bool inside = i >= q->in && i < q->in + q->in_len;
        CHECK_OR_FALSE(p->view[i] == (inside ? rig_answer(p->view + q->out, q->out_len, i - q->in) : PAGED_FRESH));
    }
    return true;
}

int paged_wait(struct paged *p, unsigned queue, int timeout_ms)
{
    int64_t end = now_ms() + timeout_ms;
    struct via_used_chain used;
    int r;
    while ((r = via_vq_reap(&p->ring[queue].vq, &used)) == 0 && now_ms() < end) {
        struct pollfd fds[3] = {{.fd = p->ring[queue].call, .events = POLLIN},
                                {.fd = p->client.fd, .events = POLLRDHUP},
                                {.fd = p->deaf ? -1 : p->client.req_fd, .events = POLLIN}};
        if (!via_vq_arm(&p->ring[queue].vq))
            (void)poll(fds, 3, 5);
        via_event_clear(p->ring[queue].call);
        if (fds[1].revents & (POLLHUP | POLLRDHUP))
            return -VIA_ENODEV;
        if (!p->deaf && via_client_back_req(&p->client, NULL) < 0)
            return -VIA_ENODEV;
    }
    if (r <= 0)
        return r;
    const struct paged_request *q = p->last = used.token;
    return used.written == q->in_len && paged_right(p, q) ? 1 : -VIA_EPROTO;
}

bool paged_done(struct paged *p, unsigned queue, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        CHECK_OR_FALSE(paged_wait(p, queue, 5000) == 1);
    return true;
}
