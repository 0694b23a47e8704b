//! What the programs have asked the API server for, by its audit log, beside what their roles allow. The cluster has to
//! log reads, too.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use e2e::Cluster;
use serde_json::Value;

/// The namespace of the programs' accounts.
const NAMESPACE: &str = "metallb-system";
/// The files with roles, and the account that each is of.
const ROLES: [(&str, &str); 5] = [
    ("controller.yaml", "controller"),
    ("operator.yaml", "manager-account"),
    ("speaker.yaml", "speaker"),
    ("webhook-certificate.yaml", "webhook-server"),
    ("webhook-server.yaml", "webhook-server"),
];

/// A use of a right: account, resource with its subresource, verb.
pub(crate) type Use = (String, String, String);

/// What the audit log says.
pub(crate) struct Audit {
    /// What has been done.
    pub(crate) used: BTreeSet<Use>,
    /// What was asked for and refused, as sentences.
    pub(crate) forbidden: BTreeSet<String>,
}

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
pub(crate) fn granted() -> Result<BTreeSet<Use>> {
    let mut granted = BTreeSet::new();
    for (name, account) in ROLES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/rbac").join(name);
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

/// Reads the audit log of all that the programs have asked for.
pub(crate) fn audit(cluster: &Cluster) -> Result<Audit> {
    let log = cluster.instance().logs().join("control-plane/audit.log");
    let log = fs::read_to_string(&log).with_context(|| format!("reading {}", log.display()))?;
    let prefix = format!("system:serviceaccount:{NAMESPACE}:");
    let (mut used, mut forbidden) = (BTreeSet::new(), BTreeSet::new());
    // The last line may be half written.
    for entry in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
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
    Ok(Audit { used, forbidden })
}
