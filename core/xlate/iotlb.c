/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device IOTLB. Entries stay where they are; a tree has them in order, and a table of hints, by page, says which entry was found there
 * last. A hint is never believed: the entry that it names is asked whether it holds the address. As entries are disjoint, one that does is
 * the right one, and so no removal has to look for hints.
 */
#include <string.h>

#include "tree.h"

#define LINE 64u
#define HINTS_MIN 64u /* pairs */
#define HINTS_EACH 2u /* pairs for an entry: few pages meet a third one in their pair */
#define WIDE (1u << 20)
#define WHOLE 40u
#define RIGHTS (VIA_PERM_R | VIA_PERM_W)
#define UNUSED 4u        /* a mark beside the rights that an entry lacks: not used since the hand came by */
#define NUMBER 0xffffffu /* the bits of a hint that name an entry; the others are a tag */

_Static_assert(VIA_IOTLB_ENTRIES_MAX - 1 == NUMBER, "a hint can name each entry");

static inline bool holds(const struct via_iotlb_entry *e, uint64_t addr) { return addr >= e->start && addr <= e->last; }

/*
 * Pages times the golden ratio: neighbouring ones, and ones at any one distance, end up far from one another. From bit WHOLE on stands the
 * number of a pair (and more, which the mask drops), below it a fraction of which eight bits make the tag.
 */
static inline uint64_t hash(const struct via_iotlb *t, uint64_t addr) { return (addr >> 12) * t->factor; }
static inline uint32_t *pair(const struct via_iotlb *t, uint64_t h) { return t->hint[(h >> WHOLE) & t->mask]; }
static inline uint32_t tag(uint64_t h) { return (uint32_t)h & ~NUMBER; }

static inline void give(const struct via_iotlb_entry *e, uint64_t addr, uint64_t len, struct via_span *span)
{
    *span = (struct via_span){(void *)(uintptr_t)(addr + e->delta), (size_t)via_min64(len - 1, e->last - addr) + 1};
}

static struct via_iotlb_entry *search(struct via_iotlb *t, uint64_t addr)
{
    struct via_iotlb_entry *e = &t->entry[t->recent]; /* a range of many pages is not looked for page by page */
    if (holds(e, addr))
        return e;
    uint64_t h = hash(t, addr);
    uint32_t *hint = pair(t, h), k = hint[0] & NUMBER;
    if (holds(&t->entry[k], addr)) /* the other one has the same tag */
        return &t->entry[k];
    k = via_tree_floor(&t->tree, addr);
    if (k == VIA_TREE_NONE || !holds(&t->entry[k], addr))
        return NULL;
    hint[1] = hint[0];
    hint[0] = k | tag(h);
    t->recent = k;
    return &t->entry[k];
}

/* No hint or a wrong one, a refusal, or the first use for a while. Out of line, so that the usual case needs no stack. */
__attribute__((noinline)) static int unusual(struct via_iotlb *t, uint64_t addr, uint64_t len, unsigned perm, struct via_span *span)
{
    if (len == 0 || len - 1 > UINT64_MAX - addr)
        return -VIA_EFAULT;
    struct via_iotlb_entry *e = search(t, addr);
    if (!e)
        return -VIA_EAGAIN;
    if (e->marks & perm & RIGHTS)
        return -VIA_EFAULT;
    e->marks &= (uint8_t)~UNUSED;
    give(e, addr, len, span);
    return 0;
}

static int resolve(struct via_xlate *x, via_iova addr, uint64_t len, unsigned perm, struct via_span *span)
{
    struct via_iotlb *t = via_container_of(x, struct via_iotlb, xlate);
    uint64_t h = hash(t, addr.v);
    const uint32_t *hint = pair(t, h);
    /* The tag chooses, without a branch: which of the two it is can't be guessed. */
    const struct via_iotlb_entry *e = &t->entry[hint[(hint[1] & ~NUMBER) == tag(h)] & NUMBER];
    if (!holds(e, addr.v) || (e->marks & (perm | UNUSED)) || len == 0 || len - 1 > UINT64_MAX - addr.v)
        return unusual(t, addr.v, len, perm, span);
    give(e, addr.v, len, span);
    return 0;
}

