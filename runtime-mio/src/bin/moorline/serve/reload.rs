//! The configuration is read again, and taken over by all loops or by none; tokens of the state folder are
//! made and dropped by the same way.

use super::kept_tokens::{KeptTokens, new_token};
use super::serving;
use super::tls;
use crate::config::{Files, Identity, KEYS, Key, Loaded, NamedSecret, Problem, Settings, Sources};
use crate::failure::Failure;
use crate::jobs::Agents;
use crate::log::LogLevel;
use crate::open_files;
use crate::peer_text::PeerText;
use crate::server_tls::ServerTls;
use crate::service_manager;
use crate::state_dir::StateDir;
use moorline_core::Limits;
use moorline_core::gateway::{GatewayConfig, HostOutcome, HostToken, Misconfigured, Reloaded};
use moorline_mio::{Handle, TlsOptions};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::Thread;
use std::time::Duration;

/// A loop that has not taken over a configuration by then is told of.
const PATIENCE: Duration = Duration::from_secs(5);

/// A checked configuration on its way to a loop.
pub(super) struct Reload {
    pub(super) config: GatewayConfig,
    /// For connections from now on.
    pub(super) limits: Arc<Limits>,
    /// For handshakes from now on.
    pub(super) tls: Option<TlsOptions>,
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
    /// What has to be worked by now, if there is anything new: the latest, with the latest TLS. Those without
    /// it say nothing of it.
    pub(super) fn newest(&self) -> Option<Reload> {
        self.0.try_iter().reduce(|old, new| Reload { tls: new.tls.or(old.tls), ..new })
    }
}

/// What a listener is until the end.
pub(super) struct Bound {
    pub(super) address: SocketAddr,
    /// It speaks TLS.
    pub(super) secure: bool,
    pub(super) tls: ServerTls,
}

/// What was read, and is good as a whole.
struct Checked {
    loaded: Loaded,
    kept: Option<KeptTokens>,
    config: GatewayConfig,
    identity: Option<Identity>,
}

/// Reads the configuration again.
pub(super) struct Reloader {
    sources: Sources,
    running: Loaded,
    /// The tokens of the state folder that hold, if none are configured.
    kept: Option<KeptTokens>,
    /// As they were when they were last read.
    files: Files,
    watcher: Option<Thread>,
    bound: Bound,
    state: StateDir,
    log_level: LogLevel,
    agents: Agents,
    loops: Vec<ReloadOutbox>,
}

impl Reloader {
    pub(super) fn new(
        sources: Sources,
        (running, kept, files): (Loaded, Option<KeptTokens>, Files),
        bound: Bound,
        state: StateDir,
        log_level: LogLevel,
        agents: Agents,
        loops: Vec<ReloadOutbox>,
    ) -> Self {
        let watcher = None;
        Self { sources, running, kept, files, watcher, bound, state, log_level, agents, loops }
    }

    /// How often the files should be looked at, if at all.
    pub(super) fn watch_every(&self) -> Option<Duration> {
        Some(self.running.settings.watch_every).filter(|every| !every.is_zero())
    }

    /// Who looks at them is woken by each reload: it may be another time from then on.
    pub(super) fn wakes(&mut self, watcher: Thread) {
        self.watcher = Some(watcher);
    }

    /// The files as they were when they were last read, or looked for.
    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    /// Reloads because files are as in `found` now.
    pub(super) fn reload_changed(&mut self, found: &Files) {
        let files = found.differing(&self.files);
        // Somebody may have asked for it just now.
        if !files.is_empty() {
            tracing::debug!(files = files.join(", "), "files have changed");
            self.reload();
        }
    }

    /// Takes over what can be taken over, and says what needs a restart. What is wrong is logged, and
    /// changes nothing.
    pub(super) fn reload(&mut self) -> HostOutcome {
        service_manager::reloading();
        let mut files = Files::default();
        match self.read(&mut files) {
            Ok(checked) => {
                let reloaded = self.take_over(checked);
                self.files = files;
                if let Some(watcher) = &self.watcher {
                    watcher.unpark();
                }
                service_manager::ready(&serving(self.bound.address));
                HostOutcome::Reloaded(reloaded)
            }
            Err(problems) => {
                // What is wrong with them is told once.
                self.files.update(files);
                for problem in &problems {
                    tracing::error!(
                        problem = PeerText(&problem.to_string()).to_string(),
                        "configuration not reloaded: nothing has changed"
                    );
                }
                service_manager::ready(&format!(
                    "{}. The last reload was refused, and changed nothing: the log says why",
                    serving(self.bound.address)
                ));
                HostOutcome::Misconfigured(problems.into_iter().map(misconfigured).collect())
            }
        }
    }

