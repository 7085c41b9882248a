/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cache: a device that sees memory and not the processors' caches. What they hold goes to memory before the device's turn, and what they
 * may hold of the time before it is forgotten afterwards.
 *
 * Before: all lines are cleaned, those that the device will write, too. A line that stays dirty could be written back at any time during
 * the turn, over what the device has written. And cleaned, not invalidated: what the device leaves unwritten is to be as it was, which only
 * the cache may know.
 * After: the written lines are invalidated, whether or not that was done before. A processor may fetch any line at any time without being
 * asked to, so a line may be there again, with what memory held in the middle of the turn. Nothing can be lost by it: during the turn
 * nobody writes these lines but the device. For the same reason a writable buffer has to fill its lines: what a neighbour writes meanwhile
 * would be lost, or, cleaned, would take the device's bytes with it.
 */
#include <viaduct/dma.h>

static void to_device(const struct via_cache *c, const struct via_mapping *m)
{
    for (unsigned i = 0; i < (unsigned)m->buf_out + m->buf_in; i++)
        via_port_clean(c->port, m->buf[i].ptr, m->buf[i].len);
}

static void to_cpu(const struct via_cache *c, const struct via_mapping *m, uint32_t written)
{
    uint64_t left = c->under_reports ? UINT64_MAX : written;
    for (unsigned i = m->buf_out; i < (unsigned)m->buf_out + m->buf_in && left; i++) {
        size_t take = via_min64(m->buf[i].len, left);
        via_port_invalidate(c->port, m->buf[i].ptr, take);
        left -= take;
    }
}

static int cache_map(struct via_dma *dma, const struct via_span *buf, unsigned out, unsigned in, struct via_mapping *m)
{
    const struct via_cache *c = via_container_of(dma, struct via_cache, dma);
    for (unsigned i = out; i < out + in; i++)
        if (!via_port_fills_lines(c->port, &buf[i]))
            return -VIA_EINVAL;
    int r = via_dma_map(dma->next, buf, out, in, m);
    if (r >= 0)
        to_device(c, m);
    return r;
}

/* Next first: it may be what takes the device's access away, and a write that comes later must not be missed. */
static void cache_unmap(struct via_dma *dma, struct via_mapping *m, uint32_t written)
{
    via_dma_unmap(dma->next, m, written);
    to_cpu(via_container_of(dma, struct via_cache, dma), m, written);
}

static int cache_sync(struct via_dma *dma, struct via_mapping *m, enum via_owner to, uint32_t written)
{
    const struct via_cache *c = via_container_of(dma, struct via_cache, dma);
    if (to == VIA_OWNER_DEVICE)
        to_device(c, m);
    int r = via_dma_sync(dma->next, m, to, written);
    if (to == VIA_OWNER_CPU && r >= 0)
        to_cpu(c, m, written);
    return r;
}

static const struct via_dma_ops cache_ops = {"cache", cache_map, cache_unmap, cache_sync};

int via_cache_init(struct via_cache *c, struct via_dma *next, struct via_port *port)
{
    if (!next || !port || !via_is_pow2(port->line))
        return -VIA_EINVAL;
    *c = (struct via_cache){.dma = {&cache_ops, next}, .port = port};
    return 0;
}
