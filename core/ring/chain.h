/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chain: the one judge of descriptor chains. Every descriptor that a driver wrote, in a ring or in an indirect table, passes through
 * via_chain_take, whatever the ring's layout; via_chain_walk follows the `next` links that split rings and their tables have.
 */
#ifndef VIADUCT_RING_CHAIN_H
#define VIADUCT_RING_CHAIN_H

#include <viaduct/ring.h>

struct via_chain_rules {
    unsigned num;            /* queue size: the longest chain (2.7.5.3.1) */
    bool big;                /* its words are big-endian */
    const char *no_indirect; /* NULL: a chain may go on in a table here; else the offence of trying to */
};

/* Words of a legacy driver on a big-endian processor. Hardly a device has one: foretold, the question costs nothing. */
static inline uint16_t via_big16(uint16_t v, bool big) { return __builtin_expect(big, 0) ? __builtin_bswap16(v) : v; }
static inline uint32_t via_big32(uint32_t v, bool big) { return __builtin_expect(big, 0) ? __builtin_bswap32(v) : v; }
static inline uint64_t via_big64(uint64_t v, bool big) { return __builtin_expect(big, 0) ? __builtin_bswap64(v) : v; }

/* Judge one descriptor and append it, a segment or a reference to a table, to the chain. 0, or -VIA_EPROTO and *fault tells. */
VIA_MUST_USE int via_chain_take(struct via_chain *, const struct via_chain_rules *, uint64_t addr, uint32_t len, uint16_t flags,
                                struct via_fault *fault);

/*
 * Take all descriptors from entry `head` of a table of `size` entries on; each is read once, so the table may be the peer's to change.
 * 0, or -VIA_EPROTO.
 */
VIA_MUST_USE int via_chain_walk(struct via_chain *, const struct via_chain_rules *, const struct via_desc *table, unsigned size,
                                unsigned head, struct via_fault *fault);

#endif
