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

from bus import PLAIN, check_bus
from peers import CACHE, Child, Failure, expect

HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = ("virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk")
ALL_STEPS = ("modules", "disk", "raw-read", "mount", "tree", "write-odd", "write-direct", "write-many", "list", "unmount", "mount-again",
             "reread", "reread-trimmed", "unmount-again")
STEPS = {"verify": ALL_STEPS, "brief": ALL_STEPS, "flush": ("modules", "disk", "mount", "flush", "unmount")}
MEMORY = "memory-backend-memfd"  # how the guest's memory is called in a process that has it mapped


def kernel(script="kernel.sh"):
    """The kernel's directory: Debian's, or the one that another script makes."""
    done = subprocess.run(["sh", os.path.join(HERE, script), CACHE], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
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


def with_libraries(program):
    """A program of ours and what it loads, as (name, path)."""
    told = subprocess.run(["ldd", program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True).stdout.decode()
    libraries = [word for word in told.split() if word.startswith("/")]
    return tuple([("bin/" + os.path.basename(program), program)] + [(path[1:], path) for path in libraries])


def initramfs(kernel_dir, modules=MODULES, more=()):
    """Path of the initial file system, made when its parts have changed. more: files beyond the usual ones, as (name, path)."""
    busybox = shutil.which("busybox")
    expect(busybox, "busybox is not installed: sudo scripts/deps")
    files = [("init", os.path.join(HERE, "init.sh")), ("bin/busybox", busybox)]
    for module in modules:
        found = glob.glob("%s/lib/modules/*/kernel/drivers/**/%s.ko" % (kernel_dir, module), recursive=True)
        expect(found, "the kernel has no module %s" % module)
        files.append(("modules/%s.ko" % module, found[0]))
    files += more
    folders = {"bin", "modules", "dev"}
    for name, _ in more:
        while (name := os.path.dirname(name)):
            folders.add(name)
    entries = [(name, 0o040755, (0, 0), b"") for name in sorted(folders)]
    entries.append(("dev/console", 0o020600, (5, 1), b""))
    for name, path in files:
        with open(path, "rb") as f:
            entries.append((name, 0o100755, (0, 0), f.read()))
    data = archive(entries)
    kind = "initramfs-" + os.path.basename(kernel_dir) + ("-more" if more else "")
    path = os.path.join(CACHE, "%s-%s.gz" % (kind, hashlib.sha256(data).hexdigest()[:12]))
    with open(os.path.join(CACHE, "initramfs.lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path):
            for old in glob.glob(os.path.join(CACHE, kind + "-[0-9a-f]*.gz")):
                os.unlink(old)
            with open(path + ".half", "wb") as f:
                f.write(gzip.compress(data, 1))
            os.rename(path + ".half", path)
    return path


def boot_files(bus=PLAIN, more=()):
    """Paths of the kernel and of the initial file system that belong to this bus."""
    kernel_dir = kernel("small_kernel.sh" if bus.small else "kernel.sh")
    return glob.glob(kernel_dir + "/boot/vmlinuz-*")[0], initramfs(kernel_dir, () if bus.small else MODULES, more)


def command_line(mode, bus=PLAIN):
    return " ".join(("console=ttyS0 quiet panic=-1 no_timer_check via.mode=" + mode, bus.words)).strip()


def vhost_user(socket, queues=1):
    """QEMU's options for a disk whose back-end listens at this socket; the last one takes the bus' properties."""
    return ["-chardev", "socket,id=c0,path=" + socket, "-device", "vhost-user-blk-pci,chardev=c0,num-queues=%d" % queues]


def in_process(image):
    """The same for a disk that QEMU serves itself."""
    return ["-drive", "if=none,id=d0,format=raw,discard=unmap,file=" + image, "-device", "virtio-blk-pci,drive=d0,serial=qemu,num-queues=1"]


class Guest(Child):
    def __init__(self, scenario, socket, name="guest", mode="verify", queues=1, cpus=1, megabytes=256, bus=PLAIN, drive=None, more=()):
        self.scenario, self.queues, self.bus, self.mode = scenario, queues, bus, mode
        path = scenario.path("%s.%d." % (name, len(scenario.children)))
        self.trace = path + "trace"
        argv = [
            scenario.program("qemu-system-x86_64"), "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "qemu64", "-smp", str(cpus),
            "-m", str(megabytes), "-object", "memory-backend-memfd,id=m,size=%dM,share=on" % megabytes, "-machine", "memory-backend=m",
            "-nographic", "-nodefaults", "-serial", "stdio", "-no-reboot"] + list(bus.machine)
        drive = drive or vhost_user(socket, queues)
        if bus.firmware:
            argv += drive[:-1] + [drive[-1] + bus.properties + ",bootindex=1"]
        else:
            image, files = boot_files(bus, more)
            argv += drive[:-1] + [drive[-1] + bus.properties, "-kernel", image, "-initrd", files, "-append", command_line(mode, bus)]
        for event in bus.trace:
            argv += ["-trace", event, "-D", self.trace]
        super().__init__(name, argv, path + "log")
        scenario.children.append(self)

    def events(self, text):
        """Those of the noted events that contain this."""
        with open(self.trace, encoding="utf-8", errors="replace") as f:
            return [line for line in f if text in line]

    def said(self):
        """What init.sh told: a list of (word, rest)."""
        lines = [line[line.index("VIADUCT "):].split(None, 2)[1:] for line in self.output().splitlines() if "VIADUCT " in line]
        return [(words[0], words[1] if len(words) > 1 else "") for words in lines if words]

    def values(self, name):
        """All that the guest told under this name."""
        values = [rest.split(None, 1) for word, rest in self.said() if word == "is"]
        return [v[1].strip() if len(v) > 1 else "" for v in values if v and v[0] == name]

    def value(self, name):
        """The last of them, None if it told none."""
        return (self.values(name) or [None])[-1]

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
        missing = [step for step in STEPS[self.mode] if step not in passed]
        if missing:
            raise Failure("the guest did not pass: " + ", ".join(missing))
        expect(self.value("sectors") == str(disk.size // 512), "the guest saw %s sectors" % self.value("sectors"))
        expect(self.value("queues") == str(self.queues), "the guest saw %s queues, not %d" % (self.value("queues"), self.queues))
        check_bus(self, self.bus)
        if self.mode != "flush":
            expect(self.value("raw") == disk.raw, "the guest read other bytes from the disk's beginning than it has")
            expect(self.value("end") == disk.end, "the guest read other bytes from the disk's end than it has")
        disk.check(written=self.mode != "flush")
