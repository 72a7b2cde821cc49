//! Any bytes as a manifest: opening answers with a state or an error. Checksums, salts and offsets are put right where
//! the input asks for it, so that the fuzzer gets behind them.

use std::path::Path;

use super::{PAGE, SALT, create, file_image, mend_header, put, u32_at};
use crate::env::sim::{NodeId, Sim, SimEnv};
use crate::id::CoreId;
use crate::manifest::{Edit, Manifest, VERSION};

const FILE_BYTES: usize = 64 << 10;

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
    create(&env, &dir.join("manifest-0000000000"), image).await;
    let Ok((manifest, state)) = Manifest::open(env.clone(), dir).await else { return };
    let next = state.next_txn.max(7);
    manifest.apply(&[Edit::NextTxn(next)]).await.expect("nothing fails here");
    let (_, again) = Manifest::open(env, dir).await.expect("what was opened opens again");
    assert_eq!(again, manifest.state());
}

/// Any bytes as a manifest: nine bytes say what to put right, the rest follows the header.
pub fn manifest(input: &[u8]) {
    let Some((keep, mut image)) = file_image(input, FILE_BYTES) else { return };
    // Files of the first version are read, too.
    let version = if input[8] & 2 == 0 { VERSION } else { 1 };
    mend_header(&mut image, b"OMENMAN\0", version);
    if let Some(keep) = keep {
        mend(&mut image, keep);
    }
    let sim = Sim::new(1);
    let env = sim.core(NodeId(0), CoreId(0));
    sim.run(open(env, &image));
}
