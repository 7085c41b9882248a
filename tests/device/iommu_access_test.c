/* SPDX-License-Identifier: BSD-2-Clause */
/* The IOMMU device: who reaches what, when accesses end, and what the driver hears of faults. */
#include <string.h>

#include "iommu_rig.h"

#define OK VIA_IOMMU_S_OK
#define BYPASS VIA_IOMMU_ATTACH_F_BYPASS
#define R VIA_PERM_R
#define W VIA_PERM_W
#define BYPASS_AT offsetof(struct via_iommu_config, bypass)

static int set_bypass(struct iommu_rig *r, uint8_t value) { return via_iommu_device_config_write(&r->dev, BYPASS_AT, &value, 1); }

static uint8_t bypass_field(const struct iommu_rig *r)
{
    uint8_t value = 0xee;
    via_iommu_device_config(&r->dev, BYPASS_AT, &value, 1);
    return value;
}

/* ------------------------------------------------------------------ who reaches what */

static void rights_of_mappings(void)
{
    struct iommu_rig *r = rig_new(NULL);
    CHECK_EQ(rig_attach(r, 1, 70000, 0), OK);
    for (uint32_t flags = 0; flags < 8; flags++)
        CHECK_EQ(rig_map(r, 1, (1 + flags) << 12, ((2 + flags) << 12) - 1, RIG_GPA + (flags << 12), flags), OK);
    for (unsigned flags = 0; flags < 8; flags++)
        for (unsigned perm = 1; perm < 4; perm++)
            CHECK_EQ(rig_reach(r, 2, ((1 + flags) << 12) + 5, perm), (flags & perm) == perm ? (int)(flags << 12) + 5 : -1);
}

static void spans_end_with_their_mapping(void)
{
    struct iommu_rig *r = rig_new(NULL);
    struct via_span span;
    struct via_xlate *x = &r->ep[2].xlate;
    CHECK_EQ(rig_attach(r, 1, 70000, 0), OK);
    CHECK_EQ(rig_map(r, 1, 0x2000, 0x3fff, RIG_GPA + 0x1000, RIG_RW), OK);
    CHECK_EQ(rig_map(r, 1, 0x4000, 0x4fff, RIG_GPA + 0x9000, RIG_RW), OK);
    CHECK_EQ(rig_map(r, 1, 0x8000, 0x9fff, RIG_GPA + RIG_MEM - 0x1000, RIG_RW), OK);
    CHECK_EQ(via_xlate_resolve(x, (via_iova){0x2800}, 0x2800, R, &span), 0);
    CHECK(span.ptr == r->mem + 0x1800 && span.len == 0x1800);
    CHECK_EQ(via_xlate_resolve(x, (via_iova){0x2800}, 7, R, &span), 0);
    CHECK(span.ptr == r->mem + 0x1800 && span.len == 7);
    CHECK_EQ(via_xlate_resolve(x, (via_iova){0x8800}, 0x1800, W, &span), 0); /* the memory ends before the mapping does */
    CHECK(span.ptr == r->mem + RIG_MEM - 0x800 && span.len == 0x800);
    CHECK_EQ(via_xlate_resolve(x, (via_iova){0x9000}, 1, W, &span), -VIA_EFAULT);
    CHECK_EQ(via_xlate_resolve(x, (via_iova){0x2800}, 0, R, &span), -VIA_EFAULT);
    CHECK_EQ(via_xlate_resolve(x, (via_iova){0x2800}, UINT64_MAX, R, &span), -VIA_EFAULT);
    struct via_iommu_place p;
    CHECK_EQ(rig_map(r, 1, 0x6000, 0x6fff, RIG_GPA, VIA_IOMMU_MAP_F_READ | VIA_IOMMU_MAP_F_MMIO), OK);
    CHECK(via_iommu_endpoint_find(&r->ep[2], (via_iova){0x6000}, R, &p) == 0 && p.perm == R);
    CHECK_EQ(via_iommu_endpoint_find(&r->ep[2], (via_iova){0x3000}, W, &p), 0);
    CHECK(p.start == 0x2000 && p.last == 0x3fff && p.gpa.v == RIG_GPA + 0x1000 && p.perm == (R | W));
}

static void unattached_endpoints_reach_nothing(void)
{
    struct iommu_rig *r = rig_new(NULL);
    for (unsigned i = 0; i < RIG_ENDPOINTS; i++)
        CHECK(rig_reach(r, i, RIG_GPA, R) == -1 && rig_reach(r, i, RIG_GPA + 9, W) == -1 && rig_reach(r, i, 0, R) == -1);
    CHECK_EQ(rig_attach(r, 1, 8, 0), OK);
    CHECK_EQ(rig_map(r, 1, 0x2000, 0x3fff, RIG_GPA, RIG_RW), OK);
    CHECK_EQ(rig_reach(r, 1, 0x2000, R), -1); /* not even what others have */
    CHECK_EQ(rig_detach(r, 1, 8), OK);
    CHECK_EQ(rig_reach(r, 0, RIG_GPA, R), -1);
}

