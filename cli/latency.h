/* SPDX-License-Identifier: BSD-2-Clause */
/* latency: a histogram of times with 3 % resolution from 1 ns to a minute, of fixed size. */
#ifndef VIADUCT_CLI_LATENCY_H
#define VIADUCT_CLI_LATENCY_H

#include <stdint.h>

#define VIA_LATENCY_STEPS 32u /* buckets from one power of two to the next */

struct via_latency {
    uint64_t count, max; /* max in ns */
    uint64_t bucket[36 * VIA_LATENCY_STEPS];
};

void via_latency_add(struct via_latency *, uint64_t ns);
/* The time in ns that `share` (0 to 1) of what was added stayed at or below; 0 when nothing was added. */
uint64_t via_latency_quantile(const struct via_latency *, double share);

#endif
