/* SPDX-License-Identifier: BSD-2-Clause */
/* event: eventfds, which a peer holds a copy of and may do anything with. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <viaduct/host.h>

int via_event_create(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd >= 0 ? fd : -errno;
}

void via_event_signal(int fd)
{
    uint64_t one = 1;
    ssize_t r = write(fd, &one, sizeof(one));
    (void)r; /* full: it is readable already */
}

void via_event_clear(int fd)
{
    /* The peer can take O_NONBLOCK away and be quicker than we are; RWF_NOWAIT it can't. */
    uint64_t count;
    struct iovec iov = {&count, sizeof(count)};
    ssize_t r = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);
    (void)r; /* empty: nothing to clear */
}
