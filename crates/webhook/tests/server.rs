//! The server from outside: reviews, crowds, and clients that mean ill.

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::{Caller, LONG, Running, connect, made, review, routes, short, trusting};
use futures::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tls::{CertResolver, TlsOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Barrier, watch},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use webhook::{Decision, Limits, Routes, ServerConfig};

/// A server with `config`, and TLS that trusts it and offers HTTP/1.1.
fn server(config: &ServerConfig, routes: Routes) -> (Running, TlsConnector) {
    let made = made("CA");
    let server = Running::new(config, Arc::new(made.certificate.into()), routes);
    (server, trusting(&[made.authority], &[b"http/1.1"]))
}

#[tokio::test]
async fn reviews_and_conversions_are_answered_over_one_connection() {
    let (server, tls) = server(&ServerConfig::default(), routes());
    let caller = Caller::new(server.address, &tls).await.expect("connected");
    for number in 0..10 {
        let answer = caller.review(&format!("u{number}"), &number.to_string()).await.expect("answered");
        assert_eq!(answer["allowed"], number % 2 == 0);
        if number % 2 == 1 {
            assert_eq!(answer["status"]["message"], format!("{number} is odd"));
            assert_eq!(answer["warnings"], json!(["odd"]));
        }
    }
    for version in ["v1", "v1beta1"] {
        let asked = json!({
            "kind": "ConversionReview", "apiVersion": format!("apiextensions.k8s.io/{version}"),
            "request": {"uid": "c", "desiredAPIVersion": "metallb.io/v1beta2", "objects": [{"kind": "BGPPeer"}]},
        });
        let sent = caller.send(Method::POST, "/convert", asked.to_string().into()).await;
        let (status, body) = sent.expect("answered");
        assert_eq!(status, StatusCode::OK);
        let answer: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(answer["response"]["convertedObjects"][0]["apiVersion"], "metallb.io/v1beta2");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_review_is_explained_and_the_connection_serves_on() {
    let config =
        ServerConfig { limits: Limits { body: 100_000, ..Limits::default() }, ..ServerConfig::default() };
    let (server, tls) = server(&config, routes());
    let cases = [
        (
            Method::POST,
            "/nothing",
            Bytes::new(),
            404,
            "nothing is reviewed at /nothing; use one of /convert, /validate",
        ),
        (Method::GET, "/validate", Bytes::new(), 405, "reviews are sent by POST"),
        (Method::POST, "/validate", "{".into(), 400, "not an AdmissionReview: EOF"),
        (Method::POST, "/validate", vec![0xff; 1000].into(), 400, "not an AdmissionReview: "),
        (Method::POST, "/convert", "[]".into(), 400, "not a ConversionReview: "),
        (
            Method::POST,
            "/validate",
            vec![b' '; 100_001].into(),
            413,
            "the body is larger than the 100000 bytes",
        ),
    ];
    for (method, path, body, code, begins) in cases {
        let caller = Caller::new(server.address, &tls).await.expect("connected");
        let (status, text) = caller.send(method, path, body).await.expect("answered");
        let text = String::from_utf8_lossy(&text);
        assert_eq!(status, code, "{path}: {text}");
        assert!(text.starts_with(begins), "{path}: {text}");
        if code != 413 {
            caller.review("u", "2").await.expect("the connection is still good");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_only_shows_its_size_while_it_comes_is_cut_off() {
    let config =
        ServerConfig { limits: Limits { body: 1000, ..Limits::default() }, ..ServerConfig::default() };
    let (server, tls) = server(&config, routes());
    let mut stream = connect(server.address, &tls).await.expect("connected");
    let head = "POST /validate HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("sent");
    let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
    stream.write_all(chunk.as_bytes()).await.expect("sent");
    let mut answer = vec![0; 4096];
    let taken = timeout(LONG, stream.read(&mut answer)).await.expect("in time").expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..taken]);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_reviews_at_once_none_is_lost() {
    // No review is answered before all have arrived.
    let all = Arc::new(Barrier::new(1000));
    let waiting = all.clone();
    let routes = Routes::new().review("/validate", move |request| {
        let all = waiting.clone();
        async move {
            all.wait().await;
            Decision::deny(request.name)
        }
    });
    let made = made("CA");
    let config = ServerConfig { http2: true, ..ServerConfig::default() };
    let server = Running::new(&config, Arc::new(made.certificate.into()), routes);
    let tls = trusting(&[made.authority], &[b"h2"]);
    let callers = join_all((0..5).map(|_| Caller::new(server.address, &tls))).await;
    let callers: Vec<_> = callers.into_iter().collect::<Result<_, _>>().expect("connected");
    let asked = (0..1000).map(|number| {
        let caller = callers[number % callers.len()].clone();
        tokio::spawn(async move {
            let name = number.to_string();
            let answer = caller.review(&format!("u{number}"), &name).await.expect("answered");
            assert_eq!(answer["status"]["message"], name);
        })
    });
    for answered in timeout(LONG, join_all(asked)).await.expect("all are answered") {
        answered.expect("rightly");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_hundred_connections_at_once_are_all_served() {
    let (server, tls) = server(&ServerConfig::default(), routes());
    let address = server.address;
    let asked = (0..400).map(|number| {
        let tls = tls.clone();
        tokio::spawn(async move {
            let caller = Caller::new(address, &tls).await.expect("connected");
            for round in 0..5 {
                let answer =
                    caller.review(&format!("u{round}"), &number.to_string()).await.expect("answered");
                assert_eq!(answer["allowed"], number % 2 == 0);
            }
        })
    });
    for answered in timeout(LONG, join_all(asked)).await.expect("all are answered") {
        answered.expect("rightly");
    }
    server.stop().await;
}

#[tokio::test]
async fn more_connections_than_allowed_wait_for_their_turn() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let (server, tls) = server(&ServerConfig { limits, ..ServerConfig::default() }, routes());
    let first = Caller::new(server.address, &tls).await.expect("connected");
    let second = Caller::new(server.address, &tls).await.expect("connected");
    let address = server.address;
    let third = tokio::spawn(async move { Caller::new(address, &tls).await });
    first.review("u", "2").await.expect("answered");
    assert!(!third.is_finished());
    drop(second);
    let third = timeout(LONG, third).await.expect("its turn comes").expect("no panic").expect("connected");
    third.review("u", "2").await.expect("answered");
    server.stop().await;
}

#[tokio::test]
async fn http_2_is_spoken_only_if_asked() {
    for (http2, offered, agreed) in [
        (false, &[&b"h2"[..], b"http/1.1"][..], Some(&b"http/1.1"[..])),
        (false, &[], None),
        (true, &[b"h2", b"http/1.1"], Some(b"h2")),
        (true, &[b"http/1.1"], Some(b"http/1.1")),
    ] {
        let made = made("CA");
        let config = ServerConfig { http2, ..ServerConfig::default() };
        let server = Running::new(&config, Arc::new(made.certificate.into()), routes());
        let tls = trusting(&[made.authority], offered);
        let stream = connect(server.address, &tls).await.expect("connected");
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed);
        let caller = Caller::new(server.address, &tls).await.expect("connected");
        assert_eq!(caller.review("u", "2").await.expect("answered")["allowed"], true);
        server.stop().await;
    }
}

#[tokio::test]
async fn the_tls_flags_decide_about_versions() {
    let older: TlsOptions =
        TlsOptions { min_version: "VersionTLS12".parse().expect("a version"), ..TlsOptions::default() };
    for (options, works) in [(TlsOptions::default(), false), (older, true)] {
        let made = made("CA");
        let config = ServerConfig { tls: options, ..ServerConfig::default() };
        let server = Running::new(&config, Arc::new(made.certificate.into()), routes());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.authority).expect("a CA");
        let client =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS12])
                .expect("ring has it")
                .with_root_certificates(roots)
                .with_no_client_auth();
        let connected = connect(server.address, &Arc::new(client).into()).await;
        assert_eq!(connected.is_ok(), works);
        server.stop().await;
    }
}

#[tokio::test]
async fn without_a_certificate_handshakes_fail_and_with_one_they_work() {
    let resolver = Arc::new(CertResolver::new());
    let server = Running::new(&ServerConfig::default(), resolver.clone(), routes());
    let made = made("CA");
    let tls = trusting(&[made.authority], &[]);
    assert!(connect(server.address, &tls).await.is_err());
    resolver.set(made.certificate);
    let caller = Caller::new(server.address, &tls).await.expect("connected");
    caller.review("u", "2").await.expect("answered");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_change_under_load_without_a_failed_review() {
    let generations: Vec<_> = (0..4).map(|n| made(&format!("CA {n}"))).collect();
    let trusted: Vec<_> = generations.iter().map(|made| made.authority.clone()).collect();
    let resolver = Arc::new(CertResolver::new());
    resolver.set(generations[0].certificate.clone());
    let server = Running::new(&ServerConfig::default(), resolver.clone(), routes());
    let (address, tls) = (server.address, trusting(&trusted, &[]));
    let (stop, stopped) = watch::channel(false);
    let (count, mut counted) = watch::channel(0_u64);
    let callers: Vec<_> = (0..8)
        .map(|number| {
            let (tls, stopped, count) = (tls.clone(), stopped.clone(), count.clone());
            tokio::spawn(async move {
                let kept = Caller::new(address, &tls).await.expect("connected");
                while !*stopped.borrow() {
                    let caller = Caller::new(address, &tls).await.expect("connected");
                    caller.review("new", &number.to_string()).await.expect("answered");
                    kept.review("kept", &number.to_string()).await.expect("answered");
                    count.send_modify(|count| *count += 2);
                }
            })
        })
        .collect();
    for made in &generations[1..] {
        let so_far = *counted.borrow();
        counted.wait_for(|count| *count >= so_far + 100).await.expect("reviews go on");
        resolver.set(made.certificate.clone());
        let only_new = trusting(std::slice::from_ref(&made.authority), &[]);
        Caller::new(address, &only_new).await.expect("the new one is shown at once");
    }
    stop.send_replace(true);
    for answered in join_all(callers).await {
        answered.expect("no review failed");
    }
    server.stop().await;
}

#[tokio::test]
async fn handshakes_that_are_none_end_without_harm() {
    let (server, tls) = server(&ServerConfig { limits: short(), ..ServerConfig::default() }, routes());
    let recorded = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let noise = vec![0xff; 40_000];
    let ill: [&[u8]; 6] = [
        b"",
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        &[0; 100],
        &noise,
        // The head of a ClientHello, and no more.
        recorded,
        b"\x16\x03\x01\xff\xff",
    ];
    for bytes in ill.iter().cycle().take(60) {
        let mut stream = TcpStream::connect(server.address).await.expect("connected");
        // The server may have closed already.
        stream.write_all(bytes).await.ok();
        let mut rest = Vec::new();
        timeout(LONG, stream.read_to_end(&mut rest)).await.expect("the server closes in time").ok();
        assert!(rest.len() < 100, "an alert at most");
    }
    let caller = Caller::new(server.address, &tls).await.expect("connected");
    caller.review("u", "2").await.expect("answered");
    server.stop().await;
}

#[tokio::test]
async fn clients_that_dawdle_lose_their_connection() {
    let never = Routes::new().review("/validate", async |_| std::future::pending().await);
    let (server, tls) = server(&ServerConfig { limits: short(), ..ServerConfig::default() }, never);
    let body = review("u", "2").to_string();
    let full = format!("POST /validate HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let cases = [
        // Nothing, half a head, half a body; and a review to which no answer is found.
        ("", ""),
        ("POST /validate HTTP/1.1\r\nho", ""),
        (&full[..full.len() - 10], "HTTP/1.1 408 "),
        (&full[..], "HTTP/1.1 504 "),
    ];
    for (sent, begins) in cases {
        let mut stream = connect(server.address, &tls).await.expect("connected");
        stream.write_all(sent.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        timeout(LONG, stream.read_to_end(&mut answer)).await.expect("the server closes in time").ok();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(begins), "{sent:?}: {answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stop_waits_for_the_answers_that_are_worked_on() {
    let (arrived, mut arrivals) = tokio::sync::mpsc::channel(1);
    let go = Arc::new(tokio::sync::Notify::new());
    let wait = go.clone();
    let routes = Routes::new().review("/validate", move |_| {
        let (arrived, go) = (arrived.clone(), wait.clone());
        async move {
            arrived.send(()).await.expect("the test waits");
            go.notified().await;
            Decision::allow()
        }
    });
    let (server, tls) = server(&ServerConfig::default(), routes);
    let address = server.address;
    let idle = Caller::new(address, &tls).await.expect("connected");
    let caller = Caller::new(address, &tls).await.expect("connected");
    let asked = tokio::spawn(async move { caller.review("u", "2").await });
    arrivals.recv().await.expect("the review arrives");
    let stopping = server.begin_stop();
    // The idle connection ends at once; the other one only with its answer.
    timeout(LONG, async { while idle.review("u", "2").await.is_ok() {} }).await.expect("it ends");
    go.notify_one();
    let answer = asked.await.expect("no panic").expect("answered");
    assert_eq!(answer["allowed"], true);
    timeout(LONG, stopping).await.expect("it stops").expect("without a panic");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_server_that_leaves_answers_on_and_lets_go_of_its_connections_by_their_answers() {
    for (http2, alpn) in [(false, &b"http/1.1"[..]), (true, b"h2")] {
        let made = made("CA");
        let tls = trusting(std::slice::from_ref(&made.authority), &[alpn]);
        let config = ServerConfig { http2, ..ServerConfig::default() };
        let resolver = Arc::new(CertResolver::from(made.certificate));
        let server = Running::leaving(LONG, &config, resolver, routes());
        let address = server.address;
        let kept = Caller::new(address, &tls).await.expect("connected");
        kept.review("u", "2").await.expect("answered");
        let stopping = server.begin_stop();
        // By the first request that is its last the client knows; until then none is lost. HTTP/2 is told at once.
        timeout(LONG, async {
            loop {
                match kept.review("u", "2").await {
                    Ok(answer) => assert_eq!(answer["allowed"], true),
                    Err(error) => {
                        break assert!(error.is_closed() || error.is_canceled() || http2, "{error:?}");
                    }
                }
            }
        })
        .await
        .expect("the connection ends");
        // Who has not heard of it yet is served all the same.
        let late = Caller::new(address, &tls).await.expect("connected");
        if !http2 {
            assert_eq!(late.review("u", "2").await.expect("answered")["allowed"], true);
            assert!(late.review("u", "2").await.is_err(), "its answer was the last");
        }
        stopping.abort();
    }
}
