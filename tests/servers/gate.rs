//! A gate in front of a server: it counts what passes, and misbehaves when told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of a request.
#[derive(Clone, Copy)]
pub(crate) enum Act {
    Pass,
    /// The answer comes from the gate: a status, and the code of the error.
    Answer(u16, &'static str),
    /// The connection is cut.
    Cut,
    /// It passes late.
    Late(Duration),
    /// A byte of what comes back is another.
    Alter,
}

/// A request that passed.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    /// How many bytes came back, headers included.
    pub(crate) answered: u64,
}

type Rule = dyn Fn(&str, &str) -> Act + Send + Sync;

#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) port: u16,
    behind: u16,
    rule: Arc<Mutex<Arc<Rule>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Gate {
    /// Opens a gate in front of the server at `behind`. It is closed with the program.
    pub(crate) fn open(behind: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gate = Self {
            port: listener.local_addr().unwrap().port(),
            behind,
            rule: Arc::new(Mutex::new(Arc::new(|_, _| Act::Pass))),
            seen: Arc::default(),
        };
        let at = gate.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (gate, stream) = (at.clone(), stream.unwrap());
                // A client that goes away in the middle is what some tests are about.
                std::thread::spawn(move || gate.serve(stream).unwrap_or(()));
            }
        });
        gate
    }

    /// From now on requests (method, path with query) are treated so.
    pub(crate) fn rule(&self, rule: impl Fn(&str, &str) -> Act + Send + Sync + 'static) {
        *self.rule.lock().unwrap() = Arc::new(rule);
    }

    /// What passed since this was asked last.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// How many requests there were since `seen` was asked last.
    pub(crate) fn count(&self, is_it: impl Fn(&Seen) -> bool) -> usize {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .filter(|seen| is_it(seen))
            .count()
    }

    fn serve(&self, client: TcpStream) -> std::io::Result<()> {
        let mut from = BufReader::new(client.try_clone()?);
        let mut client = client;
        let mut head = Vec::new();
        let mut length = 0;
        let mut first = String::new();
        from.read_line(&mut first)?;
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            if !lower.starts_with("connection:") {
                head.extend(line.bytes());
            }
        }
        let mut words = first.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let path = words.next().unwrap_or_default().to_owned();
        let act = {
            let rule = self.rule.lock().unwrap().clone();
            rule(&method, &path)
        };
        if let Act::Cut = act {
            // In the middle of what is sent.
            let mut some = vec![0; length.min(1 << 16)];
            from.read_exact(&mut some)?;
            return client.shutdown(Shutdown::Both);
        }
        if let Act::Late(by) = act {
            std::thread::sleep(by);
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        let mut answer = Vec::new();
        if let Act::Answer(status, code) = act {
            let text = format!("<Error><Code>{code}</Code><Message>by the gate</Message></Error>");
            let text = if method == "HEAD" {
                String::new()
            } else {
                text
            };
            answer = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/xml\r\nConnection: close\r\n\
                 Content-Length: {}\r\n\r\n{text}",
                text.len()
            )
            .into_bytes();
        } else {
            let mut server = TcpStream::connect(("127.0.0.1", self.behind))?;
            // moto signs a query as it is written, S3 as it is meant: a slash is a %2F.
            let first = match first.split_once('?') {
                Some((before, query)) => {
                    let (query, version) = query.split_once(' ').unwrap_or((query, ""));
                    format!("{before}?{} {version}", query.replace('/', "%2F"))
                }
                None => first,
            };
            server.write_all(first.as_bytes())?;
            server.write_all(&head)?;
            server.write_all(b"Connection: close\r\n\r\n")?;
            server.write_all(&body)?;
            server.read_to_end(&mut answer)?;
        }
        if let (Act::Alter, Some(last)) = (act, answer.last_mut()) {
            *last ^= 1;
        }
        self.seen.lock().unwrap().push(Seen {
            path,
            answered: answer.len() as u64,
        });
        client.write_all(&answer)?;
        client.shutdown(Shutdown::Write)
    }
}
