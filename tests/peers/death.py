#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A peer is killed in the middle of I/O. Who is left says so and lives on, and the next guest finds a disk that is no worse than
after a power failure."""
import time

from disk import Disk
from guest import Guest
from peers import expect, main


def loaded(s, socket, *others, name="guest"):
    """A guest in the middle of its writes."""
    guest = Guest(s, socket, name, mode="load")
    guest.until_round(3, 90, *others)
    return guest


def stays(child, seconds=1):
    """The child lives, and does not spin."""
    def ticks():
        with open("/proc/%d/stat" % child.pid, encoding="utf-8") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])
    expect(child.alive(), "%s ended with status %s" % (child.name, child.process.poll()))
    before = ticks()
    time.sleep(seconds)
    expect(child.alive(), "%s ended with status %s" % (child.name, child.process.poll()))
    expect(ticks() - before < 50 * seconds, "%s is busy with nothing to do" % child.name)


def a_killed_back_end(s):
    disk = Disk(s)
    back = s.viaduct_blk(disk.path, s.path("back"))
    guest = loaded(s, s.path("back"), back)
    back.kill()
    time.sleep(1)
    expect(guest.alive(), "QEMU did not survive its back-end")
    guest.kill()
    disk.recover()
    back = s.viaduct_blk(disk.path, s.path("back"))
    Guest(s, s.path("back")).verdict(disk)
    back.stop()


def a_back_end_that_is_told_to_end(s):
    disk = Disk(s)
    back = s.viaduct_blk(disk.path, s.path("back"))
    guest = loaded(s, s.path("back"), back)
    back.stop()
    guest.kill()
    disk.recover()


def a_killed_back_end_behind_the_guard(s):
    disk = Disk(s)
    back = s.viaduct_blk(disk.path, s.path("back"))
    guard = s.guard((s.path("front"), s.path("back")))
    guest = loaded(s, s.path("front"), back, guard)
    back.kill()
    s.until(lambda: guard.output() != "", 5, "the guard's word on a back-end that is gone", guard)
    stays(guard)
    expect(guest.alive(), "QEMU did not survive the guard's back-end")
    guest.kill()
    disk.recover()
    back = s.viaduct_blk(disk.path, s.path("back"))
    Guest(s, s.path("front")).verdict(disk)
    guard.stop()
    back.stop()


def a_killed_front_end_before_the_guard(s):
    disk = Disk(s)
    back = s.storage_daemon(disk.path, s.path("back"))
    guard = s.guard((s.path("front"), s.path("back")))
    loaded(s, s.path("front"), back, guard).kill()
    stays(guard, 2)
    stays(back)
    disk.sum()
    Guest(s, s.path("front")).verdict(disk)
    guard.stop()
    back.stop()


def one_of_two_back_ends_is_killed(s):
    disks = [Disk(s, "disk-%d.img" % i) for i in range(2)]
    backs = [s.viaduct_blk(disk.path, s.path("back-%d" % i)) for i, disk in enumerate(disks)]
    guard = s.guard((s.path("front-0"), s.path("back-0")), (s.path("front-1"), s.path("back-1")))
    victim = loaded(s, s.path("front-0"), guard, name="victim")
    other = Guest(s, s.path("front-1"), "other")
    other.until_said("ok", "mount", 120, guard)
    backs[0].kill()
    other.verdict(disks[1], seconds=240)
    victim.kill()
    disks[0].recover()
    guard.stop()
    backs[1].stop()


main((a_killed_back_end, 250), (a_back_end_that_is_told_to_end, 150), (a_killed_back_end_behind_the_guard, 250),
     (a_killed_front_end_before_the_guard, 250), (one_of_two_back_ends_is_killed, 400))
