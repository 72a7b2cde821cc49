"""Makes docs/performance.md from what perf/report.py has measured."""

import collections
import fnmatch
import math
import statistics
import textwrap

# Bytes of the same tables elsewhere, measured once with servers that the run does not start.
REFERENCES = {
    "flights": {"postgresql15_heap_pk": 39_264_256, "clickhouse_lz4": 10_044_548, "clickhouse_zstd3_tuned": 4_068_068},
    "lineitem": {
        "postgresql15_heap_pk": 1_069_113_344, "clickhouse_lz4": 321_344_856, "clickhouse_zstd3_tuned": 142_928_023,
    },
}
# Words in keys of times, and of what others on the machine can only add to: of these the least round counts, of all
# else the median.
TIMES = {"ns", "us", "ms", "ios"}


class Results:
    """Results by name and engine."""

    def __init__(self, results):
        self.rounds = collections.defaultdict(list)
        for result in results:
            for key, value in result.items():
                if isinstance(value, (int, float)) and key != "round":
                    self.rounds[result["name"], result["engine"], key].append(value)

    def get(self, name, engine, key):
        """The figure that counts, or None."""
        values = self.rounds.get((name, engine, key))
        if not values:
            return None
        return min(values) if set(key.split("_")) & TIMES else statistics.median(values)

    def first(self, *choices):
        """The first of several that is there."""
        return next((value for value in (self.get(*choice) for choice in choices) if value is not None), None)

    def names(self):
        return list(dict.fromkeys(name for name, _, _ in self.rounds))

    def engines(self, name):
        return list(dict.fromkeys(engine for own, engine, _ in self.rounds if own == name))

    def keys(self, name):
        return list(dict.fromkeys(key for own, _, key in self.rounds if own == name))


def number(value):
    """At least three digits, with separators."""
    if value is None:
        return "-"
    if value == 0 or math.isinf(value) or math.isnan(value):
        return str(int(value)) if value == 0 else str(value)
    if abs(value) >= 1_000:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def ratio(of, to):
    return None if of is None or not to else of / to


class Goal:
    """One row: what, the goal in words, and measured conditions, of which all must hold."""

    def __init__(self, what, goal):
        self.what, self.goal, self.parts = what, goal, []

    def needs(self, value, text, holds):
        """A condition; `value` is None if it was not measured. `text` shows the value in place of {}."""
        self.parts.append((value is not None, text.format(number(value)), value is not None and holds(value)))
        return self

    def row(self):
        words = [text for _, text, _ in self.parts]
        if all(holds for _, _, holds in self.parts):
            verdict = "met"
        elif any(known and not holds for known, _, holds in self.parts):
            verdict = "**not met**"
        else:
            verdict = "not measured" if not any(known for known, _, _ in self.parts) else "in part; rest not measured"
        return f"| {self.what} | {self.goal} | {'; '.join(words)} | {verdict} |"


def at_least(least):
    return lambda value: value >= least


def at_most(most):
    return lambda value: value <= most


def point_goals(results):
    own = results.get("point_read_cached", "omendb", "cpu_ns")
    times = lambda engine: ratio(results.get("point_read_cached", engine, "cpu_ns"), own)
    cached = Goal("cached point read by key, engine level", "<= 1 us CPU, >= 3x RocksDB and fjall")
    cached.needs(own, "{} ns CPU", at_most(1_000))
    cached.needs(times("rocksdb"), "{}x RocksDB", at_least(3)).needs(times("fjall"), "{}x fjall", at_least(3))
    cold = Goal("cold point read", "one I/O of <= 64 KiB")
    cold.needs(results.get("point_read_cold", "omendb", "ios"), "{} I/Os per read", lambda ios: 0.98 <= ios <= 1.02)
    cold.needs(results.get("point_read_cold", "omendb", "bytes_max"), "largest {} bytes", at_most(65_536))
    return [cached, cold]


