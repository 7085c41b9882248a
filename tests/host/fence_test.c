/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fence, under load. A device with a thread of its own writes into requests' buffers late, and some of it after a while. The front-end
 * takes pages away from requests that are still out; when an invalidation has been answered, the page changes its owner, who fills it and
 * comes back later to see whether a byte is not his.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <tap.h>
#include <viaduct/vhost.h>

#include "scratch.h"

#define NUM 64u
#define PAGE 4096u
#define PAGES 64u /* of data; each request writes one */
#define RING_PAGES 4u
#define TOTAL (PAGES + RING_PAGES)
#define IOVA UINT64_C(0x100000000)
#define ENGINE NUM
#define OWNED 0xee
#define WRITTEN 0x5a

/* ------------------------------------------------------------------ the device: a worker writes, some time later */

struct engine {
    struct via_loop loop;
    struct via_watch wake;
    struct via_server server;
    struct via_device device;
    pthread_t loop_thread, worker;
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct via_req *todo[ENGINE], *ended[ENGINE];
    unsigned n_todo, n_ended;
    bool stop, closed;
    bool lies; /* it answers before it has written: what the test has to notice */
    struct via_span late[ENGINE];
    unsigned n_late;
    /* Or a disk: io_uring writes, some time later. */
    const char *image;
    struct via_file *file;
    struct via_blk_device disk;
    void *disk_storage;
    struct via_watch completions;
};

static void rest(unsigned us) { usleep(us); }

static void fill(const struct via_span *span, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        for (size_t k = 0; k < span[i].len; k++)
            via_shm_write((char *)span[i].ptr + k, &(uint8_t){WRITTEN}, 1);
}

