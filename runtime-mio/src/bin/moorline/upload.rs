//! `moorline upload`: files for an agent, over the same port as everything else.

mod progress;

use crate::cli::{UploadArgs, parse_header};
use crate::failure::Failure;
use crate::http_answer::{Answer, AnswerReader};
use crate::peer_text::PeerText;
use crate::percent::escaped;
use crate::stdout::stdout;
use crate::{credentials, dial};
use dial::Dialed;
use moorline_core::upgrade::Url;
use progress::Progress;
use rustls::ClientConfig;
use serde_json::Value;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Where uploads go, whatever path the gateway's WebSocket has.
const TARGET: &str = "/api/media/upload";

/// For the connection and TLS, and for each piece that is sent: a disk that hangs gives up sooner.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a gateway, or a proxy in front of it, may keep silent on whether the file is welcome; then it is
/// sent (RFC 9110 section 10.1.1).
const WELCOME: Duration = Duration::from_secs(1);

const PIECE: usize = 64 << 10;

pub(crate) fn run(args: &UploadArgs) -> Result<(), Failure> {
    let url = dial::url(&args.credentials.url(args.url.as_deref()))?;
    let addresses = dial::addresses(&url)?;
    let token = args.credentials.read()?.token(&addresses).unwrap_or_else(|withheld| {
        eprintln!("moorline: {withheld}");
        None
    });
    let user = credentials::user(args.user.as_deref())?;
    for (what, text) in [("token", token.as_ref()), ("user", Some(&user))] {
        let wrong = |why| Failure::Config(format!("the {what} cannot stand in a header: {why}"));
        text.map(|text| parse_header(text)).transpose().map_err(wrong)?;
    }
    let gateway = Gateway { tls: args.trust.config()?, url, addresses, token, user };
    let mut all_went_well = true;
    // Those that can be sent are, whatever the others are.
    for path in &args.files {
        match gateway.upload(path, args) {
            Ok(answer) if args.json => writeln!(stdout(), "{answer}")?,
            Ok(answer) => {
                writeln!(stdout(), "{}", PeerText(answer["path"].as_str().unwrap_or_default()))?;
            }
            Err(why) => {
                eprintln!("moorline: {}: {why}", path.display());
                all_went_well = false;
            }
        }
    }
    match all_went_well {
        true => Ok(()),
        false => Err(Failure::Runtime("not all files were uploaded".into())),
    }
}

/// Where files are sent.
struct Gateway {
    url: Url,
    addresses: Vec<SocketAddr>,
    tls: Arc<ClientConfig>,
    token: Option<String>,
    user: String,
}

impl Gateway {
    fn upload(&self, path: &Path, args: &UploadArgs) -> Result<Value, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let about = file.metadata().map_err(|error| error.to_string())?;
        if !about.is_file() {
            return Err("only regular files can be uploaded".into());
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let head = self.head(&name, about.len(), args);
        let mut stream = dial::connect(&self.url, &self.addresses, &self.tls, PATIENCE)
            .map_err(|failure| failure.to_string())?;
        let answer = send(&mut stream, &head, file, Progress::new(&name, about.len()))
            .map_err(|error| format!("{}: {error}", self.url.authority()))?;
        judge(&answer)
    }

    fn head(&self, name: &str, size: u64, args: &UploadArgs) -> String {
        let kind = args.content_type.as_deref().unwrap_or("application/octet-stream");
        let mut head = format!(
            "POST {TARGET}?filename={} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Expect: 100-continue\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\
             X-GoClaw-User-Id: {}\r\n",
            escaped(name),
            self.url.authority(),
            self.user,
        );
        if let Some(token) = &self.token {
            head += &format!("Authorization: Bearer {token}\r\n");
        }
        head + "\r\n"
    }
}

/// Sends a request and its file, unless the file is refused before; gives the answer.
fn send(
    stream: &mut Dialed,
    head: &str,
    mut file: File,
    mut progress: Progress,
) -> io::Result<Answer> {
    stream.set_write_timeout(PATIENCE)?;
    stream.set_read_timeout(WELCOME)?;
    stream.write_all(head.as_bytes())?;
    stream.flush()?;
    let mut answers = AnswerReader::default();
    loop {
        match answers.next(stream) {
            Ok(answer) if answer.status == 100 => break,
            Ok(answer) if answer.is_interim() => {}
            Ok(answer) => return Ok(answer),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break;
            }
            Err(error) => return Err(error),
        }
    }
    stream.set_read_timeout(PATIENCE)?;
    let mut piece = vec![0; PIECE];
    let sent = loop {
        match file.read(&mut piece) {
            Ok(0) => break stream.flush(),
            Ok(count) => match stream.write_all(&piece[..count]) {
                Ok(()) => progress.add(count as u64),
                Err(error) => break Err(error),
            },
            Err(error) => return Err(error),
        }
    };
    drop(progress);
    // Who refuses a file on its way says so, and may not take the rest of it.
    loop {
        match answers.next(stream) {
            Ok(answer) if answer.is_interim() => {}
            Ok(answer) => return Ok(answer),
            Err(error) => return Err(sent.err().unwrap_or(error)),
        }
    }
}

/// What was stored; or why nothing was.
fn judge(answer: &Answer) -> Result<Value, String> {
    if answer.status != 200 {
        let hint = if answer.status == 401 { " (--token, or --state-dir)" } else { "" };
        return Err(format!("{}: {}{hint}", answer.status, answer.said()));
    }
    let stored = serde_json::from_str::<Value>(&answer.body).ok();
    stored
        .filter(|stored| stored["path"].is_string())
        .ok_or_else(|| "the answer is not that of a gateway".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_is_success() {
        let judge = |status, body: &str| {
            let raw = format!("HTTP/1.1 {status} Said\r\n\r\n{body}");
            judge(&Answer::begun(raw.as_bytes()).expect("HTTP"))
        };
        assert!(judge(200, r#"{"path":"media/a/b"}"#).is_ok());
        assert!(judge(200, "<html>").is_err());
        assert!(judge(401, "no").unwrap_err().contains("--token"));
        assert_eq!(judge(507, "full\x1b[2J\n").unwrap_err(), "507: full\\u{1b}[2J");
    }
}
