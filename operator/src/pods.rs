//! Why a Pod is not ready, in the words that tell a user what to do. Pure.

use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod, PodCondition};

use crate::health::Surroundings;

/// Something that keeps a Pod from being ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Which Pod, where, and why.
    pub text: String,
    /// Waiting alone will not cure it.
    pub fault: bool,
}

/// Reasons why a container waits that are no fault: it is about to start.
const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];
/// Reasons why a container waits for its image.
const IMAGE: [&str; 2] = ["ErrImagePull", "ImagePullBackOff"];

/// Whether the Pod serves: ready, and not on its way out.
pub fn is_ready(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && condition(pod, "Ready").is_some_and(|c| c.status == "True")
}

/// Whether the Pod ended for good, such as an evicted one, and only its record is left.
pub fn has_ended(pod: &Pod) -> bool {
    matches!(phase(pod), "Failed" | "Succeeded")
}

/// The node that the Pod is on, or, of a DaemonSet's Pod that is not scheduled yet, the one it is meant for.
pub fn node(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    spec.node_name.as_deref().or_else(|| {
        let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
        let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
        let mut fields =
            required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
        let field = fields.find(|field| field.key == "metadata.name")?;
        field.values.as_ref()?.first().map(String::as_str)
    })
}

/// What is wrong with a Pod; nothing if it is ready.
pub fn trouble(pod: &Pod, around: &Surroundings) -> Option<Trouble> {
    if is_ready(pod) {
        return None;
    }
    let (what, fault) = cause(pod, around);
    Some(Trouble { text: format!("{} {what}", place(pod)), fault })
}

fn cause(pod: &Pod, around: &Surroundings) -> (String, bool) {
    if let Some(why) = node(pod).and_then(|node| around.broken_nodes.get(node)) {
        return (format!("is out of reach, its node is not ready ({why})"), true);
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return ("is stopping".to_owned(), false);
    }
    if has_ended(pod) {
        let status = pod.status.as_ref();
        let reason = status.and_then(|s| s.reason.as_deref()).unwrap_or("Failed");
        let message = status.and_then(|s| s.message.as_deref()).unwrap_or("its containers ended");
        return (format!("failed: {reason}: {message}"), true);
    }
    if let Some(scheduled) = condition(pod, "PodScheduled").filter(|c| c.status == "False") {
        let message = scheduled.message.as_deref().unwrap_or("the scheduler gave no reason");
        // What the scheduler says of preemption repeats the numbers and helps nobody here.
        let asides = [" no new claims to deallocate", " preemption:"];
        let message =
            asides.iter().fold(message, |text, aside| text.split_once(aside).map_or(text, |(text, _)| text));
        return (format!("cannot be scheduled: {}", message.trim_end_matches('.')), true);
    }
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses
        .filter(|status| !status.ready)
        .map(|status| container(pod, status, around))
        .next()
        .unwrap_or_else(|| match warning(pod, around) {
            Some(why) => (format!("is not started yet: {why}"), false),
            None => ("is not started yet".to_owned(), false),
        })
}

/// Why one container of the Pod is not ready.
fn container(pod: &Pod, status: &ContainerStatus, around: &Surroundings) -> (String, bool) {
    let name = &status.name;
    let state = status.state.as_ref();
    let last = status.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    let ended = state.and_then(|state| state.terminated.as_ref()).or(last);
    if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
        let reason = waiting.reason.as_deref().unwrap_or("Waiting");
        let message = waiting.message.as_deref().unwrap_or_default();
        if STARTING.contains(&reason) {
            return match warning(pod, around) {
                Some(why) => (format!("is starting ({reason}): {why}"), false),
                None => (format!("is starting ({reason})"), false),
            };
        }
        if IMAGE.contains(&reason) {
            // The kubelet alternates between the two reasons; said alike, the condition stands still.
            let why = message.rsplit_once("ErrImagePull: ").map_or(message, |(_, why)| why);
            return (format!("cannot pull image {} (ImagePullBackOff): {why}", status.image), true);
        }
        if reason != "CrashLoopBackOff" || ended.is_none() {
            return (format!("cannot run container {name} ({reason}): {message}"), true);
        }
    }
    match ended {
        Some(ended) => {
            let reason = ended.reason.as_deref().unwrap_or("Error");
            let back_off = state.is_some_and(|state| state.waiting.is_some());
            let state = if back_off { "is in CrashLoopBackOff" } else { "keeps ending" };
            let restarts = status.restart_count;
            let code = ended.exit_code;
            let logs = format!("kubectl logs -n {} {} --previous", namespace(pod), name_of(pod));
            let what = format!(
                "{state}: container {name} ended with exit code {code} ({reason}), {restarts} restarts; see `{logs}`"
            );
            (what, true)
        }
        None => (format!("runs, but container {name} is not ready yet"), false),
    }
}

/// The latest Warning event about the Pod, which has a node: what kept it from getting one is over.
fn warning(pod: &Pod, around: &Surroundings) -> Option<String> {
    let uid = pod.metadata.uid.as_deref()?;
    let about = around.warnings.iter().filter(|event| {
        event.involved_object.uid.as_deref() == Some(uid)
            && event.reason.as_deref() != Some("FailedScheduling")
    });
    about.max_by_key(|event| last_seen(event)).map(|event| describe(event))
}

/// When an event was last seen.
pub fn last_seen(event: &Event) -> Option<jiff::Timestamp> {
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    last.or_else(|| event.event_time.as_ref().map(|time| time.0))
}

/// Reason and text of an event.
pub fn describe(event: &Event) -> String {
    let reason = event.reason.as_deref().unwrap_or("Warning");
    format!("{reason}: {}", event.message.as_deref().unwrap_or_default().trim())
}

fn place(pod: &Pod) -> String {
    let on = if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) { "on" } else { "for" };
    match node(pod) {
        Some(node) => format!("pod {} {on} node {node}", name_of(pod)),
        None => format!("pod {}", name_of(pod)),
    }
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn name_of(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}
