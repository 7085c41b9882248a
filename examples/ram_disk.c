/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ram_disk: a whole vhost-user block back-end over libviaduct: 64 MiB of memory as a disk. What is the disk's own is the store; socket,
 * session, memory map, rings and the block device are the library's. usage: ram_disk SOCKET
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include <viaduct/vhost.h>

#define BYTES (64u << 20)
#define DEPTH 256
#define SPANS 1100 /* of a request: what a queue of 1024 can bring, and a few pieces more */

static uint8_t disk[BYTES];

/* The store: here everything is done at once. One that takes its time returns 0 and calls done later, on the same thread. */
static int submit(struct via_blk_store *store, struct via_blk_io *io)
{
    (void)store;
    if (io->op == VIA_BLK_READ) {
        for (unsigned i = 0, at = 0; i < io->n; at += (unsigned)io->span[i++].len)
            memcpy(io->span[i].ptr, disk + io->offset + at, io->span[i].len);
    } else if (io->op == VIA_BLK_WRITE) {
        for (unsigned i = 0, at = 0; i < io->n; at += (unsigned)io->span[i++].len)
            memcpy(disk + io->offset + at, io->span[i].ptr, io->span[i].len);
    } else if (io->op != VIA_BLK_FLUSH) { /* discard, write zeroes */
        memset(disk + io->offset, 0, io->len);
    }
    io->done(io, 0);
    return 0;
}

static const struct via_blk_store_ops store_ops = {.submit = submit};
static struct via_blk_store store = {&store_ops};
static struct via_blk_device device;
static struct via_loop loop;
static struct via_server server;

static void on_features(struct via_server *s, uint64_t accepted)
{
    (void)s;
    device.features = accepted;
}

static int on_config_get(struct via_server *s, uint32_t offset, uint8_t *out, uint32_t len)
{
    (void)s;
    via_blk_device_config(&device, offset, out, len);
    return 0;
}

static int on_ring_start(struct via_server *s, unsigned index, unsigned num, struct via_device **d, struct via_err *err)
{
    (void)s, (void)index, (void)num, (void)err;
    *d = &device.device;
    return 0;
}

static void on_closed(struct via_server *s, const struct via_err *why)
{
    (void)s;
    if (why->text[0])
        fprintf(stderr, "ram_disk: %s\n", why->text);
    loop.stop = true;
}

static const struct via_server_ops server_ops = {
    .features = on_features, .config_get = on_config_get, .ring_start = on_ring_start, .closed = on_closed};

static void on_front_end(struct via_watch *listener, uint32_t events)
{
    struct via_err err = {.text = ""};
    struct via_server_cfg cfg = {.queues = 4, .num_max = 1024, .config = true};
    cfg.features = VIA_BIT(VIA_F_VERSION_1) | VIA_BIT(VIA_F_INDIRECT_DESC) | VIA_BIT(VIA_F_EVENT_IDX) | via_blk_device_features(&device);
    (void)events;
    int fd = via_sock_accept(listener->fd, &err);
    via_loop_remove(&loop, listener); /* one front-end, then the end */
    if (fd < 0 || via_server_open(&server, &server_ops, &cfg, &loop, fd, &err) < 0) {
        fprintf(stderr, "ram_disk: %s\n", err.text);
        loop.stop = true;
    }
}

int main(int argc, char **argv)
{
    struct via_err err = {.text = ""};
    struct via_blk_limits limits = {.capacity = BYTES,
                                    .blk_size = 512,
                                    .physical_size = 4096,
                                    .seg_max = 126,
                                    .queues = 4,
                                    .discard = true,
                                    .write_zeroes = true,
                                    .id = "ram"};
    struct via_watch listener = {.ready = on_front_end};
    if (argc != 2) {
        fputs("usage: ram_disk SOCKET\n", stderr);
        return 2;
    }
    void *storage = malloc(via_blk_device_bytes(DEPTH, SPANS)); /* until the end */
    if (!storage || via_blk_device_init(&device, &limits, &store, DEPTH, SPANS, storage) < 0 || via_loop_init(&loop, 50000, &err) < 0)
        return 1;
    listener.fd = via_sock_listen(argv[1], &err);
    if (listener.fd < 0 || via_loop_add(&loop, &listener, EPOLLIN) < 0 || via_loop_run(&loop) < 0) {
        fprintf(stderr, "ram_disk: %s\n", err.text);
        return 1;
    }
    via_loop_close(&loop);
    remove(argv[1]);
    return 0;
}
