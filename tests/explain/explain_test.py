#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""viaduct explain over trees of other machines: each gives the text and the JSON that lie beside it. And its command line.

usage: explain_test.py VIADUCT [--write], which writes down what it says now, to be looked at before it is kept
"""
import glob
import json
import os
import re
import resource
import subprocess
import sys
import tempfile

import tree

VIADUCT = os.path.abspath(sys.argv[1])
TREES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "trees")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PATIENCE = 60
SECRET = "hunter2"  # a word of a command line that is nobody's business


class Wrong(Exception):
    pass


def check(truth, what):
    if not truth:
        raise Wrong(what)


def explain(*words, status=0, **more):
    done = subprocess.run([VIADUCT, "explain", *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False,
                          **more)
    said = done.stderr.decode()
    check(done.returncode == status, "explain %s: status %d, wanted %d: %s" % (" ".join(words), done.returncode, status, said))
    return done.stdout.decode("ascii"), said


def same(got, path):
    with open(path, encoding="ascii") as f:
        wanted = f.read()
    if got != wanted:
        lines, others = got.splitlines(), wanted.splitlines()
        n = next((i for i, pair in enumerate(zip(lines, others)) if pair[0] != pair[1]), min(len(lines), len(others)))
        raise Wrong("%s differs in line %d: '%s'" % (os.path.basename(path), n + 1, lines[n] if n < len(lines) else "the end"))


def machine(name, folder):
    """Text and JSON are those beside the tree, and a copy of the tree says the same."""
    with open(os.path.join(TREES, name + ".tree"), encoding="ascii") as f:
        tree.unpack(f.read(), folder)
    text, _ = explain("--root", folder)
    copy = folder + ".copy"
    report, _ = explain("--root", folder, "--json", "--record", copy)
    check(explain("--root", copy, "--json")[0] == report, "what was copied of the copy says something else")
    check(SECRET not in text + report + tree.pack(copy), "a secret got out")
    kept = {".txt": text, ".json": report}
    for end, got in kept.items():
        path = os.path.join(TREES, name + end)
        if "--write" in sys.argv and (end == ".txt" or os.path.exists(path)):
            with open(path, "w", encoding="ascii") as f:
                f.write(got)
        if end == ".txt" or os.path.exists(path):
            same(got, path)
    agree(text, json.loads(report))


def agree(text, report):
    """Both show the same, each in its way."""
    plain = " ".join(text.split())
    for device in report["devices"]:
        check("\n%s " % device["name"] in text, "the text lacks " + device["name"])
        check("path %s: %s" % (device["path"]["name"], device["path"]["why"]) in plain, "the text lacks the path of " + device["name"])
        check(", ".join(device["features"] or []) in plain, "the text lacks features of " + device["name"])
    for finding in report["findings"]:
        for part in ("what", "why", "change"):
            check(finding[part] in plain, "the text lacks: " + finding[part])
    for note in report["not_read"]:
        check("%s: %s." % (note["file"], note["why"]) in plain, "the text lacks what became of " + note["file"])


def misuse(folder):
    """What is wrong with the command line is said, and nothing is overwritten."""
    check("can't open the directory" in explain("--root", folder + "/none", status=1)[1], "no clear error")
    check("is not empty" in explain("--root", folder, "--record", TREES, status=1)[1], "no clear error")
    check("can't make the directory" in explain("--record", folder + "/none/copy", status=1)[1], "no clear error")
    check("can't write" in explain("--root", folder, "--json=" + folder, status=1)[1], "no clear error")
    check("/dev/full" in explain("--root", folder, "--json=/dev/full", status=1)[1], "no clear error")
    check("not an option" in explain("virtio0", status=2)[1], "no clear error")
    os.mkdir(folder + "/empty")
    check("no virtio devices" in explain("--root", folder + "/empty")[0], "an empty tree has devices")
    with open(folder + "/file", "w", encoding="ascii") as f:
        f.write("{")
    explain("--root", folder + "/empty", "--json=" + folder + "/file")
    with open(folder + "/file", encoding="ascii") as f:
        check(json.load(f)["devices"] == [], "the file holds something else")


def no_room(folder):
    """A copy that can't be written is an error; what was read is told all the same."""
    with open(os.path.join(TREES, "qemu-lazy.tree"), encoding="ascii") as f:
        tree.unpack(f.read(), folder)
    text, said = explain("--root", folder, "--record", folder + ".copy", status=1, restore_signals=False,
                         preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16)))
    check("can't write the copy of '/" in said and "No space left" in said, "no clear error: " + said)
    same(text, os.path.join(TREES, "qemu-lazy.txt"))


def documented(_):
    """docs/explain.md lists each finding with its severity, and no other."""
    with open(os.path.join(ROOT, "cli", "explain_findings.c"), encoding="ascii") as f:
        code = f.read()
    with open(os.path.join(ROOT, "docs", "explain.md"), encoding="utf-8") as f:
        rows = re.findall(r"^\| ([^|]*) \| (critical|warning|notice) \|", f.read(), re.M)
    told = {(name, severity) for names, severity in rows for name in re.findall(r"`([\w-]+)`", names)}
    there = {(name, severity.lower()) for name, severity in re.findall(r'\{"([\w-]+)",\s*VIA_SEVERITY_(\w+)', code)}
    there |= {("pool-full", "critical"), ("pool-was-full", "critical"), ("pool-near-full", "warning")} # of no device
    check(len(there) > 20 and all('"%s"' % name in code for name, _ in there), "the findings are written otherwise")
    check(told == there, "%s" % sorted(told ^ there))


def main():
    names = sorted(os.path.basename(path)[:-5] for path in glob.glob(TREES + "/*.tree"))
    tests = [(name, lambda folder, name=name: machine(name, folder)) for name in names]
    tests += [("misuse", misuse), ("no room", no_room), ("documented", documented)]
    print("TAP version 13\n1..%d" % len(tests))
    bad = 0
    for n, (name, run) in enumerate(tests, 1):
        with tempfile.TemporaryDirectory() as base:
            folder = os.path.join(base, "tree")
            os.mkdir(folder)
            try:
                run(folder)
                print("ok %d - %s" % (n, name))
            except (Wrong, OSError, ValueError, subprocess.SubprocessError) as e:
                bad += 1
                print("not ok %d - %s\n# %s" % (n, name, str(e).replace("\n", "\n# ")))
    return bad > 0


sys.exit(main())
