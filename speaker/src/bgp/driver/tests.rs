//! Sessions over the loopback interface, with a router played by the test.

mod hostile;
mod incoming;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bgp::packet::{
    AfiSafi, Capability, Community, Context, ErrorCode, GracefulRestart, MessageType, Notification, Open,
    RestartFamily, Stream, Update, keepalive,
};
use bgp::rib::Route;
use bgp::session::{Config, Opening, PeerAsn, RestartConfig};
use ipnet::IpNet;
use metrics::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::bgp::Peers;
use crate::core::BgpEffect;

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(5);
const FAMILIES: Families = Families { v4: true, v6: false };

fn config(router: SocketAddr, restart: bool) -> Config {
    let restart = restart.then_some(RestartConfig { time: Duration::from_secs(60), notification: false });
    Config {
        my_asn: 64_512,
        local_asn: None,
        peer_asn: PeerAsn::Number(64_513),
        router_id: Ipv4Addr::new(192, 0, 2, 1),
        families: FAMILIES,
        hold_time: Duration::from_secs(90),
        keepalive_time: Duration::from_secs(30),
        connect_time: Duration::from_secs(5),
        opening: Opening::Active,
        graceful_restart: restart,
        transport: Transport { peer: router, source: None, password: None, ttl: Ttl::System, device: None },
    }
}

fn routes(prefixes: &[&str], wanted: bool) -> Command {
    let route = wanted.then(|| Arc::new(Route::default()));
    let prefix = |text: &&str| -> IpNet { text.parse().expect("a prefix") };
    Command::Routes(
        prefixes.iter().map(|text| Change { prefix: prefix(text), route: route.clone() }).collect(),
    )
}

/// The speaker's peers, of which there is one, and the router's side of it.
struct Fixture {
    peers: Peers,
    reports: mpsc::UnboundedReceiver<Report>,
    listener: TcpListener,
    metrics: Metrics,
}

/// A connection as the router has it.
struct Router {
    stream: TcpStream,
    messages: Stream,
}

impl Fixture {
    async fn new() -> Self {
        let metrics = Metrics::new();
        let (peers, reports) = Peers::new(&metrics, "iris1");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self { peers, reports, listener, metrics }
    }

    fn tell(&mut self, command: Command) {
        self.peers.tell("tor", command);
    }

    fn start(&mut self, restart: bool) {
        let router = self.listener.local_addr().expect("bound");
        self.tell(Command::Session(Box::new(config(router, restart))));
    }

    /// Takes the next connection and establishes the session.
    async fn establish(&self, restart: bool) -> Router {
        let (stream, _) = timeout(SOON, self.listener.accept()).await.expect("soon").expect("a connection");
        let mut router = Router { stream, messages: Stream::new() };
        assert_eq!(router.next().await.0, MessageType::Open);
        let mut capabilities =
            vec![Capability::Multiprotocol(AfiSafi::IPV4_UNICAST), Capability::FourOctetAs(64_513)];
        if restart {
            let family = RestartFamily { family: AfiSafi::IPV4_UNICAST, forwarding: true };
            capabilities.push(Capability::GracefulRestart(GracefulRestart {
                restarted: false,
                notification: false,
                restart_time: 60,
                families: vec![family],
            }));
        }
        let open = Open::new(64_513, 90, Ipv4Addr::new(192, 0, 2, 254), capabilities);
        router.say(&open.build()).await;
        router.say(&keepalive()).await;
        assert_eq!(router.next().await.0, MessageType::Keepalive);
        router
    }

    /// Waits for a report that fulfils the condition.
    async fn report(&mut self, what: &str, condition: impl Fn(&SessionReport) -> bool) -> SessionReport {
        loop {
            let report = timeout(SOON, self.reports.recv()).await;
            let (peer, report) =
                report.unwrap_or_else(|_| panic!("not told: {what}")).expect("the task runs");
            assert_eq!(peer, "tor");
            if condition(&report) {
                return report;
            }
        }
    }
}

