//! What a service manager such as systemd is told (sd_notify(3)) and what it hands over
//! (sd_listen_fds(3)). Without one, nothing here does anything.

use crate::failure::Failure;
use listenfd::ListenFd;
use moorline_mio::Handle;
use sd_notify::NotifyState;
use socket2::SockRef;
use std::net::TcpListener;
use std::thread;

/// Looks at the loops in the time within which the manager wants to hear of them: a loop that was slow
/// once has three more chances.
const LOOKS: u32 = 4;

/// The socket to listen on, if one was handed over.
///
/// # Errors
/// What was handed over is something else, or more than one.
pub(crate) fn listener() -> Result<Option<TcpListener>, Failure> {
    let mut sockets = ListenFd::from_env();
    if sockets.len() > 1 {
        return Err(Failure::Config(format!(
            "the service manager handed over {} sockets: one is what the gateway listens on. Leave one \
             ListenStream in the socket unit.",
            sockets.len()
        )));
    }
    let listener = sockets.take_tcp_listener(0).map_err(|error| {
        Failure::Config(format!(
            "the service manager handed over something that is no TCP socket: {error}. ListenStream in \
             the socket unit must be an address and a port."
        ))
    })?;
    if let Some(listener) = &listener
        && !SockRef::from(listener).is_listener()?
    {
        return Err(Failure::Config(
            "the service manager handed over a connection instead of the socket that it came to: set \
             Accept=no in the socket unit."
                .into(),
        ));
    }
    Ok(listener)
}

/// Clients are served.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is read again; [`ready`] must follow, whatever comes of it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no monotonic clock"),
    }
}

/// The gateway drains.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("Draining")]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told of the gateway's state");
    }
}

/// Tells the manager again and again that all loops turn, if it wants to know: one that hangs is why it
/// starts the gateway anew.
pub(crate) fn feed_watchdog(loops: Vec<Handle>) -> std::io::Result<()> {
    let within = sd_notify::watchdog_enabled().filter(|within| !within.is_zero());
    let Some(within) = within else { return Ok(()) };
    let pause = within / LOOKS;
    let mut turns = Turns::default();
    thread::Builder::new().name("watchdog".into()).spawn(move || {
        loop {
            // A loop with nothing to do sleeps.
            loops.iter().for_each(Handle::wake);
            thread::sleep(pause);
            match turns.stuck(loops.iter().map(|each| each.counters().turns)) {
                None => tell(&[NotifyState::Watchdog]),
                Some(node) => {
                    tracing::error!(node, "a loop hangs: the watchdog is not fed");
                }
            }
        }
    })?;
    Ok(())
}

/// How many turns each loop had when they were looked at last.
#[derive(Debug, Default)]
struct Turns(Vec<u64>);

impl Turns {
    /// The first loop that had no turn since the last time.
    fn stuck(&mut self, turns: impl Iterator<Item = u64>) -> Option<usize> {
        let turns: Vec<_> = turns.collect();
        let stuck = turns.iter().zip(&self.0).position(|(now, before)| now == before);
        self.0 = turns;
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_without_a_turn_since_the_last_look_is_stuck_until_it_turns_again() {
        let mut turns = Turns::default();
        for (now, stuck) in [
            ([0, 0], None),
            ([1, 7], None),
            ([2, 7], Some(1)),
            ([2, 7], Some(0)),
            ([3, 7], Some(1)),
            ([4, 8], None),
        ] {
            assert_eq!(turns.stuck(now.into_iter()), stuck, "{now:?}");
        }
    }
}
