/* SPDX-License-Identifier: BSD-2-Clause */
/* reach: what another process can get at, from /proc/PID/maps and /proc/PID/fd. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "reach.h"

#define FILES_MAX 64u /* different memfds in one process; more than that is not ours to inspect */

struct object { /* a memfd that the process has */
    dev_t dev;
    ino_t ino;
    uint64_t bytes; /* its size where a descriptor tells it, else the end of what is mapped */
};

struct objects {
    unsigned n;
    struct object o[FILES_MAX];
};

static struct object *object_of(struct objects *all, dev_t dev, ino_t ino)
{
    for (unsigned i = 0; i < all->n; i++)
        if (all->o[i].dev == dev && all->o[i].ino == ino)
            return &all->o[i];
    if (all->n == FILES_MAX)
        return NULL;
    all->o[all->n] = (struct object){.dev = dev, .ino = ino};
    return &all->o[all->n++];
}

static int refused(pid_t pid, const char *what, struct via_err *err)
{
    int e = errno;
    return via_err_set(err, -e, "can't read /proc/%d/%s of the back-end: %s; run as root or as its user", (int)pid, what, strerror(e));
}

static int collect_maps(pid_t pid, struct objects *all, struct via_err *err)
{
    char path[64], line[512];
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return refused(pid, "maps", err);
    int result = 0;
    while (!result && fgets(line, sizeof(line), f)) {
        char *at; /* the kernel's own format: start-end perms offset major:minor inode name */
        uint64_t start = strtoull(line, &at, 16), end = strtoull(at + 1, &at, 16);
        bool shared = at[4] == 's';
        uint64_t offset = strtoull(at + 5, &at, 16);
        unsigned major = (unsigned)strtoul(at, &at, 16), minor = (unsigned)strtoul(at + 1, &at, 16);
        uint64_t ino = strtoull(at, &at, 10);
        if (!strstr(at, "/memfd:") || !shared)
            continue;
        struct object *o = object_of(all, makedev(major, minor), ino);
        if (o && o->bytes < offset + (end - start))
            o->bytes = offset + (end - start);
        if (!o)
            result = via_err_set(err, -VIA_E2BIG, "process %d has more than %u memfds mapped", (int)pid, FILES_MAX);
    }
    fclose(f);
    return result;
}

static int collect_fds(pid_t pid, struct objects *all, struct via_err *err)
{
    char path[64], link[128];
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    if (!dir)
        return refused(pid, "fd", err);
    int result = 0;
    for (struct dirent *e; !result && (e = readdir(dir));) {
        struct stat st;
        ssize_t n = readlinkat(dirfd(dir), e->d_name, link, sizeof(link) - 1);
        if (n <= 0)
            continue;
        link[n] = 0;
        if (strncmp(link, "/memfd:", 7) != 0 || fstatat(dirfd(dir), e->d_name, &st, 0))
            continue;
        struct object *o = object_of(all, st.st_dev, st.st_ino);
        if (!o)
            result = via_err_set(err, -VIA_E2BIG, "process %d has more than %u memfds open", (int)pid, FILES_MAX);
        else
            o->bytes = (uint64_t)st.st_size;
    }
    closedir(dir);
    return result;
}

static int collect(pid_t pid, struct objects *all, struct via_err *err)
{
    all->n = 0;
    int r = collect_maps(pid, all, err);
    return r ? r : collect_fds(pid, all, err);
}

static bool same_file(const struct object *o, int fd)
{
    struct stat st;
    return !fstat(fd, &st) && st.st_dev == o->dev && st.st_ino == o->ino;
}

int via_reach_inspect(pid_t pid, int fd, uint64_t *bytes, struct via_err *err)
{
    struct objects all;
    struct stat st;
    *bytes = 0;
    int r = collect(pid, &all, err);
    for (unsigned i = 0; !r && i < all.n; i++)
        if (same_file(&all.o[i], fd) && !fstat(fd, &st))
            *bytes = (uint64_t)st.st_size;
    return r;
}

int via_reach_others(pid_t pid, const int *except, unsigned n, uint64_t *bytes, struct via_err *err)
{
    struct objects all;
    *bytes = 0;
    int r = collect(pid, &all, err);
    for (unsigned i = 0; !r && i < all.n; i++) {
        bool ours = false;
        for (unsigned k = 0; k < n; k++)
            ours |= same_file(&all.o[i], except[k]);
        if (!ours)
            *bytes += all.o[i].bytes;
    }
    return r;
}
