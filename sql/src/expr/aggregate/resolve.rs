//! Which aggregate function a call means, which types it takes and which it gives (PG 15, chapters 9.21 and 10.3).

use omen_core::types::PgType;
use omen_core::types::numeric::Deviation;

use crate::error::{SqlError, SqlState};

/// The functions, synonyms once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AggregateFunction {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    Deviation(Deviation),
    BoolAnd,
    BoolOr,
    StringAgg,
    Collect(Collecting),
    Bits(BitOperation),
    Regression(RegressionResult),
    OrderedSet(OrderedSetFunction),
}

/// `bit_and`, `bit_or`, `bit_xor`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BitOperation {
    And,
    Or,
    Xor,
}

/// What is computed of pairs of numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RegressionResult {
    Corr,
    CovarPop,
    CovarSamp,
    AvgX,
    AvgY,
    Count,
    Intercept,
    R2,
    Slope,
    Sxx,
    Sxy,
    Syy,
}

/// Functions of `WITHIN GROUP`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OrderedSetFunction {
    PercentileCont,
    PercentileDisc,
    Mode,
    Rank,
    DenseRank,
    PercentRank,
    CumeDist,
}

/// `json_agg` of arrays and rows, which are on lines of their own; has no name in SQL.
pub(crate) const JSON_AGG_LINES: &str = "json_agg of lines";

/// Functions that keep all values; `true`: as `jsonb`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Collecting {
    Array,
    /// `lined`: one value on a line.
    Json {
        binary: bool,
        lined: bool,
    },
    JsonObject(bool),
}

/// Whether a sum is divided by the count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Average(pub(super) bool);

const fn deviation(sample: bool, root: bool) -> AggregateFunction {
    AggregateFunction::Deviation(Deviation { sample, root })
}

const NAMES: [(&str, AggregateFunction); 43] = [
    ("count", AggregateFunction::Count),
    ("sum", AggregateFunction::Sum),
    ("avg", AggregateFunction::Avg),
    ("min", AggregateFunction::Min),
    ("max", AggregateFunction::Max),
    ("stddev", deviation(true, true)),
    ("stddev_samp", deviation(true, true)),
    ("stddev_pop", deviation(false, true)),
    ("variance", deviation(true, false)),
    ("var_samp", deviation(true, false)),
    ("var_pop", deviation(false, false)),
    ("bool_and", AggregateFunction::BoolAnd),
    ("every", AggregateFunction::BoolAnd),
    ("bool_or", AggregateFunction::BoolOr),
    ("string_agg", AggregateFunction::StringAgg),
    ("array_agg", AggregateFunction::Collect(Collecting::Array)),
    ("json_agg", AggregateFunction::Collect(Collecting::Json { binary: false, lined: false })),
    (JSON_AGG_LINES, AggregateFunction::Collect(Collecting::Json { binary: false, lined: true })),
    ("jsonb_agg", AggregateFunction::Collect(Collecting::Json { binary: true, lined: false })),
    ("json_object_agg", AggregateFunction::Collect(Collecting::JsonObject(false))),
    ("jsonb_object_agg", AggregateFunction::Collect(Collecting::JsonObject(true))),
    ("bit_and", AggregateFunction::Bits(BitOperation::And)),
    ("bit_or", AggregateFunction::Bits(BitOperation::Or)),
    ("bit_xor", AggregateFunction::Bits(BitOperation::Xor)),
    ("corr", AggregateFunction::Regression(RegressionResult::Corr)),
    ("covar_pop", AggregateFunction::Regression(RegressionResult::CovarPop)),
    ("covar_samp", AggregateFunction::Regression(RegressionResult::CovarSamp)),
    ("regr_avgx", AggregateFunction::Regression(RegressionResult::AvgX)),
    ("regr_avgy", AggregateFunction::Regression(RegressionResult::AvgY)),
    ("regr_count", AggregateFunction::Regression(RegressionResult::Count)),
    ("regr_intercept", AggregateFunction::Regression(RegressionResult::Intercept)),
    ("regr_r2", AggregateFunction::Regression(RegressionResult::R2)),
    ("regr_slope", AggregateFunction::Regression(RegressionResult::Slope)),
    ("regr_sxx", AggregateFunction::Regression(RegressionResult::Sxx)),
    ("regr_sxy", AggregateFunction::Regression(RegressionResult::Sxy)),
    ("regr_syy", AggregateFunction::Regression(RegressionResult::Syy)),
    ("percentile_cont", AggregateFunction::OrderedSet(OrderedSetFunction::PercentileCont)),
    ("percentile_disc", AggregateFunction::OrderedSet(OrderedSetFunction::PercentileDisc)),
    ("mode", AggregateFunction::OrderedSet(OrderedSetFunction::Mode)),
    ("rank", AggregateFunction::OrderedSet(OrderedSetFunction::Rank)),
    ("dense_rank", AggregateFunction::OrderedSet(OrderedSetFunction::DenseRank)),
    ("percent_rank", AggregateFunction::OrderedSet(OrderedSetFunction::PercentRank)),
    ("cume_dist", AggregateFunction::OrderedSet(OrderedSetFunction::CumeDist)),
];

