//! An endpoint of chat completions that does what a test tells it, well or badly.
#![allow(dead_code)]

use futures_rustls::TlsAcceptor;
use serde_json::{Value, json};
use smol::channel::{self, Receiver, Sender};
use smol::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use smol::net::TcpListener;
use smol::{Executor, Timer, future};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What it does with a request.
#[derive(Debug, Clone)]
pub enum Act {
    /// Says this, a word at a time.
    Say(&'static str),
    /// These events, each with `data: ` before it and an empty line after, and the end of the answer.
    Events(Vec<String>),
    /// The same after this time.
    Late(Duration, Vec<String>),
    /// These events, and then the connection is closed in the middle.
    Cut(Vec<String>),
    /// These events, and then nothing until it is told to go on, or the peer is gone.
    Hold(Vec<String>),
    /// This status, with `Retry-After` or without.
    Status(u16, Option<u32>, String),
    /// Nothing at all.
    Hang,
    /// One event of so many bytes, in pieces.
    Flood(usize),
    /// An answer that does not stream.
    Whole(String),
    /// One of this kind.
    Page(&'static str, &'static str),
}

/// A request that has come.
#[derive(Debug, Clone)]
pub struct Seen {
    pub target: String,
    /// With names in lower case.
    pub head: String,
    pub body: Value,
}

#[derive(Default)]
struct State {
    acts: VecDeque<Act>,
    seen: Vec<Seen>,
    /// Connections that were accepted.
    connections: usize,
    /// Answers that are being held.
    held: usize,
    /// Peers that have gone while an answer was held.
    gone: usize,
}

/// The endpoint. It ends when dropped.
pub struct Endpoint {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    go_on: Sender<()>,
    stop: Sender<()>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// The data of an event with this piece of an answer.
pub fn piece(text: &str) -> String {
    delta(&json!({"content": text}))
}

pub fn delta(delta: &Value) -> String {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]}).to_string()
}

pub fn end(reason: &str) -> Vec<String> {
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12});
    vec![
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}).to_string(),
        json!({"choices": [], "usage": usage}).to_string(),
        "[DONE]".into(),
    ]
}

impl Endpoint {
    pub fn start() -> Self {
        Self::on("127.0.0.1:0".parse().unwrap(), None)
    }

    /// Over TLS.
    pub fn with_tls(acceptor: TlsAcceptor) -> Self {
        Self::on("127.0.0.1:0".parse().unwrap(), Some(acceptor))
    }

    pub fn on(address: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let (go_on, going_on) = channel::unbounded();
        let (stop, stopped) = channel::bounded::<()>(1);
        let shared = state.clone();
        let thread = std::thread::spawn(move || {
            let executor = Arc::new(Executor::new());
            let listener = smol::Async::new(listener).unwrap();
            let listener = TcpListener::from(listener);
            let accepting = accept(listener, executor.clone(), shared, going_on, tls);
            let until = async {
                let _ = stopped.recv().await;
            };
            smol::block_on(executor.run(future::or(accepting, until)));
        });
        let thread = Some(thread);
        Self { address, state, go_on, stop, thread }
    }

    /// What it does next, each with one request; after the last it says `hello`.
    pub fn will(&self, acts: impl IntoIterator<Item = Act>) {
        self.state.lock().unwrap().acts = acts.into_iter().collect();
    }

