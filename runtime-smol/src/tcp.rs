//! A TCP stream that can end its write side.

use smol::Async;
use smol::io::{AsyncRead, AsyncWrite};
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A TCP stream for [`drive`](crate::drive()). `Async<TcpStream>` alone will not do: closing it only
/// flushes, so the peer would wait for the end of file. `smol::net::TcpStream` will, at a higher cost
/// for idle connections.
#[derive(Debug)]
pub struct Tcp(Async<TcpStream>);

impl Tcp {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        Async::<TcpStream>::connect(address).await.map(Self::from)
    }

    /// The socket: its addresses and options.
    pub fn get_ref(&self) -> &TcpStream {
        self.0.get_ref()
    }
}

impl From<Async<TcpStream>> for Tcp {
    fn from(stream: Async<TcpStream>) -> Self {
        // Messages are written whole: waiting to join small ones would only delay them.
        let _ = stream.get_ref().set_nodelay(true);
        Self(stream)
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, bytes)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.get_ref().shutdown(Shutdown::Write))
    }
}
