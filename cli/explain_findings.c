/* SPDX-License-Identifier: BSD-2-Clause */
/* explain: what is wrong, why, and the setting that changes it; only what follows from facts that were read. A rule a finding. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "explain_parts.h"

#define NEAR_PERCENT 80u
#define NEEDS_PLATFORM                                                                                                                     \
    "on the host give the device ACCESS_PLATFORM: QEMU: -device ...,iommu_platform=on,disable-legacy=on; libvirt: <driver iommu='on'/>"

const char *via_severity_name(enum via_severity s)
{
    static const char *const names[] = {"notice", "warning", "critical"};
    return names[s];
}

struct rule { /* of one device */
    const char *id;
    enum via_severity severity;
    bool (*holds)(const struct via_machine *, const struct via_vdev *);
    const char *what, *why, *change;
};

static bool has_platform(const struct via_vdev *d) { return via_vdev_driven(d) && via_vdev_has(d, VIA_F_ACCESS_PLATFORM); }
static bool is_physical(const struct via_vdev *d) { return d->path.addresses == VIA_ADDRESSES_PHYSICAL; }
static bool is_translated(const struct via_vdev *d) { return d->path.addresses == VIA_ADDRESSES_IOVA; }

/* The kernel said so; or it does so, and the driver gave up with features that lack the flag. */
static bool is_refused(const struct via_machine *m, const struct via_vdev *d)
{
    char said[2 * VIA_WORD];
    bool gave_up = d->status.known && (d->status.n & VIA_STATUS_FAILED) && d->features_known && d->features[0];
    snprintf(said, sizeof(said), "%s: device must provide VIRTIO_F_", d->name);
    return !d->driver[0] && (via_machine_said(m, said) || (m->refuses && gave_up && !via_vdev_has(d, VIA_F_ACCESS_PLATFORM)));
}

static bool is_exposed(const struct via_machine *m, const struct via_vdev *d) { return m->protected == VIA_TELL_YES && is_physical(d); }

static bool has_failed(const struct via_machine *m, const struct via_vdev *d)
{
    return d->status.known && (d->status.n & VIA_STATUS_FAILED) && !is_refused(m, d);
}

static bool needs_reset(const struct via_machine *m, const struct via_vdev *d)
{
    (void)m;
    return d->status.known && d->status.n & VIA_STATUS_NEEDS_RESET;
}

static bool lacks_pool(const struct via_machine *m, const struct via_vdev *d)
{
    return m->disabled && has_platform(d) && !d->own_pool[0] && (m->protected == VIA_TELL_YES || d->path.bounces == VIA_BOUNCES_HIGH);
}

static bool is_bypassed(const struct via_machine *m, const struct via_vdev *d)
{
    bool behind = via_mode_translates(d->mode) || d->mode == VIA_MODE_BLOCKED;
    return is_physical(d) && (behind || (d->mode == VIA_MODE_NONE && m->iommus[0] && !strcmp(d->bus, "pci")));
}

static bool is_outside(const struct via_machine *m, const struct via_vdev *d)
{
    return has_platform(d) && d->mode == VIA_MODE_NONE && m->iommus[0] && !strcmp(d->bus, "pci");
}

static bool is_blocked(const struct via_machine *m, const struct via_vdev *d)
{
    (void)m;
    return has_platform(d) && d->mode == VIA_MODE_BLOCKED;
}

static bool is_stale(const struct via_machine *m, const struct via_vdev *d)
{
    (void)m;
    return is_translated(d) && d->ats == VIA_TELL_YES && d->ats_on == VIA_TELL_NO;
}

static bool is_mapped_private(const struct via_machine *m, const struct via_vdev *d)
{
    return m->protected == VIA_TELL_YES && is_translated(d);
}

