//! Size of every column of a table as segments store it, and what encoding and reading cost in CPU time.
//!
//! `cargo run --release -p omen-perf --bin encodings FILE.csv TYPE,TYPE,.. [ROWS [ROWS OF A SEGMENT]]`, with types such as
//! int4, text, numeric(15,2), date, timestamptz. The file has a line of names first; an empty field is NULL.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use omen_core::row::RowBuilder;
use omen_core::segment::encodings::{Blocks, Input, Output};
use omen_core::types::{Datum, Numeric, PgType};

const READS: usize = 500_000;

type Failure = Box<dyn std::error::Error>;

fn pg_type(name: &str) -> Result<PgType, Failure> {
    Ok(match name {
        "bool" => PgType::Bool,
        "int2" => PgType::Int2,
        "int4" => PgType::Int4,
        "int8" => PgType::Int8,
        "float8" => PgType::Float8,
        "numeric" => PgType::Numeric(None),
        "text" => PgType::Text,
        "date" => PgType::Date,
        "timestamptz" => PgType::Timestamptz,
        _ => return Err(format!("no type {name}").into()),
    })
}

/// Days from 1970-01-01 to a date (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn days(text: &str) -> Result<i64, Failure> {
    let part = |range| text.get(range).ok_or("a short date");
    let (year, month, day): (i64, i64, i64) =
        (part(0..4)?.parse()?, part(5..7)?.parse()?, part(8..10)?.parse()?);
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    Ok(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

fn datum(pg_type: PgType, text: &str) -> Result<Datum, Failure> {
    if text.is_empty() {
        return Ok(Datum::Null);
    }
    Ok(match pg_type {
        PgType::Bool => Datum::Bool(text.starts_with('t')),
        PgType::Int2 => Datum::Int2(text.parse()?),
        // Data frames write integers with NULLs among them as floats.
        PgType::Int4 => Datum::Int4(text.trim_end_matches(".0").parse()?),
        PgType::Int8 => Datum::Int8(text.parse()?),
        PgType::Float8 => Datum::Float8(text.parse()?),
        PgType::Numeric(_) => {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            let coefficient = format!("{whole}{fraction}").parse()?;
            let scale = u8::try_from(fraction.len())?;
            Datum::Numeric(Numeric::new(coefficient, scale).ok_or("a numeric of too many digits")?)
        }
        PgType::Date => Datum::Date(i32::try_from(days(text)?)?),
        PgType::Timestamptz => {
            let field = |range| text.get(range).map_or(Ok(0), str::parse::<i64>);
            let seconds = field(11..13)? * 3600 + field(14..16)? * 60 + field(17..19)?;
            Datum::Timestamp((days(text)? * 86_400 + seconds) * 1_000_000)
        }
        _ => Datum::Text(text.into()),
    })
}

/// The fields of a line; quotes stand around whole fields.
fn fields(mut line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    loop {
        if let Some((field, rest)) = line.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
            found.push(field);
            line = rest;
        } else {
            let end = line.find(',').unwrap_or(line.len());
            found.push(&line[..end]);
            line = &line[end..];
        }
        match line.strip_prefix(',') {
            Some(rest) => line = rest,
            None => return found,
        }
    }
}

fn cpu() -> Duration {
    omen_perf::usage::thread_cpu_time()
}

