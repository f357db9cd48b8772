//! moto, an S3 server that checks signatures and policies.

use crate::client::free_port;
use crate::sshd::wait_for;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A secret that no server knows, and that nothing may show.
pub(crate) const SECRET: &str = "not-to-be-shown";

const ALL: &str = r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#;
const NO_DELETE: &str = r#",{"Effect":"Deny","Action":"s3:DeleteObject","Resource":"*"}"#;

pub(crate) struct Moto {
    pub(crate) port: u16,
    server: Child,
    /// A key that may do everything in the bucket `bkt`.
    pub(crate) owner: (String, String),
    /// A key that may do everything but delete.
    pub(crate) appender: (String, String),
}

impl Moto {
    pub(crate) fn start() -> Self {
        let program = std::env::var_os("STATE_TEST_MOTO")
            .map(PathBuf::from)
            .expect("STATE_TEST_MOTO names moto_server; `tests/run servers` installs it");
        let port = free_port();
        let server = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            // What `setup` does; from then on every request is checked.
            .env("INITIAL_NO_AUTH_ACTION_COUNT", "7")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut moto = Self {
            port,
            server,
            owner: Default::default(),
            appender: Default::default(),
        };
        wait_for(port, "moto");
        moto.owner = moto.user("owner", ALL);
        moto.appender = moto.user("appender", &format!("{ALL}{NO_DELETE}"));
        let made = moto.http("PUT", "/bkt", "");
        assert!(made.starts_with("HTTP/1.1 200"), "{made}");
        moto
    }

    fn user(&self, name: &str, statements: &str) -> (String, String) {
        let policy = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
        let policy = policy
            .replace('%', "%25")
            .replace('&', "%26")
            .replace('+', "%2B");
        let ask = |action: &str, more: &str| {
            let body = format!("Action={action}&Version=2010-05-08&UserName={name}{more}");
            let answer = self.http("POST", "/", &body);
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            answer
        };
        ask("CreateUser", "");
        let key = ask("CreateAccessKey", "");
        ask(
            "PutUserPolicy",
            &format!("&PolicyName=p&PolicyDocument={policy}"),
        );
        let value = |tag: &str| {
            let (_, rest) = key.split_once(&format!("<{tag}>")).unwrap();
            rest.split('<').next().unwrap().to_owned()
        };
        (value("AccessKeyId"), value("SecretAccessKey"))
    }

    fn http(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/{}/aws4_request, \
             SignedHeaders=host, Signature=x\r\n\
             Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n\
             Content-Length: {}\r\n\r\n{body}",
            if body.is_empty() { "s3" } else { "iam" },
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub(crate) fn url(&self, port: u16) -> String {
        format!("s3://bkt/fleet?endpoint=http://127.0.0.1:{port}&retries=1")
    }

    /// The largest resident memory of a process so far, in bytes.
    pub(crate) fn peak_memory(pid: u32) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim()
            .trim_end_matches(" kB")
            .parse::<u64>()
            .ok()
            .map(|kib| kib << 10)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.server.kill().unwrap_or(());
        self.server.wait().map(drop).unwrap_or(());
    }
}
