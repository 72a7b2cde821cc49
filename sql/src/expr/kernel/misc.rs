//! What the session and the server say of themselves.

use omen_core::types::{ArrayValue, Datum, PgType};

use super::Call;
use super::lift::{I64, Result, Text, each_datum, each_datum_nulls, text1};
use crate::expr::value::Value;

/// The version of PostgreSQL whose behaviour clients may expect.
pub const POSTGRES_VERSION: &str = "15.18";

fn text(value: &str) -> Result<Value> {
    Ok(Value::Scalar(Datum::Text(value.into())))
}

pub(crate) fn version(_: &Call<'_>) -> Result<Value> {
    let own = env!("CARGO_PKG_VERSION");
    text(&format!(
        "PostgreSQL {POSTGRES_VERSION} (OmenDB {own}) on {}-{}",
        std::env::consts::ARCH,
        std::env::consts::OS
    ))
}

pub(crate) fn current_user(call: &Call<'_>) -> Result<Value> {
    text(&call.context.user)
}

pub(crate) fn current_database(call: &Call<'_>) -> Result<Value> {
    text(&call.context.database)
}

pub(crate) fn current_schema(_: &Call<'_>) -> Result<Value> {
    text("public")
}

pub(crate) fn backend_pid(call: &Call<'_>) -> Result<Value> {
    Ok(Value::Scalar(Datum::Int4(call.context.backend_pid)))
}

/// `omen_core_messages()`: messages that cores of this node have sent to each other since it started
pub(crate) fn core_messages(call: &Call<'_>) -> Result<Value> {
    Ok(Value::Scalar(Datum::Int8(call.context.core_messages().cast_signed())))
}

/// `pg_size_pretty(bigint)`: bytes in the largest unit that leaves at least two digits
pub(crate) fn size_pretty(call: &Call<'_>) -> Result<Value> {
    text1::<I64>(call, |bytes, out| {
        let (mut size, mut unit) = (bytes, "bytes");
        if bytes.unsigned_abs() >= 10 * 1_024 {
            // Counted in halves, to be rounded once at the end.
            size = bytes / 512;
            unit = "kB";
            for next in ["MB", "GB", "TB", "PB"] {
                if size.unsigned_abs() < 20 * 1_024 - 1 {
                    break;
                }
                size /= 1_024;
                unit = next;
            }
            size = (size + size.signum()) / 2;
        }
        out.extend_from_slice(format!("{size} {unit}").as_bytes());
        Ok(())
    })
}

/// `pg_typeof(any)`, as text
pub(crate) fn type_of(call: &Call<'_>) -> Result<Value> {
    text(&call.types[0].base().to_string())
}

/// `false`, for states that OmenDB is never in
pub(crate) fn no(_: &Call<'_>) -> Result<Value> {
    Ok(Value::Scalar(Datum::Bool(false)))
}

/// NULL, for comments that OmenDB does not keep
pub(crate) fn nothing(_: &Call<'_>) -> Result<Value> {
    Ok(Value::Scalar(Datum::Null))
}

/// `jsonb_typeof` and `json_typeof`
pub(crate) fn json_typeof(call: &Call<'_>) -> Result<Value> {
    text1::<Text>(call, |json, out| {
        out.extend_from_slice(match json.trim_start().as_bytes().first() {
            Some(b'{') => b"object",
            Some(b'[') => b"array",
            Some(b'"') => b"string",
            Some(b't' | b'f') => b"boolean",
            Some(b'n') => b"null",
            _ => b"number",
        });
        Ok(())
    })
}

/// `current_schemas`
pub(crate) fn current_schemas(call: &Call<'_>) -> Result<Value> {
    each_datum(call, |args| {
        let mut names = vec![Datum::Text("public".into())];
        if args[0] == Datum::Bool(true) {
            names.insert(0, Datum::Text("pg_catalog".into()));
        }
        Ok(ArrayValue::list(PgType::Text, names).into_datum())
    })
}

/// `format_type`, of types that there are.
pub(crate) fn format_type(call: &Call<'_>) -> Result<Value> {
    each_datum_nulls(call, |args| {
        let oid = match args[0] {
            Datum::Int4(oid) => oid as u32,
            Datum::Int8(oid) => u32::try_from(oid).unwrap_or(0),
            _ => return Ok(Datum::Null),
        };
        let modifier = match args[1] {
            Datum::Int4(modifier) => modifier,
            _ => -1,
        };
        let name = PgType::from_oid(oid).map(|pg_type| match pg_type.element() {
            Some(element) => format!("{}[]", element.with_modifier(modifier)),
            None => pg_type.with_modifier(modifier).to_string(),
        });
        Ok(Datum::Text(name.unwrap_or_else(|| if oid == 0 { "-" } else { "???" }.to_owned()).into()))
    })
}
