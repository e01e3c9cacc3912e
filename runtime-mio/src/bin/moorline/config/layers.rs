//! The layers of a configuration, from weak to strong: the defaults, a file, variables, flags.

use super::Settings;
use super::files::Files;
use super::keys::Key;
use super::origin::{Origin, Problem};
use super::reading::{PREFIX, Reading, Unset};
use crate::cli::ServeArgs;
use crate::environment::Variables;
use crate::regular_file;
use crate::state_dir;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// The file's name in the state folder.
const FILE_NAME: &str = "moorline.json5";

/// A longer file is none of ours.
const MAX_FILE: u64 = 1024 * 1024;

/// Where a configuration is read from, besides the file. It has no `Debug`: there are tokens among it.
#[derive(Default)]
pub(crate) struct Sources {
    /// `--config`, or `MOORLINE_CONFIG`.
    pub(crate) file: Option<PathBuf>,
    /// All `MOORLINE_*` variables.
    pub(crate) variables: Variables,
    /// Flags with the paths of their settings and their values.
    pub(crate) flags: Vec<(&'static str, &'static str, Vec<String>)>,
}

/// A configuration as it was read.
pub(crate) struct Loaded {
    pub(crate) settings: Settings,
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
    /// What works, but should be seen to.
    pub(crate) warnings: Vec<String>,
    /// Secrets that are not known here, by [`Sources::load_elsewhere`] alone.
    pub(crate) unset: Vec<Unset>,
    origins: BTreeMap<&'static str, Origin>,
}

impl Sources {
    /// What this process was started with.
    pub(crate) fn of_process(args: &ServeArgs) -> Self {
        Self::of_environment(args.config.clone(), args.settings())
    }

    /// The same with these flags, where the command line names this file.
    pub(crate) fn of_environment(
        file: Option<PathBuf>,
        flags: Vec<(&'static str, &'static str, Vec<String>)>,
    ) -> Self {
        let variables = Variables::of_process(PREFIX);
        let file = file.or_else(|| variables.get("MOORLINE_CONFIG").map(PathBuf::from));
        Self { file, variables, flags }
    }

    /// Reads everything. What is wrong is told together.
    pub(crate) fn load(&self) -> Result<Loaded, Vec<Problem>> {
        self.load_noting(&mut Files::default())
    }

    /// The same; `files` become those that it depends on, whether or not anything is wrong.
    pub(crate) fn load_noting(&self, files: &mut Files) -> Result<Loaded, Vec<Problem>> {
        self.load_into(Reading::default(), files)
    }

    /// The same for a gateway that another process is: that a variable is not set here which has a secret
    /// of it says nothing. Something else stands in its place.
    pub(crate) fn load_elsewhere(&self) -> Result<Loaded, Vec<Problem>> {
        let reading = Reading { is_elsewhere: true, ..Reading::default() };
        self.load_into(reading, &mut Files::default())
    }

    fn load_into(&self, mut reading: Reading, files: &mut Files) -> Result<Loaded, Vec<Problem>> {
        let found = self.find_file(&mut reading);
        reading.layer(|reading| {
            if let Some((path, text)) = &found {
                reading.file(path, text);
            }
        });
        reading.layer(|reading| reading.variables(&self.variables));
        reading.layer(|reading| reading.flags(&self.flags));
        for path in [&reading.settings.tls_cert, &reading.settings.tls_key].into_iter().flatten() {
            reading.files.note(path);
        }
        *files = std::mem::take(&mut reading.files);
        if !reading.problems.is_empty() {
            return Err(reading.problems);
        }
        let Reading { mut settings, origins, warnings, unset, .. } = reading;
        settings.state_dir = settings.state_dir.or_else(state_dir::default_path);
        if !origins.contains_key("limits.pre_auth") {
            let connections = settings.gateway.bounds.connections * usize::from(settings.loops);
            settings.gateway.bounds.pre_auth = (connections / 20).clamp(64, 5_000);
        }
        Ok(Loaded { settings, origins, warnings, unset, file: found.map(|(path, _)| path) })
    }

