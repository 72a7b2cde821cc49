//! `to_char` of numbers (PG 15, table 9.29).

use omen_core::SqlState;
use omen_core::error::ValueError;
use omen_core::types::Numeric;

use super::Call;
use super::datetime::to_char::ordinal_suffix;
use super::lift::{Arg, F32, F64, I32, I64, Kind, Num, Result, Text, each_text};
use crate::expr::value::Value;

/// Where the sign goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sign {
    /// A minus or a space directly before the number.
    Implicit,
    /// `S` in front: plus or minus directly before the number.
    Before,
    /// `S` behind.
    After,
    /// `MI` or `SG` where they stand.
    Placed,
    /// `PR`: angle brackets.
    Brackets,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Digit { zero: bool },
    Point,
    Group,
    Minus,
    Plus,
    Either,
    Ordinal { upper: bool },
    Literal(char),
}

/// A template, read.
#[derive(Clone, Debug)]
struct Template {
    parts: Vec<Part>,
    sign: Sign,
    /// `MI`, `PL` or `SG` came.
    placed: bool,
    /// `FM`: without padding.
    fill: bool,
    integer_digits: usize,
    fraction_digits: usize,
    /// Digits after `V`: the number is multiplied.
    shift: usize,
    roman: Option<bool>,
    exponent: bool,
}

fn error(message: &str) -> ValueError {
    ValueError::new(SqlState::SYNTAX_ERROR, message)
}

impl Template {
    fn parse(text: &str) -> Result<Template> {
        let mut template = Template {
            parts: Vec::new(),
            sign: Sign::Implicit,
            placed: false,
            fill: true,
            integer_digits: 0,
            fraction_digits: 0,
            shift: 0,
            roman: None,
            exponent: false,
        };
        let mut rest = text;
        let (mut after_point, mut after_v) = (false, false);
        while let Some(c) = rest.chars().next() {
            let word = rest.get(..2).unwrap_or_default().to_ascii_uppercase();
            let mut length = c.len_utf8();
            match (c.to_ascii_uppercase(), word.as_str()) {
                ('"', _) => {
                    let end = rest[1..].find('"').map_or(rest.len(), |end| end + 2);
                    let literal = rest[1..end].trim_end_matches('"');
                    template.parts.extend(literal.chars().map(Part::Literal));
                    length = end;
                }
                (_, "FM") => (template.fill, length) = (false, 2),
                (_, "MI" | "PL" | "SG") => {
                    template.place(&word)?;
                    length = 2;
                }
                (_, "PR") => {
                    if template.sign != Sign::Implicit || template.placed {
                        return Err(error("cannot use \"PR\" and \"S\"/\"PL\"/\"MI\"/\"SG\" together"));
                    }
                    (template.sign, length) = (Sign::Brackets, 2);
                }
                (_, "RN") => (template.roman, length) = (Some(c == 'R'), 2),
                (_, "TH") => {
                    template.parts.push(Part::Ordinal { upper: c == 'T' });
                    length = 2;
                }
                (_, "EE") if rest.len() >= 4 && rest[..4].eq_ignore_ascii_case("EEEE") => {
                    (template.exponent, length) = (true, 4);
                }
                ('S', _) => {
                    if matches!(template.sign, Sign::Before | Sign::After) {
                        return Err(error("cannot use \"S\" twice"));
                    }
                    if template.placed || template.sign == Sign::Brackets {
                        return Err(error("cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together"));
                    }
                    let first = !template.parts.iter().any(|part| matches!(part, Part::Digit { .. }));
                    template.sign = if first { Sign::Before } else { Sign::After };
                }
                ('9' | '0', _) if template.sign == Sign::Brackets => {
                    return Err(error(&format!("\"{c}\" must be ahead of \"PR\"")));
                }
                ('9' | '0', _) => {
                    template.parts.push(Part::Digit { zero: c == '0' });
                    let count = match (after_point, after_v) {
                        (true, _) => &mut template.fraction_digits,
                        (false, true) => &mut template.shift,
                        (false, false) => &mut template.integer_digits,
                    };
                    *count += 1;
                }
                ('.' | 'D', _) => {
                    if after_point {
                        return Err(error("multiple decimal points"));
                    }
                    after_point = true;
                    template.parts.push(Part::Point);
                }
                (',' | 'G', _) => template.parts.push(Part::Group),
                ('V', _) => after_v = true,
                ('L', _) => template.parts.push(Part::Literal(' ')),
                _ => template.parts.push(Part::Literal(c)),
            }
            rest = &rest[length..];
        }
        Ok(template)
    }

    /// Takes a sign that stands where it is written.
    fn place(&mut self, word: &str) -> Result<()> {
        if matches!(self.sign, Sign::Before | Sign::After) {
            return Err(error(&format!("cannot use \"S\" and \"{word}\" together")));
        }
        self.placed = true;
        self.parts.push(match word {
            "MI" => Part::Minus,
            "PL" => Part::Plus,
            _ => Part::Either,
        });
        if word != "PL" && self.sign == Sign::Implicit {
            self.sign = Sign::Placed;
        }
        Ok(())
    }

