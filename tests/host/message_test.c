/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages in pieces, with too many descriptors, cut off, late: nothing leaks and nothing waits for ever. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <tap.h>
#include <viaduct/host.h>

#include "scratch.h"

static struct via_err err;
static int fds_before, pair[2];
static struct via_sock_rx rx;

static bool says(const char *what) { return strstr(err.text, what) != NULL; }

static bool begin(void)
{
    fds_before = scratch_open_fds();
    memset(&err, 0, sizeof(err));
    via_sock_rx_init(&rx);
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0;
}

static bool nothing_leaked(void)
{
    via_sock_rx_close(&rx);
    close(pair[0]);
    if (pair[1] >= 0)
        close(pair[1]);
    return scratch_open_fds() == fds_before;
}

static struct via_vu_msg sample(unsigned size, unsigned nfd)
{
    struct via_vu_msg m = {.request = VIA_VU_SET_MEM_TABLE, .flags = VIA_VU_VERSION, .size = size, .nfd = nfd};
    for (unsigned i = 0; i < size; i++)
        m.payload[i] = (uint8_t)(i * 7 + 1);
    for (unsigned i = 0; i < nfd; i++)
        m.fd[i] = STDERR_FILENO;
    return m;
}

/* Bytes and n descriptors, as no honest sender would send them. */
static bool send_raw(const void *bytes, size_t len, unsigned n)
{
    alignas(struct cmsghdr) char control[CMSG_SPACE(64 * sizeof(int))] = {0};
    struct iovec iov = {(void *)(uintptr_t)bytes, len};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
    if (n) {
        h.msg_control = control;
        h.msg_controllen = CMSG_SPACE(n * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);
        *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(n * sizeof(int))};
        for (unsigned i = 0; i < n; i++)
            memcpy(CMSG_DATA(c) + i * sizeof(int), &(int){STDERR_FILENO}, sizeof(int));
    }
    return sendmsg(pair[1], &h, MSG_NOSIGNAL) == (ssize_t)len;
}

static void whole_messages_arrive(void)
{
    static const unsigned sizes[] = {0, 1, 8, 268, VIA_VU_PAYLOAD_MAX};
    for (unsigned nfd = 0; nfd <= VIA_VU_FDS_MAX; nfd += 4)
        for (size_t i = 0; i < via_array_len(sizes); i++) {
            CHECK(begin());
            struct via_vu_msg m = sample(sizes[i], nfd);
            CHECK_EQ(via_sock_recv(pair[0], &rx, &err), 0);
            CHECK_EQ(via_sock_send(pair[1], &m, 100, &err), 0);
            CHECK_EQ(via_sock_send(pair[1], &m, 100, &err), 0);
            for (int twice = 0; twice < 2; twice++) {
                CHECK_EQ(via_sock_recv(pair[0], &rx, &err), 1);
                CHECK_EQ(rx.msg.request, VIA_VU_SET_MEM_TABLE);
                CHECK_EQ(rx.msg.size, sizes[i]);
                CHECK(memcmp(rx.msg.payload, m.payload, sizes[i]) == 0);
                CHECK_EQ(rx.msg.nfd, nfd);
                for (unsigned k = 0; k < nfd; k++)
                    CHECK(fcntl(rx.msg.fd[k], F_GETFD) == FD_CLOEXEC);
                via_vu_close_fds(&rx.msg);
            }
            CHECK_EQ(via_sock_recv(pair[0], &rx, &err), 0);
            CHECK(nothing_leaked());
        }
}

static void bytes_may_come_one_by_one(void)
{
    CHECK(begin());
    struct via_vu_msg m = sample(40, 0);
    uint8_t bytes[VIA_VU_HDR + 40];
    via_vu_encode_header(&m, bytes);
    memcpy(bytes + VIA_VU_HDR, m.payload, 40);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        CHECK(send_raw(bytes + i, 1, i == 0 || i == 20 ? 2 : 0)); /* descriptors with the header and with the payload */
        CHECK_EQ(via_sock_recv(pair[0], &rx, &err), i + 1 == sizeof(bytes));
    }
    CHECK(memcmp(rx.msg.payload, m.payload, 40) == 0);
    CHECK_EQ(rx.msg.nfd, 4);
    via_vu_close_fds(&rx.msg);
    CHECK(nothing_leaked());
}

static void too_many_descriptors_break_it_without_a_leak(void)
{
    static const struct {
        unsigned first, second;
    } sent[] = {{9, 0}, {60, 0}, {8, 1}, {1, 8}, {0, 9}};
    for (size_t i = 0; i < via_array_len(sent); i++) {
        CHECK(begin());
        struct via_vu_msg m = sample(8, 0);
        uint8_t hdr[VIA_VU_HDR];
        via_vu_encode_header(&m, hdr);
        CHECK(send_raw(hdr, sizeof(hdr), sent[i].first));
        CHECK(send_raw(m.payload, 8, sent[i].second));
        CHECK_EQ(via_sock_recv(pair[0], &rx, &err), -EPROTO);
        CHECK(says("more than 8 descriptors"));
        CHECK(nothing_leaked());
    }
}

