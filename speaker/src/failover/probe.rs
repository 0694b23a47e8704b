//! Asking the LAN whether somebody answers for addresses: what a node does that has no majority to ask.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use l2::probe::{claimed, question};
use net::{Family, MacAddr};
use nix::errno::Errno;
use sockets::{PacketSocket, Traffic};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::warn;

/// How often is asked, and how long an answer may take. A LAN answers within a millisecond; a host that sleeps is
/// none that serves.
const QUESTIONS: usize = 2;
const PATIENCE: Duration = Duration::from_millis(100);

/// Room for any frame that could be an answer.
const FRAME: usize = 256;

/// Where an address is asked for: interfaces by number, each with this host's hardware address there.
pub type Places = Vec<(u32, MacAddr)>;

/// Which of these addresses somebody answers for on an interface where it would be announced. One that could not be asked for
/// counts as answered: to claim it could be a second time.
///
/// One socket asks for all addresses of a family on an interface: to close one takes the kernel some 25 ms.
pub async fn ask(addresses: Vec<(IpAddr, Places)>) -> BTreeSet<IpAddr> {
    let mut rounds: BTreeMap<(u32, Traffic), (MacAddr, Vec<IpAddr>)> = BTreeMap::new();
    for (address, places) in addresses {
        let traffic = match Family::of(address) {
            Family::V4 => Traffic::Arp,
            Family::V6 => Traffic::NeighborDiscovery,
        };
        for (index, mac) in places {
            rounds.entry((index, traffic)).or_insert_with(|| (mac, Vec::new())).1.push(address);
        }
    }
    let mut asked = JoinSet::new();
    for ((index, traffic), (mac, addresses)) in rounds {
        asked.spawn(async move {
            let answered = ask_on(index, traffic, mac, &addresses).await;
            match answered {
                Ok(answered) => answered,
                // An interface that is down or gone cannot announce either.
                Err(error) if is_gone(&error) => BTreeSet::new(),
                Err(error) => {
                    warn!(interface = index, %error, "the LAN could not be asked for addresses: this node leaves them alone");
                    addresses.into_iter().collect()
                }
            }
        });
    }
    asked.join_all().await.into_iter().flatten().collect()
}

fn is_gone(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw);
    matches!(number, Some(Errno::ENETDOWN | Errno::ENODEV | Errno::ENXIO))
}

async fn ask_on(
    index: u32,
    traffic: Traffic,
    mac: MacAddr,
    addresses: &[IpAddr],
) -> io::Result<BTreeSet<IpAddr>> {
    let socket = PacketSocket::open(index, traffic)?;
    socket.narrow(addresses)?;
    let mut open: BTreeSet<IpAddr> = addresses.iter().copied().collect();
    let mut answered = BTreeSet::new();
    for _ in 0..QUESTIONS {
        let pending: Vec<IpAddr> = open.iter().copied().collect();
        let listen = async {
            let mut buffer = [0; FRAME];
            while !open.is_empty() {
                let length = socket.receive(&mut buffer).await?;
                let frame = buffer.get(..length).unwrap_or_default();
                answered.extend(claimed(frame).and_then(|address| open.take(&address)));
            }
            Ok::<(), io::Error>(())
        };
        let round = async {
            for &address in &pending {
                socket.send(&question(address, mac), || true).await?;
            }
            // The last question has the whole time for its answer, too.
            sleep(PATIENCE).await;
            Ok::<(), io::Error>(())
        };
        tokio::select! {
            listened = listen => listened?,
            told = round => told?,
        }
        if open.is_empty() {
            break;
        }
    }
    Ok(answered)
}
