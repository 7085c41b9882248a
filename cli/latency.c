/* SPDX-License-Identifier: BSD-2-Clause */
/* latency: a histogram of times, log-linear. */
#include <viaduct/base.h>

#include "latency.h"

/* Below VIA_LATENCY_STEPS a bucket a ns; from there on the bits below the leading one pick the step within its power of two. */
static unsigned bucket_of(uint64_t ns)
{
    if (ns < VIA_LATENCY_STEPS)
        return (unsigned)ns;
    unsigned shift = 63 - (unsigned)__builtin_clzll(ns) - 5; /* 2^5 steps */
    return (shift + 1) * VIA_LATENCY_STEPS + (unsigned)(ns >> shift) - VIA_LATENCY_STEPS;
}

static uint64_t bucket_last(unsigned i)
{
    if (i < VIA_LATENCY_STEPS)
        return i;
    unsigned shift = i / VIA_LATENCY_STEPS - 1;
    return ((uint64_t)(VIA_LATENCY_STEPS + i % VIA_LATENCY_STEPS + 1) << shift) - 1;
}

void via_latency_add(struct via_latency *h, uint64_t ns)
{
    unsigned i = bucket_of(ns);
    h->bucket[i < via_array_len(h->bucket) ? i : via_array_len(h->bucket) - 1]++;
    h->count++;
    if (ns > h->max)
        h->max = ns;
}

uint64_t via_latency_quantile(const struct via_latency *h, double share)
{
    uint64_t want = (uint64_t)(share * (double)h->count), seen = 0;
    for (unsigned i = 0; i < via_array_len(h->bucket); i++) {
        seen += h->bucket[i];
        if (h->bucket[i] && seen >= want)
            return i + 1 < via_array_len(h->bucket) ? via_min64(bucket_last(i), h->max)
                                                    : h->max; /* the last one holds all that is longer */
    }
    return h->max;
}
