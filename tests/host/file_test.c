/* SPDX-License-Identifier: BSD-2-Clause */
/* Files as block stores: against a model, in every place and manner, and when the image or its disk lets us down. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include <tap.h>
#include <viaduct/host.h>

#include "scratch.h"

#define KIB 1024u
#define IMAGE (2048 * KIB)
#define DEPTH 32u

/* Where the image is, and how it is opened. */
static const struct place {
    const char *parent;
    bool direct;
} places[] = {{"/dev/shm", false}, {".", false}, {".", true}};

static char dir[64], path[128];
static struct via_err err;
static struct via_file *file;
static int fds_before;
static uint32_t blk_size;

static bool begin_sized(const struct place *p, off_t len, bool read_only)
{
    struct via_blk_limits l;
    fds_before = scratch_open_fds();
    CHECK_OR_FALSE(scratch_make(p->parent, dir));
    snprintf(path, sizeof(path), "%s/disk", dir);
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    CHECK_OR_FALSE(fd >= 0 && ftruncate(fd, len) == 0);
    close(fd);
    struct via_file_cfg cfg = {.path = path, .direct = p->direct, .read_only = read_only, .depth = DEPTH};
    if (via_file_open(&file, &cfg, &err) < 0) {
        tap_note(err.text);
        return false;
    }
    via_file_limits(file, &l);
    blk_size = l.blk_size;
    return true;
}

static bool begin(const struct place *p) { return begin_sized(p, IMAGE, false); }

static bool end(void)
{
    via_file_close(file);
    scratch_remove(dir);
    CHECK_OR_FALSE(scratch_open_fds() == fds_before);
    return true;
}

/* ------------------------------------------------------------------ requests */

struct job {
    struct via_blk_io io;
    struct job *then; /* submitted when this one is done */
    int result, calls;
};

static unsigned jobs_done;
static bool reap_in_done; /* must find nothing: the reap that called done goes on */

static int offer(struct job *j)
{
    struct via_blk_store *s = via_file_store(file);
    return s->ops->submit(s, &j->io);
}

static void job_done(struct via_blk_io *io, int result)
{
    struct job *j = via_container_of(io, struct job, io);
    j->result = result;
    j->calls++;
    jobs_done++;
    if (j->then && offer(j->then) < 0)
        j->then->result = -EAGAIN;
    if (reap_in_done) {
        via_file_submit(file);
        if (via_file_reap(file) != 0)
            j->result = -EBUSY;
    }
}

/* Only the descriptor tells that there is more to reap: false when nothing comes for a long time. */
static bool wait_for(unsigned n)
{
    via_file_submit(file);
    via_file_reap(file);
    while (jobs_done < n) {
        struct pollfd p = {.fd = via_file_fd(file), .events = POLLIN};
        if (poll(&p, 1, 20000) <= 0)
            return false;
        via_file_reap(file);
    }
    return true;
}

static int run(enum via_blk_op op, bool may_unmap, uint64_t offset, uint64_t len, const struct via_span *span, unsigned n)
{
    struct job j = {.io = {op, may_unmap, offset, len, span, n, job_done}, .result = 1};
    jobs_done = 0;
    if (offer(&j) < 0 || !wait_for(1) || j.calls != 1)
        return -ETIMEDOUT;
    return j.result;
}

static int run_buf(enum via_blk_op op, uint64_t offset, void *buf, size_t len)
{
    struct via_span s = {buf, len};
    return run(op, false, offset, len, &s, 1);
}

/* ------------------------------------------------------------------ against a model */

static uint32_t seed;

