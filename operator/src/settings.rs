//! What the operator is told when it starts: flags, and the environment of its Deployment.

use std::fmt::Display;
use std::str::FromStr;

use clap::{ArgAction, Parser};
use telemetry::LogLevel;
use tls::{CipherSuites, CurvePreferences, MinVersion};

/// Command-line flags. The names are those of the existing operator, so that its Deployment manifests carry over.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "operator",
    args_override_self = true,
    about = "Runs MetalLB as the MetalLB resource named metallb describes it",
    after_help = "Environment:\n  \
        OPERATOR_NAMESPACE    (required) the namespace that the operator, MetalLB and the MetalLB resource live in\n  \
        CONTROLLER_IMAGE      (required) the image of the controller\n  \
        SPEAKER_IMAGE         (required) the image of the speakers\n  \
        METRICS_PORT          where controller and speakers serve metrics (9120)\n  \
        OPERAND_LIVENESS_PORT where controller and speakers answer probes (17472)\n  \
        MEMBER_LIST_BIND_PORT where the speakers talk to each other (7946)\n  \
        DEPLOY_SERVICEMONITORS  have Prometheus scrape by ServiceMonitors; true on OpenShift, else false\n  \
        DEPLOY_PODMONITORS      have Prometheus scrape by PodMonitors instead (false)\n  \
        DEPLOY_PROMETHEUSRULES  alerts, as a PrometheusRule (false)\n  \
        DEPLOY_DASHBOARDS       a Grafana dashboard, as a ConfigMap (false)\n  \
        DISABLE_NETWORK_POLICIES  make no NetworkPolicies for the Pods of MetalLB and of the operator (false)\n  \
        TLS_MIN_VERSION, TLS_CIPHER_SUITES, TLS_CURVE_PREFERENCES\n  \
                              what the servers of controller and speakers accept: see their --tls-… flags\n  \
        OPERATOR_CONDITION_NAME  the OperatorCondition by which OLM is told when not to upgrade; OLM sets it\n  \
        POD_NAME              this replica's name in the leader election (the host name)\n  \
        KUBECONFIG            the cluster to work on, outside a Pod"
)]
pub struct Flags {
    /// The port that answers /healthz and /readyz; 0 turns it off.
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub port: u16,

    /// Work only while holding the Lease metallb.io.metallboperator, so that several replicas can stand by.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true")]
    pub enable_leader_election: bool,

    /// How much to log: all, debug, info, warn, error or none.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: LogLevel,
}

/// What the environment says about the objects to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The namespace of the operator, of the MetalLB resource and of everything made for it.
    pub namespace: String,
    /// The image of the controller.
    pub controller_image: String,
    /// The image of the speakers.
    pub speaker_image: String,
    /// Port of the metrics of controller and speakers.
    pub metrics_port: u16,
    /// Port of the probes of controller and speakers.
    pub liveness_port: u16,
    /// Port, UDP and TCP, by which the speakers know of each other.
    pub member_port: u16,
    /// What is made besides, by request.
    pub extras: Extras,
    /// Whether this is OpenShift. Not of the environment: whoever has asked the API server sets it.
    pub openshift: bool,
}

/// What is made besides the workloads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// ServiceMonitors, or PodMonitors, or what the platform has as a rule.
    pub monitors: Monitors,
    /// A PrometheusRule with alerts.
    pub prometheus_rules: bool,
    /// A ConfigMap with a dashboard for Grafana.
    pub dashboards: bool,
    /// No NetworkPolicies.
    pub without_network_policies: bool,
    /// The flags about TLS of controller and speakers, which are checked.
    pub tls: Vec<String>,
}

/// How Prometheus comes to the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Monitors {
    /// By ServiceMonitors on OpenShift, not at all elsewhere.
    #[default]
    ByPlatform,
    /// Not at all.
    None,
    /// By ServiceMonitors.
    Services,
    /// By PodMonitors.
    Pods,
}