static const struct via_xlate_ops iotlb_ops = {.resolve = resolve};

/* ------------------------------------------------------------------ storage */

static uint64_t hint_pairs(uint32_t capacity)
{
    uint64_t n = HINTS_MIN;
    while (n < (uint64_t)capacity * HINTS_EACH && n < 1u << (64 - WHOLE))
        n *= 2;
    return n;
}

static size_t lines(size_t bytes) { return (bytes + LINE - 1) / LINE * LINE; }
static size_t entry_bytes(uint32_t capacity) { return lines(capacity * sizeof(struct via_iotlb_entry)); }
static size_t hint_bytes(uint32_t capacity) { return lines(hint_pairs(capacity) * 2 * sizeof(uint32_t)); }

size_t via_iotlb_bytes(uint32_t capacity)
{
    return LINE - 1 + entry_bytes(capacity) + hint_bytes(capacity) + via_tree_nodes(capacity) * sizeof(struct via_tree_node);
}

/* Everything is free, entries that hints still name included. */
static void clear(struct via_iotlb *t)
{
    uint32_t n = t->fresh ? t->fresh : 1; /* the first one, at least: all hints name it in the beginning */
    for (uint32_t i = 0; i < n; i++)
        t->entry[i] = (struct via_iotlb_entry){.start = 1, .last = 0};
    via_tree_pool_init(&t->nodes, t->nodes.node);
    via_tree_init(&t->tree, &t->nodes);
    t->n = t->fresh = t->hand = 0;
    t->free = VIA_TREE_NONE;
}

int via_iotlb_init(struct via_iotlb *t, uint32_t capacity, void *storage)
{
    if (capacity == 0 || capacity > VIA_IOTLB_ENTRIES_MAX)
        return -VIA_EINVAL;
    char *at = (char *)storage + (-(uintptr_t)storage & (LINE - 1));
    *t = (struct via_iotlb){.xlate.ops = &iotlb_ops, .capacity = capacity};
    t->entry = (void *)at;
    t->hint = (void *)(at += entry_bytes(capacity));
    t->nodes.node = (void *)(at + hint_bytes(capacity));
    t->mask = hint_pairs(capacity) - 1;
    t->factor = 0x9e3779b97f4a7c15u; /* 2^64 over the golden ratio; times 2^WHOLE and the number of pairs is what we want */
    for (uint64_t n = t->mask + 1; n < 1u << (64 - WHOLE); n *= 2)
        t->factor /= 2;
    memset(t->hint, 0, hint_bytes(capacity));
    clear(t);
    return 0;
}

/* ------------------------------------------------------------------ entries come and go */

static void drop(struct via_iotlb *t, uint32_t k)
{
    via_tree_remove(&t->tree, t->entry[k].start);
    t->entry[k] = (struct via_iotlb_entry){.start = 1, .last = 0, .next = t->free};
    t->free = k;
    t->n--;
}

/*
 * Second chance: the hand passes an entry that was used since it came by last. A new entry counts as used, so that what a request waits for
 * is not gone before its turn comes. All entries are in use when this is called.
 */
static void evict(struct via_iotlb *t)
{
    for (;;) {
        uint32_t k = t->hand;
        t->hand = k + 1 < t->capacity ? k + 1 : 0;
        if (t->entry[k].marks & UNUSED) {
            drop(t, k);
            t->evictions++;
            t->xlate.generation++;
            return;
        }
        t->entry[k].marks |= UNUSED;
    }
}

static void add(struct via_iotlb *t, struct via_iotlb_entry e)
{
    if (t->n == t->capacity)
        evict(t);
    uint32_t k = t->free;
    if (k != VIA_TREE_NONE)
        t->free = t->entry[k].next;
    else
        k = t->fresh++;
    t->entry[k] = e;
    t->n++;
    via_tree_insert(&t->tree, e.start, k);
}

