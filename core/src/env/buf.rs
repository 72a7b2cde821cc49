//! Buffers that direct I/O accepts.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;

use super::IO_ALIGN;

/// Bytes whose address is a multiple of [`IO_ALIGN`]. Its capacity is such a multiple too and never changes.
pub struct AlignedBuf {
    start: NonNull<u8>,
    capacity: usize,
    len: usize,
}

impl AlignedBuf {
    /// A zeroed buffer of `len` bytes; its capacity is `len` rounded up.
    ///
    /// # Panics
    /// If `len` is 0.
    pub fn zeroed(len: usize) -> AlignedBuf {
        assert!(len > 0, "an I/O buffer holds something");
        let layout = Self::layout(len.next_multiple_of(IO_ALIGN));
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        let start = NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout));
        AlignedBuf { start, capacity: layout.size(), len }
    }

    /// Bytes it can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Uses the first `len` bytes; those beyond the former length are as they were last left.
    ///
    /// # Panics
    /// If `len` exceeds the capacity.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity, "{len} bytes in a buffer of {}", self.capacity);
        self.len = len;
    }

    fn layout(capacity: usize) -> Layout {
        Layout::from_size_align(capacity, IO_ALIGN).expect("far below isize::MAX")
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `capacity >= len` bytes were allocated and zeroed in `zeroed`; nobody else has the pointer.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes the access unique.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this very layout.
        unsafe { dealloc(self.start.as_ptr(), Self::layout(self.capacity)) }
    }
}

// SAFETY: it owns its bytes alone, like a `Vec<u8>`.
unsafe impl Send for AlignedBuf {}
