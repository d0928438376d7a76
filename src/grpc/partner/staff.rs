//! `AddStaff`, `LinkContractor`, `ChangePermissionSet`, `DeactivateEmployee`, `ReactivateEmployee` and
//! `MigrateToPartnerAdmin`.

use super::{PartnerHandlers, failure};
use crate::authz::ceiling::Note;
use crate::authz::delegation::Placed;
use crate::authz::model::{EntityKey, Id, UserStatus};
use crate::grpc::admission::Admission;
use crate::grpc::convert::{self, Path};
use crate::grpc::partner::removal::{CLIENT, CLIENTS, clients};
use crate::grpc::status::Failure;
use crate::grpc::wire;
use crate::partners::{Asking, InClient, Migrate, SetStatus, Staffed, Staffing};
use crate::store::audit::Author;

/// Most people of one call.
const PEOPLE_MAX: usize = 100;

/// An employee as a request names them.
struct EmployeeNamed<'a> {
    agency: &'a str,
    actor: &'a str,
    partner_user: &'a str,
    clients: &'a [String],
}

impl PartnerHandlers {
    pub(super) async fn add_staff(
        &self,
        admission: &Admission,
        message: &wire::AddStaffRequest,
        author: Author,
    ) -> Result<wire::AddStaffResponse, Failure> {
        let names = [&*message.account_id, &*message.client_account_id];
        let asking = asking(admission, names, &message.actor_user_id, author)?;
        let list = Path::root("people");
        if message.people.is_empty() || message.people.len() > PEOPLE_MAX {
            return Err(Failure::invalid(
                list,
                format_args!(
                    "1 to {PEOPLE_MAX} people are added at once, these are {}",
                    message.people.len()
                ),
            ));
        }
        let people = message.people.iter().enumerate();
        let people = people
            .map(|(at, one)| member(one, list.at(at)))
            .collect::<Result<Vec<_>, _>>()?;
        let set = convert::id(&message.permission_set_id, "permission_set_id")?;
        let staffed = self.staff(asking, Staffing::Add { people, set }).await?;
        Ok(wire::AddStaffResponse {
            staff: staffed.placed.iter().map(placed_to_wire).collect(),
            revision: staffed.token.encode(),
        })
    }

    pub(super) async fn link_contractor(
        &self,
        admission: &Admission,
        message: &wire::LinkContractorRequest,
        author: Author,
    ) -> Result<wire::LinkContractorResponse, Failure> {
        let names = [&*message.account_id, &*message.client_account_id];
        let asking = asking(admission, names, &message.actor_user_id, author)?;
        let contractor = message
            .contractor
            .as_ref()
            .ok_or_else(|| Failure::invalid("contractor", "a contractor is required"))?;
        let (person, user) = member(contractor, Path::root("contractor"))?;
        let set = convert::id(&message.permission_set_id, "permission_set_id")?;
        let staffing = Staffing::LinkContractor { person, user, set };
        let staffed = self.staff(asking, staffing).await?;
        Ok(wire::LinkContractorResponse {
            staff: staffed.placed.first().map(placed_to_wire),
            revision: staffed.token.encode(),
        })
    }

    pub(super) async fn change_permission_set(
        &self,
        admission: &Admission,
        message: &wire::ChangePermissionSetRequest,
        author: Author,
    ) -> Result<wire::ChangePermissionSetResponse, Failure> {
        let names = [&*message.account_id, &*message.client_account_id];
        let asking = asking(admission, names, &message.actor_user_id, author)?;
        let person = convert::id(&message.partner_user_id, "partner_user_id")?;
        let set = convert::id(&message.permission_set_id, "permission_set_id")?;
        let staffing = Staffing::ChangeSet { person, set };
        let staffed = self.staff(asking, staffing).await?;
        Ok(wire::ChangePermissionSetResponse {
            staff: staffed.placed.first().map(placed_to_wire),
            revision: staffed.token.encode(),
        })
    }

    async fn staff(&self, asking: Asking, staffing: Staffing) -> Result<Staffed, Failure> {
        let staffed = self.partners.staff(asking, staffing).await;
        staffed.map_err(|error| failure(error, CLIENT))
    }

