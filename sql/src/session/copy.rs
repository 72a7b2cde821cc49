//! COPY between client and table.

use std::sync::Arc;

use omen_core::catalog::Table;
use omen_core::key::{self, KEY_BYTES_MAX};
use omen_core::router::Router;
use omen_core::row::RowBuilder;
use omen_core::types::{Datum, PgType};
use omen_core::write_batch::WriteBatch;

use super::prepared::tables_of_plan;
use super::transaction::TxnSlot;
use super::{Outcome, Scope, Session, Tag};
use crate::bind::insert::visible_count;
use crate::bind::select::{BoundQuery, Untyped};
use crate::bind::{Binder, LateValue};
use crate::copy::{
    ColumnSet, CopyFormat, CopyOptions, CopyRequest, Decoder, Direction, Encoder, Header, Row,
};
use crate::error::{Result, SqlError, SqlState};
use crate::execute::errors::not_null;
use crate::execute::initial::InitialRun;
use crate::execute::insert::RowIds;
use crate::execute::query::{Reader, Running};
use crate::execute::rows::{batch_of_rows, datums_of, types_of};
use crate::execute::{Context, StatementTxn, Surroundings, WRITE_BYTES, Watch};
use crate::expr::{Expr, ParameterTypes};
use crate::logical::{Logical, Scan};
use crate::parse::utility::{CopyOption, CopySource, CopyStatement};
use crate::parse::{Parsed, Statement};
use crate::physical::QueryPlan;
use crate::plan::{Environment, InitialPlan, plan_initial};
use crate::types::{FormatOptions, text};

/// Row ids that are asked for at once: ids of one call lie together, those of the next perhaps on another core.
const ROW_IDS: usize = 1_024;

/// A planned COPY.
#[derive(Debug)]
pub(super) enum CopyPlan {
    /// FROM STDIN
    In(CopyInPlan),
    /// TO STDOUT
    Out(Box<CopyOutPlan>),
}

/// A planned COPY FROM STDIN.
#[derive(Clone, Debug)]
pub(super) struct CopyInPlan {
    table: Arc<Table>,
    /// Where each column of the table comes from.
    sources: Arc<[ColumnSource]>,
    /// Names of the columns of the data.
    names: Vec<String>,
    options: CopyOptions,
}

/// Where a column's values come from.
#[derive(Clone, Debug)]
enum ColumnSource {
    /// A field of the data.
    Field(usize),
    /// The column's default.
    Default(Expr),
    /// The next row id.
    RowId,
}

/// A planned COPY TO STDOUT.
#[derive(Debug)]
pub(super) struct CopyOutPlan {
    query: QueryPlan,
    late: Vec<LateValue>,
    initial: Vec<InitialPlan>,
    names: Vec<String>,
    options: CopyOptions,
    tables: Vec<Arc<Table>>,
}

impl CopyPlan {
    /// The tables that it uses.
    pub(super) fn tables(&self) -> Vec<Arc<Table>> {
        match self {
            CopyPlan::In(plan) => vec![plan.table.clone()],
            CopyPlan::Out(plan) => plan.tables.clone(),
        }
    }
}

