//! The command line and the environment, as MetalLB's manifests use them.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Parser};
use membership::packet::{OLDEST_VERSION, VERSION};
use membership::{OnQuorumLoss, Profile};
use metrics::MetricsOptions;
use telemetry::LogLevel;
use thiserror::Error;
use tls::{CertResolver, TlsOptions, TlsOptionsError};

use crate::interface::Announcing;

/// Where a Pod finds the namespace that it is in.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// The port of the speakers' own protocol unless another is said.
const MEMBER_PORT: u16 = 7946;

/// The values of METALLB_BGP_TYPE; empty is native.
const BGP_TYPES: [&str; 4] = ["", "native", "frr", "frr-k8s"];

/// Answers ARP and NDP for the addresses of Services of type LoadBalancer that this node announces.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "speaker",
    version,
    // As Go's flags have it: the last of a flag given twice counts.
    args_override_self = true,
    after_help = "Environment:\n  \
        METALLB_BGP_TYPE         native, frr or frr-k8s: one engine serves them all\n  \
        FRR_CONFIG_FILE, FRR_RELOADER_PID_FILE, FRR_LOGGING_LEVEL\n                           \
        known for the sake of existing manifests and without effect: there is no FRR\n  \
        KUBECONFIG               the cluster to work on, outside a Pod"
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Args {
    /// Name of the node that this speaker runs on; required
    #[arg(long, env = "METALLB_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,

    /// Namespace of the MetalLB resources and of the speakers; by default that of the service account
    #[arg(long, env = "METALLB_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,

    /// Name of this speaker's Pod: its DaemonSet becomes the owner of status objects
    #[arg(long, env = "METALLB_POD_NAME", value_name = "NAME")]
    pub pod_name: Option<String>,

    /// Address of this node, by which the other speakers reach it where --ml-bindaddr says nothing; one of IPv4 is its BGP
    /// identifier, unless a BGPPeer has another
    #[arg(long, env = "METALLB_HOST", value_name = "ADDRESS")]
    pub host: Option<String>,

    /// Labels of the speakers' Pods, as a selector
    #[arg(long, env = "METALLB_ML_LABELS", value_name = "SELECTOR", default_value = "app=metallb,component=speaker", value_parser = given)]
    pub ml_labels: String,

    /// Address of this node for the speakers' own protocol (UDP)
    #[arg(long = "ml-bindaddr", env = "METALLB_ML_BIND_ADDR", value_name = "ADDRESS", default_value = "", hide_default_value = true, value_parser = address)]
    pub ml_bind_addr: String,

    /// UDP port for the speakers' own protocol, the same on all nodes
    #[arg(long = "ml-bindport", env = "METALLB_ML_BIND_PORT", value_name = "PORT", default_value_t = MEMBER_PORT, value_parser = member_port)]
    pub ml_bind_port: u16,

    /// Folder with the key for the speakers' own protocol: the Secret that the controller makes; required
    #[arg(long, env = "METALLB_ML_SECRET_KEY_PATH", value_name = "FOLDER")]
    pub ml_secret_key_path: Option<PathBuf>,

    /// Longer times in the speakers' own protocol: the same as --failover-profile=relaxed
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", hide_default_value = true, value_parser = BoolishValueParser::new())]
    pub ml_wan_config: bool,

    /// How fast failures of other nodes are found: after three heartbeats of 50 ms (fast), 100 ms (default) or 300 ms
    /// (relaxed)
    #[arg(long, value_name = "PROFILE", default_value = "default", value_parser = profile)]
    pub failover_profile: Profile,

    /// What to do without a majority of the speakers of three or more nodes: silent, so that no address is ever held
    /// twice, or announce what nobody answers for
    #[arg(long, value_name = "WHAT", default_value = "silent", value_parser = on_quorum_loss)]
    pub on_quorum_loss: OnQuorumLoss,

    /// Latest version of the speakers' own protocol to speak, for upgrades in stages (docs/upgrade.md)
    #[arg(long, env = "METALLB_PROTOCOL_VERSION_MAX", value_name = "VERSION", default_value_t = VERSION,
          value_parser = clap::value_parser!(u8).range(i64::from(OLDEST_VERSION)..=i64::from(VERSION)))]
    pub protocol_version_max: u8,

    /// The most frames a second, on each interface, that announce addresses which were just taken; 0: as fast as possible, so
    /// that a takeover waits for nothing
    #[arg(long, env = "METALLB_ANNOUNCE_RATE", value_name = "FRAMES", default_value_t = 0)]
    pub announce_rate: u32,

    /// Seconds after which an address that stays is announced again, for networks that forget it although hosts ask;
    /// 0: never, else 10 to 86400
    #[arg(long, env = "METALLB_ANNOUNCE_REFRESH", value_name = "SECONDS", default_value_t = 0, value_parser = refresh)]
    pub announce_refresh: u32,

    /// Folder for what must survive a restart of the speaker
    #[arg(long, env = "METALLB_STATE_DIR", value_name = "FOLDER", default_value = "/var/lib/metallb")]
    pub state_dir: PathBuf,

    /// Where the metrics are served.
    #[command(flatten)]
    pub metrics: MetricsOptions,

    /// What the server of the metrics accepts.
    #[command(flatten)]
    pub tls: TlsOptions,

    /// Port on 127.0.0.1 of the probes /healthz and /readyz
    #[arg(long, value_name = "PORT", default_value_t = 17472, value_parser = clap::value_parser!(u16).range(1..))]
    pub health_probe_port: u16,

    /// How much to log: all, debug, info, warn, error or none
    #[arg(long, value_name = "LEVEL", default_value_t = LogLevel::Info)]
    pub log_level: LogLevel,

    /// Announce only Services of this loadBalancerClass; by default those without a class
    #[arg(long, value_name = "CLASS", default_value = "", hide_default_value = true)]
    pub lb_class: String,

    /// Announce also from nodes with the label node.kubernetes.io/exclude-from-external-load-balancers
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", hide_default_value = true, value_parser = BoolishValueParser::new())]
    pub ignore_exclude_lb: bool,

    /// Milliseconds to wait before a changed BGP configuration is written for FRR; known for the sake of existing
    /// manifests and without effect: changes act at once
    #[arg(long, env = "METALLB_BGP_DEBOUNCE_TIMEOUT", value_name = "MILLISECONDS", default_value = "", hide_default_value = true, value_parser = milliseconds)]
    pub bgp_debounce_timeout: String,

    /// Seconds between asking routers to take other ways (graceful shutdown, RFC 8326) and withdrawing routes: when the
    /// speaker is told to end, but for BGPPeers with graceful restart, to be less than the Pod's grace period; and when the
    /// node is drained, 10 at least
    #[arg(long, env = "METALLB_BGP_DRAIN_TIME", value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub bgp_drain_time: u64,

    /// Let routes outlive NOTIFICATIONs of BGP, too, for BGPPeers with graceful restart (RFC 8538)
    #[arg(long, env = "METALLB_BGP_NOTIFICATION_RESTART", value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", hide_default_value = true, value_parser = BoolishValueParser::new())]
    pub bgp_notification_restart: bool,

    /// Port of this node that routers may connect to, 179 as a rule, which takes the capability NET_BIND_SERVICE; 0 for none:
    /// the speaker then connects and nobody else
    #[arg(long, env = "METALLB_BGP_LISTEN_PORT", value_name = "PORT", default_value_t = 0)]
    pub bgp_listen_port: u16,

    /// Namespace of frr-k8s; known for the sake of existing manifests and without effect: there is no frr-k8s
    #[arg(long, env = "FRRK8S_NAMESPACE", value_name = "NAME")]
    pub frrk8s_namespace: Option<String>,

    /// Hand passwords to frr-k8s as references; known for the sake of existing manifests and without effect
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", hide_default_value = true, value_parser = BoolishValueParser::new())]
    pub frrk8s_secret_passthrough: bool,

    /// Known for the sake of existing manifests and without effect: there is no profiler
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    pub pprof_bind_address: String,

    /// File with the interfaces on which nothing is announced
    #[arg(long, default_value = "/etc/metallb/excludel2.yaml", hide = true)]
    pub exclude_file: PathBuf,
}

