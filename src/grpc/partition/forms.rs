//! `PutForm`, `DeleteForm`, `ListForms` and `SubmitForm`.

use std::collections::BTreeSet;

use super::PartitionHandlers;
use crate::authz::model::{Id, Principal};
use crate::grpc::admission::Admission;
use crate::grpc::convert::{self, Path};
use crate::grpc::directory::page_size;
use crate::grpc::idempotency::idempotency_of;
use crate::grpc::status::{Failure, Reason};
use crate::grpc::wire;
use crate::partitions::{FormError, FormSettings, Submission};
use crate::store::audit::Author;
use crate::store::forms::Form;

/// Most targets of one form.
const TARGETS_MAX: usize = 50;

impl PartitionHandlers {
    pub(super) async fn put_form(
        &self,
        admission: &Admission,
        message: wire::PutFormRequest,
        author: Author,
    ) -> Result<wire::PutFormResponse, Failure> {
        let account = admission.account(&message.account_id)?;
        admission.writes_as(&message.actor_user_id)?;
        let actor = convert::optional_id(&message.actor_user_id, "actor_user_id")?;
        let settings = settings(message.form.as_ref())?;
        let author = author.for_actor(actor.clone());
        let put = self.partitions.put_form(&account, settings, actor, &author);
        let form = put.await.map_err(failure)?;
        Ok(wire::PutFormResponse {
            form: Some(to_wire(&form)),
        })
    }

    pub(super) async fn delete_form(
        &self,
        admission: &Admission,
        message: wire::DeleteFormRequest,
        author: Author,
    ) -> Result<wire::DeleteFormResponse, Failure> {
        let account = admission.account(&message.account_id)?;
        admission.writes_as(&message.actor_user_id)?;
        let actor = convert::optional_id(&message.actor_user_id, "actor_user_id")?;
        let form = convert::id(&message.form_id, "form_id")?;
        let author = author.for_actor(actor.clone());
        let deleting = self
            .partitions
            .delete_form(&account, &form, actor.as_ref(), &author);
        deleting.await.map_err(failure)?;
        Ok(wire::DeleteFormResponse {})
    }

    pub(super) async fn list_forms(
        &self,
        admission: &Admission,
        message: &wire::ListFormsRequest,
    ) -> Result<wire::ListFormsResponse, Failure> {
        let account = admission.account(&message.account_id)?;
        let after = convert::optional_id(&message.after_form_id, "after_form_id")?;
        let limit = u32::try_from(page_size(message.page_size)).unwrap_or(u32::MAX);
        let listed = self.partitions.forms(&account, after.as_ref(), limit);
        let forms = listed.await.map_err(failure)?;
        Ok(wire::ListFormsResponse {
            forms: forms.iter().map(to_wire).collect(),
        })
    }

    pub(super) async fn submit_form(
        &self,
        admission: &Admission,
        mut message: wire::SubmitFormRequest,
        author: Author,
    ) -> Result<wire::SubmitFormResponse, Failure> {
        let account = admission.account(&message.account_id)?;
        let key = std::mem::take(&mut message.idempotency_key);
        let submission = Submission {
            account: Id::clone(&account),
            form: convert::id(&message.form_id, "form_id")?,
            resource: convert::id(&message.resource_id, "resource_id")?,
            attributes: match message.attributes_json.as_str() {
                "" => None,
                text => Some(convert::attributes(text, Path::root("attributes_json"))?),
            },
            idempotency: idempotency_of("SubmitForm", &key, &message)?,
            author,
        };
        let submitted = self.partitions.submit(submission).await.map_err(failure)?;
        Ok(wire::SubmitFormResponse {
            revision: submitted.token.encode(),
            created: submitted.created,
            withheld: submitted
                .withheld
                .into_iter()
                .map(|withheld| wire::FormWithheld {
                    target: Some(convert::principal_to_wire(&withheld.target)),
                    reason: withheld.reason.to_owned(),
                    message: withheld.message,
                })
                .collect(),
        })
    }
}

fn settings(form: Option<&wire::Form>) -> Result<FormSettings, Failure> {
    let path = Path::root("form");
    let Some(form) = form else {
        return Err(Failure::invalid(path, "a form is required"));
    };
    let given = [
        (!form.author_user_id.is_empty(), "author_user_id"),
        (form.may_close, "may_close"),
    ];
    if let Some((_, name)) = given.into_iter().find(|(is_set, _)| *is_set) {
        return Err(Failure::invalid(
            path.field(name),
            "the server gives it: leave it out",
        ));
    }
    let list = path.field("targets");
    if form.targets.is_empty() || form.targets.len() > TARGETS_MAX {
        return Err(Failure::invalid(
            list,
            format_args!(
                "a form has 1 to {TARGETS_MAX} targets, this one {}",
                form.targets.len()
            ),
        ));
    }
    let targets = form.targets.iter().enumerate();
    Ok(FormSettings {
        id: convert::id(&form.id, path.field("id"))?,
        resource_type: convert::id(&form.resource_type, path.field("resource_type"))?,
        targets: targets
            .map(|(index, target)| convert::principal(Some(target), list.at(index)))
            .collect::<Result<BTreeSet<Principal>, Failure>>()?,
    })
}

fn to_wire(form: &Form) -> wire::Form {
    wire::Form {
        id: form.id.to_string(),
        resource_type: form.resource_type.to_string(),
        targets: form
            .targets
            .iter()
            .map(convert::principal_to_wire)
            .collect(),
        author_user_id: form.author.as_ref().map(Id::to_string).unwrap_or_default(),
        may_close: form.may_close,
    }
}

fn failure(error: FormError) -> Failure {
    let field = match &error {
        FormError::Directory(_) => {
            return match error {
                FormError::Directory(error) => error.into(),
                _ => Failure::internal(),
            };
        }
        FormError::NoSuchForm(_) => (Reason::FormNotFound, "form_id".to_owned()),
        FormError::UnknownType(_) => (Reason::UnknownResourceType, "form.resource_type".to_owned()),
        FormError::UnknownTarget { index, .. } => {
            (Reason::UnknownReference, format!("form.targets[{index}]"))
        }
        FormError::TargetBeyond { index, .. } => {
            (Reason::NoAssignAuthority, format!("form.targets[{index}]"))
        }
        FormError::Actor(_) | FormError::OtherAuthor => {
            (Reason::NoAssignAuthority, "actor_user_id".to_owned())
        }
    };
    Failure::field(field.0, field.1, error)
}
