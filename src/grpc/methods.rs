//! What each method asks of its caller: a closed table. A method that is not in it is refused, so
//! that a new one is open to nobody before somebody has thought about it.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::callers::Role;

/// Who may call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// No credential: what an orchestrator probes, which tells nothing of any account.
    Nothing,
    /// Any caller that is known, whatever its roles.
    Caller,
    /// A caller with this role, or an admin.
    Role(Role),
}

/// Service, method, and what it needs; `docs/authentication.md` shows the same table.
#[rustfmt::skip]
pub const METHODS: &[(&str, &str, Needs)] = &[
    ("grpc.health.v1.Health", "Check", Needs::Nothing),
    ("grpc.health.v1.Health", "Watch", Needs::Nothing),
    ("grpc.reflection.v1.ServerReflection", "ServerReflectionInfo", Needs::Caller),
    ("grpc.reflection.v1alpha.ServerReflection", "ServerReflectionInfo", Needs::Caller),
    ("ambit.v1.DecisionService", "Check", Needs::Role(Role::Check)),
    ("ambit.v1.DecisionService", "BatchCheck", Needs::Role(Role::Check)),
    ("ambit.v1.DecisionService", "ListAccessible", Needs::Role(Role::Check)),
    ("ambit.v1.DecisionService", "FilterAccessible", Needs::Role(Role::Check)),
    ("ambit.v1.DecisionService", "FilterAccessibleStream", Needs::Role(Role::Check)),
    ("ambit.v1.DecisionService", "ListUsersWithAccess", Needs::Role(Role::Check)),
    ("ambit.v1.DecisionService", "ListActions", Needs::Role(Role::Check)),
    ("ambit.v1.DecisionService", "Explain", Needs::Role(Role::Check)),
    ("ambit.v1.DirectoryService", "GetAccount", Needs::Role(Role::Check)),
    ("ambit.v1.DirectoryService", "ListAccounts", Needs::Role(Role::Check)),
    ("ambit.v1.DirectoryService", "ListTeams", Needs::Role(Role::Check)),
    ("ambit.v1.DirectoryService", "ListUsers", Needs::Role(Role::Check)),
    ("ambit.v1.DirectoryService", "GetUser", Needs::Role(Role::Check)),
    ("ambit.v1.DirectoryService", "ListResources", Needs::Role(Role::Check)),
    ("ambit.v1.DirectoryService", "GetResource", Needs::Role(Role::Check)),
    ("ambit.v1.DirectoryService", "ListPermissionSets", Needs::Role(Role::Check)),
    ("ambit.v1.DirectoryService", "ListAccessGroups", Needs::Role(Role::Check)),
    ("ambit.v1.DirectoryService", "ListSegments", Needs::Role(Role::Check)),
    ("ambit.v1.DirectoryService", "WatchChanges", Needs::Role(Role::Check)),
    ("ambit.v1.DirectoryService", "ApplyChanges", Needs::Role(Role::Write)),
    ("ambit.v1.DirectoryService", "ImportResources", Needs::Role(Role::Write)),
    ("ambit.v1.PartitionService", "AssignResources", Needs::Role(Role::Write)),
    ("ambit.v1.PartitionService", "Unpartition", Needs::Role(Role::Write)),
    ("ambit.v1.PartitionService", "UndoBatch", Needs::Role(Role::Write)),
    ("ambit.v1.PartitionService", "UndoImport", Needs::Role(Role::Write)),
    ("ambit.v1.PartitionService", "PutForm", Needs::Role(Role::Write)),
    ("ambit.v1.PartitionService", "DeleteForm", Needs::Role(Role::Write)),
    ("ambit.v1.PartitionService", "ListForms", Needs::Role(Role::Check)),
    // Judged by the form's author, so nobody else has to be named.
    ("ambit.v1.PartitionService", "SubmitForm", Needs::Role(Role::Write)),
    // A whole account at a stroke, with all that makes it: what an operator does.
    ("ambit.v1.DirectoryService", "ExportAccount", Needs::Role(Role::Admin)),
    ("ambit.v1.DirectoryService", "CreateAccount", Needs::Role(Role::Admin)),
    ("ambit.v1.DirectoryService", "DeleteAccount", Needs::Role(Role::Admin)),
    // Who did what names the callers of others too.
    ("ambit.v1.DirectoryService", "ListAuditRecords", Needs::Role(Role::Admin)),
    ("ambit.v1.DirectoryService", "ListGrantsBeyondCeiling", Needs::Role(Role::Admin)),
    ("ambit.v1.AccessRequestService", "FileAccessRequest", Needs::Role(Role::Request)),
    ("ambit.v1.AccessRequestService", "GetAccessRequest", Needs::Role(Role::Request)),
    ("ambit.v1.AccessRequestService", "ListAccessRequests", Needs::Role(Role::Request)),
    ("ambit.v1.AccessRequestService", "SuggestResolutions", Needs::Role(Role::Request)),
    ("ambit.v1.AccessRequestService", "ApproveAccessRequest", Needs::Role(Role::Request)),
    ("ambit.v1.AccessRequestService", "DenyAccessRequest", Needs::Role(Role::Request)),
    ("ambit.v1.AccessRequestService", "CancelAccessRequest", Needs::Role(Role::Request)),
    ("ambit.v1.AccessRequestService", "RevokeAccessRequest", Needs::Role(Role::Request)),
    ("ambit.v1.AccessRequestService", "WatchAccessRequests", Needs::Role(Role::Request)),
    ("ambit.v1.AccessRequestService", "ListAccessRequestEvents", Needs::Role(Role::Request)),
    // Whoever has the link acts as the approver; but so may the caller itself, by naming one.
    ("ambit.v1.AccessRequestService", "CreateRequestLink", Needs::Role(Role::Request)),
    ("ambit.v1.AccessRequestService", "ListNotifications", Needs::Role(Role::Request)),
    ("ambit.v1.AccessRequestService", "ReplayNotification", Needs::Role(Role::Request)),
    // Questions about what would be, of data that a caller with this role may read as it is.
    ("ambit.v1.PartitionService", "PreviewChanges", Needs::Role(Role::Check)),
    ("ambit.v1.PartitionService", "ListPreviewedAccess", Needs::Role(Role::Check)),
    ("ambit.v1.PartitionService", "WatchAccess", Needs::Role(Role::Check)),
    ("ambit.v1.PartitionService", "ListSegmentJobs", Needs::Role(Role::Check)),
    ("ambit.v1.PartitionService", "GetSegmentJob", Needs::Role(Role::Check)),
    ("ambit.v1.PartitionService", "RecalculateSegment", Needs::Role(Role::Write)),
    // Each is judged by the rights of the user whom it names, whatever the caller's role.
    ("ambit.v1.PartnerService", "CreateAccessLink", Needs::Role(Role::Write)),
    ("ambit.v1.PartnerService", "RevokeAccessLink", Needs::Role(Role::Write)),
    ("ambit.v1.PartnerService", "ListAccessLinks", Needs::Role(Role::Check)),
    ("ambit.v1.PartnerService", "ApproveAccessLink", Needs::Role(Role::Write)),
    ("ambit.v1.PartnerService", "EndPartnership", Needs::Role(Role::Write)),
    ("ambit.v1.PartnerService", "ListClients", Needs::Role(Role::Check)),
    ("ambit.v1.PartnerService", "ListPartnerEmployees", Needs::Role(Role::Check)),
    ("ambit.v1.PartnerService", "ListContractors", Needs::Role(Role::Check)),
    ("ambit.v1.PartnerService", "AddStaff", Needs::Role(Role::Write)),
    ("ambit.v1.PartnerService", "LinkContractor", Needs::Role(Role::Write)),
    ("ambit.v1.PartnerService", "ChangePermissionSet", Needs::Role(Role::Write)),
    ("ambit.v1.PartnerService", "PreviewRemoval", Needs::Role(Role::Check)),
    ("ambit.v1.PartnerService", "CommitRemoval", Needs::Role(Role::Write)),
    ("ambit.v1.PartnerService", "DeactivateEmployee", Needs::Role(Role::Write)),
    ("ambit.v1.PartnerService", "ReactivateEmployee", Needs::Role(Role::Write)),
    ("ambit.v1.PartnerService", "MigrateToPartnerAdmin", Needs::Role(Role::Write)),
];

