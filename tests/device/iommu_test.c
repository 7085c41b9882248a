/* SPDX-License-Identifier: BSD-2-Clause */
/* The IOMMU device: each request with each status it can have, and requests that are none. docs/virtio-iommu.md says what shows what. */
#include <string.h>

#include "iommu_rig.h"

#define OK VIA_IOMMU_S_OK
#define INVAL VIA_IOMMU_S_INVAL
#define RANGE VIA_IOMMU_S_RANGE
#define NOENT VIA_IOMMU_S_NOENT
#define UNSUPP VIA_IOMMU_S_UNSUPP
#define NOMEM VIA_IOMMU_S_NOMEM
#define F(bit) VIA_BIT(VIA_IOMMU_F_##bit)
#define BYPASS VIA_IOMMU_ATTACH_F_BYPASS

/* ------------------------------------------------------------------ what the device says of itself */

static void features_that_are_offered(void)
{
    struct iommu_rig *r = rig_new(NULL);
    CHECK_EQ(r->dev.features, F(INPUT_RANGE) | F(DOMAIN_RANGE) | F(MAP_UNMAP) | F(PROBE) | F(MMIO) | F(BYPASS_CONFIG));
    struct via_iommu_device_cfg c = rig_cfg;
    c.input_start = c.domain_start = c.probe_size = 0;
    c.input_last = UINT64_MAX;
    c.domain_last = UINT32_MAX;
    c.mmio = false;
    r = rig_new(&c);
    CHECK_EQ(r->dev.features, F(MAP_UNMAP) | F(BYPASS_CONFIG));
    c.input_start = 0x1000;
    c.domain_start = 1;
    r = rig_new(&c);
    CHECK_EQ(r->dev.features, F(INPUT_RANGE) | F(DOMAIN_RANGE) | F(MAP_UNMAP) | F(BYPASS_CONFIG));
}

static void config_space(void)
{
    struct iommu_rig *r = rig_new(NULL);
    struct {
        struct via_iommu_config c;
        uint8_t more[8];
    } got;
    memset(&got, 0xff, sizeof(got));
    via_iommu_device_config(&r->dev, 0, &got, sizeof(got));
    CHECK_EQ(via_le64_value(got.c.page_size_mask), 0x201000);
    CHECK(via_le64_value(got.c.input_start) == 0x1000 && via_le64_value(got.c.input_end) == 0xffffffffffff);
    CHECK(via_le32_value(got.c.domain_start) == 1 && via_le32_value(got.c.domain_end) == 100);
    CHECK(via_le32_value(got.c.probe_size) == 100 && got.c.bypass == 0);
    for (unsigned i = 0; i < sizeof(got.more); i++)
        CHECK_EQ(got.more[i], 0);
    uint8_t byte = 0xff, beyond[4] = {1, 1, 1, 1};
    via_iommu_device_config(&r->dev, 1, &byte, 1);
    CHECK_EQ(byte, 0x10);
    via_iommu_device_config(&r->dev, UINT32_MAX, beyond, 4);
    CHECK(!(beyond[0] | beyond[1] | beyond[2] | beyond[3]));
}

static void configurations_that_make_no_sense(void)
{
    static struct via_iommu_device d;
    static uint64_t storage[1u << 16];
    struct via_iommu_device_cfg c[12];
    for (unsigned i = 0; i < via_array_len(c); i++)
        c[i] = rig_cfg;
    CHECK(via_iommu_device_bytes(&rig_cfg) <= sizeof(storage));
    CHECK_EQ(via_iommu_device_init(&d, &rig_cfg, storage), 0);
    c[0].page_size_mask = 0;
    c[1].input_start = c[1].input_last + 1;
    c[2].input_start = 1;
    c[3].input_last--;
    c[4].domain_start = 101;
    c[5].endpoints = 0;
    c[6].domains = 0;
    c[7].mappings = 0;
    c[8].waits = 0;
    c[9].faults = 0;
    c[10].buffers = 0;
    c[11].mappings = UINT32_MAX;
    for (unsigned i = 0; i < via_array_len(c); i++)
        CHECK_EQ(via_iommu_device_init(&d, &c[i], storage), -VIA_EINVAL);
}

