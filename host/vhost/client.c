/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client: the front-end end of a vhost-user connection: one request at a time, each answer waited for with a limit. Only translations go
 * beside: the back-end asks for them when it likes, and several may be on their way to it.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <viaduct/vhost.h>

#include "../clock.h"
#include "client_parts.h"

#define TIMEOUT_MS 5000
#define IOTLB_DUE 64u          /* answers out before they are waited for; as many as fit into a socket's buffer several times */
#define IOTLB_DUE_SERVING 192u /* for answers to misses, which the back-end may need before it can give the others */
#define REQUESTS_A_CALL 64u

static bool has_protocol(const struct via_client *c, enum via_vu_protocol_feature bit) { return c->front.protocol & VIA_BIT(bit); }

/* ------------------------------------------------------------------ connection */

int via_client_adopt(struct via_client *c, int fd)
{
    *c = (struct via_client){.fd = fd, .timeout_ms = c->timeout_ms, .miss = c->miss, .region = c->region, .req_fd = -1};
    via_sock_rx_init(&c->rx);
    via_sock_rx_init(&c->req_rx);
    via_front_init(&c->front);
    if (fcntl(fd, F_SETFL, O_NONBLOCK) == 0)
        return 0;
    via_client_close(c);
    return -VIA_EBADF;
}

int via_client_connect(struct via_client *c, const char *path, int wait_ms, struct via_err *err)
{
    c->fd = c->req_fd = -1;
    int fd = via_sock_connect(path, wait_ms, err);
    if (fd < 0)
        return fd;
    int result = via_client_adopt(c, fd);
    return result < 0 ? via_err_set(err, result, "%s: the connection can't be used", path) : 0;
}

void via_client_close(struct via_client *c)
{
    if (c->fd >= 0) {
        via_sock_rx_close(&c->rx);
        close(c->fd);
    }
    if (c->req_fd >= 0) {
        via_sock_rx_close(&c->req_rx);
        close(c->req_fd);
    }
    c->fd = c->req_fd = -1;
}

/* ------------------------------------------------------------------ one request */

/* After this, what the back-end sends can't be told apart from late answers. */
static int out_of_step(struct via_client *c, int result, const char *doing, const char *request, const struct via_err *why,
                       struct via_err *err)
{
    c->front.broken = true;
    c->front.await = 0;
    return via_err_set(err, result, "%s %s: %.240s", doing, request, why->text);
}

static int time_limit(const struct via_client *c) { return c->timeout_ms ? c->timeout_ms : TIMEOUT_MS; }

static int time_left(const struct via_client *c)
{
    int64_t left = c->end - via_clock_ms();
    return left > 0 ? (int)left : 0;
}

static int client_alive(struct via_client *c, const char *name, struct via_err *err)
{
    if (c->fd >= 0 && !c->front.broken)
        return 0;
    c->front.await = 0; /* what was composed is not sent */
    return via_err_set(err, -VIA_EPROTO, "%s: the connection to the back-end is broken since an earlier failure", name);
}

/* Each call has one time limit for all that it sends and waits for. */
static int client_begin(struct via_client *c, const char *name, struct via_err *err)
{
    VIA_ASSERT(!c->serving);
    int result = client_alive(c, name, err);
    c->end = via_clock_ms() + time_limit(c);
    c->refusal = (struct via_fault){0};
    return result;
}

/* One answer, if it has come: 1. A refusal is kept for who waits for it; nobody waits for that of an earlier IOTLB_MSG. */
static int take_answer(struct via_client *c, struct via_err *err)
{
    int result = via_sock_recv(c->fd, &c->rx, err);
    if (result == -VIA_ENODEV)
        return via_err_set(err, result, "it closed the connection instead");
    if (result <= 0)
        return result;
    unsigned due = c->front.iotlb_due;
    result = via_front_feed(&c->front, &c->rx.msg);
    via_vu_close_fds(&c->rx.msg);
    bool iotlb = c->front.iotlb_due < due;
    c->answered += iotlb;
    if (result == -VIA_EIO && (!iotlb || c->answered == c->waited)) {
        c->refusal = c->front.fault;
        return 1;
    }
    if (result < 0)
        return via_err_fault(err, result, iotlb ? "before that" : "what it sent is wrong", &c->front.fault);
    return 1;
}

