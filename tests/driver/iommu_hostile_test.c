/* SPDX-License-Identifier: BSD-2-Clause */
/* The IOMMU driver with a device that dies, lies, or tells of endpoints what can't be. */
#include <string.h>

#include "iommu_rig.h"

#define RW (VIA_IOMMU_READ | VIA_IOMMU_WRITE)

static struct via_iommu_driver_domain dom;

static int map(void) { return dom.domain.ops->map(&dom.domain, 0x1000, 0x1fff, 0, RW); }
static int unmap(void) { return dom.domain.ops->unmap(&dom.domain, 0x1000, 0x1fff); }
static int flush(void) { return dom.domain.ops->flush(&dom.domain); }

static struct iommu_rig *rig_with_domain(bool bounce)
{
    struct iommu_rig *r = rig_new(bounce);
    return via_iommu_driver_domain(&dom, &r->driver, 7, false, NULL) == 0 ? r : NULL;
}

/* ------------------------------------------------------------------ a device that does not answer */

static bool says_no(struct iommu_rig *r, int error)
{
    struct via_iova_range range;
    struct via_iommu_windows w = {&range, 1, 0, -1};
    struct via_iommu_report report;
    CHECK_OR_FALSE(map() == error && unmap() == error && flush() == error);
    CHECK_OR_FALSE(via_iommu_driver_attach(&dom, 1) == error && via_iommu_driver_detach(&dom, 1) == error);
    CHECK_OR_FALSE(via_iommu_driver_probe(&r->driver, 1, &w) == error && w.n == 0);
    CHECK_OR_FALSE(via_iommu_driver_fault(&r->driver, &report) == error);
    return true;
}

/* What the device never answered is its own until it is reset: no byte of it is written, nothing of it is given back. */
static void a_device_that_dies(void)
{
    static uint8_t before[sizeof(struct rig_shared)];
    for (unsigned bounce = 0; bounce < 2; bounce++)
        for (unsigned call = 0; call < 5; call++) {
            struct iommu_rig *r = rig_with_domain(bounce);
            struct via_iova_range range;
            struct via_iommu_windows w = {&range, 1, 0, -1};
            CHECK_EQ(map(), 0);
            r->silent = true;
            CHECK_EQ(unmap(), 0);
            CHECK_EQ(unmap(), 0);
            int rc = call == 0   ? map()
                     : call == 1 ? flush()
                     : call == 2 ? via_iommu_driver_attach(&dom, 1)
                     : call == 3 ? via_iommu_driver_detach(&dom, 1)
                                 : via_iommu_driver_probe(&r->driver, 1, &w);
            CHECK_EQ(rc, -VIA_ENODEV);
            CHECK(strstr(r->driver.fault.what, "answer"));
            uint32_t held = rig_in_use(r);
            unsigned relaxes = r->relaxes;
            memcpy(before, &r->shared, sizeof(before));
            CHECK(says_no(r, -VIA_ENODEV));
            r->silent = false; /* too late */
            CHECK(says_no(r, -VIA_ENODEV));
            const void *now = &r->shared;
            CHECK(memcmp(before, now, sizeof(before)) == 0);
            CHECK(r->relaxes == relaxes && rig_in_use(r) == held && held == (bounce ? RIG_FAULTS + 2 * (call == 1 ? 2 : 3) : 0));
            via_iommu_driver_end(&r->driver);
            CHECK_EQ(rig_in_use(r), 0);
            CHECK(says_no(r, -VIA_ENODEV));
            CHECK(rig_restart(r) && via_iommu_driver_domain(&dom, &r->driver, 7, false, NULL) == 0); /* after a reset */
            CHECK(map() == 0 && unmap() == 0 && flush() == 0);
            via_iommu_driver_end(&r->driver); /* one that is well */
            CHECK(says_no(r, -VIA_ENODEV) && rig_in_use(r) == 0);
        }
}

/* ------------------------------------------------------------------ a ring that lies */

static void use(struct iommu_rig *r, uint16_t at, uint32_t id, uint32_t len)
{
    struct via_used *used = r->dq[0].cfg.used;
    used->ring[at] = (struct via_used_elem){via_le32_make(id), via_le32_make(len)};
    via_shm_put16_release(&used->idx, (uint16_t)(at + 1));
}

