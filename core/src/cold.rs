//! The seam to the cloud tier: whole files, written once, kept in an object store.
//!
//! Implemented in the service world (`omen-cloud-tier`); shards reach it by messages, so every argument and answer is
//! owned and `Send`. Nothing here can change an object: a name is taken once, by one writer. What is decided by a race
//! (who owns an epoch, which manifest is the next) is decided by who creates the name.

use std::fmt;
use std::future::Future;
use std::ops::Range;

/// Longest object name in bytes, well below the 1,024 of S3 and the limits of file systems.
pub const OBJECT_NAME_BYTES_MAX: usize = 512;

/// The name of an object: parts of letters, digits, `-`, `_`, `.` and `=` joined by `/`, no part starting with a dot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectName(Box<str>);

impl ObjectName {
    /// A checked name; `None` if it breaks the rule.
    pub fn new(name: &str) -> Option<ObjectName> {
        let part_ok = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.=".contains(&byte))
        };
        let ok = name.len() <= OBJECT_NAME_BYTES_MAX && name.split('/').all(part_ok);
        ok.then(|| ObjectName(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An object as a listing shows it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ObjectEntry {
    /// Its name.
    pub name: ObjectName,
    /// Its bytes.
    pub size_bytes: u64,
}

/// Why an object store did not do as it was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ColdError {
    /// The name is taken: someone else was first.
    Exists(ObjectName),
    /// No such object.
    Missing(ObjectName),
    /// The range lies beyond the end of the object.
    OutOfBounds(ObjectName),
    /// The store failed; nothing is known about the request's effect.
    Failed {
        /// What was being done.
        action: String,
        /// The store's words.
        cause: String,
        /// Whether it may work later.
        retryable: bool,
    },
}

impl ColdError {
    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, ColdError::Failed { retryable: true, .. })
    }
}

impl fmt::Display for ColdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ColdError::Exists(name) => write!(f, "object {} exists already", name.as_str()),
            ColdError::Missing(name) => write!(f, "object {} does not exist", name.as_str()),
            ColdError::OutOfBounds(name) => {
                write!(f, "object {} ends before the range that was asked for", name.as_str())
            }
            ColdError::Failed { action, cause, .. } => write!(f, "could not {action}: {cause}"),
        }
    }
}

impl std::error::Error for ColdError {}

/// A store of immutable objects.
pub trait ColdStore: Send + Sync + 'static {
    /// Creates an object, all of it or nothing, durable when this answers; [`ColdError::Exists`] if the name is taken.
    /// Of several concurrent creators of a name exactly one succeeds.
    fn put(&self, name: ObjectName, bytes: Vec<u8>) -> impl Future<Output = Result<(), ColdError>> + Send;
    /// The bytes of a range of an object.
    fn get(
        &self,
        name: ObjectName,
        range: Range<u64>,
    ) -> impl Future<Output = Result<Vec<u8>, ColdError>> + Send;
    /// All objects whose name starts with `prefix`, in order of their names.
    fn list(&self, prefix: String) -> impl Future<Output = Result<Vec<ObjectEntry>, ColdError>> + Send;
    /// Removes an object; not an error if there is none, since object stores differ in that.
    fn delete(&self, name: ObjectName) -> impl Future<Output = Result<(), ColdError>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_their_folder() {
        for good in ["a", "t=16384/r=7/000001.parquet", "A-b_c.D"] {
            assert!(ObjectName::new(good).is_some(), "{good}");
        }
        let long = "x".repeat(OBJECT_NAME_BYTES_MAX + 1);
        for bad in ["", "/a", "a/", "a//b", "..", "a/../b", ".hidden", "a b", "a\0", "ü", &long] {
            assert!(ObjectName::new(bad).is_none(), "{bad}");
        }
    }
}
