//! The last lines of the log, for admins who are not at the machine: kept in memory, bounded in bytes.
//!
//! ```text
//!   0 ............ start ─────────────────── end
//!   forgotten      | kept: at most LIMIT     |     positions are bytes since the process began, line ends
//!                                                  included, so a position stays true while lines go
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// How much a line matters. What matters more is less.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something stops.
    Error,
    /// Somebody should look.
    Warn,
    /// Lives and ends.
    Info,
    /// Changes of state.
    Debug,
    /// Every message.
    Trace,
}

impl LogLevel {
    const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The word as sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which lines are wanted: the newest, and none twice.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// Only lines from this position on; it is the [`LogPage::cursor`] of an earlier page.
    pub cursor: Option<u64>,
    /// At most so many.
    pub limit: usize,
    /// At most so many bytes.
    pub bytes: usize,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: LogLevel,
    /// One JSON object. It holds no secrets, and what a peer wrote is capped and escaped in it.
    pub text: Arc<str>,
}

/// Lines, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// What the lines are from; another name after each start.
    pub name: Arc<str>,
    /// The lines.
    pub lines: Vec<LogLine>,
    /// Where the next page begins: the end.
    pub cursor: u64,
    /// Lines that were logged before the first of these, or before the cursor where there are none.
    pub before: u64,
    /// There are older lines after the query's cursor, or before all, that are not here.
    pub truncated: bool,
    /// The query's cursor is not one of this log, or what followed it is gone or too much: the page
    /// begins elsewhere.
    pub reset: bool,
}

/// The last lines of a process's log. A host has one for all its gateways.
#[derive(Debug)]
pub struct LogRing {
    name: Arc<str>,
    lines: VecDeque<LogLine>,
    limit: usize,
    bytes: usize,
    /// Position behind the last line.
    end: u64,
    /// Lines that came.
    count: u64,
}

impl LogRing {
    /// What a ring should hold: some thousand lines, and little beside what a process needs anyway.
    pub const LIMIT: usize = 256 * 1024;

    /// An empty one of at most `limit` bytes, for a log of this name.
    pub fn new(name: impl Into<Arc<str>>, limit: usize) -> Self {
        let name = name.into();
        Self { name, lines: VecDeque::new(), limit, bytes: 0, end: 0, count: 0 }
    }

    /// Takes a line, without its end. What is larger than all that is kept is not kept itself.
    pub fn push(&mut self, level: LogLevel, text: &str) {
        self.end += cost(text) as u64;
        self.count += 1;
        self.bytes += cost(text);
        self.lines.push_back(LogLine { level, text: text.into() });
        while self.bytes > self.limit
            && let Some(line) = self.lines.pop_front()
        {
            self.bytes -= cost(&line.text);
        }
    }

    /// The lines that are asked for. Work in proportion to them, and to the lines after the cursor.
    pub fn read(&self, query: LogQuery) -> LogPage {
        let kept = self.end - self.bytes as u64;
        let foreign = query.cursor.is_some_and(|cursor| cursor > self.end);
        let from = query.cursor.filter(|_| !foreign).unwrap_or(0);
        let (mut start, mut first, mut left_out) = (self.end, self.lines.len(), false);
        while let Some(line) = first.checked_sub(1).and_then(|at| self.lines.get(at)) {
            let before = start - cost(&line.text) as u64;
            // A cursor within a line is none of ours: that line is not new.
            if before < from {
                break;
            }
            let fits =
                self.lines.len() - first < query.limit && self.end - before <= query.bytes as u64;
            if !fits {
                left_out = true;
                break;
            }
            (start, first) = (before, first - 1);
        }
        let truncated = left_out || from < kept;
        LogPage {
            name: self.name.clone(),
            lines: self.lines.range(first..).cloned().collect(),
            cursor: self.end,
            before: self.count - (self.lines.len() - first) as u64,
            truncated,
            reset: foreign || query.cursor.is_some() && truncated,
        }
    }
}

