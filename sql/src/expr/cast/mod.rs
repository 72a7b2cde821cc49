//! Conversions between types: which there are (`pg_cast`) and how they run.

mod run;

use omen_core::types::PgType;

use super::build::Coercion;

pub(crate) use run::{push_text, run};

/// Type categories (`typcategory`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Category {
    /// `B`
    Boolean,
    /// `N`
    Number,
    /// `S`
    Text,
    /// `D`
    DateTime,
    /// `T`
    Timespan,
    /// `A`
    Array,
    /// `U`
    Other,
}

/// The category of a type.
pub(crate) fn category(pg_type: PgType) -> Category {
    match pg_type {
        PgType::Bool => Category::Boolean,
        PgType::Int2 | PgType::Int4 | PgType::Int8 | PgType::Float4 | PgType::Float8 | PgType::Numeric(_) => {
            Category::Number
        }
        PgType::Text | PgType::Varchar(_) => Category::Text,
        PgType::Date | PgType::Time | PgType::Timestamp | PgType::Timestamptz => Category::DateTime,
        PgType::Interval => Category::Timespan,
        PgType::Array(_) => Category::Array,
        PgType::Bytea | PgType::Uuid | PgType::Json | PgType::Jsonb => Category::Other,
    }
}

/// Whether the type is the one its category prefers (`typispreferred`).
pub(crate) fn is_preferred(pg_type: PgType) -> bool {
    matches!(pg_type, PgType::Bool | PgType::Float8 | PgType::Text | PgType::Timestamptz | PgType::Interval)
}

/// The least purpose for which a value of one type becomes one of another by itself; `None` if there is no such cast.
pub(crate) fn context_of(from: PgType, to: PgType) -> Option<Coercion> {
    use Coercion::{Assignment, Explicit, Implicit};
    let (from, to) = (from.base(), to.base());
    if from == to {
        return Some(Implicit);
    }
    let rank = |pg_type: PgType| match pg_type {
        PgType::Int2 => 1,
        PgType::Int4 => 2,
        PgType::Int8 => 3,
        PgType::Numeric(_) => 4,
        PgType::Float4 => 5,
        PgType::Float8 => 6,
        _ => 0,
    };
    match (from, to) {
        (PgType::Array(from), PgType::Array(to)) => context_of(from.pg_type(), to.pg_type()),
        (PgType::Text, PgType::Varchar(_)) | (PgType::Varchar(_), PgType::Text) => Some(Implicit),
        _ if rank(from) > 0 && rank(to) > 0 => {
            Some(if rank(from) < rank(to) { Implicit } else { Assignment })
        }
        (PgType::Bool, PgType::Int4) | (PgType::Int4, PgType::Bool) => Some(Explicit),
        (PgType::Date, PgType::Timestamp | PgType::Timestamptz)
        | (PgType::Timestamp, PgType::Timestamptz) => Some(Implicit),
        (PgType::Timestamp, PgType::Date | PgType::Time)
        | (PgType::Timestamptz, PgType::Date | PgType::Time | PgType::Timestamp)
        | (PgType::Interval, PgType::Time)
        | (PgType::Json, PgType::Jsonb)
        | (PgType::Jsonb, PgType::Json) => Some(Assignment),
        (PgType::Time, PgType::Interval) => Some(Implicit),
        (PgType::Jsonb, PgType::Bool) => Some(Explicit),
        (PgType::Jsonb, to) if rank(to) > 0 => Some(Explicit),
        // By way of text: writing is an assignment, reading is explicit.
        (_, PgType::Text | PgType::Varchar(_)) => Some(Assignment),
        (PgType::Text | PgType::Varchar(_), _) => Some(Explicit),
        _ => None,
    }
}

/// Whether a value of one type serves as another for a purpose.
pub(crate) fn can_coerce(from: PgType, to: PgType, coercion: Coercion) -> bool {
    context_of(from, to).is_some_and(|least| least <= coercion)
}
