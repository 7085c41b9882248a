/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client_region: memory that belongs to the back-end. What it says of it is judged, and what it could take away again is not mapped: it may
 * write there as it likes, like into any pool.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "client_parts.h"

#define PAGE UINT64_C(4096)
#define LEN_MAX (UINT64_C(1) << 40)

static int judge(const struct via_client_region *r, const struct via_vu_shmem *s, int fd, struct via_err *err)
{
    int seals = fcntl(fd, F_GET_SEALS);
    if (r->mapped.ptr)
        return via_err_set(err, -VIA_EEXIST, "the back-end maps a second piece over its memory, or beside it");
    if (s->id || s->offset)
        return via_err_set(err, -VIA_ENOTSUP,
                           "the back-end's memory is in shared memory region %u at 0x%" PRIx64 ", and not in region 0 at 0", s->id,
                           s->offset);
    if (!s->len || s->len % PAGE || s->fd_offset % PAGE || s->len > LEN_MAX)
        return via_err_set(err, -VIA_EINVAL, "the back-end's memory is no whole pages: 0x%" PRIx64 " bytes at 0x%" PRIx64 " of its file",
                           s->len, s->fd_offset);
    if (s->flags != VIA_VU_SHMEM_RW)
        return via_err_set(err, -VIA_EINVAL, "the back-end's memory is not to be written, or its flags are unknown (0x%" PRIx64 ")",
                           s->flags);
    if (seals < 0 || !(seals & F_SEAL_SHRINK))
        return via_err_set(err, -VIA_EPERM, "the back-end could take its memory away: it is no memfd that is sealed against shrinking");
    return 0;
}

int via_client_region_map(struct via_client *c, const struct via_vu_msg *m)
{
    struct via_client_region *r = c->region;
    struct via_vu_shmem s;
    if (!r)
        return -VIA_ENOTSUP;
    via_vu_shmem_get(m, &s);
    r->got++;
    int result = judge(r, &s, m->fd[0], &r->refused);
    if (result < 0)
        return result;
    result = via_mapped_open(&r->mapped, m->fd[0], s.fd_offset, s.len, &r->refused);
    if (result < 0)
        r->mapped.ptr = NULL;
    return result;
}
