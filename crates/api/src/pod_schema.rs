//! Schemas of the parts of a Pod that the MetalLB resource passes on: affinity, tolerations, resources.
//!
//! The types are k8s-openapi's; their generated schemas lack the list and map markers of Kubernetes.

use schemars::{Schema, SchemaGenerator, json_schema};

use crate::schema::{atomic_list, atomic_strings, label_selector, requirements};

/// The pattern of a resource.Quantity.
const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

/// core/v1 Tolerations.
pub(crate) fn tolerations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "effect": {"type": "string"},
                "key": {"type": "string"},
                "operator": {"type": "string"},
                "tolerationSeconds": {"type": "integer", "format": "int64"},
                "value": {"type": "string"},
            },
        },
    })
}

/// core/v1 ResourceRequirements.
pub(crate) fn resources(_: &mut SchemaGenerator) -> Schema {
    let quantities = json_schema!({
        "type": "object",
        "additionalProperties": {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": QUANTITY,
            "x-kubernetes-int-or-string": true,
        },
    });
    json_schema!({
        "type": "object",
        "properties": {
            "claims": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"type": "string"}, "request": {"type": "string"}},
                },
            },
            "limits": quantities,
            "requests": quantities,
        },
    })
}

/// core/v1 Affinity.
pub(crate) fn affinity(generator: &mut SchemaGenerator) -> Schema {
    let node_term = node_selector_term();
    let pod_term = pod_affinity_term(generator);
    let pod_affinity = json_schema!({
        "type": "object",
        "properties": {
            "preferredDuringSchedulingIgnoredDuringExecution": weighted("podAffinityTerm", &pod_term),
            "requiredDuringSchedulingIgnoredDuringExecution": atomic_list(&pod_term),
        },
    });
    json_schema!({
        "type": "object",
        "properties": {
            "nodeAffinity": {
                "type": "object",
                "properties": {
                    "preferredDuringSchedulingIgnoredDuringExecution": weighted("preference", &node_term),
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "type": "object",
                        "x-kubernetes-map-type": "atomic",
                        "required": ["nodeSelectorTerms"],
                        "properties": {"nodeSelectorTerms": atomic_list(&node_term)},
                    },
                },
            },
            "podAffinity": pod_affinity,
            "podAntiAffinity": pod_affinity,
        },
    })
}

/// A list of terms with weights; `field` is the name under which each holds its term.
fn weighted(field: &str, term: &Schema) -> Schema {
    atomic_list(&json_schema!({
        "type": "object",
        "required": [field, "weight"],
        "properties": {(field): term, "weight": {"type": "integer", "format": "int32"}},
    }))
}

fn node_selector_term() -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {"matchExpressions": requirements(), "matchFields": requirements()},
    })
}

fn pod_affinity_term(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "required": ["topologyKey"],
        "properties": {
            "labelSelector": label_selector(generator),
            "matchLabelKeys": atomic_strings(),
            "mismatchLabelKeys": atomic_strings(),
            "namespaceSelector": label_selector(generator),
            "namespaces": atomic_strings(),
            "topologyKey": {"type": "string"},
        },
    })
}
