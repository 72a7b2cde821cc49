//! `to_char`, `to_date`, `to_timestamp` and `to_number` over columns. A constant template is read once.

use omen_core::types::Numeric;

use super::Call;
use super::lift::{
    Arg, F32, F64, I32, I64, Kind, Num, NumBytes, Result, Span, Stamp, Text, each_row, each_text,
};
use crate::expr::to_char::{
    DatePattern, NumberPattern, interval_to_char, timestamp_to_char, timestamptz_to_char, to_date,
    to_timestamp,
};
use crate::expr::value::Value;

/// The templates of a call, its second argument.
enum Templates<'a, T> {
    Constant(T),
    Column(Arg<'a, Text>),
}

impl<'a, T> Templates<'a, T> {
    fn of(call: &'a Call<'_>, parse: impl Fn(&str) -> Result<T>) -> Result<Templates<'a, T>> {
        Ok(match Arg::<Text>::of(&call.args[1]) {
            Arg::Constant(template) => Templates::Constant(parse(template)?),
            column => Templates::Column(column),
        })
    }

    /// Uses the template of a row.
    fn apply<R>(
        &self,
        row: usize,
        parse: impl Fn(&str) -> Result<T>,
        f: impl FnOnce(&T) -> Result<R>,
    ) -> Result<R> {
        match self {
            Templates::Constant(template) => f(template),
            Templates::Column(column) => f(&parse(column.get(row))?),
        }
    }
}

fn dates(template: &str) -> Result<DatePattern> {
    Ok(DatePattern::parse(template))
}

/// Lifts a function that fills a template.
fn fill<K: Kind, T>(
    call: &Call<'_>,
    parse: impl Fn(&str) -> Result<T>,
    write: impl Fn(&T, K::Item<'_>, &mut String) -> Result<bool>,
) -> Result<Value> {
    let values = Arg::<K>::of(&call.args[0]);
    let templates = Templates::of(call, &parse)?;
    let mut text = String::new();
    each_text(call, |row, out| {
        text.clear();
        let known = templates.apply(row, &parse, |template| write(template, values.get(row), &mut text))?;
        out.extend_from_slice(text.as_bytes());
        Ok(known)
    })
}

pub(crate) fn of_timestamp(call: &Call<'_>) -> Result<Value> {
    fill::<Stamp, _>(call, dates, timestamp_to_char)
}

pub(crate) fn of_timestamptz(call: &Call<'_>) -> Result<Value> {
    let zone = call.context.format.timezone;
    fill::<Stamp, _>(call, dates, |template, stamp, out| timestamptz_to_char(template, stamp, zone, out))
}

pub(crate) fn of_interval(call: &Call<'_>) -> Result<Value> {
    fill::<Span, _>(call, dates, interval_to_char)
}

/// Lifts `to_char` of numbers.
fn number<K: Kind>(call: &Call<'_>, exact: impl Fn(K::Item<'_>) -> Result<Numeric>) -> Result<Value> {
    fill::<K, _>(call, NumberPattern::parse, |template, value, out| template.to_char(exact(value)?, out))
}

pub(crate) fn of_int4(call: &Call<'_>) -> Result<Value> {
    number::<I32>(call, |value| Ok(Numeric::from(value)))
}

pub(crate) fn of_int8(call: &Call<'_>) -> Result<Value> {
    number::<I64>(call, |value| Ok(Numeric::from(value)))
}

pub(crate) fn of_float4(call: &Call<'_>) -> Result<Value> {
    number::<F32>(call, Numeric::from_f32)
}

pub(crate) fn of_float8(call: &Call<'_>) -> Result<Value> {
    number::<F64>(call, Numeric::from_f64)
}

pub(crate) fn of_numeric(call: &Call<'_>) -> Result<Value> {
    number::<Num>(call, Ok)
}

pub(crate) fn read_number(call: &Call<'_>) -> Result<Value> {
    let texts = Arg::<Text>::of(&call.args[0]);
    let templates = Templates::of(call, NumberPattern::parse)?;
    each_row(call, |row| {
        let read = |template: &NumberPattern| template.to_number(texts.get(row));
        templates.apply(row, NumberPattern::parse, read).map(NumBytes::from)
    })
}

pub(crate) fn read_date(call: &Call<'_>) -> Result<Value> {
    let texts = Arg::<Text>::of(&call.args[0]);
    let templates = Templates::of(call, dates)?;
    each_row(call, |row| templates.apply(row, dates, |template| to_date(texts.get(row), template)))
}

pub(crate) fn read_timestamp(call: &Call<'_>) -> Result<Value> {
    let zone = call.context.format.timezone;
    let texts = Arg::<Text>::of(&call.args[0]);
    let templates = Templates::of(call, dates)?;
    each_row(call, |row| templates.apply(row, dates, |template| to_timestamp(texts.get(row), template, zone)))
}
