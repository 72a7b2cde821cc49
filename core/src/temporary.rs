//! Temporary files: what a statement puts aside on disk because its memory is bounded.
//!
//! A file loses its name as soon as it is open, so that its space is free again when the last handle goes, however the
//! statement or the process ends; a name that a crash leaves behind is removed at the next start. Nothing is made
//! durable. Bytes are written once, in pieces that only their [`Place`] finds again, and never changed.
//!
//! Invariant: a piece is given back as it was written or not at all: its place knows its checksum.

use std::cell::Cell;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;

use crate::env::{AlignedBuf, Env, File, IO_ALIGN, OpenMode};
use crate::error::{Error, Result};
use crate::sync::oneshot;

/// Most bytes of a piece.
pub const PIECE_BYTES_MAX: usize = 1 << 30;

/// What a file is about to do.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// Where a piece lies in its file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    offset: u64,
    size_bytes: u32,
    checksum: u32,
}

impl Place {
    /// A place of these bytes.
    ///
    /// # Panics
    /// If they are more than [`PIECE_BYTES_MAX`].
    pub fn new(offset: u64, bytes: &[u8]) -> Place {
        assert!(bytes.len() <= PIECE_BYTES_MAX, "a piece of {} bytes", bytes.len());
        let size_bytes = u32::try_from(bytes.len()).expect("below 1 GiB");
        Place { offset, size_bytes, checksum: crc32c::crc32c(bytes) }
    }

    /// Where it begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of the piece.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes as usize
    }

    /// Bytes that it takes in the file.
    pub fn file_bytes(&self) -> u64 {
        self.size_bytes().next_multiple_of(IO_ALIGN) as u64
    }

    /// Bytes that a piece takes in a file.
    pub fn file_bytes_of(piece: &[u8]) -> u64 {
        piece.len().next_multiple_of(IO_ALIGN) as u64
    }

    /// Whether these are the bytes that were written here.
    ///
    /// # Errors
    /// `Corrupt` if not.
    pub fn check(&self, bytes: &[u8]) -> Result<()> {
        if bytes.len() == self.size_bytes() && crc32c::crc32c(bytes) == self.checksum {
            return Ok(());
        }
        let detail = format!("{} bytes are not those that were written", self.size_bytes);
        Err(Error::Corrupt { place: format!("a temporary file at offset {}", self.offset), detail })
    }
}

/// A file without a name. Dropping it frees its space.
pub trait TemporaryFile {
    /// Writes a piece of at most [`PIECE_BYTES_MAX`] bytes, at least one.
    ///
    /// # Errors
    /// `DiskFull`, after which the file is as before; other I/O errors.
    fn append<'a>(&'a self, piece: &'a [u8]) -> Answer<'a, Place>;

    /// Reads a piece of this file.
    ///
    /// # Errors
    /// `Corrupt` if it is not what was written; I/O errors.
    fn read(&self, place: Place) -> Answer<'_, Vec<u8>>;
}

/// The folder of a core's temporary files.
pub(crate) struct TemporaryFiles<E: Env> {
    env: E,
    dir: PathBuf,
    next: Cell<u64>,
}

impl<E: Env> TemporaryFiles<E> {
    /// Makes the folder `temporary` in `dir`, or empties it.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) async fn open(env: E, dir: &Path) -> Result<TemporaryFiles<E>> {
        let dir = dir.join("temporary");
        let made = env.create_dir(&dir).await;
        made.map_err(|error| Error::io(format!("create directory {}", dir.display()), &error))?;
        let names = env.list_dir(&dir).await;
        for name in names.map_err(|error| Error::io(format!("list {}", dir.display()), &error))? {
            let path = dir.join(name);
            let removed = env.remove_file(&path).await;
            removed.map_err(|error| Error::io(format!("remove {}", path.display()), &error))?;
        }
        Ok(TemporaryFiles { env, dir, next: Cell::new(0) })
    }

    /// A new file.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) async fn create(&self) -> Result<Rc<dyn TemporaryFile>> {
        let number = self.next.get();
        self.next.set(number + 1);
        let path = self.dir.join(format!("{number:016x}"));
        let (sender, mut receiver) = oneshot();
        let env = self.env.clone();
        // A task of its own: it goes on to remove the name even if the statement is dropped meanwhile.
        self.env.spawn(async move { sender.send(create(&env, &path).await) });
        let file = match receiver.receive().await {
            Some(file) => file?,
            None => return Err(Error::ShardStopped { reason: "the core has ended".to_owned() }),
        };
        Ok(Rc::new(Unnamed::<E> { file, end: Cell::new(0) }))
    }
}

