use std::time::Duration;

use super::*;
use crate::env::sim::{IoKind, NodeId, Rng, Sim, SimEnv};
use crate::env::{AlignedBuf, File, IO_ALIGN, OpenMode};
use crate::id::CoreId;
use crate::key::Key;
use crate::wal::tests::place;

const NODE: NodeId = NodeId(0);

fn dir() -> &'static Path {
    Path::new("/shard/manifest")
}

fn core(sim: &Sim) -> SimEnv {
    sim.core(NODE, CoreId(0))
}

fn segment(id: u64) -> SegmentMeta {
    let key = |n: u64| Key::from_bytes(&n.to_be_bytes());
    SegmentMeta {
        id: SegmentId(id),
        rows: id * 3,
        bytes: id * 100,
        checksum: id as u32,
        first_key: key(id),
        last_key: key(id + 9),
    }
}

fn create_range(range: u64) -> Edit {
    let span = KeySpan { start: Key::from_bytes(&range.to_be_bytes()), end: None };
    // Some are large, so that a file gets long soon.
    let schema_bytes = if range % 4 == 3 { 200_000 } else { 30 };
    let schema = Rc::from(vec![range as u8; schema_bytes]);
    Edit::CreateRange { range: RangeId(range), table: TableId(range as u32), span, schema }
}

/// An edit that the state allows.
fn any_edit(state: &ManifestState, rng: &mut Rng) -> Edit {
    let number = rng.below(1_000);
    let Some((&range, inside)) = state.ranges.iter().nth(rng.index(state.ranges.len() + 1)) else {
        let next = state.ranges.keys().next_back().map_or(0, |last| last.0 + 1);
        return create_range(next);
    };
    let chosen = inside.segments.get(rng.index(inside.segments.len() + 1));
    match (rng.below(10), chosen) {
        (0, _) if state.ranges.len() > 3 => Edit::DropRange { range },
        (1..=2, Some(segment)) => Edit::RemoveSegment { range, segment: segment.meta.id },
        (3..=5, Some(segment)) => {
            let count = number as u32 / 4;
            let stamp = |n: u32| Stamp::committed(Timestamp(u64::from(n) * number));
            let entries = (0..count).map(|n| (Position(n * 3), stamp(n))).collect();
            let segment = segment.meta.id;
            match rng.below(4) {
                0 => Edit::SetDeletions { range, segment, entries },
                _ => Edit::AddDeletions { range, segment, entries },
            }
        }
        (6, Some(_)) if rng.one_in(2) => {
            let first = rng.index(inside.segments.len());
            let count = 1 + rng.index(inside.segments.len() - first);
            let inputs = inside.segments[first..first + count].iter().map(|s| s.meta.id).collect();
            let output = 1 + inside.segments.iter().map(|s| s.meta.id.0).max().unwrap_or(0);
            Edit::MergeSegments { range, inputs, output: rng.one_in(2).then(|| segment(output)) }
        }
        (6, _) => Edit::SetFlushed { range, lsn: Lsn(inside.flushed.0 + number), index: number },
        (7, _) => Edit::Decided { txn: TxnId(state.next_txn + 1 + number), commit: Some(Timestamp(number)) },
        (8, _) => match state.decisions.keys().next() {
            Some(txn) => Edit::ForgetDecision { txn: *txn },
            None => Edit::ClockAtLeast(Timestamp(number)),
        },
        (9, _) if rng.one_in(2) => Edit::LogFrom(Lsn(number)),
        (9, _) => Edit::NextTxn(state.next_txn + 2_000),
        _ => {
            let id = inside.segments.iter().map(|s| s.meta.id.0 + 1).max().unwrap_or(0);
            Edit::AddSegment { range, segment: segment(id) }
        }
    }
}

/// Up to four edits that the state allows one after the other, and the state after them.
fn any_edits(state: &ManifestState, rng: &mut Rng) -> (Vec<Edit>, ManifestState) {
    let (mut next, mut edits) = (state.clone(), Vec::new());
    for _ in 0..1 + rng.below(4) {
        let edit = any_edit(&next, rng);
        next.apply(&edit).unwrap();
        edits.push(edit);
    }
    (edits, next)
}

