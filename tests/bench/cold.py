"""Cold images from nginx over loopback: wall time and CPU time, against curl."""

import os
import threading
import time

from bench.measure import MIB, read_whole, same_start, timed


def cold_read(run, source, name="image"):
    with run.glintfs(source) as mount:
        return timed(lambda: read_whole(f"{mount.path}/{name}"))


def cold(run):
    ours, theirs = [], []
    for _ in range(run.rounds):
        same_start(run.size)
        theirs.append(run.size / run.curl(run.nginx.url("image"))[0])
        same_start(run.size)
        ours.append(run.size / cold_read(run, run.nginx.url()))
    run.table.rate(f"cold sequential read of {run.size // MIB} MiB", "curl -o", ours, theirs, 1.0, "GB/s", 1e9)


def limited(run):
    size = (32 if run.quick else 256) * MIB
    path = run.source_file("limited", size)
    ours, theirs = [], []
    for _ in range(run.rounds):
        os.sync()
        theirs.append(size / run.curl(run.nginx.url("slow/limited"))[0])
        ours.append(size / cold_read(run, run.nginx.url("slow/"), "limited"))
    os.unlink(path)
    run.table.rate("cold, each connection limited to 20 MB/s", "one such stream", ours, theirs, 8, "MB/s", 1e6, 0)


def cpu_of(run, fetch):
    """CPU seconds of a daemon from the mount until what it fetched is checkpointed."""
    same_start(run.size)
    with run.glintfs() as mount:
        before = mount.cpu_seconds()
        fetch(mount)
        time.sleep(1.3)  # the last checkpoint comes a second after the last chunk
        return mount.cpu_seconds() - before


def cpu(run):
    read, cached, theirs = [], [], []
    for _ in range(2 if run.quick else run.rounds):
        same_start(run.size)
        theirs.append(run.curl(run.nginx.url("image"))[1])
        read.append(cpu_of(run, lambda mount: read_whole(f"{mount.path}/image")))
        cached.append(cpu_of(run, lambda mount: mount.ctl("cache", "--wait", "image")))
    what = f"CPU seconds for {run.size // MIB} MiB cold"
    run.table.cost(what + ", read through the mount", "curl -o", read, theirs, 1.3, "s", digits=2)
    run.table.cost(what + ", glintctl cache", "curl -o", cached, theirs, 1.3, "s", digits=2)


def single_flight(run):
    before = run.nginx.bytes_sent("/image")
    share = run.size // 16

    def reader(path, index):
        with open(path, "rb", buffering=0) as f:
            f.seek(index * share)
            left = run.size
            while left > 0:
                data = f.read(min(MIB, left))
                if not data:
                    f.seek(0)
                    continue
                left -= len(data)

    with run.glintfs() as mount:
        threads = [threading.Thread(target=reader, args=(f"{mount.path}/image", i), daemon=True) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    time.sleep(0.1)
    sent = run.nginx.bytes_sent("/image") - before
    run.table.add("16 readers of one cold image: bytes sent by the origin", "its size", sent / run.size, 1.005,
                  f"{sent} of {run.size} bytes")


ROWS = {"cold": cold, "limited": limited, "cpu": cpu, "single-flight": single_flight}
