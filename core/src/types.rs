//! The column types of PostgreSQL that OmenDB stores, and one value of any of them.
//!
//! Dates and times are counted from 1970-01-01 as Arrow does; the wire counts from 2000-01-01 (`net` converts).

pub mod array;
pub mod interval;
pub mod numeric;

use std::fmt;

use arrow_schema::{DataType, TimeUnit};

pub use array::{ArrayValue, Element};
pub use interval::Interval;
pub use numeric::Numeric;

/// A type with its modifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PgType {
    /// `boolean`
    Bool,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `numeric` or `numeric(precision, scale)`
    Numeric(Option<(u16, i16)>),
    /// `text`
    Text,
    /// `varchar` or `varchar(n)`, n in characters
    Varchar(Option<u32>),
    /// `bytea`
    Bytea,
    /// `date`: days since 1970-01-01; `i32::MAX` and `i32::MIN` are infinity
    Date,
    /// `time without time zone`: microseconds since midnight
    Time,
    /// `timestamp without time zone`: microseconds since 1970-01-01; `i64::MAX` and `i64::MIN` are infinity
    Timestamp,
    /// `timestamp with time zone`: microseconds since 1970-01-01 UTC, infinity likewise
    Timestamptz,
    /// `interval`
    Interval,
    /// `uuid`
    Uuid,
    /// `json`, stored as the text that came
    Json,
    /// `jsonb`, stored as text
    Jsonb,
    /// An array of any number of dimensions; its values' bytes are those of [`ArrayValue`]
    Array(Element),
}

impl PgType {
    /// Most characters of `varchar(n)` (PG 15, chapter 8.3).
    pub const VARCHAR_MAX: u32 = 10_485_760;
    /// Most digits that `numeric(precision, scale)` may name (PG 15, chapter 8.1.2); fewer are stored.
    pub const PRECISION_MAX: u16 = 1_000;
    /// Largest scale that it may name, also below zero.
    pub const SCALE_MAX: i16 = 1_000;

    /// OID in `pg_type` (PG 15, `pg_type.dat`).
    pub const fn oid(self) -> u32 {
        match self {
            PgType::Bool => 16,
            PgType::Bytea => 17,
            PgType::Int8 => 20,
            PgType::Int2 => 21,
            PgType::Int4 => 23,
            PgType::Text => 25,
            PgType::Json => 114,
            PgType::Float4 => 700,
            PgType::Float8 => 701,
            PgType::Varchar(_) => 1043,
            PgType::Date => 1082,
            PgType::Time => 1083,
            PgType::Timestamp => 1114,
            PgType::Timestamptz => 1184,
            PgType::Interval => 1186,
            PgType::Numeric(_) => 1700,
            PgType::Uuid => 2950,
            PgType::Jsonb => 3802,
            PgType::Array(element) => match element.pg_type() {
                PgType::Bool => 1000,
                PgType::Bytea => 1001,
                PgType::Int2 => 1005,
                PgType::Int4 => 1007,
                PgType::Text => 1009,
                PgType::Varchar(_) => 1015,
                PgType::Int8 => 1016,
                PgType::Float4 => 1021,
                PgType::Float8 => 1022,
                PgType::Timestamp => 1115,
                PgType::Date => 1182,
                PgType::Time => 1183,
                PgType::Timestamptz => 1185,
                PgType::Interval => 1187,
                PgType::Numeric(_) => 1231,
                PgType::Uuid => 2951,
                PgType::Json => 199,
                PgType::Jsonb => 3807,
                PgType::Array(_) => panic!("an element is no array"),
            },
        }
    }

