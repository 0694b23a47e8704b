use super::*;

fn at(millis: u64) -> Instant {
    Instant::from_origin(Duration::from_millis(millis))
}

fn key() -> ServiceKey {
    ServiceKey { namespace: "shop".into(), name: "web".into() }
}

fn here(names: &[&str]) -> Want {
    Want::Here { names: names.iter().map(|&i| i.to_owned()).collect(), why: None }
}

fn view(names: &[&str]) -> StatusView {
    let names = names.iter().map(|&i| i.to_owned()).collect();
    StatusView { service: key(), complete: true, names, why: None }
}

fn write(names: &[&str], sweep: bool) -> Job {
    Job::Write { service: key(), names: view(names).names, why: None, sweep }
}

#[test]
fn a_service_that_is_taken_gets_an_object_and_the_others_are_swept_once() {
    let mut ledger = Ledger::default();
    ledger.want(at(0), &key(), here(&[]));
    let job = ledger.next(at(0)).expect("to write");
    assert_eq!(job, write(&[], true));
    assert_eq!(ledger.next(at(0)), None, "not twice at once");
    ledger.done(at(1), &job);
    ledger.actual(at(2), &key(), Some(view(&[])));
    ledger.want(at(3), &key(), here(&[]));
    assert_eq!(ledger.next(at(1_000_000)), None, "nothing changed, nothing is written");
    assert_eq!(ledger.poll_timeout(), None);
    ledger.want(at(4), &key(), here(&["eth0"]));
    assert_eq!(ledger.next(at(4)), Some(write(&["eth0"], false)));
}

#[test]
fn another_cause_is_written_once() {
    let why = |cause: &str| Some(Why { cause: cause.to_owned(), former: Some("iris1".to_owned()) });
    let here = |cause| Want::Here { names: Vec::new(), why: why(cause) };
    let mut ledger = Ledger::default();
    ledger.actual(at(0), &key(), Some(view(&[])));
    ledger.want(at(0), &key(), here("HolderDown"));
    let job = ledger.next(at(0)).expect("to write");
    assert_eq!(job, Job::Write { service: key(), names: Vec::new(), why: why("HolderDown"), sweep: true });
    ledger.done(at(1), &job);
    ledger.actual(at(2), &key(), Some(StatusView { why: why("HolderDown"), ..view(&[]) }));
    ledger.want(at(3), &key(), here("HolderDown"));
    assert_eq!(ledger.next(at(1_000_000)), None, "nothing changed, nothing is written");
    ledger.want(at(1_000_001), &key(), here("Preferred"));
    let job = Job::Write { service: key(), names: Vec::new(), why: why("Preferred"), sweep: false };
    assert_eq!(ledger.next(at(1_000_001)), Some(job));
}

#[test]
fn an_object_from_before_a_restart_is_kept_as_it_is() {
    let mut ledger = Ledger::default();
    ledger.actual(at(0), &key(), Some(view(&[])));
    assert_eq!(ledger.next(at(0)), None, "nobody said yet what is wanted");
    ledger.want(at(1), &key(), here(&[]));
    assert_eq!(ledger.next(at(1)), Some(write(&[], true)), "others may have come meanwhile");
}

#[test]
fn what_failed_and_is_not_wanted_any_more_is_forgotten() {
    let mut ledger = Ledger::default();
    ledger.want(at(0), &key(), here(&[]));
    let job = ledger.next(at(0)).expect("to write");
    assert!(ledger.failed(at(0), &job), "a time of failures begins");
    ledger.want(at(1), &key(), Want::Nowhere);
    assert_eq!(ledger.next(at(60_000)), None, "there is no object, and none is wanted");
    assert_eq!(ledger.poll_timeout(), None);
    ledger.want(at(60_001), &key(), here(&[]));
    let job = ledger.next(at(60_001)).expect("to write");
    assert!(ledger.failed(at(60_001), &job), "the next time of failures is told");
}

#[test]
fn an_object_that_is_deleted_or_changed_by_hand_is_made_good() {
    let mut ledger = Ledger::default();
    ledger.want(at(0), &key(), here(&[]));
    let job = ledger.next(at(0)).expect("to write");
    ledger.done(at(0), &job);
    ledger.actual(at(1), &key(), None);
    assert_eq!(ledger.next(at(1)), Some(write(&[], false)));
    ledger.done(at(1), &job);
    ledger.actual(at(2), &key(), Some(StatusView { complete: false, ..view(&[]) }));
    assert_eq!(ledger.next(at(2)), Some(write(&[], false)));
}

#[test]
fn a_service_that_nobody_announces_loses_its_object_at_once() {
    let mut ledger = Ledger::default();
    ledger.actual(at(0), &key(), Some(view(&[])));
    ledger.want(at(0), &key(), Want::Nowhere);
    let job = ledger.next(at(0)).expect("to delete");
    assert_eq!(job, Job::Delete { service: key() });
    ledger.done(at(1), &job);
    assert_eq!(ledger.next(at(1)), None);
    assert!(ledger.entries.is_empty(), "nothing is remembered of it");
}

#[test]
fn a_service_that_another_node_announces_is_left_to_it_for_a_while() {
    let mut ledger = Ledger::default();
    ledger.actual(at(0), &key(), Some(view(&[])));
    ledger.want(at(0), &key(), Want::Elsewhere);
    assert_eq!(ledger.next(at(9_999)), None);
    ledger.actual(at(9_999), &key(), Some(view(&[])));
    assert_eq!(ledger.next(at(10_000)), Some(Job::Delete { service: key() }), "it did not do it");
    let mut ledger = Ledger::default();
    ledger.actual(at(0), &key(), Some(view(&[])));
    ledger.want(at(0), &key(), Want::Elsewhere);
    ledger.actual(at(50), &key(), None);
    assert_eq!(ledger.next(at(10_000)), None, "it did it");
    assert!(ledger.entries.is_empty());
}

#[test]
fn what_failed_is_tried_again_with_growing_pauses_until_it_is_done() {
    let mut ledger = Ledger::default();
    ledger.want(at(0), &key(), here(&[]));
    let mut now = at(0);
    for (failure, pause) in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000].into_iter().enumerate()
    {
        let job = ledger.next(now).expect("due");
        assert_eq!(ledger.failed(now, &job), failure == 0, "the first failure is told");
        ledger.actual(now, &key(), None);
        assert_eq!(ledger.poll_timeout(), Some(now + Duration::from_millis(pause)));
        now = now + Duration::from_millis(pause);
    }
    let job = ledger.next(now).expect("due");
    assert!(ledger.done(now, &job), "the end of failures is told");
    assert_eq!(ledger.next(now), None);
}

#[test]
fn a_change_of_mind_while_a_job_runs_is_followed_after_it() {
    let mut ledger = Ledger::default();
    ledger.want(at(0), &key(), here(&[]));
    let job = ledger.next(at(0)).expect("to write");
    ledger.want(at(1), &key(), Want::Nowhere);
    assert_eq!(ledger.next(at(1)), None, "one job at a time for one Service");
    ledger.done(at(2), &job);
    assert_eq!(ledger.next(at(2)), Some(Job::Delete { service: key() }));
}
