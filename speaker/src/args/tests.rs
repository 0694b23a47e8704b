//! Command lines, accepted and refused.

use super::*;

fn parse(words: &[&str]) -> Result<Args, clap::Error> {
    Args::try_parse_from(["speaker"].iter().chain(words))
}

#[test]
fn announcements_are_neither_paced_nor_repeated_unless_that_is_said() {
    let announcing = parse(&[]).expect("accepted").announcing();
    assert_eq!(announcing, Announcing { frames_per_second: 0, refresh: None });
    let said = parse(&["--announce-rate=500", "--announce-refresh=60"]).expect("accepted").announcing();
    assert_eq!(said, Announcing { frames_per_second: 500, refresh: Some(Duration::from_secs(60)) });
    for wrong in ["--announce-refresh=9", "--announce-refresh=86401", "--announce-rate=-1"] {
        assert!(parse(&[wrong]).is_err(), "{wrong}");
    }
}

#[test]
fn only_versions_of_the_protocol_that_are_known_are_spoken() {
    assert_eq!(parse(&[]).expect("accepted").protocol_version_max, VERSION);
    assert_eq!(parse(&["--protocol-version-max=1"]).expect("accepted").protocol_version_max, 1);
    for wrong in ["--protocol-version-max=0", "--protocol-version-max=200"] {
        assert!(parse(&[wrong]).is_err(), "{wrong}");
    }
}

#[test]
fn every_flag_of_metallb_is_accepted() {
    let args = parse(&[
        "--node-name=iris1",
        "--pod-name=speaker-x",
        "--namespace=metallb-system",
        "--host=192.0.2.11",
        "--port=9120",
        "--health-probe-port=17472",
        "--log-level=debug",
        "--lb-class=metallb",
        "--ml-bindaddr=2001:db8::1",
        "--ml-bindport=7946",
        "--ml-labels=app=metallb,component=speaker",
        "--ml-secret-key-path=/etc/ml_secret_key",
        "--ml-wan-config",
        "--ignore-exclude-lb",
        "--bgp-debounce-timeout=500",
        "--frrk8s-namespace=frr-k8s-system",
        "--frrk8s-secret-passthrough",
        "--tls-min-version=VersionTLS12",
        "--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "--tls-curve-preferences=29,4588",
        "--metrics-cert-dir=/certs",
        "--pprof-bind-address=127.0.0.1:6060",
    ])
    .expect("accepted");
    assert_eq!(args.class().as_deref(), Some("metallb"));
    assert_eq!(args.log_level, LogLevel::Debug);
    assert!(args.ignore_exclude_lb);
    assert_eq!(args.metrics.metrics_cert_dir, "/certs");
    args.check("frr").expect("it goes together");
}

#[test]
fn defaults_are_metallbs_and_go_together() {
    let args = parse(&[]).expect("accepted");
    assert_eq!((args.metrics.port, args.health_probe_port, args.ml_bind_port), (9120, 17472, 7946));
    assert_eq!(args.ml_labels, "app=metallb,component=speaker");
    assert!(!args.ignore_exclude_lb);
    for bgp_type in ["", "native", "frr", "frr-k8s"] {
        args.check(bgp_type).expect("it goes together");
    }
}

#[test]
fn empty_values_of_manifests_count_as_none() {
    let args = parse(&["--ml-bindaddr=", "--ml-bindport=", "--bgp-debounce-timeout=", "--lb-class="]);
    let args = args.expect("accepted");
    assert_eq!((args.ml_bind_addr.as_str(), args.ml_bind_port, args.class()), ("", 7946, None));
}

#[test]
fn switches_take_values_as_gos_do_and_the_last_of_two_counts() {
    for (words, on) in [
        (vec!["--ignore-exclude-lb"], true),
        (vec!["--ignore-exclude-lb=true"], true),
        (vec!["--ignore-exclude-lb=false"], false),
        (vec!["--ignore-exclude-lb=false", "--ignore-exclude-lb"], true),
    ] {
        assert_eq!(parse(&words).expect("accepted").ignore_exclude_lb, on, "{words:?}");
    }
}

