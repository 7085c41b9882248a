/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * policy: from facts to a plan. What would break a device that doesn't follow the platform's rules (translating, invalidating caches)
 * depends on the flag by which it says that it does. What can't (bouncing, sharing) depends on the facts alone: so a protected guest works
 * without that flag, too.
 */
#include <viaduct/policy.h>

#define PAGE_LAST UINT64_C(4095)

/* Bits of virtio itself (6), and what vhost makes of some. 0 to 23, 41, 42 and 50 to 63 are the device's, and don't concern its path. */
#define KNOWN                                                                                                                              \
    (VIA_BIT(VIA_F_NOTIFY_ON_EMPTY) | VIA_BIT(VIA_F_LOG_ALL) | VIA_BIT(VIA_F_ANY_LAYOUT) | VIA_BIT(VIA_F_INDIRECT_DESC) |                  \
     VIA_BIT(VIA_F_EVENT_IDX) | VIA_BIT(VIA_F_PROTOCOL_FEATURES) | VIA_BIT(VIA_F_VERSION_1) | VIA_BIT(VIA_F_ACCESS_PLATFORM) |             \
     VIA_BIT(VIA_F_RING_PACKED) | VIA_BIT(VIA_F_IN_ORDER) | VIA_BIT(VIA_F_ORDER_PLATFORM) | VIA_BIT(VIA_F_SR_IOV) |                        \
     VIA_BIT(VIA_F_NOTIFICATION_DATA) | VIA_BIT(VIA_F_NOTIF_CONFIG_DATA) | VIA_BIT(VIA_F_RING_RESET) | VIA_BIT(VIA_F_SUSPEND))
#define DEVICE_BITS ((VIA_BIT(24) - 1) | VIA_BIT(41) | VIA_BIT(42) | ~(VIA_BIT(50) - 1))
#define LEGACY_LAST UINT32_MAX

static bool is_accepted(const struct via_facts *f, enum via_feature bit) { return f->accepted & VIA_BIT(bit); }
static bool is_offered(const struct via_facts *f, enum via_feature bit) { return f->offered & VIA_BIT(bit); }

static void turn(struct via_plan *p, enum via_switch s, bool on, enum via_reason why)
{
    if (on)
        p->on |= 1u << s;
    p->why[s] = (uint8_t)why;
}

/* What is wrong with the facts by themselves; 0: nothing. */
static enum via_reason judge(const struct via_facts *f)
{
    if ((unsigned)f->order > VIA_ORDER_POSTED || (unsigned)f->protector > VIA_PROTECTOR_GUEST ||
        (unsigned)f->override > VIA_OVERRIDE_BOUNCE || f->means & ~VIA_MEANS_ALL)
        return VIA_WHY_BAD_VALUE;
    if (f->accepted & ~f->offered)
        return VIA_WHY_BAD_ACCEPTED;
    if (f->legacy && f->accepted > LEGACY_LAST)
        return VIA_WHY_BAD_LEGACY;
    if (!f->legacy && !is_accepted(f, VIA_F_VERSION_1))
        return VIA_WHY_BAD_MODERN;
    if (f->mask < PAGE_LAST)
        return VIA_WHY_BAD_MASK;
    if (f->memory_last < PAGE_LAST)
        return VIA_WHY_BAD_MEMORY;
    return f->accepted & ~(KNOWN | DEVICE_BITS) ? VIA_WHY_UNKNOWN_BITS : 0;
}

static void decide_translate(const struct via_facts *f, struct via_plan *p)
{
    bool on = f->translated && is_accepted(f, VIA_F_ACCESS_PLATFORM);
    enum via_reason why = VIA_WHY_TRANSLATE;
    if (!f->translated)
        why = VIA_WHY_NO_IOMMU;
    else if (f->legacy)
        why = VIA_WHY_PHYSICAL_LEGACY;
    else if (!is_offered(f, VIA_F_ACCESS_PLATFORM))
        why = VIA_WHY_PHYSICAL_UNOFFERED;
    else if (!on)
        why = VIA_WHY_PHYSICAL_DECLINED;
    turn(p, VIA_SWITCH_TRANSLATE, on, why);
}

