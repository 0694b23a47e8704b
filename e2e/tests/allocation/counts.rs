//! What is counted: in the status of pools and in the controller's metrics.

use anyhow::{Context, Result, ensure};
use e2e::wait_for;

use crate::mirror::text;
use crate::support::{Room, SOON, World};

/// The counters of a pool follow what is given and what its pool has; a shared address counts once, its Services each.
pub(crate) fn pools_and_metrics_count_what_is_given(world: &World) -> Result<()> {
    let room = Room::enter(world, "counted", 51)?;
    room.pools(&[("a", &[room.v4s(1, 10), room.v6s(1, 4)], "")])?;
    room.wait_counters("a", [0, 0, 10, 4])?;
    let key = "annotations: {metallb.io/allow-shared-ip: k}";
    let both = "ipFamilyPolicy: RequireDualStack, ports: [{port: 1}]";
    room.services(&[("both", key, both), ("shares", key, "ports: [{port: 2}]"), ("alone", "", "")])?;
    room.wait_counters("a", [2, 1, 8, 3])?;
    let token = token(world)?;
    wait_metrics(world, &token, [14, 10, 4, 3, 2, 1, 3])?;
    world.apply(&[room.pool("a", &[room.v4s(1, 20), room.v6s(1, 4)], "")])?;
    room.wait_counters("a", [2, 1, 18, 3])?;
    room.delete("shares")?;
    wait_metrics(world, &token, [24, 20, 4, 3, 2, 1, 2])?;
    room.delete("both")?;
    room.delete("alone")?;
    room.wait_counters("a", [0, 0, 20, 4])?;
    wait_metrics(world, &token, [24, 20, 4, 0, 0, 0, 0])?;
    room.delete_pool("a")?;
    wait_for("the pool to be gone from the metrics", SOON, || {
        let metrics = scrape(world, &token)?;
        ensure!(!metrics.contains("counted-a"), "{metrics}");
        Ok(())
    })
}

/// Waits for the metrics of the pool: all addresses, of IPv4, of IPv6; the same of those in use; the Services.
fn wait_metrics(world: &World, token: &str, expected: [u32; 7]) -> Result<()> {
    wait_for(&format!("metrics {expected:?}"), SOON, || {
        let metrics = scrape(world, token)?;
        let names = [
            "addresses_total",
            "ipv4_addresses_total",
            "ipv6_addresses_total",
            "addresses_in_use_total",
            "ipv4_addresses_in_use_total",
            "ipv6_addresses_in_use_total",
            "services_allocated_total",
        ];
        for (name, value) in names.iter().zip(expected) {
            let line = format!("metallb_allocator_{name}{{pool=\"counted-a\"}} {value}");
            ensure!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
        }
        Ok(())
    })
}

/// A token that may read metrics.
fn token(world: &World) -> Result<String> {
    world.apply(&[
        "{apiVersion: v1, kind: ServiceAccount, metadata: {name: scraper, namespace: counted}}".to_owned(),
        "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: scraper}, \
         rules: [{nonResourceURLs: [/metrics], verbs: [get]}]}"
            .to_owned(),
        "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: scraper}, \
         roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: scraper}, \
         subjects: [{kind: ServiceAccount, name: scraper, namespace: counted}]}"
            .to_owned(),
    ])?;
    Ok(world.k("create token scraper -n counted")?.trim().to_owned())
}

/// The controller's metrics of the allocator.
fn scrape(world: &World, token: &str) -> Result<String> {
    let address = world.mirror.look(|state| {
        let controllers = World::controllers(state);
        controllers.first().map(|(_, pod)| text(&pod["status"]["podIP"])).context("no controller")
    })?;
    let (url, header) = (format!("https://{address}:9120/metrics"), format!("Authorization: Bearer {token}"));
    let all = world.cluster.run("node1", &["curl", "-fsk", "-m", "5", "-H", &header, &url])?;
    Ok(all
        .lines()
        .filter(|line| line.starts_with("metallb_allocator_"))
        .map(|line| format!("{line}\n"))
        .collect())
}
