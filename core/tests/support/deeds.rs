//! What the host of the small world does when a gateway asks for it: its store, its disk, its agents, its bus.

use super::{DiskMode, FilesMode, StoreMode, World};
use moorline_core::gateway::*;
use std::collections::VecDeque;
use std::time::Duration;

impl World {
    pub(super) fn act(&mut self) {
        let mut bus = VecDeque::new();
        loop {
            for node in 0..self.nodes.len() {
                while let Some(action) = self.nodes[node].poll_action() {
                    self.act_on(node, action, &mut bus);
                }
            }
            let Some((node, message)) = bus.pop_front() else { return };
            self.nodes[node].handle_message(self.now, message);
        }
    }

    fn act_on(&mut self, node: usize, action: Action, bus: &mut VecDeque<(usize, BusMessage)>) {
        let now = self.now;
        match action {
            Action::Send { to, frame } => {
                let client = self.clients.iter_mut().find(|client| client.id == to);
                deliver(client.expect("a client").server.outbox(now), &frame);
            }
            Action::Close { conn, code, reason } => {
                let client = self.clients.iter_mut().find(|client| client.id == conn);
                client.expect("a client").server.close(now, code, &reason);
            }
            Action::GiveUp { conn } => {
                let client = self.clients.iter_mut().find(|client| client.id == conn);
                client.expect("a client").server.outbox(now).give_up();
            }
            Action::Start { job, work: Work::Store(work) } => {
                let outcome = match self.store_mode {
                    StoreMode::Works => self.store.execute(work),
                    StoreMode::Fails => StoreOutcome::Failed(StoreError::Unavailable),
                    StoreMode::Full => StoreOutcome::Failed(StoreError::Full),
                    StoreMode::Hangs => return,
                };
                let wait = Duration::from_secs(u64::from(self.slow == Some(node)));
                self.later(wait, node, job, Outcome::Store(outcome));
            }
            Action::Respond { conn, answer } => {
                let client = self.clients.iter_mut().find(|client| client.id == conn);
                answer.write(client.expect("a client").server.outbox(now));
            }
            Action::Body { conn, piece } => {
                let client = self.clients.iter_mut().find(|client| client.id == conn);
                // It fails when the connection has ended.
                let _ = client.expect("a client").server.outbox(now).body(piece);
            }
            Action::EndBody { conn } => {
                let client = self.clients.iter_mut().find(|client| client.id == conn);
                let _ = client.expect("a client").server.outbox(now).end_body();
            }
            Action::HoldBody { conn, hold } => {
                let client = self.clients.iter_mut().find(|client| client.id == conn);
                client.expect("a client").server.outbox(now).hold_body(hold);
            }
            Action::Start { job, work: Work::Media(work) } => {
                let wait = match self.disk.mode {
                    DiskMode::Hangs => return,
                    DiskMode::Slow(time) => {
                        self.disk_busy = self.disk_busy.max(now) + time;
                        self.disk_busy - now
                    }
                    _ => Duration::ZERO,
                };
                let outcome = self.disk.execute(work);
                self.later(wait, node, job, Outcome::Media(outcome));
            }
            Action::Start { job, work: Work::Site(work) } => {
                let wait = match self.files.mode {
                    FilesMode::Hangs => return,
                    FilesMode::Slow(time) => time,
                    _ => Duration::ZERO,
                };
                let outcome = self.files.execute(work);
                self.later(wait, node, job, Outcome::Site(outcome));
            }
            Action::Start { job, work: Work::Logs(query) } => {
                if let Some(log) = &self.log {
                    let page = log.read(query);
                    self.later(Duration::ZERO, node, job, Outcome::Logs(page));
                }
            }
            Action::Start { job, work: Work::Metrics } => {
                if let Some(text) = &self.metrics {
                    self.later(Duration::ZERO, node, job, Outcome::Metrics(text.clone()));
                }
            }
            Action::Start { job, work: Work::Host(work) } => {
                self.host_asked.push(work);
                if let Some(outcome) = self.host_says.clone() {
                    self.later(Duration::ZERO, node, job, Outcome::Host(outcome));
                }
            }
            Action::Start { job, work: Work::Run(run) } => {
                let step = Duration::from_millis(20);
                let mut wait = step;
                match &*run.agent {
                    "stuck" => {}
                    "script" => {
                        for outcome in self.script.clone() {
                            self.later(wait, node, job, outcome);
                            wait += step;
                        }
                    }
                    "broken" => self.later(wait, node, job, Outcome::Failed("out of order".into())),
                    _ => {
                        for chunk in echo_chunks(&run.message) {
                            self.later(wait, node, job, Outcome::Chunk(chunk.into()));
                            wait += step;
                        }
                        let content = run.message.to_string();
                        let usage = Usage { prompt_tokens: 1, completion_tokens: 2 };
                        self.later(
                            wait,
                            node,
                            job,
                            Outcome::Done { content, usage, stop: StopReason::Stop },
                        );
                    }
                }
                self.runs.push(run);
            }
            Action::Cancel { job } => {
                self.cancelled += 1;
                self.due.retain(|_, (at, other, _)| *at != node || *other != job);
            }
            Action::Publish { to, message } => {
                self.published += 1;
                for other in 0..self.nodes.len() {
                    let meant = match to {
                        Route::Node(id) => usize::from(id.0) == other,
                        Route::Others => other != node,
                    };
                    if meant && self.late == Some((node, other)) {
                        self.on_the_way.push(message.clone());
                    } else if meant
                        && !self.cut_off.contains(&other)
                        && !self.cut_off.contains(&node)
                    {
                        bus.push_back((other, message.clone()));
                    }
                }
            }
            Action::Note(fact) => self.facts.push(fact),
        }
    }

    fn later(&mut self, wait: Duration, node: usize, job: JobId, outcome: Outcome) {
        self.ticket += 1;
        self.due.insert((self.now + wait, self.ticket), (node, job, outcome));
    }
}
