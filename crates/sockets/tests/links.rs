//! What netlink tells of links as they change.

mod netns;

use std::time::Duration;

use netns::{Lan, OWN, OWN_MAC, PEER};
use sockets::{Hindrance, Link, LinkChange, LinkWatch};
use tokio::time::timeout;

/// Waits for the change of the test's interface that fulfils the condition.
async fn wait(watch: &mut LinkWatch, what: &str, condition: impl Fn(&Link) -> bool) -> Link {
    loop {
        let change = timeout(Duration::from_secs(10), watch.next()).await;
        let change = change.unwrap_or_else(|_| panic!("not told within ten seconds: {what}"));
        if let LinkChange::Apply(link) = change.expect("the watch goes on")
            && link.name == OWN
            && condition(&link)
        {
            return link;
        }
    }
}

#[test]
fn links_are_told_at_the_start_and_whenever_they_change() {
    let lan = Lan::new();
    netns::run(async {
        let mut watch = LinkWatch::new().expect("a watch");
        let mut first = Vec::new();
        loop {
            match watch.next().await.expect("the watch goes on") {
                LinkChange::Synced => break,
                LinkChange::Apply(link) => first.push(link),
                LinkChange::Gone { name, .. } => panic!("{name} is there"),
            }
        }
        let loopback = first.iter().find(|link| link.name == "lo").expect("every namespace has it");
        assert_eq!(loopback.hindrance(), Some(Hindrance::Loopback));
        let own = first.iter().find(|link| link.name == OWN).expect("made before the watch");
        assert_eq!(own.mac, Some(OWN_MAC.parse().expect("a MAC address")));
        assert_eq!(own.hindrance(), None);
        assert!(own.broadcast);

        if own.link_local.is_empty() {
            wait(&mut watch, "its link-local address", |link| !link.link_local.is_empty()).await;
        }
        lan.run(&format!("ip -6 address flush dev {OWN}"));
        wait(&mut watch, "no link-local address", |link| link.link_local.is_empty()).await;
        lan.run(&format!("ip link set {OWN} address 02:00:00:00:00:02"));
        let new = "02:00:00:00:00:02".parse().ok();
        wait(&mut watch, "the new hardware address", |link| link.mac == new).await;
        lan.peer(&format!("ip link set {PEER} down"));
        wait(&mut watch, "no carrier", |link| link.up && !link.carrier).await;
        lan.peer(&format!("ip link set {PEER} up"));
        wait(&mut watch, "carrier", |link| link.carrier).await;
        lan.run("ip link add br0 type bridge");
        lan.run(&format!("ip link set {OWN} master br0"));
        let port = wait(&mut watch, "a port of a bridge", |link| link.port).await;
        assert_eq!(port.hindrance(), Some(Hindrance::Port));
        lan.run(&format!("ip link set {OWN} nomaster"));
        wait(&mut watch, "no port any more", |link| !link.port).await;
        lan.run(&format!("ip link set {OWN} arp off"));
        let no_arp = wait(&mut watch, "no ARP", |link| link.no_arp).await;
        assert_eq!(no_arp.hindrance(), Some(Hindrance::NoArp));
        lan.run(&format!("ip link set {OWN} arp on down"));
        let down = wait(&mut watch, "down", |link| !link.up && !link.no_arp).await;
        assert_eq!(down.hindrance(), Some(Hindrance::Down));
        lan.run(&format!("ip link delete {OWN}"));
        loop {
            let change =
                timeout(Duration::from_secs(10), watch.next()).await.expect("told within ten seconds");
            if let LinkChange::Gone { name, index } = change.expect("the watch goes on")
                && name == OWN
            {
                assert_eq!(index, down.index);
                break;
            }
        }
    });
}

#[test]
fn a_link_made_later_is_told() {
    let lan = Lan::new();
    netns::run(async {
        let mut watch = LinkWatch::new().expect("a watch");
        while watch.next().await.expect("the watch goes on") != LinkChange::Synced {}
        lan.run(&format!("ip link delete {OWN}"));
        lan.run(&format!("ip link add {OWN} type veth peer name other"));
        wait(&mut watch, "the new link", |link| link.hindrance() == Some(Hindrance::Down)).await;
    });
}
