/* SPDX-License-Identifier: BSD-2-Clause */
/* drive: the front-end: I/O to any vhost-user block back-end from user space, in any dma strategy. */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "cli.h"
#include "drive_parts.h"

static const char help[] = "usage: viaduct drive [OPTION...] SOCKET COMMAND\n"
                           "\n"
                           "Do I/O to the disk of a vhost-user block back-end that listens on SOCKET.\n"
                           "\n"
                           "Commands:\n"
                           "  out FILE      copy the whole disk to FILE ('-': standard output)\n"
                           "  in FILE       copy FILE to the disk, then flush\n"
                           "  verify FILE   compare the disk with FILE\n"
                           "  info          tell what the back-end offers\n"
                           "  load          timed I/O; with --mix that writes, the disk's content is lost\n"
                           "  secure        verified I/O, which writes, of a guest whose memory turns secure meanwhile, and\n"
                           "                shared again; each time an attack looks for what it still reaches\n"
                           "\n"
                           "Memory:\n"
                           "  --dma=direct|window|bounce  share all of the driver's memory; the same at offsets in\n"
                           "                              two banks; or a pool alone (default: bounce)\n"
                           "  --dma=bounce-iommu          bounce, with the pool mapped for good behind an IOMMU\n"
                           "  --dma=device                bounce, through memory that belongs to the back-end: it\n"
                           "                              gets none of the driver's\n"
                           "  --device-bit=N              the feature bit that says so (default: 63)\n"
                           "  --dma=identity              direct, behind an IOMMU that leaves addresses as they are\n"
                           "  --dma=iommu-strict|iommu-lazy\n"
                           "                              map each request's pages for the back-end, and take them\n"
                           "                              back at once, or some time after\n"
                           "  --dma=hybrid-strict|hybrid-lazy\n"
                           "                              the same from --threshold bytes on, the rest by the pool\n"
                           "  --dma=auto                  what this device needs, by docs/policy.md, and tell why; of\n"
                           "                              these facts and of the features that are negotiated:\n"
                           "    --protected=nobody|host|guest   who keeps the driver's memory private (default: nobody)\n"
                           "    --translated              the device is behind an IOMMU, if it offers ACCESS_PLATFORM\n"
                           "    --isolate                 show it its own requests' memory alone\n"
                           "    --mask=BITS               of the addresses that it can name (default: 64)\n"
                           "    --override=direct|bounce  never bounce, or always\n"
                           "  --threshold=SIZE            bytes of a buffer to be worth mapping (default: 32K)\n"
                           "  --push                      tell the back-end translations before it asks\n"
                           "  --pool=own|global           a pool for this disk, or one that a second device uses too\n"
                           "  --pool-size=SIZE            bytes of pool (default: 16M)\n"
                           "  --memory-size=SIZE          secure: bytes of the guest's memory (default: 64M)\n"
                           "  --pool-grow                 reserve no more of it than is needed for now\n"
                           "  --check                     look for misuse of the dma interface\n";

static const char more_help[] = "\n"
                                "I/O:\n"
                                "  --queues=N --queue-size=N   (default: 1, 128)\n"
                                "  --depth=N                   requests in flight in each queue (default: 16)\n"
                                "  --block-size=SIZE           bytes in a request (default: up to 256K; load: 4K)\n"
                                "  --mix=MIX                   load: read, write, randread, randwrite, rw[:PERCENT] or\n"
                                "                              randrw[:PERCENT of reads] (default: randread)\n"
                                "  --seconds=N | --ops=N       load: how long (default: 5 seconds)\n"
                                "  --verify                    load: blocks say which write they are, and are checked\n"
                                "  --move-to=SOCKET[,all][,translated]\n"
                                "                              move there in the middle of it all, and to the next of\n"
                                "                              these, and back to the first SOCKET, and so on; all: the\n"
                                "                              back-end there is given all of the driver's memory;\n"
                                "                              translated: it is behind an IOMMU\n"
                                "  --move-every=N              requests between two moves (default: 1000)\n"
                                "  --legacy                    a driver of old: without VERSION_1\n"
                                "  --poll                      never sleep while requests are in flight\n"
                                "  --timeout=SECONDS           give up on a back-end that stays silent (default: 10)\n"
                                "\n"
                                "Looking at the back-end:\n"
                                "  --backend-pid=PID           whose mappings and descriptors are inspected (default:\n"
                                "                              who is at the other end of SOCKET)\n"
                                "  --probe=N                   N small reads between guard bytes\n"
                                "  --canary-out=FILE           write the canaries, inverted, for an attacker to look for\n"
                                "\n"
                                "  --json[=FILE]               report as JSON\n"
                                "  --progress                  show progress even where standard error is no terminal\n";

