//! What speakers take with a thousand Services, and whether they stay calm on a busy machine: `cargo xtask bench speaker`.
//! On a real cluster of three nodes, with the limits of processor time that users are promised (300m).
//!
//! `MINUTES` sets how long both cores are kept busy, ten by default.

#[path = "../common/figures.rs"]
#[allow(dead_code, reason = "what only the other benchmarks say")]
mod figures;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, Options, wait_for};

use figures::Figures;

const NAMESPACE: &str = "metallb-system";
/// Services that are announced.
const SERVICES: usize = 1_000;
/// How long everything may take to be announced.
const LIMIT: Duration = Duration::from_secs(300);

const CONFIGURATION: &str = "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: bench, namespace: metallb-system}
spec: {addresses: [198.18.0.0/20]}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: bench, namespace: metallb-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: bench}
rules: [{nonResourceURLs: [/metrics], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: bench}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: bench}
subjects: [{kind: ServiceAccount, name: default, namespace: default}]
";

fn main() -> Result<()> {
    let minutes: u64 = match std::env::var("MINUTES") {
        Ok(text) => text.parse().context("MINUTES is a number")?,
        Err(_) => 10,
    };
    let cluster = Cluster::up(&Options::new(&format!("bench-{}", std::process::id())))?;
    cluster.install()?;
    for file in ["e2e/mission/metallb-cpu-limits.yaml", "e2e/fixtures/workloads.yaml"] {
        cluster.apply_file(file)?;
    }
    wait_for("the configuration to be accepted", LIMIT, || {
        cluster.kubectl_with_stdin(&["apply", "-f", "-"], CONFIGURATION)
    })?;
    cluster.kubectl(&["rollout", "status", "deployment", "web", "--timeout=90s"])?;
    cluster.kubectl_with_stdin(&["create", "-f", "-"], &services())?;
    let bench = Bench::new(&cluster)?;
    wait_for("everything to be announced", LIMIT, || {
        let announced = bench.sum("metallb_speaker_announced{")?;
        ensure!(announced == SERVICES, "{announced} of {SERVICES} services are announced");
        Ok(())
    })?;
    let mut figures = Figures::of("speaker");
    let memory = || figures::residents(&cluster, "/speaker", "--log-level").map(|all| all.into_iter().max());
    let most = memory()?.context("a speaker")?;
    figures.memory(&format!("the largest of three, {SERVICES} services"), most, 15);
    bench.busy(Duration::from_secs(60 * minutes), &mut figures)?;
    let most = memory()?.context("a speaker")?;
    figures.memory("the largest after that time", most, 15);
    cluster.down()?;
    figures.verdict()
}

/// All Services, each with the Pods of `web` as endpoints, and none of kube-proxy's business.
fn services() -> String {
    let mut all = String::new();
    for number in 0..SERVICES {
        writeln!(
            all,
            "---\n{{apiVersion: v1, kind: Service, metadata: {{name: bench-{number}, namespace: default, labels: \
             {{service.kubernetes.io/service-proxy-name: none}}}}, spec: {{type: LoadBalancer, \
             allocateLoadBalancerNodePorts: false, selector: {{app: web}}, ports: [{{port: 80}}]}}}}"
        )
        .expect("a String takes everything");
    }
    all
}

struct Bench<'a> {
    cluster: &'a Cluster,
    token: String,
}

impl<'a> Bench<'a> {
    fn new(cluster: &'a Cluster) -> Result<Self> {
        let token = cluster.kubectl(&["create", "token", "default", "-n", "default", "--duration=1h"])?;
        Ok(Self { cluster, token: token.trim().to_owned() })
    }

    /// The sum of a metric over all speakers and labels.
    fn sum(&self, metric: &str) -> Result<usize> {
        let header = format!("Authorization: Bearer {}", self.token);
        let path = "jsonpath={range .items[*]}{.status.hostIP}{\"\\n\"}{end}";
        let pods = ["get", "pods", "-n", NAMESPACE, "-l", "component=speaker", "-o", path];
        let mut sum = 0;
        for address in self.cluster.kubectl(&pods)?.lines() {
            let url = format!("https://{address}:9120/metrics");
            let text = self.cluster.run("node1", &["curl", "-fsSk", "-m", "5", "-H", &header, &url])?;
            let values = text.lines().filter(|line| line.starts_with(metric));
            let values = values.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
            sum += values.sum::<usize>();
        }
        Ok(sum)
    }

    /// How often addresses changed hands so far.
    fn moves(&self) -> Result<usize> {
        Ok(self.sum("metallb_failover_addresses_taken_total{")?
            + self.sum("metallb_failover_addresses_released_total{")?)
    }

    /// Keeps both cores busy, and counts the addresses that change hands meanwhile.
    fn busy(&self, time: Duration, figures: &mut Figures) -> Result<()> {
        let before = self.moves()?;
        let begun = Instant::now();
        let cores = std::thread::available_parallelism()?.get();
        std::thread::scope(|scope| {
            for _ in 0..cores {
                scope.spawn(|| while begun.elapsed() < time {});
            }
        });
        let moved = self.moves()?.saturating_sub(before);
        let reasons = ["get", "events", "-A", "-o", "jsonpath={range .items[*]}{.reason}{\"\\n\"}{end}"];
        let relaxed =
            self.cluster.kubectl(&reasons)?.lines().filter(|line| *line == "failoverProfile").count();
        figures.note(&format!("{relaxed} events said that a speaker changed its profile"));
        figures.count(
            &format!("moves of addresses in {} minutes with {cores} busy cores", time.as_secs() / 60),
            u64::try_from(moved)?,
            0,
        );
        Ok(())
    }
}
