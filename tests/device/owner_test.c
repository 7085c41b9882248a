/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whose is a page? A front-end maps, answers, refuses and invalidates at random; a device notes which bytes it may touch. A page whose
 * revocation ended has another owner from then on: no access reaches it. And each request ends, as what it may have says.
 */
#include <string.h>

#include <tap.h>

#include "rig.h"

#define R VIA_PERM_R
#define W VIA_PERM_W
#define RW (VIA_PERM_R | VIA_PERM_W)
#define PAGE 4096u
#define PAGES 12u
#define FRAMES 24u
#define BASE UINT64_C(0x100000000) /* of the pages that are mapped to frames; tables are where they are */
#define LAST (PAGES - 1)           /* where answers go: never refused */
#define NONE UINT32_MAX

static struct rig *rig;
static uint8_t frames[FRAMES][PAGE];
static struct page {
    unsigned perm;  /* for as long as this world lasts; 0: refused */
    uint32_t frame; /* NONE: not mapped */
    bool leaving;   /* invalidated, and not given up yet */
    unsigned asked; /* questions that are not answered */
} page[PAGES];
static struct { /* tables: all in one page */
    bool asked;
} table;
static uint32_t owner[FRAMES]; /* the page; NONE: somebody else */

static struct { /* the device */
    struct via_device device;
    struct via_req *held[RIG_NUM];
    bool stalled[RIG_NUM];
    unsigned n, refusals, too_small;
    bool wrong; /* it touched what it may not */
} dev;
static struct request {
    bool out, refusable;
    struct via_seg seg[5];
    unsigned n_out, n;
} request[RIG_NUM];

static uint64_t seed;
static uint32_t rnd(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)((seed >> 24) % n);
}

/* ------------------------------------------------------------------ the device */

/* The spans are these segments' bytes, one after the other, in frames that belong to them. */
static bool may_touch(const struct via_seg *seg, unsigned n, const struct via_span *span, unsigned spans)
{
    size_t used = 0;
    for (unsigned i = 0; i < n; i++)
        for (uint64_t at = seg[i].addr.v, left = seg[i].len; left;) {
            if (!spans)
                return false;
            uintptr_t byte = (uintptr_t)span->ptr + used - (uintptr_t)frames;
            uint64_t number = (at - BASE) / PAGE, take = via_min64(via_min64(left, span->len - used), PAGE - at % PAGE);
            if (byte / PAGE >= FRAMES || owner[byte / PAGE] != number || byte % PAGE != at % PAGE)
                return false;
            at += take, left -= take, used += take;
            if (used == span->len)
                span++, spans--, used = 0;
        }
    return !spans;
}
static void touch(const struct via_req *q)
{
    const struct via_chain *c = &q->chain;
    dev.wrong |= !may_touch(c->seg, c->n_out, q->span, q->n_out) || !may_touch(c->seg + c->n_out, c->n_in, q->span + q->n_out, q->n_in);
}

static void note_refusal(void)
{
    dev.refusals++;
    dev.too_small += strstr(rig->pump.refusal.what, "too small") != NULL;
}

static int submit(struct via_device *d, struct via_req *q)
{
    (void)d;
    if (rnd(8) == 0)
        return -VIA_EAGAIN;
    touch(q);
    if (rnd(4) == 0) {
        via_req_complete(q, 0);
        return 0;
    }
    dev.stalled[dev.n] = false;
    dev.held[dev.n++] = q;
    return 0;
}
static int refuse(struct via_device *d, struct via_req *q)
{
    const struct via_seg *last = &q->chain.seg[q->chain.n_out + q->chain.n_in - 1];
    size_t len = via_spans_len(q->span, q->n_in);
    struct via_seg end = {{last->addr.v + (last->len - len)}, (uint32_t)len};
    (void)d;
    dev.wrong |= q->n_out || !q->n_in || len > last->len || !may_touch(&end, 1, q->span, q->n_in);
    note_refusal();
    via_req_complete(q, 1);
    return 0;
}
static unsigned place(const struct via_req *q)
{
    unsigned i = 0;
    while (dev.held[i] != q)
        i++;
    return i;
}
static void forget(unsigned i)
{
    dev.held[i] = dev.held[--dev.n];
    dev.stalled[i] = dev.stalled[dev.n];
}
static void end(struct via_req *q, int result)
{
    if (result == 0)
        touch(q);
    else
        note_refusal();
    via_req_complete(q, result ? 1 : 0);
}
static void refreshed(struct via_device *d, struct via_req *q, int result)
{
    unsigned i = place(q);
    (void)d;
    dev.stalled[i] = false;
    if (result || rnd(2)) {
        forget(i);
        end(q, result);
    } else {
        touch(q);
    }
}
static const struct via_device_ops holds_ops = {.submit = submit, .refuse = refuse};
static const struct via_device_ops looks_ops = {.submit = submit, .refuse = refuse, .refreshed = refreshed};

