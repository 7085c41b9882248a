/* SPDX-License-Identifier: BSD-2-Clause */
/* viaduct-blk: a file as a vhost-user disk, by the back-end program conventions. */
#include <getopt.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <viaduct/vhost.h>

#define NAME "viaduct-blk"
#define SEG_MAX 126u /* and header and status: what fits into a queue of 128, the smallest that is common */
#define QUEUE_SIZE 1024u
#define BLOCK_MAX 65536u
#define PHYSICAL_MAX (1u << 20)
#define DEPTH 256u          /* requests at once, all queues together */
#define OWN_MAX (64u << 20) /* KiB */
#define OWN_BIT_MIN 50u     /* feature bits from there on are for the device type, which has none of them (virtio v1.4 2.2) */
#define POLL_US 50u         /* what waking up costs, about */
#define SPAN_EXTRA 1024u    /* pieces that a request may have more than its descriptors: pages that an IOMMU scattered */

struct blk_options {
    const char *socket_path, *file, *serial;
    unsigned fd, queues, queue_size, seg_max, poll_us;
    unsigned own_kib, own_bit;        /* memory of its own, 0: none; the feature bit */
    unsigned block, physical, opt_io; /* bytes */
    uint64_t needs;                   /* features */
    bool have_fd, read_only, direct, no_discard, order_platform;
};

struct blk {
    const struct blk_options *opt;
    struct via_loop loop;
    struct via_file *file;
    struct via_blk_device device;
    void *storage;
    struct via_watch listener, signals, completions;
    struct via_poller poller;
    struct via_server server;
    bool serving, stopping;
};

/* ------------------------------------------------------------------ what the server asks for */

static struct blk *blk_of(struct via_server *s) { return via_container_of(s, struct blk, server); }

static void on_features(struct via_server *s, uint64_t accepted) { blk_of(s)->device.features = accepted; }

static int on_config_get(struct via_server *s, uint32_t offset, uint8_t *out, uint32_t len)
{
    blk_of(s)->device.big = via_server_big(s);
    via_blk_device_config(&blk_of(s)->device, offset, out, len);
    return 0;
}

static int on_ring_start(struct via_server *s, unsigned index, unsigned num, struct via_device **device, struct via_err *err)
{
    (void)index, (void)num, (void)err;
    blk_of(s)->device.big = via_server_big(s);
    *device = &blk_of(s)->device.device;
    return 0;
}

static void on_batch_end(struct via_server *s, unsigned index)
{
    (void)index;
    via_file_submit(blk_of(s)->file);
    via_file_reap(blk_of(s)->file);
}

static void say(const struct via_err *what) { fprintf(stderr, NAME ": %s\n", what->text); }

static void on_warn(struct via_server *s, const struct via_err *what)
{
    (void)s;
    say(what);
}

static int listener_open(struct blk *b, struct via_err *err)
{
    if (via_loop_add(&b->loop, &b->listener, EPOLLIN) < 0)
        return via_err_set(err, -VIA_ENOMEM, "%s: the socket can't be waited on", b->opt->socket_path);
    return 0;
}

static void on_closed(struct via_server *s, const struct via_err *why)
{
    struct blk *b = blk_of(s);
    struct via_err err;
    if (why->text[0])
        say(why);
    b->serving = false;
    if (b->stopping || b->opt->have_fd) {
        b->loop.stop = true;
    } else if (listener_open(b, &err) < 0) {
        say(&err);
        b->loop.stop = true;
    }
}

static const struct via_server_ops server_ops = {
    .features = on_features,
    .config_get = on_config_get,
    .ring_start = on_ring_start,
    .batch_end = on_batch_end,
    .closed = on_closed,
    .warn = on_warn,
};

/* ------------------------------------------------------------------ what the loop calls */

static void completions_reap(struct blk *b)
{
    if (via_file_reap(b->file) == 0)
        return;
    for (unsigned i = 0; b->serving && i < b->opt->queues; i++)
        via_server_completed(&b->server, i);
}

static bool completions_poll(struct via_poller *p)
{
    struct blk *b = via_container_of(p, struct blk, poller);
    bool due = via_file_due(b->file);
    if (due)
        completions_reap(b);
    return due;
}

