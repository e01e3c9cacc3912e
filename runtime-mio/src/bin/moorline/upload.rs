//! `moorline upload`: files for an agent, over the same port as everything else.

mod progress;

use crate::cli::{UploadArgs, parse_header};
use crate::failure::Failure;
use crate::peer_text::PeerText;
use crate::percent::escaped;
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

/// Longer answers are none of a gateway.
const ANSWER: usize = 64 << 10;

pub(crate) fn run(args: &UploadArgs) -> Result<(), Failure> {
    let url = dial::url(&args.url)?;
    let addresses = dial::addresses(&url)?;
    let token = args.credentials.read()?.token(&addresses);
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
            Ok(answer) if args.json => println!("{answer}"),
            Ok(answer) => println!("{}", PeerText(answer["path"].as_str().unwrap_or_default())),
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
        answer.judge()
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
    stream.socket().set_write_timeout(Some(PATIENCE))?;
    stream.socket().set_read_timeout(Some(WELCOME))?;
    stream.write_all(head.as_bytes())?;
    stream.flush()?;
    let mut answers = Answers::default();
    match answers.next(stream) {
        Ok(answer) if answer.status != 100 => return Ok(answer),
        Ok(_) => {}
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
        Err(error) => return Err(error),
    }
    stream.socket().set_read_timeout(Some(PATIENCE))?;
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
            Ok(answer) if answer.status == 100 => {}
            Ok(answer) => return Ok(answer),
            Err(error) => return Err(sent.err().unwrap_or(error)),
        }
    }
}

/// An answer to a request.
struct Answer {
    status: u16,
    body: String,
}

impl Answer {
    /// What was stored; or why nothing was.
    fn judge(self) -> Result<Value, String> {
        if self.status != 200 {
            let hint = if self.status == 401 { " (--token, or --state-dir)" } else { "" };
            let body = PeerText(self.body.trim()).to_string();
            return Err(format!("{}: {body}{hint}", self.status));
        }
        let answer = serde_json::from_str::<Value>(&self.body).ok();
        answer
            .filter(|answer| answer["path"].is_string())
            .ok_or_else(|| "the answer is not that of a gateway".into())
    }
}

/// Reads answers one after the other.
#[derive(Default)]
struct Answers {
    bytes: Vec<u8>,
}

impl Answers {
    fn next(&mut self, stream: &mut Dialed) -> io::Result<Answer> {
        loop {
            if let Some(answer) = self.take(false)? {
                return Ok(answer);
            }
            let mut more = [0; 4096];
            match stream.read(&mut more)? {
                0 => {
                    return self.take(true)?.ok_or_else(|| ErrorKind::UnexpectedEof.into());
                }
                count if self.bytes.len() + count <= ANSWER => {
                    self.bytes.extend_from_slice(&more[..count]);
                }
                _ => return Err(io::Error::other("the answer is too long")),
            }
        }
    }

    /// The next answer that is there whole; with `ended`, one without a length ends here.
    fn take(&mut self, ended: bool) -> io::Result<Option<Answer>> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&self.bytes);
        let head = match parsed.map_err(|_| io::Error::other("the answer is not HTTP"))? {
            httparse::Status::Partial => return Ok(None),
            httparse::Status::Complete(head) => head,
        };
        let status = response.code.unwrap_or_default();
        let length = response
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case("content-length"))
            .and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse().ok());
        let end = match length {
            _ if status == 100 => head,
            Some(length) => head.saturating_add(length),
            None if ended => self.bytes.len(),
            None => return Ok(None),
        };
        let Some(body) = self.bytes.get(head..end) else { return Ok(None) };
        let body = String::from_utf8_lossy(body).into_owned();
        self.bytes.drain(..end);
        Ok(Some(Answer { status, body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_and_one_after_the_other_however_they_are_cut() {
        let text = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge";
        let mut answers = Answers::default();
        let mut found = Vec::new();
        for byte in text {
            answers.bytes.push(*byte);
            found.extend(answers.take(false).unwrap());
        }
        let found: Vec<_> = found.iter().map(|answer| (answer.status, &*answer.body)).collect();
        assert_eq!(found, [(100, ""), (413, "large")]);
    }

    #[test]
    fn an_answer_without_a_length_ends_with_its_connection() {
        let mut answers = Answers { bytes: b"HTTP/1.0 502 Bad Gateway\r\n\r\nno".to_vec() };
        assert!(answers.take(false).unwrap().is_none());
        assert_eq!(answers.take(true).unwrap().unwrap().body, "no");
        assert!(Answers { bytes: b"SSH-2.0".to_vec() }.take(true).is_err());
    }

    #[test]
    fn only_a_path_is_success() {
        let judge = |status, body: &str| Answer { status, body: body.into() }.judge();
        assert!(judge(200, r#"{"path":"media/a/b"}"#).is_ok());
        assert!(judge(200, "<html>").is_err());
        assert!(judge(401, "no").unwrap_err().contains("--token"));
        assert_eq!(judge(507, "full\x1b[2J\n").unwrap_err(), "507: full\\u{1b}[2J");
    }
}
