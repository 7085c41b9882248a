/* SPDX-License-Identifier: BSD-2-Clause */
/* A front-end's memory regions, sorted by guest-physical address. */
#include <string.h>

#include <viaduct/xlate.h>

static bool overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len) { return a <= b + (b_len - 1) && b <= a + (a_len - 1); }

/*
 * The last region that starts at or below addr, the only one that can hold it; the first one if there is none. The steps depend on the
 * number of regions alone: a compiler can do without branches, which addresses would make hard to predict.
 */
static unsigned find(const struct via_memmap *map, uint64_t addr)
{
    const struct via_region *r = map->region;
    for (unsigned n = map->n; n > 1;) {
        unsigned half = n / 2;
        r += (size_t)(half * (unsigned)(r[half].gpa <= addr));
        n -= half;
    }
    return (unsigned)(r - map->region);
}

static int resolve(struct via_xlate *x, via_iova addr, uint64_t len, unsigned perm, struct via_span *span)
{
    struct via_memmap *map = via_container_of(x, struct via_memmap, xlate);
    const struct via_region *r = &map->region[map->last];
    uint64_t off = addr.v - r->gpa; /* below the region: wraps to more than any length */
    if (off >= r->len) {
        unsigned k = find(map, addr.v);
        r = &map->region[k];
        off = addr.v - r->gpa;
        if (off >= r->len)
            return -VIA_EFAULT;
        map->last = k;
    }
    if (len == 0 || len - 1 > UINT64_MAX - addr.v || (r->readonly && (perm & VIA_PERM_W)))
        return -VIA_EFAULT;
    *span = (struct via_span){r->ptr + off, (size_t)via_min64(len, r->len - off)};
    return 0;
}

static const struct via_xlate_ops memmap_ops = {.resolve = resolve};

void via_memmap_init(struct via_memmap *map)
{
    memset(map, 0, sizeof(*map));
    map->xlate.ops = &memmap_ops;
}

int via_memmap_add(struct via_memmap *map, const struct via_region *r)
{
    if (r->len == 0 || r->len - 1 > UINT64_MAX - r->gpa || r->len - 1 > UINT64_MAX - r->uva)
        return -VIA_EINVAL;
    for (unsigned i = 0; i < map->n; i++) {
        const struct via_region *o = &map->region[i];
        if (overlap(r->gpa, r->len, o->gpa, o->len) || overlap(r->uva, r->len, o->uva, o->len))
            return -VIA_EEXIST;
    }
    if (map->n == VIA_MEMMAP_REGIONS)
        return -VIA_ENOSPC;
    unsigned k = find(map, r->gpa);
    k += k < map->n && map->region[k].gpa < r->gpa;
    memmove(&map->region[k + 1], &map->region[k], (map->n - k) * sizeof(*r));
    map->region[k] = *r;
    map->n++;
    map->last = 0;
    return 0;
}

int via_memmap_remove(struct via_memmap *map, uint64_t gpa, uint64_t len, uint64_t uva, struct via_region *out)
{
    unsigned k = find(map, gpa);
    struct via_region *r = &map->region[k];
    if (len == 0 || r->gpa != gpa || r->len != len || r->uva != uva)
        return -VIA_ENOENT;
    *out = *r;
    map->n--;
    memmove(r, r + 1, (map->n - k) * sizeof(*r));
    map->region[map->n] = (struct via_region){0}; /* with none left, the first one has to be empty: it holds nothing */
    map->last = 0;
    map->xlate.generation++;
    return 0;
}

int via_memmap_at(const struct via_memmap *map, via_uva addr, uint64_t len, struct via_span *span)
{
    for (unsigned i = 0; i < map->n && len; i++) {
        const struct via_region *r = &map->region[i];
        uint64_t off = addr.v - r->uva; /* below the region: wraps to more than any length */
        if (off < r->len) {
            *span = (struct via_span){r->ptr + off, (size_t)via_min64(len, r->len - off)};
            return 0;
        }
    }
    return -VIA_EFAULT;
}

void *via_memmap_uva(const struct via_memmap *map, via_uva addr, uint64_t len)
{
    struct via_span span;
    return via_memmap_at(map, addr, len, &span) == 0 && span.len == len ? span.ptr : NULL;
}
