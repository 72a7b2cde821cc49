#!/usr/bin/env python3
"""Measures everything in one run and writes docs/performance.md. Standard library only, one command, unattended:

    perf/report.py --data DIR          # less than 30 minutes after the builds

--data (or OMENDB_PERF_DATA) is a folder on the disk to measure; data sets, a Python environment and results are kept
there, so that a second run needs no network. Baselines that cannot be had (RocksDB needs a C++ compiler and libclang,
DuckDB and the TPC-H generator come from PyPI) are named as missing in the page; --without leaves some out on purpose.
Engines take turns within every round, so that ratios hold on a busy machine.
"""

import argparse
import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import venv

import report_page

ROOT = pathlib.Path(__file__).resolve().parent.parent
BASELINES = ROOT / "perf/baselines"
STARTED = time.monotonic()

# Packages from PyPI, pinned so that two runs compare.
DUCKDB, TPCH, OSM = "duckdb==2.0.0", "tpchgen-cli==4.0.0", ["timezonefinder==9.0.0", "numpy"]
SQL_ENGINES = ["psycopg[binary]==3.3.9", "chdb==4.4.0", "datafusion==55.0.0"]


def say(text):
    print(f"[{time.monotonic() - STARTED:6.1f} s] {text}", flush=True)


class Run:
    """What the parts share: options, programs, results so far."""

    def __init__(self, options):
        self.options = options
        self.data = options.data
        self.results, self.missing, self.transcripts = [], [], []
        # The section of the load over the wire, and the folder of all charts.
        self.wire, self.charts = "", options.page.parent / "performance"
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="run-", dir=options.data))
        # PostgreSQL runs as a user of its own where this one is root.
        self.work.chmod(0o755)
        self.target = options.target or self.target_folder()
        self.baselines = None
        self.python = None
        self.deadline = float("inf")

    def target_folder(self):
        if os.environ.get("CARGO_TARGET_DIR"):
            return pathlib.Path(os.environ["CARGO_TARGET_DIR"])
        command = ["cargo", "metadata", "--format-version", "1", "--no-deps"]
        metadata = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        return pathlib.Path(json.loads(metadata.stdout)["target_directory"])

    def binary(self, name):
        return self.target / "release" / name

    def lack(self, what, why):
        for folder, word in [(self.work, "WORK"), (self.data, "DATA"), (self.target, "TARGET"), (ROOT, ".")]:
            why = why.replace(str(folder), word)
        say(f"MISSING {what}: {why}")
        self.missing.append({"what": what, "why": why})

    def measure(self, command, seconds=120, round_number=0, title=None, statuses=(0,)):
        """Runs a program and keeps its `result` lines; with a title, all it says. The statuses are those of success."""
        command = [str(word) for word in command]
        label = " ".join(os.path.basename(word) for word in command[:3] if str(self.work) not in word)
        seconds = min(seconds, self.deadline - time.monotonic())
        if seconds <= 0:
            self.lack(label, "no time was left")
            return False
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            stdin=subprocess.DEVNULL, cwd=self.work,
        )
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        last = collections.deque(maxlen=200 if title else 8)
        for line in process.stdout:
            line = line.rstrip()
            last.append(line)
            self.take(line, round_number)
        process.wait()
        timer.cancel()
        if process.returncode in statuses:
            if title:
                self.transcripts.append({"title": title, "lines": list(last)})
            return True
        why = f"ended with {process.returncode}" if process.returncode >= 0 else f"stopped after {seconds:.0f} s"
        words = [line for line in last if not line.startswith("result ")]
        self.lack(label, f"{why}: {' / '.join(words)}"[:300])
        return False

    def take(self, line, round_number):
        for word, what in [("missing ", ""), ("different ", "another answer: ")]:
            if line.startswith(word) and ": " in line:
                name, why = line.removeprefix(word).split(": ", 1)
                self.lack(name, what + why)
        if not line.startswith("result "):
            return
        say(line)
        fields = dict(word.split("=", 1) for word in line.split()[1:] if "=" in word)
        result = {"name": fields.pop("name", "?"), "engine": fields.pop("engine", "omendb"), "round": round_number}
        for key, value in fields.items():
            try:
                result[key] = float(value)
            except ValueError:
                result[key] = value
        self.results.append(result)

    def engines(self):
        """Name and first words of the command of each key-value engine."""
        engines = [("omendb", [self.binary("storage")])]
        if self.baselines:
            others = [name for name in ("rocksdb", "fjall") if name not in self.options.without]
            engines += [(name, [self.baselines, name]) for name in others]
        return engines

    def fresh(self, name):
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        return folder


