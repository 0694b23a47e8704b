//! One connection: what is still to be written, and how it is closed.

use std::io::{self, Read};
use std::net::Shutdown;

use bgp::session::ConnectionId;
use socket2::SockRef;
use tokio::net::TcpStream;
use tracing::debug;

/// How much is read at once, and how often at most before something else is done.
pub(super) const READ: usize = 16_384;
pub(super) const LAST_READS: usize = 64;

/// A connection and what it has not taken yet. That is bounded: more routes are only asked for when all is written.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) id: ConnectionId,
    pub(super) stream: TcpStream,
    unsent: Vec<u8>,
    /// How much of `unsent` the socket has.
    sent: usize,
}

impl Wire {
    pub(super) fn new(id: ConnectionId, stream: TcpStream) -> Self {
        Self { id, stream, unsent: Vec::new(), sent: 0 }
    }

    /// Whether all is written.
    pub(super) fn is_drained(&self) -> bool {
        self.sent == self.unsent.len()
    }

    /// Writes these bytes after what waits already.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    /// Writes what the socket takes now; returns whether it took anything.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        let before = self.sent;
        while let Some(rest) = self.unsent.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.try_write(rest) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let wrote = self.sent > before;
        if self.is_drained() {
            self.unsent.clear();
            self.sent = 0;
        }
        Ok(wrote)
    }

    /// Reads what has come, without asking the runtime, which may not have noticed it yet; empty where nothing has, and
    /// where the connection is over, which the runtime will tell.
    pub(super) fn arrived(&self) -> Vec<u8> {
        let mut buffer = vec![0; READ];
        // `Read` for a borrowed socket: the stream does not block.
        let count = (&*SockRef::from(&self.stream)).read(&mut buffer).unwrap_or(0);
        buffer.truncate(count);
        buffer
    }

    /// Writes what the socket takes at once, and closes. What has come and was not read would else make the system break
    /// the connection, and the last words with it.
    pub(super) fn close(mut self) {
        let written = self.flush();
        let mut read = 0;
        while read < LAST_READS && !self.arrived().is_empty() {
            read += 1;
        }
        let closed = SockRef::from(&self.stream).shutdown(Shutdown::Write);
        if let Err(error) = written.and(closed) {
            debug!(%error, "closing a connection that is over already");
        }
    }
}