    /// The file that was asked for, or the one in the state folder if there is one.
    fn find_file(&self, reading: &mut Reading) -> Option<(PathBuf, String)> {
        if let Some(path) = &self.file {
            reading.files.note(path);
            return match regular_file::read_text(path, MAX_FILE) {
                Ok(text) => Some((path.clone(), text)),
                Err(error) => {
                    reading.problem(path.display(), None, None, format!("cannot be read: {error}"));
                    None
                }
            };
        }
        let flag = self.flags.iter().find(|(_, path, _)| *path == "state_dir");
        let flag = flag.and_then(|(_, _, words)| words.last()).map(String::as_str);
        let variable = self.variables.get("MOORLINE_STATE_DIR");
        let folder = flag.or(variable).map(PathBuf::from).or_else(state_dir::default_path)?;
        let path = folder.join(FILE_NAME);
        reading.files.note(&path);
        match regular_file::read_text(&path, MAX_FILE) {
            Ok(text) => Some((path, text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                reading.problem(path.display(), None, None, format!("cannot be read: {error}"));
                None
            }
        }
    }
}

impl Loaded {
    pub(crate) fn origin(&self, key: &Key) -> &Origin {
        self.origins.get(key.path).unwrap_or(&Origin::Default)
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys;
    use super::*;
    use crate::cli::Cli;
    use clap::Parser as _;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A folder of its own below the system's one for such, removed when dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("moorline-layers-{}-{count}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }

        fn file(&self, name: &str, mode: u32, text: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, text).expect("a file");
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("a mode");
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn load(
        file: Option<&Path>,
        variables: &[(&str, &str)],
        flags: &[&str],
    ) -> Result<Loaded, Vec<Problem>> {
        let flags = std::iter::once("moorline").chain(flags.iter().copied());
        let variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Sources {
            file: file.map(PathBuf::from),
            variables: variables.collect(),
            flags: Cli::parse_from(flags).serve.settings(),
        }
        .load()
    }

    /// Path, value and origin of a setting.
    fn row(loaded: &Loaded, path: &str) -> (String, String) {
        let key = keys::find(path).expect("a key");
        (key.show(&loaded.settings).to_string(), loaded.origin(key).to_string())
    }

    /// Line, column, key and message of the only problem of a file.
    fn problem(text: &str) -> (usize, usize, String, String) {
        let folder = Folder::new();
        let path = folder.file("c.json5", 0o600, text);
        let problems = load(Some(&path), &[], &[]).err().expect("a problem");
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        assert_eq!(problem.place, path.display().to_string());
        let (line, column) = problem.position.expect("a position");
        (line, column, problem.key.clone().unwrap_or_default(), problem.message.clone())
    }

    #[test]
    fn the_example_is_a_configuration() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/moorline.json5");
        let loaded = load(Some(Path::new(path)), &[], &[]).map_err(|problems| {
            problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
        });
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(row(&loaded, "limits.message_bytes").0, "524288");
        assert_eq!(row(&loaded, "limits.pre_auth"), ("250".into(), "default".into()));
        assert_eq!(loaded.warnings, Vec::<String>::new());
        let stored = super::super::NamedSecret::new("x");
        let config = loaded.settings.gateway_config(loaded.settings.listen(), &[stored]);
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn what_the_example_has_in_comments_is_a_configuration_too() {
        let folder = Folder::new();
        let example = include_str!("../../../../../docs/moorline.json5");
        let uncommented = |line: &str| -> Option<String> {
            let text = line.trim_start().strip_prefix("// ")?;
            let word = text.split([':', ' ']).find(|word| !word.is_empty())?;
            let is_key = text.trim_start()[word.len()..].starts_with(':');
            let is_setting = is_key || ["{", "},"].contains(&word);
            (is_setting && text.ends_with([',', '{'])).then(|| text.to_string())
        };
        let mut count = 0;
        let lines = example.lines().map(|line| match uncommented(line) {
            Some(text) => {
                count += 1;
                text
            }
            None => line.to_string(),
        });
        // Variables of the process are nothing for a test.
        let text = lines.collect::<Vec<_>>().join("\n").replace("{ env:", "{ file:");
        assert!(count >= 12, "{text}");
        let secret = "0123456789abcdef0123456789abcdef";
        for (at, name) in
            ["new-token", "OLD_TOKEN", "OPENAI_API_KEY", "research.token"].iter().enumerate()
        {
            folder.file(name, 0o600, &format!("{at}{secret}"));
        }
        let jwt = text.lines().find(|line| line.contains("id.pem")).expect("a line").to_string();
        let file = folder.file("c.json5", 0o600, &text.replace(&jwt, ""));
        let loaded = load(Some(&file), &[], &[]).map_err(|problems| {
            problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
        });
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
        assert!(row(&loaded, "tls.cert").0.ends_with("/gateway.pem\""));
        let agents = row(&loaded, "agents").0;
        for kind in ["echo", "openai", "worker"] {
            assert!(agents.contains(&format!(r#""type":"{kind}""#)), "{agents}");
        }
    }

    #[test]
    fn each_layer_overrides_those_before_it() {
        let folder = Folder::new();
        let file = folder.file(
            "c.json5",
            0o600,
            "{ gateway: { port: 1, host: '::1',\n rate_limit_rpm: 1 },\n loops: 2 }",
        );
        let variables = [
            ("MOORLINE_GATEWAY_PORT", "2"),
            ("MOORLINE_GATEWAY_RATE_LIMIT_RPM", "2"),
            ("MOORLINE_LOOPS", ""),
            ("MOORLINE_GATEWAY_OWNER_IDS", "ann, bob"),
            ("MOORLINE_LOG_LEVEL", "debug"),
            ("MOORLINE_AGENTS", "[{id: 'a'}]"),
            ("MOORLINE_GATEWAY_DEFLATE", "true"),
        ];
        let loaded = load(Some(&file), &variables, &["--rate-limit-rpm", "3"]).expect("good");
        let path = file.display();
        for (key, value, origin) in [
            ("gateway.host", "\"::1\"", format!("{path}:1")),
            ("gateway.port", "2", "MOORLINE_GATEWAY_PORT".into()),
            ("gateway.rate_limit_rpm", "3", "--rate-limit-rpm".into()),
            ("gateway.rate_limit_burst", "5", "default".into()),
            ("loops", "2", format!("{path}:3")),
            // A twentieth of the connections of both loops.
            ("limits.pre_auth", "1000", "default".into()),
            ("gateway.owner_ids", "[\"ann\",\"bob\"]", "MOORLINE_GATEWAY_OWNER_IDS".into()),
            ("log.level", "\"debug\"", "MOORLINE_LOG_LEVEL".into()),
            (
                "agents",
                "[{\"backend\":{\"type\":\"echo\"},\"id\":\"a\",\"name\":\"a\"}]",
                "MOORLINE_AGENTS".into(),
            ),
            ("gateway.deflate", "true", "MOORLINE_GATEWAY_DEFLATE".into()),
        ] {
            assert_eq!(row(&loaded, key), (value.into(), origin), "{key}");
        }
    }

    #[test]
    fn what_is_wrong_in_a_file_is_told_with_line_column_key_and_remedy() {
        for (text, line, column, key, message) in [
            ("{\n  gateway: { prot: 1 } }", 2, 14, "gateway.prot", "did you mean gateway.port?"),
            ("{ gatway: {} }", 1, 3, "gatway", "unknown key; did you mean gateway?"),
            ("{ weather: 'fine' }", 1, 3, "weather", "unknown key"),
            ("{ gateway: 5 }", 1, 12, "gateway", "expected an object, found 5"),
            ("[]", 1, 1, "", "expected an object, found a list"),
            ("{ loops: 0 }", 1, 10, "loops", "a whole number from 1 to 64, found 0"),
            ("{ loops: 65 }", 1, 10, "loops", "a whole number from 1 to 64, found 65"),
            ("{ loops: 1.5 }", 1, 10, "loops", "found 1.5"),
            ("{ loops: 'many' }", 1, 10, "loops", "found a text"),
            ("{ loops: 1,\n loops: 2 }", 2, 2, "loops", "stands here twice"),
            ("{ gateway: { port: 65536 } }", 1, 20, "gateway.port", "from 0 to 65535"),
            ("{ gateway: { port: -1 } }", 1, 20, "gateway.port", "found -1"),
            ("{ gateway: { host: 'me' } }", 1, 20, "gateway.host", "expected an IP address"),
            ("{ gateway: { deflate: 1 } }", 1, 23, "gateway.deflate", "true or false, found 1"),
            (
                "{ gateway: { allowed_origins: [\n'https://a.example',\n  '*'] } }",
                3,
                3,
                "gateway.allowed_origins",
                "\"*\" is not an origin",
            ),
            ("{ gateway: { owner_ids: 'a' } }", 1, 25, "gateway.owner_ids", "a list of texts"),
            (
                "{ gateway: { trusted_proxies: ['::/0'] } }",
                1,
                32,
                "gateway.trusted_proxies",
                "10.0",
            ),
            ("{ agents: [{ id: 'a', nmae: 'b' }] }", 1, 23, "agents", "no key \"nmae\""),
            ("{ agents: [{ name: 'b' }] }", 1, 12, "agents", "an agent needs an id"),
            (
                "{ agents: [{ id: 'a b' }] }",
                1,
                18,
                "agents",
                "\"a b\" is no id of an agent: expected",
            ),
            (
                "{ agents: [{ name: 'b',\n id: 'agent:b' }] }",
                2,
                6,
                "agents",
                "is no id of an agent",
            ),
            ("{ agents: [{ id: '-b' }] }", 1, 18, "agents", "a letter or digit first"),
            ("{ agents: [{ id: 'bü' }] }", 1, 18, "agents", "is no id of an agent"),
            (
                "{ agents: [{ id: 'a', backend: { type: 'worker', on_lost: 'cry' } }] }",
                1,
                59,
                "agents",
                "expected on_lost, fail or requeue",
            ),
            (
                "{ agents: [{ id: 'a', backend: { type: 'worker', attempts: 0 } }] }",
                1,
                60,
                "agents",
                "attempts, a whole number from 1 to 100, found 0",
            ),
            (
                "{ agents: [{ id: 'a', backend: { type: 'worker', tokn: 'hunter2' } }] }",
                1,
                50,
                "agents",
                "did you mean token?",
            ),
            ("{ agents: [{ id: 'a', backend: 'x' }] }", 1, 32, "agents", "echo, openai or worker"),
            ("{ agents: [{ id: 'a', backend: {} }] }", 1, 32, "agents", "needs a type"),
            (
                "{ agents: [{ id: 'a', backend: { type: 'echo', model: 'm' } }] }",
                1,
                48,
                "agents",
                "no key \"model\"",
            ),
            (
                "{ agents: [{ id: 'a',\n backend: { type: 'openai', model: 'm' } }] }",
                2,
                11,
                "agents",
                "base_url is missing",
            ),
            (
                "{ agents: [{ id: 'a', backend: { type: 'openai',\nbase_url: 'example.com' } }] }",
                2,
                11,
                "agents",
                "expected a URL such as https://",
            ),
            (
                "{ agents: [{ id: 'a', backend: { type: 'openai',\nbase_url: 'https://u:hunter2@h' } }] }",
                2,
                11,
                "agents",
                "must not hold a user",
            ),
            (
                "{ agents: [{ id: 'a', backend: { type: 'openai',\nbase_url: 'http://h', modle: 'm' } }] }",
                2,
                23,
                "agents",
                "did you mean model?",
            ),
            (
                "{ agents: [{ id: 'a', backend: { type: 'openai',\nbase_url: 'http://h', model: '' } }] }",
                2,
                30,
                "agents",
                "this text is empty",
            ),
            (
                "{ agents: [{ id: 'a', backend: { type: 'openai',\nbase_url: 'http://h', model: 'm', api_key: 7 } }] }",
                2,
                44,
                "agents",
                "{env: ",
            ),
            (
                "{ agents: [{ id: 'a', backend: { type: 'openai',\nbase_url: 'http://h', model: 'm', api_key: 'a\\nb' } }] }",
                2,
                44,
                "agents",
                "cannot be sent in a header",
            ),
            (
                "{ agents: [{ id: 'a', backend: { type: 'openai',\nbase_url: 'http://h', model: 'm', retries: 11 } }] }",
                2,
                44,
                "agents",
                "from 0 to 10, found 11",
            ),
            (
                "{ agents: [{ id: 'a', backend: { type: 'openai',\nbase_url: 'http://h', model: 'm', temperature: 3 } }] }",
                2,
                48,
                "agents",
                "from 0 to 2, found 3",
            ),
            (
                "{ agents: [{ id: 'a', backend: { type: 'openai',\nbase_url: 'http://h', model: 'm', ca_file: 'none' } }] }",
                2,
                44,
                "agents",
                "cannot read",
            ),
            (
                "{ agents: [{ id: 'a', backend: { type: 'openai',\nbase_url: 'http://h', model: 'm', breaker: { failure: 1 } } }] }",
                2,
                46,
                "agents",
                "did you mean failures?",
            ),
            (
                "{ agents: [{ id: 'a', backend: { type: 'openai',\nbase_url: 'http://h', model: 'm', headers: { Host: 'x' } } }] }",
                2,
                46,
                "agents",
                "no header of this name",
            ),
            (
                "{ agents: [{ id: 'a', backend: { type: 'openai',\nbase_url: 'http://h', model: 'm', headers: { 'a b': 'x' } } }] }",
                2,
                46,
                "agents",
                "no header of this name",
            ),
            ("{ log: { level: 'laut' } }", 1, 17, "log.level", "error, warn, info"),
            ("{ log: { format: 'xml' } }", 1, 18, "log.format", "text or json"),
            ("{ limits: { auth_lock_ms: 1e99 } }", 1, 27, "limits.auth_lock_ms", "milliseconds"),
            ("{ gateway: { token: 7 } }", 1, 21, "gateway.token", "found 7"),
            ("{ gateway: { token: { flie: 'x' } } }", 1, 23, "gateway.token", "{file: \"path\"}"),
            ("{ gateway: { tokens: ['a', 'b', 'c'] } }", 1, 22, "gateway.tokens", "found 3"),
            ("{ gateway: { token: { env: 'NO_SUCH' } } }", 1, 28, "gateway.token", "NO_SUCH"),
            ("{ gateway: { token: { file: 'none' } } }", 1, 29, "gateway.token", "cannot read"),
            ("{ gateway: { jwt: {} } }", 1, 19, "gateway.jwt", "expected a list"),
            (
                "{ gateway: { jwt: [{ alg: 'none' }] } }",
                1,
                27,
                "gateway.jwt",
                "one of HS256, RS256",
            ),
            ("{ gateway: { jwt: [{ alg: 'HS256' }] } }", 1, 20, "gateway.jwt", "key is missing"),
            ("{ gateway: { jwt: [{ kid: 1 }] } }", 1, 22, "gateway.jwt", "no key \"kid\""),
            (
                "{ gateway: { jwt: [{ alg: 'HS256', key: 'short', iss: 'i', aud: 'a' }] } }",
                1,
                41,
                "gateway.jwt",
                "at least 32 bytes",
            ),
            ("{\n loops: 2\n log: {} }", 3, 2, "", "comma"),
        ] {
            let (at_line, at_column, at_key, said) = problem(text);
            assert_eq!((at_line, at_column, &*at_key), (line, column, key), "{text}: {said}");
            assert!(said.contains(message), "{text}: {said}");
        }
    }

    #[test]
    fn a_value_that_may_be_a_secret_is_never_repeated() {
        for text in [
            "{ gateway: { tokn: 'hunter2' } }",
            "{ gateway: { port: 'hunter2' } }",
            "{ gateway: { tokens: 'hunter2' } }",
            "{ gateway: { token: ['hunter2'] } }",
            "{ loops: { token: 'hunter2' } }",
            "{ agents: [{ id: 'a', backend: { type: 'openai', api_key: ['hunter2'] } }] }",
            "{ agents: [{ id: 'a', backend: { type: 'openai', base_url: 'http://x:hunter2@y' } }] }",
        ] {
            assert!(!problem(text).3.contains("hunter2"), "{text}");
        }
        let refused = load(None, &[("MOORLINE_GATEWAY_TOKENS", "hunter2,b,c")], &[]).err();
        assert!(!format!("{refused:?}").contains("hunter2"));
    }

    #[test]
    fn all_problems_are_told_together() {
        let folder = Folder::new();
        let file =
            folder.file("c.json5", 0o600, "{ loops: 0, log: { lvl: 1 }, gateway: { x: 1 } }");
        let problems = load(Some(&file), &[("MOORLINE_GATEWAY_PORT", "x")], &[]).err();
        let lines: Vec<_> =
            problems.expect("problems").iter().map(|problem| problem.to_string()).collect();
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert!(lines[0].contains("c.json5:1:10: loops: expected a whole number"), "{lines:?}");
        let last = "MOORLINE_GATEWAY_PORT: gateway.port: expected a whole number from 0 to 65535, \
                    found a text";
        assert_eq!(lines[3], last);
    }

    #[test]
    fn a_strange_variable_is_a_warning_with_the_likely_name() {
        let variables = [
            ("MOORLINE_GATEWAY_TOKN", "x"),
            ("MOORLINE_PORT", "tcp://10.0.0.1:18790"),
            ("MOORLINE_CONFIG", "unused"),
            ("MOORLINE_TOKEN", "what the terminal client sends"),
        ];
        let loaded = load(None, &variables, &[]).expect("good");
        assert_eq!(
            loaded.warnings,
            [
                "MOORLINE_GATEWAY_TOKN is no setting; did you mean MOORLINE_GATEWAY_TOKEN?",
                "MOORLINE_PORT is no setting; did you mean MOORLINE_GATEWAY_PORT?",
                "MOORLINE_TOKEN is no setting; did you mean MOORLINE_GATEWAY_TOKEN?",
            ]
        );
    }

    #[test]
    fn tokens_come_from_the_strongest_layer_in_either_form() {
        let folder = Folder::new();
        let shown = |text: &str| super::super::NamedSecret::new(text).shown();
        let effective = |file: &str, variables: &[(&str, &str)], flags: &[&str]| {
            let file = folder.file("c.json5", 0o600, file);
            let loaded = load(Some(&file), variables, flags).expect("good");
            loaded.settings.tokens().map(|token| token.shown()).collect::<Vec<_>>()
        };
        let two = "{ gateway: { tokens: ['a', 'b'] } }";
        let one = "{ gateway: { token: 'a' } }";
        assert_eq!(effective(two, &[], &[]), [shown("a"), shown("b")]);
        assert_eq!(effective(two, &[("MOORLINE_GATEWAY_TOKEN", "c,d")], &[]), [shown("c,d")]);
        let pair = [("MOORLINE_GATEWAY_TOKENS", "c,d")];
        assert_eq!(effective(one, &pair, &[]), [shown("c"), shown("d")]);
        assert_eq!(effective(one, &pair, &["--token", "e"]), [shown("e")]);
        let both = folder.file("both", 0o600, "{ gateway: { token: 'a', tokens: ['b'] } }");
        let problems = load(Some(&both), &[], &[]).err().expect("a problem");
        assert!(problems[0].to_string().contains("give one of them"), "{problems:?}");
    }

    #[test]
    fn secrets_are_read_from_files_beside_the_configuration_and_open_files_are_told() {
        let folder = Folder::new();
        folder.file("closed", 0o600, "tok\n");
        folder.file("open", 0o644, "tok");
        folder.file("empty", 0o600, "\n");
        let load_text = |mode: u32, token: &str| {
            let text = format!("{{ gateway: {{ token: {token} }} }}");
            load(Some(&folder.file("c.json5", mode, &text)), &[], &[])
        };
        for (mode, token, warned) in [
            (0o644, "{file: 'closed'}", 0),
            (0o600, "{file: 'open'}", 1),
            (0o600, "'tok'", 0),
            (0o644, "'tok'", 1),
        ] {
            let loaded = load_text(mode, token).expect("good");
            assert_eq!(row(&loaded, "gateway.token").0, "\"sha256:1a7674eb\"", "{token}");
            assert_eq!(loaded.warnings.len(), warned, "{:?}", loaded.warnings);
        }
        // The key of an agent is a secret, too.
        for (mode, key, warned) in
            [(0o644, "'k'", 1), (0o600, "'k'", 0), (0o644, "{file: 'open'}", 1)]
        {
            let backend =
                format!("{{ type: 'openai', base_url: 'http://h', model: 'm', api_key: {key} }}");
            let text = format!("{{ agents: [{{ id: 'a', backend: {backend} }}] }}");
            let loaded = load(Some(&folder.file("a.json5", mode, &text)), &[], &[]).expect("good");
            assert_eq!(loaded.warnings.len(), warned, "{:?}", loaded.warnings);
            assert!(row(&loaded, "agents").0.contains("\"api_key\":\"sha256:"));
        }
        assert!(load_text(0o600, "{file: 'empty'}").is_err());
        assert!(load_text(0o600, "''").is_err());
    }

    #[test]
    fn a_pipe_in_place_of_a_file_is_an_error_at_once() {
        let folder = Folder::new();
        let pipe = folder.0.join("moorline.json5");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).expect("a pipe");
        let state = folder.0.display().to_string();
        let token = "{ gateway: { token: {file: 'moorline.json5'} } }";
        let file = folder.file("c.json5", 0o600, token);
        for problems in [
            load(Some(&pipe), &[], &[]),
            load(None, &[], &["--state-dir", &state]),
            load(Some(&file), &[], &[]),
        ] {
            let problem = problems.err().expect("a problem")[0].to_string();
            assert!(problem.contains("it is no regular file"), "{problem}");
        }
    }

    #[test]
    fn the_file_of_the_state_folder_is_read_unless_another_is_named() {
        let folder = Folder::new();
        let state = folder.0.display().to_string();
        let flags = ["--state-dir", state.as_str()];
        assert_eq!(load(None, &[], &flags).expect("good").file, None);
        folder.file("moorline.json5", 0o600, "{ loops: 7 }");
        let other = folder.file("other.json5", 0o600, "{ loops: 8 }");
        assert_eq!(load(None, &[], &flags).expect("good").settings.loops, 7);
        let by_variable = load(None, &[("MOORLINE_STATE_DIR", &state)], &[]);
        assert_eq!(by_variable.expect("good").settings.loops, 7);
        assert_eq!(load(Some(&other), &[], &flags).expect("good").settings.loops, 8);
        let missing = load(Some(Path::new("/no/such/file")), &[], &flags).err();
        assert!(missing.expect("a problem")[0].to_string().contains("cannot be read"));
    }
}
