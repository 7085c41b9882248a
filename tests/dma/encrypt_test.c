/* SPDX-License-Identifier: BSD-2-Clause */
/* encrypt: no address of a page that is not shared, and the bit on each address of one that is, alone and in stacks. */
#include "rig.h"
#include <viaduct/protect.h>

#define PAGES 16u
#define BIT (UINT64_C(1) << 47)
#define PHYS UINT64_C(0x10000000)
#define HALF (PAGES / 2 * SLOT) /* pages before are shared */

static _Alignas(4096) uint8_t mem[PAGES * SLOT];
static _Atomic uint64_t map[VIA_PROTECT_WORDS(PAGES)];
static struct via_seg seg[16];
static struct via_protect protect;
static struct via_direct direct;
static struct via_phys_range range;

static int no_work(struct via_protect *p, size_t page, size_t n, size_t *done) { return (void)p, (void)page, (void)n, (void)done, 0; }

static int breaks(struct via_protect *p, size_t page, size_t n, size_t *done) { return (void)p, (void)page, (void)n, *done = 0, -VIA_EIO; }

static const struct via_protect_ops works = {"works", no_work, no_work}, fails = {"fails", breaks, breaks};

static const struct via_address_bit bits[] = {{0, false}, {BIT, true}, {BIT, false}};

static struct via_mapping mapping(unsigned cap) { return (struct via_mapping){.seg = seg, .cap = (uint16_t)cap}; }

/* The first half of mem is shared, and its physical addresses are what the processor uses of this bit. */
static bool set_up(const struct via_address_bit *bit)
{
    range = (struct via_phys_range){mem, sizeof(mem), PHYS | (bit->shared_set ? 0 : bit->bit)};
    CHECK_OR_FALSE(via_protect_init(&protect, &works, mem, PAGES, false, map, via_array_len(map)) == 0);
    CHECK_OR_FALSE(via_protect_share(&protect, mem, HALF) == 0);
    CHECK_OR_FALSE(via_direct_init(&direct, &range, 1) == 0);
    return true;
}

/* What stands on a ring for a byte of mem. */
static uint64_t on_ring(const struct via_address_bit *bit, uint64_t off) { return PHYS + off + (bit->shared_set ? bit->bit : 0); }

/* ------------------------------------------------------------------ a next that keeps a book */

struct book {
    struct via_dma dma;
    unsigned live, syncs;
    uint64_t found; /* sum of the addresses that it finds at unmap and sync */
};

static uint64_t sum(const struct via_mapping *m)
{
    uint64_t s = 0;
    for (unsigned i = 0; i < (unsigned)m->n_out + m->n_in; i++)
        s = s * 31 + m->seg[i].addr.v;
    return s;
}

static int book_map(struct via_dma *dma, const struct via_span *buf, unsigned out, unsigned in, struct via_mapping *m)
{
    struct book *b = via_container_of(dma, struct book, dma);
    int r = via_dma_map(dma->next, buf, out, in, m);
    b->live += r == 0;
    b->found = r == 0 ? sum(m) : 0;
    return r;
}

static void book_unmap(struct via_dma *dma, struct via_mapping *m, uint32_t written)
{
    struct book *b = via_container_of(dma, struct book, dma);
    b->live--;
    b->found = sum(m) + written;
    via_dma_unmap(dma->next, m, written);
}

static int book_sync(struct via_dma *dma, struct via_mapping *m, enum via_owner to, uint32_t written)
{
    struct book *b = via_container_of(dma, struct book, dma);
    b->syncs++;
    b->found = sum(m) + written + to;
    return via_dma_sync(dma->next, m, to, written) < 0 ? -1 : -VIA_EIO;
}

static const struct via_dma_ops book_ops = {"book", book_map, book_unmap, book_sync};

/* ------------------------------------------------------------------ alone */

