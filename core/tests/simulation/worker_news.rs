//! What comes to a worker, and what it makes of it.

use super::guest_reader::fits;
use super::plan::USERS;
use super::story::Who;
use super::wire::News;
use super::worker::{ATTEMPTS, Ask, FAILS};
use super::world::World;
use serde_json::Value;

impl World {
    pub fn worker_news(&mut self, id: u64, worker: usize, news: News) {
        if self.workers[worker].wire != Some(id) {
            // An old connection of one that has another: nobody listens.
            return;
        }
        match news {
            News::Bytes(_) | News::End => panic!("plain HTTP on {id}"),
            News::Open => {}
            News::Text(text) => self.worker_text(id, worker, &text),
            News::Refused(status) => {
                assert!(matches!(status, 503 | 408), "an upgrade was refused with {status}");
                self.workers[worker].failures += 1;
            }
            News::Closed(code, reason) => {
                let logged_in = self.workers[worker].logged_in;
                self.tell(Who::Worker(worker), "closed", (code.into(), u64::from(logged_in)));
                let wrong = code == 1008 && reason == "handshake timeout" && logged_in;
                assert!(!wrong, "worker {worker} was logged in and is told: {reason}");
                self.worker_lost(worker);
            }
        }
    }

    fn worker_text(&mut self, id: u64, worker: usize, text: &str) {
        let message: Value = serde_json::from_str(text).expect("JSON");
        let payload = &message["payload"];
        match (message["type"].as_str(), message["event"].as_str()) {
            (Some("event"), Some("connect.challenge")) => {
                let wrong = self.rng.once_in(25);
                self.worker_logs_in(worker, wrong);
            }
            (Some("event"), Some("run.start")) => self.run_start(id, worker, payload),
            (Some("event"), Some("run.cancel")) => self.run_cancel(id, worker, payload),
            (Some("event"), Some("shutdown")) => {}
            (Some("res"), _) if message["id"] == "" => self.worker_refused(id, worker, &message),
            (Some("res"), _) => self.worker_answer(id, worker, &message),
            _ => panic!("worker {worker} cannot read {text}"),
        }
    }

    fn run_start(&mut self, id: u64, worker: usize, payload: &Value) {
        let state = &self.workers[worker];
        let text = |name: &str| payload[name].as_str().unwrap_or_else(|| panic!("{payload}"));
        let (run, message, user) = (text("runId"), text("message"), text("userId"));
        let attempt = payload["attempt"].as_u64().expect("a number");
        if state.asked.values().any(|ask| matches!(ask, Ask::Connect { .. })) {
            // It was given to the one that was logged in here before, and is lost with that.
            return self.tell(Who::Worker(worker), "given in vain", (id, attempt));
        }
        assert!(!state.drained, "worker {worker} drains and is given {payload}");
        let (has, most) = (state.runs.len(), state.most());
        assert!(has < most, "worker {worker} has {has} runs of {most} and is given {payload}");
        assert_eq!(text("agentId"), state.agent, "{payload}");
        let attempts = if state.agent == FAILS { 1 } else { u64::from(ATTEMPTS) };
        assert!((1..=attempts).contains(&attempt), "{payload}");
        assert!(USERS.contains(&user), "{payload}");
        let number = self.ledger.number(message);
        let said = number.map(|number| &self.ledger.said[number]);
        let said = said.unwrap_or_else(|| panic!("nobody said {payload}"));
        assert_eq!((said.user, &*said.text), (user, message));
        let session = said.to.as_deref().filter(|_| !said.apart);
        assert!(session.is_none_or(|to| to == text("sessionKey")), "{payload} of {said:?}");
        for message in payload["history"].as_array().expect("a list") {
            let text = message["content"].as_str().expect("a text");
            if let Err(wrong) = fits(user, text).and_then(|()| self.work.check(text, true)) {
                panic!("worker {worker} is told of the past: {wrong}");
            }
        }
        if said.is_lonely() {
            self.lonely.extend(number.map(|number| (run.to_owned(), number)));
        }
        self.work.given(id, run, attempt);
        let task = self.task(message, attempt);
        self.seen.given += 1;
        self.seen.given_again += u64::from(attempt > 1);
        self.tell(Who::Worker(worker), "given", (id, task.number as u64));
        let before = self.workers[worker].runs.insert(run.to_owned(), task);
        assert!(before.is_none(), "worker {worker} has it already: {payload}");
        if self.busy && self.rng.percent(6) {
            return self.worker_loses(worker);
        }
        let pause = self.rng.millis(1, 900);
        self.worker_soon(worker, pause);
    }

