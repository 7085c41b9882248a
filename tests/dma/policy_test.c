/* SPDX-License-Identifier: BSD-2-Clause */
/* policy: what must hold of each plan and each refusal, over all facts and all means. */
#include <string.h>

#include <tap.h>

#include "policy_space.h"

#define ALL VIA_MEANS_ALL

struct answer {
    struct via_facts facts;
    struct via_plan plan;
    int result;
};

static struct answer ask(struct via_facts facts)
{
    struct answer a = {.facts = facts};
    memset(&a.plan, 0xa5, sizeof(a.plan));
    a.result = via_policy_decide(&a.facts, &a.plan);
    return a;
}

static struct answer answer[ALL + 1]; /* to one case, by means */

static void ask_case(unsigned i)
{
    struct policy_case c = policy_case(i);
    for (unsigned means = 0; means <= ALL; means++)
        answer[means] = ask(policy_facts(&c, means));
}

static bool on(const struct answer *a, enum via_switch s) { return via_plan_has(&a->plan, s); }
static bool took(const struct answer *a, enum via_feature bit) { return a->facts.accepted & VIA_BIT(bit); }
static bool has_protector(const struct answer *a) { return a->facts.protector != VIA_PROTECTOR_NOBODY; }
static bool is_narrow(const struct answer *a) { return a->facts.mask < a->facts.memory_last; }

static bool is_same(const struct via_facts *a, const struct via_facts *b)
{
    return a->offered == b->offered && a->accepted == b->accepted && a->legacy == b->legacy && a->translated == b->translated &&
           a->restricted == b->restricted && a->encrypted == b->encrypted && a->incoherent == b->incoherent && a->order == b->order &&
           a->mask == b->mask && a->protector == b->protector && a->isolate == b->isolate && a->override == b->override;
}

static void cases_are_all_different(void)
{
    unsigned n = 1;
    for (unsigned d = 0; d < DIMS; d++)
        n *= policy_dim[d].n;
    CHECK_EQ(n, POLICY_CASES);
    for (unsigned i = 1; i < n; i++) {
        struct policy_case before = policy_case(i - 1), now = policy_case(i);
        CHECK(memcmp(before.at, now.at, sizeof(now.at)) < 0);
        struct via_facts a = policy_facts(&before, ALL), b = policy_facts(&now, ALL);
        CHECK(!is_same(&a, &b));
    }
}

/* ------------------------------------------------------------------ plans */

static bool reaches_safely(const struct answer *a)
{
    const struct via_facts *f = &a->facts;
    bool translate = on(a, VIA_SWITCH_TRANSLATE), bounce = on(a, VIA_SWITCH_BOUNCE);
    CHECK_OR_FALSE(translate == (f->translated && took(a, VIA_F_ACCESS_PLATFORM)));
    if (has_protector(a)) /* never a private page's address on a ring */
        CHECK_OR_FALSE(bounce && on(a, VIA_SWITCH_SHARE));
    CHECK_OR_FALSE(!on(a, VIA_SWITCH_SHARE) || has_protector(a));
    if (!bounce) /* any buffer's address may come */
        CHECK_OR_FALSE(!f->restricted && (translate || !is_narrow(a)) && f->override != VIA_OVERRIDE_BOUNCE);
    if (bounce) {
        CHECK_OR_FALSE(f->override != VIA_OVERRIDE_DIRECT);
        CHECK_OR_FALSE(has_protector(a) || f->restricted || is_narrow(a) || f->isolate || f->override == VIA_OVERRIDE_BOUNCE);
        CHECK_OR_FALSE(has_protector(a) || f->restricted || !translate || f->isolate || f->override == VIA_OVERRIDE_BOUNCE);
    }
    return true;
}

static bool isolates(const struct answer *a)
{
    const struct via_facts *f = &a->facts;
    bool own = on(a, VIA_SWITCH_OWN_POOL), strict = on(a, VIA_SWITCH_STRICT);
    CHECK_OR_FALSE(f->isolate ? own != strict : !own && !strict);
    CHECK_OR_FALSE(!own || on(a, VIA_SWITCH_BOUNCE));
    CHECK_OR_FALSE(!strict || (on(a, VIA_SWITCH_TRANSLATE) && !on(a, VIA_SWITCH_BOUNCE)));
    if (strict) /* bytes before pages, where there is a choice */
        CHECK_OR_FALSE(f->override == VIA_OVERRIDE_DIRECT || ~f->means & (VIA_MEANS_POOL | VIA_MEANS_OWN_POOL));
    return true;
}