def cargo(run, what, words, cwd=ROOT):
    say(f"building {what}")
    command = ["cargo", "build", "--release", "--locked", "--quiet"] + words
    built = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if built.returncode != 0:
        run.lack(what, "does not build: " + built.stderr.strip().splitlines()[-1][:200])
    return built.returncode == 0


def build(run):
    target = ["--target-dir", str(run.target)]
    if not run.options.no_build:
        cargo(run, "the measurements", target + ["--package", "omen-perf", "--bins"])
        if {"sizes", "tpch", "mixed", "wire"} & set(run.options.parts):
            cargo(run, "the binary", target + ["--package", "omendb"])
    if {"rocksdb", "fjall"} <= set(run.options.without):
        return
    folder = run.options.baselines_target or run.target / "baselines"
    program = folder / "release/baselines"
    if not run.options.no_build:
        cargo(run, "RocksDB and fjall", ["--target-dir", str(folder)], cwd=BASELINES)
    if program.exists():
        run.baselines = program
    else:
        run.lack("RocksDB and fjall", "not built")


def python(run):
    """A Python with DuckDB, and the TPC-H generator, in the data folder."""
    if "duckdb" in run.options.without:
        return
    home = run.data / "venv"
    program = home / "bin/python"
    works = lambda: subprocess.run([program, "-c", "import duckdb"], capture_output=True).returncode == 0
    try:
        if not program.exists() or not works():
            say(f"installing {DUCKDB} and {TPCH}")
            venv.create(home, with_pip=True)
            packages = [home / "bin/pip", "install", "--quiet", DUCKDB, TPCH]
            subprocess.run(packages, check=True, timeout=300, capture_output=True)
        run.python = program
    except (OSError, subprocess.SubprocessError) as error:
        run.lack("DuckDB and the TPC-H generator", f"not installable: {error}"[:200])


def point(run):
    """Point reads from memory and from disk."""
    rows = f"rows={run.options.rows}"
    folders = {name: run.fresh(f"point-{name}") for name, _ in run.engines()}
    engines = [
        (name, command) for name, command in run.engines()
        if run.measure(command + ["load", folders[name], rows, "memory_mib=2048"])
    ]
    for number in range(run.options.rounds):
        for name, command in engines:
            run.measure(command + ["read", folders[name], rows, "ms=700", f"seed={number}"], 60, number)
    for number in range(3):
        for name, command in engines:
            run.measure(command + ["cold", folders[name], rows, "reads=3000", f"seed={number + 99}"], 60, number)
    for folder in folders.values():
        shutil.rmtree(folder, ignore_errors=True)


def insert(run):
    """Durable batches of 1,000 narrow rows."""
    for number in range(min(run.options.rounds, 3)):
        for random in (0, 1):
            for name, command in run.engines():
                folder = run.fresh(f"insert-{name}")
                run.measure(command + ["insert", folder, f"random={random}", "ms=3000"], 60, number)
                shutil.rmtree(folder, ignore_errors=True)
    own(run, "ingest", 60, [run.work, 2])


def own(run, name, seconds, words=()):
    """A program of perf/src/bin that prints results of its own."""
    if not run.binary(name).exists():
        run.lack(name, "there is no such program")
    else:
        run.measure([run.binary(name), *words], seconds)


def update(run):
    """Write amplification."""
    for name, command in run.engines():
        folder = run.fresh(f"update-{name}")
        words = ["memory_mib=16", "rows=1000000", "updates=1500000"]
        run.measure(command + ["update", folder, *words], 120)
        shutil.rmtree(folder, ignore_errors=True)


