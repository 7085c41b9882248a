/* SPDX-License-Identifier: BSD-2-Clause */
/* server_memory: the front-end's regions, mapped as it names them, or refused with the reason. */
#include <inttypes.h>
#include <stdio.h>

#include "server_parts.h"

#define REGION_ALIGN UINT64_C(4096)

static int region_check(const struct via_vu_region *r, struct via_err *err)
{
    if (r->size == 0)
        return via_err_set(err, -VIA_EINVAL, "the front-end's memory region at 0x%" PRIx64 " is empty", r->gpa);
    if ((r->gpa | r->size | r->uva | r->mmap_offset) % REGION_ALIGN)
        return via_err_set(err, -VIA_EINVAL,
                           "the front-end's memory region at 0x%" PRIx64 " (0x%" PRIx64 " bytes, user address 0x%" PRIx64
                           ", offset 0x%" PRIx64 ") is misaligned: all four must be multiples of %" PRIu64,
                           r->gpa, r->size, r->uva, r->mmap_offset, REGION_ALIGN);
    return 0;
}

static struct via_mapped *mapped_of(struct via_server *s, const uint8_t *ptr)
{
    for (unsigned i = 0; i < s->back.cfg.slots; i++)
        if (s->mapped[i].ptr == ptr)
            return &s->mapped[i];
    return NULL;
}

int via_server_region_add(struct via_server *s, const struct via_vu_region *r, int fd, struct via_err *err)
{
    int result = region_check(r, err);
    if (result == 0)
        result = via_server_log_region(s, r->gpa, r->size, err);
    if (result < 0)
        return result;
    struct via_mapped *m = mapped_of(s, NULL);
    if (!m)
        return via_err_set(err, -VIA_ENOSPC, "the front-end has more memory regions than the %u that this back-end offers",
                           s->back.cfg.slots);
    struct via_err why = {.text = ""};
    result = via_mapped_open(m, fd, r->mmap_offset, r->size, &why);
    if (result < 0) {
        m->ptr = NULL;
        return via_err_set(err, result, "the front-end's memory region at 0x%" PRIx64 ": %.230s", r->gpa, why.text);
    }
    struct via_region region = {.gpa = r->gpa, .len = r->size, .uva = r->uva, .ptr = m->ptr};
    result = via_memmap_add(&s->map, &region);
    if (result < 0) {
        via_mapped_close(m);
        m->ptr = NULL;
        return via_err_set(err, result,
                           "the front-end's memory region at 0x%" PRIx64 " (0x%" PRIx64 " bytes, user address 0x%" PRIx64 ") %s", r->gpa,
                           r->size, r->uva, result == -VIA_EEXIST ? "overlaps another one" : "can't be: its addresses wrap");
    }
    return 0;
}

int via_server_region_remove(struct via_server *s, const struct via_vu_region *r, struct via_err *err)
{
    struct via_region out;
    int result = via_memmap_remove(&s->map, r->gpa, r->size, r->uva, &out);
    if (result < 0)
        return via_err_set(err, result,
                           "the front-end removes a memory region that it never added (0x%" PRIx64 ", 0x%" PRIx64
                           " bytes, user address 0x%" PRIx64 ")",
                           r->gpa, r->size, r->uva);
    struct via_mapped *m = mapped_of(s, out.ptr);
    VIA_ASSERT(m);
    via_mapped_close(m);
    m->ptr = NULL;
    via_server_iotlb_empty(s); /* what led there leads nowhere; the rest is missed again */
    return 0;
}

void via_server_memory_clear(struct via_server *s)
{
    for (unsigned i = 0; i < s->back.cfg.slots; i++)
        if (s->mapped[i].ptr) {
            via_mapped_close(&s->mapped[i]);
            s->mapped[i].ptr = NULL;
        }
    via_memmap_init(&s->map);
    via_server_iotlb_empty(s);
}

bool via_server_memory_dead(const struct via_server *s)
{
    unsigned left = s->map.n;
    for (unsigned i = 0; s->iotlb.on && i < s->cfg.queues; i++)
        if (via_server_area_dead(&s->ring[i]))
            return true;
    for (unsigned i = 0; left && i < s->back.cfg.slots; i++)
        if (s->mapped[i].ptr) {
            if (atomic_load_explicit(&s->mapped[i].dead, memory_order_relaxed))
                return true;
            left--;
        }
    return false;
}
