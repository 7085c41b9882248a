/* SPDX-License-Identifier: BSD-2-Clause */
/* split: what both sides of a split ring ask of its areas (2.7, 2.7.1). */
#ifndef VIADUCT_RING_SPLIT_H
#define VIADUCT_RING_SPLIT_H

#include <viaduct/ring.h>

/* A size that 2.7 allows. */
bool via_split_num_valid(unsigned num);
/* A size and areas that 2.7 allows. */
bool via_split_valid(unsigned num, const void *desc, const void *avail, const void *used);

#endif