static void credentials_do_not_crowd_descriptors_out(void)
{
    int on = 1;
    CHECK(begin());
    struct via_vu_msg m = sample(8, 8);
    CHECK(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == 0);
    CHECK_EQ(via_sock_send(pair[1], &m, 100, &err), 0);
    CHECK_EQ(via_sock_recv(pair[0], &rx, &err), 1);
    CHECK_EQ(rx.msg.nfd, 8);
    via_vu_close_fds(&rx.msg);
    CHECK(nothing_leaked());
}

static void a_full_descriptor_table_is_an_error(void)
{
    struct rlimit old, few;
    CHECK(begin());
    struct via_vu_msg m = sample(8, 8);
    CHECK_EQ(via_sock_send(pair[1], &m, 100, &err), 0);
    CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
    few = (struct rlimit){(rlim_t)pair[1] + 4, old.rlim_max};
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    int r = via_sock_recv(pair[0], &rx, &err);
    CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
    CHECK_EQ(r, -EPROTO);
    CHECK(says("ulimit -n"));
    CHECK(nothing_leaked());
}

static void closing_in_order_or_not(void)
{
    CHECK(begin());
    close(pair[1]);
    pair[1] = -1;
    CHECK_EQ(via_sock_recv(pair[0], &rx, &err), -ENODEV);
    struct via_vu_msg m = {.request = 1, .flags = VIA_VU_VERSION};
    CHECK_EQ(via_sock_send(pair[0], &m, 100, &err), -ENODEV); /* and no SIGPIPE */
    CHECK(nothing_leaked());

    CHECK(begin());
    m = sample(8, 0);
    uint8_t hdr[VIA_VU_HDR];
    via_vu_encode_header(&m, hdr);
    CHECK(send_raw(hdr, sizeof(hdr), 3));
    close(pair[1]);
    pair[1] = -1;
    CHECK_EQ(via_sock_recv(pair[0], &rx, &err), -EPROTO);
    CHECK(says("middle of a message"));
    CHECK(nothing_leaked());
}

static void bad_headers_break_it(void)
{
    static const uint32_t bad[][3] = {{1, 0, 8}, {1, 2, 8}, {1, 1, VIA_VU_PAYLOAD_MAX + 1}, {1, 1, UINT32_MAX}};
    for (size_t i = 0; i < via_array_len(bad); i++) {
        CHECK(begin());
        CHECK(send_raw(bad[i], VIA_VU_HDR, 2));
        CHECK_EQ(via_sock_recv(pair[0], &rx, &err), -EPROTO);
        CHECK(err.text[0] != 0);
        CHECK(nothing_leaked());
    }
}

static void an_unfinished_message_is_closed_with_the_receiver(void)
{
    CHECK(begin());
    struct via_vu_msg m = sample(8, 0);
    uint8_t hdr[VIA_VU_HDR];
    via_vu_encode_header(&m, hdr);
    CHECK(send_raw(hdr, 5, 8));
    CHECK_EQ(via_sock_recv(pair[0], &rx, &err), 0);
    CHECK(nothing_leaked());
}

static void waiting_ends(void)
{
    CHECK(begin());
    CHECK_EQ(via_sock_recv_wait(pair[0], &rx, 20, &err), -ETIMEDOUT);
    CHECK(says("20 ms"));
    CHECK(send_raw("x", 1, 0)); /* a peer that dribbles does not start the clock anew */
    CHECK_EQ(via_sock_recv_wait(pair[0], &rx, 20, &err), -ETIMEDOUT);
    struct via_vu_msg m = sample(VIA_VU_PAYLOAD_MAX, 0);
    int r = 0;
    for (int i = 0; r == 0 && i < 100000; i++)
        r = via_sock_send(pair[0], &m, 20, &err);
    CHECK_EQ(r, -ETIMEDOUT);
    CHECK(nothing_leaked());
}

static void *slow_reader(void *unused)
{
    (void)unused;
    struct via_sock_rx in;
    via_sock_rx_init(&in);
    for (int i = 0; i < 2000; i++)
        if (via_sock_recv_wait(pair[1], &in, 5000, NULL) != 1 || in.msg.payload[3] != 22)
            return NULL;
    return &rx;
}

static void two_threads_and_a_small_buffer(void)
{
    pthread_t t;
    void *ok = NULL;
    int small = 1;
    CHECK(begin());
    CHECK(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) == 0);
    struct via_vu_msg m = sample(VIA_VU_PAYLOAD_MAX, 0);
    CHECK(pthread_create(&t, NULL, slow_reader, NULL) == 0);
    int r = 0;
    for (int i = 0; r == 0 && i < 2000; i++)
        r = via_sock_send(pair[0], &m, 5000, &err);
    pthread_join(t, &ok);
    CHECK_EQ(r, 0);
    CHECK(ok != NULL);
    CHECK(nothing_leaked());
}

TAP_MAIN(TEST(whole_messages_arrive), TEST(bytes_may_come_one_by_one), TEST(too_many_descriptors_break_it_without_a_leak),
         TEST(credentials_do_not_crowd_descriptors_out), TEST(a_full_descriptor_table_is_an_error), TEST(closing_in_order_or_not),
         TEST(bad_headers_break_it), TEST(an_unfinished_message_is_closed_with_the_receiver), TEST(waiting_ends),
         TEST(two_threads_and_a_small_buffer))
