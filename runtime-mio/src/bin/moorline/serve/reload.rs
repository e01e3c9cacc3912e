//! SIGHUP: the configuration is read again, and taken over by all loops or by none.

use super::{kept_token, serving};
use crate::config::{KEYS, Key, Loaded, Sources};
use crate::failure::Failure;
use crate::jobs::Agents;
use crate::log::LogLevel;
use crate::peer_text::PeerText;
use crate::service_manager;
use crate::state_dir::StateDir;
use moorline_core::Limits;
use moorline_core::gateway::GatewayConfig;
use moorline_mio::Handle;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

/// A loop that has not taken over a configuration by then is told of.
const PATIENCE: Duration = Duration::from_secs(5);

/// A checked configuration on its way to a loop.
pub(super) struct Reload {
    pub(super) config: GatewayConfig,
    /// For connections from now on.
    pub(super) limits: Arc<Limits>,
    /// Dropped when the loop works by it.
    pub(super) done: Sender<Infallible>,
}

/// Where a loop finds it.
pub(super) struct ReloadInbox(Receiver<Reload>);

/// Where it is put for a loop.
pub(super) struct ReloadOutbox {
    sender: Sender<Reload>,
    handle: Handle,
}

impl Reload {
    /// The way to one loop.
    pub(super) fn channel(handle: Handle) -> (ReloadOutbox, ReloadInbox) {
        let (sender, receiver) = mpsc::channel();
        (ReloadOutbox { sender, handle }, ReloadInbox(receiver))
    }
}

impl ReloadInbox {
    /// The latest, if there is any.
    pub(super) fn newest(&self) -> Option<Reload> {
        self.0.try_iter().last()
    }
}

/// Reads the configuration again.
pub(super) struct Reloader {
    sources: Sources,
    running: Loaded,
    address: SocketAddr,
    state: StateDir,
    log_level: LogLevel,
    agents: Agents,
    loops: Vec<ReloadOutbox>,
}

impl Reloader {
    pub(super) fn new(
        sources: Sources,
        running: Loaded,
        address: SocketAddr,
        state: StateDir,
        log_level: LogLevel,
        agents: Agents,
        loops: Vec<ReloadOutbox>,
    ) -> Self {
        Self { sources, running, address, state, log_level, agents, loops }
    }

    /// Takes over what can be taken over, and says what needs a restart. What is wrong is logged, and
    /// changes nothing.
    pub(super) fn reload(&mut self) {
        service_manager::reloading();
        match self.read() {
            Ok((loaded, config)) => {
                self.take_over(loaded, &config);
                service_manager::ready(&serving(self.address));
            }
            Err(Failure::Config(text) | Failure::Runtime(text)) => {
                for problem in text.lines() {
                    tracing::error!(
                        problem = PeerText(problem).to_string(),
                        "configuration not reloaded: nothing has changed"
                    );
                }
                service_manager::ready(&format!(
                    "{}. The last reload was refused, and changed nothing: the log says why",
                    serving(self.address)
                ));
            }
        }
    }

    fn read(&self) -> Result<(Loaded, GatewayConfig), Failure> {
        let loaded = self.sources.load()?;
        if loaded.file.is_none()
            && let Some(path) = &self.running.file
        {
            return Err(Failure::Config(format!("{} is gone", path.display())));
        }
        loaded.settings.check_folders()?;
        let kept = kept_token(&loaded.settings, &self.state)?;
        let kept = kept.as_ref().map(|kept| &kept.named);
        let config = loaded.settings.gateway_config(self.address, kept);
        config.check().map_err(|error| Failure::Config(error.to_string()))?;
        Ok((loaded, config))
    }

    fn take_over(&mut self, loaded: Loaded, config: &GatewayConfig) {
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let level = &loaded.settings.log_level;
        if *level != self.running.settings.log_level && !self.log_level.set(level) {
            tracing::error!(level, "the log level could not be changed");
        }
        // Before the loops know of new ones, or they would ask those that are not there.
        if let Err(error) = self.agents.replace(&loaded.settings.agents) {
            tracing::error!(%error, "the agents could not be replaced");
        }
        let limits = Arc::new(config.limits.clone());
        let (done, all_done) = mpsc::channel();
        for each in &self.loops {
            let (config, limits, done) = (config.clone(), limits.clone(), done.clone());
            // It fails when the loop has ended.
            if each.sender.send(Reload { config, limits, done }).is_ok() {
                each.handle.wake();
            }
        }
        drop(done);
        if all_done.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("a loop is busy and takes the configuration over later");
        }
        // And after: of those that they do not know yet they are told nothing.
        self.agents.tell();
        let changed = KEYS
            .iter()
            .filter(|key| key.show(&loaded.settings) != key.show(&self.running.settings));
        let (live, fixed): (Vec<_>, Vec<_>) = changed.partition(|key| key.live);
        let paths =
            |keys: Vec<&Key>| keys.into_iter().map(|key| key.path).collect::<Vec<_>>().join(", ");
        if !fixed.is_empty() {
            tracing::warn!(settings = paths(fixed), "these settings need a restart");
        }
        tracing::info!(
            config = loaded.file.as_ref().map(|path| path.display().to_string()),
            changed = paths(live),
            "configuration reloaded"
        );
        self.running = loaded;
    }
}
