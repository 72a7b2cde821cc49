//! `variance`, `stddev` and their kin.
//!
//! Integers and numerics are summed exactly; the state is `Moments::to_bytes`. Floats follow PostgreSQL's
//! `float8_accum` and `float8_combine` (Youngs and Cramer); the state is the count, the sum, and the sum of the squares
//! of the differences to the mean.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int16Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array};
use arrow_schema::DataType;
use omen_core::error::{SqlState, ValueError};
use omen_core::types::numeric::{Deviation, Moments};

use super::source::{Numerics, Source, bytes_array, fold, selected};
use super::sum::float_overflow;
use super::{Accumulator, Groups};

#[derive(Clone, Copy, Default)]
struct Spread {
    count: i64,
    sum: f64,
    squares: f64,
}

impl Spread {
    #[inline]
    fn add(&mut self, value: f64) -> Result<(), ValueError> {
        let old = *self;
        self.count += 1;
        self.sum += value;
        if old.count == 0 {
            self.squares = if value.is_finite() { 0.0 } else { f64::NAN };
            return Ok(());
        }
        let count = self.count as f64;
        let difference = value * count - self.sum;
        self.squares += difference * difference / (count * old.count as f64);
        if self.sum.is_infinite() || self.squares.is_infinite() {
            if !old.sum.is_infinite() && !value.is_infinite() {
                return Err(float_overflow());
            }
            self.squares = f64::NAN;
        }
        Ok(())
    }

    fn merge(&mut self, other: Spread) -> Result<(), ValueError> {
        if other.count == 0 {
            return Ok(());
        }
        if self.count == 0 {
            *self = other;
            return Ok(());
        }
        let old = *self;
        let (n1, n2) = (old.count as f64, other.count as f64);
        self.count += other.count;
        self.sum += other.sum;
        let difference = old.sum / n1 - other.sum / n2;
        self.squares = old.squares + other.squares + n1 * n2 * difference * difference / self.count as f64;
        let overflowed =
            |result: f64, a: f64, b: f64| result.is_infinite() && !a.is_infinite() && !b.is_infinite();
        if overflowed(self.sum, old.sum, other.sum) || overflowed(self.squares, old.squares, other.squares) {
            return Err(float_overflow());
        }
        Ok(())
    }

    fn deviation(self, kind: Deviation) -> Option<f64> {
        let divisor = self.count - i64::from(kind.sample);
        let variance = (divisor > 0).then(|| self.squares / divisor as f64)?;
        Some(if kind.root { variance.sqrt() } else { variance })
    }
}

/// Of floats.
pub(super) struct FloatDeviation {
    kind: Deviation,
    groups: Vec<Spread>,
}

impl FloatDeviation {
    pub(super) fn new(kind: Deviation) -> FloatDeviation {
        FloatDeviation { kind, groups: Vec::new() }
    }
}

impl Accumulator for FloatDeviation {
    fn resize(&mut self, groups: usize) {
        self.groups.resize(groups.max(self.groups.len()), Spread::default());
    }

    fn update(
        &mut self,
        groups: Groups<'_>,
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ValueError> {
        let rows = selected(args[0].nulls(), filter);
        if let Some(values) = args[0].as_primitive_opt::<Float64Type>() {
            let values = values.values();
            return fold(&mut self.groups, groups, rows.as_ref(), |state, row| state.add(values[row]));
        }
        let values = args[0].as_primitive::<Float32Type>().values();
        fold(&mut self.groups, groups, rows.as_ref(), |state, row| state.add(values[row].into()))
    }

    fn merge(&mut self, groups: Groups<'_>, states: &[ArrayRef]) -> Result<(), ValueError> {
        let counts = states[0].as_primitive::<Int64Type>().values();
        let sums = states[1].as_primitive::<Float64Type>().values();
        let squares = states[2].as_primitive::<Float64Type>().values();
        fold(&mut self.groups, groups, None, |state, row| {
            state.merge(Spread { count: counts[row], sum: sums[row], squares: squares[row] })
        })
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Int64, DataType::Float64, DataType::Float64]
    }

    fn state(&mut self) -> Result<Vec<ArrayRef>, ValueError> {
        let counts: Int64Array = self.groups.iter().map(|state| Some(state.count)).collect();
        let sums: Float64Array = self.groups.iter().map(|state| Some(state.sum)).collect();
        let squares: Float64Array = self.groups.iter().map(|state| Some(state.squares)).collect();
        Ok(vec![Arc::new(counts), Arc::new(sums), Arc::new(squares)])
    }

    fn finish(&mut self) -> Result<ArrayRef, ValueError> {
        let results = self.groups.iter().map(|state| state.deviation(self.kind));
        Ok(Arc::new(results.collect::<Float64Array>()))
    }

    fn size_bytes(&self) -> usize {
        self.groups.capacity() * size_of::<Spread>()
    }
}

/// Of integers and numerics.
pub(super) struct ExactDeviation {
    kind: Deviation,
    groups: Vec<Moments>,
}

impl ExactDeviation {
    pub(super) fn new(kind: Deviation) -> ExactDeviation {
        ExactDeviation { kind, groups: Vec::new() }
    }
}

impl Accumulator for ExactDeviation {
    fn resize(&mut self, groups: usize) {
        self.groups.resize(groups.max(self.groups.len()), Moments::default());
    }

    fn update(
        &mut self,
        groups: Groups<'_>,
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ValueError> {
        let selected = selected(args[0].nulls(), filter);
        let (states, rows) = (&mut self.groups, selected.as_ref());
        macro_rules! integers {
            ($arrow:ident) => {{
                let values = args[0].as_primitive::<$arrow>().values();
                fold(states, groups, rows, |state, row| {
                    state.add_integer(values[row].into());
                    Ok(())
                })
            }};
        }
        match args[0].data_type() {
            DataType::Int16 => integers!(Int16Type),
            DataType::Int32 => integers!(Int32Type),
            DataType::Int64 => integers!(Int64Type),
            _ => {
                let values = Numerics::raw(&args[0]);
                fold(states, groups, rows, |state, row| {
                    state.add(Numerics::value(values[row]));
                    Ok(())
                })
            }
        }
    }

    fn merge(&mut self, groups: Groups<'_>, states: &[ArrayRef]) -> Result<(), ValueError> {
        let states = states[0].as_binary::<i32>();
        fold(&mut self.groups, groups, None, |state, row| {
            let other = Moments::from_bytes(states.value(row)).ok_or_else(|| {
                ValueError::new(SqlState::INTERNAL_ERROR, "state of a deviation is malformed")
            })?;
            state.merge(&other);
            Ok(())
        })
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Binary]
    }

    fn state(&mut self) -> Result<Vec<ArrayRef>, ValueError> {
        let states: Vec<Vec<u8>> = self.groups.iter().map(Moments::to_bytes).collect();
        Ok(vec![bytes_array(states.iter().map(|state| Some(state.as_slice())), false)?])
    }

    fn finish(&mut self) -> Result<ArrayRef, ValueError> {
        let results = self.groups.iter().map(|state| state.deviation(self.kind));
        let results: Vec<_> = results.collect::<Result<_, _>>()?;
        Ok(Numerics::array(results.into_iter()))
    }

    fn size_bytes(&self) -> usize {
        self.groups.capacity() * size_of::<Moments>()
    }
}
