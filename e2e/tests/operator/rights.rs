//! Whether the programs may do what they do, and do what they may: by the audit log of all that the suite has had them do.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::support::{NAMESPACE, World, file};

/// The files with roles, and the account that each is of.
const ROLES: [(&str, &str); 5] = [
    ("controller.yaml", "controller"),
    ("operator.yaml", "manager-account"),
    ("speaker.yaml", "speaker"),
    ("webhook-certificate.yaml", "webhook-server"),
    ("webhook-server.yaml", "webhook-server"),
];

/// Rights that this suite gives no occasion to use: account, resource (also its subresources), verb (empty for
/// all), and what they are for.
const IDLE: [(&str, &str, &str, &str); 14] = [
    ("controller", "services", "get", "a status that somebody else has written in between"),
    ("controller", "configurationstates", "patch", "a Deployment that was made anew beside it"),
    ("controller", "events", "patch", "a warning that is repeated"),
    ("manager-account", "metallbs/finalizers", "", "an admission plugin that is off here"),
    ("manager-account", "podmonitors", "", "PodMonitors, whose definition is not here"),
    ("manager-account", "nodes", "", "a node that is not ready"),
    ("speaker", "events", "patch", "a warning that is repeated"),
    ("speaker", "servicel2statuses", "delete", "a Service that goes to another node"),
    ("speaker", "securitycontextconstraints", "", "OpenShift"),
    ("webhook-server", "tokenreviews", "", "the metrics of the webhook server"),
    ("webhook-server", "subjectaccessreviews", "", "the metrics of the webhook server"),
    ("webhook-server", "secrets", "patch", "a certificate that is renewed"),
    ("webhook-server", "secrets", "get", "a certificate that two replicas renew at once"),
    ("speaker", "servicebgpstatuses", "", "BGP"),
];

/// A use of a right: account, resource with its subresource, verb.
type Use = (String, String, String);

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn resource(reference: &Value) -> String {
    match reference["subresource"].as_str() {
        Some(sub) => format!("{}/{sub}", text(&reference["resource"])),
        None => text(&reference["resource"]),
    }
}

/// What the roles in the project's files allow.
fn granted() -> Result<BTreeSet<Use>> {
    let mut granted = BTreeSet::new();
    for (name, account) in ROLES {
        let path = file("../config/rbac").join(name);
        let roles = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        for document in roles.split("\n---\n") {
            let role: Value = serde_saphyr::from_str(document)?;
            for rule in role["rules"].as_array().into_iter().flatten() {
                for resource in rule["resources"].as_array().into_iter().flatten() {
                    for verb in rule["verbs"].as_array().into_iter().flatten() {
                        granted.insert((account.to_owned(), text(resource), text(verb)));
                    }
                }
            }
        }
    }
    Ok(granted)
}

pub(crate) fn no_request_is_forbidden_and_every_right_is_used(world: &World) -> Result<()> {
    let log = world.cluster.instance().logs().join("control-plane/audit.log");
    let log = fs::read_to_string(&log).with_context(|| format!("reading {}", log.display()))?;
    let prefix = format!("system:serviceaccount:{NAMESPACE}:");
    let (mut used, mut forbidden) = (BTreeSet::new(), BTreeSet::new());
    for line in log.lines() {
        let entry: Value = serde_json::from_str(line)?;
        let account = text(&entry["user"]["username"]);
        let Some(account) = account.strip_prefix(&prefix) else { continue };
        let (resource, verb) = (resource(&entry["objectRef"]), text(&entry["verb"]));
        if entry["responseStatus"]["code"] == 403 && account != "default" {
            forbidden.insert(format!(
                "{account}: {verb} {resource} {}: {}",
                entry["objectRef"]["name"], entry["responseStatus"]["message"]
            ));
        }
        // An apply of what is not there yet is a creation, too.
        if verb == "patch" {
            used.insert((account.to_owned(), resource.clone(), "create".to_owned()));
        }
        used.insert((account.to_owned(), resource, verb));
    }
    ensure!(!used.is_empty(), "the audit log has nothing of the programs");
    ensure!(
        forbidden.is_empty(),
        "forbidden were:\n{}",
        forbidden.into_iter().collect::<Vec<_>>().join("\n")
    );
    let idle = |(account, resource, verb): &&Use| {
        let whole = resource.split('/').next().unwrap_or_default();
        IDLE.iter()
            .any(|(a, r, v, _)| a == account && (r == resource || *r == whole) && (v.is_empty() || v == verb))
    };
    let granted = granted()?;
    let unused: Vec<&Use> = granted.iter().filter(|right| !used.contains(*right) && !idle(right)).collect();
    println!("{} rights, {} of them used", granted.len(), granted.intersection(&used).count());
    ensure!(unused.is_empty(), "nobody has used: {unused:#?}");
    Ok(())
}
