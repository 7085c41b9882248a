#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A guest whose disk is a legacy device: no VERSION_1, a ring of the old layout, and no FEATURES_OK. With a guard, and without."""
from bus import LEGACY
from disk import Disk
from guest import Guest
from peers import main


def legacy_guest_on_viaduct_blk(s):
    disk = Disk(s)
    back = s.viaduct_blk(disk.path, s.path("back"))
    Guest(s, s.path("back"), bus=LEGACY).verdict(disk)
    back.stop()


def legacy_guest_through_the_guard(s):
    disk = Disk(s)
    back = s.viaduct_blk(disk.path, s.path("back"))
    guard = s.guard((s.path("front"), s.path("back")))
    Guest(s, s.path("front"), bus=LEGACY).verdict(disk)
    guard.stop()
    back.stop()


main((legacy_guest_on_viaduct_blk, 200), (legacy_guest_through_the_guard, 200))
