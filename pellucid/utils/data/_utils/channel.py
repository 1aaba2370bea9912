"""A channel between a loader and one worker process: whole messages, in both directions, with file descriptors.

In: bytes and descriptors. Out: the same, in order, at the other end; `EOFError` once the other end is gone.
True always: each end is open in exactly one process (a fork closes the copies it inherits), so the death of a process
is seen by its peer at once, as the end of the stream, whatever killed it.
"""
from __future__ import annotations

import os
import socket
import struct
import weakref
from collections import deque

_HEADER = struct.Struct("<QI")                           # length of the payload, number of descriptors
_MOST_FDS = 250                                          # the kernel takes up to 253 a message

_open: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _close_inherited() -> None:
    """In a forked child: these ends belong to the parent."""
    for end in list(_open):
        end.close()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends. Wrap the one this process keeps in a `Channel`; hand the other to the worker and close it."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


class Channel:
    """One end. `send` and `receive` wait; `post` does not."""

    def __init__(self, end: socket.socket):
        self.end = end
        self.backlog: deque[memoryview] = deque()        # posted, not yet taken by the kernel
        _open.add(end)

    def fileno(self) -> int:
        return self.end.fileno()

    def close(self) -> None:
        self.end.close()

    def send(self, payload: bytes, fds: list[int] | tuple = ()) -> None:
        """Send and wait until it is on its way. BrokenPipeError if the other end is gone."""
        while len(fds) > _MOST_FDS:                      # ahead of the message, with empty messages
            self._send_head(0, fds[:_MOST_FDS])
            fds = fds[_MOST_FDS:]
        self._send_head(len(payload), fds)
        self.end.sendall(payload)

    def _send_head(self, length: int, fds) -> None:
        head = _HEADER.pack(length, len(fds))
        sent = socket.send_fds(self.end, [head], fds) if fds else self.end.send(head)
        if sent < len(head):
            self.end.sendall(head[sent:])

    def receive(self) -> tuple[bytearray, list[int]]:
        """The next message and its descriptors. EOFError if the other end is gone."""
        fds: list[int] = []
        while True:
            length, count = self._receive_head(fds)
            if length or not count:
                break
        payload = bytearray(length)
        self._fill(memoryview(payload))
        return payload, fds

    def _receive_head(self, fds: list[int]) -> tuple[int, int]:
        space = socket.CMSG_SPACE(_MOST_FDS * 4)
        try:
            head, ancillary, _, _ = self.end.recvmsg(_HEADER.size, space, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
        except ConnectionResetError:
            head, ancillary = b"", []
        if not head:
            raise EOFError("the other end of the channel is gone")
        got = []
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                got += struct.unpack(f"{len(data) // 4}i", data[:len(data) // 4 * 4])
        fds += got
        if len(head) < _HEADER.size:
            rest = bytearray(_HEADER.size - len(head))
            self._fill(memoryview(rest))
            head += rest
        length, count = _HEADER.unpack(head)
        if len(got) < count:                             # the kernel drops what it has no slot for
            for fd in fds:
                os.close(fd)
            raise OSError(24, "Too many open files: shared memory of a batch could not be received. Raise the limit "
                              "(ulimit -n), or keep fewer batches")
        return length, count

    def _fill(self, room: memoryview) -> None:
        while room:
            try:
                n = self.end.recv_into(room)
            except ConnectionResetError:
                n = 0
            if not n:
                raise EOFError("the other end of the channel is gone")
            room = room[n:]

    def post(self, payload: bytes) -> bool:
        """Queue a message and send what the kernel takes now. True if nothing is left; else `flush` later."""
        self.backlog.append(memoryview(_HEADER.pack(len(payload), 0) + payload))
        return self.flush()

    def flush(self) -> bool:
        """Send what is queued as far as it goes without waiting. True if nothing is left."""
        while self.backlog:
            try:
                n = self.end.send(self.backlog[0], socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            except (BrokenPipeError, ConnectionResetError):
                self.backlog.clear()                     # reading will tell that the other end is gone
                return True
            if n < len(self.backlog[0]):
                self.backlog[0] = self.backlog[0][n:]
            else:
                self.backlog.popleft()
        return True
