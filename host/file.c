/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * file: an image as a block store, over io_uring. What lies in memory anyway is read and written in place: there the
 * kernel would hand each request to a worker thread, which costs more than the copy.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image.h"

#define DEPTH_MAX 4096u
#define IN_PLACE_MAX (512u << 10) /* up to here a worker is never faster (measured); beyond, other queues would wait for us */
#define STEP_MAX (1u << 30)       /* bytes in one system call */
#define BOUNCE_BYTES (256u << 10) /* one buffer */
#define BOUNCE_BUFS 16u           /* for requests whose buffers direct I/O can't take */
#define ZERO_BYTES (1u << 20)
#define RETRIES 16u
#define PHYSICAL 4096u /* what most disks and file systems have: a guest that heeds it does well anywhere */

/* Ways to zero a range, the best first; the last is writing zeroes, which always works. */
enum { ZERO_BY_PUNCH, ZERO_BY_RANGE, ZERO_BY_WRITE };

struct op { /* a request on its way; what one call to the kernel leaves over, the next one does */
    struct via_blk_io *io;
    struct op *next;
    uint64_t moved; /* bytes done */
    unsigned span;  /* where the next byte is: span and bytes into it */
    size_t skip;
    uint8_t *bounce; /* NULL: the request's own buffers */
    unsigned zero_by, retries;
    bool cached; /* by the page cache, though others are not */
};

struct via_file {
    struct via_blk_store store;
    struct via_image image;
    struct io_uring ring;
    struct op *free, *ops;
    uint8_t *bounce, *bounce_free[BOUNCE_BUFS];
    unsigned bounces;
    void *zeroes; /* readable only: the kernel's one page of zeroes over and over */
    int event;
    unsigned lacks; /* bit ZERO_BY_..: this file system can't */
    bool fixed;     /* the descriptors are registered */
    bool fresh;     /* handed over just now: what ended meanwhile did not signal */
    bool reaping;
};

/* ------------------------------------------------------------------ one step of a request */

static bool moves_bytes(const struct op *op)
{
    enum via_blk_op what = op->io->op;
    return what == VIA_BLK_READ || what == VIA_BLK_WRITE || (what == VIA_BLK_ZERO && op->zero_by == ZERO_BY_WRITE);
}

static void prepare_run(struct io_uring_sqe *e, const struct op *op, int fd, void *ptr, uint64_t len)
{
    uint64_t at = op->io->offset + op->moved;
    unsigned n = (unsigned)via_min64(len, STEP_MAX);
    if (op->io->op == VIA_BLK_READ)
        io_uring_prep_read(e, fd, ptr, n, at);
    else
        io_uring_prep_write(e, fd, ptr, n, at);
}

static void prepare_transfer(struct io_uring_sqe *e, const struct op *op, int fd)
{
    const struct via_blk_io *io = op->io;
    const struct via_span *s = io->span + op->span;
    uint64_t left = io->len - op->moved, at = io->offset + op->moved;
    if (op->bounce) {
        size_t len = via_min64(left, BOUNCE_BYTES);
        if (io->op == VIA_BLK_WRITE)
            via_spans_read(io->span, io->n, op->moved, op->bounce, len);
        prepare_run(e, op, fd, op->bounce, len);
    } else if (op->skip || op->span + 1 == io->n) {
        prepare_run(e, op, fd, (uint8_t *)s->ptr + op->skip, s->len - op->skip);
    } else {
        unsigned n = (unsigned)via_min64(io->n - op->span, IOV_MAX);
        const struct iovec *iov = (const struct iovec *)(const void *)s;
        if (io->op == VIA_BLK_READ)
            io_uring_prep_readv(e, fd, iov, n, at);
        else
            io_uring_prep_writev(e, fd, iov, n, at);
    }
}