static bool is_forced_in_vain(const struct via_machine *m, const struct via_vdev *d) { return m->forced && is_physical(d); }
static bool is_forced_behind_iommu(const struct via_machine *m, const struct via_vdev *d) { return m->forced && is_translated(d); }
static bool is_forced(const struct via_machine *m, const struct via_vdev *d)
{
    return m->forced && m->protected == VIA_TELL_NO && has_platform(d) && d->path.bounces == VIA_BOUNCES_ALWAYS && !d->own_pool[0];
}
static bool is_strict(const struct via_machine *m, const struct via_vdev *d)
{
    return is_translated(d) && d->mode == VIA_MODE_STRICT && !m->unbatched;
}
static bool is_strict_by_host(const struct via_machine *m, const struct via_vdev *d)
{
    return is_translated(d) && d->mode == VIA_MODE_STRICT && m->unbatched;
}

static bool is_identity(const struct via_machine *m, const struct via_vdev *d)
{
    return has_platform(d) && d->mode == VIA_MODE_IDENTITY && d->path.bounces != VIA_BOUNCES_ALWAYS && m->protected != VIA_TELL_YES;
}

static bool is_narrow(const struct via_machine *m, const struct via_vdev *d)
{
    return has_platform(d) && d->path.bounces == VIA_BOUNCES_HIGH && !m->disabled;
}

static bool is_advisory(const struct via_machine *m, const struct via_vdev *d)
{
    return m->guest == VIA_TELL_YES && m->protected != VIA_TELL_YES && is_translated(d);
}

static bool is_legacy(const struct via_machine *m, const struct via_vdev *d)
{
    (void)m;
    return via_vdev_driven(d) && !via_vdev_has(d, VIA_F_VERSION_1);
}

static bool is_unordered(const struct via_machine *m, const struct via_vdev *d)
{
    return m->guest == VIA_TELL_NO && !strcmp(d->bus, "pci") && via_vdev_driven(d) && !via_vdev_has(d, VIA_F_ORDER_PLATFORM);
}

static bool is_noisy(const struct via_machine *m, const struct via_vdev *d)
{
    bool busy = d->type.known && (d->type.n == 1 || d->type.n == 2 || d->type.n == 8 || d->type.n == 26);
    (void)m;
    return busy && via_vdev_driven(d) && !via_vdev_has(d, VIA_F_EVENT_IDX);
}

