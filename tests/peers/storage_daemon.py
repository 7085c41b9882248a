#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""QEMU and qemu-storage-daemon with nothing between: shows that the harness itself works, and what a back-end without a guard sees."""
from disk import Disk
from guest import MEMORY, Guest
from peers import expect, main


def guest_on_qemu_storage_daemon(s):
    disk = Disk(s)
    back = s.storage_daemon(disk.path, s.path("back"))
    guest = Guest(s, s.path("back"))
    guest.until_said("ok", "mount", 60, back)
    expect(back.maps(MEMORY), "the back-end does not map the guest's memory: the guard's scenarios prove nothing")
    guest.verdict(disk)
    back.stop()


main((guest_on_qemu_storage_daemon, 200))
