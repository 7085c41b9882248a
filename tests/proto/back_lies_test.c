/* SPDX-License-Identifier: BSD-2-Clause */
/* Front-ends that break the rules: each way is named by a sentence, takes no descriptor, and ends the session. */
#include <string.h>

#include <tap.h>

#include "talk.h"

static struct talk t;

struct lie {
    struct via_vu_msg m;
    const char *words;
};

enum stage {
    STRANGER, /* connected, said nothing */
    READY,    /* all negotiated */
    RUNNING,  /* ring 0 runs */
};

static bool caught(const struct lie *lie, unsigned n, enum stage stage)
{
    for (unsigned i = 0; i < n; i++)
        for (unsigned asked = 0; asked < 2; asked++) {
            struct via_vu_msg m = asked ? msg_ask(lie[i].m) : lie[i].m;
            CHECK_OR_FALSE(stage == STRANGER ? talk_init(&t) : talk_ready(&t, 0));
            CHECK_OR_FALSE(stage != RUNNING || talk_start_ring(&t, 0, 7));
            int did = talk_feed(&t, &m);
            if (did != BROKEN || t.replied || t.lost_fd || !talk_fault_has(&t.b.fault, lie[i].words)) {
                tap_note(lie[i].words);
                tap_fail_eq(__FILE__, __LINE__, "lie", i, did);
                return false;
            }
            for (unsigned k = 0; k < m.nfd && k < VIA_VU_FDS_MAX; k++)
                CHECK_OR_FALSE(m.fd[k] == FIRST_FD + (int)k);
            const char *first = t.b.fault.what;
            CHECK_OR_FALSE(talk(&t, msg_plain(VIA_VU_GET_FEATURES)) == BROKEN && t.b.fault.what == first);
        }
    return true;
}

static struct via_vu_msg answer(struct via_vu_msg m)
{
    m.flags |= VIA_VU_FLAG_REPLY;
    return m;
}

static struct via_vu_msg sized(struct via_vu_msg m, uint32_t size)
{
    m.size = size;
    return m;
}

static const struct via_vu_region fine = {0x1000, 0x2000, 0x7f0000000000, 0};

static void speaks_out_of_order(void)
{
    const struct lie lies[] = {
        {msg_u64(VIA_VU_SET_FEATURES, 0), "SET_FEATURES: out of order, SET_OWNER"},
        {msg_table(1, 1, &fine), "SET_MEM_TABLE: out of order, SET_OWNER"},
        {msg_state(VIA_VU_SET_VRING_NUM, 0, 8), "SET_VRING_NUM: out of order, SET_OWNER"},
        {msg_fd(VIA_VU_SET_VRING_KICK, 0, 1), "SET_VRING_KICK: out of order, SET_OWNER"},
        {msg_state(VIA_VU_GET_VRING_BASE, 0, 0), "GET_VRING_BASE: out of order, SET_OWNER"},
        {msg_plain(VIA_VU_GET_PROTOCOL_FEATURES), "before GET_FEATURES"},
        {msg_u64(VIA_VU_SET_PROTOCOL_FEATURES, 0), "before GET_FEATURES"},
        {msg_plain(VIA_VU_GET_QUEUE_NUM), "GET_QUEUE_NUM: needs a protocol feature"},
        {msg_raw(VIA_VU_SET_BACKEND_REQ_FD, NULL, 0, 1), "SET_BACKEND_REQ_FD: needs a protocol feature"},
        {msg_config(VIA_VU_GET_CONFIG, 0, 8, 0, 8), "GET_CONFIG: needs a protocol feature"},
        {msg_plain(VIA_VU_RESET_DEVICE), "RESET_DEVICE: needs a protocol feature"},
        {msg_plain(VIA_VU_GET_MAX_MEM_SLOTS), "GET_MAX_MEM_SLOTS: needs a protocol feature"},
        {msg_region(VIA_VU_ADD_MEM_REG, fine, 1), "ADD_MEM_REG: needs a protocol feature"},
        {msg_region(VIA_VU_REM_MEM_REG, fine, 1), "REM_MEM_REG: needs a protocol feature"},
        {msg_raw(VIA_VU_SET_LOG_BASE, (const uint64_t[]){4096, 0}, 16, 1), "SET_LOG_BASE: needs a protocol feature"},
        {msg_u64(VIA_VU_SET_STATUS, 0), "SET_STATUS: needs a protocol feature"},
        {answer(msg_plain(VIA_VU_GET_FEATURES)), "only requests are due"},
        {answer(msg_plain(12345)), "only requests are due"},
    };
    CHECK(caught(lies, via_array_len(lies), STRANGER));
}

