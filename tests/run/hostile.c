/* SPDX-License-Identifier: BSD-2-Clause */
/* hostile: the program around the attacks: serves one front-end, then tells what it found. */
#define OWN (UINT64_C(4) << 20) /* bytes of its own memory */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <json-c/json.h>

#include "hostile.h"

#define NOBODY 65534
#define DEPTH 128u
#define SPANS 1088u
#define SLICE (256u << 10) /* bytes of memory looked at between two batches of requests */

struct hostile hostile;

static struct program {
    struct via_loop loop;
    struct via_server server;
    struct via_file *file;
    struct via_blk_device device;
    struct via_blk_store store, *honest_store;
    struct via_watch completions;
    struct via_poller poller;
    struct liar liar;
    bool serving, attacked;
    bool own; /* offers memory of its own */
    const char *socket, *image, *json, *lie;
    unsigned after;
} program;

/* ------------------------------------------------------------------ canaries */

bool hostile_arm(void)
{
    char hex[2][2 * CANARY + 1];
    FILE *f = hostile.armed || !hostile.canary_path ? NULL : fopen(hostile.canary_path, "re");
    if (!f)
        return hostile.armed;
    hostile.armed = fscanf(f, "%64s %64s", hex[0], hex[1]) == 2;
    for (unsigned k = 0; hostile.armed && k < 2; k++)
        for (unsigned i = 0; i < CANARY; i++) {
            char digits[3] = {hex[k][2 * i], hex[k][2 * i + 1], 0};
            hostile.inverted[k][i] = (uint8_t)strtoul(digits, NULL, 16);
        }
    fclose(f);
    return hostile.armed;
}

static bool is_canary(const uint8_t *p, const uint8_t *inverted)
{
    uint8_t wrong = 0;
    for (unsigned i = 0; i < CANARY; i++)
        wrong |= (uint8_t)(p[i] ^ inverted[i] ^ 0xff);
    return !wrong;
}

/* Of what it finds in its own mappings, and can write there. */
static void overwrite(enum mean mean, const uint8_t *canary)
{
    if (hostile.overwrites && mean == MEAN_REGIONS)
        memset((void *)(uintptr_t)canary, 0xee, CANARY);
}

void hostile_scan(enum mean mean, const void *mem, size_t len)
{
    struct trial *t = &hostile.trial[mean];
    const uint8_t *p = mem;
    uint64_t first[2];
    if (!hostile_arm() || len < CANARY)
        return;
    memcpy(&first[0], hostile.inverted[0], 8);
    memcpy(&first[1], hostile.inverted[1], 8);
    t->bytes += len;
    for (size_t i = 0; i + CANARY <= len; i++) {
        uint64_t word;
        memcpy(&word, p + i, 8);
        word = ~word;
        if (word == first[0] && is_canary(p + i, hostile.inverted[0])) {
            t->found[0] = true;
            overwrite(mean, p + i);
        }
        if (word == first[1])
            t->found[1] |= is_canary(p + i, hostile.inverted[1]);
    }
}

static void attack(struct via_server *s)
{
    hostile_memory(s);
    unsigned had = hostile.files;
    hostile_peers(s->fd, &s->map);
    if (hostile.files > had)
        hostile_memory(s); /* with what the peers gave away */
}

/* ------------------------------------------------------------------ serving */

/* Each message passes here on its way to the server: the linker puts this in its place (--wrap). */
int __real_via_sock_recv(int fd, struct via_sock_rx *rx, struct via_err *err);
int __wrap_via_sock_recv(int fd, struct via_sock_rx *rx, struct via_err *err);
int __wrap_via_sock_recv(int fd, struct via_sock_rx *rx, struct via_err *err)
{
    int r = __real_via_sock_recv(fd, rx, err);
    for (unsigned i = 0; r == 1 && i < rx->msg.nfd; i++)
        hostile_keep(rx->msg.fd[i]);
    return r;
}

/* The rest of the pages that a small buffer begins and ends in. */
static int scribbling_submit(struct via_blk_store *s, struct via_blk_io *io)
{
    (void)s;
    for (unsigned i = 0; io->op == VIA_BLK_READ && !program.lie && i < io->n; i++) {
        uintptr_t start = (uintptr_t)io->span[i].ptr, end = start + io->span[i].len;
        if (io->span[i].len >= 4096)
            continue;
        hostile.trial[MEAN_SCRIBBLE].tried++;
        memset((void *)(start & ~(uintptr_t)4095), 0xee, start & 4095);
        memset((void *)end, 0xee, -end & 4095);
    }
    return program.honest_store->ops->submit(program.honest_store, io);
}