async fn create<E: Env>(env: &E, path: &Path) -> Result<E::File> {
    let file = env.open(path, OpenMode::CreateNew).await;
    let file = file.map_err(|error| Error::io("create a temporary file", &error))?;
    let removed = env.remove_file(path).await;
    removed.map_err(|error| Error::io("remove the name of a temporary file", &error))?;
    Ok(file)
}

struct Unnamed<E: Env> {
    file: E::File,
    /// Where the next piece goes.
    end: Cell<u64>,
}

impl<E: Env> TemporaryFile for Unnamed<E> {
    fn append<'a>(&'a self, piece: &'a [u8]) -> Answer<'a, Place> {
        Box::pin(async move {
            let place = Place::new(self.end.get(), piece);
            // Taken before the write, so that pieces which are written at the same time lie apart.
            self.end.set(place.offset + place.file_bytes());
            let mut buffer = AlignedBuf::zeroed(piece.len().next_multiple_of(IO_ALIGN));
            buffer[..piece.len()].copy_from_slice(piece);
            let (written, _) = self.file.write_at(place.offset, buffer).await;
            written.map_err(|error| Error::io("write a temporary file", &error))?;
            Ok(place)
        })
    }

    fn read(&self, place: Place) -> Answer<'_, Vec<u8>> {
        Box::pin(async move {
            let buffer = AlignedBuf::zeroed(place.size_bytes().next_multiple_of(IO_ALIGN));
            let buffer = self.file.read_at(place.offset, buffer).await;
            let buffer = buffer.map_err(|error| Error::io("read a temporary file", &error))?;
            let bytes = buffer.get(..place.size_bytes()).unwrap_or(&[]).to_vec();
            place.check(&bytes)?;
            Ok(bytes)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::SqlState;
    use crate::env::sim::{NodeId, Sim};
    use crate::id::CoreId;

    const NODE: NodeId = NodeId(0);

    fn dir() -> PathBuf {
        PathBuf::from("/data/shard-000")
    }

    #[test]
    fn pieces_come_back_and_space_is_bounded() {
        let sim = Sim::new(7);
        let env = sim.core(NODE, CoreId(0));
        sim.run(async {
            let files = TemporaryFiles::open(env, &dir()).await.expect("an empty disk");
            let (one, other) = (files.create().await.expect("room"), files.create().await.expect("room"));
            let mut written = Vec::new();
            for size in [1usize, 100, IO_ALIGN, IO_ALIGN + 1, 100_000] {
                let piece: Vec<u8> = (0..size).map(|byte| (byte * size) as u8).collect();
                let (place, elsewhere) =
                    futures_lite::future::zip(one.append(&piece), other.append(&[9])).await;
                elsewhere.expect("room");
                written.push((place.expect("room"), piece));
            }
            for (place, piece) in written.iter().rev() {
                assert_eq!(one.read(*place).await.expect("whole"), *piece);
            }
            let wrong = Place { checksum: written[1].0.checksum ^ 1, ..written[1].0 };
            assert_eq!(one.read(wrong).await.expect_err("another").sqlstate(), SqlState::DATA_CORRUPTED);
            let beyond = Place { offset: 1 << 30, ..written[1].0 };
            assert_eq!(one.read(beyond).await.expect_err("beyond").sqlstate(), SqlState::DATA_CORRUPTED);
            sim.set_disk_capacity(NODE, Some(sim.disk_used_bytes(NODE) + 8_192));
            let full = one.append(&[1; 100_000]).await.expect_err("no room");
            assert_eq!(full.sqlstate(), SqlState::DISK_FULL);
            assert_eq!(one.read(written[0].0).await.expect("as before"), written[0].1);
        });
    }

    #[test]
    fn no_name_outlives_a_start() {
        for seed in 0..30 {
            let sim = Sim::new(seed);
            let env = sim.core(NODE, CoreId(0));
            sim.run(async {
                let files = TemporaryFiles::open(env, &dir()).await.expect("an empty disk");
                let kept = files.create().await.expect("room");
                kept.append(&[1; 9_000]).await.expect("room");
                assert!(sim.files(NODE).is_empty());
                // Cut off on its way.
                let mut create = Box::pin(files.create());
                let cut = sim.random_below(3);
                for _ in 0..cut {
                    let polled = futures_lite::future::poll_once(&mut create).await;
                    drop(polled);
                    files.env.yield_now().await;
                }
            });
            sim.crash(NODE);
            let env = sim.core(NODE, CoreId(0));
            sim.run(async {
                TemporaryFiles::open(env, &dir()).await.expect("the disk works");
                assert!(sim.files(NODE).is_empty(), "seed {seed}");
            });
        }
    }
}
