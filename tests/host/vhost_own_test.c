/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory of the back-end's own: requests go through it, and the back-end gets nothing else. Back-ends that bring memory which is not what
 * it should be are refused; front-ends that take it and share theirs as well lose the connection.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vhost_rig.h"

#define OWN (VIA_BIT(VIA_OWN_BIT))
#define PROTOCOL (RIG_PROTOCOL | VIA_BIT(VIA_VU_PF_SHMEM))
#define SIZE ((uint64_t)FRONT_BYTES)

static struct rig rig;
static struct front f;
static struct via_client_region region;

/* ------------------------------------------------------------------ both ends, honest */

static bool own_open(uint64_t features)
{
    struct via_err err = {.text = ""};
    memset(&f, 0, sizeof(f));
    region = (struct via_client_region){0};
    f.kick = via_event_create();
    f.call = via_event_create();
    f.client.region = &region;
    int fd = rig_connect(&rig);
    CHECK_OR_FALSE(fd >= 0 && via_client_adopt(&f.client, fd) == 0);
    CHECK_OR_FALSE(via_client_negotiate(&f.client, RIG_FEATURES | features, VIA_BIT(VIA_F_VERSION_1) | features, PROTOCOL, &err) == 0);
    int result = via_client_region_wait(&f.client, &err);
    if (result < 0)
        tap_note(err.text);
    CHECK_OR_FALSE(result == 0 && region.mapped.len == SIZE && region.got == 1);
    f.memory = (struct via_memory){.fd = -1, .ptr = region.mapped.ptr, .len = SIZE};
    return true;
}

static void own_close(void)
{
    via_client_close(&f.client);
    if (region.mapped.ptr)
        via_mapped_close(&region.mapped);
    close(f.kick);
    close(f.call);
}

static bool own_start(unsigned index, uint64_t at)
{
    struct via_split_layout lay;
    struct via_err err = {.text = ""};
    CHECK_OR_FALSE(via_split_layout(&lay, RIG_NUM, 4) == 0);
    uint8_t *ring = f.memory.ptr + at;
    struct via_vq_cfg cfg = {
        .num = RIG_NUM, .desc = ring + lay.desc, .avail = ring + lay.avail, .used = ring + lay.used, .slot = f.slot, .event_idx = true};
    CHECK_OR_FALSE(via_vq_init(&f.vq, &cfg) == 0);
    return via_client_ring_start(&f.client, index, RIG_NUM, at + lay.desc, at + lay.avail, at + lay.used, 0, f.kick, f.call, &err) == 0;
}

static void offsets_lead_to_it(void)
{
    CHECK(rig_open(&rig));
    rig.own_size = SIZE;
    for (int round = 0; round < 2; round++) {
        CHECK(own_open(OWN));
        for (unsigned i = 0; i < SIZE; i += 8)
            CHECK(*(uint64_t *)(void *)(f.memory.ptr + i) == 0); /* nothing of who was here before */
        CHECK(own_start(0, 0));
        for (unsigned i = 0; i < 40; i += 4) {
            for (unsigned k = i; k < i + 4; k++)
                CHECK(front_submit(&f, k));
            CHECK(front_done(&f, 4));
        }
        own_close();
        CHECK(rig_ended(&rig, ""));
    }
    rig_close(&rig);
}

static void nobody_else_sees_a_difference(void)
{
    struct via_err err = {.text = ""};
    CHECK(rig_open(&rig));
    CHECK(front_open(&f, &rig, PROTOCOL));
    CHECK(!(f.client.front.offered & OWN) && !(f.client.front.protocol_offered & VIA_BIT(VIA_VU_PF_SHMEM)));
    f.client.region = &region;
    CHECK_EQ(via_client_region_wait(&f.client, &err), -VIA_ENOTSUP);
    CHECK(strstr(err.text, "no memory of its own"));
    front_close(&f);
    CHECK(rig_ended(&rig, ""));
    rig.own_size = SIZE; /* offered, and not accepted: memory is shared as ever */
    CHECK(front_live(&rig));
    rig_close(&rig);
}

/* ------------------------------------------------------------------ hostile front-ends */

