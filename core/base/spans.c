/* SPDX-License-Identifier: BSD-2-Clause */
/* Lists of spans, read and written as if they were one run of bytes. */
#include <viaduct/base.h>

size_t via_spans_len(const struct via_span *span, unsigned n)
{
    size_t len = 0;
    for (unsigned i = 0; i < n; i++)
        len += span[i].len;
    return len;
}

int via_spans_cut(const struct via_span *span, unsigned n, size_t off, size_t len, struct via_span *out, unsigned cap)
{
    unsigned k = 0;
    for (unsigned i = 0; i < n && len; i++) {
        if (off >= span[i].len) {
            off -= span[i].len;
            continue;
        }
        size_t take = via_min64(span[i].len - off, len);
        if (k == cap)
            return -VIA_E2BIG;
        out[k++] = (struct via_span){(char *)span[i].ptr + off, take};
        off = 0;
        len -= take;
    }
    return len ? -VIA_ERANGE : (int)k;
}

size_t via_spans_read(const struct via_span *span, unsigned n, size_t off, void *dst, size_t len)
{
    size_t moved = 0;
    for (unsigned i = 0; i < n && moved < len; i++) {
        struct via_span part;
        size_t take = off < span[i].len ? via_min64(span[i].len - off, len - moved) : 0;
        if (take && via_spans_cut(&span[i], 1, off, take, &part, 1) == 1)
            via_shm_read((char *)dst + moved, part.ptr, part.len);
        off -= via_min64(off, span[i].len);
        moved += take;
    }
    return moved;
}

size_t via_spans_write(const struct via_span *span, unsigned n, size_t off, const void *src, size_t len)
{
    size_t moved = 0;
    for (unsigned i = 0; i < n && moved < len; i++) {
        struct via_span part;
        size_t take = off < span[i].len ? via_min64(span[i].len - off, len - moved) : 0;
        if (take && via_spans_cut(&span[i], 1, off, take, &part, 1) == 1)
            via_shm_write(part.ptr, (const char *)src + moved, part.len);
        off -= via_min64(off, span[i].len);
        moved += take;
    }
    return moved;
}
