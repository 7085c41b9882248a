#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A guest behind QEMU's intel-iommu, in each of the modes that its kernel knows: the disk is right, and the mode is what it says."""
from bus import BOUNCE, LAZY, PASS_THROUGH, PLATFORM, STRICT
from disk import Disk
from guest import MEMORY, Guest
from peers import Failure, expect, main

# Linux empties a domain's part of a device's IOTLB with one descriptor: an address with all bits set is a range of all sizes.
FLUSH = "desc type device high 0x7ffffffffffff001"


def on_viaduct_blk(s, bus, mode="brief"):
    disk = Disk(s)
    back = s.viaduct_blk(disk.path, s.path("back"))
    guest = Guest(s, s.path("back"), bus=bus, mode=mode, megabytes=512)
    guest.verdict(disk)
    back.stop()
    return guest


def on_qemu_storage_daemon_through_the_guard(s, bus, mode="brief"):
    disk = Disk(s)
    back = s.storage_daemon(disk.path, s.path("back"))
    guard = s.guard((s.path("front"), s.path("back")))
    guest = Guest(s, s.path("front"), bus=bus, mode=mode, megabytes=512)
    guest.until_said("ok", "mount", 60, back, guard)
    expect(not back.maps(MEMORY), "the back-end has the guest's memory")
    guest.verdict(disk)
    guard.stop()
    back.stop()
    return guest


def viaduct_blk_passed_through(s):
    on_viaduct_blk(s, PASS_THROUGH)


def viaduct_blk_lazy(s):
    on_viaduct_blk(s, LAZY)


def viaduct_blk_strict(s):
    on_viaduct_blk(s, STRICT)


def viaduct_blk_bounced(s):
    on_viaduct_blk(s, BOUNCE)


def guarded_passed_through(s):
    on_qemu_storage_daemon_through_the_guard(s, PASS_THROUGH)


def guarded_lazy(s):
    on_qemu_storage_daemon_through_the_guard(s, LAZY)


def guarded_strict(s):
    on_qemu_storage_daemon_through_the_guard(s, STRICT)


def guarded_bounced(s):
    on_qemu_storage_daemon_through_the_guard(s, BOUNCE)


def flushed(s, run):
    """Whole-domain flushes, a range that ends at 2^64, between pages that come and go. Who loses one has stale translations."""
    guest = run(s, LAZY._replace(trace=("vtd_inv_desc",)), "flush")
    flushes = len(guest.events(FLUSH))
    expect(flushes >= 100, "the guest flushed its domain %d times only" % flushes)


def viaduct_blk_loses_no_flush(s):
    flushed(s, on_viaduct_blk)


def the_guard_loses_no_flush(s):
    flushed(s, on_qemu_storage_daemon_through_the_guard)


def a_lost_flush_is_noticed(s):
    """Where Linux finds no ATS nobody tells the back-end of what was unmapped: that guest must not come through."""
    disk = Disk(s)
    s.viaduct_blk(disk.path, s.path("back"))
    bus = LAZY._replace(properties=PLATFORM + ",ats=on,bus=pcie.0")
    guest = Guest(s, s.path("back"), bus=bus, mode="flush", megabytes=512)
    try:
        guest.verdict(disk, seconds=90)
    except Failure:
        expect(guest.value("domain") == bus.domain, "the guest did not come as far as its disk")
        return
    raise Failure("nobody noticed")


main((viaduct_blk_passed_through, 200), (viaduct_blk_lazy, 200), (viaduct_blk_strict, 200), (viaduct_blk_bounced, 200),
     (guarded_passed_through, 200), (guarded_lazy, 200), (guarded_strict, 200), (guarded_bounced, 200),
     (viaduct_blk_loses_no_flush, 200), (the_guard_loses_no_flush, 200), (a_lost_flush_is_noticed, 120))
