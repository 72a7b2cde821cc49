//! Functions that answer rows.

use super::short::*;
use super::{Function, Param};
use crate::expr::sets::{lists, rows, series};

const TEXTS: omen_core::types::PgType = TEXT.array_of();

pub(super) static FUNCTIONS: &[Function] = &[
    Function::set_of("generate_series", &[I4, I4], INT4, series::integers),
    Function::set_of("generate_series", &[I4, I4, I4], INT4, series::integers),
    Function::set_of("generate_series", &[I8, I8], INT8, series::integers),
    Function::set_of("generate_series", &[I8, I8, I8], INT8, series::integers),
    Function::set_of("generate_series", &[NU, NU], NUMERIC, series::numerics),
    Function::set_of("generate_series", &[NU, NU, NU], NUMERIC, series::numerics),
    Function::set_of("generate_series", &[TS, TS, IV], TIMESTAMP, series::timestamps),
    Function::set_of("generate_series", &[TZ, TZ, IV], TIMESTAMPTZ, series::timestamps).stable(),
    Function::set_of("generate_subscripts", &[ARR, I4], INT4, lists::subscripts),
    Function::set_of("generate_subscripts", &[ARR, I4, Param::Is(BOOL)], INT4, lists::subscripts),
    Function::set_of("regexp_matches", &[TX, TX], TEXTS, lists::matches),
    Function::set_of("regexp_matches", &[TX, TX, TX], TEXTS, lists::matches),
    Function::set_of("regexp_split_to_table", &[TX, TX], TEXT, lists::split),
    Function::set_of("regexp_split_to_table", &[TX, TX, TX], TEXT, lists::split),
    Function::set_of("string_to_table", &[TX, TX], TEXT, lists::pieces).sees_nulls(),
    Function::set_of("string_to_table", &[TX, TX, TX], TEXT, lists::pieces).sees_nulls(),
    Function::set_of("unnest", &[ARR], TEXT, lists::elements).gives_element(),
];

/// Its argument as one row; has no name in SQL.
pub(super) static ONE_ROW: Function =
    Function::set_of(super::ONE_ROW, &[ANY], TEXT, |args| Ok(rows(vec![args.values.to_vec()]))).sees_nulls();
