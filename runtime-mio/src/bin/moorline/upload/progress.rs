//! A line that says how far a file is, where somebody watches.

use crate::peer_text::PeerText;
use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::{Duration, Instant};

/// How often the line changes: what is faster than that cannot be read.
const EVERY: Duration = Duration::from_millis(100);

/// It is taken away when this is dropped.
pub(super) struct Progress {
    name: String,
    size: u64,
    done: u64,
    shown: Instant,
    /// There is a line. A file that is gone in a moment has none.
    drawn: bool,
    watched: bool,
}

impl Progress {
    pub(super) fn new(name: &str, size: u64) -> Self {
        let name = PeerText(name).to_string();
        let (shown, watched) = (Instant::now(), stderr().is_terminal());
        Self { name, size, done: 0, shown, drawn: false, watched }
    }

    pub(super) fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if self.watched && self.shown.elapsed() >= EVERY {
            self.shown = Instant::now();
            self.drawn = true;
            let _ = write!(stderr(), "\r{}\x1b[K", line(&self.name, self.done, self.size));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

fn line(name: &str, done: u64, size: u64) -> String {
    const MIB: f64 = (1 << 20) as f64;
    // A file may grow while it is sent.
    let percent = (done * 100).checked_div(size).unwrap_or(100).min(100);
    format!("{name}: {:.1} of {:.1} MiB, {percent} %", done as f64 / MIB, size as f64 / MIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_it_is() {
        assert_eq!(line("a.pdf", 3 << 19, 3 << 20), "a.pdf: 1.5 of 3.0 MiB, 50 %");
        assert_eq!(line("empty", 0, 0), "empty: 0.0 of 0.0 MiB, 100 %");
        assert_eq!(line("grown", 2 << 20, 1 << 20), "grown: 2.0 of 1.0 MiB, 100 %");
    }
}
