//! Routers that connect to us.

use std::net::IpAddr;

use sockets::connect_tcp;

use super::*;

/// Where the router of the tests is: it connects, and nobody listens there.
const ROUTER: &str = "127.0.0.5";

/// A port that nobody uses.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

/// What the session with a router is to be that is active only. `keys`: it signs.
fn guest(key: Option<&str>) -> Config {
    let router = SocketAddr::new(ROUTER.parse().expect("an address"), 9);
    let mut config = Config { opening: Opening::Both, ..config(router, false) };
    config.transport.password = key.map(str::to_owned);
    config
}

/// Speakers' peers that routers may connect to.
async fn open_house(config: Config) -> (Fixture, SocketAddr) {
    open_house_at(free_port(), config).await
}

async fn open_house_at(port: u16, config: Config) -> (Fixture, SocketAddr) {
    let mut fixture = Fixture::new().await;
    fixture.metrics = Metrics::new();
    let (peers, reports) = Peers::new(&fixture.metrics, "iris1");
    (fixture.peers, fixture.reports) = (peers.listening(port), reports);
    fixture.tell(Command::Session(Box::new(config)));
    (fixture, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))
}

/// Connects from an address; `None` where nobody answers.
async fn connect_from(source: &str, to: SocketAddr, key: Option<&str>) -> Option<TcpStream> {
    let options = TcpOptions {
        peer: to,
        source: source.parse().ok(),
        key: key.map(|key| key.as_bytes().to_vec()),
        hops: Hops::System,
        device: None,
    };
    timeout(Duration::from_millis(700), connect_tcp(&options)).await.ok()?.ok()
}

