//! The one place that speaks to the store: connects, counts, retries, and says what went wrong in one line.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
        mpsc,
    },
    time::Duration,
};

use aws_config::{
    BehaviorVersion, Region, environment::EnvironmentVariableRegionProvider, meta::region::RegionProviderChain,
    profile::ProfileFileRegionProvider, timeout::TimeoutConfig,
};
use aws_sdk_s3::config::{
    ConfigBag, Credentials, Intercept, RequestChecksumCalculation, ResponseChecksumValidation, RuntimeComponents,
    interceptors::BeforeDeserializationInterceptorContextRef, retry::RetryConfig,
};
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use tokio::{
    runtime::{Handle, Runtime},
    sync::Semaphore,
    time::Instant,
};

use super::{
    config::{CredentialsSource, S3Config},
    error::{Failure, S3Error},
    pace::{Pace, backoff},
    requests::{Request, Requests},
};

/// Requests on their way at once, each with at most one part in memory.
const REQUESTS_MAX: usize = 8;

/// A link is at least so fast: what an attempt may take beyond its patience is counted by it.
const LINK_BYTES_PER_SECOND: u64 = 64 << 10;

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// A store that has never answered is given so much less of the whole patience: a start, or somebody who tries a config,
/// waits for it.
const FIRST_SHARE: u32 = 6;

/// Where the bucket is said to lie when only an endpoint is given.
const REGION_DEFAULT: &str = "us-east-1";

/// A connection to one bucket. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    sdk: aws_sdk_s3::Client,
    config: S3Config,
    requests: Arc<Requests>,
    pace: Pace,
    permits: Semaphore,
    /// Whether the store has answered at all.
    is_reached: AtomicBool,
    store_time: StoreTime,
    /// Its own: packs are read and written from threads that block, of whatever runtime or of none, and the lease is given
    /// back when everything else has ended.
    runtime: Option<Runtime>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Unix seconds by the store's clock, as its last answer said; 0 before the first.
#[derive(Clone, Debug, Default)]
struct StoreTime(Arc<AtomicI64>);

