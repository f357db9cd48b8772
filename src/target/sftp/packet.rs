//! The packets of the SSH File Transfer Protocol, version 3 (draft-ietf-secsh-filexfer-02, and
//! OpenSSH's PROTOCOL for the extensions). Pure: values in, bytes out, and back.

/// A request, without its length and number.
#[derive(Debug, Clone)]
pub(super) struct Request(Vec<u8>);

impl Request {
    pub(super) const OPEN: u8 = 3;
    pub(super) const CLOSE: u8 = 4;
    pub(super) const READ: u8 = 5;
    pub(super) const WRITE: u8 = 6;
    pub(super) const OPENDIR: u8 = 11;
    pub(super) const READDIR: u8 = 12;
    pub(super) const REMOVE: u8 = 13;
    pub(super) const MKDIR: u8 = 14;
    pub(super) const STAT: u8 = 17;
    pub(super) const RENAME: u8 = 18;
    pub(super) const EXTENDED: u8 = 200;

    /// A request of that kind; its number is filled in when it is sent.
    pub(super) fn new(kind: u8) -> Self {
        Self(vec![0, 0, 0, 0, kind, 0, 0, 0, 0])
    }

    pub(super) fn number(mut self, n: u32) -> Self {
        self.0.extend(n.to_be_bytes());
        self
    }

    pub(super) fn long(mut self, n: u64) -> Self {
        self.0.extend(n.to_be_bytes());
        self
    }

    pub(super) fn string(self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        let mut this = self.number(u32::try_from(bytes.len()).expect("pieces are small"));
        this.0.extend(bytes);
        this
    }

    /// The attributes of something new: its mode.
    pub(super) fn mode(self, mode: u32) -> Self {
        self.number(4).number(mode)
    }

    /// Its bytes as they are sent.
    pub(super) fn bytes(mut self, id: u32) -> Vec<u8> {
        self.0[5..9].copy_from_slice(&id.to_be_bytes());
        let length = u32::try_from(self.0.len() - 4).expect("pieces are small");
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

/// The first packet: version 3.
pub(super) const HELLO: [u8; 9] = [0, 0, 0, 5, 1, 0, 0, 0, 3];

/// The largest packet that is believed to be one.
pub(super) const MOST_BYTES: u32 = 1 << 20;

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) attributes: Attributes,
}

/// What is known of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) size: Option<u64>,
    mode: Option<u32>,
}

impl Attributes {
    pub(super) fn is_file(self) -> bool {
        self.mode.is_none_or(|mode| mode & 0o170_000 == 0o100_000)
    }

    pub(super) fn is_directory(self) -> bool {
        self.mode.is_none_or(|mode| mode & 0o170_000 == 0o040_000)
    }
}

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// How a request ended, and in the server's words.
    Status(u32, String),
    Handle(Vec<u8>),
    Data(Vec<u8>),
    Names(Vec<Entry>),
    Attributes(Attributes),
    /// The answer to an extension, for who asked to take apart.
    Extended(Vec<u8>),
}

pub(super) const OK: u32 = 0;
pub(super) const EOF: u32 = 1;
pub(super) const NO_SUCH_FILE: u32 = 2;
pub(super) const PERMISSION_DENIED: u32 = 3;

/// Reads a packet's body: which request it answers, and the answer. `None`: it is none.
pub(super) fn reply(body: &[u8]) -> Option<(u32, Reply)> {
    let mut rest = Rest(body);
    let kind = rest.byte()?;
    let id = rest.number()?;
    let reply = match kind {
        101 => {
            let code = rest.number()?;
            let said = rest.string().unwrap_or_default();
            Reply::Status(code, String::from_utf8_lossy(said).into_owned())
        }
        102 => Reply::Handle(rest.string()?.to_vec()),
        103 => Reply::Data(rest.string()?.to_vec()),
        104 => {
            let count = rest.number()?;
            let mut names = Vec::new();
            for _ in 0..count {
                let name = rest.string()?.to_vec();
                rest.string()?; // the line of `ls -l`
                let attributes = rest.attributes()?;
                names.push(Entry { name, attributes });
            }
            Reply::Names(names)
        }
        105 => Reply::Attributes(rest.attributes()?),
        201 => Reply::Extended(rest.0.to_vec()),
        _ => return None,
    };
    Some((id, reply))
}

/// Reads the server's first packet: its version and the names of its extensions.
pub(super) fn hello(body: &[u8]) -> Option<(u32, Vec<String>)> {
    let mut rest = Rest(body);
    if rest.byte()? != 2 {
        return None;
    }
    let version = rest.number()?;
    let mut extensions = Vec::new();
    while let Some(name) = rest.string() {
        rest.string()?;
        extensions.push(String::from_utf8_lossy(name).into_owned());
    }
    Some((version, extensions))
}

/// The bytes for users other than root that are free, in the answer to `statvfs@openssh.com`.
pub(super) fn free_bytes(body: &[u8]) -> Option<u64> {
    let mut rest = Rest(body);
    let _block = rest.long()?;
    let fragment = rest.long()?;
    let [_total, _free, available] = [rest.long()?, rest.long()?, rest.long()?];
    fragment.checked_mul(available)
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn long(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length as usize)
    }

    fn attributes(&mut self) -> Option<Attributes> {
        let flags = self.number()?;
        let mut attributes = Attributes::default();
        if flags & 1 != 0 {
            attributes.size = Some(self.long()?);
        }
        if flags & 2 != 0 {
            self.take(8)?; // owner and group
        }
        if flags & 4 != 0 {
            attributes.mode = Some(self.number()?);
        }
        if flags & 8 != 0 {
            self.take(8)?; // times
        }
        if flags & 0x8000_0000 != 0 {
            for _ in 0..self.number()? {
                self.string()?;
                self.string()?;
            }
        }
        Some(attributes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_framed() {
        let request = Request::new(Request::OPEN)
            .string("a")
            .number(1)
            .mode(0o600);
        assert_eq!(
            request.bytes(7),
            [
                0, 0, 0, 22, 3, 0, 0, 0, 7, 0, 0, 0, 1, b'a', 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 1, 128
            ]
        );
    }

    #[test]
    fn answers_are_taken_apart_and_nothing_that_is_cut_off_is_one() {
        let names = [
            &[104, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 1, b'x', 0, 0, 0, 0][..],
            &[0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x81, 0xa4],
        ]
        .concat();
        let entry = Entry {
            name: b"x".to_vec(),
            attributes: Attributes {
                size: Some(256),
                mode: Some(0o100_644),
            },
        };
        assert!(entry.attributes.is_file() && !entry.attributes.is_directory());
        assert_eq!(reply(&names), Some((9, Reply::Names(vec![entry]))));
        for cut in 0..names.len() {
            assert_eq!(reply(&names[..cut]), None, "{cut}");
        }
        // A count that promises more than there is allocates nothing.
        assert_eq!(reply(&[104, 0, 0, 0, 9, 255, 255, 255, 255]), None);
        let status = [
            101, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2, b'n', b'o', 0, 0, 0, 0,
        ];
        assert_eq!(reply(&status), Some((1, Reply::Status(2, "no".into()))));
        let version = [2, 0, 0, 0, 3, 0, 0, 0, 1, b'e', 0, 0, 0, 1, b'1'];
        assert_eq!(hello(&version), Some((3, vec!["e".into()])));
    }
}
