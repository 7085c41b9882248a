/* SPDX-License-Identifier: BSD-2-Clause */
/* spec: layouts and numbers of virtio v1.4, nothing else. Each names its clause; core/spec/ checks sizes and offsets. */
#ifndef VIADUCT_SPEC_H
#define VIADUCT_SPEC_H

#include <viaduct/base.h>

/* ------------------------------------------------------------------ feature bits (6, and 5.2.3 for blk) */

enum via_feature {
    VIA_F_NOTIFY_ON_EMPTY = 24,
    VIA_F_ANY_LAYOUT = 27,
    VIA_F_INDIRECT_DESC = 28,
    VIA_F_EVENT_IDX = 29,
    VIA_F_PROTOCOL_FEATURES = 30, /* vhost-user's own use of a bit that virtio leaves to transports */
    VIA_F_VERSION_1 = 32,
    VIA_F_ACCESS_PLATFORM = 33,
    VIA_F_RING_PACKED = 34,
    VIA_F_IN_ORDER = 35,
    VIA_F_ORDER_PLATFORM = 36,
    VIA_F_SR_IOV = 37,
    VIA_F_NOTIFICATION_DATA = 38,
    VIA_F_NOTIF_CONFIG_DATA = 39,
    VIA_F_RING_RESET = 40,
    VIA_F_ADMIN_VQ = 41,
    VIA_F_SUSPEND = 43,
    VIA_F_LOG_ALL = 26, /* vhost's own */

    VIA_BLK_F_SIZE_MAX = 1,
    VIA_BLK_F_SEG_MAX = 2,
    VIA_BLK_F_GEOMETRY = 4,
    VIA_BLK_F_RO = 5,
    VIA_BLK_F_BLK_SIZE = 6,
    VIA_BLK_F_FLUSH = 9,
    VIA_BLK_F_TOPOLOGY = 10,
    VIA_BLK_F_CONFIG_WCE = 11,
    VIA_BLK_F_MQ = 12,
    VIA_BLK_F_DISCARD = 13,
    VIA_BLK_F_WRITE_ZEROES = 14,
};

#define VIA_BIT(n) (UINT64_C(1) << (n))

/* Device status (2.1). */
enum via_status {
    VIA_STATUS_ACKNOWLEDGE = 1,
    VIA_STATUS_DRIVER = 2,
    VIA_STATUS_DRIVER_OK = 4,
    VIA_STATUS_FEATURES_OK = 8,
    VIA_STATUS_NEEDS_RESET = 64,
    VIA_STATUS_FAILED = 128,
};

/* ------------------------------------------------------------------ split ring (2.7) */

#define VIA_RING_NUM_MAX 32768u

enum via_desc_flags { VIA_DESC_F_NEXT = 1, VIA_DESC_F_WRITE = 2, VIA_DESC_F_INDIRECT = 4 };

struct via_desc { /* 2.7.5 */
    via_le64 addr;
    via_le32 len;
    via_le16 flags;
    via_le16 next;
};

#define VIA_AVAIL_F_NO_INTERRUPT 1
struct via_avail { /* 2.7.6; ring[num] is followed by used_event */
    via_le16 flags;
    via_le16 idx;
    via_le16 ring[];
};

struct via_used_elem { /* 2.7.8 */
    via_le32 id;
    via_le32 len;
};

#define VIA_USED_F_NO_NOTIFY 1
struct via_used { /* 2.7.8; ring[num] is followed by avail_event */
    via_le16 flags;
    via_le16 idx;
    struct via_used_elem ring[];
};

/* ------------------------------------------------------------------ block device (5.2) */

#define VIA_BLK_SECTOR 512u
#define VIA_BLK_ID_BYTES 20u

enum via_blk_type {
    VIA_BLK_T_IN = 0,
    VIA_BLK_T_OUT = 1,
    VIA_BLK_T_FLUSH = 4,
    VIA_BLK_T_GET_ID = 8,
    VIA_BLK_T_GET_LIFETIME = 10,
    VIA_BLK_T_DISCARD = 11,
    VIA_BLK_T_WRITE_ZEROES = 13,
    VIA_BLK_T_SECURE_ERASE = 14,
};

enum via_blk_status { VIA_BLK_S_OK = 0, VIA_BLK_S_IOERR = 1, VIA_BLK_S_UNSUPP = 2 };

struct via_blk_hdr { /* 5.2.6, the part that the device reads first */
    via_le32 type;
    via_le32 reserved;
    via_le64 sector;
};

#define VIA_BLK_WRITE_ZEROES_F_UNMAP 1u
struct via_blk_range { /* 5.2.6: discard, write zeroes */
    via_le64 sector;
    via_le32 num_sectors;
    via_le32 flags;
};

struct via_blk_config { /* 5.2.4; all offsets are fixed, there is no padding */
    via_le64 capacity;  /* in 512-byte sectors */
    via_le32 size_max;
    via_le32 seg_max;
    via_le16 cylinders;
    uint8_t heads;
    uint8_t sectors;
    via_le32 blk_size;
    uint8_t physical_block_exp;
    uint8_t alignment_offset;
    via_le16 min_io_size;
    via_le32 opt_io_size;
    uint8_t writeback;
    uint8_t unused0;
    via_le16 num_queues;
    via_le32 max_discard_sectors;
    via_le32 max_discard_seg;
    via_le32 discard_sector_alignment;
    via_le32 max_write_zeroes_sectors;
    via_le32 max_write_zeroes_seg;
    uint8_t write_zeroes_may_unmap;
    uint8_t unused1[3];
    via_le32 max_secure_erase_sectors;
    via_le32 max_secure_erase_seg;
    via_le32 secure_erase_sector_alignment;
};

#endif