    /// The type with this OID, without modifier.
    pub const fn from_oid(oid: u32) -> Option<PgType> {
        Some(match oid {
            16 => PgType::Bool,
            17 => PgType::Bytea,
            20 => PgType::Int8,
            21 => PgType::Int2,
            23 => PgType::Int4,
            25 => PgType::Text,
            114 => PgType::Json,
            700 => PgType::Float4,
            701 => PgType::Float8,
            1043 => PgType::Varchar(None),
            1082 => PgType::Date,
            1083 => PgType::Time,
            1114 => PgType::Timestamp,
            1184 => PgType::Timestamptz,
            1186 => PgType::Interval,
            1700 => PgType::Numeric(None),
            2950 => PgType::Uuid,
            3802 => PgType::Jsonb,
            199 => PgType::Json.array_of(),
            1000 => PgType::Bool.array_of(),
            1001 => PgType::Bytea.array_of(),
            1005 => PgType::Int2.array_of(),
            1007 => PgType::Int4.array_of(),
            1009 => PgType::Text.array_of(),
            1015 => PgType::Varchar(None).array_of(),
            1016 => PgType::Int8.array_of(),
            1021 => PgType::Float4.array_of(),
            1022 => PgType::Float8.array_of(),
            1115 => PgType::Timestamp.array_of(),
            1182 => PgType::Date.array_of(),
            1183 => PgType::Time.array_of(),
            1185 => PgType::Timestamptz.array_of(),
            1187 => PgType::Interval.array_of(),
            1231 => PgType::Numeric(None).array_of(),
            2951 => PgType::Uuid.array_of(),
            3807 => PgType::Jsonb.array_of(),
            _ => return None,
        })
    }

    /// `typlen` of `pg_type`: bytes on the wire, or -1 if the length varies.
    pub fn wire_size(self) -> i16 {
        match self {
            PgType::Bool => 1,
            PgType::Int2 => 2,
            PgType::Int4 | PgType::Float4 | PgType::Date => 4,
            PgType::Int8 | PgType::Float8 | PgType::Time | PgType::Timestamp | PgType::Timestamptz => 8,
            PgType::Interval | PgType::Uuid => 16,
            _ => -1,
        }
    }

    /// `atttypmod`: the modifier as clients see it, or -1.
    pub const fn type_modifier(self) -> i32 {
        match self {
            PgType::Varchar(Some(limit)) if limit < i32::MAX as u32 - 4 => limit as i32 + 4,
            PgType::Numeric(Some((precision, scale))) => {
                ((precision as i32) << 16 | (scale as i32 & 0x7ff)) + 4
            }
            PgType::Array(element) => element.pg_type().type_modifier(),
            _ => -1,
        }
    }

    /// The type with the modifier that `type_modifier` gave.
    pub const fn with_modifier(self, modifier: i32) -> PgType {
        match self {
            PgType::Varchar(_) if modifier >= 4 => PgType::Varchar(Some(modifier as u32 - 4)),
            PgType::Numeric(_) if modifier >= 4 => {
                let scale = (((modifier - 4) & 0x7ff) ^ 0x400) - 0x400;
                PgType::Numeric(Some((((modifier - 4) >> 16) as u16, scale as i16)))
            }
            other => other,
        }
    }

    /// Arrays of this type; `None` if it is one itself.
    pub const fn array(self) -> Option<PgType> {
        match Element::of(self) {
            Some(element) => Some(PgType::Array(element)),
            None => None,
        }
    }

    /// Arrays of this type, which is none itself.
    ///
    /// # Panics
    /// If it is.
    pub const fn array_of(self) -> PgType {
        match self.array() {
            Some(array) => array,
            None => panic!("an array of arrays is an array of more dimensions"),
        }
    }

    /// The type of an array's elements; `None` for other types.
    pub const fn element(self) -> Option<PgType> {
        match self {
            PgType::Array(element) => Some(element.pg_type()),
            _ => None,
        }
    }

    /// How a column of the type lies in memory.
    ///
    /// Numerics are 17 bytes (`Numeric::to_bytes`), intervals 16 (`Interval::to_bytes`), UUIDs 16.
    pub fn arrow(self) -> DataType {
        match self {
            PgType::Bool => DataType::Boolean,
            PgType::Int2 => DataType::Int16,
            PgType::Int4 => DataType::Int32,
            PgType::Int8 => DataType::Int64,
            PgType::Float4 => DataType::Float32,
            PgType::Float8 => DataType::Float64,
            PgType::Numeric(_) => DataType::FixedSizeBinary(numeric::NUMERIC_BYTES as i32),
            PgType::Text | PgType::Varchar(_) | PgType::Json | PgType::Jsonb => DataType::Utf8,
            PgType::Bytea | PgType::Array(_) => DataType::Binary,
            PgType::Date => DataType::Date32,
            PgType::Time => DataType::Time64(TimeUnit::Microsecond),
            PgType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            PgType::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            PgType::Interval => DataType::FixedSizeBinary(interval::INTERVAL_BYTES as i32),
            PgType::Uuid => DataType::FixedSizeBinary(16),
        }
    }

