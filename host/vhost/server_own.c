/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server_own: memory that belongs to the back-end, and that it gives the front-end instead of being given any. Rings and buffers are named
 * by their offsets in it.
 */
#include "server_parts.h"

#define PAGE UINT64_C(4096)

int via_server_own_open(struct via_server *s, struct via_err *err)
{
    s->own.fd = -1;
    if (!s->cfg.own_size)
        return 0;
    if (s->cfg.own_size % PAGE || s->cfg.own_bit > 63)
        return via_err_set(err, -VIA_EINVAL, "memory of the back-end's own has whole pages, and a feature bit from 0 to 63");
    return via_memory_create(&s->own, "viaduct-own", s->cfg.own_size, err);
}

int via_server_own_tell(struct via_server *s, struct via_err *err)
{
    struct via_vu_msg m;
    if (!(s->back.protocol & VIA_BIT(VIA_VU_PF_SHMEM)))
        return 0;
    via_back_shmem_map(&s->back, &m, s->own.fd);
    int result = via_sock_send(s->asks.fd, &m, 0, err); /* the first message there: a front-end that is sane has room for it */
    return result < 0 ? via_err_set(err, result, "the front-end does not take the back-end's memory by its channel") : 0;
}

int via_server_own_choose(struct via_server *s, uint64_t accepted, struct via_err *err)
{
    bool use = s->cfg.own_size && (accepted >> s->cfg.own_bit & 1);
    if (use && (accepted & VIA_BIT(VIA_F_ACCESS_PLATFORM)))
        return via_err_set(err, -VIA_EPROTO,
                           "the front-end accepts memory of the back-end's own, and translations to memory of its: one of both");
    if (use && !(s->back.protocol & VIA_BIT(VIA_VU_PF_SHMEM)))
        return via_err_set(err, -VIA_EPROTO,
                           "the front-end accepts memory of the back-end's own, but not the messages that bring it (SHMEM)");
    if (use == s->own_used)
        return 0;
    via_server_memory_clear(s);
    s->own_used = use;
    struct via_region region = {.len = s->own.len, .ptr = s->own.ptr};
    return use ? via_memmap_add(&s->map, &region) : 0;
}
