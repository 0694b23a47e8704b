//! Routers that mean no good, or are broken, over real connections: they hear the RFC's NOTIFICATION, users read what is
//! wrong, attempts become rare, and memory stays bounded.

use std::fs;
use std::time::Instant as Clock;

use bgp::packet::{AsPath, Attributes, Origin};
use ipnet::Ipv4Net;

use super::*;

const ROUTER_ID: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);

/// What a well-meaning router says first.
fn open() -> Open {
    let capabilities =
        vec![Capability::Multiprotocol(AfiSafi::IPV4_UNICAST), Capability::FourOctetAs(64_513)];
    Open::new(64_513, 90, ROUTER_ID, capabilities)
}

/// The same with another byte at this place of the message.
fn patched(message: &[u8], place: usize, byte: u8) -> Vec<u8> {
    let mut message = message.to_vec();
    message[place] = byte;
    message
}

/// A message with this body.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).expect("short").to_be_bytes();
    [&[0xff; 16][..], &length, &[kind], body].concat()
}

/// Announces so many routes from this one on.
fn announcement(first: u32, count: u32) -> Vec<u8> {
    let attributes = Attributes {
        origin: Some(Origin::Igp),
        as_path: Some(AsPath::of(64_513)),
        next_hop: Some(ROUTER_ID),
        ..Attributes::default()
    };
    let prefix = |number: u32| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(number), 32));
    let announced = (0..count).map(|number| prefix(0x0b00_0000 + first + number)).collect();
    Update { attributes, announced, ..Update::default() }.build(true)
}

/// The router's side of the next connection, after our OPEN.
async fn next_connection(fixture: &Fixture) -> Router {
    let (stream, _) = timeout(Duration::from_secs(15), fixture.listener.accept())
        .await
        .expect("an attempt")
        .expect("a connection");
    let mut router = Router { stream, messages: Stream::new() };
    assert_eq!(router.next().await.0, MessageType::Open);
    router
}

