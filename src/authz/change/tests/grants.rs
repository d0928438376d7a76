//! Grants and object grants against the catalog.
#![cfg(test)]

use super::super::super::model::{Grant, Level, Provenance, ResourceKey, Timestamp};
use super::super::{Change, GrantHolder};
use super::{
    account, after, grant, grants, hubspot, id, object_grant, permission, provenance, refused,
    resource, resource_key, set_grants, the_user, user,
};

#[test]
fn grants_are_of_the_key_and_provenance_that_they_are_set_for() {
    let graph = hubspot(&[user("u")]);
    let other_key = set_grants("u", "email.edit", vec![grant("email.view", Level::Team)]);
    assert_eq!(refused(&graph, &[other_key]).1, "grants");
    let other_source = Grant {
        provenance: provenance("request:1"),
        ..grant("email.edit", Level::Team)
    };
    assert_eq!(
        refused(&graph, &[set_grants("u", "email.edit", vec![other_source])]).1,
        "grants"
    );
}

#[test]
fn grants_of_one_provenance_leave_those_of_another() {
    let of_request = |level| Change::SetGrants {
        holder: GrantHolder::User(id("u")),
        key: permission("email.edit"),
        provenance: provenance("request:1"),
        grants: vec![Grant {
            provenance: provenance("request:1"),
            ..grant("email.edit", level)
        }],
    };
    let graph = hubspot(&[
        user("u"),
        of_request(Level::Owned),
        grants("u", "email.edit", Level::Team),
        set_grants("u", "email.edit", vec![]),
    ]);
    let held: Vec<Provenance> = the_user(&graph, "u")
        .grants
        .iter()
        .map(|one| one.provenance.clone())
        .collect();
    assert_eq!(held, [provenance("request:1")]);
}

#[test]
fn a_grant_names_a_permission_that_the_catalog_lets_be_granted() {
    let graph = hubspot(&[user("u"), resource("contact/c1")]);
    for key in ["email.fly", "spaceship.view", "contact.bulk_delete"] {
        assert_eq!(
            refused(&graph, &[grants("u", key, Level::Team)]).1,
            "grants.key",
            "{key}"
        );
        assert_eq!(
            refused(&graph, &[set_grants("u", key, vec![])]).1,
            "grants.key",
            "{key}"
        );
    }
    assert_eq!(
        refused(&graph, &[object_grant("u", "contact/c1", "bulk_delete")]).1,
        "object_grant.action"
    );
    let brevo = after(
        None,
        &[
            account("brevo", "enterprise"),
            user("u"),
            resource("contact/c1"),
        ],
    );
    for key in [
        "sender_settings.manage",
        "account.billing.view",
        "test_list.manage",
    ] {
        assert_eq!(
            refused(&brevo, &[grants("u", key, Level::Everything)]).1,
            "grants.key",
            "{key}"
        );
    }
    // A permission bundles actions; an object grant gives one action.
    after(
        Some(&brevo),
        &[grants("u", "contact.create_edit_delete", Level::Everything)],
    );
    let bundle = object_grant("u", "contact/c1", "create_edit_delete");
    assert_eq!(refused(&brevo, &[bundle]).1, "object_grant.action");
    // A flag type takes a grant whole or not at all (4).
    for level in [Level::Owned, Level::Team] {
        let refusal = refused(&brevo, &[grants("u", "contact.create_edit_delete", level)]);
        assert_eq!(refusal.1, "grants.level");
    }
    after(
        Some(&brevo),
        &[grants("u", "contact.create_edit_delete", Level::None)],
    );
}

#[test]
fn include_unassigned_is_kept_only_where_it_says_something() {
    for (level, kept) in [
        (Level::None, false),
        (Level::Owned, true),
        (Level::Team, true),
        (Level::Everything, false),
    ] {
        let with_unassigned = Grant {
            include_unassigned: true,
            ..grant("email.edit", level)
        };
        let graph = hubspot(&[
            user("u"),
            set_grants("u", "email.edit", vec![with_unassigned]),
        ]);
        let stored = the_user(&graph, "u").grants.first().expect("the grant");
        assert_eq!(stored.include_unassigned, kept, "{level}");
    }
}

#[test]
fn a_grant_ends_after_it_begins() {
    let graph = hubspot(&[user("u")]);
    let at = |micros| Timestamp::from_unix_micros(micros);
    let backwards = Grant {
        not_before: at(2),
        expires_at: at(2),
        ..grant("email.edit", Level::Team)
    };
    let refusal = refused(&graph, &[set_grants("u", "email.edit", vec![backwards])]);
    assert_eq!(refusal.1, "grants.expires_at");
}

#[test]
fn deleting_a_resource_takes_the_object_grants_on_it() {
    let graph = hubspot(&[
        user("u"),
        resource("email/e1"),
        resource("email/e2"),
        object_grant("u", "email/e1", "edit"),
        object_grant("u", "email/e2", "edit"),
    ]);
    let graph = after(
        Some(&graph),
        &[Change::DeleteResource(resource_key("email/e1"))],
    );
    let left: Vec<ResourceKey> = the_user(&graph, "u")
        .object_grants
        .iter()
        .map(|one| one.resource.clone())
        .collect();
    assert_eq!(left, [resource_key("email/e2")]);
}

#[test]
fn an_object_grant_is_one_of_user_resource_action_and_provenance() {
    let expiring = |expires_at: Option<Timestamp>| {
        let mut change = object_grant("u", "email/e1", "edit");
        if let Change::SetObjectGrant {
            grant: Some(grant), ..
        } = &mut change
        {
            grant.expires_at = expires_at;
        }
        change
    };
    let graph = hubspot(&[
        user("u"),
        resource("email/e1"),
        expiring(None),
        expiring(Timestamp::from_unix_micros(5)),
        object_grant("u", "email/e1", "view"),
    ]);
    assert_eq!(the_user(&graph, "u").object_grants.len(), 2);
    let revoke = Change::SetObjectGrant {
        user: id("u"),
        resource: resource_key("email/e1"),
        action: id("edit"),
        provenance: Provenance::Manual,
        grant: None,
    };
    let graph = after(Some(&graph), &[revoke]);
    assert_eq!(the_user(&graph, "u").object_grants.len(), 1);
}