impl Router {
    async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the speaker listens");
    }

    /// The next message; `None` at the end of the connection.
    async fn maybe_next(&mut self) -> Option<(MessageType, Vec<u8>)> {
        loop {
            if let Some(frame) = self.messages.next().expect("valid") {
                return Some((frame.kind, frame.body));
            }
            let mut bytes = [0; 4096];
            let count = timeout(SOON, self.stream.read(&mut bytes)).await.expect("soon").expect("no error");
            if count == 0 {
                return None;
            }
            self.messages.push(&bytes[..count]);
        }
    }

    async fn next(&mut self) -> (MessageType, Vec<u8>) {
        self.maybe_next().await.expect("the connection goes on")
    }

    /// The next message, which is an UPDATE.
    async fn whole_update(&mut self) -> Update {
        let (kind, body) = self.next().await;
        assert_eq!(kind, MessageType::Update);
        let context =
            Context { four_octet_as: true, internal: false, families: FAMILIES, extended_next_hop: false };
        Update::parse(&body, context).expect("valid").update
    }

    /// The prefixes that the next UPDATE announces and withdraws.
    async fn update(&mut self) -> (Vec<String>, Vec<String>) {
        let update = self.whole_update().await;
        let text = |prefixes: &[IpNet]| prefixes.iter().map(ToString::to_string).collect();
        (text(&update.announced), text(&update.withdrawn))
    }

    async fn notification(&mut self) -> Notification {
        let (kind, body) = self.next().await;
        assert_eq!(kind, MessageType::Notification);
        Notification::parse(&body).expect("valid")
    }
}

