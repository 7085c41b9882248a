#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Two guests at once through one guard process, each with a back-end of another kind."""
from disk import Disk
from guest import MEMORY, Guest
from peers import expect, main


def two_guests_through_one_guard(s):
    disks = [Disk(s, "disk-%d.img" % i) for i in range(2)]
    fronts, ends = [s.path("front-0"), s.path("front-1")], [s.path("back-0"), s.path("back-1")]
    backs = [s.viaduct_blk(disks[0].path, ends[0]), s.storage_daemon(disks[1].path, ends[1])]
    guard = s.guard(*zip(fronts, ends))
    guests = [Guest(s, front, "guest-%d" % i) for i, front in enumerate(fronts)]
    for guest in guests:
        guest.until_said("ok", "mount", 120, guard, *backs)
    expect(not any(back.maps(MEMORY) for back in backs), "a back-end has a guest's memory")
    expect(not backs[0].maps("front-1") and not backs[1].maps("front-0"), "a back-end has the other guest's socket")
    for guest, disk in zip(guests, disks):
        guest.verdict(disk, seconds=240)
    guard.stop()
    for back in backs:
        back.stop()


main((two_guests_through_one_guard, 400))
