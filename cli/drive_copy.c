/* SPDX-License-Identifier: BSD-2-Clause */
/* drive: the whole disk to a file, a file to the disk, or both compared. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drive_parts.h"

enum direction { OUT, IN, VERIFY };

struct copy {
    struct via_drive *d;
    enum direction way;
    int fd;
    uint64_t size;                   /* bytes to copy */
    uint64_t filled, sent, consumed; /* bytes: read from the file, submitted, done with in order */
    struct via_drive_io **io;        /* chunk i is in io[i % n] */
    unsigned n;
    uint64_t differ; /* bytes */
    uint64_t first;  /* where the first of them is */
    uint8_t *compare;
};

static void chunk_ended(struct via_drive *d, struct via_drive_io *io)
{
    via_latency_add(&d->latency, d->now - io->start);
    d->ops++;
    d->bytes += io->len;
}

static struct via_drive_io *chunk_at(struct copy *c, uint64_t offset) { return c->io[offset / c->d->opts.block_size % c->n]; }

static uint32_t chunk_len(const struct copy *c, uint64_t offset) { return (uint32_t)via_min64(c->size - offset, c->d->opts.block_size); }

static int file_read(struct copy *c, uint8_t *to, uint32_t len)
{
    for (uint32_t have = 0; have < len;) {
        ssize_t n = read(c->fd, to + have, len - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return via_err_set(&c->d->err, -errno, "can't read '%s': %s", c->d->opts.file, strerror(errno));
        if (!n)
            return via_err_set(&c->d->err, -VIA_EIO, "'%s' ended early", c->d->opts.file);
        have += (uint32_t)n;
    }
    return 0;
}

static int file_write(struct copy *c, const uint8_t *from, uint32_t len)
{
    for (uint32_t have = 0; have < len;) {
        ssize_t n = write(c->fd, from + have, len - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return via_err_set(&c->d->err, -errno, "can't write '%s': %s", c->d->opts.file, strerror(errno));
        have += (uint32_t)n;
    }
    return 0;
}

static int file_compare(struct copy *c, const struct via_drive_io *io)
{
    int r = file_read(c, c->compare, io->len);
    if (r || !memcmp(c->compare, io->buf, io->len))
        return r;
    for (uint32_t i = 0; i < io->len; i++)
        if (c->compare[i] != io->buf[i] && !c->differ++)
            c->first = io->offset + i;
    return 0;
}

/* Send chunks while there is room. */
static int send_chunks(struct copy *c)
{
    struct via_drive *d = c->d;
    while (c->sent < c->size && c->sent - c->consumed < (uint64_t)c->n * d->opts.block_size) {
        struct via_drive_io *io = chunk_at(c, c->sent);
        io->type = c->way == IN ? VIA_BLK_T_OUT : VIA_BLK_T_IN;
        io->offset = c->sent;
        io->len = chunk_len(c, c->sent);
        io->queue = (unsigned)(c->sent / d->opts.block_size % d->opts.queues);
        io->ended = chunk_ended;
        int r = 0;
        if (c->way == IN && c->filled == c->sent) {
            r = file_read(c, io->buf, io->len);
            c->filled += r ? 0 : io->len;
            d->now = via_drive_clock(); /* reading may have taken any time */
        }
        if (!r)
            r = via_drive_submit(d, io);
        if (r)
            return r == -VIA_EAGAIN ? 0 : r;
        c->sent += io->len;
    }
    return 0;
}

/* Take ended chunks in the disk's order. */
static int consume_chunks(struct copy *c)
{
    while (c->consumed < c->sent && !chunk_at(c, c->consumed)->busy) {
        struct via_drive_io *io = chunk_at(c, c->consumed);
        int r = io->result ? via_drive_io_failed(c->d, io) : 0;
        if (!r && c->way == OUT)
            r = file_write(c, io->buf, io->len);
        if (!r && c->way == VERIFY)
            r = file_compare(c, io);
        if (r)
            return r;
        c->consumed += io->len;
    }
    via_drive_progress(c->d, c->consumed, c->size);
    return 0;
}

static void flush_ended(struct via_drive *d, struct via_drive_io *io)
{
    (void)d;
    (void)io;
}

static int flush(struct copy *c)
{
    struct via_drive *d = c->d;
    struct via_drive_io *io = c->io[0];
    if (!(d->end.client.front.features & VIA_BIT(VIA_BLK_F_FLUSH)))
        return 0;
    io->type = VIA_BLK_T_FLUSH;
    io->offset = 0;
    io->len = 0;
    io->ended = flush_ended;
    int r = via_drive_submit(d, io);
    while (!r && io->busy)
        r = via_drive_turn(d);
    return r ? r : io->result ? via_drive_io_failed(d, io) : 0;
}

static int run(struct copy *c)
{
    struct via_drive *d = c->d;
    int r = 0;
    d->begun = d->now = via_drive_clock();
    while (!r && c->consumed < c->size) {
        r = send_chunks(c);
        if (!r)
            r = via_drive_turn(d);
        if (!r)
            r = consume_chunks(c);
    }
    if (!r && c->way == IN)
        r = flush(c);
    d->ended = via_drive_clock();
    if (!r && c->differ)
        r = via_err_set(&d->err, -VIA_EIO, "the disk and '%s' differ in %llu bytes, the first at byte %llu", d->opts.file,
                        (unsigned long long)c->differ, (unsigned long long)c->first);
    return r;
}

/* What of the file and of the disk is to be copied: a file that can tell its size is judged before anything moves. */
static int judge_sizes(struct copy *c)
{
    struct via_drive *d = c->d;
    struct stat st;
    c->size = d->capacity;
    if (c->way == OUT || fstat(c->fd, &st) || !S_ISREG(st.st_mode))
        return 0;
    unsigned long long file = (unsigned long long)st.st_size, disk = d->capacity;
    if (c->way == VERIFY && file != disk)
        return via_err_set(&d->err, -VIA_EIO, "the disk has %llu bytes, '%s' has %llu", disk, d->opts.file, file);
    if (c->way == IN && file > disk)
        return via_err_set(&d->err, -VIA_ENOSPC, "'%s' has %llu bytes, the disk only %llu: nothing was written", d->opts.file, file, disk);
    if (c->way == IN && file % d->blk_size)
        return via_err_set(&d->err, -VIA_EINVAL, "'%s' has %llu bytes, not a multiple of the disk's %u-byte blocks: nothing was written",
                           d->opts.file, file, d->blk_size);
    c->size = file;
    return 0;
}

static int open_file(struct copy *c)
{
    const char *name = c->d->opts.file;
    if (!strcmp(name, "-"))
        c->fd = c->way == OUT ? STDOUT_FILENO : STDIN_FILENO;
    else if (c->way == OUT)
        c->fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    else
        c->fd = open(name, O_RDONLY | O_CLOEXEC);
    if (c->fd < 0)
        return via_err_set(&c->d->err, -errno, "can't open '%s': %s", name, strerror(errno));
    return 0;
}

int via_drive_copy(struct via_drive *d)
{
    struct copy c = {.d = d, .fd = -1, .n = d->opts.depth * d->opts.queues};
    c.way = !strcmp(d->opts.command, "out") ? OUT : !strcmp(d->opts.command, "in") ? IN : VERIFY;
    if (c.way == IN && d->read_only)
        return via_err_set(&d->err, -VIA_EROFS, "the disk is read-only");
    int r = open_file(&c);
    if (!r)
        r = judge_sizes(&c);
    c.compare = malloc(d->opts.block_size);
    if (!r && !c.compare)
        r = via_err_set(&d->err, -VIA_ENOMEM, "no memory for a block of %u bytes", d->opts.block_size);
    if (!r)
        r = (c.io = via_drive_ios_new(d, c.n, d->opts.block_size)) ? 0 : -VIA_ENOMEM;
    if (!r)
        r = run(&c);
    if (c.fd > STDERR_FILENO && close(c.fd) && !r && c.way == OUT)
        r = via_err_set(&d->err, -errno, "can't write '%s': %s", d->opts.file, strerror(errno));
    free(c.compare);
    return r;
}
