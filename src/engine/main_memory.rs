//! Pages for the buffers that llama.cpp fills in main memory.
//!
//! **Huge pages for the weights.** A step reads all weights, in pages of 4 KiB with a TLB miss each:
//! with pages of 2 MiB a CPU decodes a fifth faster. Many systems give these to memory only where a
//! program asks for them (`madvise` in /sys/kernel/mm/transparent_hugepage/enabled), and before it
//! is first written.
//!
//! **Two threads for page faults.** llama.cpp writes weights and KV cache at the start, on one
//! thread, front to back, and most of that is waiting for pages: seconds for a gigabyte where a
//! virtual machine has given free memory back to its host. A second thread asks for them from the
//! back. Compute buffers are left alone: much of them may never be written.
//!
//! llama.cpp offers no hook between reserving a buffer and filling it, but it allocates every buffer
//! in main memory that is not a mapped file by `posix_memalign`: the one below takes the place of
//! libc's, for all code of the process.

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

/// Bytes.
const HUGE_PAGE: usize = 2 << 20;

/// Bytes from which an allocation is taken for a buffer of llama.cpp.
const LARGE: usize = 4 * HUGE_PAGE;

/// Bytes by which llama.cpp's buffer for the KV cache may exceed what was planned.
const PADDING: usize = 1 << 20;

/// Gives back to the system what the allocator keeps of freed memory; tens of milliseconds.
#[allow(unsafe_code)]
pub fn give_memory_back() {
    // SAFETY: it takes no pointers, and the allocator guards itself.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// What llama.cpp is about to reserve and fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    /// Every large block.
    Weights,
    /// The large block of this size, in bytes.
    KvCache(u64),
}

impl Filled {
    fn includes(self, size: usize) -> bool {
        let expected = |bytes| size >= bytes && size - bytes <= PADDING;
        match self {
            _ if size < LARGE => false,
            Self::Weights => true,
            Self::KvCache(bytes) => usize::try_from(bytes).is_ok_and(expected),
        }
    }
}

/// Where the blocks of the thread that loads go.
struct Filling {
    filled: Filled,
    blocks: mpsc::Sender<Range<usize>>,
}

thread_local! {
    /// Set while this thread runs [`fill`]'s `load`: llama.cpp reserves on the thread that loads.
    static FILLING: RefCell<Option<Filling>> = const { RefCell::new(None) };
}

/// Runs `load`, with pages as the module says for what it reserves and fills.
pub(super) fn fill<T>(filled: Filled, load: impl FnOnce() -> T) -> T {
    /// Lets the second thread end, also when `load` panics.
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            FILLING.set(None);
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let ended = AtomicBool::new(false);
    let (blocks, reserved) = mpsc::channel();
    thread::scope(|scope| {
        let body = || populate(reserved, &ended);
        if let Err(error) =
            thread::Builder::new().name("pages".to_owned()).spawn_scoped(scope, body)
        {
            tracing::debug!("no second thread asks for pages: {error}");
        }
        let _end = End(&ended);
        FILLING.set(Some(Filling { filled, blocks }));
        load()
    })
}

/// Asks for the pages of every block, from its end, until `ended`.
fn populate(reserved: mpsc::Receiver<Range<usize>>, ended: &AtomicBool) {
    for block in reserved {
        let mut end = block.end / HUGE_PAGE * HUGE_PAGE;
        while end >= block.start + HUGE_PAGE && !ended.load(Ordering::Relaxed) {
            end -= HUGE_PAGE;
            // SAFETY: this changes no content and touches no memory of this program: where the
            // block was freed meanwhile, because the load failed, the kernel refuses, or gives
            // what took its place its pages early.
            #[allow(unsafe_code)]
            let refused = unsafe {
                libc::madvise(end as *mut c_void, HUGE_PAGE, libc::MADV_POPULATE_WRITE) != 0
            };
            if refused {
                break;
            }
        }
    }
}

