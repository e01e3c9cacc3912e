//! What workers do, and how they are lost.

use super::rng::Rng;
use super::story::Who;
use super::wire::Pace;
use super::work::mark;
use super::worker::{Ask, Step, Task, worker_secret};
use super::world::{Due, Owner, World};
use moorline_core::CloseCode;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Duration;

/// It reads everything at once when this has passed, and that is never.
const NEVER: Duration = Duration::from_secs(1000 * 3600);

impl World {
    /// A worker does something after a while.
    pub fn worker_soon(&mut self, worker: usize, after: Duration) {
        let at = self.now + after;
        self.workers[worker].armed = Some(at);
        self.at(at, Due::WorkerAct(worker));
    }

    pub fn worker_act(&mut self, worker: usize) {
        let Some(wire) = self.workers[worker].wire else {
            if self.busy || self.workers[worker].stays {
                self.worker_dials(worker);
            }
            return;
        };
        let has_runs = !self.workers[worker].runs.is_empty();
        if !self.workers[worker].logged_in || !has_runs && !self.busy {
            return;
        }
        let pause = if has_runs { self.rng.millis(20, 900) } else { self.pause() };
        self.worker_soon(worker, pause);
        if has_runs && (self.rng.percent(97) || !self.busy) {
            return self.worker_goes_on(worker);
        }
        match self.rng.index(100) {
            0..30 => self.worker_registers(worker),
            30..38 => self.worker_asks(worker, "agent.drain", &json!({}), Ask::Drain),
            38..43 => {
                let wrong = self.rng.percent(20);
                self.worker_logs_in(worker, wrong);
            }
            43..53 => self.worker_speaks_of_others(worker),
            53..56 => {
                let params = json!({"message": "mine", "agentId": "echo"});
                self.worker_asks(worker, "chat.send", &params, Ask::Foreign);
            }
            56..72 => self.worker_pace(worker, wire),
            72..84 => self.worker_loses(worker),
            84..92 => self.worker_goodbye(worker),
            92..95 => {
                self.tell(Who::Worker(worker), "takes over", (0, 0));
                self.workers[worker].offline();
                self.worker_dials(worker);
            }
            _ => {}
        }
    }

    // --- coming and going ------------------------------------------------------------------------

    fn worker_dials(&mut self, worker: usize) {
        let wait = self.rng.millis(200, 3000) * (self.workers[worker].failures.min(4) + 1);
        if !self.listening {
            self.workers[worker].failures += 1;
            return self.worker_soon(worker, wait);
        }
        let node = self.rng.index(self.hosts.len());
        let id = self.connect(node, Owner::Worker(worker));
        self.tell(Who::Worker(worker), "dials", (id, node as u64));
        self.workers[worker].wire = Some(id);
        self.workers[worker].reads_from = self.now;
        self.drive_client(id);
    }

    /// A second time on a connection: what it had is lost by that.
    pub fn worker_logs_in(&mut self, worker: usize, wrong: bool) {
        let token = worker_secret(if wrong { "nobody" } else { self.workers[worker].agent });
        self.tell(Who::Worker(worker), "logs in", (u64::from(wrong), 0));
        if let Some(wire) = self.workers[worker].wire {
            for (run, task) in &self.workers[worker].runs {
                self.work.over(wire, run, task.attempt);
            }
        }
        self.workers[worker].lose_all();
        let params = json!({"token": token, "role": "agent"});
        self.worker_asks(worker, "connect", &params, Ask::Connect { wrong });
        if self.rng.percent(30) {
            // Before there is an answer.
            self.worker_registers(worker);
        }
    }

    pub fn worker_registers(&mut self, worker: usize) {
        let concurrency = self.rng.between(1, 4);
        let mut params = json!({"concurrency": concurrency});
        if self.rng.percent(50) {
            params["agents"] = json!([self.workers[worker].agent]);
        }
        if self.worker_says(worker, "agent.register", &params, Some(Ask::Register)) {
            self.workers[worker].wants(concurrency);
        }
    }

    /// The worker has no connection any more, as far as it knows.
    pub fn worker_lost(&mut self, worker: usize) {
        self.workers[worker].offline();
        let wait = self.until_back();
        self.worker_soon(worker, wait);
    }

    pub fn worker_loses(&mut self, worker: usize) {
        let Some(id) = self.workers[worker].wire else { return };
        let how = self.rng.index(5);
        self.tell(Who::Worker(worker), "loses", (id, how as u64));
        if self.cut(id, how) {
            self.worker_lost(worker);
        }
    }

    fn worker_goodbye(&mut self, worker: usize) {
        let Some(id) = self.workers[worker].wire else { return };
        self.tell(Who::Worker(worker), "goodbye", (id, 0));
        if let Some(client) = self.wires.get_mut(&id).and_then(|wire| wire.client.as_mut()) {
            client.close(self.now, CloseCode::NORMAL, "");
        }
        self.worker_lost(worker);
        self.drive_client(id);
    }

    fn worker_pace(&mut self, worker: usize, id: u64) {
        let (now, kind) = (self.now, self.rng.index(4));
        let stall = self.rng.seconds(1, 40);
        let pace =
            Pace { most: self.rng.between(300, 3000) as usize, every: self.rng.millis(5, 300) };
        let Some(wire) = self.wires.get_mut(&id) else { return };
        self.workers[worker].reads_from = match kind {
            0 | 1 => {
                wire.pace = Pace::FAST;
                now
            }
            2 => {
                wire.pace = pace;
                now + NEVER
            }
            _ => {
                wire.stall(now + stall);
                now + if wire.pace.most == Pace::FAST.most { stall } else { NEVER }
            }
        };
        self.tell(Who::Conn(id), "pace", (kind as u64, 1));
        self.arm(id);
    }