/*
 * A request of the back-end's is read only when there is room for all that answers it: a back-end that asks and does not read holds itself
 * up, and not us. If there is none, something that may change that is waited for.
 */
static bool room_to_answer(const struct via_client *c, int wait_ms)
{
    struct pollfd p[2] = {{.fd = c->fd, .events = POLLOUT}, {.fd = c->req_fd, .events = POLLOUT}};
    (void)poll(p, 2, 0);
    bool few = c->front.iotlb_due < IOTLB_DUE_SERVING, room = p[0].revents;
    if (few && room && p[1].revents)
        return true;
    p[0].events = room ? POLLIN : POLLIN | POLLOUT;
    p[1].fd = few && room ? c->req_fd : -1;
    if (wait_ms)
        (void)poll(p, 2, wait_ms);
    return false;
}

/* What lies in the socket now was sent before the request at hand is answered. */
static void count_round(struct via_client *c)
{
    uint32_t bytes = VIA_VU_HDR + c->req_rx.msg.size;
    int more = 0;
    if (c->round_left >= bytes) {
        c->round_left -= bytes;
        return;
    }
    c->round++;
    c->round_left = ioctl(c->req_fd, FIONREAD, &more) == 0 && more > 0 ? (uint32_t)more : 0;
}

/* One request of the back-end's own, if it has come: 1. -VIA_ENODEV: the back-end closed the channel, and has no use for it any more. */
static int serve(struct via_client *c, struct via_err *err)
{
    struct via_vu_msg *m = &c->req_rx.msg, reply;
    struct via_vu_iotlb iotlb;
    int result = via_sock_recv(c->req_fd, &c->req_rx, err);
    if (result <= 0)
        return result;
    count_round(c);
    int event = via_front_feed_back_req(&c->front, m, &iotlb);
    if (event == VIA_FRONT_SHMEM_MAP)
        result = via_client_region_map(c, m);
    via_vu_close_fds(m);
    if (event < 0) {
        char who[80];
        snprintf(who, sizeof(who), "its own request, %s, is wrong", via_vu_back_name(m->request));
        return via_err_fault(err, event, who, &c->front.fault);
    }
    c->config_changed |= event == VIA_FRONT_CONFIG_CHANGE;
    c->misses += event == VIA_FRONT_MISS;
    c->access_fails += event == VIA_FRONT_ACCESS_FAIL;
    if (event == VIA_FRONT_MISS) {
        c->serving = true;
        result = c->miss ? c->miss(c, &iotlb) : -VIA_ENOTSUP;
        c->serving = false;
    } else if (event != VIA_FRONT_SHMEM_MAP) {
        result = 0;
    }
    if (c->front.broken)
        return via_err_set(err, result < 0 ? result : -VIA_EPROTO, "the connection broke when a miss was to be answered");
    if (via_front_back_done(&c->front, m, result, &reply) && (result = via_sock_send(c->req_fd, &reply, time_left(c), err)) < 0)
        return result;
    return 1;
}

/*
 * While an answer is waited for, misses are served, too: a back-end that is to stop a ring may have to ask for a translation first. Each
 * turn does one thing, so that neither a flood of misses nor one of bytes keeps us from the end of the time.
 */
static int client_turn(struct via_client *c, struct via_err *err)
{
    bool listens = c->req_fd >= 0 && !c->req_gone && !c->serving;
    struct pollfd p[2] = {{.fd = c->fd, .events = POLLIN}, {.fd = listens ? c->req_fd : -1, .events = POLLIN}};
    int left = time_left(c), result = 0;
    if (left == 0)
        return via_err_set(err, -VIA_ETIMEDOUT, "it did not answer within %d ms", time_limit(c));
    if (poll(p, 2, left) <= 0)
        return 0;
    if (p[0].revents)
        return take_answer(c, err);
    if (room_to_answer(c, left))
        result = serve(c, err);
    c->req_gone = result == -VIA_ENODEV && !c->front.broken;
    return c->req_gone ? 0 : result;
}

/* Until nothing is awaited and so many IOTLB_MSGs were answered. */
static int client_wait(struct via_client *c, const char *name, uint64_t answered, struct via_err *err)
{
    struct via_err why = {.text = ""};
    while (via_front_awaits(&c->front) || c->answered < answered) {
        int result = client_turn(c, &why);
        if (result < 0)
            return out_of_step(c, result, "the back-end gave no answer to", name, &why, err);
    }
    if (!c->refusal.what)
        return 0;
    char who[80];
    snprintf(who, sizeof(who), "the back-end's answer to %s", name);
    return via_err_fault(err, -VIA_EIO, who, &c->refusal);
}