static void endpoints_that_are_refused(void)
{
    static const struct via_iommu_window two_doorbells[] = {{0, 1, true}, {2, 3, true}}, overlap[] = {{5, 9, false}, {9, 20, true}},
                                         inside[] = {{5, 9, false}, {6, 7, false}}, reversed[] = {{2, 1, false}},
                                         five[] = {{0, 0, 0}, {1, 1, 0}, {2, 2, 0}, {3, 3, 0}, {4, 4, 0}};
    struct via_iommu_device_cfg c = rig_cfg;
    c.endpoints++;
    struct iommu_rig *r = rig_new(&c);
    struct via_iommu_endpoint ep = {.id = 5, .window = two_doorbells, .n_windows = 2, .next = &r->map.xlate};
    CHECK_EQ(via_iommu_device_add(&r->dev, &ep), -VIA_EINVAL);
    ep.window = overlap;
    CHECK_EQ(via_iommu_device_add(&r->dev, &ep), -VIA_EINVAL);
    ep.window = inside;
    CHECK_EQ(via_iommu_device_add(&r->dev, &ep), -VIA_EINVAL);
    ep.window = reversed;
    ep.n_windows = 1;
    CHECK_EQ(via_iommu_device_add(&r->dev, &ep), -VIA_EINVAL);
    ep.window = five;
    ep.n_windows = 5;
    CHECK_EQ(via_iommu_device_add(&r->dev, &ep), -VIA_EINVAL);
    ep.n_windows = 4;
    ep.id = 9;
    CHECK_EQ(via_iommu_device_add(&r->dev, &ep), -VIA_EEXIST);
    ep.id = 10;
    CHECK_EQ(via_iommu_device_add(&r->dev, &ep), 0);
    struct via_iommu_endpoint more = {.id = 11, .next = &r->map.xlate};
    CHECK_EQ(via_iommu_device_add(&r->dev, &more), -VIA_ENOSPC);
}

/* ------------------------------------------------------------------ requests that are none */

static void what_cannot_be_parsed_goes_back_unwritten(void)
{
    struct iommu_rig *r = rig_new(NULL);
    static const uint8_t types[] = {0, 6, 7, 99, 255};
    uint8_t req[80] = {0};
    for (unsigned i = 0; i < via_array_len(types); i++) {
        req[0] = types[i];
        CHECK_EQ(rig_ask(r, req, 72, 104, 0), -2);
        CHECK_EQ(r->written, 0);
    }
    for (uint8_t type = VIA_IOMMU_T_ATTACH; type <= VIA_IOMMU_T_PROBE; type++)
        for (uint32_t in = 0; in < 4; in++) { /* no tail */
            req[0] = type;
            CHECK_EQ(rig_ask(r, req, 72, in, 0), -2);
            CHECK_EQ(r->written, 0);
        }
    CHECK_EQ(rig_ask(r, req, 0, 4, 0), -2); /* no head */
    CHECK_EQ(r->written, 0);
    CHECK_EQ(r->dev.unparsed, 5 + 5 * 4 + 1);
    CHECK(r->dev.n_domains == 0 && r->dev.n_mappings == 0);
}

static void requests_that_are_too_short(void)
{
    static const uint32_t whole[] = {0, 20, 20, 36, 28, 72};
    struct iommu_rig *r = rig_new(NULL);
    uint8_t req[80] = {0};
    CHECK_EQ(rig_attach(r, 1, 8, 0), OK);
    for (uint8_t type = VIA_IOMMU_T_ATTACH; type <= VIA_IOMMU_T_PROBE; type++) {
        req[0] = type;
        for (uint32_t out = 1; out < whole[type]; out++)
            CHECK_EQ(rig_ask(r, req, out, type == VIA_IOMMU_T_PROBE ? 104 : 4, type == VIA_IOMMU_T_PROBE ? 100 : 0), INVAL);
    }
    CHECK(r->dev.n_domains == 1 && r->dev.n_mappings == 0);
    /* More than is needed is no harm; the tail is where it belongs. */
    struct via_iommu_detach q = {.head.type = VIA_IOMMU_T_DETACH, .domain = via_le32_make(1), .endpoint = via_le32_make(8)};
    memcpy(req, &q, 20);
    CHECK_EQ(rig_ask(r, req, 80, 30, 0), OK);
}

