//! The adapter skeleton: flush, look at wants, wait, one call, drain the turn.

use crate::alarm::Alarm;
use crate::buffers::Buffers;
use crate::handler::Handler;
use crate::sender::{Link, Sender};
use moorline_core::{Connection, End, Event, Turn, Why};
use smol::io::{AsyncRead, AsyncWrite};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// Calls into the core per poll: then other tasks have their turn.
const BUDGET: usize = 8;

/// Slices of one vectored write.
const SLICES: usize = 32;

/// Drives a connection over `stream` until nothing is left to do: plain TCP ([`Tcp`](crate::Tcp)),
/// TLS, or anything that reads, writes, and on `poll_close` ends its write side. The handler is told
/// [`Event::Closed`] before the end.
///
/// The future is all there is of the connection: dropping it drops the stream at once. Idle, it holds
/// no buffer.
///
/// ```
/// use moorline_core::{Connection, Event, Limits, Outbox};
/// use smol::io::{AsyncRead, AsyncWrite};
/// use std::{sync::Arc, time::Instant};
///
/// async fn serve_one(stream: impl AsyncRead + AsyncWrite + Unpin) {
///     let connection = Connection::server(Arc::new(Limits::default()), Instant::now());
///     let handler = |event: Event<'_>, outbox: &mut Outbox| match event {
///         Event::Request(head) if head.is_upgrade() => outbox.accept(&Default::default()).unwrap(),
///         Event::Text(text) => outbox.text(text).unwrap_or_default(),
///         _ => {}
///     };
///     moorline_smol::drive(stream, connection, handler).await;
/// }
/// ```
pub fn drive<S, H>(stream: S, connection: Connection, handler: H) -> Drive<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler + Unpin,
{
    Drive { driver: Driver::new(stream, connection), handler }
}

/// The future that [`drive`] makes.
#[derive(Debug)]
#[must_use = "a connection goes on only while it is polled"]
pub struct Drive<S, H> {
    driver: Driver<S>,
    handler: H,
}

impl<S, H> Drive<S, H> {
    /// A handle for other tasks to send through. The first one costs the connection a small
    /// allocation.
    pub fn sender(&mut self) -> Sender {
        self.driver.sender()
    }
}

impl<S, H> Future for Drive<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler + Unpin,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { driver, handler } = self.get_mut();
        driver.poll(cx, handler)
    }
}

/// One connection with its stream.
#[derive(Debug)]
pub(crate) struct Driver<S> {
    stream: S,
    pub(crate) connection: Connection,
    alarm: Alarm,
    /// The stream may hold bytes that it took (TLS does): flush it.
    unflushed: bool,
    /// The write side is shut down.
    shut: bool,
    /// Where other tasks put what they send.
    link: Option<Arc<Link>>,
}

impl<S> Driver<S> {
    pub(crate) fn new(stream: S, connection: Connection) -> Self {
        let (alarm, link) = (Alarm::default(), None);
        Self { stream, connection, alarm, unflushed: false, shut: false, link }
    }

    pub(crate) fn sender(&mut self) -> Sender {
        let mark = self.connection.limits().outbox_pause as usize;
        Sender::new(self.link.get_or_insert_with(|| Arc::new(Link::new(mark))).clone())
    }
}

