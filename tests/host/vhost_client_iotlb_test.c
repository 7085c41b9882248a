/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The client and translations: a back-end that can't answer before its misses are, translations sent ahead, floods in either direction.
 * What the client waits for comes, or the time ends; nothing else holds it up.
 */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vhost_rig.h"

#define FEATURES (RIG_FEATURES | VIA_BIT(VIA_F_ACCESS_PLATFORM))
#define PAGE 4096u

enum way {
    PLAIN,
    ASKS,                     /* misses, and answers when they were answered */
    ASKS_THEN_ANSWERS,        /* one miss; when the first update has come, the answer, and then those to updates */
    ASKS_THEN_REFUSES,        /* likewise */
    FLOODS_AND_READS,         /* misses without end, no answer */
    FLOODS_AND_READS_NOTHING, /* likewise, and takes nothing in */
    REFUSES_TRANSLATIONS,     /* each */
    IS_SILENT,                /* about translations */
    BRINGS_FDS,               /* with a miss */
    CUTS_A_MISS,
    ANSWERS_UNASKED, /* on its own channel */
    BREAKS_OFF,      /* in the middle of a miss */
    TELLS_OF_CONFIG,
    CLOSES_ITS_CHANNEL,
    ASKS_AND_LEAVES,
};

struct peer { /* a back-end that does something when one request comes */
    int fd, req;
    enum way way;
    uint32_t at; /* that request; IOTLB_MSG: an invalidation */
    unsigned misses;
    bool ask; /* for answers to them */
    struct via_back back;
    struct via_sock_rx rx, req_rx;
    unsigned held; /* answers to translations that wait for their turn */
    pthread_t thread;
    _Atomic unsigned updates, invalidations, refused, asked, settled;
};

static struct via_client client;
static struct peer peer;
static int verdict;        /* of the client's owner on a miss */
static unsigned per_miss;  /* updates that it sends */
static bool wait_in_there; /* and asks to wait for each */
static bool too_late;      /* and sends them when the back-end is gone */

/* ------------------------------------------------------------------ the back-end */

static int send_miss(struct peer *p, uint64_t page, int limit)
{
    struct via_vu_msg m;
    via_back_iotlb_event(&p->back, &m, VIA_VU_IOTLB_MISS, (via_iova){page * PAGE}, 1, p->ask);
    return via_sock_send(p->req, &m, limit, NULL);
}

/* Answers are never waited for: a client that lets too many come has lost. */
static bool answer_iotlb(struct peer *p, int result)
{
    struct via_vu_msg reply;
    via_back_iotlb_reply(&p->back, result, &reply);
    return via_sock_send(p->fd, &reply, 0, NULL) == 0;
}

static bool take_iotlb(struct peer *p)
{
    struct via_vu_iotlb got;
    int result = via_back_iotlb(&p->back, &p->rx.msg, &got);
    if (result == -VIA_EPROTO)
        return false;
    p->updates += result == 0 && got.type == VIA_VU_IOTLB_UPDATE;
    p->invalidations += result == 0 && got.type == VIA_VU_IOTLB_INVALIDATE;
    return true;
}

static bool read_iotlb(struct peer *p) { return via_sock_recv_wait(p->fd, &p->rx, 5000, NULL) == 1 && take_iotlb(p); }

static bool read_verdict(struct peer *p)
{
    uint64_t value;
    if (via_sock_recv_wait(p->req, &p->req_rx, 5000, NULL) != 1 || via_back_feed_answer(&p->back, &p->req_rx.msg, &value) < 0)
        return false;
    p->settled++;
    p->refused += value != 0;
    return true;
}

