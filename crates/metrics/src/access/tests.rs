use futures::future::join_all;
use serde_json::{Value, json};

use super::*;
use crate::testing::{self, ACCESS_REVIEWS, Asked, Server, TOKEN_REVIEWS, prometheus};

const TOKEN: &str = "eyJ-a-secret";

/// Runs a check while `serve` plays the API server.
async fn check(access: &Arc<Access>, token: &str, serve: impl Future<Output = ()>) -> Verdict {
    futures::join!(access.check(token), serve).0
}

fn access() -> (Arc<Access>, Server) {
    let (client, server) = testing::client();
    (Access::new(client), server)
}

#[tokio::test]
async fn both_questions_are_asked_once_and_the_answer_is_remembered() {
    let (access, mut server) = access();
    let serve = async {
        let asked = server.asked().await;
        assert_eq!((asked.what.as_str(), &asked.spec), (TOKEN_REVIEWS, &json!({"token": TOKEN})));
        asked.answer(201, &json!({"metadata": {}, "spec": {}, "status": prometheus()}));
        let asked = server.asked().await;
        let user = &prometheus()["user"];
        let expected = json!({"user": user["username"], "uid": user["uid"], "groups": user["groups"],
            "extra": user["extra"], "nonResourceAttributes": {"path": "/metrics", "verb": "get"}});
        assert_eq!((asked.what.as_str(), &asked.spec), (ACCESS_REVIEWS, &expected));
        asked.answer(201, &json!({"metadata": {}, "spec": {}, "status": {"allowed": true}}));
    };
    assert_eq!(check(&access, TOKEN, serve).await, Verdict::Allowed);
    for _ in 0..3 {
        assert_eq!(access.check(TOKEN).await, Verdict::Allowed, "nobody plays the API server any more");
    }
}

#[tokio::test]
async fn a_token_that_is_nobodys_is_not_asked_about_further() {
    for status in [
        json!({"authenticated": false, "error": "token has expired"}),
        json!({"error": "what"}),
        json!({}),
        Value::Null,
        json!({"authenticated": true}),
        json!({"authenticated": true, "user": {}}),
        json!({"authenticated": true, "user": {"username": ""}}),
        json!({"authenticated": false, "user": {"username": "admin"}}),
    ] {
        let (access, mut server) = access();
        let verdict = check(&access, TOKEN, server.token_is(status.clone())).await;
        assert_eq!(verdict, Verdict::Unauthenticated, "{status}");
        assert_eq!(access.check(TOKEN).await, Verdict::Unauthenticated, "the answer is remembered");
    }
}

#[tokio::test]
async fn whoever_may_not_is_named() {
    let denied = Verdict::Denied { user: "system:serviceaccount:monitoring:prometheus".into() };
    for status in [
        json!({"allowed": false}),
        json!({"allowed": false, "denied": true}),
        json!({"allowed": true, "denied": true}),
        Value::Null,
    ] {
        let (access, mut server) = access();
        let serve = async {
            server.token_is(prometheus()).await;
            server.access_is(status.clone()).await;
        };
        assert_eq!(check(&access, TOKEN, serve).await, denied, "{status}");
        assert_eq!(access.check(TOKEN).await, denied, "the answer is remembered");
    }
}

#[tokio::test]
async fn without_an_answer_the_reason_is_told_without_the_token_and_the_question_asked_again() {
    type Break = fn(Asked);
    let cases: [(Break, &str); 5] = [
        (|asked| asked.refuse(500), "the API server answered 500 to a creation of "),
        (|asked| asked.refuse(429), "the API server answered 429 to a creation of "),
        (|asked| asked.refuse(403), "this program may not create "),
        (Asked::hang_up, "the API server cannot be asked: connection reset by peer"),
        (|asked| asked.answer_text(201, "no JSON"), "the API server's answer to a creation of "),
    ];
    for (fail, expected) in cases {
        let (access, mut server) = access();
        let first = check(&access, TOKEN, async { fail(server.asked().await) }).await;
        let second = check(&access, TOKEN, async {
            server.token_is(prometheus()).await;
            fail(server.asked().await);
        });
        for verdict in [first, second.await] {
            let Verdict::Unavailable(why) = verdict else { panic!("{verdict:?}") };
            assert!(why.starts_with(expected) && !why.contains(TOKEN), "{why}");
        }
        let serve = async {
            server.token_is(prometheus()).await;
            server.access_is(json!({"allowed": true})).await;
        };
        assert_eq!(check(&access, TOKEN, serve).await, Verdict::Allowed);
    }
}

#[tokio::test]
async fn a_missing_permission_of_our_own_is_told_with_its_cure() {
    let (access, mut server) = access();
    let verdict = check(&access, TOKEN, async { server.asked().await.refuse(403) }).await;
    let why = "this program may not create tokenreviews; bind its service account to the ClusterRole system:auth-delegator";
    assert_eq!(verdict, Verdict::Unavailable(why.into()));
}

#[tokio::test]
async fn many_requests_at_once_with_one_token_ask_once() {
    let (access, mut server) = access();
    let serve = async {
        server.token_is(prometheus()).await;
        server.access_is(json!({"allowed": true})).await;
    };
    let (verdicts, ()) = futures::join!(join_all((0..50).map(|_| access.check(TOKEN))), serve);
    assert_eq!(verdicts, vec![Verdict::Allowed; 50]);
}

#[tokio::test]
async fn strangers_cannot_have_more_than_some_tokens_checked_at_once() {
    let (access, mut server) = access();
    let tokens: Vec<_> = (0..REVIEWS).map(|number| format!("token-{number}")).collect();
    let checks = join_all(tokens.iter().map(|token| access.check(token)));
    let others = async {
        // The checks above have begun: they were polled first.
        let Verdict::Unavailable(why) = access.check(TOKEN).await else { panic!("there is no room") };
        assert_eq!(why, "32 other tokens are being checked; try again");
        for _ in 0..REVIEWS {
            server.token_is(json!({})).await;
        }
    };
    let (verdicts, ()) = futures::join!(checks, others);
    assert_eq!(verdicts, vec![Verdict::Unauthenticated; REVIEWS]);
    assert_eq!(check(&access, TOKEN, server.token_is(json!({}))).await, Verdict::Unauthenticated);
    assert!(access.state().pending.is_empty());
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_its_answer_to_the_next() {
    let (access, mut server) = access();
    let gone = tokio::spawn({
        let access = Arc::clone(&access);
        async move { access.check(TOKEN).await }
    });
    let asked = server.asked().await;
    gone.abort();
    gone.await.expect_err("it was aborted");
    asked.answer(201, &json!({"metadata": {}, "spec": {}, "status": {}}));
    assert_eq!(access.check(TOKEN).await, Verdict::Unauthenticated);
}