static void bypass_domains(void)
{
    struct iommu_rig *r = rig_new(NULL);
    struct via_iommu_place p;
    CHECK_EQ(rig_attach(r, 1, 8, BYPASS), OK);
    CHECK_EQ(rig_reach(r, 0, RIG_GPA + 77, W), 77);
    CHECK_EQ(rig_reach(r, 1, RIG_GPA + 77, W), -1);
    CHECK_EQ(rig_reach(r, 0, 0x5000, W), -1); /* no memory there */
    /* Its windows are not memory, whatever there is in memory at the same addresses. */
    static const struct via_iommu_window in_memory[] = {{RIG_GPA + 0x1000, RIG_GPA + 0x1fff, false},
                                                        {RIG_GPA + 0x4000, RIG_GPA + 0x4fff, false}};
    r->ep[1].window = in_memory;
    r->ep[1].n_windows = 2;
    CHECK_EQ(rig_attach(r, 1, 9, BYPASS), OK);
    CHECK_EQ(rig_reach(r, 1, RIG_GPA + 0xfff, R), 0xfff);
    CHECK_EQ(rig_reach(r, 1, RIG_GPA + 0x1000, R), -1);
    CHECK_EQ(rig_reach(r, 1, RIG_GPA + 0x1fff, W), -1);
    CHECK_EQ(rig_reach(r, 1, RIG_GPA + 0x2000, R), 0x2000);
    CHECK(via_iommu_endpoint_find(&r->ep[1], (via_iova){RIG_GPA}, R, &p) == 0 && p.start == 0 && p.last == RIG_GPA + 0xfff);
    CHECK(via_iommu_endpoint_find(&r->ep[1], (via_iova){RIG_GPA + 0x5000}, R, &p) == 0 && p.start == RIG_GPA + 0x5000);
    CHECK_EQ(via_iommu_endpoint_find(&r->ep[0], (via_iova){0xfffff}, R, &p), 0);
    CHECK(p.start == 0 && p.last == 0xfffff && p.gpa.v == 0 && p.perm == (R | W));
    CHECK_EQ(via_iommu_endpoint_find(&r->ep[0], (via_iova){0x200000}, R, &p), 0);
    CHECK(p.start == 0x200000 && p.last == 0xfedfffff && p.gpa.v == 0x200000);
    CHECK_EQ(via_iommu_endpoint_find(&r->ep[0], (via_iova){UINT64_MAX}, R, &p), 0);
    CHECK(p.start == 0xfef00000 && p.last == UINT64_MAX && p.gpa.v == p.start);
    CHECK_EQ(via_iommu_endpoint_find(&r->ep[0], (via_iova){0xfee00000}, R, &p), -VIA_EFAULT);
    CHECK_EQ(via_iommu_endpoint_find(&r->ep[0], (via_iova){0xfeefffff}, W, &p), -VIA_EFAULT);
    CHECK_EQ(rig_detach(r, 1, 8), OK);
    CHECK_EQ(rig_reach(r, 0, RIG_GPA + 77, W), -1);
}

static void bypass_from_the_start(void)
{
    struct via_iommu_device_cfg c = rig_cfg;
    c.bypass = true;
    struct iommu_rig *r = rig_new(&c);
    r->dev.features = 0; /* a driver that knows nothing of it, or none yet */
    CHECK_EQ(bypass_field(r), 1);
    CHECK_EQ(rig_reach(r, 1, RIG_GPA + 5, W), 5);
    CHECK_EQ(rig_attach(r, 1, 9, 0), OK);
    CHECK_EQ(rig_reach(r, 1, RIG_GPA + 5, W), -1);
    CHECK_EQ(rig_detach(r, 1, 9), OK);
    CHECK_EQ(rig_reach(r, 1, RIG_GPA + 5, W), 5);
}

static void the_bypass_field(void)
{
    struct iommu_rig *r = rig_new(NULL);
    uint8_t bytes[40] = {0};
    CHECK_EQ(bypass_field(r), 0);
    CHECK_EQ(set_bypass(r, 1), 0);
    CHECK_EQ(bypass_field(r), 1);
    CHECK_EQ(rig_reach(r, 0, RIG_GPA, W), 0);
    for (unsigned value = 2; value < 256; value++)
        CHECK_EQ(set_bypass(r, (uint8_t)value), -VIA_EINVAL);
    for (uint32_t at = 0; at < 60; at++) /* nothing else can be written */
        for (uint32_t len = 0; len < 8; len++)
            if (at != BYPASS_AT || len != 1)
                CHECK_EQ(via_iommu_device_config_write(&r->dev, at, bytes, len), -VIA_EINVAL);
    CHECK_EQ(bypass_field(r), 1);
    CHECK_EQ(set_bypass(r, 0), 0);
    CHECK_EQ(rig_reach(r, 0, RIG_GPA, W), -1);
    r->dev.features &= ~VIA_BIT(VIA_IOMMU_F_BYPASS_CONFIG);
    CHECK_EQ(set_bypass(r, 1), -VIA_EINVAL);
    CHECK_EQ(bypass_field(r), 0);
}

