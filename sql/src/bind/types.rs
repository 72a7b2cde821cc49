//! Type names of SQL.

use omen_core::types::{Numeric, PgType};
use sqlparser::ast::{self, CharacterLength, DataType, ExactNumberInfo, TimezoneInfo};

use crate::error::{Result, SqlError, SqlState};

/// The type that a declaration names.
///
/// # Errors
/// 42704 if there is no such type, 0A000 if OmenDB does not have it, 22023 for a bad modifier.
pub(crate) fn pg_type(data_type: &DataType) -> Result<PgType> {
    Ok(match data_type {
        DataType::Bool | DataType::Boolean => PgType::Bool,
        DataType::Int2(None) | DataType::SmallInt(None) => PgType::Int2,
        DataType::Int(None) | DataType::Int4(None) | DataType::Integer(None) => PgType::Int4,
        DataType::Int8(None) | DataType::BigInt(None) => PgType::Int8,
        DataType::Float4 | DataType::Real => PgType::Float4,
        DataType::Float8 | DataType::DoublePrecision => PgType::Float8,
        DataType::Float(info) => float(*info)?,
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => numeric(*info)?,
        DataType::Text => PgType::Text,
        DataType::Varchar(length) | DataType::CharacterVarying(length) | DataType::CharVarying(length) => {
            varchar(*length)?
        }
        DataType::Bytea => PgType::Bytea,
        DataType::Date => PgType::Date,
        DataType::Time(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            no_precision("time", *precision)?;
            PgType::Time
        }
        DataType::Timestamp(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            no_precision("timestamp", *precision)?;
            PgType::Timestamp
        }
        DataType::Timestamp(precision, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => {
            no_precision("timestamp", *precision)?;
            PgType::Timestamptz
        }
        DataType::Interval { fields: None, precision } => {
            no_precision("interval", *precision)?;
            PgType::Interval
        }
        DataType::Uuid => PgType::Uuid,
        DataType::JSON => PgType::Json,
        DataType::JSONB => PgType::Jsonb,
        DataType::Array(ast::ArrayElemTypeDef::SquareBracket(inner, _)) => {
            let element = pg_type(inner)?;
            element.array().unwrap_or(element)
        }
        DataType::Array(_) => return Err(unsupported(data_type)),
        DataType::Custom(name, modifiers) => custom(name, modifiers)?,
        other => return Err(unsupported(other)),
    })
}

/// Names that `sqlparser` has no keyword for, and names of schema `pg_catalog`.
fn custom(name: &ast::ObjectName, modifiers: &[String]) -> Result<PgType> {
    let parts = super::names::parts(name)?;
    let plain = match parts.as_slice() {
        [plain] => plain,
        [schema, plain] if schema == "pg_catalog" => plain,
        _ => return Err(unknown(&name.to_string())),
    };
    if plain == "varchar" && modifiers.len() <= 1 {
        let length = modifiers.first().and_then(|text| text.parse().ok());
        return varchar(length.map(|length| CharacterLength::IntegerLength { length, unit: None }));
    }
    if !modifiers.is_empty() {
        return Err(unsupported(&format!("{name}({})", modifiers.join(","))));
    }
    Ok(match plain.as_str() {
        "bool" | "boolean" => PgType::Bool,
        "int2" | "smallint" => PgType::Int2,
        "int4" | "int" | "integer" => PgType::Int4,
        "int8" | "bigint" => PgType::Int8,
        "float4" | "real" => PgType::Float4,
        "float8" => PgType::Float8,
        "numeric" | "decimal" => PgType::Numeric(None),
        "text" => PgType::Text,
        "bytea" => PgType::Bytea,
        "date" => PgType::Date,
        "time" => PgType::Time,
        "timestamp" => PgType::Timestamp,
        "timestamptz" => PgType::Timestamptz,
        "interval" => PgType::Interval,
        "uuid" => PgType::Uuid,
        "json" => PgType::Json,
        "jsonb" => PgType::Jsonb,
        // The names of array types in `pg_type`.
        array if array.len() > 1 && array.starts_with('_') => {
            let element = ast::ObjectName::from(vec![ast::Ident::new(&array[1..])]);
            custom(&element, &[])?.array().ok_or_else(|| unknown(array))?
        }
        "serial" | "serial4" | "bigserial" | "serial8" | "smallserial" | "serial2" => {
            let hint =
                "Use bigint and let the application give the numbers, or uuid DEFAULT gen_random_uuid().";
            return Err(SqlError::unsupported(format!("type {plain}"), hint));
        }
        "bpchar" | "char" | "name" | "oid" | "regclass" | "regtype" | "money" | "inet" | "cidr"
        | "macaddr" | "xml" | "timetz" | "hstore" | "point" | "line" | "box" | "path" | "polygon"
        | "circle" | "tsvector" | "tsquery" | "int4range" | "int8range" | "numrange" | "tsrange"
        | "tstzrange" | "daterange" => {
            return Err(unsupported(plain));
        }
        _ => return Err(unknown(plain)),
    })
}

fn unknown(name: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist"))
}

fn unsupported(data_type: &impl ToString) -> SqlError {
    let name = data_type.to_string();
    let hint = match name.to_ascii_lowercase().as_str() {
        lower if lower.contains("char") => "Use text or varchar(n).",
        lower if lower.contains("time") => "Use timestamptz.",
        lower if lower.contains("[]") || lower.contains("array") => "Use jsonb or a table of the elements.",
        _ => {
            "Types are boolean, smallint, integer, bigint, real, double precision, numeric, text, varchar, bytea, \
             date, time, timestamp, timestamptz, interval, uuid, json and jsonb."
        }
    };
    SqlError::unsupported(format!("type {name}"), hint)
}

fn no_precision(name: &str, precision: Option<u64>) -> Result<()> {
    match precision {
        None | Some(6) => Ok(()),
        Some(digits) => Err(SqlError::unsupported(
            format!("type {name}({digits})"),
            format!("Use {name}: it keeps microseconds."),
        )),
    }
}

fn varchar(length: Option<CharacterLength>) -> Result<PgType> {
    let length = match length {
        None => return Ok(PgType::Varchar(None)),
        Some(CharacterLength::IntegerLength { length, unit: None }) => length,
        Some(other) => return Err(unsupported(&format!("varchar({other})"))),
    };
    let message = match u32::try_from(length) {
        Ok(0) => "length for type varchar must be at least 1".to_owned(),
        Ok(length @ 1..=PgType::VARCHAR_MAX) => return Ok(PgType::Varchar(Some(length))),
        _ => format!("length for type varchar cannot exceed {}", PgType::VARCHAR_MAX),
    };
    Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message))
}

