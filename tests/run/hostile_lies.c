/* SPDX-License-Identifier: BSD-2-Clause */
/* hostile: wrong answers, one kind a run. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hostile.h"

static const char *const lies[] = {"wrong-id", "twice", "long", "status", "nothing", "index", "die", "hangup", "speak", "silent"};

bool liar_knows(const char *lie)
{
    for (size_t i = 0; i < via_array_len(lies); i++)
        if (!strcmp(lies[i], lie))
            return true;
    return false;
}

/* Complete a request, then change what was put on the ring before anybody is shown it. */
static void complete_falsely(struct via_req *q, const uint32_t *id, const uint32_t *len)
{
    struct via_dq *dq = &q->pump->dq;
    struct via_used *used = dq->cfg.used;
    struct via_used_elem *e = &used->ring[dq->used_idx & (dq->cfg.num - 1)];
    via_req_complete(q, 0);
    if (id)
        via_shm_put32(&e->id, *id);
    if (len)
        via_shm_put32(&e->len, *len);
}

static void answer(struct via_req *q, uint8_t status)
{
    const struct via_span *last = &q->span[q->n_out + q->n_in - 1];
    via_shm_write((char *)last->ptr + last->len - 1, &status, 1);
    via_req_complete(q, (uint32_t)q->chain.in_len);
}

static void lie(struct liar *l, struct via_req *q)
{
    static const uint32_t no_id = 0xfff0, much = UINT32_MAX, none = 0;
    struct via_dq *dq = &q->pump->dq;
    uint32_t last = l->last;
    if (!strcmp(l->lie, "wrong-id"))
        complete_falsely(q, &no_id, NULL);
    else if (!strcmp(l->lie, "twice"))
        complete_falsely(q, &last, NULL);
    else if (!strcmp(l->lie, "long"))
        complete_falsely(q, NULL, &much);
    else if (!strcmp(l->lie, "status"))
        answer(q, 77);
    else if (!strcmp(l->lie, "nothing"))
        complete_falsely(q, NULL, &none);
    else if (!strcmp(l->lie, "index"))
        via_shm_put16_release(&((struct via_used *)dq->cfg.used)->idx, (uint16_t)(dq->used_idx + 1000));
    else if (!strcmp(l->lie, "die"))
        _exit(3);
    else if (!strcmp(l->lie, "hangup"))
        shutdown(l->server->fd, SHUT_RDWR);
    else if (!strcmp(l->lie, "speak"))
        (void)!send(l->server->fd, "nobody asked", 12, MSG_NOSIGNAL);
}

/* A read of a sector: fill it, say that all is well, and report nothing as written. */
static bool plant(struct liar *l, struct via_req *q)
{
    const struct via_span *in = q->span + q->n_out;
    size_t len = via_spans_len(in, q->n_in);
    if (q->n_in < 2 || len != VIA_BLK_SECTOR + 1 || ++l->shorts % 2)
        return false;
    for (unsigned i = 0; i < q->n_in; i++)
        memset(in[i].ptr, 0xee, in[i].len);
    *((uint8_t *)in[q->n_in - 1].ptr + in[q->n_in - 1].len - 1) = VIA_BLK_S_OK;
    hostile.trial[MEAN_SHORT].tried++;
    complete_falsely(q, NULL, NULL);
    return true;
}

static int submit(struct via_device *device, struct via_req *q)
{
    struct liar *l = via_container_of(device, struct liar, device);
    uint16_t head = q->chain.head;
    if (!l->lie && plant(l, q))
        return 0;
    if (l->lie && l->served >= l->after) {
        lie(l, q);
        via_event_signal(l->server->ring[0].call);
        return 0;
    }
    int r = l->honest->ops->submit(l->honest, q);
    if (!r) {
        l->served++;
        l->last = head;
    }
    return r;
}

static const struct via_device_ops ops = {.submit = submit};

void liar_init(struct liar *l, struct via_device *honest, struct via_server *server, const char *what, unsigned after)
{
    *l = (struct liar){.device.ops = &ops, .honest = honest, .server = server, .lie = what, .after = after};
}
