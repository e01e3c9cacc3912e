//! SIGTERM and SIGINT stop the loops, SIGUSR2 does so for a restart, a second one stops waiting for
//! them; SIGHUP reloads.

use crate::service_manager;
use moorline_mio::Handle;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

/// The process was told to stop because another one will take its place.
static RESTART: AtomicBool = AtomicBool::new(false);

/// Whether the process stops for a restart: only of interest once it stops.
pub(crate) fn is_restart() -> bool {
    RESTART.load(Ordering::Acquire)
}

/// Watches for signals from now on; SIGHUP ends the process, as it does by default.
pub(crate) fn stop_on_signal(handles: Vec<Handle>) -> std::io::Result<()> {
    listen(Signals::new([SIGTERM, SIGINT])?, handles, || {})
}

/// Watches for signals from now on; `reload` is called on SIGHUP, on a thread of its own: the file system that
/// it reads from may hang, and the process has to be stoppable meanwhile.
pub(crate) fn watch(
    handles: Vec<Handle>,
    mut reload: impl FnMut() + Send + 'static,
) -> std::io::Result<()> {
    // One that waits reads everything that has changed by then: it stands for all that are asked meanwhile.
    let (ask, asked) = mpsc::sync_channel(1);
    thread::Builder::new().name("reloads".into()).spawn(move || {
        for () in asked {
            reload();
        }
    })?;
    let reload = move || {
        let _ = ask.try_send(());
    };
    listen(Signals::new([SIGTERM, SIGINT, SIGUSR2, SIGHUP])?, handles, reload)
}

/// Stops the loops in order, as a signal does. What they wait for is cut short by a signal.
pub(crate) fn stop(handles: &[Handle], restart: bool) {
    RESTART.store(restart, Ordering::Release);
    service_manager::stopping();
    for handle in handles {
        handle.stop();
    }
}

fn listen(
    mut signals: Signals,
    handles: Vec<Handle>,
    mut reload: impl FnMut() + Send + 'static,
) -> std::io::Result<()> {
    thread::Builder::new().name("signals".into()).spawn(move || {
        let mut asked = false;
        for signal in &mut signals {
            if signal == SIGHUP {
                reload();
                continue;
            }
            let name = signal_name(signal).unwrap_or("?");
            if std::mem::replace(&mut asked, true) {
                tracing::warn!(signal = name, "stopped without waiting for open connections");
                std::process::exit(128 + signal);
            }
            let restart = signal == SIGUSR2;
            tracing::info!(signal = name, restart, "stopping");
            stop(&handles, restart);
        }
    })?;
    Ok(())
}