def insert_goals(results):
    rows = []
    for name, what in [("insert_sequential", "sequential ingest, durable, batches of 1,000"),
                       ("insert_random", "random insert, durable, batches of 1,000")]:
        own = results.get(name, "omendb", "rows_per_second")
        goal = Goal(what, ">= 2M narrow rows/s on 2 cores, >= 3x RocksDB")
        goal.needs(own, "{} rows/s", at_least(2_000_000))
        goal.needs(ratio(own, results.get(name, "rocksdb", "rows_per_second")), "{}x RocksDB", at_least(3))
        rows.append(goal)
    return rows


def size_goals(results):
    rows = []
    for table, what in [("flights", "size of flights"), ("lineitem", "size of lineitem SF1")]:
        own, others = results.get(f"size_{table}", "omendb", "bytes"), REFERENCES[table]
        goal = Goal(what, "<= 1.15x ClickHouse tuned ZSTD(3), >= 7x below PostgreSQL heap + pk")
        goal.needs(own, "{} bytes", lambda _: True)
        goal.needs(ratio(own, others["clickhouse_zstd3_tuned"]), "{}x ClickHouse", at_most(1.15))
        goal.needs(ratio(others["postgresql15_heap_pk"], own), "{}x below PostgreSQL", at_least(7))
        rows.append(goal)
    return rows


def scan_goals(results):
    own = results.get("scan_filtered_sum", "omendb", "gb_per_second")
    goal = Goal("2-column filtered scan, 1 core", ">= 5 GB/s of logical bytes, >= DuckDB")
    goal.needs(own, "{} GB/s", at_least(5))
    for engine, words in [("duckdb", "DuckDB"), ("duckdb_memory", "DuckDB in memory")]:
        other = results.get("scan_filtered_sum", engine, "gb_per_second")
        goal.needs(ratio(own, other), "{}x " + words, at_least(1))
    return [goal]


def index_goals(results):
    memory = Goal("index memory", "<= 0.05 bytes per key, <= 1/10 of one fence per 64 rows")
    lookup = Goal("lookup, 10M real keys", ">= 1.6x one fence per 1,024 rows at equal memory")
    sort = Goal("learned sort of (key, row) pairs", ">= 1.5x sort_unstable on random, >= 2x near-sorted keys")
    memory.needs(results.first(("index_memory", "omendb", "bytes_per_key")), "{} bytes per key", at_most(0.05))
    memory.needs(results.first(("index_memory", "omendb", "of_fences_64")), "{} of fences per 64", at_most(0.1))
    lookup.needs(results.first(("lookup", "omendb", "ratio")), "{}x", at_least(1.6))
    sort.needs(results.first(("sort_random", "omendb", "ratio")), "{}x random", at_least(1.5))
    sort.needs(results.first(("sort_near_sorted", "omendb", "ratio")), "{}x near-sorted", at_least(2))
    return [memory, lookup, sort]


def update_goals(results):
    own = results.first(("write_amplification", "omendb", "with_log"))
    return [Goal("write amplification, uniform updates, 5x memory", "<= 8").needs(own, "{}", at_most(8))]


QUERIES = [f"tpch_q{number:02}" for number in range(1, 23)]


def geometric(values):
    return math.exp(statistics.fmean(math.log(value) for value in values)) if values else None


def tpch_ratios(results, engine):
    """Time of OmenDB over that of another engine, for each query that both answer."""
    pairs = [(results.get(name, "omendb", "ms"), results.get(name, engine, "ms")) for name in QUERIES]
    return [own / other for own, other in pairs if own and other]


