"""Complete images, as they are opened by default (passed through where the kernel can), against the file system below."""

import os
import shutil
import subprocess

from bench.measure import drop_page_cache_of, fio, read_whole, same_start, timed

SAME, COPY = "the same file on the disk", "a copy on the disk"


def copy_of(run, mount):
    """Of the data file, beside it: what the disk would give had the image been written in one go."""
    copy = f"{mount.directory}/copy"
    shutil.copyfile(mount.data_file(), copy)
    os.sync()
    return copy


def forget(*paths):
    for path in paths:
        drop_page_cache_of(path)


def read_before(mount):
    """The data file of the complete image, read once, through the mount: only pages a reader brought in are like another's. It
    is the rival of what is warm: two copies in memory differ by 3 % from where their pages happen to lie."""
    file = mount.data_file()
    os.sync()
    forget(file)
    read_whole(f"{mount.path}/image")
    read_whole(file)
    return file


def slices(run):
    """Many short turns rather than a few long ones: what else the machine does then falls on both sides."""
    return (5, 0.2) if run.quick else (3 * run.rounds, 0.7)


def warm(run):
    with run.complete() as mount:
        paths = f"{mount.path}/image", read_before(mount)
        for bs, name in (("1m", "1 MiB"), ("128k", "128 KiB")):
            rates = fio(paths, *slices(run), "read", bs)
            run.table.rate(f"complete image, warm, sequential, {name}", SAME, *rates, 0.97, "GB/s", 1e9)
        for jobs, name in ((1, "1 job"), (4, "4 jobs")):
            rates = fio(paths, *slices(run), "randread", "4k", numjobs=jobs)
            run.table.rate(f"complete image, warm, random 4 KiB, {name}", SAME, *rates, 0.95, "k reads/s", 1e3, 0)


def disk(run):
    with run.complete() as mount:
        ours, copy = f"{mount.path}/image", copy_of(run, mount)
        rates = [[], []]
        for _ in range(2 * run.rounds):
            for path, side in zip((ours, copy), rates):
                forget(ours, mount.data_file(), copy)
                same_start(run.size)
                side.append(run.size / timed(lambda p=path: read_whole(p)))
        run.table.rate("complete image, page cache cold, sequential", COPY, *rates, 0.95, "GB/s", 1e9)
        forget(ours, mount.data_file(), copy)
        rates = fio((ours, copy), *slices(run), "randread", "4k", ioengine=async_engine(copy), iodepth=16, direct=1)
        run.table.rate("complete image, O_DIRECT, random 4 KiB, depth 16", COPY, *rates, 0.95, "k reads/s", 1e3, 1)


def async_engine(path):
    """io_uring, or libaio where it is not allowed."""
    try:
        fio((path,), 1, 0.1, "randread", "4k", ioengine="io_uring")
    except subprocess.CalledProcessError:
        return "libaio"
    return "io_uring"


ROWS = {"warm": warm, "disk": disk}