/* The device goes on with one that it holds. */
static void device_step(void)
{
    if (!dev.n)
        return;
    unsigned i = rnd(dev.n);
    struct via_req *q = dev.held[i];
    if (dev.stalled[i])
        return;
    int result = dev.device.ops == &looks_ops ? via_req_refresh(q) : 0;
    if (result == -VIA_EAGAIN) {
        dev.stalled[i] = true;
    } else {
        forget(i);
        end(q, result);
    }
}

/* ------------------------------------------------------------------ the driver */

static struct via_seg some_seg(void) { return (struct via_seg){{BASE + rnd((PAGES - 3) * PAGE)}, 1 + rnd(rnd(4) ? 600 : 2 * PAGE)}; }
static bool refusable(const struct request *q)
{
    for (unsigned i = 0; i < q->n; i++)
        for (uint64_t at = q->seg[i].addr.v, end_at = at + q->seg[i].len; at < end_at; at = (at / PAGE + 1) * PAGE)
            if ((i < q->n_out ? R : W) & ~page[(at - BASE) / PAGE].perm)
                return true;
    return false;
}
static void driver_adds(void)
{
    struct request *q = request;
    while (q < request + RIG_NUM && q->out)
        q++;
    if (q == request + RIG_NUM)
        return;
    q->n = q->n_out = rnd(3);
    for (unsigned i = rnd(3); i; i--)
        q->n++;
    for (unsigned i = 0; i < q->n; i++)
        q->seg[i] = some_seg();
    q->seg[q->n++] = (struct via_seg){{BASE + LAST * PAGE + rnd(PAGE)}, 1};
    q->refusable = refusable(q);
    q->out = via_vq_add(&rig->vq, q->seg, q->n_out, q->n - q->n_out, q) == 0;
}
static bool driver_reaps(unsigned *done)
{
    struct via_used_chain used;
    while (via_vq_reap(&rig->vq, &used) == 1) {
        struct request *q = used.token;
        CHECK_OR_FALSE(q->out && (used.written == 0 || q->refusable || dev.too_small));
        q->out = false;
        ++*done;
    }
    return true;
}

/* ------------------------------------------------------------------ the front-end */

static uint32_t free_frame(void)
{
    for (uint32_t i = rnd(FRAMES);; i = (i + 1) % FRAMES)
        if (owner[i] == NONE)
            return i;
}
static bool front_asked(void)
{
    const struct via_miss *m = via_misses_next(&rig->misses, 1);
    if (!m)
        return true;
    if (m->page < BASE) {
        table.asked = true;
        return true;
    }
    uint64_t number = (m->page - BASE) / PAGE;
    CHECK_OR_FALSE(number < PAGES && m->page % PAGE == 0 && !page[number].asked);
    page[number].asked = m->perm;
    return true;
}
static bool front_answers_table(void)
{
    uint64_t at = RIG_GPA + 0x4000, last = at + 0x1000 * RIG_NUM - 1;
    table.asked = false;
    CHECK_OR_FALSE(via_iotlb_insert(&rig->tlb, (via_iova){at}, (via_iova){last}, rig->mem + 0x4000, R) == 0);
    via_misses_update(&rig->misses, (via_iova){at}, (via_iova){last}, R);
    return true;
}
static bool front_answers(uint32_t k)
{
    struct page *p = &page[k];
    uint64_t at = BASE + k * PAGE, last = at + (PAGE - 1);
    if (!p->asked || p->leaving)
        return true;
    unsigned asked = p->asked;
    p->asked = 0;
    if ((asked & ~p->perm) && (!p->perm || rnd(2))) {
        via_misses_refuse(&rig->misses, (via_iova){at}, 1);
        return true;
    }
    if (p->frame == NONE) {
        p->frame = free_frame();
        owner[p->frame] = k;
    }
    CHECK_OR_FALSE(via_iotlb_insert(&rig->tlb, (via_iova){at}, (via_iova){last}, frames[p->frame], p->perm) == 0);
    via_misses_update(&rig->misses, (via_iova){at}, (via_iova){last}, p->perm);
    return true;
}
/* The revocation has ended: the frame is somebody else's. */
static void settle(uint32_t k)
{
    struct page *p = &page[k];
    uint64_t at = BASE + k * PAGE;
    if (!p->leaving || via_pump_revoke(&rig->pump, (via_iova){at}, (via_iova){at + (PAGE - 1)}))
        return;
    owner[p->frame] = NONE;
    p->frame = NONE;
    p->leaving = false;
}
static void invalidate(uint32_t k)
{
    if (page[k].frame == NONE || page[k].leaving)
        return;
    page[k].leaving = true;
    via_iotlb_remove(&rig->tlb, (via_iova){BASE + k * PAGE}, (via_iova){BASE + k * PAGE + (PAGE - 1)});
    settle(k);
}

