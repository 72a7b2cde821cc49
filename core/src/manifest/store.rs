//! The file of a manifest.
//!
//! | name | what |
//! |---|---|
//! | `manifest-NNNNNNNNNN` | a manifest; the one with the largest number counts |
//! | `manifest-NNNNNNNNNN.tmp` | one that is being written |
//!
//! Invariant: a file gets its final name only after its snapshot is durable, and the one before is removed only after
//! the new name is. So the newest file is whole, but for a torn last frame that nobody was told of.

use std::path::{Path, PathBuf};

use crate::env::{AlignedBuf, Env, File, OpenMode};
use crate::error::{Error, Result};
use crate::wal::window::Window;

use super::ManifestState;
use super::format::{
    self, FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FRAME_PAYLOAD_BYTES_MAX, FileHeader, FrameHeader, FrameKind,
    PAGE_BYTES,
};
use super::state::SnapshotFrame;

/// 256 KiB: a file grows by this, filled with zeros, so that a change needs no new space when it is written.
const GROW_BYTES: u64 = 256 << 10;
/// A file shorter than this is not rewritten.
const REWRITE_BYTES_MIN: u64 = 1 << 20;
/// A file is rewritten when it is this many times as long as its snapshot.
const REWRITE_FACTOR: u64 = 4;

/// An open manifest file.
pub(super) struct Store<E: Env> {
    env: E,
    dir: PathBuf,
    file: E::File,
    header: FileHeader,
    /// Where the next frame goes.
    offset: u64,
    /// The file has space, zeroed and durable, up to here. After opening, that is not relied upon.
    allocated: u64,
    /// The file is rewritten when it reaches this.
    rewrite_at: u64,
}

/// How a change failed.
pub(super) enum Failure {
    /// Nothing has happened; the next change may succeed.
    Clean(Error),
    /// What the disk holds is not known.
    Final(Error),
}

type Changed<T> = std::result::Result<T, Failure>;

fn name(number: u64) -> String {
    format!("manifest-{number:010}")
}

fn temporary(number: u64) -> String {
    format!("{}.tmp", name(number))
}

fn parse(file: &str) -> Option<u64> {
    let number = file.strip_prefix("manifest-")?.parse().ok()?;
    (name(number) == file).then_some(number)
}

