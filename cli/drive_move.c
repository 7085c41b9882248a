/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * drive: the guest moves from host to host while it works. What travels is its memory, which here stays where it is, in this process, and
 * the device's state, as bytes. Each place gives its back-end more memory or less, translates addresses or doesn't, and has a guard or not;
 * of all that the guest sees nothing.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <viaduct/state.h>

#include "drive_parts.h"

#define BLK_TYPE 2u /* virtio v1.4 5 */
#define TRANSPORTS (VIA_BIT(VIA_F_PROTOCOL_FEATURES) | VIA_BIT(VIA_F_LOG_ALL))
#define DIFFERENCES 8u

static uint16_t queues_of(const struct via_drive *d)
{
    const struct via_front *f = &d->end.client.front;
    return (uint16_t)(f->protocol & VIA_BIT(VIA_VU_PF_MQ) ? via_min64(f->queues_max, VIA_STATE_QUEUES_MAX) : d->opts.queues);
}

/* Does the back-end get device addresses, and ask what they mean? */
static bool translates(const struct via_drive *d, const struct via_drive_place *p)
{
    return p->translated || via_drive_translated(d->opts.dma);
}

/* ------------------------------------------------------------------ leave */

static uint16_t used_idx(const struct via_drive_queue *q)
{
    return via_shm_get16(&((const struct via_used *)(const void *)(q->ring + q->lay.used))->idx);
}

/* qemu-storage-daemon 7.2 says where it stopped before it has finished what it took. What is never finished can't be saved. */
static int await_end(struct via_drive *d, const struct via_drive_queue *q, uint16_t base)
{
    const struct timespec nap = {.tv_nsec = 100000};
    uint64_t end = via_drive_clock() + d->opts.timeout * UINT64_C(1000000000);
    int r = 0;
    while (!r && used_idx(q) != base && via_drive_clock() < end) {
        nanosleep(&nap, NULL);
        r = d->end.domain ? via_drive_domain_serve(d) : 0;
    }
    return r;
}

/* Stop a queue; where it stands is what the device says and what lies in its used ring. */
static int save_queue(struct via_drive *d, unsigned index, struct via_state_queue *out)
{
    struct via_drive_queue *q = &d->queue[index];
    uint16_t base;
    via_iova at;
    int r = via_client_ring_stop(&d->end.client, index, &base, &d->err);
    if (!r)
        r = await_end(d, q, base);
    if (r)
        return r;
    q->running = false;
    if (via_drive_address(&d->mem, q->ring, q->lay.total, &at))
        return via_err_set(&d->err, -VIA_ERANGE, "the device has no address for queue %u", index);
    *out = (struct via_state_queue){
        .num = (uint16_t)d->opts.queue_size,
        .enabled = true,
        .avail_idx = base,
        .used_idx = used_idx(q),
        .desc = at.v + q->lay.desc,
        .avail = at.v + q->lay.avail,
        .used = at.v + q->lay.used,
    };
    return 0;
}

static int leave(struct via_drive *d)
{
    struct via_drive_move *m = &d->move;
    const struct via_front *f = &d->end.client.front;
    struct via_fault why = {0};
    struct via_state s = {
        .device = BLK_TYPE,
        .offered = f->offered & ~TRANSPORTS,
        .status = via_drive_status(d) | VIA_STATUS_DRIVER_OK,
        .config_len = VIA_DRIVE_CONFIG_BYTES,
        .queues = queues_of(d),
    };
    /* The guest takes the flag wherever it moves, so it has to take it from the start on. */
    if (!m->features)
        m->features = (f->features & ~TRANSPORTS) | (d->opts.legacy ? 0 : f->offered & VIA_BIT(VIA_F_ACCESS_PLATFORM));
    s.features = m->features;
    memcpy(s.config, &d->config, VIA_DRIVE_CONFIG_BYTES);
    m->left = via_drive_clock();
    int r = 0;
    for (unsigned i = 0; !r && i < d->opts.queues; i++)
        r = save_queue(d, i, &s.queue[i]);
    if (r)
        return r;
    r = via_state_encode(&s, m->state, VIA_STATE_BYTES_MAX, &why);
    if (r < 0)
        return via_err_fault(&d->err, r, "the device can't be saved", &why);
    m->len = m->bytes = (size_t)r;
    via_drive_look_at_domain(d);
    via_endpoint_detach(&d->end);
    via_client_close(&d->end.client);
    d->connected = false;
    m->away = true;
    return 1;
}

