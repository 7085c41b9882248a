#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A guest behind QEMU's virtio-iommu, with the small kernel."""
from bus import VIRTIO
from disk import Disk
from guest import MEMORY, Guest
from peers import expect, main


def viaduct_blk_behind_virtio_iommu(s):
    disk = Disk(s)
    back = s.viaduct_blk(disk.path, s.path("back"))
    Guest(s, s.path("back"), bus=VIRTIO, mode="brief", megabytes=512).verdict(disk)
    back.stop()


def guarded_behind_virtio_iommu(s):
    disk = Disk(s)
    back = s.storage_daemon(disk.path, s.path("back"))
    guard = s.guard((s.path("front"), s.path("back")))
    guest = Guest(s, s.path("front"), bus=VIRTIO, mode="brief", megabytes=512)
    guest.until_said("ok", "mount", 60, back, guard)
    expect(not back.maps(MEMORY), "the back-end has the guest's memory")
    guest.verdict(disk)
    guard.stop()
    back.stop()


# The first one builds the kernel, where that is not done yet.
main((viaduct_blk_behind_virtio_iommu, 1200), (guarded_behind_virtio_iommu, 200))
