//! An interface's task against a real neighbour: another network namespace with the usual tools.

#[path = "../../crates/sockets/tests/netns/mod.rs"]
mod netns;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use l2::{arp, ethernet};
use metrics::Metrics;
use net::MacAddr;
use netns::{Lan, OWN, OWN_MAC, PEER, PEER_MAC};
use nix::net::if_::if_nametoindex;
use sockets::{PacketSocket, Traffic};
use speaker::core::Command;
use speaker::counts::Counts;
use speaker::interface::{Announcing, Conflict, Interface, MayAnswer};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

const V4: &str = "192.0.2.50";
const V6: &str = "2001:db8::50";
const SOON: Duration = Duration::from_secs(10);

fn mac(text: &str) -> MacAddr {
    text.parse().expect("a MAC address")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn link() -> l2::Link {
    l2::Link { mac: mac(OWN_MAC), carrier: true, arp: true, ndp: true }
}

/// The task under test, and what it reports.
fn open() -> (Interface, mpsc::Receiver<Conflict>) {
    open_counted(&Counts::new(&Metrics::new(), "iris1"))
}

fn open_counted(counts: &Counts) -> (Interface, mpsc::Receiver<Conflict>) {
    open_with(counts, Arc::new(|_| true))
}

fn open_with(counts: &Counts, may_answer: MayAnswer) -> (Interface, mpsc::Receiver<Conflict>) {
    let (reports, reported) = mpsc::channel(8);
    let index = if_nametoindex(OWN).expect("the interface is there");
    let announcing = Announcing::default();
    let interface =
        Interface::open(index, OWN.to_owned(), link(), counts.clone(), reports, may_answer, announcing);
    (interface, reported)
}

/// The value of a counter of Layer 2.
fn count(metrics: &Metrics, name: &str, ip: &str) -> Option<u64> {
    let start = format!("metallb_layer2_{name}{{ip=\"{ip}\"}} ");
    metrics.text().lines().find_map(|line| line.strip_prefix(&start)?.parse().ok())
}

/// What the peer hears on the LAN.
fn listen(lan: &Lan) -> PacketSocket {
    let runtime = Handle::current();
    lan.in_peer(move || {
        let _guard = runtime.enter();
        PacketSocket::open(if_nametoindex(PEER).expect("the interface is there"), Traffic::Arp)
            .expect("opened")
    })
}

async fn hear(socket: &PacketSocket) -> arp::Packet {
    let mut buffer = [0; 2000];
    let length = timeout(SOON, socket.receive(&mut buffer)).await.expect("heard soon").expect("a frame");
    let frame = ethernet::Frame::parse(&buffer[..length]).expect("a whole frame");
    arp::Packet::parse(frame.payload).expect("an ARP packet")
}

/// Runs a command on the peer while the task under test goes on; whether it succeeded, and its output.
async fn ask(lan: &Lan, command: &str) -> (bool, String) {
    let words = lan.peer_words(command);
    let (program, arguments) = words.split_first().expect("a command");
    let output = tokio::process::Command::new(program).args(arguments).output().await.expect("it can be run");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// As [`netns::run`], with the task under test on its thread in this namespace, and the test beside it.
fn run<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test)
}

async fn arping(lan: &Lan) -> (bool, String) {
    ask(lan, &format!("arping -c 1 -w 3 -i {PEER} {V4}")).await
}

async fn ndisc6(lan: &Lan) -> (bool, String) {
    let asked = async {
        loop {
            let (found, text) = ask(lan, &format!("ndisc6 -1 -q -r 2 -w 1000 {V6} {PEER}")).await;
            // The peer's kernel notices a moment late that its new link is up.
            if !text.contains("Network is unreachable") {
                return (found, text);
            }
        }
    };
    timeout(SOON, asked).await.expect("the peer has a network")
}

