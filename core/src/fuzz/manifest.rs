//! Any bytes as a manifest: opening answers with a state or an error. Checksums, salts and offsets are put right where
//! the input asks for it, so that the fuzzer gets behind them.

use std::path::Path;

use crate::env::sim::{NodeId, Sim, SimEnv};
use crate::env::{AlignedBuf, Env, File, OpenMode};
use crate::id::CoreId;
use crate::manifest::{Edit, Manifest};

const FILE_BYTES: usize = 64 << 10;
const PAGE: usize = 4_096;
const SALT: u64 = 0x0102_0304_0506_0708;

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

fn u32_at(image: &[u8], at: usize) -> usize {
    u32::from_le_bytes(image[at..at + 4].try_into().expect("four bytes")) as usize
}

fn header(image: &mut [u8]) {
    put(image, 0, b"OMENMAN\0");
    put(image, 8, &1u32.to_le_bytes());
    put(image, 24, &SALT.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&image[..12]), &image[16..PAGE]);
    put(image, 12, &checksum.to_le_bytes());
}

/// Puts the frames right that look like some; the first becomes the snapshot. `keep` has a bit for each frame to leave.
fn mend(image: &mut [u8], mut keep: u64) {
    let mut page = PAGE;
    while page < FILE_BYTES {
        let bytes = 40 + u32_at(image, page + 24);
        if bytes > FILE_BYTES - page {
            return;
        }
        put(image, page, b"OMF1");
        put(image, page + 8, &SALT.to_le_bytes());
        put(image, page + 16, &(page as u64).to_le_bytes());
        put(image, page + 32, &[if page == PAGE { 1 } else { 2 }, 0, 0, 0, 0, 0, 0, 0]);
        let checksum = crc32c::crc32c(&image[page + 8..page + bytes]);
        if keep & 1 == 0 {
            put(image, page + 4, &checksum.to_le_bytes());
        }
        keep = keep.rotate_right(1);
        page = (page + bytes).next_multiple_of(PAGE);
    }
}

async fn open(env: SimEnv, image: &[u8]) {
    let dir = Path::new("/manifest");
    env.create_dir(dir).await.expect("an empty disk");
    let file = env.open(&dir.join("manifest-0000000000"), OpenMode::CreateNew).await.expect("a new name");
    let mut buffer = AlignedBuf::zeroed(image.len());
    buffer.copy_from_slice(image);
    file.write_durable(0, buffer).await.0.expect("space");
    let Ok((manifest, state)) = Manifest::open(env.clone(), dir).await else { return };
    let next = state.next_txn.max(7);
    manifest.apply(&[Edit::NextTxn(next)]).await.expect("nothing fails here");
    let (_, again) = Manifest::open(env, dir).await.expect("what was opened opens again");
    assert_eq!(again, manifest.state());
}

/// Any bytes as a manifest: nine bytes say what to put right, the rest follows the header.
pub fn manifest(input: &[u8]) {
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
    sim.run(open(env, &image));
}
