/* SPDX-License-Identifier: BSD-2-Clause */
/* The messages of vhost-user as they must look: sizes, descriptors, what has to come before. Private to proto. */
#ifndef VIADUCT_PROTO_MESSAGE_H
#define VIADUCT_PROTO_MESSAGE_H

#include <viaduct/proto.h>

/* What payloads look like. Sizes are part of the protocol. */
struct via_vu_state {
    uint32_t index, num;
};
struct via_vu_addr {
    uint32_t index, flags;
    uint64_t desc, used, avail, log;
};
struct via_vu_table {
    uint32_t n, padding;
    struct via_vu_region region[VIA_VU_TABLE_REGIONS];
};
struct via_vu_single {
    uint64_t padding;
    struct via_vu_region region;
};
struct via_vu_config {
    uint32_t offset, size, flags;
    uint8_t bytes[VIA_VU_CONFIG_MAX];
};
struct via_vu_log {
    uint64_t size, offset;
};
#define VIA_VU_IOTLB_USED 26u  /* bytes that say something */
#define VIA_VU_IOTLB_BYTES 32u /* with the padding that all senders add */
_Static_assert(sizeof(struct via_vu_state) == 8, "vring state");
_Static_assert(sizeof(struct via_vu_addr) == 40, "vring address");
_Static_assert(sizeof(struct via_vu_table) == 264, "memory table");
_Static_assert(sizeof(struct via_vu_single) == 40, "single memory region");
_Static_assert(sizeof(struct via_vu_log) == 16, "log");
_Static_assert(sizeof(struct via_vu_config) == 268 && sizeof(struct via_vu_config) <= VIA_VU_PAYLOAD_MAX, "config space");
_Static_assert(offsetof(struct via_vu_iotlb, type) + 1 == VIA_VU_IOTLB_USED && sizeof(struct via_vu_iotlb) == VIA_VU_IOTLB_BYTES, "iotlb");

struct via_vu_shmem_config {
    uint32_t n, padding;
    uint64_t size[VIA_VU_SHMEM_REGIONS];
};
_Static_assert(sizeof(struct via_vu_shmem) == 40, "shared memory map");
_Static_assert(sizeof(struct via_vu_shmem_config) == VIA_VU_PAYLOAD_MAX, "shared memory regions");

#define VIA_VU_SHMEM_HDR 8u
#define VIA_VU_STATE_BYTES 8u
#define VIA_VU_TABLE_HDR 8u
#define VIA_VU_REGION_BYTES 32u
#define VIA_VU_CONFIG_HDR 12u
#define VIA_VU_ADDR_F_LOG 1u
#define VIA_VU_CONFIG_F_MIGRATION 1u

/* From this offset on old rust-vmm code (cloud-hypervisor, dragonball ...) counts the first byte of config space. */
#define VIA_VU_CONFIG_OLD_START 0x100u

#define VIA_VU_PF_NONE 0xffu
#define VIA_VU_PERM_ALL 3u /* enum via_perm */

/* What is known about a request beforehand, with the sentences for a front-end that gets it wrong. */
struct via_vu_kind {
    const char *name;  /* NULL: not a request that is known here */
    uint16_t min, max; /* payload bytes */
    uint8_t fd_min, fd_max;
    uint8_t feature;  /* protocol feature that has to be negotiated, VIA_VU_PF_NONE: none */
    bool needs_owner; /* SET_OWNER comes before it */
    bool answered;    /* with a payload of its own, so never by an acknowledgement */
    const char *bad_size, *bad_fds, *no_feature, *no_owner, *failed;
};

/* NULL: not known. */
const struct via_vu_kind *via_vu_kind_of(uint32_t request);

/* An answer that is a number: of a request that has one, or an acknowledgement. */
void via_vu_reply_u64(struct via_vu_msg *reply, uint32_t request, uint64_t value);
/* The payload of IOTLB_MSG and BACKEND_IOTLB_MSG; `get` wants VIA_VU_IOTLB_USED bytes of it. */
void via_vu_iotlb_put(struct via_vu_msg *m, const struct via_vu_iotlb *iotlb);
void via_vu_iotlb_get(const struct via_vu_msg *m, struct via_vu_iotlb *iotlb);

static inline bool via_vu_perm_known(unsigned perm) { return perm != 0 && perm <= VIA_VU_PERM_ALL; }

#endif
