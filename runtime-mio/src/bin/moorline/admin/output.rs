//! What commands print: columns for people, JSON for programs.

use crate::colours;
use crate::failure::Failure;
use crate::peer_text::PeerText;
use crate::stdout::stdout;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Prints text.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = stdout();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Prints one JSON object for programs.
pub(super) fn print_json(value: &Value) -> Result<(), Failure> {
    print(&format!("{value:#}\n"))
}

/// Rows under a heading, each column as wide as it must be.
pub(super) struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(heading: &[&'static str]) -> Self {
        Self { heading: heading.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(super) fn print(&self) -> Result<(), Failure> {
        print(&self.text(!colours::are_wanted(&io::stdout())))
    }

    /// `plain`: without the codes that make a terminal show the heading in bold.
    fn text(&self, plain: bool) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let cells = cells.map(|cell| cell.chars().count());
            cells.chain([self.heading[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.heading.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut out = String::new();
            for (cell, width) in cells.zip(&widths) {
                write!(out, "{cell:<width$}  ").expect("a string takes everything");
            }
            out.truncate(out.trim_end().len());
            out
        };
        let heading = line(&mut self.heading.iter().copied());
        let mut out = if plain { heading } else { format!("\x1b[1m{heading}\x1b[0m") };
        for row in &self.rows {
            out.push('\n');
            out += &line(&mut row.iter().map(String::as_str));
        }
        out.push('\n');
        out
    }
}

/// A text of an answer, safe for a terminal; a dash where there is none.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => PeerText(text).to_string(),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}

/// Several texts of an answer.
pub(super) fn cells(value: &Value) -> String {
    let words: Vec<_> = value.as_array().into_iter().flatten().map(cell).collect();
    if words.is_empty() { "-".into() } else { words.join(",") }
}

/// How long ago something was, that an answer names in Unix milliseconds.
pub(crate) fn ago(value: &Value) -> String {
    ago_at(now(), value)
}

fn ago_at(now: Duration, value: &Value) -> String {
    match value.as_u64() {
        Some(at) => format!("{} ago", span(now.saturating_sub(Duration::from_millis(at)))),
        None => "-".into(),
    }
}

/// How far off something is, that an answer names in Unix milliseconds.
pub(crate) fn ahead(value: &Value) -> String {
    ahead_at(now(), value)
}

fn ahead_at(now: Duration, value: &Value) -> String {
    match value.as_u64().map(Duration::from_millis) {
        Some(at) if at > now => {
            format!("in {}", span(at.saturating_sub(now) + Duration::from_millis(999)))
        }
        Some(_) => "now".into(),
        None => "-".into(),
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A span of time in its largest unit.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_with_text() {
        let mut table = Table::new(&["ID", "USER"]);
        table.row(["0-17".into(), "ann".into()]);
        table.row(["1".into(), "ünïcödé".into()]);
        assert_eq!(table.text(true), "ID    USER\n0-17  ann\n1     ünïcödé\n");
        assert_eq!(table.text(false).lines().next(), Some("\x1b[1mID    USER\x1b[0m"));
    }

    #[test]
    fn what_a_client_has_named_itself_drives_no_terminal() {
        assert_eq!(cell(&json!("a\x1b[2J\nb")), "a\\u{1b}[2J\\nb");
        assert_eq!(
            (cell(&json!("")), cell(&Value::Null), cell(&json!(3))),
            ("-".into(), "-".into(), "3".into())
        );
        assert_eq!((cells(&json!(["a", "b"])), cells(&json!([]))), ("a,b".into(), "-".into()));
    }

    #[test]
    fn what_is_ahead_is_told_in_whole_seconds_up_to_now() {
        let ahead = |value| ahead_at(Duration::from_secs(1000), &value);
        for (at, text) in [
            (1_090_500, "in 1m"),
            (1_004_500, "in 5s"),
            (1_004_001, "in 5s"),
            (1_004_000, "in 4s"),
            (1_000_001, "in 1s"),
            (1_000_000, "now"),
            (0, "now"),
        ] {
            assert_eq!(ahead(json!(at)), text, "{at}");
        }
        assert_eq!(ahead(Value::Null), "-");
    }

    #[test]
    fn what_is_past_is_told_in_whole_seconds_and_what_is_not_yet_as_now() {
        let ago = |value| ago_at(Duration::from_secs(1000), &value);
        for (at, text) in [(995_001, "4s ago"), (880_000, "2m ago"), (1_000_001, "0s ago")] {
            assert_eq!(ago(json!(at)), text, "{at}");
        }
        assert_eq!(ago(Value::Null), "-");
    }

    #[test]
    fn spans_have_one_unit() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (86_400, "1d")] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
