use clap::Parser;
use rustls::ProtocolVersion;

use super::*;
use crate::CertResolver;

/// Describes itself.
#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    tls: TlsOptions,
}

fn parse(args: &[&str]) -> Result<TlsOptions, clap::Error> {
    Program::try_parse_from(["program"].iter().chain(args)).map(|program| program.tls)
}

fn config(args: &[&str]) -> Result<ServerConfig, TlsOptionsError> {
    parse(args).expect("each value is fine").server_config(Arc::new(CertResolver::new()))
}

/// The names of the suites and groups, shortened: what a server with these flags accepts.
fn accepted(args: &[&str]) -> (Vec<String>, Vec<NamedGroup>) {
    let config = config(args).expect("the values go together");
    let provider = config.crypto_provider();
    let suites = provider.cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect();
    (suites, provider.kx_groups.iter().map(|group| group.name()).collect())
}

#[test]
fn the_flags_leave_the_description_of_their_program_alone_and_explain_themselves() {
    let help = <Program as clap::CommandFactory>::command().render_long_help().to_string();
    assert!(help.starts_with("Describes itself"), "{help}");
    for text in
        ["--tls-min-version <VERSION>", "VersionTLS12 or VersionTLS13; by default VersionTLS13", "IANA names"]
    {
        assert!(help.contains(text), "{help}");
    }
}

#[test]
fn without_flags_and_with_empty_ones_tls_1_3_alone_is_accepted() {
    for args in [vec![], vec!["--tls-min-version=", "--tls-cipher-suites=", "--tls-curve-preferences="]] {
        let options = parse(&args).expect("empty is fine");
        assert_eq!(options, TlsOptions::default());
        let config = config(&args).expect("the defaults go together");
        assert_eq!(config.alpn_protocols, [b"http/1.1"]);
        assert_eq!(config.crypto_provider().kx_groups.len(), 3);
    }
}

#[test]
fn every_version_that_go_knows_is_understood() {
    for (text, version) in [
        ("VersionTLS10", MinVersion::Tls12),
        ("VersionTLS11", MinVersion::Tls12),
        ("VersionTLS12", MinVersion::Tls12),
        ("VersionTLS13", MinVersion::Tls13),
        ("", MinVersion::Tls13),
    ] {
        assert_eq!(text.parse(), Ok(version), "{text}");
    }
}

#[test]
fn named_suites_are_served_besides_those_of_tls_1_3_and_others_not() {
    let (suites, _) = accepted(&[
        "--tls-min-version=VersionTLS12",
        "--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_RSA_WITH_AES_128_CBC_SHA,TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
    ]);
    let tls12: Vec<_> =
        suites.iter().filter(|name| !name.starts_with("TLS13_")).map(String::as_str).collect();
    assert_eq!(
        tls12,
        ["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]
    );
    assert_eq!(suites.len(), 5);
}

#[test]
fn suites_of_tls_1_3_alone_leave_out_tls_1_2() {
    let (suites, _) =
        accepted(&["--tls-min-version=VersionTLS12", "--tls-cipher-suites=TLS_AES_128_GCM_SHA256"]);
    assert!(suites.iter().all(|name| name.starts_with("TLS13_")), "{suites:?}");
}

#[test]
fn curves_are_preferred_in_the_order_given_and_those_not_served_are_left_out() {
    let (_, groups) = accepted(&["--tls-curve-preferences=4588, 24,29"]);
    assert_eq!(groups, [NamedGroup::secp384r1, NamedGroup::X25519]);
}

#[test]
fn a_value_that_means_nothing_is_refused_with_those_that_do() {
    for (arg, expected) in [
        ("--tls-min-version=1.2", r#"unknown tls version "1.2"; use VersionTLS12 or VersionTLS13"#),
        ("--tls-min-version=VersionTLS14", r#"unknown tls version "VersionTLS14""#),
        (
            "--tls-cipher-suites=AES",
            "Cipher suite AES not supported or doesn't exist; use TLS_ECDHE_ECDSA_WITH",
        ),
        ("--tls-cipher-suites=TLS_AES_128_GCM_SHA256,", "Cipher suite  not supported or doesn't exist"),
        (
            "--tls-curve-preferences=X25519",
            r#"invalid curve preference "X25519": must be a numeric CurveID (0-65535)"#,
        ),
        ("--tls-curve-preferences=65536", r#"invalid curve preference "65536""#),
        ("--tls-curve-preferences=-1", r#"invalid curve preference "-1""#),
        ("--tls-curve-preferences=29,", r#"invalid curve preference """#),
        (
            "--tls-curve-preferences=7",
            "curve preference 7 is not supported; use 23 (P-256), 24 (P-384), 29 (X25519)",
        ),
        ("--tls-curve-preferences=29,29", "duplicate curve preference 29; name each once"),
    ] {
        let text = parse(&[arg]).expect_err(arg).to_string();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn values_that_contradict_each_other_are_refused_with_what_to_do() {
    let gcm = "--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
    for (args, expected) in [
        (vec![gcm], "cipher suites cannot be configured with TLS 1.3; leave out"),
        (vec![gcm, "--tls-min-version=VersionTLS13"], "cipher suites cannot be configured with TLS 1.3"),
        (
            vec!["--tls-min-version=VersionTLS12", "--tls-cipher-suites=TLS_RSA_WITH_RC4_128_SHA"],
            "none of the suites of --tls-cipher-suites is served",
        ),
        (
            vec!["--tls-curve-preferences=25,4588"],
            "none of the groups of --tls-curve-preferences is served; add one of 23",
        ),
    ] {
        let error = config(&args).expect_err(expected).to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn every_suite_that_ring_has_can_be_named() {
    for suite in ring::default_provider().cipher_suites {
        let known = SUITES.iter().any(|name| name.served == Served::Tls12(suite.suite()));
        assert!(known || suite.version().version == ProtocolVersion::TLSv1_3, "{:?}", suite.suite());
    }
    assert_eq!(ring::default_provider().kx_groups.len(), CURVES.iter().filter(|c| c.group.is_some()).count());
}
