/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The front-end's domain, against back-ends that are as late as they may be: what they are sent takes effect when its answer is waited for,
 * and not before. They stand where the client would send (linked with --wrap).
 */
#include <string.h>

#include <tap.h>
#include <viaduct/domain.h>

#define PAGE UINT64_C(4096)
enum { PAGES = 96, WIDE_PAGES = 64, MEM_PAGES = 64, QUEUE = 4096, BACKS = 3 };
#define BASE (UINT64_C(1) << 32) /* of what is mapped page by page */
#define WIDE UINT64_C(0)         /* wide mappings lie from here on */
#define PHYS UINT64_C(0x100000)  /* of two regions of memory that follow one another */
#define UVA_A UINT64_C(0x7f0000000000)
#define UVA_B UINT64_C(0x7e0000000000)
#define HALF (MEM_PAGES / 2)

struct entry {
    uint64_t uva;
    unsigned perm; /* 0: none */
};

struct back {
    struct via_endpoint end;
    struct entry tlb[PAGES], wide[WIDE_PAGES];
    struct via_vu_iotlb queue[QUEUE];
    unsigned queued, updates, invalidates, settles;
    uint64_t pages_updated;
    bool dead;
};

static struct via_front_domain domain;
static struct via_front_page room[PAGES + 2], *const table = room + 1;
static struct entry want[PAGES], want_wide[WIDE_PAGES];
static struct back back[BACKS];
static unsigned wrong; /* messages that no correct domain sends */
static uint64_t seed;
static const struct via_vu_region memory[2] = {{PHYS, HALF *PAGE, UVA_A, 0}, {PHYS + HALF * PAGE, HALF *PAGE, UVA_B, 0}};

static uint32_t below(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % n);
}

static uint64_t uva_of(unsigned frame) { return frame < HALF ? UVA_A + frame * PAGE : UVA_B + (frame - HALF) * PAGE; }

/* ------------------------------------------------------------------ the back-ends */

int __wrap_via_client_iotlb(struct via_client *, const struct via_vu_iotlb *, bool wait, struct via_err *);
int __wrap_via_client_iotlb_settle(struct via_client *, struct via_err *);

static struct back *back_of(struct via_client *c) { return via_container_of(c, struct back, end.client); }

/* Where an address's entry is in a table of pages and one of wide pages; NULL: in neither. */
static struct entry *entry_at(struct entry *pages, struct entry *wide, uint64_t iova)
{
    if (iova >= BASE && iova - BASE < PAGES * PAGE)
        return &pages[(iova - BASE) / PAGE];
    if (iova - WIDE < WIDE_PAGES * PAGE)
        return &wide[(iova - WIDE) / PAGE];
    return NULL;
}

static void apply(struct back *b, const struct via_vu_iotlb *m)
{
    for (uint64_t off = 0; off < m->size; off += PAGE) {
        struct entry *e = entry_at(b->tlb, b->wide, m->iova + off);
        if (e)
            *e = m->type == VIA_VU_IOTLB_UPDATE ? (struct entry){m->uva + off, m->perm} : (struct entry){0, 0};
    }
}

static void apply_all(struct back *b)
{
    for (unsigned i = 0; i < b->queued; i++)
        apply(b, &b->queue[i]);
    b->queued = 0;
}

int __wrap_via_client_iotlb(struct via_client *c, const struct via_vu_iotlb *m, bool wait, struct via_err *err)
{
    struct back *b = back_of(c);
    (void)err;
    if (b->dead)
        return -VIA_ENODEV;
    wrong += wait || !m->size || m->size % PAGE || m->iova % PAGE || b->queued == QUEUE;
    b->updates += m->type == VIA_VU_IOTLB_UPDATE;
    b->invalidates += m->type == VIA_VU_IOTLB_INVALIDATE;
    for (uint64_t off = 0; off < m->size && m->type == VIA_VU_IOTLB_UPDATE; off += PAGE) {
        const struct entry *e = entry_at(want, want_wide, m->iova + off);
        wrong += !e || e->perm != m->perm || e->uva != m->uva + off; /* not a mapping of now */
        b->pages_updated++;
    }
    for (uint64_t off = 0; off < m->size && m->type == VIA_VU_IOTLB_INVALIDATE; off += PAGE) {
        const struct entry *e = entry_at(want, want_wide, m->iova + off);
        wrong += e && e->perm; /* what is mapped need not go */
    }
    b->queue[b->queued++] = *m;
    return 0;
}

