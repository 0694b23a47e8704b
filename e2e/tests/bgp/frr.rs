//! FRR as a router: one bgpd for each test, on a port of its own of the host `router`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, process};

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, Spawned, wait_for};
use serde_json::Value;

use crate::support::{SOON, World};

/// Debian's daemons.
const BGPD: &str = "/usr/lib/frr/bgpd";
const ZEBRA: &str = "/usr/lib/frr/zebra";
/// The user that zebra becomes.
const USER: &str = "frr";
/// The routers' AS unless a test says otherwise.
pub(crate) const ASN: u32 = 64_513;

/// zebra, which tells the bgpds of the host `router` of its interfaces; they put no routes into the kernel. Ends, and its
/// folder with it, when it is dropped.
pub(crate) struct Zebra {
    /// Where its user can reach it, who may not look into the folders of a cluster; also for the sockets of all routers.
    folder: PathBuf,
    _process: Spawned,
}

impl Zebra {
    pub(crate) fn start(cluster: &Cluster) -> Result<Self> {
        let folder = env::temp_dir().join(format!("e2e-zebra-{}", process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let file = |name: &str| folder.join(name).display().to_string();
        fs::write(folder.join("zebra.conf"), "").context("writing zebra.conf")?;
        let path = folder.display().to_string();
        cluster.run("router", &["chown", "-R", USER, &path])?;
        let words =
            [ZEBRA, "-f", &file("zebra.conf"), "-i", &file("pid"), "-z", &file("api"), "--vty_socket", &path];
        let process =
            cluster.spawn("router", &[&words[..], &["-P", "0"]].concat(), &folder.join("output"))?;
        let zebra = Self { folder, _process: process };
        wait_for("zebra's socket", SOON, || {
            ensure!(zebra.socket().exists(), "{}", fs::read_to_string(zebra.folder.join("output"))?);
            Ok(())
        })?;
        Ok(zebra)
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("api")
    }

    /// A new folder for the sockets of a router.
    pub(crate) fn sockets(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(folder)
    }
}

impl Drop for Zebra {
    fn drop(&mut self) {
        // It is in the folder for temporary files.
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// How a bgpd is to be.
pub(crate) struct Settings<'a> {
    /// Its name, also that of its folder.
    pub(crate) name: &'a str,
    pub(crate) port: u16,
    /// The router's AS.
    pub(crate) asn: u32,
    /// The neighbors' AS, as `remote-as` takes it.
    pub(crate) remote: &'a str,
    /// Whether the router connects, at the port of BGP, and listens to nobody; else it is the other way round.
    pub(crate) active: bool,
    /// Further lines about all neighbors, which are the peer group `nodes`.
    pub(crate) lines: &'a [&'a str],
    /// Words before bgpd's own, for another network namespace, where there is no zebra.
    pub(crate) prefix: &'a [&'a str],
    /// The addresses of the neighbors.
    pub(crate) neighbors: Vec<String>,
}

impl<'a> Settings<'a> {
    /// A router of another AS than the nodes.
    pub(crate) fn new(name: &'a str, port: u16) -> Self {
        let neighbors = Vec::new();
        Self { name, port, asn: ASN, remote: "64512", active: false, lines: &[], prefix: &[], neighbors }
    }
}

/// A running bgpd. Ends when it is dropped.
pub(crate) struct Frr {
    folder: PathBuf,
    sockets: PathBuf,
    asn: u32,
    _process: Spawned,
}

impl Frr {
    /// Starts a bgpd that takes everything from its neighbors.
    pub(crate) fn start(world: &World, settings: &Settings<'_>) -> Result<Self> {
        let cluster = &world.cluster;
        let folder = cluster.instance().logs().join("routers").join(settings.name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let neighbors = if settings.neighbors.is_empty() {
            let nodes = cluster.hosts().into_iter().filter(|host| host.number().is_some());
            nodes.flat_map(|node| [node.v4().to_string(), node.v6().to_string()]).collect()
        } else {
            settings.neighbors.clone()
        };
        let mut text = format!(
            "log file {}/log\nrouter bgp {}\n bgp router-id 192.0.2.254\n no bgp ebgp-requires-policy\n \
             no bgp default ipv4-unicast\n neighbor nodes peer-group\n neighbor nodes remote-as {}\n \
             neighbor nodes disable-connected-check\n",
            folder.display(),
            settings.asn,
            settings.remote
        );
        if !settings.active {
            text += " neighbor nodes passive\n";
        }
        for line in settings.lines {
            text += &format!(" {line}\n");
        }
        for neighbor in &neighbors {
            text += &format!(" neighbor {neighbor} peer-group nodes\n");
        }
        for family in ["ipv4", "ipv6"] {
            text += &format!(
                " address-family {family} unicast\n  neighbor nodes activate\n exit-address-family\n"
            );
        }
        let file = |name: &str| folder.join(name).display().to_string();
        fs::write(folder.join("bgpd.conf"), text).context("writing bgpd.conf")?;
        // At port 0 nobody listens.
        let port = if settings.active { 0 } else { settings.port }.to_string();
        let folder_of_sockets = world.zebra.sockets(settings.name)?;
        let (configuration, pid, sockets) =
            (file("bgpd.conf"), file("bgpd.pid"), folder_of_sockets.display().to_string());
        let socket = world.zebra.socket().display().to_string();
        let kernel: &[&str] = if settings.prefix.is_empty() { &["-n", "-z", &socket] } else { &["-Z"] };
        let own =
            [BGPD, "-f", &configuration, "-i", &pid, "--vty_socket", &sockets, "-S", "-P", "0", "-p", &port];
        let words = [settings.prefix, &own, kernel].concat();
        let process = cluster.spawn("router", &words, &folder.join("output"))?;
        let frr = Self { folder, sockets: folder_of_sockets, asn: settings.asn, _process: process };
        wait_for("an answer of bgpd", SOON, || frr.show("show bgp summary json"))?;
        Ok(frr)
    }

    /// Runs commands in one session of vtysh; what they print.
    pub(crate) fn vtysh(&self, commands: &[&str]) -> Result<String> {
        let mut command = process::Command::new("vtysh");
        command.arg("--vty_socket").arg(&self.sockets);
        for line in commands {
            command.args(["-c", line]);
        }
        let output = command.output().context("starting vtysh")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "vtysh {commands:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(text)
    }

    /// Changes the configuration of the router's neighbors.
    pub(crate) fn configure(&self, line: &str) -> Result<()> {
        self.vtysh(&["configure terminal", &format!("router bgp {}", self.asn), line]).map(drop)
    }

    fn show(&self, command: &str) -> Result<Value> {
        let text = self.vtysh(&[command])?;
        serde_json::from_str(&text).with_context(|| format!("{command} printed no JSON: {text}"))
    }

    /// The prefixes that it knows, of both families.
    pub(crate) fn prefixes(&self) -> Result<BTreeSet<String>> {
        let mut prefixes = BTreeSet::new();
        for family in ["ipv4", "ipv6"] {
            let table = self.show(&format!("show bgp {family} unicast json"))?;
            prefixes
                .extend(table["routes"].as_object().into_iter().flat_map(|routes| routes.keys().cloned()));
        }
        Ok(prefixes)
    }

    /// The paths to a prefix, each from one neighbor.
    pub(crate) fn paths(&self, prefix: &str) -> Result<Vec<Value>> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let route = self.show(&format!("show bgp {family} unicast {prefix} json"))?;
        Ok(route["paths"].as_array().cloned().unwrap_or_default())
    }