    /// Answers that are held go on to their end.
    pub fn go_on(&self, answers: usize) {
        for _ in 0..answers {
            self.go_on.try_send(()).unwrap();
        }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    pub fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    pub fn held(&self) -> usize {
        self.state.lock().unwrap().held
    }

    pub fn gone(&self) -> usize {
        self.state.lock().unwrap().gone
    }

    /// Nobody listens any more, and all connections are closed.
    pub fn stop(&mut self) {
        self.stop.close();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn accept(
    listener: TcpListener,
    executor: Arc<Executor<'static>>,
    state: Arc<Mutex<State>>,
    go_on: Receiver<()>,
    tls: Option<TlsAcceptor>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        state.lock().unwrap().connections += 1;
        let (state, go_on, tls) = (state.clone(), go_on.clone(), tls.clone());
        // How a connection ends is what the test looks at from the other side.
        let serving = async move {
            match tls {
                None => drop(serve(stream, &state, &go_on).await),
                Some(tls) => {
                    let mut stream = stream;
                    tunnel(&mut stream, &state).await?;
                    drop(serve(tls.accept(stream).await?, &state, &go_on).await);
                }
            }
            io::Result::Ok(())
        };
        executor.spawn(serving).detach();
    }
}

/// It may be asked as a proxy first: then it is its own target.
async fn tunnel(stream: &mut smol::net::TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let mut first = [0; 7];
    if stream.peek(&mut first).await? < 7 || first != *b"CONNECT" {
        return Ok(());
    }
    let head = read_head(stream).await?;
    let target = head.split(' ').nth(1).unwrap_or_default().into();
    state.lock().unwrap().seen.push(Seen { target, head, body: Value::Null });
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8(head).unwrap())
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    state: &Mutex<State>,
    go_on: &Receiver<()>,
) -> io::Result<()> {
    loop {
        let head = read_head(&mut stream).await?;
        let target = head.split(' ').nth(1).unwrap_or_default().to_string();
        let head = head.to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).await?;
        let act = {
            let mut state = state.lock().unwrap();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            state.seen.push(Seen { target, head, body });
            state.acts.pop_front().unwrap_or(Act::Say("hello"))
        };
        answer(&mut stream, act, state, go_on).await?;
    }
}

async fn answer(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    act: Act,
    state: &Mutex<State>,
    go_on: &Receiver<()>,
) -> io::Result<()> {
    match act {
        Act::Say(text) => {
            let mut all: Vec<_> = text.split_inclusive(' ').map(piece).collect();
            all.extend(end("stop"));
            events(stream, &all).await?;
            stream.write_all(b"0\r\n\r\n").await
        }
        Act::Events(all) => {
            events(stream, &all).await?;
            stream.write_all(b"0\r\n\r\n").await
        }
        Act::Late(time, all) => {
            Timer::after(time).await;
            events(stream, &all).await?;
            stream.write_all(b"0\r\n\r\n").await
        }
        Act::Cut(all) => {
            events(stream, &all).await?;
            Err(io::ErrorKind::Other.into())
        }
        Act::Hold(all) => {
            events(stream, &all).await?;
            state.lock().unwrap().held += 1;
            let told = async { go_on.recv().await.is_ok() };
            let gone = async {
                let mut byte = [0];
                let _ = stream.read(&mut byte).await;
                false
            };
            let goes_on = future::or(told, gone).await;
            {
                let mut counts = state.lock().unwrap();
                counts.held -= 1;
                counts.gone += usize::from(!goes_on);
            }
            if !goes_on {
                return Err(io::ErrorKind::Other.into());
            }
            chunks(stream, &end("stop")).await?;
            stream.write_all(b"0\r\n\r\n").await
        }
        Act::Status(status, retry_after, body) => {
            let retry = retry_after.map(|s| format!("Retry-After: {s}\r\n")).unwrap_or_default();
            let length = body.len();
            let head =
                format!("HTTP/1.1 {status} Status\r\n{retry}Content-Length: {length}\r\n\r\n");
            stream.write_all((head + &body).as_bytes()).await
        }
        Act::Hang => {
            let mut byte = [0];
            let _ = stream.read(&mut byte).await;
            Err(io::ErrorKind::Other.into())
        }
        Act::Flood(bytes) => {
            let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: ";
            stream.write_all(head).await?;
            let part = [b'x'; 16 * 1024];
            for _ in 0..bytes.div_ceil(part.len()) {
                stream.write_all(&part).await?;
            }
            stream.write_all(b"\n\n").await?;
            Err(io::ErrorKind::Other.into())
        }
        Act::Whole(body) => page(stream, "application/json", &body).await,
        Act::Page(kind, body) => page(stream, kind, body).await,
    }
}

async fn page(stream: &mut (impl AsyncWrite + Unpin), kind: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all((head + body).as_bytes()).await
}

async fn events(stream: &mut (impl AsyncWrite + Unpin), all: &[String]) -> io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    chunks(stream, all).await
}

async fn chunks(stream: &mut (impl AsyncWrite + Unpin), all: &[String]) -> io::Result<()> {
    for data in all {
        let event = format!("data: {data}\n\n");
        stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
        stream.flush().await?;
    }
    Ok(())
}