impl<E: Env> Store<E> {
    /// Opens the newest file and reads it, or creates the first one.
    pub(super) async fn open(env: E, dir: &Path) -> Result<(Store<E>, ManifestState)> {
        let failed = |action: &str, e| Error::io(format!("{action} {}", dir.display()), &e);
        env.create_dir(dir).await.map_err(|e| failed("create", e))?;
        env.sync_dir(dir).await.map_err(|e| failed("sync", e))?;
        let names = env.list_dir(dir).await.map_err(|e| failed("list", e))?;
        for name in names.iter().filter(|name| name.starts_with("manifest-") && name.ends_with(".tmp")) {
            env.remove_file(&dir.join(name)).await.map_err(|e| failed("clean", e))?;
        }
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| parse(name)).collect();
        numbers.sort_unstable();
        let Some(newest) = numbers.pop() else {
            let state = ManifestState::default();
            return match Self::create(env, dir.to_path_buf(), 0, &state).await {
                Ok(store) => Ok((store, state)),
                Err(Failure::Clean(error) | Failure::Final(error)) => Err(error),
            };
        };
        let (mut store, state) = Self::read(env.clone(), dir, newest).await?;
        if !store.header.is_current() {
            // An older build would take changes of this version for damage.
            numbers.push(newest);
            store = match Self::create(env.clone(), dir.to_path_buf(), newest + 1, &state).await {
                Ok(store) => store,
                Err(Failure::Clean(error) | Failure::Final(error)) => return Err(error),
            };
        }
        for older in numbers {
            env.remove_file(&dir.join(name(older))).await.map_err(|e| failed("clean", e))?;
        }
        Ok((store, state))
    }

    async fn read(env: E, dir: &Path, number: u64) -> Result<(Store<E>, ManifestState)> {
        let mut window = Window::open(&env, &dir.join(name(number))).await?;
        let page = window.fetch(0, FILE_HEADER_BYTES as usize).await?;
        let header = FileHeader::decode(page).map_err(|detail| window.corrupt(0, detail))?;
        if header.number != number {
            return Err(window.corrupt(0, "the number in the file is not that of its name"));
        }
        let mut state = ManifestState::default();
        let (mut offset, mut snapshot_end, mut last) = (FILE_HEADER_BYTES, None, 0);
        while let Some(frame) = read_frame(&mut window, &header, offset).await? {
            let is_change = frame.header.kind == FrameKind::Change;
            if is_change != snapshot_end.is_some() {
                return Err(window.corrupt(offset, "snapshot and changes are mixed"));
            }
            if is_change {
                state.closed = None;
            }
            for edit in &frame.edits {
                state.apply(edit).map_err(|detail| window.corrupt(offset, detail))?;
            }
            last = offset;
            offset += frame.header.padded_bytes();
            let payload_end = last + FRAME_HEADER_BYTES as u64 + u64::from(frame.header.bytes);
            if !window.is_zero(payload_end..offset).await? {
                return Err(window.corrupt(last, "bytes behind a frame that are not zero"));
            }
            if frame.header.kind == FrameKind::SnapshotEnd {
                snapshot_end = Some(offset);
            }
        }
        let Some(snapshot_end) = snapshot_end else {
            return Err(window.corrupt(offset, "the snapshot is not complete"));
        };
        let size = window.size();
        if state.closed.is_some() && !window.is_zero(offset..size).await? {
            return Err(window.corrupt(offset, "damaged behind the end of a manifest that was closed"));
        }
        expect_nothing(&mut window, &header, offset).await?;
        // All else was durable before this frame was written. Its own sync may not have run, or may have failed in an
        // earlier life, after which the kernel can hold bytes that it will never write.
        window.write_again(last..offset).await?;
        let (dir, file) = (dir.to_path_buf(), window.into_file());
        let rewrite_at = rewrite_at(snapshot_end);
        Ok((Store { env, dir, file, header, offset, allocated: offset, rewrite_at }, state))
    }

    fn path(&self) -> PathBuf {
        self.dir.join(name(self.header.number))
    }

    fn error(&self, action: &str, cause: &std::io::Error) -> Error {
        Error::io(format!("{action} {}", self.path().display()), cause)
    }

    /// Bytes of the file.
    pub(super) fn size_bytes(&self) -> u64 {
        self.allocated
    }

    /// Fills a part of the file with zeros, durably.
    async fn zero(&self, from: u64, to: u64) -> std::io::Result<()> {
        let mut offset = from;
        while offset < to {
            let zeros = AlignedBuf::zeroed((to - offset).min(GROW_BYTES) as usize);
            let len = zeros.len() as u64;
            self.file.write_at(offset, zeros).await.0?;
            offset += len;
        }
        self.file.sync().await
    }

    /// Adds a frame, durably.
    pub(super) async fn append(&mut self, frame: SnapshotFrame) -> Changed<()> {
        let payload = frame.bytes.len() - FRAME_HEADER_BYTES;
        if payload > FRAME_PAYLOAD_BYTES_MAX {
            let what =
                format!("a change of the manifest of {payload} bytes exceeds {FRAME_PAYLOAD_BYTES_MAX}");
            return Err(Failure::Clean(Error::TooLarge { what }));
        }
        let (header, buffer) = seal(&self.header, self.offset, &frame);
        let end = self.offset + header.padded_bytes();
        if end > self.allocated {
            let allocated = end.next_multiple_of(GROW_BYTES);
            match self.zero(self.allocated, allocated).await.map_err(|e| self.error("extend", &e)) {
                Ok(()) => self.allocated = allocated,
                Err(error @ Error::DiskFull { .. }) => return Err(Failure::Clean(error)),
                Err(error) => return Err(Failure::Final(error)),
            }
        }
        let (written, _) = self.file.write_durable(self.offset, buffer).await;
        written.map_err(|e| Failure::Final(self.error("write", &e)))?;
        self.offset = end;
        Ok(())
    }

    /// Whether the file has grown so long that its snapshot should be renewed.
    pub(super) fn is_long(&self) -> bool {
        self.offset >= self.rewrite_at
    }

    /// Goes over to a new file that begins with this state. If there is no space for it, the old one serves on.
    pub(super) async fn rewrite(self, state: &ManifestState) -> Result<Store<E>> {
        let (env, dir) = (self.env.clone(), self.dir.clone());
        match Self::create(env, dir, self.header.number + 1, state).await {
            Ok(store) => {
                let old = self.path();
                let failed = self.env.remove_file(&old).await;
                failed.map_err(|e| Error::io(format!("remove {}", old.display()), &e))?;
                Ok(store)
            }
            Err(Failure::Clean(_)) => Ok(Store { rewrite_at: self.offset + REWRITE_BYTES_MIN, ..self }),
            Err(Failure::Final(error)) => Err(error),
        }
    }

    /// Ends with a new file that holds this state, and zeros for the first change of the next life.
    pub(super) async fn close(self, state: &ManifestState) -> Result<()> {
        let (env, dir) = (self.env.clone(), self.dir.clone());
        match Self::create(env, dir, self.header.number + 1, state).await {
            Ok(_) => {}
            Err(Failure::Clean(error) | Failure::Final(error)) => return Err(error),
        }
        let old = self.path();
        let failed = |action: &str, path: &Path, e| Error::io(format!("{action} {}", path.display()), &e);
        self.env.remove_file(&old).await.map_err(|e| failed("remove", &old, e))?;
        self.env.sync_dir(&self.dir).await.map_err(|e| failed("sync", &self.dir, e))
    }

    async fn create(env: E, dir: PathBuf, number: u64, state: &ManifestState) -> Changed<Store<E>> {
        let temporary = dir.join(temporary(number));
        let failed = |action: &str, e| Error::io(format!("{action} {}", temporary.display()), &e);
        let header = FileHeader::new(number, env.random_u64());
        let (file, offset) = match write_snapshot(&env, &temporary, header, state).await {
            Ok(written) => written,
            Err(e) => {
                let error = failed("write", e);
                return Err(match (&error, env.remove_file(&temporary).await) {
                    (Error::DiskFull { .. }, Err(e)) if e.kind() != std::io::ErrorKind::NotFound => {
                        Failure::Final(failed("remove", e))
                    }
                    (Error::DiskFull { .. }, _) => Failure::Clean(error),
                    _ => Failure::Final(error),
                });
            }
        };
        let renamed = env.rename(&temporary, &dir.join(name(number))).await;
        renamed.map_err(|e| Failure::Final(failed("rename", e)))?;
        let synced = env.sync_dir(&dir).await;
        synced.map_err(|e| Failure::Final(Error::io(format!("sync {}", dir.display()), &e)))?;
        let rewrite_at = rewrite_at(offset);
        Ok(Store { env, dir, file, header, offset, allocated: offset, rewrite_at })
    }
}

