//! Writes to the API server, away from the decisions: many at once, none waiting for another.

use std::future::Future;
use std::time::Duration;

use api::{IPAddressPool, IPAddressPoolStatus, names};
use k8s_openapi::api::core::v1 as core;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::action::{Outcome, StatusWrite};
use crate::service::{MISSING_POOL, Service};

/// Why a replica that does not lead writes nothing.
const LEASE_OVER: &str = "the lease of this replica has run out";
/// A write that takes longer has failed, as far as we know. If it arrives after all, the resource version makes the
/// next one a conflict.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes a Service's status and our annotations by one update of `services/status`, which leaves alone what else the
/// object has, known to this program or not. Nothing is written where this
/// replica does not lead (any more).
pub(crate) async fn write_service(client: Client, write: &StatusWrite, leads: impl Fn() -> bool) -> Outcome {
    let services = ApiResource::erase::<core::Service>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client, &write.key.namespace, &services);
    let name = &write.key.name;
    let mut object = match within(api.get_opt(name)).await {
        Ok(Some(object)) => object,
        Ok(None) => return Outcome::Gone,
        Err(why) => return why,
    };
    if object.metadata.uid.as_deref() != Some(&write.uid) {
        return Outcome::Gone;
    }
    if object.metadata.resource_version.as_deref() != Some(&write.resource_version) {
        return Outcome::Conflict;
    }
    edit(&mut object, write);
    if !leads() {
        return Outcome::Failed(LEASE_OVER.to_owned());
    }
    let manager =
        PostParams { field_manager: Some(names::CONTROLLER_COMPONENT.to_owned()), ..PostParams::default() };
    let written = match within(api.replace_status(name, &manager, &object)).await {
        Ok(written) => written,
        Err(why) => return why,
    };
    match reduce(&written) {
        Ok(service) if write.desired.is_shown_by(&service) => Outcome::Done(Box::new(service)),
        Ok(_) => Outcome::Failed(
            "the API server took the update, but the service does not show it: look for an admission webhook that \
             changes services/status"
                .to_owned(),
        ),
        Err(error) => Outcome::Failed(format!("the API server's answer is no Service: {error}")),
    }
}

/// Writes a pool's counters. Nothing is written where this replica does not lead (any more).
pub(crate) async fn write_pool(
    client: Client,
    namespace: &str,
    name: &str,
    status: &IPAddressPoolStatus,
    leads: impl Fn() -> bool,
) -> Result<(), String> {
    if !leads() {
        return Err(LEASE_OVER.to_owned());
    }
    let api: Api<IPAddressPool> = Api::namespaced(client, namespace);
    let patch = Patch::Merge(json!({ "status": status }));
    match within(api.patch_status(name, &PatchParams::default(), &patch)).await {
        Ok(_) | Err(Outcome::Gone) => Ok(()),
        Err(Outcome::Failed(why)) => Err(why),
        Err(other) => Err(format!("{other:?}")),
    }
}

/// Waits for a request, but not for ever; what came of it where it is not the object.
async fn within<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Outcome> {
    match timeout(PATIENCE, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(match status.code {
            404 => Outcome::Gone,
            409 => Outcome::Conflict,
            _ => Outcome::Failed(status.message.clone()),
        }),
        Ok(Err(error)) => Err(Outcome::Failed(error.to_string())),
        Err(_) => {
            Err(Outcome::Failed(format!("the API server did not answer within {} s", PATIENCE.as_secs())))
        }
    }
}

/// Puts what is desired into the object.
fn edit(object: &mut DynamicObject, write: &StatusWrite) {
    let desired = &write.desired;
    let annotations = object.metadata.annotations.get_or_insert_default();
    for (key, value) in [(names::ALLOCATED_FROM_POOL, &desired.pool), (MISSING_POOL, &desired.missing_pool)] {
        match value {
            Some(value) => annotations.insert(key.to_owned(), value.clone()),
            None => annotations.remove(key),
        };
    }
    if write.ingress {
        let ingress: Vec<Value> = desired.addresses.iter().map(|address| json!({ "ip": address })).collect();
        let balancer = if ingress.is_empty() { json!({}) } else { json!({ "ingress": ingress }) };
        if !object.data["status"].is_object() {
            object.data["status"] = json!({});
        }
        object.data["status"]["loadBalancer"] = balancer;
    }
}

fn reduce(object: &DynamicObject) -> serde_json::Result<Service> {
    let object: core::Service = serde_json::from_value(serde_json::to_value(object)?)?;
    Ok(Service::reduce(object))
}

#[cfg(test)]
mod tests;
