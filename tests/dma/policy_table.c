/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Prints docs/policy.md: the decision table, folded. Each combination of facts is asked for, and for each switch a list of rules is found
 * that says the same: the first one that fits decides. So the document tells what the code does, and not what somebody thinks that it does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy_space.h"

#define ALL VIA_MEANS_ALL
#define LITERALS 4u /* conditions of a rule */
#define RULES 32u

/* What a rule can speak of: the facts, and switches that were decided before. */
enum column { COLUMN_TRANSLATE = DIMS, COLUMN_BOUNCE, COLUMNS };
#define BIT(column) (1u << (column))
#define REACH (BIT(COLUMN_TRANSLATE) | BIT(DIM_PROTECTOR) | BIT(DIM_RESTRICTED) | BIT(DIM_NARROW) | BIT(DIM_ISOLATE) | BIT(DIM_OVERRIDE))

struct rule {
    uint8_t values[COLUMNS]; /* a set for each column: 1 << value; 0: any */
    unsigned reason, covers;
};

static struct policy_dim column[COLUMNS];
static uint8_t cell[POLICY_CASES][COLUMNS];
static struct via_plan plan[POLICY_CASES];
static uint8_t outcome[POLICY_CASES]; /* a reason: the answer to the question that is folded; 0: not asked, or decided already */

/* With no word of the administrator's, and no ORDER_PLATFORM, there is a plan, which says whether addresses are translated. */
static bool is_translated(struct policy_case c)
{
    struct via_plan p;
    c.at[DIM_OVERRIDE] = c.at[DIM_ORDER_FLAG] = 0;
    struct via_facts f = policy_facts(&c, ALL);
    if (via_policy_decide(&f, &p))
        abort();
    return via_plan_has(&p, VIA_SWITCH_TRANSLATE);
}

static void ask_all(unsigned means)
{
    for (unsigned i = 0; i < POLICY_CASES; i++) {
        struct policy_case c = policy_case(i);
        struct via_facts f = policy_facts(&c, means);
        if (via_policy_decide(&f, &plan[i]) && !plan[i].refused)
            abort();
        memcpy(cell[i], c.at, sizeof(c.at));
        cell[i][COLUMN_TRANSLATE] = is_translated(c);
        cell[i][COLUMN_BOUNCE] = via_plan_has(&plan[i], VIA_SWITCH_BOUNCE);
    }
    memcpy(column, policy_dim, sizeof(policy_dim));
    column[COLUMN_TRANSLATE] = (struct policy_dim){via_switch_name(VIA_SWITCH_TRANSLATE), {"off", "on"}, 2};
    column[COLUMN_BOUNCE] = (struct policy_dim){via_switch_name(VIA_SWITCH_BOUNCE), {"off", "on"}, 2};
}

/* ------------------------------------------------------------------ folding */

static bool fits(const struct rule *r, unsigned i)
{
    for (unsigned c = 0; c < COLUMNS; c++)
        if (r->values[c] && !(r->values[c] >> cell[i][c] & 1))
            return false;
    return true;
}

/* How many open cases a rule decides, all in one way; 0: none, or in several. */
static unsigned covers(struct rule *r)
{
    r->reason = r->covers = 0;
    for (unsigned i = 0; i < POLICY_CASES; i++) {
        if (!outcome[i] || !fits(r, i))
            continue;
        if (r->reason && r->reason != outcome[i])
            return r->covers = 0;
        r->reason = outcome[i];
        r->covers++;
    }
    return r->covers;
}

/* Add conditions, on columns from c on, in all ways: a value, or all values but one. The rule that covers most is the best. */
static void refine(struct rule *r, unsigned c, unsigned conditions, unsigned columns, struct rule *best)
{
    if (!conditions) {
        if (covers(r) > best->covers)
            *best = *r;
        return;
    }
    for (; c < COLUMNS; c++) {
        unsigned n = column[c].n, ways = n > 2 ? 2 * n : n;
        for (unsigned v = 0; (columns >> c & 1) && v < ways; v++) {
            r->values[c] = (uint8_t)(v < n ? BIT(v) : (BIT(n) - 1) & ~BIT(v - n));
            refine(r, c + 1, conditions - 1, columns, best);
        }
        r->values[c] = 0;
    }
}

/* The rule with the fewest conditions; false: nothing is open any more. */
static bool next_rule(unsigned columns, struct rule *out)
{
    struct rule any = {.covers = 0}, best = {.covers = 0};
    bool open = false;
    for (unsigned i = 0; i < POLICY_CASES; i++)
        open |= outcome[i];
    if (!open)
        return false;
    for (unsigned n = 0; n <= LITERALS && !best.covers; n++)
        refine(&any, 0, n, columns, &best);
    if (!best.covers) {
        fputs("policy_table: rules of so few conditions can't say this: give it more columns, or LITERALS\n", stderr);
        exit(1);
    }
    for (unsigned i = 0; i < POLICY_CASES; i++)
        if (fits(&best, i))
            outcome[i] = 0;
    *out = best;
    return true;
}

