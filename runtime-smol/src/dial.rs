//! From a host name to a TCP connection, each phase with its own time.

use crate::error::{ConnectCause, ConnectError, Phase};
use crate::tcp::Tcp;
use smol::{Timer, future};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

/// An address gets this head start before the next one is tried beside it (RFC 8305 section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// How long each phase of connecting may take.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// Looking up the addresses. Default 5 s.
    pub dns: Duration,
    /// Connecting to one of them, all tries together. Default 10 s.
    pub tcp: Duration,
    /// The proxy's answer. Default 10 s.
    pub proxy: Duration,
    /// The TLS handshake. Default 10 s.
    pub tls: Duration,
    /// The server's answer to the upgrade. Default 10 s: some gateways ask others before they answer.
    pub upgrade: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let long = Duration::from_secs(10);
        Self { dns: Duration::from_secs(5), tcp: long, proxy: long, tls: long, upgrade: long }
    }
}

/// Runs a phase with its time.
pub(crate) async fn within<T, E>(
    after: Duration,
    phase: Phase,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, ConnectError>
where
    ConnectError: FromPhase<E>,
{
    let work = async { work.await.map_err(|error| ConnectError::from_phase(phase, error)) };
    let time = async {
        Timer::after(after).await;
        Err(ConnectError { phase, cause: ConnectCause::Timeout(after) })
    };
    future::or(work, time).await
}

/// An error becomes a [`ConnectError`] by the phase it came from.
pub(crate) trait FromPhase<E> {
    fn from_phase(phase: Phase, error: E) -> Self;
}

impl FromPhase<io::Error> for ConnectError {
    fn from_phase(phase: Phase, error: io::Error) -> Self {
        Self::io(phase, error)
    }
}

impl FromPhase<Self> for ConnectError {
    fn from_phase(_: Phase, error: Self) -> Self {
        error
    }
}

/// Looks up a host and connects to one of its addresses.
pub(crate) async fn dial(host: &str, port: u16, timeouts: &Timeouts) -> Result<Tcp, ConnectError> {
    let addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => {
            within(timeouts.dns, Phase::Dns, smol::net::resolve((host.to_string(), port))).await?
        }
    };
    within(timeouts.tcp, Phase::Tcp, race(&addresses)).await
}

type Attempt = Pin<Box<dyn Future<Output = io::Result<Tcp>> + Send>>;

/// Tries the addresses in their order. A further one is begun when an attempt has failed or the
/// latest had its head start; the first that connects wins.
async fn race(addresses: &[SocketAddr]) -> io::Result<Tcp> {
    let mut waiting = addresses.iter();
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut head_start = Timer::never();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    future::poll_fn(|cx| {
        loop {
            let mut at = 0;
            while at < attempts.len() {
                match attempts[at].as_mut().poll(cx) {
                    Poll::Ready(Ok(stream)) => return Poll::Ready(Ok(stream)),
                    Poll::Ready(Err(error)) => {
                        failure = error;
                        drop(attempts.remove(at));
                        head_start = Timer::at(Instant::now());
                    }
                    Poll::Pending => at += 1,
                }
            }
            let is_due = attempts.is_empty() || pin!(&mut head_start).poll(cx).is_ready();
            if !is_due {
                return Poll::Pending;
            }
            let Some(address) = waiting.next() else {
                if attempts.is_empty() {
                    let kind = failure.kind();
                    let failure = std::mem::replace(&mut failure, kind.into());
                    return Poll::Ready(Err(failure));
                }
                head_start = Timer::never();
                return Poll::Pending;
            };
            attempts.push(Box::pin(Tcp::connect(*address)));
            head_start = Timer::after(HEAD_START);
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};
    use std::net::TcpListener;

    /// An address that refuses connections, as long as the socket is kept.
    fn nobody() -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    #[test]
    fn a_phase_that_takes_too_long_is_named() {
        let never = future::pending::<io::Result<()>>();
        let error =
            smol::block_on(within(Duration::from_millis(20), Phase::Dns, never)).unwrap_err();
        assert_eq!((error.phase, error.is_timeout()), (Phase::Dns, true));
        assert_eq!(error.to_string(), "dns: no answer within 20ms");
    }

    #[test]
    fn the_next_address_is_tried_when_one_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let ((_one, first), (_two, second)) = (nobody(), nobody());
        let began = Instant::now();
        let stream = smol::block_on(race(&[first, second, good])).unwrap();
        assert_eq!(stream.get_ref().peer_addr().unwrap(), good);
        assert!(began.elapsed() < HEAD_START, "refusals need no head start");
    }

    #[test]
    fn when_all_refuse_the_last_refusal_is_told() {
        let ((_one, first), (_two, second)) = (nobody(), nobody());
        let error = smol::block_on(race(&[first, second])).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let error = smol::block_on(race(&[])).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
