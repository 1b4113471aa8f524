//! What is seen of a peer: whether it takes its answers, and whether its request is complete.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::{
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{Sleep, sleep},
};

use super::places::Place;

/// A stream that tells its place when the peer takes no bytes, and fails when that lasts.
pub(super) struct PeerStream {
    stream: TokioIo<TcpStream>,
    place: Arc<Place>,
    write_timeout: Duration,
    /// Runs while the peer takes no bytes.
    blocked: Option<Pin<Box<Sleep>>>,
}

impl PeerStream {
    pub(super) fn new(stream: TcpStream, place: Arc<Place>, write_timeout: Duration) -> PeerStream {
        PeerStream { stream: TokioIo::new(stream), place, write_timeout, blocked: None }
    }

    fn watch(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            if self.blocked.take().is_some() {
                self.place.unblock();
            }
            return written;
        }
        let timer = self.blocked.get_or_insert_with(|| {
            self.place.block();
            Box::pin(sleep(self.write_timeout))
        });
        ready!(timer.as_mut().poll(context));
        self.place.count_end("write_timeout");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Drop for PeerStream {
    fn drop(&mut self) {
        if self.blocked.is_some() {
            // Otherwise the system would go on offering the answers for minutes, and hold them. A connection that is
            // gone already has none.
            let _gone = self.stream.inner().set_zero_linger();
        }
    }
}

impl Read for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.place.note_read();
        }
        read
    }
}

impl Write for PeerStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A request's body that tells its place when it has arrived to its end.
pub(super) struct RequestBody {
    incoming: Incoming,
    place: Arc<Place>,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, place: Arc<Place>) -> RequestBody {
        let body = RequestBody { incoming, place };
        body.look();
        body
    }

    fn look(&self) {
        if self.incoming.is_end_stream() {
            self.place.request_is_complete();
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(context));
        match frame {
            Some(_) => self.look(),
            None => self.place.request_is_complete(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
