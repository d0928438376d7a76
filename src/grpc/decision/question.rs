//! A question about many resources.

use crate::authz::access_set::AccessSet;
use crate::authz::model::Timestamp;
use crate::decision_log::Subject;
use crate::graph_cache::ReadGraph;
use crate::grpc::convert;
use crate::grpc::status::Failure;

/// Who, what, when; its names checked.
#[derive(Debug, Clone)]
pub(super) struct Question {
    user: String,
    resource_type: String,
    action: String,
    pub(super) at: Timestamp,
}

impl Question {
    pub(super) fn new(
        user: &str,
        action: &str,
        resource_type: &str,
        at: Timestamp,
    ) -> Result<Self, Failure> {
        Ok(Self {
            user: convert::id_text(user, "user_id")?.to_owned(),
            action: convert::id_text(action, "action")?.to_owned(),
            resource_type: convert::id_text(resource_type, "resource_type")?.to_owned(),
            at,
        })
    }

    /// Whether the catalog has the type and the action.
    pub(super) fn resolve(&self, read: &ReadGraph) -> Result<(), Failure> {
        match read
            .graph
            .catalog()
            .resolve(&self.resource_type, &self.action)
        {
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::unknown_name(&error)),
        }
    }

    pub(super) fn access_set<'g>(&self, read: &'g ReadGraph) -> Result<AccessSet<'g>, Failure> {
        AccessSet::new(
            &read.graph,
            &self.user,
            &self.resource_type,
            &self.action,
            self.at,
        )
        .map_err(|error| Failure::unknown_name(&error))
    }

    /// As the decision log says it.
    pub(super) fn subject(&self) -> Subject<'_> {
        Subject {
            user: Some(&self.user),
            action: Some(&self.action),
            resource_type: &self.resource_type,
            resource_id: "",
            at: self.at,
        }
    }
}