/// What the method at a path of HTTP/2 needs; `None`: it is not in the table.
pub fn needs(path: &str) -> Option<Needs> {
    static BY_PATH: LazyLock<HashMap<String, Needs>> = LazyLock::new(|| {
        METHODS
            .iter()
            .map(|(service, method, needs)| (format!("/{service}/{method}"), *needs))
            .collect()
    });
    BY_PATH.get(path).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::grpc::wire;

    #[test]
    fn every_method_that_is_served_is_in_the_table_once_and_no_other() {
        let sets = [
            wire::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let mut served = BTreeSet::new();
        for set in sets {
            for file in FileDescriptorSet::decode(set).unwrap().file {
                for service in &file.service {
                    for method in &service.method {
                        let service = format!("{}.{}", file.package(), service.name());
                        served.insert((service, method.name().to_owned()));
                    }
                }
            }
        }
        let listed: BTreeSet<_> = METHODS
            .iter()
            .map(|(service, method, _)| ((*service).to_owned(), (*method).to_owned()))
            .collect();
        assert_eq!(listed, served);
        assert_eq!(listed.len(), METHODS.len());
    }

    #[test]
    fn only_health_is_open_and_only_whole_paths_are_found() {
        for (service, method, needed) in METHODS {
            let is_health = service.starts_with("grpc.health.");
            assert_eq!(*needed == Needs::Nothing, is_health, "{service}/{method}");
        }
        for path in [
            "",
            "/",
            "//ambit.v1.DecisionService/Check",
            "/ambit.v1.DecisionService/Check/",
            "/ambit.v1.DecisionService/check",
            "/grpc.health.v1.Health/../ambit.v1.DecisionService/Check",
        ] {
            assert_eq!(needs(path), None, "{path}");
        }
    }
}