    /// Bytes of a value in a row (`row.rs`), or `None` if the length varies and is stored in front.
    pub fn row_size(self) -> Option<usize> {
        match self {
            PgType::Bool => Some(1),
            PgType::Int2 => Some(2),
            PgType::Int4 | PgType::Float4 | PgType::Date => Some(4),
            PgType::Int8 | PgType::Float8 | PgType::Time | PgType::Timestamp | PgType::Timestamptz => Some(8),
            PgType::Numeric(_) => Some(numeric::NUMERIC_BYTES),
            PgType::Interval => Some(interval::INTERVAL_BYTES),
            PgType::Uuid => Some(16),
            PgType::Text
            | PgType::Varchar(_)
            | PgType::Bytea
            | PgType::Json
            | PgType::Jsonb
            | PgType::Array(_) => None,
        }
    }

    /// The same type without modifier: two types are the same to operators if these are equal.
    pub fn base(self) -> PgType {
        match self {
            PgType::Numeric(_) => PgType::Numeric(None),
            PgType::Varchar(_) => PgType::Varchar(None),
            PgType::Array(element) => element.pg_type().base().array_of(),
            other => other,
        }
    }

    /// Whether values are UTF-8 text in memory.
    pub fn is_text(self) -> bool {
        matches!(self, PgType::Text | PgType::Varchar(_) | PgType::Json | PgType::Jsonb)
    }
}

/// The name as `format_type` prints it.
impl fmt::Display for PgType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            PgType::Bool => "boolean",
            PgType::Int2 => "smallint",
            PgType::Int4 => "integer",
            PgType::Int8 => "bigint",
            PgType::Float4 => "real",
            PgType::Float8 => "double precision",
            PgType::Numeric(Some((precision, scale))) => return write!(f, "numeric({precision},{scale})"),
            PgType::Numeric(None) => "numeric",
            PgType::Text => "text",
            PgType::Varchar(Some(limit)) => return write!(f, "character varying({limit})"),
            PgType::Varchar(None) => "character varying",
            PgType::Bytea => "bytea",
            PgType::Date => "date",
            PgType::Time => "time without time zone",
            PgType::Timestamp => "timestamp without time zone",
            PgType::Timestamptz => "timestamp with time zone",
            PgType::Interval => "interval",
            PgType::Uuid => "uuid",
            PgType::Json => "json",
            PgType::Jsonb => "jsonb",
            PgType::Array(element) => return write!(f, "{}[]", element.pg_type()),
        };
        f.write_str(name)
    }
}

/// One value.
#[derive(Clone, PartialEq, Debug)]
pub enum Datum {
    /// SQL NULL of any type
    Null,
    /// `boolean`
    Bool(bool),
    /// `smallint`
    Int2(i16),
    /// `integer`
    Int4(i32),
    /// `bigint`
    Int8(i64),
    /// `real`
    Float4(f32),
    /// `double precision`
    Float8(f64),
    /// `numeric`
    Numeric(Numeric),
    /// `text`, `varchar`, `json`, `jsonb`
    Text(Box<str>),
    /// `bytea`
    Bytea(Box<[u8]>),
    /// `date`, days since 1970-01-01
    Date(i32),
    /// `time`, microseconds since midnight
    Time(i64),
    /// `timestamp` or `timestamptz`, microseconds since 1970-01-01
    Timestamp(i64),
    /// `interval`
    Interval(Interval),
    /// `uuid`
    Uuid([u8; 16]),
    /// An array, as [`ArrayValue::to_bytes`] writes it
    Array(Box<[u8]>),
}

impl Datum {
    /// Whether this is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Datum::Null)
    }
}
