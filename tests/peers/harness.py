#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The harness sees what is wrong: one changed byte of what the guest is to read, one of what it wrote, a disk that goes away."""
from disk import Disk, block_of
from guest import Guest
from peers import Failure, expect, main


def flip(path, offset):
    with open(path, "r+b") as f:
        f.seek(offset)
        byte = f.read(1)[0]
        f.seek(offset)
        f.write(bytes([byte ^ 1]))


def fails(what, guest, disk):
    """The guest's verdict is a failure that speaks of this."""
    try:
        guest.verdict(disk, seconds=100)
    except Failure as e:
        expect(what in str(e), "another failure than '%s': %s" % (what, e))
        return
    raise Failure("nobody noticed")


def a_changed_byte_of_the_tree(s):
    disk = Disk(s)
    flip(disk.path, block_of(disk, "/tree/edges/65537"))
    disk.sum()
    s.storage_daemon(disk.path, s.path("back"))
    fails("'tree'", Guest(s, s.path("back")), disk)


def a_changed_byte_of_what_was_written(s):
    disk = Disk(s)
    back = s.storage_daemon(disk.path, s.path("back"))
    guest = Guest(s, s.path("back"))
    guest.wait(100, "power off")
    back.stop()
    flip(disk.path, block_of(disk, "/written/odd-65537"))
    fails("odd-65537 is not what the guest wrote", guest, disk)


def a_disk_without_a_back_end(s):
    disk = Disk(s)
    back = s.storage_daemon(disk.path, s.path("back"))
    guest = Guest(s, s.path("back"))
    guest.until_said("ok", "mount", 60, back)
    back.kill()
    try:
        guest.verdict(disk, seconds=5)
    except Failure as e:
        expect("did not end" in str(e) or "failed" in str(e), "another failure: %s" % e)
        return
    raise Failure("nobody noticed")


main((a_changed_byte_of_the_tree, 120), (a_changed_byte_of_what_was_written, 150), (a_disk_without_a_back_end, 100))
