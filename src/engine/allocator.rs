//! The allocator's memory.

/// Gives back to the system what the allocator keeps of freed memory; tens of milliseconds.
#[allow(unsafe_code)]
pub fn give_memory_back() {
    // SAFETY: it takes no pointers, and the allocator guards itself.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