static void lie_id(struct iommu_rig *r) { use(r, 0, RIG_NUM, 4); }
static void lie_idle_id(struct iommu_rig *r) { use(r, 0, RIG_NUM - 1, 4); }
static void lie_length(struct iommu_rig *r) { use(r, 0, 0, 5); }
static void lie_index(struct iommu_rig *r) { via_shm_put16_release(&((struct via_used *)r->dq[0].cfg.used)->idx, 7); }

static void a_ring_that_lies(void)
{
    static void (*const lie[])(struct iommu_rig *) = {lie_id, lie_idle_id, lie_length, lie_index};
    for (unsigned bounce = 0; bounce < 2; bounce++)
        for (unsigned i = 0; i < via_array_len(lie); i++) {
            struct iommu_rig *r = rig_with_domain(bounce);
            r->lie = lie[i];
            CHECK_EQ(map(), -VIA_EPROTO);
            CHECK(r->driver.fault.what && r->relaxes == 1);
            CHECK(says_no(r, -VIA_EPROTO));
            CHECK_EQ(r->relaxes, 1);
            via_iommu_driver_end(&r->driver);
            CHECK_EQ(rig_in_use(r), 0);
        }
}

/* ------------------------------------------------------------------ properties */

#define WINDOW(sub, a, b) 1, 0, 20, 0, sub, 7, 7, 7, a, 0, 0, 0, 0, 0, 0, 0, b, 0, 0, 0, 0, 0, 0, 0

static const struct {
    const char *what;
    uint8_t list[100];
    unsigned windows;
    int doorbell;
} good[] =
    {
        {"nothing", {0}, 0, -1},
        {"one", {WINDOW(0, 5, 9)}, 1, -1},
        {"a doorbell", {WINDOW(0, 5, 9), WINDOW(1, 10, 20)}, 2, 1},
        {"a subtype of nobody's", {WINDOW(200, 5, 9)}, 1, -1},
        {"two that overlap", {WINDOW(0, 5, 9), WINDOW(0, 7, 20)}, 2, -1},
        {"nothing behind an empty one", {WINDOW(0, 5, 9), 0, 0, 0, 0, WINDOW(0, 6, 9)}, 1, -1},
        {"unknown types", {2, 0, 0, 0, 0xff, 0x0f, 3, 0, 1, 2, 3, WINDOW(0, 5, 9)}, 1, -1},
        {"reserved bits", {1, 0x10, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, WINDOW(0, 5, 9)}, 1, -1},
        {"reserved bits and no type", {0, 0x80, 2, 0, 9, 9, WINDOW(0, 5, 9)}, 1, -1},
        {"a longer one", {1, 0, 24, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 4, 4, 4, 4, WINDOW(1, 5, 9)}, 2, 1},
},
  bad[] = {
      {"one that is too short", {1, 0, 19, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9}, 0, 0},
      {"one of nothing", {1, 0, 0, 0}, 0, 0},
      {"one that ends before it starts", {WINDOW(0, 9, 5)}, 0, 0},
      {"a length beyond the list", {1, 0, RIG_PROBE - 3, 0}, 0, 0},
      {"a length far beyond the list", {1, 0, 0xff, 0xff}, 0, 0},
      {"an unknown one beyond the list", {9, 0, 0xff, 0xff}, 0, 0},
      {"a second one beyond the list", {WINDOW(0, 5, 9), 1, 0, RIG_PROBE - 27, 0}, 1, 0},
};

static void lists_of_properties(void)
{
    struct via_iova_range range[3];
    for (unsigned i = 0; i < via_array_len(good); i++) {
        struct iommu_rig *r = rig_new(i % 2);
        struct via_iommu_windows w = {range, 3, 0, 5};
        memcpy(r->properties, good[i].list, sizeof(good[i].list));
        tap_note(good[i].what);
        CHECK_EQ(via_iommu_driver_probe(&r->driver, 1, &w), 0);
        CHECK(w.n == good[i].windows && w.doorbell == good[i].doorbell && !r->driver.fault.what);
        CHECK(!w.n || (range[0].start == 5 && range[0].last == 9));
    }
    for (unsigned i = 0; i < via_array_len(bad); i++) {
        struct iommu_rig *r = rig_new(i % 2);
        struct via_iommu_windows w = {range, 3, 0, 5};
        memcpy(r->properties, bad[i].list, sizeof(bad[i].list));
        tap_note(bad[i].what);
        CHECK_EQ(via_iommu_driver_probe(&r->driver, 1, &w), -VIA_EPROTO);
        CHECK(w.n == bad[i].windows && r->driver.fault.what);
    }
}

