/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * attack_model: attacks on ways to memory that no program of ours serves a disk by: memory that is shared page by page, where the attacker
 * has its descriptor, and an IOMMU with an honest cache, where the attacker has nothing but translations that have not been flushed yet.
 * Prints what came of it, as JSON.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <json-c/json.h>
#include <viaduct/iommu.h>
#include <viaduct/private.h>

#define PAGE ((size_t)4096)
#define PAGES 64u
#define SHARED 8u /* of them, the first ones */
#define PHYS UINT64_C(0x40000000)
#define SECRET UINT64_C(0x7365637265742121)
#define WINDOW_NS UINT64_C(10000000) /* as viaduct drive has it */
#define ROUNDS 20u
#define LIMIT_NS UINT64_C(20000000000)

static void die(const char *what)
{
    fprintf(stderr, "attack-model: %s\n", what);
    exit(1);
}

static void put(struct json_object *o, const char *name, double v) { json_object_object_add(o, name, json_object_new_double(v)); }

static void fill(uint8_t *page, uint64_t what)
{
    for (size_t i = 0; i < PAGE; i += sizeof(what))
        memcpy(page + i, &what, sizeof(what));
}

static size_t count(const uint8_t *mem, size_t len, uint64_t what)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i += sizeof(what))
        n += memcmp(mem + i, &what, sizeof(what)) == 0 ? sizeof(what) : 0;
    return n;
}

/* ------------------------------------------------------------------ encrypt */

/* Whoever has the descriptor: all of the file is read, and overwritten. */
static size_t descriptor_attack(int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        die("no look at the descriptor");
    uint8_t *all = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (all == MAP_FAILED)
        die("the descriptor can't be mapped");
    size_t found = count(all, (size_t)st.st_size, SECRET);
    memset(all, 0xee, (size_t)st.st_size);
    munmap(all, (size_t)st.st_size);
    return found;
}

static struct json_object *attack_encrypt(void)
{
    static struct via_private m;
    const struct via_private_cfg cfg = {.name = "attack", .len = PAGES * PAGE};
    struct json_object *o = json_object_new_object();
    struct via_phys_range range;
    struct via_direct direct;
    struct via_encrypt encrypt;
    struct via_err err;
    struct via_seg seg;
    struct via_mapping map = {.seg = &seg, .cap = 1};
    if (via_private_create(&m, &cfg, &err) < 0 || via_protect_share(&m.protect, m.memory.ptr, SHARED * PAGE) < 0)
        die("no private memory");
    range = (struct via_phys_range){m.memory.ptr, PAGES * PAGE, PHYS};
    if (via_direct_init(&direct, &range, 1) < 0 || via_encrypt_init(&encrypt, &direct.dma, &m.protect, (struct via_address_bit){0}) < 0)
        die("no addresses");
    for (unsigned i = 0; i < PAGES; i++)
        fill(m.memory.ptr + i * PAGE, SECRET);
    const struct via_span secret = {m.memory.ptr + SHARED * PAGE, PAGE};
    json_object_object_add(o, "private_address_given", json_object_new_boolean(via_dma_map(&encrypt.dma, &secret, 1, 0, &map) == 0));
    size_t found = descriptor_attack(m.memory.fd), kept = count(secret.ptr, (PAGES - SHARED) * PAGE, SECRET);
    put(o, "shared_bytes", SHARED * PAGE);
    put(o, "bytes_read", (double)found);
    put(o, "private_bytes_overwritten", (double)((PAGES - SHARED) * PAGE - kept));
    /* What was shared is private again, and holds a secret now. */
    if (via_protect_unshare(&m.protect, m.memory.ptr, SHARED * PAGE) < 0)
        die("pages can't be taken back");
    for (unsigned i = 0; i < SHARED; i++)
        fill(m.memory.ptr + i * PAGE, SECRET);
    found = descriptor_attack(m.memory.fd);
    kept = count(m.memory.ptr, PAGES * PAGE, SECRET);
    put(o, "taken_back_bytes_read", (double)found);
    put(o, "taken_back_bytes_overwritten", (double)(PAGES * PAGE - kept));
    via_private_destroy(&m);
    return o;
}

/* ------------------------------------------------------------------ iommu */

/* Its cache holds all that was mapped until a flush. */
static struct {
    struct via_domain domain;
    struct {
        uint64_t phys;
        bool there;
    } table[PAGES], cache[PAGES];
} iommu;

static int iommu_map(struct via_domain *d, uint64_t iova, uint64_t last, uint64_t phys, unsigned perm)
{
    (void)d, (void)perm;
    for (uint64_t i = iova / PAGE; i <= last / PAGE; i++, phys += PAGE) {
        iommu.table[i % PAGES].phys = phys;
        iommu.table[i % PAGES].there = true;
        iommu.cache[i % PAGES] = iommu.table[i % PAGES];
    }
    return 0;
}

