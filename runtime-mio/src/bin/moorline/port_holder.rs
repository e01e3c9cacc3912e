//! Who listens on a port that is wanted: read from procfs, which needs no tool and no privilege for
//! processes of the same user.

use crate::failure::Failure;
use crate::owner::Owner;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

/// The failure of a bind, with the process that holds the address where the system tells.
pub(crate) fn explain_bind(address: SocketAddr, error: &io::Error) -> Failure {
    let text = match error.kind() {
        io::ErrorKind::AddrInUse => {
            let holder = match find(address.port()) {
                Some((pid, _)) => {
                    format!("it is held by\n{}Stop that process or", Owner::of_process(pid).lines())
                }
                // It may also have ended just now, or procfs is hidden.
                None => "who holds it cannot be seen from here, perhaps because it belongs to \
                         another user.\nStop it or"
                    .into(),
            };
            format!("{address} is in use; {holder} choose another address with --listen.")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{address}: permission denied. Ports under 1024 need a privilege.")
        }
        io::ErrorKind::AddrNotAvailable => format!("{address} is not an address of this machine."),
        _ => format!("cannot listen on {address}: {error}"),
    };
    Failure::Config(text)
}

/// The user that a process belongs to, by name where the system knows one.
pub(crate) fn user_of(pid: u32) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let id = ids.split_whitespace().next()?;
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_string())
    });
    Some(named.unwrap_or_else(|| format!("uid {id}")))
}

/// Whether somebody listens on `port`, seen or not.
///
/// # Errors
/// Procfs cannot be read: nobody knows.
pub(crate) fn is_held(port: u16) -> io::Result<bool> {
    is_held_by(Path::new("/proc"), port)
}

fn is_held_by(procfs: &Path, port: u16) -> io::Result<bool> {
    let table = |name| fs::read_to_string(procfs.join("net").join(name));
    // A machine without IPv6 has no table of it.
    let mut tables = [table("tcp")?].into_iter().chain(table("tcp6"));
    Ok(tables.any(|table| !listening_inodes(&table, port).is_empty()))
}

/// The process that listens on `port`: its pid and command line.
pub(crate) fn find(port: u16) -> Option<(u32, String)> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .collect();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Unreadable for other users' processes.
        let Ok(files) = fs::read_dir(entry.path().join("fd")) else { continue };
        let holds =
            files.flatten().filter_map(|file| fs::read_link(file.path()).ok()).any(|link| {
                link.to_str()
                    .and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']'))
                    .is_some_and(|inode| inodes.iter().any(|wanted| wanted == inode))
            });
        if holds {
            return Some((pid, command_of(pid).unwrap_or_default()));
        }
    }
    None
}

/// The command line of a process.
pub(crate) fn command_of(pid: u32) -> Option<String> {
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> = command
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(String::from_utf8_lossy)
        .collect();
    Some(without_secrets(&words))
}

/// A command line may carry a token; it is not repeated.
pub(crate) fn without_secrets(words: &[std::borrow::Cow<'_, str>]) -> String {
    let mut shown = Vec::new();
    let mut hide = false;
    for word in words {
        shown.push(match word.split_once('=') {
            _ if hide => "***".to_string(),
            Some(("--token", _)) => "--token=***".to_string(),
            _ => word.to_string(),
        });
        hide = word == "--token";
    }
    shown.join(" ")
}

/// Inodes of the sockets in state LISTEN (0A) on `port`, from a table of procfs.
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
            let matches = u16::from_str_radix(local_port, 16).ok()? == port;
            (matches && *fields.get(3)? == "0A").then(|| fields.get(9).map(|s| s.to_string()))?
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_this_process_is_found_with_its_command() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (pid, command) = find(listener.local_addr().unwrap().port()).expect("it is ours");
        assert_eq!(pid, std::process::id());
        assert!(!command.is_empty());
    }

    #[test]
    fn a_port_is_free_only_where_that_can_be_seen() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(is_held(port).unwrap());
        drop(listener);
        assert!(!is_held(port).unwrap());
        is_held_by(Path::new("/nowhere"), port).expect_err("nobody knows");
    }

    #[test]
    fn tokens_of_a_command_line_are_not_repeated() {
        let words = ["moorline", "--token", "s3cret", "--token=s3cret", "serve"].map(Into::into);
        assert_eq!(without_secrets(&words), "moorline --token *** --token=*** serve");
    }
}