/* ------------------------------------------------------------------ arrive */

/* Each difference by its name, as far as there is room for them. */
static int refuse(struct via_drive *d, const char *place, const struct via_state_difference *diff, unsigned n)
{
    char text[sizeof(d->err.text)] = "";
    size_t at = 0;
    for (unsigned i = 0; i < n && i < DIFFERENCES && at < sizeof(text) - 1; i++) {
        int k = snprintf(text + at, sizeof(text) - at, "%s%s (%u: 0x%" PRIx64 " there, 0x%" PRIx64 " here)", i ? "; " : "",
                         via_state_kind_text(diff[i].kind), diff[i].at, diff[i].there, diff[i].here);
        at += k > 0 ? (size_t)k : 0;
    }
    return via_err_set(&d->err, -VIA_EINVAL, "'%s' has another disk than the guest has seen, %u differences: %.240s", place, n, text);
}

/* The place's offer, in all that the guest sees of it. */
static int compare(struct via_drive *d, const struct via_drive_place *p, const struct via_state *s)
{
    struct via_client *c = &d->end.client;
    struct via_state_difference diff[DIFFERENCES];
    uint8_t config[VIA_DRIVE_CONFIG_BYTES];
    int r = via_client_config_get(c, 0, config, sizeof(config), &d->err);
    if (r)
        return r;
    const struct via_state_host here = {
        .device = BLK_TYPE,
        .offered = c->front.offered & ~TRANSPORTS,
        .config = config,
        .config_len = sizeof(config),
        .queues = queues_of(d),
        .num_max = VIA_RING_NUM_MAX, /* not known before it is asked for */
    };
    unsigned n = via_state_compare(s, &here, diff, DIFFERENCES);
    return n ? refuse(d, p->socket, diff, n) : 0;
}

static int meet(struct via_drive *d, const struct via_drive_place *p, const struct via_state *s)
{
    struct via_client *c = &d->end.client;
    bool translated = translates(d, p);
    int r = via_client_connect(c, p->socket, (int)via_min64(d->opts.timeout, 5) * 1000, &d->err);
    if (r)
        return r;
    d->connected = true;
    c->timeout_ms = (int)d->opts.timeout * 1000;
    via_drive_find_peer(d);
    r = via_client_offer(c, via_drive_want_protocol | (translated ? VIA_BIT(VIA_VU_PF_BACKEND_REQ) : 0), &d->err);
    if (!r)
        r = compare(d, p, s);
    if (!r) /* where nothing is translated, the flag is a matter between the guest and its VMM */
        r = via_client_accept(c, s->features & ~(translated ? 0 : VIA_BIT(VIA_F_ACCESS_PLATFORM)), &d->err);
    return r ? r : via_client_status(c, via_drive_status(d), &d->err);
}

