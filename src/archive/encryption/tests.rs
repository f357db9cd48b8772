use super::*;
use crate::archive::read::Source;
use crate::archive::{Error, Result as ArchiveResult};
use crate::ask::{Ask, Nobody};
use age::secrecy::{ExposeSecret, SecretString};
use age::x25519;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

/// An identity file and its recipient.
fn key() -> (String, String) {
    let identity = x25519::Identity::generate();
    let text = format!("# a comment\n{}\n", identity.to_string().expose_secret());
    (text, identity.to_public().to_string())
}

fn encrypt(recipients: &[String], data: &[u8]) -> Vec<u8> {
    let recipients = Recipients::parse(recipients).unwrap();
    let mut writer = recipients.ready().unwrap().encrypt(Vec::new()).unwrap();
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

fn identities(text: &[u8], ask: Arc<dyn Ask>) -> Result<Identities, EncryptionError> {
    let mut identities = Identities::default();
    identities.add("key", text, &ask)?;
    Ok(identities)
}

fn of(text: &str) -> Identities {
    identities(text.as_bytes(), Arc::new(Nobody)).unwrap()
}

fn decrypt(identity: &str, sealed: &[u8]) -> Result<Vec<u8>, EncryptionError> {
    let mut data = Vec::new();
    of(identity).decrypt(sealed)?.read_to_end(&mut data)?;
    Ok(data)
}

/// An object that notes what is read of it.
#[derive(Clone, Default)]
struct Noting {
    bytes: Vec<u8>,
    reads: Arc<Mutex<Vec<(u64, usize)>>>,
}

impl Noting {
    fn of(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            ..Self::default()
        }
    }

    fn take(&self) -> Vec<(u64, usize)> {
        std::mem::take(&mut self.reads.lock().unwrap())
    }
}

impl Source for Noting {
    fn name(&self) -> &str {
        "x"
    }

    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, at: u64, length: usize) -> ArchiveResult<Vec<u8>> {
        self.reads.lock().unwrap().push((at, length));
        let bytes = self.bytes.get(at as usize..at as usize + length);
        let bytes = bytes.ok_or_else(|| Error::damaged("x", "it ends too early"))?;
        Ok(bytes.to_vec())
    }
}

/// Bytes without a pattern that a piece of age's size would repeat.
fn data(length: usize) -> Vec<u8> {
    (0..length as u32).map(|n| (n % 251) as u8).collect()
}

#[test]
fn every_recipient_opens_it_and_nobody_else() {
    let ((a, a_public), (b, b_public), (c, _)) = (key(), key(), key());
    let data = data(200_000); // several of age's 64 KiB pieces
    let sealed = encrypt(&[a_public, b_public], &data);
    assert_eq!(decrypt(&a, &sealed).unwrap(), data);
    assert_eq!(decrypt(&b, &sealed).unwrap(), data);
    assert!(matches!(
        decrypt(&c, &sealed),
        Err(EncryptionError::NoMatchingKey)
    ));
}

#[test]
fn a_cut_or_changed_stream_is_an_error() {
    let (identity, public) = key();
    let data = vec![7; 200_000];
    let sealed = encrypt(&[public], &data);
    let keys = of(&identity);
    let read = |sealed: Vec<u8>| {
        let sealed = Sealed::open(Box::new(Noting::of(sealed)), &keys).ok()?;
        sealed.read(0, sealed.length() as usize).ok()
    };
    for cut in [sealed.len() - 1, sealed.len() - 70_000, 10, 0] {
        assert!(decrypt(&identity, &sealed[..cut]).is_err(), "cut at {cut}");
        assert_eq!(read(sealed[..cut].to_vec()), None, "cut at {cut}");
    }
    for at in (0..sealed.len()).step_by(16_411) {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(decrypt(&identity, &changed).is_err(), "byte {at}");
        assert_eq!(read(changed), None, "byte {at}");
    }
    let mut longer = sealed.clone();
    longer.extend(&sealed[sealed.len() - 100..]);
    assert_eq!(read(longer), None);
    assert_eq!(read(sealed), Some(data));
}

