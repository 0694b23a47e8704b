//! Packet sockets and multicast groups on a real interface.

mod netns;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use l2::{arp, ethernet, ndp};
use net::MacAddr;
use netns::{Lan, OWN, OWN_MAC, PEER, PEER_MAC};
use nix::net::if_::if_nametoindex;
use sockets::{Groups, PacketSocket, STALE, Traffic};
use tokio::runtime::Handle;
use tokio::time::timeout;

fn mac(text: &str) -> MacAddr {
    text.parse().expect("a MAC address")
}

fn open(traffic: Traffic) -> PacketSocket {
    PacketSocket::open(if_nametoindex(OWN).expect("the interface is there"), traffic).expect("opened")
}

fn open_in_peer(lan: &Lan, traffic: Traffic) -> PacketSocket {
    let runtime = Handle::current();
    lan.in_peer(move || {
        let _guard = runtime.enter();
        PacketSocket::open(if_nametoindex(PEER).expect("the interface is there"), traffic).expect("opened")
    })
}

async fn receive(socket: &PacketSocket) -> Vec<u8> {
    let mut buffer = vec![0; 2000];
    let received = timeout(Duration::from_secs(10), socket.receive(&mut buffer)).await;
    let length = received.expect("a frame within ten seconds").expect("a frame");
    buffer.truncate(length);
    buffer
}

fn gratuitous(last: u8, sender: &str) -> Vec<u8> {
    gratuitous_of(Ipv4Addr::new(192, 0, 2, last), sender)
}

fn gratuitous_of(address: Ipv4Addr, sender: &str) -> Vec<u8> {
    arp::Packet::gratuitous(arp::Operation::Reply, address, mac(sender)).frame(MacAddr::BROADCAST)
}

#[test]
fn only_arp_requests_and_replies_of_others_are_received() {
    let lan = Lan::new();
    netns::run(async {
        let own = open(Traffic::Arp);
        let peer = open_in_peer(&lan, Traffic::Arp);
        own.send(&gratuitous(1, OWN_MAC), || true).await.expect("sent");
        let mut reverse = gratuitous(2, PEER_MAC);
        *reverse.get_mut(14 + 7).expect("the operation") = 3;
        let mut internet = gratuitous(3, PEER_MAC);
        internet.get_mut(12..14).expect("the type").copy_from_slice(&[0x08, 0x00]);
        for frame in [&reverse, &internet, &gratuitous(4, PEER_MAC)] {
            peer.send(frame, || true).await.expect("sent");
        }
        let frame = receive(&own).await;
        assert_eq!(frame, gratuitous(4, PEER_MAC), "nothing else comes before the last");
        assert_eq!(receive(&peer).await, gratuitous(1, OWN_MAC));
    });
}

#[test]
fn a_narrowed_socket_receives_what_concerns_its_addresses_and_loses_nothing_when_they_change() {
    let lan = Lan::new();
    netns::run(async {
        let own = open(Traffic::Arp);
        let peer = open_in_peer(&lan, Traffic::Arp);
        let ours = |last: u8| IpAddr::from([192, 0, 2, last]);
        own.narrow(&[ours(1), ours(3)]).expect("narrowed");
        for last in 0..5 {
            peer.send(&gratuitous(last, PEER_MAC), || true).await.expect("sent");
            // Whatever is waiting stays, and what comes is judged anew.
            own.narrow(&[ours(1), ours(3), ours(200 + last)]).expect("narrowed");
        }
        assert_eq!(receive(&own).await, gratuitous(1, PEER_MAC));
        assert_eq!(receive(&own).await, gratuitous(3, PEER_MAC));
        let many: Vec<IpAddr> = (0..10_000_u32).map(|i| Ipv4Addr::from_bits(i * 211).into()).collect();
        own.narrow(&many).expect("the kernel takes the longest program");
    });
}

#[test]
fn a_kernel_with_little_room_for_filters_loses_none_of_our_frames() {
    let lan = Lan::new();
    // What kernels before 6.8 have, where no namespace has a value of its own.
    lan.run("sysctl -qew net.core.optmem_max=20480");
    netns::run(async {
        let own = open(Traffic::Arp);
        let peer = open_in_peer(&lan, Traffic::Arp);
        let address = |number: u32| Ipv4Addr::from_bits(0x0a00_0000 + number * number * 7);
        let mut held = Vec::new();
        for number in 1..=300 {
            held.push(IpAddr::V4(address(number)));
            own.narrow(&held).expect("narrowed, finely or coarsely");
            let frame = gratuitous_of(address(number), PEER_MAC);
            peer.send(&frame, || true).await.expect("sent");
            assert_eq!(receive(&own).await, frame, "of {number} addresses the last one");
        }
        let frame = gratuitous_of(address(1), PEER_MAC);
        peer.send(&frame, || true).await.expect("sent");
        assert_eq!(receive(&own).await, frame, "and the first one is still found");
    });
}

