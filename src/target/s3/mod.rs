//! `s3://`: a bucket of an object store, Amazon's or any that speaks its protocol.

mod abandoned;
mod runtime;
mod told;
mod upload;

use super::credentials::Credentials;
use super::place::S3;
use super::{Object, Target, Upload, check_name, check_range, missing, shortened};
use crate::archive::read::Source;
use crate::archive::{Error, Result};
use opendal::layers::{RetryLayer, TimeoutLayer};
use opendal::{ErrorKind, HttpTransporter, Operator, services};
use opendal_http_transport_reqwest::ReqwestTransport;
use runtime::Runtime;
use state_api::Outcome;
use std::sync::Once;
use std::time::Duration;
use told::failure;
use upload::S3Upload;

/// How long a request without much content may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one part may take. A line that is dead is noticed by TCP after half a minute.
const IO_PATIENCE: Duration = Duration::from_secs(600);
/// The longest time between a failed request and its next try.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A bucket of an object store.
#[derive(Debug)]
pub struct S3Target {
    url: String,
    bucket: Bucket,
    create_only: bool,
    operator: Operator,
    runtime: Runtime,
}

/// What a request of our own needs.
#[derive(Debug, Clone)]
struct Bucket {
    /// The bucket's URL, without a slash at the end.
    url: String,
    /// What the names of all objects begin with.
    prefix: String,
    region: String,
    credentials: Credentials,
    transport: HttpTransporter,
}

impl S3Target {
    /// Prepares to talk to it. Nothing is sent yet.
    pub(super) fn open(url: &str, place: S3, credentials: Credentials) -> Result<Self> {
        let region = place.region.clone().unwrap_or_else(|| "us-east-1".into());
        let endpoint = match &place.endpoint {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => format!("https://s3.{region}.amazonaws.com"),
        };
        let mut service = services::S3::default()
            .bucket(&place.bucket)
            .root(&format!("/{}", place.prefix))
            .endpoint(&endpoint)
            .region(&region)
            .access_key_id(&credentials.access_key)
            .secret_access_key(&credentials.secret_key)
            // What is not in the settings is not looked for: no files of other tools, no
            // servers of clouds.
            .disable_config_load()
            .disable_ec2_metadata();
        if let Some(token) = &credentials.session_token {
            service = service.session_token(token);
        }
        let mut bucket_url = format!("{endpoint}/{}", place.bucket);
        if place.virtual_host {
            service = service.enable_virtual_host_style();
            bucket_url = endpoint.replacen("://", &format!("://{}.", place.bucket), 1);
        }
        if place.checksum {
            service = service.checksum_algorithm("crc32c");
        }
        let patience = TimeoutLayer::new()
            .with_timeout(PATIENCE)
            .with_io_timeout(IO_PATIENCE);
        let retry = RetryLayer::new()
            .with_max_times(place.retries.into())
            .with_max_delay(LONGEST_PAUSE)
            .with_jitter();
        let transport = transport(url, &endpoint)?;
        let operator =
            Operator::new(service).map_err(|error| told::told(url, "opening it", &error))?;
        let context = operator.base_context();
        let context = context.with_http_transport(transport.clone());
        let operator = operator.with_context(context);
        Ok(Self {
            url: url.to_owned(),
            bucket: Bucket {
                url: bucket_url,
                prefix: place.prefix,
                region,
                credentials,
                transport,
            },
            create_only: place.create_only,
            operator: operator.layer(patience).layer(retry),
            runtime: Runtime::start().map_err(|e| Error::os("starting a thread", e))?,
        })
    }

    fn told(&self, doing: &str, error: &opendal::Error) -> Error {
        told::told(&self.url, doing, error)
    }

    fn failed(&self, doing: &str, name: &str, error: &opendal::Error) -> Error {
        // A missing bucket is no missing object.
        match error.kind() {
            ErrorKind::NotFound if !error.to_string().contains("NoSuchBucket") => {
                missing(name, &self.url)
            }
            _ => self.told(&format!("{doing} {name}"), error),
        }
    }
}

