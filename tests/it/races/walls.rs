//! Assignments against assignments: REPLACE against ADD on one asset (P2), and the recalculation of a
//! rule against a removal by hand (P4, P6, P7).

use super::*;
use crate::faults::replica::until;

async fn assign(
    server: &TestServer,
    mode: wire::AssignMode,
    contact: &str,
    target: wire::principal::Principal,
) -> Result<(), Status> {
    let request = wire::AssignResourcesRequest {
        account_id: "acme".to_owned(),
        resources: Some(wire::ResourceSelection {
            resource_type: "contact".to_owned(),
            selection: Some(wire::resource_selection::Selection::Ids(
                wire::ResourceIds {
                    ids: vec![contact.to_owned()],
                },
            )),
        }),
        mode: mode.into(),
        targets: vec![wire::Principal {
            principal: Some(target),
        }],
        actor_user_id: "sa".to_owned(),
        ..wire::AssignResourcesRequest::default()
    };
    let mut answers = server
        .partitions()
        .assign_resources(request)
        .await?
        .into_inner();
    while let Some(answer) = answers.message().await? {
        let refusals = answer.report.unwrap().refusals;
        assert!(refusals.is_empty(), "{refusals:?}");
    }
    Ok(())
}

fn team(id: &str) -> wire::principal::Principal {
    wire::principal::Principal::TeamId(id.to_owned())
}

/// Whom a contact is assigned to, and by what.
fn rows(contact: &wire::Resource) -> Vec<(String, String)> {
    let rows = contact.assigned_to.iter().map(|row| {
        let principal = row.principal.as_ref().unwrap().principal.as_ref().unwrap();
        let principal = match principal {
            wire::principal::Principal::UserId(id)
            | wire::principal::Principal::TeamId(id)
            | wire::principal::Principal::AccessGroupId(id) => id.clone(),
        };
        (principal, row.provenance.clone())
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p2_replace_against_add_ends_as_one_after_the_other() {
    let pair = Pair::new().await;
    let begin = "resources: [{type: contact, id: asset, assigned_to: ['user:u']}]";
    let mut orders = Orders::default();
    for round in 0..rounds() {
        pair.operate("acme", begin).await;
        assign(
            pair.at(0),
            wire::AssignMode::Replace,
            "asset",
            wire::principal::Principal::UserId("u".to_owned()),
        )
        .await
        .unwrap();
        let (replaced, added) = meet(
            round,
            assign(pair.at(0), wire::AssignMode::Replace, "asset", team("de")),
            assign(pair.at(1), wire::AssignMode::Add, "asset", team("us")),
        )
        .await;
        replaced.unwrap();
        added.unwrap();
        let contact = pair.contact("asset").await;
        let left: Vec<String> = rows(&contact).into_iter().map(|(who, _)| who).collect();
        assert!(contact.partitioned, "round {round}");
        let replaced_first = left == ["de", "us"];
        assert!(replaced_first || left == ["de"], "round {round}: {left:?}");
        orders.saw(replaced_first);
    }
    orders.settle("REPLACE against ADD");
    pair.stop().await;
}

/// By hand goes what is there by hand, and by the rule comes what it says, whichever is first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p4_p6_a_rules_recalculation_and_a_removal_by_hand_take_only_their_own_rows() {
    let pair = Pair::new().await;
    let attributes = "resources: [{type: contact, id: member, attributes: {tags: [gold]}}]";
    pair.operate("acme", attributes).await;
    let vip = || wire::principal::Principal::AccessGroupId("vip".to_owned());
    let mut seen = Orders::default();
    // The revision of the rule's job of the round before.
    let before = std::cell::Cell::new(0);
    for round in 0..rounds() {
        // The rule turns to match the contact, or to match it no more.
        let matches = round % 2 == 0;
        let when = match matches {
            true => "\"'gold' in resource.tags\"",
            false => "\"'none' in resource.tags\"",
        };
        assign(pair.at(0), wire::AssignMode::Add, "member", vip())
            .await
            .unwrap();
        let rule = changes(
            "acme",
            &format!(
                "segments: [{{id: golden, type: contact, when: {when}, assign_to: ['group:vip']}}]"
            ),
        );
        let (ruled, removed) = meet(
            round / 2,
            pair.at(0).apply("acme", rule),
            assign(pair.at(1), wire::AssignMode::Remove, "member", vip()),
        )
        .await;
        let ruled = ruled.unwrap();
        removed.unwrap();
        let done = async || {
            let request = wire::GetSegmentJobRequest {
                account_id: "acme".to_owned(),
                segment_id: "golden".to_owned(),
                revision_number: None,
            };
            let newest = pair.at(round).partitions().get_segment_job(request).await;
            let newest = newest.ok().and_then(|newest| newest.into_inner().job);
            newest.is_some_and(|job| {
                job.revision_number > before.get() && {
                    let is_done = job.state() == wire::SegmentJobState::Done;
                    before.set(if is_done {
                        job.revision_number
                    } else {
                        before.get()
                    });
                    is_done
                }
            })
        };
        until("the rule is brought to all records", done).await;
        let contact = pair.contact("member").await;
        let left = rows(&contact);
        let expected: Vec<(String, String)> = match matches {
            true => vec![("vip".to_owned(), "segment:golden".to_owned())],
            false => Vec::new(),
        };
        assert_eq!(left, expected, "round {round}");
        // Sticky: what lost its last row stays closed (3.5).
        assert!(contact.partitioned, "round {round}");
        assert!(!ruled.revision.is_empty());
        seen.saw(matches);
    }
    seen.settle("a rule's recalculation against a removal by hand");
    pair.stop().await;
}