enum {
    OPT_DMA = 256,
    OPT_POOL,
    OPT_POOL_SIZE,
    OPT_PROTECTED,
    OPT_TRANSLATED,
    OPT_ISOLATE,
    OPT_MASK,
    OPT_OVERRIDE,
    OPT_MEMORY_SIZE,
    OPT_POOL_GROW,
    OPT_DEVICE_BIT,
    OPT_THRESHOLD,
    OPT_PUSH,
    OPT_CHECK,
    OPT_QUEUES,
    OPT_QUEUE_SIZE,
    OPT_DEPTH,
    OPT_BLOCK_SIZE,
    OPT_MIX,
    OPT_SECONDS,
    OPT_OPS,
    OPT_VERIFY,
    OPT_LEGACY,
    OPT_MOVE_TO,
    OPT_MOVE_EVERY,
    OPT_POLL,
    OPT_TIMEOUT,
    OPT_BACKEND_PID,
    OPT_PROBE,
    OPT_CANARY_OUT,
    OPT_JSON,
    OPT_PROGRESS,
    OPT_HELP,
};

static const struct option options[] = {
    {"dma", required_argument, NULL, OPT_DMA},
    {"pool", required_argument, NULL, OPT_POOL},
    {"pool-size", required_argument, NULL, OPT_POOL_SIZE},
    {"protected", required_argument, NULL, OPT_PROTECTED},
    {"translated", no_argument, NULL, OPT_TRANSLATED},
    {"isolate", no_argument, NULL, OPT_ISOLATE},
    {"mask", required_argument, NULL, OPT_MASK},
    {"override", required_argument, NULL, OPT_OVERRIDE},
    {"memory-size", required_argument, NULL, OPT_MEMORY_SIZE},
    {"pool-grow", no_argument, NULL, OPT_POOL_GROW},
    {"device-bit", required_argument, NULL, OPT_DEVICE_BIT},
    {"threshold", required_argument, NULL, OPT_THRESHOLD},
    {"push", no_argument, NULL, OPT_PUSH},
    {"check", no_argument, NULL, OPT_CHECK},
    {"queues", required_argument, NULL, OPT_QUEUES},
    {"queue-size", required_argument, NULL, OPT_QUEUE_SIZE},
    {"depth", required_argument, NULL, OPT_DEPTH},
    {"block-size", required_argument, NULL, OPT_BLOCK_SIZE},
    {"mix", required_argument, NULL, OPT_MIX},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"ops", required_argument, NULL, OPT_OPS},
    {"verify", no_argument, NULL, OPT_VERIFY},
    {"legacy", no_argument, NULL, OPT_LEGACY},
    {"move-to", required_argument, NULL, OPT_MOVE_TO},
    {"move-every", required_argument, NULL, OPT_MOVE_EVERY},
    {"poll", no_argument, NULL, OPT_POLL},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"backend-pid", required_argument, NULL, OPT_BACKEND_PID},
    {"probe", required_argument, NULL, OPT_PROBE},
    {"canary-out", required_argument, NULL, OPT_CANARY_OUT},
    {"json", optional_argument, NULL, OPT_JSON},
    {"progress", no_argument, NULL, OPT_PROGRESS},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static int wrong(const char *option, const char *got, const char *want)
{
    fprintf(stderr, "viaduct drive: --%s=%s: must be %s\n", option, got, want);
    return 2;
}

