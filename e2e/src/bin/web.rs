//! The server of the tests. Answers every HTTP request, and every UDP packet, with one
//! line that says which Pod on which node was reached by whom:
//!
//! ```text
//! pod=web-6f7c9-x2x4k node=node2 client=192.0.2.250:41234 via=tcp
//! ```
//!
//! Where the request has an `X-Forwarded-For`, the line ends with `forwarded-for=` and its value.
//!
//! With `UPSTREAM=HOST:PORT` it is a reverse proxy, such as an ingress: it hands HTTP requests on to there with
//! the client's address in `X-Forwarded-For`, and the answers back.
//!
//! `POD_NAME` and `NODE_NAME` are what the line says (the host's name where unset),
//! `TCP_PORTS` and `UDP_PORTS` where it listens, in both families.

use std::{
    env, fs,
    io::{self, BufReader, Read as _, Write as _},
    net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::ExitCode,
    sync::Arc,
    thread,
};

use nix::sys::signal::{SigSet, Signal};

/// Ports where the environment names none. 5353 is the tests' DNS, in both protocols.
const TCP_PORTS: &str = "80,8080,5353";
const UDP_PORTS: &str = "5353,8080";

/// Who answers.
struct Identity {
    pod: String,
    node: String,
}

impl Identity {
    fn from_environment() -> Self {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        let variable = |name: &str| env::var(name).unwrap_or_else(|_| host.clone());
        Self { pod: variable("POD_NAME"), node: variable("NODE_NAME") }
    }

    fn line(&self, client: SocketAddr, via: &str) -> String {
        // A dual-stack socket shows IPv4 clients as ::ffff:a.b.c.d.
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        format!("pod={} node={} client={client} via={via}\n", self.pod, self.node)
    }
}

fn main() -> ExitCode {
    let ends: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
    ends.thread_block().expect("these signals can be blocked");
    if let Err(error) = listen() {
        eprintln!("web: {error}");
        return ExitCode::FAILURE;
    }
    ends.wait().expect("waiting for signals that exist");
    ExitCode::SUCCESS
}

fn listen() -> io::Result<()> {
    let identity = Arc::new(Identity::from_environment());
    for port in ports("TCP_PORTS", TCP_PORTS)? {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
            .map_err(|error| io::Error::new(error.kind(), format!("TCP port {port}: {error}")))?;
        let identity = Arc::clone(&identity);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let identity = Arc::clone(&identity);
                // A client that goes away in the middle is its own matter.
                thread::spawn(move || serve(&stream, &identity).ok());
            }
        });
        println!("web: listening on TCP port {port}");
    }
    for port in ports("UDP_PORTS", UDP_PORTS)? {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))
            .map_err(|error| io::Error::new(error.kind(), format!("UDP port {port}: {error}")))?;
        let identity = Arc::clone(&identity);
        thread::spawn(move || {
            let mut buffer = [0; 2048];
            loop {
                // An error here is the ICMP answer to an earlier reply of ours.
                if let Ok((_, client)) = socket.recv_from(&mut buffer) {
                    socket.send_to(identity.line(client, "udp").as_bytes(), client).ok();
                }
            }
        });
        println!("web: listening on UDP port {port}");
    }
    Ok(())
}

fn ports(variable: &str, default: &str) -> io::Result<Vec<u16>> {
    let text = env::var(variable).unwrap_or_else(|_| default.to_owned());
    text.split(',')
        .map(str::trim)
        .filter(|port| !port.is_empty())
        .map(|port| {
            let wrong =
                || io::Error::new(io::ErrorKind::InvalidInput, format!("{variable}: {port:?} is not a port"));
            port.parse().map_err(|_| wrong())
        })
        .collect()
}

/// What the head of a request says of interest.
#[derive(Debug, Default, PartialEq, Eq)]
struct Request {
    /// Method, path and version.
    line: String,
    /// Whether the client ends the connection after the answer.
    close: bool,
    forwarded_for: Option<String>,
}