int __wrap_via_client_iotlb_settle(struct via_client *c, struct via_err *err)
{
    struct back *b = back_of(c);
    (void)err;
    b->settles++;
    if (b->dead)
        return -VIA_ENODEV;
    apply_all(b);
    return 0;
}

/* What a back-end that misses this address with these rights is told; and, when that is good, what it then holds is what it asked for. */
static bool miss_again(struct back *b, uint64_t iova, unsigned perm, int result)
{
    const struct via_vu_iotlb m = {.iova = iova, .perm = (uint8_t)perm, .type = VIA_VU_IOTLB_MISS};
    CHECK_OR_FALSE(b->end.client.miss(&b->end.client, &m) == result);
    if (result)
        return true;
    apply_all(b);
    const struct entry *is = entry_at(b->tlb, b->wide, iova), *should = entry_at(want, want_wide, iova);
    CHECK_OR_FALSE(is && should && is->uva == should->uva && is->perm == should->perm && !(perm & ~is->perm));
    return true;
}

/* The same, sent after all misses before were answered. */
static bool miss(struct back *b, uint64_t iova, unsigned perm, int result)
{
    b->end.client.round++;
    return miss_again(b, iova, perm, result);
}

/* ------------------------------------------------------------------ the domain's user */

static bool up(bool push, unsigned backs)
{
    const struct via_front_domain_cfg cfg = {memory, 2, 12, {BASE, BASE + PAGES * PAGE - 1}, push};
    memset(back, 0, sizeof(back));
    memset(want, 0, sizeof(want));
    memset(want_wide, 0, sizeof(want_wide));
    wrong = 0;
    seed = 11;
    CHECK_OR_FALSE(via_front_domain_init(&domain, &cfg, table, PAGES) == 0);
    for (unsigned i = 0; i < BACKS; i++) {
        back[i].end.client.front.features = VIA_BIT(VIA_F_ACCESS_PLATFORM);
        CHECK_OR_FALSE(i >= backs || via_endpoint_attach(&back[i].end, &domain, NULL) == 0);
    }
    return true;
}

/* n pages from `page` on (of the range, or of wide addresses) to memory from `frame` on. */
static int map_at(uint64_t base, struct entry *ref, unsigned page, unsigned n, unsigned frame, unsigned perm)
{
    struct entry old[PAGES];
    memcpy(old, ref, n * sizeof(*ref));
    for (unsigned i = 0; i < n; i++)
        ref[i] = (struct entry){uva_of(frame + i), perm};
    int r = domain.domain.ops->map(&domain.domain, base + page * PAGE, base + (page + n) * PAGE - 1, PHYS + frame * PAGE, perm);
    if (r)
        memcpy(ref, old, n * sizeof(*ref));
    return r;
}

static int map(unsigned page, unsigned n, unsigned frame, unsigned perm) { return map_at(BASE, want + page, page, n, frame, perm); }
static int map_wide(unsigned page, unsigned n, unsigned frame, unsigned perm)
{
    return map_at(WIDE, want_wide + page, page, n, frame, perm);
}

static int unmap(unsigned page, unsigned n)
{
    memset(want + page, 0, n * sizeof(want[0]));
    return domain.domain.ops->unmap(&domain.domain, BASE + page * PAGE, BASE + (page + n) * PAGE - 1);
}

static int unmap_wide(unsigned page, unsigned n)
{
    memset(want_wide + page, 0, n * sizeof(want[0]));
    return domain.domain.ops->unmap(&domain.domain, WIDE + page * PAGE, WIDE + (page + n) * PAGE - 1);
}

static int flush(void) { return domain.domain.ops->flush(&domain.domain); }

/* Nothing that is not mapped is held by anybody. */
static bool clean(void)
{
    for (unsigned k = 0; k < BACKS; k++)
        for (unsigned i = 0; i < PAGES && back[k].end.domain; i++) {
            CHECK_OR_FALSE(!back[k].tlb[i].perm || (want[i].perm == back[k].tlb[i].perm && want[i].uva == back[k].tlb[i].uva));
            CHECK_OR_FALSE(i >= WIDE_PAGES || !back[k].wide[i].perm || want_wide[i].uva == back[k].wide[i].uva);
        }
    return true;
}

/* ------------------------------------------------------------------ tests */