def latency(run):
    """What sessions wait for during flushes and merges."""
    folder = run.fresh("latency")
    own(run, "latency", 120, ["all", folder])
    shutil.rmtree(folder, ignore_errors=True)


def sizes(run):
    """Bytes on disk of real tables."""
    scale = run.options.scale
    csv_of_lineitem = run.data / f"lineitem-{scale}.csv"
    if not run.binary("omendb").exists():
        run.lack("sizes", "the binary is not built")
        return
    common = ["--binary", run.binary("omendb"), "--data", run.data, "--work", run.work, "--scale", scale]
    program = [sys.executable, ROOT / "perf/sizes.py"]
    run.measure(program + ["flights"] + common, 90)
    tables = [("flights", run.data / "flights.csv")]
    if csv_of_lineitem.exists():
        run.measure(program + ["lineitem"] + common, 240)
        tables.append(("lineitem" if scale == "1" else f"lineitem_sf{scale}", csv_of_lineitem))
    else:
        run.lack("lineitem", f"no {csv_of_lineitem.name} in the data folder and no generator")
    for name, csv in tables:
        if run.python and csv.exists():
            words = ["sizes", "--csv", csv, "--name", name, "--work", run.work]
            run.measure([run.python, ROOT / "perf/compare_duckdb.py", *words], 120)


def tpch(run):
    """TPC-H beside other engines."""
    if not run.binary("omendb").exists() or not run.python:
        run.lack("TPC-H", "the binary is not built, or there is no Python with the generator")
        return
    installed = subprocess.run([run.data / "venv/bin/pip", "install", "--quiet", *SQL_ENGINES], capture_output=True)
    if installed.returncode != 0:
        run.lack("TPC-H on some engines", "PyPI packages: " + installed.stderr.decode().strip()[-200:])
    words = ["--binary", run.binary("omendb"), "--data", run.data, "--work", run.fresh("tpch")]
    words += ["--scale", run.options.scale, "--rounds", min(run.options.rounds, 3), "--without", ",".join(run.options.without)]
    run.measure([run.python, ROOT / "perf/tpch.py", *words], 1200)
    shutil.rmtree(run.work / "tpch", ignore_errors=True)


def mixed(run):
    """Point reads beside analytic queries."""
    if not run.binary("omendb").exists() or not run.python:
        run.lack("mixed", "the binary is not built, or there is no Python with the generator")
        return
    words = ["--binary", run.binary("omendb"), "--data", run.data, "--work", run.fresh("mixed")]
    words += ["--scale", run.options.scale, "--without", ",".join(run.options.without)]
    run.measure([run.python, ROOT / "perf/mixed.py", *words], 400)
    shutil.rmtree(run.work / "mixed", ignore_errors=True)


# Servers of the load over the wire, and the names that --without knows them by.
SERVERS = {"omendb": "omendb", "postgres": "postgresql", "duckdb": "duckdb", "clickhouse": "clickhouse"}
# What grows, and the words of `omendb-perf sweep` for it.
SWEEPS = {
    "rate": ["select", "--from", 500, "--factor", 2, "--seconds", 2],
    "size": ["select", "--over", "size", "--scale", 0.1, "--from", 500, "--seconds", 3],
    "cores": ["select", "--over", "cores", "--connections", 16, "--seconds", 3],
}


def wire(run):
    """All workloads over the wire, and how servers fare as rate, size and cores grow."""
    program = run.binary("omendb-perf")
    if not program.exists() or not run.binary("omendb").exists():
        run.lack("the load over the wire", "the binaries are not built")
        return
    servers = [word for word, name in SERVERS.items() if name not in run.options.without]
    common = ["--python", run.python or "python3", "--folder", run.work / "wire"]
    results = run.fresh("wire-results")
    words = ["all", "--connections", 8, "--seconds", 1.5, "--warm-up", 0.3, "--rounds", 5, "--out", results]
    # What is missing or wrong is in the results.
    run.measure([program, *words, *common, *with_servers(servers)], 780, statuses=(0, 1))
    run.charts.mkdir(exist_ok=True)
    of_rows = [server for server in servers if server in ("omendb", "postgres")]
    for name, words in SWEEPS.items():
        own = of_rows[:1] if name == "cores" else of_rows
        chart = ["--chart", run.charts / f"sweep-{name}.svg"]
        run.measure([program, "sweep", *words, *chart, *common, *with_servers(own)], 120, title=f"sweep-{name}")
    section = run.options.page.parent / "wire.md"
    words = ["--out", section, "--charts", run.charts]
    if run.measure([program, "markdown", *sorted(results.glob("*.json")), *words], 30):
        run.wire = section.read_text()
    section.unlink(missing_ok=True)


