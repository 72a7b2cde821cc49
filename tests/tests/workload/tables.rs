//! The tables of the workload: keys of several kinds, values that encodings find hard.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use omen_core::Result;
use omen_core::catalog::{Column, TableSchema};
use omen_core::env::sim::SimEnv;
use omen_core::error::ValueError;
use omen_core::fragment::{Flow, Fragment, FragmentRun};
use omen_core::id::TableId;
use omen_core::key::{Key, KeySpan};
use omen_core::learned::IndexKind;
use omen_core::node::NodeCore;
use omen_core::router::{Cursor, ReadView, Router, Scan};
use omen_core::row::{Row, RowBuilder};
use omen_core::types::{Datum, Numeric, PgType};

/// What the keys of a table are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Int8,
    Pair,
    Text,
    Timestamp,
}

pub const KINDS: [Kind; 4] = [Kind::Int8, Kind::Pair, Kind::Text, Kind::Timestamp];

/// Columns behind the key: the number that the key is made of, then values.
const VALUES: [(&str, PgType); 5] = [
    ("id", PgType::Int8),
    ("n", PgType::Int8),
    ("t", PgType::Text),
    ("d", PgType::Numeric(None)),
    ("f", PgType::Float8),
];

fn column((name, pg_type): (&str, PgType), not_null: bool) -> Column {
    Column { name: name.into(), pg_type, not_null, default: None, hidden: false }
}

impl Kind {
    fn key_types(self) -> &'static [(&'static str, PgType)] {
        match self {
            Kind::Int8 => &[("k", PgType::Int8)],
            Kind::Pair => &[("k", PgType::Int4), ("l", PgType::Text)],
            Kind::Text => &[("k", PgType::Text)],
            Kind::Timestamp => &[("k", PgType::Timestamp)],
        }
    }

    pub fn schema(self) -> TableSchema {
        let keys = self.key_types();
        let columns =
            keys.iter().map(|key| column(*key, true)).chain(VALUES.map(|value| column(value, false)));
        TableSchema {
            columns: columns.collect(),
            key: (0..keys.len()).collect(),
            key_name: Some("pkey".into()),
            index: IndexKind::Auto,
        }
    }

    pub fn types(self) -> Vec<PgType> {
        self.key_types().iter().chain(&VALUES).map(|(_, pg_type)| *pg_type).collect()
    }

    pub fn key_data(self, id: i64) -> Vec<Datum> {
        match self {
            Kind::Int8 => vec![Datum::Int8(match id {
                0 => i64::MIN,
                1 => i64::MAX,
                2 => -1,
                id => id,
            })],
            Kind::Pair => {
                let text = format!("{}{id}", "common/".repeat(id as usize % 4));
                vec![Datum::Int4(id as i32 % 5 - 2), Datum::Text(text.into())]
            }
            Kind::Text if id == 0 => vec![Datum::Text("".into())],
            Kind::Text => vec![Datum::Text(format!("{}{id}", "x".repeat(id as usize % 9)).into())],
            Kind::Timestamp => vec![Datum::Timestamp(1_700_000_000_000_000 + id * 1_000_003)],
        }
    }

    pub fn key(self, id: i64) -> Key {
        Key::of(&self.key_data(id)).expect("short")
    }

    /// A row whose values `below` chooses.
    pub fn row(self, id: i64, below: impl Fn(u64) -> u64) -> Row {
        let mut data = self.key_data(id);
        data.push(Datum::Int8(id));
        data.push(match below(8) {
            0 => Datum::Null,
            1 => Datum::Int8(i64::MIN),
            2 => Datum::Int8(i64::MAX),
            3 => Datum::Int8(0),
            _ => Datum::Int8(below(1 << 40) as i64),
        });
        data.push(match below(6) {
            0 => Datum::Null,
            1 => Datum::Text("".into()),
            2 => Datum::Text(["red", "green", "blå"][below(3) as usize].into()),
            _ => Datum::Text(format!("{}{}", "x".repeat(below(300) as usize), below(1_000)).into()),
        });
        data.push(match below(6) {
            0 => Datum::Null,
            1 => Datum::Numeric(Numeric::NAN),
            2 => Datum::Numeric(Numeric::new(-(10i128.pow(38) - 1), below(39) as u8).expect("38 digits")),
            _ => Datum::Numeric(Numeric::new(i128::from(below(1 << 30)) - 1_000, 2).expect("small")),
        });
        data.push(match below(8) {
            0 => Datum::Null,
            1 => Datum::Float8(f64::NAN),
            2 => Datum::Float8(-0.0),
            3 => Datum::Float8(f64::NEG_INFINITY),
            4 => Datum::Float8(f64::MIN_POSITIVE / 2.0),
            _ => Datum::Float8(below(100_000) as f64 / 100.0),
        });
        row_of(&data)
    }
}

