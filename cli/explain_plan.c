/* SPDX-License-Identifier: BSD-2-Clause */
/* explain: which path viaduct's own policy would choose from the facts that were read. */
#include <string.h>

#include "explain_parts.h"

/* Linux takes these when they are offered, so what was not accepted was not offered. Others, a driver may decline. */
void via_plan_find(const struct via_machine *m, struct via_vdev *d)
{
    bool platform = via_vdev_has(d, VIA_F_ACCESS_PLATFORM), legacy = !via_vdev_has(d, VIA_F_VERSION_1);
    /* the policy speaks of what it knows: bits of a device's own decide nothing of its path */
    uint64_t path_bits = VIA_BIT(VIA_F_VERSION_1) | VIA_BIT(VIA_F_ACCESS_PLATFORM) | VIA_BIT(VIA_F_ORDER_PLATFORM);
    struct via_facts f = {
        .offered = d->features[0] & path_bits,
        .accepted = d->features[0] & path_bits,
        .legacy = legacy,
        .translated = platform && via_mode_translates(d->mode),
        .restricted = d->own_pool[0],
        .mask = d->mask.known ? d->mask.n : UINT64_MAX,
        .memory_last = m->ram.known ? m->ram.n : UINT64_MAX,
        .order = via_vdev_has(d, VIA_F_ORDER_PLATFORM) ? VIA_ORDER_WEAK : VIA_ORDER_CPU,
        .protector = m->protected != VIA_TELL_YES ? VIA_PROTECTOR_NOBODY
                     : platform                   ? VIA_PROTECTOR_HOST
                                                  : VIA_PROTECTOR_GUEST,
        .encrypted = m->protected == VIA_TELL_YES && (!strncmp(m->protection, "SEV", 3) || !strcmp(m->protection, "TDX")),
        .override = m->forced ? VIA_OVERRIDE_BOUNCE : VIA_OVERRIDE_NONE,
        .means = VIA_MEANS_ALL,
    };
    if (!via_vdev_driven(d) || m->protected == VIA_TELL_UNKNOWN || d->mode == VIA_MODE_UNKNOWN || d->mode == VIA_MODE_BLOCKED || m->xen)
        return;
    if (!m->ram.known && f.mask != UINT64_MAX) /* narrow or not, who knows */
        return;
    if (m->disabled && !d->own_pool[0])
        f.means &= ~(unsigned)VIA_MEANS_POOL;
    d->decided = via_policy_decide(&f, &d->plan);
    d->planned = true;
}
