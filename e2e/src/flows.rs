//! New flows, one after the other from fresh ports: what a client notices of an address that moves.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::{Cluster, Spawned, artifacts};

/// How long a flow may take. A lost SYN is sent again after a second, so that one that was lost fails.
const PATIENCE: Duration = Duration::from_millis(900);

/// Threads that open flows: with all of them waiting for lost ones the rate falls, so they are many.
const THREADS: usize = 64;

/// What to open.
#[derive(Clone, Copy, Debug)]
pub struct Flows {
    /// The Service's address.
    pub address: IpAddr,
    /// Its TCP port, which answers HTTP, and its UDP port, which answers anything: each takes every second flow.
    pub ports: (u16, u16),
    /// Flows a second.
    pub rate: u32,
    /// Flows in all.
    pub count: usize,
}

/// What became of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How many were opened.
    pub opened: usize,
    /// Those without an answer in time, by when they were opened since the first, and what was seen.
    pub lost: Vec<(Duration, String)>,
}

impl Flows {
    /// Opens them from this host.
    pub fn open(&self) -> Outcome {
        let begin = Instant::now();
        let (next, lost) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= self.count {
                            return;
                        }
                        let due =
                            Duration::from_secs(1) / self.rate * u32::try_from(number).unwrap_or(u32::MAX);
                        // The pace is what is asked for, not something waited for.
                        std::thread::sleep((begin + due).saturating_duration_since(Instant::now()));
                        let at = begin.elapsed();
                        let result = if number % 2 == 0 { self.tcp() } else { self.udp() };
                        if let Err(error) = result {
                            let kind = if number % 2 == 0 { "TCP" } else { "UDP" };
                            lost.lock().expect("no thread panics").push((at, format!("{kind}: {error:#}")));
                        }
                    }
                });
            }
        });
        let mut lost = lost.into_inner().expect("no thread panics");
        lost.sort();
        Outcome { opened: self.count, lost }
    }

    fn tcp(&self) -> Result<()> {
        let to = SocketAddr::new(self.address, self.ports.0);
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE).context("connecting")?;
        stream.set_read_timeout(Some(PATIENCE)).context("a time limit")?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").context("asking")?;
        let mut answer = [0; 16];
        ensure!(stream.read(&mut answer).context("reading")? > 0, "closed without an answer");
        Ok(())
    }

    fn udp(&self) -> Result<()> {
        let any: IpAddr = if self.address.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
        let socket = UdpSocket::bind((any, 0)).context("a socket")?;
        socket.connect((self.address, self.ports.1)).context("connecting")?;
        socket.set_read_timeout(Some(PATIENCE)).context("a time limit")?;
        socket.send(b"hello").context("asking")?;
        let mut answer = [0; 64];
        ensure!(socket.recv(&mut answer).context("reading")? > 0, "an empty answer");
        Ok(())
    }
}

impl Outcome {
    fn text(&self) -> String {
        let lost = self.lost.iter().map(|(at, why)| format!("{}\t{why}\n", at.as_millis()));
        std::iter::once(format!("opened {}\n", self.opened)).chain(lost).collect()
    }

    fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        let opened = lines.next().and_then(|line| line.strip_prefix("opened ")).context("no outcome")?;
        let lost = lines.map(|line| {
            let (at, why) = line.split_once('\t').context("a line without a time")?;
            Ok((Duration::from_millis(at.parse()?), why.to_owned()))
        });
        Ok(Self { opened: opened.parse()?, lost: lost.collect::<Result<_>>()? })
    }
}

/// Flows that are being opened by a host of a cluster.
pub struct Running {
    program: Spawned,
    output: std::path::PathBuf,
}

impl Cluster {
    /// Begins to open flows from a host.
    pub fn open_flows(&self, host: &str, flows: &Flows, output: &Path) -> Result<Running> {
        let program = artifacts::program()?.display().to_string();
        let (tcp, udp) = flows.ports;
        let words = [
            program,
            "flows".to_owned(),
            flows.address.to_string(),
            format!("--tcp={tcp}"),
            format!("--udp={udp}"),
            format!("--rate={}", flows.rate),
            format!("--count={}", flows.count),
        ];
        let program = self.spawn(host, &words, output)?;
        Ok(Running { program, output: output.to_owned() })
    }
}

impl Running {
    /// Waits for the last flow; what became of them.
    pub fn finish(self) -> Result<Outcome> {
        self.program.wait()?;
        let text = std::fs::read_to_string(&self.output).context("what became of the flows")?;
        Outcome::parse(&text).with_context(|| format!("the program said: {text}"))
    }
}

/// What the program `e2e flows` does: opens flows and prints what became of them.
pub fn run(flows: &Flows) -> Result<()> {
    print!("{}", flows.open().text());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_survives_its_text() {
        let outcome = Outcome {
            opened: 7,
            lost: vec![(Duration::from_millis(1_250), "TCP: connecting: timed out".into())],
        };
        assert_eq!(Outcome::parse(&outcome.text()).expect("readable"), outcome);
        assert!(Outcome::parse("").is_err());
    }

    #[test]
    fn a_flow_to_nobody_is_lost() {
        // Nothing listens on the discard port of this host's loopback interface.
        let flows = Flows { address: [127, 0, 0, 1].into(), ports: (9, 9), rate: 1_000, count: 4 };
        let outcome = flows.open();
        assert_eq!((outcome.opened, outcome.lost.len()), (4, 4));
    }
}
