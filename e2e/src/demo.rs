//! The demonstration: the load balancer at work, step by step, as a person would type it.

use std::fs;
use std::io::{IsTerminal, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::install::{MANIFEST, WEBHOOKS_ROLLOUT};
use crate::plan::{Host, Lan};
use crate::{Cluster, Options, images, test_images, wait_for};

/// How long a step may take that lets the cluster settle.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often the client asks while a node is away.
const BEAT: Duration = Duration::from_millis(250);
/// The Service of the demonstration.
const SERVICE: &str = "hostname-svc-lb";

/// Runs the demonstration on a cluster of that name and leaves it up.
///
/// A cluster of the name that runs already is used again.
pub fn run(instance: &str) -> Result<()> {
    let (cluster, prepared) = match Cluster::attach(instance) {
        Ok(cluster) => {
            let prepared = refresh(&cluster);
            (cluster, prepared)
        }
        Err(_) => (start(instance)?, Ok(())),
    };
    let result = prepared.and_then(|()| Demo { cluster: &cluster }.play());
    let usage = usage(&cluster, instance)?;
    // Whatever happened, the cluster stays for a look, and the reader learns how to look.
    cluster.detach()?;
    println!("\n{usage}");
    result
}

fn start(instance: &str) -> Result<Cluster> {
    heading("A Kubernetes cluster of three nodes, a client and a router on one LAN");
    Cluster::up(&Options::new(instance))
}

/// Gives a cluster that runs already its cables back, which an interrupted demonstration may have pulled,
/// and the images as they are now.
fn refresh(cluster: &Cluster) -> Result<()> {
    heading("The cluster runs already: its hosts are made whole, and it gets the present images");
    cluster.heal()?;
    for archive in test_images() {
        cluster.load_image(&archive)?;
    }
    println!("{}", cluster.kubectl(&["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=120s"])?);
    Ok(())
}

struct Demo<'a> {
    cluster: &'a Cluster,
}