/* What makes bouncing a must, whatever the administrator says and whether isolation is asked for; 0: nothing. */
static enum via_reason must_bounce(const struct via_facts *f, bool translate)
{
    if (f->protector == VIA_PROTECTOR_HOST)
        return VIA_WHY_BOUNCE_HOST;
    if (f->protector == VIA_PROTECTOR_GUEST)
        return VIA_WHY_BOUNCE_GUEST;
    if (f->restricted)
        return VIA_WHY_BOUNCE_RESTRICTED;
    return !translate && f->mask < f->memory_last ? VIA_WHY_BOUNCE_NARROW : 0;
}

/* An own pool keeps a device from bytes. An IOMMU keeps it from pages, which is less: it does where there can't or may not be a pool. */
static void decide_isolation(const struct via_facts *f, bool bounce, struct via_plan *p)
{
    bool translate = via_plan_has(p, VIA_SWITCH_TRANSLATE);
    bool strict = f->isolate && !bounce;
    enum via_reason pool = VIA_WHY_NO_POOL, mapped = translate ? VIA_WHY_NOT_STRICT : VIA_WHY_NOTHING_MAPPED;
    if (bounce)
        pool = f->isolate ? VIA_WHY_OWN_POOL : VIA_WHY_ANY_POOL;
    if (strict)
        mapped = f->override == VIA_OVERRIDE_DIRECT ? VIA_WHY_STRICT_OVERRIDE : VIA_WHY_STRICT_POOLLESS;
    turn(p, VIA_SWITCH_OWN_POOL, bounce && f->isolate, pool);
    turn(p, VIA_SWITCH_STRICT, strict, mapped);
}

/* 0, or why there is no plan. */
static enum via_reason decide_bounce(const struct via_facts *f, struct via_plan *p)
{
    static const uint8_t refusal[VIA_REASONS] = {
        [VIA_WHY_BOUNCE_HOST] = VIA_WHY_DIRECT_PROTECTED,        [VIA_WHY_BOUNCE_GUEST] = VIA_WHY_DIRECT_PROTECTED,
        [VIA_WHY_BOUNCE_RESTRICTED] = VIA_WHY_DIRECT_RESTRICTED, [VIA_WHY_BOUNCE_NARROW] = VIA_WHY_DIRECT_NARROW,
        [VIA_WHY_BOUNCE_ISOLATE] = VIA_WHY_DIRECT_ISOLATE,
    };
    const unsigned own = VIA_MEANS_POOL | VIA_MEANS_OWN_POOL;
    bool direct = f->override == VIA_OVERRIDE_DIRECT, forced = f->override == VIA_OVERRIDE_BOUNCE;
    bool translate = via_plan_has(p, VIA_SWITCH_TRANSLATE);
    enum via_reason why = must_bounce(f, translate);
    bool strict = translate && (direct || (f->means & own) != own);
    if (!why && f->isolate && !strict)
        why = VIA_WHY_BOUNCE_ISOLATE;
    if (!why && forced)
        why = VIA_WHY_BOUNCE_OVERRIDE;
    if (why && direct)
        return refusal[why];
    decide_isolation(f, why, p);
    turn(p, VIA_SWITCH_BOUNCE, why, why ? why : f->isolate ? VIA_WHY_NO_BOUNCE_STRICT : VIA_WHY_NO_BOUNCE);
    return 0;
}

static void decide_protection(const struct via_facts *f, struct via_plan *p)
{
    static const uint8_t share[] = {VIA_WHY_NO_SHARE, VIA_WHY_SHARE_HOST, VIA_WHY_SHARE_GUEST};
    bool is_protected = f->protector != VIA_PROTECTOR_NOBODY;
    turn(p, VIA_SWITCH_SHARE, is_protected, share[f->protector]);
    turn(p, VIA_SWITCH_ENCRYPT, f->encrypted,
         !f->encrypted  ? VIA_WHY_NO_ENCRYPT
         : is_protected ? VIA_WHY_ENCRYPT_SHARED
                        : VIA_WHY_ENCRYPT_ALL);
}

