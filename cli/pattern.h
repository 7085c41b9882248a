/* SPDX-License-Identifier: BSD-2-Clause */
/* pattern: blocks that say where they belong and which write they come from, in every byte. */
#ifndef VIADUCT_CLI_PATTERN_H
#define VIADUCT_CLI_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* buf: 8-byte aligned, len a multiple of 8, at least 16. */
void via_pattern_fill(void *buf, size_t len, uint64_t offset, uint64_t generation);
/* True: the block is what via_pattern_fill made of the same numbers. Else *found_* hold what its first words claim. */
bool via_pattern_check(const void *buf, size_t len, uint64_t offset, uint64_t generation, uint64_t *found_offset,
                       uint64_t *found_generation);

#endif
