//! What becomes of routes while a node is drained.

use std::time::Instant;

use anyhow::{Result, ensure};
use e2e::wait_for;
use serde_json::{Value, json};

use crate::frr::Frr;
use crate::support::{ROLLOUT, Room, SOON, World};

const NODE3: &str = "192.0.2.13";

/// The paths by the drained node first carry the community of graceful shutdown (RFC 8326), then they go, within the
/// session; what only this node can serve stays. Afterwards all is as before.
pub(crate) fn routes_of_a_drained_node_are_announced_as_going_and_then_go(world: &World) -> Result<()> {
    let room = Room::new(world, "drained")?;
    let frr = room.frr(&[])?;
    room.peer(&json!({}))?;
    room.service("drained", &[room.address(1)], &json!({}))?;
    pinned(world, "drained-local", "node3")?;
    let local = json!({"externalTrafficPolicy": "Local", "selector": {"app": "drained-local"}});
    room.service("drained-local", &[room.address(2)], &local)?;
    let (prefix, only_here) = (format!("{}/32", room.address(1)), format!("{}/32", room.address(2)));
    room.wait_by_all(&frr, &prefix)?;
    frr.wait_next_hops_within(&only_here, &[NODE3], ROLLOUT)?;
    let before = frr.neighbor(NODE3)?["connectionsEstablished"].clone();
    world.k("annotate node node3 metallb.io/drain=true")?;
    let result = (|| {
        frr.wait_path(&prefix, "as going by node3", |path| is_by_node3(path) && is_going(path))?;
        let announced = Instant::now();
        let others = frr.paths(&prefix)?;
        ensure!(
            others.iter().filter(|path| is_going(path)).count() == 1,
            "only node3 is drained: {others:?}"
        );
        frr.wait_next_hops(&prefix, &["192.0.2.11", "192.0.2.12"])?;
        println!("drained: the route went {:.1?} after it was announced as going", announced.elapsed());
        ensure!(announced.elapsed().as_secs() >= 5, "routers had no time to take other ways");
        wait_for("the status of two nodes", SOON, || {
            let lines = world.announcers("drained")?;
            ensure!(lines == ["node1: drained", "node2: drained"], "{lines:?}");
            Ok(())
        })?;
        stays(&frr, &only_here)?;
        // The Pod moves, and the route with it.
        pinned(world, "drained-local", "node1")?;
        frr.wait_next_hops_within(&only_here, &["192.0.2.11"], ROLLOUT)
    })();
    world.k("annotate node node3 metallb.io/drain-")?;
    result?;
    room.wait_by_all(&frr, &prefix)?;
    frr.wait_path(&prefix, "by node3 as ever", |path| is_by_node3(path) && !is_going(path))?;
    let after = frr.neighbor(NODE3)?["connectionsEstablished"].clone();
    ensure!(before == after, "the session went on: {before} and {after}");
    world.k("delete deployment drained-local")?;
    Ok(())
}

/// A path by node3 that is going is there.
fn stays(frr: &Frr, prefix: &str) -> Result<()> {
    let paths = frr.paths(prefix)?;
    ensure!(paths.len() == 1 && is_by_node3(&paths[0]) && is_going(&paths[0]), "{paths:?}");
    Ok(())
}

fn is_by_node3(path: &Value) -> bool {
    path["nexthops"].as_array().is_some_and(|hops| hops.iter().any(|hop| hop["ip"] == NODE3))
}

fn is_going(path: &Value) -> bool {
    path["community"]["string"].as_str().is_some_and(|text| text.contains("graceful-shutdown"))
}

/// One Pod, on this node.
fn pinned(world: &World, name: &str, node: &str) -> Result<()> {
    world.apply(&json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "nodeSelector": {"kubernetes.io/hostname": node},
                    "containers": [{"name": "pause", "image": "metallb-rs.test/pause:dev", "imagePullPolicy": "IfNotPresent"}],
                },
            },
        },
    }))
}
