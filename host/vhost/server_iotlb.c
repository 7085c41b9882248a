/* SPDX-License-Identifier: BSD-2-Clause */
/* server_iotlb: the device IOTLB of a connection, and what a front-end puts in there. */
#include <inttypes.h>
#include <stdlib.h>

#include "server_parts.h"

#define ALL ((via_iova){UINT64_MAX})

int via_server_iotlb_open(struct via_server *s, struct via_err *err)
{
    struct via_server_iotlb *t = &s->iotlb;
    uint32_t entries = s->cfg.iotlb_entries ? s->cfg.iotlb_entries : VIA_SERVER_IOTLB;
    size_t tlb = via_iotlb_bytes(entries), misses = via_misses_bytes(VIA_SERVER_MISSES);
    t->storage = malloc(misses + tlb);
    if (!t->storage)
        return via_err_set(err, -VIA_ENOMEM, "no memory for a device IOTLB of %u translations", entries);
    int result = via_misses_init(&t->misses, VIA_SERVER_MISSES, t->storage);
    if (result == 0)
        result = via_iotlb_init(&t->tlb, entries, (char *)t->storage + misses);
    if (result < 0)
        return via_err_set(err, result, "a device IOTLB can't have %u translations", entries);
    t->on = true;
    return 0;
}

void via_server_iotlb_close(struct via_server *s)
{
    s->iotlb.on = s->iotlb.fencing = false;
    free(s->iotlb.storage);
    s->iotlb.storage = NULL;
}

void via_server_iotlb_empty(struct via_server *s)
{
    if (!s->iotlb.on)
        return;
    via_iotlb_remove(&s->iotlb.tlb, (via_iova){0}, ALL);
    via_misses_clear(&s->iotlb.misses);
}

void via_server_iotlb_refuse(struct via_server *s)
{
    if (s->iotlb.on)
        via_misses_update(&s->iotlb.misses, (via_iova){0}, ALL, 0); /* no rights for anything */
}

/* What lies at a user address, for as much of the rest of an update as is in one piece. */
static int piece(struct via_server *s, const struct via_vu_iotlb *m, uint64_t at, struct via_span *span)
{
    return via_memmap_at(&s->map, (via_uva){m->uva + at}, m->size - at, span);
}

/* All of it is found in memory before any of it is believed. */
int via_server_iotlb_update(struct via_server *s, const struct via_vu_iotlb *m, struct via_err *err)
{
    struct via_server_iotlb *t = &s->iotlb;
    struct via_span span;
    for (uint64_t at = 0; at < m->size; at += span.len)
        if (piece(s, m, at, &span) < 0)
            return via_err_set(err, -VIA_EFAULT,
                               "the front-end translates 0x%" PRIx64 " to user address 0x%" PRIx64 ", which is in no memory region",
                               m->iova + at, m->uva + at);
    for (uint64_t at = 0; at < m->size; at += span.len) {
        int result = piece(s, m, at, &span);
        if (result == 0)
            result = via_iotlb_insert(&t->tlb, (via_iova){m->iova + at}, (via_iova){m->iova + at + (span.len - 1)}, span.ptr, m->perm);
        if (result < 0)
            return via_err_set(err, result, "the front-end's translation of 0x%" PRIx64 " can't be", m->iova + at);
    }
    via_misses_update(&t->misses, (via_iova){m->iova}, (via_iova){m->iova + (m->size - 1)}, m->perm);
    t->updates++;
    return 0;
}
