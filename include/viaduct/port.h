/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * port: what a platform has to do by means of its own when a device sees memory in another way than the processors do. Each part that
 * needs one of these takes a port, and none where there is nothing to do: NULL is a device that sees what the processors see.
 */
#ifndef VIADUCT_PORT_H
#define VIADUCT_PORT_H

#include <viaduct/base.h>

struct via_port;
struct via_port_ops {
    /*
     * Caches, for a device that sees memory and not them. Both act on each line that a byte of [ptr, ptr + len) lies on, len 1 or more,
     * and no access of ours that comes later happens before they return.
     * clean: what the lines hold and memory does not goes to memory; they may stay in the cache.
     * invalidate: the lines are forgotten; what they hold and memory does not may be lost. What is read from now on is memory's.
     * There is no third one that does both: nothing here has a use for it (core/dma/cache.c says why).
     */
    void (*clean)(struct via_port *, const void *ptr, size_t len);
    void (*invalidate)(struct via_port *, void *ptr, size_t len);
    /*
     * For a bus on which writes are posted, so that a notification may come before what was written earlier: all writes of ours that are
     * under way arrive, and then all of the device's; no access of ours that comes later happens before it returns. A read from the
     * device does that on most buses.
     */
    void (*flush)(struct via_port *);
};

struct via_port { /* ops that nobody calls, as no part was given the port for that, may be NULL */
    const struct via_port_ops *ops;
    uint32_t line; /* bytes of the longest line of any cache, a power of two */
};

static inline void via_port_clean(struct via_port *p, const void *ptr, size_t len) { p->ops->clean(p, ptr, len); }
static inline void via_port_invalidate(struct via_port *p, void *ptr, size_t len) { p->ops->invalidate(p, ptr, len); }
static inline void via_port_flush(struct via_port *p) { p->ops->flush(p); }

/* No line has bytes of this buffer and others. */
static inline bool via_port_fills_lines(const struct via_port *p, const struct via_span *buf)
{
    return (((uintptr_t)buf->ptr | buf->len) & (p->line - 1)) == 0;
}

#endif
