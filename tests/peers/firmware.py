#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The firmware boots a guest from the disk, whose IOMMU is still off. It negotiates, reads a kernel through addresses that nobody
translates, and leaves the disk as it is; the kernel turns the IOMMU on, resets the disk and negotiates anew."""
from boot import make_bootable
from bus import LAZY
from disk import Disk
from guest import Guest, boot_files, command_line
from peers import expect, main

SET_FEATURES, GET_VRING_BASE, SET_VRING_KICK = 2, 11, 12  # of vhost-user


def check_faults(events):
    """
    QEMU itself looks into a ring that it has just stopped. The firmware's ring lies where the IOMMU, by now on, lets nobody read: that
    one fault is QEMU's own, and follows upon GET_VRING_BASE. There must be no other.
    """
    faults = [n for n, line in enumerate(events) if "vtd_dmar_fault" in line]
    expect(len(faults) <= 1, "the IOMMU refused %d accesses" % len(faults))
    for n in faults:
        expect("req:%d " % GET_VRING_BASE in events[n - 1] and "write 0" in events[n], "the back-end had the IOMMU refuse an access")


def booted(s, bus, start):
    """`start` returns the socket and who must end well."""
    disk = Disk(s)
    bus = bus._replace(firmware=True, trace=("vhost_user_write", "vtd_dmar_fault"))
    make_bootable(s, disk, *boot_files(bus), command_line("brief", bus))
    socket, children = start(disk.path)
    guest = Guest(s, socket, bus=bus, mode="brief", megabytes=512)
    guest.verdict(disk)
    asked = [int(line.split("req:")[1].split()[0]) for line in guest.events("vhost_user_write")]
    expect(GET_VRING_BASE in asked, "the disk was not reset between the firmware and the kernel")
    stopped = asked.index(GET_VRING_BASE)
    for driver, part in (("firmware", asked[:stopped]), ("kernel", asked[stopped:])):
        expect(SET_FEATURES in part and SET_VRING_KICK in part, "the %s did not drive the disk" % driver)
    check_faults(guest.events(""))
    for child in children:
        child.stop()


def viaduct_blk_after_the_firmware(s):
    def start(image):
        return s.path("back"), [s.viaduct_blk(image, s.path("back"))]
    booted(s, LAZY, start)


def guarded_after_the_firmware(s):
    def start(image):
        back = s.storage_daemon(image, s.path("back"))
        return s.path("front"), [s.guard((s.path("front"), s.path("back"))), back]
    booted(s, LAZY, start)


main((viaduct_blk_after_the_firmware, 200), (guarded_after_the_firmware, 200))
