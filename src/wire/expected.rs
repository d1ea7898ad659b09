//! What hosts promise.

use bytes::Bytes;

use super::required;
use crate::{
    api,
    backup::{BackupTime, HostName, TreePath},
    codec::DecodeError,
    expected::{Expectation, Expected},
};

impl From<&Expectation> for api::Expectation {
    fn from(expectation: &Expectation) -> Self {
        Self {
            host: expectation.host.as_str().to_owned(),
            path: Bytes::copy_from_slice(expectation.path.as_bytes()),
            due: expectation.due.seconds(),
            age_seconds_max: expectation.age_seconds_max,
            entry: expectation.entry.clone(),
            schedule: expectation.schedule.clone(),
        }
    }
}

impl TryFrom<Option<api::Expectation>> for Expectation {
    type Error = DecodeError;
    fn try_from(expectation: Option<api::Expectation>) -> Result<Self, DecodeError> {
        let expectation = required("expectation", expectation)?;
        Self {
            host: HostName::new(&expectation.host)?,
            path: TreePath::new(&expectation.path)?,
            due: BackupTime::new(expectation.due)?,
            age_seconds_max: expectation.age_seconds_max,
            entry: expectation.entry,
            schedule: expectation.schedule,
        }
        .checked()
    }
}

impl From<&Expected> for api::Expected {
    fn from(expected: &Expected) -> Self {
        Self {
            expectation: Some((&expected.expectation).into()),
            said: expected.said,
            newest: expected.newest.map_or(0, BackupTime::seconds),
            overdue: expected.is_overdue,
        }
    }
}

impl TryFrom<api::Expected> for Expected {
    type Error = DecodeError;
    fn try_from(expected: api::Expected) -> Result<Self, DecodeError> {
        let newest = (expected.newest != 0).then(|| BackupTime::new(expected.newest)).transpose()?;
        Ok(Self {
            expectation: Expectation::try_from(expected.expectation)?,
            said: expected.said,
            newest,
            is_overdue: expected.overdue,
        })
    }
}
