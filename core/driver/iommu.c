/* SPDX-License-Identifier: BSD-2-Clause */
/* The IOMMU driver (virtio v1.4 5.13): requests, from a slot to a judged answer, and the driver set up. */
#include <string.h>

#include "iommu_parts.h"

static bool accepted(const struct via_iommu_driver *d, enum via_feature bit) { return d->cfg.features & VIA_BIT(bit); }

/* ------------------------------------------------------------------ answers */

/* The device wrote so many bytes of a request's writable part, of which the last should be a tail: what does it say? */
static int judge(struct via_iommu_driver *d, const struct via_iommu_slot *s, uint32_t written)
{
    struct via_iommu_tail tail;
    size_t whole = s->buf[1].len;
    if (written == 0)
        return -VIA_ENOTSUP;
    if (written < whole)
        return via_fault_set(&d->fault, -VIA_EPROTO, "the IOMMU answers a request with fewer bytes than it has", written, whole);
    via_shm_read(&tail, (const char *)s->buf[1].ptr + whole - sizeof(tail), sizeof(tail));
    switch (tail.status) {
    case VIA_IOMMU_S_OK:
        return 0;
    case VIA_IOMMU_S_UNSUPP:
        return -VIA_ENOTSUP;
    case VIA_IOMMU_S_IOERR:
    case VIA_IOMMU_S_DEVERR:
        return -VIA_EIO;
    case VIA_IOMMU_S_INVAL:
        return -VIA_EINVAL;
    case VIA_IOMMU_S_RANGE:
        return -VIA_ERANGE;
    case VIA_IOMMU_S_NOENT:
        return -VIA_ENOENT;
    case VIA_IOMMU_S_FAULT:
        return -VIA_EFAULT;
    case VIA_IOMMU_S_NOMEM:
        return -VIA_EAGAIN;
    case VIA_IOMMU_S_UNWRITTEN:
        return via_fault_set(&d->fault, -VIA_EPROTO, "the IOMMU used a request without writing its status", written, whole);
    default:
        return via_fault_set(&d->fault, -VIA_EPROTO, "the IOMMU wrote a status that does not exist", tail.status, VIA_IOMMU_S_NOMEM);
    }
}

static void slot_free(struct via_iommu_driver *d, struct via_iommu_slot *s)
{
    s->next = d->free;
    d->free = s;
}

/* Take one answer in. 1: there was one. */
static int reap(struct via_iommu_driver *d)
{
    struct via_used_chain used;
    int rc = via_vq_reap(d->cfg.requests, &used);
    if (rc < 0) {
        const struct via_fault *f = &d->cfg.requests->fault;
        d->dead = via_fault_set(&d->fault, rc, f->what, f->got, f->limit);
    }
    if (rc <= 0)
        return rc;
    struct via_iommu_slot *s = used.token;
    via_dma_unmap(d->cfg.dma, &s->map, used.written);
    s->result = judge(d, s, used.written);
    s->done = true;
    d->requests++;
    if (s->domain) {
        s->domain->pending--;
        if (s->result < 0 && !s->domain->failed)
            s->domain->failed = s->result;
        slot_free(d, s);
    }
    return 1;
}

/* Answers, or at least a moment later. */
static int wait(struct via_iommu_driver *d)
{
    if (via_vq_publish(d->cfg.requests))
        d->cfg.ops->kick(d, VIA_IOMMU_REQUESTQ);
    int rc = reap(d);
    if (rc == 0 && d->cfg.ops->relax(d) < 0)
        rc = d->dead = via_fault_set(&d->fault, -VIA_ENODEV, "the IOMMU does not answer", d->requests, 0);
    return rc < 0 ? rc : 0;
}

/* ------------------------------------------------------------------ requests */

int via_iommu_slot_add(struct via_iommu_driver *d, struct via_vq *vq, struct via_iommu_slot *s, unsigned out)
{
    s->map = (struct via_mapping){.seg = s->seg, .cap = VIA_IOMMU_SLOT_SEGS};
    int rc = via_dma_map(d->cfg.dma, s->buf + 1 - out, out, 1, &s->map);
    if (rc < 0)
        return rc;
    rc = via_vq_add(vq, s->seg, s->map.n_out, s->map.n_in, s);
    if (rc < 0)
        via_dma_unmap(d->cfg.dma, &s->map, 0);
    return rc;
}

/* Add a request; when there is no room, and answers would make some, wait for them. */
static int send(struct via_iommu_driver *d, struct via_iommu_slot *s)
{
    static const uint8_t unwritten = VIA_IOMMU_S_UNWRITTEN;
    via_shm_write((char *)s->buf[1].ptr + s->buf[1].len - sizeof(struct via_iommu_tail), &unwritten, 1);
    s->done = false;
    int rc;
    while ((rc = via_iommu_slot_add(d, d->cfg.requests, s, 1)) == -VIA_EAGAIN && via_vq_inflight(d->cfg.requests)) {
        rc = wait(d);
        if (rc < 0)
            break;
    }
    return rc;
}

int via_iommu_ask(struct via_iommu_driver *d, struct via_iommu_slot *s)
{
    int rc = send(d, s);
    while (rc == 0 && !s->done)
        rc = wait(d);
    return rc < 0 ? rc : s->result;
}

/* A slot, cleared; its request has `out` readable bytes and a tail. */
static int slot_take(struct via_iommu_driver *d, uint8_t type, size_t out, struct via_iommu_slot **slot)
{
    int rc = d->dead;
    while (rc == 0 && !d->free)
        rc = wait(d);
    if (rc < 0)
        return rc;
    struct via_iommu_slot *s = *slot = d->free;
    struct via_iommu_wire *w = s->wire;
    d->free = s->next;
    memset(w, 0, sizeof(*w));
    w->u.head.type = type;
    s->domain = NULL;
    s->buf[0] = (struct via_span){w, out};
    s->buf[1] = (struct via_span){(char *)w + out, sizeof(struct via_iommu_tail)};
    return 0;
}

