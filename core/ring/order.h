/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * order: the three points at which a ring's accesses are ordered. `platform`: the peer is no processor like ours (ORDER_PLATFORM), and the
 * platform's barriers come on top of the processors' own, which then still order what the other threads of this process see.
 */
#ifndef VIADUCT_RING_ORDER_H
#define VIADUCT_RING_ORDER_H

#include <viaduct/port.h>

/* An index, before what it leads to is read (2.7.8, 2.7.13). */
static inline uint16_t via_order_get16(const via_le16 *index, bool platform)
{
    uint16_t v = via_shm_get16_acquire(index);
    if (platform)
        via_platform_rmb();
    return v;
}

/* An index, after what it leads to was written, and read (2.7.13.3.1). */
static inline void via_order_put16(via_le16 *index, uint16_t v, bool platform)
{
    if (platform)
        via_platform_wmb();
    via_shm_put16_release(index, v);
}

/*
 * Between a word that we have shown and one of the other side's (2.7.13.4.1): of two sides which do this at once, one at least sees what
 * the other has shown. Where writes are posted, ours has arrived by then and what the device wrote before, too; so the flush has its place
 * here, before one decides whether to notify, and not between that and the notification.
 */
static inline void via_order_turn(bool platform, struct via_port *port)
{
    if (platform)
        via_platform_mb();
    else
        via_fence();
    if (port)
        via_port_flush(port);
}

#endif
