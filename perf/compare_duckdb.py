#!/usr/bin/env python3
"""DuckDB, one thread, on the data that OmenDB is measured with. Needs the PyPI package `duckdb`.

    perf/compare_duckdb.py load  --csv ROWS.csv --db FILE     the wide table, as perf/src/bin/rows.rs prints it
    perf/compare_duckdb.py scan  --db FILE                    filtered scans, native table on disk and in memory
    perf/compare_duckdb.py sizes --csv TABLE.csv --name NAME --work DIR   DuckDB file, Parquet zstd(3), CSV
"""

import argparse
import os
import pathlib
import time

import duckdb

# What perf/src/bin/scan.rs asks, with the bytes per row that each touches: two int8/float8, one int8, the text.
QUERIES = {
    "scan_filtered_sum": ("SELECT sum(a) FROM {} WHERE price BETWEEN 4000 AND 4999.99", "16"),
    "scan_text_count": ("SELECT count(*) FROM {} WHERE status = 'pending'", "avg(strlen(status))"),
}
RUNS = 7


def connect(path):
    connection = duckdb.connect(str(path))
    connection.execute("SET threads = 1")
    return connection


def load(options):
    options.db.unlink(missing_ok=True)
    with connect(options.db) as db:
        db.execute(
            f"""CREATE TABLE wide AS SELECT id, a, price, email, make_timestamp(ts) AS ts, status
            FROM read_csv('{options.csv}', header = false, columns = {{'id': 'BIGINT', 'a': 'BIGINT',
            'price': 'DOUBLE', 'email': 'VARCHAR', 'ts': 'BIGINT', 'status': 'VARCHAR'}})"""
        )
        db.execute("CHECKPOINT")


def scan(options):
    with connect(options.db) as db:
        db.execute("CREATE TEMP TABLE in_memory AS SELECT * FROM wide")
        rows = db.execute("SELECT count(*) FROM wide").fetchone()[0]
        for name, (query, width) in QUERIES.items():
            bytes_per_row = float(db.execute(f"SELECT {width} FROM wide LIMIT 1").fetchone()[0])
            for engine, table in [("duckdb", "wide"), ("duckdb_memory", "in_memory")]:
                statement = query.format(table)
                db.execute(statement).fetchall()
                best_ns = best_cpu_ns = float("inf")
                for _ in range(RUNS):
                    began, cpu = time.perf_counter_ns(), time.process_time_ns()
                    answer = db.execute(statement).fetchone()[0]
                    best_ns = min(best_ns, time.perf_counter_ns() - began)
                    best_cpu_ns = min(best_cpu_ns, time.process_time_ns() - cpu)
                print(
                    f"result name={name} engine={engine} ms={best_ns / 1e6:.3f} cpu_ms={best_cpu_ns / 1e6:.3f} "
                    f"gb_per_second={rows * bytes_per_row / best_ns:.3f} rows={rows} answer={answer}"
                )


def sizes(options):
    name, csv, work = options.name, options.csv, options.work
    rows_of = lambda db: db.execute("SELECT count(*) FROM t").fetchone()[0]
    file, parquet = work / f"{name}.duckdb", work / f"{name}.parquet"
    file.unlink(missing_ok=True)
    with duckdb.connect(str(file)) as db:
        db.execute(f"CREATE TABLE t AS SELECT * FROM read_csv('{csv}', header = true)")
        db.execute("CHECKPOINT")
        rows = rows_of(db)
        db.execute("SET preserve_insertion_order = true")
        db.execute(f"COPY t TO '{parquet}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3)")
    for engine, path in [("csv", csv), ("duckdb", file), ("parquet_zstd3", parquet)]:
        size = os.path.getsize(path)
        print(f"result name=size_{name} engine={engine} bytes={size} rows={rows} bytes_per_row={size / rows:.3f}")
    file.unlink()
    parquet.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("part", choices=["load", "scan", "sizes"])
    parser.add_argument("--csv", type=pathlib.Path)
    parser.add_argument("--db", type=pathlib.Path)
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--name")
    options = parser.parse_args()
    {"load": load, "scan": scan, "sizes": sizes}[options.part](options)


if __name__ == "__main__":
    main()
