//! Any bytes as what stands inside of log records, rows, the catalog and models.

use crate::catalog::format::{decode_schema, decode_table, encode_schema, encode_table};
use crate::id::{Lsn, RangeId, TableId};
use crate::learned::Model;
use crate::row::RowReader;
use crate::shard::decode_record;
use crate::types::PgType;
use crate::wal::OwnedRecord;
use crate::write_batch::WriteBatch;

/// Types of the columns of rows.
const TYPES: [PgType; 18] = [
    PgType::Int8,
    PgType::Bool,
    PgType::Int2,
    PgType::Int4,
    PgType::Float4,
    PgType::Float8,
    PgType::Numeric(None),
    PgType::Text,
    PgType::Varchar(Some(9)),
    PgType::Bytea,
    PgType::Date,
    PgType::Time,
    PgType::Timestamp,
    PgType::Timestamptz,
    PgType::Interval,
    PgType::Uuid,
    PgType::Json,
    PgType::Jsonb,
];

/// What the bytes are (0 a log record, 1 a write batch, 2 a row, 3 a schema, 4 a table, 5 a model), a kind or number of
/// columns, then the bytes. What is read is the same when it is written and read again.
pub fn records(input: &[u8]) {
    let Some(([what, kind], bytes)) = input.split_first_chunk() else { return };
    match what % 6 {
        0 => {
            let payload = bytes.to_vec();
            let record = OwnedRecord { range: RangeId(1), term: 1, index: 1, kind: *kind, payload };
            let _ = decode_record(Lsn(1), &record);
        }
        1 => {
            if let Ok(batch) = WriteBatch::from_bytes(bytes) {
                let mut again = WriteBatch::new();
                batch.iter().for_each(|write| again.push(write));
                assert_eq!(again, batch);
            }
        }
        2 => row(bytes, 1 + usize::from(*kind) % TYPES.len()),
        3 => {
            if let Ok(schema) = decode_schema(bytes) {
                assert_eq!(decode_schema(&encode_schema(&schema)), Ok(schema));
            }
        }
        4 => {
            if let Ok(table) = decode_table(TableId(5), bytes) {
                assert!(decode_table(TableId(5), &encode_table(&table)).is_ok());
            }
        }
        _ => model(bytes),
    }
}

fn row(bytes: &[u8], columns: usize) {
    let Ok(mut reader) = RowReader::new(bytes, columns) else { return };
    for pg_type in &TYPES[..columns] {
        if reader.next_datum(*pg_type).is_err() {
            return;
        }
    }
    let _ = reader.is_at_end();
}

fn model(bytes: &[u8]) {
    let Ok(model) = Model::from_bytes(bytes) else { return };
    for key in [0, 1, u64::from(u32::MAX), 1 << 53, u64::MAX] {
        let (low, high) = model.window(key);
        assert!(low <= high && model.position(key) <= model.key_count());
    }
    assert_eq!(Model::from_bytes(&model.to_bytes()).map(|again| again.to_bytes()), Ok(model.to_bytes()));
}
