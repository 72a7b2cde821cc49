//! `min` and `max`. The state is the extreme so far, or NULL.
//!
//! Of equal values that look different (`1.0` and `1.00`) the last one is kept, as PostgreSQL does. Text is ordered by
//! bytes, as its C collation.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, BooleanArray, make_array};
use arrow_schema::DataType;
use omen_core::error::ValueError;
use omen_core::types::PgType;

use super::source::{Intervals, Numerics, Primitive, Source, bytes_array, fold, selected};
use super::{Accumulator, Groups};

/// The accumulator of the greatest or least value.
pub(super) fn accumulator(arg: PgType, greatest: bool) -> Box<dyn Accumulator> {
    macro_rules! typed {
        ($source:ty) => {
            if greatest {
                Box::new(Extremes::<$source, true>::new(arg))
            } else {
                Box::new(Extremes::<$source, false>::new(arg))
            }
        };
    }
    match arg {
        PgType::Int2 => typed!(Primitive<Int16Type>),
        PgType::Int4 => typed!(Primitive<Int32Type>),
        PgType::Int8 => typed!(Primitive<Int64Type>),
        PgType::Float4 => typed!(Primitive<Float32Type>),
        PgType::Float8 => typed!(Primitive<Float64Type>),
        PgType::Date => typed!(Primitive<Date32Type>),
        PgType::Time => typed!(Primitive<Time64MicrosecondType>),
        PgType::Timestamp | PgType::Timestamptz => typed!(Primitive<TimestampMicrosecondType>),
        PgType::Numeric(_) => typed!(Numerics),
        PgType::Interval => typed!(Intervals),
        PgType::Text | PgType::Varchar(_) => Box::new(TextExtremes { greatest, groups: Vec::new() }),
        _ => unreachable!("no extremes of {arg}"),
    }
}

/// Of values of a fixed size.
struct Extremes<S: Source, const GREATEST: bool> {
    data_type: DataType,
    groups: Vec<Option<S::Value>>,
}

impl<S: Source, const GREATEST: bool> Extremes<S, GREATEST> {
    fn new(arg: PgType) -> Self {
        Extremes { data_type: arg.arrow(), groups: Vec::new() }
    }

    /// The one to keep of two.
    #[inline]
    fn pick(old: S::Value, new: S::Value) -> S::Value {
        let keep = if GREATEST { S::exceeds(old, new) } else { S::exceeds(new, old) };
        if keep { old } else { new }
    }
}

impl<S: Source, const GREATEST: bool> Accumulator for Extremes<S, GREATEST> {
    fn resize(&mut self, groups: usize) {
        self.groups.resize(groups.max(self.groups.len()), None);
    }

    fn update(
        &mut self,
        groups: Groups<'_>,
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ValueError> {
        let values = &S::raw(&args[0])[..groups.row_count()];
        let rows = selected(args[0].nulls(), filter);
        if let (Groups::One(_), None) = (groups, &rows) {
            let extreme = values.iter().map(|raw| S::value(*raw)).reduce(Self::pick);
            self.groups[0] = self.groups[0].into_iter().chain(extreme).reduce(Self::pick);
            return Ok(());
        }
        fold(&mut self.groups, groups, rows.as_ref(), |state, row| {
            let new = S::value(values[row]);
            *state = Some(state.map_or(new, |old| Self::pick(old, new)));
            Ok(())
        })
    }

    fn merge(&mut self, groups: Groups<'_>, states: &[ArrayRef]) -> Result<(), ValueError> {
        self.update(groups, states, None)
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![self.data_type.clone()]
    }

    fn state(&mut self) -> Result<Vec<ArrayRef>, ValueError> {
        Ok(vec![self.finish()?])
    }

    fn finish(&mut self) -> Result<ArrayRef, ValueError> {
        let array = S::array(self.groups.iter().copied());
        if *array.data_type() == self.data_type {
            return Ok(array);
        }
        // A timestamp with its time zone.
        let data = array.to_data().into_builder().data_type(self.data_type.clone());
        Ok(make_array(data.build().expect("types of the same layout")))
    }

    fn size_bytes(&self) -> usize {
        self.groups.capacity() * size_of::<Option<S::Value>>()
    }
}

/// Of text.
struct TextExtremes {
    greatest: bool,
    groups: Vec<Option<Box<str>>>,
}

impl TextExtremes {
    #[inline]
    fn beats(greatest: bool, new: &str, old: &str) -> bool {
        if greatest { new > old } else { new < old }
    }
}

impl Accumulator for TextExtremes {
    fn resize(&mut self, groups: usize) {
        self.groups.resize(groups.max(self.groups.len()), None);
    }

    fn update(
        &mut self,
        groups: Groups<'_>,
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<(), ValueError> {
        let values = args[0].as_string::<i32>();
        let rows = selected(values.nulls(), filter);
        let greatest = self.greatest;
        let improve = |state: &mut Option<Box<str>>, new: &str| {
            if state.as_ref().is_none_or(|old| Self::beats(greatest, new, old)) {
                *state = Some(new.into());
            }
        };
        if let Groups::One(_) = groups {
            // One copy in each batch.
            let mut best = [None::<&str>];
            fold(&mut best, groups, rows.as_ref(), |best, row| {
                let new = values.value(row);
                if best.is_none_or(|old| Self::beats(greatest, new, old)) {
                    *best = Some(new);
                }
                Ok(())
            })?;
            if let [Some(best)] = best {
                improve(&mut self.groups[0], best);
            }
            return Ok(());
        }
        fold(&mut self.groups, groups, rows.as_ref(), |state, row| {
            improve(state, values.value(row));
            Ok(())
        })
    }

    fn merge(&mut self, groups: Groups<'_>, states: &[ArrayRef]) -> Result<(), ValueError> {
        self.update(groups, states, None)
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Utf8]
    }

    fn state(&mut self) -> Result<Vec<ArrayRef>, ValueError> {
        Ok(vec![self.finish()?])
    }

    fn finish(&mut self) -> Result<ArrayRef, ValueError> {
        bytes_array(self.groups.iter().map(|value| value.as_deref().map(str::as_bytes)), true)
    }

    fn size_bytes(&self) -> usize {
        let text: usize = self.groups.iter().flatten().map(|value| value.len()).sum();
        text + self.groups.capacity() * size_of::<Option<Box<str>>>()
    }
}
