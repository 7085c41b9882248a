# SPDX-License-Identifier: BSD-2-Clause
"""The disk that a guest checks: an ext4 file system with a tree of real files and the list of their SHA-256 sums, made without
root. And the host's judgement of it afterwards."""
import fcntl
import glob
import hashlib
import os
import shutil
import subprocess
import tempfile

from peers import CACHE, Failure, expect

MIB = 1 << 20
SIZE = 224 * MIB
# (directory, bytes to take from it, its name in the tree)
SOURCES = (("/usr/include", 12 * MIB, "include"), ("/usr/share", 30 * MIB, "share"), ("/usr/lib", 22 * MIB, "lib"))
EDGES = (0, 1, 511, 512, 513, 4095, 4096, 4097, 65535, 65537, MIB + 1)


def real_files(top, limit):
    """Regular files under `top`, in a fixed order, up to so many bytes."""
    taken = 0
    for directory, below, names in os.walk(top):
        below.sort()
        for name in sorted(names):
            path = os.path.join(directory, name)
            if os.path.islink(path) or not os.path.isfile(path) or not os.access(path, os.R_OK) or "\\" in path or "\n" in path:
                continue
            size = os.path.getsize(path)
            if size > limit // 4:
                continue
            if taken + size > limit:
                return
            taken += size
            yield path


def sha256(path, length=None, offset=0):
    """Of a file, or of a part of it."""
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        f.seek(offset)
        left = length if length is not None else os.path.getsize(path)
        while left:
            block = f.read(min(left, MIB))
            if not block:
                break
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()


def make_tree(top):
    """Fills `top`/tree and writes `top`/tree.sha256."""
    tree = os.path.join(top, "tree")
    os.makedirs(os.path.join(tree, "edges"))
    for source, limit, name in SOURCES:
        for path in real_files(source, limit):
            to = os.path.join(tree, name, os.path.relpath(path, source))
            os.makedirs(os.path.dirname(to), exist_ok=True)
            shutil.copyfile(path, to)
    for size in EDGES:
        with open(os.path.join(tree, "edges", str(size)), "wb") as f:
            f.write(os.urandom(size))
    with open(os.path.join(top, "tree.sha256"), "w", encoding="utf-8") as out:
        for directory, _, names in os.walk(tree):
            for name in names:
                path = os.path.join(directory, name)
                out.write("%s  ./%s\n" % (sha256(path), os.path.relpath(path, tree)))


def tool(argv):
    environment = dict(os.environ, PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    try:
        return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
                              check=False)
    except FileNotFoundError:
        raise Failure("%s is not installed: sudo scripts/deps" % argv[0]) from None


def master():
    """The image that all scenarios' disks are copies of, made once."""
    os.makedirs(CACHE, exist_ok=True)
    with open(__file__, "rb") as f:
        path = os.path.join(CACHE, "disk-%s.img" % hashlib.sha256(f.read()).hexdigest()[:12])
    with open(os.path.join(CACHE, "disk.lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(path):
            return path
        for old in glob.glob(os.path.join(CACHE, "disk-*.img")):
            os.unlink(old)
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="tree.") as top:
            make_tree(top)
            half = path + ".half"
            with open(half, "wb") as f:
                f.truncate(SIZE)
            done = tool(["mke2fs", "-q", "-t", "ext4", "-F", "-E", "root_owner=0:0,lazy_itable_init=0", "-d", top, half])
            expect(done.returncode == 0, "mke2fs failed: %s" % done.stdout.decode())
            os.rename(half, path)
    return path


def block_of(disk, name):
    """Where in the image the last but one block of a file lies."""
    told = tool(["debugfs", "-R", "blocks " + name, disk.path]).stdout.decode().split()
    super_block = tool(["dumpe2fs", "-h", disk.path]).stdout.decode().splitlines()
    size = [int(line.split(":")[1]) for line in super_block if line.startswith("Block size:")]
    return [int(word) for word in told if word.isdigit()][-2] * size[0]


class Disk:
    """A scenario's own copy of the image."""

    def __init__(self, scenario, name="disk.img"):
        self.path = scenario.path(name)
        done = tool(["cp", "--sparse=always", master(), self.path])
        expect(done.returncode == 0, "copying the image failed: %s" % done.stdout.decode())
        os.chmod(self.path, 0o600)
        self.sum()

    def sum(self):
        """What a guest has to read at the disk's two ends, while nobody writes to it."""
        self.size = os.path.getsize(self.path)
        self.raw = sha256(self.path, 200 * 66048)
        self.end = sha256(self.path, 7 * 512, self.size - 7 * 512)

    def check(self, written=True):
        """Nothing for e2fsck to find, and what the guest says it wrote is in the image."""
        done = tool(["e2fsck", "-fn", self.path])
        expect(done.returncode == 0, "e2fsck found something:\n" + done.stdout.decode(errors="replace"))
        if written:
            self.check_written()

    def recover(self):
        """What mounting does after a crash, replay the journal: after that nothing may be wrong."""
        tool(["e2fsck", "-p", self.path])
        self.check(written=False)
        self.sum()

    def check_written(self):
        with tempfile.TemporaryDirectory(dir=os.path.dirname(self.path)) as out:
            tool(["debugfs", "-R", "rdump /written %s" % out, self.path])
            tool(["debugfs", "-R", "dump /written.sha256 %s/list" % out, self.path])
            expect(os.path.exists(out + "/list"), "the guest's list of what it wrote is not in the image")
            with open(out + "/list", encoding="utf-8") as f:
                entries = [line.rstrip("\n").split("  ", 1) for line in f]
            expect(len(entries) > 16, "the guest's list has only %d entries" % len(entries))
            for digest, name in entries:
                path = os.path.join(out, "written", name)
                expect(os.path.exists(path) and sha256(path) == digest, "%s is not what the guest wrote" % name)
