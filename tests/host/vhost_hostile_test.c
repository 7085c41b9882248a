/* SPDX-License-Identifier: BSD-2-Clause */
/* Bad front-ends: each is told apart, leaves nothing behind, and the next connection works. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vhost_rig.h"

static struct rig rig;
static struct front front;

struct table {
    uint32_t n, pad;
    struct via_vu_region region[VIA_VU_TABLE_REGIONS];
};

/* ------------------------------------------------------------------ what says the wrong thing; each returns false when it could not say it
 */

static bool owner(int fd) { return raw_send(fd, VIA_VU_SET_OWNER, NULL, 0, NULL, 0); }

static bool speaks_http(int fd) { return write(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27) == 27; }

static bool claims_a_huge_message(int fd)
{
    const uint32_t hdr[3] = {VIA_VU_SET_FEATURES, VIA_VU_VERSION, UINT32_MAX};
    return write(fd, hdr, sizeof(hdr)) == sizeof(hdr);
}

static bool answers_unasked(int fd)
{
    const uint32_t hdr[3] = {VIA_VU_GET_FEATURES, VIA_VU_VERSION | VIA_VU_FLAG_REPLY, 0};
    return write(fd, hdr, sizeof(hdr)) == sizeof(hdr);
}

static bool kicks_before_features(int fd)
{
    const uint32_t num[2] = {0, 16}, base[2] = {0, 0};
    const uint64_t addr[5] = {0, 0x1000, 0x3000, 0x2000, 0}, index = VIA_VU_NOFD;
    return owner(fd) && raw_send(fd, VIA_VU_SET_VRING_NUM, num, 8, NULL, 0) && raw_send(fd, VIA_VU_SET_VRING_BASE, base, 8, NULL, 0) &&
           raw_send(fd, VIA_VU_SET_VRING_ADDR, addr, 40, NULL, 0) && raw_send(fd, VIA_VU_SET_VRING_KICK, &index, 8, NULL, 0);
}

static bool starts_a_ring_nowhere(int fd)
{
    const uint32_t num[2] = {0, 16}, base[2] = {0, 0};
    const uint64_t addr[5] = {0, 0x1000, 0x3000, 0x2000, 0}, index = VIA_VU_NOFD, features = RIG_FEATURES;
    return owner(fd) && raw_send(fd, VIA_VU_SET_FEATURES, &features, 8, NULL, 0) && raw_send(fd, VIA_VU_SET_VRING_NUM, num, 8, NULL, 0) &&
           raw_send(fd, VIA_VU_SET_VRING_BASE, base, 8, NULL, 0) && raw_send(fd, VIA_VU_SET_VRING_ADDR, addr, 40, NULL, 0) &&
           raw_send(fd, VIA_VU_SET_VRING_KICK, &index, 8, NULL, 0);
}

static bool sends_half_a_number(int fd) { return owner(fd) && raw_send(fd, VIA_VU_SET_VRING_NUM, "\0\0\0", 3, NULL, 0); }

static bool wants_ring_200(int fd)
{
    const uint32_t num[2] = {200, 16};
    return owner(fd) && raw_send(fd, VIA_VU_SET_VRING_NUM, num, 8, NULL, 0);
}

static bool brings_nine_descriptors(int fd)
{
    char control[CMSG_SPACE(9 * sizeof(int))] = {0};
    const uint32_t hdr[3] = {VIA_VU_SET_OWNER, VIA_VU_VERSION, 0};
    struct iovec iov = {(void *)(uintptr_t)hdr, sizeof(hdr)};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&h);
    *c = (struct cmsghdr){.cmsg_len = CMSG_LEN(9 * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    for (unsigned i = 0; i < 9; i++)
        memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof(int));
    return sendmsg(fd, &h, 0) == sizeof(hdr);
}

static bool brings_a_descriptor_for_nothing(int fd) { return raw_send(fd, VIA_VU_GET_FEATURES, NULL, 0, &fd, 1); }

