/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include <tap.h>

#include "talk.h"

static void a_header_goes_there_and_back(void)
{
    struct via_vu_msg m = {.request = 5, .flags = 9, .size = 264}, got = {0};
    struct via_fault f = {0};
    uint8_t bytes[VIA_VU_HDR];
    via_vu_encode_header(&m, bytes);
    const uint32_t want[3] = {5, 9, 264};
    CHECK(memcmp(bytes, want, sizeof(bytes)) == 0);
    CHECK_EQ(via_vu_decode_header(&got, bytes, &f), 0);
    CHECK(got.request == 5 && got.flags == 9 && got.size == 264 && !f.what);
}

static void lying_headers(void)
{
    for (uint32_t version = 0; version < 4; version++)
        for (uint32_t size = VIA_VU_PAYLOAD_MAX - 1; size <= VIA_VU_PAYLOAD_MAX + 1; size++) {
            struct via_vu_msg m = {.request = 1, .flags = version, .size = size}, got = {.size = 7};
            struct via_fault f = {0};
            uint8_t bytes[VIA_VU_HDR];
            via_vu_encode_header(&m, bytes);
            bool good = version == 1 && size <= VIA_VU_PAYLOAD_MAX;
            CHECK_EQ(via_vu_decode_header(&got, bytes, &f), good ? 0 : -VIA_EPROTO);
            CHECK_EQ(got.size, good ? size : 0);
            CHECK(good || talk_fault_has(&f, version != 1 ? "version" : "larger payload"));
        }
    struct via_vu_msg huge = {.request = 1, .flags = 1, .size = UINT32_MAX}, got;
    struct via_fault f = {0};
    uint8_t bytes[VIA_VU_HDR];
    via_vu_encode_header(&huge, bytes);
    CHECK_EQ(via_vu_decode_header(&got, bytes, &f), -VIA_EPROTO);
    CHECK_EQ(f.got, UINT32_MAX);
}

static void names(void)
{
    CHECK(strcmp(via_vu_name(VIA_VU_SET_MEM_TABLE), "SET_MEM_TABLE") == 0);
    CHECK(strcmp(via_vu_name(VIA_VU_GET_STATUS), "GET_STATUS") == 0);
    CHECK(strcmp(via_vu_name(VIA_VU_IOTLB_MSG), "IOTLB_MSG") == 0);
    CHECK(strcmp(via_vu_back_name(VIA_VU_BACK_IOTLB_MSG), "BACKEND_IOTLB_MSG") == 0);
    CHECK(strcmp(via_vu_back_name(VIA_VU_BACK_CONFIG_CHANGE), "BACKEND_CONFIG_CHANGE_MSG") == 0);
    CHECK(strcmp(via_vu_back_name(3), "unknown request") == 0);
    const uint32_t unknown[] = {0, 10000, 19, 41, 1000, UINT32_MAX};
    for (unsigned i = 0; i < via_array_len(unknown); i++)
        CHECK(strcmp(via_vu_name(unknown[i]), "unknown request") == 0);
}

TAP_MAIN(TEST(a_header_goes_there_and_back), TEST(lying_headers), TEST(names))
