//! One point in time that bounds everything the executable waits for.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    pub fn after(timeout: Duration) -> Self {
        Self(Instant::now() + timeout)
    }

    /// What is left, `None` when nothing is.
    pub fn remaining(self) -> Option<Duration> {
        self.0.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// Waits until `fd` is ready for `events` (or broken, which the next call on it tells);
    /// `ETIMEDOUT` when the deadline comes first.
    pub fn wait(self, fd: BorrowedFd<'_>, events: PollFlags) -> Result<(), Errno> {
        loop {
            let left = self.remaining().ok_or(Errno::ETIMEDOUT)?;
            // Rounded up: rounding down would spin through the last millisecond.
            let wait = left + Duration::from_micros(999);
            let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(fd, events)], wait) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}
