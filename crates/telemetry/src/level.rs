//! How much a program says.

use std::{fmt, str::FromStr};

use thiserror::Error;
use tracing_subscriber::filter::LevelFilter;

/// The `logLevel` of the MetalLB resource and `--log-level` of the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum LogLevel {
    /// Everything, that of the libraries too.
    All,
    /// Steps on the way to a decision.
    Debug,
    /// What changed, and what was decided.
    #[default]
    Info,
    /// What someone should look at.
    Warn,
    /// What does not work.
    Error,
    /// Nothing.
    None,
}

impl LogLevel {
    /// Every level, from the one that says most.
    pub const ALL: [LogLevel; 6] =
        [LogLevel::All, LogLevel::Debug, LogLevel::Info, LogLevel::Warn, LogLevel::Error, LogLevel::None];

    /// The name in manifests and on command lines.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::All => "all",
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
            LogLevel::None => "none",
        }
    }

    pub(crate) fn filter(self) -> LevelFilter {
        match self {
            LogLevel::All => LevelFilter::TRACE,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::None => LevelFilter::OFF,
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not a log level.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a log level; use one of all, debug, info, warn, error, none")]
pub struct ParseLogLevelError(String);

impl FromStr for LogLevel {
    type Err = ParseLogLevelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| ParseLogLevelError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_reads_back_from_its_name() {
        for level in LogLevel::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
    }

    #[test]
    fn another_word_is_refused_with_the_words_that_are_not() {
        let error = "verbose".parse::<LogLevel>().expect_err("verbose is no level");
        assert_eq!(
            error.to_string(),
            r#""verbose" is not a log level; use one of all, debug, info, warn, error, none"#
        );
    }
}
