//! The interfaces on which nothing is announced: those of container networks and the like.

use std::path::Path;
use std::{fs, io};

use api::names::EXCLUDED_INTERFACES;
use regex::Regex;
use serde::Deserialize;
use thiserror::Error;

/// A pattern for the names of interfaces to leave out.
#[derive(Clone, Debug)]
pub struct Exclude {
    pattern: Option<Regex>,
}

/// The file of the ConfigMap `metallb-excludel2`.
#[derive(Debug, Deserialize)]
struct File {
    #[serde(default, rename = "announcedInterfacesToExclude")]
    announced_interfaces_to_exclude: Vec<String>,
}

/// Why the list cannot be used.
#[derive(Debug, Error)]
pub enum ExcludeError {
    /// The file is there, but not readable.
    #[error("failed to read the excluded interfaces from {file}: {source}")]
    Read {
        /// Which file.
        file: String,
        /// What the system says.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error(
        "{file} is not a list of excluded interfaces: {reason}; expected announcedInterfacesToExclude: [pattern, …]"
    )]
    Parse {
        /// Which file.
        file: String,
        /// What the reader says.
        reason: String,
    },
    /// A pattern is no regular expression.
    #[error("announcedInterfacesToExclude has an invalid regular expression: {0}")]
    Pattern(#[from] regex::Error),
}

impl Exclude {
    /// Reads the list; a file that does not exist stands for MetalLB's default list.
    pub fn read(file: &Path) -> Result<Self, ExcludeError> {
        let name = || file.display().to_string();
        match fs::read_to_string(file) {
            Ok(text) => {
                let parsed: Result<File, _> = serde_saphyr::from_str(&text);
                let parsed = parsed
                    .map_err(|error| ExcludeError::Parse { file: name(), reason: error.to_string() })?;
                Ok(Self::new(parsed.announced_interfaces_to_exclude.iter().map(String::as_str))?)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::new(EXCLUDED_INTERFACES)?),
            Err(source) => Err(ExcludeError::Read { file: name(), source }),
        }
    }

    /// Leaves out names that one of the patterns matches anywhere; no pattern leaves out nothing.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, regex::Error> {
        let all: Vec<String> = patterns.into_iter().map(|pattern| format!("({pattern})")).collect();
        let pattern = if all.is_empty() { None } else { Some(Regex::new(&all.join("|"))?) };
        Ok(Self { pattern })
    }

    /// Whether nothing is announced on the interface of this name.
    pub fn matches(&self, interface: &str) -> bool {
        self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(interface))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_file_container_networks_are_left_out() {
        let exclude = Exclude::read(Path::new("/does/not/exist")).expect("the default");
        for name in ["docker0", "veth1234", "lo", "cali7", "cni0", "kube-ipvs0", "lxc1"] {
            assert!(exclude.matches(name), "{name}");
        }
        for name in ["eth0", "bond0.100", "enp3s0", "lo0", "br-lan"] {
            assert!(!exclude.matches(name), "{name}");
        }
    }

    #[test]
    fn a_file_replaces_the_default_and_its_patterns_match_anywhere() {
        let file = std::env::temp_dir().join(format!("speaker-exclude-{}", std::process::id()));
        for (text, excluded, kept) in [
            (
                "announcedInterfacesToExclude: [eth1, '^wlan']",
                vec!["eth1", "veth12", "wlan0"],
                vec!["eth0", "docker0"],
            ),
            ("announcedInterfacesToExclude: []", vec![], vec!["docker0"]),
            ("{}", vec![], vec!["docker0"]),
        ] {
            fs::write(&file, text).expect("a file");
            let exclude = Exclude::read(&file).expect("a valid list");
            assert!(excluded.iter().all(|name| exclude.matches(name)), "{text}");
            assert!(!kept.iter().any(|name| exclude.matches(name)), "{text}");
        }
        for (text, reason) in [
            ("announcedInterfacesToExclude: ['(']", "invalid regular expression"),
            ("announcedInterfacesToExclude: 3", "not a list of excluded interfaces"),
        ] {
            fs::write(&file, text).expect("a file");
            let error = Exclude::read(&file).expect_err("refused").to_string();
            assert!(error.contains(reason), "{error}");
        }
        fs::remove_file(&file).expect("removed");
    }
}
