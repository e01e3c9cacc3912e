//! The agents: each run goes to the backend of its agent.
//!
//! ```text
//! loop ── Run ──▶ Agents ──▶ echo: a thread that says what it is told
//!                    │
//!                    └─────▶ openai: tasks of one thread, which ask endpoints and stream what they say
//!                               │
//! loop ◀── outcomes, states ────┘
//! ```
//!
//! | file | idea |
//! |---|---|
//! | `echo` | the built-in agent |
//! | `runner` | the thread of all tasks that ask endpoints |
//! | `upstream` | one endpoint: who may ask it now, and whether it works |
//! | `openai` | how it is asked, and what it says |
//! | `endpoint` `proxy` `connector` `stream` `pool` | connections to it |

mod connector;
mod echo;
mod endpoint;
mod openai;
mod pool;
mod proxy;
mod runner;
mod stream;
mod upstream;

pub(crate) use endpoint::Endpoint;

use super::{Job, Mailbox};
use crate::config::{AgentSettings, Backend};
use crate::environment;
use moorline_core::gateway::{AgentState, Code, Outcome, Run, RunFailure};
use proxy::Proxies;
use runner::Runner;
use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use upstream::Upstream;

/// All agents. Clones are the same ones.
#[derive(Clone)]
pub(crate) struct Agents(Arc<Inner>);

struct Inner {
    mailboxes: Vec<Mailbox>,
    echo: Sender<echo::Task>,
    proxies: Proxies,
    /// Started with the first backend that needs it.
    runner: OnceLock<Runner>,
    /// By the ids of the agents.
    ways: RwLock<BTreeMap<String, Way>>,
}

/// Where the runs of an agent go.
#[derive(Clone)]
enum Way {
    Echo,
    OpenAi(Arc<Upstream>),
}

impl Agents {
    pub(super) fn start(mailboxes: &[Mailbox], agents: &[AgentSettings]) -> io::Result<Self> {
        let (proxies, wrong) = Proxies::read(environment::text);
        for wrong in wrong {
            tracing::warn!("{wrong}");
        }
        let echo = echo::start(mailboxes.to_vec())?;
        let (runner, ways) = (OnceLock::new(), RwLock::default());
        let mailboxes = mailboxes.to_vec();
        let agents_now = Self(Arc::new(Inner { mailboxes, echo, proxies, runner, ways }));
        agents_now.replace(agents)?;
        agents_now.tell();
        Ok(agents_now)
    }

    /// Other agents, or others of their settings. Runs that are under way go on as they were begun, and what
    /// has not changed goes on with all that is known of it.
    pub(crate) fn replace(&self, agents: &[AgentSettings]) -> io::Result<()> {
        let old = self.0.ways.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut ways = BTreeMap::new();
        for agent in agents {
            let way = match (&agent.backend, old.get(&agent.id)) {
                // The gateway itself gives them their runs.
                (Backend::Worker(_), _) => continue,
                (Backend::Echo, _) => Way::Echo,
                (Backend::OpenAi(settings), Some(Way::OpenAi(upstream)))
                    if upstream.is_as(settings) =>
                {
                    Way::OpenAi(upstream.clone())
                }
                (Backend::OpenAi(settings), _) => {
                    let (executor, mailboxes) = (self.runner()?.executor(), &self.0.mailboxes);
                    let proxy = self.0.proxies.of(&settings.base_url).cloned();
                    let upstream =
                        Upstream::new(&agent.id, settings, proxy, executor, mailboxes.clone());
                    Way::OpenAi(Arc::new(upstream))
                }
            };
            ways.insert(agent.id.clone(), way);
        }
        for (id, way) in &old {
            if let Way::OpenAi(upstream) = way {
                let stays = ways.get(id).is_some_and(
                    |way| matches!(way, Way::OpenAi(other) if Arc::ptr_eq(other, upstream)),
                );
                if !stays {
                    upstream.retire();
                }
            }
        }
        *self.0.ways.write().unwrap_or_else(PoisonError::into_inner) = ways;
        Ok(())
    }

    /// Tells all loops how each agent is; of a new one they know nothing.
    pub(crate) fn tell(&self) {
        let ways = self.0.ways.read().unwrap_or_else(PoisonError::into_inner).clone();
        for (id, way) in ways {
            match way {
                Way::Echo => {
                    for mailbox in &self.0.mailboxes {
                        mailbox.tell_agent(&id, AgentState::default());
                    }
                }
                Way::OpenAi(upstream) => upstream.tell(),
            }
        }
    }

    pub(super) fn begin(&self, job: Job, run: Run) {
        let way = {
            let ways = self.0.ways.read().unwrap_or_else(PoisonError::into_inner);
            ways.get(&*run.agent).cloned()
        };
        // Sending fails only when a thread has panicked; the gateway's own deadlines tell the users.
        match way {
            Some(Way::Echo) => drop(self.0.echo.send(echo::Task::Start(job, run))),
            Some(Way::OpenAi(upstream)) => match self.runner() {
                Ok(runner) => runner.begin(job, run, upstream),
                Err(error) => tracing::error!(%error, "the thread of the agents cannot be started"),
            },
            // A loop that has not taken over a configuration yet, in which this agent is gone.
            None => {
                let failure = RunFailure::new(Code::NotFound, "this agent is not there any more");
                self.0.mailboxes[job.node].answer(job.id, Outcome::Failed(failure));
            }
        }
    }

    pub(super) fn cancel(&self, job: Job) {
        // Whoever has it knows its name; others do not.
        let _ = self.0.echo.send(echo::Task::Cancel(job));
        if let Some(runner) = self.0.runner.get() {
            runner.cancel(job);
        }
    }

    fn runner(&self) -> io::Result<&Runner> {
        if let Some(runner) = self.0.runner.get() {
            return Ok(runner);
        }
        let runner = Runner::start(self.0.mailboxes.clone())?;
        Ok(self.0.runner.get_or_init(|| runner))
    }
}