/* A few at once; each is answered by an update, or refused. */
static bool ask_misses(struct peer *p)
{
    unsigned batch = p->ask ? 20 : 100; /* it reads no updates before it has all verdicts: these must fit into the socket */
    for (p->asked = 0; p->asked < p->misses;) {
        unsigned last = p->updates + p->refused;
        for (unsigned i = 0; i < batch && p->asked < p->misses; i++, last++)
            if (send_miss(p, p->asked++, 5000) < 0)
                return false;
        for (unsigned i = p->settled; p->ask && i < p->asked; i++)
            if (!read_verdict(p))
                return false;
        while (p->updates + p->refused < last) {
            if (!read_iotlb(p))
                return false;
            p->held += p->at == VIA_VU_IOTLB_MSG;
            if (p->at != VIA_VU_IOTLB_MSG && !answer_iotlb(p, 0))
                return false;
        }
    }
    return true;
}

/* Until the client is gone. */
static bool flood(struct peer *p)
{
    while (send_miss(p, p->asked++, 0) != -VIA_ENODEV)
        if (p->way == FLOODS_AND_READS && via_sock_recv(p->fd, &p->rx, NULL) < 0)
            break;
    return false;
}

static bool lie(struct peer *p)
{
    struct via_vu_msg m;
    via_back_iotlb_event(&p->back, &m, VIA_VU_IOTLB_MISS, (via_iova){0}, 1, false);
    if (p->way == BRINGS_FDS)
        m.fd[m.nfd++] = p->fd;
    else if (p->way == CUTS_A_MISS)
        m.size = 25;
    else if (p->way == ANSWERS_UNASKED)
        m.flags |= VIA_VU_FLAG_REPLY;
    else if (p->way == TELLS_OF_CONFIG)
        via_back_config_changed(&p->back, &m);
    if (p->way == BREAKS_OFF) {
        (void)!write(p->req, &m, 7);
        return shutdown(p->req, SHUT_RDWR) == 0;
    }
    return via_sock_send(p->req, &m, 5000, NULL) == 0;
}

/* Before the answer. False: there is none. */
static bool misbehave(struct peer *p)
{
    switch (p->way) {
    case ASKS:
        return ask_misses(p);
    case ASKS_THEN_ANSWERS:
    case ASKS_THEN_REFUSES:
        p->held = 1;
        return send_miss(p, 0, 5000) == 0 && read_iotlb(p);
    case FLOODS_AND_READS:
    case FLOODS_AND_READS_NOTHING:
        return flood(p);
    case CLOSES_ITS_CHANNEL:
        return shutdown(p->req, SHUT_RDWR) == 0;
    case ASKS_AND_LEAVES:
        for (unsigned i = 0; i < 20; i++)
            (void)send_miss(p, i, 0);
        usleep(20000);
        return false;
    case PLAIN:
    case REFUSES_TRANSLATIONS:
    case IS_SILENT:
        return true;
    default:
        return lie(p);
    }
}

static bool answer_held(struct peer *p)
{
    bool ok = true;
    for (; p->held && ok; p->held--)
        ok = answer_iotlb(p, 0);
    return ok;
}

static bool one_iotlb(struct peer *p)
{
    unsigned before = p->invalidations;
    if (!take_iotlb(p))
        return false;
    if (p->at == VIA_VU_IOTLB_MSG && p->invalidations > before && !misbehave(p))
        return false;
    if (p->way == IS_SILENT)
        return true;
    return answer_iotlb(p, p->way == REFUSES_TRANSLATIONS ? -VIA_EINVAL : 0) && answer_held(p);
}

static bool one_request(struct peer *p)
{
    const struct via_back_action *act;
    struct via_vu_msg reply;
    uint32_t request = p->rx.msg.request;
    int result = via_back_feed(&p->back, &p->rx.msg, &act);
    via_vu_close_fds(&p->rx.msg);
    if (result < 0)
        return false;
    for (unsigned i = 0; i < VIA_VU_FDS_MAX; i++)
        if (act->fd[i] >= 0 && act->what != VIA_BACK_REQ_FD)
            close(act->fd[i]);
    if (act->what == VIA_BACK_REQ_FD)
        p->req = act->fd[0];
    bool here = request == p->at;
    if (here && !misbehave(p))
        return false;
    if (!via_back_done(&p->back, here && p->way == ASKS_THEN_REFUSES ? -VIA_EIO : 0, 41, &reply))
        return !p->back.broken;
    return via_sock_send(p->fd, &reply, 1000, NULL) == 0 && answer_held(p);
}

