//! The command line: MetalLB's flags and variables, as far as they mean something here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use telemetry::LogLevel;

/// Gives addresses from IPAddressPools to Services of type `LoadBalancer`.
#[derive(Clone, Debug, Parser)]
#[command(name = "controller", version, about)]
pub struct Args {
    /// The namespace of the IPAddressPools and L2Advertisements; by default that of the Pod's service account
    #[arg(long, env = "METALLB_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,
    /// Serve the Services with this spec.loadBalancerClass only; by default those without one
    #[arg(long, value_name = "CLASS", default_value = "")]
    pub lb_class: String,
    /// How much to say: all, debug, info, warn, error or none
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: LogLevel,
    /// The port of /healthz and /readyz
    #[arg(long, value_name = "PORT", default_value_t = 17472)]
    pub health_probe_port: u16,
    /// The port of the metrics, which this version does not serve
    #[arg(long, value_name = "PORT", default_value_t = 9120)]
    pub port: u16,
    /// Whether to serve admission webhooks, which this version cannot
    #[arg(long, value_name = "MODE", default_value = "disabled")]
    pub webhook_mode: WebhookMode,
    /// The Secret with the speakers' common key, which is created where it does not exist; none without a name
    #[arg(long, env = "METALLB_ML_SECRET_NAME", value_name = "NAME", default_value = "")]
    pub ml_secret_name: String,
    /// The Deployment that this program runs in: the owner of that Secret
    #[arg(long, env = "METALLB_DEPLOYMENT", value_name = "NAME", default_value = "")]
    pub deployment: String,
    /// The Pod that this program runs in, named in its events
    #[arg(long, env = "METALLB_POD_NAME", value_name = "NAME", default_value = "")]
    pub pod_name: String,
}

/// What to do about admission webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WebhookMode {
    /// Serve none.
    Disabled,
}

/// Where a Pod finds the namespace of its service account.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

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

    /// Where to answer probes: on all addresses, of both families where the host has both.
    pub fn probes(&self) -> SocketAddr {
        let any: IpAddr = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)) {
            Ok(_) => Ipv6Addr::UNSPECIFIED.into(),
            Err(_) => Ipv4Addr::UNSPECIFIED.into(),
        };
        SocketAddr::new(any, self.health_probe_port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_operator_passes_is_understood() {
        let args = Args::try_parse_from([
            "controller",
            "--port=9120",
            "--health-probe-port=17472",
            "--log-level=debug",
            "--lb-class=example.com/lb",
            "--webhook-mode=disabled",
        ])
        .expect("known flags");
        assert_eq!((args.log_level, args.lb_class.as_str()), (LogLevel::Debug, "example.com/lb"));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for flag in
            ["--no-such-flag", "--webhook-mode=enabled", "--log-level=loud", "--health-probe-port=0x10"]
        {
            assert!(Args::try_parse_from(["controller", flag]).is_err(), "{flag}");
        }
    }

    #[test]
    fn the_namespace_is_that_of_the_flag_else_of_the_pod_else_an_error_that_says_so() {
        let args = Args::try_parse_from(["controller", "--namespace=from-flag"]).expect("known flags");
        assert_eq!(args.namespace().expect("given"), "from-flag");
        let without = Args { namespace: None, ..args };
        let error = without.namespace_or(Path::new("/no/such/file")).expect_err("no file");
        assert!(error.to_string().contains("--namespace"), "{error}");
    }
}
