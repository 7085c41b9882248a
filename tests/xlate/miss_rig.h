/* SPDX-License-Identifier: BSD-2-Clause */
/* miss_rig: an IOTLB and the misses beside it, and short words for what is done to both. */
#ifndef VIADUCT_TESTS_XLATE_MISS_RIG_H
#define VIADUCT_TESTS_XLATE_MISS_RIG_H

#include <stdlib.h>
#include <string.h>

#include <tap.h>
#include <viaduct/xlate.h>

#define R VIA_PERM_R
#define W VIA_PERM_W
#define RW (VIA_PERM_R | VIA_PERM_W)
#define PAGE UINT64_C(4096)
#define ENTRIES 64u

static struct via_iotlb tlb;
static struct via_misses misses;
static void *tlb_storage, *miss_storage;
static uint8_t host[16 * 4096];
static via_iova at;

/* Counters say what the slots say. */
static inline bool sound(void)
{
    unsigned fresh = 0;
    for (uint32_t k = misses.first, before = UINT32_MAX; k != UINT32_MAX; before = k, k = misses.slot[k].after, fresh++)
        CHECK_OR_FALSE(misses.slot[k].before == before && fresh <= misses.capacity);
    CHECK_OR_FALSE(fresh == misses.fresh && misses.fresh + misses.refused <= misses.n && misses.n <= misses.capacity);
    unsigned found = 0;
    for (unsigned b = 0; b < misses.capacity; b++)
        for (uint32_t k = misses.bucket[b]; k != UINT32_MAX; k = misses.slot[k].next)
            CHECK_OR_FALSE(++found <= misses.capacity);
    CHECK_OR_FALSE(found == misses.n);
    unsigned free_slots = 0;
    for (uint32_t k = misses.free; k != UINT32_MAX; k = misses.slot[k].next)
        CHECK_OR_FALSE(++free_slots <= misses.capacity);
    return free_slots + found == misses.capacity;
}

static inline bool start_with(unsigned capacity, uint32_t entries)
{
    free(tlb_storage);
    free(miss_storage);
    tlb_storage = malloc(via_iotlb_bytes(entries));
    miss_storage = malloc(via_misses_bytes(capacity));
    CHECK_OR_FALSE(tlb_storage && miss_storage);
    CHECK_OR_FALSE(via_iotlb_init(&tlb, entries, tlb_storage) == 0);
    CHECK_OR_FALSE(via_misses_init(&misses, capacity, miss_storage) == 0);
    return sound();
}
static inline bool start(unsigned capacity) { return start_with(capacity, ENTRIES); }

/* By who came when so many questions had been asked. */
static inline int want_since(uint64_t addr, uint32_t len, unsigned perm, uint64_t since)
{
    struct via_seg seg = {{addr}, len};
    return via_misses_collect(&misses, &tlb.xlate, &seg, 1, perm, since, &at);
}
static inline int want(uint64_t addr, uint32_t len, unsigned perm) { return want_since(addr, len, perm, 0); }
static inline bool pending_since(uint64_t addr, uint64_t since) { return via_misses_pending(&misses, (via_iova){addr}, since); }
static inline bool pending(uint64_t addr) { return pending_since(addr, 0); }

/* An entry of the IOTLB without an answer. */
static inline bool put(uint64_t first, uint64_t last, unsigned perm)
{
    return via_iotlb_insert(&tlb, (via_iova){first}, (via_iova){last}, host, perm) == 0;
}
static inline void update(uint64_t first, uint64_t last, unsigned perm)
{
    via_misses_update(&misses, (via_iova){first}, (via_iova){last}, perm);
}
static inline bool answer(uint64_t page, unsigned perm)
{
    bool ok = put(page, page + (PAGE - 1), perm);
    update(page, page + (PAGE - 1), perm);
    return ok;
}
/* The next page to ask for is this one, with these rights. */
static inline bool asks(uint64_t page, unsigned perm, uint64_t now)
{
    const struct via_miss *m = via_misses_next(&misses, now);
    return m && m->page == page && m->perm == perm && m->asked_ns == now;
}
static inline bool asks_nothing(void) { return !via_misses_next(&misses, 0) && misses.fresh == 0; }

#endif
