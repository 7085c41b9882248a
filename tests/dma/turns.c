/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests whose memory changes hands. */
#include <stdlib.h>
#include <string.h>

#include <tap.h>
#include <viaduct/iommu.h>
#include <viaduct/ring.h>

#include "turns.h"

enum { PAGE = 4096, NUM = 32, DEPTH = 4, PLACE = 4 * PAGE, SLOTS = 32, BUFS = 5, SEGS = 24, WORDS = 64 };

struct request {
    bool busy, held, synced;
    bool pooled;          /* its place is the pool's */
    uint8_t *place, *own; /* PLACE bytes for its buffers; those of the driver's memory */
    uint8_t want[PLACE];  /* what the driver has to find there */
    bool lent[PLACE];     /* bytes of buffers */
    struct via_span buf[BUFS];
    unsigned out, in;
    struct via_mapping m;
    struct via_seg seg[SEGS];
    uint8_t answer[PLACE]; /* what the device wrote, so many bytes */
    uint32_t truth, in_len;
    uint16_t head;
};

/* The ring's areas: ours, the device's, and what was sent from one to the other. */
struct areas {
    alignas(16) struct via_desc desc[NUM];
    uint8_t avail[6 + 2 * NUM];
    alignas(4) uint8_t used[6 + 8 * NUM];
};

struct turns {
    struct turns_cfg cfg;
    struct incoherent w;
    struct via_port port; /* what the strategies are given */
    enum turns_phase phase;
    unsigned calls, readable; /* of the port while mapping, and how many of these are for readable buffers */
    struct via_phys_range range;
    struct via_direct direct;
    struct via_pool pool;
    _Atomic uint64_t free[1];
    struct via_bounce bounce;
    struct via_cache cache;
    struct via_hybrid hybrid;
    void *hybrid_storage;
    struct via_dma *dma;
    struct areas ours, theirs, sent;
    struct via_vq vq;
    struct via_vq_slot slot[NUM];
    struct via_dq dq;
    struct request req[DEPTH];
    unsigned sent_n, done;
    bool driver_sleeps, device_sleeps, kicked, called;
    const char *wrong;
};

static uint32_t below(struct turns *t, uint32_t n) { return incoherent_below(&t->w, n); }

static void wrong(struct turns *t, const char *what)
{
    if (!t->wrong)
        t->wrong = what;
}

/* ------------------------------------------------------------------ the port, right or wrong */

static bool is_meant(const struct turns *t)
{
    const struct turns_mutant *m = &t->cfg.mutant;
    bool readable = t->calls <= t->readable;
    return m->fault && m->phase == t->phase && (m->of == TURNS_BOTH || (m->of == TURNS_READABLE) == readable);
}

static void maintain(struct turns *t, const void *ptr, size_t len, bool clean)
{
    t->calls++;
    if (is_meant(t)) {
        size_t line = t->w.line, head = line - (uintptr_t)ptr % line, tail = ((uintptr_t)ptr + len - 1) % line + 1;
        size_t cut = t->cfg.mutant.fault == TURNS_HEAD ? head : t->cfg.mutant.fault == TURNS_TAIL ? tail : 0;
        if (t->cfg.mutant.fault == TURNS_SKIP || cut >= len)
            return;
        ptr = (const uint8_t *)ptr + (t->cfg.mutant.fault == TURNS_HEAD ? head : 0);
        len -= cut;
        clean ^= t->cfg.mutant.fault == TURNS_OTHER;
    }
    if (clean)
        incoherent_clean(&t->w, ptr, len);
    else
        incoherent_invalidate(&t->w, ptr, len);
}

static void port_clean(struct via_port *p, const void *ptr, size_t len)
{
    maintain(via_container_of(p, struct turns, port), ptr, len, true);
}

static void port_invalidate(struct via_port *p, void *ptr, size_t len)
{
    maintain(via_container_of(p, struct turns, port), ptr, len, false);
}

/* ------------------------------------------------------------------ the ring's words, on their way */