static void *work(void *arg)
{
    struct engine *e = arg;
    unsigned seed = 1;
    pthread_mutex_lock(&e->lock);
    for (;;) {
        while (!e->n_todo && !e->stop)
            pthread_cond_wait(&e->more, &e->lock);
        if (e->stop && !e->n_todo)
            break;
        unsigned pick = (unsigned)rand_r(&seed) % e->n_todo;
        struct via_req *q = e->todo[pick];
        e->todo[pick] = e->todo[--e->n_todo];
        pthread_mutex_unlock(&e->lock);
        rest((unsigned)rand_r(&seed) % 300);
        fill(q->span + q->n_out, q->n_in);
        pthread_mutex_lock(&e->lock);
        e->ended[e->n_ended++] = q;
        via_event_signal(e->wake.fd);
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

static int submit(struct via_device *device, struct via_req *q)
{
    struct engine *e = via_container_of(device, struct engine, device);
    if (e->lies) { /* a copy of where, and an answer at once; the bytes come with the next request */
        for (unsigned i = 0; i < e->n_late; i++)
            fill(&e->late[i], 1);
        e->late[0] = q->span[q->n_out];
        e->n_late = 1;
        via_req_complete(q, PAGE);
        return 0;
    }
    pthread_mutex_lock(&e->lock);
    e->todo[e->n_todo++] = q;
    pthread_cond_signal(&e->more);
    pthread_mutex_unlock(&e->lock);
    return 0;
}

static int refuse(struct via_device *device, struct via_req *q)
{
    (void)device;
    via_req_complete(q, 0);
    return 0;
}

static const struct via_device_ops device_ops = {.submit = submit, .refuse = refuse};

static void wake_ready(struct via_watch *w, uint32_t events)
{
    struct engine *e = via_container_of(w, struct engine, wake);
    struct via_req *ended[ENGINE];
    (void)events;
    via_event_clear(w->fd);
    pthread_mutex_lock(&e->lock);
    unsigned n = e->n_ended;
    memcpy(ended, e->ended, n * sizeof(*ended));
    e->n_ended = 0;
    e->loop.stop = e->stop;
    pthread_mutex_unlock(&e->lock);
    for (unsigned i = 0; i < n; i++)
        via_req_complete(ended[i], PAGE);
    if (n)
        via_server_completed(&e->server, 0);
}

static int on_ring_start(struct via_server *s, unsigned index, unsigned num, struct via_device **device, struct via_err *err)
{
    struct engine *e = via_container_of(s, struct engine, server);
    (void)index, (void)num, (void)err;
    *device = e->image ? &e->disk.device : &e->device;
    return 0;
}

static void on_batch_end(struct via_server *s, unsigned index)
{
    struct engine *e = via_container_of(s, struct engine, server);
    (void)index;
    if (!e->file)
        return;
    via_file_submit(e->file);
    (void)via_file_reap(e->file); /* the descriptor tells of what ends later */
}

static void completions_ready(struct via_watch *w, uint32_t events)
{
    struct engine *e = via_container_of(w, struct engine, completions);
    (void)events;
    if (via_file_reap(e->file))
        via_server_completed(&e->server, 0);
}

static int on_config_get(struct via_server *s, uint32_t offset, uint8_t *out, uint32_t len)
{
    (void)s, (void)offset, (void)out, (void)len;
    return -VIA_ENOTSUP;
}

static void on_closed(struct via_server *s, const struct via_err *why)
{
    if (why->text[0])
        tap_note(why->text);
    via_container_of(s, struct engine, server)->closed = true;
}

static void on_warn(struct via_server *s, const struct via_err *what)
{
    (void)s;
    if (!strstr(what->text, "may not be written"))
        tap_note(what->text);
}

static const struct via_server_ops server_ops = {
    .config_get = on_config_get, .ring_start = on_ring_start, .batch_end = on_batch_end, .closed = on_closed, .warn = on_warn};

/* The thread that uses a file opens and closes it. */
static bool disk_open(struct engine *e)
{
    struct via_err err = {.text = ""};
    struct via_blk_limits limits = {0};
    const struct via_file_cfg cfg = {.path = e->image, .read_only = true, .direct = true, .depth = NUM};
    if (via_file_open(&e->file, &cfg, &err) < 0) {
        tap_note(err.text);
        return false;
    }
    via_file_limits(e->file, &limits);
    limits.seg_max = 4;
    limits.queues = 1;
    e->disk_storage = malloc(via_blk_device_bytes(NUM, 64));
    e->completions = (struct via_watch){.fd = via_file_fd(e->file), .ready = completions_ready};
    return via_blk_device_init(&e->disk, &limits, via_file_store(e->file), NUM, 64, e->disk_storage) == 0 &&
           via_loop_add(&e->loop, &e->completions, EPOLLIN) == 0;
}

static void *serve(void *arg)
{
    struct engine *e = arg;
    bool good = (!e->image || disk_open(e)) && via_loop_run(&e->loop) >= 0;
    if (e->file)
        via_file_close(e->file);
    e->file = NULL;
    return good ? NULL : arg;
}

static int engine_open(struct engine *e, bool lies, const char *image)
{
    int pair[2];
    struct via_err err;
    const struct via_server_cfg cfg = {.features = VIA_BIT(VIA_F_VERSION_1) | VIA_BIT(VIA_F_ACCESS_PLATFORM), .queues = 1, .num_max = NUM};
    memset(e, 0, sizeof(*e));
    e->lies = lies;
    e->image = image;
    e->device.ops = &device_ops;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->more, NULL);
    e->wake = (struct via_watch){.fd = via_event_create(), .ready = wake_ready};
    if (via_loop_init(&e->loop, 0, &err) < 0 || via_loop_add(&e->loop, &e->wake, EPOLLIN) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 ||
        via_server_open(&e->server, &server_ops, &cfg, &e->loop, pair[1], &err) < 0 || pthread_create(&e->worker, NULL, work, e) != 0 ||
        pthread_create(&e->loop_thread, NULL, serve, e) != 0)
        return -1;
    return pair[0];
}

static void engine_close(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    e->stop = true;
    pthread_cond_signal(&e->more);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->worker, NULL);
    via_event_signal(e->wake.fd);
    pthread_join(e->loop_thread, NULL);
    via_server_end(&e->server);
    while (!e->closed && via_loop_once(&e->loop, 1) >= 0)
        ;
    via_loop_close(&e->loop);
    free(e->disk_storage);
    close(e->wake.fd);
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->more);
}

/* ------------------------------------------------------------------ the front-end */

enum owner { FREE, DEVICE, OTHER };

static struct engine engine;
static struct front {
    struct via_client client;
    struct via_memory memory;
    struct via_vq vq;
    struct via_vq_slot slot[NUM];
    enum owner owner[PAGES];
    bool mapped[PAGES], out[PAGES]; /* out: a request names it */
    int kick, call;
    unsigned requests, taken_away, wide, refused;
    bool disk;
} front;

static uint8_t *page_of(unsigned page) { return front.memory.ptr + (RING_PAGES + page) * PAGE; }
static uint64_t iova_of(unsigned page) { return IOVA + (RING_PAGES + page) * PAGE; }

