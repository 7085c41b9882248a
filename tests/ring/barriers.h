/* SPDX-License-Identifier: BSD-2-Clause */
/* Barriers of a platform which is a test's: each of them, and of the processor's own, calls the test where it would take effect. */
#ifndef TESTS_RING_BARRIERS_H
#define TESTS_RING_BARRIERS_H

enum barrier { BARRIER_ACQUIRE = 'a', BARRIER_RELEASE = 'l', BARRIER_FENCE = 'f', BARRIER_MB = 'm', BARRIER_RMB = 'r', BARRIER_WMB = 'w' };
void barrier(enum barrier);

static inline void via_platform_mb(void) { barrier(BARRIER_MB); }
static inline void via_platform_rmb(void) { barrier(BARRIER_RMB); }
static inline void via_platform_wmb(void) { barrier(BARRIER_WMB); }

static inline uint16_t barrier_get16(const via_le16 *p)
{
    uint16_t v = via_shm_get16(p);
    barrier(BARRIER_ACQUIRE);
    return v;
}
static inline void barrier_put16(via_le16 *p, uint16_t v)
{
    barrier(BARRIER_RELEASE);
    via_shm_put16(p, v);
}
/* base.h has defined these; what comes after it gets ours */
#define via_shm_get16_acquire(p) barrier_get16(p)
#define via_shm_put16_release(p, v) barrier_put16(p, v)
#define via_fence() barrier(BARRIER_FENCE)

#endif
