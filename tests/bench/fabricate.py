"""A cache directory with many complete images, made without going through a mount: see docs/cache-format.md."""

import os
import sqlite3
import struct
import subprocess

SIZE = 4096
MTIME = 1_700_000_000


def names(count):
    return [f"{i:08x}-0000-4000-8000-000000000000" for i in range(count)]


def digest_of(content):
    """As the index wants it."""
    done = subprocess.run(["xxhsum", "-H3"], input=content, stdout=subprocess.PIPE, check=True)
    return struct.pack("<Q", int(done.stdout.split()[-1], 16))


def write_file(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(content)


def insert(db, table, **columns):
    db.execute(f"INSERT INTO {table}({','.join(columns)}) VALUES({','.join('?' * len(columns))})", tuple(columns.values()))


def many(run, count):
    """The source's URL and the cache directory with `count` images of 4 KiB; the caller mounts them as often as it likes."""
    source, cache, url = f"{run.source}/many{count}", f"{run.directory}/many{count}.cache", run.nginx.url(f"many{count}/")
    if os.path.exists(source):  # another row's
        return url, cache
    os.makedirs(source)
    run.glintfs(url, cache=cache).stop()  # which makes the index
    db = sqlite3.connect(f"{cache}/index.db")
    content = os.urandom(SIZE)
    digest = digest_of(content)
    first, = db.execute("SELECT value FROM meta WHERE key='next_row'").fetchone()
    for row, name in enumerate(names(count), first):
        write_file(f"{source}/{name}", content)
        os.utime(f"{source}/{name}", (MTIME, MTIME))
        write_file(f"{cache}/data/{row % 256:02x}/{row}-1", content)
        insert(db, "image", row=row, source=url, name=name, size=SIZE, version=f'etag:"{MTIME:x}-{SIZE:x}"', mtime_ns=MTIME * 10**9,
               generation=1, chunks_present=1, disk_bytes=2 * SIZE, suspect=0, superseded=0, verdict=1, checksum_algorithm="",
               checksum="", error="", hits=0, last_access_ns=row, last_progress_ns=row)
        insert(db, "segment", row=row, segment=0, present=struct.pack("<Q", 1), hashes=digest)
    db.execute("INSERT OR REPLACE INTO meta VALUES('next_row',?)", (first + count,))
    db.commit()
    db.close()
    return url, cache