static void misses_are_answered_with_what_continues_them(void)
{
    CHECK(up(false, 2));
    CHECK(map(4, 10, 0, VIA_PERM_R) == 0 && map(14, 4, 10, VIA_PERM_W) == 0 && map(18, 4, 20, VIA_PERM_W) == 0);
    CHECK_EQ(back[0].updates, 0);
    CHECK(miss(&back[0], BASE + 9 * PAGE + 123, VIA_PERM_R, 0));
    CHECK(back[0].updates == 1 && back[0].pages_updated == 10);
    CHECK(miss(&back[0], BASE + 14 * PAGE, VIA_PERM_W, 0) && back[0].pages_updated == 14); /* other rights before, another place behind */
    CHECK(miss(&back[0], BASE + 21 * PAGE, VIA_PERM_W, 0) && back[0].pages_updated == 18);
    CHECK(back[1].updates == 0 && !wrong && clean());
    CHECK_EQ(back[0].end.updates, 3);
}

static void one_answer_serves_a_round(void)
{
    CHECK(up(false, 2));
    CHECK(map(4, 10, 0, VIA_PERM_R) == 0 && map(20, 4, 16, VIA_PERM_R) == 0);
    CHECK(miss(&back[0], BASE + 4 * PAGE, VIA_PERM_R, 0) && miss_again(&back[0], BASE + 13 * PAGE, VIA_PERM_R, 0));
    CHECK_EQ(back[0].updates, 1);
    CHECK(miss_again(&back[1], BASE + 13 * PAGE, VIA_PERM_R, 0) && back[1].updates == 1); /* each its own */
    CHECK(miss_again(&back[0], BASE + 13 * PAGE, VIA_PERM_W, -VIA_EFAULT));
    CHECK(miss_again(&back[0], BASE + 20 * PAGE, VIA_PERM_R, 0) && back[0].updates == 2);
    CHECK(miss_again(&back[0], BASE + 19 * PAGE, VIA_PERM_R, -VIA_EFAULT));
    memset(back[0].tlb, 0, sizeof(back[0].tlb)); /* evicted */
    CHECK(miss(&back[0], BASE + 21 * PAGE, VIA_PERM_R, 0) && back[0].updates == 3);
    CHECK(unmap(20, 4) == 0 && flush() == 0 && map(20, 4, 30, VIA_PERM_R) == 0); /* what was sent is no more */
    CHECK(miss_again(&back[0], BASE + 21 * PAGE, VIA_PERM_R, 0) && back[0].updates == 4 && !wrong);
    via_endpoint_detach(&back[0].end);
    memset(back[0].tlb, 0, sizeof(back[0].tlb));
    CHECK(via_endpoint_attach(&back[0].end, &domain, NULL) == 0 && miss_again(&back[0], BASE + 21 * PAGE, VIA_PERM_R, 0));
    CHECK(back[0].tlb[21].perm);
}

static void answers_end_where_the_table_does(void)
{
    CHECK(up(false, 1));
    CHECK(map(0, 1, 5, VIA_PERM_R) == 0 && map(PAGES - 1, 1, 7, VIA_PERM_R) == 0);
    room[0].word = table[0].word - PAGE; /* what lies around it looks as if it went on */
    room[PAGES + 1].word = table[PAGES - 1].word + PAGE;
    CHECK(miss(&back[0], BASE, VIA_PERM_R, 0) && miss(&back[0], BASE + PAGES * PAGE - 1, VIA_PERM_R, 0));
    CHECK(back[0].pages_updated == 2 && !wrong);
    memset(room, 0, sizeof(room));
}

static void what_crosses_regions_is_two_answers(void)
{
    CHECK(up(false, 1));
    CHECK(map(0, 8, HALF - 4, VIA_PERM_R) == 0);
    CHECK(miss(&back[0], BASE, VIA_PERM_R, 0) && back[0].pages_updated == 4);
    CHECK(miss(&back[0], BASE + 7 * PAGE, VIA_PERM_R, 0) && back[0].pages_updated == 8 && !wrong);
}

