#!/usr/bin/env python3
"""TPC-H on OmenDB, PostgreSQL 15, DuckDB, ClickHouse and DataFusion, each with two threads, side by side.

    perf/tpch.py --binary OMENDB --data DIR --work DIR [--scale 1] [--rounds 3] [--queries 1,6] [--without chdb,..]

Also counts, aggregates and point reads, for scale. Needs the PyPI packages `tpchgen-cli` and `psycopg`, and `duckdb`,
`chdb` and `datafusion` for those engines; PostgreSQL's server from Debian. Engines take turns query by query; the first
run of a query is not counted. Answers are compared with PostgreSQL's, or with those of the first engine that has one, to
five digits; who answers something else is named (ClickHouse divides decimals to four digits, and counts some fractions
as floats), and so is who has no answer within the limit.

OmenDB and PostgreSQL are loaded by COPY through the wire (PostgreSQL with an index on every foreign key, and ANALYZE),
DuckDB and ClickHouse from Parquet into tables of their own, DataFusion reads the Parquet files.
"""

import argparse
import datetime
import decimal
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SQL = ROOT / "tests/data/tpch"
TABLES = ["region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem"]
ORDER = {"partsupp": "(ps_partkey, ps_suppkey)", "lineitem": "(l_orderkey, l_linenumber)"}
PG_INDEXES = [
    "nation (n_regionkey)", "supplier (s_nationkey)", "customer (c_nationkey)", "partsupp (ps_suppkey)",
    "orders (o_custkey)", "lineitem (l_partkey, l_suppkey)", "lineitem (l_suppkey)",
]
# What is asked beside the 22 queries.
EXTRA = {
    "count": "SELECT count(*) FROM lineitem",
    "point": "SELECT * FROM orders WHERE o_orderkey = 32771",
    "groups": "SELECT l_suppkey, count(*), sum(l_quantity) FROM lineitem GROUP BY l_suppkey ORDER BY 1 LIMIT 5",
    "distinct": "SELECT count(DISTINCT l_partkey) FROM lineitem",
    "top": "SELECT l_orderkey, l_linenumber FROM lineitem ORDER BY l_extendedprice DESC, l_orderkey, l_linenumber LIMIT 10",
}
# Bytes of one COPY: a transaction must fit into the node's memory.
COPY_BYTES = 64 << 20


def say(text):
    print(text, flush=True)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(connect, seconds=60):
    until = time.monotonic() + seconds
    while True:
        try:
            return connect()
        except Exception:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


class Wire:
    """A server of the PostgreSQL protocol."""

    def open(self, database):
        import psycopg

        connect = lambda: psycopg.connect(
            host="127.0.0.1", port=self.port, user="omen", dbname=database, autocommit=True
        )
        self.connection = wait_for(connect)
        self.connection.execute(f"SET statement_timeout = {int(self.limit * 1000)}")

    def run(self, sql):
        cursor = self.connection.execute(sql)
        return cursor.fetchall() if cursor.description else []

    def copy(self, table, path):
        with open(path, "rb") as source, self.connection.cursor() as cursor:
            source.readline()
            while part := source.read(COPY_BYTES):
                part += source.readline()
                with cursor.copy(f"COPY {table} FROM STDIN WITH (FORMAT csv)") as copy:
                    for at in range(0, len(part), 1 << 18):
                        copy.write(part[at : at + (1 << 18)])

    def load(self, data, tables=TABLES):
        self.connection.execute("SET statement_timeout = 0")
        for statement in (SQL / "schema.sql").read_text().split(";"):
            if statement.strip():
                self.run(statement)
        for table in tables:
            self.copy(table, data / f"{table}.csv")
        self.settle()
        self.connection.execute(f"SET statement_timeout = {int(self.limit * 1000)}")

    def close(self):
        self.connection.close()
        self.process.send_signal(signal.SIGINT)
        self.process.wait()