static int client_send(struct via_client *c, const struct via_vu_msg *m, const char *name, struct via_err *err)
{
    struct via_err why = {.text = ""};
    int result = via_sock_send(c->fd, m, time_left(c), &why);
    return result < 0 ? out_of_step(c, result, "the back-end does not take", name, &why, err) : 0;
}

/* Send a composed request and wait for its answer where one is due. */
int via_client_ask(struct via_client *c, const struct via_vu_msg *m, struct via_err *err)
{
    const char *name = via_vu_name(m->request);
    int result = client_begin(c, name, err);
    if (result == 0)
        result = client_send(c, m, name, err);
    return result < 0 ? result : client_wait(c, name, 0, err);
}

static int ask_get(struct via_client *c, enum via_vu_request what, struct via_err *err)
{
    struct via_vu_msg m;
    via_front_get(&c->front, &m, what);
    return via_client_ask(c, &m, err);
}

static int ask_set(struct via_client *c, enum via_vu_request what, uint64_t value, struct via_err *err)
{
    struct via_vu_msg m;
    via_front_set_u64(&c->front, &m, what, value);
    return via_client_ask(c, &m, err);
}

/* What was sent has been seen by the back-end: it answers in order. */
static int client_settle(struct via_client *c, struct via_err *err)
{
    return has_protocol(c, VIA_VU_PF_REPLY_ACK) ? 0 : ask_get(c, VIA_VU_GET_FEATURES, err);
}

/* ------------------------------------------------------------------ negotiation */

static int request_channel(struct via_client *c, struct via_err *err)
{
    struct via_vu_msg m;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return via_err_set(err, -VIA_ENOMEM, "no socket for the back-end's own requests is to be had");
    via_front_back_req_fd(&c->front, &m, pair[1]);
    int result = via_client_ask(c, &m, err);
    close(pair[1]);
    if (result < 0)
        close(pair[0]);
    else
        c->req_fd = pair[0];
    return result;
}

static int offer_protocol(struct via_client *c, uint64_t want, struct via_err *err)
{
    int result = ask_get(c, VIA_VU_GET_PROTOCOL_FEATURES, err);
    if (result == 0)
        result = ask_set(c, VIA_VU_SET_PROTOCOL_FEATURES, want & c->front.protocol_offered, err);
    if (result == 0 && has_protocol(c, VIA_VU_PF_MQ))
        result = ask_get(c, VIA_VU_GET_QUEUE_NUM, err);
    if (result == 0 && has_protocol(c, VIA_VU_PF_BACKEND_REQ))
        result = request_channel(c, err);
    return result;
}

int via_client_offer(struct via_client *c, uint64_t want_protocol, struct via_err *err)
{
    struct via_vu_msg m;
    int result = ask_get(c, VIA_VU_GET_FEATURES, err);
    if (result == 0 && (c->front.offered & VIA_BIT(VIA_F_PROTOCOL_FEATURES)))
        result = offer_protocol(c, want_protocol, err);
    if (result < 0)
        return result;
    via_front_plain(&c->front, &m, VIA_VU_SET_OWNER);
    return via_client_ask(c, &m, err);
}

int via_client_accept(struct via_client *c, uint64_t features, struct via_err *err)
{
    return ask_set(c, VIA_VU_SET_FEATURES, features | (c->front.offered & VIA_BIT(VIA_F_PROTOCOL_FEATURES)), err);
}

int via_client_negotiate(struct via_client *c, uint64_t want, uint64_t need, uint64_t want_protocol, struct via_err *err)
{
    int result = via_client_offer(c, want_protocol, err);
    if (result < 0)
        return result;
    uint64_t missing = need & ~c->front.offered;
    if (missing)
        return via_err_set(err, -VIA_ENOTSUP, "the back-end lacks features that are needed: 0x%" PRIx64 " (it offers 0x%" PRIx64 ")",
                           missing, c->front.offered);
    return via_client_accept(c, (want | need) & c->front.offered, err);
}

/* ------------------------------------------------------------------ memory, rings, the rest */

