#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""viaduct explain over trees that are broken or mean harm: no crash, no hang, nothing from outside the tree, and each loss is told.

usage: hostile_test.py VIADUCT
"""
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile

import tree

VIADUCT = os.path.abspath(sys.argv[1])
TREES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "trees")
DEVICE = "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/virtio0"
PARENT = os.path.dirname(DEVICE)
LINK = "sys/bus/virtio/devices/virtio0"
PATIENCE = 60
SECRET = "s3cret-0utside"
MUTANTS = 120
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # thousands of small files


class Wrong(Exception):
    pass


def check(truth, what):
    if not truth:
        raise Wrong(what)


class Rig:
    """A folder with a tree to be broken, and beside it a secret that nothing in the tree may lead to."""

    def __init__(self, base, name):
        self.base, self.root = base, os.path.join(base, "tree")
        os.mkdir(self.root)
        self.secret = os.path.join(base, "secret")
        with open(self.secret, "w", encoding="ascii") as f:
            f.write(SECRET + "\n")
        with open(os.path.join(TREES, name + ".tree"), encoding="ascii") as f:
            tree.unpack(f.read(), self.root)

    def at(self, path):
        return os.path.join(self.root, path)

    def remove(self, path):
        full = self.at(path)
        if os.path.isdir(full) and not os.path.islink(full):
            shutil.rmtree(full)
        elif os.path.lexists(full):
            os.unlink(full)
        return full

    def put(self, path, data):
        with open(self.remove(path), "wb") as f:
            f.write(data)

    def link(self, path, to):
        os.symlink(to, self.remove(path))

    def explain(self, *words, status=0):
        done = subprocess.run([VIADUCT, "explain", "--root", self.root, *words], stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=PATIENCE, check=False)
        check(done.returncode == status, "status %d: %s" % (done.returncode, done.stderr.decode()[:2000]))
        check(SECRET.encode() not in done.stdout + done.stderr, "the secret is out")
        return done.stdout.decode("ascii")

    def report(self):
        """The JSON; the text can be shown, too, and holds nothing that a terminal obeys."""
        text = self.explain()
        check(all(c == "\n" or c.isprintable() for c in text), "the text holds control characters")
        report = json.loads(self.explain("--json"))
        files = [note["file"] for note in report["not_read"]]
        check(len(files) == len(set(files)), "a file is told twice: %s" % files)
        check(not report["not_read_more"] or "  and %d more\n" % report["not_read_more"] in text, "the text lacks how many are left out")
        return report

    def lost(self, path, why, device=True):
        """That file was not read, and it is said why; the other device is still all there."""
        report = self.report()
        notes = [n for n in report["not_read"] if n["file"].endswith(path)]
        check(notes and any(why in n["why"] for n in notes), "no word of %s: %s" % (path, report["not_read"]))
        if device:
            whole = [d for d in report["devices"] if d["name"] == "virtio1"]
            check(len(whole) == 1 and whole[0]["path"]["name"] == "physical", "another device got lost, too")
        return report


def first(report):
    return report["devices"][0]


def wrong_kinds(rig):
    """What should be a file is a FIFO, a directory or a socket."""
    features = DEVICE + "/features"
    os.mkfifo(rig.remove(features))
    report = rig.lost(features, "no regular file")
    check(first(report)["features"] is None and first(report)["path"]["name"] == "unknown", "features from a FIFO")
    os.mkdir(rig.remove(features))
    rig.lost(features, "no regular file")
    rig.remove(features)
    with socket.socket(socket.AF_UNIX) as s:
        here = os.getcwd()
        os.chdir(os.path.dirname(rig.at(features))) # its path is longer than a socket's may be
        s.bind("features")
        os.chdir(here)
    rig.lost(features, "no regular file")


def wrong_contents(rig):
    """Files that are empty, too long, or not what they should be."""
    features = DEVICE + "/features"
    for data, why in ((b"", "no string of"), (b"01" * 20, "no string of"), (b"2" * 64, "no string of"), (b"0" * 63 + b"\0", "no string of"),
                      (b"\xff\x1b[2J" * 20, "no line of text"), (b"0" * 64 + b"\n0", "no line of text"),
                      (b"0" * 64 + b"\x001", "no line of text")):
        rig.put(features, data)
        check(first(rig.lost(DEVICE if "string" in why else features, why))["features"] is None, "features of %r" % data)
    rig.put(features, b"0" * 300 + b"1\n")
    rig.lost(DEVICE, "beyond bit 127")
    with open(rig.at(features), "r+b") as f:
        f.truncate(1 << 40)
    rig.lost(features, "is longer than")
    for path, data, why in ((PARENT + "/dma_mask_bits", b"65\n", "not 1 to 64"), (PARENT + "/dma_mask_bits", b"-1\n", "no number"),
                            (DEVICE + "/device", b"two\n", "no number"), (DEVICE + "/status", b"9" * 50, "no number")):
        rig.put(path, data)
        rig.lost(PARENT if "64" in why else path, why)


def shared_files(rig):
    """What all devices depend on, in other orders than expected, and with bytes that a terminal obeys."""
    rig.put("proc/cmdline", b"quiet\tswiotlb=\x1b[2J,force iommu=\xff\n")
    rig.put("proc/iomem", b"100000000-13fffffff : System RAM\n  0-ffffffffffff : System RAM\n00100000-7fffffff : System RAM\n"
                          b"9-8 : System RAM\n")
    system = rig.report()["system"]
    check(system["command_line"] == "swiotlb=?[2J,force iommu=?" and system["swiotlb_force"], "%s" % system)
    check(system["memory_last"] == 0x13fffffff, "memory ends at %s" % system["memory_last"])
    for said, name in (("AMD SEV", "SEV"), ("AMD SEV SEV-ES", "SEV-ES"), ("AMD SEV SEV-ES SEV-SNP", "SEV-SNP"), ("Intel TDX", "TDX"),
                       ("AMD SME", None)):
        rig.put("dev/kmsg", b"5,0,0,-;Linux\n6,1,2,-;Memory Encryption Features active: %s\n" % said.encode())
        system = rig.report()["system"]
        check(system["protection"] == name and system["protected"] == (name is not None), "%s" % system)
    rig.put("dev/kmsg", b"6,1,2,-;RME: Using RSI version 1.0\n")
    check(rig.report()["system"]["protection"] == "CCA", "CCA was not seen")
    rig.put("dev/kmsg", b"14,1,2,-;RME: Using RSI version 1.0\n")
    check(rig.report()["system"]["protected"] is None, "a program's word was taken for the kernel's")
    rig.put("proc/cpuinfo", b"vendor_id\t: Genuine\x1b\nflags\t: xhypervisor tdx_guestx sevx\n")
    system = rig.report()["system"]
    check(system["guest"] is not True and not system["protected"], "%s" % system)


def pools(rig):
    """Counters that make no sense, and more pools than are shown."""
    base = "sys/kernel/debug/swiotlb/"
    for slots, used, known, found in ((b"1000", b"799", True, set()), (b"1000", b"800", True, {"pool-near-full"}),
                                      (b"1000", b"5000000000", True, set()), (b"18446744073709551615", b"1", False, set()),
                                      (b"4294967295", b"4294967295", True, {"pool-full"}), (b"0", b"0", True, set()),
                                      (b"99999999999999999999", b"x", False, set())):
        rig.put(base + "io_tlb_nslabs", slots + b"\n")
        rig.put(base + "io_tlb_used", used + b"\n")
        report = rig.report()
        check((report["system"]["pools"][0]["slots"] is not None) == known, "%s" % report["system"]["pools"])
        check({f["id"] for f in report["findings"] if "pool" in f["id"]} == found, "%s of %s: %s" % (used, slots, report["findings"]))
    for n in range(40):
        os.mkdir(rig.at(base + "pool%d" % n))
        for name in ("io_tlb_nslabs", "io_tlb_used"):
            rig.put(base + "pool%d/%s" % (n, name), b"7\n")
    report = rig.lost("swiotlb", "more than can be shown")
    check(len([f for f in report["findings"] if f["id"] == "pool-full"]) == 15, "%d findings" % len(report["findings"]))
    check("advisory" in [f["id"] for f in report["findings"]], "findings got lost")


def big_files(rig):
    """Those that are read in part are read in part, and no faster is memory used up."""
    line = b"6,7,8,-;swiotlb buffer is full (sz: 1 bytes)\n"
    rig.put("dev/kmsg", line * 100000)
    with open(rig.remove("proc/iomem"), "wb") as f:
        f.truncate(1 << 40)
    rig.put("proc/cmdline", b"swiotlb=force " * 100000)
    rig.lost("proc/iomem", "NUL")
    rig.put("proc/iomem", b"0\n" * 1000000)
    rig.put("proc/cpuinfo", b"flags : hypervisor " + b"x" * (1 << 20))
    report = rig.report()
    check(report["system"]["swiotlb_force"] and report["system"]["guest"], "what was there was not read")
    check(any(f["id"] == "pool-was-full" for f in report["findings"]), "the log was not read")


def links(rig):
    """Links stay inside, whatever they say."""
    features = DEVICE + "/features"
    depth = features.count("/")
    for to in (rig.secret, "../" * 50 + rig.secret[1:], "../" * (depth + 1) + "secret"):
        for path in (features, "proc/cmdline", "dev/kmsg", PARENT + "/config", "sys/kernel/iommu_groups/4/type"):
            rig.link(path, to)
        report = rig.report()
        check(first(report)["features"] is None, "features from outside")
    rig.link(features, "features")
    rig.lost(features, "oo many")
    rig.link("proc/sys/kernel/arch", "arch")
    rig.lost("proc/sys/kernel/arch", "oo many")
    rig.link("sys/kernel", "/sys/kernel")
    rig.report()
    rig.link(LINK, rig.base)
    check(first(rig.lost("base" if rig.base.endswith("base") else rig.base[1:], "is not there"))["name"] == "virtio0", "the name")
    rig.link(LINK, "a/" * 600)
    rig.lost(LINK, "leads too far")
    rig.link(LINK, "b" * 250 + "/" + "b" * 245)
    rig.lost(LINK, "leads too far")
    rig.link(LINK, "../../../../../../../..")
    rig.report()
    rig.link(LINK, "\x1b[2J")
    rig.lost(LINK, "to no name")


def absolute_links(rig):
    """A tree that was copied with absolute links means its own root by them."""
    rig.link(LINK, "/" + DEVICE)
    rig.link(DEVICE + "/driver", "/sys/bus/virtio/drivers/virtio_blk")
    rig.link(PARENT + "/iommu_group", "/sys/kernel/iommu_groups/4")
    report = rig.report()
    check(first(report)["path"]["name"] == "iommu-lazy" and first(report)["driver"] == "virtio_blk", "%s" % first(report))


def copied_without_links(rig):
    """cp -rL leaves no links: what follows from them is told as lost."""
    real = rig.at(DEVICE)
    shutil.copytree(real, rig.remove(LINK), symlinks=True)
    report = rig.lost(LINK, "copy the tree with its links")
    check(first(report)["iommu"]["mode"] == "unknown" and first(report)["path"]["name"] == "unknown", "%s" % first(report))


def many_devices(rig):
    """So many that not all are shown."""
    for n in range(5000):
        os.symlink("../../../" + DEVICE, rig.at("sys/bus/virtio/devices/virtio%d" % (n + 10)))
    report = rig.report()
    check(len(report["devices"]) == 256, "%d devices" % len(report["devices"]))
    check(len([n for n in report["not_read"] if n["file"] == "/sys/bus/virtio/devices"]) == 1, "nothing is said of the others")
    rig.put("sys/bus/virtio/devices/virtio0\x1b[2J", b"")
    rig.report()


def many_losses(rig):
    """More that could not be read than is told one by one."""
    for n in range(70):
        os.symlink("../../../devices/none%d" % n, rig.at("sys/bus/virtio/devices/virtio%d" % (n + 10)))
    report = rig.report()
    check(all(d["iommu"]["mode"] == "unknown" and d["parent"] is None for d in report["devices"][2:]), "what is not there has a place")
    check(len(report["not_read"]) == 64 and report["not_read_more"] > 6 and len(report["devices"]) == 72, "%d" % report["not_read_more"])


def no_list(rig):
    """Where the bus itself is broken there is no answer, but an error."""
    rig.put("sys/bus/virtio/devices", b"")
    rig.explain(status=1)


def recording(rig):
    """A tree whose links would lead a recorder out of its directory."""
    out = os.path.join(rig.base, "out")
    victim = os.path.join(rig.base, "victim")
    os.mkdir(victim)
    for to in (victim, "../../../../victim", "/" + DEVICE):
        shutil.rmtree(out, ignore_errors=True)
        rig.link(LINK, to)
        rig.link(PARENT + "/iommu_group", to)
        rig.link(DEVICE + "/driver", to)
        rig.explain("--record", out)
        check(not os.listdir(victim), "something was written outside")
    # another device's directory is reached by a link that was recorded before it
    shutil.rmtree(out, ignore_errors=True)
    rig.link(LINK, "../../../" + DEVICE[4:])
    rig.link(PARENT + "/iommu_group", victim)
    shutil.copytree(rig.at(DEVICE), os.path.join(rig.root, victim[1:], "x"), symlinks=True)
    rig.link("sys/bus/virtio/devices/virtio1", "../../../" + PARENT[4:] + "/iommu_group/x")
    report = json.loads(rig.explain("--record", out, "--json", status=1))
    check(not os.listdir(victim), "something was written outside")
    check(report["devices"][1]["features"], "the way inside the tree was not taken")


def log_without_end(rig):
    """What is kept of a log is what was there, and no newline more."""
    out = os.path.join(rig.base, "out")
    rig.put("dev/kmsg", b"5,0,0,-;by somebody\n6,1,2,-;else\n4,2,3,-;software IO TLB: No low mem")
    rig.explain("--record", out)
    with open(out + "/dev/kmsg", "rb") as f:
        check(f.read() == b"5,0,0,-;\n4,2,3,-;software IO TLB: No low mem", "the log is another")


def configurations(rig):
    """Chains of capabilities that loop, leave the space, or are cut."""
    config = bytearray(4096)
    for chain in (b"\x01\x00\x01\x10", b"\x01\x00\xf1\xff", b"\x01\x00\xc1\xff", b"\x0f\x00\x01\x00", b"\xff" * 4):
        config[256:260] = chain
        for length in (0, 3, 64, 256, 257, 260, 263, 4096):
            rig.put(PARENT + "/config", bytes(config[:length]))
            device = first(rig.report())
            check(device["path"]["name"] == "iommu-lazy" and (device["iommu"]["ats"] is None) == (length <= 64), "%s" % device["iommu"])


def no_memory(rig):
    """Where nothing tells how far memory reaches, a narrow mask decides nothing, and a wide one does."""
    rig.remove("proc/iomem")
    rig.remove("sys/devices/system/memory")
    rig.put("proc/cmdline", b"")
    report = rig.report()
    check(first(report)["path"]["name"] == "direct-or-bounce" and first(report)["policy"] is None, "%s" % first(report))
    rig.put("sys/devices/pci0000:00/0000:00:04.0/dma_mask_bits", b"64\n")
    report = rig.report()
    check(first(report)["path"]["name"] == "direct" and first(report)["policy"]["on"] == {}, "%s" % first(report))


def protected_with_own_pools(rig):
    """swiotlb=noforce takes the default pool away, not those of single devices."""
    rig.put("dev/kmsg", b"6,1,2,-;RME: Using RSI version 1.0\n")
    rig.put("proc/cmdline", b"swiotlb=noforce\n")
    report = rig.report()
    lacking = [f["devices"] for f in report["findings"] if f["id"] == "no-pool"]
    check([bool(d["policy"]["refused"]) for d in report["devices"]] == [False, True, False, True], "the policies differ")
    check(lacking == [["virtio1", "virtio3"]], "without a pool are %s" % lacking)


def device_trees(rig):
    """Cells and strings without end, and phandles that nobody has."""
    reserved, node = "sys/firmware/devicetree/base/reserved-memory/", "sys/firmware/devicetree/base/virtio_mmio@a000000/"
    for data in (b"", b"\0", b"\0\0\0\x21", b"\0\0\0\x21" * 5000, b"\xff" * 7, b"restricted-dma-pool", b"restricted-dma-pool" * 5000):
        for path in (node + "memory-region", reserved + "pool@50000000/phandle", reserved + "pool@50000000/compatible"):
            rig.put(path, data)
            rig.report()
    rig.link("sys/devices/platform/a000000.virtio_mmio/of_node", ".")
    rig.report()


def mutants(rig):
    """Anything at all done to any file."""
    kept = os.path.join(rig.base, "kept")
    dice = random.Random(20)
    names = sorted(name[:-5] for name in os.listdir(TREES) if name.endswith(".tree"))
    for n in range(MUTANTS):
        shutil.rmtree(kept, ignore_errors=True)
        with open(os.path.join(TREES, names[n % len(names)] + ".tree"), encoding="ascii") as f:
            tree.unpack(f.read(), kept)
        rig.root = kept
        paths = [os.path.relpath(os.path.join(d, x), kept) for d, _, files in os.walk(kept) for x in files]
        done = []
        for path in dice.sample(sorted(paths), min(len(paths), dice.randint(1, 12))):
            way = dice.randrange(6)
            done.append((path, way))
            if way == 0:
                rig.remove(path)
            elif way == 1:
                os.mkdir(rig.remove(path))
            elif way == 2:
                rig.link(path, dice.choice((".", "..", "/", rig.secret, "../../" * 20, os.path.basename(path), "/sys/devices", "")) or "x")
            elif way == 3:
                rig.put(path, dice.randbytes(dice.choice((0, 1, 7, 64, 5000))))
            elif way == 4:
                rig.put(path, bytes(dice.choice(b"01 \n\0:;,-=./()ABMxf\xff") for _ in range(dice.randrange(200))))
            elif not os.path.islink(rig.at(path)):
                with open(rig.at(path), "rb") as f:
                    data = f.read()
                rig.put(path, data[:dice.randrange(len(data) + 1)] * dice.choice((1, 1, 3000)))
        try:
            rig.report()
        except Exception as e:
            raise Wrong("mutant %d (%s): %s" % (n, done, e)) from e


CASES = (wrong_kinds, wrong_contents, shared_files, pools, big_files, links,
         absolute_links, copied_without_links, many_devices, many_losses, no_list,
         recording, log_without_end, configurations, device_trees, no_memory,
         protected_with_own_pools, mutants)
TREE = {device_trees: "arm64-restricted", protected_with_own_pools: "arm64-restricted", no_memory: "narrow"}


def main():
    print("TAP version 13\n1..%d" % len(CASES))
    bad = 0
    for n, case in enumerate(CASES, 1):
        with tempfile.TemporaryDirectory(dir=MEMORY) as base:
            try:
                case(Rig(base, TREE.get(case, "qemu-lazy")))
                print("ok %d - %s" % (n, case.__name__))
            except (Wrong, OSError, ValueError, IndexError, subprocess.SubprocessError) as e:
                bad += 1
                print("not ok %d - %s\n# %s" % (n, case.__name__, str(e).replace("\n", "\n# ")))
        sys.stdout.flush()
    return bad > 0


sys.exit(main())
