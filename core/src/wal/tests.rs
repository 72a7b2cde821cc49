mod close;
mod crash;

use std::cell::Cell;
use std::time::Duration;

use super::*;
use crate::env::sim::{IoKind, NodeId, Rng, Sim, SimEnv};
use crate::env::{AlignedBuf, IO_ALIGN};
use crate::id::CoreId;

const NODE: NodeId = NodeId(0);
const SMALL: WalOptions =
    WalOptions { file_bytes: 32 << 10, record_bytes_max: 16_000, inflight_bytes_max: 16 << 20 };

fn dir() -> &'static Path {
    Path::new("/shard/wal")
}

fn core(sim: &Sim) -> SimEnv {
    sim.core(NODE, CoreId(0))
}

fn payload(number: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::new(number);
    (0..len).map(|_| rng.next_u64() as u8).collect()
}

fn owned(number: u64, len: usize) -> OwnedRecord {
    let payload = payload(number, len);
    OwnedRecord {
        range: RangeId(number % 7),
        term: 1 + number / 100,
        index: number,
        kind: number as u8,
        payload,
    }
}

fn borrowed(record: &OwnedRecord) -> Record<'_> {
    let OwnedRecord { range, term, index, kind, ref payload } = *record;
    Record { range, term, index, kind, payload }
}

type Entry = (Lsn, OwnedRecord);

async fn read_all(
    env: &SimEnv,
    options: WalOptions,
    first_needed: Lsn,
) -> Result<(Vec<Entry>, Replay<SimEnv>)> {
    let mut replay = Wal::open(env.clone(), dir(), options, first_needed).await?;
    let mut records = Vec::new();
    while let Some(entry) = replay.next().await? {
        records.push(entry);
    }
    assert_eq!(replay.next().await?, None);
    Ok((records, replay))
}

async fn reopen(env: &SimEnv, options: WalOptions, first_needed: Lsn) -> (Vec<Entry>, Wal<SimEnv>) {
    let (records, replay) = read_all(env, options, first_needed).await.unwrap();
    (records, replay.finish().await.unwrap())
}

async fn append(wal: &Wal<SimEnv>, record: &OwnedRecord) -> Result<Entry> {
    let mut reservation = wal.reserve(Wal::<SimEnv>::framed(record.payload.len())).await?;
    Ok((wal.append(&mut reservation, borrowed(record)), record.clone()))
}

#[test]
fn records_come_back_over_many_files_and_restarts() {
    let sim = Sim::new(1);
    let mut written = Vec::new();
    for round in 0..5 {
        let env = core(&sim);
        sim.run(async {
            let (records, wal) = reopen(&env, SMALL, Lsn(0)).await;
            assert_eq!(records, written);
            for number in 0..60 {
                let record = owned(round * 60 + number, (number as usize * 977) % 16_001);
                written.push(append(&wal, &record).await.unwrap());
                if number % 7 == 0 {
                    wal.durable(written.last().unwrap().0).await.unwrap();
                }
            }
            wal.durable(wal.tail_lsn()).await.unwrap();
            assert_eq!(wal.durable_lsn(), wal.tail_lsn());
            assert!(wal.size_bytes() > 400_000);
        });
        sim.crash(NODE);
    }
}

#[test]
fn large_records_and_batches() {
    let options = WalOptions { file_bytes: 16 << 20, record_bytes_max: 8_000_000, ..WalOptions::default() };
    let sim = Sim::new(2);
    let env = core(&sim);
    sim.run(async {
        let (_, wal) = reopen(&env, options, Lsn(0)).await;
        let mut written = Vec::new();
        for (number, len) in
            [8_000_000, 0, 1_100_000, 5, 900_000, 900_000, 8_000_000, 1_048_448].into_iter().enumerate()
        {
            written.push(append(&wal, &owned(number as u64, len)).await.unwrap());
        }
        let mut many = wal.reserve(3_000 * Wal::<SimEnv>::framed(1_000)).await.unwrap();
        for number in 0..3_000 {
            let record = owned(number, 1_000);
            written.push((wal.append(&mut many, borrowed(&record)), record));
        }
        assert_eq!(many.bytes_left(), 0);
        drop(many);
        wal.durable(wal.tail_lsn()).await.unwrap();
        drop(wal);
        let (records, _) = read_all(&env, options, Lsn(0)).await.unwrap();
        assert!(records == written);
        let too_large = reopen(&env, options, Lsn(0)).await.1.reserve(17 << 20).await;
        assert!(matches!(too_large, Err(Error::TooLarge { .. })));
    });
}

