//! Whether the speakers may do what BGP takes, and use what they may for it: by the audit log of all that the suite has had
//! them do.

use anyhow::{Result, ensure};

use crate::audit::{Use, audit, granted};
use crate::support::World;

pub(crate) fn no_request_is_forbidden_and_the_rights_for_bgp_are_used(world: &World) -> Result<()> {
    let audit = audit(&world.cluster)?;
    ensure!(audit.forbidden.is_empty(), "forbidden were: {:#?}", audit.forbidden);
    let granted = granted()?;
    let of_bgp =
        |(account, resource, _): &&Use| account == "speaker" && resource.starts_with("servicebgpstatuses");
    let (used, unused): (Vec<&Use>, Vec<&Use>) =
        granted.iter().filter(of_bgp).partition(|&right| audit.used.contains(right));
    ensure!(!used.is_empty(), "the speakers have no rights to servicebgpstatuses");
    ensure!(unused.is_empty(), "nobody has used: {unused:#?}");
    Ok(())
}