    /// Fills the template with a number.
    fn write(&self, value: Numeric, out: &mut String) -> Result<()> {
        if let Some(upper) = self.roman {
            return self.write_roman(value, upper, out);
        }
        if self.exponent {
            return self.write_exponent(value, out);
        }
        let shifted =
            value.try_mul(Numeric::new(10i128.pow(self.shift.min(38) as u32), 0).unwrap_or(Numeric::ONE))?;
        let rounded = shifted.round(self.fraction_digits as i32)?;
        let digits = if value.is_nan() { String::new() } else { rounded.abs().to_string() };
        let (integer, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
        let integer = integer.trim_start_matches('0');
        let fits = integer.len() <= self.integer_digits + self.shift && !value.is_nan();
        self.write_digits(if fits { Some((integer, fraction)) } else { None }, rounded.is_negative(), out);
        Ok(())
    }

    /// `None` digits mean that the number does not fit: `#` for each.
    fn write_digits(&self, digits: Option<(&str, &str)>, negative: bool, out: &mut String) {
        let places = self.integer_digits + self.shift;
        let (integer, fraction) = digits.unwrap_or_default();
        let zeros_from = self.parts.iter().take_while(|part| **part != Part::Point);
        let zeros_from = zeros_from.filter(|part| matches!(part, Part::Digit { .. }));
        let zeros_from = zeros_from.clone().position(|part| matches!(part, Part::Digit { zero: true }));
        let first = digits.map_or(0, |_| places - integer.len()).min(zeros_from.unwrap_or(usize::MAX));
        // Without any digit before the point a zero is shown in the last place, unless there is a fraction.
        let has_fraction = self.fraction_digits > 0;
        let last_fraction = self.last_fraction_digit(fraction);
        let first = if first >= places && last_fraction == 0 { places.saturating_sub(1) } else { first };
        let mut body = String::new();
        let mut sign_at = None;
        let (mut place, mut fraction_place, mut after_point, mut ended) = (0, 0, false, false);
        for part in &self.parts {
            match part {
                Part::Digit { .. } if digits.is_none() => {
                    sign_at.get_or_insert(body.len());
                    body.push('#');
                }
                Part::Digit { .. } if after_point => {
                    if fraction_place < last_fraction {
                        body.push(
                            fraction.as_bytes().get(fraction_place).map_or('0', |byte| char::from(*byte)),
                        );
                    }
                    fraction_place += 1;
                }
                Part::Digit { .. } => {
                    if place >= first {
                        sign_at.get_or_insert(body.len());
                        let index = (place + integer.len()).checked_sub(places);
                        let digit = index.and_then(|index| integer.as_bytes().get(index));
                        body.push(digit.map_or('0', |byte| char::from(*byte)));
                    } else if self.fill {
                        body.push(' ');
                    }
                    place += 1;
                }
                // A point without places for digits behind ends the template.
                Part::Point if !has_fraction && digits.is_some() => {
                    ended = true;
                    break;
                }
                Part::Point => {
                    sign_at.get_or_insert(body.len());
                    after_point = true;
                    body.push('.');
                }
                Part::Group if place > first || digits.is_none() => body.push(','),
                Part::Group if self.fill => body.push(' '),
                Part::Group => {}
                Part::Minus => self.push_sign(negative.then_some('-'), &mut body),
                Part::Plus => self.push_sign((!negative).then_some('+'), &mut body),
                Part::Either => body.push(if negative { '-' } else { '+' }),
                Part::Ordinal { upper } if !negative && !has_fraction && digits.is_some() => {
                    let suffix = ordinal_suffix(integer);
                    body.push_str(&if *upper { suffix.to_ascii_uppercase() } else { suffix.to_owned() });
                }
                Part::Ordinal { .. } => {}
                Part::Literal(c) => body.push(*c),
            }
        }
        let end = if ended { "" } else { self.sign_behind(negative) };
        self.write_sign(body, sign_at.unwrap_or(0), negative, out);
        out.push_str(end);
    }

    fn push_sign(&self, sign: Option<char>, body: &mut String) {
        match sign {
            Some(sign) => body.push(sign),
            None if self.fill => body.push(' '),
            None => {}
        }
    }

    /// How many digits after the point are shown: without padding, zeros at the end of nines are not.
    fn last_fraction_digit(&self, fraction: &str) -> usize {
        if self.fill {
            return self.fraction_digits;
        }
        let after = self.parts.iter().skip_while(|part| **part != Part::Point);
        let after: Vec<&Part> = after.filter(|part| matches!(part, Part::Digit { .. })).collect();
        let zeros =
            after.iter().rposition(|part| matches!(part, Part::Digit { zero: true })).map_or(0, |at| at + 1);
        fraction.trim_end_matches('0').len().max(zeros)
    }

    /// What of the sign comes behind the number.
    fn sign_behind(&self, negative: bool) -> &'static str {
        match (self.sign, negative) {
            (Sign::After, true) => "-",
            (Sign::After, false) => "+",
            (Sign::Brackets, true) => ">",
            (Sign::Brackets, false) if self.fill => " ",
            _ => "",
        }
    }

