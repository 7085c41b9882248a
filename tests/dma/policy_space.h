/* SPDX-License-Identifier: BSD-2-Clause */
/* All facts that a plan may depend on, as a space of few dimensions that can be walked through. Means go apart. */
#ifndef TESTS_DMA_POLICY_SPACE_H
#define TESTS_DMA_POLICY_SPACE_H

#include <viaduct/policy.h>

enum dim {
    DIM_ACCESS, /* ACCESS_PLATFORM, and whether the interface is a legacy one */
    DIM_TRANSLATED,
    DIM_PROTECTOR,
    DIM_RESTRICTED,
    DIM_NARROW, /* the mask does not cover memory */
    DIM_ISOLATE,
    DIM_OVERRIDE,
    DIM_ENCRYPTED,
    DIM_INCOHERENT,
    DIM_ORDER_FLAG, /* ORDER_PLATFORM */
    DIM_ORDER,
    DIMS,
};
#define DIM_VALUES 5u
#define POLICY_CASES (5u * 3 * 3 * 3 * 3 * 64)

enum access { ACCESS_LEGACY, ACCESS_LEGACY_OFFERED, ACCESS_UNOFFERED, ACCESS_DECLINED, ACCESS_ACCEPTED };
enum order_flag { ORDER_UNOFFERED, ORDER_DECLINED, ORDER_ACCEPTED };

struct policy_dim {
    const char *name, *value[DIM_VALUES];
    unsigned n;
};
extern const struct policy_dim policy_dim[DIMS];

struct policy_case {
    uint8_t at[DIMS]; /* a value of each dimension */
};

/* Case number i of POLICY_CASES, and the facts that it stands for. */
struct policy_case policy_case(unsigned i);
struct via_facts policy_facts(const struct policy_case *, unsigned means);

#endif