static uint32_t draw(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

/* Cut buf into up to 9 spans, at any byte; some are empty. */
static unsigned cut(uint8_t *buf, size_t len, struct via_span out[9])
{
    unsigned n = 1 + draw(9);
    size_t at = 0;
    for (unsigned i = 0; i < n; i++) {
        size_t take = i + 1 == n ? len - at : draw((uint32_t)(len - at) + 1);
        out[i] = (struct via_span){buf + at, take};
        at += take;
    }
    return n;
}

static bool step(uint8_t *model, uint8_t *buf)
{
    enum via_blk_op op = draw(5);
    uint64_t blocks = IMAGE / blk_size, most = draw(4) ? 16 : blocks / 2;
    uint64_t len = (1 + draw((uint32_t)most)) * blk_size, offset = draw((uint32_t)(blocks - len / blk_size)) * blk_size;
    struct via_span span[9];
    unsigned n = cut(buf, len, span);
    bool may_unmap = draw(2);
    if (op == VIA_BLK_WRITE)
        for (size_t i = 0; i < len; i++)
            buf[i] = (uint8_t)draw(256);
    else
        memset(buf, 0x5a, len);
    CHECK_OR_FALSE(run(op, may_unmap, offset, len, span, n) == 0);
    if (op == VIA_BLK_READ)
        CHECK_OR_FALSE(memcmp(buf, model + offset, len) == 0);
    if (op == VIA_BLK_WRITE)
        memcpy(model + offset, buf, len);
    if (op == VIA_BLK_DISCARD || op == VIA_BLK_ZERO) /* where holes can be made, what is discarded reads as zeroes */
        memset(model + offset, 0, len);
    return true;
}

static void it_is_a_disk(void)
{
    uint8_t *model = calloc(1, IMAGE), *buf = calloc(1, IMAGE + 1);
    for (size_t p = 0; p < via_array_len(places); p++) {
        CHECK(begin(&places[p]));
        memset(model, 0, IMAGE);
        seed = 7;
        for (int i = 0; i < 250; i++)
            CHECK(step(model, buf + 1)); /* never aligned */
        CHECK_EQ(run_buf(VIA_BLK_READ, 0, buf, IMAGE), 0);
        CHECK(memcmp(buf, model, IMAGE) == 0);
        int fd = open(path, O_RDONLY | O_CLOEXEC); /* and the file says so too */
        CHECK_EQ(read(fd, buf, IMAGE), IMAGE);
        CHECK(memcmp(buf, model, IMAGE) == 0);
        CHECK_EQ(lseek(fd, 0, SEEK_END), IMAGE);
        close(fd);
        CHECK(end());
    }
    free(model);
    free(buf);
}

/* More than one write of zeroes takes, where the file system has no better way: nothing before it or behind it changes. */
static void zeroing_is_exact(void)
{
    uint8_t *buf = malloc(IMAGE);
    for (size_t p = 0; p < via_array_len(places); p++)
        for (int may_unmap = 0; may_unmap < 2; may_unmap++) {
            CHECK(begin(&places[p]));
            memset(buf, 0xaa, IMAGE);
            CHECK_EQ(run_buf(VIA_BLK_WRITE, 0, buf, IMAGE), 0);
            CHECK_EQ(run(VIA_BLK_ZERO, may_unmap, 4096, 1400 * KIB, NULL, 0), 0);
            CHECK_EQ(run_buf(VIA_BLK_READ, 0, buf, IMAGE), 0);
            for (size_t i = 0; i < IMAGE; i++)
                CHECK_EQ(buf[i], i >= 4096 && i < 4096 + 1400 * KIB ? 0 : 0xaa);
            CHECK(end());
        }
    free(buf);
}

static void many_spans(void)
{
    enum { N = 3000 };
    static uint8_t buf[N * 512], back[N * 512];
    static struct via_span span[N];
    for (size_t p = 0; p < via_array_len(places); p++) {
        CHECK(begin(&places[p]));
        size_t len = sizeof(buf) / blk_size * blk_size;
        for (size_t i = 0; i < sizeof(buf); i++)
            buf[i] = (uint8_t)(i * 31 + i / 4096);
        unsigned n = 0;
        for (size_t at = 0; at < len; at += 512) /* in reverse order */
            span[n++] = (struct via_span){back + len - 512 - at, 512};
        CHECK_EQ(run_buf(VIA_BLK_WRITE, blk_size, buf, len), 0);
        CHECK_EQ(run(VIA_BLK_READ, false, blk_size, len, span, n), 0);
        for (size_t at = 0; at < len; at += 512)
            CHECK(memcmp(buf + at, back + len - 512 - at, 512) == 0);
        memset(buf, 0, len);
        CHECK_EQ(run(VIA_BLK_WRITE, false, 0, len, span, n), 0);
        CHECK_EQ(run_buf(VIA_BLK_READ, 0, buf, len), 0);
        for (size_t at = 0; at < len; at += 512)
            CHECK(memcmp(buf + at, back + len - 512 - at, 512) == 0);
        CHECK(end());
    }
}

/* ------------------------------------------------------------------ many at once */

static void a_full_ring_is_back_pressure(void)
{
    static struct job jobs[DEPTH + 1];
    static uint8_t buf[DEPTH + 1][4096];
    for (size_t p = 1; p < via_array_len(places); p++) {
        unsigned room = places[p].direct ? 16 : DEPTH; /* direct: as many as there are bounce buffers */
        CHECK(begin(&places[p]));
        for (int round = 0; round < 3; round++) {
            struct via_span span[DEPTH + 1];
            jobs_done = 0;
            for (unsigned i = 0; i <= room; i++) {
                span[i] = (struct via_span){buf[i] + 1, 4095 / blk_size * blk_size};
                jobs[i] = (struct job){.io = {VIA_BLK_WRITE, false, i * 4096, span[i].len, &span[i], 1, job_done}};
                if (span[i].len == 0) /* blocks of 4 KiB */
                    span[i] = (struct via_span){buf[0] + 1, 4096}, jobs[i].io.len = 4096;
                CHECK_EQ(offer(&jobs[i]), i < room ? 0 : -VIA_EAGAIN);
            }
            CHECK(wait_for(room));
            for (unsigned i = 0; i < room; i++)
                CHECK(jobs[i].calls == 1 && jobs[i].result == 0);
        }
        CHECK(end());
    }
}

static void requests_may_follow_from_done(void)
{
    enum { N = 500 };
    static struct job jobs[N];
    static _Alignas(4096) uint8_t buf[8192];
    for (size_t p = 0; p < via_array_len(places); p++) {
        CHECK(begin(&places[p]));
        struct via_span s = {buf, sizeof(buf)}, large = {NULL, 1024 * KIB};
        large.ptr = aligned_alloc(4096, large.len);
        reap_in_done = p > 0; /* not in place, where submit calls done */
        jobs_done = 0;
        for (int i = 0; i < N; i++) {
            const struct via_span *use = i % 50 == 49 ? &large : &s;
            jobs[i] = (struct job){.io = {i % 3 ? VIA_BLK_READ : VIA_BLK_FLUSH, false, 0, use->len, use, 1, job_done},
                                   .then = i + 1 < N && i % 2 == 0 ? &jobs[i + 1] : NULL};
        }
        for (int i = 0; i < N; i += 2) {
            while (offer(&jobs[i]) == -VIA_EAGAIN)
                CHECK(wait_for(jobs_done + 1));
            if (i % 10 == 0) {
                via_file_submit(file);
                via_file_reap(file);
            }
        }
        CHECK(wait_for(N));
        reap_in_done = false;
        for (int i = 0; i < N; i++)
            CHECK(jobs[i].calls == 1 && jobs[i].result == 0);
        CHECK(!via_file_due(file));
        CHECK(end());
        free(large.ptr);
    }
}

static void cached_reads_end_at_submit(void)
{
    struct via_span s = {NULL, 4096};
    uint8_t buf[4096];
    CHECK(begin(&places[1]));
    s.ptr = buf;
    CHECK_EQ(run_buf(VIA_BLK_WRITE, 0, buf, sizeof(buf)), 0);
    struct job j = {.io = {VIA_BLK_READ, false, 0, 4096, &s, 1, job_done}};
    CHECK_EQ(offer(&j), 0);
    CHECK_EQ(j.calls, 0);
    via_file_submit(file);
    CHECK(via_file_due(file));
    CHECK_EQ(via_file_reap(file), 1);
    struct pollfd p = {.fd = via_file_fd(file), .events = POLLIN};
    CHECK_EQ(poll(&p, 1, 0), 0); /* and nobody was woken for it */
    CHECK(end());
}

static void the_descriptor_is_quiet_when_nothing_is_due(void)
{
    CHECK(begin(&places[1]));
    struct pollfd p = {.fd = via_file_fd(file), .events = POLLIN};
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(run(VIA_BLK_FLUSH, false, 0, 0, NULL, 0), 0); /* by a worker, so it signals, perhaps a bit late */
        usleep(1000);
        via_file_reap(file);
        CHECK_EQ(poll(&p, 1, 0), 0);
    }
    CHECK(end());
}

