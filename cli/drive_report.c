/* SPDX-License-Identifier: BSD-2-Clause */
/* drive: what it did and saw, for people and for programs. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json.h>

#include "drive_parts.h"
#include "reach.h"

#define MIB (1u << 20)
#define SHOW_NS UINT64_C(200000000)

/* Against a back-end that means harm: translations bind only one that looks at them, since it was given all the memory that they lead to.
 */
static const char *isolation(const struct via_drive *d)
{
    bool all = false;
    for (unsigned i = 0; i < d->opts.places; i++)
        all |= d->opts.place[i].all;
    return via_drive_bounced(d->opts.dma) && !all ? "enforced" : "advisory";
}

void via_drive_progress(struct via_drive *d, uint64_t done, uint64_t all)
{
    uint64_t now = d->now;
    bool last = done >= all;
    if (!d->opts.progress || (!last && now - d->shown < SHOW_NS))
        return;
    d->shown = now;
    double seconds = (double)(now - d->begun) / 1e9;
    fprintf(stderr, "\r%s: %3.0f %%, %" PRIu64 " MiB, %.0f MB/s  %s", d->opts.command,
            all ? 100.0 * (double)via_min64(done, all) / (double)all : 100.0, d->bytes / MIB,
            seconds > 0 ? (double)d->bytes / 1e6 / seconds : 0, last ? "\n" : "");
}

static void look_at_pool(struct via_drive *d)
{
    for (unsigned i = 0; i < d->opts.queues; i++)
        d->pool.copied += d->queue[i].bounce.stats.bytes_in + d->queue[i].bounce.stats.bytes_out;
    if (via_drive_pooled(d->opts.dma)) {
        d->pool.slots = d->mem.slots.pool.slots;
        d->pool.high_water = d->mem.slots.pool.high_water;
        via_drive_grow_look(&d->mem, &d->pool.grown);
    }
    if (d->neighbour)
        d->pool.neighbour = via_neighbour_requests(d->neighbour);
}

void via_drive_look_at_domain(struct via_drive *d)
{
    d->asked.misses += d->end.client.misses;
    d->asked.access_fails += d->end.client.access_fails;
    d->asked.refused += d->end.refused;
    d->asked.updates += d->end.updates;
    d->asked.invalidates += d->end.invalidates;
    d->asked.failed = via_drive_domain_failed(d, &d->asked.flushes);
}

void via_drive_look(struct via_drive *d)
{
    struct via_err err;
    int ours[3] = {d->mem.own.fd, d->mem.pool.fd, d->mem.other.fd};
    look_at_pool(d);
    via_drive_look_at_domain(d);
    if (!d->reach.pid)
        return;
    int r = via_reach_inspect(d->reach.pid, d->mem.own.fd, &d->reach.priv, &err);
    if (!r && d->mem.pool.fd >= 0)
        r = via_reach_inspect(d->reach.pid, d->mem.pool.fd, &d->reach.pool, &err);
    if (!r)
        r = via_reach_others(d->reach.pid, ours, 3, &d->reach.others, &err);
    d->reach.known = !r;
    d->reach.total = d->mem.own.len;
    if (r)
        fprintf(stderr, "viaduct drive: what the back-end can reach stays unknown: %s\n", err.text);
}

/* ------------------------------------------------------------------ JSON */

static void put(struct json_object *o, const char *name, struct json_object *value) { json_object_object_add(o, name, value); }

static void put_u64(struct json_object *o, const char *name, uint64_t v) { put(o, name, json_object_new_uint64(v)); }

static void put_double(struct json_object *o, const char *name, double v) { put(o, name, json_object_new_double(v)); }

static double seconds_of(const struct via_drive *d) { return (double)(d->ended - d->begun) / 1e9; }

static double us(const struct via_drive *d, double share) { return (double)via_latency_quantile(&d->latency, share) / 1e3; }

