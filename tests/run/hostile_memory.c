/* SPDX-License-Identifier: BSD-2-Clause */
/* hostile: what memory, mappings and descriptors give. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "hostile.h"

#define PAGE 4096u
#define CHUNK (1u << 20)
#define MAPPED_MAX (UINT64_C(4) << 30) /* of one file */
#define GROWN (UINT64_C(1) << 30)

/* Unlike a plain load this fails instead of killing where a mapping has nothing behind it. */
static ssize_t safe_read(void *to, const void *from, size_t len)
{
    struct iovec local = {to, len}, remote = {(void *)(uintptr_t)from, len};
    return process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
}

void hostile_keep(int fd)
{
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || !st.st_size)
        return;
    for (unsigned i = 0; i < hostile.files; i++)
        if (hostile.file[i].dev == st.st_dev && hostile.file[i].ino == st.st_ino)
            return;
    int copy = hostile.files < FILES_MAX ? fcntl(fd, F_DUPFD_CLOEXEC, 64) : -1;
    if (copy >= 0)
        hostile.file[hostile.files++] = (struct stolen){copy, st.st_dev, st.st_ino};
}

/* A piece of the regions, the next one each time: traffic is looked at while it passes. */
void hostile_slice(const struct via_memmap *map, size_t len)
{
    uint64_t at = 0, total = 0;
    for (unsigned i = 0; i < map->n; i++)
        total += map->region[i].len;
    if (!total)
        return;
    hostile.cursor %= total;
    for (unsigned i = 0; i < map->n; at += map->region[i++].len) {
        if (hostile.cursor < at || hostile.cursor >= at + map->region[i].len)
            continue;
        uint64_t off = hostile.cursor - at, n = via_min64(len, map->region[i].len - off);
        hostile_scan(MEAN_REGIONS, map->region[i].ptr + off, n);
        hostile.cursor += n;
        return;
    }
}

static void scan_regions(const struct via_memmap *map)
{
    for (unsigned i = 0; i < map->n; i++) {
        hostile.trial[MEAN_REGIONS].tried++;
        hostile.trial[MEAN_REGIONS].worked++;
        hostile_scan(MEAN_REGIONS, map->region[i].ptr, map->region[i].len);
    }
}

static void scan_file(int fd)
{
    struct trial *t = &hostile.trial[MEAN_FILES];
    struct stat st;
    t->tried++;
    if (fstat(fd, &st))
        return;
    size_t len = (size_t)via_min64((uint64_t)st.st_size, MAPPED_MAX);
    void *mem = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
    if (mem == MAP_FAILED)
        return;
    t->worked++;
    hostile_scan(MEAN_FILES, mem, len);
    munmap(mem, len);
}

static void read_beyond(int fd)
{
    struct trial *t = &hostile.trial[MEAN_BEYOND];
    static uint8_t page[PAGE];
    struct stat st;
    if (fstat(fd, &st))
        return;
    for (unsigned shift = 0; shift < 31; shift++) {
        off_t at = st.st_size + (off_t)PAGE * ((INT64_C(1) << shift) - 1);
        t->tried++;
        if (pread(fd, page, PAGE, at) > 0) {
            t->worked++;
            hostile_scan(MEAN_BEYOND, page, PAGE);
        }
        void *mem = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, at / PAGE * PAGE + (at % PAGE ? PAGE : 0));
        t->tried++;
        if (mem == MAP_FAILED)
            continue;
        if (safe_read(page, mem, PAGE) == PAGE) {
            t->worked++;
            hostile_scan(MEAN_BEYOND, page, PAGE);
        }
        munmap(mem, PAGE);
    }
}

/* A second mapping of the same pages, moved to the file's start and grown as far as it goes: no descriptor is needed for this. */
static void remap(const struct via_mapped *m)
{
    struct trial *t = &hostile.trial[MEAN_REMAP];
    static uint8_t chunk[CHUNK];
    size_t len = m->map_len;
    t->tried++;
    void *mem = mremap(m->map, 0, len, MREMAP_MAYMOVE);
    if (mem == MAP_FAILED)
        return;
    if (!remap_file_pages(mem, len, 0, 0, 0)) {
        void *grown = mremap(mem, len, GROWN, MREMAP_MAYMOVE);
        if (grown != MAP_FAILED) {
            mem = grown;
            len = GROWN;
        }
    }
    size_t at = 0;
    for (ssize_t n; at < len && (n = safe_read(chunk, (uint8_t *)mem + at, via_min64(CHUNK, len - at))) > 0; at += (size_t)n)
        hostile_scan(MEAN_REMAP, chunk, (size_t)n);
    t->worked += at > m->map_len;
    munmap(mem, len);
}

static void try_address(const struct via_server *s, uint64_t addr)
{
    struct via_span span;
    struct via_xlate *x = (struct via_xlate *)(uintptr_t)&s->map.xlate;
    for (unsigned i = 0; i < s->map.n; i++)
        if (via_range_inside(addr, 1, s->map.region[i].gpa, s->map.region[i].gpa + s->map.region[i].len - 1))
            return;
    hostile.trial[MEAN_ADDRESSES].tried++;
    if (via_xlate_resolve(x, (via_iova){addr}, 1, VIA_PERM_R, &span))
        return;
    hostile.trial[MEAN_ADDRESSES].worked++;
    hostile_scan(MEAN_ADDRESSES, span.ptr, span.len);
}

static void try_addresses(const struct via_server *s)
{
    for (unsigned i = 0; i < s->map.n; i++) {
        const struct via_region *r = &s->map.region[i];
        for (uint64_t step = 1; step <= UINT64_C(1) << 40; step <<= 1) {
            try_address(s, r->gpa - step);
            try_address(s, r->gpa + r->len - 1 + step);
            try_address(s, r->uva + step);
        }
    }
}

void hostile_memory(const struct via_server *s)
{
    scan_regions(&s->map);
    for (unsigned i = 0; i < hostile.files; i++) {
        scan_file(hostile.file[i].fd);
        read_beyond(hostile.file[i].fd);
    }
    for (unsigned i = 0; s->mapped && i < VIA_MEMMAP_REGIONS; i++)
        if (s->mapped[i].ptr)
            remap(&s->mapped[i]);
    try_addresses(s);
}
