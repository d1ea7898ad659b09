//! What hosts promise to bring.

use bytes::Bytes;
use datadb::{
    Fault, HostName, TreePath,
    api::{self, schedules_client::SchedulesClient},
    expected::{Expectation, Expected},
    limits,
};
use tonic::Code;

use super::{Connection, Filter, Wire, fault, nonsense};

impl Connection {
    fn schedules(&self) -> SchedulesClient<Wire> {
        SchedulesClient::new(self.wire.clone())
    }

    /// Promises by when the next backup of a path will have come.
    pub async fn expect(&self, expectation: &Expectation) -> Result<(), Fault> {
        let request = api::ExpectRequest { expectation: Some(expectation.into()) };
        self.schedules().expect(request).await.map(drop).map_err(fault)
    }

    /// Promises nothing more for a path.
    pub async fn forget(&self, host: &HostName, path: &TreePath) -> Result<(), Fault> {
        let path = Bytes::copy_from_slice(path.as_bytes());
        let request = api::ForgetRequest { host: host.as_str().to_owned(), path };
        self.schedules().forget(request).await.map(drop).map_err(fault)
    }

    /// What is expected, or only what should have come by now and did not, by host and path. Of a server that is too old to
    /// know of promises, none.
    pub async fn list_expected(&self, filter: &Filter, only_overdue: bool) -> Result<Vec<Expected>, Fault> {
        let request = api::ListExpectedRequest { filter: Some(filter.into()), overdue: only_overdue };
        let mut replies = match self.schedules().list_expected(request).await {
            Ok(replies) => replies.into_inner(),
            Err(status) if status.code() == Code::Unimplemented => return Ok(Vec::new()),
            Err(status) => return Err(fault(status)),
        };
        let mut all = Vec::new();
        while let Some(reply) = replies.message().await.map_err(fault)? {
            for expected in reply.expected {
                all.push(Expected::try_from(expected)?);
            }
            if all.len() > limits::EXPECTATIONS_MAX {
                return Err(nonsense("more promises than it may keep"));
            }
        }
        Ok(all)
    }
}
