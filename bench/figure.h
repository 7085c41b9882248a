/* SPDX-License-Identifier: BSD-2-Clause */
/* figure: this thread's processor time, and a figure of several rounds as a line of JSON. */
#ifndef VIADUCT_BENCH_FIGURE_H
#define VIADUCT_BENCH_FIGURE_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 11

static inline double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the ROUNDS values. end: what follows the line's object. */
static inline void report(const char *name, double *value, const char *unit, const char *end)
{
    qsort(value, ROUNDS, sizeof(*value), by_value);
    printf("  \"%s\": {\"value\": %.4f, \"unit\": \"%s\", \"min\": %.4f, \"max\": %.4f, \"n\": %d, \"placement\": \"single-core\"}%s\n",
           name, value[ROUNDS / 2], unit, value[0], value[ROUNDS - 1], ROUNDS, end);
}

#endif