static void starts_a_ring_before_features(void)
{
    CHECK(talk_init(&t));
    CHECK_EQ(talk(&t, msg_plain(VIA_VU_SET_OWNER)), VIA_BACK_NOTHING);
    CHECK_EQ(talk(&t, msg_state(VIA_VU_SET_VRING_NUM, 0, 8)), VIA_BACK_NOTHING);
    CHECK_EQ(talk(&t, msg_addr(0, 0, 0, 0, 0)), VIA_BACK_NOTHING);
    struct via_vu_msg kick = msg_fd(VIA_VU_SET_VRING_KICK, 0, 1);
    CHECK_EQ(talk_feed(&t, &kick), BROKEN);
    CHECK(kick.fd[0] == FIRST_FD && talk_fault_has(&t.b.fault, "before SET_FEATURES"));
}

/* Every request in every size from nothing to beyond the largest: the sizes that are not this request's are refused. */
static void wrong_sizes(void)
{
    const struct {
        struct via_vu_msg m;
        uint32_t min, max;
    } part[] = {
        {msg_plain(VIA_VU_GET_FEATURES), 0, 0},
        {msg_plain(VIA_VU_SET_OWNER), 0, 0},
        {msg_plain(VIA_VU_RESET_OWNER), 0, 0},
        {msg_plain(VIA_VU_GET_PROTOCOL_FEATURES), 0, 0},
        {msg_plain(VIA_VU_GET_QUEUE_NUM), 0, 0},
        {msg_plain(VIA_VU_RESET_DEVICE), 0, 0},
        {msg_plain(VIA_VU_GET_MAX_MEM_SLOTS), 0, 0},
        {msg_plain(VIA_VU_GET_STATUS), 0, 0},
        {msg_raw(VIA_VU_SET_BACKEND_REQ_FD, NULL, 0, 1), 0, 0},
        {msg_raw(VIA_VU_SET_LOG_BASE, (const uint64_t[]){4096, 0}, 16, 1), 16, 16},
        {msg_raw(VIA_VU_SET_LOG_FD, NULL, 0, 1), 0, 8},
        {msg_u64(VIA_VU_SET_FEATURES, BIT30), 8, 8},
        {msg_u64(VIA_VU_SET_PROTOCOL_FEATURES, ALL_PROTOCOL), 8, 8},
        {msg_u64(VIA_VU_SET_STATUS, 1), 8, 8},
        {msg_state(VIA_VU_SET_VRING_NUM, 0, 8), 8, 8},
        {msg_state(VIA_VU_SET_VRING_BASE, 0, 8), 8, 8},
        {msg_state(VIA_VU_GET_VRING_BASE, 0, 0), 8, 8},
        {msg_state(VIA_VU_SET_VRING_ENABLE, 0, 1), 8, 8},
        {msg_fd(VIA_VU_SET_VRING_KICK, 0, 1), 8, 8},
        {msg_fd(VIA_VU_SET_VRING_CALL, 0, 1), 8, 8},
        {msg_fd(VIA_VU_SET_VRING_ERR, 0, 1), 8, 8},
        {msg_addr(0, 0, 0, 0, 0), 40, 40},
        {msg_table(1, 1, &fine), 40, 264},
        {msg_region(VIA_VU_ADD_MEM_REG, fine, 1), 36, 272},
        {msg_region(VIA_VU_REM_MEM_REG, fine, 0), 36, 272},
        {msg_config(VIA_VU_GET_CONFIG, 0, 60, 0, 60), 72, 268},
        {msg_config(VIA_VU_SET_CONFIG, 0, 60, 0, 60), 72, 268},
    };
    for (unsigned i = 0; i < via_array_len(part); i++)
        for (uint32_t size = 0; size <= VIA_VU_PAYLOAD_MAX + 4; size++) {
            bool good = size >= part[i].min && size <= part[i].max;
            struct via_vu_msg m = sized(part[i].m, size);
            CHECK(talk_ready(&t, 0));
            int did = talk_feed(&t, &m);
            CHECK_EQ(did == BROKEN, !good);
            CHECK(good || strstr(t.b.fault.what, "size") || strstr(t.b.fault.what, "payload") || strstr(t.b.fault.what, "larger"));
            CHECK(!t.lost_fd);
        }
}

