/* SPDX-License-Identifier: BSD-2-Clause */
/* drive: what a back-end offers, by name. */
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "drive_parts.h"

struct name {
    unsigned bit;
    const char *text;
};

static const struct name features[] = {
    {VIA_BLK_F_SIZE_MAX, "BLK_SIZE_MAX"},
    {VIA_BLK_F_SEG_MAX, "BLK_SEG_MAX"},
    {VIA_BLK_F_GEOMETRY, "BLK_GEOMETRY"},
    {VIA_BLK_F_RO, "BLK_RO"},
    {VIA_BLK_F_BLK_SIZE, "BLK_BLK_SIZE"},
    {VIA_BLK_F_FLUSH, "BLK_FLUSH"},
    {VIA_BLK_F_TOPOLOGY, "BLK_TOPOLOGY"},
    {VIA_BLK_F_CONFIG_WCE, "BLK_CONFIG_WCE"},
    {VIA_BLK_F_MQ, "BLK_MQ"},
    {VIA_BLK_F_DISCARD, "BLK_DISCARD"},
    {VIA_BLK_F_WRITE_ZEROES, "BLK_WRITE_ZEROES"},
    {VIA_F_NOTIFY_ON_EMPTY, "NOTIFY_ON_EMPTY"},
    {VIA_F_LOG_ALL, "LOG_ALL"},
    {VIA_F_ANY_LAYOUT, "ANY_LAYOUT"},
    {VIA_F_INDIRECT_DESC, "INDIRECT_DESC"},
    {VIA_F_EVENT_IDX, "EVENT_IDX"},
    {VIA_F_PROTOCOL_FEATURES, "PROTOCOL_FEATURES"},
    {VIA_F_VERSION_1, "VERSION_1"},
    {VIA_F_ACCESS_PLATFORM, "ACCESS_PLATFORM"},
    {VIA_F_RING_PACKED, "RING_PACKED"},
    {VIA_F_IN_ORDER, "IN_ORDER"},
    {VIA_F_ORDER_PLATFORM, "ORDER_PLATFORM"},
    {VIA_F_SR_IOV, "SR_IOV"},
    {VIA_F_NOTIFICATION_DATA, "NOTIFICATION_DATA"},
    {VIA_F_NOTIF_CONFIG_DATA, "NOTIF_CONFIG_DATA"},
    {VIA_F_RING_RESET, "RING_RESET"},
    {VIA_F_ADMIN_VQ, "ADMIN_VQ"},
    {VIA_F_SUSPEND, "SUSPEND"},
    {0, NULL},
};

static const struct name protocol[] = {
    {VIA_VU_PF_MQ, "MQ"},
    {VIA_VU_PF_LOG_SHMFD, "LOG_SHMFD"},
    {VIA_VU_PF_REPLY_ACK, "REPLY_ACK"},
    {VIA_VU_PF_BACKEND_REQ, "BACKEND_REQ"},
    {VIA_VU_PF_CONFIG, "CONFIG"},
    {VIA_VU_PF_RESET_DEVICE, "RESET_DEVICE"},
    {VIA_VU_PF_CONFIGURE_MEM_SLOTS, "CONFIGURE_MEM_SLOTS"},
    {VIA_VU_PF_STATUS, "STATUS"},
    {0, NULL},
};

/* Every bit that is set, by its name or as "bit N". */
static struct json_object *names(uint64_t bits, const struct name *known)
{
    struct json_object *list = json_object_new_array();
    for (unsigned bit = 0; bit < 64; bit++) {
        char text[16];
        const struct name *n = known;
        if (!(bits & VIA_BIT(bit)))
            continue;
        while (n->text && n->bit != bit)
            n++;
        snprintf(text, sizeof(text), "bit %u", bit);
        json_object_array_add(list, json_object_new_string(n->text ? n->text : text));
    }
    return list;
}

static void put(struct json_object *o, const char *name, uint64_t v) { json_object_object_add(o, name, json_object_new_uint64(v)); }

static struct json_object *config_json(const struct via_drive *d)
{
    const struct via_blk_config *c = &d->config;
    struct json_object *o = json_object_new_object();
    put(o, "capacity", via_le64_value(c->capacity));
    put(o, "size_max", via_le32_value(c->size_max));
    put(o, "seg_max", via_le32_value(c->seg_max));
    put(o, "cylinders", via_le16_value(c->cylinders));
    put(o, "heads", c->heads);
    put(o, "sectors", c->sectors);
    put(o, "blk_size", via_le32_value(c->blk_size));
    put(o, "physical_block_exp", c->physical_block_exp);
    put(o, "alignment_offset", c->alignment_offset);
    put(o, "min_io_size", via_le16_value(c->min_io_size));
    put(o, "opt_io_size", via_le32_value(c->opt_io_size));
    put(o, "writeback", c->writeback);
    put(o, "num_queues", via_le16_value(c->num_queues));
    put(o, "max_discard_sectors", via_le32_value(c->max_discard_sectors));
    put(o, "max_discard_seg", via_le32_value(c->max_discard_seg));
    put(o, "discard_sector_alignment", via_le32_value(c->discard_sector_alignment));
    put(o, "max_write_zeroes_sectors", via_le32_value(c->max_write_zeroes_sectors));
    put(o, "max_write_zeroes_seg", via_le32_value(c->max_write_zeroes_seg));
    put(o, "write_zeroes_may_unmap", c->write_zeroes_may_unmap);
    return o;
}

static void show_list(struct json_object *o, const char *name, const char *title)
{
    struct json_object *list = json_object_object_get(o, name);
    printf("%s:", title);
    for (size_t i = 0; i < json_object_array_length(list); i++)
        printf(" %s", json_object_get_string(json_object_array_get_idx(list, i)));
    puts("");
}

static void show(struct json_object *o)
{
    show_list(o, "features", "features");
    show_list(o, "protocol", "protocol features");
    puts("configuration space:");
    struct json_object *config = json_object_object_get(o, "config");
    struct json_object_iterator at = json_object_iter_begin(config), end = json_object_iter_end(config);
    for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at))
        printf("  %-26s %s\n", json_object_iter_peek_name(&at), json_object_get_string(json_object_iter_peek_value(&at)));
}

int via_drive_info(struct via_drive *d)
{
    struct json_object *o = json_object_new_object();
    json_object_object_add(o, "features", names(d->end.client.front.offered, features));
    json_object_object_add(o, "protocol", names(d->end.client.front.protocol_offered, protocol));
    put(o, "bytes", d->capacity);
    json_object_object_add(o, "read_only", json_object_new_boolean(d->read_only));
    json_object_object_add(o, "config", config_json(d));
    if (!d->opts.json || strcmp(d->opts.json, "-") != 0)
        show(o);
    if (d->opts.json)
        return via_drive_json(d, o);
    json_object_put(o);
    return 0;
}
