/* SPDX-License-Identifier: BSD-2-Clause */
/* The IOMMU driver: what it asks for, what it never asks for, and what it makes of answers. docs/virtio-iommu.md says what shows what. */
#include <string.h>

#include "iommu_rig.h"

#define F(bit) VIA_BIT(VIA_IOMMU_F_##bit)
#define RW (VIA_IOMMU_READ | VIA_IOMMU_WRITE)

static struct via_iommu_driver_domain dom;

static int map(uint64_t iova, uint64_t last, uint64_t phys, unsigned perm)
{
    return dom.domain.ops->map(&dom.domain, iova, last, phys, perm);
}
static int unmap(uint64_t iova, uint64_t last) { return dom.domain.ops->unmap(&dom.domain, iova, last); }
static int flush(void) { return dom.domain.ops->flush(&dom.domain); }

static struct iommu_rig *rig_with_domain(bool bounce)
{
    struct iommu_rig *r = rig_new(bounce);
    return via_iommu_driver_domain(&dom, &r->driver, 7, false, NULL) == 0 ? r : NULL;
}

/* ------------------------------------------------------------------ set up */

static void features_that_are_accepted(void)
{
    uint64_t all = F(INPUT_RANGE) | F(DOMAIN_RANGE) | F(MAP_UNMAP) | F(PROBE) | F(MMIO) | F(BYPASS_CONFIG);
    CHECK_EQ(via_iommu_driver_features(UINT64_MAX), all);
    CHECK_EQ(via_iommu_driver_features(0), 0);
    for (unsigned bit = 0; bit < 64; bit++)
        CHECK_EQ(via_iommu_driver_features(VIA_BIT(bit)), all & VIA_BIT(bit));
    struct iommu_rig *r = rig_new(false);
    r->cfg.features &= ~F(MAP_UNMAP);
    CHECK_EQ(via_iommu_driver_init(&r->driver, &r->cfg, r->storage), -VIA_ENOTSUP);
}

static int init(struct iommu_rig *r) { return rig_init_rings(r) ? via_iommu_driver_init(&r->driver, &r->cfg, r->storage) : 1; }

static void configurations_of_the_device(void)
{
    struct iommu_rig *r = rig_new(false);
    struct via_iommu_driver_cfg good = r->cfg;
    struct via_iommu_config *c = &r->cfg.config;
    c->page_size_mask = via_le64_make(0);
    CHECK(init(r) == -VIA_EPROTO && r->driver.fault.what);
    r->cfg = good;
    c->input_start = via_le64_make(0x1000000000000);
    CHECK(init(r) == -VIA_EPROTO && r->driver.fault.what);
    r->cfg.features &= ~F(INPUT_RANGE); /* then it means nothing */
    CHECK(init(r) == 0 && r->driver.input_start == 0 && r->driver.input_last == UINT64_MAX);
    r->cfg = good;
    c->domain_end = via_le32_make(0);
    CHECK(init(r) == -VIA_EPROTO && r->driver.fault.what);
    r->cfg.features &= ~F(DOMAIN_RANGE);
    CHECK(init(r) == 0 && r->driver.domain_start == 0 && r->driver.domain_last == UINT32_MAX);
    r->cfg = good;
    c->probe_size = via_le32_make(RIG_PROBE + 1);
    CHECK_EQ(init(r), -VIA_ENOSPC);
    c->probe_size = via_le32_make(UINT32_MAX);
    CHECK_EQ(init(r), -VIA_ENOSPC);
    r->cfg.features &= ~F(PROBE);
    r->cfg.probe = NULL;
    CHECK_EQ(init(r), 0);
    r->cfg = good;
    c->bypass = 0xfe; /* bits that nobody looks at, and bytes that nobody reads */
    c->reserved[1] = 9;
    CHECK_EQ(init(r), 0);
}

