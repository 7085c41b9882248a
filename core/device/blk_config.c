/* SPDX-License-Identifier: BSD-2-Clause */
/* What a block device offers: limits judged, config space and feature bits made of them (virtio v1.4 5.2.3, 5.2.4). */
#include "blk.h"

static bool limits_sound(const struct via_blk_limits *l)
{
    return l->capacity % VIA_BLK_SECTOR == 0 && l->blk_size >= VIA_BLK_SECTOR && via_is_pow2(l->blk_size) &&
           via_is_pow2(l->physical_size) && l->physical_size >= l->blk_size && l->physical_size / l->blk_size <= UINT16_MAX &&
           l->seg_max > 0 && l->opt_io % l->blk_size == 0 && l->queues > 0;
}

int via_blk_config_make(const struct via_blk_limits *l, struct via_blk_config *c)
{
    if (!limits_sound(l))
        return -VIA_EINVAL;
    uint32_t ratio = l->physical_size / l->blk_size;
    *c = (struct via_blk_config){
        .capacity = via_le64_make(l->capacity / VIA_BLK_SECTOR),
        .size_max = via_le32_make(l->size_max),
        .seg_max = via_le32_make(l->seg_max),
        .blk_size = via_le32_make(l->blk_size),
        .physical_block_exp = (uint8_t)__builtin_ctz(ratio),
        .min_io_size = via_le16_make((uint16_t)ratio),
        .opt_io_size = via_le32_make(l->opt_io / l->blk_size),
        .num_queues = via_le16_make(l->queues),
    };
    if (l->discard && !l->read_only) {
        c->max_discard_sectors = via_le32_make(VIA_BLK_RANGE_SECTORS);
        c->max_discard_seg = via_le32_make(VIA_BLK_RANGES);
        c->discard_sector_alignment = via_le32_make(l->blk_size / VIA_BLK_SECTOR);
    }
    if (l->write_zeroes && !l->read_only) {
        c->max_write_zeroes_sectors = via_le32_make(VIA_BLK_RANGE_SECTORS);
        c->max_write_zeroes_seg = via_le32_make(VIA_BLK_RANGES);
        c->write_zeroes_may_unmap = l->discard;
    }
    return 0;
}

uint64_t via_blk_device_features(const struct via_blk_device *d)
{
    const struct via_blk_limits *l = &d->limits;
    uint64_t f = VIA_BIT(VIA_BLK_F_SEG_MAX) | VIA_BIT(VIA_BLK_F_BLK_SIZE) | VIA_BIT(VIA_BLK_F_FLUSH) | VIA_BIT(VIA_BLK_F_TOPOLOGY);
    if (l->size_max)
        f |= VIA_BIT(VIA_BLK_F_SIZE_MAX);
    if (l->queues > 1)
        f |= VIA_BIT(VIA_BLK_F_MQ);
    /* What can't be written can't be discarded or zeroed either. */
    if (l->read_only)
        return f | VIA_BIT(VIA_BLK_F_RO);
    if (l->discard)
        f |= VIA_BIT(VIA_BLK_F_DISCARD);
    if (l->write_zeroes)
        f |= VIA_BIT(VIA_BLK_F_WRITE_ZEROES);
    return f;
}

/* Bytes of each field of struct via_blk_config, from its start on. */
static const uint8_t fields[] = {8, 4, 4, 2, 1, 1, 4, 1, 1, 2, 4, 1, 1, 2, 4, 4, 4, 4, 4, 1, 1, 1, 1, 4, 4, 4};

static void config_turn(struct via_blk_config *c)
{
    uint8_t *p = (uint8_t *)c;
    for (unsigned i = 0; i < via_array_len(fields); p += fields[i++])
        for (unsigned k = 0; k < fields[i] / 2u; k++) {
            uint8_t byte = p[k];
            p[k] = p[fields[i] - 1 - k];
            p[fields[i] - 1 - k] = byte;
        }
}

void via_blk_device_config(const struct via_blk_device *d, uint32_t offset, void *out, uint32_t len)
{
    struct via_blk_config c = d->config;
    if (d->big)
        config_turn(&c);
    __builtin_memset(out, 0, len);
    if (offset < sizeof(c))
        __builtin_memcpy(out, (const char *)&c + offset, via_min64(len, sizeof(c) - offset));
}
