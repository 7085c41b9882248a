/* SPDX-License-Identifier: BSD-2-Clause */
/* explain: a copy of what is read, and of nothing else, that --root takes. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "explain_sys.h"

int via_record_open(const char *path, struct via_err *err)
{
    struct dirent *entry;
    bool empty = true;
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return via_err_set(err, -VIA_EIO, "--record: can't make the directory '%s': %s", path, strerror(errno));
    DIR *dir = opendir(path);
    if (!dir)
        return via_err_set(err, -VIA_EIO, "--record: can't open the directory '%s': %s", path, strerror(errno));
    while ((entry = readdir(dir)))
        empty = empty && (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."));
    int fd = empty ? fcntl(dirfd(dir), F_DUPFD_CLOEXEC, 3) : -1;
    closedir(dir);
    if (!empty)
        return via_err_set(err, -VIA_EEXIST, "--record: '%s' is not empty: name a directory that is, or one to be made", path);
    return fd;
}

/* No link that was recorded is followed by what is recorded later: it may have come from a tree that means harm. */
static int open_below(int dir, const char *path, unsigned flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC,
                           .mode = flags & O_CREAT ? 0644 : 0,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
}

/* The directory that a path's last part is to be in, made with all before it; the last part. */
static int parent_of(struct via_sys *s, const char *path, const char **last)
{
    int dir = open_below(s->record, ".", O_PATH | O_DIRECTORY);
    char part[VIA_SYS_PATH];
    while (dir >= 0 && strchr(path, '/')) {
        size_t n = strcspn(path, "/");
        snprintf(part, sizeof(part), "%.*s", (int)n, path);
        if (mkdirat(dir, part, 0755) < 0 && errno != EEXIST) {
            close(dir);
            return -1;
        }
        int next = open_below(dir, part, O_PATH | O_DIRECTORY);
        close(dir);
        dir = next;
        path += n + 1;
    }
    *last = path;
    return dir;
}

static void failed(struct via_sys *s, const char *path)
{
    if (!s->err.text[0])
        via_err_set(&s->err, -VIA_EIO, "--record: can't write the copy of '/%s': %s", path, strerror(errno));
}

void via_record_file(struct via_sys *s, const char *path, const char *data, size_t len)
{
    const char *last;
    if (s->record < 0)
        return;
    int dir = parent_of(s, path, &last);
    int fd = dir < 0 ? -1 : open_below(dir, last, O_WRONLY | O_CREAT | O_TRUNC);
    ssize_t put = fd < 0 ? -1 : write(fd, data, len);
    if (put >= 0 && (size_t)put < len)
        errno = ENOSPC;
    if (put < 0 || (size_t)put < len)
        failed(s, path);
    if (fd >= 0)
        close(fd);
    if (dir >= 0)
        close(dir);
}

void via_record_link(struct via_sys *s, const char *path, const char *to)
{
    const char *last;
    if (s->record < 0)
        return;
    int dir = parent_of(s, path, &last);
    if (dir < 0 || (symlinkat(to, dir, last) < 0 && errno != EEXIST))
        failed(s, path);
    if (dir >= 0)
        close(dir);
}

void via_record_dir(struct via_sys *s, const char *path)
{
    const char *last;
    if (s->record < 0)
        return;
    int dir = parent_of(s, path, &last);
    if (dir < 0 || (mkdirat(dir, last, 0755) < 0 && errno != EEXIST))
        failed(s, path);
    if (dir >= 0)
        close(dir);
}
