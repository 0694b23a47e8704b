//! Whether the programs may do what they do, and do what they may: by the audit log of all that the suite has had them do.

use anyhow::{Result, ensure};

use crate::audit::{Use, audit, granted};
use crate::support::World;

/// Rights that this suite gives no occasion to use: account, resource (also its subresources), verb (empty for
/// all), and what they are for.
const IDLE: [(&str, &str, &str, &str); 12] = [
    ("controller", "services", "get", "a status that somebody else has written in between"),
    ("controller", "configurationstates", "patch", "a Deployment that was made anew beside it"),
    ("controller", "events", "patch", "a warning that is repeated"),
    ("manager-account", "metallbs/finalizers", "", "an admission plugin that is off here"),
    ("speaker", "events", "patch", "a warning that is repeated"),
    ("speaker", "servicel2statuses", "delete", "a Service that goes to another node"),
    ("speaker", "securitycontextconstraints", "", "OpenShift"),
    ("webhook-server", "tokenreviews", "", "the metrics of the webhook server"),
    ("webhook-server", "subjectaccessreviews", "", "the metrics of the webhook server"),
    ("webhook-server", "secrets", "patch", "a certificate that is renewed"),
    ("webhook-server", "secrets", "get", "a certificate that two replicas renew at once"),
    ("speaker", "servicebgpstatuses", "", "BGP"),
];

pub(crate) fn no_request_is_forbidden_and_every_right_is_used(world: &World) -> Result<()> {
    let audit = audit(&world.cluster)?;
    ensure!(!audit.used.is_empty(), "the audit log has nothing of the programs");
    ensure!(audit.forbidden.is_empty(), "forbidden were: {:#?}", audit.forbidden);
    let idle = |(account, resource, verb): &&Use| {
        let whole = resource.split('/').next().unwrap_or_default();
        IDLE.iter()
            .any(|(a, r, v, _)| a == account && (r == resource || *r == whole) && (v.is_empty() || v == verb))
    };
    let granted = granted()?;
    let unused: Vec<&Use> =
        granted.iter().filter(|right| !audit.used.contains(*right) && !idle(right)).collect();
    println!("{} rights, {} of them used", granted.len(), granted.intersection(&audit.used).count());
    ensure!(unused.is_empty(), "nobody has used: {unused:#?}");
    Ok(())
}
