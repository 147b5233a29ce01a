"""Many images, and small ones and huge ones: what an operation costs must not depend on it."""

import contextlib
import os
import random
import shutil
import statistics
import subprocess
import time

from bench import fabricate
from bench.measure import GIB, MIB, pread_fresh, timed

FLAT = 1.1


def open_read(run, paths, passes, length=4096, flags=()):
    """Seconds of each operation of tests/bench/open_read.cc, the median over passes."""
    done = subprocess.run([run.program("open_read"), *flags, str(length), str(passes), *paths], check=True, text=True,
                          stdout=subprocess.PIPE)
    return statistics.median(map(int, done.stdout.split())) / 1e9


@contextlib.contextmanager
def pinned(cpu=0):
    """This process on the processor of Mounted.pin."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def small(run):
    """1,000 images of 64 KiB to 1 MiB (quick: to 256 KiB), against the files they come from."""
    largest = (256 if run.quick else 1024) << 10
    names = [f"{i:04d}" for i in range(1000)]
    for i, name in enumerate(names):
        run.source_file(f"small/{name}", 65536 + (largest - 65536) * i // 999)
    random.shuffle(names)
    os.sync()
    with run.complete(*names, source=run.nginx.url("small/")) as mount:
        sides = [[], []]
        for _ in range(max(5, run.rounds)):
            for directory, times in zip((mount.path, f"{run.source}/small"), sides):
                times.append(1 / open_read(run, [f"{directory}/{name}" for name in names], 3, 65536))
        run.table.rate("open, read 64 KiB and close of 1,000 small complete images", "files on the disk", *sides, 0.5,
                       "k images/s", 1e3, 1)
    shutil.rmtree(f"{run.source}/small")


# The operations that must not know how many or how large: what is done, flags of open_read, settings of the mount. The second
# one is past the kernel's page cache; by default it would also be past the daemon.
WORK = (("open, read 4 KiB and close", (), {}), ("4 KiB read, passthrough off, O_DIRECT", ("-k", "-d"), {"passthrough": "off"}))


def flat(run, work, against, much, little):
    """A row: `much` and `little` give the arguments of open_read, anew each time they are called. In many short turns, reader and
    daemon (see Mounted.pin) on one processor."""
    ours, theirs = [], []
    for turn in range(15 if run.quick else 31):
        order = ((much, ours), (little, theirs))
        for arguments, times in order if turn % 2 == 0 else reversed(order):
            with pinned():
                times.append(open_read(run, **arguments()))
    run.table.cost(work, against, ours, theirs, FLAT, "µs", 1e-6, 1)


def flat_count(run):
    count = 10_000
    one, many = (fabricate.many(run, n) for n in (1, count))
    for work, flags, options in WORK:
        with run.glintfs(one[0], cache=one[1], **options) as alone, run.glintfs(many[0], cache=many[1], **options) as among:
            alone.pin()
            among.pin()
            single = [f"{alone.path}/{name}" for name in fabricate.names(1)]
            known = [f"{among.path}/{name}" for name in fabricate.names(1000 if run.quick else count)]
            open_read(run, known, 1)  # they have been looked up and open once
            flat(run, f"{work}: one of {count:,} images", "a single image",
                 lambda: {"paths": [random.choice(known)], "passes": 1000, "flags": flags},
                 lambda: {"paths": single, "passes": 1000, "flags": flags})


def flat_size(run):
    """Of sparse images: the directory source says where they have holes, so that 100 GiB are complete in seconds."""
    sizes = {"little": MIB, "huge": (10 if run.quick else 100) * GIB}
    source, cache = f"{run.directory}/sparse", f"{run.directory}/sparse.cache"
    os.makedirs(source)
    for name, size in sizes.items():
        with open(f"{source}/{name}", "wb") as f:
            f.truncate(size)
    for work, flags, options in WORK:
        with run.complete(*sizes, source=f"dir://{source}", cache=cache, **options) as mount:
            mount.pin()

            def spread(name):
                return {"paths": [f"{mount.path}/{name}"], "passes": 5, "flags": ("-n", "256", *flags)}

            flat(run, f"{work}: in {sizes['huge'] // GIB} GiB, sparse", "in 1 MiB", lambda: spread("huge"), lambda: spread("little"))


def many_images(run):
    few, count = 100, 10_000 if run.quick else 100_000
    made = {n: fabricate.many(run, n) for n in (few, count)}
    costs, start, memory, space = {n: [] for n in made}, 0.0, 0.0, []
    for _ in range(9 if run.quick else 2 * run.rounds):
        for n, (url, cache) in made.items():
            begin = time.monotonic()
            with run.glintfs(url, cache=cache) as mount:
                if n == count:
                    start = max(start, time.monotonic() - begin)
                paths = [f"{mount.path}/{name}" for name in random.sample(fabricate.names(n), few)]
                for path in paths:
                    os.stat(path)  # asks the source; what is measured is the cache
                mount.pin()
                with pinned():
                    costs[n].append(statistics.median(timed(lambda p=path: pread_fresh(p, 0, 4096)) for path in paths))
                memory = max(memory, mount.resident_mib())
                if n == count:
                    space.append(statistics.median(timed(lambda: os.statvfs(mount.path)) for _ in range(9)))
    run.table.add(f"start-up with {count:,} images, seconds", "2 s", start / 2, 1, f"{start:.2f} s")
    run.table.add(f"resident memory with {count:,} images", "150 MiB", memory / 150, 1, f"{memory:.0f} MiB")
    look = statistics.median(space) * 1e3
    run.table.add(f"statfs, which counts {count:,} images", "20 ms", look / 20, 1, f"{look:.1f} ms")
    run.table.cost(f"first open and read of one of {count:,} images", f"one of {few}", costs[count], costs[few], FLAT, "µs", 1e-6)


ROWS = {"small": small, "flat-count": flat_count, "flat-size": flat_size, "many-images": many_images}
