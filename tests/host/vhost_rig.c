/* SPDX-License-Identifier: BSD-2-Clause */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vhost_rig.h"

#define ANSWER_MASK 0x5a
#define REQUEST_BYTES 64u

/* ------------------------------------------------------------------ the toy device: turns bytes over */

static struct rig *rig_of(struct via_server *s) { return via_container_of(s, struct rig, server); }

static void answer(struct via_req *q)
{
    uint8_t bytes[REQUEST_BYTES] = {0};
    size_t len = via_spans_read(q->span, q->n_out, 0, bytes, sizeof(bytes));
    for (size_t i = 0; i < len; i++)
        bytes[i] ^= ANSWER_MASK;
    via_req_complete(q, (uint32_t)via_spans_write(q->span + q->n_out, q->n_in, 0, bytes, len));
}

static int submit(struct via_device *device, struct via_req *q)
{
    struct rig *r = via_container_of(device, struct rig, device);
    if (r->refuse)
        return -VIA_EAGAIN;
    if (r->hold)
        r->held[r->n_held++] = q;
    else
        answer(q);
    return 0;
}

/* A buffer that it may not touch: it answers with nothing. */
static int refuse(struct via_device *device, struct via_req *q)
{
    (void)device;
    via_req_complete(q, 0);
    return 0;
}

static const struct via_device_ops device_ops = {.submit = submit, .refuse = refuse};

static int on_config_get(struct via_server *s, uint32_t offset, uint8_t *out, uint32_t len)
{
    (void)s;
    for (uint32_t i = 0; i < len; i++)
        out[i] = (uint8_t)(offset + i);
    return offset + len <= RIG_CONFIG ? 0 : -VIA_ERANGE;
}

static int on_ring_start(struct via_server *s, unsigned index, unsigned num, struct via_device **device, struct via_err *err)
{
    *device = &rig_of(s)->device;
    return num >= 2 ? 0 : via_err_set(err, -VIA_EINVAL, "ring %u: too small for this device", index);
}

static void on_ring_stop(struct via_server *s, unsigned index)
{
    (void)index;
    rig_of(s)->stopped++;
}

static void keep(struct rig *r, struct via_err *where, const struct via_err *what, _Atomic unsigned *count)
{
    pthread_mutex_lock(&r->lock);
    *where = *what;
    pthread_mutex_unlock(&r->lock);
    ++*count;
}

static void on_closed(struct via_server *s, const struct via_err *why) { keep(rig_of(s), &rig_of(s)->why, why, &rig_of(s)->closed); }
static void on_warn(struct via_server *s, const struct via_err *what) { keep(rig_of(s), &rig_of(s)->warning, what, &rig_of(s)->warned); }

static const struct via_server_ops server_ops = {
    .config_get = on_config_get, .ring_start = on_ring_start, .ring_stop = on_ring_stop, .closed = on_closed, .warn = on_warn};

/* ------------------------------------------------------------------ its thread */

static void wake_ready(struct via_watch *w, uint32_t events)
{
    struct rig *r = via_container_of(w, struct rig, wake);
    const struct via_server_cfg cfg = {.features = RIG_FEATURES | r->features,
                                       .queues = RIG_QUEUES,
                                       .num_max = 1024,
                                       .config = true,
                                       .own_size = r->own_size,
                                       .own_bit = VIA_OWN_BIT,
                                       .iotlb_entries = r->iotlb_entries,
                                       .miss_limit_ms = r->miss_limit_ms};
    struct via_err err = {.text = ""};
    (void)events;
    via_event_clear(w->fd);
    while (!r->hold && r->n_held)
        answer(r->held[--r->n_held]);
    for (unsigned i = 0; r->server.open && i < RIG_QUEUES; i++)
        via_server_completed(&r->server, i);
    if (r->tell && r->server.open)
        via_server_config_changed(&r->server);
    if (r->leave)
        via_server_end(&r->server);
    int fd = atomic_exchange(&r->next, -1);
    if (fd >= 0 && via_server_open(&r->server, &server_ops, &cfg, &r->loop, fd, &err) == 0)
        r->opened++;
    r->loop.stop = r->stop;
}

