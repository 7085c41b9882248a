/* SPDX-License-Identifier: BSD-2-Clause */
/* hostile: what other processes give away: the one at the other end of the socket, and its kin. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile.h"

#define PEERS_MAX 16u
#define FDS 256
#define CHUNK (1u << 20)
#define PEER_BYTES_MAX (UINT64_C(1) << 30)

struct range {
    uint64_t start, end;
};

/* Where the peer has memory: its maps if it shows them, else the user addresses that it told us itself. */
static unsigned peer_ranges(pid_t pid, const struct via_memmap *map, struct range *out, unsigned cap)
{
    char path[64], line[512];
    unsigned n = 0;
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    FILE *f = fopen(path, "re");
    while (f && n < cap && fgets(line, sizeof(line), f)) {
        char *at; /* start-end r... */
        out[n].start = strtoull(line, &at, 16);
        out[n].end = strtoull(at + 1, &at, 16);
        n += at[1] == 'r';
    }
    if (f)
        fclose(f);
    for (unsigned i = 0; !n && i < map->n && i < cap; i++)
        out[n++] = (struct range){map->region[i].uva, map->region[i].uva + map->region[i].len};
    return n;
}

typedef ssize_t read_fn(pid_t pid, int fd, void *to, size_t len, uint64_t at);

static ssize_t read_mem(pid_t pid, int fd, void *to, size_t len, uint64_t at)
{
    (void)pid;
    return pread(fd, to, len, (off_t)at);
}

static ssize_t read_vm(pid_t pid, int fd, void *to, size_t len, uint64_t at)
{
    struct iovec local = {to, len}, remote = {(void *)(uintptr_t)at, len};
    (void)fd;
    return process_vm_readv(pid, &local, 1, &remote, 1, 0);
}

static void read_peer(enum mean mean, pid_t pid, int fd, read_fn *read_at, const struct range *range, unsigned n)
{
    static uint8_t chunk[CHUNK];
    uint64_t all = 0;
    hostile.trial[mean].tried++;
    for (unsigned i = 0; i < n; i++)
        for (uint64_t at = range[i].start; at < range[i].end && all < PEER_BYTES_MAX; at += CHUNK) {
            ssize_t got = read_at(pid, fd, chunk, via_min64(CHUNK, range[i].end - at), at);
            if (got <= 0)
                break;
            hostile_scan(mean, chunk, (size_t)got);
            all += (size_t)got;
        }
    hostile.trial[mean].worked += all > 0;
}

static void try_memory(pid_t pid, const struct via_memmap *map)
{
    static struct range range[1024];
    char path[64];
    unsigned n = peer_ranges(pid, map, range, via_array_len(range));
    snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    read_peer(MEAN_PROC_MEM, pid, fd, read_mem, range, n);
    if (fd >= 0)
        close(fd);
    read_peer(MEAN_VM_READV, pid, -1, read_vm, range, n);
}

static void got_descriptor(enum mean mean, int fd)
{
    unsigned had = hostile.files;
    hostile_keep(fd);
    hostile.trial[mean].worked += hostile.files > had;
    close(fd);
}

static void try_descriptors(pid_t pid)
{
    char path[64];
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    for (int n = 0; n < FDS; n++) {
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, n);
        struct stat st;
        hostile.trial[MEAN_PROC_FD].tried++;
        /* Memory alone: opening a terminal or a pipe of somebody would not be an attack but an accident. */
        int fd = stat(path, &st) || !S_ISREG(st.st_mode) ? -1 : open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
        if (fd >= 0)
            got_descriptor(MEAN_PROC_FD, fd);
        hostile.trial[MEAN_PIDFD].tried++;
        fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, n, 0);
        if (fd >= 0)
            got_descriptor(MEAN_PIDFD, fd);
    }
    if (pidfd >= 0)
        close(pidfd);
}

static void try_ptrace(pid_t pid)
{
    hostile.trial[MEAN_PTRACE].tried++;
    if (ptrace(PTRACE_SEIZE, pid, 0, 0))
        return;
    hostile.trial[MEAN_PTRACE].worked++;
    ptrace(PTRACE_INTERRUPT, pid, 0, 0);
    waitpid(pid, NULL, __WALL);
    ptrace(PTRACE_DETACH, pid, 0, 0);
}

static bool is_kin(const char *pid)
{
    char path[300], name[32] = "";
    snprintf(path, sizeof(path), "/proc/%s/comm", pid);
    FILE *f = fopen(path, "re");
    bool kin = f && fgets(name, sizeof(name), f) && !strncmp(name, "viaduct", 7);
    if (f)
        fclose(f);
    return kin;
}

static unsigned find_peers(int sock, pid_t *out)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);
    unsigned n = 0;
    if (!getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) && cred.pid > 0)
        out[n++] = cred.pid;
    DIR *dir = opendir("/proc");
    for (struct dirent *e; dir && n < PEERS_MAX && (e = readdir(dir));) {
        pid_t pid = (pid_t)strtol(e->d_name, NULL, 10); /* 0: no process */
        if (pid > 0 && pid != getpid() && pid != cred.pid && is_kin(e->d_name))
            out[n++] = pid;
    }
    if (dir)
        closedir(dir);
    return n;
}

void hostile_peers(int sock, const struct via_memmap *map)
{
    pid_t pid[PEERS_MAX];
    unsigned n = find_peers(sock, pid);
    for (unsigned i = 0; i < n; i++) {
        try_memory(pid[i], map);
        try_descriptors(pid[i]);
        try_ptrace(pid[i]);
    }
}
