/* SPDX-License-Identifier: BSD-2-Clause */
/* Bad back-ends: the client names the request and the offence, hangs on none of them, and keeps nothing of what they sent. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vhost_rig.h"

enum lie { HONEST, OTHER_REQUEST, NO_REPLY_FLAG, WRONG_SIZE, REFUSES, SILENT, CLOSES, HALF_AN_ANSWER, BRINGS_DESCRIPTORS, ANSWERS_TWICE };

struct liar { /* a back-end that is honest but for one answer */
    int fd;
    enum lie lie;
    uint32_t at; /* the request that it lies about */
    pthread_t thread;
};

static struct via_client client;
static struct liar liar;

static bool lie_about(struct liar *l, struct via_vu_msg *reply)
{
    switch (l->lie) {
    case OTHER_REQUEST:
        reply->request++;
        break;
    case NO_REPLY_FLAG:
        reply->flags &= ~VIA_VU_FLAG_REPLY;
        break;
    case WRONG_SIZE:
        reply->size = 4;
        break;
    case REFUSES:
        reply->payload[0] = 1;
        break;
    case SILENT:
        return true;
    case HALF_AN_ANSWER:
        (void)!write(l->fd, reply, 7);
        return false;
    case BRINGS_DESCRIPTORS:
        reply->fd[reply->nfd++] = l->fd;
        break;
    case ANSWERS_TWICE:
        (void)!via_sock_send(l->fd, reply, 1000, NULL);
        break;
    case HONEST:
        break;
    case CLOSES:
        return false;
    }
    return via_sock_send(l->fd, reply, 1000, NULL) == 0;
}

static bool answer(struct liar *l, struct via_back *back, struct via_vu_msg *m)
{
    const struct via_back_action *act;
    struct via_vu_msg reply;
    uint32_t request = m->request;
    int result = via_back_feed(back, m, &act);
    via_vu_close_fds(m);
    if (result < 0)
        return false;
    for (unsigned i = 0; i < VIA_VU_FDS_MAX; i++)
        if (act->fd[i] >= 0)
            close(act->fd[i]);
    if (!via_back_done(back, 0, 0, &reply))
        return true;
    return request == l->at ? lie_about(l, &reply) : via_sock_send(l->fd, &reply, 1000, NULL) == 0;
}

static void *serve(void *arg)
{
    struct liar *l = arg;
    const struct via_back_cfg cfg = {.features = RIG_FEATURES, .protocol = RIG_PROTOCOL, .queues = 1, .num_max = 256, .slots = 32};
    struct via_back back;
    struct via_sock_rx rx;
    via_sock_rx_init(&rx);
    if (via_back_init(&back, &cfg) == 0)
        while (via_sock_recv_wait(l->fd, &rx, 5000, NULL) == 1 && answer(l, &back, &rx.msg))
            ;
    via_sock_rx_close(&rx);
    close(l->fd);
    return NULL;
}

static bool begin(enum lie lie, uint32_t at)
{
    int pair[2];
    CHECK_OR_FALSE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    liar = (struct liar){.fd = pair[1], .lie = lie, .at = at};
    CHECK_OR_FALSE(pthread_create(&liar.thread, NULL, serve, &liar) == 0);
    client.timeout_ms = lie == SILENT ? 100 : 0;
    CHECK_OR_FALSE(via_client_adopt(&client, pair[0]) == 0);
    return true;
}

static void end(void)
{
    via_client_close(&client);
    pthread_join(liar.thread, NULL);
}

/* Everything that a front-end does, up to the first failure. */
static int whole_life(struct via_err *err)
{
    uint8_t bytes[8];
    uint16_t base;
    struct via_memory memory;
    int result = via_client_negotiate(&client, RIG_FEATURES, 0, RIG_PROTOCOL, err);
    if (result < 0 || (result = via_memory_create(&memory, "client", 1 << 16, err)) < 0)
        return result;
    const struct via_vu_region region = {0, memory.len, (uintptr_t)memory.ptr, 0};
    uint64_t at = (uintptr_t)memory.ptr;
    result = via_client_share(&client, &region, &memory.fd, 1, err);
    if (result == 0)
        result = via_client_config_get(&client, 0, bytes, sizeof(bytes), err);
    if (result == 0)
        result = via_client_ring_start(&client, 0, 16, at, at + 0x1000, at + 0x2000, 0, -1, -1, err);
    if (result == 0)
        result = via_client_status(&client, VIA_STATUS_DRIVER_OK, err);
    if (result == 0)
        result = via_client_ring_stop(&client, 0, &base, err);
    via_memory_destroy(&memory);
    return result;
}