#[test]
fn a_state_comes_back_over_many_rewrites() {
    let sim = Sim::new(1);
    let mut rng = Rng::new(1);
    let mut expected = ManifestState::default();
    for _ in 0..4 {
        let env = core(&sim);
        sim.run(async {
            let (manifest, state) = Manifest::open(env, dir()).await.unwrap();
            assert_eq!(*state, expected);
            for _ in 0..100 {
                let (edits, next) = any_edits(&expected, &mut rng);
                manifest.apply(&edits).await.unwrap();
                expected = next;
                assert_eq!(*manifest.state(), expected);
            }
        });
        sim.crash(NODE);
    }
    let files = sim.files(NODE);
    assert!(files.last() > Some(&dir().join("manifest-0000000000")), "never rewritten: {files:?}");
}

#[test]
fn concurrent_changes_keep_their_order() {
    let sim = Sim::new(2);
    let env = core(&sim);
    sim.run(async {
        let (manifest, _) = Manifest::open(env.clone(), dir()).await.unwrap();
        let (came, done) = (Rc::new(RefCell::new(Vec::new())), Rc::new(RefCell::new(Vec::new())));
        for range in 0..20 {
            let (manifest, came, done) = (manifest.clone(), Rc::clone(&came), Rc::clone(&done));
            env.spawn(async move {
                came.borrow_mut().push(range);
                manifest.apply(&[create_range(range)]).await.unwrap();
                done.borrow_mut().push(range);
            });
        }
        while done.borrow().len() < 20 {
            env.sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(came, done);
        assert_eq!(manifest.state().ranges.len(), 20);
    });
}

#[test]
fn no_space_leaves_no_trace() {
    let sim = Sim::new(3);
    let env = core(&sim);
    sim.run(async {
        let (manifest, _) = Manifest::open(env.clone(), dir()).await.unwrap();
        manifest
            .apply(&[create_range(0), Edit::AddSegment { range: RangeId(0), segment: segment(1) }])
            .await
            .unwrap();
        sim.set_disk_capacity(NODE, Some(sim.disk_used_bytes(NODE) + 8_192));
        let entries =
            |count: u32| (0..count).map(|n| (Position(n), Stamp::from_bits(u64::from(n) << 40))).collect();
        let large = |count| {
            [Edit::SetDeletions { range: RangeId(0), segment: SegmentId(1), entries: entries(count) }]
        };
        let before = manifest.state();
        let full = manifest.apply(&large(200_000)).await;
        assert!(matches!(full, Err(Error::DiskFull { .. })), "{full:?}");
        assert_eq!(manifest.state(), before);
        manifest.apply(&[Edit::NextSegment(7)]).await.unwrap();
        sim.set_disk_capacity(NODE, None);
        let after_restart = Manifest::open(env.clone(), dir()).await.unwrap().1;
        assert_eq!((after_restart.next_segment, &after_restart.ranges), (7, &before.ranges));
        manifest.apply(&large(200_000)).await.unwrap();
        // A rewrite that finds no space changes nothing.
        sim.set_disk_capacity(NODE, Some(sim.disk_used_bytes(NODE)));
        let mut applied = 0;
        while manifest.apply(&large(20_000)).await.is_ok() {
            applied += 1;
        }
        sim.set_disk_capacity(NODE, None);
        manifest.apply(&large(10 + applied)).await.unwrap();
        let (_, state) = Manifest::open(env, dir()).await.unwrap();
        assert_eq!(state, manifest.state());
        // Stamps that differ in the top bit take ten bytes each, their positions one.
        let stamp = |n: u32| Stamp::from_bits(u64::from(n) << 63);
        let many: Vec<_> = (0..6_200_000).map(|n| (Position(n), stamp(n))).collect();
        let huge = [Edit::SetDeletions { range: RangeId(0), segment: SegmentId(1), entries: many }];
        let too_large = manifest.apply(&huge).await;
        assert!(matches!(too_large, Err(Error::TooLarge { .. })), "{too_large:?}");
        assert_eq!(state, manifest.state());
    });
}

#[test]
fn a_failed_write_or_sync_is_final() {
    for kind in [IoKind::Write, IoKind::Sync] {
        let sim = Sim::new(4);
        let env = core(&sim);
        sim.run(async {
            let (manifest, _) = Manifest::open(env, dir()).await.unwrap();
            manifest.apply(&[Edit::NextTxn(1)]).await.unwrap();
            sim.fail_next(NODE, kind);
            for _ in 0..2 {
                let result = manifest.apply(&[Edit::NextTxn(2)]).await;
                assert!(matches!(result, Err(Error::ShardStopped { .. })), "{result:?}");
            }
            assert!(manifest.is_stopped());
            assert_eq!(manifest.state().next_txn, 1);
        });
    }
}

#[test]
#[should_panic(expected = "range 5 is not there")]
fn an_impossible_edit_is_a_bug() {
    let sim = Sim::new(5);
    let env = core(&sim);
    sim.run(async {
        let (manifest, _) = Manifest::open(env, dir()).await.unwrap();
        let _ = manifest.apply(&[Edit::DropRange { range: RangeId(5) }]).await;
    });
}

/// A change of every kind, and what is left of them.
fn fixture_edits() -> (Vec<Edit>, ManifestState) {
    let (range, txn) = (RangeId(1), TxnId(9));
    let entries =
        vec![(Position(3), Stamp::committed(Timestamp(5))), (Position(70_000), Stamp::provisional(txn))];
    let edits = vec![
        create_range(1),
        create_range(2),
        Edit::AddSegment { range, segment: segment(4) },
        Edit::AddSegment { range, segment: segment(5) },
        Edit::SetDeletions { range, segment: SegmentId(5), entries },
        Edit::RemoveSegment { range, segment: SegmentId(4) },
        Edit::SetFlushed { range, lsn: Lsn(600), index: 7 },
        Edit::DropRange { range: RangeId(2) },
        Edit::NextSegment(6),
        Edit::ClockAtLeast(Timestamp(8)),
        Edit::Decided { txn, commit: Some(Timestamp(10)) },
        Edit::Decided { txn: TxnId(11), commit: None },
        Edit::ForgetDecision { txn },
        Edit::NextTxn(12),
        Edit::LogFrom(Lsn(13)),
    ];
    fold(edits)
}

/// As `fixture_edits`, with the edits that version 2 added.
fn fixture_edits_v2() -> (Vec<Edit>, ManifestState) {
    let (mut edits, range) = (fixture_edits().0, RangeId(1));
    let entries = vec![(Position(2), Stamp::committed(Timestamp(6)))];
    edits.extend([
        Edit::AddDeletions { range, segment: SegmentId(5), entries: entries.clone() },
        Edit::AddSegment { range, segment: segment(6) },
        Edit::AddSegment { range, segment: segment(7) },
        Edit::MergeSegments { range, inputs: vec![SegmentId(5)], output: Some(segment(8)) },
        Edit::MergeSegments { range, inputs: vec![SegmentId(6)], output: None },
        Edit::AddDeletions { range, segment: SegmentId(8), entries },
    ]);
    fold(edits)
}

fn fold(edits: Vec<Edit>) -> (Vec<Edit>, ManifestState) {
    let mut state = ManifestState::default();
    edits.iter().for_each(|edit| state.apply(edit).unwrap());
    (edits, state)
}

/// Every build reads the files of every version. `UPDATE_GOLDENFILES=1` writes those of the newest anew.
#[test]
fn fixtures_can_be_read() {
    let name = "manifest-0000000000";
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/manifest");
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        let (sim, edits) = (Sim::new(11), fixture_edits_v2().0);
        sim.run(async {
            let (manifest, _) = Manifest::open(core(&sim), dir()).await.unwrap();
            manifest.apply(&edits[..8]).await.unwrap();
            manifest.apply(&edits[8..]).await.unwrap();
        });
        let bytes = sim.file_bytes(NODE, &dir().join(name)).unwrap();
        std::fs::create_dir_all(fixtures.join("v2")).unwrap();
        std::fs::write(fixtures.join("v2").join(name), &bytes[..16_384]).unwrap();
    }
    for (version, expected) in [("v1", fixture_edits().1), ("v2", fixture_edits_v2().1)] {
        let sim = Sim::new(12);
        sim.run(async {
            let bytes = std::fs::read(fixtures.join(version).join(name)).unwrap();
            place(&core(&sim), &dir().join(name), &bytes).await;
            assert_eq!(*Manifest::open(core(&sim), dir()).await.unwrap().1, expected);
            let (again, state) = Manifest::open(core(&sim), dir()).await.unwrap();
            assert_eq!(*state, expected);
            again.apply(&[Edit::NextTxn(99)]).await.unwrap();
        });
        let written = sim.files(NODE);
        let kept = if version == "v2" { name } else { "manifest-0000000001" };
        assert_eq!(written, [dir().join(kept)], "{version}");
    }
}

