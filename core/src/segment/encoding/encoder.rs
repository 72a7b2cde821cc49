//! The writer's side.

use super::Section;
use super::alp::Exponents;
use super::block::{
    ALP, DICTIONARY, FRONT, FSST, INTS, RAW, RAW_VAR, SAME, SCALED, VALID_ALL, VALID_AS, VALID_BITS,
    VALID_EXCEPT, VALID_NONE,
};
use super::fit::Choice;
use super::front::Front;
use super::plan::{Plans, Seen};
use super::shared::{DictionaryBuilder, SymbolsBuilder};
use super::tables;
use super::values::{Odd, float_of, int_of, is_int};
use crate::column::{ColumnView, Layout};
use crate::types::PgType;

/// Bytes of all dictionaries of a segment: they are in memory as long as it is there.
const DICTIONARIES_BYTES_MAX: usize = 4 << 20;

/// What a column's blocks share.
#[derive(Debug)]
struct Shared {
    dictionary: DictionaryBuilder,
    symbols: SymbolsBuilder,
    exponents: Option<Exponents>,
}

/// Encodes the blocks of a segment, and keeps what they share.
#[derive(Debug)]
pub(crate) struct SegmentEncoder {
    types: Vec<PgType>,
    shared: Vec<Shared>,
    /// Tables of symbols, of all columns.
    symbols: Vec<Vec<u8>>,
    symbols_columns: Vec<u16>,
    plans: Plans,
    scratch: Vec<i64>,
    dictionaries_bytes_max: usize,
}

/// A column of a block, as it will be written.
struct Work<'a> {
    pg_type: PgType,
    view: ColumnView<'a>,
    rows: usize,
    /// Which rows are not NULL, if some are.
    mask: Option<Vec<bool>>,
    image: Image,
}

impl Work<'_> {
    fn seen(&self) -> Seen<'_> {
        match &self.image {
            Image::None => None,
            Image::Ints(ints) | Image::Codes(ints) | Image::Scaled { ints, .. } => {
                Some((ints, self.mask.as_deref()))
            }
        }
    }
}

/// What the integers of a column are.
enum Image {
    None,
    /// Its values.
    Ints(Vec<i64>),
    /// Coefficients with this scale, and rows that are not such.
    Scaled {
        scale: u8,
        ints: Vec<i64>,
        odd: Vec<u16>,
    },
    /// Codes of its dictionary.
    Codes(Vec<i64>),
}

impl SegmentEncoder {
    /// An encoder of columns of these types.
    pub(crate) fn new(types: &[PgType]) -> SegmentEncoder {
        let shared = |_: &PgType| Shared {
            dictionary: DictionaryBuilder::new(),
            symbols: SymbolsBuilder::new(),
            exponents: None,
        };
        SegmentEncoder {
            types: types.to_vec(),
            shared: types.iter().map(shared).collect(),
            symbols: Vec::new(),
            symbols_columns: Vec::new(),
            plans: Plans::new(types.len()),
            scratch: Vec::new(),
            dictionaries_bytes_max: DICTIONARIES_BYTES_MAX,
        }
    }

    /// The same, as one of so many of a segment.
    pub(crate) fn one_of(self, encoders: usize) -> SegmentEncoder {
        SegmentEncoder { dictionaries_bytes_max: DICTIONARIES_BYTES_MAX / encoders.max(1), ..self }
    }

    /// The maps from one column to another take no more memory than this, in bytes. To be said before the first block.
    pub(crate) fn limit_maps(&mut self, bytes: usize) {
        self.plans.limit_maps(bytes);
    }

    /// Bytes of memory, without what does not grow.
    pub(crate) fn size_bytes(&self) -> usize {
        let shared = |shared: &Shared| shared.dictionary.size_bytes() + shared.symbols.size_bytes();
        self.shared.iter().map(shared).sum::<usize>() + self.plans.size_bytes()
    }