/// The environment does not say what it must.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// Variables without a default that are absent or empty.
    #[error("missing in the environment: {}; set them in the operator's Deployment (`operator --help` says what each is)", .0.join(", "))]
    Missing(Vec<&'static str>),
    /// A port that is none.
    #[error(
        "the environment says {variable}={value:?}, which is not a port: give a number from 1 to 65535, or leave it out for {default}"
    )]
    Port {
        /// The variable.
        variable: &'static str,
        /// What it says.
        value: String,
        /// What would hold without it.
        default: u16,
    },
    /// A switch that is neither on nor off.
    #[error("the environment says {variable}={value:?}: set it to true or false, or leave it out")]
    Switch {
        /// The variable.
        variable: &'static str,
        /// What it says.
        value: String,
    },
    /// Prometheus would scrape everything twice.
    #[error(
        "the environment asks for DEPLOY_SERVICEMONITORS and DEPLOY_PODMONITORS: set one of them to true"
    )]
    TwoMonitors,
    /// Controller and speakers would not start with it.
    #[error("the environment says {variable}={value:?}: {why}")]
    Tls {
        /// The variable.
        variable: &'static str,
        /// What it says.
        value: String,
        /// What is wrong.
        why: String,
    },
}

impl Environment {
    /// Reads the variables by `lookup`; an empty value counts as none.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, EnvironmentError> {
        let value = |variable| lookup(variable).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let mut missing = Vec::new();
        let mut required = |variable| {
            value(variable).unwrap_or_else(|| {
                missing.push(variable);
                String::new()
            })
        };
        let namespace = required("OPERATOR_NAMESPACE");
        let controller_image = required("CONTROLLER_IMAGE");
        let speaker_image = required("SPEAKER_IMAGE");
        if !missing.is_empty() {
            return Err(EnvironmentError::Missing(missing));
        }
        let port = |variable, default| match value(variable) {
            None => Ok(default),
            Some(text) => match text.parse() {
                Ok(port) if port != 0 => Ok(port),
                _ => Err(EnvironmentError::Port { variable, value: text, default }),
            },
        };
        Ok(Self {
            namespace,
            controller_image,
            speaker_image,
            metrics_port: port("METRICS_PORT", 9120)?,
            liveness_port: port("OPERAND_LIVENESS_PORT", 17472)?,
            member_port: port("MEMBER_LIST_BIND_PORT", 7946)?,
            extras: Extras::read(&value)?,
            openshift: false,
        })
    }

    /// How Prometheus comes to the metrics here.
    pub fn monitors(&self) -> Monitors {
        match self.extras.monitors {
            Monitors::ByPlatform if self.openshift => Monitors::Services,
            Monitors::ByPlatform => Monitors::None,
            monitors => monitors,
        }
    }
}