static void what_was_not_accepted_is_not_recognized(void)
{
    struct iommu_rig *r = rig_new(NULL);
    struct via_iommu_probe q = {.head.type = VIA_IOMMU_T_PROBE, .endpoint = via_le32_make(8)};
    r->dev.features = 0;
    CHECK_EQ(rig_attach(r, 1, 8, 0), OK);
    CHECK_EQ(rig_map(r, 1, 0x1000, 0x1fff, 0, RIG_RW), -2);
    CHECK_EQ(rig_unmap(r, 1, 0x1000, 0x1fff), -2);
    CHECK_EQ(rig_ask(r, &q, sizeof(q), 104, 100), -2);
    CHECK_EQ(r->written, 0);
    CHECK_EQ(rig_attach(r, 2, 9, BYPASS), INVAL);
    struct via_iommu_device_cfg c = rig_cfg;
    c.probe_size = 0; /* not offered at all */
    r = rig_new(&c);
    CHECK_EQ(rig_ask(r, &q, sizeof(q), 104, 100), -2);
    CHECK_EQ(r->written, 0);
}

/* ------------------------------------------------------------------ attach, detach */

static void attach_and_its_refusals(void)
{
    struct iommu_rig *r = rig_new(NULL);
    struct via_iommu_attach q = {.head = {VIA_IOMMU_T_ATTACH, {1, 2, 3}}, .domain = via_le32_make(1), .endpoint = via_le32_make(8)};
    for (unsigned i = 0; i < 4; i++) {
        q.reserved[i] = 1;
        CHECK_EQ(rig_ask(r, &q, 20, 4, 0), INVAL);
        q.reserved[i] = 0;
    }
    for (unsigned bit = 1; bit < 32; bit++)
        CHECK_EQ(rig_attach(r, 1, 8, 1u << bit), INVAL);
    CHECK_EQ(rig_attach(r, 1, 7, 0), NOENT);
    CHECK_EQ(rig_attach(r, 1, 10, 0), NOENT);
    CHECK_EQ(rig_attach(r, 1, UINT32_MAX, 0), NOENT);
    CHECK_EQ(rig_attach(r, 0, 8, 0), RANGE);
    CHECK_EQ(rig_attach(r, 101, 8, 0), RANGE);
    CHECK_EQ(rig_attach(r, UINT32_MAX, 8, 0), RANGE);
    CHECK(r->dev.n_domains == 0 && !r->ep[0].domain);
    CHECK_EQ(rig_ask(r, &q, 20, 4, 0), OK); /* the head's reserved bytes are ignored */
    CHECK_EQ(rig_attach(r, 1, 8, 0), OK);   /* again */
    CHECK_EQ(rig_attach(r, 1, 9, 0), OK);   /* a second endpoint */
    CHECK(r->dev.n_domains == 1 && r->ep[0].domain && r->ep[1].domain == r->ep[0].domain);
    CHECK_EQ(rig_attach(r, 100, 70000, BYPASS), OK);
    CHECK_EQ(rig_attach(r, 100, 8, 0), INVAL);
    CHECK_EQ(rig_attach(r, 1, 70000, BYPASS), INVAL);
    CHECK_EQ(rig_attach(r, 1, 8, BYPASS), INVAL);
    CHECK(r->dev.n_domains == 2 && r->ep[2].domain && r->ep[2].domain != r->ep[0].domain);
}

static void an_attached_endpoint_moves(void)
{
    struct iommu_rig *r = rig_new(NULL);
    CHECK_EQ(rig_attach(r, 1, 70000, 0), OK);
    CHECK_EQ(rig_map(r, 1, 0x5000, 0x5fff, RIG_GPA, RIG_RW), OK);
    CHECK_EQ(rig_attach(r, 1, 70000, 0), OK); /* where it is already */
    CHECK_EQ(rig_reach(r, 2, 0x5000, VIA_PERM_R), 0);
    CHECK_EQ(r->ep[2].xlate.generation, 0);
    CHECK_EQ(rig_attach(r, 2, 70000, 0), OK);
    CHECK_EQ(rig_reach(r, 2, 0x5000, VIA_PERM_R), -1);
    CHECK(r->dev.n_domains == 1 && r->dev.n_mappings == 0); /* nobody is in the first one any more */
    CHECK_EQ(rig_map(r, 1, 0x5000, 0x5fff, RIG_GPA, RIG_RW), NOENT);
    CHECK_EQ(rig_attach(r, 3, 8, 0), OK);
    CHECK_EQ(rig_map(r, 3, 0x5000, 0x5fff, RIG_GPA + RIG_PAGE, RIG_RW), OK);
    CHECK_EQ(rig_attach(r, 3, 70000, 0), OK);
    CHECK_EQ(rig_reach(r, 2, 0x5000, VIA_PERM_R), RIG_PAGE);
    CHECK_EQ(rig_attach(r, 4, 8, 0), OK); /* the one that the domain began with goes */
    CHECK_EQ(rig_reach(r, 0, 0x5000, VIA_PERM_R), -1);
    CHECK_EQ(rig_reach(r, 2, 0x5000, VIA_PERM_R), RIG_PAGE);
    /* A move that is refused leaves it where it is. */
    CHECK_EQ(rig_attach(r, 3, 8, BYPASS), INVAL);
    CHECK_EQ(rig_attach(r, 0, 70000, 0), RANGE);
    CHECK_EQ(rig_reach(r, 2, 0x5000, VIA_PERM_R), RIG_PAGE);
}