class Omen(Wire):
    name = "omendb"

    def __init__(self, options):
        self.port, self.limit = free_port(), options.limit
        self.log = open(options.work / "omendb.log", "wb")
        command = [options.binary, "start", "--data-dir", options.work / "omendb"]
        command += ["--cores", str(options.cores), "--memory", options.memory, "--listen", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        self.open("omen")

    def settle(self):
        self.run("CHECKPOINT")
        self.run("VACUUM")


class Postgres(Wire):
    name = "postgresql"

    def __init__(self, options):
        self.port, self.limit = free_port(), options.limit
        binaries = pathlib.Path("/usr/lib/postgresql/15/bin")
        if not (binaries / "initdb").exists():
            raise RuntimeError("PostgreSQL 15 is not installed")
        home = options.work / "postgresql"
        home.mkdir()
        owner = {}
        if os.getuid() == 0:
            shutil.chown(home, "postgres", "postgres")
            owner = {"user": "postgres", "group": "postgres", "extra_groups": []}
        words = [binaries / "initdb", "-D", home / "data", "-U", "omen", "-A", "trust", "--locale=C", "-E", "UTF8"]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=home, **owner)
        settings = {
            "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "shared_buffers": "2GB",
            "work_mem": "256MB", "max_parallel_workers_per_gather": 1, "max_wal_size": "8GB", "timezone": "UTC",
            "effective_cache_size": "8GB",
        }
        words = [binaries / "postgres", "-D", home / "data"]
        words += [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        log = open(options.work / "postgresql.log", "wb")
        self.process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=home, **owner)
        self.open("postgres")

    def settle(self):
        for index in PG_INDEXES:
            self.run(f"CREATE INDEX ON {index}")
        self.run("VACUUM ANALYZE")


class Duck:
    name = "duckdb"

    def __init__(self, options):
        import duckdb

        self.connection = duckdb.connect(str(options.work / "tpch.duckdb"))
        self.connection.execute("SET threads = 2")

    def load(self, data):
        for table in TABLES:
            self.run(f"CREATE TABLE {table} AS SELECT * FROM '{data / table}.parquet'")
        self.run("CHECKPOINT")

    def run(self, sql):
        return self.connection.execute(sql).fetchall()

    def close(self):
        self.connection.close()


class ClickHouse:
    name = "clickhouse"

    def __init__(self, options):
        from chdb import session

        self.session = session.Session(str(options.work / "chdb"))
        self.run("CREATE DATABASE tpch ENGINE = Atomic")
        self.run("USE tpch")
        for setting in ("max_threads = 2", "join_use_nulls = 1", f"max_execution_time = {options.limit}"):
            self.run(f"SET {setting}")

    def load(self, data):
        for table in TABLES:
            key = ORDER.get(table) or table[0] + "_" + {"part": "partkey", "supplier": "suppkey", "nation": "nationkey",
                "customer": "custkey", "orders": "orderkey", "region": "regionkey"}[table]
            self.run(
                f"CREATE TABLE {table} ENGINE = MergeTree ORDER BY {key} AS "
                f"SELECT * FROM file('{data / table}.parquet', Parquet) SETTINGS schema_inference_make_columns_nullable = 0"
            )

    def run(self, sql):
        text = self.session.query(sql, "TabSeparated").bytes().decode()
        return [tuple(line.split("\t")) for line in text.splitlines()]

    def close(self):
        self.session.close()


class DataFusion:
    name = "datafusion"

    def __init__(self, options):
        import datafusion

        config = datafusion.SessionConfig().with_target_partitions(2)
        self.context = datafusion.SessionContext(config)

    def load(self, data):
        for table in TABLES:
            self.context.register_parquet(table, str(data / f"{table}.parquet"))

    def run(self, sql):
        batches = self.context.sql(sql).collect()
        return [tuple(row.values()) for batch in batches for row in batch.to_pylist()]

    def close(self):
        pass


ENGINES = [Postgres, Omen, Duck, ClickHouse, DataFusion]


