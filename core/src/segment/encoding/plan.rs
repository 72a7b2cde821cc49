//! Columns that follow from others.

/// Most values of a key in a list.
pub(super) const LIST_MAX: usize = 16;