/* ------------------------------------------------------------------ what goes wrong */

static void requests_that_make_no_sense_fail(void)
{
    uint8_t buf[512];
    for (size_t p = 0; p < via_array_len(places); p++) {
        CHECK(begin(&places[p]));
        CHECK_EQ(run_buf(VIA_BLK_READ, IMAGE, buf, 512), -EINVAL);
        CHECK_EQ(run_buf(VIA_BLK_WRITE, IMAGE - 511, buf, 512), -EINVAL);
        CHECK_EQ(run_buf(VIA_BLK_WRITE, UINT64_MAX - 511, buf, 512), -EINVAL);
        CHECK_EQ(run(VIA_BLK_DISCARD, false, 512, IMAGE, NULL, 0), -EINVAL);
        CHECK_EQ(run(VIA_BLK_ZERO, true, 0, UINT64_MAX, NULL, 0), -EINVAL);
        CHECK_EQ(run(VIA_BLK_READ, false, 0, 0, NULL, 0), 0);
        CHECK(end());
    }
}

static void read_only_stays_as_it_is(void)
{
    uint8_t buf[4096];
    for (size_t p = 0; p < via_array_len(places); p++) {
        CHECK(begin_sized(&places[p], IMAGE, true));
        CHECK_EQ(run_buf(VIA_BLK_WRITE, 0, buf, 4096), -EROFS);
        CHECK_EQ(run(VIA_BLK_DISCARD, false, 0, 4096, NULL, 0), -EROFS);
        CHECK_EQ(run(VIA_BLK_ZERO, true, 0, 4096, NULL, 0), -EROFS);
        CHECK_EQ(run(VIA_BLK_FLUSH, false, 0, 0, NULL, 0), 0);
        CHECK_EQ(run_buf(VIA_BLK_READ, 0, buf, 4096), 0);
        CHECK(end());
    }
}