static int iommu_unmap(struct via_domain *d, uint64_t iova, uint64_t last)
{
    (void)d;
    for (uint64_t i = iova / PAGE; i <= last / PAGE; i++)
        iommu.table[i % PAGES].there = false;
    return 0;
}

static int iommu_flush(struct via_domain *d)
{
    (void)d;
    memcpy(iommu.cache, iommu.table, sizeof(iommu.cache));
    return 0;
}

static const struct via_iommu_ops iommu_ops = {iommu_map, iommu_unmap, iommu_flush};
static _Alignas(4096) uint8_t memory[PAGES][4096];

static uint8_t *device_reaches(uint64_t iova)
{
    uint64_t i = iova / PAGE % PAGES;
    return iommu.cache[i].there ? memory[(iommu.cache[i].phys - PHYS) / PAGE] + iova % PAGE : NULL;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

struct window {
    uint64_t worked_ns, gap_ns; /* the longest, of rounds: after its unmap; between two ticks */
    size_t read, overwritten;   /* bytes of the page's next owner */
};

/* A request ends, its page goes to somebody else, and the device tries its old address until it fails. */
static void one_round(struct via_iommu_dma *d, uint8_t *page, struct window *w)
{
    struct via_seg seg;
    struct via_mapping map = {.seg = &seg, .cap = 1};
    const struct via_span span = {page, PAGE};
    uint64_t tick = now_ns(), unmapped, now;
    uint8_t *at;
    (void)via_iommu_dma_tick(d, tick);
    if (via_dma_map(&d->dma, &span, 0, 1, &map) < 0 || device_reaches(seg.addr.v) != page)
        die("the device does not reach what is mapped");
    uint64_t addr = seg.addr.v;
    via_dma_unmap(&d->dma, &map, PAGE);
    unmapped = now_ns();
    fill(page, SECRET);
    while ((at = device_reaches(addr))) {
        now = now_ns();
        w->worked_ns = now - unmapped > w->worked_ns ? now - unmapped : w->worked_ns;
        w->gap_ns = now - tick > w->gap_ns ? now - tick : w->gap_ns;
        w->read += at == page && count(at, PAGE, SECRET) == PAGE ? PAGE : 0;
        memset(at, 0xee, PAGE);
        w->overwritten += PAGE - count(page, PAGE, SECRET);
        fill(page, SECRET);
        if (now - unmapped > LIMIT_NS)
            die("a stale translation works for good");
        (void)via_iommu_dma_tick(d, tick = now_ns());
        usleep(200);
    }
}

static struct json_object *attack_iommu(enum via_iommu_mode mode)
{
    static struct via_iova_space space;
    static struct via_iova_node node[PAGES];
    struct json_object *o = json_object_new_object();
    const struct via_iova_cfg addresses = {.shift = 12, .range = {PAGES * PAGE, 2 * PAGES * PAGE - 1}, .mask = UINT64_MAX};
    struct via_seg phys[2];
    struct via_iommu_stale stale[PAGES];
    const struct via_iommu_cfg cfg = {
        .mode = mode, .window_ns = WINDOW_NS, .space = &space, .phys = phys, .phys_cap = 2, .stale = stale, .stale_cap = PAGES};
    struct via_phys_range range = {memory, sizeof(memory), PHYS};
    struct via_direct direct;
    struct via_iommu_dma d;
    struct window w = {0};
    memset(&iommu, 0, sizeof(iommu));
    iommu.domain.ops = &iommu_ops;
    if (via_iova_init(&space, &addresses, node, PAGES) < 0 || via_direct_init(&direct, &range, 1) < 0 ||
        via_iommu_dma_init(&d, &direct.dma, &iommu.domain, &cfg) < 0)
        die("no IOMMU");
    for (unsigned i = 0; i < ROUNDS; i++)
        one_round(&d, memory[i % PAGES], &w);
    put(o, "worked_ms", (double)w.worked_ns / 1e6);
    put(o, "bound_ms", mode == VIA_IOMMU_LAZY ? (double)(WINDOW_NS + w.gap_ns) / 1e6 : 0);
    put(o, "window_ms", mode == VIA_IOMMU_LAZY ? (double)WINDOW_NS / 1e6 : 0);
    put(o, "next_owner_bytes_read", (double)w.read);
    put(o, "next_owner_bytes_overwritten", (double)w.overwritten);
    return o;
}

int main(void)
{
    struct json_object *o = json_object_new_object();
    json_object_object_add(o, "encrypt", attack_encrypt());
    json_object_object_add(o, "iommu-strict", attack_iommu(VIA_IOMMU_STRICT));
    json_object_object_add(o, "iommu-lazy", attack_iommu(VIA_IOMMU_LAZY));
    int r = printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY)) < 0;
    json_object_put(o);
    return r;
}