static void parts_that_are_missing(void)
{
    struct iommu_rig *r = rig_new(false);
    struct via_iommu_driver_cfg good = r->cfg;
    r->cfg.ops = NULL;
    CHECK_EQ(init(r), -VIA_EINVAL);
    r->cfg = good, r->cfg.requests = NULL;
    CHECK_EQ(init(r), -VIA_EINVAL);
    r->cfg = good, r->cfg.dma = NULL;
    CHECK_EQ(init(r), -VIA_EINVAL);
    r->cfg = good, r->cfg.depth = 0;
    CHECK_EQ(init(r), -VIA_EINVAL);
    r->cfg = good, r->cfg.wire = NULL;
    CHECK_EQ(init(r), -VIA_EINVAL);
    r->cfg = good, r->cfg.faults = 0;
    CHECK_EQ(init(r), -VIA_EINVAL);
    r->cfg = good, r->cfg.fault = NULL;
    CHECK_EQ(init(r), -VIA_EINVAL);
    r->cfg = good, r->cfg.events = NULL, r->cfg.faults = 0;
    struct via_iommu_report report;
    CHECK_EQ(init(r), 0);
    CHECK_EQ(via_iommu_driver_fault(&r->driver, &report), 0);
}

/* ------------------------------------------------------------------ what is asked */

static bool asked(const struct iommu_rig *r, const void *want, uint32_t out, uint32_t in)
{
    const struct rig_asked *a = &r->asked[(r->n_asked - 1) % RIG_LOG];
    return a->out == out && a->in == in && memcmp(a->bytes, want, out) == 0;
}

