//! `ListGrantsBeyondCeiling`: what somebody gave who does not hold as much any more (D5).

use super::{DirectoryHandlers, page_size};
use crate::authz::ceiling::{BeyondCeiling, beyond_ceiling};
use crate::authz::model::{EntityKey, Id};
use crate::authz::on_behalf::Noted;
use crate::grpc::admission::Admission;
use crate::grpc::convert;
use crate::grpc::page_token::{self, Binding};
use crate::grpc::status::Failure;
use crate::grpc::wire;

impl DirectoryHandlers {
    pub(super) async fn list_grants_beyond_ceiling(
        &self,
        admission: &Admission,
        request: &wire::ListGrantsBeyondCeilingRequest,
    ) -> Result<wire::ListGrantsBeyondCeilingResponse, Failure> {
        let account = admission.account(&request.account_id)?;
        let binding = Binding::new("ListGrantsBeyondCeiling", &[&request.account_id]);
        let place = self.reading.place(&binding, &request.page_token)?;
        let consistency = request.consistency.as_ref();
        let read = self
            .reading
            .page(&account, consistency, place.as_ref())
            .await?;
        let after = place.map(|place| holder(&place.after)).transpose()?;
        let (size, now) = (page_size(request.page_size), self.directory.now());
        let head = read.head;
        let (found, last) = self
            .reading
            .compute(&account, move || {
                beyond_ceiling(&read.graph, after.as_ref(), size, now)
            })
            .await?;
        Ok(wire::ListGrantsBeyondCeilingResponse {
            grants: found.into_iter().map(to_wire).collect(),
            next_page_token: last
                .map(|last| self.reading.page_token(&binding, &text(&last), head))
                .unwrap_or_default(),
            revision: self.reading.revision(&account, head),
        })
    }
}

fn to_wire(found: BeyondCeiling) -> wire::GrantBeyondCeiling {
    let noted = Noted {
        of: found.of,
        note: found.grant,
    };
    wire::GrantBeyondCeiling {
        grant: Some(convert::noted_to_wire(&noted)),
        granted_by: found.granted_by.to_string(),
        held_level: convert::level_to_wire(found.held.level()).into(),
        held_include_unassigned: found.held.include_unassigned(),
    }
}

const OF_USER: char = 'u';
const OF_SET: char = 's';

/// Where a list goes on, as its token has it.
fn text(holder: &EntityKey) -> String {
    match holder {
        EntityKey::PermissionSet(id) => format!("{OF_SET}{id}"),
        EntityKey::User(id) => format!("{OF_USER}{id}"),
        // Nobody else has grants.
        _ => String::new(),
    }
}

fn holder(text: &str) -> Result<EntityKey, Failure> {
    let (of, id): (fn(Id) -> EntityKey, _) =
        match (text.strip_prefix(OF_USER), text.strip_prefix(OF_SET)) {
            (Some(id), _) => (EntityKey::User, id),
            (None, Some(id)) => (EntityKey::PermissionSet, id),
            (None, None) => return Err(page_token::invalid()),
        };
    Id::parse(id)
        .map(of)
        .map_err(|_genuine_tokens_have_one| page_token::invalid())
}