/// Plans a COPY.
pub(super) fn plan_copy(
    statement: &Statement,
    copy: &CopyStatement,
    environment: Environment<'_>,
) -> Result<CopyPlan> {
    let Environment { catalog, settings, context, files } = environment;
    let mut binder = Binder::new(statement.text(), catalog, settings, context, ParameterTypes::default(), 0);
    binder.files = Some(files);
    let (name, columns) = match &copy.source {
        CopySource::Table { name, columns } => (name, columns),
        CopySource::Query(query) => return plan_copy_query(query, copy, &mut binder),
    };
    let table = binder.table(name)?;
    let columns = if columns.is_empty() {
        (0..visible_count(&table.schema)).collect()
    } else {
        let mut positions = Vec::with_capacity(columns.len());
        for column in columns {
            let position = binder.column_of(&table, column)?;
            if positions.contains(&position) {
                let message = format!("column \"{column}\" specified more than once");
                return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message));
            }
            positions.push(position);
        }
        positions
    };
    let names: Vec<String> =
        columns.iter().map(|column| table.schema.columns[*column].name.clone()).collect();
    let options = copy_options(copy, &names, Some(&table))?;
    if !copy.from {
        let column =
            |index: &usize| Expr::Column { index: *index, pg_type: table.schema.columns[*index].pg_type };
        let exprs = columns.iter().map(column).collect();
        let scan = Logical::Scan(Scan::whole(table.clone()));
        let query =
            binder.settings.classes().plan(Logical::Project { input: Box::new(scan), exprs }, context);
        return Ok(CopyPlan::Out(Box::new(CopyOutPlan {
            query,
            late: Vec::new(),
            initial: Vec::new(),
            names,
            options,
            tables: vec![table],
        })));
    }
    let mut sources = Vec::with_capacity(table.schema.columns.len());
    for (index, column) in table.schema.columns.iter().enumerate() {
        sources.push(match columns.iter().position(|column| *column == index) {
            Some(field) => ColumnSource::Field(field),
            None if column.hidden => ColumnSource::RowId,
            None => ColumnSource::Default(binder.default_of(&table, index)?),
        });
    }
    if !binder.late.is_empty() {
        let hint = "Name the column in COPY and give its values.";
        return Err(SqlError::unsupported("COPY with a default that reads settings", hint));
    }
    Ok(CopyPlan::In(CopyInPlan { table, sources: sources.into(), names, options }))
}

fn plan_copy_query(query: &Statement, copy: &CopyStatement, binder: &mut Binder<'_>) -> Result<CopyPlan> {
    let bound = match query.parsed() {
        Parsed::Sql(tree) => match tree.root() {
            sqlparser::ast::Statement::Query(query) => Some(binder.query(query, Untyped::Text)?),
            _ => None,
        },
        Parsed::Utility(_) => None,
    };
    let Some(BoundQuery { plan, columns }) = bound else {
        return Err(SqlError::unsupported(
            "COPY of a write",
            "Use the RETURNING clause of the write itself.",
        ));
    };
    let names: Vec<String> = columns.into_iter().map(|column| column.name).collect();
    let options = copy_options(copy, &names, None)?;
    let query = binder.settings.classes().plan(binder.with_tables(plan), binder.context);
    let tables = query.tables();
    let late = std::mem::take(&mut binder.late);
    let mut tables = tables;
    let context = binder.context;
    let initial = plan_initial(binder, context);
    tables.extend(initial.iter().flat_map(|initial| tables_of_plan(&initial.plan)));
    Ok(CopyPlan::Out(Box::new(CopyOutPlan { query, late, initial, names, options, tables })))
}

fn copy_options(copy: &CopyStatement, names: &[String], table: Option<&Table>) -> Result<CopyOptions> {
    let mut request = CopyRequest::default();
    let mut seen: Vec<&str> = Vec::new();
    for option in &copy.options {
        let bad = |message: String| SqlError::new(SqlState::SYNTAX_ERROR, message).at(option.position);
        if seen.contains(&option.name.as_str()) {
            return Err(bad("conflicting or redundant options".to_owned()));
        }
        seen.push(&option.name);
        match option.name.as_str() {
            "format" => {
                request.format = match option.value()?.to_ascii_lowercase().as_str() {
                    "text" => CopyFormat::Text,
                    "csv" => CopyFormat::Csv,
                    "binary" => {
                        let hint = "Use the text or csv format.";
                        return Err(SqlError::unsupported("COPY in binary format", hint));
                    }
                    other => {
                        let message = format!("COPY format \"{other}\" not recognized");
                        return Err(
                            SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message).at(option.position)
                        );
                    }
                };
            }
            "delimiter" => request.delimiter = Some(option.value()?.to_owned()),
            "null" => request.null = Some(option.value()?.to_owned()),
            "quote" => request.quote = Some(option.value()?.to_owned()),
            "escape" => request.escape = Some(option.value()?.to_owned()),
            "header" => {
                request.header = match option.values.first() {
                    Some(value) if value.eq_ignore_ascii_case("match") => Header::Match,
                    _ if option.boolean()? => Header::Names,
                    _ => Header::None,
                };
            }
            // Rows are always as visible as their transaction.
            "freeze" => {
                option.boolean()?;
            }
            "encoding" => {
                let plain: String = option.value()?.chars().filter(char::is_ascii_alphanumeric).collect();
                if !plain.eq_ignore_ascii_case("utf8") {
                    return Err(SqlError::unsupported(
                        "another encoding than UTF8",
                        "Convert the data to UTF-8.",
                    ));
                }
            }
            "force_quote" => request.force_quote = column_set(option, names, table)?,
            "force_not_null" => request.force_not_null = column_set(option, names, table)?,
            "force_null" => request.force_null = column_set(option, names, table)?,
            other => return Err(bad(format!("option \"{other}\" not recognized"))),
        }
    }
    let direction = if copy.from { Direction::From } else { Direction::To };
    CopyOptions::new(&request, direction, names.len())
}

