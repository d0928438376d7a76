//! `DirectoryService`: reads and writes of what decisions rest on.

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};

use super::admission::Admission;
use super::author::author;
use super::chunks::Chunks;
use super::convert;
use super::page_token::{Binding, Place};
use super::reading::{Reading, blamed, revision_token};
use super::status::{Failure, Reason};
use super::wire;
use crate::authz::graph::AccountGraph;
use crate::authz::model::{Attributes, Id, ResourceKey};
use crate::directory::Directory;
use crate::graph_cache::ReadGraph;
use crate::shutdown::Shutdown;
use crate::store::Store;
use crate::store::audit::Author;

mod apply;
mod audit;
mod beyond;
mod export;
mod import;
mod paging;
mod watch;

pub use paging::{page_size, up_to_page_bytes};

#[derive(Clone)]
pub struct DirectoryHandlers {
    directory: Directory,
    store: Arc<dyn Store>,
    reading: Reading,
    shutdown: Shutdown,
}

/// A page of a list that is read from the graph.
struct Page<T> {
    items: Vec<T>,
    next_page_token: String,
    revision: String,
}

/// What is asked of a list, the same for all of them.
struct ListRequest<'a> {
    rpc: &'static str,
    account_id: &'a str,
    page_size: u32,
    page_token: &'a str,
    consistency: Option<&'a wire::Consistency>,
}

