#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A guest turns secure in the middle of verified I/O, and back, with a back-end that knows nothing of such guests."""
import json

from disk import Disk
from peers import expect, main


def secure(s, socket, *words):
    report = s.path("report-%d.json" % len(s.children))
    s.run(["viaduct", "drive", socket, "secure", "--check", "--json=" + report, *words], seconds=60)
    with open(report, encoding="utf-8") as f:
        told = json.load(f)
    expect(told["ok"] and not told["misuses"], "the report is odd: %s" % told)
    turned = told["secure"]
    expect(turned["verified"] > 100 and turned["lost"] == 0 and turned["guest_bytes_damaged"] == 0, "something was lost: %s" % turned)
    expect(turned["pages_secured"] == turned["pages_opened"] > 0 and turned["pool_returned"], "it did not turn, or not back: %s" % turned)
    before, meanwhile, after = turned["phases"]
    expect(all(phase["requests"] > 100 for phase in turned["phases"]), "hardly any I/O: %s" % turned)
    expect(before["secrets_found"] and after["secrets_found"] and after["later_secrets_found"], "the attack shows nothing: %s" % turned)
    expect(not meanwhile["secrets_found"] and not meanwhile["later_secrets_found"] and not meanwhile["guest_bytes_seen"],
           "the attack found something: %s" % meanwhile)
    expect(meanwhile["bytes_scribbled"] > 0, "nothing was written where it must not matter")
    return turned


def with_qemu_storage_daemon(s):
    disk = Disk(s)
    back = s.storage_daemon(disk.path, s.path("back"))
    secure(s, s.path("back"), "--seconds=3")
    turned = secure(s, s.path("back"), "--ops=6000", "--depth=128")
    expect(turned["pages_leased_at_switch"] > 0, "no request was in flight: %s" % turned)
    back.stop()


def with_two_queues_of_qemu_storage_daemon(s):
    disk = Disk(s)
    back = s.storage_daemon(disk.path, s.path("back"), queues=2)
    secure(s, s.path("back"), "--seconds=3", "--queues=2", "--depth=32", "--block-size=16K")
    back.stop()


def with_viaduct_blk(s):
    disk = Disk(s)
    back = s.viaduct_blk(disk.path, s.path("back"))
    secure(s, s.path("back"), "--seconds=3")
    back.stop()


def through_the_guard(s):
    disk = Disk(s)
    back = s.viaduct_blk(disk.path, s.path("back"))
    guard = s.guard((s.path("front"), s.path("back")))
    secure(s, s.path("front"), "--seconds=3")
    guard.stop()
    back.stop()


main((with_qemu_storage_daemon, 120), (with_two_queues_of_qemu_storage_daemon, 120), (with_viaduct_blk, 60), (through_the_guard, 60))
