/* SPDX-License-Identifier: BSD-2-Clause */
/* drive: timed I/O, random or in sequence. With --verify each block that was written says so, and is believed nothing else. */
#include <stdlib.h>
#include <string.h>

#include "drive_parts.h"
#include "pattern.h"

struct load {
    struct via_drive *d;
    struct via_drive_io **io;
    unsigned n;
    uint64_t blocks, next, started, ended, until; /* until: ns */
    uint64_t random;
    uint64_t *generation; /* with --verify, one a block: of its last write, 0: not ours */
    uint8_t *in_use;      /* likewise: a request is on it */
    uint64_t writes;
    unsigned stuck; /* io that was prepared but found no room */
    bool reading_back;
    int result;
};

static uint64_t roll(struct load *l)
{
    uint64_t x = l->random;
    x ^= x << 13;
    x ^= x >> 7;
    return l->random = x ^ x << 17;
}

static bool more(const struct load *l)
{
    const struct via_drive *d = l->d;
    if (l->reading_back)
        return l->next < l->blocks;
    if (d->opts.dma == VIA_DRIVE_TURN)
        return !d->secure.over;
    if (d->opts.ops)
        return l->started < d->opts.ops;
    return d->now < l->until;
}

/* A block that no request is on: the next one in sequence, or the next after a random one. */
static bool choose_block(struct load *l, uint64_t *out)
{
    const struct via_drive_opts *o = &l->d->opts;
    uint64_t b = o->mix.random && !l->reading_back ? roll(l) % l->blocks : l->next++;
    if (l->reading_back) {
        while (b < l->blocks && !l->generation[b])
            b = l->next++;
        *out = b;
        return b < l->blocks;
    }
    b %= l->blocks;
    if (l->in_use)
        while (l->in_use[b]) /* more blocks than requests: via_drive_load saw to it */
            b = (b + 1) % l->blocks;
    *out = b;
    return true;
}

static bool prepare(struct load *l, struct via_drive_io *io)
{
    struct via_drive *d = l->d;
    uint64_t b;
    if (!choose_block(l, &b))
        return false;
    bool reads =
        l->reading_back || d->opts.mix.read_percent == 100 || (d->opts.mix.read_percent && roll(l) % 100 < d->opts.mix.read_percent);
    io->type = reads ? VIA_BLK_T_IN : VIA_BLK_T_OUT;
    io->offset = b * d->opts.block_size;
    io->tag = 0;
    if (!l->in_use)
        return true;
    l->in_use[b] = 1;
    io->tag = reads ? l->generation[b] : ++l->writes;
    if (!reads)
        via_pattern_fill(io->buf, io->len, io->offset, io->tag);
    return true;
}

static int check_block(struct load *l, const struct via_drive_io *io)
{
    uint64_t offset, generation;
    if (!io->tag)
        return 0;
    if (via_pattern_check(io->buf, io->len, io->offset, io->tag, &offset, &generation)) {
        l->d->verified++;
        return 0;
    }
    return via_err_set(&l->d->err, -VIA_EIO, "the block at byte %llu should be write %llu there, but says it is write %llu of byte %llu",
                       (unsigned long long)io->offset, (unsigned long long)io->tag, (unsigned long long)generation,
                       (unsigned long long)offset);
}

static void load_ended(struct via_drive *d, struct via_drive_io *io)
{
    struct load *l = io->owner;
    l->ended++;
    if (!l->reading_back) {
        via_latency_add(&d->latency, d->now - io->start);
        d->ops++;
        d->bytes += io->len;
    }
    if (io->result && !l->result)
        l->result = via_drive_io_failed(d, io);
    if (!l->in_use || io->result)
        return;
    uint64_t b = io->offset / d->opts.block_size;
    l->in_use[b] = 0;
    if (io->type == VIA_BLK_T_OUT)
        l->generation[b] = io->tag;
    else if (!l->result)
        l->result = check_block(l, io);
}

static int send_all(struct load *l)
{
    for (unsigned i = 0; i < l->n; i++) {
        struct via_drive_io *io = l->io[i];
        bool waited = l->stuck == i + 1;
        if (io->busy)
            continue;
        if (l->stuck && !waited)
            continue;
        if (!waited && (!more(l) || !prepare(l, io)))
            return 0;
        int r = via_drive_submit(l->d, io);
        if (r == -VIA_EAGAIN) {
            l->stuck = i + 1;
            return 0;
        }
        if (r)
            return r;
        l->stuck = 0;
        l->started++;
    }
    return 0;
}

static int run(struct load *l)
{
    struct via_drive *d = l->d;
    uint64_t seconds = (uint64_t)(d->opts.seconds * 1e9);
    while (!l->result && (d->inflight || l->stuck || more(l))) {
        l->result = send_all(l);
        if (l->result)
            break;
        if (l->reading_back && !d->inflight && !l->stuck)
            break;
        int r = via_drive_turn(d);
        if (r)
            l->result = r;
        if (l->reading_back)
            via_drive_progress(d, l->next, l->blocks);
        else if (d->opts.ops)
            via_drive_progress(d, d->ops, d->opts.ops);
        else
            via_drive_progress(d, d->now - d->begun, seconds);
    }
    return l->result;
}

static int set_up(struct load *l)
{
    struct via_drive *d = l->d;
    l->blocks = d->capacity / d->opts.block_size;
    unsigned n = d->opts.depth * d->opts.queues;
    if (!l->blocks)
        return via_err_set(&d->err, -VIA_EINVAL, "the disk is smaller than a block of %u bytes", d->opts.block_size);
    if (d->read_only && d->opts.mix.read_percent < 100)
        return via_err_set(&d->err, -VIA_EROFS, "the disk is read-only: choose a --mix that only reads");
    if (d->opts.verify && l->blocks < n)
        return via_err_set(&d->err, -VIA_EINVAL, "--verify needs a disk with at least %u blocks: lower --depth or --block-size", n);
    if (d->opts.verify) {
        l->generation = calloc(l->blocks, sizeof(*l->generation));
        l->in_use = calloc(l->blocks, 1);
    }
    if (d->opts.verify && (!l->generation || !l->in_use))
        return via_err_set(&d->err, -VIA_ENOMEM, "no memory for %llu blocks", (unsigned long long)l->blocks);
    if (!(l->io = via_drive_ios_new(d, n, d->opts.block_size)))
        return -VIA_ENOMEM;
    l->n = n;
    for (unsigned i = 0; i < l->n; i++) {
        struct via_drive_io *io = l->io[i];
        io->queue = i % d->opts.queues;
        io->ended = load_ended;
        io->owner = l;
        for (uint32_t k = 0; k < io->len; k++)
            io->buf[k] = (uint8_t)roll(l);
    }
    return 0;
}

int via_drive_load(struct via_drive *d)
{
    struct load l = {.d = d, .random = UINT64_C(0x2545f4914f6cdd1d)};
    int r = set_up(&l);
    d->begun = d->now = via_drive_clock();
    l.until = d->begun + (uint64_t)(d->opts.seconds * 1e9);
    if (!r && d->opts.dma == VIA_DRIVE_TURN)
        r = via_drive_secure_begin(d);
    if (!r)
        r = run(&l);
    d->ended = via_drive_clock();
    if (!r && d->opts.verify) { /* nothing that was written may be lost */
        l.reading_back = true;
        l.next = 0;
        r = run(&l);
    }
    d->lost = l.started - l.ended;
    if (d->opts.dma == VIA_DRIVE_TURN)
        r = via_drive_secure_judge(d, r);
    free(l.generation);
    free(l.in_use);
    return r;
}