static void *serve(void *arg)
{
    struct peer *p = arg;
    const struct via_back_cfg cfg = {.features = FEATURES, .protocol = RIG_PROTOCOL, .queues = 1, .num_max = 256, .slots = 32};
    via_sock_rx_init(&p->rx);
    via_sock_rx_init(&p->req_rx);
    if (via_back_init(&p->back, &cfg) == 0)
        while (via_sock_recv_wait(p->fd, &p->rx, 5000, NULL) == 1 &&
               (p->rx.msg.request == VIA_VU_IOTLB_MSG ? one_iotlb(p) : one_request(p)))
            ;
    via_sock_rx_close(&p->rx);
    via_sock_rx_close(&p->req_rx);
    close(p->fd);
    if (p->req >= 0)
        close(p->req);
    return NULL;
}

/* ------------------------------------------------------------------ the front-end */

static int on_miss(struct via_client *c, const struct via_vu_iotlb *miss)
{
    struct via_vu_iotlb update = {.iova = miss->iova, .size = PAGE, .uva = 0x10000 + miss->iova, .perm = 3, .type = VIA_VU_IOTLB_UPDATE};
    struct via_err err;
    static unsigned depth;
    int result = verdict;
    if (depth++)
        tap_fail(__FILE__, __LINE__, "a miss is served within a miss: there would be no end to that");
    struct pollfd gone = {.fd = c->fd};
    if (too_late && poll(&gone, 1, 5000) != 1)
        tap_fail(__FILE__, __LINE__, "the back-end leaves");
    for (unsigned i = 0; i < per_miss && verdict == 0; i++, update.iova += PAGE) {
        int sent = via_client_iotlb(c, &update, wait_in_there, &err);
        result = result < 0 ? result : sent; /* goes on all the same: a connection that is broken stays so */
    }
    depth--;
    return result;
}

static bool begin(enum way way, uint32_t at, unsigned misses, bool ask)
{
    int pair[2];
    struct via_err err = {.text = ""};
    CHECK_OR_FALSE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    memset(&peer, 0, sizeof(peer));
    peer.fd = pair[1];
    peer.req = -1;
    peer.way = way;
    peer.at = at;
    peer.misses = misses;
    peer.ask = ask;
    verdict = 0;
    per_miss = 1;
    wait_in_there = too_late = false;
    CHECK_OR_FALSE(pthread_create(&peer.thread, NULL, serve, &peer) == 0);
    client.timeout_ms = 0;
    client.miss = on_miss;
    CHECK_OR_FALSE(via_client_adopt(&client, pair[0]) == 0);
    int result = via_client_negotiate(&client, FEATURES, VIA_BIT(VIA_F_ACCESS_PLATFORM), RIG_PROTOCOL, &err);
    if (result < 0)
        tap_note(err.text);
    return result == 0;
}

static void end(void)
{
    via_client_close(&client);
    pthread_join(peer.thread, NULL);
}

static int invalidate(bool wait, struct via_err *err)
{
    const struct via_vu_iotlb wide = {.iova = 0xfef00000, .size = 0xffffffff01100000, .type = VIA_VU_IOTLB_INVALIDATE};
    return via_client_iotlb(&client, &wide, wait, err);
}

/* All that waits for an answer. */
static int do_everything(struct via_err *err)
{
    uint8_t bytes[8];
    uint16_t base = 0;
    struct via_memory memory;
    int result = via_memory_create(&memory, "client", 1 << 16, err);
    if (result < 0)
        return result;
    const struct via_vu_region region = {0, memory.len, (uintptr_t)memory.ptr, 0};
    result = via_client_share(&client, &region, &memory.fd, 1, err);
    if (result == 0)
        result = via_client_config_get(&client, 0, bytes, sizeof(bytes), err);
    if (result == 0)
        result = via_client_ring_start(&client, 0, 16, 0x1000, 0x2000, 0x3000, 0, -1, -1, err);
    if (result == 0)
        result = via_client_status(&client, VIA_STATUS_DRIVER_OK, err);
    if (result == 0)
        result = invalidate(true, err);
    if (result == 0)
        result = via_client_ring_stop(&client, 0, &base, err);
    if (result == 0 && base != 41)
        result = via_err_set(err, -VIA_EPROTO, "the ring's base is not what the back-end said");
    via_memory_destroy(&memory);
    return result;
}