def with_servers(servers):
    return [word for server in servers for word in ("--server", server)]


def scan(run):
    """Filtered scans on one core."""
    duck = [run.python, ROOT / "perf/compare_duckdb.py"]
    db = run.work / "wide.duckdb"
    if run.python:
        csv = run.work / "wide.csv"
        with open(csv, "wb") as out:
            subprocess.run([run.binary("rows"), str(run.options.scan_rows)], stdout=out, check=True)
        run.measure(duck + ["load", "--csv", csv, "--db", db], 60)
        csv.unlink()
    for number in range(3):
        if run.binary("scan").exists():
            run.measure([run.binary("scan"), run.work, run.options.scan_rows], 90, number)
        elif number == 0:
            run.lack("scan", "there is no such program")
        if run.python:
            run.measure(duck + ["scan", "--db", db], 60, number)
    db.unlink(missing_ok=True)


def osm_keys(run):
    """The file of real keys, if it can be had."""
    path, home = run.data / "osm-zorder.u64", run.data / "venv/bin"
    if not path.exists() and (home / "pip").exists():
        say("making real keys")
        if subprocess.run([home / "pip", "install", "--quiet", *OSM], capture_output=True).returncode == 0:
            subprocess.run([home / "python", ROOT / "perf/osm_keys.py", path], timeout=300)


def lineitem(run):
    """The CSV file of lineitem, if it can be had."""
    generator, path = run.data / "venv/bin/tpchgen-cli", run.data / f"lineitem-{run.options.scale}.csv"
    if not path.exists() and generator.exists():
        say("making lineitem")
        words = ["csv", "-q", "-s", run.options.scale, "--tables", "lineitem", "--output-dir", run.work]
        if subprocess.run([generator, *words]).returncode == 0:
            shutil.move(run.work / "lineitem.csv", path)


def index(run):
    """Learned index and sort, on all files of keys in the data folder."""
    keys = sorted(run.data.glob("*.u64"))
    if not keys:
        run.lack("real keys", "timezonefinder is not installable")
    own(run, "learned", 240, keys)


def encodings(run):
    """Encodings of each column."""
    if not run.binary("encodings").exists():
        run.lack("encodings", "there is no such program")
        return
    flights = ["int4"] * 9 + ["text", "int4"] + ["text"] * 3 + ["int4"] * 4 + ["timestamptz"]
    of_lineitem = ["int8"] * 3 + ["int4"] + ["numeric"] * 4 + ["text"] * 2 + ["date"] * 3 + ["text"] * 3
    for name, types in [("flights", flights), (f"lineitem-{run.options.scale}", of_lineitem)]:
        csv, rows = run.data / f"{name}.csv", 1_000_000
        if csv.exists():
            title = f"The first {rows:,} rows of {csv.name} at most, by column"
            run.measure([run.binary("encodings"), csv, ",".join(types), rows], 60, title=title)


def prepare(run):
    """What is made once and kept in the data folder."""
    python(run)
    for part, make in [("index", osm_keys), ("sizes", lineitem)]:
        try:
            if part in run.options.parts:
                make(run)
        except (OSError, subprocess.SubprocessError) as error:
            run.lack(part, f"data: {error}"[:200])


PARTS = {
    "point": point, "insert": insert, "update": update, "latency": latency, "sizes": sizes, "scan": scan, "index": index,
    "encodings": encodings, "tpch": tpch, "mixed": mixed, "wire": wire,
}