/* ------------------------------------------------------------------ printing */

static void print_condition(unsigned c, unsigned values)
{
    const struct policy_dim *d = &column[c];
    unsigned but = ~values & (BIT(d->n) - 1);
    if (!values)
        printf(" |");
    else if (via_is_pow2(values))
        printf(" %s |", d->value[__builtin_ctz(values)]);
    else
        printf(" *any but* %s |", d->value[__builtin_ctz(but)]);
}

/* position: how each reason's decision is called; title: what is decided. Columns that no rule speaks of are left out. */
static void print_rules(const char *title, unsigned columns, const char *const *position)
{
    struct rule rule[RULES];
    unsigned n = 0, used = 0;
    while (n < RULES && next_rule(columns, &rule[n])) {
        for (unsigned c = 0; c < COLUMNS; c++)
            used |= rule[n].values[c] ? BIT(c) : 0;
        n++;
    }
    printf("|");
    for (unsigned c = 0; c < COLUMNS; c++)
        if (used >> c & 1)
            printf(" %s |", column[c].name);
    printf(" %s | because | cases |\n|", title);
    for (unsigned c = 0; c < COLUMNS; c++)
        printf("%s", used >> c & 1 ? " --- |" : "");
    printf(" --- | --- | ---: |\n");
    for (const struct rule *r = rule; r < rule + n; r++) {
        const char *because = via_reason_text(r->reason);
        printf("|");
        for (unsigned c = 0; c < COLUMNS; c++)
            if (used >> c & 1)
                print_condition(c, r->values[c]);
        printf(" %s | %s | %u |\n", position[r->reason], because ? because : "", r->covers);
    }
    puts("");
}

static const struct {
    const char *meaning;
    unsigned columns; /* that its rules may speak of */
} about[VIA_SWITCHES] = {
    [VIA_SWITCH_TRANSLATE] = {"Addresses on the ring are the IOMMU's.", BIT(DIM_ACCESS) | BIT(DIM_TRANSLATED)},
    [VIA_SWITCH_BOUNCE] = {"Data goes through a pool.", REACH},
    [VIA_SWITCH_ENCRYPT] = {"The address bit is set or cleared.", BIT(DIM_ENCRYPTED) | BIT(DIM_PROTECTOR)},
    [VIA_SWITCH_SHARE] = {"Rings and pool are shared before the device sees them.", BIT(DIM_PROTECTOR)},
    [VIA_SWITCH_CACHE] = {"Caches are cleaned before the device's turn, and invalidated after it.", BIT(DIM_ACCESS) | BIT(DIM_INCOHERENT)},
    [VIA_SWITCH_BARRIERS] = {"The ring uses the barriers of the platform's devices instead of the processors'.", BIT(DIM_ORDER_FLAG)},
    [VIA_SWITCH_FLUSH] = {"Posted writes are flushed before a notification.", BIT(DIM_ORDER_FLAG) | BIT(DIM_ORDER)},
    [VIA_SWITCH_OWN_POOL] = {"The pool belongs to this device alone.", BIT(COLUMN_BOUNCE) | BIT(DIM_ISOLATE)},
    [VIA_SWITCH_STRICT] = {"A request's pages are mapped for the device as long as the request lasts.", REACH | BIT(COLUMN_BOUNCE)},
};

static void print_switch(enum via_switch s)
{
    const char *position[VIA_REASONS];
    for (unsigned i = 0; i < VIA_REASONS; i++)
        position[i] = "off";
    for (unsigned i = 0; i < POLICY_CASES; i++) {
        outcome[i] = plan[i].refused ? 0 : plan[i].why[s];
        if (via_plan_has(&plan[i], s))
            position[outcome[i]] = "**on**";
    }
    print_rules(via_switch_name(s), about[s].columns, position);
}

static void print_switches(void)
{
    for (unsigned s = 0; s < VIA_SWITCHES; s++) {
        printf("### %s\n%s\n\n", via_switch_name(s), about[s].meaning);
        print_switch(s);
    }
    ask_all(ALL & ~VIA_MEANS_OWN_POOL);
    puts("Where there can't be a pool for this device alone, this becomes:\n");
    print_switch(VIA_SWITCH_STRICT);
}

static void print_refusals(void)
{
    const char *position[VIA_REASONS + 1];
    for (unsigned i = 0; i < VIA_REASONS; i++)
        position[i] = "refused";
    position[VIA_REASONS] = "a plan";
    ask_all(ALL);
    for (unsigned i = 0; i < POLICY_CASES; i++)
        outcome[i] = plan[i].refused == VIA_WHY_BAD_LEGACY ? 0 : plan[i].refused ? plan[i].refused : VIA_REASONS;
    print_rules("result", REACH, position);
}