fn column_set(option: &CopyOption, names: &[String], table: Option<&Table>) -> Result<ColumnSet> {
    if option.all_columns {
        return Ok(ColumnSet::All);
    }
    let mut positions = Vec::with_capacity(option.values.len());
    for name in &option.values {
        let Some(position) = names.iter().position(|known| known == name) else {
            if let Some(table) = table.filter(|table| !table.schema.columns.iter().any(|c| c.name == *name)) {
                let message = format!("column \"{name}\" of relation \"{}\" does not exist", table.name);
                return Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message));
            }
            let message = format!("{} column \"{name}\" not referenced by COPY", option.name.to_uppercase());
            return Err(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message));
        };
        positions.push(position);
    }
    Ok(ColumnSet::Positions(positions))
}

impl<R: Router> Session<R> {
    /// Starts a COPY.
    pub(super) async fn run_copy(&mut self, plan: &CopyPlan, scope: Scope) -> Result<Outcome<R>> {
        self.enter(scope)?;
        let surroundings = self.surroundings();
        match plan {
            CopyPlan::In(plan) => {
                self.check_may_write("COPY FROM")?;
                let alone = self.transaction.is_alone(scope);
                let txn = if alone { self.router.begin() } else { self.transaction.take(&self.router) };
                let txn = StatementTxn::new(txn, alone);
                let slot = self.transaction.slot();
                let sink = Sink::new(self.router.clone(), plan, surroundings, self.watch());
                let decoder =
                    Decoder::new(plan.options.clone(), plan.table.name.as_str(), plan.names.clone());
                let columns = plan.names.len();
                Ok(Outcome::CopyIn(CopyIn(Box::new(RunningCopy { decoder, sink, txn, slot, columns }))))
            }
            CopyPlan::Out(plan) => {
                let parameters = self.late_values(&plan.late, &[], &surroundings).await?;
                let (view, txn) = self.read_view(scope);
                let watch = self.watch();
                let run = InitialRun { router: &self.router, view, watch: &watch, txn: None };
                let (parameters, surroundings) = run.run(&plan.initial, &parameters, &surroundings).await?;
                let context = Context::new(&parameters, &surroundings);
                let reader = Reader { router: &self.router, view, context: &context, watch: &watch };
                let running = reader.start(&plan.query, txn).await?;
                Ok(Outcome::CopyOut(CopyOut::new(plan, running, surroundings.format)?))
            }
        }
    }
}

/// COPY FROM looks at the clock after so many rows.
const TURN_ROWS: u64 = 16;

/// A COPY FROM STDIN that takes data.
pub struct CopyIn<R: Router>(Box<RunningCopy<R>>);

struct RunningCopy<R: Router> {
    decoder: Decoder,
    sink: Sink<R>,
    txn: StatementTxn<R>,
    slot: TxnSlot<R>,
    columns: usize,
}

impl<R: Router> CopyIn<R> {
    /// Columns of the data, for CopyInResponse; all are in text format.
    pub fn column_count(&self) -> usize {
        self.0.columns
    }

