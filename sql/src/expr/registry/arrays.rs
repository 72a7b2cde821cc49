//! Functions and operators of arrays.

use super::Function;
use super::short::*;
use crate::expr::kernel::array as a;
use crate::expr::kernel::array_assign;
use crate::expr::kernel::compare::{Eq, Ge, Gt, Le, Lt, Ne, others};
use crate::expr::kernel::lift::List;

const TEXTS: PgType = TEXT.array_of();
const INTS: PgType = INT4.array_of();
const IA: Param = Param::Is(INTS);

use omen_core::types::PgType;

use super::Param;

pub(super) static FUNCTIONS: &[Function] = &[
    Function::new("array_append", &[ARR, ELE], TEXTS, a::append).compatible().gives_array().sees_nulls(),
    Function::new("array_cat", &[ARR, ARR], TEXTS, a::concat).compatible().gives_array().sees_nulls(),
    Function::new("array_dims", &[ARR], TEXT, a::dimensions),
    Function::new("array_fill", &[ELE, IA], TEXTS, a::fill).gives_array().sees_nulls(),
    Function::new("array_fill", &[ELE, IA, IA], TEXTS, a::fill).gives_array().sees_nulls(),
    Function::new("array_length", &[ARR, I4], INT4, a::length),
    Function::new("array_lower", &[ARR, I4], INT4, a::lower),
    Function::new("array_ndims", &[ARR], INT4, a::dimension_count),
    Function::new("array_position", &[ARR, ELE], INT4, a::position).compatible().sees_nulls(),
    Function::new("array_position", &[ARR, ELE, I4], INT4, a::position).compatible().sees_nulls(),
    Function::new("array_positions", &[ARR, ELE], INTS, a::positions).compatible().sees_nulls(),
    Function::new("array_prepend", &[ELE, ARR], TEXTS, a::prepend).compatible().gives_array().sees_nulls(),
    Function::new("array_remove", &[ARR, ELE], TEXTS, a::remove).compatible().gives_array().sees_nulls(),
    Function::new("array_replace", &[ARR, ELE, ELE], TEXTS, a::replace)
        .compatible()
        .gives_array()
        .sees_nulls(),
    Function::new("array_to_string", &[ARR, TX], TEXT, a::to_text).stable().sees_nulls(),
    Function::new("array_to_string", &[ARR, TX, TX], TEXT, a::to_text).stable().sees_nulls(),
    Function::new("array_upper", &[ARR, I4], INT4, a::upper),
    Function::new("cardinality", &[ARR], INT4, a::cardinality),
    Function::new("string_to_array", &[TX, TX], TEXTS, a::of_text).sees_nulls(),
    Function::new("string_to_array", &[TX, TX, TX], TEXTS, a::of_text).sees_nulls(),
    Function::new("trim_array", &[ARR, I4], TEXTS, a::trim).gives_array(),
];

pub(super) static OPERATORS: &[Function] = &[
    Function::new("||", &[ARR, ARR], TEXTS, a::concat).compatible().gives_array().sees_nulls(),
    Function::new("||", &[ARR, ELE], TEXTS, a::append).compatible().gives_array().sees_nulls(),
    Function::new("||", &[ELE, ARR], TEXTS, a::prepend).compatible().gives_array().sees_nulls(),
    Function::new("@>", &[ARR, ARR], BOOL, a::contains),
    Function::new("<@", &[ARR, ARR], BOOL, a::contained),
    Function::new("&&", &[ARR, ARR], BOOL, a::overlaps),
    Function::new("=", &[ARR, ARR], BOOL, others::<List, Eq>),
    Function::new("<>", &[ARR, ARR], BOOL, others::<List, Ne>),
    Function::new("<", &[ARR, ARR], BOOL, others::<List, Lt>),
    Function::new("<=", &[ARR, ARR], BOOL, others::<List, Le>),
    Function::new(">", &[ARR, ARR], BOOL, others::<List, Gt>),
    Function::new(">=", &[ARR, ARR], BOOL, others::<List, Ge>),
];

/// `ARRAY[..]`; has no name in SQL.
pub(super) static CONSTRUCTOR: Function =
    Function::new("array", &[ANY], TEXTS, a::constructor).variadic().sees_nulls();

/// `a[i]`; has no name in SQL.
pub(super) static SUBSCRIPT: Function = Function::new("subscript", &[ARR, I4], TEXT, a::subscript).variadic();

/// `SET a[i] = v`; has no name in SQL.
pub(super) static ASSIGN_ELEMENT: Function =
    Function::new("assign element", &[ARR, ANY, I4], TEXTS, array_assign::element).variadic().sees_nulls();

/// `SET a[i:j] = v`; has no name in SQL.
pub(super) static ASSIGN_SLICE: Function =
    Function::new("assign slice", &[ARR, ANY, I4], TEXTS, array_assign::slice).variadic().sees_nulls();

/// `a[i:j]`; has no name in SQL.
pub(super) static SLICE: Function = Function::new("slice", &[ARR, I4], TEXTS, a::slice).variadic();