/* Words that changed since they were sent. */
static void carry(struct turns *t, struct incoherent_queue *q, void *to, void *sent, const void *from, size_t len, size_t word)
{
    for (size_t i = 0; i < len; i += word)
        if (memcmp((char *)sent + i, (const char *)from + i, word) != 0) {
            memcpy((char *)sent + i, (const char *)from + i, word);
            incoherent_post(&t->w, q, (char *)to + i, (const char *)from + i, word);
        }
}

/* Flags, index, and behind the entries an event: each call into the ring writes entries, then one of these. */
static void carry_ring(struct turns *t, struct incoherent_queue *q, uint8_t *to, uint8_t *sent, const uint8_t *from, size_t entry)
{
    size_t end = 4 + entry * NUM;
    carry(t, q, to + 4, sent + 4, from + 4, entry * NUM, entry);
    carry(t, q, to + 2, sent + 2, from + 2, 2, 2);
    carry(t, q, to, sent, from, 2, 2);
    carry(t, q, to + end, sent + end, from + end, 2, 2);
}

static void carry_out(struct turns *t)
{
    carry(t, &t->w.out, t->theirs.desc, t->sent.desc, t->ours.desc, sizeof(t->ours.desc), 16);
    carry_ring(t, &t->w.out, t->theirs.avail, t->sent.avail, t->ours.avail, 2);
}

static void carry_back(struct turns *t) { carry_ring(t, &t->w.back, t->ours.used, t->sent.used, t->theirs.used, 8); }

static void device_turn(struct turns *t);

static void port_flush(struct via_port *p)
{
    struct turns *t = via_container_of(p, struct turns, port);
    carry_out(t);
    if (is_meant(t))
        return;
    if (below(t, 2))
        device_turn(t);
    incoherent_flush(&t->w);
}

static const struct via_port_ops port_ops = {port_clean, port_invalidate, port_flush};

/* ------------------------------------------------------------------ the device */

static bool reads_well(struct turns *t, const struct request *r)
{
    const struct via_seg *seg = r->m.seg;
    size_t at = 0; /* in the segment */
    for (unsigned i = 0; i < r->out; i++)
        for (size_t k = 0; k < r->buf[i].len; k++) {
            const uint8_t *byte = incoherent_at(&t->w, seg->addr.v + at, 1);
            if (!byte || *byte != r->want[(uint8_t *)r->buf[i].ptr - r->place + k])
                return false;
            if (++at == seg->len) {
                seg++;
                at = 0;
            }
        }
    return true;
}

static void device_writes(struct turns *t, struct request *r, uint32_t len)
{
    uint32_t done = 0;
    for (const struct via_seg *seg = r->m.seg + r->m.n_out; done < len; seg++) {
        uint32_t take = (uint32_t)via_min64(seg->len, len - done);
        uint8_t *to = incoherent_at(&t->w, seg->addr.v, take);
        for (uint32_t k = 0; k < take; k++)
            r->answer[done + k] = (uint8_t)below(t, 256);
        incoherent_post(&t->w, &t->w.back, to, r->answer + done, take);
        done += take;
    }
}

static void serve(struct turns *t, struct request *r)
{
    if (!reads_well(t, r))
        wrong(t, "the device read what is not the driver's last word");
    r->truth = below(t, 2) ? r->in_len : r->truth + below(t, r->in_len - r->truth + 1);
    device_writes(t, r, r->truth);
    via_dq_push(&t->dq, r->head, t->cfg.under_reports ? below(t, r->truth + 1) : r->truth);
    r->held = false;
}

static void device_turn(struct turns *t)
{
    struct via_seg seg[NUM];
    struct via_chain c = {.seg = seg, .cap = NUM};
    bool idle = true;
    int n = VIA_POP_EMPTY;
    if (t->device_sleeps && !t->kicked)
        return;
    if (t->device_sleeps)
        via_dq_disarm(&t->dq);
    t->device_sleeps = t->kicked = false;
    while (below(t, 4) && (n = via_dq_pop(&t->dq, &c)) == VIA_POP_READY) {
        struct request *r = t->slot[c.head].token;
        r->held = true;
        r->head = c.head;
    }
    if (n < 0)
        wrong(t, "the driver broke the ring's rules");
    for (unsigned i = 0; i < DEPTH; i++) {
        idle &= !t->req[i].held;
        if (t->req[i].held && below(t, 2))
            serve(t, &t->req[i]);
    }
    carry_back(t);
    t->called |= via_dq_publish(&t->dq);
    carry_back(t);
    if (idle)
        t->device_sleeps = !via_dq_arm(&t->dq);
    carry_back(t);
}