static void what_is_not_mapped_is_refused(void)
{
    CHECK(up(false, 1));
    CHECK(map(4, 4, 0, VIA_PERM_R) == 0 && map_wide(0, 4, 8, VIA_PERM_R) == 0);
    const uint64_t nowhere[] = {BASE - 1, BASE, BASE + 3 * PAGE, BASE + 8 * PAGE, BASE + PAGES * PAGE, UINT64_MAX, WIDE + 4 * PAGE};
    for (unsigned i = 0; i < via_array_len(nowhere); i++)
        CHECK(miss(&back[0], nowhere[i], VIA_PERM_R, -VIA_EFAULT));
    unsigned updates = back[0].updates;
    CHECK(miss(&back[0], BASE + 4 * PAGE, VIA_PERM_W, -VIA_EFAULT) &&
          miss(&back[0], BASE + 4 * PAGE, VIA_PERM_R | VIA_PERM_W, -VIA_EFAULT));
    CHECK(miss(&back[0], WIDE, VIA_PERM_W, -VIA_EFAULT));
    CHECK(miss(&back[0], BASE + 4 * PAGE, 0, -VIA_EFAULT) && miss(&back[0], BASE + 4 * PAGE, 4, -VIA_EFAULT));
    CHECK_EQ(back[0].end.refused, via_array_len(nowhere) + 5);
    CHECK(back[0].updates == updates && !wrong);
    CHECK(unmap(4, 4) == 0 && miss(&back[0], BASE + 4 * PAGE, VIA_PERM_R, -VIA_EFAULT)); /* before any flush, too */
}

static void only_holders_are_told(void)
{
    CHECK(up(false, 3));
    CHECK(map(0, 4, 0, VIA_PERM_R) == 0 && map(8, 4, 8, VIA_PERM_W) == 0);
    CHECK(miss(&back[1], BASE, VIA_PERM_R, 0));
    CHECK(unmap(0, 4) == 0 && unmap(8, 4) == 0 && back[1].invalidates == 0);
    CHECK(flush() == 0 && clean());
    CHECK(back[0].invalidates == 0 && back[2].invalidates == 0 && back[1].invalidates == 1);
    CHECK(back[0].settles == 1 && back[1].settles == 2); /* one of each for the attach */
    CHECK(flush() == 0 && back[1].invalidates == 1);     /* and told once */
    CHECK(map(0, 4, 4, VIA_PERM_R) == 0 && unmap(0, 4) == 0 && flush() == 0 && back[1].invalidates == 1);
    CHECK_EQ(wrong, 0);
}

static void ranges_with_nothing_mapped_between_are_one(void)
{
    CHECK(up(true, 1));
    for (unsigned i = 0; i < 20; i++)
        CHECK(map(i * 4, 2, i, VIA_PERM_R) == 0);
    CHECK_EQ(back[0].updates, 20);
    for (unsigned i = 0; i < 20; i++)
        CHECK(i == 7 || unmap(i * 4, 2) == 0);
    CHECK(flush() == 0 && back[0].invalidates == 2 && clean() && !wrong);
    CHECK(back[0].tlb[28].perm && back[0].tlb[29].perm && !back[0].tlb[24].perm && !back[0].tlb[77].perm);
}

static void addresses_come_back_after_the_flush(void)
{
    CHECK(up(true, 1));
    CHECK(map(3, 2, 0, VIA_PERM_R) == 0);
    CHECK_EQ(domain.domain.ops->map(&domain.domain, BASE + 4 * PAGE, BASE + 5 * PAGE - 1, PHYS, VIA_PERM_R), -VIA_EEXIST);
    CHECK(unmap(3, 2) == 0);
    CHECK_EQ(map(4, 1, 9, VIA_PERM_W), -VIA_EBUSY);
    CHECK(flush() == 0 && map(4, 1, 9, VIA_PERM_W) == 0 && !wrong);
    CHECK(unmap(0, PAGES) == 0 && unmap(0, PAGES) == 0 && flush() == 0 && clean());
}

static void wide_mappings_are_never_missed(void)
{
    CHECK(up(false, 1));
    CHECK(map_wide(0, 16, 0, VIA_PERM_R | VIA_PERM_W) == 0);
    CHECK(back[0].queued == 0 && back[0].wide[15].perm); /* it has it, answered, when map returns */
    CHECK(map_wide(20, 8, HALF - 4, VIA_PERM_R) == 0 && back[0].updates == 3);
    CHECK(via_endpoint_attach(&back[1].end, &domain, NULL) == 0 && back[1].updates == 3 && back[1].queued == 0 && back[1].wide[27].perm);
    CHECK(miss(&back[1], WIDE + 5 * PAGE, VIA_PERM_W, 0) && miss(&back[1], WIDE, VIA_PERM_R, 0)); /* asked for all the same: evicted */
    CHECK_EQ(map_wide(15, 1, 0, VIA_PERM_R), -VIA_EEXIST);
    CHECK(unmap_wide(20, 8) == 0 && back[0].invalidates == 0);
    CHECK_EQ(map_wide(21, 1, 0, VIA_PERM_R), -VIA_EBUSY);
    CHECK(flush() == 0 && back[0].invalidates == 2 && back[1].invalidates == 2 && clean());
    CHECK(map_wide(20, 8, 0, VIA_PERM_W) == 0 && !wrong);
    for (unsigned i = 2; i < VIA_FRONT_WIDE; i++)
        CHECK(map_wide(30 + i, 1, i, VIA_PERM_R) == 0);
    CHECK_EQ(map_wide(30, 1, 0, VIA_PERM_R), -VIA_ENOSPC);
    memset(want_wide, 0, sizeof(want_wide));
    CHECK(domain.domain.ops->unmap(&domain.domain, 0, UINT64_MAX) == 0 && flush() == 0 && clean() && !wrong);
}

