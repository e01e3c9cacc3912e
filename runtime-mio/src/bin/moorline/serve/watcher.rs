//! Changed files are taken over without being asked, once they are whole.

use super::reload::Reloader;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Looks at the files of the configuration from now on, on a thread of its own. What has changed is taken
/// over when it is the same at the next look: whoever writes several files, or a long one, is let finish.
pub(super) fn watch(reloader: &Arc<Mutex<Reloader>>) -> io::Result<()> {
    let watched = reloader.clone();
    let watcher = thread::Builder::new().name("watcher".into()).spawn(move || {
        // A reloader is whole between its calls.
        let reloader = || watched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = None;
        loop {
            let every = reloader().watch_every();
            match every {
                // Until a reload says otherwise.
                None => thread::park(),
                Some(every) => thread::park_timeout(every),
            }
            // Nobody waits for the lock meanwhile: a file system may be slow.
            let known = reloader().files().clone();
            let found = known.look();
            if every.is_none() || found == known {
                changed = None;
            } else if changed.as_ref() == Some(&found) {
                changed = None;
                reloader().reload_changed(&found);
            } else {
                changed = Some(found);
            }
        }
    })?;
    reloader.lock().unwrap_or_else(PoisonError::into_inner).wakes(watcher.thread().clone());
    Ok(())
}