/* ------------------------------------------------------------------ the driver */

static void driver_writes(struct turns *t, struct request *r, size_t at, size_t len)
{
    for (size_t k = at; k < at + len; k++)
        r->want[k] = (uint8_t)below(t, 256);
    incoherent_write(&t->w, r->place + at, r->want + at, len);
}

static void driver_looks(struct turns *t, const struct request *r)
{
    uint8_t found[PLACE];
    incoherent_read(&t->w, r->place, found, PLACE);
    if (memcmp(found, r->want, PLACE) == 0)
        return;
    for (size_t k = 0; k < PLACE; k++)
        if (found[k] != r->want[k]) {
            wrong(t, r->lent[k] ? "the driver does not find what the device wrote, or what it left" : "a neighbour's byte is lost");
            return;
        }
}

/* Bytes that share lines with buffers, or nearly. */
static void neighbours_write(struct turns *t, struct request *r)
{
    for (unsigned n = 0; n < 24; n++) {
        size_t at = below(t, PLACE);
        if (n % 2) {
            const struct via_span *b = &r->buf[below(t, r->out + r->in)];
            at = (size_t)((uint8_t *)b->ptr - r->place) + (n % 4 == 1 ? b->len + below(t, 8) : (size_t)-1 - below(t, 8));
        }
        if (at < PLACE && !r->lent[at])
            driver_writes(t, r, at, 1);
    }
}

/* A block request: a header, data one way or the other, a status. */
static void choose(struct turns *t, struct request *r)
{
    bool fills = t->cfg.way == TURNS_CACHE && t->cfg.mutant.fault != TURNS_FINE, reads = below(t, 2);
    size_t at = 0, line = t->w.line;
    unsigned n = 2 + below(t, BUFS - 1);
    memset(r->lent, 0, sizeof(r->lent));
    r->out = reads ? 1 : n - 1;
    r->in = n - r->out;
    r->in_len = r->truth = 0;
    for (unsigned i = 0; i < n; i++) {
        size_t len = i == 0 ? 16 : i == n - 1 ? 1 : below(t, 8) ? 1 + below(t, 900) : 1 + below(t, 9000);
        at += below(t, 2) * below(t, 100);
        if (i >= r->out && (fills || below(t, 2))) {
            at = (at + line - 1) & ~(line - 1);
            len = (len + line - 1) & ~(line - 1);
        }
        if (len > PLACE - at - 2 * PAGE && i < n - 1) /* room for what is to come */
            len = line;
        r->buf[i] = (struct via_span){r->place + at, len};
        memset(r->lent + at, 1, len);
        at += len;
        r->in_len += i >= r->out ? (uint32_t)len : 0;
    }
}

static bool submit(struct turns *t, struct request *r)
{
    r->place = t->cfg.way == TURNS_BOUNCE && below(t, 2) ? via_bounce_alloc(&t->bounce, PLACE) : NULL;
    r->pooled = r->place;
    if (r->pooled)
        memset(r->want, 0, PLACE);
    else
        r->place = r->own;
    choose(t, r);
    if (!r->pooled)
        driver_writes(t, r, 0, PLACE);
    for (unsigned i = 0; i < r->out; i++)
        driver_writes(t, r, (size_t)((uint8_t *)r->buf[i].ptr - r->place), r->buf[i].len);
    r->m = (struct via_mapping){.seg = r->seg, .cap = SEGS};
    t->phase = TURNS_MAP;
    t->calls = 0;
    t->readable = r->out;
    int rc = via_dma_map(t->dma, r->buf, r->out, r->in, &r->m);
    t->phase = 0;
    if (rc == -VIA_EAGAIN && r->pooled)
        via_bounce_free(&t->bounce, r->place, PLACE);
    if (rc == -VIA_EAGAIN)
        return false;
    if (rc < 0 || via_vq_add(&t->vq, r->m.seg, r->m.n_out, r->m.n_in, r) < 0) {
        wrong(t, "a request is refused");
        return false;
    }
    r->busy = true;
    r->held = r->synced = false;
    t->sent_n++;
    return true;
}