static void shared_memory_beside_it_is_refused(void)
{
    struct via_err err;
    struct via_memory mine;
    CHECK(rig_open(&rig) && via_memory_create(&mine, "mine", SIZE, &err) == 0);
    rig.own_size = SIZE;
    CHECK(own_open(OWN) && own_start(0, 0) && front_submit(&f, 0) && front_done(&f, 1));
    struct via_vu_region r = {.gpa = 0x40000000, .size = SIZE, .uva = (uintptr_t)mine.ptr};
    CHECK(via_client_share(&f.client, &r, &mine.fd, 1, &err) < 0);
    CHECK(rig_ended(&rig, "it accepted to use the back-end's"));
    own_close();
    via_memory_destroy(&mine);
    CHECK(front_live(&rig));
    rig_close(&rig);
}

static void contradictions_end_the_connection(void)
{
    struct via_err err;
    CHECK(rig_open(&rig));
    rig.own_size = SIZE;
    rig.features = VIA_BIT(VIA_F_ACCESS_PLATFORM);
    CHECK(front_open(&f, &rig, PROTOCOL));
    CHECK(via_client_accept(&f.client, RIG_FEATURES | OWN | VIA_BIT(VIA_F_ACCESS_PLATFORM), &err) < 0);
    CHECK(rig_ended(&rig, "one of both"));
    front_close(&f);
    rig.features = 0;
    CHECK(front_open(&f, &rig, RIG_PROTOCOL));
    CHECK(via_client_accept(&f.client, RIG_FEATURES | OWN, &err) < 0);
    CHECK(rig_ended(&rig, "not the messages that bring it"));
    front_close(&f);
    CHECK(front_live(&rig));
    rig_close(&rig);
}

static void rings_outside_of_it_are_refused(void)
{
    struct via_err err;
    CHECK(rig_open(&rig));
    rig.own_size = SIZE;
    const uint64_t bad[] = {SIZE, SIZE - 64, UINT64_MAX & ~15ull, 1ull << 40};
    for (unsigned i = 0; i < via_array_len(bad); i++) {
        CHECK(own_open(OWN));
        int r = via_client_ring_start(&f.client, 0, RIG_NUM, bad[i], 0x1000, 0x2000, 0, f.kick, f.call, &err);
        uint16_t base = 1;
        CHECK(r < 0 || (via_client_ring_stop(&f.client, 0, &base, &err) == 0 && base == 0)); /* not a request was taken */
        own_close();
        CHECK(rig_until(&rig.closed, rig.opened));
    }
    for (unsigned i = 0; i < via_array_len(bad); i++) { /* and so are buffers: the ring is broken, and says so */
        const struct via_seg seg[2] = {{{bad[i]}, 64}, {{bad[i]}, 128}};
        unsigned before = rig.warned;
        CHECK(own_open(OWN) && own_start(0, 0));
        CHECK_EQ(via_vq_add(&f.vq, seg, 1, 1, &f), 0);
        if (via_vq_publish(&f.vq))
            via_event_signal(f.kick);
        CHECK(rig_until(&rig.warned, before + 1) && front_nothing(&f));
        own_close();
        CHECK(rig_until(&rig.closed, rig.opened));
    }
    CHECK(front_live(&rig));
    rig_close(&rig);
}

/* ------------------------------------------------------------------ hostile back-ends */

enum { SEALED, UNSEALED, SHORT, NO_MEMORY, READ_ONLY };

static int file_of(int kind)
{
    if (kind == NO_MEMORY)
        return open("/dev/zero", O_RDWR | O_CLOEXEC);
    int fd = memfd_create("lie", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (ftruncate(fd, kind == SHORT ? 0x3000 : 0x10000) < 0 || (kind != UNSEALED && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0))
        return -1;
    if (kind == READ_ONLY) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        int only = open(path, O_RDONLY | O_CLOEXEC);
        close(fd);
        return only;
    }
    return fd;
}

struct bring {
    struct via_vu_shmem s;
    int kind;
    uint64_t told; /* by GET_SHMEM_CONFIG */
    const char *why;
};

/* What comes by the channel is there already when it is waited for; the answer to GET_SHMEM_CONFIG is, too. */
static int bring(const struct bring *lie, unsigned times, struct via_err *err)
{
    int main[2], channel[2];
    struct via_vu_msg m = {.request = VIA_VU_BACK_SHMEM_MAP, .flags = VIA_VU_VERSION, .size = sizeof(lie->s), .nfd = 1};
    struct via_vu_msg config = {.request = VIA_VU_GET_SHMEM_CONFIG, .flags = VIA_VU_VERSION | VIA_VU_FLAG_REPLY, .size = 16};
    const uint64_t regions[2] = {1, lie->told};
    region = (struct via_client_region){0};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, main) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, channel) < 0)
        return 1;
    struct via_client *c = &f.client;
    *c = (struct via_client){.timeout_ms = 1000, .region = &region};
    if (via_client_adopt(c, main[0]) < 0)
        return 1;
    c->timeout_ms = 300;
    c->req_fd = channel[0];
    c->front.protocol = PROTOCOL;
    memcpy(m.payload, &lie->s, sizeof(lie->s));
    memcpy(config.payload, regions, sizeof(regions));
    m.fd[0] = file_of(lie->kind);
    int result = m.fd[0] < 0 || via_sock_send(main[1], &config, 100, err) < 0;
    for (unsigned i = 0; i < times && !result; i++)
        result = via_sock_send(channel[1], &m, 100, err) < 0;
    if (!result)
        result = via_client_region_wait(c, err);
    if (m.fd[0] >= 0)
        close(m.fd[0]);
    via_client_close(c);
    close(main[1]);
    close(channel[1]);
    return result;
}

