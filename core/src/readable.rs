//! Files of the machine that statements may read in place, all below one folder that the configuration names.
//!
//! Invariant: nothing outside of that folder is opened, whatever a path or its symbolic links say; `Env::open_below`
//! holds that, and holds it against links that change meanwhile.

use std::io::ErrorKind;
use std::path::Path;
use std::rc::Rc;

use crate::SqlState;
use crate::env::{AlignedBuf, Env, File, IO_ALIGN};
use crate::error::{Error, Result, ValueError};
use crate::temporary::Answer;

/// Most bytes of one read.
pub const READ_BYTES_MAX: usize = 1 << 30;

/// An open file.
pub trait ReadableFile {
    /// Bytes in it when it was opened.
    fn size_bytes(&self) -> u64;

    /// The bytes from `offset` on, at most [`READ_BYTES_MAX`].
    ///
    /// # Errors
    /// `Corrupt` if the file has become too short for them; I/O errors.
    fn read(&self, offset: u64, size_bytes: usize) -> Answer<'_, Vec<u8>>;
}

/// 42501: the file may not be read.
pub fn denied(path: &str) -> Error {
    let message = format!("permission denied to read file \"{path}\"");
    ValueError::new(SqlState::INSUFFICIENT_PRIVILEGE, message).into()
}

/// Opens a file; a path that is not absolute is taken from the folder.
///
/// # Errors
/// 42501 if it does not lie below the folder, 58P01 if it does not exist, 42809 if it is no regular file; I/O errors.
pub(crate) async fn open<E: Env>(env: &E, below: Option<&Path>, path: &str) -> Result<Rc<dyn ReadableFile>> {
    let Some(below) = below else { return Err(denied(path)) };
    let given = Path::new(path);
    let relative = if given.is_absolute() { given.strip_prefix(below).ok() } else { Some(given) };
    let Some(relative) = relative.filter(|relative| !relative.as_os_str().is_empty()) else {
        return Err(denied(path));
    };
    let file = env.open_below(below, relative).await.map_err(|error| match error.kind() {
        ErrorKind::CrossesDevices | ErrorKind::PermissionDenied => denied(path),
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            let message = format!("could not open file \"{path}\": No such file or directory");
            ValueError::new(SqlState::UNDEFINED_FILE, message).into()
        }
        ErrorKind::InvalidInput | ErrorKind::IsADirectory => {
            let message = format!("\"{path}\" is not a regular file");
            ValueError::new(SqlState::WRONG_OBJECT_TYPE, message).into()
        }
        _ => Error::io(format!("open file \"{path}\""), &error),
    })?;
    let size_bytes = file.size().await.map_err(|error| Error::io(format!("read file \"{path}\""), &error))?;
    Ok(Rc::new(Opened::<E> { file, size_bytes, path: path.to_owned() }))
}

struct Opened<E: Env> {
    file: E::File,
    size_bytes: u64,
    path: String,
}

impl<E: Env> ReadableFile for Opened<E> {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read(&self, offset: u64, size_bytes: usize) -> Answer<'_, Vec<u8>> {
        Box::pin(async move {
            let too_short = || Error::Corrupt {
                place: format!("file \"{}\"", self.path),
                detail: format!("there are no {size_bytes} bytes at {offset}"),
            };
            let end = offset.checked_add(size_bytes as u64).filter(|end| *end <= self.size_bytes);
            if end.is_none() || size_bytes > READ_BYTES_MAX {
                return Err(too_short());
            }
            if size_bytes == 0 {
                return Ok(Vec::new());
            }
            let skipped = usize::try_from(offset % IO_ALIGN as u64).expect("below a page");
            let buffer = AlignedBuf::zeroed((skipped + size_bytes).next_multiple_of(IO_ALIGN));
            let buffer = self.file.read_at(offset - skipped as u64, buffer).await;
            let buffer = buffer.map_err(|error| Error::io(format!("read file \"{}\"", self.path), &error))?;
            buffer.get(skipped..skipped + size_bytes).map(<[u8]>::to_vec).ok_or_else(too_short)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::env::OpenMode;
    use crate::env::sim::{NodeId, Sim};
    use crate::id::CoreId;

    #[test]
    fn only_files_below_the_folder_are_read() {
        let sim = Sim::new(3);
        let env = sim.core(NodeId(0), CoreId(0));
        sim.run(async {
            let below = PathBuf::from("/files");
            for path in ["/files/in/one", "/secret"] {
                let path = Path::new(path);
                env.create_dir(path.parent().expect("a folder")).await.expect("an empty disk");
                let file = env.open(path, OpenMode::CreateNew).await.expect("an empty disk");
                let bytes = AlignedBuf::zeroed(2 * IO_ALIGN);
                file.write_at(0, bytes).await.0.expect("room");
            }
            for path in ["in/one", "/files/in/one"] {
                let file = open(&env, Some(&below), path).await.expect("it may be read");
                assert_eq!(file.size_bytes(), 2 * IO_ALIGN as u64);
                assert_eq!(file.read(4_000, 200).await.expect("bytes").len(), 200);
                let beyond = file.read(8_000, 200).await.expect_err("beyond the end");
                assert_eq!(beyond.sqlstate(), SqlState::DATA_CORRUPTED);
            }
            for (path, state) in [
                ("../secret", SqlState::INSUFFICIENT_PRIVILEGE),
                ("/secret", SqlState::INSUFFICIENT_PRIVILEGE),
                ("/files/../secret", SqlState::INSUFFICIENT_PRIVILEGE),
                ("in/../../secret", SqlState::INSUFFICIENT_PRIVILEGE),
                ("", SqlState::INSUFFICIENT_PRIVILEGE),
                ("/files", SqlState::INSUFFICIENT_PRIVILEGE),
                ("in/two", SqlState::UNDEFINED_FILE),
            ] {
                let refused = open(&env, Some(&below), path).await.err().expect("refused");
                assert_eq!(refused.sqlstate(), state, "{path}");
            }
            let refused = open(&env, None, "in/one").await.err().expect("no folder is named");
            assert_eq!(refused.sqlstate(), SqlState::INSUFFICIENT_PRIVILEGE);
        });
    }
}