static void shared_pages_get_an_address_that_says_so(void)
{
    for (unsigned k = 0; k < via_array_len(bits); k++) {
        struct via_encrypt e;
        struct via_span buf[] = {{mem, 1}, {mem + 4095, 2}, {mem + HALF - 1, 1}, {mem + SLOT, 3 * SLOT}};
        struct via_mapping m = mapping(4);
        CHECK(set_up(&bits[k]));
        struct book book = {.dma = {&book_ops, &direct.dma}};
        CHECK_EQ(via_encrypt_init(&e, &book.dma, &protect, bits[k]), 0);
        CHECK_EQ(via_dma_map(&e.dma, buf, 1, 3, &m), 0);
        CHECK(m.n_out == 1 && m.n_in == 3 && book.live == 1);
        uint64_t given = book.found, ring = sum(&m);
        for (unsigned i = 0; i < 4; i++)
            CHECK(seg[i].addr.v == on_ring(&bits[k], (uint64_t)((uint8_t *)buf[i].ptr - mem)) && seg[i].len == buf[i].len);
        CHECK_EQ(via_dma_sync(&e.dma, &m, VIA_OWNER_DEVICE, 3), -VIA_EIO); /* next's answer is passed on */
        CHECK(book.syncs == 1 && book.found == given + 3 + VIA_OWNER_DEVICE && sum(&m) == ring);
        via_dma_unmap(&e.dma, &m, 7);
        CHECK(book.live == 0 && book.found == given + 7 && e.refused == 0);
    }
}

static void anything_else_is_refused(void)
{
    uint8_t elsewhere[2];
    struct via_span bad[] = {{mem + HALF, 1}, {mem + HALF - 1, 2}, {mem, HALF + 1}, {mem + sizeof(mem) - 1, 1}, {elsewhere, 1}};
    for (unsigned k = 0; k < via_array_len(bits); k++) {
        struct via_encrypt e;
        struct via_mapping m = mapping(4);
        CHECK(set_up(&bits[k]));
        struct book book = {.dma = {&book_ops, &direct.dma}};
        CHECK_EQ(via_encrypt_init(&e, &book.dma, &protect, bits[k]), 0);
        for (unsigned i = 0; i < via_array_len(bad); i++)
            for (unsigned at = 0; at < 3; at++) {
                struct via_span buf[] = {{mem, 8}, {mem, 8}, {mem, 8}};
                buf[at] = bad[i];
                seg[0] = seg[1] = seg[2] = (struct via_seg){{0}, 0};
                CHECK_EQ(via_dma_map(&e.dma, buf, 2, 1, &m), -VIA_EPERM);
                CHECK(book.live == 0 && !seg[0].len && !seg[1].len && !seg[2].len);
            }
        CHECK_EQ(e.refused, 3 * via_array_len(bad));
        struct via_span empty = {mem, 0}, one = {mem, 1};
        CHECK_EQ(via_dma_map(&e.dma, &empty, 1, 0, &m), -VIA_EINVAL);
        CHECK_EQ(via_dma_map(&e.dma, &one, 0, 0, &m), -VIA_EINVAL);
        CHECK(e.refused == 3 * via_array_len(bad) && book.live == 0);
    }
}

/* A page in doubt may be private: it gets no address either. Nor does one that was shared and is no more. */
static void doubt_is_not_enough(void)
{
    struct via_encrypt e;
    struct via_mapping m = mapping(1);
    struct via_span buf = {mem, SLOT};
    CHECK(set_up(&bits[1]));
    CHECK_EQ(via_encrypt_init(&e, &direct.dma, &protect, bits[1]), 0);
    for (unsigned share = 0; share < 2; share++) {
        buf.ptr = mem + (share ? HALF : 0);
        protect.ops = &fails;
        CHECK_EQ(share ? via_protect_share(&protect, buf.ptr, SLOT) : via_protect_unshare(&protect, buf.ptr, SLOT), -VIA_EIO);
        CHECK_EQ(via_dma_map(&e.dma, &buf, 1, 0, &m), -VIA_EPERM);
        protect.ops = &works;
        CHECK_EQ(via_protect_share(&protect, buf.ptr, SLOT), 0);
        CHECK_EQ(via_dma_map(&e.dma, &buf, 1, 0, &m), 0);
        via_dma_unmap(&e.dma, &m, 0);
        CHECK_EQ(via_protect_unshare(&protect, buf.ptr, SLOT), 0);
        CHECK_EQ(via_dma_map(&e.dma, &buf, 1, 0, &m), -VIA_EPERM);
    }
}

