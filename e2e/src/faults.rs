//! What goes wrong in a network: cables, machines, packets, the API server.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    Cluster,
    cgroup::Cgroups,
    inner::runner,
    plan::{Host, Lan},
    process,
    wait::wait_for,
};

impl Cluster {
    /// Pulls all of a host's cables: its interfaces lose their carrier.
    pub fn cut(&self, host: &str) -> Result<()> {
        self.host(host)?.lans().iter().try_for_each(|&lan| self.set_link(host, lan, false))
    }

    /// Plugs all of a host's cables in again.
    pub fn restore(&self, host: &str) -> Result<()> {
        self.host(host)?.lans().iter().try_for_each(|&lan| self.set_link(host, lan, true))
    }

    /// Plugs one cable in (`up`) or pulls it.
    pub fn set_link(&self, host: &str, lan: Lan, up: bool) -> Result<()> {
        let host = self.host(host)?;
        if !host.lans().contains(&lan) {
            bail!("{} has no cable to {}", host.name, lan.bridge());
        }
        let state = if up { "up" } else { "down" };
        process::run(self.outside().args(["ip", "link", "set", &host.port(lan), state]))
            .with_context(|| format!("is {} running?", host.name))?;
        Ok(())
    }

    /// Takes a cable out of its switch and leaves the carrier on (`connected` false), as a VLAN that is misconfigured
    /// does; or puts it back.
    pub fn set_connected(&self, host: &str, lan: Lan, connected: bool) -> Result<()> {
        let port = self.host(host)?.port(lan);
        let mut command = self.outside();
        if connected {
            command.args(["ip", "link", "set", &port, "master", lan.bridge()]);
        } else {
            command.args(["ip", "link", "set", &port, "nomaster"]);
        }
        process::run(&mut command).map(drop)
    }

    /// Stops all processes of a host, its Pods included, until [`Cluster::resume`]. Its
    /// kernel still answers: established ARP entries and `kube-proxy`'s rules go on working.
    pub fn pause(&self, host: &str) -> Result<()> {
        Cgroups::detect()?.freeze(&self.instance.cgroup(), &self.host(host)?.name, true)
    }

    /// Lets a paused host go on.
    pub fn resume(&self, host: &str) -> Result<()> {
        Cgroups::detect()?.freeze(&self.instance.cgroup(), &self.host(host)?.name, false)
    }

    /// Whether a host is paused.
    pub fn is_paused(&self, host: &str) -> Result<bool> {
        Ok(Cgroups::detect()?.is_frozen(&self.instance.cgroup(), &self.host(host)?.name))
    }

    /// Ends a host as a power cut does, and returns when nothing of it runs any more.
    pub fn kill(&self, host: &str) -> Result<()> {
        let host = self.host(host)?;
        let init = self.host_pid(&host.name)?;
        // First the cables, so that nothing it says while dying is heard.
        self.cut(&host.name)?;
        self.resume(&host.name)?;
        kill(Pid::from_raw(i32::try_from(init).context("a process id")?), Signal::SIGKILL)
            .context("killing the host")?;
        wait_for(&format!("the end of {}", host.name), Duration::from_secs(20), || {
            let running = runner::ask(&self.instance.socket("supervisor"), "hosts")?;
            ensure!(running.split(' ').all(|name| name != host.name), "it still runs");
            Ok(())
        })
    }

    /// Boots a host that was killed. What it had on its disk is there again.
    pub fn boot(&self, host: &str) -> Result<()> {
        runner::ask(&self.instance.socket("supervisor"), &format!("boot {}", self.host(host)?.name))?;
        Ok(())
    }

    /// Drops that share of the packets to and from a host, in percent; 0 ends it.
    pub fn set_loss(&self, host: &str, percent: f64) -> Result<()> {
        let host = self.host(host)?;
        let rules = loss_rules(&host, percent)?;
        process::run_with_stdin(self.outside().args(["nft", "-f", "-"]), rules.as_bytes())?;
        Ok(())
    }

