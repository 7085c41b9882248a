/* SPDX-License-Identifier: BSD-2-Clause */
/* reach: what is said of a process that really has, or has not, a mapping or a descriptor of some memory. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tap.h>

#include <reach.h>

#define BYTES (UINT64_C(3) << 16)

enum keeps { NOTHING, DESCRIPTOR, MAPPING };

static int memory[2]; /* the one asked about, and another */

static int make(const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC);
    return fd >= 0 && ftruncate(fd, (off_t)BYTES) == 0 ? fd : -1;
}

/* A process that keeps this much of memory[0], and of memory[1] a descriptor. */
static pid_t child(enum keeps keeps)
{
    int ready[2];
    char byte;
    if (pipe(ready))
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* One page of it, from the middle: remap_file_pages leads from there to any other. */
        if (keeps == MAPPING && mmap(NULL, 4096, PROT_READ, MAP_SHARED, memory[0], 65536) == MAP_FAILED)
            _exit(1);
        if (keeps != DESCRIPTOR)
            close(memory[0]);
        if (write(ready[1], "r", 1) == 1)
            pause();
        _exit(1);
    }
    close(ready[1]);
    bool well = pid > 0 && read(ready[0], &byte, 1) == 1;
    close(ready[0]);
    return well ? pid : -1;
}

static void ask(enum keeps keeps, uint64_t *bytes, uint64_t *others)
{
    struct via_err err = {.text = ""};
    memory[0] = make("viaduct-test-a");
    memory[1] = make("viaduct-test-b");
    CHECK(memory[0] >= 0 && memory[1] >= 0);
    pid_t pid = child(keeps);
    CHECK(pid > 0);
    int r = via_reach_inspect(pid, memory[0], bytes, &err), q = via_reach_others(pid, &memory[0], 1, others, &err);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(memory[0]);
    close(memory[1]);
    CHECK_EQ(r, 0);
    CHECK_EQ(q, 0);
}

static void nothing_is_nothing(void)
{
    uint64_t bytes = 1, others = 0;
    ask(NOTHING, &bytes, &others);
    CHECK_EQ(bytes, 0);
    CHECK_EQ(others, BYTES);
}

static void a_descriptor_is_all(void)
{
    uint64_t bytes = 0, others = 0;
    ask(DESCRIPTOR, &bytes, &others);
    CHECK_EQ(bytes, BYTES);
    CHECK_EQ(others, BYTES);
}

static void a_mapped_page_is_all(void)
{
    uint64_t bytes = 0, others = 0;
    ask(MAPPING, &bytes, &others);
    CHECK_EQ(bytes, BYTES);
}

static void who_is_gone_is_an_error(void)
{
    struct via_err err = {.text = ""};
    uint64_t bytes;
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
    CHECK(via_reach_inspect(pid, 0, &bytes, &err) < 0);
    CHECK(err.text[0]);
}

TAP_MAIN(TEST(nothing_is_nothing), TEST(a_descriptor_is_all), TEST(a_mapped_page_is_all), TEST(who_is_gone_is_an_error))
