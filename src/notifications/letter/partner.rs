//! What people read of what happens between an agency and a client (S4.6).

use serde::Deserialize;

use super::{Letter, Parts, Words, fill, upright};
use crate::authz::partner_event::{PartnerEvent, PartnerEventKind, PartnerSide};

/// In the words of one language; of what nobody gets mail about there are none.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PartnerWords {
    client: String,
    agency: String,
    user: String,
    permission_set: String,
    footer: String,
    link_approved: Form,
    staff_added: Form,
    staff_changed: Form,
    staff_removed: Form,
    staff_deactivated: Form,
    staff_reactivated: Form,
    partnership_ended: Form,
}

/// `{client}`, `{agency}` and `{by}` are filled in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    subject: String,
    lead: String,
}

impl PartnerWords {
    fn form(&self, kind: PartnerEventKind) -> Option<&Form> {
        Some(match kind {
            PartnerEventKind::LinkApproved => &self.link_approved,
            PartnerEventKind::StaffAdded => &self.staff_added,
            PartnerEventKind::StaffChanged => &self.staff_changed,
            PartnerEventKind::StaffRemoved => &self.staff_removed,
            PartnerEventKind::StaffDeactivated => &self.staff_deactivated,
            PartnerEventKind::StaffReactivated => &self.staff_reactivated,
            PartnerEventKind::PartnershipEnded => &self.partnership_ended,
            PartnerEventKind::AdminMigrated => return None,
        })
    }
}

/// To whom an event concerns: what happened, where, and by whom. Who did it in the other account is
/// nobody whom this one knows, so that account is named.
pub fn of_partner(words: &Words, event: &PartnerEvent) -> Option<Letter> {
    let news = &event.news;
    let form = words.partner.form(news.kind)?;
    let (agency, client) = match news.side {
        PartnerSide::Agency => (&news.account, &news.counterpart),
        PartnerSide::Client => (&news.counterpart, &news.account),
    };
    let (agency, client) = (upright(agency.as_str()), upright(client.as_str()));
    let by = upright(news.actor.as_ref().unwrap_or(&news.counterpart).as_str());
    let values = [
        ("agency", agency.as_str()),
        ("client", client.as_str()),
        ("by", by.as_str()),
    ];
    let mut rows = vec![
        (words.partner.client.clone(), client.clone()),
        (words.partner.agency.clone(), agency.clone()),
    ];
    if let Some(person) = &news.person {
        let user = upright(person.client_user.as_str());
        rows.push((words.partner.user.clone(), user));
    }
    if let Some(set) = &news.permission_set {
        let set = upright(set.as_str());
        rows.push((words.partner.permission_set.clone(), set));
    }
    rows.push((words.by.clone(), by.clone()));
    let parts = Parts {
        subject: fill(&form.subject, &values),
        lead: fill(&form.lead, &values),
        rows,
        quotes: Vec::new(),
        link: None,
        footer: words.partner.footer.clone(),
    };
    Some(parts.into_letter())
}
