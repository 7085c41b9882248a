/* SPDX-License-Identifier: BSD-2-Clause */
/* The pool's free map against a plain array of flags, and what init refuses. */
#include "rig.h"
#include "../../core/dma/pool.h"

static void runs_are_found_wherever_they_lie(void)
{
    enum { SLOTS = 200 };
    struct rig rig;
    CHECK(rig_up(&rig, SLOTS));
    uint32_t seed = 1;
    for (int round = 0; round < 3000; round++) {
        uint8_t is_free[SLOTS];
        uint32_t density = round % 7, best = 0, run = 0;
        for (int i = 0; i < 4; i++)
            rig.free[i] = 0;
        for (uint32_t i = 0; i < SLOTS; i++) {
            seed = seed * 1664525 + 1013904223;
            is_free[i] = (seed >> 16) % 8 <= density + ((seed >> 24) % 8 ? 1 : 0);
            if (is_free[i])
                rig.free[i / 64] |= 1ull << (i % 64);
            run = is_free[i] ? run + 1 : 0;
            best = run > best ? run : best;
        }
        uint32_t n = 1 + seed / 7 % (best + 3), hint = seed % 4, slot = 0;
        bool ok = via_pool_claim(&rig.pool, n, &hint, &slot);
        CHECK_EQ(ok, n <= best);
        for (uint32_t i = 0; i < SLOTS; i++) {
            bool taken = ok && i >= slot && i < slot + n;
            CHECK(!taken || is_free[i]);
            CHECK_EQ(rig.free[i / 64] >> (i % 64) & 1, is_free[i] && !taken);
        }
        if (ok)
            via_pool_give(&rig.pool, slot, n);
        for (uint32_t i = 0; i < SLOTS; i++)
            CHECK_EQ(rig.free[i / 64] >> (i % 64) & 1, is_free[i]);
    }
    rig_down(&rig);
}

static void reservations_never_exceed_the_pool(void)
{
    struct rig rig;
    CHECK(rig_up(&rig, 100));
    CHECK(via_pool_reserve(&rig.pool, 60));
    CHECK(!via_pool_reserve(&rig.pool, 41));
    CHECK(!via_pool_reserve(&rig.pool, UINT32_MAX));
    CHECK(via_pool_reserve(&rig.pool, 40));
    CHECK_EQ(rig.pool.high_water, 100);
    via_pool_settle(&rig.pool, 100, 0);
    CHECK_EQ(rig.pool.claimed, 0);
    CHECK_EQ(rig.pool.high_water, 100);
    rig_down(&rig);
}

static uint64_t woken;
static void wake(struct via_pool *p, uint64_t queues)
{
    (void)p;
    woken |= queues;
}

static void who_gives_back_wakes_others_and_not_itself(void)
{
    struct rig rig;
    CHECK(rig_up(&rig, 10));
    rig.pool.wake = wake;
    CHECK(via_pool_reserve(&rig.pool, 10));
    via_pool_wait(&rig.pool, 1);
    via_pool_wait(&rig.pool, 8);
    via_pool_settle(&rig.pool, 5, 8);
    CHECK_EQ(woken, 1);
    CHECK_EQ(rig.pool.hungry, 8);
    via_pool_settle(&rig.pool, 1, 8);
    CHECK_EQ(rig.pool.hungry, 8);
    via_pool_settle(&rig.pool, 4, 0);
    CHECK_EQ(woken, 9);
    CHECK_EQ(rig.pool.hungry, 0);
    rig_down(&rig);
}

static void init_refuses_what_it_cannot_use(void)
{
    static _Alignas(4096) uint8_t mem[8 * SLOT];
    static _Atomic uint64_t map[1];
    struct via_phys_range one = {mem, sizeof(mem), 0x7000}, gap[] = {{mem, SLOT, 0x7000}, {mem + SLOT, 7 * SLOT, 0x9000}},
                          side[] = {{mem, SLOT, 0x7000}, {mem + SLOT, 7 * SLOT, 0x8000}}, odd = {mem, sizeof(mem), 0x7010};
    struct via_direct d;
    struct via_pool p;
    CHECK_EQ(via_direct_init(&d, &one, 1), 0);
    CHECK_EQ(via_pool_init(&p, &d.dma, mem + 1, SLOT, map, 1), -VIA_EINVAL);
    CHECK_EQ(via_pool_init(&p, &d.dma, mem, SLOT - 1, map, 1), -VIA_EINVAL);
    CHECK_EQ(via_pool_init(&p, &d.dma, mem, SLOT, map, 0), -VIA_EINVAL);
    CHECK_EQ(via_pool_init(&p, &d.dma, mem, 9 * SLOT, map, 1), -VIA_ERANGE);
    CHECK_EQ(via_pool_init(&p, &d.dma, mem, 3 * SLOT + 5, map, 1), 0);
    CHECK(p.slots == 3 && p.base == 0x7000 && map[0] == 7 && p.next == &d.dma);
    CHECK_EQ(via_direct_init(&d, gap, 2), 0);
    CHECK_EQ(via_pool_init(&p, &d.dma, mem, 8 * SLOT, map, 1), -VIA_ERANGE);
    CHECK_EQ(via_direct_init(&d, &odd, 1), 0);
    CHECK_EQ(via_pool_init(&p, &d.dma, mem, 8 * SLOT, map, 1), -VIA_ERANGE);
    CHECK_EQ(via_direct_init(&d, side, 2), 0); /* two segments that lie side by side will do */
    CHECK_EQ(via_pool_init(&p, &d.dma, mem, 8 * SLOT, map, 1), 0);
    CHECK(p.slots == 8 && p.base == 0x7000);
}

TAP_MAIN(TEST(runs_are_found_wherever_they_lie), TEST(reservations_never_exceed_the_pool), TEST(who_gives_back_wakes_others_and_not_itself),
         TEST(init_refuses_what_it_cannot_use))
