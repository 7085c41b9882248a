/* SPDX-License-Identifier: BSD-2-Clause */
/* drive: an attack by a process of its own, which was given the guest's shared memory as a back-end is, and has nothing else. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "drive_parts.h"

static void give_orders(const struct via_drive_memory *m, bool scribble, struct via_search_orders *o)
{
    *o = (struct via_search_orders){.scribble = scribble};
    for (unsigned i = 0; i < VIA_SEARCH_NEEDLES * VIA_SEARCH_NEEDLE; i++)
        o->needle[i / VIA_SEARCH_NEEDLE][i % VIA_SEARCH_NEEDLE] = m->canary[i / VIA_SEARCH_NEEDLE][i % VIA_SEARCH_NEEDLE] ^ 0xff;
    for (unsigned i = 0; i < VIA_SEARCH_MEANT; i++) {
        o->meant[i].start = (uint64_t)((uint8_t *)m->guest.kept[i].ptr - m->own.ptr);
        o->meant[i].last = o->meant[i].start + m->guest.kept[i].len - 1;
    }
}

/* No copy of this process: it is started anew, with three descriptors of which one is the memory's. */
static int start(pid_t *pid, int memory, int in, int out)
{
    static char name[] = "viaduct", command[] = "search";
    char *argv[] = {name, command, NULL}, *env[] = {NULL};
    posix_spawn_file_actions_t todo;
    int r = posix_spawn_file_actions_init(&todo);
    if (!r)
        r = posix_spawn_file_actions_adddup2(&todo, in, STDIN_FILENO);
    if (!r)
        r = posix_spawn_file_actions_adddup2(&todo, out, STDOUT_FILENO);
    if (!r)
        r = posix_spawn_file_actions_adddup2(&todo, memory, VIA_SEARCH_FD);
    if (!r)
        r = posix_spawn_file_actions_addclosefrom_np(&todo, VIA_SEARCH_FD + 1);
    if (!r)
        r = posix_spawn(pid, "/proc/self/exe", &todo, NULL, argv, env);
    posix_spawn_file_actions_destroy(&todo);
    return -r;
}

int via_drive_search_begin(struct via_drive_search *s, struct via_drive_memory *m, bool scribble, struct via_err *err)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1}, memory = fcntl(m->own.fd, F_DUPFD_CLOEXEC, VIA_SEARCH_FD + 1);
    struct via_search_orders orders;
    give_orders(m, scribble, &orders);
    *s = (struct via_drive_search){.out = -1};
    int r = memory < 0 || pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC | O_NONBLOCK) ? -errno : 0;
    if (!r && write(in[1], &orders, sizeof(orders)) != (ssize_t)sizeof(orders))
        r = -VIA_EIO;
    if (!r)
        r = start(&s->pid, memory, in[0], out[1]);
    s->out = out[0];
    for (unsigned i = 0; i < 2; i++)
        if (in[i] >= 0)
            close(in[i]);
    if (out[1] >= 0)
        close(out[1]);
    if (memory >= 0)
        close(memory);
    return r ? via_err_set(err, r, "the attack can't be started: %s", strerror(-r)) : 0;
}

void via_drive_search_end(struct via_drive_search *s)
{
    if (s->pid > 0) {
        kill(s->pid, SIGKILL);
        while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    if (s->out > 0)
        close(s->out);
    *s = (struct via_drive_search){.out = -1};
}

int via_drive_search_poll(struct via_drive_search *s, struct via_search_result *out, struct via_err *err)
{
    size_t room = sizeof(s->answer) - s->have;
    ssize_t n = room ? read(s->out, (uint8_t *)&s->answer + s->have, room) : 0;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n > 0) {
        s->have += (unsigned)n;
        return 0;
    }
    *out = s->answer;
    via_drive_search_end(s);
    return room ? via_err_set(err, -VIA_EIO, "the attack came to no end: what the guest's memory shows stays unknown") : 1;
}
