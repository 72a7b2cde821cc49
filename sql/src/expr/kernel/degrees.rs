//! Trigonometry in degrees, exact at angles whose values are simple numbers.

use omen_core::SqlState;
use omen_core::error::ValueError;

use super::Call;
use super::lift::{F64, Result, map1, map2};
use crate::expr::value::Value;

fn out_of_range() -> ValueError {
    ValueError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "input is out of range")
}

/// The sine of degrees, exact where it is a simple number.
fn sine(degrees: f64) -> f64 {
    let mut angle = degrees % 360.0;
    let mut sign = 1.0;
    if angle < 0.0 {
        (angle, sign) = (-angle, -sign);
    }
    if angle > 180.0 {
        (angle, sign) = (360.0 - angle, -sign);
    }
    if angle > 90.0 {
        angle = 180.0 - angle;
    }
    sign * sine_of_quadrant(angle)
}

fn sine_of_quadrant(angle: f64) -> f64 {
    let radians = |degrees: f64| degrees * (std::f64::consts::PI / 180.0);
    if angle <= 30.0 {
        radians(angle).sin() / radians(30.0).sin() / 2.0
    } else {
        1.0 - (1.0 - radians(90.0 - angle).cos()) / (1.0 - radians(60.0).cos()) / 2.0
    }
}

fn cosine(degrees: f64) -> f64 {
    let mut angle = (degrees % 360.0).abs();
    if angle > 180.0 {
        angle = 360.0 - angle;
    }
    let mut sign = 1.0;
    if angle > 90.0 {
        (angle, sign) = (180.0 - angle, -1.0);
    }
    sign * sine_of_quadrant(90.0 - angle)
}

fn finite(value: f64) -> Result<f64> {
    if value.is_infinite() { Err(out_of_range()) } else { Ok(value) }
}

/// `sind`
pub(crate) fn sind(call: &Call<'_>) -> Result<Value> {
    map1::<F64, f64>(call, |x| Ok(sine(finite(x)?)))
}

/// `cosd`
pub(crate) fn cosd(call: &Call<'_>) -> Result<Value> {
    map1::<F64, f64>(call, |x| Ok(cosine(finite(x)?)))
}

/// `tand`
pub(crate) fn tand(call: &Call<'_>) -> Result<Value> {
    map1::<F64, f64>(call, |x| {
        let x = finite(x)?;
        Ok(sine(x) / cosine(x) + 0.0)
    })
}

/// `cotd`
pub(crate) fn cotd(call: &Call<'_>) -> Result<Value> {
    map1::<F64, f64>(call, |x| {
        let x = finite(x)?;
        Ok(cosine(x) / sine(x) + 0.0)
    })
}

fn inverse(x: f64, of: impl Fn(f64) -> f64) -> Result<f64> {
    if x.is_nan() {
        return Ok(x);
    }
    if (-1.0..=1.0).contains(&x) { Ok(of(x)) } else { Err(out_of_range()) }
}

/// The angle of a sine, exact at 0, 30 and 90 degrees.
fn angle_of_sine(x: f64) -> f64 {
    let magnitude = x.abs();
    let angle = if magnitude <= 0.5 {
        magnitude.asin() / 0.5f64.asin() * 30.0
    } else {
        90.0 - magnitude.acos() / 0.5f64.acos() * 60.0
    };
    angle.copysign(x)
}

/// `asind`
pub(crate) fn asind(call: &Call<'_>) -> Result<Value> {
    map1::<F64, f64>(call, |x| inverse(x, angle_of_sine))
}

/// `acosd`
pub(crate) fn acosd(call: &Call<'_>) -> Result<Value> {
    map1::<F64, f64>(call, |x| inverse(x, |x| 90.0 - angle_of_sine(x)))
}

/// `atand`
pub(crate) fn atand(call: &Call<'_>) -> Result<Value> {
    map1::<F64, f64>(call, |x| Ok(x.atan() / 1f64.atan() * 45.0))
}

/// `atan2d`
pub(crate) fn atan2d(call: &Call<'_>) -> Result<Value> {
    map2::<F64, F64, f64>(call, |y, x| Ok(y.atan2(x) / 1f64.atan() * 45.0))
}
