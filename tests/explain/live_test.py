#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""viaduct explain on this machine: its devices are those that /sys shows, for root and for nobody; a copy says the same.

usage: live_test.py VIADUCT
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

VIADUCT = os.path.abspath(sys.argv[1])
BUS = "/sys/bus/virtio/devices"
NOBODY = 65534
PATIENCE = 60


class Wrong(Exception):
    pass


def check(truth, what):
    if not truth:
        raise Wrong(what)


def explain(program, *words, user=None):
    done = subprocess.run([program, "explain", *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False,
                          user=user)
    check(done.returncode == 0, "status %d: %s" % (done.returncode, done.stderr.decode()))
    return done.stdout.decode("ascii")


def line_of(*parts):
    with open(os.path.join(*parts), encoding="ascii") as f:
        return f.read().strip()


def base_of(*parts):
    path = os.path.join(*parts)
    return os.path.basename(os.readlink(path)) if os.path.islink(path) else None


def judge(report):
    """Against what Python reads by itself."""
    names = os.listdir(BUS) if os.path.isdir(BUS) else []
    check(sorted(d["name"] for d in report["devices"]) == sorted(names), "the devices are %s" % report["devices"])
    check(report["system"]["kernel"] == os.uname().release, "the kernel is %s" % report["system"]["kernel"])
    for device in report["devices"]:
        own = os.path.join(BUS, device["name"])
        parent = os.path.dirname(os.path.realpath(own))
        bits = line_of(own, "features")
        check(device["driver"] == base_of(own, "driver"), "the driver of %s" % device)
        check(device["type"] == int(line_of(own, "device"), 16), "the type of %s" % device)
        check(len(device["features"]) == bits.count("1"), "the features of %s" % device)
        check(("ACCESS_PLATFORM" in device["features"]) == (bits[33] == "1"), "ACCESS_PLATFORM of %s" % device)
        check(("VERSION_1" in device["features"]) == (bits[32] == "1"), "VERSION_1 of %s" % device)
        check(device["parent"] == os.path.basename(parent), "the parent of %s" % device)
        check(device["iommu"]["group"] == base_of(parent, "iommu_group"), "the group of %s" % device)
        check(bits[33] == "1" or report["system"]["xen"] or not device["driver"] or device["path"]["name"] == "physical", "%s" % device)


def as_we_are(_):
    judge(json.loads(explain(VIADUCT, "--json")))
    check(explain(VIADUCT).startswith("system "), "no text")


def as_nobody(folder):
    """Without privileges all devices are there, and what could not be read is named."""
    program = shutil.copy(VIADUCT, folder)
    os.chmod(folder, 0o755)
    report = json.loads(explain(program, "--json", user=NOBODY if os.geteuid() == 0 else None))
    judge(report)
    check(report["system"]["pools"][0]["used"] is None, "nobody sees debugfs")
    check(any("swiotlb" in n["file"] and "needs root" in n["why"] for n in report["not_read"]), "%s" % report["not_read"])


def copied(folder):
    copy = os.path.join(folder, "copy")
    live = json.loads(explain(VIADUCT, "--record", copy, "--json"))
    again = json.loads(explain(VIADUCT, "--root", copy, "--json"))
    for part in ("devices", "findings"):
        check(live[part] == again[part], "%s: live %s, copied %s" % (part, live[part], again[part]))
    for pool in live["system"]["pools"] + again["system"]["pools"]:
        pool["used"] = pool["high_water"] = None # they change
    check(live["system"] == again["system"], "live %s, copied %s" % (live["system"], again["system"]))


def main():
    cases = (as_we_are, as_nobody, copied)
    print("TAP version 13\n1..%d" % len(cases))
    bad = 0
    for n, case in enumerate(cases, 1):
        with tempfile.TemporaryDirectory() as folder:
            try:
                case(folder)
                print("ok %d - %s" % (n, case.__name__))
            except (Wrong, OSError, ValueError, subprocess.SubprocessError) as e:
                bad += 1
                print("not ok %d - %s\n# %s" % (n, case.__name__, str(e).replace("\n", "\n# ")))
    return bad > 0


sys.exit(main())
