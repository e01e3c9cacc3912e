//! Log lines on stderr, as text for people or one JSON object per line; the last of them in memory, too.

use crate::cli::LogFormat;
use crate::colours;
use crate::failure::Failure;
use crate::log_tail::LogTail;
use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// Lines that may wait for whoever reads them. More are dropped: a log that nobody reads must not stop
/// the gateway.
const WAITING: usize = 8192;

/// A running log.
pub(crate) struct Log {
    /// Lines that wait are written when it is dropped.
    _guard: WorkerGuard,
    pub(crate) level: LogLevel,
    pub(crate) tail: LogTail,
    /// Lines that nobody took.
    pub(crate) dropped: ErrorCounter,
}

/// The level of a running log.
#[derive(Debug, Clone)]
pub(crate) struct LogLevel(Handle<EnvFilter, Registry>);

impl LogLevel {
    /// Takes another level; says whether it could.
    pub(crate) fn set(&self, level: &str) -> bool {
        EnvFilter::try_new(level).is_ok_and(|filter| self.0.reload(filter).is_ok())
    }
}

/// Sets up logging at a level such as `debug`, or by directives. Lines are written by a thread of
/// their own, the last of them when the guard is dropped.
pub(crate) fn init(format: LogFormat, level: &str) -> Result<Log, Failure> {
    let filter = EnvFilter::try_new(level)
        .map_err(|error| Failure::Config(format!("the log level cannot be used: {error}")))?;
    let (filter, handle) = reload::Layer::new(filter);
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING)
        .finish(std::io::stderr());
    let dropped = writer.error_counter();
    let tail = LogTail::new();
    let log = tracing_subscriber::registry().with(filter).with(json_layer(tail.clone()));
    match format {
        LogFormat::Text => {
            let lines = fmt::layer()
                .with_writer(writer)
                // A line that cannot be written is not worth a panic.
                .log_internal_errors(false)
                .with_target(false)
                .with_ansi(colours::are_wanted(&std::io::stderr()));
            log.with(lines).init();
        }
        LogFormat::Json => log.with(json_layer(writer)).init(),
    }
    Ok(Log { _guard: guard, level: LogLevel(handle), tail, dropped })
}

/// Writes one JSON object per line.
pub(crate) fn json_layer<S, W>(writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fmt::layer()
        .with_writer(writer)
        .log_internal_errors(false)
        .with_target(false)
        // Spans are written with fields of their own, which must not be those that terminals get.
        .with_ansi(false)
        .json()
        .flatten_event(true)
        .with_current_span(false)
}

/// Whether this can be a level.
pub(crate) fn check_level(level: &str) -> Result<(), String> {
    match EnvFilter::try_new(level) {
        // A bare word that is no level would be taken for a module that logs everything.
        Ok(_) if !level.contains('=') && level.split(',').any(|word| !is_level(word)) => {
            Err(format!("{level:?} is no level"))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn is_level(word: &str) -> bool {
    matches!(
        word.trim().to_ascii_lowercase().as_str(),
        "off" | "error" | "warn" | "info" | "debug" | "trace"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        for level in ["info", "DEBUG", "warn,moorline=debug", "off"] {
            assert_eq!(check_level(level), Ok(()), "{level}");
        }
        for level in ["inof", "", "moorline=loud", "5,x"] {
            assert!(check_level(level).is_err(), "{level}");
        }
    }
}
