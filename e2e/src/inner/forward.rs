//! Carries byte streams between the outer machine's loopback and the API server
//! inside: a unix socket crosses network namespaces, TCP does not.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    thread,
};

/// A stream that can be read in one thread while another writes it.
pub(crate) trait Stream: Read + Write + Send + Sized + 'static {
    /// A second handle on the same stream.
    fn second(&self) -> io::Result<Self>;
    /// Tells the other end that nothing more will come.
    fn finish(&self);
}

impl Stream for TcpStream {
    fn second(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn finish(&self) {
        // The other end may be gone already.
        self.shutdown(Shutdown::Write).ok();
    }
}

impl Stream for UnixStream {
    fn second(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn finish(&self) {
        self.shutdown(Shutdown::Write).ok();
    }
}

/// Serves `listener` for the life of the process.
pub(crate) fn from_tcp<B: Stream>(
    listener: TcpListener,
    connect: impl Fn() -> io::Result<B> + Send + 'static,
) {
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            join(stream, &connect);
        }
    });
}

/// Serves `listener` for the life of the process.
pub(crate) fn from_unix<B: Stream>(
    listener: UnixListener,
    connect: impl Fn() -> io::Result<B> + Send + 'static,
) {
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            join(stream, &connect);
        }
    });
}

/// Connects and copies both ways until both ends have finished. A failure closes
/// the stream, which is what the client of a proxy sees of it.
fn join<A: Stream, B: Stream>(near: A, connect: impl Fn() -> io::Result<B>) {
    let Ok(far) = connect() else { return };
    let (Ok(near2), Ok(far2)) = (near.second(), far.second()) else { return };
    thread::spawn(move || copy(near, far));
    thread::spawn(move || copy(far2, near2));
}

fn copy(mut from: impl Stream, mut to: impl Stream) {
    io::copy(&mut from, &mut to).ok();
    to.finish();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_the_end_of_each_direction_come_through() {
        let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = server.local_addr().expect("bound");
        thread::spawn(move || {
            let (mut stream, _) = server.accept().expect("one client");
            let mut text = String::new();
            // Ends only when the client's end of stream is carried over.
            stream.read_to_string(&mut text).expect("text");
            write!(stream, "{text} back").expect("the client reads");
        });
        let entry = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let entry_address = entry.local_addr().expect("bound");
        from_tcp(entry, move || TcpStream::connect(address));

        let mut client = TcpStream::connect(entry_address).expect("listening");
        client.write_all(b"there and").expect("written");
        client.shutdown(Shutdown::Write).expect("shut down");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("answered");
        assert_eq!(answer, "there and back");
    }
}
