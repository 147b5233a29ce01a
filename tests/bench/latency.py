"""One cold 4 KiB read, against fetching the chunk it lies in by hand."""

import os
import random
import socket
import statistics
import time

from bench.measure import MIB, pread_fresh, same_start, timed

CHUNK = 256 << 10


class RangeClient:
    """HTTP ranges over one kept-alive connection: a send and a receive or two each, into a buffer that is there already. Takes
    half the time of Python's http.client."""

    def __init__(self, port, path):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nRange: bytes=%d-%d\r\n\r\n"
        self.buffer = memoryview(bytearray(2 * CHUNK))

    def get(self, first, length):
        self.socket.sendall((self.request % (first, first + length - 1)).encode())
        have, need = 0, None
        while need is None or have < need:
            got = self.socket.recv_into(self.buffer[have:])
            if got == 0:
                raise OSError("the server closed the connection")
            have += got
            if need is None:
                end = bytes(self.buffer[:min(have, 4096)]).find(b"\r\n\r\n")
                need = end + 4 + length if end >= 0 else None
        if bytes(self.buffer[:12]) != b"HTTP/1.1 206" or have != need:
            raise OSError("not the range that was asked for")

    def close(self):
        self.socket.close()


def ranges(run, count):
    """The median of `count` random ranges."""
    client = RangeClient(run.nginx.port, "/image")
    times = []
    for _ in range(count):
        time.sleep(0.002)  # each on an idle machine
        first = random.randrange(run.size // CHUNK) * CHUNK
        times.append(timed(lambda first=first: client.get(first, CHUNK)))
    client.close()
    return statistics.median(times)


def cold_4k(run, mount, count):
    times = []
    for chunk in random.sample(range(run.size // CHUNK), count):
        time.sleep(0.002)
        times.append(pread_fresh(f"{mount.path}/image", chunk * CHUNK + 8192, 4096))
    return statistics.median(times)


def latency(run):
    idle, filling, plain = [], [], []
    big = run.source_file("big", (1024 if run.quick else 4096) * MIB)
    for _ in range(run.rounds):
        same_start(run.size)
        plain.append(ranges(run, 40))
        with run.glintfs(fill="demand") as mount:
            os.stat(f"{mount.path}/image")
            idle.append(cold_4k(run, mount, 40))
        with run.glintfs() as mount:
            os.stat(f"{mount.path}/image")
            # The other image fills at full speed while cold chunks of this one are read; its own fill has less right of way.
            pread_fresh(f"{mount.path}/big", 0, 4096)
            filling.append(cold_4k(run, mount, 20))
    os.unlink(big)
    for name, times, goal in (("idle", idle, 1.3), ("during a fill at full speed", filling, 2)):
        run.table.cost(f"cold 4 KiB read, {name}", "256 KiB range, kept alive", times, plain, goal, "µs", 1e-6)


ROWS = {"latency": latency}
