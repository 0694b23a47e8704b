//! Asking the LAN whether somebody answers for an address: what a node does that has no majority to ask.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use l2::probe::{claims, question};
use net::{Family, MacAddr};
use sockets::{PacketSocket, Traffic};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

/// How often is asked, and how long an answer may take. A LAN answers within a millisecond; a host that sleeps is
/// none that serves.
const QUESTIONS: usize = 2;
const PATIENCE: Duration = Duration::from_millis(100);

/// Room for any frame that could be an answer.
const FRAME: usize = 256;

/// Whether anybody answers for the address on one of these interfaces, each with this host's hardware address there.
pub async fn ask(interfaces: Vec<(u32, MacAddr)>, address: IpAddr) -> bool {
    let mut asked = JoinSet::new();
    for (index, mac) in interfaces {
        asked.spawn(ask_on(index, mac, address));
    }
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok(Ok(true)) => return true,
            Ok(Ok(false)) => {}
            // An interface that cannot ask cannot announce either.
            Ok(Err(error)) => debug!(%address, %error, "the LAN could not be asked for an address"),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    false
}

async fn ask_on(index: u32, mac: MacAddr, address: IpAddr) -> io::Result<bool> {
    let traffic = match Family::of(address) {
        Family::V4 => Traffic::Arp,
        Family::V6 => Traffic::NeighborDiscovery,
    };
    let socket = PacketSocket::open(index, traffic)?;
    let question = question(address, mac);
    for _ in 0..QUESTIONS {
        socket.send(&question, || true).await?;
        let mut buffer = [0; FRAME];
        let answer = async {
            loop {
                let length = socket.receive(&mut buffer).await?;
                if buffer.get(..length).is_some_and(|frame| claims(frame, address)) {
                    return Ok::<(), io::Error>(());
                }
            }
        };
        if let Ok(result) = timeout(PATIENCE, answer).await {
            return result.map(|()| true);
        }
    }
    Ok(false)
}
