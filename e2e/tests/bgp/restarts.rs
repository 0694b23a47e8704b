//! What becomes of routes when a speaker ends, starts again, or stands still.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::wait_for;
use serde_json::json;

use crate::support::{ROLLOUT, Room, SOON, World};

/// With graceful restart the route by the node stays while its speaker is replaced, and the Service answers all the
/// time; without it the route goes at once, and comes back.
pub(crate) fn routes_outlive_a_restart_where_that_is_agreed(world: &World) -> Result<()> {
    let (kept, lost) = (Room::new(world, "graceful")?, Room::new(world, "abrupt")?);
    let (keeping, losing) = (kept.frr(&["bgp graceful-restart"])?, lost.frr(&[])?);
    kept.peer(&json!({"enableGracefulRestart": true}))?;
    lost.peer(&json!({}))?;
    kept.service("graceful", &[kept.address(1)], &json!({}))?;
    lost.service("abrupt", &[lost.address(1)], &json!({}))?;
    let (kept_prefix, lost_prefix) = (format!("{}/32", kept.address(1)), format!("{}/32", lost.address(1)));
    kept.wait_by_all(&keeping, &kept_prefix)?;
    lost.wait_by_all(&losing, &lost_prefix)?;
    let established = || -> Result<i64> {
        keeping.neighbor("192.0.2.11")?["connectionsEstablished"].as_i64().context("a count of sessions")
    };
    let sessions = established()?;
    let pod = world.speaker("node1")?;
    let ended = AtomicBool::new(false);
    let flaps = thread::scope(|scope| -> Result<usize> {
        let watching = scope.spawn(|| -> Result<usize> {
            let mut flaps = 0;
            while !ended.load(Ordering::Relaxed) {
                if !keeping.next_hops(&kept_prefix)?.iter().any(|hop| hop == "192.0.2.11") {
                    flaps += 1;
                }
            }
            Ok(flaps)
        });
        let result = (|| {
            world.k(&format!("delete pod {pod} -n metallb-system --wait=false"))?;
            losing.wait_next_hops(&lost_prefix, &["192.0.2.12", "192.0.2.13"])?;
            lost.wait_by_all(&losing, &lost_prefix)?;
            wait_for("the session of the new speaker", ROLLOUT, || {
                let now = established()?;
                ensure!(
                    now > sessions && keeping.established()?.contains("192.0.2.11"),
                    "{now} sessions so far"
                );
                Ok(())
            })
        })();
        ended.store(true, Ordering::Relaxed);
        let flaps = watching.join().expect("the watch does not panic")?;
        result.map(|()| flaps)
    })?;
    ensure!(flaps == 0, "the route by node1 was away {flaps} times");
    kept.wait_by_all(&keeping, &kept_prefix)
}

/// A speaker that stands still loses its routes at the router within the hold time, and gets them back.
pub(crate) fn the_routes_of_a_speaker_that_stands_still_go_within_the_hold_time(world: &World) -> Result<()> {
    let room = Room::new(world, "still")?;
    let frr = room.frr(&[])?;
    room.peer(&json!({"holdTime": "3s", "keepaliveTime": "1s"}))?;
    room.service("still", &[room.address(1)], &json!({}))?;
    let prefix = format!("{}/32", room.address(1));
    room.wait_by_all(&frr, &prefix)?;
    let signal = |signal: &str| {
        let words = ["sh", "-c", &format!("kill {signal} $(pgrep -x speaker)")];
        world.cluster.run("node3", &words).map(drop)
    };
    signal("-STOP")?;
    let gone = frr.wait_next_hops_within(&prefix, &["192.0.2.11", "192.0.2.12"], Duration::from_secs(6));
    signal("-CONT")?;
    gone?;
    room.wait_by_all(&frr, &prefix)?;
    world.wait_session("node3", "still", "True", "established")?;
    wait_for("an event", SOON, || {
        let events = world.events("BGPPeer", "still")?;
        ensure!(
            events.iter().any(|event| event.contains("sessionDown") && event.contains("node3")),
            "{events:?}"
        );
        Ok(())
    })
}