static int on_miss(struct via_client *c, const struct via_vu_iotlb *m)
{
    struct via_err err;
    uint64_t page = (m->iova - IOVA) / PAGE;
    if (page >= TOTAL || (page >= RING_PAGES && !front.mapped[page - RING_PAGES]))
        return -VIA_EFAULT;
    const struct via_vu_iotlb update = {
        .iova = m->iova, .size = PAGE, .uva = (uintptr_t)front.memory.ptr + page * PAGE, .perm = 3, .type = VIA_VU_IOTLB_UPDATE};
    return via_client_iotlb(c, &update, false, &err);
}

static bool front_open(int fd)
{
    struct via_err err = {.text = ""};
    struct via_split_layout lay;
    memset(&front, 0, sizeof(front));
    front.kick = via_event_create();
    front.call = via_event_create();
    CHECK_OR_FALSE(via_memory_create(&front.memory, "fence", (size_t)TOTAL * PAGE, &err) == 0);
    CHECK_OR_FALSE(via_client_adopt(&front.client, fd) == 0);
    front.client.miss = on_miss;
    uint64_t need = VIA_BIT(VIA_F_VERSION_1) | VIA_BIT(VIA_F_ACCESS_PLATFORM);
    CHECK_OR_FALSE(via_client_negotiate(&front.client, need, need, VIA_BIT(VIA_VU_PF_REPLY_ACK) | VIA_BIT(VIA_VU_PF_BACKEND_REQ), &err) ==
                   0);
    struct via_vu_region region = {.gpa = 0, .size = front.memory.len, .uva = (uintptr_t)front.memory.ptr};
    CHECK_OR_FALSE(via_client_share(&front.client, &region, &front.memory.fd, 1, &err) == 0);
    CHECK_OR_FALSE(via_split_layout(&lay, NUM, 4) == 0 && lay.total <= (RING_PAGES - 2) * PAGE);
    uint8_t *p = front.memory.ptr;
    struct via_vq_cfg cfg = {.num = NUM, .desc = p + lay.desc, .avail = p + lay.avail, .used = p + lay.used, .slot = front.slot};
    CHECK_OR_FALSE(via_vq_init(&front.vq, &cfg) == 0);
    CHECK_OR_FALSE(via_client_ring_start(&front.client, 0, NUM, IOVA + lay.desc, IOVA + lay.avail, IOVA + lay.used, 0, front.kick,
                                         front.call, &err) == 0);
    return true;
}

static void front_close(void)
{
    via_client_close(&front.client);
    via_memory_destroy(&front.memory);
    close(front.kick);
    close(front.call);
}

static bool invalidate(uint64_t start, uint64_t size)
{
    struct via_err err = {.text = ""};
    const struct via_vu_iotlb m = {.iova = start, .size = size, .type = VIA_VU_IOTLB_INVALIDATE};
    int result = via_client_iotlb(&front.client, &m, true, &err);
    if (result < 0)
        tap_note(err.text);
    return result == 0;
}

/* The new owner's bytes are all there? Then the page is free again. */
static unsigned strangers(unsigned page)
{
    unsigned n = 0;
    for (unsigned i = 0; i < PAGE; i++)
        n += page_of(page)[i] != OWNED;
    return n;
}

/* Of a disk: a read of one page. Header and status lie behind the ring, and stay mapped. */
static int add_read(unsigned page)
{
    struct via_blk_hdr *hdr = (struct via_blk_hdr *)(void *)(front.memory.ptr + (RING_PAGES - 2) * PAGE) + page;
    *hdr = (struct via_blk_hdr){.type = via_le32_make(VIA_BLK_T_IN), .sector = via_le64_make((uint64_t)page * (PAGE / VIA_BLK_SECTOR))};
    const struct via_seg seg[3] = {{{IOVA + (RING_PAGES - 2) * PAGE + page * sizeof(*hdr)}, sizeof(*hdr)},
                                   {{iova_of(page)}, PAGE},
                                   {{IOVA + (RING_PAGES - 1) * PAGE + page}, 1}};
    front.memory.ptr[(RING_PAGES - 1) * PAGE + page] = 0xff;
    return via_vq_add(&front.vq, seg, 1, 2, (void *)(uintptr_t)(page + 1));
}

static bool submit_page(unsigned page)
{
    const struct via_seg seg = {{iova_of(page)}, PAGE};
    if ((front.disk ? add_read(page) : via_vq_add(&front.vq, &seg, 0, 1, (void *)(uintptr_t)(page + 1))) < 0)
        return false;
    front.owner[page] = DEVICE;
    front.mapped[page] = front.out[page] = true;
    front.requests++;
    if (via_vq_publish(&front.vq))
        via_event_signal(front.kick);
    return true;
}

