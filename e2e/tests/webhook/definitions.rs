//! The rules of the definitions, on the API server: the cases that crates/api puts to its own evaluator.

use anyhow::{Context, Result, ensure};
use futures::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::Value;

use crate::Suite;
use crate::objects::{Admin, Object, Refusal};

/// What is accepted and refused in a version of a kind.
#[derive(Deserialize)]
struct Table {
    kind: String,
    version: String,
    accepted: Vec<Value>,
    refused: Vec<Refused>,
}

/// Specs that are refused with one message and no other.
#[derive(Deserialize)]
struct Refused {
    says: String,
    specs: Vec<Value>,
}

/// One case: the object, the spec that it had before where it is an update, and what is said to it, if anything.
struct Case {
    object: Object,
    was: Option<Value>,
    says: Option<String>,
}

fn cases() -> Result<Vec<Case>> {
    let tables: Vec<Table> =
        serde_saphyr::from_str(include_str!("../../../crates/api/tests/rules.yaml")).context("rules.yaml")?;
    let mut cases = Vec::new();
    for table in tables {
        let accepted = table.accepted.into_iter().map(|spec| (spec, None));
        let refused = table.refused.into_iter().flat_map(|refused| {
            refused.specs.into_iter().map(move |spec| (spec, Some(refused.says.clone())))
        });
        for (mut spec, says) in accepted.chain(refused) {
            let changes = spec.as_object_mut().and_then(|spec| spec.remove("was"));
            let was = changes.map(|changes| {
                let mut was = spec.clone();
                if let (Some(was), Value::Object(changes)) = (was.as_object_mut(), changes) {
                    was.remove("enableGracefulRestart");
                    was.extend(changes);
                }
                was
            });
            let name = format!("rule-{}", cases.len());
            let object = Object::new(&table.kind, &table.version, &name, spec);
            cases.push(Case { object, was, says });
        }
    }
    Ok(cases)
}

/// What the API server says to a case, and that it is what the table says: those words, from every rule that is broken.
async fn judge(admin: &Admin, case: &Case) -> Result<()> {
    let answer = match &case.was {
        None => admin.try_create(&case.object).await?,
        Some(was) => {
            let before = Object { spec: was.clone(), ..case.object.clone() };
            let created = admin.create(&before).await?;
            ensure!(created.is_ok(), "before the update: {created:?}");
            let answer = admin.update(&case.object, true).await;
            admin.delete(&before).await?;
            answer?
        }
    };
    match (answer, &case.says) {
        (Ok(_), None) => Ok(()),
        (Err(Refusal { causes, .. }), Some(says))
            if !causes.is_empty() && causes.iter().all(|cause| cause.ends_with(&format!(": {says}"))) =>
        {
            Ok(())
        }
        (answer, says) => anyhow::bail!("expected {says:?}, found {:?}", answer.map(|_| "no objection")),
    }
}

/// Every case of the definitions' rules is decided by the API server as by the evaluator of the unit tests.
pub(crate) fn every_rule_accepts_and_refuses_with_the_words_of_its_table(suite: &Suite) -> Result<()> {
    let cases = cases()?;
    let wrong: Vec<String> = suite.without_webhooks(async |admin| {
        let judged = stream::iter(&cases).map(|case| async move {
            let judged = judge(admin, case).await;
            judged.err().map(|why| format!("{} {}: {why:#}", case.object.kind, case.object.spec))
        });
        Ok(judged.buffer_unordered(16).filter_map(std::future::ready).collect().await)
    })?;
    suite.figure(format!("{} cases of the definitions' rules were put to the API server", cases.len()));
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
