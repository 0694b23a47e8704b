//! The smallest driver of a session: announces prefixes to one router until it is stopped or its time is over.
//!
//! ```console
//! cargo run -p bgp --example speak -- 192.0.2.254:179 64512 64513 60 192.0.2.100/32 2001:db8::100/128
//! ```
//!
//! The arguments are the router, our AS, the router's AS (0 for any but ours), how many seconds to stay, and prefixes.
//! With `RESTARTED` in the environment it says that it has just restarted and that forwarding went on (RFC 4724).
//!
//! It shows what is asked of a driver: one socket, one deadline, and routes only when the socket takes them. What is
//! left out is listening, and connecting without waiting.

use std::env;
use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bgp::Instant;
use bgp::packet::{Community, Families, LargeCommunity};
use bgp::rib::{Change, Route};
use bgp::session::{
    Config, ConnectError, ConnectionId, DEFAULT_CONNECT_TIME, Input, LocalAddresses, Opening, Output,
    PeerAsn, RestartConfig, Session, State, Stop, Transport, Ttl,
};

/// A session, its socket, and its clock.
struct Driver {
    session: Session,
    start: std::time::Instant,
    socket: Option<(ConnectionId, TcpStream)>,
    connections: u64,
    /// A connection is asked for.
    wanted: Option<SocketAddr>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [peer, our_asn, peer_asn, seconds, prefixes @ ..] = arguments.as_slice() else {
        return Err("usage: speak ROUTER:PORT OUR_AS ROUTER_AS SECONDS PREFIX…".into());
    };
    let config = configuration(peer.parse()?, our_asn.parse()?, peer_asn.parse()?);
    let route = Arc::new(Route {
        communities: [Community::new(64_512, 100)].into(),
        large_communities: [LargeCommunity { global: 64_512, one: 1, two: 2 }].into(),
        ..Route::default()
    });
    let mut changes = Vec::new();
    for prefix in prefixes {
        changes.push(Change { prefix: prefix.parse()?, route: Some(Arc::clone(&route)) });
    }
    let mut driver = Driver {
        session: Session::new(config, 1),
        start: std::time::Instant::now(),
        socket: None,
        connections: 0,
        wanted: None,
    };
    if env::var_os("RESTARTED").is_some() {
        driver.input(Input::Restarting { restarted: true, forwarding: Families::BOTH });
    }
    driver.input(Input::Routes(&changes));
    driver.input(Input::Start);
    let stay = Duration::from_secs(seconds.parse()?);
    while driver.start.elapsed() < stay {
        driver.turn()?;
    }
    println!("told: {:?}", driver.session.rib().counts());
    driver.input(Input::Stop(Stop::Shutdown("the example is over".to_owned())));
    Ok(())
}

fn configuration(peer: SocketAddr, my_asn: u32, peer_asn: u32) -> Config {
    Config {
        my_asn,
        local_asn: None,
        peer_asn: if peer_asn == 0 { PeerAsn::External } else { PeerAsn::Number(peer_asn) },
        router_id: Ipv4Addr::new(192, 0, 2, 1),
        families: Families::BOTH,
        hold_time: Duration::from_secs(9),
        keepalive_time: Duration::from_secs(3),
        connect_time: DEFAULT_CONNECT_TIME,
        opening: Opening::Active,
        graceful_restart: Some(RestartConfig { time: Duration::from_secs(30), notification: true }),
        transport: Transport { peer, source: None, password: None, ttl: Ttl::System, device: None },
    }
}

impl Driver {
    fn now(&self) -> Instant {
        Instant::from_origin(self.start.elapsed())
    }

    /// Hands something to the session and does what comes out, in order: what comes of that has to wait.
    fn input(&mut self, input: Input<'_>) {
        let mut out = Vec::new();
        self.session.handle(self.now(), input, &mut out);
        for output in out {
            match output {
                Output::Connect(transport) => self.wanted = Some(transport.peer),
                Output::Send { bytes, .. } => self.write(&bytes),
                Output::CancelConnect => self.wanted = None,
                Output::Close { .. } => self.socket = None,
                Output::StateChanged { from, to, reason } => println!("{from} -> {to}: {reason}"),
                Output::Established(terms) => {
                    println!("{terms:#?}");
                    for family in self.session.config().families.iter() {
                        if let Some(words) = self.session.untold(family) {
                            println!("no {family} routes: {words}");
                        }
                    }
                }
                other => println!("{other:?}"),
            }
        }
    }

    fn connect(&mut self, peer: SocketAddr) {
        match TcpStream::connect_timeout(&peer, Duration::from_secs(5)) {
            Ok(socket) => {
                self.connections += 1;
                let connection = ConnectionId(self.connections);
                let address = socket.local_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |a| a.ip());
                let local = LocalAddresses {
                    connection: address,
                    v4: Some(Ipv4Addr::new(192, 0, 2, 1)),
                    v6: "2001:db8::1".parse().ok(),
                    link_local: None,
                };
                self.socket = Some((connection, socket));
                self.input(Input::Connected { connection, local });
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                self.input(Input::ConnectFailed(ConnectError::Refused));
            }
            Err(error) => self.input(Input::ConnectFailed(ConnectError::Other(error.to_string()))),
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        // What cannot be written shows when the socket is read.
        if let Some((connection, socket)) = &mut self.socket
            && socket.write_all(bytes).is_ok()
        {
            let written = Input::Written { connection: *connection };
            self.session.handle(self.now(), written, &mut Vec::new());
        }
    }

    /// Waits for bytes or the deadline, and hands on what comes first.
    fn turn(&mut self) -> Result<(), Box<dyn Error>> {
        let deadline = self.session.poll_timeout().map_or(Duration::from_secs(1), Instant::since_origin);
        let wait = deadline.saturating_sub(self.start.elapsed());
        let wait = wait.clamp(Duration::from_millis(1), Duration::from_millis(100));
        if let Some(peer) = self.wanted.take() {
            self.connect(peer);
        } else if let Some((connection, socket)) = &mut self.socket {
            let connection = *connection;
            let mut bytes = [0; 16_384];
            socket.set_read_timeout(Some(wait))?;
            match socket.read(&mut bytes) {
                Ok(0) => {
                    self.socket = None;
                    self.input(Input::Closed { connection, error: None });
                }
                Ok(length) => self.input(Input::Received { connection, bytes: &bytes[..length] }),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => {
                    self.socket = None;
                    self.input(Input::Closed { connection, error: Some(&error.to_string()) });
                }
            }
        } else {
            std::thread::sleep(wait);
        }
        if self.session.poll_timeout().is_some_and(|at| at <= self.now()) {
            self.input(Input::Timeout);
        }
        while self.session.state() == State::Established
            && let Some(message) = self.session.next_message(self.now())
        {
            self.write(&message.bytes);
        }
        Ok(())
    }
}