/* An endpoint can't enter a domain that has mapped what it can't have mapped. */
static void windows_decide_who_shares_a_domain(void)
{
    struct iommu_rig *r = rig_new(NULL);
    CHECK_EQ(rig_attach(r, 1, 70000, 0), OK);
    CHECK_EQ(rig_map(r, 1, 0x1ff000, 0x1fffff, RIG_GPA, RIG_RW), OK);
    CHECK_EQ(rig_attach(r, 1, 8, 0), UNSUPP);
    CHECK(!r->ep[0].domain);
    CHECK_EQ(rig_attach(r, 1, 9, 0), OK);
    CHECK_EQ(rig_unmap(r, 1, 0x1ff000, 0x1fffff), OK);
    CHECK_EQ(rig_map(r, 1, 0x200000, 0x200fff, RIG_GPA, RIG_RW), OK);
    CHECK_EQ(rig_attach(r, 1, 8, 0), OK);
    CHECK_EQ(rig_map(r, 1, 0x1ff000, 0x1fffff, RIG_GPA, RIG_RW), INVAL);
    CHECK_EQ(rig_map(r, 1, 0x1000, 0xffffff000fff, RIG_GPA, RIG_RW), INVAL);
    CHECK_EQ(rig_map(r, 1, 0x300000, 0x300fff, RIG_GPA, RIG_RW), INVAL);
    CHECK_EQ(rig_map(r, 1, 0xfee00000, 0xfee00fff, RIG_GPA, RIG_RW), INVAL);
    CHECK_EQ(rig_map(r, 1, 0xfeeff000, 0xfef00fff, RIG_GPA, RIG_RW), INVAL);
    CHECK_EQ(rig_map(r, 1, 0xff000, 0xfffff, RIG_GPA, RIG_RW), OK);
    CHECK_EQ(rig_map(r, 1, 0x301000, 0x301fff, RIG_GPA, RIG_RW), OK);
}

static void detach_and_its_refusals(void)
{
    struct iommu_rig *r = rig_new(NULL);
    CHECK_EQ(rig_detach(r, 1, 8), INVAL); /* no such domain */
    CHECK_EQ(rig_attach(r, 1, 8, 0), OK);
    CHECK_EQ(rig_attach(r, 2, 9, 0), OK);
    CHECK_EQ(rig_map(r, 1, 0x5000, 0x5fff, RIG_GPA, RIG_RW), OK);
    CHECK_EQ(rig_detach(r, 1, 7), NOENT);
    CHECK_EQ(rig_detach(r, 2, 8), INVAL);
    CHECK_EQ(rig_detach(r, 1, 9), INVAL);
    CHECK_EQ(rig_detach(r, 1, 70000), INVAL);
    CHECK_EQ(rig_reach(r, 0, 0x5000, VIA_PERM_R), 0);
    CHECK_EQ(rig_attach(r, 1, 9, 0), OK);
    CHECK_EQ(rig_detach(r, 1, 8), OK); /* rig_detach sets reserved bytes */
    CHECK_EQ(rig_reach(r, 0, 0x5000, VIA_PERM_R), -1);
    CHECK_EQ(rig_reach(r, 1, 0x5000, VIA_PERM_R), 0);
    CHECK_EQ(rig_detach(r, 1, 9), OK);
    CHECK(r->dev.n_domains == 0 && r->dev.n_mappings == 0);
    CHECK_EQ(rig_attach(r, 1, 9, 0), OK); /* the number is another domain's now */
    CHECK_EQ(rig_reach(r, 1, 0x5000, VIA_PERM_R), -1);
    CHECK_EQ(rig_detach(r, 1, 9), OK);
}

