//! What clients said and what they were told of it: at the end it must be in the history.

use super::store::Store;
use super::work::Work;
use super::worker::{FAILS, REQUEUES};
use moorline_core::gateway::Message;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Instant;

/// One message of a user.
#[derive(Debug)]
pub struct Said {
    pub user: &'static str,
    pub text: String,
    pub key: Option<String>,
    pub agent: &'static str,
    /// The session that it was sent to; none makes a new one.
    pub to: Option<String>,
    /// Its client keeps the conversation: nothing of it is stored.
    pub apart: bool,
    pub ack: bool,
    /// When it was sent first.
    pub since: Instant,
    /// The gateway has taken it: its run and its session.
    pub taken: Option<(String, String)>,
    /// The answer and its message's id.
    pub answer: Option<(String, String)>,
}

impl Said {
    /// Nobody needs its answer but the one connection that has asked.
    pub fn is_lonely(&self) -> bool {
        self.apart && self.key.is_none()
    }

    pub fn params(&self) -> Value {
        let mut params = serde_json::json!({"message": self.text, "ack": self.ack});
        if self.to.is_none() {
            params["agentId"] = self.agent.into();
        }
        if let Some(key) = &self.key {
            params["idempotencyKey"] = key.as_str().into();
        }
        if let Some(session) = &self.to {
            params["sessionKey"] = session.as_str().into();
        }
        params
    }

    /// An answer that is no error.
    pub fn answered(&mut self, payload: &Value) -> Result<(), String> {
        let text = |name: &str| payload[name].as_str().map(str::to_owned);
        let run = text("runId").ok_or("an answer without a run")?;
        let session = text("sessionKey").ok_or("an answer without a session")?;
        if self.to.as_ref().is_some_and(|to| *to != session) {
            return Err(format!("the answer is about {session}"));
        }
        let taken = (run, session);
        match &self.taken {
            Some(before) if self.key.is_some() && *before != taken => {
                return Err(format!("{taken:?} now, and {before:?} before"));
            }
            _ => self.taken = Some(taken),
        }
        if let (Some(content), Some(id)) = (text("content"), text("messageId")) {
            let answer = (content, id);
            if self.answer.as_ref().is_some_and(|before| *before != answer) {
                return Err("another answer than before".into());
            }
            self.answer = Some(answer);
        }
        Ok(())
    }
}

/// Everything that was ever said.
#[derive(Debug, Default)]
pub struct Ledger {
    pub said: Vec<Said>,
}

impl Ledger {
    /// The place of what was said.
    pub fn number(&self, text: &str) -> Option<usize> {
        let number: usize = text.split(' ').nth(2)?.parse().ok()?;
        (self.said.get(number)?.text == text).then_some(number)
    }

    /// What was acknowledged is in the store, and nothing is there twice; gives how much was
    /// acknowledged.
    pub fn check(
        &self,
        users: &[&'static str],
        store: &mut Store,
        work: &Work,
    ) -> Result<usize, String> {
        let histories: BTreeMap<_, _> =
            users.iter().map(|user| (*user, store.said(user))).collect();
        // All that users and agents said, and in which session.
        let mut found: BTreeMap<(&str, &str, &str), Vec<&str>> = BTreeMap::new();
        for (user, sessions) in &histories {
            for (session, messages) in sessions {
                for Message { author, text, .. } in messages {
                    work.check(text, true)?;
                    // An answer of a worker by what it answers.
                    let text = text.split(" #").next().unwrap_or(text);
                    let name = (*user, author.as_str(), text);
                    found.entry(name).or_default().push(session);
                }
            }
        }
        let mut acknowledged = 0;
        for said in &self.said {
            let of = |author, text| {
                found.get(&(said.user, author, text)).map_or(&[][..], |at| at.as_slice())
            };
            let there = of("user", &said.text);
            if said.apart && !there.is_empty() {
                return Err(format!("{said:?} is in {there:?}, and its client keeps it"));
            }
            if there.len() > 1 {
                return Err(format!("{said:?} is there {} times", there.len()));
            }
            if let Some((_, session)) = &said.taken {
                acknowledged += 1;
                if there != [session] {
                    return Err(format!("{said:?} was acknowledged and is in {there:?}"));
                }
            }
            if let Some((content, id)) = &said.answer {
                let (_, session) = said.taken.as_ref().ok_or("an answer to nothing")?;
                let messages = histories[said.user].get(session.as_str()).ok_or("no session")?;
                let mut with_id = messages.iter().filter(|message| message.id.to_string() == *id);
                if with_id.next().is_none_or(|message| *message.text != **content) {
                    return Err(format!("the answer to {said:?} is not in the history"));
                }
            }
            let answers_once = ["echo", FAILS, REQUEUES].contains(&said.agent);
            if answers_once && of("assistant", &format!("re: {}", said.text)).len() > 1 {
                return Err(format!("{said:?} was answered twice"));
            }
        }
        Ok(acknowledged)
    }
}
