/* SPDX-License-Identifier: BSD-2-Clause */
/* The judge of descriptor chains. */
#include "chain.h"

static int take_table(struct via_chain *c, const struct via_chain_rules *rules, uint64_t addr, uint32_t len, uint16_t flags,
                      struct via_fault *fault)
{
    if (rules->no_indirect)
        return via_fault_set(fault, -VIA_EPROTO, rules->no_indirect, flags, 0);
    if (flags & VIA_DESC_F_NEXT)
        return via_fault_set(fault, -VIA_EPROTO, "a descriptor has both INDIRECT and NEXT", flags, 0);
    if (len == 0 || len % sizeof(struct via_desc) != 0)
        return via_fault_set(fault, -VIA_EPROTO, "an indirect table's length is not a multiple of 16, or 0", len, 0);
    if (len / sizeof(struct via_desc) > rules->num)
        return via_fault_set(fault, -VIA_EPROTO, "an indirect table is longer than the queue", len / sizeof(struct via_desc), rules->num);
    c->table = (struct via_seg){{addr}, len};
    return 0;
}

int via_chain_take(struct via_chain *c, const struct via_chain_rules *rules, uint64_t addr, uint32_t len, uint16_t flags,
                   struct via_fault *fault)
{
    if (flags & VIA_DESC_F_INDIRECT)
        return take_table(c, rules, addr, len, flags, fault);
    unsigned n = c->n_out + c->n_in;
    /* This is what ends a loop, too. */
    if (n >= rules->num)
        return via_fault_set(fault, -VIA_EPROTO, "a descriptor chain loops or is longer than the queue", n + 1, rules->num);
    if (len == 0)
        return via_fault_set(fault, -VIA_EPROTO, "a descriptor's length is 0", 0, 0);
    if (flags & VIA_DESC_F_WRITE) {
        c->n_in++;
        c->in_len += len;
    } else {
        if (c->n_in)
            return via_fault_set(fault, -VIA_EPROTO, "a device-readable descriptor follows a device-writable one", n, 0);
        c->n_out++;
        c->out_len += len;
    }
    if (c->out_len + c->in_len > UINT32_MAX)
        return via_fault_set(fault, -VIA_EPROTO, "a descriptor chain totals 4 GiB or more", c->out_len + c->in_len, UINT32_MAX);
    c->seg[n] = (struct via_seg){{addr}, len};
    return 0;
}

/* Made twice, so that the byte order is asked for once a chain. */
static inline __attribute__((always_inline)) int walk(struct via_chain *c, const struct via_chain_rules *rules,
                                                      const struct via_desc *table, unsigned size, unsigned head, bool big,
                                                      struct via_fault *fault)
{
    for (unsigned i = head;;) {
        if (i >= size)
            return via_fault_set(fault, -VIA_EPROTO, "a descriptor index is outside its table", i, size - 1);
        uint16_t flags = via_big16(via_shm_get16(&table[i].flags), big);
        uint64_t addr = via_big64(via_shm_get64(&table[i].addr), big);
        int rc = via_chain_take(c, rules, addr, via_big32(via_shm_get32(&table[i].len), big), flags, fault);
        /* A table has no NEXT, so a chain ends where it starts. */
        if (rc < 0 || !(flags & VIA_DESC_F_NEXT))
            return rc;
        i = via_big16(via_shm_get16(&table[i].next), big);
    }
}

int via_chain_walk(struct via_chain *c, const struct via_chain_rules *rules, const struct via_desc *table, unsigned size, unsigned head,
                   struct via_fault *fault)
{
    if (__builtin_expect(rules->big, 0))
        return walk(c, rules, table, size, head, true, fault);
    return walk(c, rules, table, size, head, false, fault);
}