static void quota_of_domains(void)
{
    struct via_iommu_device_cfg c = rig_cfg;
    c.domains = 2;
    struct iommu_rig *r = rig_new(&c);
    CHECK_EQ(rig_attach(r, 1, 8, 0), OK);
    CHECK_EQ(rig_attach(r, 2, 9, 0), OK);
    CHECK_EQ(rig_attach(r, 3, 70000, 0), NOMEM);
    CHECK_EQ(rig_attach(r, 3, 9, 0), OK); /* alone in its domain: that one goes */
    CHECK_EQ(rig_attach(r, 1, 70000, 0), OK);
    CHECK_EQ(rig_attach(r, 4, 70000, 0), NOMEM); /* the one it is in stays, for the other endpoint */
    CHECK_EQ(rig_attach(r, 4, 8, 0), NOMEM);
    CHECK(r->ep[2].domain && r->ep[2].domain == r->ep[0].domain && r->dev.n_domains == 2);
    CHECK_EQ(r->dev.answers[NOMEM], 3);
}

/* ------------------------------------------------------------------ map, unmap */

static void map_and_its_refusals(void)
{
    struct iommu_rig *r = rig_new(NULL);
    CHECK_EQ(rig_attach(r, 1, 70000, 0), OK);
    CHECK_EQ(rig_attach(r, 2, 9, BYPASS), OK);
    static const struct {
        uint32_t domain;
        uint64_t start, last, phys;
        uint32_t flags;
        int status;
    } t[] = {
        {1, 0x2800, 0x2fff, RIG_GPA, RIG_RW, RANGE},
        {1, 0x2000, 0x2ffe, RIG_GPA, RIG_RW, RANGE},
        {1, 0x2000, 0x3000, RIG_GPA, RIG_RW, RANGE},
        {1, 0x2000, 0x2fff, RIG_GPA + 1, RIG_RW, RANGE},
        {1, 0x0, 0xfff, RIG_GPA, RIG_RW, RANGE},                       /* below the input range */
        {1, 0x0, 0x1fff, RIG_GPA, RIG_RW, RANGE},                      /* across its start */
        {1, 0xfffffffff000, 0x1000000000fff, RIG_GPA, RIG_RW, RANGE},  /* across its end */
        {1, 0x1000000000000, 0x1000000000fff, RIG_GPA, RIG_RW, RANGE}, /* beyond */
        {1, 0x2000, 0x3fff, UINT64_MAX - 0xfff, RIG_RW, RANGE},        /* wraps in physical memory */
        {1, 0x3000, 0x2fff, RIG_GPA, RIG_RW, INVAL},                   /* ends before it starts */
        {1, 0x2000, 0x2fff, RIG_GPA, RIG_RW | 8, INVAL},               /* a flag of nobody's */
        {1, 0x2000, 0x2fff, RIG_GPA, 1u << 31, INVAL},                 /* and another one */
        {2, 0x2000, 0x2fff, RIG_GPA, RIG_RW, INVAL},                   /* bypass */
        {3, 0x2000, 0x2fff, RIG_GPA, RIG_RW, NOENT},                   /* no such domain */
        {0, 0x2000, 0x2fff, RIG_GPA, RIG_RW, NOENT},                   /* out of the range of domains */
        {1, 0x2000, 0x4fff, RIG_GPA, RIG_RW, OK},
        {1, 0x2000, 0x4fff, RIG_GPA, RIG_RW, INVAL},                     /* again */
        {1, 0x1000, 0x2fff, RIG_GPA, RIG_RW, INVAL},                     /* over its start */
        {1, 0x4000, 0x5fff, RIG_GPA, RIG_RW, INVAL},                     /* over its end */
        {1, 0x3000, 0x3fff, RIG_GPA, RIG_RW, INVAL},                     /* inside */
        {1, 0x1000, 0x7fff, RIG_GPA, RIG_RW, INVAL},                     /* around */
        {1, 0x1000, 0x1fff, RIG_GPA, VIA_IOMMU_MAP_F_READ, OK},          /* just before */
        {1, 0x5000, 0x5fff, RIG_GPA, VIA_IOMMU_MAP_F_WRITE, OK},         /* just behind */
        {1, 0x6000, 0x6fff, RIG_GPA, RIG_RW | VIA_IOMMU_MAP_F_MMIO, OK}, /* offered and accepted */
        {1, 0xfffffffff000, 0xffffffffffff, UINT64_MAX - 0xfff, RIG_RW, OK},
    };
    for (unsigned i = 0; i < via_array_len(t); i++) {
        uint32_t was = r->dev.n_mappings;
        int got = rig_map(r, t[i].domain, t[i].start, t[i].last, t[i].phys, t[i].flags);
        if (got != t[i].status)
            tap_note("the row is the one after as many as there are answers");
        CHECK_EQ(got, t[i].status);
        CHECK_EQ(r->dev.n_mappings - was, got == OK);
    }
    r->dev.features &= ~F(MMIO);
    CHECK_EQ(rig_map(r, 1, 0x7000, 0x7fff, RIG_GPA, RIG_RW | VIA_IOMMU_MAP_F_MMIO), INVAL);
}

