/* SPDX-License-Identifier: BSD-2-Clause */
/* mapped: a peer's memory in this process, and the guard that keeps us alive when the peer takes it away. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <viaduct/host.h>

/*
 * The list of mapped regions, which the SIGBUS handler walks. The lock spins, so that a handler can take it: whoever
 * holds it touches no peer's memory, so a thread never faults while it holds the lock itself.
 */
static struct via_mapped *list;
static atomic_flag list_lock = ATOMIC_FLAG_INIT;
static struct sigaction before_us;
static pthread_once_t installed = PTHREAD_ONCE_INIT;

static void lock(void)
{
    while (atomic_flag_test_and_set_explicit(&list_lock, memory_order_acquire))
        sched_yield();
}

static void unlock(void) { atomic_flag_clear_explicit(&list_lock, memory_order_release); }

/* The system call itself: in a signal handler nothing may stand between, and to other threads this is but one more change
 * of memory that changes at any time. */
static bool put_zeroes(void *at, size_t len)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
    return syscall(SYS_mmap, at, len, PROT_READ | PROT_WRITE, flags, -1, 0) != -1;
}

/* Put zeroes of our own in place of a peer's region. All of it at once: so a peer can't split us into more mappings than the
 * kernel allows. Where that much can't be had, the page alone. */
static bool replace(uintptr_t addr)
{
    lock();
    struct via_mapped *m = list;
    while (m && addr - (uintptr_t)m->map >= m->map_len)
        m = m->next;
    bool ok = false;
    if (m) {
        size_t in_page = (addr - (uintptr_t)m->map) & (m->page - 1);
        ok = put_zeroes(m->map, m->map_len) || put_zeroes((void *)(addr - in_page), m->page);
        atomic_store_explicit(&m->dead, true, memory_order_release);
    }
    unlock();
    return ok;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
    int saved = errno;
    bool ours = info->si_code == BUS_ADRERR && replace((uintptr_t)info->si_addr);
    errno = saved;
    if (ours)
        return;
    if (before_us.sa_flags & SA_SIGINFO) {
        before_us.sa_sigaction(sig, info, context);
    } else if (before_us.sa_handler == SIG_IGN && info->si_code <= 0) {
        return; /* sent by somebody; a fault can't be ignored */
    } else if (before_us.sa_handler == SIG_DFL || before_us.sa_handler == SIG_IGN) {
        signal(sig, SIG_DFL); /* a fault comes again at once, and what was sent is sent again */
        if (info->si_code <= 0)
            raise(sig);
    } else {
        before_us.sa_handler(sig);
    }
}

static void install(void)
{
    struct sigaction sa = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGBUS, NULL, &before_us); /* known before it can be needed */
    sigaction(SIGBUS, &sa, NULL);
}

/* What is behind the descriptor, and in pages of which size? Nothing here may ask a file system that another program serves
 * (FUSE), nor may such a one's pages be touched: it could leave us waiting for ever. */
static int judge(int fd, uint64_t offset, uint64_t len, size_t *page, struct via_err *err)
{
    struct statx st;
    struct statfs fs;
    uint64_t end;
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_SIZE, &st) < 0)
        return via_err_set(err, -errno, "can't look at a memory region's descriptor: %s", strerror(errno));
    bool memory = fcntl(fd, F_GET_SEALS) >= 0; /* a memfd, tmpfs, hugetlbfs */
    if (!S_ISREG(st.stx_mode) || (!memory && st.stx_dev_major == 0))
        return via_err_set(err, -EINVAL, "a memory region's descriptor is neither memory nor a file on a disk");
    if ((fcntl(fd, F_GETFL) & (O_ACCMODE | O_PATH)) != O_RDWR)
        return via_err_set(err, -EINVAL, "a memory region's descriptor is not open for reading and writing");
    if (len == 0 || !via_add64(offset, len, &end) || end > st.stx_size)
        return via_err_set(err, -EINVAL,
                           "a memory region (offset 0x%" PRIx64 ", length 0x%" PRIx64 ") is not inside its file of 0x%" PRIx64 " bytes",
                           offset, len, (uint64_t)st.stx_size);
    *page = (size_t)sysconf(_SC_PAGESIZE);
    if (memory && fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC)
        *page = (size_t)fs.f_bsize;
    return 0;
}

static void enlist(struct via_mapped *m)
{
    lock();
    m->next = list;
    list = m;
    unlock();
}

int via_mapped_open(struct via_mapped *m, int fd, uint64_t offset, uint64_t len, struct via_err *err)
{
    size_t page = 0;
    memset(m, 0, sizeof(*m));
    int r = judge(fd, offset, len, &page, err);
    if (r < 0)
        return r;
    pthread_once(&installed, install);
    uint64_t skip = offset & (page - 1);
    uint64_t map_len = (skip + len + page - 1) & ~(uint64_t)(page - 1); /* a file's size is below 2^63: no overflow */
    void *map = mmap(NULL, map_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, (off_t)(offset - skip));
    if (map == MAP_FAILED)
        return via_err_set(err, -errno, "can't map a memory region of 0x%" PRIx64 " bytes: %s", len, strerror(errno));
    *m = (struct via_mapped){.ptr = (uint8_t *)map + skip, .len = len, .map = map, .map_len = map_len, .page = page};
    enlist(m);
    return 0;
}

/* Where a piece goes in a join, in whole pages: false when it does not fit to what is there. */
static bool join_piece(char *at, const struct via_span *piece, size_t page)
{
    uintptr_t start = (uintptr_t)piece->ptr & ~(page - 1), end = ((uintptr_t)piece->ptr + piece->len + page - 1) & ~(page - 1);
    /* An old size of 0 asks for one more mapping of the same shared memory. */
    return mremap((void *)start, 0, end - start, MREMAP_MAYMOVE | MREMAP_FIXED, at) == (void *)at;
}

int via_mapped_join(struct via_mapped *m, const struct via_span *piece, unsigned n, struct via_err *err)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), skip = (uintptr_t)piece[0].ptr & (page - 1), len = 0;
    memset(m, 0, sizeof(*m));
    for (unsigned i = 0; i < n; i++) {
        if ((i > 0 && (uintptr_t)piece[i].ptr % page) || (i + 1 < n && ((uintptr_t)piece[i].ptr + piece[i].len) % page))
            return via_err_set(err, -EINVAL, "memory in pieces that do not begin and end with a page can't be joined");
        len += piece[i].len;
    }
    size_t map_len = (skip + len + page - 1) & ~(page - 1), at = 0;
    char *map = mmap(NULL, map_len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        return via_err_set(err, -errno, "no room for a mapping of 0x%zx bytes: %s", map_len, strerror(errno));
    for (unsigned i = 0; i < n; i++) {
        if (!join_piece(map + at, &piece[i], page)) {
            (void)via_err_set(err, 0, "%u pieces of memory can't be joined: %s", n, strerror(errno));
            munmap(map, map_len);
            return -VIA_ENOMEM;
        }
        at += ((i == 0 ? skip : 0) + piece[i].len + page - 1) & ~(page - 1);
    }
    *m = (struct via_mapped){.ptr = (uint8_t *)map + skip, .len = len, .map = map, .map_len = map_len, .page = page};
    enlist(m);
    return 0;
}

void via_mapped_close(struct via_mapped *m)
{
    if (!m->map)
        return;
    lock();
    struct via_mapped **at = &list;
    while (*at != m)
        at = &(*at)->next;
    *at = m->next;
    unlock();
    munmap(m->map, m->map_len);
    m->map = NULL;
    m->ptr = NULL;
}
