/* SPDX-License-Identifier: BSD-2-Clause */
/* policy: facts that are wrong by themselves, and reasons: each is given, in one sense alone, and true where it is given. */
#include <string.h>

#include <tap.h>

#include "policy_space.h"

#define ALL VIA_MEANS_ALL

/* A modern device that needs nothing. */
static struct via_facts plain(void)
{
    uint64_t bits = VIA_BIT(VIA_F_VERSION_1);
    return (struct via_facts){.offered = bits, .accepted = bits, .mask = UINT64_MAX, .memory_last = UINT32_MAX, .means = ALL};
}

static bool refuses(struct via_facts f, int result, enum via_reason why)
{
    struct via_plan p, empty = {.refused = (uint8_t)why};
    memset(&p, 0xa5, sizeof(p));
    CHECK_OR_FALSE(via_policy_decide(&f, &p) == result);
    CHECK_OR_FALSE(p.refused == why && p.on == empty.on && p.missing == 0 && !memcmp(p.why, empty.why, sizeof(p.why)));
    return true;
}

static bool accepts(struct via_facts f)
{
    struct via_plan p;
    return via_policy_decide(&f, &p) == 0;
}

/* ------------------------------------------------------------------ facts that are wrong by themselves */

static void features_that_contradict(void)
{
    struct via_facts f = plain();
    CHECK(accepts(f));
    f.accepted |= VIA_BIT(VIA_F_EVENT_IDX);
    CHECK(refuses(f, -VIA_EINVAL, VIA_WHY_BAD_ACCEPTED));
    f.offered |= VIA_BIT(VIA_F_EVENT_IDX);
    CHECK(accepts(f));
    f.legacy = true;
    CHECK(refuses(f, -VIA_EINVAL, VIA_WHY_BAD_LEGACY));
    f.accepted = VIA_BIT(VIA_F_EVENT_IDX);
    CHECK(accepts(f));
    f.legacy = false;
    CHECK(refuses(f, -VIA_EINVAL, VIA_WHY_BAD_MODERN));
}

/* Bits of the legacy interface end at 31; those of virtio that are not known here are refused, a device's own are nobody's business. */
static void each_feature_bit(void)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        struct via_facts f = plain(), old = plain();
        bool unknown = bit == 25 || bit == 31 || (bit >= 44 && bit <= 49);
        f.offered |= VIA_BIT(bit);
        CHECK(accepts(f));
        f.accepted |= VIA_BIT(bit);
        CHECK(unknown ? refuses(f, -VIA_ENOTSUP, VIA_WHY_UNKNOWN_BITS) : accepts(f));
        old.legacy = true;
        old.offered = UINT64_MAX;
        old.accepted = VIA_BIT(bit);
        CHECK(bit > 31  ? refuses(old, -VIA_EINVAL, VIA_WHY_BAD_LEGACY)
              : unknown ? refuses(old, -VIA_ENOTSUP, VIA_WHY_UNKNOWN_BITS)
                        : accepts(old));
    }
}

static void values_that_mean_nothing(void)
{
    struct via_facts f[] = {plain(), plain(), plain(), plain(), plain(), plain(), plain()};
    f[0].order = (enum via_order)(VIA_ORDER_POSTED + 1);
    f[1].protector = (enum via_protector)(VIA_PROTECTOR_GUEST + 1);
    f[2].override = (enum via_override)(VIA_OVERRIDE_BOUNCE + 1);
    f[3].means = ALL + 1;
    f[4].order = (enum via_order) - 1;
    f[5].protector = (enum via_protector) - 1;
    f[6].override = (enum via_override) - 1;
    for (unsigned i = 0; i < via_array_len(f); i++)
        CHECK(refuses(f[i], -VIA_EINVAL, VIA_WHY_BAD_VALUE));
}

