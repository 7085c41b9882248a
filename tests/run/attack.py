#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A hostile back-end, or an attacker in its place, against each way to reach memory: what it reads, what it overwrites, and for how long.
The table in docs/threats.md is what this program prints; a figure that varies is held against its bound, the rest has to be the same.

usage: attack.py VIADUCT VIADUCT-HOSTILE ATTACK-MODEL THREATS.MD [--write]
"""
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time

VIADUCT, HOSTILE, MODEL = (os.path.abspath(p) for p in sys.argv[1:4])
THREATS = os.path.abspath(sys.argv[4])
WRITE = sys.argv[5:] == ["--write"]
BEGIN, END = "<!-- the table of tests/run/attack.py begins -->\n", "<!-- and ends -->\n"
SIZE = 4 << 20
PATIENCE = 60

# By drive's options; a way that is a model's stands with None.
WAYS = {
    "direct": ["--dma=direct"],
    "window": ["--dma=window"],
    "encrypt": None,
    "bounce, one pool for several": ["--dma=bounce", "--pool=global"],
    "bounce, a pool of its own": ["--dma=bounce"],
    "memory of the device's": ["--dma=device"],
    "iommu strict": ["--dma=iommu-strict"],
    "iommu lazy": ["--dma=iommu-lazy"],
    "hybrid strict": ["--dma=hybrid-strict"],
    "hybrid lazy": ["--dma=hybrid-lazy"],
    "guard": ["--dma=direct"],
}

# What has to come out: is private memory read, overwritten, is another device's data read?
PROMISES = {
    "direct": (True, True, True),
    "window": (True, True, True),
    "encrypt": (False, False, True),
    "bounce, one pool for several": (False, False, True),
    "bounce, a pool of its own": (False, False, False),
    "memory of the device's": (False, False, False),
    "iommu strict": (True, True, True),
    "iommu lazy": (True, True, True),
    "hybrid strict": (True, True, True),
    "hybrid lazy": (True, True, True),
    "guard": (False, False, False),
}
HEAD = ("way", "private memory that it can map", "private bytes read", "private bytes overwritten", "another device's bytes read",
        "after a request, through an honest IOMMU", "isolation")


class Wrong(Exception):
    pass


def check(truth, what):
    if not truth:
        raise Wrong(what)


def started(command, socket, **more):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **more)
    deadline = time.monotonic() + PATIENCE
    while not os.path.exists(socket):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise Wrong(f"{command[0]} does not listen")
        time.sleep(0.01)
    return process


def attacked(folder, way, options):
    """Read the disk from the hostile back-end. What it found, and what drive saw of it."""
    name = re.sub(r"\W", "-", way)
    back, front, canaries, report, image = (os.path.join(folder, f"{name}.{end}") for end in ("back", "front", "canaries", "json", "img"))
    data = random.Random(1).randbytes(SIZE)
    with open(image, "wb") as f:
        f.write(data)
    guard = None
    hostile = started([HOSTILE, f"--socket-path={back}", f"--blk-file={image}", f"--canaries={canaries}", "--overwrite",
                       *["--own-memory"] * ("--dma=device" in options)], back,
                      stdout=subprocess.PIPE)
    try:
        if way == "guard":
            guard = started([VIADUCT, "guard", f"--front={front}", f"--back={back}"], front)
        done = subprocess.run([VIADUCT, "drive", *options, "--probe=16", f"--canary-out={canaries}", f"--json={report}",
                               f"--backend-pid={hostile.pid}", front if guard else back, "out", "-"],
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)
        check(done.returncode == 0, f"{way}: drive: {done.stderr.decode()}")
        check(done.stdout == data, f"{way}: other bytes arrived than the disk holds")
        found = json.loads(hostile.communicate(timeout=PATIENCE)[0])
    finally:
        for process in filter(None, (guard, hostile)):
            process.kill()
            process.wait()
    with open(report) as f:
        seen = json.load(f)
    check(found["armed"] and found["bytes_scanned"] > 0, f"{way}: it did not attack")
    return found, seen


def window(model, way):
    """What an honest IOMMU still lets through when a request has ended; only its driver's mode matters, so hybrid's is iommu's."""
    if not way.startswith(("iommu", "hybrid")):
        return "-"
    got = model["iommu-" + way.split()[1]]
    touched = got["next_owner_bytes_read"], got["next_owner_bytes_overwritten"]
    if way.endswith("strict"):
        check(got["worked_ms"] == 0 and touched == (0, 0), f"{way}: a page was reached after its unmap: {got}")
        return "nothing"
    check(got["worked_ms"] <= got["bound_ms"], f"{way}: {got['worked_ms']} ms are more than {got['bound_ms']}, the window and a tick")
    check(got["worked_ms"] >= got["window_ms"] / 2 and min(touched) > 0, f"{way}: the attack did not work where it can: {got}")
    return f"its pages, read and written, for {got['worked_ms']:.1f} ms (bound: {got['window_ms']:.0f} ms and a tick)"


