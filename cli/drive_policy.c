/* SPDX-License-Identifier: BSD-2-Clause */
/* drive: the way to memory that the facts about this device lead to, and why. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "drive_parts.h"

#define BITS_MIN 21u /* the rings and the smallest pool have to fit */

static int position(const char *arg, const char *const *word, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (!strcmp(arg, word[i]))
            return (int)i;
    return -1;
}

static const char *take_mask(struct via_drive_wish *w, const char *arg)
{
    char *end;
    unsigned long bits = strtoul(arg, &end, 10);
    if (*arg < '0' || *arg > '9' || *end || bits < BITS_MIN || bits > 64)
        return "a number of address bits from 21 to 64";
    w->mask = UINT64_MAX >> (64 - bits);
    return NULL;
}

const char *via_drive_wish_take(struct via_drive_wish *w, const char *option, const char *arg)
{
    static const char *const protector[] = {"nobody", "host", "guest"}, *const override[] = {"none", "direct", "bounce"};
    int i;
    w->named = true;
    if (!strcmp(option, "mask"))
        return take_mask(w, arg);
    if (!strcmp(option, "protected")) {
        i = position(arg, protector, via_array_len(protector));
        w->protector = i < 0 ? VIA_PROTECTOR_NOBODY : (enum via_protector)i;
        return i < 0 ? "nobody, host or guest" : NULL;
    }
    if (!strcmp(option, "override")) {
        i = position(arg, override, via_array_len(override));
        w->override = i < 0 ? VIA_OVERRIDE_NONE : (enum via_override)i;
        return i < 0 ? "direct, bounce or none" : NULL;
    }
    *(strcmp(option, "isolate") ? &w->translated : &w->isolate) = true;
    return NULL;
}

/* Strict only where that is what isolates. Else the addresses stay as they are, where the device can name all of them. */
static enum via_drive_dma way_of(const struct via_plan *p, bool narrow)
{
    bool translate = via_plan_has(p, VIA_SWITCH_TRANSLATE);
    if (via_plan_has(p, VIA_SWITCH_BOUNCE))
        return translate ? VIA_DRIVE_BOUNCE_IOMMU : VIA_DRIVE_BOUNCE;
    if (!translate)
        return VIA_DRIVE_DIRECT;
    if (via_plan_has(p, VIA_SWITCH_STRICT))
        return VIA_DRIVE_IOMMU_STRICT;
    return narrow ? VIA_DRIVE_IOMMU_LAZY : VIA_DRIVE_IDENTITY;
}

/* Where buffers may lie: a little more than they take, since the way decides what else lies there. */
static uint64_t memory_last(const struct via_drive_opts *o)
{
    uint64_t block = o->block_size ? o->block_size : 256 << 10;
    return VIA_DRIVE_PHYS + 2 * (uint64_t)o->queues * o->depth * block + (UINT64_C(64) << 20) - 1;
}

int via_drive_policy_choose(struct via_drive *d)
{
    const struct via_drive_wish *w = &d->opts.wish;
    const struct via_facts facts = {
        .offered = d->end.client.front.offered,
        .accepted = d->end.client.front.features,
        .translated = w->translated,
        .mask = w->mask,
        .memory_last = memory_last(&d->opts),
        .protector = w->protector,
        .isolate = w->isolate,
        .override = w->override,
        .means = VIA_MEANS_ALL & ~(d->opts.global_pool ? VIA_MEANS_OWN_POOL : 0u),
    };
    int r = via_policy_decide(&facts, &d->plan);
    if (r)
        return via_err_set(&d->err, r, "--dma=auto: %s", via_reason_text(d->plan.refused));
    d->opts.dma = way_of(&d->plan, facts.mask < facts.memory_last);
    if (d->opts.dma == VIA_DRIVE_BOUNCE_IOMMU && d->opts.global_pool)
        return via_err_set(&d->err, -VIA_EINVAL, "--dma=auto: the pool is mapped for this device alone: leave --pool=global out");
    return 0;
}

int via_drive_policy_check(struct via_drive *d, uint64_t last)
{
    if (last <= d->opts.wish.mask)
        return 0;
    return via_err_set(&d->err, -VIA_ERANGE,
                       "--mask: rings, pool and mappings need addresses up to 0x%" PRIx64 ", and the device can name those up to 0x%" PRIx64
                       " only: lower --pool-size, --queues or --depth",
                       last, d->opts.wish.mask);
}

struct json_object *via_drive_policy_json(const struct via_drive *d)
{
    if (!d->plan.refused && !d->plan.why[0])
        return NULL;
    struct json_object *o = json_object_new_object();
    if (d->plan.refused)
        json_object_object_add(o, "refused", json_object_new_string(via_reason_text(d->plan.refused)));
    for (unsigned s = 0; s < VIA_SWITCHES && d->plan.why[s]; s++) {
        struct json_object *one = json_object_new_object();
        json_object_object_add(one, "on", json_object_new_boolean(via_plan_has(&d->plan, s)));
        json_object_object_add(one, "because", json_object_new_string(via_reason_text(d->plan.why[s])));
        json_object_object_add(o, via_switch_name(s), one);
    }
    return o;
}

void via_drive_policy_show(const struct via_drive *d, FILE *to)
{
    fprintf(to, "plan: --dma=%s\n", via_drive_dma_name(d->opts.dma));
    for (unsigned s = 0; s < VIA_SWITCHES; s++)
        fprintf(to, "  %-9s %-3s  %s\n", via_switch_name(s), via_plan_has(&d->plan, s) ? "on" : "off", via_reason_text(d->plan.why[s]));
}
