/* SPDX-License-Identifier: BSD-2-Clause */
/* drive: the driver's memory, the pool beside it, and which of them the back-end is given. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "drive_parts.h"

#define PAGE 4096u
#define PHYS_OWN VIA_DRIVE_PHYS
#define PHYS_POOL UINT64_C(0x1000000)
#define BUS_LOW UINT64_C(0x80000000)    /* window: the lower bank on the device's bus */
#define BUS_HIGH UINT64_C(0x2000000000) /* and the upper one, far away */
#define POOL_MIN ((size_t)65536)
#define SECRET 65536u /* bytes of driver memory full of the canary */

static size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

size_t via_arena_room(size_t len) { return len >= PAGE ? round_up(len, PAGE) + PAGE : round_up(len, 64) + 64; }

void *via_arena_take(struct via_arena *a, size_t len)
{
    size_t at = round_up(a->used, len >= PAGE ? PAGE : 64);
    if (at > a->len || len > a->len - at)
        abort();
    a->used = at + len;
    return a->ptr + at;
}

int via_drive_memory_direct(struct via_drive_memory *m, struct via_err *err)
{
    m->range[0] = (struct via_phys_range){m->own.ptr, m->own.len, PHYS_OWN};
    if (via_direct_init(&m->direct, m->range, 1))
        return via_err_set(err, -VIA_EINVAL, "the driver's memory can't be addressed directly");
    m->base = m->lasting = &m->direct.dma;
    m->region[0] = (struct via_vu_region){.gpa = PHYS_OWN, .size = m->own.len, .uva = (uintptr_t)m->own.ptr};
    m->region_fd[0] = m->own.fd;
    m->regions = 1;
    return 0;
}

/* Two banks, so that what crosses from one to the other is in two places on the bus. The rings stay whole: data are divided. */
static int share_window(struct via_drive_memory *m, struct via_err *err)
{
    uint64_t half = round_up(m->rings.len + (m->own.len - m->rings.len) / 2, PAGE);
    int r = via_drive_memory_direct(m, err);
    if (r)
        return r;
    m->bank[0] = (struct via_bank){PHYS_OWN, PHYS_OWN + half - 1, BUS_LOW};
    m->bank[1] = (struct via_bank){PHYS_OWN + half, PHYS_OWN + m->own.len - 1, BUS_HIGH};
    if (via_window_init(&m->window, &m->direct.dma, m->bank, 2))
        return via_err_set(err, -VIA_EINVAL, "the driver's memory can't be seen through a window");
    m->base = m->lasting = &m->window.dma;
    m->region[0] = (struct via_vu_region){BUS_LOW, half, (uintptr_t)m->own.ptr, 0};
    m->region[1] = (struct via_vu_region){BUS_HIGH, m->own.len - half, (uintptr_t)m->own.ptr + half, half};
    m->region_fd[0] = m->region_fd[1] = m->own.fd;
    m->regions = 2;
    return 0;
}

/* ptr of the driver's memory has another address at the device than its physical one, and the same one for good. */
static int stay(struct via_drive_memory *m, uint64_t iova, uint8_t *ptr, size_t len, struct via_err *err)
{
    m->stay = (struct via_phys_range){ptr, len, iova};
    if (via_direct_init(&m->stay_direct, &m->stay, 1))
        return via_err_set(err, -VIA_EINVAL, "there are no addresses for %zu bytes of rings and pool", len);
    m->lasting = &m->stay_direct.dma;
    return 0;
}

int via_drive_memory_slots(struct via_drive_memory *m, uint8_t *ptr, size_t len, struct via_err *err)
{
    size_t slots = len / VIA_POOL_SLOT, words = (slots + 63) / 64;
    m->slot_map = calloc(words, sizeof(*m->slot_map));
    if (!m->slot_map)
        return via_err_set(err, -VIA_ENOMEM, "no memory for a pool of %zu slots", slots);
    if (via_pool_init(&m->slots.pool, m->lasting, ptr, slots * VIA_POOL_SLOT, m->slot_map, words))
        return via_err_set(err, -VIA_EINVAL, "a pool of %zu bytes can't be made; choose --pool-size in whole MiB", len);
    return 0;
}

