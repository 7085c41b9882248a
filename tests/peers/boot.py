# SPDX-License-Identifier: BSD-2-Clause
"""A disk that the firmware can boot Linux from: boot.S in the sector that ext4 leaves alone, and behind the file system the parts
that it loads."""
import os
import struct

from peers import expect

HERE = os.path.dirname(os.path.abspath(__file__))
SECTOR = 512
PIECE = 64 * SECTOR
PARTS_AT = 400  # in boot.S
SETUP, WORDS, KERNEL, INITRD = 0x90000, 0x20000, 0x100000, 0x8000000  # where to
HEAP_END = 0xe000 - 0x200


def boot_sector(scenario):
    """boot.S, assembled."""
    item, out = scenario.path("boot.o"), scenario.path("boot.bin")
    scenario.run(["as", "--32", "-o", item, os.path.join(HERE, "boot.S")])
    scenario.run(["ld", "-m", "elf_i386", "--oformat=binary", "-Ttext=0x7c00", "-o", out, item])
    with open(out, "rb") as f:
        code = f.read()
    expect(len(code) == SECTOR, "the boot sector has %d bytes" % len(code))
    return code


def setup_and_rest(image, initrd_size):
    """A bzImage's two parts, and in the first what a boot loader has to fill in."""
    size = ((image[0x1f1] or 4) + 1) * SECTOR
    expect(image[0x202:0x206] == b"HdrS" and size <= PIECE, "the kernel is no bzImage that boot.S can load")
    setup = bytearray(image[:size])
    setup[0x210] = 0xff  # a boot loader without a number
    setup[0x211] |= 0x80  # there is a heap
    struct.pack_into("<H", setup, 0x224, HEAP_END)
    struct.pack_into("<II", setup, 0x218, INITRD, initrd_size)
    struct.pack_into("<I", setup, 0x228, WORDS)
    return bytes(setup), image[size:]


def make_bootable(scenario, disk, kernel, initrd, words):
    """Lets the disk boot this kernel with these words on its command line. The disk grows."""
    with open(kernel, "rb") as f:
        image = f.read()
    with open(initrd, "rb") as f:
        files = f.read()
    setup, rest = setup_and_rest(image, len(files))
    code = bytearray(boot_sector(scenario))
    with open(disk.path, "r+b") as f:
        sector = f.seek(0, os.SEEK_END) // SECTOR
        for n, (part, to) in enumerate(((setup, SETUP), (words.encode() + b"\0", WORDS), (rest, KERNEL), (files, INITRD))):
            pieces = -(-len(part) // PIECE)
            struct.pack_into("<IHI", code, PARTS_AT + 10 * n, sector, pieces, to)
            f.seek(sector * SECTOR)
            f.write(part + b"\0" * (pieces * PIECE - len(part)))
            sector += pieces * PIECE // SECTOR
        f.seek(0)
        f.write(code)
    disk.sum()
