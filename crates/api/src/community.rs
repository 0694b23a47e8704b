//! Community: names for BGP communities.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::custom_resource;
use crate::{rules, schema};

custom_resource!(
    /// Community gives names to BGP communities, for use in BGPAdvertisements.
    Community {
        /// The names and what they stand for.
        spec: CommunitySpec,
        /// Nothing yet.
        status: CommunityStatus
    },
    "v1beta1",
    "communities"
);

/// CommunitySpec lists names and what they stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommunitySpec {
    /// The names and what they stand for. No name may be given twice, in one Community or in several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = rules::MAX_ALIASES))]
    pub communities: Vec<CommunityAlias>,
}

/// CommunityAlias is a name for a community.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = rules::alias()))]
pub struct CommunityAlias {
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The community: two numbers up to 65535 such as 65000:100 (RFC 1997), or a large one of three numbers up to
    /// 4294967295 such as large:65000:1:2 (RFC 8092).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::community_value")]
    pub value: Option<String>,
}

/// CommunityStatus is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommunityStatus {}
