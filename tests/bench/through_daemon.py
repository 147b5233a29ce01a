"""Complete images where the kernel cannot pass them through, or may not: through its page cache, and past it."""

from bench import mounts
from bench.complete import SAME, read_before, slices
from bench.measure import fio

OFF = {"passthrough": "off"}


def page_cache(run):
    with run.complete(**OFF) as mount:
        rates = fio((f"{mount.path}/image", read_before(mount)), *slices(run), "read", "1m")
        run.table.rate("passthrough off, second read, 1 MiB", SAME, *rates, 0.6, "GB/s", 1e9)


def daemon(run):
    program = run.program("minimal_fuse")
    with run.complete(**OFF) as mount, mounts.minimal_fuse(mount.directory, program, read_before(mount)) as minimal:
        for jobs, name in ((1, "1 job"), (4, "4 jobs")):
            rates = fio((f"{mount.path}/image", f"{minimal.path}/image"), *slices(run), "randread", "4k", direct=1, numjobs=jobs)
            run.table.rate(f"passthrough off, O_DIRECT, random 4 KiB, {name}", "minimal libfuse loop", *rates, 0.9, "k reads/s",
                           1e3, 1)


ROWS = {"page-cache": page_cache, "daemon": daemon}