static void *run(void *arg)
{
    struct rig *r = arg;
    return via_loop_run(&r->loop) < 0 ? r : NULL;
}

bool rig_open(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    r->next = -1;
    r->device.ops = &device_ops;
    pthread_mutex_init(&r->lock, NULL);
    CHECK_OR_FALSE(via_loop_init(&r->loop, 0, NULL) == 0);
    r->wake = (struct via_watch){.fd = via_event_create(), .ready = wake_ready};
    CHECK_OR_FALSE(via_loop_add(&r->loop, &r->wake, EPOLLIN) == 0);
    CHECK_OR_FALSE(pthread_create(&r->thread, NULL, run, r) == 0);
    return true;
}

void rig_close(struct rig *r)
{
    r->stop = true;
    rig_wake(r);
    pthread_join(r->thread, NULL);
    via_server_close(&r->server);
    via_loop_close(&r->loop);
    close(r->wake.fd);
    pthread_mutex_destroy(&r->lock);
}

void rig_wake(struct rig *r) { via_event_signal(r->wake.fd); }

int rig_connect(struct rig *r)
{
    int pair[2];
    unsigned opened = r->opened;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    r->next = pair[1];
    rig_wake(r);
    return rig_until(&r->opened, opened + 1) ? pair[0] : -1;
}

bool rig_until(const _Atomic unsigned *count, unsigned value)
{
    for (unsigned i = 0; i < 5000 && *count < value; i++)
        usleep(1000);
    return *count >= value;
}

static bool said(struct rig *r, const struct via_err *what, const char *text)
{
    pthread_mutex_lock(&r->lock);
    struct via_err copy = *what;
    pthread_mutex_unlock(&r->lock);
    if (*text ? strstr(copy.text, text) != NULL : !copy.text[0])
        return true;
    tap_note(copy.text);
    tap_note("should have told of:");
    tap_note(text);
    return false;
}

bool rig_ended(struct rig *r, const char *text) { return rig_until(&r->closed, r->opened) && said(r, &r->why, text); }
bool rig_warned(struct rig *r, const char *text) { return rig_until(&r->warned, 1) && said(r, &r->warning, text); }

/* ------------------------------------------------------------------ the front-end */

bool front_open(struct front *f, struct rig *r, uint64_t protocol)
{
    struct via_err err = {.text = ""};
    memset(f, 0, sizeof(*f));
    f->gpa = 0x40000000;
    f->kick = via_event_create();
    f->call = via_event_create();
    CHECK_OR_FALSE(via_memory_create(&f->memory, "front", FRONT_BYTES, &err) == 0);
    int fd = rig_connect(r);
    CHECK_OR_FALSE(fd >= 0 && via_client_adopt(&f->client, fd) == 0);
    int result = via_client_negotiate(&f->client, RIG_FEATURES | r->features, VIA_BIT(VIA_F_VERSION_1), protocol, &err);
    if (result < 0)
        tap_note(err.text);
    CHECK_OR_FALSE(result == 0);
    return true;
}

void front_close(struct front *f)
{
    via_client_close(&f->client);
    via_memory_destroy(&f->memory);
    close(f->kick);
    close(f->call);
}

struct via_vu_region front_region(const struct front *f)
{
    return (struct via_vu_region){.gpa = f->gpa, .size = f->memory.len, .uva = (uintptr_t)f->memory.ptr};
}

bool front_share(struct front *f)
{
    struct via_err err;
    struct via_vu_region region = front_region(f);
    CHECK_OR_FALSE(via_client_share(&f->client, &region, &f->memory.fd, 1, &err) == 0);
    return true;
}