/// Answers requests on one connection until the client has enough.
fn serve(stream: &TcpStream, identity: &Identity) -> io::Result<()> {
    let client = stream.peer_addr()?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader)? {
        if let Ok(upstream) = env::var("UPSTREAM") {
            return forward(stream, &request, client, &upstream);
        }
        let mut body = identity.line(client, "tcp");
        if let Some(forwarded_for) = request.forwarded_for {
            body = format!("{} forwarded-for={forwarded_for}\n", body.trim_end());
        }
        answer(stream, "200 OK", &body, request.close)?;
        if request.close {
            break;
        }
    }
    Ok(())
}

fn answer(mut stream: &TcpStream, status: &str, body: &str, close: bool) -> io::Result<()> {
    let connection = if close { "close" } else { "keep-alive" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes())
}

/// Hands one request without a body on, and all of the answer back.
fn forward(mut stream: &TcpStream, request: &Request, client: SocketAddr, upstream: &str) -> io::Result<()> {
    let mut behind = match TcpStream::connect(upstream) {
        Ok(behind) => behind,
        Err(error) => return answer(stream, "502 Bad Gateway", &format!("{upstream}: {error}\n"), true),
    };
    let (line, client) = (&request.line, client.ip().to_canonical());
    let head =
        format!("{line}\r\nHost: {upstream}\r\nX-Forwarded-For: {client}\r\nConnection: close\r\n\r\n");
    behind.write_all(head.as_bytes())?;
    let mut back = Vec::new();
    behind.read_to_end(&mut back)?;
    stream.write_all(&back)?;
    stream.shutdown(Shutdown::Write)
}

/// Reads a request's head. `None` at the end of the stream.
fn read_request(reader: &mut impl io::BufRead) -> io::Result<Option<Request>> {
    let mut request = Request::default();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if request.line.is_empty() {
            request.close = line.to_ascii_lowercase().ends_with("http/1.0");
            line.clone_into(&mut request.line);
        } else if line.is_empty() {
            return Ok(Some(request));
        } else if let Some((name, value)) = line.split_once(':') {
            match name.to_ascii_lowercase().as_str() {
                "connection" => request.close |= value.trim().eq_ignore_ascii_case("close"),
                "x-forwarded-for" => request.forwarded_for = Some(value.trim().to_owned()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_stay_open_until_the_client_says_otherwise() {
        let cases = [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Some(false)),
            ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", Some(true)),
            ("GET / HTTP/1.0\r\n\r\n", Some(true)),
            ("GET / HTTP/1.1\r\nHost", None),
            ("", None),
        ];
        for (request, expected) in cases {
            let found = read_request(&mut request.as_bytes()).expect("memory reads");
            assert_eq!(found.map(|request| request.close), expected, "{request:?}");
        }
    }

    #[test]
    fn a_proxy_hands_the_clients_address_on() {
        let listen = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (front, back) = (listen(), listen());
        let upstream = back.local_addr().expect("bound").to_string();
        let address = front.local_addr().expect("bound");
        thread::spawn(move || {
            let (stream, _) = back.accept().expect("the proxy");
            let identity = Identity { pod: "p".to_owned(), node: "n".to_owned() };
            serve(&stream, &identity).expect("served");
        });
        thread::spawn(move || {
            let (stream, _) = front.accept().expect("the client");
            let request = Request { line: "GET / HTTP/1.1".to_owned(), ..Request::default() };
            let client = "[::ffff:192.0.2.250]:4000".parse().expect("an address");
            forward(&stream, &request, client, &upstream).expect("forwarded");
        });
        let mut answer = String::new();
        TcpStream::connect(address).expect("listening").read_to_string(&mut answer).expect("answered");
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("forwarded-for=192.0.2.250\n"),
            "{answer}"
        );
    }

    #[test]
    fn ipv4_clients_appear_with_their_ipv4_address() {
        let identity = Identity { pod: "p".to_owned(), node: "n".to_owned() };
        let client = "[::ffff:192.0.2.250]:4000".parse().expect("an address");
        assert_eq!(identity.line(client, "udp"), "pod=p node=n client=192.0.2.250:4000 via=udp\n");
    }
}
