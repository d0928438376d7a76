//! The account that these tests ask about.

use std::fmt::Write as _;

pub const ACME: &str = r#"
account: acme
catalog: hubspot
plan: enterprise
teams: [{id: eu}, {id: de, parent: eu}]
permission_sets: [{id: rep, grants: {contact.view: team, contact.edit: owned}}]
users:
  - {id: sa, super_admin: true}
  - {id: eu1, main_team: eu, permission_sets: [rep]}
  - {id: de1, main_team: de, permission_sets: [rep]}
  - {id: ex1, main_team: de, grants: {contact.export: {level: team, expires_at: 2027-01-01T00:00:00Z}}}
  - {id: no1}
resources:
  - {type: contact, id: c1, owners: [de1]}
  - {type: contact, id: c 2, owners: [eu1]}
  - {type: contact, id: c3, owners: [sa], assigned_to: [team:de], attributes: {tags: [gold]}}
cases:
  - {name: "S2.8 down the tree", user: eu1, check: contact.view c1, expect: {decision: allow, reason: PARENT_TEAM}}
  - {name: "S2.8 never up", user: de1, check: contact.view c 2, expect: {reason: NOT_IN_TEAM}}
  - {name: "S2.7 the list", user: de1, list: contact.view, expect: [c1, c3]}
"#;

/// An account with so many contacts that their list fills any pipe.
pub fn large(contacts: usize) -> String {
    let mut document = String::from(
        "account: large\ncatalog: hubspot\nplan: enterprise\nusers: [{id: sa, super_admin: true}, {id: none}]\nresources:\n",
    );
    for index in 0..contacts {
        writeln!(document, "  - {{type: contact, id: contact-{index:012}}}").unwrap();
    }
    document
}