def encrypt_row(model):
    got = model["encrypt"]
    check(not got["private_address_given"], "encrypt: the address of a private page was given away")
    check(got["bytes_read"] >= got["shared_bytes"], "encrypt: the attack does not even find what is shared")
    read = got["bytes_read"] > got["shared_bytes"] or got["taken_back_bytes_read"] > 0
    overwritten = got["private_bytes_overwritten"] + got["taken_back_bytes_overwritten"] > 0
    return "none", (read, overwritten, got["bytes_read"] > 0)  # what is shared is so for all devices


def row(folder, model, way):
    if WAYS[way] is None:
        reach, outcome = encrypt_row(model)
    else:
        found, seen = attacked(folder, way, WAYS[way])
        probe, reached = seen["probe"], seen["reach"]
        check(reached, f"{way}: the back-end's mappings could not be inspected")
        part, whole = reached["reachable_bytes"], reached["driver_bytes_total"]
        reach = "none" if part == 0 else "all" if part == whole else "some"
        overwritten = any(probe[what] for what in ("secret_bytes_changed", "guard_bytes_damaged", "unwritten_bytes_changed"))
        outcome = found["found"]["driver_private"], overwritten, found["found"]["other_device"]
    promise = dict(zip(("private bytes read", "private bytes overwritten", "another device's bytes read"), zip(outcome, PROMISES[way])))
    for what, (is_so, promised) in promise.items():
        check(is_so == promised, f"{way}: {what}: {is_so}, promised is {promised}")
    check((reach != "none") == outcome[0], f"{way}: {reach} of private memory can be mapped, but read is {outcome[0]}")
    isolation = "advisory" if outcome[0] or outcome[1] else "enforced; advisory among devices that share" if outcome[2] else "enforced"
    return (way, reach, *("yes" if o else "no" for o in outcome), window(model, way), isolation)


def text(rows):
    lines = [HEAD, tuple("---" for _ in HEAD), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def stable(table):
    return re.sub(r"for [0-9.]+ ms \(", "for N ms (", table)


def committed():
    with open(THREATS) as f:
        page = f.read()
    check(BEGIN in page and END in page, f"{THREATS} has no place for the table")
    before, rest = page.split(BEGIN)
    table, after = rest.split(END)
    return before, table, after


def compare(table):
    before, there, after = committed()
    if WRITE:
        with open(THREATS, "w") as f:
            f.write(before + BEGIN + table + END + after)
        return
    check(stable(there) == stable(table), f"the table of {THREATS} is another one; this run's:\n{table}")


def main():
    os.umask(0o022)
    bad, rows = 0, []
    model = json.loads(subprocess.run([MODEL], stdout=subprocess.PIPE, timeout=PATIENCE, check=True).stdout)
    print(f"TAP version 14\n1..{len(WAYS) + 1}", flush=True)

    def point(number, name, test):
        try:
            test()
            print(f"ok {number} - {name}", flush=True)
            return 0
        except (Wrong, OSError, ValueError, subprocess.SubprocessError) as problem:
            print("".join(f"# {line}\n" for line in str(problem).splitlines()) + f"not ok {number} - {name}", flush=True)
            return 1

    with tempfile.TemporaryDirectory(prefix="viaduct-attack-") as folder:
        os.chmod(folder, 0o755)  # the hostile back-end runs as nobody
        for n, way in enumerate(WAYS, 1):
            bad += point(n, f"attack: {way}", lambda way=way: rows.append(row(folder, model, way)))
    bad += point(len(WAYS) + 1, "docs/threats.md has the table", lambda: compare(text(rows)))
    return 1 if bad else 0


sys.exit(main())
