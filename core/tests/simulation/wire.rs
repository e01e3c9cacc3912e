//! A transport with a connection at each end, driven as an adapter drives them.

use super::host::Host;
use super::pipe::{Ending, Pipe, Read};
use super::rng::Rng;
use super::world::Owner;
use moorline_core::gateway::ConnId;
use moorline_core::{Cause, Connection, End, Event, Outbox, Turn};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::{Duration, Instant};

/// What a client's end brought.
#[derive(Debug)]
pub enum News {
    Open,
    Text(String),
    /// The gateway's answer to the upgrade was no.
    Refused(u16),
    Closed(u16, String),
    /// Bytes of plain HTTP, and their end.
    Bytes(Vec<u8>),
    End,
}

/// How a client reads.
#[derive(Debug, Copy, Clone)]
pub struct Pace {
    pub most: usize,
    pub every: Duration,
}

impl Pace {
    pub const FAST: Self = Self { most: 64 * 1024, every: Duration::ZERO };
}

#[derive(Debug)]
pub struct Wire {
    pub id: ConnId,
    pub node: usize,
    /// Whose client end it is.
    pub owner: Owner,
    /// Each end, until its socket is dropped.
    pub server: Option<Connection>,
    pub client: Option<Connection>,
    /// Bytes that the client's end has to send, if it speaks plain HTTP.
    pub plain: Option<VecDeque<u8>>,
    pub up: Pipe,
    pub down: Pipe,
    pub news: Vec<News>,
    pub pace: Pace,
    next_read: Instant,
    server_eof: bool,
    client_eof: bool,
    server_shut: bool,
    client_shut: bool,
    /// How often the gateway was told that it is closed.
    pub closed: u32,
    /// The process of the server's end was killed.
    pub killed: bool,
    /// When the server's end last got a byte, and last got rid of one.
    pub heard: Instant,
    pub moved: Instant,
    /// Since when nobody is logged in at the server's end.
    pub anonymous: Option<Instant>,
    /// Pings that reached the client.
    pub pings: u64,
    pub server_armed: Option<Instant>,
    pub client_armed: Option<Instant>,
}

impl Wire {
    pub fn new(
        id: ConnId,
        node: usize,
        (server, client): (Connection, Connection),
        (up, down): (Pipe, Pipe),
        now: Instant,
    ) -> Self {
        Self {
            id,
            node,
            owner: Owner::Nobody,
            server: Some(server),
            client: Some(client),
            plain: None,
            up,
            down,
            news: Vec::new(),
            pace: Pace::FAST,
            next_read: now,
            server_eof: false,
            client_eof: false,
            server_shut: false,
            client_shut: false,
            closed: 0,
            killed: false,
            heard: now,
            moved: now,
            anonymous: Some(now),
            pings: 0,
            server_armed: None,
            client_armed: None,
        }
    }

    /// The client does not read until then.
    pub fn stall(&mut self, until: Instant) {
        self.next_read = until;
    }

    // --- the server's end ------------------------------------------------------------------------

    pub fn drive_server(&mut self, now: Instant, host: &mut Host, rng: &mut Rng) {
        loop {
            self.flush_server(now, host, rng);
            let Some(server) = &mut self.server else { return };
            let wants = server.wants();
            match wants.end {
                End::Stay => {}
                End::ShutdownWrite => {
                    if !std::mem::replace(&mut self.server_shut, true) {
                        self.down.end(now, Ending::Fin, rng);
                    }
                }
                End::Drop => return self.drop_server(now, rng),
            }
            let turn = if wants.wake_at.is_some_and(|at| at <= now) {
                server.handle_deadline(now)
            } else if wants.read && !self.server_eof {
                match self.up.read(now, 16 * 1024) {
                    Read::Nothing => return,
                    Read::Eof => {
                        self.server_eof = true;
                        server.handle_eof(now)
                    }
                    Read::Bytes(mut bytes) => {
                        self.heard = now;
                        drain(
                            server.receive(now, &mut bytes),
                            now,
                            self.id,
                            &mut self.closed,
                            host,
                        );
                        continue;
                    }
                }
            } else {
                return;
            };
            drain(turn, now, self.id, &mut self.closed, host);
        }
    }

    fn flush_server(&mut self, now: Instant, host: &mut Host, rng: &mut Rng) {
        let Some(server) = &mut self.server else { return };
        while !server.outbox(now).is_empty() {
            if self.down.is_reset(now) {
                // The write fails.
                self.server_eof = true;
                for _ in 0..2 {
                    drain(server.handle_eof(now), now, self.id, &mut self.closed, host);
                }
                return;
            }
            let (offered, count) = write(server.outbox(now), now, &mut self.down, rng);
            if count > 0 {
                self.moved = now;
            }
            let outbox = server.outbox(now);
            let goes_on = outbox.is_open() || outbox.wants_body();
            if count > 0 && outbox.is_empty() && goes_on {
                host.flushed(now, self.id, outbox);
            }
            if count < offered {
                return;
            }
        }
    }

    fn drop_server(&mut self, now: Instant, rng: &mut Rng) {
        self.server = None;
        if !std::mem::replace(&mut self.server_shut, true) {
            self.down.end(now, Ending::Fin, rng);
        }
        // What the client says now meets nobody: it is told so.
        self.up.end(now, Ending::Reset, rng);
    }

