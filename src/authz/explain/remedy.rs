//! What would mend a denial, at the step that failed.

use super::Question;
use crate::authz::access_set::{Wall, held_until};
use crate::authz::catalog::{ActionSet, SeatSet, TypeIx};
use crate::authz::decision::ReasonCode;
use crate::authz::model::{Id, Level, PrincipalKind};

impl Question<'_> {
    /// `None` where nothing that an admin could change would turn it.
    pub(super) fn remedy(&self) -> Option<String> {
        use ReasonCode as Code;
        let (user, key) = (
            self.user,
            format!("{}.{}", self.resource_type, self.canonical_action()),
        );
        let resource = self
            .resource
            .as_ref()
            .map(|(id, _)| format!("{}/{id}", self.resource_type))
            .unwrap_or_default();
        match self.decision.reason {
            Code::UserUnknown => Some(format!("add the user `{user}` to the account")),
            Code::UserPending => Some(format!("`{user}` accepts the invitation")),
            Code::UserDeactivated => Some(format!("reactivate the user `{user}`")),
            Code::PartnershipInactive => {
                Some("renew the partnership with the user's agency".to_owned())
            }
            Code::NotEntitled => self.entitling_plans(),
            Code::SeatRequired => Some(format!(
                "give `{user}` one of the seats: {}",
                self.seats(self.set.resource_type.seats)
            )),
            Code::SeatReadOnly => Some(format!(
                "give `{user}` a seat that allows more than reading"
            )),
            Code::PaymentMethodInvalid => {
                Some("give the account a valid payment method".to_owned())
            }
            Code::Reserved => self.reserved_remedy(&key),
            Code::ResourceNotFound => {
                Some("store the resource, or describe it with inline facts".to_owned())
            }
            Code::GrantExpired => Some(format!(
                "renew the expired grant of {}",
                self.expired_keys(&key)
            )),
            Code::MissingPrerequisite => Some(format!("grant `{user}` one of: {}", self.sources())),
            Code::NoPermission => Some(format!(
                "grant `{user}` {key} at {} or higher",
                self.lowest_level()
            )),
            Code::NotInPartition | Code::Orphaned => self.any_of([
                self.object_grant_remedy(&resource),
                Some(self.assignment_remedy(&resource)),
            ]),
            Code::UnpartitionedRestricted => self.any_of([
                self.object_grant_remedy(&resource),
                Some(format!("make `{user}` an owner of {resource}")),
            ]),
            Code::ActionNotInGroup => self.any_of([
                // A group reaches grants at TEAM or higher only.
                self.reaches_teams().then(|| self.mask_remedy(&resource)),
                self.object_grant_remedy(&resource),
            ]),
            Code::NotOwner | Code::NotInTeam => {
                let higher = self.sufficient_level()?;
                self.any_of([
                    self.object_grant_remedy(&resource),
                    Some(format!("raise the grant of {key} to {higher}")),
                ])
            }
            Code::UnassignedNotIncluded => Some(format!(
                "let the grant of {key} include unassigned resources"
            )),
            Code::OwnerOnly | Code::PartnerForbidden => None,
            // Allow codes: nothing to mend.
            Code::ReservedHolder
            | Code::AccountOwner
            | Code::SuperAdmin
            | Code::Always
            | Code::Tool
            | Code::Owner
            | Code::AssignedUser
            | Code::ObjectGrant
            | Code::Team
            | Code::ParentTeam
            | Code::AccessGroup
            | Code::Unassigned
            | Code::Everything => None,
        }
    }

    fn any_of<const N: usize>(&self, ways: [Option<String>; N]) -> Option<String> {
        let ways: Vec<String> = ways.into_iter().flatten().collect();
        (!ways.is_empty()).then(|| ways.join(", or "))
    }

    /// A derived action has no permission of its own, so no object grant can give it.
    fn object_grant_remedy(&self, resource: &str) -> Option<String> {
        let action = self.canonical_action();
        (!self.set.rule.derived)
            .then(|| format!("grant `{}` {action} on {resource} alone", self.user))
    }

    /// The action that was asked about, or the one that it stands for.
    fn canonical_action(&self) -> &str {
        let name = self.set.graph.catalog().action_name(self.set.action);
        name.map_or(self.action, Id::as_str)
    }

    /// C3: an assignment to a team or a group reaches grants at TEAM or higher only.
    fn reaches_teams(&self) -> bool {
        self.set.rule.always || self.set.live_levels().any(|level| level >= Level::Team)
    }

    fn assignment_remedy(&self, resource: &str) -> String {
        let has_team = self
            .compiled_user()
            .is_some_and(|user| user.teams(self.set.at).next().is_some());
        let team = if has_team && self.reaches_teams() {
            " or a team of theirs"
        } else {
            ""
        };
        format!("assign {resource} to user:{}{team}", self.user)
    }

    fn entitling_plans(&self) -> Option<String> {
        let entitles = |actions: Option<&ActionSet>| {
            actions.is_some_and(|actions| actions.contains(self.set.action))
        };
        let plans: Vec<&str> = self
            .set
            .graph
            .catalog()
            .plans
            .iter()
            .filter(|plan| entitles(plan.entitled.get(usize::from(self.set.type_ix.0))))
            .map(|plan| plan.name.as_str())
            .collect();
        (!plans.is_empty())
            .then(|| format!("move the account to one of the plans: {}", plans.join(", ")))
    }

    fn seats(&self, seats: SeatSet) -> String {
        let catalog = self.set.graph.catalog();
        let names = catalog.seats.iter().filter(|seat| {
            catalog
                .seat_ix(seat.name.as_str())
                .is_some_and(|seat| seats.intersects(SeatSet::of(seat)))
        });
        names
            .map(|seat| seat.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn reserved_remedy(&self, key: &str) -> Option<String> {
        let reserved = self.set.rule.reserved?;
        if reserved.explicit_grant {
            return Some(format!(
                "grant `{}` {key} explicitly, at any level",
                self.user
            ));
        }
        let holders = [
            (reserved.account_owner, "the account owner"),
            (reserved.super_admin, "super admins"),
            (reserved.partner_admin, "partner admins"),
        ];
        let holders: Vec<&str> = holders
            .into_iter()
            .filter(|(held, _)| *held)
            .map(|(_, name)| name)
            .collect();
        Some(format!("leave it to its holders: {}", holders.join(", ")))
    }

    fn expired_keys(&self, otherwise: &str) -> String {
        let expired: Vec<String> = self
            .set
            .counting_grants()
            .filter(|(holding, grant)| {
                held_until(holding, grant).is_some_and(|expires_at| expires_at <= self.set.at)
            })
            .map(|(_, grant)| grant.grant.key.to_string())
            .chain(self.expired_object_grants())
            .collect();
        if expired.is_empty() {
            otherwise.to_owned()
        } else {
            expired.join(", ")
        }
    }

    fn expired_object_grants(&self) -> impl Iterator<Item = String> {
        let id = self.resource.as_ref().map(|(id, _)| *id);
        let grants = id.into_iter().flat_map(|id| self.set.object_grants(id));
        grants
            .filter(|grant| {
                grant
                    .expires_at
                    .is_some_and(|expires_at| expires_at <= self.set.at)
            })
            .map(|grant| format!("{} on {}", grant.grant.action, grant.grant.resource))
    }

    /// The permissions that a derived action follows from.
    fn sources(&self) -> String {
        let catalog = self.set.graph.catalog();
        let name = |type_ix: &TypeIx, action| {
            let resource_type = catalog.resource_type(*type_ix)?;
            Some(format!(
                "{}.{}",
                resource_type.name,
                catalog.action_name(action)?
            ))
        };
        let sources = self.set.rule.sources.iter();
        sources
            .flat_map(|(type_ix, actions)| {
                actions
                    .iter()
                    .filter_map(move |action| name(type_ix, action))
            })
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn mask_remedy(&self, resource: &str) -> String {
        let groups: Vec<&str> = self
            .resource
            .iter()
            .flat_map(|(_, facts)| &facts.assignments)
            .filter(|assignment| {
                assignment.kind == PrincipalKind::Group && assignment.is_live(self.set.at)
            })
            .filter(|assignment| {
                self.compiled_user()
                    .is_some_and(|user| self.set.mask(user, assignment.principal).is_some())
            })
            .filter_map(|assignment| self.set.graph.names.groups.name(assignment.principal))
            .map(Id::as_str)
            .collect();
        let (user, action) = (self.user, self.canonical_action());
        format!(
            "add {action} to the actions of `{user}` in access group {}, which holds {resource}",
            groups.join(", ")
        )
    }

    /// The lowest level that would reach the resource.
    fn sufficient_level(&self) -> Option<Level> {
        let standing = self.standing()?;
        let team = standing.is_admitted()
            || (standing.wall == Wall::None && standing.owning_team.is_some());
        Some(if team { Level::Team } else { Level::Everything })
    }
}
