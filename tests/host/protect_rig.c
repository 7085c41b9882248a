/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest's memory on each platform that protects it. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include "protect_rig.h"

/* ------------------------------------------------------------------ system calls that fail when told to */

unsigned protect_fail_in;

static bool fails(void) { return protect_fail_in && !--protect_fail_in; }

void *__real_mmap64(void *, size_t, int, int, int, off_t);
void *__wrap_mmap64(void *, size_t, int, int, int, off_t);
void *__wrap_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
    errno = ENOMEM;
    return fails() ? MAP_FAILED : __real_mmap64(at, len, prot, flags, fd, off);
}

void *__real_mremap(void *, size_t, size_t, int, ...);
void *__wrap_mremap(void *, size_t, size_t, int, ...);
void *__wrap_mremap(void *old, size_t old_len, size_t len, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    void *at = va_arg(more, void *);
    va_end(more);
    errno = ENOMEM;
    return fails() ? MAP_FAILED : __real_mremap(old, old_len, len, flags, at);
}

int __real_fallocate64(int, int, off_t, off_t);
int __wrap_fallocate64(int, int, off_t, off_t);
int __wrap_fallocate64(int fd, int mode, off_t off, off_t len)
{
    errno = EIO;
    return fails() ? -1 : __real_fallocate64(fd, mode, off, len);
}

/* ------------------------------------------------------------------ a place */

const struct platform platforms[PLATFORMS] = {
    {"guest-only", false, {0, false}},
    {"host-aware", true, {0, false}},
    {"a bit says shared", false, {UINT64_C(1) << 47, true}},
    {"a bit says private, and the host knows", true, {UINT64_C(1) << 51, false}},
};

/* Passes on to the view what it is told, until it fails: the page at which it does may be one thing or the other for the host. */
static int tell(struct via_private_host *host, size_t page, size_t n, bool shared, size_t *done)
{
    struct place *p = via_container_of(host, struct place, host);
    size_t take = via_min64(n, p->tell_fails_after);
    bool fails_once = take < n && p->tell_fails_once;
    p->tell_fails_after = fails_once ? SIZE_MAX : p->tell_fails_after - (p->tell_fails_after == SIZE_MAX ? 0 : take);
    (void)p->view.host.tell(&p->view.host, page, take + (take < n), shared, done);
    *done = take;
    return take < n ? -VIA_EIO : 0;
}

static bool open_device(struct place *p, bool shared)
{
    const struct platform *f = p->platform;
    const struct via_private_view_cfg cfg = {
        .fd = p->m.memory.fd, .len = PAGES * PAGE, .base = PHYS, .bit = f->bit, .knows = f->knows, .shared = shared};
    struct via_err err = {.text = ""};
    p->host.tell = tell;
    p->tell_fails_after = SIZE_MAX;
    p->m.host = f->knows ? &p->host : NULL;
    p->range = (struct via_phys_range){p->m.memory.ptr, PAGES * PAGE, PHYS | (f->bit.shared_set ? 0 : f->bit.bit)};
    if (via_private_view_open(&p->view, &cfg, &err) < 0)
        tap_note(err.text);
    return p->view.mapped.ptr && via_direct_init(&p->direct, &p->range, 1) == 0 &&
           via_encrypt_init(&p->dma, &p->direct.dma, &p->m.protect, f->bit) == 0;
}

bool place_open(struct place *p, const struct platform *platform, bool shared)
{
    const struct via_private_cfg cfg = {.name = "protect-test", .len = PAGES * PAGE, .shared = shared};
    struct via_err err = {.text = ""};
    memset(p, 0, sizeof(*p));
    p->platform = platform;
    if (via_private_create(&p->m, &cfg, &err) < 0)
        tap_note(err.text);
    CHECK_OR_FALSE(p->m.memory.ptr && open_device(p, shared));
    p->other = mmap(NULL, cfg.len, PROT_READ | PROT_WRITE, MAP_SHARED, p->m.memory.fd, 0);
    CHECK_OR_FALSE(p->other != MAP_FAILED);
    for (unsigned i = 0; i < PAGES; i++)
        p->state[i] = shared ? SHARED : OWN;
    return true;
}

void place_close(struct place *p)
{
    munmap(p->other, PAGES * PAGE);
    via_private_view_close(&p->view);
    via_private_destroy(&p->m);
}

void fill(const struct place *p, size_t page, uint64_t what)
{
    for (size_t k = 0; k < PAGE; k += sizeof(what))
        memcpy(page_of(p, page) + k, &(uint64_t){what + page}, sizeof(what));
}

void fill_all(const struct place *p)
{
    for (size_t i = 0; i < PAGES; i++)
        fill(p, i, p->state[i] == OWN ? SECRET : OPEN);
}

