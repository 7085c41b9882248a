/* SPDX-License-Identifier: BSD-2-Clause */
/* A pool's free map, as its users (bounce.c) see it. */
#ifndef VIADUCT_DMA_POOL_H
#define VIADUCT_DMA_POOL_H

#include <viaduct/dma.h>

/* n slots are the caller's to claim, in whatever pieces. false: not so many are left. */
bool via_pool_reserve(struct via_pool *, uint32_t n);
/* Claim n slots in one run, of those reserved. false: no such run now; never for good when n is 1. hint: the word to begin at, updated. */
bool via_pool_claim(struct via_pool *, uint32_t n, uint32_t *hint, uint32_t *slot);
/* A run is free again. To be followed by via_pool_settle. */
void via_pool_give(struct via_pool *, uint32_t slot, uint32_t n);
/* n slots that were given, or reserved and not claimed, count as free again: wake who waits, but not `except` (a bit, or 0). */
void via_pool_settle(struct via_pool *, uint32_t n, uint64_t except);
/* Note that a queue waits. It has to try once more after this, before it says so. */
void via_pool_wait(struct via_pool *, uint64_t queue);
/* That try succeeded. */
void via_pool_wait_over(struct via_pool *, uint64_t queue);
/* Who waits is woken, but not `except`. */
void via_pool_wake(struct via_pool *, uint64_t except);

/* Keep a run back, if all of it is free: nobody else gets it. false: it is not. */
bool via_pool_keep(struct via_pool *, uint32_t slot, uint32_t n);
/* What was kept is free again: wake who waits, but not `except`. */
void via_pool_unkeep(struct via_pool *, uint32_t slot, uint32_t n, uint64_t except);

/* A pool of which nothing is free yet: everything is kept. -VIA_EINVAL as via_pool_init; base is the caller's to set. */
VIA_MUST_USE int via_pool_init_kept(struct via_pool *, struct via_dma *next, void *mem, size_t len, _Atomic uint64_t *free, size_t words);
/* next's address of these bytes. -VIA_ERANGE: none that is contiguous and aligned to a slot. */
VIA_MUST_USE int via_pool_address(struct via_dma *next, uint8_t *mem, uint64_t bytes, uint64_t *base);

#endif