static void resets(void)
{
    struct iommu_rig *r = rig_new(NULL);
    CHECK_EQ(set_bypass(r, 1), 0);
    CHECK_EQ(rig_attach(r, 1, 8, 0), OK);
    CHECK_EQ(rig_attach(r, 2, 9, BYPASS), OK);
    CHECK_EQ(rig_map(r, 1, 0x2000, 0x3fff, RIG_GPA, RIG_RW), OK);
    CHECK_EQ(via_iommu_device_reset(&r->dev, false), 0);
    CHECK(rig_restart(r));
    CHECK(r->dev.n_domains == 0 && r->dev.n_mappings == 0 && !r->ep[0].domain && !r->ep[1].domain && r->dev.features == 0);
    CHECK_EQ(bypass_field(r), 1); /* not what a device reset touches */
    CHECK(rig_reach(r, 0, 0x2000, R) == -1 && rig_reach(r, 0, RIG_GPA, R) == 0);
    CHECK_EQ(rig_attach(r, 1, 8, 0), OK);
    CHECK_EQ(via_iommu_device_reset(&r->dev, true), 0);
    CHECK(rig_restart(r));
    CHECK(bypass_field(r) == 0 && rig_reach(r, 0, RIG_GPA, R) == -1 && rig_reach(r, 1, RIG_GPA, R) == -1);
}

/* ------------------------------------------------------------------ against a model */

enum { PAGES = 24, DOMAINS = 2 };
struct page {
    int64_t frame; /* -1: none */
    unsigned first, last, flags;
};

static uint32_t seed = 11;
static unsigned below(unsigned n)
{
    seed = seed * 1664525u + 1013904223u;
    return (unsigned)(((uint64_t)seed * n) >> 32);
}

static bool model_step(struct iommu_rig *r, struct page model[DOMAINS][PAGES])
{
    unsigned dom = below(DOMAINS), a = below(PAGES), b = below(PAGES), first = a < b ? a : b, last = a < b ? b : a;
    struct page *m = model[dom];
    uint64_t start = (1 + (uint64_t)first) << 12, end = ((2 + (uint64_t)last) << 12) - 1;
    bool clear = true, whole = true;
    if (below(2)) {
        unsigned flags = below(4);
        last = first + below(3) < PAGES ? first + below(3) : first;
        last = last < PAGES ? last : PAGES - 1;
        end = ((2 + (uint64_t)last) << 12) - 1;
        for (unsigned i = first; i <= last; i++)
            clear &= m[i].frame < 0;
        unsigned frame = below(200);
        int status = rig_map(r, dom + 1, start, end, RIG_GPA + (frame << 12), flags);
        CHECK_OR_FALSE(status == (clear ? OK : VIA_IOMMU_S_INVAL));
        for (unsigned i = first; i <= last && clear; i++)
            m[i] = (struct page){frame + i - first, first, last, flags};
        return true;
    }
    for (unsigned i = first; i <= last; i++)
        whole &= m[i].frame < 0 || (m[i].first >= first && m[i].last <= last);
    uint64_t generation = r->ep[dom].xlate.generation, other = r->ep[!dom].xlate.generation;
    CHECK_OR_FALSE(rig_unmap(r, dom + 1, start, end) == (whole ? OK : VIA_IOMMU_S_RANGE));
    for (unsigned i = first; i <= last && whole; i++) {
        clear &= m[i].frame < 0;
        m[i].frame = -1;
    }
    CHECK_OR_FALSE((r->ep[dom].xlate.generation != generation) == (whole && !clear) && r->ep[!dom].xlate.generation == other);
    return true;
}

static void random_mappings_against_a_model(void)
{
    struct iommu_rig *r = rig_new(NULL);
    struct page model[DOMAINS][PAGES];
    for (unsigned i = 0; i < DOMAINS; i++) {
        r->ep[i].n_windows = 0;
        CHECK_EQ(rig_attach(r, i + 1, r->ep[i].id, 0), OK);
        for (unsigned k = 0; k < PAGES; k++)
            model[i][k].frame = -1;
    }
    for (unsigned step = 0; step < 20000; step++) {
        CHECK(model_step(r, model));
        for (unsigned i = 0; i < DOMAINS; i++)
            for (unsigned k = 0; k < 4; k++) {
                unsigned page = below(PAGES), perm = 1 + below(3);
                const struct page *m = &model[i][page];
                int64_t want = m->frame >= 0 && (m->flags & perm) == perm ? (m->frame << 12) + 17 : -1;
                CHECK_EQ(rig_reach(r, i, ((1 + (uint64_t)page) << 12) + 17, perm), want);
            }
    }
}

/* ------------------------------------------------------------------ the end of accesses */

static struct iommu_rig *slow_rig(int answer)
{
    struct via_iommu_device_cfg c = rig_cfg;
    c.ops = &rig_ops;
    struct iommu_rig *r = rig_new(&c);
    r->revoke_answer = answer;
    return r;
}