    fn write_sign(&self, mut body: String, at: usize, negative: bool, out: &mut String) {
        match self.sign {
            Sign::Placed => {}
            Sign::Implicit if negative => body.insert(at, '-'),
            Sign::Implicit if self.fill => body.insert(at, ' '),
            Sign::Implicit => {}
            Sign::Before => body.insert(at, if negative { '-' } else { '+' }),
            Sign::Brackets if negative => body.insert(at, '<'),
            Sign::Brackets if self.fill => body.insert(at, ' '),
            Sign::After | Sign::Brackets => {}
        }
        out.push_str(&body);
    }

    fn write_roman(&self, value: Numeric, upper: bool, out: &mut String) -> Result<()> {
        const NUMERALS: [(i32, &str); 13] = [
            (1_000, "M"),
            (900, "CM"),
            (500, "D"),
            (400, "CD"),
            (100, "C"),
            (90, "XC"),
            (50, "L"),
            (40, "XL"),
            (10, "X"),
            (9, "IX"),
            (5, "V"),
            (4, "IV"),
            (1, "I"),
        ];
        let mut rest = value.to_i32().unwrap_or(0);
        let mut numeral = String::new();
        if (1..4_000).contains(&rest) {
            for (size, letters) in NUMERALS {
                while rest >= size {
                    numeral.push_str(letters);
                    rest -= size;
                }
            }
        } else {
            numeral = "#".repeat(15);
        }
        let numeral = if upper { numeral } else { numeral.to_ascii_lowercase() };
        let width = if self.fill { 15 } else { 0 };
        out.push_str(&format!("{numeral:>width$}"));
        Ok(())
    }

    fn write_exponent(&self, value: Numeric, out: &mut String) -> Result<()> {
        let text = format!("{:.*e}", self.fraction_digits, value.to_f64());
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let space = if self.fill && !mantissa.starts_with('-') { " " } else { "" };
        let sign = if exponent < 0 { '-' } else { '+' };
        out.push_str(&format!("{space}{mantissa}e{sign}{:02}", exponent.abs()));
        Ok(())
    }
}

fn lift<K: Kind>(call: &Call<'_>, number: impl Fn(K::Item<'_>) -> Result<Numeric>) -> Result<Value> {
    let (values, templates) = (Arg::<K>::of(&call.args[0]), Arg::<Text>::of(&call.args[1]));
    let constant = match &templates {
        Arg::Constant(template) => Some(Template::parse(template)?),
        Arg::Column(_) => None,
    };
    let mut text = String::new();
    each_text(call, |row, out| {
        text.clear();
        let value = number(values.get(row))?;
        match &constant {
            Some(template) => template.write(value, &mut text)?,
            None => Template::parse(templates.get(row))?.write(value, &mut text)?,
        }
        out.extend_from_slice(text.as_bytes());
        Ok(true)
    })
}

pub(crate) fn of_int4(call: &Call<'_>) -> Result<Value> {
    lift::<I32>(call, |value| Ok(Numeric::from(value)))
}

pub(crate) fn of_int8(call: &Call<'_>) -> Result<Value> {
    lift::<I64>(call, |value| Ok(Numeric::from(value)))
}

pub(crate) fn of_float4(call: &Call<'_>) -> Result<Value> {
    lift::<F32>(call, Numeric::from_f32)
}

pub(crate) fn of_float8(call: &Call<'_>) -> Result<Value> {
    lift::<F64>(call, Numeric::from_f64)
}

pub(crate) fn of_numeric(call: &Call<'_>) -> Result<Value> {
    lift::<Num>(call, Ok)
}

/// `to_number(text, text)`: the digits, sign and point of a text, whatever stands between.
pub(crate) fn to_number(call: &Call<'_>) -> Result<Value> {
    use super::lift::{NumBytes, map2};
    map2::<Text, Text, NumBytes>(call, |text, template| {
        let template = Template::parse(template)?;
        let negative = text.contains('-') || (template.sign == Sign::Brackets && text.contains('<'));
        let mut digits = String::new();
        let mut point = false;
        for c in text.chars() {
            match c {
                '0'..='9' => digits.push(c),
                '.' if !point => {
                    point = true;
                    digits.push(c);
                }
                _ => {}
            }
        }
        let text = format!("{}{digits}", if negative { "-" } else { "" });
        Numeric::parse(&text).map(NumBytes::from)
    })
}
