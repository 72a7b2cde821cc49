//! Operators.

use omen_core::types::{Interval, Numeric, PgType};

use super::short::*;
use super::{Function, Param};
use crate::expr::kernel::compare::{self as c, Eq, Ge, Gt, Le, Lt, Ne};
use crate::expr::kernel::pattern::{self, LikeMode};
use crate::expr::kernel::{any as a, datetime as t, decimal as de, number as n, numeric as d, string as s};

pub(super) static ARITHMETIC: &[Function] = &[
    Function::new("+", &[I2, I2], INT2, n::int2::add),
    Function::new("+", &[I4, I4], INT4, n::int4::add),
    Function::new("+", &[I8, I8], INT8, n::int8::add),
    Function::new("+", &[F4, F4], FLOAT4, n::float4::add),
    Function::new("+", &[F8, F8], FLOAT8, n::float8::add),
    Function::new("+", &[F4, F8], FLOAT8, |c| n::float4_float8(c, n::float8::sum)),
    Function::new("+", &[F8, F4], FLOAT8, |c| n::float8_float4(c, n::float8::sum)),
    Function::new("+", &[NU, NU], NUMERIC, de::add),
    Function::new("+", &[IV, IV], INTERVAL, |c| d::intervals(c, Interval::try_add)),
    Function::new("-", &[I2, I2], INT2, n::int2::sub),
    Function::new("-", &[I4, I4], INT4, n::int4::sub),
    Function::new("-", &[I8, I8], INT8, n::int8::sub),
    Function::new("-", &[F4, F4], FLOAT4, n::float4::sub),
    Function::new("-", &[F8, F8], FLOAT8, n::float8::sub),
    Function::new("-", &[F4, F8], FLOAT8, |c| n::float4_float8(c, |a, b| n::float8::sum(a, -b))),
    Function::new("-", &[F8, F4], FLOAT8, |c| n::float8_float4(c, |a, b| n::float8::sum(a, -b))),
    Function::new("-", &[NU, NU], NUMERIC, de::sub),
    Function::new("-", &[IV, IV], INTERVAL, |c| d::intervals(c, Interval::try_sub)),
    Function::new("*", &[I2, I2], INT2, n::int2::mul),
    Function::new("*", &[I4, I4], INT4, n::int4::mul),
    Function::new("*", &[I8, I8], INT8, n::int8::mul),
    Function::new("*", &[F4, F4], FLOAT4, n::float4::mul),
    Function::new("*", &[F8, F8], FLOAT8, n::float8::mul),
    Function::new("*", &[F4, F8], FLOAT8, |c| n::float4_float8(c, n::float8::product)),
    Function::new("*", &[F8, F4], FLOAT8, |c| n::float8_float4(c, n::float8::product)),
    Function::new("*", &[NU, NU], NUMERIC, de::mul),
    Function::new("*", &[IV, F8], INTERVAL, |c| d::interval_float(c, Interval::try_mul)),
    Function::new("*", &[F8, IV], INTERVAL, d::float_interval),
    Function::new("/", &[I2, I2], INT2, n::int2::div),
    Function::new("/", &[I4, I4], INT4, n::int4::div),
    Function::new("/", &[I8, I8], INT8, n::int8::div),
    Function::new("/", &[F4, F4], FLOAT4, n::float4::div),
    Function::new("/", &[F8, F8], FLOAT8, n::float8::div),
    Function::new("/", &[F4, F8], FLOAT8, |c| n::float4_float8(c, n::float8::quotient)),
    Function::new("/", &[F8, F4], FLOAT8, |c| n::float8_float4(c, n::float8::quotient)),
    Function::new("/", &[NU, NU], NUMERIC, |c| d::binary(c, Numeric::try_div)),
    Function::new("/", &[IV, F8], INTERVAL, |c| d::interval_float(c, Interval::try_div)),
    Function::new("%", &[I2, I2], INT2, n::int2::rem),
    Function::new("%", &[I4, I4], INT4, n::int4::rem),
    Function::new("%", &[I8, I8], INT8, n::int8::rem),
    Function::new("%", &[NU, NU], NUMERIC, |c| d::binary(c, Numeric::try_rem)),
    Function::new("^", &[F8, F8], FLOAT8, n::power),
    Function::new("^", &[NU, NU], NUMERIC, |c| d::binary(c, Numeric::power)),
    Function::new("&", &[I2, I2], INT2, n::int2::and),
    Function::new("&", &[I4, I4], INT4, n::int4::and),
    Function::new("&", &[I8, I8], INT8, n::int8::and),
    Function::new("|", &[I2, I2], INT2, n::int2::or),
    Function::new("|", &[I4, I4], INT4, n::int4::or),
    Function::new("|", &[I8, I8], INT8, n::int8::or),
    Function::new("#", &[I2, I2], INT2, n::int2::xor),
    Function::new("#", &[I4, I4], INT4, n::int4::xor),
    Function::new("#", &[I8, I8], INT8, n::int8::xor),
    Function::new("<<", &[I2, I4], INT2, n::int2::shift_left),
    Function::new("<<", &[I4, I4], INT4, n::int4::shift_left),
    Function::new("<<", &[I8, I4], INT8, n::int8::shift_left),
    Function::new(">>", &[I2, I4], INT2, n::int2::shift_right),
    Function::new(">>", &[I4, I4], INT4, n::int4::shift_right),
    Function::new(">>", &[I8, I4], INT8, n::int8::shift_right),
    Function::new("+", &[I2], INT2, n::identity),
    Function::new("+", &[I4], INT4, n::identity),
    Function::new("+", &[I8], INT8, n::identity),
    Function::new("+", &[F4], FLOAT4, n::identity),
    Function::new("+", &[F8], FLOAT8, n::identity),
    Function::new("+", &[NU], NUMERIC, n::identity),
    Function::new("-", &[I2], INT2, n::int2::neg),
    Function::new("-", &[I4], INT4, n::int4::neg),
    Function::new("-", &[I8], INT8, n::int8::neg),
    Function::new("-", &[F4], FLOAT4, n::float4::neg),
    Function::new("-", &[F8], FLOAT8, n::float8::neg),
    Function::new("-", &[NU], NUMERIC, |c| d::unary(c, |x| Ok(x.negated()))),
    Function::new("-", &[IV], INTERVAL, |c| t::interval1(c, Interval::negated)),
    Function::new("~", &[I2], INT2, n::int2::not),
    Function::new("~", &[I4], INT4, n::int4::not),
    Function::new("~", &[I8], INT8, n::int8::not),
    Function::new("@", &[I2], INT2, n::int2::abs),
    Function::new("@", &[I4], INT4, n::int4::abs),
    Function::new("@", &[I8], INT8, n::int8::abs),
    Function::new("@", &[F4], FLOAT4, n::float4::abs),
    Function::new("@", &[F8], FLOAT8, n::float8::abs),
    Function::new("@", &[NU], NUMERIC, |c| d::unary(c, |x| Ok(x.abs()))),
    Function::new("|/", &[F8], FLOAT8, n::sqrt),
    Function::new("||/", &[F8], FLOAT8, |c| n::finite(c, f64::cbrt)),
];