/* A number from lo to hi, perhaps with K, M or G behind it. */
static bool number(const char *text, uint64_t lo, uint64_t hi, uint64_t *out)
{
    static const char units[] = "KMG";
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    uint64_t v = strtoull(text, &end, 10);
    const char *unit = *end ? strchr(units, *end & ~0x20) : NULL;
    if (unit && *unit) {
        if (!via_mul64(v, UINT64_C(1) << 10 * (unit - units + 1), &v))
            return false;
        end++;
    }
    *out = v;
    return !errno && !*end && v >= lo && v <= hi;
}

static bool mix_of(const char *text, struct via_drive_mix *mix)
{
    uint64_t percent = 50;
    char kind[16];
    const char *colon = strchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : strlen(text);
    if (len >= sizeof(kind) || (colon && !number(colon + 1, 0, 100, &percent)))
        return false;
    snprintf(kind, sizeof(kind), "%.*s", (int)len, text);
    mix->given = true;
    mix->random = !strncmp(kind, "rand", 4);
    const char *what = kind + (mix->random ? 4 : 0);
    if (!strcmp(what, "rw"))
        mix->read_percent = (unsigned)percent;
    else if (!colon && !strcmp(what, "read"))
        mix->read_percent = 100;
    else if (!colon && !strcmp(what, "write"))
        mix->read_percent = 0;
    else
        return false;
    return true;
}

static int take_memory(struct via_drive_opts *o, int c, const char *arg)
{
    if (c == OPT_POOL_SIZE)
        return number(arg, 1 << 16, UINT64_C(1) << 36, &o->pool_size) ? 0 : wrong("pool-size", arg, "a size from 64K to 64G");
    if (c == OPT_MEMORY_SIZE)
        return number(arg, 1 << 20, UINT64_C(1) << 36, &o->memory_size) ? 0 : wrong("memory-size", arg, "a size from 1M to 64G");
    if (c == OPT_POOL) {
        o->global_pool = !strcmp(arg, "global");
        return o->global_pool || !strcmp(arg, "own") ? 0 : wrong("pool", arg, "own or global");
    }
    if (c != OPT_DMA) {
        const char *option = options[c - OPT_DMA].name, *want = via_drive_wish_take(&o->wish, option, arg);
        return want ? wrong(option, arg, want) : 0;
    }
    o->wish.automatic = !strcmp(arg, "auto");
    if (o->wish.automatic)
        return 0;
    for (unsigned i = 0; i < VIA_DRIVE_DMAS; i++)
        if (i != VIA_DRIVE_TURN && !strcmp(arg, via_drive_dma_name((enum via_drive_dma)i))) {
            o->dma = (enum via_drive_dma)i;
            return 0;
        }
    return wrong("dma", arg,
                 "auto, direct, window, bounce or device, bounce-iommu, identity, iommu-strict, iommu-lazy, hybrid-strict or hybrid-lazy");
}

