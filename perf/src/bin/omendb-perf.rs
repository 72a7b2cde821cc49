//! Load and latency over the Postgres wire: see `omendb-perf --help` and `docs/benchmarking.md`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use indicatif::ProgressBar;
use omen_perf::harness::load::Arrivals;
use omen_perf::harness::outcome::Outcome;
use omen_perf::harness::run::{Task, run};
use omen_perf::harness::server::Setup;
use omen_perf::harness::sweep::Over;
use omen_perf::harness::{compare, markdown, page, server, sweep, workload};

#[derive(Parser)]
#[command(name = "omendb-perf", version, about = "Measures servers of the Postgres protocol")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a workload on one or several servers, in turns
    Run(RunArgs),
    /// Runs all workloads, each at a rate of its own, and draws them as a page
    All(AllArgs),
    /// Raises the rate until a server cannot bear it, or the number of rows or cores
    Sweep(SweepArgs),
    /// Says what differs between two results of the same load
    Compare {
        /// The first result
        a: PathBuf,
        /// The second result
        b: PathBuf,
    },
    /// Draws results as a page
    Page {
        /// Results of `run`
        #[arg(required = true)]
        results: Vec<PathBuf>,
        /// The file to write
        #[arg(long, default_value = "performance.html")]
        out: PathBuf,
    },
    /// Writes results as a section of Markdown, and a chart of each workload
    Markdown {
        /// Results of `run`
        #[arg(required = true)]
        results: Vec<PathBuf>,
        /// The file to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The folder for the charts, which the section names as they are seen from its file's
        #[arg(long, value_name = "FOLDER")]
        charts: PathBuf,
    },
    /// Lists the workloads
    Workloads,
}

#[derive(Args)]
struct LoadArgs {
    /// omendb, postgres, duckdb, clickhouse, or postgres://USER[:PASSWORD]@HOST:PORT/DATABASE; NAME=.. names it. Given several times, they
    /// have their turns in this order
    #[arg(long = "server", value_name = "SERVER", default_value = "omendb")]
    servers: Vec<String>,
    /// Connections
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Seconds of each round that are counted
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds of each round before
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// How much is loaded: 0.1 is a tenth of what `omendb-perf workloads` says
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Decides all that is random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// OmenDB's binary; if it is not given, that beside this one
    #[arg(long, value_name = "PATH")]
    omendb: Option<PathBuf>,
    /// A Python with the packages duckdb and chdb, for those engines
    #[arg(long, value_name = "PATH", default_value = "python3")]
    python: PathBuf,
    /// Cores of OmenDB, threads of DuckDB and ClickHouse; PostgreSQL takes what there is
    #[arg(long, default_value_t = 2)]
    cores: usize,
    /// Memory for data of servers that are started, in MiB
    #[arg(long, default_value_t = 1_024)]
    memory_mib: u64,
    /// A folder for their data, which is removed in the end
    #[arg(long, value_name = "FOLDER", default_value = "omendb-perf-data")]
    folder: PathBuf,
}

#[derive(Args)]
struct RunArgs {
    /// What requests ask for: see `omendb-perf workloads`
    workload: String,
    #[command(flatten)]
    load: LoadArgs,
    /// Requests per second in all, due at even distances whatever answers take; without it each connection sends when it
    /// is answered, which hides stalls
    #[arg(long)]
    rate: Option<f64>,
    /// Turns of each server
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The file for the result
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Args)]
struct AllArgs {
    #[command(flatten)]
    load: LoadArgs,
    /// Turns of each server
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The folder for a result of each workload, and the page
    #[arg(long, value_name = "FOLDER", default_value = "omendb-perf-results")]
    out: PathBuf,
}

#[derive(Args)]
struct SweepArgs {
    /// What requests ask for: see `omendb-perf workloads`
    workload: String,
    #[command(flatten)]
    load: LoadArgs,
    /// What grows
    #[arg(long, value_enum, default_value_t = Grows::Rate)]
    over: Grows,
    /// The first rate, in requests per second; with `--over size` or `--over cores` the rate of all points, without it each
    /// connection sends when it is answered
    #[arg(long)]
    from: Option<f64>,
    /// Each rate is so many times the one before
    #[arg(long, default_value_t = 1.5)]
    factor: f64,
    /// How many times as much as the scale says is loaded
    #[arg(long, value_delimiter = ',', default_values_t = [1.0, 10.0, 100.0])]
    sizes: Vec<f64>,
    /// The file for the results, one in each line
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The file for a chart of them
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Grows {
    /// The rate, to the knee
    Rate,
    /// What is loaded
    Size,
    /// Cores of the server, from 1 to `--cores`
    Cores,
}

/// Where a sweep over rates begins.
const FIRST_RATE: f64 = 500.0;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => measure(&args),
        Command::All(args) => measure_all(&args),
        Command::Sweep(args) => raise(&args),
        Command::Compare { a, b } => differences(&a, &b),
        Command::Page { results, out } => draw(&results, &out),
        Command::Markdown { results, out, charts } => write_markdown(&results, &out, &charts),
        Command::Workloads => {
            workload::ALL.iter().for_each(|known| println!("{:<12} {}", known.name, known.what));
            Ok(true)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("omendb-perf: {why}");
            ExitCode::from(2)
        }
    }
}