    /// Kills a program of a host: `kubelet`, `kube-proxy` or `containerd` of a node, a
    /// control plane's `kube-apiserver` and so on.
    pub fn stop_program(&self, host: &str, program: &str) -> Result<()> {
        runner::ask(&self.instance.socket(&self.host(host)?.name), &format!("stop {program}"))?;
        Ok(())
    }

    /// Starts a program that was stopped, or that ended by itself.
    pub fn start_program(&self, host: &str, program: &str) -> Result<()> {
        runner::ask(&self.instance.socket(&self.host(host)?.name), &format!("start {program}"))?;
        Ok(())
    }

    /// Takes the API server away. Its data stay.
    pub fn stop_api(&self) -> Result<()> {
        self.stop_program("control-plane", "kube-apiserver")
    }

    /// Brings the API server back, and returns when it answers.
    pub fn start_api(&self) -> Result<()> {
        self.start_program("control-plane", "kube-apiserver")?;
        wait_for("an answer of the API server", Duration::from_secs(60), || {
            self.kubectl(&["get", "--raw=/readyz"]).map(drop)
        })
    }

    /// Undoes what this module can do to hosts: every host runs, has its cables and loses no packet.
    pub fn heal(&self) -> Result<()> {
        for Host { name, .. } in self.hosts() {
            self.resume(&name)?;
            if self.host_pid(&name).is_err() {
                self.boot(&name)?;
            }
            self.restore(&name)?;
            for &lan in self.host(&name)?.lans() {
                self.set_connected(&name, lan, true)?;
            }
            self.set_loss(&name, 0.0)?;
        }
        Ok(())
    }

    /// A command in the namespaces around the hosts, where the switches are.
    fn outside(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.record.supervisor.to_string(), "--net", "--"]);
        command
    }
}

/// nft input that replaces a host's loss rules; without rules for 0 percent.
fn loss_rules(host: &Host, percent: f64) -> Result<String> {
    if !(0.0..=100.0).contains(&percent) {
        bail!("{percent} is not a share: give 0 to 100 percent");
    }
    let table = format!("bridge loss_{}", host.name.replace('-', "_"));
    // Adding first makes the deletion succeed in any case.
    let clear = format!("add table {table}\ndelete table {table}\n");
    if percent == 0.0 {
        return Ok(clear);
    }
    let ports: Vec<_> = host.lans().iter().map(|&lan| format!("\"{}\"", host.port(lan))).collect();
    let ports = ports.join(", ");
    let limit = format!("{:.0}", percent * 100.0);
    Ok(format!(
        "{clear}table {table} {{
  chain forward {{
    type filter hook forward priority 0;
    iifname {{ {ports} }} numgen random mod 10000 < {limit} drop
    oifname {{ {ports} }} numgen random mod 10000 < {limit} drop
  }}
}}
"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_counts_in_both_directions_and_on_every_cable() {
        let host = Host::by_name("node1").expect("node1 exists");
        let rules = loss_rules(&host, 12.5).expect("a share");
        assert!(
            rules.contains(r#"iifname { "node1-lan", "node1-lan2" } numgen random mod 10000 < 1250 drop"#),
            "{rules}"
        );
        assert!(
            rules.contains(r#"oifname { "node1-lan", "node1-lan2" } numgen random mod 10000 < 1250 drop"#),
            "{rules}"
        );
    }

    #[test]
    fn no_loss_leaves_no_rule() {
        let host = Host::by_name("control-plane").expect("it exists");
        let rules = loss_rules(&host, 0.0).expect("a share");
        assert_eq!(rules, "add table bridge loss_control_plane\ndelete table bridge loss_control_plane\n");
        for wrong in [-1.0, 100.5, f64::NAN] {
            assert!(loss_rules(&host, wrong).is_err(), "{wrong}");
        }
    }
}
