/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest's memory on each platform that protects it, with a device that reaches it, and a model of what is to be. */
#ifndef VIADUCT_TESTS_PROTECT_RIG_H
#define VIADUCT_TESTS_PROTECT_RIG_H

#include <tap.h>
#include <viaduct/private.h>

#define PAGE ((size_t)VIA_PROTECT_PAGE)
#define PAGES 64u
#define PHYS UINT64_C(0x40000000)
/* What pages are filled with, plus the page's number. */
#define SECRET UINT64_C(0x5ec2e75ec2e75ec2)
#define OPEN UINT64_C(0x09e409e409e409e4)

struct platform {
    const char *name;
    bool knows; /* the host */
    struct via_address_bit bit;
};
#define PLATFORMS 4u
extern const struct platform platforms[PLATFORMS];

enum state { OWN, SHARED, DOUBT };

struct place {
    const struct platform *platform;
    struct via_private m;
    uint8_t *other;               /* a second mapping of the descriptor: all that others have */
    struct via_private_view view; /* the device's */
    struct via_phys_range range;
    struct via_direct direct;
    struct via_encrypt dma; /* the driver's */
    struct via_private_host host;
    size_t tell_fails_after; /* a host that is told: so many pages more; SIZE_MAX: never */
    bool tell_fails_once;
    enum state state[PAGES];
};

/* The so-many-th of mmap, mremap and fallocate fails from here on; 0: none does. */
extern unsigned protect_fail_in;

bool place_open(struct place *, const struct platform *, bool shared);
void place_close(struct place *);
static inline uint8_t *page_of(const struct place *p, size_t i) { return p->m.memory.ptr + i * PAGE; }
void fill(const struct place *, size_t page, uint64_t what);
void fill_all(const struct place *); /* each page as its state says: none in doubt */
bool holds(const uint8_t *page, uint64_t what);
int convert(struct place *, size_t page, size_t n, bool share);   /* the model is not changed */
void becomes(struct place *, size_t page, size_t n, bool shared); /* the model is, and the pages are filled */
/* The address by which a device would reach a byte, were it shared. */
uint64_t on_ring(const struct place *, uint64_t off);
/* What is counted is what the model says, and nothing of a private page is in the backing. */
bool agrees(const struct place *);
/* What was filled in is there: for others, what is shared and no more; for the device, by the addresses that its driver can get. */
bool kept(struct place *);

/* On each platform, once on memory that is private at first and once on memory that is shared. */
void on_each(bool (*test)(const struct platform *, bool shared));

#endif