static void wrong_descriptors(void)
{
    const struct via_vu_region two[2] = {fine, {0x10000, 0x1000, 0x7f1000000000, 0}};
    const struct lie lies[] = {
        {msg_raw(VIA_VU_GET_FEATURES, NULL, 0, 1), "GET_FEATURES: the wrong number of file descriptors"},
        {msg_raw(VIA_VU_SET_OWNER, NULL, 0, 8), "SET_OWNER: the wrong number of file descriptors"},
        {msg_raw(VIA_VU_SET_BACKEND_REQ_FD, NULL, 0, 0), "SET_BACKEND_REQ_FD: the wrong number of file descriptors"},
        {msg_raw(VIA_VU_SET_BACKEND_REQ_FD, NULL, 0, 2), "SET_BACKEND_REQ_FD: the wrong number of file descriptors"},
        {msg_table(2, 1, two), "as many file descriptors as regions"},
        {msg_table(2, 3, two), "as many file descriptors as regions"},
        {msg_table(2, 0, two), "as many file descriptors as regions"},
        {msg_table(0, 1, two), "as many file descriptors as regions"},
        {msg_region(VIA_VU_ADD_MEM_REG, fine, 0), "ADD_MEM_REG: the wrong number of file descriptors"},
        {msg_region(VIA_VU_ADD_MEM_REG, fine, 2), "ADD_MEM_REG: the wrong number of file descriptors"},
        {msg_region(VIA_VU_REM_MEM_REG, fine, 2), "REM_MEM_REG: the wrong number of file descriptors"},
        {msg_fd(VIA_VU_SET_VRING_KICK, 0, 0), "needs one file descriptor"},
        {msg_fd(VIA_VU_SET_VRING_KICK, VIA_VU_NOFD, 1), "or the flag that says there is none"},
        {msg_fd(VIA_VU_SET_VRING_CALL, 0, 0), "needs one file descriptor"},
        {msg_fd(VIA_VU_SET_VRING_CALL, VIA_VU_NOFD | 1, 1), "or the flag that says there is none"},
        {msg_fd(VIA_VU_SET_VRING_ERR, 0, 2), "SET_VRING_ERR: the wrong number of file descriptors"},
        {msg_raw(VIA_VU_SET_LOG_BASE, (const uint64_t[]){4096, 0}, 16, 0), "SET_LOG_BASE: the wrong number of file descriptors"},
        {msg_raw(VIA_VU_SET_LOG_BASE, (const uint64_t[]){4096, 0}, 16, 2), "SET_LOG_BASE: the wrong number of file descriptors"},
        {msg_raw(VIA_VU_SET_LOG_FD, NULL, 0, 0), "SET_LOG_FD: the wrong number of file descriptors"},
        {msg_fd(VIA_VU_SET_VRING_NUM, 0, 1), "SET_VRING_NUM: the wrong number of file descriptors"},
    };
    CHECK(caught(lies, via_array_len(lies), READY));
    CHECK(caught(lies, via_array_len(lies), RUNNING));
    struct via_vu_msg nine = msg_plain(VIA_VU_SET_OWNER);
    nine.nfd = VIA_VU_FDS_MAX + 1;
    const struct via_back_action *act;
    CHECK(talk_ready(&t, 0));
    CHECK_EQ(via_back_feed(&t.b, &nine, &act), -VIA_EPROTO);
}

