//! Arrow batches as the text that COPY FROM STDIN reads (PG 15, COPY, "Text Format").

use std::io::{self, Read, Write};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use chrono::DateTime;

/// What a source of batches gives.
pub type Batch = Result<RecordBatch, arrow_schema::ArrowError>;

/// Batches as a stream of text lines.
pub struct CopyText<I> {
    batches: I,
    text: Vec<u8>,
    read: usize,
    rows: u64,
}

impl<I: Iterator<Item = Batch>> CopyText<I> {
    /// The text of these batches.
    pub fn new(batches: I) -> CopyText<I> {
        CopyText { batches, text: Vec::new(), read: 0, rows: 0 }
    }

    /// Rows whose text has been made.
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

impl<I: Iterator<Item = Batch>> Read for CopyText<I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.text.len() {
            let Some(batch) = self.batches.next() else { return Ok(0) };
            let batch = batch.map_err(io::Error::other)?;
            self.text.clear();
            self.read = 0;
            write_batch(&batch, &mut self.text)?;
            self.rows += batch.num_rows() as u64;
        }
        let len = buffer.len().min(self.text.len() - self.read);
        buffer[..len].copy_from_slice(&self.text[self.read..self.read + len]);
        self.read += len;
        Ok(len)
    }
}

fn write_batch(batch: &RecordBatch, out: &mut Vec<u8>) -> io::Result<()> {
    for row in 0..batch.num_rows() {
        for (index, column) in batch.columns().iter().enumerate() {
            if index > 0 {
                out.push(b'\t');
            }
            if column.is_null(row) {
                out.extend_from_slice(b"\\N");
            } else {
                write_value(column, row, out)?;
            }
        }
        out.push(b'\n');
    }
    Ok(())
}

fn write_value(column: &dyn Array, row: usize, out: &mut Vec<u8>) -> io::Result<()> {
    match column.data_type() {
        DataType::Int32 => write!(out, "{}", column.as_primitive::<Int32Type>().value(row)),
        DataType::Float64 => write!(out, "{}", column.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => {
            write_text(column.as_string::<i32>().value(row), out);
            Ok(())
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            let time = DateTime::from_timestamp_micros(micros).ok_or(io::ErrorKind::InvalidData)?;
            write!(out, "{}", time.format("%Y-%m-%d %H:%M:%S%.f+00"))
        }
        other => Err(io::Error::other(format!("a column of type {other}"))),
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, Int32Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn values_nulls_and_escapes() {
        let times =
            TimestampMicrosecondArray::from(vec![1_357_034_400_000_000, 1_500_000]).with_timezone("UTC");
        let columns: [(&str, ArrayRef); 4] = [
            ("n", Arc::new(Int32Array::from(vec![Some(-7), None]))),
            ("f", Arc::new(Float64Array::from(vec![Some(39.02), Some(1e300)]))),
            ("t", Arc::new(StringArray::from(vec![Some("a\tb\\c\nd"), Some("ü")]))),
            ("at", Arc::new(times)),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut source = CopyText::new([Ok(batch.clone()), Ok(batch.slice(0, 1))].into_iter());
        let mut text = String::new();
        source.read_to_string(&mut text).unwrap();
        let first = "-7\t39.02\ta\\tb\\\\c\\nd\t2013-01-01 10:00:00+00\n";
        let big = format!("1{}", "0".repeat(300));
        assert_eq!(text, format!("{first}\\N\t{big}\tü\t1970-01-01 00:00:01.500+00\n{first}"));
        assert_eq!(source.rows(), 3);
    }
}