static int take_number(struct via_drive_opts *o, int c, const char *arg)
{
    uint64_t v;
    switch (c) {
    case OPT_QUEUES:
        if (!number(arg, 1, VIA_DRIVE_QUEUES, &v))
            return wrong("queues", arg, "from 1 to 16");
        o->queues = (unsigned)v;
        return 0;
    case OPT_QUEUE_SIZE:
        if (!number(arg, 4, 1024, &v) || !via_is_pow2(v))
            return wrong("queue-size", arg, "a power of two from 4 to 1024");
        o->queue_size = (unsigned)v;
        return 0;
    case OPT_DEPTH:
        if (!number(arg, 1, 1024, &v))
            return wrong("depth", arg, "from 1 to 1024");
        o->depth = (unsigned)v;
        return 0;
    case OPT_BLOCK_SIZE:
        if (!number(arg, VIA_BLK_SECTOR, 64u << 20, &v) || v % VIA_BLK_SECTOR)
            return wrong("block-size", arg, "a multiple of 512 up to 64M");
        o->block_size = (uint32_t)v;
        return 0;
    case OPT_THRESHOLD:
        if (!number(arg, 1, UINT32_MAX, &v))
            return wrong("threshold", arg, "from 1 to 4G less one byte");
        o->threshold = (uint32_t)v;
        return 0;
    case OPT_DEVICE_BIT:
        if (!number(arg, 50, 63, &v))
            return wrong("device-bit", arg, "the number of a feature bit of a device type, from 50 to 63");
        o->device_bit = (unsigned)v;
        return 0;
    case OPT_TIMEOUT:
        if (!number(arg, 1, 3600, &v))
            return wrong("timeout", arg, "from 1 to 3600 seconds");
        o->timeout = (unsigned)v;
        return 0;
    case OPT_BACKEND_PID:
        if (!number(arg, 1, INT32_MAX, &v))
            return wrong("backend-pid", arg, "a process id");
        o->backend_pid = (pid_t)v;
        return 0;
    case OPT_PROBE:
        if (!number(arg, 1, 10000, &v))
            return wrong("probe", arg, "from 1 to 10000");
        o->probe = (unsigned)v;
        return 0;
    default:
        return number(arg, 1, UINT64_MAX, &o->ops) ? 0 : wrong("ops", arg, "a number of requests");
    }
}

/* SOCKET, and what is different there. */
static int take_place(struct via_drive_opts *o, char *arg)
{
    struct via_drive_place p = {.socket = arg};
    char *comma = strchr(arg, ',');
    if (o->places == 0)
        o->places = 1;
    if (o->places == VIA_DRIVE_PLACES || !*arg || comma == arg)
        return wrong("move-to", arg, "a socket's path, and no more than 15 of them");
    while (comma) {
        char *word = comma + 1;
        *comma = '\0';
        comma = strchr(word, ',');
        size_t len = comma ? (size_t)(comma - word) : strlen(word);
        if (len == 3 && !memcmp(word, "all", len))
            p.all = true;
        else if (len == 10 && !memcmp(word, "translated", len))
            p.translated = true;
        else
            return wrong("move-to", word, "SOCKET, SOCKET,all, SOCKET,translated or SOCKET,all,translated");
    }
    o->place[o->places++] = p;
    return 0;
}

static int take_seconds(struct via_drive_opts *o, const char *arg)
{
    char *end;
    o->seconds = strtod(arg, &end);
    return end != arg && !*end && o->seconds > 0 && o->seconds < 1e6 ? 0 : wrong("seconds", arg, "a number of seconds above 0");
}

static int take_option(struct via_drive_opts *o, int c, char *arg)
{
    switch (c) {
    case OPT_DMA:
    case OPT_POOL:
    case OPT_POOL_SIZE:
    case OPT_PROTECTED:
    case OPT_TRANSLATED:
    case OPT_ISOLATE:
    case OPT_MASK:
    case OPT_OVERRIDE:
    case OPT_MEMORY_SIZE:
        return take_memory(o, c, arg);
    case OPT_MIX:
        return mix_of(arg, &o->mix) ? 0 : wrong("mix", arg, "read, write, randread, randwrite, rw[:PERCENT] or randrw[:PERCENT]");
    case OPT_SECONDS:
        return take_seconds(o, arg);
    case OPT_LEGACY:
        o->legacy = true;
        return 0;
    case OPT_MOVE_TO:
        return take_place(o, arg);
    case OPT_MOVE_EVERY:
        return number(arg, 1, UINT64_MAX, &o->move_every) ? 0 : wrong("move-every", arg, "a number of requests");
    case OPT_CHECK:
        o->check = true;
        return 0;
    case OPT_VERIFY:
        o->verify = true;
        return 0;
    case OPT_PUSH:
        o->push = true;
        return 0;
    case OPT_POOL_GROW:
        o->pool_grow = true;
        return 0;
    case OPT_POLL:
        o->poll = true;
        return 0;
    case OPT_PROGRESS:
        o->progress = true;
        return 0;
    case OPT_CANARY_OUT:
        o->canary_out = arg;
        return 0;
    case OPT_JSON:
        o->json = arg ? arg : "-";
        return 0;
    default:
        return take_number(o, c, arg);
    }
}

