//! The end-to-end test on a cluster of one node: required affinity of the Pods to each other can only be met
//! where all of them fit (mission D3.15).

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, Options, end_after, wait_for};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

/// How long the suite may take, with its images built.
const BUDGET: Duration = Duration::from_secs(4 * 60);
const NAMESPACE: &str = "metallb-system";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let start = Instant::now();
    end_after(BUDGET, || {});
    let trial = Trial::test("priority_and_affinity_reach_the_pods_on_one_node", || {
        run().map_err(|error| Failed::from(format!("{error:?}")))
    });
    let failed = libtest_mimic::run(&arguments, vec![trial]).has_failed();
    println!("suite single took {:.0?} of {BUDGET:?}", start.elapsed());
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn run() -> Result<()> {
    let options = Options { nodes: 1, ..Options::new(&format!("test-single-{}", std::process::id())) };
    let cluster = Cluster::up(&options)?;
    let result = test(&cluster);
    if result.is_err() {
        cluster.collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../build/diagnostics/single"))?;
    }
    cluster.down()?;
    result
}

/// D3.15 on one node: both run with the priority, the operator's own Pods without.
fn test(cluster: &Cluster) -> Result<()> {
    cluster.install()?;
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("mission/metallb-pod-config.yaml");
    cluster.kubectl(&["apply", "-f", &manifest.display().to_string()])?;
    wait_for("MetalLB to be Available", Duration::from_secs(90), || {
        let text = cluster.kubectl(&["get", "metallb", "metallb", "-n", NAMESPACE, "-o", "json"])?;
        let object: Value = serde_json::from_str(&text)?;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let available = conditions.iter().any(|c| c["type"] == "Available" && c["status"] == "True");
        ensure!(available, "conditions: {}", Value::Array(conditions));
        Ok(())
    })?;
    let columns = "custom-columns=NAME:.metadata.name,PRIORITY:.spec.priorityClassName,STATUS:.status.phase";
    let rows = cluster.kubectl(&["get", "pods", "-n", NAMESPACE, "-o", columns, "--no-headers"])?;
    for (prefix, priority) in [
        ("controller-", "high-priority"),
        ("speaker-", "high-priority"),
        ("metallb-operator-controller-manager-", "<none>"),
        ("metallb-operator-webhook-server-", "<none>"),
    ] {
        let row = rows
            .lines()
            .find(|row| row.starts_with(prefix))
            .with_context(|| format!("no {prefix} in\n{rows}"))?;
        let columns: Vec<&str> = row.split_whitespace().collect();
        ensure!(columns[1..] == [priority, "Running"], "{row}");
    }
    Ok(())
}
