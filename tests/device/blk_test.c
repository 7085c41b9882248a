/* SPDX-License-Identifier: BSD-2-Clause */
/* The block device: every request type, every malformed request, every layout of a request. */
#include <string.h>

#include <tap.h>

#include "rig.h"

#define BIT(x) VIA_BIT(VIA_BLK_F_##x)
#define LAST (RIG_SECTORS - 1)

struct ask {
    const char *what;
    struct rig_request q;
    int status;
};

static void answers_and_nothing_else_changes(struct rig *r, const struct ask *ask, unsigned n)
{
    static uint8_t before[sizeof(r->disk)];
    memcpy(before, r->disk, sizeof(before));
    for (unsigned i = 0; i < n; i++) {
        struct via_blk_range range = {via_le64_make(1), via_le32_make(1), via_le32_make(0)};
        memcpy(r->mem + RIG_DATA + 16, &range, sizeof(range)); /* a sound one, for requests that would use it */
        int got = rig_ask(r, &ask[i].q);
        if (got != ask[i].status)
            tap_note(ask[i].what);
        CHECK_EQ(got, ask[i].status);
        CHECK(memcmp(before, r->disk, sizeof(before)) == 0);
        /* What is reported as written and is no data of the disk is zeros. */
        for (uint32_t k = 0; ask[i].status != VIA_BLK_S_OK && k < ask[i].q.in; k++)
            CHECK_EQ(r->mem[RIG_DATA + 16 + ask[i].q.out + k], 0);
    }
}

static void requests_that_are_refused(void)
{
    static const struct ask ask[] = {
        {"read beyond the end", {VIA_BLK_T_IN, RIG_SECTORS, 0, 512}, VIA_BLK_S_IOERR},
        {"read across the end", {VIA_BLK_T_IN, LAST, 0, 1024}, VIA_BLK_S_IOERR},
        {"read far beyond", {VIA_BLK_T_IN, UINT64_MAX, 0, 1024}, VIA_BLK_S_IOERR},
        {"read whose byte offset wraps to 0", {VIA_BLK_T_IN, UINT64_C(1) << 55, 0, 512}, VIA_BLK_S_IOERR},
        {"read whose end wraps", {VIA_BLK_T_IN, (UINT64_C(1) << 55) - 1, 0, 1024}, VIA_BLK_S_IOERR},
        {"read of half a sector", {VIA_BLK_T_IN, 0, 0, 256}, VIA_BLK_S_IOERR},
        {"read of a sector and a byte", {VIA_BLK_T_IN, 0, 0, 513}, VIA_BLK_S_IOERR},
        {"read of nothing", {VIA_BLK_T_IN, 0, 0, 0}, VIA_BLK_S_IOERR},
        {"write beyond the end", {VIA_BLK_T_OUT, RIG_SECTORS, 512, 0}, VIA_BLK_S_IOERR},
        {"write across the end", {VIA_BLK_T_OUT, LAST, 1024, 0}, VIA_BLK_S_IOERR},
        {"write whose byte offset wraps to 0", {VIA_BLK_T_OUT, UINT64_C(1) << 55, 512, 0}, VIA_BLK_S_IOERR},
        {"write of half a sector", {VIA_BLK_T_OUT, 0, 256, 0}, VIA_BLK_S_IOERR},
        {"write of nothing", {VIA_BLK_T_OUT, 0, 0, 0}, VIA_BLK_S_IOERR},
        {"write with its data in the writable part alone", {VIA_BLK_T_OUT, 0, 0, 512}, VIA_BLK_S_IOERR},
        {"id into 19 bytes", {VIA_BLK_T_GET_ID, 0, 0, 19}, VIA_BLK_S_IOERR},
        {"id into 21 bytes", {VIA_BLK_T_GET_ID, 0, 0, 21}, VIA_BLK_S_IOERR},
        {"id into nothing", {VIA_BLK_T_GET_ID, 0, 0, 0}, VIA_BLK_S_IOERR},
        {"discard of no range", {VIA_BLK_T_DISCARD, 0, 0, 0}, VIA_BLK_S_IOERR},
        {"discard of a range too short", {VIA_BLK_T_DISCARD, 0, 15, 0}, VIA_BLK_S_IOERR},
        {"discard of a range and a half", {VIA_BLK_T_DISCARD, 0, 24, 0}, VIA_BLK_S_IOERR},
        {"zeroing of 17 ranges", {VIA_BLK_T_WRITE_ZEROES, 0, 17 * 16, 0}, VIA_BLK_S_IOERR},
        {"lifetime", {VIA_BLK_T_GET_LIFETIME, 0, 0, 6}, VIA_BLK_S_UNSUPP},
        {"secure erase", {VIA_BLK_T_SECURE_ERASE, 0, 16, 0}, VIA_BLK_S_UNSUPP},
        {"a SCSI command", {2, 0, 64, 64}, VIA_BLK_S_UNSUPP},
        {"a type of no specification", {0xdeadbeef, 0, 512, 512}, VIA_BLK_S_UNSUPP},
    };
    struct rig *r = rig_new(&rig_limits);
    answers_and_nothing_else_changes(r, ask, via_array_len(ask));
    CHECK_EQ(r->store.total, 0);
    CHECK_EQ(r->dev.errors, via_array_len(ask));
}

