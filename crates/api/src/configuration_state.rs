//! ConfigurationState: whether a program could use the configuration that it found.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::custom_resource;
use crate::schema;

custom_resource!(
    /// ConfigurationState shows whether a program, the controller or the speaker of a node, could use the
    /// configuration that it found, and if not, why. Written by that program.
    ConfigurationState {
        /// What the program made of the configuration.
        status: ConfigurationStateStatus
    },
    "v1beta1",
    "configurationstates"
);

/// ConfigurationStateStatus says whether the configuration is in use, and if not, why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationStateStatus {
    /// Whether the configuration is valid; Unknown where that could not be found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::configuration_result")]
    pub result: Option<ConfigurationResult>,
    /// What is wrong, one line for each mistake. Empty where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_summary: Option<String>,
    /// The result of each part of the program that reads configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::condition_map")]
    pub conditions: Vec<Condition>,
}

/// Whether a configuration is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigurationResult {
    /// It is, and it is in use.
    Valid,
    /// It is not; the last valid one stays in use.
    Invalid,
    /// It could not be found out.
    Unknown,
}

impl fmt::Display for ConfigurationResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
