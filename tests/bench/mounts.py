"""What is mounted: glintfs and those it is compared with, each a process in the foreground with a directory of its own. Used
in a `with`; at its end process, mount and directory are gone."""

import glob
import os
import shutil
import subprocess
import sys
import tempfile
import time

from bench.measure import wait_for


class Mounted:
    """Starts `command(mount point, own directory)`."""

    def __init__(self, parent, name, command):
        self.directory = tempfile.mkdtemp(prefix=f"{name}-", dir=parent)
        self.path, self.process = f"{self.directory}/mnt", None
        os.makedirs(self.path)
        try:
            with open(f"{self.directory}/log", "w") as log:
                self.process = subprocess.Popen(command(self.path, self.directory), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                start_new_session=True)
            wait_for(lambda: self.process.poll() is not None or os.path.ismount(self.path), f"the mount of {name}")
            if self.process.poll() is not None:
                with open(f"{self.directory}/log") as log:
                    sys.exit(f"bench: {name} did not start: {log.read().strip()}")
        except BaseException:
            self.stop()
            raise

    def cpu_seconds(self):
        """Of all its threads, ended ones too."""
        return time.clock_gettime((~self.process.pid << 3) | 2)  # the clock that clock_getcpuclockid(3) gives

    def pin(self, cpu=0):
        """All its threads to one processor. A reader on the same one then always finds it the same way; left alone, a request
        takes 10 or 40 µs by where the scheduler wakes the two."""
        for thread in os.listdir(f"/proc/{self.process.pid}/task"):
            os.sched_setaffinity(int(thread), {cpu})

    def resident_mib(self):
        with open(f"/proc/{self.process.pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) / 1024

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if os.path.ismount(self.path):
            subprocess.run(["umount", "-l", self.path], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Glintfs(Mounted):
    """On its own cache directory unless told otherwise."""

    def __init__(self, parent, build, source, cache=None, **options):
        self.build = build

        def command(path, directory):
            self.cache, self.socket = cache or f"{directory}/cache", f"{directory}/control.sock"
            os.makedirs(self.cache, exist_ok=True)
            settings = {"cache": self.cache, "control": self.socket, "max_size": "300G", "min_free": "0", "log_level": "warn",
                        **options}
            return [f"{build}/glintfs", source, path, "-f", "-o", ",".join(f"{k}={v}" for k, v in settings.items())]

        super().__init__(parent, "glintfs", command)

    def ctl(self, *words):
        return subprocess.run([f"{self.build}/glintctl", "-q", "-s", self.socket, *words], check=True, text=True,
                              stdout=subprocess.PIPE).stdout

    def data_file(self):
        """Of the only image in the cache."""
        path, = glob.glob(f"{self.cache}/data/*/*")
        return path


def minimal_fuse(parent, program, file):
    return Mounted(parent, "minimal_fuse", lambda path, _: [program, file, path])


def rclone(parent, nginx):
    return Mounted(parent, "rclone", lambda path, directory: [
        "rclone", "mount", ":http:", path, "--config", "/dev/null", "--http-url", nginx.url(), "--read-only",
        "--vfs-cache-mode", "full", "--cache-dir", f"{directory}/cache"])


def s3fs(parent, nginx):
    def command(path, directory):
        os.makedirs(f"{directory}/cache")
        return ["s3fs", "bucket", path, "-f", "-o", f"public_bucket=1,use_path_request_style,url={nginx.url().rstrip('/')},"
                f"use_cache={directory}/cache,ro"]

    return Mounted(parent, "s3fs", command)
