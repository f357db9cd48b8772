//! A machine below a directory, and the program run on it.

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A machine whose archives go to targets.
pub(crate) struct Client {
    dir: tempfile::TempDir,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: i32,
    pub(crate) json: Value,
    pub(crate) stderr: String,
}

impl Ran {
    /// Asserts the exit status, and that the whole of what was said holds these words.
    #[track_caller]
    pub(crate) fn expect(&self, exit: i32, words: &[&str]) -> &Self {
        assert_eq!(self.exit, exit, "{self:?}");
        let said = format!("{}{}", self.json, self.stderr);
        for word in words {
            assert!(said.contains(word), "{word:?} is not in {said}");
        }
        assert!(
            !said.contains(crate::moto::SECRET),
            "the secret is shown: {said}"
        );
        self
    }
}

impl Client {
    /// A machine called `name` with about `bytes` of content that does not compress, and these
    /// targets: the tables of the configuration.
    pub(crate) fn new(name: &str, bytes: usize, targets: &str) -> Self {
        let client = Self {
            dir: tempfile::Builder::new()
                .prefix("state-offsite-")
                .tempdir()
                .unwrap(),
        };
        client.write(
            "root/persist/etc/machine-id",
            b"0123456789abcdef0123456789abcdef\n",
        );
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed.to_le_bytes()
        })
        .flatten()
        .take(bytes)
        .collect();
        client.write("root/persist/var/lib/app/noise", &noise);
        client.configure(name, targets);
        client
    }

    pub(crate) fn configure(&self, name: &str, more: &str) {
        let text = format!(
            "[machine]\nname = \"{name}\"\n[persist.\"/persist\"]\n\
             directories = [\"/var/lib/app\"]\nfiles = [\"/etc/machine-id\"]\n{more}\n"
        );
        self.write("root/etc/state/state.toml", text.as_bytes());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// A file with a key of the object store.
    pub(crate) fn credentials(&self, (access, secret): (&str, &str)) -> PathBuf {
        let text = format!("aws_access_key_id = {access}\naws_secret_access_key = {secret}\n");
        let path = self.write(&format!("keys-{access}-{}", secret.len()), text.as_bytes());
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_state"));
        command
            .arg("--root")
            .arg(self.path("root"))
            .args(["--json", "--no-progress"])
            .args(args)
            .stdin(Stdio::null())
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY")
            .env_remove("CREDENTIALS_DIRECTORY");
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ran(self.command(args).output().unwrap())
    }

    pub(crate) fn backup(&self) -> Ran {
        self.run(&["backup"])
    }

    /// The ids of the archives that are listed.
    pub(crate) fn ids(&self) -> Vec<String> {
        let list = self.run(&["archives", "list"]);
        assert_eq!(list.exit, 0, "{list:?}");
        let archives = list.json["archives"].as_array().unwrap();
        archives
            .iter()
            .map(|archive| archive["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Restores the newest archive into a fresh directory and compares it with what was saved.
    pub(crate) fn restores(&self, from: &str) {
        let into = self.path("root/restored");
        fs::create_dir_all(&into).unwrap();
        let to = into.to_str().unwrap();
        let args = [
            "restore",
            "--from",
            from,
            "--into",
            to,
            "--allow-unsigned",
            "--yes",
        ];
        self.run(&args).expect(0, &[]);
        for file in ["var/lib/app/noise", "etc/machine-id"] {
            let saved = fs::read(self.path("root/persist").join(file)).unwrap();
            let found = [into.join(file), into.join("persist").join(file)];
            let found = found
                .iter()
                .find(|path| path.exists())
                .expect("it was restored");
            assert!(fs::read(found).unwrap() == saved, "{file}");
        }
        fs::remove_dir_all(&into).unwrap();
    }
}

pub(crate) fn ran(output: Output) -> Ran {
    Ran {
        exit: output.status.code().unwrap_or(-1),
        json: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// All files below a directory, by their paths in it.
pub(crate) fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match path.is_dir() {
            true => found.extend(
                files(&path)
                    .into_iter()
                    .map(|file| format!("{name}/{file}")),
            ),
            false => found.push(name),
        }
    }
    found.sort();
    found
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
