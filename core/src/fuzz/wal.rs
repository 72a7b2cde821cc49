//! Any bytes as a log file: replay answers with records or an error. Checksums, salts and LSNs are put right where the
//! input asks for it, so that the fuzzer gets behind them.

use std::path::Path;

use crate::env::sim::{NodeId, Sim, SimEnv};
use crate::env::{AlignedBuf, Env, File, OpenMode};
use crate::id::{CoreId, Lsn};
use crate::wal::{Wal, WalOptions};

const FILE_BYTES: usize = 32 << 10;
const PAGE: usize = 4_096;
const SALT: u64 = 0x0102_0304_0506_0708;

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

fn u32_at(image: &[u8], at: usize) -> usize {
    u32::from_le_bytes(image[at..at + 4].try_into().expect("four bytes")) as usize
}

fn header(image: &mut [u8]) {
    put(image, 0, b"OMENWAL\0");
    put(image, 8, &1u32.to_le_bytes());
    put(image, 24, &SALT.to_le_bytes());
    put(image, 40, &(FILE_BYTES as u64).to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&image[..12]), &image[16..PAGE]);
    put(image, 12, &checksum.to_le_bytes());
}

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
    env.create_dir(dir).await.expect("an empty disk");
    let file = env.open(&dir.join("0000000000.log"), OpenMode::CreateNew).await.expect("a new name");
    let mut buffer = AlignedBuf::zeroed(image.len());
    buffer.copy_from_slice(image);
    file.write_durable(0, buffer).await.0.expect("space");
    let options = WalOptions { file_bytes: FILE_BYTES as u64, record_bytes_max: 16_000 };
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
    let Some((flags, bytes)) = input.split_first_chunk::<9>() else { return };
    let mut image = vec![0; FILE_BYTES];
    let len = bytes.len().min(FILE_BYTES - PAGE);
    image[PAGE..PAGE + len].copy_from_slice(&bytes[..len]);
    header(&mut image);
    if flags[8] & 1 == 0 {
        mend(&mut image, u64::from_le_bytes(flags[..8].try_into().expect("eight bytes")));
    }
    let sim = Sim::new(1);
    let env = sim.core(NodeId(0), CoreId(0));
    sim.run(replay(env, &image));
}
