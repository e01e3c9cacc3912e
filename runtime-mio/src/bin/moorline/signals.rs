//! SIGTERM and SIGINT stop the loops; a second one stops waiting for them.

use moorline_mio::Handle;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::thread;

/// Watches for signals from now on.
pub(crate) fn stop_on_signal(handles: Vec<Handle>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        let mut asked = false;
        for signal in &mut signals {
            if std::mem::replace(&mut asked, true) {
                tracing::warn!(signal, "stopped without waiting for open connections");
                std::process::exit(128 + signal);
            }
            tracing::info!(signal, "stopping");
            for handle in &handles {
                handle.stop();
            }
        }
    })?;
    Ok(())
}
