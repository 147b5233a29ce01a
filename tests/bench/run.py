"""One run of the benchmarks: its temporary directory, its origin, its settings, its table."""

import os
import shutil
import struct
import subprocess
import tempfile

from bench import mounts
from bench.measure import GIB, MIB, timed
from bench.nginx import Nginx
from bench.table import Table


class Run:
    def __init__(self, root, build, rounds, quick):
        self.root, self.build, self.rounds, self.quick = root, build, rounds, quick
        self.table, self.nginx = Table(), None
        self.directory = tempfile.mkdtemp(prefix="glintfs-bench-")
        self.source = f"{self.directory}/source"
        self.size = 256 * MIB if quick else GIB  # of /image

    def __enter__(self):
        try:
            os.makedirs(self.source)
            self.image = self.source_file("image", self.size)
            self.nginx = Nginx(self.directory, self.source)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.nginx:
            self.nginx.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def source_file(self, name, size):
        path = f"{self.source}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            block = os.urandom(min(size, 4 * MIB))
            for i in range(0, size, len(block)):  # every 4 MiB differ, none is zero
                f.write((struct.pack("<Q", i + 1) + block[8:])[:size - i])
        return path

    def glintfs(self, source=None, **options):
        return mounts.Glintfs(self.directory, self.build, source or self.nginx.url(), **options)

    def complete(self, *names, source=None, **options):
        """A mount on whose cache the images lie whole."""
        mount = self.glintfs(source, **options)
        try:
            mount.ctl("cache", "--wait", *(names or ["image"]))
        except BaseException:
            mount.stop()
            raise
        return mount

    def program(self, name):
        """One of the C++ programs beside this file: from the build, or, if that has no tests, compiled here and now."""
        for path in (f"{self.build}/{name}", f"{self.directory}/{name}"):
            if os.access(path, os.X_OK):
                return path
        libraries = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], check=True, text=True, stdout=subprocess.PIPE)
        subprocess.run(["c++", "-O2", "-std=c++20", "-DFUSE_USE_VERSION=314", f"{self.root}/tests/bench/{name}.cc", "-o", path,
                        *libraries.stdout.split()], check=True)
        return path

    def curl(self, url):
        """Wall seconds and CPU seconds of `curl -o`."""
        out = f"{self.directory}/curl.out"

        def fetch():
            process = subprocess.Popen(["curl", "-sf", "-o", out, url])
            try:
                _, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                process.kill()
                process.wait()
                raise
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != 0:
                raise subprocess.CalledProcessError(process.returncode, "curl")
            used.append(usage.ru_utime + usage.ru_stime)

        used = []
        seconds = timed(fetch)
        os.unlink(out)
        return seconds, used[0]
