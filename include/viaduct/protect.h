/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * protect: pages of ours that nobody else reaches until we share them, in the room dma. A platform says how a page is shared and
 * unshared; what is counted here is which pages are shared, so that no private page's address ever goes to a device.
 *
 * Whether the host knows of it is the platform's matter. All that a driver needs of any of them is this.
 */
#ifndef VIADUCT_PROTECT_H
#define VIADUCT_PROTECT_H

#include <viaduct/dma.h>

#define VIA_PROTECT_PAGE 4096u

struct via_protect;
struct via_protect_ops {
    const char *name;
    /*
     * Convert n pages (1 or more) from number `page` on, which have the other state, or are in doubt since a conversion of them failed.
     * Their content is lost: they read as zeroes, or as noise, until something is written. A failure may come at any page: *done of them,
     * the first ones, are converted then, the next one is in doubt, the others are in the state that they were in. What was private among
     * those has its content still.
     */
    int (*share)(struct via_protect *, size_t page, size_t n, size_t *done);
    int (*unshare)(struct via_protect *, size_t page, size_t n, size_t *done);
};

struct via_protect_stats {
    uint64_t conversions;      /* calls of the platform's ops */
    uint64_t shared, unshared; /* pages converted */
    uint64_t failed;           /* calls that failed */
};

struct via_protect {
    const struct via_protect_ops *ops;
    uint8_t *mem; /* aligned to a page */
    size_t pages;
    /*
     * Two bits a page, perhaps shared and perhaps private, the caller's storage. Both are set while a page is converted, and after that
     * failed: such a page is neither shared enough for a device nor private enough for a secret.
     */
    _Atomic uint64_t *map;
    struct via_protect_stats stats;
};

#define VIA_PROTECT_WORDS(pages) (2 * (((size_t)(pages) + 63) / 64)) /* of `map` */

/*
 * mem: pages of VIA_PROTECT_PAGE bytes which are all private (or, with `shared`, all shared) now. -VIA_EINVAL: misaligned, none, or less
 * than VIA_PROTECT_WORDS(pages) words. Conversions come from one thread at a time; via_protect_is_shared and _is_private from any.
 */
VIA_MUST_USE int via_protect_init(struct via_protect *, const struct via_protect_ops *, void *mem, size_t pages, bool shared,
                                  _Atomic uint64_t *map, size_t words);
/*
 * Share, or make private, all pages from ptr on, len bytes (both whole pages); those that are so already are left alone, the others go to
 * the platform in runs. The content of what is converted is lost. Before unshare, the owner sees to it that no device has one of them
 * mapped. A failure is the platform's: what was converted before it stays converted. The page at which it failed is in doubt from then on,
 * until a conversion of it succeeds: nobody takes it for shared or for private by mistake. -VIA_EINVAL: not whole pages of mem.
 */
VIA_MUST_USE int via_protect_share(struct via_protect *, void *ptr, size_t len);
VIA_MUST_USE int via_protect_unshare(struct via_protect *, void *ptr, size_t len);
/*
 * The same, but the content stays, even of a page at which it failed: it goes through `scratch`, private memory outside of mem, cleared
 * afterwards. The larger it is, the longer the runs. Nobody else may use what is not yet converted. -VIA_EINVAL: less than a page of
 * scratch, too.
 */
VIA_MUST_USE int via_protect_share_keep(struct via_protect *, void *ptr, size_t len, struct via_span scratch);
VIA_MUST_USE int via_protect_unshare_keep(struct via_protect *, void *ptr, size_t len, struct via_span scratch);
/* All bytes lie on pages that are shared, without a doubt. False for what is not mem's, and for none. */
bool via_protect_is_shared(const struct via_protect *, const void *ptr, size_t len);
/* All bytes lie on pages that are private, without a doubt. False for what is not mem's, and for none. */
bool via_protect_is_private(const struct via_protect *, const void *ptr, size_t len);

/*
 * ------------------------------------------------------------------ encrypt: only what is shared gets an address
 *
 * A strategy on top of `next`: a buffer that is not all on shared pages is refused, and its address goes nowhere. Where the platform tells
 * shared from private memory by a bit of the address, too, the device's addresses say "shared": next's are those of private memory, as the
 * processor's are.
 */

struct via_address_bit {
    uint64_t bit;    /* one bit, of value VIA_PROTECT_PAGE at least; 0: there is none */
    bool shared_set; /* set: shared (as in Arm's realms); else set: private, as the C-bit of SEV is */
};
/* The bit says of all of [addr, addr + len) that it is shared, or private. True where there is no bit; false: len 0, wrapping. */
bool via_address_says(const struct via_address_bit *, uint64_t addr, uint64_t len, bool shared);

struct via_encrypt {
    struct via_dma dma;
    const struct via_protect *protect;
    struct via_address_bit bit;
    uint64_t refused; /* mappings, for a page that is not shared */
};
/*
 * map beyond next's results: -VIA_EPERM: a byte of a buffer is not on a shared page of protect's. -VIA_ERANGE, too: next's address is not a
 * private one by the bit. Nothing is mapped then. A pool over it (via_pool_init) is refused likewise. -VIA_EINVAL here: not one bit, or
 * below a page.
 */
VIA_MUST_USE int via_encrypt_init(struct via_encrypt *, struct via_dma *next, const struct via_protect *protect,
                                  struct via_address_bit bit);

#endif
