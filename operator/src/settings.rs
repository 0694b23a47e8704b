//! What the operator is told when it starts: flags, and the environment of its Deployment.

use clap::{ArgAction, Parser};
use telemetry::LogLevel;

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
        })
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
