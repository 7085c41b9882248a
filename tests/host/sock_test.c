/* SPDX-License-Identifier: BSD-2-Clause */
/* Sockets by path: what may be replaced, what may not, and what people are told. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tap.h>
#include <viaduct/host.h>

#include "scratch.h"

static char dir[64], path[100];
static struct via_err err;

static bool says(const char *what) { return strstr(err.text, what) != NULL; }

static void listening_and_connecting(void)
{
    int before = scratch_open_fds();
    int l = via_sock_listen(path, &err);
    CHECK(l >= 0);
    CHECK(fcntl(l, F_GETFL) & O_NONBLOCK);
    CHECK(fcntl(l, F_GETFD) & FD_CLOEXEC);
    CHECK_EQ(via_sock_accept(l, &err), -EAGAIN);
    int c = via_sock_connect(path, 0, &err), a = via_sock_accept(l, &err);
    CHECK(c >= 0 && a >= 0);
    CHECK(fcntl(c, F_GETFL) & fcntl(a, F_GETFL) & O_NONBLOCK);
    CHECK(fcntl(c, F_GETFD) & fcntl(a, F_GETFD) & FD_CLOEXEC);
    CHECK_EQ(write(c, "x", 1), 1);
    close(c);
    close(a);
    close(l);
    unlink(path);
    CHECK_EQ(scratch_open_fds(), before);
}

static void live_sockets_are_refused_and_stale_ones_replaced(void)
{
    int before = scratch_open_fds();
    int l = via_sock_listen(path, &err);
    CHECK(l >= 0);
    CHECK_EQ(via_sock_listen(path, &err), -EADDRINUSE);
    CHECK(says(path) && says("in use"));
    close(l); /* the file stays, and nobody listens */
    CHECK_EQ(via_sock_connect(path, 0, &err), -ECONNREFUSED);
    CHECK(says("nobody listens"));
    l = via_sock_listen(path, &err);
    CHECK(l >= 0);
    int c = via_sock_connect(path, 0, &err);
    CHECK(c >= 0);
    close(c);
    close(l);
    unlink(path);
    CHECK_EQ(scratch_open_fds(), before);
}

static void other_files_are_never_removed(void)
{
    struct stat st;
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0);
    close(fd);
    CHECK_EQ(via_sock_listen(path, &err), -EEXIST);
    CHECK(says("not a socket"));
    CHECK(stat(path, &st) == 0);
    unlink(path);
}

static void bad_paths_get_a_sentence(void)
{
    char name[200];
    int before = scratch_open_fds();
    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
    CHECK_EQ(via_sock_listen(name, &err), -ENAMETOOLONG);
    CHECK(says("199 bytes") && says("107") && says("shorter"));
    CHECK_EQ(via_sock_connect(name, 0, &err), -ENAMETOOLONG);
    name[107] = 0; /* the longest: only its directory may be at fault */
    memcpy(name, "nowhere/", 8);
    CHECK_EQ(via_sock_listen(name, &err), -ENOENT);
    CHECK(says("directory does not exist"));
    CHECK_EQ(via_sock_listen("", &err), -EINVAL);
    snprintf(name, sizeof(name), "%s/none", dir);
    CHECK_EQ(via_sock_connect(name, 30, &err), -ENOENT);
    CHECK(says("there is no socket"));
    CHECK_EQ(scratch_open_fds(), before);
}

static void no_umask_opens_it_to_all(void)
{
    struct stat st;
    mode_t old = umask(0);
    int l = via_sock_listen(path, &err);
    umask(old);
    CHECK(l >= 0);
    CHECK(stat(path, &st) == 0);
    CHECK_EQ(st.st_mode & 0777, 0660);
    close(l);
    unlink(path);
}

static void *listen_later(void *out)
{
    usleep(60000);
    *(int *)out = via_sock_listen(path, NULL);
    return NULL;
}

static void connecting_waits_for_a_listener(void)
{
    pthread_t t;
    int l = -1;
    CHECK(pthread_create(&t, NULL, listen_later, &l) == 0);
    int c = via_sock_connect(path, 5000, &err);
    pthread_join(t, NULL);
    CHECK(l >= 0);
    CHECK(c >= 0);
    close(c);
    close(l);
    unlink(path);
}

int main(void)
{
    static const struct tap_test tests[] = {
        TEST(listening_and_connecting),      TEST(live_sockets_are_refused_and_stale_ones_replaced),
        TEST(other_files_are_never_removed), TEST(bad_paths_get_a_sentence),
        TEST(no_umask_opens_it_to_all),      TEST(connecting_waits_for_a_listener),
    };
    if (!scratch_make("/tmp", dir))
        return 2;
    snprintf(path, sizeof(path), "%s/s", dir);
    int r = tap_run(tests, via_array_len(tests));
    scratch_remove(dir);
    return r;
}