static int usage(const char *what, const char *which)
{
    fprintf(stderr, "viaduct drive: %s%s%s\n`viaduct drive --help` tells how it is used.\n", what, which ? " " : "", which ? which : "");
    return 2;
}

/* The command secure has a way of its own to memory; the others, the one that was asked for. */
static int take_secure(struct via_drive_opts *o, bool secure)
{
    bool dma = o->dma != VIA_DRIVE_DMAS || o->wish.automatic;
    if (!secure) {
        o->dma = o->dma != VIA_DRIVE_DMAS ? o->dma : VIA_DRIVE_BOUNCE;
        return o->memory_size ? usage("--memory-size belongs to the command secure", NULL) : 0;
    }
    if (dma || o->global_pool || o->canary_out || o->probe || o->places)
        return usage("secure turns from direct to a pool of its own and attacks itself: leave out --dma, --pool, --canary-out, --probe, "
                     "--move-to",
                     NULL);
    o->dma = VIA_DRIVE_TURN;
    o->verify = true;
    o->memory_size = o->memory_size ? o->memory_size : 64 << 20;
    if (!o->mix.given)
        o->mix.read_percent = 50;
    return 0;
}

/* A driver of old gives physical addresses and nothing else. */
static bool can_be_legacy(const struct via_drive_opts *o)
{
    bool physical = o->dma == VIA_DRIVE_DIRECT || o->dma == VIA_DRIVE_WINDOW || o->dma == VIA_DRIVE_BOUNCE;
    for (unsigned i = 0; i < o->places; i++)
        physical &= !o->place[i].translated;
    return physical && !o->wish.automatic;
}

/* SOCKET COMMAND [FILE], and what does not go together. */
static int take_words(struct via_drive_opts *o, int n, char **word)
{
    static const char *const with_file[] = {"out", "in", "verify"};
    if (n < 2)
        return usage("SOCKET and COMMAND are missing", NULL);
    o->socket = o->place[0].socket = word[0];
    o->command = word[1];
    bool file = false;
    for (unsigned i = 0; i < via_array_len(with_file); i++)
        file |= !strcmp(o->command, with_file[i]);
    bool secure = !strcmp(o->command, "secure"), load = secure || !strcmp(o->command, "load");
    if (!file && !load && strcmp(o->command, "info") != 0)
        return usage("there is no command", o->command);
    if (n != (file ? 3 : 2))
        return usage(file ? "one FILE belongs to" : "nothing may follow", o->command);
    if (file)
        o->file = word[2];
    if (file && !strcmp(o->file, "-") && !strcmp(o->command, "out") && o->json && !strcmp(o->json, "-"))
        return usage("the disk and the report can't both go to standard output: use --json=FILE", NULL);
    int r = take_secure(o, secure);
    if (r)
        return r;
    if (o->verify && o->mix.read_percent == 100)
        return usage("--verify needs a --mix that writes", NULL);
    if (o->wish.named && !o->wish.automatic)
        return usage("--protected, --translated, --isolate, --mask and --override need --dma=auto", NULL);
    if (o->dma == VIA_DRIVE_BOUNCE_IOMMU && !o->wish.automatic && o->global_pool)
        return usage("--dma=bounce-iommu maps a pool for this device alone: leave --pool=global out", NULL);
    if (o->dma == VIA_DRIVE_DEVICE && (o->pool_grow || o->global_pool || o->places))
        return usage("with --dma=device the pool is one back-end's: no --pool-grow, no --pool=global, no --move-to", NULL);
    if (o->pool_grow && (!via_drive_pooled(o->dma) || secure))
        return usage("--pool-grow needs a pool: --dma=bounce or --dma=hybrid-...", NULL);
    if (o->depth > o->queue_size)
        return usage("--depth is more than --queue-size", NULL);
    if (o->legacy && !can_be_legacy(o))
        return usage("--legacy has physical addresses only: choose --dma=direct, window or bounce, and no place that translates", NULL);
    if (o->move_every && !o->places)
        return usage("--move-every says how often, --move-to where to: it is missing", NULL);
    if (o->places && o->wish.automatic)
        return usage("--dma=auto goes by one back-end's features: with --move-to say which way it is to be", NULL);
    if (!o->move_every)
        o->move_every = 1000;
    if (load && !o->block_size)
        o->block_size = 4096;
    return 0;
}