static bool send_table(int fd, const struct table *t, int memory, unsigned nfd)
{
    const int fds[VIA_VU_TABLE_REGIONS] = {memory, memory, memory, memory, memory, memory, memory, memory};
    return owner(fd) && raw_send(fd, VIA_VU_SET_MEM_TABLE, t, 8 + 32 * t->n, fds, nfd);
}

static bool with_memory(int fd, const struct table *t, unsigned nfd)
{
    int memory = memfd_create("hostile", MFD_CLOEXEC);
    bool ok = memory >= 0 && ftruncate(memory, 0x10000) == 0 && send_table(fd, t, memory, nfd);
    close(memory);
    return ok;
}

static bool names_regions_without_descriptors(int fd)
{
    const struct table t = {.n = 2, .region = {{0, 0x1000, 0x100000, 0}, {0x1000, 0x1000, 0x200000, 0}}};
    return with_memory(fd, &t, 1);
}

static bool shares_beyond_the_end(int fd)
{
    const struct table t = {.n = 1, .region = {{0, 0x10000, 0x100000, 0x1000}}};
    return with_memory(fd, &t, 1);
}

static bool shares_misaligned(int fd)
{
    const struct table t = {.n = 1, .region = {{0x100, 0x1000, 0x100000, 0}}};
    return with_memory(fd, &t, 1);
}

static bool shares_overlapping(int fd)
{
    const struct table t = {.n = 2, .region = {{0, 0x2000, 0x100000, 0}, {0x1000, 0x2000, 0x200000, 0x2000}}};
    return with_memory(fd, &t, 2);
}

static bool shares_its_socket(int fd)
{
    const struct table t = {.n = 1, .region = {{0, 0x1000, 0x100000, 0}}};
    return send_table(fd, &t, fd, 1);
}

static bool removes_what_is_not_there(int fd)
{
    const uint64_t pf = VIA_BIT(VIA_VU_PF_CONFIGURE_MEM_SLOTS), region[5] = {0, 0, 0x1000, 0x100000, 0};
    return raw_send(fd, VIA_VU_GET_FEATURES, NULL, 0, NULL, 0) && owner(fd) &&
           raw_send(fd, VIA_VU_SET_PROTOCOL_FEATURES, &pf, 8, NULL, 0) && raw_send(fd, VIA_VU_REM_MEM_REG, region, 40, NULL, 0);
}

static bool dies_in_the_middle(int fd)
{
    const uint32_t hdr[2] = {VIA_VU_SET_FEATURES, VIA_VU_VERSION};
    return write(fd, hdr, sizeof(hdr)) == sizeof(hdr) && shutdown(fd, SHUT_WR) == 0;
}

static bool never_reads(int fd)
{
    while (raw_send(fd, VIA_VU_GET_FEATURES, NULL, 0, NULL, 0))
        ;
    return true;
}

static bool kick_with(int fd, enum via_vu_request what, int with)
{
    const uint64_t index = 1;
    bool ok = with >= 0 && owner(fd) && raw_send(fd, what, &index, 8, &with, 1);
    close(with);
    return ok;
}

static bool calls_into_a_file(int fd) { return kick_with(fd, VIA_VU_SET_VRING_CALL, memfd_create("call", MFD_CLOEXEC)); }
static bool errs_into_a_socket(int fd) { return kick_with(fd, VIA_VU_SET_VRING_ERR, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)); }

