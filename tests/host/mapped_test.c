/* SPDX-License-Identifier: BSD-2-Clause */
/* Our own memory, and peers' memory that is wrong from the start or taken away later. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tap.h>
#include <viaduct/host.h>

#include "scratch.h"

#define PAGE 4096u

static struct via_err err;

static bool says(const char *what) { return strstr(err.text, what) != NULL; }

static int memfd(off_t len)
{
    int fd = memfd_create("peer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd >= 0 && ftruncate(fd, len) == 0 ? fd : -1;
}

static void own_memory_is_shared_by_descriptor_and_cannot_shrink(void)
{
    int before = scratch_open_fds();
    struct via_memory m;
    CHECK_EQ(via_memory_create(&m, "own", 3 * PAGE + 5, &err), 0);
    CHECK(ftruncate(m.fd, PAGE) < 0 && errno == EPERM);
    CHECK(ftruncate(m.fd, 8 * PAGE) < 0 && errno == EPERM);
    CHECK(fcntl(m.fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) < 0 && errno == EPERM);
    CHECK(fcntl(m.fd, F_GETFD) & FD_CLOEXEC);
    struct via_mapped other;
    CHECK_EQ(via_mapped_open(&other, m.fd, 0, m.len, &err), 0);
    m.ptr[3 * PAGE + 4] = 77;
    CHECK_EQ(other.ptr[3 * PAGE + 4], 77);
    via_mapped_close(&other);
    via_mapped_close(&other);
    via_memory_destroy(&m);
    via_memory_destroy(&m);
    CHECK_EQ(via_memory_create(&m, "none", 0, &err), -EINVAL);
    CHECK_EQ(via_memory_create(&m, "all", SIZE_MAX, &err), -EINVAL);
    CHECK(via_memory_create(&m, "much", PTRDIFF_MAX - PAGE, &err) < 0);
    CHECK_EQ(scratch_open_fds(), before);
}

static void offsets_need_no_alignment(void)
{
    int fd = memfd(4 * PAGE);
    struct via_mapped m;
    CHECK(fd >= 0);
    CHECK_EQ(pwrite(fd, "hello", 5, PAGE + 123), 5);
    CHECK_EQ(via_mapped_open(&m, fd, PAGE + 123, 2 * PAGE, &err), 0);
    CHECK(memcmp(m.ptr, "hello", 5) == 0);
    CHECK_EQ(m.len, 2 * PAGE);
    m.ptr[2 * PAGE - 1] = 'z';
    char c;
    CHECK(pread(fd, &c, 1, 3 * PAGE + 122) == 1 && c == 'z');
    via_mapped_close(&m);
    close(fd);
}

static bool refused(int fd, uint64_t offset, uint64_t len, const char *why)
{
    struct via_mapped m;
    bool ok = via_mapped_open(&m, fd, offset, len, &err) == -EINVAL && says(why) && m.map == NULL;
    via_mapped_close(&m); /* harmless after a failure */
    return ok;
}

static void wrong_regions_are_refused(void)
{
    int before = scratch_open_fds(), fd = memfd(4 * PAGE), pair[2];
    CHECK(fd >= 0);
    CHECK(refused(fd, 0, 4 * PAGE + 1, "not inside"));
    CHECK(refused(fd, 4 * PAGE, 1, "not inside"));
    CHECK(refused(fd, 1, 4 * PAGE, "not inside"));
    CHECK(refused(fd, 0, 0, "not inside"));
    CHECK(refused(fd, UINT64_MAX, 2, "not inside"));
    CHECK(refused(fd, 2, UINT64_MAX - 1, "not inside"));
    char name[40];
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    static const int flags[] = {O_RDONLY, O_WRONLY, O_PATH};
    for (size_t i = 0; i < via_array_len(flags); i++) {
        int limited = open(name, flags[i] | O_CLOEXEC);
        CHECK(limited >= 0);
        CHECK(refused(limited, 0, PAGE, flags[i] == O_PATH ? "" : "reading and writing"));
        close(limited);
    }
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    int other[] = {pair[0], eventfd(0, 0), open("/tmp", O_RDONLY), open("/dev/zero", O_RDWR), open("/proc/self/mem", O_RDWR)};
    for (size_t i = 0; i < via_array_len(other); i++) {
        CHECK(refused(other[i], 0, PAGE, "neither memory nor a file"));
        close(other[i]);
    }
    close(pair[1]);
    CHECK(refused(-1, 0, PAGE, "") || says("descriptor"));
    close(fd);
    CHECK_EQ(scratch_open_fds(), before);
}