#[test]
fn waiters_share_writes() {
    let sim = Sim::new(3);
    let env = core(&sim);
    sim.run(async {
        let wal = reopen(&env, WalOptions::default(), Lsn(0)).await.1;
        append(&wal, &owned(0, 10)).await.unwrap();
        let done = Rc::new(Cell::new(0));
        let start_ns = env.monotonic_ns();
        for number in 0..500 {
            let (wal, done) = (wal.clone(), Rc::clone(&done));
            env.spawn(async move {
                let (lsn, _) = append(&wal, &owned(number, 100)).await.unwrap();
                wal.durable(lsn).await.unwrap();
                done.set(done.get() + 1);
            });
        }
        while done.get() < 500 {
            env.sleep(Duration::from_micros(10)).await;
        }
        // A write with its sync takes at most 1.12 ms, 30 times as long at worst; one by one they would take 0.25 s.
        assert!(env.monotonic_ns() - start_ns < 70_000_000);
    });
}

/// What is appended takes no more than its space, however long its reservation is kept.
#[test]
fn a_used_up_reservation_keeps_nobody_waiting() {
    let sim = Sim::new(13);
    let env = core(&sim);
    sim.run(async {
        let wal = reopen(&env, SMALL, Lsn(0)).await.1;
        let mut kept = Vec::new();
        for number in 0..50 {
            let mut reservation = wal.reserve(Wal::<SimEnv>::framed(10)).await.unwrap();
            wal.append(&mut reservation, borrowed(&owned(number, 10)));
            kept.push(reservation);
        }
        wal.durable(wal.tail_lsn()).await.unwrap();
    });
}

#[test]
fn nothing_is_written_before_someone_waits() {
    let sim = Sim::new(4);
    let env = core(&sim);
    sim.run(async {
        let wal = reopen(&env, SMALL, Lsn(0)).await.1;
        append(&wal, &owned(0, 10)).await.unwrap();
        env.sleep(Duration::from_secs(1)).await;
        assert_eq!(wal.durable_lsn(), Lsn(0));
        wal.durable(wal.tail_lsn()).await.unwrap();
    });
}

#[test]
fn a_failed_write_or_sync_is_final() {
    for kind in [IoKind::Write, IoKind::Sync] {
        let sim = Sim::new(5);
        let env = core(&sim);
        sim.run(async {
            let wal = reopen(&env, SMALL, Lsn(0)).await.1;
            let told = Rc::new(Cell::new(0));
            let hook = Rc::clone(&told);
            wal.on_failure(move |_| hook.set(hook.get() + 1));
            append(&wal, &owned(0, 10)).await.unwrap();
            env.sleep(Duration::from_secs(1)).await;
            sim.fail_next(NODE, kind);
            let (first, second) =
                (append(&wal, &owned(1, 10)).await.unwrap().0, append(&wal, &owned(2, 10)).await.unwrap().0);
            let is_stopped = |result| matches!(result, Err(Error::ShardStopped { .. }));
            assert!(is_stopped(wal.durable(first).await) && is_stopped(wal.durable(second).await));
            assert!(is_stopped(append(&wal, &owned(3, 10)).await.map(|_| ())));
            assert!(wal.is_stopped());
            wal.on_failure({
                let told = Rc::clone(&told);
                move |reason| {
                    assert!(reason.contains("simulated"), "{reason}");
                    told.set(told.get() + 1);
                }
            });
            assert_eq!(told.get(), 2);
        });
    }
}

