/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Saved states from whoever: what is taken comes out again as the same bytes, and what is refused is refused with a reason and leaves
 * nothing behind. The first byte says whether the sum is made right, so that what lies behind it is reached.
 */
#include <string.h>

#include <viaduct/state.h>

#include "input.h"

#define SUM_AT 16u
#define HEAD 56u
#define LEN_AT 12u

static void word_put(uint8_t *at, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(v >> 8 * i);
}

static void seal(uint8_t *bytes, size_t len)
{
    uint32_t sum = UINT32_MAX;
    word_put(bytes + LEN_AT, (uint32_t)len);
    word_put(bytes + SUM_AT, 0);
    for (size_t i = 0; i < len; i++) {
        sum ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            sum = (sum >> 1) ^ ((sum & 1) * 0x82f63b78u);
    }
    word_put(bytes + SUM_AT, ~sum);
}

static void compare(const struct via_state *s, struct input *in)
{
    uint8_t config[VIA_STATE_CONFIG_MAX] = {(uint8_t)byte(in)};
    struct via_state_difference d[3];
    struct via_state_host h = {byte(in), s->offered ^ byte(in), config, (uint16_t)byte(in), (uint16_t)byte(in), (uint16_t)(byte(in) << 8)};
    unsigned n = via_state_compare(s, &h, d, 3);
    for (unsigned i = 0; i < n && i < 3; i++)
        REQUIRE(via_state_kind_text(d[i].kind));
    h = (struct via_state_host){s->device, s->offered, s->config, s->config_len, s->queues, VIA_RING_NUM_MAX};
    REQUIRE(via_state_compare(s, &h, d, 0) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t bytes[2 * VIA_STATE_BYTES_MAX], again[VIA_STATE_BYTES_MAX];
    static struct via_state s;
    struct via_fault why = {0};
    struct input in = {data, size};
    bool right = byte(&in) & 1;
    size_t len = in.left < sizeof(bytes) ? in.left : sizeof(bytes);
    if (len)
        memcpy(bytes, in.at, len);
    if (right && len >= HEAD) {
        memcpy(bytes, "viaduct\x1a\1\0\0\0", 12);
        seal(bytes, len);
    }
    memset(&s, 0x5a, sizeof(s));
    int r = via_state_decode(&s, bytes, len, &why);
    if (r < 0) {
        REQUIRE(why.what);
        for (size_t i = 0; i < sizeof(s); i++)
            REQUIRE(((const uint8_t *)&s)[i] == 0x5a);
        return 0;
    }
    REQUIRE(r == 0 && !why.what);
    REQUIRE(via_state_encode(&s, again, sizeof(again), &why) == (int)len);
    REQUIRE(memcmp(bytes, again, len) == 0);
    compare(&s, &in);
    return 0;
}
