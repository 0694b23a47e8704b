//! The mistakes of `crates/config/tests/rules/mistakes.yaml`: what is said when one is applied, and what every
//! ConfigurationState says of one that is stored.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::json;

use crate::Suite;
use crate::objects::{Admin, Answer, Object, States, until};

/// One mistake; the file says what the fields mean.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mistake {
    says: String,
    schema: Option<String>,
    #[serde(default)]
    admitted: bool,
    objects: Vec<Object>,
}

impl Mistake {
    /// The object that is the mistake, and those that are there before.
    fn split(&self) -> Result<(&Object, &[Object])> {
        self.objects.split_last().context("a mistake has an object")
    }

    /// Whether the answer of the API server is the one of the table.
    fn check(&self, answer: Answer) -> Result<()> {
        match answer? {
            Ok(_) if self.admitted => Ok(()),
            Ok(_) => bail!("it was accepted"),
            Err(refusal) => {
                let denial = format!("denied the request: {}", self.says);
                let as_expected = match &self.schema {
                    Some(words) => refusal.causes.iter().any(|cause| cause.contains(words)),
                    None => !self.admitted && refusal.message.ends_with(&denial),
                };
                ensure!(as_expected, "found {refusal:?}");
                Ok(())
            }
        }
    }

    /// What the controller has to say of it: it reads pools, L2Advertisements and Communities only.
    fn of_controller(&self) -> Result<String> {
        let read = matches!(self.split()?.0.kind.as_str(), "IPAddressPool" | "L2Advertisement" | "Community");
        Ok(if read { format!("configuration error: {}", self.says) } else { String::new() })
    }
}

fn mistakes() -> Result<Vec<Mistake>> {
    serde_saphyr::from_str(include_str!("../../../crates/config/tests/rules/mistakes.yaml"))
        .context("mistakes.yaml")
}

/// Creates objects one after the other, as soon as the API server takes them.
async fn store(admin: &Admin, objects: &[Object]) -> Result<()> {
    for object in objects {
        until(&format!("{} {} to be stored", object.kind, object.name), async || {
            match admin.create(object).await? {
                Ok(_) => Ok(()),
                Err(refusal) => bail!("{}", refusal.message),
            }
        })
        .await?;
    }
    Ok(())
}

/// Deletes them, the last one first.
async fn delete(admin: &Admin, objects: &[Object]) -> Result<()> {
    for object in objects.iter().rev() {
        admin.delete(object).await?;
    }
    Ok(())
}

/// Every mistake is refused when it is applied, by the schema where it can be, with its exact words.
pub(crate) fn every_mistake_is_refused_with_its_exact_words(suite: &Suite) -> Result<()> {
    suite.run(async |admin| {
        let mut wrong = Vec::new();
        for mistake in mistakes()? {
            let (last, good) = mistake.split()?;
            store(admin, good).await?;
            // The webhook hears of the objects before by a watch: until then it cannot know of a contradiction.
            let answered =
                until("the words of the table", async || mistake.check(admin.try_create(last).await));
            if let Err(error) = answered.await {
                wrong.push(format!("{} {}: {}: {error:#}", last.kind, last.spec, mistake.says));
            }
            // A webhook that still knows of these would find fault with the next case.
            delete(admin, good).await?;
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    })
}

/// A mistake that is stored all the same, as it was by an older version, is shown by the ConfigurationState of every
/// program that reads it, in the same words; and no longer when it is gone.
pub(crate) fn every_mistake_that_is_stored_is_shown_in_the_configuration_states(suite: &Suite) -> Result<()> {
    suite.without_rules(async |admin| {
        let mut states = States::follow(admin);
        states.wait("", "").await?;
        let mistakes = mistakes()?;
        suite.figure(format!("{} mistakes were stored and shown in the states", mistakes.len()));
        let mut wrong = Vec::new();
        for mistake in mistakes {
            store(admin, &mistake.objects).await?;
            let shown = states
                .wait(&mistake.of_controller()?, &format!("configuration error: {}", mistake.says))
                .await;
            delete(admin, &mistake.objects).await?;
            if let Err(error) = shown {
                wrong.push(format!("{error:#}"));
            }
            states.wait("", "").await.context(mistake.says)?;
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    })
}

/// An upgrade finds an invalid pool that an older version stored: it stays there and is shown, everything else can be
/// changed, and it can be corrected.
pub(crate) fn an_upgrade_shows_what_was_stored_invalid_and_lets_it_be_corrected(suite: &Suite) -> Result<()> {
    let pool = |addresses: &str| {
        let spec = json!({"addresses": [addresses]});
        Object::new("IPAddressPool", "v1beta1", "from-before", spec)
    };
    let bad = pool("198.51.100.10");
    suite.without_rules(async |admin| store(admin, std::slice::from_ref(&bad)).await)?;
    suite.world.cluster.install()?;
    suite.run(async |admin| {
        let mut states = States::follow(admin);
        let summary = "configuration error: invalid CIDR \"198.51.100.10\" in pool \"from-before\": expected a prefix such as 198.51.100.0/24 or a range such as 198.51.100.10-198.51.100.20";
        states.wait(summary, summary).await?;
        let other = Object { name: "other".to_owned(), ..pool("203.0.113.0/24") };
        store(admin, std::slice::from_ref(&other)).await?;
        // The rules of the new definition come into force a moment after it is stored.
        until("a mistake to be refused", async || {
            let answer = admin.update(&pool("198.51.100.11"), true).await?;
            ensure!(answer.is_err());
            Ok(())
        })
        .await?;
        let corrected = admin.update(&pool("198.51.100.10/32"), false).await?;
        ensure!(corrected.is_ok(), "{corrected:?}");
        states.wait("", "").await?;
        delete(admin, &[bad.clone(), other]).await
    })
}