#[test]
fn merged_segments_take_the_place_of_their_inputs() {
    let (range, mut state) = (RangeId(0), ManifestState::default());
    state.apply(&create_range(0)).unwrap();
    for id in 1..=4 {
        state.apply(&Edit::AddSegment { range, segment: segment(id) }).unwrap();
    }
    let merge = |inputs: &[u64], output: Option<u64>| Edit::MergeSegments {
        range,
        inputs: inputs.iter().copied().map(SegmentId).collect(),
        output: output.map(segment),
    };
    let wrong = [
        merge(&[], Some(9)),
        merge(&[1, 3], Some(9)),
        merge(&[3, 2], Some(9)),
        merge(&[4, 5], None),
        merge(&[2], Some(3)),
    ];
    for edit in wrong {
        let before = state.clone();
        assert!(state.apply(&edit).is_err(), "{edit:?}");
        assert_eq!(state, before);
    }
    let ids = |state: &ManifestState| -> Vec<u64> {
        state.ranges[&range].segments.iter().map(|segment| segment.meta.id.0).collect()
    };
    state.apply(&merge(&[2, 3], Some(5))).unwrap();
    assert_eq!(ids(&state), [1, 5, 4]);
    state.apply(&merge(&[1], None)).unwrap();
    assert_eq!(ids(&state), [5, 4]);
}