/* Memory as its place has it, and a domain over it that leaves addresses as they are. */
static int give_memory(struct via_drive *d, const struct via_drive_place *p)
{
    struct via_drive_memory *mem = &d->mem;
    struct via_drive_domain *m = &d->move.domain;
    unsigned n = mem->regions;
    if (p->all && d->opts.dma == VIA_DRIVE_BOUNCE) {
        uint64_t behind = mem->region[0].gpa + mem->region[0].size;
        mem->region[n] = (struct via_vu_region){.gpa = behind, .size = mem->own.len, .uva = (uintptr_t)mem->own.ptr};
        mem->region_fd[n++] = mem->own.fd;
    }
    int r = via_client_share(&d->end.client, mem->region, mem->region_fd, n, &d->err);
    if (r || !translates(d, p))
        return r;
    if (via_drive_translated(d->opts.dma))
        return via_endpoint_attach(&d->end, &d->domain.front, &d->err);
    const struct via_front_domain_cfg cfg = {.memory = mem->region, .n_memory = n, .shift = 12, .range = {1, 0}};
    r = via_front_domain_init(&m->front, &cfg, NULL, 0);
    for (unsigned i = 0; !r && i < n; i++)
        r = m->front.domain.ops->map(&m->front.domain, mem->region[i].gpa, mem->region[i].gpa + (mem->region[i].size - 1),
                                     mem->region[i].gpa, VIA_IOMMU_READ | VIA_IOMMU_WRITE);
    if (r)
        return via_err_set(&d->err, r, "memory can't be mapped for the device at '%s': %s", p->socket, strerror(-r));
    return via_endpoint_attach(&d->end, &m->front, &d->err);
}

/* What a ring's address is for the back-end: a user address where nothing is translated. */
static int place_address(const struct via_drive *d, const struct via_drive_place *p, uint64_t at, uint64_t *out)
{
    *out = at;
    if (translates(d, p))
        return 0;
    for (unsigned i = 0; i < d->mem.regions; i++) {
        const struct via_vu_region *g = &d->mem.region[i];
        if (at >= g->gpa && at - g->gpa < g->size) {
            *out = g->uva + (at - g->gpa);
            return 0;
        }
    }
    return -VIA_ERANGE;
}

static int load_queue(struct via_drive *d, const struct via_drive_place *p, unsigned index, const struct via_state_queue *s)
{
    struct via_drive_queue *q = &d->queue[index];
    uint64_t desc, avail, used;
    if (place_address(d, p, s->desc, &desc) || place_address(d, p, s->avail, &avail) || place_address(d, p, s->used, &used))
        return via_err_set(&d->err, -VIA_ERANGE, "queue %u of the saved state lies outside the guest's memory", index);
    int r = via_client_ring_start(&d->end.client, index, s->num, desc, avail, used, s->avail_idx, q->kick, q->call, &d->err);
    if (r)
        return r;
    q->running = true;
    const struct via_avail *ring = (const void *)(q->ring + q->lay.avail);
    d->move.left_over += (uint16_t)(via_shm_get16(&ring->idx) - s->avail_idx);
    via_event_signal(q->kick); /* for what was made available when nobody listened */
    return 0;
}

static int arrive(struct via_drive *d)
{
    struct via_drive_move *m = &d->move;
    struct via_state s;
    struct via_fault why = {0};
    unsigned next = (m->at + 1) % d->opts.places;
    const struct via_drive_place *p = &d->opts.place[next];
    int r = via_state_decode(&s, m->state, m->len, &why);
    if (r < 0)
        return via_err_fault(&d->err, r, "the state that was saved", &why);
    r = meet(d, p, &s);
    if (!r)
        r = give_memory(d, p);
    for (unsigned i = 0; !r && i < d->opts.queues; i++)
        r = load_queue(d, p, i, &s.queue[i]);
    if (!r)
        r = via_client_status(&d->end.client, s.status, &d->err);
    if (r)
        return r;
    d->now = via_drive_clock();
    if (d->now - m->left > m->longest)
        m->longest = d->now - m->left;
    m->at = next;
    m->away = false;
    m->moves++;
    m->due = m->answers + d->opts.move_every;
    return 0;
}

int via_drive_move(struct via_drive *d)
{
    struct via_drive_move *m = &d->move;
    if (!m->state) {
        m->due = m->answers + d->opts.move_every;
        m->state = malloc(VIA_STATE_BYTES_MAX);
        if (!m->state)
            return via_err_set(&d->err, -VIA_ENOMEM, "no memory for a device's state");
    }
    if (m->away)
        return arrive(d);
    return m->answers >= m->due && d->inflight ? leave(d) : 0;
}

void via_drive_move_close(struct via_drive *d)
{
    free(d->move.state);
    d->move.state = NULL;
}
