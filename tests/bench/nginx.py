"""The origin: an nginx with one worker on a free port of the loopback interface."""

import contextlib
import os
import signal
import socket
import subprocess

from bench.measure import wait_for

# An S3 server, as far as s3fs asks: a bucket that says it is empty, objects that are there when asked for by name.
BUCKET = """<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">\
<Name>bucket</Name><Prefix></Prefix><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Nginx:
    """Serves `root`; /slow/ is the same with 20 MB/s a connection, /bucket/ the same for s3fs. The access log has the bytes
    of each body."""

    def __init__(self, directory, root):
        self.port, self.log = free_port(), f"{directory}/access.log"
        conf = f"{directory}/nginx.conf"
        with open(conf, "w") as f:
            f.write(f"""user root; worker_processes 1; daemon off; pid {directory}/nginx.pid; error_log {directory}/nginx.err;
events {{ worker_connections 512; }}
http {{ log_format bytes '$body_bytes_sent $request_uri'; access_log {self.log} bytes; sendfile on; tcp_nopush on;
  keepalive_requests 1000000; client_body_temp_path {directory}/t1; proxy_temp_path {directory}/t2;
  fastcgi_temp_path {directory}/t3; uwsgi_temp_path {directory}/t4; scgi_temp_path {directory}/t5;
  server {{ listen 127.0.0.1:{self.port}; root {root}; autoindex on;
    location /slow/ {{ alias {root}/; limit_rate 20000000; }}
    location = /bucket/ {{ default_type application/xml; return 200 '{BUCKET}'; }}
    location /bucket/ {{ alias {root}/; }} }} }}
""")
        self.process = subprocess.Popen(["nginx", "-c", conf, "-e", f"{directory}/nginx.err"], start_new_session=True)
        try:
            wait_for(self.answers, "nginx answering")
        except BaseException:
            self.stop()
            raise

    def answers(self):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    def url(self, path=""):
        return f"http://127.0.0.1:{self.port}/{path}"

    def bytes_sent(self, uri):
        with open(self.log) as f:
            return sum(int(line.split()[0]) for line in f if line.split()[1] == uri)

    @contextlib.contextmanager
    def hanging(self):
        """It accepts connections, as its kernel does, and never answers."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
            pids = [self.process.pid, *map(int, f.read().split())]
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in reversed(pids):
                os.kill(pid, signal.SIGCONT)

    def stop(self):
        self.process.terminate()
        self.process.wait()
