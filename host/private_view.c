/* SPDX-License-Identifier: BSD-2-Clause */
/* private_view: how a device reaches the shared backing of a guest's memory: by addresses that say "shared", on pages that are. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include <viaduct/private.h>

#define PAGE ((size_t)VIA_PROTECT_PAGE)
#define WORD 64u

static int refuse(struct via_private_view *v, const char *what, uint64_t addr, uint64_t limit)
{
    v->refused++;
    return via_fault_set(&v->fault, -VIA_EFAULT, what, addr, limit);
}

static bool is_shared(const struct via_private_view *v, size_t page) { return !v->shared || v->shared[page / WORD] >> page % WORD & 1; }

static int resolve(struct via_xlate *x, via_iova addr, uint64_t len, unsigned perm, struct via_span *span)
{
    struct via_private_view *v = via_container_of(x, struct via_private_view, xlate);
    uint64_t bit = v->cfg.bit.bit, off = (addr.v & ~bit) - v->cfg.base; /* below it: wraps to more than any length */
    (void)perm;
    if (len == 0 || len - 1 > UINT64_MAX - addr.v)
        return refuse(v, "a device's access is empty, or wraps", addr.v, len);
    if (!via_address_says(&v->cfg.bit, addr.v, 1, true))
        return refuse(v, "a device's address does not say that it is shared memory's: its driver has to set the bit so", addr.v, bit);
    if (off >= v->cfg.len)
        return refuse(v, "a device's address is outside of the guest's memory", addr.v, v->cfg.base + (v->cfg.len - 1));
    if (!is_shared(v, off / PAGE))
        return refuse(v, "a device's address is on a private page: the guest has to share it first", addr.v, 0);
    len = via_min64(len, v->cfg.len - off); /* up to there the bit does not change, either */
    uint64_t end = (off / PAGE + 1) * PAGE;
    while (end - off < len && is_shared(v, end / PAGE))
        end += PAGE;
    *span = (struct via_span){v->mapped.ptr + off, via_min64(len, end - off)};
    return 0;
}

static const struct via_xlate_ops view_ops = {.resolve = resolve};

static int tell(struct via_private_host *host, size_t page, size_t n, bool shared, size_t *done)
{
    struct via_private_view *v = via_container_of(host, struct via_private_view, host);
    for (size_t end = page + n; page < end; page++)
        v->shared[page / WORD] = (v->shared[page / WORD] & ~(UINT64_C(1) << page % WORD)) | (uint64_t)shared << page % WORD;
    v->xlate.generation += !shared;
    *done = n;
    return 0;
}

int via_private_view_open(struct via_private_view *v, const struct via_private_view_cfg *cfg, struct via_err *err)
{
    *v = (struct via_private_view){.xlate = {.ops = &view_ops}, .host = {tell}, .cfg = *cfg};
    const struct via_address_bit *b = &cfg->bit;
    if (!cfg->len || cfg->len % PAGE)
        return via_err_set(err, -EINVAL, "a view of %zu bytes is not of whole pages of %zu bytes", cfg->len, PAGE);
    if (cfg->len - 1 > UINT64_MAX - cfg->base)
        return via_err_set(err, -EINVAL, "addresses from 0x%" PRIx64 " on wrap within 0x%zx bytes", cfg->base, cfg->len);
    if (b->bit & (b->bit - 1) || !via_address_says(&(struct via_address_bit){b->bit, true}, cfg->base, cfg->len, false))
        return via_err_set(err, -EINVAL, "0x%" PRIx64 " is not one bit, clear in all addresses from 0x%" PRIx64 " to 0x%" PRIx64, b->bit,
                           cfg->base, cfg->base + (cfg->len - 1));
    size_t pages = cfg->len / PAGE, words = (pages + WORD - 1) / WORD;
    if (cfg->knows) {
        v->shared = calloc(words, sizeof(*v->shared));
        if (!v->shared)
            return via_err_set(err, -ENOMEM, "no memory to say which of %zu pages are shared", pages);
        for (size_t i = 0; i < words && cfg->shared; i++)
            v->shared[i] = UINT64_MAX;
    }
    int r = via_mapped_open(&v->mapped, cfg->fd, 0, cfg->len, err);
    if (r < 0)
        via_private_view_close(v);
    return r;
}

void via_private_view_close(struct via_private_view *v)
{
    via_mapped_close(&v->mapped);
    free(v->shared);
    v->shared = NULL;
}
