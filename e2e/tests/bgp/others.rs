//! BIRD and GoBGP as routers on the host `router`, and the tests with them.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::{Spawned, wait_for};
use serde_json::{Value, json};

use crate::support::{ROUTER_V6, Room, SOON, World};

/// A running BIRD.
pub(crate) struct Bird {
    socket: PathBuf,
    _process: Spawned,
}

impl Bird {
    /// Starts a BIRD with neighbors of another AS at these addresses. `kernel`: it puts what it learns into the kernel of
    /// the host, by all next hops (ECMP).
    pub(crate) fn start(
        world: &World,
        name: &str,
        port: u16,
        neighbors: &[String],
        kernel: bool,
    ) -> Result<Self> {
        let cluster = &world.cluster;
        let socket = world.zebra.sockets(name)?.join("bird.ctl");
        let folder = cluster.instance().logs().join("routers").join(name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let mut text = format!(
            "log \"{}/log\" all;\nrouter id 192.0.2.254;\nprotocol device {{ scan time 2; }}\n",
            folder.display()
        );
        for family in ["ipv4", "ipv6"].into_iter().filter(|_| kernel) {
            text +=
                &format!("protocol kernel {{ {family} {{ export all; import none; }}; merge paths yes; }}\n");
        }
        for (i, neighbor) in neighbors.iter().enumerate() {
            text += &format!(
                "protocol bgp node{i} {{\n  local port {port} as 64513;\n  neighbor {neighbor} as 64512;\n  passive;\n  \
                 ipv4 {{ import all; export none; }};\n  ipv6 {{ import all; export none; }};\n}}\n"
            );
        }
        fs::write(folder.join("bird.conf"), text).context("writing bird.conf")?;
        let file = |name: &str| folder.join(name).display().to_string();
        let words = [
            "bird",
            "-f",
            "-c",
            &file("bird.conf"),
            "-s",
            &socket.display().to_string(),
            "-P",
            &file("bird.pid"),
        ];
        let process = cluster.spawn("router", &words, &folder.join("output"))?;
        let bird = Self { socket, _process: process };
        wait_for("an answer of BIRD", SOON, || bird.ask("show status"))?;
        Ok(bird)
    }

    /// What BIRD answers.
    pub(crate) fn ask(&self, command: &str) -> Result<String> {
        let output = Command::new("birdc").arg("-s").arg(&self.socket).arg(command).output();
        let output = output.context("starting birdc")?;
        ensure!(output.status.success(), "birdc {command}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// A running GoBGP.
struct Gobgp {
    api: String,
    _process: Spawned,
}

impl Gobgp {
    fn start(room: &Room<'_>, neighbors: &[String]) -> Result<Self> {
        let cluster = &room.world.cluster;
        let folder = cluster.instance().logs().join("routers").join(room.name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let mut text = format!(
            "[global.config]\n  as = 64513\n  router-id = \"192.0.2.254\"\n  port = {}\n",
            room.port()
        );
        for neighbor in neighbors {
            text += &format!(
                "[[neighbors]]\n  [neighbors.config]\n    neighbor-address = \"{neighbor}\"\n    peer-as = 64512\n  \
                 [neighbors.transport.config]\n    passive-mode = true\n"
            );
            for family in ["ipv4-unicast", "ipv6-unicast"] {
                text += &format!(
                    "  [[neighbors.afi-safis]]\n    [neighbors.afi-safis.config]\n      afi-safi-name = \"{family}\"\n"
                );
            }
        }
        let file = folder.join("gobgpd.toml");
        fs::write(&file, text).context("writing gobgpd.toml")?;
        let api = "127.0.0.1:50051".to_owned();
        let words = ["gobgpd", "-f", &file.display().to_string(), "--api-hosts", &api];
        let process = cluster.spawn("router", &words, &folder.join("output"))?;
        Ok(Self { api, _process: process })
    }

    /// The paths to a prefix.
    fn paths(&self, world: &World, family: &str, prefix: &str) -> Result<Vec<Value>> {
        let (host, port) = self.api.split_once(':').context("host and port")?;
        let words = ["gobgp", "-u", host, "-p", port, "-j", "global", "rib", "-a", family, prefix];
        let text = world.cluster.run("router", &words)?;
        let found: Value = serde_json::from_str(&text).with_context(|| format!("gobgp printed {text}"))?;
        let paths = match &found {
            Value::Array(paths) => paths.clone(),
            Value::Object(prefixes) => {
                prefixes.values().filter_map(Value::as_array).flatten().cloned().collect()
            }
            _ => Vec::new(),
        };
        Ok(paths)
    }
}

/// The tutorial of BGP: the route is in the router's kernel by all nodes, and the client reaches Pods on all of them.
pub(crate) fn a_client_reaches_pods_on_all_nodes_through_bird(world: &World) -> Result<()> {
    let room = Room::new(world, "bird")?;
    for family in ["ipv4", "ipv6"] {
        // The path is chosen by ports, too: by addresses alone one client would always come by one node.
        let setting = format!("net.{family}.fib_multipath_hash_policy=1");
        world.cluster.run("router", &["sysctl", "-qw", &setting])?;
    }
    let bird = Bird::start(world, "bird", room.port(), &world.nodes_v4(), true)?;
    room.peer(&json!({"dualStackAddressFamily": true}))?;
    room.service("bird", &[room.address(1), room.address_v6(1)], &json!({"externalTrafficPolicy": "Local"}))?;
    for address in [room.address(1), room.address_v6(1)] {
        let family = if address.contains(':') { "-6" } else { "-4" };
        wait_for(&format!("the route to {address} by all nodes"), SOON, || {
            let table = world.cluster.run("router", &["ip", family, "route", "show", &address])?;
            let hops = table.matches("via ").count();
            ensure!(hops == 3, "{table}; BIRD: {}", bird.ask("show protocols")?);
            Ok(())
        })?;
        wait_for(&format!("answers from all nodes through {address}"), SOON, || {
            let mut nodes = BTreeSet::new();
            for _ in 0..24 {
                let answer = world.fetch(&address)?;
                let node = answer.split_whitespace().find_map(|word| word.strip_prefix("node="));
                nodes.insert(node.context("an answer names its node")?.to_owned());
            }
            ensure!(nodes.len() == 3, "only {nodes:?} answered");
            Ok(())
        })?;
    }
    world.k("delete service bird")?;
    wait_for("the routes to go", SOON, || {
        let table = world.cluster.run("router", &["ip", "route", "show", &room.address(1)])?;
        ensure!(table.is_empty(), "{table}");
        Ok(())
    })
}

/// The next hops of IPv6 routes over a session of IPv4 are of the interface; communities of both kinds arrive.
pub(crate) fn gobgp_takes_both_families_with_communities(world: &World) -> Result<()> {
    let room = Room::bare(world, "gobgp")?;
    room.advertise("gobgp", &json!({"communities": ["64512:77", "large:64512:1:2"]}))?;
    let gobgp = Gobgp::start(&room, &world.nodes_v6())?;
    room.peer(&json!({"peerAddress": ROUTER_V6, "dualStackAddressFamily": true}))?;
    room.service("gobgp", &[room.address(1), room.address_v6(1)], &json!({}))?;
    for (family, prefix) in
        [("ipv4", format!("{}/32", room.address(1))), ("ipv6", format!("{}/128", room.address_v6(1)))]
    {
        wait_for(&format!("{prefix} by all nodes"), SOON, || {
            let paths = gobgp.paths(world, family, &prefix)?;
            ensure!(paths.len() == 3, "paths {paths:?}");
            let text = Value::Array(paths).to_string();
            // 64512:77 as one number.
            ensure!(text.contains("4227858509"), "no community: {text}");
            ensure!(
                text.contains("\"LocalData1\":1") || text.contains("64512:1:2"),
                "no large community: {text}"
            );
            Ok(())
        })?;
    }
    Ok(())
}
