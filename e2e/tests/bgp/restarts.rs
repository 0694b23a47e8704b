//! What becomes of routes when a speaker ends, starts again, or stands still.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::wait_for;
use serde_json::json;

use crate::others::Bird;
use crate::support::{ROLLOUT, Room, SOON, World};

/// With graceful restart the route by the node stays while its speaker is replaced; without it the route goes at once, and
/// comes back.
pub(crate) fn routes_outlive_a_restart_where_that_is_agreed(world: &World) -> Result<()> {
    let (kept, lost) = (Room::new(world, "graceful")?, Room::new(world, "abrupt")?);
    // FRR 8.4 now and then closes a connection that comes about a second after the one before, so BIRD it is.
    let bird = Bird::start(world, "graceful", kept.port(), &world.nodes_v4(), false)?;
    let frr = lost.frr(&[])?;
    kept.peer(&json!({"enableGracefulRestart": true}))?;
    lost.peer(&json!({}))?;
    kept.service("graceful", &[kept.address(1)], &json!({}))?;
    lost.service("abrupt", &[lost.address(1)], &json!({}))?;
    let prefix = format!("{}/32", lost.address(1));
    lost.wait_by_all(&frr, &prefix)?;
    let by_node1 = || -> Result<bool> {
        Ok(bird.ask(&format!("show route for {}", kept.address(1)))?.contains("via 192.0.2.11"))
    };
    wait_for("the route by node1", SOON, || {
        ensure!(by_node1()?, "{}", bird.ask("show protocols")?);
        Ok(())
    })?;
    let pod = world.speaker("node1")?;
    let ended = AtomicBool::new(false);
    let (gone, lost_once) = thread::scope(|scope| -> Result<(usize, bool)> {
        let watching = scope.spawn(|| -> Result<(usize, bool)> {
            let (mut gone, mut lost_once) = (0, false);
            while !ended.load(Ordering::Relaxed) {
                gone += usize::from(!by_node1()?);
                lost_once |= !frr.next_hops(&prefix)?.iter().any(|hop| hop == "192.0.2.11");
            }
            Ok((gone, lost_once))
        });
        let result = (|| {
            world.k(&format!("delete pod {pod} -n metallb-system --wait=false"))?;
            wait_for("a new speaker with a session", ROLLOUT, || {
                ensure!(world.speaker("node1")? != pod, "the old one is there");
                let details = bird.ask("show protocols all node0")?;
                ensure!(details.contains("Established") && !details.contains("stale"), "{details}");
                Ok(())
            })?;
            lost.wait_by_all(&frr, &prefix)
        })();
        ended.store(true, Ordering::Relaxed);
        let seen = watching.join().expect("the watch does not panic")?;
        result.map(|()| seen)
    })?;
    ensure!(gone == 0, "the route by node1 was away {gone} times");
    ensure!(lost_once, "without graceful restart the route goes");
    ensure!(by_node1()?, "the route is there after all");
    Ok(())
}

/// A speaker that stands still loses its routes at the router within the hold time, and gets them back. So it is with graceful
/// restart, too: without RFC 8538 routes do not outlive the router's NOTIFICATION.
pub(crate) fn the_routes_of_a_speaker_that_stands_still_go_within_the_hold_time(world: &World) -> Result<()> {
    let (room, kept) = (Room::new(world, "still")?, Room::new(world, "still-graceful")?);
    let (frr, helper) = (room.frr(&[])?, kept.frr(&[])?);
    room.peer(&json!({"holdTime": "3s", "keepaliveTime": "1s"}))?;
    kept.peer(&json!({"holdTime": "3s", "keepaliveTime": "1s", "enableGracefulRestart": true}))?;
    room.service("still", &[room.address(1)], &json!({}))?;
    kept.service("still-graceful", &[kept.address(1)], &json!({}))?;
    let (prefix, kept_prefix) = (format!("{}/32", room.address(1)), format!("{}/32", kept.address(1)));
    room.wait_by_all(&frr, &prefix)?;
    kept.wait_by_all(&helper, &kept_prefix)?;
    let signal = |signal: &str| {
        let words = ["sh", "-c", &format!("kill {signal} $(pgrep -x speaker)")];
        world.cluster.run("node3", &words).map(drop)
    };
    signal("-STOP")?;
    let others = ["192.0.2.11", "192.0.2.12"];
    let gone = frr.wait_next_hops_within(&prefix, &others, Duration::from_secs(6));
    let gone =
        gone.and_then(|()| helper.wait_next_hops_within(&kept_prefix, &others, Duration::from_secs(3)));
    signal("-CONT")?;
    gone?;
    room.wait_by_all(&frr, &prefix)?;
    kept.wait_by_all(&helper, &kept_prefix)?;
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