const LIKE: LikeMode = LikeMode { ignore_case: false, negated: false };
const NOT_LIKE: LikeMode = LikeMode { ignore_case: false, negated: true };
const ILIKE: LikeMode = LikeMode { ignore_case: true, negated: false };
const NOT_ILIKE: LikeMode = LikeMode { ignore_case: true, negated: true };

pub(super) static TEXTS: &[Function] = &[
    Function::new("||", &[TX, TX], TEXT, s::concat_texts),
    Function::new("||", &[TX, NON], TEXT, a::concat_any).stable(),
    Function::new("||", &[NON, TX], TEXT, a::concat_any).stable(),
    Function::new("||", &[BY, BY], BYTEA, s::concat_bytes),
    Function::new("~~", &[TX, TX], BOOL, |c| pattern::like(c, LIKE)),
    Function::new("!~~", &[TX, TX], BOOL, |c| pattern::like(c, NOT_LIKE)),
    Function::new("~~*", &[TX, TX], BOOL, |c| pattern::like(c, ILIKE)),
    Function::new("!~~*", &[TX, TX], BOOL, |c| pattern::like(c, NOT_ILIKE)),
    Function::new("~", &[TX, TX], BOOL, |c| pattern::regex_match(c, LIKE)),
    Function::new("!~", &[TX, TX], BOOL, |c| pattern::regex_match(c, NOT_LIKE)),
    Function::new("~*", &[TX, TX], BOOL, |c| pattern::regex_match(c, ILIKE)),
    Function::new("!~*", &[TX, TX], BOOL, |c| pattern::regex_match(c, NOT_ILIKE)),
    Function::new("^@", &[TX, TX], BOOL, s::starts_with),
];

