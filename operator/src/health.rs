//! Whether the controller and the speakers run as they should, and if not, what is missing. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Event, Pod};

use crate::build::{CONTROLLER, SPEAKER};
use crate::pods::{self, Trouble};

/// So many Pods or nodes are named in one text.
const NAMED: usize = 10;

/// What lies around the workloads and tells why they are not ready.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The Pods of controller and speakers.
    pub pods: Vec<Arc<Pod>>,
    /// Warning events of the namespace.
    pub warnings: Vec<Arc<Event>>,
    /// Nodes that are not ready, and why, among those that matter.
    pub broken_nodes: BTreeMap<String, String>,
    /// Nodes that should have a speaker and have none, where they are known.
    pub uncovered_nodes: Vec<String>,
}

/// How a workload fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// What keeps it from being ready; nothing if it is.
    pub missing: Option<String>,
    /// What waiting alone will not cure.
    pub faults: Vec<String>,
    /// What a user should know of a workload that is ready.
    pub remark: Option<String>,
}

impl Health {
    /// Whether the workload runs as it should.
    pub fn is_ready(&self) -> bool {
        self.missing.is_none()
    }

    fn missing(head: String, troubles: Vec<Trouble>) -> Self {
        let faults = troubles.iter().filter(|t| t.fault).map(|t| t.text.clone()).collect();
        let texts = troubles.into_iter().map(|t| t.text);
        let missing = std::iter::once(head).chain(texts).collect::<Vec<_>>();
        Self { missing: Some(summary(&missing)), faults, remark: None }
    }
}

/// Texts in one line, the surplus only counted.
pub fn summary(texts: &[String]) -> String {
    let (named, surplus) = texts.split_at(texts.len().min(NAMED + 1));
    let named = named.join("; ");
    if surplus.is_empty() { named } else { format!("{named}; and {} more", surplus.len()) }
}

/// The Deployment of the controller is ready when every replica runs the current settings and no other is left.
pub fn controller(deployment: Option<&Deployment>, around: &Surroundings) -> Health {
    let Some(deployment) = deployment else {
        return Health::missing("controller: the Deployment does not exist".to_owned(), Vec::new());
    };
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = deployment.status.clone().unwrap_or_default();
    if status.observed_generation != deployment.metadata.generation {
        return Health::missing("controller: new settings are being rolled out".to_owned(), Vec::new());
    }
    let [ready, updated, all] =
        [status.ready_replicas, status.updated_replicas, status.replicas].map(Option::unwrap_or_default);
    if (ready, updated, all) == (wanted, wanted, wanted) {
        let remark = "the controller is scaled to 0: no Service gets an address";
        return Health { remark: (wanted == 0).then(|| remark.to_owned()), ..Health::default() };
    }
    let mut troubles = troubles(CONTROLLER, around);
    let conditions = status.conditions.iter().flatten();
    for failure in conditions.filter(|c| c.type_ == "ReplicaFailure" && c.status == "True") {
        let why = failure.message.as_deref().unwrap_or("the Deployment gives no reason");
        troubles.insert(0, Trouble { text: format!("controller pod cannot be created: {why}"), fault: true });
    }
    let head = format!("controller: {ready} of {wanted} ready{}", behind(updated, wanted));
    Health::missing(head, troubles)
}

