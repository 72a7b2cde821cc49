//! Columns that follow from others, as in Corra (Liu et al. 2024): which columns predict which is searched for in the
//! first blocks of a segment, and again in later ones, since the tables of a segment grow with it.
//!
//! A column may follow from one that follows from another, up to `DEPTH_MAX`; none follows from itself.
//! A key that a block has used keeps its value in the map for ever, and a key that found no room never gets one:
//! so what the writer computes for a row is what readers will.

use hashbrown::HashMap;

use super::bits::{pack, width_of};
use super::block::DEPTH_MAX;
use super::fit::{Choice, Mask, divisor, fit, fit_list};
use super::ints::{Model, along};
use super::tables::MAP_KEYS_MAX;

/// Most values of a key in a list.
pub(super) const LIST_MAX: usize = 16;
/// Columns looked at on each side of a column in tables with many.
const NEIGHBOURS_MAX: usize = 24;
/// Blocks are searched if they have as many rows.
const SEARCH_ROWS_MIN: usize = 128;
/// Rows of earlier blocks that a search looks at.
const HISTORY_ROWS_MAX: usize = 4096;
/// Blocks over which a map is expected to pay.
const BLOCKS_EXPECTED: usize = 256;
/// Bytes of memory of a key in a map, beside its list.
const ENTRY_BYTES: usize = size_of::<(i64, Vec<i64>)>() + 1;
/// A map takes keys that lie so far apart even where memory is short.
const MAP_SPAN_MIN: usize = 256;
/// A column that takes no more bytes in a block is good as it is.
const BYTES_GOOD: usize = 48;

/// Values of keys, in the order in which they came.
#[derive(Debug)]
struct MapBuilder {
    column: u16,
    other: u16,
    is_list: bool,
    values: HashMap<i64, Vec<i64>>,
    first: i64,
    last: i64,
    /// Most numbers from the first key to the last, keys or not.
    span_max: usize,
    /// Memory of the lists.
    lists_bytes: usize,
    /// Whether a block needs it.
    used: bool,
}

impl MapBuilder {
    /// The values of a key, which are made of `value` if there are none; `None` if the key is too far from the others. Then
    /// it never gets any: a number between the first key and the last that is no key reads as the smallest value.
    fn of(&mut self, key: i64, value: i64) -> Option<&mut Vec<i64>> {
        if !self.values.contains_key(&key) {
            let empty = self.values.is_empty();
            let first = if empty { key } else { self.first.min(key) };
            let last = if empty { key } else { self.last.max(key) };
            if last.wrapping_sub(first) as u64 >= self.span_max as u64 {
                return None;
            }
            (self.first, self.last) = (first, last);
            self.values.insert(key, vec![value]);
            self.lists_bytes += size_of::<i64>();
        }
        self.values.get_mut(&key)
    }

    fn encode(&self) -> Vec<u8> {
        let keys = if self.values.is_empty() || !self.used {
            0
        } else {
            self.last.wrapping_sub(self.first) as usize + 1
        };
        let base = self.values.values().flatten().min().copied().unwrap_or(0);
        let away = |value: &i64| value.wrapping_sub(base) as u64;
        let (mut starts, mut values) = (vec![0], Vec::new());
        for key in 0..keys {
            let own = self.values.get(&self.first.wrapping_add(key as i64)).map_or(&[][..], Vec::as_slice);
            if self.is_list {
                values.extend(own.iter().map(away));
            } else {
                values.push(own.first().map_or(0, away));
            }
            starts.push(values.len() as u64);
        }
        let width = width_of(values.iter().max().copied().unwrap_or(0));
        let size = |count: usize| u32::try_from(count).expect("at most MAP_KEYS_MAX lists").to_le_bytes();
        let mut out = self.first.to_le_bytes().to_vec();
        out.extend_from_slice(&size(keys));
        let starts_width = width_of(values.len() as u64);
        if self.is_list {
            out.push(starts_width);
        }
        out.push(width);
        out.extend_from_slice(&base.to_le_bytes());
        if self.is_list {
            out.extend_from_slice(&size(values.len()));
            pack(&starts, starts_width, &mut out);
        }
        pack(&values, width, &mut out);
        out
    }
}