/* ------------------------------------------------------------------ removing */

/* The first entry that has bytes from start to last. */
static uint32_t first(const struct via_iotlb *t, uint64_t start, uint64_t last)
{
    uint32_t k = via_tree_floor(&t->tree, start);
    if (k == VIA_TREE_NONE || t->entry[k].last < start)
        k = via_tree_above(&t->tree, start);
    return k == VIA_TREE_NONE || t->entry[k].start > last ? VIA_TREE_NONE : k;
}

static bool covers_all(const struct via_iotlb *t, uint64_t start, uint64_t last)
{
    uint32_t low = first(t, 0, UINT64_MAX), high = via_tree_floor(&t->tree, UINT64_MAX);
    return low != VIA_TREE_NONE && t->entry[low].start >= start && t->entry[high].last <= last;
}

/* Take the bytes from start to last, of which it has some, away from an entry. */
static void cut(struct via_iotlb *t, uint32_t k, uint64_t start, uint64_t last)
{
    struct via_iotlb_entry *e = &t->entry[k], rest = *e;
    if (e->start >= start && e->last <= last) {
        drop(t, k);
        return;
    }
    if (e->last > last)
        rest.start = last + 1;
    if (e->start >= start) {
        via_tree_rekey(&t->tree, e->start, rest.start);
        *e = rest;
        return;
    }
    e->last = start - 1;
    if (rest.last > last)
        add(t, rest); /* may evict, even what was just cut: to forget is always right */
}

void via_iotlb_remove(struct via_iotlb *t, via_iova start, via_iova last)
{
    if (start.v > last.v)
        return;
    if (last.v - start.v >= WIDE && covers_all(t, start.v, last.v)) { /* for less, the look-ups cost more than they spare */
        clear(t);
        t->xlate.generation++;
        return;
    }
    for (uint32_t k; (k = first(t, start.v, last.v)) != VIA_TREE_NONE;) {
        t->xlate.generation++;
        cut(t, k, start.v, last.v);
    }
}

/* ------------------------------------------------------------------ inserting */

static bool same(const struct via_iotlb_entry *a, const struct via_iotlb_entry *b)
{
    return a->delta == b->delta && (a->marks & RIGHTS) == (b->marks & RIGHTS);
}

/* b, which is above a, begins where a ends, in both address spaces, with the same rights. */
static bool continues(const struct via_iotlb_entry *a, const struct via_iotlb_entry *b) { return a->last == b->start - 1 && same(a, b); }

int via_iotlb_insert(struct via_iotlb *t, via_iova start, via_iova last, void *ptr, unsigned perm)
{
    uint64_t at = (uintptr_t)ptr;
    if (start.v > last.v || !ptr || perm == 0 || (perm & ~(unsigned)RIGHTS) || last.v - start.v > UINTPTR_MAX - at)
        return -VIA_EINVAL;
    struct via_iotlb_entry e = {.start = start.v, .last = last.v, .delta = at - start.v, .marks = (uint8_t)(perm ^ RIGHTS)};
    uint32_t k = via_tree_floor(&t->tree, start.v);
    if (k != VIA_TREE_NONE && t->entry[k].last >= last.v && same(&t->entry[k], &e))
        return 0; /* known: an answer that came twice is no change */
    via_iotlb_remove(t, start, last);
    k = via_tree_above(&t->tree, start.v);
    if (k != VIA_TREE_NONE && continues(&e, &t->entry[k])) {
        e.last = t->entry[k].last;
        drop(t, k);
    }
    k = via_tree_floor(&t->tree, start.v);
    if (k != VIA_TREE_NONE && continues(&t->entry[k], &e)) {
        t->entry[k].last = e.last;
        t->entry[k].marks = e.marks;
    } else {
        add(t, e);
    }
    return 0;
}
