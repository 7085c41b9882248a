/* SPDX-License-Identifier: BSD-2-Clause */
/* server_fd: descriptors that a front-end hands over. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server_parts.h"

void via_server_fd_put(int *fd, int with)
{
    if (*fd >= 0)
        close(*fd);
    *fd = with;
}

int via_server_fd_check(int fd, const char *what, unsigned index, struct via_err *err)
{
    struct statx st;
    if (fd < 0)
        return 0;
    /* DONT_SYNC: a file system that the peer serves by itself (FUSE) is not asked, so it can't let us wait. */
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &st) == 0 && ((st.stx_mode & S_IFMT) == 0 || S_ISFIFO(st.stx_mode)))
        return fcntl(fd, F_SETFL, O_NONBLOCK) == 0
                   ? 0
                   : via_err_set(err, -VIA_EBADF, "ring %u: the front-end's %s descriptor can't be used", index, what);
    return via_err_set(err, -VIA_EPROTO, "ring %u: the front-end's %s descriptor is neither an eventfd nor a pipe", index, what);
}
