/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pump_fuzz: bytes as a hostile driver and a hostile front-end of one pump. The driver writes its ring and its tables, the front-end
 * answers, refuses and invalidates translations; a device keeps requests and looks that each of their spans lies in memory.
 */
#include <stdlib.h>
#include <string.h>

#include <viaduct/device.h>

#include "input.h"

#define NUM 8u
#define STEPS 2048u
#define MEMORY 0x10000u /* device addresses go a little beyond */
#define ENTRIES 4u
#define PAGES 4u

struct world {
    struct input *in;
    uint8_t *memory;
    void *area[3]; /* desc, avail, used */
    struct via_iotlb tlb;
    struct via_misses misses;
    struct via_pump pump;
    struct via_device device;
    struct via_req *held[NUM];
    bool stalled[NUM];
    unsigned n;
};

static uint32_t word(struct input *in)
{
    uint32_t low = byte(in);
    return low | byte(in) << 8;
}

/* ------------------------------------------------------------------ the device */

static void inside(const struct world *w, const struct via_req *q)
{
    for (unsigned i = 0; i < (unsigned)q->n_out + q->n_in; i++) {
        uintptr_t at = (uintptr_t)q->span[i].ptr - (uintptr_t)w->memory;
        REQUIRE(at < MEMORY && q->span[i].len && q->span[i].len <= MEMORY - at);
    }
}

static int submit(struct via_device *d, struct via_req *q)
{
    struct world *w = via_container_of(d, struct world, device);
    unsigned what = byte(w->in) % 8;
    inside(w, q);
    REQUIRE(via_spans_len(q->span, q->n_out) == q->chain.out_len && via_spans_len(q->span + q->n_out, q->n_in) == q->chain.in_len);
    if (what == 0)
        return -VIA_EAGAIN;
    if (what == 1)
        return -VIA_EPROTO;
    REQUIRE(w->n < NUM);
    w->stalled[w->n] = false;
    w->held[w->n++] = q;
    return 0;
}

static int refuse(struct via_device *d, struct via_req *q)
{
    struct world *w = via_container_of(d, struct world, device);
    inside(w, q);
    if (q->n_out || !q->n_in)
        return -VIA_EFAULT;
    via_req_complete(q, 0);
    return 0;
}

static void refreshed(struct via_device *d, struct via_req *q, int result)
{
    struct world *w = via_container_of(d, struct world, device);
    unsigned i = 0;
    (void)result;
    inside(w, q);
    while (w->held[i] != q)
        i++;
    w->stalled[i] = false;
}

static const struct via_device_ops ops[2] = {{.submit = submit, .refuse = refuse},
                                             {.submit = submit, .refuse = refuse, .refreshed = refreshed}};

static void device_goes_on(struct world *w)
{
    if (!w->n)
        return;
    unsigned i = byte(w->in) % w->n, how = byte(w->in) % 4;
    struct via_req *q = w->held[i];
    if (how == 0 && w->device.ops->refreshed) {
        w->stalled[i] = via_req_refresh(q) == -VIA_EAGAIN;
        return;
    }
    w->held[i] = w->held[--w->n];
    w->stalled[i] = w->stalled[w->n];
    if (how == 1)
        via_req_abandon(q);
    else
        via_req_complete(q, (uint32_t)via_min64(q->chain.in_len, byte(w->in)));
}

/* ------------------------------------------------------------------ the driver */

static void driver_writes(struct world *w)
{
    struct input *in = w->in;
    struct via_desc d = {.addr = via_le64_make((uint64_t)word(in) * 2),
                         .len = via_le32_make(byte(in) % 4 ? 16 * (byte(in) % 16) : word(in)),
                         .flags = via_le16_make((uint16_t)(byte(in) % 8)),
                         .next = via_le16_make((uint16_t)(byte(in) % (NUM + 1)))};
    struct via_desc *table = byte(in) % 2 ? w->area[0] : (void *)(w->memory + (word(in) & ~15u) % (MEMORY - NUM * sizeof(d)));
    table[byte(in) % NUM] = d;
}

static void driver_offers(struct world *w)
{
    struct via_avail *avail = w->area[1];
    uint16_t at = via_shm_get16(&avail->idx);
    via_shm_put16(&avail->ring[at % NUM], (uint16_t)(byte(w->in) % (NUM + 1)));
    via_shm_put16(&avail->idx, (uint16_t)(at + (byte(w->in) % 16 ? 1 : byte(w->in))));
}

/* ------------------------------------------------------------------ the front-end */

