/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client_region: memory that belongs to the back-end. What it says of it is judged, and what it could take away again is not mapped: it may
 * write there as it likes, like into any pool.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

#include "../clock.h"
#include "client_parts.h"

#define TIMEOUT_MS 5000
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

/* Until the message has come. */
static int wait_for_it(struct via_client *c, struct via_err *err)
{
    int64_t end = via_clock_ms() + (c->timeout_ms ? c->timeout_ms : TIMEOUT_MS), left;
    while (!c->region->got) {
        struct pollfd p = {.fd = c->req_fd, .events = POLLIN};
        if ((left = end - via_clock_ms()) <= 0)
            return via_err_set(err, -VIA_ETIMEDOUT, "the back-end did not bring its memory in time");
        (void)poll(&p, 1, (int)left);
        int result = via_client_back_req(c, err);
        if (result < 0)
            return result;
        if (c->req_gone)
            return via_err_set(err, -VIA_EPROTO, "the back-end closed its channel instead of bringing its memory");
    }
    return 0;
}

int via_client_region_wait(struct via_client *c, struct via_err *err)
{
    struct via_vu_msg m;
    if (!c->region || c->req_fd < 0 || !(c->front.protocol & VIA_BIT(VIA_VU_PF_SHMEM)))
        return via_err_set(err, -VIA_ENOTSUP, "the back-end has no memory of its own to offer (it lacks the protocol feature SHMEM)");
    via_front_get(&c->front, &m, VIA_VU_GET_SHMEM_CONFIG);
    int result = via_client_ask(c, &m, err);
    uint64_t size = result == 0 && c->front.value ? c->front.shmem[0] : 0;
    if (result == 0)
        result = wait_for_it(c, err);
    if (result < 0)
        return result;
    if (c->region->refused.text[0])
        return via_err_set(err, -VIA_EPROTO, "%.300s", c->region->refused.text);
    if (c->region->mapped.len != size)
        return via_err_set(err, -VIA_EPROTO, "the back-end tells of 0x%" PRIx64 " bytes of its memory, and brings 0x%zx", size,
                           c->region->mapped.len);
    return 0;
}
