//! AdmissionReviews (admission.k8s.io/v1): may this object be stored?

use std::pin::Pin;

use bytes::Bytes;
use kube::core::{
    DynamicObject, Status,
    admission::{AdmissionResponse, AdmissionReview, META_API_VERSION_V1, META_KIND},
};
use thiserror::Error;

/// What is to be judged. An object in it becomes one of a type by `try_parse`.
pub type AdmissionRequest = kube::core::admission::AdmissionRequest<DynamicObject>;

/// A program's judgement, behind a path.
pub(crate) type Reviewer =
    Box<dyn Fn(AdmissionRequest) -> Pin<Box<dyn Future<Output = Decision> + Send>> + Send + Sync>;

/// The judgement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// Why the object may not be stored; `None` if it may. Users read it after
    /// `admission webhook "…" denied the request: `.
    pub refusal: Option<String>,
    /// What users are told besides, as `Warning: …`; better not longer than 120 characters each.
    pub warnings: Vec<String>,
}

impl Decision {
    /// The object may be stored.
    pub fn allow() -> Self {
        Self::default()
    }

    /// The object may not be stored, and why.
    pub fn deny(reason: impl Into<String>) -> Self {
        Self { refusal: Some(reason.into()), warnings: Vec::new() }
    }

    /// The same with one more warning.
    #[must_use]
    pub fn warn(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }
}

/// Why a body is not answered as a review.
#[derive(Debug, Error)]
pub(crate) enum NotAReview {
    #[error("not an AdmissionReview: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error(
        "not an AdmissionReview: this is {kind:?} of {api_version:?}; send an AdmissionReview of admission.k8s.io/v1"
    )]
    OtherKind { kind: String, api_version: String },
    #[error("not an AdmissionReview: it has no request")]
    NoRequest,
}

/// Answers one review.
pub(crate) async fn review(body: &[u8], reviewer: &Reviewer) -> Result<Bytes, String> {
    let request = parse(body).map_err(|fault| fault.to_string())?;
    let mut response = AdmissionResponse::from(&request);
    let decision = reviewer(request).await;
    if let Some(reason) = decision.refusal {
        response.allowed = false;
        // As controller-runtime answers: kubectl then says `Error from server (Forbidden)`.
        response.result = Status::failure(&reason, "Forbidden").with_code(403);
    }
    response.warnings = Some(decision.warnings).filter(|warnings| !warnings.is_empty());
    let json = serde_json::to_vec(&response.into_review()).expect("a response has only string keys");
    Ok(json.into())
}

fn parse(body: &[u8]) -> Result<AdmissionRequest, NotAReview> {
    let review: AdmissionReview<DynamicObject> = serde_json::from_slice(body)?;
    if review.types.kind != META_KIND || review.types.api_version != META_API_VERSION_V1 {
        let (kind, api_version) = (review.types.kind, review.types.api_version);
        return Err(NotAReview::OtherKind { kind, api_version });
    }
    review.try_into().map_err(|_| NotAReview::NoRequest)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn asked() -> Value {
        json!({
            "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
            "request": {
                "uid": "u-1",
                "kind": {"group": "metallb.io", "version": "v1beta1", "kind": "IPAddressPool"},
                "resource": {"group": "metallb.io", "version": "v1beta1", "resource": "ipaddresspools"},
                "name": "pool", "namespace": "metallb-system", "operation": "CREATE",
                "userInfo": {"username": "kubernetes-admin"},
                "object": {
                    "kind": "IPAddressPool", "apiVersion": "metallb.io/v1beta1",
                    "metadata": {"name": "pool", "namespace": "metallb-system"},
                    "spec": {"addresses": ["192.0.2.0/24"]},
                },
                "oldObject": null, "dryRun": false,
                "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
            },
        })
    }

    async fn answer(asked: &Value, decision: Decision) -> Value {
        let reviewer: Reviewer = Box::new(move |request| {
            assert_eq!(
                request.object.as_ref().expect("an object").data["spec"]["addresses"][0],
                "192.0.2.0/24"
            );
            Box::pin(std::future::ready(decision.clone()))
        });
        let body = review(asked.to_string().as_bytes(), &reviewer).await.expect("a review");
        serde_json::from_slice(&body).expect("JSON")
    }

    #[tokio::test]
    async fn an_object_that_may_be_stored_is_allowed_under_the_request_s_uid() {
        let answer = answer(&asked(), Decision::allow()).await;
        assert_eq!(answer["kind"], "AdmissionReview");
        assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
        assert_eq!(answer["response"]["uid"], "u-1");
        assert_eq!(answer["response"]["allowed"], true);
        assert_eq!(answer["response"].get("warnings"), None);
        assert_eq!(answer.get("request"), None);
    }

    #[tokio::test]
    async fn a_refusal_is_forbidden_with_its_reason_and_warnings_come_along() {
        let decision =
            Decision::deny("CIDR \"x\" in pool \"pool\" is malformed").warn("and v1 is deprecated");
        let answer = answer(&asked(), decision).await;
        assert_eq!(answer["response"]["allowed"], false);
        let status = &answer["response"]["status"];
        assert_eq!(status["message"], "CIDR \"x\" in pool \"pool\" is malformed");
        assert_eq!((&status["code"], &status["reason"]), (&json!(403), &json!("Forbidden")));
        assert_eq!(answer["response"]["warnings"], json!(["and v1 is deprecated"]));
    }

    #[test]
    fn what_is_no_review_is_named() {
        let mut older = asked();
        older["apiVersion"] = "admission.k8s.io/v1beta1".into();
        let mut empty = asked();
        empty["request"] = Value::Null;
        let mut broken = asked();
        broken["request"]["operation"] = "PONDER".into();
        let cases = [
            (
                older,
                r#"not an AdmissionReview: this is "AdmissionReview" of "admission.k8s.io/v1beta1"; send an AdmissionReview of admission.k8s.io/v1"#,
            ),
            (empty, "not an AdmissionReview: it has no request"),
            (broken, "not an AdmissionReview: unknown variant `PONDER`"),
            (
                json!({"kind": "Pod", "apiVersion": "v1"}),
                r#"not an AdmissionReview: this is "Pod" of "v1"; "#,
            ),
            (json!(null), "not an AdmissionReview: "),
        ];
        for (body, text) in cases {
            let fault = parse(body.to_string().as_bytes()).expect_err(text).to_string();
            assert!(fault.starts_with(text), "{fault}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_body_panics(body: Vec<u8>, at in 0..900usize, byte: u8) {
            parse(&body).ok();
            let mut nearly = asked().to_string().into_bytes();
            if let Some(place) = nearly.get_mut(at) {
                *place = byte;
            }
            parse(&nearly).ok();
        }
    }
}
