/* SPDX-License-Identifier: BSD-2-Clause */
/* pattern: two plain words, then words that follow from them. */
#include "pattern.h"

#define STEP UINT64_C(0x9e3779b97f4a7c15)

static uint64_t seed(uint64_t offset, uint64_t generation)
{
    uint64_t x = (offset ^ generation << 44) * STEP;
    x = (x ^ x >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
    return x ^ x >> 32;
}

void via_pattern_fill(void *buf, size_t len, uint64_t offset, uint64_t generation)
{
    uint64_t *w = buf, x = seed(offset, generation);
    w[0] = offset;
    w[1] = generation;
    for (size_t i = 2; i < len / 8; i++)
        w[i] = x += STEP;
}

bool via_pattern_check(const void *buf, size_t len, uint64_t offset, uint64_t generation, uint64_t *found_offset,
                       uint64_t *found_generation)
{
    const uint64_t *w = buf;
    uint64_t x = seed(offset, generation), wrong = (w[0] ^ offset) | (w[1] ^ generation);
    *found_offset = w[0];
    *found_generation = w[1];
    for (size_t i = 2; i < len / 8; i++)
        wrong |= w[i] ^ (x += STEP);
    return wrong == 0;
}
