//! How long an address is gone for the hosts of a LAN when its node dies, and what planned moves cost:
//! `cargo xtask bench l2`. On a real cluster of three nodes.
//!
//! A time is that from right before the fault is made to the first claim by another MAC that the client's kernel
//! sees; `TRIALS` sets how many there are of each.

#[path = "../common/figures.rs"]
#[allow(dead_code, reason = "what only the other benchmarks say")]
mod figures;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use e2e::flows::Flows;
use e2e::plan::{Host, Lan};
use e2e::{Cluster, Observer, Options, wait_for};

use figures::{Figures, median};

/// Planned moves while new flows are opened.
const MOVES: usize = 4;
/// New flows, and how many a second.
const FLOWS: usize = 10_000;
const RATE: u32 = 1_000;
/// How long nothing here takes.
const LIMIT: Duration = Duration::from_secs(90);

const POOL: &str = "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: bench, namespace: metallb-system}
spec: {addresses: [192.0.2.100-192.0.2.149]}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: bench, namespace: metallb-system}
---
apiVersion: v1
kind: Service
metadata: {name: bench, namespace: default}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports:
  - {name: tcp, protocol: TCP, port: 80, targetPort: 8080}
  - {name: udp, protocol: UDP, port: 80, targetPort: 8080}
";

/// A way for a node to die without a word.
#[derive(Clone, Copy)]
enum Death {
    Cut,
    Kill,
    Pause,
}

fn main() -> Result<()> {
    let trials: usize = match std::env::var("TRIALS") {
        Ok(text) => text.parse().context("TRIALS is a number")?,
        Err(_) => 30,
    };
    let cluster = Cluster::up(&Options::new(&format!("bench-{}", std::process::id())))?;
    cluster.install()?;
    for file in ["e2e/mission/metallb.yaml", "e2e/fixtures/workloads.yaml"] {
        cluster.apply_file(file)?;
    }
    wait_for("the pool to be accepted", LIMIT, || cluster.kubectl_with_stdin(&["apply", "-f", "-"], POOL))?;
    cluster.kubectl(&["rollout", "status", "deployment", "web", "--timeout=90s"])?;
    let mut figures = Figures::of("takeover");
    let bench = Bench::new(&cluster)?;
    for (death, what) in [
        (Death::Cut, "link cut"),
        (Death::Pause, "speaker paused with its node"),
        (Death::Kill, "node killed"),
    ] {
        // A node takes its time to boot.
        let trials = if matches!(death, Death::Kill) { trials.div_ceil(3) } else { trials };
        let times = (0..trials).map(|_| bench.trial(death)).collect::<Result<Vec<_>>>()?;
        let (p50, most) = (median(times.clone()), times.iter().max().copied().unwrap_or_default());
        figures.time(&format!("{what}, {trials} trials, p50"), p50, Duration::from_millis(350));
        figures.time(&format!("{what}, {trials} trials, max"), most, Duration::from_millis(500));
    }
    let lost = bench.planned()?;
    figures.count(&format!("of {FLOWS} new flows during {MOVES} planned moves lost"), lost, 0);
    drop(bench);
    cluster.down()?;
    figures.verdict()
}

struct Bench<'a> {
    cluster: &'a Cluster,
    address: String,
    observer: Observer,
}

impl<'a> Bench<'a> {
    fn new(cluster: &'a Cluster) -> Result<Self> {
        let address = wait_for("an address", LIMIT, || {
            let path = "jsonpath={.status.loadBalancer.ingress[0].ip}";
            let address = cluster.kubectl(&["get", "service", "bench", "-o", path])?;
            ensure!(!address.is_empty(), "none yet");
            Ok(address)
        })?;
        let observer = Observer::start(cluster, "eth0", &address, &scratch(cluster, "claims"))?;
        let bench = Self { cluster, address, observer };
        bench.holder(|_| true)?;
        Ok(bench)
    }

