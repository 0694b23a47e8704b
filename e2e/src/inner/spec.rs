//! What the owner of a cluster tells the processes that make it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::instance::Instance;

/// Everything that is decided before the first process of a cluster starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// Name of the instance.
    pub(crate) instance: String,
    /// Number of nodes.
    pub(crate) nodes: u8,
    /// The multi-call Kubernetes binary.
    pub(crate) kube: PathBuf,
    /// The folder of the CNI plugins.
    pub(crate) cni: PathBuf,
    /// Image archives that every node has from the start.
    pub(crate) images: Vec<PathBuf>,
    /// Whether the audit log has what Pods read, too.
    pub(crate) audit_reads: bool,
    /// containerd's snapshotter: `overlayfs`, or `native` where the data lies on an overlay.
    pub(crate) snapshotter: String,
    /// Whether controllers are those of cgroup v1.
    pub(crate) cgroup_v1: bool,
}

impl Spec {
    pub(crate) fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).context("reading the specification of the cluster")
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a structure of strings and numbers renders")
    }

    pub(crate) fn instance(&self) -> Result<Instance> {
        Instance::new(&self.instance)
    }
}
