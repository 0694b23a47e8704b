//! The rules of the definitions, evaluated here: what is accepted, what is refused, and with which words. The cases
//! stand in `rules.yaml`, so that the same ones can be put to an API server.

mod additions;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use additions::{ADDITIONS, Addition};
use kube_cel::{CompiledSchema, Validator, compile_schema};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

/// What is accepted and refused in a version of a kind.
#[derive(Deserialize)]
struct Table {
    kind: String,
    version: String,
    accepted: Vec<Value>,
    refused: Vec<Refusal>,
}

/// Specs that are refused with one message and no other.
#[derive(Deserialize)]
struct Refusal {
    says: String,
    specs: Vec<Value>,
}

fn tables() -> Vec<Table> {
    serde_saphyr::from_str(include_str!("rules.yaml")).expect("rules.yaml is a list of tables")
}

/// The schema of a version of a kind, compiled.
fn schema(kind: &str, version: &str) -> CompiledSchema {
    let crd =
        api::crds().into_iter().find(|crd| crd.spec.names.kind == kind).expect("the kind has a definition");
    let crd = serde_json::to_value(crd).expect("a definition is JSON");
    let versions = crd["spec"]["versions"].as_array().expect("versions");
    let version = versions.iter().find(|v| v["name"] == version).expect("the kind has the version");
    let compiled = compile_schema(&version["schema"]["openAPIV3Schema"]);
    assert!(!compiled.has_errors(), "{:?}", compiled.compilation_errors());
    compiled
}

/// The messages, each once, with which the API server would refuse the spec.
fn messages(schema: &CompiledSchema, spec: &Value) -> BTreeSet<String> {
    let mut spec = spec.clone();
    let was = spec.as_object_mut().and_then(|spec| spec.remove("was")).map(|changes| {
        let mut was = spec.clone();
        was.as_object_mut().expect("a spec").remove("enableGracefulRestart");
        was.as_object_mut().expect("a spec").extend(changes.as_object().expect("fields").clone());
        json!({"metadata": {"name": "a"}, "spec": was})
    });
    let object = json!({"metadata": {"name": "a"}, "spec": spec});
    match Validator::new().validate_compiled(schema, &object, was.as_ref()) {
        Ok(()) => BTreeSet::new(),
        Err(errors) => errors.into_vec().into_iter().map(|error| error.message).collect(),
    }
}

#[test]
fn the_rules_accept_and_refuse_with_the_words_of_the_table() {
    let mut wrong = String::new();
    for table in tables() {
        let schema = schema(&table.kind, &table.version);
        let accepted = table.accepted.iter().map(|spec| (spec, BTreeSet::new()));
        let refused = table.refused.iter().flat_map(|refusal| {
            refusal.specs.iter().map(|spec| (spec, BTreeSet::from([refusal.says.clone()])))
        });
        for (spec, expected) in accepted.chain(refused) {
            let found = messages(&schema, spec);
            if found != expected {
                writeln!(
                    wrong,
                    "{} {}: {spec}\n  expected {expected:?}\n  found {found:?}",
                    table.kind, table.version
                )
                .expect("writing to a string");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_table_has_a_refusal_for_every_rule_that_we_add() {
    let tables = tables();
    for (kind, version, place, addition) in ADDITIONS {
        let message = match addition {
            Addition::Rule(message) => message,
            Addition::MaxItems(max) | Addition::MaxLength(max) => {
                assert!(*max >= 64, "a bound that someone may meet: {kind} {version} {place}: {max}");
                continue;
            }
            // It refuses nothing.
            Addition::Field => continue,
        };
        let table = tables.iter().find(|table| table.kind == *kind && table.version == *version);
        let found =
            table.is_some_and(|table| table.refused.iter().any(|refusal| refusal.says.starts_with(message)));
        assert!(found, "no case for {kind} {version} {place}: {message}");
    }
}

static POOL: LazyLock<CompiledSchema> = LazyLock::new(|| schema("IPAddressPool", "v1beta1"));
static ADVERTISEMENT: LazyLock<CompiledSchema> = LazyLock::new(|| schema("BGPAdvertisement", "v1beta1"));
static COMMUNITY: LazyLock<CompiledSchema> = LazyLock::new(|| schema("Community", "v1beta1"));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn no_address_prefix_or_range_is_refused_however_it_is_written(
        v4: u32, v6: u128, zeros: u128, length4 in 0..=32_u8, length6 in 0..=128_u8
    ) {
        let v4 = Ipv4Addr::from_bits(v4);
        // With many zero groups, so that the short forms come up.
        let v6 = Ipv6Addr::from_bits(v6 & zeros & (zeros << 16));
        let [a, b, c, d, e, f, g, h] = v6.segments();
        let full = format!("{a:04X}:{b:04x}:{c:04x}:{d:04x}:{e:04x}:{f:04x}:{g:04x}:{h:04x}");
        let mapped = format!("0:0:0:0:0:FFFF:{v4}");
        let mut lines = vec![format!("{v4}/{length4}"), format!("{v4}-{v4}"), format!("{v6}-{full}")];
        for text in [v6.to_string(), full, mapped, v4.to_ipv6_mapped().to_string(), v4.to_ipv6_compatible().to_string()] {
            lines.extend([format!("{text}/{length6}"), format!("{text} - {v6}")]);
        }
        prop_assert_eq!(messages(&POOL, &json!({"addresses": lines})), BTreeSet::new());
    }

    #[test]
    fn no_community_is_refused_by_value(small: (u16, u16), large: (u32, u32, u32), zeros in 0..5_usize) {
        let (zeros, (a, b), (c, d, e)) = ("0".repeat(zeros), small, large);
        let values = [format!("{zeros}{a}:{zeros}{b}"), format!("large:{zeros}{c}:{zeros}{d}:{zeros}{e}")];
        let named: Vec<_> = values.iter().map(|value| json!({"name": "n", "value": value})).collect();
        let aliases = messages(&COMMUNITY, &json!({"communities": named}));
        prop_assert_eq!(aliases, BTreeSet::new());
        let advertised = messages(&ADVERTISEMENT, &json!({"communities": values}));
        prop_assert_eq!(advertised, BTreeSet::new());
    }

    #[test]
    fn communities_by_value_beyond_their_numbers_are_refused(a in 65_536..=u64::MAX, b in 4_294_967_296..=u64::MAX) {
        for value in [format!("{a}:1"), format!("1:{a}"), format!("large:1:{b}:1")] {
            prop_assert_eq!(messages(&COMMUNITY, &json!({"communities": [{"value": value}]})).len(), 1);
        }
    }
}
