"""The same work by rclone mount and s3fs, each with its cache on disk and its own defaults, each round on a new mount and an empty
cache."""

import os

from bench import mounts
from bench.measure import fio, random_reads, read_whole, same_start, timed

COLD_READS = 200
WORK = {"cold sequential": ("GB/s", 1e9, 2), "warm sequential": ("GB/s", 1e9, 2),
        f"cold random, {COLD_READS} reads of 4 KiB": ("k reads/s", 1e3, 2), "warm random 4 KiB": ("k reads/s", 1e3, 1)}


def measure(run, start):
    """One figure for each kind of work, in its order."""
    def whole():
        return run.size / timed(lambda: read_whole(f"{mount.path}/image"))

    same_start(run.size)
    with start() as mount:
        cold_sequential = whole()
        os.sync()
        warm_sequential = whole()
        (warm_random,), = fio((f"{mount.path}/image",), 1, 0.3 if run.quick else 2, "randread", "4k")
    same_start(run.size)
    with start() as mount:
        cold_random = random_reads(f"{mount.path}/image", COLD_READS)
    return cold_sequential, warm_sequential, cold_random, warm_random


def compare(run, name, start):
    ours, theirs = [], []
    for _ in range(2 if run.quick else run.rounds):
        theirs.append(measure(run, start))
        ours.append(measure(run, run.glintfs))
    for mine, other, (work, (unit, scale, digits)) in zip(zip(*ours), zip(*theirs), WORK.items()):
        run.table.rate(f"{work}, {run.size >> 20} MiB", name, mine, other, 1, unit, scale, digits)


def rclone(run):
    compare(run, "rclone mount --vfs-cache-mode full", lambda: mounts.rclone(run.directory, run.nginx))


def s3fs(run):
    compare(run, "s3fs -o use_cache", lambda: mounts.s3fs(run.directory, run.nginx))


ROWS = {"rclone": rclone, "s3fs": s3fs}
