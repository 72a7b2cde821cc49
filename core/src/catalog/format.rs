//! How a table is written down: the body of a row of the system range, and the schema in a shard's manifest.
//!
//! | schema | bytes, little-endian |
//! |---|---|
//! | version | u8 = 2; version 1 ends with the key name, its index is `auto` |
//! | columns | u16 count, then each: name, type u8 + modifier u32, flags u8 (1 not null, 2 hidden, 4 has default), default if any |
//! | key | u16 count, then u16 column indexes |
//! | key name | u8 0 or 1, then the name |
//! | index | u8: 0 auto, 1 learned, 2 binary |
//!
//! | table | bytes |
//! |---|---|
//! | name, schema | as above, the schema with a u32 length in front |
//! | ranges | u32 count, then each: id u64, core u16, start, u8 0 or 1 and the end if it has one |
//!
//! Strings and keys are a u32 length and their bytes. The checksum is that of the record or edit around it.

use std::sync::Arc;

use crate::catalog::{COLUMNS_MAX, Column, RangeDescriptor, Table, TableSchema};
use crate::error::{Error, Result};
use crate::id::{CoreId, RangeId, TableId};
use crate::key::{Key, KeySpan};
use crate::learned::IndexKind;
use crate::types::PgType;

const VERSION: u8 = 2;
const VERSION_WITHOUT_INDEX: u8 = 1;

/// The schema as bytes.
pub fn encode_schema(schema: &TableSchema) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_u16(&mut out, schema.columns.len());
    for column in &schema.columns {
        put_bytes(&mut out, column.name.as_bytes());
        let (tag, modifier) = type_code(column.pg_type);
        out.push(tag);
        out.extend_from_slice(&modifier.to_le_bytes());
        let has_default = column.default.is_some();
        out.push(u8::from(column.not_null) | u8::from(column.hidden) << 1 | u8::from(has_default) << 2);
        if let Some(default) = &column.default {
            put_bytes(&mut out, default.as_bytes());
        }
    }
    put_u16(&mut out, schema.key.len());
    schema.key.iter().for_each(|index| put_u16(&mut out, *index));
    out.push(u8::from(schema.key_name.is_some()));
    if let Some(name) = &schema.key_name {
        put_bytes(&mut out, name.as_bytes());
    }
    out.push(index_code(schema.index));
    out
}

/// Inverse of [`encode_schema`].
///
/// # Errors
/// `Error::Corrupt` if the bytes are not a schema.
pub fn decode_schema(bytes: &[u8]) -> Result<TableSchema> {
    let mut input = Input(bytes);
    let schema = read_schema(&mut input).filter(|_| input.0.is_empty());
    schema.ok_or_else(|| malformed("schema"))
}

/// The table without its id as bytes.
pub fn encode_table(table: &Table) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, table.name.as_bytes());
    put_bytes(&mut out, &encode_schema(&table.schema));
    out.extend_from_slice(&(table.ranges.len() as u32).to_le_bytes());
    for range in &table.ranges {
        out.extend_from_slice(&range.id.0.to_le_bytes());
        out.extend_from_slice(&range.core.0.to_le_bytes());
        put_bytes(&mut out, &range.span.start);
        out.push(u8::from(range.span.end.is_some()));
        if let Some(end) = &range.span.end {
            put_bytes(&mut out, end);
        }
    }
    out
}

/// Inverse of [`encode_table`].
///
/// # Errors
/// `Error::Corrupt` if the bytes are not a table.
pub fn decode_table(id: TableId, bytes: &[u8]) -> Result<Table> {
    let mut input = Input(bytes);
    let table = read_table(&mut input, id).filter(|_| input.0.is_empty());
    table.ok_or_else(|| malformed("table"))
}

fn malformed(what: &str) -> Error {
    Error::Corrupt { place: "catalog".into(), detail: format!("malformed {what} descriptor") }
}

