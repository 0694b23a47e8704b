//! The command line: MetalLB's flags and variables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Parser, ValueEnum};
use metrics::MetricsOptions;
use telemetry::LogLevel;
use tls::{CertResolver, TlsOptions};

/// Gives addresses from IPAddressPools to Services of type `LoadBalancer`, and judges the resources of metallb.io
/// before they are stored.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "controller",
    version,
    about,
    args_override_self = true,
    after_help = "Environment:\n  \
        METALLB_BGP_TYPE  native, frr or frr-k8s: told to controller and speakers alike; one engine serves them all\n  \
        KUBECONFIG        the cluster to work on, outside a Pod"
)]
pub struct Args {
    /// The namespace of MetalLB's resources; by default that of the Pod's service account
    #[arg(long, env = "METALLB_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,
    /// Serve the Services with this spec.loadBalancerClass only; by default those without one
    #[arg(long, value_name = "CLASS", default_value = "", hide_default_value = true)]
    pub lb_class: String,
    /// How much to say: all, debug, info, warn, error or none
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: LogLevel,
    /// The port of /healthz and /readyz
    #[arg(long, value_name = "PORT", default_value_t = 17472)]
    pub health_probe_port: u16,
    /// The Secret with the speakers' common key, which is created where it does not exist; none without a name
    #[arg(
        long,
        env = "METALLB_ML_SECRET_NAME",
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub ml_secret_name: String,
    /// The Deployment that this program runs in: the owner of the Secrets that it makes, of its Lease and of the
    /// ConfigurationState
    #[arg(
        long,
        env = "METALLB_DEPLOYMENT",
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub deployment: String,
    /// The Pod that this program runs in, named in its events
    #[arg(
        long,
        env = "METALLB_POD_NAME",
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub pod_name: String,
    /// Known for the sake of existing manifests and without effect: there is no profiler
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    pub pprof_bind_address: String,
    /// Where the metrics are served.
    #[command(flatten)]
    pub metrics: MetricsOptions,
    /// The webhooks.
    #[command(flatten)]
    pub webhook: WebhookOptions,
    /// What the servers of metrics and webhooks accept.
    #[command(flatten)]
    pub tls: TlsOptions,
}

// Not a doc comment: clap would make it the description of the program.
// How resources are judged before they are stored.
#[expect(missing_docs, reason = "a doc comment here becomes the text of --help")]
#[derive(Clone, Debug, clap::Args)]
pub struct WebhookOptions {
    /// Whether to serve the admission and conversion webhooks
    #[arg(long, value_name = "MODE", default_value = "enabled")]
    pub webhook_mode: WebhookMode,
    /// Offer HTTP/2 for webhooks beside HTTP/1.1
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub webhook_http2: bool,
    /// The Secret with the certificate for webhooks, which is made and renewed
    #[arg(long, value_name = "NAME", default_value = "metallb-webhook-cert")]
    pub webhook_secret: String,
    /// The Service by which the API server calls the webhooks
    #[arg(long, value_name = "NAME", default_value = "metallb-webhook-service")]
    pub cert_service_name: String,
    /// Make no certificate: serve the one in --cert-dir, which others keep, with its CA where the API server looks
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub disable_cert_rotation: bool,
    /// The folder with tls.crt and tls.key for webhooks, read again when they change; only looked at with
    /// --disable-cert-rotation
    #[arg(long, value_name = "FOLDER", default_value = "/tmp/k8s-webhook-server/serving-certs")]
    pub cert_dir: String,
}

/// What to do about admission and conversion webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub enum WebhookMode {
    /// Serve them beside giving addresses
    Enabled,
    /// Serve none
    Disabled,
    /// Serve them and do nothing else
    OnlyWebhook,
}

/// Where a Pod finds the namespace of its service account.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// The values of METALLB_BGP_TYPE; empty is native.
const BGP_TYPES: [&str; 4] = ["", "native", "frr", "frr-k8s"];

impl Args {
    /// The namespace to work in: that of the flag, else of the Pod.
    pub fn namespace(&self) -> anyhow::Result<String> {
        self.namespace_or(Path::new(NAMESPACE_FILE))
    }

    fn namespace_or(&self, file: &Path) -> anyhow::Result<String> {
        if let Some(namespace) = self.namespace.as_ref().filter(|namespace| !namespace.is_empty()) {
            return Ok(namespace.clone());
        }
        let namespace = std::fs::read_to_string(file).with_context(|| {
            let file = file.display();
            format!("no namespace: give --namespace or METALLB_NAMESPACE, or run in a Pod that has {file}")
        })?;
        Ok(namespace.trim().to_owned())
    }

    /// Finds what flags and `METALLB_BGP_TYPE` say that cannot be, before anything is begun.
    pub fn check(&self, bgp_type: &str) -> anyhow::Result<()> {
        if !BGP_TYPES.contains(&bgp_type) {
            bail!(
                "METALLB_BGP_TYPE={bgp_type:?} is not known; set it to native, frr or frr-k8s, or leave it out"
            );
        }
        self.tls.server_config(Arc::new(CertResolver::new()))?;
        Ok(())
    }

    /// Where to answer probes: on all addresses, of both families where the host has both.
    pub fn probes(&self) -> SocketAddr {
        everywhere(self.health_probe_port)
    }
}

/// All addresses of the host, of both families where it has both.
pub(crate) fn everywhere(port: u16) -> SocketAddr {
    let any: IpAddr = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        Ok(_) => Ipv6Addr::UNSPECIFIED.into(),
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(any, port)
}

#[cfg(test)]
mod tests;