#[test]
fn what_is_unknown_or_malformed_is_refused_with_the_name() {
    for (word, named) in [
        ("--bgp-mode=x", "--bgp-mode"),
        ("surplus", "surplus"),
        ("--ml-labels=", "--ml-labels"),
        ("--ml-bindaddr=here", "it is not an IP address"),
        ("--ml-bindport=0", "1 to 65535"),
        ("--bgp-debounce-timeout=3s", "milliseconds"),
        ("--log-level=loud", "all, debug, info"),
        ("--health-probe-port=0", "--health-probe-port"),
        ("--port=70000", "--port"),
        ("--tls-min-version=VersionTLS9", "use VersionTLS12 or VersionTLS13"),
        ("--ignore-exclude-lb=maybe", "--ignore-exclude-lb"),
    ] {
        let error = parse(&["--node-name=n", word]).expect_err("refused").to_string();
        assert!(error.contains(named), "{word}: {error}");
    }
}

#[test]
fn what_makes_no_sense_together_is_refused_with_the_cure() {
    let suites = "--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
    for (words, bgp_type, text) in [
        (vec![], "frr-k8s-external", "METALLB_BGP_TYPE=\"frr-k8s-external\" is not known; set it to native"),
        (vec!["--port=17472"], "", "--port and --health-probe-port name the same port 17472"),
        (vec!["--bgp-listen-port=9120"], "", "--port and --bgp-listen-port name the same port 9120"),
        (vec!["--ml-bindport=9120"], "", "--port and --ml-bindport name the same port 9120"),
        (vec![suites], "", "cipher suites cannot be configured with TLS 1.3"),
        (vec!["--tls-curve-preferences=4588"], "", "none of the groups of --tls-curve-preferences is served"),
    ] {
        let error = parse(&words).expect("each is well-formed").check(bgp_type).expect_err("refused");
        assert!(error.to_string().contains(text), "{words:?}: {error}");
    }
    parse(&["--port=0"]).expect("accepted").check("").expect("no metrics");
}

#[test]
fn help_explains_every_flag_and_variable() {
    let mut command = <Args as clap::CommandFactory>::command();
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        assert!(argument.get_help().is_some(), "{} has no text", argument.get_id());
    }
    let help = command.render_long_help().to_string();
    assert!(help.starts_with("Answers ARP and NDP"), "{help}");
    for word in [
        "METALLB_BGP_TYPE",
        "METALLB_NODE_NAME",
        "FRR_CONFIG_FILE",
        "--tls-cipher-suites",
        "--metrics-cert-dir",
    ] {
        assert!(help.contains(word), "{word} is not in: {help}");
    }
}

#[test]
fn a_missing_node_name_is_refused_with_the_variable_to_set() {
    for node_name in [None, Some(String::new())] {
        let args = Args { node_name, ..parse(&[]).expect("accepted") };
        let error = args.node().expect_err("refused").to_string();
        assert!(error.contains("METALLB_NODE_NAME"), "{error}");
    }
}

#[test]
fn the_namespace_is_that_of_the_service_account_unless_said() {
    let folder = std::env::temp_dir().join(format!("speaker-args-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("namespace");
    fs::write(&file, "metallb-system\n").expect("a file");
    let args = Args { namespace: None, ..parse(&["--node-name=n"]).expect("accepted") };
    assert_eq!(args.namespace_or(&file).expect("from the file"), "metallb-system");
    let said = Args { namespace: Some("other".into()), ..args.clone() };
    assert_eq!(said.namespace_or(&file).expect("as said"), "other");
    fs::remove_dir_all(&folder).expect("removed");
    let error = args.namespace_or(&file).expect_err("nothing says it").to_string();
    assert!(error.contains("METALLB_NAMESPACE"), "{error}");
}
