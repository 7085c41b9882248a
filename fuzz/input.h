/* SPDX-License-Identifier: BSD-2-Clause */
/* input: the fuzzer's bytes, taken one by one; when they are used up, zeroes. */
#ifndef VIADUCT_FUZZ_INPUT_H
#define VIADUCT_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>

#define REQUIRE(cond) ((cond) ? (void)0 : __builtin_trap())

struct input {
    const uint8_t *at;
    size_t left;
};

static inline unsigned byte(struct input *in)
{
    if (!in->left)
        return 0;
    in->left--;
    return *in->at++;
}

#endif