static void single_bytes_and_all_addresses(void)
{
    struct via_iommu_device_cfg c = rig_cfg;
    c.page_size_mask = 1;
    c.input_start = 0;
    c.input_last = UINT64_MAX;
    struct iommu_rig *r = rig_new(&c);
    CHECK_EQ(rig_attach(r, 1, 70000, 0), OK);
    CHECK_EQ(rig_map(r, 1, 7, 7, RIG_GPA + 3, RIG_RW), OK);
    CHECK_EQ(rig_reach(r, 2, 7, VIA_PERM_W), 3);
    CHECK_EQ(rig_reach(r, 2, 6, VIA_PERM_W), -1);
    CHECK_EQ(rig_reach(r, 2, 8, VIA_PERM_W), -1);
    CHECK_EQ(rig_unmap(r, 1, 0, UINT64_MAX), OK);
    CHECK_EQ(rig_map(r, 1, 0, UINT64_MAX, 0, RIG_RW), OK);
    CHECK_EQ(rig_map(r, 1, UINT64_MAX, UINT64_MAX, 0, RIG_RW), INVAL);
    CHECK_EQ(rig_reach(r, 2, RIG_GPA + 9, VIA_PERM_W), 9);
    CHECK_EQ(rig_unmap(r, 1, 1, UINT64_MAX), RANGE);
    CHECK_EQ(rig_unmap(r, 1, 0, UINT64_MAX), OK);
    CHECK_EQ(rig_map(r, 1, UINT64_MAX, UINT64_MAX, 5, RIG_RW), OK);
    CHECK_EQ(rig_map(r, 1, 0, UINT64_MAX, 0, RIG_RW), INVAL);
    CHECK_EQ(rig_detach(r, 1, 70000), OK);
    CHECK_EQ(r->dev.n_mappings, 0);
    CHECK_EQ(rig_attach(r, 1, 9, 0), OK); /* the edges of its window */
    CHECK_EQ(rig_map(r, 1, 0x2fffff, 0x300000, 0, RIG_RW), INVAL);
    CHECK_EQ(rig_map(r, 1, 0x300fff, 0x301000, 0, RIG_RW), INVAL);
    CHECK_EQ(rig_map(r, 1, 0x2fffff, 0x2fffff, 0, RIG_RW), OK);
    CHECK_EQ(rig_map(r, 1, 0x301000, 0x301000, 0, RIG_RW), OK);
}

/* Each domain of all that the quota allows has mappings; and what domains take up comes back when they go. */
static void many_domains(void)
{
    enum { MANY = 97 };
    static struct via_iommu_endpoint ep[MANY];
    struct via_iommu_device_cfg c = rig_cfg;
    c.endpoints = RIG_ENDPOINTS + MANY;
    c.domains = c.mappings = MANY;
    struct iommu_rig *r = rig_new(&c);
    for (uint32_t i = 0; i < MANY; i++) {
        ep[i] = (struct via_iommu_endpoint){.id = 1000 + i * 7 % MANY, .next = &r->map.xlate};
        CHECK_EQ(via_iommu_device_add(&r->dev, &ep[i]), 0);
    }
    uint32_t most = 0;
    for (unsigned round = 0; round < 20; round++) {
        for (uint32_t i = 0; i < MANY; i++) {
            CHECK_EQ(rig_attach(r, 1 + i * 5 % MANY, ep[i].id, 0), OK);
            CHECK_EQ(rig_map(r, 1 + i * 5 % MANY, 0x1000, 0x1fff, RIG_GPA + (i << 12), RIG_RW), OK);
        }
        CHECK_EQ(rig_attach(r, 100, 8, 0), NOMEM);
        for (uint32_t i = 0; i < MANY; i++) {
            struct via_iommu_place p;
            CHECK_EQ(via_iommu_endpoint_find(&ep[i], (via_iova){0x1abc}, VIA_PERM_W, &p), 0);
            CHECK(p.gpa.v == RIG_GPA + (i << 12) && p.start == 0x1000 && p.last == 0x1fff);
        }
        for (uint32_t i = 0; i < MANY; i++)
            CHECK_EQ(rig_detach(r, 1 + i * 5 % MANY, ep[i].id), OK);
        CHECK(r->dev.n_domains == 0 && r->dev.n_mappings == 0);
        CHECK(round == 0 || r->dev.nodes.fresh == most);
        most = r->dev.nodes.fresh;
    }
}