static void completions_ready(struct via_watch *w, uint32_t events)
{
    (void)events;
    completions_reap(via_container_of(w, struct blk, completions));
}

static int serve(struct blk *b, int fd, struct via_err *err)
{
    const struct via_server_cfg cfg = {
        .features = VIA_BIT(VIA_F_VERSION_1) | VIA_BIT(VIA_F_INDIRECT_DESC) | VIA_BIT(VIA_F_EVENT_IDX) | VIA_BIT(VIA_F_ACCESS_PLATFORM) |
                    (b->opt->order_platform ? VIA_BIT(VIA_F_ORDER_PLATFORM) : 0) | via_blk_device_features(&b->device),
        .queues = (uint16_t)b->opt->queues,
        .num_max = (uint16_t)b->opt->queue_size,
        .needs = b->opt->needs,
        .config = true,
        .own_size = (uint64_t)b->opt->own_kib << 10,
        .own_bit = b->opt->own_bit,
        .cross_endian = true,
    };
    int result = via_server_open(&b->server, &server_ops, &cfg, &b->loop, fd, err);
    b->serving = result == 0;
    return result;
}

/* One front-end at a time: two that write to one image would ruin it. The next waits in the listener's backlog. */
static void listener_ready(struct via_watch *w, uint32_t events)
{
    struct blk *b = via_container_of(w, struct blk, listener);
    struct via_err err;
    (void)events;
    int fd = via_sock_accept(w->fd, &err);
    if (fd < 0)
        return;
    if (serve(b, fd, &err) < 0)
        say(&err);
    else
        via_loop_remove(&b->loop, w);
}

static void signal_ready(struct via_watch *w, uint32_t events)
{
    struct blk *b = via_container_of(w, struct blk, signals);
    struct signalfd_siginfo info;
    (void)events;
    (void)!read(w->fd, &info, sizeof(info));
    b->stopping = true;
    if (b->serving)
        via_server_end(&b->server);
    else
        b->loop.stop = true;
}

/* ------------------------------------------------------------------ start and end */

static int signals_open(struct blk *b, struct via_err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    signal(SIGPIPE, SIG_IGN); /* a front-end's call descriptor may be a pipe that nobody reads */
    sigprocmask(SIG_BLOCK, &set, NULL);
    b->signals = (struct via_watch){.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), .ready = signal_ready};
    if (b->signals.fd < 0 || via_loop_add(&b->loop, &b->signals, EPOLLIN) < 0)
        return via_err_set(err, -VIA_ENOMEM, "signals can't be waited for");
    return 0;
}

/* All that a guest sees of the disk: what was asked for, and nothing of this host. */
static void disk_limits(const struct blk *b, struct via_blk_limits *l)
{
    const struct blk_options *o = b->opt;
    via_file_limits(b->file, l);
    l->seg_max = o->seg_max;
    l->queues = (uint16_t)o->queues;
    l->opt_io = o->opt_io;
    l->discard &= !o->no_discard;
    if (o->physical)
        l->physical_size = o->physical;
    if (!o->serial)
        return;
    memset(l->id, 0, sizeof(l->id));
    memcpy(l->id, o->serial, strnlen(o->serial, sizeof(l->id))); /* without a NUL when all 20 are used (virtio v1.4 5.2.6) */
}

static int disk_open(struct blk *b, struct via_err *err)
{
    const struct blk_options *o = b->opt;
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): via_loop_init clears b->loop; clang 14 takes that for all of b */
    const struct via_file_cfg cfg = {.path = o->file, .read_only = o->read_only, .direct = o->direct, .depth = DEPTH, .blk_size = o->block};
    struct via_blk_limits limits = {0};
    int result = via_file_open(&b->file, &cfg, err);
    if (result < 0)
        return result;
    disk_limits(b, &limits);
    b->storage = malloc(via_blk_device_bytes(DEPTH, o->queue_size + SPAN_EXTRA));
    if (!b->storage)
        return via_err_set(err, -VIA_ENOMEM, "no memory for %u requests", DEPTH);
    result = via_blk_device_init(&b->device, &limits, via_file_store(b->file), DEPTH, o->queue_size + SPAN_EXTRA, b->storage);
    if (result < 0)
        return via_err_set(err, result, "%s: no disk can be made of it (%llu bytes, blocks of %u)", o->file,
                           (unsigned long long)limits.capacity, limits.blk_size);
    b->completions = (struct via_watch){.fd = via_file_fd(b->file), .ready = completions_ready};
    b->poller = (struct via_poller){.poll = completions_poll, .arm = completions_poll};
    via_loop_add_poller(&b->loop, &b->poller);
    if (via_loop_add(&b->loop, &b->completions, EPOLLIN) < 0)
        return via_err_set(err, -VIA_ENOMEM, "%s: its completions can't be waited for", o->file);
    return 0;
}

