//! How archives are made.

use super::Check;
use crate::archive::MOST_CHAIN;
use crate::settings::Archive;
use crate::settings::node::Way;

impl Check<'_> {
    pub(super) fn archive(&mut self, archive: &Archive) {
        let top = Way::default().key("archive");
        for (key, path) in [
            ("sign-with", &archive.sign_with),
            ("trusted-signers", &archive.trusted_signers),
            ("identity-file", &archive.identity_file),
        ] {
            if let Some(path) = path {
                self.normal(&top.key(key), path);
            }
        }
        self.patterns(&top.key("exclude"), &archive.exclude);
        for (n, recipient) in archive.encrypt_to.iter().enumerate() {
            // A private key that strayed here is told of without its line: see ops.
            let is_private = recipient
                .to_ascii_uppercase()
                .starts_with("AGE-SECRET-KEY-");
            if !recipient.starts_with("age1") && !recipient.starts_with('/') && !is_private {
                self.wrong(
                    &top.key("encrypt-to").index(n),
                    format!("{recipient:?} is neither an age recipient nor a file's path"),
                    "`age-keygen -y FILE` prints the recipient of a key: age1…",
                );
            }
        }
        if archive.full_every as usize > MOST_CHAIN {
            self.wrong(
                &top.key("full-every"),
                format!("{} archives never build on each other", archive.full_every),
                &format!("write a number up to {MOST_CHAIN}"),
            );
        }
        if !(1..=19).contains(&archive.level) {
            self.wrong(
                &top.key("level"),
                format!("the level {} does not exist", archive.level),
                "zstd has levels 1 (fast) to 19 (small)",
            );
        }
        if archive.hooks.time_limit == 0 {
            self.wrong(
                &top.key("hooks").key("time-limit"),
                "no hook ends within 0 seconds",
                "write how many seconds it may take",
            );
        }
    }
}
