//! The learned index and the learned sort beside what they replace. CPU time of one thread; the variants take turns, and
//! the least of the rounds counts.
//!
//! `learned [FILE]...`; each file holds real keys, rising, as little-endian u64 (`perf/osm_keys.py` makes one). Other keys
//! are generated, and their names say so.
//!
//! | result | what |
//! |---|---|
//! | `lookup_KEYS` | ns to find a random key that is there, each lookup waiting for the one before; see [`Lookup`] |
//! | `index_KEYS` | bytes of memory for each key |
//! | `lookup` | the least favourable of the real keys (or of all, if none are given): how many times as fast as one fence per 1,024 |
//! | `index_memory` | the same for memory: bytes per key, and the part of what one fence per 64 keys takes |
//! | `segment_find_KEYS` | ns of `Segment::find_cached`: a table `WITH (index = ..)` of each kind |
//! | `sort_..` | ns for each key: ours, `sort_unstable`, and `sort_unstable_by_key` with the key alone |

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fs};

use omen_core::catalog::{Column, TableSchema};
use omen_core::clock::Timestamp;
use omen_core::env::Env;
use omen_core::env::sim::{NodeId, Sim};
use omen_core::id::CoreId;
use omen_core::key::{Key, float_order};
use omen_core::learned::search::partition_point_far;
use omen_core::learned::sort::{Scratch, sort_pairs};
use omen_core::learned::{IndexKind, Model, Statistics, choose};
use omen_core::memtable::{Memtable, SortedCursor};
use omen_core::row::RowBuilder;
use omen_core::segment::{BlockCache, Segment, SegmentId, SegmentWriter};
use omen_core::stamp::Stamp;
use omen_core::types::{Datum, PgType};
use omen_perf::args::print_result;
use omen_perf::rows::mix;
use omen_perf::usage::thread_cpu_time;

const ROUNDS: usize = 3;
/// A round's least length: the clock ticks.
const ROUND_NS: u64 = 100_000_000;
/// Lookups of a round.
const LOOKUPS: usize = 500_000;
const BLOCK: usize = 1_024;
const GENERATED_KEYS: usize = 5_000_000;
const SEGMENT_KEYS: usize = 500_000;
const SORT_KEYS: usize = 1_000_000;
/// As the reader builds its model of fences.
const FENCE_EPSILON: u32 = 2;
/// Of the model of all keys that is shown beside it.
const KEY_EPSILON: u32 = 32;

struct Keys {
    name: String,
    /// Rising.
    keys: Vec<u64>,
}

/// Blocks of a key column as segments pack it: a line, and the distance of each key to it in as many bits as the largest
/// of the block needs.
struct PackedBlocks {
    blocks: Vec<PackedBlock>,
    words: Vec<u64>,
}

#[derive(Clone, Copy)]
struct PackedBlock {
    base: u64,
    rise: f64,
    bit: usize,
    width: u32,
    rows: u32,
}

impl PackedBlocks {
    fn new(keys: &[u64]) -> PackedBlocks {
        let mut packed = PackedBlocks { blocks: Vec::new(), words: vec![0] };
        let mut bit = 0;
        for block in keys.chunks(BLOCK) {
            let rise = (block[block.len() - 1] - block[0]) as f64 / block.len().max(2) as f64;
            let away: Vec<i64> = block
                .iter()
                .enumerate()
                .map(|(row, key)| key.wrapping_sub((rise * row as f64) as u64) as i64)
                .collect();
            let least = away.iter().copied().min().unwrap_or(0);
            let codes: Vec<u64> = away.iter().map(|away| away.wrapping_sub(least) as u64).collect();
            let width = u64::BITS - codes.iter().max().copied().unwrap_or(0).leading_zeros();
            packed.blocks.push(PackedBlock {
                base: least as u64,
                rise,
                bit,
                width,
                rows: block.len() as u32,
            });
            for code in codes {
                packed.words.resize((bit + 64) / 64 + 2, 0);
                packed.words[bit / 64] |= code << (bit % 64);
                if bit % 64 + width as usize > 64 {
                    packed.words[bit / 64 + 1] |= code >> (64 - bit % 64);
                }
                bit += width as usize;
            }
        }
        packed
    }

