//! `corr`, `covar_*` and `regr_*`: PostgreSQL's `float8_regr_accum` and `float8_regr_combine` (Youngs and Cramer). The
//! first argument is Y, the second X. The state is the count, and the sums of X, of its squares, of Y, of its squares,
//! and of products, the last three kinds about the means.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use omen_core::error::ValueError;

use super::resolve::RegressionResult;
use super::source::{fold, selected};
use super::sum::float_overflow;
use super::{Accumulator, Groups};

#[derive(Clone, Copy, Default)]
struct Pairs {
    count: f64,
    sx: f64,
    sxx: f64,
    sy: f64,
    syy: f64,
    sxy: f64,
}

impl Pairs {
    fn add(&mut self, y: f64, x: f64) -> Result<(), ValueError> {
        let old = *self;
        self.count += 1.0;
        self.sx += x;
        self.sy += y;
        if old.count > 0.0 {
            let (dx, dy) = (x * self.count - self.sx, y * self.count - self.sy);
            let scale = 1.0 / (self.count * old.count);
            self.sxx += dx * dx * scale;
            self.syy += dy * dy * scale;
            self.sxy += dx * dy * scale;
            let new = [self.sx, self.sxx, self.sy, self.syy, self.sxy];
            if new.iter().any(|sum| sum.is_infinite()) {
                let plain = [old.sx, old.sy, x, y].iter().all(|value| !value.is_infinite());
                if plain {
                    return Err(float_overflow());
                }
                for sum in [&mut self.sxx, &mut self.syy, &mut self.sxy] {
                    if sum.is_infinite() {
                        *sum = f64::NAN;
                    }
                }
            }
        } else {
            if !x.is_finite() {
                (self.sxx, self.sxy) = (f64::NAN, f64::NAN);
            }
            if !y.is_finite() {
                (self.syy, self.sxy) = (f64::NAN, f64::NAN);
            }
        }
        Ok(())
    }

    fn merge(&mut self, other: Pairs) {
        if other.count == 0.0 {
            return;
        }
        if self.count == 0.0 {
            *self = other;
            return;
        }
        let (a, b) = (*self, other);
        let count = a.count + b.count;
        let (dx, dy) = (a.sx / a.count - b.sx / b.count, a.sy / a.count - b.sy / b.count);
        let weight = a.count * b.count;
        *self = Pairs {
            count,
            sx: a.sx + b.sx,
            sxx: a.sxx + b.sxx + weight * dx * dx / count,
            sy: a.sy + b.sy,
            syy: a.syy + b.syy + weight * dy * dy / count,
            sxy: a.sxy + b.sxy + weight * dx * dy / count,
        };
    }

    fn result(&self, result: RegressionResult) -> Option<f64> {
        let Pairs { count, sx, sxx, sy, syy, sxy } = *self;
        if count < 1.0 || (result == RegressionResult::CovarSamp && count < 2.0) {
            return None;
        }
        Some(match result {
            RegressionResult::Corr if sxx == 0.0 || syy == 0.0 => return None,
            RegressionResult::Corr => sxy / (sxx * syy).sqrt(),
            RegressionResult::CovarPop => sxy / count,
            RegressionResult::CovarSamp => sxy / (count - 1.0),
            RegressionResult::AvgX => sx / count,
            RegressionResult::AvgY => sy / count,
            RegressionResult::Count => count,
            RegressionResult::Intercept | RegressionResult::Slope | RegressionResult::R2 if sxx == 0.0 => {
                return None;
            }
            RegressionResult::Intercept => (sy - sx * sxy / sxx) / count,
            RegressionResult::R2 if syy == 0.0 => 1.0,
            RegressionResult::R2 => (sxy * sxy) / (sxx * syy),
            RegressionResult::Slope => sxy / sxx,
            RegressionResult::Sxx => sxx,
            RegressionResult::Sxy => sxy,
            RegressionResult::Syy => syy,
        })
    }
}

/// The pairs of each group.
pub(super) struct Regression {
    result: RegressionResult,
    groups: Vec<Pairs>,
}

impl Regression {
    pub(super) fn new(result: RegressionResult) -> Regression {
        Regression { result, groups: Vec::new() }
    }
}

impl Accumulator for Regression {
    fn resize(&mut self, groups: usize) {
        self.groups.resize(groups.max(self.groups.len()), Pairs::default());
    }

    fn update(
        &mut self,
        groups: Groups<'_>,
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ValueError> {
        let nulls = NullBuffer::union(args[0].nulls(), args[1].nulls());
        let rows = selected(nulls.as_ref(), filter);
        let y = args[0].as_primitive::<Float64Type>().values();
        let x = args[1].as_primitive::<Float64Type>().values();
        fold(&mut self.groups, groups, rows.as_ref(), |state, row| state.add(y[row], x[row]))
    }

    fn merge(&mut self, groups: Groups<'_>, states: &[ArrayRef]) -> Result<(), ValueError> {
        let column = |index: usize| states[index].as_primitive::<Float64Type>().values();
        let (count, sx, sxx) = (column(0), column(1), column(2));
        let (sy, syy, sxy) = (column(3), column(4), column(5));
        fold(&mut self.groups, groups, None, |state, row| {
            state.merge(Pairs {
                count: count[row],
                sx: sx[row],
                sxx: sxx[row],
                sy: sy[row],
                syy: syy[row],
                sxy: sxy[row],
            });
            Ok(())
        })
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Float64; 6]
    }

    fn state(&mut self) -> Result<Vec<ArrayRef>, ValueError> {
        let column = |get: fn(&Pairs) -> f64| -> ArrayRef {
            Arc::new(self.groups.iter().map(|pairs| Some(get(pairs))).collect::<Float64Array>())
        };
        Ok(vec![
            column(|pairs| pairs.count),
            column(|pairs| pairs.sx),
            column(|pairs| pairs.sxx),
            column(|pairs| pairs.sy),
            column(|pairs| pairs.syy),
            column(|pairs| pairs.sxy),
        ])
    }

    fn finish(&mut self) -> Result<ArrayRef, ValueError> {
        if self.result == RegressionResult::Count {
            // Counts stay far below 2^53.
            let counts = self.groups.iter().map(|pairs| Some(pairs.count as i64));
            return Ok(Arc::new(counts.collect::<Int64Array>()));
        }
        let results = self.groups.iter().map(|pairs| pairs.result(self.result));
        Ok(Arc::new(results.collect::<Float64Array>()))
    }

    fn size_bytes(&self) -> usize {
        self.groups.capacity() * size_of::<Pairs>()
    }
}
