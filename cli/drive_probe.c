/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * drive: small reads into the middle of guarded memory. Whatever the back-end does with the bytes around a buffer, or behind the
 * length that it reports, the driver must find as it was.
 */
#include <stdlib.h>
#include <string.h>

#include "drive_parts.h"

static uint8_t mark(size_t i) { return (uint8_t)(0x5a ^ i * 29); }

static uint64_t changed(const uint8_t *area, size_t from, size_t to)
{
    uint64_t n = 0;
    for (size_t i = from; i < to; i++)
        n += area[i] != mark(i);
    return n;
}

static void probe_ended(struct via_drive *d, struct via_drive_io *io)
{
    uint8_t *area = io->owner;
    size_t len = d->blk_size;
    d->probed.requests++;
    d->probed.refused += io->result != 0;
    d->probed.guard_damaged += changed(area, 0, len) + changed(area, 2 * len, 3 * len);
    /* Nothing counts as written of a request that did not succeed. A device that reports a length for its failure zeroes it: not what lay
     * there. */
    if (io->result == -VIA_EPROTO)
        d->probed.unwritten_changed += changed(area, len, 2 * len);
}

int via_drive_probe(struct via_drive *d)
{
    size_t len = d->blk_size;
    for (unsigned i = 0; i < d->opts.probe; i++) {
        struct via_drive_io *io = via_drive_io_new(d, (uint32_t)(3 * len));
        if (!io)
            return -VIA_ENOMEM;
        uint8_t *area = io->owner = io->buf;
        for (size_t k = 0; k < 3 * len; k++)
            area[k] = mark(k);
        io->buf = area + len;
        io->len = (uint32_t)len;
        io->type = VIA_BLK_T_IN;
        io->offset = (i * len) % (d->capacity / len * len);
        io->queue = i % d->opts.queues;
        io->ended = probe_ended;
        int r;
        while ((r = via_drive_submit(d, io)) == -VIA_EAGAIN)
            if ((r = via_drive_turn(d)))
                return r;
        while (!r && io->busy)
            r = via_drive_turn(d);
        if (r)
            return r;
    }
    d->probed.secret_changed = via_drive_secret_changed(&d->mem);
    return 0;
}