#[test]
fn of_a_stream_cut_between_two_pieces_nothing_is_read() {
    let (identity, public) = key();
    let sealed = encrypt(&[public], &data(4 * (64 << 10)));
    let keys = of(&identity);
    let header = sealed.len() - 4 * ((64 << 10) + 16);
    for pieces in 0..4 {
        let cut = sealed[..header + pieces * ((64 << 10) + 16)].to_vec();
        let opened = Sealed::open(Box::new(Noting::of(cut)), &keys).unwrap();
        assert!(opened.read(0, 1).is_err(), "{pieces} pieces of 4");
    }
}

#[test]
fn any_range_is_read_in_one_piece_without_the_rest() {
    let (identity, public) = key();
    let data = data(3_000_000);
    let object = Noting::of(encrypt(&[public], &data));
    let stored = object.length();
    let sealed = Sealed::open(Box::new(object.clone()), &of(&identity)).unwrap();
    // The beginning at once, and the end before anything is believed.
    assert_eq!(object.take(), [(0, 128 << 10)]);
    sealed.read(0, 1).unwrap();
    assert_eq!(object.take(), [(stored - (256 << 10), 256 << 10)]);
    assert_eq!(sealed.length(), data.len() as u64);
    for (at, length, requests) in [
        (0, 100, 0),          // in the header's piece of the object
        (2_999_000, 1000, 0), // in the end
        (2_900_000, 100_000, 0),
        (1_000_000, 1, 1),
        (1_000_001, 10, 0), // in the piece that was decrypted last
        (300_000, 700_000, 1),
        (0, 3_000_000, 1),
        (3_000_000, 0, 0),
        (262_144, 65_536, 0), // still there
        (1_900_000, 1, 0),
        (100, 1, 0),
    ] {
        let bytes = sealed.read(at, length).unwrap();
        assert!(
            bytes == data[at as usize..at as usize + length],
            "{at}+{length}"
        );
        let reads = object.take();
        assert_eq!(reads.len(), requests, "{at}+{length}: {reads:?}");
        let read: usize = reads.iter().map(|(_, length)| length).sum();
        assert!(
            read <= length + 2 * ((64 << 10) + 16),
            "{at}+{length}: {reads:?}"
        );
    }
    for (at, length) in [(3_000_000, 1), (2_999_999, 2), (u64::MAX, 2)] {
        assert!(sealed.read(at, length).is_err(), "{at}+{length}");
    }
}

#[test]
fn a_flood_of_recipients_is_not_read() {
    let (identity, public) = key();
    let sealed = encrypt(&[public], b"data");
    let text = String::from_utf8_lossy(&sealed[..200]).into_owned();
    let stanza = text.split_once("-> ").unwrap().1;
    let stanza = format!("-> {}\n", &stanza[..stanza.find("\n-").unwrap()]);
    let mut flood = b"age-encryption.org/v1\n".to_vec();
    for _ in 0..100_000 {
        flood.extend(stanza.as_bytes());
    }
    flood.extend(&sealed[b"age-encryption.org/v1\n".len()..]);
    let object = Noting::of(flood);
    assert!(Sealed::open(Box::new(object.clone()), &of(&identity)).is_err());
    assert_eq!(object.take(), [(0, 128 << 10)]);
    for bytes in [
        &b""[..],
        b"age-encryption.org/v1\n",
        b"age-encryption.org/v2\n--- \n",
    ] {
        assert!(Sealed::open(Box::new(Noting::of(bytes.to_vec())), &of(&identity)).is_err());
    }
}

#[test]
fn what_the_target_fails_with_stays_what_it_was() {
    struct Broken(Noting);
    impl Source for Broken {
        fn name(&self) -> &str {
            "x"
        }
        fn length(&self) -> u64 {
            self.0.length()
        }
        fn read(&self, at: u64, length: usize) -> ArchiveResult<Vec<u8>> {
            match (1_000_000..1_200_000).contains(&at) {
                true => Err(Error::os("reading x", io::ErrorKind::TimedOut)),
                false => self.0.read(at, length),
            }
        }
    }
    let (identity, public) = key();
    let object = Noting::of(encrypt(&[public], &data(3_000_000)));
    let sealed = Sealed::open(Box::new(Broken(object)), &of(&identity)).unwrap();
    let error = sealed.read(1_100_000, 1).unwrap_err();
    assert_eq!(error.to_string(), "reading x: timed out");
}