bool holds(const uint8_t *page, uint64_t what)
{
    uint64_t first;
    memcpy(&first, page, sizeof(first));
    return first == what && !memcmp(page, page + sizeof(first), PAGE - sizeof(first));
}

int convert(struct place *p, size_t page, size_t n, bool share)
{
    return share ? via_protect_share(&p->m.protect, page_of(p, page), n * PAGE)
                 : via_protect_unshare(&p->m.protect, page_of(p, page), n * PAGE);
}

void becomes(struct place *p, size_t page, size_t n, bool shared)
{
    for (size_t i = page; i < page + n; i++) {
        p->state[i] = shared ? SHARED : OWN;
        fill(p, i, shared ? OPEN : SECRET);
    }
}

uint64_t on_ring(const struct place *p, uint64_t off)
{
    const struct via_address_bit *b = &p->platform->bit;
    return PHYS + off + (b->shared_set ? b->bit : 0);
}

/* ------------------------------------------------------------------ the model, and what is */

bool agrees(const struct place *p)
{
    size_t pieces = 1;
    bool doubt = false;
    for (size_t i = 0; i < PAGES; i++) {
        CHECK_OR_FALSE(via_protect_is_shared(&p->m.protect, page_of(p, i), PAGE) == (p->state[i] == SHARED));
        CHECK_OR_FALSE(via_protect_is_private(&p->m.protect, page_of(p, i), PAGE) == (p->state[i] == OWN));
        if (p->state[i] == OWN)
            CHECK_OR_FALSE(holds(p->other + i * PAGE, 0));
        pieces += i && p->state[i] != p->state[i - 1];
        doubt |= p->state[i] == DOUBT;
    }
    CHECK_OR_FALSE(doubt || p->m.pieces == pieces);
    return true;
}

/* A driver's address leads the device to the page, or there is none; and what a device makes up by itself leads to no secret. */
static bool is_reached(struct place *p, size_t i)
{
    const struct via_address_bit *b = &p->platform->bit;
    struct via_seg seg = {{0}, 0};
    struct via_mapping m = {.seg = &seg, .cap = 1};
    struct via_span buf = {page_of(p, i), PAGE}, span = {NULL, 0};
    int r = via_dma_map(&p->dma.dma, &buf, 1, 0, &m);
    CHECK_OR_FALSE(r == (p->state[i] == SHARED ? 0 : -VIA_EPERM));
    if (r == 0) {
        CHECK_OR_FALSE(seg.addr.v == on_ring(p, i * PAGE) && seg.len == PAGE);
        CHECK_OR_FALSE(via_xlate_map(&p->view.xlate, &seg, 1, VIA_PERM_R | VIA_PERM_W, &span, 1) == 1);
        CHECK_OR_FALSE(span.ptr == p->view.mapped.ptr + i * PAGE && holds(span.ptr, OPEN + i));
        via_dma_unmap(&p->dma.dma, &m, 0);
    } else if (p->state[i] == OWN) {
        uint64_t refused = p->view.refused;
        p->view.fault = (struct via_fault){0};
        r = via_xlate_resolve(&p->view.xlate, (via_iova){on_ring(p, i * PAGE)}, PAGE, VIA_PERM_R, &span);
        CHECK_OR_FALSE(r == (p->platform->knows ? -VIA_EFAULT : 0) && p->view.refused == refused + p->platform->knows);
        CHECK_OR_FALSE(r < 0 ? strstr(p->view.fault.what, "private page") != NULL : holds(span.ptr, 0));
    }
    if (b->bit) {
        p->view.fault = (struct via_fault){0};
        r = via_xlate_resolve(&p->view.xlate, (via_iova){on_ring(p, i * PAGE) ^ b->bit}, 1, VIA_PERM_R, &span);
        CHECK_OR_FALSE(r == -VIA_EFAULT && strstr(p->view.fault.what, "does not say"));
    }
    return true;
}

bool kept(struct place *p)
{
    for (size_t i = 0; i < PAGES; i++) {
        CHECK_OR_FALSE(is_reached(p, i));
        if (p->state[i] == DOUBT)
            continue;
        CHECK_OR_FALSE(holds(page_of(p, i), (p->state[i] == OWN ? SECRET : OPEN) + i));
        CHECK_OR_FALSE(holds(p->other + i * PAGE, p->state[i] == OWN ? 0 : OPEN + i));
    }
    return true;
}

void on_each(bool (*test)(const struct platform *, bool shared))
{
    for (unsigned k = 0; k < 2 * PLATFORMS; k++)
        if (!test(&platforms[k / 2], k % 2)) {
            tap_note(platforms[k / 2].name);
            return;
        }
}
