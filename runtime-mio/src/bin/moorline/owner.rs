//! The process that has what another one wants, such as a state folder or a port: who it is, as it wrote
//! itself into its lock file or as procfs tells.

use crate::port_holder;
use crate::regular_file;
use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A process, as far as it can be known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) pid: Option<u32>,
    pub(crate) user: Option<String>,
    /// Its command line, without tokens.
    pub(crate) command: Option<String>,
    /// When it was started, in words that need no time zone.
    pub(crate) started: Option<String>,
    /// Its configuration file, or [`NO_FILE`]. Of gateways only.
    pub(crate) config: Option<String>,
    /// Where it serves. Of gateways only, once they do.
    pub(crate) url: Option<String>,
}

/// A gateway without a configuration file.
const NO_FILE: &str = "none";

/// The file in a state folder whose lock is that of the folder. Its holder writes lines into it, for people and
/// commands.
pub(crate) const LOCK: &str = "lock";

/// More than it ever holds: others may have put something else there.
const MOST: u64 = 64 * 1024;

/// Unit of times in procfs: `USER_HZ` is 100 on every machine that this is built for (proc_pid_stat(5)).
const TICKS: u64 = 100;

impl Owner {
    /// This process, with the configuration file that it was started with.
    pub(crate) fn this(config: Option<&Path>) -> Self {
        let words: Vec<_> = std::env::args_os().map(|w| w.to_string_lossy().into_owned()).collect();
        let words: Vec<_> = words.into_iter().map(Cow::Owned).collect();
        let config = config.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.into()));
        let config = config.map_or_else(|| NO_FILE.into(), |path| path.display().to_string());
        Self {
            pid: Some(std::process::id()),
            user: port_holder::user_of(std::process::id()),
            command: Some(port_holder::without_secrets(&words)),
            started: Some(httpdate::fmt_http_date(SystemTime::now())),
            config: Some(config),
            url: None,
        }
    }

    /// Another process of this machine. What a gateway has written into the lock file that it has open
    /// comes before what the system tells.
    pub(crate) fn of_process(pid: u32) -> Self {
        let told = Self {
            pid: Some(pid),
            user: port_holder::user_of(pid),
            command: port_holder::command_of(pid),
            started: started(pid).map(httpdate::fmt_http_date),
            config: None,
            url: None,
        };
        lock_of(pid).unwrap_or_default().or(told)
    }

    /// As a lock file has it: lines of a key and its value. Keys that are not known are left out, so that
    /// there may be more of them one day.
    pub(crate) fn parse(text: &str) -> Self {
        let mut owner = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once(' ')) {
            let value = || Some(value.to_string());
            match key {
                "pid" => owner.pid = value().and_then(|pid| pid.parse().ok()),
                "user" => owner.user = value(),
                "command" => owner.command = value(),
                "started" => owner.started = value(),
                "config" => owner.config = value(),
                "url" => owner.url = value(),
                _ => {}
            }
        }
        owner
    }

    /// The reverse of [`Owner::parse`].
    pub(crate) fn emit(&self) -> String {
        let mut text = String::new();
        for (key, value) in self.rows() {
            // A path may hold a line end.
            let value: String =
                value.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
            let _ = writeln!(text, "{key} {value}");
        }
        text
    }

    /// What is not known is taken from `other`.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            pid: self.pid.or(other.pid),
            user: self.user.or(other.user),
            command: self.command.or(other.command),
            started: self.started.or(other.started),
            config: self.config.or(other.config),
            url: self.url.or(other.url),
        }
    }

    /// A line for each fact, for a terminal.
    pub(crate) fn lines(&self) -> String {
        let rows = self.rows().into_iter();
        rows.map(|(key, value)| format!("  {key:<8} {}\n", shown(&value))).collect()
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let Self { pid, user, command, started, config, url } = self.clone();
        [
            ("pid", pid.map(|pid| pid.to_string())),
            ("user", user),
            ("command", command),
            ("started", started),
            ("config", config),
            ("url", url),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
    }
}

/// In one line.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let rows: Vec<_> =
            rows.iter().map(|(key, value)| format!("{key} {}", shown(value))).collect();
        f.write_str(&rows.join(", "))
    }
}

/// Others may have written it. Unlike text of a peer it is shown whole: paths and command lines are long.
fn shown(text: &str) -> String {
    let is_plain = |c: &char| !c.is_control() && !"\u{2028}\u{2029}\u{202e}\u{2066}".contains(*c);
    text.chars().map(|c| if is_plain(&c) { c } else { '?' }).take(4096).collect()
}

/// What a process has written into the lock file that it has open.
fn lock_of(pid: u32) -> Option<Owner> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    files
        .filter_map(|file| fs::read_link(file.path()).ok())
        .filter(|path| path.file_name().is_some_and(|name| name == LOCK))
        .filter_map(|path| read(&path))
        .find(|owner| owner.pid == Some(pid))
}

/// What a lock file says.
pub(crate) fn read(path: &Path) -> Option<Owner> {
    Some(Owner::parse(&regular_file::read_text(path, MOST).ok()?))
}

/// When a process was started, to the second.
fn started(pid: u32) -> Option<SystemTime> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let machine = fs::read_to_string("/proc/stat").ok()?;
    let booted = machine.lines().find_map(|line| line.strip_prefix("btime "))?;
    let booted: u64 = booted.trim().parse().ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(booted + ticks / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read_and_unknown_keys_are_left_out() {
        let owner = Owner::this(Some(Path::new("/etc/a b.json5")));
        assert_eq!(Owner::parse(&owner.emit()), owner);
        assert_eq!(Owner::parse(&format!("colour green\n{}shape", owner.emit())), owner);
        let hostile = Owner { config: Some("a\npid 1".into()), ..Owner::default() };
        assert_eq!(Owner::parse(&hostile.emit()).pid, None);
        assert_eq!(Owner::this(None).config.as_deref(), Some("none"));
    }

    #[test]
    fn the_system_tells_what_this_process_is_and_when_it_began() {
        let owner = Owner::of_process(std::process::id());
        let this = Owner::this(None);
        assert_eq!((owner.pid, &owner.user), (this.pid, &this.user));
        assert_eq!(owner.command, this.command);
        assert_eq!(owner.config, None);
        let began = started(std::process::id()).expect("a time");
        let age = SystemTime::now().duration_since(began).unwrap_or_default();
        assert!(age < Duration::from_secs(600), "{age:?}");
    }
}
