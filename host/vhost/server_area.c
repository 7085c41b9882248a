/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server_area: where a ring's three areas lie: at user addresses in a memory region, or, translated, at I/O virtual addresses, and then
 * perhaps in several pieces of memory. Those are joined into one mapping, so that a ring never has to look where its next word is.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "server_parts.h"

#define PIECES 160u /* the largest area, page by page */

struct area_what {
    const char *name;
    uint64_t addr;
    size_t len;
    unsigned align, perm;
};

static void drop(struct via_server_area *a)
{
    via_mapped_close(&a->join);
    free(a->piece);
    a->piece = NULL;
    a->n = 0;
}

void via_server_area_drop(struct via_server_ring *r)
{
    for (unsigned i = 0; i < via_array_len(r->area); i++)
        drop(&r->area[i]);
}

bool via_server_area_dead(const struct via_server_ring *r)
{
    bool dead = false;
    for (unsigned i = 0; i < via_array_len(r->area); i++)
        dead |= r->area[i].n && atomic_load_explicit(&r->area[i].join.dead, memory_order_relaxed);
    return dead;
}

static unsigned merge(struct via_span *span, unsigned n)
{
    unsigned k = 0;
    for (unsigned i = 1; i < n; i++)
        if ((char *)span[k].ptr + span[k].len == (char *)span[i].ptr)
            span[k].len += span[i].len;
        else
            span[++k] = span[i];
    return k + 1;
}

static int joined(struct via_server_ring *r, unsigned which, const struct via_span *span, unsigned n, void **out, struct via_err *err)
{
    struct via_server_area *a = &r->area[which];
    if (a->n != n || memcmp(a->piece, span, n * sizeof(*span)) != 0) {
        drop(a);
        a->piece = malloc(n * sizeof(*span));
        if (!a->piece)
            return via_err_set(err, -VIA_ENOMEM, "ring %u: no memory", r->index);
        memcpy(a->piece, span, n * sizeof(*span));
        int result = via_mapped_join(&a->join, span, n, err);
        if (result < 0) {
            drop(a);
            return result;
        }
        a->n = n;
    }
    *out = a->join.ptr;
    return 0;
}

/* -VIA_EAGAIN: its translations were asked for. */
static int translated(struct via_server_ring *r, unsigned which, const struct area_what *w, void **out, struct via_err *err)
{
    struct via_server_iotlb *t = &r->server->iotlb;
    const struct via_seg seg = {{w->addr}, (uint32_t)w->len};
    struct via_span span[PIECES];
    via_iova at;
    int n = via_xlate_map(&t->tlb.xlate, &seg, 1, w->perm, span, PIECES);
    if (n > 0) {
        unsigned pieces = merge(span, (unsigned)n);
        if (pieces > 1)
            return joined(r, which, span, pieces, out, err);
        *out = span[0].ptr;
        return 0;
    }
    int result = n == -VIA_E2BIG ? n : via_misses_collect(&t->misses, &t->tlb.xlate, &seg, 1, w->perm, r->since, &at);
    if (result == -VIA_EAGAIN)
        return result;
    return via_err_set(err, -VIA_EFAULT, "ring %u: the %s area at I/O virtual address 0x%" PRIx64 " (%zu bytes) %s", r->index, w->name,
                       w->addr, w->len,
                       n == -VIA_E2BIG ? "is translated in too many pieces" : "has no translation, or not the right to use it");
}

static int in_region(struct via_server_ring *r, const struct area_what *w, void **out, struct via_err *err)
{
    *out = via_memmap_uva(&r->server->map, (via_uva){w->addr}, w->len);
    if (*out)
        return 0;
    return via_err_set(err, -VIA_EFAULT,
                       "ring %u: the %s area (user address 0x%" PRIx64 ", %zu bytes) is in no memory region of the front-end", r->index,
                       w->name, w->addr, w->len);
}

int via_server_area_find(struct via_server_ring *r, struct via_dq_cfg *cfg, struct via_err *err)
{
    const struct via_server *s = r->server;
    const struct via_back_ring *b = &s->back.ring[r->index];
    const struct area_what what[3] = {{"descriptor", b->desc, via_split_desc_bytes(b->num), 16, VIA_PERM_R},
                                      {"available", b->avail, via_split_avail_bytes(b->num), 2, VIA_PERM_R},
                                      {"used", b->used, via_split_used_bytes(b->num), 4, VIA_PERM_W}};
    void *at[3] = {NULL, NULL, NULL};
    bool missing = false;
    cfg->desc = cfg->avail = NULL;
    cfg->used = NULL;
    r->generation = s->iotlb.on ? s->iotlb.tlb.xlate.generation : 0;
    for (unsigned i = 0; i < 3; i++) {
        if (what[i].addr % what[i].align)
            return via_err_set(err, -VIA_EPROTO, "ring %u: the %s area at 0x%" PRIx64 " must be aligned to %u bytes", r->index,
                               what[i].name, what[i].addr, what[i].align);
        int result = s->iotlb.on ? translated(r, i, &what[i], &at[i], err) : in_region(r, &what[i], &at[i], err);
        if (result < 0 && result != -VIA_EAGAIN)
            return result;
        missing |= result < 0;
    }
    if (missing)
        return -VIA_EAGAIN;
    cfg->desc = at[0];
    cfg->avail = at[1];
    cfg->used = at[2];
    return 0;
}
