//! The real binary as a process.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

/// A server that has said where it listens. It is killed when dropped.
pub struct Process {
    pub child: Child,
    pub address: SocketAddr,
}

impl Process {
    /// Starts it and waits until it serves.
    pub fn of(command: &mut Command) -> Self {
        Self::ready(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Waits until a process whose output can be read serves.
    pub fn ready(mut child: Child) -> Self {
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let url = ready.trim().rsplit_once("://").expect(&ready).1;
        let address = url.split('/').next().unwrap().parse().unwrap();
        Self { child, address }
    }

    /// `moorline echo`.
    pub fn echo() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_moorline"));
        Self::of(command.args(["echo", "--listen", "127.0.0.1:0"]))
    }

    /// SIGKILL: it has no time for anything.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// A line of `/proc/<pid>/status` that counts memory, in bytes.
    pub fn memory(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|found| found.starts_with(line)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