#[tokio::test]
async fn a_router_is_told_of_routes_as_they_come_and_go() {
    let mut fixture = Fixture::new().await;
    fixture.tell(routes(&["192.0.2.1/32", "192.0.2.2/32"], true));
    fixture.start(false);
    let mut router = fixture.establish(false).await;
    let report = fixture.report("up", |report| report.up).await;
    assert_eq!(report.words, "established with AS 64513 (192.0.2.254)");
    let (mut announced, _) = router.update().await;
    announced.sort();
    assert_eq!(announced, ["192.0.2.1/32", "192.0.2.2/32"]);
    fixture.tell(routes(&["192.0.2.1/32"], false));
    assert_eq!(router.update().await, (vec![], vec!["192.0.2.1/32".to_owned()]));
    let text = fixture.metrics.text();
    let address = fixture.listener.local_addr().expect("bound");
    for (name, value) in [
        ("session_up", 1),
        ("announced_prefixes_total", 1),
        ("pending_prefixes_total", 0),
        ("opens_sent", 1),
        ("opens_received", 1),
        ("updates_total", 2),
        ("keepalives_received", 1),
        ("notifications_sent", 0),
    ] {
        let line = format!("\nmetallb_bgp_{name}{{peer=\"{address}\",vrf=\"\"}} {value}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
    fixture.tell(Command::End);
    assert_eq!(router.notification().await.error, ErrorCode::PEER_DECONFIGURED);
    assert_eq!(router.maybe_next().await, None);
    let Fixture { peers, metrics, .. } = fixture;
    let goodbye = peers.goodbye();
    drop(peers);
    goodbye.said().await;
    assert!(!metrics.text().contains("metallb_bgp_session_up{"), "its figures go with it");
}

#[tokio::test]
async fn at_the_end_of_the_speaker_routers_that_keep_routes_hear_nothing() {
    for restart in [true, false] {
        let mut fixture = Fixture::new().await;
        fixture.start(restart);
        let mut router = fixture.establish(restart).await;
        fixture.report("up", |report| report.up).await;
        let goodbye = fixture.peers.goodbye();
        drop(fixture.peers);
        goodbye.said().await;
        let mut last = router.maybe_next().await;
        if let Some((MessageType::Update, _)) = last {
            // The end of the first routes.
            last = router.maybe_next().await;
        }
        let said = last.map(|(_, body)| Notification::parse(&body).expect("valid").error);
        assert_eq!(said, (!restart).then_some(ErrorCode::ADMINISTRATIVE_SHUTDOWN), "{restart}");
    }
}

#[tokio::test]
async fn at_the_end_of_a_node_no_router_keeps_routes() {
    for restart in [true, false] {
        let mut fixture = Fixture::new().await;
        fixture.start(restart);
        let mut router = fixture.establish(restart).await;
        fixture.report("up", |report| report.up).await;
        fixture.peers.carry_out(BgpEffect::Drain(true));
        let goodbye = fixture.peers.goodbye();
        goodbye.announced(Duration::from_millis(1)).await;
        drop(fixture.peers);
        goodbye.said().await;
        let mut last = router.next().await;
        if last.0 == MessageType::Update {
            // The end of the first routes.
            last = router.next().await;
        }
        let said = Notification::with_communication(ErrorCode::ADMINISTRATIVE_SHUTDOWN, "node drain");
        assert_eq!(Notification::parse(&last.1), Some(said), "{restart}");
    }
}

#[tokio::test]
async fn a_session_that_ends_says_why_and_comes_back() {
    let mut fixture = Fixture::new().await;
    fixture.start(false);
    let mut router = fixture.establish(false).await;
    fixture.report("up", |report| report.up).await;
    router.say(&Notification::new(ErrorCode::ADMINISTRATIVE_SHUTDOWN).build()).await;
    let report = fixture.report("down", |report| !report.up).await;
    assert!(report.words.contains("its operator switched the session off"), "{}", report.words);
    let _again = fixture.establish(false).await;
    fixture.report("up again", |report| report.up).await;
}

#[tokio::test]
async fn what_hinders_a_connection_is_said() {
    let mut fixture = Fixture::new().await;
    let address = fixture.listener.local_addr().expect("bound");
    let mut wrong = config(address, false);
    wrong.transport.source = "192.0.2.77".parse().ok();
    fixture.tell(Command::Session(Box::new(wrong)));
    let report = fixture.report("no source", |report| !report.words.is_empty()).await;
    assert!(report.words.contains("192.0.2.77 is no address of this node"), "{}", report.words);
    // The mended configuration acts at once.
    fixture.start(false);
    fixture.establish(false).await;
    fixture.report("up", |report| report.up).await;
}

#[tokio::test]
async fn only_what_the_session_is_made_of_ends_it() {
    let mut fixture = Fixture::new().await;
    fixture.start(false);
    let mut router = fixture.establish(false).await;
    fixture.report("up", |report| report.up).await;
    let address = fixture.listener.local_addr().expect("bound");
    let patient = Config { connect_time: Duration::from_secs(77), ..config(address, false) };
    fixture.tell(Command::Session(Box::new(patient.clone())));
    fixture.tell(routes(&["192.0.2.9/32"], true));
    assert_eq!(router.update().await.0, ["192.0.2.9/32"], "the session goes on");
    fixture.tell(Command::Session(Box::new(Config { hold_time: Duration::from_secs(30), ..patient })));
    assert_eq!(router.notification().await.error, ErrorCode::CONFIGURATION_CHANGE);
    let mut router = fixture.establish(false).await;
    assert_eq!(router.update().await.0, ["192.0.2.9/32"], "a new one has all routes");
}

#[tokio::test]
async fn routers_are_asked_to_take_other_ways_before_routes_go() {
    let mut fixture = Fixture::new().await;
    fixture.tell(routes(&["192.0.2.1/32"], true));
    fixture.start(false);
    let mut router = fixture.establish(false).await;
    assert_eq!(router.update().await.0, ["192.0.2.1/32"]);
    let goodbye = fixture.peers.goodbye();
    let ((), update) = tokio::join!(goodbye.announced(Duration::from_millis(1)), router.whole_update());
    assert_eq!(update.attributes.communities, [Community::GRACEFUL_SHUTDOWN]);
    assert_eq!(update.announced.len(), 1, "it is still there");
    fixture.peers.carry_out(BgpEffect::Drain(false));
    assert_eq!(router.update().await.0, ["192.0.2.1/32"], "and stays after all");
    drop(fixture.peers);
    assert_eq!(router.notification().await.error, ErrorCode::ADMINISTRATIVE_SHUTDOWN);
}

#[tokio::test]
async fn routes_that_come_back_after_a_drain_are_as_ever() {
    let mut fixture = Fixture::new().await;
    fixture.start(false);
    let mut router = fixture.establish(false).await;
    fixture.report("up", |report| report.up).await;
    for (drain, prefix, communities) in
        [(true, "192.0.2.1/32", &[Community::GRACEFUL_SHUTDOWN][..]), (false, "192.0.2.2/32", &[])]
    {
        fixture.tell(routes(&["192.0.2.1/32"], false));
        fixture.peers.carry_out(BgpEffect::Drain(drain));
        fixture.tell(routes(&[prefix], true));
        loop {
            let update = router.whole_update().await;
            if update.announced == [prefix.parse::<IpNet>().expect("a prefix")] {
                assert_eq!(update.attributes.communities, communities, "{drain}");
                break;
            }
        }
    }
}
