//! Any bytes as a log file: replay answers with records or an error. Checksums, salts and LSNs are put right where the
//! input asks for it, so that the fuzzer gets behind them.

use std::path::Path;

use super::{PAGE, SALT, create, file_image, mend_header, put, u32_at};
use crate::env::sim::{NodeId, Sim, SimEnv};
use crate::id::{CoreId, Lsn};
use crate::wal::{VERSION, Wal, WalOptions};

const FILE_BYTES: usize = 32 << 10;

/// Puts the batches and records right that look like some; `keep` has a bit for each thing to leave as it is.
fn mend(image: &mut [u8], mut keep: u64) {
    let (mut page, mut end) = (PAGE, 0u64);
    while page < FILE_BYTES {
        let bytes = u32_at(image, page + 32);
        if image[page] != b'O' || !(40..=FILE_BYTES - page).contains(&bytes) {
            page += PAGE;
            continue;
        }
        put(image, page, b"OWB1");
        put(image, page + 8, &SALT.to_le_bytes());
        put(image, page + 16, &(page as u64).to_le_bytes());
        put(image, page + 24, &end.to_le_bytes());
        put(image, page + 36, &[0; 4]);
        let mut at = page + 40;
        while at + 48 <= page + bytes {
            let size = 48 + u32_at(image, at + 4);
            if size > page + bytes - at {
                break;
            }
            put(image, at + 8, &SALT.to_le_bytes()[..4]);
            put(image, at + 13, &[0; 3]);
            put(image, at + 16, &(at as u64).to_le_bytes());
            let checksum = crc32c::crc32c(&image[at + 4..at + size]);
            if keep & 1 == 0 {
                put(image, at, &checksum.to_le_bytes());
            }
            keep = keep.rotate_right(1);
            at += size;
        }
        end = at as u64;
        let checksum = crc32c::crc32c(&image[page + 8..page + 40]);
        if keep & 1 == 0 {
            put(image, page + 4, &checksum.to_le_bytes());
        }
        keep = keep.rotate_right(1);
        page = (page + bytes).next_multiple_of(PAGE);
    }
}

async fn replay(env: SimEnv, image: &[u8]) {
    let dir = Path::new("/wal");
    create(&env, &dir.join("0000000000.log"), image).await;
    let options =
        WalOptions { file_bytes: FILE_BYTES as u64, record_bytes_max: 16_000, inflight_bytes_max: 16 << 20 };
    let Ok(mut replay) = Wal::open(env, dir, options, Lsn(0)).await else { return };
    let mut last = Lsn(0);
    loop {
        match replay.next().await {
            Ok(Some((lsn, record))) => {
                assert!(lsn > last && record.payload.len() < FILE_BYTES);
                last = lsn;
            }
            Ok(None) => break,
            Err(_) => return,
        }
    }
    let wal = replay.finish().await.expect("nothing fails here");
    assert_eq!(wal.tail_lsn(), last);
}

/// Any bytes as a log: nine bytes say what to put right, the rest follows the header.
pub fn wal(input: &[u8]) {
    let Some((keep, mut image)) = file_image(input, FILE_BYTES) else { return };
    put(&mut image, 40, &(FILE_BYTES as u64).to_le_bytes());
    mend_header(&mut image, b"OMENWAL\0", VERSION);
    if let Some(keep) = keep {
        mend(&mut image, keep);
    }
    let sim = Sim::new(1);
    let env = sim.core(NodeId(0), CoreId(0));
    sim.run(replay(env, &image));
}