static const struct rule rules[] = {
    {"protected-no-platform", VIA_SEVERITY_CRITICAL, is_exposed,
     "the guest's memory is private, and the device gets its physical addresses",
     "without ACCESS_PLATFORM Linux neither bounces nor shares: the device reads what it can't decrypt, or is refused", NEEDS_PLATFORM},
    {"protected-translated", VIA_SEVERITY_CRITICAL, is_mapped_private,
     "the guest's memory is private, and the IOMMU maps it for the device as it is",
     "where an IOMMU translates, Linux bounces nothing: the device reads what it can't decrypt, or is refused",
     "iommu=pt on the kernel's command line, so that data goes through the shared pool; or no IOMMU on the host"},
    {"refused", VIA_SEVERITY_CRITICAL, is_refused, "Linux refused the device, since it does not offer ACCESS_PLATFORM",
     "the guest's memory is private, and only with that flag does Linux put shared addresses on the ring", NEEDS_PLATFORM},
    {"failed", VIA_SEVERITY_CRITICAL, has_failed, "a driver gave the device up (status FAILED)",
     "its last attempt to set the device up did not succeed", "see what the kernel says of it: dmesg"},
    {"needs-reset", VIA_SEVERITY_CRITICAL, needs_reset, "the device says that it broke (status DEVICE_NEEDS_RESET)",
     "it serves nothing until it is reset", "unbind and bind its driver in /sys/bus/virtio/drivers; look into the host's log for why"},
    {"no-pool", VIA_SEVERITY_CRITICAL, lacks_pool, "the device's data has to bounce, and swiotlb=noforce keeps Linux from having a pool",
     "its requests fail where they would need the pool", "take swiotlb=noforce off the kernel's command line"},
    {"blocked", VIA_SEVERITY_CRITICAL, is_blocked, "the IOMMU refuses all of the device's accesses", "its group's type is 'blocked'",
     "unbind the driver, then write DMA or identity to the group's type in /sys/kernel/iommu_groups"},
    {"iommu-bypassed", VIA_SEVERITY_WARNING, is_bypassed, "there is an IOMMU, and the device's accesses go past it",
     "ACCESS_PLATFORM was not accepted, so it gets physical addresses and may reach all of memory", NEEDS_PLATFORM},
    {"iommu-outside", VIA_SEVERITY_WARNING, is_outside, "there is an IOMMU, and the device does not sit behind it",
     "it has no IOMMU group, so nothing translates or checks what it does",
     "put it on a bus that the IOMMU covers: on QEMU's q35 a pcie-root-port"},
    {"stale-iotlb", VIA_SEVERITY_WARNING, is_stale, "the device announces an IOTLB of its own (ATS), and Linux did not turn it on",
     "no invalidation reaches it: one that translates all the same, as vhost back-ends do, keeps addresses that were unmapped",
     "take pci=noats off the kernel's command line; or on the host, ats=off for the device"},
    {"force-no-effect", VIA_SEVERITY_WARNING, is_forced_in_vain, "swiotlb=force has no effect on the device",
     "without ACCESS_PLATFORM Linux asks nobody whether to bounce", NEEDS_PLATFORM},
    {"force-translated", VIA_SEVERITY_NOTICE, is_forced_behind_iommu, "swiotlb=force bounces nothing for the device",
     "where an IOMMU translates, Linux maps buffers as they are", "iommu=pt or intel_iommu=off, if bouncing is what is wanted"},
    {"forced", VIA_SEVERITY_NOTICE, is_forced, "all of the device's data is copied, and nothing but swiotlb=force asks for it",
     "the guest's memory is not private, and the device's mask is not why",
     "take swiotlb=force off the kernel's command line, unless the device is not trusted"},
    {"strict", VIA_SEVERITY_NOTICE, is_strict, "each unmap waits for the IOMMU, where lazy would do unless the device is not trusted",
     "in strict mode the device loses a page with its request; in lazy mode some 10 ms later, and unmapping costs less",
     "iommu.strict=0 on the kernel's command line, or for its group, its driver unbound, DMA-FQ into type (Linux 5.15 and newer)"},
    {"strict-by-host", VIA_SEVERITY_NOTICE, is_strict_by_host, "each unmap waits for the IOMMU, which allows nothing else",
     "the kernel says that this virtual IOMMU has to be told of each change, so that lazy mode is off",
     "on the host, where no device is passed through: -device intel-iommu,caching-mode=off"},
    {"identity", VIA_SEVERITY_NOTICE, is_identity, "the IOMMU lets the device reach all of memory",
     "its group's type is 'identity' (iommu=pt or the kernel's default)",
     "iommu.passthrough=0 on the kernel's command line, if the device is to be kept from memory"},
    {"narrow-mask", VIA_SEVERITY_NOTICE, is_narrow, "buffers above the device's mask are copied",
     "it can't name all addresses that memory has", "a device, or a transport, with 64 address bits: not the legacy one"},
    {"advisory", VIA_SEVERITY_NOTICE, is_advisory, "whether the IOMMU is enforced can't be seen from inside the guest",
     "what serves the device may have all of the guest's memory: a vhost-user back-end has, and translates because it wants to",
     "on the host: viaduct guard between front-end and back-end; or a guest whose memory is private"},
    {"unordered", VIA_SEVERITY_WARNING, is_unordered, "a real device without ORDER_PLATFORM",
     "the ring then uses barriers that order processors only, and a device may see it otherwise", "a device that offers ORDER_PLATFORM"},
    {"legacy", VIA_SEVERITY_NOTICE, is_legacy, "the device is driven as a legacy one",
     "VERSION_1 was not accepted, so none of the features above bit 31 can be",
     "on the host: disable-legacy=on, or for MMIO force-legacy=false"},
    {"no-event-idx", VIA_SEVERITY_NOTICE, is_noisy, "the device does not offer EVENT_IDX",
     "notifications and interrupts can only be switched off as a whole, so there are more of them",
     "on the host: event_idx=on, where the device knows it"},
};