pub fn row_of(data: &[Datum]) -> Row {
    RowBuilder::default().row(data).expect("small")
}

pub fn accounts_schema() -> TableSchema {
    let columns = [("id", PgType::Int8), ("n", PgType::Int8)];
    TableSchema {
        columns: columns.into_iter().map(|name| column(name, true)).collect(),
        key: vec![0],
        key_name: Some("pkey".into()),
        index: IndexKind::Auto,
    }
}

pub fn account(id: i64, balance: i64) -> (Key, Row) {
    (Key::of(&[Datum::Int8(id)]).expect("short"), row_of(&[Datum::Int8(id), Datum::Int8(balance)]))
}

struct Everything(Vec<usize>);
struct Pass;

impl Fragment for Everything {
    fn columns(&self) -> &[usize] {
        &self.0
    }
    fn start(&self) -> Box<dyn FragmentRun> {
        Box::new(Pass)
    }
}

impl FragmentRun for Pass {
    fn push(
        &mut self,
        batch: RecordBatch,
        out: &mut Vec<RecordBatch>,
    ) -> std::result::Result<Flow, ValueError> {
        out.push(batch);
        Ok(Flow::More)
    }
    fn finish(&mut self, _: &mut Vec<RecordBatch>) -> std::result::Result<(), ValueError> {
        Ok(())
    }
}

fn datum(pg_type: PgType, array: &dyn Array, row: usize) -> Datum {
    if array.is_null(row) {
        return Datum::Null;
    }
    match pg_type {
        PgType::Int4 => Datum::Int4(array.as_primitive::<Int32Type>().value(row)),
        PgType::Int8 => Datum::Int8(array.as_primitive::<Int64Type>().value(row)),
        PgType::Float8 => Datum::Float8(array.as_primitive::<Float64Type>().value(row)),
        PgType::Timestamp => Datum::Timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        PgType::Text => Datum::Text(array.as_string::<i32>().value(row).into()),
        PgType::Numeric(_) => {
            let bytes = array.as_fixed_size_binary().value(row).try_into().expect("bytes of a numeric");
            Datum::Numeric(Numeric::from_bytes(bytes).expect("a numeric"))
        }
        other => unreachable!("no column is of type {other:?}"),
    }
}

/// All rows of a table that the view sees, by the number in column `id`.
pub async fn read_table(
    core: &NodeCore<SimEnv>,
    view: ReadView,
    table: TableId,
    types: &[PgType],
    id: usize,
) -> Result<BTreeMap<i64, Row>> {
    let fragment = Arc::new(Everything((0..types.len()).collect()));
    let mut cursor = core.scan(Scan { table, view, spans: vec![KeySpan::all()], fragment })?;
    let mut rows = BTreeMap::new();
    while let Some(batches) = cursor.next().await? {
        for batch in batches {
            for row in 0..batch.num_rows() {
                let value = |column: usize| datum(types[column], batch.column(column), row);
                let data: Vec<Datum> = (0..types.len()).map(value).collect();
                let Datum::Int8(id) = data[id] else { panic!("table {table}: a row without its number") };
                let former = rows.insert(id, row_of(&data));
                assert_eq!(former, None, "table {table}: row {id} is there twice");
            }
        }
    }
    Ok(rows)
}