static const struct {
    bool (*say)(int fd);
    const char *why; /* a part of what is said about it */
} bad[] = {
    {speaks_http, "the peer's message"},
    {claims_a_huge_message, "the peer's message"},
    {answers_unasked, "only requests are due"},
    {kicks_before_features, "out of order"},
    {starts_a_ring_nowhere, "is in no memory region"},
    {sends_half_a_number, "SET_VRING_NUM"},
    {wants_ring_200, "ring that this device does not have"},
    {brings_nine_descriptors, "more than 8 descriptors"},
    {brings_a_descriptor_for_nothing, "GET_FEATURES"},
    {names_regions_without_descriptors, "descriptors"},
    {shares_beyond_the_end, "is not inside its file"},
    {shares_misaligned, "misaligned"},
    {shares_overlapping, "overlap"},
    {shares_its_socket, "neither memory nor a file"},
    {removes_what_is_not_there, "REM_MEM_REG"},
    {dies_in_the_middle, "in the middle of a message"},
    {never_reads, "does not take the answer"},
    {calls_into_a_file, "neither an eventfd nor a pipe"},
    {errs_into_a_socket, "neither an eventfd nor a pipe"},
};

static void each_offence_is_named_and_leaves_nothing(void)
{
    CHECK(rig_open(&rig) && front_live(&rig));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        unsigned fds = scratch_open_fds(), maps = scratch_maps();
        int fd = rig_connect(&rig);
        CHECK(fd >= 0);
        CHECK(bad[i].say(fd));
        CHECK(rig_ended(&rig, bad[i].why));
        close(fd);
        CHECK_EQ(scratch_open_fds(), fds);
        CHECK_EQ(scratch_maps(), maps);
        CHECK(front_live(&rig));
    }
    rig_close(&rig);
}

/* ------------------------------------------------------------------ what goes wrong later */

static bool begin(void) { return rig_open(&rig) && front_open(&front, &rig, RIG_PROTOCOL) && front_share(&front); }

static bool end(void)
{
    front_close(&front);
    bool ok = rig_ended(&rig, "") && front_live(&rig);
    rig_close(&rig);
    return ok;
}

static void a_front_end_that_dies_with_requests_in_flight(void)
{
    CHECK(begin() && front_start(&front, 0, front.kick));
    rig.hold = true;
    CHECK(front_submit(&front, 0) && front_submit(&front, 1));
    CHECK(rig_until(&rig.n_held, 2));
    front_close(&front);
    usleep(50000);
    CHECK_EQ(rig.closed, 0); /* the device still has its memory */
    rig.hold = false;
    rig_wake(&rig);
    CHECK(rig_ended(&rig, ""));
    CHECK(front_live(&rig));
    rig_close(&rig);
}