static void quota_of_mappings(void)
{
    struct iommu_rig *r = rig_new(NULL);
    CHECK_EQ(rig_attach(r, 1, 70000, 0), OK);
    CHECK_EQ(rig_attach(r, 2, 8, 0), OK);
    for (unsigned round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < rig_cfg.mappings; i++)
            CHECK_EQ(rig_map(r, 1 + (uint32_t)i % 2, (5 + i) << 12, ((5 + i) << 12) + 0xfff, RIG_GPA, RIG_RW), OK);
        CHECK_EQ(rig_map(r, 1, 0x10000000, 0x10000fff, RIG_GPA, RIG_RW), NOMEM);
        CHECK_EQ(r->dev.n_mappings, rig_cfg.mappings);
        CHECK_EQ(rig_unmap(r, 1, 5 << 12, (5 << 12) + 0xfff), OK);
        CHECK_EQ(rig_map(r, 1, 0x10000000, 0x10000fff, RIG_GPA, RIG_RW), OK);
        CHECK_EQ(rig_unmap(r, 1, 0, UINT64_MAX), OK);
        CHECK_EQ(rig_unmap(r, 2, 0, UINT64_MAX), OK);
        CHECK_EQ(r->dev.n_mappings, 0);
    }
}

/* The specification's own seven examples, in pages (5.13.6.6). */
static void unmap_as_in_the_examples(void)
{
    static const struct {
        struct {
            uint64_t start, last;
        } map[2], unmap;
        int status;
        unsigned left;
    } t[] = {
        {{{1, 0}, {1, 0}}, {0, 4}, OK, 0},    {{{0, 9}, {1, 0}}, {0, 9}, OK, 0},    {{{0, 4}, {5, 9}}, {0, 9}, OK, 0},
        {{{0, 9}, {1, 0}}, {0, 4}, RANGE, 1}, {{{0, 4}, {5, 9}}, {0, 4}, OK, 1},    {{{0, 4}, {1, 0}}, {0, 9}, OK, 0},
        {{{0, 4}, {10, 14}}, {0, 14}, OK, 0}, {{{0, 4}, {5, 9}}, {0, 8}, RANGE, 2}, {{{0, 4}, {5, 9}}, {1, 9}, RANGE, 2},
        {{{0, 9}, {1, 0}}, {3, 5}, RANGE, 1},
    };
    struct iommu_rig *r = rig_new(NULL);
    CHECK_EQ(rig_attach(r, 1, 70000, 0), OK);
    for (unsigned i = 0; i < via_array_len(t); i++) {
        for (unsigned k = 0; k < 2; k++)
            if (t[i].map[k].start <= t[i].map[k].last)
                CHECK_EQ(rig_map(r, 1, (1 + t[i].map[k].start) << 12, ((2 + t[i].map[k].last) << 12) - 1, RIG_GPA, RIG_RW), OK);
        CHECK_EQ(rig_unmap(r, 1, (1 + t[i].unmap.start) << 12, ((2 + t[i].unmap.last) << 12) - 1), t[i].status);
        CHECK_EQ(r->dev.n_mappings, t[i].left);
        for (unsigned k = 0; k < 2 && t[i].status == RANGE; k++) /* what stays is reached from end to end */
            if (t[i].map[k].start <= t[i].map[k].last)
                CHECK(rig_reach(r, 2, (1 + t[i].map[k].start) << 12, VIA_PERM_R) >= 0 &&
                      rig_reach(r, 2, ((2 + t[i].map[k].last) << 12) - 1, VIA_PERM_R) >= 0);
        CHECK_EQ(rig_unmap(r, 1, 0, UINT64_MAX), OK);
        CHECK_EQ(r->dev.n_mappings, 0);
    }
}