static void a_read_only_disk_is_never_written(void)
{
    static const struct ask ask[] = {
        {"write", {VIA_BLK_T_OUT, 0, 512, 0}, VIA_BLK_S_IOERR},
        {"discard", {VIA_BLK_T_DISCARD, 0, 16, 0}, VIA_BLK_S_UNSUPP},
        {"write zeroes", {VIA_BLK_T_WRITE_ZEROES, 0, 16, 0}, VIA_BLK_S_UNSUPP},
        {"read", {VIA_BLK_T_IN, 0, 0, 512}, VIA_BLK_S_OK},
        {"flush", {VIA_BLK_T_FLUSH, 0, 0, 0}, VIA_BLK_S_OK},
    };
    struct via_blk_limits l = rig_limits;
    l.read_only = true;
    struct rig *r = rig_new(&l);
    CHECK(via_blk_device_features(&r->dev) & BIT(RO));
    CHECK(!(via_blk_device_features(&r->dev) & (BIT(DISCARD) | BIT(WRITE_ZEROES))));
    answers_and_nothing_else_changes(r, ask, via_array_len(ask));
    /* A driver that did not accept the bit gets no further. */
    r->dev.features &= ~BIT(RO);
    answers_and_nothing_else_changes(r, ask, via_array_len(ask));
    CHECK_EQ(r->store.taken[VIA_BLK_WRITE], 0);
}

static void what_was_not_accepted_is_not_supported(void)
{
    static const struct ask ask[] = {
        {"flush", {VIA_BLK_T_FLUSH, 0, 0, 0}, VIA_BLK_S_UNSUPP},
        {"discard", {VIA_BLK_T_DISCARD, 0, 16, 0}, VIA_BLK_S_UNSUPP},
        {"write zeroes", {VIA_BLK_T_WRITE_ZEROES, 0, 16, 0}, VIA_BLK_S_UNSUPP},
    };
    struct rig *r = rig_new(&rig_limits);
    r->dev.features = 0;
    answers_and_nothing_else_changes(r, ask, via_array_len(ask));
    CHECK_EQ(r->store.total, 0);
}

static void reads_writes_and_the_id(void)
{
    struct rig *r = rig_new(&rig_limits);
    static const struct rig_request read = {VIA_BLK_T_IN, LAST - 1, 0, 1024}, write = {VIA_BLK_T_OUT, LAST, 512, 0},
                                    flush = {VIA_BLK_T_FLUSH, 0, 0, 0}, id = {VIA_BLK_T_GET_ID, 0, 0, 20};
    CHECK_EQ(rig_ask(r, &read), VIA_BLK_S_OK);
    CHECK(memcmp(r->mem + RIG_DATA + 16, r->disk + (LAST - 1) * 512, 1024) == 0);
    memset(r->mem + RIG_DATA + 16, 0x3c, 512);
    CHECK_EQ(rig_ask(r, &write), VIA_BLK_S_OK);
    for (unsigned i = 0; i < 512; i++)
        CHECK_EQ(r->disk[LAST * 512 + i], 0x3c);
    CHECK_EQ(r->store.taken[VIA_BLK_FLUSH], 0);
    CHECK_EQ(rig_ask(r, &flush), VIA_BLK_S_OK);
    CHECK_EQ(r->store.taken[VIA_BLK_FLUSH], 1);
    CHECK_EQ(rig_ask(r, &id), VIA_BLK_S_OK);
    CHECK(memcmp(r->mem + RIG_DATA + 16, rig_limits.id, 20) == 0);
    CHECK(r->dev.reads == 1 && r->dev.writes == 1 && r->dev.others == 2 && r->dev.errors == 0);
}

/* ------------------------------------------------------------------ requests that are no requests */