int via_client_share(struct via_client *c, const struct via_vu_region *region, const int *fd, unsigned n, struct via_err *err)
{
    struct via_vu_msg m;
    unsigned table = n < VIA_VU_TABLE_REGIONS ? n : VIA_VU_TABLE_REGIONS;
    if (n > table && !has_protocol(c, VIA_VU_PF_CONFIGURE_MEM_SLOTS))
        return via_err_set(err, -VIA_ENOTSUP, "the back-end takes at most %u memory regions, not %u (it lacks CONFIGURE_MEM_SLOTS)",
                           VIA_VU_TABLE_REGIONS, n);
    via_front_mem_table(&c->front, &m, region, fd, table);
    int result = via_client_ask(c, &m, err);
    for (unsigned i = table; i < n && result == 0; i++) {
        via_front_mem_reg(&c->front, &m, true, &region[i], fd[i]);
        result = via_client_ask(c, &m, err);
    }
    return result < 0 ? result : client_settle(c, err);
}

static int ring_state(struct via_client *c, enum via_vu_request what, unsigned index, uint32_t num, struct via_err *err)
{
    struct via_vu_msg m;
    via_front_ring_state(&c->front, &m, what, index, num);
    return via_client_ask(c, &m, err);
}

static int ring_fd(struct via_client *c, enum via_vu_request what, unsigned index, int fd, struct via_err *err)
{
    struct via_vu_msg m;
    via_front_ring_fd(&c->front, &m, what, index, fd);
    return via_client_ask(c, &m, err);
}

int via_client_ring_start(struct via_client *c, unsigned index, unsigned num, uint64_t desc, uint64_t avail, uint64_t used, uint16_t base,
                          int kick, int call, struct via_err *err)
{
    struct via_vu_msg m;
    int result = ring_state(c, VIA_VU_SET_VRING_NUM, index, num, err);
    if (result == 0)
        result = ring_state(c, VIA_VU_SET_VRING_BASE, index, base, err);
    if (result == 0) {
        via_front_ring_addr(&c->front, &m, index, desc, avail, used);
        result = via_client_ask(c, &m, err);
    }
    if (result == 0)
        result = ring_fd(c, VIA_VU_SET_VRING_CALL, index, call, err);
    if (result == 0)
        result = ring_fd(c, VIA_VU_SET_VRING_KICK, index, kick, err);
    if (result == 0 && (c->front.features & VIA_BIT(VIA_F_PROTOCOL_FEATURES)))
        result = ring_state(c, VIA_VU_SET_VRING_ENABLE, index, 1, err);
    return result < 0 ? result : client_settle(c, err);
}

int via_client_ring_stop(struct via_client *c, unsigned index, uint16_t *base, struct via_err *err)
{
    int result = ring_state(c, VIA_VU_GET_VRING_BASE, index, 0, err);
    if (result == 0)
        *base = (uint16_t)c->front.value;
    return result;
}

int via_client_log(struct via_client *c, int fd, uint64_t offset, uint64_t len, struct via_err *err)
{
    struct via_vu_msg m;
    if (!has_protocol(c, VIA_VU_PF_LOG_SHMFD) || !(c->front.offered & VIA_BIT(VIA_F_LOG_ALL)))
        return via_err_set(err, -VIA_ENOTSUP, "the back-end keeps no dirty log (it lacks LOG_SHMFD or LOG_ALL)");
    via_front_log_base(&c->front, &m, offset, len, fd);
    return via_client_ask(c, &m, err);
}

int via_client_log_event(struct via_client *c, int fd, struct via_err *err)
{
    struct via_vu_msg m;
    via_front_log_fd(&c->front, &m, fd);
    int result = via_client_ask(c, &m, err);
    return result < 0 ? result : client_settle(c, err);
}

int via_client_log_all(struct via_client *c, bool on, struct via_err *err)
{
    uint64_t bit = VIA_BIT(VIA_F_LOG_ALL);
    int result = ask_set(c, VIA_VU_SET_FEATURES, on ? c->front.features | bit : c->front.features & ~bit, err);
    return result < 0 ? result : client_settle(c, err);
}

int via_client_ring_log(struct via_client *c, unsigned index, uint64_t desc, uint64_t avail, uint64_t used, bool on, uint64_t log,
                        struct via_err *err)
{
    struct via_vu_msg m;
    if (on)
        via_front_ring_log(&c->front, &m, index, desc, avail, used, log);
    else
        via_front_ring_addr(&c->front, &m, index, desc, avail, used);
    int result = via_client_ask(c, &m, err);
    return result < 0 ? result : client_settle(c, err);
}