static bool told(int result, int want, const struct via_err *err, const char *words)
{
    if (result == want && strstr(err->text, words))
        return true;
    tap_note(err->text);
    tap_note(words);
    tap_fail_eq(__FILE__, __LINE__, "a result with its words", result, want);
    return false;
}

static const uint32_t moments[] = {VIA_VU_SET_MEM_TABLE,  VIA_VU_GET_CONFIG,     VIA_VU_SET_VRING_NUM,
                                   VIA_VU_SET_VRING_ADDR, VIA_VU_SET_VRING_KICK, VIA_VU_SET_VRING_ENABLE,
                                   VIA_VU_SET_STATUS,     VIA_VU_IOTLB_MSG,      VIA_VU_GET_VRING_BASE};

static void misses_before_any_answer(void)
{
    unsigned fds = scratch_open_fds();
    for (unsigned i = 0; i < via_array_len(moments); i++)
        for (unsigned ask = 0; ask < 2; ask++) {
            struct via_err err = {.text = ""};
            unsigned misses = moments[i] == VIA_VU_IOTLB_MSG ? 150 : 500;
            CHECK(begin(ASKS, moments[i], misses, ask));
            wait_in_there = ask; /* which is not waited for, then */
            CHECK(told(do_everything(&err), 0, &err, ""));
            CHECK_EQ(via_client_iotlb_settle(&client, &err), 0);
            CHECK(client.misses == misses && client.front.iotlb_due == 0);
            end();
            CHECK(peer.updates == misses && peer.invalidations == 1 && peer.settled == (ask ? misses : 0) && peer.refused == 0);
            CHECK_EQ(scratch_open_fds(), fds);
        }
}

static void misses_that_are_refused(void)
{
    for (unsigned nobody = 0; nobody < 2; nobody++) {
        struct via_err err = {.text = ""};
        CHECK(begin(ASKS, VIA_VU_GET_VRING_BASE, 50, true));
        verdict = -VIA_ENOENT;
        client.miss = nobody ? NULL : on_miss;
        CHECK(told(do_everything(&err), 0, &err, ""));
        CHECK_EQ(client.misses, 50);
        end();
        CHECK(peer.refused == 50 && peer.updates == 0);
    }
}

/* The back-end never waits with an answer: if the client let too many come, the connection would be gone. */
static void many_sent_ahead(void)
{
    struct via_err err = {.text = ""};
    CHECK(begin(PLAIN, 0, 0, false));
    for (unsigned i = 0; i < 20000; i++)
        CHECK(told(invalidate(false, &err), 0, &err, ""));
    CHECK(client.front.iotlb_due > 0);
    CHECK_EQ(via_client_status(&client, VIA_STATUS_DRIVER, &err), 0);
    CHECK_EQ(via_client_iotlb_settle(&client, &err), 0);
    CHECK(client.front.iotlb_due == 0 && peer.invalidations == 20000);
    CHECK_EQ(via_client_iotlb_settle(&client, &err), 0);
    end();
}

/* The answer that is waited for comes while the answer to a miss waits for others. */
static void an_answer_in_the_middle_of_a_miss(void)
{
    const enum way ways[] = {ASKS_THEN_ANSWERS, ASKS_THEN_REFUSES};
    const uint32_t at[] = {VIA_VU_SET_STATUS, VIA_VU_SET_MEM_TABLE};
    for (unsigned i = 0; i < via_array_len(ways); i++)
        for (unsigned wait = 0; wait < 2; wait++) {
            struct via_err err = {.text = ""};
            CHECK(begin(ways[i], at[i], 1, false));
            per_miss = 1000;
            wait_in_there = wait;
            CHECK(i ? told(do_everything(&err), -VIA_EIO, &err, "answer to SET_MEM_TABLE: the back-end says that the request failed")
                    : told(do_everything(&err), 0, &err, ""));
            CHECK_EQ(via_client_iotlb_settle(&client, &err), 0);
            CHECK_EQ(via_client_status(&client, 0, &err), 0);
            end();
            CHECK(peer.updates >= 1000);
        }
}

