#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A guest behind the guard: it finds its disk right, and its memory is not in the back-end."""
from disk import Disk
from guest import MEMORY, Guest
from peers import expect, main


def through_the_guard(s, back_end, queues=1):
    disk = Disk(s)
    back = back_end(disk.path, s.path("back"))
    guard = s.guard((s.path("front"), s.path("back")))
    guest = Guest(s, s.path("front"), queues=queues, cpus=queues)
    guest.until_said("ok", "mount", 60, back, guard)
    expect(not back.maps(MEMORY), "the back-end has the guest's memory")
    guest.verdict(disk)
    guard.stop()
    back.stop()


def viaduct_blk_through_the_guard(s):
    through_the_guard(s, s.viaduct_blk)


def qemu_storage_daemon_through_the_guard(s):
    through_the_guard(s, s.storage_daemon)


def two_queues_through_the_guard(s):
    through_the_guard(s, lambda image, socket: s.viaduct_blk(image, socket, options=["--num-queues=2"]), queues=2)


def two_queues_of_qemu_storage_daemon_through_the_guard(s):
    through_the_guard(s, lambda image, socket: s.storage_daemon(image, socket, queues=2), queues=2)


main((viaduct_blk_through_the_guard, 200), (qemu_storage_daemon_through_the_guard, 200), (two_queues_through_the_guard, 200),
     (two_queues_of_qemu_storage_daemon_through_the_guard, 200))