impl Intercept for StoreTime {
    fn name(&self) -> &'static str {
        "StoreTime"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), aws_sdk_s3::error::BoxError> {
        let date = context.response().headers().get("date");
        if let Some(Ok(time)) = date.map(|date| DateTime::from_str(date, DateTimeFormat::HttpDate)) {
            self.0.store(time.secs(), Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Client {
    /// Gets ready to speak to a bucket. Blocks; nothing is asked of the bucket yet.
    pub(super) fn connect(config: &S3Config) -> Result<Self, S3Error> {
        let keys = read_keys(&config.credentials)?;
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        // Its threads that may block are as many as ever: names are looked up on them, too, for whom the others wait.
        let runtime = builder.worker_threads(2).thread_name("s3").enable_all().build();
        let runtime = runtime.map_err(|error| S3Error::Other { said: format!("can't start: {error}") })?;
        let store_time = StoreTime::default();
        let sdk = match wait_on(&runtime, sdk(config.clone(), keys, store_time.clone())) {
            Ok(sdk) => sdk,
            Err(error) => {
                // Left to itself it would wait for its threads, which asynchronous callers must not.
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let inner = Inner {
            sdk,
            config: config.clone(),
            requests: Arc::default(),
            pace: Pace::default(),
            permits: Semaphore::new(REQUESTS_MAX),
            is_reached: AtomicBool::new(false),
            store_time,
            runtime: Some(runtime),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(super) fn sdk(&self) -> &aws_sdk_s3::Client {
        &self.inner.sdk
    }

    pub(super) fn config(&self) -> &S3Config {
        &self.inner.config
    }

    pub(super) fn requests(&self) -> &Arc<Requests> {
        &self.inner.requests
    }

    /// The key of an object below the prefix.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.config().key_prefix())
    }

    /// Unix seconds by the store's clock, as its last answer said; 0 before the first.
    pub(super) fn store_time(&self) -> i64 {
        self.inner.store_time.0.load(Ordering::Relaxed)
    }

    fn runtime(&self) -> &Runtime {
        self.inner.runtime.as_ref().expect("it is taken away by the drop alone")
    }

    /// Its threads, for what waits for the store.
    pub(super) fn threads(&self) -> Handle {
        self.runtime().handle().clone()
    }

    /// Runs a future to its end from a thread that may block, which may belong to any runtime or to none.
    pub(super) fn wait<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        wait_on(self.runtime(), work)
    }

    /// Runs a future beside everything else.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> tokio::task::AbortHandle {
        self.runtime().spawn(work).abort_handle()
    }

    /// Makes a request that carries so many bytes, as often as it takes within the patience. It must be safe to repeat.
    pub(super) async fn ask<T, F>(
        &self,
        request: Request,
        bytes: u64,
        call: impl Fn() -> F + Send,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let Inner { permits, pace, requests, config, is_reached, .. } = &*self.inner;
        let started = Instant::now();
        let attempt_time = config.patience.attempt + Duration::from_secs(bytes / LINK_BYTES_PER_SECOND);
        for number in 1.. {
            let failure = {
                let _permit = permits.acquire().await.expect("nobody closes it");
                pace.turn().await;
                requests.count(request);
                match tokio::time::timeout(attempt_time, call()).await {
                    Ok(Ok(value)) => {
                        is_reached.store(true, Ordering::Relaxed);
                        pace.went_well();
                        return Ok(value);
                    }
                    Ok(Err(failure)) => failure,
                    Err(_) => Failure::unreachable(format!("no answer within {attempt_time:?}")),
                }
            };
            match &failure {
                Failure::Throttled(_) => {
                    requests.throttled.add(1);
                    pace.slow_down();
                }
                Failure::Transient(_) => {}
                _ => {
                    pace.went_well();
                    return Err(failure);
                }
            }
            let wait = backoff(number);
            let is_first = !is_reached.load(Ordering::Relaxed);
            let total = config.patience.total / if is_first { FIRST_SHARE } else { 1 };
            if started.elapsed() + wait > total || !pace.may_retry() {
                return Err(failure);
            }
            tracing::debug!(store = %config, ?request, ?failure, ?wait, "a request is made again");
            requests.retries.add(1);
            tokio::time::sleep(wait).await;
        }
        unreachable!("the loop ends by returning")
    }
}

/// Waits on this thread for work on a runtime's own threads.
fn wait_on<T: Send + 'static>(runtime: &Runtime, work: impl Future<Output = T> + Send + 'static) -> T {
    let (done, result) = mpsc::sync_channel(1);
    let task = runtime.spawn(async move { drop(done.send(work.await)) });
    match result.recv() {
        Ok(value) => value,
        // Only a panic ends the task without a value; whoever waits must not go on as if nothing were.
        Err(_) => panic!("work for the store ended early (task {})", task.id()),
    }
}

/// The two keys, if files hold them.
fn read_keys(source: &CredentialsSource) -> Result<Option<Credentials>, S3Error> {
    let CredentialsSource::Files { access_key, secret_key } = source else { return Ok(None) };
    let [access, secret] = [access_key, secret_key].map(|path| {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let key = text.trim().to_owned();
        if key.is_empty() { Err(format!("{} is empty", path.display())) } else { Ok(key) }
    });
    match (access, secret) {
        (Ok(access), Ok(secret)) => Ok(Some(Credentials::new(access, secret, None, None, "files"))),
        (Err(said), _) | (_, Err(said)) => Err(S3Error::NoKey { said }),
    }
}

/// The environment's region, or the profile's, or the one that stores with an endpoint mostly don't care about.
fn region_from_here(source: &CredentialsSource) -> RegionProviderChain {
    let mut profile = ProfileFileRegionProvider::builder();
    if let CredentialsSource::Chain { profile: Some(name) } = source {
        profile = profile.profile_name(name);
    }
    RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(profile.build())
        .or_else(Region::from_static(REGION_DEFAULT))
}

async fn sdk(
    config: S3Config,
    keys: Option<Credentials>,
    store_time: StoreTime,
) -> Result<aws_sdk_s3::Client, S3Error> {
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    match (&config.region, &config.endpoint) {
        (Some(region), _) => loader = loader.region(Region::new(region.clone())),
        // Whoever names an endpoint need not be on a machine of AWS: nobody is asked there.
        (None, Some(_)) => loader = loader.region(region_from_here(&config.credentials)),
        (None, None) => {}
    }
    if let CredentialsSource::Chain { profile: Some(profile) } = &config.credentials {
        loader = loader.profile_name(profile);
    }
    if let Some(keys) = keys {
        loader = loader.credentials_provider(keys);
    }
    let shared = loader.load().await;
    // Locked objects are refused without a checksum.
    let request_checksums = match config.object_lock {
        Some(_) => RequestChecksumCalculation::WhenSupported,
        None => RequestChecksumCalculation::WhenRequired,
    };
    let mut builder = aws_sdk_s3::config::Builder::from(&shared)
        // Retries are made, counted and budgeted here, for all requests of a leaf together.
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).build())
        // Bodies are signed by their SHA-256, and packs carry checksums of their own; other stores than AWS stumble over
        // the newer trailing checksums.
        .request_checksum_calculation(request_checksums)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .force_path_style(config.is_path_style)
        .interceptor(store_time);
    if let Some(endpoint) = &config.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    if shared.region().is_none() {
        return Err(S3Error::Other { said: "no region is set: set `region`".into() });
    }
    Ok(aws_sdk_s3::Client::from_conf(builder.build()))
}
