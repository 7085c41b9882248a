# SPDX-License-Identifier: BSD-2-Clause
"""A front-end and its guest's block driver, of struct.pack and memory alone: what it says and sees are the very bytes.

Written from the specifications, and with nothing of viaduct's in it. One queue, one request at a time, polled.
"""
import array
import mmap
import os
import socket
import struct
import time

VERSION_1, ACCESS_PLATFORM, PROTOCOL_FEATURES = 1 << 32, 1 << 33, 1 << 30
INDIRECT, FLUSH, DISCARD, WRITE_ZEROES = 1 << 28, 1 << 9, 1 << 13, 1 << 14
(GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE, SET_NUM, SET_ADDR, SET_BASE, GET_BASE, SET_KICK, SET_CALL, GET_PROTOCOL,
 SET_PROTOCOL, GET_QUEUE_NUM, SET_ENABLE, SET_BACKEND_REQ_FD, IOTLB_MSG, SET_ENDIAN, GET_CONFIG, ADD_MEM_REG, SET_STATUS,
 GET_STATUS) = (1, 2, 3, 5, 8, 9, 10, 11, 12, 13, 15, 16, 17, 18, 21, 22, 23, 24, 37, 39, 40)
MQ, REPLY_ACK, BACKEND_REQ, CROSS_ENDIAN, CONFIG, MEM_SLOTS, STATUS = (1 << bit for bit in (0, 3, 5, 6, 9, 15, 16))
IN, OUT, T_FLUSH, GET_ID, T_DISCARD, T_ZEROES = 0, 1, 4, 8, 11, 13
NEXT, WRITE = 1, 2
PATIENCE = 30  # seconds
MEMORY = 1 << 20
PAGE = 4096
RING, HEAD, STATUS_AT, DATA = 0, 0x10000, 0x10800, 0x20000  # where things are in the guest's memory


class Refused(Exception):
    """The back-end said no, or closed the connection."""


class Wire:
    """The connection. physical: where the guest's memory begins; user: the same for the front-end."""

    def __init__(self, path, regions=1, slots=False, physical=0, user=0x7F0000000000):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self.sock.connect(path)
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
        self.regions, self.slots, self.physical, self.user = regions, slots, physical, user
        self.fd = os.memfd_create("guest")
        os.ftruncate(self.fd, MEMORY)
        self.mem = mmap.mmap(self.fd, MEMORY)
        self.channel = None
        self.protocol = 0

    def close(self):
        self.sock.close()
        if self.channel:
            self.channel.close()
        self.mem.close()
        os.close(self.fd)

    def send(self, request, payload, fds=(), need_reply=False):
        head = struct.pack("<III", request, 1 | (8 if need_reply else 0), len(payload))
        more = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self.sock.sendmsg([head + payload], more)
        except (BrokenPipeError, ConnectionResetError) as why:
            raise Refused(f"request {request}: {why}") from why

    def receive(self, request):
        data = b""
        while len(data) < 12 or len(data) < 12 + struct.unpack_from("<I", data, 8)[0]:
            try:
                more = self.sock.recv(4096)
            except ConnectionResetError:
                more = b""
            if not more:
                raise Refused(f"request {request}: the connection was closed")
            data += more
        got = struct.unpack_from("<I", data)[0]
        if got != request:
            raise Refused(f"request {request}: an answer to {got}")
        return data[12:]

    def ask(self, request, payload=b""):
        self.send(request, payload)
        return self.receive(request)

    def tell(self, request, payload, fds=()):
        ack = bool(self.protocol & REPLY_ACK)
        self.send(request, payload, fds, ack)
        if ack and struct.unpack("<Q", self.receive(request))[0]:
            raise Refused(f"request {request} failed")

    def number(self, request):
        return struct.unpack("<Q", self.ask(request))[0]

    def offer(self, want_protocol):
        """The features offered; of the protocol's, what is wanted is accepted."""
        offered = self.number(GET_FEATURES)
        if offered & PROTOCOL_FEATURES:
            protocol = self.number(GET_PROTOCOL) & want_protocol
            self.tell(SET_PROTOCOL, struct.pack("<Q", protocol))
            self.protocol = protocol
        self.tell(SET_OWNER, b"")
        return offered

    def accept(self, features):
        self.tell(SET_FEATURES, struct.pack("<Q", features | PROTOCOL_FEATURES))

    def config(self, size):
        return self.ask(GET_CONFIG, struct.pack("<III", 0, size, 0) + bytes(size))[12:]

    def share(self):
        """All memory, in so many pieces."""
        step = MEMORY // self.regions
        piece = [struct.pack("<QQQQ", self.physical + i * step, step, self.user + i * step, i * step) for i in range(self.regions)]
        first = 1 if self.slots else self.regions
        self.tell(SET_MEM_TABLE, struct.pack("<II", first, 0) + b"".join(piece[:first]), [self.fd] * first)
        for p in piece[first:]:
            self.tell(ADD_MEM_REG, bytes(8) + p, [self.fd])

    def translate(self):
        """An IOMMU that leaves addresses as they are: said at once, for all memory."""
        self.channel, theirs = socket.socketpair()
        self.tell(SET_BACKEND_REQ_FD, b"", [theirs.fileno()])
        theirs.close()

    def translations(self):
        self.tell(IOTLB_MSG, struct.pack("<QQQBB6x", self.physical, MEMORY, self.user, 3, 2))