#[tokio::test]
async fn each_fault_has_its_notification_and_its_words() {
    let update = announcement(0, 1);
    // ORIGIN, then an attribute that is well-known and nobody knows.
    let unknown = [0, 0, 0, 7, 0x40, 1, 1, 0, 0x40, 99, 0];
    // (whether the session is up before, what the router says, what it hears, what users read)
    let cases: [(bool, Vec<u8>, ErrorCode, &str); 14] = [
        (false, patched(&open().build(), 3, 0), ErrorCode::NOT_SYNCHRONIZED, "marker"),
        (false, patched(&open().build(), 16, 0xff), ErrorCode::BAD_LENGTH, "bytes long"),
        (false, patched(&open().build(), 18, 77), ErrorCode::BAD_TYPE, "type"),
        (false, patched(&open().build(), 19, 3), ErrorCode::UNSUPPORTED_VERSION, "version"),
        (
            false,
            Open::new(64_999, 90, ROUTER_ID, open().capabilities[..1].to_vec()).build(),
            ErrorCode::BAD_PEER_AS,
            "says it is of AS 64999",
        ),
        (
            false,
            Open { identifier: Ipv4Addr::UNSPECIFIED, ..open() }.build(),
            ErrorCode::BAD_BGP_IDENTIFIER,
            "identifier",
        ),
        (false, Open { hold_time: 1, ..open() }.build(), ErrorCode::UNACCEPTABLE_HOLD_TIME, "hold time"),
        (
            false,
            Open { capabilities: vec![Capability::Unknown { code: 65, value: vec![1] }], ..open() }.build(),
            ErrorCode::OPEN_UNSPECIFIC,
            "capabilit",
        ),
        (false, keepalive(), ErrorCode::FSM_OPEN_SENT, "does not belong there"),
        (true, patched(&update, 0, 7), ErrorCode::NOT_SYNCHRONIZED, "marker"),
        (true, patched(&update, 17, 18), ErrorCode::BAD_LENGTH, "bytes long"),
        (true, message(2, &[0, 0, 0, 99]), ErrorCode::MALFORMED_ATTRIBUTE_LIST, ""),
        (true, message(2, &unknown), ErrorCode::UNRECOGNIZED_WELL_KNOWN, ""),
        (true, open().build(), ErrorCode::FSM_ESTABLISHED, "does not belong there"),
    ];
    for (up, says, hears, words) in cases {
        let mut fixture = Fixture::new().await;
        fixture.start(false);
        let mut router = if up { fixture.establish(false).await } else { next_connection(&fixture).await };
        if up {
            fixture.report("up", |report| report.up).await;
        }
        router.say(&says).await;
        let heard = loop {
            match router.next().await {
                (MessageType::Notification, body) => break Notification::parse(&body).expect("valid"),
                (MessageType::Update | MessageType::Keepalive, _) => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(heard.error, hears, "{words}");
        assert_eq!(router.maybe_next().await, None, "the connection ends: {words}");
        let report = fixture.report("why", |report| !report.up && !report.words.is_empty()).await;
        assert!(report.words.contains(words), "{words}: {}", report.words);
    }
}

#[tokio::test]
async fn a_fault_that_can_be_helped_does_not_end_the_session() {
    let mut fixture = Fixture::new().await;
    fixture.start(false);
    let mut router = fixture.establish(false).await;
    fixture.report("up", |report| report.up).await;
    // An ORIGIN that does not exist, and a route (RFC 7606 §7.1).
    for _ in 0..1_000 {
        router.say(&message(2, &[0, 0, 0, 4, 0x40, 1, 1, 9, 32, 192, 0, 2, 1])).await;
    }
    fixture.tell(routes(&["192.0.2.9/32"], true));
    loop {
        let (announced, withdrawn) = router.update().await;
        if announced == ["192.0.2.9/32"] {
            break;
        }
        assert!(announced.is_empty() && withdrawn.is_empty(), "the end of the first routes");
    }
}

#[tokio::test]
async fn a_router_that_resets_is_tried_less_and_less_often() {
    let mut fixture = Fixture::new().await;
    fixture.start(false);
    let mut waits = Vec::new();
    let mut last = Clock::now();
    for _ in 0..4 {
        let router = next_connection(&fixture).await;
        waits.push(last.elapsed());
        last = Clock::now();
        router.stream.set_zero_linger().expect("an option");
    }
    let report = fixture.report("why", |report| !report.words.is_empty()).await;
    assert!(report.words.contains("before its OPEN"), "{}", report.words);
    // 1, 2 and 4 seconds, the last quarter of which is by chance.
    for (wait, least) in waits.iter().skip(1).zip([750, 1_500, 3_000]) {
        assert!(*wait >= Duration::from_millis(least), "{waits:?}");
    }
    let text = fixture.metrics.text();
    assert!(text.contains("metallb_bgp_opens_sent{") && text.contains("} 4\n"), "{text}");
}

#[tokio::test]
async fn a_router_that_stalls_within_a_message_is_given_up_after_the_hold_time() {
    let mut fixture = Fixture::new().await;
    let address = fixture.listener.local_addr().expect("bound");
    let hold_time = Duration::from_secs(3);
    let config = Config { hold_time, keepalive_time: Duration::from_secs(1), ..config(address, false) };
    fixture.tell(Command::Session(Box::new(config)));
    let mut router = fixture.establish(false).await;
    fixture.report("up", |report| report.up).await;
    let start = Clock::now();
    router.say(&announcement(0, 10)[..30]).await;
    let report = fixture.report("down", |report| !report.up).await;
    let took = start.elapsed();
    assert!(
        report.words.contains("nothing was heard from the router for the hold time of 3 s"),
        "{report:?}"
    );
    assert!(took >= Duration::from_millis(2_500) && took < Duration::from_secs(5), "{took:?}");
    loop {
        match router.next().await {
            (MessageType::Notification, body) => {
                let said = Notification::parse(&body).expect("valid").error;
                assert_eq!(said, ErrorCode::HOLD_TIMER_EXPIRED);
                break;
            }
            (kind, _) => assert!(matches!(kind, MessageType::Keepalive | MessageType::Update), "{kind:?}"),
        }
    }
}

/// The memory of this process that is resident, in kB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("every process has some");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test]
async fn a_hundred_thousand_routes_cost_no_memory_and_no_session() {
    let mut fixture = Fixture::new().await;
    fixture.start(false);
    let mut router = fixture.establish(false).await;
    fixture.report("up", |report| report.up).await;
    router.say(&announcement(0, 500)).await;
    let before = resident();
    for number in 1..200 {
        router.say(&announcement(number * 500, 500)).await;
    }
    // What is said after them is heard after them.
    fixture.tell(routes(&["192.0.2.9/32"], true));
    let address = fixture.listener.local_addr().expect("bound");
    let line = format!("metallb_bgp_updates_total_received{{peer=\"{address}\",vrf=\"\"}} 200\n");
    let counted = async {
        while !fixture.metrics.text().contains(&line) {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, counted).await.expect("all are received");
    // Other tests run in this process, so the bound is a wide one: kept routes would take many times as much.
    let grown = resident().saturating_sub(before);
    assert!(grown < 8_192, "{grown} kB more");
    while router.update().await.0 != ["192.0.2.9/32"] {}
}
