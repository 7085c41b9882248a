/* SPDX-License-Identifier: BSD-2-Clause */
/* Where the three areas of a split ring lie in one run of memory. */
#include "split.h"

bool via_split_num_valid(unsigned num) { return via_is_pow2(num) && num <= VIA_RING_NUM_MAX; }

bool via_split_valid(unsigned num, const void *desc, const void *avail, const void *used)
{
    if (!via_split_num_valid(num) || !desc || !avail || !used)
        return false;
    return (uintptr_t)desc % 16 == 0 && (uintptr_t)avail % 2 == 0 && (uintptr_t)used % 4 == 0;
}

int via_split_layout(struct via_split_layout *out, unsigned num, size_t used_align)
{
    if (!via_split_num_valid(num) || !via_is_pow2(used_align) || used_align < 4)
        return -VIA_EINVAL;
    size_t end;
    out->desc = 0;
    out->avail = via_split_desc_bytes(num);
    if (__builtin_add_overflow(out->avail + via_split_avail_bytes(num), used_align - 1, &end))
        return -VIA_EINVAL;
    out->used = end & ~(used_align - 1);
    if (__builtin_add_overflow(out->used, via_split_used_bytes(num), &out->total))
        return -VIA_EINVAL;
    return 0;
}
