//! Groups of rows whose columns are codes of dictionaries (`Fragment::reads_codes`): each combination of codes is looked up
//! once for as long as the dictionaries stay the same, and rows need no look at their texts.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt16Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, UInt32Array};

use omen_core::fragment::plain;

use super::groups::NO_GROUP;

/// Most combinations of the codes of dictionaries.
const COMBINATIONS_MAX: usize = 4_096;

/// The groups of combinations of codes.
#[derive(Default)]
pub(super) struct Combinations {
    /// The texts of each column's dictionary.
    texts: Vec<ArrayRef>,
    /// Of each combination; [`NO_GROUP`] if it is not known.
    groups: Vec<u32>,
    /// Of the rows of the last batch.
    places: Vec<u16>,
}

/// The columns as codes, if all are, and their dictionaries do not have too many combinations.
pub(super) fn coded(columns: &[ArrayRef]) -> Option<Vec<&DictionaryArray<UInt16Type>>> {
    let coded: Vec<_> = columns.iter().map(|column| column.as_dictionary_opt()).collect::<Option<_>>()?;
    let lengths = coded.iter().map(|column| column.values().len());
    let count = lengths.fold(1usize, |count, length| count.saturating_mul(length));
    (count <= COMBINATIONS_MAX).then_some(coded)
}

/// The texts of some rows.
fn texts_of(coded: &DictionaryArray<UInt16Type>, rows: &UInt32Array) -> ArrayRef {
    let column: ArrayRef = Arc::new(coded.clone());
    plain(&super::take(&column, rows))
}

impl Combinations {
    /// The group of each row, in `groups`, which is overwritten. `assign` gives those of rows of texts.
    pub(super) fn assign(
        &mut self,
        columns: &[&DictionaryArray<UInt16Type>],
        groups: &mut Vec<u32>,
        assign: impl FnOnce(&[ArrayRef], usize, &mut Vec<u32>),
    ) {
        self.meet(columns);
        self.find_places(columns);
        let mut new = Vec::new();
        for (row, place) in self.places.iter().enumerate() {
            if self.groups[usize::from(*place)] == NO_GROUP {
                // Any other number, so that the rows behind are not new.
                self.groups[usize::from(*place)] = 0;
                new.push(u32::try_from(row).expect("at most 8192 rows in a batch"));
            }
        }
        if !new.is_empty() {
            let rows = UInt32Array::from(new);
            let texts: Vec<ArrayRef> = columns.iter().map(|column| texts_of(column, &rows)).collect();
            let mut of_rows = Vec::new();
            assign(&texts, rows.len(), &mut of_rows);
            for (row, group) in rows.values().iter().zip(of_rows) {
                self.groups[usize::from(self.places[*row as usize])] = group;
            }
        }
        groups.clear();
        groups.extend(self.places.iter().map(|place| self.groups[usize::from(*place)]));
    }

    /// Forgets the combinations of other dictionaries.
    fn meet(&mut self, columns: &[&DictionaryArray<UInt16Type>]) {
        let is_same = |(known, column): (&ArrayRef, &&DictionaryArray<UInt16Type>)| {
            std::ptr::addr_eq(Arc::as_ptr(known), Arc::as_ptr(column.values()))
        };
        if self.texts.len() == columns.len() && self.texts.iter().zip(columns).all(is_same) {
            return;
        }
        self.texts = columns.iter().map(|column| Arc::clone(column.values())).collect();
        self.groups.clear();
        self.groups.resize(self.texts.iter().map(Array::len).product(), NO_GROUP);
    }

    /// Fills `places`.
    fn find_places(&mut self, columns: &[&DictionaryArray<UInt16Type>]) {
        self.places.clear();
        for (index, column) in columns.iter().enumerate() {
            let keys = column.keys().values();
            if index == 0 {
                self.places.extend_from_slice(keys);
                continue;
            }
            let length = u16::try_from(column.values().len()).expect("at most as many as combinations");
            self.places.iter_mut().zip(keys).for_each(|(place, key)| *place = *place * length + key);
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{StringArray, UInt16Array};
    use omen_core::types::PgType;

    use super::super::groups::GroupTable;
    use super::*;

    fn column(codes: impl Iterator<Item = u16>, texts: &Arc<StringArray>) -> ArrayRef {
        let codes = UInt16Array::from_iter_values(codes);
        Arc::new(DictionaryArray::try_new(codes, Arc::clone(texts) as ArrayRef).unwrap())
    }

    /// Batches of changing dictionaries, some of them as texts: rows get the groups that their texts have.
    #[test]
    fn codes_and_texts_have_the_same_groups() {
        let first = Arc::new(StringArray::from(vec!["a", "b", "", "c"]));
        let second = Arc::new(StringArray::from(vec!["c", "a", "x", "b", ""]));
        let many: Vec<String> = (0..COMBINATIONS_MAX / 4).map(|number| number.to_string()).collect();
        let many = Arc::new(StringArray::from(many));
        let mut of_codes = GroupTable::new(vec![PgType::Text; 2]);
        let mut of_texts = GroupTable::new(vec![PgType::Text; 2]);
        for (round, texts) in [&first, &second, &second, &many, &first, &many].into_iter().enumerate() {
            let rows = 300;
            let of = |texts: &Arc<StringArray>, step: usize| {
                let count = texts.len();
                column((0..rows).map(move |row| ((row * step + round) % count) as u16), texts)
            };
            let columns = [of(texts, 7), of(&second, 3)];
            assert_eq!(coded(&columns).is_some(), texts.len() < 100, "round {round}");
            let texts: Vec<ArrayRef> = columns.iter().map(plain).collect();
            let (mut found, mut known) = (Vec::new(), Vec::new());
            of_codes.assign(&columns, rows, &mut found);
            of_texts.assign(&texts, rows, &mut known);
            assert_eq!(found, known, "round {round}");
        }
        assert_eq!(of_codes.into_columns(), of_texts.into_columns());
    }
}
