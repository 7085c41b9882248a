# SPDX-License-Identifier: BSD-2-Clause
"""A virtual machine: QEMU without hardware help, Debian's kernel, and an initial file system of busybox and init.sh."""
import fcntl
import glob
import gzip
import hashlib
import os
import shutil
import subprocess
import time

from disk import SIZE
from peers import CACHE, Child, Failure, expect

HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = ("virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk")
STEPS = ("modules", "disk", "raw-read", "mount", "tree", "write-odd", "write-direct", "write-many", "list", "unmount", "mount-again",
         "reread", "reread-trimmed", "unmount-again")
MEMORY = "memory-backend-memfd"  # how the guest's memory is called in a process that has it mapped


def kernel():
    """The kernel's directory."""
    done = subprocess.run(["sh", os.path.join(HERE, "kernel.sh"), CACHE], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    expect(done.returncode == 0, "there is no kernel for the guest: " + done.stderr.decode())
    return done.stdout.decode().strip()


def archive(entries):
    """A cpio archive ("newc") of (name, mode, device, content)."""
    out = bytearray()
    for inode, (name, mode, device, content) in enumerate(list(entries) + [("TRAILER!!!", 0, (0, 0), b"")], 1):
        fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0) + device + (len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
        out += b"\0" * (-len(out) % 4)
        out += content
        out += b"\0" * (-len(out) % 4)
    return bytes(out)


def initramfs(kernel_dir):
    """Path of the initial file system, made when its parts have changed."""
    busybox = shutil.which("busybox")
    expect(busybox, "busybox is not installed: sudo scripts/deps")
    files = [("init", os.path.join(HERE, "init.sh")), ("bin/busybox", busybox)]
    for module in MODULES:
        found = glob.glob("%s/lib/modules/*/kernel/drivers/**/%s.ko" % (kernel_dir, module), recursive=True)
        expect(found, "the kernel has no module %s" % module)
        files.append(("modules/%s.ko" % module, found[0]))
    entries = [(name, 0o040755, (0, 0), b"") for name in ("bin", "modules", "dev")]
    entries.append(("dev/console", 0o020600, (5, 1), b""))
    for name, path in files:
        with open(path, "rb") as f:
            entries.append((name, 0o100755, (0, 0), f.read()))
    data = archive(entries)
    path = os.path.join(CACHE, "initramfs-%s.gz" % hashlib.sha256(data).hexdigest()[:12])
    with open(os.path.join(CACHE, "initramfs.lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path):
            for old in glob.glob(os.path.join(CACHE, "initramfs-*.gz")):
                os.unlink(old)
            with open(path + ".half", "wb") as f:
                f.write(gzip.compress(data, 1))
            os.rename(path + ".half", path)
    return path


class Guest(Child):
    def __init__(self, scenario, socket, name="guest", mode="verify", queues=1, cpus=1, megabytes=256):
        kernel_dir = kernel()
        self.scenario = scenario
        self.queues = queues
        argv = [
            scenario.program("qemu-system-x86_64"), "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "qemu64", "-smp", str(cpus),
            "-m", str(megabytes), "-object", "memory-backend-memfd,id=m,size=%dM,share=on" % megabytes, "-machine", "memory-backend=m",
            "-nographic", "-nodefaults", "-serial", "stdio", "-no-reboot",
            "-kernel", glob.glob(kernel_dir + "/boot/vmlinuz-*")[0], "-initrd", initramfs(kernel_dir),
            "-append", "console=ttyS0 quiet panic=-1 via.mode=" + mode,
            "-chardev", "socket,id=c0,path=" + socket, "-device", "vhost-user-blk-pci,chardev=c0,num-queues=%d" % queues]
        super().__init__(name, argv, scenario.path("%s.%d.log" % (name, len(scenario.children))))
        scenario.children.append(self)

    def said(self):
        """What init.sh told: a list of (word, rest)."""
        lines = [line[line.index("VIADUCT "):].split(None, 2)[1:] for line in self.output().splitlines() if "VIADUCT " in line]
        return [(words[0], words[1] if len(words) > 1 else "") for words in lines if words]

    def value(self, name):
        """The last value that the guest told under this name, None if it told none."""
        values = [rest.split(None, 1) for word, rest in self.said() if word == "is"]
        values = [v[1] if len(v) > 1 else "" for v in values if v and v[0] == name]
        return values[-1].strip() if values else None

    def until_said(self, word, rest, seconds, *others):
        self.scenario.until(lambda: (word, rest) in self.said(), seconds, "'%s %s' from %s" % (word, rest, self.name), self, *others)

    def until_round(self, n, seconds, *others):
        """In mode load: n files are written."""
        self.scenario.until(lambda: int(self.value("round") or 0) >= n, seconds, "round %d of %s" % (n, self.name), self, *others)

    def verdict(self, disk, seconds=150):
        """Waits for the guest's end; all that it checked was right, and the host finds the same."""
        end = time.monotonic() + seconds
        while self.alive() and not any(word == "fail" for word, _ in self.said()):
            expect(time.monotonic() < end, "the guest did not end within %g s" % seconds)
            time.sleep(0.05)
        failures = [rest for word, rest in self.said() if word == "fail"]
        expect(not failures, "the guest's step '%s' failed" % "".join(failures[:1]))
        status = self.wait(20, "power off")
        expect(status == 0, "QEMU ended with status %d" % status)
        passed = [rest for word, rest in self.said() if word == "ok"]
        missing = [step for step in STEPS if step not in passed]
        if missing:
            raise Failure("the guest did not pass: " + ", ".join(missing))
        expect(self.value("sectors") == str(SIZE // 512), "the guest saw %s sectors" % self.value("sectors"))
        expect(self.value("queues") == str(self.queues), "the guest saw %s queues, not %d" % (self.value("queues"), self.queues))
        expect(self.value("raw") == disk.raw, "the guest read other bytes from the disk's beginning than it has")
        expect(self.value("end") == disk.end, "the guest read other bytes from the disk's end than it has")
        disk.check()
