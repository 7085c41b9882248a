/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * encrypt: only what is shared gets an address, and the address says so. The bit is flipped in place, after next's map, and back before its
 * unmap or sync, so that next finds what it gave.
 */
#include <viaduct/protect.h>

bool via_address_says(const struct via_address_bit *b, uint64_t addr, uint64_t len, bool shared)
{
    uint64_t last;
    if (!len || !via_add64(addr, len - 1, &last))
        return false;
    /* Where the address counts on past a multiple of the bit, the bit changes. */
    return !b->bit || ((addr ^ last) < b->bit && ((addr & b->bit) != 0) == (shared == b->shared_set));
}

static void flip(const struct via_encrypt *e, const struct via_mapping *m)
{
    for (unsigned i = 0; i < (unsigned)m->n_out + m->n_in; i++)
        m->seg[i].addr.v ^= e->bit.bit;
}

static int encrypt_map(struct via_dma *dma, const struct via_span *buf, unsigned out, unsigned in, struct via_mapping *m)
{
    struct via_encrypt *e = via_container_of(dma, struct via_encrypt, dma);
    for (unsigned i = 0; i < out + in; i++)
        if (buf[i].len && !via_protect_is_shared(e->protect, buf[i].ptr, buf[i].len)) { /* an empty one is next's to refuse */
            e->refused++;
            return -VIA_EPERM;
        }
    int r = via_dma_map(dma->next, buf, out, in, m);
    for (unsigned i = 0; r == 0 && i < (unsigned)m->n_out + m->n_in; i++)
        if (!via_address_says(&e->bit, m->seg[i].addr.v, m->seg[i].len, false)) {
            via_dma_unmap(dma->next, m, 0);
            r = -VIA_ERANGE;
        }
    if (r == 0)
        flip(e, m);
    return r;
}

static void encrypt_unmap(struct via_dma *dma, struct via_mapping *m, uint32_t written)
{
    flip(via_container_of(dma, struct via_encrypt, dma), m);
    via_dma_unmap(dma->next, m, written);
}

static int encrypt_sync(struct via_dma *dma, struct via_mapping *m, enum via_owner to, uint32_t written)
{
    const struct via_encrypt *e = via_container_of(dma, struct via_encrypt, dma);
    flip(e, m);
    int r = via_dma_sync(dma->next, m, to, written);
    flip(e, m);
    return r;
}

static const struct via_dma_ops encrypt_ops = {"encrypt", encrypt_map, encrypt_unmap, encrypt_sync};

int via_encrypt_init(struct via_encrypt *e, struct via_dma *next, const struct via_protect *protect, struct via_address_bit bit)
{
    if (!next || !protect || bit.bit & (bit.bit - 1) || (bit.bit && bit.bit < VIA_PROTECT_PAGE))
        return -VIA_EINVAL;
    *e = (struct via_encrypt){.dma = {&encrypt_ops, next}, .protect = protect, .bit = bit};
    return 0;
}