static struct via_finding *add(struct via_explain *x, const char *id, enum via_severity severity, const char *what, const char *why,
                               const char *change)
{
    struct via_finding *f = &x->finding[x->findings];
    VIA_ASSERT(x->findings < VIA_FINDINGS);
    x->findings++;
    f->id = id;
    f->severity = severity;
    snprintf(f->what, sizeof(f->what), "%s", what);
    snprintf(f->why, sizeof(f->why), "%s", why);
    snprintf(f->change, sizeof(f->change), "%s", change);
    return f;
}

static void judge_devices(struct via_explain *x, enum via_severity severity)
{
    for (size_t r = 0; r < via_array_len(rules); r++) {
        struct via_finding *f = NULL;
        for (unsigned i = 0; rules[r].severity == severity && i < x->devices; i++) {
            if (!rules[r].holds(&x->machine, &x->device[i]))
                continue;
            if (!f)
                f = add(x, rules[r].id, severity, rules[r].what, rules[r].why, rules[r].change);
            f->device[i / 8] |= (uint8_t)(1u << i % 8);
        }
    }
}

static void judge_pool(struct via_explain *x, const struct via_pool_facts *p, enum via_severity severity)
{
    const char *change =
        p != x->machine.pool
            ? "a larger restricted-dma-pool in the device tree's reserved-memory"
            : "swiotlb=SLOTS on the kernel's command line, of 2 KiB each and twice as many; shorter queues; fewer devices on one pool";
    char what[2 * VIA_WORD], why[4 * VIA_WORD];
    if (!p->slots.known || !p->slots.n)
        return;
    uint64_t most = p->used.known ? p->used.n : 0;
    bool was = p->high_water.known && p->high_water.n > most;
    if (was)
        most = p->high_water.n;
    bool full = most >= p->slots.n, near = most * 100 >= p->slots.n * NEAR_PERCENT;
    if ((!full && !near) || severity != (full ? VIA_SEVERITY_CRITICAL : VIA_SEVERITY_WARNING))
        return;
    snprintf(what, sizeof(what), "the pool '%.40s' %s", p->name,
             full  ? was ? "was used up" : "is used up"
             : was ? "was nearly used up"
                   : "is nearly used up");
    snprintf(why, sizeof(why), "%" PRIu64 " of %" PRIu64 " slots %s in use; a request that finds no room fails or waits", most, p->slots.n,
             was ? "were" : "are");
    add(x, full ? "pool-full" : "pool-near-full", severity, what, why, change);
}

static void judge_machine(struct via_explain *x, enum via_severity severity)
{
    if (x->machine.was_full && severity == VIA_SEVERITY_CRITICAL)
        add(x, "pool-was-full", severity, "a bounce pool was full", "the kernel said 'swiotlb buffer is full', which failed a request",
            "swiotlb=SLOTS on the kernel's command line, of 2 KiB each; smaller requests: max_sectors_kb of a disk's queue");
    for (unsigned i = 0; i < x->machine.pools; i++)
        judge_pool(x, &x->machine.pool[i], severity);
}

void via_findings_find(struct via_explain *x)
{
    for (int severity = VIA_SEVERITY_CRITICAL; severity >= VIA_SEVERITY_NOTICE; severity--) {
        judge_machine(x, (enum via_severity)severity);
        judge_devices(x, (enum via_severity)severity);
    }
}