impl<S> Drop for Driver<S> {
    fn drop(&mut self) {
        if let Some(link) = &self.link {
            link.close();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    /// Goes on as far as it can without waiting; ready when the stream is to be dropped.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, handler: &mut impl Handler) -> Poll<()> {
        Buffers::with(|buffers| self.poll_with(cx, buffers, handler))
    }

    fn poll_with(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &mut Buffers,
        handler: &mut impl Handler,
    ) -> Poll<()> {
        let mut now = Instant::now();
        // Until it refuses bytes: then it wakes the task when it takes some again.
        let mut writable = true;
        self.take_sends(now, cx, buffers, handler);
        for budget in (0..=BUDGET).rev() {
            if self.flush(now, cx, &mut writable, buffers, handler) {
                // What is read from here on was sent later: at the same time as a Ping of ours its
                // Pong would not count.
                now = Instant::now();
            }
            let wants = self.connection.wants();
            match wants.end {
                End::Stay => {}
                End::ShutdownWrite => {
                    // It fails when the peer is gone, which the next read tells.
                    self.shut = self.shut || Pin::new(&mut self.stream).poll_close(cx).is_ready();
                }
                End::Drop => return Poll::Ready(()),
            }
            if budget == 0 {
                cx.waker().wake_by_ref();
                break;
            }
            let is_full = handler.is_full();
            // Before waiting: what is there already costs no wait.
            if wants.read && !is_full && self.read(now, cx, usize::MAX, buffers, handler).is_ready()
            {
                continue;
            }
            if !self.alarm.poll(cx, wants.wake_at) {
                break;
            }
            now = Instant::now();
            // The application lets the peer wait, so the peer's answers wait in the kernel. One byte
            // is proof enough that it lives.
            if is_full && matches!(self.connection.deadline(), Some((_, Why::Pong))) {
                let _ = self.read(now, cx, 1, buffers, handler);
            }
            self.turn(|connection| connection.handle_deadline(now), now, handler);
        }
        if let Some(link) = &self.link {
            link.publish(self.connection.outbox(now));
        }
        Poll::Pending
    }

    /// Ready when something came.
    fn read(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
        most: usize,
        buffers: &mut Buffers,
        handler: &mut impl Handler,
    ) -> Poll<()> {
        let room = buffers.read.len().min(most);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffers.read[..room]) {
            Poll::Ready(Ok(0)) => self.end_of_file(now, handler),
            Poll::Ready(Ok(count)) => {
                self.connection.outbox(now).lend(&mut buffers.spare);
                let (bytes, spare) = (&mut buffers.read[..count], &mut buffers.message);
                self.turn(|conn| conn.receive_with(now, bytes, spare), now, handler);
            }
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Poll::Ready(Err(_)) => self.end_of_file(now, handler),
            Poll::Pending => return Poll::Pending,
        }
        Poll::Ready(())
    }

    /// One vectored write per turn, unless the stream takes all of it and there is more. Says whether
    /// bytes were written.
    fn flush(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
        writable: &mut bool,
        buffers: &mut Buffers,
        handler: &mut impl Handler,
    ) -> bool {
        let mut has_written = false;
        while *writable && !self.connection.outbox(now).is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = self.connection.outbox(now).slices(&mut slices);
            let stream = Pin::new(&mut self.stream);
            let written = match &slices[..filled] {
                [one] => stream.poll_write(cx, one),
                many => stream.poll_write_vectored(cx, many),
            };
            match written {
                Poll::Ready(Ok(count)) if count > 0 => {
                    has_written = true;
                    self.unflushed = true;
                    self.connection.outbox(now).written(now, count);
                }
                Poll::Pending => {
                    *writable = false;
                    self.connection.outbox(now).written(now, 0);
                }
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(_) => self.cut_off(now, writable, handler),
            }
        }
        if self.unflushed && *writable {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(_)) => self.cut_off(now, writable, handler),
                Poll::Pending => {}
            }
        }
        self.connection.outbox(now).reclaim(&mut buffers.spare);
        has_written
    }

    /// The stream takes no more bytes. Whatever the peer sent before it left is of no use without an
    /// answer.
    fn cut_off(&mut self, now: Instant, writable: &mut bool, handler: &mut impl Handler) {
        *writable = false;
        self.unflushed = false;
        self.end_of_file(now, handler);
        self.end_of_file(now, handler);
    }

    fn end_of_file(&mut self, now: Instant, handler: &mut impl Handler) {
        self.turn(|connection| connection.handle_eof(now), now, handler);
    }

    /// What other tasks sent since the last poll.
    fn take_sends(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
        buffers: &mut Buffers,
        handler: &mut impl Handler,
    ) {
        let Some(link) = &self.link else { return };
        self.connection.outbox(now).lend(&mut buffers.spare);
        if link.take(now, cx.waker(), &mut self.connection) {
            // An answer given outside a turn opens the connection in the next one.
            self.turn(|connection| connection.receive(now, &mut []), now, handler);
        }
    }

    /// One call into the core, drained.
    fn turn<'a>(
        &'a mut self,
        call: impl FnOnce(&'a mut Connection) -> Turn<'a>,
        now: Instant,
        handler: &mut impl Handler,
    ) {
        let link = self.link.as_deref();
        let mut turn = call(&mut self.connection);
        while let Some((event, outbox)) = turn.next_event() {
            if let (Event::Closed(_), Some(link)) = (&event, link) {
                link.close();
            }
            handler.event(now, event, outbox);
        }
    }
}
