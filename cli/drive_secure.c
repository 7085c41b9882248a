/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * drive: a guest turns secure in the middle of verified I/O, and back. Three phases, of a third of the I/O each: memory is open, secure,
 * open again. At the end of each an attack looks through the memory that the back-end was given, which is told of none of this; while
 * memory is secure it also writes wherever it should have nothing to write.
 */
#include <string.h>

#include "drive_parts.h"

#define PAGES_A_STEP 64u
#define LEAST_NS UINT64_C(1000000) /* pages and I/O get equal shares of the time, pages no less than this at once, */
#define MOST_NS UINT64_C(10000000) /* and no more than that */

static void enter(struct via_drive *d, enum via_drive_phase phase)
{
    struct via_drive_secure *s = &d->secure;
    s->was[s->phase].ops += d->ops - s->begun_ops;
    s->phase = phase;
    s->begun_ns = s->moved_ns = via_drive_clock();
    s->begun_ops = d->ops;
}

int via_drive_secure_begin(struct via_drive *d)
{
    via_drive_guest_fill(&d->mem);
    enter(d, VIA_PHASE_OPEN);
    return 0;
}

/* ------------------------------------------------------------------ from one to the other */

static uint64_t processor_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static void turn(struct via_drive *d, enum via_drive_phase to)
{
    struct via_drive_secure *s = &d->secure;
    struct via_turn *t = &d->mem.guest.turn;
    enter(d, to);
    via_turn_begin(t, to == VIA_PHASE_SECURE);
    s->turning = true;
    s->carried_ns = s->begun_ns;
    s->left = t->left;
    s->was[to].leased = t->stats.leased;
}

static int carry(struct via_drive *d)
{
    struct via_drive_secure *s = &d->secure;
    struct via_turn *t = &d->mem.guest.turn;
    uint64_t begun = via_drive_clock(), used = processor_ns(), now;
    uint64_t share = begun - s->carried_ns < LEAST_NS ? LEAST_NS : via_min64(begun - s->carried_ns, MOST_NS);
    size_t left = s->left, was;
    do {
        was = left;
        left = via_turn_step(t, PAGES_A_STEP);
        now = via_drive_clock();
    } while (left && left < was && now - begun < share);
    s->carried_ns = now;
    s->was[s->phase].carrying_ns += processor_ns() - used;
    if (left < s->left)
        s->moved_ns = now;
    s->left = left;
    if (!left) {
        s->turning = false;
        s->was[s->phase].switch_ns = now - s->begun_ns;
        s->was[s->phase].turning_ops = d->ops - s->begun_ops;
        if (s->phase == VIA_PHASE_SECURE)
            via_drive_guest_write(&d->mem);
        return 0;
    }
    if (now - s->moved_ns < d->opts.timeout * UINT64_C(1000000000))
        return 0;
    return via_err_set(&d->err, t->stats.error ? t->stats.error : -VIA_ETIMEDOUT, "%zu pages did not become %s: %s", left,
                       s->phase == VIA_PHASE_SECURE ? "private" : "shared",
                       t->stats.error ? d->mem.guest.mem.why.text : "the back-end holds requests that use them");
}

/* Memory is open again, and no request is in the pool any more: its pages are the guest's like any others. */
static int return_pool(struct via_drive *d)
{
    struct via_drive_guest *g = &d->mem.guest;
    if (d->secure.phase != VIA_PHASE_AGAIN || d->secure.turning || d->secure.pool_returned || g->turn.maps[VIA_TURN_CLOSED])
        return 0;
    for (unsigned i = 0; i < d->opts.queues; i++)
        via_bounce_drain(&d->queue[i].bounce);
    d->secure.pool_returned = !d->mem.slots.pool.claimed;
    return d->secure.pool_returned ? via_turn_release(&g->turn, g->kept[1].ptr, g->kept[1].len) : 0;
}

/* ------------------------------------------------------------------ the attack */

/* The attack has to find what is open, or what it does not find proves nothing. */
static int judge_attack(struct via_drive *d)
{
    const struct via_search_result *r = &d->secure.was[d->secure.phase].result;
    unsigned long long old = r->found[0], later = r->found[1], seen = r->seen;
    if (d->secure.phase == VIA_PHASE_SECURE && (old || later || seen))
        return via_err_set(&d->err, -VIA_EIO,
                           "while memory was secure an attack found %llu secrets from before, %llu from after, and %llu bytes in all", old,
                           later, seen);
    if (d->secure.phase != VIA_PHASE_SECURE && (!old || !seen || !later != (d->secure.phase == VIA_PHASE_OPEN)))
        return via_err_set(&d->err, -VIA_EIO, "while memory was open an attack found %llu and %llu secrets: it shows nothing", old, later);
    return 0;
}

static int attack(struct via_drive *d)
{
    struct via_drive_secure *s = &d->secure;
    if (!s->searching) {
        s->searching = true;
        return via_drive_search_begin(&s->search, &d->mem, s->phase == VIA_PHASE_SECURE, &d->err);
    }
    int r = via_drive_search_poll(&s->search, &s->was[s->phase].result, &d->err);
    if (r <= 0)
        return r;
    s->searching = false;
    r = judge_attack(d);
    if (r)
        return r;
    if (s->phase != VIA_PHASE_AGAIN)
        turn(d, s->phase + 1);
    else
        s->over = true;
    return 0;
}

static bool is_due(const struct via_drive *d)
{
    const struct via_drive_secure *s = &d->secure;
    if (d->opts.ops)
        return d->ops - s->begun_ops >= (d->opts.ops + VIA_PHASES - 1) / VIA_PHASES;
    return (double)(d->now - s->begun_ns) >= d->opts.seconds * 1e9 / VIA_PHASES && d->now > s->begun_ns;
}

int via_drive_secure_step(struct via_drive *d)
{
    struct via_drive_secure *s = &d->secure;
    if (s->over || !s->begun_ns)
        return 0;
    if (s->turning)
        return carry(d);
    int r = return_pool(d);
    if (!r && (s->searching || (is_due(d) && (s->phase != VIA_PHASE_AGAIN || s->pool_returned))))
        r = attack(d);
    return r;
}

int via_drive_secure_judge(struct via_drive *d, int so_far)
{
    struct via_drive_secure *s = &d->secure;
    struct via_drive_guest *g = &d->mem.guest;
    enter(d, s->phase);
    s->damaged = via_drive_guest_damaged(&d->mem);
    s->turned = g->turn.stats;
    s->pages = g->mem.protect.pages;
    s->kept = (g->kept[0].len + g->kept[1].len) / VIA_PROTECT_PAGE;
    s->conversions = g->mem.protect.stats.conversions;
    if (!so_far && s->damaged)
        return via_err_set(&d->err, -VIA_EIO, "%llu bytes of the guest's memory changed under it", (unsigned long long)s->damaged);
    return so_far;
}