fn float(info: ExactNumberInfo) -> Result<PgType> {
    let message = match info {
        ExactNumberInfo::None => return Ok(PgType::Float8),
        ExactNumberInfo::Precision(1..=24) => return Ok(PgType::Float4),
        ExactNumberInfo::Precision(25..=53) => return Ok(PgType::Float8),
        ExactNumberInfo::Precision(0) => "precision for type float must be at least 1 bit",
        _ => "precision for type float must be less than 54 bits",
    };
    Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message))
}

fn numeric(info: ExactNumberInfo) -> Result<PgType> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => return Ok(PgType::Numeric(None)),
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    if !(1..=u64::from(PgType::PRECISION_MAX)).contains(&precision) {
        let message = format!("NUMERIC precision {precision} must be between 1 and 1000");
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    let scale_max = i64::from(PgType::SCALE_MAX);
    if !(-scale_max..=scale_max).contains(&scale) {
        let message = format!("NUMERIC scale {scale} must be between -1000 and 1000");
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    let digits_max = u64::from(Numeric::DIGITS_MAX);
    if precision > digits_max || !(0..=i64::from(Numeric::DIGITS_MAX)).contains(&scale) {
        let what = format!("type numeric({precision},{scale})");
        return Err(SqlError::unsupported(
            what,
            format!("Use at most {digits_max} digits and a scale of 0 to {digits_max}."),
        ));
    }
    let precision = u16::try_from(precision).expect("at most 38");
    Ok(PgType::Numeric(Some((precision, i16::try_from(scale).expect("at most 38")))))
}

/// `typname` of `pg_type`: what a cast without other name calls its column.
pub(crate) fn internal_name(pg_type: PgType) -> &'static str {
    match pg_type {
        PgType::Bool => "bool",
        PgType::Int2 => "int2",
        PgType::Int4 => "int4",
        PgType::Int8 => "int8",
        PgType::Float4 => "float4",
        PgType::Float8 => "float8",
        PgType::Numeric(_) => "numeric",
        PgType::Text => "text",
        PgType::Varchar(_) => "varchar",
        PgType::Bytea => "bytea",
        PgType::Date => "date",
        PgType::Time => "time",
        PgType::Timestamp => "timestamp",
        PgType::Timestamptz => "timestamptz",
        PgType::Interval => "interval",
        PgType::Uuid => "uuid",
        PgType::Json => "json",
        PgType::Jsonb => "jsonb",
        PgType::Array(element) => internal_name(element.pg_type()),
    }
}