    fn read(&self, files: &mut Files) -> Result<Checked, Vec<Problem>> {
        let loaded = self.sources.load_noting(files)?;
        let place = loaded.file.as_ref().or(self.running.file.as_ref());
        let place = place.map_or("configuration".into(), |path| path.display().to_string());
        let problem = |message: String| {
            vec![Problem { place: place.clone(), position: None, key: None, message }]
        };
        if loaded.file.is_none() && self.running.file.is_some() {
            return Err(problem("it is gone".into()));
        }
        let words = |failure: Failure| problem(failure.to_string());
        loaded.settings.check_folders().map_err(words)?;
        let identity = loaded.settings.identity().map_err(words)?;
        let kept = KeptTokens::of(&loaded.settings, &self.state).map_err(words)?;
        let stored = KeptTokens::secrets(kept.as_ref());
        let config = self.config(&loaded.settings, &stored);
        config.check().map_err(|error| problem(error.to_string()))?;
        Ok(Checked { loaded, kept, config, identity })
    }

    /// By these settings, but for what a listener is until the end.
    fn config(&self, settings: &Settings, stored: &[NamedSecret]) -> GatewayConfig {
        let mut config = settings.gateway_config(self.bound.address, stored);
        config.secure = self.bound.secure;
        config
    }

    /// The gateway tokens; with the texts of those that are kept in the state folder, if `texts`.
    pub(super) fn tokens(&self, texts: bool) -> HostOutcome {
        HostOutcome::Tokens(self.told(texts))
    }

    /// Makes a new token in the state folder; the one before is valid beside it, unless `now`.
    pub(super) fn rotate_token(&mut self, now: bool) -> HostOutcome {
        let Some(kept) = &self.kept else { return are_configured() };
        let old = (!now).then_some(&*kept.current);
        let rotated = self.state.rotate_token(&new_token(), old);
        tracing::info!(now, ok = rotated.is_ok(), "token rotated");
        rotated.and_then(|()| self.take_tokens()).unwrap_or_else(failed)
    }

    /// Drops the token before.
    pub(super) fn drop_token(&mut self) -> HostOutcome {
        match &self.kept {
            None => return are_configured(),
            Some(kept) if kept.has_previous() => {}
            Some(_) => return HostOutcome::Refused("there is no token before this one".into()),
        }
        let dropped = self.state.drop_previous_token();
        tracing::info!(ok = dropped.is_ok(), "token before dropped");
        dropped.and_then(|_| self.take_tokens()).unwrap_or_else(failed)
    }

    /// Has all loops go by the tokens of the state folder as they are now, and by nothing else new.
    fn take_tokens(&mut self) -> Result<HostOutcome, Failure> {
        let settings = &self.running.settings;
        self.kept = KeptTokens::of(settings, &self.state)?;
        let config = self.config(settings, &KeptTokens::secrets(self.kept.as_ref()));
        self.hand_out(&config, None);
        Ok(HostOutcome::Tokens(self.told(true)))
    }

    fn told(&self, texts: bool) -> Vec<HostToken> {
        if let Some(kept) = &self.kept {
            return kept.told(&self.state, texts);
        }
        let settings = &self.running.settings;
        let source = |path: &str| {
            let key = KEYS.iter().find(|key| key.path == path);
            let origin = key.map(|key| self.running.origin(key).to_string());
            format!("{path}, {}", origin.unwrap_or_default())
        };
        let name = if settings.token.is_some() { "gateway.token" } else { "gateway.tokens" };
        let token = |secret: &crate::config::NamedSecret| HostToken {
            fingerprint: secret.fingerprint.clone(),
            source: source(name),
            previous: false,
            kept: false,
            text: None,
        };
        settings.tokens().map(token).collect()
    }

