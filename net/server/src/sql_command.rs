//! `omendb sql`: runs statements on a node and prints what they bring.

pub mod split;

use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;

use crate::Failure;
use crate::cli::SqlOptions;
use crate::client::{Client, ClientError, Reply, ResultColumn, Target};
use crate::table;

/// Rows that are kept to find the widths of a table's columns; a longer answer is printed in several tables.
const TABLE_ROWS_MAX: usize = 100_000;

/// Runs the command. The first statement that fails ends it.
pub fn run(options: &SqlOptions) -> Result<ExitCode, Failure> {
    let target = Target {
        address: options.address.clone(),
        user: options.user.clone(),
        database: options.database.clone(),
        password: std::env::var("OMENDB_PASSWORD").ok(),
    };
    let mut client = Client::connect(&target).map_err(|e| connect_failure(&target.address, &e))?;
    let done = if options.commands.is_empty() {
        from_stdin(&mut client)
    } else {
        options.commands.iter().try_for_each(|sql| execute(&mut client, sql, &mut io::stdin()))
    };
    match done {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Problem::Client(e)) => {
            eprintln!("{e}");
            Ok(ExitCode::FAILURE)
        }
        Err(Problem::Text(text)) => Err(Failure::new(text)),
    }
}

enum Problem {
    Client(ClientError),
    Text(String),
}

fn connect_failure(address: &str, e: &ClientError) -> Failure {
    match e {
        ClientError::Server(e) => Failure::new(format!("{address} refused the connection\n{e}")),
        ClientError::Protocol(e) => Failure::new(format!("could not log in at {address}: {e}")),
        ClientError::Io(e) => Failure::new(format!(
            "could not connect to {address}: {e}; is a node running? omendb start starts one"
        )),
    }
}

fn from_stdin(client: &mut Client) -> Result<(), Problem> {
    let mut stdin = io::stdin();
    if stdin.is_terminal() {
        eprintln!("Type SQL; end with Ctrl-D. For line editing and history use psql.");
    }
    let mut script = String::new();
    stdin
        .read_to_string(&mut script)
        .map_err(|e| Problem::Text(format!("could not read the statements: {e}")))?;
    split::statements(&script).into_iter().try_for_each(|sql| execute(client, sql, &mut io::empty()))
}

fn execute(client: &mut Client, sql: &str, input: &mut dyn Read) -> Result<(), Problem> {
    let mut printer = Printer {
        out: io::BufWriter::new(io::stdout().lock()),
        columns: Vec::new(),
        rows: Vec::new(),
        copied: false,
    };
    let ended = client.query(sql, input, &mut |reply| printer.take(reply));
    let flushed = printer.out.flush();
    ended.map_err(Problem::Client)?;
    flushed.map_err(|e| Problem::Text(format!("could not print: {e}")))
}

/// Collects the rows of a statement and prints them when it is complete.
struct Printer<W: Write> {
    out: W,
    columns: Vec<ResultColumn>,
    rows: Vec<Vec<Option<String>>>,
    copied: bool,
}

impl<W: Write> Printer<W> {
    fn take(&mut self, reply: Reply) -> io::Result<()> {
        match reply {
            Reply::Columns(columns) => self.columns = columns,
            Reply::Row(row) => {
                self.rows.push(row);
                if self.rows.len() == TABLE_ROWS_MAX {
                    table::print(&mut self.out, &self.columns, &self.rows)?;
                    self.rows.clear();
                }
            }
            Reply::Complete(tag) => {
                if !self.columns.is_empty() {
                    table::print(&mut self.out, &self.columns, &self.rows)?;
                } else if !self.copied {
                    writeln!(self.out, "{tag}")?;
                }
                self.copied = false;
                self.columns.clear();
                self.rows.clear();
            }
            Reply::Empty => {}
            Reply::Notice(notice) => eprintln!("{notice}"),
            Reply::CopyData(data) => {
                self.copied = true;
                self.out.write_all(&data)?;
            }
        }
        Ok(())
    }
}