    /// Where the traffic for a prefix goes, sorted: the next hops that are no link-local addresses.
    pub(crate) fn next_hops(&self, prefix: &str) -> Result<Vec<String>> {
        let paths = self.paths(prefix)?;
        let hops = paths.iter().flat_map(|path| path["nexthops"].as_array().cloned().unwrap_or_default());
        let mut hops: Vec<String> = hops
            .filter_map(|hop| hop["ip"].as_str().map(str::to_owned))
            .filter(|ip| !ip.starts_with("fe80"))
            .collect();
        hops.sort();
        hops.dedup();
        Ok(hops)
    }

    /// What it knows of a neighbor.
    pub(crate) fn neighbor(&self, address: &str) -> Result<Value> {
        let mut all = self.show("show bgp neighbors json")?;
        Ok(all[address].take())
    }

    /// The neighbors with an established session, sorted.
    pub(crate) fn established(&self) -> Result<BTreeSet<String>> {
        let all = self.show("show bgp neighbors json")?;
        let all = all.as_object().cloned().unwrap_or_default();
        Ok(all.into_iter().filter(|(_, n)| n["bgpState"] == "Established").map(|(name, _)| name).collect())
    }

    /// Waits until it knows exactly these next hops for a prefix.
    pub(crate) fn wait_next_hops(&self, prefix: &str, wanted: &[&str]) -> Result<()> {
        self.wait_next_hops_within(prefix, wanted, SOON)
    }

    /// The same, in a time of one's own.
    pub(crate) fn wait_next_hops_within(&self, prefix: &str, wanted: &[&str], limit: Duration) -> Result<()> {
        wait_for(&format!("{prefix} by {wanted:?}"), limit, || {
            let hops = self.next_hops(prefix)?;
            ensure!(hops == wanted, "next hops {hops:?}; sessions with {:?}", self.established()?);
            Ok(())
        })
    }

    /// Waits until a path to the prefix is as wanted; the path.
    pub(crate) fn wait_path(
        &self,
        prefix: &str,
        what: &str,
        accept: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        wait_for(&format!("{prefix} {what}"), SOON, || {
            let paths = self.paths(prefix)?;
            paths.iter().find(|path| accept(path)).cloned().with_context(|| format!("paths {paths:?}"))
        })
    }

    /// Stops the process, or lets it go on.
    pub(crate) fn signal(&self, cluster: &Cluster, signal: &str) -> Result<()> {
        let pid = fs::read_to_string(self.folder.join("bgpd.pid")).context("reading the process id")?;
        cluster.run("router", &["kill", signal, pid.trim()]).map(drop)
    }
}
