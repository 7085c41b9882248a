#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A guest on viaduct-blk, with nothing between."""
from disk import Disk
from guest import Guest
from peers import main


def guest_on_viaduct_blk(s):
    disk = Disk(s)
    back = s.viaduct_blk(disk.path, s.path("back"))
    Guest(s, s.path("back")).verdict(disk)
    back.stop()


def guest_on_viaduct_blk_past_the_page_cache(s):
    disk = Disk(s)
    back = s.viaduct_blk(disk.path, s.path("back"), options=["--direct"])
    Guest(s, s.path("back")).verdict(disk)
    back.stop()


def guest_on_viaduct_blk_with_two_queues(s):
    disk = Disk(s)
    back = s.viaduct_blk(disk.path, s.path("back"), options=["--num-queues=2"])
    Guest(s, s.path("back"), queues=2, cpus=2).verdict(disk)
    back.stop()


main((guest_on_viaduct_blk, 200), (guest_on_viaduct_blk_past_the_page_cache, 200),
     (guest_on_viaduct_blk_with_two_queues, 200))