static bool revoked_is(const struct iommu_rig *r, unsigned i, uint32_t endpoint, uint64_t start, uint64_t last)
{
    const struct rig_revoke *v = &r->revoke[i];
    return r->revokes > i && v->endpoint == endpoint && v->start == start && v->last == last;
}

static void who_is_told_of_what(void)
{
    struct iommu_rig *r = slow_rig(0);
    CHECK_EQ(rig_attach(r, 1, 8, 0), OK); /* it reached nothing before */
    CHECK_EQ(rig_attach(r, 1, 9, 0), OK);
    CHECK_EQ(rig_attach(r, 2, 70000, 0), OK);
    CHECK_EQ(rig_unmap(r, 1, 0, UINT64_MAX), OK); /* nothing there */
    CHECK_EQ(rig_map(r, 1, 0x2000, 0x3fff, RIG_GPA, RIG_RW), OK);
    CHECK_EQ(r->revokes, 0);
    CHECK_EQ(rig_unmap(r, 1, 0x1000, 0x8fff), OK);
    CHECK(r->revokes == 2 && revoked_is(r, 0, 9, 0x1000, 0x8fff) && revoked_is(r, 1, 8, 0x1000, 0x8fff));
    CHECK(r->revoke[0].generation == 1 && r->ep[1].xlate.generation == 1 && r->ep[2].xlate.generation == 0);
    CHECK_EQ(rig_attach(r, 2, 8, 0), OK);
    CHECK(r->revokes == 3 && revoked_is(r, 2, 8, 0, UINT64_MAX));
    CHECK_EQ(rig_detach(r, 2, 8), OK);
    CHECK(r->revokes == 4 && revoked_is(r, 3, 8, 0, UINT64_MAX));
    CHECK_EQ(set_bypass(r, 1), 0);
    CHECK_EQ(r->revokes, 4);
    CHECK_EQ(set_bypass(r, 0), 0);
    CHECK(r->revokes == 5 && revoked_is(r, 4, 8, 0, UINT64_MAX)); /* the one that is not attached */
    CHECK_EQ(set_bypass(r, 1), 0);
    CHECK_EQ(rig_attach(r, 3, 8, 0), OK); /* it had everything before */
    CHECK(r->revokes == 6 && revoked_is(r, 5, 8, 0, UINT64_MAX));
}

/* An answer comes when the last endpoint's accesses have ended, and not before; the tables are others at once. */
static void an_unmap_waits_for_accesses_to_end(void)
{
    struct iommu_rig *r = slow_rig(0);
    uint32_t written;
    struct via_iommu_unmap q = {
        .head.type = VIA_IOMMU_T_UNMAP, .domain = via_le32_make(1), .virt_start = via_le64_make(0x2000), .virt_end = via_le64_make(0x2fff)};
    CHECK_EQ(rig_attach(r, 1, 8, 0), OK);
    CHECK_EQ(rig_attach(r, 1, 9, 0), OK);
    CHECK_EQ(rig_map(r, 1, 0x2000, 0x2fff, RIG_GPA, RIG_RW), OK);
    r->revoke_answer = -VIA_EAGAIN;
    CHECK(rig_add(r, &q, 28, 4) && rig_run(r));
    CHECK(r->revokes == 2 && !rig_used(r, VIA_IOMMU_REQUESTQ, &written));
    CHECK(rig_reach(r, 0, 0x2000, R) == -1 && r->in[0] == RIG_UNTOUCHED);
    via_iommu_device_revoked(r->revoke[0].wait, 0);
    CHECK(rig_run(r) && !rig_used(r, VIA_IOMMU_REQUESTQ, &written) && r->in[0] == RIG_UNTOUCHED);
    via_iommu_device_revoked(r->revoke[1].wait, 0);
    CHECK(rig_run(r) && rig_used(r, VIA_IOMMU_REQUESTQ, &written) && written == 4 && r->in[0] == OK);
}

static void a_detach_and_a_move_wait_too(void)
{
    struct iommu_rig *r = slow_rig(-VIA_EAGAIN);
    uint32_t written;
    struct via_iommu_attach move = {.head.type = VIA_IOMMU_T_ATTACH, .domain = via_le32_make(2), .endpoint = via_le32_make(8)};
    struct via_iommu_detach leave = {.head.type = VIA_IOMMU_T_DETACH, .domain = via_le32_make(2), .endpoint = via_le32_make(8)};
    CHECK_EQ(rig_attach(r, 1, 8, 0), OK);
    CHECK(rig_add(r, &move, 20, 4) && rig_run(r) && !rig_used(r, VIA_IOMMU_REQUESTQ, &written));
    via_iommu_device_revoked(r->revoke[0].wait, 0);
    CHECK(rig_run(r) && rig_used(r, VIA_IOMMU_REQUESTQ, &written) && written == 4 && r->in[0] == OK);
    CHECK(rig_add(r, &leave, 20, 4) && rig_run(r) && !rig_used(r, VIA_IOMMU_REQUESTQ, &written));
    via_iommu_device_revoked(r->revoke[1].wait, 0);
    CHECK(rig_run(r) && rig_used(r, VIA_IOMMU_REQUESTQ, &written) && written == 4 && r->in[0] == OK);
}

