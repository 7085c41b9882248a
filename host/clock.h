/* SPDX-License-Identifier: BSD-2-Clause */
/* clock: the time that never steps. */
#ifndef VIADUCT_HOST_CLOCK_H
#define VIADUCT_HOST_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t via_clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static inline int64_t via_clock_ms(void) { return via_clock_ns() / 1000000; }

#endif
