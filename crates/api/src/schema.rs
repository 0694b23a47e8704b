//! Schemas of fields that deriving would get wrong for Kubernetes: selectors, conditions, plain integers.

use schemars::{Schema, SchemaGenerator, json_schema};

use crate::rules;

/// An integer without a format.
pub(crate) fn integer(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer"})
}

/// A 32-bit integer, for a field whose type here is wider.
pub(crate) fn int32(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int32"})
}

/// The lines of a pool: prefixes and ranges.
pub(crate) fn address_lines(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": rules::MAX_ADDRESS_LINES,
        "x-kubernetes-validations": rules::address_lines(),
        "items": {
            "type": "string",
            "maxLength": rules::MAX_ADDRESS_LINE_LENGTH,
            "x-kubernetes-validations": rules::address_line(),
        },
    })
}

/// Communities by value or by name.
pub(crate) fn advertised_communities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": rules::MAX_ADVERTISED_COMMUNITIES,
        "items": {
            "type": "string",
            "maxLength": rules::MAX_COMMUNITY_NAME_LENGTH,
            "x-kubernetes-validations": rules::advertised_community(),
        },
    })
}

/// A community by value.
pub(crate) fn community_value(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": rules::MAX_COMMUNITY_VALUE_LENGTH,
        "x-kubernetes-validations": rules::community_value(),
    })
}

/// How fast a failure is found.
pub(crate) fn failover_profile(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["Default", "Fast", "Relaxed"]})
}

/// What is done without a majority.
pub(crate) fn on_quorum_loss(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["Silent", "Announce"]})
}

/// Which AS numbers of a peer are accepted.
pub(crate) fn dynamic_asn(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["internal", "external"]})
}

/// core/v1 SecretReference with the marker that k8s-openapi's own schema lacks.
pub(crate) fn secret_reference(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "name": {"description": "The name of the Secret.", "type": "string"},
            "namespace": {
                "description": "Ignored: the Secret is looked for in MetalLB's namespace.",
                "type": "string",
            },
        },
    })
}

/// The results of reading a configuration.
pub(crate) fn configuration_result(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["Valid", "Invalid", "Unknown"]})
}

/// A string that keeps the value that it was first given.
pub(crate) fn immutable_string(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "x-kubernetes-validations": [{"message": "Value is immutable", "rule": "self == oldSelf"}],
    })
}

/// The names of the log levels.
pub(crate) fn log_level(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["all", "debug", "info", "warn", "error", "none"]})
}

/// An object of string values.
pub(crate) fn string_map() -> Schema {
    json_schema!({"type": "object", "additionalProperties": {"type": "string"}})
}

/// A list of strings that is replaced as a whole.
pub(crate) fn atomic_strings() -> Schema {
    atomic_list(&json_schema!({"type": "string"}))
}

/// A list that is replaced as a whole.
pub(crate) fn atomic_list(items: &Schema) -> Schema {
    json_schema!({"type": "array", "items": items, "x-kubernetes-list-type": "atomic"})
}

/// A list of requirements `{key, operator, values}`, as label and node selectors have.
pub(crate) fn requirements() -> Schema {
    atomic_list(&json_schema!({
        "type": "object",
        "required": ["key", "operator"],
        "properties": {
            "key": {"type": "string"},
            "operator": {"type": "string"},
            "values": atomic_strings(),
        },
    }))
}

/// metav1.LabelSelector with the markers that k8s-openapi's own schema lacks.
pub(crate) fn label_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchExpressions": requirements(),
            "matchLabels": string_map(),
        },
    })
}

/// A list of label selectors.
pub(crate) fn label_selectors(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": label_selector(generator)})
}

/// Conditions of which each type has one owner.
pub(crate) fn condition_map(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = conditions(generator);
    schema.insert("x-kubernetes-list-type".to_owned(), "map".into());
    schema.insert("x-kubernetes-list-map-keys".to_owned(), vec!["type"].into());
    schema
}

/// A list of metav1.Condition.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": {
                    "description": "When the status last changed from one value to another.",
                    "type": "string", "format": "date-time",
                },
                "message": {
                    "description": "What a person should know; it may be empty.",
                    "type": "string", "maxLength": 32768,
                },
                "observedGeneration": {
                    "description": "The generation of the object that the condition was made from.",
                    "type": "integer", "format": "int64", "minimum": 0,
                },
                "reason": {
                    "description": "The cause of the last transition in one word.",
                    "type": "string", "minLength": 1, "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "status": {
                    "description": "True, False or Unknown.",
                    "type": "string", "enum": ["True", "False", "Unknown"],
                },
                "type": {
                    "description": "The name of the condition.",
                    "type": "string", "maxLength": 316,
                    "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                },
            },
        },
    })
}
