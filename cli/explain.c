/* SPDX-License-Identifier: BSD-2-Clause */
/* viaduct explain: how the data of each virtio device of a Linux system reaches memory, why, and what is wrong with that. */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "explain_parts.h"

struct options {
    const char *root, *record, *json;
};

enum { OPT_ROOT = 256, OPT_RECORD, OPT_JSON };

static const struct argp_option option_table[] = {
    {"root", OPT_ROOT, "DIR", 0, "Look at a copy of another system's /sys and /proc, as --record makes them", 0},
    {"record", OPT_RECORD, "DIR", 0, "Copy what was read, and nothing else, into a new directory, for --root elsewhere", 0},
    {"json", OPT_JSON, "FILE", OPTION_ARG_OPTIONAL, "Write it for programs, to standard output or to a file", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case OPT_ROOT:
        o->root = arg;
        return 0;
    case OPT_RECORD:
        o->record = arg;
        return 0;
    case OPT_JSON:
        o->json = arg ? arg : "-";
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not an option", arg);
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int look(struct via_explain *x, struct via_err *err)
{
    via_machine_read(&x->sys, &x->machine);
    via_protect_read(&x->sys, &x->machine);
    via_pool_read(&x->sys, &x->machine);
    int r = via_devices_read(x);
    if (r < 0)
        return via_err_set(err, r, "can't list /sys/bus/virtio/devices: %s", strerror(-r));
    for (unsigned i = 0; i < x->devices; i++) {
        via_path_find(&x->machine, &x->device[i]);
        via_plan_find(&x->machine, &x->device[i]);
    }
    via_findings_find(x);
    return 0;
}

int via_cmd_explain(int argc, char **argv)
{
    static const struct argp argp = {
        option_table,
        parse,
        NULL,
        "Tell for each virtio device of this system which way its data takes to memory, what decides that, and what is wrong with it. "
        "Root sees more: run without it, it says what it could not read.",
        NULL,
        NULL,
        NULL};
    static char name[] = "viaduct explain";
    static struct via_explain x;
    struct options o = {NULL, NULL, NULL};
    struct via_err err = {""};
    argv[0] = name;
    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    int r = via_sys_open(&x.sys, o.root, o.record, &err);
    if (r == 0) {
        r = look(&x, &err);
        via_sys_close(&x.sys);
    }
    if (r == 0 && o.json)
        r = via_explain_json(&x, o.json, &err);
    if (r == 0 && !(o.json && o.json[0] == '-' && !o.json[1]))
        via_explain_text(&x);
    free(x.device);
    if (r == 0 && x.sys.err.text[0]) {
        err = x.sys.err;
        r = -VIA_EIO;
    }
    if (r < 0)
        fprintf(stderr, "viaduct explain: %s\n", err.text);
    return r < 0;
}