/// How a column follows from others.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Plan {
    model: Model,
    shift: u8,
    /// Bytes in the block in which it was found.
    bytes: usize,
}

impl Plan {
    fn is_like(&self, other: &Plan) -> bool {
        let kind = |plan: &Plan| std::mem::discriminant(&plan.model);
        kind(self) == kind(other) && self.references() == other.references()
    }

    fn references(&self) -> [Option<u16>; 2] {
        self.model.references()
    }
}

/// The integers of a column of a block, and which of them count.
pub(super) type Seen<'a> = Option<(&'a [i64], Mask<'a>)>;

/// What is known of the columns of a segment.
#[derive(Debug)]
pub(super) struct Plans {
    plans: Vec<Option<Plan>>,
    maps: Vec<MapBuilder>,
    /// Columns after those that they follow from.
    order: Vec<usize>,
    blocks: usize,
    next_search: usize,
    /// Integers of the blocks before.
    history: Vec<Vec<i64>>,
    history_rows: usize,
    /// Memory that maps made from now on may take, in bytes: each gets half of it.
    maps_bytes_left: usize,
}

impl Plans {
    pub(super) fn new(columns: usize) -> Plans {
        Plans {
            plans: vec![None; columns],
            maps: Vec::new(),
            order: (0..columns).collect(),
            blocks: 0,
            next_search: 0,
            history: vec![Vec::new(); columns],
            history_rows: 0,
            maps_bytes_left: usize::MAX,
        }
    }

    /// Maps take no more memory than this, in bytes, but for some keys of each. To be said before there are any.
    pub(super) fn limit_maps(&mut self, bytes: usize) {
        assert!(self.maps.is_empty(), "the room of a map is fixed");
        self.maps_bytes_left = bytes;
    }

    /// Bytes of memory of the maps.
    pub(super) fn size_bytes(&self) -> usize {
        let map = |map: &MapBuilder| map.values.capacity() * ENTRY_BYTES + map.lists_bytes;
        self.maps.iter().map(map).sum()
    }

    /// Columns after those that they follow from.
    pub(super) fn order(&self) -> &[usize] {
        &self.order
    }

    /// The tables: column, whether it is of lists, bytes.
    pub(super) fn tables(&self) -> impl Iterator<Item = (u16, bool, Vec<u8>)> {
        self.maps.iter().map(|map| (map.column, map.is_list, map.encode()))
    }