#define PLAIN                                                                                                                              \
    {                                                                                                                                      \
        .len = 0x10000, .flags = VIA_VU_SHMEM_RW                                                                                           \
    }

static void lies_about_it_are_refused(void)
{
    static const struct bring lies[] = {
        {PLAIN, UNSEALED, 0x10000, "sealed against shrinking"},
        {PLAIN, SHORT, 0x10000, "not inside its file"},
        {PLAIN, NO_MEMORY, 0x10000, "sealed against shrinking"},
        {PLAIN, READ_ONLY, 0x10000, "writ"},
        {PLAIN, SEALED, 0x20000, "tells of 0x20000"},
        {PLAIN, SEALED, 0, "tells of 0x0"},
        {{.id = 1, .len = 0x10000, .flags = 1}, SEALED, 0x10000, "region 1"},
        {{.offset = 0x1000, .len = 0x10000, .flags = 1}, SEALED, 0x10000, "at 0x1000"},
        {{.fd_offset = 0x1000, .len = 0x10000, .flags = 1}, SEALED, 0x10000, "not inside its file"},
        {{.fd_offset = 8, .len = 0x8000, .flags = 1}, SEALED, 0x8000, "whole pages"},
        {{.fd_offset = UINT64_MAX & ~0xfffull, .len = 0x10000, .flags = 1}, SEALED, 0x10000, ""},
        {{.len = 0, .flags = 1}, SEALED, 0, "whole pages"},
        {{.len = 0x10001, .flags = 1}, SEALED, 0x10001, "whole pages"},
        {{.len = 1ull << 62, .flags = 1}, SEALED, 1ull << 62, "whole pages"},
        {{.len = 0x10000, .flags = 0}, SEALED, 0x10000, "not to be written"},
        {{.len = 0x10000, .flags = 3}, SEALED, 0x10000, "flags are unknown"},
    };
    for (unsigned i = 0; i < via_array_len(lies); i++) {
        struct via_err err = {.text = ""};
        CHECK(bring(&lies[i], 1, &err) < 0);
        if (!err.text[0] || !strstr(err.text, lies[i].why))
            tap_note(err.text);
        CHECK(err.text[0] && strstr(err.text, lies[i].why));
        CHECK(!region.mapped.ptr || lies[i].told != region.mapped.len);
        if (region.mapped.ptr)
            via_mapped_close(&region.mapped);
    }
    struct via_err err = {.text = ""};
    const struct bring honest = {PLAIN, SEALED, 0x10000, ""};
    CHECK_EQ(bring(&honest, 1, &err), 0);
    region.mapped.ptr[0xffff] = 1;
    via_mapped_close(&region.mapped);
    CHECK_EQ(bring(&honest, 0, &err), -VIA_ETIMEDOUT);
    CHECK(strstr(err.text, "in time"));
}

/* A second piece is refused and changes nothing. */
static void nothing_is_mapped_over_it(void)
{
    struct via_err err = {.text = ""};
    const struct bring honest = {PLAIN, SEALED, 0x10000, ""};
    (void)bring(&honest, 2, &err); /* whether both were read by then or one */
    CHECK(region.mapped.ptr && region.mapped.len == 0x10000 && region.got >= 1);
    if (region.got == 2)
        CHECK(strstr(region.refused.text, "second piece"));
    via_mapped_close(&region.mapped);
}

TAP_MAIN(TEST(offsets_lead_to_it), TEST(nobody_else_sees_a_difference), TEST(shared_memory_beside_it_is_refused),
         TEST(contradictions_end_the_connection), TEST(rings_outside_of_it_are_refused), TEST(lies_about_it_are_refused),
         TEST(nothing_is_mapped_over_it))