#[test]
fn no_flipped_bit_gives_a_wrong_state() {
    let sim = Sim::new(6);
    let env = core(&sim);
    sim.run(async {
        let (manifest, _) = Manifest::open(env.clone(), dir()).await.unwrap();
        for range in 0..3 {
            manifest.apply(&[create_range(range)]).await.unwrap();
        }
        let (last, page) = (manifest.state(), IO_ALIGN as u64);
        let file = env.open(&dir().join("manifest-0000000000"), OpenMode::ReadWrite).await.unwrap();
        let frame = format::FRAME_HEADER_BYTES + 1 + 8 + 4 + 2 + 8 + 1 + 4 + 30;
        let last_frame = 4 * page..4 * page + frame as u64;
        let mut torn = 0;
        let used = (0..5).flat_map(|index| index * page..index * page + 130);
        for bit in used.flat_map(|byte| byte * 8..byte * 8 + 8) {
            flip(&file, bit).await;
            match Manifest::open(env.clone(), dir()).await {
                Err(Error::Corrupt { .. }) => {
                    assert!(!last_frame.contains(&(bit / 8)), "bit {bit}: a torn tail is no error")
                }
                Err(error) => panic!("bit {bit}: {error}"),
                Ok((_, state)) => {
                    assert!(last_frame.contains(&(bit / 8)) && state.ranges.len() == 2, "bit {bit}");
                    torn += 1;
                }
            }
            flip(&file, bit).await;
        }
        assert_eq!(torn, frame * 8);
        assert_eq!(Manifest::open(env.clone(), dir()).await.unwrap().1, last);
    });
}

async fn flip(file: &impl File, bit: u64) {
    let offset = bit / 8;
    let page = offset - offset % IO_ALIGN as u64;
    let mut bytes = file.read_at(page, AlignedBuf::zeroed(IO_ALIGN)).await.unwrap();
    bytes[(offset - page) as usize] ^= 1 << (bit % 8);
    file.write_at(page, bytes).await.0.unwrap();
}

/// How the disk of a run behaves.
#[derive(Clone, Copy, Default)]
struct Faults {
    ignore_sync: bool,
    ignore_sync_dir: bool,
}

/// The last acknowledged state, and the one that a change on its way leads to.
type Model = Rc<RefCell<(ManifestState, Option<ManifestState>)>>;

/// One life of the process: opens the manifest, compares, and changes it until the end.
async fn live(env: SimEnv, model: Model, failure: Rc<RefCell<Option<String>>>, seed: u64) {
    let mut rng = Rng::new(seed);
    let (manifest, state) = match Manifest::open(env, dir()).await {
        Ok(opened) => opened,
        // A simulated failure of some operation.
        Err(Error::Io { .. }) => return,
        Err(error) => return drop(failure.replace(Some(error.to_string()))),
    };
    let (acknowledged, possible) = model.take();
    if *state != acknowledged && Some(&*state) != possible.as_ref() {
        let wrong = format!("found {state:?}, expected {acknowledged:?} or {possible:?}");
        return drop(failure.replace(Some(wrong)));
    }
    model.replace((ManifestState::clone(&state), None));
    loop {
        let (edits, next) = any_edits(&manifest.state(), &mut rng);
        model.borrow_mut().1 = Some(next.clone());
        match manifest.apply(&edits).await {
            Ok(()) => drop(model.replace((next, None))),
            Err(Error::ShardStopped { .. }) => return,
            Err(error) => return drop(failure.replace(Some(error.to_string()))),
        }
    }
}

