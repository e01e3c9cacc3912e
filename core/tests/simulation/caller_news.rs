//! What comes to a client of the HTTP API, and whether that is what it should be told.

use super::caller::{Call, Told, What};
use super::guest_reader::fits;
use super::http_reader::Part;
use super::ledger::Said;
use super::story::Who;
use super::wire::News;
use super::work::Work;
use super::worker::{FAILS, REQUEUES};
use super::world::World;
use serde_json::Value;

impl World {
    pub fn caller_news(&mut self, id: u64, caller: usize, news: News) {
        if self.callers[caller].wire() != Some(id) {
            return;
        }
        let Some(mut call) = self.callers[caller].call.take() else { return };
        match news {
            News::Bytes(bytes) => {
                let parts = call.reader.take(&bytes);
                let taken = parts.and_then(|parts| {
                    parts.into_iter().try_for_each(|part| self.part(caller, &mut call, part))
                });
                if let Err(wrong) = taken {
                    panic!("caller {caller} on {id}: {wrong}: {call:?}");
                }
                if call.reader.is_whole() {
                    self.tell(Who::Caller(caller), "whole", (id, u64::from(call.status)));
                }
                self.callers[caller].call = Some(call);
            }
            News::End => {
                self.tell(Who::Caller(caller), "end", (id, u64::from(call.reader.is_whole())));
                if !call.reader.is_whole() {
                    self.check_cut(caller, &call);
                }
                let pause = self.until_back();
                if self.busy {
                    self.caller_soon(caller, pause);
                }
            }
            other => panic!("{other:?} on a connection of plain HTTP"),
        }
    }

    /// An answer that is cut off has a reason.
    fn check_cut(&mut self, caller: usize, call: &Call) {
        self.seen.http_cut += 1;
        let is_killed = self.wires.get(&call.wire).is_none_or(|wire| wire.killed);
        let stopped = self.ended.is_some_and(|at| at >= call.since);
        // It says more than a reader of few bytes can take in.
        let floods = match call.request.what {
            What::Say { number, .. } => self.ledger.said[number].agent == "flood",
            _ => false,
        };
        // Whoever has read the last event has read all that there is.
        let is_told = call.told.done || call.told.error.is_some();
        let known = is_killed || stopped || call.cut || (call.slow || floods) && !is_told;
        assert!(known, "caller {caller} is cut off: {call:?}");
    }

    fn part(&mut self, caller: usize, call: &mut Call, part: Part) -> Result<(), String> {
        match part {
            Part::Status(status) => {
                call.status = status;
                Ok(())
            }
            Part::Data(data) => match call.request.what {
                What::Say { number, stream: true, usage, .. } if call.status == 200 => {
                    let said = &mut self.ledger.said[number];
                    let told = call.told.event(&data, said, &self.work, usage);
                    if call.told.done {
                        self.is_answered(caller);
                    }
                    told
                }
                _ => Err(format!("an event that nobody has asked for: {data}")),
            },
            Part::Whole(body) => self.whole(caller, call, &body),
        }
    }

    fn whole(&mut self, caller: usize, call: &mut Call, body: &str) -> Result<(), String> {
        self.seen.http_calls += 1;
        match (call.request.what, call.status) {
            (What::Say { stream: true, .. }, 200) => {
                self.seen.http_errors += u64::from(call.told.error.is_some());
                if call.told.done == call.told.error.is_some() {
                    return Err("a stream ends and does not say how".into());
                }
                Ok(())
            }
            (What::Say { number, .. }, 200) => {
                let json: Value = serde_json::from_str(body).map_err(|_| "no JSON")?;
                let content = json["choices"][0]["message"]["content"].as_str();
                let said = &self.ledger.said[number];
                check_whole(content.ok_or("no content")?, said, &self.work)?;
                if json["object"] != "chat.completion" || !json["usage"]["total_tokens"].is_u64() {
                    return Err(format!("no completion: {body}"));
                }
                self.is_answered(caller);
                Ok(())
            }
            (What::Models, 200) => {
                let json: Value = serde_json::from_str(body).map_err(|_| "no JSON")?;
                let ids = json["data"].as_array().ok_or("no list")?.iter();
                let ids: Vec<_> = ids.filter_map(|model| model["id"].as_str()).collect();
                let known = ["echo", FAILS, REQUEUES].iter().all(|agent| ids.contains(agent));
                if known { Ok(()) } else { Err(format!("models that are not there: {ids:?}")) }
            }
            (what, status) => {
                self.seen.http_errors += 1;
                self.refused(what, status, body, call.request.pipelined)
            }
        }
    }