static void plain_files_on_a_disk_are_memory_too(void)
{
    char dir[64], path[100];
    struct via_mapped m;
    CHECK(scratch_make(".", dir));
    snprintf(path, sizeof(path), "%s/ram", dir);
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && ftruncate(fd, 2 * PAGE) == 0);
    CHECK_EQ(via_mapped_open(&m, fd, 0, 2 * PAGE, &err), 0);
    m.ptr[PAGE] = 1;
    CHECK(ftruncate(fd, 0) == 0);
    CHECK_EQ(m.ptr[PAGE], 0);
    CHECK(m.dead);
    via_mapped_close(&m);
    close(fd);
    scratch_remove(dir);
}

/* ------------------------------------------------------------------ shrinking */

static void shrinking_gives_zeroes_of_our_own(void)
{
    int fd = memfd(16 * PAGE), beside = memfd(PAGE);
    struct via_mapped m, neighbour;
    CHECK(fd >= 0 && beside >= 0);
    CHECK_EQ(via_mapped_open(&neighbour, beside, 0, PAGE, &err), 0);
    CHECK_EQ(via_mapped_open(&m, fd, 100, 15 * PAGE, &err), 0);
    memset(m.ptr, 0xee, m.len);
    neighbour.ptr[0] = 5;
    CHECK(ftruncate(fd, 0) == 0);
    CHECK(!m.dead);
    for (size_t i = m.len; i-- > 0;)
        CHECK_EQ(*(volatile uint8_t *)(m.ptr + i), 0);
    CHECK(m.dead);
    memset(m.ptr, 1, m.len);
    CHECK(ftruncate(fd, 16 * PAGE) == 0); /* what is ours now does not reach the peer */
    char c = 9;
    CHECK(pread(fd, &c, 1, 5 * PAGE) == 1 && c == 0);
    CHECK(!neighbour.dead && neighbour.ptr[0] == 5);
    via_mapped_close(&m);
    via_mapped_close(&neighbour);
    close(fd);
    close(beside);
}

static int mappings(void)
{
    int n = 0;
    FILE *f = fopen("/proc/self/maps", "re");
    for (int c; f && (c = fgetc(f)) != EOF;)
        n += c == '\n';
    if (f)
        fclose(f);
    return n;
}

/* The kernel allows 65530: a peer must not be able to use them up, nor the time of a fault for each page. */
static void shrinking_does_not_split_us_into_many_mappings(void)
{
    int fd = memfd(1000 * PAGE);
    struct via_mapped m;
    CHECK(fd >= 0);
    CHECK_EQ(via_mapped_open(&m, fd, 0, 1000 * PAGE, &err), 0);
    CHECK(ftruncate(fd, 0) == 0);
    int before = mappings();
    for (size_t i = 0; i < 1000; i += 2)
        CHECK_EQ(*(volatile uint8_t *)(m.ptr + i * PAGE), 0);
    CHECK(mappings() <= before + 4);
    via_mapped_close(&m);
    close(fd);
}

struct reader {
    struct via_mapped m;
    int fd;
    atomic_bool stop, bad;
};

static void *read_all_the_time(void *arg)
{
    struct reader *r = arg;
    uint8_t copy[256];
    while (!atomic_load(&r->stop))
        for (size_t at = 0; at < r->m.len; at += PAGE) {
            via_shm_read(copy, r->m.ptr + at, sizeof(copy));
            if (copy[0] != 0 && copy[0] != 0xab)
                atomic_store(&r->bad, true);
        }
    return NULL;
}

