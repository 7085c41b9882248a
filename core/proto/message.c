/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of messages: one row a request. */
#include <string.h>

#include "message.h"

enum { ANYONE = false, OWNER = true };
enum { SILENT = false, ANSWERED = true };

#define NONE VIA_VU_PF_NONE
#define PF(name) VIA_VU_PF_##name
#define ROW(request, min_, max_, fd_min_, fd_max_, feature_, owner_, answered_)                                                            \
    [VIA_VU_##request] = {                                                                                                                 \
        .name = #request,                                                                                                                  \
        .min = min_,                                                                                                                       \
        .max = max_,                                                                                                                       \
        .fd_min = fd_min_,                                                                                                                 \
        .fd_max = fd_max_,                                                                                                                 \
        .feature = feature_,                                                                                                               \
        .needs_owner = owner_,                                                                                                             \
        .answered = answered_,                                                                                                             \
        .bad_size = #request ": the payload has the wrong size",                                                                           \
        .bad_fds = #request ": the wrong number of file descriptors came along",                                                           \
        .no_feature = #request ": needs a protocol feature that was not negotiated",                                                       \
        .no_owner = #request ": out of order, SET_OWNER has to come first",                                                                \
        .failed = #request ": it could not be done (got: the error number)",                                                               \
    }

/*
 * Where implementations differ: a memory table may be cut after its last region or be sent whole; QEMU before 5.2 cuts 4 bytes off
 * a single region, and some front-ends send a whole union; config messages may be longer than the bytes they carry;
 * REM_MEM_REG of QEMU comes with a descriptor.
 */
/* clang-format off */
static const struct via_vu_kind kinds[] = {
    /*  request               bytes               fds   protocol feature          from    reply */
    ROW(GET_FEATURES,          0,  0,             0, 0, NONE,                     ANYONE, ANSWERED),
    ROW(SET_FEATURES,          8,  8,             0, 0, NONE,                     OWNER,  SILENT),
    ROW(SET_OWNER,             0,  0,             0, 0, NONE,                     ANYONE, SILENT),
    ROW(RESET_OWNER,           0,  0,             0, 0, NONE,                     ANYONE, SILENT),
    ROW(SET_MEM_TABLE,         8,  264,           0, 8, NONE,                     OWNER,  SILENT),
    ROW(SET_LOG_BASE,          16, 16,            1, 1, PF(LOG_SHMFD),            OWNER,  ANSWERED),
    ROW(SET_LOG_FD,            0,  8,             1, 1, NONE,                     OWNER,  SILENT),
    ROW(SET_VRING_NUM,         8,  8,             0, 0, NONE,                     OWNER,  SILENT),
    ROW(SET_VRING_ADDR,        40, 40,            0, 0, NONE,                     OWNER,  SILENT),
    ROW(SET_VRING_BASE,        8,  8,             0, 0, NONE,                     OWNER,  SILENT),
    ROW(GET_VRING_BASE,        8,  8,             0, 0, NONE,                     OWNER,  ANSWERED),
    ROW(SET_VRING_KICK,        8,  8,             0, 1, NONE,                     OWNER,  SILENT),
    ROW(SET_VRING_CALL,        8,  8,             0, 1, NONE,                     OWNER,  SILENT),
    ROW(SET_VRING_ERR,         8,  8,             0, 1, NONE,                     OWNER,  SILENT),
    ROW(GET_PROTOCOL_FEATURES, 0,  0,             0, 0, NONE,                     ANYONE, ANSWERED),
    ROW(SET_PROTOCOL_FEATURES, 8,  8,             0, 0, NONE,                     ANYONE, SILENT),
    ROW(GET_QUEUE_NUM,         0,  0,             0, 0, PF(MQ),                   ANYONE, ANSWERED),
    ROW(SET_VRING_ENABLE,      8,  8,             0, 0, NONE,                     OWNER,  SILENT),
    ROW(SET_BACKEND_REQ_FD,    0,  0,             1, 1, PF(BACKEND_REQ),          ANYONE, SILENT),
    ROW(IOTLB_MSG, VIA_VU_IOTLB_USED, VIA_VU_IOTLB_BYTES, 0, 0, NONE,        OWNER,  ANSWERED),
    ROW(SET_VRING_ENDIAN,      8,  8,             0, 0, PF(CROSS_ENDIAN),         OWNER,  SILENT),
    ROW(GET_CONFIG,            13, 268,           0, 0, PF(CONFIG),               ANYONE, ANSWERED),
    ROW(SET_CONFIG,            13, 268,           0, 0, PF(CONFIG),               OWNER,  SILENT),
    ROW(RESET_DEVICE,          0,  0,             0, 0, PF(RESET_DEVICE),         OWNER,  SILENT),
    ROW(GET_MAX_MEM_SLOTS,     0,  0,             0, 0, PF(CONFIGURE_MEM_SLOTS),  ANYONE, ANSWERED),
    ROW(ADD_MEM_REG,           36, VIA_VU_PAYLOAD_MAX, 1, 1, PF(CONFIGURE_MEM_SLOTS), OWNER, SILENT),
    ROW(REM_MEM_REG,           36, VIA_VU_PAYLOAD_MAX, 0, 1, PF(CONFIGURE_MEM_SLOTS), OWNER, SILENT),
    ROW(SET_STATUS,            8,  8,             0, 0, PF(STATUS),               OWNER,  SILENT),
    ROW(GET_STATUS,            0,  0,             0, 0, PF(STATUS),               ANYONE, ANSWERED),
    ROW(GET_SHMEM_CONFIG,      0,  0,             0, 0, PF(SHMEM),                ANYONE, ANSWERED),
};
/* clang-format on */

const struct via_vu_kind *via_vu_kind_of(uint32_t request)
{
    if (request >= via_array_len(kinds) || !kinds[request].name)
        return NULL;
    return &kinds[request];
}

const char *via_vu_name(uint32_t request)
{
    const struct via_vu_kind *kind = via_vu_kind_of(request);
    return kind ? kind->name : "unknown request";
}

const char *via_vu_back_name(uint32_t request)
{
    switch (request) {
    case VIA_VU_BACK_IOTLB_MSG:
        return "BACKEND_IOTLB_MSG";
    case VIA_VU_BACK_CONFIG_CHANGE:
        return "BACKEND_CONFIG_CHANGE_MSG";
    case VIA_VU_BACK_SHMEM_MAP:
        return "BACKEND_SHMEM_MAP";
    default:
        return "unknown request";
    }
}

void via_vu_reply_u64(struct via_vu_msg *reply, uint32_t request, uint64_t value)
{
    memset(reply, 0, sizeof(*reply));
    reply->request = request;
    reply->flags = VIA_VU_VERSION | VIA_VU_FLAG_REPLY;
    reply->size = sizeof(value);
    memcpy(reply->payload, &value, sizeof(value));
}

void via_vu_iotlb_put(struct via_vu_msg *m, const struct via_vu_iotlb *iotlb)
{
    m->size = VIA_VU_IOTLB_BYTES;
    memset(m->payload, 0, VIA_VU_IOTLB_BYTES);
    memcpy(m->payload, iotlb, VIA_VU_IOTLB_USED);
}

void via_vu_iotlb_get(const struct via_vu_msg *m, struct via_vu_iotlb *iotlb)
{
    memset(iotlb, 0, sizeof(*iotlb));
    memcpy(iotlb, m->payload, VIA_VU_IOTLB_USED);
}