def tpch_goals(results):
    answered = [name for name in QUERIES if results.get(name, "omendb", "ms")]
    if not answered:
        return []
    all_queries = Goal("TPC-H SF1, 2 threads: answers", "all 22").needs(len(answered), "{} of 22", at_least(22))
    postgres, duck = tpch_ratios(results, "postgresql"), tpch_ratios(results, "duckdb")
    speed = Goal("TPC-H SF1, geometric mean of queries that both answer", ">= 10x PostgreSQL, <= 1.0x the time of DuckDB")
    speed.needs(ratio(1, geometric(postgres)), f"{{}}x PostgreSQL ({len(postgres)} queries)", at_least(10))
    speed.needs(geometric(duck), f"{{}}x the time of DuckDB ({len(duck)})", at_most(1))
    worst = []
    for name in answered:
        others = [results.get(name, engine, "ms") for engine in results.engines(name) if engine != "omendb"]
        worst += [(results.get(name, "omendb", "ms") / min(filter(None, others)), name)] if any(others) else []
    slowest = max(worst, default=(None, "none"))
    slowness = Goal("TPC-H SF1, worst query", "<= 2x the best engine")
    slowness.needs(slowest[0], "{}x in " + slowest[1].removeprefix("tpch_"), at_most(2))
    return [all_queries, speed, slowness]


def mixed_goals(results):
    """The worst of all kinds of analytic queries: how much longer the 99th percentile of point reads is beside them."""
    idle = results.get("mixed_idle", "omendb", "p99_us")
    plain = [results.get(f"mixed_{kind}", "omendb", "p99_us") for kind in ("scan", "join", "sort")]
    spilling = results.get("mixed_spill", "omendb", "p99_us")
    if not idle:
        return []
    worst = ratio(max(filter(None, plain), default=None), idle)
    beside = Goal("point reads beside analytic queries, one core: 99th percentile", "<= 1.1x idle")
    beside.needs(worst, "{}x", at_most(1.1))
    spill = Goal("point reads beside a sort that exceeds work_mem: 99th percentile", "<= 3x idle")
    spill.needs(ratio(spilling, idle), "{}x", at_most(3))
    return [beside, spill]


def by_engine(results, names):
    """One line for each result, one column for each engine, milliseconds."""
    engines = list(dict.fromkeys(engine for name in names for engine in results.engines(name)))
    lines = ["| ms | " + " | ".join(engines) + " |", "|---|" + "---:|" * len(engines)]
    for name in names:
        values = " | ".join(number(results.get(name, engine, "ms")) for engine in engines)
        lines.append(f"| {name.removeprefix('tpch_')} | {values} |")
    return lines + [""]


GOALS = [point_goals, insert_goals, size_goals, scan_goals, index_goals, update_goals, tpch_goals, mixed_goals]