static void wrong_regions(void)
{
    const struct via_vu_region gpa[2] = {{0x1000, 0x1000, 0x1000, 0}, {0x1fff, 1, 0x9000, 0}},
                               uva[2] = {{0x1000, 0x1000, 0x1000, 0}, {0x2000, 0x1000, 0x1, 0}}, same[2] = {fine, fine},
                               empty = {0x1000, 0, 0x1000, 0}, over = {UINT64_MAX, 2, 0x1000, 0},
                               uover = {0x1000, 0x1000, UINT64_MAX - 0xffe, 0}, oover = {0x1000, 0x1000, 0x1000, UINT64_MAX},
                               all[2] = {{0, UINT64_MAX, 0, 0}, {5, 1, 5, 0}}, nine[8] = {{0}};
    const struct lie lies[] = {
        {msg_table(2, 2, gpa), "overlap in guest-physical"},
        {msg_table(2, 2, uva), "overlap in user addresses"},
        {msg_table(2, 2, same), "overlap in guest-physical"},
        {msg_table(2, 2, all), "overlap in guest-physical"},
        {msg_table(1, 1, &empty), "region is empty"},
        {msg_table(1, 1, &over), "wraps around the end of guest-physical"},
        {msg_table(1, 1, &uover), "wraps around the end of user"},
        {msg_table(1, 1, &oover), "offset in its file wraps"},
        {msg_table(9, 8, nine), "more regions than a table holds"},
        {msg_table(UINT32_MAX, 8, nine), "more regions than a table holds"},
        {sized(msg_table(2, 2, gpa), 71), "ends before its last region"},
        {msg_region(VIA_VU_ADD_MEM_REG, empty, 1), "region is empty"},
        {msg_region(VIA_VU_ADD_MEM_REG, over, 1), "wraps around the end of guest-physical"},
        {msg_region(VIA_VU_ADD_MEM_REG, uover, 1), "wraps around the end of user"},
        {msg_region(VIA_VU_ADD_MEM_REG, oover, 1), "offset in its file wraps"},
    };
    CHECK(caught(lies, via_array_len(lies), READY));
    CHECK(caught(lies, via_array_len(lies), RUNNING));
}