static void prepare_zero(struct io_uring_sqe *e, struct via_file *f, struct op *op, int fd)
{
    while (op->zero_by < ZERO_BY_WRITE && f->lacks & 1u << op->zero_by)
        op->zero_by++;
    if ((op->io->offset | op->io->len) & (f->image.grain - 1))
        op->zero_by = ZERO_BY_WRITE;
    int mode = FALLOC_FL_KEEP_SIZE | (op->zero_by == ZERO_BY_PUNCH ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
    if (op->zero_by == ZERO_BY_WRITE)
        prepare_run(e, op, fd, f->zeroes, via_min64(op->io->len - op->moved, ZERO_BYTES));
    else
        io_uring_prep_fallocate(e, fd, mode, (off_t)op->io->offset, (off_t)op->io->len);
}

/* The whole grains within. */
static void prepare_discard(struct io_uring_sqe *e, const struct via_file *f, const struct via_blk_io *io, int fd)
{
    uint64_t grain = f->image.grain, from = (io->offset + grain - 1) & ~(grain - 1), end = (io->offset + io->len) & ~(grain - 1);
    if (from < end)
        io_uring_prep_fallocate(e, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(end - from));
    else
        io_uring_prep_nop(e);
}

/* Queue the next step. An op has at most one step queued, and the ring as many places as there are ops. */
static void queue(struct via_file *f, struct op *op)
{
    struct io_uring_sqe *e = io_uring_get_sqe(&f->ring);
    const struct via_blk_io *io = op->io;
    int fd = f->fixed ? op->cached : op->cached ? f->image.cached_fd : f->image.fd;
    switch (io->op) {
    case VIA_BLK_READ:
    case VIA_BLK_WRITE:
        prepare_transfer(e, op, fd);
        break;
    case VIA_BLK_FLUSH:
        io_uring_prep_fsync(e, fd, IORING_FSYNC_DATASYNC);
        break;
    case VIA_BLK_DISCARD:
        prepare_discard(e, f, io, fd);
        break;
    case VIA_BLK_ZERO:
        prepare_zero(e, f, op, fd);
        break;
    }
    if (f->fixed && e->opcode != IORING_OP_NOP)
        e->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data(e, op);
}

static void finish(struct via_file *f, struct op *op, int result)
{
    struct via_blk_io *io = op->io;
    if (op->bounce)
        f->bounce_free[f->bounces++] = op->bounce;
    op->next = f->free;
    f->free = op;
    io->done(io, result);
}

static void move_on(struct op *op, size_t bytes)
{
    const struct via_blk_io *io = op->io;
    op->moved += bytes;
    if (op->bounce || io->op == VIA_BLK_ZERO)
        return;
    op->skip += bytes;
    while (op->span < io->n && op->skip >= io->span[op->span].len)
        op->skip -= io->span[op->span++].len;
}

/* A step moved `bytes`. Nothing at all: the file has ended before its time, or takes no more without a reason. */
static int transferred(struct via_file *f, struct op *op, size_t bytes)
{
    const struct via_blk_io *io = op->io;
    if (f->image.align && !op->cached && op->moved + bytes < io->len)
        bytes &= ~(size_t)(f->image.align - 1); /* direct I/O goes on where a block starts only */
    if (bytes == 0)
        return -EIO;
    if (op->bounce && io->op == VIA_BLK_READ)
        via_spans_write(io->span, io->n, op->moved, op->bounce, bytes);
    move_on(op, bytes);
    return op->moved == io->len;
}

/* A step ended. True: the request did too. */
static bool step_ended(struct via_file *f, struct op *op, int res)
{
    bool zeroing = op->io->op == VIA_BLK_ZERO && op->zero_by != ZERO_BY_WRITE;
    bool again = (res == -EAGAIN || res == -EINTR) && op->retries++ < RETRIES;
    if (zeroing && res == -EOPNOTSUPP) {
        f->lacks |= 1u << op->zero_by;
        again = true;
    }
    if (op->io->op == VIA_BLK_DISCARD && res == -EOPNOTSUPP)
        res = 0; /* a hint, which may be left unheeded */
    if (!again && res >= 0)
        res = moves_bytes(op) ? transferred(f, op, (size_t)res) : 1;
    if (again || res == 0) {
        queue(f, op);
        return false;
    }
    finish(f, op, res < 0 ? res : 0);
    return true;
}

/* ------------------------------------------------------------------ the store */

/* True: done. Else the ring finds out what is wrong, or does the rest. */
static bool do_in_place(struct via_file *f, struct via_blk_io *io)
{
    const struct iovec *iov = (const struct iovec *)(const void *)io->span;
    off_t at = (off_t)io->offset;
    ssize_t got = -1;
    if (io->n == 1)
        got = io->op == VIA_BLK_READ ? pread(f->image.fd, iov->iov_base, iov->iov_len, at)
                                     : pwrite(f->image.fd, iov->iov_base, iov->iov_len, at);
    else if (io->n <= IOV_MAX)
        got = io->op == VIA_BLK_READ ? preadv(f->image.fd, iov, (int)io->n, at) : pwritev(f->image.fd, iov, (int)io->n, at);
    if (got < 0 || (uint64_t)got != io->len)
        return false;
    io->done(io, 0);
    return true;
}

/* Results that need no look at the file: 1 when it does. */
static int judge_request(const struct via_file *f, const struct via_blk_io *io)
{
    bool changes = io->op != VIA_BLK_READ && io->op != VIA_BLK_FLUSH;
    if (io->op == VIA_BLK_FLUSH)
        return !f->image.read_only && !f->image.in_memory;
    if (changes && f->image.read_only)
        return -EROFS;
    if (io->len == 0)
        return 0;
    return via_range_inside(io->offset, io->len, 0, f->image.capacity - 1) ? 1 : -EINVAL;
}

/* Too finely divided for direct I/O. */
static bool needs_cache(const struct via_file *f, const struct via_blk_io *io)
{
    return f->image.cached_fd >= 0 && io->op != VIA_BLK_FLUSH && io->op != VIA_BLK_DISCARD && (io->offset | io->len) & (f->image.align - 1);
}

static bool needs_bounce(const struct via_file *f, const struct via_blk_io *io)
{
    if (!f->image.mem_align || (io->op != VIA_BLK_READ && io->op != VIA_BLK_WRITE) || needs_cache(f, io))
        return false;
    uintptr_t bits = 0;
    for (unsigned i = 0; i < io->n; i++)
        bits |= ((uintptr_t)io->span[i].ptr & (f->image.mem_align - 1)) | (io->span[i].len & (f->image.align - 1));
    return bits != 0;
}

static int submit(struct via_blk_store *store, struct via_blk_io *io)
{
    struct via_file *f = via_container_of(store, struct via_file, store);
    int r = judge_request(f, io);
    if (r <= 0) {
        io->done(io, r);
        return 0;
    }
    bool transfer = io->op == VIA_BLK_READ || io->op == VIA_BLK_WRITE;
    VIA_ASSERT(!transfer || via_spans_len(io->span, io->n) == io->len);
    if (f->image.in_memory && transfer && io->len <= IN_PLACE_MAX && do_in_place(f, io))
        return 0;
    struct op *op = f->free;
    bool bounce = needs_bounce(f, io);
    if (!op || (bounce && !f->bounces))
        return -VIA_EAGAIN;
    f->free = op->next;
    *op = (struct op){.io = io, .zero_by = io->may_unmap ? ZERO_BY_PUNCH : ZERO_BY_RANGE, .cached = needs_cache(f, io)};
    if (bounce)
        op->bounce = f->bounce_free[--f->bounces];
    if (transfer)
        move_on(op, 0); /* past empty spans */
    queue(f, op);
    return 0;
}

static const struct via_blk_store_ops ops = {.submit = submit};

/* ------------------------------------------------------------------ the ring */

/* What can't be handed over now is tried again at the next reap, which we cause ourselves. */
static void enter(struct via_file *f)
{
    while (io_uring_sq_ready(&f->ring))
        if (io_uring_submit(&f->ring) <= 0) {
            via_event_signal(f->event);
            return;
        }
}

void via_file_submit(struct via_file *f)
{
    f->fresh = true;
    if (!io_uring_sq_ready(&f->ring))
        return;
    io_uring_cq_eventfd_toggle(&f->ring, false);
    enter(f);
    io_uring_cq_eventfd_toggle(&f->ring, true);
    via_fence(); /* what is not seen by the reap that follows does signal */
}

bool via_file_due(const struct via_file *f)
{
    unsigned flags = __atomic_load_n(f->ring.sq.kflags, __ATOMIC_RELAXED);
    return io_uring_cq_ready(&f->ring) || flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

unsigned via_file_reap(struct via_file *f)
{
    unsigned n = 0;
    struct io_uring_cqe *e;
    if (f->reaping) /* from a done: the reap that called it goes on */
        return 0;
    f->reaping = true;
    if (!f->fresh)
        via_event_clear(f->event);
    f->fresh = false;
    while (io_uring_peek_cqe(&f->ring, &e) == 0) {
        struct op *op = io_uring_cqe_get_data(e);
        int res = e->res;
        io_uring_cqe_seen(&f->ring, e);
        n += step_ended(f, op, res);
    }
    enter(f);
    f->reaping = false;
    return n;
}

static int start_ring(struct via_file *f, unsigned depth, struct via_err *err)
{
    static const unsigned flags[] = {
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SINGLE_ISSUER,
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        0,
    };
    int r = -EINVAL;
    for (size_t i = 0; r == -EINVAL && i < via_array_len(flags); i++)
        r = io_uring_queue_init(depth, &f->ring, flags[i]);
    if (r == -EPERM || r == -ENOSYS)
        return via_err_set(err, r, "the kernel lets this process have no io_uring (%s): see sysctl kernel.io_uring_disabled", strerror(-r));
    if (r == -ENOMEM)
        return via_err_set(err, r, "no memory for io_uring: raise the limit of what may be locked (ulimit -l)");
    if (r < 0)
        return via_err_set(err, r, "can't set up io_uring: %s", strerror(-r));
    r = io_uring_register_eventfd(&f->ring, f->event);
    if (r < 0) {
        io_uring_queue_exit(&f->ring);
        return via_err_set(err, r, "can't have io_uring signal an eventfd: %s", strerror(-r));
    }
    const int fds[] = {f->image.fd, f->image.cached_fd};
    f->fixed = io_uring_register_files(&f->ring, fds, fds[1] < 0 ? 1 : 2) == 0;
    return 0;
}

/* ------------------------------------------------------------------ open and close */

static int take_memory(struct via_file *f, unsigned depth)
{
    f->ops = calloc(depth, sizeof(*f->ops));
    f->zeroes = mmap(NULL, ZERO_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!f->ops || f->zeroes == MAP_FAILED)
        return -ENOMEM;
    for (unsigned i = 0; i < depth; i++) {
        f->ops[i].next = f->free;
        f->free = &f->ops[i];
    }
    if (!f->image.mem_align)
        return 0;
    f->bounce = mmap(NULL, (size_t)BOUNCE_BUFS * BOUNCE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (f->bounce == MAP_FAILED)
        return -ENOMEM;
    for (; f->bounces < BOUNCE_BUFS; f->bounces++)
        f->bounce_free[f->bounces] = f->bounce + (size_t)f->bounces * BOUNCE_BYTES;
    return 0;
}

static void give_memory(struct via_file *f)
{
    if (f->bounce && f->bounce != MAP_FAILED)
        munmap(f->bounce, (size_t)BOUNCE_BUFS * BOUNCE_BYTES);
    if (f->zeroes && f->zeroes != MAP_FAILED)
        munmap(f->zeroes, ZERO_BYTES);
    free(f->ops);
    free(f);
}

int via_file_open(struct via_file **out, const struct via_file_cfg *cfg, struct via_err *err)
{
    if (cfg->depth == 0 || cfg->depth > DEPTH_MAX)
        return via_err_set(err, -EINVAL, "a file takes 1 to %u requests at once, not %u", DEPTH_MAX, cfg->depth);
    struct via_file *f = calloc(1, sizeof(*f));
    if (!f)
        return via_err_set(err, -ENOMEM, "no memory for image '%s'", cfg->path);
    f->store.ops = &ops;
    int r = via_image_open(&f->image, cfg, err);
    if (r < 0) {
        free(f);
        return r;
    }
    f->event = via_event_create();
    if (f->event < 0)
        r = via_err_set(err, f->event, "can't make an eventfd: %s", strerror(-f->event));
    else if (take_memory(f, cfg->depth) < 0)
        r = via_err_set(err, -ENOMEM, "no memory for %u requests on image '%s'", cfg->depth, cfg->path);
    else
        r = start_ring(f, cfg->depth, err);
    if (r < 0) {
        if (f->event >= 0)
            close(f->event);
        via_image_close(&f->image);
        give_memory(f);
        return r;
    }
    *out = f;
    return 0;
}

void via_file_close(struct via_file *f)
{
    if (f->fixed)
        io_uring_unregister_files(&f->ring); /* now, and not when the ring has faded away: the disk may be about to be unmounted */
    io_uring_queue_exit(&f->ring);
    close(f->event);
    via_image_close(&f->image);
    give_memory(f);
}

struct via_blk_store *via_file_store(struct via_file *f) { return &f->store; }

int via_file_fd(const struct via_file *f) { return f->event; }

/* Nothing of the place where it lies: what a guest sees may not change when its image moves. */
void via_file_limits(const struct via_file *f, struct via_blk_limits *l)
{
    const struct via_image *m = &f->image;
    l->capacity = m->capacity;
    l->blk_size = m->blk_size;
    l->physical_size = m->blk_size < PHYSICAL ? PHYSICAL : m->blk_size;
    l->opt_io = 0;
    l->read_only = m->read_only;
    l->discard = !m->read_only;      /* a hint: where nothing can be punched it is left unheeded */
    l->write_zeroes = !m->read_only; /* in the last resort by writing them */
    memcpy(l->id, m->id, sizeof(l->id));
}