fn put_u16(out: &mut Vec<u8>, value: usize) {
    let value = u16::try_from(value).expect("bounded by COLUMNS_MAX");
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("a statement is smaller than 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

fn index_code(index: IndexKind) -> u8 {
    match index {
        IndexKind::Auto => 0,
        IndexKind::Learned => 1,
        IndexKind::Binary => 2,
    }
}

fn index_of(code: u8) -> Option<IndexKind> {
    IndexKind::ALL.into_iter().find(|index| index_code(*index) == code)
}

/// Tags of arrays are those of their elements and this.
const ARRAY_TAG: u8 = 100;

fn type_code(pg_type: PgType) -> (u8, u32) {
    match pg_type {
        PgType::Bool => (1, 0),
        PgType::Int2 => (2, 0),
        PgType::Int4 => (3, 0),
        PgType::Int8 => (4, 0),
        PgType::Float4 => (5, 0),
        PgType::Float8 => (6, 0),
        PgType::Numeric(None) => (7, 0),
        PgType::Numeric(Some((precision, scale))) => {
            (8, u32::from(precision) << 16 | u32::from(scale as u16))
        }
        PgType::Text => (9, 0),
        PgType::Varchar(None) => (10, 0),
        PgType::Varchar(Some(limit)) => (11, limit),
        PgType::Bytea => (12, 0),
        PgType::Date => (13, 0),
        PgType::Time => (14, 0),
        PgType::Timestamp => (15, 0),
        PgType::Timestamptz => (16, 0),
        PgType::Interval => (17, 0),
        PgType::Uuid => (18, 0),
        PgType::Json => (19, 0),
        PgType::Jsonb => (20, 0),
        PgType::Array(element) => {
            let (tag, modifier) = type_code(element.pg_type());
            (ARRAY_TAG + tag, modifier)
        }
    }
}

fn type_of(tag: u8, modifier: u32) -> Option<PgType> {
    Some(match tag {
        1 => PgType::Bool,
        2 => PgType::Int2,
        3 => PgType::Int4,
        4 => PgType::Int8,
        5 => PgType::Float4,
        6 => PgType::Float8,
        7 => PgType::Numeric(None),
        8 => {
            let (precision, scale) = ((modifier >> 16) as u16, modifier as u16 as i16);
            let is_one = (1..=PgType::PRECISION_MAX).contains(&precision)
                && (-PgType::SCALE_MAX..=PgType::SCALE_MAX).contains(&scale);
            is_one.then_some(PgType::Numeric(Some((precision, scale))))?
        }
        9 => PgType::Text,
        10 => PgType::Varchar(None),
        11 => (1..=PgType::VARCHAR_MAX).contains(&modifier).then_some(PgType::Varchar(Some(modifier)))?,
        12 => PgType::Bytea,
        13 => PgType::Date,
        14 => PgType::Time,
        15 => PgType::Timestamp,
        16 => PgType::Timestamptz,
        17 => PgType::Interval,
        18 => PgType::Uuid,
        19 => PgType::Json,
        20 => PgType::Jsonb,
        tag if tag > ARRAY_TAG => type_of(tag - ARRAY_TAG, modifier)?.array()?,
        _ => return None,
    })
}

/// Bytes yet to be read; every read is bounded by what is there.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (value, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*value)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Option<bool> {
        self.byte().and_then(|byte| (byte <= 1).then_some(byte == 1))
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        let (value, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(value)
    }

    fn string(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }
}

fn read_schema(input: &mut Input<'_>) -> Option<TableSchema> {
    let version = input.byte()?;
    if version != VERSION && version != VERSION_WITHOUT_INDEX {
        return None;
    }
    let count = usize::from(input.u16()?);
    if count > COLUMNS_MAX + 1 {
        return None;
    }
    let mut columns = Vec::with_capacity(count);
    for _ in 0..count {
        let name = input.string()?;
        let tag = input.byte()?;
        let pg_type = type_of(tag, input.u32()?)?;
        let flags = input.byte()?;
        let default = if flags & 4 != 0 { Some(input.string()?) } else { None };
        columns.push(Column { name, pg_type, not_null: flags & 1 != 0, default, hidden: flags & 2 != 0 });
    }
    let mut key = Vec::new();
    for _ in 0..input.u16()? {
        let index = usize::from(input.u16()?);
        if index >= count {
            return None;
        }
        key.push(index);
    }
    let key_name = if input.flag()? { Some(input.string()?) } else { None };
    let index = if version == VERSION { index_of(input.byte()?)? } else { IndexKind::Auto };
    Some(TableSchema { columns, key, key_name, index })
}

fn read_table(input: &mut Input<'_>, id: TableId) -> Option<Table> {
    let name = input.string()?;
    let mut schema = Input(input.bytes()?);
    let schema = read_schema(&mut schema).filter(|_| schema.0.is_empty())?;
    let mut ranges = Vec::new();
    for _ in 0..input.u32()? {
        let range = RangeId(input.array().map(u64::from_le_bytes)?);
        let core = CoreId(input.u16()?);
        let start = Key::from_bytes(input.bytes()?);
        let end = if input.flag()? { Some(Key::from_bytes(input.bytes()?)) } else { None };
        ranges.push(RangeDescriptor { id: range, span: KeySpan { start, end }, core });
    }
    Some(Table { id, name, schema: Arc::new(schema), ranges })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let column = |name: &str, pg_type, default: Option<&str>| Column {
            name: name.into(),
            pg_type,
            not_null: default.is_none(),
            default: default.map(Into::into),
            hidden: false,
        };
        let columns = vec![
            column("id", PgType::Int8, None),
            column("price", PgType::Numeric(Some((15, -2))), Some("1.5")),
            column("name", PgType::Varchar(Some(20)), None),
        ];
        let schema = TableSchema {
            columns,
            key: vec![2, 0],
            key_name: Some("t_pkey".into()),
            index: IndexKind::Binary,
        };
        let split = Key::from_bytes(b"m");
        let span = |start: &Key, end: Option<&Key>| KeySpan { start: start.clone(), end: end.cloned() };
        let ranges = vec![
            RangeDescriptor { id: RangeId(7), span: span(&Key::default(), Some(&split)), core: CoreId(0) },
            RangeDescriptor { id: RangeId(9), span: span(&split, None), core: CoreId(1) },
        ];
        Table { id: TableId(16_384), name: "t".into(), schema: Arc::new(schema), ranges }
    }

    #[test]
    fn a_schema_of_version_1_has_the_automatic_index() {
        let mut schema = TableSchema::clone(&table().schema);
        let mut bytes = encode_schema(&schema);
        assert_eq!((bytes[0], bytes.pop()), (2, Some(2)));
        bytes[0] = 1;
        schema.index = IndexKind::Auto;
        assert_eq!(decode_schema(&bytes), Ok(schema));
        bytes.push(0);
        assert!(decode_schema(&bytes).is_err());
        bytes[0] = 2;
        assert!(decode_schema(&bytes).is_ok());
        bytes[0] = 3;
        assert!(decode_schema(&bytes).is_err());
    }

    /// An array's type would keep another modifier than the one that was read.
    #[test]
    fn modifiers_that_no_type_has_are_corrupt() {
        let column = Column {
            name: "a".into(),
            pg_type: PgType::Numeric(Some((9, 2))).array().unwrap(),
            not_null: false,
            default: None,
            hidden: false,
        };
        let schema =
            TableSchema { columns: vec![column], key: vec![], key_name: None, index: IndexKind::Auto };
        let bytes = encode_schema(&schema);
        // Version, count, name with its length, tag.
        let modifier = 1 + 2 + 5 + 1;
        for bad in [0x6c6c_6c6c, 0, 1_001 << 16, 9 << 16 | 1_001, u32::MAX] {
            let mut bytes = bytes.clone();
            bytes[modifier..modifier + 4].copy_from_slice(&u32::to_le_bytes(bad));
            assert!(decode_schema(&bytes).is_err(), "{bad:#x}");
        }
        assert_eq!((type_of(11, 0), type_of(11, PgType::VARCHAR_MAX + 1)), (None, None));
        assert_eq!(decode_schema(&bytes), Ok(schema));
    }

    #[test]
    fn round_trip_and_truncation() {
        let table = table();
        let bytes = encode_table(&table);
        assert_eq!(decode_table(table.id, &bytes), Ok(table.clone()));
        for cut in 0..bytes.len() {
            assert!(decode_table(table.id, &bytes[..cut]).is_err(), "cut to {cut} bytes");
        }
        for index in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[index] ^= 0x80;
            let _ = decode_table(table.id, &bad);
        }
    }
}
