//! Names and types of a file's columns, from its first part.

use std::collections::BTreeSet;
use std::rc::Rc;

use omen_core::catalog::COLUMNS_MAX;
use omen_core::readable::ReadableFile;
use omen_core::router::Router;
use omen_core::types::PgType;

use super::form::Candidates;
use super::lines::Lines;
use crate::copy::{Row, Rows};
use crate::error::{Result, SqlError, SqlState};
use crate::execute::take_turns;
use crate::files::check_column_count;
use crate::types::text::utf8;

/// 256 KiB: some thousands of lines, looked at within a few milliseconds.
const SAMPLE_BYTES: u64 = 256 << 10;

/// Lines between two looks at the clock.
const TURN_LINES: u64 = 16;

/// What a CSV file's first part says about it.
pub(crate) struct Layout {
    pub(super) delimiter: u8,
    /// Whether the first line is the columns' names.
    pub(super) has_header: bool,
    /// Names and types of the columns.
    pub(in crate::files) columns: Vec<(String, PgType)>,
    /// About how many rows there are.
    pub(in crate::files) row_count: u64,
}

/// What was seen of a file.
#[derive(Default)]
struct Sample {
    /// The fields of the first line.
    first: Vec<Option<String>>,
    /// Of the lines behind it.
    candidates: Vec<Candidates>,
    line_count: u64,
}

impl Layout {
    /// Looks at the first part of a file.
    ///
    /// # Errors
    /// 22P04 if it is empty or its lines are no CSV or of different length; 22021 if it is not UTF-8; 54000 for a line
    /// that is too long, 54011 for too many columns.
    pub(in crate::files) async fn read<R: Router>(
        router: &R,
        file: &Rc<dyn ReadableFile>,
        path: &str,
        delimiter: u8,
    ) -> Result<Layout> {
        let mut lines = Lines::new(file.clone(), path, delimiter, false, numbered(COLUMNS_MAX))?;
        let mut sample = Sample::default();
        let mut turn_us = router.monotonic_us();
        let is_whole = loop {
            if !lines.fill().await? {
                sample.take(&mut lines, path, true)?;
                break true;
            }
            while sample.take(&mut lines, path, false)? {
                if sample.line_count.is_multiple_of(TURN_LINES) {
                    turn_us = take_turns(router, turn_us).await;
                }
            }
            // The first line tells nothing about types.
            if lines.read_bytes() >= SAMPLE_BYTES && sample.line_count > 1 {
                break lines.read_bytes() >= file.size_bytes();
            }
        };
        if sample.line_count == 0 {
            let message = format!("could not read file \"{path}\": it is empty");
            let error = SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message);
            return Err(error.hint("The columns of a CSV file are those of its first line."));
        }
        let (has_header, columns) = sample.columns();
        let seen = sample.line_count - u64::from(has_header);
        let row_count = if is_whole {
            seen
        } else {
            (seen as f64 * file.size_bytes() as f64 / lines.read_bytes().max(1) as f64) as u64
        };
        Ok(Layout { delimiter, has_header, columns, row_count })
    }
}

/// `column1`, `column2`, .., as those of VALUES are named.
fn numbered(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("column{number}")).collect()
}

impl Sample {
    /// Looks at the next line of a piece, or at what is behind the last piece; false if there is none.
    fn take(&mut self, lines: &mut Lines, path: &str, at_end: bool) -> Result<bool> {
        let is_first = self.line_count == 0;
        let mut rows = if at_end { lines.finish() } else { lines.rows() };
        let added = self.add_next(&mut rows);
        let rest_bytes = rows.rest_bytes();
        if !at_end {
            lines.stop(rest_bytes);
        }
        if is_first {
            check_column_count(path, lines.field_count())?;
        }
        let added = added?;
        if is_first && added {
            lines.set_columns(numbered(self.first.len()));
        }
        Ok(added)
    }

    /// Looks at the next line; false if there is none.
    fn add_next(&mut self, rows: &mut Rows<'_>) -> Result<bool> {
        let Some(row) = rows.next()? else { return Ok(false) };
        if self.line_count == 0 {
            for column in 0..row.field_count() {
                let field = row.field(column)?.map(utf8).transpose();
                let field = field.map_err(|error| row.locate_column(error.into(), column))?;
                self.first.push(field.map(str::to_owned));
            }
            self.candidates = vec![Candidates::ALL; self.first.len()];
        } else {
            self.add(row)?;
        }
        self.line_count += 1;
        Ok(true)
    }

    fn add(&mut self, row: Row<'_>) -> Result<()> {
        for (column, candidates) in self.candidates.iter_mut().enumerate() {
            if let Some(field) = row.field(column)? {
                candidates.keep(field);
            }
        }
        Ok(())
    }

    /// Whether the first line is a header, and the columns. It is one if all its fields are texts that are no values of
    /// another type, but for words like `t` above a column of another type; so it is taken for one if all columns are
    /// texts.
    fn columns(&self) -> (bool, Vec<(String, PgType)>) {
        let of_field = |field: &Option<String>| {
            let mut candidates = Candidates::ALL;
            field.iter().for_each(|field| candidates.keep(field.as_bytes()));
            candidates
        };
        let is_name = |(field, below): (&Option<String>, &Candidates)| {
            let is_text = of_field(field).is_text()
                || (of_field(field).pg_type() == PgType::Bool && !below.has(PgType::Bool));
            is_text && field.as_ref().is_some_and(|name| !name.is_empty())
        };
        if self.first.iter().zip(&self.candidates).all(is_name) {
            let types = self.candidates.iter().map(|candidates| candidates.pg_type());
            return (true, unique_names(&self.first).into_iter().zip(types).collect());
        }
        let types = self.candidates.iter().zip(&self.first).map(|(candidates, field)| {
            let mut candidates = *candidates;
            field.iter().for_each(|field| candidates.keep(field.as_bytes()));
            candidates.pg_type()
        });
        (false, numbered(self.first.len()).into_iter().zip(types).collect())
    }
}

/// The names of a header; one that was there already gets a number.
fn unique_names(header: &[Option<String>]) -> Vec<String> {
    let given: BTreeSet<&str> = header.iter().flatten().map(String::as_str).collect();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut names = Vec::with_capacity(header.len());
    for name in header.iter().flatten() {
        let mut unique = name.clone();
        let mut number = 0;
        while taken.contains(&unique) || (number > 0 && given.contains(unique.as_str())) {
            number += 1;
            unique = format!("{name}_{number}");
        }
        taken.insert(unique.clone());
        names.push(unique);
    }
    names
}