static void front_updates(struct world *w, uint64_t start)
{
    uint32_t at = word(w->in);
    uint64_t len = 1 + via_min64(byte(w->in) % 2 ? 4095 : word(w->in), MEMORY - 1 - at);
    unsigned perm = byte(w->in) % 4;
    via_iova last = {start + (len - 1)};
    if (via_iotlb_insert(&w->tlb, (via_iova){start}, last, w->memory + at, perm) == 0 || !perm)
        via_misses_update(&w->misses, (via_iova){start}, last, perm);
}

static void front_answers(struct world *w)
{
    const struct via_miss *m = via_misses_next(&w->misses, 1);
    if (!m)
        return;
    uint64_t page = m->page;
    if (byte(w->in) % 4)
        front_updates(w, page);
    else
        via_misses_refuse(&w->misses, (via_iova){page}, 1);
}

static void front_invalidates(struct world *w)
{
    via_iova start = {byte(w->in) % 8 ? word(w->in) : 0}, last = {start.v ? start.v + word(w->in) : UINT64_MAX};
    via_iotlb_remove(&w->tlb, start, last);
    bool held = via_pump_revoke(&w->pump, start, last);
    REQUIRE(!held || (w->n && !w->device.ops->refreshed));
}

/* ------------------------------------------------------------------ */

static void step(struct world *w)
{
    switch (byte(w->in) % 16) {
    case 0:
    case 1:
    case 2:
        driver_writes(w);
        break;
    case 3:
    case 4:
        driver_offers(w);
        break;
    case 5:
    case 6:
        front_answers(w);
        break;
    case 7:
        front_updates(w, word(w->in));
        break;
    case 8:
        front_invalidates(w);
        break;
    case 9:
        device_goes_on(w);
        break;
    case 10:
        via_misses_forget(&w->misses);
        break;
    case 11:
        via_pump_away(&w->pump);
        break;
    case 12:
        REQUIRE(via_pump_here(&w->pump, w->area[0], w->area[1], w->area[2]) == 0);
        break;
    case 13:
        (void)via_pump_withdraw(&w->pump, byte(w->in) % 8 == 0);
        break;
    default: {
        int rc = via_pump_run(&w->pump, byte(w->in) % 8);
        REQUIRE(rc >= 0 || (rc == -VIA_EPROTO && w->pump.dq.broken && w->pump.fault.what));
        (void)!via_pump_flush(&w->pump);
    }
    }
    REQUIRE(via_pump_inflight(&w->pump) <= NUM && w->misses.n <= PAGES && w->tlb.n <= ENTRIES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct world w = {.in = &in, .device.ops = &ops[byte(&in) & 1]};
    void *tlb = malloc(via_iotlb_bytes(ENTRIES)), *misses = malloc(via_misses_bytes(PAGES)), *pump = malloc(via_pump_bytes(NUM, 2, true));
    w.memory = calloc(1, MEMORY);
    w.area[0] = calloc(1, via_split_desc_bytes(NUM));
    w.area[1] = calloc(1, via_split_avail_bytes(NUM));
    w.area[2] = calloc(1, via_split_used_bytes(NUM));
    REQUIRE(tlb && misses && pump && w.memory && w.area[0] && w.area[1] && w.area[2]);
    bool late = byte(&in) & 1;
    struct via_dq_cfg cfg = {.num = NUM, .indirect = true, .event_idx = byte(&in) & 1};
    cfg.desc = late ? NULL : w.area[0];
    cfg.avail = late ? NULL : w.area[1];
    cfg.used = late ? NULL : w.area[2];
    REQUIRE(via_iotlb_init(&w.tlb, ENTRIES, tlb) == 0 && via_misses_init(&w.misses, PAGES, misses) == 0);
    REQUIRE(via_pump_init(&w.pump, &cfg, &w.tlb.xlate, &w.misses, &w.device, 2, pump) == 0);
    for (unsigned i = 0; i < STEPS && in.left; i++)
        step(&w);
    /* What the device holds, what is parked, and what waits: that is all there is. */
    while (w.n)
        via_req_abandon(w.held[--w.n]);
    if (w.pump.parked)
        via_req_abandon(w.pump.parked);
    (void)via_pump_withdraw(&w.pump, true);
    REQUIRE(via_pump_inflight(&w.pump) == 0 && !w.pump.waiting && !w.pump.done);
    for (unsigned i = 0; i < 3; i++)
        free(w.area[i]);
    free(w.memory);
    free(tlb);
    free(misses);
    free(pump);
    return 0;
}