    // --- saying ----------------------------------------------------------------------------------

    fn worker_asks(&mut self, worker: usize, method: &str, params: &Value, ask: Ask) {
        self.worker_says(worker, method, params, Some(ask));
    }

    /// A request, with an id if an answer is wanted. Says whether it has left.
    fn worker_says(
        &mut self,
        worker: usize,
        method: &str,
        params: &Value,
        ask: Option<Ask>,
    ) -> bool {
        let Some(id) = self.workers[worker].wire else { return false };
        let state = &mut self.workers[worker];
        state.requests += 1;
        let name = if ask.is_some() { format!("{method}-{}", state.requests) } else { "".into() };
        let text = json!({"type": "req", "id": name, "method": method, "params": params});
        let Some(client) = self.wires.get_mut(&id).and_then(|wire| wire.client.as_mut()) else {
            return false;
        };
        if client.outbox(self.now).text(&text.to_string()).is_err() {
            return false;
        }
        if let Some(ask) = ask {
            self.workers[worker].asked.insert(name, ask);
        }
        self.tell(Who::Worker(worker), "says", (id, text.to_string().len() as u64));
        self.drive_client(id);
        true
    }

    /// Some run of its own goes on.
    fn worker_goes_on(&mut self, worker: usize) {
        let at = self.rng.index(self.workers[worker].runs.len());
        let Some((run, task)) = self.workers[worker].runs.iter_mut().nth(at) else { return };
        let (run, number, attempt) = (run.clone(), task.number, task.attempt);
        let Some(step) = task.steps.pop_front() else { return };
        let (method, more) = match &step {
            Step::Say(text) => ("run.delta", json!({"text": text})),
            Step::Think => ("run.thinking", json!({"text": "hm ".repeat(self.rng.index(500))})),
            Step::Call => {
                let call =
                    json!({"phase": "call", "id": "c", "name": "look", "arguments": {"at": "it"}});
                ("run.tool", call)
            }
            Step::Result => {
                let result = "seen ".repeat(self.rng.index(600));
                (
                    "run.tool",
                    json!({"phase": "result", "id": "c", "name": "look", "result": result}),
                )
            }
            Step::Complete { again } => {
                let usage = json!({"prompt_tokens": 1, "completion_tokens": 2});
                let said = self.work.complete(number);
                let params = match again {
                    true => json!({"usage": usage, "content": said}),
                    false => json!({"usage": usage}),
                };
                ("run.complete", params)
            }
            Step::Fail(code) => ("run.fail", json!({"code": code, "message": "out of order"})),
        };
        if let Step::Say(text) = &step {
            self.work.say(number, text);
        }
        if matches!(step, Step::Complete { .. } | Step::Fail(_)) {
            if let Some(wire) = self.workers[worker].wire {
                self.work.over(wire, &run, attempt);
            }
            self.workers[worker].end(&run);
        }
        let mut params = more;
        params["runId"] = run.into();
        let ask = self.rng.percent(10).then_some(Ask::Said);
        self.worker_says(worker, method, &params, ask);
    }

    /// It says something of a run that is not its own, or no more.
    fn worker_speaks_of_others(&mut self, worker: usize) {
        let own = &self.workers[worker];
        let others = self.workers.iter().filter(|other| other.agent != own.agent);
        let others = others.flat_map(|other| other.runs.keys());
        // One that goes on, or begins anew, may be on its way to this worker.
        let over = own.over.iter().filter(|run| self.work.is_completed(run));
        let all: Vec<_> = over.chain(others).collect();
        if all.is_empty() {
            return;
        }
        let run = all[self.rng.index(all.len())].clone();
        let (method, params) = match self.rng.index(2) {
            0 => ("run.delta", json!({"runId": run, "text": "not mine"})),
            _ => ("run.complete", json!({"runId": run, "content": "not mine"})),
        };
        self.worker_asks(worker, method, &params, Ask::Foreign);
    }

    /// What a worker will make of a run.
    pub fn task(&mut self, message: &str, attempt: u64) -> Task {
        let (number, first) = self.work.begin(message);
        let rng = &mut self.rng;
        let mut steps = VecDeque::new();
        if rng.percent(20) {
            steps.push_back(aside(rng));
        }
        steps.push_back(Step::Say(first));
        for word in 0..rng.index(8) {
            if rng.percent(10) {
                steps.push_back(aside(rng));
            }
            let more =
                if rng.once_in(20) { "and so on ".repeat(rng.index(400)) } else { "".into() };
            steps.push_back(Step::Say(format!(" {word}{}{more}", mark(number))));
        }
        match rng.index(20) {
            0 => {}
            1 => steps.truncate(rng.index(steps.len() + 1)),
            2 | 3 => {
                let codes = ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "INTERNAL"];
                steps.truncate(rng.index(steps.len() + 1));
                steps.push_back(Step::Fail(codes[rng.index(codes.len())]));
            }
            _ => steps.push_back(Step::Complete { again: rng.percent(50) }),
        }
        Task { number, attempt, steps }
    }
}

/// Something that a worker does between its words.
fn aside(rng: &mut Rng) -> Step {
    [Step::Think, Step::Call, Step::Result][rng.index(3)].clone()
}