pub(super) static DATES: &[Function] = &[
    Function::new("+", &[DA, I4], DATE, t::date_plus),
    Function::new("+", &[I4, DA], DATE, t::plus_date),
    Function::new("+", &[DA, TI], TIMESTAMP, t::date_time),
    Function::new("+", &[TI, DA], TIMESTAMP, t::time_date),
    Function::new("+", &[DA, IV], TIMESTAMP, |c| t::date_interval(c, Ok)),
    Function::new("+", &[IV, DA], TIMESTAMP, t::interval_date),
    Function::new("+", &[TI, IV], TIME, |c| t::time_interval(c, Ok)),
    Function::new("+", &[IV, TI], TIME, t::interval_time),
    Function::new("+", &[TS, IV], TIMESTAMP, |c| t::timestamp_interval(c, Ok)),
    Function::new("+", &[IV, TS], TIMESTAMP, t::interval_timestamp),
    Function::new("+", &[TZ, IV], TIMESTAMPTZ, |c| t::timestamptz_interval(c, Ok)).stable(),
    Function::new("+", &[IV, TZ], TIMESTAMPTZ, t::interval_timestamptz).stable(),
    Function::new("-", &[DA, I4], DATE, t::date_minus),
    Function::new("-", &[DA, DA], INT4, t::date_difference),
    Function::new("-", &[DA, IV], TIMESTAMP, |c| t::date_interval(c, Interval::negated)),
    Function::new("-", &[TI, TI], INTERVAL, t::time_difference),
    Function::new("-", &[TI, IV], TIME, |c| t::time_interval(c, Interval::negated)),
    Function::new("-", &[TS, TS], INTERVAL, t::timestamp_difference),
    Function::new("-", &[TS, IV], TIMESTAMP, |c| t::timestamp_interval(c, Interval::negated)),
    Function::new("-", &[TZ, TZ], INTERVAL, t::timestamp_difference),
    Function::new("-", &[TZ, IV], TIMESTAMPTZ, |c| t::timestamptz_interval(c, Interval::negated)).stable(),
];

/// The six comparisons of two types.
macro_rules! six {
    ($params:expr, $kernel:ident) => {
        [
            Function::new("=", $params, BOOL, c::$kernel::<Eq>),
            Function::new("<>", $params, BOOL, c::$kernel::<Ne>),
            Function::new("<", $params, BOOL, c::$kernel::<Lt>),
            Function::new("<=", $params, BOOL, c::$kernel::<Le>),
            Function::new(">", $params, BOOL, c::$kernel::<Gt>),
            Function::new(">=", $params, BOOL, c::$kernel::<Ge>),
        ]
    };
}

const fn same(params: &'static [Param; 2]) -> [Function; 6] {
    let Param::Is(pg_type) = params[0] else { panic!("a type of its own") };
    [
        Function::new("=", params, BOOL, c::same_type::<Eq>(pg_type)),
        Function::new("<>", params, BOOL, c::same_type::<Ne>(pg_type)),
        Function::new("<", params, BOOL, c::same_type::<Lt>(pg_type)),
        Function::new("<=", params, BOOL, c::same_type::<Le>(pg_type)),
        Function::new(">", params, BOOL, c::same_type::<Gt>(pg_type)),
        Function::new(">=", params, BOOL, c::same_type::<Ge>(pg_type)),
    ]
}

const fn stable(functions: [Function; 6]) -> [Function; 6] {
    let [a, b, c, d, e, f] = functions;
    [a.stable(), b.stable(), c.stable(), d.stable(), e.stable(), f.stable()]
}

const BO: Param = Param::Is(BOOL);
const UU: Param = Param::Is(PgType::Uuid);

static GROUPS: [[Function; 6]; 23] = [
    same(&[BO, BO]),
    same(&[I2, I2]),
    same(&[I4, I4]),
    same(&[I8, I8]),
    same(&[F4, F4]),
    same(&[F8, F8]),
    same(&[NU, NU]),
    same(&[TX, TX]),
    same(&[BY, BY]),
    same(&[DA, DA]),
    same(&[TI, TI]),
    same(&[TS, TS]),
    same(&[TZ, TZ]),
    same(&[IV, IV]),
    same(&[UU, UU]),
    six!(&[F4, F8], float4_float8),
    six!(&[F8, F4], float8_float4),
    six!(&[DA, TS], date_timestamp),
    six!(&[TS, DA], timestamp_date),
    stable(six!(&[DA, TZ], date_timestamptz)),
    stable(six!(&[TZ, DA], timestamptz_date)),
    stable(six!(&[TS, TZ], timestamp_timestamptz)),
    stable(six!(&[TZ, TS], timestamptz_timestamp)),
];

pub(super) static COMPARISONS: &[Function] = GROUPS.as_flattened();