static void requests_as_they_are_written(void)
{
    static const uint8_t attach[20] = {1, 0, 0, 0, 7, 0, 0, 0, 0x12, 0x34, 0x56, 0x78};
    static const uint8_t attach_bypass[20] = {1, 0, 0, 0, 9, 0, 0, 0, 3, 0, 0, 0, 1};
    static const uint8_t detach[20] = {2, 0, 0, 0, 7, 0, 0, 0, 0x12, 0x34, 0x56, 0x78};
    static const uint8_t map_read[36] = {3,    0, 0, 0, 7, 0, 0, 0, 0,    0x20, 0,    0,    0,    0,    0,    0, 0xff,
                                         0x3f, 0, 0, 0, 0, 0, 0, 0, 0xf0, 0xde, 0xbc, 0x9a, 0x78, 0x56, 0x34, 1};
    static const uint8_t unmap_all[28] = {4, 0, 0, 0, 7, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t probe[72] = {5, 0, 0, 0, 0x12, 0x34, 0x56, 0x78};
    struct via_iova_range range[2];
    struct via_iommu_windows w = {range, 2, 0, 0};
    for (unsigned bounce = 0; bounce < 2; bounce++) {
        struct iommu_rig *r = rig_with_domain(bounce);
        struct via_iommu_driver_domain bypass;
        CHECK_EQ(via_iommu_driver_probe(&r->driver, 0x78563412, &w), 0);
        CHECK(asked(r, probe, 72, RIG_PROBE + 4));
        CHECK_EQ(via_iommu_driver_attach(&dom, 0x78563412), 0);
        CHECK(asked(r, attach, 20, 4));
        CHECK_EQ(map(0x2000, 0x3fff, 0x3456789abcdef000, VIA_IOMMU_READ), 0);
        CHECK(asked(r, map_read, 36, 4));
        for (unsigned perm = 1; perm < 8; perm++) {
            CHECK_EQ(map(0x2000, 0x3fff, 0, perm), 0);
            CHECK_EQ(via_le32_value(((const struct via_iommu_map *)rig_last(r))->flags), perm);
        }
        CHECK_EQ(map(0x2000, 0x3fff, 0, RW | 0xf0), 0); /* no bit but those that there are */
        CHECK_EQ(via_le32_value(((const struct via_iommu_map *)rig_last(r))->flags), RW);
        CHECK_EQ(unmap(0x1000, 0xffffffffffff), 0);
        CHECK_EQ(flush(), 0);
        CHECK(asked(r, unmap_all, 28, 4));
        CHECK_EQ(via_iommu_driver_detach(&dom, 0x78563412), 0);
        CHECK(asked(r, detach, 20, 4));
        CHECK_EQ(via_iommu_driver_domain(&bypass, &r->driver, 9, true, NULL), 0);
        CHECK_EQ(via_iommu_driver_attach(&bypass, 3), 0);
        CHECK(asked(r, attach_bypass, 20, 4));
        CHECK_EQ(r->driver.requests, r->n_asked);
        CHECK(!r->driver.fault.what && rig_in_use(r) == (bounce ? RIG_FAULTS : 0));
    }
}

static void what_is_never_asked(void)
{
    static struct via_iova_range range[] = {{0x8000, 0x8fff}, {0xfee00000, 0xfeefffff}, {0xafff, 0xb000}};
    static const struct via_iommu_windows w = {range, 3, 3, 1};
    struct iommu_rig *r = rig_new(false);
    struct via_iommu_driver_domain bypass;
    CHECK_EQ(via_iommu_driver_domain(&dom, &r->driver, 0, false, &w), -VIA_ERANGE);
    CHECK_EQ(via_iommu_driver_domain(&dom, &r->driver, 101, false, &w), -VIA_ERANGE);
    CHECK_EQ(via_iommu_driver_domain(&dom, &r->driver, 100, false, &w), 0);
    CHECK_EQ(via_iommu_driver_domain(&bypass, &r->driver, 1, true, NULL), 0);
    static const struct {
        uint64_t iova, last, phys;
        int map, unmap;
    } t[] = {
        {0, 0xfff, 0, -VIA_ERANGE, -VIA_ERANGE},
        {0, 0x1fff, 0, -VIA_ERANGE, -VIA_ERANGE},
        {0xfffffffff000, 0x1000000000fff, 0, -VIA_ERANGE, -VIA_ERANGE},
        {0x2000, UINT64_MAX, 0, -VIA_ERANGE, -VIA_ERANGE},
        {0x2001, 0x2fff, 0, -VIA_ERANGE, -VIA_ERANGE},
        {0x2000, 0x2ffe, 0, -VIA_ERANGE, -VIA_ERANGE},
        {0x2000, 0x2fff, 1, -VIA_ERANGE, 0},
        {0x2000, 0x3fff, UINT64_MAX - 0xfff, -VIA_ERANGE, 0},
        {0x2000, 0x1fff, 0, -VIA_EINVAL, -VIA_EINVAL},
        {0x2000, 0x2000, 0, -VIA_EINVAL, -VIA_EINVAL},
        {0x8000, 0x8fff, 0, -VIA_ERANGE, 0},
        {0x7000, 0x9fff, 0, -VIA_ERANGE, 0},
        {0xfeeff000, 0xfef00fff, 0, -VIA_ERANGE, 0},
        {0xa000, 0xafff, 0, -VIA_ERANGE, 0},
        {0xb000, 0xbfff, 0, -VIA_ERANGE, 0},
        {0x7000, 0x7fff, 0, 0, 0},
        {0x9000, 0x9fff, 0, 0, 0},
    };
    for (unsigned i = 0; i < via_array_len(t); i++) {
        unsigned was = r->n_asked;
        CHECK_EQ(map(t[i].iova, t[i].last, t[i].phys, RW), t[i].map);
        CHECK_EQ(unmap(t[i].iova, t[i].last), t[i].unmap);
        CHECK_EQ(flush(), 0);
        CHECK_EQ(r->n_asked - was, (t[i].map == 0) + (t[i].unmap == 0));
    }
    unsigned was = r->n_asked;
    CHECK_EQ(bypass.domain.ops->map(&bypass.domain, 0x2000, 0x2fff, 0, RW), -VIA_EINVAL);
    CHECK_EQ(bypass.domain.ops->unmap(&bypass.domain, 0x2000, 0x2fff), -VIA_EINVAL);
    CHECK_EQ(bypass.domain.ops->flush(&bypass.domain), 0);
    r->cfg.features = F(MAP_UNMAP);
    CHECK(rig_restart(r));
    CHECK_EQ(via_iommu_driver_domain(&dom, &r->driver, UINT32_MAX, false, NULL), 0);
    CHECK_EQ(via_iommu_driver_domain(&bypass, &r->driver, 1, true, NULL), -VIA_ENOTSUP);
    CHECK_EQ(map(0x2000, 0x2fff, 0, RW | VIA_IOMMU_MMIO), -VIA_ENOTSUP);
    struct via_iommu_windows none = {range, 3, 0, 5};
    CHECK(via_iommu_driver_probe(&r->driver, 1, &none) == 0 && none.n == 0 && none.doorbell == -1);
    CHECK_EQ(r->n_asked, was);
    CHECK_EQ(map(0, UINT64_MAX, 0, RW), 0); /* no input range: all of it */
}

static void addresses_for_a_domain(void)
{
    static struct via_iova_range range[] = {{0x8000, 0x8fff}, {0x3000, 0x5fff}};
    static const struct via_iommu_windows w = {range, 2, 2, -1};
    struct iommu_rig *r = rig_new(false);
    struct via_iova_cfg c;
    struct via_iova_space space;
    static struct via_iova_node node[16];
    CHECK_EQ(via_iommu_driver_domain(&dom, &r->driver, 1, false, &w), 0);
    CHECK_EQ(via_iommu_driver_iova(&dom, 0xffffffff, &c), 0);
    CHECK(c.shift == 12 && c.range.start == 0x1000 && c.range.last == 0xffffffffffff && c.mask == 0xffffffff);
    CHECK(c.reserved == range && c.n_reserved == 2);
    CHECK_EQ(via_iova_init(&space, &c, node, via_array_len(node)), 0);
    unsigned n = 0;
    for (via_iova a; via_iova_alloc(&space, 1, &a) == 0; n++)
        CHECK(a.v >= 0x1000 && (a.v < 0x3000 || a.v > 0x5fff) && (a.v < 0x8000 || a.v > 0x8fff));
    CHECK_EQ(n, 16 - 4);
    r->driver.page = 1;
    CHECK(via_iommu_driver_iova(&dom, UINT64_MAX, &c) == 0 && c.shift == 12);
    r->driver.page = 0x10000;
    CHECK(via_iommu_driver_iova(&dom, UINT64_MAX, &c) == 0 && c.shift == 16);
    r->driver.page = UINT64_C(1) << 31;
    CHECK_EQ(via_iommu_driver_iova(&dom, UINT64_MAX, &c), -VIA_ENOTSUP);
}

/* ------------------------------------------------------------------ answers */

static void statuses_and_lengths(void)
{
    static const struct {
        int status;
        int64_t written;
        int want;
    } t[] = {
        {0, -1, 0},
        {1, -1, -VIA_EIO},
        {2, -1, -VIA_ENOTSUP},
        {3, -1, -VIA_EIO},
        {4, -1, -VIA_EINVAL},
        {5, -1, -VIA_ERANGE},
        {6, -1, -VIA_ENOENT},
        {7, -1, -VIA_EFAULT},
        {8, -1, -VIA_EAGAIN},
        {9, -1, -VIA_EPROTO},
        {128, -1, -VIA_EPROTO},
        {254, -1, -VIA_EPROTO},
        {255, -1, -VIA_EPROTO},
        {-1, 0, -VIA_ENOTSUP}, /* not even parsed */
        {0, 0, -VIA_ENOTSUP},  /* whatever lies there */
        {0, 1, -VIA_EPROTO},
        {0, 3, -VIA_EPROTO},
    };
    struct via_iova_range range[4];
    for (unsigned bounce = 0; bounce < 2; bounce++)
        for (unsigned i = 0; i < via_array_len(t); i++) {
            struct iommu_rig *r = rig_with_domain(bounce);
            struct via_iommu_windows w = {range, 4, 0, -1};
            r->status = t[i].status;
            r->written = t[i].written;
            CHECK_EQ(via_iommu_driver_attach(&dom, 1), t[i].want);
            CHECK_EQ(via_iommu_driver_detach(&dom, 1), t[i].want);
            CHECK_EQ(map(0x1000, 0x1fff, 0, RW), t[i].want);
            CHECK_EQ(unmap(0x1000, 0x1fff), 0);
            CHECK_EQ(flush(), t[i].want);
            CHECK_EQ(flush(), 0);
            CHECK_EQ(via_iommu_driver_probe(&r->driver, 1, &w), t[i].want);
            CHECK_EQ(r->driver.fault.what != NULL, t[i].want == -VIA_EPROTO);
            CHECK_EQ(r->n_asked, 5);
            r->status = 0;
            r->written = -1;
            for (unsigned k = 0; k < 2 * RIG_DEPTH; k++) /* it goes on: nothing is lost */
                CHECK_EQ(map(0x1000, 0x1fff, 0, RW), 0);
            CHECK_EQ(rig_in_use(r), bounce ? RIG_FAULTS : 0);
        }
    struct iommu_rig *r = rig_with_domain(false);
    r->status = -1; /* the length says that it was written */
    CHECK_EQ(map(0x1000, 0x1fff, 0, RW), -VIA_EPROTO);
    r->status = 0;
    r->written = RIG_PROBE; /* all but the tail */
    struct via_iommu_windows w = {range, 4, 0, -1};
    CHECK_EQ(via_iommu_driver_probe(&r->driver, 1, &w), -VIA_EPROTO);
}

/* Unmaps go together; one that fails is told by the flush after it, whichever it was, and by no other. */
static void unmaps_go_together(void)
{
    struct iommu_rig *r = rig_with_domain(false);
    struct via_iommu_driver_domain other;
    CHECK_EQ(via_iommu_driver_domain(&other, &r->driver, 8, false, NULL), 0);
    for (uint64_t i = 1; i <= RIG_DEPTH; i++)
        CHECK_EQ(unmap(i << 12, (i << 12) + 0xfff), 0);
    CHECK(r->kicks[0] == 0 && r->n_asked == 0);
    CHECK_EQ(flush(), 0);
    CHECK(r->kicks[0] == 1 && r->n_asked == RIG_DEPTH);
    CHECK_EQ(flush(), 0); /* nothing to wait for */
    CHECK_EQ(r->n_asked, RIG_DEPTH);
    r->status = VIA_IOMMU_S_DEVERR;
    CHECK_EQ(unmap(0x1000, 0x1fff), 0);
    CHECK_EQ(map(0x2000, 0x2fff, 0, RW), -VIA_EIO); /* the unmap before it is answered on the way */
    r->status = VIA_IOMMU_S_INVAL;
    CHECK_EQ(unmap(0x2000, 0x2fff), 0);
    CHECK_EQ(map(0x2000, 0x2fff, 0, RW), -VIA_EINVAL);
    r->status = VIA_IOMMU_S_OK;
    CHECK_EQ(other.domain.ops->unmap(&other.domain, 0x2000, 0x2fff), 0);
    CHECK_EQ(other.domain.ops->flush(&other.domain), 0);
    CHECK_EQ(flush(), -VIA_EIO);
    CHECK_EQ(flush(), 0);
    unsigned was = r->n_asked;
    for (uint64_t i = 1; i <= 5 * RIG_DEPTH; i++) /* more than there is room for */
        CHECK_EQ(unmap(i << 12, (i << 12) + 0xfff), 0);
    CHECK_EQ(flush(), 0);
    CHECK_EQ(r->n_asked - was, 5 * RIG_DEPTH);
}

/* No room for a request where dma bounces it: what is under way makes some, or the caller hears of it. */
static void no_room_in_the_pool(void)
{
    struct iommu_rig *r = rig_with_domain(true);
    void *held[16];
    unsigned n = 0;
    while (n < 16 && (held[n] = via_bounce_alloc(&r->bounce, VIA_POOL_SLOT)))
        n++;
    for (unsigned i = 0; i < 2 * RIG_DEPTH; i++) {
        CHECK_EQ(map(0x1000, 0x1fff, 0, RW), -VIA_EAGAIN);
        CHECK_EQ(unmap(0x1000, 0x1fff), -VIA_EAGAIN);
    }
    via_bounce_free(&r->bounce, held[--n], VIA_POOL_SLOT);
    via_bounce_free(&r->bounce, held[--n], VIA_POOL_SLOT);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(unmap(0x1000, 0x1fff), 0); /* one at a time */
    CHECK_EQ(flush(), 0);
    CHECK_EQ(r->n_asked, 3);
}

static void no_room_in_the_ring(void)
{
    struct iommu_rig *r = rig_with_domain(true);
    r->num = 4; /* two requests */
    r->cfg.events = NULL;
    via_iommu_driver_end(&r->driver);
    CHECK(rig_restart(r) && via_iommu_driver_domain(&dom, &r->driver, 7, false, NULL) == 0);
    for (unsigned i = 0; i < RIG_DEPTH; i++)
        CHECK_EQ(unmap(0x1000, 0x1fff), 0);
    CHECK_EQ(map(0x1000, 0x1fff, 0, RW), 0);
    CHECK_EQ(flush(), 0);
    CHECK(r->n_asked == RIG_DEPTH + 1 && rig_in_use(r) == 0);
}

TAP_MAIN(TEST(features_that_are_accepted), TEST(configurations_of_the_device), TEST(parts_that_are_missing),
         TEST(requests_as_they_are_written), TEST(what_is_never_asked), TEST(addresses_for_a_domain), TEST(statuses_and_lengths),
         TEST(unmaps_go_together), TEST(no_room_in_the_pool), TEST(no_room_in_the_ring))
