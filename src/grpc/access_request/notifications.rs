//! `ListNotifications` and `ReplayNotification`: what is told of requests and partnerships, and to
//! whom.

use super::{AccessRequestHandlers, present};
use crate::authz::model::Id;
use crate::grpc::admission::Admission;
use crate::grpc::convert::{self, Path};
use crate::grpc::directory::{page_size, up_to_page_bytes};
use crate::grpc::page_token::{self, Binding};
use crate::grpc::status::Failure;
use crate::grpc::wire;
use crate::store::audit::Author;
use crate::store::outbox::{Delivery, DeliveryKey, Subject, SubjectKind};

/// Longest destination: a word and an id.
const DESTINATION_BYTES_MAX: usize = 300;

impl AccessRequestHandlers {
    pub(super) async fn notifications(
        &self,
        admission: &Admission,
        request: &wire::ListNotificationsRequest,
    ) -> Result<wire::ListNotificationsResponse, Failure> {
        let account = admission.account(&request.account_id)?;
        let state = convert::notification_state_from_wire(request.state, Path::root("state"))?;
        let binding = Binding::new(
            "ListNotifications",
            &[&request.account_id, &request.state.to_string()],
        );
        let place = self.reading.place(&binding, &request.page_token)?;
        let read = self
            .reading
            .page(&account, Some(&present()), place.as_ref())
            .await?;
        let after = place
            .as_ref()
            .map(|place| key_of(&account, &place.after).ok_or_else(page_token::invalid))
            .transpose()?;
        let size = page_size(request.page_size);
        let filter = (state, admission.listed());
        let mut found = self
            .requests
            .notifications(&account, filter, after.as_ref(), size + 1)
            .await?;
        let more = found.len() > size;
        found.truncate(size);
        let found = found
            .iter()
            .map(|delivery| (text_of(delivery), convert::notification_to_wire(delivery)));
        let (notifications, last) = up_to_page_bytes(found, more);
        Ok(wire::ListNotificationsResponse {
            notifications,
            next_page_token: last
                .map(|last| self.reading.page_token(&binding, &last, read.head))
                .unwrap_or_default(),
            revision: self.reading.revision(&account, read.head),
        })
    }

    pub(super) async fn replay(
        &self,
        admission: &Admission,
        request: wire::ReplayNotificationRequest,
        author: &Author,
    ) -> Result<wire::ReplayNotificationResponse, Failure> {
        let account = admission.account(&request.account_id)?;
        let destination = request.destination;
        if destination.is_empty()
            || destination.len() > DESTINATION_BYTES_MAX
            || destination.contains(char::is_control)
        {
            return Err(Failure::invalid(
                "destination",
                "name a destination as ListNotifications does, as webhook:crm",
            ));
        }
        let key = DeliveryKey {
            account: Id::clone(&account),
            subject: subject(
                admission,
                &request.access_request_id,
                &request.partner_account_id,
            )?,
            ordinal: request.event_ordinal,
            destination,
        };
        let head = self.requests.replay(&key, author).await?;
        Ok(wire::ReplayNotificationResponse {
            revision: self.reading.revision(&account, head),
        })
    }
}

fn subject(admission: &Admission, request: &str, partner: &str) -> Result<Subject, Failure> {
    const PARTNER: &str = "partner_account_id";
    match (request.is_empty(), partner.is_empty()) {
        (_, true) => Ok(Subject::Request(convert::id(request, "access_request_id")?)),
        (true, false) => {
            let counterpart = admission.counterpart(partner, PARTNER)?;
            Ok(Subject::Partner(Id::clone(&counterpart)))
        }
        (false, false) => Err(Failure::invalid(
            PARTNER,
            "name either this or access_request_id, as ListNotifications does",
        )),
    }
}

/// A key as a page token carries it; neither ids nor destinations have line breaks. No id is empty:
/// a line that is stands before a partner.
fn text_of(delivery: &Delivery) -> String {
    let DeliveryKey {
        account: _,
        subject,
        ordinal,
        destination,
    } = &delivery.key;
    let before = match subject {
        Subject::Request(_) => "",
        Subject::Partner(_) => "\n",
    };
    format!("{before}{}\n{ordinal}\n{destination}", subject.id())
}

fn key_of(account: &Id, text: &str) -> Option<DeliveryKey> {
    let (kind, text) = match text.strip_prefix('\n') {
        Some(text) => (SubjectKind::Partner, text),
        None => (SubjectKind::Request, text),
    };
    let mut parts = text.splitn(3, '\n');
    Some(DeliveryKey {
        account: account.clone(),
        subject: Subject::of(kind, Id::parse(parts.next()?).ok()?),
        ordinal: parts.next()?.parse().ok()?,
        destination: parts.next()?.to_owned(),
    })
}
