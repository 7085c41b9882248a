#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""viaduct drive --dma=auto: the facts lead to a way, the data take it, and the report says why.

usage: policy_test.py VIADUCT VIADUCT-BLK RAM-DISK VIADUCT-HOSTILE
"""
import json
import os
import random
import subprocess
import sys
import time

from points import Wrong, check, run

VIADUCT, BLK, RAM_DISK, HOSTILE = (os.path.abspath(p) for p in sys.argv[1:5])
SIZE = 3 << 20
PATIENCE = 60
SWITCHES = ("translate", "bounce", "encrypt", "share", "cache", "barriers", "flush", "own pool", "strict")

# Options, the way that they lead to, the switches that are on, and a word of the reason of one of them.
WAYS = [
    ("", "direct", "", "translate", "physical"),
    ("--override=bounce", "bounce", "bounce", "bounce", "administrator"),
    ("--override=none --protected=nobody --mask=64", "direct", "", "bounce", "all buffers"),
    ("--protected=guest", "bounce", "bounce share", "share", "guest itself"),
    ("--protected=host", "bounce", "bounce share", "share", "the host"),
    ("--protected=guest --pool=global", "bounce", "bounce share", "own pool", "other devices"),
    ("--isolate", "bounce", "bounce,own pool", "own pool", "isolation"),
    ("--mask=30", "bounce", "bounce", "bounce", "name all of memory"),
    ("--translated", "identity", "translate", "translate", "IOMMU"),
    ("--translated --mask=30", "iommu-lazy", "translate", "strict", "may last"),
    ("--translated --protected=host", "bounce-iommu", "translate bounce share", "bounce", "host knows"),
    ("--translated --isolate --mask=25", "bounce-iommu", "translate,bounce,own pool", "bounce", "isolation"),
    ("--translated --isolate --override=direct", "iommu-strict", "translate strict", "strict", "forbidden"),
    ("--translated --isolate --pool=global", "iommu-strict", "translate strict", "strict", "no pool"),
    ("--translated --isolate --mask=30 --override=direct", "iommu-strict", "translate strict", "strict", "forbidden"),
]
# The same of a back-end that does not offer ACCESS_PLATFORM: its addresses are physical ones.
PHYSICAL = [
    ("--translated", "direct", "", "translate", "not offered"),
    ("--translated --protected=host", "bounce", "bounce share", "translate", "not offered"),
    ("--translated --protected=guest --isolate", "bounce", "bounce,share,own pool", "bounce", "by itself"),
]
# Facts that lead nowhere, and what has to be said.
REFUSALS = [
    ("--protected=guest --override=direct", "allow bouncing"),
    ("--mask=30 --override=direct", "put an IOMMU before the device"),
    ("--isolate --override=direct", "nothing translates"),
    ("--isolate --pool=global", "no pool for this device alone"),
]
# A plan that this program has no room for.
SHORTAGES = [
    ("--mask=21", "lower --pool-size"),
    ("--mask=22 --translated --isolate --override=direct --depth=128 --block-size=64K", "lower --pool-size, --queues or --depth"),
    ("--translated --protected=guest --pool=global", "leave --pool=global out"),
]
MISUSES = [
    ("--dma=auto --protected=all", "nobody, host or guest"),
    ("--dma=auto --mask=20", "from 21 to 64"),
    ("--dma=auto --mask=65", "from 21 to 64"),
    ("--dma=auto --mask=0", "from 21 to 64"),
    ("--dma=auto --mask=30x", "from 21 to 64"),
    ("--dma=auto --override=always", "direct, bounce or none"),
    ("--isolate", "need --dma=auto"),
    ("--dma=auto --dma=direct --translated", "need --dma=auto"),
    ("--dma=bounce-iommu --pool=global", "leave --pool=global out"),
]


class Rig:
    def __init__(self, folder):
        os.chmod(folder, 0o755)
        self.folder, self.serial = folder, 0
        self.image = os.path.join(folder, "disk.img")
        self.data = random.Random(1).randbytes(SIZE)

    def back_end(self, *command, **more):
        """command with SOCKET in it: (process, socket)."""
        self.serial += 1
        socket = os.path.join(self.folder, f"{self.serial}.sock")
        with open(self.image, "wb") as f:
            f.write(self.data)
        process = subprocess.Popen([word.replace("SOCKET", socket) for word in command], stdin=subprocess.DEVNULL, **more)
        deadline = time.monotonic() + PATIENCE
        while not os.path.exists(socket):
            check(process.poll() is None and time.monotonic() < deadline, f"{command[0]} does not listen")
            time.sleep(0.01)
        return process, socket

    def blk(self):
        return self.back_end(BLK, "--socket-path=SOCKET", f"--blk-file={self.image}", stdout=subprocess.DEVNULL)

    def drive(self, options, *words, status=0):
        """What it said and wrote, and its report."""
        report = os.path.join(self.folder, "report.json")
        done = subprocess.run([VIADUCT, "drive", *options.split(), f"--json={report}", *words], stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=PATIENCE, check=False)
        said = done.stderr.decode()
        check(done.returncode == status, f"{options}: status {done.returncode}, wanted {status}: {said}")
        with open(report) as f:
            return said, done.stdout, json.load(f)


def kill(process):
    process.kill()
    process.communicate()


def judge(report, said, way, switches, one, word):
    """The report takes this way, with these switches on, and says why."""
    plan = report["plan"]
    on = {name for name in SWITCHES if plan[name]["on"]}
    wanted = set(switches.split("," if "," in switches else None))
    check(report["ok"] and report["misuses"] == 0 and set(plan) == set(SWITCHES), f"the report is odd: {report}")
    check(report["dma"] == way and on == wanted, f"{report['dma']} with {on}, wanted {way} with {wanted}")
    check(word in plan[one]["because"], f"{one}: {plan[one]['because']}")
    check(f"plan: --dma={way}" in said, said)
    for name in SWITCHES:
        line = f"{name:9} {'on' if plan[name]['on'] else 'off':3}  {plan[name]['because']}"
        check(line in said, f"people are not told: {line}: {said}")
    reach = report["reach"]
    check(reach["reachable_bytes"] == (0 if "bounce" in on else reach["driver_bytes_total"]), f"the back-end reaches {reach}")
    check((report["copies_per_byte"] > 0.5) == ("bounce" in on), f"{report['copies_per_byte']} bytes copied for each byte moved")
    check((report["translation"] is not None) == ("translate" in on), f"translated: {report['translation']}")
    if "translate" in on:
        flushes = report["translation"]["flushes"]
        check(flushes >= SIZE // report["block_size"] if "strict" in on else "lazy" in way or not flushes, f"{flushes} flushes")


def takes_its_way(rig, options, *wanted):
    process, socket = rig.blk()
    try:
        said, data, report = rig.drive(f"--dma=auto --check --depth=9 --block-size=64K {options}", socket, "out", "-")
        check(data == rig.data, "other bytes arrived than the disk holds")
        judge(report, said, *wanted)
        _, _, report = rig.drive(f"--dma=auto --check --mix=randrw --verify --ops=500 {options}", socket, "load")
        check(report["ok"] and report["speed"]["ops"] == 500 and report["misuses"] == 0, f"the report is odd: {report}")
    finally:
        kill(process)


def takes_physical_addresses(rig, options, *wanted):
    process, socket = rig.back_end(RAM_DISK, "SOCKET")
    try:
        _, said, report = rig.drive(f"--dma=auto --check --mix=randrw --verify --ops=500 {options}", socket, "load")
        judge(report, said.decode(), *wanted)
    finally:
        kill(process)


def refuses(rig, options, word, plan):
    process, socket = rig.blk()
    try:
        said, _, report = rig.drive(f"--dma=auto {options}", "--mix=randwrite", "--ops=10", socket, "load", status=1)
        check(word in said and said.startswith("viaduct drive: --") and not report["ok"], said)
        check(("refused" in report["plan"]) != plan and report["speed"]["ops"] == 0, f"the report is odd: {report}")
        check(plan or word in report["plan"]["refused"], f"the report is odd: {report}")
        with open(rig.image, "rb") as f:
            check(f.read() == rig.data, "something was written")
    finally:
        kill(process)


def attacked(rig, options, finds):
    """What a hostile back-end finds of the driver's secret."""
    canaries = os.path.join(rig.folder, "canaries")
    process, socket = rig.back_end(HOSTILE, "--socket-path=SOCKET", f"--blk-file={rig.image}", f"--canaries={canaries}",
                                   stdout=subprocess.PIPE)
    try:
        _, data, _ = rig.drive(f"{options} --check --probe=16 --canary-out={canaries}", socket, "out", "-")
        check(data == rig.data, "other bytes arrived than the disk holds")
        found = json.loads(process.communicate(timeout=PATIENCE)[0])
        check(found["armed"] and list(found["found"].values())[0] == finds, f"found {found['found']}")
    finally:
        kill(process)