int via_client_status(struct via_client *c, uint8_t status, struct via_err *err)
{
    return has_protocol(c, VIA_VU_PF_STATUS) ? ask_set(c, VIA_VU_SET_STATUS, status, err) : 0;
}

int via_client_config_get(struct via_client *c, uint32_t offset, void *out, uint32_t len, struct via_err *err)
{
    struct via_vu_msg m;
    if (!has_protocol(c, VIA_VU_PF_CONFIG))
        return via_err_set(err, -VIA_ENOTSUP, "the back-end has no config space (it lacks the protocol feature CONFIG)");
    if (len == 0 || len > VIA_VU_CONFIG_MAX || offset > VIA_VU_CONFIG_MAX - len)
        return via_err_set(err, -VIA_ERANGE, "a message carries 1 to %u bytes of config space", VIA_VU_CONFIG_MAX);
    via_front_config_get(&c->front, &m, offset, len);
    int result = via_client_ask(c, &m, err);
    if (result == 0)
        memcpy(out, c->front.config, len);
    return result;
}

int via_client_config_set(struct via_client *c, uint32_t offset, const void *bytes, uint32_t len, struct via_err *err)
{
    struct via_vu_msg m;
    if (!has_protocol(c, VIA_VU_PF_CONFIG))
        return via_err_set(err, -VIA_ENOTSUP, "the back-end has no config space (it lacks the protocol feature CONFIG)");
    if (len == 0 || len > VIA_VU_CONFIG_MAX || offset > VIA_VU_CONFIG_MAX - len)
        return via_err_set(err, -VIA_ERANGE, "a message carries 1 to %u bytes of config space", VIA_VU_CONFIG_MAX);
    via_front_config_set(&c->front, &m, offset, bytes, len);
    return via_client_ask(c, &m, err);
}

/* ------------------------------------------------------------------ translations */

/* With so many answers out they are waited for: a back-end that can't put an answer into its socket may give the connection up. */
static int iotlb_room(struct via_client *c, struct via_err *err)
{
    struct via_err why = {.text = ""};
    unsigned most = c->serving ? IOTLB_DUE_SERVING : IOTLB_DUE;
    while (c->front.iotlb_due >= most) {
        int result = client_turn(c, &why);
        if (result < 0)
            return out_of_step(c, result, "the back-end gave no answer to", "an earlier IOTLB_MSG", &why, err);
    }
    return 0;
}

int via_client_iotlb(struct via_client *c, const struct via_vu_iotlb *iotlb, bool wait, struct via_err *err)
{
    const char *name = via_vu_name(VIA_VU_IOTLB_MSG);
    struct via_vu_msg m;
    int result = c->serving ? client_alive(c, name, err) : client_begin(c, name, err);
    if (result == 0)
        result = iotlb_room(c, err);
    if (result < 0)
        return result;
    via_front_iotlb(&c->front, &m, iotlb);
    result = client_send(c, &m, name, err);
    if (result < 0 || !wait || c->serving)
        return result;
    c->waited = c->answered + c->front.iotlb_due;
    return client_wait(c, name, c->waited, err);
}

int via_client_iotlb_settle(struct via_client *c, struct via_err *err)
{
    const char *name = via_vu_name(VIA_VU_IOTLB_MSG);
    int result = client_begin(c, name, err);
    return result < 0 ? result : client_wait(c, name, c->answered + c->front.iotlb_due, err);
}

int via_client_back_req(struct via_client *c, struct via_err *err)
{
    struct via_err why = {.text = ""};
    int result = client_begin(c, "the back-end's own requests", err);
    if (result < 0)
        return result;
    do
        result = c->front.iotlb_due ? take_answer(c, &why) : 0;
    while (result > 0);
    for (unsigned i = 0; i < REQUESTS_A_CALL && result >= 0 && c->req_fd >= 0 && room_to_answer(c, 0); i++)
        if ((result = serve(c, &why)) == 0)
            break;
    if (result == -VIA_ENODEV)
        return via_err_set(err, result, "%s", why.text);
    if (result < 0)
        return out_of_step(c, result, "the connection can't go on:", "the back-end", &why, err);
    bool changed = c->config_changed;
    c->config_changed = false;
    return changed;
}
