/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A model of memory that a device sees and a processor's cache that it does not, and of writes that are posted. The processor's view and
 * memory are two arrays. A line of the cache is absent, clean or dirty, and whenever the processor is allowed to change that by itself, it
 * does so at random: what is dirty is written back, what is absent is fetched, what is clean is dropped.
 *
 * All accesses of the processor pass through here: the model brings its own via_shm_read, via_shm_write and via_shm_zero, which core
 * makes its bulk accesses by. What passes it by finds poison where a line is absent.
 *
 * Posted: the processor's write-backs, and its words on a ring, go out in one queue; the device's data and words come back in another.
 * An entry arrives at some later time, in order; a flush makes all of them arrive. The processor's fetch of a line makes its own arrive;
 * its look at the ring does not, as what the device has to say lies on its own side.
 */
#ifndef TESTS_DMA_INCOHERENT_H
#define TESTS_DMA_INCOHERENT_H

#include <viaduct/dma.h>

#define INCOHERENT_PHYS 0x80000000ull /* what the device calls the first byte */

struct incoherent_write {
    uint8_t *to;
    uint32_t len;
    uint8_t byte[256];
};
struct incoherent_queue {
    struct incoherent_write *entry;
    unsigned first, n;
};

struct incoherent {
    uint8_t *cpu, *memory;
    uint8_t *state;
    size_t bytes, line;
    bool posted;
    uint64_t seed;
    struct incoherent_queue out, back;
};

bool incoherent_open(struct incoherent *, size_t bytes, size_t line, bool posted, uint64_t seed);
void incoherent_close(struct incoherent *);
uint32_t incoherent_below(struct incoherent *, uint32_t n);

/* The processor's accesses: ptr is in cpu. */
void incoherent_read(struct incoherent *, const void *ptr, void *to, size_t len);
void incoherent_write(struct incoherent *, void *ptr, const void *from, size_t len);
/* What the processor and the queues do by themselves. */
void incoherent_weather(struct incoherent *);
/* What a port does. */
void incoherent_clean(struct incoherent *, const void *ptr, size_t len);
void incoherent_invalidate(struct incoherent *, const void *ptr, size_t len);
void incoherent_flush(struct incoherent *);

/* A write that arrives some time: of the device's to memory or to us, or of ours to a ring that the device reads. */
void incoherent_post(struct incoherent *, struct incoherent_queue *, void *to, const void *from, size_t len);
/* Some bytes at a device address. NULL: no memory there. */
uint8_t *incoherent_at(const struct incoherent *, uint64_t addr, size_t len);

#endif
