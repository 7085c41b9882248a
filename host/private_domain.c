/* SPDX-License-Identifier: BSD-2-Clause */
/* private_domain: devices behind an IOMMU have the shared pages mapped, and no others. */
#include <viaduct/private.h>

#define PAGE ((uint64_t)VIA_PROTECT_PAGE)

static int take_out(struct via_domain *d, uint64_t iova, uint64_t last)
{
    int r = d->ops->unmap(d, iova, last);
    return r < 0 ? r : d->ops->flush(d);
}

static int put_in(struct via_domain *d, uint64_t iova, uint64_t last, uint64_t phys)
{
    int r = d->ops->map(d, iova, last, phys, VIA_IOMMU_READ | VIA_IOMMU_WRITE);
    if (r < 0) /* it may be half there, as the domain says, or all of it, of pages in doubt */
        (void)take_out(d, iova, last);
    return r;
}

static int tell(struct via_private_host *host, size_t page, size_t n, bool shared, size_t *done)
{
    const struct via_private_domain *h = via_container_of(host, struct via_private_domain, host);
    uint64_t off = page * PAGE, iova = h->iova + off, last = iova + (n * PAGE - 1);
    int r = shared ? put_in(h->domain, iova, last, h->phys + off) : take_out(h->domain, iova, last);
    if (r == -VIA_EEXIST)
        r = put_in(h->domain, iova, last, h->phys + off);
    *done = r < 0 ? 0 : n;
    return r;
}

void via_private_domain_init(struct via_private_domain *h, struct via_domain *domain, uint64_t iova, uint64_t phys)
{
    *h = (struct via_private_domain){.host = {tell}, .domain = domain, .iova = iova, .phys = phys};
}
