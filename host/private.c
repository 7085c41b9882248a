/* SPDX-License-Identifier: BSD-2-Clause */
/* private: the view of a guest's memory, whose pages show the shared backing or pages of our own. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <viaduct/private.h>

#define PAGE ((size_t)VIA_PROTECT_PAGE)
#define WORD 64u
#define MAPS_DEFAULT 65530u /* the kernel's own default */

static struct via_private *private_of(struct via_protect *p) { return via_container_of(p, struct via_private, protect); }

/* ------------------------------------------------------------------ what the view shows */

static bool shows(const struct via_private *m, size_t page) { return m->shows[page / WORD] >> page % WORD & 1; }

/* The pieces of the view once pages [page, page + n) show the backing, or don't. */
static size_t pieces_with(const struct via_private *m, size_t page, size_t n, bool shared)
{
    size_t pages = m->protect.pages, pieces = m->pieces;
    for (size_t i = page ? page : 1; i <= page + n && i < pages; i++)
        pieces -= shows(m, i - 1) != shows(m, i);
    pieces += page && shows(m, page - 1) != shared;
    return pieces + (page + n < pages && shows(m, page + n) != shared);
}

static void note(struct via_private *m, size_t page, size_t n, bool shared)
{
    m->pieces = pieces_with(m, page, n, shared);
    for (size_t end = page + n; page < end; page++)
        m->shows[page / WORD] = (m->shows[page / WORD] & ~(UINT64_C(1) << page % WORD)) | (uint64_t)shared << page % WORD;
}

/* Before anything is done: how many mappings a process has is limited, and others of its parts need some, too. */
static int count(struct via_private *m, size_t page, size_t n, bool shared)
{
    size_t pieces = pieces_with(m, page, n, shared);
    if (pieces <= m->pieces_max)
        return 0;
    return via_err_set(&m->why, -VIA_ENOSPC,
                       "the memory would be in %zu pieces, in turn shared and private, and %zu is the limit: convert larger runs, or raise "
                       "vm.max_map_count",
                       pieces, m->pieces_max);
}

static int failed(struct via_private *m, int error, size_t page, size_t n, const char *what)
{
    return via_err_set(&m->why, -error, "pages %zu to %zu can't be %s: %s%s", page, page + n - 1, what, strerror(error),
                       error == ENOMEM ? " (or too many mappings: vm.max_map_count)" : "");
}

/* ------------------------------------------------------------------ conversions */

/* What was private stays behind in the pages of our own: it is wiped, which can't go wrong in a way that others would see. */
static int show_backing(struct via_private *m, size_t page, size_t n)
{
    int flags = MAP_SHARED | MAP_FIXED | MAP_NORESERVE;
    void *at = m->memory.ptr + page * PAGE;
    if (mmap(at, n * PAGE, PROT_READ | PROT_WRITE, flags, m->memory.fd, (off_t)(page * PAGE)) == MAP_FAILED)
        return failed(m, errno, page, n, "shared");
    (void)madvise(m->own + page * PAGE, n * PAGE, MADV_REMOVE);
    note(m, page, n, true);
    return 0;
}

/* An old size of 0 asks for one more mapping of the same pages. */
static int show_own(struct via_private *m, size_t page, size_t n)
{
    void *at = m->memory.ptr + page * PAGE;
    if (mremap(m->own + page * PAGE, 0, n * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at) == MAP_FAILED)
        return failed(m, errno, page, n, "made private");
    note(m, page, n, false);
    return 0;
}

static int punch(struct via_private *m, size_t page, size_t n)
{
    int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    if (fallocate(m->memory.fd, mode, (off_t)(page * PAGE), (off_t)(n * PAGE)) < 0)
        return failed(m, errno, page, n, "taken out of the shared backing");
    return 0;
}

/*
 * The hole comes first: should the view not follow, the pages are shared still and all that is lost is their content, which was to be. The
 * other way round, pages would be private while the backing tells what they held.
 */
static int hide(struct via_private *m, size_t page, size_t n)
{
    int r = punch(m, page, n);
    return r < 0 ? r : show_own(m, page, n);
}

static int tell(struct via_private *m, size_t page, size_t n, bool shared, size_t *told)
{
    *told = 0;
    int r = m->host ? m->host->tell(m->host, page, n, shared, told) : 0;
    if (r < 0)
        return via_err_set(&m->why, r, "the host can't be told that page %zu becomes %s: %s", page + *told, shared ? "shared" : "private",
                           strerror(-r));
    *told = n;
    return 0;
}