    /// Appends the sections of a block that begins at `out[start]`, and says where they are. Calls `pause` after every
    /// column or pair of columns that it looked at: a block of many columns takes a millisecond, and the first of a segment
    /// tens of them.
    pub(crate) async fn encode(
        &mut self,
        columns: &[ColumnView<'_>],
        rows: usize,
        out: &mut Vec<u8>,
        start: usize,
        pause: &impl AsyncFn(),
    ) -> Vec<Section> {
        assert_eq!(columns.len(), self.types.len(), "a column for each type");
        let mut works: Vec<Work<'_>> = Vec::with_capacity(columns.len());
        let dictionaries: usize = self.shared.iter().map(|shared| shared.dictionary.value_bytes()).sum();
        let may_grow = dictionaries < self.dictionaries_bytes_max;
        for (column, view) in columns.iter().enumerate() {
            let work = self.work(column, *view, rows, may_grow);
            works.push(work);
            pause().await;
        }
        let seen: Vec<Seen<'_>> = works.iter().map(Work::seen).collect();
        self.plans.learn(&seen, rows, &mut self.scratch, pause).await;
        let mut parts = vec![Vec::new(); columns.len()];
        for column in self.plans.order().to_vec() {
            self.encode_column(column, &mut works, &mut parts[column]);
            pause().await;
        }
        let offset = |bytes: usize| u32::try_from(bytes).expect("a block is below 4 GiB");
        let mut place = |part: Vec<u8>| {
            out.resize(start + (out.len() - start).next_multiple_of(8), 0);
            let section = Section { offset: offset(out.len() - start), bytes: offset(part.len()) };
            out.extend_from_slice(&part);
            section
        };
        parts.into_iter().map(&mut place).collect()
    }

    /// What the blocks share, for the footer.
    pub(crate) fn tables(&self) -> Vec<u8> {
        let mut parts = Vec::new();
        for (column, (shared, pg_type)) in self.shared.iter().zip(&self.types).enumerate() {
            let column = u16::try_from(column).expect("at most COLUMNS_MAX");
            if let Some(bytes) = shared.dictionary.encode(pg_type.row_size().is_none()) {
                parts.push((column, tables::DICTIONARY, bytes));
            }
        }
        for (column, bytes) in self.symbols_columns.iter().zip(&self.symbols) {
            parts.push((*column, tables::SYMBOLS, bytes.clone()));
        }
        for (column, is_list, bytes) in self.plans.tables() {
            parts.push((column, if is_list { tables::LIST } else { tables::MAP }, bytes));
        }
        let size = |bytes: usize| u32::try_from(bytes).expect("tables are bounded");
        let mut out = size(parts.len()).to_le_bytes().to_vec();
        for (column, kind, bytes) in parts {
            out.extend_from_slice(&column.to_le_bytes());
            out.extend_from_slice(&[kind, 0]);
            out.extend_from_slice(&size(bytes.len()).to_le_bytes());
            out.extend_from_slice(&bytes);
        }
        out
    }

    /// Looks at a column; `may_grow`: its dictionary.
    fn work<'a>(&mut self, column: usize, view: ColumnView<'a>, rows: usize, may_grow: bool) -> Work<'a> {
        let pg_type = self.types[column];
        let valid = |row: usize| view.valid().is_none_or(|bits| bits[row / 8] >> (row % 8) & 1 == 1);
        let mask: Vec<bool> = (0..rows).map(valid).collect();
        let mask = mask.contains(&false).then_some(mask);
        let shared = &mut self.shared[column];
        let image = if mask.as_ref().is_some_and(|mask| !mask.contains(&true)) {
            Image::None
        } else if is_int(pg_type) {
            Image::Ints(ints_of(pg_type, &view, rows))
        } else {
            match (pg_type, Layout::of(pg_type)) {
                (_, Layout::Bits) => {
                    let bit = |row: usize| i64::from(view.values()[row / 8] >> (row % 8) & 1);
                    Image::Ints((0..rows).map(bit).collect())
                }
                (PgType::Numeric(_), _) => scaled(&view, rows),
                (PgType::Float4 | PgType::Float8, _) => Image::None,
                (_, Layout::Fixed(size)) => {
                    let values = (0..rows).map(|row| view.value(row));
                    let codes = shared.dictionary.codes(values, rows, may_grow, || size as f64);
                    codes.map_or(Image::None, Image::Codes)
                }
                (_, Layout::Bytes) => {
                    let values = (0..rows).map(|row| view.value(row));
                    let bytes = view.offsets()[rows] - view.offsets()[0];
                    let ratio = shared.symbols.ratio();
                    let other = || f64::from(bytes) / rows as f64 * ratio + 0.8;
                    shared.dictionary.codes(values, rows, may_grow, other).map_or(Image::None, Image::Codes)
                }
            }
        };
        Work { pg_type, view, rows, mask, image }
    }

    fn encode_column(&mut self, column: usize, works: &mut [Work<'_>], out: &mut Vec<u8>) {
        let valid = encode_valid(works, column);
        // What is read back for NULLs replaces what the column had there, for the columns that follow from it.
        let mut image = std::mem::replace(&mut works[column].image, Image::None);
        let valid = valid.as_slice();
        match &mut image {
            Image::Ints(ints) => {
                head(INTS, valid, out);
                self.encode_ints(column, works, ints, out);
            }
            Image::Codes(codes) => {
                head(DICTIONARY, valid, out);
                self.encode_ints(column, works, codes, out);
            }
            Image::Scaled { scale, ints, odd } => {
                head(SCALED, valid, out);
                out.push(*scale);
                write_odd(&works[column].view, odd, out);
                self.encode_ints(column, works, ints, out);
            }
            Image::None => self.encode_plain(column, &works[column], valid, out),
        }
        works[column].image = image;
    }

    /// Integers, as they follow from other columns or as they are.
    fn encode_ints(&mut self, column: usize, works: &[Work<'_>], ints: &mut [i64], out: &mut Vec<u8>) {
        let mask = works[column].mask.as_deref();
        let seen = |other: u16| works[usize::from(other)].seen().map(|(ints, _)| ints.to_vec());
        let followed = self.plans.choose(column, ints, mask, &seen, &mut self.scratch);
        if let Some((choice, codes, good)) = followed
            && (good || choice.bytes() < Choice::own(ints, mask, &mut self.scratch).bytes())
        {
            self.plans.take(&choice);
            return match codes {
                Some(codes) => choice.write_codes(ints, mask, out, |row, _| codes[row]),
                None => choice.write(ints, mask, out),
            };
        }
        Choice::own(ints, mask, &mut self.scratch).write(ints, mask, out);
    }

    /// A column without integers.
    fn encode_plain(&mut self, column: usize, work: &Work<'_>, valid: &[u8], out: &mut Vec<u8>) {
        match Layout::of(work.pg_type) {
            Layout::Bits => head(SAME, valid, out),
            Layout::Fixed(_) => self.encode_fixed(column, work, valid, out),
            Layout::Bytes => self.encode_strings(column, work, valid, out),
        }
    }

    fn encode_fixed(&mut self, column: usize, work: &Work<'_>, valid: &[u8], out: &mut Vec<u8>) {
        if encode_same(work, valid, out) {
            return;
        }
        let float = matches!(work.pg_type, PgType::Float4 | PgType::Float8);
        if float && self.encode_floats(column, work, valid, out) {
            return;
        }
        head(RAW, valid, out);
        let size = work.pg_type.row_size().expect("a fixed size");
        out.extend_from_slice(&work.view.values()[..work.rows * size]);
    }

    /// Writes nothing and answers false if the floats are not decimals.
    fn encode_floats(&mut self, column: usize, work: &Work<'_>, valid: &[u8], out: &mut Vec<u8>) -> bool {
        let narrow = work.pg_type == PgType::Float4;
        let size = if narrow { 4 } else { 8 };
        let floats: Vec<f64> =
            work.view.values()[..work.rows * size].chunks_exact(size).map(float_of).collect();
        let mut digits = Vec::with_capacity(work.rows);
        let mut odd = Vec::new();
        let mut attempt = |exponents: Exponents| {
            digits.clear();
            odd.clear();
            let mut last = None;
            for (row, float) in floats.iter().enumerate() {
                let found = exponents.digits(*float, narrow);
                if found.is_none() {
                    odd.push(u16::try_from(row).expect("below BLOCK_ROWS"));
                }
                last = found.or(last);
                digits.push(last.unwrap_or(0));
            }
            odd.len()
        };
        let allowed = work.rows / 20;
        if self.shared[column].exponents.is_none_or(|exponents| attempt(exponents) > allowed) {
            let present: Vec<f64> = (0..work.rows)
                .filter(|row| work.mask.as_ref().is_none_or(|m| m[*row]))
                .map(|row| floats[row])
                .collect();
            let exponents = Exponents::search(&present, narrow);
            self.shared[column].exponents = Some(exponents);
            if attempt(exponents) * 2 > work.rows {
                return false;
            }
        }
        let exponents = self.shared[column].exponents.expect("set above");
        if let Some(mask) = &work.mask {
            odd.retain(|row| mask[usize::from(*row)]);
        }
        // What an odd row holds as digits is free.
        let mut mask = work.mask.clone();
        if !odd.is_empty() {
            let mask = mask.get_or_insert_with(|| vec![true; work.rows]);
            odd.iter().for_each(|row| mask[usize::from(*row)] = false);
        }
        let choice = Choice::own(&digits, mask.as_deref(), &mut self.scratch);
        if choice.bytes() + odd.len() * (size + 2) > work.rows * size * 85 / 100 {
            return false;
        }
        head(ALP, valid, out);
        out.extend_from_slice(&exponents.to_bytes());
        write_odd(&work.view, &odd, out);
        choice.write(&mut digits, mask.as_deref(), out);
        true
    }

    fn encode_strings(&mut self, column: usize, work: &Work<'_>, valid: &[u8], out: &mut Vec<u8>) {
        if encode_same(work, valid, out) {
            return;
        }
        let values: Vec<&[u8]> = (0..work.rows).map(|row| work.view.value(row).unwrap_or(&[])).collect();
        let total: usize = values.iter().map(|value| value.len()).sum();
        let front = front(&values, &mut self.scratch);
        let tables = self.symbols.len();
        let compressed = self.shared[column].symbols.compress(&values, &mut self.symbols);
        for _ in tables..self.symbols.len() {
            self.symbols_columns.push(u16::try_from(column).expect("at most COLUMNS_MAX"));
        }
        let compressed_bytes = compressed.as_ref().map_or(total, |found| found.bytes.len());
        if let Some((bytes, front)) = front
            && bytes < compressed_bytes
        {
            head(FRONT, valid, out);
            out.extend_from_slice(&front);
            return;
        }
        if let Some(found) = compressed {
            head(FSST, valid, out);
            out.extend_from_slice(&found.table.to_le_bytes());
            let mut ends = found.ends;
            Choice::own(&ends, None, &mut self.scratch).write(&mut ends, None, out);
            out.extend_from_slice(&found.bytes);
            return;
        }
        head(RAW_VAR, valid, out);
        write_ends(values.iter().map(|value| value.len()), &mut self.scratch, out);
        values.iter().for_each(|value| out.extend_from_slice(value));
    }
}

/// Kind and validity of a column.
fn head(kind: u8, valid: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(valid);
}

fn write_ends(lengths: impl Iterator<Item = usize>, scratch: &mut Vec<i64>, out: &mut Vec<u8>) {
    let mut sum = 0;
    let mut ends: Vec<i64> = lengths
        .map(|length| {
            sum += length as i64;
            sum
        })
        .collect();
    Choice::own(&ends, None, scratch).write(&mut ends, None, out);
}

/// Rows that stand as they are.
fn write_odd(view: &ColumnView<'_>, rows: &[u16], out: &mut Vec<u8>) {
    let values: Vec<u8> =
        rows.iter().flat_map(|row| view.value(usize::from(*row)).unwrap_or(&[])).copied().collect();
    Odd::encode(rows, &values, out);
}

/// Writes the value that all rows have; false if they differ.
fn encode_same(work: &Work<'_>, valid: &[u8], out: &mut Vec<u8>) -> bool {
    let mut values = (0..work.rows).filter_map(|row| work.view.value(row));
    let first = values.next();
    let same = values.all(|value| Some(value) == first);
    if same {
        head(SAME, valid, out);
        out.extend_from_slice(first.unwrap_or(&[]));
    }
    same
}

/// Front coding, if the strings are sorted: about its bytes, and them.
fn front(values: &[&[u8]], scratch: &mut Vec<i64>) -> Option<(usize, Vec<u8>)> {
    if values.len() < 2 || !values.is_sorted() {
        return None;
    }
    let mut last: &[u8] = &[];
    let (mut prefixes, mut rests, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
    for (row, value) in values.iter().enumerate() {
        let prefix = Front::prefix(row, last, value);
        prefixes.push(prefix as i64);
        lengths.push(value.len() - prefix);
        rests.extend_from_slice(&value[prefix..]);
        last = value;
    }
    let mut out = Vec::new();
    Choice::own(&prefixes, None, scratch).write(&mut prefixes, None, &mut out);
    write_ends(lengths.into_iter(), scratch, &mut out);
    out.extend_from_slice(&rests);
    Some((out.len(), out))
}

/// The integers of a column, that of the row before where it is NULL.
fn ints_of(pg_type: PgType, view: &ColumnView<'_>, rows: usize) -> Vec<i64> {
    let size = pg_type.row_size().expect("a fixed size");
    let int = |bytes: &[u8]| int_of(pg_type, bytes).expect("its size");
    let mut ints: Vec<i64> = view.values()[..rows * size].chunks_exact(size).map(int).collect();
    if let Some(valid) = view.valid() {
        let is_valid = |row: usize| valid[row / 8] >> (row % 8) & 1 == 1;
        let mut last = (0..rows).find(|row| is_valid(*row)).map_or(0, |row| ints[row]);
        for (row, int) in ints.iter_mut().enumerate() {
            if is_valid(row) {
                last = *int;
            } else {
                *int = last;
            }
        }
    }
    ints
}

/// Numerics as integers with the scale of the first one.
fn scaled(view: &ColumnView<'_>, rows: usize) -> Image {
    let parts = |value: &[u8]| -> (u8, Option<i64>) {
        let coefficient = value[1..].first_chunk().map(|bytes| i128::from_le_bytes(*bytes));
        (value[0], coefficient.and_then(|coefficient| i64::try_from(coefficient).ok()))
    };
    let mut present = (0..rows).filter_map(|row| view.value(row));
    let Some(scale) = present.clone().map(|value| value[0]).find(|scale| *scale != u8::MAX) else {
        return Image::None;
    };
    let mut last = present.find_map(|value| parts(value).1).unwrap_or(0);
    let (mut ints, mut odd) = (Vec::with_capacity(rows), Vec::new());
    for row in 0..rows {
        match view.value(row).map(parts) {
            Some((own, Some(coefficient))) if own == scale => last = coefficient,
            Some(_) => odd.push(u16::try_from(row).expect("below BLOCK_ROWS")),
            None => {}
        }
        ints.push(last);
    }
    if odd.len() * 2 > rows { Image::None } else { Image::Scaled { scale, ints, odd } }
}

/// The validity of a column.
fn encode_valid(works: &[Work<'_>], column: usize) -> Vec<u8> {
    let Some(mask) = &works[column].mask else { return vec![VALID_ALL] };
    let nulls: Vec<u16> = (0..mask.len())
        .filter(|row| !mask[*row])
        .map(|row| u16::try_from(row).expect("below BLOCK_ROWS"))
        .collect();
    if nulls.len() == mask.len() {
        return vec![VALID_NONE];
    }
    // The first with this mask has it in full.
    let same = |other: &usize| works[*other].mask.as_ref() == Some(mask);
    if let Some(other) = (0..column).find(same) {
        let [low, high] = u16::try_from(other).expect("at most COLUMNS_MAX").to_le_bytes();
        return vec![VALID_AS, low, high];
    }
    let mut out = Vec::new();
    if nulls.len() * 2 + 2 < mask.len().div_ceil(8) {
        out.push(VALID_EXCEPT);
        out.extend_from_slice(&u16::try_from(nulls.len()).expect("below BLOCK_ROWS").to_le_bytes());
        nulls.iter().for_each(|row| out.extend_from_slice(&row.to_le_bytes()));
    } else {
        out.push(VALID_BITS);
        let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        out.extend(mask.chunks(8).map(byte));
    }
    out
}
