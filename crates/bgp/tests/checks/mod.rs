//! What must hold of any bytes: the body of the fuzz targets, run on random and on kept inputs by ordinary tests, too.

#![allow(dead_code, reason = "each test and fuzz target uses some of them")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bgp::Instant;
use bgp::packet::{
    Capability, Context, Families, HEADER_LEN, Notification, Open, RouteRefresh, Stream, Update, keepalive,
};
use bgp::session::{
    Config, ConnectionId, Input, LocalAddresses, Opening, Output, PeerAsn, RestartConfig, Session, Transport,
    Ttl,
};

/// All ways in which an UPDATE may have to be read.
pub(crate) fn contexts() -> impl Iterator<Item = Context> {
    (0..16_u8).map(|bits| Context {
        four_octet_as: bits & 1 != 0,
        internal: bits & 2 != 0,
        families: if bits & 4 != 0 { Families::BOTH } else { Families::V4 },
        extended_next_hop: bits & 8 != 0,
    })
}

/// What is read as an OPEN is written and read as the same one; what is not leads to a NOTIFICATION.
pub(crate) fn open(body: &[u8]) {
    match Open::parse(body) {
        Ok(open) => {
            let message = open.build();
            // An OPEN of more than 4,096 bytes is no message: it is cut when it is written.
            if body.len() + HEADER_LEN <= 4_000 {
                assert_eq!(Open::parse(&message[HEADER_LEN..]).as_ref(), Ok(&open));
            }
        }
        Err(error) => well_formed(&error.notification(), &error.to_string()),
    }
}

/// What is read as an UPDATE, with whatever faults, is written and read as the same one without any; what is not leads
/// to a NOTIFICATION.
pub(crate) fn update(body: &[u8]) {
    for context in contexts() {
        match Update::parse(body, context) {
            Ok(received) => {
                for fault in &received.faults {
                    well_formed(&fault.notification(), &fault.to_string());
                }
                let update = received.update;
                let message = update.build(context.four_octet_as);
                let again = Update::parse(&message[HEADER_LEN..], context).expect("written by us");
                if update.attributes.mp_reach.is_none() && update.announced.is_empty() {
                    // Of withdrawals, attributes say nothing; those alone are kept that can be read.
                    assert_eq!(again.update, update, "{:?}", again.faults);
                } else if received.faults.is_empty() {
                    assert_eq!(again.faults, []);
                    assert_eq!(again.update, update);
                    assert_eq!(update.ends_rib_of(), None);
                }
            }
            Err(error) => well_formed(&error.notification(), &error.to_string()),
        }
    }
}

/// Every NOTIFICATION that is long enough is read, can be put in words, and is written as it was.
pub(crate) fn notification(body: &[u8]) {
    let Some(notification) = Notification::parse(body) else {
        assert!(body.len() < 2);
        return;
    };
    well_formed(&notification, &notification.to_string());
    if body.len() + HEADER_LEN <= 4_096 {
        assert_eq!(&notification.build()[HEADER_LEN..], body);
    }
    let hard = notification.clone().into_hard_reset();
    if body.len() + HEADER_LEN <= 4_000 {
        assert_eq!(hard.inner(), notification);
    }
}

/// Every ROUTE-REFRESH of the right length is read and written as it was.
pub(crate) fn refresh(body: &[u8]) {
    match RouteRefresh::parse(body) {
        Ok(refresh) => assert_eq!(&refresh.build()[HEADER_LEN..], body),
        Err(error) => well_formed(&error.notification(), &error.to_string()),
    }
}