    fn take_over(&mut self, checked: Checked) -> Reloaded {
        let Checked { loaded, kept, config, identity } = checked;
        self.kept = kept;
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
        let stays = self.bound.secure == identity.is_some();
        let tls = identity.filter(|_| stays).map(|identity| {
            tls::announce(&loaded.settings, self.bound.address, Some(&identity));
            tls::options(&self.bound.tls, &loaded.settings, &identity)
        });
        self.hand_out(&config, tls.as_ref());
        // And after: of those that they do not know yet they are told nothing.
        self.agents.tell();
        let changed = KEYS
            .iter()
            .filter(|key| key.show(&loaded.settings) != key.show(&self.running.settings));
        let is_live = |key: &&Key| key.live && (stays || !key.path.starts_with("tls."));
        let (live, fixed): (Vec<_>, Vec<_>) = changed.partition(is_live);
        let paths = |keys: &[&Key]| keys.iter().map(|key| key.path.to_string()).collect::<Vec<_>>();
        let (changed, need_restart) = (paths(&live), paths(&fixed));
        let file = loaded.file.as_ref().map(|path| path.display().to_string());
        if !need_restart.is_empty() {
            tracing::warn!(settings = need_restart.join(", "), "these settings need a restart");
        }
        tracing::info!(config = file, changed = changed.join(", "), "configuration reloaded");
        let warnings = loaded.warnings.clone();
        // What needs a restart has not changed yet.
        let loops = self.running.settings.loops;
        self.running = loaded;
        open_files::warn_if_few(&Settings { loops, ..self.running.settings.clone() });
        Reloaded { file, changed, need_restart, warnings }
    }

    /// Gives a checked configuration to all loops, and waits until they work by it. Without `tls`,
    /// handshakes go on as they are.
    fn hand_out(&self, config: &GatewayConfig, tls: Option<&TlsOptions>) {
        let limits = Arc::new(config.limits.clone());
        let (done, all_done) = mpsc::channel();
        for each in &self.loops {
            let (config, limits, done) = (config.clone(), limits.clone(), done.clone());
            let tls = tls.cloned();
            // It fails when the loop has ended.
            if each.sender.send(Reload { config, limits, tls, done }).is_ok() {
                each.handle.wake();
            }
        }
        drop(done);
        if all_done.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("a loop is busy and takes the configuration over later");
        }
    }
}

fn are_configured() -> HostOutcome {
    let text = "the tokens are configured, so none of the state folder holds: change them there \
                (gateway.tokens takes the new one and the old one), and reload";
    HostOutcome::Refused(text.into())
}

fn failed(failure: Failure) -> HostOutcome {
    match failure {
        Failure::Config(text) | Failure::Runtime(text) => HostOutcome::Failed(text),
    }
}

fn misconfigured(problem: Problem) -> Misconfigured {
    let Problem { place, position, key, message } = problem;
    Misconfigured { place, position, key, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::ServerConfig;
    use rustls::server::ResolvesServerCertUsingSni;
    use std::net::Ipv4Addr;

    /// TLS without any certificate.
    fn tls(handshakes: usize) -> TlsOptions {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        TlsOptions { handshakes, ..TlsOptions::new(Arc::new(config)) }
    }

    #[test]
    fn a_new_certificate_outlives_what_says_nothing_of_it_and_comes_in_the_same_stall() {
        let (sender, receiver) = mpsc::channel();
        let inbox = ReloadInbox(receiver);
        let (done, _all_done) = mpsc::channel();
        let send = |port: u16, tls: Option<TlsOptions>| {
            let config = GatewayConfig::new((Ipv4Addr::LOCALHOST, port).into());
            let limits = Arc::new(config.limits.clone());
            sender.send(Reload { config, limits, tls, done: done.clone() }).expect("an inbox");
        };
        assert!(inbox.newest().is_none());
        // Two reloads, and a rotation of the token.
        send(1, Some(tls(1)));
        send(2, Some(tls(2)));
        send(3, None);
        let newest = inbox.newest().expect("one");
        assert_eq!((newest.config.listen.port(), newest.tls.expect("TLS").handshakes), (3, 2));
        send(4, None);
        assert!(inbox.newest().expect("one").tls.is_none());
    }
}
