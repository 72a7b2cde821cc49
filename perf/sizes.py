#!/usr/bin/env python3
"""Loads a table through the binary and adds up its segment files. Standard library only.

    perf/sizes.py flights|lineitem --binary OMENDB --data DIR --work DIR [--scale 1]

flights: nycflights13, which the binary holds. lineitem: TPC-H, `DIR/lineitem-SCALE.csv` with a header, which
perf/report.py makes. The load is COPY; CHECKPOINT and VACUUM follow, so that all rows are in segments and old
versions are gone.
"""

import argparse
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent

LINEITEM = """CREATE TABLE lineitem (
    l_orderkey bigint NOT NULL, l_partkey bigint NOT NULL, l_suppkey bigint NOT NULL, l_linenumber integer NOT NULL,
    l_quantity numeric(15,2) NOT NULL, l_extendedprice numeric(15,2) NOT NULL, l_discount numeric(15,2) NOT NULL,
    l_tax numeric(15,2) NOT NULL, l_returnflag text NOT NULL, l_linestatus text NOT NULL, l_shipdate date NOT NULL,
    l_commitdate date NOT NULL, l_receiptdate date NOT NULL, l_shipinstruct text NOT NULL, l_shipmode text NOT NULL,
    l_comment text NOT NULL, PRIMARY KEY (l_orderkey, l_linenumber))"""


class Connection:
    """PostgreSQL's protocol 3.0, as far as it takes: simple queries and COPY."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=300)
        self.input = self.socket.makefile("rb")
        body = struct.pack("!i", 196608) + b"user\0omen\0database\0omen\0\0"
        self.socket.sendall(struct.pack("!i", len(body) + 4) + body)
        self.until(b"Z")

    def send(self, tag, body=b""):
        self.socket.sendall(tag + struct.pack("!i", len(body) + 4) + body)

    def receive(self):
        tag, length = struct.unpack("!ci", self.input.read(5))
        body = self.input.read(length - 4)
        if tag == b"E":
            raise RuntimeError(body.replace(b"\0", b" ").decode(errors="replace"))
        return tag, body

    def until(self, last, tag=None):
        """Bodies of the messages with this tag, up to one with the tag `last`."""
        found = []
        while True:
            got, body = self.receive()
            if got == tag:
                found.append(body)
            if got == last:
                return found

    def run(self, sql):
        """Runs a statement; the first column of its rows, as text."""
        self.send(b"Q", sql.encode() + b"\0")
        return [row[6 : 6 + struct.unpack("!i", row[2:6])[0]].decode() for row in self.until(b"Z", b"D")]

    def copy_out(self, sql, path):
        self.send(b"Q", sql.encode() + b"\0")
        with open(path, "wb") as out:
            while True:
                tag, body = self.receive()
                if tag == b"d":
                    out.write(body)
                if tag == b"Z":
                    return

    def copy_in(self, sql, path):
        """Loads a CSV file with a header, in transactions of 64 MiB: one must fit into the node's memory."""
        with open(path, "rb") as source:
            source.readline()
            while part := source.read(64 << 20):
                part += source.readline()
                self.send(b"Q", sql.encode() + b"\0")
                self.until(b"G")
                for at in range(0, len(part), 1 << 18):
                    self.send(b"d", part[at : at + (1 << 18)])
                self.send(b"c")
                self.until(b"Z")


class Node:
    """A running node on a directory of its own."""

    def __init__(self, binary, folder, command):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.log = folder, open(f"{folder}.log", "wb")
        self.process = subprocess.Popen(
            [binary, command, "--data-dir", str(folder), "--listen", f"127.0.0.1:{self.port}", "--memory", "2GiB"],
            stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL,
        )
        for _ in range(600):
            if self.process.poll() is not None:
                break
            try:
                self.connection = Connection(self.port)
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"no node: {pathlib.Path(f'{folder}.log').read_text()}")

    def __enter__(self):
        return self.connection

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def flights_csv(binary, data, work):
    path = data / "flights.csv"
    if not path.exists():
        with Node(binary, work / "flights-demo", "demo") as demo:
            while "Ctrl-C stops the node" not in (work / "flights-demo.log").read_text():
                time.sleep(0.1)
            demo.copy_out("COPY flights TO STDOUT WITH (FORMAT csv, HEADER)", path)
    return path


def segment_bytes(folder):
    """Settled size: merged files are removed a little after VACUUM has answered. Links to one file count once."""
    stats = lambda: [file.stat() for file in folder.glob("shard-*/segments/*.seg")]
    size = lambda: sum({stat.st_ino: stat.st_size for stat in stats()}.values())
    last = -1
    while last != (now := size()):
        last = now
        time.sleep(1)
    return now


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", choices=["flights", "lineitem"])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--scale", default="1")
    options = parser.parse_args()
    name = options.table
    if name == "flights":
        csv = flights_csv(options.binary, options.data, options.work)
        schema = (ROOT / "tests/data/nycflights13/schema.sql").read_text()
        ddl = re.search(r"CREATE TABLE flights.*?;", schema, re.DOTALL)[0]
    else:
        csv, ddl = options.data / f"lineitem-{options.scale}.csv", LINEITEM
        name = "lineitem" if options.scale == "1" else f"lineitem_sf{options.scale}"
    folder = options.work / f"sizes-{name}"
    with Node(options.binary, folder, "start") as node:
        node.run(ddl)
        began = time.monotonic()
        node.copy_in(f"COPY {options.table} FROM STDIN WITH (FORMAT csv)", csv)
        seconds = time.monotonic() - began
        node.run("CHECKPOINT")
        node.run("VACUUM")
        rows, size = int(node.run(f"SELECT count(*) FROM {options.table}")[0]), segment_bytes(folder)
    print(
        f"result name=size_{name} engine=omendb bytes={size} rows={rows} bytes_per_row={size / rows:.3f} "
        f"load_rows_per_second={rows / seconds:.0f}"
    )


if __name__ == "__main__":
    main()
