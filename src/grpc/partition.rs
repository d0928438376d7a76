//! `PartitionService`: who is limited to what, thin.

use tonic::{Request, Response, Status, Streaming};

use super::admission::Admission;
use super::asker::Asker;
use super::author::author;
use super::chunks::Chunks;
use super::reading::Reading;
use super::wire;
use crate::decision_log::DecisionLog;
use crate::directory::Directory;
use crate::partitions::Partitions;
use crate::partitions::segments::Segments;
use crate::shutdown::Shutdown;

mod assign;
mod forms;
mod preview;
mod segments;
mod watch;

#[derive(Clone)]
pub struct PartitionHandlers {
    partitions: Partitions,
    directory: Directory,
    segments: Segments,
    reading: Reading,
    log: DecisionLog,
    shutdown: Shutdown,
}

impl PartitionHandlers {
    pub fn new(
        partitions: Partitions,
        directory: Directory,
        segments: Segments,
        reading: Reading,
        log: DecisionLog,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            partitions,
            directory,
            segments,
            reading,
            log,
            shutdown,
        }
    }
}

#[tonic::async_trait]
impl wire::partition_service_server::PartitionService for PartitionHandlers {
    type AssignResourcesStream = Chunks<wire::AssignResourcesResponse>;

    async fn assign_resources(
        &self,
        request: Request<wire::AssignResourcesRequest>,
    ) -> Result<Response<Self::AssignResourcesStream>, Status> {
        let author = author(&request, "AssignResources");
        let admission = Admission::of(request.extensions())?;
        let message = request.into_inner();
        Ok(Response::new(self.bulk(&admission, message, author).await?))
    }

    type UnpartitionStream = Chunks<wire::UnpartitionResponse>;

    async fn unpartition(
        &self,
        request: Request<wire::UnpartitionRequest>,
    ) -> Result<Response<Self::UnpartitionStream>, Status> {
        let author = author(&request, "Unpartition");
        let admission = Admission::of(request.extensions())?;
        let message = request.into_inner();
        Ok(Response::new(self.bulk(&admission, message, author).await?))
    }

    type UndoBatchStream = Chunks<wire::UndoBatchResponse>;

    async fn undo_batch(
        &self,
        request: Request<wire::UndoBatchRequest>,
    ) -> Result<Response<Self::UndoBatchStream>, Status> {
        let author = author(&request, "UndoBatch");
        let admission = Admission::of(request.extensions())?;
        let message = request.into_inner();
        Ok(Response::new(self.bulk(&admission, message, author).await?))
    }

    type UndoImportStream = Chunks<wire::UndoImportResponse>;

    async fn undo_import(
        &self,
        request: Request<wire::UndoImportRequest>,
    ) -> Result<Response<Self::UndoImportStream>, Status> {
        let author = author(&request, "UndoImport");
        let admission = Admission::of(request.extensions())?;
        let message = request.into_inner();
        Ok(Response::new(self.bulk(&admission, message, author).await?))
    }

    async fn put_form(
        &self,
        request: Request<wire::PutFormRequest>,
    ) -> Result<Response<wire::PutFormResponse>, Status> {
        let author = author(&request, "PutForm");
        let admission = Admission::of(request.extensions())?;
        let message = request.into_inner();
        Ok(Response::new(
            self.put_form(&admission, message, author).await?,
        ))
    }

    async fn delete_form(
        &self,
        request: Request<wire::DeleteFormRequest>,
    ) -> Result<Response<wire::DeleteFormResponse>, Status> {
        let author = author(&request, "DeleteForm");
        let admission = Admission::of(request.extensions())?;
        let message = request.into_inner();
        Ok(Response::new(
            self.delete_form(&admission, message, author).await?,
        ))
    }

    async fn list_forms(
        &self,
        request: Request<wire::ListFormsRequest>,
    ) -> Result<Response<wire::ListFormsResponse>, Status> {
        let admission = Admission::of(request.extensions())?;
        Ok(Response::new(
            self.list_forms(&admission, request.get_ref()).await?,
        ))
    }

    async fn submit_form(
        &self,
        request: Request<wire::SubmitFormRequest>,
    ) -> Result<Response<wire::SubmitFormResponse>, Status> {
        let author = author(&request, "SubmitForm");
        let admission = Admission::of(request.extensions())?;
        let message = request.into_inner();
        Ok(Response::new(
            self.submit_form(&admission, message, author).await?,
        ))
    }

    type PreviewChangesStream = Chunks<wire::PreviewChangesResponse>;

    async fn preview_changes(
        &self,
        request: Request<Streaming<wire::PreviewChangesRequest>>,
    ) -> Result<Response<Self::PreviewChangesStream>, Status> {
        let admission = Admission::of(request.extensions())?;
        let messages = request.into_inner();
        Ok(Response::new(
            self.preview_changes(&admission, messages).await?,
        ))
    }

    type ListPreviewedAccessStream = Chunks<wire::ListPreviewedAccessResponse>;

    async fn list_previewed_access(
        &self,
        request: Request<Streaming<wire::ListPreviewedAccessRequest>>,
    ) -> Result<Response<Self::ListPreviewedAccessStream>, Status> {
        let admission = Admission::of(request.extensions())?;
        let messages = request.into_inner();
        Ok(Response::new(
            self.list_previewed_access(&admission, messages).await?,
        ))
    }

    type WatchAccessStream = Chunks<wire::WatchAccessResponse>;

    async fn watch_access(
        &self,
        request: Request<wire::WatchAccessRequest>,
    ) -> Result<Response<Self::WatchAccessStream>, Status> {
        let (asker, request) = Asker::of(request)?;
        Ok(Response::new(self.watch_access(asker, request).await?))
    }

    async fn list_segment_jobs(
        &self,
        request: Request<wire::ListSegmentJobsRequest>,
    ) -> Result<Response<wire::ListSegmentJobsResponse>, Status> {
        let admission = Admission::of(request.extensions())?;
        Ok(Response::new(
            self.list_segment_jobs(&admission, request.get_ref())
                .await?,
        ))
    }

    async fn get_segment_job(
        &self,
        request: Request<wire::GetSegmentJobRequest>,
    ) -> Result<Response<wire::GetSegmentJobResponse>, Status> {
        let admission = Admission::of(request.extensions())?;
        Ok(Response::new(
            self.get_segment_job(&admission, request.get_ref()).await?,
        ))
    }

    async fn recalculate_segment(
        &self,
        request: Request<wire::RecalculateSegmentRequest>,
    ) -> Result<Response<wire::RecalculateSegmentResponse>, Status> {
        let admission = Admission::of(request.extensions())?;
        Ok(Response::new(
            self.recalculate_segment(&admission, request.get_ref())
                .await?,
        ))
    }
}
