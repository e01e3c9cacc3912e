//! Which gateway a command is for: the one that has a state folder.

use super::args::Common;
use crate::failure::Failure;
use crate::{admin_socket, running};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// A state folder.
#[derive(Debug)]
pub(super) struct Target {
    path: PathBuf,
}

impl Target {
    /// The folder that the command line names, or else the one that a gateway would take here.
    pub(super) fn of(common: &Common) -> Result<Self, Failure> {
        let folder = running::state_folder(common.state_dir.clone(), common.config.as_deref());
        let path = folder.ok_or_else(|| {
            let text = "no state folder: neither --state-dir, XDG_STATE_HOME nor HOME is set";
            Failure::Config(text.into())
        })?;
        Ok(Self::at(&path))
    }

    /// This folder.
    pub(super) fn at(path: &Path) -> Self {
        Self { path: std::path::absolute(path).unwrap_or_else(|_| path.into()) }
    }

    /// A connection to its gateway.
    pub(super) fn connect(&self) -> Result<UnixStream, Failure> {
        admin_socket::connect(&self.path).map_err(|error| Failure::Runtime(self.explain(&error)))
    }

    fn explain(&self, error: &io::Error) -> String {
        let (folder, socket) = (self.path.display(), admin_socket::path(&self.path));
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => match self.holder() {
                Some(pid) => format!(
                    "process {pid} has the state folder {folder}, but nobody listens at {}: it is \
                     starting or ending, is of an older version, or could not make the socket, which \
                     its log tells",
                    socket.display()
                ),
                None => format!(
                    "no gateway runs with the state folder {folder}. Start one with `moorline serve \
                     --state-dir {folder}`, or name the folder of the one that runs with --state-dir."
                ),
            },
            io::ErrorKind::PermissionDenied => format!(
                "permission denied: {} is for the user who runs the gateway{} and for root",
                socket.display(),
                owner(&self.path).map(|uid| format!(" (uid {uid})")).unwrap_or_default()
            ),
            _ => format!("cannot connect to {}: {error}", socket.display()),
        }
    }

    /// The process that has noted itself in the lock file, if it still runs.
    fn holder(&self) -> Option<u32> {
        let pid = crate::owner::read(&self.path.join(crate::owner::LOCK))?.pid?;
        // The number may be another one's by now, and of one that has ended there is no more than a name
        // until its parent has looked.
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        (name.trim() == "moorline" && !command.is_empty()).then_some(pid)
    }
}

fn owner(path: &Path) -> Option<u32> {
    fs::metadata(path).ok().map(|folder| folder.uid())
}