static bool follows_the_flags(const struct answer *a)
{
    const struct via_facts *f = &a->facts;
    CHECK_OR_FALSE(on(a, VIA_SWITCH_ENCRYPT) == f->encrypted);
    CHECK_OR_FALSE(on(a, VIA_SWITCH_CACHE) == (f->incoherent && took(a, VIA_F_ACCESS_PLATFORM)));
    CHECK_OR_FALSE(on(a, VIA_SWITCH_BARRIERS) == took(a, VIA_F_ORDER_PLATFORM));
    CHECK_OR_FALSE(on(a, VIA_SWITCH_FLUSH) == (took(a, VIA_F_ORDER_PLATFORM) && f->order == VIA_ORDER_POSTED));
    return true;
}

/* Nothing speaks against handing out physical addresses. */
static bool needs_nothing(const struct answer *a)
{
    const struct via_facts *f = &a->facts;
    bool plain = !took(a, VIA_F_ACCESS_PLATFORM) || (!f->translated && !f->incoherent);
    return plain && !took(a, VIA_F_ORDER_PLATFORM) && !has_protector(a) && !f->restricted && !is_narrow(a) && !f->isolate &&
           !f->encrypted && f->override != VIA_OVERRIDE_BOUNCE;
}

static void plans_keep_their_promises(void)
{
    unsigned plans = 0, free_ones = 0;
    for (unsigned i = 0; i < POLICY_CASES; i++) {
        ask_case(i);
        for (unsigned means = 0; means <= ALL; means++) {
            const struct answer *a = &answer[means];
            if (a->result)
                continue;
            CHECK(!a->plan.refused && !a->plan.missing && a->plan.on < 1u << VIA_SWITCHES);
            CHECK(reaches_safely(a) && isolates(a) && follows_the_flags(a));
            CHECK((a->plan.on == 0) == needs_nothing(a));
            plans += means == ALL;
            free_ones += needs_nothing(a) && !means; /* nothing is needed, so no means are */
        }
    }
    CHECK(plans > POLICY_CASES / 4 && free_ones > 100);
}

/* ------------------------------------------------------------------ refusals */

static bool is_forbidden(const struct answer *a)
{
    const struct via_facts *f = &a->facts;
    bool translate = f->translated && took(a, VIA_F_ACCESS_PLATFORM);
    bool bounce = has_protector(a) || f->restricted || (!translate && (is_narrow(a) || f->isolate));
    return f->override == VIA_OVERRIDE_DIRECT && bounce;
}

/* With all means, only contradictions are refused; and those whatever the means are. */
static void contradictions_alone_are_final(void)
{
    for (unsigned i = 0; i < POLICY_CASES; i++) {
        ask_case(i);
        const struct answer *a = &answer[ALL], *none = &answer[0];
        bool wrong = is_forbidden(a) || (a->facts.legacy && took(a, VIA_F_ORDER_PLATFORM));
        CHECK_EQ(a->result, wrong ? -VIA_EINVAL : 0);
        CHECK((none->result == -VIA_EINVAL) == wrong);
        if (wrong)
            CHECK(none->plan.refused == a->plan.refused && !a->plan.missing && !a->plan.on);
    }
}

/* Exactly what is missing was missing: with it there is a plan, and with less there is none. */
static bool names_what_is_missing(const struct answer *a)
{
    unsigned missing = a->plan.missing;
    CHECK_OR_FALSE(missing && !(missing & a->facts.means) && !(missing & ~ALL) && !a->plan.on);
    CHECK_OR_FALSE(answer[a->facts.means | missing].result == 0);
    if (missing & (VIA_MEANS_POOL | VIA_MEANS_OWN_POOL)) /* and no mapping could do instead */
        CHECK_OR_FALSE(has_protector(a) || a->facts.restricted || a->facts.override == VIA_OVERRIDE_BOUNCE ||
                       !(a->facts.translated && took(a, VIA_F_ACCESS_PLATFORM)));
    for (unsigned bit = 1; bit <= ALL; bit <<= 1)
        if (missing & bit) {
            const struct answer *less = &answer[a->facts.means | (missing & ~bit)];
            CHECK_OR_FALSE(less->result == -VIA_ENODEV && less->plan.missing == bit);
        }
    return true;
}