/// POSIX's function of this name, but within [`fill`] blocks to be filled begin at a huge page, ask
/// for huge pages if they are weights, and are made known to the second thread.
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
    let filled = if size < LARGE { None } else { filled(size) };
    let alignment = if filled.is_some() { alignment.max(HUGE_PAGE) } else { alignment };
    // SAFETY: memalign takes any power of two; what it returns is checked.
    let block = unsafe { libc::memalign(alignment, size) };
    if block.is_null() {
        return libc::ENOMEM;
    }
    if filled == Some(Filled::Weights) {
        // SAFETY: the range lies in the block that was just allocated and begins at a page; the
        // advice changes no content. Where the kernel cannot follow it, pages stay small.
        unsafe { libc::madvise(block, size, libc::MADV_HUGEPAGE) };
    }
    if filled.is_some() {
        announce(block as usize..block as usize + size);
    }
    // SAFETY: the caller's promise.
    unsafe { *out = block };
    0
}

/// What this thread fills, if a block of `size` bytes is part of it.
fn filled(size: usize) -> Option<Filled> {
    let current = |filling: &RefCell<Option<Filling>>| {
        filling.try_borrow().ok()?.as_ref().map(|filling| filling.filled)
    };
    // Allocations also happen while a thread ends.
    FILLING.try_with(current).ok().flatten().filter(|filled| filled.includes(size))
}

fn announce(block: Range<usize>) {
    let _ = FILLING.try_with(|filling| {
        if let Ok(Some(filling)) = filling.try_borrow().as_deref() {
            // Where no second thread could start, nobody listens.
            let _ = filling.blocks.send(block);
        }
    });
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
                        && filled(size).is_some()
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
            assert_eq!(fill(Filled::Weights, || allocate(64, size)).unwrap() % HUGE_PAGE, 0);
        }
    }

    /// Whether the kernel has given the page at this address.
    #[allow(unsafe_code)]
    fn is_resident(address: usize) -> bool {
        let mut residency = 0_u8;
        let page = address / 4096 * 4096;
        // SAFETY: one byte for one page.
        let known = unsafe { libc::mincore(page as *mut c_void, 1, &mut residency) == 0 };
        known && residency & 1 == 1
    }

    /// Whether the kernel gives pages on request: Linux 5.14 or later.
    #[allow(unsafe_code)]
    fn kernel_populates() -> bool {
        let page = Box::new([0_u8; 2 * 4096]);
        let begin = (page.as_ptr() as usize).next_multiple_of(4096);
        // SAFETY: a page of this block; no content changes.
        unsafe { libc::madvise(begin as *mut c_void, 4096, libc::MADV_POPULATE_WRITE) == 0 }
    }

    #[test]
    #[allow(unsafe_code)]
    fn pages_of_blocks_to_be_filled_come_without_a_write() {
        const SIZE: usize = 5 * HUGE_PAGE + 100;
        if !kernel_populates() {
            return;
        }
        let start = std::time::Instant::now();
        for filled in [Filled::Weights, Filled::KvCache(SIZE as u64 - 100)] {
            fill(filled, || {
                let mut block = std::ptr::null_mut();
                // SAFETY: `block` is valid; it is freed once, after its last use.
                unsafe {
                    assert_eq!(libc::posix_memalign(&mut block, 64, SIZE), 0);
                    // Some may have been there: malloc reuses what was freed.
                    let pages = (0..5).map(|page| block as usize + page * HUGE_PAGE);
                    while !pages.clone().all(is_resident) {
                        assert!(start.elapsed().as_secs() < 60, "no page comes");
                        thread::yield_now();
                    }
                    libc::free(block);
                }
            });
        }
    }

    #[test]
    fn a_kv_cache_is_known_by_its_size() {
        let cache = Filled::KvCache(100 << 20);
        assert!(cache.includes(100 << 20) && cache.includes((100 << 20) + 4096));
        assert!(!cache.includes(99 << 20) && !cache.includes(102 << 20));
        assert!(!Filled::KvCache(4096).includes(4096) && !Filled::Weights.includes(4096));
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
