//! The model against counting, on the shapes of keys that break models.

use std::collections::BTreeSet;

use super::*;

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut x = *state;
    x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ x >> 31
}

fn sorted(mut keys: Vec<u64>) -> Vec<u64> {
    keys.sort_unstable();
    keys
}

/// Sets of keys by name.
fn key_sets() -> Vec<(&'static str, Vec<u64>)> {
    let mut state = 7;
    let mut random = |count: usize, mut map: Box<dyn FnMut(u64) -> u64>| -> Vec<u64> {
        sorted((0..count).map(|_| map(next(&mut state))).collect())
    };
    let lognormal = |bits: u64| {
        let unit = |bits: u64| (bits & 0xFFFF_FFFF) as f64 / 4_294_967_296.0 + 1e-12;
        let normal = (-2.0 * unit(bits).ln()).sqrt() * (unit(bits >> 32) * std::f64::consts::TAU).cos();
        ((normal * 2.0).exp() * 1e9) as u64
    };
    let dense = |from: u64| (from..from + 5_000).collect::<Vec<u64>>();
    let clock = |bits: u64| 1_700_000_000_000_000 + bits % 50_000 * 1_000;
    let mut jumps = dense(0);
    jumps.extend((1..100).map(|n| n << 57));
    jumps.extend((u64::MAX - 3_000)..=u64::MAX);
    vec![
        ("empty", vec![]),
        ("one", vec![42]),
        ("zero", vec![0]),
        ("largest", vec![u64::MAX]),
        ("both ends", vec![0, u64::MAX]),
        ("equal", vec![5; 1_000]),
        ("equal, largest", vec![u64::MAX; 1_000]),
        ("sequential", dense(1)),
        ("dense above 2^53", dense(1 << 60 | 1)),
        ("dense to the end", ((u64::MAX - 5_000)..=u64::MAX).collect()),
        ("dense at 2^63", dense((1 << 63) - 2_500)),
        ("gapped", (0..5_000).map(|n| n * 1_000 + n % 7).collect()),
        ("squares", (0..5_000).map(|n: u64| n * n * n).collect()),
        ("powers", (0..64).map(|n| 1 << n).collect()),
        ("jumps", sorted(jumps)),
        ("random", random(5_000, Box::new(|bits| bits))),
        ("timestamps", random(5_000, Box::new(clock))),
        ("lognormal", random(5_000, Box::new(lognormal))),
        ("heavy duplicates", random(5_000, Box::new(|bits| bits % 13 * 1_000))),
        ("neighbouring duplicates", random(5_000, Box::new(|bits| bits % 20))),
        ("duplicates at the ends", sorted([vec![0; 999], dense(10), vec![u64::MAX; 999]].concat())),
        ("skewed duplicates", random(5_000, Box::new(|bits| (bits & 0xFFFF).pow(2) >> 24))),
        ("clusters", random(5_000, Box::new(|bits| (bits % 50) << 50 | bits >> 50))),
    ]
}

/// Keys to ask for: those that are there, their neighbours, the ends, and some between.
fn probes(keys: &[u64]) -> BTreeSet<u64> {
    let near = |key: &u64| [key.wrapping_sub(1), *key, key.wrapping_add(1)];
    let middle = |pair: &[u64]| pair[0] + (pair[1] - pair[0]) / 2;
    let mut state = 3;
    let ends = [0, 1, u64::MAX, u64::MAX - 1, 1 << 53, 1 << 63];
    let random = (0..200).map(|n| next(&mut state) >> (n % 64));
    keys.iter().flat_map(near).chain(keys.windows(2).map(middle)).chain(ends).chain(random).collect()
}

fn check_bounds(name: &str, model: &Model, keys: &[u64]) {
    let mut last = 0;
    for key in probes(keys) {
        let expected = keys.partition_point(|k| *k < key);
        let guess = model.position(key);
        assert!(last <= guess && guess <= keys.len(), "{name}: {guess} at {key} after {last}");
        assert!(guess.abs_diff(expected) <= model.error(), "{name}: {guess} is not near {expected}");
        let (low, high) = model.window(key);
        assert!(low <= expected && expected <= high, "{name}: {expected} is not in {low}..={high}");
        assert_eq!(model.lower_bound(keys, key), expected, "{name}: {key}");
        last = guess;
    }
}

#[test]
fn bounds_hold_for_keys_present_and_absent() {
    for (name, keys) in key_sets() {
        for epsilon in [0, 1, 4, 32, 1_000] {
            let model = Model::build(keys.iter().copied(), epsilon);
            assert!(model.error() <= epsilon as usize + 2, "{name}: error {} at {epsilon}", model.error());
            check_bounds(name, &model, &keys);
        }
    }
}

#[test]
fn straight_lines_are_one_piece() {
    for (name, keys) in key_sets() {
        let pieces = Model::build(keys.iter().copied(), 32).piece_count();
        let most = match name {
            "empty" => 0,
            "sequential" | "gapped" | "dense above 2^53" | "dense to the end" | "dense at 2^63" => 1,
            "equal" => 2,
            "heavy duplicates" => 26,
            _ => keys.len(),
        };
        assert!(pieces <= most, "{name}: {pieces} pieces");
    }
}

#[test]
fn a_long_piece_keeps_its_bound() {
    let keys = (0..5_000_000_u64).map(|n| n * 3);
    let model = Model::build(keys, 1);
    assert!(model.error() <= 3, "{} pieces, error {}", model.piece_count(), model.error());
    assert!(model.piece_count() <= 4);
}

#[test]
fn memory_is_what_the_pieces_take() {
    for (name, keys) in key_sets() {
        let model = Model::build(keys.iter().copied(), 4);
        let most = 16 * (model.piece_count() + 1) + 8 * model.upper.len() + size_of::<Model>();
        assert!(model.size_bytes() <= most, "{name}: {} bytes", model.size_bytes());
    }
}

#[test]
fn a_model_of_other_keys_answers_right() {
    let sets = key_sets();
    let models: Vec<Model> = sets.iter().map(|(_, keys)| Model::build(keys.iter().copied(), 8)).collect();
    for (_, keys) in &sets {
        for model in &models {
            for key in probes(keys).into_iter().step_by(37) {
                assert_eq!(model.lower_bound(keys, key), keys.partition_point(|k| *k < key));
            }
        }
    }
}
