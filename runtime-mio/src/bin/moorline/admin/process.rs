//! The gateway as a process: which one it is, and waiting for its end.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{PidfdFlags, pidfd_open};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A process that is or was. The number of one that has ended may be another's; this is not.
pub(super) struct Process {
    pid: i32,
    fd: OwnedFd,
}

impl Process {
    /// The one at the other end; `None` where the system does not tell, as between containers.
    pub(super) fn of_peer(stream: &UnixStream) -> Option<Self> {
        let pid = rustix::net::sockopt::socket_peercred(stream).ok()?.pid;
        let fd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        Some(Self { pid: pid.as_raw_nonzero().get(), fd })
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits for its end; says whether it came in time.
    pub(super) fn wait(&self, within: Duration) -> bool {
        let timeout = Timespec::try_from(within).ok();
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        poll(&mut fds, timeout.as_ref()).is_ok_and(|ready| ready > 0)
    }
}
