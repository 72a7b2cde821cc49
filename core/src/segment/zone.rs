//! Zones: the smallest and largest value of a column in a row group, as images (`filter::image`), and whether it has NULLs.
//!
//! Invariant: a zone that a filter is judged [`Judgement::None`] by holds no row for which it is true, and one judged
//! [`Judgement::All`] no row for which it is not.

use crate::column::{ColumnView, Layout};
use crate::filter::{Filter, Images, image, int_of_image, is_whole, place};
use crate::types::PgType;

/// Bytes of a zone in a file.
pub(crate) const ZONE_BYTES: usize = 17;

const HAS_NULLS: u8 = 1;

/// Share of rows with one value of a column of which nothing is known.
const EQUAL_SHARE: f64 = 0.05;

/// Share of rows in an interval of which nothing is known.
const RANGE_SHARE: f64 = 0.3;

/// Share of NULLs where there are some.
const NULL_SHARE: f64 = 0.1;

/// See the module. Without any value `min > max`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Zone {
    min: u64,
    max: u64,
    nulls: bool,
}

/// What a zone says about a filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Judgement {
    /// It is true for no row.
    None,
    /// Look at the rows.
    Some,
    /// It is true for every row.
    All,
}

impl Zone {
    /// No rows.
    const EMPTY: Zone = Zone { min: u64::MAX, max: 0, nulls: false };

    /// The zone of the first `rows` values of a column.
    pub(crate) fn of(pg_type: PgType, column: ColumnView<'_>, rows: usize) -> Zone {
        if column.valid().is_none()
            && let Some(zone) = Zone::of_ints(pg_type, column.values())
        {
            return zone;
        }
        (0..rows).fold(Zone::EMPTY, |zone, row| match column.value(row) {
            Some(bytes) => zone.with(image(pg_type, bytes)),
            None => Zone { nulls: true, ..zone },
        })
    }

    /// Types that are ordered as integers, without NULLs: images are made of the extremes only.
    fn of_ints(pg_type: PgType, values: &[u8]) -> Option<Zone> {
        fn extremes<T: Ord + Copy>(values: impl Iterator<Item = T> + Clone) -> Option<(T, T)> {
            Some((values.clone().min()?, values.max()?))
        }
        let size = match (pg_type, Layout::of(pg_type)) {
            (PgType::Float4 | PgType::Float8, _) => return None,
            (_, Layout::Fixed(size @ (4 | 8))) => size,
            _ => return None,
        };
        let (min, max) = if size == 8 {
            extremes(values.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)))?
        } else {
            let found = extremes(values.as_chunks::<4>().0.iter().map(|bytes| i32::from_le_bytes(*bytes)))?;
            (found.0.into(), found.1.into())
        };
        let of = |value: i64| image(PgType::Int8, &value.to_le_bytes());
        Some(Zone { min: of(min), max: of(max), nulls: false })
    }

    fn with(self, image: u64) -> Zone {
        Zone { min: self.min.min(image), max: self.max.max(image), nulls: self.nulls }
    }

    /// What it says about a filter on its column.
    pub(crate) fn judge(&self, filter: &Filter) -> Judgement {
        let has_values = self.min <= self.max;
        let all_if = |all: bool| if all && !self.nulls { Judgement::All } else { Judgement::Some };
        match &filter.images {
            Images::Nothing => Judgement::None,
            Images::Null => match (self.nulls, has_values) {
                (false, _) => Judgement::None,
                (true, true) => Judgement::Some,
                (true, false) => Judgement::All,
            },
            _ if !has_values => Judgement::None,
            Images::Anything => all_if(true),
            Images::Range { outer: (low, high), .. } if self.max < *low || *high < self.min => {
                Judgement::None
            }
            Images::Range { inner: (low, high), .. } => all_if(*low <= self.min && self.max <= *high),
            Images::AllBut(one) if self.min == *one && self.max == *one => Judgement::None,
            Images::AllBut(one) => all_if(*one < self.min || self.max < *one),
            Images::OneOf(list) => {
                let from = list.partition_point(|image| *image < self.min);
                match list.get(from) {
                    Some(image) if *image <= self.max => Judgement::Some,
                    _ => Judgement::None,
                }
            }
            Images::Among(set) => match set.has_between(int_of_image(self.min), int_of_image(self.max)) {
                true => Judgement::Some,
                false => Judgement::None,
            },
        }
    }

    /// About the share of its rows for which a filter is true. `distinct` is how many different values the column has, if
    /// that is known.
    pub(crate) fn share(&self, filter: &Filter, distinct: Option<f64>) -> f64 {
        match self.judge(filter) {
            Judgement::None => return 0.0,
            Judgement::All => return 1.0,
            Judgement::Some => {}
        }
        let at = |image: u64| place(filter.pg_type, image);
        let one = match is_whole(filter.pg_type) {
            true => 1.0 / ((self.max - self.min) as f64 + 1.0),
            false => distinct.map_or(EQUAL_SHARE, |distinct| 1.0 / distinct),
        };
        match &filter.images {
            Images::Range { outer: (low, high), .. } if low == high => one,
            Images::Range { outer: (0, u64::MAX), .. } | Images::AllBut(_) => 1.0 - one,
            Images::Range { outer: (low, high), .. } => {
                let (low, high) = (at((*low).max(self.min)), at((*high).min(self.max)));
                let width = at(self.max) - at(self.min);
                let share = (high - low) / width;
                if share.is_finite() { (share + one).clamp(one.min(1.0), 1.0) } else { RANGE_SHARE }
            }
            Images::OneOf(list) => {
                let inside = list.partition_point(|image| *image <= self.max)
                    - list.partition_point(|image| *image < self.min);
                (one * inside as f64).min(1.0)
            }
            Images::Among(set) => {
                let inside = set.count_between(int_of_image(self.min), int_of_image(self.max));
                (one * inside as f64).min(1.0)
            }
            Images::Null => NULL_SHARE,
            Images::Anything => 1.0 - NULL_SHARE,
            Images::Nothing => 0.0,
        }
    }

    /// Images of the smallest and the largest value.
    pub(crate) fn bounds(&self) -> (u64, u64) {
        (self.min, self.max)
    }

    /// Its bytes: min, max, bit 0 of the last byte for NULLs.
    pub(crate) fn to_bytes(self) -> [u8; ZONE_BYTES] {
        let mut bytes = [0; ZONE_BYTES];
        bytes[..8].copy_from_slice(&self.min.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.max.to_le_bytes());
        bytes[16] = if self.nulls { HAS_NULLS } else { 0 };
        bytes
    }

    /// Inverse of [`Zone::to_bytes`]; `None` if the bytes are not a zone's.
    pub(crate) fn from_bytes(bytes: &[u8; ZONE_BYTES]) -> Option<Zone> {
        let (min, rest) = bytes.split_first_chunk()?;
        let (max, flags) = rest.split_first_chunk()?;
        let nulls = match flags {
            [0] => false,
            [HAS_NULLS] => true,
            _ => return None,
        };
        Some(Zone { min: u64::from_le_bytes(*min), max: u64::from_le_bytes(*max), nulls })
    }
}