static int make_slots(struct via_drive_memory *m, size_t rings, bool grow, struct via_err *err)
{
    m->rings = (struct via_arena){m->pool.ptr, rings, 0};
    if (grow)
        return via_drive_grow_open(m, rings, m->pool.len - rings, err);
    return via_drive_memory_slots(m, m->pool.ptr + rings, m->pool.len - rings, err);
}

static int open_pool(struct via_drive_memory *m, uint64_t phys, struct via_err *err)
{
    int r = via_memory_create(&m->pool, "viaduct-pool", m->pool.len, err);
    if (r)
        return r;
    m->range[m->regions] = (struct via_phys_range){m->pool.ptr, m->pool.len, phys};
    m->region[m->regions] = (struct via_vu_region){.gpa = phys, .size = m->pool.len, .uva = (uintptr_t)m->pool.ptr};
    m->region_fd[m->regions++] = m->pool.fd;
    return 0;
}

static int share_pool(struct via_drive_memory *m, size_t rings, const struct via_drive_need *need, struct via_err *err)
{
    int r = open_pool(m, PHYS_POOL, err);
    if (!r && via_direct_init(&m->direct, m->range, 1))
        r = via_err_set(err, -VIA_EINVAL, "the pool can't be addressed directly");
    m->base = m->lasting = &m->direct.dma;
    if (!r && via_drive_translated(m->how))
        r = stay(m, need->stay, m->pool.ptr, m->pool.len, err);
    return r ? r : make_slots(m, rings, need->grow, err);
}

/* The back-end's memory: addresses are offsets in it, and nothing is shared. */
static int borrow_pool(struct via_drive_memory *m, size_t rings, const struct via_mapped *of, struct via_err *err)
{
    m->lent = true;
    m->pool = (struct via_memory){.fd = -1, .ptr = of->ptr, .len = of->len};
    if (of->len < rings + POOL_MIN)
        return via_err_set(err, -VIA_ENOSPC,
                           "the back-end's memory of %zu bytes is too small: %zu are for rings, and %zu for a pool at least", of->len,
                           rings, POOL_MIN);
    m->range[0] = (struct via_phys_range){m->pool.ptr, m->pool.len, 0};
    if (via_direct_init(&m->direct, m->range, 1))
        return via_err_set(err, -VIA_EINVAL, "the back-end's memory can't be addressed");
    m->base = m->lasting = &m->direct.dma;
    return make_slots(m, rings, false, err);
}

/* The driver's memory and a pool behind it. */
static int share_both(struct via_drive_memory *m, size_t rings, const struct via_drive_need *need, struct via_err *err)
{
    int r = via_drive_memory_direct(m, err);
    if (!r)
        r = open_pool(m, PHYS_OWN + m->own.len, err);
    if (r)
        return r;
    if ((uintptr_t)m->range[0].ptr > (uintptr_t)m->range[1].ptr) {
        struct via_phys_range own = m->range[0];
        m->range[0] = m->range[1];
        m->range[1] = own;
    }
    if (via_direct_init(&m->direct, m->range, 2))
        return via_err_set(err, -VIA_EINVAL, "the driver's memory and the pool can't be addressed directly");
    r = stay(m, need->stay, m->pool.ptr, m->pool.len, err);
    return r ? r : make_slots(m, rings, need->grow, err);
}

int via_drive_memory_begin(struct via_drive_memory *m, enum via_drive_dma how, struct via_err *err)
{
    *m = (struct via_drive_memory){.how = how, .own.fd = -1, .pool.fd = -1, .other.fd = -1};
    if (getrandom(m->canary, sizeof(m->canary), 0) != sizeof(m->canary))
        return via_err_set(err, -VIA_EIO, "getrandom: %s", strerror(errno));
    return 0;
}

