/* SPDX-License-Identifier: BSD-2-Clause */
/* drive: the connection to the back-end, up to features and config space. */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/socket.h>

#include "drive_parts.h"

#define DATA_SEGS_MAX 1024u /* that we use of what the back-end takes */
#define BLK_SIZE_MAX 65536u

const uint64_t via_drive_want = VIA_BIT(VIA_F_VERSION_1) | VIA_BIT(VIA_F_INDIRECT_DESC) | VIA_BIT(VIA_F_EVENT_IDX) |
                                VIA_BIT(VIA_F_ORDER_PLATFORM) | VIA_BIT(VIA_BLK_F_SIZE_MAX) | VIA_BIT(VIA_BLK_F_SEG_MAX) |
                                VIA_BIT(VIA_BLK_F_RO) | VIA_BIT(VIA_BLK_F_BLK_SIZE) | VIA_BIT(VIA_BLK_F_FLUSH) |
                                VIA_BIT(VIA_BLK_F_TOPOLOGY) | VIA_BIT(VIA_BLK_F_MQ) | VIA_BIT(VIA_BLK_F_DISCARD) |
                                VIA_BIT(VIA_BLK_F_WRITE_ZEROES);
const uint64_t via_drive_want_protocol = VIA_BIT(VIA_VU_PF_MQ) | VIA_BIT(VIA_VU_PF_REPLY_ACK) | VIA_BIT(VIA_VU_PF_CONFIG) |
                                         VIA_BIT(VIA_VU_PF_CONFIGURE_MEM_SLOTS) | VIA_BIT(VIA_VU_PF_STATUS);

static int read_config(struct via_drive *d)
{
    struct via_blk_config *c = &d->config;
    if (!(d->end.client.front.protocol & VIA_BIT(VIA_VU_PF_CONFIG)))
        return via_err_set(&d->err, -VIA_ENOTSUP, "the back-end offers no configuration space, so the disk's size can't be known");
    int r = via_client_config_get(&d->end.client, 0, c, VIA_DRIVE_CONFIG_BYTES, &d->err);
    if (r)
        return r;
    uint64_t sectors = via_le64_value(c->capacity);
    /* qemu-storage-daemon 7.2 offers SIZE_MAX and leaves it 0: a limit of 0 is none. */
    uint32_t size_max = via_drive_has(d, VIA_BLK_F_SIZE_MAX) ? via_le32_value(c->size_max) : 0;
    d->read_only = via_drive_has(d, VIA_BLK_F_RO);
    d->blk_size = via_drive_has(d, VIA_BLK_F_BLK_SIZE) ? via_le32_value(c->blk_size) : VIA_BLK_SECTOR;
    d->seg_max = via_drive_has(d, VIA_BLK_F_SEG_MAX) ? via_le32_value(c->seg_max) : 1;
    d->seg_bytes = size_max ? size_max : UINT32_MAX;
    if (!via_mul64(sectors, VIA_BLK_SECTOR, &d->capacity) || d->capacity > INT64_MAX)
        return via_err_set(&d->err, -VIA_EPROTO, "the back-end claims a disk of %llu sectors, more than can be addressed",
                           (unsigned long long)sectors);
    if (!via_is_pow2(d->blk_size) || d->blk_size < VIA_BLK_SECTOR || d->blk_size > BLK_SIZE_MAX)
        return via_err_set(&d->err, -VIA_EPROTO, "the back-end claims blocks of %u bytes: not a power of two from 512 to %u", d->blk_size,
                           BLK_SIZE_MAX);
    if (!d->seg_max || d->seg_bytes < VIA_BLK_SECTOR)
        return via_err_set(&d->err, -VIA_EPROTO, "the back-end takes %u data segments of %u bytes: no request fits", d->seg_max,
                           d->seg_bytes);
    if (d->seg_max > DATA_SEGS_MAX)
        d->seg_max = DATA_SEGS_MAX;
    /* One driver descriptor each for header and status, and no chain longer than the queue (virtio v1.4 2.7.5). */
    if (d->seg_max > d->opts.queue_size - 2)
        d->seg_max = d->opts.queue_size - 2;
    d->seg_bytes &= ~(VIA_BLK_SECTOR - 1);
    return 0;
}

/* Translated: the flag that says so, and a channel that the back-end can ask by. */
static int negotiate(struct via_drive *d)
{
    bool wished = d->opts.wish.automatic, translated = !wished && via_drive_translated(d->opts.dma);
    uint64_t access = VIA_BIT(VIA_F_ACCESS_PLATFORM), ask = VIA_BIT(VIA_VU_PF_BACKEND_REQ), own = 0;
    uint64_t need = VIA_BIT(VIA_F_VERSION_1) | (translated ? access : 0), want = via_drive_want, protocol = via_drive_want_protocol;
    if (d->opts.legacy) { /* it has no room for more bits */
        need = 0;
        want &= UINT32_MAX;
    }
    if (via_drive_lent(d->opts.dma)) {
        own = VIA_BIT(d->opts.device_bit);
        need |= own;
        protocol |= ask | VIA_BIT(VIA_VU_PF_SHMEM);
        d->end.client.region = &d->region;
    }
    if (wished && d->opts.wish.translated)
        want |= access; /* where it isn't offered, there are other ways */
    if (translated || want & access)
        protocol |= ask;
    int r = via_client_negotiate(&d->end.client, want, need, protocol, &d->err);
    if (r == -VIA_ENOTSUP && own && !(d->end.client.front.offered & own))
        return via_err_set(&d->err, r,
                           "--dma=device: the back-end offers no memory of its own (feature bit %u); start it with --own-memory",
                           d->opts.device_bit);
    if (!r && own)
        return via_client_region_wait(&d->end.client, &d->err);
    if (r == -VIA_ENOTSUP && translated && !(d->end.client.front.offered & VIA_BIT(VIA_F_ACCESS_PLATFORM)))
        return via_err_set(&d->err, r, "--dma=%s: the back-end takes no translated addresses (it does not offer ACCESS_PLATFORM)",
                           via_drive_dma_name(d->opts.dma));
    return r;
}

void via_drive_find_peer(struct via_drive *d)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);
    d->reach.pid = d->opts.backend_pid;
    if (!d->reach.pid && !getsockopt(d->end.client.fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
        d->reach.pid = cred.pid;
}

uint8_t via_drive_status(const struct via_drive *d)
{
    return VIA_STATUS_ACKNOWLEDGE | VIA_STATUS_DRIVER | (d->opts.legacy ? 0 : VIA_STATUS_FEATURES_OK); /* 3.1.2 */
}

int via_drive_connect(struct via_drive *d)
{
    int r = via_client_connect(&d->end.client, d->opts.socket, (int)via_min64(d->opts.timeout, 5) * 1000, &d->err);
    if (r)
        return r;
    d->connected = true;
    d->end.client.timeout_ms = (int)d->opts.timeout * 1000;
    via_drive_find_peer(d);
    r = negotiate(d);
    if (!r)
        r = via_client_status(&d->end.client, via_drive_status(d), &d->err);
    if (!r)
        r = read_config(d);
    unsigned most = via_drive_has(d, VIA_BLK_F_MQ) ? via_le16_value(d->config.num_queues) : 1;
    if (!r && d->opts.queues > most)
        r = via_err_set(&d->err, -VIA_EINVAL, "--queues=%u: the back-end has %u", d->opts.queues, most);
    return r;
}