static struct json_object *speed_json(const struct via_drive *d)
{
    struct json_object *o = json_object_new_object();
    double s = seconds_of(d);
    put_u64(o, "ops", d->ops);
    put_u64(o, "bytes", d->bytes);
    put_double(o, "seconds", s);
    put_double(o, "mb_per_s", s > 0 ? (double)d->bytes / 1e6 / s : 0);
    put_double(o, "kiops", s > 0 ? (double)d->ops / 1e3 / s : 0);
    put_double(o, "p50_us", us(d, 0.5));
    put_double(o, "p99_us", us(d, 0.99));
    put_double(o, "max_us", (double)d->latency.max / 1e3);
    put_u64(o, "eagain", d->eagain);
    put_u64(o, "sleeps", d->sleeps);
    return o;
}

static struct json_object *grown_json(const struct via_drive_grown *g)
{
    struct json_object *o = json_object_new_object();
    put_u64(o, "reserved_slots", g->reserved);
    put_u64(o, "reserved_slots_most", g->reserved_most);
    put_double(o, "reserved_slots_mean", g->reserved_mean);
    put_u64(o, "needed_slots_most", g->needed_most);
    put_double(o, "needed_slots_mean", g->needed_mean);
    put_u64(o, "conversions", g->conversions);
    put_u64(o, "failed", g->failed);
    return o;
}

static struct json_object *pool_json(const struct via_drive *d)
{
    struct json_object *o = json_object_new_object();
    put(o, "kind", json_object_new_string(d->opts.global_pool ? "global" : "own"));
    put_u64(o, "slots", d->pool.slots);
    put_u64(o, "high_water", d->pool.high_water);
    put_u64(o, "neighbour_requests", d->pool.neighbour);
    put(o, "grown", d->opts.pool_grow ? grown_json(&d->pool.grown) : NULL);
    return o;
}

static struct json_object *reach_json(const struct via_drive *d)
{
    struct json_object *o = json_object_new_object();
    put_u64(o, "backend_pid", (uint64_t)d->reach.pid);
    put_u64(o, "driver_bytes_total", d->reach.total);
    put_u64(o, "reachable_bytes", d->reach.priv);
    put_u64(o, "reachable_pool_bytes", d->reach.pool);
    put_u64(o, "reachable_other_bytes", d->reach.others);
    return o;
}

static struct json_object *probe_json(const struct via_drive *d)
{
    struct json_object *o = json_object_new_object();
    put_u64(o, "requests", d->probed.requests);
    put_u64(o, "refused", d->probed.refused);
    put_u64(o, "guard_bytes_damaged", d->probed.guard_damaged);
    put_u64(o, "unwritten_bytes_changed", d->probed.unwritten_changed);
    put_u64(o, "secret_bytes_changed", d->probed.secret_changed);
    return o;
}

static struct json_object *translation_json(const struct via_drive *d)
{
    struct json_object *o = json_object_new_object();
    put_u64(o, "misses", d->asked.misses);
    put_u64(o, "refused", d->asked.refused);
    put_u64(o, "access_fails", d->asked.access_fails);
    put_u64(o, "updates", d->asked.updates);
    put_u64(o, "invalidations", d->asked.invalidates);
    put_u64(o, "flushes", d->asked.flushes);
    put_u64(o, "failed", d->asked.failed);
    return o;
}

static struct json_object *moves_json(const struct via_drive *d)
{
    struct json_object *o = json_object_new_object();
    put_u64(o, "moves", d->move.moves);
    put(o, "at", d->move.away ? NULL : json_object_new_string(d->opts.place[d->move.at].socket));
    put_u64(o, "requests_left_over", d->move.left_over);
    put_u64(o, "state_bytes", d->move.bytes);
    put_double(o, "longest_ms", (double)d->move.longest / 1e6);
    return o;
}

