//! What the MetalLB resource says about BGP: routers that connect, and routes that outlive errors.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::wait_for;
use serde_json::json;

use crate::frr::{Frr, Settings};
use crate::support::{NAMESPACE, ROLLOUT, Room, SOON, World};

/// Where the router of these tests connects from.
const VISITOR: &str = "192.0.2.253";
/// How long routers keep routes over a restart of a speaker.
const RESTART_TIME: Duration = Duration::from_secs(120);

/// Puts both settings in force, where they are not.
fn set(world: &World) -> Result<()> {
    let patch = json!({"spec": {"bgp": {"listen": true, "notificationRestart": true}}}).to_string();
    world.kubectl(&["patch", "metallb", "metallb", "-n", NAMESPACE, "--type=merge", "-p", &patch])?;
    wait_for("the speakers' new flags", SOON, || {
        let set = world.get(&format!("daemonset speaker -n {NAMESPACE}"))?;
        let container = &set["spec"]["template"]["spec"]["containers"][0];
        let arguments = container["args"].to_string();
        ensure!(arguments.contains("--bgp-listen-port=179"), "{arguments}");
        ensure!(arguments.contains("--bgp-notification-restart"), "{arguments}");
        let capabilities = &container["securityContext"]["capabilities"]["add"];
        ensure!(*capabilities == json!(["NET_RAW", "NET_BIND_SERVICE"]), "{capabilities}");
        Ok(())
    })?;
    let timeout = format!("--timeout={}s", ROLLOUT.as_secs());
    world.k(&format!("rollout status daemonset speaker -n {NAMESPACE} {timeout}")).map(drop)
}

/// A router where nobody listens, and which signs, gets its routes by connecting; strangers hear nothing.
pub(crate) fn a_router_may_connect_and_nobody_else(world: &World) -> Result<()> {
    set(world)?;
    let room = Room::new(world, "visitor")?;
    world.cluster.run("router", &["ip", "address", "add", &format!("{VISITOR}/32"), "dev", "eth0"])?;
    let source = format!("neighbor nodes update-source {VISITOR}");
    let lines = [source.as_str(), "neighbor nodes timers connect 1", "neighbor nodes password knock"];
    let settings = Settings { lines: &lines, active: true, neighbors: world.nodes_v4(), ..room.settings() };
    let frr = Frr::start(world, &settings)?;
    room.peer(&json!({"peerAddress": VISITOR, "password": "knock"}))?;
    room.service("visitor", &[room.address(1)], &json!({}))?;
    room.wait_by_all(&frr, &format!("{}/32", room.address(1)))?;
    world.wait_session("node1", "visitor", "True", "established with AS 64513")?;
    // Only at addresses from which routers are reached.
    let sockets = world.cluster.run("node1", &["ss", "-Hltn", "sport = :179"])?;
    ensure!(sockets.contains("192.0.2.11:179"), "{sockets}");
    ensure!(
        !["0.0.0.0:179", "*:179", "[::]:179", "127.0.0.1:179"].iter().any(|any| sockets.contains(any)),
        "{sockets}"
    );
    // The client is no router.
    let words = "exec 3<>/dev/tcp/192.0.2.11/179 && head -c 1 <&3 | wc -c";
    let output = world.cluster.exec("client", &["bash", "-c", words])?;
    let (heard, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(heard.trim() != "1" && error.contains("reset"), "heard {heard} bytes; {error}");
    world.wait_session("node1", "visitor", "True", "established with AS 64513")?;
    // The session ends with the peer, and so does listening for it.
    world.k(&format!("delete bgppeer visitor -n {NAMESPACE}"))?;
    wait_for("the end of the sessions", SOON, || {
        let up = frr.established()?;
        ensure!(up.is_empty(), "{up:?}");
        Ok(())
    })
}

/// A node that stands still keeps its routes at a router that knows RFC 8538 for the restart time, and no longer.
pub(crate) fn routes_of_a_silent_node_outlive_the_hold_time_where_that_is_wanted(
    world: &World,
) -> Result<()> {
    set(world)?;
    let (kept, lost) = (Room::new(world, "outliving")?, Room::new(world, "perishing")?);
    let frr = kept.frr(&["bgp graceful-restart notification"])?;
    let other = lost.frr(&["bgp graceful-restart notification"])?;
    kept.peer(&json!({"holdTime": "3s", "keepaliveTime": "1s", "enableGracefulRestart": true}))?;
    lost.peer(&json!({"holdTime": "3s", "keepaliveTime": "1s"}))?;
    kept.service("outliving", &[kept.address(1)], &json!({}))?;
    lost.service("perishing", &[lost.address(1)], &json!({}))?;
    let (prefix, lost_prefix) = (format!("{}/32", kept.address(1)), format!("{}/32", lost.address(1)));
    kept.wait_by_all(&frr, &prefix)?;
    lost.wait_by_all(&other, &lost_prefix)?;
    let (all, others) = (["192.0.2.11", "192.0.2.12", "192.0.2.13"], ["192.0.2.11", "192.0.2.12"]);
    world.cluster.pause("node3")?;
    let start = Instant::now();
    let result = (|| {
        other.wait_next_hops_within(&lost_prefix, &others, Duration::from_secs(6))?;
        wait_for("the end of the session", Duration::from_secs(6), || {
            let up = frr.established()?;
            ensure!(!up.contains("192.0.2.13"), "{up:?}");
            Ok(())
        })?;
        ensure!(frr.next_hops(&prefix)? == all, "the route went with the session");
        let limit = RESTART_TIME + Duration::from_secs(15);
        frr.wait_next_hops_within(&prefix, &others, limit)
    })();
    world.cluster.resume("node3")?;
    result?;
    let took = start.elapsed();
    println!("outliving: the route of a node that stood still went after {took:.1?}");
    ensure!(took >= RESTART_TIME, "the restart time was not waited for");
    lost.wait_by_all(&other, &lost_prefix)?;
    kept.wait_by_all(&frr, &prefix)
}