def plain(value):
    """A value as all engines would give it: numbers to five digits, dates as text."""
    if value is None:
        return ""
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()[:10]
    if isinstance(value, (int, float, decimal.Decimal)) or re.fullmatch(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", str(value)):
        return f"{float(value):.5g}"
    return str(value).strip()


def same(answer, expected):
    """Rows in any order: ties in ORDER BY may fall either way."""
    return sorted(tuple(map(plain, row)) for row in answer) == sorted(tuple(map(plain, row)) for row in expected)


def timed(engine, sql, limit):
    """Milliseconds and rows. An engine in this process cannot be stopped, so the limit is only checked afterwards."""
    began = time.perf_counter()
    rows = engine.run(sql)
    took = (time.perf_counter() - began) * 1000
    if took > limit * 1000:
        raise RuntimeError(f"took {took / 1000:.0f} s")
    return took, rows


def generated(options):
    """The rows as CSV and Parquet, made once."""
    folder = options.data / f"tpch-{options.scale}"
    generator = pathlib.Path(sys.executable).parent / "tpchgen-cli"
    for kind in ("csv", "parquet"):
        if not all((folder / f"{table}.{kind}").exists() for table in TABLES):
            say(f"making TPC-H rows, scale {options.scale}, as {kind}")
            words = [generator, kind, "-q", "-s", options.scale, "--output-dir", folder]
            subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)
    return folder


def start(options, data):
    """The engines that can be had, loaded."""
    engines = []
    for kind in ENGINES:
        if kind.name in options.without:
            continue
        try:
            engine = kind(options)
        except Exception as error:
            say(f"missing {kind.name}: {str(error).strip().splitlines()[0][:200]}")
            continue
        try:
            began = time.monotonic()
            engine.load(data)
            say(f"result name=tpch_load engine={kind.name} seconds={time.monotonic() - began:.1f}")
            engines.append(engine)
        except Exception as error:
            say(f"missing {kind.name}: {str(error).strip().splitlines()[0][:200]}")
            engine.close()
    return engines


def measure(options, engines, name, sql):
    """Runs a query everywhere, by turns."""
    expected, running = None, []
    for engine in engines:
        try:
            _, rows = timed(engine, sql, options.limit)
            if expected is None:
                expected = rows
            elif not same(rows, expected):
                say(f"different {name} of {engine.name}: {str(rows[:1])[:90]}, not {str(expected[:1])[:90]}")
            running.append(engine)
        except Exception as error:
            say(f"missing {name} of {engine.name}: {str(error).strip().splitlines()[0][:160]}")
    for _ in range(options.rounds):
        for engine in list(running):
            try:
                milliseconds, _ = timed(engine, sql, options.limit)
                say(f"result name=tpch_{name} engine={engine.name} ms={milliseconds:.2f}")
            except Exception as error:
                running.remove(engine)
                say(f"missing {name} of {engine.name}: {str(error).strip().splitlines()[0][:160]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="where the generated rows are kept")
    parser.add_argument("--work", type=pathlib.Path, required=True, help="where the engines keep theirs")
    parser.add_argument("--scale", default="1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queries", help="some of 1..22 and " + ", ".join(EXTRA))
    parser.add_argument("--without", default="", help="some of " + ", ".join(kind.name for kind in ENGINES))
    parser.add_argument("--memory", default="4GiB", help="of OmenDB")
    parser.add_argument("--limit", type=float, default=20, help="seconds of one query")
    options = parser.parse_args()
    options.without, options.cores = options.without.split(","), 2
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    queries = {f"q{number:02}": (SQL / f"q{number:02}.sql").read_text() for number in range(1, 23)} | EXTRA
    if options.queries:
        wanted = [f"q{int(word):02}" if word.isdigit() else word for word in options.queries.split(",")]
        queries = {name: queries[name] for name in wanted}
    data = generated(options)
    engines = start(options, data.resolve())
    try:
        for name, sql in queries.items():
            measure(options, engines, name, sql)
    finally:
        for engine in engines:
            engine.close()


if __name__ == "__main__":
    main()