/// Who does HTTP, and TLS where the server wants it.
fn transport(url: &str, endpoint: &str) -> Result<HttpTransporter> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that somebody did before.
        rustls::crypto::ring::default_provider()
            .install_default()
            .unwrap_or(());
    });
    let mut client = reqwest::Client::builder();
    if endpoint.starts_with("http://") {
        // Nobody's certificate is looked at, so none are needed.
        client = client.tls_certs_only([]);
    }
    let client = client.build().map_err(|error| Error::Target {
        target: url.to_owned(),
        why: format!("preparing TLS: {}", told::innermost(&error)),
        cure: "the certificates of authorities have to be on this system (ca-certificates): \
               SSL_CERT_FILE=FILE names such a file"
            .into(),
    })?;
    Ok(HttpTransporter::new(ReqwestTransport::new(client)))
}

impl Target for S3Target {
    fn url(&self) -> &str {
        &self.url
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let (operator, begin) = (self.operator.clone(), prefix.to_owned());
        let listed = self.runtime.run(async move {
            let list = operator.list_with(&begin).recursive(true);
            list.await
        });
        let entries = listed
            .map_err(|error| self.told("listing", &error))?
            .into_iter();
        let objects = entries.filter(|entry| entry.metadata().is_file());
        let mut objects: Vec<Object> = objects
            .map(|entry| Object {
                name: entry.path().to_owned(),
                bytes: entry.metadata().content_length(),
            })
            .filter(|object| check_name(&object.name).is_ok())
            .collect();
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(objects)
    }

    fn put(&self, name: &str) -> Result<Box<dyn Upload + '_>> {
        check_name(name)?;
        Ok(Box::new(S3Upload::begin(self, name)))
    }

    fn get(&self, name: &str) -> Result<Box<dyn Source + '_>> {
        check_name(name)?;
        let (operator, path) = (self.operator.clone(), name.to_owned());
        let stat = self.runtime.run(async move { operator.stat(&path).await });
        let stat = stat.map_err(|error| self.failed("looking at", name, &error))?;
        self.get_listed(&Object {
            name: name.to_owned(),
            bytes: stat.content_length(),
        })
    }

    fn get_listed(&self, object: &Object) -> Result<Box<dyn Source + '_>> {
        check_name(&object.name)?;
        Ok(Box::new(S3Source {
            target: self,
            object: object.name.clone(),
            name: format!("{} at {}", object.name, self.url),
            length: object.bytes,
        }))
    }

    fn delete(&self, name: &str) -> Result<Outcome> {
        check_name(name)?;
        let (operator, path) = (self.operator.clone(), name.to_owned());
        let deleted = self.runtime.run(async move {
            match operator.exists(&path).await? {
                true => operator.delete(&path).await.map(|()| Outcome::Made),
                false => Ok(Outcome::AlreadySo),
            }
        });
        deleted.map_err(|error| self.told(&format!("deleting {name}"), &error))
    }

    fn sweep(&self, prefix: &str) -> Result<u64> {
        abandoned::abort(self, prefix)
    }
}

struct S3Source<'t> {
    target: &'t S3Target,
    object: String,
    name: String,
    length: u64,
}

impl Source for S3Source<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn length(&self) -> u64 {
        self.length
    }

    fn read(&self, at: u64, length: usize) -> Result<Vec<u8>> {
        let end = check_range(self, at, length)?;
        if length == 0 {
            return Ok(Vec::new());
        }
        let (operator, path) = (self.target.operator.clone(), self.object.clone());
        let read = self
            .target
            .runtime
            .run(async move { operator.read_with(&path).range(at..end).await });
        let bytes = read.map_err(|error| self.target.failed("reading", &self.object, &error))?;
        match bytes.len() == length {
            true => Ok(bytes.to_vec()),
            false => Err(shortened(&self.name)),
        }
    }
}