/* As many properties as the list has room for, and windows for more than there is room. */
static void lists_without_an_end(void)
{
    struct via_iova_range range[8];
    struct iommu_rig *r = rig_new(false);
    struct via_iommu_windows w = {range, 8, 0, -1};
    for (unsigned i = 0; i < RIG_PROBE; i += 4)
        r->properties[i] = 3; /* each of no length */
    CHECK(via_iommu_driver_probe(&r->driver, 1, &w) == 0 && w.n == 0);
    for (unsigned i = 0; i < RIG_PROBE / 24; i++)
        memcpy(r->properties + (size_t)i * 24, (const uint8_t[24]){WINDOW(0, 5, 9)}, 24);
    CHECK(via_iommu_driver_probe(&r->driver, 1, &w) == 0 && w.n == 8);
    w.n = 0;
    w.cap = 7;
    CHECK(via_iommu_driver_probe(&r->driver, 1, &w) == -VIA_E2BIG && w.n == 7);
    w.cap = 0;
    w.n = 0;
    CHECK_EQ(via_iommu_driver_probe(&r->driver, 1, &w), -VIA_E2BIG);
    /* A list of an odd length: what is left at its end is no header. */
    r->cfg.config.probe_size = via_le32_make(27);
    CHECK(rig_restart(r));
    w.cap = 8;
    r->properties[24] = 1;
    CHECK(via_iommu_driver_probe(&r->driver, 1, &w) == 0 && w.n == 1);
    r->cfg.config.probe_size = via_le32_make(0);
    CHECK(rig_restart(r));
    w.n = 0;
    CHECK(via_iommu_driver_probe(&r->driver, 1, &w) == 0 && w.n == 0);
}

/* ------------------------------------------------------------------ reports of faults */

static void reports_and_what_they_mean(void)
{
    struct via_iommu_report out;
    for (unsigned bounce = 0; bounce < 2; bounce++) {
        struct iommu_rig *r = rig_new(bounce);
        CHECK_EQ(r->kicks[1], 1);
        CHECK_EQ(via_iommu_driver_fault(&r->driver, &out), 0);
        for (unsigned reason = 0; reason < 256; reason++) {
            struct via_iommu_fault f = {.reason = (uint8_t)reason,
                                        .flags = via_le32_make(VIA_IOMMU_FAULT_F_WRITE | VIA_IOMMU_FAULT_F_ADDRESS | 0xfffffe00),
                                        .endpoint = via_le32_make(70000),
                                        .reserved1 = via_le32_make(reason),
                                        .address = via_le64_make(UINT64_MAX - reason)};
            CHECK(rig_report(r, &f, sizeof(f), sizeof(f)));
            CHECK_EQ(via_iommu_driver_fault(&r->driver, &out), 1);
            CHECK_EQ(out.reason, reason > 2 ? 0 : reason);
            CHECK(out.perm == VIA_IOMMU_WRITE && out.endpoint == 70000 && out.has_address && out.address == UINT64_MAX - reason);
        }
        struct via_iommu_fault f = {.flags = via_le32_make(VIA_IOMMU_FAULT_F_READ), .address = via_le64_make(5)};
        CHECK(rig_report(r, &f, sizeof(f), sizeof(f)));
        CHECK_EQ(via_iommu_driver_fault(&r->driver, &out), 1);
        CHECK(out.perm == VIA_IOMMU_READ && !out.has_address && out.address == 0);
        CHECK_EQ(r->driver.ignored, 0);
    }
}

