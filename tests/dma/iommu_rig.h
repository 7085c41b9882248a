/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A model of an IOMMU with a cache of translations as stale as one may be: it holds all that was mapped until a flush after its
 * unmap. The device of the tests reaches memory through this cache and in no other way.
 */
#ifndef TESTS_DMA_IOMMU_RIG_H
#define TESTS_DMA_IOMMU_RIG_H

#include <stdlib.h>
#include <string.h>

#include <tap.h>
#include <viaduct/iommu.h>

#define PAGE 4096u
enum { MODEL_PAGES = 128, MODEL_BASE = 0x700, MEM_PAGES = 64, PHYS_BASE = 0x40000 }; /* pages */

struct pte {
    uint32_t frame; /* of memory, 0 to MEM_PAGES - 1 */
    unsigned perm;  /* 0: none */
};

static _Alignas(4096) uint8_t mem[MEM_PAGES * PAGE]; /* the driver's */

static struct {
    struct via_domain domain;
    struct via_iova_space space;
    struct via_iova_node node[MODEL_PAGES];
    struct pte pte[MODEL_PAGES], tlb[MODEL_PAGES];
    struct via_phys_range range[MEM_PAGES]; /* memory in scattered frames */
    uint8_t *frame[MEM_PAGES];
    struct via_direct direct;
    unsigned maps, unmaps, flushes;
    unsigned calls, fail_at, fails; /* calls number fail_at to fail_at + fails - 1 fail */
    unsigned wrong;                 /* calls that no correct strategy makes */
    uint64_t seed;
} model;

static inline uint32_t below(uint32_t n)
{
    model.seed = model.seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((model.seed >> 33) % n);
}

static inline bool fails(void)
{
    model.calls++;
    return model.calls - model.fail_at < model.fails && model.calls >= model.fail_at;
}

/* The pages of [iova, last]: *n of them from the one returned on. */
static inline unsigned pages_in(uint64_t iova, uint64_t last, unsigned *n)
{
    uint64_t at = iova / PAGE - MODEL_BASE;
    *n = 0;
    if (iova % PAGE || last % PAGE != PAGE - 1 || last < iova || at >= MODEL_PAGES || last / PAGE - MODEL_BASE >= MODEL_PAGES) {
        model.wrong++;
        return 0;
    }
    *n = (unsigned)((last - iova) / PAGE + 1);
    return (unsigned)at;
}

/* A map that fails has done half of it. */
static inline int model_map(struct via_domain *d, uint64_t iova, uint64_t last, uint64_t phys, unsigned perm)
{
    unsigned n, at = pages_in(iova, last, &n);
    bool bad = fails();
    model.maps++;
    model.wrong += phys % PAGE || phys / PAGE < PHYS_BASE || phys / PAGE + n > PHYS_BASE + MEM_PAGES || !perm || d != &model.domain;
    for (unsigned i = 0; i < (bad ? (n + 1) / 2 : n) && !model.wrong; i++) {
        model.wrong += model.tlb[at + i].perm != 0; /* given out again before its flush */
        model.pte[at + i] = model.tlb[at + i] = (struct pte){(uint32_t)(phys / PAGE - PHYS_BASE) + i, perm};
    }
    return bad ? -VIA_ENOMEM : 0;
}

static inline int model_unmap(struct via_domain *d, uint64_t iova, uint64_t last)
{
    unsigned n, at = pages_in(iova, last, &n);
    (void)d;
    model.unmaps++;
    if (fails())
        return -VIA_EIO;
    memset(model.pte + at, 0, n * sizeof(model.pte[0]));
    return 0;
}

static inline int model_flush(struct via_domain *d)
{
    (void)d;
    model.flushes++;
    if (fails())
        return -VIA_EIO;
    memcpy(model.tlb, model.pte, sizeof(model.tlb));
    return 0;
}

static const struct via_iommu_ops model_ops = {model_map, model_unmap, model_flush};

/* pages: of addresses. */
static inline bool model_up(unsigned pages)
{
    memset(&model, 0, sizeof(model));
    model.domain.ops = &model_ops;
    model.seed = 7;
    for (uint32_t i = 0; i < MEM_PAGES; i++) { /* pages in pairs: next to one another, but for every other pair */
        uint32_t pair = i / 2 * 11 % (MEM_PAGES / 2), frame = pair * 2 + ((pair & 1) ? 1 - i % 2 : i % 2);
        model.range[i] = (struct via_phys_range){mem + (size_t)i * PAGE, PAGE, (uint64_t)(PHYS_BASE + frame) * PAGE};
        model.frame[frame] = mem + (size_t)i * PAGE;
    }
    struct via_iova_cfg cfg = {12, {MODEL_BASE * (uint64_t)PAGE, (MODEL_BASE + pages) * (uint64_t)PAGE - 1}, UINT64_MAX, NULL, 0};
    CHECK_OR_FALSE(via_direct_init(&model.direct, model.range, MEM_PAGES) == 0);
    CHECK_OR_FALSE(via_iova_init(&model.space, &cfg, model.node, MODEL_PAGES) == 0);
    return true;
}

/* The device's pointer to a byte; NULL: the IOMMU lets it through not. *len: cut to what is in the page. */
static inline uint8_t *reach(uint64_t addr, unsigned perm, size_t *len)
{
    uint64_t at = addr / PAGE - MODEL_BASE;
    if (*len > PAGE - addr % PAGE)
        *len = PAGE - addr % PAGE;
    if (at >= MODEL_PAGES || !(model.tlb[at].perm & perm))
        return NULL;
    return model.frame[model.tlb[at].frame] + addr % PAGE;
}

/* The device moves len bytes between segments and its own memory. */
static inline bool device_moves(const struct via_seg *seg, unsigned n, uint8_t *own, size_t len, unsigned perm)
{
    for (unsigned i = 0; i < n; i++)
        for (size_t pos = 0, take; pos < seg[i].len && len; pos += take, own += take, len -= take) {
            take = via_min64(seg[i].len - pos, len);
            uint8_t *at = reach(seg[i].addr.v + pos, perm, &take);
            CHECK_OR_FALSE(at != NULL);
            if (perm == VIA_IOMMU_READ)
                memcpy(own, at, take);
            else
                memcpy(at, own, take);
        }
    CHECK_OR_FALSE(len == 0);
    return true;
}

static inline unsigned reachable(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < MODEL_PAGES; i++)
        n += model.tlb[i].perm != 0;
    return n;
}

#endif
