/* SPDX-License-Identifier: BSD-2-Clause */
/* spec: layouts and numbers of virtio v1.4, nothing else. Each names its clause; core/spec/ checks sizes and offsets. */
#ifndef VIADUCT_SPEC_H
#define VIADUCT_SPEC_H

#include <viaduct/base.h>

/* ------------------------------------------------------------------ feature bits (6, 5.2.3 for blk, 5.13.3 for iommu) */

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

    VIA_IOMMU_F_INPUT_RANGE = 0,
    VIA_IOMMU_F_DOMAIN_RANGE = 1,
    VIA_IOMMU_F_MAP_UNMAP = 2,
    VIA_IOMMU_F_BYPASS = 3,
    VIA_IOMMU_F_PROBE = 4,
    VIA_IOMMU_F_MMIO = 5,
    VIA_IOMMU_F_BYPASS_CONFIG = 6,
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

/* ------------------------------------------------------------------ IOMMU device (5.13) */

enum via_iommu_queue { VIA_IOMMU_REQUESTQ = 0, VIA_IOMMU_EVENTQ = 1 };

struct via_iommu_config { /* 5.13.4; ends are inclusive */
    via_le64 page_size_mask;
    via_le64 input_start, input_end;
    via_le32 domain_start, domain_end;
    via_le32 probe_size;
    uint8_t bypass;
    uint8_t reserved[3];
};

enum via_iommu_type {
    VIA_IOMMU_T_ATTACH = 1,
    VIA_IOMMU_T_DETACH = 2,
    VIA_IOMMU_T_MAP = 3,
    VIA_IOMMU_T_UNMAP = 4,
    VIA_IOMMU_T_PROBE = 5,
};

enum via_iommu_status {
    VIA_IOMMU_S_OK = 0,
    VIA_IOMMU_S_IOERR = 1,
    VIA_IOMMU_S_UNSUPP = 2,
    VIA_IOMMU_S_DEVERR = 3,
    VIA_IOMMU_S_INVAL = 4,
    VIA_IOMMU_S_RANGE = 5,
    VIA_IOMMU_S_NOENT = 6,
    VIA_IOMMU_S_FAULT = 7,
    VIA_IOMMU_S_NOMEM = 8,
};

struct via_iommu_head { /* 5.13.6 */
    uint8_t type;
    uint8_t reserved[3];
};
struct via_iommu_tail { /* 5.13.6; the device-writable part of a request, or its end */
    uint8_t status;
    uint8_t reserved[3];
};

#define VIA_IOMMU_ATTACH_F_BYPASS 1u
struct via_iommu_attach { /* 5.13.6.3 */
    struct via_iommu_head head;
    via_le32 domain;
    via_le32 endpoint;
    via_le32 flags;
    uint8_t reserved[4];
    struct via_iommu_tail tail;
};

struct via_iommu_detach { /* 5.13.6.4 */
    struct via_iommu_head head;
    via_le32 domain;
    via_le32 endpoint;
    uint8_t reserved[8];
    struct via_iommu_tail tail;
};

enum via_iommu_map_flags { VIA_IOMMU_MAP_F_READ = 1, VIA_IOMMU_MAP_F_WRITE = 2, VIA_IOMMU_MAP_F_MMIO = 4 };
struct via_iommu_map { /* 5.13.6.5 */
    struct via_iommu_head head;
    via_le32 domain;
    via_le64 virt_start, virt_end; /* inclusive */
    via_le64 phys_start;
    via_le32 flags;
    struct via_iommu_tail tail;
};

struct via_iommu_unmap { /* 5.13.6.6 */
    struct via_iommu_head head;
    via_le32 domain;
    via_le64 virt_start, virt_end;
    uint8_t reserved[4];
    struct via_iommu_tail tail;
};

struct via_iommu_probe { /* 5.13.6.7; the device-readable part; probe_size bytes of properties and a tail follow */
    struct via_iommu_head head;
    via_le32 endpoint;
    uint8_t reserved[64];
};

union via_iommu_req { /* any request */
    struct via_iommu_head head;
    struct via_iommu_attach attach;
    struct via_iommu_detach detach;
    struct via_iommu_map map;
    struct via_iommu_unmap unmap;
    struct via_iommu_probe probe;
};

#define VIA_IOMMU_PROPERTY_TYPE 0xfffu /* the other bits of the word are reserved */
enum via_iommu_property_type { VIA_IOMMU_PROBE_T_NONE = 0, VIA_IOMMU_PROBE_T_RESV_MEM = 1 };
struct via_iommu_property { /* 5.13.6.7 */
    via_le16 type;
    via_le16 length; /* bytes that follow this header */
};

enum via_iommu_resv_mem_type { VIA_IOMMU_RESV_MEM_T_RESERVED = 0, VIA_IOMMU_RESV_MEM_T_MSI = 1 };
struct via_iommu_resv_mem { /* 5.13.6.8.1 */
    struct via_iommu_property head;
    uint8_t subtype;
    uint8_t reserved[3];
    via_le64 start, end; /* inclusive */
};

enum via_iommu_fault_reason { VIA_IOMMU_FAULT_R_UNKNOWN = 0, VIA_IOMMU_FAULT_R_DOMAIN = 1, VIA_IOMMU_FAULT_R_MAPPING = 2 };
enum via_iommu_fault_flags { VIA_IOMMU_FAULT_F_READ = 1, VIA_IOMMU_FAULT_F_WRITE = 2, VIA_IOMMU_FAULT_F_ADDRESS = 256 };
struct via_iommu_fault { /* 5.13.6.9 */
    uint8_t reason;
    uint8_t reserved[3];
    via_le32 flags;
    via_le32 endpoint;
    via_le32 reserved1;
    via_le64 address;
};

#endif
