//! The last lines of the log in memory, for `logs.tail`: a layer beside the one that writes to stderr.

use moorline_core::gateway::{LogLevel, LogPage, LogQuery, LogRing};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Keeps lines, and gives them to whoever asks. All clones keep the same.
#[derive(Debug, Clone)]
pub(crate) struct LogTail(Arc<Mutex<LogRing>>);

impl LogTail {
    /// An empty one. It is named after its start, so that who reads on after a restart sees that the log is
    /// another one.
    pub(crate) fn new() -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("memory-{}", started.as_millis());
        Self(Arc::new(Mutex::new(LogRing::new(name, LogRing::LIMIT))))
    }

    /// Lines, as they are asked for.
    pub(crate) fn read(&self, query: LogQuery) -> LogPage {
        // A ring is whole after each of its calls.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read(query)
    }
}

/// Takes one line.
#[derive(Debug)]
pub(crate) struct Line<'t> {
    tail: &'t LogTail,
    level: LogLevel,
}

impl Write for Line<'_> {
    /// The formatter gives a line at a time, with its end.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let mut ring = self.tail.0.lock().unwrap_or_else(PoisonError::into_inner);
        for line in text.lines() {
            ring.push(self.level, line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'t> MakeWriter<'t> for LogTail {
    type Writer = Line<'t>;

    fn make_writer(&'t self) -> Line<'t> {
        Line { tail: self, level: LogLevel::Info }
    }

    fn make_writer_for(&'t self, meta: &Metadata<'_>) -> Line<'t> {
        let level = match *meta.level() {
            Level::ERROR => LogLevel::Error,
            Level::WARN => LogLevel::Warn,
            Level::INFO => LogLevel::Info,
            Level::DEBUG => LogLevel::Debug,
            Level::TRACE => LogLevel::Trace,
        };
        Line { tail: self, level }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt as _;

    #[test]
    fn a_record_is_one_line_of_json_with_its_level_whatever_is_in_it() {
        let tail = LogTail::new();
        let lines = crate::log::json_layer(tail.clone());
        let log = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(log, || {
            tracing::warn!(user = "a\n{\"level\":\"ERROR\"}", "one\ntwo");
            tracing::debug!(code = 1008, "closed");
        });
        let page = tail.read(LogQuery { cursor: None, limit: 10, bytes: 10_000 });
        let levels: Vec<_> = page.lines.iter().map(|line| line.level).collect();
        assert_eq!(levels, [LogLevel::Warn, LogLevel::Debug]);
        let records: Vec<serde_json::Value> =
            page.lines.iter().map(|line| serde_json::from_str(&line.text).expect("JSON")).collect();
        assert_eq!(records[0]["message"], "one\ntwo");
        assert_eq!(records[0]["user"], "a\n{\"level\":\"ERROR\"}");
        assert_eq!((&records[1]["code"], &records[1]["level"]), (&1008.into(), &"DEBUG".into()));
        assert!(page.name.starts_with("memory-") && records[0]["timestamp"].is_string());
    }
}