/* As many requests wait as the quota says; the next one waits in the queue, and others go on meanwhile. */
static void several_requests_wait(void)
{
    struct iommu_rig *r = slow_rig(0);
    uint32_t written;
    struct via_iommu_unmap q = {.head.type = VIA_IOMMU_T_UNMAP, .domain = via_le32_make(1)};
    CHECK_EQ(rig_attach(r, 1, 8, 0), OK);
    for (uint64_t i = 1; i <= 4; i++)
        CHECK_EQ(rig_map(r, 1, i << 12, (i << 12) + 0xfff, RIG_GPA, RIG_RW), OK);
    r->revoke_answer = -VIA_EAGAIN;
    for (uint64_t i = 1; i <= 3; i++) {
        q.virt_start = via_le64_make(i << 12);
        q.virt_end = via_le64_make((i << 12) + 0xfff);
        CHECK(rig_add(r, &q, 28, 4) && rig_run(r));
        CHECK_EQ(r->revokes, i < 3 ? i : 2);
    }
    CHECK(r->revoke[0].wait != r->revoke[1].wait && !rig_used(r, VIA_IOMMU_REQUESTQ, &written));
    via_iommu_device_revoked(r->revoke[1].wait, 0); /* in any order */
    CHECK(rig_run(r) && rig_used(r, VIA_IOMMU_REQUESTQ, &written) && !rig_used(r, VIA_IOMMU_REQUESTQ, &written));
    CHECK_EQ(r->revokes, 3);
    via_iommu_device_revoked(r->revoke[2].wait, 0);
    CHECK(rig_run(r) && rig_used(r, VIA_IOMMU_REQUESTQ, &written) && !rig_used(r, VIA_IOMMU_REQUESTQ, &written));
    CHECK_EQ(rig_map(r, 1, 0x1000, 0x1fff, RIG_GPA, RIG_RW), OK); /* beside the first one, which still waits */
    via_iommu_device_revoked(r->revoke[0].wait, 0);
    CHECK(rig_run(r) && rig_used(r, VIA_IOMMU_REQUESTQ, &written));
    CHECK_EQ(r->dev.answers[OK], 1 + 4 + 3 + 1);
}

static void accesses_that_cannot_be_ended(void)
{
    struct iommu_rig *r = slow_rig(-VIA_EIO);
    uint32_t written;
    struct via_iommu_detach leave = {.head.type = VIA_IOMMU_T_DETACH, .domain = via_le32_make(1), .endpoint = via_le32_make(8)};
    CHECK_EQ(rig_attach(r, 1, 8, 0), OK);
    CHECK_EQ(rig_detach(r, 1, 8), VIA_IOMMU_S_DEVERR);
    CHECK_EQ(rig_attach(r, 1, 8, 0), OK);
    r->revoke_answer = -VIA_EAGAIN;
    CHECK(rig_add(r, &leave, 20, 4) && rig_run(r));
    via_iommu_device_revoked(r->revoke[1].wait, -VIA_EIO);
    CHECK(rig_run(r) && rig_used(r, VIA_IOMMU_REQUESTQ, &written) && written == 4 && r->in[0] == VIA_IOMMU_S_DEVERR);
    r->revoke_answer = -VIA_EIO;
    CHECK_EQ(rig_attach(r, 1, 8, 0), OK);
    CHECK_EQ(via_iommu_device_reset(&r->dev, false), -VIA_EIO);
    CHECK(!via_iommu_device_settled(&r->dev));
}