/// Applies changes, loses power, opens again; the state must be that of all acknowledged changes, or of one more.
fn crash_run(seed: u64, faults: Faults) -> std::result::Result<(), String> {
    let sim = Sim::new(seed);
    sim.ignore_sync(NODE, faults.ignore_sync);
    sim.ignore_sync_dir(NODE, faults.ignore_sync_dir);
    let (model, failure) = (Model::default(), Rc::new(RefCell::new(None)));
    for round in 0..8 {
        let env = core(&sim);
        env.clone().spawn(live(env, Rc::clone(&model), Rc::clone(&failure), seed * 1_000 + round));
        let sleep_us = if sim.random_below(3) == 0 { 4_000 } else { 25_000 };
        sim.run(sim.sleep(Duration::from_micros(sim.random_below(sleep_us))));
        if sim.random_below(4) == 0 {
            let kinds = [IoKind::Write, IoKind::Sync, IoKind::SyncDir];
            sim.fail_next(NODE, kinds[sim.random_below(3) as usize]);
            sim.run(sim.sleep(Duration::from_millis(5)));
        }
        if sim.random_below(3) == 0 {
            sim.kill(NODE)
        } else {
            sim.crash(NODE)
        }
        if let Some(failure) = failure.take() {
            return Err(failure);
        }
    }
    Ok(())
}

#[test]
fn acknowledged_changes_survive_power_loss() {
    for seed in 0..200 {
        crash_run(seed, Faults::default()).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    }
}

#[test]
fn a_disk_that_lies_is_noticed() {
    let noticed = |faults| (0..50).filter(|seed| crash_run(*seed, faults).is_err()).count();
    assert!(noticed(Faults { ignore_sync: true, ..Faults::default() }) > 25);
    assert!(noticed(Faults { ignore_sync_dir: true, ..Faults::default() }) > 10);
}

/// The mark of a close holds until the next change; without space there is none.
#[test]
fn a_close_is_remembered_until_the_next_change() {
    let sim = Sim::new(8);
    let env = core(&sim);
    sim.run(async {
        let (manifest, _) = Manifest::open(env.clone(), dir()).await.unwrap();
        manifest.apply(&[create_range(1)]).await.unwrap();
        manifest.close(Lsn(99)).await.unwrap();
        assert!(matches!(manifest.apply(&[]).await, Err(Error::ShardStopped { .. })));
        for _ in 0..2 {
            let (_, state) = Manifest::open(env.clone(), dir()).await.unwrap();
            assert_eq!((state.closed, state.ranges.len()), (Some(Lsn(99)), 1));
        }
        let (manifest, _) = Manifest::open(env.clone(), dir()).await.unwrap();
        manifest.apply(&[]).await.unwrap();
        assert_eq!((manifest.state().closed, manifest.state().ranges.len()), (None, 1));
        assert_eq!(Manifest::open(env.clone(), dir()).await.unwrap().1, manifest.state());
        sim.set_disk_capacity(NODE, Some(sim.disk_used_bytes(NODE)));
        assert!(matches!(manifest.close(Lsn(99)).await, Err(Error::DiskFull { .. })));
        assert_eq!(Manifest::open(env.clone(), dir()).await.unwrap().1.closed, None);
        assert_eq!(sim.files(NODE).len(), 1);
    });
}

/// A crash while it is closed leaves a manifest with the mark or without it, and the same state.
#[test]
fn a_crash_in_a_close_loses_nothing() {
    let mut marks = 0;
    for seed in 0..80 {
        let sim = Sim::new(seed);
        let env = core(&sim);
        let manifest = sim.run(async {
            let (manifest, _) = Manifest::open(env.clone(), dir()).await.unwrap();
            manifest.apply(&[create_range(1)]).await.unwrap();
            manifest
        });
        env.spawn(async move { drop(manifest.close(Lsn(5)).await) });
        sim.run(sim.sleep(Duration::from_micros(sim.random_below(1_500))));
        sim.crash(NODE);
        let (_, state) = sim.run(Manifest::open(core(&sim), dir())).unwrap();
        assert_eq!(state.ranges.len(), 1, "seed {seed}");
        marks += usize::from(state.closed.is_some());
    }
    assert!((1..80).contains(&marks), "{marks} marks");
}