/* The memory follows what the host was told, all of it or nothing. */
static int convert(struct via_protect *p, size_t page, size_t n, size_t *done, bool shared)
{
    struct via_private *m = private_of(p);
    size_t told = 0;
    *done = 0;
    int counted = count(m, page, n, shared), said = counted < 0 ? counted : tell(m, page, n, shared, &told);
    if (!told)
        return said;
    int r = shared ? show_backing(m, page, told) : hide(m, page, told);
    if (r == 0) {
        *done = told;
        return said;
    }
    if (m->host)
        (void)m->host->tell(m->host, page, told + (said < 0), !shared, &told);
    return r;
}

static int share(struct via_protect *p, size_t page, size_t n, size_t *done) { return convert(p, page, n, done, true); }

static int unshare(struct via_protect *p, size_t page, size_t n, size_t *done) { return convert(p, page, n, done, false); }

static const struct via_protect_ops private_ops = {"private", share, unshare};

/* ------------------------------------------------------------------ its life */

static size_t maps_of_a_process(void)
{
    char text[32] = "";
    int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    size_t maps = n > 0 ? strtoul(text, NULL, 10) : 0;
    return maps ? maps : MAPS_DEFAULT;
}

/*
 * Pages of our own are one mapping, of which the view shows parts: so neighbours in the view are one mapping again, whatever order they
 * were converted in. No descriptor leads there, and no child.
 */
static int make_own(struct via_private *m, struct via_err *err)
{
    size_t len = m->memory.len;
    void *own = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (own == MAP_FAILED)
        return via_err_set(err, -errno, "can't map %zu bytes of private memory: %s", len, strerror(errno));
    m->own = own;
    if (madvise(own, len, MADV_DONTFORK) < 0 || madvise(own, len, MADV_DONTDUMP) < 0)
        return via_err_set(err, -errno, "can't keep %zu bytes to this process: %s", len, strerror(errno));
    return 0;
}

static int set_up(struct via_private *m, const struct via_private_cfg *cfg, struct via_err *err)
{
    size_t pages = cfg->len / PAGE, words = VIA_PROTECT_WORDS(pages);
    _Atomic uint64_t *map = calloc(words, sizeof(*map));
    m->protect.map = map;
    m->shows = calloc(words / 2, sizeof(*m->shows));
    if (!map || !m->shows)
        return via_err_set(err, -ENOMEM, "no memory to say which of %zu pages are private", pages);
    int r = via_protect_init(&m->protect, &private_ops, m->memory.ptr, pages, cfg->shared, map, words);
    if (r < 0)
        return via_err_set(err, r, "memory of %zu pages can't be protected", pages);
    m->pieces = 1;
    m->pieces_max = cfg->pieces ? cfg->pieces : maps_of_a_process() / 2;
    note(m, 0, pages, true);
    r = cfg->shared ? 0 : show_own(m, 0, pages);
    return r < 0 ? via_err_set(err, r, "%s", m->why.text) : 0;
}

int via_private_create(struct via_private *m, const struct via_private_cfg *cfg, struct via_err *err)
{
    *m = (struct via_private){.memory = {.fd = -1}};
    if (!cfg->len || cfg->len % PAGE)
        return via_err_set(err, -EINVAL, "memory of %zu bytes is not whole pages of %zu bytes", cfg->len, PAGE);
    if (sysconf(_SC_PAGESIZE) != (long)PAGE)
        return via_err_set(err, -ENOTSUP, "this machine's pages have %ld bytes, and not %zu", sysconf(_SC_PAGESIZE), PAGE);
    int r = via_memory_create(&m->memory, cfg->name, cfg->len, err);
    if (r == 0)
        r = make_own(m, err);
    if (r == 0)
        r = set_up(m, cfg, err);
    if (r < 0)
        via_private_destroy(m);
    return r;
}

void via_private_destroy(struct via_private *m)
{
    if (m->own)
        munmap(m->own, m->memory.len);
    via_memory_destroy(&m->memory);
    free(m->protect.map);
    free(m->shows);
    m->protect.map = NULL;
    m->shows = NULL;
    m->own = NULL;
}