#[test]
fn what_waited_for_longer_than_a_tenth_of_a_second_is_not_handed_over() {
    let lan = Lan::new();
    netns::run(async {
        let own = open(Traffic::Arp);
        let peer = open_in_peer(&lan, Traffic::Arp);
        peer.send(&gratuitous(1, PEER_MAC), || true).await.expect("sent");
        // The age of the frame is what the test is about.
        std::thread::sleep(STALE + Duration::from_millis(20));
        peer.send(&gratuitous(2, PEER_MAC), || true).await.expect("sent");
        assert_eq!(receive(&own).await, gratuitous(2, PEER_MAC));
    });
}

#[test]
fn of_ipv6_only_neighbor_messages_are_received() {
    let lan = Lan::new();
    netns::run(async {
        let own = open(Traffic::NeighborDiscovery);
        let peer = open_in_peer(&lan, Traffic::NeighborDiscovery);
        let target: Ipv6Addr = "2001:db8::50".parse().expect("an address");
        let everyone = ndp::multicast_mac(ndp::ALL_NODES);
        let wanted = ndp::Packet::advertisement(target, mac(PEER_MAC), None).frame(mac(PEER_MAC), everyone);
        let patched = |offset: usize, value: u8| {
            let mut frame = wanted.clone();
            *frame.get_mut(offset).expect("in the frame") = value;
            frame
        };
        for frame in [patched(14 + 6, 17), patched(14 + 40, 134), wanted.clone()] {
            peer.send(&frame, || true).await.expect("sent");
        }
        // The peer's kernel has neighbor messages of its own; of ours only the last may come.
        loop {
            let frame = receive(&own).await;
            let packet = ethernet::Frame::parse(&frame).map(|f| ndp::Packet::parse(f.payload));
            let packet = packet.expect("a frame").expect("only neighbor messages come through");
            if packet.source == target {
                assert_eq!(frame, wanted);
                return;
            }
        }
    });
}

#[test]
fn frames_arrive_again_after_the_interface_was_down() {
    let lan = Lan::new();
    netns::run(async {
        let own = open(Traffic::Arp);
        lan.run(&format!("ip link set {OWN} down"));
        lan.run(&format!("ip link set {OWN} up"));
        let peer = open_in_peer(&lan, Traffic::Arp);
        peer.send(&gratuitous(4, PEER_MAC), || true).await.expect("sent");
        let mut buffer = [0; 100];
        let error = timeout(Duration::from_secs(10), own.receive(&mut buffer)).await.expect("told in time");
        let error = error.expect_err("the interface was down");
        assert_eq!(error.raw_os_error(), Some(nix::errno::Errno::ENETDOWN as i32));
        assert_eq!(receive(&own).await, gratuitous(4, PEER_MAC));
    });
}

#[test]
fn an_interface_that_does_not_exist_is_an_error() {
    let _lan = Lan::new();
    netns::run(async {
        let error = PacketSocket::open(4_000, Traffic::Arp).expect_err("there is no such interface");
        assert_eq!(error.raw_os_error(), Some(nix::errno::Errno::ENODEV as i32));
    });
}

#[test]
fn more_groups_than_one_socket_holds_are_joined_and_left() {
    let lan = Lan::new();
    let mut groups = Groups::new(if_nametoindex(OWN).expect("the interface is there"));
    let addresses: Vec<Ipv6Addr> = (0..6_000_u32)
        // None of them is that of the interface's own link-local address, which it has a moment later.
        .map(|i| ndp::solicited_node(Ipv6Addr::from_bits(0xfd00 << 112 | u128::from(0x1_0000 + i))))
        .collect();
    let joined = || {
        let all = lan.run(&format!("ip -6 maddress show dev {OWN}"));
        all.lines().filter(|line| line.contains("ff02::1:ff01:")).count()
    };
    let before = joined();
    for &group in &addresses {
        groups.join(group).expect("joined");
        groups.join(group).expect("a second time changes nothing");
    }
    assert_eq!((groups.len(), joined() - before), (6_000, 6_000));
    assert!(groups.sockets() > 1, "one socket held all of them: the test needs more groups");
    for &group in &addresses {
        groups.leave(group).expect("left");
        groups.leave(group).expect("a second time changes nothing");
    }
    assert_eq!((groups.len(), groups.sockets(), joined()), (0, 0, before));
}
