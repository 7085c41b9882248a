/* SPDX-License-Identifier: BSD-2-Clause */
/* The space of facts. */
#include "policy_space.h"

const struct policy_dim policy_dim[DIMS] = {
    [DIM_ACCESS] = {"ACCESS_PLATFORM", {"legacy", "legacy, offered", "not offered", "not accepted", "accepted"}, 5},
    [DIM_TRANSLATED] = {"IOMMU", {"none", "translates"}, 2},
    [DIM_PROTECTOR] = {"memory is protected by", {"nobody", "host", "guest"}, 3},
    [DIM_RESTRICTED] = {"device reaches", {"all memory", "a part"}, 2},
    [DIM_NARROW] = {"mask", {"all memory", "less"}, 2},
    [DIM_ISOLATE] = {"isolation", {"no", "asked for"}, 2},
    [DIM_OVERRIDE] = {"administrator", {"silent", "direct", "bounce"}, 3},
    [DIM_ENCRYPTED] = {"address bit", {"none", "there is one"}, 2},
    [DIM_INCOHERENT] = {"caches", {"coherent", "incoherent"}, 2},
    [DIM_ORDER_FLAG] = {"ORDER_PLATFORM", {"not offered", "not accepted", "accepted"}, 3},
    [DIM_ORDER] = {"platform's order", {"processor's", "weak", "posted"}, 3},
};

struct policy_case policy_case(unsigned i)
{
    struct policy_case c;
    for (unsigned d = DIMS; d-- > 0; i /= policy_dim[d].n)
        c.at[d] = (uint8_t)(i % policy_dim[d].n);
    return c;
}

struct via_facts policy_facts(const struct policy_case *c, unsigned means)
{
    unsigned access = c->at[DIM_ACCESS], order = c->at[DIM_ORDER_FLAG];
    struct via_facts f = {
        .legacy = access <= ACCESS_LEGACY_OFFERED,
        .translated = c->at[DIM_TRANSLATED],
        .restricted = c->at[DIM_RESTRICTED],
        .encrypted = c->at[DIM_ENCRYPTED],
        .incoherent = c->at[DIM_INCOHERENT],
        .order = (enum via_order)c->at[DIM_ORDER],
        .mask = c->at[DIM_NARROW] ? UINT32_MAX : UINT64_MAX,
        .memory_last = UINT64_C(0x3ffffffff),
        .protector = (enum via_protector)c->at[DIM_PROTECTOR],
        .isolate = c->at[DIM_ISOLATE],
        .override = (enum via_override)c->at[DIM_OVERRIDE],
        .means = means,
    };
    f.offered = VIA_BIT(VIA_F_VERSION_1) | VIA_BIT(VIA_F_EVENT_IDX) | VIA_BIT(VIA_BLK_F_FLUSH);
    f.accepted = VIA_BIT(VIA_F_EVENT_IDX) | (f.legacy ? 0 : VIA_BIT(VIA_F_VERSION_1));
    f.offered |= access == ACCESS_LEGACY || access == ACCESS_UNOFFERED ? 0 : VIA_BIT(VIA_F_ACCESS_PLATFORM);
    f.accepted |= access == ACCESS_ACCEPTED ? VIA_BIT(VIA_F_ACCESS_PLATFORM) : 0;
    f.offered |= order == ORDER_UNOFFERED ? 0 : VIA_BIT(VIA_F_ORDER_PLATFORM);
    f.accepted |= order == ORDER_ACCEPTED ? VIA_BIT(VIA_F_ORDER_PLATFORM) : 0;
    return f;
}