/* The first n bytes of the answer are the driver's to find. What a strategy cleared, for a device that reports too little, is cleared. */
static void expect(const struct turns *t, struct request *r, uint32_t n)
{
    uint32_t at = 0;
    for (unsigned i = r->out; i < r->out + r->in; i++) {
        bool there = r->pooled && (((uintptr_t)r->buf[i].ptr | r->buf[i].len) % t->w.line) == 0;
        for (size_t k = 0; k < r->buf[i].len; k++, at++)
            if (at < n)
                r->want[(uint8_t *)r->buf[i].ptr - r->place + k] = r->answer[at];
            else if (t->cfg.under_reports && t->cfg.way == TURNS_BOUNCE && !there)
                r->want[(uint8_t *)r->buf[i].ptr - r->place + k] = 0;
    }
}

/* In the middle of the device's turn: it has told, by other means, that the first bytes are there. The driver looks, and changes its mind.
 */
static void there_and_back(struct turns *t, struct request *r)
{
    r->truth = below(t, r->in_len + 1);
    device_writes(t, r, r->truth);
    incoherent_flush(&t->w);
    t->phase = TURNS_TO_CPU;
    t->readable = 0;
    if (via_dma_sync(t->dma, &r->m, VIA_OWNER_CPU, r->truth) < 0)
        wrong(t, "a sync is refused");
    expect(t, r, r->truth);
    driver_looks(t, r);
    for (unsigned i = 0; i < r->out + r->in; i++)
        driver_writes(t, r, (size_t)((uint8_t *)r->buf[i].ptr - r->place), r->buf[i].len);
    t->phase = TURNS_TO_DEVICE;
    t->calls = 0;
    t->readable = r->out;
    if (via_dma_sync(t->dma, &r->m, VIA_OWNER_DEVICE, 0) < 0)
        wrong(t, "a sync is refused");
    t->phase = 0;
    incoherent_flush(&t->w);
    r->synced = true;
}

static unsigned reap(struct turns *t)
{
    struct via_used_chain u;
    unsigned n = 0;
    int rc = 0;
    while (!t->wrong && below(t, 4) && (rc = via_vq_reap(&t->vq, &u)) == 1) {
        struct request *r = u.token;
        t->phase = TURNS_UNMAP;
        t->readable = 0;
        if (t->cfg.way == TURNS_BOUNCE && !r->pooled && below(t, 2))
            via_bounce_unmap_to(&t->bounce, &r->m, r->buf + r->out, r->in, u.written);
        else
            via_dma_unmap(t->dma, &r->m, u.written);
        t->phase = 0;
        expect(t, r, r->truth);
        driver_looks(t, r);
        if (r->pooled)
            via_bounce_free(&t->bounce, r->place, PLACE);
        r->busy = false;
        t->done++;
        n++;
    }
    if (rc < 0)
        wrong(t, "the device broke the ring's rules");
    return n;
}

static unsigned submit_some(struct turns *t)
{
    unsigned n = 0;
    for (unsigned i = 0; i < DEPTH && !t->wrong; i++)
        if (!t->req[i].busy && t->sent_n < t->cfg.requests && below(t, 2))
            n += submit(t, &t->req[i]);
    carry_out(t);
    return n;
}

static void driver_turn(struct turns *t)
{
    for (unsigned i = 0; i < DEPTH; i++) {
        struct request *r = &t->req[i];
        if (r->busy)
            neighbours_write(t, r);
        if (r->held && !r->synced && !t->cfg.under_reports && below(t, 8) == 0)
            there_and_back(t, r);
    }
    if (t->driver_sleeps && !t->called)
        return;
    if (t->driver_sleeps)
        via_vq_disarm(&t->vq);
    t->driver_sleeps = t->called = false;
    carry_out(t);
    unsigned n = reap(t) + submit_some(t);
    t->phase = TURNS_PUBLISH;
    bool kick = via_vq_publish(&t->vq);
    carry_out(t);
    if (kick && t->cfg.mutant.fault == TURNS_LATE)
        incoherent_flush(&t->w);
    t->kicked |= kick;
    t->phase = TURNS_ARM;
    if (!n && t->sent_n > t->done)
        t->driver_sleeps = !via_vq_arm(&t->vq);
    t->phase = 0;
    carry_out(t);
}

