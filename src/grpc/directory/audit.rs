//! `ListAuditRecords`: who changed an account, and what.

use super::{DirectoryHandlers, page_size, up_to_page_bytes};
use crate::authz::model::Timestamp;
use crate::graph_cache::ReadError;
use crate::grpc::admission::{Admission, AdmittedAccount};
use crate::grpc::convert::{self, Path};
use crate::grpc::page_token::{self, Binding};
use crate::grpc::status::Failure;
use crate::grpc::wire;
use crate::store::Head;
use crate::store::audit::{AuditFilter, AuditStep, CALLER_BYTES_MAX};

/// Records are of no revision of the account, which may be gone.
const NO_HEAD: Head = Head {
    revision: 0,
    nonce: [0; 8],
};

impl DirectoryHandlers {
    pub(super) async fn list_audit_records(
        &self,
        admission: &Admission,
        request: &wire::ListAuditRecordsRequest,
    ) -> Result<wire::ListAuditRecordsResponse, Failure> {
        let account = admission.account(&request.account_id)?;
        let filter = filter_of(request)?;
        let order = convert::audit_order_from_wire(request.order, Path::root("order"))?;
        let binding = binding_of(request);
        let place = self.reading.place(&binding, &request.page_token)?;
        let after = place
            .as_ref()
            .map(|place| place.after.parse::<u64>())
            .transpose()
            .map_err(|_genuine_tokens_have_one| page_token::invalid())?;
        let step = AuditStep {
            order,
            after,
            limit: u32::try_from(page_size(request.page_size)).unwrap_or(u32::MAX),
        };
        let page = self.store.audit_records(&account, &filter, step).await?;
        if page.records.is_empty() && after.is_none() {
            self.known_to_the_audit(&account, step).await?;
        }
        let whole = page.records.len();
        let found = page.records.iter().map(|record| {
            (
                record.ordinal.to_string(),
                convert::audit_record_to_wire(record),
            )
        });
        let (records, cut) = up_to_page_bytes(found, false);
        let next = if records.len() < whole {
            cut
        } else {
            page.next.map(|ordinal| ordinal.to_string())
        };
        Ok(wire::ListAuditRecordsResponse {
            records,
            next_page_token: next
                .map(|next| self.reading.page_token(&binding, &next, NO_HEAD))
                .unwrap_or_default(),
        })
    }

    /// An account that is there, or that was there in the time of which there are records.
    async fn known_to_the_audit(
        &self,
        account: &AdmittedAccount,
        step: AuditStep,
    ) -> Result<(), Failure> {
        if self.store.head(account).await?.is_some() {
            return Ok(());
        }
        let any = AuditFilter::default();
        let one = AuditStep { limit: 1, ..step };
        let found = self.store.audit_records(account, &any, one).await?;
        if found.records.is_empty() {
            return Err(ReadError::UnknownAccount((**account).clone()).into());
        }
        Ok(())
    }
}

fn filter_of(request: &wire::ListAuditRecordsRequest) -> Result<AuditFilter, Failure> {
    if request.caller.len() > CALLER_BYTES_MAX {
        return Err(Failure::invalid(
            "caller",
            format_args!("a caller's name has at most {CALLER_BYTES_MAX} bytes"),
        ));
    }
    let moment = |moment: &Option<prost_types::Timestamp>,
                  field: &'static str|
     -> Result<Option<Timestamp>, Failure> {
        moment
            .as_ref()
            .map(|moment| convert::moment(moment, field))
            .transpose()
    };
    Ok(AuditFilter {
        caller: Some(request.caller.clone()).filter(|caller| !caller.is_empty()),
        actor: convert::optional_id(&request.actor_user_id, "actor_user_id")?,
        kind: convert::audit_kind_from_wire(request.kind, Path::root("kind"))?,
        entity: request
            .entity
            .as_ref()
            .map(|key| convert::entity_key_from_wire(key, Path::root("entity")))
            .transpose()?,
        since: moment(&request.since, "since")?,
        until: moment(&request.until, "until")?,
    })
}

/// What is listed; page size aside, a page token is good for nothing else.
fn binding_of(request: &wire::ListAuditRecordsRequest) -> Binding {
    let entity = request.entity.clone().unwrap_or_default();
    let moment = |moment: &Option<prost_types::Timestamp>| {
        moment
            .as_ref()
            .map(|moment| format!("{}.{}", moment.seconds, moment.nanos))
            .unwrap_or_default()
    };
    Binding::new(
        "ListAuditRecords",
        &[
            &request.account_id,
            &request.caller,
            &request.actor_user_id,
            &request.kind.to_string(),
            &entity.kind.to_string(),
            &entity.id,
            &entity.resource_type,
            &moment(&request.since),
            &moment(&request.until),
            &request.order.to_string(),
        ],
    )
}