static int front_open(struct blk *b, struct via_err *err)
{
    if (b->opt->have_fd)
        return serve(b, (int)b->opt->fd, err);
    b->listener = (struct via_watch){.fd = via_sock_listen(b->opt->socket_path, err), .ready = listener_ready};
    return b->listener.fd < 0 ? b->listener.fd : listener_open(b, err);
}

static int blk_run(struct blk *b, struct via_err *err)
{
    int result = via_loop_init(&b->loop, b->opt->poll_us * 1000, err);
    if (result < 0)
        return result;
    result = disk_open(b, err);
    if (result == 0)
        result = signals_open(b, err);
    if (result == 0)
        result = front_open(b, err);
    if (result == 0 && via_loop_run(&b->loop) < 0)
        result = via_err_set(err, -VIA_EIO, "the event loop failed");
    if (b->listener.fd >= 0) {
        close(b->listener.fd);
        unlink(b->opt->socket_path);
    }
    if (b->signals.fd >= 0)
        close(b->signals.fd);
    if (b->file && !b->serving)
        via_file_close(b->file);
    free(b->storage);
    via_loop_close(&b->loop);
    return result;
}

/* ------------------------------------------------------------------ arguments */

static int usage(FILE *to)
{
    fputs("usage: " NAME " (--socket-path=PATH | --fd=N) --blk-file=PATH [OPTION...]\n\n"
          "Serves a file as a disk to a vhost-user front-end (a virtual machine), one at a time.\n\n"
          "  --socket-path=PATH    listen there\n"
          "  --fd=N                serve the front-end that is connected to descriptor N, then exit\n"
          "  --blk-file=PATH       the disk's image, a multiple of 512 bytes long\n"
          "  --read-only           refuse writes\n"
          "  --direct              pass the page cache by (O_DIRECT)\n"
          "  --num-queues=N        queues, 1 to 64 (default 1)\n"
          "  --queue-size=N        largest queue to take, a power of two up to 32768 (default 1024)\n"
          "  --seg-max=N           data segments in a request (default 126); the front-end's queue must be at least 2 larger\n"
          "  --block-size=N        bytes in a logical block, a power of two from 512 to 65536 (default 512)\n"
          "  --physical-block-size=N  what the guest is told to align to (default 4096, or the logical block)\n"
          "  --opt-io-size=N       bytes, a multiple of the block: what the guest is told to prefer (default 0: nothing)\n"
          "  --no-discard          offer no discard; else it is offered, and left unheeded where the image can't punch holes\n"
          "  --serial=TEXT         the disk's serial number, up to 20 bytes (default: the image's name without its directory)\n"
          "  --order-platform      offer the platform's order (ORDER_PLATFORM), as a device does that is no program\n"
          "  --own-memory=N        offer N KiB of memory of its own, for front-ends that share none of theirs\n"
          "  --own-memory-bit=N    the virtio feature bit that says so, 50 to 63 (default 63)\n"
          "  --require=modern|platform  refuse drivers without VERSION_1, or also those without ACCESS_PLATFORM (default: none)\n"
          "  --poll-us=N           look for work up to N microseconds before sleeping (default 50)\n"
          "  --print-capabilities  tell what the program can do, as JSON\n"
          "  --help, --version\n",
          to);
    return to == stdout ? 0 : 2;
}