/* ------------------------------------------------------------------ the whole */

static bool stack(struct turns *t)
{
    const struct via_hybrid_cfg hybrid = {
        .small = &t->bounce.dma, .large = &t->cache.dma, .page = PAGE, .threshold = PAGE, .depth = DEPTH, .pieces = 3 * BUFS, .segs = SEGS};
    struct incoherent *w = &t->w;
    t->port = (struct via_port){&port_ops, t->cfg.mutant.fault == TURNS_FINE ? 1 : (uint32_t)w->line};
    t->range = (struct via_phys_range){w->cpu, w->bytes, INCOHERENT_PHYS};
    t->hybrid_storage = malloc(via_hybrid_bytes(&hybrid));
    CHECK_OR_FALSE(t->hybrid_storage && via_direct_init(&t->direct, &t->range, 1) == 0);
    CHECK_OR_FALSE(via_pool_init(&t->pool, &t->direct.dma, w->cpu, (size_t)SLOTS * PAGE, t->free, 1) == 0);
    CHECK_OR_FALSE(via_pool_set_port(&t->pool, &t->port) == 0 && via_bounce_init(&t->bounce, &t->pool, 0, 2) == 0);
    CHECK_OR_FALSE(via_cache_init(&t->cache, &t->direct.dma, &t->port) == 0);
    CHECK_OR_FALSE(via_hybrid_init(&t->hybrid, &hybrid, t->hybrid_storage) == 0);
    t->bounce.under_reports = t->cache.under_reports = t->cfg.under_reports && t->cfg.mutant.fault != TURNS_TRUSTING;
    struct via_dma *const way[TURNS_WAYS] = {&t->cache.dma, &t->bounce.dma, &t->hybrid.dma};
    t->dma = way[t->cfg.way];
    for (unsigned i = 0; i < DEPTH; i++)
        t->req[i].own = w->cpu + (size_t)SLOTS * PAGE + (size_t)i * PLACE;
    return true;
}

static bool up(struct turns *t)
{
    bool posted = t->cfg.posted, event_idx = t->cfg.event_idx;
    CHECK_OR_FALSE(incoherent_open(&t->w, (size_t)SLOTS * PAGE + (size_t)DEPTH * PLACE, t->cfg.line, posted, t->cfg.seed) && stack(t));
    const struct via_vq_cfg vq = {.num = NUM,
                                  .desc = t->ours.desc,
                                  .avail = t->ours.avail,
                                  .used = t->ours.used,
                                  .slot = t->slot,
                                  .event_idx = event_idx,
                                  .order_platform = true,
                                  .port = posted && t->cfg.mutant.fault != TURNS_LATE ? &t->port : NULL};
    const struct via_dq_cfg dq = {.num = NUM,
                                  .desc = t->theirs.desc,
                                  .avail = t->theirs.avail,
                                  .used = t->theirs.used,
                                  .event_idx = event_idx,
                                  .order_platform = true};
    CHECK_OR_FALSE(via_vq_init(&t->vq, &vq) == 0 && via_dq_init(&t->dq, &dq) == 0);
    return true;
}

const char *turns_run(const struct turns_cfg *cfg, unsigned *done)
{
    struct turns *t = calloc(1, sizeof(*t));
    if (!t)
        return "no memory";
    t->cfg = *cfg;
    if (!up(t))
        wrong(t, "it can't be set up");
    for (unsigned turn = 0; !t->wrong && t->done < cfg->requests; turn++) {
        incoherent_weather(&t->w);
        if (below(t, 2))
            driver_turn(t);
        else
            device_turn(t);
        if (t->driver_sleeps && t->device_sleeps && !t->kicked && !t->called)
            wrong(t, "a notification is lost: both sleep");
        if (turn > 1000 * cfg->requests)
            wrong(t, "it never ends");
    }
    const char *why = t->wrong;
    *done = t->done;
    incoherent_close(&t->w);
    free(t->hybrid_storage);
    free(t);
    return why;
}
