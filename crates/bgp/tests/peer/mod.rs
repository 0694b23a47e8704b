//! A session under test, with the driver and the router played by the test.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bgp::Instant;
use bgp::packet::{
    AfiSafi, Capability, Families, Frame, HEADER_LEN, MessageType, Notification, Open, Stream, keepalive,
};
use bgp::session::{
    Config, ConnectionId, DEFAULT_CONNECT_TIME, DEFAULT_HOLD_TIME, DEFAULT_KEEPALIVE_TIME, Input,
    LocalAddresses, Opening, Output, PeerAsn, Reason, Session, State, Transport, Ttl,
};

pub(crate) const OUR_ASN: u32 = 64_512;
pub(crate) const PEER_ASN: u32 = 64_513;
pub(crate) const OUR_ID: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const PEER_ID: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);

/// A session of AS 64512 with a router of AS 64513.
pub(crate) fn config() -> Config {
    Config {
        my_asn: OUR_ASN,
        local_asn: None,
        peer_asn: PeerAsn::Number(PEER_ASN),
        router_id: OUR_ID,
        families: Families::BOTH,
        hold_time: DEFAULT_HOLD_TIME,
        keepalive_time: DEFAULT_KEEPALIVE_TIME,
        connect_time: DEFAULT_CONNECT_TIME,
        opening: Opening::Active,
        graceful_restart: None,
        transport: Transport {
            peer: "192.0.2.254:179".parse().expect("an address"),
            source: None,
            password: None,
            ttl: Ttl::System,
            device: None,
        },
    }
}

pub(crate) fn local() -> LocalAddresses {
    LocalAddresses {
        connection: IpAddr::V4(OUR_ID),
        v4: None,
        v6: Some("2001:db8::1".parse().expect("an address")),
        link_local: None,
    }
}

/// The OPEN of the router: both families, and what goes with them.
pub(crate) fn open() -> Open {
    let capabilities = vec![
        Capability::Multiprotocol(AfiSafi::IPV4_UNICAST),
        Capability::Multiprotocol(AfiSafi::IPV6_UNICAST),
        Capability::RouteRefresh,
        Capability::FourOctetAs(PEER_ASN),
    ];
    Open::new(PEER_ASN, 90, PEER_ID, capabilities)
}

/// A session, its clock, and what came out of it since it was last asked.
pub(crate) struct Subject {
    pub(crate) session: Session,
    pub(crate) now: Instant,
    pub(crate) out: Vec<Output>,
}

impl Subject {
    /// A session that is started.
    pub(crate) fn new(config: Config) -> Self {
        let now = Instant::from_origin(Duration::from_secs(1_000));
        let mut subject = Self { session: Session::new(config, 42), now, out: Vec::new() };
        subject.input(Input::Start);
        subject
    }

    /// A session that is established on connection 1 with a router of this OPEN.
    pub(crate) fn established(config: Config, open: &Open) -> Self {
        let mut subject = Self::new(config);
        subject.connected(1);
        subject.receive(1, &open.build());
        subject.receive(1, &keepalive());
        assert_eq!(subject.session.state(), State::Established, "{:?}", subject.session.last_error());
        subject.out.clear();
        subject
    }

    pub(crate) fn input(&mut self, input: Input<'_>) {
        self.session.handle(self.now, input, &mut self.out);
    }

    pub(crate) fn connected(&mut self, id: u64) {
        self.input(Input::Connected { connection: ConnectionId(id), local: local() });
    }

    pub(crate) fn accepted(&mut self, id: u64) {
        self.input(Input::Accepted { connection: ConnectionId(id), local: local() });
    }

    pub(crate) fn receive(&mut self, id: u64, bytes: &[u8]) {
        self.input(Input::Received { connection: ConnectionId(id), bytes });
    }

    /// Lets time pass, timer by timer.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.session.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.input(Input::Timeout);
        }
        self.now = end;
    }

    /// Lets the time of the next timer come.
    pub(crate) fn pass_to_timer(&mut self) -> Duration {
        let at = self.session.poll_timeout().expect("a timer runs");
        let time = at.saturating_since(self.now);
        self.pass(time);
        time
    }

    /// The messages that went out on a connection since this was last asked.
    pub(crate) fn sent(&mut self, id: u64) -> Vec<Frame> {
        let mut stream = Stream::new();
        let mut frames = Vec::new();
        self.out.retain(|output| match output {
            Output::Send { connection, bytes } if connection.0 == id => {
                stream.push(bytes);
                while let Some(frame) = stream.next().expect("valid") {
                    frames.push(frame);
                }
                false
            }
            _ => true,
        });
        frames
    }

    /// The NOTIFICATION that is the last that went out on a connection, which is then closed.
    pub(crate) fn last_words(&mut self, id: u64) -> Notification {
        assert!(self.out.contains(&Output::Close { connection: ConnectionId(id) }), "{:?}", self.out);
        let last = self.sent(id).pop().expect("something was said");
        assert_eq!(last.kind, MessageType::Notification);
        Notification::parse(&last.body).expect("valid")
    }

    /// Whether a connection is to be closed.
    pub(crate) fn closes(&self, id: u64) -> bool {
        self.out.contains(&Output::Close { connection: ConnectionId(id) })
    }

    /// The states that the session went through, the last reason among them.
    pub(crate) fn states(&mut self) -> (Vec<State>, Option<Reason>) {
        let (mut states, mut last) = (Vec::new(), None);
        for output in std::mem::take(&mut self.out) {
            if let Output::StateChanged { to, reason, .. } = output {
                states.push(to);
                last = Some(reason);
            }
        }
        (states, last)
    }
}

/// Bodies of messages that are no messages of their own.
pub(crate) fn body(message: &[u8]) -> &[u8] {
    &message[HEADER_LEN..]
}
