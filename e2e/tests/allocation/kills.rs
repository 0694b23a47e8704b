//! The controller is killed, over and over, while Services come and go.

use std::env;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::churn;
use crate::mirror::{Shown, State, text};
use crate::support::{Room, World, container, writer};

/// How often the controller is killed where the environment does not say otherwise.
const KILLS: usize = 10;
/// How often it is killed, in the environment.
const KILLS_VARIABLE: &str = "E2E_KILLS";
/// How long a killed container may take to be back at work.
const RESTART: Duration = Duration::from_secs(60);

/// A controller that starts where all is as it shall be writes to no Service and no pool.
pub(crate) fn a_controller_that_starts_at_rest_writes_nothing(world: &World) -> Result<()> {
    let room = Room::enter(world, "rest", 70)?;
    room.pools(&[("a", &[room.v4s(1, 9), room.v6s(1, 9)], "")])?;
    room.services(&[("one", "", ""), ("both", "", "ipFamilyPolicy: RequireDualStack")])?;
    room.wait_has("one", &[room.v4(1)])?;
    room.wait_any("both")?;
    room.wait_counters("a", [2, 1, 7, 8])?;
    // In the audit log, this parts what was before from what comes after.
    world.k("label namespace rest settled=yes")?;
    replace_container(world)?;
    // Who serves this has decided about all that was there before.
    room.services(&[("last", "", "")])?;
    room.wait_any("last")?;
    room.wait_counters("a", [3, 1, 6, 8])?;
    let audited = world.audited()?;
    let object =
        |entry: &Value| text(&entry["objectRef"]["resource"]) + "/" + &text(&entry["objectRef"]["name"]);
    let received = |entry: &Value| text(&entry["requestReceivedTimestamp"]);
    let settled = audited.iter().rfind(|entry| object(entry) == "namespaces/rest").map(received);
    let settled = settled.context("the audit log has no label of the namespace")?;
    let written =
        audited.iter().filter(|entry| writer(entry).starts_with("controller-") && received(entry) > settled);
    let mut to: Vec<String> = written
        .map(object)
        .filter(|object| object.starts_with("services/") || object.starts_with("ipaddresspools/"))
        .collect();
    to.sort_unstable();
    ensure!(to == ["ipaddresspools/rest-a", "services/last"], "{to:?}");
    Ok(())
}

/// Whenever the controller is killed, no address is lost and none doubled.
pub(crate) fn no_address_is_lost_or_doubled_when_the_controller_is_killed(world: &World) -> Result<()> {
    let kills = match env::var(KILLS_VARIABLE) {
        Ok(text) => text.parse().with_context(|| format!("{KILLS_VARIABLE} is {text:?}, no number"))?,
        Err(_) => KILLS,
    };
    let room = Room::enter(world, "kills", 71)?;
    let survived = churn::survive(&room, || (0..kills).try_for_each(|number| kill(&room, number)))?;
    println!("{kills} kills, {survived}");
    Ok(())
}

/// Kills the controller in the midst of its work: after it has written as many statuses as `number` says, from none to
/// several.
fn kill(room: &Room<'_>, number: usize) -> Result<()> {
    let mirror = &room.world.mirror;
    mirror.wait("a controller to run", RESTART, running)?;
    let seen = mirror.look(|state| state.log.len());
    mirror.wait("the controller to work", RESTART, |state| {
        let given =
            |shown: &&Shown| shown.service.0 == room.name && !shown.deleted && !shown.addresses.is_empty();
        let writes = state.log[seen..].iter().filter(given).count();
        ensure!(writes >= number % 6, "{writes} addresses given");
        Ok(())
    })?;
    replace_container(room.world)
}

/// Kills the controller and waits for another container.
fn replace_container(world: &World) -> Result<()> {
    let id = world.mirror.wait("a controller to run", RESTART, running)?;
    world.signal(&id, "SIGKILL")?;
    world.mirror.wait("another container", RESTART, |state| {
        let now = running(state)?;
        ensure!(now != id, "{id} still runs");
        Ok(())
    })
}

/// The container in which the controller runs.
fn running(state: &State) -> Result<String> {
    let pods = World::controllers(state);
    pods.iter().find_map(|(_, pod)| container(pod)).context("no controller runs")
}