/* Addresses that carry the bit already, or lack what they should have, or come to where it changes. */
static void the_bit_is_never_there_twice_nor_missing(void)
{
    static const struct {
        uint64_t bit, phys;
        bool shared_set;
        int result;
    } at[] = {
        {BIT, BIT | PHYS, true, -VIA_ERANGE}, {BIT, PHYS, false, -VIA_ERANGE},           {BIT, BIT - SLOT, true, -VIA_ERANGE},
        {BIT, BIT - HALF, true, 0},           {BIT, 2 * BIT - SLOT, false, -VIA_ERANGE}, {BIT, 2 * BIT - HALF, false, 0},
        {SLOT, 0, true, -VIA_ERANGE},         {2 * SLOT, 0, true, -VIA_ERANGE},          {HALF, 0, true, 0},
        {HALF, HALF, true, -VIA_ERANGE},      {UINT64_C(1) << 63, PHYS, true, 0},
    };
    for (unsigned i = 0; i < via_array_len(at); i++) {
        struct via_encrypt e;
        struct via_mapping m = mapping(1);
        struct via_span buf = {mem, HALF};
        CHECK(set_up(&bits[0]));
        range.phys = at[i].phys;
        CHECK_EQ(via_direct_init(&direct, &range, 1), 0);
        struct book book = {.dma = {&book_ops, &direct.dma}};
        CHECK_EQ(via_encrypt_init(&e, &book.dma, &protect, (struct via_address_bit){at[i].bit, at[i].shared_set}), 0);
        CHECK_EQ(via_dma_map(&e.dma, &buf, 0, 1, &m), at[i].result);
        CHECK_EQ(book.live, at[i].result == 0);
        CHECK(at[i].result < 0 || seg[0].addr.v == (at[i].phys ^ at[i].bit));
        if (at[i].result == 0)
            via_dma_unmap(&e.dma, &m, 0);
    }
    const struct via_address_bit two = {3 * SLOT, true}, low = {SLOT / 2, true};
    struct via_encrypt e;
    CHECK_EQ(via_encrypt_init(&e, &direct.dma, &protect, two), -VIA_EINVAL);
    CHECK_EQ(via_encrypt_init(&e, &direct.dma, &protect, low), -VIA_EINVAL);
    CHECK_EQ(via_encrypt_init(&e, NULL, &protect, bits[0]), -VIA_EINVAL);
    CHECK_EQ(via_encrypt_init(&e, &direct.dma, NULL, bits[0]), -VIA_EINVAL);
    CHECK_EQ(via_encrypt_init(&e, &direct.dma, &protect, (struct via_address_bit){SLOT, true}), 0);
}

/* All of a small space: two pages of addresses on either side of each change of the bit. */
static void what_a_bit_says(void)
{
    const struct via_address_bit none = {0, true};
    for (unsigned set = 0; set < 2; set++) {
        const struct via_address_bit b = {8 * SLOT, set};
        for (uint64_t addr = 0; addr < 40 * SLOT; addr += SLOT / 2)
            for (uint64_t len = SLOT / 2; len < 20 * SLOT; len += SLOT / 2) {
                unsigned with = 0, without = 0;
                for (uint64_t a = addr; a < addr + len; a += SLOT / 2)
                    *(a & b.bit ? &with : &without) += 1;
                CHECK(via_address_says(&b, addr, len, true) == !(set ? without : with));
                CHECK(via_address_says(&b, addr, len, false) == !(set ? with : without));
            }
    }
    CHECK(via_address_says(&none, 5, 1, true) && via_address_says(&none, 5, 1, false) && !via_address_says(&none, 5, 0, true));
    CHECK(via_address_says(&none, UINT64_MAX, 1, true) && !via_address_says(&none, UINT64_MAX, 2, true));
}

/* ------------------------------------------------------------------ in stacks */

static void a_pool_that_is_not_shared_is_refused(void)
{
    static _Atomic uint64_t slots[1];
    for (unsigned k = 0; k < via_array_len(bits); k++) {
        struct via_encrypt e;
        struct via_pool p;
        CHECK(set_up(&bits[k]));
        CHECK_EQ(via_encrypt_init(&e, &direct.dma, &protect, bits[k]), 0);
        CHECK_EQ(via_pool_init(&p, &e.dma, mem + HALF, HALF, slots, 1), -VIA_EPERM);
        CHECK_EQ(via_pool_init(&p, &e.dma, mem, HALF + SLOT, slots, 1), -VIA_EPERM);
        CHECK_EQ(via_pool_init(&p, &e.dma, mem, HALF, slots, 1), 0);
        CHECK_EQ(p.base, on_ring(&bits[k], 0));
    }
}