/* Invalidating is not harmless: what a device that does see the caches left in one is lost with it. */
static void decide_cache(const struct via_facts *f, struct via_plan *p)
{
    bool on = f->incoherent && is_accepted(f, VIA_F_ACCESS_PLATFORM);
    turn(p, VIA_SWITCH_CACHE, on, !f->incoherent ? VIA_WHY_COHERENT : on ? VIA_WHY_CACHE : VIA_WHY_COHERENT_PROMISED);
}

static void decide_order(const struct via_facts *f, struct via_plan *p)
{
    bool on = is_accepted(f, VIA_F_ORDER_PLATFORM), posted = f->order == VIA_ORDER_POSTED;
    turn(p, VIA_SWITCH_BARRIERS, on,
         on                                    ? VIA_WHY_BARRIERS
         : is_offered(f, VIA_F_ORDER_PLATFORM) ? VIA_WHY_ORDER_DECLINED
                                               : VIA_WHY_ORDER_UNOFFERED);
    turn(p, VIA_SWITCH_FLUSH, posted && on, !posted ? VIA_WHY_NOT_POSTED : on ? VIA_WHY_FLUSH : VIA_WHY_NOT_POSTED_PROMISED);
}

/* Which means each switch takes, and how it is said that they are not there. The first one that is missing gives the refusal its reason. */
static const struct {
    uint8_t means, lacks;
} needs[VIA_SWITCHES] = {
    [VIA_SWITCH_TRANSLATE] = {VIA_MEANS_TRANSLATE, VIA_WHY_LACKS_TRANSLATE},
    [VIA_SWITCH_BOUNCE] = {VIA_MEANS_POOL, VIA_WHY_LACKS_POOL},
    [VIA_SWITCH_ENCRYPT] = {VIA_MEANS_ENCRYPT, VIA_WHY_LACKS_ENCRYPT},
    [VIA_SWITCH_SHARE] = {VIA_MEANS_SHARE, VIA_WHY_LACKS_SHARE},
    [VIA_SWITCH_CACHE] = {VIA_MEANS_CACHE, VIA_WHY_LACKS_CACHE},
    [VIA_SWITCH_BARRIERS] = {VIA_MEANS_BARRIERS, VIA_WHY_LACKS_BARRIERS},
    [VIA_SWITCH_FLUSH] = {VIA_MEANS_FLUSH, VIA_WHY_LACKS_FLUSH},
    [VIA_SWITCH_OWN_POOL] = {VIA_MEANS_OWN_POOL, VIA_WHY_LACKS_OWN_POOL},
    [VIA_SWITCH_STRICT] = {VIA_MEANS_TRANSLATE, VIA_WHY_LACKS_TRANSLATE},
};

static int refuse(struct via_plan *p, enum via_reason why, unsigned missing)
{
    *p = (struct via_plan){.refused = (uint8_t)why, .missing = missing};
    if (missing)
        return -VIA_ENODEV;
    return why == VIA_WHY_UNKNOWN_BITS ? -VIA_ENOTSUP : -VIA_EINVAL;
}

int via_policy_decide(const struct via_facts *f, struct via_plan *p)
{
    unsigned missing = 0;
    enum via_reason lacks = 0, wrong = judge(f);
    *p = (struct via_plan){.on = 0};
    if (wrong)
        return refuse(p, wrong, 0);
    decide_translate(f, p);
    wrong = decide_bounce(f, p);
    if (wrong)
        return refuse(p, wrong, 0);
    decide_protection(f, p);
    decide_cache(f, p);
    decide_order(f, p);
    for (unsigned s = 0; s < VIA_SWITCHES; s++) {
        if (!via_plan_has(p, s) || f->means & needs[s].means)
            continue;
        missing |= needs[s].means;
        lacks = lacks ? lacks : needs[s].lacks;
    }
    return missing ? refuse(p, lacks, missing) : 0;
}