static bool breaks(struct rig *r, const struct via_seg *seg, unsigned out, unsigned in, const char *word)
{
    rig_put_hdr(r, RIG_DATA, VIA_BLK_T_IN, 0);
    rig_add_segs(r, seg, out, in);
    return rig_run(r) == -VIA_EPROTO && r->pump.fault.what && strstr(r->pump.fault.what, word) && via_pump_inflight(&r->pump) == 0 &&
           r->store.total == 0 && rig_restart(r);
}

static void no_header_or_no_status_breaks_the_queue(void)
{
    struct rig *r = rig_new(&rig_limits);
    static const struct rig_request id = {VIA_BLK_T_GET_ID, 0, 0, 20};
    struct via_seg whole = rig_seg(RIG_DATA, 16), in = rig_seg(RIG_DATA + 64, 513);
    for (uint32_t len = 1; len < 16; len++) {
        struct via_seg seg[3] = {rig_seg(RIG_DATA, len), in};
        CHECK(breaks(r, seg, 1, 1, "header"));
        if (len == 1)
            continue;
        seg[0].len = 1, seg[1] = rig_seg(RIG_DATA + 1, len - 1), seg[2] = in;
        CHECK(breaks(r, seg, 2, 1, "header"));
    }
    CHECK(breaks(r, &in, 0, 1, "header"));
    CHECK(breaks(r, &whole, 1, 0, "status"));
    CHECK_EQ(rig_ask(r, &id), VIA_BLK_S_OK);
}

/* ------------------------------------------------------------------ layouts */

/* Cut [at, at + len) at two points, a <= b, into up to three segments. */
static unsigned split(struct via_seg *seg, uint32_t at, uint32_t len, uint32_t a, uint32_t b)
{
    uint32_t cut[4] = {0, a, b, len};
    unsigned n = 0;
    for (unsigned i = 0; i < 3; i++)
        if (cut[i + 1] > cut[i])
            seg[n++] = rig_seg(at + cut[i], cut[i + 1] - cut[i]);
    return n;
}

/* Add a request of `out` and `in` bytes cut at these points; it must be answered whole. */
static bool ask_split(struct rig *r, const struct rig_request *q, const uint32_t cut[4])
{
    struct via_seg seg[6];
    uint32_t out = 16 + q->out, in_at = RIG_DATA + 0x8000, written;
    unsigned n_out = split(seg, RIG_DATA, out, cut[0], cut[1]), n_in = split(seg + n_out, in_at, q->in + 1, cut[2], cut[3]), number;
    rig_put_hdr(r, RIG_DATA, q->type, q->sector);
    memset(r->mem + in_at, RIG_STATUS_NONE, q->in + 2);
    rig_add_segs(r, seg, n_out, n_in);
    return rig_run(r) == 1 && rig_used(r, &number, &written) && written == q->in + 1 && r->mem[in_at + q->in] == VIA_BLK_S_OK &&
           r->mem[in_at + q->in + 1] == RIG_STATUS_NONE;
}

static void every_split_of_a_small_request(void)
{
    static const struct rig_request id = {VIA_BLK_T_GET_ID, 0, 0, 20};
    struct rig *r = rig_new(&rig_limits);
    uint32_t c[4];
    for (c[0] = 0; c[0] <= 16; c[0]++)
        for (c[1] = c[0]; c[1] <= 16; c[1]++)
            for (c[2] = 0; c[2] <= 21; c[2]++)
                for (c[3] = c[2]; c[3] <= 21; c[3]++) {
                    CHECK(ask_split(r, &id, c));
                    CHECK(memcmp(r->mem + RIG_DATA + 0x8000, rig_limits.id, 20) == 0);
                }
}

static bool interesting(uint32_t at, uint32_t len) { return at <= 18 || at + 18 >= len || at % 131 == 0; }

static void splits_of_reads_and_writes(void)
{
    struct rig *r = rig_new(&rig_limits);
    struct rig_request write = {VIA_BLK_T_OUT, 9, 512, 0}, read = {VIA_BLK_T_IN, 9, 0, 512};
    uint8_t seed = 0;
    for (uint32_t a = 0; a <= 528; a++)
        for (uint32_t b = a; interesting(a, 528) && b <= 528; b++) {
            if (!interesting(b, 528))
                continue;
            uint32_t out[4] = {a, b, 0, 0}, in[4] = {0, 0, a < 513 ? a : 513, b < 513 ? b : 513};
            seed++;
            for (unsigned i = 0; i < 512; i++)
                r->mem[RIG_DATA + 16 + i] = (uint8_t)(seed + i * 3);
            CHECK(ask_split(r, &write, out));
            CHECK(memcmp(r->disk + 9 * 512, r->mem + RIG_DATA + 16, 512) == 0);
            CHECK(ask_split(r, &read, in));
            CHECK(memcmp(r->disk + 9 * 512, r->mem + RIG_DATA + 0x8000, 512) == 0);
        }
}