static void memory_that_shrinks_under_a_running_ring(void)
{
    int fd = memfd_create("shrinks", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
    CHECK(rig_open(&rig) && front_open(&front, &rig, RIG_PROTOCOL));
    int sealed = front.memory.fd;
    munmap(front.memory.ptr, front.memory.len);
    front.memory.ptr = mmap(NULL, front.memory.len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    front.memory.fd = fd;
    CHECK(front_share(&front) && front_start(&front, 0, front.kick));
    CHECK(front_submit(&front, 0) && front_done(&front, 1));
    CHECK(ftruncate(fd, 0) == 0);
    via_event_signal(front.kick);
    CHECK(rig_ended(&rig, "shrank"));
    close(sealed);
    front_close(&front);
    CHECK(front_live(&rig));
    rig_close(&rig);
}

static void a_chain_that_loops_breaks_its_ring_alone(void)
{
    struct via_err err;
    uint16_t base;
    int error = via_event_create();
    const uint64_t index = 0;
    CHECK(begin() && front_start(&front, 0, front.kick));
    CHECK(raw_send(front.client.fd, VIA_VU_SET_VRING_ERR, &index, 8, &error, 1));
    CHECK(front_submit(&front, 0) && front_done(&front, 1));
    struct via_desc *desc = front.vq.cfg.desc;
    struct via_avail *avail = front.vq.cfg.avail;
    for (unsigned i = 0; i < RIG_NUM; i++)
        desc[i] = (struct via_desc){via_le64_make(front.gpa), via_le32_make(16), via_le16_make(VIA_DESC_F_NEXT), via_le16_make(0)};
    via_shm_put16_release(&avail->idx, 2);
    via_event_signal(front.kick);
    CHECK(rig_warned(&rig, "ring 0 is broken"));
    struct pollfd p = {.fd = error, .events = POLLIN};
    CHECK_EQ(poll(&p, 1, 5000), 1);
    CHECK_EQ(rig.closed, 0);
    CHECK_EQ(via_client_ring_stop(&front.client, 0, &base, &err), 0);
    CHECK(front_start(&front, 0, front.kick) && front_submit(&front, 0) && front_done(&front, 1));
    close(error);
    CHECK(end());
}

static bool kick_refused(int kick, const char *why)
{
    struct via_err err;
    CHECK_OR_FALSE(kick >= 0 && front_open(&front, &rig, RIG_PROTOCOL) && front_share(&front));
    int result = via_client_ring_start(&front.client, 0, RIG_NUM, (uintptr_t)front.memory.ptr, (uintptr_t)front.memory.ptr + 0x1000,
                                       (uintptr_t)front.memory.ptr + 0x2000, 0, kick, front.call, &err);
    CHECK_OR_FALSE(result < 0);
    close(kick);
    front_close(&front);
    return rig_ended(&rig, why);
}

static void kicks_that_are_no_kicks(void)
{
    int hung[2];
    CHECK(rig_open(&rig));
    CHECK(kick_refused(memfd_create("kick", MFD_CLOEXEC), "neither an eventfd nor a pipe"));
    CHECK(kick_refused(open("/dev/zero", O_RDWR | O_CLOEXEC), "neither an eventfd nor a pipe"));
    CHECK(kick_refused(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "neither an eventfd nor a pipe"));
    CHECK(pipe(hung) == 0);
    close(hung[1]);
    CHECK(front_open(&front, &rig, RIG_PROTOCOL) && front_share(&front) && front_start(&front, 0, hung[0]));
    CHECK(rig_warned(&rig, "hung its kick descriptor up"));
    close(hung[0]);
    CHECK(end());
}

static void a_pipe_may_be_a_kick(void)
{
    int kick[2];
    CHECK(begin() && pipe(kick) == 0 && front_start(&front, 0, kick[0]));
    close(kick[0]);
    for (unsigned i = 0; i < 3; i++)
        CHECK(front_submit(&front, i) && write(kick[1], "12345678", 8) == 8 && front_done(&front, 1));
    CHECK(end());
    close(kick[1]);
}

static void floods_neither_stop_a_ring_nor_fill_a_log(void)
{
    CHECK(begin() && front_start(&front, 0, front.kick));
    for (unsigned i = 0; i < 2000; i++) {
        CHECK(raw_send(front.client.fd, 4242, NULL, 0, NULL, 0));
        if (i % 100 == 0)
            CHECK(front_submit(&front, i % 64) && front_done(&front, 1));
    }
    CHECK(rig_until(&rig.warned, 16));
    usleep(10000);
    CHECK_EQ(rig.warned, 16);
    CHECK(end());
}

static void unknown_kinds_of_descriptors_come_back_closed(void)
{
    unsigned fds = scratch_open_fds();
    CHECK(begin());
    for (unsigned i = 0; i < 50; i++)
        CHECK(raw_send(front.client.fd, 4242, NULL, 0, &front.kick, 1));
    CHECK(end());
    CHECK_EQ(scratch_open_fds(), fds);
}

TAP_MAIN(TEST(each_offence_is_named_and_leaves_nothing), TEST(a_front_end_that_dies_with_requests_in_flight),
         TEST(memory_that_shrinks_under_a_running_ring), TEST(a_chain_that_loops_breaks_its_ring_alone), TEST(kicks_that_are_no_kicks),
         TEST(a_pipe_may_be_a_kick), TEST(floods_neither_stop_a_ring_nor_fill_a_log), TEST(unknown_kinds_of_descriptors_come_back_closed))