static void who_died_keeps_what_it_had(void)
{
    CHECK(up(true, 2));
    CHECK(map(0, 4, 0, VIA_PERM_R) == 0);
    back[0].dead = true;
    CHECK(unmap(0, 4) == 0);
    CHECK_EQ(flush(), -VIA_ENODEV);
    CHECK(back[1].invalidates == 1 && !back[1].tlb[0].perm);      /* the other one has lost it */
    CHECK(map(0, 4, 8, VIA_PERM_R) == -VIA_EBUSY && flush() < 0); /* addresses that a dead one may hold don't come back */
    CHECK(back[1].invalidates == 1);
    CHECK(map(8, 4, 8, VIA_PERM_R) == -VIA_ENODEV && unmap(8, 4) == 0);
    via_endpoint_detach(&back[0].end);
    via_endpoint_detach(&back[0].end);
    CHECK(flush() == 0 && map(0, 4, 8, VIA_PERM_R) == 0 && clean() && !wrong);
    CHECK(!back[0].end.client.miss);
}

static void what_can_not_be_mapped(void)
{
    CHECK(up(false, 1));
    const struct via_iommu_ops *ops = domain.domain.ops;
    CHECK_EQ(ops->map(&domain.domain, BASE, BASE + PAGE - 1, PHYS + MEM_PAGES * PAGE, VIA_PERM_R), -VIA_ERANGE);
    CHECK_EQ(ops->map(&domain.domain, BASE, BASE + 2 * PAGE - 1, PHYS + (MEM_PAGES - 1) * PAGE, VIA_PERM_R), -VIA_ERANGE);
    CHECK(ops->unmap(&domain.domain, BASE, BASE + 2 * PAGE - 1) == 0);
    CHECK_EQ(ops->map(&domain.domain, 0, UINT64_MAX, 0, VIA_PERM_R), -VIA_EINVAL);
    CHECK_EQ(ops->map(&domain.domain, BASE - PAGE, BASE + PAGE - 1, PHYS, VIA_PERM_R), -VIA_EINVAL);
    CHECK_EQ(ops->map(&domain.domain, BASE + 1, BASE + PAGE, PHYS, VIA_PERM_R), -VIA_EINVAL);
    CHECK_EQ(ops->map(&domain.domain, BASE, BASE + PAGE, PHYS, VIA_PERM_R), -VIA_EINVAL);
    CHECK_EQ(ops->map(&domain.domain, BASE, BASE + PAGE - 1, PHYS + 8, VIA_PERM_R), -VIA_EINVAL);
    CHECK_EQ(ops->map(&domain.domain, BASE, BASE + PAGE - 1, PHYS, 0), -VIA_EINVAL);
    CHECK_EQ(ops->map(&domain.domain, BASE, BASE + PAGE - 1, PHYS, 4), -VIA_EINVAL);
    const struct via_front_domain_cfg good = {memory, 2, 12, {BASE, BASE + PAGES * PAGE - 1}, false}, none = {memory, 2, 12, {1, 0}, false};
    struct via_front_domain_cfg bad = good;
    CHECK_EQ(via_front_domain_init(&domain, &good, table, PAGES - 1), -VIA_EINVAL);
    bad.shift = 31;
    CHECK_EQ(via_front_domain_init(&domain, &bad, table, PAGES), -VIA_EINVAL);
    bad = good;
    bad.range.last++;
    CHECK_EQ(via_front_domain_init(&domain, &bad, table, PAGES), -VIA_EINVAL);
    struct via_vu_region odd = {PHYS, PAGE, UVA_A + 1, 0};
    bad = good;
    bad.memory = &odd;
    bad.n_memory = 1;
    CHECK_EQ(via_front_domain_init(&domain, &bad, table, PAGES), -VIA_EINVAL);
    CHECK_EQ(via_front_domain_init(&domain, &none, NULL, 0), 0);
    CHECK_EQ(domain.domain.ops->map(&domain.domain, 0, UINT64_MAX, 0, VIA_PERM_R), -VIA_ERANGE);
}