# Part -> title, what was done, patterns of the results' names.
SECTIONS = {
    "point": ("Point reads", """The wide table (`id int8` key with gaps, `a int8`, `price float8`, `email text` of 18
bytes, `ts timestamp`, `status text` of 8 values), loaded in key order, flushed and merged; random keys that exist, all
six columns. `point_read_cached`: all blocks in a block cache of 512 MiB. OmenDB's read is one of a session: it begins a
transaction and asks the router on the owning core; `point_read_cached_shard` is the same without both. RocksDB and
fjall return the row's bytes unparsed, from one thread, without compression, with 10-bit bloom filters, index and filters
in memory; RocksDB with its hyper clock cache and hashes in blocks. `point_read_cold`: block cache of 1 MiB, direct I/O; `ios` is what the disk counted per read that missed the
cache, `bytes` what the process was charged; fjall has no direct reads.""", ["load", "point_read_cached",
        "point_read_cached_shard", "point_read_cold"]),
    "insert": ("Inserts", """Narrow rows (`int8` key, `int4`, `float8`, `timestamp`: 28 bytes) in batches of 1,000, each
durable before its session goes on; 16 sessions: 8 on each of OmenDB's two cores, 16 threads for the others. RocksDB
with a synced log (group commit), 4 memtables of 64 MiB and 2 background jobs; fjall with SyncData.""",
        ["insert_sequential", "insert_random"]),
    "update": ("Write amplification", """1M rows of the wide table (85 bytes with their keys: five times the memory of 16 MiB),
then 1.5M uniform updates in durable batches of 1,000. Bytes the process wrote to disk over bytes of keys and rows; half
of the memory is for memtables, a quarter for the cache. What is still in memory at the end counts for nobody. An
update of OmenDB finds the old row first, here mostly on disk; the others put the new row without looking.""",
        ["write_amplification"]),
    "latency": ("Latency beside background work", """One core, 128 MiB of memory. 32 sessions read and update single rows
of 100,000 wide ones at a fixed rate, 1,000 reads and 200 durable updates a second in all; a time begins when the request
was due. `idle`: nothing else happens. `load`: one session loads narrow rows of random keys into another table as fast as
it can, which is flushed and merged all the time. `merge`: VACUUM rewrites another table of a million wide rows, at full
speed because somebody waits for it. All three take turns, and each line is of all rounds. `step`: how long
all other tasks of the core together keep one that is always ready waiting for its next turn, without the time in which
other programs had the CPU. Where reads or writes take much longer than that, the machine or its disk was busy.""", ["latency_*"]),
    "sizes": ("Sizes", """COPY through the binary (64 MiB of text in a transaction, which must fit into the memory of 2
GiB), CHECKPOINT and VACUUM, then the sum of the segment files. DuckDB and
Parquet are made from the same CSV. PostgreSQL 15 and ClickHouse were measured once, not in this run.""",
        ["size_flights", "size_lineitem", "size_*"]),
    "index": ("Learned index and sort", """CPU time of one thread. `lookup_KEYS`: nanoseconds to find a random key that is
there, each lookup waiting for the one before; `index_KEYS`: bytes of memory per key. `osm_zorder` are real keys: the
z-order of all points of OpenStreetMap's time zone boundaries (four million, and hard: neighbours are far from a line);
others are generated, and their names say so. `lookup` and `index_memory` are the worst of the real keys.""",
        ["lookup", "index_memory", "lookup_*", "index_*", "segment_find_*", "sort_*"]),
    "tpch": ("TPC-H", """The 22 queries and a few of our own (`perf/tpch.py`) over the wire or in process, each engine with
two threads, warm, all rows fetched by Python. OmenDB and PostgreSQL 15 (2 GB of shared buffers, one parallel worker, an
index on every foreign key, ANALYZE) are loaded by COPY, DuckDB and ClickHouse into tables of their own, DataFusion reads
Parquet. A dash: no answer within 20 seconds, or none at all; the list above says why.""", ["tpch_q*", "tpch_count",
        "tpch_point", "tpch_groups", "tpch_distinct", "tpch_top", "tpch_load"]),
    "mixed": ("Point reads beside analytic queries", """Over the wire, `perf/mixed.py`: the server has one CPU, the clients
share another. One client reads rows of `orders` of TPC-H by key, prepared, 500 times a second whatever the answers take;
a time begins when the request was due, and includes Python's work. Another client repeats a query as fast as it is
answered: `scan` is query 1, `join` query 3, `sort` numbers all orders by price, `spill` does so with 8 MB of work_mem.
`queries_beside`: how many it got. PostgreSQL has a process for each session, between which the kernel divides the CPU.""",
        ["mixed_idle", "mixed_*"]),
    "scan": ("Scans", """The wide table, one core, warm. `scan_filtered_sum`: `sum(a) WHERE price BETWEEN ..` that a
tenth of the rows pass; logical bytes are 16 per row. `scan_text_count`: `count(*) WHERE status = ..`; logical bytes are
the text's. DuckDB: one thread, the same rows in its own file and in a temporary table.""",
        ["scan_filtered_sum", "scan_text_count", "scan_*"]),
}


def matching(results, patterns):
    """Names of results in the order of the patterns."""
    found = [name for pattern in patterns for name in results.names() if fnmatch.fnmatch(name, pattern)]
    return list(dict.fromkeys(found))