/// The task of these options.
fn task(workload: &str, load: &LoadArgs, arrivals: Arrivals, rounds: usize) -> Result<Task, String> {
    let duration = |seconds: f64| {
        Duration::try_from_secs_f64(seconds).map_err(|error| format!("{seconds} seconds: {error}"))
    };
    if load.scale.is_nan() || load.scale <= 0.0 || load.scale > 1e6 {
        return Err(format!("a scale of {}", load.scale));
    }
    let beside = || std::env::current_exe().map(|own| own.with_file_name("omendb"));
    let omendb = match &load.omendb {
        Some(path) => path.clone(),
        None => beside().map_err(|error| error.to_string())?,
    };
    Ok(Task {
        workload: workload.to_owned(),
        scale: load.scale,
        servers: load.servers.clone(),
        setup: Setup {
            folder: load.folder.clone(),
            omendb,
            python: load.python.clone(),
            cores: load.cores,
            memory_mib: load.memory_mib,
            connections: load.connections.into(),
        },
        arrivals,
        connections: load.connections.into(),
        warm_up: duration(load.warm_up)?,
        duration: duration(load.seconds)?,
        rounds,
        seed: load.seed,
    })
}

fn rate(rate: f64) -> Result<Arrivals, String> {
    if rate > 0.0 && rate.is_finite() { Ok(Arrivals::Rate(rate)) } else { Err(format!("a rate of {rate}")) }
}

fn measure(args: &RunArgs) -> Result<bool, String> {
    let arrivals = args.rate.map_or(Ok(Arrivals::Closed), rate)?;
    let task = task(&args.workload, &args.load, arrivals, args.rounds.max(1))?;
    let outcome = run_with_bar(&task)?;
    if let Some(out) = &args.out {
        outcome.write(out)?;
    }
    Ok(outcome.is_right())
}

/// Runs a task, shows how far it is, and prints what came of it.
fn run_with_bar(task: &Task) -> Result<Outcome, String> {
    // Starts, turns and checks.
    let steps = task.servers.len() * (task.rounds + 2);
    let bar = ProgressBar::new(steps as u64);
    let outcome = run(task, |what| {
        bar.set_message(what.to_owned());
        bar.inc(1);
    });
    bar.finish_and_clear();
    let outcome = outcome?;
    print!("{}", compare::summary(&outcome));
    Ok(outcome)
}

fn measure_all(args: &AllArgs) -> Result<bool, String> {
    let in_words = |error: std::io::Error| format!("{}: {error}", args.out.display());
    std::fs::create_dir_all(&args.out).map_err(in_words)?;
    let (mut results, mut is_right) = (Vec::new(), true);
    for known in workload::ALL {
        let arrivals = known.rate.map_or(Arrivals::Closed, Arrivals::Rate);
        let mut task = task(known.name, &args.load, arrivals, args.rounds.max(1))?;
        task.servers.retain(|server| {
            let what = server.split_once('=').map_or(server.as_str(), |(_, what)| what);
            known.is_analytic || !server::is_embedded(what)
        });
        if task.servers.is_empty() {
            continue;
        }
        task.scale = known.quick_scale(task.scale);
        let outcome = match run_with_bar(&task) {
            Ok(outcome) => outcome,
            Err(why) => {
                println!("{}: {why}\n", known.name);
                is_right = false;
                continue;
            }
        };
        println!();
        is_right &= outcome.is_right();
        let path = args.out.join(format!("{}.json", known.name));
        outcome.write(&path)?;
        results.push(path);
    }
    Ok(draw(&results, &args.out.join("page.html"))? && is_right)
}

fn raise(args: &SweepArgs) -> Result<bool, String> {
    if args.factor.is_nan() || args.factor <= 1.0 {
        return Err("each rate has to be larger than the one before".to_owned());
    }
    let over = match args.over {
        Grows::Rate => Over::Rate { from: args.from.unwrap_or(FIRST_RATE), factor: args.factor },
        Grows::Size => Over::Size(args.sizes.clone()),
        Grows::Cores => Over::Cores(args.load.cores),
    };
    let arrivals = args.from.map_or(Ok(Arrivals::Closed), rate)?;
    let task = task(&args.workload, &args.load, arrivals, 1)?;
    let points = sweep::run(&task, &over, |line| println!("{line}"))?;
    if let Some(path) = &args.chart {
        let svg = sweep::chart(&args.workload, &over, &points);
        write(path, &svg)?;
    }
    if let Some(out) = &args.out {
        let lines: Result<Vec<String>, _> = points.iter().map(serde_json::to_string).collect();
        let lines = lines.map_err(|error| error.to_string())?.join("\n");
        write(out, &(lines + "\n"))?;
    }
    Ok(true)
}

fn differences(a: &Path, b: &Path) -> Result<bool, String> {
    print!("{}", compare::between(&Outcome::read(a)?, &Outcome::read(b)?)?);
    Ok(true)
}

fn read(results: &[PathBuf]) -> Result<Vec<Outcome>, String> {
    results.iter().map(|path| Outcome::read(path)).collect()
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn draw(results: &[PathBuf], out: &Path) -> Result<bool, String> {
    write(out, &page::of(&read(results)?))?;
    println!("wrote {}", out.display());
    Ok(true)
}

fn write_markdown(results: &[PathBuf], out: &Path, charts: &Path) -> Result<bool, String> {
    let outcomes = read(results)?;
    std::fs::create_dir_all(charts).map_err(|error| format!("{}: {error}", charts.display()))?;
    for outcome in &outcomes {
        let title = format!("{}: latency by percentile", outcome.workload);
        let svg = page::by_percentile(outcome, &title);
        write(&charts.join(format!("{}.svg", outcome.workload)), &svg)?;
    }
    let folder = out.parent().and_then(|parent| charts.strip_prefix(parent).ok()).unwrap_or(charts);
    let chart = |outcome: &Outcome| format!("{}/{}.svg", folder.display(), outcome.workload);
    write(out, &markdown::of(&outcomes, chart))?;
    Ok(true)
}