/* ------------------------------------------------------------------ */

static bool world(const struct via_device_ops *ops, uint32_t entries, unsigned capacity, bool direct)
{
    memset(&dev, 0, sizeof(dev));
    memset(request, 0, sizeof(request));
    dev.device.ops = ops;
    rig = rig_new(&rig_limits);
    CHECK_OR_FALSE(rig_translate(rig, entries, capacity, direct));
    CHECK_OR_FALSE(via_pump_init(&rig->pump, &rig->dq, &rig->tlb.xlate, &rig->misses, &dev.device, 4, rig->pump_storage) == 0);
    for (uint32_t i = 0; i < FRAMES; i++)
        owner[i] = NONE;
    for (uint32_t i = 0; i < PAGES; i++)
        page[i] = (struct page){.frame = NONE, .perm = i == LAST || rnd(6) ? RW : rnd(3)};
    table.asked = false;
    return true;
}

static bool pump(void)
{
    rig_publish(rig);
    CHECK_OR_FALSE(via_pump_run(&rig->pump, rnd(4)) >= 0);
    rig_flush(rig);
    CHECK_OR_FALSE(!dev.wrong);
    return true;
}

static bool step(void)
{
    uint32_t k = rnd(PAGES);
    switch (rnd(12)) {
    case 0:
        invalidate(k);
        break;
    case 1:
        driver_adds();
        break;
    case 2:
        via_misses_forget(&rig->misses);
        break;
    case 3:
        return rnd(8) || via_pump_withdraw(&rig->pump, false) <= RIG_NUM;
    case 4:
        if (rnd(4) == 0)
            via_pump_away(&rig->pump);
        break;
    case 5:
        return via_pump_here(&rig->pump, rig->dq.desc, rig->dq.avail, rig->dq.used) == 0;
    case 6:
    case 7:
        device_step();
        break;
    case 8:
        return front_asked();
    case 9:
        settle(k);
        break;
    default:
        return table.asked ? front_answers_table() : front_answers(k);
    }
    return true;
}

/* Nothing new comes, nothing goes: all that is out ends. */
static bool wind_down(unsigned *done)
{
    CHECK_OR_FALSE(via_pump_here(&rig->pump, rig->dq.desc, rig->dq.avail, rig->dq.used) == 0);
    for (unsigned i = 0; via_vq_inflight(&rig->vq); i++) {
        CHECK_OR_FALSE(i < 20000);
        device_step();
        for (uint32_t k = 0; k < PAGES; k++) {
            settle(k);
            CHECK_OR_FALSE(front_asked() && front_answers(k));
        }
        if (table.asked)
            CHECK_OR_FALSE(front_answers_table());
        CHECK_OR_FALSE(pump() && driver_reaps(done));
        if (rnd(4) == 0)
            via_misses_forget(&rig->misses);
    }
    return via_pump_inflight(&rig->pump) == 0 && !rig->pump.waiting && !rig->pump.parked;
}

static unsigned total, refusals; /* requests that ended, in all lives */

static bool life(const struct via_device_ops *ops, uint32_t entries, unsigned capacity, bool direct)
{
    unsigned done = 0;
    CHECK_OR_FALSE(world(ops, entries, capacity, direct));
    for (unsigned i = 0; i < 3000; i++) {
        CHECK_OR_FALSE(step());
        CHECK_OR_FALSE(!dev.wrong);
        if (rnd(2))
            CHECK_OR_FALSE(pump() && driver_reaps(&done));
    }
    CHECK_OR_FALSE(wind_down(&done));
    CHECK_OR_FALSE(done > 0 && (entries < PAGES || !dev.too_small));
    total += done;
    refusals += dev.refusals;
    return true;
}

static void lives(const struct via_device_ops *ops)
{
    total = refusals = 0;
    for (uint64_t s = 1; s <= 60; s++)
        for (unsigned capacity = 1; capacity <= 16; capacity *= 4)
            for (unsigned direct = 0; direct < 2; direct++) {
                seed = s * 88172645463325252u;
                CHECK(life(ops, 64, capacity, direct));
                CHECK(life(ops, 6 + rnd(6), capacity, direct));
            }
    CHECK(total > 20000 && refusals > 2000 && refusals < total / 2);
}
static void a_device_that_holds_what_it_was_given(void) { lives(&holds_ops); }
static void a_device_that_looks_again(void) { lives(&looks_ops); }

TAP_MAIN(TEST(a_device_that_holds_what_it_was_given), TEST(a_device_that_looks_again))
