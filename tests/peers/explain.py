#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""viaduct explain in guests: what it says of two disks, one with ACCESS_PLATFORM, fits how the guest was started."""
import json

from bus import BOUNCE, LAZY, PASS_THROUGH, STRICT
from guest import Guest, with_libraries
from peers import expect, main

IMAGE_BYTES = 1 << 20
BEHIND = ["-device", "pcie-root-port,id=rp2,chassis=2,slot=2"]


def said(guest, name):
    return json.loads("\n".join(guest.values(name)))


def findings(report, device):
    return {f["id"] for f in report["findings"] if device["name"] in f["devices"]}


class Run:
    """A guest that explained itself and went off."""

    def __init__(self, s, bus):
        drives = []
        for n in (0, 1):
            with open(s.path("disk%d" % n), "wb") as f:
                f.truncate(IMAGE_BYTES)
            drives += ["-drive", "if=none,id=d%d,format=raw,file=%s" % (n, s.path("disk%d" % n))]
        drives += BEHIND + ["-device", "virtio-blk-pci,bus=rp2,drive=d1,disable-legacy=on", "-device", "virtio-blk-pci,drive=d0"]
        guest = Guest(s, None, mode="explain", bus=bus, drive=drives, more=with_libraries(s.program("viaduct")))
        s.until(lambda: ("done", "") in guest.said() or not guest.alive(), 150, "what explain says")
        failures = [rest for word, rest in guest.said() if word == "fail"]
        expect(not failures and ("ok", "explain") in guest.said(), "the guest's step '%s' failed" % "".join(failures[:1]))
        self.plain, self.debug = said(guest, "plain"), said(guest, "debug")
        for report in (self.plain, self.debug):
            expect([d["driver"] for d in report["devices"]] == ["virtio_blk"] * 2, "the devices are %s" % report["devices"])
            expect(report["system"]["protected"] is False and report["system"]["guest"], "it is a protected guest, or none")
        self.on, self.off = sorted(self.debug["devices"], key=lambda d: "ACCESS_PLATFORM" not in d["features"])
        expect("ACCESS_PLATFORM" not in self.off["features"], "both disks have ACCESS_PLATFORM")
        expect(self.off["path"]["name"] == "physical", "without ACCESS_PLATFORM the path is %s" % self.off["path"])

    def check(self, path, mode, found, found_off):
        expect(self.on["path"]["name"] == path, "the path is %s, not %s" % (self.on["path"], path))
        expect(self.on["iommu"]["mode"] == mode, "the IOMMU is %s, not %s" % (self.on["iommu"], mode))
        expect(self.off["iommu"]["mode"] == mode, "the other's IOMMU is %s, not %s" % (self.off["iommu"], mode))
        for device, wanted in ((self.on, found), (self.off, found_off)):
            got = findings(self.debug, device) & INTERESTING
            expect(got == wanted, "%s: found %s, not %s: %s" % (device["name"], sorted(got), sorted(wanted), device["iommu"]))


INTERESTING = {"identity", "iommu-bypassed", "strict", "strict-by-host", "advisory", "force-no-effect", "force-translated", "forced",
               "protected-no-platform", "iommu-outside", "stale-iotlb", "blocked", "narrow-mask", "legacy", "no-event-idx"}


def passed_through(s):
    Run(s, PASS_THROUGH).check("identity", "identity", {"identity"}, set())


def lazy(s):
    run = Run(s, LAZY)
    run.check("iommu-lazy", "lazy", {"advisory"}, {"iommu-bypassed"})
    expect(run.debug["system"]["pools"][0]["slots"] == 0, "the pool is %s" % run.debug["system"]["pools"])
    expect("translate" in run.on["policy"]["on"] and not run.off["policy"]["on"], "the policy is %s" % run.on["policy"])
    expect(run.on["iommu"]["ats_enabled"] is True, "ATS is off: %s" % run.on["iommu"])


def strict(s):
    Run(s, STRICT).check("iommu-strict", "strict", {"advisory", "strict"}, {"iommu-bypassed"})


def bounced(s):
    run = Run(s, BOUNCE)
    run.check("bounce", "none", {"forced"}, {"force-no-effect"})
    expect("bounce" in run.on["policy"]["on"], "the policy is %s" % run.on["policy"])
    plain, debug = run.plain["system"]["pools"][0], run.debug["system"]["pools"][0]
    expect(plain["slots"] in (None, debug["slots"]) and debug["slots"] > 0, "the pool is %s by the log, %s by its file" % (plain, debug))
    expect(plain["used"] is None and debug["used"] is not None, "the pool is %s without debugfs, %s with it" % (plain, debug))
    expect(any("swiotlb" in n["file"] for n in run.plain["not_read"]), "what is not mounted was not missed")


def forced_where_an_iommu_translates(s):
    run = Run(s, LAZY._replace(words=LAZY.words + " swiotlb=force"))
    run.check("iommu-lazy", "lazy", {"advisory", "force-translated"}, {"iommu-bypassed", "force-no-effect"})


def ats_unused(s):
    run = Run(s, LAZY._replace(words=LAZY.words + " pci=noats"))
    run.check("iommu-lazy", "lazy", {"advisory", "stale-iotlb"}, {"iommu-bypassed"})


main((passed_through, 200), (lazy, 200), (strict, 200), (bounced, 200), (forced_where_an_iommu_translates, 200), (ats_unused, 200))