def output(command):
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def disk_of(folder):
    device = os.stat(folder).st_dev
    entry = pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    mounts = [line.split() for line in pathlib.Path("/proc/mounts").read_text().splitlines()]
    folder = str(folder.resolve())
    fits = lambda mount: folder == mount[1] or folder.startswith(mount[1].rstrip("/") + "/")
    kind = max(filter(fits, mounts), key=lambda mount: len(mount[1]))[2]
    return f"{entry.resolve().name if entry.exists() else 'unknown'}, {kind}"


def facts(run):
    """The machine and the versions."""
    cpu = [line for line in open("/proc/cpuinfo") if line.startswith("model name")]
    memory = int(open("/proc/meminfo").readline().split()[1])
    locked = (BASELINES / "Cargo.lock").read_text()
    version = lambda name: locked.split(f'name = "{name}"\nversion = "')[1].split('"')[0]
    changed = output(["git", "status", "--porcelain", "--untracked-files=no"])
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": output(["git", "rev-parse", "--short=12", "HEAD"]) + (" with changes" if changed else ""),
        "cpu": f"{cpu[0].split(':')[1].strip() if cpu else 'unknown'}, {len(os.sched_getaffinity(0))} CPUs",
        "memory": f"{memory / (1 << 20):.1f} GiB",
        "kernel": f"Linux {os.uname().release}",
        "disk": disk_of(run.data),
        "load at start": f"{os.getloadavg()[0]:.2f}",
        "rustc": output(["rustc", "--version"]),
        "baselines": f"rocksdb crate {version('rocksdb')} (librocksdb-sys {version('librocksdb-sys')}), "
        f"fjall {version('fjall')}, " + ", ".join([DUCKDB, TPCH, *SQL_ENGINES]).replace("==", " "),
    }


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    data = os.environ.get("OMENDB_PERF_DATA")
    parser.add_argument("--data", type=pathlib.Path, default=data, required=data is None)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--without", default="", help="some of rocksdb,fjall,duckdb,postgresql,clickhouse,datafusion")
    parser.add_argument("--minutes", type=float, default=29, help="after which what is left is skipped")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=2_000_000, help="of the point reads")
    parser.add_argument("--scan-rows", type=int, default=5_000_000)
    parser.add_argument("--scale", default="1", help="of lineitem and TPC-H")
    parser.add_argument("--no-build", action="store_true", help="use what is built")
    parser.add_argument("--target", type=pathlib.Path, help="cargo's folder")
    parser.add_argument("--baselines-target", type=pathlib.Path, help="cargo's folder for RocksDB and fjall")
    parser.add_argument("--json", type=pathlib.Path, help="all results [default: performance.json in --data]")
    parser.add_argument("--page", type=pathlib.Path, default=ROOT / "docs/performance.md")
    parser.add_argument("--page-only", action="store_true", help="make the page from --json again")
    chosen = parser.parse_args()
    chosen.data = pathlib.Path(chosen.data).resolve()
    chosen.parts = [part for part in chosen.parts.split(",") if part]
    chosen.without = chosen.without.split(",")
    chosen.page = chosen.page.resolve()
    chosen.json = chosen.json or chosen.data / "performance.json"
    unknown = set(chosen.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    return chosen


def main():
    chosen = options()
    if not chosen.page_only:
        chosen.data.mkdir(parents=True, exist_ok=True)
        run = Run(chosen)
        try:
            build(run)
            prepare(run)
            machine, began = facts(run), time.monotonic()
            run.deadline = began + chosen.minutes * 60
            for part in chosen.parts:
                say(f"=== {part}: {PARTS[part].__doc__}")
                try:
                    PARTS[part](run)
                except (OSError, subprocess.SubprocessError) as error:
                    run.lack(part, str(error)[:200])
            machine["minutes"] = f"{(time.monotonic() - began) / 60:.1f}"
        finally:
            shutil.rmtree(run.work, ignore_errors=True)
        record = {"facts": machine, "parts": chosen.parts, "missing": run.missing, "results": run.results}
        record["transcripts"], record["wire"] = run.transcripts, run.wire
        chosen.json.write_text(json.dumps(record, indent=1) + "\n")
        say(f"results are in {chosen.json}")
    chosen.page.write_text(report_page.page(json.loads(chosen.json.read_text())))
    say(f"wrote {chosen.page}")


if __name__ == "__main__":
    main()
