//! Any bytes as what stands inside of log records, rows and the catalog.

use super::ALL_TYPES;
use crate::catalog::format::{decode_schema, decode_table, encode_schema, encode_table};
use crate::id::{Lsn, RangeId, TableId};
use crate::row::RowReader;
use crate::shard::decode_record;
use crate::wal::OwnedRecord;
use crate::write_batch::WriteBatch;

/// What the bytes are (0 a log record, 1 a write batch, 2 a row, 3 a schema, 4 a table), a kind or number of
/// columns, then the bytes. What is read is the same when it is written and read again.
pub fn records(input: &[u8]) {
    let Some(([what, kind], bytes)) = input.split_first_chunk() else { return };
    match what % 5 {
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
        2 => row(bytes, 1 + usize::from(*kind) % ALL_TYPES.len()),
        3 => {
            if let Ok(schema) = decode_schema(bytes) {
                assert_eq!(decode_schema(&encode_schema(&schema)), Ok(schema));
            }
        }
        _ => {
            if let Ok(table) = decode_table(TableId(5), bytes) {
                assert!(decode_table(TableId(5), &encode_table(&table)).is_ok());
            }
        }
    }
}

fn row(bytes: &[u8], columns: usize) {
    let Ok(mut reader) = RowReader::new(bytes, columns) else { return };
    for pg_type in &ALL_TYPES[..columns] {
        if reader.next_datum(*pg_type).is_err() {
            return;
        }
    }
    let _ = reader.is_at_end();
}
