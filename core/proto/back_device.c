/* SPDX-License-Identifier: BSD-2-Clause */
/* The back-end session's device: features, config space, status, reset. */
#include <string.h>

#include "back_parts.h"

int via_back_features(struct via_back *b)
{
    uint64_t v = via_back_u64(b), offered = b->cfg.features | VIA_BIT(VIA_F_PROTOCOL_FEATURES);
    if (v & ~offered)
        return via_back_break(b, "SET_FEATURES: accepts features that were not offered", v & ~offered, offered);
    if (b->cfg.needs & ~v)
        return via_back_refuse(b, -VIA_ENOTSUP,
                               "SET_FEATURES: the driver does without features that this device was told to require (an old driver?)",
                               b->cfg.needs & ~v, b->cfg.needs);
    if (b->features_set && v == b->features)
        return 0;
    if (b->features_set && (v ^ b->features) == VIA_BIT(VIA_F_LOG_ALL)) {
        b->act.what = VIA_BACK_LOG_ALL;
        b->act.value = (v & VIA_BIT(VIA_F_LOG_ALL)) != 0;
        return 0;
    }
    if (via_back_running(b))
        return via_back_break(b, "SET_FEATURES: features can't change while rings run, stop them by GET_VRING_BASE first", v, b->features);
    if (!(v & VIA_BIT(VIA_F_PROTOCOL_FEATURES)))
        for (unsigned i = 0; i < b->cfg.queues; i++)
            b->ring[i].enabled = true;
    b->act.what = VIA_BACK_FEATURES;
    b->act.value = v & b->cfg.features;
    return 0;
}

int via_back_protocol(struct via_back *b)
{
    uint64_t v = via_back_u64(b);
    if (v & ~b->cfg.protocol)
        return via_back_break(b, "SET_PROTOCOL_FEATURES: accepts protocol features that were not offered", v & ~b->cfg.protocol,
                              b->cfg.protocol);
    b->protocol = v;
    return 0;
}

int via_back_status(struct via_back *b)
{
    uint64_t v = via_back_u64(b);
    if (v > UINT8_MAX)
        return via_back_break(b, "SET_STATUS: a device status has 8 bits", v, UINT8_MAX);
    b->act.what = VIA_BACK_STATUS;
    b->act.value = v;
    return 0;
}

int via_back_config(struct via_back *b, enum via_back_do what)
{
    struct via_vu_config c;
    memcpy(&c, b->msg.payload, sizeof(c));
    if (c.size == 0 || c.size > VIA_VU_CONFIG_MAX)
        return via_back_break(b, "a config message asks for no bytes, or for more than config space has", c.size, VIA_VU_CONFIG_MAX);
    if (b->msg.size < VIA_VU_CONFIG_HDR + c.size)
        return via_back_break(b, "a config message's payload is shorter than the bytes that it names", b->msg.size,
                              VIA_VU_CONFIG_HDR + c.size);
    if (c.offset >= VIA_VU_CONFIG_OLD_START)
        c.offset -= VIA_VU_CONFIG_OLD_START;
    if (c.offset > VIA_VU_CONFIG_MAX - c.size)
        return via_back_break(b, "a config message reaches beyond the end of config space", c.offset, VIA_VU_CONFIG_MAX - c.size);
    if (what == VIA_BACK_CONFIG_SET && c.flags > VIA_VU_CONFIG_F_MIGRATION)
        return via_back_break(b, "SET_CONFIG: flags that do not exist", c.flags, VIA_VU_CONFIG_F_MIGRATION);
    b->act.what = what;
    b->act.offset = c.offset;
    b->act.len = c.size;
    b->act.value = what == VIA_BACK_CONFIG_SET ? c.flags : 0;
    b->act.config = b->msg.payload + VIA_VU_CONFIG_HDR;
    if (what == VIA_BACK_CONFIG_GET)
        memset(b->act.config, 0, c.size);
    return 0;
}

void via_back_reset(struct via_back *b)
{
    b->features = 0;
    b->features_set = false;
    b->status = 0;
    for (unsigned i = 0; i < b->cfg.queues; i++)
        b->ring[i] = (struct via_back_ring){.base = b->ring[i].base};
}
