"""The real stores on loopback, each against its own tools: cold reads of a whole image, an image that is mostly empty, a listing."""

import json
import os
import shutil
import subprocess

from bench.measure import GIB, MIB, read_whole, same_start, timed, wait_for

MANY = 2500


class Store:
    """A running store (tests/bench/store_server.cc)."""

    def __init__(self, run, kind):
        program = f"{run.build}/store_server"
        if not os.access(program, os.X_OK):
            subprocess.run(["cmake", "-S", run.root, "-B", run.build, "-DGLINTFS_TESTS=ON"], check=True, stdout=subprocess.DEVNULL)
            subprocess.run(["cmake", "--build", run.build, "--target", "store_server"], check=True, stdout=subprocess.DEVNULL)
        self.process = subprocess.Popen([program, kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        told = self.ask({})
        self.source = told["source"]
        self.options = dict(option.split("=", 1) for option in told["options"])
        self.environment = {**os.environ, **dict(pair.split("=", 1) for pair in told["environment"])}
        os.environ.update(self.environment)

    def ask(self, question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("bench: the store ended")
        return json.loads(answer)

    def put(self, name, size, data):
        return self.ask({"put": name, "size": size, "data": data})["name"]

    def ceph(self, program, *words):
        keys = {"ceph_conf": "-c", "ceph_keyring": "-k", "ceph_id": "--id"}
        access = [word for key, flag in keys.items() if key in self.options for word in (flag, self.options[key])]
        return [program, *access, *words]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(60)


def quiet(command, **more):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)


def cold(run, store, names, size, tool, fetch):
    """Whole images read through a mount with an empty cache, against the tool that copies them to files."""
    out = f"{run.directory}/out"
    sides = [[], []]
    for _ in range(run.rounds):
        same_start(size)
        with run.glintfs(store.source, **store.options) as mount:
            sides[0].append(size / timed(lambda: [read_whole(f"{mount.path}/{name}") for name in names]))
        same_start(size)
        sides[1].append(size / timed(lambda: [fetch(name, out) for name in names]))
        os.unlink(out)
    run.table.rate(f"{store.source.split(':')[0]}: cold sequential read, {size >> 20} MiB", tool, *sides, 0.9, "GB/s", 1e9)


def listing(run, store, tool, command, path=""):
    """The names of 2,500 images, by a mount that has seen none of them."""
    store.ask({"many": MANY})
    sides = [[], []]
    for _ in range(run.rounds):
        with run.glintfs(store.source, **store.options) as mount:
            sides[0].append(timed(lambda: len(os.listdir(f"{mount.path}/{path}"))))
            if len(os.listdir(f"{mount.path}/{path}")) < MANY:
                raise SystemExit("bench: names are missing in the listing")
        sides[1].append(timed(lambda: quiet(command)))
    run.table.cost(f"{store.source.split(':')[0]}: names of {MANY} images", tool, *sides, 1.5, "ms", 1e-3)


def mostly_empty(run, store):
    """10 GiB with 4 % of data: cached on request, against the export that leaves out what is empty."""
    size, piece = 10 * GIB, 8 * MIB
    name = store.put("mostly-empty", size, [[i * size // 50 // piece * piece, piece] for i in range(50)])
    pool = store.source.split("/")[2]
    out = f"{run.directory}/out"
    sides, moved = [[], []], 0
    for _ in range(run.rounds):
        same_start(GIB // 2)
        with run.glintfs(store.source, **store.options) as mount:
            sides[0].append(timed(lambda: mount.ctl("cache", "--wait", name)))
            moved = json.loads(mount.ctl("status", "--json"))["source_requests"]["bytes"]
        same_start(GIB // 2)
        sides[1].append(timed(lambda: quiet(store.ceph("rbd", "export", "--export-format", "2", f"{pool}/{name}", out))))
        os.unlink(out)
    run.table.cost(f"rbd: 10 GiB image with {50 * piece >> 20} MiB of data, complete", "rbd export --export-format 2", *sides, 1.2,
                   "ms", 1e-3, more=f"; {moved >> 20} MiB moved")


def rbd(run):
    with Store(run, "rbd") as store:
        pool = store.source.split("/")[2]
        name = store.put("image", run.size, [[0, run.size]])
        cold(run, store, [name], run.size, "rbd export to a file",
             lambda n, out: quiet(store.ceph("rbd", "export", f"{pool}/{n}@snap", out)))
        mostly_empty(run, store)
        listing(run, store, "rbd ls", store.ceph("rbd", "ls", pool))


def rados(run):
    with Store(run, "rados") as store:
        pool = store.source.split("/")[2]
        size = 80 * MIB  # one write has at most 90 MB, and an object 128 MiB
        names = [store.put(f"image-{i}", size, [[0, size]]) for i in range(2 if run.quick else 8)]
        cold(run, store, names, size * len(names), "rados get",
             lambda n, out: quiet(store.ceph("rados", "-p", pool, "get", n, out)))
        listing(run, store, "rados ls", store.ceph("rados", "-p", pool, "ls"))


def s3(run):
    import boto3  # not before scripts/bench has installed it

    with Store(run, "s3") as store:
        os.environ["AWS_SHARED_CREDENTIALS_FILE"] = store.options["credentials_file"]
        os.environ.pop("AWS_PROFILE", None)
        client = boto3.client("s3", endpoint_url=store.options["endpoint"], region_name=store.options["region"],
                              config=boto3.session.Config(s3={"addressing_style": "path"}, signature_version="s3v4"))
        bucket = store.source.split("/")[2]
        name = store.put("image", run.size, [[0, run.size]])

        def fetch(key, out):
            url = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
            quiet(["curl", "-sf", "-o", out, url])

        cold(run, store, [name], run.size, "curl -o of a presigned URL", fetch)
        keys = client._request_signer._credentials
        config = f"{run.directory}/s3cmd"
        with open(os.open(config, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
            host = store.options["endpoint"].split("//")[1]
            f.write(f"[default]\naccess_key = {keys.access_key}\nsecret_key = {keys.secret_key}\nhost_base = {host}\n"
                    f"host_bucket = {host}\nuse_https = False\n")
        listing(run, store, "s3cmd ls", ["s3cmd", "-c", config, "ls", f"s3://{bucket}/"])


def swift(run):
    with Store(run, "swift") as store:
        os.environ["OS_CLIENT_CONFIG_FILE"] = store.options["clouds_file"]
        listing(run, store, "openstack object list --all", ["openstack", "--os-cloud", store.options["cloud"], "object", "list",
                "--all", store.source.split("/")[2]])


def glance(run):
    with Store(run, "glance") as store:
        os.environ["OS_CLIENT_CONFIG_FILE"] = store.options["clouds_file"]
        listing(run, store, "openstack image list", ["openstack", "--os-cloud", store.options["cloud"], "image", "list"])


EACH = {"rbd": rbd, "rados": rados, "s3": s3, "swift": swift, "glance": glance}


def stores(run):
    for row in EACH.values():
        row(run)


ROWS = {"stores": stores, **EACH}