/* ------------------------------------------------------------------ means, and what plans there are */

static const char *const means_name[] = {"a pool",
                                         "a pool of its own",
                                         "sharing of pages",
                                         "the address bit",
                                         "an IOMMU to program",
                                         "cache maintenance",
                                         "barriers for devices",
                                         "a flush"};

static void print_means(void)
{
    puts("| without | these are never on | refused | because |\n| --- | --- | ---: | --- |");
    for (unsigned m = 0; m < via_array_len(means_name); m++) {
        unsigned on = 0, refused = 0, why = 0;
        ask_all(ALL & ~(1u << m));
        for (unsigned i = 0; i < POLICY_CASES; i++) {
            on |= plan[i].on;
            refused += plan[i].missing != 0;
            why = plan[i].missing ? plan[i].refused : why;
        }
        printf("| %s |", means_name[m]);
        const char *sep = " ";
        for (unsigned s = 0; s < VIA_SWITCHES; s++)
            if (!(on >> s & 1)) {
                printf("%s%s", sep, via_switch_name(s));
                sep = ", ";
            }
        printf(" | %u | %s |\n", refused, via_reason_text(why));
    }
    puts("");
}

/* The switches that say which way data takes; the others stand beside any of these. */
#define WAY                                                                                                                                \
    (1u << VIA_SWITCH_TRANSLATE | 1u << VIA_SWITCH_BOUNCE | 1u << VIA_SWITCH_SHARE | 1u << VIA_SWITCH_OWN_POOL | 1u << VIA_SWITCH_STRICT)

static void print_plans(void)
{
    unsigned count[1u << VIA_SWITCHES] = {0}, ways[1u << VIA_SWITCHES] = {0}, refused = 0, plans = 0;
    ask_all(ALL);
    for (unsigned i = 0; i < POLICY_CASES; i++) {
        refused += plan[i].refused != 0;
        plans += !plan[i].refused && !count[plan[i].on]++;
        ways[plan[i].on & WAY] += !plan[i].refused;
    }
    printf("%u combinations of facts: %u have a plan, of %u different ones; %u are contradictions. With nothing on: %u.\n\n", POLICY_CASES,
           POLICY_CASES - refused, plans, refused, count[0]);
    puts("| way of the data | cases |\n| --- | ---: |");
    for (unsigned on = 0; on < 1u << VIA_SWITCHES; on++) {
        if (!ways[on])
            continue;
        printf("| %s", on ? "" : "direct");
        const char *sep = "";
        for (unsigned s = 0; s < VIA_SWITCHES; s++)
            if (on >> s & 1) {
                printf("%s%s", sep, via_switch_name(s));
                sep = ", ";
            }
        printf(" | %u |\n", ways[on]);
    }
    puts("");
}

int main(void)
{
    puts(
        "<!-- Printed by tests/dma/policy_table.c; a test compares. -->\n"
        "# Which way a device's data takes, and why\n\n"
        "`via_policy_decide` (`include/viaduct/policy.h`) makes a plan of independent switches from facts about the device, its platform\n"
        "and the guest. This page is printed by a program that asks it for every combination of facts.\n\n"
        "Two principles stand behind the rules:\n\n"
        "- `ACCESS_PLATFORM` and `ORDER_PLATFORM` are words of the device about itself. What would break a device that doesn't follow the\n"
        "  platform's rules waits for its word: translated addresses, and invalidated caches, with which such a device's bytes could go.\n"
        "  So does what is a waste without it: barriers and flushes, since without the flag the device promises to behave as a processor.\n"
        "- What breaks nobody follows the facts alone, whatever the flags say: bouncing, sharing, and the address bit, which is a part of\n"
        "  the physical address. So a protected guest works without `ACCESS_PLATFORM`, and no private page's address reaches a ring.\n\n"
        "Isolation by a pool of its own shows a device bytes, isolation by mappings shows it pages: the pool is chosen where there can be\n"
        "one and nothing forbids it.\n\n"
        "In each table the first row that fits decides. An empty field fits always. *cases* counts the "
        "combinations that a row decides.\n");
    puts("## Plans\n");
    print_plans();
    puts("## Switches\n");
    print_switches();
    puts("## Contradictions\n");
    print_refusals();
    puts("Refused besides, whatever the other facts are:\n");
    for (unsigned why = VIA_WHY_BAD_VALUE; why <= VIA_WHY_UNKNOWN_BITS; why++)
        if (why < VIA_WHY_DIRECT_PROTECTED || why == VIA_WHY_UNKNOWN_BITS)
            printf("- %s\n", via_reason_text(why));
    puts("\n## What the platform has to be able to do\n\n"
         "A plan takes no more than its switches do. *refused* counts the combinations that have no plan when only this is missing.\n");
    print_means();
    return 0;
}
