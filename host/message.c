/* SPDX-License-Identifier: BSD-2-Clause */
/* message: vhost-user messages with their descriptors over a stream socket, a piece at a time. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <viaduct/host.h>

#include "clock.h"

void via_vu_close_fds(struct via_vu_msg *m)
{
    for (unsigned i = 0; i < m->nfd; i++) {
        if (m->fd[i] >= 0)
            close(m->fd[i]);
        m->fd[i] = -1;
    }
    m->nfd = 0;
}

void via_sock_rx_init(struct via_sock_rx *rx)
{
    rx->have = 0;
    rx->msg.nfd = 0;
}

void via_sock_rx_close(struct via_sock_rx *rx)
{
    if (rx->have) /* else its descriptors are the caller's */
        via_vu_close_fds(&rx->msg);
    rx->have = 0;
}

/* Takes all descriptors of a piece over, or closes those that there is no room for: then false. */
static bool take_fds(struct via_vu_msg *m, struct msghdr *h)
{
    bool fits = true;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (m->nfd < VIA_VU_FDS_MAX) {
                m->fd[m->nfd++] = fd;
            } else {
                close(fd);
                fits = false;
            }
        }
    }
    return fits && !(h->msg_flags & MSG_CTRUNC);
}

/* One recvmsg of at most len bytes: their number, 0 at the end of the stream. */
static ssize_t receive(int fd, struct via_sock_rx *rx, void *to, size_t len, struct via_err *err)
{
    /* Room for credentials too: on an inherited socket they may come unasked, and before the descriptors. */
    alignas(struct cmsghdr) char control[CMSG_SPACE(VIA_VU_FDS_MAX * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
    struct iovec iov = {to, len};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    ssize_t got;
    do
        got = recvmsg(fd, &h, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno == ECONNRESET)
        return 0;
    if (got < 0 && errno == EAGAIN)
        return -EAGAIN;
    if (got < 0)
        return via_err_set(err, -errno, "can't receive from the peer: %s", strerror(errno));
    if (!take_fds(&rx->msg, &h)) {
        via_vu_close_fds(&rx->msg);
        return via_err_set(err, -EPROTO,
                           "the peer's message came with more than %u descriptors, or with more than this process may open (ulimit -n)",
                           VIA_VU_FDS_MAX);
    }
    return got;
}

/* Where the next piece goes, and how long it may be. */
static size_t room(struct via_sock_rx *rx, uint8_t **to)
{
    if (rx->have < VIA_VU_HDR) {
        *to = rx->hdr + rx->have;
        return VIA_VU_HDR - rx->have;
    }
    *to = rx->msg.payload + (rx->have - VIA_VU_HDR);
    return VIA_VU_HDR + rx->msg.size - rx->have;
}

static int broken(struct via_sock_rx *rx, int result)
{
    via_vu_close_fds(&rx->msg);
    rx->have = 0;
    return result;
}

int via_sock_recv(int fd, struct via_sock_rx *rx, struct via_err *err)
{
    if (!rx->have)
        rx->msg.nfd = 0;
    for (;;) {
        uint8_t *to;
        size_t len = room(rx, &to);
        ssize_t got = receive(fd, rx, to, len, err);
        if (got == -EAGAIN)
            return 0;
        if (got < 0)
            return broken(rx, (int)got);
        if (got == 0 && !rx->have)
            return via_err_set(err, -ENODEV, "the peer closed the connection");
        if (got == 0)
            return broken(rx, via_err_set(err, -EPROTO, "the peer closed the connection in the middle of a message"));
        rx->have += (unsigned)got;
        if (rx->have == VIA_VU_HDR) {
            struct via_fault fault = {0};
            int r = via_vu_decode_header(&rx->msg, rx->hdr, &fault);
            if (r < 0)
                return broken(rx, via_err_fault(err, r, "the peer's message", &fault));
        }
        if (rx->have >= VIA_VU_HDR && rx->have == VIA_VU_HDR + rx->msg.size) {
            rx->have = 0;
            return 1;
        }
    }
}

/* Wait for `events` until `end`: false when the time is over. */
static bool wait_until(int fd, short events, int64_t end)
{
    int64_t left = end - via_clock_ms();
    struct pollfd p = {.fd = fd, .events = events};
    return left > 0 && poll(&p, 1, (int)left) != 0;
}

int via_sock_recv_wait(int fd, struct via_sock_rx *rx, int timeout_ms, struct via_err *err)
{
    int64_t end = via_clock_ms() + timeout_ms;
    for (;;) {
        int r = via_sock_recv(fd, rx, err);
        if (r != 0)
            return r;
        if (!wait_until(fd, POLLIN, end))
            return via_err_set(err, -ETIMEDOUT, "the peer did not answer within %d ms", timeout_ms);
    }
}

int via_sock_send(int fd, const struct via_vu_msg *m, int timeout_ms, struct via_err *err)
{
    VIA_ASSERT(m->size <= VIA_VU_PAYLOAD_MAX && m->nfd <= VIA_VU_FDS_MAX);
    uint8_t bytes[VIA_VU_HDR + VIA_VU_PAYLOAD_MAX];
    alignas(struct cmsghdr) char control[CMSG_SPACE(VIA_VU_FDS_MAX * sizeof(int))] = {0};
    via_vu_encode_header(m, bytes);
    memcpy(bytes + VIA_VU_HDR, m->payload, m->size);
    struct iovec iov = {bytes, VIA_VU_HDR + m->size};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
    if (m->nfd) {
        h.msg_control = control;
        h.msg_controllen = CMSG_SPACE(m->nfd * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);
        *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(m->nfd * sizeof(int))};
        memcpy(CMSG_DATA(c), m->fd, m->nfd * sizeof(int));
    }
    int64_t end = via_clock_ms() + timeout_ms;
    while (iov.iov_len) {
        ssize_t sent = sendmsg(fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) { /* the descriptors went with the first byte */
            iov.iov_base = (uint8_t *)iov.iov_base + sent;
            iov.iov_len -= (size_t)sent;
            h.msg_control = NULL;
            h.msg_controllen = 0;
        } else if (errno == EPIPE || errno == ECONNRESET) {
            return via_err_set(err, -ENODEV, "the peer closed the connection");
        } else if (errno != EAGAIN && errno != EINTR) {
            return via_err_set(err, -errno, "can't send to the peer: %s", strerror(errno));
        } else if (!wait_until(fd, POLLOUT, end)) {
            return via_err_set(err, -ETIMEDOUT, "the peer did not read what was sent to it within %d ms", timeout_ms);
        }
    }
    return 0;
}