static bool bounces(uint64_t mask, uint64_t memory_last)
{
    struct via_facts f = plain();
    struct via_plan p;
    f.mask = mask;
    f.memory_last = memory_last;
    CHECK_OR_FALSE(via_policy_decide(&f, &p) == 0);
    return via_plan_has(&p, VIA_SWITCH_BOUNCE);
}

static void masks_at_their_limits(void)
{
    struct via_facts f = plain();
    f.mask = 0;
    CHECK(refuses(f, -VIA_EINVAL, VIA_WHY_BAD_MASK));
    f.mask = 4094;
    CHECK(refuses(f, -VIA_EINVAL, VIA_WHY_BAD_MASK));
    f = plain();
    f.memory_last = 4094;
    CHECK(refuses(f, -VIA_EINVAL, VIA_WHY_BAD_MEMORY));
    f.memory_last = 4095;
    CHECK(accepts(f));
    CHECK(bounces(4095, 4096) && !bounces(4095, 4095));
    CHECK(bounces(UINT32_MAX, UINT64_C(1) << 32) && !bounces(UINT32_MAX, UINT32_MAX));
    CHECK(bounces(UINT64_MAX - 1, UINT64_MAX) && !bounces(UINT64_MAX, UINT64_MAX));
}

/* ------------------------------------------------------------------ reasons */

/* What a reason says of the facts. Without a line here it claims nothing. */
static bool is_true(enum via_reason why, const struct via_facts *f, const struct via_plan *p)
{
    bool access = f->accepted & VIA_BIT(VIA_F_ACCESS_PLATFORM), order = f->accepted & VIA_BIT(VIA_F_ORDER_PLATFORM);
    bool access_offered = f->offered & VIA_BIT(VIA_F_ACCESS_PLATFORM), order_offered = f->offered & VIA_BIT(VIA_F_ORDER_PLATFORM);
    bool translate = f->translated && access, narrow = f->mask < f->memory_last;
    switch (why) {
    case VIA_WHY_TRANSLATE:
        return translate;
    case VIA_WHY_NO_IOMMU:
        return !f->translated;
    case VIA_WHY_PHYSICAL_LEGACY:
        return f->translated && f->legacy;
    case VIA_WHY_PHYSICAL_UNOFFERED:
        return f->translated && !f->legacy && !access_offered;
    case VIA_WHY_PHYSICAL_DECLINED:
        return f->translated && !f->legacy && access_offered && !access;
    case VIA_WHY_BOUNCE_HOST:
    case VIA_WHY_SHARE_HOST:
        return f->protector == VIA_PROTECTOR_HOST;
    case VIA_WHY_BOUNCE_GUEST:
    case VIA_WHY_SHARE_GUEST:
        return f->protector == VIA_PROTECTOR_GUEST;
    case VIA_WHY_DIRECT_PROTECTED:
        return f->protector != VIA_PROTECTOR_NOBODY;
    case VIA_WHY_NO_SHARE:
        return f->protector == VIA_PROTECTOR_NOBODY;
    case VIA_WHY_BOUNCE_RESTRICTED:
    case VIA_WHY_DIRECT_RESTRICTED:
        return f->restricted;
    case VIA_WHY_BOUNCE_NARROW:
    case VIA_WHY_DIRECT_NARROW:
        return narrow && !translate;
    case VIA_WHY_BOUNCE_ISOLATE:
    case VIA_WHY_OWN_POOL:
        return f->isolate;
    case VIA_WHY_DIRECT_ISOLATE:
        return f->isolate && !translate;
    case VIA_WHY_BOUNCE_OVERRIDE:
        return f->override == VIA_OVERRIDE_BOUNCE;
    case VIA_WHY_NO_BOUNCE:
        return (translate || !narrow) && !f->isolate;
    case VIA_WHY_NO_BOUNCE_STRICT:
        return translate && f->isolate;
    case VIA_WHY_ENCRYPT_SHARED:
        return f->encrypted && f->protector != VIA_PROTECTOR_NOBODY;
    case VIA_WHY_ENCRYPT_ALL:
        return f->encrypted && f->protector == VIA_PROTECTOR_NOBODY;
    case VIA_WHY_NO_ENCRYPT:
        return !f->encrypted;
    case VIA_WHY_CACHE:
        return access && f->incoherent;
    case VIA_WHY_COHERENT:
        return !f->incoherent;
    case VIA_WHY_COHERENT_PROMISED:
        return !access && f->incoherent;
    case VIA_WHY_BARRIERS:
        return order;
    case VIA_WHY_ORDER_UNOFFERED:
        return !order_offered;
    case VIA_WHY_ORDER_DECLINED:
        return order_offered && !order;
    case VIA_WHY_FLUSH:
        return order && f->order == VIA_ORDER_POSTED;
    case VIA_WHY_NOT_POSTED:
        return f->order != VIA_ORDER_POSTED;
    case VIA_WHY_NOT_POSTED_PROMISED:
        return f->order == VIA_ORDER_POSTED && !order;
    case VIA_WHY_ANY_POOL:
        return !f->isolate && via_plan_has(p, VIA_SWITCH_BOUNCE);
    case VIA_WHY_NO_POOL:
        return !via_plan_has(p, VIA_SWITCH_BOUNCE);
    case VIA_WHY_STRICT_OVERRIDE:
        return f->isolate && f->override == VIA_OVERRIDE_DIRECT;
    case VIA_WHY_STRICT_POOLLESS:
        return f->isolate && ~f->means & (VIA_MEANS_POOL | VIA_MEANS_OWN_POOL);
    case VIA_WHY_NOT_STRICT:
        return translate && (!f->isolate || via_plan_has(p, VIA_SWITCH_OWN_POOL));
    case VIA_WHY_NOTHING_MAPPED:
        return !translate;
    case VIA_WHY_LACKS_TRANSLATE:
        return translate && p->missing & VIA_MEANS_TRANSLATE;
    case VIA_WHY_LACKS_POOL:
        return p->missing & VIA_MEANS_POOL;
    case VIA_WHY_LACKS_OWN_POOL:
        return f->isolate && p->missing & VIA_MEANS_OWN_POOL;
    case VIA_WHY_LACKS_SHARE:
        return p->missing & VIA_MEANS_SHARE;
    case VIA_WHY_LACKS_ENCRYPT:
        return p->missing & VIA_MEANS_ENCRYPT;
    case VIA_WHY_LACKS_CACHE:
        return p->missing & VIA_MEANS_CACHE;
    case VIA_WHY_LACKS_BARRIERS:
        return p->missing & VIA_MEANS_BARRIERS;
    case VIA_WHY_LACKS_FLUSH:
        return p->missing & VIA_MEANS_FLUSH;
    default:
        return true;
    }
}

