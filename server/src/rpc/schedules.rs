//! `datadb.v1.Schedules`: when hosts mean to come.

use datadb::{HostName, TreePath, api, expected::Expectation};
use tonic::{Request, Response, Status};

use super::{Replies, browse, status};
use crate::engine::{Engine, expected::ExpectedPages};

/// The service.
#[derive(Debug)]
pub struct Service(pub Engine);

#[tonic::async_trait]
impl api::schedules_server::Schedules for Service {
    async fn expect(&self, request: Request<api::ExpectRequest>) -> Result<Response<api::ExpectReply>, Status> {
        let expectation = Expectation::try_from(request.into_inner().expectation).map_err(status)?;
        self.0.expect(expectation).await?;
        Ok(Response::new(api::ExpectReply {}))
    }

    async fn forget(&self, request: Request<api::ForgetRequest>) -> Result<Response<api::ForgetReply>, Status> {
        let api::ForgetRequest { host, path } = request.into_inner();
        let (host, path) = (HostName::new(&host).map_err(status)?, TreePath::new(&path).map_err(status)?);
        self.0.forget(host, path).await?;
        Ok(Response::new(api::ForgetReply {}))
    }

    type ListExpectedStream = Replies<api::ListExpectedReply>;

    async fn list_expected(
        &self,
        request: Request<api::ListExpectedRequest>,
    ) -> Result<Response<Self::ListExpectedStream>, Status> {
        let api::ListExpectedRequest { filter, overdue } = request.into_inner();
        let mut pages = ExpectedPages::new(browse::filter(filter)?, overdue, self.0.now());
        let engine = self.0.clone();
        Ok(browse::produce(move |replies| async move {
            loop {
                let (rest, page) = engine.next_expected(pages).await?;
                let Some(page) = page else { return Ok(()) };
                let expected: Vec<api::Expected> = page.iter().map(Into::into).collect();
                let is_gone =
                    !expected.is_empty() && replies.send(Ok(api::ListExpectedReply { expected })).await.is_err();
                if is_gone {
                    return Ok(());
                }
                pages = rest;
            }
        }))
    }
}