/* What waits at a reset is never answered, and does no harm when it ends. */
static void a_reset_waits_for_accesses_to_end(void)
{
    struct iommu_rig *r = slow_rig(-VIA_EAGAIN);
    uint32_t written;
    struct via_iommu_detach leave = {.head.type = VIA_IOMMU_T_DETACH, .domain = via_le32_make(1), .endpoint = via_le32_make(8)};
    for (unsigned first = 0; first < 2; first++) {
        r->revokes = 0;
        r->dev.features = via_iommu_device_features(&r->dev);
        CHECK_EQ(rig_attach(r, 1, 8, 0), OK);
        CHECK_EQ(rig_attach(r, 1, 9, 0), OK);
        CHECK(rig_add(r, &leave, 20, 4) && rig_run(r) && r->revokes == 1);
        CHECK_EQ(via_iommu_device_reset(&r->dev, false), -VIA_EAGAIN);
        CHECK(rig_restart(r) && r->revokes == 2 && r->revoke[1].endpoint == 9 && !via_iommu_device_settled(&r->dev));
        via_iommu_device_revoked(r->revoke[first].wait, 0);
        CHECK(rig_run(r) && !rig_used(r, VIA_IOMMU_REQUESTQ, &written) && !via_iommu_device_settled(&r->dev));
        CHECK_EQ(via_iommu_device_reset(&r->dev, false), -VIA_EAGAIN); /* again, nothing more is lost */
        CHECK(rig_restart(r) && r->revokes == 2);
        via_iommu_device_revoked(r->revoke[!first].wait, 0);
        CHECK(via_iommu_device_settled(&r->dev) && r->in[0] == RIG_UNTOUCHED);
    }
    CHECK_EQ(rig_attach(r, 1, 8, 0), OK); /* a failure is not forgotten with the request */
    CHECK(rig_add(r, &leave, 20, 4) && rig_run(r) && r->revokes == 3);
    CHECK_EQ(via_iommu_device_reset(&r->dev, false), -VIA_EAGAIN);
    via_iommu_device_revoked(r->revoke[2].wait, -VIA_EIO);
    CHECK(!via_iommu_device_settled(&r->dev) && rig_restart(r));
    CHECK_EQ(via_iommu_device_reset(&r->dev, false), 0);
    r->revokes = 2;
    r->dev.features = via_iommu_device_features(&r->dev);
    CHECK_EQ(set_bypass(r, 1), 0);
    CHECK_EQ(set_bypass(r, 0), -VIA_EAGAIN);
    for (unsigned i = 2; i < 5; i++) {
        CHECK(!via_iommu_device_settled(&r->dev));
        via_iommu_device_revoked(r->revoke[i].wait, 0);
    }
    CHECK(via_iommu_device_settled(&r->dev) && r->revokes == 5);
    CHECK_EQ(set_bypass(r, 1), 0); /* one after the other, and both waited for */
    CHECK_EQ(set_bypass(r, 0), -VIA_EAGAIN);
    CHECK_EQ(rig_attach(r, 1, 8, 0), OK);
    CHECK_EQ(via_iommu_device_reset(&r->dev, true), -VIA_EAGAIN);
    CHECK(rig_restart(r) && r->revokes == 9);
    for (unsigned i = 0; i < 4; i++) {
        CHECK(!via_iommu_device_settled(&r->dev));
        via_iommu_device_revoked(&r->dev.own, 0);
    }
    CHECK(via_iommu_device_settled(&r->dev));
    r->dev.features = via_iommu_device_features(&r->dev);
    r->revoke_answer = 0;
    for (unsigned i = 0; i < 5; i++) { /* all waits came back */
        CHECK_EQ(rig_attach(r, 1, 8, 0), OK);
        CHECK_EQ(rig_detach(r, 1, 8), OK);
    }
}

/* ------------------------------------------------------------------ anything */

static uint32_t pick(const uint32_t *from, unsigned n) { return below(16) ? from[below(n)] : below(UINT32_MAX); }

/* A request of fields that are mostly plausible; its readable length. */
static uint32_t any_request(union via_iommu_req *q)
{
    static const uint32_t domains[] = {1, 2, 3, 100, 0}, endpoints[] = {8, 9, 70000, 7}, flags[] = {0, 1, 2, 3, 4, 7};
    memset(q, 0, sizeof(*q));
    q->head.type = (uint8_t)(below(16) ? 1 + below(5) : below(256));
    q->attach.domain = via_le32_make(pick(domains, 5));
    if (q->head.type < VIA_IOMMU_T_MAP) {
        q->attach.endpoint = via_le32_make(pick(endpoints, 4));
        q->attach.flags = via_le32_make(below(4) ? 0 : pick(flags, 6));
    } else if (q->head.type < VIA_IOMMU_T_PROBE) {
        uint64_t start = below(64), last = start + below(8);
        q->map.virt_start = via_le64_make(below(16) ? start << 12 : UINT64_MAX - start);
        q->map.virt_end = via_le64_make(below(16) ? (last << 12) + 0xfff : UINT64_MAX);
        q->map.phys_start = via_le64_make(RIG_GPA + ((uint64_t)below(300) << 12));
        q->map.flags = via_le32_make(below(4) ? RIG_RW : pick(flags, 6));
        if (q->head.type == VIA_IOMMU_T_UNMAP && below(8))
            memset(q->unmap.reserved, 0, sizeof(q->unmap.reserved));
    } else {
        q->probe.endpoint = via_le32_make(pick(endpoints, 4));
    }
    return below(8) ? 72 : below(73);
}