static bool reap(void)
{
    struct via_used_chain used;
    int n;
    while ((n = via_vq_reap(&front.vq, &used)) > 0) {
        unsigned page = (unsigned)(uintptr_t)used.token - 1;
        front.out[page] = false;
        front.refused += used.written == 0 || (front.disk && front.memory.ptr[(RING_PAGES - 1) * PAGE + page] != VIA_BLK_S_OK);
        if (front.owner[page] == DEVICE)
            front.owner[page] = FREE;
    }
    return n == 0;
}

/* The page is taken away, perhaps from a request that has not ended. */
static bool take_away(unsigned page, bool wide)
{
    front.mapped[page] = false;
    if (wide) {
        CHECK_OR_FALSE(invalidate(0, 0xfee00000) && invalidate(0xfef00000, 0xffffffff01100000));
        front.wide++;
    } else {
        CHECK_OR_FALSE(invalidate(iova_of(page), PAGE));
    }
    memset(page_of(page), OWNED, PAGE);
    front.owner[page] = OTHER;
    front.taken_away++;
    return true;
}

/* Until so many pages were taken away: the number of bytes that came late. */
static unsigned play(unsigned pages)
{
    unsigned seed = 7, late = 0;
    struct via_err err;
    while (front.taken_away < pages) {
        unsigned page = (unsigned)rand_r(&seed) % PAGES;
        if (front.owner[page] == OTHER) {
            late += strangers(page);
            front.owner[page] = FREE;
        }
        bool out = front.owner[page] == DEVICE, idle = front.owner[page] == FREE && !front.out[page];
        if ((out || (idle && front.mapped[page])) && rand_r(&seed) % 3 == 0) {
            if (!take_away(page, rand_r(&seed) % 16 == 0))
                return UINT32_MAX;
        } else if (idle) {
            (void)submit_page(page);
        }
        if (!reap() || via_client_back_req(&front.client, &err) < 0)
            return UINT32_MAX;
    }
    for (unsigned i = 0; i < 2000 && via_vq_inflight(&front.vq); i++) {
        if (via_client_back_req(&front.client, &err) < 0 || !reap())
            return UINT32_MAX;
        usleep(1000);
    }
    for (unsigned page = 0; page < PAGES; page++)
        late += front.owner[page] == OTHER ? strangers(page) : 0;
    return via_vq_inflight(&front.vq) ? UINT32_MAX : late;
}

static void told(void)
{
    char note[160];
    snprintf(note, sizeof(note), "%u requests, %u pages taken away (%u by a wide flush), %u requests refused, %u invalidations had to wait",
             front.requests, front.taken_away, front.wide, front.refused, (unsigned)engine.server.iotlb.fenced);
    tap_note(note);
}

static void no_byte_comes_late(void)
{
    int fd = engine_open(&engine, false, NULL);
    CHECK(fd >= 0 && front_open(fd));
    CHECK_EQ(play(2000), 0);
    front_close();
    engine_close(&engine);
    told();
    CHECK(front.wide > 10 && engine.server.iotlb.fenced > 10);
}

/* The same with a disk: the kernel writes into the pages, by io_uring and past the page cache. */
static void no_byte_comes_late_from_a_disk(void)
{
    char folder[64], image[96];
    static uint8_t bytes[PAGES * PAGE];
    memset(bytes, WRITTEN, sizeof(bytes));
    CHECK(scratch_make(".", folder));
    snprintf(image, sizeof(image), "%s/disk.img", folder);
    FILE *f = fopen(image, "wb");
    CHECK(f && fwrite(bytes, sizeof(bytes), 1, f) == 1 && fclose(f) == 0);
    int fd = engine_open(&engine, false, image);
    CHECK(fd >= 0 && front_open(fd));
    front.disk = true;
    CHECK_EQ(play(2000), 0);
    front_close();
    engine_close(&engine);
    scratch_remove(folder);
    told();
    CHECK(front.wide > 10 && front.requests > front.refused + 100);
}

/* What this test is worth: a device that answers before it has written is caught by it. */
static void a_device_that_writes_late_is_noticed(void)
{
    int fd = engine_open(&engine, true, NULL);
    CHECK(fd >= 0 && front_open(fd));
    CHECK(play(1000) > 0);
    front_close();
    engine_close(&engine);
}

TAP_MAIN(TEST(no_byte_comes_late), TEST(no_byte_comes_late_from_a_disk), TEST(a_device_that_writes_late_is_noticed))
