/* SPDX-License-Identifier: BSD-2-Clause */
/* Which misses were sent before the first of them was answered: the client must never count one among them that was sent later. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <tap.h>
#include <viaduct/vhost.h>

#define MISS_BYTES (VIA_VU_HDR + 32u)
enum { MOST = 8 };

static struct via_client client;
static int main_end, req_end; /* the back-end's */
static uint64_t round_of[MOST];
static unsigned seen;
static uint8_t late[MISS_BYTES]; /* sent while the first one is being answered */
static size_t late_len;

static bool put(const uint8_t *bytes, size_t len) { return write(req_end, bytes, len) == (ssize_t)len; }

static void compose(uint8_t *bytes, uint64_t number)
{
    static const struct via_back back = {.features = VIA_BIT(VIA_F_ACCESS_PLATFORM), .protocol = VIA_BIT(VIA_VU_PF_BACKEND_REQ)};
    struct via_vu_msg m;
    via_back_iotlb_event(&back, &m, VIA_VU_IOTLB_MISS, (via_iova){number}, VIA_PERM_R, false);
    via_vu_encode_header(&m, bytes);
    memcpy(bytes + VIA_VU_HDR, m.payload, m.size);
}

static int on_miss(struct via_client *c, const struct via_vu_iotlb *m)
{
    round_of[m->iova % MOST] = c->round;
    if (seen++ == 0)
        (void)put(late, late_len);
    return -VIA_EFAULT;
}

static bool up(void)
{
    int pair[2], req[2];
    CHECK_OR_FALSE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, req) == 0);
    client.miss = on_miss;
    CHECK_OR_FALSE(via_client_adopt(&client, pair[0]) == 0);
    client.req_fd = req[0];
    client.front.features = VIA_BIT(VIA_F_ACCESS_PLATFORM);
    client.front.protocol = VIA_BIT(VIA_VU_PF_BACKEND_REQ);
    main_end = pair[1];
    req_end = req[1];
    seen = 0;
    late_len = 0;
    memset(round_of, 0, sizeof(round_of));
    return true;
}

static void down(void)
{
    via_client_close(&client);
    close(main_end);
    close(req_end);
}

static bool serve(unsigned n)
{
    struct via_err err;
    for (unsigned i = 0; i < MOST && seen < n; i++)
        CHECK_OR_FALSE(via_client_back_req(&client, &err) == 0);
    CHECK_OR_FALSE(seen == n);
    return true;
}

static void what_was_there_is_one_round(void)
{
    uint8_t bytes[3 * MISS_BYTES];
    CHECK(up());
    for (unsigned i = 0; i < 3; i++)
        compose(bytes + i * MISS_BYTES, i);
    compose(late, 3);
    late_len = MISS_BYTES;
    CHECK(put(bytes, sizeof(bytes)) && serve(4));
    CHECK(round_of[0] == round_of[1] && round_of[1] == round_of[2] && round_of[3] != round_of[2]);
    compose(late, 4);
    CHECK(put(late, MISS_BYTES) && serve(5) && round_of[4] != round_of[3]);
    down();
}

static void one_that_was_half_there_is_of_the_next(void)
{
    for (size_t there = 1; there < MISS_BYTES; there++) {
        uint8_t bytes[3 * MISS_BYTES];
        CHECK(up());
        for (unsigned i = 0; i < 3; i++)
            compose(bytes + i * MISS_BYTES, i);
        late_len = MISS_BYTES - there;
        memcpy(late, bytes + 2 * MISS_BYTES + there, late_len);
        CHECK(put(bytes, 2 * MISS_BYTES + there) && serve(3));
        CHECK(round_of[0] == round_of[1] && round_of[2] != round_of[1]);
        down();
    }
}

TAP_MAIN(TEST(what_was_there_is_one_round), TEST(one_that_was_half_there_is_of_the_next))