static const struct via_blk_store_ops store_ops = {.submit = scribbling_submit};

static void on_features(struct via_server *s, uint64_t accepted)
{
    (void)s;
    program.device.features = accepted;
}

static int on_config_get(struct via_server *s, uint32_t offset, uint8_t *out, uint32_t len)
{
    (void)s;
    via_blk_device_config(&program.device, offset, out, len);
    return 0;
}

static int on_ring_start(struct via_server *s, unsigned index, unsigned num, struct via_device **device, struct via_err *err)
{
    (void)index, (void)num, (void)err;
    liar_init(&program.liar, &program.device.device, s, program.lie, program.after);
    *device = &program.liar.device;
    if (!program.lie)
        attack(s); /* before anything was asked for: old content */
    return 0;
}

static void on_ring_stop(struct via_server *s, unsigned index)
{
    (void)index;
    if (!program.lie)
        attack(s); /* after everything was */
    program.attacked = true;
}

static bool completions_poll(struct via_poller *p)
{
    (void)p;
    if (!via_file_reap(program.file))
        return false;
    if (program.serving)
        via_server_completed(&program.server, 0);
    return true;
}

static void completions_ready(struct via_watch *w, uint32_t events)
{
    (void)events;
    via_event_clear(w->fd);
    (void)completions_poll(NULL);
}

static void on_batch_end(struct via_server *s, unsigned index)
{
    (void)index;
    via_file_submit(program.file);
    via_file_reap(program.file);
    if (!program.lie)
        hostile_slice(&s->map, SLICE);
}

static void on_closed(struct via_server *s, const struct via_err *why)
{
    (void)s;
    if (why->text[0])
        fprintf(stderr, "viaduct-hostile: %s\n", why->text);
    program.serving = false;
    program.loop.stop = true;
}

static const struct via_server_ops server_ops = {
    .features = on_features,
    .config_get = on_config_get,
    .ring_start = on_ring_start,
    .ring_stop = on_ring_stop,
    .batch_end = on_batch_end,
    .closed = on_closed,
};

static int open_disk(struct via_err *err)
{
    struct via_file_cfg cfg = {.path = program.image, .read_only = access(program.image, W_OK) != 0, .depth = DEPTH};
    struct via_blk_limits limits = {0};
    int r = via_file_open(&program.file, &cfg, err);
    if (r)
        return r;
    via_file_limits(program.file, &limits);
    limits.seg_max = 126;
    limits.queues = 1;
    program.honest_store = via_file_store(program.file);
    program.store.ops = &store_ops;
    void *storage = malloc(via_blk_device_bytes(DEPTH, SPANS));
    if (!storage || via_blk_device_init(&program.device, &limits, &program.store, DEPTH, SPANS, storage))
        return via_err_set(err, -VIA_EINVAL, "%s can't be served", program.image);
    program.completions = (struct via_watch){.fd = via_file_fd(program.file), .ready = completions_ready};
    program.poller = (struct via_poller){.poll = completions_poll, .arm = completions_poll};
    via_loop_add_poller(&program.loop, &program.poller);
    return via_loop_add(&program.loop, &program.completions, EPOLLIN);
}

/* Become nobody: what root may do proves nothing. */
static int drop(struct via_err *err)
{
    if (geteuid())
        return 0;
    if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY))
        return via_err_set(err, -errno, "can't become nobody: %s", strerror(errno));
    return 0;
}

static int wait_for_peer(int listener, struct via_err *err)
{
    for (;;) {
        int fd = via_sock_accept(listener, err);
        if (fd != -VIA_EAGAIN)
            return fd;
        usleep(2000);
    }
}