static void a_vanishing_image_is_an_error_never_zeroes(void)
{
    static uint8_t buf[1024 * KIB];
    for (size_t p = 0; p < via_array_len(places); p++) {
        CHECK(begin(&places[p]));
        CHECK(truncate(path, 300 * KIB) == 0);
        CHECK_EQ(run_buf(VIA_BLK_READ, 0, buf, 300 * KIB), 0);
        CHECK_EQ(run_buf(VIA_BLK_READ, 512 * KIB, buf, 4096), -EIO);
        CHECK_EQ(run_buf(VIA_BLK_READ, 512 * KIB, buf, 512 * KIB), -EIO);
        CHECK_EQ(run_buf(VIA_BLK_READ, 0, buf, 1024 * KIB), -EIO); /* across the end */
        CHECK_EQ(run_buf(VIA_BLK_READ, 0, buf + 1, 1000 * KIB), -EIO);
        CHECK_EQ(run_buf(VIA_BLK_READ, 296 * KIB, buf, 8 * KIB), -EIO);
        CHECK(truncate(path, 300 * KIB + 100) == 0); /* not even at a block's end */
        CHECK_EQ(run_buf(VIA_BLK_READ, 296 * KIB, buf, 8 * KIB), -EIO);
        CHECK_EQ(run_buf(VIA_BLK_READ, 296 * KIB, buf + 1, 512 * KIB), -EIO);
        CHECK(unlink(path) == 0); /* a file without a name is whole still */
        CHECK_EQ(run_buf(VIA_BLK_READ, 0, buf, 4096), 0);
        CHECK(end());
    }
}

