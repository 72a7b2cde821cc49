#!/usr/bin/env python3
"""What point reads wait for while one other session runs analytic queries, on a server of one CPU.

    perf/mixed.py --binary OMENDB --data DIR --work DIR [--scale 1] [--seconds 8] [--without postgresql]

The server has CPU 0 alone; the clients share CPU 1. One client reads single rows of `orders` by primary key, prepared, at
a fixed rate whatever the answers take; a time begins when the request was due. It does so while nothing else is asked
(`idle`), and beside each of the analytic queries, which a second client repeats as fast as they are answered. Idle
phases lie between the others, so that drift shows. The same is done with PostgreSQL 15 where it is installed; it has a
process for each session, which the kernel's scheduler divides the CPU among. Rows, packages and engines are those of
`perf/tpch.py`.
"""

import argparse
import multiprocessing
import os
import pathlib
import random
import time

import tpch

# What goes on beside the reads, and the work_mem that it has.
BESIDE = {
    "scan": ("256MB", "q01"),
    "join": ("256MB", "q03"),
    "sort": ("256MB", "SELECT max(n) FROM (SELECT row_number() OVER (ORDER BY o_totalprice, o_orderkey) AS n FROM orders) o"),
    "spill": ("8MB", "SELECT max(n) FROM (SELECT row_number() OVER (ORDER BY o_totalprice, o_orderkey) AS n FROM orders) o"),
    # Rows and states of more than four times the memory.
    "spilled_join": ("8MB", "SELECT max(length(o_comment)) FROM lineitem JOIN orders ON l_orderkey = o_orderkey"),
    "spilled_groups": ("8MB", "SELECT max(q) FROM (SELECT l_orderkey, sum(l_quantity) AS q FROM lineitem GROUP BY l_orderkey) l"),
    "spilled_window": ("8MB", "SELECT max(s) FROM (SELECT sum(o_totalprice) OVER (ORDER BY o_orderdate, o_orderkey ROWS BETWEEN 100 PRECEDING AND CURRENT ROW) AS s FROM orders) o"),
    "spilled_set": ("8MB", "SELECT count(*) FROM (SELECT o_orderkey, o_comment FROM orders INTERSECT SELECT l_orderkey, l_comment FROM lineitem) o"),
}


def connect(port, database):
    import psycopg

    return psycopg.connect(host="127.0.0.1", port=port, user="omen", dbname=database, autocommit=True)


def analyse(port, database, memory, sql, ready, answered):
    """Repeats a query until the process is ended."""
    os.sched_setaffinity(0, {1})
    connection = connect(port, database)
    connection.execute(f"SET work_mem = '{memory}'")
    while True:
        try:
            connection.execute(sql).fetchall()
        except Exception as error:
            answered.value = -1
            tpch.say(f"missing the query beside the reads: {str(error).strip().splitlines()[0][:160]}")
            ready.set()
            return
        answered.value += 1
        ready.set()


def read_points(connection, keys, options, seed):
    """Microseconds of all reads of a phase, sorted."""
    chosen, times = random.Random(seed), []
    due = time.perf_counter()
    until = due + options.seconds
    while due < until:
        key = keys[chosen.randrange(len(keys))]
        while time.perf_counter() < due:
            pass
        row = connection.execute("SELECT * FROM orders WHERE o_orderkey = %s", (key,), prepare=True).fetchone()
        times.append((time.perf_counter() - due) * 1e6)
        assert row[0] == key
        due += 1 / options.rate
    return sorted(times)


def tell(name, engine, times, beside):
    quantile = lambda share: times[min(len(times) - 1, int(len(times) * share))]
    figures = " ".join(f"{word}_us={quantile(share):.0f}" for word, share in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)])
    tpch.say(f"result name=mixed_{name} engine={engine} {figures} max_us={times[-1]:.0f} queries_beside={beside}")


def measure(engine, database, options):
    keys = [row[0] for row in engine.run("SELECT o_orderkey FROM orders WHERE o_orderkey % 16 = 1")]
    connection = connect(engine.port, database)
    read_points(connection, keys, options, 0)
    for number, name in enumerate(options.beside.split(",")):
        memory, sql = BESIDE[name]
        tell("idle", engine.name, read_points(connection, keys, options, number), 0)
        sql = (tpch.SQL / f"{sql}.sql").read_text() if (tpch.SQL / f"{sql}.sql").exists() else sql
        ready, answered = multiprocessing.Event(), multiprocessing.Value("q", 0)
        words = (engine.port, database, memory, sql, ready, answered)
        other = multiprocessing.Process(target=analyse, args=words, daemon=True)
        other.start()
        ready.wait(60)
        before = answered.value
        if before >= 0:
            times = read_points(connection, keys, options, number)
            tell(name, engine.name, times, answered.value - before)
        other.terminate()
        other.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="where the generated rows are kept")
    parser.add_argument("--work", type=pathlib.Path, required=True, help="where the engines keep theirs")
    parser.add_argument("--scale", default="1")
    parser.add_argument("--seconds", type=float, default=8, help="of one phase")
    parser.add_argument("--rate", type=float, default=500, help="point reads per second")
    parser.add_argument("--without", default="", help="postgresql")
    parser.add_argument("--memory", default="2GiB", help="of OmenDB")
    parser.add_argument("--beside", default=",".join(BESIDE), help="what goes on beside the reads")
    options = parser.parse_args()
    options.limit, options.cores = 60, 1
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    data = tpch.generated(options).resolve()
    for kind, database in [(tpch.Omen, "omen"), (tpch.Postgres, "postgres")]:
        if kind.name in options.without.split(","):
            continue
        # What a server starts with, its threads keep.
        os.sched_setaffinity(0, {0})
        try:
            engine = kind(options)
        except Exception as error:
            tpch.say(f"missing {kind.name}: {str(error).strip().splitlines()[0][:200]}")
            continue
        finally:
            os.sched_setaffinity(0, {1})
        try:
            engine.load(data, ["orders", "lineitem", "customer"])
            measure(engine, database, options)
        finally:
            engine.close()


if __name__ == "__main__":
    main()