    /// When the server's end has something to do.
    pub fn server_next(&mut self, now: Instant) -> Option<Instant> {
        let server = self.server.as_mut()?;
        let wants = server.wants();
        let read = if wants.read && !self.server_eof { self.up.next() } else { None };
        let write = wants.write && (self.down.has_room() || self.down.is_reset(now));
        let reset = if wants.write { self.down.next() } else { None };
        let write = write.then_some(now).or(reset.filter(|at| *at > now));
        [wants.wake_at, read, write].into_iter().flatten().min()
    }

    // --- the client's end ------------------------------------------------------------------------

    pub fn drive_client(&mut self, now: Instant, rng: &mut Rng) {
        self.drive_plain(now, rng);
        loop {
            let Some(client) = &mut self.client else { return };
            while !client.outbox(now).is_empty() && !self.up.is_reset(now) {
                let (offered, count) = write(client.outbox(now), now, &mut self.up, rng);
                if count < offered {
                    break;
                }
            }
            let wants = client.wants();
            match wants.end {
                End::Stay => {}
                End::ShutdownWrite => {
                    if !std::mem::replace(&mut self.client_shut, true) {
                        self.up.end(now, Ending::Fin, rng);
                    }
                }
                End::Drop => return self.drop_client(now, rng),
            }
            let mut bytes;
            let turn = if wants.wake_at.is_some_and(|at| at <= now) {
                client.handle_deadline(now)
            } else if wants.read && !self.client_eof && self.next_read <= now {
                match self.down.read(now, self.pace.most) {
                    Read::Nothing => return,
                    Read::Eof => {
                        self.client_eof = true;
                        client.handle_eof(now)
                    }
                    Read::Bytes(read) => {
                        self.next_read = now + self.pace.every;
                        bytes = read;
                        client.receive(now, &mut bytes)
                    }
                }
            } else {
                return;
            };
            hear(turn, &mut self.news, &mut self.pings);
        }
    }

    fn drive_plain(&mut self, now: Instant, rng: &mut Rng) {
        loop {
            let Some(out) = &mut self.plain else { return };
            if !self.up.is_reset(now) {
                let count = self.up.write(now, out.make_contiguous(), rng);
                out.drain(..count);
            }
            if self.client_eof || self.next_read > now {
                return;
            }
            match self.down.read(now, self.pace.most) {
                Read::Nothing => return,
                Read::Eof => {
                    self.news.push(News::End);
                    return self.drop_client(now, rng);
                }
                Read::Bytes(bytes) => {
                    self.next_read = now + self.pace.every;
                    self.news.push(News::Bytes(bytes));
                }
            }
        }
    }

    /// Whether somebody is at the client's end.
    pub fn has_client(&self) -> bool {
        self.client.is_some() || self.plain.is_some()
    }

    /// The client's end is not there any more, and nobody is told.
    pub fn forget_client(&mut self) {
        (self.client, self.plain) = (None, None);
    }

    /// The client's socket is closed, orderly or not.
    pub fn drop_client(&mut self, now: Instant, rng: &mut Rng) {
        self.forget_client();
        if !std::mem::replace(&mut self.client_shut, true) {
            self.up.end(now, Ending::Fin, rng);
        }
        self.down.end(now, Ending::Reset, rng);
    }

    pub fn client_next(&mut self, now: Instant) -> Option<Instant> {
        if let Some(out) = &self.plain {
            let read = self.down.next().map(|at| at.max(self.next_read));
            let write = !out.is_empty() && self.up.has_room() && !self.up.is_reset(now);
            return [read, write.then_some(now)].into_iter().flatten().min();
        }
        let client = self.client.as_mut()?;
        let wants = client.wants();
        let may_read = wants.read && !self.client_eof;
        let read = if may_read { self.down.next() } else { None };
        let write = wants.write && self.up.has_room() && !self.up.is_reset(now);
        let read = read.map(|at| at.max(self.next_read));
        [wants.wake_at, read, write.then_some(now)].into_iter().flatten().min()
    }
}

/// One vectored write; gives how much was offered and how much was taken.
fn write(outbox: &mut Outbox, now: Instant, pipe: &mut Pipe, rng: &mut Rng) -> (usize, usize) {
    let mut slices = [IoSlice::new(&[]); 32];
    let filled = outbox.slices(&mut slices);
    let (mut offered, mut count) = (0, 0);
    for slice in &slices[..filled] {
        if count == offered {
            count += pipe.write(now, slice, rng);
        }
        offered += slice.len();
    }
    outbox.written(now, count);
    (offered, count)
}

fn drain(mut turn: Turn<'_>, now: Instant, id: ConnId, closed: &mut u32, host: &mut Host) {
    while let Some((event, outbox)) = turn.next_event() {
        *closed += u32::from(matches!(event, Event::Closed(_)));
        host.event(now, id, event, outbox);
    }
}

fn hear(mut turn: Turn<'_>, news: &mut Vec<News>, pings: &mut u64) {
    while let Some((event, _)) = turn.next_event() {
        match event {
            Event::Open => news.push(News::Open),
            Event::Text(text) => news.push(News::Text(text.into())),
            Event::Ping(_) => *pings += 1,
            Event::Response(head) => news.push(News::Refused(head.status())),
            Event::Closed(cause) => {
                let reason = match cause {
                    Cause::Peer(_, reason) => reason.to_owned(),
                    other => other.to_string(),
                };
                news.push(News::Closed(cause.close_code().0, reason));
            }
            _ => {}
        }
    }
}
