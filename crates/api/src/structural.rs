//! Schemas as Kubernetes wants them.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// The schema of a type in the form that Kubernetes calls structural: no references, no null, and a default
/// only where the API server shall fill in a value.
pub(crate) fn structural<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    simplify(&mut schema);
    schema
}

fn simplify(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    unwrap_option(object);
    object.remove("title");
    object.remove("nullable");
    if object.get("default").is_some_and(is_empty) {
        object.remove("default");
    }
    if let Some(Value::String(description)) = object.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    // A quantity's `anyOf` of integer and string is part of x-kubernetes-int-or-string and stays as it is.
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(simplify);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            simplify(inner);
        }
    }
    if object.get("additionalProperties") == Some(&Value::Bool(false)) {
        object.remove("additionalProperties");
    }
}

/// An `Option` is an `anyOf` or a `type` list with null in it; the API server prunes null instead.
fn unwrap_option(object: &mut Map<String, Value>) {
    let is_null =
        |v: &Value| v.get("type").is_some_and(|t| t == "null") || v.get("enum") == Some(&json!([null]));
    if let Some(Value::Array(choices)) = object.get("anyOf")
        && choices.iter().any(is_null)
        && let Some(Value::Object(inner)) = choices.iter().find(|c| !is_null(c)).cloned()
    {
        object.remove("anyOf");
        for (key, value) in inner {
            object.entry(key).or_insert(value);
        }
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|t| t != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            object.insert("type".to_owned(), one);
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}
