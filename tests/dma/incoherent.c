/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory, a cache that a device does not see, and posted writes. */
#include <stdlib.h>
#include <string.h>

#include <tap.h>

#include "incoherent.h"

enum { ABSENT, CLEAN, DIRTY };
enum { POISON = 0xdd, QUEUE = 8192 };

static struct incoherent *world; /* the one that is open */

uint32_t incoherent_below(struct incoherent *w, uint32_t n)
{
    w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((w->seed >> 33) % n);
}

/* ------------------------------------------------------------------ posted writes */

static void arrive(struct incoherent_queue *q, unsigned n)
{
    for (; n && q->n; n--) {
        const struct incoherent_write *e = &q->entry[q->first];
        memcpy(e->to, e->byte, e->len);
        q->first = (q->first + 1) % QUEUE;
        q->n--;
    }
}

void incoherent_post(struct incoherent *w, struct incoherent_queue *q, void *to, const void *from, size_t len)
{
    if (!w->posted) {
        memcpy(to, from, len);
        return;
    }
    for (size_t at = 0; at < len;) {
        if (q->n == QUEUE) /* a bridge has only so much room */
            arrive(q, 1);
        struct incoherent_write *e = &q->entry[(q->first + q->n) % QUEUE];
        *e = (struct incoherent_write){.to = (uint8_t *)to + at, .len = (uint32_t)via_min64(len - at, sizeof(e->byte))};
        memcpy(e->byte, (const uint8_t *)from + at, e->len);
        at += e->len;
        q->n++;
    }
}

void incoherent_flush(struct incoherent *w)
{
    arrive(&w->out, QUEUE);
    arrive(&w->back, QUEUE);
}

/* ------------------------------------------------------------------ lines */

static void forget(struct incoherent *w, size_t line)
{
    w->state[line] = ABSENT;
    memset(w->cpu + line * w->line, POISON, w->line);
}

static void fetch(struct incoherent *w, size_t line)
{
    if (w->state[line] != ABSENT)
        return;
    arrive(&w->out, QUEUE);
    memcpy(w->cpu + line * w->line, w->memory + line * w->line, w->line);
    w->state[line] = CLEAN;
}

static void write_back(struct incoherent *w, size_t line)
{
    if (w->state[line] != DIRTY)
        return;
    incoherent_post(w, &w->out, w->memory + line * w->line, w->cpu + line * w->line, w->line);
    w->state[line] = CLEAN;
}

void incoherent_weather(struct incoherent *w)
{
    size_t lines = w->bytes / w->line;
    bool storm = incoherent_below(w, 8) == 0;
    for (size_t n = storm ? lines : incoherent_below(w, 16), i = 0; i < n; i++) {
        size_t line = storm ? i : incoherent_below(w, (uint32_t)lines);
        switch (incoherent_below(w, 4)) {
        case 0:
            fetch(w, line);
            break;
        case 1:
            write_back(w, line);
            break;
        case 2:
            write_back(w, line);
            forget(w, line);
            break;
        default:
            break;
        }
    }
    if (incoherent_below(w, 3) == 0)
        arrive(&w->out, incoherent_below(w, 8));
    if (incoherent_below(w, 3) == 0)
        arrive(&w->back, incoherent_below(w, 8));
}

static bool ours(const struct incoherent *w, const void *ptr)
{
    return w && (uintptr_t)ptr >= (uintptr_t)w->cpu && (uintptr_t)ptr - (uintptr_t)w->cpu < w->bytes;
}

static size_t first_of(const struct incoherent *w, const void *ptr) { return (size_t)((const uint8_t *)ptr - w->cpu) / w->line; }

static size_t last_of(const struct incoherent *w, const void *ptr, size_t len) { return first_of(w, (const uint8_t *)ptr + len - 1); }

void incoherent_clean(struct incoherent *w, const void *ptr, size_t len)
{
    for (size_t line = first_of(w, ptr); line <= last_of(w, ptr, len); line++)
        write_back(w, line);
    incoherent_weather(w);
}

void incoherent_invalidate(struct incoherent *w, const void *ptr, size_t len)
{
    for (size_t line = first_of(w, ptr); line <= last_of(w, ptr, len); line++)
        forget(w, line);
    incoherent_weather(w);
}

void incoherent_read(struct incoherent *w, const void *ptr, void *to, size_t len)
{
    const uint8_t *p = ptr;
    for (size_t i = 0, take; i < len; i += take) {
        take = via_min64(len - i, w->line - (uintptr_t)(p + i) % w->line);
        fetch(w, first_of(w, p + i));
        memcpy((uint8_t *)to + i, p + i, take);
    }
}

void incoherent_write(struct incoherent *w, void *ptr, const void *from, size_t len)
{
    uint8_t *p = ptr;
    for (size_t i = 0, take; i < len; i += take) {
        take = via_min64(len - i, w->line - (uintptr_t)(p + i) % w->line);
        fetch(w, first_of(w, p + i));
        memcpy(p + i, (const uint8_t *)from + i, take);
        w->state[first_of(w, p + i)] = DIRTY;
    }
}

/* ------------------------------------------------------------------ what core does its bulk accesses by */

void via_shm_read(void *dst, const void *shared, size_t len)
{
    uint8_t part[256];
    for (size_t i = 0, take; i < len; i += take) {
        const uint8_t *from = (const uint8_t *)shared + i;
        take = via_min64(len - i, sizeof(part));
        if (ours(world, from))
            incoherent_read(world, from, part, take);
        else
            memcpy(part, from, take);
        if (ours(world, (uint8_t *)dst + i))
            incoherent_write(world, (uint8_t *)dst + i, part, take);
        else
            memcpy((uint8_t *)dst + i, part, take);
    }
}

void via_shm_write(void *shared, const void *src, size_t len) { via_shm_read(shared, src, len); }

void via_shm_zero(void *shared, size_t len)
{
    static const uint8_t zero[256];
    for (size_t i = 0; i < len; i += sizeof(zero))
        via_shm_read((uint8_t *)shared + i, zero, via_min64(len - i, sizeof(zero)));
}

/* ------------------------------------------------------------------ the whole */

uint8_t *incoherent_at(const struct incoherent *w, uint64_t addr, size_t len)
{
    return via_range_inside(addr, len, INCOHERENT_PHYS, INCOHERENT_PHYS + w->bytes - 1) ? w->memory + (addr - INCOHERENT_PHYS) : NULL;
}

bool incoherent_open(struct incoherent *w, size_t bytes, size_t line, bool posted, uint64_t seed)
{
    *w = (struct incoherent){.bytes = bytes, .line = line, .posted = posted, .seed = seed};
    w->cpu = aligned_alloc(4096, bytes);
    w->memory = malloc(bytes);
    w->state = malloc(bytes / line);
    w->out.entry = calloc(QUEUE, sizeof(*w->out.entry));
    w->back.entry = calloc(QUEUE, sizeof(*w->back.entry));
    CHECK_OR_FALSE(w->cpu && w->memory && w->state && w->out.entry && w->back.entry && !world);
    for (size_t i = 0; i < bytes; i++) /* what was there before us */
        w->memory[i] = (uint8_t)incoherent_below(w, 256);
    for (size_t i = 0; i < bytes / line; i++)
        forget(w, i);
    world = w;
    return true;
}

void incoherent_close(struct incoherent *w)
{
    free(w->cpu);
    free(w->memory);
    free(w->state);
    free(w->out.entry);
    free(w->back.entry);
    world = NULL;
}
