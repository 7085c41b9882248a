/* SPDX-License-Identifier: BSD-2-Clause */
/* Segments turned into spans, and device memory read, through any xlate. */
#include <viaduct/xlate.h>

int via_xlate_map(struct via_xlate *x, const struct via_seg *seg, unsigned n, unsigned perm, struct via_span *span, unsigned cap)
{
    unsigned k = 0;
    for (unsigned i = 0; i < n; i++) {
        uint64_t addr = seg[i].addr.v, left = seg[i].len;
        do {
            if (k == cap)
                return -VIA_E2BIG;
            int err = via_xlate_resolve(x, (via_iova){addr}, left, perm, &span[k]);
            if (err)
                return err;
            VIA_ASSERT(span[k].len > 0 && span[k].len <= left);
            addr += span[k].len;
            left -= span[k++].len;
        } while (left);
    }
    return (int)k;
}

int via_xlate_read(struct via_xlate *x, via_iova addr, void *dst, size_t len)
{
    for (size_t done = 0; done < len;) {
        struct via_span span;
        int err = via_xlate_resolve(x, (via_iova){addr.v + done}, len - done, VIA_PERM_R, &span);
        if (err)
            return err;
        VIA_ASSERT(span.len > 0 && span.len <= len - done);
        via_shm_read((char *)dst + done, span.ptr, span.len);
        done += span.len;
    }
    return 0;
}
