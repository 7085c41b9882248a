#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""viaduct drive does verified I/O, in every dma strategy, with a back-end that we did not write."""
import json

from disk import Disk, sha256
from peers import expect, main

WAYS = ("direct", "window", "bounce")
TRANSLATED = ("identity", "iommu-strict", "iommu-lazy", "hybrid-strict", "hybrid-lazy")


def drive(s, socket, *words, way="bounce", status=0):
    """What one run of `viaduct drive` reports."""
    report = s.path("report-%d.json" % len(s.children))
    s.run(["viaduct", "drive", socket, *words, "--dma=" + way, "--check", "--json=" + report], seconds=60, status=status)
    with open(report, encoding="utf-8") as f:
        told = json.load(f)
    expect(told["ok"] == (status == 0), "the report and the exit status differ")
    expect(not told["misuses"], "drive misused the dma interface %s times" % told["misuses"])
    reach = told["reach"]
    if reach:
        wanted = 0 if way == "bounce" else reach["driver_bytes_total"]
        expect(reach["reachable_bytes"] == wanted, "the back-end reaches %d bytes of the driver's memory with %s, not %d"
               % (reach["reachable_bytes"], way, wanted))
    if not way.startswith("hybrid"):  # which copies what is small
        expect(status or told["bytes_copied"] > 0 if way == "bounce" else not told["bytes_copied"], "bytes copied with %s: %s"
               % (way, told["bytes_copied"]))
    judge_translation(told["translation"], way, status)
    return told


def judge_translation(told, way, status):
    """Nothing is asked for where nothing changes, and everything else is asked for, and given back."""
    expect((told is not None) == (way in TRANSLATED), "%s is reported as translated, or is not: %s" % (way, told))
    if way == "identity":
        expect(told["misses"] == 0 and told["updates"] == 1 and told["invalidations"] == 0, "identity is not free: %s" % told)
    elif told:
        expect(told["misses"] > 0 and not told["failed"] and not told["access_fails"], "odd with %s: %s" % (way, told))
        expect(status or way.endswith("lazy") or told["invalidations"] > 0, "nothing was given back with %s: %s" % (way, told))


def every_way(s, socket, image, ways=WAYS, load=()):
    """Out, in, verify and random writes that are checked. The image file is the back-end's."""
    for way in ways:
        copy, changed = s.path("copy-" + way), s.path("changed-" + way)
        drive(s, socket, "out", copy, way=way)
        expect(sha256(copy) == sha256(image), "what came out with %s is not the image" % way)
        with open(copy, "rb") as f:
            content = f.read()
        with open(changed, "wb") as f:
            f.write(content[4096:] + content[:4096])
        drive(s, socket, "in", changed, way=way)
        expect(sha256(changed) == sha256(image), "what went in with %s is not in the image" % way)
        drive(s, socket, "verify", changed, way=way)
        with open(changed, "r+b") as f:
            f.seek(len(content) - 1)
            f.write(bytes([content[4095] ^ 1]))
        drive(s, socket, "verify", changed, way=way, status=1)
        told = drive(s, socket, "load", "--mix=randrw:50", "--verify", "--seconds=2", "--depth=32", *load, way=way)
        expect(told["speed"]["ops"] > 100, "the load came to %d operations" % told["speed"]["ops"])


def drive_on_qemu_storage_daemon(s):
    disk = Disk(s)
    back = s.storage_daemon(disk.path, s.path("back"))
    every_way(s, s.path("back"), disk.path)
    back.stop()


def drive_translated_on_viaduct_blk(s):
    disk = Disk(s)
    back = s.viaduct_blk(disk.path, s.path("back"))
    every_way(s, s.path("back"), disk.path, TRANSLATED, ("--block-size=64K",))
    back.stop()


def drive_translated_on_who_does_not_translate(s):
    disk = Disk(s)
    back = s.storage_daemon(disk.path, s.path("back"))
    for way in TRANSLATED:
        said = s.run(["viaduct", "drive", s.path("back"), "out", "/dev/null", "--dma=" + way], seconds=20, status=1)
        expect("does not offer ACCESS_PLATFORM" in said, "no clear error: %s" % said)
    back.stop()


def drive_on_qemu_storage_daemon_with_two_queues(s):
    disk = Disk(s)
    back = s.storage_daemon(disk.path, s.path("back"), queues=2)
    for way in WAYS:
        drive(s, s.path("back"), "load", "--mix=randrw:50", "--verify", "--seconds=2", "--queues=2", way=way)
    back.stop()


def drive_on_qemu_storage_daemon_with_a_small_pool(s):
    disk = Disk(s)
    back = s.storage_daemon(disk.path, s.path("back"))
    told = drive(s, s.path("back"), "load", "--mix=randrw:50", "--verify", "--seconds=2", "--pool-size=256K",
                 "--block-size=64K", "--depth=32")
    expect(told["speed"]["eagain"] > 0, "a pool of 256K never was full")
    expect(told["pool"]["high_water"] <= told["pool"]["slots"], "more slots in use than there are")
    back.stop()


def drive_through_the_guard_on_qemu_storage_daemon(s):
    disk = Disk(s)
    back = s.storage_daemon(disk.path, s.path("back"))
    guard = s.guard((s.path("front"), s.path("back")))
    copy = s.path("copy")
    drive(s, s.path("front"), "out", copy, "--backend-pid=%d" % guard.pid, way="direct")
    expect(sha256(copy) == sha256(disk.path), "what came out is not the image")
    drive(s, s.path("front"), "load", "--mix=randrw:50", "--verify", "--seconds=2", "--backend-pid=%d" % guard.pid, way="direct")
    guard.stop()
    back.stop()


main((drive_on_qemu_storage_daemon, 120), (drive_translated_on_viaduct_blk, 240), (drive_translated_on_who_does_not_translate, 60),
     (drive_on_qemu_storage_daemon_with_two_queues, 60),
     (drive_on_qemu_storage_daemon_with_a_small_pool, 60), (drive_through_the_guard_on_qemu_storage_daemon, 90))