static struct json_object *report_json(const struct via_drive *d, bool ok)
{
    struct json_object *o = json_object_new_object();
    put(o, "command", json_object_new_string(d->opts.command));
    put(o, "ok", json_object_new_boolean(ok));
    put(o, "error", ok ? NULL : json_object_new_string(d->err.text));
    put(o, "dma", json_object_new_string(via_drive_dma_name(d->opts.dma)));
    put(o, "plan", d->opts.wish.automatic ? via_drive_policy_json(d) : NULL);
    put_u64(o, "capacity", d->capacity);
    put_u64(o, "block_size", d->opts.block_size);
    put_u64(o, "queues", d->opts.queues);
    put_u64(o, "depth", d->opts.depth);
    put(o, "speed", speed_json(d));
    put_u64(o, "bytes_copied", d->pool.copied);
    put_double(o, "copies_per_byte", d->moved ? (double)d->pool.copied / (double)d->moved : 0);
    put(o, "pool", d->pool.slots ? pool_json(d) : NULL);
    put(o, "isolation", json_object_new_string(isolation(d)));
    put(o, "translation", via_drive_translated(d->opts.dma) ? translation_json(d) : NULL);
    put(o, "reach", d->reach.known ? reach_json(d) : NULL);
    put(o, "secure", d->opts.dma == VIA_DRIVE_TURN ? via_drive_secure_json(d) : NULL);
    put(o, "moved", d->opts.places ? moves_json(d) : NULL);
    put(o, "probe", d->opts.probe ? probe_json(d) : NULL);
    put(o, "misuses", d->opts.check ? json_object_new_uint64(d->misuses) : NULL);
    return o;
}

int via_drive_json(struct via_drive *d, struct json_object *o)
{
    int flags = JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE, r = 0;
    if (strcmp(d->opts.json, "-") == 0)
        puts(json_object_to_json_string_ext(o, flags));
    else if (json_object_to_file_ext(d->opts.json, o, flags))
        r = via_err_set(&d->err, -VIA_EIO, "can't write '%s': %s", d->opts.json, strerror(errno));
    json_object_put(o);
    return r;
}

/* ------------------------------------------------------------------ text */

static void report_text(const struct via_drive *d)
{
    double s = seconds_of(d);
    FILE *to = d->opts.file && !strcmp(d->opts.file, "-") ? stderr : stdout;
    if (d->opts.wish.automatic)
        via_drive_policy_show(d, to);
    fprintf(to, "%s: %" PRIu64 " MiB in %.2f s: %.0f MB/s, %.1f kIOPS, p50 %.1f us, p99 %.1f us\n", d->opts.command, d->bytes / MIB, s,
            s > 0 ? (double)d->bytes / 1e6 / s : 0, s > 0 ? (double)d->ops / 1e3 / s : 0, us(d, 0.5), us(d, 0.99));
    if (d->pool.slots)
        fprintf(to, "pool: %.3f bytes copied for each byte moved, at most %u of %u slots in use, %" PRIu64 " times full\n",
                d->moved ? (double)d->pool.copied / (double)d->moved : 0, d->pool.high_water, d->pool.slots, d->eagain);
    if (d->opts.pool_grow)
        fprintf(to,
                "pool: at most %u slots reserved where %u were needed, on average %.1f where %.1f were; %" PRIu64 " conversions, %" PRIu64
                " failed\n",
                d->pool.grown.reserved_most, d->pool.grown.needed_most, d->pool.grown.reserved_mean, d->pool.grown.needed_mean,
                d->pool.grown.conversions, d->pool.grown.failed);
    if (via_drive_translated(d->opts.dma))
        fprintf(to,
                "translation: %" PRIu64 " misses, %" PRIu64 " updates, %" PRIu64 " invalidations in %" PRIu64
                " flushes; %s: the back-end has descriptors for %s\n",
                d->asked.misses, d->asked.updates, d->asked.invalidates, d->asked.flushes, isolation(d),
                via_drive_bounced(d->opts.dma) ? "the pool alone" : "all of this memory");
    if (d->opts.dma == VIA_DRIVE_TURN)
        via_drive_secure_text(d);
    if (d->opts.places)
        fprintf(to, "moved %" PRIu64 " times with a state of %" PRIu64 " bytes, %" PRIu64 " requests were left for the next host\n",
                d->move.moves, d->move.bytes, d->move.left_over);
    if (d->reach.known)
        fprintf(to,
                "reach: process %d can get at %" PRIu64 " of %" PRIu64 " KiB of the driver's memory, and at %" PRIu64 " KiB of the pool\n",
                (int)d->reach.pid, d->reach.priv >> 10, d->reach.total >> 10, d->reach.pool >> 10);
}

int via_drive_report(struct via_drive *d, bool ok)
{
    if (ok && !(d->opts.json && !strcmp(d->opts.json, "-")))
        report_text(d);
    return d->opts.json ? via_drive_json(d, report_json(d, ok)) : 0;
}