static int serve(struct via_err *err)
{
    struct via_server_cfg cfg = {.queues = 1, .num_max = 1024, .config = true};
    int r = via_loop_init(&program.loop, 0, err);
    if (!r)
        r = open_disk(err);
    if (r)
        return r;
    int listener = via_sock_listen(program.socket, err);
    r = listener < 0 ? listener : chmod(program.socket, 0666) ? via_err_set(err, -errno, "chmod: %s", strerror(errno)) : drop(err);
    int fd = r ? r : wait_for_peer(listener, err);
    if (fd < 0)
        return fd;
    cfg.features = VIA_BIT(VIA_F_VERSION_1) | VIA_BIT(VIA_F_INDIRECT_DESC) | VIA_BIT(VIA_F_EVENT_IDX) | VIA_BIT(VIA_F_ACCESS_PLATFORM) |
                   via_blk_device_features(&program.device);
    cfg.own_size = program.own ? OWN : 0;
    cfg.own_bit = VIA_OWN_BIT;
    program.serving = true;
    r = via_server_open(&program.server, &server_ops, &cfg, &program.loop, fd, err);
    return r ? r : via_loop_run(&program.loop);
}

/* ------------------------------------------------------------------ what was found */

static const char *const mean_names[MEANS] = {"regions",           "whole_files", "remap",           "beyond_end",
                                              "addresses_outside", "proc_mem",    "vm_readv",        "proc_descriptors",
                                              "pidfd_getfd",       "ptrace",      "scribble_around", "unreported_bytes"};

static void add_u64(struct json_object *o, const char *name, uint64_t v) { json_object_object_add(o, name, json_object_new_uint64(v)); }

static struct json_object *found_json(const bool found[2])
{
    struct json_object *o = json_object_new_object();
    json_object_object_add(o, "driver_private", json_object_new_boolean(found[0]));
    json_object_object_add(o, "other_device", json_object_new_boolean(found[1]));
    return o;
}

static int report(void)
{
    struct json_object *o = json_object_new_object(), *means = json_object_new_array();
    bool found[2] = {false, false};
    uint64_t bytes = 0;
    for (unsigned i = 0; i < MEANS; i++) {
        const struct trial *t = &hostile.trial[i];
        struct json_object *m = json_object_new_object();
        json_object_object_add(m, "name", json_object_new_string(mean_names[i]));
        add_u64(m, "tried", t->tried);
        add_u64(m, "worked", t->worked);
        add_u64(m, "bytes_scanned", t->bytes);
        json_object_object_add(m, "found", found_json(t->found));
        json_object_array_add(means, m);
        found[0] |= t->found[0];
        found[1] |= t->found[1];
        bytes += t->bytes;
    }
    json_object_object_add(o, "found", found_json(found));
    json_object_object_add(o, "armed", json_object_new_boolean(hostile.armed && program.attacked));
    add_u64(o, "bytes_scanned", bytes);
    json_object_object_add(o, "means", means);
    int r = printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY)) < 0;
    json_object_put(o);
    return r;
}

static int usage(void)
{
    fputs("usage: viaduct-hostile --socket-path=PATH --blk-file=FILE [--canaries=FILE [--overwrite]] [--lie=KIND [--after=REQUESTS]] "
          "[--own-memory]\n",
          stderr);
    return 2;
}

static int parse(int argc, char **argv)
{
    static const struct option options[] = {{"socket-path", required_argument, NULL, 's'}, {"blk-file", required_argument, NULL, 'b'},
                                            {"canaries", required_argument, NULL, 'c'},    {"lie", required_argument, NULL, 'l'},
                                            {"after", required_argument, NULL, 'a'},       {"overwrite", no_argument, NULL, 'o'},
                                            {"own-memory", no_argument, NULL, 'm'},        {NULL, 0, NULL, 0}};
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 's')
            program.socket = optarg;
        else if (c == 'b')
            program.image = optarg;
        else if (c == 'c')
            hostile.canary_path = optarg;
        else if (c == 'l')
            program.lie = optarg;
        else if (c == 'o')
            hostile.overwrites = true;
        else if (c == 'm')
            program.own = true;
        else if (c == 'a')
            program.after = (unsigned)strtoul(optarg, NULL, 10);
        else
            return usage();
    }
    return program.socket && program.image && optind == argc && (!program.lie || liar_knows(program.lie)) ? 0 : usage();
}

int main(int argc, char **argv)
{
    struct via_err err = {.text = ""};
    int r = parse(argc, argv);
    if (r)
        return r;
    signal(SIGPIPE, SIG_IGN);
    r = serve(&err);
    unlink(program.socket);
    if (r) {
        fprintf(stderr, "viaduct-hostile: %s\n", err.text[0] ? err.text : strerror(-r));
        return 1;
    }
    return report();
}
