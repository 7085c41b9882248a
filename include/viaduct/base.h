/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * base: what every room stands on. Results, wrapped scalars, checked arithmetic, and the accessors that are
 * the only way to read or write a word that a peer can write too.
 *
 * Results: 0 or more is success, a negative VIA_E* value is failure. The values are Linux's errno values
 * (host/ asserts that), so that hosted callers can hand them to strerror(-r).
 */
#ifndef VIADUCT_BASE_H
#define VIADUCT_BASE_H

#include <limits.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    VIA_EPERM = 1,
    VIA_ENOENT = 2,
    VIA_EIO = 5,
    VIA_E2BIG = 7,
    VIA_EBADF = 9,
    VIA_EAGAIN = 11, /* a resource is used up for now: try again when something was given back */
    VIA_ENOMEM = 12,
    VIA_EFAULT = 14, /* an address outside what the device may touch */
    VIA_EBUSY = 16,
    VIA_EEXIST = 17,
    VIA_ENODEV = 19,
    VIA_EINVAL = 22,
    VIA_ENOSPC = 28,
    VIA_EROFS = 30,
    VIA_ERANGE = 34,
    VIA_EPROTO = 71, /* a peer broke the rules: what it spoke through is broken until it is reset */
    VIA_EOVERFLOW = 75,
    VIA_ENOTSUP = 95,
    VIA_ETIMEDOUT = 110,
};

#define VIA_MUST_USE __attribute__((warn_unused_result))

/* Our own mistake, never a peer's: checked in checking builds (-DVIA_CHECKED), gone otherwise. */
#ifdef VIA_CHECKED
#define VIA_ASSERT(cond) ((cond) ? (void)0 : __builtin_trap())
#else
#define VIA_ASSERT(cond) ((void)sizeof(cond))
#endif

#define via_container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define via_array_len(a) (sizeof(a) / sizeof((a)[0]))

/* ------------------------------------------------------------------ wrapped scalars */

/* Little-endian words as they lie in shared memory and in messages. */
typedef struct {
    uint16_t raw;
} via_le16;
typedef struct {
    uint32_t raw;
} via_le32;
typedef struct {
    uint64_t raw;
} via_le64;

/* Addresses of different spaces, which can't be mixed without a compile error. */
typedef struct {
    uint64_t v;
} via_iova; /* what stands on a ring: the device's address */
typedef struct {
    uint64_t v;
} via_gpa; /* guest-physical */
typedef struct {
    uint64_t v;
} via_uva; /* a vhost-user front-end's user address */

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define VIA_SWAP16(x) __builtin_bswap16(x)
#define VIA_SWAP32(x) __builtin_bswap32(x)
#define VIA_SWAP64(x) __builtin_bswap64(x)
#else
#define VIA_SWAP16(x) ((uint16_t)(x))
#define VIA_SWAP32(x) ((uint32_t)(x))
#define VIA_SWAP64(x) ((uint64_t)(x))
#endif

static inline via_le16 via_le16_make(uint16_t v) { return (via_le16){VIA_SWAP16(v)}; }
static inline via_le32 via_le32_make(uint32_t v) { return (via_le32){VIA_SWAP32(v)}; }
static inline via_le64 via_le64_make(uint64_t v) { return (via_le64){VIA_SWAP64(v)}; }
static inline uint16_t via_le16_value(via_le16 w) { return VIA_SWAP16(w.raw); }
static inline uint32_t via_le32_value(via_le32 w) { return VIA_SWAP32(w.raw); }
static inline uint64_t via_le64_value(via_le64 w) { return VIA_SWAP64(w.raw); }

/* ------------------------------------------------------------------ ranges and spans */

/* Bytes of this process (or of this kernel, firmware ...). Laid out as struct iovec is; host/ asserts that. */
struct via_span {
    void *ptr;
    size_t len; /* bytes */
};

/* Bytes as a device addresses them: one descriptor's worth. */
struct via_seg {
    via_iova addr;
    uint32_t len; /* bytes */
};