#[test]
fn arping_finds_an_address_while_it_is_held_and_no_longer() {
    let lan = Lan::new();
    run(async {
        let (interface, _reports) = open();
        let peer = listen(&lan);
        assert!(!arping(&lan).await.0, "nobody has the address yet");
        interface.tell(Command::Take(address(V4)));
        // The announcement says that the address is taken.
        while hear(&peer).await.sender_ip != address(V4) {}
        let (found, text) = arping(&lan).await;
        assert!(found && text.contains(OWN_MAC), "{text}");
        drop(interface);
        assert!(!arping(&lan).await.0, "the task has ended");
    });
}

#[test]
fn a_held_address_is_neither_announced_nor_answered_for_without_the_right_to() {
    let lan = Lan::new();
    run(async {
        let right = Arc::new(AtomicBool::new(false));
        let has = right.clone();
        let counts = Counts::new(&Metrics::new(), "iris1");
        let (interface, _reports) = open_with(&counts, Arc::new(move |_| has.load(Ordering::Relaxed)));
        let peer = listen(&lan);
        interface.tell(Command::Take(address(V4)));
        assert!(!arping(&lan).await.0, "there is no right to answer");
        right.store(true, Ordering::Relaxed);
        let (found, text) = arping(&lan).await;
        assert!(found && text.contains(OWN_MAC), "{text}");
        // The first that the LAN hears is what is said with the right: the answer, or an announcement after it.
        let first = hear(&peer).await;
        assert_eq!(IpAddr::from(first.sender_ip), address(V4));
        right.store(false, Ordering::Relaxed);
        assert!(!arping(&lan).await.0, "the right is gone");
    });
}

#[test]
fn an_address_is_announced_by_request_and_reply_in_its_time() {
    let lan = Lan::new();
    run(async {
        let (interface, _reports) = open();
        let peer = listen(&lan);
        let start = Instant::now();
        interface.tell(Command::Take(address(V4)));
        for expected in [0, 0, 100, 100, 1_100, 1_100] {
            let packet = hear(&peer).await;
            assert_eq!((packet.sender_mac, IpAddr::from(packet.sender_ip)), (mac(OWN_MAC), address(V4)));
            assert!(start.elapsed() >= Duration::from_millis(expected), "too early");
        }
    });
}

#[test]
fn ndisc6_finds_an_address_while_it_is_held_and_no_longer() {
    let lan = Lan::new();
    run(async {
        let (interface, _reports) = open();
        assert!(!ndisc6(&lan).await.0, "nobody has the address yet");
        interface.tell(Command::Take(address(V6)));
        let (found, text) = ndisc6(&lan).await;
        assert!(found && text.to_lowercase().contains(OWN_MAC), "{text}");
        interface.tell(Command::Release(address(V6)));
        assert!(!ndisc6(&lan).await.0, "the address was released");
    });
}

#[test]
fn a_neighbour_that_checks_by_unicast_what_it_knows_is_answered() {
    let lan = Lan::new();
    run(async {
        let (interface, _reports) = open();
        for ip in [V4, V6] {
            interface.tell(Command::Take(address(ip)));
            // The kernel of the peer now asks the hardware address that it believes in.
            lan.peer(&format!("ip neighbour replace {ip} lladdr {OWN_MAC} dev {PEER} nud probe"));
            let settled = async {
                loop {
                    let (_, text) = ask(&lan, &format!("ip neighbour show to {ip} dev {PEER}")).await;
                    if !text.contains("PROBE") {
                        return text;
                    }
                }
            };
            let text = timeout(SOON, settled).await.expect("the kernel comes to an end");
            assert!(text.contains("REACHABLE"), "{ip}: {text:?}");
        }
    });
}

