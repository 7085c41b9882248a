/* SPDX-License-Identifier: BSD-2-Clause */
/* image: what is this file, what can it do, and if it can't serve as a disk, why not? */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "image.h"

#define READ_ONLY "image '%s' can be read but not written (%s): make it writable, or ask for read-only"

static int try_open(const struct via_file_cfg *cfg, bool read_only, bool direct)
{
    /* Not to be kept waiting by a FIFO or a line that nobody answers. */
    int fd = open(cfg->path, (read_only ? O_RDONLY : O_RDWR) | (direct ? O_DIRECT : 0) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    return fd >= 0 ? fd : -errno;
}

static bool would_open(const struct via_file_cfg *cfg, bool read_only, bool direct)
{
    int fd = try_open(cfg, read_only, direct);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static int why_not_open(const struct via_file_cfg *cfg, int r, struct via_err *err)
{
    const char *path = cfg->path;
    if (r == -ENOENT)
        return via_err_set(err, r, "there is no image '%s'", path);
    if (r == -EISDIR)
        return via_err_set(err, r, "'%s' is a directory, not an image", path);
    if (r == -EINVAL && cfg->direct && would_open(cfg, cfg->read_only, false))
        return via_err_set(err, r, "the file system of '%s' does not do direct I/O (O_DIRECT): leave the wish for it out", path);
    if (!cfg->read_only && (r == -EACCES || r == -EPERM || r == -EROFS) && would_open(cfg, true, cfg->direct))
        return via_err_set(err, r, READ_ONLY, path, strerror(-r));
    if (r == -EACCES || r == -EPERM)
        return via_err_set(err, r, "image '%s' is not readable for this user: change its permissions", path);
    return via_err_set(err, r, "can't open image '%s': %s", path, strerror(-r));
}

static int judge_device(struct via_image *m, const char *path, struct via_err *err)
{
    int logical = 0, locked = 0;
    if (ioctl(m->fd, BLKGETSIZE64, &m->capacity) < 0 || ioctl(m->fd, BLKSSZGET, &logical) < 0)
        return via_err_set(err, -errno, "can't ask block device '%s' for its size: %s", path, strerror(errno));
    if (!m->read_only && ioctl(m->fd, BLKROGET, &locked) == 0 && locked) /* opening it for writing succeeds all the same */
        return via_err_set(err, -EACCES, READ_ONLY, path, "a read-only device");
    m->grain = (uint32_t)logical;
    return 0;
}

static int judge_regular(struct via_image *m, const char *path, const struct stat *st, struct via_err *err)
{
    struct statfs fs;
    struct rlimit limit;
    if (fstatfs(m->fd, &fs) < 0)
        return via_err_set(err, -errno, "can't look at the file system of '%s': %s", path, strerror(errno));
    m->in_memory = fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC;
    m->capacity = (uint64_t)st->st_size;
    m->grain = VIA_BLK_SECTOR;
    if (m->read_only)
        return 0;
    if (fs.f_type == HUGETLBFS_MAGIC)
        return via_err_set(err, -EROFS, "image '%s' is on hugetlbfs, where files can't be written to: ask for read-only", path);
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < m->capacity) /* writing there would kill us */
        return via_err_set(err, -EFBIG, "image '%s' is larger than this process may write (ulimit -f): raise that", path);
    return 0;
}

/*
 * What direct I/O asks of offsets and addresses. Kernels before 6.1 can't tell: a sector, mostly. Where that is more than a sector, what is
 * not aligned passes through the page cache; so that no page is ever reached in both ways, direct I/O is for whole pages there.
 */
static int judge_direct(struct via_image *m, const char *path, struct via_err *err)
{
    struct statx sx;
    uint32_t page = (uint32_t)sysconf(_SC_PAGESIZE);
    m->align = m->mem_align = m->grain;
    if (statx(m->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 && sx.stx_mask & STATX_DIOALIGN) {
        if (!via_is_pow2(sx.stx_dio_mem_align) || !via_is_pow2(sx.stx_dio_offset_align))
            return via_err_set(err, -EINVAL, "image '%s' can't be read and written directly (O_DIRECT): leave the wish for it out", path);
        m->mem_align = sx.stx_dio_mem_align;
        m->align = sx.stx_dio_offset_align;
    }
    if (m->align > VIA_BLK_SECTOR && m->align < page)
        m->align = page;
    return 0;
}

/* The same image without O_DIRECT. */
static int open_cached(struct via_image *m, const struct via_file_cfg *cfg, struct via_err *err)
{
    struct stat one, other;
    if (m->align <= VIA_BLK_SECTOR)
        return 0;
    m->cached_fd = try_open(cfg, cfg->read_only, false);
    if (m->cached_fd < 0)
        return why_not_open(cfg, m->cached_fd, err);
    if (fstat(m->fd, &one) < 0 || fstat(m->cached_fd, &other) < 0 || one.st_dev != other.st_dev || one.st_ino != other.st_ino)
        return via_err_set(err, -EAGAIN, "image '%s' was replaced while it was opened: start again", cfg->path);
    /* What is read ahead would lie in the cache beside what is written directly. */
    int r = posix_fadvise(m->cached_fd, 0, 0, POSIX_FADV_RANDOM);
    return r ? via_err_set(err, -r, "can't set up image '%s': %s", cfg->path, strerror(r)) : 0;
}

static int judge(struct via_image *m, const struct via_file_cfg *cfg, struct via_err *err)
{
    const char *path = cfg->path;
    struct stat st;
    if (fstat(m->fd, &st) < 0)
        return via_err_set(err, -errno, "can't look at image '%s': %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return via_err_set(err, -EISDIR, "'%s' is a directory, not an image", path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return via_err_set(err, -EINVAL, "'%s' is neither a file nor a block device, so it can't be a disk", path);
    int r = S_ISBLK(st.st_mode) ? judge_device(m, path, err) : judge_regular(m, path, &st, err);
    if (r == 0 && cfg->direct && !m->in_memory)
        r = judge_direct(m, path, err);
    if (r == 0 && m->align)
        r = open_cached(m, cfg, err);
    if (r < 0)
        return r;
    if (m->capacity == 0)
        return via_err_set(err, -EINVAL, "image '%s' is empty: a disk has at least one block (truncate -s gives it a size)", path);
    if (m->capacity % m->blk_size)
        return via_err_set(err, -EINVAL,
                           "image '%s' has %" PRIu64 " bytes, %" PRIu64 " more than a multiple of %u: give it whole blocks (truncate -s)",
                           path, m->capacity, m->capacity % m->blk_size, m->blk_size);
    return 0;
}

static void name_it(struct via_image *m, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *last = slash && slash[1] ? slash + 1 : path;
    memcpy(m->id, last, strnlen(last, sizeof(m->id))); /* without a NUL when all 20 are used (virtio v1.4 5.2.6) */
}

int via_image_open(struct via_image *m, const struct via_file_cfg *cfg, struct via_err *err)
{
    *m = (struct via_image){.read_only = cfg->read_only, .blk_size = cfg->blk_size ? cfg->blk_size : VIA_BLK_SECTOR, .cached_fd = -1};
    if (!via_is_pow2(m->blk_size) || m->blk_size < VIA_BLK_SECTOR)
        return via_err_set(err, -EINVAL, "image '%s': blocks of %u bytes: take a power of two from 512 on", cfg->path, m->blk_size);
    m->fd = try_open(cfg, cfg->read_only, cfg->direct);
    if (m->fd < 0)
        return why_not_open(cfg, m->fd, err);
    name_it(m, cfg->path);
    int r = judge(m, cfg, err);
    if (r == 0 && fcntl(m->fd, F_SETFL, cfg->direct ? O_DIRECT : 0) < 0) /* O_NONBLOCK off: io_uring would heed it */
        r = via_err_set(err, -errno, "can't set up image '%s': %s", cfg->path, strerror(errno));
    if (r < 0)
        via_image_close(m);
    return r;
}

void via_image_close(struct via_image *m)
{
    close(m->fd);
    if (m->cached_fd >= 0)
        close(m->cached_fd);
    m->fd = m->cached_fd = -1;
}