/* Each request comes back once, sooner or later; quotas hold, whatever is asked for while accesses end and reports come. */
static void any_requests(void)
{
    struct iommu_rig *r = slow_rig(0);
    struct via_iommu_wait *waiting[64];
    unsigned n = 0, added = 0, used = 0;
    uint32_t written;
    union via_iommu_req q;
    for (unsigned step = 0; step < 30000; step++) {
        r->revokes = 0;
        r->revoke_answer = below(3) ? 0 : below(8) ? -VIA_EAGAIN : -VIA_EIO;
        if (added - used < 4) {
            uint32_t out = any_request(&q);
            CHECK(rig_add(r, &q, out, below(8) ? 104 : below(105)));
            added++;
        }
        CHECK(rig_run(r) && r->revokes <= RIG_WAITS);
        for (unsigned i = 0; i < r->revokes && r->revoke_answer == -VIA_EAGAIN; i++)
            waiting[n++] = r->revoke[i].wait;
        for (; rig_used(r, VIA_IOMMU_REQUESTQ, &written); used++)
            CHECK(written <= 104);
        if (n && (below(2) || n > 40)) {
            unsigned k = below(n);
            via_iommu_device_revoked(waiting[k], below(8) ? 0 : -VIA_EIO);
            waiting[k] = waiting[--n];
        }
        unsigned i = below(RIG_ENDPOINTS);
        int64_t at = rig_reach(r, i, (uint64_t)below(70) << 12, 1 + below(3));
        CHECK(at < (int64_t)RIG_MEM && (at < 0 || r->ep[i].domain));
        CHECK(r->dev.n_domains <= rig_cfg.domains && r->dev.n_mappings <= rig_cfg.mappings && r->dev.n_faults <= rig_cfg.faults);
        if (below(10) == 0)
            rig_post(r, 0x20000 + below(16) * 64, 1 + below(30));
        struct via_iommu_fault f;
        (void)rig_report(r, &f);
    }
    CHECK(used > 15000 && r->dev.answers[OK] > 1000 && r->dev.answers[VIA_IOMMU_S_DEVERR] > 10 && r->dev.reported > 100);
}

/* ------------------------------------------------------------------ faults */

static bool report_is(struct iommu_rig *r, unsigned reason, unsigned flags, uint32_t endpoint, uint64_t address)
{
    struct via_iommu_fault f, want = {.reason = (uint8_t)reason,
                                      .flags = via_le32_make(flags | VIA_IOMMU_FAULT_F_ADDRESS),
                                      .endpoint = via_le32_make(endpoint),
                                      .address = via_le64_make(address)};
    return rig_report(r, &f) == sizeof(f) && memcmp(&f, &want, sizeof(f)) == 0;
}

static void reports_of_faults(void)
{
    struct iommu_rig *r = rig_new(NULL);
    for (uint32_t i = 0; i < 4; i++)
        CHECK(rig_post(r, 0x20000 + i * 64, 40));
    CHECK_EQ(rig_attach(r, 1, 8, 0), OK);
    CHECK_EQ(rig_map(r, 1, 0x2000, 0x2fff, RIG_GPA, VIA_IOMMU_MAP_F_READ), OK);
    CHECK_EQ(rig_map(r, 1, 0x3000, 0x3fff, 0x1000, RIG_RW), OK);
    CHECK_EQ(rig_reach(r, 2, 0x77, R), -1);
    CHECK(report_is(r, VIA_IOMMU_FAULT_R_DOMAIN, VIA_IOMMU_FAULT_F_READ, 70000, 0x77));
    CHECK_EQ(rig_attach(r, 2, 70000, 0), OK);
    CHECK_EQ(rig_reach(r, 2, 0x77, R), -1); /* the same, for another reason */
    CHECK(report_is(r, VIA_IOMMU_FAULT_R_MAPPING, VIA_IOMMU_FAULT_F_READ, 70000, 0x77) && rig_post(r, 0x20000, 40));
    CHECK_EQ(rig_reach(r, 0, 0x2004, W), -1);
    CHECK(report_is(r, VIA_IOMMU_FAULT_R_MAPPING, VIA_IOMMU_FAULT_F_WRITE, 8, 0x2004));
    CHECK_EQ(rig_reach(r, 0, UINT64_MAX, R | W), -1);
    CHECK(report_is(r, VIA_IOMMU_FAULT_R_MAPPING, VIA_IOMMU_FAULT_F_READ | VIA_IOMMU_FAULT_F_WRITE, 8, UINT64_MAX));
    CHECK_EQ(rig_reach(r, 0, 0x3008, W), -1);
    CHECK(report_is(r, VIA_IOMMU_FAULT_R_UNKNOWN, VIA_IOMMU_FAULT_F_WRITE, 8, 0x3008));
    CHECK_EQ(r->mem[0x20000 + 24], RIG_UNTOUCHED);
    CHECK_EQ(r->dev.reported, 5);
}