    /// Takes some data, cut anywhere.
    ///
    /// # Errors
    /// All that reading and storing rows reports; the caller then drops the COPY and calls `Session::fail`.
    pub async fn data(&mut self, bytes: &[u8]) -> Result<()> {
        let RunningCopy { decoder, sink, txn, .. } = &mut *self.0;
        let mut rows = decoder.rows(bytes);
        let mut turn_us = sink.router.monotonic_us();
        while let Some(row) = rows.next()? {
            sink.add(row)?;
            if sink.is_full() {
                sink.flush(txn).await?;
            }
            if sink.count.is_multiple_of(TURN_ROWS) {
                turn_us = sink.watch.take_turns(turn_us).await?;
            }
        }
        Ok(())
    }

    /// The error with the line that is being read as its context, for what ends the COPY from outside.
    pub fn locate(&self, error: SqlError) -> SqlError {
        self.0.decoder.locate_reading(error)
    }

    /// CopyDone: stores the rest. The session gets its transaction back.
    ///
    /// # Errors
    /// As [`CopyIn::data`].
    pub async fn finish(self) -> Result<Tag> {
        let RunningCopy { mut decoder, mut sink, txn, slot, .. } = *self.0;
        let mut rows = decoder.finish();
        while let Some(row) = rows.next()? {
            sink.add(row)?;
        }
        let batch = std::mem::take(&mut sink.batch);
        if let Some(txn) = txn.finish(&sink.router, &sink.table, batch).await? {
            slot.set(Some(txn));
        }
        Ok(Tag::Copy(sink.count))
    }
}

/// Where the rows of a COPY go.
struct Sink<R: Router> {
    router: R,
    table: Arc<Table>,
    types: Vec<PgType>,
    sources: Arc<[ColumnSource]>,
    surroundings: Surroundings,
    watch: Watch<R>,
    builder: RowBuilder,
    /// Where each column of the row that is built begins.
    starts: Vec<usize>,
    row_ids: RowIds,
    batch: WriteBatch,
    /// Scratch for a row's key.
    key: Vec<u8>,
    count: u64,
}

impl<R: Router> Sink<R> {
    fn new(router: R, plan: &CopyInPlan, surroundings: Surroundings, watch: Watch<R>) -> Sink<R> {
        Sink {
            router,
            table: plan.table.clone(),
            types: types_of(&plan.table.schema),
            sources: plan.sources.clone(),
            surroundings,
            watch,
            builder: RowBuilder::default(),
            starts: Vec::new(),
            row_ids: RowIds::default(),
            batch: WriteBatch::with_capacity(WRITE_BYTES + (WRITE_BYTES >> 2)),
            key: Vec::new(),
            count: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.batch.as_bytes().len() >= WRITE_BYTES
    }

    async fn flush(&mut self, txn: &mut StatementTxn<R>) -> Result<()> {
        self.watch.check()?;
        let next = WriteBatch::with_capacity(WRITE_BYTES + (WRITE_BYTES >> 2));
        let batch = std::mem::replace(&mut self.batch, next);
        txn.write_behind(&self.router, &self.table, batch).await
    }

    /// Adds a row of the data.
    fn add(&mut self, row: Row<'_>) -> Result<()> {
        self.builder.start(self.types.len());
        self.starts.clear();
        let mut null = None;
        for (column, (source, pg_type)) in self.sources.iter().zip(&self.types).enumerate() {
            self.starts.push(self.builder.len());
            match source {
                ColumnSource::Field(field) => match row.field(*field)? {
                    Some(bytes) => {
                        text::parse_into(*pg_type, bytes, &self.surroundings.format, &mut self.builder)
                            .map_err(|e| row.locate_column(e.into(), *field))?;
                    }
                    None => {
                        self.builder.push_null();
                        if self.table.schema.columns[column].not_null {
                            null = null.or(Some(column));
                        }
                    }
                },
                ColumnSource::Default(expr) => {
                    let value = match expr {
                        Expr::Literal { value, .. } => value.clone(),
                        expr => expr.eval_constant(&self.surroundings.context(&[]))?,
                    };
                    self.builder.push(&value);
                    if value.is_null() && self.table.schema.columns[column].not_null {
                        null = null.or(Some(column));
                    }
                }
                ColumnSource::RowId => {
                    let id = self.row_ids.next(&self.router, &self.table, ROW_IDS);
                    self.builder.push(&Datum::Int8(id));
                }
            }
        }
        self.starts.push(self.builder.len());
        let bytes = self.builder.finished().map_err(|e| row.locate(e.into()))?;
        if let Some(column) = null {
            let values = datums_of(&self.types, bytes).unwrap_or_default();
            return Err(row.locate(not_null(&self.table, column, &values)));
        }
        self.key.clear();
        push_stored_key(&self.table, bytes, &self.starts, &mut self.key).map_err(|e| row.locate(e))?;
        self.batch.insert(&self.key, bytes);
        self.count += 1;
        Ok(())
    }
}

/// Appends the key of a stored row whose columns begin at `starts`, the last of which is its end.
fn push_stored_key(table: &Table, row: &[u8], starts: &[usize], out: &mut Vec<u8>) -> Result<()> {
    for column in &table.schema.key {
        let pg_type = table.schema.columns[*column].pg_type;
        let length_bytes = if pg_type.row_size().is_some() { 0 } else { size_of::<u32>() };
        let value = row.get(starts[*column] + length_bytes..starts[column + 1]).unwrap_or_default();
        key::encode_stored(pg_type, value, out);
    }
    if out.len() > KEY_BYTES_MAX {
        let message =
            format!("primary key of {} bytes exceeds the limit of {KEY_BYTES_MAX} bytes", out.len());
        return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
    }
    Ok(())
}

/// Some rows of COPY data.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CopyRows {
    /// The rows, one behind the other, each with its line end.
    pub bytes: Vec<u8>,
    /// Where each row ends in `bytes`: clients get every row in a message of its own.
    pub ends: Vec<usize>,
}