static void a_flood_has_an_end(void)
{
    const enum way ways[] = {FLOODS_AND_READS, FLOODS_AND_READS_NOTHING};
    unsigned fds = scratch_open_fds();
    for (unsigned i = 0; i < via_array_len(ways); i++)
        for (unsigned ask = 0; ask < 2; ask++)
            for (unsigned at = 0; at < 2; at++) {
                struct via_err err = {.text = ""};
                struct timespec before, after;
                CHECK(begin(ways[i], at ? VIA_VU_IOTLB_MSG : VIA_VU_GET_VRING_BASE, 0, ask));
                client.timeout_ms = 300;
                per_miss = at ? 300 : 1;
                clock_gettime(CLOCK_MONOTONIC, &before);
                CHECK(told(do_everything(&err), -VIA_ETIMEDOUT, &err, at ? "IOTLB_MSG" : "GET_VRING_BASE"));
                clock_gettime(CLOCK_MONOTONIC, &after);
                CHECK(after.tv_sec - before.tv_sec <= 2 && client.misses > 0);
                CHECK(told(via_client_status(&client, 0, &err), -VIA_EPROTO, &err, "earlier failure"));
                CHECK(told(invalidate(true, &err), -VIA_EPROTO, &err, "earlier failure"));
                CHECK(told(via_client_back_req(&client, &err), -VIA_EPROTO, &err, "earlier failure"));
                end();
                CHECK_EQ(scratch_open_fds(), fds);
            }
}

static void translations_that_are_refused(void)
{
    struct via_err err = {.text = ""};
    CHECK(begin(REFUSES_TRANSLATIONS, 0, 0, false));
    CHECK(told(invalidate(true, &err), -VIA_EIO, &err, "IOTLB_MSG failed"));
    CHECK_EQ(via_client_status(&client, 1, &err), 0); /* who waited knows, and life goes on */
    CHECK_EQ(invalidate(false, &err), 0);
    int result = 0;
    for (unsigned i = 0; i < 100 && result == 0; i++) { /* its answer comes with one of these */
        result = via_client_status(&client, 1, &err);
        usleep(1000);
    }
    CHECK(told(result, -VIA_EIO, &err, "before that: the back-end says that an IOTLB_MSG failed"));
    CHECK(told(via_client_status(&client, 1, &err), -VIA_EPROTO, &err, "earlier failure"));
    end();
    CHECK(begin(REFUSES_TRANSLATIONS, 0, 0, false)); /* the first of two is nobody's */
    CHECK_EQ(invalidate(false, &err), 0);
    CHECK(told(invalidate(true, &err), -VIA_EIO, &err, "before that"));
    CHECK(told(via_client_iotlb_settle(&client, &err), -VIA_EPROTO, &err, "earlier failure"));
    end();
}

static void silence_about_translations(void)
{
    struct via_err err = {.text = ""};
    CHECK(begin(IS_SILENT, 0, 0, false));
    client.timeout_ms = 100;
    CHECK_EQ(invalidate(false, &err), 0);
    CHECK_EQ(via_client_status(&client, 1, &err), 0);
    CHECK(told(invalidate(true, &err), -VIA_ETIMEDOUT, &err, "no answer to IOTLB_MSG: it did not answer within 100 ms"));
    end();
    CHECK(begin(IS_SILENT, 0, 0, false));
    client.timeout_ms = 100;
    int result = 0;
    for (unsigned i = 0; i < 1000 && result == 0; i++)
        result = invalidate(false, &err);
    CHECK(told(result, -VIA_ETIMEDOUT, &err, "an earlier IOTLB_MSG"));
    end();
}

