//! ConversionReviews (apiextensions.k8s.io): the same object in another version.
//!
//! The versions v1 and v1beta1 of the review have the same fields; the answer is in the version of the question.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use thiserror::Error;

/// A program's conversion, behind a path.
pub(crate) type Converter = Arc<dyn Fn(Value, &str) -> Result<Value, String> + Send + Sync>;

/// The versions of the review.
const VERSIONS: [&str; 2] = ["apiextensions.k8s.io/v1", "apiextensions.k8s.io/v1beta1"];

/// Bodies from this size on are converted apart from the tasks that answer others.
const LARGE: usize = 64 << 10;

/// Why a body is not answered as a review.
#[derive(Debug, Error)]
pub(crate) enum NotAReview {
    #[error("not a ConversionReview: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("not a ConversionReview: this is {kind:?} of {api_version:?}; send a ConversionReview of {}", VERSIONS.join(" or "))]
    OtherKind { kind: String, api_version: String },
    #[error("not a ConversionReview: request.{0} is missing or not what it should be")]
    Field(&'static str),
}

/// Answers one review.
pub(crate) async fn review(body: Bytes, converter: Converter) -> Result<Bytes, String> {
    let large = body.len() >= LARGE;
    let work = move || answer(&body, &*converter).map_err(|fault| fault.to_string());
    if large {
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|fault| Err(format!("the conversion failed: {fault}")))
    } else {
        work()
    }
}

/// Converts all objects, or none: the API server wants as many as it sent.
fn answer(
    body: &[u8],
    converter: &dyn Fn(Value, &str) -> Result<Value, String>,
) -> Result<Bytes, NotAReview> {
    let mut question: Value = serde_json::from_slice(body)?;
    let api_version = text(&question, "apiVersion").to_owned();
    if text(&question, "kind") != "ConversionReview" || !VERSIONS.contains(&api_version.as_str()) {
        return Err(NotAReview::OtherKind { kind: text(&question, "kind").to_owned(), api_version });
    }
    let mut request = question["request"].take();
    let desired = text(&request, "desiredAPIVersion").to_owned();
    let uid = text(&request, "uid").to_owned();
    if desired.is_empty() {
        return Err(NotAReview::Field("desiredAPIVersion"));
    }
    if uid.is_empty() {
        return Err(NotAReview::Field("uid"));
    }
    let Some(Value::Array(objects)) = request.get_mut("objects").map(Value::take) else {
        return Err(NotAReview::Field("objects"));
    };
    let mut outcome = Map::new();
    outcome.insert("uid".to_owned(), uid.into());
    match objects.into_iter().map(|object| converter(object, &desired)).collect::<Result<Vec<_>, _>>() {
        Ok(objects) => {
            outcome.insert("result".to_owned(), json!({"status": "Success"}));
            outcome.insert("convertedObjects".to_owned(), objects.into());
        }
        Err(message) => {
            outcome.insert("result".to_owned(), json!({"status": "Failure", "message": message}));
        }
    }
    let answer = json!({"apiVersion": api_version, "kind": "ConversionReview", "response": outcome});
    Ok(answer.to_string().into())
}

/// A field's text; empty where there is none.
fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(mut object: Value, desired: &str) -> Result<Value, String> {
        if object["spec"]["broken"] == true {
            return Err(format!("{} cannot be had in {desired}", object["metadata"]["name"]));
        }
        object["apiVersion"] = desired.into();
        Ok(object)
    }

    fn ask(api_version: &str, objects: &[Value]) -> Value {
        json!({
            "kind": "ConversionReview", "apiVersion": api_version,
            "request": {"uid": "u-2", "desiredAPIVersion": "metallb.io/v1beta2", "objects": objects},
        })
    }

    fn peer(name: &str, broken: bool) -> Value {
        json!({
            "kind": "BGPPeer", "apiVersion": "metallb.io/v1beta1",
            "metadata": {"name": name}, "spec": {"broken": broken},
        })
    }

    async fn answered(asked: &Value) -> Result<Value, String> {
        let body = review(asked.to_string().into(), Arc::new(convert)).await?;
        Ok(serde_json::from_slice(&body).expect("JSON"))
    }

    #[tokio::test]
    async fn all_objects_come_back_in_their_order_in_either_version_of_the_review() {
        for version in VERSIONS {
            for count in [0, 1, 3, 2000] {
                let objects: Vec<_> = (0..count).map(|n| peer(&format!("peer{n}"), false)).collect();
                let answer = answered(&ask(version, &objects)).await.expect("a review");
                assert_eq!(answer["apiVersion"], version);
                assert_eq!(answer["kind"], "ConversionReview");
                assert_eq!(answer["response"]["uid"], "u-2");
                assert_eq!(answer["response"]["result"], json!({"status": "Success"}));
                let converted = answer["response"]["convertedObjects"].as_array().expect("a list");
                assert_eq!(converted.len(), count);
                for (n, object) in converted.iter().enumerate() {
                    assert_eq!(object["metadata"]["name"], format!("peer{n}"));
                    assert_eq!(object["apiVersion"], "metallb.io/v1beta2");
                }
            }
        }
    }

    #[tokio::test]
    async fn one_object_that_cannot_be_converted_fails_the_review_with_its_reason() {
        let asked = ask(VERSIONS[0], &[peer("fine", false), peer("odd", true)]);
        let answer = answered(&asked).await.expect("a review");
        let result = json!({"status": "Failure", "message": "\"odd\" cannot be had in metallb.io/v1beta2"});
        assert_eq!(answer["response"], json!({"uid": "u-2", "result": result}));
    }

    #[tokio::test]
    async fn what_is_no_review_is_named() {
        let without = |field: &str| {
            let mut asked = ask(VERSIONS[0], &[]);
            asked["request"].as_object_mut().expect("a request").remove(field);
            asked
        };
        let cases = [
            (without("uid"), "not a ConversionReview: request.uid is missing or not what it should be"),
            (
                without("objects"),
                "not a ConversionReview: request.objects is missing or not what it should be",
            ),
            (
                without("desiredAPIVersion"),
                "not a ConversionReview: request.desiredAPIVersion is missing or not what it should be",
            ),
            (
                ask("apiextensions.k8s.io/v2", &[]),
                r#"not a ConversionReview: this is "ConversionReview" of "apiextensions.k8s.io/v2"; send a ConversionReview of apiextensions.k8s.io/v1 or apiextensions.k8s.io/v1beta1"#,
            ),
            (
                json!(7),
                r#"not a ConversionReview: this is "" of ""; send a ConversionReview of apiextensions.k8s.io/v1 or apiextensions.k8s.io/v1beta1"#,
            ),
        ];
        for (asked, expected) in cases {
            assert_eq!(answered(&asked).await.expect_err(expected), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_body_panics(body: Vec<u8>, at in 0..200usize, byte: u8) {
            answer(&body, &convert).ok();
            let mut nearly = ask(VERSIONS[1], &[peer("a", false)]).to_string().into_bytes();
            if let Some(place) = nearly.get_mut(at) {
                *place = byte;
            }
            answer(&nearly, &convert).ok();
        }
    }
}
