//! Going through all uploaded files: what is too old goes, and what stays is counted.

use super::{MediaDir, is_part};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::SystemTime;

/// What happens to files that are not whole.
#[derive(Debug, Copy, Clone, PartialEq)]
pub(super) enum Parts {
    /// Nobody writes them any more.
    Go,
    Stay,
}

/// The folders that are left, by their paths from the state folder on. One is gone through at a time, so that
/// uploads wait for no more than that.
#[derive(Debug)]
pub(super) struct Sweep(Vec<String>);

impl MediaDir {
    pub(super) fn is_sweeping(&self) -> bool {
        self.sweep.is_some()
    }

    /// Begins with what is on the disk and what is thought to be.
    pub(super) fn begin_sweep(&mut self) -> io::Result<()> {
        let mut folders: Vec<String> = self.ledger.folders().map(Into::into).collect();
        for folder in fs::read_dir(&self.root)? {
            // What has another name than we give is not ours.
            if let Ok(name) = folder?.file_name().into_string() {
                folders.push(format!("media/{name}"));
            }
        }
        folders.sort();
        folders.dedup();
        self.sweep = Some(Sweep(folders)).filter(|sweep| !sweep.0.is_empty());
        Ok(())
    }

    /// Goes through one more folder; the sweep is over when it was the last.
    pub(super) fn sweep_folder(&mut self, parts: Parts) -> io::Result<()> {
        let Some(Sweep(folders)) = &mut self.sweep else { return Ok(()) };
        let next = folders.pop();
        if folders.is_empty() {
            self.sweep = None;
        }
        let Some(name) = next else { return Ok(()) };
        let place = self.base.join(&name);
        let (files, bytes) = match self.clean(&place, parts) {
            Ok(kept) => kept,
            Err(error) if error.kind() == ErrorKind::NotFound => (0, 0),
            Err(error) if error.kind() == ErrorKind::NotADirectory => return Ok(()),
            Err(error) => return Err(error),
        };
        self.ledger.recount(&name, files, bytes);
        if files == 0 {
            // It fails where a file is being written.
            let _ = fs::remove_dir(&place);
        }
        Ok(())
    }

    /// Removes what goes; gives the number and bytes of the whole files that stay.
    fn clean(&self, folder: &Path, parts: Parts) -> io::Result<(u64, u64)> {
        let now = SystemTime::now();
        let (mut files, mut bytes) = (0, 0);
        for file in fs::read_dir(folder)? {
            let file = file?;
            let place = file.path();
            let data = match file.metadata() {
                Ok(data) if data.is_file() => data,
                // Not ours, or somebody has just removed it.
                Ok(_) => continue,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let age = || data.modified().ok().and_then(|then| now.duration_since(then).ok());
            let goes = if is_part(&place) {
                parts == Parts::Go
            } else {
                !self.keep.is_zero() && age().is_some_and(|age| age > self.keep)
            };
            if goes {
                fs::remove_file(&place)?;
            } else if !is_part(&place) {
                files += 1;
                bytes += data.len();
            }
        }
        Ok((files, bytes))
    }
}
