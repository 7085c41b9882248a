#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A copied tree of /sys and /proc as one text file, to be read, changed by hand and kept.

usage: tree.py pack DIR > NAME.tree, tree.py unpack NAME.tree DIR

A line is `PATH/` for an empty directory, `PATH -> TARGET` for a link, `PATH = "TEXT"` with JSON's escapes, `PATH = bytes LENGTH
OFFSET:HEX...` for what is no text and zero elsewhere, or begins with # and says where the tree comes from.
"""
import json
import os
import re
import sys


def content(data):
    try:
        text = data.decode("ascii")
        if "\0" not in text:
            return json.dumps(text)
    except UnicodeDecodeError:
        pass
    runs = ["%d:%s" % (m.start(), m.group().hex()) for m in re.finditer(rb"(?:[^\0]\0{0,2})*[^\0]", data)]
    return " ".join(["bytes", str(len(data))] + runs)


def pack(root):
    lines = []
    for folder, names, files in sorted(os.walk(root)):
        here = os.path.relpath(folder, root)
        for name in sorted(names + files):
            full, path = os.path.join(folder, name), os.path.normpath(os.path.join(here, name))
            if os.path.islink(full):
                lines.append("%s -> %s" % (path, os.readlink(full)))
            elif os.path.isdir(full):
                if not os.listdir(full):
                    lines.append(path + "/")
            else:
                with open(full, "rb") as f:
                    lines.append("%s = %s" % (path, content(f.read())))
    return "\n".join(sorted(lines)) + "\n"


def bytes_of(text):
    if not text.startswith("bytes "):
        return json.loads(text).encode("latin-1")
    length, *runs = text.split()[1:]
    data = bytearray(int(length))
    for run in runs:
        offset, digits = run.split(":")
        part = bytes.fromhex(digits)
        data[int(offset):int(offset) + len(part)] = part
    return bytes(data)


def unpack(text, root):
    for line in text.splitlines():
        if not line or line[0] == "#":
            continue
        match = re.fullmatch(r"(\S+)(?: (->|=) (.*)|/)", line)
        path, kind, rest = match.group(1).rstrip("/"), match.group(2), match.group(3)
        full = os.path.join(root, path)
        os.makedirs(full if not kind else os.path.dirname(full), exist_ok=True)
        if kind == "->":
            os.symlink(rest, full)
        elif kind == "=":
            with open(full, "wb") as f:
                f.write(bytes_of(rest))


if __name__ == "__main__":
    if sys.argv[1] == "pack":
        sys.stdout.write(pack(sys.argv[2]))
    else:
        with open(sys.argv[2], encoding="utf-8") as tree:
            unpack(tree.read(), sys.argv[3])
