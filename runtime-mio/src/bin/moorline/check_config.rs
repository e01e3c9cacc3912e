//! `moorline check-config`: what a configuration comes to, or what is wrong with it.

use crate::cli::CheckArgs;
use crate::config::{KEYS, Key, Loaded, NamedSecret, Origin, Problem, Sources};
use crate::failure::Failure;
use crate::state_dir;
use crate::stdout::stdout;
use serde_json::{Value, json};
use std::io::{self, Write};

pub(crate) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let checked = Sources::of_process(&args.serve).load().and_then(|mut loaded| {
        let (token, warnings) = check(&loaded)?;
        loaded.warnings.extend(warnings);
        Ok((loaded, token))
    });
    let mut out = stdout();
    match checked {
        Ok((loaded, token)) => {
            let rows = rows(&loaded, token.as_ref());
            if args.json {
                let setting = |(key, value, origin): &Row| {
                    json!({
                        "key": key.path,
                        "value": value,
                        "from": origin,
                        "variable": key.variable(),
                        "allowed": key.allowed(),
                        "needsRestart": !key.live,
                        "about": key.about,
                    })
                };
                let settings: Vec<_> = rows.iter().map(setting).collect();
                let report = json!({
                    "ok": true,
                    "file": loaded.file.as_ref().map(|path| path.display().to_string()),
                    "settings": settings,
                    "warnings": loaded.warnings,
                });
                writeln!(out, "{report:#}")?;
            } else {
                match &loaded.file {
                    Some(path) => writeln!(out, "file: {}", path.display())?,
                    None => writeln!(out, "file: none")?,
                }
                for (key, value, origin) in &rows {
                    let path = key.path;
                    if let ("agents", Value::Array(agents)) = (path, value) {
                        writeln!(out, "{path:<32} {:<24} {origin}", agents.len())?;
                        agents.iter().try_for_each(|agent| write_agent(&mut out, agent))?;
                    } else {
                        let value = value.to_string();
                        writeln!(out, "{path:<32} {value:<24} {origin}")?;
                    }
                }
                for warning in &loaded.warnings {
                    writeln!(out, "warning: {warning}")?;
                }
            }
            Ok(())
        }
        Err(problems) => {
            if args.json {
                let problem = |problem: &Problem| {
                    json!({
                        "place": problem.place,
                        "line": problem.position.map(|(line, _)| line),
                        "column": problem.position.map(|(_, column)| column),
                        "key": problem.key,
                        "message": problem.message,
                    })
                };
                let problems: Vec<_> = problems.iter().map(problem).collect();
                writeln!(out, "{:#}", json!({"ok": false, "problems": problems}))?;
            }
            Err(problems.into())
        }
    }
}

/// An agent in lines of its own, as an endpoint has two dozen settings.
fn write_agent(out: &mut impl Write, agent: &Value) -> io::Result<()> {
    writeln!(out, "  {:<30} {}", agent["id"].as_str().unwrap_or_default(), agent["name"])?;
    write_members(out, "backend", &agent["backend"])
}

/// The members of an object, those of objects in it with dots between.
fn write_members(out: &mut impl Write, name: &str, value: &Value) -> io::Result<()> {
    let Value::Object(members) = value else {
        return writeln!(out, "    {name:<28} {value}");
    };
    members.iter().try_for_each(|(key, value)| write_members(out, &format!("{name}.{key}"), value))
}

/// Everything that the start would check and that needs no port and no lock. Gives the token of the
/// state folder, if that is the one, and what should be seen to.
fn check(loaded: &Loaded) -> Result<(Option<NamedSecret>, Vec<String>), Vec<Problem>> {
    let settings = &loaded.settings;
    let problem = |message: String| {
        let place = match &loaded.file {
            Some(path) => path.display().to_string(),
            None => "configuration".into(),
        };
        vec![Problem { place, position: None, key: None, message }]
    };
    let identity = settings.identity().map_err(|failure| problem(failure.to_string()))?;
    let warnings = identity.map(|identity| identity.warnings).unwrap_or_default();
    settings.check_folders().map_err(|failure| problem(failure.to_string()))?;
    let kept = match &settings.state_dir {
        Some(path) if settings.tokens().next().is_none() => {
            state_dir::kept_token(path).map_err(|failure| problem(failure.to_string()))?
        }
        _ => None,
    };
    let kept = kept.map(|token| NamedSecret::new(&token));
    // Without any, the first start makes one.
    let made = NamedSecret::new("made at the first start");
    let stored = [kept.clone().unwrap_or(made)];
    let config = settings.gateway_config(settings.listen(), &stored);
    config.check().map_err(|error| problem(error.to_string()))?;
    Ok((kept, warnings))
}

/// A setting, its effective value and its origin.
type Row = (&'static Key, Value, String);

fn rows(loaded: &Loaded, kept: Option<&NamedSecret>) -> Vec<Row> {
    let settings = &loaded.settings;
    let row = |key: &'static Key| {
        let (value, origin) = (key.show(settings), loaded.origin(key));
        if key.path == "gateway.token"
            && *origin == Origin::Default
            && settings.tokens().next().is_none()
        {
            let place = settings.state_dir.as_ref().map(|path| path.join("token"));
            let place = place.map(|path| path.display().to_string()).unwrap_or_default();
            return match kept {
                Some(token) => (key, json!(token.shown()), place),
                None => (key, value, format!("made at the first start, in {place}")),
            };
        }
        (key, value, origin.to_string())
    };
    KEYS.iter().map(row).collect()
}
