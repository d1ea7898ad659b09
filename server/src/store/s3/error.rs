//! What a store says no to, sorted once: what to say to a person, and whether asking again may help.

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
};
use datadb::{Fault, Kind};
use thiserror::Error;

/// Why a request to an S3 store failed: one line each.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum S3Error {
    /// The store does not know the keys, or they don't belong together.
    #[error("the store refuses the keys ({said}): check access key and secret key")]
    WrongKey {
        /// The store's own words.
        said: String,
    },
    /// There are no keys.
    #[error(
        "no access key is to be had ({said}): set access_key_file and secret_key_file, a profile, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )]
    NoKey {
        /// Where was looked.
        said: String,
    },
    /// The keys are good, but don't open this.
    #[error(
        "the store denies access ({said}): the key's owner needs the rights to list, read, write and delete below the prefix"
    )]
    Denied {
        /// The store's own words.
        said: String,
    },
    /// There is no such bucket.
    #[error("there is no such bucket: make it, or correct the name")]
    NoBucket,
    /// The bucket lies elsewhere.
    #[error("the bucket lies in another region{}: set `region`", region.as_ref().map(|region| format!(", {region}")).unwrap_or_default())]
    OtherRegion {
        /// Where, if the store says so.
        region: Option<String>,
    },
    /// Signatures hold for minutes.
    #[error("this machine's clock is off{}: set it", store_time.as_ref().map(|time| format!(", the store's says {time}")).unwrap_or_default())]
    ClockOff {
        /// The store's own time.
        store_time: Option<String>,
    },
    /// Nobody answers, or too late, or not to the end.
    #[error("the store can't be reached ({said})")]
    Unreachable {
        /// What happened.
        said: String,
    },
    /// It answers that it can't now.
    #[error("the store is busy ({said})")]
    Busy {
        /// The store's own words.
        said: String,
    },
    /// The object is in an archive class, where it can't be read.
    #[error("an object is archived ({said}): restore it in the store first")]
    Archived {
        /// The store's own words.
        said: String,
    },
    /// Another server has the lease.
    #[error(
        "{holder} writes here; two servers must not write one prefix: stop the other, or, if it is dead, wait until {until}"
    )]
    Held {
        /// Who.
        holder: String,
        /// When its lease ends if it is not renewed, by the store's clock.
        until: String,
    },
    /// Another server took the lease over.
    #[error(
        "{holder} has taken the lease over; nothing more is written from here: stop one of the two, then restart this one"
    )]
    Taken {
        /// Who.
        holder: String,
    },
    /// Something was written by a newer version.
    #[error("{key} has version {version}, which this version does not know: use a newer datadb-server")]
    Newer {
        /// The object.
        key: String,
        /// The version found.
        version: u64,
    },
    /// Anything else.
    #[error("{said}")]
    Other {
        /// The store's own words.
        said: String,
    },
}

impl S3Error {
    /// What to do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Unreachable { .. } | Self::Busy { .. } | Self::Held { .. } | Self::Taken { .. } => Kind::Unavailable,
            Self::Newer { .. } => Kind::Unsupported,
            Self::WrongKey { .. }
            | Self::NoKey { .. }
            | Self::Denied { .. }
            | Self::NoBucket
            | Self::OtherRegion { .. }
            | Self::ClockOff { .. }
            | Self::Archived { .. }
            | Self::Other { .. } => Kind::Internal,
        }
    }
}

impl From<S3Error> for Fault {
    fn from(error: S3Error) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

/// An attempt that failed, and what that means for the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// There is no such object (or upload).
    Missing,
    /// A condition on the request does not hold.
    Condition,
    /// The range begins behind the object's end.
    Range,
    /// The store does not know this kind of request.
    NotImplemented,
    /// The next attempt may go better.
    Transient(S3Error),
    /// As above, and all should ask for less.
    Throttled(S3Error),
    /// The next attempt would go the same way.
    Final(S3Error),
}

impl Failure {
    /// The error to tell, where what happened was not expected.
    pub(super) fn into_error(self) -> S3Error {
        match self {
            Self::Transient(error) | Self::Throttled(error) | Self::Final(error) => error,
            Self::Missing => S3Error::Other { said: "an object is missing".into() },
            Self::Condition => S3Error::Other { said: "an object is not what it was".into() },
            Self::Range => S3Error::Other { said: "an object is shorter than it was".into() },
            Self::NotImplemented => S3Error::Other { said: "the store does not know a kind of request".into() },
        }
    }

    pub(super) fn unreachable(said: impl Into<String>) -> Self {
        Self::Transient(S3Error::Unreachable { said: said.into() })
    }
}

impl<E> From<SdkError<E, HttpResponse>> for Failure
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        match &error {
            SdkError::ServiceError(service) => judge(&Answer::of(service.err().meta(), service.raw())),
            SdkError::TimeoutError(_) => Self::unreachable("no answer in time"),
            SdkError::ResponseError(_) => Self::unreachable(context(&error)),
            SdkError::DispatchFailure(failure) if !failure.is_user() => Self::unreachable(context(&error)),
            _ => {
                let said = context(&error);
                let is_key = said.contains("credentials");
                Self::Final(if is_key { S3Error::NoKey { said } } else { S3Error::Other { said } })
            }
        }
    }
}

