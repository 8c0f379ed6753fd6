//! Standard input, pipes and devices: what cannot be read twice. A wait for more ends when the program is to stop.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use crate::signals::Stop;

/// How often a wait looks whether it should end.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A stream that is read as it comes.
pub struct Stream {
    file: File,
    stop: Arc<Stop>,
}

impl Stream {
    /// Takes standard input, around the buffer of `std::io::Stdin`.
    ///
    /// # Errors
    /// When it is closed.
    pub fn stdin(stop: Arc<Stop>) -> io::Result<Self> {
        Ok(Self { file: io::stdin().as_fd().try_clone_to_owned()?.into(), stop })
    }

    /// Opens a pipe or a device. Does not wait for the pipe's writer: the first read does.
    ///
    /// # Errors
    /// When it is not there, or may not be read.
    pub fn open(path: &Path, stop: Arc<Stop>) -> io::Result<Self> {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        Ok(Self { file: File::options().read(true).custom_flags(flags).open(path)?, stop })
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.stop.is_set() {
                return Err(io::Error::other("stopped while waiting for more"));
            }
            match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&GLANCE)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}
