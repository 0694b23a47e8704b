//! A host on the LAN that writes down who claims an address, and when.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use crate::{Cluster, Spawned, wait_for};

/// A claim: a gratuitous or other ARP packet whose sender has the address, or a neighbour advertisement of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// When the observer's kernel saw it.
    pub at: SystemTime,
    /// By whom.
    pub mac: String,
}

/// A running capture.
pub struct Observer {
    _program: Spawned,
    address: String,
    output: PathBuf,
}

impl Observer {
    /// Begins to write down who claims the address on the client's `interface`; returns when the capture runs.
    pub fn start(cluster: &Cluster, interface: &str, address: &str, output: &Path) -> Result<Self> {
        // Neighbour advertisements are ICMPv6 type 136, at byte 40 of a packet without extension headers.
        let filter = if address.contains(':') { "icmp6 and ip6[40] == 136" } else { "arp" };
        let words = ["tcpdump", "-i", interface, "-n", "-l", "-e", "-v", "-tt", "--immediate-mode", filter];
        let program = cluster.spawn("client", &words, output)?;
        let observer = Self { _program: program, address: address.to_owned(), output: output.to_owned() };
        wait_for("the capture", Duration::from_secs(10), || {
            let text = observer.text()?;
            ensure!(text.contains("listening on"), "tcpdump says: {text}");
            Ok(())
        })?;
        Ok(observer)
    }

    /// All claims so far, in order.
    pub fn claims(&self) -> Result<Vec<Claim>> {
        Ok(parse(&self.text()?, &self.address))
    }

    fn text(&self) -> Result<String> {
        let bytes = std::fs::read(&self.output).context("the capture")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The claims of the address in the output of `tcpdump -n -e -v -tt`.
fn parse(text: &str, address: &str) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut last = None;
    for line in text.lines() {
        if let Some(claim) = head(line) {
            last = Some(claim);
        }
        // What is claimed stands in the same line for ARP and in one of the next for neighbour advertisements.
        let words: Vec<&str> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let pairs = || words.windows(2);
        let reply = pairs().any(|pair| pair == [address, "is-at"]);
        let request = pairs().any(|pair| pair == ["tell", address]);
        let neighbour =
            line.contains("neighbor advertisement") && pairs().any(|pair| pair == ["is", address]);
        if reply || request || neighbour {
            claims.extend(last.take());
        }
    }
    claims
}

/// Time and sender of a frame, where the line begins one.
fn head(line: &str) -> Option<Claim> {
    let mut words = line.split_whitespace();
    let (seconds, micros) = words.next()?.split_once('.')?;
    let mac = words.next()?;
    let since = Duration::new(seconds.parse().ok()?, micros.parse::<u32>().ok()?.checked_mul(1_000)?);
    (mac.len() == 17).then(|| Claim { at: UNIX_EPOCH + since, mac: mac.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_from_what_tcpdump_prints() {
        let text = "\
1763856000.000100 02:00:00:00:01:0b > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 60: Ethernet (len 6), IPv4 (len 4), Request who-has 192.0.2.50 tell 192.0.2.50, length 46
1763856000.000200 02:00:00:00:01:0b > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 60: Ethernet (len 6), IPv4 (len 4), Reply 192.0.2.50 is-at 02:00:00:00:01:0b, length 46
1763856000.000300 02:00:00:00:01:fa > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 60: Ethernet (len 6), IPv4 (len 4), Request who-has 192.0.2.50 tell 192.0.2.250, length 46
1763856000.000400 02:00:00:00:01:0c > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 60: Ethernet (len 6), IPv4 (len 4), Reply 192.0.2.5 is-at 02:00:00:00:01:0c, length 46
";
        let claims = parse(text, "192.0.2.50");
        assert_eq!(claims.len(), 2, "{claims:?}");
        assert_eq!(claims[0].at, UNIX_EPOCH + Duration::new(1_763_856_000, 100_000));
        assert!(claims.iter().all(|claim| claim.mac == "02:00:00:00:01:0b"));
        let text = "\
1763856001.000100 02:00:00:00:01:0b > 33:33:00:00:00:01, ethertype IPv6 (0x86dd), length 86: (hlim 255, next-header ICMPv6 (58) payload length: 32) 2001:db8::50 > ff02::1: [icmp6 sum ok] ICMP6, neighbor advertisement, length 32, tgt is 2001:db8::50, Flags [override]
\t  destination link-address option (2), length 8 (1): 02:00:00:00:01:0b
";
        assert_eq!(parse(text, "2001:db8::50").len(), 1);
        assert_eq!(parse(text, "2001:db8::5"), []);
    }
}