static void wrong_values(void)
{
    const struct lie lies[] = {
        {msg_u64(VIA_VU_SET_FEATURES, BIT30 | 2), "SET_FEATURES: accepts features that were not offered"},
        {msg_u64(VIA_VU_SET_PROTOCOL_FEATURES, PF(MQ) | 4), "SET_PROTOCOL_FEATURES: accepts"},
        {msg_raw(VIA_VU_SET_LOG_BASE, (const uint64_t[]){0, 0}, 16, 1), "the log is empty"},
        {msg_raw(VIA_VU_SET_LOG_BASE, (const uint64_t[]){4096, UINT64_MAX - 4094}, 16, 1), "offset in its file wraps"},
        {msg_u64(VIA_VU_SET_STATUS, 256), "8 bits"},
        {msg_state(VIA_VU_SET_VRING_NUM, 0, 0), "power of two"},
        {msg_state(VIA_VU_SET_VRING_NUM, 0, 100), "power of two"},
        {msg_state(VIA_VU_SET_VRING_NUM, 0, 512), "within the limit"},
        {msg_state(VIA_VU_SET_VRING_NUM, 0, 0x80000000), "within the limit"},
        {msg_state(VIA_VU_SET_VRING_NUM, 2, 8), "a ring that this device does not have"},
        {msg_state(VIA_VU_SET_VRING_BASE, 0xffffffff, 0), "a ring that this device does not have"},
        {msg_state(VIA_VU_SET_VRING_BASE, 0, 0x10000), "16 bits"},
        {msg_state(VIA_VU_GET_VRING_BASE, 64, 0), "a ring that this device does not have"},
        {msg_state(VIA_VU_SET_VRING_ENABLE, 2, 1), "a ring that this device does not have"},
        {msg_state(VIA_VU_SET_VRING_ENABLE, 0, 2), "neither 0 nor 1"},
        {msg_addr(2, 0, 0, 0, 0), "a ring that this device does not have"},
        {msg_addr(0, 2, 0, 0, 0), "SET_VRING_ADDR: flags"},
        {msg_addr(0, 0, 8, 0, 0), "misaligned"},
        {msg_addr(0, 0, 0, 1, 0), "misaligned"},
        {msg_addr(0, 0, 0, 0, 2), "misaligned"},
        {msg_fd(VIA_VU_SET_VRING_KICK, 2, 1), "a ring that this device does not have"},
        {msg_fd(VIA_VU_SET_VRING_CALL, 255, 1), "a ring that this device does not have"},
        {msg_fd(VIA_VU_SET_VRING_ERR, 0x200, 1), "bits set that do not exist"},
        {msg_fd(VIA_VU_SET_VRING_KICK, VIA_BIT(63), 1), "bits set that do not exist"},
        {msg_config(VIA_VU_GET_CONFIG, 0, 0, 0, 8), "asks for no bytes"},
        {msg_config(VIA_VU_GET_CONFIG, 0, 257, 0, 256), "more than config space has"},
        {msg_config(VIA_VU_GET_CONFIG, 0, UINT32_MAX, 0, 256), "more than config space has"},
        {msg_config(VIA_VU_GET_CONFIG, 0, 9, 0, 8), "shorter than the bytes"},
        {msg_config(VIA_VU_GET_CONFIG, 249, 8, 0, 8), "beyond the end of config space"},
        {msg_config(VIA_VU_GET_CONFIG, UINT32_MAX, 8, 0, 8), "beyond the end of config space"},
        {msg_config(VIA_VU_SET_CONFIG, 0, 8, 2, 8), "SET_CONFIG: flags"},
    };
    CHECK(caught(lies, via_array_len(lies), READY));
    CHECK(caught(lies, via_array_len(lies), RUNNING));
}

static void changes_a_running_ring(void)
{
    const struct lie lies[] = {
        {msg_state(VIA_VU_SET_VRING_NUM, 0, 64), "SET_VRING_NUM: the ring is running"},
        {msg_state(VIA_VU_SET_VRING_BASE, 0, 8), "SET_VRING_BASE: the ring is running"},
        {msg_addr(0, 0, 0x10010, 0x20000, 0x30000), "SET_VRING_ADDR: the ring is running"},
        {msg_addr(0, 0, 0x10000, 0x20002, 0x30000), "SET_VRING_ADDR: the ring is running"},
        {msg_addr(0, 0, 0x10000, 0x20000, 0x30004), "SET_VRING_ADDR: the ring is running"},
        {msg_u64(VIA_VU_SET_FEATURES, VERSION_1 | EVENT_IDX | LOG_ALL | BIT30), "can't change while rings run"},
    };
    CHECK(caught(lies, via_array_len(lies), RUNNING));
}

TAP_MAIN(TEST(speaks_out_of_order), TEST(starts_a_ring_before_features), TEST(wrong_sizes), TEST(wrong_descriptors), TEST(wrong_regions),
         TEST(wrong_values), TEST(changes_a_running_ring))