/* Checked arithmetic: false when the true result does not fit, and *out is then not to be used. */
static inline VIA_MUST_USE bool via_add64(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline VIA_MUST_USE bool via_mul64(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_mul_overflow(a, b, out); }

/* [start, start + len - 1] is inside [lo, last], both ends inclusive, without ever wrapping. len 0 is inside nothing. */
static inline bool via_range_inside(uint64_t start, uint64_t len, uint64_t lo, uint64_t last)
{
    return len != 0 && start >= lo && start <= last && len - 1 <= last - start;
}

static inline bool via_is_pow2(uint64_t v) { return v != 0 && (v & (v - 1)) == 0; }
static inline uint64_t via_min64(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* ------------------------------------------------------------------ faults that can be told */

/*
 * Why something failed, for people: a static sentence that names the offence and, where they help, what was got and
 * what the limit was. The first fault is kept: what follows a fault is mostly its consequence.
 */
struct via_fault {
    const char *what; /* static text, NULL: nothing wrong so far */
    uint64_t got;
    uint64_t limit;
};

static inline int via_fault_set(struct via_fault *f, int result, const char *what, uint64_t got, uint64_t limit)
{
    if (!f->what)
        *f = (struct via_fault){what, got, limit};
    return result;
}

/* ------------------------------------------------------------------ memory that a peer can write */

/*
 * Each accessor touches the word exactly once, so a copy can be judged and used without a second look. acquire/release
 * are for the index words of a ring (virtio v1.4 2.7.13); plain ones order nothing.
 */
static inline uint16_t via_shm_get16(const via_le16 *p) { return VIA_SWAP16(__atomic_load_n(&p->raw, __ATOMIC_RELAXED)); }
static inline uint32_t via_shm_get32(const via_le32 *p) { return VIA_SWAP32(__atomic_load_n(&p->raw, __ATOMIC_RELAXED)); }
static inline uint64_t via_shm_get64(const via_le64 *p) { return VIA_SWAP64(__atomic_load_n(&p->raw, __ATOMIC_RELAXED)); }
static inline uint16_t via_shm_get16_acquire(const via_le16 *p) { return VIA_SWAP16(__atomic_load_n(&p->raw, __ATOMIC_ACQUIRE)); }
static inline void via_shm_put16(via_le16 *p, uint16_t v) { __atomic_store_n(&p->raw, VIA_SWAP16(v), __ATOMIC_RELAXED); }
static inline void via_shm_put32(via_le32 *p, uint32_t v) { __atomic_store_n(&p->raw, VIA_SWAP32(v), __ATOMIC_RELAXED); }
static inline void via_shm_put64(via_le64 *p, uint64_t v) { __atomic_store_n(&p->raw, VIA_SWAP64(v), __ATOMIC_RELAXED); }
static inline void via_shm_put16_release(via_le16 *p, uint16_t v) { __atomic_store_n(&p->raw, VIA_SWAP16(v), __ATOMIC_RELEASE); }

/* Set bits of a byte that others set and clear at the same time, after everything that was written before. */
static inline void via_shm_or8(uint8_t *p, uint8_t bits) { (void)__atomic_fetch_or(p, bits, __ATOMIC_RELEASE); }

/* Orders our earlier stores before our later loads, as both sides seen: between publishing an index and reading the
 * other side's wish to be notified (virtio v1.4 2.7.13.3.1, 2.7.14). */
static inline void via_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

/*
 * The platform's barriers: they order accesses of ours as a device sees them which is no processor (VIRTIO_F_ORDER_PLATFORM, virtio v1.4
 * 6.1). rmb: loads before it and loads after it; wmb: stores; mb: all of either. A platform that needs others gives a header with the
 * three functions: -DVIA_PLATFORM_BARRIERS='"name.h"' where core is compiled.
 */
#if defined(VIA_PLATFORM_BARRIERS)
#include VIA_PLATFORM_BARRIERS
#elif defined(__x86_64__)
/* For memory that is written back the processor's own order would do; what is mapped otherwise, or stored past the caches, needs these. */
static inline void via_platform_mb(void) { __asm__ volatile("mfence" ::: "memory"); }
static inline void via_platform_rmb(void) { __asm__ volatile("lfence" ::: "memory"); }
static inline void via_platform_wmb(void) { __asm__ volatile("sfence" ::: "memory"); }
#elif defined(__aarch64__)
/* Processors share the inner domain, devices the outer one. */
static inline void via_platform_mb(void) { __asm__ volatile("dmb osh" ::: "memory"); }
static inline void via_platform_rmb(void) { __asm__ volatile("dmb oshld" ::: "memory"); }
static inline void via_platform_wmb(void) { __asm__ volatile("dmb oshst" ::: "memory"); }
#else
static inline void via_platform_mb(void) { via_fence(); }
static inline void via_platform_rmb(void) { via_fence(); }
static inline void via_platform_wmb(void) { via_fence(); }
#endif

/* Copy bytes out of, into, or over memory that a peer can write. The bytes may change meanwhile: judge only the copy. */
void via_shm_read(void *dst, const void *shared, size_t len);
void via_shm_write(void *shared, const void *src, size_t len);
void via_shm_zero(void *shared, size_t len);

/*
 * Lists of spans. Each walks at most n spans, starts `off` bytes into the list, and returns the number of bytes that
 * it moved: fewer than len when the list is shorter.
 */
size_t via_spans_len(const struct via_span *span, unsigned n);
size_t via_spans_read(const struct via_span *span, unsigned n, size_t off, void *dst, size_t len);
size_t via_spans_write(const struct via_span *span, unsigned n, size_t off, const void *src, size_t len);

/*
 * Cut `len` bytes from offset `off` of a list out as a list of its own. out has room for cap spans.
 * Returns the number of spans, -VIA_ERANGE when the list is shorter than off + len, -VIA_E2BIG when cap is too small.
 */
VIA_MUST_USE int via_spans_cut(const struct via_span *span, unsigned n, size_t off, size_t len, struct via_span *out, unsigned cap);

#endif
