//! Uploads that were begun and never finished: found and aborted.
//!
//! The library neither lists nor aborts them by their number, so these two requests are signed
//! here. Parts of them cost money for as long as they lie there.

use super::{Bucket, S3Target, failure};
use crate::archive::{Error, Result};
use crate::target::check_name;
use http::{Method, Request, StatusCode};
use opendal::Buffer;
use reqsign_aws_v4::{Credential, RequestSigner};
use reqsign_core::{Context, SignRequest};
use std::time::Duration;

/// One of them.
#[derive(Debug, PartialEq, Eq)]
struct Abandoned {
    key: String,
    id: String,
}

/// Aborts those of objects whose names begin with `prefix`; how many. A server that does not list
/// them, or not to us, is left to its own rules.
pub(super) fn abort(target: &S3Target, prefix: &str) -> Result<u64> {
    let bucket = target.bucket.clone();
    let begin = format!("{}{prefix}", bucket.prefix);
    let query = format!("uploads=&prefix={}", encoded(&begin));
    let listed = target
        .runtime
        .run(send(bucket.clone(), Method::GET, String::new(), query));
    let text = match listed.map_err(|error| target.told("listing unfinished uploads", &error))? {
        (StatusCode::OK, text) => text,
        _ => return Ok(0),
    };
    let mut aborted = 0;
    for upload in found(&text) {
        // Only what is exactly one of our names: others may use the bucket.
        let name = upload.key.strip_prefix(&bucket.prefix).unwrap_or_default();
        if !name.starts_with(prefix) || check_name(name).is_err() {
            continue;
        }
        let query = format!("uploadId={}", encoded(&upload.id));
        let sent = send(bucket.clone(), Method::DELETE, upload.key, query);
        let doing = "aborting an unfinished upload";
        match target
            .runtime
            .run(sent)
            .map_err(|error| target.told(doing, &error))?
        {
            (status, _) if status.is_success() => aborted += 1,
            (StatusCode::NOT_FOUND | StatusCode::FORBIDDEN, _) => {}
            (status, _) => {
                return Err(Error::Target {
                    target: target.url.clone(),
                    why: format!("{doing}: the server answers {status}"),
                    cure: "run the command again".into(),
                });
            }
        }
    }
    Ok(aborted)
}

async fn send(
    bucket: Bucket,
    method: Method,
    key: String,
    query: String,
) -> opendal::Result<(StatusCode, String)> {
    let url = format!("{}/{}?{query}", bucket.url, encoded_path(&key));
    let request = Request::builder()
        .method(method)
        .uri(url)
        .body(Buffer::new());
    let (mut parts, body) = request.map_err(|e| failure(e.to_string()))?.into_parts();
    let credential = Credential {
        access_key_id: bucket.credentials.access_key.clone(),
        secret_access_key: bucket.credentials.secret_key.clone(),
        session_token: bucket.credentials.session_token.clone(),
        expires_in: None,
    };
    RequestSigner::new("s3", &bucket.region)
        .sign_request(&Context::new(), &mut parts, Some(&credential), None)
        .await
        .map_err(|e| failure(e.to_string()))?;
    let sent = bucket.transport.send(Request::from_parts(parts, body));
    let late = |_| failure("no answer within 60 s".into());
    let answer = tokio::time::timeout(Duration::from_secs(60), sent)
        .await
        .map_err(late)??;
    let (parts, body) = answer.into_parts();
    Ok((
        parts.status,
        String::from_utf8_lossy(&body.to_vec()).into_owned(),
    ))
}

/// Percent-encoded as AWS signs it: everything but unreserved characters.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

fn encoded_path(key: &str) -> String {
    key.split('/').map(encoded).collect::<Vec<_>>().join("/")
}

/// The uploads in the answer to a ListMultipartUploads request.
fn found(text: &str) -> Vec<Abandoned> {
    let mut all = Vec::new();
    for part in text.split("<Upload>").skip(1) {
        let upload = part.split("</Upload>").next().unwrap_or_default();
        let value = |tag: &str| {
            let (_, rest) = upload.split_once(&format!("<{tag}>"))?;
            let (value, _) = rest.split_once(&format!("</{tag}>"))?;
            Some(plain(value))
        };
        if let (Some(key), Some(id)) = (value("Key"), value("UploadId")) {
            all.push(Abandoned { key, id });
        }
    }
    all
}

/// Text without the entities of XML; `&amp;` last, so that nothing is replaced twice.
fn plain(text: &str) -> String {
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
    ];
    let plain = entities
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    plain.replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_are_found_in_an_answer() {
        let text = "<?xml version=\"1.0\"?><ListMultipartUploadsResult><Bucket>b</Bucket>\
                    <KeyMarker></KeyMarker><Upload><Key>p/m/x.tar.zst</Key>\
                    <UploadId>a&amp;lt;+/=</UploadId><Owner><ID>o</ID></Owner></Upload>\
                    <Upload><Key>q</Key></Upload></ListMultipartUploadsResult>";
        let only = Abandoned {
            key: "p/m/x.tar.zst".into(),
            id: "a&lt;+/=".into(),
        };
        assert_eq!(found(text), [only]);
        assert_eq!(found(""), []);
        assert_eq!(encoded("a b/+~"), "a%20b%2F%2B~");
        assert_eq!(encoded_path("a b/c"), "a%20b/c");
    }
}
