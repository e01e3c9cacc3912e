//! The state folder: who may read it, who holds it, and its disk.

use super::finding::Finding;
use super::ids;
use crate::owner::{self, Owner};
use crate::{running, state_dir};
use rustix::fs::statvfs;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Below this a busy gateway has minutes left.
const LOW: u64 = 512 << 20;

/// Below this the database cannot even be written back.
const FULL: u64 = 32 << 20;

pub(super) fn check(path: &Path, config: Option<&Path>, found: &mut Vec<Finding>) {
    let shown = path.display();
    let folder = match fs::metadata(path) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let about = format!("{shown} is not there; the first start makes it");
            return found.push(Finding::new(ids::STATE_MISSING, about));
        }
        Err(error) => {
            let about = format!("{shown}: {error}");
            let fix = format!("sudo chown -R $USER {shown}");
            return found.push(Finding::new(ids::STATE_UNWRITABLE, about).fix(fix));
        }
    };
    let mut is_well = true;
    let mut open = |path: &Path, mask: u32, mode: &str| {
        let open = fs::metadata(path).is_ok_and(|file| file.permissions().mode() & mask != 0);
        if open {
            is_well = false;
            let about = format!("other users can get at {}", path.display());
            let fix = format!("chmod {mode} {}", path.display());
            found.push(Finding::new(ids::STATE_OPEN, about).fix(fix));
        }
    };
    open(path, 0o022, "700");
    for name in ["token", "moorline.db"] {
        open(&path.join(name), 0o077, "600");
    }
    if let Some(config) = config {
        open(config, 0o022, "600");
    }
    if let Err(error) = rustix::fs::access(path, rustix::fs::Access::WRITE_OK) {
        is_well = false;
        let about = format!("{shown} cannot be written: {error}");
        let fix = format!("sudo chown -R $USER {shown}");
        found.push(Finding::new(ids::STATE_UNWRITABLE, about).fix(fix));
    }
    if is_well {
        let mode = folder.permissions().mode() & 0o777;
        found.push(Finding::new(ids::STATE_OK, format!("{shown}, mode {mode:o}")));
    }
    found.push(lock(path));
    found.extend(disk(path));
}

/// Whether a gateway holds the folder.
fn lock(path: &Path) -> Finding {
    let wrote = || owner::read(&path.join(owner::LOCK)).unwrap_or_default();
    match state_dir::holder(path) {
        Ok(Some(pid)) => {
            let noted = wrote();
            let is_holder = noted.pid.is_none_or(|noted| noted.to_string() == pid);
            let about = match is_holder {
                true => format!("held by {}", Owner { pid: pid.parse().ok(), ..noted }),
                // Seen from a container it has another number.
                false => format!("held by process {pid}; it wrote: {noted}"),
            };
            Finding::new(ids::STATE_LOCKED, about)
        }
        // Nobody of whom this process may know, such as one of another container.
        _ if running::is_there(path) => {
            let about = format!("a gateway answers that has it; it wrote: {}", wrote());
            Finding::new(ids::STATE_LOCKED, about)
        }
        Ok(None) => Finding::new(ids::STATE_UNLOCKED, "no gateway runs with this state folder"),
        Err(error) => {
            let about =
                format!("whether a gateway runs with this state folder cannot be seen: {error}");
            Finding::new(ids::STATE_UNTESTED, about)
        }
    }
}

fn disk(path: &Path) -> Option<Finding> {
    let disk = statvfs(path).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let about = format!("{} MiB are free for {}", free >> 20, path.display());
    let fix = format!("du -xh {} | sort -h | tail", path.display());
    Some(match free {
        ..FULL => Finding::new(ids::DISK_FULL, about).fix(fix),
        FULL..LOW => Finding::new(ids::DISK_LOW, about).fix(fix),
        _ => Finding::new(ids::DISK_OK, about),
    })
}