def tables(results, names):
    """Figures by result and engine; results with the same figures share a table."""
    groups = collections.defaultdict(list)
    for name in names:
        groups[tuple(results.keys(name))].append(name)
    lines = []
    for keys, members in groups.items():
        if keys == ("ms",):
            lines += by_engine(results, members)
            continue
        lines += ["| result | engine | " + " | ".join(keys) + " |", "|---|---|" + "---:|" * len(keys)]
        for name in members:
            for engine in results.engines(name):
                values = " | ".join(number(results.get(name, engine, key)) for key in keys)
                lines.append(f"| {name} | {engine} | {values} |")
            for engine, size in REFERENCES.get(name.removeprefix("size_"), {}).items():
                values = " | ".join(number(size) if key == "bytes" else "-" for key in keys)
                lines.append(f"| {name} | {engine} (earlier) | {values} |")
        lines.append("")
    return lines


def rest(results):
    """Results of programs that this file knows nothing of: all in one table."""
    known = {name for _, _, patterns in SECTIONS.values() for name in matching(results, patterns)}
    others = [name for name in results.names() if name not in known]
    if not others:
        return []
    return ["## Everything else that was measured", ""] + tables(results, others)


WIRE = """`omendb-perf all`: each workload on servers that it starts, in turns, 5 rounds of 1.5 seconds, 8 connections; OmenDB
on 2 cores that it shares with the load. At a rate, a time begins when the request was due. What the rates and scales are
`omendb-perf workloads` tells, what the figures mean docs/benchmarking.md. DuckDB and ClickHouse run in process behind an
adapter in Python, whose cost is in their times, and only workloads that do not change rows. A ratio below 1 of times or
costs is in favour of OmenDB."""
SWEEPS = {
    "sweep-rate": "Reads by key at rising rates",
    "sweep-size": "Cost of reads by key at 500/s, of 10,000 to 1,000,000 rows (scale 0.1, 1 and 10)",
    "sweep-cores": "Reads by key on 1 core to all, closed loop of 16 connections on the same CPUs",
}


def wire(record):
    """The load over the wire."""
    if not record.get("wire"):
        return []
    lines = ["## Over the wire", "", textwrap.fill(" ".join(WIRE.split()), 120), "", record["wire"]]
    for transcript in record["transcripts"]:
        title = SWEEPS.get(transcript["title"])
        if title:
            lines += [f"{title}:", ""] + [f"    {line}".rstrip() for line in transcript["lines"]]
            lines += ["", f"![{title}](performance/{transcript['title']}.svg)", ""]
    return lines


def page(record):
    """The page's text."""
    results = Results(record["results"])
    lines = [
        "# Performance", "",
        "Written by `perf/report.py` from one run; no figure here was typed. Of times and I/Os the least round counts, of all else",
        "the median; engines took turns within every round. A dash was not measured.", "",
    ]
    lines += ["| | |", "|---|---|"] + [f"| {name} | {value} |" for name, value in record["facts"].items()]
    lines += ["", "## Goals", "", "| what | goal | measured | |", "|---|---|---|---|"]
    lines += [goal.row() for goals in GOALS for goal in goals(results)]
    lines.append("")
    if record["missing"]:
        lines += ["Not measured or failed in this run:", ""]
        lines += [f"- {missing['what']}: {missing['why']}" for missing in record["missing"]] + [""]
    for title, text, names in SECTIONS.values():
        present = matching(results, names)
        if present:
            lines += [f"## {title}", "", textwrap.fill(" ".join(text.split()), 120), ""]
            lines += tables(results, present)
    lines += wire(record)
    transcripts = [each for each in record.get("transcripts", []) if each["title"] not in SWEEPS]
    if transcripts:
        lines += ["## Encodings", "", "As `perf/src/bin/encodings.rs` prints them, on one thread.", ""]
    for transcript in transcripts:
        lines += [f"{transcript['title']}:", ""] + [f"    {line}".rstrip() for line in transcript["lines"]] + [""]
    lines += rest(results)
    lines += ["## Run it again", "", "    perf/report.py --data DIR", "",
              "on a quiet machine; `--help` lists what can be left out. RocksDB needs a C++ compiler and libclang to build,",
              "DuckDB and the TPC-H generator are fetched from PyPI into the folder; the page says what was missing."]
    return "\n".join(lines) + "\n"