/// A value that is not empty: a manifest whose variable resolves to nothing must not go unnoticed.
fn given(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("it is empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn address(text: &str) -> Result<String, String> {
    let valid = text.is_empty() || text.parse::<IpAddr>().is_ok();
    if valid { Ok(text.to_owned()) } else { Err("it is not an IP address".to_owned()) }
}

fn profile(text: &str) -> Result<Profile, String> {
    match text.to_ascii_lowercase().as_str() {
        "fast" => Ok(Profile::Fast),
        "default" => Ok(Profile::Default),
        "relaxed" => Ok(Profile::Relaxed),
        _ => Err("it is none of fast, default and relaxed".to_owned()),
    }
}

fn on_quorum_loss(text: &str) -> Result<OnQuorumLoss, String> {
    match text.to_ascii_lowercase().as_str() {
        "silent" => Ok(OnQuorumLoss::Silent),
        "announce" => Ok(OnQuorumLoss::Announce),
        _ => Err("it is neither silent nor announce".to_owned()),
    }
}

/// An empty variable is as good as none.
fn member_port(text: &str) -> Result<u16, String> {
    match text {
        "" => Ok(MEMBER_PORT),
        text => match text.parse() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err("it is not a port, 1 to 65535".to_owned()),
        },
    }
}

