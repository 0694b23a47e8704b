//! The two questions to the API server: whose token is it, and may they.

use std::time::Duration;

use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};

use super::Verdict;

/// The time for both questions: as long as Prometheus waits for a scrape unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is asked for.
const PATH: &str = "/metrics";
const VERB: &str = "get";

/// Asks. Nothing that is returned contains the token.
pub(super) async fn review(client: &Client, token: String) -> Verdict {
    let Ok(answer) = tokio::time::timeout(TIMEOUT, ask(client, token)).await else {
        return Verdict::Unavailable(format!("the API server did not answer within {} s", TIMEOUT.as_secs()));
    };
    answer.unwrap_or_else(Verdict::Unavailable)
}

async fn ask(client: &Client, token: String) -> Result<Verdict, String> {
    let Some(user) = whose(client, token).await? else { return Ok(Verdict::Unauthenticated) };
    let name = user.username.clone().unwrap_or_default();
    Ok(if may(client, user).await? { Verdict::Allowed } else { Verdict::Denied { user: name } })
}

/// The owner of the token, for the API server's own audience.
async fn whose(client: &Client, token: String) -> Result<Option<UserInfo>, String> {
    let spec = TokenReviewSpec { token, audiences: None };
    let review = TokenReview { spec, ..TokenReview::default() };
    let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await;
    let status = answer.map_err(|error| failure("tokenreviews", &error))?.status.unwrap_or_default();
    Ok(status.user.filter(|user| {
        status.authenticated == Some(true) && user.username.as_ref().is_some_and(|name| !name.is_empty())
    }))
}

async fn may(client: &Client, user: UserInfo) -> Result<bool, String> {
    let spec = SubjectAccessReviewSpec {
        user: user.username,
        groups: user.groups,
        uid: user.uid,
        extra: user.extra,
        non_resource_attributes: Some(NonResourceAttributes {
            path: Some(PATH.into()),
            verb: Some(VERB.into()),
        }),
        resource_attributes: None,
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await;
    let status = answer.map_err(|error| failure("subjectaccessreviews", &error))?.status;
    Ok(status.is_some_and(|status| status.allowed && status.denied != Some(true)))
}

/// Why there is no answer, with the cure where we know it.
fn failure(resource: &str, error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => format!(
            "this program may not create {resource}; bind its service account to the ClusterRole system:auth-delegator"
        ),
        kube::Error::Api(status) => {
            format!("the API server answered {} to a creation of {resource}", status.code)
        }
        // The error of a connection; kube's text for a body that is no JSON could quote what was sent.
        kube::Error::SerdeError(_) => {
            format!("the API server's answer to a creation of {resource} is not understood")
        }
        other => format!("the API server cannot be asked: {}", innermost(other)),
    }
}

/// The cause at the bottom ("Connection refused"): what lies above only says that something failed.
fn innermost(error: &kube::Error) -> &dyn std::error::Error {
    let mut cause: &dyn std::error::Error = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause
}