/// Messages are the same however the bytes of a connection are cut; the first byte says how.
pub(crate) fn stream(bytes: &[u8]) {
    let Some((&size, bytes)) = bytes.split_first() else { return };
    let read = |parts: &mut dyn Iterator<Item = &[u8]>| {
        let (mut stream, mut frames) = (Stream::new(), Vec::new());
        for part in parts {
            stream.push(part);
            loop {
                match stream.next() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => {
                        well_formed(&error.notification(), &error.to_string());
                        return (frames, Some(error));
                    }
                }
            }
        }
        (frames, None)
    };
    let whole = read(&mut std::iter::once(bytes));
    assert_eq!(read(&mut bytes.chunks(usize::from(size).max(1))), whole);
}

/// Whatever comes on a connection, a session answers with valid messages, closes what it opened, and always has a way on.
/// The first byte says how far the session is, and how the bytes are cut.
pub(crate) fn session(bytes: &[u8]) {
    let Some((&how, bytes)) = bytes.split_first() else { return };
    let mut now = Instant::default();
    let mut session = Session::new(any_peer(), u64::from(how));
    let (connection, mut out) = (ConnectionId(1), Vec::new());
    let local = LocalAddresses {
        connection: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        v4: None,
        v6: None,
        link_local: None,
    };
    session.handle(now, Input::Start, &mut out);
    session.handle(now, Input::Connected { connection, local }, &mut out);
    let four_octet = vec![Capability::FourOctetAs(64_513), Capability::ExtendedMessage];
    let open = Open::new(64_513, 90, Ipv4Addr::new(192, 0, 2, 2), four_octet).build();
    for message in [open, keepalive()].iter().take(usize::from(how & 3).min(2)) {
        session.handle(now, Input::Received { connection, bytes: message }, &mut out);
    }
    for part in bytes.chunks(usize::from(how >> 2) + 1) {
        session.handle(now, Input::Received { connection, bytes: part }, &mut out);
        while let Some(message) = session.next_message(now) {
            out.push(Output::Send { connection: message.connection, bytes: message.bytes });
        }
        now = now + Duration::from_millis(10);
    }
    let mut closed = false;
    let mut stream = Stream::new();
    for output in &out {
        match output {
            Output::Send { bytes, .. } => {
                assert!(!closed, "nothing is said on a closed connection");
                stream.push(bytes);
                assert!(stream.next().is_ok_and(|frame| frame.is_some()));
            }
            Output::Close { .. } => {
                assert!(!closed);
                closed = true;
            }
            Output::StateChanged { from, to, reason } => {
                assert_ne!(from, to);
                assert!(!reason.words.contains(['\n', '\u{1b}']));
            }
            _ => {}
        }
    }
    // Silence then ends it, unless no hold time was agreed on; and it is tried again.
    for _ in 0..1_000 {
        let Some(at) = session.poll_timeout() else { return };
        if out.iter().filter(|output| matches!(output, Output::Connect(_))).count() > 1 {
            return;
        }
        now = now.max(at);
        session.handle(now, Input::Timeout, &mut out);
        assert!(session.poll_timeout().is_none_or(|at| at > now));
    }
    panic!("it is not tried again");
}

/// A session with whoever is of another AS.
fn any_peer() -> Config {
    Config {
        my_asn: 64_512,
        local_asn: None,
        peer_asn: PeerAsn::External,
        router_id: Ipv4Addr::new(192, 0, 2, 1),
        families: Families::BOTH,
        hold_time: Duration::from_secs(90),
        keepalive_time: Duration::from_secs(30),
        connect_time: Duration::from_secs(30),
        opening: Opening::Both,
        graceful_restart: Some(RestartConfig { time: Duration::from_secs(120), notification: true }),
        transport: Transport {
            peer: "192.0.2.2:179".parse().expect("an address"),
            source: None,
            password: None,
            ttl: Ttl::System,
            device: None,
        },
    }
}

fn well_formed(notification: &Notification, words: &str) {
    let message = notification.build();
    assert!(message.len() <= 4_096);
    let parsed = Notification::parse(&message[HEADER_LEN..]).expect("written by us");
    assert_eq!(parsed.error, notification.error);
    assert!(!words.is_empty() && !words.contains(['\n', '\u{1b}']));
}