static void lies_on_the_back_ends_channel(void)
{
    const struct {
        enum way way;
        const char *words;
    } lies[] = {
        {BRINGS_FDS, "BACKEND_IOTLB_MSG, is wrong: BACKEND_IOTLB_MSG: file descriptors"},
        {CUTS_A_MISS, "wrong size"},
        {ANSWERS_UNASKED, "where nothing was asked"},
        {BREAKS_OFF, "in the middle of a message"},
    };
    unsigned fds = scratch_open_fds();
    for (unsigned i = 0; i < via_array_len(lies); i++) {
        struct via_err err = {.text = ""};
        CHECK(begin(lies[i].way, VIA_VU_GET_VRING_BASE, 0, false));
        int result = do_everything(&err);
        for (unsigned k = 0; k < 100 && result == 0; k++) { /* the answer came first */
            result = via_client_back_req(&client, &err);
            usleep(1000);
        }
        CHECK(told(result, -VIA_EPROTO, &err, lies[i].words));
        CHECK(told(via_client_status(&client, 0, &err), -VIA_EPROTO, &err, "earlier failure"));
        CHECK(told(via_client_status(&client, 0, &err), -VIA_EPROTO, &err, "earlier failure"));
        end();
        CHECK_EQ(scratch_open_fds(), fds);
    }
}

static void a_channel_that_is_closed(void)
{
    struct via_err err = {.text = ""};
    CHECK(begin(CLOSES_ITS_CHANNEL, VIA_VU_SET_MEM_TABLE, 0, false));
    CHECK(told(do_everything(&err), 0, &err, ""));
    CHECK(told(via_client_back_req(&client, &err), -VIA_ENODEV, &err, "closed"));
    CHECK_EQ(via_client_status(&client, 0, &err), 0);
    end();
}

static void a_back_end_that_asks_and_leaves(void)
{
    for (unsigned i = 0; i < via_array_len(moments); i++) {
        struct via_err err = {.text = ""};
        CHECK(begin(ASKS_AND_LEAVES, moments[i], 0, true));
        per_miss = 3;
        too_late = true;
        int result = do_everything(&err);
        CHECK(told(result, -VIA_ENODEV, &err, "broke when a miss was to be answered"));
        CHECK_EQ(via_client_status(&client, 0, &err), -VIA_EPROTO);
        end();
    }
}

static void config_changes_are_remembered(void)
{
    struct via_err err = {.text = ""};
    CHECK(begin(TELLS_OF_CONFIG, VIA_VU_SET_MEM_TABLE, 0, false));
    CHECK(told(do_everything(&err), 0, &err, ""));
    CHECK_EQ(via_client_back_req(&client, &err), 1);
    CHECK_EQ(via_client_back_req(&client, &err), 0);
    end();
}

/* Nobody waits: the loop of the client's owner serves, a bounded number a call, and answers are taken in by the way. */
static void served_by_the_owners_loop(void)
{
    struct via_err err = {.text = ""};
    CHECK(begin(ASKS, VIA_VU_IOTLB_MSG, 150, false));
    CHECK_EQ(invalidate(false, &err), 0);
    for (unsigned i = 0; i < 5000 && (client.misses < 150 || client.front.iotlb_due); i++) {
        uint64_t before = client.misses;
        CHECK_EQ(via_client_back_req(&client, &err), 0);
        CHECK(client.misses - before <= 64);
        usleep(1000);
    }
    CHECK(client.misses == 150 && client.front.iotlb_due == 0);
    end();
    CHECK(peer.updates == 150 && peer.invalidations == 1);
}

TAP_MAIN(TEST(misses_before_any_answer), TEST(misses_that_are_refused), TEST(many_sent_ahead), TEST(an_answer_in_the_middle_of_a_miss),
         TEST(a_flood_has_an_end), TEST(translations_that_are_refused), TEST(silence_about_translations),
         TEST(lies_on_the_back_ends_channel), TEST(a_channel_that_is_closed), TEST(a_back_end_that_asks_and_leaves),
         TEST(config_changes_are_remembered), TEST(served_by_the_owners_loop))