class Disk:
    """A ring of the guest's, and block requests on it. order: '<' or '>', as the guest's processor has it. One descriptor for each
    of header, data and status, in the layout of old (virtio v1.4 2.7.2): so it is good for all devices."""

    def __init__(self, wire, num=64, order="<", translated=False, say_order=False):
        self.w, self.num, self.order, self.avail_idx, self.used_idx = wire, num, order, 0, 0
        self.avail = RING + 16 * num
        self.used = (self.avail + 6 + 2 * num + PAGE - 1) & -PAGE
        if say_order:
            wire.tell(SET_ENDIAN, struct.pack("<II", 0, order == ">"))
        base = wire.physical if translated else wire.user
        self.kick, call = os.eventfd(0), os.eventfd(0)
        wire.tell(SET_NUM, struct.pack("<II", 0, num))
        wire.tell(SET_BASE, struct.pack("<II", 0, 0))
        wire.tell(SET_ADDR, struct.pack("<IIQQQQ", 0, 0, base + RING, base + self.used, base + self.avail, 0))
        wire.tell(SET_CALL, struct.pack("<Q", 0), [call])
        wire.tell(SET_KICK, struct.pack("<Q", 0), [self.kick])
        wire.tell(SET_ENABLE, struct.pack("<II", 0, 1))
        os.close(call)

    def put(self, at, form, *values):
        struct.pack_into(self.order + form, self.w.mem, at, *values)

    def get(self, at, form):
        return struct.unpack_from(self.order + form, self.w.mem, at)

    def stop(self):
        """The index at which the next device goes on."""
        return struct.unpack("<II", self.w.ask(GET_BASE, struct.pack("<II", 0, 0)))[1]

    def request(self, kind, sector=0, data=b"", room=0):
        """(status, what was read, used length); the status is None when the device leaves it alone."""
        mem, at = self.w.mem, self.w.physical
        self.put(HEAD, "IIQ", kind, 0, sector)
        mem[STATUS_AT] = 0xEE
        mem[DATA:DATA + len(data)] = data
        mem[DATA + len(data):DATA + len(data) + room] = b"\xdd" * room
        parts = [(HEAD, 16, 0), (DATA, len(data), 0), (DATA + len(data), room, WRITE), (STATUS_AT, 1, WRITE)]
        parts = [p for p in parts if p[1]]
        for i, (where, size, flags) in enumerate(parts):
            last = i == len(parts) - 1
            self.put(RING + 16 * i, "QIHH", at + where, size, flags | (0 if last else NEXT), 0 if last else i + 1)
        self.put(self.avail + 4 + 2 * (self.avail_idx % self.num), "H", 0)
        self.avail_idx = (self.avail_idx + 1) & 0xFFFF
        self.put(self.avail + 2, "H", self.avail_idx)
        os.eventfd_write(self.kick, 1)
        end = time.monotonic() + PATIENCE
        while self.get(self.used + 2, "H")[0] == self.used_idx:
            if time.monotonic() > end:
                raise Refused("a request was not answered")
            time.sleep(0.0002)
        head, length = self.get(self.used + 4 + 8 * (self.used_idx % self.num), "II")
        self.used_idx = (self.used_idx + 1) & 0xFFFF
        if head:
            raise Refused(f"descriptor {head} was used, nobody offered it")
        status = mem[STATUS_AT]
        return None if status == 0xEE else status, mem[DATA + len(data):DATA + len(data) + room], length

    def ranges(self, kind, sector, count, flags=0):
        return self.request(kind, data=struct.pack(self.order + "QII", sector, count, flags))
