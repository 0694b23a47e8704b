use clap::CommandFactory;

use super::*;

fn parse(flags: &[&str]) -> Result<Args, clap::Error> {
    Args::try_parse_from([&["controller"], flags].concat())
}

#[test]
fn what_the_operator_passes_is_understood() {
    let args = parse(&[
        "--port=9120",
        "--health-probe-port=17472",
        "--log-level=debug",
        "--lb-class=example.com/lb",
        "--webhook-mode=disabled",
    ])
    .expect("known flags");
    assert_eq!((args.log_level, args.lb_class.as_str()), (LogLevel::Debug, "example.com/lb"));
    assert_eq!((args.metrics.port, args.webhook.webhook_mode), (9120, WebhookMode::Disabled));
}

#[test]
fn every_flag_of_metallb_s_controller_is_known_with_its_default() {
    let args = parse(&[]).expect("all have defaults");
    assert_eq!(args.metrics.port, 9120);
    assert_eq!(args.webhook.webhook_mode, WebhookMode::Enabled);
    assert_eq!(args.webhook.cert_dir, "/tmp/k8s-webhook-server/serving-certs");
    assert_eq!(args.webhook.cert_service_name, "metallb-webhook-service");
    assert_eq!(args.webhook.webhook_secret, "metallb-webhook-cert");
    assert!(!args.webhook.disable_cert_rotation && !args.webhook.webhook_http2);
    for flag in [
        "--port=0",
        "--namespace=n",
        "--ml-secret-name=memberlist",
        "--deployment=controller",
        "--log-level=none",
        "--pprof-bind-address=:8080",
        "--health-probe-port=1",
        "--disable-cert-rotation",
        "--disable-cert-rotation=true",
        "--disable-cert-rotation=0",
        "--cert-dir=/certs",
        "--cert-service-name=s",
        "--lb-class=c",
        "--webhook-mode=enabled",
        "--webhook-mode=disabled",
        "--webhook-mode=onlywebhook",
        "--webhook-secret=s",
        "--pod-name=p",
        "--webhook-http2=true",
        "--tls-min-version=VersionTLS12",
        "--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "--tls-curve-preferences=29,23",
        "--metrics-cert-dir=/certs",
    ] {
        parse(&[flag]).unwrap_or_else(|error| panic!("{flag}: {error}"));
        let help = Args::command().render_help().to_string();
        let name = flag.split('=').next().expect("a name");
        assert!(help.contains(name), "--help does not tell of {name}");
    }
}

#[test]
fn the_last_of_a_flag_counts() {
    let args = parse(&["--port=1", "--port=2", "--webhook-http2", "--webhook-http2=false"]);
    let args = args.expect("as Go's flags take it");
    assert_eq!((args.metrics.port, args.webhook.webhook_http2), (2, false));
}

#[test]
fn what_is_not_known_is_refused() {
    for (flag, says) in [
        ("--no-such-flag", "unexpected argument '--no-such-flag'"),
        ("--webhook-mode=perhaps", "[possible values: enabled, disabled, onlywebhook]"),
        ("--log-level=loud", "loud"),
        ("--health-probe-port=0x10", "invalid digit"),
        ("--disable-cert-rotation=maybe", "value was not a boolean"),
        ("--tls-min-version=SSL3", "unknown tls version \"SSL3\"; use VersionTLS12 or VersionTLS13"),
        ("--tls-curve-preferences=29,29", "duplicate curve preference 29"),
    ] {
        let error = parse(&[flag]).expect_err(flag).to_string();
        assert!(error.contains(says), "{flag}: {error}");
    }
}

#[test]
fn what_does_not_go_together_is_refused_at_the_start() {
    let suites = "--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
    let only = |flags: &[&str], bgp_type| {
        let checked = parse(flags).expect("known flags").check(bgp_type);
        checked.map_err(|error| error.to_string())
    };
    for bgp_type in ["", "native", "frr", "frr-k8s"] {
        only(&[], bgp_type).expect("known");
    }
    only(&[suites, "--tls-min-version=VersionTLS12"], "").expect("suites of TLS 1.2");
    for (flags, bgp_type, says) in [
        (&[suites][..], "", "cipher suites cannot be configured with TLS 1.3"),
        (&[], "frr-k8s-external", "METALLB_BGP_TYPE=\"frr-k8s-external\" is not known; set it to native"),
    ] {
        let error = only(flags, bgp_type).expect_err(says);
        assert!(error.starts_with(says), "{error}");
    }
}

#[test]
fn the_namespace_is_that_of_the_flag_else_of_the_pod_else_an_error_that_says_so() {
    let args = parse(&["--namespace=from-flag"]).expect("known flags");
    assert_eq!(args.namespace().expect("given"), "from-flag");
    let without = Args { namespace: None, ..args };
    let error = without.namespace_or(Path::new("/no/such/file")).expect_err("no file");
    assert!(error.to_string().contains("--namespace"), "{error}");
}