impl DirectoryHandlers {
    pub fn new(
        directory: Directory,
        store: Arc<dyn Store>,
        reading: Reading,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            directory,
            store,
            reading,
            shutdown,
        }
    }

    async fn get_account(
        &self,
        admission: &Admission,
        request: wire::GetAccountRequest,
    ) -> Result<wire::GetAccountResponse, Failure> {
        let account = admission.account(&request.account_id)?;
        let read = self
            .reading
            .account(&account, request.consistency.as_ref())
            .await?;
        Ok(wire::GetAccountResponse {
            account: Some(convert::account_to_wire(read.graph.account())),
            revision: self.reading.revision(&account, read.head),
        })
    }

    async fn delete_account(
        &self,
        admission: &Admission,
        request: wire::DeleteAccountRequest,
        author: &Author,
    ) -> Result<wire::DeleteAccountResponse, Failure> {
        const EXPECTED: &str = "expected_revision";
        let account = match admission.account(&request.account_id) {
            Err(failure) if failure.reason == Reason::AccountNotFound && request.allow_missing => {
                return Ok(wire::DeleteAccountResponse {});
            }
            account => account?,
        };
        let expected = revision_token(&request.expected_revision, EXPECTED)?;
        match self
            .directory
            .delete_account(&account, expected, author)
            .await
        {
            Ok(()) => {}
            Err(error) => {
                let failure = Failure::from(error);
                let missing = failure.reason == Reason::AccountNotFound;
                if !(missing && request.allow_missing) {
                    return Err(blamed(failure, EXPECTED));
                }
            }
        }
        Ok(wire::DeleteAccountResponse {})
    }

    async fn list_accounts(
        &self,
        admission: &Admission,
        request: wire::ListAccountsRequest,
    ) -> Result<wire::ListAccountsResponse, Failure> {
        let binding = Binding::new("ListAccounts", &[]);
        let place = self.reading.place(&binding, &request.page_token)?;
        let size = page_size(request.page_size);
        let limit = u32::try_from(size + 1).unwrap_or(u32::MAX);
        let after = place.as_ref().map(Place::id).transpose()?;
        let mut summaries = match admission.listed() {
            None => self.directory.accounts(after.as_ref(), limit).await?,
            Some(accounts) => {
                let asked = self.directory.accounts_of(accounts, after.as_ref(), limit);
                asked.await?
            }
        };
        let more = summaries.len() > size;
        summaries.truncate(size);
        let next_page_token = match summaries.last() {
            Some(last) if more => self
                .reading
                .page_token(&binding, last.id.as_str(), last.head),
            Some(_) | None => String::new(),
        };
        Ok(wire::ListAccountsResponse {
            accounts: summaries
                .into_iter()
                .map(|summary| wire::AccountSummary {
                    revision: self.reading.revision(&summary.id, summary.head),
                    account_id: summary.id.to_string(),
                })
                .collect(),
            next_page_token,
        })
    }

    async fn get_user(
        &self,
        admission: &Admission,
        request: wire::GetUserRequest,
    ) -> Result<wire::GetUserResponse, Failure> {
        let account = admission.account(&request.account_id)?;
        let user = convert::id_text(&request.user_id, "user_id")?;
        let read = self
            .reading
            .account(&account, request.consistency.as_ref())
            .await?;
        let found = read.graph.user(user).ok_or_else(|| {
            Failure::field(
                Reason::UserNotFound,
                "user_id",
                format_args!("the account has no user `{user}`"),
            )
        })?;
        Ok(wire::GetUserResponse {
            user: Some(convert::user_to_wire(found)),
            revision: self.reading.revision(&account, read.head),
        })
    }

    async fn get_resource(
        &self,
        admission: &Admission,
        request: wire::GetResourceRequest,
    ) -> Result<wire::GetResourceResponse, Failure> {
        let account = admission.account(&request.account_id)?;
        let key = ResourceKey {
            resource_type: convert::id(&request.resource_type, "resource_type")?,
            id: convert::id(&request.resource_id, "resource_id")?,
        };
        let read = self
            .reading
            .account(&account, request.consistency.as_ref())
            .await?;
        known_type(&read.graph, &key.resource_type)?;
        let found = read.graph.resource(&key).ok_or_else(|| {
            Failure::field(
                Reason::ResourceNotFound,
                "resource_id",
                format_args!("the account has no resource `{key}`"),
            )
        })?;
        let attributes = self
            .store
            .attributes(&account, std::slice::from_ref(&key))
            .await?
            .pop()
            .map(|(_key, attributes)| attributes);
        Ok(wire::GetResourceResponse {
            resource: Some(convert::resource_to_wire(&found, attributes.as_ref())),
            revision: self.reading.revision(&account, read.head),
        })
    }

    async fn list_resources(
        &self,
        admission: &Admission,
        request: wire::ListResourcesRequest,
    ) -> Result<wire::ListResourcesResponse, Failure> {
        let account = admission.account(&request.account_id)?;
        let resource_type = convert::id(&request.resource_type, "resource_type")?;
        let binding = Binding::new(
            "ListResources",
            &[&request.account_id, &request.resource_type],
        );
        let place = self.reading.place(&binding, &request.page_token)?;
        let read = self
            .reading
            .page(&account, request.consistency.as_ref(), place.as_ref())
            .await?;
        known_type(&read.graph, &resource_type)?;
        let size = page_size(request.page_size);
        let after = place.as_ref().map(|place| place.after.as_str());
        let mut ids = read
            .graph
            .resource_page(resource_type.as_str(), after, size + 1);
        let more = ids.len() > size;
        ids.truncate(size);
        let keys: Vec<ResourceKey> = ids
            .into_iter()
            .map(|id| ResourceKey {
                resource_type: resource_type.clone(),
                id,
            })
            .collect();
        let mut attributes = if request.include_attributes {
            self.store.attributes(&account, &keys).await?
        } else {
            Vec::new()
        }
        .into_iter()
        .collect::<std::collections::HashMap<ResourceKey, Attributes>>();
        let resources = keys.iter().filter_map(|key| {
            let resource = read.graph.resource(key)?;
            let attributes = attributes.remove(key);
            Some((
                key.id.to_string(),
                convert::resource_to_wire(&resource, attributes.as_ref()),
            ))
        });
        let (resources, last) = up_to_page_bytes(resources, more);
        Ok(wire::ListResourcesResponse {
            resources,
            next_page_token: last
                .map(|last| self.reading.page_token(&binding, &last, read.head))
                .unwrap_or_default(),
            revision: self.reading.revision(&account, read.head),
        })
    }

    /// A page of what the graph holds in id byte order.
    async fn list<T: prost::Message>(
        &self,
        admission: &Admission,
        request: ListRequest<'_>,
        collect: impl FnOnce(&AccountGraph, &mut Paging<'_, T>) + Send,
    ) -> Result<Page<T>, Failure> {
        let account = admission.account(request.account_id)?;
        let binding = Binding::new(request.rpc, &[request.account_id]);
        let place = self.reading.place(&binding, request.page_token)?;
        let read: Arc<ReadGraph> = self
            .reading
            .page(&account, request.consistency, place.as_ref())
            .await?;
        let mut paging = Paging {
            after: place.as_ref().map(|place| place.after.as_str()),
            size: page_size(request.page_size),
            found: Vec::new(),
            more: false,
        };
        collect(&read.graph, &mut paging);
        let (found, more) = (paging.found, paging.more);
        let (items, last) = up_to_page_bytes(found.into_iter(), more);
        Ok(Page {
            items,
            next_page_token: last
                .map(|last| self.reading.page_token(&binding, &last, read.head))
                .unwrap_or_default(),
            revision: self.reading.revision(&account, read.head),
        })
    }
}

/// Collects one page of a list in id byte order.
struct Paging<'a, T> {
    after: Option<&'a str>,
    size: usize,
    found: Vec<(String, T)>,
    more: bool,
}

