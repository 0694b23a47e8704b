//! The command line and the environment, as MetalLB's manifests use them.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use telemetry::LogLevel;
use thiserror::Error;

/// Where a Pod finds the namespace that it is in.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Answers ARP and NDP for the addresses of Services of type LoadBalancer that this node announces.
#[derive(Clone, Debug, Parser)]
#[command(name = "speaker", version)]
pub struct Args {
    /// Name of the node that this speaker runs on; required
    #[arg(long, env = "METALLB_NODE_NAME")]
    pub node_name: Option<String>,

    /// Namespace of the MetalLB resources and of the speakers; by default that of the service account
    #[arg(long, env = "METALLB_NAMESPACE")]
    pub namespace: Option<String>,

    /// Name of this speaker's Pod: its DaemonSet becomes the owner of status objects
    #[arg(long, env = "METALLB_POD_NAME")]
    pub pod_name: Option<String>,

    /// Address of this node; accepted as MetalLB's manifests pass it, without effect
    #[arg(long, env = "METALLB_HOST")]
    pub host: Option<String>,

    /// Labels of the speakers' Pods, as a selector: each that is ready is a candidate to announce
    #[arg(long, env = "METALLB_ML_LABELS", default_value = "app=metallb,component=speaker", value_parser = given)]
    pub ml_labels: String,

    /// Address for the speakers' own protocol; accepted as the manifests pass it, without effect yet
    #[arg(long = "ml-bindaddr", env = "METALLB_ML_BIND_ADDR")]
    pub ml_bind_addr: Option<String>,

    /// Port for the speakers' own protocol; accepted as the manifests pass it, without effect yet
    #[arg(long = "ml-bindport", env = "METALLB_ML_BIND_PORT")]
    pub ml_bind_port: Option<u16>,

    /// Folder with the key for the speakers' own protocol; accepted as the manifests pass it, without effect yet
    #[arg(long, env = "METALLB_ML_SECRET_KEY_PATH")]
    pub ml_secret_key_path: Option<PathBuf>,

    /// Port of the metrics; accepted as the manifests pass it, nothing listens there yet
    #[arg(long, default_value_t = 9120)]
    pub port: u16,

    /// Port on 127.0.0.1 of the probes /healthz and /readyz
    #[arg(long, default_value_t = 17472)]
    pub health_probe_port: u16,

    /// How much to log: all, debug, info, warn, error or none
    #[arg(long, default_value_t = LogLevel::Info)]
    pub log_level: LogLevel,

    /// Announce only Services of this loadBalancerClass; by default those without a class
    #[arg(long, default_value = "")]
    pub lb_class: String,

    /// Announce also from nodes with the label node.kubernetes.io/exclude-from-external-load-balancers
    #[arg(long)]
    pub ignore_exclude_lb: bool,

    /// File with the interfaces on which nothing is announced
    #[arg(long, default_value = "/etc/metallb/excludel2.yaml", hide = true)]
    pub exclude_file: PathBuf,
}

/// A value that is not empty: a manifest whose variable resolves to nothing must not go unnoticed.
fn given(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("it is empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// What a speaker cannot do without is not known.
#[derive(Debug, Error)]
pub enum Missing {
    /// Which node this is.
    #[error(
        "the name of the node is not known: set METALLB_NODE_NAME to the Pod's spec.nodeName, or --node-name"
    )]
    Node,
    /// Where the MetalLB resources are.
    #[error(
        "the namespace of MetalLB is not known: set METALLB_NAMESPACE or --namespace, or run in a Pod with a service account ({file}: {reason})"
    )]
    Namespace {
        /// The file of the service account.
        file: String,
        /// Why it does not say it.
        reason: String,
    },
}

impl Args {
    /// The name of the node.
    pub fn node(&self) -> Result<String, Missing> {
        self.node_name.clone().filter(|name| !name.is_empty()).ok_or(Missing::Node)
    }

    /// The namespace of the MetalLB resources: what was said, else that of the service account.
    pub fn resolve_namespace(&self) -> Result<String, Missing> {
        self.namespace_or(Path::new(NAMESPACE_FILE))
    }

    fn namespace_or(&self, file: &Path) -> Result<String, Missing> {
        if let Some(namespace) = self.namespace.as_ref().filter(|n| !n.is_empty()) {
            return Ok(namespace.clone());
        }
        let unknown = |reason: String| Missing::Namespace { file: file.display().to_string(), reason };
        let text = fs::read_to_string(file).map_err(|error| unknown(error.to_string()))?;
        let namespace = text.trim();
        if namespace.is_empty() { Err(unknown("it is empty".to_owned())) } else { Ok(namespace.to_owned()) }
    }

    /// The class of Services that are ours; `None` for those without a class.
    pub fn class(&self) -> Option<String> {
        (!self.lb_class.is_empty()).then(|| self.lb_class.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from(["speaker"].iter().chain(words))
    }

    #[test]
    fn what_the_manifest_passes_is_accepted() {
        let args = parse(&[
            "--node-name=iris1",
            "--port=9120",
            "--health-probe-port=17472",
            "--log-level=debug",
            "--lb-class=metallb",
        ])
        .expect("accepted");
        assert_eq!(args.class().as_deref(), Some("metallb"));
        assert_eq!(args.log_level, LogLevel::Debug);
        assert_eq!(args.ml_labels, "app=metallb,component=speaker");
        assert!(!args.ignore_exclude_lb);
    }

    #[test]
    fn what_is_unknown_or_empty_is_refused_with_the_name() {
        for (words, named) in [
            (vec!["--node-name=n", "--bgp-mode=x"], "--bgp-mode"),
            (vec!["--node-name=n", "--ml-labels="], "--ml-labels"),
            (vec!["--node-name=n", "--log-level=loud"], "all, debug, info"),
        ] {
            let error = parse(&words).expect_err("refused").to_string();
            assert!(error.contains(named), "{words:?}: {error}");
        }
    }

    #[test]
    fn a_missing_node_name_is_refused_with_the_variable_to_set() {
        for node_name in [None, Some(String::new())] {
            let args = Args { node_name, ..parse(&[]).expect("accepted") };
            let error = args.node().expect_err("refused").to_string();
            assert!(error.contains("METALLB_NODE_NAME"), "{error}");
        }
    }

    #[test]
    fn the_namespace_is_that_of_the_service_account_unless_said() {
        let folder = std::env::temp_dir().join(format!("speaker-args-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("namespace");
        fs::write(&file, "metallb-system\n").expect("a file");
        let args = Args { namespace: None, ..parse(&["--node-name=n"]).expect("accepted") };
        assert_eq!(args.namespace_or(&file).expect("from the file"), "metallb-system");
        let said = Args { namespace: Some("other".into()), ..args.clone() };
        assert_eq!(said.namespace_or(&file).expect("as said"), "other");
        fs::remove_dir_all(&folder).expect("removed");
        let error = args.namespace_or(&file).expect_err("nothing says it").to_string();
        assert!(error.contains("METALLB_NAMESPACE"), "{error}");
    }
}
