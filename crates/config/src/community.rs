//! BGP communities, and the names that users give to them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::error::ConfigError;

/// A BGP community.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Community {
    /// Two numbers of 16 bits, the first by convention an AS number (RFC 1997).
    Standard(u16, u16),
    /// Three numbers of 32 bits, the first an AS number (RFC 8092).
    Large(u32, u32, u32),
}

/// Why a text is no community.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum ParseCommunityError {
    /// A part is no number, or too great.
    #[error("invalid community value: invalid section {section:?} of community {community:?}")]
    Section {
        /// The part.
        section: String,
        /// The whole text.
        community: String,
    },
    /// Four parts, of which the first is not `large`.
    #[error(
        "invalid community value: invalid marker for large community, expected community to be of format large:<uint32>:<uint32>:<uint32> but got {0:?}"
    )]
    Marker(String),
    /// Neither two parts nor four.
    #[error("invalid community format: {0}")]
    Format(String),
}

/// A validated Community: names for communities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommunityNames {
    /// The name of the Community.
    pub name: String,
    /// What each name stands for. No other Community has one of these names.
    pub names: BTreeMap<String, Community>,
}

impl FromStr for Community {
    type Err = ParseCommunityError;

    /// Reads `65000:100` or `large:65000:1:2`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        fn number<T: FromStr>(section: &str, text: &str) -> Result<T, ParseCommunityError> {
            // What `parse` takes beyond digits, a sign, is refused.
            let digits = section.bytes().all(|byte| byte.is_ascii_digit());
            section.parse().ok().filter(|_| digits).ok_or_else(|| ParseCommunityError::Section {
                section: section.to_owned(),
                community: text.to_owned(),
            })
        }
        let mut sections = text.split(':');
        let sections: [Option<&str>; 5] = std::array::from_fn(|_| sections.next());
        match sections {
            [Some(high), Some(low), None, ..] => Ok(Self::Standard(number(high, text)?, number(low, text)?)),
            [Some("large"), Some(global), Some(one), Some(two), None] => {
                Ok(Self::Large(number(global, text)?, number(one, text)?, number(two, text)?))
            }
            [_, _, _, Some(_), None] => Err(ParseCommunityError::Marker(text.to_owned())),
            _ => Err(ParseCommunityError::Format(text.to_owned())),
        }
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard(high, low) => write!(f, "{high}:{low}"),
            Self::Large(global, one, two) => write!(f, "large:{global}:{one}:{two}"),
        }
    }
}

/// Reads one Community: all but names that another has, too.
pub(crate) fn parse(object: &api::Community) -> Result<CommunityNames, ConfigError> {
    let mut names = BTreeMap::new();
    for alias in &object.spec.communities {
        let name = alias.name.clone().unwrap_or_default();
        let value = alias.value.as_deref().unwrap_or_default();
        let value =
            value.parse().map_err(|source| ConfigError::CommunityValue { name: name.clone(), source })?;
        if names.insert(name.clone(), value).is_some() {
            return Err(ConfigError::DuplicateCommunity { name, other: None });
        }
    }
    Ok(CommunityNames { name: object.metadata.name.clone().unwrap_or_default(), names })
}

/// The names of all Communities that are taken so far, with the Community that each is from.
#[derive(Debug, Default)]
pub(crate) struct Names {
    owners: BTreeMap<String, String>,
}

impl Names {
    /// Takes all names of a Community, or none where another has one of them.
    pub(crate) fn add(&mut self, community: &CommunityNames) -> Result<(), ConfigError> {
        for name in community.names.keys() {
            if let Some(owner) = self.owners.get(name) {
                return Err(ConfigError::DuplicateCommunity {
                    name: name.clone(),
                    other: Some(owner.clone()),
                });
            }
        }
        self.owners.extend(community.names.keys().map(|name| (name.clone(), community.name.clone())));
        Ok(())
    }
}