static int print_capabilities(void)
{
    struct json_object *caps = json_object_new_object(), *features = json_object_new_array();
    json_object_object_add(caps, "type", json_object_new_string("block"));
    json_object_array_add(features, json_object_new_string("read-only"));
    json_object_array_add(features, json_object_new_string("blk-file"));
    json_object_object_add(caps, "features", features);
    puts(json_object_to_json_string_ext(caps, JSON_C_TO_STRING_PRETTY));
    json_object_put(caps);
    return 0;
}

static bool number(const char *option, const char *text, unsigned min, unsigned max, unsigned *out)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);
    if (*text >= '0' && *text <= '9' && !*end && v >= min && v <= max) {
        *out = (unsigned)v;
        return true;
    }
    fprintf(stderr, NAME ": --%s: '%s' is not a number from %u to %u\n", option, text, min, max);
    return false;
}

enum {
    OPT_SOCKET = 256,
    OPT_FD,
    OPT_FILE,
    OPT_READ_ONLY,
    OPT_DIRECT,
    OPT_QUEUES,
    OPT_SIZE,
    OPT_SEG,
    OPT_BLOCK,
    OPT_PHYSICAL,
    OPT_OPT_IO,
    OPT_NO_DISCARD,
    OPT_SERIAL,
    OPT_ORDER,
    OPT_OWN,
    OPT_OWN_BIT,
    OPT_REQUIRE,
    OPT_POLL,
    OPT_CAPS,
    OPT_HELP,
    OPT_VERSION
};

static const struct option long_options[] = {
    {"socket-path", required_argument, NULL, OPT_SOCKET},
    {"fd", required_argument, NULL, OPT_FD},
    {"blk-file", required_argument, NULL, OPT_FILE},
    {"read-only", no_argument, NULL, OPT_READ_ONLY},
    {"direct", no_argument, NULL, OPT_DIRECT},
    {"num-queues", required_argument, NULL, OPT_QUEUES},
    {"queue-size", required_argument, NULL, OPT_SIZE},
    {"seg-max", required_argument, NULL, OPT_SEG},
    {"block-size", required_argument, NULL, OPT_BLOCK},
    {"physical-block-size", required_argument, NULL, OPT_PHYSICAL},
    {"opt-io-size", required_argument, NULL, OPT_OPT_IO},
    {"no-discard", no_argument, NULL, OPT_NO_DISCARD},
    {"serial", required_argument, NULL, OPT_SERIAL},
    {"order-platform", no_argument, NULL, OPT_ORDER},
    {"own-memory", required_argument, NULL, OPT_OWN},
    {"own-memory-bit", required_argument, NULL, OPT_OWN_BIT},
    {"require", required_argument, NULL, OPT_REQUIRE},
    {"poll-us", required_argument, NULL, OPT_POLL},
    {"print-capabilities", no_argument, NULL, OPT_CAPS},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {0},
};

static bool take_require(struct blk_options *o, const char *what)
{
    bool platform = !strcmp(what, "platform");
    o->needs = VIA_BIT(VIA_F_VERSION_1) | (platform ? VIA_BIT(VIA_F_ACCESS_PLATFORM) : 0);
    if (platform || !strcmp(what, "modern"))
        return true;
    fprintf(stderr, NAME ": --require: '%s' is neither modern nor platform\n", what);
    return false;
}

/* -1: go on; an exit status else. */
static int take_disk_option(struct blk_options *o, int option, const char *name)
{
    switch (option) {
    case OPT_BLOCK:
        return number(name, optarg, VIA_BLK_SECTOR, BLOCK_MAX, &o->block) ? -1 : 2;
    case OPT_PHYSICAL:
        return number(name, optarg, VIA_BLK_SECTOR, PHYSICAL_MAX, &o->physical) ? -1 : 2;
    case OPT_OPT_IO:
        return number(name, optarg, 0, INT_MAX, &o->opt_io) ? -1 : 2;
    case OPT_NO_DISCARD:
        o->no_discard = true;
        return -1;
    default:
        o->serial = optarg;
        return -1;
    }
}

