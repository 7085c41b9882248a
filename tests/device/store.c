/* SPDX-License-Identifier: BSD-2-Clause */
/* A store in memory that a test steers. */
#include <stdlib.h>
#include <string.h>

#include "store.h"

static int perform(struct store *s, const struct via_blk_io *io)
{
    if (io->op == VIA_BLK_FLUSH)
        return 0;
    /* What the device lets through is inside the disk: these are our own mistakes. */
    if (io->len == 0 || io->offset > s->len || io->len > s->len - io->offset)
        abort();
    if (io->op == VIA_BLK_ZERO)
        memset(s->disk + io->offset, 0, io->len);
    if (io->op == VIA_BLK_DISCARD)
        memset(s->disk + io->offset, 0xdd, io->len);
    if (io->op != VIA_BLK_READ && io->op != VIA_BLK_WRITE)
        return 0;
    if (via_spans_len(io->span, io->n) != io->len)
        abort();
    if (io->op == VIA_BLK_READ)
        via_spans_write(io->span, io->n, 0, s->disk + io->offset, io->len);
    else
        via_spans_read(io->span, io->n, 0, s->disk + io->offset, io->len);
    return 0;
}

static void end(struct store *s, struct via_blk_io *io, bool fails)
{
    int result = fails ? s->fail : perform(s, io);
    io->done(io, result);
}

static int submit(struct via_blk_store *store, struct via_blk_io *io)
{
    struct store *s = via_container_of(store, struct store, store);
    if (s->refuse)
        return s->refuse;
    if (s->held >= s->room)
        return -VIA_EAGAIN;
    s->taken[io->op]++;
    s->total++;
    s->unmaps += io->op == VIA_BLK_ZERO && io->may_unmap;
    if (s->later)
        s->io[s->held++] = io;
    else
        end(s, io, s->fail && (!s->fail_at || s->fail_at == s->total));
    return 0;
}

static const struct via_blk_store_ops ops = {.submit = submit};

void store_init(struct store *s, uint8_t *disk, uint64_t len)
{
    *s = (struct store){.store.ops = &ops, .disk = disk, .len = len, .room = STORE_HELD};
}

void store_end(struct store *s, unsigned i)
{
    struct via_blk_io *io = s->io[i];
    s->held--;
    memmove(&s->io[i], &s->io[i + 1], (s->held - i) * sizeof(s->io[0]));
    end(s, io, s->fail && !s->fail_at);
}