    fn run_cancel(&mut self, id: u64, worker: usize, payload: &Value) {
        let run = payload["runId"].as_str().expect("a run");
        let reason = payload["reason"].as_str().expect("a reason");
        let known = matches!(reason, "stopped" | "timeout" | "refused" | "lost");
        assert!(known, "{payload}");
        self.tell(Who::Worker(worker), "cancel", (id, reason.len() as u64));
        // It may have ended it meanwhile.
        if let Some(task) = self.workers[worker].end(run) {
            self.work.over(id, run, task.attempt);
            self.seen.cancelled += 1;
        }
    }

    /// What it said of a run is not taken.
    fn worker_refused(&mut self, id: u64, worker: usize, message: &Value) {
        let error = &message["error"];
        let code = error["code"].as_str().unwrap_or_default();
        self.tell(Who::Worker(worker), "refused", (id, code.len() as u64));
        if matches!(code, "UNAUTHORIZED") {
            // It is logged out.
            return;
        }
        let run = error["details"]["runId"].as_str().unwrap_or_else(|| panic!("{message}"));
        let known = matches!(code, "FAILED_PRECONDITION" | "NOT_FOUND");
        assert!(known, "{message}");
        let task = self.workers[worker].runs.get(run);
        assert!(task.is_none(), "worker {worker} has {run} and is told {message}");
    }

    fn worker_answer(&mut self, id: u64, worker: usize, message: &Value) {
        let name = message["id"].as_str().expect("an id");
        let ask = self.workers[worker].asked.remove(name);
        let ask = ask.unwrap_or_else(|| panic!("an answer that nobody waits for: {message}"));
        let (ok, payload) = (message["ok"] == true, &message["payload"]);
        let code = message["error"]["code"].as_str().unwrap_or_default();
        self.tell(Who::Worker(worker), "answer", (u64::from(ok), code.len() as u64));
        let stops = code == "UNAVAILABLE";
        let is_out = code == "UNAUTHORIZED";
        match ask {
            Ask::Connect { wrong } if ok => {
                assert!(!wrong, "a wrong token is taken");
                assert_eq!(payload["agents"], serde_json::json!([self.workers[worker].agent]));
                let state = &mut self.workers[worker];
                (state.logged_in, state.failures) = (true, 0);
                self.seen.workers += 1;
                if self.rng.percent(95) {
                    self.worker_registers(worker);
                }
                let pause = self.rng.millis(1, 2000);
                if self.busy {
                    self.worker_soon(worker, pause);
                }
            }
            Ask::Connect { wrong } => {
                assert!(wrong && is_out || stops, "{message}");
                if wrong && self.rng.percent(80) {
                    self.worker_logs_in(worker, false);
                }
            }
            Ask::Register => {
                self.workers[worker].registered(ok);
                assert!(ok || stops || is_out, "{message}");
                if ok {
                    let active = payload["active"].as_u64().expect("a number") as usize;
                    assert!(active <= 1000, "{message}");
                }
            }
            // One that is not registered cannot.
            Ask::Drain => {
                assert!(ok || is_out || code == "FAILED_PRECONDITION", "{message}");
                // It may have registered behind it.
                let behind = self.workers[worker].asked.values().any(|ask| *ask == Ask::Register);
                self.workers[worker].drained = ok && !behind;
            }
            Ask::Said if ok => {}
            Ask::Said => self.worker_refused(id, worker, message),
            Ask::Foreign => {
                let known = matches!(
                    code,
                    "FORBIDDEN" | "NOT_FOUND" | "FAILED_PRECONDITION" | "UNAUTHORIZED"
                );
                assert!(!ok && known, "what is not its business is done for a worker: {message}");
            }
        }
    }
}
