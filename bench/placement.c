/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * placement: how far apart the first two processors are right now, as the median round trip of a cache line in ns. On some machines this
 * changes within minutes, by a factor of five, and all figures of two threads with it.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 2000u
#define SAMPLES 15u
#define STOP UINT64_MAX

static struct {
    alignas(128) _Atomic uint64_t ping;
    alignas(128) _Atomic uint64_t pong;
    alignas(128) int cpu[2];
} line;

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof(set), &set);
}

static void *answer(void *unused)
{
    uint64_t seen = 0;
    pin(line.cpu[1]);
    while (seen != STOP) {
        uint64_t now = atomic_load_explicit(&line.ping, memory_order_acquire);
        if (now != seen)
            atomic_store_explicit(&line.pong, seen = now, memory_order_release);
    }
    return unused;
}

static double sample(uint64_t *count)
{
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (unsigned i = 0; i < ROUNDS; i++) {
        atomic_store_explicit(&line.ping, ++*count, memory_order_release);
        while (atomic_load_explicit(&line.pong, memory_order_acquire) != *count)
            ;
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    return ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / ROUNDS;
}

static int order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

int main(void)
{
    cpu_set_t set;
    pthread_t thread;
    double ns[SAMPLES];
    uint64_t count = 0;
    int found = 0;
    if (sched_getaffinity(0, sizeof(set), &set))
        return 1;
    for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++)
        if (CPU_ISSET(cpu, &set))
            line.cpu[found++] = cpu;
    if (found < 2) {
        puts("single");
        return 0;
    }
    pin(line.cpu[0]);
    if (pthread_create(&thread, NULL, answer, NULL))
        return 1;
    (void)sample(&count);
    for (unsigned i = 0; i < SAMPLES; i++)
        ns[i] = sample(&count);
    atomic_store(&line.ping, STOP);
    pthread_join(thread, NULL);
    qsort(ns, SAMPLES, sizeof(ns[0]), order);
    printf("%.0f\n", ns[SAMPLES / 2]);
    return 0;
}