    fn key(&self, block: &PackedBlock, row: usize) -> u64 {
        let bit = block.bit + row * block.width as usize;
        let (low, high) = (self.words[bit / 64] >> (bit % 64), self.words[bit / 64 + 1]);
        let code = if bit.is_multiple_of(64) { low } else { low | high << (64 - bit % 64) };
        let mask = if block.width == 64 { u64::MAX } else { (1 << block.width) - 1 };
        block.base.wrapping_add((block.rise * row as f64) as u64).wrapping_add(code & mask)
    }

    /// The line inverted, then guess by guess, as in blocks of segments.
    fn lower_bound(&self, block: usize, key: u64) -> usize {
        let block = &self.blocks[block];
        if (block.width as f64).exp2() > block.rise * 256.0 {
            return self.search(block, key, 0, block.rows as usize);
        }
        let (mut low, mut high) = (0, block.rows as usize);
        let rows_per_unit = 1.0 / block.rise.max(1e-9);
        let difference = |a: u64, b: u64| {
            let distance = a.abs_diff(b) as f64;
            if a < b { -distance } else { distance }
        };
        let middle = block.base.wrapping_add((1_u64.checked_shl(block.width).unwrap_or(0)) / 2);
        let mut guess = difference(key, middle) * rows_per_unit;
        let mut is_below = false;
        for _ in 0..3 {
            if low >= high {
                return low;
            }
            let row = (guess as usize).clamp(low, high - 1);
            let found = self.key(block, row);
            is_below = found < key;
            (low, high) = if is_below { (row + 1, high) } else { (low, row) };
            let off = difference(key, found) * rows_per_unit;
            if off.abs() < 4.0 {
                break;
            }
            guess = row as f64 + off;
        }
        let mut step = 4;
        while step < high - low {
            let row = if is_below { low + step } else { high - step };
            let is_row_below = self.key(block, row) < key;
            (low, high) = if is_row_below { (row + 1, high) } else { (low, row) };
            if is_row_below != is_below {
                break;
            }
            step *= 4;
        }
        self.search(block, key, low, high)
    }

    fn search(&self, block: &PackedBlock, key: u64, low: usize, high: usize) -> usize {
        partition_point_far(low..high, |row| self.key(block, row) < key)
    }

    fn size_bytes(&self) -> usize {
        self.words.len() * 8 + self.blocks.len() * size_of::<PackedBlock>()
    }
}