#[test]
fn another_host_that_wants_the_ipv6_address_is_told_that_it_is_taken() {
    let lan = Lan::new();
    run(async {
        let (interface, _reports) = open();
        interface.tell(Command::Take(address(V6)));
        let (found, text) = ndisc6(&lan).await;
        assert!(found, "the address is held: {text}");
        lan.peer(&format!("sysctl -qw net.ipv6.conf.{PEER}.accept_dad=1 net.ipv6.conf.all.accept_dad=1"));
        lan.peer(&format!("ip address add {V6}/64 dev {PEER}"));
        let failed = async {
            loop {
                let (_, text) = ask(&lan, &format!("ip -6 address show dev {PEER}")).await;
                let line = text.lines().find(|line| line.contains(V6)).unwrap_or_default().to_owned();
                if !line.contains("tentative") || line.contains("dadfailed") {
                    return line;
                }
            }
        };
        let line = timeout(SOON, failed).await.expect("duplicate address detection ends");
        assert!(line.contains("dadfailed"), "{line}");
    });
}

#[test]
fn questions_answers_and_announcements_are_counted_by_address() {
    let lan = Lan::new();
    run(async {
        let metrics = Metrics::new();
        let counts = Counts::new(&metrics, "iris1");
        let (interface, _reports) = open_counted(&counts);
        let peer = listen(&lan);
        interface.tell(Command::Take(address(V4)));
        interface.tell(Command::Take(address(V6)));
        while hear(&peer).await.sender_ip != address(V4) {}
        for _ in 0..3 {
            assert!(arping(&lan).await.0, "answered");
        }
        assert!(ndisc6(&lan).await.0, "answered");
        assert!(!ask(&lan, &format!("arping -c 1 -w 1 -i {PEER} 192.0.2.99")).await.0, "not ours");
        // An answer is counted after it went out.
        let counted = async {
            while count(&metrics, "responses_sent", V4) != Some(3)
                || count(&metrics, "responses_sent", V6) != Some(1)
            {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, counted).await.expect("counted");
        assert_eq!(count(&metrics, "requests_received", V4), Some(3));
        assert_eq!(count(&metrics, "requests_received", V6), Some(1));
        assert!(count(&metrics, "gratuitous_sent", V4) >= Some(2));
        assert_eq!(count(&metrics, "conflicts_detected", V4), Some(0));
        assert_eq!(count(&metrics, "requests_received", "192.0.2.99"), None);
        interface.tell(Command::Release(address(V4)));
        counts.let_go(address(V4));
        arping(&lan).await;
        assert_eq!(count(&metrics, "requests_received", V4), None);
        assert_eq!(count(&metrics, "requests_received", V6), Some(1));
    });
}

#[test]
fn a_host_with_our_address_is_reported() {
    let lan = Lan::new();
    run(async {
        let (interface, mut reports) = open();
        interface.tell(Command::Take(address(V4)));
        let peer = listen(&lan);
        while hear(&peer).await.sender_ip != address(V4) {}
        lan.peer(&format!("ip address add {V4}/24 dev {PEER}"));
        ask(&lan, &format!("arping -c 1 -w 1 -U -i {PEER} -S {V4} {V4}")).await;
        let conflict = timeout(SOON, reports.recv()).await.expect("reported soon");
        let expected =
            Conflict { interface: OWN.into(), address: address(V4), mac: mac(PEER_MAC), member: false };
        assert_eq!(conflict, Some(expected));
    });
}

#[test]
fn another_speaker_with_our_address_is_told_of_and_not_reported() {
    let lan = Lan::new();
    run(async {
        let metrics = Metrics::new();
        let (interface, mut reports) = open_counted(&Counts::new(&metrics, "iris1"));
        interface.tell(Command::Members([mac(PEER_MAC)].into()));
        interface.tell(Command::Take(address(V4)));
        let peer = listen(&lan);
        while hear(&peer).await.sender_ip != address(V4) {}
        ask(&lan, &format!("arping -c 1 -w 1 -U -i {PEER} -S {V4} {V4}")).await;
        let claim = timeout(SOON, reports.recv()).await.expect("told soon");
        let expected =
            Conflict { interface: OWN.into(), address: address(V4), mac: mac(PEER_MAC), member: true };
        assert_eq!(claim, Some(expected));
        assert_eq!(count(&metrics, "conflicts_detected", V4), Some(0));
    });
}