#[test]
fn out_of_space_is_clean_and_passes() {
    let sim = Sim::new(6);
    let env = core(&sim);
    sim.run(async {
        let wal = reopen(&env, SMALL, Lsn(0)).await.1;
        let mut written = vec![append(&wal, &owned(0, 100)).await.unwrap()];
        env.sleep(Duration::from_secs(1)).await;
        sim.set_disk_capacity(NODE, Some(sim.disk_used_bytes(NODE) + 10_000));
        let mut number = 1;
        let error = loop {
            match append(&wal, &owned(number, 3_000)).await {
                Ok(entry) => written.push(entry),
                Err(error) => break error,
            }
            number += 1;
        };
        assert!(matches!(error, Error::DiskFull { .. }), "{error}");
        assert!(number > 12, "two files take more than {number} records");
        assert!(matches!(append(&wal, &owned(0, 16_000)).await, Err(Error::DiskFull { .. })));
        wal.durable(wal.tail_lsn()).await.unwrap();
        // Files that are given up serve again, though the disk is as full as before.
        wal.truncate(wal.durable_lsn()).await.unwrap();
        let kept = written.last().unwrap().0;
        written.push(append(&wal, &owned(number, 3_000)).await.unwrap());
        while append(&wal, &owned(0, 15_000)).await.map(|entry| written.push(entry)).is_ok() {}
        sim.set_disk_capacity(NODE, None);
        written.push(append(&wal, &owned(number + 1, 16_000)).await.unwrap());
        wal.durable(wal.tail_lsn()).await.unwrap();
        drop(wal);
        let (records, _) = read_all(&env, SMALL, kept).await.unwrap();
        assert!(written.ends_with(&records) && records.len() >= 2);
        assert!(records.iter().any(|(lsn, _)| *lsn > kept));
    });
}

#[test]
fn a_full_disk_does_not_keep_the_log_from_opening() {
    let sim = Sim::new(7);
    sim.run(async {
        let wal = reopen(&core(&sim), SMALL, Lsn(0)).await.1;
        let entry = append(&wal, &owned(0, 100)).await.unwrap();
        wal.durable(entry.0).await.unwrap();
        sim.set_disk_capacity(NODE, Some(0));
        sim.crash(NODE);
        let (records, wal) = reopen(&core(&sim), SMALL, Lsn(0)).await;
        assert_eq!(records, [entry]);
        assert_eq!(wal.tail_lsn(), records[0].0);
        drop(wal);
    });
}

#[test]
fn truncated_files_are_used_again_and_their_old_records_never_read() {
    let sim = Sim::new(8);
    let env = core(&sim);
    sim.run(async {
        let wal = reopen(&env, SMALL, Lsn(0)).await.1;
        let (mut written, mut needed) = (Vec::new(), Lsn(0));
        for number in 0..200 {
            written.push(append(&wal, &owned(number, 5_000)).await.unwrap());
            wal.durable(wal.tail_lsn()).await.unwrap();
            if number % 10 == 9 {
                needed = wal.tail_lsn();
                wal.truncate(needed).await.unwrap();
            }
        }
        assert!(wal.size_bytes() <= 8 * SMALL.file_bytes, "{} bytes", wal.size_bytes());
        drop(wal);
        let (records, _) = read_all(&env, SMALL, needed).await.unwrap();
        assert!(written.ends_with(&records));
        let too_early = read_all(&env, SMALL, Lsn(0)).await.map(|_| ());
        assert!(matches!(too_early, Err(Error::Corrupt { .. })), "{too_early:?}");
    });
}

#[test]
fn a_log_that_lost_its_last_file_is_corrupt() {
    let sim = Sim::new(9);
    let env = core(&sim);
    sim.run(async {
        let wal = reopen(&env, SMALL, Lsn(0)).await.1;
        for number in 0..10 {
            append(&wal, &owned(number, 10_000)).await.unwrap();
        }
        let tail = wal.tail_lsn();
        wal.durable(tail).await.unwrap();
        drop(wal);
        let files = sim.files(NODE);
        env.remove_file(&files[2]).await.unwrap();
        let result = read_all(&env, SMALL, Lsn(0)).await.map(|_| ());
        assert!(matches!(result, Err(Error::Corrupt { .. })), "a file is missing in the middle: {result:?}");
        for file in &files[3..] {
            env.remove_file(file).await.unwrap();
        }
        read_all(&env, SMALL, Lsn(0)).await.unwrap();
        let result = read_all(&env, SMALL, tail).await.map(|_| ());
        assert!(
            matches!(result, Err(Error::Corrupt { .. })),
            "records that are needed are missing: {result:?}"
        );
    });
}