#[test]
fn bad_keys_are_named_and_private_ones_are_not_printed() {
    let (identity, public) = key();
    let secret = identity.lines().nth(1).unwrap();
    for (text, wanted) in [
        ("age1", "\"age1\" is no age recipient"),
        (
            "ssh-ed25519 AAAA",
            "\"ssh-ed25519 AAAA\" is no age recipient",
        ),
        (
            secret,
            "a private key (AGE-SECRET-KEY-…) stands where a recipient (age1…) belongs",
        ),
    ] {
        assert_eq!(Recipients::parse(&[text]).unwrap_err().to_string(), wanted);
    }
    assert_eq!(
        Recipients::parse::<&str>(&[]).unwrap_err().to_string(),
        "there is no recipient"
    );
    let many: Vec<String> = (0..21).map(|_| key().1).collect();
    assert_eq!(
        Recipients::parse(&many).unwrap_err().to_string(),
        "there are more than 20 recipients"
    );
    let twice = Recipients::parse(&[&public, &public]).unwrap();
    assert_eq!(twice.names(), [public]);
    for (text, wanted) in [
        ("# nothing\n", "there is no identity in it"),
        (
            "nonsense\n",
            "it is no file of age identities (AGE-SECRET-KEY-…)",
        ),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\n",
            "an SSH key opens no archive, an age key does",
        ),
    ] {
        let error = identities(text.as_bytes(), Arc::new(Nobody)).unwrap_err();
        assert_eq!(error.to_string(), wanted);
    }
}

#[test]
fn a_missing_plugin_is_named() {
    // A recipient and an identity of a plugin that nobody has, made with `bech32`.
    const RECIPIENT: &str = "age1nobody1qypqx850lf9";
    let recipients = match Recipients::parse(&[RECIPIENT]) {
        Ok(recipients) => recipients,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(
        recipients.ready().unwrap_err().to_string(),
        "the program age-plugin-nobody is not in $PATH"
    );
}

/// Gives these answers to questions for a secret, last one first.
struct Answers(Mutex<Vec<&'static str>>, Mutex<Vec<String>>);

impl Ask for Answers {
    fn say(&self, text: &str) {
        self.1.lock().unwrap().push(text.to_owned());
    }
    fn secret(&self, question: &str) -> Option<String> {
        self.1.lock().unwrap().push(question.to_owned());
        self.0.lock().unwrap().pop().map(str::to_owned)
    }
    fn text(&self, _: &str) -> Option<String> {
        None
    }
    fn choose(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }
}

#[test]
fn a_locked_identity_file_is_opened_with_its_passphrase() {
    let (identity, public) = key();
    let mut lock = age::scrypt::Recipient::new(SecretString::from("right"));
    lock.set_work_factor(4);
    let lock: &dyn age::Recipient = &lock;
    let encryptor = age::Encryptor::with_recipients([lock].into_iter()).unwrap();
    let mut writer = encryptor.wrap_output(Vec::new()).unwrap();
    writer.write_all(identity.as_bytes()).unwrap();
    let locked = writer.finish().unwrap();
    let open = |answers: Vec<&'static str>| {
        let answers = Arc::new(Answers(Mutex::new(answers), Mutex::default()));
        let opened = identities(&locked, Arc::clone(&answers) as Arc<dyn Ask>);
        let said = answers.1.lock().unwrap().join("; ");
        (opened, said)
    };
    let sealed = encrypt(&[public], b"data");
    let (opened, said) = open(vec!["right", "wrong"]);
    assert_eq!(
        said,
        "Passphrase of key:; that passphrase is wrong; Passphrase of key:"
    );
    let mut bytes = Vec::new();
    let opened = opened.unwrap();
    opened
        .decrypt(&sealed[..])
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    assert_eq!(bytes, b"data");
    for (answers, wanted) in [
        (
            vec![],
            "it is protected by a passphrase, and nobody can be asked for it",
        ),
        (
            vec!["right", "x", "y", "z"],
            "it is protected by a passphrase, and it was not given",
        ),
    ] {
        assert_eq!(open(answers).0.unwrap_err().to_string(), wanted);
    }
    let other = identities(&sealed, Arc::new(Nobody)).unwrap_err();
    assert_eq!(
        other.to_string(),
        "it is encrypted, and not with a passphrase"
    );
}
