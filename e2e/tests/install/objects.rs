//! All objects that an installation could leave.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::support::{NAMESPACE, World};

/// Kinds of which objects come and go by themselves, some of them with definitions.
const FLEETING: [&str; 3] = ["events", "events.events.k8s.io", "apiservices.apiregistration.k8s.io"];

/// Every object of MetalLB's namespace, and every one in no namespace that has our name: `KIND/NAME`.
pub(crate) fn all(world: &World) -> Result<BTreeSet<String>> {
    let mut found = listed(world, "true", &["-n", NAMESPACE])?;
    let others = listed(world, "false", &[])?;
    found.extend(others.into_iter().filter(|object| object.contains("metallb")));
    Ok(found)
}

fn listed(world: &World, namespaced: &str, place: &[&str]) -> Result<BTreeSet<String>> {
    let kinds =
        world.k(&format!("api-resources --verbs=list --cached=false --namespaced={namespaced} -o name"))?;
    let kinds: Vec<&str> = kinds.lines().filter(|kind| !FLEETING.contains(kind)).collect();
    let kinds = kinds.join(",");
    let objects = world.kubectl(&[&["get", &kinds, "-o", "name", "--ignore-not-found"], place].concat())?;
    Ok(objects.lines().map(str::to_owned).collect())
}