/* Data in more pieces than the device was made for is an error of that request, not more. */
static void too_many_pieces_are_an_error(void)
{
    struct rig *r = rig_new(&rig_limits);
    struct via_seg seg[10] = {rig_seg(RIG_DATA, 16)};
    unsigned number;
    uint32_t written;
    CHECK_EQ(via_blk_device_init(&r->dev, &rig_limits, &r->store.store, 1, 4, r->dev_storage), 0);
    for (unsigned i = 0; i < 8; i++)
        seg[1 + i] = rig_seg(RIG_DATA + 64 * (i + 1), 64);
    seg[9] = rig_seg(RIG_DATA + 1024, 1);
    rig_put_hdr(r, RIG_DATA, VIA_BLK_T_IN, 0);
    rig_add_segs(r, seg, 1, 9);
    CHECK_EQ(rig_run(r), 1);
    CHECK(rig_used(r, &number, &written) && written == 513 && r->mem[RIG_DATA + 1024] == VIA_BLK_S_IOERR);
}

/* ------------------------------------------------------------------ failures of the store */

static void a_failed_read_shows_nothing_stale(void)
{
    static const int error[] = {-VIA_EIO, -VIA_ENOSPC, -VIA_EINVAL, -VIA_ENOTSUP};
    static const struct rig_request read = {VIA_BLK_T_IN, 4, 0, 1536};
    for (unsigned later = 0; later < 3; later++)
        for (unsigned i = 0; i < via_array_len(error); i++) {
            struct rig *r = rig_new(&rig_limits);
            unsigned number;
            uint32_t written, in = rig_add(r, &read, RIG_DATA);
            r->store.later = later == 1;
            *(later == 2 ? &r->store.refuse : &r->store.fail) = error[i];
            CHECK_EQ(rig_run(r), 1);
            while (r->store.held)
                store_end(&r->store, 0);
            rig_flush(r);
            CHECK(rig_used(r, &number, &written));
            CHECK_EQ(written, 1537);
            for (unsigned k = 0; k < 1536; k++)
                CHECK_EQ(r->mem[in + k], 0);
            CHECK_EQ(r->mem[in + 1536], error[i] == -VIA_ENOTSUP ? VIA_BLK_S_UNSUPP : VIA_BLK_S_IOERR);
            CHECK(r->dev.errors == 1 && r->dev.reads == 0);
        }
}

/* The status lies behind 10 MiB that a read was to fill, and did not: the used length covers it, so that it arrives also behind a pool. */
static void a_huge_failed_read_reports_its_status(void)
{
    struct rig *r = rig_new(&rig_limits);
    struct via_seg seg[16] = {rig_seg(RIG_DATA, 16)};
    unsigned number;
    uint32_t written;
    memset(r->mem + 0x20000, RIG_STATUS_NONE, 0x20000);
    r->mem[RIG_DATA + 64] = RIG_STATUS_NONE;
    for (unsigned i = 1; i < 15; i++)
        seg[i] = rig_seg(0x20000, RIG_MEM - 0x20000);
    static uint8_t more[8u << 20];
    struct via_region region = {.gpa = RIG_GPA + RIG_MEM, .len = sizeof(more), .uva = 0x20000000, .ptr = more};
    CHECK_EQ(via_memmap_add(&r->map, &region), 0);
    seg[13] = (struct via_seg){{region.gpa}, sizeof(more)};
    seg[15] = rig_seg(RIG_DATA + 64, 1);
    rig_put_hdr(r, RIG_DATA, VIA_BLK_T_IN, UINT64_MAX);
    rig_add_segs(r, seg, 1, 15);
    CHECK_EQ(rig_run(r), 1);
    CHECK(rig_used(r, &number, &written));
    CHECK_EQ(written, 13 * (RIG_MEM - 0x20000) + sizeof(more) + 1);
    CHECK_EQ(r->mem[RIG_DATA + 64], VIA_BLK_S_IOERR);
    CHECK_EQ(r->mem[0x20000], 0);
}

/* ------------------------------------------------------------------ config space */

