//! One address or one of each family.

use anyhow::{Result, ensure};

use crate::support::{Room, World};

const PREFER: &str = "ipFamilyPolicy: PreferDualStack";
const REQUIRE: &str = "ipFamilyPolicy: RequireDualStack";

/// Who prefers both has one where a pool has no more, and the other as soon as the pool grows.
pub(crate) fn a_second_address_is_added_when_the_pool_grows(world: &World) -> Result<()> {
    let room = Room::enter(world, "grows", 21)?;
    room.pools(&[("a", &[room.v4s(1, 9)], "")])?;
    room.services(&[("prefers", "", PREFER), ("requires", "", REQUIRE)])?;
    room.wait_from("prefers", &[room.v4(1)], "a")?;
    let lacking =
        "cannot assign additional IP in PreferDualStack: no available IPs in pool grows-a for ipv6 IPFamily";
    room.wait_event("prefers", "Normal", "AdditionalAssignFailed", lacking)?;
    room.wait_refused("requires", "no available IPs")?;
    world.apply(&[room.pool("a", &[room.v4s(1, 9), room.v6s(1, 9)], "")])?;
    room.wait_has("requires", &[room.v4(2), room.v6(2)])?;
    room.wait_has("prefers", &[room.v4(1), room.v6(1)])?;
    let added = format!("Assigned additional IP \"{}\"", room.v6(1));
    room.wait_event("prefers", "Normal", "IPAllocated", &added).map(drop)
}

/// A pool that loses one family: both addresses go, and what can be had of the rest comes.
pub(crate) fn a_pool_that_loses_a_family_takes_both_addresses(world: &World) -> Result<()> {
    let room = Room::enter(world, "shrinks", 22)?;
    room.pools(&[("a", &[room.v4s(1, 9), room.v6s(1, 9)], "")])?;
    room.services(&[("prefers", "", PREFER)])?;
    room.wait_has("prefers", &[room.v4(1), room.v6(1)])?;
    room.services(&[("requires", "", REQUIRE)])?;
    room.wait_has("requires", &[room.v4(2), room.v6(2)])?;
    world.apply(&[room.pool("a", &[room.v4s(1, 9)], "")])?;
    for (service, last) in [("prefers", 1), ("requires", 2)] {
        let why = format!(r#"["{}" "{}"] is not allowed in config"#, room.v4(last), room.v6(last));
        room.wait_displaced(service, &why)?;
    }
    room.wait_refused("requires", "no available IPs")?;
    room.wait_cleared("requires")?;
    room.wait_has("prefers", &[room.v4(1)])
}

/// The policy may change in every direction: an address is added or given back, and the other one stays.
pub(crate) fn the_policy_of_families_may_change_in_every_direction(world: &World) -> Result<()> {
    let room = Room::enter(world, "switches", 23)?;
    room.pools(&[("a", &[room.v4s(1, 9), room.v6s(1, 9)], "")])?;
    room.services(&[("web", "", "ipFamilyPolicy: SingleStack, ipFamilies: [IPv6]"), ("four", "", "")])?;
    room.wait_has("web", &[room.v6(1)])?;
    room.wait_has("four", &[room.v4(1)])?;
    let (one, both) = (vec![room.v6(1)], vec![room.v4(2), room.v6(1)]);
    for (policy, expected, used) in [
        ("PreferDualStack", &both, [2, 1]),
        ("RequireDualStack", &both, [2, 1]),
        ("SingleStack", &one, [1, 1]),
        ("RequireDualStack", &both, [2, 1]),
        ("PreferDualStack", &both, [2, 1]),
        ("SingleStack", &one, [1, 1]),
    ] {
        room.patch("web", &format!(r#"{{"spec": {{"ipFamilyPolicy": "{policy}"}}}}"#))?;
        room.wait_has("web", expected)?;
        room.wait_counters("a", [used[0], used[1], 9 - used[0], 9 - used[1]])?;
    }
    Ok(())
}

/// Both addresses come from one pool; where none has both, the first family of the Service decides.
pub(crate) fn the_first_family_decides_where_no_pool_has_both(world: &World) -> Result<()> {
    let room = Room::enter(world, "primary", 24)?;
    room.pools(&[("a", &[room.v4s(1, 9)], ""), ("b", &[room.v6s(1, 9)], "")])?;
    let six = "ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv6, IPv4]";
    room.services(&[("four", "", PREFER), ("six", "", six), ("requires", "", REQUIRE)])?;
    room.wait_from("four", &[room.v4(1)], "a")?;
    room.wait_from("six", &[room.v6(1)], "b")?;
    room.wait_refused("requires", "no available IPs")?;
    room.pools(&[("c", &[room.v4s(11, 19), room.v6s(17, 19)], "")])?;
    room.wait_from("requires", &[room.v4(11), room.v6(17)], "c")?;
    // A new pool moves nobody who has what was to be had.
    ensure!(room.has("four")? == [room.v4(1)] && room.has("six")? == [room.v6(1)]);
    Ok(())
}
