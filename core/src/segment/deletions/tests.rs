use super::*;
use crate::env::Rng;
use crate::id::{CoreId, TxnId};

fn at(time: u64) -> Stamp {
    Stamp::committed(Timestamp(time))
}

/// Takes all fresh ends, a few at a time.
fn take_all(vector: &mut DeletionVector, horizon: u64) -> Ends {
    let (mut from, mut taken) = (Some(Position(0)), Vec::new());
    while let Some(position) = from {
        from = vector.take_fresh(position, 7, Timestamp(horizon), &mut taken);
    }
    taken
}

#[test]
fn stages() {
    let txn = Stamp::provisional(TxnId::new(CoreId(0), 1));
    let mut vector = DeletionVector::default();
    let (settles, stays, open) = (Position(5), Position(2_000), Position(2_001));
    vector.set(settles, at(10));
    vector.set(stays, at(30));
    vector.set(open, txn);
    assert_eq!(take_all(&mut vector, 20), [(settles, at(20)), (stays, at(30))]);
    assert_eq!(take_all(&mut vector, 20), []);
    assert_eq!(vector.entries().collect::<Vec<_>>(), [(settles, at(20)), (stays, at(30)), (open, txn)]);
    vector.set(settles, at(10));
    assert_eq!(take_all(&mut vector, 20), [], "the manifest knows it already");
    vector.set(open, Stamp::LIVE);
    assert_eq!((vector.get(open), vector.len()), (Stamp::LIVE, 2));
    assert_eq!(vector.settle_kept(Position(0), 10, Timestamp(40)), None);
    assert_eq!((vector.kept.len(), vector.settled_rows, vector.get(stays)), (0, 2, at(40)));
    vector.put_back(&[(stays, at(30))]);
    assert_eq!(take_all(&mut vector, 50), [(stays, at(50))]);
    vector.restore(settles, at(11));
    assert_eq!((vector.get(settles), vector.len()), (at(11), 2));
}

/// Compares with a map of positions through random changes of every kind.
#[test]
fn equals_a_map() {
    let mut rng = Rng::new(1);
    for _ in 0..20 {
        let (mut vector, mut model) = (DeletionVector::default(), BTreeMap::<Position, Stamp>::new());
        let (mut saved, mut horizon) = (BTreeMap::new(), 0);
        for time in 1..400 {
            for _ in 0..rng.below(30) {
                let position = Position(rng.below(6_000) as u32);
                let known = model.get(&position).is_some_and(|end| end.timestamp().is_some());
                let end = match rng.below(4) {
                    0 => Stamp::LIVE,
                    1 => Stamp::provisional(TxnId::new(CoreId(1), time)),
                    _ => at(time),
                };
                if known {
                    continue;
                }
                vector.set(position, end);
                model.insert(position, end);
                model.retain(|_, end| *end != Stamp::LIVE);
            }
            if rng.one_in(10) {
                horizon = horizon.max(time - rng.below(time));
                let taken = take_all(&mut vector, horizon);
                assert!(taken.is_sorted_by(|a, b| a.0 < b.0));
                saved.extend(taken);
                vector.settle_kept(Position(0), usize::MAX, Timestamp(horizon));
            }
        }
        let same = |a: Stamp, b: Stamp| {
            let settled = |end: Stamp| end.timestamp().is_some_and(|at| at.0 <= horizon);
            a == b || settled(a) && settled(b)
        };
        assert_eq!(vector.len(), model.len());
        assert!(vector.entries().map(|(position, _)| position).eq(model.keys().copied()));
        for block in 0..7 {
            for (row, end) in vector.block(block) {
                assert!(same(end, model[&Position::new(block, usize::from(row))]));
            }
        }
        for position in (0..6_000).map(Position) {
            let end = model.get(&position).copied().unwrap_or(Stamp::LIVE);
            assert!(same(vector.get(position), end), "{position:?}: {:?}, {end:?}", vector.get(position));
            if let Some(saved) = saved.get(&position) {
                assert!(same(*saved, end));
            }
        }
    }
}

#[test]
fn settled_ends_take_little_memory() {
    let mut vector = DeletionVector::default();
    (0..64 << 10).for_each(|position| vector.set(Position(position), at(u64::from(position))));
    let before = vector.size_bytes();
    take_all(&mut vector, 1 << 20);
    assert!(vector.size_bytes() * 50 < before, "{} of {before} bytes", vector.size_bytes());
    let mut sparse = DeletionVector::default();
    (0..1 << 10).for_each(|block| sparse.set(Position::new(block, 3), at(1)));
    take_all(&mut sparse, 5);
    assert!(sparse.size_bytes() < 100 << 10, "{}", sparse.size_bytes());
}