/// A batch in the right place that does not go on from the record before it, as if a write between had been lost.
#[test]
fn a_batch_that_does_not_follow_is_corrupt() {
    let sim = Sim::new(14);
    let env = core(&sim);
    sim.run(async {
        let wal = reopen(&env, SMALL, Lsn(0)).await.1;
        for number in 0..3 {
            append(&wal, &owned(number, 100)).await.unwrap();
            wal.durable(wal.tail_lsn()).await.unwrap();
        }
        drop(wal);
        let path = FileName::Log(0).path(dir());
        let bytes = sim.file_bytes(NODE, &path).unwrap();
        let file = format::FileHeader::decode(&bytes[..4_096]).unwrap();
        let (offset, lsn) = (12_288, Lsn(12_288));
        let mut batch = format::BatchHeader::decode(&bytes[offset..], &file, lsn, 4_096).unwrap();
        batch.previous = Lsn(batch.previous.0 - 1);
        let mut page = AlignedBuf::zeroed(4_096);
        page.copy_from_slice(&bytes[offset..offset + 4_096]);
        batch.encode(&mut page);
        let written = env.open(&path, OpenMode::ReadWrite).await.unwrap().write_at(offset as u64, page).await;
        written.0.unwrap();
        let result = read_all(&env, SMALL, Lsn(0)).await.map(|_| ());
        assert!(matches!(result, Err(Error::Corrupt { .. })), "{result:?}");
    });
}

/// Writes three batches, the last one torn by nothing, and flips every bit in turn that is not padding.
#[test]
fn no_flipped_bit_gives_a_wrong_record() {
    let sim = Sim::new(10);
    let env = core(&sim);
    sim.run(async {
        let wal = reopen(&env, SMALL, Lsn(0)).await.1;
        let mut written = Vec::new();
        for batch in 0..3 {
            for number in 0..2 {
                written
                    .push(append(&wal, &owned(batch * 2 + number, 20 + 7 * number as usize)).await.unwrap());
            }
            wal.durable(wal.tail_lsn()).await.unwrap();
        }
        drop(wal);
        let path = FileName::Log(0).path(dir());
        let file = env.open(&path, OpenMode::ReadWrite).await.unwrap();
        let page = format::PAGE_BYTES;
        let used = |start: u64, bytes: u64| start..start + bytes;
        for (index, range) in
            [used(0, page), used(page, 200), used(2 * page, 200), used(3 * page, 200)].into_iter().enumerate()
        {
            for bit in
                (range.start * 8..range.end * 8).filter(|bit| *bit < 800 || *bit >= page * 8 || bit % 97 == 0)
            {
                let whole = file.read_at(0, AlignedBuf::zeroed(4 * IO_ALIGN)).await.unwrap();
                flip(&file, bit).await;
                let what = format!("bit {bit}");
                match read_all(&env, SMALL, Lsn(0)).await {
                    Err(Error::Corrupt { .. }) => assert!(index < 3, "{what}: a torn tail is no error"),
                    Err(error) => panic!("{what}: {error}"),
                    Ok((records, _)) if records == written => {
                        assert!(index == 3 && bit / 8 % page >= 40 + 48 * 2 + 47, "{what}")
                    }
                    Ok((records, _)) => {
                        assert!(index == 3 && written.starts_with(&records) && records.len() >= 4, "{what}");
                    }
                }
                // What looks like a torn tail was cut.
                file.write_at(0, whole).await.0.unwrap();
            }
        }
        assert_eq!(read_all(&env, SMALL, Lsn(0)).await.unwrap().0, written);
    });
}

async fn flip(file: &impl File, bit: u64) {
    let offset = bit / 8;
    let page = offset - offset % IO_ALIGN as u64;
    let mut bytes = file.read_at(page, AlignedBuf::zeroed(IO_ALIGN)).await.unwrap();
    bytes[(offset - page) as usize] ^= 1 << (bit % 8);
    file.write_at(page, bytes).await.0.unwrap();
}

/// A failed sync may lose a write for good although readers see it until the power goes.
#[test]
fn a_record_that_was_read_back_is_durable() {
    for seed in 0..20 {
        let sim = Sim::new(seed);
        let env = core(&sim);
        let mut written = Vec::new();
        sim.run(async {
            let wal = reopen(&env, SMALL, Lsn(0)).await.1;
            for number in 0..3 {
                written.push(append(&wal, &owned(number, 5_000)).await.unwrap());
                env.sleep(Duration::from_secs(1)).await;
                if number == 2 {
                    sim.fail_next(NODE, IoKind::Sync);
                }
                assert_eq!(wal.durable(wal.tail_lsn()).await.is_err(), number == 2);
            }
        });
        sim.kill(NODE);
        let read = sim.run(async {
            let (mut read, wal) = reopen(&core(&sim), SMALL, Lsn(0)).await;
            assert!(written.starts_with(&read) && read.len() >= 2);
            read.push(append(&wal, &owned(3, 100)).await.unwrap());
            wal.durable(wal.tail_lsn()).await.unwrap();
            read
        });
        sim.crash(NODE);
        sim.run(async { assert_eq!(reopen(&core(&sim), SMALL, Lsn(0)).await.0, read, "seed {seed}") });
    }
}