/* What a reason was given for: a switch's position, or a result. 0: never given so far. */
static unsigned sense[VIA_REASONS];

static bool notice(unsigned why, unsigned of)
{
    CHECK_OR_FALSE(why && why < VIA_REASONS && (!sense[why] || sense[why] == of));
    sense[why] = of;
    return true;
}

static bool look(const struct via_facts *f)
{
    struct via_plan p;
    int r = via_policy_decide(f, &p);
    for (unsigned s = 0; !r && s < VIA_SWITCHES; s++)
        CHECK_OR_FALSE(notice(p.why[s], 1000 + 2 * s + via_plan_has(&p, s)) && is_true(p.why[s], f, &p));
    CHECK_OR_FALSE(!r ? !p.refused : notice(p.refused, (unsigned)-r) && is_true(p.refused, f, &p));
    return true;
}

static void each_reason_is_given_in_one_sense(void)
{
    for (unsigned i = 0; i < POLICY_CASES; i++)
        for (unsigned means = 0; means <= ALL; means++) {
            struct policy_case c = policy_case(i);
            struct via_facts f = policy_facts(&c, means);
            CHECK(look(&f));
        }
    struct via_facts bad[] = {plain(), plain(), plain(), plain(), plain(), plain()};
    bad[0].means = ~0u;
    bad[1].accepted = ~bad[1].offered;
    bad[2].accepted = 0;
    bad[3].mask = 0;
    bad[4].memory_last = 0;
    bad[5].offered = bad[5].accepted = UINT64_MAX;
    for (unsigned i = 0; i < via_array_len(bad); i++)
        CHECK(look(&bad[i]));
    for (unsigned why = 1; why < VIA_REASONS; why++)
        CHECK(sense[why]);
    for (unsigned why = VIA_WHY_BAD_VALUE; why < VIA_REASONS; why++)
        CHECK_EQ(sense[why], why < VIA_WHY_UNKNOWN_BITS ? VIA_EINVAL : why == VIA_WHY_UNKNOWN_BITS ? VIA_ENOTSUP : VIA_ENODEV);
}