static int parse(struct via_drive_opts *o, int argc, char **argv)
{
    int c;
    *o = (struct via_drive_opts){.dma = VIA_DRIVE_DMAS, /* not said */
                                 .wish.mask = UINT64_MAX,
                                 .pool_size = 16 << 20,
                                 .threshold = 32 << 10,
                                 .device_bit = VIA_OWN_BIT,
                                 .queues = 1,
                                 .queue_size = 128,
                                 .depth = 16,
                                 .timeout = 10,
                                 .seconds = 5,
                                 .mix = {.random = true, .read_percent = 100},
                                 .progress = isatty(STDERR_FILENO)};
    optind = 0;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == OPT_HELP) {
            printf("%s%s", help, more_help);
            return -1;
        }
        int r = c == '?' ? usage("see above", NULL) : take_option(o, c, optarg);
        if (r)
            return r;
    }
    return take_words(o, argc - optind, argv + optind);
}

static int run(struct via_drive *d)
{
    int r = via_drive_connect(d);
    if (r)
        return r;
    if (!strcmp(d->opts.command, "info"))
        return via_drive_info(d);
    r = d->opts.wish.automatic ? via_drive_policy_choose(d) : 0;
    if (!r)
        r = via_drive_start(d);
    if (!r)
        r = d->opts.file ? via_drive_copy(d) : via_drive_load(d);
    if (!r && d->opts.probe)
        r = via_drive_probe(d);
    if (d->mem.own.ptr)
        via_drive_look(d);
    return r;
}

int via_cmd_drive(int argc, char **argv)
{
    struct via_drive *d = calloc(1, sizeof(*d));
    int r = d ? parse(&d->opts, argc, argv) : 1;
    if (r) {
        free(d);
        return r < 0 ? 0 : r;
    }
    signal(SIGPIPE, SIG_IGN);
    /* Private memory stays private from a back-end that runs as the same user: no /proc/PID/mem, no process_vm_readv. */
    prctl(PR_SET_DUMPABLE, 0);
    r = run(d);
    via_drive_stop(d);
    if (!r && d->asked.failed)
        r = via_err_set(&d->err, -VIA_EIO, "the back-end did not give back what was unmapped, %llu times",
                        (unsigned long long)d->asked.failed);
    if (!r && d->misuses)
        r = via_err_set(&d->err, -VIA_EINVAL, "%llu misuses of the dma interface were found", (unsigned long long)d->misuses);
    if (strcmp(d->opts.command, "info") != 0) {
        int told = via_drive_report(d, !r);
        r = r ? r : told;
    }
    if (r)
        fprintf(stderr, "%sviaduct drive: %s\n", d->shown ? "\n" : "", d->err.text);
    free(d);
    return r ? 1 : 0;
}