/// A COPY TO STDOUT that gives data.
pub struct CopyOut<R: Router> {
    running: Running<R>,
    types: Vec<PgType>,
    encoder: Encoder,
    format: FormatOptions,
    /// The header, until it has been given.
    header: CopyRows,
    rows: u64,
}

impl<R: Router> CopyOut<R> {
    fn new(plan: &CopyOutPlan, mut running: Running<R>, format: FormatOptions) -> Result<CopyOut<R>> {
        let types = plan.query.types.clone();
        if let Running::Row(row) = &running {
            let columns: Vec<usize> = (0..types.len()).collect();
            let batch = batch_of_rows(&types, &columns, row.iter().map(AsRef::as_ref))?;
            running = Running::Batches([batch].into());
        }
        let mut encoder = Encoder::new(plan.options.clone(), types.len());
        let mut header = CopyRows::default();
        encoder.header(plan.names.iter().map(String::as_str), &mut header.bytes);
        if !header.bytes.is_empty() {
            header.ends.push(header.bytes.len());
        }
        Ok(CopyOut { running, types, encoder, format, header, rows: 0 })
    }

    /// Columns of the data, for CopyOutResponse; all are in text format.
    pub fn column_count(&self) -> usize {
        self.types.len()
    }

    /// The next rows; the header, if there is one, counts as a row. `None` at the end.
    ///
    /// # Errors
    /// All that running reports; the caller then calls `Session::fail`.
    pub async fn next(&mut self) -> Result<Option<CopyRows>> {
        if !self.header.ends.is_empty() {
            return Ok(Some(std::mem::take(&mut self.header)));
        }
        let Some(batch) = self.running.next_batch().await? else { return Ok(None) };
        let mut rows = CopyRows::default();
        for row in 0..batch.num_rows() {
            for (column, pg_type) in batch.columns().iter().zip(&self.types) {
                if column.is_null(row) {
                    self.encoder.null_field(&mut rows.bytes);
                    continue;
                }
                let start = self.encoder.start_field(&mut rows.bytes);
                text::write_array(*pg_type, column.as_ref(), row, &self.format, &mut rows.bytes);
                self.encoder.end_field(&mut rows.bytes, start);
            }
            self.encoder.end_row(&mut rows.bytes);
            rows.ends.push(rows.bytes.len());
        }
        self.rows += batch.num_rows() as u64;
        Ok(Some(rows))
    }

    /// The tag after the last row.
    pub fn tag(&self) -> Tag {
        Tag::Copy(self.rows)
    }
}