static void config_space_says_the_limits(void)
{
    struct via_blk_limits l = rig_limits;
    struct via_blk_config c;
    l.queues = 4, l.size_max = 65536, l.opt_io = 8192, l.blk_size = 1024;
    struct rig *r = rig_new(&l);
    via_blk_device_config(&r->dev, 0, &c, sizeof(c));
    CHECK_EQ(via_le64_value(c.capacity), RIG_SECTORS);
    CHECK_EQ(via_le32_value(c.size_max), 65536);
    CHECK_EQ(via_le32_value(c.seg_max), 8);
    CHECK_EQ(via_le32_value(c.blk_size), 1024);
    CHECK_EQ(c.physical_block_exp, 2);
    CHECK_EQ(via_le16_value(c.min_io_size), 4);
    CHECK_EQ(via_le32_value(c.opt_io_size), 8);
    CHECK_EQ(via_le16_value(c.num_queues), 4);
    CHECK_EQ(via_le32_value(c.max_discard_seg), 16);
    CHECK_EQ(via_le32_value(c.discard_sector_alignment), 2);
    CHECK(c.write_zeroes_may_unmap == 1 && c.writeback == 0 && c.alignment_offset == 0);
    CHECK_EQ(via_blk_device_features(&r->dev),
             BIT(SIZE_MAX) | BIT(SEG_MAX) | BIT(BLK_SIZE) | BIT(FLUSH) | BIT(TOPOLOGY) | BIT(MQ) | BIT(DISCARD) | BIT(WRITE_ZEROES));
    CHECK_EQ(via_blk_device_features(&rig_new(&rig_limits)->dev),
             BIT(SEG_MAX) | BIT(BLK_SIZE) | BIT(FLUSH) | BIT(TOPOLOGY) | BIT(DISCARD) | BIT(WRITE_ZEROES));
}

static void config_space_has_an_end(void)
{
    struct rig *r = rig_new(&rig_limits);
    uint8_t whole[sizeof(struct via_blk_config) + 16] = {0}, part[sizeof(whole)];
    memcpy(whole, &r->dev.config, sizeof(struct via_blk_config));
    for (uint32_t off = 0; off <= sizeof(whole); off++)
        for (uint32_t len = 0; off + len <= sizeof(whole); len++) {
            memset(part, 0xee, sizeof(part));
            via_blk_device_config(&r->dev, off, part, len);
            CHECK(memcmp(part, whole + off, len) == 0);
            CHECK(len == sizeof(part) || part[len] == 0xee);
        }
    via_blk_device_config(&r->dev, UINT32_MAX, part, 8);
    CHECK(memcmp(part, whole + sizeof(struct via_blk_config), 8) == 0);
}

static void contradicting_limits_are_refused(void)
{
    struct rig *r = rig_new(&rig_limits);
    const struct via_blk_limits good = rig_limits;
    struct via_blk_limits bad[9];
    for (unsigned i = 0; i < 9; i++)
        bad[i] = good;
    bad[0].capacity = 513;
    bad[1].blk_size = 256;
    bad[2].blk_size = 1536;
    bad[3].physical_size = 512 * 3;
    bad[4].blk_size = 8192; /* more than the physical one */
    bad[5].seg_max = 0;
    bad[6].opt_io = 1000;
    bad[7].queues = 0;
    bad[8].physical_size = 512u << 16;
    for (unsigned i = 0; i < 9; i++)
        CHECK_EQ(via_blk_device_init(&r->dev, &bad[i], &r->store.store, 4, 4, r->dev_storage), -VIA_EINVAL);
    CHECK_EQ(via_blk_device_init(&r->dev, &good, &r->store.store, 0, 4, r->dev_storage), -VIA_EINVAL);
    CHECK_EQ(via_blk_device_init(&r->dev, &good, &r->store.store, 4, 0, r->dev_storage), -VIA_EINVAL);
}

TAP_MAIN(TEST(requests_that_are_refused), TEST(a_read_only_disk_is_never_written), TEST(what_was_not_accepted_is_not_supported),
         TEST(reads_writes_and_the_id), TEST(no_header_or_no_status_breaks_the_queue), TEST(every_split_of_a_small_request),
         TEST(splits_of_reads_and_writes), TEST(too_many_pieces_are_an_error), TEST(a_failed_read_shows_nothing_stale),
         TEST(a_huge_failed_read_reports_its_status), TEST(config_space_says_the_limits), TEST(config_space_has_an_end),
         TEST(contradicting_limits_are_refused))