bool front_start(struct front *f, unsigned index, int kick)
{
    struct via_split_layout lay;
    struct via_err err = {.text = ""};
    uint64_t at = (uintptr_t)f->memory.ptr;
    CHECK_OR_FALSE(via_split_layout(&lay, RIG_NUM, 4) == 0);
    memset(f->memory.ptr, 0, lay.total);
    struct via_vq_cfg cfg = {.num = RIG_NUM,
                             .desc = f->memory.ptr + lay.desc,
                             .avail = f->memory.ptr + lay.avail,
                             .used = f->memory.ptr + lay.used,
                             .slot = f->slot,
                             .event_idx = true};
    CHECK_OR_FALSE(via_vq_init(&f->vq, &cfg) == 0);
    int result = via_client_ring_start(&f->client, index, RIG_NUM, at + lay.desc, at + lay.avail, at + lay.used, 0, kick, f->call, &err);
    if (result < 0)
        tap_note(err.text);
    CHECK_OR_FALSE(result == 0);
    return true;
}

static uint8_t *request_bytes(struct front *f, unsigned tag) { return f->memory.ptr + FRONT_DATA + (size_t)tag * 2 * REQUEST_BYTES; }

bool front_submit(struct front *f, unsigned tag)
{
    uint8_t *at = request_bytes(f, tag);
    uint64_t addr = f->gpa + (uint64_t)(at - f->memory.ptr);
    const struct via_seg seg[2] = {{{addr}, REQUEST_BYTES}, {{addr + REQUEST_BYTES}, REQUEST_BYTES}};
    for (unsigned i = 0; i < REQUEST_BYTES; i++)
        at[i] = (uint8_t)(tag + i);
    memset(at + REQUEST_BYTES, 0, REQUEST_BYTES);
    CHECK_OR_FALSE(via_vq_add(&f->vq, seg, 1, 1, at) == 0);
    if (via_vq_publish(&f->vq))
        via_event_signal(f->kick);
    return true;
}

/* 1: an answer was taken. 0: none came. */
static int take(struct front *f, int timeout_ms)
{
    struct via_used_chain used;
    int n;
    while ((n = via_vq_reap(&f->vq, &used)) == 0) {
        struct pollfd p = {.fd = f->call, .events = POLLIN};
        if (!via_vq_arm(&f->vq) && poll(&p, 1, timeout_ms) == 0)
            return 0;
        via_event_clear(f->call); /* it may be an older answer's */
    }
    if (n < 0)
        return n;
    const uint8_t *at = used.token;
    for (unsigned i = 0; i < REQUEST_BYTES; i++)
        if (used.written != REQUEST_BYTES || at[REQUEST_BYTES + i] != (at[i] ^ ANSWER_MASK))
            return -1;
    return 1;
}

bool front_done(struct front *f, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        CHECK_OR_FALSE(take(f, 5000) == 1);
    return true;
}

bool front_nothing(struct front *f)
{
    CHECK_OR_FALSE(take(f, 50) == 0);
    return true;
}

bool front_live(struct rig *r)
{
    static struct front f;
    struct via_err err;
    uint16_t base = 0;
    CHECK_OR_FALSE(front_open(&f, r, RIG_PROTOCOL) && front_share(&f) && front_start(&f, 0, f.kick));
    for (unsigned i = 0; i < 4; i++)
        CHECK_OR_FALSE(front_submit(&f, i));
    CHECK_OR_FALSE(front_done(&f, 4));
    CHECK_OR_FALSE(via_client_ring_stop(&f.client, 0, &base, &err) == 0 && base == 4);
    front_close(&f);
    return rig_ended(r, "");
}

bool raw_send(int fd, uint32_t request, const void *payload, uint32_t size, const int *fds, unsigned nfd)
{
    struct via_vu_msg m = {.request = request, .flags = VIA_VU_VERSION, .size = size, .nfd = nfd};
    if (size)
        memcpy(m.payload, payload, size);
    for (unsigned i = 0; i < nfd; i++)
        m.fd[i] = fds[i];
    return via_sock_send(fd, &m, 2000, NULL) == 0;
}
