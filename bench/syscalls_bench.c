/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * steady_state_syscalls_bounce: the system calls of 50,000 requests that bounce through the pool of a protected guest, as one JSON object.
 *
 * They are counted by the kernel's own stops, not by what the code believes: a child runs the requests and is traced; between two marks,
 * which are calls that nobody else makes, each entry into the kernel counts. To show that it does count, the last round makes some.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <viaduct/private.h>

#include "figure.h"

#define PAGE ((size_t)VIA_PROTECT_PAGE)
#define PAGES 1024u /* the first half is the pool, and shared */
#define REQUESTS 50000u
#define AT_ONCE 16u
#define LARGEST (12 * PAGE)
#define MARK 0x76696164u /* no option of prctl */
#define CONTROL 7u       /* calls of the last round */

/* ------------------------------------------------------------------ the child */

static struct via_private guest;
static struct via_encrypt encrypt;
static struct via_direct direct;
static struct via_phys_range range;
static struct via_pool pool;
static struct via_bounce bounce;
static _Atomic uint64_t slots[PAGES / 2 / 64];
static struct request {
    struct via_mapping m;
    struct via_seg seg[16];
    struct via_span buf[2];
    bool busy;
} request[AT_ONCE];

static void must(int result, const char *what)
{
    if (result >= 0)
        return;
    fprintf(stderr, "syscalls_bench: %s: %s\n", what, strerror(-result));
    exit(1);
}

static void set_up(void)
{
    struct via_err err = {.text = ""};
    const struct via_private_cfg cfg = {.name = "syscalls-bench", .len = PAGES * PAGE};
    must(via_private_create(&guest, &cfg, &err), err.text);
    must(via_protect_share(&guest.protect, guest.memory.ptr, PAGES / 2 * PAGE), "the pool can't be shared");
    range = (struct via_phys_range){guest.memory.ptr, PAGES * PAGE, UINT64_C(0x100000000)};
    must(via_direct_init(&direct, &range, 1), "direct");
    must(via_encrypt_init(&encrypt, &direct.dma, &guest.protect, (struct via_address_bit){UINT64_C(1) << 47, true}), "encrypt");
    must(via_pool_init(&pool, &encrypt.dma, guest.memory.ptr, PAGES / 2 * PAGE, slots, via_array_len(slots)), "the pool");
    must(via_bounce_init(&bounce, &pool, 0, VIA_BOUNCE_CACHE), "bounce");
}

/* Requests of any size and alignment, some of them open at a time, which end in any order. */
static void requests(unsigned *seed)
{
    uint8_t *private = guest.memory.ptr + PAGES / 2 * PAGE;
    for (unsigned done = 0; done < REQUESTS;) {
        struct request *q = &request[(unsigned)rand_r(seed) % AT_ONCE];
        if (q->busy) {
            via_dma_unmap(&bounce.dma, &q->m, (uint32_t)q->buf[1].len);
            q->busy = false;
            done++;
            continue;
        }
        for (unsigned i = 0; i < 2; i++) {
            size_t most = (unsigned)rand_r(seed) % 4 ? PAGE : LARGEST;
            uint8_t *at = private + (2 * (size_t)(q - request) + i) * LARGEST;
            q->buf[i] = (struct via_span){at + (unsigned)rand_r(seed) % (LARGEST / 4), 1 + (unsigned)rand_r(seed) % (most / 2)};
        }
        q->m = (struct via_mapping){.seg = q->seg, .cap = via_array_len(q->seg)};
        must(via_dma_map(&bounce.dma, q->buf, 1, 1, &q->m), "a mapping");
        q->busy = true;
    }
}

static void mark(void) { (void)!syscall(SYS_prctl, (unsigned long)MARK, 0UL, 0UL, 0UL, 0UL); }

static void child(void)
{
    unsigned seed = 1;
    set_up();
    must(ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 ? -errno : 0, "this system does not let programs be traced (ptrace)");
    raise(SIGSTOP);
    requests(&seed); /* the first touch of each page, and of the C library */
    uint64_t conversions = guest.protect.stats.conversions;
    for (unsigned round = 0; round < ROUNDS; round++) {
        mark();
        requests(&seed);
        mark();
    }
    mark();
    for (unsigned i = 0; i < CONTROL; i++)
        (void)getppid();
    mark();
    must(guest.protect.stats.conversions == conversions ? 0 : -VIA_EBUSY, "pages were converted");
    must(bounce.stats.bytes_in && bounce.stats.bytes_out ? 0 : -VIA_EIO, "nothing was copied");
    _exit(0);
}

/* ------------------------------------------------------------------ who counts */

/* Goes on to the next stop. True: it is one at a system call; *number and *first are this call's when it is just entered. */
static bool next_call(pid_t pid, int signal, int *status, bool *entry, uint64_t *number, uint64_t *first)
{
    struct __ptrace_syscall_info info;
    must(ptrace(PTRACE_SYSCALL, pid, NULL, (long)signal) < 0 ? -errno : 0, "the child can't be resumed");
    must(waitpid(pid, status, 0) < 0 ? -errno : 0, "the child is gone");
    if (!WIFSTOPPED(*status) || WSTOPSIG(*status) != (SIGTRAP | 0x80))
        return false;
    must(ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) < 0 ? -errno : 0, "a system call can't be looked at (Linux 5.3)");
    *entry = info.op == PTRACE_SYSCALL_INFO_ENTRY;
    *number = *entry ? info.entry.nr : 0;
    *first = *entry ? info.entry.args[0] : 0;
    return true;
}

/* calls[i]: those between marks 2i and 2i + 1. The child's exit status, or -1. */
static int count(pid_t pid, unsigned *marks, double *calls, unsigned rounds)
{
    int status, signal = 0;
    waitpid(pid, &status, 0);
    if (WIFEXITED(status)) /* it has said why */
        return WEXITSTATUS(status);
    must(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) < 0 ? -errno : 0, "the child can't be traced");
    for (;;) {
        bool entry = false;
        uint64_t number, first;
        if (!next_call(pid, signal, &status, &entry, &number, &first)) {
            if (!WIFSTOPPED(status))
                return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
            signal = WSTOPSIG(status);
            continue;
        }
        signal = 0;
        if (entry && number == SYS_prctl && first == MARK)
            ++*marks;
        else if (entry && *marks % 2 && *marks / 2 < rounds)
            calls[*marks / 2]++;
    }
}

int main(void)
{
    double calls[ROUNDS + 1] = {0};
    unsigned marks = 0;
    pid_t pid = fork();
    must(pid < 0 ? -errno : 0, "no process");
    if (pid == 0)
        child();
    int status = count(pid, &marks, calls, ROUNDS + 1);
    if (status || marks != 2 * (ROUNDS + 1) || calls[ROUNDS] != CONTROL) {
        fprintf(stderr, "syscalls_bench: the figure means nothing: the child ended with %d after %u marks, and of %u calls %.0f counted\n",
                status, marks, CONTROL, calls[ROUNDS]);
        return 1;
    }
    puts("{");
    report("steady_state_syscalls_bounce", calls, "calls", "");
    puts("}");
    return 0;
}
