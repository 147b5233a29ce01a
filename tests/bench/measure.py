"""Measuring: times, reads with buffers that are there already, fio, page caches that are dropped."""

import json
import mmap
import os
import random
import subprocess
import sys
import time

MIB = 1 << 20
GIB = 1 << 30
MADV_POPULATE_WRITE = 23  # Linux 5.14; Python has no name for it


def timed(action):
    start = time.monotonic()
    action()
    return time.monotonic() - start


def wait_for(condition, what, limit=60):
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"bench: {what} did not happen within {limit} s")
        time.sleep(0.02)


def drop_page_cache_of(path):
    """What is clean; call os.sync() first."""
    with open(path, "rb") as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def same_start(size):
    """Before each timed side that fills memory: nothing of the other's is left to write, and there is memory at hand, for a
    file and once more for a mount's page cache. A virtual machine that gave freed pages back to its host pays for each when it
    touches it again, and which side pays is chance (docs/performance.md)."""
    os.sync()
    with mmap.mmap(-1, 2 * size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        memory.madvise(MADV_POPULATE_WRITE)


def read_whole(path):
    buffer = bytearray(MIB)
    with open(path, "rb", buffering=0) as f:
        while f.readinto(buffer):
            pass


def pread_fresh(path, offset, length):
    """Seconds of one read through a handle of its own; opening it does not count."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return timed(lambda: os.pread(fd, length, offset))
    finally:
        os.close(fd)


def random_reads(path, count, length=4096):
    """Reads a second, at random aligned places, through one handle."""
    places = os.path.getsize(path) // length
    offsets = [random.randrange(places) * length for _ in range(count)]
    buffers = [bytearray(length)]
    fd = os.open(path, os.O_RDONLY)
    try:
        return count / timed(lambda: [os.preadv(fd, buffers, offset) for offset in offsets])
    finally:
        os.close(fd)


def fio(paths, turns, seconds, rw, bs, **options):
    """fio reads the paths for `seconds` each, in turns (A B B A A B …): for each path a list of rates, in bytes a second
    (rw=read) or reads a second (rw=randread)."""
    settings = {"thread": 1, "ioengine": "psync", "rw": rw, "bs": bs, "time_based": 1, "runtime": f"{seconds * 1000:.0f}ms",
                "invalidate": 0, "norandommap": 1, "randrepeat": 0, "group_reporting": 1, **options}
    job = "[global]\n" + "".join(f"{key}={value}\n" for key, value in settings.items())
    for turn in range(turns):
        order = list(enumerate(paths))
        for side, path in order if turn % 2 == 0 else reversed(order):
            job += f"[{side}]\nstonewall\nnew_group\nfilename={path}\n"
    done = subprocess.run(["fio", "--readonly", "--output-format=json", "-"], input=job, stdout=subprocess.PIPE, text=True,
                          cwd="/", check=True)
    figure = "bw_bytes" if rw == "read" else "iops"
    jobs = json.loads(done.stdout)["jobs"]
    return [[one["read"][figure] for one in jobs if one["jobname"] == str(side)] for side in range(len(paths))]