fn fixture_records() -> Vec<OwnedRecord> {
    let record = |number: u64, payload: &[u8]| OwnedRecord {
        range: RangeId(number + 1),
        term: number + 2,
        index: number + 3,
        kind: number as u8 + 4,
        payload: payload.to_vec(),
    };
    vec![record(0, b"one"), record(1, b""), record(2, &[0xAB; 5_000])]
}

/// Every build reads the files of every version. `UPDATE_GOLDENFILES=1` writes those of the newest anew.
#[test]
fn fixtures_can_be_read() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/wal/v1/0000000000.log");
    let file = FileName::Log(0).path(dir());
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        let sim = Sim::new(11);
        sim.run(async {
            let wal = reopen(&core(&sim), SMALL, Lsn(0)).await.1;
            for record in fixture_records() {
                append(&wal, &record).await.unwrap();
                wal.durable(wal.tail_lsn()).await.unwrap();
            }
        });
        std::fs::create_dir_all(fixture.parent().unwrap()).unwrap();
        std::fs::write(&fixture, sim.file_bytes(NODE, &file).unwrap()).unwrap();
    }
    let sim = Sim::new(12);
    let env = core(&sim);
    sim.run(async {
        place(&env, &file, &std::fs::read(&fixture).unwrap()).await;
        let read = read_all(&env, SMALL, Lsn(0)).await.unwrap().0;
        assert_eq!(read.into_iter().map(|(_, record)| record).collect::<Vec<_>>(), fixture_records());
    });
}

/// Makes a file of these bytes, whole pages.
pub async fn place(env: &SimEnv, path: &Path, bytes: &[u8]) {
    env.create_dir(path.parent().unwrap()).await.unwrap();
    let file = env.open(path, OpenMode::CreateNew).await.unwrap();
    let mut buffer = AlignedBuf::zeroed(bytes.len());
    buffer.copy_from_slice(bytes);
    file.write_durable(0, buffer).await.0.unwrap();
    env.sync_dir(path.parent().unwrap()).await.unwrap();
}

/// The same log on this machine's file system: 32 writers, three restarts, files of real size.
#[test]
fn on_a_real_disk() {
    use crate::env::uring::{CoreOptions, UringEnv, start};
    let root = std::env::temp_dir().join(format!("omen-wal-{}", std::process::id()));
    let dir = root.join("shard-000/wal");
    let main = |env: UringEnv| async move {
        let options = WalOptions { file_bytes: 1 << 20, record_bytes_max: 500_000, ..WalOptions::default() };
        let written: Rc<RefCell<Vec<Entry>>> = Rc::default();
        let mut needed = Lsn(0);
        for life in 0..3 {
            let mut replay = Wal::open(env.clone(), &dir, options, needed).await.unwrap();
            let mut read = Vec::new();
            while let Some(entry) = replay.next().await.unwrap() {
                read.push(entry);
            }
            assert!(written.borrow().ends_with(&read) && read.len() >= 320.min(written.borrow().len()));
            let wal = replay.finish().await.unwrap();
            let running = Rc::new(Cell::new(32));
            for writer in 0..32 {
                let (wal, written, running) = (wal.clone(), Rc::clone(&written), Rc::clone(&running));
                env.spawn(async move {
                    for number in 0..20 {
                        let record =
                            owned(life * 1_000 + writer * 20 + number, 50 + (writer * number * 97) as usize);
                        let framed = Wal::<UringEnv>::framed(record.payload.len());
                        let mut reservation = wal.reserve(framed).await.unwrap();
                        let lsn = wal.append(&mut reservation, borrowed(&record));
                        written.borrow_mut().push((lsn, record));
                        wal.durable(lsn).await.unwrap();
                    }
                    running.set(running.get() - 1);
                });
            }
            while running.get() > 0 {
                env.sleep(Duration::from_millis(1)).await;
            }
            needed = written.borrow()[written.borrow().len() - 320].0;
            wal.truncate(needed).await.unwrap();
            // Waits for what prepares files in the background, which the next life removes.
            wal.close().await.unwrap();
        }
    };
    start(CoreOptions::new(CoreId(0), None), main).unwrap().join().unwrap();
    std::fs::remove_dir_all(&root).unwrap();
}
