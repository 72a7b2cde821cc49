//! Functions that answer rows.

use super::Function;
use super::short::*;
use crate::expr::sets::{rows, series};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::set_of("generate_series", &[I4, I4], INT4, series::integers),
    Function::set_of("generate_series", &[I4, I4, I4], INT4, series::integers),
    Function::set_of("generate_series", &[I8, I8], INT8, series::integers),
    Function::set_of("generate_series", &[I8, I8, I8], INT8, series::integers),
    Function::set_of("generate_series", &[NU, NU], NUMERIC, series::numerics),
    Function::set_of("generate_series", &[NU, NU, NU], NUMERIC, series::numerics),
    Function::set_of("generate_series", &[TS, TS, IV], TIMESTAMP, series::timestamps),
    Function::set_of("generate_series", &[TZ, TZ, IV], TIMESTAMPTZ, series::timestamps).stable(),
];

/// Its argument as one row; has no name in SQL.
pub(super) static ONE_ROW: Function =
    Function::set_of(super::ONE_ROW, &[ANY], TEXT, |args| Ok(rows(vec![args.values.to_vec()]))).sees_nulls();