static bool told(int result, int want, const struct via_err *err, const char *request, const char *offence)
{
    if (result == want && strstr(err->text, request) && strstr(err->text, offence))
        return true;
    tap_note(err->text);
    tap_note(request);
    tap_note(offence);
    tap_fail_eq(__FILE__, __LINE__, "a failure that names the offence", result, want);
    return false;
}

static void an_honest_one(void)
{
    struct via_err err = {.text = ""};
    CHECK(begin(HONEST, 0));
    CHECK_EQ(whole_life(&err), 0);
    end();
}

static void every_lie_about_every_answer(void)
{
    static const uint32_t asked[] = {VIA_VU_GET_FEATURES,  VIA_VU_GET_PROTOCOL_FEATURES, VIA_VU_GET_QUEUE_NUM,
                                     VIA_VU_SET_FEATURES,  VIA_VU_SET_MEM_TABLE,         VIA_VU_GET_CONFIG,
                                     VIA_VU_SET_VRING_NUM, VIA_VU_SET_VRING_KICK,        VIA_VU_SET_VRING_ADDR,
                                     VIA_VU_SET_STATUS,    VIA_VU_GET_VRING_BASE};
    static const struct {
        enum lie lie;
        int result;
        const char *offence;
    } lies[] = {
        {OTHER_REQUEST, -VIA_EPROTO, "another request"},
        {NO_REPLY_FLAG, -VIA_EPROTO, "not marked"},
        {WRONG_SIZE, -VIA_EPROTO, "size"},
        {CLOSES, -VIA_ENODEV, "closed the connection"},
        {HALF_AN_ANSWER, -VIA_EPROTO, "in the middle"},
        {BRINGS_DESCRIPTORS, -VIA_EPROTO, "file descriptors"},
    };
    unsigned fds = scratch_open_fds();
    for (size_t i = 0; i < via_array_len(asked); i++)
        for (size_t k = 0; k < via_array_len(lies); k++) {
            struct via_err err = {.text = ""};
            CHECK(begin(lies[k].lie, asked[i]));
            int result = whole_life(&err);
            CHECK(told(result, lies[k].result, &err, via_vu_name(asked[i]), lies[k].offence));
            CHECK_EQ(via_client_status(&client, 1, &err) < 0 || via_client_offer(&client, 0, &err) < 0, true);
            end();
            CHECK_EQ(scratch_open_fds(), fds);
        }
}

static void silence_has_an_end(void)
{
    struct via_err err = {.text = ""};
    uint16_t base;
    CHECK(begin(SILENT, VIA_VU_GET_VRING_BASE));
    CHECK(told(whole_life(&err), -VIA_ETIMEDOUT, &err, "GET_VRING_BASE", "did not answer"));
    CHECK(told(via_client_ring_stop(&client, 0, &base, &err), -VIA_EPROTO, &err, "GET_VRING_BASE", "earlier failure"));
    end();
}

static void a_refusal_is_no_breach(void)
{
    struct via_err err = {.text = ""};
    CHECK(begin(REFUSES, VIA_VU_SET_MEM_TABLE));
    CHECK(told(whole_life(&err), -VIA_EIO, &err, "SET_MEM_TABLE", "failed"));
    CHECK_EQ(via_client_status(&client, VIA_STATUS_FAILED, &err), 0);
    end();
}

static void an_answer_too_many(void)
{
    struct via_err err = {.text = ""};
    CHECK(begin(ANSWERS_TWICE, VIA_VU_SET_FEATURES));
    CHECK(told(whole_life(&err), -VIA_EPROTO, &err, "SET_MEM_TABLE", "another request"));
    end();
}

static void what_is_needed_is_missing(void)
{
    struct via_err err = {.text = ""};
    CHECK(begin(HONEST, 0));
    CHECK(told(via_client_negotiate(&client, 0, VIA_BIT(VIA_F_RING_PACKED), 0, &err), -VIA_ENOTSUP, &err, "0x400000000", "lacks"));
    end();
}

TAP_MAIN(TEST(an_honest_one), TEST(every_lie_about_every_answer), TEST(silence_has_an_end), TEST(a_refusal_is_no_breach),
         TEST(an_answer_too_many), TEST(what_is_needed_is_missing))
