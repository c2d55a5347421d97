//! A file that is in memory alone: llama.cpp only opens paths.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, memfd_create};

/// A file in memory, gone when dropped.
#[derive(Debug)]
pub struct MemoryFile {
    path: PathBuf,
    _file: File,
}

impl MemoryFile {
    /// A file with these contents. The name is for people who look at the process.
    ///
    /// # Errors
    /// The system has no such file, or no memory for it.
    pub fn new(name: &str, contents: &[u8]) -> io::Result<Self> {
        let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
        file.write_all(contents)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Ok(Self { path, _file: file })
    }

    /// Where this process finds it.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