static int ask_and_free(struct via_iommu_driver *d, struct via_iommu_slot *s)
{
    int rc = via_iommu_ask(d, s);
    slot_free(d, s); /* when the device died it still has it, but then nobody takes another one */
    return rc;
}

int via_iommu_driver_attach(struct via_iommu_driver_domain *dom, uint32_t endpoint)
{
    struct via_iommu_driver *d = dom->driver;
    struct via_iommu_slot *s;
    int rc = slot_take(d, VIA_IOMMU_T_ATTACH, offsetof(struct via_iommu_attach, tail), &s);
    if (rc < 0)
        return rc;
    struct via_iommu_attach *r = s->wire;
    r->domain = via_le32_make(dom->id);
    r->endpoint = via_le32_make(endpoint);
    r->flags = via_le32_make(dom->bypass ? VIA_IOMMU_ATTACH_F_BYPASS : 0);
    return ask_and_free(d, s);
}

int via_iommu_driver_detach(struct via_iommu_driver_domain *dom, uint32_t endpoint)
{
    struct via_iommu_driver *d = dom->driver;
    struct via_iommu_slot *s;
    int rc = slot_take(d, VIA_IOMMU_T_DETACH, offsetof(struct via_iommu_detach, tail), &s);
    if (rc < 0)
        return rc;
    struct via_iommu_detach *r = s->wire;
    r->domain = via_le32_make(dom->id);
    r->endpoint = via_le32_make(endpoint);
    return ask_and_free(d, s);
}

/* ------------------------------------------------------------------ a domain, as via_iommu_dma sees it */

static struct via_iommu_driver_domain *of(struct via_domain *domain)
{
    return via_container_of(domain, struct via_iommu_driver_domain, domain);
}

static int judge_range(const struct via_iommu_driver_domain *dom, uint64_t iova, uint64_t last)
{
    const struct via_iommu_driver *d = dom->driver;
    if (dom->bypass || last <= iova)
        return -VIA_EINVAL;
    bool inside = iova >= d->input_start && last <= d->input_last;
    return inside && !(iova & (d->page - 1)) && !((last + 1) & (d->page - 1)) ? 0 : -VIA_ERANGE;
}

static int domain_map(struct via_domain *domain, uint64_t iova, uint64_t last, uint64_t phys, unsigned perm)
{
    struct via_iommu_driver_domain *dom = of(domain);
    struct via_iommu_driver *d = dom->driver;
    const struct via_iommu_windows *w = dom->windows;
    struct via_iommu_slot *s;
    int rc = judge_range(dom, iova, last);
    if (rc < 0)
        return rc;
    if (phys & (d->page - 1) || last - iova > UINT64_MAX - phys)
        return -VIA_ERANGE;
    for (unsigned i = 0; w && i < w->n; i++)
        if (iova <= w->range[i].last && last >= w->range[i].start)
            return -VIA_ERANGE;
    if ((perm & VIA_IOMMU_MMIO) && !accepted(d, VIA_IOMMU_F_MMIO))
        return -VIA_ENOTSUP;
    rc = slot_take(d, VIA_IOMMU_T_MAP, offsetof(struct via_iommu_map, tail), &s);
    if (rc < 0)
        return rc;
    struct via_iommu_map *r = s->wire;
    r->domain = via_le32_make(dom->id);
    r->virt_start = via_le64_make(iova);
    r->virt_end = via_le64_make(last);
    r->phys_start = via_le64_make(phys);
    r->flags = via_le32_make(perm & (VIA_IOMMU_READ | VIA_IOMMU_WRITE | VIA_IOMMU_MMIO));
    return ask_and_free(d, s);
}

static int domain_unmap(struct via_domain *domain, uint64_t iova, uint64_t last)
{
    struct via_iommu_driver_domain *dom = of(domain);
    struct via_iommu_driver *d = dom->driver;
    struct via_iommu_slot *s;
    int rc = judge_range(dom, iova, last);
    if (rc == 0)
        rc = slot_take(d, VIA_IOMMU_T_UNMAP, offsetof(struct via_iommu_unmap, tail), &s);
    if (rc < 0)
        return rc;
    struct via_iommu_unmap *r = s->wire;
    r->domain = via_le32_make(dom->id);
    r->virt_start = via_le64_make(iova);
    r->virt_end = via_le64_make(last);
    rc = send(d, s);
    if (rc < 0) { /* it never came onto the queue */
        slot_free(d, s);
        return rc;
    }
    s->domain = dom;
    dom->pending++;
    return 0;
}

static int domain_flush(struct via_domain *domain)
{
    struct via_iommu_driver_domain *dom = of(domain);
    int rc = dom->driver->dead;
    while (rc == 0 && dom->pending)
        rc = wait(dom->driver);
    if (rc == 0)
        rc = dom->failed;
    dom->failed = 0;
    return rc;
}

static const struct via_iommu_ops domain_ops = {domain_map, domain_unmap, domain_flush};

int via_iommu_driver_domain(struct via_iommu_driver_domain *dom, struct via_iommu_driver *d, uint32_t id, bool bypass,
                            const struct via_iommu_windows *windows)
{
    if (id < d->domain_start || id > d->domain_last)
        return -VIA_ERANGE;
    if (bypass && !accepted(d, VIA_IOMMU_F_BYPASS_CONFIG))
        return -VIA_ENOTSUP;
    *dom = (struct via_iommu_driver_domain){.domain.ops = &domain_ops, .driver = d, .id = id, .bypass = bypass, .windows = windows};
    return 0;
}