static void a_full_disk_is_an_error(void)
{
    static uint8_t buf[1024 * KIB];
    char mnt[64];
    CHECK(scratch_make(".", mnt));
    if (mount("small", mnt, "tmpfs", 0, "size=512k") < 0) {
        rmdir(mnt);
        tap_skip("this process may not mount a small tmpfs");
        return;
    }
    static const size_t sizes[] = {4 * KIB, 64 * KIB, 1024 * KIB}; /* in place, and by the ring */
    for (size_t i = 0; i < via_array_len(sizes); i++) {
        struct place small = {mnt, false};
        int r = 0;
        CHECK(begin(&small));
        for (uint64_t at = 0; r == 0 && at < IMAGE; at += sizes[i])
            r = run_buf(VIA_BLK_WRITE, at, buf, sizes[i]);
        CHECK_EQ(r, -ENOSPC);
        CHECK_EQ(run(VIA_BLK_ZERO, false, 1024 * KIB, 1024 * KIB, NULL, 0), -ENOSPC); /* tmpfs zeroes by writing */
        CHECK_EQ(run_buf(VIA_BLK_READ, 0, buf, sizes[i]), 0);
        CHECK_EQ(run(VIA_BLK_DISCARD, false, 0, IMAGE, NULL, 0), 0);
        CHECK_EQ(run_buf(VIA_BLK_WRITE, 0, buf, via_min64(sizes[i], 256 * KIB)), 0); /* and life goes on when there is room again */
        CHECK(end());
    }
    CHECK(umount(mnt) == 0);
    rmdir(mnt);
}

static void memory_that_is_gone_is_an_error(void)
{
    int fd = memfd_create("guest", MFD_CLOEXEC);
    struct via_mapped m;
    CHECK(ftruncate(fd, IMAGE) == 0);
    CHECK_EQ(via_mapped_open(&m, fd, 0, IMAGE, &err), 0);
    CHECK(ftruncate(fd, 4096) == 0);
    for (size_t p = 0; p < via_array_len(places); p++)
        for (size_t len = 4096; len <= 1024 * KIB; len *= 16) {
            CHECK(begin(&places[p]));
            CHECK_EQ(run_buf(VIA_BLK_WRITE, 0, m.ptr + 8192, len), -EFAULT);
            CHECK_EQ(run_buf(VIA_BLK_READ, 0, m.ptr + 8192, len), -EFAULT);
            CHECK_EQ(run_buf(VIA_BLK_READ, 0, m.ptr, 4096), 0);
            CHECK(end());
        }
    CHECK(!m.dead); /* the kernel says EFAULT where we would have got SIGBUS */
    via_mapped_close(&m);
    close(fd);
}

TAP_MAIN(TEST(it_is_a_disk), TEST(zeroing_is_exact), TEST(many_spans), TEST(a_full_ring_is_back_pressure),
         TEST(requests_may_follow_from_done), TEST(cached_reads_end_at_submit), TEST(the_descriptor_is_quiet_when_nothing_is_due),
         TEST(requests_that_make_no_sense_fail), TEST(read_only_stays_as_it_is), TEST(a_vanishing_image_is_an_error_never_zeroes),
         TEST(a_full_disk_is_an_error), TEST(memory_that_is_gone_is_an_error))