impl AggregateFunction {
    pub(super) fn named(name: &str) -> Option<AggregateFunction> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
    }
}

/// Whether an aggregate function of this name exists, with whatever arguments.
pub fn exists(name: &str) -> bool {
    name != JSON_AGG_LINES && AggregateFunction::named(name).is_some()
}

/// Whether it is a function of `WITHIN GROUP`.
pub fn is_ordered_set(name: &str) -> bool {
    matches!(AggregateFunction::named(name), Some(AggregateFunction::OrderedSet(_)))
}

/// Whether it tells where a row would be among the others.
pub fn is_hypothetical(name: &str) -> bool {
    use OrderedSetFunction::{CumeDist, DenseRank, PercentRank, Rank};
    let function = AggregateFunction::named(name);
    matches!(function, Some(AggregateFunction::OrderedSet(Rank | DenseRank | PercentRank | CumeDist)))
}

/// What a call of an aggregate function turns out to be.
#[derive(Clone, PartialEq, Debug)]
pub struct Signature {
    /// The function's name.
    pub name: &'static str,
    /// What the arguments are to be converted to; modifiers and `varchar` stay, as they need no conversion.
    pub args: Vec<PgType>,
    /// Type of the result, without modifier.
    pub result: PgType,
}

/// Finds the aggregate function for arguments of these types; `None` is an unknown literal, NULL or parameter.
/// `count(*)` has no arguments.
///
/// # Errors
/// 42883 if none fits, 42725 if several do.
pub fn resolve(name: &str, args: &[Option<PgType>], distinct: bool) -> Result<Signature, SqlError> {
    let (name, function) =
        NAMES.into_iter().find(|(known, _)| *known == name).ok_or_else(|| missing(name, args))?;
    let (args, result) = match (function, args) {
        (AggregateFunction::Count, []) => (Vec::new(), PgType::Int8),
        (AggregateFunction::Count, [arg]) => (vec![arg.unwrap_or(PgType::Text)], PgType::Int8),
        (AggregateFunction::StringAgg, [value, delimiter]) => {
            string_agg(*value, *delimiter).ok_or_else(|| missing(name, args))?
        }
        (AggregateFunction::Regression(result), [y, x]) => {
            let number = |arg: &Option<PgType>| {
                matches!(
                    arg,
                    None | Some(
                        PgType::Int2
                            | PgType::Int4
                            | PgType::Int8
                            | PgType::Numeric(_)
                            | PgType::Float4
                            | PgType::Float8
                    )
                )
            };
            if !number(y) || !number(x) {
                return Err(missing(name, args));
            }
            let count = result == RegressionResult::Count;
            (vec![PgType::Float8; 2], if count { PgType::Int8 } else { PgType::Float8 })
        }
        (AggregateFunction::OrderedSet(function), args) => {
            ordered_set(function, args).ok_or_else(|| missing(name, args))?
        }
        (AggregateFunction::Collect(kind), args) => {
            collecting(kind, args).ok_or_else(|| missing(name, args))?
        }
        (AggregateFunction::Sum | AggregateFunction::Avg, [None]) => return Err(ambiguous(name)),
        (AggregateFunction::Count | AggregateFunction::StringAgg, _) => return Err(missing(name, args)),
        (_, [arg]) => {
            let (arg, result) = of_one(function, *arg).ok_or_else(|| missing(name, args))?;
            (vec![arg], result)
        }
        _ => return Err(missing(name, args)),
    };
    if distinct && args.contains(&PgType::Json) {
        let message = "could not identify an equality operator for type json";
        return Err(SqlError::new(SqlState::UNDEFINED_FUNCTION, message));
    }
    Ok(Signature { name, args, result })
}