impl Extras {
    /// Reads the variables by `value`, which gives none for an empty one.
    fn read(value: &impl Fn(&'static str) -> Option<String>) -> Result<Self, EnvironmentError> {
        let switch = |variable| match value(variable).as_deref() {
            None => Ok(None),
            Some("true" | "True" | "TRUE" | "1") => Ok(Some(true)),
            Some("false" | "False" | "FALSE" | "0") => Ok(Some(false)),
            Some(other) => Err(EnvironmentError::Switch { variable, value: other.to_owned() }),
        };
        let monitors = match (switch("DEPLOY_SERVICEMONITORS")?, switch("DEPLOY_PODMONITORS")?) {
            (Some(true), Some(true)) => return Err(EnvironmentError::TwoMonitors),
            (Some(true), _) => Monitors::Services,
            (_, Some(true)) => Monitors::Pods,
            (Some(false), _) => Monitors::None,
            (None, _) => Monitors::ByPlatform,
        };
        let flags = [
            tls_flag::<CipherSuites>("TLS_CIPHER_SUITES", "--tls-cipher-suites", value)?,
            tls_flag::<CurvePreferences>("TLS_CURVE_PREFERENCES", "--tls-curve-preferences", value)?,
            tls_flag::<MinVersion>("TLS_MIN_VERSION", "--tls-min-version", value)?,
        ];
        Ok(Self {
            monitors,
            prometheus_rules: switch("DEPLOY_PROMETHEUSRULES")?.unwrap_or_default(),
            dashboards: switch("DEPLOY_DASHBOARDS")?.unwrap_or_default(),
            without_network_policies: switch("DISABLE_NETWORK_POLICIES")?.unwrap_or_default(),
            tls: flags.into_iter().flatten().collect(),
        })
    }
}

/// A flag from a variable, whose value is one that controller and speakers read.
fn tls_flag<T: FromStr<Err: Display>>(
    variable: &'static str,
    flag: &str,
    value: &impl Fn(&'static str) -> Option<String>,
) -> Result<Option<String>, EnvironmentError> {
    let Some(value) = value(variable) else { return Ok(None) };
    match value.parse::<T>() {
        Ok(_) => Ok(Some(format!("{flag}={value}"))),
        Err(why) => Err(EnvironmentError::Tls { variable, why: why.to_string(), value }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, EnvironmentError> {
        Environment::read(|name| {
            variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        })
    }

    const REQUIRED: [(&str, &str); 3] = [
        ("OPERATOR_NAMESPACE", "metallb-system"),
        ("CONTROLLER_IMAGE", "c:1"),
        ("SPEAKER_IMAGE", "s@sha256:0"),
    ];

    #[test]
    fn ports_have_defaults_and_images_are_taken_as_they_are() {
        let environment = read(&REQUIRED).expect("complete");
        assert_eq!(environment.speaker_image, "s@sha256:0");
        assert_eq!(
            (environment.metrics_port, environment.liveness_port, environment.member_port),
            (9120, 17472, 7946)
        );
    }

    #[test]
    fn everything_that_is_missing_is_named_at_once() {
        let error = read(&[("CONTROLLER_IMAGE", "c:1"), ("SPEAKER_IMAGE", " ")]).expect_err("incomplete");
        assert_eq!(error, EnvironmentError::Missing(vec!["OPERATOR_NAMESPACE", "SPEAKER_IMAGE"]));
        assert!(error.to_string().contains("OPERATOR_NAMESPACE, SPEAKER_IMAGE"));
    }

    #[test]
    fn a_port_that_is_none_is_refused_by_name() {
        for wrong in ["0", "65536", "http"] {
            let variables = [&REQUIRED[..], &[("METRICS_PORT", wrong)]].concat();
            let error = read(&variables).expect_err("no port");
            assert!(error.to_string().contains(&format!("METRICS_PORT=\"{wrong}\"")), "{error}");
        }
    }

    #[test]
    fn what_is_made_besides_is_switched_on_and_off() {
        let extras = |variables: &[(&str, &str)]| read(&[&REQUIRED[..], variables].concat());
        let default = extras(&[]).expect("complete");
        assert_eq!(default.extras, Extras::default());
        assert_eq!(default.monitors(), Monitors::None);
        assert_eq!(Environment { openshift: true, ..default }.monitors(), Monitors::Services);
        for (variables, monitors) in [
            (&[("DEPLOY_SERVICEMONITORS", "true")][..], Monitors::Services),
            (&[("DEPLOY_SERVICEMONITORS", "false")], Monitors::None),
            (&[("DEPLOY_PODMONITORS", "1"), ("DEPLOY_SERVICEMONITORS", "0")], Monitors::Pods),
        ] {
            let environment = Environment { openshift: true, ..extras(variables).expect("complete") };
            assert_eq!(environment.monitors(), monitors, "{variables:?}");
        }
        for (variables, message) in [
            (
                &[("DEPLOY_SERVICEMONITORS", "true"), ("DEPLOY_PODMONITORS", "true")][..],
                "set one of them to true",
            ),
            (&[("DEPLOY_DASHBOARDS", "yes")], "DEPLOY_DASHBOARDS=\"yes\": set it to true or false"),
            (&[("TLS_MIN_VERSION", "1.3")], "TLS_MIN_VERSION=\"1.3\""),
            (&[("TLS_CIPHER_SUITES", "NONE")], "TLS_CIPHER_SUITES=\"NONE\""),
            (&[("TLS_CURVE_PREFERENCES", "x")], "TLS_CURVE_PREFERENCES=\"x\""),
        ] {
            let error = extras(variables).expect_err("refused").to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn flags_about_tls_are_handed_on_in_the_known_order() {
        let variables = [("TLS_MIN_VERSION", "VersionTLS12"), ("TLS_CURVE_PREFERENCES", "29,23")];
        let environment = read(&[&REQUIRED[..], &variables].concat()).expect("complete");
        assert_eq!(
            environment.extras.tls,
            ["--tls-curve-preferences=29,23", "--tls-min-version=VersionTLS12"]
        );
    }

    #[test]
    fn leader_election_is_a_switch_that_also_takes_a_value_and_the_last_one_counts() {
        for (arguments, expected) in [
            (&["operator"][..], false),
            (&["operator", "--enable-leader-election"], true),
            (&["operator", "--enable-leader-election=true", "--port=9000"], true),
            (&["operator", "--enable-leader-election=false"], false),
            (&["operator", "--enable-leader-election", "--enable-leader-election=false"], false),
        ] {
            let flags = Flags::try_parse_from(arguments).expect("good flags");
            assert_eq!(flags.enable_leader_election, expected, "{arguments:?}");
        }
    }
}