static void missing_means_are_named(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < POLICY_CASES; i++) {
        ask_case(i);
        for (unsigned means = 0; means < ALL; means++) {
            const struct answer *a = &answer[means];
            CHECK(a->result == 0 || a->result == -VIA_EINVAL || a->result == -VIA_ENODEV);
            if (a->result != -VIA_ENODEV)
                continue;
            CHECK(names_what_is_missing(a));
            n++;
        }
    }
    CHECK(n > POLICY_CASES);
}

/* No switch is on for which the platform lacks what it takes; what no switch takes is not needed. */
static void switches_have_their_means(void)
{
    static const unsigned takes[VIA_SWITCHES] = {VIA_MEANS_TRANSLATE, VIA_MEANS_POOL,     VIA_MEANS_ENCRYPT,
                                                 VIA_MEANS_SHARE,     VIA_MEANS_CACHE,    VIA_MEANS_BARRIERS,
                                                 VIA_MEANS_FLUSH,     VIA_MEANS_OWN_POOL, VIA_MEANS_TRANSLATE};
    for (unsigned i = 0; i < POLICY_CASES; i++) {
        ask_case(i);
        for (unsigned means = 0; means <= ALL; means++) {
            unsigned used = 0;
            for (unsigned s = 0; s < VIA_SWITCHES; s++)
                used |= on(&answer[means], s) ? takes[s] : 0;
            CHECK(!(used & ~means));
            CHECK(answer[means].result || (answer[used].result == 0 && answer[used].plan.on == answer[means].plan.on));
        }
    }
}

/* ------------------------------------------------------------------ needs add up */

/* One more need than in case c; false: dimension d has none to add. */
static bool need_more(struct policy_case *c, unsigned d)
{
    if (d == DIM_ACCESS || d == DIM_TRANSLATED)
        return false; /* no needs, but rules */
    if (d == DIM_OVERRIDE) {
        bool silent = c->at[d] == VIA_OVERRIDE_NONE;
        c->at[d] = VIA_OVERRIDE_BOUNCE;
        return silent;
    }
    if (d == DIM_PROTECTOR && c->at[d] == VIA_PROTECTOR_HOST)
        return false;
    return ++c->at[d] < policy_dim[d].n;
}

static void more_needs_never_turn_a_switch_off(void)
{
    for (unsigned i = 0; i < POLICY_CASES; i++)
        for (unsigned d = 0; d < DIMS; d++) {
            struct policy_case less = policy_case(i), more = less;
            if (!need_more(&more, d))
                continue;
            for (unsigned lack = 1; lack <= ALL + 1; lack <<= 1) { /* one means, or at last none */
                struct answer a = ask(policy_facts(&less, ALL & ~lack)), b = ask(policy_facts(&more, ALL & ~lack));
                CHECK(b.result || (!a.result && !(a.plan.on & ~b.plan.on)));
            }
        }
}

/* Each part of a plan goes its own way: turning a fact that is not its concern changes neither it nor its reason. */
static void switches_do_not_look_at_foreign_facts(void)
{
    const unsigned access = 1u << DIM_ACCESS, order = 1u << DIM_ORDER_FLAG, translated = access | 1u << DIM_TRANSLATED,
                   reach =
                       translated | 1u << DIM_PROTECTOR | 1u << DIM_RESTRICTED | 1u << DIM_NARROW | 1u << DIM_ISOLATE | 1u << DIM_OVERRIDE;
    const unsigned concern[VIA_SWITCHES] = {translated,
                                            reach,
                                            1u << DIM_ENCRYPTED | 1u << DIM_PROTECTOR,
                                            1u << DIM_PROTECTOR,
                                            access | 1u << DIM_INCOHERENT,
                                            order,
                                            order | 1u << DIM_ORDER,
                                            reach,
                                            reach};
    for (unsigned i = 0; i < POLICY_CASES; i++)
        for (unsigned d = 0; d < DIMS; d++) {
            struct policy_case c = policy_case(i), other = c;
            if (++other.at[d] == policy_dim[d].n)
                continue;
            struct answer a = ask(policy_facts(&c, ALL)), b = ask(policy_facts(&other, ALL));
            for (unsigned s = 0; s < VIA_SWITCHES; s++)
                CHECK(concern[s] >> d & 1 || a.result || b.result || a.plan.why[s] == b.plan.why[s]);
        }
}

TAP_MAIN(TEST(cases_are_all_different), TEST(plans_keep_their_promises), TEST(contradictions_alone_are_final),
         TEST(missing_means_are_named), TEST(switches_have_their_means), TEST(more_needs_never_turn_a_switch_off),
         TEST(switches_do_not_look_at_foreign_facts))