static void unmap_and_its_refusals(void)
{
    struct iommu_rig *r = rig_new(NULL);
    CHECK_EQ(rig_unmap(r, 1, 0x2000, 0x2fff), NOENT);
    CHECK_EQ(rig_attach(r, 1, 70000, 0), OK);
    CHECK_EQ(rig_attach(r, 2, 9, BYPASS), OK);
    CHECK_EQ(rig_map(r, 1, 0x2000, 0x2fff, RIG_GPA, RIG_RW), OK);
    CHECK_EQ(rig_unmap(r, 2, 0x2000, 0x2fff), INVAL);
    CHECK_EQ(rig_unmap(r, 3, 0x2000, 0x2fff), NOENT);
    CHECK_EQ(rig_unmap(r, 1, 0x2fff, 0x2000), INVAL);
    struct via_iommu_unmap q = {
        .head.type = VIA_IOMMU_T_UNMAP, .domain = via_le32_make(1), .virt_start = via_le64_make(0x2000), .virt_end = via_le64_make(0x2fff)};
    for (unsigned i = 0; i < 4; i++) {
        q.reserved[i] = 0x80;
        CHECK_EQ(rig_ask(r, &q, 28, 4, 0), INVAL);
        q.reserved[i] = 0;
    }
    CHECK_EQ(rig_reach(r, 2, 0x2000, VIA_PERM_R), 0);
    q.head.reserved[1] = 1;
    CHECK_EQ(rig_ask(r, &q, 28, 4, 0), OK);
    CHECK_EQ(rig_reach(r, 2, 0x2000, VIA_PERM_R), -1);
}

/* ------------------------------------------------------------------ probe */

static void probe_tells_the_windows(void)
{
    struct iommu_rig *r = rig_new(NULL);
    struct via_iommu_probe q = {.head.type = VIA_IOMMU_T_PROBE, .endpoint = via_le32_make(8)};
    memset(q.reserved, 0x77, sizeof(q.reserved));
    CHECK_EQ(rig_ask(r, &q, sizeof(q), 104, 100), OK);
    static const uint8_t want[48] = {1, 0, 20, 0, 1, 0, 0, 0, 0, 0, 0xe0, 0xfe, 0, 0, 0, 0, 0xff, 0xff, 0xef, 0xfe, 0, 0, 0, 0,
                                     1, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0x10, 0,    0, 0, 0, 0, 0xff, 0xff, 0x1f, 0,    0, 0, 0, 0};
    CHECK(memcmp(r->in, want, sizeof(want)) == 0);
    for (unsigned i = sizeof(want); i < 100; i++)
        CHECK_EQ(r->in[i], 0);
    q.endpoint = via_le32_make(70000);
    CHECK_EQ(rig_ask(r, &q, sizeof(q), 110, 100), OK);
    for (unsigned i = 0; i < 100; i++)
        CHECK_EQ(r->in[i], 0);
}

static void probe_and_its_refusals(void)
{
    struct iommu_rig *r = rig_new(NULL);
    struct via_iommu_probe q = {.head.type = VIA_IOMMU_T_PROBE, .endpoint = via_le32_make(7)};
    CHECK_EQ(rig_ask(r, &q, sizeof(q), 104, 100), NOENT);
    for (unsigned i = 0; i < 100; i++)
        CHECK_EQ(r->in[i], 0);
    q.endpoint = via_le32_make(8);
    for (uint32_t in = 4; in < 104; in++) { /* a list that is too small */
        CHECK_EQ(rig_ask(r, &q, sizeof(q), in, in - 4), INVAL);
        for (unsigned i = 0; i < in - 4; i++)
            CHECK_EQ(r->in[i], 0);
    }
}

TAP_MAIN(TEST(features_that_are_offered), TEST(config_space), TEST(configurations_that_make_no_sense), TEST(endpoints_that_are_refused),
         TEST(what_cannot_be_parsed_goes_back_unwritten), TEST(requests_that_are_too_short), TEST(what_was_not_accepted_is_not_recognized),
         TEST(attach_and_its_refusals), TEST(an_attached_endpoint_moves), TEST(windows_decide_who_shares_a_domain),
         TEST(detach_and_its_refusals), TEST(quota_of_domains), TEST(map_and_its_refusals), TEST(single_bytes_and_all_addresses),
         TEST(many_domains), TEST(quota_of_mappings), TEST(unmap_as_in_the_examples), TEST(unmap_and_its_refusals),
         TEST(probe_tells_the_windows), TEST(probe_and_its_refusals))
