/* SPDX-License-Identifier: BSD-2-Clause */
/* A store in memory that a test steers: at once or later, in any order, failing, full. */
#ifndef VIA_TESTS_STORE_H
#define VIA_TESTS_STORE_H

#include <viaduct/device.h>

#define STORE_HELD 256u

struct store {
    struct via_blk_store store;
    uint8_t *disk;
    uint64_t len;
    bool later;       /* hold operations until store_end */
    unsigned room;    /* operations held at once; more: -VIA_EAGAIN */
    int fail;         /* what operations end with, if not 0 */
    int refuse;       /* what submit itself answers, if not 0 */
    unsigned fail_at; /* only the operation with this number (from 1) fails; 0: all */
    unsigned taken[VIA_BLK_ZERO + 1], total, unmaps;
    unsigned held;
    struct via_blk_io *io[STORE_HELD];
};

void store_init(struct store *, uint8_t *disk, uint64_t len);
/* End the i-th held operation, counted from the oldest. */
void store_end(struct store *, unsigned i);

#endif