/// Ways to find the place of a key.
enum Lookup<'a> {
    /// One fence per block, a model of the fences where it pays, and the block's line inverted: what segments do.
    Ours { fences: Vec<u64>, model: Option<Model>, blocks: PackedBlocks },
    /// One fence per so many keys, binary search among them and among the keys behind one.
    Fences { per: usize, fences: Vec<u64>, keys: &'a [u64] },
    /// Binary search of all keys.
    Binary { keys: &'a [u64] },
    /// A model of all keys, and binary search within its error.
    KeyModel { model: Model, keys: &'a [u64] },
}

impl<'a> Lookup<'a> {
    fn all(keys: &'a [u64]) -> Vec<(String, Lookup<'a>)> {
        let fences = |per: usize| keys.iter().step_by(per).copied().collect::<Vec<u64>>();
        let model = Model::build(fences(BLOCK).into_iter(), FENCE_EPSILON);
        let pays = choose(Statistics::of(&fences(BLOCK), &model));
        let ours = Lookup::Ours {
            fences: fences(BLOCK),
            model: Some(model).filter(|_| pays),
            blocks: PackedBlocks::new(keys),
        };
        let mut all = vec![("ours".to_owned(), ours)];
        for per in [BLOCK, 64] {
            all.push((format!("fences_{per}"), Lookup::Fences { per, fences: fences(per), keys }));
        }
        all.push(("binary".into(), Lookup::Binary { keys }));
        let model = Model::build(keys.iter().copied(), KEY_EPSILON);
        all.push((format!("model_{KEY_EPSILON}"), Lookup::KeyModel { model, keys }));
        all
    }

    fn find(&self, key: u64) -> usize {
        match self {
            Lookup::Ours { fences, model, blocks } => {
                let after = match model {
                    Some(model) => model.lower_bound(fences, key),
                    None => partition_point_far(0..fences.len(), |at| fences[at] < key),
                };
                let block = after.saturating_sub(1);
                block * BLOCK + blocks.lower_bound(block, key)
            }
            Lookup::Fences { per, fences, keys } => {
                let block = fences.partition_point(|fence| *fence < key).saturating_sub(1);
                let (start, end) = (block * per, keys.len().min((block + 1) * per));
                start + keys[start..end].partition_point(|found| *found < key)
            }
            Lookup::Binary { keys } => keys.partition_point(|found| *found < key),
            Lookup::KeyModel { model, keys } => model.lower_bound(keys, key),
        }
    }

    /// Beside the keys.
    fn index_bytes(&self) -> usize {
        match self {
            Lookup::Ours { fences, model, .. } => {
                fences.len() * 8 + model.as_ref().map_or(0, Model::size_bytes)
            }
            Lookup::Fences { fences, .. } => fences.len() * 8,
            Lookup::Binary { .. } => 0,
            Lookup::KeyModel { model, .. } => model.size_bytes(),
        }
    }
}

/// A name, and what is measured under it.
type Variant<'a> = (String, Box<dyn FnMut() + 'a>);
/// The number of a key -> the key.
type MakeKey = fn(u64) -> u64;

fn cpu_ns() -> u64 {
    thread_cpu_time().as_nanos() as u64
}

/// Nanoseconds of each variant for one of `count`, the least of the rounds, in which all take turns.
fn rounds(count: usize, variants: &mut [Variant<'_>]) -> Vec<(String, f64)> {
    let mut least: Vec<(String, f64)> =
        variants.iter().map(|(name, _)| (name.clone(), f64::INFINITY)).collect();
    for _ in 0..ROUNDS {
        for ((_, work), (_, least)) in variants.iter_mut().zip(&mut least) {
            let (start, mut times) = (cpu_ns(), 0);
            while times == 0 || cpu_ns() - start < ROUND_NS {
                work();
                times += 1;
            }
            *least = least.min((cpu_ns() - start) as f64 / (times * count) as f64);
        }
    }
    least
}

/// Prints how long each took, and how many times as fast the first is as each other one; that of the second is returned.
fn report(name: &str, times: &[(String, f64)]) -> f64 {
    let ours = times[0].1;
    let mut values = vec![("ours_ns".to_owned(), ours)];
    for (other, ns) in &times[1..] {
        values.push((format!("{other}_ns"), *ns));
        values.push((format!("of_{other}"), ns / ours));
    }
    let named: Vec<(&str, f64)> = values.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    print_result(name, "omendb", &named);
    times[1].1 / ours
}

/// Results by which the goals are judged.
struct Judged {
    ratio: f64,
    bytes_per_key: f64,
    of_fences_64: f64,
}

fn lookups(set: &Keys) -> Judged {
    let keys = &set.keys;
    let count = keys.len() as f64;
    let ways = Lookup::all(keys);
    let probes: Vec<u64> = (0..LOOKUPS as u64).map(|n| keys[(mix(n) % keys.len() as u64) as usize]).collect();
    for (name, way) in &ways {
        for key in probes.iter().take(10_000) {
            assert_eq!(way.find(*key), keys.partition_point(|k| k < key), "{name}");
        }
    }
    let search = |way: &Lookup<'_>| {
        // Each key depends on the place of the one before, as reads do that wait for their answer.
        let mut last = 0;
        for key in &probes {
            last = black_box(way.find(black_box(*key) ^ (last as u64 >> 63)));
        }
    };
    let mut variants: Vec<Variant<'_>> = Vec::new();
    for (name, way) in &ways {
        variants.push((name.clone(), Box::new(move || search(way))));
    }
    let ratio = report(&format!("lookup_{}", set.name), &rounds(LOOKUPS, &mut variants));
    let sizes: Vec<(&str, f64)> =
        ways.iter().map(|(name, way)| (name.as_str(), way.index_bytes() as f64 / count)).collect();
    let mut values = sizes.clone();
    values.push(("keys", count));
    if let Lookup::Ours { blocks, model, .. } = &ways[0].1 {
        values.push(("packed_keys", blocks.size_bytes() as f64 / count));
        values.push(("is_modelled", f64::from(u8::from(model.is_some()))));
    }
    if let Lookup::KeyModel { model, .. } = &ways[4].1 {
        values.push(("keys_per_piece", count / model.piece_count() as f64));
    }
    print_result(&format!("index_{}", set.name), "omendb", &values);
    Judged { ratio, bytes_per_key: sizes[0].1, of_fences_64: sizes[0].1 / sizes[2].1 }
}

fn schema(index: IndexKind) -> Arc<TableSchema> {
    let column =
        Column { name: "id".into(), pg_type: PgType::Int8, not_null: true, default: None, hidden: false };
    Arc::new(TableSchema { columns: vec![column], key: vec![0], key_name: Some("pkey".into()), index })
}

/// The same keys in a segment of each kind, all blocks cached.
fn segments(set: &Keys) {
    let keys = &set.keys[..set.keys.len().min(SEGMENT_KEYS)];
    let sim = Sim::new(1);
    sim.set_steps_max(u64::MAX);
    let env = sim.core(NodeId(0), CoreId(0));
    let key_of = |key: u64| Key::of(&[Datum::Int8((key ^ 1 << 63) as i64)]).expect("short");
    sim.run(async {
        let mut memtable = Memtable::new(schema(IndexKind::Auto));
        let mut builder = RowBuilder::default();
        for key in keys {
            let row = builder.row(&[Datum::Int8((key ^ 1 << 63) as i64)]).expect("small");
            memtable.insert(&key_of(*key), &row, Stamp::committed(Timestamp(5))).expect("valid");
        }
        env.create_dir(Path::new("/s")).await.expect("creates");
        let path = PathBuf::from("/s/1");
        let writer = SegmentWriter::new(env.clone(), path.clone(), SegmentId(1), schema(IndexKind::Auto));
        let mut writer = writer.await.expect("creates");
        let mut cursor = SortedCursor::default();
        while !writer.fill(&memtable, &mut cursor, Timestamp(1)).await {
            writer.write().await.expect("writes");
        }
        let meta = writer.finish().await.expect("writes").expect("rows").meta;
        let cache = BlockCache::new(usize::MAX);
        let mut opened = Vec::new();
        for index in [IndexKind::Learned, IndexKind::Auto, IndexKind::Binary] {
            let segment = Segment::open(env.clone(), &path, schema(index), &meta).await.expect("opens");
            opened.push((index.name(), segment));
        }
        let probes: Vec<Key> =
            (0..LOOKUPS as u64).map(|n| key_of(keys[(mix(n) % keys.len() as u64) as usize])).collect();
        for key in keys.iter().step_by(BLOCK) {
            opened[0].1.find(&key_of(*key), &[], &cache).await.expect("reads");
        }
        let mut variants: Vec<Variant<'_>> = Vec::new();
        for (name, segment) in &opened {
            let (probes, cache) = (&probes, &cache);
            let find = move || {
                for key in probes {
                    let found = segment.find_cached(black_box(key), &[], cache).expect("cached");
                    assert!(black_box(found).newest().is_some());
                }
            };
            variants.push(((*name).to_owned(), Box::new(find)));
        }
        report(&format!("segment_find_{}", set.name), &rounds(LOOKUPS, &mut variants));
    });
}

/// Keys to sort, in the order in which they come.
fn unsorted() -> Vec<(&'static str, Vec<u64>)> {
    let count = SORT_KEYS as u64;
    let unit = |n: u64| (mix(n) >> 11) as f64 / (1_u64 << 53) as f64 + 1e-17;
    let normal = |n: u64| (-2.0 * unit(n).ln()).sqrt() * (unit(n + count) * std::f64::consts::TAU).cos();
    let keys = |key: &dyn Fn(u64) -> u64| (0..count).map(key).collect::<Vec<u64>>();
    let mut near = keys(&|n| n * 1_000);
    for n in 0..count / 100 {
        near.swap((mix(n) % count) as usize, (mix(n + count) % count) as usize);
    }
    vec![
        ("random", keys(&mix)),
        ("near_sorted", near),
        ("time_ordered", keys(&|n| 1_700_000_000_000_000 + n * 1_000 + mix(n) % 5_000_000)),
        ("lognormal", keys(&|n| ((normal(n) * 2.0).exp() * 1e9) as u64)),
        ("floats", keys(&|n| float_order(normal(n) * 1e3))),
        ("tenfold", keys(&|n| mix(n) % (count / 10))),
        ("thousand_values", keys(&|n| mix(n) % 1_000)),
        ("sorted", keys(&|n| n)),
    ]
}

fn sorts(name: &str, keys: &[u64]) {
    let pairs: Vec<(u64, u32)> = keys.iter().copied().zip(0..).collect();
    let mut sorted = pairs.clone();
    sorted.sort_unstable();
    let (mut ours, mut scratch) = (pairs.clone(), Scratch::default());
    sort_pairs(&mut ours, &mut scratch);
    assert!(ours == sorted, "{name}");
    let mut all = [const { Vec::new() }; 3];
    let [a, b, c] = &mut all;
    // The copy is in all three.
    let mut variants: Vec<Variant<'_>> = vec![
        (
            "ours".into(),
            Box::new(|| {
                a.clone_from(&pairs);
                sort_pairs(a, &mut scratch);
            }),
        ),
        (
            "sort_unstable".into(),
            Box::new(|| {
                b.clone_from(&pairs);
                b.sort_unstable();
            }),
        ),
        (
            "by_key_only".into(),
            Box::new(|| {
                c.clone_from(&pairs);
                c.sort_unstable_by_key(|pair: &(u64, u32)| pair.0);
            }),
        ),
    ];
    let times = rounds(pairs.len(), &mut variants);
    let (ours, theirs) = (times[0].1, times[1].1);
    let values = [
        ("ratio", theirs / ours),
        ("ours_ns", ours),
        ("sort_unstable_ns", theirs),
        ("by_key_only_ns", times[2].1),
    ];
    print_result(&format!("sort_{name}"), "omendb", &values);
}