    /// It has the whole answer; some ask once more, and are told the same.
    fn is_answered(&mut self, caller: usize) {
        self.seen.http_whole += 1;
        if self.rng.percent(75) {
            self.callers[caller].again = None;
        }
    }

    fn refused(&self, what: What, status: u16, body: &str, piped: bool) -> Result<(), String> {
        let refused = || format!("{what:?} is refused with {status}: {body}");
        // Too slow for a request, or the gateway begins or stops.
        if matches!(status, 408 | 503) {
            return Ok(());
        }
        let error: Value = serde_json::from_str(body).map_err(|_| refused())?;
        if !error["error"]["message"].is_string() || !error["error"]["type"].is_string() {
            return Err(refused());
        }
        let known = match what {
            What::Wrong(wanted) => status == wanted,
            What::Models => false,
            What::Say { number, .. } => {
                let said = &self.ledger.said[number];
                let fails = !matches!(said.agent, "echo" | "flood" | "stuck");
                match status {
                    429 | 504 => true,
                    500 => fails,
                    // Somebody else has stopped it.
                    409 => !said.apart,
                    _ => piped && status == 400,
                }
            }
        };
        if known { Ok(()) } else { Err(refused()) }
    }

    /// Whoever asks has an end of that in time.
    pub fn check_callers(&self) {
        for (at, caller) in self.callers.iter().enumerate() {
            let Some(call) = caller.call.as_ref().filter(|call| !call.is_doubtful()) else {
                continue;
            };
            let within = super::caller_acts::ANSWERED_WITHIN;
            assert!(self.now < call.since + within, "caller {at} waits: {call:?}");
        }
        for (run, number) in &self.lonely {
            let wire = self.alone.get(number).and_then(|id| self.wires.get(id));
            let is_there = wire.is_some_and(|wire| wire.server.is_some() && wire.closed == 0);
            let goes_on = self.work.running().contains(run);
            assert!(is_there || !goes_on, "run {run} goes on, and {number} waits for nothing");
        }
        for (job, run) in &self.at_hosts {
            assert!(self.work.running().contains(run), "{job:?} of {run} was not stopped");
        }
    }
}

impl Told {
    /// Takes an event of a stream.
    fn event(
        &mut self,
        data: &str,
        said: &mut Said,
        work: &Work,
        usage: bool,
    ) -> Result<(), String> {
        if self.done || self.error.is_some() {
            return Err(format!("{data} after the end"));
        }
        if data == "[DONE]" {
            if self.finish.is_none() || self.usage != usage {
                return Err("an end without its reason or its cost".into());
            }
            self.done = true;
            return check_whole(&self.text, said, work);
        }
        let json: Value = serde_json::from_str(data).map_err(|_| "no JSON")?;
        if let Some(error) = json.get("error") {
            let code = error["code"].as_str().ok_or("an error without a code")?;
            let fails = !matches!(said.agent, "echo" | "flood" | "stuck");
            let known = match code {
                "unavailable" | "resource_exhausted" | "agent_timeout" => true,
                "internal" => fails,
                "run_cancelled" => !said.apart,
                _ => false,
            };
            self.error = Some(code.to_owned());
            return if known { Ok(()) } else { Err(format!("an error {error}")) };
        }
        let id = json["id"].as_str().ok_or("no id")?;
        let run = id.strip_prefix("chatcmpl-").ok_or("an id that is none")?;
        match &self.run {
            Some(known) if known != run => return Err(format!("{known} becomes {run}")),
            Some(_) => {}
            None => {
                self.run = Some(run.to_owned());
                if let Some(session) = &said.to {
                    said.taken.get_or_insert((run.to_owned(), session.clone()));
                }
            }
        }
        let Some(choice) = json["choices"].get(0) else {
            self.usage = json["usage"]["total_tokens"].is_u64();
            return Ok(());
        };
        if self.finish.is_some() {
            return Err("a piece after the last one".into());
        }
        self.finish = choice["finish_reason"].as_str().map(str::to_owned);
        self.text += choice["delta"]["content"].as_str().unwrap_or_default();
        let whole = format!("re: {}", said.text);
        if !whole.starts_with(&self.text) && !self.text.starts_with(&whole) {
            return Err(format!("that is no answer to {said:?}"));
        }
        fits(said.user, &self.text)?;
        work.check(&self.text, false)
    }
}

/// The whole answer to what was said.
fn check_whole(text: &str, said: &Said, work: &Work) -> Result<(), String> {
    let whole = format!("re: {}", said.text);
    let is_it = match said.agent {
        FAILS | REQUEUES => text.contains(" #"),
        "flood" => text.starts_with(&whole),
        _ => text == whole,
    };
    if !is_it {
        return Err(format!("{text} is no answer to {said:?}"));
    }
    work.answers(text, &said.text)
}
