/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * drive: the memory of a guest that turns secure while it runs, one piece that the back-end is given whole: rings, then a pool in reserve,
 * then the guest's own, buffers and secrets. What no request uses of that is full of canaries.
 */
#include <stdlib.h>
#include <string.h>

#include "drive_parts.h"

#define PAGE ((size_t)VIA_PROTECT_PAGE)
#define SCRATCH ((size_t)64 * PAGE) /* carried at once */

static size_t round_up(size_t n) { return (n + PAGE - 1) / PAGE * PAGE; }

static int prepare_turn(struct via_drive_guest *g, struct via_err *err)
{
    size_t pages = g->mem.protect.pages;
    g->lease = calloc(pages, sizeof(*g->lease));
    g->scratch = aligned_alloc(PAGE, SCRATCH);
    if (!g->lease || !g->scratch)
        return via_err_set(err, -VIA_ENOMEM, "no memory to turn %zu pages secure", pages);
    int r = via_turn_init(&g->turn, &g->mem.protect, g->lease, pages, g->scratch, SCRATCH);
    for (unsigned i = 0; !r && i < via_array_len(g->kept); i++)
        r = via_turn_keep(&g->turn, g->kept[i].ptr, g->kept[i].len);
    return r ? via_err_set(err, r, "memory of %zu pages can't be turned secure", pages) : 0;
}

int via_drive_guest_open(struct via_drive_memory *m, const struct via_drive_need *need, struct via_err *err)
{
    struct via_drive_guest *g = &m->guest;
    size_t rings = round_up(need->rings), slots = round_up(need->slots), least = rings + slots + round_up(need->priv) + 2 * PAGE;
    size_t len = round_up(need->guest);
    if (len < least)
        return via_err_set(err, -VIA_EINVAL,
                           "--memory-size=%zu: rings, pool and buffers alone take %zu bytes; lower --pool-size or --depth", need->guest,
                           least);
    struct via_private_cfg cfg = {.name = "viaduct-driver", .len = len, .shared = true};
    int r = via_drive_memory_begin(m, VIA_DRIVE_TURN, err);
    if (!r)
        r = via_private_create(&g->mem, &cfg, err);
    if (r)
        return r;
    m->own = g->mem.memory;
    g->kept[0] = (struct via_span){m->own.ptr, rings};
    g->kept[1] = (struct via_span){m->own.ptr + rings, slots};
    m->rings = (struct via_arena){m->own.ptr, rings, 0};
    m->priv = (struct via_arena){m->own.ptr, len, rings + slots};
    r = via_drive_memory_direct(m, err);
    if (!r)
        r = via_drive_memory_slots(m, g->kept[1].ptr, slots, err);
    return r ? r : prepare_turn(g, err);
}

void via_drive_guest_close(struct via_drive_memory *m)
{
    struct via_drive_guest *g = &m->guest;
    if (!g->mem.memory.ptr)
        return;
    free(g->lease);
    free(g->scratch);
    via_private_destroy(&g->mem);
    *g = (struct via_drive_guest){.lease = NULL};
    m->own = (struct via_memory){.fd = -1};
}

/* ------------------------------------------------------------------ what is nobody else's business */

static void fill(struct via_span to, const uint8_t *canary)
{
    for (size_t i = 0; i < to.len; i += VIA_DRIVE_CANARY)
        memcpy((uint8_t *)to.ptr + i, canary, VIA_DRIVE_CANARY);
}

static uint64_t differs(struct via_span from, const uint8_t *canary)
{
    const uint8_t *at = from.ptr;
    uint64_t n = 0;
    for (size_t i = 0; i < from.len; i += VIA_DRIVE_CANARY)
        for (size_t k = 0; memcmp(at + i, canary, VIA_DRIVE_CANARY) != 0 && k < VIA_DRIVE_CANARY; k++)
            n += at[i + k] != canary[k];
    return n;
}

void via_drive_guest_fill(struct via_drive_memory *m)
{
    size_t left = (m->priv.len - round_up(m->priv.used)) / PAGE * PAGE;
    m->guest.secret = (struct via_span){via_arena_take(&m->priv, left), left};
    fill(m->guest.secret, m->canary[0]);
}

void via_drive_guest_write(struct via_drive_memory *m)
{
    struct via_span *all = &m->guest.secret;
    size_t half = all->len / PAGE / 2 * PAGE;
    m->guest.written = (struct via_span){(uint8_t *)all->ptr + all->len - half, half};
    all->len -= half;
    fill(m->guest.written, m->canary[1]);
}

uint64_t via_drive_guest_damaged(const struct via_drive_memory *m)
{
    return differs(m->guest.secret, m->canary[0]) + differs(m->guest.written, m->canary[1]);
}