def nobody_there(rig):
    """No plan is told where nothing was negotiated."""
    said, _, report = rig.drive("--dma=auto --timeout=1", os.path.join(rig.folder, "none"), "load", status=1)
    check(report["plan"] is None and not report["ok"], f"the report is odd: {report}: {said}")


def usage(_):
    """Wrong words are refused with status 2, and the error says which."""
    for options, what in MISUSES:
        done = subprocess.run([VIADUCT, "drive", *options.split(), "socket", "info"], stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=PATIENCE, check=False)
        said = done.stderr.decode()
        check(done.returncode == 2 and what in said, f"{options}: status {done.returncode}: {said}")


def points():
    for options, *wanted in WAYS:
        yield f"{options or 'no options'}: {wanted[0]}", lambda rig, o=options, w=wanted: takes_its_way(rig, o, *w)
    for options, *wanted in PHYSICAL:
        yield f"no ACCESS_PLATFORM, {options}: {wanted[0]}", lambda rig, o=options, w=wanted: takes_physical_addresses(rig, o, *w)
    for plan, table in ((False, REFUSALS), (True, SHORTAGES)):
        for options, word in table:
            yield f"refused: {options}", lambda rig, o=options, w=word, p=plan: refuses(rig, o, w, p)
    for options, finds in {"--dma=auto": True, "--dma=auto --protected=guest": False, "--dma=auto --protected=host --translated": False,
                           "--dma=bounce-iommu": False}.items():
        yield f"attack: {options}", lambda rig, o=options, f=finds: attacked(rig, o, f)
    for test in (nobody_there, usage):
        yield test.__doc__, test


sys.exit(run(points(), Rig, "viaduct-policy-"))