static int take_option(struct blk_options *o, int option, const char *name)
{
    switch (option) {
    case OPT_BLOCK:
    case OPT_PHYSICAL:
    case OPT_OPT_IO:
    case OPT_NO_DISCARD:
    case OPT_SERIAL:
        return take_disk_option(o, option, name);
    case OPT_SOCKET:
        o->socket_path = optarg;
        return -1;
    case OPT_FD:
        o->have_fd = true;
        return number(name, optarg, 0, INT_MAX, &o->fd) ? -1 : 2;
    case OPT_FILE:
        o->file = optarg;
        return -1;
    case OPT_READ_ONLY:
        o->read_only = true;
        return -1;
    case OPT_DIRECT:
        o->direct = true;
        return -1;
    case OPT_REQUIRE:
        return take_require(o, optarg) ? -1 : 2;
    case OPT_QUEUES:
        return number(name, optarg, 1, VIA_BACK_QUEUES_MAX, &o->queues) ? -1 : 2;
    case OPT_SIZE:
        return number(name, optarg, 2, VIA_RING_NUM_MAX, &o->queue_size) ? -1 : 2;
    case OPT_SEG:
        return number(name, optarg, 1, VIA_RING_NUM_MAX - 2, &o->seg_max) ? -1 : 2;
    case OPT_ORDER:
        o->order_platform = true;
        return -1;
    case OPT_OWN:
        return number(name, optarg, 64, OWN_MAX, &o->own_kib) ? -1 : 2;
    case OPT_OWN_BIT:
        return number(name, optarg, OWN_BIT_MIN, 63, &o->own_bit) ? -1 : 2;
    case OPT_POLL:
        return number(name, optarg, 0, 1000000, &o->poll_us) ? -1 : 2;
    case OPT_CAPS:
        return print_capabilities();
    case OPT_HELP:
        return usage(stdout);
    case OPT_VERSION:
        puts(NAME " " VIA_VERSION);
        return 0;
    default: /* getopt has said what was wrong */
        fputs("`" NAME " --help` tells the options.\n", stderr);
        return 2;
    }
}

static int bad(const char *why)
{
    fprintf(stderr, NAME ": %s\n`" NAME " --help` tells the options.\n", why);
    return 2;
}

static int judge_disk(const struct blk_options *o)
{
    if (!via_is_pow2(o->block))
        return bad("--block-size must be a power of two");
    if (o->physical && (!via_is_pow2(o->physical) || o->physical < o->block))
        return bad("--physical-block-size must be a power of two, and no less than --block-size");
    if (o->own_kib % 4)
        return bad("--own-memory must be a multiple of 4");
    if (o->opt_io % o->block)
        return bad("--opt-io-size must be a multiple of --block-size");
    if (o->serial && strlen(o->serial) > VIA_BLK_ID_BYTES)
        return bad("--serial must have at most 20 bytes");
    return -1;
}

static int parse(struct blk_options *o, int argc, char **argv)
{
    int option, at = 0, status;
    while ((option = getopt_long(argc, argv, "", long_options, &at)) != -1)
        if ((status = take_option(o, option, long_options[at].name)) >= 0)
            return status;
    if (optind < argc)
        return bad("what is not an option is not understood");
    if (!o->socket_path == !o->have_fd)
        return bad("give either --socket-path or --fd");
    if (!o->file)
        return bad("give the image with --blk-file");
    if (!via_is_pow2(o->queue_size))
        return bad("--queue-size must be a power of two");
    if (o->seg_max > o->queue_size - 2)
        return bad("--seg-max must be at least 2 less than --queue-size");
    return judge_disk(o);
}

int main(int argc, char **argv)
{
    static struct blk blk = {.listener.fd = -1, .signals.fd = -1};
    struct blk_options options = {
        .queues = 1, .block = VIA_BLK_SECTOR, .queue_size = QUEUE_SIZE, .seg_max = SEG_MAX, .poll_us = POLL_US, .own_bit = VIA_OWN_BIT};
    struct via_err err = {.text = ""};
    int status = parse(&options, argc, argv);
    if (status >= 0)
        return status;
    blk.opt = &options;
    if (blk_run(&blk, &err) < 0) {
        say(&err);
        return 1;
    }
    return 0;
}