static void *open_and_close(void *arg)
{
    struct reader *r = arg;
    int fd = memfd(PAGE);
    while (!atomic_load(&r->stop)) {
        struct via_mapped m;
        if (via_mapped_open(&m, fd, 0, PAGE, NULL) < 0)
            atomic_store(&r->bad, true);
        else
            via_mapped_close(&m);
    }
    close(fd);
    return NULL;
}

static void shrinking_under_readers_kills_nobody(void)
{
    for (int round = 0; round < 20; round++) {
        static struct reader r;
        pthread_t t[3];
        memset(&r, 0, sizeof(r));
        r.fd = memfd(64 * PAGE);
        CHECK_EQ(via_mapped_open(&r.m, r.fd, 0, 64 * PAGE, &err), 0);
        memset(r.m.ptr, 0xab, r.m.len);
        for (int i = 0; i < 3; i++)
            CHECK(pthread_create(&t[i], NULL, i < 2 ? read_all_the_time : open_and_close, &r) == 0);
        usleep(500);
        CHECK(ftruncate(r.fd, (round % 8) * (off_t)PAGE) == 0);
        while (!atomic_load(&r.m.dead))
            usleep(100);
        usleep(500);
        atomic_store(&r.stop, true);
        for (int i = 0; i < 3; i++)
            pthread_join(t[i], NULL);
        CHECK(!r.bad);
        via_mapped_close(&r.m);
        close(r.fd);
    }
}

static void large_pages(void)
{
    int fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
    struct via_mapped m;
    size_t huge = 2u << 20;
    if (fd < 0 || ftruncate(fd, (off_t)(2 * huge)) < 0) {
        tap_skip("the kernel has no hugetlbfs");
        return;
    }
    /* Pages need not be there for the arithmetic of mapping; reserving none, a touch faults as after a shrink. */
    CHECK_EQ(via_mapped_open(&m, fd, huge + 12345, 4096, &err), 0);
    CHECK_EQ(m.page, huge);
    CHECK_EQ(m.map_len, huge);
    CHECK(ftruncate(fd, 0) == 0);
    CHECK_EQ(*(volatile uint8_t *)m.ptr, 0);
    CHECK(m.dead);
    m.ptr[4095] = 1;
    via_mapped_close(&m);
    close(fd);
}

/* ------------------------------------------------------------------ faults that are not ours */

static volatile sig_atomic_t handled;

static void count_and_leave(int sig)
{
    (void)sig;
    _exit(handled + 42);
}

/* How does a child end that faults in a mapping which nobody told us of? */
static int child_status(bool handler, bool fault)
{
    int status = 0, fd = memfd(PAGE);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        struct via_mapped m;
        if (handler)
            signal(SIGBUS, count_and_leave);
        else
            signal(SIGBUS, SIG_DFL);
        void *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
        if (via_mapped_open(&m, fd, 0, PAGE, NULL) < 0 || p == MAP_FAILED || ftruncate(fd, 0) < 0)
            _exit(1);
        handled = 0;
        if (fault)
            handled = *(volatile unsigned char *)p;
        else
            raise(SIGBUS);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    close(fd);
    return status;
}

static void faults_of_others_go_to_the_handler_before_us(void)
{
    for (int fault = 0; fault < 2; fault++) {
        int status = child_status(true, fault);
        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), 42);
        status = child_status(false, fault);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    }
}

/* The first: it forks before the handler is installed. */
TAP_MAIN(TEST(faults_of_others_go_to_the_handler_before_us), TEST(own_memory_is_shared_by_descriptor_and_cannot_shrink),
         TEST(offsets_need_no_alignment), TEST(wrong_regions_are_refused), TEST(plain_files_on_a_disk_are_memory_too),
         TEST(shrinking_gives_zeroes_of_our_own), TEST(shrinking_does_not_split_us_into_many_mappings),
         TEST(shrinking_under_readers_kills_nobody), TEST(large_pages))
