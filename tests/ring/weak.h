/* SPDX-License-Identifier: BSD-2-Clause */
/* Barriers of a platform that has none, and a processor's fence that is none: the compiler keeps the order, and nobody else. */
#ifndef TESTS_RING_WEAK_H
#define TESTS_RING_WEAK_H

static inline void weak_barrier(void) { __asm__ volatile("" ::: "memory"); }
static inline void via_platform_mb(void) { weak_barrier(); }
static inline void via_platform_rmb(void) { weak_barrier(); }
static inline void via_platform_wmb(void) { weak_barrier(); }
#define via_fence() weak_barrier()

#endif
