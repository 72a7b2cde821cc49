//! The learned sort against the standard library's.

use super::*;

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut x = *state;
    x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ x >> 31
}

/// Keys by name; `n` of each.
fn key_sets(n: usize) -> Vec<(&'static str, Vec<u64>)> {
    let mut state = n as u64;
    let mut random = |map: &dyn Fn(u64, u64) -> u64| -> Vec<u64> {
        (0..n as u64).map(|index| map(index, next(&mut state))).collect()
    };
    let unit = |bits: u64| (bits >> 11) as f64 / (1_u64 << 53) as f64 + 1e-17;
    let normal =
        |bits: u64| (-2.0 * unit(bits).ln()).sqrt() * (unit(bits << 32) * std::f64::consts::TAU).cos();
    let mut swapped = random(&|index, _| index * 1_000);
    let mut other = 5;
    for _ in 0..n / 100 {
        let pair = [0; 2].map(|_: i32| next(&mut other) as usize % n.max(1));
        swapped.swap(pair[0], pair[1]);
    }
    vec![
        ("random", random(&|_, bits| bits)),
        ("rising", random(&|index, _| index)),
        ("falling", random(&|index, _| u64::MAX - index * 3)),
        ("swapped", swapped),
        ("time-ordered", random(&|index, bits| 1_700_000_000_000_000 + index * 100 + bits % 5_000)),
        ("dense above 2^53", random(&|_, bits| (1 << 62) + bits % 10_000)),
        ("to the end", random(&|_, bits| u64::MAX - bits % 100_000)),
        ("lognormal", random(&|_, bits| (normal(bits) * 2.0 + 20.0).exp() as u64)),
        ("squares", random(&|_, bits| (bits >> 32) * (bits >> 32))),
        ("clusters", random(&|_, bits| (bits % 7) << 61 | bits >> 45)),
        ("one far away", random(&|index, bits| if index == 9 { u64::MAX } else { bits % 1_000_000 })),
        ("few values", random(&|_, bits| bits % 100)),
        ("equal", random(&|_, _| 3)),
        ("half equal", random(&|_, bits| if bits % 2 == 0 { 1 << 40 } else { bits })),
        ("a tenth equal", random(&|_, bits| if bits % 10 == 0 { 1 << 63 } else { bits })),
        ("floats", random(&|_, bits| crate::key::float_order((unit(bits) - 0.5) * 1e6))),
        ("sawtooth", random(&|index, _| index % 1_000 * 1_000_003)),
        ("ends", random(&|_, bits| if bits % 3 == 0 { 0 } else { u64::MAX - bits % 2 })),
    ]
}

#[test]
fn as_the_standard_library() {
    let (mut pair_scratch, mut scratch) = (Scratch::default(), Scratch::default());
    for n in [0, 1, 2, 100, 4_095, 4_096, 60_000] {
        for (name, keys) in key_sets(n) {
            let mut sorted = keys.clone();
            sorted.sort_unstable();
            let mut ours = keys.clone();
            sort(&mut ours, &mut scratch);
            assert_eq!(ours, sorted, "{n} {name}");
            let rows = 0..keys.len() as u32;
            for rows in [rows.clone().collect::<Vec<u32>>(), rows.rev().collect()] {
                let mut pairs: Vec<(u64, u32)> = keys.iter().copied().zip(rows).collect();
                let mut sorted = pairs.clone();
                sorted.sort_unstable();
                sort_pairs(&mut pairs, &mut pair_scratch);
                assert_eq!(pairs, sorted, "{n} {name}, pairs");
            }
        }
    }
}

#[test]
fn usual_keys_are_learned_and_others_are_not() {
    let learns = |name: &str| {
        let sets = key_sets(100_000);
        let (_, keys) = sets.iter().find(|(other, _)| *other == name).expect("there");
        order(keys) == Order::Mixed && Distribution::of(keys).is_some()
    };
    for name in ["random", "swapped", "time-ordered", "lognormal", "squares", "floats"] {
        assert!(learns(name), "{name}");
    }
    for name in ["rising", "falling", "few values", "equal", "half equal"] {
        assert!(!learns(name), "{name}");
    }
}

#[test]
fn buckets_rise_with_the_keys() {
    for (name, mut keys) in key_sets(50_000) {
        let Some(distribution) = Distribution::of(&keys) else { continue };
        keys.extend([0, 1, u64::MAX, u64::MAX - 1, 1 << 63]);
        keys.sort_unstable();
        let buckets: Vec<usize> = keys.iter().map(|key| distribution.bucket(*key)).collect();
        assert!(buckets.is_sorted(), "{name}");
    }
}
