/* SPDX-License-Identifier: BSD-2-Clause */
/* The back-end session's memory: tables and single regions, and the log of what is written to them. */
#include <string.h>

#include "back_parts.h"

static bool wraps(uint64_t start, uint64_t size) { return size - 1 > UINT64_MAX - start; }

static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size) { return a <= b + (b_size - 1) && b <= a + (a_size - 1); }

static int judge(struct via_back *b, const struct via_vu_region *r)
{
    if (r->size == 0)
        return via_back_break(b, "a memory region is empty", r->gpa, 0);
    if (wraps(r->gpa, r->size))
        return via_back_break(b, "a memory region wraps around the end of guest-physical addresses", r->gpa, r->size);
    if (wraps(r->uva, r->size))
        return via_back_break(b, "a memory region wraps around the end of user addresses", r->uva, r->size);
    if (wraps(r->mmap_offset, r->size))
        return via_back_break(b, "a memory region's offset in its file wraps around", r->mmap_offset, r->size);
    return 0;
}

int via_back_mem_table(struct via_back *b, struct via_vu_msg *m)
{
    struct via_vu_table t;
    memcpy(&t, b->msg.payload, sizeof(t));
    if (t.n > VIA_VU_TABLE_REGIONS)
        return via_back_break(b, "SET_MEM_TABLE: more regions than a table holds", t.n, VIA_VU_TABLE_REGIONS);
    if (b->msg.size < VIA_VU_TABLE_HDR + t.n * VIA_VU_REGION_BYTES)
        return via_back_break(b, "SET_MEM_TABLE: the payload ends before its last region", b->msg.size,
                              VIA_VU_TABLE_HDR + t.n * VIA_VU_REGION_BYTES);
    if (b->msg.nfd != t.n)
        return via_back_break(b, "SET_MEM_TABLE: as many file descriptors as regions have to come along", b->msg.nfd, t.n);
    for (unsigned i = 0; i < t.n; i++) {
        const struct via_vu_region *r = &t.region[i];
        if (judge(b, r))
            return -VIA_EPROTO;
        for (unsigned k = 0; k < i; k++) {
            const struct via_vu_region *o = &t.region[k];
            if (overlap(r->gpa, r->size, o->gpa, o->size))
                return via_back_break(b, "SET_MEM_TABLE: regions overlap in guest-physical addresses", r->gpa, o->gpa);
            if (overlap(r->uva, r->size, o->uva, o->size))
                return via_back_break(b, "SET_MEM_TABLE: regions overlap in user addresses", r->uva, o->uva);
        }
    }
    b->act.what = VIA_BACK_MEM_TABLE;
    b->act.n = t.n;
    memcpy(b->act.region, t.region, t.n * sizeof(t.region[0]));
    via_back_take_fds(b, m, t.n);
    return 0;
}

/* Bytes that a short message does not bring are 0 in b->msg: the upper half of an offset that QEMU before 5.2 cuts off. */
static struct via_vu_region *single(struct via_back *b)
{
    struct via_vu_single s;
    memcpy(&s, b->msg.payload, sizeof(s));
    b->act.region[0] = s.region;
    b->act.n = 1;
    return &b->act.region[0];
}

int via_back_mem_add(struct via_back *b, struct via_vu_msg *m)
{
    if (judge(b, single(b)))
        return -VIA_EPROTO;
    if (b->slots_used >= b->cfg.slots)
        return via_back_refuse(b, -VIA_ENOSPC, "ADD_MEM_REG: all memory slots are taken, see GET_MAX_MEM_SLOTS", b->slots_used + 1u,
                               b->cfg.slots);
    b->act.what = VIA_BACK_MEM_ADD;
    via_back_take_fds(b, m, 1);
    return 0;
}

int via_back_mem_remove(struct via_back *b)
{
    const struct via_vu_region *r = single(b);
    if (b->slots_used == 0)
        return via_back_refuse(b, -VIA_ENOENT, "REM_MEM_REG: there are no memory regions", r->gpa, 0);
    b->act.what = VIA_BACK_MEM_REMOVE; /* a descriptor that came along stays with the message, to be closed */
    return 0;
}

int via_back_log_base(struct via_back *b, struct via_vu_msg *m)
{
    struct via_vu_log l;
    memcpy(&l, b->msg.payload, sizeof(l));
    if (l.size == 0)
        return via_back_break(b, "SET_LOG_BASE: the log is empty", l.size, 1);
    if (wraps(l.offset, l.size))
        return via_back_break(b, "SET_LOG_BASE: the log's offset in its file wraps around", l.offset, l.size);
    b->act.what = VIA_BACK_LOG_BASE;
    b->act.region[0] = (struct via_vu_region){.size = l.size, .mmap_offset = l.offset};
    via_back_take_fds(b, m, 1);
    return 0;
}