    /// Waits until a node that is as wanted answers; its name.
    fn holder(&self, wanted: impl Fn(&str) -> bool) -> Result<String> {
        wait_for("the holder", LIMIT, || {
            let asked = ["arping", "-c", "1", "-w", "1", "-r", "-i", "eth0", &self.address];
            let output = self.cluster.exec("client", &asked)?;
            let mac = String::from_utf8_lossy(&output.stdout).split_whitespace().next().map(str::to_owned);
            let mac = mac.context("nobody answers")?;
            let nodes = self.cluster.node_names().into_iter();
            let mut of = nodes.filter(|node| Host::by_name(node).is_ok_and(|h| h.mac(Lan::First) == mac));
            let node = of.next().context("the MAC is no node's")?;
            ensure!(wanted(&node), "{node} answers");
            Ok(node)
        })
    }

    /// Lets the holder die, and says after which time another node claims the address; then heals it.
    fn trial(&self, death: Death) -> Result<Duration> {
        // The holder is the same one at each start: the address comes back to it.
        let holder = self.holder(|_| true)?;
        let mac = Host::by_name(&holder)?.mac(Lan::First);
        let fault = SystemTime::now();
        match death {
            Death::Cut => self.cluster.cut(&holder)?,
            Death::Kill => self.cluster.kill(&holder)?,
            Death::Pause => self.cluster.pause(&holder)?,
        }
        let claim = wait_for("a claim by another node", LIMIT, || {
            let claims = self.observer.claims()?;
            let other = claims.into_iter().find(|claim| claim.at > fault && claim.mac != mac);
            other.context("none yet")
        })?;
        let healed = SystemTime::now();
        match death {
            Death::Cut => self.cluster.restore(&holder)?,
            Death::Kill => self.cluster.boot(&holder)?,
            Death::Pause => self.cluster.resume(&holder)?,
        }
        self.holder(|node| node == holder)?;
        // The announcements of its return are over, the last of them after five seconds, so that the next trial begins in quiet.
        wait_for("the last announcement", LIMIT, || {
            let claims = self.observer.claims()?;
            let mut own = claims.iter().filter(|claim| claim.mac == mac && claim.at > healed);
            let first = own.next().context("no claim since the return")?;
            let last = own.next_back().context("one claim only since the return")?;
            let since = last.at.duration_since(first.at).unwrap_or_default();
            ensure!(since > Duration::from_millis(4_500), "{since:.1?} after the first one");
            // Three late timers, each within ten seconds of the one before, make a speaker look for failures more slowly:
            // what these trials are not about.
            let awake = healed.elapsed().unwrap_or_default();
            ensure!(
                awake > Duration::from_secs(11) || !matches!(death, Death::Pause),
                "awake for {awake:.1?}"
            );
            Ok(())
        })?;
        claim.at.duration_since(fault).context("the claim is later than the fault")
    }

    /// Drains the holder and takes it back, again and again, while new flows are opened; how many are lost.
    fn planned(&self) -> Result<u64> {
        let address: IpAddr = self.address.parse()?;
        let flows = Flows { address, ports: (80, 80), rate: RATE, count: FLOWS };
        let running = self.cluster.open_flows("client", &flows, &scratch(self.cluster, "flows"))?;
        let first = self.holder(|_| true)?;
        for _ in 0..MOVES / 2 {
            self.cluster.kubectl(&["annotate", "node", &first, "metallb.io/drain=true"])?;
            self.holder(|node| node != first)?;
            self.cluster.kubectl(&["annotate", "node", &first, "metallb.io/drain-"])?;
            self.holder(|node| node == first)?;
        }
        let outcome = running.finish()?;
        for (at, why) in &outcome.lost {
            println!("takeover: lost after {at:.1?}: {why}");
        }
        Ok(u64::try_from(outcome.lost.len())?)
    }
}

fn scratch(cluster: &Cluster, name: &str) -> PathBuf {
    cluster.instance().logs().join(name)
}