impl<T> Paging<'_, T> {
    fn collect<'g, E: 'g>(
        &mut self,
        entities: impl Iterator<Item = &'g E>,
        id: impl Fn(&E) -> &Id,
        to_wire: impl Fn(&E) -> T,
    ) {
        let mut rest = entities.skip_while(|entity| {
            self.after
                .is_some_and(|after| id(entity).as_str().as_bytes() <= after.as_bytes())
        });
        for entity in rest.by_ref().take(self.size) {
            self.found.push((id(entity).to_string(), to_wire(entity)));
        }
        self.more = rest.next().is_some();
    }
}

fn known_type(graph: &AccountGraph, resource_type: &Id) -> Result<(), Failure> {
    match graph.catalog().type_ix(resource_type.as_str()) {
        Some(_) => Ok(()),
        None => Err(Failure::field(
            Reason::UnknownResourceType,
            "resource_type",
            format_args!("the catalog has no resource type `{resource_type}`"),
        )),
    }
}

#[tonic::async_trait]
impl wire::directory_service_server::DirectoryService for DirectoryHandlers {
    async fn create_account(
        &self,
        request: Request<wire::CreateAccountRequest>,
    ) -> Result<Response<wire::CreateAccountResponse>, Status> {
        let author = author(&request, "CreateAccount");
        Ok(Response::new(
            self.create_account(
                &Admission::of(request.extensions())?,
                request.into_inner(),
                author,
            )
            .await?,
        ))
    }

    async fn get_account(
        &self,
        request: Request<wire::GetAccountRequest>,
    ) -> Result<Response<wire::GetAccountResponse>, Status> {
        Ok(Response::new(
            self.get_account(&Admission::of(request.extensions())?, request.into_inner())
                .await?,
        ))
    }

    async fn delete_account(
        &self,
        request: Request<wire::DeleteAccountRequest>,
    ) -> Result<Response<wire::DeleteAccountResponse>, Status> {
        let author = author(&request, "DeleteAccount");
        Ok(Response::new(
            self.delete_account(
                &Admission::of(request.extensions())?,
                request.into_inner(),
                &author,
            )
            .await?,
        ))
    }

    async fn list_accounts(
        &self,
        request: Request<wire::ListAccountsRequest>,
    ) -> Result<Response<wire::ListAccountsResponse>, Status> {
        Ok(Response::new(
            self.list_accounts(&Admission::of(request.extensions())?, request.into_inner())
                .await?,
        ))
    }

    async fn apply_changes(
        &self,
        request: Request<Streaming<wire::ApplyChangesRequest>>,
    ) -> Result<Response<wire::ApplyChangesResponse>, Status> {
        let author = author(&request, "ApplyChanges");
        Ok(Response::new(
            self.apply_changes(
                &Admission::of(request.extensions())?,
                request.into_inner(),
                author,
            )
            .await?,
        ))
    }

    type ImportResourcesStream = Chunks<wire::ImportResourcesResponse>;

    async fn import_resources(
        &self,
        request: Request<Streaming<wire::ImportResourcesRequest>>,
    ) -> Result<Response<Self::ImportResourcesStream>, Status> {
        let author = author(&request, "ImportResources");
        Ok(Response::new(self.import_resources(
            Admission::of(request.extensions())?,
            request.into_inner(),
            author,
        )))
    }

    type ExportAccountStream = Chunks<wire::ExportAccountResponse>;

    async fn export_account(
        &self,
        request: Request<wire::ExportAccountRequest>,
    ) -> Result<Response<Self::ExportAccountStream>, Status> {
        Ok(Response::new(
            self.export_account(&Admission::of(request.extensions())?, request.into_inner())
                .await?,
        ))
    }

    async fn list_teams(
        &self,
        request: Request<wire::ListTeamsRequest>,
    ) -> Result<Response<wire::ListTeamsResponse>, Status> {
        let admission = Admission::of(request.extensions())?;
        let request = request.get_ref();
        let asked = ListRequest {
            rpc: "ListTeams",
            account_id: &request.account_id,
            page_size: request.page_size,
            page_token: &request.page_token,
            consistency: request.consistency.as_ref(),
        };
        let page = self
            .list(&admission, asked, |graph, page| {
                page.collect(graph.teams(), |entity| &entity.id, convert::team_to_wire);
            })
            .await?;
        Ok(Response::new(wire::ListTeamsResponse {
            teams: page.items,
            next_page_token: page.next_page_token,
            revision: page.revision,
        }))
    }

    async fn list_users(
        &self,
        request: Request<wire::ListUsersRequest>,
    ) -> Result<Response<wire::ListUsersResponse>, Status> {
        let admission = Admission::of(request.extensions())?;
        let request = request.get_ref();
        let asked = ListRequest {
            rpc: "ListUsers",
            account_id: &request.account_id,
            page_size: request.page_size,
            page_token: &request.page_token,
            consistency: request.consistency.as_ref(),
        };
        let page = self
            .list(&admission, asked, |graph, page| {
                page.collect(graph.users(), |entity| &entity.id, convert::user_to_wire);
            })
            .await?;
        Ok(Response::new(wire::ListUsersResponse {
            users: page.items,
            next_page_token: page.next_page_token,
            revision: page.revision,
        }))
    }

