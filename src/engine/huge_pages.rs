//! Huge pages for the weights in main memory.
//!
//! A step reads all weights, in pages of 4 KiB with a TLB miss each: with pages of 2 MiB a CPU
//! decodes a fifth faster. Many systems give these to memory only where a program asks for them
//! (`madvise` in /sys/kernel/mm/transparent_hugepage/enabled), and before it is first written.
//! llama.cpp does not ask, and offers no hook between reserving a buffer and filling it, but it
//! allocates every buffer in main memory that is not a mapped file by `posix_memalign`: the one
//! below takes the place of libc's, for all code of the process.
//!
//! The KV cache does without: llama.cpp writes all of it at the start, and where a virtual machine
//! has given free memory back to its host, huge pages for a gigabyte take seconds.

use std::cell::Cell;
use std::ffi::{c_int, c_void};

/// Bytes.
const HUGE_PAGE: usize = 2 << 20;

/// Bytes from which an allocation is taken for a buffer of llama.cpp.
const LARGE: usize = 4 * HUGE_PAGE;

thread_local! {
    /// Whether this thread runs [`ask`]: llama.cpp reserves the weights on the thread that loads.
    static ASKING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `load`, whose large blocks ask for huge pages.
pub(super) fn ask<T>(load: impl FnOnce() -> T) -> T {
    ASKING.set(true);
    let loaded = load();
    ASKING.set(false);
    loaded
}

/// POSIX's function of this name, but within [`ask`] large blocks begin at a huge page and ask for
/// huge pages.
///
/// # Safety
///
/// As in POSIX: `out` is valid for a write. The block is freed by `free`.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn posix_memalign(
    out: *mut *mut c_void,
    alignment: usize,
    size: usize,
) -> c_int {
    if !alignment.is_power_of_two() || !alignment.is_multiple_of(size_of::<*mut c_void>()) {
        return libc::EINVAL;
    }
    let large = size >= LARGE && ASKING.get();
    let alignment = if large { alignment.max(HUGE_PAGE) } else { alignment };
    // SAFETY: memalign takes any power of two; what it returns is checked.
    let block = unsafe { libc::memalign(alignment, size) };
    if block.is_null() {
        return libc::ENOMEM;
    }
    if large {
        // SAFETY: the range lies in the block that was just allocated and begins at a page; the
        // advice changes no content. Where the kernel cannot follow it, pages stay small.
        unsafe { libc::madvise(block, size, libc::MADV_HUGEPAGE) };
    }
    // SAFETY: the caller's promise.
    unsafe { *out = block };
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel knows of the mapping that an address lies in.
    fn flags(address: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let hex = |s: &str| usize::from_str_radix(s, 16).ok();
            if let Some((begin, end)) = range.and_then(|(b, e)| Some((hex(b)?, hex(e)?))) {
                inside = (begin..end).contains(&address);
            }
            if inside && line.starts_with("VmFlags:") {
                return line.to_owned();
            }
        }
        String::new()
    }

    /// By the name that llama.cpp links to.
    #[allow(unsafe_code)]
    fn allocate(alignment: usize, size: usize) -> Result<usize, c_int> {
        let mut block = std::ptr::null_mut();
        // SAFETY: `block` is valid; it is freed once, after its last use.
        unsafe {
            match libc::posix_memalign(&mut block, alignment, size) {
                0 => {
                    let address = block as usize;
                    let flags = flags(address + size / 2);
                    libc::free(block);
                    if size >= LARGE
                        && ASKING.get()
                        && std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists()
                    {
                        assert!(flags.contains(" hg"), "{flags}");
                    }
                    Ok(address)
                }
                error => Err(error),
            }
        }
    }

    #[test]
    fn large_blocks_ask_for_huge_pages_and_begin_at_one() {
        for size in [100 << 20, LARGE + 1] {
            assert_eq!(ask(|| allocate(64, size)).unwrap() % HUGE_PAGE, 0);
        }
    }

    #[test]
    fn other_blocks_are_as_posix_says() {
        assert_eq!(allocate(4096, 10).unwrap() % 4096, 0);
        assert_eq!(allocate(64, 0).unwrap() % 64, 0);
        assert_eq!(allocate(24, 10), Err(libc::EINVAL));
        assert_eq!(allocate(4, 10), Err(libc::EINVAL));
        assert_eq!(allocate(64, usize::MAX / 2), Err(libc::ENOMEM));
    }
}