static void who_can_not_join(void)
{
    static struct back more[VIA_FRONT_ENDPOINTS + 1];
    struct via_err err = {.text = ""};
    CHECK(up(false, 0));
    memset(more, 0, sizeof(more));
    back[0].end.client.front.features = 0;
    CHECK(via_endpoint_attach(&back[0].end, &domain, &err) == -VIA_ENOTSUP && strstr(err.text, "ACCESS_PLATFORM"));
    back[1].end.client.req_fd = -1;
    CHECK(via_endpoint_attach(&back[1].end, &domain, &err) == -VIA_ENOTSUP && strstr(err.text, "BACKEND_REQ"));
    CHECK(map_wide(0, 4, 0, VIA_PERM_R) == 0);
    back[2].dead = true;
    CHECK(via_endpoint_attach(&back[2].end, &domain, &err) == -VIA_ENODEV && !back[2].end.domain);
    for (unsigned i = 0; i <= VIA_FRONT_ENDPOINTS; i++) {
        more[i].end.client.front.features = VIA_BIT(VIA_F_ACCESS_PLATFORM);
        CHECK_EQ(via_endpoint_attach(&more[i].end, &domain, &err), i < VIA_FRONT_ENDPOINTS ? 0 : -VIA_ENOSPC);
    }
    via_endpoint_detach(&more[3].end);
    CHECK(via_endpoint_attach(&more[VIA_FRONT_ENDPOINTS].end, &domain, &err) == 0 && more[VIA_FRONT_ENDPOINTS].end.bit == 3);
}

/* One step of anything; false: a CHECK failed. */
static bool step(void)
{
    unsigned n = 1 + below(6), page = below(PAGES - 6), k = below(BACKS);
    struct back *b = &back[k];
    bool mapped = false;
    switch (below(8)) {
    case 0:
    case 1:
    case 2:
        for (unsigned i = 0; i < n; i++)
            mapped |= table[page + i].word != 0;
        CHECK_OR_FALSE(mapped || map(page, n, below(MEM_PAGES - 6), 1 + below(3)) == 0);
        break;
    case 3:
        CHECK_OR_FALSE(unmap(page, n) == 0);
        break;
    case 4:
    case 5:
        n = 1 + below(3);
        if (below(2)) {
            apply_all(b);
            b->tlb[page] = (struct entry){0, 0}; /* evicted: what it misses from now on it asks for after this */
            b->end.client.round++;
        }
        if (b->end.domain)
            CHECK_OR_FALSE(miss_again(b, BASE + page * PAGE, n, want[page].perm && !(n & ~want[page].perm) ? 0 : -VIA_EFAULT));
        break;
    case 6:
        CHECK_OR_FALSE(flush() == 0 && clean());
        break;
    default:
        if (below(20))
            break;
        if (b->end.domain) {
            via_endpoint_detach(&b->end);
            memset(b->tlb, 0, sizeof(b->tlb)); /* its rings were stopped */
            b->queued = 0;
        } else {
            CHECK_OR_FALSE(via_endpoint_attach(&b->end, &domain, NULL) == 0);
        }
    }
    return true;
}

static void anything_in_any_order(void)
{
    for (unsigned push = 0; push < 2; push++) {
        CHECK(up(push, BACKS));
        for (unsigned i = 0; i < 200000; i++)
            CHECK(step());
        CHECK_EQ(wrong, 0);
    }
}

TAP_MAIN(TEST(misses_are_answered_with_what_continues_them), TEST(one_answer_serves_a_round), TEST(answers_end_where_the_table_does),
         TEST(what_crosses_regions_is_two_answers), TEST(what_is_not_mapped_is_refused), TEST(only_holders_are_told),
         TEST(ranges_with_nothing_mapped_between_are_one), TEST(addresses_come_back_after_the_flush), TEST(wide_mappings_are_never_missed),
         TEST(who_died_keeps_what_it_had), TEST(what_can_not_be_mapped), TEST(who_can_not_join), TEST(anything_in_any_order))