/// The argument's and the result's type of functions of one argument.
fn of_one(function: AggregateFunction, arg: Option<PgType>) -> Option<(PgType, PgType)> {
    use PgType::{
        Bool, Date, Float4, Float8, Int2, Int4, Int8, Interval, Numeric, Text, Time, Timestamp, Timestamptz,
        Varchar,
    };
    let summed = |arg| if arg == Time { Interval } else { arg };
    Some(match function {
        AggregateFunction::Sum => match summed(arg?) {
            arg @ (Int2 | Int4) => (arg, Int8),
            arg @ (Int8 | Numeric(_)) => (arg, Numeric(None)),
            arg @ (Float4 | Float8 | Interval) => (arg, arg),
            _ => return None,
        },
        AggregateFunction::Avg => match summed(arg?) {
            arg @ (Int2 | Int4 | Int8 | Numeric(_)) => (arg, Numeric(None)),
            arg @ (Float4 | Float8) => (arg, Float8),
            Interval => (Interval, Interval),
            _ => return None,
        },
        AggregateFunction::Min | AggregateFunction::Max => match arg.unwrap_or(Text) {
            arg @ (Text | Varchar(_)) => (arg, Text),
            arg @ (Int2 | Int4 | Int8 | Float4 | Float8 | Numeric(_) | Date | Time | Timestamp
            | Timestamptz | Interval) => (arg, arg.base()),
            _ => return None,
        },
        AggregateFunction::Deviation(_) => match arg.unwrap_or(Float8) {
            arg @ (Int2 | Int4 | Int8 | Numeric(_)) => (arg, Numeric(None)),
            arg @ (Float4 | Float8) => (arg, Float8),
            _ => return None,
        },
        AggregateFunction::BoolAnd | AggregateFunction::BoolOr => match arg.unwrap_or(Bool) {
            Bool => (Bool, Bool),
            _ => return None,
        },
        AggregateFunction::Bits(_) => match arg? {
            arg @ (Int2 | Int4 | Int8) => (arg, arg),
            _ => return None,
        },
        AggregateFunction::Count
        | AggregateFunction::StringAgg
        | AggregateFunction::Regression(_)
        | AggregateFunction::OrderedSet(_)
        | AggregateFunction::Collect(_) => return None,
    })
}

/// The builder has made JSON of the values of the JSON functions.
fn collecting(kind: Collecting, args: &[Option<PgType>]) -> Option<(Vec<PgType>, PgType)> {
    Some(match (kind, args) {
        (Collecting::Array, [arg]) => {
            let arg = arg.unwrap_or(PgType::Text);
            (vec![arg], arg.base().array().unwrap_or(arg.base()))
        }
        (Collecting::Json { binary, .. }, [Some(arg)]) => {
            (vec![*arg], if binary { PgType::Jsonb } else { PgType::Json })
        }
        (Collecting::JsonObject(binary), [Some(key), Some(value)]) => {
            (vec![*key, *value], if binary { PgType::Jsonb } else { PgType::Json })
        }
        _ => return None,
    })
}

/// The direct arguments, and behind them the sorted ones.
fn ordered_set(function: OrderedSetFunction, args: &[Option<PgType>]) -> Option<(Vec<PgType>, PgType)> {
    let number = |arg: Option<PgType>| {
        use PgType::{Float4, Float8, Int2, Int4, Int8, Numeric};
        matches!(arg, None | Some(Int2 | Int4 | Int8 | Numeric(_) | Float4 | Float8))
    };
    let text = |arg: Option<PgType>| arg.unwrap_or(PgType::Text);
    Some(match (function, args) {
        (OrderedSetFunction::PercentileCont, [share, Some(PgType::Interval)]) if number(*share) => {
            (vec![PgType::Float8, PgType::Interval], PgType::Interval)
        }
        (OrderedSetFunction::PercentileCont, [share, value]) if number(*share) && number(*value) => {
            (vec![PgType::Float8, PgType::Float8], PgType::Float8)
        }
        (OrderedSetFunction::PercentileDisc, [share, value]) if number(*share) => {
            (vec![PgType::Float8, text(*value)], text(*value).base())
        }
        (OrderedSetFunction::Mode, [value]) => (vec![text(*value)], text(*value).base()),
        (OrderedSetFunction::Rank | OrderedSetFunction::DenseRank, args) if !args.is_empty() => {
            (args.iter().map(|arg| text(*arg)).collect(), PgType::Int8)
        }
        (OrderedSetFunction::PercentRank | OrderedSetFunction::CumeDist, args) if !args.is_empty() => {
            (args.iter().map(|arg| text(*arg)).collect(), PgType::Float8)
        }
        _ => return None,
    })
}

fn string_agg(value: Option<PgType>, delimiter: Option<PgType>) -> Option<(Vec<PgType>, PgType)> {
    let result = match (value, delimiter) {
        (Some(PgType::Bytea), _) | (None, Some(PgType::Bytea)) => PgType::Bytea,
        _ => PgType::Text,
    };
    let take = |arg: Option<PgType>| {
        let arg = arg.unwrap_or(result);
        let text = matches!(arg, PgType::Text | PgType::Varchar(_));
        (arg == result || text && result == PgType::Text).then_some(arg)
    };
    Some((vec![take(value)?, take(delimiter)?], result))
}

fn missing(name: &str, args: &[Option<PgType>]) -> SqlError {
    let name_of =
        |arg: &Option<PgType>| arg.map_or_else(|| "unknown".to_owned(), |arg| arg.base().to_string());
    let types: Vec<String> = args.iter().map(name_of).collect();
    let message = format!("function {name}({}) does not exist", types.join(", "));
    let hint =
        "No function matches the given name and argument types. You might need to add explicit type casts.";
    SqlError::new(SqlState::UNDEFINED_FUNCTION, message).hint(hint)
}

fn ambiguous(name: &str) -> SqlError {
    let hint = "Could not choose a best candidate function. You might need to add explicit type casts.";
    SqlError::new(SqlState::AMBIGUOUS_FUNCTION, format!("function {name}(unknown) is not unique")).hint(hint)
}
