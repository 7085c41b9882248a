/* SPDX-License-Identifier: BSD-2-Clause */
/* explain: what device numbers and feature bits are called (virtio v1.4 5, 6, and 5.x.3 of each device; legacy names of the bits below 32).
 */
#include <stdio.h>

#include "explain_parts.h"

struct via_bit_name {
    unsigned bit;
    const char *text;
};

static const struct via_bit_name net[] = {
    {0, "CSUM"},
    {1, "GUEST_CSUM"},
    {2, "CTRL_GUEST_OFFLOADS"},
    {3, "MTU"},
    {5, "MAC"},
    {6, "GSO"},
    {7, "GUEST_TSO4"},
    {8, "GUEST_TSO6"},
    {9, "GUEST_ECN"},
    {10, "GUEST_UFO"},
    {11, "HOST_TSO4"},
    {12, "HOST_TSO6"},
    {13, "HOST_ECN"},
    {14, "HOST_UFO"},
    {15, "MRG_RXBUF"},
    {16, "STATUS"},
    {17, "CTRL_VQ"},
    {18, "CTRL_RX"},
    {19, "CTRL_VLAN"},
    {20, "CTRL_RX_EXTRA"},
    {21, "GUEST_ANNOUNCE"},
    {22, "MQ"},
    {23, "CTRL_MAC_ADDR"},
    {41, "GUEST_RSC4"},
    {42, "GUEST_RSC6"},
    {50, "DEVICE_STATS"},
    {51, "HASH_TUNNEL"},
    {52, "VQ_NOTF_COAL"},
    {53, "NOTF_COAL"},
    {54, "GUEST_USO4"},
    {55, "GUEST_USO6"},
    {56, "HOST_USO"},
    {57, "HASH_REPORT"},
    {59, "GUEST_HDRLEN"},
    {60, "RSS"},
    {61, "RSC_EXT"},
    {62, "STANDBY"},
    {63, "SPEED_DUPLEX"},
    {64, "RSS_CONTEXT"},
    {65, "GUEST_UDP_TUNNEL_GSO"},
    {66, "GUEST_UDP_TUNNEL_GSO_CSUM"},
    {67, "HOST_UDP_TUNNEL_GSO"},
    {68, "HOST_UDP_TUNNEL_GSO_CSUM"},
    {69, "OUT_NET_HEADER"},
    {70, "IPSEC"},
    {0, NULL},
};
static const struct via_bit_name blk[] = {
    {0, "BARRIER"},       {1, "SIZE_MAX"},  {2, "SEG_MAX"},       {4, "GEOMETRY"},    {5, "RO"},  {6, "BLK_SIZE"},
    {7, "SCSI"},          {9, "FLUSH"},     {10, "TOPOLOGY"},     {11, "CONFIG_WCE"}, {12, "MQ"}, {13, "DISCARD"},
    {14, "WRITE_ZEROES"}, {15, "LIFETIME"}, {16, "SECURE_ERASE"}, {17, "ZONED"},      {0, NULL},
};
static const struct via_bit_name console[] = {
    {0, "SIZE"},
    {1, "MULTIPORT"},
    {2, "EMERG_WRITE"},
    {0, NULL},
};
static const struct via_bit_name balloon[] = {
    {0, "MUST_TELL_HOST"}, {1, "STATS_VQ"}, {2, "DEFLATE_ON_OOM"}, {3, "FREE_PAGE_HINT"}, {4, "PAGE_POISON"},
    {5, "PAGE_REPORTING"}, {0, NULL},
};
static const struct via_bit_name scsi[] = {
    {0, "INOUT"}, {1, "HOTPLUG"}, {2, "CHANGE"}, {3, "T10_PI"}, {0, NULL},
};
static const struct via_bit_name gpu[] = {
    {0, "VIRGL"}, {1, "EDID"}, {2, "RESOURCE_UUID"}, {3, "RESOURCE_BLOB"}, {4, "CONTEXT_INIT"}, {5, "BLOB_ALIGNMENT"}, {0, NULL},
};
static const struct via_bit_name rtc[] = {
    {0, "ALARM"},
    {0, NULL},
};
static const struct via_bit_name vsock[] = {
    {0, "STREAM"},
    {1, "SEQPACKET"},
    {2, "NO_IMPLIED_STREAM"},
    {0, NULL},
};
static const struct via_bit_name crypto[] = {
    {0, "REVISION_1"},
    {1, "CIPHER_STATELESS_MODE"},
    {2, "HASH_STATELESS_MODE"},
    {3, "MAC_STATELESS_MODE"},
    {4, "AEAD_STATELESS_MODE"},
    {5, "AKCIPHER_STATELESS_MODE"},
    {0, NULL},
};
static const struct via_bit_name iommu[] = {
    {0, "INPUT_RANGE"}, {1, "DOMAIN_RANGE"}, {2, "MAP_UNMAP"}, {3, "BYPASS"}, {4, "PROBE"}, {5, "MMIO"}, {6, "BYPASS_CONFIG"}, {0, NULL},
};
static const struct via_bit_name mem[] = {
    {0, "ACPI_PXM"},
    {1, "UNPLUGGED_INACCESSIBLE"},
    {2, "PERSISTENT_SUSPEND"},
    {0, NULL},
};
static const struct via_bit_name sound[] = {
    {0, "CTLS"},
    {0, NULL},
};
static const struct via_bit_name fs[] = {
    {0, "NOTIFICATION"},
    {0, NULL},
};
static const struct via_bit_name pmem[] = {
    {0, "SHMEM_REGION"},
    {0, NULL},
};
static const struct via_bit_name scmi[] = {
    {0, "P2A_CHANNELS"},
    {1, "SHARED_MEMORY"},
    {0, NULL},
};
static const struct via_bit_name i2c[] = {
    {0, "ZERO_LENGTH_REQUEST"},
    {0, NULL},
};
static const struct via_bit_name can[] = {
    {0, "CAN_CLASSIC"}, {1, "CAN_FD"}, {2, "RTR_FRAMES"}, {3, "LATE_TX_ACK"}, {0, NULL},
};
static const struct via_bit_name gpio[] = {
    {0, "IRQ"},
    {0, NULL},
};
static const struct via_bit_name ninep[] = {
    {0, "MOUNT_TAG"},
    {0, NULL},
};
static const struct via_bit_name any[] = {
    /* 6 */
    {VIA_F_NOTIFY_ON_EMPTY, "NOTIFY_ON_EMPTY"},
    {VIA_F_ANY_LAYOUT, "ANY_LAYOUT"},
    {VIA_F_INDIRECT_DESC, "INDIRECT_DESC"},
    {VIA_F_EVENT_IDX, "EVENT_IDX"},
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

static const struct {
    const char *name;
    const struct via_bit_name *bits;
} types[] = {
    /* 5 */
    [1] = {"network", net},
    [2] = {"block", blk},
    [3] = {"console", console},
    [4] = {"entropy", NULL},
    [5] = {"balloon", balloon},
    [6] = {"ioMemory", NULL},
    [7] = {"rpmsg", NULL},
    [8] = {"SCSI", scsi},
    [9] = {"9P", ninep},
    [10] = {"wlan", NULL},
    [11] = {"rproc serial", NULL},
    [12] = {"CAIF", NULL},
    [13] = {"memory balloon", NULL},
    [16] = {"GPU", gpu},
    [17] = {"clock", rtc},
    [18] = {"input", NULL},
    [19] = {"socket", vsock},
    [20] = {"crypto", crypto},
    [21] = {"signal distribution", NULL},
    [22] = {"pstore", NULL},
    [23] = {"IOMMU", iommu},
    [24] = {"memory", mem},
    [25] = {"sound", sound},
    [26] = {"file system", fs},
    [27] = {"pmem", pmem},
    [28] = {"RPMB", NULL},
    [29] = {"wlan simulation", NULL},
    [30] = {"video encoder", NULL},
    [31] = {"video decoder", NULL},
    [32] = {"SCMI", scmi},
    [33] = {"Nitro module", NULL},
    [34] = {"I2C", i2c},
    [35] = {"watchdog", NULL},
    [36] = {"CAN", can},
    [38] = {"parameter server", NULL},
    [39] = {"audio policy", NULL},
    [40] = {"Bluetooth", NULL},
    [41] = {"GPIO", gpio},
    [42] = {"RDMA", NULL},
    [43] = {"camera", NULL},
    [44] = {"ISM", NULL},
    [45] = {"SPI", NULL},
    [46] = {"TEE", NULL},
    [47] = {"CPU balloon", NULL},
    [48] = {"media", NULL},
    [49] = {"USB", NULL},
};

const char *via_type_name(unsigned type) { return type < via_array_len(types) && types[type].name ? types[type].name : NULL; }

static const char *find(const struct via_bit_name *list, unsigned bit)
{
    for (; list && list->text; list++)
        if (list->bit == bit)
            return list->text;
    return NULL;
}

const char *via_bit_text(unsigned type, unsigned bit, char buf[VIA_BIT_TEXT])
{
    const char *text = type < via_array_len(types) ? find(types[type].bits, bit) : NULL;
    if (!text)
        text = find(any, bit);
    if (text)
        return text;
    snprintf(buf, VIA_BIT_TEXT, "bit %u", bit);
    return buf;
}
