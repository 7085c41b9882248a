/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * event: eventfds, of which a peer holds a copy that it may do anything with: fill it, empty it, take O_NONBLOCK away
 * (that flag is shared by all copies). So a plain write to it, or read from it, can wait for ever.
 *
 * What never waits: the kernel's own signal when an asynchronous request ends (IOCB_FLAG_RESFD). Signalling therefore is such a
 * request, a read too short for an eventfd, which ends at once. Descriptors that are no eventfd the kernel refuses.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <viaduct/host.h>

#define REQUESTS 1u

struct results { /* the start of what the kernel maps for a context: a ring of results, which we only discard */
    uint32_t id, n, head, tail;
};

static _Thread_local aio_context_t context; /* 0: not made yet */
static pthread_key_t owner;
static pthread_once_t prepared = PTHREAD_ONCE_INIT;

int via_event_create(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd >= 0 ? fd : -errno;
}

static void destroy_context(void *c) { syscall(SYS_io_destroy, (aio_context_t)c); }

static void forget_context(void) { context = 0; } /* a child process has none */

static void prepare(void)
{
    pthread_key_create(&owner, destroy_context);
    pthread_atfork(NULL, NULL, forget_context);
}

static bool make_context(void)
{
    pthread_once(&prepared, prepare);
    aio_context_t c = 0;
    if (syscall(SYS_io_setup, REQUESTS, &c) < 0)
        return false;
    pthread_setspecific(owner, (void *)c);
    context = c;
    return true;
}

void via_event_signal(int fd)
{
    if (!context && !make_context()) { /* no such contexts here, or all in use: the way that trusts the peer */
        ssize_t r = write(fd, &(uint64_t){1}, sizeof(uint64_t));
        (void)r;
        return;
    }
    struct iocb op = {
        .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (uint32_t)fd, .aio_flags = IOCB_FLAG_RESFD, .aio_resfd = (uint32_t)fd};
    syscall(SYS_io_submit, context, 1, &(struct iocb *){&op});
    struct results *r = (struct results *)context;
    __atomic_store_n(&r->head, __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
}

void via_event_clear(int fd)
{
    uint64_t count;
    struct iovec iov = {&count, sizeof(count)};
    ssize_t r = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);
    (void)r; /* empty: nothing to clear */
}
