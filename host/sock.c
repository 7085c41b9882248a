/* SPDX-License-Identifier: BSD-2-Clause */
/* sock: Unix sockets, found and made by path. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <viaduct/host.h>

#include "clock.h"

#define LISTEN_BACKLOG 16
#define CONNECT_RETRY_MS 10

static int address(const char *path, struct sockaddr_un *a, struct via_err *err)
{
    size_t len = strlen(path);
    if (len == 0)
        return via_err_set(err, -EINVAL, "the socket's path is empty: give one");
    if (len >= sizeof(a->sun_path))
        return via_err_set(err, -ENAMETOOLONG, "the socket path '%.60s...' has %zu bytes, and %zu are the most: use a shorter one", path,
                           len, sizeof(a->sun_path) - 1);
    memset(a, 0, sizeof(*a));
    a->sun_family = AF_UNIX;
    memcpy(a->sun_path, path, len);
    return 0;
}

static int new_socket(struct via_err *err)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd >= 0 ? fd : via_err_set(err, -errno, "can't make a socket: %s", strerror(errno));
}

/* Is what stands at the address a socket that nobody listens on any more? 0: yes, and it is gone now. */
static int remove_stale(const struct sockaddr_un *a, struct via_err *err)
{
    struct stat st;
    if (lstat(a->sun_path, &st) < 0)
        return errno == ENOENT ? 0 : via_err_set(err, -errno, "can't look at '%s': %s", a->sun_path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return via_err_set(err, -EEXIST, "'%s' exists and is not a socket: remove it or choose another path", a->sun_path);
    int probe = new_socket(err);
    if (probe < 0)
        return probe;
    int r = connect(probe, (const struct sockaddr *)a, sizeof(*a)) < 0 ? -errno : 0;
    close(probe);
    if (r == -ENOENT)
        return 0;
    if (r != -ECONNREFUSED)
        return via_err_set(err, -EADDRINUSE, "'%s' is in use by a program that listens there: stop it or choose another path", a->sun_path);
    if (unlink(a->sun_path) < 0 && errno != ENOENT)
        return via_err_set(err, -errno, "can't remove the stale socket '%s': %s", a->sun_path, strerror(errno));
    return 0;
}

static int bind_at(int fd, const struct sockaddr_un *a, struct via_err *err)
{
    const char *path = a->sun_path;
    /* The file's mode is the socket's, less the umask: never open to all, whatever the umask is. */
    if (fchmod(fd, 0660) < 0)
        return via_err_set(err, -errno, "can't set the mode of a socket: %s", strerror(errno));
    if (bind(fd, (const struct sockaddr *)a, sizeof(*a)) == 0)
        return 0;
    if (errno == EADDRINUSE) {
        int r = remove_stale(a, err);
        if (r < 0)
            return r;
        if (bind(fd, (const struct sockaddr *)a, sizeof(*a)) == 0)
            return 0;
    }
    int e = errno;
    if (e == ENOENT)
        return via_err_set(err, -e, "can't listen at '%s': its directory does not exist: create it first", path);
    if (e == ENOTDIR)
        return via_err_set(err, -e, "can't listen at '%s': a part of the path is not a directory", path);
    if (e == EACCES || e == EROFS)
        return via_err_set(err, -e, "can't listen at '%s': its directory is not writable (%s)", path, strerror(e));
    return via_err_set(err, -e, "can't listen at '%s': %s", path, strerror(e));
}

/* A socket, and the address to bind or connect it to. */
static int socket_for(const char *path, struct sockaddr_un *a, struct via_err *err)
{
    int r = address(path, a, err);
    return r < 0 ? r : new_socket(err);
}

int via_sock_listen(const char *path, struct via_err *err)
{
    struct sockaddr_un a;
    int r, fd = socket_for(path, &a, err);
    if (fd < 0)
        return fd;
    r = bind_at(fd, &a, err);
    if (r == 0 && listen(fd, LISTEN_BACKLOG) < 0)
        r = via_err_set(err, -errno, "can't listen at '%s': %s", path, strerror(errno));
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}

int via_sock_connect(const char *path, int timeout_ms, struct via_err *err)
{
    struct sockaddr_un a;
    int fd = socket_for(path, &a, err);
    if (fd < 0)
        return fd;
    int64_t end = via_clock_ms() + timeout_ms;
    while (connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0) {
        int e = errno;
        bool may_come = e == ENOENT || e == ECONNREFUSED || e == EAGAIN || e == EINTR;
        if (may_come && via_clock_ms() < end) {
            nanosleep(&(struct timespec){.tv_nsec = CONNECT_RETRY_MS * 1000000L}, NULL);
            continue;
        }
        close(fd);
        if (e == ENOENT)
            return via_err_set(err, -e, "there is no socket '%s': start the program that listens there first", path);
        if (e == ECONNREFUSED)
            return via_err_set(err, -e, "nobody listens at '%s' (any more): start the program that should", path);
        if (e == EAGAIN)
            return via_err_set(err, -ETIMEDOUT, "the program that listens at '%s' accepts no connection: it is busy with others", path);
        return via_err_set(err, -e, "can't connect to '%s': %s", path, strerror(e));
    }
    return fd;
}

int via_sock_accept(int listener, struct via_err *err)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0)
        return fd;
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) /* who knocked is gone */
        return via_err_set(err, -EAGAIN, "no connection waits");
    return via_err_set(err, -errno, "can't accept a connection: %s", strerror(errno));
}