fn timed<T>(f: impl FnOnce() -> T) -> (T, f64) {
    let start = cpu();
    let answer = f();
    (answer, (cpu() - start).as_secs_f64())
}

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, types, limits @ ..] = args.as_slice() else {
        return Err("encodings FILE.csv TYPE,TYPE,.. [ROWS [ROWS OF A SEGMENT]]".into());
    };
    let mut types = types.split(',').map(pg_type).collect::<Result<Vec<_>, _>>()?;
    // As the commit timestamps of rows that were loaded at once.
    types.push(PgType::Int8);
    let limit = |index: usize| limits.get(index).map_or(Ok(usize::MAX), |text| text.parse());
    let (rows_max, segment_rows) = (limit(0)?, limit(1)?);
    let mut lines = BufReader::with_capacity(1 << 20, File::open(path)?).lines();
    let names = lines.next().ok_or("an empty file")??;
    let mut inputs = vec![Input::new(&types)];
    let (mut builder, mut rows) = (RowBuilder::default(), 0);
    for line in lines.take(rows_max) {
        let line = line?;
        let texts = fields(&line);
        let datum = |(pg_type, text): (&PgType, &&str)| datum(*pg_type, text);
        let mut values = types.iter().zip(&texts).map(datum).collect::<Result<Vec<_>, _>>()?;
        values.push(Datum::Int8(7));
        if rows > 0 && rows % segment_rows == 0 {
            inputs.push(Input::new(&types));
        }
        let row = builder.row(&values).map_err(|e| e.message)?;
        inputs.last_mut().ok_or("no segment")?.push(&row).map_err(|_| "fields do not match the types")?;
        rows += 1;
    }
    inputs.iter_mut().for_each(Input::cut);
    report(&inputs, &types, &names, rows);
    Ok(())
}

fn report(inputs: &[Input], types: &[PgType], names: &str, rows: usize) {
    let logical: usize = inputs.iter().map(Input::bytes).sum();
    let (outputs, encode) = timed(|| inputs.iter().map(Input::encode).collect::<Vec<Output>>());
    let (segments, decode) = timed(|| outputs.iter().map(Output::decode).collect::<Vec<Blocks>>());
    let sum = |f: &dyn Fn(&Output) -> usize| outputs.iter().map(f).sum::<usize>();
    let (blocks, tables) = (sum(&Output::blocks_bytes), sum(&Output::tables_bytes));
    let per_row = |bytes: usize| bytes as f64 / rows as f64;
    println!("{rows} rows, {logical} bytes in memory, segments: {}", inputs.len());
    println!(
        "blocks {blocks} + tables {tables} = {} bytes, {:.3} a row",
        blocks + tables,
        per_row(blocks + tables)
    );
    println!("encode {:.2} M rows/s, {:.0} MB/s", rows as f64 / encode / 1e6, logical as f64 / encode / 1e6);
    println!("decode {:.0} ns a block", decode * 1e9 / rows.div_ceil(1024) as f64);
    println!(
        "{:<18} {:>10} {:>8} {:>9} {:>9}  encodings (blocks)",
        "column", "bytes", "B/row", "GB/s", "ints GB/s"
    );
    let names = names.trim().split(',').chain(["begin"]);
    for ((column, name), _) in names.enumerate().zip(types) {
        let bytes = sum(&|output| output.column_bytes(column));
        let read = |f: &dyn Fn(&Blocks) -> usize| {
            let (bytes, seconds) = timed(|| segments.iter().map(f).sum::<usize>());
            bytes as f64 / seconds / 1e9
        };
        let append = read(&|blocks| black_box(blocks.read_column(column)));
        let ints = read(&|blocks| black_box(blocks.read_ints(column)));
        let mut kinds = segments[0].kinds(column);
        kinds.truncate(3);
        let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} ({count})")).collect();
        let (share, kinds) = (per_row(bytes), kinds.join(", "));
        println!("{name:<18} {bytes:>10} {share:>8.3} {append:>9.2} {ints:>9.2}  {kinds}");
    }
    points(&segments[0], types.len(), rows.div_ceil(inputs.len()));
}

/// Rows at random positions, six columns spread over the table.
fn points(blocks: &Blocks, columns: usize, rows: usize) {
    let picked: Vec<usize> = (0..6.min(columns)).map(|index| index * columns / 6).collect();
    let mut builder = RowBuilder::default();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let ((), seconds) = timed(|| {
        for _ in 0..READS {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            blocks.read_row((state >> 11) as usize % rows, &picked, &mut builder);
            black_box(&builder);
        }
    });
    println!("row of columns {picked:?}: {:.0} ns", seconds * 1e9 / READS as f64);
}