/// The same, as soon as somebody listens.
async fn router(to: SocketAddr, key: Option<&str>) -> Router {
    let connect = async {
        loop {
            if let Some(stream) = connect_from(ROUTER, to, key).await {
                return Router { stream, messages: Stream::new() };
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, connect).await.expect("somebody listens")
}

impl Router {
    /// Establishes the session from the router's side.
    async fn greet(&mut self) {
        assert_eq!(self.next().await.0, MessageType::Open);
        self.say_open().await;
        assert_eq!(self.next().await.0, MessageType::Keepalive);
        self.say(&keepalive()).await;
    }

    async fn say_open(&mut self) {
        let capabilities =
            vec![Capability::Multiprotocol(AfiSafi::IPV4_UNICAST), Capability::FourOctetAs(64_513)];
        self.say(&Open::new(64_513, 90, Ipv4Addr::new(192, 0, 2, 254), capabilities).build()).await;
    }
}

#[tokio::test]
async fn a_router_that_only_connects_has_a_session_and_strangers_are_broken_off() {
    let (mut fixture, here) = open_house(guest(None)).await;
    fixture.tell(routes(&["192.0.2.1/32"], true));
    let mut router = router(here, None).await;
    router.greet().await;
    fixture.report("up", |report| report.up).await;
    assert_eq!(router.update().await.0, ["192.0.2.1/32"]);
    // A host that is no peer hears nothing.
    let mut stranger = connect_from("127.0.0.6", here, None).await.expect("the system answers first");
    let mut bytes = [0; 16];
    let heard = timeout(SOON, stranger.read(&mut bytes)).await.expect("soon");
    assert!(heard.is_err(), "reset without a byte: {heard:?}");
    // Nor does anybody listen at other addresses of this node.
    let other = SocketAddr::new(IpAddr::from([127, 0, 0, 2]), here.port());
    assert!(connect_from(ROUTER, other, None).await.is_none());
    // A second connection loses, and the session does not notice.
    let mut second = Router {
        stream: connect_from(ROUTER, here, None).await.expect("the peer may connect"),
        messages: Stream::new(),
    };
    assert_eq!(second.next().await.0, MessageType::Open);
    second.say_open().await;
    assert_eq!(second.notification().await.error, ErrorCode::COLLISION_RESOLUTION);
    fixture.tell(routes(&["192.0.2.1/32"], false));
    assert_eq!(router.update().await.1, ["192.0.2.1/32"], "the session goes on");
    fixture.tell(Command::End);
    assert_eq!(router.notification().await.error, ErrorCode::PEER_DECONFIGURED);
    let refused = async {
        while connect_from(ROUTER, here, None).await.is_some() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, refused).await.expect("nobody listens for a peer that is gone");
}

#[tokio::test]
async fn a_router_with_a_password_has_to_sign_and_a_new_password_counts_at_once() {
    let (mut fixture, here) = open_house(guest(Some("first"))).await;
    let mut old = router(here, Some("first")).await;
    old.greet().await;
    fixture.report("up", |report| report.up).await;
    assert!(connect_from(ROUTER, here, None).await.is_none(), "unsigned");
    fixture.tell(Command::Session(Box::new(guest(Some("second")))));
    let mut new = router(here, Some("second")).await;
    assert!(connect_from(ROUTER, here, Some("first")).await.is_none(), "signed by the old one");
    new.greet().await;
    fixture.report("down and up", |report| report.up).await;
}

#[tokio::test]
async fn of_connections_from_both_sides_one_stays() {
    let (mut fixture, here) = open_house(guest(None)).await;
    // The router of the fixture listens, too.
    let listens = TcpListener::bind((ROUTER, 0)).await.expect("a port");
    let mut config = guest(None);
    config.transport.peer = listens.local_addr().expect("bound");
    fixture.tell(Command::Session(Box::new(config)));
    let (stream, _) = timeout(SOON, listens.accept()).await.expect("soon").expect("a connection");
    let mut ours = Router { stream, messages: Stream::new() };
    let mut theirs = router(here, None).await;
    for connection in [&mut ours, &mut theirs] {
        assert_eq!(connection.next().await.0, MessageType::Open);
        connection.say_open().await;
    }
    // The greater identifier is the router's, so its connection stays.
    loop {
        match ours.next().await {
            (MessageType::Keepalive, _) => {}
            (MessageType::Notification, body) => {
                let said = Notification::parse(&body).expect("valid").error;
                assert_eq!(said, ErrorCode::COLLISION_RESOLUTION);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(theirs.next().await.0, MessageType::Keepalive);
    theirs.say(&keepalive()).await;
    fixture.report("up", |report| report.up).await;
    fixture.tell(routes(&["192.0.2.7/32"], true));
    assert_eq!(theirs.update().await.0, ["192.0.2.7/32"]);
}

#[tokio::test]
async fn a_router_that_connects_again_and_again_has_one_connection() {
    let (mut fixture, here) = open_house(guest(None)).await;
    let mut before: Vec<Router> = Vec::new();
    for _ in 0..50 {
        let mut router = router(here, None).await;
        assert_eq!(router.next().await.0, MessageType::Open);
        before.push(router);
    }
    let mut last = before.pop().expect("there are fifty");
    for mut router in before {
        assert_eq!(router.maybe_next().await, None, "its place is taken by the one after it");
    }
    last.say_open().await;
    assert_eq!(last.next().await.0, MessageType::Keepalive);
    last.say(&keepalive()).await;
    fixture.report("up", |report| report.up).await;
}

#[tokio::test]
async fn a_port_that_another_program_has_is_told_and_taken_once_it_is_free() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = other.local_addr().expect("bound").port();
    let (mut fixture, here) = open_house_at(port, guest(None)).await;
    let told = |report: &SessionReport| report.words.contains("cannot listen on 127.0.0.1:");
    let report = fixture.report("why", told).await;
    assert!(report.words.contains("another BGP speaker runs on this node"), "{}", report.words);
    drop(other);
    // Any change is a reason to try again.
    let patient = Config { connect_time: Duration::from_secs(77), ..guest(None) };
    fixture.tell(Command::Session(Box::new(patient)));
    let mut router = router(here, None).await;
    router.greet().await;
    let report = fixture.report("up", |report| report.up).await;
    assert_eq!(report.warnings, [""; 0]);
}