fn generated() -> Vec<Keys> {
    let sets: [(&str, MakeKey); 4] = [
        ("sequential", |n| n),
        ("gapped", |n| n * 1_000 + mix(n) % 900),
        ("uniform", mix),
        ("lognormal", |n| {
            let unit = |n: u64| (mix(n) >> 11) as f64 / (1_u64 << 53) as f64 + 1e-17;
            let normal = (-2.0 * unit(n).ln()).sqrt() * (unit(n << 32 | 1) * std::f64::consts::TAU).cos();
            ((normal * 2.0).exp() * 1e15) as u64
        }),
    ];
    let make = |(name, key): (&str, MakeKey)| {
        let mut keys: Vec<u64> = (0..GENERATED_KEYS as u64).map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        Keys { name: format!("generated_{name}"), keys }
    };
    sets.map(make).into_iter().collect()
}

fn real(file: &str) -> Keys {
    let bytes = fs::read(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let keys: Vec<u64> = bytes.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
    assert!(keys.is_sorted() && !keys.is_empty(), "{file}: keys do not rise");
    let stem = Path::new(file).file_stem().and_then(|stem| stem.to_str()).unwrap_or("keys");
    Keys { name: stem.replace([' ', '-'], "_"), keys }
}

fn main() {
    for (name, keys) in unsorted() {
        sorts(name, &keys);
    }
    let files: Vec<String> = env::args().skip(1).collect();
    let mut judged = Vec::new();
    for file in &files {
        judged.push(measure(real(file)));
    }
    let generated: Vec<Judged> = generated().into_iter().map(measure).collect();
    let judged = if judged.is_empty() { generated } else { judged };
    let ratio = judged.iter().map(|judged| judged.ratio).fold(f64::INFINITY, f64::min);
    print_result("lookup", "omendb", &[("ratio", ratio)]);
    let most = |of: fn(&Judged) -> f64| judged.iter().map(of).fold(0.0, f64::max);
    let memory =
        [("bytes_per_key", most(|of| of.bytes_per_key)), ("of_fences_64", most(|of| of.of_fences_64))];
    print_result("index_memory", "omendb", &memory);
}

fn measure(mut set: Keys) -> Judged {
    let judged = lookups(&set);
    set.keys.dedup();
    segments(&set);
    judged
}
