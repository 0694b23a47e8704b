//! The objects that a MetalLB resource stands for. Pure: the same resource gives the same objects.
//!
//! ```text
//! MetalLB ─▶ ConfigMap metallb-excludel2   interfaces that Layer 2 leaves alone
//!         ─▶ ConfigMap metallb-speakers    the nodes with a speaker, which the speakers themselves enter
//!         ─▶ Deployment controller         gives Services their addresses      (controller.rs)
//!         ─▶ DaemonSet speaker             announces them from every node      (speaker.rs)
//!         ─▶ by request: policies, monitors, alerts, a dashboard                (extras.rs)
//! ```
//!
//! Names, selectors, container names, environment and ports are those of the existing operator: what selects,
//! scrapes or patches these objects goes on doing so, and a cluster can be taken over in place.

mod controller;
mod extras;
mod pod;
mod speaker;

use std::collections::BTreeMap;

use api::{MetalLB, names};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;

use crate::FIELD_MANAGER;
use crate::settings::Environment;

pub use extras::{Extra, ExtraKind};

/// The name of the controller's Deployment, container, service account and `component` label.
pub const CONTROLLER: &str = "controller";
/// The name of the speakers' DaemonSet, container, service account and `component` label.
pub const SPEAKER: &str = "speaker";
/// The ConfigMap with the interfaces that Layer 2 leaves alone.
pub const EXCLUDE_L2: &str = "metallb-excludel2";
/// The label that says who made an object.
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The Secret with the speakers' common key. The controller makes it; the speakers' Pods wait for it.
const MEMBERLIST_SECRET: &str = "metallb-memberlist";

/// Everything that is made for one MetalLB resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects {
    /// `metallb-excludel2`.
    pub exclude_l2: ConfigMap,
    /// `metallb-speakers`, whose data is the speakers' own.
    pub speakers: ConfigMap,
    /// `controller`.
    pub controller: Deployment,
    /// `speaker`.
    pub speaker: DaemonSet,
    /// What is made besides, wanted or not.
    pub extras: Vec<Extra>,
}

/// Makes the objects of `metallb`, which is valid and stored (it has a uid), in the operator's namespace.
pub fn build(metallb: &MetalLB, environment: &Environment) -> Objects {
    let frame = Frame { metallb, environment };
    Objects {
        exclude_l2: exclude_l2(&frame),
        speakers: speakers(&frame),
        controller: controller::deployment(&frame),
        speaker: speaker::daemon_set(&frame),
        extras: extras::extras(&frame),
    }
}

/// The kinds and names of what is made besides the workloads, of whatever resource.
pub fn wanted_extras(environment: &Environment) -> Vec<(ExtraKind, &'static str)> {
    let frame = Frame { metallb: &MetalLB::default(), environment };
    let wanted = extras::extras(&frame).into_iter().filter(|extra| extra.wanted.is_some());
    wanted.map(|extra| (extra.kind, extra.name)).collect()
}

/// What every object is made from.
struct Frame<'a> {
    metallb: &'a MetalLB,
    environment: &'a Environment,
}

impl Frame<'_> {
    /// Metadata of an object of ours. The owner lets the API server remove it with the MetalLB resource.
    fn metadata(&self, name: &str, mut labels: BTreeMap<String, String>) -> ObjectMeta {
        labels.insert(MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned());
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.environment.namespace.clone()),
            labels: Some(labels),
            owner_references: Some(vec![self.owner()]),
            ..ObjectMeta::default()
        }
    }

    fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: MetalLB::api_version(&()).into_owned(),
            kind: MetalLB::kind(&()).into_owned(),
            name: self.metallb.metadata.name.clone().unwrap_or_default(),
            uid: self.metallb.metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }
}

/// The labels of a component's Pods, and its selector: these two and no others, for a selector never changes.
fn labels(component: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_owned(), "metallb".to_owned()), ("component".to_owned(), component.to_owned())])
}

fn selector(component: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(labels(component)), ..LabelSelector::default() }
}

/// The labels of what belongs to no component.
fn common_labels() -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_owned(), "metallb".to_owned())])
}

/// Made here, so that the speakers need no right to create ConfigMaps; applied without data, it takes none away.
fn speakers(frame: &Frame<'_>) -> ConfigMap {
    ConfigMap {
        metadata: frame.metadata(names::SPEAKERS_CONFIG_MAP, common_labels()),
        ..ConfigMap::default()
    }
}

fn exclude_l2(frame: &Frame<'_>) -> ConfigMap {
    let list = names::EXCLUDED_INTERFACES.map(|pattern| format!("- {pattern}\n")).concat();
    ConfigMap {
        metadata: frame.metadata(EXCLUDE_L2, common_labels()),
        data: Some(BTreeMap::from([(
            "excludel2.yaml".to_owned(),
            format!("announcedInterfacesToExclude:\n{list}"),
        )])),
        ..ConfigMap::default()
    }
}