/// The DaemonSet of the speakers is ready when every node that shall have one has one that is ready and runs the
/// current settings.
pub fn speaker(daemon_set: Option<&DaemonSet>, around: &Surroundings) -> Health {
    let Some(daemon_set) = daemon_set else {
        return Health::missing("speaker: the DaemonSet does not exist".to_owned(), Vec::new());
    };
    let status = daemon_set.status.clone().unwrap_or_default();
    if status.observed_generation != daemon_set.metadata.generation {
        return Health::missing("speaker: new settings are being rolled out".to_owned(), Vec::new());
    }
    let wanted = status.desired_number_scheduled;
    let ready = status.number_ready;
    let updated = status.updated_number_scheduled.unwrap_or_default();
    if (status.current_number_scheduled, ready, updated) == (wanted, wanted, wanted) {
        let remark = "no node has the labels of spec.nodeSelector and taints that the speakers tolerate: \
                      there is no speaker, and no address is announced";
        return Health { remark: (wanted == 0).then(|| remark.to_owned()), ..Health::default() };
    }
    let mut troubles = troubles(SPEAKER, around);
    if has_uncovered_nodes(daemon_set) {
        let count = wanted - status.current_number_scheduled;
        let nodes = match around.uncovered_nodes.as_slice() {
            [] => format!("{count} nodes have no speaker pod"),
            [node] => format!("node {node} has no speaker pod"),
            nodes => format!("nodes {} have no speaker pod", nodes.join(", ")),
        };
        let refusal = refusal(daemon_set, around);
        let text = match &refusal {
            Some(why) => format!("{nodes}: {why}"),
            None => nodes,
        };
        troubles.insert(0, Trouble { text, fault: refusal.is_some() });
    }
    let head = format!("speaker: ready on {ready} of {wanted} nodes{}", behind(updated, wanted));
    Health::missing(head, troubles)
}

/// How far a rollout is, if it is under way.
fn behind(updated: i32, wanted: i32) -> String {
    if updated == wanted { String::new() } else { format!(", {updated} with the current settings") }
}

/// Whether there are nodes that shall have a speaker and have none, as the DaemonSet controller counts them.
pub fn has_uncovered_nodes(daemon_set: &DaemonSet) -> bool {
    daemon_set.status.as_ref().is_some_and(|status| {
        status.observed_generation == daemon_set.metadata.generation
            && status.desired_number_scheduled > status.current_number_scheduled
    })
}

/// Nodes whose own state may be why a Pod is not ready.
pub fn suspect_nodes(pods: &[Arc<Pod>]) -> Vec<&str> {
    let waiting = pods.iter().filter(|pod| !pods::is_ready(pod) && !pods::has_ended(pod));
    let scheduled = waiting.filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()));
    let mut nodes: Vec<&str> = scheduled.filter_map(|pod| pods::node(pod)).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes.truncate(NAMED);
    nodes
}

/// Why the API server takes no Pod from the DaemonSet, if it took none since it last refused.
fn refusal(daemon_set: &DaemonSet, around: &Surroundings) -> Option<String> {
    let uid = daemon_set.metadata.uid.as_deref()?;
    let about = around.warnings.iter().filter(|event| {
        event.involved_object.uid.as_deref() == Some(uid) && event.reason.as_deref() == Some("FailedCreate")
    });
    let event = about.max_by_key(|event| pods::last_seen(event))?;
    let created = of_component(SPEAKER, around).filter_map(|pod| pod.metadata.creation_timestamp.as_ref());
    let newest = created.map(|time| time.0).max();
    if pods::last_seen(event) < newest {
        return None;
    }
    // Without the name of the Pod that was not to be, which differs with each attempt.
    let why = pods::describe(event);
    Some(why.split_once(" is forbidden: ").map_or(why.clone(), |(_, why)| format!("forbidden: {why}")))
}

fn troubles(component: &str, around: &Surroundings) -> Vec<Trouble> {
    // The records of Pods that ended stay for long, and speak only where nothing else explains.
    let (ended, mut live): (Vec<_>, Vec<_>) =
        of_component(component, around).partition(|pod| pods::has_ended(pod));
    if live.is_empty() {
        live = ended;
    }
    let mut troubles: Vec<Trouble> = live.into_iter().filter_map(|pod| pods::trouble(pod, around)).collect();
    // Faults first, each half in the order of names, so that the text changes only with what it says.
    troubles.sort_by(|a, b| b.fault.cmp(&a.fault).then_with(|| a.text.cmp(&b.text)));
    troubles
}

fn of_component<'a>(component: &'a str, around: &'a Surroundings) -> impl Iterator<Item = &'a Pod> {
    let labelled = move |pod: &&Arc<Pod>| {
        let labels = pod.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get("component")).is_some_and(|value| value == component)
    };
    around.pods.iter().filter(labelled).map(AsRef::as_ref)
}
