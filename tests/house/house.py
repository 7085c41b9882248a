# SPDX-License-Identifier: BSD-2-Clause
"""What the checks of the house share: the tree's files, and TAP. A check is a function from a root to a list of complaints."""
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOURCE = (".c", ".h", ".S", ".py", ".sh")


def tree(root):
    """Paths of the files under version control, or of all files where there is none (the checks' own tests)."""
    if os.path.exists(os.path.join(root, ".git")):
        out = subprocess.run(["git", "-C", root, "ls-files", "-z"], check=True, stdout=subprocess.PIPE).stdout.decode()
        return [p for p in out.split("\0") if p and os.path.isfile(os.path.join(root, p))]
    return [os.path.relpath(os.path.join(d, f), root) for d, _, names in os.walk(root) for f in names]


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as f:
        return f.read()


def made(files):
    """A temporary tree of {path: text}, to be used with `with`."""
    tmp = tempfile.TemporaryDirectory(prefix="viaduct-house-")
    for path, text in files.items():
        full = os.path.join(tmp.name, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as f:
            f.write(text)
    return tmp


def main(check, good, bad):
    """The tree passes; each tree of `good` passes; each tree of `bad` (what is wrong with it: files) is complained about."""
    points = [("the tree", check(ROOT))]
    for what, files in good.items():
        with made(files) as root:
            points.append((what, check(root)))
    for what, files in bad.items():
        with made(files) as root:
            points.append(("complains about " + what, [] if check(root) else ["nothing was found"]))
    print("TAP version 13")
    print("1..%d" % len(points))
    for n, (name, complaints) in enumerate(points, 1):
        print("%s %d - %s" % ("not ok" if complaints else "ok", n, name))
        for line in complaints:
            print("# " + line)
    sys.exit(1 if any(c for _, c in points) else 0)
