//! One review of the MetalLB resource: can the operator do what it asks for?
//!
//! It depends on nothing but the resource. Neither name nor namespace is judged here: the operator says in the status of
//! a misplaced one where it belongs, which a user finds there although the tool that created it has long ended.

use api::MetalLBSpec;
use config::metallb::validate;
use kube::core::admission::Operation;
use webhook::{AdmissionRequest, Decision};

use super::judge::says_the_same;

/// The path, as MetalLB's operator names it.
pub(super) const PATH: &str = "/validate-metallb-io-v1beta1-metallb";

/// Judges what is asked for.
pub(super) fn judge(request: &AdmissionRequest) -> Decision {
    let stays = matches!(request.operation, Operation::Create | Operation::Update);
    let Some(object) = request.object.as_ref().filter(|_| stays && !says_the_same(request)) else {
        return Decision::allow();
    };
    // On its way out: only the last finalizers are taken away.
    if object.metadata.deletion_timestamp.is_some() {
        return Decision::allow();
    }
    let spec = object.data.get("spec").cloned().unwrap_or_else(|| serde_json::json!({}));
    match serde_json::from_value::<MetalLBSpec>(spec) {
        Ok(spec) => {
            validate(&spec).map_or_else(|error| Decision::deny(error.to_string()), |()| Decision::allow())
        }
        Err(why) => Decision::deny(format!("MetalLB cannot be read: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn review(operation: &str, spec: &Value, old: &Value) -> Decision {
        let which = json!({"group": "metallb.io", "version": "v1beta1", "kind": "MetalLB"});
        let resource = json!({"group": "metallb.io", "version": "v1beta1", "resource": "metallbs"});
        let object = |spec: &Value| match spec {
            Value::Null => Value::Null,
            spec => json!({
                "apiVersion": "metallb.io/v1beta1", "kind": "MetalLB",
                "metadata": {"name": "any", "namespace": "any"}, "spec": spec,
            }),
        };
        let request = json!({
            "uid": "u", "kind": which, "resource": resource, "name": "any", "namespace": "any", "operation": operation,
            "userInfo": {}, "object": object(spec), "oldObject": object(old), "dryRun": false,
        });
        judge(&serde_json::from_value(request).expect("a request"))
    }

    #[test]
    fn a_spec_that_the_operator_cannot_serve_is_refused_when_it_is_new_or_changed() {
        let wrong = json!({"bgpBackend": "bird"});
        let fine = json!({"bgpBackend": "frr", "logLevel": "debug"});
        for (operation, new, old, refused) in [
            ("CREATE", &fine, &Value::Null, false),
            ("CREATE", &wrong, &Value::Null, true),
            ("UPDATE", &wrong, &fine, true),
            ("UPDATE", &fine, &wrong, false),
            // Stored by a version that let it pass: tools may keep their notes on it.
            ("UPDATE", &wrong, &wrong, false),
            ("DELETE", &Value::Null, &wrong, false),
        ] {
            let decision = review(operation, new, old);
            assert_eq!(decision.refusal.is_some(), refused, "{operation} {new} {old}: {decision:?}");
        }
        let refusal = review("CREATE", &wrong, &Value::Null).refusal.expect("refused");
        assert!(refusal.starts_with("invalid BGP Backend, must be one of native, frr"), "{refusal}");
    }

    #[test]
    fn a_spec_of_another_shape_is_refused_with_what_is_wrong() {
        let refusal =
            review("CREATE", &json!({"speakerTolerations": 1}), &Value::Null).refusal.expect("refused");
        assert!(refusal.starts_with("MetalLB cannot be read: "), "{refusal}");
    }
}