static void reports_that_mean_nothing(void)
{
    struct via_iommu_report out;
    struct iommu_rig *r = rig_new(true);
    unsigned ignored = 0;
    for (unsigned i = 0; i < 3; i++) {
        struct via_iommu_fault f = {.reason = 1};
        f.reserved[i] = 1;
        CHECK(rig_report(r, &f, sizeof(f), sizeof(f)));
        CHECK_EQ(via_iommu_driver_fault(&r->driver, &out), 0);
        CHECK_EQ(r->driver.ignored, ++ignored);
    }
    struct via_iommu_fault f = {.reason = 1, .endpoint = via_le32_make(3)};
    for (uint32_t written = 0; written < sizeof(f); written++) {
        CHECK(rig_report(r, &f, sizeof(f), written));
        CHECK_EQ(via_iommu_driver_fault(&r->driver, &out), 0);
        CHECK_EQ(r->driver.ignored, ++ignored);
    }
    /* Behind nonsense there is a report; all buffers are there again afterwards. */
    for (unsigned i = 0; i < RIG_FAULTS; i++)
        CHECK(rig_report(r, &f, sizeof(f), i + 1 < RIG_FAULTS ? 0 : sizeof(f)));
    CHECK(!rig_report(r, &f, sizeof(f), 0));
    CHECK(via_iommu_driver_fault(&r->driver, &out) == 1 && out.endpoint == 3);
    for (unsigned i = 0; i < RIG_FAULTS; i++)
        CHECK(rig_report(r, &f, sizeof(f), sizeof(f)));
    for (unsigned i = 0; i < RIG_FAULTS; i++)
        CHECK_EQ(via_iommu_driver_fault(&r->driver, &out), 1);
    CHECK_EQ(via_iommu_driver_fault(&r->driver, &out), 0);
    /* The queue breaks, requests go on. */
    via_shm_put16_release(&((struct via_used *)r->dq[1].cfg.used)->idx, 5);
    CHECK_EQ(via_iommu_driver_fault(&r->driver, &out), -VIA_EPROTO);
    CHECK_EQ(via_iommu_driver_fault(&r->driver, &out), -VIA_EPROTO);
    CHECK(via_iommu_driver_domain(&dom, &r->driver, 7, false, NULL) == 0 && map() == 0);
}

/* ------------------------------------------------------------------ anything */

static uint32_t seed = 3;
static unsigned below(unsigned n)
{
    seed = seed * 1664525u + 1013904223u;
    return (unsigned)(((uint64_t)seed * n) >> 32);
}

static void any_answers(void)
{
    struct iommu_rig *r = rig_with_domain(true);
    struct via_iova_range range[2];
    struct via_iommu_report report;
    unsigned proto = 0;
    for (unsigned step = 0; step < 20000; step++) {
        struct via_iommu_windows w = {range, 2, 0, -1};
        r->status = below(4) ? (int)below(9) : (int)below(256);
        r->written = below(3) ? -1 : (int)below(5);
        for (unsigned i = 0; i < RIG_PROBE; i++)
            r->properties[i] = (uint8_t)(below(3) ? below(3) : below(25));
        unsigned call = below(6);
        int rc = call == 0   ? map()
                 : call == 1 ? unmap()
                 : call == 2 ? flush()
                 : call == 3 ? via_iommu_driver_attach(&dom, 1)
                 : call == 4 ? via_iommu_driver_detach(&dom, 1)
                             : via_iommu_driver_probe(&r->driver, 1, &w);
        CHECK(rc <= 0 && rc != -VIA_ENODEV && w.n <= 2);
        proto += rc == -VIA_EPROTO;
        if (below(4) == 0)
            rig_report(r, r->properties, 24, below(25));
        CHECK(via_iommu_driver_fault(&r->driver, &report) >= 0);
        CHECK(rig_in_use(r) <= RIG_FAULTS + 2 * RIG_DEPTH);
    }
    r->written = -1;
    r->status = 0;
    (void)flush();
    CHECK(map() == 0 && rig_in_use(r) == RIG_FAULTS && proto > 1000);
}

TAP_MAIN(TEST(a_device_that_dies), TEST(a_ring_that_lies), TEST(lists_of_properties), TEST(lists_without_an_end),
         TEST(reports_and_what_they_mean), TEST(reports_that_mean_nothing), TEST(any_answers))