/* The gravest reason is told: what nobody can change before what the administrator asked for. */
static void the_first_reason_that_holds(void)
{
    struct via_facts f = plain();
    struct via_plan p;
    static const uint8_t order[] = {VIA_WHY_BOUNCE_OVERRIDE, VIA_WHY_BOUNCE_ISOLATE, VIA_WHY_BOUNCE_NARROW, VIA_WHY_BOUNCE_RESTRICTED,
                                    VIA_WHY_BOUNCE_GUEST};
    for (unsigned i = 0; i < via_array_len(order); i++) {
        f.override = VIA_OVERRIDE_BOUNCE;
        f.isolate = i >= 1;
        f.mask = i >= 2 ? 65535 : UINT64_MAX;
        f.restricted = i >= 3;
        f.protector = i >= 4 ? VIA_PROTECTOR_GUEST : VIA_PROTECTOR_NOBODY;
        CHECK_EQ(via_policy_decide(&f, &p), 0);
        CHECK_EQ(p.why[VIA_SWITCH_BOUNCE], order[i]);
    }
    f.means = 0;
    CHECK(via_policy_decide(&f, &p) == -VIA_ENODEV && p.refused == VIA_WHY_LACKS_POOL);
    CHECK_EQ(p.missing, VIA_MEANS_POOL | VIA_MEANS_OWN_POOL | VIA_MEANS_SHARE);
    f.override = VIA_OVERRIDE_DIRECT;
    CHECK(refuses(f, -VIA_EINVAL, VIA_WHY_DIRECT_PROTECTED));
    f.accepted |= VIA_BIT(49);
    f.offered |= VIA_BIT(49);
    CHECK(refuses(f, -VIA_ENOTSUP, VIA_WHY_UNKNOWN_BITS));
    f.mask = 0;
    CHECK(refuses(f, -VIA_EINVAL, VIA_WHY_BAD_MASK));
}

static void texts_are_sentences(void)
{
    for (unsigned why = 1; why < VIA_REASONS; why++) {
        const char *text = via_reason_text(why);
        CHECK(text && strlen(text) > 20 && !strchr(text, '.') && !strchr(text, '|') && strchr(text, ' '));
        CHECK(why < VIA_WHY_BAD_VALUE || strstr(text, ": ")); /* a refusal says what to do */
        for (unsigned other = 1; other < why; other++)
            CHECK(strcmp(text, via_reason_text(other)) != 0);
    }
    CHECK(!via_reason_text(0) && !via_reason_text(VIA_REASONS) && !via_reason_text(~0u));
    for (unsigned s = 0; s < VIA_SWITCHES; s++)
        for (unsigned other = 0; other < s; other++)
            CHECK(*via_switch_name(s) && strcmp(via_switch_name(s), via_switch_name(other)) != 0);
}

TAP_MAIN(TEST(features_that_contradict), TEST(each_feature_bit), TEST(values_that_mean_nothing), TEST(masks_at_their_limits),
         TEST(each_reason_is_given_in_one_sense), TEST(the_first_reason_that_holds), TEST(texts_are_sentences))
