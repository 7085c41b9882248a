#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""docs/virtio-iommu.md lists each normative statement of the IOMMU device once, with tests that exist or why there is none."""
import os
import re

import house

DOCUMENT = "docs/virtio-iommu.md"
# How many statements each clause has, driver's and device's.
CLAUSES = {
    "drv": (1, 4, 2, 5, 4, 1, 7, 6, 6, 3, 4),
    "dev": (3, 6, 6, 12, 4, 7, 7, 10, 5, 6),
}
IDS = ["iommu.%s.%02d.%02d" % (side, clause, n) for side, counts in CLAUSES.items()
       for clause, count in enumerate(counts, 1) for n in range(1, count + 1)]
ROW = re.compile(r"^\| (iommu\.[\w.]+) \| (.*) \|$", re.M)
TESTS = re.compile(r"`([\w./-]+\.c):(\w+)`")
REASON = re.compile(r"not applicable: \w.*")


def tests_of(root, path):
    """Names that a program of tests lists for TAP; None: there is no such program."""
    if not os.path.isfile(os.path.join(root, path)):
        return None
    return set(re.findall(r"\bTEST\((\w+)\)", house.read(root, path)))


def check(root):
    if not os.path.isfile(os.path.join(root, DOCUMENT)):
        return [DOCUMENT + " is not there"]
    rows = ROW.findall(house.read(root, DOCUMENT))
    said = [statement for statement, _ in rows]
    complaints = ["%s is missing" % i for i in IDS if i not in said]
    complaints += ["%s is no statement" % i for i in said if i not in IDS]
    complaints += ["%s is there twice" % i for i in sorted(set(said)) if said.count(i) > 1]
    for statement, shown in rows:
        tests = TESTS.findall(shown)
        if not tests and not REASON.fullmatch(shown):
            complaints.append("%s names neither a test nor a reason" % statement)
        for path, name in tests:
            known = tests_of(root, path)
            if known is None:
                complaints.append("%s names %s, which is not there" % (statement, path))
            elif name not in known:
                complaints.append("%s names %s, which is no test of %s" % (statement, name, path))
    return complaints


def table(change=None, drop=None, more=()):
    rows = {i: "`tests/x_test.c:one`" for i in IDS}
    rows.update(change or {})
    rows.pop(drop, None)
    return "".join("| %s | %s |\n" % row for row in list(rows.items()) + list(more))


PROGRAM = "static void one(void) {}\nstatic void two(void) {}\nTAP_MAIN(TEST(one))\n"
FIRST = IDS[0]


def made(text):
    return {"tests/x_test.c": PROGRAM, DOCUMENT: text}


GOOD = {
    "all with tests": made(table()),
    "a reason": made(table({FIRST: "not applicable: there is no such thing"})),
    "several tests": made(table({FIRST: "`tests/x_test.c:one`, `tests/x_test.c:one`"})),
}
BAD = {
    "a statement that is missing": made(table(drop=FIRST)),
    "a statement that there is not": made(table(more=[("iommu.drv.12.01", "`tests/x_test.c:one`")])),
    "a statement told twice": made(table(more=[(FIRST, "`tests/x_test.c:one`")])),
    "a program that is not there": made(table({FIRST: "`tests/y_test.c:one`"})),
    "a function that is no test": made(table({FIRST: "`tests/x_test.c:two`"})),
    "a test among others that is not there": made(table({FIRST: "`tests/x_test.c:one`, `tests/x_test.c:three`"})),
    "neither test nor reason": made(table({FIRST: "later"})),
    "a reason that says nothing": made(table({FIRST: "not applicable: "})),
    "a document that is not there": {"tests/x_test.c": PROGRAM},
}

if __name__ == "__main__":
    house.main(check, GOOD, BAD)