    async fn get_user(
        &self,
        request: Request<wire::GetUserRequest>,
    ) -> Result<Response<wire::GetUserResponse>, Status> {
        Ok(Response::new(
            self.get_user(&Admission::of(request.extensions())?, request.into_inner())
                .await?,
        ))
    }

    async fn list_resources(
        &self,
        request: Request<wire::ListResourcesRequest>,
    ) -> Result<Response<wire::ListResourcesResponse>, Status> {
        Ok(Response::new(
            self.list_resources(&Admission::of(request.extensions())?, request.into_inner())
                .await?,
        ))
    }

    async fn get_resource(
        &self,
        request: Request<wire::GetResourceRequest>,
    ) -> Result<Response<wire::GetResourceResponse>, Status> {
        Ok(Response::new(
            self.get_resource(&Admission::of(request.extensions())?, request.into_inner())
                .await?,
        ))
    }

    async fn list_permission_sets(
        &self,
        request: Request<wire::ListPermissionSetsRequest>,
    ) -> Result<Response<wire::ListPermissionSetsResponse>, Status> {
        let admission = Admission::of(request.extensions())?;
        let request = request.get_ref();
        let asked = ListRequest {
            rpc: "ListPermissionSets",
            account_id: &request.account_id,
            page_size: request.page_size,
            page_token: &request.page_token,
            consistency: request.consistency.as_ref(),
        };
        let page = self
            .list(&admission, asked, |graph, page| {
                page.collect(
                    graph.permission_sets(),
                    |entity| &entity.id,
                    convert::permission_set_to_wire,
                );
            })
            .await?;
        Ok(Response::new(wire::ListPermissionSetsResponse {
            permission_sets: page.items,
            next_page_token: page.next_page_token,
            revision: page.revision,
        }))
    }

    async fn list_access_groups(
        &self,
        request: Request<wire::ListAccessGroupsRequest>,
    ) -> Result<Response<wire::ListAccessGroupsResponse>, Status> {
        let admission = Admission::of(request.extensions())?;
        let request = request.get_ref();
        let asked = ListRequest {
            rpc: "ListAccessGroups",
            account_id: &request.account_id,
            page_size: request.page_size,
            page_token: &request.page_token,
            consistency: request.consistency.as_ref(),
        };
        let page = self
            .list(&admission, asked, |graph, page| {
                page.collect(
                    graph.access_groups(),
                    |entity| &entity.id,
                    convert::access_group_to_wire,
                );
            })
            .await?;
        Ok(Response::new(wire::ListAccessGroupsResponse {
            access_groups: page.items,
            next_page_token: page.next_page_token,
            revision: page.revision,
        }))
    }

    async fn list_segments(
        &self,
        request: Request<wire::ListSegmentsRequest>,
    ) -> Result<Response<wire::ListSegmentsResponse>, Status> {
        let admission = Admission::of(request.extensions())?;
        let request = request.get_ref();
        let asked = ListRequest {
            rpc: "ListSegments",
            account_id: &request.account_id,
            page_size: request.page_size,
            page_token: &request.page_token,
            consistency: request.consistency.as_ref(),
        };
        let page = self
            .list(&admission, asked, |graph, page| {
                page.collect(
                    graph.segments(),
                    |entity| &entity.id,
                    convert::segment_to_wire,
                );
            })
            .await?;
        Ok(Response::new(wire::ListSegmentsResponse {
            segments: page.items,
            next_page_token: page.next_page_token,
            revision: page.revision,
        }))
    }

    type WatchChangesStream = Chunks<wire::WatchChangesResponse>;

    async fn watch_changes(
        &self,
        request: Request<wire::WatchChangesRequest>,
    ) -> Result<Response<Self::WatchChangesStream>, Status> {
        Ok(Response::new(
            self.watch_changes(&Admission::of(request.extensions())?, request.into_inner())
                .await?,
        ))
    }

    async fn list_grants_beyond_ceiling(
        &self,
        request: Request<wire::ListGrantsBeyondCeilingRequest>,
    ) -> Result<Response<wire::ListGrantsBeyondCeilingResponse>, Status> {
        let admission = Admission::of(request.extensions())?;
        Ok(Response::new(
            self.list_grants_beyond_ceiling(&admission, request.get_ref())
                .await?,
        ))
    }

    async fn list_audit_records(
        &self,
        request: Request<wire::ListAuditRecordsRequest>,
    ) -> Result<Response<wire::ListAuditRecordsResponse>, Status> {
        Ok(Response::new(
            self.list_audit_records(&Admission::of(request.extensions())?, request.get_ref())
                .await?,
        ))
    }
}