    /// Learns from a block, before it is encoded. Calls `pause` between steps.
    pub(super) async fn learn(
        &mut self,
        seen: &[Seen<'_>],
        rows: usize,
        scratch: &mut Vec<i64>,
        pause: &impl AsyncFn(),
    ) {
        if self.blocks >= self.next_search && rows >= SEARCH_ROWS_MIN {
            self.search(seen, rows, scratch, pause).await;
            self.next_search = self.blocks * 4 + 3;
        }
        if self.blocks + 3 >= self.next_search {
            if self.history_rows + rows > HISTORY_ROWS_MAX {
                self.history.iter_mut().for_each(Vec::clear);
                self.history_rows = 0;
            }
            for (history, seen) in self.history.iter_mut().zip(seen) {
                match seen {
                    Some((ints, _)) => history.extend_from_slice(ints),
                    None => history.resize(history.len() + rows, 0),
                }
            }
            self.history_rows += rows;
        }
        self.blocks += 1;
    }

    /// How a column of this block follows from others, if it does, with the codes of a list.
    pub(super) fn choose(
        &mut self,
        column: usize,
        values: &[i64],
        mask: Mask<'_>,
        seen: &dyn Fn(u16) -> Option<Vec<i64>>,
        scratch: &mut Vec<i64>,
    ) -> Option<(Choice, Option<Vec<i64>>, bool)> {
        let plan = self.plans[column]?;
        let [first, second] = plan.references();
        let first = seen(first?)?;
        let second = second.map_or(Some(Vec::new()), seen)?;
        let mut codes = None;
        let choice = match plan.model {
            Model::Map { table, .. } => {
                let map = &mut self.maps[usize::from(table)];
                let value = |(key, value): (&i64, &i64)| map.of(*key, *value).map_or(0, |values| values[0]);
                let predicted = first.iter().zip(values).map(value).collect();
                Choice::new(plan.model, 0, predicted, values, mask, scratch)
            }
            Model::List { table, .. } => {
                let map = &mut self.maps[usize::from(table)];
                let (places, predicted) = map.places(&first, values, mask);
                let fit = fit_list(&places, mask);
                codes = Some(places);
                Choice::with_fit(plan.model, predicted, fit)
            }
            Model::Product { divisor, .. } => {
                let (choice, counts) = Choice::product(plan.model, divisor, &first, values, mask, scratch);
                codes = Some(counts);
                choice
            }
            _ => {
                let predicted = predict(plan.model, plan.shift, &first, &second);
                Choice::new(plan.model, plan.shift, predicted, values, mask, scratch)
            }
        };
        let good = choice.bytes() * 5 <= plan.bytes * 6 && values.len() >= SEARCH_ROWS_MIN;
        Some((choice, codes, good))
    }

    /// A choice was taken.
    pub(super) fn take(&mut self, choice: &Choice) {
        if let Model::Map { table, .. } | Model::List { table, .. } = choice.model {
            self.maps[usize::from(table)].used = true;
        }
    }

    async fn search(
        &mut self,
        seen: &[Seen<'_>],
        rows: usize,
        scratch: &mut Vec<i64>,
        pause: &impl AsyncFn(),
    ) {
        let mut found: Vec<(usize, usize, Plan)> = Vec::new();
        let (mut own, mut groups) = (Vec::with_capacity(seen.len()), Vec::with_capacity(seen.len()));
        for (column, ints) in seen.iter().enumerate() {
            own.push(ints.map_or(0, |(ints, mask)| Choice::own(ints, mask, scratch).bytes()));
            groups.push(self.groups(column, seen));
            pause().await;
        }
        for (column, target) in seen.iter().enumerate() {
            let Some(target) = target.filter(|_| own[column] > BYTES_GOOD) else { continue };
            let before = self.plans[column];
            let mut add = |plan: Plan| {
                if plan.bytes * 100 <= own[column] * 85 {
                    // A plan that has its table already is worth keeping.
                    let same = before.is_some_and(|before| before.is_like(&plan));
                    let saved = own[column] - plan.bytes;
                    found.push((if same { saved + saved / 4 } else { saved }, column, plan));
                }
            };
            let near = neighbours(column, seen);
            for other in &near {
                let other_column = u16::try_from(*other).expect("at most COLUMNS_MAX");
                let Some((others, _)) = seen[*other] else { continue };
                try_differences(target, others, other_column, scratch, &mut add);
                try_product(target, others, other_column, scratch, &mut add);
                if let Some(groups) = &groups[*other] {
                    let history = &self.history[column];
                    try_groups(target, history, groups, other_column, scratch, &mut add);
                }
                pause().await;
            }
            if rows >= 256 {
                // What hardly differs adds nothing.
                let near: Vec<usize> = near.into_iter().filter(|other| own[*other] > BYTES_GOOD).collect();
                for (index, first) in near.iter().enumerate() {
                    let pairs = near[index + 1..].iter().map(|second| (*first, *second));
                    try_sums(target, pairs, seen, own[column], scratch, &mut add);
                    pause().await;
                }
            }
        }
        found.sort_by_key(|(saved, column, _)| (std::cmp::Reverse(*saved), *column));
        self.accept(found);
    }

    /// Takes what saves most, as long as columns do not come to follow from themselves.
    fn accept(&mut self, found: Vec<(usize, usize, Plan)>) {
        self.plans.iter_mut().for_each(|plan| *plan = None);
        let mut depths = vec![0; self.plans.len()];
        for (_, column, plan) in found {
            if self.plans[column].is_some() {
                continue;
            }
            self.plans[column] = Some(plan);
            match self.depths() {
                Some(fine) => depths = fine,
                None => self.plans[column] = None,
            }
        }
        for column in 0..self.plans.len() {
            let Some(mut plan) = self.plans[column] else { continue };
            let column = u16::try_from(column).expect("at most COLUMNS_MAX");
            plan.model = match plan.model {
                Model::Map { column: other, .. } => {
                    Model::Map { column: other, table: self.table(column, other, false) }
                }
                Model::List { column: other, .. } => {
                    Model::List { column: other, table: self.table(column, other, true) }
                }
                model => model,
            };
            self.plans[usize::from(column)] = Some(plan);
        }
        self.order.sort_by_key(|column| (depths[*column], *column));
    }

    /// Through how many others each column follows; `None` if that is too many, or itself.
    fn depths(&self) -> Option<Vec<usize>> {
        let mut depths = vec![0; self.plans.len()];
        for _ in 0..=DEPTH_MAX {
            for (column, plan) in self.plans.iter().enumerate() {
                for other in plan.iter().flat_map(Plan::references).flatten() {
                    depths[column] = depths[column].max(depths[usize::from(other)] + 1);
                }
            }
        }
        depths.iter().all(|depth| *depth <= DEPTH_MAX).then_some(depths)
    }

    /// The number of the table of values of `column` by keys of `other`.
    fn table(&mut self, column: u16, other: u16, is_list: bool) -> u16 {
        let same = |map: &MapBuilder| (map.column, map.other, map.is_list) == (column, other, is_list);
        let index = self.maps.iter().position(same).unwrap_or_else(|| {
            let bytes = self.maps_bytes_left / 2;
            self.maps_bytes_left -= bytes;
            let key_bytes = 2 * ENTRY_BYTES + if is_list { LIST_MAX * size_of::<i64>() } else { 0 };
            self.maps.push(MapBuilder {
                span_max: (bytes / key_bytes).clamp(MAP_SPAN_MIN, MAP_KEYS_MAX),
                lists_bytes: 0,
                column,
                other,
                is_list,
                values: HashMap::new(),
                first: 0,
                last: 0,
                used: false,
            });
            self.maps.len() - 1
        });
        u16::try_from(index).expect("few tables for a column")
    }

    /// Equal values of a column, in the history and in the block.
    fn groups(&self, column: usize, seen: &[Seen<'_>]) -> Option<Groups> {
        let (ints, _) = seen[column]?;
        let all = || self.history[column].iter().chain(ints);
        let (min, max) = (all().min()?, all().max()?);
        if min == max || max.wrapping_sub(*min) as u64 >= MAP_KEYS_MAX as u64 {
            return None;
        }
        let mut numbers: HashMap<i64, u32> = HashMap::new();
        let of: Vec<u32> = all()
            .map(|key| {
                let next = u32::try_from(numbers.len()).expect("few rows");
                *numbers.entry(*key).or_insert(next)
            })
            .collect();
        // Keys that rise for ever would fill any map.
        let before =
            if self.history[column].is_empty() { ints.len() / 2 } else { self.history[column].len() };
        let rises = all().take(before).max() <= all().skip(before).min();
        // Nothing repeats: nothing follows.
        (!rises && numbers.len() * 10 < of.len() * 9).then_some(Groups { of, count: numbers.len() })
    }
}

/// Numbers of equal values.
struct Groups {
    of: Vec<u32>,
    count: usize,
}

impl MapBuilder {
    /// The place of each value in the list of its key, -1 if it is not there, and the first values of the lists.
    fn places(&mut self, keys: &[i64], values: &[i64], mask: Mask<'_>) -> (Vec<i64>, Vec<i64>) {
        let (mut places, mut predicted) = (Vec::with_capacity(keys.len()), Vec::with_capacity(keys.len()));
        for (row, (key, value)) in keys.iter().zip(values).enumerate() {
            let Some(list) = self.of(*key, *value) else {
                places.push(-1);
                predicted.push(0);
                continue;
            };
            predicted.push(list[0]);
            let mut place = list.iter().position(|other| other == value);
            if place.is_none() && list.len() < LIST_MAX && mask.is_none_or(|mask| mask[row]) {
                list.push(*value);
                place = Some(list.len() - 1);
                self.lists_bytes += size_of::<i64>();
            }
            places.push(place.map_or(-1, |place| place as i64));
        }
        (places, predicted)
    }
}

fn neighbours(column: usize, seen: &[Seen<'_>]) -> Vec<usize> {
    let from = column.saturating_sub(NEIGHBOURS_MAX / 2);
    let to = seen.len().min(from + NEIGHBOURS_MAX + 1);
    (from..to).filter(|other| *other != column && seen[*other].is_some()).collect()
}

fn predict(model: Model, shift: u8, first: &[i64], second: &[i64]) -> Vec<i64> {
    match model {
        Model::Column { slope, .. } => first.iter().map(|other| along(slope, *other, shift)).collect(),
        Model::Sum { negative, .. } => {
            let both = first.iter().zip(second);
            if negative {
                both.map(|(a, b)| a.wrapping_sub(*b)).collect()
            } else {
                both.map(|(a, b)| a.wrapping_add(*b)).collect()
            }
        }
        _ => Vec::new(),
    }
}

type Target<'a> = (&'a [i64], Mask<'a>);

fn try_differences(
    (values, mask): Target<'_>,
    others: &[i64],
    column: u16,
    scratch: &mut Vec<i64>,
    add: &mut impl FnMut(Plan),
) {
    let mut attempt = |slope: i64, shift: u8| {
        let model = Model::Column { column, slope };
        let predicted = predict(model, shift, others, &[]);
        let choice = Choice::new(model, shift, predicted, values, mask, scratch);
        add(Plan { model, shift, bytes: choice.bytes() });
    };
    attempt(1, 0);
    // The slope of most steps from row to row.
    let steps = values.windows(2).zip(others.windows(2)).filter_map(|(value, other)| {
        let (rise, run) = (value[1].wrapping_sub(value[0]), other[1].wrapping_sub(other[0]));
        (run != 0 && rise != 0).then(|| rise as f64 / run as f64)
    });
    let mut slopes: Vec<f64> = steps.take(256).collect();
    if slopes.len() < 16 {
        return;
    }
    slopes.sort_unstable_by(f64::total_cmp);
    let slope = slopes[slopes.len() / 2];
    if (slope - slope.round()).abs() < 1e-6 && slope.abs() < 1e15 {
        let whole = slope.round() as i64;
        if whole != 1 && whole != 0 {
            attempt(whole, 0);
        }
    } else if slope.abs() < 1e6 {
        attempt((slope * 65_536.0).round() as i64, 16);
    }
}

/// Tries products with a column: an amount of a quantity, whose price is the same for many rows or takes fewer bits.
fn try_product(
    (values, mask): Target<'_>,
    others: &[i64],
    column: u16,
    scratch: &mut Vec<i64>,
    add: &mut impl FnMut(Plan),
) {
    let Ok(divisor) = u32::try_from(divisor(others, 0)) else { return };
    let factor = |row: usize| others[row] / i64::from(divisor);
    // Most of a few values are multiples, of other numbers than 1.
    let counts = |row: &usize| mask.is_none_or(|mask| mask[*row]) && factor(*row).unsigned_abs() > 1;
    let sample = (0..values.len()).step_by((values.len() / 48).max(1)).filter(counts);
    let multiples = sample.clone().filter(|row| values[*row].wrapping_rem(factor(*row)) == 0).count();
    if multiples < 16 || multiples * 10 < sample.count() * 9 {
        return;
    }
    let model = Model::Product { column, divisor };
    let (choice, _) = Choice::product(model, divisor, others, values, mask, scratch);
    add(Plan { model, shift: 0, bytes: choice.bytes() });
}

/// Tries the sum and the differences of two columns, for each of these pairs.
fn try_sums(
    target: Target<'_>,
    pairs: impl Iterator<Item = (usize, usize)>,
    seen: &[Seen<'_>],
    own_bytes: usize,
    scratch: &mut Vec<i64>,
    add: &mut impl FnMut(Plan),
) {
    let (values, mask) = target;
    let ints = |column: usize| seen[column].map_or(&[][..], |(ints, _)| ints);
    let own_bits = own_bytes * 8 / values.len();
    for (a, b) in pairs {
        for (first, second, negative) in [(a, b, false), (a, b, true), (b, a, true)] {
            let sign = if negative { -1 } else { 1 };
            let away = |row: usize| {
                let sum = ints(first)[row].wrapping_add(ints(second)[row].wrapping_mul(sign));
                values[row].wrapping_sub(sum)
            };
            if !is_narrow(away, values.len(), mask, own_bits) {
                continue;
            }
            let column = |column: usize| u16::try_from(column).expect("at most COLUMNS_MAX");
            let model = Model::Sum { first: column(first), second: column(second), negative };
            let predicted = predict(model, 0, ints(first), ints(second));
            let choice = Choice::new(model, 0, predicted, values, mask, scratch);
            // One column serves better than two, if it does so nearly as well.
            add(Plan { model, shift: 0, bytes: choice.bytes() * 11 / 10 });
        }
    }
}

/// Whether most of a few differences lie in a range of fewer bits.
fn is_narrow(away: impl Fn(usize) -> i64, rows: usize, mask: Mask<'_>, bits: usize) -> bool {
    let step = (rows / 24).max(1);
    let mut sample = [0; 32];
    let mut count = 0;
    for row in (0..rows).step_by(step) {
        if count < sample.len() && mask.is_none_or(|mask| mask[row]) {
            sample[count] = away(row);
            count += 1;
        }
    }
    let sample = &mut sample[..count];
    if count < 8 {
        return false;
    }
    sample.sort_unstable();
    let inner = sample[count - 1 - count / 8].wrapping_sub(sample[count / 8]) as u64;
    usize::from(width_of(inner)) < bits
}

/// Tries a map and lists of values by keys. Later rows are judged by what earlier ones have taught.
fn try_groups(
    (values, mask): Target<'_>,
    history: &[i64],
    groups: &Groups,
    column: u16,
    scratch: &mut Vec<i64>,
    add: &mut impl FnMut(Plan),
) {
    let rows = values.len();
    let before = groups.of.len() - rows;
    let judged_from = if before == 0 { rows / 2 } else { before };
    let judged = groups.of.len() - judged_from;
    let mut lists: Vec<Vec<i64>> = vec![Vec::new(); groups.count];
    let mut places = Vec::with_capacity(rows);
    let (mut new, mut new_keys) = (0, 0);
    scratch.clear();
    for (index, group) in groups.of.iter().enumerate() {
        let value = match index.checked_sub(before) {
            Some(row) if mask.is_some_and(|mask| !mask[row]) => continue,
            Some(row) => values[row],
            None => history[index],
        };
        let list = &mut lists[*group as usize];
        let place = list.iter().position(|other| *other == value);
        if index >= judged_from && list.is_empty() {
            new_keys += 1;
        } else if index >= judged_from {
            scratch.push(value.wrapping_sub(list[0]));
            new += usize::from(place.is_none());
            places.push(place.unwrap_or(list.len()) as i64);
        }
        if place.is_none() && list.len() < LIST_MAX {
            list.push(value);
        }
    }
    let known = places.len();
    if known < 64 || known * 2 < judged {
        return;
    }
    let spread = values.iter().max().zip(values.iter().min());
    let value_bits = spread.map_or(0, |(max, min)| usize::from(width_of(max.wrapping_sub(*min) as u64)));
    // A block as this one, and its part of the table.
    let plan = |model: Model, fit: usize, entries: usize| {
        let table = 2 * entries * (value_bits + 2) / 8 / BLOCKS_EXPECTED;
        // The first block does not show whether keys will go on to come.
        let keys = new_keys * value_bits / 8 / if before == 0 { 4 } else { 1 };
        Plan { model, shift: 0, bytes: 4 + fit * rows / known + table + keys }
    };
    add(plan(Model::Map { column, table: 0 }, fit(scratch, known).bytes, groups.count));
    if known * 10 >= judged * 6 {
        let entries: usize = lists.iter().map(Vec::len).sum();
        // New values become rarer, but keys that have several get more of them.
        let growth = new * (value_bits + 2) / 8;
        add(plan(Model::List { column, table: 0 }, fit_list(&places, None).bytes + growth, entries));
    }
}