static void fill_secrets(struct via_drive_memory *m)
{
    m->secret = via_arena_take(&m->priv, SECRET);
    for (size_t i = 0; i < SECRET; i += VIA_DRIVE_CANARY)
        memcpy(m->secret + i, m->canary[0], VIA_DRIVE_CANARY);
}

uint64_t via_drive_secret_changed(const struct via_drive_memory *m)
{
    uint64_t n = 0;
    for (size_t i = 0; i < SECRET; i++)
        n += m->secret[i] != m->canary[0][i % VIA_DRIVE_CANARY];
    return n;
}

int via_drive_memory_open(struct via_drive_memory *m, enum via_drive_dma how, const struct via_drive_need *need, struct via_err *err)
{
    size_t rings = round_up(need->rings, PAGE), own = need->priv + via_arena_room(SECRET);
    bool pool = via_drive_pooled(how);
    int r = via_drive_memory_begin(m, how, err);
    if (!r)
        r = via_memory_create(&m->own, "viaduct-driver", round_up(own + (pool ? 0 : rings + PAGE), PAGE), err);
    if (r)
        return r;
    m->priv = (struct via_arena){m->own.ptr, m->own.len, 0};
    if (need->region) {
        r = borrow_pool(m, rings, &need->region->mapped, err);
    } else if (pool) {
        m->pool.len = rings + round_up(need->slots, need->grow ? VIA_DRIVE_CHUNK : PAGE);
        r = via_drive_bounced(how) ? share_pool(m, rings, need, err) : share_both(m, rings, need, err);
    } else {
        m->rings = (struct via_arena){via_arena_take(&m->priv, rings), rings, 0};
        r = how == VIA_DRIVE_WINDOW ? share_window(m, err) : via_drive_memory_direct(m, err);
        if (!r && via_drive_mapped(how))
            r = stay(m, need->stay, m->rings.ptr, rings, err);
    }
    if (!r)
        fill_secrets(m);
    return r;
}

void via_drive_memory_close(struct via_drive_memory *m)
{
    struct via_memory *all[] = {&m->own, &m->pool, &m->other};
    via_drive_grow_close(m);
    if (m->lent)
        m->pool.ptr = NULL; /* not ours to take away */
    for (unsigned i = 0; i < via_array_len(all); i++)
        if (all[i]->ptr)
            via_memory_destroy(all[i]);
    free((void *)(uintptr_t)m->slot_map);
    *m = (struct via_drive_memory){.how = m->how};
}

int via_drive_address(struct via_drive_memory *m, void *ptr, size_t len, via_iova *out)
{
    struct via_seg seg;
    struct via_span span = {ptr, len};
    struct via_mapping map = {.seg = &seg, .cap = 1};
    int r = via_dma_map(m->lasting, &span, 1, 0, &map);
    if (r)
        return r;
    *out = seg.addr;
    via_dma_unmap(m->lasting, &map, 0);
    return 0;
}

int via_drive_canary_out(const struct via_drive_memory *m, const char *path, struct via_err *err)
{
    char tmp[4096];
    if (snprintf(tmp, sizeof(tmp), "%s.part", path) >= (int)sizeof(tmp))
        return via_err_set(err, -VIA_EINVAL, "--canary-out: the name is too long");
    FILE *f = fopen(tmp, "we");
    if (!f)
        return via_err_set(err, -errno, "can't write '%s': %s", tmp, strerror(errno));
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned k = 0; k < VIA_DRIVE_CANARY; k++)
            fprintf(f, "%02x", (unsigned)(m->canary[i][k] ^ 0xff));
        fputc('\n', f);
    }
    bool bad = ferror(f);
    /* Renamed when whole: a reader sees all of it or nothing. */
    if (fclose(f) || bad || rename(tmp, path))
        return via_err_set(err, -VIA_EIO, "can't write '%s': %s", path, strerror(errno));
    return 0;
}
