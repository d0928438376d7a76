//! The fields of the form by which a request is approved, and back.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::language::Unit;
use super::visit::Fields;
use crate::authz::access_request::{
    Approval, GrantOffer, RequestRefusal, Resolution, ResolutionKind,
};
use crate::authz::model::{Id, Level, PermissionKey, Timestamp};

/// Why a form can't be carried out as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormError {
    /// No resolution was chosen, or one that no page of ours offers.
    NoWay,
    Refusal(RequestRefusal),
}

/// A resolution as the value of a form field: its kind, and what it names, each escaped, behind
/// colons.
pub fn written(resolution: &Resolution) -> String {
    let mut text = resolution.kind().as_str().to_owned();
    let mut add = |part: &str| {
        text.push(':');
        text.extend(utf8_percent_encode(part, NON_ALPHANUMERIC));
    };
    match resolution {
        Resolution::ObjectGrant | Resolution::AssignToUser => {}
        Resolution::AssignToTeam(id)
        | Resolution::PermissionSet(id)
        | Resolution::AddToTeam(id) => add(id.as_str()),
        Resolution::DirectGrant(offer) | Resolution::RaiseLevel(offer) => {
            add(offer.key.resource_type.as_str());
            add(offer.key.permission.as_str());
            add(offer.level.as_str());
            add(if offer.include_unassigned { "1" } else { "0" });
        }
    }
    text
}

fn resolution_of(text: &str) -> Option<Resolution> {
    let mut parts = text.split(':');
    let kind = ResolutionKind::from_word(parts.next()?)?;
    let mut part = || {
        let part = percent_decode_str(parts.next()?);
        Some(part.decode_utf8().ok()?.into_owned())
    };
    let mut id = || Id::parse(&part()?).ok();
    let resolution = match kind {
        ResolutionKind::ObjectGrant => Resolution::ObjectGrant,
        ResolutionKind::AssignToUser => Resolution::AssignToUser,
        ResolutionKind::AssignToTeam => Resolution::AssignToTeam(id()?),
        ResolutionKind::PermissionSet => Resolution::PermissionSet(id()?),
        ResolutionKind::AddToTeam => Resolution::AddToTeam(id()?),
        ResolutionKind::DirectGrant | ResolutionKind::RaiseLevel => {
            let key = PermissionKey {
                resource_type: id()?,
                permission: id()?,
            };
            let offer = GrantOffer {
                key,
                level: Level::from_word(&part()?)?,
                include_unassigned: match part()?.as_str() {
                    "0" => false,
                    "1" => true,
                    _ => return None,
                },
            };
            match kind {
                ResolutionKind::RaiseLevel => Resolution::RaiseLevel(offer),
                _ => Resolution::DirectGrant(offer),
            }
        }
    };
    parts.next().is_none().then_some(resolution)
}

/// What the approver chose: `resolution`, and `amount` and `unit` of the time that it is given for.
pub fn approval_of(form: &Fields, now: Timestamp) -> Result<Approval, FormError> {
    let resolution = form
        .get("resolution")
        .and_then(resolution_of)
        .ok_or(FormError::NoWay)?;
    let expires_at = match form.words("amount") {
        None => None,
        Some(amount) => Some(end_of(&amount, form.get("unit"), now).ok_or_else(|| {
            FormError::Refusal(RequestRefusal::InvalidField {
                field: "expires_at",
                problem: "must lie ahead".to_owned(),
            })
        })?),
    };
    Ok(Approval {
        resolution,
        expires_at,
    })
}

fn end_of(amount: &str, unit: Option<&str>, now: Timestamp) -> Option<Timestamp> {
    let seconds = amount
        .parse::<u64>()
        .ok()
        .filter(|amount| *amount > 0)?
        .checked_mul(Unit::from_word(unit?)?.seconds())?;
    after(now, seconds)
}

/// A moment some seconds ahead; `None` past the end of time.
pub fn after(now: Timestamp, seconds: u64) -> Option<Timestamp> {
    let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
    Timestamp::from_unix_micros(now.unix_micros().checked_add(micros)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    fn offer(include_unassigned: bool) -> GrantOffer {
        GrantOffer {
            key: PermissionKey {
                resource_type: id("crm.contact:x"),
                permission: id("view"),
            },
            level: Level::Team,
            include_unassigned,
        }
    }

    fn form(text: &str) -> Fields {
        Fields::parse(text.as_bytes())
    }

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-22T12:00:00Z").unwrap()
    }

    #[test]
    fn each_resolution_comes_back_from_its_field_whatever_the_ids() {
        let odd = "a:b/ü%\u{202e} \"<&";
        for resolution in [
            Resolution::ObjectGrant,
            Resolution::AssignToUser,
            Resolution::AssignToTeam(id(odd)),
            Resolution::PermissionSet(id(odd)),
            Resolution::AddToTeam(id(odd)),
            Resolution::DirectGrant(offer(true)),
            Resolution::DirectGrant(offer(false)),
            Resolution::RaiseLevel(offer(true)),
        ] {
            let text = written(&resolution);
            assert_eq!(resolution_of(&text), Some(resolution), "{text}");
        }
        for wrong in [
            "",
            "super_admin",
            "object_grant:x",
            "assign_to_team",
            "assign_to_team:",
            "assign_to_team:%ff",
            "direct_grant:contact:view:team",
            "direct_grant:contact:view:team:2",
            "direct_grant:contact:view:all:0",
            "direct_grant:contact:view:team:0:x",
        ] {
            assert_eq!(resolution_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_end_is_counted_from_now_and_absent_where_none_is_named() {
        let expires_at = |text: &str| approval_of(&form(text), now()).map(|one| one.expires_at);
        assert_eq!(expires_at("resolution=object_grant&amount="), Ok(None));
        assert_eq!(
            expires_at("resolution=object_grant&amount=%207&unit=day"),
            Ok(Some(Timestamp::parse("2026-11-29T12:00:00Z").unwrap()))
        );
        assert_eq!(
            expires_at("resolution=object_grant&amount=90&unit=minute"),
            Ok(Some(Timestamp::parse("2026-11-22T13:30:00Z").unwrap()))
        );
        for wrong in [
            "0&unit=day",
            "-1&unit=day",
            "1.5&unit=day",
            "1",
            "1&unit=year",
            "18446744073709551615&unit=day",
            "9999999&unit=day",
        ] {
            let text = format!("resolution=object_grant&amount={wrong}");
            let Err(FormError::Refusal(RequestRefusal::InvalidField { field, .. })) =
                expires_at(&text)
            else {
                panic!("{wrong}");
            };
            assert_eq!(field, "expires_at");
        }
        assert_eq!(expires_at("amount=1&unit=day"), Err(FormError::NoWay));
    }
}
