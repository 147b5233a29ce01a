"""What a store that hangs costs those who read what is cached."""

import contextlib
import os
import statistics
import time

from bench.measure import MIB, pread_fresh, read_whole, timed


def hung_store(run):
    small = run.source_file("small", 4 * MIB)
    with run.glintfs(attr_ttl="1s") as mount:
        read_whole(f"{mount.path}/small")

        def ask():
            os.listdir(mount.path)
            os.stat(f"{mount.path}/small")
            pread_fresh(f"{mount.path}/small", 0, 4096)

        def measure():
            times = []
            for _ in range(10 if run.quick else 20):
                time.sleep(0.1)  # so that every tenth answer has outlived its time to live
                times.append(timed(ask))
            return statistics.median(times)

        answering = measure()
        with run.nginx.hanging():
            time.sleep(1.5)
            with contextlib.suppress(OSError):
                ask()  # the first one notices
            hung = measure()
    os.unlink(small)
    run.table.add("ls, stat and a cached read while the store hangs", "while it answers", hung / answering, 1.5,
                  f"{hung * 1e6:.0f} against {answering * 1e6:.0f} µs")


ROWS = {"hung-store": hung_store}
