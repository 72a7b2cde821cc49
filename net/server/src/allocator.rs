//! The allocator, and what is asked of it where memory is short.

use std::ffi::{c_int, c_long};

use mimalloc::MiMalloc;

/// Gives memory back to the system where the C library's allocator keeps it, and its second version sooner than the third.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// After how many milliseconds free pages go back to the system: `mi_option_purge_delay` of `mimalloc.h`.
const PURGE_DELAY: c_int = 15;

unsafe extern "C" {
    /// Of mimalloc, which is linked with `ALLOCATOR`.
    fn mi_option_set(option: c_int, value: c_long);
}

/// From now on free pages go back to the system at once, not after 10 ms. A node of little memory held 10 MiB less of what
/// flushes, merges and scans had used; more page faults are the price.
pub fn keep_no_free_pages() {
    // SAFETY: an option that the linked version has; it is read whenever pages become free, on any thread.
    unsafe { mi_option_set(PURGE_DELAY, 0) };
}