    pub(super) async fn deactivate_employee(
        &self,
        admission: &Admission,
        message: &wire::DeactivateEmployeeRequest,
        author: Author,
    ) -> Result<wire::DeactivateEmployeeResponse, Failure> {
        let of = EmployeeNamed {
            agency: &message.account_id,
            actor: &message.actor_user_id,
            partner_user: &message.partner_user_id,
            clients: &message.client_account_ids,
        };
        let to = UserStatus::Deactivated;
        let clients = self.set_status(admission, of, to, author).await?;
        Ok(wire::DeactivateEmployeeResponse { clients })
    }

    pub(super) async fn reactivate_employee(
        &self,
        admission: &Admission,
        message: &wire::ReactivateEmployeeRequest,
        author: Author,
    ) -> Result<wire::ReactivateEmployeeResponse, Failure> {
        let of = EmployeeNamed {
            agency: &message.account_id,
            actor: &message.actor_user_id,
            partner_user: &message.partner_user_id,
            clients: &message.client_account_ids,
        };
        let to = UserStatus::Active;
        let clients = self.set_status(admission, of, to, author).await?;
        Ok(wire::ReactivateEmployeeResponse { clients })
    }

    async fn set_status(
        &self,
        admission: &Admission,
        of: EmployeeNamed<'_>,
        status: UserStatus,
        author: Author,
    ) -> Result<Vec<wire::StatusInClient>, Failure> {
        let agency = admission.account(of.agency)?;
        let request = SetStatus {
            agency: Id::clone(&agency),
            actor: convert::id(of.actor, "actor_user_id")?,
            partner_user: convert::id(of.partner_user, "partner_user_id")?,
            clients: clients(admission, of.clients)?,
            visible: admission.listed().cloned(),
            status,
            author,
        };
        let changed = self.partners.set_status(request).await;
        let changed = changed.map_err(|error| failure(error, CLIENTS))?;
        Ok(changed.iter().map(status_to_wire).collect())
    }

    pub(super) async fn migrate_to_partner_admin(
        &self,
        admission: &Admission,
        message: &wire::MigrateToPartnerAdminRequest,
        author: Author,
    ) -> Result<wire::MigrateToPartnerAdminResponse, Failure> {
        let client = admission.account(&message.account_id)?;
        let migrated = self.partners.migrate(Migrate {
            client: Id::clone(&client),
            actor: convert::id(&message.actor_user_id, "actor_user_id")?,
            user: convert::id(&message.user_id, "user_id")?,
            keep_billing: message.keep_billing,
            visible: admission.listed().cloned(),
            author,
        });
        let token = migrated.await.map_err(|error| failure(error, CLIENT))?;
        Ok(wire::MigrateToPartnerAdminResponse {
            revision: token.encode(),
        })
    }
}

fn asking(
    admission: &Admission,
    [agency, client]: [&str; 2],
    actor: &str,
    author: Author,
) -> Result<Asking, Failure> {
    let agency = admission.account(agency)?;
    let client = admission.counterpart(client, CLIENT)?;
    Ok(Asking {
        agency: Id::clone(&agency),
        client: Id::clone(&client),
        actor: convert::id(actor, "actor_user_id")?,
        visible: admission.listed().cloned(),
        author,
    })
}

fn member(one: &wire::StaffMember, path: Path<'_>) -> Result<(Id, Option<Id>), Failure> {
    Ok((
        convert::id(&one.partner_user_id, path.field("partner_user_id"))?,
        convert::optional_id(&one.user_id, path.field("user_id"))?,
    ))
}

fn placed_to_wire(placed: &Placed) -> wire::PlacedStaff {
    let of = EntityKey::User(placed.user.id.clone());
    let notes = |notes: &[Note]| {
        notes
            .iter()
            .map(|note| convert::note_to_wire(&of, note))
            .collect()
    };
    wire::PlacedStaff {
        partner_user_id: placed.partner_user.to_string(),
        user_id: placed.user.id.to_string(),
        withheld: notes(&placed.withheld),
        kept: notes(&placed.kept),
    }
}

fn status_to_wire(one: &InClient) -> wire::StatusInClient {
    wire::StatusInClient {
        client_account_id: one.client.to_string(),
        user_id: one.user.to_string(),
        changed: one.changed,
        revision: one.token.encode(),
    }
}