static unsigned misuses;

static void report(struct via_check *c, enum via_misuse what, const struct via_mapping *m)
{
    (void)c, (void)m;
    tap_note(via_misuse_name(what));
    misuses++;
}

/* check over bounce over encrypt over window over direct: private buffers, shared slots, addresses of the bus with the bit. */
static void a_stack_of_all(void)
{
    static _Atomic uint64_t slots[1];
    static struct via_check_entry entry[8];
    for (unsigned k = 0; k < via_array_len(bits); k++) {
        CHECK(set_up(&bits[k]));
        uint64_t plain = bits[k].shared_set ? 0 : bits[k].bit;
        struct via_bank bank = {PHYS | plain, (PHYS | plain) + sizeof(mem) - 1, UINT64_C(0x80000000) | plain};
        struct via_window w;
        struct via_encrypt e;
        struct via_pool p;
        struct via_bounce b;
        struct via_check c;
        CHECK_EQ(via_window_init(&w, &direct.dma, &bank, 1), 0);
        CHECK_EQ(via_encrypt_init(&e, &w.dma, &protect, bits[k]), 0);
        CHECK_EQ(via_pool_init(&p, &e.dma, mem, HALF, slots, 1), 0);
        CHECK_EQ(via_bounce_init(&b, &p, 0, 4), 0);
        CHECK_EQ(via_check_init(&c, &b.dma, entry, via_array_len(entry), report), 0);
        c.on = true;
        struct via_span buf[] = {{mem + HALF + 7, 5000}, {mem + 12 * SLOT, SLOT}, {mem + 14 * SLOT, 1}};
        memset(mem + HALF, 0x33, HALF);
        for (unsigned round = 0; round < 100; round++) {
            struct via_mapping m = mapping(16);
            CHECK_EQ(via_dma_map(&c.dma, buf, 1, 2, &m), 0);
            for (unsigned i = 0; i < (unsigned)m.n_out + m.n_in; i++) {
                CHECK(via_address_says(&bits[k], seg[i].addr.v, seg[i].len, true));
                uint64_t off = (seg[i].addr.v & ~bits[k].bit) - 0x80000000;
                CHECK(off < HALF);
                if (i >= m.n_out)
                    memset(mem + off, (int)round, seg[i].len);
                else
                    CHECK(mem[off] == 0x33 && mem[off + seg[i].len - 1] == 0x33);
            }
            via_dma_unmap(&c.dma, &m, SLOT + 1);
            CHECK(mem[12 * SLOT] == round && mem[13 * SLOT - 1] == round && mem[14 * SLOT] == round && mem[14 * SLOT + 1] == 0x33);
        }
        CHECK(e.refused == 0 && via_check_finish(&c) == 0 && misuses == 0);
        /* The same driver without the bounce: nothing private gets out, and nothing stays mapped. */
        struct via_mapping m = mapping(16);
        CHECK_EQ(via_check_init(&c, &e.dma, entry, via_array_len(entry), report), 0);
        c.on = true;
        CHECK_EQ(via_dma_map(&c.dma, buf, 1, 2, &m), -VIA_EPERM);
        struct via_span shared = {mem, SLOT};
        CHECK_EQ(via_dma_map(&c.dma, &shared, 0, 1, &m), 0);
        CHECK_EQ(seg[0].addr.v, (0x80000000 | plain) ^ bits[k].bit);
        via_dma_unmap(&c.dma, &m, 1);
        CHECK(e.refused == 1 && via_check_finish(&c) == 0 && misuses == 0);
    }
}

TAP_MAIN(TEST(shared_pages_get_an_address_that_says_so), TEST(anything_else_is_refused), TEST(doubt_is_not_enough),
         TEST(the_bit_is_never_there_twice_nor_missing), TEST(what_a_bit_says), TEST(a_pool_that_is_not_shared_is_refused),
         TEST(a_stack_of_all))
