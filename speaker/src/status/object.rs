//! The kinds of status objects.

use std::fmt::Debug;

use api::{ServiceBGPStatus, ServiceL2Status, names};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::core::{StatusView, Why};
use announce::ServiceKey;

/// A kind of object that says that a node announces a Service.
pub trait StatusObject:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// The kind's name, for people.
    const KIND: &'static str;
    /// What the names of the objects begin with.
    const PREFIX: &'static str;
    /// Whether only one node may announce a Service: the object of another one is not true any more.
    const ONE_NODE: bool;

    /// An object without a status.
    fn bare(metadata: ObjectMeta) -> Self;

    /// The fields of the status beside node and Service, by name, with these interfaces or peers in them and why the
    /// node announces the Service.
    fn details(names: &[String], why: Option<&Why>) -> Vec<(&'static str, Value)>;

    /// What matters of an object.
    fn view(&self) -> StatusView;
}

impl StatusObject for ServiceL2Status {
    const KIND: &'static str = "ServiceL2Status";
    const PREFIX: &'static str = "l2";
    const ONE_NODE: bool = true;

    fn bare(metadata: ObjectMeta) -> Self {
        Self { metadata, ..Self::default() }
    }

    fn details(names: &[String], why: Option<&Why>) -> Vec<(&'static str, Value)> {
        let interfaces = names.iter().map(|name| json!({ "name": name })).collect();
        let cause = json!(why.map(|why| &why.cause));
        // What is not so any more has to be named to be removed.
        let former = json!(why.and_then(|why| why.former.as_ref()));
        vec![("interfaces", interfaces), ("cause", cause), ("formerNode", former)]
    }

    fn view(&self) -> StatusView {
        let status = self.status.clone().unwrap_or_default();
        let names = status.interfaces.into_iter().filter_map(|interface| interface.name).collect();
        let why = status.cause.map(|cause| Why { cause, former: status.former_node });
        let said = [status.node, status.service_namespace, status.service_name];
        StatusView { why, ..view(&self.metadata, &said, names) }
    }
}

impl StatusObject for ServiceBGPStatus {
    const KIND: &'static str = "ServiceBGPStatus";
    const PREFIX: &'static str = "bgp";
    const ONE_NODE: bool = false;

    fn bare(metadata: ObjectMeta) -> Self {
        Self { metadata, ..Self::default() }
    }

    fn details(names: &[String], _: Option<&Why>) -> Vec<(&'static str, Value)> {
        vec![("peers", json!(names))]
    }

    fn view(&self) -> StatusView {
        let status = self.status.clone().unwrap_or_default();
        view(&self.metadata, &[status.node, status.service_namespace, status.service_name], status.peers)
    }
}

/// What matters of an object with this node, namespace and name of a Service in its status.
fn view(metadata: &ObjectMeta, said: &[Option<String>; 3], names: Vec<String>) -> StatusView {
    let label = |name: &str| metadata.labels.as_ref().and_then(|l| l.get(name)).cloned().unwrap_or_default();
    let [node, namespace, name] =
        [names::NODE_LABEL, names::SERVICE_NAMESPACE_LABEL, names::SERVICE_NAME_LABEL].map(label);
    // The labels select it, the status is what is read: both have to name the same.
    let labelled = [node, namespace.clone(), name.clone()];
    let complete = said
        .iter()
        .zip(&labelled)
        .all(|(said, label)| said.as_deref().is_some_and(|said| names::label_value(said) == label.as_str()));
    StatusView { service: ServiceKey { namespace, name }, complete, names, why: None }
}