impl Demo<'_> {
    fn play(&self) -> Result<()> {
        self.kubectl("get nodes -o wide")?;

        heading("The operator");
        show(&format!("kubectl apply --server-side -f {MANIFEST}"));
        print!("{}", indented(&self.cluster.install()?));
        for workload in images::outdated(self.cluster)? {
            self.kubectl(&format!("rollout restart {workload}"))?;
            self.kubectl(&format!("rollout status {workload} --timeout=120s"))?;
        }
        self.kubectl(
            "rollout status deployment metallb-operator-controller-manager -n metallb-system --timeout=120s",
        )?;
        self.kubectl(WEBHOOKS_ROLLOUT)?;

        heading("The MetalLB resource: a controller, and a speaker on every node");
        self.file("e2e/mission/metallb.yaml")?;
        self.kubectl("wait -n metallb-system --for=condition=Available metallb/metallb --timeout=120s")?;
        self.kubectl("get metallb,deployment,daemonset,pods -n metallb-system")?;

        heading("Pods, a pool of addresses, an advertisement and a Service of type LoadBalancer");
        self.file("e2e/fixtures/workloads.yaml")?;
        self.kubectl("rollout status deployment webserver --timeout=120s")?;
        self.file("e2e/mission/tutorial.yaml")?;
        // More than one Pod, so that some are left when a node goes.
        self.kubectl("scale deployment webserver --replicas=3")?;
        self.kubectl("rollout status deployment webserver --timeout=120s")?;
        let address = self.address()?;
        self.kubectl(&format!("get service {SERVICE}"))?;
        let node = self.announcer("the announcement", |_| true)?;
        self.kubectl(&format!("describe service {SERVICE}"))?;
        self.kubectl("get servicel2statuses -n metallb-system")?;

        heading(&format!(
            "A client on the LAN that nobody configured finds {address} by ARP and fetches the page"
        ));
        self.client(&format!("ip route get {address}"))?;
        self.client(&format!("arping -c 1 -i eth0 {address}"))?;
        println!("  ({} is the MAC address of {node})\n", Host::by_name(&node)?.mac(Lan::First));
        self.client(&format!("curl -sS http://{address}:8080/"))?;

        self.fail_over(&address, &node)
    }

    /// Takes the announcing node's network away, shows what the client sees, and gives it back.
    fn fail_over(&self, address: &str, node: &str) -> Result<()> {
        heading(&format!("The network of {node}, which announces {address}, fails"));
        show(&format!("e2e link {node} down"));
        self.cluster.cut(node)?;
        let outcome = self.watch_fail_over(address, node);
        show(&format!("e2e link {node} up"));
        self.cluster.restore(node)?;
        outcome?;
        self.kubectl(&format!("wait --for=condition=Ready node/{node} --timeout=120s"))?;
        self.kubectl("wait -n metallb-system --for=condition=Available metallb/metallb --timeout=120s")
    }

    fn watch_fail_over(&self, address: &str, node: &str) -> Result<()> {
        let cut = Instant::now();
        let mut was = String::new();
        let mut good = 0;
        println!();
        // The first answers may still meet a Pod that is gone; ten in a row are the proof.
        while good < 10 {
            ensure!(
                cut.elapsed() < PATIENCE,
                "the client got no answer for {PATIENCE:?} after {node} was cut off"
            );
            let asked = Instant::now();
            let answer = self.ask(address).ok();
            good = if answer.is_some() { good + 1 } else { 0 };
            let now = answer.unwrap_or_else(|| "no answer".to_owned());
            if now != was {
                println!("  {:6.1} s  {now}", cut.elapsed().as_secs_f32());
                was = now;
            }
            std::thread::sleep(BEAT.saturating_sub(asked.elapsed()));
        }
        println!();
        let next = self.announcer("another node's announcement", |other| other != node)?;
        let description = self.cluster.kubectl(&["describe", "service", SERVICE])?;
        show(&format!("kubectl describe service {SERVICE} | sed -n '/^Events/,$p'"));
        let events: Vec<&str> = description.lines().skip_while(|line| !line.starts_with("Events")).collect();
        println!("{}", indented(&events.join("\n")));
        self.client(&format!("arping -c 1 -i eth0 {address}"))?;
        println!("  ({} is the MAC address of {next})\n", Host::by_name(&next)?.mac(Lan::First));
        Ok(())
    }

    /// One request of the client: which Pod on which node answered.
    fn ask(&self, address: &str) -> Result<String> {
        let url = format!("http://{address}:8080/");
        let output = self.cluster.exec("client", &["curl", "-sS", "-m", "1", &url])?;
        ensure!(output.status.success(), "no answer");
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(answer.split_whitespace().filter(|word| word.contains('=')).collect::<Vec<_>>().join(" "))
    }

    fn address(&self) -> Result<String> {
        wait_for("an address for the Service", PATIENCE, || {
            let path = "jsonpath={.status.loadBalancer.ingress[0].ip}";
            let text = self.cluster.kubectl(&["get", "service", SERVICE, "-o", path])?;
            let address: Ipv4Addr = text.parse().with_context(|| format!("EXTERNAL-IP is {text:?}"))?;
            Ok(address.to_string())
        })
    }

    fn announcer(&self, what: &str, accept: impl Fn(&str) -> bool) -> Result<String> {
        wait_for(what, PATIENCE, || {
            let label = format!("metallb.io/service-name={SERVICE}");
            let path = "jsonpath={.items[*].status.node}";
            let words = ["get", "servicel2statuses", "-n", "metallb-system", "-l", &label, "-o", path];
            let nodes = self.cluster.kubectl(&words)?;
            match nodes.split_whitespace().collect::<Vec<_>>().as_slice() {
                [node] if accept(node) => Ok((*node).to_owned()),
                _ => bail!("announced from {nodes:?}"),
            }
        })
    }

    /// Shows and runs a kubectl command.
    fn kubectl(&self, line: &str) -> Result<()> {
        show(&format!("kubectl {line}"));
        let words: Vec<&str> = line.split_whitespace().collect();
        println!("{}", indented(&self.cluster.kubectl(&words)?));
        Ok(())
    }

    /// Shows and applies a file of the project.
    fn file(&self, path: &str) -> Result<()> {
        show(&format!("kubectl apply -f {path}"));
        println!("{}", indented(&self.cluster.apply_file(path)?));
        Ok(())
    }

    /// Shows and runs a command on the client.
    fn client(&self, line: &str) -> Result<()> {
        show(&format!("e2e exec client -- {line}"));
        let words: Vec<&str> = line.split_whitespace().collect();
        println!("{}", indented(&self.cluster.run("client", &words)?));
        Ok(())
    }
}

/// How to go on with the cluster, in shell commands.
fn usage(cluster: &Cluster, instance: &str) -> Result<String> {
    let files = cluster.instance();
    // Beside kubectl, so that the hosts of the LAN are at hand by the same PATH.
    let path = files.bin().join("e2e");
    let own = std::env::current_exe().context("finding this program")?;
    let script =
        format!("#!/bin/sh\nE2E_INSTANCE=${{E2E_INSTANCE:-{instance}}} exec '{}' \"$@\"\n", own.display());
    fs::write(&path, script)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(format!(
        "The cluster is up. To use it:\n\n  \
         export KUBECONFIG={}\n  \
         export PATH={}:$PATH    # kubectl, and e2e for the hosts of the LAN\n  \
         kubectl get pods -A\n  \
         e2e exec client -- curl -s http://ADDRESS:8080/\n  \
         e2e link node1 down    # and up again\n\n\
         make demo-down removes it without a trace.",
        files.kubeconfig().display(),
        files.bin().display(),
    ))
}

fn heading(text: &str) {
    let (on, off) = if std::io::stdout().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    println!("\n{on}# {text}{off}\n");
    // A reader follows along; what was printed must not wait in a buffer for the step to end.
    std::io::stdout().flush().ok();
}

fn show(command: &str) {
    println!("$ {command}");
    std::io::stdout().flush().ok();
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