/* The same fault is told once, until something changes; reports without a buffer wait, as many as the quota says. */
static void reports_that_wait_or_are_dropped(void)
{
    struct iommu_rig *r = rig_new(NULL);
    struct via_iommu_fault f;
    for (unsigned i = 0; i < 5; i++)
        CHECK_EQ(rig_reach(r, 2, 0x1000, R), -1);
    CHECK_EQ(rig_reach(r, 2, 0x2000, R), -1);
    CHECK_EQ(rig_reach(r, 2, 0x2000, W), -1);
    CHECK_EQ(r->dev.dropped, 0);
    CHECK_EQ(rig_reach(r, 2, 0x3000, R), -1);
    CHECK_EQ(r->dev.dropped, 1);
    CHECK_EQ(rig_report(r, &f), -1);
    for (uint32_t i = 0; i < 6; i++) /* two are more than the device takes: they wait in the queue */
        CHECK(rig_post(r, 0x20000 + i * 64, 24));
    CHECK(report_is(r, VIA_IOMMU_FAULT_R_DOMAIN, VIA_IOMMU_FAULT_F_READ, 70000, 0x1000));
    CHECK(report_is(r, VIA_IOMMU_FAULT_R_DOMAIN, VIA_IOMMU_FAULT_F_READ, 70000, 0x2000));
    CHECK(report_is(r, VIA_IOMMU_FAULT_R_DOMAIN, VIA_IOMMU_FAULT_F_WRITE, 70000, 0x2000));
    CHECK_EQ(rig_report(r, &f), -1);
    CHECK_EQ(r->dev.n_buffers, 3);
    CHECK(rig_post(r, 0x21000, 24) && rig_post(r, 0x21040, 24) && r->dev.n_buffers == 4);
    CHECK_EQ(rig_attach(r, 1, 70000, 0), OK);
    CHECK_EQ(rig_map(r, 1, 0x3000, 0x3fff, RIG_GPA, RIG_RW), OK);
    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQ(rig_reach(r, 2, 0x1000, R), -1);
        CHECK(report_is(r, VIA_IOMMU_FAULT_R_MAPPING, VIA_IOMMU_FAULT_F_READ, 70000, 0x1000));
        CHECK_EQ(rig_reach(r, 2, 0x1000, R), -1);
        CHECK_EQ(rig_report(r, &f), -1);
        CHECK_EQ(rig_unmap(r, 1, 0x3000, 0x3fff), OK); /* now it may be another matter */
    }
    CHECK_EQ(r->dev.reported, 5);
}

/* A buffer that is too small takes the report with it: one buffer, one report, and no byte of it. */
static void buffers_that_are_too_small(void)
{
    struct iommu_rig *r = rig_new(NULL);
    struct via_iommu_fault f;
    for (uint32_t len = 1; len < 24; len++) {
        uint32_t at = 0x20000 + len * 64;
        CHECK(rig_post(r, at, len) && rig_post(r, 0x30000, 24));
        CHECK_EQ(rig_reach(r, 2, 0x1000 * len, R), -1);
        CHECK_EQ(rig_report(r, &f), 0);
        for (uint32_t i = 0; i < len; i++)
            CHECK_EQ(r->mem[at + i], RIG_UNTOUCHED);
        CHECK_EQ(rig_report(r, &f), -1);
        CHECK_EQ(rig_reach(r, 2, 0x1000 * len + 1, R), -1);
        CHECK(report_is(r, VIA_IOMMU_FAULT_R_DOMAIN, VIA_IOMMU_FAULT_F_READ, 70000, 0x1000 * len + 1));
    }
    CHECK_EQ(r->dev.dropped, 23);
    /* Readable bytes alone are no buffer at all. */
    struct via_seg seg = {{RIG_GPA + 0x20000}, 64};
    CHECK_EQ(via_vq_add(&r->queue[1].vq, &seg, 1, 0, r->mem + 0x20000), 0);
    CHECK(rig_run(r));
    CHECK_EQ(rig_reach(r, 2, 1, R), -1);
    CHECK_EQ(rig_report(r, &f), 0);
}

/* After a reset reports come anew, to new buffers. */
static void a_reset_forgets_buffers_and_reports(void)
{
    struct iommu_rig *r = rig_new(NULL);
    struct via_iommu_fault f;
    CHECK(rig_post(r, 0x20000, 24));
    CHECK_EQ(rig_reach(r, 2, 0x1000, R), -1);
    CHECK(rig_post(r, 0x20040, 24));
    CHECK_EQ(via_iommu_device_reset(&r->dev, false), 0);
    CHECK(rig_restart(r));
    CHECK_EQ(rig_reach(r, 2, 0x5000, R), -1); /* one that no buffer is there for */
    CHECK_EQ(via_iommu_device_reset(&r->dev, false), 0);
    CHECK(rig_restart(r));
    CHECK_EQ(rig_reach(r, 2, 0x1000, R), -1);
    CHECK(rig_report(r, &f) == -1 && r->mem[0x20040] == RIG_UNTOUCHED);
    CHECK(rig_post(r, 0x20080, 24));
    CHECK(report_is(r, VIA_IOMMU_FAULT_R_DOMAIN, VIA_IOMMU_FAULT_F_READ, 70000, 0x1000));
}

TAP_MAIN(TEST(rights_of_mappings), TEST(spans_end_with_their_mapping), TEST(unattached_endpoints_reach_nothing), TEST(bypass_domains),
         TEST(bypass_from_the_start), TEST(the_bypass_field), TEST(resets), TEST(random_mappings_against_a_model),
         TEST(who_is_told_of_what), TEST(an_unmap_waits_for_accesses_to_end), TEST(a_detach_and_a_move_wait_too),
         TEST(several_requests_wait), TEST(accesses_that_cannot_be_ended), TEST(a_reset_waits_for_accesses_to_end), TEST(any_requests),
         TEST(reports_of_faults), TEST(reports_that_wait_or_are_dropped), TEST(buffers_that_are_too_small),
         TEST(a_reset_forgets_buffers_and_reports))