/// No LAN forgets within seconds, and thousands of addresses are announced in this time.
fn refresh(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(seconds) if seconds == 0 || (10..=86_400).contains(&seconds) => Ok(seconds),
        _ => Err("it is neither 0 nor a number of seconds from 10 to 86400".to_owned()),
    }
}

fn milliseconds(text: &str) -> Result<String, String> {
    let valid = text.is_empty() || text.parse::<u32>().is_ok();
    if valid { Ok(text.to_owned()) } else { Err("it is not a number of milliseconds".to_owned()) }
}

/// Flags or variables that make no sense, each alone or together.
#[derive(Debug, Error)]
pub enum Nonsense {
    /// `METALLB_BGP_TYPE` has a value that no MetalLB has.
    #[error("METALLB_BGP_TYPE={0:?} is not known; set it to native, frr or frr-k8s, or leave it out")]
    BgpType(String),
    /// Two servers on one port.
    #[error("{0} and {1} name the same port {2}: choose another for one of them")]
    SamePort(&'static str, &'static str, u16),
    /// The `--tls-*` flags contradict each other.
    #[error(transparent)]
    Tls(#[from] TlsOptionsError),
}

/// What a speaker cannot do without is not known.
#[derive(Debug, Error)]
pub enum Missing {
    /// Which node this is.
    #[error(
        "the name of the node is not known: set METALLB_NODE_NAME to the Pod's spec.nodeName, or --node-name"
    )]
    Node,
    /// Where the other speakers reach this one.
    #[error(
        "the address of this node is not known: set METALLB_ML_BIND_ADDR to the Pod's status.podIP, or METALLB_HOST to its status.hostIP"
    )]
    Address,
    /// The speakers' common key.
    #[error(
        "the speakers' common key is not known: mount the Secret metallb-memberlist and set METALLB_ML_SECRET_KEY_PATH to that folder"
    )]
    Key,
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
    /// Finds what flags and `METALLB_BGP_TYPE` say that cannot be, before anything is begun.
    pub fn check(&self, bgp_type: &str) -> Result<(), Nonsense> {
        if !BGP_TYPES.contains(&bgp_type) {
            return Err(Nonsense::BgpType(bgp_type.to_owned()));
        }
        let ports = [
            ("--port", self.metrics.port),
            ("--health-probe-port", self.health_probe_port),
            ("--ml-bindport", self.ml_bind_port),
            ("--bgp-listen-port", self.bgp_listen_port),
        ];
        for (i, &(one, port)) in ports.iter().enumerate() {
            if let Some(&(other, _)) = ports.iter().skip(i + 1).find(|(_, other)| port != 0 && *other == port)
            {
                return Err(Nonsense::SamePort(one, other, port));
            }
        }
        // What is wrong with the certificate itself is told later, while addresses are announced.
        self.tls.server_config(Arc::new(CertResolver::new()))?;
        Ok(())
    }

    /// The name of the node.
    pub fn node(&self) -> Result<String, Missing> {
        self.node_name.clone().filter(|name| !name.is_empty()).ok_or(Missing::Node)
    }

    /// Where the other speakers reach this one: by the address of --ml-bindaddr, else by that of the node.
    pub fn contact(&self) -> Result<SocketAddr, Missing> {
        let told = [Some(&self.ml_bind_addr), self.host.as_ref()];
        let address = told.into_iter().flatten().find_map(|text| text.parse::<IpAddr>().ok());
        let address = address.filter(|address| !address.is_unspecified()).ok_or(Missing::Address)?;
        Ok(SocketAddr::new(address, self.ml_bind_port))
    }

    /// The folder of the speakers' common key.
    pub fn key_folder(&self) -> Result<&Path, Missing> {
        self.ml_secret_key_path.as_deref().filter(|path| !path.as_os_str().is_empty()).ok_or(Missing::Key)
    }

    /// How fast failures are found.
    pub fn profile(&self) -> Profile {
        if self.ml_wan_config { Profile::Relaxed } else { self.failover_profile }
    }

    /// How addresses are announced.
    pub fn announcing(&self) -> Announcing {
        let refresh = Duration::from_secs(self.announce_refresh.into());
        Announcing {
            frames_per_second: self.announce_rate,
            refresh: Some(refresh).filter(|time| !time.is_zero()),
        }
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

    /// The IPv4 address of the node, where it has been said.
    pub fn host_v4(&self) -> Option<Ipv4Addr> {
        self.host.as_ref()?.parse().ok()
    }

    /// The class of Services that are ours; `None` for those without a class.
    pub fn class(&self) -> Option<String> {
        (!self.lb_class.is_empty()).then(|| self.lb_class.clone())
    }
}

#[cfg(test)]
mod tests;
