/* SPDX-License-Identifier: BSD-2-Clause */
/* viaduct guard: isolating proxies, one thread a pair of sockets. */
#include <argp.h>
#include <errno.h>
#include <json-c/json.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include <guard.h>

#include "cli.h"

#define PAIRS_MAX 16
#define DEFAULT_POOL (64u << 20)

struct options {
    struct via_guard_cfg pair[PAIRS_MAX];
    unsigned fronts, backs;
    struct via_guard_cfg common;
    const char *json;
};

enum { OPT_FRONT = 256, OPT_BACK, OPT_POOL, OPT_QUEUES, OPT_POLL, OPT_UNDER, OPT_JSON };

static const struct argp_option option_table[] = {
    {"front", OPT_FRONT, "PATH", 0, "Listen for the front-end (the VMM) at this socket; with --back, once for each pair", 0},
    {"back", OPT_BACK, "PATH", 0, "The back-end's socket", 0},
    {"pool-size", OPT_POOL, "BYTES", 0, "The memory a back-end gets for data, with K, M or G (64M)", 0},
    {"queues", OPT_QUEUES, "N", 0, "Offer at most so many queues (16)", 0},
    {"poll-us", OPT_POLL, "US", 0, "Poll for up to so long before sleeping, while that pays (20)", 0},
    {"under-reports", OPT_UNDER, NULL, 0, "The back-end's used lengths may be too small (legacy devices): copy whole buffers back", 0},
    {"json", OPT_JSON, "FILE", 0, "Write counters at exit, - for standard output", 0},
    {0},
};

/* A whole number with an optional K, M or G. */
static unsigned long long number(struct argp_state *state, const char *name, const char *text, unsigned long long max)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 0);
    unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    if (shift)
        end++;
    if (errno || end == text || *end || text[0] == '-' || v > max >> shift)
        argp_error(state, "%s: '%s' is not a number from 0 to %llu", name, text, max);
    return v << shift;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case OPT_FRONT:
        if (o->fronts == PAIRS_MAX)
            argp_error(state, "more than %u pairs", PAIRS_MAX);
        o->pair[o->fronts++].front = arg;
        return 0;
    case OPT_BACK:
        if (o->backs == PAIRS_MAX)
            argp_error(state, "more than %u pairs", PAIRS_MAX);
        o->pair[o->backs++].back = arg;
        return 0;
    case OPT_POOL:
        o->common.pool_bytes = number(state, "--pool-size", arg, UINT32_MAX);
        return 0;
    case OPT_QUEUES:
        o->common.queues = (uint16_t)number(state, "--queues", arg, VIA_BACK_QUEUES_MAX);
        return 0;
    case OPT_POLL:
        o->common.poll_ns = (uint32_t)(number(state, "--poll-us", arg, 1000000) * 1000);
        return 0;
    case OPT_UNDER:
        o->common.under_reports = true;
        return 0;
    case OPT_JSON:
        o->json = arg;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not an option", arg);
        return EINVAL;
    case ARGP_KEY_END:
        if (o->fronts == 0 || o->fronts != o->backs)
            argp_error(state, "each --front needs a --back: got %u and %u", o->fronts, o->backs);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void *run(void *guard) { return (void *)(intptr_t)via_guard_run(guard); }

static void add(struct json_object *o, const char *name, uint64_t v) { json_object_object_add(o, name, json_object_new_uint64(v)); }

static struct json_object *report(struct via_guard *const *guard, const struct options *o)
{
    struct json_object *all = json_object_new_object(), *pairs = json_object_new_array();
    uint64_t moved = 0, copied = 0;
    for (unsigned i = 0; i < o->fronts; i++) {
        struct via_guard_stats s;
        struct json_object *p = json_object_new_object();
        via_guard_stats(guard[i], &s);
        json_object_object_add(p, "front", json_object_new_string(o->pair[i].front));
        json_object_object_add(p, "back", json_object_new_string(o->pair[i].back));
        add(p, "connections", s.connections);
        add(p, "requests", s.requests);
        add(p, "bytes_moved", s.bytes_moved);
        add(p, "bytes_copied", s.bytes_copied);
        add(p, "pool_full", s.full);
        add(p, "pool_slots", s.slots);
        add(p, "pool_high_water", s.high_water);
        json_object_array_add(pairs, p);
        moved += s.bytes_moved;
        copied += s.bytes_copied;
    }
    add(all, "bytes_moved", moved);
    add(all, "bytes_copied", copied);
    json_object_object_add(all, "pairs", pairs);
    return all;
}

static int write_json(const char *path, struct json_object *o)
{
    int r =
        strcmp(path, "-") ? json_object_to_file_ext(path, o, JSON_C_TO_STRING_PRETTY) : json_object_to_fd(1, o, JSON_C_TO_STRING_PRETTY);
    if (r < 0)
        fprintf(stderr, "viaduct guard: %s: %s\n", path, json_util_get_last_err());
    json_object_put(o);
    return r < 0;
}

/* Threads take no signals: this one waits for them. */
static int serve(struct via_guard **guard, const struct options *o, const sigset_t *signals)
{
    pthread_t thread[PAIRS_MAX];
    unsigned n = 0;
    int bad = 0, sig;
    while (n < o->fronts && pthread_create(&thread[n], NULL, run, guard[n]) == 0)
        n++;
    if (n == o->fronts)
        sigwait(signals, &sig);
    else
        fprintf(stderr, "viaduct guard: no more threads can be made\n");
    for (unsigned i = 0; i < n; i++) {
        void *result;
        via_guard_stop(guard[i]);
        pthread_join(thread[i], &result);
        bad |= (intptr_t)result < 0;
    }
    return bad || n < o->fronts;
}

int via_cmd_guard(int argc, char **argv)
{
    static const struct argp argp = {
        option_table,
        parse,
        NULL,
        "Keep a guest's memory from vhost-user back-ends: each gets a pool of its own and shadow rings, and requests "
        "are copied across. Runs until SIGTERM or SIGINT.",
        NULL,
        NULL,
        NULL};
    static char name[] = "viaduct guard";
    struct options o = {.common = {.pool_bytes = DEFAULT_POOL, .queues = 16, .poll_ns = 20000}};
    struct via_guard *guard[PAIRS_MAX] = {NULL};
    sigset_t signals;
    int bad = 0;
    argv[0] = name;
    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    prctl(PR_SET_DUMPABLE, 0); /* else a back-end of the same user reads the guest's memory through /proc/PID/mem */

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    for (unsigned i = 0; i < o.fronts && !bad; i++) {
        struct via_guard_cfg cfg = o.common;
        struct via_err err = {""};
        cfg.front = o.pair[i].front;
        cfg.back = o.pair[i].back;
        if (via_guard_open(&guard[i], &cfg, &err) < 0) {
            fprintf(stderr, "viaduct guard: %s\n", err.text);
            bad = 1;
        }
    }
    if (!bad)
        bad = serve(guard, &o, &signals);
    if (!bad && o.json)
        bad = write_json(o.json, report(guard, &o));
    for (unsigned i = 0; i < o.fronts; i++)
        if (guard[i])
            via_guard_close(guard[i]);
    return bad;
}