/// What a line takes: itself and its end.
fn cost(text: &str) -> usize {
    text.len() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: LogQuery = LogQuery { cursor: None, limit: 100, bytes: 1000 };

    fn texts(page: &LogPage) -> Vec<&str> {
        page.lines.iter().map(|line| &*line.text).collect()
    }

    fn ring(lines: &[&str], limit: usize) -> LogRing {
        let mut ring = LogRing::new("log", limit);
        for line in lines {
            ring.push(LogLevel::Info, line);
        }
        ring
    }

    #[test]
    fn pages_follow_each_other_and_no_line_comes_twice() {
        let mut ring = ring(&["one", "two"], 100);
        let first = ring.read(ALL);
        assert_eq!((texts(&first), first.cursor, first.before), (vec!["one", "two"], 8, 0));
        assert!(!first.truncated && !first.reset);
        let next = LogQuery { cursor: Some(first.cursor), ..ALL };
        let page = ring.read(next);
        assert_eq!((page.lines.len(), page.cursor, page.before), (0, 8, 2));
        assert!(!page.truncated && !page.reset);
        ring.push(LogLevel::Warn, "three");
        let page = ring.read(next);
        assert_eq!((texts(&page), page.cursor, page.before), (vec!["three"], 14, 2));
        assert!(!page.truncated && !page.reset);
    }

    #[test]
    fn bytes_are_bounded_at_under_and_over() {
        for (limit, kept) in [(7, 1), (8, 2), (9, 2), (3, 0)] {
            let page = ring(&["one", "two"], limit).read(ALL);
            assert_eq!((page.lines.len(), page.cursor), (kept, 8), "{limit}");
            assert_eq!(page.truncated, kept < 2, "{limit}");
        }
        let huge = "x".repeat(100);
        let ring = ring(&["one", &huge, "two"], 50);
        let page = ring.read(ALL);
        assert_eq!((texts(&page), page.before, page.truncated), (vec!["two"], 2, true));
    }

    #[test]
    fn the_newest_lines_come_where_not_all_may() {
        let ring = ring(&["one", "two", "three"], 100);
        for query in [LogQuery { limit: 2, ..ALL }, LogQuery { bytes: 10, ..ALL }] {
            let page = ring.read(query);
            assert_eq!((texts(&page), page.before), (vec!["two", "three"], 1));
            assert!(page.truncated && !page.reset, "nothing was asked for that is missing");
            let page = ring.read(LogQuery { cursor: Some(0), ..query });
            assert!(page.truncated && page.reset);
            let page = ring.read(LogQuery { cursor: Some(4), ..query });
            assert!(!page.truncated && !page.reset && page.lines.len() == 2);
        }
        assert_eq!(ring.read(LogQuery { bytes: 9, ..ALL }).lines.len(), 1);
        assert_eq!(ring.read(LogQuery { limit: 0, ..ALL }).lines.len(), 0);
    }

    #[test]
    fn a_cursor_of_another_log_and_one_whose_lines_are_gone_begin_anew() {
        let ring = ring(&["one", "two", "three"], 10);
        let page = ring.read(LogQuery { cursor: Some(15), ..ALL });
        assert_eq!(texts(&page), ["two", "three"]);
        assert!(page.reset);
        let page = ring.read(LogQuery { cursor: Some(2), ..ALL });
        assert!(page.reset && page.truncated && page.lines.len() == 2);
        // A line was begun: the next ones are all there are.
        let page = ring.read(LogQuery { cursor: Some(6), ..ALL });
        assert_eq!((texts(&page), page.reset), (vec!["three"], false));
    }

    #[test]
    fn levels_are_read_and_ordered() {
        for level in LogLevel::ALL {
            assert_eq!(LogLevel::parse(&level.to_string().to_uppercase()), Some(level));
        }
        assert_eq!(LogLevel::parse("loud"), None);
        assert!(LogLevel::Error < LogLevel::Trace);
    }
}
