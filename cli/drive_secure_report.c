/* SPDX-License-Identifier: BSD-2-Clause */
/* drive: how turning secure went, for people and for programs. */
#include <inttypes.h>
#include <stdio.h>

#include <json-c/json.h>

#include "drive_parts.h"

static const char *const names[VIA_PHASES] = {"open", "secure", "open_again"};

static void put_u64(struct json_object *o, const char *name, uint64_t v) { json_object_object_add(o, name, json_object_new_uint64(v)); }

static void put_ms(struct json_object *o, const char *name, uint64_t ns)
{
    json_object_object_add(o, name, json_object_new_double((double)ns / 1e6));
}

static struct json_object *phase_json(const struct via_drive *d, unsigned i)
{
    struct json_object *o = json_object_new_object();
    const struct via_search_result *r = &d->secure.was[i].result;
    json_object_object_add(o, "name", json_object_new_string(names[i]));
    put_u64(o, "requests", d->secure.was[i].ops);
    put_u64(o, "bytes_searched", r->searched);
    put_u64(o, "secrets_found", r->found[0]);
    put_u64(o, "later_secrets_found", r->found[1]);
    put_u64(o, "guest_bytes_seen", r->seen);
    put_u64(o, "bytes_scribbled", r->scribbled);
    return o;
}

struct json_object *via_drive_secure_json(const struct via_drive *d)
{
    const struct via_drive_secure *s = &d->secure;
    struct json_object *o = json_object_new_object(), *phases = json_object_new_array();
    put_u64(o, "memory_bytes", s->pages * VIA_PROTECT_PAGE);
    put_u64(o, "lasting_bytes", s->kept * VIA_PROTECT_PAGE);
    put_u64(o, "verified", d->verified);
    put_u64(o, "lost", d->lost);
    put_ms(o, "secure_switch_ms", s->was[VIA_PHASE_SECURE].switch_ns);
    put_ms(o, "open_switch_ms", s->was[VIA_PHASE_AGAIN].switch_ns);
    put_ms(o, "secure_carrying_ms", s->was[VIA_PHASE_SECURE].carrying_ns);
    put_ms(o, "open_carrying_ms", s->was[VIA_PHASE_AGAIN].carrying_ns);
    put_u64(o, "requests_while_turning_secure", s->was[VIA_PHASE_SECURE].turning_ops);
    put_u64(o, "requests_while_turning_open", s->was[VIA_PHASE_AGAIN].turning_ops);
    put_u64(o, "pages_secured", s->turned.secured);
    put_u64(o, "pages_opened", s->turned.opened);
    put_u64(o, "pages_leased_at_switch", s->was[VIA_PHASE_SECURE].leased);
    put_u64(o, "conversions", s->conversions);
    put_u64(o, "conversions_failed", s->turned.failed);
    put_u64(o, "guest_bytes_damaged", s->damaged);
    json_object_object_add(o, "pool_returned", json_object_new_boolean(s->pool_returned));
    for (unsigned i = 0; i < VIA_PHASES; i++)
        json_object_array_add(phases, phase_json(d, i));
    json_object_object_add(o, "phases", phases);
    return o;
}

void via_drive_secure_text(const struct via_drive *d)
{
    const struct via_drive_secure *s = &d->secure;
    printf("verified: %" PRIu64 " reads, %" PRIu64 " requests lost\n", d->verified, d->lost);
    printf("secure: %" PRIu64 " pages in %.1f ms and %" PRIu64 " requests, %zu of them leased by requests in flight; back: %" PRIu64
           " pages in %.1f ms and %" PRIu64 " requests\n",
           s->turned.secured, (double)s->was[VIA_PHASE_SECURE].switch_ns / 1e6, s->was[VIA_PHASE_SECURE].turning_ops,
           s->was[VIA_PHASE_SECURE].leased, s->turned.opened, (double)s->was[VIA_PHASE_AGAIN].switch_ns / 1e6,
           s->was[VIA_PHASE_AGAIN].turning_ops);
    for (unsigned i = 0; i < VIA_PHASES; i++) {
        const struct via_search_result *r = &s->was[i].result;
        printf("attack, memory %s: %" PRIu64 " secrets, %" PRIu64 " KiB of the guest's own%s\n",
               i == VIA_PHASE_OPEN     ? "open"
               : i == VIA_PHASE_SECURE ? "secure"
                                       : "open again",
               r->found[0] + r->found[1], (r->seen + 1023) >> 10, r->scribbled ? ", what it wrote arrived nowhere" : "");
    }
}