/// The chain of causes on one line, without the debug output that the SDK adds.
pub(super) fn context(error: &(dyn std::error::Error + 'static)) -> String {
    let mut causes: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        if !causes.iter().any(|known| known.contains(&text)) {
            causes.push(text);
        }
        next = cause.source();
    }
    if causes.is_empty() { DisplayErrorContext(error).to_string() } else { causes.join(": ").replace('\n', " ") }
}

/// What an answer says.
#[derive(Debug, Default)]
struct Answer {
    status: u16,
    code: String,
    message: String,
    region: Option<String>,
    date: Option<String>,
}

impl Answer {
    fn of(meta: &aws_sdk_s3::error::ErrorMetadata, raw: &HttpResponse) -> Self {
        let header = |name| raw.headers().get(name).map(ToOwned::to_owned);
        Self {
            status: raw.status().as_u16(),
            code: meta.code().unwrap_or_default().to_owned(),
            message: meta.message().unwrap_or_default().replace('\n', " "),
            region: header("x-amz-bucket-region"),
            date: header("date"),
        }
    }

    fn said(&self) -> String {
        let Self { status, code, message, .. } = self;
        [&format!("status {status}"), code, message]
            .into_iter()
            .filter(|part| !part.is_empty())
            .cloned()
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// The codes of S3 and of those who speak like it; where a code is missing (HEAD, proxies), the status.
fn judge(answer: &Answer) -> Failure {
    let said = answer.said();
    match (&*answer.code, answer.status) {
        ("NoSuchBucket", _) => Failure::Final(S3Error::NoBucket),
        (
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "InvalidToken"
            | "ExpiredToken"
            | "TokenRefreshRequired"
            | "NotSignedUp",
            _,
        ) => Failure::Final(S3Error::WrongKey { said }),
        ("RequestTimeTooSkewed" | "RequestExpired", _) => {
            Failure::Final(S3Error::ClockOff { store_time: answer.date.clone() })
        }
        (
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException",
            _,
        )
        | (_, 301 | 307) => Failure::Final(S3Error::OtherRegion { region: answer.region.clone() }),
        ("InvalidObjectState", _) => Failure::Final(S3Error::Archived { said }),
        // It can't now, however few ask: slowing down would only make the way back longer.
        ("ServiceUnavailable", _) => Failure::Transient(S3Error::Busy { said }),
        ("SlowDown" | "Throttling" | "ThrottlingException" | "TooManyRequests" | "RequestLimitExceeded", _)
        | (_, 429 | 503) => Failure::Throttled(S3Error::Busy { said }),
        ("RequestTimeout" | "OperationAborted" | "ConditionalRequestConflict", _) => {
            Failure::Transient(S3Error::Busy { said })
        }
        ("PreconditionFailed", _) | (_, 412) => Failure::Condition,
        ("InvalidRange", _) | (_, 416) => Failure::Range,
        ("NotImplemented", _) | (_, 501) => Failure::NotImplemented,
        ("NoSuchKey" | "NoSuchUpload" | "NotFound", _) | (_, 404) => Failure::Missing,
        ("AccessDenied" | "AllAccessDisabled" | "AccountProblem", _) | (_, 401 | 403) => {
            Failure::Final(S3Error::Denied { said })
        }
        (_, 408 | 500..) => Failure::Transient(S3Error::Busy { said }),
        _ => Failure::Final(S3Error::Other { said }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, code: &str) -> Failure {
        judge(&Answer { status, code: code.into(), ..Answer::default() })
    }

    #[test]
    fn what_may_go_better_is_tried_again_and_what_asks_for_less_slows_down() {
        for (status, code) in [
            (500, "InternalError"),
            (503, "ServiceUnavailable"),
            (500, ""),
            (502, ""),
            (504, ""),
            (400, "RequestTimeout"),
            (408, ""),
        ] {
            assert!(matches!(judged(status, code), Failure::Transient(S3Error::Busy { .. })), "{status} {code}");
        }
        for (status, code) in [(503, "SlowDown"), (503, ""), (429, ""), (400, "ThrottlingException")] {
            assert!(matches!(judged(status, code), Failure::Throttled(S3Error::Busy { .. })), "{status} {code}");
        }
    }

    #[test]
    fn what_would_go_the_same_way_is_said_at_once() {
        for (status, code, expected) in [
            (404, "NoSuchBucket", S3Error::NoBucket),
            (301, "", S3Error::OtherRegion { region: None }),
            (400, "AuthorizationHeaderMalformed", S3Error::OtherRegion { region: None }),
            (403, "RequestTimeTooSkewed", S3Error::ClockOff { store_time: None }),
            (403, "", S3Error::Denied { said: "status 403".into() }),
            (403, "InvalidAccessKeyId", S3Error::WrongKey { said: "status 403, InvalidAccessKeyId".into() }),
            (400, "Strange", S3Error::Other { said: "status 400, Strange".into() }),
        ] {
            assert_eq!(judged(status, code), Failure::Final(expected), "{status} {code}");
        }
        assert_eq!(judged(404, ""), Failure::Missing);
        assert_eq!(judged(412, ""), Failure::Condition);
        assert_eq!(judged(416, ""), Failure::Range);
        assert_eq!(judged(501, "NotImplemented"), Failure::NotImplemented);
    }
}
