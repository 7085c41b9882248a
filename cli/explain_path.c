/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * explain: which way a device's data takes, by Linux's own rules. Virtio asks the DMA API for addresses where ACCESS_PLATFORM was accepted,
 * or under Xen; else it writes physical ones, whatever stands before the device. The DMA API bounces by force or for a narrow mask, and
 * only where no IOMMU translates.
 */
#include <stdio.h>
#include <string.h>

#include "explain_parts.h"

const char *via_mode_name(enum via_mode m)
{
    static const char *const names[] = {"none", "identity", "lazy", "strict", "translated", "blocked", "unknown"};
    return names[m];
}

const char *via_addresses_name(enum via_addresses a)
{
    static const char *const names[] = {"none", "physical", "bus", "iova", "xen", "unknown"};
    return names[a];
}

const char *via_bounces_name(enum via_bounces b)
{
    static const char *const names[] = {"never", "high", "always", "unknown"};
    return names[b];
}

static void say(struct via_path *p, enum via_addresses a, enum via_bounces b, const char *name, const char *why)
{
    p->addresses = a;
    p->bounces = b;
    p->name = name;
    snprintf(p->why, sizeof(p->why), "%s", why);
}

/* No IOMMU translates: does the DMA API bounce? */
static enum via_bounces bounces(const struct via_machine *m, const struct via_vdev *d, const char **why)
{
    *why = "the device's mask covers all of memory, and nothing forces bouncing";
    if (d->own_pool[0])
        *why = "the device has a restricted pool of its own";
    else if (m->protected == VIA_TELL_YES)
        *why = "the guest's memory is private, and only the pool is shared";
    else if (m->forced)
        *why = "swiotlb=force is on the kernel's command line";
    else if (m->protected == VIA_TELL_UNKNOWN)
        *why = "whether the guest's memory is private could not be told";
    else if (d->mask.known && d->mask.n != UINT64_MAX && !m->ram.known)
        *why = "how far memory reaches could not be read";
    else if (d->mask.known && d->mask.n < m->ram.n)
        *why = "the device's mask ends below the end of memory";
    else if (!d->mask.known)
        *why = "nothing forces bouncing, and the device's mask is not shown";
    if (d->own_pool[0] || m->protected == VIA_TELL_YES || m->forced)
        return VIA_BOUNCES_ALWAYS;
    if (m->protected == VIA_TELL_UNKNOWN || !d->mask.known)
        return VIA_BOUNCES_UNKNOWN;
    if (d->mask.n == UINT64_MAX || (m->ram.known && d->mask.n >= m->ram.n))
        return VIA_BOUNCES_NEVER;
    return m->ram.known ? VIA_BOUNCES_HIGH : VIA_BOUNCES_UNKNOWN;
}

static void untranslated(const struct via_machine *m, struct via_vdev *d)
{
    static const char *const names[2][4] = {{"direct", "bounce-high", "bounce", "direct-or-bounce"},
                                            {"identity", "identity-bounce-high", "identity-bounce", "identity-or-bounce"}};
    const char *why;
    enum via_bounces b = bounces(m, d, &why);
    say(&d->path, VIA_ADDRESSES_BUS, b, names[d->mode == VIA_MODE_IDENTITY][b], why);
}

static void by_platform(const struct via_machine *m, struct via_vdev *d)
{
    switch (d->mode) {
    case VIA_MODE_NONE:
    case VIA_MODE_IDENTITY:
        untranslated(m, d);
        return;
    case VIA_MODE_LAZY:
        say(&d->path, VIA_ADDRESSES_IOVA, VIA_BOUNCES_NEVER, "iommu-lazy",
            "the IOMMU translates; what was unmapped stays reachable until a batch is flushed, some 10 ms");
        return;
    case VIA_MODE_STRICT:
        say(&d->path, VIA_ADDRESSES_IOVA, VIA_BOUNCES_NEVER, "iommu-strict",
            "the IOMMU translates, and each unmap waits until it has forgotten");
        return;
    case VIA_MODE_TRANSLATED:
        say(&d->path, VIA_ADDRESSES_IOVA, VIA_BOUNCES_NEVER, "iommu",
            "the IOMMU translates; before Linux 5.15 its files do not tell lazy from strict");
        return;
    case VIA_MODE_BLOCKED:
        say(&d->path, VIA_ADDRESSES_NONE, VIA_BOUNCES_NEVER, "blocked", "the IOMMU refuses all that the device asks for");
        return;
    default:
        say(&d->path, VIA_ADDRESSES_UNKNOWN, VIA_BOUNCES_UNKNOWN, "unknown",
            !d->group[0]       ? "what the device sits behind could not be read"
            : d->group_type[0] ? "Linux itself tells no mode of its group"
                               : "it sits behind an IOMMU, in which mode could not be read: before Linux 5.11 no file tells");
    }
}

void via_path_find(const struct via_machine *m, struct via_vdev *d)
{
    if (!d->driver[0])
        say(&d->path, VIA_ADDRESSES_NONE, VIA_BOUNCES_NEVER, "no-driver", "no driver is bound to it");
    else if (!d->features_known)
        say(&d->path, VIA_ADDRESSES_UNKNOWN, VIA_BOUNCES_UNKNOWN, "unknown", "its features could not be read");
    else if (via_vdev_has(d, VIA_F_ACCESS_PLATFORM))
        by_platform(m, d);
    else if (m->xen)
        say(&d->path, VIA_ADDRESSES_XEN, VIA_BOUNCES_UNKNOWN, "xen", "under Xen the DMA API is used without ACCESS_PLATFORM, too");
    else
        say(&d->path, VIA_ADDRESSES_PHYSICAL, VIA_BOUNCES_NEVER, "physical",
            "ACCESS_PLATFORM was not accepted: physical addresses go to the device, past IOMMU and bounce pool");
}