fn rewrite_at(snapshot_end: u64) -> u64 {
    (snapshot_end * REWRITE_FACTOR).max(REWRITE_BYTES_MIN)
}

/// The bytes of a frame, whole pages.
fn seal(file: &FileHeader, offset: u64, frame: &SnapshotFrame) -> (FrameHeader, AlignedBuf) {
    let bytes =
        u32::try_from(frame.bytes.len() - FRAME_HEADER_BYTES).expect("bounded by FRAME_PAYLOAD_BYTES_MAX");
    let header = FrameHeader { salt: file.salt, offset, bytes, edits: frame.edits, kind: frame.kind };
    let mut buffer = AlignedBuf::zeroed(header.padded_bytes() as usize);
    buffer[..frame.bytes.len()].copy_from_slice(&frame.bytes);
    header.encode(&mut buffer);
    (header, buffer)
}

/// Writes a new file with header and snapshot, durable but for its name. Gives its length.
async fn write_snapshot<E: Env>(
    env: &E,
    path: &Path,
    header: FileHeader,
    state: &ManifestState,
) -> std::io::Result<(E::File, u64)> {
    let file = env.open(path, OpenMode::CreateNew).await?;
    let mut page = AlignedBuf::zeroed(FILE_HEADER_BYTES as usize);
    header.encode(&mut page);
    file.write_at(0, page).await.0?;
    let mut offset = FILE_HEADER_BYTES;
    for frame in state.snapshot() {
        let (frame, buffer) = seal(&header, offset, &frame);
        file.write_at(offset, buffer).await.0?;
        offset += frame.padded_bytes();
    }
    if state.closed.is_some() {
        let zeros = AlignedBuf::zeroed(((offset + 1).next_multiple_of(GROW_BYTES) - offset) as usize);
        file.write_at(offset, zeros).await.0?;
    }
    file.sync().await?;
    Ok((file, offset))
}

struct Frame {
    header: FrameHeader,
    edits: Vec<super::Edit>,
}

/// The frame that must begin at `offset`; `None` if it is not there or not whole.
async fn read_frame<F: File>(
    window: &mut Window<F>,
    file: &FileHeader,
    offset: u64,
) -> Result<Option<Frame>> {
    let room = window.size().saturating_sub(offset);
    if room < PAGE_BYTES {
        return Ok(None);
    }
    let Some(header) = FrameHeader::decode(window.fetch(offset, FRAME_HEADER_BYTES).await?, file, offset)
    else {
        return Ok(None);
    };
    if header.padded_bytes() > room {
        return Ok(None);
    }
    let bytes = window.fetch(offset, FRAME_HEADER_BYTES + header.bytes as usize).await?;
    if !FrameHeader::is_whole(bytes) {
        return Ok(None);
    }
    match format::decode_edits(&bytes[FRAME_HEADER_BYTES..], header.edits) {
        Ok(edits) => Ok(Some(Frame { header, edits })),
        Err(detail) => Err(window.corrupt(offset, detail)),
    }
}

/// Makes sure that no frame of this file begins after `offset`: it would have been written after the one that is not
/// whole there had been acknowledged.
async fn expect_nothing<F: File>(window: &mut Window<F>, file: &FileHeader, offset: u64) -> Result<()> {
    let mut page = offset + PAGE_BYTES;
    while page + PAGE_BYTES <= window.size() {
        let bytes = window.fetch(page, FRAME_HEADER_BYTES).await?;
        if FrameHeader::decode(bytes, file, page).is_some() {
            return Err(window.corrupt(offset, format!("damaged here, but whole again at offset {page}")));
        }
        page += PAGE_BYTES;
    }
    Ok(())
}
