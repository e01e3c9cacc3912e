//! After how much silence something on the way cuts a connection.
//!
//! Connections stay silent side by side, each for longer than the one before it. Who cuts with a FIN or RST
//! is seen at once; who forgets a connection without a word is found when its Ping gets no Pong, and then
//! the time between the longest that held and the shortest that did not is divided again. Silence ends with
//! the gateway's own Ping: what holds as long as that holds for good.

use super::finding::Finding;
use super::ids;
use crate::probe::{Course, Target, Wish};
use crate::wire::{Stayed, Wire};
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Connections side by side.
const SIDE_BY_SIDE: u32 = 5;

/// Between the longest silence that held and the shortest that did not.
const EXACT: Duration = Duration::from_secs(1);

/// Rounds at most: each divides the time by five.
const ROUNDS: usize = 3;

/// For the Pong after a silence.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of a silent connection.
enum Held {
    Silent(Duration),
    /// The gateway's Ping came, and the connection held.
    Pinged,
    /// It was cut after so much silence.
    Cut(Duration),
    /// It was dead when it was tried after so much silence.
    Dead(Duration),
    /// It could not be tried.
    Unknown(String),
}

pub(super) fn measure(target: &Target, course: &Course, most: Duration) -> Finding {
    let policy = course.hello.as_ref().map(|hello| &hello["policy"]);
    let ms = |name| policy.and_then(|policy| policy[name].as_u64()).map(Duration::from_millis);
    let (Some(ping), Some(read)) = (ms("pingIntervalMs"), ms("readTimeoutMs")) else {
        let about =
            "silence can be measured after a login only: who is not logged in is soon closed";
        return Finding::new(ids::IDLE_UNTESTED, about)
            .fix(format!("moorline doctor {} --measure-idle --token TOKEN", target.text));
    };
    // The Ping comes up to a tenth early, never late.
    let most = most.min(ping + EXACT);
    let (mut low, mut high) = (Duration::ZERO, most);
    let mut pinged = false;
    for round in 0..ROUNDS {
        let step = (high - low) / SIDE_BY_SIDE;
        let silences = (1..=SIDE_BY_SIDE).map(|at| low + step * at).collect();
        let mut dead = None;
        let mut cut: Option<Duration> = None;
        for held in side_by_side(target, silences) {
            match held {
                Held::Silent(silence) => low = low.max(silence),
                Held::Pinged => pinged = true,
                Held::Cut(after) => cut = Some(cut.map_or(after, |cut| cut.min(after))),
                Held::Dead(after) => {
                    dead = Some(dead.map_or(after, |dead: Duration| dead.min(after)));
                }
                Held::Unknown(why) => {
                    return Finding::new(ids::IDLE_UNTESTED, why)
                        .fix(format!("moorline probe {}", target.text));
                }
            }
        }
        match (cut, dead) {
            (Some(cut), _) => return found_cut(cut, cut, ping, read),
            (None, Some(dead)) => high = dead,
            (None, None) if pinged => {
                let about = format!(
                    "held the {:.1} s to the gateway's Ping, and after it",
                    ping.as_secs_f64()
                );
                return Finding::new(ids::IDLE_HELD, about);
            }
            // What was measured holds; the first round has had the longest silence.
            (None, None) if round == 0 => {
                let about = format!(
                    "held {:.1} s of silence; the gateway pings after {:.1} s",
                    low.as_secs_f64(),
                    ping.as_secs_f64()
                );
                return Finding::new(ids::IDLE_HELD, about);
            }
            (None, None) => {}
        }
        if high.saturating_sub(low) <= EXACT {
            break;
        }
    }
    found_cut(low, high, ping, read)
}

fn found_cut(low: Duration, high: Duration, ping: Duration, read: Duration) -> Finding {
    let (low, high) = (low.as_secs_f64(), high.as_secs_f64());
    let after = match high - low < 0.05 {
        true => format!("{high:.1} s"),
        false => format!("between {low:.1} and {high:.1} s"),
    };
    let about = format!(
        "something on the way cuts after {after} of silence; the gateway pings after {:.1} s only",
        ping.as_secs_f64()
    );
    let wanted = read.as_secs().max(1) * 5 / 4;
    // Half of what holds, in round numbers.
    let every = (low * 5.0) as u64 * 100;
    Finding::new(ids::IDLE_CUT, about).fix(format!(
        "proxy_read_timeout {wanted}s; proxy_send_timeout {wanted}s;   # HAProxy: timeout tunnel {wanted}s; \
         or at the gateway limits: {{ ping_every_ms: {} }}",
        every.max(100)
    ))
}

/// Keeps connections silent for these times, all at once, and closes them when all are done: who comes and
/// goes is told to the others, which would end their silence.
fn side_by_side(target: &Target, silences: Vec<Duration>) -> Vec<Held> {
    let (sender, results) = mpsc::channel();
    let count = silences.len();
    let longest = silences.iter().copied().max().unwrap_or_default();
    for silence in silences {
        let (sender, target) = (sender.clone(), target.clone());
        thread::spawn(move || {
            let _ = sender.send(stay(&target, silence));
        });
    }
    drop(sender);
    let since = Instant::now();
    let shows = io::stderr().is_terminal();
    let (mut held, mut wires) = (Vec::new(), Vec::new());
    while held.len() < count {
        match results.recv_timeout(Duration::from_millis(500)) {
            Ok((one, wire)) => {
                held.push(one);
                wires.extend(wire);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if shows {
            let (now, most) = (since.elapsed().as_secs(), longest.as_secs());
            let _ = write!(
                io::stderr(),
                "\rsilent for {now} s of {most} s, {} of {count} done ",
                held.len()
            );
        }
    }
    if shows {
        let _ = write!(io::stderr(), "\r{:60}\r", "");
    }
    for wire in wires {
        let _ = wire.close(Instant::now() + Duration::from_secs(1));
    }
    held
}

fn stay(target: &Target, silence: Duration) -> (Held, Option<Wire>) {
    let wish = Wish::default();
    let (mut course, wire) = Course::open(target, wish);
    let Some(mut wire) = wire else {
        let why = course.failed().map_or_else(String::new, |stage| stage.about.clone());
        return (Held::Unknown(why), None);
    };
    course.login(target, wish, &mut wire);
    if course.hello.is_none() {
        return (Held::Unknown("the login was refused".into()), Some(wire));
    }
    let pinged = match wire.stay(silence, Instant::now() + silence * 3 + PATIENCE) {
        Stayed::Silent => false,
        Stayed::Pinged => true,
        Stayed::Disturbed => {
            let why = "the gateway always had something to tell: try when it is quiet";
            return (Held::Unknown(why.into()), Some(wire));
        }
        Stayed::Ended(_, ended) if ended.closed => {
            return (Held::Unknown(format!("the gateway closed: {}", ended.text)), None);
        }
        Stayed::Ended(after, _) => return (Held::Cut(after), None),
    };
    match wire.ping(Instant::now() + PATIENCE) {
        Ok(_) if pinged => (Held::Pinged, Some(wire)),
        Ok(_) => (Held::Silent(silence), Some(wire)),
        Err(_) => (Held::Dead(silence), Some(wire)),
    }
}
