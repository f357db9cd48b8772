//! What the object store's client says, in our words and with a cure.

use crate::archive::Error;
use opendal::ErrorKind;

/// A failure of our own, as the client would say it.
pub(super) fn failure(why: String) -> opendal::Error {
    opendal::Error::new(ErrorKind::Unexpected, why)
}

/// `doing` is a gerund with its object.
pub(super) fn told(url: &str, doing: &str, error: &opendal::Error) -> Error {
    let why = reason(error);
    let cure = cure(error.kind(), &why).into();
    let (target, why) = (url.to_owned(), format!("{doing}: {why}"));
    match error.kind() {
        ErrorKind::PermissionDenied => Error::Denied { target, why, cure },
        _ => Error::Target { target, why, cure },
    }
}

/// The innermost reason: the client wraps it in what it was doing.
fn reason(error: &opendal::Error) -> String {
    if let Some(answer) = answer(error.message()) {
        return answer;
    }
    let text = match std::error::Error::source(error) {
        Some(source) => innermost(source),
        None => error.message().to_owned(),
    };
    match (text.trim(), error.kind()) {
        ("", kind) => format!("{kind}"),
        (text, _) => crate::failure::plain_errnos(&text.replace('\n', " ")),
    }
}

/// What is at the bottom of an error.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(deeper) = innermost.source() {
        innermost = deeper;
    }
    innermost.to_string()
}

/// The server's own code and words, out of `S3Error { code: "…", message: "…", … }`.
fn answer(message: &str) -> Option<String> {
    let value = |key: &str| {
        let (_, rest) = message.split_once(&format!("{key}: \""))?;
        rest.split_once('"')
            .map(|(value, _)| value)
            .filter(|value| !value.is_empty())
    };
    let code = value("code")?;
    Some(match value("message") {
        Some(said) => format!("the server answers {code}: {said}"),
        None => format!("the server answers {code}"),
    })
}

fn cure(kind: ErrorKind, why: &str) -> &'static str {
    let known = [
        ("NoSuchBucket", "make the bucket, or correct the URL"),
        (
            "InvalidAccessKeyId",
            "the server does not know this access key: look at the credentials",
        ),
        (
            "SignatureDoesNotMatch",
            "the secret key is another one: look at the credentials",
        ),
        (
            "RequestTimeTooSkewed",
            "set the clock: the server's is another",
        ),
        (
            "NotImplemented",
            "if it knows no conditional writes, add create-only=no to the URL",
        ),
        (
            "PermanentRedirect",
            "name the bucket's region in the URL: region=NAME",
        ),
        (
            "AuthorizationHeaderMalformed",
            "name the bucket's region in the URL: region=NAME",
        ),
        (
            "SlowDown",
            "the server is busy: run the command again later",
        ),
        (
            "certificate",
            "is it the server you mean? a private authority's certificate: SSL_CERT_FILE",
        ),
        (
            "tls handshake",
            "does the server speak TLS at that port? if not: endpoint=http://…",
        ),
        (
            "InvalidContentType",
            "does the server speak TLS at that port? if not: endpoint=http://…",
        ),
        (
            "dns error",
            "is the endpoint's name right, and the network up?",
        ),
        (
            "lookup address",
            "is the endpoint's name right, and the network up?",
        ),
        ("refused", "does the server run, at that port?"),
    ];
    let found = known.iter().find(|(words, _)| why.contains(words));
    match (found, kind) {
        (Some((_, cure)), _) => cure,
        (None, ErrorKind::PermissionDenied) => {
            "look at the credentials, and at what the bucket's policy lets them do"
        }
        (None, ErrorKind::ConditionNotMatch) => {
            "an object is never replaced: run the command again"
        }
        (None, ErrorKind::RateLimited) => "the server is busy: run the command again later",
        (None, _) => "run the command again; if it stays so, look at the server",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_what_the_server_said() {
        let message = "S3Error { code: \"AccessDenied\", message: \"Access Denied\", \
                       resource: \"\", request_id: \"17\" }";
        let error = opendal::Error::new(ErrorKind::PermissionDenied, message);
        let told = told("s3://b", "listing", &error);
        assert_eq!(
            told.to_string(),
            "s3://b: listing: the server answers AccessDenied: Access Denied"
        );
        assert_eq!(
            told.hint().as_deref(),
            Some("look at the credentials, and at what the bucket's policy lets them do")
        );
        let inner = std::io::Error::from_raw_os_error(111);
        let error = opendal::Error::new(ErrorKind::Unexpected, "send").set_source(inner);
        assert_eq!(reason(&error), "connection refused");
    }
}
