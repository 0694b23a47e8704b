//! Connections over the loopback interface: signatures, distances, source addresses.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use sockets::{
    Hops, TcpOptions, accepted_tcp, connect_tcp, limit_hops, listen_tcp, nearby_addresses, sign,
    source_towards,
};
use tokio::net::TcpListener;
use tokio::time::timeout;

/// Long for loopback, and shorter than the first time that the kernel sends a SYN again.
const SOON: Duration = Duration::from_millis(700);

/// A listener on an address of the loopback interface; `prepare` sets its options.
fn listener(address: &str, prepare: impl FnOnce(&Socket)) -> TcpListener {
    let address: SocketAddr = address.parse().expect("an address");
    let socket =
        Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None).expect("a socket");
    prepare(&socket);
    socket.bind(&address.into()).expect("free");
    socket.listen(8).expect("listening");
    TcpListener::from_std(socket.into()).expect("registered")
}

fn options(listener: &TcpListener) -> TcpOptions {
    let peer = listener.local_addr().expect("bound");
    TcpOptions { peer, source: None, key: None, hops: Hops::System, device: None }
}

/// Whether a connection comes about.
async fn connects(options: &TcpOptions) -> bool {
    matches!(timeout(SOON, connect_tcp(options)).await, Ok(Ok(_)))
}

#[tokio::test]
async fn only_who_has_the_key_is_answered() {
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let me: IpAddr = host.parse::<SocketAddr>().expect("an address").ip();
        let listener = listener(host, |socket| sign(socket, me, b"secret").expect("signatures"));
        for (key, answered) in [(Some("secret"), true), (Some("Secret"), false), (None, false)] {
            let options = TcpOptions { key: key.map(|key| key.as_bytes().to_vec()), ..options(&listener) };
            assert_eq!(connects(&options).await, answered, "{host} {key:?}");
        }
    }
}

#[tokio::test]
async fn a_key_of_no_or_too_many_bytes_is_refused() {
    let listener = listener("127.0.0.1:0", |_| {});
    for length in [0, 81] {
        let options = TcpOptions { key: Some(vec![b'k'; length]), ..options(&listener) };
        let error = connect_tcp(&options).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!format!("{options:?}").contains("107"), "the key is not shown");
    }
}

#[tokio::test]
async fn with_security_only_who_sends_with_the_highest_time_to_live_is_heard() {
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let me: IpAddr = host.parse::<SocketAddr>().expect("an address").ip();
        let far = listener(host, |_| {});
        let near = listener(host, |socket| limit_hops(socket, me, Hops::Limit(255)).expect("a limit"));
        for (listener, heard) in [(&far, false), (&near, true)] {
            let options = TcpOptions { hops: Hops::Security(1), ..options(listener) };
            assert_eq!(connects(&options).await, heard, "{host}");
        }
    }
}

#[tokio::test]
async fn packets_leave_with_the_limit_of_hops() {
    let listener = listener("127.0.0.1:0", |_| {});
    let stream =
        connect_tcp(&TcpOptions { hops: Hops::Limit(1), ..options(&listener) }).await.expect("connected");
    assert_eq!(SockRef::from(&stream).ttl_v4().expect("an option"), 1);
    assert!(stream.nodelay().expect("an option"));
}

#[tokio::test]
async fn a_connection_comes_from_the_source_address() {
    let listener = listener("127.0.0.1:0", |_| {});
    let source = "127.9.9.9".parse().ok();
    let stream = connect_tcp(&TcpOptions { source, ..options(&listener) }).await.expect("connected");
    assert_eq!(stream.local_addr().expect("connected").ip(), source.expect("an address"));
    let source = "192.0.2.77".parse().ok();
    let error =
        connect_tcp(&TcpOptions { source, ..options(&listener) }).await.expect_err("no address of ours");
    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
}

#[tokio::test]
async fn who_listens_asks_each_router_for_its_own_key() {
    let (signing, plain): (IpAddr, IpAddr) =
        ("127.0.0.7".parse().expect("an address"), "127.0.0.8".parse().expect("an address"));
    let at = "127.0.0.1:0".parse().expect("an address");
    let listener = listen_tcp(at, [(signing, &b"secret"[..])]).expect("listening");
    for (source, key, answered) in [
        (signing, Some("secret"), true),
        (signing, Some("Secret"), false),
        (signing, None, false),
        (plain, None, true),
    ] {
        let key = key.map(|key| key.as_bytes().to_vec());
        let options = TcpOptions { source: Some(source), key, ..options(&listener) };
        assert_eq!(connects(&options).await, answered, "{options:?}");
        if answered {
            let (stream, from) = listener.accept().await.expect("a connection");
            assert_eq!(from.ip(), source);
            accepted_tcp(&stream, Hops::Limit(1)).expect("options");
            assert_eq!(SockRef::from(&stream).ttl_v4().expect("an option"), 1);
            assert!(stream.nodelay().expect("an option"));
        }
    }
    let taken = listener.local_addr().expect("bound");
    assert_eq!(listen_tcp(taken, []).expect_err("taken").kind(), ErrorKind::AddrInUse);
    let foreign = "192.0.2.77:0".parse().expect("an address");
    assert_eq!(listen_tcp(foreign, []).expect_err("not ours").kind(), ErrorKind::AddrNotAvailable);
}

#[test]
fn a_host_is_reached_from_an_address_of_the_interface_that_leads_there() {
    for (peer, source) in [("127.0.0.9", "127.0.0.1"), ("::1", "::1")] {
        let source: IpAddr = source.parse().expect("an address");
        assert_eq!(source_towards(peer.parse().expect("an address")).expect("a route"), source);
    }
}

#[test]
fn the_loopback_interface_has_no_address_for_routes() {
    let localhost = "127.0.0.1".parse().expect("an address");
    let nearby = nearby_addresses(localhost, localhost).expect("a list");
    assert!(nearby.v4.is_none_or(|v4| !v4.is_loopback()) && nearby.link_local.is_none(), "{nearby:?}");
}
